//! What companies' identity providers push: users as fast as they are taken, beside what other servers
//! take, many organizations at once, and one large directory with a group of everybody. The ledger syncs
//! to the disk before it answers.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    task::spawn_blocking,
    time::{interval, sleep},
};

use super::{
    ORGANIZATION, Setting, machine, peers,
    push::{self, CONNECTIONS, Pushed},
    report::{Aim, Table, milliseconds},
};
use crate::{scim::Scim, wait::until};

/// How many organizations push at once, each so many requests a second, for so long.
const TENANTS: usize = 40;
const REQUESTS_A_SECOND: u32 = 25;
const STEADY: Duration = Duration::from_secs(20);
/// What the large directory has, for each user of the first part.
const LARGE: usize = 5;
const MEMBERS_OF_GROUP: usize = 1_000;
const USERS_OF_GROUP: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);
const DIRECTORY: &str = "company";

/// Measures with `size` users, and five times as many in the large directory.
///
/// # Errors
/// If something fails to work.
pub async fn measure(program: &Path, size: usize, table: &mut Table) -> anyhow::Result<()> {
    let setting = Setting::start(program, "scim").await?;
    let tenants = tenants(&setting).await?;
    let clients = tenants.iter().take(CONNECTIONS).map(Tenant::client);
    let clients = clients.collect::<anyhow::Result<Vec<_>>>()?;
    let measured = async {
        // first of all, while what the gateway has in memory is of this alone
        peers::measure(&setting, &clients, size, table).await?;
        creations(&setting, &clients, size, table).await?;
        steady(&setting, &tenants, table).await?;
        large(&setting, &tenants[0], size * LARGE, table).await
    };
    tokio::select! {
        measured = measured => measured?,
        died = setting.stage.processes()[1].dies() => died?,
    }
    let (now, most) = machine::memory(setting.gateway())?;
    table.row("gateway, resident memory", now, "MiB", Aim::None);
    table.row("gateway, resident memory at its peak", most, "MiB", Aim::None);
    Ok(())
}

/// A directory, and how to make a client with connections of its own.
struct Tenant {
    organization: String,
    endpoint: String,
    token: String,
    ca_pem: String,
}

impl Tenant {
    fn client(&self) -> anyhow::Result<Scim> {
        Scim::new(&self.endpoint, &self.token, &self.ca_pem)
    }
}

async fn tenants(setting: &Setting) -> anyhow::Result<Vec<Tenant>> {
    let Setting { stage, control_plane, .. } = setting;
    let organizations: Vec<_> = (0..TENANTS).map(|i| format!("{ORGANIZATION}-{i}")).collect();
    let objects = organizations.iter().map(|name| {
        format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n---\n\
             {{apiVersion: rollcall.dev/v1alpha1, kind: DirectorySync, metadata: \
             {{name: {DIRECTORY}, namespace: {name}}}, spec: {{source: {{scim: {{}}}}}}}}\n---\n"
        )
    });
    control_plane.kubectl_apply(&objects.collect::<String>()).await?;
    let mut tenants = Vec::new();
    for organization in organizations {
        let (_, endpoint, token) = until("a directory's address and token", PATIENCE, async || {
            stage.scim(control_plane, &organization, DIRECTORY).await.map(Some)
        })
        .await?;
        tenants.push(Tenant { organization, endpoint, token, ca_pem: stage.ca_pem.clone() });
    }
    Ok(tenants)
}

/// Users as fast as they are taken.
async fn creations(
    setting: &Setting,
    clients: &[Scim],
    size: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    println!("==> scim: creating {size} users");
    let ours = std::process::id();
    let (gateway_before, ours_before) =
        (machine::processor_seconds(setting.gateway())?, machine::processor_seconds(ours)?);
    let Pushed { times, rate, .. } = push::users(clients, "new", size).await?;
    let gateway = machine::processor_seconds(setting.gateway())? - gateway_before;
    let ours = machine::processor_seconds(ours)? - ours_before;
    let title = format!("{size} users over TLS on {CONNECTIONS} connections");
    table.row(&title, rate, "/s", Aim::AtLeast(1500.0));
    table.times("latency", times, Aim::None);
    table.row("gateway, processor time", gateway, "s", Aim::None);
    table.row("bench's own processor time (the client)", ours, "s", Aim::None);
    Ok(())
}

/// Many organizations, each at the pace of Entra, with a team of the group that changes, once all have
/// begun. A request that waits for the one before is late from when it should have been sent.
async fn steady(setting: &Setting, tenants: &[Tenant], table: &mut Table) -> anyhow::Result<()> {
    println!("==> scim: {TENANTS} organizations with {REQUESTS_A_SECOND} requests a second each");
    let begun = tenants.iter().enumerate().map(|(i, tenant)| async move {
        let scim = tenant.client()?;
        let user = scim.create_user(&format!("steady{i}@bench.example"), "Steady").await?;
        let group = scim.create_group("Steady", &[]).await?;
        anyhow::Ok((scim, user, group))
    });
    let begun = try_join_all(begun).await?;
    let teams = tenants.iter().map(|tenant| {
        format!(
            "{{apiVersion: rollcall.dev/v1alpha1, kind: DirectoryTeam, metadata: \
             {{name: steady, namespace: {}}}, spec: {{directorySyncRef: {{name: {DIRECTORY}}}, \
             group: {{displayName: Steady}}}}}}\n---\n",
            tenant.organization
        )
    });
    setting.control_plane.kubectl_apply(&teams.collect::<String>()).await?;
    until("each organization's team to have found its group", PATIENCE, async || {
        let get = ["get", "directoryteams", "-A", "-o", "jsonpath={.items[*].status.group.id}"];
        let found = setting.control_plane.kubectl(&get).await?.split_whitespace().count();
        ensure!(found == TENANTS, "{found} of {TENANTS}");
        Ok(Some(()))
    })
    .await?;
    let period = Duration::from_secs(1) / REQUESTS_A_SECOND;
    let clients = begun.iter().enumerate().map(|(i, (scim, user, group))| async move {
        // not all at the same moment
        sleep(period * u32::try_from(i)? / u32::try_from(TENANTS)?).await;
        let mut times = Vec::new();
        let mut clock = interval(period);
        let begun = Instant::now();
        for number in 0.. {
            let due = clock.tick().await.into_std();
            if begun.elapsed() > STEADY {
                break;
            }
            let (method, path, body) = request(number, i, user, group);
            let (status, answer) = scim.send(method, &path, &body).await?;
            ensure!(status.is_success(), "{path}: {status}: {answer}");
            times.push(milliseconds(due));
        }
        anyhow::Ok(times)
    });
    // what others of this host do to its disk and its processors is not ours
    let (stolen, stop) = (machine::stolen_seconds()?, Arc::new(AtomicBool::new(false)));
    let (folder, stopped) = (setting.scratch.path().to_owned(), stop.clone());
    let syncs =
        spawn_blocking(move || machine::syncs(&folder, || !stopped.load(Ordering::Relaxed)));
    let times = try_join_all(clients).await;
    stop.store(true, Ordering::Relaxed);
    let (times, stolen) = (times?.concat(), machine::stolen_seconds()? - stolen);
    let title =
        format!("{TENANTS} organizations x {REQUESTS_A_SECOND} requests a second, answered");
    table.row(&title, times.len() as f64 / STEADY.as_secs_f64(), "/s", Aim::None);
    table.times("latency", times, Aim::AtMost(50.0));
    table.times("one sync of this disk meanwhile", syncs.await??, Aim::None);
    table.row("processor time that other machines took", stolen, "s", Aim::None);
    Ok(())
}

/// What an identity provider does all day: it looks, then it changes something.
fn request(number: usize, tenant: usize, user: &str, group: &str) -> (Method, String, Value) {
    match number % 5 {
        0 | 1 => {
            let filter = format!("userName%20eq%20%22steady{tenant}@bench.example%22");
            (Method::GET, format!("Users?filter={filter}"), Value::Null)
        }
        2 => {
            let title = json!({"op": "Replace", "path": "title", "value": number.to_string()});
            (Method::PATCH, format!("Users/{user}"), push::patch(title))
        }
        3 => {
            let op = if number.is_multiple_of(2) { "Add" } else { "Remove" };
            let member = json!({"op": op, "path": "members", "value": [{"value": user}]});
            (Method::PATCH, format!("Groups/{group}"), push::patch(member))
        }
        _ => {
            let user = json!({"userName": format!("s{tenant}-{number}@bench.example")});
            (Method::POST, "Users".into(), user)
        }
    }
}

/// One directory with many users and groups, and one group of all of them.
async fn large(
    setting: &Setting,
    tenant: &Tenant,
    users: usize,
    table: &mut Table,
) -> anyhow::Result<()> {
    let groups = users / USERS_OF_GROUP;
    let members = MEMBERS_OF_GROUP.min(users);
    println!("==> scim: loading {users} users, {groups} groups, {} members", groups * members);
    let begun = Instant::now();
    let ids = Mutex::new(vec![String::new(); users]);
    each(tenant, users, async |scim, number| {
        let user_name = format!("user{number:06}@large.example");
        let user = json!({
            "userName": user_name,
            "externalId": format!("ext-{number}"),
            "displayName": "User",
            "emails": [{"value": user_name, "type": "work", "primary": true}],
            "active": true,
        });
        let made = push::insist(scim, Method::POST, "Users", &user).await?;
        let id = made["id"].as_str().context("no id")?.to_owned();
        ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[number] = id;
        Ok(())
    })
    .await?;
    let ids = ids.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let named = |numbers: &mut dyn Iterator<Item = usize>| -> Value {
        numbers.map(|number| json!({"value": ids[number % users]})).collect()
    };
    each(tenant, groups, async |scim, number| {
        let from = number * USERS_OF_GROUP;
        let group = json!({
            "displayName": format!("Group {number}"),
            "members": named(&mut (from..from + members)),
        });
        push::insist(scim, Method::POST, "Groups?excludedAttributes=members", &group)
            .await
            .map(drop)
    })
    .await?;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let title = format!("{users} users, {groups} groups, {} memberships", groups * members);
    table.row(&title, minutes, "min", Aim::AtMost(10.0));

    println!("==> scim: a group of {users}");
    let scim = tenant.client()?;
    let everybody = json!({"displayName": "Everybody", "members": named(&mut (1..users))});
    let begun = Instant::now();
    let made =
        push::insist(&scim, Method::POST, "Groups?attributes=displayName", &everybody).await?;
    table.row("that group made at once", milliseconds(begun), "ms", Aim::None);
    let path = format!("Groups/{}", made["id"].as_str().context("no id")?);
    let times = push::one_member(&scim, &path, &ids[0], 500).await?;
    table.times("one member added to that group, or removed", times, Aim::AtMost(10.0));
    until("the users to be counted in the status", PATIENCE, async || {
        let get = ["get", "directorysync", DIRECTORY, "-n", &tenant.organization];
        let path = ["-o", "jsonpath={.status.users}"];
        let counted = setting.control_plane.kubectl(&[&get[..], &path].concat()).await?;
        ensure!(counted.parse::<usize>().is_ok_and(|counted| counted > users), "{counted} users");
        Ok(Some(()))
    })
    .await
}

/// Do something for each of `0..many`, over several connections.
async fn each(
    tenant: &Tenant,
    many: usize,
    work: impl AsyncFn(&Scim, usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let clients = (0..CONNECTIONS).map(|_| async {
        let scim = tenant.client()?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= many {
                return anyhow::Ok(());
            }
            work(&scim, number).await?;
        }
    });
    try_join_all(clients).await.map(drop)
}
