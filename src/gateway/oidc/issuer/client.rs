//! Clients: `kubernetes`, which every class has, and those that a class lists. An id says nothing of
//! the class before somebody has signed in, so it may stand for a client in each of several.

use aws_lc_rs::constant_time;
use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use url::form_urlencoded;

use super::{error::Refused, params::Params};
use crate::{
    gateway::secret,
    ledger::{self, Client, Ledger, Standing},
};

/// The public client of kubectl, the ExecCredential helper and kubelogin.
pub(super) const KUBERNETES: &str = "kubernetes";

/// The clients that go by one id.
pub(super) enum Clients {
    /// The same in every class.
    Builtin(Client),
    /// By class.
    Listed(Vec<(String, Client)>),
}

impl Clients {
    /// `None` where no class has a client of this id.
    pub async fn find(ledger: &Ledger, id: &str) -> ledger::Result<Option<Self>> {
        if id == KUBERNETES {
            return Ok(Some(Self::Builtin(kubernetes())));
        }
        let listed = ledger.clients_named(id).await?;
        Ok((!listed.is_empty()).then_some(Self::Listed(listed)))
    }

    /// The one of this class.
    pub fn of_class(&self, class: &str) -> Option<&Client> {
        match self {
            Self::Builtin(client) => Some(client),
            Self::Listed(listed) => listed.iter().find(|(name, _)| name == class).map(|(_, c)| c),
        }
    }

    /// The one that serves this person, if any does.
    pub fn serving(&self, standing: &Standing) -> Option<&Client> {
        self.of_class(&standing.class).filter(|client| serves(client, &standing.namespace))
    }

    /// Whether an answer may go to this address at all.
    pub fn redirect_to(&self, uri: &str) -> bool {
        match self {
            Self::Builtin(client) => redirects_to(client, uri),
            Self::Listed(listed) => listed.iter().any(|(_, client)| redirects_to(client, uri)),
        }
    }

    /// Whether any program on the person's own machine could be who is answered there: nothing
    /// tells one from another (RFC 8252, section 8.6).
    pub fn anybody_at(&self, uri: &str) -> bool {
        let anybody = |client: &Client| {
            client.secret_hash.is_none() && redirects_to(client, uri) && loopback(uri).is_some()
        };
        match self {
            Self::Builtin(client) => anybody(client),
            Self::Listed(listed) => listed.iter().any(|(_, client)| anybody(client)),
        }
    }

    /// Only those that a caller with this secret, or none, may be. Takes as long for a wrong secret
    /// as for the right one.
    fn authenticated(self, secret: Option<&str>) -> Option<Self> {
        let hash = secret.map(secret::hash);
        let is = |client: &Client| match (&client.secret_hash, &hash) {
            (None, None) => true,
            (Some(kept), Some(hash)) => constant_time::verify_slices_are_equal(kept, hash).is_ok(),
            _ => false,
        };
        match self {
            Self::Builtin(client) => is(&client).then_some(Self::Builtin(client)),
            Self::Listed(mut listed) => {
                listed.retain(|(_, client)| is(client));
                (!listed.is_empty()).then_some(Self::Listed(listed))
            }
        }
    }
}

fn kubernetes() -> Client {
    let uri = |host: &str, path: &str| format!("http://{host}{path}");
    let hosts = ["127.0.0.1", "[::1]", "localhost"];
    let redirect_uris = hosts.iter().flat_map(|host| [uri(host, "/"), uri(host, "/callback")]);
    Client {
        id: KUBERNETES.into(),
        redirect_uris: redirect_uris.collect(),
        secret_hash: None,
        namespaces: None,
    }
}

fn serves(client: &Client, namespace: &str) -> bool {
    client.namespaces.as_ref().is_none_or(|served| served.iter().any(|name| name == namespace))
}

/// Whether an answer for this client may go to `uri`. It is one of the client's, as it is; a public
/// client's address on the person's own machine may have any port (RFC 8252, section 7.3).
pub(super) fn redirects_to(client: &Client, uri: &str) -> bool {
    if uri.contains('#') || uri.bytes().any(|b| !b.is_ascii_graphic()) {
        return false;
    }
    let native = client.secret_hash.is_none().then(|| loopback(uri)).flatten();
    client.redirect_uris.iter().any(|registered| {
        registered == uri || native.is_some_and(|native| loopback(registered) == Some(native))
    })
}

/// The host and path of an address on the person's own machine; `None` for any other.
fn loopback(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = ["127.0.0.1", "[::1]", "localhost"].into_iter().find(|host| {
        authority
            .strip_prefix(host)
            .is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
    })?;
    Some((host, if path.is_empty() { "/" } else { path }))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
        && !text.starts_with('0')
        && text.parse::<u16>().is_ok()
}

/// Who calls (RFC 6749, section 2.3): the id, and the clients that the caller may be.
pub(super) async fn authenticate(
    ledger: &Ledger,
    headers: &HeaderMap,
    params: &Params,
) -> Result<(String, Clients), Refused> {
    let basic = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().ok().and_then(basic);
            Some(value.ok_or(Refused::UnknownClient { by_header: true })?)
        }
        None => None,
    };
    let by_header = basic.is_some();
    let (id, secret) = match (&basic, params.get("client_id"), params.get("client_secret")) {
        (None, Some(id), secret) => (id, secret),
        (Some((id, secret)), None, None) => (id.as_str(), Some(secret.as_str())),
        (Some((id, secret)), Some(same), None) if id == same => {
            (id.as_str(), Some(secret.as_str()))
        }
        (Some(_), ..) => {
            return Err(Refused::InvalidRequest("the client authenticates in more than one way"));
        }
        (None, None, _) => return Err(Refused::InvalidRequest("client_id is missing")),
    };
    let clients = Clients::find(ledger, id).await?;
    // an empty secret is none (section 2.3.1)
    let secret = secret.filter(|secret| !secret.is_empty());
    let clients = clients.and_then(|clients| clients.authenticated(secret));
    Ok((id.to_owned(), clients.ok_or(Refused::UnknownClient { by_header })?))
}

/// Id and secret of `Authorization: Basic`: both are form-encoded first (section 2.3.1).
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |text: &str| {
        // as the name of a parameter, whose value is empty
        form_urlencoded::parse(text.replace('=', "%3D").replace('&', "%26").as_bytes())
            .next()
            .map_or_else(String::new, |(name, _)| name.into_owned())
    };
    Some((decode(id), decode(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_is_answered_on_the_own_machine_at_any_port() {
        let client = kubernetes();
        for uri in [
            "http://127.0.0.1:8000/",
            "http://127.0.0.1:65535/callback",
            "http://[::1]:1/callback",
            "http://localhost:18000",
            "http://localhost:18000/",
        ] {
            assert!(redirects_to(&client, uri), "{uri}");
        }
        for uri in [
            "",
            "http://",
            "https://127.0.0.1:8000/",
            "HTTP://127.0.0.1:8000/",
            "http://127.0.0.1:8000/other",
            "http://127.0.0.1:8000/callback/",
            "http://127.0.0.1:8000/Callback",
            "http://127.0.0.1:8000/callback?x=1",
            "http://127.0.0.1:8000/callback#x",
            "http://127.0.0.1:8000/?",
            "http://127.0.0.1:8000?x=1",
            "http://127.0.0.1:8000/\\evil.example",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:08/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:+80/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:80:90/",
            "http://127.0.0.1.:8000/",
            "http://127.0.0.1.evil.example:8000/",
            "http://127.0.0.1:8000@evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://user@127.0.0.1:8000/",
            "http://127.0.0.2:8000/",
            "http://127.1:8000/",
            "http://[::]:8000/",
            "http://[::1].evil.example/",
            "http://localhost.:8000/",
            "http://LOCALHOST:8000/",
            "http://localhost.evil.example/",
            " http://127.0.0.1:8000/",
            "http://127.0.0.1:8000/\n",
        ] {
            assert!(!redirects_to(&client, uri), "{uri}");
        }
    }

    #[test]
    fn any_other_address_is_the_registered_one_to_the_letter() {
        let uri = "https://argocd.example/auth/callback";
        let mut client = Client {
            id: "argocd".into(),
            redirect_uris: vec![uri.into(), "http://127.0.0.1/cli".into()],
            secret_hash: Some(vec![1; 32]),
            namespaces: None,
        };
        assert!(redirects_to(&client, uri));
        for near in [
            "https://argocd.example/auth/callback/",
            "https://argocd.example/auth/callback?x=1",
            "https://argocd.example/auth/callback#",
            "https://argocd.example/auth/Callback",
            "https://argocd.example/auth/../auth/callback",
            "https://argocd.example/auth%2fcallback",
            "https://argocd.example:443/auth/callback",
            "https://argocd.example./auth/callback",
            "https://ARGOCD.example/auth/callback",
            "https://user@argocd.example/auth/callback",
            "https://argocd.example.evil.example/auth/callback",
            "https://xargocd.example/auth/callback",
            "http://argocd.example/auth/callback",
            "http://127.0.0.1:8000/cli",
        ] {
            assert!(!redirects_to(&client, near), "{near}");
        }
        client.secret_hash = None;
        assert!(redirects_to(&client, "http://127.0.0.1:8000/cli"), "a native client's");
    }

    #[test]
    fn basic_credentials_are_form_encoded() {
        let header = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(basic(&header("argocd:a%3Ab+c=&d")), pair("argocd", "a:b c=&d"));
        assert_eq!(basic(&header("argocd:")), pair("argocd", ""));
        assert_eq!(basic(&header("argocd")), None);
        assert_eq!(basic("Bearer abc"), None);
        assert_eq!(basic("Basic !"), None);
    }
}
