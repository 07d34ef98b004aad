//! Many writes, one sync to the disk: what directories write while another write is under way goes
//! into one transaction with the next. Each has a savepoint of its own, but for the first, so that one
//! that is refused undoes nothing of the others, and none is answered before all are on the disk. Whose
//! is next, `queue` says.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Access, Refused, line::Growth, queue::Queue};
use crate::ledger::{
    Error, Result,
    db::{self, Ids, Text, Tx, concerns_one, query},
};

/// How many writes share a transaction at most.
const TOGETHER: usize = 64;
/// How long the first of them may have taken for more to join it: others wait for the lock.
const LONG: Duration = Duration::from_millis(100);

/// Called with whether the transaction is on the disk.
type Tell = Box<dyn FnOnce(bool) + Send>;
type Job = Box<dyn for<'c> FnOnce(&'c mut Tx, &'c Changes) -> BoxFuture<'c, Outcome> + Send>;

/// What became of a job, before it is on the disk.
struct Outcome {
    kept: Kept,
    tell: Tell,
}

enum Kept {
    Changed(Change),
    /// Nothing of it stays.
    Nothing,
    /// The database failed: what the others did can't be relied on either.
    Broken,
}

/// What a transaction changes, by directory.
#[derive(Default)]
struct Changes(BTreeMap<Uuid, Change>);

/// A directory that changed.
struct Change {
    access: Access,
    at: Timestamp,
    /// By how many bytes more it holds.
    grew: i64,
}

impl Changes {
    fn add(&mut self, change: Change) {
        let before = self.0.remove(&change.access.directory()).map_or(0, |before| before.grew);
        let change = Change { grew: before + change.grew, ..change };
        self.0.insert(change.access.directory(), change);
    }

    /// By how many bytes more the directories of an organization hold.
    fn of(&self, organization: &str) -> i64 {
        let its = self.0.values().filter(|change| change.access.organization() == organization);
        its.map(|change| change.grew).sum()
    }

    /// Write down which directories changed, and tell the other side.
    async fn write(&self, tx: &mut Tx) -> Result<()> {
        let Some(at) = self.0.values().map(|change| change.at.as_second()).max() else {
            return Ok(());
        };
        query(Text::Each {
            // a row of changes that is in the way is replaced
            sqlite: "UPDATE directories SET changed_at = $1, bytes = bytes + grew.value
                 FROM json_each($2) id JOIN json_each($3) grew USING (key)
                 WHERE directories.id = unhex(id.value);
                 INSERT INTO changes (topic, organization_id, name)
                 SELECT 'directory', d.organization_id, d.name
                 FROM json_each($2) j CROSS JOIN directories d ON d.id = unhex(j.value)",
            postgres: "WITH changed AS (
                     UPDATE directories d SET changed_at = $1, bytes = bytes + j.grew
                     FROM unnest($2, $3) j (id, grew) WHERE d.id = j.id
                     RETURNING d.organization_id, d.name)
                 INSERT INTO changes (topic, organization_id, name)
                 SELECT 'directory', organization_id, name FROM changed
                 ON CONFLICT (topic, organization_id, name) DO UPDATE SET seq = excluded.seq",
        })
        .bind(at)
        .bind(Ids(self.0.keys().copied().collect()))
        .bind(self.0.values().map(|change| change.grew).collect::<Vec<_>>())
        .execute(tx)
        .await?;
        #[cfg(test)]
        self.0.keys().for_each(|directory| super::crash::point(*directory, "change"));
        Ok(())
    }
}

/// The one who writes for all directories. Cheap to clone; ends with its last clone.
#[derive(Clone)]
pub(in super::super) struct Writer {
    queue: mpsc::UnboundedSender<(String, Job)>,
    limit: i64,
}

/// The writes that wait: as many as their organizations may have under way at once.
struct Waiting {
    queue: Queue<Job>,
    arriving: mpsc::UnboundedReceiver<(String, Job)>,
}

impl Writer {
    /// Must be called in a tokio runtime.
    pub fn start(writer: db::Writer) -> Self {
        let (sender, arriving) = mpsc::unbounded_channel();
        let mut waiting = Waiting { queue: Queue::new(), arriving };
        tokio::spawn(async move {
            while let Some(first) = waiting.next().await {
                let mut told: Vec<Tell> = Vec::new();
                let written = together(&writer, first, &mut waiting, &mut told).await;
                if let Err(error) = &written {
                    tracing::error!(%error, writes = told.len(), "writes were abandoned");
                }
                told.into_iter().for_each(|tell| tell(written.is_ok()));
            }
        });
        Self { queue: sender, limit: i64::MAX }
    }

    /// The same writer, by which the directories of no organization grow beyond so many bytes.
    pub fn with_limit(self, limit: i64) -> Self {
        Self { limit, ..self }
    }

    /// Do `work`, and return what it returns once it is on the disk. It also says by how much the
    /// directory grew, if it changed. Where it is refused, by the database too, or changed nothing,
    /// nothing of it stays.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        access: &Access,
        now: Timestamp,
        work: impl for<'c> FnOnce(
            &'c mut Tx,
            &'c Access,
        ) -> BoxFuture<'c, Result<(T, Option<Growth>), Refused>>
        + Send
        + 'static,
    ) -> Result<T, Refused> {
        let (tell, told) = oneshot::channel();
        let (organization, access) = (access.organization().to_owned(), access.clone());
        let limit = self.limit;
        let job: Job = Box::new(move |tx, others| {
            async move {
                let mut result = work(tx, &access).await;
                if let Ok((_, Some(Growth { by: by @ 1.., from }))) = result
                    && from + others.of(access.organization()) + by > limit
                {
                    result = Err(Refused::NoRoom(limit));
                }
                let kept = match &result {
                    Ok((_, Some(growth))) => {
                        Kept::Changed(Change { access, at: now, grew: growth.by })
                    }
                    Err(Refused::Ledger(error)) if !concerns_one(error) => Kept::Broken,
                    _ => Kept::Nothing,
                };
                let tell = Box::new(move |on_disk: bool| {
                    // what was refused was so for what others did, of which nothing stays either
                    let result = if on_disk { result } else { Err(Error::Abandoned.into()) };
                    let result = result.map(|(value, _)| value);
                    let _ = tell.send(result); // whoever asked may be gone
                });
                Outcome { kept, tell }
            }
            .boxed()
        });
        self.queue.send((organization, job)).map_err(|_| Error::Abandoned)?;
        told.await.map_err(|_| Error::Abandoned)?
    }
}

impl Waiting {
    /// The next write, which is waited for; `None` once nobody is left who could write.
    async fn next(&mut self) -> Option<(String, Job)> {
        if let Some(next) = self.next_now() {
            return Some(next);
        }
        let (organization, job) = self.arriving.recv().await?;
        self.queue.push(organization, job);
        self.next_now()
    }

    /// The next write, if one waits.
    fn next_now(&mut self) -> Option<(String, Job)> {
        while let Ok((organization, job)) = self.arriving.try_recv() {
            self.queue.push(organization, job);
        }
        self.queue.pop()
    }
}

/// One transaction of all that waits, `first` first.
async fn together(
    writer: &db::Writer,
    first: (String, Job),
    waiting: &mut Waiting,
    told: &mut Vec<Tell>,
) -> Result<()> {
    let mut tx = writer.begin().await?;
    let mut changes = Changes::default();
    let (mut next, began) = (Some(first), Instant::now());
    while let Some((organization, job)) = next {
        // the first is undone with the transaction
        match told.len() {
            0 => {}
            1 => tx.run("SAVEPOINT one").await?,
            _ => tx.run("RELEASE SAVEPOINT one; SAVEPOINT one").await?,
        }
        let since = Instant::now();
        let done = AssertUnwindSafe(job(&mut tx, &changes)).catch_unwind().await;
        waiting.queue.took(organization, since.elapsed());
        let Outcome { kept, tell } = done.map_err(|_| Error::Abandoned)?;
        told.push(tell);
        match kept {
            Kept::Changed(change) => changes.add(change),
            Kept::Nothing if told.len() == 1 => return Ok(()),
            Kept::Nothing => tx.run("ROLLBACK TO SAVEPOINT one").await?,
            Kept::Broken => return Err(Error::Abandoned),
        }
        let more = told.len() < TOGETHER && began.elapsed() < LONG;
        next = if more { waiting.next_now() } else { None };
    }
    changes.write(&mut tx).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::{future::join_all, poll};

    use super::*;
    use crate::ledger::{
        fixture::{Acme, person},
        scim::{Condition, PersonFields, Window},
    };

    #[tokio::test]
    async fn whoever_writes_what_takes_long_keeps_others_waiting_for_one_write_alone() {
        let acme = Acme::new().await;
        acme.ledger.name_organization("id-globex", "globex", acme.now).await.unwrap();
        let directory = acme.ledger.make_directory("id-globex", "okta", acme.now).await.unwrap().id;
        acme.ledger.replace_token(directory, Uuid::now_v7(), b"globex", acme.now).await.unwrap();
        let globex = acme.ledger.scim_access("globex", "okta", b"globex").await.unwrap().unwrap();
        let order = Arc::new(Mutex::new(String::new()));
        let write = |access, name: char, takes: Duration| {
            let order = order.clone();
            acme.ledger.writer.write(access, acme.now, move |_, _| {
                async move {
                    order.lock().unwrap().push(name);
                    tokio::time::sleep(takes).await;
                    Ok(((), None))
                }
                .boxed()
            })
        };
        let held = acme.ledger.begin().await.unwrap();
        // more than can go into one transaction
        let long: Vec<_> = (0..5).map(|_| write(&acme.scim, 'a', LONG)).collect();
        let short: Vec<_> = (0..3).map(|_| write(&globex, 'g', Duration::ZERO)).collect();
        let mut writes = Box::pin(join_all(long.into_iter().chain(short)));
        assert!(poll!(&mut writes).is_pending());
        drop(held);
        for written in writes.await {
            written.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), "agggaaaa");
    }

    #[tokio::test]
    async fn what_the_database_refuses_of_one_harms_nobody_who_writes_with_them() {
        let acme = Acme::new().await;
        let person = |name: &str, attributes: &str| PersonFields {
            attributes: attributes.into(),
            ..person(name, true)
        };
        // no database takes the second of them for JSON
        for (names, bad) in [(["a", "b", "c"], 1), (["d", "e", "f"], 0)] {
            let people: Vec<_> =
                (0..3).map(|i| person(names[i], if i == bad { "{" } else { "{}" })).collect();
            let held = acme.ledger.begin().await.unwrap();
            let create = |person| acme.ledger.create_person(&acme.scim, person, acme.now);
            let mut writes = Box::pin(join_all(people.iter().map(create)));
            assert!(poll!(&mut writes).is_pending(), "they wait, to go into one transaction");
            drop(held);
            for (i, written) in writes.await.into_iter().enumerate() {
                match written {
                    Ok(_) => assert_ne!(i, bad),
                    Err(Refused::Ledger(Error::Sql(sqlx::Error::Database(_)))) => {
                        assert_eq!(i, bad);
                    }
                    Err(error) => panic!("{}: {error:?}", names[i]),
                }
            }
        }
        let window = Window { offset: 0, limit: 9, bytes: 9_999 };
        let all = Condition::Const(true);
        let people = acme.ledger.find_people(&acme.scim, &all, window).await.unwrap();
        assert_eq!(people.total, 2 + 4, "with Ada and Grace");
    }
}
