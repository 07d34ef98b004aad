//! Connections: the last good metadata of each, whom they let in, and which domain leads to which.

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Ledger,
    domains::{proof_of, registrable},
    note_change, seconds,
};
use crate::ledger::{
    Admit, Connection, Error, Matching, OpenConnection, Protocol, Result, Route, Rules, Topic,
    db::{Tx, can_hold, query, query_as, query_scalar},
};

#[derive(FromRow)]
struct Row {
    source: String,
    issuer: String,
    metadata: Vec<u8>,
    fetched_at: i64,
    request: Option<String>,
    withdrawn: bool,
}

#[derive(FromRow)]
struct RulesRow {
    class: String,
    admit: String,
    directory_id: Option<Uuid>,
    r#match: String,
    email_attribute: Option<String>,
    name_attribute: Option<String>,
    idp_initiated: bool,
    session_seconds: i64,
    private_endpoints: bool,
    client_id: Option<String>,
    client_secret: Option<Vec<u8>>,
    scopes: Option<String>,
}

#[derive(FromRow)]
struct OpenRow {
    organization_id: String,
    namespace: String,
    name: String,
    issuer: String,
    metadata: Vec<u8>,
    #[sqlx(flatten)]
    rules: RulesRow,
}

impl Ledger {
    pub async fn connection(&self, organization: &str, name: &str) -> Result<Option<Connection>> {
        let row: Option<Row> = query_as(
            "SELECT source, issuer, metadata, fetched_at, request, withdrawn FROM connections
             WHERE organization_id = $1 AND name = $2",
        )
        .bind(organization)
        .bind(name)
        .fetch_optional(&self.db.read)
        .await?;
        row.map(|row| {
            Ok(Connection {
                source: row.source,
                issuer: row.issuer,
                metadata: row.metadata,
                fetched_at: seconds(row.fetched_at)?,
                request: row.request,
                withdrawn: row.withdrawn,
            })
        })
        .transpose()
    }

    /// Keep a connection's metadata. A new connection lets nobody in before
    /// [`Ledger::publish_connection`]; one of another issuer forgets everybody it knew.
    pub async fn put_connection(
        &self,
        organization: &str,
        name: &str,
        connection: &Connection,
    ) -> Result<()> {
        query(
            "INSERT INTO connections
                 (organization_id, name, source, issuer, metadata, fetched_at, request)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (organization_id, name) DO UPDATE SET source = excluded.source,
                 issuer = excluded.issuer, metadata = excluded.metadata,
                 fetched_at = excluded.fetched_at, request = excluded.request",
        )
        .bind(organization)
        .bind(name)
        .bind(&connection.source)
        .bind(&connection.issuer)
        .bind(&connection.metadata)
        .bind(connection.fetched_at.as_second())
        .bind(&connection.request)
        .write(&self.db.write)
        .await?;
        Ok(())
    }

    /// Let people in by a connection: those that `rules` say, of these canonical domains, in
    /// order. Writes nothing where that stands already.
    pub async fn publish_connection(
        &self,
        organization: &str,
        name: &str,
        rules: &Rules,
        domains: &[String],
    ) -> Result<()> {
        let standing = self.open_connection_of(organization, name).await?;
        if standing.is_some_and(|open| open.rules == *rules)
            && self.domains_of_connection(organization, name).await? == domains
        {
            return Ok(());
        }
        let (client_id, client_secret, scopes) = match &rules.protocol {
            Protocol::Saml => (None, None, None),
            Protocol::Oidc { client_id, client_secret, scopes } => {
                (Some(client_id), Some(client_secret), Some(scopes.join(" ")))
            }
        };
        let mut tx = self.begin().await?;
        query(
            "UPDATE connections SET withdrawn = false, class = $1, admit = $2,
                 directory_id = (SELECT id FROM directories WHERE id = $3), match = $4,
                 email_attribute = $5, name_attribute = $6, idp_initiated = $7, session_seconds = $8,
                 private_endpoints = $9, client_id = $10, client_secret = $11, scopes = $12
             WHERE organization_id = $13 AND name = $14",
        )
        .bind(&rules.class)
        .bind(admit_name(rules.admit))
        .bind(rules.directory)
        .bind(matching_name(rules.matching))
        .bind(&rules.email_attribute)
        .bind(&rules.name_attribute)
        .bind(rules.idp_initiated)
        .bind(rules.session_seconds)
        .bind(rules.private_endpoints)
        .bind(client_id)
        .bind(client_secret)
        .bind(scopes)
        .bind(organization)
        .bind(name)
        .execute(&mut tx)
        .await?;
        query("DELETE FROM connection_domains WHERE organization_id = $1 AND connection = $2")
            .bind(organization)
            .bind(name)
            .execute(&mut tx)
            .await?;
        for domain in domains {
            // two connections that name one domain: the elder had it first
            query(
                "INSERT INTO connection_domains (organization_id, domain, connection)
                 SELECT $1, $2, name FROM connections WHERE organization_id = $1 AND name = $3
                 ON CONFLICT DO NOTHING",
            )
            .bind(organization)
            .bind(domain)
            .bind(name)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn domains_of_connection(&self, organization: &str, name: &str) -> Result<Vec<String>> {
        let domains = query_scalar(
            "SELECT domain FROM connection_domains WHERE organization_id = $1 AND connection = $2
             ORDER BY domain",
        );
        Ok(domains.bind(organization).bind(name).fetch_all(&self.db.read).await?)
    }

    /// Nobody signs in by it for now, and none of its sessions is renewed; who is known by it is
    /// kept. Its domains are free for another.
    pub async fn withdraw_connection(&self, organization: &str, name: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        for statement in [
            "UPDATE connections SET withdrawn = true
             WHERE organization_id = $1 AND name = $2 AND NOT withdrawn",
            "DELETE FROM connection_domains WHERE organization_id = $1 AND connection = $2",
        ] {
            query(statement).bind(organization).bind(name).execute(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Nobody signs in by it any more, and its sessions end.
    pub async fn delete_connection(&self, organization: &str, name: &str) -> Result<()> {
        query("DELETE FROM connections WHERE organization_id = $1 AND name = $2")
            .bind(organization)
            .bind(name)
            .write(&self.db.write)
            .await?;
        Ok(())
    }

    /// Where people with this canonical e-mail domain sign in: only by the connection that has the
    /// domain whose proof decides over theirs, and only while it is open.
    pub async fn route(&self, domain: &str) -> Result<Option<Route>> {
        let route: Option<(String, String, String)> = query_as(concat!(
            "SELECT o.id, o.name, c.name FROM ",
            proof_of!("$1", "$2"),
            " proof
             JOIN connection_domains cd ON cd.organization_id = proof.organization_id
                 AND cd.domain = proof.domain
             JOIN connections c ON c.organization_id = cd.organization_id
                 AND c.name = cd.connection AND NOT c.withdrawn
             JOIN organizations o ON o.id = cd.organization_id AND o.name IS NOT NULL",
        ))
        .bind(domain)
        .bind(registrable(domain))
        .fetch_optional(&self.db.read)
        .await?;
        Ok(route.map(|(organization, namespace, connection)| Route {
            organization,
            namespace,
            connection,
        }))
    }

    /// The connection of the organization in this namespace, if people may sign in by it now.
    pub async fn open_connection(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<OpenConnection>> {
        match self.organization_named(namespace).await? {
            Some(organization) => self.open_connection_of(&organization, name).await,
            None => Ok(None),
        }
    }

    /// The connection of the organization with this id, if people may sign in by it now.
    pub async fn open_connection_of(
        &self,
        organization: &str,
        name: &str,
    ) -> Result<Option<OpenConnection>> {
        if !can_hold(name) {
            return Ok(None);
        }
        let row: Option<OpenRow> = query_as(
            "SELECT c.organization_id, o.name AS namespace, c.name, c.issuer, c.metadata, c.class,
                 c.admit, c.directory_id, c.match, c.email_attribute, c.name_attribute,
                 c.idp_initiated, c.session_seconds, c.private_endpoints, c.client_id, c.client_secret, c.scopes
             FROM connections c
             JOIN organizations o ON o.id = c.organization_id AND o.name IS NOT NULL
             WHERE c.organization_id = $1 AND c.name = $2 AND NOT c.withdrawn",
        )
        .bind(organization)
        .bind(name)
        .fetch_optional(&self.db.read)
        .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// Midnight UTC of the day of the last sign-in.
    pub async fn last_sign_in(&self, organization: &str, name: &str) -> Result<Option<Timestamp>> {
        let day: Option<Option<i64>> = query_scalar(
            "SELECT last_sign_in_day FROM connections WHERE organization_id = $1 AND name = $2",
        )
        .bind(organization)
        .bind(name)
        .fetch_optional(&self.db.read)
        .await?;
        day.flatten().map(|day| seconds(day.saturating_mul(86_400))).transpose()
    }
}

/// Keep the day of the last sign-in, and tell the other side of the first of a day.
pub(super) async fn note_sign_in(
    tx: &mut Tx,
    organization: &str,
    name: &str,
    now: Timestamp,
) -> Result<()> {
    let first = query(
        "UPDATE connections SET last_sign_in_day = $1
         WHERE organization_id = $2 AND name = $3 AND coalesce(last_sign_in_day, -1) < $1",
    )
    .bind(now.as_second().div_euclid(86_400))
    .bind(organization)
    .bind(name)
    .execute(&mut *tx)
    .await?;
    if first > 0 {
        note_change(tx, Topic::Connection, organization, name).await?;
    }
    Ok(())
}

impl TryFrom<OpenRow> for OpenConnection {
    type Error = Error;

    fn try_from(row: OpenRow) -> Result<Self> {
        Ok(Self {
            route: Route {
                organization: row.organization_id,
                namespace: row.namespace,
                connection: row.name,
            },
            issuer: row.issuer,
            metadata: row.metadata,
            rules: row.rules.try_into()?,
        })
    }
}

impl TryFrom<RulesRow> for Rules {
    type Error = Error;

    fn try_from(row: RulesRow) -> Result<Self> {
        let protocol = match (row.client_id, row.client_secret) {
            (None, None) => Protocol::Saml,
            (Some(client_id), Some(client_secret)) => {
                let scopes = row.scopes.unwrap_or_default();
                let scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
                Protocol::Oidc { client_id, client_secret, scopes }
            }
            _ => return Err(Error::Corrupt("connection")),
        };
        Ok(Self {
            class: row.class,
            protocol,
            admit: parse_admit(&row.admit)?,
            directory: row.directory_id,
            matching: parse_matching(&row.r#match)?,
            email_attribute: row.email_attribute,
            name_attribute: row.name_attribute,
            idp_initiated: row.idp_initiated,
            session_seconds: row.session_seconds,
            private_endpoints: row.private_endpoints,
        })
    }
}

fn admit_name(admit: Admit) -> &'static str {
    match admit {
        Admit::DirectoryOnly => "DirectoryOnly",
        Admit::JustInTime => "JustInTime",
    }
}

pub(super) fn parse_admit(name: &str) -> Result<Admit> {
    match name {
        "DirectoryOnly" => Ok(Admit::DirectoryOnly),
        "JustInTime" => Ok(Admit::JustInTime),
        _ => Err(Error::Corrupt("admit")),
    }
}

fn matching_name(matching: Matching) -> &'static str {
    match matching {
        Matching::UserName => "userName",
        Matching::ExternalId => "externalId",
        Matching::Email => "email",
    }
}

fn parse_matching(name: &str) -> Result<Matching> {
    match name {
        "userName" => Ok(Matching::UserName),
        "externalId" => Ok(Matching::ExternalId),
        "email" => Ok(Matching::Email),
        _ => Err(Error::Corrupt("match")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        Proof,
        tests::{Place, ledger},
    };

    fn metadata(text: &str) -> Connection {
        Connection {
            source: "https://idp.example/metadata".into(),
            issuer: "https://idp.example".into(),
            metadata: text.into(),
            fetched_at: Timestamp::from_second(7).unwrap(),
            request: Some("now".into()),
            withdrawn: true,
        }
    }

    fn rules() -> Rules {
        Rules {
            class: "default".into(),
            protocol: Protocol::Oidc {
                client_id: "rollcall".into(),
                client_secret: b"sealed".to_vec(),
                scopes: vec!["email".into(), "profile".into()],
            },
            admit: Admit::JustInTime,
            directory: None,
            matching: Matching::ExternalId,
            email_attribute: Some("mail".into()),
            name_attribute: None,
            idp_initiated: true,
            session_seconds: 60,
            private_endpoints: false,
        }
    }

    async fn acme_and_globex() -> (Place, Ledger) {
        let (dir, ledger) = ledger().await;
        for (id, name) in [("a", "acme"), ("b", "globex")] {
            ledger.name_organization(id, name, Timestamp::UNIX_EPOCH).await.unwrap();
            ledger.put_connection(id, "okta", &metadata(&format!("<{id}/>"))).await.unwrap();
        }
        (dir, ledger)
    }

    #[tokio::test]
    async fn a_connection_is_replaced_and_deleted_within_its_organization() {
        let (_dir, ledger) = acme_and_globex().await;
        ledger.put_connection("a", "okta", &metadata("<c/>")).await.unwrap();
        assert_eq!(ledger.connection("a", "okta").await.unwrap(), Some(metadata("<c/>")));
        ledger.delete_connection("a", "okta").await.unwrap();
        assert_eq!(ledger.connection("a", "okta").await.unwrap(), None);
        assert_eq!(ledger.connection("b", "okta").await.unwrap(), Some(metadata("<b/>")));
    }

    #[tokio::test]
    async fn a_connection_is_open_from_when_it_is_published_until_it_is_withdrawn() {
        let (_dir, ledger) = acme_and_globex().await;
        assert_eq!(ledger.open_connection("acme", "okta").await.unwrap(), None);
        ledger.publish_connection("a", "okta", &rules(), &[]).await.unwrap();
        let open = ledger.open_connection("acme", "okta").await.unwrap().unwrap();
        assert_eq!((open.rules, open.metadata), (rules(), b"<a/>".to_vec()));
        let saml = Rules { protocol: Protocol::Saml, ..rules() };
        ledger.publish_connection("a", "okta", &saml, &[]).await.unwrap();
        assert_eq!(ledger.open_connection_of("a", "okta").await.unwrap().unwrap().rules, saml);
        assert_eq!(ledger.open_connection("globex", "okta").await.unwrap(), None);
        ledger.withdraw_connection("a", "okta").await.unwrap();
        assert_eq!(ledger.open_connection_of("a", "okta").await.unwrap(), None);
        ledger.put_connection("a", "okta", &metadata("<c/>")).await.unwrap();
        assert_eq!(
            ledger.open_connection_of("a", "okta").await.unwrap(),
            None,
            "metadata alone opens nothing"
        );
    }

    #[tokio::test]
    async fn a_domain_leads_to_its_owners_open_connection_alone() {
        let (_dir, ledger) = acme_and_globex().await;
        let domains = ["acme.com".to_owned()];
        for id in ["a", "b"] {
            ledger.publish_connection(id, "okta", &rules(), &domains).await.unwrap();
        }
        assert_eq!(ledger.route("acme.com").await.unwrap(), None, "nobody owns it");
        let now = Timestamp::UNIX_EPOCH;
        ledger.claim("a", "acme.com", now).await.unwrap();
        ledger.record_proof("a", "acme.com", Proof::Seen, now).await.unwrap();
        let route = ledger.route("acme.com").await.unwrap().unwrap();
        assert_eq!((route.namespace.as_str(), route.connection.as_str()), ("acme", "okta"));
        assert_eq!(ledger.route("acme.org").await.unwrap(), None);
        ledger.publish_connection("a", "okta", &rules(), &[]).await.unwrap();
        assert_eq!(ledger.route("acme.com").await.unwrap(), None, "it was taken from it");
        ledger.publish_connection("a", "okta", &rules(), &domains).await.unwrap();
        ledger.withdraw_connection("a", "okta").await.unwrap();
        assert_eq!(ledger.route("acme.com").await.unwrap(), None, "it is withdrawn");
    }

    #[tokio::test]
    async fn a_withdrawn_connection_leaves_its_domains_to_another() {
        let (_dir, ledger) = acme_and_globex().await;
        let (domains, now) = (["acme.com".to_owned()], Timestamp::UNIX_EPOCH);
        ledger.claim("a", "acme.com", now).await.unwrap();
        ledger.record_proof("a", "acme.com", Proof::Seen, now).await.unwrap();
        ledger.put_connection("a", "entra", &metadata("<e/>")).await.unwrap();
        for name in ["okta", "entra"] {
            ledger.publish_connection("a", name, &rules(), &domains).await.unwrap();
        }
        assert_eq!(ledger.route("acme.com").await.unwrap().unwrap().connection, "okta");
        ledger.withdraw_connection("a", "okta").await.unwrap();
        ledger.publish_connection("a", "entra", &rules(), &domains).await.unwrap();
        assert_eq!(ledger.route("acme.com").await.unwrap().unwrap().connection, "entra");
    }

    #[tokio::test]
    async fn the_first_sign_in_of_a_day_is_told() {
        let (_dir, ledger) = acme_and_globex().await;
        let at = |second| Timestamp::from_second(second).unwrap();
        for second in [90_000, 90_001] {
            let mut tx = ledger.begin().await.unwrap();
            note_sign_in(&mut tx, "a", "okta", at(second)).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(ledger.last_sign_in("a", "okta").await.unwrap(), Some(at(86_400)));
        assert_eq!(ledger.last_sign_in("b", "okta").await.unwrap(), None);
        let changes = ledger.changes_since(0).await.unwrap();
        assert_eq!(changes.iter().filter(|c| c.topic == Topic::Connection).count(), 1);
        assert_eq!(changes.last().map(|c| c.seq), Some(1));
    }
}
