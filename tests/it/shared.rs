//! Several pods on one ledger in PostgreSQL: any gateway does, one controller works, and the loss of a
//! pod loses nothing that was answered.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rollcall_kit::{
    openid_client::OpenidClient,
    scim::Scim,
    stage::{FIRST, NAMESPACE, Pod},
    visitor::Visitor,
    wait::until,
};
use serde_json::{Value, json};

use crate::{
    company::Company,
    world::{PATIENCE, World},
};

/// Two pods, and a company whose people are in a directory.
struct Pods {
    company: Company<'static>,
    other: Pod,
    /// The company's provisioning, at either gateway.
    scim: [Scim; 2],
}

impl Pods {
    async fn start() -> anyhow::Result<Self> {
        // for as long as the test runs, as the company wants it: its processes end with this one
        let world: &'static World = Box::leak(Box::new(World::on_postgres().await?));
        let other = world.stage.another("second").await?;
        let company = Company::found_in(world, "shared").await?;
        world.make_one("DirectorySync", "shared", "people", "{source: {scim: {}}}").await?;
        world.reason("shared", "dsync/people", "Configured", "AwaitingFirstRequest").await?;
        company.connect(", admit: DirectoryOnly, directory: {name: people}").await?;
        let (first, endpoint, token) =
            world.stage.scim(&world.control_plane, "shared", "people").await?;
        let there = endpoint.replace(&world.stage.gateway, &other.gateway);
        let second = Scim::new(&there, &token, &world.stage.ca_pem)?;
        Ok(Self { company, other, scim: [first, second] })
    }

    fn world(&self) -> &'static World {
        self.company.world
    }

    /// The same address, at the other gateway.
    fn there(&self, url: &str) -> String {
        url.replace(&self.world().stage.gateway, &self.other.gateway)
    }

    /// Whether the other gateway knows who sits at this browser.
    async fn knows(&self, browser: &Visitor) -> anyhow::Result<bool> {
        let page = browser.visit(&self.other.gateway).await?;
        Ok(page.html.contains(&self.company.welcome()))
    }

    /// The pod whose controller works.
    async fn holder(&self) -> anyhow::Result<String> {
        let lease = "lease/rollcall-controller";
        let holder = self.world().get(NAMESPACE, lease, "{.spec.holderIdentity}").await?;
        Ok(holder.split('_').next().unwrap_or_default().to_owned())
    }

    /// Waits until the controller of this pod works: it makes a team of a new group. Returns how
    /// long that took.
    async fn taken_over_by(&self, pod: &str, scim: &Scim) -> anyhow::Result<Duration> {
        let since = Instant::now();
        until(&format!("{pod} to hold the Lease"), PATIENCE, async || {
            let holder = self.holder().await?;
            ensure!(holder == pod, "{holder:?}");
            Ok(Some(()))
        })
        .await?;
        let took = since.elapsed();
        scim.create_group(&format!("Of {pod}"), &[]).await?;
        let spec = format!(
            "{{directorySyncRef: {{name: people}}, group: {{displayName: Of {pod}}}, permissions: \
             [{{name: look, clusterRole: view}}]}}"
        );
        self.world().make_one("DirectoryTeam", "shared", &format!("of-{pod}"), &spec).await?;
        self.world().reason("shared", &format!("dteam/of-{pod}"), "Ready", "Ready").await?;
        Ok(took)
    }
}

#[tokio::test]
async fn what_one_gateway_takes_counts_at_the_other_at_once() -> anyhow::Result<()> {
    let pods = Pods::start().await?;
    let Pods { company, scim: [here, there], .. } = &pods;
    let ada = here.create_user(&company.email("ada"), "Ada").await?;
    there.create_user(&company.email("bob"), "Bob").await?;

    // one answer of the company's login, brought to both at once
    let browser = company.visitor()?;
    let answer = company.answer(&browser, &company.person("bob")).await?;
    let at_the_other = pods.there(&answer.acs);
    let (one, two) = tokio::join!(
        browser.post(&answer.acs, &answer.fields),
        browser.post(&at_the_other, &answer.fields),
    );
    let taken = [one?, two?].iter().filter(|page| page.html.contains(&company.welcome())).count();
    ensure!(taken == 1, "taken {taken} times");

    // a refresh token that was used at one is of no use at the other, and ends what came of it
    let browser = company.sign_in(&company.person("ada")).await?;
    ensure!(pods.knows(&browser).await?, "a session counts at one gateway alone");
    let token = refresh_token(&pods, &browser).await?;
    let next = refresh(&pods, &pods.world().stage.gateway, &token).await?.context("refused")?;
    ensure!(refresh(&pods, &pods.other.gateway, &token).await?.is_none(), "used twice");
    ensure!(refresh(&pods, &pods.other.gateway, &next).await?.is_none(), "it goes on");

    // who is deactivated at one has no session at the other from then on
    let browser = company.sign_in(&company.person("ada")).await?;
    let token = refresh_token(&pods, &browser).await?;
    there.deactivate(&ada).await?;
    ensure!(!company.is_signed_in(&browser).await?, "still in");
    ensure!(refresh(&pods, &pods.world().stage.gateway, &token).await?.is_none(), "still in");
    let browser = company.visitor()?;
    let answer = company.answer(&browser, &company.person("ada")).await?;
    let page = browser.post(&pods.there(&answer.acs), &answer.fields).await?;
    company.refused(&page, "Deactivated")
}

/// A refresh token of whoever sits at this browser, for kubectl.
async fn refresh_token(pods: &Pods, browser: &Visitor) -> anyhow::Result<String> {
    let stage = &pods.world().stage;
    let kubectl = OpenidClient::new(&stage.gateway, "kubernetes", None, &stage.ca_pem)?;
    let loopback = "http://127.0.0.1:51234/callback";
    let scope = json!({"scope": "openid offline_access"});
    let begun = kubectl.begin(loopback, &scope).await?;
    let page = browser.visit(&begun.url).await?;
    let link = page.html.split("href=\"/sign-in/go-on?").nth(1);
    let link = link.with_context(|| format!("no link: {}", page.html))?;
    let link = link.split('"').next().context("no link")?;
    let link = page.url.join(&format!("/sign-in/go-on?{link}"))?;
    let back = |url: &url::Url| url.as_str().starts_with(loopback);
    let callback = browser.visit_until(link.as_str(), back).await?;
    let got = kubectl.finish(&begun, callback.as_str()).await?;
    let token = got.tokens.get("refresh_token").and_then(Value::as_str);
    token.map(str::to_owned).context("no refresh token")
}

/// The next refresh token; `None` where this one isn't taken.
async fn refresh(pods: &Pods, gateway: &str, token: &str) -> anyhow::Result<Option<String>> {
    let ca = reqwest::Certificate::from_pem(pods.world().stage.ca_pem.as_bytes())?;
    let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
    let form =
        [("grant_type", "refresh_token"), ("client_id", "kubernetes"), ("refresh_token", token)];
    let request = client.post(format!("{gateway}/oauth2/token"));
    let body: Value = request.form(&form).send().await?.json().await?;
    let next = body["refresh_token"].as_str().map(str::to_owned);
    ensure!(next.is_some() || body["error"] == "invalid_grant", "{body}");
    Ok(next)
}

#[tokio::test]
async fn a_pod_that_is_killed_loses_nothing_and_the_other_takes_over() -> anyhow::Result<()> {
    let pods = Pods::start().await?;
    let (world, company) = (pods.world(), &pods.company);
    ensure!(pods.holder().await? == FIRST, "{} works", pods.holder().await?);

    // people come through both gateways, and sign in, while one of each side is killed
    let (controller, gateway) = (&world.stage.processes()[0], &pods.other.process);
    let hiring = |scim: &Scim, from: usize| {
        let (scim, company) = (scim.clone(), company.name);
        async move {
            let mut hired = vec![];
            for number in from..from + 200 {
                let name = format!("p{number}@{company}.test.example");
                match scim.create_user(&name, "P").await {
                    Ok(id) => hired.push(id),
                    Err(_) => break, // the gateway is gone, and this one wasn't answered
                }
            }
            hired
        }
    };
    let signing_in = async {
        pods.scim[0].create_user(&company.email("ada"), "Ada").await?;
        for _ in 0..6 {
            company.sign_in(&company.person("ada")).await?;
        }
        anyhow::Ok(())
    };
    let killing = async {
        let some = "Users?startIndex=1&count=0";
        until("people to come", PATIENCE, async || {
            let (_, list) = pods.scim[0].send(reqwest::Method::GET, some, &Value::Null).await?;
            ensure!(list["totalResults"].as_u64() > Some(50), "{list}");
            Ok(Some(()))
        })
        .await?;
        controller.kill()?;
        gateway.kill()?;
        anyhow::Ok(Instant::now())
    };
    let (here, there, signed_in, killed) =
        tokio::join!(hiring(&pods.scim[0], 0), hiring(&pods.scim[1], 1000), signing_in, killing);
    let killed = killed?;
    signed_in.context("with one gateway killed, the other serves")?;
    ensure!(here.len() == 200, "the gateway that stayed stopped at {}", here.len());
    ensure!(there.len() < 200, "killed too late");
    for id in here.iter().chain(&there) {
        let path = format!("Users/{id}");
        let (status, _) = pods.scim[0].send(reqwest::Method::GET, &path, &Value::Null).await?;
        ensure!(status.is_success(), "{id} was answered and is lost: {status}");
    }
    pods.taken_over_by("second", &pods.scim[0]).await?;
    eprintln!("killed: the standby works {:?} later", killed.elapsed());

    // one that ends well waits for nobody to find out
    let third = world.stage.another("third").await?;
    let ended = pods.other.controller.stop().await?;
    ensure!(ended.success(), "{ended}: {}", pods.other.controller.log_tail());
    let took = pods.taken_over_by("third", &pods.scim[0]).await?;
    eprintln!("ended: the standby holds the Lease {took:?} later");
    ensure!(took < Duration::from_secs(5), "{took:?}");
    third.controller.stop().await?;

    operator_has_that_lease_alone(world).await
}

#[tokio::test]
async fn a_controller_that_stood_still_changes_nothing_once_another_works() -> anyhow::Result<()> {
    let pods = Pods::start().await?;
    let world = pods.world();
    // what it would put back if it went on as it was
    pods.taken_over_by(FIRST, &pods.scim[0]).await?;
    let team = format!("dteam/of-{FIRST}");
    let frozen = &world.stage.processes()[0];
    frozen.freeze()?;
    pods.taken_over_by("second", &pods.scim[0]).await?;
    world.kubectl(&format!("delete {team} -n shared")).await?;
    let bindings = "get rolebindings -n shared-web -o \
                    jsonpath={range.items[*]}{.metadata.name}{.metadata.resourceVersion}{end}";
    let before = world.kubectl(bindings).await?;
    ensure!(before.contains("of-second") && !before.contains(&format!("of-{FIRST}")), "{before}");

    frozen.thaw()?;
    until("it to learn that it lost the Lease", PATIENCE, async || {
        ensure!(std::fs::read_to_string(frozen.log())?.contains("lost the lease"), "not yet");
        Ok(Some(()))
    })
    .await?;
    let after = world.kubectl(bindings).await?;
    ensure!(after == before, "{before}: {after}");
    ensure!(pods.holder().await? == "second", "{} works", pods.holder().await?);
    // and goes on to be of use
    pods.other.controller.stop().await?;
    world.kubectl("delete dteam of-second -n shared --wait=false").await?;
    world.gone("shared", "dteam/of-second").await
}

async fn operator_has_that_lease_alone(world: &World) -> anyhow::Result<()> {
    let operator = format!("system:serviceaccount:{NAMESPACE}:rollcall");
    for (verb, what, namespace, may) in [
        ("get", "leases/rollcall-controller", NAMESPACE, true),
        ("update", "leases/rollcall-controller", NAMESPACE, true),
        ("delete", "leases/rollcall-controller", NAMESPACE, false),
        ("update", "leases/other", NAMESPACE, false),
        ("create", "leases", NAMESPACE, false),
        ("list", "leases", NAMESPACE, false),
        ("get", "leases/rollcall-controller", "kube-system", false),
    ] {
        let can = ["auth", "can-i", verb, what, "-n", namespace, "--as", &operator];
        let said = world.control_plane.kubectl(&can).await;
        ensure!(said.is_ok() == may, "{verb} {what} in {namespace}: {said:?}");
    }
    Ok(())
}
