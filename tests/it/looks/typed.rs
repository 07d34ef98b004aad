//! `rollcall domain explain`: the story of a look, by the program itself.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use rollcall_kit::{dns::Dns, install_crypto, tls::Authority};
use tempfile::TempDir;

use super::{RECORD, VALUE, anchors, one};

/// `rollcall domain explain acme.example` with these arguments and variables, without DNSSEC.
fn explain(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let anchors = anchors("");
    Command::new(env!("CARGO_BIN_EXE_rollcall"))
        .args(["domain", "explain", "acme.example"])
        .args(args)
        .env("ROLLCALL_DNS_TRUST_ANCHORS", anchors.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn the_story_tells_who_was_asked_and_what_it_means() {
    let dns = Dns::start().unwrap();
    let server = dns.address().to_string();
    let at = ["--dns-servers", &server];
    let told = explain(&[&at[..], &["--expected", VALUE]].concat(), &[]);
    assert_eq!(told.status.code(), Some(1));
    for line in [
        format!("Looking for a TXT record {RECORD}\nwith the value {VALUE}"),
        format!("ms  {server}  TXT {RECORD} "),
        format!("NxDomain: There is no TXT record {RECORD} yet"),
    ] {
        assert!(text(&told).contains(&line), "{line}: {}", text(&told));
    }
    dns.set_txt(RECORD, one(VALUE)).unwrap();
    let told = explain(&[&at[..], &["--expected", VALUE]].concat(), &[]);
    assert!(told.status.success(), "{}", text(&told));
    assert!(text(&told).contains("Match: "), "{}", text(&told));
    // who doesn't know the value is shown what there is
    let told = explain(&at, &[]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told).contains(&format!("\"{VALUE}\"")), "{}", text(&told));
    assert!(text(&told).contains("Its value isn't checked"), "{}", text(&told));
}

#[test]
fn with_a_namespace_the_value_is_its_verified_domains() {
    let dns = Dns::start().unwrap();
    dns.set_txt(RECORD, one(VALUE)).unwrap();
    let folder = TempDir::new().unwrap();
    let kubectl = folder.path().join("kubectl");
    let item = |domain, value| {
        format!(
            "{{\"status\":{{\"domain\":\"{domain}\",\"challenge\":{{\"recordValue\":\"{value}\"}}}}}}"
        )
    };
    let list = format!(
        "{{\"items\":[{{}},{},{}]}}",
        item("other.example", "x"),
        item("acme.example", VALUE)
    );
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = 'get --output=json verifieddomains.rollcall.dev --namespace=acme' ] \
         && echo '{list}' || echo '{{\"items\":[]}}'\n"
    );
    fs::write(&kubectl, script).unwrap();
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let server = dns.address().to_string();
    let told = explain(&["--dns-servers", &server, "-n", "acme"], &[("PATH", &path)]);
    assert!(told.status.success(), "{}", text(&told));
    let told = explain(&["--dns-servers", &server, "-n", "globex"], &[("PATH", &path)]);
    assert_eq!(told.status.code(), Some(2));
    let said = "no VerifiedDomain in globex has a record for acme.example yet";
    assert!(text(&told).contains(said), "{}", text(&told));
}

#[test]
fn resolvers_are_asked_over_tls_and_must_be_who_they_are_said_to_be() {
    install_crypto();
    let mut dns = Dns::start().unwrap();
    dns.set_txt(RECORD, one(VALUE)).unwrap();
    let authority = Authority::new().unwrap();
    let identity = authority.issue(&["dns.platform.example"], &[]).unwrap();
    let tls = dns.listen_tls(identity.server_config().unwrap()).unwrap().to_string();
    let folder = TempDir::new().unwrap();
    let ca = folder.path().join("ca.crt");
    authority.write_ca(&ca).unwrap();
    let ca = ca.display().to_string();
    let over = |name| {
        let args = ["--dns-mode", "recursive", "--dns-servers", &tls, "--dns-over-tls", name];
        explain(&[&args[..], &["--expected", VALUE]].concat(), &[("SSL_CERT_FILE", &ca)])
    };
    let told = over("dns.platform.example");
    assert!(told.status.success(), "{}", text(&told));
    let told = over("other.platform.example");
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told).contains("Unreachable: "), "{}", text(&told));
    assert_eq!(over("not a name").status.code(), Some(2));
}

#[test]
fn what_can_not_be_looked_for_is_said() {
    for (args, says) in [
        (&["--expected", ""][..], "the value can't be empty"),
        (&["--expected", "x", "-n", "acme"], "cannot be used with"),
        (&["--dns-servers", "dns.example"], "write an IP address, with or without a port"),
        (&["--dns-mode", "fast"], "authoritative, recursive"),
        (&["--dns-trust-anchors", "/nowhere/at/all"], "can't be read"),
    ] {
        let told = explain(args, &[]);
        assert_eq!(told.status.code(), Some(2), "{}", text(&told));
        assert!(text(&told).contains(says), "{says}: {}", text(&told));
    }
}
