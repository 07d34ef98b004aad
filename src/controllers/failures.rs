//! How often passes failed: each object waits by itself, longer each time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::DEADLINE;

/// How soon and how late a failed pass is repeated.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How often in a row each object's pass has failed, and when it last did.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, (u32, Instant)>>);

impl Failures {
    /// Count one more; returns how long to wait.
    pub fn count(&self, key: String) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (soonest, latest) = BACKOFF;
        // those of objects that went meanwhile
        counts.retain(|_, (_, at)| at.elapsed() < latest * 2 + DEADLINE);
        let (count, at) = counts.entry(key).or_insert((0, Instant::now()));
        let delay = soonest.saturating_mul(1 << (*count).min(16)).min(latest);
        (*count, *at) = (*count + 1, Instant::now());
        delay
    }

    pub fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_an_object_waits_longer_until_it_succeeds() {
        let failures = Failures::default();
        let waits: Vec<_> = (0..4).map(|_| failures.count("a".into()).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        assert_eq!(failures.count("b".into()).as_secs(), 1);
        failures.forget("a");
        assert_eq!(failures.count("a".into()).as_secs(), 1);
        for _ in 0..40 {
            assert!(failures.count("a".into()) <= BACKOFF.1);
        }
    }
}
