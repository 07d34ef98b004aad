//! The command line: the two sides, together or apart, and what people type.

mod args;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use rollcall::{
    api, cli, controllers, gateway,
    health::{self, Ready},
    keys::KeySlot,
    ledger::Ledger,
    telemetry::{self, Metrics},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use args::{AuthnConfig, Cli, Command, Common, Controller, Gateway, People, Saml};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // before any TLS client is built: see the note in Cargo.toml
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is installed already");
    }
    match Cli::parse().command {
        Command::Crds => print!("{}", api::crds_yaml()),
        Command::AuthnConfig(args) => authn_config(&args)?,
        Command::People(args) => return people(args).await,
        Command::Saml(Saml::Check(args)) => return Ok(saml_check(&args)),
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
    ledger.close().await;
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
    let settings = controllers::Settings {
        public_url: common.public_url.as_str().trim_end_matches('/').to_owned(),
        namespace: args.namespace,
        dns_servers: args.dns_servers,
        key: key.clone(),
    };
    controllers::run(client, ledger.clone(), settings, metrics.clone(), ready, stop.clone())
        .await?;
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
    let router = gateway::router(gateway::Gateway {
        ledger: ledger.clone(),
        public_url: common.public_url.clone(),
        observer,
        key: key.clone(),
    });
    let tls = args.tls_cert.zip(args.tls_key).map(|(cert, key)| gateway::Tls { cert, key });
    let listener = std::net::TcpListener::bind(args.listen)
        .with_context(|| format!("can't listen on {}", args.listen))?;
    gateway::serve(listener, router, args.trusted_proxies, tls, stop.clone().cancelled_owned())
        .await?;
    Ok(())
}

fn authn_config(args: &AuthnConfig) -> anyhow::Result<()> {
    let read = |file: &std::path::PathBuf| {
        std::fs::read(file).with_context(|| format!("can't read {}", file.display()))
    };
    let ca = args.ca.as_ref().map(read).transpose()?;
    let issuer = args.issuer.as_str().trim_end_matches('/');
    let config =
        cli::authn_config::authn_config(args.api_version, issuer, &args.client, ca.as_deref())?;
    print!("{config}");
    Ok(())
}

async fn people(args: People) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.ledger.exists(), "there is no ledger at {}", args.ledger.display());
    let ledger = Ledger::open(&args.ledger).await?;
    let people = ledger.people(&args.namespace, &args.who).await?;
    print!("{}", cli::people::tell(&people, &args.who, &args.namespace));
    Ok(if people.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Off line, and with a third exit status: 2 if nothing could be checked, as for wrong options.
fn saml_check(args: &cli::saml_check::SamlCheck) -> ExitCode {
    match cli::saml_check::run(args, std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::from(2)
        }
    }
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
