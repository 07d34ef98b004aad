//! What becomes of people and access where one side alone is restored from its backup, or the ledger
//! lost, as README tells it. What stands for nothing on the other side is shown by `operations` and
//! `directories`, too.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use reqwest::Method;
use rollcall_kit::{scim::Scim, visitor::Visitor, wait::until};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

use crate::{
    company::Company,
    world::{PATIENCE, World},
};

const SCIM: &str = "{source: {scim: {}}}";

#[tokio::test]
async fn a_ledger_that_is_restored_or_lost_is_brought_up_to_date() -> anyhow::Result<()> {
    let mut world = World::own().await?;
    let company = Company::found_in(&world, "acme").await?;
    let scim = world.directory("acme", SCIM).await?;
    company.connect(", admit: DirectoryOnly, directory: {name: idp}").await?;
    let (ada, bob) = (company.email("ada"), company.email("bob"));
    let ids = [scim.create_user(&ada, "Ada").await?, scim.create_user(&bob, "Bob").await?];
    scim.create_group("Staff", &[&ids[0], &ids[1]]).await?;
    team(&world, "acme", "before", "view").await?;
    let browsers = [
        company.sign_in(&company.person("ada")).await?,
        company.sign_in(&company.person("bob")).await?,
    ];
    let Company { idp, .. } = company;

    let backup = world.stage.folder().join("backup");
    back_up(&mut world, &backup).await?;

    // since then Bob has left, Ada's session has ended, and one team has taken the place of another
    scim.deactivate(&ids[1]).await?;
    world.stage.rollcall(&["revoke", &ada, "-n", "acme"])?;
    world.kubectl("delete dteam before -n acme").await?;
    team(&world, "acme", "after", "view").await?;
    let company = Company { world: &world, name: "acme", idp };
    ensure!(signed_in(&company, &browsers).await? == [false, false]);
    let Company { idp, .. } = company;

    world.stage.stop().await?;
    restore(&world, &backup)?;
    world.stage.run().await?;
    // what the cluster says is so again, without anybody's doing
    says(&world, &ada, "Teams      acme:after\n").await?;
    world.reason("acme", "dteam/after", "Ready", "Ready").await?;
    world.reason("acme", "vd/mail", "Verified", "RecordFound").await?;
    // what the company's provider says is so once it says it again: the same token serves
    says(&world, &bob, "Teams      acme:after\n").await?;
    scim.deactivate(&ids[1]).await?;
    says(&world, &bob, "Teams      none").await?;
    // sessions that ended stand again
    let company = Company { world: &world, name: "acme", idp };
    ensure!(signed_in(&company, &browsers).await? == [true, false]);
    let Company { idp, .. } = company;

    // unless they were ended before the start, as README says
    world.stage.stop().await?;
    restore(&world, &backup)?;
    end_sessions(&world).await?;
    world.stage.run().await?;
    let company = Company { world: &world, name: "acme", idp };
    ensure!(signed_in(&company, &browsers).await? == [false, false]);
    company.sign_in(&company.person("ada")).await?;
    scim.deactivate(&ids[1]).await?;
    let Company { idp, .. } = company;

    // and without a ledger nobody is let in before the provider has said it all again
    world.stage.stop().await?;
    lose(&world)?;
    world.stage.run().await?;
    let anew = world.connect("acme", "idp").await?;
    world.reason("acme", "dteam/after", "GroupFound", "NotFound").await?;
    says(&world, &ada, "nobody").await?;
    world.reason("acme", "vd/mail", "Verified", "RecordFound").await?;
    world.reason("acme", "sso/company", "Ready", "Ready").await?;
    let company = Company { world: &world, name: "acme", idp };
    let browser = company.visitor()?;
    // its keys are new, too, and the gateway has them a moment after the controller
    let answer = until("the way to the company's login", PATIENCE, async || {
        company.answer(&browser, &company.person("ada")).await.map(Some)
    })
    .await?;
    company.refused(&browser.post(&answer.acs, &answer.fields).await?, "NotInDirectory")?;
    ensure!(asks(&scim).await? == 401, "the lost ledger's token opens");
    let id = anew.create_user(&ada, "Ada").await?;
    anew.create_group("Staff", &[&id]).await?;
    says(&world, &ada, "Teams      acme:after\n").await?;
    world.reason("acme", "dteam/after", "Ready", "Ready").await?;
    company.sign_in(&company.person("ada")).await?;
    world.stage.stop().await
}

#[tokio::test]
async fn a_cluster_that_is_restored_has_its_yaml_again_and_the_people_of_today()
-> anyhow::Result<()> {
    let mut world = World::own().await?;
    let (ada, bob) = ("ada@acme.example", "bob@acme.example");
    let acme = world.directory("acme", SCIM).await?;
    world.make_one("VerifiedDomain", "acme", "labs", "{domain: labs.example}").await?;
    world.prove("acme", "labs").await?;
    let ids = [acme.create_user(ada, "Ada").await?, acme.create_user(bob, "Bob").await?];
    acme.create_group("Staff", &[&ids[0], &ids[1]]).await?;
    team(&world, "acme", "staff", "view").await?;
    team(&world, "acme", "dropped", "edit").await?;
    let globex = world.directory("globex", SCIM).await?;
    let eve = globex.create_user("eve@globex.example", "Eve").await?;
    globex.create_group("Staff", &[&eve]).await?;
    team(&world, "globex", "staff", "view").await?;
    world.reason("globex", "dsync/idp", "Ready", "Ready").await?;

    world.stage.stop().await?;
    world.control_plane.back_up().await?;
    world.stage.run().await?;

    // since then Bob has left and Grace has come; a team, a directory and a domain have gone, others
    // have come, and a token was rotated
    acme.deactivate(&ids[1]).await?;
    let grace = acme.create_user("grace@acme.example", "Grace").await?;
    world.kubectl("delete dteam dropped -n acme").await?;
    team(&world, "acme", "added", "edit").await?;
    world.kubectl("delete dsync idp -n globex").await?;
    let (record, _) = world.challenge("acme", "labs").await?;
    world.kubectl("delete vd labs -n acme").await?;
    world.stage.dns.set_txt(&record, vec![])?;
    world.make_one("DirectorySync", "acme", "later", SCIM).await?;
    let later = world.connect("acme", "later").await?;
    let zoe = later.create_user("zoe@acme.example", "Zoe").await?;
    world.kubectl("annotate dsync idp -n acme rollcall.dev/rotate-token=1").await?;
    let rotated = world.next_scim("acme", "idp", &acme).await?;
    ensure!(asks(&rotated).await? == 200);

    world.stage.stop().await?;
    world.control_plane.restore().await?;
    world.stage.run().await?;
    // what the YAML has again is served again, to those of today
    says(&world, ada, "Teams      acme:dropped, acme:staff\n").await?;
    says(&world, bob, "Teams      none\n").await?;
    says(&world, "grace@acme.example", "State      active since").await?;
    for team in ["staff", "dropped"] {
        world.reason("acme", &format!("dteam/{team}"), "Ready", "Ready").await?;
        let members = "{.status.members}";
        world.field("acme", &format!("dteam/{team}"), members, "1").await?;
    }
    let anew = world.connect("globex", "idp").await?;
    ensure!(asks(&globex).await? == 401, "the token of a directory that was deleted opens");
    ensure!(has(&anew, &eve).await?, "Eve is lost");
    says(&world, "eve@globex.example", "Teams      globex:staff\n").await?;
    // what it has no more has ended
    world.has_roles("acme-web", "edit view").await?;
    until("the token of the later directory to end", PATIENCE, async || {
        Ok((asks(&later).await? == 401).then_some(()))
    })
    .await?;
    says(&world, "zoe@acme.example", "nobody").await?;
    // nothing is proved by what a status says
    world.reason("acme", "vd/labs", "Verified", "AwaitingRecord").await?;
    // a token that it doesn't know has ended for the one that its Secret has now
    let scim = world.next_scim("acme", "idp", &acme).await?;
    ensure!(asks(&rotated).await? == 401, "a token that nobody knows of opens");
    for id in [&ids[0], &ids[1], &grace] {
        ensure!(has(&scim, id).await?, "{id} is lost");
    }
    // and what is made again under its name has its people again
    world.make_one("DirectorySync", "acme", "later", SCIM).await?;
    ensure!(has(&world.connect("acme", "later").await?, &zoe).await?, "Zoe is lost");
    world.stage.stop().await
}

/// Makes a team of Staff, with this role in the organization's namespaces.
async fn team(world: &World, organization: &str, name: &str, role: &str) -> anyhow::Result<()> {
    let spec = format!(
        "{{directorySyncRef: {{name: idp}}, group: {{displayName: Staff}}, \
           permissions: [{{name: a, clusterRole: {role}}}]}}"
    );
    world.make_one("DirectoryTeam", organization, name, &spec).await?;
    world.reason(organization, &format!("dteam/{name}"), "Ready", "Ready").await.map(drop)
}

/// A copy of the ledger: of a file while nobody writes to it, of a database at any time.
async fn back_up(world: &mut World, backup: &Path) -> anyhow::Result<()> {
    if let Some(database) = &world.database {
        return database.back_up(backup);
    }
    world.stage.stop().await?;
    fs::copy(&world.stage.ledger, backup)?;
    world.stage.run().await
}

/// Puts the copy in the place of the ledger, while Rollcall doesn't run.
fn restore(world: &World, backup: &Path) -> anyhow::Result<()> {
    match &world.database {
        Some(database) => database.restore(backup),
        None => Ok(fs::copy(backup, &world.stage.ledger).map(drop)?),
    }
}

fn lose(world: &World) -> anyhow::Result<()> {
    match &world.database {
        Some(database) => database.empty(),
        None => Ok(fs::remove_file(&world.stage.ledger)?),
    }
}

/// What README has a restored ledger be told before the start.
async fn end_sessions(world: &World) -> anyhow::Result<()> {
    const END: &str = "DELETE FROM sessions";
    if let Some(database) = &world.database {
        return database.run(END).map(drop);
    }
    let mut ledger = SqliteConnection::connect(&world.stage.ledger).await?;
    for statement in ["PRAGMA foreign_keys = ON", END] {
        sqlx::query(statement).execute(&mut ledger).await?;
    }
    Ok(ledger.close().await?)
}

async fn says(world: &World, who: &str, what: &str) -> anyhow::Result<()> {
    let (_, domain) = who.split_once('@').context("no address")?;
    let organization = domain.split('.').next().context("no domain")?;
    until(&format!("{who} to have {what:?}"), PATIENCE, async || {
        let said = world.stage.rollcall(&["people", who, "-n", organization])?;
        ensure!(said.contains(what), "{said}");
        Ok(Some(()))
    })
    .await
}

/// Who of them is signed in.
async fn signed_in(company: &Company<'_>, browsers: &[Visitor; 2]) -> anyhow::Result<[bool; 2]> {
    let [one, other] = browsers;
    Ok([company.is_signed_in(one).await?, company.is_signed_in(other).await?])
}

/// What the SCIM server answers to this token.
async fn asks(scim: &Scim) -> anyhow::Result<u16> {
    Ok(scim.send(Method::GET, "Users?count=1", &Value::Null).await?.0.as_u16())
}

/// Whether the directory has somebody of this id.
async fn has(scim: &Scim, id: &str) -> anyhow::Result<bool> {
    let (status, _) = scim.send(Method::GET, &format!("Users/{id}"), &Value::Null).await?;
    Ok(status.is_success())
}
