//! What users may rely on holds with the ledger in PostgreSQL as it does with a file.

use anyhow::ensure;
use rollcall::ledger::Ledger;
use rollcall_kit::{postgres::Postgres, story::play};

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
    ensure!(people.contains("active"), "{people}");
    ensure!(!world.stage.logs()?.contains("postgres://"), "the URL is in the log");
    Ok(())
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_name_is_refused() -> anyhow::Result<()> {
    let postgres = Postgres::shared().await?;
    let latin = postgres.database_with("TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")?;
    let Err(error) = Ledger::open(&latin.url.parse()?).await else {
        anyhow::bail!("it was taken");
    };
    ensure!(error.to_string().ends_with("its database isn't in UTF8"), "{error}");
    Ok(())
}
