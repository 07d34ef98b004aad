//! The way from departure to `/sso/continue`, as a browser takes it: the real router on a real
//! ledger, and a provider that answers over TLS.

mod hostile;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use rollcall_kit::{
    oidc_idp::{Behaviour, OidcIdp, Signing},
    tls::{Authority, install_crypto},
};
use serde_json::{Value, json};
use tower::ServiceExt;
use url::Url;

use super::*;
use crate::{
    fetch::tests::fetchers,
    gateway::router,
    keys::{self, InstallationKey, KeySlot},
    ledger::{
        Admit, Answered, AuditLine, Connection as Kept, Hash, Ledger, Matching, Rules,
        tests::{Place, ledger},
    },
};

/// The browser's cookie.
const BROWSER: &str = "a-browser";
const SECRET: &str = "s3cret & more:";

/// A gateway with the organizations acme, which has the connections `okta` and `other`, and globex,
/// which has `okta`: each a client of its own at the same provider.
struct World {
    gateway: Gateway,
    router: Router,
    idp: OidcIdp,
    ca: String,
    browser: reqwest::Client,
    _place: Place,
}

/// A sign-in that was sent to the provider.
struct Sent {
    url: Url,
    flow: uuid::Uuid,
}

/// What the gateway answered.
struct Reply {
    status: StatusCode,
    location: String,
    page: String,
}

impl World {
    async fn start() -> Self {
        install_crypto();
        let (place, ledger) = ledger().await;
        let authority = Authority::new().unwrap();
        let idp = OidcIdp::start(&authority).unwrap();
        let key = KeySlot::default();
        key.set(InstallationKey::new(&[7; keys::LENGTH]).unwrap());
        let ca = authority.ca_pem();
        let gateway = Gateway::new(
            ledger,
            "https://gateway.example/".parse().unwrap(),
            Arc::new(|_| {}),
            key,
            fetchers(&ca, Duration::from_secs(1)),
        );
        let browser = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes()).unwrap()])
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let router = router(gateway.clone());
        let world = Self { gateway, router, idp, ca, browser, _place: place };
        for (organization, connection) in [("acme", "okta"), ("acme", "other"), ("globex", "okta")]
        {
            world.connect(organization, connection, |_| {}).await;
        }
        world
    }

    fn ledger(&self) -> &Ledger {
        &self.gateway.ledger
    }

    /// Have the gateway fetch its providers' keys anew.
    fn forget_keys(&mut self) {
        self.gateway.providers = Providers::new(fetchers(&self.ca, Duration::from_secs(1)));
        self.router = router(self.gateway.clone());
    }

    /// Publish a connection anew, as its discovery document is now.
    async fn connect(&self, organization: &str, connection: &str, change: impl Fn(&mut Rules)) {
        let (id, now) = (format!("id-{organization}"), Timestamp::now());
        let client_id = format!("{organization}-{connection}");
        let key = self.gateway.key.get().unwrap();
        let label = client_secret_label(&id, connection);
        let mut rules = Rules {
            class: "default".into(),
            protocol: Protocol::Oidc {
                client_id: client_id.clone(),
                client_secret: key.seal(&label, SECRET.as_bytes()).unwrap(),
                scopes: vec!["email".into(), "profile".into()],
            },
            admit: Admit::JustInTime,
            directory: None,
            matching: Matching::UserName,
            email_attribute: None,
            name_attribute: None,
            idp_initiated: false,
            session_seconds: 3600,
            private_endpoints: true,
        };
        change(&mut rules);
        let kept = Kept {
            source: "test".into(),
            issuer: self.idp.issuer().into(),
            metadata: self.idp.discovery().to_string().into_bytes(),
            fetched_at: now,
            request: None,
            withdrawn: true,
        };
        self.ledger().name_organization(&id, organization, now).await.unwrap();
        self.ledger().put_connection(&id, connection, &kept).await.unwrap();
        self.ledger().publish_connection(&id, connection, &rules, &[]).await.unwrap();
        let callback =
            format!("https://gateway.example/sso/{organization}/{connection}/oidc/callback");
        self.idp.add_client(&client_id, SECRET, &callback);
    }

    /// Send a new sign-in to a connection.
    async fn depart(&self, organization: &str, connection: &str, fresh: bool) -> Sent {
        let later = Timestamp::now() + Duration::from_secs(600);
        let browser = secret_hash(BROWSER);
        let flow = self.ledger().begin_flow(browser, Some("a request"), later).await.unwrap();
        let url = self.depart_again(flow, organization, connection, fresh).await.unwrap();
        Sent { url, flow }
    }

    async fn depart_again(
        &self,
        flow: uuid::Uuid,
        organization: &str,
        connection: &str,
        fresh: bool,
    ) -> Result<Url, Problem> {
        let open = self.ledger().open_connection(organization, connection).await.unwrap().unwrap();
        let browser = secret_hash(BROWSER);
        let departure =
            sign_in::depart(&self.gateway, browser, flow, &open, "ada@acme.com", fresh).await?;
        match departure {
            Departure::Redirect(url) => Ok(url.parse().unwrap()),
            Departure::Post { .. } => panic!("OpenID Connect goes by redirect"),
        }
    }

    /// Let the provider sign the person in: where it sends the browser.
    async fn sign_in(&self, sent: &Sent) -> Url {
        let answer = self.browser.get(sent.url.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 302);
        answer.headers()[header::LOCATION].to_str().unwrap().parse().unwrap()
    }

    /// Go where the provider sends the browser that began.
    async fn come_back(&self, url: &Url) -> Reply {
        self.get(url, Some(BROWSER)).await
    }

    async fn get(&self, url: &Url, browser: Option<&str>) -> Reply {
        let mut request = Request::get(&url[url::Position::BeforePath..]);
        if let Some(browser) = browser {
            request = request.header(header::COOKIE, format!("__Host-rollcall-browser={browser}"));
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await;
        let answer = answer.unwrap();
        let location = answer.headers().get(header::LOCATION);
        let location = location.map(|l| l.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = answer.status();
        let page = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        Reply { status, location, page: String::from_utf8(page.to_vec()).unwrap() }
    }

    /// The whole way to acme's okta and back.
    async fn round_trip(&self) -> Reply {
        let sent = self.depart("acme", "okta", false).await;
        self.come_back(&self.sign_in(&sent).await).await
    }

    /// Who the flow of this reply says somebody is, as `/sso/continue` would take it.
    async fn taken(&self, reply: &Reply) -> Answered {
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", self.last("acme").await);
        let continuation = reply.location.strip_prefix("/sso/continue?answer=").unwrap();
        let hashes = (secret_hash(continuation), secret_hash(BROWSER));
        let now = Timestamp::now();
        self.ledger().finish_flow(hashes.0, hashes.1, now).await.unwrap().unwrap()
    }

    /// Why this reply shows a page instead, as the organization's audit log has it.
    async fn refused(&self, organization: &str, reply: &Reply) -> AuditLine {
        let reference = reference(&reply.page);
        let log = self.ledger().audit_log(organization, Some(reference), 10).await.unwrap();
        assert_eq!((reply.location.as_str(), log.len()), ("", 1), "{}", reply.page);
        assert_eq!(log[0].action, "sign-in.refused");
        log.into_iter().next().unwrap()
    }

    /// The audit log's newest line, for a failure to tell.
    async fn last(&self, organization: &str) -> String {
        format!("{:?}", self.ledger().audit_log(organization, None, 1).await.unwrap())
    }
}

/// What a page shows for the audit log.
fn reference(page: &str) -> &str {
    page.split_once("<code class=\"reference\">").unwrap().1.split_once("</code>").unwrap().0
}

fn secret_hash(text: &str) -> Hash {
    crate::gateway::secret::hash(text)
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn somebody_signs_in_by_their_companys_provider() {
    let world = World::start().await;
    let sent = world.depart("acme", "okta", false).await;
    let said = |name| parameter(&sent.url, name);
    assert!(sent.url.as_str().starts_with(&format!("{}/authorize?", world.idp.issuer())));
    assert_eq!(said("scope").as_deref(), Some("openid email profile"));
    assert_eq!(said("login_hint").as_deref(), Some("ada@acme.com"));
    assert_eq!(said("code_challenge_method").as_deref(), Some("S256"));
    let callback = "https://gateway.example/sso/acme/okta/oidc/callback";
    assert_eq!(said("redirect_uri").as_deref(), Some(callback));
    assert_eq!((said("prompt"), said("max_age")), (None, None));
    let reply = world.come_back(&world.sign_in(&sent).await).await;
    let answered = world.taken(&reply).await;
    assert_eq!(answered.request.as_deref(), Some("a request"));
    let asserted = answered.asserted;
    let now = Timestamp::now().as_second();
    assert!((now - 5..=now).contains(&asserted.authenticated_at), "{asserted:?}");
    let expected = Asserted {
        organization: "id-acme".into(),
        connection: "okta".into(),
        subject: "ada".into(),
        sign_in_name: "ada@acme.com".into(),
        email: "ada@acme.com".into(),
        email_domain: "acme.com".into(),
        display_name: Some("Ada Lovelace".into()),
        authenticated_at: asserted.authenticated_at,
        session_until: None,
    };
    assert_eq!(asserted, expected);
    let again = world.depart("acme", "okta", true).await;
    assert_eq!(parameter(&again.url, "prompt").as_deref(), Some("login"));
    assert_eq!(parameter(&again.url, "max_age").as_deref(), Some("0"));
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(parameter(&again.url, name), said(name), "{name}");
    }
    let reply = world.come_back(&world.sign_in(&again).await).await;
    assert_eq!(world.taken(&reply).await.asserted.subject, "ada");
}

#[tokio::test]
async fn every_accepted_algorithm_signs_somebody_in_and_the_keys_are_fetched_once() {
    use Algorithm::{ES256, ES384, PS256, PS384, PS512, RS256, RS384, RS512};
    let world = World::start().await;
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384] {
        world.idp.behave(Behaviour { signing: Signing::Proper(algorithm), ..Behaviour::default() });
        let reply = world.round_trip().await;
        assert_eq!(world.taken(&reply).await.asserted.subject, "ada", "{algorithm:?}");
    }
    assert_eq!(world.idp.requests("/keys"), 1);
}

#[tokio::test]
async fn a_provider_that_changes_its_keys_needs_nobody() {
    let world = World::start().await;
    world.taken(&world.round_trip().await).await;
    world.idp.rotate_keys().unwrap();
    let refused = world.refused("acme", &world.round_trip().await).await;
    let detail = refused.detail.unwrap();
    assert!(detail.contains("isn't among the provider's"), "{detail}");
    assert_eq!(world.idp.requests("/keys"), 1, "they were fetched a moment ago");

    let open = world.ledger().open_connection("acme", "okta").await.unwrap().unwrap();
    let provider = discovery::parse(&open.metadata, &open.issuer).unwrap();
    let (providers, now) = (&world.gateway.providers, Instant::now());
    let old = providers.keys(&provider, true, now).await.unwrap();
    let soon = now + Duration::from_secs(10);
    assert!(providers.newer_keys(&provider, true, &old, soon).await.unwrap().is_none());
    let later = now + Duration::from_secs(31);
    let newer = providers.newer_keys(&provider, true, &old, later).await.unwrap().unwrap();
    assert_ne!(newer.keys, old.keys);
    assert_eq!(world.idp.requests("/keys"), 2);
    world.taken(&world.round_trip().await).await;
    // another who waited for them is given the same
    assert!(providers.newer_keys(&provider, true, &old, later).await.unwrap().is_some());
    assert_eq!(world.idp.requests("/keys"), 2);
    let much_later = later + Duration::from_secs(301);
    providers.keys(&provider, true, much_later).await.unwrap();
    assert_eq!(world.idp.requests("/keys"), 3);
}

#[tokio::test]
async fn a_secret_goes_into_the_form_where_nothing_else_is_offered() {
    let world = World::start().await;
    let discovery = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]});
    world.idp.behave(Behaviour { discovery, ..Behaviour::default() });
    world.connect("acme", "okta", |_| {}).await;
    world.taken(&world.round_trip().await).await;
}

#[tokio::test]
async fn userinfo_is_asked_for_an_email_that_the_id_token_has_not() {
    let world = World::start().await;
    let claims = json!({"email": null, "email_verified": null, "name": null});
    world.idp.behave(Behaviour { claims: claims.clone(), ..Behaviour::default() });
    let asserted = world.taken(&world.round_trip().await).await.asserted;
    assert_eq!(asserted.email, "ada@acme.com");
    assert_eq!(asserted.display_name.as_deref(), Some("Ada Lovelace"));
    for (userinfo, reason) in [
        (json!({"sub": "eve"}), "another subject"),
        (json!({"sub": null}), "another subject"),
        (json!({"email": null}), "neither the ID token nor userinfo"),
        (json!({"email_verified": false}), "is not verified"),
    ] {
        let claims = claims.clone();
        world.idp.behave(Behaviour { claims, userinfo: userinfo.clone(), ..Behaviour::default() });
        let refused = world.refused("acme", &world.round_trip().await).await;
        assert!(refused.detail.as_deref().unwrap().contains(reason), "{userinfo}: {refused:?}");
    }
}

#[tokio::test]
async fn the_claims_may_have_other_names() {
    let world = World::start().await;
    world
        .connect("acme", "okta", |rules| {
            rules.email_attribute = Some("upn".into());
            rules.name_attribute = Some("nick".into());
        })
        .await;
    let claims =
        json!({"upn": "Countess@ACME.com", "nick": "Countess\u{7}", "email_verified": false});
    world.idp.behave(Behaviour { claims, ..Behaviour::default() });
    let asserted = world.taken(&world.round_trip().await).await.asserted;
    assert_eq!(asserted.email, "countess@acme.com");
    assert_eq!(asserted.sign_in_name, "countess@acme.com");
    assert_eq!(asserted.display_name.as_deref(), Some("Countess"));
}

#[tokio::test]
async fn entra_sends_no_email_verified_and_others_send_it_as_text() {
    let world = World::start().await;
    for (verified, accepted) in
        [(Value::Null, true), (json!("true"), true), (json!("false"), false), (json!(0), false)]
    {
        let claims = json!({"email_verified": verified});
        world.idp.behave(Behaviour { claims, ..Behaviour::default() });
        let status = world.round_trip().await.status;
        assert_eq!(status == StatusCode::SEE_OTHER, accepted, "{verified}");
    }
}
