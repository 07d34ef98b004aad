//! An honest internet, signed by BIND from the root down and served by Knot: what is said of it is
//! what its owners meant.

use rollcall::dns::{Answer, DomainName, Examiner, Look};
use rollcall_kit::{
    dns::internet::{Company, Internet, Signing},
    scratch::Scratch,
};

use super::{VALUE, anchors, settings, walking};

#[tokio::test]
async fn a_really_signed_internet_is_walked_and_validated() -> anyhow::Result<()> {
    let scratch = Scratch::take("internet")?;
    let challenge = format!("_rollcall-challenge TXT \"{VALUE}\"\n");
    // a signed zone with all that may be in one
    let acme = format!(
        "{challenge}_rollcall-challenge.other TXT \"something else\"\n\
         _rollcall-challenge.empty CAA 0 issue \";\"\n\
         _rollcall-challenge.alias CNAME proof.plain.example.\n\
         _rollcall-challenge.astray CNAME proof.late.example.\n\
         *.wild TXT \"{VALUE}\"\n*.named TXT \"{VALUE}\"\n\
         _rollcall-challenge.named TXT \"{VALUE}\"\n\
         branch DNAME leaf.acme.example.\nproof.leaf TXT \"{VALUE}\"\n\
         _rollcall-challenge.branched CNAME proof.branch.acme.example.\n\
         _rollcall-challenge.lost CNAME nothing.branch.acme.example.\n\
         moved DNAME plain.example.\n"
    );
    let plain = format!("{challenge}proof TXT \"{VALUE}\"\n");
    let late = format!("{challenge}proof TXT \"{VALUE}\"\n");
    let company = |zone, signing, records| Company { zone, signing, records };
    let internet = Internet::start(
        scratch.path(),
        &[
            company("acme.example", Signing::Good, &acme),
            company("plain.example", Signing::Unsigned, &plain),
            company("late.example", Signing::Expired, &late),
        ],
    )
    .await?;
    let file = anchors(internet.trust_anchor());
    let examiner = Examiner::new(&settings(walking(internet.root()), file.path()))?;
    let examine = async |domain: &str| {
        let domain = DomainName::parse(domain).unwrap();
        let look = Look { domain: &domain, expected: VALUE, allow_private: true, renewing: false };
        examiner.examine(&look).await
    };
    for (domain, answer) in [
        ("acme.example", Answer::Match),
        ("other.acme.example", Answer::Mismatch),
        ("empty.acme.example", Answer::NoData),
        ("nothing.acme.example", Answer::NxDomain),
        ("alias.acme.example", Answer::Match),
        ("wild.acme.example", Answer::Wildcard),
        ("named.acme.example", Answer::Wildcard),
        ("branched.acme.example", Answer::Match),
        ("lost.acme.example", Answer::NxDomain),
        // whatever is beside the challenge name has moved, too
        ("moved.acme.example", Answer::Wildcard),
        ("plain.example", Answer::Match),
        ("nothing.plain.example", Answer::NxDomain),
        ("late.example", Answer::Bogus),
        ("astray.acme.example", Answer::Bogus),
        ("nobody.example", Answer::NxDomain),
        ("acme.nowhere", Answer::NxDomain),
    ] {
        let looked = examine(domain).await;
        assert_eq!(looked.answer, answer, "{domain}: {looked:#?}");
        // the first time, with nothing remembered
        if domain == "acme.example" {
            assert!(looked.steps.len() < 20, "{looked:#?}");
        }
    }
    // by somebody who trusts another root nothing is believed
    let other = rollcall_kit::dns::signed::ZoneKey::new(".")?;
    let file = anchors(&other.trust_anchor());
    let examiner = Examiner::new(&settings(walking(internet.root()), file.path()))?;
    let domain = DomainName::parse("acme.example")?;
    let look = Look { domain: &domain, expected: VALUE, allow_private: true, renewing: false };
    assert_eq!(examiner.examine(&look).await.answer, Answer::Bogus);
    Ok(())
}
