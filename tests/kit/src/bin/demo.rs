//! `make demo`: plays the story on real parts and leaves everything running until Ctrl-C.
//! With `ONCE=1` it ends after the story, with 0 if every step held.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use rollcall_kit::{
    control_plane::ControlPlane,
    install_crypto,
    scratch::Scratch,
    stage::{Sides, Stage},
    story::{Line, Played, play},
};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    install_crypto();
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        played = demo() => played,
        _ = tokio::signal::ctrl_c() => { println!("\nStopping."); Ok(()) }
        _ = term.recv() => Ok(()),
    }
}

async fn demo() -> anyhow::Result<()> {
    let begun = Instant::now();
    let scratch = Scratch::take("demo")?;
    let folder = scratch.path();
    let control_plane = match env::var_os("KUBECONFIG") {
        Some(path) => {
            println!("==> Using the cluster of KUBECONFIG");
            ControlPlane::existing(Path::new(&path), folder).await?
        }
        None => {
            println!("==> Starting etcd, kube-apiserver and kube-controller-manager");
            ControlPlane::start(folder).await?
        }
    };
    println!(
        "==> Installing the chart; starting a DNS server, an identity provider and rollcall run"
    );
    let own = folder.join("rollcall");
    let stage = Stage::start(&control_plane, &program()?, &own, Sides::Together, None).await?;
    let played = play(&control_plane, &stage, &tell).await?;
    println!("\n==> Every step held, {:.0} s after the start.", begun.elapsed().as_secs_f64());
    if env::var("ONCE").is_ok_and(|once| once == "1") {
        return Ok(());
    }
    let env = EnvFile::write(&control_plane, &stage, &played)?;
    println!(
        "Everything keeps running until Ctrl-C. To join in, in another terminal:\n\n  \
         . {0} && export KUBECONFIG && export PATH=\"$(tests/kit/parts --print):$PATH\"\n  \
         kubectl get rollcall -A\n  \
         curl --cacert $GATEWAY_CA -H \"Authorization: Bearer $SCIM_TOKEN\" $SCIM_URL/Users\n",
        env.0.display()
    );
    std::future::pending().await
}

fn program() -> anyhow::Result<PathBuf> {
    let program = env::current_exe()?.with_file_name("rollcall");
    anyhow::ensure!(program.exists(), "{} is missing: run `make demo`", program.display());
    Ok(program)
}

fn tell(line: Line<'_>) {
    match line {
        Line::Step(text) => println!("\n==> {text}"),
        Line::Say(text) => println!("    {text}"),
        Line::Show(command, output) => {
            println!("    $ {command}");
            for line in output.lines() {
                println!("    {line}");
            }
        }
    }
}

/// `.demo/env`, for whoever wants to join in; removed at the end.
struct EnvFile(PathBuf);

impl EnvFile {
    fn write(control_plane: &ControlPlane, stage: &Stage, played: &Played) -> anyhow::Result<Self> {
        let path = PathBuf::from(".demo/env");
        fs::create_dir_all(".demo").context("making .demo")?;
        let lines = [
            ("KUBECONFIG", control_plane.kubeconfig().display().to_string()),
            ("GATEWAY", stage.gateway.clone()),
            ("GATEWAY_CA", stage.ca_file.display().to_string()),
            ("LEDGER", stage.ledger.clone()),
            ("DNS", stage.dns.address().to_string()),
            ("SCIM_URL", played.scim_url.clone()),
            ("SCIM_TOKEN", played.scim_token.clone()),
        ];
        let text: String = lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        // it names what no longer runs; that it can't be removed changes nothing for anybody
        let _ = fs::remove_file(&self.0);
    }
}
