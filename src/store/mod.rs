//! The state file: what has to be remembered over a restart.
//!
//! SQLite on a thread of its own, so that a disk that stalls holds up neither
//! probes nor flights: a write that takes longer than 250 ms is answered with
//! [`StoreError::Stalled`] and goes on without its caller. What the disk
//! refuses (it is full, it is read-only) is kept in memory and written, in
//! order, when there is room again.
//!
//! | file | holds |
//! | --- | --- |
//! | `open` | whether a file is ours and sound, the lock, the tables |
//! | `schema` | the tables and their versions |
//! | `memory` | what is remembered |
//! | `orders`, `reads` | what can be asked of the thread, in SQL |
//! | `rows`, `evidence` | the stored form of a decision |
//! | `worker` | the thread: batches, retries, retention |
//! | `backlog` | what the disk refused |
//! | `watch` | answers in time |
//! | `port` | the trait that a site's loop uses |
#![allow(clippy::disallowed_methods, reason = "its thread is not tokio's")]

mod backlog;
mod error;
mod evidence;
mod memory;
mod open;
mod orders;
mod port;
mod reads;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use crate::rule::decision::Decision;
use crate::rule::standing::{Freeze, KeptPin};
pub use error::{OpenError, StoreError};
use jiff::Timestamp;
pub use memory::{
    Away, GuardMemory, KnownRecord, PastSwitch, Query, SiteMemory, StoredDecision, Undoubted,
};
use orders::{Answer, Order};
pub use port::ReadOnly;
use rows::Row;
use rusqlite::Connection;
use schema::SCHEMA_VERSION;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use watch::{Shared, Slot, Watched};
use worker::{Job, Worker};

/// How long a write may take before its caller goes on without it.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// How long a read may take: nobody's visitors wait for one, and at start
/// thousands of sites read at once.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// Calls that may wait at once. Ten thousand sites that start together make
/// some thousands; beyond, the disk stalls.
const QUEUE: usize = 16_384;

/// A handle on the state file. Clones share one thread and one connection.
///
/// When the last is dropped the thread ends by itself; [`SqliteStore::close`]
/// waits for it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` only while being dropped.
    jobs: Option<Sender<Job>>,
    calls: Option<Sender<Watched>>,
    shared: Arc<Shared>,
    read_only: bool,
    /// Disconnected when the worker has ended.
    ended: Mutex<Receiver<()>>,
}

impl SqliteStore {
    /// Opens the state file for this process alone, creating it, and its
    /// folder, where they are missing. History is deleted once it is older
    /// than `keep`, but for switches that are still counted or open.
    ///
    /// # Errors
    ///
    /// If the file is not ours, newer, damaged, in use or not accessible. It
    /// is then left as it is.
    pub fn open(path: &Path, keep: Duration) -> Result<SqliteStore, OpenError> {
        let (db, lock) = open::writer(path)?;
        SqliteStore::start(db, Some(lock), keep)
    }

    /// Opens the state file for reading, also beside a process that works with
    /// it. A missing file reads as an empty one. Writes are refused.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open`], but never because it is in use.
    pub fn open_read_only(path: &Path) -> Result<SqliteStore, OpenError> {
        let db = open::reader(path)?;
        SqliteStore::start(db, None, Duration::MAX)
    }

    fn start(db: Connection, lock: Option<File>, keep: Duration) -> Result<SqliteStore, OpenError> {
        let shared = Arc::new(Shared::default());
        let (jobs, orders) = channel();
        let (calls, watched) = channel();
        let (ending, ended) = channel::<()>();
        let read_only = lock.is_none();
        let worker = Worker::new(db, lock, keep, shared.clone());
        spawn("state-file", move || {
            worker.run(&orders);
            drop(ending);
        })?;
        let watch_shared = shared.clone();
        spawn("state-watch", move || watch::watch(&watched, &watch_shared))?;
        Ok(SqliteStore {
            inner: Arc::new(Inner {
                jobs: Some(jobs),
                calls: Some(calls),
                shared,
                read_only,
                ended: Mutex::new(ended),
            }),
        })
    }

    /// What is remembered of `site`: its switches are those sent within
    /// `window` before `now`. Later calls keep the window's switches from
    /// being deleted, whatever `keep` says.
    ///
    /// # Errors
    ///
    /// If the file cannot be read in time, or holds a switch that this version
    /// does not understand.
    pub async fn load_site(
        &self,
        site: &str,
        now: Timestamp,
        window: Duration,
    ) -> Result<SiteMemory, StoreError> {
        let site = site.to_owned();
        match self.call(Order::Load { site, now, window }).await? {
            Answer::Site(memory) => Ok(*memory),
            _ => Err(StoreError::Closed),
        }
    }

    /// Stores that `decision`, a switch, is about to be sent, as `unconfirmed`:
    /// on the disk when this returns.
    ///
    /// # Errors
    ///
    /// If it was not stored, or not in time. A caller that sends the switch all
    /// the same, or gives it up, tells [`SqliteStore::record`] what came of it,
    /// with the decision's site and time unchanged: an intent that was stored
    /// too late is completed by that.
    pub async fn begin_switch(
        &self,
        decision: &Decision,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        self.id(Order::Begin(Row::intent(decision, at))).await
    }

    /// Amends the row of a switch with its outcome; `applied` says whether it
    /// happened, `None` that nobody knows yet.
    ///
    /// # Errors
    ///
    /// If there is no such row, or it could not be written (in time).
    pub async fn conclude_switch(
        &self,
        id: i64,
        outcome: &Decision,
        applied: Option<bool>,
    ) -> Result<(), StoreError> {
        self.done(Order::Conclude(id, Row::outcome(outcome, applied)))
            .await
    }

    /// Adds a decision to the history and returns its id: one that is no
    /// switch, a dry run, or a switch whose intent could not be stored.
    ///
    /// # Errors
    ///
    /// If it could not be written (in time). It is kept in memory then, and
    /// written once that is possible.
    pub async fn record(&self, decision: &Decision) -> Result<i64, StoreError> {
        self.id(Order::Record(Row::complete(decision))).await
    }

    /// Remembers that an origin of `site` was seen up with these probe settings.
    ///
    /// # Errors
    ///
    /// If it could not be written (in time); it is then written later.
    pub async fn prove(
        &self,
        site: &str,
        fingerprint: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (site, fingerprint) = (site.to_owned(), fingerprint.to_owned());
        self.done(Order::Prove {
            site,
            fingerprint,
            at,
        })
        .await
    }

    /// Remembers how long MAIN was seen undoubted.
    ///
    /// # Errors
    ///
    /// If it could not be written (in time); it is then written later.
    pub async fn save_undoubted(&self, site: &str, undoubted: Undoubted) -> Result<(), StoreError> {
        self.done(Order::Undoubted(site.to_owned(), undoubted))
            .await
    }

    /// Remembers the record as it was just written or adopted.
    ///
    /// # Errors
    ///
    /// If it could not be written (in time); it is then written later.
    pub async fn save_known_record(
        &self,
        site: &str,
        known: &KnownRecord,
    ) -> Result<(), StoreError> {
        self.done(Order::Known(site.to_owned(), known.clone()))
            .await
    }

    /// Remembers a pin of `site`, or that it has ended.
    ///
    /// # Errors
    ///
    /// If it could not be written (in time); it is then written later.
    pub async fn save_pin(&self, site: &str, pin: Option<&KeptPin>) -> Result<(), StoreError> {
        self.done(Order::Pin(site.to_owned(), pin.cloned())).await
    }

    /// Remembers a freeze of `site` (of all sites, if the name is empty), or
    /// that it has ended.
    ///
    /// # Errors
    ///
    /// If it could not be written (in time); it is then written later.
    pub async fn save_freeze(&self, site: &str, freeze: Option<&Freeze>) -> Result<(), StoreError> {
        let order = Order::Freeze(site.to_owned(), freeze.cloned());
        self.done(order).await
    }

    /// Remembers that `site` was released at `at` (the brake across all sites,
    /// if the name is empty): what was counted before counts no more.
    ///
    /// # Errors
    ///
    /// If it could not be written (in time); it is then written later.
    pub async fn save_release(&self, site: &str, at: Timestamp) -> Result<(), StoreError> {
        self.done(Order::Release(site.to_owned(), at)).await
    }

    /// What is remembered of all sites together, with the sites that left MAIN
    /// since `since`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read in time.
    pub async fn load_guard(&self, since: Timestamp) -> Result<GuardMemory, StoreError> {
        match self.call(Order::Guard(since)).await? {
            Answer::Guard(memory) => Ok(*memory),
            _ => Err(StoreError::Closed),
        }
    }

    /// The decision with this id.
    ///
    /// # Errors
    ///
    /// If the file cannot be read in time.
    pub async fn decision(&self, id: i64) -> Result<Option<StoredDecision>, StoreError> {
        let query = Query {
            site: None,
            limit: 1,
            before: id.checked_add(1),
        };
        let found = self.decisions(query).await?.pop();
        Ok(found.filter(|stored| stored.decision.id == Some(id)))
    }

    /// The history, newest first. Rows that only another version understands
    /// are left out.
    ///
    /// # Errors
    ///
    /// If the file cannot be read in time.
    pub async fn decisions(&self, query: Query) -> Result<Vec<StoredDecision>, StoreError> {
        match self.call(Order::List(query)).await? {
            Answer::Decisions(found) => Ok(found),
            _ => Err(StoreError::Closed),
        }
    }

    /// Whether the file takes writes: the newest one succeeded, none is late,
    /// and none waits in memory.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let shared = &self.inner.shared;
        !shared.failed.load(SeqCst) && shared.overdue.load(SeqCst) == 0
    }

    /// Finishes what was asked for, closes the file and releases the lock.
    /// Calls after this one fail. Gives up after 5 s on a disk that stalls.
    pub async fn close(&self) {
        // Its only failures are that it takes too long, or was closed before.
        drop(self.call(Order::Close).await);
    }

    async fn id(&self, order: Order) -> Result<i64, StoreError> {
        match self.call(order).await? {
            Answer::Id(id) => Ok(id),
            _ => Err(StoreError::Closed),
        }
    }

    async fn done(&self, order: Order) -> Result<(), StoreError> {
        self.call(order).await.map(|_| ())
    }

    async fn call(&self, order: Order) -> watch::Reply {
        let writes = order.writes();
        if writes && self.inner.read_only {
            return Err(StoreError::ReadOnly);
        }
        let (slot, answer) = Slot::new(writes);
        self.inner.send(order, slot)?;
        answer.await.unwrap_or_else(|_| {
            self.inner.shared.failed.store(true, SeqCst);
            Err(StoreError::Closed)
        })
    }
}

impl Inner {
    /// Hands an order to the worker. Where too many wait, history still gets
    /// in, but its caller is sent away.
    fn send(&self, order: Order, slot: Arc<Slot>) -> Result<(), StoreError> {
        let waiting = self.shared.queued.load(SeqCst);
        let busy = waiting >= QUEUE && !matches!(order, Order::Close);
        if busy && (!order.is_history() || waiting >= QUEUE + backlog::MOST) {
            return Err(StoreError::Busy);
        }
        let patience = if order.writes() {
            PATIENCE
        } else {
            READ_PATIENCE
        };
        if busy {
            self.hand_over(order, Slot::unattended())?;
            return Err(StoreError::Busy);
        }
        let watched = (Instant::now() + patience, Arc::downgrade(&slot));
        self.hand_over(order, slot)?;
        let calls = self.calls.as_ref().ok_or(StoreError::Closed)?;
        calls.send(watched).map_err(|_| StoreError::Closed)
    }

    fn hand_over(&self, order: Order, slot: Arc<Slot>) -> Result<(), StoreError> {
        self.shared.queued.fetch_add(1, SeqCst);
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(Job { order, slot }).map_err(|_| {
            self.shared.failed.store(true, SeqCst);
            StoreError::Closed
        })
    }
}

impl Drop for Inner {
    /// Lets the worker finish, so that the lock is free when the handle is gone,
    /// but does not wait for a disk that stalls.
    fn drop(&mut self) {
        drop(self.jobs.take());
        drop(self.calls.take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(PATIENCE);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map(drop)
        .map_err(|source| OpenError::NoThread { source })
}
