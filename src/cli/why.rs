//! `rollcall why`: somebody's way to access, link by link, and what to do about the first that is
//! broken.

use std::fmt::Write as _;

use super::printable;
use crate::ledger::{Admit, ClaimState, Grant, GroupReach, Loss, Obstacle, Person, Reach, WayIn};

/// Somebody's way to access in one organization.
pub struct Case<'a> {
    /// The organization's namespace.
    pub organization: &'a str,
    /// What was asked for: an e-mail address or a user name.
    pub who: &'a str,
    /// How people of the e-mail's domain come in; `None` where no e-mail is known.
    pub way: Option<&'a WayIn>,
    /// One person whom the directory knows by that, if any.
    pub person: Option<(&'a Person, &'a Reach)>,
}

/// A link of the chain.
enum Link {
    Holds(String),
    Broken {
        what: String,
        /// What to do next.
        then: String,
    },
}

fn broken(what: impl Into<String>, then: impl Into<String>) -> Link {
    Link::Broken { what: what.into(), then: then.into() }
}

/// The whole chain as text, and whether it holds.
pub fn tell(case: &Case<'_>) -> (String, bool) {
    let links = [
        ("Domain", domain(case)),
        ("Connection", connection(case)),
        ("Person", person(case)),
        ("Groups", groups(case)),
        ("Teams", teams(case)),
        ("Access", access(case)),
    ];
    let mut text = String::new();
    let mut first = None;
    for (name, link) in &links {
        let (state, what) = match link {
            Link::Holds(what) => ("ok", what),
            Link::Broken { what, then } if first.is_none() => {
                first = Some((name, then));
                ("BROKEN", what)
            }
            Link::Broken { what, .. } => ("--", what),
        };
        let mut line = |name: &str, state: &str, what: &str| {
            let what = printable(what);
            writeln!(text, "{name:<11} {state:<7} {what}")
                .expect("writing to a string does not fail");
        };
        line(name, state, what);
        for what in beside(case, name) {
            line("", "--", &what);
        }
    }
    let end = match first {
        Some((name, then)) => format!("{name} is where it breaks. {then}"),
        None => format!(
            "{} has this access after signing in. What kubectl holds may be five minutes old: see \
             `kubectl rollcall whoami`.",
            case.who
        ),
    };
    text += &printable(&end);
    text.push('\n');
    (text, first.is_none())
}

/// What else is to be said with a link of this name: of groups and teams that give nothing, beside
/// those that do.
fn beside(case: &Case<'_>, link: &str) -> Vec<String> {
    let Some((_, Reach { groups, teams, .. })) = case.person else { return vec![] };
    let works = |group: &GroupReach| {
        group.teams.iter().any(|(team, _)| teams.iter().any(|(name, _)| name == team))
    };
    let refused = |group: &GroupReach| group.left_out || group.teams.iter().any(|(_, ok)| !ok);
    match link {
        "Teams" if !teams.is_empty() => {
            groups.iter().filter(|group| refused(group) && !works(group)).map(no_team).collect()
        }
        "Access" if teams.iter().any(|(_, grants)| !grants.is_empty()) => {
            let without = teams.iter().filter(|(_, grants)| grants.is_empty());
            without.map(|(team, _)| format!("{team}: no binding stands")).collect()
        }
        _ => vec![],
    }
}

fn domain(case: &Case<'_>) -> Link {
    let organization = case.organization;
    let Some(WayIn { domain, claim, .. }) = case.way else {
        return broken("unknown: no e-mail address is known", "Ask by the e-mail address.");
    };
    let look = format!("`kubectl get vd -n {organization} -o wide` shows the record to publish.");
    match claim {
        None => broken(
            format!("{organization} claims no domain {domain}"),
            format!(
                "Make a VerifiedDomain for {domain} in {organization}, and publish its record."
            ),
        ),
        Some(ClaimState::Owned) => Link::Holds(format!("{organization} owns {domain}")),
        Some(ClaimState::Missing(since)) => Link::Holds(format!(
            "{organization} owns {domain}, but its record is missing since {since}: publish it again"
        )),
        Some(ClaimState::Conflict) => broken(
            format!("another organization proved {domain} before {organization}"),
            "Ask the platform team: a domain has one owner.",
        ),
        Some(ClaimState::Lost(Loss::RecordLost)) => {
            broken(format!("the record that proved {domain} is gone"), look)
        }
        Some(ClaimState::Lost(Loss::ProofExpired)) => {
            broken(format!("the proof of {domain} wasn't renewed for too long"), look)
        }
        Some(ClaimState::Unproved) => broken(format!("{domain} isn't proved yet"), look),
    }
}

fn connection(case: &Case<'_>) -> Link {
    let organization = case.organization;
    let Some(WayIn { domain, connection, connections, .. }) = case.way else {
        return broken("unknown: it follows from the domain", "Ask by the e-mail address.");
    };
    let look = format!("The conditions in `kubectl describe sso -n {organization}` say why.");
    match connection {
        Some(door) if door.withdrawn => {
            broken(format!("nobody signs in by {} for now", door.name), look)
        }
        Some(door) => match (&door.directory, door.admit) {
            (Some(directory), Admit::DirectoryOnly) => Link::Holds(format!(
                "{} signs in people of {domain} whom the directory {directory} knows",
                door.name
            )),
            (Some(directory), Admit::JustInTime) => Link::Holds(format!(
                "{} signs in people of {domain}, also whom the directory {directory} doesn't know",
                door.name
            )),
            (None, Admit::JustInTime) => Link::Holds(format!(
                "{} signs in people of {domain}, whom no directory needs to know",
                door.name
            )),
            (None, Admit::DirectoryOnly) => {
                broken(format!("the directory of {} is gone", door.name), look)
            }
        },
        None if connections.is_empty() => broken(
            format!("{organization} has no configured SsoConnection"),
            format!(
                "Make one, or see what is wrong with it: `kubectl describe sso -n {organization}`."
            ),
        ),
        None => {
            broken(format!("none of {} signs in people of {domain}", connections.join(", ")), look)
        }
    }
}

fn person(case: &Case<'_>) -> Link {
    let (organization, who) = (case.organization, case.who);
    let door = case.way.and_then(|way| way.connection.as_ref());
    let Some((person, reach)) = case.person else {
        let what =
            format!("{organization}'s directories know nobody with the e-mail or user name {who}");
        let then = "Assign this person at the company IdP, and have it push them.";
        return if door.is_some_and(|door| door.admit == Admit::JustInTime) {
            broken(format!("{what}: who is let in so has no teams"), then)
        } else {
            broken(what, then)
        };
    };
    let Person { user_name, directory, active_since, .. } = person;
    let changed = reach.changed_at;
    if !person.active {
        return broken(
            format!(
                "{user_name} is deactivated since {active_since}, by the company IdP; last changed {changed}"
            ),
            "Activate this person at the company IdP, or find out there why they are not.",
        );
    }
    match door.and_then(|door| door.directory.as_ref()) {
        Some(other) if other != directory => broken(
            format!("{user_name} is in the directory {directory}, but the connection asks {other}"),
            format!(
                "Name the right one in spec.directory of the SsoConnection, or push this person to {other}."
            ),
        ),
        _ => match &reach.obstacle {
            Some(obstacle) => refused(user_name, directory, obstacle),
            None => {
                let subject = reach.subject.as_ref();
                let linked = subject.map(|subject| format!("; signs in as the subject {subject}"));
                Link::Holds(format!(
                    "{user_name} in the directory {directory}: active since {active_since}, last \
                     changed {changed}{}",
                    linked.unwrap_or_default()
                ))
            }
        },
    }
}

/// Somebody whom a sign-in is refused, whatever the company IdP says.
fn refused(user_name: &str, directory: &str, obstacle: &Obstacle) -> Link {
    match obstacle {
        Obstacle::Without(field) => broken(
            format!(
                "{user_name} has no {field} in the directory {directory}, which people are matched by"
            ),
            format!(
                "Have the company IdP push the {field}, or write another spec.directory.match in the SsoConnection."
            ),
        ),
        Obstacle::Several(field, value) => broken(
            format!("several in the directory {directory} have the {field} {value} of {user_name}"),
            format!(
                "Have the company IdP give each a {field} of their own, or write another spec.directory.match in the SsoConnection."
            ),
        ),
        Obstacle::AddressOfAnother(email) => broken(
            format!("{email} is another person's by the directory {directory}, not {user_name}'s"),
            "Have the company IdP push an address of their own for each.",
        ),
    }
}

fn groups(case: &Case<'_>) -> Link {
    match case.person {
        Some((_, reach)) if !reach.groups.is_empty() => Link::Holds(
            reach.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", "),
        ),
        _ => broken(
            "none",
            "Put this person into a group at the company IdP, and have it push the group.",
        ),
    }
}

fn teams(case: &Case<'_>) -> Link {
    let organization = case.organization;
    let Some((_, reach)) = case.person else { return broken("none", "") };
    if !reach.teams.is_empty() {
        let names: Vec<_> = reach.teams.iter().map(|(name, _)| name.as_str()).collect();
        return Link::Holds(names.join(", "));
    }
    let what = reach.groups.iter().map(no_team).collect::<Vec<_>>().join("; ");
    let refused = reach.groups.iter().any(|group| group.teams.iter().any(|(_, ok)| !ok));
    let then = if refused {
        format!("Accepted in `kubectl describe dteam -n {organization}` says why.")
    } else {
        format!("Make a DirectoryTeam for such a group in {organization}, or widen the import.")
    };
    broken(if what.is_empty() { "none".to_owned() } else { what }, then)
}

/// Why a group leads to no team.
fn no_team(group: &GroupReach) -> String {
    let refused = group.teams.iter().find(|(_, accepted)| !accepted);
    let because = match refused {
        Some((team, _)) => format!("the team {team} isn't accepted"),
        None if group.left_out => "left out by spec.groups of its DirectorySync".to_owned(),
        None if group.teams.is_empty() => "no team stands for it".to_owned(),
        None => "nobody is in its teams now".to_owned(),
    };
    format!("{}: {because}", group.name)
}

fn access(case: &Case<'_>) -> Link {
    let organization = case.organization;
    let teams = case.person.map_or(&[][..], |(_, reach)| &reach.teams);
    let given: Vec<_> = teams.iter().filter(|(_, grants)| !grants.is_empty()).collect();
    if given.is_empty() {
        return broken(
            "none: no binding stands for these teams",
            format!(
                "PermissionsApplied in `kubectl describe dteam -n {organization}` says what is missing."
            ),
        );
    }
    let place = |grant: &Grant| match &grant.namespace {
        Some(namespace) => format!("{} in {namespace}", grant.cluster_role),
        None => format!("{} in the whole cluster", grant.cluster_role),
    };
    let of_team = |(team, grants): &&(String, Vec<Grant>)| {
        format!("{team}: {}", grants.iter().map(place).collect::<Vec<_>>().join(", "))
    };
    Link::Holds(given.iter().map(of_team).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Door;
    use jiff::Timestamp;
    use uuid::Uuid;

    fn way() -> WayIn {
        WayIn {
            domain: "acme.example".into(),
            claim: Some(ClaimState::Owned),
            connection: Some(Door {
                name: "company".into(),
                withdrawn: false,
                admit: Admit::DirectoryOnly,
                directory: Some("okta".into()),
            }),
            connections: vec!["company".into()],
        }
    }

    fn ada() -> Person {
        Person {
            id: Uuid::nil(),
            directory: "okta".into(),
            user_name: "ada@acme.example".into(),
            email: None,
            active: true,
            active_since: Timestamp::UNIX_EPOCH,
            groups: vec![],
            teams: vec![],
        }
    }

    fn reach() -> Reach {
        let team = ("engineering".to_owned(), true);
        let group = GroupReach { name: "Engineering".into(), left_out: false, teams: vec![team] };
        let grant = |namespace: Option<&str>| Grant {
            namespace: namespace.map(str::to_owned),
            cluster_role: "view".into(),
        };
        Reach {
            changed_at: Timestamp::UNIX_EPOCH,
            subject: None,
            obstacle: None,
            groups: vec![group],
            teams: vec![("engineering".into(), vec![grant(None), grant(Some("web"))])],
        }
    }

    fn ask(way: Option<&WayIn>, person: Option<(&Person, &Reach)>) -> (String, bool) {
        tell(&Case { organization: "acme", who: "ada@acme.example", way, person })
    }

    #[test]
    fn a_whole_chain_says_what_may_be_reached() {
        let (text, whole) = ask(Some(&way()), Some((&ada(), &reach())));
        assert!(whole, "{text}");
        let access = "Access      ok      engineering: view in the whole cluster, view in web\n";
        assert!(text.contains(access), "{text}");
        assert_eq!(text.lines().count(), 7);
    }

    /// The first broken link, by its name and what is said of it.
    fn breaks(change: impl Fn(&mut WayIn, &mut Person, &mut Reach)) -> (String, String) {
        let (mut way, mut ada, mut reach) = (way(), ada(), reach());
        change(&mut way, &mut ada, &mut reach);
        let (text, whole) = ask(Some(&way), Some((&ada, &reach)));
        assert!(!whole, "{text}");
        assert_eq!(text.matches("BROKEN").count(), 1, "{text}");
        let line = text.lines().find(|line| line.contains("BROKEN")).unwrap();
        let (name, said) = line.split_once(' ').unwrap();
        assert!(text.contains(&format!("{name} is where it breaks. ")), "{text}");
        (name.to_owned(), said.replace("BROKEN", "").trim().to_owned())
    }

    #[test]
    fn the_first_broken_link_is_named() {
        let first = |change: &dyn Fn(&mut WayIn, &mut Person, &mut Reach)| breaks(change).0;
        assert_eq!(first(&|w, _, _| w.claim = None), "Domain");
        for state in [
            ClaimState::Unproved,
            ClaimState::Conflict,
            ClaimState::Lost(Loss::RecordLost),
            ClaimState::Lost(Loss::ProofExpired),
        ] {
            assert_eq!(first(&|w, _, _| w.claim = Some(state)), "Domain");
        }
        assert_eq!(first(&|w, _, _| w.connection = None), "Connection");
        let withdraw = |w: &mut WayIn| w.connection.as_mut().unwrap().withdrawn = true;
        assert_eq!(first(&|w, _, _| withdraw(w)), "Connection");
        assert_eq!(first(&|_, p, _| p.active = false), "Person");
        assert_eq!(first(&|_, p, _| p.directory = "entra".into()), "Person");
        let no_groups = |r: &mut Reach| (r.groups, r.teams) = (vec![], vec![]);
        assert_eq!(first(&|_, _, r| no_groups(r)), "Groups");
        assert_eq!(first(&|_, _, r| r.teams.clear()), "Teams");
        assert_eq!(first(&|_, _, r| r.teams[0].1.clear()), "Access");
        // what comes first is what is to be mended first
        let both = |w: &mut WayIn, p: &mut Person, r: &mut Reach| {
            (w.claim, p.active) = (None, false);
            no_groups(r);
        };
        assert_eq!(breaks(both).0, "Domain");
    }

    #[test]
    fn who_is_always_refused_is_told_why() {
        let said = |obstacle: Obstacle| {
            let (name, said) = breaks(|_, _, reach| reach.obstacle = Some(obstacle.clone()));
            assert_eq!(name, "Person");
            said
        };
        assert!(said(Obstacle::Without("externalId")).contains("has no externalId"));
        assert!(said(Obstacle::Several("e-mail", "a@b".into())).contains("the e-mail a@b"));
        let address = said(Obstacle::AddressOfAnother("a@b".into()));
        assert!(address.starts_with("a@b is another person's"), "{address}");
        let (_, gone) = breaks(|_, person, _| person.active = false);
        assert!(gone.ends_with("last changed 1970-01-01T00:00:00Z"), "{gone}");
        let linked = Reach { subject: Some("00u1".into()), ..reach() };
        let (text, whole) = ask(Some(&way()), Some((&ada(), &linked)));
        assert!(whole && text.contains("; signs in as the subject 00u1\n"), "{text}");
    }

    #[test]
    fn what_gives_nothing_is_told_beside_what_gives_something() {
        let mut reach = reach();
        let group = |name: &str, left_out, teams: &[(&str, bool)]| GroupReach {
            name: name.into(),
            left_out,
            teams: teams.iter().map(|&(team, accepted)| (team.to_owned(), accepted)).collect(),
        };
        reach.groups.extend([
            group("Staff", false, &[("staff", false)]),
            group("Secret", true, &[]),
            group("Others", false, &[]), // as most groups are
            group("Idle", false, &[("idle", true)]),
        ]);
        reach.teams.push(("idle".into(), vec![]));
        let (text, whole) = ask(Some(&way()), Some((&ada(), &reach)));
        assert!(whole, "{text}");
        let beside: Vec<_> =
            text.lines().filter_map(|line| line.trim().strip_prefix("--")).collect();
        let expected = [
            "Staff: the team staff isn't accepted",
            "Secret: left out by spec.groups of its DirectorySync",
            "idle: no binding stands",
        ];
        assert_eq!(beside.iter().map(|line| line.trim()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_group_without_a_team_says_why() {
        let said = |change: &dyn Fn(&mut GroupReach)| {
            breaks(|_, _, reach| {
                reach.teams.clear();
                change(&mut reach.groups[0]);
            })
            .1
        };
        let refused = said(&|group| group.teams[0].1 = false);
        assert_eq!(refused, "Engineering: the team engineering isn't accepted");
        let left_out = said(&|group| (group.teams, group.left_out) = (vec![], true));
        assert!(left_out.contains("left out by spec.groups"), "{left_out}");
        let none = said(&|group| group.teams.clear());
        assert_eq!(none, "Engineering: no team stands for it");
    }

    #[test]
    fn nobody_known_is_said_and_a_user_name_alone_leads_to_no_domain() {
        let (text, whole) = ask(Some(&way()), None);
        assert!(
            !whole && text.contains("Person      BROKEN  acme's directories know nobody"),
            "{text}"
        );
        let (text, whole) = ask(None, None);
        assert!(!whole && text.contains("Domain      BROKEN  unknown"), "{text}");
    }

    #[test]
    fn what_a_directory_says_cannot_steer_the_terminal() {
        let mut reach = reach();
        reach.groups[0].name = "Eng\u{1b}[2J\nAccess      ok      everything".into();
        let (text, _) = ask(Some(&way()), Some((&ada(), &reach)));
        assert_eq!(text.lines().count(), 7, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
