//! What a company IdP may rely on, as others judge it.

use anyhow::ensure;
use rollcall_kit::scim_tester;

use crate::world::World;

#[tokio::test]
async fn the_scim_server_does_what_the_standard_says() -> anyhow::Result<()> {
    let world = World::shared().await?;
    world.directory("judged", "{source: {scim: {}}}").await?;
    let (_, endpoint, token) = world.stage.scim(&world.control_plane, "judged", "idp").await?;
    let checks = scim_tester::check(&endpoint, &token, &world.stage.ca_pem).await?;
    let good = ["SUCCESS", "COMPLIANT", "ACCEPTABLE"];
    let (good, bad): (Vec<_>, Vec<_>) =
        checks.iter().partition(|check| good.contains(&check.status.as_str()));
    ensure!(bad.is_empty(), "{bad:#?}");
    // a judge that looks at nothing finds no fault
    ensure!(good.len() >= 130, "{} checks", good.len());
    for (resource, least) in [("User", 60), ("Group", 15)] {
        let of = good.iter().filter(|check| check.resource.as_deref() == Some(resource)).count();
        ensure!(of >= least, "{of} checks of {resource}");
    }
    Ok(())
}
