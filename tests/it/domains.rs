//! What users may rely on of VerifiedDomain.

mod aged;
mod names;
mod typed;

use std::time::Instant;

use anyhow::ensure;
use rollcall_kit::{dns::Mode, wait::until};

use crate::world::{PATIENCE, World};

async fn domain(world: &World, namespace: &str, name: &str, domain: &str) -> anyhow::Result<()> {
    let spec = format!("{{domain: \"{domain}\"}}");
    world.make_one("VerifiedDomain", namespace, name, &spec).await
}

#[tokio::test]
async fn the_first_to_prove_owns_and_the_other_takes_over_when_it_lets_go() -> anyhow::Result<()> {
    let world = World::shared().await?;
    for organization in ["early", "late"] {
        world.organization(organization).await?;
        domain(world, organization, "contested", "contested.test.example").await?;
    }
    let (name, early) = world.challenge("early", "contested").await?;
    let (_, late) = world.challenge("late", "contested").await?;
    ensure!(early != late, "two organizations have one value");
    world.stage.dns.set_txt(&name, vec![vec![early.clone()]])?;
    world.reason("early", "vd/contested", "Verified", "RecordFound").await?;
    world.stage.dns.set_txt(&name, vec![vec![early], vec![late]])?;
    let message = world.reason("late", "vd/contested", "Verified", "DomainConflict").await?;
    ensure!(!message.contains("early"), "the message names the owner: {message}");
    world.kubectl("delete vd contested -n early").await?;
    world.reason("late", "vd/contested", "Verified", "RecordFound").await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_value_is_shown_and_strings_of_one_record_are_joined() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("values").await?;
    domain(world, "values", "split", "split.test.example").await?;
    let (name, value) = world.challenge("values", "split").await?;
    world.stage.dns.set_txt(&name, vec![vec!["something else".into()]])?;
    world.nudge("values", "vd/split").await?;
    let message = world.reason("values", "vd/split", "Verified", "ValueMismatch").await?;
    ensure!(message.contains("something else"), "{message}");
    // half of it in each of two records proves nothing, in one record it does
    let (first, second) = value.split_at(20);
    world.stage.dns.set_txt(&name, vec![vec![first.into()], vec![second.into()]])?;
    world.nudge("values", "vd/split").await?;
    let object = "vd/split";
    world.reason("values", object, "Verified", "ValueMismatch").await?;
    world.stage.dns.set_txt(&name, vec![vec![first.into(), second.into()]])?;
    world.reason("values", object, "Verified", "RecordFound").await?;
    Ok(())
}

#[tokio::test]
async fn a_look_ends_however_often_another_is_asked_for() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("hasty").await?;
    world.stage.dns.set_mode("hasty.test.example", Mode::Silent)?;
    domain(world, "hasty", "hasty", "hasty.test.example").await?;
    until("a look to end", PATIENCE, async || {
        world.nudge("hasty", "vd/hasty").await?;
        let (reason, message) = world.condition("hasty", "vd/hasty", "Verified").await?;
        ensure!(message.contains("can't be looked up"), "{reason}: {message}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn a_look_ends_however_often_two_objects_take_turns_at_one_domain() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("turns").await?;
    world.stage.dns.set_mode("turns.test.example", Mode::Silent)?;
    let (mut this, mut other) = ("one", "two");
    domain(world, "turns", this, "turns.test.example").await?;
    let ended = "get events -n turns --field-selector reason=Timeout -o name";
    let begun = Instant::now();
    while world.kubectl(ended).await?.is_empty() {
        ensure!(begun.elapsed() < PATIENCE, "no look has ended");
        domain(world, "turns", other, "turns.test.example").await?;
        world.kubectl(&format!("delete vd {this} -n turns")).await?;
        (this, other) = (other, this);
        world.reason("turns", &format!("vd/{this}"), "Accepted", "Accepted").await?;
    }
    // it counts for who has the claim now
    world.stage.dns.set_mode("turns.test.example", Mode::Normal)?;
    world.nudge("turns", &format!("vd/{this}")).await?;
    world.prove("turns", this).await
}

#[tokio::test]
async fn a_failing_dns_takes_nothing_and_gives_nothing() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("blip").await?;
    world.stage.dns.set_mode("down.test.example", Mode::ServFail)?;
    domain(world, "blip", "down", "down.test.example").await?;
    world.reason("blip", "vd/down", "Verified", "LookupFailed").await?;
    let events =
        "get events -n blip --field-selector reason=ServFail -o jsonpath={.items[*].message}";
    rollcall_kit::wait::until(
        "the event of a look that failed",
        crate::world::PATIENCE,
        async || {
            let told = world.kubectl(events).await?;
            Ok(told.contains("down.test.example").then_some(()))
        },
    )
    .await?;
    world
        .field("blip", "vd/down", "{.status.conditions[?(@.type==\"Verified\")].status}", "Unknown")
        .await?;

    domain(world, "blip", "up", "up.test.example").await?;
    world.prove("blip", "up").await?;
    world.stage.dns.set_mode("up.test.example", Mode::ServFail)?;
    let version = world.get("blip", "vd/up", "{.status}").await?;
    let queries = world.stage.dns.queries();
    world.nudge("blip", "vd/up").await?;
    rollcall_kit::wait::until("a look", crate::world::PATIENCE, async || {
        Ok((world.stage.dns.queries() > queries).then_some(()))
    })
    .await?;
    // mended: the next look is a good one, and in between nothing was said
    world.stage.dns.set_mode("up.test.example", Mode::Normal)?;
    world.stage.dns.set_mode("down.test.example", Mode::Normal)?;
    world.reason("blip", "vd/down", "Verified", "AwaitingRecord").await?;
    ensure!(world.get("blip", "vd/up", "{.status}").await? == version, "the status changed");
    Ok(())
}

#[tokio::test]
async fn a_record_that_disappears_is_told_and_takes_nothing_yet() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("grace").await?;
    domain(world, "grace", "kept", "kept.test.example").await?;
    world.prove("grace", "kept").await?;
    let (name, value) = world.challenge("grace", "kept").await?;
    world.stage.dns.remove(&name)?;
    world.nudge("grace", "vd/kept").await?;
    world.reason("grace", "vd/kept", "Verified", "RecordMissingInGrace").await?;
    world.stage.dns.set_txt(&name, vec![vec![value]])?;
    world.nudge("grace", "vd/kept").await?;
    world.reason("grace", "vd/kept", "Verified", "RecordFound").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_domain_or_a_duplicate_says_so() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("wrong").await?;
    // what the API server can't know
    domain(world, "wrong", "fake", "xn--a.com").await?;
    let message = world.reason("wrong", "vd/fake", "Accepted", "NotADomain").await?;
    ensure!(message.contains("the label xn--a stands for no name"), "{message}");
    world.reason("wrong", "vd/fake", "Stalled", "NotADomain").await?;
    domain(world, "wrong", "older", "twice.test.example").await?;
    world.reason("wrong", "vd/older", "Accepted", "Accepted").await?;
    domain(world, "wrong", "younger", "TWICE.test.example.").await?;
    world.reason("wrong", "vd/younger", "Accepted", "Duplicate").await?;
    // the older one gone, the younger one counts
    world.kubectl("delete vd older -n wrong").await?;
    world.prove("wrong", "younger").await
}

#[tokio::test]
async fn a_namespace_made_anew_starts_from_nothing() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("phoenix").await?;
    domain(world, "phoenix", "ashes", "ashes.test.example").await?;
    world.prove("phoenix", "ashes").await?;
    let (_, before) = world.challenge("phoenix", "ashes").await?;
    world.kubectl("delete namespace phoenix phoenix-web").await?;
    world.organization("phoenix").await?;
    domain(world, "phoenix", "ashes", "ashes.test.example").await?;
    world.reason("phoenix", "vd/ashes", "Verified", "ValueMismatch").await?;
    let (_, after) = world.challenge("phoenix", "ashes").await?;
    ensure!(before != after, "the old record would prove it again");
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_the_class_does_not_take_is_told() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world
        .apply(
            "{apiVersion: rollcall.dev/v1alpha1, kind: IdentityClass, metadata: {name: picky}, \
             spec: {provider: {builtin: {}}, namespaceSelector: {matchLabels: {tier: gold}}, \
             allowPrivateEndpoints: true, domains: {allowSpecialUse: true}}}",
        )
        .await?;
    for (namespace, class) in [("silver", "picky"), ("lost", "nowhere")] {
        world.organization(namespace).await?;
        let annotate = format!("annotate namespace {namespace} rollcall.dev/class={class}");
        world.kubectl(&annotate).await?;
        domain(world, namespace, "some", &format!("{namespace}.test.example")).await?;
    }
    world.reason("lost", "vd/some", "Accepted", "ClassNotFound").await?;
    world.reason("silver", "vd/some", "Accepted", "NotAllowedByClass").await?;
    world.kubectl("label namespace silver tier=gold").await?;
    world.prove("silver", "some").await
}

#[tokio::test]
async fn a_suspended_domain_is_not_sought() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("paused").await?;
    let spec = "{domain: paused.test.example, suspend: true}";
    world.make_one("VerifiedDomain", "paused", "paused", spec).await?;
    world.reason("paused", "vd/paused", "Ready", "Suspended").await?;
    world.make_one("VerifiedDomain", "paused", "paused", "{domain: paused.test.example}").await?;
    world.prove("paused", "paused").await
}

#[tokio::test]
async fn a_wildcard_that_shows_the_value_proves_nothing() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.organization("wildcard").await?;
    domain(world, "wildcard", "wild", "wild.test.example").await?;
    let (_, value) = world.challenge("wildcard", "wild").await?;
    world.stage.dns.set_txt("*.wild.test.example", vec![vec![value]])?;
    world.nudge("wildcard", "vd/wild").await?;
    let message = world.reason("wildcard", "vd/wild", "Verified", "WildcardAnswer").await?;
    ensure!(message.contains("take it off the wildcard"), "{message}");
    world.stage.dns.remove("*.wild.test.example")?;
    world.prove("wildcard", "wild").await
}

#[tokio::test]
async fn a_proof_covers_what_is_below_it_until_another_proves_that() -> anyhow::Result<()> {
    let world = World::shared().await?;
    for organization in ["above", "below"] {
        world.organization(organization).await?;
    }
    let spec = "{domain: wide.test.example, includeSubdomains: true}";
    world.make_one("VerifiedDomain", "above", "wide", spec).await?;
    world.prove("above", "wide").await?;
    let message = world.reason("above", "vd/wide", "Verified", "RecordFound").await?;
    ensure!(message == "wide.test.example is verified, with all below it.", "{message}");
    domain(world, "below", "mail", "mail.wide.test.example").await?;
    world.prove("below", "mail").await?;
    world.make_one("VerifiedDomain", "above", "wide", "{domain: wide.test.example}").await?;
    let path = "{.status.conditions[?(@.type==\"Verified\")].message}";
    world.field("above", "vd/wide", path, "wide.test.example is verified.").await
}
