//! What happened in the world, in order: the truth that an oracle judges by.

use super::fates::WriteFate;
use super::store::Disk;
use originswitch::clock::Clock;
use originswitch::rule::Moment;
use originswitch::rule::address::Address;
use originswitch::rule::decision::Decision;
use originswitch::rule::finding::Verdict;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happened. Sites, probers, writes, versions and rows go by number.
#[derive(Debug, Clone)]
pub enum Entry {
    /// The loop of a site began.
    Booted { site: usize },
    /// It ended, one way or another.
    Ended { site: usize },
    /// A prober was made.
    Watched { prober: usize, address: Address },
    /// It launched its next probe.
    Launched { prober: usize, nth: usize },
    /// That probe has its result.
    Landed {
        prober: usize,
        nth: usize,
        verdict: Verdict,
    },
    /// A read was answered with this version of the records.
    Read { site: usize, version: usize },
    /// A write was asked for.
    Wrote { site: usize, write: usize },
    /// It was carried out, and made this version.
    Acted {
        site: usize,
        write: usize,
        version: usize,
    },
    /// It was answered, or its time was over.
    Answered { site: usize, fate: WriteFate },
    /// Somebody else made this version of the records.
    Edited { site: usize, version: usize },
    /// A row was written: an intent, an outcome, or a decision.
    Stored {
        site: usize,
        row: usize,
        decision: Arc<Decision>,
        sent: bool,
        applied: Option<bool>,
    },
    /// The disk does otherwise from now on.
    Disk { site: usize, disk: Disk },
    /// The story went on: the number of its event.
    Event(usize),
    /// What a person asked in that event was answered: it was done, or not.
    Replied {
        site: usize,
        event: usize,
        granted: bool,
    },
}

/// Does something when what it waited for happens; true when it is done.
type Trap = Box<dyn FnMut(Duration, &Entry) -> bool + Send>;

#[derive(Default)]
struct Pages {
    entries: Vec<(Duration, Entry)>,
    traps: Vec<Trap>,
}

/// The journal of a world. Clones share it.
#[derive(Clone)]
pub struct Journal {
    pages: Arc<Mutex<Pages>>,
    clock: Clock,
    began: Moment,
}

impl Journal {
    pub fn new(clock: &Clock) -> Journal {
        Journal {
            pages: Arc::default(),
            clock: clock.clone(),
            began: clock.moment(),
        }
    }

    /// Writes down what happens now.
    pub fn note(&self, entry: Entry) {
        let at = self.now();
        let mut pages = self.pages.lock().unwrap();
        if !pages.traps.is_empty() {
            pages.traps.retain_mut(|trap| !trap(at, &entry));
        }
        pages.entries.push((at, entry));
    }

    /// Waits for something to happen. The trap is sprung where it does, and
    /// must not look at the journal itself.
    pub fn trap(&self, trap: impl FnMut(Duration, &Entry) -> bool + Send + 'static) {
        self.pages.lock().unwrap().traps.push(Box::new(trap));
    }

    /// Nothing is waited for any more.
    pub fn forget_traps(&self) {
        self.pages.lock().unwrap().traps.clear();
    }

    /// Since the world began.
    pub fn now(&self) -> Duration {
        self.clock.moment().since(self.began)
    }

    /// Everything so far; the journal is empty after.
    pub fn take(&self) -> Vec<(Duration, Entry)> {
        std::mem::take(&mut self.pages.lock().unwrap().entries)
    }
}
