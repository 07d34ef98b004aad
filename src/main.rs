//! The command line: the two sides, together or apart, and what people type.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
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
use url::Url;

/// Enterprise single sign-on and directory sync for Kubernetes, declared as YAML.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller and the gateway in one process.
    Run(Both),
    /// Run the Kubernetes side alone.
    Controller(ControllerAlone),
    /// Run the HTTP side alone; it needs no access to Kubernetes.
    Gateway(GatewayAlone),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Tell whether somebody is active, since when, and in which groups and teams.
    People(People),
    /// Find out why signing in with SAML doesn't work.
    #[command(subcommand)]
    Saml(Saml),
}

#[derive(Subcommand)]
enum Saml {
    /// Check saved responses: one line of JSON each, exit status 1 if any would be refused.
    Check(cli::saml_check::SamlCheck),
}

/// What both sides need.
#[derive(Args)]
struct Common {
    /// The ledger's SQLite file; made where there is none.
    #[arg(long, env = "ROLLCALL_LEDGER")]
    ledger: PathBuf,
    /// Where the company IdPs reach the gateway, for example https://rollcall.example.com.
    #[arg(long, env = "ROLLCALL_PUBLIC_URL", value_parser = public_url)]
    public_url: Url,
    /// Where /healthz, /readyz and /metrics are served. Never public.
    #[arg(long, env = "ROLLCALL_HEALTH_LISTEN", default_value = "127.0.0.1:8081")]
    health_listen: SocketAddr,
}

#[derive(Args)]
struct Controller {
    /// The operator's own namespace, where its installation key is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "rollcall")]
    namespace: String,
    /// The DNS resolvers to ask, each an address with or without a port; the system's if omitted.
    #[arg(long, env = "ROLLCALL_DNS_SERVERS", value_delimiter = ',', value_parser = dns_server)]
    dns_servers: Vec<SocketAddr>,
}

#[derive(Args)]
struct Gateway {
    /// Where the gateway listens.
    #[arg(long, env = "ROLLCALL_LISTEN", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// The gateway's certificate chain, PEM. Without it the gateway speaks plain HTTP, for a proxy
    /// before it that ends TLS.
    #[arg(long, env = "ROLLCALL_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, env = "ROLLCALL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The networks of the proxies before the gateway, as CIDR prefixes: their X-Forwarded-For is
    /// believed. Without them everybody behind a proxy is limited as one.
    #[arg(long, env = "ROLLCALL_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    trusted_proxies: Vec<IpNet>,
    /// The file with the installation key, as the operator's Secret has it, for a gateway that runs
    /// alone. It may come later; nobody signs in before.
    #[arg(long, env = "ROLLCALL_INSTALLATION_KEY")]
    installation_key: Option<PathBuf>,
}

#[derive(Args)]
struct Both {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    controller: Controller,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args)]
struct ControllerAlone {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    controller: Controller,
}

#[derive(Args)]
struct GatewayAlone {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Args)]
struct People {
    /// An e-mail address or user name.
    who: String,
    /// The organization's namespace.
    #[arg(short, long)]
    namespace: String,
    /// The ledger's SQLite file.
    #[arg(long, env = "ROLLCALL_LEDGER")]
    ledger: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // before any TLS client is built: see the note in Cargo.toml
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is installed already");
    }
    match Cli::parse().command {
        Command::Crds => print!("{}", api::crds_yaml()),
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

fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    match url.scheme() {
        "https" if bare => Ok(url),
        "https" => Err("write the host alone, without a path".into()),
        _ => Err("write a full URL that begins with https://".into()),
    }
}

/// An address with or without a port: 53 where it has none.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| "write an IP address, with or without a port".into())
}

/// A CIDR prefix, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
        .map_err(|_| "write a network such as 10.0.0.0/8, or an address".into())
}
