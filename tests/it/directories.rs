//! What users may rely on of DirectorySync and DirectoryTeam.

use anyhow::{Context, bail, ensure};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use rollcall_kit::{scim::Scim, wait::until};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::world::{PATIENCE, World};

const POST: reqwest::Method = reqwest::Method::POST;
const PUT: reqwest::Method = reqwest::Method::PUT;
const GET: reqwest::Method = reqwest::Method::GET;

async fn team(world: &World, organization: &str, permissions: &str) -> anyhow::Result<()> {
    let spec = format!(
        "{{directorySyncRef: {{name: idp}}, group: {{displayName: Staff}}, permissions: {permissions}}}"
    );
    world.make_one("DirectoryTeam", organization, "staff", &spec).await
}

/// What becomes of the bindings in a namespace from now on, as the API server tells it in order.
async fn events(
    world: &World,
    namespace: &str,
) -> anyhow::Result<impl Stream<Item = anyhow::Result<String>> + Unpin + use<>> {
    let bindings = Api::<RoleBinding>::namespaced(world.control_plane.client().await?, namespace);
    let now = bindings.list_metadata(&ListParams::default()).await?.metadata.resource_version;
    let from = now.context("a list without a version")?;
    let events = bindings.watch(&WatchParams::default().disable_bookmarks(), &from).await?;
    let told = async |event: kube::Result<WatchEvent<RoleBinding>>| match event? {
        WatchEvent::Added(binding) => Ok(format!("{} comes", binding.role_ref.name)),
        WatchEvent::Deleted(binding) => Ok(format!("{} goes", binding.role_ref.name)),
        other => bail!("{other:?}"),
    };
    Ok(Box::pin(events.then(told)))
}

#[tokio::test]
async fn bindings_follow_permissions_labels_and_tampering() -> anyhow::Result<()> {
    let world = World::shared().await?;
    let scim = world.directory("follow", "{source: {scim: {}}}").await?;
    team(world, "follow", "[{name: a, clusterRole: view}]").await?;
    world.reason("follow", "dteam/staff", "GroupFound", "NotFound").await?;
    let ada = scim.create_user("ada@follow.example", "Ada").await?;
    scim.create_group("Staff", &[&ada]).await?;
    world.reason("follow", "dteam/staff", "Ready", "Ready").await?;
    world.has_roles("follow-web", "view").await?;

    // another role: the new binding comes, then the old one goes
    let mut events = events(world, "follow-web").await?;
    team(world, "follow", "[{name: a, clusterRole: edit}]").await?;
    for expected in ["edit comes", "view goes"] {
        let event = timeout(PATIENCE, events.try_next()).await.context(expected)??;
        ensure!(event.as_deref() == Some(expected), "{event:?} instead of {expected}");
    }
    world.has_roles("follow-web", "edit").await?;
    // taken away by hand: made again
    world.kubectl("delete rolebindings --all -n follow-web").await?;
    world.has_roles("follow-web", "edit").await?;
    // a namespace gets the label, and loses it
    world.kubectl("create namespace follow-new").await?;
    world.kubectl("label namespace follow-new rollcall.dev/organization=follow").await?;
    world.has_roles("follow-new", "edit").await?;
    world.kubectl("label namespace follow-new rollcall.dev/organization-").await?;
    world.has_roles("follow-new", "").await?;
    // one that is named and goes degrades its own entry, and nobody's membership
    world.kubectl("label namespace follow-new rollcall.dev/organization=follow").await?;
    team(world, "follow", "[{name: a, clusterRole: edit, namespaces: [follow-web, follow-new]}]")
        .await?;
    world.has_roles("follow-new", "edit").await?;
    world.kubectl("delete namespace follow-new").await?;
    world.reason("follow", "dteam/staff", "ResolvedRefs", "NamespaceNotFound").await?;
    let person = world.stage.rollcall(&["people", "ada@follow.example", "-n", "follow"])?;
    ensure!(person.contains("Teams      follow:staff"), "{person}");
    world.has_roles("follow-web", "edit").await?;
    // no permission, no binding, and it is said
    team(world, "follow", "[]").await?;
    let message =
        world.reason("follow", "dteam/staff", "PermissionsApplied", "NoPermissions").await?;
    ensure!(message.starts_with("Nobody gets access"), "{message}");
    world.has_roles("follow-web", "").await?;
    // the team gone, its bindings are, too
    team(world, "follow", "[{name: a, clusterRole: view}]").await?;
    world.has_roles("follow-web", "view").await?;
    world.kubectl("delete dteam staff -n follow").await?;
    world.has_roles("follow-web", "").await?;
    let person = world.stage.rollcall(&["people", "ada@follow.example", "-n", "follow"])?;
    ensure!(person.contains("Teams      none"), "{person}");
    Ok(())
}

#[tokio::test]
async fn what_is_out_of_bounds_is_named_and_binds_nothing() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("elsewhere").await?;
    world
        .apply(
            "{apiVersion: rollcall.dev/v1alpha1, kind: IdentityClass, metadata: {name: roles}, \
             spec: {provider: {builtin: {}}, namespaceSelector: {}, \
             grantableClusterRoles: [view, unlisted, missing]}}",
        )
        .await?;
    world.kubectl("create clusterrole unlisted --verb=get --resource=pods").await?;
    let scim = world.directory("bounds", "{source: {scim: {}}}").await?;
    world.kubectl("annotate namespace bounds rollcall.dev/class=roles").await?;
    scim.create_group("Staff", &[]).await?;
    let staff = "dteam/staff";
    for (permissions, condition, reason) in [
        ("[{name: a, clusterRole: cluster-admin}]", "Accepted", "RoleNotGrantable"),
        ("[{name: a, clusterRole: edit}]", "Accepted", "RoleNotGrantable"),
        (
            "[{name: a, clusterRole: view, namespaces: [elsewhere-web]}]",
            "Accepted",
            "NamespaceNotOurs",
        ),
        ("[{name: a, clusterRole: view, namespaces: [bounds]}]", "Accepted", "NamespaceNotOurs"),
        (
            "[{name: a, clusterRole: view, namespaces: [kube-system]}]",
            "Accepted",
            "NamespaceNotOurs",
        ),
        (
            "[{name: a, clusterRole: view, namespaces: [nowhere]}]",
            "ResolvedRefs",
            "NamespaceNotFound",
        ),
        // in the class, but not among the roles that the chart lets the operator bind
        ("[{name: a, clusterRole: unlisted}]", "PermissionsApplied", "Forbidden"),
        ("[{name: a, clusterRole: missing}]", "ResolvedRefs", "RoleNotFound"),
    ] {
        team(world, "bounds", permissions).await?;
        world.reason("bounds", staff, condition, reason).await?;
        for namespace in ["bounds", "bounds-web", "elsewhere-web", "kube-system"] {
            world.has_roles(namespace, "").await?;
        }
    }
    // what is wrong degrades only its own entry
    let some =
        "[{name: a, clusterRole: view}, {name: b, clusterRole: view, namespaces: [nowhere]}]";
    team(world, "bounds", some).await?;
    world.reason("bounds", staff, "PermissionsApplied", "PartiallyApplied").await?;
    world.has_roles("bounds-web", "view").await?;
    // suspended, what stands stays, but not in a namespace that is no longer the organization's
    world.kubectl("patch dteam staff -n bounds --type merge -p {\"spec\":{\"suspend\":true,\"permissions\":[]}}").await?;
    world.reason("bounds", staff, "Ready", "Suspended").await?;
    world.has_roles("bounds-web", "view").await?;
    let relabel = |organization: &str| {
        format!("label namespace bounds-web --overwrite rollcall.dev/organization={organization}")
    };
    world.kubectl(&relabel("elsewhere")).await?;
    world.has_roles("bounds-web", "").await?;

    // nor without a class, for which all else waits
    world.kubectl(&relabel("bounds")).await?;
    world.kubectl("create namespace bounds-api").await?;
    world.kubectl("label namespace bounds-api rollcall.dev/organization=bounds").await?;
    world
        .kubectl("patch dteam staff -n bounds --type merge -p {\"spec\":{\"suspend\":false}}")
        .await?;
    team(world, "bounds", "[{name: a, clusterRole: view}]").await?;
    world.has_roles("bounds-web", "view").await?;
    world.has_roles("bounds-api", "view").await?;
    world.kubectl("annotate namespace bounds --overwrite rollcall.dev/class=nowhere").await?;
    world.reason("bounds", staff, "Accepted", "ClassNotFound").await?;
    world.kubectl(&relabel("elsewhere")).await?;
    world.has_roles("bounds-web", "").await?;
    world.has_roles("bounds-api", "view").await?;

    // a role that may not be bound leaves the one in its place, and no other, unmade
    world.kubectl("annotate namespace bounds --overwrite rollcall.dev/class=roles").await?;
    let both = "[{name: a, clusterRole: unlisted}, {name: b, clusterRole: view}]";
    team(world, "bounds", both).await?;
    world.reason("bounds", staff, "PermissionsApplied", "Forbidden").await?;
    world.has_roles("bounds-api", "view").await?;
    team(world, "bounds", "[{name: b, clusterRole: unlisted}]").await?;
    world.has_roles("bounds-api", "").await
}

#[tokio::test]
async fn a_name_is_pinned_to_its_group_and_two_of_a_name_are_ambiguous() -> anyhow::Result<()> {
    let world = World::shared().await?;
    let scim = world.directory("names", "{source: {scim: {}}}").await?;
    let first = scim.create_group("Staff", &[]).await?;
    team(world, "names", "[]").await?;
    world.field("names", "dteam/staff", "{.status.group.id}", &first).await?;
    let group = |name: &str| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "members": [],
        })
    };
    // another group takes the name: the team stays with the first
    let (status, _) = scim.send(PUT, &format!("Groups/{first}"), &group("Former staff")).await?;
    ensure!(status.is_success(), "{status}");
    scim.create_group("Staff", &[]).await?;
    world.field("names", "dteam/staff", "{.status.group.displayName}", "Former staff").await?;
    world.field("names", "dteam/staff", "{.status.group.id}", &first).await?;

    scim.create_group("Staff", &[]).await?;
    let spec = "{directorySyncRef: {name: idp}, group: {displayName: Staff}}";
    world.make_one("DirectoryTeam", "names", "others", spec).await?;
    world.reason("names", "dteam/others", "GroupFound", "Ambiguous").await?;
    // by its id at the company IdP, one of them is
    let mut third = group("Staff");
    third["externalId"] = "third".into();
    let (status, third) = scim.send(POST, "Groups", &third).await?;
    ensure!(status.is_success(), "{status}: {third}");
    let spec = "{directorySyncRef: {name: idp}, group: {externalId: third}}";
    world.make_one("DirectoryTeam", "names", "others", spec).await?;
    world.reason("names", "dteam/others", "GroupFound", "Found").await?;
    let found = world.get("names", "dteam/others", "{.status.group.id}").await?;
    ensure!(third["id"] == found, "{found}: {third}");
    let spec = "{directorySyncRef: {name: nowhere}, group: {displayName: Staff}}";
    world.make_one("DirectoryTeam", "names", "orphans", spec).await?;
    world.reason("names", "dteam/orphans", "ResolvedRefs", "DirectorySyncNotFound").await?;
    Ok(())
}

#[tokio::test]
async fn imported_teams_come_and_go_with_their_groups_and_step_back() -> anyhow::Result<()> {
    let world = World::shared().await?;
    let spec = |suspend: bool| {
        format!(
            "{{source: {{scim: {{}}}}, suspend: {suspend}, teams: {{import: {{include: [\"*\"], \
               exclude: [\"Secret *\"], permissions: [{{name: look, clusterRole: view}}]}}}}}}"
        )
    };
    // suspended, it takes groups and makes no teams
    let scim = world.directory("imports", &spec(true)).await?;
    let staff = scim.create_group("Staff", &[]).await?;
    scim.create_group("Secret Santas", &[]).await?;
    world.field("imports", "dsync/idp", "{.status.groups}", "2").await?;
    let teams = world.kubectl("get dteam -n imports -o name").await?;
    ensure!(teams.is_empty(), "{teams}");
    world.make_one("DirectorySync", "imports", "idp", &spec(false)).await?;
    world.reason("imports", "dteam/staff", "Ready", "Ready").await?;
    world.has_roles("imports-web", "view").await?;

    // a team by hand for the same group wins
    let spec = "{directorySyncRef: {name: idp}, group: {displayName: Staff}}";
    world.make_one("DirectoryTeam", "imports", "by-hand", spec).await?;
    world.gone("imports", "dteam/staff").await?;
    world.has_roles("imports-web", "").await?;
    world.kubectl("delete dteam by-hand -n imports").await?;
    world.reason("imports", "dteam/staff", "Ready", "Ready").await?;

    scim.send(reqwest::Method::DELETE, &format!("Groups/{staff}"), &Value::Null).await?;
    world.gone("imports", "dteam/staff").await?;
    world.has_roles("imports-web", "").await?;
    let teams = world.kubectl("get dteam -n imports -o name").await?;
    ensure!(teams.is_empty(), "{teams}");
    Ok(())
}

#[tokio::test]
async fn tokens_end_with_their_secret_and_their_directory_and_people_are_taken_up_again()
-> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("tokens").await?;
    // somebody else's Secret is in the way, and stays
    world
        .kubectl("create secret generic idp-scim-token -n tokens --from-literal=token=mine")
        .await?;
    world.make_one("DirectorySync", "tokens", "idp", "{source: {scim: {}}}").await?;
    world.reason("tokens", "dsync/idp", "Configured", "SecretConflict").await?;
    world.field("tokens", "secret/idp-scim-token", "{.data.token}", "bWluZQ==").await?;
    world.kubectl("delete secret idp-scim-token -n tokens").await?;
    world.nudge("tokens", "dsync/idp").await?;
    let old = world.connect("tokens", "idp").await?;
    let ada = old.create_user("ada@tokens.example", "Ada").await?;
    world.reason("tokens", "dsync/idp", "Ready", "Ready").await?;

    // the Secret deleted: the old token ends, a new one is made
    world.kubectl("delete secret idp-scim-token -n tokens").await?;
    world.nudge("tokens", "dsync/idp").await?;
    let fresh =
        until("a new token", PATIENCE, async || world.scim("tokens", "idp").await.map(Some))
            .await?;
    let path = format!("Users/{ada}");
    let asks =
        async |scim: &Scim| anyhow::Ok(scim.send(GET, &path, &Value::Null).await?.0.as_u16());
    ensure!(asks(&old).await? == 401 && asks(&fresh).await? == 200);

    // another organization's token opens nothing
    let other = world.directory("strangers", "{source: {scim: {}}}").await?;
    ensure!(asks(&other).await? == 404, "a stranger's id is known");

    // the directory deleted: the token ends, nobody is anybody; made again, people are there
    world.kubectl("delete dsync idp -n tokens").await?;
    ensure!(asks(&fresh).await? == 401);
    let nobody = world.stage.rollcall(&["people", "ada@tokens.example", "-n", "tokens"])?;
    ensure!(nobody.contains("nobody"), "{nobody}");
    world.gone("tokens", "secret/idp-scim-token").await?;
    world.make_one("DirectorySync", "tokens", "idp", "{source: {scim: {}}}").await?;
    let again = world.connect("tokens", "idp").await?;
    ensure!(asks(&again).await? == 200);

    // somebody else's Secret in the place of ours, once no pass was faster: the token went with it
    until("somebody else's Secret", PATIENCE, async || {
        world.kubectl("delete secret idp-scim-token -n tokens --ignore-not-found").await?;
        let mine = "create secret generic idp-scim-token -n tokens --from-literal=token=mine";
        world.kubectl(mine).await.map(Some)
    })
    .await?;
    world.nudge("tokens", "dsync/idp").await?;
    world.reason("tokens", "dsync/idp", "Configured", "SecretConflict").await?;
    ensure!(asks(&again).await? == 401);
    let log = world.stage.rollcall(&["log", "-n", "tokens"])?;
    ensure!(log.contains("token.create") && log.contains("token.end"), "{log}");
    Ok(())
}
