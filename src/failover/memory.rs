//! What a site remembers: proofs, switches, and how long MAIN has been well.

use super::{SiteMemory, Undoubted};
use crate::clock::Clock;
use crate::rule::Moment;
use crate::rule::decision::Reason;
use crate::rule::health::State;
use crate::rule::walk::SwitchKind;
use jiff::Timestamp;
use std::time::Duration;

/// How long MAIN has been undoubted. Only time that was observed counts: a
/// restart credits none that was not, and loses none that was.
#[derive(Debug, Clone)]
pub(super) struct Wellness {
    fingerprint: String,
    observed: Duration,
    since: Option<Moment>,
    saved: Option<Duration>,
}

impl Wellness {
    pub(super) fn new(fingerprint: String) -> Wellness {
        Wellness {
            fingerprint,
            observed: Duration::ZERO,
            since: None,
            saved: None,
        }
    }

    /// From nothing, for an origin that takes MAIN's part: what is stored is
    /// about another one, or about another time.
    pub(super) fn anew(fingerprint: String) -> Wellness {
        Wellness {
            saved: Some(Duration::MAX),
            ..Wellness::new(fingerprint)
        }
    }

    /// Takes over what was stored, if the probe settings are still the same.
    /// `between` is credited too: what lay between two runs of `once`, if the
    /// first of them saw MAIN up.
    pub(super) fn restore(&mut self, stored: &Undoubted, between: Duration) {
        if stored.fingerprint == self.fingerprint {
            let seen_up = !stored.observed.is_zero();
            self.observed = stored.observed + if seen_up { between } else { Duration::ZERO };
            self.saved = Some(stored.observed);
        }
    }

    /// Takes MAIN's state. Unknown is no time observed, but nothing against it.
    pub(super) fn observe(&mut self, state: State, now: Moment) {
        match state {
            State::Up => {
                self.since.get_or_insert(now);
            }
            State::Down => self.restart(None),
            State::Unknown => {
                self.observed = self.total(now);
                self.since = None;
            }
        }
    }

    /// Starts at zero: a gap, or somebody's hand.
    pub(super) fn restart(&mut self, from: Option<Moment>) {
        self.observed = Duration::ZERO;
        self.since = from;
    }

    /// Whether MAIN is being seen up.
    pub(super) fn running(&self) -> bool {
        self.since.is_some()
    }

    /// How long MAIN has been undoubted.
    pub(super) fn total(&self, now: Moment) -> Duration {
        self.observed + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Whether less is so than what is stored: a crash would bring back time
    /// that ended with MAIN's failure.
    pub(super) fn overstated(&self, now: Moment) -> bool {
        self.saved.is_some_and(|saved| saved > self.total(now))
    }

    /// What to store, if it differs from what is stored.
    pub(super) fn take_unsaved(&mut self, clock: &Clock) -> Option<Undoubted> {
        let observed = self.total(clock.moment());
        if self.saved == Some(observed) || (self.saved.is_none() && observed.is_zero()) {
            return None;
        }
        self.saved = Some(observed);
        Some(Undoubted {
            fingerprint: self.fingerprint.clone(),
            observed,
            as_of: clock.now(),
        })
    }
}

/// A switch that was, or may have been, carried out.
#[derive(Debug, Clone, Copy)]
struct Switch {
    at: Moment,
    /// Distinguishes the one under way from those of the past.
    number: u64,
}

/// Switches and proofs.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    switches: Vec<Switch>,
    next: u64,
    /// Few: a fingerprint for each origin.
    proofs: Vec<String>,
    returns: Returns,
    /// When a person last released the site.
    released: Option<Moment>,
    /// Numbers of switches of an earlier process whose outcome is not known.
    unsettled: Vec<(i64, u64)>,
}

/// Whether returns to MAIN last.
#[derive(Debug, Clone, Copy, Default)]
struct Returns {
    /// When the site last returned, while it has not left again.
    returned: Option<Moment>,
    /// Returns that did not last, one after the other.
    relapses: u32,
}

impl Returns {
    /// A switch was carried out. A return that lasted for `window` ends the row.
    fn switched(&mut self, reason: Reason, at: Moment, window: Duration) {
        match reason {
            Reason::Switch(SwitchKind::Failback) => self.returned = Some(at),
            Reason::Switch(SwitchKind::Failover) => {
                if let Some(returned) = self.returned.take() {
                    let lasted = at.since(returned) >= window;
                    self.relapses = if lasted { 0 } else { self.relapses + 1 };
                }
            }
            _ => *self = Returns::default(),
        }
    }
}

impl History {
    pub(super) fn restore(&mut self, memory: &SiteMemory, clock: &Clock, window: Duration) {
        // What a clock that was set back since puts into the future, is past.
        let now = clock.moment();
        let moment = |at| clock.moment_of(at).min(now);
        for fingerprint in &memory.proofs {
            self.prove(fingerprint);
        }
        self.released = memory.released.map(moment);
        for past in &memory.switches {
            let released = memory.released.is_some_and(|at| past.at <= at);
            // A person's pin is not counted.
            let pin = past.reason == Reason::Switch(SwitchKind::Pin);
            if past.applied != Some(false) && !released && !pin {
                let number = self.add(moment(past.at));
                if past.applied.is_none() {
                    self.unsettled.push((past.id, number));
                }
            }
        }
        for past in &memory.course {
            self.returns.switched(past.reason, moment(past.at), window);
        }
    }

    /// The number of a switch of an earlier process whose outcome is not known.
    pub(super) fn unsettled(&self, id: i64) -> Option<u64> {
        let mut known = self.unsettled.iter();
        known.find(|(row, _)| *row == id).map(|(_, number)| *number)
    }

    /// A switch is known to have been carried out.
    pub(super) fn switched(&mut self, reason: Reason, at: Moment, window: Duration) {
        self.returns.switched(reason, at, window);
    }

    /// Returns to MAIN that did not last, one after the other.
    pub(super) fn relapses(&self) -> u32 {
        self.returns.relapses
    }

    /// MAIN is another one from now on.
    pub(super) fn forget_returns(&mut self) {
        self.returns = Returns::default();
    }

    /// Whether a person released the site within `window`.
    pub(super) fn released_within(&self, window: Duration, now: Moment) -> bool {
        self.released.is_some_and(|at| now.since(at) < window)
    }

    fn add(&mut self, at: Moment) -> u64 {
        self.next += 1;
        let number = self.next;
        self.switches.push(Switch { at, number });
        number
    }

    /// Counts a switch that is about to be sent; returns its number.
    pub(super) fn begin(&mut self, now: Moment, window: Duration) -> u64 {
        self.switches.retain(|switch| now.since(switch.at) < window);
        self.add(now)
    }

    /// Takes one back that is known not to have happened.
    pub(super) fn undo(&mut self, number: u64) {
        self.switches.retain(|switch| switch.number != number);
    }

    /// Forgets all switches: a person says that the budget is free again.
    pub(super) fn release(&mut self, now: Moment) {
        self.switches.clear();
        self.released = Some(now);
    }

    /// The switches on the wall clock, oldest first. They are kept as moments,
    /// so that a wall clock that is set expires none of them.
    pub(super) fn switches(&self, clock: &Clock) -> Vec<Timestamp> {
        self.switches
            .iter()
            .map(|switch| clock.timestamp(switch.at))
            .collect()
    }

    pub(super) fn proven(&self, fingerprint: &str) -> bool {
        self.proofs.iter().any(|known| known == fingerprint)
    }

    /// Remembers a proof; says whether it is new.
    pub(super) fn prove(&mut self, fingerprint: &str) -> bool {
        let new = !self.proven(fingerprint);
        if new {
            self.proofs.push(fingerprint.to_owned());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment(Duration::from_secs(1_000 + second))
    }

    #[test]
    fn only_observed_time_counts_and_a_failure_starts_again() {
        let mut well = Wellness::new("a".into());
        well.observe(State::Unknown, at(0));
        assert_eq!(well.total(at(50)), Duration::ZERO);
        well.observe(State::Up, at(50));
        assert_eq!(well.total(at(80)), Duration::from_secs(30));
        well.observe(State::Unknown, at(80));
        assert_eq!(well.total(at(200)), Duration::from_secs(30));
        well.observe(State::Up, at(200));
        assert_eq!(well.total(at(210)), Duration::from_secs(40));
        well.observe(State::Down, at(210));
        well.observe(State::Up, at(220));
        assert_eq!(well.total(at(225)), Duration::from_secs(5));
    }

    #[test]
    fn what_lay_between_two_runs_counts_if_the_first_saw_main_up() {
        let between = Duration::from_secs(600);
        for (seen, credited) in [(0, 0), (1, 601)] {
            let stored = Undoubted {
                fingerprint: "a".into(),
                observed: Duration::from_secs(seen),
                as_of: "2026-11-23T00:00:00Z".parse().unwrap(),
            };
            let mut well = Wellness::new("a".into());
            well.restore(&stored, between);
            assert_eq!(well.total(at(0)), Duration::from_secs(credited));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_neither_credits_nor_loses_and_changed_settings_start_anew() {
        let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
        let mut before = Wellness::new("a".into());
        before.observe(State::Up, clock.moment());
        tokio::time::advance(Duration::from_secs(120)).await;
        let stored = before.take_unsaved(&clock).unwrap();
        assert_eq!(stored.observed, Duration::from_secs(120));
        assert_eq!(before.take_unsaved(&clock), None);

        tokio::time::advance(Duration::from_secs(3600)).await;
        let mut after = Wellness::new("a".into());
        after.restore(&stored, Duration::ZERO);
        assert_eq!(after.total(clock.moment()), Duration::from_secs(120));
        let mut other = Wellness::new("b".into());
        other.restore(&stored, Duration::ZERO);
        assert_eq!(other.total(clock.moment()), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_is_set_expires_no_switch() {
        let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
        let mut history = History::default();
        let number = history.begin(clock.moment(), Duration::from_secs(3600));
        clock.step(7_200_000);
        assert_eq!(history.switches(&clock), [clock.now()]);
        history.undo(number);
        assert!(history.switches(&clock).is_empty());
    }

    #[test]
    fn returns_that_do_not_last_add_up_until_one_does() {
        let window = Duration::from_secs(100);
        let mut returns = Returns::default();
        let home = Reason::Switch(SwitchKind::Failback);
        let away = Reason::Switch(SwitchKind::Failover);
        for (reason, second, relapses) in [
            (away, 0, 0),
            (home, 10, 0),
            (away, 20, 1),
            // From a dead BACKUP on: no return was left.
            (away, 30, 1),
            (home, 200, 1),
            (away, 250, 2),
            (home, 300, 2),
            (away, 400, 0),
            (home, 410, 0),
            (away, 420, 1),
            (Reason::Switch(SwitchKind::Pin), 430, 0),
        ] {
            returns.switched(reason, at(second), window);
            assert_eq!(returns.relapses, relapses, "{reason:?} at {second}");
        }
    }
}
