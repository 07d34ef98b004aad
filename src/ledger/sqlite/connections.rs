//! The last good metadata of each connection.

use super::{Ledger, seconds};
use crate::ledger::{Connection, Result};

#[derive(sqlx::FromRow)]
struct Row {
    source: String,
    metadata: Vec<u8>,
    fetched_at: i64,
    request: Option<String>,
    withdrawn: bool,
}

impl Ledger {
    pub async fn connection(&self, organization: &str, name: &str) -> Result<Option<Connection>> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT source, metadata, fetched_at, request, withdrawn FROM connections
             WHERE organization_id = ? AND name = ?",
        )
        .bind(organization)
        .bind(name)
        .fetch_optional(&self.read)
        .await?;
        row.map(|row| {
            Ok(Connection {
                source: row.source,
                metadata: row.metadata,
                fetched_at: seconds(row.fetched_at)?,
                request: row.request,
                withdrawn: row.withdrawn,
            })
        })
        .transpose()
    }

    pub async fn put_connection(
        &self,
        organization: &str,
        name: &str,
        connection: &Connection,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO connections 
                 (organization_id, name, source, metadata, fetched_at, request)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (organization_id, name) DO UPDATE SET source = excluded.source,
                 metadata = excluded.metadata, fetched_at = excluded.fetched_at,
                 request = excluded.request, withdrawn = 0",
        )
        .bind(organization)
        .bind(name)
        .bind(&connection.source)
        .bind(&connection.metadata)
        .bind(connection.fetched_at.as_second())
        .bind(&connection.request)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Nobody signs in by it for now; what is known of it is kept.
    pub async fn withdraw_connection(&self, organization: &str, name: &str) -> Result<()> {
        sqlx::query(
            "UPDATE connections SET withdrawn = 1
             WHERE organization_id = ? AND name = ? AND withdrawn = 0",
        )
        .bind(organization)
        .bind(name)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Nobody signs in by it any more.
    pub async fn delete_connection(&self, organization: &str, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM connections WHERE organization_id = ? AND name = ?")
            .bind(organization)
            .bind(name)
            .execute(&self.write)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::tests::ledger;
    use jiff::Timestamp;

    #[tokio::test]
    async fn a_connection_is_replaced_and_deleted_within_its_organization() {
        let (_dir, ledger) = ledger().await;
        for (id, name) in [("a", "acme"), ("b", "globex")] {
            ledger.name_organization(id, name, Timestamp::UNIX_EPOCH).await.unwrap();
        }
        let metadata = |text: &str| Connection {
            source: "https://idp.example/metadata".into(),
            metadata: text.into(),
            fetched_at: Timestamp::from_second(7).unwrap(),
            request: Some("now".into()),
            withdrawn: false,
        };
        ledger.put_connection("a", "okta", &metadata("<a/>")).await.unwrap();
        ledger.put_connection("b", "okta", &metadata("<b/>")).await.unwrap();
        ledger.put_connection("a", "okta", &metadata("<c/>")).await.unwrap();
        assert_eq!(ledger.connection("a", "okta").await.unwrap(), Some(metadata("<c/>")));
        ledger.withdraw_connection("a", "okta").await.unwrap();
        assert!(ledger.connection("a", "okta").await.unwrap().unwrap().withdrawn);
        ledger.delete_connection("a", "okta").await.unwrap();
        assert_eq!(ledger.connection("a", "okta").await.unwrap(), None);
        assert_eq!(ledger.connection("b", "okta").await.unwrap(), Some(metadata("<b/>")));
    }
}
