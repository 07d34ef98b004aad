//! What Rollcall itself can't do, were its ServiceAccount in a thief's hands.

use rollcall_kit::{
    attempt::{
        Answer::{Refused, Taken},
        Attempt, answers,
    },
    stage::NAMESPACE,
};
use serde_json::{Value, json};

use super::{Cluster, KINDS, OPERATOR, binding, everywhere, held, mark, ours, secret, team};

fn marked(mut object: Value) -> Value {
    object["metadata"]["labels"] = mark();
    object
}

#[tokio::test]
async fn rollcall_leaves_what_people_wrote_as_they_wrote_it() -> anyhow::Result<()> {
    const AUTHOR: &str = "The spec, labels and annotations of held are its author's";
    const MAKES: &str = "Rollcall makes no objects of its own kinds but imported DirectoryTeams";
    const DELETES: &str = "was not made by Rollcall";
    let cluster = Cluster::shared().await?;
    let operator = cluster.operator().await?;
    for kind in &KINDS[..4] {
        let held = held(kind);
        let meta =
            |field: &str, value: Value| Attempt::merge(&held, json!({"metadata": {field: value}}));
        let suspend = json!({"spec": {"suspend": true}});
        let attempts = [
            ("a finalizer", meta("finalizers", json!(["rollcall.dev/x"])), Taken),
            ("a label", meta("labels", json!({"a": "b"})), Refused(AUTHOR)),
            ("the mark", meta("labels", mark()), Refused(AUTHOR)),
            ("an annotation", meta("annotations", json!({"a": "b"})), Refused(AUTHOR)),
            ("the spec", Attempt::merge(&held, suspend), Refused(AUTHOR)),
        ];
        let named =
            attempts.map(|(what, attempt, says)| (format!("{kind}: {what}"), attempt, says));
        answers(&operator, named).await?;
    }
    let finalizer = json!({
        "apiVersion": "rollcall.dev/v1alpha1",
        "kind": "DirectorySync",
        "metadata": {"name": "held", "namespace": "policies", "finalizers": ["rollcall.dev/x"]},
    });
    answers(
        &operator,
        [
            ("a finalizer by apply", Attempt::apply(&finalizer), Taken),
            ("a team", Attempt::create(&team("tried", &[])), Refused(MAKES)),
            ("a team's end", Attempt::delete(&held("DirectoryTeam")), Refused(DELETES)),
        ],
    )
    .await
}

#[tokio::test]
async fn rollcall_makes_and_ends_the_teams_it_imports() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let imported = marked(team("imported", &[]));
    cluster.apply(&imported).await?;
    let operator = cluster.operator().await?;
    let permitted = marked(team("imported", &everywhere(12, "edit")));
    let unmarked = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    let author = "are its author's";
    answers(
        &operator,
        [
            ("made", Attempt::create(&marked(team("tried", &everywhere(12, "edit")))), Taken),
            ("changed", Attempt::apply(&permitted), Taken),
            ("made somebody's", Attempt::merge(&imported, unmarked), Refused(author)),
            ("ended", Attempt::delete(&imported), Taken),
        ],
    )
    .await
}

#[tokio::test]
async fn rollcall_binds_an_organizations_groups_in_its_labelled_namespaces_alone()
-> anyhow::Result<()> {
    const ALONE: &str = "to groups rollcall:policies:<team> alone";
    const STRAY: &str = "Namespace policies-stray belongs to no organization";
    const OWN: &str = "Rollcall gives teams nothing there";
    const ROLE: &str = "add it to the chart's grantableClusterRoles";
    const RBAC: &str = "attempting to grant RBAC permissions not currently held";
    const MARK: &str = "is not Rollcall's: it lacks the label";
    let cluster = Cluster::shared().await?;
    let good = || binding("policies-web", "view", "rollcall:policies:engineering");
    let to = |subjects: Value| {
        let mut binding = good();
        binding["subjects"] = subjects;
        Attempt::create(&binding)
    };
    let api_group = "rbac.authorization.k8s.io";
    let subject = |kind, name| json!({"apiGroup": api_group, "kind": kind, "name": name});
    let ours = subject("Group", "rollcall:policies:a");
    let bind = |namespace: &str, role: &str, group: &str| {
        Attempt::create(&binding(namespace, role, group))
    };
    let group = "rollcall:policies:a";
    let account = json!({"kind": "ServiceAccount", "name": "rollcall", "namespace": "rollcall"});
    let mut unmarked = good();
    unmarked["metadata"]["labels"] = json!({});
    let mut role = good();
    role["roleRef"]["kind"] = json!("Role");
    let mut operators = binding(NAMESPACE, "view", "rollcall:rollcall:a");
    operators["metadata"]["namespace"] = json!(NAMESPACE);
    answers(
        &cluster.operator().await?,
        [
            ("view", Attempt::create(&good()), Taken),
            ("view by apply", Attempt::apply(&good()), Taken),
            ("edit", bind("policies-data", "edit", group), Taken),
            ("two groups", to(json!([ours, subject("Group", "rollcall:policies:b")])), Taken),
            (
                "another organization",
                bind("policies-web", "view", "rollcall:acme:a"),
                Refused(ALONE),
            ),
            ("a longer name", bind("policies-web", "view", "rollcall:policies2:a"), Refused(ALONE)),
            ("no prefix", bind("policies-web", "view", "policies:a"), Refused(ALONE)),
            (
                "a system group",
                bind("policies-web", "view", "system:authenticated"),
                Refused(ALONE),
            ),
            (
                "one good, one bad",
                to(json!([ours, subject("Group", "system:masters")])),
                Refused(ALONE),
            ),
            ("a user", to(json!([subject("User", "rollcall:policies:a")])), Refused(ALONE)),
            ("itself", to(json!([account])), Refused(ALONE)),
            ("nobody", to(json!([])), Refused(ALONE)),
            ("no label", bind("policies-stray", "view", group), Refused(STRAY)),
            ("no label, no name", bind("policies-stray", "view", "rollcall::a"), Refused(STRAY)),
            (
                "the organization",
                bind("policies", "view", group),
                Refused("belongs to no organization"),
            ),
            (
                "the organization, labelled",
                bind("policies-self", "view", "rollcall:policies-self:a"),
                Refused(OWN),
            ),
            (
                "its own namespace",
                Attempt::create(&operators),
                Refused("belongs to no organization"),
            ),
            ("no mark", Attempt::create(&unmarked), Refused(MARK)),
            ("a Role", Attempt::create(&role), Refused("not found")),
            ("a role without rules", bind("policies-web", "policies-empty", group), Refused(ROLE)),
            ("admin", bind("policies-web", "admin", group), Refused(RBAC)),
            ("cluster-admin", bind("policies-web", "cluster-admin", group), Refused(RBAC)),
        ],
    )
    .await
}

#[tokio::test]
async fn rollcall_takes_back_its_bindings_and_no_others() -> anyhow::Result<()> {
    const MARK: &str = "is not Rollcall's: it lacks the label";
    let cluster = Cluster::shared().await?;
    let named = |name: &str, mut binding: Value| {
        binding["metadata"]["name"] = json!(name);
        binding
    };
    let group = "rollcall:policies:a";
    let stray = named("stray", binding("policies-stray", "view", group));
    let tampered = named("tampered", binding("policies-web", "view", "mallory"));
    let mut people = named("people", binding("policies-web", "view", group));
    people["metadata"]["labels"] = json!({});
    for binding in [&stray, &tampered, &people] {
        cluster.apply(binding).await?;
    }
    let annotated = || json!({"metadata": {"annotations": {"a": "b"}}});
    answers(
        &cluster.operator().await?,
        [
            // after the label was taken off
            (
                "its own is kept",
                Attempt::merge(&stray, annotated()),
                Refused("belongs to no organization"),
            ),
            ("its own goes", Attempt::delete(&stray), Taken),
            ("its own, tampered with, goes", Attempt::delete(&tampered), Taken),
            ("people's goes", Attempt::delete(&people), Refused(MARK)),
            (
                "people's is taken over",
                Attempt::merge(&people, json!({"metadata": {"labels": mark()}})),
                Refused(MARK),
            ),
        ],
    )
    .await
}

#[tokio::test]
async fn rollcall_binds_an_organizations_groups_in_the_whole_cluster_alone_by_its_own_bindings()
-> anyhow::Result<()> {
    const ALONE: &str = "in the whole cluster to groups rollcall:policies:<team> alone";
    const MARK: &str = "is not Rollcall's: it lacks the label";
    const RBAC: &str = "attempting to grant RBAC permissions not currently held";
    let cluster = Cluster::shared().await?;
    let bound = |name: &str, role: &str, group: &str| {
        let mut binding = binding("", role, group);
        binding["kind"] = json!("ClusterRoleBinding");
        let metadata = binding["metadata"].as_object_mut().expect("it has metadata");
        metadata.remove("namespace");
        metadata.insert("name".into(), json!(name));
        binding["metadata"]["labels"]["rollcall.dev/organization"] = json!("policies");
        binding
    };
    let group = "rollcall:policies:a";
    let good = bound("policies-tried", "view", group);
    let mut unmarked = good.clone();
    unmarked["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!(null);
    let mut nobodys = good.clone();
    nobodys["metadata"]["labels"]["rollcall.dev/organization"] = json!(null);
    let held = bound("policies-held", "view", group);
    cluster.apply(&held).await?;
    let peoples = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "policies-binder"},
    });
    let to_system = json!({"subjects": [{
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated",
    }]});
    let bind = |role: &str, group: &str| Attempt::create(&bound("policies-tried", role, group));
    answers(
        &cluster.operator().await?,
        [
            ("view", Attempt::create(&good), Taken),
            ("view by apply", Attempt::apply(&good), Taken),
            ("another organization", bind("view", "rollcall:acme:a"), Refused(ALONE)),
            ("a longer name", bind("view", "rollcall:policies2:a"), Refused(ALONE)),
            ("a system group", bind("view", "system:authenticated"), Refused(ALONE)),
            ("a system group, later", Attempt::merge(&held, to_system), Refused(ALONE)),
            ("no mark", Attempt::create(&unmarked), Refused(MARK)),
            (
                "no organization",
                Attempt::create(&nobodys),
                Refused("ClusterRoleBinding policies-tried belongs to no organization"),
            ),
            ("another role", bind("admin", group), Refused(RBAC)),
            ("its end", Attempt::delete(&held), Taken),
            ("people's end", Attempt::delete(&peoples), Refused(MARK)),
            (
                "people's",
                Attempt::merge(&peoples, json!({"metadata": {"labels": mark()}})),
                Refused(MARK),
            ),
        ],
    )
    .await?;
    // with every right, it would still be held to the same roles and subjects
    let mighty = cluster.control_plane.client_as(OPERATOR, &["system:masters"]).await?;
    answers(
        &mighty,
        [
            ("root", bind("cluster-admin", group), Refused("Rollcall may not bind ClusterRole")),
            ("to the masters", bind("view", "system:masters"), Refused(ALONE)),
            ("people's end", Attempt::delete(&peoples), Refused(MARK)),
        ],
    )
    .await
}

#[tokio::test]
async fn rollcall_writes_its_token_secrets_and_once_its_key() -> anyhow::Result<()> {
    const TYPE: &str = "rollcall.dev/scim-token";
    const NOTHING_BUT: &str =
        "Rollcall writes no Secrets but those of type rollcall.dev/scim-token";
    const NOT_ITS: &str = "is not a token Secret that Rollcall made";
    const KEY: &str = "rollcall-installation-key";
    let cluster = Cluster::shared().await?;
    let token = secret("policies", "token", TYPE);
    let mut foreign = secret("policies", "foreign", "Opaque");
    let mut foreign_typed = secret("policies", "foreign-typed", TYPE);
    let mut unmarked = secret("policies", "tried", TYPE);
    for secret in [&mut foreign, &mut foreign_typed, &mut unmarked] {
        secret["metadata"]["labels"] = json!({});
    }
    let mut foreign_marked = secret("policies", "foreign-marked", "Opaque");
    for secret in [&token, &foreign, &foreign_typed, &foreign_marked] {
        cluster.apply(secret).await?;
    }
    foreign_marked["stringData"] = json!({"token": "y"});
    let marking = || json!({"metadata": {"labels": mark()}});
    let unmarking = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    let rotation = json!({"stringData": {"token": "y"}});
    let mut account = secret("policies", "tried", "kubernetes.io/service-account-token");
    account["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "default"});
    let key = secret(NAMESPACE, KEY, "Opaque");
    answers(
        &cluster.operator().await?,
        [
            ("a token", Attempt::create(&secret("policies", "tried", TYPE)), Taken),
            ("a rotation", Attempt::merge(&token, rotation), Taken),
            ("a rotation by apply", Attempt::apply(&token), Taken),
            ("the mark off", Attempt::merge(&token, unmarking), Refused(NOTHING_BUT)),
            ("a token's end", Attempt::delete(&token), Refused("cannot delete resource")),
            (
                "another type",
                Attempt::create(&secret("policies", "tried", "Opaque")),
                Refused(NOTHING_BUT),
            ),
            ("an account's token", Attempt::create(&account), Refused(NOTHING_BUT)),
            ("no mark", Attempt::create(&unmarked), Refused(NOTHING_BUT)),
            ("people's", Attempt::merge(&foreign, marking()), Refused(NOT_ITS)),
            ("people's, of its type", Attempt::merge(&foreign_typed, marking()), Refused(NOT_ITS)),
            ("people's, with its mark", Attempt::apply(&foreign_marked), Refused(NOT_ITS)),
            ("its key", Attempt::create(&key), Taken),
            (
                "its key elsewhere",
                Attempt::create(&secret("policies", KEY, "Opaque")),
                Refused(NOTHING_BUT),
            ),
        ],
    )
    .await?;
    // made here as if Rollcall had run
    cluster.apply(&key).await?;
    let over = Attempt::merge(&key, json!({"stringData": {"token": "y"}}));
    answers(&cluster.operator().await?, [("its key again", over, Refused(NOT_ITS))]).await?;
    // what people write is nobody's business here
    let peoples = Attempt::merge(&foreign, json!({"stringData": {"token": "y"}}));
    answers(&cluster.admin().await?, [("an administrator", peoples, Taken)]).await
}

#[tokio::test]
async fn with_every_right_rollcall_would_still_be_held_to_the_policies() -> anyhow::Result<()> {
    const MAKES: &str = "Rollcall makes no objects of its own kinds but imported DirectoryTeams";
    const AUTHOR: &str = "The spec, labels and annotations of held are its author's";
    const DELETES: &str = "was not made by Rollcall";
    let cluster = Cluster::shared().await?;
    let mighty = cluster.control_plane.client_as(OPERATOR, &["system:masters"]).await?;
    let group = "rollcall:policies:a";
    let mut role = binding("policies-web", "any", group);
    role["roleRef"]["kind"] = json!("Role");
    let root = binding("policies-web", "cluster-admin", group);
    let domain = marked(ours("VerifiedDomain", "tried", json!({"domain": "acme.example"})));
    let class = marked(ours("IdentityClass", "tried", json!({"provider": {"builtin": {}}})));
    let roles = json!({"spec": {"grantableClusterRoles": ["cluster-admin"]}});
    let token = secret("policies", "mighty-token", "rollcall.dev/scim-token");
    cluster.apply(&token).await?;
    answers(
        &mighty,
        [
            ("a Role", Attempt::create(&role), Refused("Rollcall may not bind Role any")),
            ("cluster-admin", Attempt::create(&root), Refused("Rollcall may not bind ClusterRole")),
            ("a domain", Attempt::create(&domain), Refused(MAKES)),
            ("a class", Attempt::create(&class), Refused(MAKES)),
            ("a class's roles", Attempt::merge(&held("IdentityClass"), roles), Refused(AUTHOR)),
            ("a token Secret's end", Attempt::delete(&token), Refused("it deletes none")),
        ],
    )
    .await?;
    let ends = KINDS.map(|kind| (kind, Attempt::delete(&held(kind)), Refused(DELETES)));
    answers(&mighty, ends).await
}
