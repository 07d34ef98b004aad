//! Teams: the groups they stand for, and the one query that says which teams a person is in.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Ledger, nesting::walk};
use crate::ledger::{
    Error, Globs, Group, Match, Matcher, Result, Selector,
    db::{On, QueryAs, Tx, query, query_as, query_scalar},
};

/// How many groups of one name or externalId are looked at: nobody means one of so many.
const MOST: i64 = 1000;

impl Ledger {
    /// The groups of a directory, by name.
    pub async fn groups(&self, directory: Uuid) -> Result<Vec<Group>> {
        let groups = query_as(
            "SELECT id, display_name, external_id FROM directory_groups WHERE directory_id = $1
             ORDER BY display_name, id",
        );
        groups.bind(directory).fetch_all(&self.db.read).await
    }

    /// The groups that the organization's teams stand for, by team.
    pub async fn groups_of_teams(&self, organization: &str) -> Result<BTreeMap<String, Uuid>> {
        let teams: Vec<(String, Uuid)> = query_as(
            "SELECT name, group_id FROM teams WHERE organization_id = $1 AND group_id IS NOT NULL",
        )
        .bind(organization)
        .fetch_all(&self.db.read)
        .await?;
        Ok(teams.into_iter().collect())
    }

    /// Publish a team and find its group. A name is pinned to the group it first matched, for as
    /// long as that group exists, the directory lets teams stand for it, and the team names it in
    /// the same way.
    ///
    /// `accepted` is whether membership counts.
    pub async fn put_team(
        &self,
        organization: &str,
        name: &str,
        directory: Uuid,
        selector: &Selector,
        accepted: bool,
    ) -> Result<Match> {
        let text = selector_text(selector);
        let key: Option<(Uuid, String, Option<Uuid>, bool)> = query_as(
            "SELECT directory_id, selector, group_id, accepted FROM teams
             WHERE organization_id = $1 AND name = $2",
        )
        .bind(organization)
        .bind(name)
        .fetch_optional(&self.db.read)
        .await?;
        let mut reader = self.db.read.begin().await?;
        let pinned = match &key {
            Some((d, s, Some(group), _)) if *d == directory && *s == text => Some(*group),
            _ => None,
        };
        let globs: String = query_scalar("SELECT globs FROM directories WHERE id = $1")
            .bind(directory)
            .fetch_one(&mut reader)
            .await?;
        let globs: Globs = serde_json::from_str(&globs).map_err(|_| Error::Corrupt("globs"))?;
        let globs = globs.matcher();
        let mut found = self.find_group(&mut reader, directory, &globs, selector, pinned).await?;
        if pinned.is_some() && matches!(found, Match::LeftOut(_)) {
            found = self.find_group(&mut reader, directory, &globs, selector, None).await?;
        }
        drop(reader);
        let group = match &found {
            Match::Found { group, .. } => Some(group.id),
            Match::NotFound | Match::LeftOut(_) | Match::Ambiguous(_) => None,
        };
        if key != Some((directory, text.clone(), group, accepted)) {
            query(
                "INSERT INTO teams (organization_id, name, directory_id, selector, group_id, accepted)
                 VALUES ($1, $2, $3, $4, (SELECT id FROM directory_groups WHERE id = $5), $6)
                 ON CONFLICT (organization_id, name) DO UPDATE SET
                     directory_id = excluded.directory_id, selector = excluded.selector,
                     group_id = excluded.group_id, accepted = excluded.accepted",
            )
            .bind(organization)
            .bind(name)
            .bind(directory)
            .bind(text)
            .bind(group)
            .bind(accepted)
            .write(&self.db.write)
            .await?;
            // nobody is told of who came or went before a team stood for the group
            if let Match::Found { group, active_members } = &mut found {
                let mut reader = self.db.read.begin().await?;
                *active_members = self.member_counts.anew(&mut reader, directory, group.id).await?;
            }
        }
        Ok(found)
    }

    /// Nobody is in this team for now; the group it is pinned to is kept.
    pub async fn withdraw_team(&self, organization: &str, name: &str) -> Result<()> {
        query(
            "UPDATE teams SET accepted = false WHERE organization_id = $1 AND name = $2 AND accepted",
        )
        .bind(organization)
        .bind(name)
        .write(&self.db.write)
        .await?;
        Ok(())
    }

    /// Nobody is in this team any more.
    pub async fn delete_team(&self, organization: &str, name: &str) -> Result<()> {
        query("DELETE FROM teams WHERE organization_id = $1 AND name = $2")
            .bind(organization)
            .bind(name)
            .write(&self.db.write)
            .await?;
        Ok(())
    }

    /// The teams of a person, as tokens carry them: `<organization>:<team>`, in order; by their
    /// groups, the groups those are in, and so on. Empty for who is not active, or whose directory
    /// is deleted.
    pub async fn teams_of_person(&self, person: Uuid) -> Result<Vec<String>> {
        teams_of_person(&self.db.read, person).await
    }

    async fn find_group(
        &self,
        reader: &mut Tx,
        directory: Uuid,
        globs: &Matcher,
        selector: &Selector,
        pinned: Option<Uuid>,
    ) -> Result<Match> {
        let query = match (pinned, selector) {
            (Some(id), _) => by_id(directory, id),
            (None, Selector::Id(id)) => match id.parse() {
                Ok(id) => by_id(directory, id),
                Err(_) => return Ok(Match::NotFound),
            },
            (None, Selector::DisplayName(name)) => by(directory, "display_name", name),
            (None, Selector::ExternalId(id)) => by(directory, "external_id", id),
        };
        let mut groups: Vec<Group> = query.fetch_all(&mut *reader).await?;
        let left_out = groups.iter().find(|group| !globs.matches(&group.display_name)).cloned();
        groups.retain(|group| globs.matches(&group.display_name));
        let Some(group) = groups.pop() else {
            return Ok(left_out.map_or(Match::NotFound, |group| Match::LeftOut(group.display_name)));
        };
        if !groups.is_empty() {
            return Ok(Match::Ambiguous(groups.len() + 1));
        }
        let active_members = self.member_counts.of(reader, directory, group.id).await?;
        Ok(Match::Found { group, active_members })
    }
}

pub(super) async fn teams_of_person(on: impl Into<On<'_>>, person: Uuid) -> Result<Vec<String>> {
    let teams = query_scalar(walk!(
        up,
        "SELECT group_id FROM memberships WHERE person_id = $1",
        "SELECT DISTINCT o.name || ':' || t.name
         FROM people p
         JOIN directories d ON d.id = p.directory_id AND d.deleted_at IS NULL
         JOIN organizations o ON o.id = d.organization_id AND o.name IS NOT NULL
         CROSS JOIN walk
         JOIN teams t ON t.group_id = walk.id AND t.accepted
             AND t.organization_id = o.id AND t.directory_id = d.id
         WHERE p.id = $1 AND p.active
         ORDER BY 1"
    ));
    teams.bind(person).fetch_all(on).await
}

fn selector_text(selector: &Selector) -> String {
    match selector {
        Selector::Id(id) => format!("id={id}"),
        Selector::DisplayName(name) => format!("displayName={name}"),
        Selector::ExternalId(id) => format!("externalId={id}"),
    }
}

fn by_id(directory: Uuid, id: Uuid) -> QueryAs<Group> {
    query_as(
        "SELECT id, display_name, external_id FROM directory_groups WHERE directory_id = $1 AND id = $2",
    )
    .bind(directory)
    .bind(id)
}

/// The groups of which a column says this; not all of very many.
fn by(directory: Uuid, column: &'static str, value: &str) -> QueryAs<Group> {
    query_as(AssertSqlSafe(format!(
        "SELECT id, display_name, external_id FROM directory_groups
         WHERE directory_id = $1 AND {column} = $2 ORDER BY id LIMIT $3"
    )))
    .bind(directory)
    .bind(value)
    .bind(MOST)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::ledger::{
        Match, Selector, Topic,
        db::{Dialect, query},
        fixture::{ACME, Acme, group},
    };

    /// The team's row with what comes in the same moment, after its members were counted.
    #[tokio::test]
    async fn who_comes_while_a_team_is_made_counts_in_it() {
        let acme = Acme::new().await;
        let fields = group("Staff");
        let members = [acme.ada, acme.grace];
        acme.ledger.create_group(&acme.scim, &fields, &members, acme.now).await.unwrap();
        acme.set_active(acme.grace, "grace", false).await;
        let mut tx = acme.ledger.begin().await.unwrap();
        let comes = match acme.ledger.db.dialect() {
            Dialect::Sqlite => {
                "CREATE TRIGGER comes AFTER INSERT ON teams BEGIN UPDATE people SET active = 1; END"
            }
            Dialect::Postgres => {
                "CREATE FUNCTION comes() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN UPDATE people SET active = true; RETURN NULL; END $$;
                 CREATE TRIGGER comes AFTER INSERT ON teams FOR EACH ROW EXECUTE FUNCTION comes()"
            }
        };
        tx.run(comes).await.unwrap();
        tx.commit().await.unwrap();
        let staff = Selector::DisplayName("Staff".into());
        let found =
            acme.ledger.put_team(ACME, "staff", acme.directory, &staff, true).await.unwrap();
        assert!(matches!(found, Match::Found { active_members: 2, .. }), "{found:?}");
    }

    #[tokio::test]
    async fn the_other_side_hears_of_each_group_that_a_change_concerns() {
        let acme = Acme::new().await;
        let mut seen = 0;
        // the groups of which that is told, and nothing else
        let mut heard = async |topic: Topic| {
            let mut changes = acme.ledger.changes_since(seen).await.unwrap();
            seen = acme.ledger.latest_change().await.unwrap();
            changes.retain(|change| [Topic::Group, Topic::Members].contains(&change.topic));
            assert!(changes.iter().all(|change| change.topic == topic), "{changes:?}");
            changes.into_iter().map(|change| change.name).collect::<Vec<_>>()
        };
        let mut ids = vec![];
        for members in [vec![acme.ada], vec![acme.ada, acme.grace]] {
            let fields = group("Staff");
            let made = acme.ledger.create_group(&acme.scim, &fields, &members, acme.now).await;
            ids.push(made.unwrap().0.simple().to_string());
        }
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(heard(Topic::Group).await), ids);
        // no team stands for them yet: who counts in them concerns nobody, but their names do
        acme.set_active(acme.grace, "grace", false).await;
        assert!(heard(Topic::Members).await.is_empty());
        for (column, value) in [("external_id", "x"), ("display_name", "Crew")] {
            let rename = format!("UPDATE directory_groups SET {column} = $1");
            let rename = query(sqlx::AssertSqlSafe(rename)).bind(value);
            rename.write(&acme.ledger.db.write).await.unwrap();
            assert_eq!(sorted(heard(Topic::Group).await), ids, "{column}");
        }
        let stand = async |id: &str| {
            let selector = Selector::Id(id.parse::<Uuid>().unwrap().to_string());
            let put = acme.ledger.put_team(ACME, id, acme.directory, &selector, true).await;
            put.unwrap()
        };
        for id in &ids {
            let found = stand(id).await;
            assert!(matches!(found, Match::Found { active_members: 1, .. }), "{found:?}");
        }
        acme.set_active(acme.grace, "grace", true).await;
        assert_eq!(heard(Topic::Members).await, ids[1..]);
        acme.ledger.delete_person(&acme.scim, acme.ada, None, acme.now).await.unwrap();
        assert_eq!(sorted(heard(Topic::Members).await), ids);
        query("UPDATE directory_groups SET version = version + 1")
            .write(&acme.ledger.db.write)
            .await
            .unwrap();
        assert_eq!(sorted(heard(Topic::Members).await), ids);
        // a group that is in another, in which grace therefore counts
        let fields = group("Everybody");
        let within = [Uuid::parse_str(&ids[1]).unwrap()];
        let made = acme.ledger.create_group(&acme.scim, &fields, &within, acme.now).await;
        ids.push(made.unwrap().0.simple().to_string());
        assert_eq!(heard(Topic::Group).await, ids[2..]);
        stand(&ids[2]).await;
        acme.set_active(acme.grace, "grace", false).await;
        assert_eq!(sorted(heard(Topic::Members).await), ids[1..]);
        acme.set_active(acme.grace, "grace", true).await;
        assert_eq!(sorted(heard(Topic::Members).await), ids[1..]);
        acme.ledger.delete_team(ACME, &ids[1]).await.unwrap();
        acme.ledger.delete_person(&acme.scim, acme.grace, None, acme.now).await.unwrap();
        assert_eq!(
            sorted(heard(Topic::Members).await),
            ids[2..],
            "the one above, where a team stands still"
        );
        // what is purged of a deleted directory concerns nobody
        acme.ledger.delete_directory(ACME, "okta", acme.now).await.unwrap();
        acme.ledger.purge_directories(acme.later(1)).await.unwrap();
        assert!(heard(Topic::Members).await.is_empty());
        acme.ledger.forget_changes(i64::MAX).await.unwrap();
        assert!(
            acme.ledger.changes_since(0).await.unwrap().iter().all(|c| ![
                Topic::Group,
                Topic::Members
            ]
            .contains(&c.topic))
        );
    }
}
