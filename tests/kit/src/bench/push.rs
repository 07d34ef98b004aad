//! What an identity provider does to a SCIM server, whichever it is, and how long each request took.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::report::milliseconds;
use crate::scim::Scim;

/// Connections at the same time, one request after another on each.
pub const CONNECTIONS: usize = 8;

/// What pushing users came to.
pub struct Pushed {
    /// Their ids, those of each client.
    pub ids: Vec<Vec<String>>,
    /// How long each took, in milliseconds.
    pub times: Vec<f64>,
    /// How many a second.
    pub rate: f64,
}

/// Creates `size` users of such names, each after the one before of the same client was answered.
///
/// # Errors
/// If one is refused.
pub async fn users(clients: &[Scim], name: &str, size: usize) -> anyhow::Result<Pushed> {
    let begun = Instant::now();
    let pushed = clients.iter().enumerate().map(|(first, scim)| async move {
        let (mut ids, mut times) = (vec![], vec![]);
        for number in (first..size).step_by(clients.len()) {
            let begun = Instant::now();
            let user_name = format!("{name}{number:06}@bench.example");
            ids.push(scim.create_user(&user_name, "New").await?);
            times.push(milliseconds(begun));
        }
        anyhow::Ok((ids, times))
    });
    let (ids, times): (Vec<_>, Vec<_>) = try_join_all(pushed).await?.into_iter().unzip();
    let rate = size as f64 / begun.elapsed().as_secs_f64();
    Ok(Pushed { ids, times: times.concat(), rate })
}

/// Adds one member to the group at `path` and removes it, so often in all. Returns how long each took,
/// in milliseconds.
///
/// # Errors
/// If it is refused.
pub async fn one_member(
    scim: &Scim,
    path: &str,
    id: &str,
    changes: usize,
) -> anyhow::Result<Vec<f64>> {
    let mut times = vec![];
    for number in 0..changes {
        let operation = if number.is_multiple_of(2) {
            add([id])
        } else {
            json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")})
        };
        let begun = Instant::now();
        insist(scim, Method::PATCH, path, &patch(operation)).await?;
        times.push(milliseconds(begun));
    }
    Ok(times)
}

/// The operation that adds these to a group.
pub fn add<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    let members: Value = ids.into_iter().map(|id| json!({"value": id})).collect();
    json!({"op": "add", "path": "members", "value": members})
}

/// The body of a PATCH.
pub fn patch(operation: Value) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [operation],
    })
}

/// Sends it again where the directory is told that it asks too much, as an identity provider does.
///
/// # Errors
/// If it is refused for good.
pub async fn insist(
    scim: &Scim,
    method: Method,
    path: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    loop {
        let (status, answer) = scim.send(method.clone(), path, body).await?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            sleep(Duration::from_secs(1)).await;
            continue;
        }
        ensure!(status.is_success(), "{path}: {status}: {answer}");
        return Ok(answer);
    }
}
