//! Debian's xmlsec1 and xmllint: signatures and canonical forms by a program that shares nothing
//! with ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, bail, ensure};
use roxmltree::Document;
use tempfile::TempDir;

use super::{ASSERTION, DS, PROTOCOL, keys::Signer};
use crate::tls::IdentityFiles;

/// What xmlsec1 signs and verifies with.
pub struct Xmlsec {
    folder: TempDir,
    files: IdentityFiles,
}

impl Xmlsec {
    /// It signs with, and trusts, the key of `signer` and no other.
    ///
    /// # Errors
    /// If the key can't be written.
    pub fn new(signer: &Signer) -> anyhow::Result<Self> {
        let folder = TempDir::new().context("making a folder for keys")?;
        let files = signer.identity().write(folder.path(), "signer")?;
        Ok(Self { folder, files })
    }

    /// Fills in the empty digests and values of the signature that is a child of the element of
    /// this local name, `Assertion` or `Response`.
    ///
    /// # Errors
    /// If xmlsec1 is missing or refuses.
    pub fn sign(&self, document: &str, parent: &str) -> anyhow::Result<String> {
        let (input, output) = (self.path("unsigned.xml"), self.path("signed.xml"));
        fs::write(&input, document).context("writing what is to be signed")?;
        let node = format!("//*[local-name()='{parent}']/*[local-name()='Signature']");
        let mut command = Command::new("xmlsec1");
        command.arg("--sign").arg("--privkey-pem").arg(&self.files.key);
        ids(&mut command).arg("--node-xpath").arg(node).arg("--output").arg(&output).arg(&input);
        run(&mut command)?;
        fs::read_to_string(&output).context("reading what was signed")
    }

    /// The digests that xmlsec1 finds for the references of a document's only signature.
    ///
    /// # Errors
    /// If xmlsec1 is missing or refuses.
    pub fn digests(&self, document: &str) -> anyhow::Result<Vec<String>> {
        let signed = self.sign(document, "root")?;
        let parsed = Document::parse(&signed).context("reading what was signed")?;
        let values = parsed.descendants().filter(|node| node.has_tag_name((DS, "DigestValue")));
        Ok(values.map(|node| node.text().unwrap_or_default().trim().to_owned()).collect())
    }

    /// Verifies the signature of the element of this local name in each file. All are good, or
    /// the answer names one that isn't.
    ///
    /// # Errors
    /// If xmlsec1 is missing or refuses one.
    pub fn verify(&self, files: &[PathBuf], parent: &str) -> anyhow::Result<()> {
        let node = format!("//*[local-name()='{parent}']/*[local-name()='Signature']");
        let mut command = Command::new("xmlsec1");
        command.arg("--verify").arg("--pubkey-cert-pem").arg(&self.files.cert);
        ids(&mut command).arg("--node-xpath").arg(node).args(files);
        run(&mut command).map(drop)
    }

    /// Decrypts what was encrypted for the key.
    ///
    /// # Errors
    /// If xmlsec1 is missing or can't.
    pub fn decrypt(&self, document: &str) -> anyhow::Result<String> {
        let input = self.path("encrypted.xml");
        fs::write(&input, document).context("writing what is to be decrypted")?;
        let mut command = Command::new("xmlsec1");
        command.arg("--decrypt").arg("--privkey-pem").arg(&self.files.key).arg(&input);
        String::from_utf8(run(&mut command)?.stdout).context("what was decrypted isn't text")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The exclusive canonical form of a document without comments, by libxml2. (xmllint's
/// `--exc-c14n` leaves comments in, so there must be none.)
///
/// # Errors
/// If xmllint is missing or the document isn't well-formed.
pub fn exclusive_canonical_form(file: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(run(Command::new("xmllint").args(["--huge", "--exc-c14n"]).arg(file))?.stdout)
}

fn ids(command: &mut Command) -> &mut Command {
    for (namespace, element) in [(PROTOCOL, "Response"), (ASSERTION, "Assertion")] {
        command.arg("--id-attr:ID").arg(format!("{namespace}:{element}"));
    }
    command
}

fn run(command: &mut Command) -> anyhow::Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => bail!("{program}: {error}: run `make parts` first"),
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", complaint.trim());
    Ok(output)
}
