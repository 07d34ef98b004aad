//! What platform teams may rely on: two default classes, a lost installation key, objects that went
//! without their clean-up, a controller that is killed, how long people outlive their directory. One
//! test: it stops what others would share.

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use rollcall::ledger::Ledger;
use rollcall_kit::{stage::NAMESPACE, wait::until};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World};

const SCIM: &str = "{source: {scim: {}}}";

#[tokio::test]
async fn what_a_platform_team_breaks_is_told_and_can_be_mended() -> anyhow::Result<()> {
    let mut world = World::own().await?;
    let scim = world.directory("acme", SCIM).await?;
    world.make_one("VerifiedDomain", "acme", "acme", "{domain: acme.example}").await?;
    world.prove("acme", "acme").await?;
    let ada = scim.create_user("ada@acme.example", "Ada").await?;
    scim.create_group("Staff", &[&ada]).await?;
    let team = "{directorySyncRef: {name: idp}, group: {displayName: Staff}, \
                permissions: [{name: look, clusterRole: view}]}";
    world.make_one("DirectoryTeam", "acme", "staff", team).await?;
    world.reason("acme", "dteam/staff", "Ready", "Ready").await?;

    two_default_classes(&world).await?;
    lost_installation_key(&mut world).await?;
    killed(&mut world).await?;
    kept_for_thirty_days(&mut world).await?;

    // while nobody looks, the directory and the team go without their clean-up
    world.stage.stop().await?;
    for object in ["dsync/idp", "dteam/staff"] {
        world.kubectl(&format!("delete {object} -n acme --wait=false")).await?;
        let bare = "--type=merge -p {\"metadata\":{\"finalizers\":null}}";
        world.kubectl(&format!("patch {object} -n acme {bare}")).await?;
        world.gone("acme", object).await?;
    }
    world.has_roles("acme-web", "view").await?;
    world.stage.run().await?;
    world.has_roles("acme-web", "").await?;
    until("the token to end", PATIENCE, async || {
        let (status, _) = scim.send(Method::GET, "Users", &Value::Null).await?;
        ensure!(status.as_u16() == 401, "{status}");
        Ok(Some(()))
    })
    .await?;
    let nobody = world.stage.rollcall(&["people", "ada@acme.example", "-n", "acme"])?;
    ensure!(nobody.contains("nobody"), "{nobody}");
    world.reason("acme", "vd/acme", "Verified", "RecordFound").await?;
    world.stage.stop().await
}

/// Neither serves those who name none, both say so, and nothing that is proved is lost.
async fn two_default_classes(world: &World) -> anyhow::Result<()> {
    let second = "{apiVersion: rollcall.dev/v1alpha1, kind: IdentityClass, \
        metadata: {name: second, annotations: {rollcall.dev/is-default-class: \"true\"}}, \
        spec: {provider: {builtin: {}}, namespaceSelector: {}, grantableClusterRoles: [view]}}";
    world.apply(second).await?;
    for class in ["idclass/second", "idclass/builtin"] {
        world.reason("default", class, "Accepted", "DuplicateDefault").await?;
    }
    for object in ["dteam/staff", "dsync/idp", "vd/acme"] {
        world.reason("acme", object, "Accepted", "ClassNotFound").await?;
    }
    world.reason("acme", "vd/acme", "Verified", "RecordFound").await?;
    world.kubectl("delete idclass second").await?;
    world.reason("default", "idclass/builtin", "Ready", "Ready").await?;
    world.reason("acme", "dteam/staff", "Ready", "Ready").await?;
    world.reason("acme", "dsync/idp", "Ready", "Ready").await.map(drop)
}

/// Everything stalls, with the name of the Secret; restored, all goes on.
async fn lost_installation_key(world: &mut World) -> anyhow::Result<()> {
    let secret = "secret/rollcall-installation-key";
    let saved = world.get(NAMESPACE, secret, "{.data.key}").await?;
    let end = Timestamp::from_second(Timestamp::now().as_second() + 20)?;
    let ending = format!(
        "{{directorySyncRef: {{name: idp}}, group: {{displayName: Staff}}, permissions: [\
         {{name: look, clusterRole: view}}, {{name: ci, clusterRole: edit, expiresAt: \"{end}\"}}]}}"
    );
    world.make_one("DirectoryTeam", "acme", "staff", &ending).await?;
    world.has_roles("acme-web", "edit view").await?;
    world.stage.stop().await?;
    world.kubectl(&format!("delete {secret} -n {NAMESPACE}")).await?;
    world.stage.run().await?;
    for object in ["vd/acme", "dsync/idp", "dteam/staff"] {
        let message = world.reason("acme", object, "Stalled", "InstallationKeyMissing").await?;
        ensure!(message.contains("rollcall/rollcall-installation-key"), "{message}");
        world.reason("acme", object, "Ready", "InstallationKeyMissing").await?;
    }
    world.reason("acme", "vd/acme", "Verified", "RecordFound").await?;
    world.reason("acme", "dteam/staff", "PermissionsApplied", "Applied").await?;
    // what ends, ends nevertheless
    world.has_roles("acme-web", "view").await?;
    let restored = json!({
        "apiVersion": "v1", "kind": "Secret", "immutable": true, "data": {"key": saved},
        "metadata": {"name": "rollcall-installation-key", "namespace": NAMESPACE},
    });
    world.apply(&restored.to_string()).await?;
    for object in ["vd/acme", "dsync/idp", "dteam/staff"] {
        world.reason("acme", object, "Ready", "Ready").await?;
        world
            .field("acme", object, "{.status.conditions[?(@.type==\"Stalled\")].status}", "")
            .await?;
    }
    Ok(())
}

/// Killed in the middle of work, it goes on where it was.
async fn killed(world: &mut World) -> anyhow::Result<()> {
    for number in 0..20 {
        let spec = format!("{{domain: d{number}.acme.example}}");
        world.make_one("VerifiedDomain", "acme", &format!("d{number}"), &spec).await?;
    }
    world.stage.kill()?;
    world.stage.run().await?;
    for number in 0..20 {
        let object = format!("vd/d{number}");
        world.reason("acme", &object, "Verified", "AwaitingRecord").await?;
        world.kubectl(&format!("delete {object} -n acme --wait=false")).await?;
    }
    Ok(())
}

/// People and groups of a deleted DirectorySync are kept for 30 days, and no longer.
async fn kept_for_thirty_days(world: &mut World) -> anyhow::Result<()> {
    const HOURS: i64 = 30 * 24;
    world.organization("globex").await?;
    let directories = [("kept", HOURS - 1), ("forgotten", HOURS + 1)];
    let mut people = vec![];
    for (name, _) in directories {
        world.make_one("DirectorySync", "globex", name, SCIM).await?;
        let scim = world.connect("globex", name).await?;
        people.push(scim.create_user(&format!("{name}@globex.example"), "Ada").await?);
        world.kubectl(&format!("delete dsync {name} -n globex")).await?;
    }
    world.stage.stop().await?;
    let id = world.kubectl("get namespace globex -o jsonpath={.metadata.uid}").await?;
    let ledger = Ledger::open(&world.stage.ledger.parse()?).await?;
    for (name, hours) in directories {
        let deleted = Timestamp::now() - SignedDuration::from_hours(hours);
        ledger.make_directory(&id, name, deleted).await?;
        ledger.delete_directory(&id, name, deleted).await?;
    }
    ledger.close().await;
    world.stage.run().await?;
    until("a directory to be forgotten", PATIENCE, async || {
        let log = world.stage.rollcall(&["log", "-n", "globex"])?;
        ensure!(log.contains("directory.purge forgotten"), "{log}");
        ensure!(!log.contains("directory.purge kept"), "{log}");
        Ok(Some(()))
    })
    .await?;
    for ((name, _), (person, known)) in directories.iter().zip(people.iter().zip([200, 404])) {
        world.make_one("DirectorySync", "globex", name, SCIM).await?;
        let scim = world.connect("globex", name).await?;
        let (status, _) = scim.send(Method::GET, &format!("Users/{person}"), &Value::Null).await?;
        ensure!(status == known, "{name}: {status}");
        let (_, all) = scim.send(Method::GET, "Users", &Value::Null).await?;
        ensure!(all["totalResults"] == u8::from(known == 200), "{name}: {all}");
    }
    Ok(())
}
