//! The command line: the two sides, together or apart, and what people type.

mod args;
mod typed;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{CommandFactory, FromArgMatches};
use rollcall::{
    api, cli, controllers,
    fetch::Fetchers,
    gateway,
    health::{self, Ready},
    keys::KeySlot,
    ledger::Ledger,
    telemetry::{self, Metrics},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use args::{Cli, Command, Common, Controller, Domain, Gateway, Saml};

/// How long the ledger may take to close, after all who use it have ended or were cut off.
const CLOSING: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // before any TLS client is built: see the note in Cargo.toml
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is installed already");
    }
    let plugin = std::env::args_os().next().is_some_and(|program| cli::plugin::is_plugin(&program));
    let mut command = Cli::command();
    if plugin {
        command = command.bin_name("kubectl rollcall");
    }
    match Cli::from_arg_matches(&command.get_matches())?.command {
        Command::Crds => print!("{}", api::crds_yaml()),
        Command::AuthnConfig(args) => typed::authn_config(&args)?,
        Command::Login(args) => args.run().await?,
        Command::Credential(args) => args.run().await?,
        Command::Whoami(args) => args.run().await?,
        Command::Logout(args) => args.run().await?,
        Command::Domain(Domain::Explain(args)) => return Ok(typed::domain_explain(&args).await),
        Command::Saml(Saml::Check(args)) => return Ok(typed::saml_check(&args)),
        Command::Domains(args) => return Ok(args.run().await?),
        Command::People(args) => return typed::people(&args, plugin).await,
        Command::Why(args) => return typed::why(&args, plugin).await,
        Command::Revoke(args) => return typed::revoke(&args, plugin).await,
        Command::Log(args) => return typed::log(&args, plugin).await,
        Command::Run(args) => serve(args.common, Some(args.controller), Some(args.gateway)).await?,
        Command::Controller(args) => serve(args.common, Some(args.controller), None).await?,
        Command::Gateway(args) => serve(args.common, None, Some(args.gateway)).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Run the sides that are asked for, until a signal or until one of them fails.
async fn serve(
    common: Common,
    controller: Option<Controller>,
    gateway: Option<Gateway>,
) -> anyhow::Result<()> {
    telemetry::log();
    let stop = CancellationToken::new();
    tokio::spawn(signalled(stop.clone())?);
    let ledger = Ledger::open(&common.ledger).await?;
    let metrics = Metrics::new();
    let ready = Ready::default();
    let key = KeySlot::default();
    // whoever ends first, by failing, ends the others
    let ends = |side: &'static str, result: anyhow::Result<()>| {
        stop.cancel();
        result.context(side)
    };
    let health = async {
        let serving = health::serve(
            common.health_listen,
            ready.clone(),
            ledger.clone(),
            metrics.clone(),
            stop.clone(),
        );
        ends("health", serving.await.map_err(Into::into))
    };
    let controller = async {
        let Some(args) = controller else {
            ready.set(); // a gateway alone is ready as soon as its ledger answers
            return Ok(());
        };
        ends("controller", control(args, &common, &ledger, &metrics, &ready, &key, &stop).await)
    };
    let gateway = async {
        let Some(args) = gateway else { return Ok(()) };
        if let Some(file) = args.installation_key.clone() {
            tokio::spawn(stop.clone().run_until_cancelled_owned(gateway::read_key(
                file,
                ledger.clone(),
                key.clone(),
            )));
        }
        ends("gateway", answer(args, &common, &ledger, &metrics, &key, &stop).await)
    };
    let (health, controller, gateway) = tokio::join!(health, controller, gateway);
    if tokio::time::timeout(CLOSING, ledger.close()).await.is_err() {
        warn!("the ledger wasn't closed in time"); // which it bears as it would a crash
    }
    info!("stopped");
    health.and(controller).and(gateway)
}

async fn control(
    args: Controller,
    common: &Common,
    ledger: &Ledger,
    metrics: &Metrics,
    ready: &Ready,
    key: &KeySlot,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let client = kube::Client::try_default().await.context("no Kubernetes to talk to")?;
    let lease = controllers::Lease::new(client.clone(), &args.namespace, &args.name);
    let settings = controllers::Settings {
        public_url: common.public_url.as_str().trim_end_matches('/').to_owned(),
        namespace: args.namespace,
        dns: args.dns.settings(),
        key: key.clone(),
    };
    let run = || {
        let (client, ledger, settings) = (client.clone(), ledger.clone(), settings.clone());
        controllers::run(client, ledger, settings, metrics.clone(), ready, stop.clone())
    };
    if ledger.is_shared() {
        ready.set(); // who stands by is ready, or a roll-out would wait for it
        lease.hold(stop, run).await?;
    } else {
        run().await?;
    }
    Ok(())
}

async fn answer(
    args: Gateway,
    common: &Common,
    ledger: &Ledger,
    metrics: &Metrics,
    key: &KeySlot,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let observer: gateway::Observer = std::sync::Arc::new({
        let metrics = metrics.clone();
        move |served: gateway::Served<'_>| {
            metrics.requested(served.route, served.status.as_u16(), served.duration);
        }
    });
    let public_url = common.public_url.clone();
    let fetchers = Fetchers::new().context("no trust roots")?;
    let ledger = ledger.clone().with_directory_limit(args.directory_limit << 20);
    let gateway = gateway::Gateway::new(ledger, public_url, observer, key.clone(), fetchers)
        .with_clock_skew(Duration::from_secs(args.clock_skew));
    tokio::spawn(stop.clone().run_until_cancelled_owned(gateway.clone().keep()));
    let router = gateway::router(gateway);
    let tls = args.tls_cert.zip(args.tls_key).map(|(cert, key)| gateway::Tls { cert, key });
    let listener = std::net::TcpListener::bind(args.listen)
        .with_context(|| format!("can't listen on {}", args.listen))?;
    gateway::serve(listener, router, args.trusted_proxies, tls, stop.clone().cancelled_owned())
        .await?;
    Ok(())
}

fn signalled(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        info!("stopping");
        stop.cancel();
    })
}
