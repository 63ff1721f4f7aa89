//! The thread that owns the database.

use super::backlog::Backlog;
use super::orders::{self, Answer, Order, apply, write};
use super::watch::{Reply, Shared, Slot};
use super::{StoreError, rows};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Orders of one transaction: ten thousand sites that write at once cost some
/// forty syncs of the disk and not ten thousand.
const BATCH: usize = 256;
/// Between attempts to write again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Between deletions of what is too old: an hour of nanoseconds.
const TIDY_EVERY: i64 = 3_600_000_000_000;
/// Proofs that nobody renewed are forgotten after 400 days.
const PROOFS_KEPT: i64 = 400 * 24 * TIDY_EVERY;

/// One call on its way to the thread.
#[derive(Debug)]
pub(super) struct Job {
    pub order: Order,
    pub slot: Arc<Slot>,
}

pub(super) struct Worker {
    db: Connection,
    /// Held for as long as the database is open.
    lock: Option<File>,
    shared: Arc<Shared>,
    backlog: Backlog,
    keep: i64,
    /// The longest window that any site counts switches in.
    window: i64,
    tidied: Option<i64>,
    more_to_tidy: bool,
}

impl Worker {
    pub(super) fn new(
        db: Connection,
        lock: Option<File>,
        keep: Duration,
        shared: Arc<Shared>,
    ) -> Worker {
        Worker {
            db,
            lock,
            shared,
            backlog: Backlog::default(),
            keep: rows::length(keep),
            window: 0,
            tidied: None,
            more_to_tidy: false,
        }
    }

    /// Works until it is told to close, or nobody can call any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let first = if self.failed() {
                jobs.recv_timeout(RETRY)
            } else {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(job) => {
                    let (batch, close) = self.gather(job, jobs);
                    self.work(batch);
                    if close.is_some() {
                        return self.finish(close);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.try_again(),
                Err(RecvTimeoutError::Disconnected) => return self.finish(None),
            }
        }
    }

    /// Everything that waits already, and the call to close if it is among it.
    fn gather(&mut self, first: Job, jobs: &Receiver<Job>) -> (Vec<Job>, Option<Job>) {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            self.shared.queued.fetch_sub(1, SeqCst);
            if matches!(job.order, Order::Close) {
                return (batch, Some(job));
            }
            if let Order::Load { window, .. } = &job.order {
                self.window = self.window.max(rows::length(*window));
            }
            batch.push(job);
            next = if batch.len() < BATCH {
                jobs.try_recv().ok()
            } else {
                None
            };
        }
        (batch, None)
    }

    fn work(&mut self, batch: Vec<Job>) {
        let writes = batch.iter().any(|job| job.order.writes());
        let now = batch.iter().filter_map(|job| job.order.now()).max();
        // History stays in order: what could not be written before comes first.
        let trouble = if writes { self.flush().err() } else { None };
        match trouble {
            None if batch.len() > 1 => match self.together(&batch, writes) {
                Ok(answers) => self.answer_all(batch, answers, writes),
                // One of them is at fault, or the disk is: each for itself tells.
                Err(_) => self.one_by_one(batch, None),
            },
            trouble => self.one_by_one(batch, trouble),
        }
        if let Some(now) = now.filter(|_| !self.failed()) {
            self.tidy(now);
        }
    }

    fn together(&self, batch: &[Job], writes: bool) -> Result<Vec<Answer>, StoreError> {
        let transaction = self.begin(writes)?;
        let answers = batch
            .iter()
            .map(|job| apply(&transaction, &job.order))
            .collect::<Result<_, _>>()?;
        transaction.commit().map_err(write)?;
        Ok(answers)
    }

    fn begin(&self, writes: bool) -> Result<Transaction<'_>, StoreError> {
        let behavior = if writes {
            TransactionBehavior::Immediate
        } else {
            TransactionBehavior::Deferred
        };
        Transaction::new_unchecked(&self.db, behavior).map_err(write)
    }

    fn answer_all(&self, batch: Vec<Job>, answers: Vec<Answer>, writes: bool) {
        if writes {
            self.say_well();
        }
        for (job, answer) in batch.into_iter().zip(answers) {
            job.slot.answer(Ok(answer), &self.shared);
        }
    }

    /// After the first write that the disk refuses, the others are not tried:
    /// a smaller one may fit, but it would come before its time.
    fn one_by_one(&mut self, batch: Vec<Job>, mut trouble: Option<StoreError>) {
        for job in batch {
            let writes = job.order.writes();
            let reply = match &trouble {
                Some(error) if writes => Err(error.clone()),
                _ => self.alone(&job.order),
            };
            if writes {
                trouble = self.note(&reply);
            }
            let Job { order, slot } = job;
            if trouble.is_some() && writes {
                self.backlog.push(order);
            }
            slot.answer(reply, &self.shared);
        }
    }

    fn alone(&self, order: &Order) -> Reply {
        let transaction = self.begin(order.writes())?;
        let answer = apply(&transaction, order)?;
        transaction.commit().map_err(write)?;
        Ok(answer)
    }

    /// Takes notice of how a write went; the trouble, if the disk is in any.
    fn note(&self, reply: &Reply) -> Option<StoreError> {
        match reply {
            Ok(_) => self.say_well(),
            Err(error) if error.may_pass() => {
                self.say_failed(error);
                return Some(error.clone());
            }
            // The order was at fault, not the disk.
            Err(_) => {}
        }
        None
    }

    fn failed(&self) -> bool {
        self.shared.failed.load(SeqCst)
    }

    fn say_failed(&self, error: &StoreError) {
        if !self.shared.failed.swap(true, SeqCst) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(
                cause,
                "the state file takes no writes: history is kept in memory"
            );
        }
    }

    fn say_well(&self) {
        if self.backlog.is_empty() && self.shared.failed.swap(false, SeqCst) {
            tracing::info!("the state file takes writes again");
        }
    }

    /// Writes what could not be written before. What is at fault itself is dropped.
    fn flush(&mut self) -> Result<(), StoreError> {
        loop {
            let orders = self.backlog.take(BATCH);
            if orders.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.write_again(&orders) {
                self.backlog.put_back(orders);
                self.say_failed(&error);
                return Err(error);
            }
        }
    }

    fn write_again(&self, orders: &[Order]) -> Result<(), StoreError> {
        let transaction = self.begin(true)?;
        for order in orders {
            match apply(&transaction, order) {
                Err(error) if error.may_pass() => return Err(error),
                Err(error) => tracing::warn!("dropped from the history: {error}"),
                Ok(_) => {}
            }
        }
        transaction.commit().map_err(write)
    }

    /// Nobody calls, but a state file that is well again must say so: returns
    /// to MAIN wait for it.
    fn try_again(&mut self) {
        if self.flush().is_err() {
            return;
        }
        let room = self.begin(true).and_then(|transaction| {
            orders::try_room(&transaction)?;
            transaction.commit().map_err(write)
        });
        if room.is_ok() {
            self.say_well();
        }
    }

    fn tidy(&mut self, now: i64) {
        let due = self
            .tidied
            .is_none_or(|last| now.saturating_sub(last) >= TIDY_EVERY);
        if !due && !self.more_to_tidy {
            return;
        }
        self.tidied = Some(now);
        let cutoff = now.saturating_sub(self.keep);
        let sent = cutoff.min(now.saturating_sub(self.window));
        let tidied = self.begin(true).and_then(|transaction| {
            let more = orders::prune(&transaction, cutoff, sent)?;
            orders::prune_proofs(&transaction, now.saturating_sub(PROOFS_KEPT))?;
            transaction.commit().map_err(write)?;
            Ok(more)
        });
        self.more_to_tidy = tidied.unwrap_or_else(|error| {
            tracing::warn!("old history could not be deleted: {error}");
            false
        });
    }

    /// Closing the last connection moves the log into the file and removes it;
    /// only then another process may come.
    fn finish(mut self, close: Option<Job>) {
        if self.flush().is_err() {
            let lost = self.backlog.len();
            tracing::error!(
                lost,
                "the state file takes no writes: some history is lost at the end"
            );
        }
        let Worker {
            db, lock, shared, ..
        } = self;
        drop(db);
        drop(lock);
        if let Some(job) = close {
            job.slot.answer(Ok(Answer::Done), &shared);
        }
    }
}
