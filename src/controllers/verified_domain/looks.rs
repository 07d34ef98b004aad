//! Looks under way. They hold no pass: a pass begins one, and another takes what it found. They are
//! those of a claim, whichever object makes it at the moment: who has two take turns ends no look.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use crate::dns::{Answer, DomainName, Examination};

/// Whose look it is, and at what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The organization's namespace.
    pub organization: String,
    pub domain: DomainName,
}

/// The last look at a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    pub at: Timestamp,
    pub answer: Answer,
    /// For how long after it no look shows anything new.
    pub wait_at_least: Duration,
}

/// Where the look at a domain stands.
#[derive(Debug)]
pub enum Standing {
    /// None is under way.
    Idle,
    /// One was begun so long ago.
    UnderWay(Duration),
    /// It found this, which stands until it is settled.
    Found(Found),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The look's own number.
    number: u64,
    /// When it ended.
    pub at: Timestamp,
    pub answer: Answer,
    /// What to say of it.
    pub explanation: String,
    /// What the look before it had found.
    pub before: Option<Answer>,
}

#[cfg(test)]
impl Found {
    /// What a look finds that has this to say.
    pub fn of(answer: Answer, explanation: String) -> Self {
        Self { number: 0, at: Timestamp::UNIX_EPOCH, answer, explanation, before: None }
    }
}

#[derive(Clone)]
pub struct Looks(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    line: Line,
    finished: UnboundedSender<Subject>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    subjects: HashMap<Subject, Known>,
    /// The number of the last look that was begun.
    begun: u64,
}

#[derive(Default)]
struct Known {
    look: Option<Look>,
    last: Option<Last>,
    /// Whether a look was asked for that couldn't be begun yet.
    asked: bool,
}

struct Look {
    number: u64,
    begun: Instant,
    /// The value that is looked for: what is found says nothing of another.
    value: String,
    found: Option<Found>,
}

impl Looks {
    /// The looks of a controller that runs until `stop`, and the subjects whose look has ended.
    pub fn new(stop: CancellationToken) -> (Self, UnboundedReceiver<Subject>) {
        let (finished, subjects) = unbounded();
        let (state, line) = (Mutex::default(), Line::default());
        (Self(Arc::new(Inner { state, line, finished, stop })), subjects)
    }

    /// Begin to look for `value`, when it is the organization's turn. Whatever was under way for the
    /// subject no longer counts. `look` does it; the stream tells once it is done.
    pub fn begin<F>(
        &self,
        subject: &Subject,
        value: &str,
        look: impl FnOnce() -> F + Send + 'static,
    ) where
        F: Future<Output = Examination> + Send + 'static,
    {
        let turn = {
            let mut state = self.0.lock();
            state.begun += 1;
            let number = state.begun;
            let known = state.subjects.entry(subject.clone()).or_default();
            known.asked = false;
            let (value, begun) = (value.to_owned(), Instant::now());
            known.look = Some(Look { number, begun, value, found: None });
            Turn { looks: self.0.clone(), subject: subject.clone(), number }
        };
        let stop = self.0.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let Some(_place) = turn.looks.line.place(&turn.subject.organization).await else {
                return;
            };
            if turn.is_wanted() {
                // on the heap, so that those that wait take little
                let found = Box::pin(look()).await;
                turn.found(found, Timestamp::now());
            }
        }));
    }

    /// Whether a look is asked for now, or was before and hasn't been begun since.
    pub fn asked(&self, subject: &Subject, now: bool) -> bool {
        let mut state = self.0.lock();
        if now {
            state.subjects.entry(subject.clone()).or_default().asked = true;
        }
        state.subjects.get(subject).is_some_and(|known| known.asked)
    }

    /// Where the subject's look for `value` stands.
    pub fn standing(&self, subject: &Subject, value: &str) -> Standing {
        let state = self.0.lock();
        let look = state.subjects.get(subject).and_then(|known| known.look.as_ref());
        match look.filter(|look| look.value == value) {
            None => Standing::Idle,
            Some(Look { found: None, begun, .. }) => Standing::UnderWay(begun.elapsed()),
            Some(Look { found: Some(found), .. }) => Standing::Found(found.clone()),
        }
    }

    /// What was found has had all its effects.
    pub fn settle(&self, subject: &Subject, found: &Found) {
        let mut state = self.0.lock();
        if let Some(known) = state.subjects.get_mut(subject)
            && known.look.as_ref().is_some_and(|look| look.number == found.number)
        {
            known.look = None;
        }
    }

    /// The last look at the subject, if this process has made one.
    pub fn last(&self, subject: &Subject) -> Option<Last> {
        self.0.lock().subjects.get(subject)?.last
    }

    /// There is no such claim any more: what was found for it says nothing of a later one.
    pub fn forget(&self, subject: &Subject) {
        self.0.lock().subjects.remove(subject);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look that was begun, which ends with it.
struct Turn {
    looks: Arc<Inner>,
    subject: Subject,
    number: u64,
}

impl Turn {
    /// Whether anybody still waits for this look.
    fn is_wanted(&self) -> bool {
        self.looks.lock().look(self).is_some()
    }

    fn found(&self, found: Examination, at: Timestamp) {
        let Examination { answer, explanation, wait_at_least, .. } = found;
        let mut state = self.looks.lock();
        let Some(known) = state.look(self) else { return };
        let wait_at_least = wait_at_least.unwrap_or_default();
        let before = known.last.replace(Last { at, answer, wait_at_least });
        if let Some(look) = &mut known.look {
            let before = before.map(|last| last.answer);
            look.found = Some(Found { number: self.number, at, answer, explanation, before });
        }
    }
}

impl State {
    /// What is known of the subject, if `turn`'s is its look.
    fn look(&mut self, turn: &Turn) -> Option<&mut Known> {
        let known = self.subjects.get_mut(&turn.subject)?;
        let number = known.look.as_ref()?.number;
        (number == turn.number).then_some(known)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.looks.lock();
        // it ended without finding anything, by a defect or because we stop: the next one comes no
        // sooner than after any other look
        if let Some(known) = state.look(self)
            && known.look.as_ref().is_some_and(|look| look.found.is_none())
        {
            let (at, wait_at_least) = (Timestamp::now(), Duration::ZERO);
            known.last = Some(Last { at, answer: Answer::Malformed, wait_at_least });
            known.look = None;
        }
        drop(state);
        // an error says only that the controller is gone
        let _ = self.looks.finished.unbounded_send(self.subject.clone());
    }
}

/// A fixed place between 0.9 and 1.1 for each value that is looked for, so that what began together
/// doesn't stay together. The value is an HMAC: its end is as good as random.
pub fn spread(value: &str) -> f64 {
    let end = value.len().checked_sub(4).and_then(|at| value.get(at..));
    let place = end.and_then(|end| u16::from_str_radix(end, 16).ok());
    place.map_or(1.0, |place| 0.9 + 0.2 * f64::from(place) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use futures::{Stream, StreamExt};
    use tokio::sync::oneshot;

    use super::{super::line, *};

    fn subject(organization: &str, name: &str) -> Subject {
        let domain = DomainName::parse(&format!("{name}.example")).unwrap();
        Subject { organization: organization.into(), domain }
    }

    fn examination(answer: Answer) -> Examination {
        Examination {
            answer,
            explanation: String::new(),
            wait_at_least: Some(Duration::from_secs(60)),
            steps: vec![],
        }
    }

    /// What the subject's look found; it is settled then.
    fn answered(looks: &Looks, subject: &Subject) -> Option<Answer> {
        let Standing::Found(found) = looks.standing(subject, "v") else { return None };
        assert!(
            matches!(looks.standing(subject, "v"), Standing::Found(again) if again == found),
            "who couldn't do anything with it finds it again"
        );
        looks.settle(subject, &found);
        assert!(matches!(looks.standing(subject, "v"), Standing::Idle));
        Some(found.answer)
    }

    async fn next(finished: &mut (impl Stream<Item = Subject> + Unpin)) -> Subject {
        let next = tokio::time::timeout(Duration::from_secs(10), finished.next());
        next.await.expect("no look ended").expect("the looks are gone")
    }

    #[tokio::test]
    async fn a_thousand_silent_domains_of_one_organization_delay_no_others() {
        let (looks, mut finished) = Looks::new(CancellationToken::new());
        let mut bad = vec![];
        for number in 0..1000 {
            let (answer, silence) = oneshot::channel();
            let subject = subject("bad", &number.to_string());
            looks.begin(&subject, "v", move || async move { silence.await.unwrap() });
            bad.push((subject, answer));
        }
        let good = subject("good", "good");
        looks.begin(&good, "v", || async { examination(Answer::Match) });
        assert_eq!(next(&mut finished).await, good);
        assert_eq!(answered(&looks, &good), Some(Answer::Match));

        // the bad ones have their turns, first come, first served
        for (subject, answer) in bad {
            assert!(matches!(looks.standing(&subject, "v"), Standing::UnderWay(_)));
            answer.send(examination(Answer::Timeout)).unwrap();
            assert_eq!(next(&mut finished).await, subject);
            assert_eq!(answered(&looks, &subject), Some(Answer::Timeout));
        }
    }

    #[tokio::test]
    async fn a_look_that_is_no_longer_wanted_is_not_made_and_says_nothing() {
        let (looks, mut finished) = Looks::new(CancellationToken::new());
        let d = subject("acme", "d");
        let (answer, first) = oneshot::channel();
        let (begins, begun) = oneshot::channel();
        looks.begin(&d, "v", move || async move {
            begins.send(()).unwrap();
            first.await.unwrap()
        });
        begun.await.unwrap();
        looks.begin(&d, "v", || async { examination(Answer::NxDomain) });
        assert_eq!(next(&mut finished).await, d);
        answer.send(examination(Answer::Match)).unwrap();
        assert_eq!(next(&mut finished).await, d);
        assert_eq!(answered(&looks, &d), Some(Answer::NxDomain), "the newer one counts");
        let last = looks.last(&d).unwrap();
        let expected = (Answer::NxDomain, Duration::from_secs(60));
        assert_eq!((last.answer, last.wait_at_least), expected);

        // found for one value, it says nothing of another
        looks.begin(&d, "other", || async { examination(Answer::Match) });
        next(&mut finished).await;
        assert_eq!(answered(&looks, &d), None);

        let (answer, look) = oneshot::channel();
        let (begins, begun) = oneshot::channel();
        looks.begin(&d, "v", move || async move {
            begins.send(()).unwrap();
            look.await.unwrap()
        });
        begun.await.unwrap();
        looks.forget(&d);
        answer.send(examination(Answer::Match)).unwrap();
        next(&mut finished).await;
        assert!(looks.0.lock().subjects.is_empty(), "what is deleted is not remembered");
    }

    #[tokio::test]
    async fn a_look_that_fails_by_a_defect_can_be_begun_again() {
        let (looks, mut finished) = Looks::new(CancellationToken::new());
        let d = subject("acme", "d");
        for _ in 0..line::OF_ONE + 1 {
            looks.begin(&d, "v", || async { panic!("a defect, on purpose") });
            next(&mut finished).await;
            assert!(matches!(looks.standing(&d, "v"), Standing::Idle));
            assert_eq!(looks.last(&d).unwrap().answer, Answer::Malformed, "it isn't tried at once");
        }
        looks.begin(&d, "v", || async { examination(Answer::Match) });
        next(&mut finished).await;
        assert_eq!(answered(&looks, &d), Some(Answer::Match));
    }

    #[test]
    fn each_value_has_its_place_around_one() {
        let places = ["0000", "8000", "ffff", "", "ü", "no hex"].map(spread);
        assert!(places.iter().all(|place| (0.9..=1.1).contains(place)), "{places:?}");
        assert!(places[0] < places[1] && places[1] < places[2], "{places:?}");
    }
}
