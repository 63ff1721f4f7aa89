//! The truth about one site, as the journal has told it so far.

use super::alarms::Alarms;
use super::incident::Wish;
use super::orders::Orders;
use super::plans::Plan;
use super::play::{Held, Outcome};
use super::progress::Progress;
use super::shots::Limits;
use crate::world::{Cut, Disk, Mood, WriteFate};
use originswitch::rule::decision::Decision;
use std::sync::Arc;
use std::time::Duration;

/// A write, and what is known of it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Duration,
    /// Since when the probes that it rests on were launched.
    pub since: Option<Duration>,
    pub boot: usize,
    pub from: Held,
    pub to: usize,
    /// Its row.
    pub row: Option<usize>,
    pub acted: Option<Duration>,
    pub answered: Option<WriteFate>,
}

/// A row of the history as it last was.
#[derive(Debug, Clone)]
pub struct Row {
    pub stored: Duration,
    pub boot: usize,
    pub decision: Arc<Decision>,
    pub sent: bool,
    pub applied: Option<bool>,
    pub write: Option<usize>,
}

/// What somebody asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub at: Duration,
    pub boot: usize,
    pub event: usize,
    pub wish: Wish,
    pub replied: Option<Duration>,
}

/// All the truth about one site.
pub struct Site<'a> {
    pub plan: &'a Plan,
    pub outcome: &'a Outcome,
    /// When its loops began and ended.
    pub boots: Vec<(Duration, Option<Duration>)>,
    /// The probers of its addresses; of the loop that runs come last.
    pub probers: Vec<Vec<usize>>,
    /// Where those of the loop that runs begin.
    pub fresh: Vec<usize>,
    pub held: Held,
    pub version: usize,
    /// What reads of the loop that runs showed, and when.
    pub read: Option<(Duration, usize)>,
    /// All reads, and the version that each showed.
    pub reads: Vec<(Duration, usize)>,
    pub writes: Vec<Sent>,
    pub rows: Vec<Row>,
    pub alarms: Alarms,
    pub asked: Vec<Asked>,
    /// Versions that other hands made, and when.
    pub edits: Vec<(Duration, usize)>,
    pub moods: Vec<(Duration, Mood)>,
    pub cuts: Vec<Option<Cut>>,
    pub disk: Disk,
    /// When the disk last had trouble.
    pub trouble: Option<Duration>,
    pub progress: Progress,
    pub orders: Orders,
}

impl<'a> Site<'a> {
    pub fn of(plan: &'a Plan, outcome: &'a Outcome) -> Site<'a> {
        let addresses = plan.places.len() + 1;
        Site {
            plan,
            outcome,
            boots: Vec::new(),
            probers: vec![Vec::new(); addresses],
            fresh: vec![0; addresses],
            held: outcome.versions[1],
            version: 1,
            read: None,
            reads: Vec::new(),
            writes: Vec::new(),
            rows: Vec::new(),
            alarms: Alarms::default(),
            asked: Vec::new(),
            edits: Vec::new(),
            moods: vec![(Duration::ZERO, Mood::Up); addresses],
            cuts: vec![None; addresses],
            disk: Disk::Fine,
            trouble: None,
            progress: Progress::default(),
            orders: Orders::default(),
        }
    }

    pub fn limits(&self) -> Limits {
        let policy = self.plan.policy();
        Limits {
            fall: policy.fall,
            rise: policy.rise,
        }
    }

    /// The number of the loop that runs, or ran last.
    pub fn boot_number(&self) -> usize {
        self.boots.len().saturating_sub(1)
    }

    /// When the loop that runs began, if one runs.
    pub fn runs_since(&self) -> Option<Duration> {
        let last = self.boots.last()?;
        last.1.is_none().then_some(last.0)
    }

    /// How long loops ran between these times.
    pub fn uptime(&self, from: Duration, to: Duration) -> Duration {
        let inside = self.boots.iter().map(|&(begin, end)| {
            let (begin, end) = (begin.max(from), end.unwrap_or(to).min(to));
            end.saturating_sub(begin)
        });
        inside.sum()
    }

    /// The newest prober of an address that the loop that runs made.
    pub fn prober(&self, address: usize) -> Option<usize> {
        self.probers[address][self.fresh[address]..].last().copied()
    }

    pub fn boot(&mut self, at: Duration) {
        self.boots.push((at, None));
        for (address, probers) in self.probers.iter().enumerate() {
            self.fresh[address] = probers.len();
        }
        self.read = None;
        self.alarms = Alarms::default();
        self.progress.stir(at);
    }

    pub fn end(&mut self, at: Duration) {
        self.orders.cut_off(self.trouble.is_some());
        if let Some(last) = self.boots.last_mut() {
            last.1.get_or_insert(at);
        }
    }

    pub fn reads(&mut self, version: usize, at: Duration) {
        self.read = Some((at, version));
        self.reads.push((at, version));
    }

    pub fn acted(&mut self, write: usize, version: usize, at: Duration) {
        self.writes[write].acted = Some(at);
        self.holds(version, at);
    }

    pub fn edited(&mut self, version: usize, at: Duration) {
        self.edits.push((at, version));
        self.holds(version, at);
    }

    fn holds(&mut self, version: usize, at: Duration) {
        self.version = version;
        self.held = self.outcome.versions[version];
        self.progress.stir(at);
    }

    pub fn answered(&mut self, fate: WriteFate, at: Duration) {
        if let Some(last) = self.writes.last_mut() {
            last.answered = Some(fate);
        }
        if fate == WriteFate::Rejected {
            self.progress.refused(at);
        }
    }

    pub fn disk(&mut self, disk: Disk, at: Duration) {
        if disk != Disk::Fine || self.disk != Disk::Fine {
            self.trouble = Some(at);
        }
        self.disk = disk;
    }

    pub fn ask(&mut self, wish: Wish, event: usize, at: Duration) {
        if self.runs_since().is_some() {
            self.asked.push(Asked {
                at,
                boot: self.boot_number(),
                event,
                wish,
                replied: None,
            });
            self.orders.ask(wish, event, at);
        }
        self.progress.stir(at);
    }

    pub fn replied(&mut self, event: usize, granted: bool, at: Duration) {
        self.orders.replied(event, granted, at);
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.event == event) {
            asked.replied = Some(at);
        }
        self.progress.stir(at);
    }
}
