//! What `rollcall saml check` accepts and refuses, by an identity provider and an attacker that
//! share no code with it. No control plane is needed.

mod heavy;
mod mutations;
mod oracle;
mod second_opinion;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use rollcall::saml::{DecryptionKey, Expected, ServiceProvider, TrustedIdp};
use rollcall_kit::saml::{
    hostile::{self, Mode, Parties},
    styles,
};
use serde::Deserialize;
use tempfile::TempDir;

/// What the service provider that `parties` know takes from `idp`, unasked.
fn expected<'a>(
    parties: &'a Parties,
    idp: &'a TrustedIdp,
    decryption_keys: &'a [DecryptionKey],
) -> Expected<'a> {
    let Parties { sp, now, .. } = parties;
    Expected {
        idp,
        sp: ServiceProvider { entity_id: &sp.entity_id, acs_url: &sp.acs, decryption_keys },
        request: None,
        now: *now,
        skew: Duration::from_secs(60),
    }
}

/// A line of the command's output.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    file: PathBuf,
    accepted: bool,
    name_id: Option<String>,
    attributes: Option<BTreeMap<String, Vec<String>>>,
    error: Option<String>,
}

/// The service provider that `parties` know, in a folder of its own.
struct Checker<'a> {
    parties: &'a Parties,
    folder: TempDir,
}

impl<'a> Checker<'a> {
    fn new(parties: &'a Parties) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        fs::write(folder.path().join("metadata.xml"), parties.metadata())?;
        fs::write(folder.path().join("key.pem"), parties.recipient.key_pem())?;
        Ok(Self { parties, folder })
    }

    fn file(&self, name: &str, document: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, document)?;
        Ok(path)
    }

    /// Whether the command ended with 0, and what it said.
    fn check(&self, mode: Mode, files: &[PathBuf]) -> anyhow::Result<(bool, Vec<Line>)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command
            .args(["saml", "check", "--idp-metadata"])
            .arg(self.folder.path().join("metadata.xml"))
            .args(["--sp-entity-id", &self.parties.sp.entity_id])
            .args(["--acs", &self.parties.sp.acs])
            .args(["--at", &self.parties.now.to_string(), "--decryption-key"])
            .arg(self.folder.path().join("key.pem"));
        if let Some(request) = mode.request() {
            command.args(["--in-response-to", request]);
        }
        let output = command.args(files).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(0 | 1)), "{}: {complaint}", output.status);
        let lines: Vec<Line> = String::from_utf8(output.stdout)?
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            lines.len() == files.len(),
            "{} files, {} lines: {complaint}",
            files.len(),
            lines.len()
        );
        ensure!(lines.iter().zip(files).all(|(line, file)| line.file == *file));
        Ok((output.status.success(), lines))
    }
}

#[test]
fn every_hostile_response_is_refused_for_its_own_reason() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let checker = Checker::new(&parties)?;
    let cases = hostile::all(&parties)?;
    let names: BTreeSet<_> = cases.iter().map(|case| (case.mode, &case.name)).collect();
    ensure!(cases.len() >= 200 && names.len() == cases.len(), "{} cases", cases.len());
    let mut wrong = vec![];
    for mode in [Mode::Unsolicited, Mode::Answer] {
        let cases: Vec<_> = cases.iter().filter(|case| case.mode == mode).collect();
        let files = cases
            .iter()
            .enumerate()
            .map(|(number, case)| checker.file(&format!("{mode:?}-{number}.xml"), &case.document))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (all_accepted, lines) = checker.check(mode, &files)?;
        ensure!(!all_accepted);
        for (case, line) in cases.into_iter().zip(lines) {
            let error = line.error.as_deref().unwrap_or_default().to_lowercase();
            let refused = !line.accepted && line.name_id.is_none() && line.attributes.is_none();
            let for_its_reason = refused && case.refusal.iter().any(|word| error.contains(word));
            let whole = line.accepted && line.name_id.as_deref() == case.or_name_id;
            if !for_its_reason && !whole {
                let said = line.error.or(line.name_id).unwrap_or_default();
                wrong.push(format!("{}\n    wanted {:?}\n    got {said}", case.name, case.refusal));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn what_the_big_identity_providers_send_is_accepted_with_what_they_signed() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let checker = Checker::new(&parties)?;
    for mode in [Mode::Unsolicited, Mode::Answer] {
        let good = styles::all(&parties, mode.request())?;
        let files = good
            .iter()
            .map(|one| checker.file(&format!("{}.xml", one.name), one.document.as_bytes()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (all_accepted, lines) = checker.check(mode, &files)?;
        for (one, line) in good.iter().zip(lines) {
            ensure!(line.accepted, "{}: {:?}", one.name, line.error);
            ensure!(line.name_id.as_ref() == Some(&one.name_id), "{}: {line:?}", one.name);
            ensure!(line.attributes.as_ref() == Some(&one.attributes), "{}: {line:?}", one.name);
        }
        ensure!(all_accepted);
        // as answers they are nobody's, and unasked they answer nothing
        let other = if mode == Mode::Answer { Mode::Unsolicited } else { Mode::Answer };
        let (_, lines) = checker.check(other, &files)?;
        for (one, line) in good.iter().zip(lines) {
            let error = line.error.unwrap_or_default();
            ensure!(error.contains("request"), "{}: {error}", one.name);
        }
    }
    Ok(())
}

#[test]
fn an_assertion_is_accepted_once_in_whatever_response_it_comes() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let checker = Checker::new(&parties)?;
    let shape = |signed, encrypted| parties.sealing(hostile::Shape { signed, encrypted });
    let mut response = parties.response(Mode::Unsolicited);
    let sealing = shape(hostile::Signed::Assertion, false);
    let first = checker.file("first.xml", sealing.seal(&response)?.as_bytes())?;
    response.id = rollcall_kit::saml::response::new_id();
    let again = checker.file("again.xml", sealing.seal(&response)?.as_bytes())?;
    let hidden = shape(hostile::Signed::Assertion, true).seal(&response)?;
    let hidden = checker.file("hidden.xml", hidden.as_bytes())?;
    response.assertion.id = rollcall_kit::saml::response::new_id();
    let other = checker.file("other.xml", sealing.seal(&response)?.as_bytes())?;

    let (_, lines) =
        checker.check(Mode::Unsolicited, &[first.clone(), again, hidden, other, first])?;
    let accepted: Vec<_> = lines.iter().map(|line| line.accepted).collect();
    ensure!(accepted == [true, false, false, true, false], "{lines:?}");
    for line in lines.iter().filter(|line| !line.accepted) {
        ensure!(line.error.as_ref().is_some_and(|error| error.contains("before")), "{line:?}");
    }
    Ok(())
}

#[test]
fn metadata_without_a_usable_key_refuses_everything() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let checker = Checker::new(&parties)?;
    let good = parties.sealing(hostile::Shape { signed: hostile::Signed::Both, encrypted: false });
    let good = good.seal(&parties.response(Mode::Unsolicited))?;
    let good = checker.file("good.xml", good.as_bytes())?;
    let metadata = checker.folder.path().join("metadata.xml");
    ensure!(checker.check(Mode::Unsolicited, std::slice::from_ref(&good))?.0);
    for (what, keys) in
        [("none", vec![]), ("another", vec![parties.stranger.identity().cert_der()])]
    {
        fs::write(&metadata, keyed(&parties, keys))?;
        // it may say so of the metadata or of the response
        if let Ok((accepted, lines)) = checker.check(Mode::Unsolicited, std::slice::from_ref(&good))
        {
            ensure!(!accepted && lines.iter().all(|line| !line.accepted), "{what}: {lines:?}");
        }
    }
    Ok(())
}

fn keyed(parties: &Parties, keys: Vec<&[u8]>) -> String {
    let url = "https://idp.acme.example/sso";
    rollcall_kit::saml_idp::metadata_of(&parties.issuer, url, keys, "")
}
