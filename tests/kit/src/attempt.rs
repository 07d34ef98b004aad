//! Requests that change nothing (dry runs), to see whether the API server would take them: with
//! everything it has against bad ones, which is schemas, rules, rights and admission policies.

use std::fmt::Display;

use anyhow::{Context, ensure};
use axum::http::{Method, Request};
use kube::{
    Client,
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// One request about one object.
#[derive(Clone, Debug)]
pub struct Attempt {
    method: Method,
    path: String,
    content_type: &'static str,
    body: Value,
}

/// What the API server is to say to it.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Yes.
    Taken,
    /// No, with these words in its message.
    Refused(&'a str),
}

impl Attempt {
    /// `kubectl create`: strict, so that a misspelt field is an error.
    pub fn create(object: &Value) -> Self {
        let path = format!("{}?fieldValidation=Strict&dryRun=All", collection(object));
        Self { method: Method::POST, path, content_type: "application/json", body: object.clone() }
    }

    /// Server-side apply by a controller.
    pub fn apply(object: &Value) -> Self {
        Self {
            method: Method::PATCH,
            path: format!("{}?fieldManager=rollcall&force=true&dryRun=All", own(object)),
            content_type: "application/apply-patch+yaml",
            body: object.clone(),
        }
    }

    /// A merge patch of the object of this kind and name, which exists.
    pub fn merge(object: &Value, patch: Value) -> Self {
        Self {
            method: Method::PATCH,
            path: format!("{}?fieldValidation=Strict&dryRun=All", own(object)),
            content_type: "application/merge-patch+json",
            body: patch,
        }
    }

    /// A merge patch of that object's status.
    pub fn merge_status(object: &Value, patch: Value) -> Self {
        let path = format!("{}/status?dryRun=All", own(object));
        Self { path, ..Self::merge(object, patch) }
    }

    /// The deletion of that object.
    pub fn delete(object: &Value) -> Self {
        Self {
            method: Method::DELETE,
            path: own(object),
            content_type: "application/json",
            // beside a body the query doesn't count
            body: json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}),
        }
    }

    /// Makes it as whoever `client` is: the object that would be stored, or the refusal's message.
    ///
    /// # Errors
    /// If the API server can't be asked.
    pub async fn by(&self, client: &Client) -> anyhow::Result<Result<Value, String>> {
        let request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header("content-type", self.content_type)
            .body(serde_json::to_vec(&self.body)?)?;
        match client.request(request).await {
            Ok(value) => Ok(Ok(value)),
            Err(kube::Error::Api(status)) => Ok(Err(status.message)),
            Err(error) => Err(error).with_context(|| format!("{} {}", self.method, self.path)),
        }
    }
}

/// Makes each attempt, and fails with all those that weren't answered as they should be.
///
/// # Errors
/// Then, or if the API server can't be asked.
pub async fn answers<'a, W: Display>(
    client: &Client,
    attempts: impl IntoIterator<Item = (W, Attempt, Answer<'a>)>,
) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (what, attempt, expected) in attempts {
        match (attempt.by(client).await?, expected) {
            (Ok(_), Answer::Taken) => {}
            (Err(message), Answer::Refused(words)) if message.contains(words) => {}
            (Ok(_), Answer::Refused(words)) => {
                wrong.push(format!("{what}: taken, not refused with: {words}"));
            }
            (Err(message), expected) => wrong.push(format!("{what}: not {expected:?}: {message}")),
        }
    }
    ensure!(wrong.is_empty(), "answered otherwise:\n{}", wrong.join("\n"));
    Ok(())
}

/// The pod that a Deployment makes.
pub fn pod_of(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!("tried");
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// The path of the objects beside this one.
fn collection(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind)).plural;
    let root = if group.is_empty() { "api" } else { "apis" };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
        None => format!("/{root}/{api_version}/{plural}"),
    }
}

fn own(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    format!("{}/{name}", collection(object))
}
