//! Many writes, one sync to the disk: what directories write while another write is under way goes
//! into one transaction with the next, and none is answered before all are on the disk. Whose is next,
//! `queue` says.
//!
//! Each statement keeps everybody waiting, so there is none around a write. One that is refused after
//! it may have written takes the whole transaction along: all of them are made again, and what came of
//! them before is forgotten. From then on each has a savepoint of its own, so that one that is refused
//! undoes nothing of the others, until that was needed for none of [`CAREFUL`]. So whoever sends
//! nothing but what is refused has few of others' writes made twice, and pays for those with their own
//! turns.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    iter, mem,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Access, Refused, line::Effect, queue::Queue};
use crate::ledger::{
    Error, Result, Topic,
    db::{self, Ids, Text, Tx, concerns_one, query},
    queries::topic_name,
};

/// How many writes share a transaction at most.
const TOGETHER: usize = 64;
/// How long the first of them may have taken for more to join it: others wait for the lock.
const LONG: Duration = Duration::from_millis(100);
/// For how many writes each has a savepoint after one had to be undone. More than share a transaction,
/// so that none is made a third time.
const CAREFUL: usize = 1_000;

/// What a write returns, and what comes of it: `None` promises that no statement of it wrote anything,
/// and so does [`Refused::NotFound`].
pub(super) type Made<T> = Result<(T, Option<Effect>), Refused>;

/// A write that waits. It may be made again where its transaction was undone: the last time counts.
trait Write: Send {
    fn make<'c>(&'c mut self, tx: &'c mut Tx, others: &'c Changes) -> BoxFuture<'c, Kept>;

    /// Tell whoever waits what came of it, now that it is on the disk, or never will be.
    fn tell(self: Box<Self>, on_disk: bool);
}

/// What stays of a write.
enum Kept {
    Changed(Change),
    /// It wrote nothing.
    Untouched,
    /// Nothing: what it may have written is to be undone.
    Nothing,
    /// The database failed: what the others did can't be relied on either.
    Broken(Error),
}

/// The work of [`Writer::write`].
struct Job<I, W, T> {
    access: Access,
    at: Timestamp,
    limit: i64,
    input: I,
    work: W,
    result: Result<T, Refused>,
    told: oneshot::Sender<Result<T, Refused>>,
}

impl<I, W, T> Write for Job<I, W, T>
where
    I: Send + Sync,
    W: for<'c> Fn(&'c mut Tx, &'c Access, &'c I) -> BoxFuture<'c, Made<T>> + Send + Sync,
    T: Send,
{
    fn make<'c>(&'c mut self, tx: &'c mut Tx, others: &'c Changes) -> BoxFuture<'c, Kept> {
        async move {
            #[cfg(test)]
            let before = tests::rows_written(tx).await;
            let mut made = (self.work)(tx, &self.access, &self.input).await;
            if let Ok((_, Some(Effect { by: by @ 1.., from, .. }))) = made
                && from + others.of(self.access.organization()) + by > self.limit
            {
                made = Err(Refused::NoRoom(self.limit));
            }
            let kept = match &mut made {
                Ok((_, Some(Effect { topic, by, .. }))) => {
                    let access = self.access.clone();
                    Kept::Changed(Change { access, at: self.at, topic: *topic, grew: *by })
                }
                Ok((_, None)) | Err(Refused::NotFound) => Kept::Untouched,
                Err(Refused::Ledger(error)) if !concerns_one(error) => {
                    Kept::Broken(mem::replace(error, Error::Abandoned))
                }
                Err(_) => Kept::Nothing,
            };
            #[cfg(test)]
            if matches!(kept, Kept::Untouched) {
                assert_eq!(tests::rows_written(tx).await, before, "what says it wrote nothing did");
            }
            self.result = made.map(|(value, _)| value);
            kept
        }
        .boxed()
    }

    fn tell(self: Box<Self>, on_disk: bool) {
        // what was refused was so for what others did, of which nothing stays either
        let result = if on_disk { self.result } else { Err(Error::Abandoned.into()) };
        let _ = self.told.send(result); // whoever asked may be gone
    }
}

/// What a transaction changes, by directory.
#[derive(Default)]
struct Changes(BTreeMap<Uuid, Change>);

/// A directory that changed.
struct Change {
    access: Access,
    at: Timestamp,
    /// What of it changed.
    topic: Topic,
    /// By how many bytes more it holds.
    grew: i64,
}

impl Changes {
    fn add(&mut self, change: Change) {
        match self.0.entry(change.access.directory()) {
            Entry::Vacant(first) => drop(first.insert(change)),
            Entry::Occupied(mut before) => {
                let before = before.get_mut();
                before.at = change.at;
                before.grew += change.grew;
                if change.topic == Topic::Directory {
                    before.topic = Topic::Directory; // whoever looks at that sees the people, too
                }
            }
        }
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
                 SELECT topic.value, d.organization_id, d.name
                 FROM json_each($4) topic JOIN json_each($2) id USING (key)
                 CROSS JOIN directories d ON d.id = unhex(id.value)",
            postgres: "WITH changed AS (
                     UPDATE directories d SET changed_at = $1, bytes = bytes + j.grew
                     FROM unnest($2, $3, $4) j (id, grew, topic) WHERE d.id = j.id
                     RETURNING j.topic, d.organization_id, d.name)
                 INSERT INTO changes (topic, organization_id, name)
                 SELECT topic, organization_id, name FROM changed
                 ON CONFLICT (topic, organization_id, name) DO UPDATE SET seq = excluded.seq",
        })
        .bind(at)
        .bind(Ids(self.0.keys().copied().collect()))
        .bind(self.0.values().map(|change| change.grew).collect::<Vec<_>>())
        .bind(self.0.values().map(|change| topic_name(change.topic)).collect::<Vec<_>>())
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
    queue: mpsc::UnboundedSender<(String, Box<dyn Write>)>,
    limit: i64,
}

/// The writes that wait: as many as their organizations may have under way at once.
struct Waiting {
    queue: Queue<Box<dyn Write>>,
    arriving: mpsc::UnboundedReceiver<(String, Box<dyn Write>)>,
    /// What was undone for another's sake goes before all, with the organization whose time it takes.
    again: VecDeque<(String, Box<dyn Write>)>,
    /// How many of the next writes have a savepoint.
    careful: usize,
}

impl Writer {
    /// Must be called in a tokio runtime.
    pub fn start(writer: db::Writer) -> Self {
        let (sender, arriving) = mpsc::unbounded_channel();
        let mut waiting =
            Waiting { queue: Queue::new(), arriving, again: VecDeque::new(), careful: 0 };
        tokio::spawn(async move {
            while let Some(first) = waiting.next().await {
                let (mut made, since) = (Vec::new(), Instant::now());
                let written = match writer.begin().await {
                    Ok(tx) => together(tx, first, &mut waiting, &mut made).await,
                    Err(error) => {
                        made.push(first.1);
                        if since.elapsed() > LONG {
                            // the others waited too, and would again, each for itself
                            made.extend(iter::from_fn(|| waiting.next_now()).map(|(_, it)| it));
                        }
                        Err(error)
                    }
                };
                if let Err(error) = &written {
                    tracing::error!(%error, writes = made.len(), "writes were abandoned");
                }
                made.into_iter().for_each(|write| write.tell(written.is_ok()));
            }
        });
        Self { queue: sender, limit: i64::MAX }
    }

    /// The same writer, by which the directories of no organization grow beyond so many bytes.
    pub fn with_limit(self, limit: i64) -> Self {
        Self { limit, ..self }
    }

    /// Do `work` on `input`, and return what it returns once it is on the disk. Where it is refused, by
    /// the database too, nothing of it stays. It may be done twice: then nothing of the first time does.
    pub(super) async fn write<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        access: &Access,
        now: Timestamp,
        input: I,
        work: impl for<'c> Fn(&'c mut Tx, &'c Access, &'c I) -> BoxFuture<'c, Made<T>>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, Refused> {
        let (tell, told) = oneshot::channel();
        let job = Job {
            access: access.clone(),
            at: now,
            limit: self.limit,
            input,
            work,
            result: Err(Error::Abandoned.into()),
            told: tell,
        };
        let waits = (access.organization().to_owned(), Box::new(job) as Box<dyn Write>);
        self.queue.send(waits).map_err(|_| Error::Abandoned)?;
        told.await.map_err(|_| Error::Abandoned)?
    }
}

impl Waiting {
    /// The next write, which is waited for, with the organization whose time it takes; `None` once
    /// nobody is left who could write.
    async fn next(&mut self) -> Option<(String, Box<dyn Write>)> {
        if let Some(next) = self.next_now() {
            return Some(next);
        }
        let (organization, write) = self.arriving.recv().await?;
        self.queue.push(organization, write);
        self.next_now()
    }

    /// The next write, if one waits.
    fn next_now(&mut self) -> Option<(String, Box<dyn Write>)> {
        while let Ok((organization, write)) = self.arriving.try_recv() {
            self.queue.push(organization, write);
        }
        self.again.pop_front().or_else(|| self.queue.pop())
    }
}

/// One transaction of all that waits, `first` first; what it made, for all to be told. That is none
/// where they are to be made again.
async fn together(
    mut tx: Tx,
    first: (String, Box<dyn Write>),
    waiting: &mut Waiting,
    made: &mut Vec<Box<dyn Write>>,
) -> Result<()> {
    let (mut changes, careful) = (Changes::default(), waiting.careful > 0);
    let (mut next, began) = (Some(first), Instant::now());
    while let Some((organization, mut write)) = next {
        match made.len() {
            1 if careful => tx.run("SAVEPOINT one").await?,
            2.. if careful => tx.run("RELEASE SAVEPOINT one; SAVEPOINT one").await?,
            _ => {} // the first is undone with the transaction
        }
        let since = Instant::now();
        let kept = AssertUnwindSafe(write.make(&mut tx, &changes)).catch_unwind().await;
        waiting.queue.took(organization.clone(), since.elapsed());
        waiting.careful = waiting.careful.saturating_sub(1);
        made.push(write);
        match kept.map_err(|_| Error::Abandoned)? {
            Kept::Changed(change) => changes.add(change),
            Kept::Untouched => {}
            Kept::Nothing if made.len() == 1 => return Ok(()),
            Kept::Nothing => {
                waiting.careful = CAREFUL;
                if !careful {
                    let all = mem::take(made).into_iter();
                    waiting.again.extend(all.map(|write| (organization.clone(), write)));
                    return Ok(());
                }
                tx.run("ROLLBACK TO SAVEPOINT one").await?;
            }
            Kept::Broken(error) => return Err(error),
        }
        let more = made.len() < TOGETHER && began.elapsed() < LONG;
        next = if more { waiting.next_now() } else { None };
    }
    changes.write(&mut tx).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use futures::{future::join_all, poll};

    use super::*;
    use crate::ledger::{
        db::query_scalar,
        fixture::{Acme, person},
        scim::{Condition, PersonFields, Window, line::Line, people::insert},
    };

    /// How many rows were written on this connection so far, where the database tells.
    pub(super) async fn rows_written(tx: &mut Tx) -> Option<i64> {
        let (sqlite, postgres) = ("SELECT total_changes()", "SELECT 0::bigint");
        query_scalar(Text::Each { sqlite, postgres }).fetch_one(tx).await.ok()
    }

    /// Another organization's directory.
    async fn globex(acme: &Acme) -> Access {
        acme.ledger.name_organization("id-globex", "globex", acme.now).await.unwrap();
        let directory = acme.ledger.make_directory("id-globex", "okta", acme.now).await.unwrap().id;
        acme.ledger.replace_token(directory, Uuid::now_v7(), b"globex", acme.now).await.unwrap();
        acme.ledger.scim_access("globex", "okta", b"globex").await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn whoever_writes_what_takes_long_keeps_others_waiting_for_one_write_alone() {
        let acme = Acme::new().await;
        let globex = globex(&acme).await;
        let order = Arc::new(Mutex::new(String::new()));
        let write = |access, name: char, takes: Duration| {
            let order = order.clone();
            acme.ledger.writer.write(access, acme.now, order, move |_, _, order| {
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

    /// What a write of a test does once it has written a line to the audit log, if it does that.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        Well,
        Refused,
        /// It wrote nothing.
        Nothing,
        /// The same, and is refused.
        NotFound,
        /// The same: it is the creation of somebody who is there.
        Taken,
    }

    /// Let these be made at once, by the organization of each. Returns for each the number of the time
    /// that it was told of, and how often it was made.
    async fn make(acme: &Acme, writes: &[(&Access, End)]) -> Vec<(Option<usize>, usize)> {
        let counts: Vec<_> = writes.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
        let held = acme.ledger.begin().await.unwrap();
        let write = |(count, &(access, end)): (&Arc<AtomicUsize>, &(_, End))| {
            acme.ledger.writer.write(access, acme.now, count.clone(), move |tx, access, count| {
                async move {
                    let time = count.fetch_add(1, Relaxed) + 1;
                    match end {
                        End::Nothing => return Ok((time, None)),
                        End::NotFound => return Err(Refused::NotFound),
                        End::Taken => {
                            let (id, again, now) =
                                (Uuid::now_v7(), person("ada", true), Timestamp::now());
                            let (_, effect) = insert(tx, access, id, &again, now).await?;
                            return Ok((time, effect));
                        }
                        End::Well | End::Refused => {}
                    }
                    let (action, subject) = ("test", Uuid::nil());
                    let (detail, topic, now) = ("", Topic::People, Timestamp::now());
                    let line = Line { action, subject, detail, topic, by: 0, now };
                    let effect = line.write(tx, access).await?;
                    let refused = matches!(end, End::Refused);
                    if refused { Err(Refused::TooManyGroups) } else { Ok((time, Some(effect))) }
                }
                .boxed()
            })
        };
        let mut all = Box::pin(join_all(counts.iter().zip(writes).map(write)));
        assert!(poll!(&mut all).is_pending(), "they wait, to go into one transaction");
        drop(held);
        let told = all.await.into_iter().zip(writes).map(|(told, (_, end))| match (told, end) {
            (Ok(time), End::Well | End::Nothing | End::Taken) => Some(time),
            (Err(Refused::TooManyGroups), End::Refused)
            | (Err(Refused::NotFound), End::NotFound) => None,
            (told, end) => panic!("{end:?}: {told:?}"),
        });
        told.zip(counts.iter().map(|count| count.load(Relaxed))).collect()
    }

    async fn lines(acme: &Acme) -> usize {
        let audit = acme.ledger.audit_for_tests().await;
        audit.iter().filter(|(_, _, action, _)| action == "test").count()
    }

    #[tokio::test]
    async fn where_one_is_refused_the_others_are_made_again_and_only_that_is_told_and_kept() {
        let acme = Acme::new().await;
        let writes = [End::Well, End::Nothing, End::Refused, End::Well, End::Refused, End::Well];
        let made = make(&acme, &writes.map(|end| (&acme.scim, end))).await;
        let twice = [(Some(2), 2), (Some(2), 2), (None, 2)];
        assert_eq!(made, [&twice[..], &[(Some(1), 1), (None, 1), (Some(1), 1)]].concat());
        assert_eq!(lines(&acme).await, 3);
    }

    #[tokio::test]
    async fn what_wrote_nothing_has_no_other_made_again() {
        let acme = Acme::new().await;
        let writes = [End::Well, End::NotFound, End::Nothing, End::Taken, End::Well];
        let made = make(&acme, &writes.map(|end| (&acme.scim, end))).await;
        assert_eq!(made, [(Some(1), 1), (None, 1), (Some(1), 1), (Some(1), 1), (Some(1), 1)]);
        assert_eq!(lines(&acme).await, 2);
    }

    #[tokio::test]
    async fn however_many_are_refused_few_are_made_again() {
        let acme = Acme::new().await;
        let refused = [End::Well, End::Refused, End::Refused].map(|end| (&acme.scim, end));
        let once = [(Some(1), 1), (None, 1), (None, 1)];
        assert_eq!(make(&acme, &refused).await[0], (Some(2), 2));
        for _ in 0..5 {
            assert_eq!(make(&acme, &refused).await, once);
        }
        // as long as there are some
        let well = [(&acme.scim, End::Nothing); CAREFUL];
        make(&acme, &well[1..]).await;
        assert_eq!(make(&acme, &refused).await, once);
        make(&acme, &well).await;
        assert_eq!(make(&acme, &refused).await[0], (Some(2), 2));
    }

    #[tokio::test]
    async fn what_is_made_again_takes_the_time_of_whose_write_was_refused() {
        let acme = Acme::new().await;
        let globex = globex(&acme).await;
        let order = Arc::new(Mutex::new(String::new()));
        let write = |access, name: char, takes: u64, refused: bool| {
            let order = order.clone();
            acme.ledger.writer.write(access, acme.now, order, move |_, _, order| {
                async move {
                    order.lock().unwrap().push(name);
                    tokio::time::sleep(Duration::from_millis(takes)).await;
                    if refused { Err(Refused::TooManyGroups) } else { Ok(((), None)) }
                }
                .boxed()
            })
        };
        let held = acme.ledger.begin().await.unwrap();
        let mut writes = Box::pin(join_all([
            write(&globex, 'g', 30, false),
            write(&acme.scim, 'a', 10, true),
            write(&acme.scim, 'A', 0, false),
            write(&globex, 'G', 0, false),
        ]));
        assert!(poll!(&mut writes).is_pending());
        drop(held);
        writes.await;
        assert_eq!(*order.lock().unwrap(), "gagaGA", "Globex had 30 ms, and Acme 50");
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
