//! What whoever installs the chart may rely on.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use rollcall_kit::{
    attempt::{
        Answer::{Refused, Taken},
        Attempt, answers, pod_of,
    },
    control_plane::ControlPlane,
    kubectl::Kubectl,
    scratch::Scratch,
    stage::{CHART, helm, install_crds, installed},
    wait::until,
};
use serde_json::{Value, json};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// Sets of values that people may well have.
const VALUES: [(&str, &str); 5] = [
    ("defaults", "publicURL: https://login.platform.example"),
    (
        "tls",
        "{publicURL: 'https://login.platform.example:8443', tls: {secretName: gateway-tls},
          service: {type: LoadBalancer, port: 8443}, networkPolicy: {enabled: false}}",
    ),
    (
        "no-roles",
        "{publicURL: 'https://login.platform.example/', grantableClusterRoles: [],
          defaultClass: {grantableClusterRoles: [], domains: {allow: []}}, persistence: {enabled: false}}",
    ),
    (
        "several",
        "{publicURL: 'https://login.platform.example', replicas: 3, postgresql: {secretName: ledger}}",
    ),
    (
        "everything",
        "
publicURL: https://login.platform.example
tls: {secretName: gateway-tls}
grantableClusterRoles: [view, edit, 'acme:deployer']
clusterWideBindings: true
defaultClass:
  create: true
  grantableClusterRoles: [view]
  clusterScopeSelector: {matchLabels: {tier: gold}}
  allowPrivateEndpoints: true
  domains: {allow: [com, acme.org], deny: [evil.com], allowSpecialUse: true, allowPrivateSuffixes: true}
  tokenLifetime: 1m30s
  clients:
  - id: argocd
    redirectURIs: ['https://argocd.platform.example/auth/callback']
    secretRef: {name: argocd}
    namespaces: [acme]
  - {id: headlamp, redirectURIs: ['http://localhost:8000/callback']}
image:
  repository: images.platform.example/rollcall
  tag: v1
  digest: sha256:0000000000000000000000000000000000000000000000000000000000000000
  pullPolicy: Always
imagePullSecrets: [{name: images}]
replicas: 2
postgresql: {secretName: database, secretKey: uri, port: 6432, peers: [{ipBlock: {cidr: 10.0.0.7/32}}]}
persistence: {enabled: false, storageClassName: fast, size: 10Gi, keep: false}
controller:
  dns: {mode: recursive, servers: ['10.0.0.53:8853', 'fd00::1'], overTLS: dns.platform.example}
  resources: {limits: {memory: 1Gi}}
gateway: {trustedProxies: [10.0.0.1, 'fd00::/8'], directoryLimitMiB: 1048576, resources: {limits: {memory: 1Gi}}}
service: {type: NodePort, port: 8443, annotations: {a: b}}
networkPolicy:
  metricsNamespaceSelector: {matchExpressions: [{key: a, operator: Exists}]}
  egressTCPPorts: [443]
  extraEgress: [{ports: [{protocol: UDP, port: 5353}]}]
extraEnv: [{name: SSL_CERT_FILE, value: /ca/ca.crt}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /ca}]
podAnnotations: {a: '1'}
podLabels: {a: b}
priorityClassName: system-cluster-critical
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{operator: Exists}]
affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [
  {weight: 1, preference: {matchExpressions: [{key: a, operator: Exists}]}}]}}
topologySpreadConstraints: [{topologyKey: a, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]
terminationGracePeriodSeconds: 60
nameOverride: login
fullnameOverride: login
",
    ),
];

fn render(namespace: &str, values: &str) -> anyhow::Result<String> {
    helm(&["template", "rollcall", CHART, "--namespace", namespace], values)
}

#[test]
fn helm_has_nothing_to_complain_about() -> anyhow::Result<()> {
    for (name, values) in VALUES {
        helm(&["lint", "--strict", CHART], values).context(name)?;
    }
    Ok(())
}

#[test]
fn values_that_cannot_work_are_refused_with_what_to_write() {
    let url = "publicURL: https://login.platform.example";
    for (values, says) in [
        (
            "{}",
            "publicURL is missing: set it to the address people and company IdPs reach the \
             gateway at, for example --set publicURL=https://login.platform.example",
        ),
        ("publicURL: http://login.example", "write https://, a host, and a port"),
        ("publicURL: login.example", "write https://, a host, and a port"),
        ("publicURL: https://login.example/path", "without a path"),
        ("publicURL: https://login.example?a=b", "without a path"),
        (
            &format!("{{{url}, defaultClass: {{grantableClusterRoles: [view, admin]}}}}"),
            "names \"admin\", which the operator may not bind: add it to grantableClusterRoles too",
        ),
        (
            &format!("{{{url}, defaultClass: {{clusterScopeSelector: {{}}}}}}"),
            "for which the operator lacks the right: set clusterWideBindings to true too",
        ),
        (&format!("{{{url}, grantableClusterRoles: ['*']}}"), "grantableClusterRoles"),
        (&format!("{{{url}, grantableRoles: [view]}}"), "grantableRoles"),
        (&format!("{{{url}, tls: {{secret: a}}}}"), "additional properties 'secret' not allowed"),
        (&format!("{{{url}, persistence: {{size: large}}}}"), "size"),
        (
            &format!("{{{url}, replicas: 2}}"),
            "replicas is 2, but the ledger is a SQLite database on one volume, which only one pod \
             may use: set postgresql.secretName too, or replicas to 1",
        ),
        (&format!("{{{url}, replicas: 0}}"), "replicas"),
        (&format!("{{{url}, postgresql: {{url: 'postgres://a'}}}}"), "additional properties 'url'"),
        (&format!("{{{url}, postgresql: {{secretName: a, port: 0}}}}"), "port"),
        (&format!("{{{url}, postgresql: {{secretName: a, peers: [10.0.0.7]}}}}"), "peers"),
        (&format!("{{{url}, gateway: {{trustedProxies: [ingress.example]}}}}"), "trustedProxies"),
        (&format!("{{{url}, gateway: {{directoryLimitMiB: 0}}}}"), "directoryLimitMiB"),
        (&format!("{{{url}, gateway: {{directoryLimitMiB: 1Gi}}}}"), "directoryLimitMiB"),
        (&format!("{{{url}, defaultClass: {{tokenLifetime: soon}}}}"), "tokenLifetime"),
        (&format!("{{{url}, controller: {{dns: {{mode: fast}}}}}}"), "mode"),
        (&format!("{{{url}, controller: {{dns: {{servers: [dns.example]}}}}}}"), "servers"),
        (&format!("{{{url}, defaultClass: {{clients: [{{id: argocd}}]}}}}"), "redirectURIs"),
    ] {
        let refused = render("rollcall", values).expect_err(values).to_string();
        assert!(refused.contains(says), "{values}: {refused}");
    }
}

#[tokio::test]
async fn the_api_server_takes_whatever_values_make() -> anyhow::Result<()> {
    // its own: the policies of several releases would be in each other's way
    let scratch = Scratch::take("chart")?;
    let control_plane = ControlPlane::start(scratch.path()).await?;
    let kubectl = Kubectl::new(control_plane.kubeconfig(), scratch.path())?;
    install_crds(&control_plane).await?;
    let client = control_plane.client().await?;
    for (name, values) in VALUES {
        let rendered = render(name, values).context(name)?;
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        control_plane.kubectl_apply(&namespace.to_string()).await?;
        let apply = ["apply", "--validate=strict", "--filename=-"];
        let dry = [&apply[..], &["--dry-run=server"]].concat();
        kubectl.run_with_input(&dry, &rendered).await.context(name)?;
        kubectl.run_with_input(&apply, &rendered).await.context(name)?;

        let get = ["get", "deployments", "-n", name, "-o=jsonpath={.items[0]}"];
        let deployment: Value = serde_json::from_str(&control_plane.kubectl(&get).await?)?;
        let pod = Attempt::create(&pod_of(&deployment));
        answers(&client, [(name, pod, Taken)]).await?;
        policies_are_without_warnings(&control_plane).await.context(name)?;
        if name == "defaults" {
            nothing_is_bound_in_the_whole_cluster(&control_plane).await?;
        }

        // also a second time, as an upgrade
        kubectl.run_with_input(&apply, &rendered).await.context(name)?;
        let delete = ["delete", "--filename=-", "--wait=false"];
        kubectl.run_with_input(&delete, &rendered).await.context(name)?;
    }
    Ok(())
}

/// Not even by an operator that has every right.
async fn nothing_is_bound_in_the_whole_cluster(control_plane: &ControlPlane) -> anyhow::Result<()> {
    let operator = "system:serviceaccount:defaults:rollcall";
    let mighty = control_plane.client_as(operator, &["system:masters"]).await?;
    let api_group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "tried", "labels": {
            "app.kubernetes.io/managed-by": "rollcall", "rollcall.dev/organization": "acme",
        }},
        "roleRef": {"apiGroup": api_group, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": api_group, "kind": "Group", "name": "rollcall:acme:a"}],
    });
    let refused = Refused("Rollcall makes no ClusterRoleBindings here");
    until("the policy to be in force", Duration::from_secs(30), async || {
        let create = Attempt::create(&binding);
        answers(&mighty, [("everywhere", create, refused)]).await.map(Some)
    })
    .await
}

async fn policies_are_without_warnings(control_plane: &ControlPlane) -> anyhow::Result<()> {
    let get =
        ["get", "validatingadmissionpolicies", "-l=app.kubernetes.io/instance=rollcall", "-o=json"];
    until("the policies to be type-checked", Duration::from_secs(60), async || {
        let policies: Value = serde_json::from_str(&control_plane.kubectl(&get).await?)?;
        let policies = policies["items"].as_array().context("no list")?;
        ensure!(policies.len() == 6, "{} policies", policies.len());
        for policy in policies {
            let (name, status) = (&policy["metadata"]["name"], &policy["status"]);
            ensure!(status["observedGeneration"] == policy["metadata"]["generation"], "{name}");
            ensure!(status["typeChecking"].is_object(), "{name}: {status}");
            ensure!(status["typeChecking"]["expressionWarnings"].is_null(), "{name}: {status}");
        }
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn every_example_can_be_applied_as_it_is() -> anyhow::Result<()> {
    let control_plane = installed().await?;
    let mut stories = 0;
    for story in fs::read_dir(EXAMPLES)? {
        let story = story?.path();
        let path = story.to_str().context("a path that isn't UTF-8")?;
        control_plane.kubectl(&["apply", "--validate=strict", "-f", path]).await?;
        // and once more without a change
        let again = control_plane.kubectl(&["apply", "--validate=strict", "-f", path]).await?;
        ensure!(again.lines().all(|line| line.ends_with(" unchanged")), "{path}: {again}");
        stories += 1;
    }
    ensure!(stories > 0, "no examples in {EXAMPLES}");
    Ok(())
}

#[test]
fn the_pod_reaches_its_database_wherever_that_is_unless_values_say_where() -> anyhow::Result<()> {
    let rule = |peers: &str| {
        let values = format!(
            "{{publicURL: 'https://login.platform.example',
              postgresql: {{secretName: ledger, port: 6432, peers: {peers}}}}}"
        );
        let show = ["--show-only", "templates/networkpolicy.yaml"];
        let rendered = helm(&[&["template", "rollcall", CHART][..], &show].concat(), &values)?;
        let policy: Value = serde_saphyr::from_str(&rendered)?;
        let rules = policy["spec"]["egress"].as_array().context("no rules")?;
        let database = |rule: &&Value| rule["ports"][0]["port"] == 6432;
        let rules: Vec<_> = rules.iter().filter(database).collect();
        ensure!(rules.len() == 1, "{rendered}");
        anyhow::Ok(rules[0].clone())
    };
    let ports = json!([{"protocol": "TCP", "port": 6432}]);
    assert_eq!(rule("[]")?, json!({"ports": ports}));
    let peers = json!([
        {"ipBlock": {"cidr": "10.0.0.7/32"}},
        {"namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {}},
    ]);
    assert_eq!(rule(&peers.to_string())?, json!({"ports": ports, "to": peers}));
    Ok(())
}

#[test]
fn with_postgresql_both_containers_have_its_url_from_the_secret_and_there_is_no_volume()
-> anyhow::Result<()> {
    let values = "{publicURL: 'https://login.platform.example', replicas: 3,
                   postgresql: {secretName: ledger, secretKey: uri}}";
    let rendered = render("rollcall", values)?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered)?;
    let of_kind = |kind: &str| objects.iter().filter(|o| o["kind"] == kind).collect::<Vec<_>>();
    assert!(of_kind("PersistentVolumeClaim").is_empty(), "{rendered}");
    let [deployment] = of_kind("Deployment")[..] else { panic!("{rendered}") };
    assert_eq!(deployment["spec"]["replicas"], 3);
    let pod = &deployment["spec"]["template"]["spec"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let containers = list(&pod["containers"]);
    assert_eq!(containers.len(), 2, "{rendered}");
    for container in containers {
        let (env, mounts) = (list(&container["env"]), list(&container["volumeMounts"]));
        let places: Vec<_> = env.iter().filter(|env| env["name"] == "ROLLCALL_LEDGER").collect();
        let secret = json!({"secretKeyRef": {"name": "ledger", "key": "uri"}});
        assert_eq!(places, [&json!({"name": "ROLLCALL_LEDGER", "valueFrom": secret})]);
        assert!(mounts.iter().all(|mount| mount["name"] != "ledger"), "{mounts:?}");
    }
    let volumes = list(&pod["volumes"]);
    assert!(!volumes.is_empty() && volumes.iter().all(|volume| volume["name"] != "ledger"));
    Ok(())
}
