//! The commands on the ledger: beside it, and through kubectl.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Output},
};

use anyhow::ensure;
use jiff::Timestamp;
use rollcall::ledger::{
    Admit, Asserted, AuditLine, Connection, Ledger, Matching, NewSession, Proof, Protocol, Rules,
};
use tempfile::TempDir;

const ROLLCALL: &str = env!("CARGO_BIN_EXE_rollcall");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn through_kubectl_a_command_runs_in_the_controllers_pod() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let plugin = folder.path().join("kubectl-rollcall");
    symlink(ROLLCALL, &plugin)?;
    let kubectl = folder.path().join("kubectl");
    fs::write(&kubectl, "#!/bin/sh\nprintf '%s\\n' \"$@\"\necho refused >&2\nexit 7\n")?;
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755))?;
    let path = std::env::join_paths(
        [folder.path().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let run = |program: &std::path::Path, args: &str| -> anyhow::Result<Output> {
        let mut command = Command::new(program);
        command.args(args.split(' ')).env("PATH", &path).env_remove("ROLLCALL_LEDGER");
        Ok(command.output()?)
    };
    for (typed, there) in [
        (
            "revoke ada@acme.com -n acme",
            "exec --namespace rollcall deploy/rollcall --container controller -- \
             rollcall revoke --namespace=acme -- ada@acme.com",
        ),
        (
            "why ada@acme.com -n acme",
            "exec --namespace rollcall deploy/rollcall --container controller -- \
             rollcall why --namespace=acme -- ada@acme.com",
        ),
        (
            "people -n acme --context prod --operator-namespace sso -- --help",
            "--context prod exec --namespace sso deploy/rollcall --container controller -- \
             rollcall people --namespace=acme -- --help",
        ),
        (
            "log -n acme --reference K7QF --limit 5 --operator-deployment gate",
            "exec --namespace rollcall deploy/gate --container controller -- \
             rollcall log --namespace=acme --limit=5 --reference=K7QF",
        ),
    ] {
        let output = run(&plugin, typed)?;
        ensure!(text(&output.stdout).trim().replace('\n', " ") == there, "{output:?}");
        ensure!(text(&output.stderr) == "refused\n", "{output:?}");
        ensure!(output.status.code() == Some(7), "{output:?}");
    }
    let output = run(ROLLCALL.as_ref(), "revoke ada@acme.com -n acme")?;
    ensure!(!output.status.success() && text(&output.stderr).contains("--ledger"), "{output:?}");
    let usage = text(&run(&plugin, "login --help")?.stdout);
    ensure!(usage.contains("Usage: kubectl rollcall login"), "{usage}");
    let usage = text(&run(ROLLCALL.as_ref(), "login --help")?.stdout);
    ensure!(usage.contains("Usage: rollcall login"), "{usage}");
    Ok(())
}

#[tokio::test]
async fn the_audit_log_is_read_the_newest_first_and_what_an_operator_does_is_in_it()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("ledger.db");
    let ledger = Ledger::open(&file.as_path().into()).await?;
    ledger.name_organization("id-of-acme", "acme", Timestamp::UNIX_EPOCH).await?;
    two_sessions(&ledger, "ada@acme.example").await?;
    for (second, organization, subject, reference) in [
        (1, "id-of-acme", "ada@acme.example", Some("K7QF")),
        (2, "", "eve@\u{1b}[2J", Some("K7QF")),
        (3, "id-of-acme", "bob@acme.example", None),
    ] {
        let line = AuditLine {
            at: Timestamp::from_second(second)?,
            actor: "saml:okta".into(),
            action: "sign-in.refused".into(),
            subject: subject.into(),
            detail: None,
            reference: reference.map(str::to_owned),
        };
        ledger.audit(organization, &line).await?;
    }
    ledger.close().await;
    let run = |args: &str| -> anyhow::Result<Output> {
        Ok(Command::new(ROLLCALL).args(args.split(' ')).env("ROLLCALL_LEDGER", &file).output()?)
    };
    let printed = |args: &str| -> anyhow::Result<String> {
        let output = run(args)?;
        ensure!(output.status.success(), "{output:?}");
        Ok(text(&output.stdout))
    };
    let (bob, ada) = (
        "1970-01-01T00:00:03Z saml:okta sign-in.refused bob@acme.example\n",
        "1970-01-01T00:00:01Z saml:okta sign-in.refused ada@acme.example (reference K7QF)\n",
    );
    let eve = "1970-01-01T00:00:02Z saml:okta sign-in.refused eve@\\u{1b}[2J (reference K7QF)\n";
    let log = printed("log -n acme")?;
    ensure!(log.starts_with(&format!("{bob}{ada}")), "{log}");
    assert_eq!(log.matches(" connection:okta sign-in ada@acme.example\n").count(), 2, "{log}");
    assert_eq!(printed("log -n acme --limit 1")?, bob);
    assert_eq!(printed("log -n acme --reference K7QF")?, format!("{eve}{ada}"));

    let nobody = printed("revoke carol@acme.example -n acme")?;
    ensure!(nobody.contains("Nobody with the e-mail or user name carol@acme.example"), "{nobody}");
    let log = printed("log -n acme --limit 1")?;
    ensure!(log.contains(" operator session.revoke carol@acme.example: 0 sessions"), "{log}");
    let ada = printed("revoke Ada@acme.example -n acme")?;
    assert_eq!(ada, "2 sessions of Ada@acme.example in acme ended.\n");
    ensure!(printed("revoke ada@acme.example -n acme")?.starts_with("Nobody"), "not all ended");
    let nobody = run("why eve@acme.example -n acme")?;
    ensure!(nobody.status.code() == Some(1), "{nobody:?}");
    ensure!(text(&nobody.stdout).contains("Person is where it breaks."), "{nobody:?}");
    for command in
        ["log -n globex", "revoke ada@acme.example -n globex", "why ada@acme.example -n globex"]
    {
        let output = run(command)?;
        ensure!(!output.status.success() && text(&output.stderr).contains("globex"), "{output:?}");
    }
    Ok(())
}

/// Lets somebody in to acme, twice.
async fn two_sessions(ledger: &Ledger, email: &str) -> anyhow::Result<()> {
    let (id, domain, now) = ("id-of-acme", "acme.example", Timestamp::now());
    ledger.claim(id, domain, now).await?;
    ledger.record_proof(id, domain, Proof::Seen, now).await?;
    let connection = Connection {
        source: "inline".into(),
        issuer: "https://idp.acme.example".into(),
        metadata: vec![],
        fetched_at: now,
        request: None,
        withdrawn: true,
    };
    ledger.put_connection(id, "okta", &connection).await?;
    let rules = Rules {
        class: "default".into(),
        protocol: Protocol::Saml,
        admit: Admit::JustInTime,
        directory: None,
        matching: Matching::UserName,
        email_attribute: None,
        name_attribute: None,
        idp_initiated: false,
        session_seconds: 3_600,
        private_endpoints: false,
    };
    ledger.publish_connection(id, "okta", &rules, &[domain.to_owned()]).await?;
    let asserted = Asserted {
        organization: id.into(),
        connection: "okta".into(),
        subject: email.into(),
        sign_in_name: email.into(),
        email: email.into(),
        email_domain: domain.into(),
        display_name: None,
        authenticated_at: now.as_second(),
        session_until: None,
    };
    for number in [1, 2] {
        let session = NewSession { hash: [number; 32], browser: "test".into(), replaces: None };
        let admitted = ledger.admit(&asserted, &session, now).await?;
        ensure!(admitted.is_ok(), "{admitted:?}");
    }
    Ok(())
}
