//! Answers for a thread that does not: a call gets its answer in time, even
//! when the disk holds the thread that works on it.
//!
//! The watch is a thread and reads the machine's own clock, because a stalled
//! disk takes real time also where tokio's clock is paused.

use super::StoreError;
use super::orders::Answer;
use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::oneshot;

pub(super) type Reply = Result<Answer, StoreError>;

/// What the handle, the worker and the watch know of each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The newest write failed, or earlier ones wait for room.
    pub failed: AtomicBool,
    /// Writes whose callers gave up, and that are not done yet.
    pub overdue: AtomicUsize,
    /// Orders that wait for the worker.
    pub queued: AtomicUsize,
}

/// The place for one answer.
#[derive(Debug)]
pub(super) struct Slot {
    waiting: Mutex<Waiting>,
    writes: bool,
}

#[derive(Debug)]
enum Waiting {
    Caller(oneshot::Sender<Reply>),
    GaveUp,
    Nobody,
}

impl Slot {
    /// A slot with a caller, and where that caller waits.
    pub(super) fn new(writes: bool) -> (Arc<Slot>, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        let waiting = Mutex::new(Waiting::Caller(sender));
        (Arc::new(Slot { waiting, writes }), receiver)
    }

    /// A slot for an order whose caller was sent away.
    pub(super) fn unattended() -> Arc<Slot> {
        let waiting = Mutex::new(Waiting::Nobody);
        Arc::new(Slot {
            waiting,
            writes: true,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker's answer.
    pub(super) fn answer(&self, reply: Reply, shared: &Shared) {
        match mem::replace(&mut *self.waiting(), Waiting::Nobody) {
            // A caller that is gone needs no answer.
            Waiting::Caller(caller) => drop(caller.send(reply)),
            Waiting::GaveUp if self.writes => {
                shared.overdue.fetch_sub(1, SeqCst);
            }
            Waiting::GaveUp | Waiting::Nobody => {}
        }
    }

    fn give_up(&self, shared: &Shared) {
        let mut waiting = self.waiting();
        match mem::replace(&mut *waiting, Waiting::Nobody) {
            Waiting::Caller(caller) => {
                *waiting = Waiting::GaveUp;
                if self.writes {
                    shared.overdue.fetch_add(1, SeqCst);
                }
                drop(caller.send(Err(StoreError::Stalled)));
            }
            other => *waiting = other,
        }
    }
}

/// A slot, and when its caller is told that the disk stalls. Weak, so that a
/// worker that ends takes the slots with it and their callers learn of it.
pub(super) type Watched = (Instant, Weak<Slot>);

/// Runs until nobody can call any more.
pub(super) fn watch(calls: &Receiver<Watched>, shared: &Shared) {
    let mut due: BTreeMap<(Instant, u64), Weak<Slot>> = BTreeMap::new();
    let mut count = 0;
    loop {
        let call = match due.first_key_value() {
            None => calls.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(((at, _), _)) => calls.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match call {
            Ok((at, slot)) => {
                count += 1;
                due.insert((at, count), slot);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        while let Some(first) = due.first_entry().filter(|first| first.key().0 <= now) {
            if let Some(slot) = first.remove().upgrade() {
                slot.give_up(shared);
            }
        }
    }
}
