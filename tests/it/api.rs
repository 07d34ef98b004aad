//! What the API server itself takes and refuses of the kinds, before Rollcall looks at anything.

mod refusals;

use anyhow::{Context, ensure};
use rollcall::api::{DirectorySync, DirectoryTeam, IdentityClass, SsoConnection, VerifiedDomain};
use rollcall_kit::{
    attempt::{
        Answer::{Refused, Taken},
        Attempt, answers,
    },
    control_plane::ControlPlane,
    stage::installed,
};
use serde_json::{Value, json};

const NAMESPACED: [&str; 4] = ["VerifiedDomain", "SsoConnection", "DirectorySync", "DirectoryTeam"];

/// A good spec of each kind, with every field.
const GOOD: [(&str, &str); 5] = [
    ("VerifiedDomain", "{domain: acme.com, includeSubdomains: true, suspend: true}"),
    (
        "SsoConnection",
        "{domains: [{name: acme-com}], suspend: true,
          saml: {metadataURL: 'https://acme.okta.example/app/x/sso/saml/metadata?a=b'}}",
    ),
    (
        "DirectorySync",
        "{source: {scim: {tokenOverlap: 1h}}, suspend: true, teams: {import: {
          include: ['Team *'], exclude: ['Team ?'],
          permissions: [{name: look, clusterRole: view, namespaces: [acme-web]}]}},
          groups: {exclude: [Everyone]}, removal: {maxPercent: 5, maxCount: 1, window: 2h}}",
    ),
    (
        "DirectoryTeam",
        "{directorySyncRef: {name: okta}, group: {displayName: Engineering}, suspend: true,
          permissions: [{name: build, clusterRole: edit, namespaces: [acme-web, acme-api]},
                        {name: look, clusterRole: view},
                        {name: ci, clusterRole: view, expiresAt: '2026-12-31T00:00:00Z',
                         namespaceSelector: {matchLabels: {stage: live}}},
                        {name: all, clusterRole: view, cluster: true}]}",
    ),
    (
        "IdentityClass",
        "{provider: {builtin: {}}, namespaceSelector: {matchLabels: {tier: gold}},
          grantableClusterRoles: [view, edit], allowPrivateEndpoints: true,
          domains: {allow: [acme.com, org], deny: [evil.org], allowSpecialUse: true,
                    allowPrivateSuffixes: false},
          clusterScopeSelector: {matchExpressions: [{key: tier, operator: Exists}]}}",
    ),
];

/// The API server with the kinds, and a namespace for this test.
async fn served(namespace: &str) -> anyhow::Result<&'static ControlPlane> {
    let control_plane = installed().await?;
    let namespace = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}");
    control_plane.kubectl_apply(&namespace).await?;
    Ok(control_plane)
}

fn object(kind: &str, namespace: &str, name: &str, spec: &str) -> anyhow::Result<Value> {
    let spec: Value = serde_saphyr::from_str(spec).with_context(|| format!("parsing {spec}"))?;
    let mut object = json!({
        "apiVersion": "rollcall.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    });
    if NAMESPACED.contains(&kind) {
        object["metadata"]["namespace"] = json!(namespace);
    }
    Ok(object)
}

#[tokio::test]
async fn every_kind_is_served_under_its_names() -> anyhow::Result<()> {
    let control_plane = served("api-names").await?;
    for (kind, plural, short) in [
        ("VerifiedDomain", "verifieddomains", "vd"),
        ("SsoConnection", "ssoconnections", "sso"),
        ("DirectorySync", "directorysyncs", "dsync"),
        ("DirectoryTeam", "directoryteams", "dteam"),
        ("IdentityClass", "identityclasses", "idclass"),
    ] {
        let name = format!("{plural}.rollcall.dev");
        let crd = control_plane.kubectl(&["get", "crd", &name, "-o=json"]).await?;
        let crd: Value = serde_json::from_str(&crd)?;
        for condition in ["Established", "NamesAccepted"] {
            let all = crd["status"]["conditions"].as_array().context("no conditions")?;
            let is = all.iter().any(|c| c["type"] == condition && c["status"] == "True");
            ensure!(is, "{kind} isn't {condition}: {all:?}");
        }
        let accepted = &crd["status"]["acceptedNames"];
        ensure!(accepted["kind"] == kind, "{accepted}");
        ensure!(accepted["shortNames"] == json!([short]), "{accepted}");
        ensure!(accepted["categories"] == json!(["rollcall"]), "{accepted}");
        ensure!(
            crd["spec"]["scope"]
                == if plural == "identityclasses" { "Cluster" } else { "Namespaced" }
        );
        control_plane.kubectl(&["get", short, "-n", "api-names"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn good_yaml_is_taken_and_nobody_has_looked_at_it_yet() -> anyhow::Result<()> {
    let control_plane = served("api-good").await?;
    let mut all = Vec::new();
    for (kind, spec) in GOOD {
        let good = object(kind, "api-good", "api-good", spec)?;
        // with a status of its own, which doesn't count
        let mut yaml = good.clone();
        yaml["status"] = json!({"observedGeneration": 1});
        control_plane.kubectl_apply(&yaml.to_string()).await?;
        let get = ["get", kind, "api-good", "-n", "api-good", "-o=json"];
        let got: Value = serde_json::from_str(&control_plane.kubectl(&get).await?)?;
        ensure!(got["spec"] == good["spec"], "{kind} came back otherwise: {got}");
        ensure!(got["status"] == json!({"observedGeneration": -1}), "{kind}: {}", got["status"]);
        all.push(got);
    }
    // and Rollcall can read each
    let [domain, connection, sync, team, class] = <[Value; 5]>::try_from(all).unwrap();
    serde_json::from_value::<VerifiedDomain>(domain)?;
    serde_json::from_value::<SsoConnection>(connection)?;
    serde_json::from_value::<DirectorySync>(sync)?;
    serde_json::from_value::<DirectoryTeam>(team)?;
    serde_json::from_value::<IdentityClass>(class)?;

    let listed = control_plane.kubectl(&["get", "rollcall", "-n", "api-good", "-o=name"]).await?;
    for (kind, _) in GOOD {
        let kind = kind.to_lowercase();
        ensure!(listed.contains(&format!("{kind}.rollcall.dev/api-good")), "no {kind} in {listed}");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_taken_once_is_taken_again() -> anyhow::Result<()> {
    let control_plane = served("api-again").await?;
    let client = control_plane.client().await?;
    for (kind, spec) in GOOD {
        let good = object(kind, "api-again", "api-again", spec)?;
        control_plane.kubectl_apply(&good.to_string()).await?;
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        let resume = json!({"spec": {"suspend": null}});
        let mut attempts =
            vec![(kind, Attempt::apply(&good), Taken), (kind, Attempt::merge(&good, label), Taken)];
        if NAMESPACED.contains(&kind) {
            attempts.push((kind, Attempt::merge(&good, resume), Taken));
        }
        answers(&client, attempts).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_misspelt_field_is_an_error() -> anyhow::Result<()> {
    let control_plane = served("api-strict").await?;
    let client = control_plane.client().await?;
    for (kind, spec) in GOOD {
        let mut bad = object(kind, "api-strict", "tried", spec)?;
        bad["spec"]["suspended"] = json!(true);
        let says = "unknown field \"spec.suspended\"";
        answers(&client, [(kind, Attempt::create(&bad), Refused(says))]).await?;
    }
    let bad = object("VerifiedDomain", "api-strict", "tried", "{domian: acme.com}")?;
    let refused = control_plane.kubectl_apply(&bad.to_string()).await.unwrap_err().to_string();
    ensure!(refused.contains("unknown field \"spec.domian\""), "{refused}");
    Ok(())
}

#[tokio::test]
async fn what_a_list_shows_are_the_badges() -> anyhow::Result<()> {
    let control_plane = served("api-columns").await?;
    for (kind, columns, wide) in [
        (
            "VerifiedDomain",
            "NAME DOMAIN VERIFIED REASON AGE",
            "NAME DOMAIN VERIFIED REASON RECORD VALUE AGE",
        ),
        (
            "SsoConnection",
            "NAME PROTOCOL CONFIGURED READY REASON AGE",
            "NAME PROTOCOL CONFIGURED READY REASON IDP CERT-EXPIRES AGE",
        ),
        (
            "DirectorySync",
            "NAME SOURCE CONFIGURED USERS GROUPS READY AGE",
            "NAME SOURCE CONFIGURED USERS GROUPS READY AGE",
        ),
        (
            "DirectoryTeam",
            "NAME SOURCE GROUP MEMBERS PERMISSIONS READY REASON AGE",
            "NAME SOURCE GROUP MEMBERS PERMISSIONS READY REASON KUBERNETES-GROUP AGE",
        ),
        ("IdentityClass", "NAME DEFAULT READY REASON AGE", "NAME DEFAULT READY REASON AGE"),
    ] {
        let spec = GOOD.iter().find(|(k, _)| *k == kind).context("no good spec")?.1;
        let good = object(kind, "api-columns", "api-columns", spec)?;
        control_plane.kubectl_apply(&good.to_string()).await?;
        for (output, columns) in [("", columns), ("wide", wide)] {
            let get = ["get", kind, "-n", "api-columns", "-o", output];
            let table = control_plane.kubectl(&get).await?;
            let header = table.lines().next().context("no table")?;
            let header = header.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(header == columns, "{kind}: {header}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_explains_every_field() -> anyhow::Result<()> {
    let control_plane = installed().await?;
    for (field, says) in [
        ("verifieddomain", "An e-mail domain that an organization proves to own"),
        ("verifieddomain.spec.domain", "Capitals, a trailing dot and Unicode"),
        ("vd.status.challenge", "The record to publish, and to leave published."),
        ("ssoconnection.spec.saml.metadataURL", "An https URL."),
        ("ssoconnection.spec.saml.metadata.secretRef", "of type rollcall.dev/saml-metadata"),
        ("directorysync.spec.teams.import.include", "Patterns for group names"),
        (
            "directoryteam.spec.permissions.namespaces",
            "Omitted: all namespaces of the organization. Empty: none.",
        ),
        ("identityclass.spec.grantableClusterRoles", "omitted or empty is none"),
    ] {
        let told = control_plane.kubectl(&["explain", field]).await?;
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(told.contains(says), "{field}: {told}");
    }
    // whatever is added later
    let crds = control_plane.kubectl(&["get", "crds", "-o=json"]).await?;
    let crds: Value = serde_json::from_str(&crds)?;
    let mut undocumented = Vec::new();
    for crd in crds["items"].as_array().context("no list")? {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let path =
                format!("{}.{part}", crd["spec"]["names"]["singular"].as_str().unwrap_or(""));
            undocumented.extend(fields_without_description(&path, &schema["properties"][part]));
        }
    }
    ensure!(undocumented.is_empty(), "kubectl explain says nothing about {undocumented:?}");
    Ok(())
}

fn fields_without_description(path: &str, schema: &Value) -> Vec<String> {
    let mut without = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // of a list it is the items that have fields
        let within = if field["items"].is_object() { &field["items"] } else { field };
        without.extend(fields_without_description(&path, within));
        if field["description"].as_str().is_none_or(str::is_empty) {
            without.push(path);
        }
    }
    without
}
