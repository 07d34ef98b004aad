//! Finds the programs that `make parts` made, and what only the tests need, which
//! `tests/kit/parts --all` brings. One that isn't there is an error that names that command: a test
//! is never skipped for want of a part.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, bail};

/// The script behind `make parts`; it alone knows where the cache folder is.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/parts");
const HINT: &str =
    "run `tests/kit/parts --all` first (`make test` does), or `--bench` (`make bench` does)";

/// The path of `etcd`, `kube-apiserver`, `kube-controller-manager`, `kubectl` or `helm`.
///
/// In `KUBEBUILDER_ASSETS` first, then in the cache; `kubectl` then on the PATH, too, where
/// `KUBECONFIG` gives a cluster.
///
/// # Errors
/// If it is in none of them.
pub fn find(tool: &str) -> anyhow::Result<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let cache = cache_folder()?;
    let mut folders: Vec<PathBuf> = assets.into_iter().chain([cache.to_owned()]).collect();
    if tool == "kubectl" && env::var_os("KUBECONFIG").is_some() {
        folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    }
    match folders.iter().map(|folder| folder.join(tool)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("{tool} is not in {}: run `make parts` first", cache.display()),
    }
}

/// The folder of a part that is one, such as `keycloak` or `openid-client`.
///
/// # Errors
/// If it isn't there.
pub fn folder(part: &str) -> anyhow::Result<PathBuf> {
    let folder = ask_script(&["--print", part])?;
    if !folder.is_dir() {
        bail!("{} is missing: {HINT}", folder.display());
    }
    Ok(folder)
}

/// The path of a program from a Debian package, such as `chromedriver` or `xmlsec1`.
///
/// # Errors
/// If it is not on the PATH.
pub fn installed(program: &str) -> anyhow::Result<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("{program} is not on the PATH: {HINT}"))
}

/// The path of a program of Debian's PostgreSQL, the newest there is: they are not on the PATH.
///
/// # Errors
/// If it isn't there.
pub fn postgres(program: &str) -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .filter_map(|version| Some(version.ok()?.path()))
        .max_by_key(number)
        .map(|newest| newest.join("bin").join(program))
        .filter(|path| path.is_file())
        .with_context(|| format!("{program} is not in /usr/lib/postgresql: {HINT}"))
}

/// The path of Java 17 or newer: that of `JAVA_HOME`, if that is set.
///
/// # Errors
/// If it isn't there.
pub fn java() -> anyhow::Result<PathBuf> {
    match env::var_os("JAVA_HOME") {
        Some(home) => Ok(Path::new(&home).join("bin/java")),
        None => installed("java"),
    }
}

fn cache_folder() -> anyhow::Result<&'static Path> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = FOLDER.get() {
        return Ok(folder);
    }
    let folder = ask_script(&["--print"])?;
    Ok(FOLDER.get_or_init(|| folder))
}

fn ask_script(args: &[&str]) -> anyhow::Result<PathBuf> {
    let output =
        Command::new(SCRIPT).args(args).output().with_context(|| format!("running {SCRIPT}"))?;
    if !output.status.success() {
        bail!("{SCRIPT}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let folder =
        String::from_utf8(output.stdout).context("the cache folder's path is not UTF-8")?;
    Ok(PathBuf::from(folder.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_make_parts_brings_is_found() -> anyhow::Result<()> {
        for tool in ["kubectl", "helm"] {
            assert!(find(tool)?.is_file());
        }
        Ok(())
    }

    #[test]
    fn a_missing_part_names_the_command_that_brings_it() {
        let error = find("no-such-part").unwrap_err().to_string();
        assert!(error.contains("make parts"), "{error}");
        for missing in [folder("no-such-part"), installed("no-such-program")] {
            assert!(missing.unwrap_err().to_string().contains("parts"));
        }
    }
}
