//! However good responses are changed and mixed, what is accepted is what was signed.

use std::thread;

use anyhow::{Context, anyhow, ensure};
use fastrand::Rng;
use rollcall::saml::{self, DecryptionKey, Expected, TrustedIdp, metadata};
use rollcall_kit::saml::{
    encryption::Encryption,
    hostile::{Mode, Parties, Shape, Signed},
    mutation::Subject,
};

use super::expected;

const MUTATIONS: usize = 100_000;
const THREADS: usize = 2;
const OTHER: &str = "mallory@acme.example";

#[test]
fn after_100_000_random_changes_nothing_is_accepted_but_what_was_signed() -> anyhow::Result<()> {
    let parties = Parties::new()?;
    let idp = TrustedIdp::new(&metadata::parse(parties.metadata().as_bytes(), parties.now)?);
    let keys = [DecryptionKey::new(&parties.recipient.key_der())?];
    let expected = expected(&parties, &idp, &keys);
    let seed = Rng::new().get_seed(); // told by what fails, so that it can be played again
    thread::scope(|scope| {
        let played: Vec<_> = (0..THREADS)
            .map(|number| {
                let (parties, expected) = (&parties, &expected);
                scope.spawn(move || play(parties, expected, seed.wrapping_add(number as u64)))
            })
            .collect();
        let mut accepted = 0;
        for thread in played {
            accepted += thread.join().map_err(|_| anyhow!("panicked, seed {seed}"))??;
        }
        // some changes change nothing that is signed; if all were refused, this would test nothing
        ensure!((10..MUTATIONS / 2).contains(&accepted), "{accepted} accepted, seed {seed}");
        Ok(())
    })
}

/// How many of this thread's share were accepted.
fn play(parties: &Parties, expected: &Expected<'_>, seed: u64) -> anyhow::Result<usize> {
    // somebody else of the same company, whose own good response is what the attacker has
    let [mut victim, mut other] = [Mode::Unsolicited; 2].map(|mode| parties.response(mode));
    other.assertion.person.name_id = OTHER.into();
    for response in [&mut victim, &mut other] {
        response.assertion.person.attributes.truncate(1);
    }
    let mut subjects = vec![];
    for shape in Shape::all() {
        let mut sealing = parties.sealing(shape);
        for profile in [&mut sealing.assertion, &mut sealing.response] {
            profile.iter_mut().for_each(|profile| profile.certificate = false);
        }
        let [victim, other] = [sealing.seal(&victim)?, sealing.seal(&other)?];
        let good = [&victim, &other].map(|good| saml::verify(good.as_bytes(), expected));
        let [good, others] = good;
        // decrypting takes long: one in ten
        let weight = if shape.encrypted { 1 } else { 9 };
        let good = [good.context("the good one")?, others.context("the other one")?];
        subjects.extend((0..weight).map(|_| (Subject::new(&victim, &other), good.clone())));
    }
    // an assertion that is changed before the attacker encrypts it, as anybody can
    let signed = parties.sealing(Shape { signed: Signed::Assertion, encrypted: false });
    let signed = signed.assertion.context("signed")?;
    let assertion = signed.sign(&victim.assertion.xml())?;
    let inside = Subject::new(&assertion, &signed.sign(&other.assertion.xml())?)?;
    let encryption = Encryption::new(parties.recipient.cert_der());

    let mut random = Rng::with_seed(seed);
    let mut accepted = 0;
    for round in 0..MUTATIONS / THREADS {
        let (subject, good) = &subjects[round % subjects.len()];
        let document = if round % 50 == 49 {
            match String::from_utf8(inside.mutated(&mut random)) {
                Ok(changed) => victim.around(&encryption.encrypt(&changed)?).into_bytes(),
                Err(_) => continue,
            }
        } else {
            subject.as_ref().map_err(|error| anyhow!("{error}"))?.mutated(&mut random)
        };
        if let Ok(assertion) = saml::verify(&document, expected) {
            let document = String::from_utf8_lossy(&document);
            ensure!(
                good.contains(&assertion),
                "seed {seed}: {assertion:?} is neither of {good:?}: {document}"
            );
            accepted += 1;
        }
    }
    Ok(accepted)
}
