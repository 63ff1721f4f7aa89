//! A state file in memory: it outlives the loop, and can fail or stall.

use super::chance::Chance;
use super::journal::{Entry, Journal};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use originswitch::failover::{
    Away, GuardMemory, KnownRecord, PastSwitch, SiteMemory, Store, StoreFault, Undoubted,
};
use originswitch::rule::address::Role;
use originswitch::rule::decision::{Decision, Reason, SwitchResult};
use originswitch::rule::standing::{Freeze, KeptPin};
use originswitch::rule::walk::SwitchKind;
use originswitch::store::PATIENCE;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreFault>>;

/// How the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disk {
    #[default]
    Fine,
    /// It refuses writes.
    Full,
    /// A write takes so long that its caller is sent away; it is carried out
    /// once the disk is fine again.
    Stalls,
}

/// A row of the history.
#[derive(Debug, Clone)]
pub struct Row {
    pub decision: Decision,
    /// When it was sent, for a switch.
    pub sent: Option<Timestamp>,
    pub applied: Option<bool>,
}

#[derive(Debug, Clone)]
enum Order {
    Begin(Decision),
    Conclude(i64, Decision, Option<bool>),
    Record(Decision),
    Prove(String),
    Undoubted(Undoubted),
    Known(KnownRecord),
    Pin(Option<KeptPin>),
    /// Of the site, or of all.
    Freeze(bool, Option<Freeze>),
    Release(bool, Timestamp),
}

#[derive(Default)]
struct State {
    rows: Vec<Row>,
    proofs: Vec<String>,
    undoubted: Option<Undoubted>,
    known: Option<KnownRecord>,
    last_switch: Option<Timestamp>,
    pin: Option<KeptPin>,
    freeze: Option<Freeze>,
    released: Option<Timestamp>,
    all: GuardMemory,
    disk: Disk,
    backlog: Vec<Order>,
    delay: Duration,
    chance: Option<Chance>,
    journal: Option<(Journal, usize)>,
    writes: u64,
    /// What the same file holds of other sites.
    beside: Vec<MemoryStore>,
}

/// The simulated state file of one site. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// From now on a write takes this long; it is done when it begins.
    pub fn delay(&self, delay: Duration) {
        self.with(|state| state.delay = delay);
    }

    /// From now on a write takes its time, by chance, and may be done at its
    /// end only; and all is written down, as what happens to site number `site`.
    pub fn told(&self, chance: Chance, journal: &Journal, site: usize) {
        self.with(|state| {
            state.chance = Some(chance);
            state.journal = Some((journal.clone(), site));
        });
    }

    /// How the disk does from now on; once it is fine, what waited is written.
    pub fn disk(&self, disk: Disk) {
        self.with(|state| {
            state.disk = disk;
            state.note(|site| Entry::Disk { site, disk });
            if disk == Disk::Fine {
                for order in std::mem::take(&mut state.backlog) {
                    state.perform(order);
                }
            }
        });
    }

    /// The file holds this site too: what all of them did counts for the guard.
    pub fn beside(&self, other: &MemoryStore) {
        self.with(|state| state.beside.push(other.clone()));
    }

    fn left_main(&self, since: Timestamp) -> Vec<(Arc<str>, Timestamp)> {
        self.with(|state| state.left_main(since))
    }

    /// The process ended: what waited in its memory is gone.
    pub fn process_died(&self) {
        self.with(|state| state.backlog.clear());
    }

    /// Intents stored so far.
    pub fn begun(&self) -> usize {
        self.with(|state| state.rows.iter().filter(|row| row.sent.is_some()).count())
    }

    /// The history, oldest first.
    pub fn rows(&self) -> Vec<Row> {
        self.with(|state| state.rows.clone())
    }

    pub fn undoubted(&self) -> Option<Undoubted> {
        self.with(|state| state.undoubted.clone())
    }

    pub fn known(&self) -> Option<KnownRecord> {
        self.with(|state| state.known.clone())
    }

    /// Writes of any kind so far.
    pub fn writes(&self) -> u64 {
        self.with(|state| state.writes)
    }

    async fn order(&self, order: Order) -> Result<i64, StoreFault> {
        let (disk, late, delay) = self.with(|state| {
            state.writes += 1;
            let (late, delay) = state.takes();
            (state.disk, late, delay)
        });
        match disk {
            Disk::Fine if late => {
                pass(delay).await;
                Ok(self.with(|state| state.perform(order)))
            }
            Disk::Fine => {
                let done = self.with(|state| state.perform(order));
                pass(delay).await;
                Ok(done)
            }
            Disk::Full => {
                self.with(|state| state.refuse(order));
                Err(StoreFault("the disk is full".into()))
            }
            Disk::Stalls => {
                self.with(|state| state.backlog.push(order));
                pass(PATIENCE).await;
                Err(StoreFault("the disk stalls".into()))
            }
        }
    }
}

async fn pass(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

impl State {
    fn note(&self, entry: impl FnOnce(usize) -> Entry) {
        if let Some((journal, site)) = &self.journal {
            journal.note(entry(*site));
        }
    }

    /// Whether the next write is done at its end, and how long it takes.
    fn takes(&mut self) -> (bool, Duration) {
        match &mut self.chance {
            None => (false, self.delay),
            Some(chance) => match chance.below(4) {
                0 => (false, Duration::ZERO),
                1 => (true, chance.millis(1, 12)),
                _ => (false, chance.millis(1, 12)),
            },
        }
    }

    /// What the disk refuses waits; but for an intent, whose caller knows that
    /// it was not stored.
    fn refuse(&mut self, order: Order) {
        if !matches!(order, Order::Begin(_)) {
            self.backlog.push(order);
        }
    }

    fn perform(&mut self, order: Order) -> i64 {
        match order {
            Order::Begin(mut decision) => {
                decision.result = Some(SwitchResult::Unconfirmed);
                let sent = Some(decision.time);
                self.add(decision, sent, None)
            }
            Order::Conclude(id, decision, applied) => {
                self.amend(id, decision, applied);
                id
            }
            Order::Record(decision) => self.complete(decision),
            Order::Prove(fingerprint) => {
                if !self.proofs.contains(&fingerprint) {
                    self.proofs.push(fingerprint);
                }
                0
            }
            Order::Undoubted(undoubted) => {
                self.undoubted = Some(undoubted);
                0
            }
            Order::Known(known) => {
                self.known = Some(known);
                0
            }
            Order::Pin(pin) => {
                self.pin = pin;
                0
            }
            Order::Freeze(all, freeze) => {
                if all {
                    self.all.freeze = freeze;
                } else {
                    self.freeze = freeze;
                }
                0
            }
            Order::Release(all, at) => {
                if all {
                    self.all.released = Some(at);
                } else {
                    self.released = Some(at);
                }
                0
            }
        }
    }

    fn add(
        &mut self,
        mut decision: Decision,
        sent: Option<Timestamp>,
        applied: Option<bool>,
    ) -> i64 {
        let id = i64::try_from(self.rows.len()).unwrap() + 1;
        decision.id = Some(id);
        self.rows.push(Row {
            decision,
            sent,
            applied,
        });
        self.stored(self.rows.len() - 1);
        id
    }

    fn stored(&self, row: usize) {
        let Row {
            decision,
            sent,
            applied,
        } = &self.rows[row];
        self.note(|site| Entry::Stored {
            site,
            row,
            decision: Arc::new(decision.clone()),
            sent: sent.is_some(),
            applied: *applied,
        });
    }

    fn amend(&mut self, id: i64, mut decision: Decision, applied: Option<bool>) {
        let index = usize::try_from(id - 1).unwrap();
        decision.id = Some(id);
        if applied == Some(true) {
            self.last_switch = self.last_switch.max(self.rows[index].sent);
        }
        self.rows[index].decision = decision;
        self.rows[index].applied = applied;
        self.stored(index);
    }

    /// A switch whose intent came too late to be answered completes that row.
    fn complete(&mut self, decision: Decision) -> i64 {
        let applied = match decision.result {
            Some(SwitchResult::Confirmed | SwitchResult::Ineffective) => Some(true),
            Some(SwitchResult::Rejected) => Some(false),
            Some(SwitchResult::Unconfirmed | SwitchResult::DryRun) | None => None,
        };
        let begun = self
            .rows
            .iter()
            .position(|row| row.sent == Some(decision.time) && row.applied.is_none());
        match (begun, decision.result) {
            (Some(index), _) => {
                let id = i64::try_from(index).unwrap() + 1;
                if decision.result.is_none() {
                    // Given up before anything was sent: it counts nowhere.
                    self.rows[index].sent = None;
                }
                self.amend(id, decision, applied);
                id
            }
            (None, Some(SwitchResult::Confirmed | SwitchResult::Unconfirmed)) => {
                let sent = Some(decision.time);
                self.last_switch = self.last_switch.max(sent);
                self.add(decision, sent, applied)
            }
            (None, _) => self.add(decision, None, applied),
        }
    }

    fn memory(&self, now: Timestamp, window: Duration) -> SiteMemory {
        let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        let switches = self.rows.iter().filter_map(|row| {
            Some(PastSwitch {
                id: row.decision.id?,
                at: row.sent.filter(|&at| at >= since)?,
                applied: row.applied,
                reason: row.decision.reason,
            })
        });
        let course = self.rows.iter().filter(|row| row.applied == Some(true));
        let course = course.filter_map(|row| {
            Some(PastSwitch {
                id: row.decision.id?,
                at: row.sent?,
                applied: row.applied,
                reason: row.decision.reason,
            })
        });
        let happened = || {
            let rows = self.rows.iter().rev();
            rows.filter(|row| row.sent.is_some() && row.applied == Some(true))
        };
        let to_main = |row: &&Row| {
            let to = row.decision.to.as_ref();
            to.is_some_and(|to| to.role == Role::Main)
        };
        let away = happened().find(|row| !to_main(row)).map(|row| Away {
            switch: row.decision.clone().into(),
            returned: happened().next().is_some_and(|row| to_main(&row)),
        });
        let open = |row: &&Row| row.sent.is_some() && row.applied.is_none();
        SiteMemory {
            proofs: self.proofs.clone(),
            undoubted: self.undoubted.clone(),
            switches: switches.collect(),
            last_switch: self.last_switch,
            last_decision: self.rows.last().map(|row| row.decision.clone()),
            known_record: self.known.clone(),
            open_switch: self
                .rows
                .iter()
                .rev()
                .find(open)
                .map(|row| row.decision.clone()),
            course: course.collect(),
            away,
            pin: self.pin.clone(),
            freeze: self.freeze.clone(),
            released: self.released,
        }
    }

    /// When this site left MAIN.
    fn left_main(&self, since: Timestamp) -> Vec<(Arc<str>, Timestamp)> {
        let flight = |decision: &Decision| {
            let from = decision.record.as_ref().map(|at| at.role);
            decision.reason == Reason::Switch(SwitchKind::Failover) && from == Some(Role::Main)
        };
        let left = self.rows.iter().filter(|row| {
            row.applied != Some(false) && row.decision.result.is_some() && flight(&row.decision)
        });
        let left = left.filter_map(|row| Some((row.decision.site.clone(), row.sent?)));
        left.filter(|(_, at)| *at >= since).collect()
    }
}

impl Store for MemoryStore {
    fn load<'a>(&'a self, _: &'a str, now: Timestamp, window: Duration) -> Answer<'a, SiteMemory> {
        let memory = self.with(|state| state.memory(now, window));
        Box::pin(std::future::ready(Ok(memory)))
    }

    fn begin_switch<'a>(&'a self, decision: &'a Decision) -> Answer<'a, i64> {
        Box::pin(self.order(Order::Begin(decision.clone())))
    }

    fn conclude_switch<'a>(
        &'a self,
        id: i64,
        decision: &'a Decision,
        applied: Option<bool>,
    ) -> Answer<'a, ()> {
        let order = Order::Conclude(id, decision.clone(), applied);
        Box::pin(async move { self.order(order).await.map(drop) })
    }

    fn record<'a>(&'a self, decision: &'a Decision) -> Answer<'a, i64> {
        Box::pin(self.order(Order::Record(decision.clone())))
    }

    fn prove<'a>(&'a self, _: &'a str, fingerprint: &'a str, _: Timestamp) -> Answer<'a, ()> {
        let order = Order::Prove(fingerprint.to_owned());
        Box::pin(async move { self.order(order).await.map(drop) })
    }

    fn save_undoubted<'a>(&'a self, _: &'a str, undoubted: &'a Undoubted) -> Answer<'a, ()> {
        let order = Order::Undoubted(undoubted.clone());
        Box::pin(async move { self.order(order).await.map(drop) })
    }

    fn save_known_record<'a>(&'a self, _: &'a str, known: &'a KnownRecord) -> Answer<'a, ()> {
        let order = Order::Known(known.clone());
        Box::pin(async move { self.order(order).await.map(drop) })
    }

    fn save_pin<'a>(&'a self, _: &'a str, pin: Option<&'a KeptPin>) -> Answer<'a, ()> {
        let order = Order::Pin(pin.cloned());
        Box::pin(async move { self.order(order).await.map(drop) })
    }

    fn save_freeze<'a>(&'a self, site: &'a str, freeze: Option<&'a Freeze>) -> Answer<'a, ()> {
        let order = Order::Freeze(site.is_empty(), freeze.cloned());
        Box::pin(async move { self.order(order).await.map(drop) })
    }

    fn save_release<'a>(&'a self, site: &'a str, at: Timestamp) -> Answer<'a, ()> {
        let order = Order::Release(site.is_empty(), at);
        Box::pin(async move { self.order(order).await.map(drop) })
    }

    fn load_guard(&self, since: Timestamp) -> Answer<'_, GuardMemory> {
        let (all, beside) = self.with(|state| (state.all.clone(), state.beside.clone()));
        let others = beside.iter().flat_map(|other| other.left_main(since));
        let memory = GuardMemory {
            left_main: self.left_main(since).into_iter().chain(others).collect(),
            ..all
        };
        Box::pin(std::future::ready(Ok(memory)))
    }

    fn healthy(&self) -> bool {
        self.with(|state| state.disk == Disk::Fine && state.backlog.is_empty())
    }
}
