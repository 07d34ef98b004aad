//! `kubectl rollcall domains`, as people type it.

use std::{
    ffi::OsString,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, ensure};
use rollcall_kit::parts;
use tempfile::TempDir;

use super::domain;
use crate::world::World;

/// Somebody's shell, where kubectl finds this plugin and this cluster.
struct Shell {
    _folder: TempDir,
    kubectl: PathBuf,
    path: OsString,
    kubeconfig: PathBuf,
}

impl Shell {
    fn new(kubeconfig: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        symlink(env!("CARGO_BIN_EXE_rollcall"), folder.path().join("kubectl-rollcall"))?;
        let kubectl = parts::find("kubectl")?;
        let of_kubectl = kubectl.parent().context("kubectl has no folder")?.to_owned();
        let path = std::env::join_paths([folder.path().to_owned(), of_kubectl])?;
        Ok(Self { _folder: folder, kubectl, path, kubeconfig: kubeconfig.to_owned() })
    }

    fn command(&self, typed: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("rollcall").args(typed).env("PATH", &self.path);
        command.env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    fn run(&self, typed: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(typed).output()?)
    }

    /// What a command prints that succeeds.
    fn prints(&self, typed: &[&str]) -> anyhow::Result<String> {
        let output = self.run(typed)?;
        ensure!(output.status.success(), "{typed:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

async fn objects(world: &World, namespace: &str) -> anyhow::Result<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name}={.spec}{\"\\n\"}{end}";
    world.control_plane.kubectl(&["get", "vd", "-n", namespace, "-o", path]).await
}

#[tokio::test]
async fn domains_are_added_as_they_are_pasted_and_awaited_until_they_are_verified()
-> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("typed").await?;
    let shell = Shell::new(world.control_plane.kubeconfig())?;
    let none = shell.prints(&["domains", "-n", "typed"])?;
    ensure!(none.contains("kubectl rollcall domains add"), "{none}");

    let pasted = "Typed-One.test.example,\ntyped-two.test.example";
    let add = ["domains", "add", pasted, "-n", "typed"];
    let told = shell.prints(&add)?;
    let (name, value) = world.challenge("typed", "typed--one-test-example").await?;
    ensure!(name == "_rollcall-challenge.typed-one.test.example", "{name}");
    for expected in [
        format!("    Name   {name}\n    Type   TXT\n    Value  {value}\n"),
        format!("{name}. 300 IN TXT \"{value}\"\n"),
        "_rollcall-challenge.typed-two.test.example. 300 IN TXT".to_owned(),
    ] {
        ensure!(told.contains(&expected), "no {expected:?} in {told}");
    }
    let made = objects(world, "typed").await?;
    ensure!(
        made == "typed--one-test-example={\"domain\":\"typed-one.test.example\"}\n\
                 typed--two-test-example={\"domain\":\"typed-two.test.example\"}\n",
        "{made}"
    );
    shell.prints(&add)?;
    ensure!(objects(world, "typed").await? == made, "twice is not the same as once");

    // that nothing is published yet is told by the exit status, and by whoever goes on waiting
    let hurried = shell.run(&[&add[..], &["--wait", "--timeout", "1s"]].concat())?;
    ensure!(!hurried.status.success(), "{hurried:?}");
    let said = String::from_utf8(hurried.stdout)?;
    ensure!(said.ends_with("0 of 2 verified.\n"), "{said}");
    let mut waiting = shell.command(&[&add[..], &["--wait"]].concat());
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    for domain in ["typed--one-test-example", "typed--two-test-example"] {
        world.prove("typed", domain).await?;
    }
    let waited = tokio::task::spawn_blocking(|| waiting.wait_with_output()).await??;
    ensure!(waited.status.success(), "{waited:?}");
    let said = String::from_utf8(waited.stdout)?;
    ensure!(said.contains("typed-two.test.example: RecordFound: "), "{said}");
    ensure!(said.ends_with("2 of 2 verified.\n"), "{said}");
    let list = shell.prints(&["domains", "-n", "typed"])?;
    ensure!(list.starts_with("typed-one.test.example: RecordFound: "), "{list}");
    Ok(())
}

#[tokio::test]
async fn one_name_that_is_wrong_changes_nothing_and_says_what_to_write() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("mistyped").await?;
    let shell = Shell::new(world.control_plane.kubeconfig())?;
    let names = "right.test.example, ada@wrong.test.example gmail.com *.wide.test.example";
    let wrong = shell.run(&["domains", "add", names, "-n", "mistyped"])?;
    let said = String::from_utf8(wrong.stderr)?;
    ensure!(!wrong.status.success() && wrong.stdout.is_empty(), "{said}");
    for expected in [
        "write the domain alone, wrong.test.example",
        "gmail.com: anybody gets a mailbox there",
        "write wide.test.example, with includeSubdomains: true",
    ] {
        ensure!(said.contains(expected), "no {expected:?} in {said}");
    }
    // a name that our object would have is somebody else's
    domain(world, "mistyped", "taken-test-example", "other.test.example").await?;
    let taken = shell.run(&["domains", "add", "taken.test.example", "-n", "mistyped"])?;
    let said = String::from_utf8(taken.stderr)?;
    ensure!(!taken.status.success() && said.contains("names another domain"), "{said}");
    let made = objects(world, "mistyped").await?;
    ensure!(made.lines().count() == 1, "{made}");
    let lost = shell.run(&["domains", "-n", "mistyped", "--context", "nowhere"])?;
    let said = String::from_utf8(lost.stderr)?;
    ensure!(!lost.status.success() && said.contains("nowhere"), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_is_printed_for_git_needs_no_cluster_and_is_what_would_be_made() -> anyhow::Result<()>
{
    let world = World::shared().await?;
    world.organization("printed").await?;
    let nowhere = Shell::new(Path::new("/nonexistent"))?;
    let print = ["domains", "add", "git.test.example", "-n", "printed", "--output", "yaml"];
    let yaml = nowhere.prints(&[&print[..], &["--include-subdomains"]].concat())?;
    world.apply(&yaml).await?;
    let made = objects(world, "printed").await?;
    let object = "git-test-example={\"domain\":\"git.test.example\",\"includeSubdomains\":true}\n";
    ensure!(made == object, "{made}");

    // an object that somebody named otherwise is found by its domain, widened when asked, and never
    // narrowed by the way
    domain(world, "printed", "by-hand", "HAND.test.example").await?;
    let shell = Shell::new(world.control_plane.kubeconfig())?;
    let add = ["domains", "add", "git.test.example,hand.test.example", "-n", "printed"];
    shell.prints(&[&add[..], &["--include-subdomains"]].concat())?;
    shell.prints(&add)?;
    let made = objects(world, "printed").await?;
    let by_hand = "by-hand={\"domain\":\"HAND.test.example\",\"includeSubdomains\":true}\n";
    ensure!(made == format!("{by_hand}{object}"), "{made}");
    Ok(())
}
