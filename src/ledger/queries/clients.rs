//! IdentityClasses, as the gateway needs them: their clients, and how long their tokens live.

use sqlx::FromRow;

use super::Ledger;
use crate::ledger::{
    Class, Client, Error, Result,
    db::{can_hold, query, query_as, query_scalar},
};

#[derive(FromRow)]
struct Row {
    id: String,
    redirect_uris: String,
    secret_hash: Option<Vec<u8>>,
    namespaces: Option<String>,
}

#[derive(FromRow)]
struct OfClass {
    class: String,
    #[sqlx(flatten)]
    row: Row,
}

impl Ledger {
    /// Publish a class. Writes nothing where that stands already.
    pub async fn put_class(&self, name: &str, class: &Class) -> Result<()> {
        if self.class(name).await?.as_ref() == Some(class) {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for statement in
            ["DELETE FROM clients WHERE class = $1", "DELETE FROM classes WHERE name = $1"]
        {
            query(statement).bind(name).execute(&mut tx).await?;
        }
        query("INSERT INTO classes (name, token_seconds) VALUES ($1, $2)")
            .bind(name)
            .bind(class.token_seconds)
            .execute(&mut tx)
            .await?;
        let json =
            |list: &[String]| serde_json::to_string(list).map_err(|_| Error::Corrupt("client"));
        for client in &class.clients {
            query(
                "INSERT INTO clients (class, id, redirect_uris, secret_hash, namespaces)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(name)
            .bind(&client.id)
            .bind(json(&client.redirect_uris)?)
            .bind(&client.secret_hash)
            .bind(client.namespaces.as_deref().map(json).transpose()?)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The class of this name, where it is published.
    pub async fn class(&self, name: &str) -> Result<Option<Class>> {
        let class = query_scalar("SELECT token_seconds FROM classes WHERE name = $1");
        let Some(token_seconds) = class.bind(name).fetch_optional(&self.db.read).await? else {
            return Ok(None);
        };
        let clients: Vec<Row> = query_as(
            "SELECT id, redirect_uris, secret_hash, namespaces FROM clients WHERE class = $1
             ORDER BY id",
        )
        .bind(name)
        .fetch_all(&self.db.read)
        .await?;
        let clients = clients.into_iter().map(client).collect::<Result<_>>()?;
        Ok(Some(Class { token_seconds, clients }))
    }

    /// The names of the published classes.
    pub async fn classes(&self) -> Result<Vec<String>> {
        Ok(query_scalar("SELECT name FROM classes ORDER BY name").fetch_all(&self.db.read).await?)
    }

    /// Forget a class: its clients get no more tokens.
    pub async fn delete_class(&self, name: &str) -> Result<()> {
        query("DELETE FROM classes WHERE name = $1").bind(name).write(&self.db.write).await?;
        Ok(())
    }

    /// The clients of this id, by class: before somebody has signed in nothing says which class is
    /// theirs.
    pub async fn clients_named(&self, id: &str) -> Result<Vec<(String, Client)>> {
        if !can_hold(id) {
            return Ok(vec![]);
        }
        let rows: Vec<OfClass> = query_as(
            "SELECT class, id, redirect_uris, secret_hash, namespaces FROM clients WHERE id = $1
             ORDER BY class",
        )
        .bind(id)
        .fetch_all(&self.db.read)
        .await?;
        rows.into_iter().map(|OfClass { class, row }| Ok((class, client(row)?))).collect()
    }
}

fn client(row: Row) -> Result<Client> {
    let list = |json: &str| serde_json::from_str(json).map_err(|_| Error::Corrupt("client"));
    Ok(Client {
        id: row.id,
        redirect_uris: list(&row.redirect_uris)?,
        secret_hash: row.secret_hash,
        namespaces: row.namespaces.as_deref().map(list).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::queries::tests::ledger;

    #[tokio::test]
    async fn a_class_is_replaced_with_its_clients() {
        let (_dir, ledger) = ledger().await;
        let client = |id: &str, namespaces: Option<Vec<String>>| Client {
            id: id.into(),
            redirect_uris: vec![format!("https://{id}.example/callback")],
            secret_hash: Some(vec![1; 32]),
            namespaces,
        };
        let two = vec![client("argocd", None), client("grafana", Some(vec!["acme".into()]))];
        let class = Class { token_seconds: 60, clients: two };
        ledger.put_class("default", &class).await.unwrap();
        ledger.put_class("default", &class).await.unwrap();
        assert_eq!(ledger.class("default").await.unwrap(), Some(class.clone()));
        let named = ledger.clients_named("grafana").await.unwrap();
        assert_eq!(named, [("default".to_owned(), class.clients[1].clone())]);
        let none = Class { token_seconds: 60, clients: vec![] };
        ledger.put_class("default", &none).await.unwrap();
        assert!(ledger.clients_named("grafana").await.unwrap().is_empty());
        ledger.delete_class("default").await.unwrap();
        assert_eq!(ledger.class("default").await.unwrap(), None);
        assert!(ledger.classes().await.unwrap().is_empty());
    }
}
