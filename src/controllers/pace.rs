//! What moves with every request is looked at now and then: the first change at once, and those that
//! follow it together.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{jittered, status::DEBOUNCE};
use crate::ledger::{Change, Topic};

/// How far apart two looks at one thing are, about: no closer than what they tell of may be written.
const APART: Duration = DEBOUNCE.saturating_mul(5).checked_div(4).unwrap();

/// How many things are looked at together, that is four times a second: what begins in many places at
/// once keeps neither the API server nor the ledger from others.
const TOGETHER: usize = 10;

/// When what changes is looked at next.
#[derive(Default)]
pub(super) struct Pace(HashMap<(Topic, Option<String>, String), Next>);

struct Next {
    at: Instant,
    /// The newest change since the last look.
    change: Option<Change>,
}

impl Pace {
    /// The changes to look at now, of those that came before and of `new` ones: one of each thing, and
    /// none of what was looked at just now. Those are kept for later. Where there are too many, the
    /// organizations take turns.
    pub fn due(&mut self, new: Vec<Change>, now: Instant) -> Vec<Change> {
        for change in new {
            let thing = (change.topic, change.organization.clone(), change.name.clone());
            self.0.entry(thing).or_insert(Next { at: now, change: None }).change = Some(change);
        }
        self.0.retain(|_, next| next.at > now || next.change.is_some());
        let mut due: Vec<_> = self.0.iter_mut().filter(|(_, next)| next.at <= now).collect();
        due.sort_unstable_by_key(|(_, next)| next.at);
        let (mut turns, mut by_turn) = (HashMap::new(), BTreeMap::<usize, Vec<_>>::new());
        for ((_, organization, _), next) in due {
            let turn = turns.entry(organization).or_insert(0);
            *turn += 1;
            by_turn.entry(*turn).or_default().push(next);
        }
        let due = by_turn.into_values().flatten().take(TOGETHER).filter_map(|next| {
            next.at = now + jittered(APART);
            next.change.take()
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn change(seq: i64, organization: &str) -> Change {
        let organization = Some(organization.to_owned());
        Change { seq, topic: Topic::People, organization, name: "okta".into() }
    }

    #[test]
    fn the_first_change_is_looked_at_at_once_and_the_last_one_in_the_end() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.due(vec![change(1, "acme")], now), [change(1, "acme")]);
        let mut seen = Vec::new();
        for tenth in 1..=200 {
            let seq = 1 + tenth;
            let later = now + Duration::from_millis(100) * u32::try_from(tenth).unwrap();
            let due = pace.due(vec![change(seq, "acme")], later);
            seen.extend(due.into_iter().map(|change| (later - now, change)));
        }
        let [(after, _)] = &seen[..] else { panic!("{seen:?}") };
        assert!(*after >= DEBOUNCE, "{after:?}");
        let end = now + Duration::from_secs(60);
        assert_eq!(pace.due(vec![], end), [change(201, "acme")]);
        assert_eq!(pace.due(vec![], end + Duration::from_secs(60)), []);
        assert!(pace.0.is_empty(), "nothing is remembered of what rests");
    }

    #[test]
    fn of_very_many_that_change_at_once_some_are_looked_at_at_a_time_and_none_is_forgotten() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let names: Vec<_> = (0..2 * TOGETHER + 1).map(|number| format!("{number}")).collect();
        let changes = names.iter().map(|name| change(1, name)).collect();
        let mut seen = pace.due(changes, now);
        assert_eq!(seen.len(), TOGETHER);
        for (after, due) in [(1, TOGETHER), (2, 1), (3, 0)] {
            // one that was looked at changes again, and waits for those that weren't
            let again = vec![Change { seq: 2, ..seen[0].clone() }];
            let now = pace.due(again, now + Duration::from_millis(250) * after);
            assert_eq!(now.len(), due);
            seen.extend(now);
        }
        let seen: HashSet<_> = seen.into_iter().filter_map(|change| change.organization).collect();
        assert_eq!(seen, names.into_iter().collect());
    }

    #[test]
    fn nobody_waits_for_another_organization() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let many = (0..3 * TOGETHER).map(|group| Change {
            name: group.to_string(),
            topic: Topic::Members,
            ..change(1, "acme")
        });
        assert_eq!(pace.due(many.collect(), now).len(), TOGETHER);
        let due = pace.due(vec![change(2, "globex")], now + Duration::from_secs(1));
        assert!(due.len() == TOGETHER && due.contains(&change(2, "globex")), "{due:?}");
    }
}
