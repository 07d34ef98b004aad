//! What the authors of YAML can't do: write a badge, or give away what they haven't got.

use anyhow::{Context, ensure};
use rollcall_kit::attempt::{
    Answer::{self, Refused, Taken},
    Attempt, answers,
};
use serde_json::{Value, json};

use super::{Cluster, KINDS, everywhere, forged_status, held, sync, team, within};

#[tokio::test]
async fn nobody_but_rollcall_writes_a_badge() -> anyhow::Result<()> {
    const SAYS: &str =
        "Only Rollcall writes this status: it says what Rollcall found. Edit the spec instead.";
    let cluster = Cluster::shared().await?;
    let forge = |kind| Attempt::merge_status(&held(kind), forged_status());
    let all = |answer: Answer<'static>| KINDS.map(|kind| (kind, forge(kind), answer));
    answers(&cluster.admin().await?, all(Refused(SAYS))).await?;
    answers(&cluster.user("eve").await?, all(Refused(SAYS))).await?;
    answers(&cluster.user("ada").await?, all(Refused("cannot patch resource"))).await?;
    answers(&cluster.operator().await?, all(Taken)).await?;
    // nor together with the object
    for kind in KINDS {
        let mut forged = held(kind);
        forged["status"] = forged_status()["status"].clone();
        let kept = Attempt::merge(&held(kind), forged).by(&cluster.admin().await?).await?;
        let kept = kept.map_err(anyhow::Error::msg).context(kind)?;
        ensure!(kept["status"] == json!({"observedGeneration": -1}), "{kind}: {kept}");
    }
    Ok(())
}

/// Two ways to give permissions: a kind, how an object of it is made, where the list is in it, and
/// a patch that gives the list to other groups.
struct Way {
    make: fn(&str, &[Value]) -> Value,
    list: fn(Vec<Value>) -> Value,
    regroup: [Value; 2],
}

fn ways() -> [Way; 2] {
    [
        Way {
            make: team,
            list: |list| json!({"spec": {"permissions": list}}),
            regroup: [
                json!({"spec": {"group": {"displayName": "Everybody"}}}),
                json!({"spec": {"group": {"displayName": null, "id": "1"}}}),
            ],
        },
        Way {
            make: sync,
            list: |list| json!({"spec": {"teams": {"import": {"permissions": list}}}}),
            regroup: [
                json!({"spec": {"teams": {"import": {"include": ["*"]}}}}),
                json!({"spec": {"teams": {"import": {"exclude": null}}}}),
            ],
        },
    ]
}

#[tokio::test]
async fn an_author_gives_only_what_he_may_bind_himself() -> anyhow::Result<()> {
    const ALL: &str = "in all namespaces (or name one namespace in which you have them)";
    let cluster = Cluster::shared().await?;
    let mut mixed = within(11, "view", &["policies-web"]);
    mixed.push(json!({"name": "last", "clusterRole": "view", "namespaces": ["policies-data"]}));
    let web: &[_] = &["policies-web"];
    let both: &[_] = &["policies-web", "policies-data"];
    let data: &[_] = &["policies-data"];
    let first = "Permission p0 gives more than you may give: you need the verb bind on ClusterRole \
                 view and create on RoleBindings in all namespaces";
    let in_web = "and create on RoleBindings in namespace policies-web. Ask the platform team";
    let (no_admin, no_root) = ("bind on ClusterRole admin", "bind on ClusterRole cluster-admin");
    let with = |more: Value| {
        let mut all = everywhere(1, "view");
        all[0]
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        all
    };
    let selector = || with(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}));
    let cluster_wide = || with(json!({"cluster": true}));
    let ending = || with(json!({"expiresAt": "2100-01-01T00:00:00Z"}));
    let no_cluster =
        "and create on ClusterRoleBindings in the whole cluster. Ask the platform team";
    let cases: [(&str, &str, Vec<Value>, Answer<'_>); 27] = [
        ("ada", "nothing", vec![], Taken),
        ("ada", "in no namespace", within(12, "cluster-admin", &[]), Taken),
        ("ada", "one", everywhere(1, "view"), Refused(first)),
        ("ada", "one in a namespace", within(1, "view", web), Refused(in_web)),
        ("ada", "twelve", everywhere(12, "view"), Refused("Permission p0 gives more")),
        ("bo", "one where he may", within(1, "view", web), Taken),
        ("bo", "twelve where he may", within(12, "edit", web), Taken),
        ("bo", "another role", within(1, "admin", web), Refused(no_admin)),
        ("bo", "elsewhere", within(1, "view", data), Refused("in namespace policies-data")),
        ("bo", "the last elsewhere", mixed, Refused("Permission last gives more")),
        ("bo", "two namespaces", within(1, "view", both), Refused(ALL)),
        ("bo", "all namespaces", everywhere(1, "view"), Refused(ALL)),
        ("cy", "one", everywhere(1, "view"), Taken),
        ("cy", "twelve", everywhere(12, "edit"), Taken),
        ("cy", "twelve in two namespaces", within(12, "view", both), Taken),
        ("bo", "by labels", selector(), Refused(ALL)),
        ("cy", "by labels", selector(), Taken),
        ("ada", "the whole cluster", cluster_wide(), Refused(no_cluster)),
        ("bo", "the whole cluster", cluster_wide(), Refused(no_cluster)),
        ("cy", "the whole cluster", cluster_wide(), Refused(no_cluster)),
        ("di", "the whole cluster", cluster_wide(), Taken),
        ("di", "all namespaces", everywhere(1, "view"), Refused(ALL)),
        ("ada", "for a while", ending(), Refused(first)),
        ("cy", "for a while", ending(), Taken),
        ("cy", "another role", everywhere(1, "cluster-admin"), Refused(no_root)),
        ("cy", "a thirteenth", everywhere(13, "view"), Refused("must have at most 12 items")),
        ("dan", "one", everywhere(1, "view"), Refused(first)),
    ];
    for way in ways() {
        for (who, what, permissions, answer) in &cases {
            let create = Attempt::create(&(way.make)("tried", permissions));
            let client = cluster.user(who).await?;
            answers(&client, [(format!("{who} gives {what}"), create, *answer)]).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_given_already_can_be_kept_and_taken_away_by_its_owner() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    for way in ways() {
        let all = (way.make)("held", &[]);
        let web = (way.make)("held-web", &[]);
        let given = everywhere(12, "view");
        let given_web = within(12, "edit", &["policies-web"]);
        let changed = |permission: Value| {
            (way.list)(given_web[..11].iter().cloned().chain([permission]).collect())
        };
        let elsewhere =
            json!({"name": "p11", "clusterRole": "edit", "namespaces": ["policies-data"]});
        let wider = json!({"name": "p11", "clusterRole": "edit"});
        let lesser = json!({"name": "p11", "clusterRole": "view", "namespaces": ["policies-web"]});
        let longer = json!({
            "name": "p11", "clusterRole": "edit", "namespaces": ["policies-web"],
            "expiresAt": "2100-01-01T00:00:00Z",
        });
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        let more = |name: &str| {
            let more = json!({"name": name, "clusterRole": "admin"});
            (way.list)(given[..11].iter().cloned().chain([more]).collect())
        };
        let suspend = json!({"spec": {"suspend": true}});
        let reversed = (way.list)(given.iter().rev().cloned().collect());
        let [group, other_group] = &way.regroup;
        let first = "Permission p0 gives more";
        let ada = [
            ("a label", &all, label, Taken),
            ("suspend", &all, suspend, Taken),
            ("seven of twelve", &all, (way.list)(given[..7].to_vec()), Taken),
            ("the other order", &all, reversed, Taken),
            ("none", &all, (way.list)(vec![]), Taken),
            ("another role", &all, more("p11"), Refused("Permission p11 gives more")),
            ("one more", &all, more("new"), Refused("Permission new gives more")),
            ("elsewhere", &web, changed(elsewhere), Refused("in namespace policies-data")),
            ("everywhere", &web, changed(wider), Refused("in all namespaces")),
            ("for longer", &web, changed(longer), Refused("Permission p11 gives more")),
            ("to another group", &all, group.clone(), Refused(first)),
            ("to yet another", &all, other_group.clone(), Refused(first)),
        ];
        let ada = ada.map(|(what, old, new, answer)| (what, Attempt::merge(old, new), answer));
        answers(&cluster.user("ada").await?, ada).await?;
        let end = [("the end", Attempt::delete(&all), Taken)];
        answers(&cluster.user("ada").await?, end).await?;
        let bo = cluster.user("bo").await?;
        answers(&bo, [("his own", Attempt::merge(&web, changed(lesser)), Taken)]).await?;
        let cy = cluster.user("cy").await?;
        for regroup in &way.regroup {
            answers(&cy, [("regrouped", Attempt::merge(&all, regroup.clone()), Taken)]).await?;
        }
    }
    let no_import = json!({"spec": {"teams": null}});
    let drop_import = Attempt::merge(&held("DirectorySync"), no_import);
    // which groups the directory lets in says which are imported, too
    let let_in = json!({"spec": {"groups": {"include": ["Team *"]}}});
    let let_in = Attempt::merge(&held("DirectorySync"), let_in);
    let more = Refused("Permission p0 gives more");
    let ada = [("no import", drop_import, Taken), ("other groups", let_in, more)];
    answers(&cluster.user("ada").await?, ada).await
}

#[tokio::test]
async fn the_largest_lists_can_still_be_checked() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let cy = cluster.user("cy").await?;
    let largest = |last: &str| -> Vec<Value> {
        let mut namespaces: Vec<_> =
            (0..64).map(|i| format!("n{i:02}{}", "y".repeat(60))).collect();
        namespaces[63] = last.to_owned();
        let mut all = everywhere(12, "view");
        for (i, permission) in all.iter_mut().enumerate() {
            permission["name"] = json!(format!("p{i:02}{}", "x".repeat(60)));
            permission["namespaces"] = json!(namespaces);
        }
        all
    };
    let patterns: Vec<_> = (0..64).map(|i| format!("{i:02}{}", "w".repeat(254))).collect();
    for way in ways() {
        let old = (way.make)("largest", &largest("old"));
        cluster.apply(&old).await?;
        let new = Attempt::merge(&old, (way.list)(largest("new")));
        answers(
            &cy,
            [
                ("made", Attempt::create(&(way.make)("tried", &largest("a"))), Taken),
                ("changed", new, Taken),
            ],
        )
        .await?;
        let label = Attempt::merge(&old, json!({"metadata": {"labels": {"a": "b"}}}));
        answers(&cluster.user("ada").await?, [("labelled", label, Taken)]).await?;
    }
    let mut import = sync("largest", &largest("old"));
    import["spec"]["teams"]["import"]["include"] = json!(patterns);
    import["spec"]["teams"]["import"]["exclude"] = json!(patterns);
    cluster.apply(&import).await?;
    let last = json!({"spec": {"teams": {"import": {"exclude": patterns[..63]}}}});
    answers(&cy, [("patterns", Attempt::merge(&import, last), Taken)]).await
}
