//! The routes, as an identity provider sees them: the real router on a real ledger.

mod access;
mod corpus;
mod deactivation;
mod filters;
mod groups;
mod limits;
mod model;
mod nonsense;
mod room;
mod users;
mod versions;

use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    fetch::Fetchers,
    gateway::{Gateway, Observer, Served, router},
    keys::KeySlot,
    ledger::{
        Ledger,
        tests::{Place, ledger},
    },
};

/// A gateway with two organizations: acme has the directories okta and entra, globex has okta.
/// Each token is `<organization>-<directory>`.
struct Server {
    ledger: Ledger,
    router: Router,
    served: Arc<Mutex<Vec<String>>>,
    place: Arc<Place>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// Null where there is no body.
    body: Value,
}

/// A client of one directory.
struct Client<'a> {
    server: &'a Server,
    base: String,
    token: String,
}

impl Server {
    async fn start() -> Self {
        Self::with_room(i64::MAX).await
    }

    /// One where an organization's directories may hold so many bytes.
    async fn with_room(bytes: i64) -> Self {
        let (place, ledger) = ledger().await;
        let ledger = ledger.with_directory_limit(bytes);
        for (organization, directory) in [("acme", "okta"), ("acme", "entra"), ("globex", "okta")] {
            ledger
                .name_organization(&format!("id-{organization}"), organization, Timestamp::now())
                .await
                .unwrap();
            open(&ledger, organization, directory).await;
        }
        Self::on(ledger, place.into())
    }

    /// Another gateway for the same directories, with a way of its own to the database.
    async fn twin(&self) -> Self {
        let ledger = Ledger::open(&self.place.location()).await.unwrap();
        Self::on(ledger, self.place.clone())
    }

    fn on(ledger: Ledger, place: Arc<Place>) -> Self {
        let served = Arc::new(Mutex::new(Vec::new()));
        let observer: Observer = Arc::new({
            let served = served.clone();
            move |s: Served<'_>| {
                let line = format!("{} {} {}", s.method, s.route, s.status.as_u16());
                served.lock().unwrap().push(line);
            }
        });
        let public_url = "https://gateway.example/".parse().unwrap();
        let gateway = Gateway::new(
            ledger.clone(),
            public_url,
            observer,
            KeySlot::default(),
            Fetchers::new().unwrap(),
        );
        let router = router(gateway);
        Self { ledger, router, served, place }
    }

    fn client(&self, organization: &str, directory: &str) -> Client<'_> {
        Client {
            server: self,
            base: format!("/scim/v2/{organization}/{directory}"),
            token: format!("{organization}-{directory}"),
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = match body.as_ref() {
            b"" => Value::Null,
            body => {
                assert_eq!(headers[header::CONTENT_TYPE], "application/scim+json");
                serde_json::from_slice(body).unwrap()
            }
        };
        Answer { status, headers, body }
    }

    async fn changes(&self) -> i64 {
        self.ledger.latest_change().await.unwrap()
    }
}

/// Make a directory, with a token.
async fn open(ledger: &Ledger, organization: &str, directory: &str) -> Uuid {
    let id = format!("id-{organization}");
    ledger.make_directory(&id, directory, Timestamp::now()).await.unwrap();
    let made = ledger.directory(&id, directory).await.unwrap().unwrap().id;
    let hash = digest(&SHA256, format!("{organization}-{directory}").as_bytes());
    ledger.replace_token(made, Uuid::now_v7(), hash.as_ref(), Timestamp::now()).await.unwrap();
    made
}

impl Client<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let body = body.map_or_else(Body::empty, |body| body.to_string().into());
        self.raw(method, path, "application/scim+json", body).await
    }

    async fn raw(&self, method: Method, path: &str, media_type: &str, body: Body) -> Answer {
        let mut request = self.request(method, path, body);
        request.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().unwrap());
        self.server.send(request).await
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(body)
            .unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    async fn patch(&self, path: &str, operations: Value) -> Answer {
        let body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": operations,
        });
        self.call(Method::PATCH, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Make a user; their id.
    async fn user(&self, name: &str) -> String {
        self.post("/Users", json!({"userName": name})).await.made()
    }

    /// Make a group of these users; its id.
    async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<_> = members.iter().map(|id| json!({"value": id})).collect();
        self.post("/Groups", json!({"displayName": name, "members": members})).await.made()
    }

    /// The ids of a group's members, in order.
    async fn members(&self, group: &str) -> Vec<String> {
        let group = self.get(&format!("/Groups/{group}")).await.ok();
        let members = group["members"].as_array().cloned().unwrap_or_default();
        let mut ids: Vec<_> =
            members.iter().map(|m| m["value"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }
}

impl Answer {
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    fn made(self) -> String {
        assert_eq!(self.status, 201, "{}", self.body);
        self.body["id"].as_str().unwrap().to_owned()
    }

    /// The keyword and the detail of an error with this status.
    fn error(&self, status: u16) -> (&str, &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["status"], status.to_string());
        assert_eq!(self.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
        let keyword = self.body["scimType"].as_str().unwrap_or_default();
        (keyword, self.body["detail"].as_str().unwrap())
    }
}
