//! A prober that runs: when it probes next, and what its probes came to.

use super::flight::Flight;
use super::flights::{Flights, Landed};
use super::{OVERLAP, Pace, Probe, RECORDED, Report, Rounds, Schedule, Witness};
use crate::rule::Moment;
use crate::rule::finding::{Observation, Verdict};
use crate::rule::health::{Health, State as Believed, Trial};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A prober that runs. No task of its own: it is asked when it is due, and each
/// of its probes ends with [`landed`](Running::landed).
pub(super) struct Running {
    pub(super) probe: Arc<dyn Probe>,
    pub(super) schedule: Schedule,
    pub(super) rounds: Rounds,
    pub(super) site: Arc<Notify>,
    pub(super) witness: Arc<dyn Witness>,
    /// Who hears that there is a new report, beside the site.
    pub(super) news: Option<watch::Sender<u64>>,
    /// It began with a confirmation: the first probe comes at once, also if
    /// that is over by then. Whether an origin can be probed is not put off.
    pub(super) at_once: bool,
    pub(super) state: Mutex<State>,
}

/// The changing part of it.
pub(super) struct State {
    pub(super) report: Report,
    health: Health,
    pace: Pace,
    last_launch: Option<Moment>,
    last_nudge: Option<Moment>,
    /// When the next probe is due.
    next: Moment,
    /// When it will be asked; what it was to be asked for before or after that
    /// is out of date.
    asked_at: Moment,
    /// A probe waits for a place.
    pub(super) waiting: bool,
    /// A slot that passed meanwhile.
    passed: Option<Moment>,
    /// How often the clocks had gone apart at its last launch.
    jumps: u32,
    flights: Flights,
    ended: bool,
}

impl State {
    pub(super) fn new(pace: Pace, next: Moment) -> State {
        let mut report = Report::default();
        report.trial.0 = pace.confirming.unwrap_or(0);
        State {
            report,
            health: Health::default(),
            pace,
            last_launch: None,
            last_nudge: None,
            next,
            asked_at: next,
            waiting: false,
            passed: None,
            jumps: 0,
            flights: Flights::default(),
            ended: false,
        }
    }
}

impl Schedule {
    /// The next routine slot after `now`.
    pub(super) fn slot_after(&self, now: Moment) -> Moment {
        let interval = self.interval.as_nanos().max(1);
        let offset = self.offset.as_nanos() % interval;
        let into = (now.0.as_nanos() + interval - offset) % interval;
        let wait = u64::try_from(interval - into).unwrap_or(u64::MAX);
        now + Duration::from_nanos(wait)
    }
}

impl Running {
    /// Its state; a panic elsewhere leaves it as usable as it was.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants to be asked when its next probe is due, if that is earlier than it
    /// will be.
    fn call(self: &Arc<Self>, state: &mut State) {
        if state.next < state.asked_at {
            state.asked_at = state.next;
            self.rounds.call(state.next, Arc::downgrade(self));
        }
    }

    pub(super) fn set_pace(self: &Arc<Self>, pace: Pace) {
        let mut state = self.lock();
        self.repace(&mut state, pace);
        self.call(&mut state);
    }

    fn repace(&self, state: &mut State, pace: Pace) {
        let now = self.rounds.clock().moment();
        let joined = pace.nudges != state.pace.nudges;
        if pace.confirming != state.pace.confirming {
            state.next = match pace.confirming {
                Some(number) => {
                    state.report.trial = (number, Trial::default());
                    state.last_nudge = Some(now);
                    now
                }
                None if state.last_launch.is_none() && self.at_once => now,
                None => self.schedule.slot_after(now),
            };
            state.report.recorded = Vec::new();
        } else if joined && pace.confirming.is_some() {
            let recent = state
                .last_nudge
                .is_some_and(|last| now.since(last) < self.schedule.confirm_interval);
            if !recent {
                state.last_nudge = Some(now);
                // One that starts in this moment will do.
                if state.last_launch != Some(now) {
                    state.next = now;
                }
            }
        }
        state.pace = pace;
    }

    /// Nobody listens any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.flights.abort();
    }

    /// It is asked, as it wanted to be then; says when it wants to be asked next.
    pub(super) fn asked(
        self: &Arc<Self>,
        wanted: Moment,
        now: Moment,
        jumps: u32,
    ) -> Option<Moment> {
        let mut state = self.lock();
        if state.ended || state.asked_at != wanted {
            return None;
        }
        if state.next <= now {
            let jumped = std::mem::replace(&mut state.jumps, jumps) != jumps;
            self.launch(&mut state, now, jumped);
        }
        state.asked_at = state.next;
        Some(state.next)
    }

    fn launch(self: &Arc<Self>, state: &mut State, now: Moment, jumped: bool) {
        self.notice_gap(state, now, jumped);
        state.last_launch = Some(now);
        let slot = state.next;
        state.next = match state.pace.confirming {
            // Counted from the slot and not from now, so that small delays of
            // the timer do not add up.
            Some(_) => (state.next + self.schedule.confirm_interval).max(now),
            None => self.schedule.slot_after(now),
        };
        // One that waits for a place stands for those that would wait behind it.
        if state.waiting {
            state.passed = Some(slot);
        } else {
            self.take_off(state, slot);
        }
    }

    fn take_off(self: &Arc<Self>, state: &mut State, slot: Moment) {
        if state.flights.len() >= OVERLAP {
            return;
        }
        state.waiting = true;
        let flight = Flight {
            prober: self.clone(),
            number: state.flights.next(),
            slot,
            confirming: state.pace.confirming,
            waits: true,
        };
        let task = self.rounds.tasks().spawn(flight.fly());
        state.flights.push(task.abort_handle());
    }

    /// A probe that was due then waits no more. A slot that has just passed is
    /// made up for: who is told all at once would else miss that moment together.
    pub(super) fn starts(self: &Arc<Self>, due: Moment) {
        let now = self.rounds.clock().moment();
        self.witness.starts(now.since(due));
        let mut state = self.lock();
        state.waiting = false;
        if let Some(slot) = state.passed.take()
            && now.since(slot) < state.next.since(now)
            && !state.ended
        {
            self.take_off(&mut state, slot);
        }
    }

    /// A suspended machine or a stalled scheduler: what was counted before it
    /// is not joined to what comes after.
    fn notice_gap(&self, state: &mut State, now: Moment, jumped: bool) {
        // Before the first launch there is nothing to be joined.
        let since = state.last_launch.map(|last| now.since(last));
        if since.is_some_and(|since| jumped || since > 3 * self.schedule.interval) {
            state.health.restart_counts();
            state.report.trial.1 = Trial::default();
            state.report.gaps += 1;
            self.tell();
            self.site.notify_one();
        }
    }

    /// That probe has its result, which counts after those that started before.
    pub(super) fn landed(&self, number: u64, landed: Landed) {
        self.ends(number, Some(landed));
    }

    /// That probe ended without a result, if it has none yet; maybe while it
    /// waited for its place.
    pub(super) fn lost(&self, number: u64, waited: bool) {
        if waited {
            self.lock().waiting = false;
        }
        self.ends(number, None);
    }

    fn ends(&self, number: u64, landed: Option<Landed>) {
        let mut state = self.lock();
        state.flights.ends(number, landed);
        while let Some(landed) = state.flights.take() {
            self.take(&mut state, landed);
        }
    }

    fn take(&self, state: &mut State, landed: Landed) {
        let Landed { seen, confirming } = landed;
        self.witness.observed(&seen);
        let transition = state.health.observe(&seen, self.schedule.limits);
        if let Some(transition) = transition {
            state.report.downs += u64::from(transition.to == Believed::Down);
            state.report.ups += u64::from(transition.to == Believed::Up);
            self.witness.changed(transition, &seen);
        }
        let in_trial = confirming.is_some() && confirming == state.pace.confirming;
        if in_trial {
            state.report.trial.1.observe(&seen, self.schedule.limits);
        }
        state.report.state = state.health.state();
        let verdict = seen.finding.verdict();
        let turned = state.report.record(seen, in_trial) != Some(verdict);
        self.tell();
        // A failure may be the one that a confirmation just missed.
        if in_trial || transition.is_some() || turned || verdict == Verdict::Down {
            self.site.notify_one();
        }
    }

    fn tell(&self) {
        if let Some(news) = &self.news {
            news.send_modify(|number| *number += 1);
        }
    }
}

impl Report {
    /// Keeps what was seen; returns the verdict that was newest before.
    fn record(&mut self, seen: Observation, in_trial: bool) -> Option<Verdict> {
        let seen = Arc::new(seen);
        if in_trial {
            if self.recorded.len() >= RECORDED {
                self.recorded.remove(0);
            }
            self.recorded.push(seen.clone());
        }
        if seen.finding.verdict() == Verdict::Down {
            self.failure = Some(seen.clone());
        }
        let before = self.newest.replace(seen);
        before.map(|seen| seen.finding.verdict())
    }
}
