//! What becomes of people and access where the ledger is restored from a backup, or lost, and the
//! cluster is not. The other way round, objects without rows and rows without objects, is shown by
//! `operations` and `directories`.

use std::fs;

use anyhow::ensure;
use rollcall_kit::wait::until;
use serde_json::Value;

use crate::world::{PATIENCE, World};

const TEAM: &str = "{directorySyncRef: {name: idp}, group: {displayName: Staff}, \
                    permissions: [{name: look, clusterRole: view}]}";

#[tokio::test]
async fn a_ledger_that_is_restored_or_lost_is_brought_up_to_date() -> anyhow::Result<()> {
    let mut world = World::own().await?;
    world.organization("acme").await?;
    world.make_one("VerifiedDomain", "acme", "acme", "{domain: acme.example}").await?;
    world.prove("acme", "acme").await?;
    world.make_one("DirectorySync", "acme", "idp", "{source: {scim: {}}}").await?;
    world.reason("acme", "dsync/idp", "Configured", "AwaitingFirstRequest").await?;
    let (scim, ..) = world.stage.scim(&world.control_plane, "acme", "idp").await?;
    let ada = scim.create_user("ada@acme.example", "Ada").await?;
    let bob = scim.create_user("bob@acme.example", "Bob").await?;
    scim.create_group("Staff", &[&ada, &bob]).await?;
    world.make_one("DirectoryTeam", "acme", "before", TEAM).await?;
    world.reason("acme", "dteam/before", "Ready", "Ready").await?;

    world.stage.stop().await?;
    let backup = world.stage.folder().join("backup.db");
    fs::copy(&world.stage.ledger, &backup)?;
    world.stage.run().await?;

    // since then Bob has left, and one team has taken the place of another
    scim.deactivate(&bob).await?;
    world.kubectl("delete dteam before -n acme").await?;
    world.make_one("DirectoryTeam", "acme", "after", TEAM).await?;
    world.reason("acme", "dteam/after", "Ready", "Ready").await?;

    world.stage.stop().await?;
    fs::copy(&backup, &world.stage.ledger)?;
    world.stage.run().await?;
    // what the cluster says is so again, without anybody's doing
    says(&world, "ada@acme.example", "Teams      acme:after\n").await?;
    world.reason("acme", "dteam/after", "Ready", "Ready").await?;
    world.reason("acme", "vd/acme", "Verified", "RecordFound").await?;
    // what the company's provider says is so once it says it again: the same token serves
    says(&world, "bob@acme.example", "Teams      acme:after\n").await?;
    scim.deactivate(&bob).await?;
    says(&world, "bob@acme.example", "Teams      none").await?;

    // and without a ledger nobody is let in before the provider has said it all again
    world.stage.stop().await?;
    fs::remove_file(&world.stage.ledger)?;
    world.stage.run().await?;
    world.reason("acme", "dsync/idp", "Configured", "AwaitingFirstRequest").await?;
    world.reason("acme", "dteam/after", "GroupFound", "NotFound").await?;
    says(&world, "ada@acme.example", "nobody").await?;
    world.reason("acme", "vd/acme", "Verified", "RecordFound").await?;
    let (status, _) = scim.send(reqwest::Method::GET, "Users", &Value::Null).await?;
    ensure!(status.as_u16() == 401, "the lost ledger's token: {status}");
    let (scim, ..) = world.stage.scim(&world.control_plane, "acme", "idp").await?;
    let ada = scim.create_user("ada@acme.example", "Ada").await?;
    scim.create_group("Staff", &[&ada]).await?;
    says(&world, "ada@acme.example", "Teams      acme:after\n").await?;
    world.reason("acme", "dteam/after", "Ready", "Ready").await?;
    world.stage.stop().await
}

async fn says(world: &World, who: &str, what: &str) -> anyhow::Result<()> {
    until(&format!("{who} to have {what:?}"), PATIENCE, async || {
        let said = world.stage.rollcall(&["people", who, "-n", "acme"])?;
        ensure!(said.contains(what), "{said}");
        Ok(Some(()))
    })
    .await
}
