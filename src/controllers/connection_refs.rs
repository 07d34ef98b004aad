//! What an SsoConnection refers to: its domains, which no other connection of the namespace may
//! have, and the directory in which people are looked up.

use std::sync::Arc;

use kube::{ResourceExt, runtime::reflector::ObjectRef};
use uuid::Uuid;

use super::{Context, Result, age, filled, is_deleted, namespace, tenancy::Organization};
use crate::{
    api::{
        Admit, SsoConnection, VerifiedDomain,
        conditions::{Verdict, reason},
    },
    dns::DomainName,
};

/// The domains of a connection.
#[derive(Debug, Default)]
pub struct Domains {
    /// How many it has.
    pub named: usize,
    /// Their canonical names, in order.
    pub canonical: Vec<String>,
    /// Those that aren't verified, by their objects' names.
    pub unverified: Vec<String>,
    /// Those that it names and that aren't there.
    pub missing: Vec<String>,
}

pub async fn domains(
    connection: &SsoConnection,
    organization: &Organization,
    ctx: &Context,
) -> Result<Domains> {
    // what isn't known yet must not be taken for missing
    filled(&ctx.domains).await?;
    let owned = ctx.ledger.owned_domains(&organization.id).await?;
    let at = |name: &str| ObjectRef::<VerifiedDomain>::new(name).within(&organization.name);
    let mut domains = Domains::default();
    let named = match &connection.spec.domains {
        None => ctx
            .domains
            .state_filter(|domain| namespace(domain) == organization.name && !is_deleted(domain)),
        Some(refs) => {
            let mut found = vec![];
            for name in refs.iter().map(|r| &r.name) {
                match ctx.domains.get(&at(name)).filter(|d| !is_deleted(d.as_ref())) {
                    Some(domain) => found.push(domain),
                    None => domains.missing.push(name.clone()),
                }
            }
            found
        }
    };
    domains.named = named.len();
    for domain in named {
        let name = DomainName::parse(&domain.spec.domain).map(|name| name.to_string());
        if !name.as_ref().is_ok_and(|name| owned.binary_search(name).is_ok()) {
            domains.unverified.push(domain.name_any());
        }
        domains.canonical.extend(name);
    }
    domains.unverified.sort_unstable();
    domains.canonical.sort_unstable();
    domains.canonical.dedup();
    Ok(domains)
}

/// An older connection of the namespace that names a domain of this one.
pub fn older_rival(connection: &SsoConnection, all: &[Arc<SsoConnection>]) -> Option<String> {
    let share = |other: &SsoConnection| match (&connection.spec.domains, &other.spec.domains) {
        (None, None) => true,
        (None, Some(some)) | (Some(some), None) => !some.is_empty(),
        (Some(ours), Some(theirs)) => ours.iter().any(|domain| theirs.contains(domain)),
    };
    all.iter()
        .filter(|other| {
            other.metadata.namespace == connection.metadata.namespace
                && !is_deleted(other.as_ref())
                && age(other.as_ref()) < age(connection)
                && share(other)
        })
        .map(|other| other.name_any())
        .min()
}

/// The directory that people are looked up in, of those that the organization has; `None` where
/// the connection needs none.
pub fn directory(
    connection: &SsoConnection,
    mut directories: Vec<(String, Uuid)>,
) -> Result<Option<Uuid>, Verdict> {
    if let Some(named) = connection.spec.directory.as_ref().map(|directory| &directory.name) {
        return directories.iter().find(|(name, _)| name == named).map(|(_, id)| Some(*id)).ok_or_else(
            || {
                let message = format!(
                    "There is no DirectorySync {named} in this namespace: make it, or correct the name."
                );
                Verdict::no(reason::DIRECTORY_NOT_FOUND, message)
            },
        );
    }
    if directories.len() > 1 {
        let names: Vec<_> = directories.into_iter().map(|(name, _)| name).collect();
        let message = format!(
            "This namespace has several DirectorySyncs, {}: name one in spec.directory.",
            names.join(", ")
        );
        return Err(Verdict::no(reason::DIRECTORY_AMBIGUOUS, message));
    }
    match directories.pop() {
        Some((_, id)) => Ok(Some(id)),
        None if connection.spec.admit == Some(Admit::JustInTime) => Ok(None),
        None => Err(Verdict::no(
            reason::DIRECTORY_NOT_FOUND,
            "This namespace has no DirectorySync to look people up in: make one, or write admit: \
             JustInTime.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    use serde_json::json;

    fn connection(name: &str, created: i64, domains: Option<&[&str]>) -> SsoConnection {
        let refs =
            |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
        let spec = json!({ "domains": domains.map(refs) });
        let mut connection = SsoConnection::new(name, serde_json::from_value(spec).unwrap());
        let created = Timestamp::from_second(created).unwrap();
        connection.metadata.creation_timestamp = Some(Time(created));
        connection
    }

    #[test]
    fn the_older_of_two_connections_with_a_common_domain_has_it() {
        let older = |domains: Option<&[&str]>, other: Option<&[&str]>| {
            let all = [Arc::new(connection("a", 1, other)), Arc::new(connection("b", 2, domains))];
            assert_eq!(older_rival(&all[0], &all), None);
            older_rival(&all[1], &all)
        };
        assert_eq!(older(None, None).as_deref(), Some("a"));
        assert_eq!(older(Some(&["x"]), Some(&["x", "y"])).as_deref(), Some("a"));
        assert_eq!(older(Some(&["x"]), None).as_deref(), Some("a"));
        assert_eq!(older(Some(&["x"]), Some(&["y"])), None);
        assert_eq!(older(None, Some(&[])), None);
    }

    #[test]
    fn people_are_looked_up_in_the_one_directory_that_is_named_or_that_there_is() {
        let (okta, entra) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let one = || vec![("okta".to_owned(), okta)];
        let two = || vec![("entra".to_owned(), entra), ("okta".to_owned(), okta)];
        let found = |spec: serde_json::Value, directories| {
            let connection = SsoConnection::new("a", serde_json::from_value(spec).unwrap());
            directory(&connection, directories).map_err(|verdict| verdict.reason.into_owned())
        };
        let not_found = Err(reason::DIRECTORY_NOT_FOUND.to_owned());
        let ambiguous = Err(reason::DIRECTORY_AMBIGUOUS.to_owned());
        assert_eq!(found(json!({}), one()), Ok(Some(okta)));
        assert_eq!(found(json!({}), vec![]), not_found);
        assert_eq!(found(json!({}), two()), ambiguous);
        let okta_named = json!({ "directory": { "name": "okta" } });
        assert_eq!(found(okta_named.clone(), two()), Ok(Some(okta)));
        assert_eq!(found(okta_named, vec![]), not_found);
        let just_in_time = json!({ "admit": "JustInTime" });
        assert_eq!(found(just_in_time.clone(), vec![]), Ok(None));
        assert_eq!(found(just_in_time.clone(), one()), Ok(Some(okta)));
        assert_eq!(found(just_in_time, two()), ambiguous);
    }
}
