//! `make bench`: what a release build of Rollcall does under load, beside what the design asks of it.
//!
//! `ONLY=domains`, `teams`, `scim`, `saml` or `sign-in` measures one part; `scim` and `saml` do so beside
//! programs of others. `SIZE=500` shrinks what is measured, for a quick try: its figures mean little.
//! `LEDGER=postgres` has the ledger in a PostgreSQL on this machine instead of a SQLite file. A missed
//! aim is a figure like any other; what fails to work ends the bench with an error.

use std::{env, path::Path};

use anyhow::{Context, bail};
use rollcall::saml::{
    self, DecryptionKey, Expected, Refusal, ServiceProvider, TrustedIdp, metadata, response::SKEW,
};
use rollcall_kit::{
    bench::{
        domains, machine,
        report::Table,
        saml::{Trust, Verify},
        scim, sign_in, teams,
    },
    install_crypto,
};
use tokio::signal::unix::{SignalKind, signal};

const PARTS: [&str; 5] = ["domains", "teams", "scim", "saml", "sign-in"];
const DOMAINS: usize = 10_000;
const CHANGES: usize = 300;
const USERS: usize = 20_000;
const SIGN_INS: usize = 2_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    install_crypto();
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = bench() => measured,
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
        _ = term.recv() => bail!("stopped"),
    }
}

async fn bench() -> anyhow::Result<()> {
    let only = env::var("ONLY").unwrap_or_default();
    if !only.is_empty() && !PARTS.contains(&only.as_str()) {
        bail!("ONLY={only}: it is one of {}", PARTS.join(", "));
    }
    let size: Option<usize> = match env::var("SIZE").unwrap_or_default().as_str() {
        "" => None,
        size => Some(size.parse().with_context(|| format!("SIZE={size}"))?),
    };
    let program = Path::new(env!("CARGO_BIN_EXE_rollcall"));
    let machine = machine::description()?;
    let mut table = Table::default();
    let mut outcome = Ok(());
    for part in PARTS.into_iter().filter(|part| only.is_empty() || *part == only) {
        outcome = match part {
            "domains" => domains::measure(program, size.unwrap_or(DOMAINS), &mut table).await,
            "teams" => teams::measure(program, size.unwrap_or(CHANGES), &mut table).await,
            "scim" => scim::measure(program, size.unwrap_or(USERS), &mut table).await,
            "saml" => rollcall_kit::bench::saml::measure(verifier, &mut table),
            _ => sign_in::measure(program, size.unwrap_or(SIGN_INS), &mut table).await,
        };
        if outcome.is_err() {
            break;
        }
    }
    println!("\n{machine}\n\n{table}");
    outcome
}

/// What the gateway and `rollcall saml check` do with a response.
fn verifier(trust: Trust<'_>) -> anyhow::Result<Box<Verify>> {
    let Trust { metadata, sp, now, decryption_key } = trust;
    let idp = TrustedIdp::new(&metadata::parse(metadata.as_bytes(), now)?);
    let keys = [DecryptionKey::new(decryption_key.as_bytes())?];
    let sp = sp.clone();
    Ok(Box::new(move |form| {
        let expected = Expected {
            idp: &idp,
            sp: ServiceProvider {
                entity_id: &sp.entity_id,
                acs_url: &sp.acs,
                decryption_keys: &keys,
            },
            request: None,
            now,
            skew: SKEW,
        };
        let assertion = saml::decode(form).and_then(|xml| saml::verify(&xml, &expected));
        assertion.map(drop).map_err(|refusal: Refusal| refusal.name())
    }))
}
