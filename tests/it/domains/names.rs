//! Names that are nobody's to claim, and those that a class doesn't allow.

use anyhow::ensure;

use super::domain;
use crate::world::World;

/// Makes the class `strict`, which says this of domains.
async fn class(world: &World, domains: &str) -> anyhow::Result<()> {
    let class = format!(
        "{{apiVersion: rollcall.dev/v1alpha1, kind: IdentityClass, metadata: {{name: strict}}, \
         spec: {{provider: {{builtin: {{}}}}, namespaceSelector: {{}}, \
         allowPrivateEndpoints: true, domains: {domains}}}}}"
    );
    world.apply(&class).await
}

#[tokio::test]
async fn a_name_that_is_nobodys_is_refused_until_the_class_allows_it() -> anyhow::Result<()> {
    let world = World::shared().await?;
    class(world, "{deny: [strict-denied.example], allowSpecialUse: true}").await?;
    world.organization("strict").await?;
    world.kubectl("annotate namespace strict rollcall.dev/class=strict").await?;
    for (name, text, reason) in [
        ("icann", "CO.uk", "PublicSuffix"),
        ("private", "github.io", "PublicSuffix"),
        ("free", "gmail.com", "FreeMailDomain"),
        ("denied", "mail.strict-denied.example", "NotAllowedByClass"),
        ("other", "strict-other.example", "Accepted"),
    ] {
        domain(world, "strict", name, text).await?;
        let message = world.reason("strict", &format!("vd/{name}"), "Accepted", reason).await?;
        if reason != "Accepted" {
            let canonical = text.to_lowercase();
            ensure!(message.starts_with(&format!("{canonical}: ")), "{message}");
            let challenge =
                world.get("strict", &format!("vd/{name}"), "{.status.challenge}").await?;
            ensure!(challenge.is_empty(), "there is nothing to publish: {challenge}");
        }
    }
    // what is taken back is theirs no longer, and another may have it
    world.prove("strict", "other").await?;
    world.organization("lenient").await?;
    domain(world, "lenient", "other", "strict-other.example").await?;
    let (record, value) = world.challenge("strict", "other").await?;
    let (_, rival) = world.challenge("lenient", "other").await?;
    world.stage.dns.set_txt(&record, vec![vec![value], vec![rival]])?;
    world.nudge("lenient", "vd/other").await?;
    world.reason("lenient", "vd/other", "Verified", "DomainConflict").await?;
    class(world, "{allowPrivateSuffixes: true}").await?;
    world.reason("strict", "vd/other", "Verified", "SpecialUse").await?;
    world.reason("strict", "vd/other", "Stalled", "SpecialUse").await?;
    world.reason("lenient", "vd/other", "Verified", "RecordFound").await?;
    world.reason("strict", "vd/private", "Accepted", "Accepted").await?;
    // given back, it has to be proved first again
    class(world, "{allowSpecialUse: true}").await?;
    world.reason("strict", "vd/other", "Verified", "DomainConflict").await?;
    world.reason("strict", "vd/denied", "Accepted", "Accepted").await?;
    world.reason("strict", "vd/private", "Accepted", "PublicSuffix").await?;
    world.kubectl("delete vd --all -n strict").await.map(drop)
}
