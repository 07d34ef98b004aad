//! Permissions end in time, whatever other organizations do.

use std::time::Duration;

use anyhow::{bail, ensure};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use rollcall_kit::{scim::Scim, wait::until};
use serde_json::json;

use crate::world::World;

/// How many teams of another organization are busy.
const TEAMS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(300);

async fn directory(world: &World, organization: &str, spec: &str) -> anyhow::Result<Scim> {
    world.organization(organization).await?;
    world.make_one("DirectorySync", organization, "idp", spec).await?;
    world.reason(organization, "dsync/idp", "Configured", "AwaitingFirstRequest").await?;
    Ok(world.stage.scim(&world.control_plane, organization, "idp").await?.0)
}

/// Waits until an organization has so many bindings.
async fn has_bindings(world: &World, organization: &str, wanted: usize) -> anyhow::Result<()> {
    let list = format!("get rolebindings -n {organization}-web -o name");
    until(&format!("{organization} to have {wanted} bindings"), PATIENCE, async || {
        let found = world.kubectl(&list).await?.lines().count();
        ensure!(found == wanted, "it has {found}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn a_permission_ends_within_five_seconds_while_hundreds_of_teams_of_another_are_busy()
-> anyhow::Result<()> {
    let world = World::own().await?;
    let everything = "{source: {scim: {}}, teams: {import: {include: [\"*\"], permissions: \
                      [{name: look, clusterRole: view}]}}}";
    let busy = directory(&world, "busy", everything).await?;
    let ada = busy.create_user("ada@busy.example", "Ada").await?;
    for number in 0..TEAMS {
        busy.create_group(&format!("Team {number}"), &[&ada]).await?;
    }
    has_bindings(&world, "busy", TEAMS).await?;
    let calm = directory(&world, "calm", "{source: {scim: {}}}").await?;
    calm.create_group("Staff", &[]).await?;
    let end = Timestamp::from_second(Timestamp::now().as_second() + 40)?;
    let team = format!(
        "{{directorySyncRef: {{name: idp}}, group: {{displayName: Staff}}, permissions: \
         [{{name: ci, clusterRole: edit, expiresAt: \"{end}\"}}]}}"
    );
    world.make_one("DirectoryTeam", "calm", "staff", &team).await?;
    has_bindings(&world, "calm", 1).await?;
    // each change concerns all of them
    let changes = async {
        for active in [false, true].into_iter().cycle() {
            let patch = json!({
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "replace", "value": {"active": active}}],
            });
            let (status, body) = busy.send(Method::PATCH, &format!("Users/{ada}"), &patch).await?;
            ensure!(status.is_success(), "{status}: {body}");
        }
        bail!("no more changes")
    };
    let ending = async {
        has_bindings(&world, "calm", 0).await?;
        anyhow::Ok(Timestamp::now().duration_since(end))
    };
    let late: SignedDuration = tokio::select! {
        late = ending => late?,
        ended = changes => ended?,
    };
    ensure!(late >= SignedDuration::ZERO, "{late} early");
    ensure!(late < SignedDuration::from_secs(5), "{late} late");
    Ok(())
}
