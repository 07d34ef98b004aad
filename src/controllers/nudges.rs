//! Who is told of what: changes of namespaces, classes and the ledger, as reasons to look at
//! objects again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Kind, chain, pace::Pace};
use crate::ledger::{Change, Ledger, Topic};

/// How often the ledger is asked for changes: both sides see each other's rows within 500 ms, but for
/// what [`Pace`] keeps back.
const POLL: Duration = Duration::from_millis(250);
/// How many nudges may wait for a controller before it is told to look at everything instead.
const WAITING: usize = 1024;

/// A reason to look at some objects again.
#[derive(Clone, Debug)]
pub enum Nudge {
    /// Look at everything.
    All,
    /// A namespace came, went or changed.
    Namespace {
        name: String,
        /// The organizations it belongs to by its label, and belonged to before.
        organizations: Vec<String>,
    },
    /// An object of this kind came to this namespace, or goes.
    Object { kind: &'static str, namespace: String },
    /// Rows of the ledger changed: all of a topic that one look at it found, however many.
    Ledger { topic: Topic, changes: Arc<[Change]> },
}

#[derive(Clone)]
pub struct Nudges(broadcast::Sender<Nudge>);

impl Nudges {
    pub fn new() -> Self {
        Self(broadcast::channel(WAITING).0)
    }

    pub fn send(&self, nudge: Nudge) {
        // an error says only that no controller listens yet: its first pass sees everything
        let _ = self.0.send(nudge);
    }

    /// Each nudge from now on; for those that were missed, one to look at everything.
    pub fn stream(&self) -> impl Stream<Item = Nudge> + Send + use<> {
        stream::unfold(self.0.subscribe(), |mut receiver| async {
            match receiver.recv().await {
                Ok(nudge) => Some((nudge, receiver)),
                Err(RecvError::Lagged(_)) => Some((Nudge::All, receiver)),
                Err(RecvError::Closed) => None,
            }
        })
    }

    /// The objects that each nudge from now on concerns.
    pub fn objects<K: Kind>(
        &self,
        concerned: impl Fn(&Nudge) -> Vec<Arc<K>> + Send + 'static,
    ) -> impl Stream<Item = ObjectRef<K>> + Send + 'static {
        self.stream().flat_map(move |nudge| {
            stream::iter(concerned(&nudge)).map(|object| ObjectRef::from_obj(object.as_ref()))
        })
    }

    /// Pass on what changes in the ledger, until `stop`.
    pub async fn follow_ledger(&self, ledger: &Ledger, stop: CancellationToken) {
        let (mut seen, mut pace) = (None, Pace::default());
        while stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            if let Err(error) = self.pass_on(ledger, &mut seen, &mut pace).await {
                warn!(error = %chain(&error), "changes of the ledger not read");
                // another server may answer next, and know less than this one did
                seen = None;
            }
        }
    }

    async fn pass_on(
        &self,
        ledger: &Ledger,
        seen: &mut Option<i64>,
        pace: &mut Pace,
    ) -> crate::ledger::Result<()> {
        let Some(since) = *seen else {
            *seen = Some(ledger.latest_change().await?);
            self.send(Nudge::All); // what changed before is seen by looking at everything
            return Ok(());
        };
        let changes = ledger.changes_since(since).await?;
        *seen = changes.last().map_or(*seen, |change| Some(change.seq));
        let (figures, at_once) = changes.into_iter().partition(|c| c.topic.moves_figures());
        let all = [at_once, pace.due(figures, Instant::now())].concat();
        for topic in Topic::ALL {
            let changes: Arc<[_]> = all.iter().filter(|c| c.topic == topic).cloned().collect();
            if !changes.is_empty() {
                self.send(Nudge::Ledger { topic, changes });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::{
        fixture::{Acme, group, person},
        tests::ledger,
    };

    #[tokio::test]
    async fn what_only_moves_figures_is_passed_on_now_and_then_and_all_else_at_once() {
        let acme = Acme::new().await;
        let (nudges, mut seen, mut pace) = (Nudges::new(), None, Pace::default());
        let mut told = Box::pin(nudges.stream());
        nudges.pass_on(&acme.ledger, &mut seen, &mut pace).await.unwrap();
        assert!(matches!(told.next().await, Some(Nudge::All)));
        let mut topics = async || {
            nudges.pass_on(&acme.ledger, &mut seen, &mut pace).await.unwrap();
            let mut topics = vec![];
            while let Some(Some(Nudge::Ledger { topic, .. })) = told.next().now_or_never() {
                topics.push(topic);
            }
            topics
        };
        for (name, passed_on) in [("zoe", &[Topic::People][..]), ("yan", &[])] {
            acme.ledger.create_person(&acme.scim, &person(name, true), acme.now).await.unwrap();
            assert_eq!(topics().await, passed_on, "{name}");
        }
        let staff = group("Staff");
        acme.ledger.create_group(&acme.scim, &staff, &[], acme.now).await.unwrap();
        assert_eq!(topics().await, [Topic::Directory, Topic::Group]);
    }

    #[tokio::test]
    async fn a_burst_of_changes_is_passed_on_whole_and_wakes_nobody_else() {
        let (_folder, ledger) = ledger().await;
        let (nudges, mut seen, mut pace) = (Nudges::new(), None, Pace::default());
        let mut told = Box::pin(nudges.stream());
        nudges.pass_on(&ledger, &mut seen, &mut pace).await.unwrap();
        assert!(matches!(told.next().await, Some(Nudge::All)), "what was before");

        ledger.name_organization("id", "acme", Timestamp::UNIX_EPOCH).await.unwrap();
        let many = WAITING + 1;
        for number in 0..many {
            let name = number.to_string();
            ledger.make_directory("id", &name, Timestamp::UNIX_EPOCH).await.unwrap();
        }
        nudges.pass_on(&ledger, &mut seen, &mut pace).await.unwrap();
        let Some(Nudge::Ledger { topic: Topic::Directory, changes }) = told.next().await else {
            panic!("something else was told");
        };
        assert_eq!(changes.len(), many);
        nudges.pass_on(&ledger, &mut seen, &mut pace).await.unwrap();
        assert!(told.next().now_or_never().is_none(), "told twice");
    }
}
