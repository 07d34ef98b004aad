//! What `rollcall why` asks of the ledger: each link of somebody's way to access.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::{
    Ledger,
    connections::{open_connection, parse_admit},
    domains::{proof_of, registrable},
    email_owner,
    nesting::walk,
    seconds,
};
use crate::ledger::{
    Door, Error, Globs, GroupReach, Obstacle, Reach, Result, WayIn,
    db::{query_as, query_scalar},
};

/// A group of somebody, with one of the teams that stand for it.
#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    globs: String,
    team: Option<String>,
    accepted: Option<bool>,
}

impl Ledger {
    /// How people of the e-mail domain `domain`, canonical, come in to the organization with this
    /// id: by the name of its own whose proof covers that, else by the domain itself.
    pub async fn way_in(&self, organization: &str, domain: &str) -> Result<WayIn> {
        let covered_by: Option<String> = query_scalar(concat!(
            "SELECT domain FROM ",
            proof_of!("$1", "$2"),
            " proof WHERE organization_id = $3",
        ))
        .bind(domain)
        .bind(registrable(domain))
        .bind(organization)
        .fetch_optional(&self.db.read)
        .await?;
        let domain = covered_by.as_deref().unwrap_or(domain);
        let claim = self.claim_of(organization, domain).await?;
        let door: Option<(String, bool, String, Option<String>)> = query_as(
            "SELECT c.name, c.withdrawn, c.admit, d.name
             FROM connection_domains cd
             JOIN connections c ON c.organization_id = cd.organization_id AND c.name = cd.connection
             LEFT JOIN directories d ON d.id = c.directory_id AND d.deleted_at IS NULL
             WHERE cd.organization_id = $1 AND cd.domain = $2",
        )
        .bind(organization)
        .bind(domain)
        .fetch_optional(&self.db.read)
        .await?;
        let connection = match door {
            Some((name, withdrawn, admit, directory)) => {
                Some(Door { name, withdrawn, admit: parse_admit(&admit)?, directory })
            }
            None => None,
        };
        let connections =
            query_scalar("SELECT name FROM connections WHERE organization_id = $1 ORDER BY name");
        Ok(WayIn {
            domain: domain.to_owned(),
            claim: claim.as_ref().map(Into::into),
            connection,
            connections: connections.bind(organization).fetch_all(&self.db.read).await?,
        })
    }

    /// What somebody of the organization with this id reaches by their groups, where they sign in by
    /// `connection`.
    pub async fn reach(
        &self,
        organization: &str,
        connection: Option<&str>,
        person: Uuid,
    ) -> Result<Reach> {
        let changed_at = query_scalar("SELECT updated_at FROM people WHERE id = $1");
        let changed_at = seconds(changed_at.bind(person).fetch_one(&self.db.read).await?)?;
        let rows: Vec<Row> = query_as(walk!(
            up,
            "SELECT group_id FROM memberships WHERE person_id = $1",
            "SELECT g.id, g.display_name AS name, d.globs, t.name AS team, t.accepted
             FROM walk
             JOIN directory_groups g ON g.id = walk.id
             JOIN directories d ON d.id = g.directory_id
             LEFT JOIN teams t ON t.group_id = g.id AND t.organization_id = $2
             ORDER BY g.display_name, g.id, t.name"
        ))
        .bind(person)
        .bind(organization)
        .fetch_all(&self.db.read)
        .await?;
        // all are of one directory: the person's
        let globs = rows.first().map_or("{}", |row| &row.globs);
        let globs: Globs = serde_json::from_str(globs).map_err(|_| Error::Corrupt("globs"))?;
        let let_in = globs.matcher();
        let mut groups: BTreeMap<(String, Uuid), GroupReach> = BTreeMap::new();
        for Row { id, name, team, accepted, .. } in rows {
            let left_out = !let_in.matches(&name);
            let group = groups.entry((name.clone(), id)).or_insert(GroupReach {
                name,
                left_out,
                teams: vec![],
            });
            group.teams.extend(team.zip(accepted));
        }
        let mut teams = vec![];
        for team in self.teams_of_person(person).await? {
            let name = team.split_once(':').map_or(team.as_str(), |(_, name)| name).to_owned();
            let grants = self.grants(organization, &name).await?;
            teams.push((name, grants));
        }
        let (subject, obstacle) = match connection {
            Some(connection) => self.sign_in_of(organization, connection, person).await?,
            None => (None, None),
        };
        let groups = groups.into_values().collect();
        Ok(Reach { changed_at, subject, obstacle, groups, teams })
    }

    /// What the company IdP calls a person by this connection, and why nobody can sign in as them.
    async fn sign_in_of(
        &self,
        organization: &str,
        connection: &str,
        person: Uuid,
    ) -> Result<(Option<String>, Option<Obstacle>)> {
        let mut reader = self.db.read.begin().await?;
        let subject: Option<String> = query_scalar(
            "SELECT subject FROM identities
             WHERE person_id = $1 AND organization_id = $2 AND connection = $3",
        )
        .bind(person)
        .bind(organization)
        .bind(connection)
        .fetch_optional(&mut reader)
        .await?;
        let Some(open) = open_connection(&mut reader, organization, connection).await? else {
            return Ok((subject, None));
        };
        let (field, column) = open.rules.matching.sought();
        let (directory, matched, email): (Uuid, Option<String>, Option<String>) =
            query_as(AssertSqlSafe(format!(
                "SELECT directory_id, {column}, email FROM people WHERE id = $1"
            )))
            .bind(person)
            .fetch_one(&mut reader)
            .await?;
        if let Some(email) = email
            && email_owner::owners(&mut reader, Some(directory), &email)
                .await?
                .iter()
                .any(|p| *p != person)
        {
            return Ok((subject, Some(Obstacle::AddressOfAnother(email))));
        }
        if subject.is_some() {
            return Ok((subject, None)); // linked for good
        }
        let Some(matched) = matched else { return Ok((None, Some(Obstacle::Without(field)))) };
        let alike: Vec<Uuid> = query_scalar(AssertSqlSafe(format!(
            "SELECT id FROM people WHERE directory_id = $1 AND {column} = $2 LIMIT 2"
        )))
        .bind(directory)
        .bind(&matched)
        .fetch_all(&mut reader)
        .await?;
        let several = alike.len() > 1;
        Ok((None, several.then_some(Obstacle::Several(field, matched))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        Asked, ClaimState, Grant, Matching, Rules, Selector,
        fixture::{ACME, Acme, COMPANY, asserted, group, person},
        scim::PersonFields,
    };

    #[tokio::test]
    async fn what_keeps_a_person_from_signing_in_is_what_a_sign_in_is_refused_for() {
        let acme = Acme::new().await;
        let sign_in = async |person| {
            let reach = acme.ledger.reach(ACME, Some(COMPANY), person).await.unwrap();
            (reach.subject, reach.obstacle)
        };
        assert_eq!(sign_in(acme.ada).await, (None, None));
        acme.sign_in(&asserted("ada")).await.unwrap();
        assert_eq!(sign_in(acme.ada).await, (Some("sub-ada".into()), None));
        // a second account of her address
        let second = PersonFields {
            external_id: None,
            email: Some("ada@acme.com".into()),
            ..person("adm-ada", true)
        };
        let second = acme.ledger.create_person(&acme.scim, &second, acme.now).await.unwrap();
        let another = Obstacle::AddressOfAnother("ada@acme.com".into());
        assert_eq!(sign_in(second).await, (None, Some(another)));
        assert_eq!(sign_in(acme.ada).await, (Some("sub-ada".into()), None));
        // who has nothing that is matched by, or the same as another
        acme.publish(Rules { matching: Matching::ExternalId, ..acme.rules() }).await;
        let bare = PersonFields { external_id: None, email: None, ..person("bob", true) };
        let bob = acme.ledger.create_person(&acme.scim, &bare, acme.now).await.unwrap();
        assert_eq!(sign_in(bob).await, (None, Some(Obstacle::Without("externalId"))));
        let twin = PersonFields {
            external_id: Some("ext-grace".into()),
            email: None,
            ..person("gr", true)
        };
        acme.ledger.create_person(&acme.scim, &twin, acme.now).await.unwrap();
        let several = Obstacle::Several("externalId", "ext-grace".into());
        assert_eq!(sign_in(acme.grace).await, (None, Some(several)));
        acme.ledger.withdraw_connection(ACME, COMPANY).await.unwrap();
        assert_eq!(sign_in(acme.grace).await, (None, None), "nobody signs in by it at all");
    }

    #[tokio::test]
    async fn the_links_are_those_of_the_organization_alone() {
        let acme = Acme::new().await;
        let way = acme.ledger.way_in(ACME, "acme.com").await.unwrap();
        assert_eq!(way.claim, Some(ClaimState::Owned));
        let door = way.connection.unwrap();
        assert_eq!((door.name.as_str(), door.withdrawn), (COMPANY, false));
        assert_eq!(door.directory.as_deref(), Some("okta"));
        acme.ledger.name_organization("b", "globex", acme.now).await.unwrap();
        let other = acme.ledger.way_in("b", "acme.com").await.unwrap();
        assert_eq!((other.claim, other.connection, other.connections), (None, None, vec![]));
    }

    #[tokio::test]
    async fn people_below_a_domain_come_in_by_the_proof_that_covers_them() {
        let acme = Acme::new().await;
        let below = acme.ledger.way_in(ACME, "mail.acme.com").await.unwrap();
        assert_eq!((below.domain.as_str(), below.claim), ("mail.acme.com", None));
        let asked = Asked { include_subdomains: true, sought: true, request: None };
        acme.ledger.ask(ACME, "acme.com", &asked, acme.now).await.unwrap();
        let below = acme.ledger.way_in(ACME, "mail.acme.com").await.unwrap();
        assert_eq!(below.domain, "acme.com");
        assert_eq!(below.claim, Some(ClaimState::Owned));
        assert!(below.connection.is_some());
    }

    #[tokio::test]
    async fn groups_lead_to_teams_unless_they_are_left_out() {
        let acme = Acme::new().await;
        let mut ids = vec![];
        for name in ["Engineering", "Secret", "Staff"] {
            let fields = group(name);
            let members = [acme.ada];
            let made = acme.ledger.create_group(&acme.scim, &fields, &members, acme.now);
            ids.push(made.await.unwrap().0);
        }
        let umbrella = group("Umbrella");
        let made = acme.ledger.create_group(&acme.scim, &umbrella, &ids[..1], acme.now);
        ids.push(made.await.unwrap().0);
        let put = async |name: &str, group: usize, accepted| {
            let selector = Selector::Id(ids[group].to_string());
            let put = acme.ledger.put_team(ACME, name, acme.directory, &selector, accepted);
            put.await.unwrap()
        };
        put("engineering", 0, true).await;
        put("staff", 2, false).await;
        let grants = [Grant { namespace: Some("web".into()), cluster_role: "view".into() }];
        acme.ledger.put_grants(ACME, "engineering", &grants).await.unwrap();
        let secret = Globs { include: None, exclude: vec!["Secret*".into()] };
        assert!(acme.ledger.put_globs(acme.directory, &secret).await.unwrap());
        assert!(!acme.ledger.put_globs(acme.directory, &secret).await.unwrap());

        let reach = acme.ledger.reach(ACME, None, acme.ada).await.unwrap();
        let group = |name: &str, left_out, teams: &[(&str, bool)]| GroupReach {
            name: name.into(),
            left_out,
            teams: teams.iter().map(|&(team, accepted)| (team.into(), accepted)).collect(),
        };
        assert_eq!(
            reach.groups,
            [
                group("Engineering", false, &[("engineering", true)]),
                group("Secret", true, &[]),
                group("Staff", false, &[("staff", false)]),
                group("Umbrella", false, &[]), // Engineering is in it
            ]
        );
        assert_eq!(reach.teams, [("engineering".to_owned(), grants.to_vec())]);
        assert!(acme.ledger.reach(ACME, None, acme.grace).await.unwrap().groups.is_empty());
        // a team of a group that is left out now finds it no more, and nobody is in it
        let all = Globs { include: Some(vec![]), exclude: vec![] };
        acme.ledger.put_globs(acme.directory, &all).await.unwrap();
        let found = put("engineering", 0, true).await;
        assert_eq!(found, crate::ledger::Match::LeftOut("Engineering".into()));
        assert!(acme.ledger.reach(ACME, None, acme.ada).await.unwrap().teams.is_empty());
    }
}
