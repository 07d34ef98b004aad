//! Whose write is next: that of the organization which had the least of the writer's time. Whoever
//! writes much, or what takes long, keeps each of the others waiting for one write, and not for all.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// The writes that wait, in the order of their arrival for each organization.
pub(super) struct Queue<T> {
    lines: HashMap<String, Line<T>>,
    arrived: u64,
    /// How much time the organization had had whose write was the last to begin.
    had: Duration,
}

struct Line<T> {
    /// With the numbers of their arrival.
    waiting: VecDeque<(u64, T)>,
    /// How much of the writer's time the organization had. What it leaves to others while nothing of
    /// it waits isn't saved up.
    had: Duration,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Self { lines: HashMap::new(), arrived: 0, had: Duration::ZERO }
    }

    pub fn push(&mut self, organization: String, write: T) {
        self.arrived += 1;
        let arrived = self.arrived;
        self.line(organization).waiting.push_back((arrived, write));
    }

    /// The next write, and whose it is. Once nothing waits, all are equal again.
    pub fn pop(&mut self) -> Option<(String, T)> {
        let next = |(_, line): &(_, &mut Line<T>)| {
            line.waiting.front().map_or((Duration::MAX, 0), |(arrived, _)| (line.had, *arrived))
        };
        let next = self.lines.iter_mut().min_by_key(next);
        let next = next.and_then(|(organization, line)| {
            Some((organization.clone(), line.had, line.waiting.pop_front()?.1))
        });
        let Some((organization, had, write)) = next else {
            *self = Self::new();
            return None;
        };
        self.had = had;
        self.lines.retain(|_, line| !line.waiting.is_empty() || line.had > had);
        Some((organization, write))
    }

    /// A write of the organization took so long.
    pub fn took(&mut self, organization: String, time: Duration) {
        self.line(organization).had += time;
    }

    fn line(&mut self, organization: String) -> &mut Line<T> {
        let new = || Line { waiting: VecDeque::new(), had: Duration::ZERO };
        let line = self.lines.entry(organization).or_insert_with(new);
        line.had = line.had.max(self.had);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Whose writes follow each other, each taking as many milliseconds as it says.
    fn order(queue: &mut Queue<u32>, many: usize) -> String {
        let mut next = || {
            let (organization, time) = queue.pop()?;
            queue.took(organization.clone(), MS * time);
            Some(organization)
        };
        (0..many).map_while(|_| next()).collect()
    }

    #[test]
    fn writes_of_one_organization_keep_their_order() {
        let mut queue = Queue::new();
        (0..5).for_each(|write| queue.push("a".into(), write));
        let writes: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, write)| write).collect();
        assert_eq!(writes, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn whoever_comes_waits_for_one_write_of_each_other_and_not_for_all() {
        let mut queue = Queue::new();
        (0..64).for_each(|_| queue.push("a".into(), 10));
        assert_eq!(order(&mut queue, 20), "a".repeat(20));
        queue.push("b".into(), 10);
        assert_eq!(order(&mut queue, 2), "ba");
        queue.push("c".into(), 10);
        queue.push("b".into(), 10);
        assert_eq!(order(&mut queue, 3), "cba");
    }

    #[test]
    fn what_takes_long_is_followed_by_as_much_of_the_others() {
        let mut queue = Queue::new();
        (0..10).for_each(|_| queue.push("a".into(), 1000));
        assert_eq!(order(&mut queue, 1), "a");
        (0..99).for_each(|_| queue.push("b".into(), 100));
        // "b" begins where "a" began, whose second write comes after its first one's time
        assert_eq!(order(&mut queue, 12), format!("{}a{}", "b".repeat(10), "b"));
    }

    #[test]
    fn nobody_saves_up_by_waiting_and_nobody_pays_once_nothing_waits() {
        let mut queue = Queue::new();
        (0..3).for_each(|_| queue.push("a".into(), 10));
        (0..100).for_each(|_| queue.push("b".into(), 10));
        assert_eq!(order(&mut queue, 50), format!("ababab{}", "b".repeat(44)));
        (0..3).for_each(|_| queue.push("a".into(), 10));
        assert_eq!(order(&mut queue, 6), "ababab");
        assert_eq!(order(&mut queue, 99).len(), 50);
        // "b" had far more; but that was then
        queue.push("b".into(), 10);
        queue.push("a".into(), 10);
        assert_eq!(order(&mut queue, 2), "ba");
    }
}
