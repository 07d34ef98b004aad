//! The only writer of statuses, and of the events that tell of their transitions.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Client, ResourceExt,
    api::{Patch, PatchParams},
    core::Request,
    runtime::events::{Event, EventType, Recorder},
};
use serde_json::{Value, json};
use tracing::warn;

use super::{Kind, MANAGER, Result, chain, namespace};
use crate::api::{
    Status,
    conditions::{Conditions, Verdict, Waiting, find, kind, reason, whole_seconds},
};

/// How often a figure that moves with every request is written.
pub(super) const DEBOUNCE: Duration = Duration::from_secs(10);
/// What an event's note may hold.
const NOTE: usize = 1024;

pub struct Writer {
    client: Client,
    /// When each object's status was last written, if that was less than [`DEBOUNCE`] ago.
    written: Mutex<HashMap<String, Instant>>,
}

impl Writer {
    pub fn new(client: Client) -> Self {
        Self { client, written: Mutex::default() }
    }

    /// Make `new` the object's status, unless it is that already. Where only counts moved and the
    /// last write was just now, nothing is written; returns how long to wait with that.
    pub async fn write<K: Kind>(&self, object: &K, new: &K::Status) -> Result<Option<Duration>> {
        let old = object.status();
        if old == Some(new) {
            return Ok(None);
        }
        let uid = object.uid().unwrap_or_default();
        if let Some(old) = old {
            let mut without_counts = new.clone();
            without_counts.keep_counts(old);
            if without_counts == *old
                && let Some(wait) = self.too_soon(&uid)
            {
                return Ok(Some(wait));
            }
        }
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // stale, or deleted and made anew meanwhile: 409, and the next pass decides on what is there
            "metadata": { "resourceVersion": object.resource_version() },
            "status": new,
        });
        let scope = object.namespace();
        let request = Request::new(K::url_path(&(), scope.as_deref()))
            .patch_subresource(
                "status",
                &object.name_any(),
                &PatchParams::apply(MANAGER).force(),
                &Patch::Apply(patch),
            )
            .map_err(kube::Error::BuildRequest)?;
        self.client.request::<Value>(request).await?;
        self.wrote(uid);
        self.tell(object, old.map_or(&[], Status::conditions), new.conditions()).await;
        Ok(None)
    }

    /// Say that nothing can be done before somebody mends `message`. Everything else in the
    /// status, and all access, stays as it is.
    pub async fn stall<K: Kind>(&self, object: &K, message: &str) -> Result<()> {
        let mut new = object.status().cloned().unwrap_or_default();
        new.set_observed_generation(object.meta().generation);
        let old = new.conditions().to_vec();
        let now = now();
        let mut all = Conditions::new(&old, object.meta().generation, &now)
            .ready(&Verdict::no(reason::INSTALLATION_KEY_MISSING, message), Waiting::Edit);
        let others = old.into_iter().filter(|c| {
            ![kind::READY, kind::STALLED, kind::RECONCILING].contains(&c.type_.as_str())
        });
        *new.conditions_mut() = others.chain(all.drain(..)).collect();
        self.write(object, &new).await?;
        Ok(())
    }

    fn too_soon(&self, uid: &str) -> Option<Duration> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        DEBOUNCE.checked_sub(written.get(uid)?.elapsed()).filter(|wait| !wait.is_zero())
    }

    fn wrote(&self, uid: String) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, at| at.elapsed() < DEBOUNCE);
        written.insert(uid, Instant::now());
    }

    /// An event where `Ready` changed its value or its reason.
    async fn tell<K: Kind>(&self, object: &K, old: &[Condition], new: &[Condition]) {
        let said = |conditions| {
            find(conditions, kind::READY).map(|c| (c.status.clone(), c.reason.clone()))
        };
        let Some(ready) = find(new, kind::READY).filter(|_| said(old) != said(new)) else {
            return;
        };
        let stalled = find(new, kind::STALLED).is_some();
        let type_ = if stalled { EventType::Warning } else { EventType::Normal };
        self.publish(object, type_, &ready.reason, &ready.message).await;
    }

    /// Warn of something that no condition's reason tells.
    pub async fn warn<K: Kind>(&self, object: &K, reason: &str, message: &str) {
        self.publish(object, EventType::Warning, reason, message).await;
    }

    async fn publish<K: Kind>(&self, object: &K, type_: EventType, reason: &str, message: &str) {
        let mut note = message.to_owned();
        shorten(&mut note, NOTE);
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".into(),
            secondary: None,
        };
        // one recorder for all would keep every event for minutes, to count up what is said again,
        // and walk through all of them for each: what tells of transitions says nothing twice
        let recorder = Recorder::new(self.client.clone(), MANAGER.into());
        // an event is a courtesy: losing one must not fail the pass
        if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
            let (ns, name) = (namespace(object), object.name_any());
            warn!(error = %chain(&error), kind = K::NAME, ns, name, "event not published");
        }
    }
}

/// Cut `text` to at most `bytes`, between characters.
pub fn shorten(text: &mut String, bytes: usize) {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// The time as statuses keep it.
pub fn now() -> Time {
    whole_seconds(Timestamp::now())
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::api::{DirectorySync, DirectorySyncStatus};

    /// A writer to an API server that takes everything, and how many statuses it was given.
    fn writer() -> (Writer, Arc<AtomicUsize>) {
        let statuses = Arc::new(AtomicUsize::new(0));
        let given = statuses.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            if request.uri().path().ends_with("/status") {
                given.fetch_add(1, Ordering::Relaxed);
            }
            async { Ok::<_, Infallible>(Response::new(Body::from(b"{}".to_vec()))) }
        });
        (Writer::new(Client::new(service, "rollcall")), statuses)
    }

    fn status(users: i64, ready: &Verdict) -> DirectorySyncStatus {
        let since = Time(Timestamp::UNIX_EPOCH);
        let conditions = Conditions::new(&[], None, &since).ready(ready, Waiting::No);
        DirectorySyncStatus { users: Some(users), conditions, ..DirectorySyncStatus::default() }
    }

    #[tokio::test]
    async fn what_only_counts_is_written_at_most_every_ten_seconds_and_all_else_at_once() {
        let (writer, statuses) = writer();
        let spec = serde_json::from_value(json!({ "source": { "scim": {} } })).unwrap();
        let mut sync = DirectorySync::new("okta", spec);
        let ready = Verdict::yes(reason::READY, "");
        sync.status = Some(status(1, &ready));
        for (users, ready, waits, written) in [
            (1, &ready, false, 0),
            (2, &ready, false, 1),
            (3, &ready, true, 1),
            (4, &ready, true, 1),
            (2, &ready, false, 1),
            (4, &Verdict::no(reason::SUSPENDED, ""), false, 2),
        ] {
            let new = status(users, ready);
            let wait = writer.write(&sync, &new).await.unwrap();
            assert_eq!(wait.is_some(), waits, "{users}");
            assert!(wait.is_none_or(|wait| wait <= DEBOUNCE));
            assert_eq!(statuses.load(Ordering::Relaxed), written, "{users}");
            if written > 0 && !waits {
                sync.status = Some(new);
            }
        }
    }
}
