//! The limits on removing imported teams: what may go now, what waits for somebody. Pure: by what
//! the ledger says was let go before, never by a status.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    api::{RemovalSpec, seconds},
    ledger::Removal,
};

/// How many imported teams may go within how long. Both numbers must be passed to hold back more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    percent: usize,
    count: usize,
    window: SignedDuration,
}

impl From<Option<&RemovalSpec>> for Limits {
    fn from(spec: Option<&RemovalSpec>) -> Self {
        let number = |given: Option<i32>, default| {
            given.map_or(default, |number| usize::try_from(number).unwrap_or(0))
        };
        let window = spec.and_then(|spec| spec.window.as_deref()).and_then(seconds);
        Self {
            percent: number(spec.and_then(|spec| spec.max_percent), 20),
            count: number(spec.and_then(|spec| spec.max_count), 10),
            window: window.map_or(SignedDuration::from_hours(1), SignedDuration::from_secs),
        }
    }
}

/// What becomes of the teams that are to be removed, by their UIDs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// To be deleted now.
    pub go: BTreeSet<String>,
    /// Of these, who is to be remembered as let go before that.
    pub note: Vec<String>,
    /// Whether somebody approved it.
    pub approved: bool,
    /// Who waits, and what approves it.
    pub waits: Option<(String, BTreeSet<String>)>,
    /// When those who wait may go without approval, should nothing change until then.
    pub again: Option<Timestamp>,
}

/// Judge the removal of the teams `remove`, of the `standing` imported teams of a directory.
///
/// `before` are the removals that the ledger remembers, `approval` the id that somebody wrote.
/// Who was let go already, before a crash, goes on and counts once.
pub fn judge(
    directory: Uuid,
    remove: &BTreeSet<String>,
    standing: usize,
    before: &[Removal],
    limits: Limits,
    approval: Option<&str>,
    now: Timestamp,
) -> Judgement {
    let known: BTreeSet<_> = before.iter().map(|removal| removal.team.as_str()).collect();
    let (already, fresh): (BTreeSet<_>, BTreeSet<_>) =
        remove.iter().cloned().partition(|team| known.contains(team.as_str()));
    if fresh.is_empty() {
        return Judgement { go: already, ..Judgement::default() };
    }
    let counts = |removal: &&Removal| !removal.approved && removal.at > now - limits.window;
    let counted: Vec<_> = before.iter().filter(counts).map(|removal| removal.at).collect();
    let gone = counted.len() + fresh.len();
    let all = standing - already.len() + counted.len();
    let too_many = gone > limits.count && gone * 100 > limits.percent * all;
    let id = id(directory, &fresh);
    if !too_many || approval == Some(&id) {
        let note = fresh.iter().cloned().collect();
        return Judgement {
            go: already.into_iter().chain(fresh).collect(),
            note,
            approved: too_many,
            ..Judgement::default()
        };
    }
    Judgement {
        go: already,
        waits: Some((id, fresh)),
        again: counted.into_iter().min().map(|at| at + limits.window),
        ..Judgement::default()
    }
}

/// Take out of the removals `before` those that didn't happen: whose teams are among the `standing`
/// and not to be removed any more. Else they would be let go later, whatever the limits say then.
pub fn take_undone(
    before: &mut Vec<Removal>,
    standing: &BTreeSet<String>,
    remove: &BTreeSet<String>,
) -> Vec<String> {
    let is_undone =
        |removal: &mut Removal| standing.contains(&removal.team) && !remove.contains(&removal.team);
    before.extract_if(.., is_undone).map(|removal| removal.team).collect()
}

/// What names exactly this set of teams of this directory.
fn id(directory: Uuid, teams: &BTreeSet<String>) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(directory.as_bytes());
    for team in teams {
        hash.update(team.as_bytes());
        hash.update(&[0]);
    }
    hash.finish().as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn teams(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
        numbers.into_iter().map(|number| format!("u{number:03}")).collect()
    }

    fn defaults() -> Limits {
        None.into()
    }

    fn ask(remove: &BTreeSet<String>, standing: usize, approval: Option<&str>) -> Judgement {
        judge(Uuid::nil(), remove, standing, &[], defaults(), approval, at(10_000))
    }

    #[test]
    fn both_limits_must_be_passed() {
        assert_eq!(ask(&teams(0..10), 10, None).go.len(), 10, "ten are never too many");
        assert_eq!(ask(&teams(0..20), 100, None).go.len(), 20, "nor is a fifth");
        let held = ask(&teams(0..21), 100, None);
        assert!(held.go.is_empty() && held.note.is_empty());
        assert_eq!(held.waits.unwrap().1, teams(0..21));
        assert_eq!(held.again, None, "with time alone, nothing changes");
        assert!(ask(&teams(0..11), 11, None).go.is_empty());
    }

    #[test]
    fn an_approval_is_for_exactly_the_teams_it_names() {
        let (id, _) = ask(&teams(0..30), 100, None).waits.unwrap();
        let approved = ask(&teams(0..30), 100, Some(&id));
        assert_eq!((approved.go.len(), approved.note.len(), approved.approved), (30, 30, true));
        let larger = ask(&teams(0..31), 100, Some(&id));
        assert!(larger.go.is_empty());
        assert_ne!(larger.waits.unwrap().0, id);
        let other =
            judge(Uuid::from_u128(1), &teams(0..30), 100, &[], defaults(), Some(&id), at(0));
        assert!(other.go.is_empty(), "another directory's");
    }

    #[test]
    fn who_was_let_go_goes_on_after_a_crash_and_counts_once() {
        let removal = |team: &String| Removal { team: team.clone(), at: at(9_000), approved: true };
        let before: Vec<_> = teams(0..30).iter().map(removal).collect();
        let go_on = judge(Uuid::nil(), &teams(0..31), 100, &before, defaults(), None, at(9_001));
        assert_eq!((go_on.go.len(), go_on.note), (31, vec!["u030".to_owned()]));
    }

    #[test]
    fn who_was_let_go_and_stayed_after_all_is_let_go_no_second_time() {
        let removal = |team: &String| Removal { team: team.clone(), at: at(9_000), approved: true };
        let mut before: Vec<_> = teams(0..30).iter().map(removal).collect();
        // ten went, and of the others fifteen are wanted again
        let (standing, remove) = (teams(10..100), teams(25..30));
        let undone = take_undone(&mut before, &standing, &remove);
        assert_eq!(undone, teams(10..25).into_iter().collect::<Vec<_>>());
        let ask = |remove| judge(Uuid::nil(), &remove, 90, &before, defaults(), None, at(9_001));
        assert_eq!(ask(remove).go, teams(25..30));
        let later = ask(teams(10..40));
        assert_eq!((later.go, later.waits.unwrap().1.len()), (teams(25..30), 25));
    }

    #[test]
    fn what_went_within_the_window_counts_and_later_does_not() {
        let removal =
            |team: &String| Removal { team: team.clone(), at: at(9_000), approved: false };
        let before: Vec<_> = teams(100..115).iter().map(removal).collect();
        let ask = |now| judge(Uuid::nil(), &teams(0..10), 85, &before, defaults(), None, at(now));
        assert!(ask(9_001).go.is_empty());
        assert_eq!(ask(9_001).again, Some(at(9_000 + 3_600)));
        assert_eq!(ask(9_000 + 3_600).go.len(), 10);
    }

    #[test]
    fn omitted_limits_have_their_defaults_and_none_is_none() {
        assert_eq!(Limits::from(Some(&RemovalSpec::default())), defaults());
        let none = RemovalSpec { max_percent: Some(0), max_count: Some(0), window: None };
        let limits = Limits::from(Some(&none));
        let one = judge(Uuid::nil(), &teams(0..1), 100, &[], limits, None, at(0));
        assert!(one.go.is_empty());
    }

    proptest! {
        /// Whatever goes in which order, with a crash after any pass's notes: within a window no
        /// more go without approval than one of the limits allows.
        #[test]
        fn never_more_go_than_the_limits_allow(
            steps in prop::collection::vec((prop::collection::btree_set(0..60_usize, 0..20), 0..2_000_i64, any::<bool>()), 1..30),
            percent in 0..50_i32, count in 0..15_i32,
        ) {
            let spec = RemovalSpec { max_percent: Some(percent), max_count: Some(count), window: None };
            let limits = Limits::from(Some(&spec));
            let mut standing = teams(0..60);
            let mut wanted = BTreeSet::new();
            let mut before: Vec<Removal> = vec![];
            let mut now = 100_000;
            for (more, later, crash) in steps {
                now += later;
                wanted.extend(teams(more));
                let remove = wanted.intersection(&standing).cloned().collect();
                let judged = judge(Uuid::nil(), &remove, standing.len(), &before, limits, None, at(now));
                prop_assert!(!judged.approved);
                before.extend(judged.note.iter().map(|team| Removal {
                    team: team.clone(), at: at(now), approved: false,
                }));
                if !crash {
                    standing.retain(|team| !judged.go.contains(team));
                }
                let within = before.iter().filter(|r| r.at > at(now) - limits.window).count();
                let let_go = before.iter().filter(|r| standing.contains(&r.team)).count();
                let all = standing.len() - let_go + within;
                if !judged.note.is_empty() {
                    prop_assert!(within <= limits.count || within * 100 <= limits.percent * all);
                }
                // what is held back is all that wasn't let go, and is named
                if let Some((id, waits)) = &judged.waits {
                    prop_assert_eq!(id.len(), 12);
                    prop_assert!(waits.is_disjoint(&judged.go));
                }
            }
        }
    }
}
