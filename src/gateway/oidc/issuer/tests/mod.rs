//! The issuer, as clients and browsers see it: the real router on a real ledger.

mod authorize;
mod tokens;
mod userinfo;

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tower::ServiceExt;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::{
    gateway::{Gateway, router, secret},
    keys::{InstallationKey, KeySlot, LENGTH},
    ledger::{
        Admit, Asserted, Class, Client, Connection, Ledger, Matching, NewSession, Proof, Protocol,
        Rules, Selector,
        fixture::group,
        scim::{Access, PersonFields, Refused},
        tests::{Place, ledger},
    },
};

const ISSUER: &str = "https://gateway.example";
const REDIRECT: &str = "http://127.0.0.1:8000/callback";
const VERIFIER: &str = "a-verifier-of-43-characters-or-more-as-the-RFC-wants";
const ADA: &str = "ada@acme.com";
const BOB: &str = "bob@globex.com";

/// A gateway with two organizations: in acme (class `default`) Ada is in the directory and in the
/// team engineering; Bob of globex (class `other`) is admitted just in time.
struct World {
    ledger: Ledger,
    router: Router,
    ada: Uuid,
    access: Access,
    _place: Place,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl World {
    async fn new() -> Self {
        let key = KeySlot::default();
        key.set(InstallationKey::new(&[7; LENGTH]).unwrap());
        Self::with_key(key).await
    }

    async fn with_key(key: KeySlot) -> Self {
        let (place, ledger) = ledger().await;
        let now = Timestamp::now();
        for (id, namespace, domain) in [("a", "acme", "acme.com"), ("b", "globex", "globex.com")] {
            ledger.name_organization(id, namespace, now).await.unwrap();
            ledger.claim(id, domain, now).await.unwrap();
            ledger.record_proof(id, domain, Proof::Seen, now).await.unwrap();
            let metadata = Connection {
                source: "inline".into(),
                issuer: format!("https://idp.{domain}"),
                metadata: vec![],
                fetched_at: now,
                request: None,
                withdrawn: true,
            };
            ledger.put_connection(id, "okta", &metadata).await.unwrap();
        }
        ledger.make_directory("a", "okta", now).await.unwrap();
        let directory = ledger.directory("a", "okta").await.unwrap().unwrap().id;
        ledger.replace_token(directory, Uuid::now_v7(), b"hash", now).await.unwrap();
        let access = ledger.scim_access("acme", "okta", b"hash").await.unwrap().unwrap();
        let ada = ledger.create_person(&access, &ada(true), now).await.unwrap();
        let group = group("Engineering");
        ledger.create_group(&access, &group, &[ada], now).await.unwrap();
        let group = Selector::DisplayName("Engineering".into());
        ledger.put_team("a", "engineering", directory, &group, true).await.unwrap();
        let rules = |class: &str, directory| Rules {
            class: class.into(),
            protocol: Protocol::Saml,
            admit: match directory {
                Some(_) => Admit::DirectoryOnly,
                None => Admit::JustInTime,
            },
            directory,
            matching: Matching::UserName,
            email_attribute: None,
            name_attribute: None,
            idp_initiated: false,
            session_seconds: 12 * 3600,
            private_endpoints: false,
        };
        let domain = |name: &str| [name.to_owned()];
        let (acme, globex) = (rules("default", Some(directory)), rules("other", None));
        ledger.publish_connection("a", "okta", &acme, &domain("acme.com")).await.unwrap();
        ledger.publish_connection("b", "okta", &globex, &domain("globex.com")).await.unwrap();
        let confidential = Client {
            id: "argocd".into(),
            redirect_uris: vec!["https://argocd.example/callback".into()],
            secret_hash: Some(secret::hash("hush").to_vec()),
            namespaces: None,
        };
        let listed = Client {
            id: "grafana".into(),
            redirect_uris: vec!["https://grafana.example/callback".into()],
            secret_hash: None,
            namespaces: Some(vec!["initech".into()]),
        };
        let class = Class { token_seconds: 300, clients: vec![confidential, listed] };
        ledger.put_class("default", &class).await.unwrap();
        let theirs = Client {
            id: "headlamp".into(),
            redirect_uris: vec!["https://headlamp.example/callback".into()],
            secret_hash: None,
            namespaces: None,
        };
        let class = Class { token_seconds: 300, clients: vec![theirs] };
        ledger.put_class("other", &class).await.unwrap();
        let url = format!("{ISSUER}/").parse().unwrap();
        let router = router(Gateway::for_tests(&ledger, url, key));
        Self { ledger, router, ada, access, _place: place }
    }

    /// Somebody signed in so many seconds ago; their cookie.
    async fn session_of(&self, email: &str, seconds_ago: i64) -> String {
        let cookie = format!("cookie-{}", Uuid::new_v4());
        let (_, domain) = email.split_once('@').unwrap();
        let organization = if domain == "acme.com" { "a" } else { "b" };
        let now = Timestamp::now();
        let asserted = Asserted {
            organization: organization.into(),
            connection: "okta".into(),
            subject: email.into(),
            sign_in_name: email.into(),
            email: email.into(),
            email_domain: domain.into(),
            display_name: Some("Somebody".into()),
            authenticated_at: now.as_second() - seconds_ago,
            session_until: None,
        };
        let session =
            NewSession { hash: secret::hash(&cookie), browser: "test".into(), replaces: None };
        let admitted = self.ledger.admit(&asserted, &session, now).await;
        admitted.unwrap().unwrap();
        cookie
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::get(path)
            .header(header::COOKIE, format!("__Host-rollcall-session={cookie}"))
            .body(Body::empty())
            .unwrap();
        self.send(request).await
    }

    async fn post(&self, path: &str, authorization: &str, form: &[(&str, &str)]) -> Answer {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request =
            Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if !authorization.is_empty() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.send(request.body(form.into()).unwrap()).await
    }

    async fn bearer(&self, token: &str) -> Answer {
        let request = Request::builder()
            .method(Method::GET)
            .uri("/oauth2/userinfo")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// kubectl's authorization request with these changes: an empty value takes one away. Where
    /// the person is asked whether the program is theirs, it is.
    async fn authorize(&self, cookie: &str, changes: &[(&str, &str)]) -> Answer {
        let answer = self.get(&authorize(changes), cookie).await;
        match answer.asks() {
            Some((path, browser)) => self.get_in(&path, &browser, cookie).await,
            None => answer,
        }
    }

    async fn get_in(&self, path: &str, browser: &str, session: &str) -> Answer {
        let cookies =
            format!("__Host-rollcall-browser={browser}; __Host-rollcall-session={session}");
        let request = Request::get(path).header(header::COOKIE, cookies);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A code for this client.
    async fn code(&self, cookie: &str, changes: &[(&str, &str)]) -> String {
        let answer = self.authorize(cookie, changes).await;
        answer.location()["code"].clone()
    }

    async fn redeem(&self, code: &str) -> Answer {
        self.redeem_with(code, &[]).await
    }

    async fn redeem_with(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let form = changed(
            &[
                ("grant_type", "authorization_code"),
                ("client_id", "kubernetes"),
                ("code", code),
                ("redirect_uri", REDIRECT),
                ("code_verifier", VERIFIER),
            ],
            changes,
        );
        self.post("/oauth2/token", "", &form).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "kubernetes"),
            ("refresh_token", token),
        ];
        self.post("/oauth2/token", "", &form).await
    }

    /// Tokens of Ada's kubectl.
    async fn tokens(&self) -> Value {
        let cookie = self.session_of(ADA, 0).await;
        self.redeem(&self.code(&cookie, &[]).await).await.ok()
    }

    /// What a token says, by the published keys.
    async fn verified(&self, token: &str, audience: &str) -> Value {
        let keys = self.get("/oauth2/jwks", "").await.ok();
        let kid = decode_header(token).unwrap().kid.unwrap();
        let keys = keys["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["kid"] == *kid).expect("a published key");
        let part = |name: &str| key[name].as_str().unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience]);
        let key = DecodingKey::from_ec_components(part("x"), part("y")).unwrap();
        decode(token, &key, &validation).unwrap().claims
    }

    async fn deactivate_ada(&self) {
        let change = |_: &_| Ok::<_, Refused>(Some(ada(false)));
        let now = Timestamp::now();
        self.ledger
            .change_person(&self.access, self.ada, "user.change", now, change)
            .await
            .unwrap();
    }

    async fn audited(&self, action: &str) -> Vec<(String, String, String, String)> {
        let mut audit = self.ledger.audit_for_tests().await;
        audit.retain(|(_, _, kept, _)| kept == action);
        audit
    }
}

fn ada(active: bool) -> PersonFields {
    PersonFields {
        user_name: ADA.into(),
        external_id: None,
        email: Some(ADA.into()),
        active,
        attributes: "{}".into(),
    }
}

fn challenge() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()))
}

fn authorize(changes: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let query = changed(
        &[
            ("response_type", "code"),
            ("client_id", "kubernetes"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid"),
            ("state", "a state & more"),
            ("nonce", "n-1"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ],
        changes,
    );
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("/oauth2/authorize?{query}")
}

fn changed<'a>(
    usual: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let kept = usual.iter().filter(|(name, _)| !changes.iter().any(|(other, _)| other == name));
    kept.chain(changes.iter().filter(|(_, value)| !value.is_empty())).copied().collect()
}

impl Answer {
    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// The error of a refused request of a client's own.
    #[track_caller]
    fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers[header::CACHE_CONTROL], "no-store");
        let body: Value = serde_json::from_str(&self.text).unwrap();
        assert!(body["error_description"].is_string());
        body["error"].as_str().unwrap().to_owned()
    }

    /// Where a page leads that asks whether the program is theirs, and the browser's cookie.
    fn asks(&self) -> Option<(String, String)> {
        let (_, path) = self.text.split_once("href=\"/sign-in/go-on?flow=")?;
        let path = format!("/sign-in/go-on?flow={}", path.split_once('"')?.0);
        Some((path, self.browser()))
    }

    /// The cookie of the browser that began.
    fn browser(&self) -> String {
        let cookie = self.headers[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.strip_prefix("__Host-rollcall-browser=").unwrap();
        cookie.split_once(';').unwrap().0.to_owned()
    }

    /// Where the browser is sent.
    #[track_caller]
    fn to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.headers[header::LOCATION].to_str().unwrap()
    }

    /// What the client is told at its redirect URI.
    #[track_caller]
    fn location(&self) -> BTreeMap<String, String> {
        Url::parse(self.to()).unwrap().query_pairs().into_owned().collect()
    }

    /// It is a page that the client never hears of.
    #[track_caller]
    fn is_page(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(!self.headers.contains_key(header::LOCATION));
        assert!(self.text.contains("Reference"), "{}", self.text);
    }
}
