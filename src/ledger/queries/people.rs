//! People, as those who ask about them see them.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Ledger, nesting::walk, seconds};
use crate::ledger::{
    Person, Result,
    db::{query_as, query_scalar},
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    directory: String,
    user_name: String,
    email: Option<String>,
    active: bool,
    active_since: i64,
}

impl Ledger {
    /// The people of the organization in the namespace `organization` whose e-mail or userName is
    /// `who`, without regard to case: one for each directory that has them.
    pub async fn people(&self, organization: &str, who: &str) -> Result<Vec<Person>> {
        let rows: Vec<Row> = query_as(
            "SELECT p.id, d.name AS directory, p.user_name, p.email, p.active, p.active_since
             FROM people p
             JOIN directories d ON d.id = p.directory_id AND d.deleted_at IS NULL
             JOIN organizations o ON o.id = d.organization_id
             WHERE o.name = $1 AND (p.user_name_key = $2 OR p.email = $3)
             ORDER BY d.name, p.user_name",
        )
        .bind(organization)
        .bind(who.to_lowercase())
        .bind(who.to_ascii_lowercase())
        .fetch_all(&self.db.read)
        .await?;
        let mut people = Vec::with_capacity(rows.len());
        for row in rows {
            let groups = query_scalar(walk!(
                up,
                "SELECT group_id FROM memberships WHERE person_id = $1",
                "SELECT g.display_name FROM walk JOIN directory_groups g ON g.id = walk.id
                 ORDER BY g.display_name"
            ));
            people.push(Person {
                id: row.id,
                directory: row.directory,
                user_name: row.user_name,
                email: row.email,
                active: row.active,
                active_since: seconds(row.active_since)?,
                groups: groups.bind(row.id).fetch_all(&self.db.read).await?,
                teams: self.teams_of_person(row.id).await?,
            });
        }
        Ok(people)
    }
}
