//! Whose look comes next. Each organization has so many under way at once, and the others wait. A place
//! that is free goes to the organization that has the fewest, and among equals has had none for longest;
//! some are kept for those that have none, so that organizations whose servers are silent delay nobody
//! else's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// How many looks one organization has under way.
pub const OF_ONE: usize = 8;
/// How many there are in all, each of which takes a few sockets; and how many of these places nobody
/// takes who has another.
pub const OF_ALL: usize = 128;
const KEPT_FREE: usize = 32;

/// The line for a place. Cheap to clone.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many places are taken.
    taken: usize,
    /// How many times an organization has come, or given a place back.
    times: u64,
    /// Those that have a place, or wait for one.
    organizations: HashMap<String, Organization>,
}

#[derive(Default)]
struct Organization {
    taken: usize,
    /// The last of those times.
    since: u64,
    /// In the order in which they came.
    waiting: VecDeque<Granted>,
}

type Granted = oneshot::Sender<Place>;

/// A place for one look, free again when it is dropped.
pub struct Place {
    line: Line,
    organization: String,
}

impl Line {
    /// Wait for a place; `None` if there never will be one. Whoever gives up waiting leaves the line.
    pub async fn place(&self, organization: &str) -> Option<Place> {
        let (granted, place) = oneshot::channel();
        self.lock().join(organization, granted);
        self.grant();
        place.await.ok()
    }

    /// Give away what places are free.
    fn grant(&self) {
        loop {
            let next = self.lock().next();
            let Some((organization, granted)) = next else { return };
            // who gives up at this moment drops it, which frees it
            let _ = granted.send(Place { line: self.clone(), organization });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join(&mut self, organization: &str, granted: Granted) {
        self.times += 1;
        let new = || Organization { since: self.times, ..Organization::default() };
        let entry = self.organizations.entry(organization.to_owned()).or_insert_with(new);
        entry.waiting.push_back(granted);
    }

    /// Take a place for who is next, if there is one.
    fn next(&mut self) -> Option<(String, Granted)> {
        let free = OF_ALL - self.taken;
        let may = |of: &Organization| {
            let kept = if of.taken == 0 { 0 } else { KEPT_FREE };
            free > kept && of.taken < OF_ONE
        };
        loop {
            let waiting =
                self.organizations.iter().filter(|(_, of)| may(of) && !of.waiting.is_empty());
            let first = waiting.min_by_key(|(_, of)| (of.taken, of.since));
            let organization = first?.0.clone();
            let of = self.organizations.get_mut(&organization)?;
            let granted = of.waiting.pop_front()?;
            of.taken += 1;
            self.taken += 1;
            if !granted.is_closed() {
                return Some((organization, granted));
            }
            self.leave(&organization);
        }
    }

    fn leave(&mut self, organization: &str) {
        self.taken -= 1;
        self.times += 1;
        if let Some(of) = self.organizations.get_mut(organization) {
            of.taken -= 1;
            of.since = self.times;
            if of.taken == 0 && of.waiting.is_empty() {
                self.organizations.remove(organization);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.lock().leave(&self.organization);
        self.line.grant();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::task::JoinSet;

    use super::*;

    /// Who holds places, and who waits.
    struct Crowd {
        line: Line,
        held: Vec<Place>,
        waiting: JoinSet<Option<Place>>,
    }

    impl Crowd {
        /// As many looks of each of so many organizations as it may want, none of which ends.
        async fn of(organizations: usize) -> Self {
            let mut crowd = Self { line: Line::default(), held: vec![], waiting: JoinSet::new() };
            for _ in 0..10 * OF_ONE {
                for organization in 0..organizations {
                    let (line, name) = (crowd.line.clone(), format!("silent-{organization}"));
                    crowd.waiting.spawn(async move { line.place(&name).await });
                    tokio::task::yield_now().await;
                }
            }
            crowd.take();
            crowd
        }

        /// Hold what was given.
        fn take(&mut self) {
            while let Some(place) = self.waiting.try_join_next() {
                self.held.extend(place.unwrap());
            }
        }
    }

    fn at_once(line: &Line, organization: &str) -> Option<Place> {
        line.place(organization).now_or_never().flatten()
    }

    #[tokio::test]
    async fn one_organization_has_only_so_many_places() {
        let crowd = Crowd::of(1).await;
        assert_eq!(crowd.held.len(), OF_ONE);
        assert!(at_once(&crowd.line, "silent-0").is_none());
        assert!(at_once(&crowd.line, "good").is_some());
    }

    #[tokio::test]
    async fn however_many_looks_others_have_who_has_none_gets_a_place_at_once() {
        for organizations in [12, 16, 50, OF_ALL - KEPT_FREE] {
            let crowd = Crowd::of(organizations).await;
            assert_eq!(crowd.held.len(), OF_ALL - KEPT_FREE, "{organizations}");
            for good in 0..KEPT_FREE {
                assert!(at_once(&crowd.line, &format!("good-{good}")).is_some(), "{organizations}");
            }
            let first = at_once(&crowd.line, "good");
            assert!(first.is_some());
            assert!(at_once(&crowd.line, "good").is_none(), "it has one");
        }
    }

    #[tokio::test]
    async fn a_free_place_goes_to_who_has_the_fewest_and_has_waited_for_longest() {
        let mut crowd = Crowd::of(OF_ALL).await;
        assert_eq!(crowd.held.len(), OF_ALL, "each has one");
        let mut late = Box::pin(crowd.line.place("late"));
        let mut later = Box::pin(crowd.line.place("later"));
        assert!((&mut late).now_or_never().is_none());
        assert!((&mut later).now_or_never().is_none());
        // each of the crowd waits, too, but had its place
        crowd.held.pop();
        let place = (&mut later).now_or_never();
        assert!(place.is_none(), "the other came first");
        let place = late.now_or_never().flatten();
        assert!(place.is_some());
        drop(place);
        assert!(later.now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_has_left() {
        let mut crowd = Crowd::of(3).await;
        crowd.waiting.abort_all();
        while crowd.waiting.join_next().await.is_some() {}
        crowd.held.clear();
        let state = crowd.line.lock();
        assert!(state.organizations.is_empty());
        assert_eq!(state.taken, 0);
    }
}
