//! What a response may cost, whoever sent it.

use anyhow::ensure;
use base64::{Engine, prelude::BASE64_STANDARD};
use rollcall::saml::{self, DecryptionKey, Refusal, TrustedIdp, metadata};
use rollcall_kit::{
    bench::machine::thread_seconds,
    saml::{heavy, hostile::Parties},
};

use super::expected;

/// Processor time. `make bench ONLY=saml` holds an optimised build to 50 ms; this one is some 20 times
/// slower, and what grows faster than the response would take far longer.
const LONGEST: f64 = 1.0;

#[test]
fn no_response_costs_much_however_it_is_made() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let keys = [DecryptionKey::new(&parties.recipient.key_der())?];
    let mut accepted = 0;
    for heavy in heavy::all(&parties)? {
        let idp = TrustedIdp::new(&metadata::parse(heavy.metadata.as_bytes(), parties.now)?);
        let expected = expected(&parties, &idp, &keys);
        let form = BASE64_STANDARD.encode(&heavy.document);
        let before = thread_seconds();
        let verified = saml::decode(&form).and_then(|xml| saml::verify(&xml, &expected));
        let took = thread_seconds() - before;
        ensure!(took < LONGEST, "{}: {took} s", heavy.name);
        // one that is turned away at the door would show nothing
        let early = [Refusal::TooComplex, Refusal::NotXml, Refusal::NotBase64];
        let early = matches!(&verified, Err(refusal) if early.contains(refusal));
        let large = matches!(verified, Err(Refusal::TooLarge { .. }));
        ensure!(!early && !large, "{}: {verified:?}", heavy.name);
        accepted += usize::from(verified.is_ok());
    }
    ensure!(accepted > 2, "{accepted} were accepted");
    Ok(())
}

#[test]
fn half_a_megabyte_is_not_even_decoded() {
    let refused = saml::decode(&"A".repeat(700_000));
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })), "{refused:?}");
}
