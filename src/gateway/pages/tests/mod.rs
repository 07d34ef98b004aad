//! The pages, as a browser gets them: the real router on a real ledger.

mod forms;
mod guards;
mod shown;

use std::net::IpAddr;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    gateway::{
        Gateway,
        address::ClientAddress,
        router,
        secret::{self, Secret},
    },
    keys::KeySlot,
    ledger::{
        Admit, Asserted, Code, Connection, Grant, Ledger, Matching, NewSession, Once, Proof,
        Protocol, Rules, Selector,
        tests::{Place, ledger},
    },
};

/// A gateway with the organizations acme and globex, each with the directory and the connection
/// `okta` and the domain `<organization>.com`. Ada of acme is in the team `developers`.
struct Server {
    ledger: Ledger,
    router: Router,
    _place: Place,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Server {
    async fn start() -> Self {
        let (place, ledger) = ledger().await;
        for name in ["acme", "globex"] {
            organization(&ledger, name).await;
        }
        let router = router(gateway(&ledger));
        let server = Self { ledger, router, _place: place };
        for name in ["acme", "globex"] {
            server.directory(name).await;
        }
        server
    }

    /// What the company IdP pushes: Ada, in the group Developers, which is a team.
    async fn directory(&self, name: &str) {
        let id = format!("id-{name}");
        let directory = self.ledger.directory(&id, "okta").await.unwrap().unwrap().id;
        self.ledger
            .replace_token(directory, Uuid::now_v7(), &secret::hash("token"), Timestamp::now())
            .await
            .unwrap();
        let ada = self.push(name, "Users", &json!({"userName": format!("ada@{name}.com")})).await;
        let group = json!({"displayName": "Developers", "members": [{"value": ada}]});
        self.push(name, "Groups", &group).await;
        self.team(name, "developers", "Developers").await;
    }

    async fn team(&self, organization: &str, team: &str, group: &str) {
        let id = format!("id-{organization}");
        let directory = self.ledger.directory(&id, "okta").await.unwrap().unwrap().id;
        let selector = Selector::DisplayName(group.into());
        self.ledger.put_team(&id, team, directory, &selector, true).await.unwrap();
    }

    /// Let kubectl have a refresh token of this session.
    async fn kubectl(&self, session: Uuid) {
        let code = Code {
            session,
            client: "kubernetes".into(),
            redirect_uri: String::new(),
            challenge: String::new(),
            nonce: None,
            scope: "openid".into(),
        };
        let now = Timestamp::now();
        let ends = now + jiff::SignedDuration::from_secs(60);
        assert!(self.ledger.issue_code([6; 32], &code, ends).await.unwrap());
        let grant = |_: &_, _: &_| Ok::<_, std::convert::Infallible>(Some([7; 32]));
        let used = self.ledger.use_code([6; 32], now, grant).await.unwrap();
        assert!(matches!(used, Once::Fresh(Ok(_))));
    }

    /// Make something by SCIM; its id.
    async fn push(&self, organization: &str, kind: &str, resource: &Value) -> String {
        let request = Request::post(format!("/scim/v2/{organization}/okta/{kind}"))
            .header(header::AUTHORIZATION, "Bearer token")
            .header(header::CONTENT_TYPE, "application/scim+json")
            .body(resource.to_string().into());
        let answer = self.send(request.unwrap()).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let made: Value = serde_json::from_str(&answer.body).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    async fn grant(&self, organization: &str, team: &str, grants: &[(&str, &str)]) {
        let grant = |&(namespace, role): &(&str, &str)| Grant {
            namespace: Some(namespace.into()),
            cluster_role: role.into(),
        };
        let grants: Vec<_> = grants.iter().map(grant).collect();
        self.ledger.put_grants(&format!("id-{organization}"), team, &grants).await.unwrap();
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, body: String::from_utf8(body.into()).unwrap() }
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::get(path).header(header::COOKIE, cookie);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Send a form, as a browser does from our own page.
    async fn post(&self, path: &str, cookie: &str, form: &str) -> Answer {
        self.send(post(path, cookie, form)).await
    }

    /// Sign somebody in whom their company IdP vouches for; the session's id and cookie.
    async fn sign_in(&self, asserted: &Asserted) -> (Uuid, String) {
        let cookie = Secret::new().unwrap();
        let session = NewSession {
            hash: cookie.hash(),
            browser: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
                .into(),
            replaces: None,
        };
        let admitted = self.ledger.admit(asserted, &session, Timestamp::now()).await;
        let id = admitted.unwrap().unwrap();
        (id, format!("__Host-rollcall-session={}", cookie.as_text()))
    }

    async fn ada(&self) -> (Uuid, String) {
        self.sign_in(&somebody("acme", "ada")).await
    }

    async fn is_signed_in(&self, cookie: &str) -> bool {
        self.get("/", cookie).await.status == 200
    }
}

fn gateway(ledger: &Ledger) -> Gateway {
    let key = KeySlot::default();
    Gateway::for_tests(ledger, "https://rollcall.example/".parse().unwrap(), key)
}

fn post(path: &str, cookie: &str, form: &str) -> Request<Body> {
    Request::post(path)
        .header(header::COOKIE, cookie)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(form.to_owned().into())
        .unwrap()
}

fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(ClientAddress::from(address));
    request
}

fn somebody(organization: &str, name: &str) -> Asserted {
    let email = format!("{name}@{organization}.com");
    Asserted {
        organization: format!("id-{organization}"),
        connection: "okta".into(),
        subject: email.clone(),
        sign_in_name: email.clone(),
        email,
        email_domain: format!("{organization}.com"),
        display_name: Some("Ada Lovelace".into()),
        authenticated_at: Timestamp::now().as_second(),
        session_until: None,
    }
}

async fn organization(ledger: &Ledger, name: &str) {
    let (id, now, domain) = (format!("id-{name}"), Timestamp::now(), format!("{name}.com"));
    ledger.name_organization(&id, name, now).await.unwrap();
    ledger.claim(&id, &domain, now).await.unwrap();
    ledger.record_proof(&id, &domain, Proof::Seen, now).await.unwrap();
    let connection = Connection {
        source: "inline".into(),
        issuer: format!("https://idp.{domain}"),
        metadata: vec![],
        fetched_at: now,
        request: None,
        withdrawn: true,
    };
    ledger.put_connection(&id, "okta", &connection).await.unwrap();
    ledger.make_directory(&id, "okta", now).await.unwrap();
    let directory = ledger.directory(&id, "okta").await.unwrap().unwrap().id;
    let rules = Rules {
        class: "default".into(),
        protocol: Protocol::Saml,
        admit: Admit::JustInTime,
        directory: Some(directory),
        matching: Matching::UserName,
        email_attribute: None,
        name_attribute: None,
        idp_initiated: false,
        session_seconds: SignedDuration::from_hours(12).as_secs(),
        private_endpoints: false,
    };
    ledger.publish_connection(&id, "okta", &rules, &[domain]).await.unwrap();
}
