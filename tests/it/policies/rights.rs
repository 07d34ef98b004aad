//! The rights that the chart gives, to Rollcall and to an organization's people.

use anyhow::{Context, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use rollcall_kit::{
    attempt::{Attempt, pod_of},
    stage::chart,
};
use serde_json::Value;

use super::Cluster;

/// Whether this user may: `<verb> <resource>[.<group>][/<subresource>][:<name>] [in <namespace>]`.
async fn may(client: &Client, question: &str) -> anyhow::Result<bool> {
    let (verb, rest) = question.split_once(' ').context("no verb")?;
    let (what, namespace) = rest.split_once(" in ").unwrap_or((rest, ""));
    let (what, name) = what.split_once(':').unwrap_or((what, ""));
    let (what, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = ResourceAttributes {
        group: given(group),
        name: given(name),
        namespace: given(namespace),
        resource: given(resource),
        subresource: given(subresource),
        verb: given(verb),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await?;
    Ok(review.status.context("no answer")?.allowed)
}

async fn may_all(client: &Client, questions: &[&str], expected: bool) -> anyhow::Result<()> {
    for question in questions {
        let allowed = may(client, question).await?;
        ensure!(allowed == expected, "{question}: {allowed}");
    }
    Ok(())
}

#[tokio::test]
async fn rollcall_has_the_rights_it_uses_and_no_others() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let operator = cluster.operator().await?;
    let used = [
        "watch verifieddomains.rollcall.dev",
        "patch verifieddomains.rollcall.dev/status in policies",
        "create directoryteams.rollcall.dev in policies",
        "watch namespaces",
        "get secrets:okta in policies",
        "create rolebindings.rbac.authorization.k8s.io in policies-web",
        "create clusterrolebindings.rbac.authorization.k8s.io",
        "delete clusterrolebindings.rbac.authorization.k8s.io",
        "bind clusterroles.rbac.authorization.k8s.io:view in policies-web",
        "bind clusterroles.rbac.authorization.k8s.io:edit",
        "create events.events.k8s.io in policies",
    ];
    may_all(&operator, &used, true).await?;
    let never = [
        "* *.*",
        "* *",
        "deletecollection clusterrolebindings.rbac.authorization.k8s.io",
        "create clusterroles.rbac.authorization.k8s.io",
        "patch clusterroles.rbac.authorization.k8s.io:view",
        "create roles.rbac.authorization.k8s.io in policies-web",
        "bind clusterroles.rbac.authorization.k8s.io",
        "bind clusterroles.rbac.authorization.k8s.io:admin in policies-web",
        "bind clusterroles.rbac.authorization.k8s.io:cluster-admin in policies-web",
        "bind roles.rbac.authorization.k8s.io in policies-web",
        "escalate clusterroles.rbac.authorization.k8s.io:view",
        "escalate roles.rbac.authorization.k8s.io in policies-web",
        "deletecollection rolebindings.rbac.authorization.k8s.io in policies-web",
        "list secrets",
        "list secrets in policies",
        "watch secrets in policies",
        "delete secrets:okta in policies",
        "create namespaces",
        "delete namespaces:policies",
        "patch namespaces:policies",
        "create verifieddomains.rollcall.dev in policies",
        "delete verifieddomains.rollcall.dev in policies",
        "delete ssoconnections.rollcall.dev in policies",
        "delete directorysyncs.rollcall.dev in policies",
        "create identityclasses.rollcall.dev",
        "patch identityclasses.rollcall.dev",
        "delete identityclasses.rollcall.dev",
        "deletecollection directoryteams.rollcall.dev in policies",
        "patch events.events.k8s.io in policies",
        "impersonate users:ada",
        "impersonate groups:system:masters",
        "impersonate serviceaccounts in rollcall",
        "create serviceaccounts/token:rollcall in rollcall",
        "create pods in rollcall",
        "create pods/exec in rollcall",
        "get configmaps in rollcall",
        "patch deployments.apps:rollcall in rollcall",
        "patch validatingadmissionpolicies.admissionregistration.k8s.io:rollcall-status",
        "delete validatingadmissionpolicybindings.admissionregistration.k8s.io:rollcall-status",
        "patch customresourcedefinitions.apiextensions.k8s.io:verifieddomains.rollcall.dev",
        "create certificatesigningrequests.certificates.k8s.io",
    ];
    may_all(&operator, &never, false).await
}

#[tokio::test]
async fn an_organizations_people_have_its_objects_and_no_more() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let ada = cluster.user("ada").await?;
    let owner = [
        "create ssoconnections.rollcall.dev in policies",
        "delete verifieddomains.rollcall.dev in policies",
        "patch directoryteams.rollcall.dev in policies",
    ];
    may_all(&ada, &owner, true).await?;
    let not_owner = [
        "get secrets in policies",
        "patch directoryteams.rollcall.dev/status in policies",
        "list identityclasses.rollcall.dev",
        "list verifieddomains.rollcall.dev in policies-web",
        "create rolebindings.rbac.authorization.k8s.io in policies",
    ];
    may_all(&ada, &not_owner, false).await?;
    let vic = cluster.user("vic").await?;
    may_all(&vic, &["list ssoconnections.rollcall.dev in policies"], true).await?;
    let not_viewer = [
        "create ssoconnections.rollcall.dev in policies",
        "patch directoryteams.rollcall.dev in policies",
        "delete verifieddomains.rollcall.dev in policies",
        "get secrets in policies",
    ];
    may_all(&vic, &not_viewer, false).await
}

#[tokio::test]
async fn view_edit_and_admin_bring_nothing_of_an_organizations_identity() -> anyhow::Result<()> {
    let cluster = Cluster::shared().await?;
    let roles = cluster.control_plane.kubectl(&["get", "clusterroles", "-o=json"]).await?;
    let roles: Value = serde_json::from_str(&roles)?;
    let mut seen = 0;
    for role in roles["items"].as_array().context("no list")? {
        let name = role["metadata"]["name"].as_str().context("no name")?;
        if ["view", "edit", "admin"].contains(&name) {
            ensure!(!role["rules"].to_string().contains("rollcall.dev"), "{name}: {role}");
            seen += 1;
        }
        if name.starts_with("rollcall") {
            let labels = role["metadata"]["labels"].to_string();
            ensure!(!labels.contains("aggregate"), "{name}: {labels}");
            ensure!(role["aggregationRule"].is_null(), "{name} is aggregated");
            seen += 1;
        }
    }
    ensure!(seen == 6, "{seen} ClusterRoles");
    Ok(())
}

#[tokio::test]
async fn the_gateway_has_no_kubernetes_credentials() -> anyhow::Result<()> {
    const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let cluster = Cluster::shared().await?;
    let rendered = chart("https://login.platform.example", false)?;
    let deployment = rendered
        .split("\n---\n")
        .find(|object| object.contains("\nkind: Deployment\n"))
        .context("no Deployment")?;
    let dry = ["apply", "--dry-run=server", "--filename=-", "--output=json"];
    let kubectl = cluster.control_plane.kubectl_as(cluster.control_plane.kubeconfig())?;
    let deployment: Value = serde_json::from_str(&kubectl.run_with_input(&dry, deployment).await?)?;
    ensure!(deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] == false);
    // as the API server makes it
    let pod = Attempt::create(&pod_of(&deployment)).by(&cluster.admin().await?).await?;
    let pod = pod.map_err(anyhow::Error::msg)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let secret = |volume: &Value| volume.to_string().contains("serviceAccountToken");
    let tokens: Vec<_> = list(&pod["spec"]["volumes"]).into_iter().filter(secret).collect();
    ensure!(tokens.len() == 1, "volumes with a token: {tokens:?}");
    let token = &tokens[0]["name"];
    for container in list(&pod["spec"]["containers"]) {
        let mounts = list(&container["volumeMounts"]);
        let has = mounts.iter().any(|mount| mount["name"] == *token || mount["mountPath"] == PLACE);
        ensure!(has == (container["name"] == "controller"), "{container}");
    }
    ensure!(list(&pod["spec"]["containers"]).len() == 2);
    ensure!(list(&pod["spec"]["initContainers"]).is_empty());
    Ok(())
}
