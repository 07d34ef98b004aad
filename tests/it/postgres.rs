//! What users may rely on holds with the ledger in PostgreSQL as it does with a file.

use rollcall_kit::story::play;

use crate::{scim, world::World};

#[tokio::test]
async fn a_company_moves_in_and_the_standard_is_kept_with_the_ledger_in_postgresql()
-> anyhow::Result<()> {
    let mut world = World::on_postgres().await?;
    play(&world.control_plane, &world.stage, &|_| {}).await?;
    scim::judge(&world).await?;
    // what was there is there still
    world.stage.stop().await?;
    world.stage.run().await?;
    world.reason("acme", "dteam/engineering", "GroupFound", "Found").await?;
    let people = world.stage.rollcall(&["people", "-n", "acme", "grace@acme.example"])?;
    anyhow::ensure!(people.contains("active"), "{people}");
    anyhow::ensure!(!world.stage.logs()?.contains("postgres://"), "the URL is in the log");
    Ok(())
}
