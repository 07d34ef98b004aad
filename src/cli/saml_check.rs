//! `rollcall saml check`: would these saved responses sign somebody in, and if not, why not. It is
//! the gateway's own code, off line.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::saml::{self, DecryptionKey, Expected, Refusal, ServiceProvider, TrustedIdp, metadata};

/// Bytes of a file that are read: more than any response that could be accepted, in base64.
const MAX_FILE: u64 = 1 << 20;

#[derive(Args)]
pub struct SamlCheck {
    /// The identity provider's SAML metadata.
    #[arg(long, value_name = "FILE")]
    idp_metadata: PathBuf,
    /// Our entity ID, as the connection's status says.
    #[arg(long, value_name = "ID")]
    sp_entity_id: String,
    /// Our assertion consumer service, as the connection's status says.
    #[arg(long, value_name = "URL")]
    acs: String,
    /// The ID of the request that the responses answer; without it they must answer none.
    #[arg(long, value_name = "ID")]
    in_response_to: Option<String>,
    /// An RSA private key, PKCS#8, to decrypt assertions with; may be given several times.
    #[arg(long, value_name = "FILE")]
    decryption_key: Vec<PathBuf>,
    /// The time to check for, such as 2026-03-01T12:00:00Z; now, if omitted.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// By how many seconds the two clocks may differ.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    skew: u32,
    /// Responses, each as XML or as the base64 of the form field SAMLResponse, in the order in
    /// which they are presented: no assertion is accepted twice.
    #[arg(required = true, value_name = "RESPONSE")]
    responses: Vec<PathBuf>,
}

/// One line of the output.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    file: &'a Path,
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Writes one line of JSON for each response; `true` if all were accepted.
///
/// # Errors
/// The metadata or a decryption key can't be used, or `out` not be written to.
pub fn run(args: &SamlCheck, out: impl Write) -> anyhow::Result<bool> {
    let now = args.at.unwrap_or_else(Timestamp::now);
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("can't read {}", path.display()));
    let idp = metadata::parse(&read(&args.idp_metadata)?, now)
        .with_context(|| args.idp_metadata.display().to_string())?;
    let idp = TrustedIdp::new(&idp);
    let keys = args
        .decryption_key
        .iter()
        .map(|path| DecryptionKey::new(&read(path)?).with_context(|| path.display().to_string()));
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    let expected = Expected {
        idp: &idp,
        sp: ServiceProvider {
            entity_id: &args.sp_entity_id,
            acs_url: &args.acs,
            decryption_keys: &keys,
        },
        request: args.in_response_to.as_deref(),
        now,
        skew: Duration::from_secs(args.skew.into()),
    };

    let mut out = BufWriter::new(out);
    let mut presented = HashSet::new();
    let mut all = true;
    for file in &args.responses {
        let line = match accept(file, &expected, &mut presented) {
            Ok((name_id, attributes)) => Line {
                file,
                accepted: true,
                name_id: Some(name_id),
                attributes: Some(attributes),
                error: None,
            },
            Err(error) => {
                all = false;
                let error = Some(error.to_string());
                Line { file, accepted: false, name_id: None, attributes: None, error }
            }
        };
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(all)
}

#[derive(Debug, thiserror::Error)]
enum NotAccepted {
    #[error("can't read the file: {0}")]
    File(#[from] io::Error),
    /// With the name that the gateway's metrics and its audit log have. Who checks here has the
    /// decryption key, and may know all.
    #[error("{words}", words = .0.in_full())]
    Refused(#[from] Refusal),
}

type Person = (String, BTreeMap<String, Vec<String>>);

fn accept(
    file: &Path,
    expected: &Expected<'_>,
    presented: &mut HashSet<(String, String)>,
) -> Result<Person, NotAccepted> {
    let mut saved = vec![];
    File::open(file)?.take(MAX_FILE).read_to_end(&mut saved)?;
    let text = saved.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&saved).trim_ascii();
    let assertion = if text.first() == Some(&b'<') {
        saml::verify(text, expected)?
    } else {
        let text = std::str::from_utf8(text).map_err(|_| Refusal::NotBase64)?;
        saml::verify(&saml::decode(text)?, expected)?
    };
    let mut attributes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for attribute in assertion.attributes {
        attributes.entry(attribute.name).or_default().extend(attribute.values);
    }
    if !presented.insert((assertion.issuer, assertion.id.clone())) {
        return Err(Refusal::Replayed { id: assertion.id }.into());
    }
    Ok((assertion.name_id.value, attributes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saml::fixtures::{self, ACS, IDP, KEY, NOW, OTHER_KEY, REQUEST, SP, Signed};
    use base64::prelude::{BASE64_STANDARD, Engine};
    use serde_json::{Value, json};

    #[test]
    fn each_response_gets_a_line_and_no_assertion_is_accepted_twice() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let certificate = BASE64_STANDARD.encode(&KEY.certificate);
        let metadata = format!(
            r#"<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{IDP}"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{certificate}</X509Certificate></X509Data></KeyInfo></KeyDescriptor><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.acme.com/sso"/></IDPSSODescriptor></EntityDescriptor>"#
        );
        let good = fixtures::good(Signed::Both);
        let form = BASE64_STANDARD.encode(fixtures::edited(Signed::Both, |xml| {
            xml.replace("ID=\"_a\"", "ID=\"_a2\"").replace("[[_a]]", "")
        }));
        let mut args = SamlCheck {
            idp_metadata: write("metadata.xml", metadata.as_bytes()),
            sp_entity_id: SP.into(),
            acs: ACS.into(),
            in_response_to: Some(REQUEST.into()),
            decryption_key: vec![write("key", &OTHER_KEY.pkcs8)],
            at: Some(fixtures::at(NOW)),
            skew: 60,
            responses: vec![
                write("good", format!("\u{feff}\n{good}").as_bytes()),
                write("again", good.as_bytes()),
                write("form", form.as_bytes()),
                write("nonsense", b"?"),
                folder.path().join("missing"),
            ],
        };
        let mut out = vec![];
        assert!(!run(&args, &mut out).unwrap());
        let lines: Vec<Value> =
            out.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        let [first, again, form, nonsense, missing] = &lines[..] else { panic!("{lines:?}") };
        let groups = json!(["a & b", "c"]);
        let attributes = json!({"email": ["Ada@Acme.com"], "groups": groups});
        let file = folder.path().join("good");
        assert_eq!(
            *first,
            json!({"file": file, "accepted": true, "nameId": "ada@acme.com", "attributes": attributes})
        );
        for (line, error) in [
            (again, "Replayed: the assertion \"_a\" was presented before"),
            (nonsense, "NotBase64: the response isn't base64"),
            (missing, "can't read the file: No such file or directory (os error 2)"),
        ] {
            assert_eq!(*line, json!({"file": line["file"], "accepted": false, "error": error}));
        }
        assert_eq!(form["accepted"], true, "{form}");

        args.responses.truncate(1);
        assert!(run(&args, &mut vec![]).unwrap());
        args.decryption_key.push(write("no-key", b"x"));
        assert!(run(&args, &mut vec![]).is_err());
    }
}
