//! DirectorySync: its endpoint, its token, the import of its groups as teams.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::{
        controller::Action,
        reflector::{ObjectRef, store::Writer},
    },
};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Context, Error, Kind, MANAGER, Nudge, Result, controller_on, crash, delete_seen, error_policy,
    events, filled, imports, jittered, namespace,
    removals::{self, Judgement},
    report,
    scim_token::{self, TokenSecret},
    tenancy::Organization,
    until, with_finalizer,
};
use crate::{
    api::{
        DirectorySync, DirectorySyncStatus, DirectoryTeam, LocalRef, PendingRemovals, ScimEndpoint,
        conditions::{Conditions, Truth, Verdict, Waiting, all_of, kind, reason, whole_seconds},
        meta,
    },
    ledger::{Directory, Group, Topic},
};

/// How many of the teams that wait for their removal are named.
const SAMPLE: usize = 10;
/// How soon it is noticed that a Secret in the way of ours is gone; that of a directory deleted just
/// now is, once the garbage collector comes by.
const IN_THE_WAY: SignedDuration = SignedDuration::from_secs(5);
/// How soon a pass is repeated that knew less than the API server.
const SOON: SignedDuration = SignedDuration::from_millis(200);
/// How soon a Secret that was deleted is noticed: it can only be asked for by name. A tenth more is
/// still within the two minutes that README tells.
const AGAIN: Duration = Duration::from_secs(105);

impl Kind for DirectorySync {
    const NAME: &'static str = "DirectorySync";
}

pub async fn run(ctx: Arc<Context>, writer: Writer<DirectorySync>, stop: CancellationToken) {
    let (store, objects) = (ctx.syncs.clone(), ctx.syncs.clone());
    let concerned = move |nudge: &Nudge| match nudge {
        Nudge::Ledger { topic: Topic::Directory | Topic::People, changes } => {
            let named = changes.iter().filter_map(|change| {
                let own = change.organization.as_ref()?;
                objects.get(&ObjectRef::new(&change.name).within(own))
            });
            named.collect()
        }
        Nudge::Ledger { .. } => vec![],
        _ => objects.state_filter(|sync| wakes(nudge, sync)),
    };
    controller_on(&ctx, events(&ctx), (store, writer), concerned, stop)
        .run(reconcile, error_policy, ctx)
        .for_each(report)
        .await;
}

fn wakes(nudge: &Nudge, sync: &DirectorySync) -> bool {
    let Some(own) = &sync.metadata.namespace else { return false };
    match nudge {
        Nudge::All => true,
        Nudge::Namespace { name, .. } => name == own,
        // a team made by hand goes, and an imported one takes its place; or comes, and it is the
        // other way round
        Nudge::Object { kind, namespace } => *kind == DirectoryTeam::NAME && namespace == own,
        Nudge::Ledger { .. } => false, // by name: see `run`
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
        pending: None,
    };
    let mut again = None;
    match ctx.tenancy.organization(&namespace(sync.as_ref())).await? {
        Err(refused) => facts.accepted = refused,
        Ok(organization) => {
            let mut directory = directory(ctx, &organization, &sync.name_any(), now).await?;
            if ctx.ledger.put_globs(directory.id, &imports::let_in(&sync)).await? {
                let namespace = organization.name.clone();
                ctx.nudges.send(Nudge::Object { kind: DirectorySync::NAME, namespace });
            }
            let (id, endpoint) = (&organization.id, &facts.endpoint);
            let secret = scim_token::keep(&sync, id, &mut directory, endpoint, now, ctx).await?;
            let in_the_way = matches!(secret, TokenSecret::Foreign(_)).then_some(now + IN_THE_WAY);
            facts.secret = Some(secret);
            if sync.spec.suspend != Some(true) {
                let imported = import(&sync, &organization, directory.id, now, ctx).await?;
                (facts.pending, again) = (imported.pending, imported.again);
            }
            again = again.into_iter().chain(overlap_ends(&directory)).chain(in_the_way).min();
            facts.directory = Some(directory);
        }
    }
    let new = decide(&sync, &facts, now);
    let debounced = ctx.status.write(sync.as_ref(), &new).await?;
    let next = debounced.unwrap_or_else(|| jittered(AGAIN));
    Ok(Action::requeue(again.map_or(next, |at| next.min(until(at, Timestamp::now())))))
}

/// When the token before the newest ends, where it hasn't yet.
fn overlap_ends(directory: &Directory) -> Option<Timestamp> {
    directory.tokens.iter().filter_map(|token| token.ends_at).max()
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
    crash::point("directory-stands");
    if let Some(organization) = ctx.ledger.organization_named(&namespace).await? {
        let now = Timestamp::now();
        ctx.ledger.delete_directory(&organization, &sync.name_any(), now).await?;
    }
    crash::point("access-ended");
    ctx.nudges.send(Nudge::Object { kind: DirectorySync::NAME, namespace });
    delete_imported(&sync, ctx).await?;
    crash::point("teams-deleted");
    Ok(())
}

/// Make, change and delete imported teams, for the groups there are. What can't be made holds back
/// no deletion.
async fn import(
    sync: &Arc<DirectorySync>,
    organization: &Organization,
    directory: Uuid,
    now: Timestamp,
    ctx: &Context,
) -> Result<Imported> {
    filled(&ctx.teams).await?;
    let groups = ctx.ledger.groups(directory).await?;
    let pinned = ctx.ledger.groups_of_teams(&organization.id).await?;
    let own = namespace(sync.as_ref());
    let api = Api::<DirectoryTeam>::namespaced(ctx.client.clone(), &own);
    let teams = ctx.teams.state_filter(|team| team.metadata.namespace.as_ref() == Some(&own));
    let plan = plan(sync, groups, teams, pinned).await?;
    let judgement = judge(sync, &plan, directory, now, ctx).await?;
    let gone = plan.remove.iter().filter(|team| judgement.go.contains(&uid(team)));
    let (mut failed, mut again) = (None, judgement.again);
    let mut settle = |result: kube::Result<()>| match result {
        // it changed or came a moment ago, and the cache doesn't have that yet
        Err(kube::Error::Api(error)) if error.is_conflict() || error.is_already_exists() => {
            again = Some(now + SOON);
        }
        Err(error) => failed = Some(error),
        Ok(()) => {}
    };
    for team in plan.step_back.iter().chain(gone) {
        settle(delete_seen(&api, team.as_ref()).await);
        crash::point("removal-begun");
    }
    for (team, want) in &plan.change {
        let patch = Patch::Merge(imports::change(team, want));
        settle(api.patch(&team.name_any(), &by_us(), &patch).await.map(drop));
    }
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    for team in &plan.create {
        settle(api.create(&params, team).await.map(drop));
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let pending = judgement.waits.map(|(id, waits)| {
        let waiting = plan.remove.iter().filter(|team| waits.contains(&uid(team)));
        pending(id, waiting.map(|team| team.name_any()).collect())
    });
    Ok(Imported { pending, again })
}

/// How many teams wait for their removal; of many, only the first are named.
fn pending(id: String, mut names: Vec<String>) -> PendingRemovals {
    names.sort_unstable();
    let teams = i64::try_from(names.len()).unwrap_or(i64::MAX);
    names.truncate(SAMPLE);
    PendingRemovals { id, teams, sample: names }
}

/// What an import comes to. A directory may be large: nobody else waits for that, and only one is
/// worked out at a time, so that many take no more of the machine than one.
async fn plan(
    sync: &Arc<DirectorySync>,
    groups: Vec<Group>,
    teams: Vec<Arc<DirectoryTeam>>,
    pinned: BTreeMap<String, Uuid>,
) -> Result<imports::Plan> {
    static ONE: Semaphore = Semaphore::const_new(1);
    let turn = ONE.acquire().await; // fails only once it is closed, which nobody does
    let sync = sync.clone();
    let plan = spawn_blocking(move || {
        let _turn = turn;
        imports::plan(&sync, &groups, &teams, &pinned)
    });
    plan.await.map_err(Error::Broken)
}

/// What came of an import.
#[derive(Debug, Default)]
struct Imported {
    pending: Option<PendingRemovals>,
    /// When to look again.
    again: Option<Timestamp>,
}

/// Which of the teams that are to be removed go now. They are in the ledger before they go.
async fn judge(
    sync: &DirectorySync,
    plan: &imports::Plan,
    directory: Uuid,
    now: Timestamp,
    ctx: &Context,
) -> Result<Judgement> {
    let remove = plan.remove.iter().map(uid).collect();
    let mut before = ctx.ledger.removals(directory).await?;
    let undone = removals::take_undone(&mut before, &plan.standing, &remove);
    ctx.ledger.forget_removals(directory, &undone).await?;
    let judgement = removals::judge(
        directory,
        &remove,
        plan.standing.len(),
        &before,
        sync.spec.removal.as_ref().into(),
        sync.annotations().get(meta::APPROVE_REMOVAL).map(String::as_str),
        now,
    );
    let (note, approved) = (&judgement.note, judgement.approved);
    ctx.ledger.note_removals(directory, note, approved, now).await?;
    if !note.is_empty() {
        crash::point("removal-noted");
    }
    Ok(judgement)
}

fn uid(team: &Arc<DirectoryTeam>) -> String {
    team.uid().unwrap_or_default()
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}

/// Delete all teams that were imported, also those that were made a moment ago. Not left to the
/// garbage collector, which an orphaning deletion passes by.
async fn delete_imported(sync: &DirectorySync, ctx: &Context) -> Result<()> {
    let api = Api::<DirectoryTeam>::namespaced(ctx.client.clone(), &namespace(sync));
    let ours = format!("{}={MANAGER}", meta::MANAGED_BY);
    let mut failed = None;
    for team in api.list(&ListParams::default().labels(&ours)).await?.items {
        if imports::is_imported(&team, sync) {
            failed = delete_seen(&api, &team).await.err().or(failed);
        }
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
    /// Removals of imported teams that wait for approval.
    pending: Option<PendingRemovals>,
}

fn configured(facts: &Facts) -> Verdict {
    match (&facts.secret, &facts.directory) {
        (Some(TokenSecret::Foreign(name)), _) => Verdict::no(
            reason::SECRET_CONFLICT,
            format!(
                "The Secret {name} isn't Rollcall's: delete or rename it, then the token is made."
            ),
        ),
        (
            Some(TokenSecret::Ours(name)),
            Some(directory @ Directory { first_request_at: Some(_), .. }),
        ) => {
            let rotated = overlap_ends(directory).map_or_else(String::new, |at| {
                format!(
                    " Its token ends at {at}: enter the new one, of the Secret {name}, there before."
                )
            });
            let message = format!("The company IdP has called with the right token.{rotated}");
            Verdict::yes(reason::CONNECTED, message)
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

/// Present only while a removal waits.
fn removal_blocked(pending: &PendingRemovals, name: &str) -> Verdict {
    let PendingRemovals { id, teams, sample } = pending;
    let more =
        if sample.len() < usize::try_from(*teams).unwrap_or(usize::MAX) { " and more" } else { "" };
    Verdict::yes(
        reason::THRESHOLD_EXCEEDED,
        format!(
            "{teams} imported teams are to be removed, more than spec.removal lets go: {}{more}. \
             Nobody is in a team whose group is gone; its bindings stay. If it is meant, let them go: \
             kubectl annotate dsync {name} --overwrite {}={id}",
            sample.join(", "),
            meta::APPROVE_REMOVAL
        ),
    )
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
    if let Some(pending) = &facts.pending {
        conditions.set(kind::REMOVAL_BLOCKED, &removal_blocked(pending, &sync.name_any()));
    }
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
        pending_removals: facts.pending.clone(),
        conditions: conditions.ready(&ready, waiting),
    }
}

fn to_the_minute(at: Timestamp) -> Time {
    whole_seconds(at - SignedDuration::from_secs(at.as_second().rem_euclid(60)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::conditions::{find, reason_of},
        ledger::Token,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sync() -> DirectorySync {
        let spec = serde_json::json!({ "source": { "scim": {} } });
        DirectorySync::new("okta", serde_json::from_value(spec).unwrap())
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
                rotation: None,
            }),
            pending: None,
        }
    }

    /// The reasons of these conditions, empty where one isn't there.
    fn reasons<const N: usize>(facts: &Facts, kinds: [&str; N]) -> [String; N] {
        let conditions = decide(&sync(), facts, at(1)).conditions;
        kinds.map(|kind| reason_of(&conditions, kind).to_owned())
    }

    #[test]
    fn a_directory_is_ready_once_the_idp_has_called_and_pushed() {
        for (facts, synced, ready) in [
            (facts(0, false), reason::NOTHING_YET, reason::AWAITING_FIRST_REQUEST),
            (facts(0, true), reason::NOTHING_YET, reason::NOTHING_YET),
            (facts(1, true), reason::IN_SYNC, reason::READY),
        ] {
            let waits = if ready == reason::READY { "" } else { ready };
            let kinds = [kind::SYNCED, kind::READY, kind::RECONCILING, kind::STALLED];
            assert_eq!(reasons(&facts, kinds), [synced, ready, waits, ""]);
        }
    }

    #[test]
    fn a_foreign_secret_in_the_way_is_named_and_waits_for_somebody() {
        let secret = Some(TokenSecret::Foreign("okta-scim-token".into()));
        let facts = Facts { secret, ..facts(1, true) };
        let kinds = [kind::CONFIGURED, kind::READY, kind::RECONCILING, kind::STALLED];
        let conflict = reason::SECRET_CONFLICT;
        assert_eq!(reasons(&facts, kinds), [conflict, conflict, "", conflict]);
    }

    #[test]
    fn a_refused_namespace_shows_no_endpoint() {
        let accepted = Verdict::no(reason::NOT_ALLOWED_BY_CLASS, "");
        let facts = Facts { accepted, secret: None, directory: None, ..facts(0, false) };
        let status = decide(&sync(), &facts, at(1));
        assert_eq!(status.scim, None);
        let kinds = [kind::CONFIGURED, kind::SYNCED, kind::READY, kind::STALLED];
        assert_eq!(reasons(&facts, kinds), [reason::NOT_ALLOWED_BY_CLASS; 4]);
    }

    #[test]
    fn a_removal_that_waits_is_told_with_what_lets_it_through() {
        let sample = vec!["team-a".to_owned(), "team-b".to_owned()];
        let pending = PendingRemovals { id: "0123456789ab".into(), teams: 30, sample };
        let status = decide(&sync(), &Facts { pending: Some(pending), ..facts(1, true) }, at(1));
        let blocked = find(&status.conditions, kind::REMOVAL_BLOCKED).unwrap();
        assert_eq!(
            (blocked.status.as_str(), blocked.reason.as_str()),
            ("True", "ThresholdExceeded")
        );
        assert!(blocked.message.starts_with("30 imported teams"), "{}", blocked.message);
        let command = "annotate dsync okta --overwrite rollcall.dev/approve-removal=0123456789ab";
        assert!(blocked.message.contains(command), "{}", blocked.message);
        assert_eq!(reason_of(&status.conditions, kind::READY), reason::READY);
        let none = decide(&sync(), &facts(1, true), at(1));
        assert!(find(&none.conditions, kind::REMOVAL_BLOCKED).is_none());
    }

    #[test]
    fn of_many_removals_that_wait_ten_are_named_and_that_there_are_more() {
        let told = |teams: usize| {
            let names = (0..teams).rev().map(|number| format!("team-{number:02}")).collect();
            let pending = Some(pending("0123456789ab".into(), names));
            let status = decide(&sync(), &Facts { pending, ..facts(1, true) }, at(1));
            let blocked = find(&status.conditions, kind::REMOVAL_BLOCKED).unwrap();
            (status.pending_removals.unwrap(), blocked.message.clone())
        };
        let (ten, says) = told(10);
        assert_eq!((ten.teams, ten.sample.len()), (10, 10));
        assert!(says.contains("team-08, team-09. Nobody"), "{says}");
        let (eleven, says) = told(11);
        assert_eq!((eleven.teams, eleven.sample), (11, ten.sample));
        assert!(says.starts_with("11 imported teams"), "{says}");
        assert!(says.contains("team-08, team-09 and more. Nobody"), "{says}");
    }

    #[test]
    fn while_a_token_is_rotated_its_end_is_told() {
        let mut rotated = facts(1, true);
        let token = Token { id: Uuid::nil(), ends_at: Some(at(86_400)) };
        rotated.directory.as_mut().unwrap().tokens = vec![token];
        let status = decide(&sync(), &rotated, at(1));
        let configured = find(&status.conditions, kind::CONFIGURED).unwrap();
        assert_eq!(configured.reason, reason::CONNECTED);
        assert!(configured.message.contains("ends at 1970-01-02T00:00:00Z"));
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
