//! Processes: how they end, and that they do.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context;
use rollcall_kit::{process::Process, wait::until};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);
const ACT_AS_PARENT: &str = "KIT_TEST_ACT_AS_PARENT";

fn shell(script: &str, folder: &Path) -> anyhow::Result<Process> {
    Process::spawn(Command::new("sh").args(["-c", script]), &folder.join("log"))
}

#[tokio::test]
async fn a_child_dies_with_its_parent_even_if_that_is_killed() -> anyhow::Result<()> {
    if let Some(folder) = env::var_os(ACT_AS_PARENT) {
        // This is the parent: it starts a child, tells its id, and stays until it is killed.
        let folder = Path::new(&folder);
        let child = Process::spawn(Command::new("sleep").arg("600"), &folder.join("child.log"))?;
        fs::write(folder.join("id.new"), child.id().to_string())?;
        fs::rename(folder.join("id.new"), folder.join("id"))?;
        return child.dies().await;
    }
    let folder = TempDir::new()?;
    let mut parent = Command::new(env::current_exe()?);
    parent
        .args(["--exact", "process::a_child_dies_with_its_parent_even_if_that_is_killed"])
        .env(ACT_AS_PARENT, folder.path());
    let parent = Process::spawn(&parent, &folder.path().join("parent.log"))?;
    let told = until("the child's id", SOON, async || {
        fs::read_to_string(folder.path().join("id")).map(Some).map_err(Into::into)
    });
    let id = tokio::select! { id = told => id?, died = parent.dies() => died? };
    let child = Path::new("/proc").join(&id);
    assert!(child.exists());
    parent.kill()?;
    until("the child to be gone", SOON, async || Ok((!runs(&child)).then_some(()))).await
}

/// Whether there is such a process, and it is more than an entry that nobody has collected yet.
fn runs(process: &Path) -> bool {
    fs::read_to_string(process.join("stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[tokio::test]
async fn stopping_lets_a_process_end_in_its_own_way() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let process = shell(
        "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.02; done",
        folder.path(),
    )?;
    until("it to be ready", SOON, async || Ok(process.log_tail().contains("ready").then_some(())))
        .await?;
    assert_eq!(process.stop().await?.code(), Some(3));
    assert!(process.log_tail().ends_with("bye"), "{}", process.log_tail());
    Ok(())
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mut process =
        shell("trap '' TERM; echo ready; while :; do sleep 0.02; done", folder.path())?;
    until("it to be ready", SOON, async || Ok(process.log_tail().contains("ready").then_some(())))
        .await?;
    process.set_grace(Duration::from_millis(50));
    assert_eq!(process.stop().await?.signal(), Some(9));
    Ok(())
}

#[tokio::test]
async fn one_that_ends_unexpectedly_tells_its_last_words() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let process = shell("echo 'no such flag' >&2; exit 2", folder.path())?;
    let error = process.dies::<()>().await.err().context("it has died")?.to_string();
    assert!(error.contains("no such flag") && error.contains('2'), "{error}");
    Ok(())
}

#[tokio::test]
async fn dropping_ends_it_at_once() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let process = Process::spawn(Command::new("sleep").arg("600"), &folder.path().join("log"))?;
    let entry = Path::new("/proc").join(process.id().to_string());
    let start = Instant::now();
    drop(process);
    assert!(!entry.exists());
    assert!(start.elapsed() < Duration::from_secs(3));
    Ok(())
}
