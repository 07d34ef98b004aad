//! What is typed about a ledger or a gateway, beside running them.

use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use rollcall::{
    cli,
    dns::DomainName,
    ledger::{AuditLine, Ledger, Location},
};

use crate::args::{AuthnConfig, Log, People, Place, Revoke, Why};

/// `rollcall authn-config`.
pub fn authn_config(args: &AuthnConfig) -> anyhow::Result<()> {
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

/// `rollcall people`.
pub async fn people(args: &People, plugin: bool) -> anyhow::Result<ExitCode> {
    let Place { namespace, .. } = &args.place;
    let Some(ledger) = ledger(&args.place, plugin).await? else {
        return there(&args.place, "people", &[], Some(&args.who));
    };
    let people = ledger.people(namespace, &args.who).await?;
    print!("{}", cli::people::tell(&people, &args.who, namespace));
    Ok(if people.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `rollcall why`.
pub async fn why(args: &Why, plugin: bool) -> anyhow::Result<ExitCode> {
    let Place { namespace, .. } = &args.place;
    let Some(ledger) = ledger(&args.place, plugin).await? else {
        return there(&args.place, "why", &[], Some(&args.who));
    };
    let organization = organization(&ledger, namespace).await?;
    let people = ledger.people(namespace, &args.who).await?;
    let mut whole = false;
    // who isn't found has a way, too, up to there
    for person in people.iter().map(Some).chain(people.is_empty().then_some(None)) {
        let email = person.and_then(|person| person.email.as_deref()).unwrap_or(&args.who);
        let domain = email.rsplit_once('@').and_then(|(_, name)| DomainName::parse(name).ok());
        let way = match domain {
            Some(domain) => Some(ledger.way_in(&organization, &domain.to_string()).await?),
            None => None,
        };
        let reach = match person {
            Some(person) => {
                let connection = way.as_ref().and_then(|way| way.connection.as_ref());
                let connection = connection.map(|door| door.name.as_str());
                Some((person, ledger.reach(&organization, connection, person.id).await?))
            }
            None => None,
        };
        let (text, holds) = cli::why::tell(&cli::why::Case {
            organization: namespace,
            who: &args.who,
            way: way.as_ref(),
            person: reach.as_ref().map(|(person, reach)| (*person, reach)),
        });
        print!("{text}");
        whole |= holds;
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `rollcall revoke`.
pub async fn revoke(args: &Revoke, plugin: bool) -> anyhow::Result<ExitCode> {
    let Place { namespace, .. } = &args.place;
    let Some(ledger) = ledger(&args.place, plugin).await? else {
        return there(&args.place, "revoke", &[], Some(&args.who));
    };
    let organization = organization(&ledger, namespace).await?;
    let ended = ledger.revoke(namespace, &args.who).await?;
    let sessions = if ended == 1 { "session" } else { "sessions" };
    let line = AuditLine {
        at: Timestamp::now(),
        actor: "operator".into(),
        action: "session.revoke".into(),
        subject: args.who.clone(),
        detail: Some(format!("{ended} {sessions} ended")),
        reference: None,
    };
    ledger.audit(&organization, &line).await?;
    let who = cli::printable(&args.who);
    if ended == 0 {
        println!("Nobody with the e-mail or user name {who} has a session in {namespace}.");
    } else {
        println!("{ended} {sessions} of {who} in {namespace} ended.");
    }
    Ok(ExitCode::SUCCESS)
}

/// `rollcall log`.
pub async fn log(args: &Log, plugin: bool) -> anyhow::Result<ExitCode> {
    let Place { namespace, .. } = &args.place;
    let Some(ledger) = ledger(&args.place, plugin).await? else {
        let limit = format!("--limit={}", args.limit);
        let reference = args.reference.iter().map(|reference| format!("--reference={reference}"));
        let more: Vec<_> = [limit].into_iter().chain(reference).collect();
        return there(&args.place, "log", &more, None);
    };
    organization(&ledger, namespace).await?;
    let reference = args.reference.as_deref();
    let mut lines = ledger.audit_log(namespace, reference, args.limit).await?;
    if let Some(reference) = reference {
        // an error that came before anybody knew whose it was
        lines.extend(ledger.audit_of_nobody(reference).await?);
        lines.sort_by_key(|line| std::cmp::Reverse(line.at));
        lines.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    }
    print!("{}", cli::audit_log::tell(&lines));
    Ok(ExitCode::SUCCESS)
}

/// The ledger; `None` if the controller's pod is to be asked.
async fn ledger(place: &Place, plugin: bool) -> anyhow::Result<Option<Ledger>> {
    let Some(location) = &place.ledger else {
        anyhow::ensure!(plugin, "name the ledger by --ledger, or use `kubectl rollcall`");
        return Ok(None);
    };
    if let Location::File(file) = location {
        anyhow::ensure!(file.exists(), "there is no ledger at {}", file.display());
    }
    Ok(Some(Ledger::open_as_it_is(location).await?))
}

/// The same command in the controller's pod, where the environment names the ledger.
fn there(
    place: &Place,
    command: &str,
    more: &[String],
    who: Option<&String>,
) -> anyhow::Result<ExitCode> {
    let mut args = vec![command.to_owned(), format!("--namespace={}", place.namespace)];
    args.extend_from_slice(more);
    if let Some(who) = who {
        args.extend(["--".to_owned(), who.clone()]);
    }
    Ok(place.operator.exec(&args)?)
}

async fn organization(ledger: &Ledger, namespace: &str) -> anyhow::Result<String> {
    let organization = ledger.organization_named(namespace).await?;
    organization.with_context(|| format!("there is no organization in the namespace {namespace}"))
}

/// `rollcall domain explain`: exit status 1 if the domain isn't proved, 2 if none could be looked for.
pub async fn domain_explain(args: &cli::domain_explain::DomainExplain) -> ExitCode {
    match args.run(std::io::stdout().lock()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(2)
        }
    }
}

/// `rollcall saml check`: exit status 1 if a response would be refused, 2 if none could be checked.
pub fn saml_check(args: &cli::saml_check::SamlCheck) -> ExitCode {
    match cli::saml_check::run(args, std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::from(2)
        }
    }
}
