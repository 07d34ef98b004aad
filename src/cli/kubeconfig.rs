//! The kubeconfig, read and written by kubectl itself, so that its rules for files, contexts and
//! merging are kubectl's.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::Args;
use serde_json::Value;

use super::{
    oidc::{CLIENT, Settings},
    printable,
};

/// Why the kubeconfig is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("kubectl can't be run: {0}")]
    NoKubectl(std::io::Error),
    #[error("kubectl: {0}")]
    Kubectl(String),
    #[error(
        "the kubeconfig's user doesn't sign in by Rollcall: name the gateway by --issuer, or another context by --context"
    )]
    NotOurs,
    #[error("name the gateway by --issuer: the kubeconfig doesn't tell it ({0})")]
    NoContext(String),
}

/// Which kubeconfig, as kubectl itself takes them.
#[derive(Args)]
pub struct Kubectl {
    /// The kubeconfig; without it, that of KUBECONFIG, or kubectl's own.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; without it, its current one.
    #[arg(long)]
    context: Option<String>,
}

impl Kubectl {
    /// What the context's user gets its tokens by.
    ///
    /// # Errors
    /// There is no such user.
    pub fn settings(&self) -> Result<Settings, Error> {
        let mut command = self.command();
        command.args(["config", "view", "--minify", "--output=json"]);
        let view = run(&mut command).map_err(|error| match error {
            Error::Kubectl(said) => Error::NoContext(said),
            error => error,
        })?;
        let view: Value = serde_json::from_slice(&view.stdout).map_err(|_| Error::NotOurs)?;
        let args = view["users"][0]["user"]["exec"]["args"].as_array().ok_or(Error::NotOurs)?;
        let args: Vec<_> = args.iter().filter_map(Value::as_str).collect();
        written(&args).ok_or(Error::NotOurs)
    }

    /// Makes a user of the kubeconfig get its tokens by these settings.
    ///
    /// # Errors
    /// kubectl fails.
    pub fn set_credentials(&self, user: &str, settings: &Settings) -> Result<(), Error> {
        let mut command = self.command();
        command.args(set_credentials(user, settings, &program()));
        run(&mut command).map(drop)
    }

    /// The same as a line for a shell.
    pub fn command_line(&self, user: &str, settings: &Settings) -> String {
        let kubeconfig =
            self.kubeconfig.iter().map(|file| format!("--kubeconfig={}", file.display()));
        let words = set_credentials(user, settings, &program());
        let words = ["kubectl".to_owned()].into_iter().chain(kubeconfig).chain(words);
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }

    /// What `kubectl get` prints as JSON with these arguments.
    ///
    /// # Errors
    /// kubectl fails, or prints something else.
    pub fn get(&self, args: &[&str]) -> Result<Value, Error> {
        let output = run(self.command().args(["get", "--output=json"]).args(args))?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::Kubectl(format!("this is no JSON: {error}")))
    }

    /// kubectl, with this kubeconfig and context.
    pub fn command(&self) -> Command {
        let mut command = Command::new("kubectl");
        if let Some(file) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(file);
        }
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command
    }
}

/// Runs kubectl without any input.
pub(super) fn run(command: &mut Command) -> Result<Output, Error> {
    checked(command.stdin(Stdio::null()).output().map_err(Error::NoKubectl)?)
}

/// Runs kubectl with this input. It reads all of it before it says anything.
pub(super) fn run_on(command: &mut Command, input: &[u8]) -> Result<Output, Error> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(Error::NoKubectl)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // it ended without reading: what it says tells why
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written.map_err(Error::NoKubectl)?,
        }
    }
    checked(child.wait_with_output().map_err(Error::NoKubectl)?)
}

fn checked(output: Output) -> Result<Output, Error> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Kubectl(printable(said.trim().trim_start_matches("error: "))));
    }
    Ok(output)
}

/// The settings in the arguments of `rollcall credential`, as [`set_credentials`] writes them.
fn written(args: &[&str]) -> Option<Settings> {
    let value = |name: &str| {
        let of = |(at, arg): (usize, &&str)| match arg.strip_prefix(name)? {
            "" => args.get(at + 1).map(|value| (*value).to_owned()),
            rest => rest.strip_prefix('=').map(str::to_owned),
        };
        args.iter().enumerate().find_map(of)
    };
    let issuer = value("--issuer").filter(|_| args.first() == Some(&"credential"))?;
    Some(Settings {
        issuer: issuer.trim_end_matches('/').to_owned(),
        client: value("--client").unwrap_or_else(|| CLIENT.to_owned()),
        ca: value("--ca").map(PathBuf::from),
    })
}

/// The command by which whoever lacks a token gets one.
pub fn sign_in_command(settings: &Settings) -> String {
    let words = flags(settings).map(|flag| format!(" {}", quoted(&flag)));
    ["kubectl rollcall login".to_owned()].into_iter().chain(words).collect()
}

/// The settings as arguments.
fn flags(settings: &Settings) -> impl Iterator<Item = String> {
    let client = Some(&settings.client).filter(|client| *client != CLIENT);
    [format!("--issuer={}", settings.issuer)]
        .into_iter()
        .chain(client.map(|client| format!("--client={client}")))
        .chain(settings.ca.as_ref().map(|file| format!("--ca={}", file.display())))
}

fn set_credentials(user: &str, settings: &Settings, program: &str) -> Vec<String> {
    let args = ["credential".to_owned()].into_iter().chain(flags(settings));
    let mut words = vec![
        "config".to_owned(),
        "set-credentials".to_owned(),
        user.to_owned(),
        "--exec-api-version=client.authentication.k8s.io/v1".to_owned(),
        "--exec-interactive-mode=IfAvailable".to_owned(),
        format!("--exec-command={program}"),
    ];
    words.extend(args.map(|arg| format!("--exec-arg={}", comma_safe(&arg))));
    words
}

/// `--exec-arg` takes a list as CSV has it.
fn comma_safe(arg: &str) -> String {
    if arg.contains([',', '"']) {
        format!("\"{}\"", arg.replace('"', "\"\""))
    } else {
        arg.to_owned()
    }
}

/// How kubectl finds this program: by its name if `PATH` leads here, else by its path.
fn program() -> String {
    let Ok(here) = std::env::current_exe() else { return "rollcall".into() };
    let typed = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = typed.file_name().map(Path::new).unwrap_or(Path::new("rollcall"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    let same = found.is_some_and(|found| found.canonicalize().ok() == here.canonicalize().ok());
    if same { name.display().to_string() } else { here.display().to_string() }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let settings = Settings {
            issuer: "https://login.example".into(),
            client: "kubernetes".into(),
            ca: Some("/etc/a, b/ca.crt".into()),
        };
        let other = Settings { client: "staging".into(), ca: None, ..settings.clone() };
        let words = set_credentials("rollcall", &settings, "/usr/bin/rollcall");
        assert_eq!(words.last().unwrap(), "--exec-arg=\"--ca=/etc/a, b/ca.crt\"");
        for settings in [settings, other] {
            let words = set_credentials("rollcall", &settings, "rollcall");
            let args: Vec<_> = words
                .iter()
                .filter_map(|word| word.strip_prefix("--exec-arg="))
                .map(|arg| arg.trim_matches('"'))
                .collect();
            assert_eq!(written(&args), Some(settings));
        }
        let apart = ["credential", "--issuer", "https://login.example/", "--client", "x"];
        assert_eq!(written(&apart).unwrap().issuer, "https://login.example");
        assert_eq!(written(&["get-token", "--issuer=https://login.example"]), None);
        assert_eq!(written(&["credential"]), None);
    }

    #[test]
    fn a_shell_reads_each_word_as_one() {
        assert_eq!(quoted("--exec-arg=credential"), "--exec-arg=credential");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
