//! What comes of claims and proofs that are old: their ages are written into the ledger before their
//! objects are made.

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use rollcall::ledger::{Ledger, Proof};
use rollcall_kit::dns::Mode;

use super::domain;
use crate::world::World;

/// An organization of this name whose claim to `<name>.test.example` was made so many hours ago.
/// Returns its id, and the ledger.
async fn claimed(world: &World, name: &str, hours: i64) -> anyhow::Result<(String, Ledger)> {
    world.organization(name).await?;
    let id = world.kubectl(&format!("get namespace {name} -o jsonpath={{.metadata.uid}}")).await?;
    let ledger = Ledger::open(&world.stage.ledger.parse()?).await?;
    ledger.name_organization(&id, name, Timestamp::now()).await?;
    ledger.claim(&id, &format!("{name}.test.example"), ago(hours)).await?;
    Ok((id, ledger))
}

fn ago(hours: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(hours)
}

#[tokio::test]
async fn a_claim_without_a_proof_ends_after_thirty_days_and_begins_anew_when_asked()
-> anyhow::Result<()> {
    let world = World::shared().await?;
    let (_, ledger) = claimed(world, "lapsed", 30 * 24 + 1).await?;
    ledger.close().await;
    domain(world, "lapsed", "lapsed", "lapsed.test.example").await?;
    let message = world.reason("lapsed", "vd/lapsed", "Verified", "ChallengeExpired").await?;
    ensure!(message.contains("rollcall.dev/reconcile-requested-at"), "{message}");
    world.reason("lapsed", "vd/lapsed", "Stalled", "ChallengeExpired").await?;
    world.nudge("lapsed", "vd/lapsed").await?;
    world.reason("lapsed", "vd/lapsed", "Verified", "AwaitingRecord").await?;
    world.prove("lapsed", "lapsed").await
}

#[tokio::test]
async fn a_record_that_is_gone_for_three_days_is_lost_and_can_be_proved_again() -> anyhow::Result<()>
{
    let world = World::shared().await?;
    let (id, ledger) = claimed(world, "losing", 400).await?;
    for (proof, hours) in [(Proof::Seen, 399), (Proof::Missing, 80), (Proof::Missing, 40)] {
        ledger.record_proof(&id, "losing.test.example", proof, ago(hours)).await?;
    }
    ensure!(ledger.owned_domains(&id).await? == ["losing.test.example"]);
    domain(world, "losing", "losing", "losing.test.example").await?;
    world.reason("losing", "vd/losing", "Verified", "RecordLost").await?;
    ensure!(ledger.owned_domains(&id).await?.is_empty());
    ledger.close().await;
    world.prove("losing", "losing").await
}

#[tokio::test]
async fn a_proof_that_cant_be_renewed_for_thirty_days_expires() -> anyhow::Result<()> {
    let world = World::shared().await?;
    let (id, ledger) = claimed(world, "expiring", 800).await?;
    ledger.record_proof(&id, "expiring.test.example", Proof::Seen, ago(30 * 24 + 1)).await?;
    world.stage.dns.set_mode("expiring.test.example", Mode::ServFail)?;
    domain(world, "expiring", "expiring", "expiring.test.example").await?;
    world.reason("expiring", "vd/expiring", "Verified", "ProofExpired").await?;
    ensure!(ledger.owned_domains(&id).await?.is_empty());
    ledger.close().await;
    world.stage.dns.set_mode("expiring.test.example", Mode::Normal)?;
    world.prove("expiring", "expiring").await
}
