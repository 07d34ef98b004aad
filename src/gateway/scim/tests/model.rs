//! Random operations, beside a model that is simple enough to be right.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::ledger::Selector;

/// How many people and groups there are at most. A member's number is a person's below it, and a
/// group's from it on.
const MANY: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    CreateUser(usize),
    DeleteUser(usize),
    SetActive(usize, bool),
    ReplaceUser(usize, u8),
    SetTitle(usize, u8, Version),
    /// With no name, which is refused.
    Deactivate(usize),
    CreateGroup(usize, BTreeSet<usize>),
    DeleteGroup(usize),
    ReplaceGroup(usize, BTreeSet<usize>),
    Patch(usize, Vec<(Change, BTreeSet<usize>)>),
    Rename(usize, u8, Version),
}

/// Which version a request is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    Any,
    Newest,
    Other,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Add,
    Remove,
    Replace,
}

fn members() -> impl Strategy<Value = BTreeSet<usize>> {
    vec(0..2 * MANY, 0..4).prop_map(|members| members.into_iter().collect())
}

fn changes() -> impl Strategy<Value = Vec<(Change, BTreeSet<usize>)>> {
    let change = prop_oneof![Just(Change::Add), Just(Change::Remove), Just(Change::Replace)];
    vec((change, members()), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..MANY).prop_map(Step::CreateUser),
        1 => (0..MANY).prop_map(Step::DeleteUser),
        1 => (0..MANY, any::<bool>()).prop_map(|(user, active)| Step::SetActive(user, active)),
        1 => (0..MANY, 0..3u8).prop_map(|(user, title)| Step::ReplaceUser(user, title)),
        3 => (0..MANY, members()).prop_map(|(group, members)| Step::CreateGroup(group, members)),
        1 => (0..MANY).prop_map(Step::DeleteGroup),
        1 => (0..MANY, members()).prop_map(|(group, members)| Step::ReplaceGroup(group, members)),
        4 => (0..MANY, changes()).prop_map(|(group, changes)| Step::Patch(group, changes)),
        1 => (0..MANY, 0..3u8, version()).prop_map(|(user, title, of)| Step::SetTitle(user, title, of)),
        1 => (0..MANY).prop_map(Step::Deactivate),
        2 => (0..MANY, 0..3u8, version()).prop_map(|(group, name, of)| Step::Rename(group, name, of)),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::Any), Just(Version::Newest), Just(Version::Other)]
}

#[derive(Default)]
struct Model {
    /// Active, title.
    users: BTreeMap<usize, (bool, u8)>,
    groups: BTreeMap<usize, BTreeSet<usize>>,
    /// Of groups: displayName, externalId.
    names: BTreeMap<usize, (String, Option<String>)>,
    /// Of people and groups, by number: there, or gone.
    ids: BTreeMap<usize, String>,
}

impl Model {
    fn is_there(&self, member: usize) -> bool {
        match member.checked_sub(MANY) {
            None => self.users.contains_key(&member),
            Some(group) => self.groups.contains_key(&group),
        }
    }

    fn id(&self, number: usize) -> String {
        let nobody = || format!("00000000-0000-7000-8000-{number:012}");
        self.ids.get(&number).cloned().unwrap_or_else(nobody)
    }

    fn listed(&self, members: &BTreeSet<usize>) -> Value {
        members.iter().map(|&member| json!({"value": self.id(member)})).collect()
    }

    fn forget(&mut self, member: usize) {
        self.groups.values_mut().for_each(|members| members.retain(|&other| other != member));
    }

    /// Whether a person is in a group, by others too.
    fn leads_to(&self, user: usize, group: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![group];
        while let Some(group) = next.pop() {
            let members = &self.groups[&group];
            if members.contains(&user) {
                return true;
            }
            if seen.insert(group) {
                next.extend(members.iter().filter_map(|member| member.checked_sub(MANY)));
            }
        }
        false
    }

    /// What the members become; `Err` with who stays where somebody unknown shall come.
    fn after(
        &self,
        before: &BTreeSet<usize>,
        changes: &[(Change, BTreeSet<usize>)],
    ) -> Result<BTreeSet<usize>, BTreeSet<usize>> {
        let mut after = before.clone();
        // what the operations add and remove, of which the last ones count
        let (mut added, mut removed) = (BTreeSet::new(), BTreeSet::new());
        for (change, members) in changes {
            for set in [&mut added, &mut after] {
                match change {
                    Change::Add => set.extend(members),
                    Change::Remove => set.retain(|member| !members.contains(member)),
                    Change::Replace => set.clone_from(members),
                }
            }
            match change {
                Change::Add => removed.retain(|member| !members.contains(member)),
                Change::Remove => removed.extend(members),
                Change::Replace => removed.clear(),
            }
        }
        let (known, strangers): (Vec<usize>, Vec<_>) =
            added.iter().partition(|&&member| self.is_there(member));
        after.retain(|&member| self.is_there(member));
        match strangers.is_empty() {
            true => Ok(after),
            // nobody of ours is meant
            false if known.is_empty() => Err(before.difference(&removed).copied().collect()),
            false => Err(after.intersection(before).copied().collect()),
        }
    }

    async fn take(&mut self, client: &Client<'_>, step: Step) {
        let status = match &step {
            Step::CreateUser(user) => {
                let answer = client.post("/Users", json!({"userName": format!("u{user}")})).await;
                if answer.status == 201 {
                    self.ids.insert(*user, answer.body["id"].as_str().unwrap().to_owned());
                }
                let known = self.users.contains_key(user);
                self.users.entry(*user).or_insert((true, 0));
                (answer.status, if known { 409 } else { 201 })
            }
            Step::DeleteUser(user) => {
                let answer = client.delete(&format!("/Users/{}", self.id(*user))).await;
                self.forget(*user);
                (answer.status, self.users.remove(user).map_or(404, |_| 204))
            }
            Step::SetActive(user, active) => {
                let operations = json!([{"op": "Replace", "path": "active", "value": active}]);
                let answer = client.patch(&format!("/Users/{}", self.id(*user)), operations).await;
                let known = self.users.get_mut(user).map(|user| user.0 = *active);
                (answer.status, known.map_or(404, |()| 200))
            }
            Step::ReplaceUser(user, title) => {
                let body = json!({"userName": format!("u{user}"), "title": title.to_string()});
                let answer = client.put(&format!("/Users/{}", self.id(*user)), body).await;
                let known = self.users.get_mut(user).map(|user| user.1 = *title);
                (answer.status, known.map_or(404, |()| 200))
            }
            Step::SetTitle(user, title, of) => {
                let path = format!("/Users/{}", self.id(*user));
                let title_is =
                    json!([{"op": "replace", "path": "title", "value": title.to_string()}]);
                let status = patch_version(client, &path, title_is, *of).await;
                let known = self.users.get_mut(user);
                (status, changed(*of, 200, known.map(|user| &mut user.1), *title))
            }
            Step::Deactivate(user) => {
                let body = json!({"userName": "", "active": false});
                let answer = client.put(&format!("/Users/{}", self.id(*user)), body).await;
                let known = self.users.get_mut(user).map(|user| user.0 = false);
                (answer.status, known.map_or(404, |()| 400))
            }
            Step::Rename(group, name, of) => {
                let path = format!("/Groups/{}", self.id(group + MANY));
                let names = (format!("g{group}-{name}"), Some(name.to_string()));
                let renamed = json!([
                    {"op": "replace", "value": {"displayName": names.0}},
                    {"op": "add", "path": "externalId", "value": names.1},
                ]);
                let status = patch_version(client, &path, renamed, *of).await;
                (status, changed(*of, 204, self.names.get_mut(group), names))
            }
            Step::CreateGroup(group, _) if self.groups.contains_key(group) => return,
            Step::CreateGroup(group, members) => {
                let name = format!("g{group}");
                let body = json!({"displayName": &name, "members": self.listed(members)});
                let answer = client.post("/Groups", body).await;
                let known = members.iter().all(|&member| self.is_there(member));
                if known {
                    let id = answer.body["id"].as_str().unwrap().to_owned();
                    self.ids.insert(group + MANY, id);
                    self.groups.insert(*group, members.clone());
                    self.names.insert(*group, (name, None));
                }
                (answer.status, if known { 201 } else { 400 })
            }
            Step::DeleteGroup(group) => {
                let answer = client.delete(&format!("/Groups/{}", self.id(group + MANY))).await;
                self.forget(group + MANY);
                self.names.remove(group);
                (answer.status, self.groups.remove(group).map_or(404, |_| 204))
            }
            Step::ReplaceGroup(group, members) => {
                let name = format!("g{group}");
                let body = json!({"displayName": &name, "members": self.listed(members)});
                let answer = client.put(&format!("/Groups/{}", self.id(group + MANY)), body).await;
                let status = self.change(*group, &[(Change::Replace, members.clone())], 200);
                if status == 200 {
                    self.names.insert(*group, (name, None));
                }
                (answer.status, status)
            }
            Step::Patch(group, changes) => {
                let path = format!("/Groups/{}", self.id(group + MANY));
                let answer = client.patch(&path, self.operations(changes)).await;
                (answer.status, self.change(*group, changes, 204))
            }
        };
        assert_eq!(status.0, status.1, "{step:?}");
    }

    fn operations(&self, changes: &[(Change, BTreeSet<usize>)]) -> Value {
        let operation = |(change, members): &(Change, BTreeSet<usize>)| {
            let op = match change {
                Change::Add => "add",
                Change::Remove => "Remove",
                Change::Replace => "replace",
            };
            json!({"op": op, "path": "members", "value": self.listed(members)})
        };
        changes.iter().map(operation).collect()
    }

    fn change(&mut self, group: usize, changes: &[(Change, BTreeSet<usize>)], good: u16) -> u16 {
        let Some(before) = self.groups.get(&group) else { return 404 };
        let after = self.after(before, changes);
        let status = if after.is_ok() { good } else { 400 };
        self.groups.insert(group, after.unwrap_or_else(|stay| stay));
        status
    }

    async fn check(&self, server: &Server, client: &Client<'_>) {
        let (said, counted) = server.ledger.sizes_for_tests().await;
        assert_eq!(said, counted, "bytes");
        assert_eq!(
            counted.iter().any(|&bytes| bytes > 0),
            !self.users.is_empty() || !self.groups.is_empty()
        );
        let page = client.get("/Users?count=100").await.ok();
        let seen: BTreeMap<&str, (bool, &str)> = page["Resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| {
                let title = user["title"].as_str().unwrap_or("0");
                (user["id"].as_str().unwrap(), (user["active"].as_bool().unwrap(), title))
            })
            .collect();
        let titles: Vec<String> = (0..3).map(|title: u8| title.to_string()).collect();
        let wanted = self.users.iter().map(|(user, (active, title))| {
            (self.ids[user].as_str(), (*active, titles[usize::from(*title)].as_str()))
        });
        assert_eq!(seen, wanted.collect());
        let page = client.get("/Groups?count=100").await.ok();
        let seen: BTreeMap<String, (_, BTreeSet<String>)> = page["Resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                let members = group["members"].as_array().cloned().unwrap_or_default();
                let ids = members.iter().map(|m| m["value"].as_str().unwrap().to_owned());
                let name = |name| group.get(name)?.as_str().map(str::to_owned);
                let names = (name("displayName").unwrap(), name("externalId"));
                (group["id"].as_str().unwrap().to_owned(), (names, ids.collect()))
            })
            .collect();
        let wanted = self.groups.iter().map(|(group, members)| {
            let ids = members.iter().map(|&member| self.id(member)).collect();
            (self.id(group + MANY), (self.names[group].clone(), ids))
        });
        assert_eq!(seen, wanted.collect());
        let directory = server.ledger.directory("id-acme", "okta").await.unwrap().unwrap().id;
        for group in self.groups.keys() {
            let selector = Selector::Id(self.id(group + MANY));
            let name = format!("g{group}");
            server.ledger.put_team("id-acme", &name, directory, &selector, true).await.unwrap();
        }
        for (user, (active, _)) in &self.users {
            let teams =
                server.ledger.teams_of_person(self.ids[user].parse().unwrap()).await.unwrap();
            let wanted: Vec<_> = self
                .groups
                .keys()
                .filter(|&&group| *active && self.leads_to(*user, group))
                .map(|group| format!("acme:g{group}"))
                .collect();
            assert_eq!(teams, wanted, "u{user}");
        }
    }
}

/// A PATCH of this version of what is there.
async fn patch_version(
    client: &Client<'_>,
    path: &str,
    operations: Value,
    of: Version,
) -> StatusCode {
    let body = json!({"Operations": operations}).to_string();
    let mut request = client.request(Method::PATCH, path, body.into());
    let tag = match of {
        Version::Any => None,
        Version::Newest => client.get(path).await.headers.get(header::ETAG).cloned(),
        Version::Other => Some("W/\"0\"".parse().unwrap()),
    };
    if let Some(tag) = tag {
        request.headers_mut().insert(header::IF_MATCH, tag);
    }
    client.server.send(request).await.status
}

/// Make `known` what it becomes, where it is there and the version is right; the status for it.
fn changed<T>(of: Version, good: u16, known: Option<&mut T>, becomes: T) -> u16 {
    match known {
        None => 404,
        Some(_) if of == Version::Other => 412,
        Some(known) => {
            *known = becomes;
            good
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// All orders of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = orders(n - 1);
    let with = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, n - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..n).map(move |at| with(order, at))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, max_shrink_iters: 100, ..Default::default() })]

    #[test]
    fn whatever_is_done_is_what_is_there(steps in vec(step(), 1..40)) {
        run(async {
            let server = Server::start().await;
            let client = server.client("acme", "okta");
            let mut model = Model::default();
            for step in steps {
                model.take(&client, step).await;
            }
            model.check(&server, &client).await;
        });
    }

    #[test]
    fn patches_by_two_gateways_at_the_same_time_are_made_one_after_the_other(
        start in vec(0..MANY, 0..MANY),
        patches in vec((vec((prop_oneof![
            Just(Change::Add), Just(Change::Remove), Just(Change::Replace)
        ], vec(0..MANY, 0..3)), 1..3), any::<bool>()), 2..5),
    ) {
        run(async {
            let server = Server::start().await;
            let twin = server.twin().await;
            let clients = [&server, &twin].map(|server| server.client("acme", "okta"));
            let mut model = Model::default();
            for user in 0..MANY {
                model.take(&clients[0], Step::CreateUser(user)).await;
            }
            let start: BTreeSet<usize> = start.into_iter().collect();
            model.take(&clients[0], Step::CreateGroup(0, start.clone())).await;
            // some are for the group as it is now, and for no other
            let patches: Vec<(Vec<_>, bool)> = patches
                .into_iter()
                .map(|(changes, exact)| {
                    let set = |members: Vec<usize>| members.into_iter().collect::<BTreeSet<_>>();
                    let changes = changes.into_iter();
                    (changes.map(|(change, members)| (change, set(members))).collect(), exact)
                })
                .collect();
            let path = format!("/Groups/{}", model.id(MANY));
            let tag = clients[0].get(&path).await.headers[header::ETAG].clone();
            let made = patches.iter().enumerate().map(|(i, (changes, exact))| {
                let mut operations = model.operations(changes);
                let rename = json!({"op": "replace", "path": "displayName", "value": format!("n{i}")});
                operations.as_array_mut().unwrap().push(rename);
                let body = json!({"Operations": operations}).to_string();
                let client = &clients[i % 2];
                let mut request = client.request(Method::PATCH, &path, body.into());
                if *exact {
                    request.headers_mut().insert(header::IF_MATCH, tag.clone());
                }
                client.server.send(request)
            });
            let answers = futures::future::join_all(made).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
            let group = clients[1].get(&path).await.ok();
            let name = group["displayName"].as_str().unwrap().to_owned();
            let seen = (statuses, name, clients[0].members(&model.id(MANY)).await);
            let mut ends = orders(patches.len()).into_iter().map(|order| {
                let (mut statuses, mut last, mut members) = (vec![412; order.len()], None, start.clone());
                for i in order {
                    let (changes, exact) = &patches[i];
                    if last.is_none() || !exact {
                        statuses[i] = 204;
                        last = Some(i);
                        members = model.after(&members, changes).unwrap();
                    }
                }
                let mut ids: Vec<_> = members.iter().map(|&member| model.id(member)).collect();
                ids.sort();
                (statuses, format!("n{}", last.unwrap()), ids)
            });
            assert!(ends.any(|end| end == seen), "{seen:?} after {patches:?} on {start:?}");
        });
    }
}
