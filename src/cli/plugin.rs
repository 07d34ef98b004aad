//! As a plugin of kubectl's, under the name `kubectl-rollcall`: what works on the ledger runs in the
//! controller's pod, by Kubernetes' own `exec`. Whoever may exec there may do it, and nobody else.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitCode, Stdio};

use clap::Args;

use super::kubeconfig::{Error, Kubectl};

/// Where the controller runs.
#[derive(Args)]
pub struct Operator {
    /// The operator's namespace, for `kubectl rollcall`.
    #[arg(long, default_value = "rollcall")]
    operator_namespace: String,
    /// The operator's Deployment, for `kubectl rollcall`.
    #[arg(long, default_value = "rollcall")]
    operator_deployment: String,
    #[command(flatten)]
    kubectl: Kubectl,
}

/// Whether this program was run as kubectl's plugin, by its first argument.
pub fn is_plugin(program: &OsStr) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == "kubectl-rollcall")
}

impl Operator {
    /// Runs `rollcall` with these arguments there. Its output and its exit status are ours.
    ///
    /// # Errors
    /// kubectl can't be run.
    pub fn exec(&self, args: &[String]) -> Result<ExitCode, Error> {
        let mut command = self.kubectl.command();
        command
            .args(["exec", "--namespace", &self.operator_namespace])
            .arg(format!("deploy/{}", self.operator_deployment))
            .args(["--container", "controller", "--", "rollcall"])
            .args(args)
            .stdin(Stdio::null());
        let status = command.status().map_err(Error::NoKubectl)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_known_by_its_name() {
        for plugin in ["kubectl-rollcall", "/usr/bin/kubectl-rollcall", "./kubectl-rollcall.exe"] {
            assert!(is_plugin(OsStr::new(plugin)), "{plugin}");
        }
        for other in ["rollcall", "/opt/kubectl-rollcall/rollcall", ""] {
            assert!(!is_plugin(OsStr::new(other)), "{other}");
        }
    }
}
