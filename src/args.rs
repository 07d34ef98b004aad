//! What may be typed.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use rollcall::{
    cli::{
        authn_config::ApiVersion, client, dns::Dns, domain_explain::DomainExplain,
        domains::Domains, plugin::Operator, saml_check::SamlCheck,
    },
    ledger::Location,
};
use url::Url;

/// Enterprise single sign-on and directory sync for Kubernetes, declared as YAML.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the controller and the gateway in one process.
    Run(Both),
    /// Run the Kubernetes side alone.
    Controller(ControllerAlone),
    /// Run the HTTP side alone; it needs no access to Kubernetes.
    Gateway(GatewayAlone),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Print the AuthenticationConfiguration by which an API server trusts the gateway.
    AuthnConfig(AuthnConfig),
    /// Sign in in the browser, for kubectl.
    Login(client::Login),
    /// Print a token for kubectl, which runs this by itself.
    Credential(client::Credential),
    /// Tell who is signed in, and for how long.
    Whoami(client::Whoami),
    /// Sign out: end the tokens and forget them.
    Logout(client::Logout),
    /// List an organization's domains with the records that prove them, or add some.
    Domains(Domains),
    /// Tell whether somebody is active, since when, and in which groups and teams.
    People(People),
    /// Tell link by link whether and why somebody has access; exit status 1 if a link is broken.
    Why(Why),
    /// End all of somebody's sessions. What kubectl holds works until it expires.
    Revoke(Revoke),
    /// Show an organization's audit log, the newest line first.
    Log(Log),
    /// Find out why a domain isn't verified.
    #[command(subcommand)]
    Domain(Domain),
    /// Find out why signing in with SAML doesn't work.
    #[command(subcommand)]
    Saml(Saml),
}

#[derive(Subcommand)]
pub enum Domain {
    /// Look for its record as the controller does, and tell who was asked and what was answered:
    /// exit status 1 if it isn't proved.
    Explain(DomainExplain),
}

#[derive(Subcommand)]
pub enum Saml {
    /// Check saved responses: one line of JSON each, exit status 1 if any would be refused.
    Check(SamlCheck),
}

/// What both sides need.
#[derive(Args)]
pub struct Common {
    /// Where the ledger is: a SQLite file, made where there is none, or a database of PostgreSQL,
    /// postgres://user@host/database?sslmode=verify-full. PGPASSWORD is its password.
    #[arg(long, env = "ROLLCALL_LEDGER", hide_env_values = true)]
    pub ledger: Location,
    /// Where the company IdPs reach the gateway, for example https://rollcall.example.com.
    #[arg(long, env = "ROLLCALL_PUBLIC_URL", value_parser = public_url)]
    pub public_url: Url,
    /// Where /healthz, /readyz and /metrics are served. Never public.
    #[arg(long, env = "ROLLCALL_HEALTH_LISTEN", default_value = "127.0.0.1:8081")]
    pub health_listen: SocketAddr,
}

#[derive(Args)]
pub struct Controller {
    /// The operator's own namespace, where its installation key is, and its Lease where the ledger is
    /// on PostgreSQL.
    #[arg(long, env = "POD_NAMESPACE", default_value = "rollcall")]
    pub namespace: String,
    /// By which name this controller holds the Lease, for whoever looks at that.
    #[arg(long, env = "POD_NAME", default_value = "rollcall")]
    pub name: String,
    #[command(flatten)]
    pub dns: Dns,
}

#[derive(Args)]
pub struct Gateway {
    /// Where the gateway listens.
    #[arg(long, env = "ROLLCALL_LISTEN", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// The gateway's certificate chain, PEM. Without it the gateway speaks plain HTTP, for a proxy
    /// before it that ends TLS.
    #[arg(long, env = "ROLLCALL_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, env = "ROLLCALL_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The networks of the proxies before the gateway, as CIDR prefixes: their X-Forwarded-For is
    /// believed. Without them everybody behind a proxy is limited as one.
    #[arg(long, env = "ROLLCALL_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// How far the clock of a company IdP may be from ours, in seconds.
    #[arg(long, env = "ROLLCALL_CLOCK_SKEW", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(0..=300))]
    pub clock_skew: u64,
    /// How much the directories of one organization may hold together, in MiB: people and groups with
    /// their attributes, and who is in which group. What SCIM sends beyond it is refused; people leave
    /// all the same.
    #[arg(long, env = "ROLLCALL_DIRECTORY_LIMIT", default_value_t = 1024,
        value_parser = clap::value_parser!(i64).range(1..=1 << 20))]
    pub directory_limit: i64,
    /// The file with the installation key, as the operator's Secret has it, for a gateway that runs
    /// alone. It may come later; nobody signs in before.
    #[arg(long, env = "ROLLCALL_INSTALLATION_KEY")]
    pub installation_key: Option<PathBuf>,
}

#[derive(Args)]
pub struct Both {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub controller: Controller,
    #[command(flatten)]
    pub gateway: Gateway,
}

#[derive(Args)]
pub struct ControllerAlone {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub controller: Controller,
}

#[derive(Args)]
pub struct GatewayAlone {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub gateway: Gateway,
}

/// Whose ledger, of which organization.
#[derive(Args)]
pub struct Place {
    /// The organization's namespace.
    #[arg(short, long)]
    pub namespace: String,
    /// The ledger's SQLite file, or a postgres:// URL. Without it, `kubectl rollcall` asks the
    /// controller's pod.
    #[arg(long, env = "ROLLCALL_LEDGER", hide_env_values = true)]
    pub ledger: Option<Location>,
    #[command(flatten)]
    pub operator: Operator,
}

#[derive(Args)]
pub struct People {
    /// An e-mail address or user name.
    pub who: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Why {
    /// An e-mail address or user name.
    pub who: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Revoke {
    /// An e-mail address or user name.
    pub who: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args)]
pub struct Log {
    #[command(flatten)]
    pub place: Place,
    /// Only what an error page showed under this reference.
    #[arg(long)]
    pub reference: Option<String>,
    /// How many lines at most.
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
}

#[derive(Args)]
pub struct AuthnConfig {
    /// The gateway's public URL, as the API server reaches it.
    #[arg(long, alias = "public-url", env = "ROLLCALL_PUBLIC_URL", value_parser = public_url)]
    pub issuer: Url,
    /// The client whose tokens are for the API server.
    #[arg(long, default_value = "kubernetes")]
    pub client: String,
    /// The CA of the gateway's certificate, PEM; without it, the API server's own roots.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// The configuration's version: v1beta1 before Kubernetes 1.34.
    #[arg(long, value_enum, default_value = "v1")]
    pub api_version: ApiVersion,
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

/// A CIDR prefix, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()))
        .map_err(|_| "write a network such as 10.0.0.0/8, or an address".into())
}
