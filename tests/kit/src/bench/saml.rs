//! SAML responses verified on one core: by Rollcall, by @node-saml/node-saml and by python-xmlsec,
//! the very same documents in turns. Then what the most expensive ones cost that could be thought of.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    machine,
    report::{Aim, Table},
};
use crate::{
    parts,
    saml::{
        ServiceProvider,
        heavy::{self, Heavy},
        hostile::Parties,
        load::{self, Size},
    },
    scratch::Scratch,
};

/// How many responses of a size there are.
const DOCUMENTS: usize = 64;
/// How often each has its turn.
const ROUNDS: usize = 5;
/// How long a turn takes, in seconds of processor time.
const TURN: f64 = 1.0;
/// How many are verified first.
const WARM_UP: usize = 20;
/// How often an expensive response is verified: the slowest time counts.
const TRIES: usize = 5;
/// How long an expensive one may take, in milliseconds.
const LONGEST: f64 = 50.0;

const NODE_SAML: &str = include_str!("../../comparators/node-saml/verify.mjs");
const XMLSEC: &str = include_str!("../../comparators/xmlsec/verify.py");

/// What Rollcall is to verify by, as the service provider that has it made.
pub struct Trust<'a> {
    /// Of the identity provider.
    pub metadata: &'a str,
    pub sp: &'a ServiceProvider,
    pub now: Timestamp,
    /// What assertions are encrypted for, PKCS#8 PEM.
    pub decryption_key: String,
}

/// Rollcall's own verification by this: it takes the form field `SAMLResponse`, and what it can't
/// accept it answers with the name of the refusal.
pub type Verify = dyn Fn(&str) -> Result<(), &'static str>;

/// Makes one.
pub type MakeVerify = fn(Trust<'_>) -> anyhow::Result<Box<Verify>>;

/// What everybody verifies, and by what; the comparators read it as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    /// Base64 of DER.
    certificate: String,
    idp_entity_id: String,
    sp_entity_id: String,
    acs: String,
    kinds: Vec<Responses>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Responses {
    name: String,
    response_signed: bool,
    assertion_signed: bool,
    /// Each the content of the form field `SAMLResponse`.
    forms: Vec<String>,
}

/// Measures all three, then the expensive ones.
///
/// # Errors
/// If something fails to work, or one of them refuses a good response.
pub fn measure(ours: MakeVerify, table: &mut Table) -> anyhow::Result<()> {
    println!("==> saml: signing responses and starting the others");
    let parties = Parties::new()?;
    let material = Material::new(&parties)?;
    let scratch = Scratch::take("bench")?;
    let file = scratch.path().join("material.json");
    fs::write(&file, serde_json::to_vec(&material)?).context("writing the material")?;
    let mut verifiers = [
        ("Rollcall", Verifier::Ours(ours(parties.trust(&parties.metadata()))?)),
        ("node-saml", Verifier::node_saml(&file)?),
        ("python-xmlsec (signatures alone)", Verifier::xmlsec(&file)?),
    ];
    for (responses, aim) in material.kinds.iter().zip([12_000.0, 6_000.0, 3_000.0]) {
        let title = &responses.name;
        println!("==> saml: {title}");
        let rates = side_by_side(&mut verifiers, responses)?;
        for (at, ((name, _), rate)) in verifiers.iter().zip(rates).enumerate() {
            let aim = if at == 0 { Aim::AtLeast(aim) } else { Aim::None };
            table.row(&format!("{title}, {name}"), rate, "/CPU s", aim);
        }
        for ((name, _), rate) in verifiers.iter().zip(rates).skip(1) {
            table.row(&format!("{title}, times {name}"), rates[0] / rate, "", Aim::None);
        }
    }
    println!("==> saml: the most expensive responses");
    let over_the_limit = Heavy {
        name: "elements",
        metadata: parties.metadata(),
        document: "<a></a>".repeat((512 << 10) / 7),
    };
    for heavy in [over_the_limit].into_iter().chain(heavy::all(&parties)?) {
        let verify = ours(parties.trust(&heavy.metadata))?;
        let form = BASE64_STANDARD.encode(&heavy.document);
        let (milliseconds, outcome) = slowest(&*verify, &form);
        let size = heavy.document.len() >> 10;
        let title = format!("{size} KiB: {} ({})", heavy.name, outcome.err().unwrap_or("accepted"));
        table.row(&title, milliseconds, "ms", Aim::AtMost(LONGEST));
    }
    Ok(())
}

/// The slowest of some tries, in milliseconds of processor time, and how all of them ended.
fn slowest(verify: &Verify, form: &str) -> (f64, Result<(), &'static str>) {
    let mut slowest = 0_f64;
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        let before = machine::thread_seconds();
        outcome = verify(form);
        slowest = slowest.max((machine::thread_seconds() - before) * 1e3);
    }
    (slowest, outcome)
}

impl Parties {
    /// What a service provider knows of them, by this metadata.
    fn trust<'a>(&'a self, metadata: &'a str) -> Trust<'a> {
        Trust { metadata, sp: &self.sp, now: self.now, decryption_key: self.recipient.key_pem() }
    }
}

impl Material {
    fn new(parties: &Parties) -> anyhow::Result<Self> {
        let Parties { idp, issuer, sp, now, .. } = parties;
        let responses = |size: Size| {
            let documents = load::documents(DOCUMENTS, size, idp, issuer, sp, *now)?;
            anyhow::Ok(Responses {
                name: size.title().to_owned(),
                response_signed: size.response_signed(),
                assertion_signed: size.assertion_signed(),
                forms: documents.iter().map(|document| BASE64_STANDARD.encode(document)).collect(),
            })
        };
        Ok(Self {
            certificate: BASE64_STANDARD.encode(idp.identity().cert_der()),
            idp_entity_id: issuer.clone(),
            sp_entity_id: sp.entity_id.clone(),
            acs: sp.acs.clone(),
            kinds: Size::ALL.into_iter().map(responses).collect::<anyhow::Result<_>>()?,
        })
    }
}

/// Who verifies.
enum Verifier {
    Ours(Box<Verify>),
    Program { child: Child, input: ChildStdin, output: BufReader<ChildStdout> },
}

impl Verifier {
    /// The script is handed over as an argument, since Node.js then finds packages in its folder.
    fn node_saml(material: &Path) -> anyhow::Result<Self> {
        let mut node = Command::new(parts::installed("node")?);
        node.args(["--input-type=module", "--eval", NODE_SAML]);
        Self::start(node.current_dir(parts::folder("node-saml")?), material)
    }

    fn xmlsec(material: &Path) -> anyhow::Result<Self> {
        let mut python = Command::new(parts::installed("python3")?);
        python.args(["-c", XMLSEC]);
        Self::start(python.env("PYTHONPATH", parts::folder("xmlsec")?), material)
    }

    fn start(command: &mut Command, material: &Path) -> anyhow::Result<Self> {
        let mut child = command
            .env("MATERIAL", material)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let input = child.stdin.take().context("a program without input")?;
        let output = child.stdout.take().context("a program without output")?;
        Ok(Self::Program { child, input, output: BufReader::new(output) })
    }

    fn process(&self) -> u32 {
        match self {
            Self::Ours(_) => std::process::id(),
            Self::Program { child, .. } => child.id(),
        }
    }

    /// Verifies `count` of these. Returns how many seconds of processor time that took.
    fn verify(&mut self, responses: &Responses, count: usize) -> anyhow::Result<f64> {
        let process = self.process();
        let before = machine::processor_seconds(process)?;
        let accepted = match self {
            Self::Ours(verify) => {
                let forms = responses.forms.iter().cycle().take(count);
                forms.filter(|form| verify(form).is_ok()).count()
            }
            Self::Program { input, output, .. } => {
                writeln!(input, "{}", json!({"kind": responses.name, "count": count}))?;
                let mut line = String::new();
                output.read_line(&mut line)?;
                line.trim().parse().context("it ended: see above")?
            }
        };
        ensure!(accepted == count, "{accepted} of {count} good responses were accepted");
        Ok(machine::processor_seconds(process)? - before)
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        if let Self::Program { child, .. } = self {
            // one that has ended already doesn't mind
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many each verifies per second of processor time: the median of turns, in which one follows
/// the other.
fn side_by_side<const N: usize>(
    verifiers: &mut [(&str, Verifier); N],
    responses: &Responses,
) -> anyhow::Result<[f64; N]> {
    let mut counts = [WARM_UP; N];
    for ((_, verifier), count) in verifiers.iter_mut().zip(&mut counts) {
        // until what is compiled while it runs is compiled, and a turn is long enough to be timed
        loop {
            let seconds = verifier.verify(responses, *count)?;
            let enough = seconds >= TURN / 2.0;
            let per_turn = *count as f64 * (TURN / seconds.max(TURN / 20.0));
            *count = per_turn.ceil() as usize;
            if enough {
                break;
            }
        }
    }
    let mut rates = [const { vec![] }; N];
    for _ in 0..ROUNDS {
        for (((_, verifier), count), rates) in verifiers.iter_mut().zip(counts).zip(&mut rates) {
            rates.push(count as f64 / verifier.verify(responses, count)?);
        }
    }
    Ok(rates.map(|mut rates| {
        rates.sort_unstable_by(f64::total_cmp);
        rates[rates.len() / 2]
    }))
}
