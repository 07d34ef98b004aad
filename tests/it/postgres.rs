//! Which databases are taken for the ledger. What is relied on whatever the ledger is, `make test`
//! runs again with `ROLLCALL_TEST_LEDGER=postgres`.

use anyhow::ensure;
use rollcall::ledger::Ledger;
use rollcall_kit::postgres::Postgres;

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
