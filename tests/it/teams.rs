//! What users may rely on of teams: where permissions reach and when they end, which groups count,
//! how imports come and go.

use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use rollcall_kit::{scim::Scim, wait::until};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World};

async fn team(
    world: &World,
    organization: &str,
    group: &str,
    permissions: &str,
) -> anyhow::Result<()> {
    let spec = format!(
        "{{directorySyncRef: {{name: idp}}, group: {{displayName: {group}}}, permissions: {permissions}}}"
    );
    world.make_one("DirectoryTeam", organization, &group.to_lowercase(), &spec).await
}

/// The names of our bindings of an organization, with where they are.
async fn bindings(world: &World, organization: &str) -> anyhow::Result<Vec<String>> {
    let of = format!(
        "-l app.kubernetes.io/managed-by=rollcall,rollcall.dev/organization={organization}"
    );
    let list = format!("get rolebindings,clusterrolebindings -A {of} -o json");
    let list: Value = serde_json::from_str(&world.kubectl(&list).await?)?;
    let mut found = vec![];
    for item in list["items"].as_array().context("no list")? {
        let role = item["roleRef"]["name"].as_str().context("no role")?;
        let place = item["metadata"]["namespace"].as_str().unwrap_or("everywhere");
        found.push(format!("{role} {place}"));
    }
    found.sort_unstable();
    Ok(found)
}

async fn has_bindings(world: &World, organization: &str, expected: &[&str]) -> anyhow::Result<()> {
    until(&format!("{organization} to have {expected:?}"), PATIENCE, async || {
        let now = bindings(world, organization).await?;
        ensure!(now == expected, "it has {now:?}");
        Ok(Some(()))
    })
    .await
}

async fn has_teams(
    world: &World,
    organization: &str,
    who: &str,
    teams: &str,
) -> anyhow::Result<()> {
    until(&format!("{who} to be in {teams}"), PATIENCE, async || {
        let told = world.stage.rollcall(&["people", who, "-n", organization])?;
        ensure!(told.contains(&format!("Teams      {teams}\n")), "{told}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn the_whole_cluster_is_given_only_where_the_class_allows_it_and_taken_back()
-> anyhow::Result<()> {
    let world = World::shared().await?;
    world
        .apply(
            "{apiVersion: rollcall.dev/v1alpha1, kind: IdentityClass, metadata: {name: wide}, \
             spec: {provider: {builtin: {}}, namespaceSelector: {}, grantableClusterRoles: [view, edit], \
             clusterScopeSelector: {matchLabels: {tier: gold}}}}",
        )
        .await?;
    let scim = world.directory("wide", "{source: {scim: {}}}").await?;
    world.kubectl("annotate namespace wide rollcall.dev/class=wide").await?;
    let ada = scim.create_user("ada@wide.example", "Ada").await?;
    scim.create_group("Staff", &[&ada]).await?;
    team(world, "wide", "Staff", "[{name: a, clusterRole: view, cluster: true}]").await?;
    let message = world.reason("wide", "dteam/staff", "Accepted", "ScopeNotAllowed").await?;
    ensure!(message.contains("for which a asks"), "{message}");
    has_bindings(world, "wide", &[]).await?;
    has_teams(world, "wide", "ada@wide.example", "none").await?;

    world.kubectl("label namespace wide tier=gold").await?;
    world.reason("wide", "dteam/staff", "Ready", "Ready").await?;
    has_bindings(world, "wide", &["view everywhere"]).await?;
    has_teams(world, "wide", "ada@wide.example", "wide:staff").await?;
    let may = "auth can-i list nodes --as rollcall:wide:ada --as-group rollcall:wide:staff";
    // view has nothing of nodes, but every namespace's pods
    ensure!(world.kubectl(may).await.is_err());
    let may =
        "auth can-i list pods -n kube-system --as rollcall:wide:ada --as-group rollcall:wide:staff";
    ensure!(world.kubectl(may).await?.starts_with("yes"));
    // taken away by hand: made again
    let all = "delete clusterrolebindings -l rollcall.dev/organization=wide";
    world.kubectl(all).await?;
    has_bindings(world, "wide", &["view everywhere"]).await?;
    // suspended, it stays as long as the class allows it
    world
        .kubectl("patch dteam staff -n wide --type merge -p {\"spec\":{\"suspend\":true}}")
        .await?;
    world.reason("wide", "dteam/staff", "Ready", "Suspended").await?;
    has_bindings(world, "wide", &["view everywhere"]).await?;
    world.kubectl("label namespace wide tier-").await?;
    has_bindings(world, "wide", &[]).await?;
    world
        .kubectl("patch dteam staff -n wide --type merge -p {\"spec\":{\"suspend\":false}}")
        .await?;
    world.kubectl("label namespace wide tier=gold").await?;
    has_bindings(world, "wide", &["view everywhere"]).await?;
    world
        .kubectl("patch dteam staff -n wide --type merge -p {\"spec\":{\"suspend\":true}}")
        .await?;
    world.reason("wide", "dteam/staff", "Ready", "Suspended").await?;
    world
        .kubectl("patch idclass wide --type merge -p {\"spec\":{\"grantableClusterRoles\":[]}}")
        .await?;
    has_bindings(world, "wide", &[]).await?;
    world.kubectl("delete dteam staff -n wide").await?;
    has_bindings(world, "wide", &[]).await
}

#[tokio::test]
async fn a_selector_follows_the_labels_of_the_organizations_namespaces() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("select").await?;
    world.kubectl("create namespace select-data").await?;
    world
        .kubectl("label namespace select-data rollcall.dev/organization=select stage=live")
        .await?;
    world.kubectl("create namespace select-stray").await?;
    world.kubectl("label namespace select-stray stage=live").await?;
    let scim = world.directory("select", "{source: {scim: {}}}").await?;
    scim.create_group("Staff", &[]).await?;
    let live = "[{name: a, clusterRole: view, namespaceSelector: {matchLabels: {stage: live}}}]";
    team(world, "select", "Staff", live).await?;
    has_bindings(world, "select", &["view select-data"]).await?;
    world.kubectl("label namespace select-web stage=live").await?;
    has_bindings(world, "select", &["view select-data", "view select-web"]).await?;
    world.kubectl("label namespace select-data stage=test --overwrite").await?;
    has_bindings(world, "select", &["view select-web"]).await?;
    let none = "[{name: a, clusterRole: view, namespaceSelector: {matchExpressions: [{key: stage, operator: DoesNotExist}]}}]";
    team(world, "select", "Staff", none).await?;
    has_bindings(world, "select", &[]).await?;
    let message =
        world.reason("select", "dteam/staff", "PermissionsApplied", "NoPermissions").await?;
    ensure!(message.contains("name no namespace"), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_permission_ends_within_five_seconds_of_its_time_and_its_author_learns_it()
-> anyhow::Result<()> {
    let world = World::shared().await?;
    let scim = world.directory("ending", "{source: {scim: {}}}").await?;
    for group in ["Staff", "Guests"] {
        scim.create_group(group, &[]).await?;
    }
    let end = Timestamp::from_second(Timestamp::now().as_second() + 20)?;
    let ending = format!("{{name: ci, clusterRole: edit, expiresAt: \"{end}\"}}");
    team(world, "ending", "Staff", &format!("[{ending}, {{name: a, clusterRole: view}}]")).await?;
    team(world, "ending", "Guests", &format!("[{ending}]")).await?;
    let all = &["edit ending-web", "edit ending-web", "view ending-web"];
    has_bindings(world, "ending", all).await?;
    let message = world.reason("ending", "dteam/staff", "PermissionsApplied", "Applied").await?;
    ensure!(message == format!("2 bindings. ci ends at {end}."), "{message}");
    // also where nothing else changes any more
    let suspend = "--type merge -p {\"spec\":{\"suspend\":true}}";
    world.kubectl(&format!("patch dteam guests -n ending {suspend}")).await?;
    world.reason("ending", "dteam/guests", "Ready", "Suspended").await?;
    ensure!(Timestamp::now() < end, "the machine is too slow for this test");
    has_bindings(world, "ending", all).await?;

    has_bindings(world, "ending", &["view ending-web"]).await?;
    let late = Timestamp::now().duration_since(end);
    ensure!(late >= SignedDuration::ZERO, "{late} early");
    ensure!(late < SignedDuration::from_secs(5), "{late} late");
    until("the author to learn it", PATIENCE, async || {
        let (_, message) = world.condition("ending", "dteam/staff", "PermissionsApplied").await?;
        ensure!(message.starts_with(&format!("1 binding. ci ended at {end}")), "{message}");
        Ok(Some(()))
    })
    .await?;
    // not made again, whoever asks for a look
    world.nudge("ending", "dteam/staff").await?;
    let unsuspend = "--type merge -p {\"spec\":{\"suspend\":false}}";
    world.kubectl(&format!("patch dteam guests -n ending {unsuspend}")).await?;
    let message =
        world.reason("ending", "dteam/guests", "PermissionsApplied", "NoPermissions").await?;
    ensure!(
        message.starts_with("Nobody gets access through this team any more. ci ended"),
        "{message}"
    );
    has_bindings(world, "ending", &["view ending-web"]).await
}

#[tokio::test]
async fn a_group_that_the_directory_leaves_out_gives_nobody_anything() -> anyhow::Result<()> {
    let world = World::shared().await?;
    let spec = |exclude: &str| {
        format!(
            "{{source: {{scim: {{}}}}, groups: {{include: [\"Team *\", Staff], exclude: [{exclude}]}}, \
              teams: {{import: {{include: [\"*\"]}}}}}}"
        )
    };
    let scim = world.directory("leftout", &spec("")).await?;
    let ada = scim.create_user("ada@leftout.example", "Ada").await?;
    team(world, "leftout", "Staff", "[]").await?;
    for group in ["Staff", "Team A", "Everyone"] {
        scim.create_group(group, &[&ada]).await?;
    }
    world.reason("leftout", "dteam/team-a", "Ready", "Ready").await?;
    has_teams(world, "leftout", "ada@leftout.example", "leftout:staff, leftout:team-a").await?;
    world.make_one("DirectorySync", "leftout", "idp", &spec("Staff, \"* A\"")).await?;
    let message = world.reason("leftout", "dteam/staff", "GroupFound", "NotFound").await?;
    ensure!(message.contains("spec.groups of idp leaves the group Staff out"), "{message}");
    world.gone("leftout", "dteam/team-a").await?;
    has_teams(world, "leftout", "ada@leftout.example", "none").await?;
    let why = world.stage.rollcall(&["why", "ada@leftout.example", "-n", "leftout"])?;
    ensure!(why.contains("Staff: left out by spec.groups"), "{why}");
    world.make_one("DirectorySync", "leftout", "idp", &spec("\"* A\"")).await?;
    world.reason("leftout", "dteam/staff", "GroupFound", "Found").await?;
    has_teams(world, "leftout", "ada@leftout.example", "leftout:staff").await
}

/// Makes the directory of an organization, that imports everything, with so many groups of Ada.
async fn imported(
    world: &World,
    organization: &str,
    groups: usize,
) -> anyhow::Result<(Scim, Vec<String>)> {
    let spec = "{source: {scim: {}}, removal: {maxCount: 2, maxPercent: 10}, teams: {import: \
                {include: [\"*\"], permissions: [{name: look, clusterRole: view}]}}}";
    let scim = world.directory(organization, spec).await?;
    let ada = scim.create_user(&format!("ada@{organization}.example"), "Ada").await?;
    let mut ids = vec![];
    for number in 0..groups {
        ids.push(scim.create_group(&format!("Team {number}"), &[&ada]).await?);
    }
    let place = format!("view {organization}-web");
    has_bindings(world, organization, &vec![place.as_str(); groups]).await?;
    Ok((scim, ids))
}

async fn suspend(world: &World, organization: &str, suspend: bool) -> anyhow::Result<()> {
    let patch = format!("--type merge -p {{\"spec\":{{\"suspend\":{suspend}}}}}");
    world.kubectl(&format!("patch dsync idp -n {organization} {patch}")).await?;
    let now = if suspend { "Suspended" } else { "Ready" };
    world.reason(organization, "dsync/idp", "Ready", now).await.map(drop)
}

async fn delete_groups(scim: &Scim, ids: &[String]) -> anyhow::Result<()> {
    for id in ids {
        let (status, _) = scim.send(Method::DELETE, &format!("Groups/{id}"), &Value::Null).await?;
        ensure!(status.is_success(), "{status}");
    }
    Ok(())
}

async fn pending(world: &World, organization: &str, teams: &str) -> anyhow::Result<String> {
    let path = "{.status.pendingRemovals.teams}";
    world.field(organization, "dsync/idp", path, teams).await?;
    world.get(organization, "dsync/idp", "{.status.pendingRemovals.id}").await
}

#[tokio::test]
async fn beyond_the_limits_access_ends_at_once_and_teams_wait_for_approval() -> anyhow::Result<()> {
    let world = World::shared().await?;
    let (scim, ids) = imported(world, "removal", 6).await?;
    suspend(world, "removal", true).await?;
    delete_groups(&scim, &ids[..4]).await?;
    has_teams(world, "removal", "ada@removal.example", "removal:team-4, removal:team-5").await?;
    suspend(world, "removal", false).await?;
    let first = pending(world, "removal", "4").await?;
    let message =
        world.reason("removal", "dsync/idp", "RemovalBlocked", "ThresholdExceeded").await?;
    ensure!(message.contains(&format!("rollcall.dev/approve-removal={first}")), "{message}");
    let sample = world.get("removal", "dsync/idp", "{.status.pendingRemovals.sample[*]}").await?;
    ensure!(sample == "team-0 team-1 team-2 team-3", "{sample}");
    let place = ["view removal-web"; 6];
    has_bindings(world, "removal", &place).await?;

    // an approval is for the teams that it was given for: another set waits for its own
    delete_groups(&scim, &ids[4..5]).await?;
    let second = pending(world, "removal", "5").await?;
    ensure!(first != second);
    let approve = async |id: &str| {
        let annotation = format!("rollcall.dev/approve-removal={id}");
        world.kubectl(&format!("annotate dsync idp -n removal --overwrite {annotation}")).await
    };
    approve(&first).await?;
    world.reason("removal", "dsync/idp", "RemovalBlocked", "ThresholdExceeded").await?;
    has_bindings(world, "removal", &place).await?;
    // a group that is pushed anew takes its team up again
    let grace = scim.create_user("grace@removal.example", "Grace").await?;
    let anew = scim.create_group("Team 0", &[&grace]).await?;
    world.field("removal", "dteam/team-0", "{.status.group.id}", &anew).await?;
    has_teams(world, "removal", "grace@removal.example", "removal:team-0").await?;
    let third = pending(world, "removal", "4").await?;
    approve(&third).await?;
    has_bindings(world, "removal", &place[..2]).await?;
    world.field("removal", "dsync/idp", "{.status.pendingRemovals}", "").await?;
    let path = "{.status.conditions[?(@.type==\"RemovalBlocked\")].status}";
    world.field("removal", "dsync/idp", path, "").await?;
    let log = world.stage.rollcall(&["log", "-n", "removal"])?;
    ensure!(log.contains("rollcall teams.remove idp: 4 imported teams, approved"), "{log}");
    // a few go by themselves
    delete_groups(&scim, &ids[5..]).await?;
    has_bindings(world, "removal", &place[..1]).await
}

#[tokio::test]
async fn deleting_a_directory_ends_access_and_a_deleted_kind_destroys_no_people()
-> anyhow::Result<()> {
    let mut world = World::own().await?;
    let (mut scim, ids) = imported(&world, "acme", 3).await?;
    let opens = async |scim: &Scim| {
        anyhow::Ok(scim.send(Method::GET, "Users", &Value::Null).await?.0.as_u16())
    };
    ensure!(opens(&scim).await? == 200);
    let make = async |world: &World| {
        let spec = "{source: {scim: {}}, teams: {import: {include: [\"*\"]}}}";
        world.make_one("DirectorySync", "acme", "idp", spec).await?;
        let scim = world.connect("acme", "idp").await?;
        let teams = "acme:team-0, acme:team-1, acme:team-2";
        has_teams(world, "acme", "ada@acme.example", teams).await?;
        anyhow::Ok(scim)
    };
    // whenever it crashes while it cleans up, it goes on there
    for point in ["directory-stands", "access-ended", "teams-deleted"] {
        world.stage.stop().await?;
        world.stage.crash_at(Some(point));
        world.stage.run().await?;
        world.kubectl("delete dsync idp -n acme --wait=false").await?;
        let crashed = world.stage.processes()[0].dies::<()>();
        let crashed = tokio::time::timeout(PATIENCE, crashed).await.context(point)?;
        ensure!(format!("{:#}", crashed.unwrap_err()).contains("signal"), "{point}");
        world.stage.kill()?;
        world.stage.crash_at(None);
        world.stage.run().await?;
        world.gone("acme", "dsync/idp").await.context(point)?;
        has_bindings(&world, "acme", &[]).await.context(point)?;
        ensure!(opens(&scim).await? == 401, "{point}: the token still opens");
        let teams = world.kubectl("get dteam -n acme -o name").await?;
        ensure!(teams.is_empty(), "{point}: {teams}");
        scim = make(&world).await.context(point)?;
    }
    // the kind itself goes, with every object of it, and comes back
    world.kubectl("delete crd directorysyncs.rollcall.dev --timeout=60s").await?;
    ensure!(opens(&scim).await? == 401, "the token still opens");
    let nobody = world.stage.rollcall(&["people", "ada@acme.example", "-n", "acme"])?;
    ensure!(nobody.contains("nobody"), "{nobody}");
    rollcall_kit::stage::install_crds(&world.control_plane).await?;
    let scim = make(&world).await?;
    for id in &ids {
        let (status, _) = scim.send(Method::GET, &format!("Groups/{id}"), &Value::Null).await?;
        ensure!(status.is_success(), "{id}: {status}");
    }

    // removals that were let go before a crash go on after it, and count once
    let limits = "{\"spec\":{\"removal\":{\"maxCount\":1,\"maxPercent\":70}}}";
    world.kubectl(&format!("patch dsync idp -n acme --type merge -p {limits}")).await?;
    for (point, left) in [("removal-noted", 2), ("removal-begun", 1)] {
        world.stage.stop().await?;
        world.stage.crash_at(Some(point));
        world.stage.run().await?;
        delete_groups(&scim, &ids[left..=left]).await?;
        let crashed = world.stage.processes()[0].dies::<()>();
        let crashed = tokio::time::timeout(PATIENCE, crashed).await.context(point)?;
        ensure!(format!("{:#}", crashed.unwrap_err()).contains("signal"), "{point}");
        world.stage.kill()?;
        world.stage.crash_at(None);
        world.stage.run().await?;
        world.gone("acme", &format!("dteam/team-{left}")).await.context(point)?;
    }
    // two of three went: the third would be one too many
    delete_groups(&scim, &ids[..1]).await?;
    pending(&world, "acme", "1").await?;
    world.stage.stop().await
}

#[tokio::test]
async fn a_token_is_rotated_on_request_and_the_one_before_works_for_a_while() -> anyhow::Result<()>
{
    let world = World::shared().await?;
    let scim = world.directory("rotate", "{source: {scim: {}}}").await?;
    scim.create_user("ada@rotate.example", "Ada").await?;
    world.reason("rotate", "dsync/idp", "Configured", "Connected").await?;
    let opens = async |scim: &Scim| {
        anyhow::Ok(scim.send(Method::GET, "Users", &Value::Null).await?.0.as_u16() == 200)
    };
    let rotate = async |before: &Scim, request: &str| {
        let annotation = format!("rollcall.dev/rotate-token={request}");
        world.kubectl(&format!("annotate dsync idp -n rotate --overwrite {annotation}")).await?;
        world.next_scim("rotate", "idp", before).await
    };
    let second = rotate(&scim, "1").await?;
    ensure!(opens(&scim).await? && opens(&second).await?);
    until("the overlap to be told", PATIENCE, async || {
        let (reason, message) = world.condition("rotate", "dsync/idp", "Configured").await?;
        ensure!(reason == "Connected" && message.contains("Its token ends at"), "{message}");
        Ok(Some(()))
    })
    .await?;
    // the same request again is met already
    world.nudge("rotate", "dsync/idp").await?;
    // two at a time, no more
    let third = rotate(&second, "2").await?;
    ensure!(!opens(&scim).await? && opens(&second).await? && opens(&third).await?);
    // without an overlap the one before ends at once
    let none = "{\"spec\":{\"source\":{\"scim\":{\"tokenOverlap\":\"0s\"}}}}";
    world.kubectl(&format!("patch dsync idp -n rotate --type merge -p {none}")).await?;
    let fourth = rotate(&third, "3").await?;
    ensure!(!opens(&second).await? && !opens(&third).await? && opens(&fourth).await?);
    let log = world.stage.rollcall(&["log", "-n", "rotate"])?;
    ensure!(
        log.contains("token.create idp") && log.matches("token.rotate idp").count() >= 3,
        "{log}"
    );
    // who wrote is told from others by the token, and all tokens by the id that their Secret had
    let id = "jsonpath={.metadata.annotations.rollcall\\.dev/token-id}";
    let id = world.kubectl(&format!("get secret idp-scim-token -n rotate -o {id}")).await?;
    let fourth_tag = format!("#{}", &id[id.len() - 8..]);
    let rotated =
        |line: &&str| line.contains(&format!("token.rotate idp: {fourth_tag}; the one before, #"));
    ensure!(log.lines().any(|line| rotated(&line) && line.contains("ends at")), "{id}: {log}");
    let written = log.lines().find_map(|line| line.split_once(" user.create "));
    let by = written.and_then(|(line, _)| line.rsplit_once("scim:idp")).context("no actor")?.1;
    ensure!(by != fourth_tag && log.contains(&format!("token.create idp: {by}")), "{by}: {log}");
    // and with its Secret all end
    world.kubectl("delete secret idp-scim-token -n rotate").await?;
    world.nudge("rotate", "dsync/idp").await?;
    until("the token to end", Duration::from_secs(30), async || {
        Ok((!opens(&fourth).await?).then_some(()))
    })
    .await
}

#[tokio::test]
async fn why_names_the_first_broken_link_of_the_chain() -> anyhow::Result<()> {
    let world = World::shared().await?;
    let breaks = async |who: &str, link: &str, says: &str| {
        until(&format!("why to name {link}"), PATIENCE, async || {
            let told = world.stage.rollcall(&["why", who, "-n", "whys"])?;
            let broken = told.lines().find(|line| line.contains("BROKEN")).unwrap_or_default();
            ensure!(broken.starts_with(link) && broken.contains(says), "{told}");
            Ok(Some(()))
        })
        .await
    };
    let ada = "ada@whys.example";
    let scim = world.directory("whys", "{source: {scim: {}}}").await?;
    breaks(ada, "Domain", "whys claims no domain whys.example").await?;
    world.make_one("VerifiedDomain", "whys", "whys", "{domain: whys.example}").await?;
    breaks(ada, "Domain", "whys.example isn't proved yet").await?;
    world.prove("whys", "whys").await?;
    breaks(ada, "Connection", "whys has no configured SsoConnection").await?;
    let url = world.stage.idp.metadata_url();
    let spec = format!("{{saml: {{metadataURL: \"{url}\"}}}}");
    world.make_one("SsoConnection", "whys", "company", &spec).await?;
    world.reason("whys", "sso/company", "Ready", "Ready").await?;
    breaks(ada, "Person", "know nobody with the e-mail or user name").await?;
    let id = scim.create_user(ada, "Ada").await?;
    breaks(ada, "Groups", "none").await?;
    scim.create_group("Staff", &[&id]).await?;
    breaks(ada, "Teams", "Staff: no team stands for it").await?;
    team(world, "whys", "Staff", "[{name: a, clusterRole: cluster-admin}]").await?;
    breaks(ada, "Teams", "Staff: the team staff isn't accepted").await?;
    team(world, "whys", "Staff", "[]").await?;
    breaks(ada, "Access", "none").await?;
    team(world, "whys", "Staff", "[{name: a, clusterRole: view}]").await?;
    until("the chain to hold", PATIENCE, async || {
        let told = world.stage.rollcall(&["why", "ADA@whys.example", "-n", "whys"])?;
        ensure!(!told.contains("BROKEN"), "{told}");
        ensure!(told.contains("Access      ok      staff: view in whys-web\n"), "{told}");
        Ok(Some(()))
    })
    .await?;
    scim.deactivate(&id).await?;
    breaks(ada, "Person", "is deactivated since").await?;
    // another organization knows nothing of it
    world.directory("other", "{source: {scim: {}}}").await?;
    let told = world.stage.rollcall(&["why", ada, "-n", "other"])?;
    ensure!(told.contains("other claims no domain whys.example"), "{told}");
    ensure!(!told.contains("company") && !told.contains("deactivated"), "{told}");
    Ok(())
}

#[tokio::test]
async fn an_imported_team_keeps_its_name_and_a_hand_written_one_takes_its_place_at_once()
-> anyhow::Result<()> {
    let world = World::shared().await?;
    let (scim, ids) = imported(world, "rename", 1).await?;
    let group = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Crew",
        "members": [],
    });
    let (status, _) = scim.send(Method::PUT, &format!("Groups/{}", ids[0]), &group).await?;
    ensure!(status.is_success(), "{status}");
    world.field("rename", "dteam/team-0", "{.status.group.displayName}", "Crew").await?;
    // two of a name: the second gets a hash
    scim.create_group("Crew (1)", &[]).await?;
    scim.create_group("Crew 1", &[]).await?;
    let names = until("three teams", PATIENCE, async || {
        let teams = world.kubectl("get dteam -n rename -o name").await?;
        ensure!(teams.lines().count() == 3, "{teams}");
        Ok(Some(teams))
    })
    .await?;
    let name = |line: &str| line.trim_start_matches("directoryteam.rollcall.dev/").to_owned();
    let names: Vec<_> = names.lines().map(name).collect();
    ensure!(
        names[0] == "crew-1" && names[1].starts_with("crew-1-") && names[2] == "team-0",
        "{names:?}"
    );
    // what somebody wrote wins, and stays as it is written
    let spec = "{directorySyncRef: {name: idp}, group: {displayName: Crew}}";
    world.make_one("DirectoryTeam", "rename", "mine", spec).await?;
    world.gone("rename", "dteam/team-0").await?;
    world.field("rename", "dteam/mine", "{.metadata.labels}", "").await
}
