//! IdentityClass: what serves organizations. Its clients are published to the ledger while it can
//! serve.

use std::{pin::pin, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Context, Kind, RESYNC, Result, chain, controller, error_policy, jittered, nudges::Nudge, pass,
    report, secrets, status, tenancy::is_default,
};
use crate::{
    api::{
        self, ClientSpec, IdentityClass, IdentityClassStatus,
        conditions::{Conditions, Verdict, Waiting, all_of, kind, reason},
        meta,
    },
    ledger::{Class, Client, TOKEN_SECONDS},
};

/// How often a class is looked at that waits for a Secret: nobody tells us of those.
const SECRET_MISSING: Duration = Duration::from_secs(30);

impl Kind for IdentityClass {
    const NAME: &'static str = "IdentityClass";
}

pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let classes =
        controller(&ctx, reflector::store(), |nudge, _| matches!(nudge, Nudge::All), stop.clone());
    let passes = classes.run(reconcile, error_policy, ctx.clone()).for_each(report);
    tokio::join!(passes, stop.run_until_cancelled(forget_deleted(&ctx)));
}

/// There is no finalizer to wait for: what a class published goes once the class is gone, of which
/// everybody is told.
async fn forget_deleted(ctx: &Context) {
    let mut nudges = pin!(ctx.nudges.stream());
    while let Some(nudge) = nudges.next().await {
        if matches!(nudge, Nudge::All)
            && let Err(error) = forget_gone(ctx).await
        {
            warn!(error = %chain(&error), "deleted classes not forgotten");
        }
    }
}

/// Take back what classes published that are gone.
pub async fn forget_gone(ctx: &Context) -> Result<()> {
    for name in ctx.ledger.classes().await? {
        if !ctx.tenancy.class_exists(&name) {
            ctx.ledger.delete_class(&name).await?;
        }
    }
    Ok(())
}

async fn reconcile(class: Arc<IdentityClass>, ctx: Arc<Context>) -> Result<Action> {
    pass(&class, &ctx, async {
        let Clients { usable, withheld } = clients(&class, &ctx).await?;
        let serves = serves(&class, &ctx.tenancy.default_classes());
        let next = if withheld.is_none() { RESYNC } else { SECRET_MISSING };
        // published before it is said, and taken away before that
        if serves.is_yes() {
            let published = Class { token_seconds: token_seconds(&class), clients: usable };
            ctx.ledger.put_class(&class.name_any(), &published).await?;
        } else {
            ctx.ledger.delete_class(&class.name_any()).await?;
        }
        let accepted = accepted(serves, withheld);
        ctx.status.write(class.as_ref(), &decide(&class, &accepted, &status::now())).await?;
        Ok(Action::requeue(jittered(next)))
    })
    .await
}

/// The clients of a class.
#[derive(Default)]
struct Clients {
    /// In the order of their ids.
    usable: Vec<Client>,
    /// What is wrong with the Secret of the first that can't be used. The others can.
    withheld: Option<Verdict>,
}

async fn clients(class: &IdentityClass, ctx: &Context) -> Result<Clients> {
    let builtin = class.spec.provider.builtin.as_ref();
    let mut clients = Clients::default();
    for spec in builtin.and_then(|builtin| builtin.clients.as_ref()).into_iter().flatten() {
        let secret = match &spec.secret_ref {
            None => Ok(None),
            Some(named) => {
                let namespace = &ctx.settings.namespace;
                let held = secrets::client_secret(&ctx.client, namespace, &named.name).await?;
                held.map(Some)
            }
        };
        clients.add(spec, secret);
    }
    clients.usable.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(clients)
}

impl Clients {
    fn add(&mut self, spec: &ClientSpec, secret: Result<Option<Vec<u8>>, Verdict>) {
        match secret {
            Ok(secret) => self.usable.push(client(spec, secret.as_deref())),
            // without its secret it would be a public client
            Err(unusable) if self.withheld.is_none() => {
                let message =
                    format!("Nobody can sign in to {} for now. {}", spec.id, unusable.message);
                self.withheld = Some(Verdict { message, ..unusable });
            }
            Err(_) => {}
        }
    }
}

fn client(spec: &ClientSpec, secret: Option<&[u8]>) -> Client {
    Client {
        id: spec.id.clone(),
        redirect_uris: spec.redirect_uris.clone(),
        secret_hash: secret.map(|s| digest::digest(&digest::SHA256, s).as_ref().to_vec()),
        namespaces: spec.namespaces.clone(),
    }
}

fn token_seconds(class: &IdentityClass) -> i64 {
    let builtin = class.spec.provider.builtin.as_ref();
    let lifetime = builtin.and_then(|builtin| builtin.token_lifetime.as_deref());
    lifetime.and_then(api::seconds).unwrap_or(TOKEN_SECONDS)
}

/// Whether the class serves organizations. `defaults` are the names of all default classes, in
/// order.
fn serves(class: &IdentityClass, defaults: &[String]) -> Verdict {
    if is_default(class) && defaults.len() > 1 {
        let message = format!(
            "{} are all annotated {}: leave it on one. Until then none is the default.",
            defaults.join(", "),
            meta::DEFAULT_CLASS
        );
        return Verdict::no(reason::DUPLICATE_DEFAULT, message);
    }
    Verdict::yes(reason::ACCEPTED, "")
}

fn accepted(serves: Verdict, withheld: Option<Verdict>) -> Verdict {
    withheld.filter(|_| serves.is_yes()).unwrap_or(serves)
}

fn decide(class: &IdentityClass, accepted: &Verdict, now: &Time) -> IdentityClassStatus {
    let ready = all_of(&[accepted], format!("{} serves organizations.", class.name_any()));
    let waiting = match &*ready.reason {
        _ if ready.is_yes() => Waiting::No,
        reason::DUPLICATE_DEFAULT => Waiting::Edit,
        _ => Waiting::Outside, // a Secret, which may come any time
    };
    let old = class.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let mut conditions = Conditions::new(old, class.metadata.generation, now);
    conditions.set(kind::ACCEPTED, accepted);
    IdentityClassStatus {
        observed_generation: class.metadata.generation,
        conditions: conditions.ready(&ready, waiting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::reason_of;
    use jiff::Timestamp;
    use serde_json::json;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn class() -> IdentityClass {
        serde_json::from_value(json!({
            "apiVersion": "rollcall.dev/v1alpha1", "kind": "IdentityClass",
            "metadata": { "name": "a", "annotations": { meta::DEFAULT_CLASS: "true" } },
            "spec": { "provider": { "builtin": {} } },
        }))
        .unwrap()
    }

    fn reason_for(defaults: &[String], withheld: Option<Verdict>) -> String {
        let class = class();
        let accepted = accepted(serves(&class, defaults), withheld);
        let conditions = decide(&class, &accepted, &at(1)).conditions;
        reason_of(&conditions, kind::READY).to_owned()
    }

    #[test]
    fn two_default_classes_both_say_so() {
        let both = ["a".to_owned(), "b".to_owned()];
        assert_eq!(reason_for(&both, None), reason::DUPLICATE_DEFAULT);
        assert_eq!(reason_for(&both[..1], None), reason::READY);
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_named() {
        for because in [reason::SECRET_NOT_FOUND, reason::SECRET_TYPE_NOT_ALLOWED] {
            assert_eq!(reason_for(&[], Some(Verdict::no(because, ""))), because);
            let both = ["a".to_owned(), "b".to_owned()];
            let first = reason_for(&both, Some(Verdict::no(because, "")));
            assert_eq!(first, reason::DUPLICATE_DEFAULT);
        }
    }

    #[test]
    fn a_client_without_its_secret_is_withheld_and_the_others_are_not() {
        let spec = |id: &str| ClientSpec { id: id.into(), ..ClientSpec::default() };
        let mut clients = Clients::default();
        clients.add(&spec("argocd"), Ok(Some(b"secret".to_vec())));
        clients.add(&spec("grafana"), Err(Verdict::no(reason::SECRET_NOT_FOUND, "No Secret.")));
        clients.add(&spec("headlamp"), Ok(None));
        clients.add(&spec("vault"), Err(Verdict::no(reason::SECRET_TYPE_NOT_ALLOWED, "")));
        let usable: Vec<_> = clients.usable.iter().map(|client| client.id.as_str()).collect();
        assert_eq!(usable, ["argocd", "headlamp"]);
        let withheld = clients.withheld.unwrap();
        assert_eq!(withheld.reason, reason::SECRET_NOT_FOUND);
        assert_eq!(withheld.message, "Nobody can sign in to grafana for now. No Secret.");
    }

    #[test]
    fn of_a_clients_secret_only_the_hash_is_published() {
        let spec: ClientSpec = serde_json::from_value(json!({
            "id": "argocd", "redirectURIs": ["https://argocd.example/auth/callback"],
            "secretRef": { "name": "argocd" }, "namespaces": [],
        }))
        .unwrap();
        let confidential = client(&spec, Some(b"secret"));
        let hash = digest::digest(&digest::SHA256, b"secret");
        assert_eq!(confidential.secret_hash.as_deref(), Some(hash.as_ref()));
        assert_eq!(confidential.namespaces, Some(vec![]), "an empty list lets nobody in");
        assert_eq!(client(&spec, None).secret_hash, None);
    }

    #[test]
    fn tokens_live_five_minutes_where_the_class_says_nothing() {
        assert_eq!(token_seconds(&class()), 300);
        let mut class = class();
        class.spec.provider.builtin.as_mut().unwrap().token_lifetime = Some("1h".into());
        assert_eq!(token_seconds(&class), 3600);
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        for accepted in
            [Verdict::yes(reason::ACCEPTED, ""), Verdict::no(reason::SECRET_NOT_FOUND, "")]
        {
            let mut class = class();
            let first = decide(&class, &accepted, &at(1));
            class.status = Some(first.clone());
            assert_eq!(decide(&class, &accepted, &at(9)), first);
        }
    }
}
