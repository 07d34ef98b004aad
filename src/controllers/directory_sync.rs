//! DirectorySync: its endpoint, its token, the import of its groups as teams.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams},
    runtime::{controller::Action, reflector::store::Writer},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Context, Kind, MANAGER, Nudge, Result, controller, delete_seen, error_policy, imports,
    jittered, namespace, report, tenancy::Organization, with_finalizer,
};
use crate::{
    api::{
        DirectorySync, DirectorySyncStatus, DirectoryTeam, LocalRef, ScimEndpoint,
        conditions::{Conditions, Truth, Verdict, Waiting, all_of, kind, reason, whole_seconds},
        meta,
    },
    keys,
    ledger::{Directory, Group, Topic},
};

/// The type of the Secret that holds a token.
const SECRET_TYPE: &str = "rollcall.dev/scim-token";
/// How soon a Secret that was deleted is noticed: it can only be asked for by name.
const AGAIN: Duration = Duration::from_secs(120);

impl Kind for DirectorySync {
    const NAME: &'static str = "DirectorySync";
}

pub async fn run(ctx: Arc<Context>, writer: Writer<DirectorySync>, stop: CancellationToken) {
    controller(&ctx, (ctx.syncs.clone(), writer), wakes, stop)
        .run(reconcile, error_policy, ctx)
        .for_each(report)
        .await;
}

fn wakes(nudge: &Nudge, sync: &DirectorySync) -> bool {
    let own = namespace(sync);
    match nudge {
        Nudge::All => true,
        Nudge::Namespace { name, .. } => *name == own,
        Nudge::Ledger(change) => {
            change.topic == Topic::Directory
                && change.organization.as_ref() == Some(&own)
                && change.name == sync.name_any()
        }
        // a team made by hand goes, and an imported one takes its place
        Nudge::Object { kind, namespace } => *kind == DirectoryTeam::NAME && *namespace == own,
    }
}

async fn reconcile(sync: Arc<DirectorySync>, ctx: Arc<Context>) -> Result<Action> {
    with_finalizer(sync, &ctx, |s| apply(s, &ctx), |s| cleanup(s, &ctx)).await
}

async fn apply(sync: Arc<DirectorySync>, ctx: &Context) -> Result<Action> {
    let now = Timestamp::now();
    let endpoint = format!(
        "{}/scim/v2/{}/{}",
        ctx.settings.public_url,
        namespace(sync.as_ref()),
        sync.name_any()
    );
    let mut facts = Facts {
        accepted: Verdict::yes(reason::ACCEPTED, ""),
        endpoint,
        secret: None,
        directory: None,
    };
    match ctx.tenancy.organization(&namespace(sync.as_ref())).await? {
        Err(refused) => facts.accepted = refused,
        Ok(organization) => {
            let mut directory = directory(ctx, &organization, &sync.name_any(), now).await?;
            facts.secret =
                Some(keep_token(&sync, &mut directory, &facts.endpoint, now, ctx).await?);
            if sync.spec.suspend != Some(true) {
                let groups = ctx.ledger.groups(directory.id).await?;
                let pinned = ctx.ledger.groups_of_teams(&organization.id).await?;
                import(&sync, &groups, &pinned, ctx).await?;
            }
            facts.directory = Some(directory);
        }
    }
    let new = decide(&sync, &facts, now);
    let debounced = ctx.status.write(sync.as_ref(), &new).await?;
    Ok(Action::requeue(debounced.unwrap_or_else(|| jittered(AGAIN))))
}

async fn directory(
    ctx: &Context,
    organization: &Organization,
    name: &str,
    now: Timestamp,
) -> Result<Directory> {
    if let Some(directory) = ctx.ledger.directory(&organization.id, name).await? {
        return Ok(directory);
    }
    let directory = ctx.ledger.make_directory(&organization.id, name, now).await?;
    let namespace = organization.name.clone();
    ctx.nudges.send(Nudge::Object { kind: DirectorySync::NAME, namespace });
    Ok(directory)
}

/// The token and everyone's access end first; people and groups are kept for a while.
async fn cleanup(sync: Arc<DirectorySync>, ctx: &Context) -> Result<()> {
    let namespace = namespace(sync.as_ref());
    if let Some(organization) = ctx.ledger.organization_named(&namespace).await? {
        let now = Timestamp::now();
        ctx.ledger.delete_directory(&organization, &sync.name_any(), now).await?;
    }
    ctx.nudges.send(Nudge::Object { kind: DirectorySync::NAME, namespace });
    // not left to the garbage collector, which an orphaning deletion passes by
    import(&sync, &[], &BTreeMap::new(), ctx).await
}

/// How the Secret with the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TokenSecret {
    Ours(String),
    /// Somebody else's is in the way, and stays.
    Foreign(String),
}

/// See that the Secret holds a token that opens the directory. What the Secret says is never
/// believed: its annotation only names the token, whose hash is in the ledger.
async fn keep_token(
    sync: &DirectorySync,
    directory: &mut Directory,
    endpoint: &str,
    now: Timestamp,
    ctx: &Context,
) -> Result<TokenSecret> {
    let name = format!("{}-scim-token", sync.name_any());
    let api = Api::<Secret>::namespaced(ctx.client.clone(), &namespace(sync));
    let found = api.get_metadata_opt(&name).await?;
    match &found {
        Some(secret) if !is_ours(secret, sync) => {
            // ours was deleted before this one came, and its token went with it
            ctx.ledger.delete_tokens(directory.id).await?;
            return Ok(TokenSecret::Foreign(name));
        }
        Some(secret) if names_token_of(secret, directory) => return Ok(TokenSecret::Ours(name)),
        _ => {}
    }
    let id = Uuid::now_v7();
    let token = BASE64_URL_SAFE_NO_PAD.encode(keys::random()?);
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    // from here on the old token opens nothing; a crash before the Secret is written only means
    // one more token at the next pass
    ctx.ledger.replace_token(directory.id, id, hash.as_ref(), now).await?;
    directory.first_request_at = None;
    let secret = secret(sync, &name, id, endpoint, &token);
    match found {
        None => match api.create(&PostParams::default(), &secret).await {
            Err(kube::Error::Api(error)) if error.is_already_exists() => {
                return Ok(TokenSecret::Foreign(name));
            }
            other => drop(other?),
        },
        Some(old) => {
            let mut patch = serde_json::to_value(&secret).map_err(kube::Error::SerdeError)?;
            patch["metadata"]["resourceVersion"] = json!(old.resource_version());
            let params = PatchParams::apply(MANAGER).force();
            api.patch(&name, &params, &Patch::Apply(patch)).await?;
        }
    }
    Ok(TokenSecret::Ours(name))
}

fn is_ours(secret: &PartialObjectMeta<Secret>, sync: &DirectorySync) -> bool {
    secret.labels().get(meta::MANAGED_BY).is_some_and(|by| by == MANAGER)
        && secret.labels().get(meta::OWNER_UID) == sync.meta().uid.as_ref()
}

fn names_token_of(secret: &PartialObjectMeta<Secret>, directory: &Directory) -> bool {
    let id = secret.annotations().get(meta::TOKEN_ID).and_then(|id| id.parse().ok());
    id.is_some_and(|id| directory.tokens.contains(&id))
}

fn secret(sync: &DirectorySync, name: &str, id: Uuid, endpoint: &str, token: &str) -> Secret {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: sync.namespace(),
            labels: Some(BTreeMap::from([
                pair(meta::MANAGED_BY, MANAGER),
                pair(meta::OWNER_UID, &sync.uid().unwrap_or_default()),
            ])),
            annotations: Some(BTreeMap::from([pair(meta::TOKEN_ID, &id.to_string())])),
            owner_references: sync.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.into()),
        string_data: Some(BTreeMap::from([pair("endpoint", endpoint), pair("token", token)])),
        ..Secret::default()
    }
}

/// Make, change and delete imported teams, for the groups there are. `pinned` are the groups that
/// teams stand for. What can't be made holds back no deletion.
async fn import(
    sync: &DirectorySync,
    groups: &[Group],
    pinned: &BTreeMap<String, Uuid>,
    ctx: &Context,
) -> Result<()> {
    let import = sync.spec.teams.as_ref().and_then(|teams| teams.import.as_ref());
    let api = Api::<DirectoryTeam>::namespaced(ctx.client.clone(), &namespace(sync));
    let teams = api.list(&ListParams::default()).await?.items;
    let plan = imports::plan(sync, import, groups, &teams, pinned);
    let mut failed = None;
    for team in &plan.delete {
        failed = delete_seen(&api, team).await.err().or(failed);
    }
    for team in &plan.apply {
        let params = PatchParams::apply(MANAGER).force();
        failed = api.patch(&team.name_any(), &params, &Patch::Apply(team)).await.err().or(failed);
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// What one pass found.
struct Facts {
    accepted: Verdict,
    endpoint: String,
    /// `None` where the namespace is no organization, as for `directory`.
    secret: Option<TokenSecret>,
    directory: Option<Directory>,
}

fn configured(facts: &Facts) -> Verdict {
    match (&facts.secret, &facts.directory) {
        (Some(TokenSecret::Foreign(name)), _) => Verdict::no(
            reason::SECRET_CONFLICT,
            format!(
                "The Secret {name} isn't Rollcall's: delete or rename it, then the token is made."
            ),
        ),
        (Some(TokenSecret::Ours(_)), Some(Directory { first_request_at: Some(_), .. })) => {
            Verdict::yes(reason::CONNECTED, "The company IdP has called with the right token.")
        }
        (Some(TokenSecret::Ours(name)), _) => Verdict::no(
            reason::AWAITING_FIRST_REQUEST,
            format!(
                "Enter {} and the token of the Secret {name} at the company IdP, and have it test \
                 the connection.",
                facts.endpoint
            ),
        ),
        (None, _) => Verdict { truth: Truth::False, ..facts.accepted.clone() },
    }
}

fn synced(facts: &Facts) -> Verdict {
    match &facts.directory {
        Some(Directory { users, groups, .. }) if users + groups > 0 => {
            Verdict::yes(reason::IN_SYNC, "What the company IdP pushed is in force.")
        }
        Some(_) => Verdict::no(
            reason::NOTHING_YET,
            "The company IdP has pushed nobody yet: assign people and groups to it there.",
        ),
        None => Verdict { truth: Truth::False, ..facts.accepted.clone() },
    }
}

fn decide(sync: &DirectorySync, facts: &Facts, now: Timestamp) -> DirectorySyncStatus {
    let configured = configured(facts);
    let synced = synced(facts);
    let suspended = sync.spec.suspend == Some(true);
    let ready = if suspended {
        Verdict::no(
            reason::SUSPENDED,
            "Suspended: what the company IdP pushes is still taken, but teams aren't made or deleted.",
        )
    } else {
        all_of(&[&facts.accepted, &configured, &synced], synced.message.clone())
    };
    let waiting = match () {
        () if suspended || ready.is_yes() => Waiting::No,
        () if !facts.accepted.is_yes() || configured.reason == reason::SECRET_CONFLICT => {
            Waiting::Edit
        }
        () => Waiting::Outside,
    };
    let directory = facts.directory.as_ref();
    let old = sync.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let at = whole_seconds(now);
    let mut conditions = Conditions::new(old, sync.metadata.generation, &at);
    conditions.set(kind::ACCEPTED, &facts.accepted);
    conditions.set(kind::CONFIGURED, &configured);
    conditions.set(kind::SYNCED, &synced);
    DirectorySyncStatus {
        observed_generation: sync.metadata.generation,
        source: Some("SCIM".into()),
        users: directory.map(|d| d.users),
        groups: directory.map(|d| d.groups),
        last_change_at: directory.and_then(|d| d.changed_at).map(to_the_minute),
        scim: directory.map(|_| ScimEndpoint {
            endpoint: facts.endpoint.clone(),
            token_secret_ref: match &facts.secret {
                Some(TokenSecret::Ours(name)) => Some(LocalRef { name: name.clone() }),
                _ => None,
            },
        }),
        conditions: conditions.ready(&ready, waiting),
    }
}

fn to_the_minute(at: Timestamp) -> Time {
    whole_seconds(at - SignedDuration::from_secs(at.as_second().rem_euclid(60)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DirectorySyncSpec, SourceSpec, conditions::reason_of};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sync() -> DirectorySync {
        let spec = DirectorySyncSpec { suspend: None, source: SourceSpec::default(), teams: None };
        DirectorySync::new("okta", spec)
    }

    fn facts(users: i64, called: bool) -> Facts {
        Facts {
            accepted: Verdict::yes(reason::ACCEPTED, ""),
            endpoint: "https://rollcall.example/scim/v2/acme/okta".into(),
            secret: Some(TokenSecret::Ours("okta-scim-token".into())),
            directory: Some(Directory {
                id: Uuid::nil(),
                first_request_at: called.then(|| at(5)),
                changed_at: Some(at(119)),
                users,
                groups: 0,
                tokens: vec![],
            }),
        }
    }

    fn ready(facts: &Facts) -> String {
        let status = decide(&sync(), facts, at(1));
        reason_of(&status.conditions, kind::READY).to_owned()
    }

    #[test]
    fn a_directory_is_ready_once_the_idp_has_called_and_pushed() {
        assert_eq!(ready(&facts(0, false)), reason::AWAITING_FIRST_REQUEST);
        assert_eq!(ready(&facts(0, true)), reason::NOTHING_YET);
        assert_eq!(ready(&facts(1, true)), reason::READY);
    }

    #[test]
    fn a_foreign_secret_in_the_way_is_named() {
        let secret = Some(TokenSecret::Foreign("okta-scim-token".into()));
        assert_eq!(ready(&Facts { secret, ..facts(1, true) }), reason::SECRET_CONFLICT);
    }

    #[test]
    fn a_refused_namespace_shows_no_endpoint() {
        let accepted = Verdict::no(reason::NOT_ALLOWED_BY_CLASS, "");
        let facts = Facts { accepted, secret: None, directory: None, ..facts(0, false) };
        let status = decide(&sync(), &facts, at(1));
        assert_eq!(status.scim, None);
        assert_eq!(ready(&facts), reason::NOT_ALLOWED_BY_CLASS);
    }

    #[test]
    fn the_last_change_is_told_to_the_minute() {
        let status = decide(&sync(), &facts(1, true), at(1));
        assert_eq!(status.last_change_at, Some(Time(at(60))));
    }

    #[test]
    fn deciding_twice_changes_nothing() {
        let mut sync = sync();
        let first = decide(&sync, &facts(1, true), at(1));
        sync.status = Some(first.clone());
        assert_eq!(decide(&sync, &facts(1, true), at(9)), first);
    }

    #[test]
    fn a_suspended_directory_says_so_and_stays_connected() {
        let mut sync = sync();
        sync.spec.suspend = Some(true);
        let status = decide(&sync, &facts(1, true), at(1));
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::SUSPENDED);
        assert_eq!(reason_of(&status.conditions, kind::CONFIGURED), reason::CONNECTED);
    }
}
