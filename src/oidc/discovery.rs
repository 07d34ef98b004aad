//! The discovery document of a company's OpenID provider: where it signs people in, and how its
//! tokens are signed (OpenID Connect Discovery 1.0, section 3).
//!
//! What vouches for the document is the TLS of the issuer it came from.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use url::Url;

/// Characters of a URL.
const MAX_URL: usize = 2048;
/// Bytes of a document; those of big providers have less than ten thousand.
const MAX_BYTES: usize = 256 << 10;

/// What ID tokens may be signed with: public keys of the provider's alone, and nothing with SHA-1.
const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
];

/// What the document says of the provider. Every URL is https, as the provider wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    pub userinfo_endpoint: Option<String>,
    pub client_authentication: ClientAuthentication,
    /// What its ID tokens may be signed with: at least one.
    pub algorithms: Vec<Algorithm>,
    /// Whether each of its answers names it (RFC 9207, section 3).
    pub names_itself: bool,
}

/// How the client's secret gets to the token endpoint (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`, in a header.
    Basic,
    /// `client_secret_post`, in the form; only where nothing else is offered.
    Post,
}

/// Why a document is no discovery document to work with. The variants' names are metric labels; the
/// sentences are conditions' messages, hence stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    #[error(
        "the issuer isn't an https URL of at most 2048 characters without query and fragment: write it as the provider's tokens do"
    )]
    BadIssuer,
    #[error("the discovery document is empty")]
    Empty,
    #[error(
        "this is an HTML page, not a discovery document: the issuer is a URL below which the provider publishes .well-known/openid-configuration"
    )]
    Html,
    #[error("this is XML, not a discovery document: SAML metadata belongs to spec.saml")]
    Xml,
    #[error("the discovery document isn't a JSON object: check the issuer")]
    NotJson,
    #[error("the discovery document is larger than 256 KiB: check the issuer")]
    TooLarge,
    #[error(
        "the discovery document names another issuer: write the issuer exactly as the document does, a slash at its end and a tenant's id in it included"
    )]
    WrongIssuer,
    /// By the name of the field.
    #[error(
        "{0} of the discovery document is missing, or not an https URL of at most 2048 characters"
    )]
    BadEndpoint(&'static str),
    /// By the name of the field.
    #[error("{0} of the discovery document isn't what the specification says it is")]
    BadField(&'static str),
    #[error(
        "the provider doesn't offer the authorization code flow with its answer in the query: enable it there"
    )]
    NoCodeFlow,
    #[error("the provider doesn't offer PKCE with S256: enable it there")]
    NoPkce,
    #[error(
        "the provider signs ID tokens with nothing that is accepted: it must be one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384"
    )]
    NoAlgorithm,
    #[error(
        "the provider takes a client's secret neither as client_secret_basic nor as client_secret_post: enable one of them there"
    )]
    NoClientAuthentication,
}

impl DiscoveryError {
    /// The variant's name: a metric label of few values.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BadIssuer => "BadIssuer",
            Self::Empty => "Empty",
            Self::Html => "Html",
            Self::Xml => "Xml",
            Self::NotJson => "NotJson",
            Self::TooLarge => "TooLarge",
            Self::WrongIssuer => "WrongIssuer",
            Self::BadEndpoint(_) => "BadEndpoint",
            Self::BadField(_) => "BadField",
            Self::NoCodeFlow => "NoCodeFlow",
            Self::NoPkce => "NoPkce",
            Self::NoAlgorithm => "NoAlgorithm",
            Self::NoClientAuthentication => "NoClientAuthentication",
        }
    }
}

/// Where an issuer publishes its document (section 4).
///
/// # Errors
/// It can't be an issuer (section 3, `issuer`).
pub fn url(issuer: &str) -> Result<String, DiscoveryError> {
    match https_url(issuer) {
        Some(url) if url.query().is_none() => {
            Ok(format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
        }
        _ => Err(DiscoveryError::BadIssuer),
    }
}

/// Reads the document of this issuer.
///
/// # Errors
/// It isn't this issuer's, or nobody can be signed in by what it describes.
pub fn parse(json: &[u8], issuer: &str) -> Result<Provider, DiscoveryError> {
    if json.len() > MAX_BYTES {
        return Err(DiscoveryError::TooLarge);
    }
    let Ok(Value::Object(document)) = serde_json::from_slice(json) else {
        return Err(what_else(json));
    };
    url(issuer)?;
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(DiscoveryError::WrongIssuer);
    }
    let provider = Provider {
        issuer: issuer.to_owned(),
        authorization_endpoint: endpoint(&document, "authorization_endpoint")?,
        token_endpoint: endpoint(&document, "token_endpoint")?,
        jwks_uri: endpoint(&document, "jwks_uri")?,
        userinfo_endpoint: match document.contains_key("userinfo_endpoint") {
            true => Some(endpoint(&document, "userinfo_endpoint")?),
            false => None,
        },
        client_authentication: client_authentication(&document)?,
        algorithms: algorithms(&document)?,
        names_itself: match document.get("authorization_response_iss_parameter_supported") {
            None => false,
            Some(Value::Bool(supported)) => *supported,
            Some(_) => {
                return Err(DiscoveryError::BadField(
                    "authorization_response_iss_parameter_supported",
                ));
            }
        },
    };
    let offers = |name, value, by_default| -> Result<bool, DiscoveryError> {
        Ok(list(&document, name)?.map_or(by_default, |values| values.contains(&value)))
    };
    if !offers("response_types_supported", "code", false)?
        || !offers("response_modes_supported", "query", true)?
        || !offers("grant_types_supported", "authorization_code", true)?
    {
        return Err(DiscoveryError::NoCodeFlow);
    }
    // Entra and others do PKCE without saying so
    if !offers("code_challenge_methods_supported", "S256", true)? {
        return Err(DiscoveryError::NoPkce);
    }
    Ok(provider)
}

/// What a document that can't be read is instead.
fn what_else(document: &[u8]) -> DiscoveryError {
    let start = String::from_utf8_lossy(&document[..document.len().min(512)]).to_ascii_lowercase();
    let start = start.trim_start_matches('\u{feff}').trim_start();
    match start {
        "" => DiscoveryError::Empty,
        _ if start.contains("<!doctype html") || start.contains("<html") => DiscoveryError::Html,
        _ if start.starts_with('<') => DiscoveryError::Xml,
        _ => DiscoveryError::NotJson,
    }
}

fn endpoint(document: &Map<String, Value>, name: &'static str) -> Result<String, DiscoveryError> {
    let url = document.get(name).and_then(Value::as_str).filter(|url| https_url(url).is_some());
    url.map(str::to_owned).ok_or(DiscoveryError::BadEndpoint(name))
}

/// A URL that every program reads alike.
fn https_url(text: &str) -> Option<Url> {
    let plain = text.len() <= MAX_URL && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let https = text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    let url = Url::parse(text).ok()?;
    let anonymous = url.username().is_empty() && url.password().is_none();
    (plain && https && anonymous && url.fragment().is_none()).then_some(url)
}

/// A list of strings; `None` where there is none.
fn list<'a>(
    document: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<Vec<&'a str>>, DiscoveryError> {
    let Some(value) = document.get(name) else { return Ok(None) };
    let values = value.as_array().and_then(|values| values.iter().map(Value::as_str).collect());
    values.map(Some).ok_or(DiscoveryError::BadField(name))
}

fn client_authentication(
    document: &Map<String, Value>,
) -> Result<ClientAuthentication, DiscoveryError> {
    let Some(methods) = list(document, "token_endpoint_auth_methods_supported")? else {
        return Ok(ClientAuthentication::Basic);
    };
    let offered = |name| methods.contains(&name);
    if offered("client_secret_basic") {
        Ok(ClientAuthentication::Basic)
    } else if offered("client_secret_post") {
        Ok(ClientAuthentication::Post)
    } else {
        Err(DiscoveryError::NoClientAuthentication)
    }
}

fn algorithms(document: &Map<String, Value>) -> Result<Vec<Algorithm>, DiscoveryError> {
    let offered = list(document, "id_token_signing_alg_values_supported")?.unwrap_or_default();
    let both = ALGORITHMS.iter().filter(|(name, _)| offered.contains(name));
    let both: Vec<_> = both.map(|(_, algorithm)| *algorithm).collect();
    if both.is_empty() { Err(DiscoveryError::NoAlgorithm) } else { Ok(both) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://login.acme.com/realms/acme";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.acme.com/authorize?brand=acme",
            "token_endpoint": "https://login.acme.com/token",
            "userinfo_endpoint": "https://login.acme.com/userinfo",
            "jwks_uri": "https://login.acme.com/keys",
            "response_types_supported": ["code", "id_token"],
            "response_modes_supported": ["query", "fragment"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["HS256", "PS256", "RS256", "none", "EdDSA"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    fn read(document: &Value) -> Result<Provider, DiscoveryError> {
        parse(document.to_string().as_bytes(), ISSUER)
    }

    #[test]
    fn a_provider_is_read_and_only_what_is_accepted_of_it() {
        let provider = read(&document()).unwrap();
        assert_eq!(provider.issuer, ISSUER);
        assert_eq!(provider.authorization_endpoint, "https://login.acme.com/authorize?brand=acme");
        assert_eq!(provider.userinfo_endpoint.as_deref(), Some("https://login.acme.com/userinfo"));
        assert_eq!(provider.algorithms, [Algorithm::RS256, Algorithm::PS256]);
        assert_eq!(provider.client_authentication, ClientAuthentication::Basic);
        assert!(provider.names_itself);
    }

    /// As Entra's: without PKCE, `grant_types_supported`, and with the secret in the form.
    #[test]
    fn what_a_document_leaves_out_has_the_value_the_specification_gives() {
        let provider = parse(
            br#"{"issuer": "https://i/t/v2.0", "authorization_endpoint": "https://i/a",
                "token_endpoint": "https://i/t", "jwks_uri": "https://i/k",
                "response_types_supported": ["code"],
                "id_token_signing_alg_values_supported": ["RS256"]}"#,
            "https://i/t/v2.0",
        );
        let provider = provider.unwrap();
        assert_eq!(provider.client_authentication, ClientAuthentication::Basic);
        assert_eq!((provider.userinfo_endpoint, provider.names_itself), (None, false));
        let mut entra = document();
        entra["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
        assert_eq!(read(&entra).unwrap().client_authentication, ClientAuthentication::Post);
    }

    #[test]
    fn each_thing_that_is_wrong_is_told_by_its_own_error() {
        use DiscoveryError as E;
        for (field, value, error) in [
            ("issuer", json!("https://login.acme.com/realms/acme/"), E::WrongIssuer),
            ("issuer", json!("https://login.acme.com/{tenantid}"), E::WrongIssuer),
            ("issuer", json!(7), E::WrongIssuer),
            ("issuer", Value::Null, E::WrongIssuer),
            ("token_endpoint", json!("http://a/"), E::BadEndpoint("token_endpoint")),
            ("token_endpoint", json!("https://u:p@a/"), E::BadEndpoint("token_endpoint")),
            ("token_endpoint", json!("https:\\\\a/"), E::BadEndpoint("token_endpoint")),
            ("token_endpoint", Value::Null, E::BadEndpoint("token_endpoint")),
            ("jwks_uri", json!("/keys"), E::BadEndpoint("jwks_uri")),
            ("userinfo_endpoint", json!("http://a/"), E::BadEndpoint("userinfo_endpoint")),
            (
                "authorization_endpoint",
                json!("https://a/#x"),
                E::BadEndpoint("authorization_endpoint"),
            ),
            (
                "authorization_endpoint",
                json!(format!("https://a/{}", "x".repeat(MAX_URL))),
                E::BadEndpoint("authorization_endpoint"),
            ),
            ("response_types_supported", json!(["id_token", "code token"]), E::NoCodeFlow),
            ("response_types_supported", json!("code"), E::BadField("response_types_supported")),
            ("response_modes_supported", json!(["form_post"]), E::NoCodeFlow),
            ("grant_types_supported", json!(["implicit"]), E::NoCodeFlow),
            ("code_challenge_methods_supported", json!(["plain"]), E::NoPkce),
            ("id_token_signing_alg_values_supported", json!(["none", "HS256"]), E::NoAlgorithm),
            (
                "id_token_signing_alg_values_supported",
                json!(["RS256", 7]),
                E::BadField("id_token_signing_alg_values_supported"),
            ),
            (
                "token_endpoint_auth_methods_supported",
                json!(["tls_client_auth"]),
                E::NoClientAuthentication,
            ),
            (
                "authorization_response_iss_parameter_supported",
                json!("true"),
                E::BadField("authorization_response_iss_parameter_supported"),
            ),
        ] {
            let mut document = document();
            document[field] = value.clone();
            assert_eq!(read(&document), Err(error), "{field}: {value}");
        }
        for (document, error) in [
            ("", E::Empty),
            (" \n", E::Empty),
            ("<!DOCTYPE html><title>Sign in</title>", E::Html),
            ("<?xml version='1.0'?><md:EntityDescriptor/>", E::Xml),
            ("[]", E::NotJson),
            ("{", E::NotJson),
            ("\"https://\"", E::NotJson),
        ] {
            assert_eq!(parse(document.as_bytes(), ISSUER), Err(error), "{document}");
        }
        assert_eq!(parse(b"\xff\xfe{}", ISSUER), Err(E::NotJson));
        assert_eq!(parse("[".repeat(100_000).as_bytes(), ISSUER), Err(E::NotJson));
        assert_eq!(parse(&vec![b' '; MAX_BYTES + 1], ISSUER), Err(E::TooLarge));
    }

    #[test]
    fn a_document_is_looked_for_below_its_issuer() {
        let at = "https://login.acme.com/realms/acme/.well-known/openid-configuration";
        assert_eq!(url(ISSUER).as_deref(), Ok(at));
        assert_eq!(url(&format!("{ISSUER}/")).as_deref(), Ok(at));
        for wrong in ["http://a", "https://a?b", "https://a#b", "https://u@a", "a", "https://"] {
            assert_eq!(url(wrong), Err(DiscoveryError::BadIssuer), "{wrong}");
        }
    }
}
