//! IdentityClass: what serves organizations. Nothing is made for one; it says only whether it can
//! serve.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector},
};
use tokio_util::sync::CancellationToken;

use super::{
    Context, Kind, RESYNC, Result, controller, error_policy, jittered, nudges::Nudge, pass, report,
    status, tenancy::is_default,
};
use crate::api::{
    IdentityClass, IdentityClassStatus,
    conditions::{Conditions, Verdict, Waiting, all_of, kind, reason},
    meta,
};

impl Kind for IdentityClass {
    const NAME: &'static str = "IdentityClass";
}

pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    controller(&ctx, reflector::store(), |nudge, _| matches!(nudge, Nudge::All), stop)
        .run(reconcile, error_policy, ctx)
        .for_each(report)
        .await;
}

async fn reconcile(class: Arc<IdentityClass>, ctx: Arc<Context>) -> Result<Action> {
    pass(&class, &ctx, async {
        let status = decide(&class, &ctx.tenancy.default_classes(), &status::now());
        ctx.status.write(class.as_ref(), &status).await?;
        Ok(Action::requeue(jittered(RESYNC)))
    })
    .await
}

/// `defaults` are the names of all default classes, in order.
fn decide(class: &IdentityClass, defaults: &[String], now: &Time) -> IdentityClassStatus {
    let accepted = if is_default(class) && defaults.len() > 1 {
        Verdict::no(
            reason::DUPLICATE_DEFAULT,
            format!(
                "{} are all annotated {}: leave it on one. Until then none is the default.",
                defaults.join(", "),
                meta::DEFAULT_CLASS
            ),
        )
    } else {
        Verdict::yes(reason::ACCEPTED, "")
    };
    let ready = all_of(&[&accepted], format!("{} serves organizations.", class.name_any()));
    let waiting = if ready.is_yes() { Waiting::No } else { Waiting::Edit };
    let old = class.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let mut conditions = Conditions::new(old, class.metadata.generation, now);
    conditions.set(kind::ACCEPTED, &accepted);
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

    #[test]
    fn two_default_classes_both_say_so() {
        let both = ["a".to_owned(), "b".to_owned()];
        let status = decide(&class(), &both, &at(1));
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::DUPLICATE_DEFAULT);
        let status = decide(&class(), &both[..1], &at(1));
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::READY);
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        let mut class = class();
        let first = decide(&class, &[], &at(1));
        class.status = Some(first.clone());
        assert_eq!(decide(&class, &[], &at(9)), first);
    }
}
