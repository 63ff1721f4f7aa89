//! What one site and its origins count.

use super::families::Process;
use crate::prober::Witness;
use crate::rule::address::Role;
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{Decision, Pointer, Reason, SwitchResult};
use crate::rule::finding::{Observation, Verdict};
use crate::rule::health::{State, Transition};
use crate::rule::walk::{KeepReason, SwitchKind};
use jiff::Timestamp;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a byte holds of something that is not known: no series.
const ABSENT: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

/// The metrics of one site.
pub struct SiteMetrics {
    process: Arc<Process>,
    name: Arc<str>,
    /// MAIN, the BACKUPs, and behind them whatever else the record may hold.
    counts: Box<[OriginCounts]>,
    told: Mutex<Told>,
}

/// What is counted of one origin; written with every probe, so without a lock.
#[derive(Default)]
pub(super) struct OriginCounts {
    up: AtomicU64,
    down: AtomicU64,
    unknown: AtomicU64,
    /// Whether it is or was ever probed.
    watched: AtomicU8,
    state: AtomicU8,
    held: AtomicU8,
}

/// What is counted and shown of the site as a whole.
#[derive(Default)]
pub(super) struct Told {
    pub(super) decisions: Vec<(Reason, u64)>,
    pub(super) switches: Vec<((Role, Role, SwitchResult), u64)>,
    pub(super) hold: Option<HoldReason>,
    pub(super) last_switch: Option<Timestamp>,
    pub(super) pinned: Option<Role>,
    pub(super) edge_up: Option<bool>,
    pub(super) edge_down: bool,
    pub(super) frozen: bool,
    pub(super) alert_unconfirmed: bool,
    pub(super) foreign_edits: u64,
}

/// Counts one more of `what`.
fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, what: T) {
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, number)) => *number += 1,
        None => counts.push((what, 1)),
    }
}

impl Told {
    /// What alerts and dashboards count from zero.
    fn new(origins: usize) -> Told {
        let backups = || (1..origins).map(Role::of_index);
        let away = backups().map(|backup| (Role::Main, backup, SwitchResult::Confirmed));
        let back = backups().map(|backup| (backup, Role::Main, SwitchResult::Confirmed));
        let reasons = [
            Reason::Keep(KeepReason::OnMain),
            Reason::Switch(SwitchKind::Failover),
            Reason::Switch(SwitchKind::Failback),
        ];
        Told {
            decisions: reasons.map(|reason| (reason, 0)).into(),
            switches: away.chain(back).map(|switch| (switch, 0)).collect(),
            ..Told::default()
        }
    }
}

impl OriginCounts {
    fn watch(&self) {
        self.watched.store(YES, Ordering::Relaxed);
    }

    /// Probes by what they found: from zero, but for those that found nothing.
    pub(super) fn probes(&self) -> impl Iterator<Item = (Verdict, u64)> {
        let watched = self.watched.load(Ordering::Relaxed) == YES;
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let unknown = number(&self.unknown);
        [
            (Verdict::Up, number(&self.up), watched),
            (Verdict::Down, number(&self.down), watched),
            (Verdict::Unknown, unknown, unknown > 0),
        ]
        .into_iter()
        .filter(|(_, _, shown)| *shown)
        .map(|(verdict, probes, _)| (verdict, probes))
    }

    /// What is believed of it.
    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            YES => State::Up,
            NO => State::Down,
            _ => State::Unknown,
        }
    }

    /// Whether the record holds it, once that was read.
    pub(super) fn held(&self) -> Option<bool> {
        let held = self.held.load(Ordering::Relaxed);
        (held != ABSENT).then_some(held == YES)
    }
}

fn byte(so: bool) -> u8 {
    if so { YES } else { NO }
}

impl SiteMetrics {
    pub(super) fn new(process: Arc<Process>, name: Arc<str>, origins: usize) -> Arc<SiteMetrics> {
        let counts: Box<[OriginCounts]> = (0..=origins).map(|_| OriginCounts::default()).collect();
        counts[..origins].iter().for_each(OriginCounts::watch);
        Arc::new(SiteMetrics {
            process,
            name,
            counts,
            told: Mutex::new(Told::new(origins)),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many origins are configured.
    pub(super) fn origins(&self) -> usize {
        self.counts.len() - 1
    }

    /// Each origin with its role, and the place of a foreign address.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Role, &OriginCounts)> {
        let roles = (0..self.origins()).map(Role::of_index);
        roles.chain([Role::Other]).zip(&self.counts)
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self, role: Role) -> usize {
        let last = self.origins();
        match role {
            Role::Main => 0,
            Role::Backup(n) => last.min(usize::from(n)),
            Role::Other => last,
        }
    }

    /// A pass of the rule ended.
    pub fn pass(&self, decision: &Decision) {
        count(&mut self.told().decisions, decision.reason);
    }

    /// A switch has its result.
    pub fn switched(&self, decision: &Decision) {
        let role = |at: &Option<Pointer>| at.as_ref().map_or(Role::Other, |at| at.role);
        let Some(result) = decision.result else {
            return;
        };
        let switch = (role(&decision.record), role(&decision.to), result);
        count(&mut self.told().switches, switch);
        if let Some(took) = decision.duration {
            self.process.switch_duration.observe(took.as_secs_f64());
        }
    }

    /// When the site was last switched.
    pub fn last_switch(&self, at: Timestamp) {
        self.told().last_switch = Some(at);
    }

    /// What holds the site now, if anything does.
    pub fn hold(&self, now: Option<HoldReason>) {
        self.told().hold = now;
    }

    /// What the record holds; `None` where that is not one origin.
    pub fn record(&self, holds: Option<Role>) {
        let held = holds.map(|role| self.index(role));
        for (index, counts) in self.counts.iter().enumerate() {
            let so = byte(held == Some(index));
            counts.held.store(so, Ordering::Relaxed);
        }
    }

    /// What is believed of an origin.
    pub fn origin(&self, role: Role, state: State) {
        let shown = match state {
            State::Up => YES,
            State::Down => NO,
            State::Unknown => ABSENT,
        };
        let counts = &self.counts[self.index(role)];
        counts.state.store(shown, Ordering::Relaxed);
    }

    /// The record no longer holds an address that is not configured.
    pub fn forget_other(&self) {
        self.origin(Role::Other, State::Unknown);
    }

    /// Whether an alert fires while the probes find the origin up.
    pub fn alert_unconfirmed(&self, so: bool) {
        self.told().alert_unconfirmed = so;
    }

    /// The origin that a person gave MAIN's part, if one did.
    pub fn pinned(&self, now: Option<Role>) {
        self.told().pinned = now;
    }

    /// Whether the site is frozen.
    pub fn frozen(&self, so: bool) {
        self.told().frozen = so;
    }

    /// Whether the site is served through the edge, if that can be told.
    pub fn edge_up(&self, served: Option<bool>) {
        self.told().edge_up = served;
    }

    /// Whether the origin is up and the edge fails.
    pub fn edge_down(&self, so: bool) {
        self.told().edge_down = so;
    }

    /// The site is served through the edge again, so long after the trigger.
    pub fn recovered(&self, took: Duration) {
        self.process.recovery.observe(took.as_secs_f64());
    }

    /// Somebody else changed the record.
    pub fn foreign_edit(&self) {
        self.told().foreign_edits += 1;
    }

    /// Who counts and logs the probes of one origin.
    #[must_use]
    pub fn witness(self: &Arc<Self>, role: Role) -> Arc<dyn Witness> {
        let index = self.index(role);
        self.counts[index].watch();
        Arc::new(OriginMetrics {
            site: self.clone(),
            role,
            index,
        })
    }
}

/// Counts for one origin.
struct OriginMetrics {
    site: Arc<SiteMetrics>,
    role: Role,
    index: usize,
}

impl Witness for OriginMetrics {
    fn observed(&self, seen: &Observation) {
        let counts = &self.site.counts[self.index];
        let counter = match seen.finding.verdict() {
            Verdict::Up => &counts.up,
            Verdict::Down => &counts.down,
            Verdict::Unknown => &counts.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let phases = &seen.phases;
        let total = Some(seen.finished.since(seen.started));
        let taken = [
            phases.resolve,
            phases.connect,
            phases.tls,
            phases.response,
            total,
        ];
        for (histogram, took) in self.site.process.probe_phases.iter().zip(taken) {
            if let Some(took) = took {
                histogram.observe(took.as_secs_f64());
            }
        }
    }

    fn starts(&self, late: Duration) {
        self.site.process.probe_lag.observe(late.as_secs_f64());
    }

    fn changed(&self, transition: Transition, seen: &Observation) {
        let site = &self.site.name;
        let origin = self.role;
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        if transition.to == State::Down {
            tracing::warn!(%site, %origin, from, to, "{site}: {origin} is {to}: {}", seen.finding);
        } else {
            tracing::info!(%site, %origin, from, to, "{site}: {origin} is {to}: {}", seen.finding);
        }
    }
}
