//! Responses that must be refused, each made from a freshly signed good one and wrong in one thing
//! alone, with the words that its refusal must have: refused for another reason, it would prove
//! nothing of the rule it is for. What one who can't sign could make of a good response is changed
//! after it was signed; what only a careless identity provider could make, before.

mod checks;
mod documents;
mod encrypted;
mod names;
mod signatures;
mod tampered;
mod wrapping;

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;

use super::{
    Person, ServiceProvider,
    encryption::Encryption,
    idp::metadata_of,
    keys::{Kind, Signer},
    response::{Response, Sealing},
    signature::Profile,
    xml,
};
use crate::tls::Identity;

/// The request that cases of [`Mode::Answer`] answer, or should.
pub const REQUEST: &str = "_5c1f0b9e7d";
/// Who is signed in by the good responses.
pub const VICTIM: &str = "ada@acme.example";
/// Whom the attacker would like to be.
pub const TARGET: &str = "admin@acme.example";

/// What the service provider expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// A response that nobody asked for.
    Unsolicited,
    /// The answer to [`REQUEST`].
    Answer,
}

impl Mode {
    /// The request that is answered.
    pub fn request(self) -> Option<&'static str> {
        match self {
            Self::Unsolicited => None,
            Self::Answer => Some(REQUEST),
        }
    }
}

/// One hostile response.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is wrong, and how the response is signed and encrypted.
    pub name: String,
    pub document: Vec<u8>,
    pub mode: Mode,
    /// The refusal has one of these, in whatever case.
    pub refusal: &'static [&'static str],
    /// Instead of being refused it may be accepted for this NameID, which is the signed one.
    pub or_name_id: Option<&'static str>,
}

/// Everybody who takes part.
pub struct Parties {
    pub idp: Arc<Signer>,
    /// Another key of the identity provider, an elliptic curve's.
    pub curve: Arc<Signer>,
    /// A key that nobody trusts.
    pub stranger: Arc<Signer>,
    pub issuer: String,
    pub sp: ServiceProvider,
    /// What assertions are encrypted for.
    pub recipient: Arc<Identity>,
    pub now: Timestamp,
}

/// Which parts are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Response,
    Assertion,
    Both,
}

/// How a response is signed and encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub signed: Signed,
    pub encrypted: bool,
}

impl Shape {
    /// All six.
    pub fn all() -> impl Iterator<Item = Self> {
        [Signed::Response, Signed::Assertion, Signed::Both]
            .into_iter()
            .flat_map(|signed| [false, true].map(|encrypted| Self { signed, encrypted }))
    }

    fn name(self) -> String {
        let encrypted = if self.encrypted { "encrypted" } else { "plain" };
        format!("{:?} signed, {encrypted}", self.signed)
    }

    fn response_signed(self) -> bool {
        self.signed != Signed::Assertion
    }

    fn assertion_signed(self) -> bool {
        self.signed != Signed::Response
    }
}

impl Parties {
    /// New keys for all.
    ///
    /// # Errors
    /// If a key can't be made.
    pub fn new() -> anyhow::Result<Self> {
        let far = SystemTime::now() + std::time::Duration::from_secs(365 * 86_400);
        Ok(Self {
            idp: Arc::new(Signer::new(Kind::Rsa)?),
            curve: Arc::new(Signer::new(Kind::P384)?),
            stranger: Arc::new(Signer::new(Kind::Rsa)?),
            issuer: "https://idp.acme.example/entity".to_owned(),
            sp: ServiceProvider {
                entity_id: "https://login.platform.example/sso/acme/company/saml/metadata".into(),
                acs: "https://login.platform.example/sso/acme/company/saml/acs".into(),
            },
            recipient: Arc::new(Identity::self_signed_rsa("service provider", far)?),
            now: Timestamp::now(),
        })
    }

    /// The identity provider's metadata, with both of its keys.
    pub fn metadata(&self) -> String {
        let certificates = [&self.curve, &self.idp].map(|signer| signer.identity().cert_der());
        metadata_of(&self.issuer, "https://idp.acme.example/sso", certificates, "")
    }

    /// Ada, as the good responses have her.
    pub fn victim() -> Person {
        Person::new(VICTIM, VICTIM, "Ada Lovelace")
    }

    /// A good response in the making.
    pub fn response(&self, mode: Mode) -> Response {
        let response = Response::new(&self.issuer, &self.sp, &Self::victim(), self.now);
        match mode {
            Mode::Unsolicited => response,
            Mode::Answer => response.answering(REQUEST),
        }
    }

    /// How a good one is signed and encrypted.
    pub fn sealing(&self, shape: Shape) -> Sealing {
        let profile = Profile::new(&self.idp);
        Sealing {
            assertion: shape.assertion_signed().then(|| profile.clone()),
            response: shape.response_signed().then_some(profile),
            encryption: shape.encrypted.then(|| self.encryption()),
            ..Sealing::default()
        }
    }

    fn encryption(&self) -> Encryption {
        Encryption::new(self.recipient.cert_der())
    }
}

/// All of them.
///
/// # Errors
/// If one can't be made.
pub fn all(parties: &Parties) -> anyhow::Result<Vec<Case>> {
    let mut cases = Cases { parties, made: vec![] };
    checks::add(&mut cases)?;
    wrapping::add(&mut cases)?;
    signatures::add(&mut cases)?;
    tampered::add(&mut cases)?;
    names::add(&mut cases)?;
    encrypted::add(&mut cases)?;
    documents::add(&mut cases)?;
    Ok(cases.made)
}

type Words = &'static [&'static str];
type TextChange = fn(&str) -> anyhow::Result<String>;

struct Cases<'a> {
    parties: &'a Parties,
    made: Vec<Case>,
}

impl Cases<'_> {
    /// Adds one that nobody asked for.
    fn add(
        &mut self,
        name: &str,
        shape: Shape,
        refusal: Words,
        sealing: &Sealing,
    ) -> anyhow::Result<()> {
        let response = self.parties.response(Mode::Unsolicited);
        self.add_response(name, shape, refusal, sealing, &response, Mode::Unsolicited)
    }

    fn add_response(
        &mut self,
        name: &str,
        shape: Shape,
        refusal: Words,
        sealing: &Sealing,
        response: &Response,
        mode: Mode,
    ) -> anyhow::Result<()> {
        let document = sealing.seal(response).map_err(|error| error.context(name.to_owned()))?;
        self.add_document(&format!("{name} ({})", shape.name()), refusal, document.into(), mode);
        Ok(())
    }

    fn add_document(&mut self, name: &str, refusal: Words, document: Vec<u8>, mode: Mode) {
        let name = name.to_owned();
        self.made.push(Case { name, document, mode, refusal, or_name_id: None });
    }
}

/// A good assertion's text made the attacker's: another NameID, and this ID (`None`: no ID).
fn evil(assertion: &str, id: Option<&str>) -> anyhow::Result<String> {
    let evil = xml::swap(
        assertion,
        &format!(">{VICTIM}</saml:NameID>"),
        &format!(">{TARGET}</saml:NameID>"),
    )?;
    with_id(&evil, id)
}

/// The element's text with another ID.
fn with_id(element: &str, id: Option<&str>) -> anyhow::Result<String> {
    let old = format!(" ID=\"{}\"", xml::root_attribute(element, "ID")?);
    xml::swap(element, &old, &xml::attribute("ID", id))
}
