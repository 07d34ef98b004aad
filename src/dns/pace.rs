//! How many questions a second are put to one server, or to the servers of one zone. Whoever comes
//! first asks first: a crowd delays the next one by no more than its own questions take, and nobody
//! else at all.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// For how many the pace is kept, before those who rest are forgotten.
const KEPT: usize = 10_000;

/// The pace at which each `K` is asked.
pub struct Pace<K> {
    /// The time that one question stands for.
    each: Duration,
    /// How much of that may be spent in advance.
    ahead: Duration,
    lines: Mutex<HashMap<K, Line>>,
}

/// Those who want to ask one, in the order in which they came. What it holds is when all that was
/// asked so far will have been paid for, at so much for each question.
type Line = Arc<tokio::sync::Mutex<Instant>>;

impl<K: Clone + Eq + Hash> Pace<K> {
    /// So many questions a second, and so many at once after a rest. Neither is zero.
    pub fn new(rate: u32, burst: u32) -> Self {
        let each = Duration::from_secs(1) / rate;
        Self { each, ahead: each * (burst - 1), lines: Mutex::default() }
    }

    /// Wait until one more question may be put. Whoever gives up waiting has asked nothing.
    pub async fn turn(&self, key: &K) {
        let line = self.line(key, Instant::now());
        let mut paid = line.lock().await;
        let wait = self.wait(*paid, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        *paid = (*paid).max(Instant::now()) + self.each;
    }

    fn wait(&self, paid: Instant, now: Instant) -> Duration {
        paid.saturating_duration_since(now).saturating_sub(self.ahead)
    }

    fn line(&self, key: &K, now: Instant) -> Line {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= KEPT && !lines.contains_key(key) {
            // one that somebody waits in is locked
            lines.retain(|_, line| line.try_lock().map_or(true, |paid| *paid > now));
        }
        let line = lines.entry(key.clone()).or_insert_with(|| Arc::new(now.into()));
        Arc::clone(line)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What comes of it without any waiting, not even for tokio's other tasks.
    fn at_once<T>(turn: impl Future<Output = T>) -> Option<T> {
        tokio::task::unconstrained(turn).now_or_never()
    }

    #[test]
    fn after_a_burst_questions_are_as_far_apart_as_the_rate_says() {
        let pace = Pace::<u8>::new(50, 200);
        let now = Instant::now();
        let asked =
            |questions: u32, after: Duration| pace.wait(now + pace.each * questions, now + after);
        assert_eq!(asked(199, Duration::ZERO), Duration::ZERO, "the 200th is put at once");
        assert_eq!(asked(200, Duration::ZERO), SECOND / 50, "the next one isn't");
        assert_eq!(asked(250, Duration::ZERO), SECOND + SECOND / 50);
        assert_eq!(asked(250, SECOND), SECOND / 50);
        assert_eq!(asked(250, 4 * SECOND), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_burst_is_let_through_and_a_crowd_waits_only_for_its_own() {
        let pace = Pace::new(50, 200);
        for _ in 0..200 {
            at_once(pace.turn(&"crowded")).expect("the burst isn't let through");
        }
        let mut crowd = Box::pin(join_all((0..100).map(|_| pace.turn(&"crowded"))));
        assert!((&mut crowd).now_or_never().is_none());
        for _ in 0..200 {
            at_once(pace.turn(&"other")).expect("another one has to wait");
        }
    }

    #[tokio::test]
    async fn who_comes_first_asks_first() {
        let pace = Pace::new(1000, 1);
        let (order, begun) = (Mutex::new(vec![]), Instant::now());
        let crowd = (0..50).map(async |number| {
            pace.turn(&()).await;
            order.lock().unwrap().push(number);
        });
        join_all(crowd).await;
        assert!(order.into_inner().unwrap().is_sorted());
        assert!(begun.elapsed() >= 49 * SECOND / 1000);
    }

    #[tokio::test]
    async fn who_gives_up_takes_nobodys_turn() {
        let pace = Pace::new(1, 1);
        pace.turn(&()).await;
        let line = pace.line(&(), Instant::now());
        let before = *line.lock().await;
        assert!(pace.turn(&()).now_or_never().is_none());
        assert_eq!(*line.lock().await, before);
    }

    #[tokio::test]
    async fn who_rests_is_forgotten_and_who_is_busy_is_not() {
        let pace = Pace::new(1, 1);
        for key in 0..KEPT {
            pace.line(&key, Instant::now());
        }
        let busy = pace.line(&0, Instant::now());
        *busy.lock().await += SECOND;
        let waiting = pace.line(&1, Instant::now());
        let _waits = waiting.lock().await;
        pace.line(&KEPT, Instant::now());
        let lines = pace.lines.lock().unwrap();
        let mut kept: Vec<_> = lines.keys().copied().collect();
        kept.sort_unstable();
        assert_eq!(kept, [0, 1, KEPT]);
    }
}
