//! A loop for each address of each origin: schedule, probe, health, report.
//!
//! The loop decides nothing. It publishes what it knows in a `watch` and wakes
//! its site, which then looks at the whole.

use crate::clock::{Clock, DriftWatch};
use crate::crowd::{Entered, Gate};
use crate::rule::Moment;
use crate::rule::finding::{Finding, Observation, Phases, Verdict};
use crate::rule::health::{Health, State, Thresholds, Transition, Trial};
use futures_util::future::BoxFuture;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Sleep, sleep_until};

use flights::Flights;

mod flights;
mod line;

pub use line::{Line, Reins};

/// A result may be this much later than its time limit before it says more
/// about us than about the origin.
const LATENESS: Duration = Duration::from_secs(1);

/// Observations of a confirmation that are kept.
const RECORDED: usize = 32;

/// Probes of one address under way at once, however long the time limit.
const OVERLAP: usize = 64;

/// What one probe found and how long its parts took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What it found.
    pub finding: Finding,
    /// What its parts took.
    pub phases: Phases,
}

/// Looks at one address, once, within its own time limit.
pub trait Probe: Send + Sync + 'static {
    /// Probes now.
    fn probe(&self) -> BoxFuture<'_, Sample>;

    /// Its way into the crowd of those who probe the same address, if they are
    /// counted.
    fn gate(&self) -> Option<&Gate> {
        None
    }
}

/// How often to probe. Set by the site's loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// The confirmation under way, by number; `None` is routine.
    pub confirming: Option<u64>,
    /// Raised when something joins the confirmation: probe at once.
    pub nudges: u64,
}

/// What is known of one address.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What all probes say.
    pub state: State,
    /// The newest observation in the order of starts.
    pub newest: Option<Arc<Observation>>,
    /// The newest one that found the origin down: why it is, while it is.
    pub failure: Option<Arc<Observation>>,
    /// What the probes of the confirmation with this number say.
    pub trial: (u64, Trial),
    /// The newest observations of that confirmation, in the order of starts.
    pub recorded: Vec<Arc<Observation>>,
    /// Gaps in observation so far.
    pub gaps: u64,
    /// How often it has gone down so far: an outage may begin and end between
    /// two looks at the state, when results come all at once.
    pub downs: u64,
    /// How often it has come up so far.
    pub ups: u64,
}

/// The settings of one loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Between routine probes.
    pub interval: Duration,
    /// Between probes of a confirmation.
    pub confirm_interval: Duration,
    /// The time limit of one probe.
    pub timeout: Duration,
    /// Where in the interval the routine probes lie, so that they are spread.
    pub offset: Duration,
    /// The thresholds of the health machine.
    pub limits: Thresholds,
}

/// Who hears of each observation, beside the site: metrics and logs.
pub trait Witness: Send + Sync + 'static {
    /// A probe has its result.
    fn observed(&self, seen: &Observation);
    /// The state changed.
    fn changed(&self, transition: Transition, seen: &Observation);
    /// A probe starts, this much later than it was due.
    fn starts(&self, _late: Duration) {}
}

/// What a loop needs.
pub struct Prober {
    /// The probe.
    pub probe: Arc<dyn Probe>,
    /// When to run it.
    pub schedule: Schedule,
    /// Places for probes under way, over all sites.
    pub places: Arc<Semaphore>,
    /// The time.
    pub clock: Clock,
    /// Where the pace comes from, and the report goes to.
    pub line: Arc<Line>,
    /// Woken when there is news.
    pub site: Arc<Notify>,
    /// Who else hears of it.
    pub witness: Arc<dyn Witness>,
}

/// A probe's result, with the confirmation it was started for.
struct Landed {
    seen: Observation,
    confirming: Option<u64>,
}

/// The changing part of a loop.
struct Loop {
    health: Health,
    trial: (u64, Trial),
    gaps: u64,
    downs: u64,
    ups: u64,
    pace: Pace,
    last_launch: Option<Moment>,
    last_nudge: Option<Moment>,
    next: Moment,
    drift: DriftWatch,
}

impl Prober {
    /// Probes until nobody listens any more.
    pub async fn run(self) {
        let Some(pace) = self.line.pace() else { return };
        let mut state = Loop::new(&self, pace);
        let mut flights = Flights::default();
        let mut told = pin!(self.line.told.notified());
        let mut due = pin!(sleep_until(self.clock.instant(state.next)));
        loop {
            tokio::select! {
                biased;
                landed = flights.next() => self.take(&mut state, landed),
                () = &mut told => {
                    told.set(self.line.told.notified());
                    let Some(pace) = self.line.pace() else { return };
                    self.repace(&mut state, pace);
                }
                () = &mut due => self.launch(&mut state, &mut flights),
            }
            self.set_alarm(due.as_mut(), state.next);
        }
    }

    fn set_alarm(&self, alarm: std::pin::Pin<&mut Sleep>, next: Moment) {
        let next = self.clock.instant(next);
        if alarm.is_elapsed() || alarm.deadline() != next {
            alarm.reset(next);
        }
    }

    /// The next routine slot after `now`.
    fn slot_after(&self, now: Moment) -> Moment {
        let interval = self.schedule.interval.as_nanos().max(1);
        let offset = self.schedule.offset.as_nanos() % interval;
        let into = (now.0.as_nanos() + interval - offset) % interval;
        let wait = u64::try_from(interval - into).unwrap_or(u64::MAX);
        now + Duration::from_nanos(wait)
    }

    fn repace(&self, state: &mut Loop, pace: Pace) {
        let now = self.clock.moment();
        let joined = pace.nudges != state.pace.nudges;
        if pace.confirming != state.pace.confirming {
            state.next = match pace.confirming {
                Some(number) => {
                    state.trial = (number, Trial::default());
                    state.last_nudge = Some(now);
                    now
                }
                None if state.last_launch.is_none() && self.line.at_once => now,
                None => self.slot_after(now),
            };
            self.line.report(|report| report.recorded = Vec::new());
        } else if joined && pace.confirming.is_some() {
            let recent = state
                .last_nudge
                .is_some_and(|last| now.since(last) < self.schedule.confirm_interval);
            if !recent {
                state.last_nudge = Some(now);
                state.next = now;
            }
        }
        state.pace = pace;
    }

    fn launch(&self, state: &mut Loop, flights: &mut Flights) {
        let now = self.clock.moment();
        self.notice_gap(state, now);
        state.last_launch = Some(now);
        let slot = state.next;
        state.next = match state.pace.confirming {
            // Counted from the slot and not from now, so that small delays of
            // the timer do not add up.
            Some(_) => (state.next + self.schedule.confirm_interval).max(now),
            None => self.slot_after(now),
        };
        // One that waits for a place stands for those that would wait behind it.
        if flights.len() >= OVERLAP || self.line.waiting.swap(true, Ordering::Relaxed) {
            return;
        }
        let flight = Flight {
            probe: self.probe.clone(),
            places: self.places.clone(),
            clock: self.clock.clone(),
            line: self.line.clone(),
            witness: self.witness.clone(),
            limit: self.schedule.timeout + LATENESS,
            slot,
        };
        let confirming = state.pace.confirming;
        flights.push(Box::pin(async move {
            let seen = flight.seen().await;
            Landed { seen, confirming }
        }));
    }

    /// A suspended machine or a stalled scheduler: what was counted before it
    /// is not joined to what comes after.
    fn notice_gap(&self, state: &mut Loop, now: Moment) {
        let jumped = state.drift.jumped(&self.clock);
        let stalled = state
            .last_launch
            .is_some_and(|last| now.since(last) > 3 * self.schedule.interval);
        if jumped || stalled {
            state.health.restart_counts();
            state.trial.1 = Trial::default();
            state.gaps += 1;
            self.publish(state, None, false);
            self.site.notify_one();
        }
    }

    fn take(&self, state: &mut Loop, landed: Landed) {
        let Landed { seen, confirming } = landed;
        self.witness.observed(&seen);
        let transition = state.health.observe(&seen, self.schedule.limits);
        if let Some(transition) = transition {
            state.downs += u64::from(transition.to == State::Down);
            state.ups += u64::from(transition.to == State::Up);
            self.witness.changed(transition, &seen);
        }
        let in_trial = confirming.is_some() && confirming == state.pace.confirming;
        if in_trial {
            state.trial.1.observe(&seen, self.schedule.limits);
        }
        let verdict = seen.finding.verdict();
        let turned = self.publish(state, Some(seen), in_trial) != Some(verdict);
        // A failure may be the one that a confirmation just missed.
        if in_trial || transition.is_some() || turned || verdict == Verdict::Down {
            self.site.notify_one();
        }
    }

    /// Publishes the report; returns the verdict that was newest before.
    fn publish(&self, state: &Loop, seen: Option<Observation>, in_trial: bool) -> Option<Verdict> {
        let mut before = None;
        self.line.report(|report| {
            before = report.newest.as_ref().map(|o| o.finding.verdict());
            report.state = state.health.state();
            report.trial = state.trial;
            report.gaps = state.gaps;
            report.downs = state.downs;
            report.ups = state.ups;
            if let Some(seen) = seen {
                let seen = Arc::new(seen);
                if in_trial {
                    if report.recorded.len() >= RECORDED {
                        report.recorded.remove(0);
                    }
                    report.recorded.push(seen.clone());
                }
                if seen.finding.verdict() == Verdict::Down {
                    report.failure = Some(seen.clone());
                }
                report.newest = Some(seen);
            }
        });
        before
    }
}

impl Loop {
    fn new(prober: &Prober, pace: Pace) -> Loop {
        let now = prober.clock.moment();
        Loop {
            health: Health::default(),
            trial: (pace.confirming.unwrap_or(0), Trial::default()),
            gaps: 0,
            downs: 0,
            ups: 0,
            pace,
            last_launch: None,
            last_nudge: None,
            next: if prober.line.at_once {
                now
            } else {
                prober.slot_after(now)
            },
            drift: DriftWatch::new(&prober.clock),
        }
    }
}

/// One probe on its way.
struct Flight {
    probe: Arc<dyn Probe>,
    places: Arc<Semaphore>,
    clock: Clock,
    line: Arc<Line>,
    witness: Arc<dyn Witness>,
    limit: Duration,
    slot: Moment,
}

impl Flight {
    async fn seen(self) -> Observation {
        // The address's place first: who waits for that keeps nobody else from
        // probing elsewhere.
        let place = match self.probe.gate() {
            None => None,
            Some(gate) => match gate.enter().await {
                Entered::Dials(place) => Some(place),
                Entered::Told(finding, began) => return self.told(finding, began),
            },
        };
        // The semaphore is never closed; without a permit we probe all the same.
        let _place = (place, self.places.acquire().await.ok());
        self.starts();
        timed(self.probe.as_ref(), &self.clock, self.limit).await
    }

    fn starts(&self) {
        self.line.waiting.store(false, Ordering::Relaxed);
        let late = self.clock.moment().since(self.slot);
        self.witness.starts(late);
    }

    /// Another's dial, begun then, has told what this probe would find.
    fn told(&self, finding: Finding, began: tokio::time::Instant) -> Observation {
        self.starts();
        let finished = self.clock.moment();
        let ago = began.elapsed();
        Observation {
            started: Moment(finished.0.saturating_sub(ago)),
            finished,
            finding,
            phases: Phases::default(),
        }
    }
}

/// Runs one probe and notes its times. A result long after its limit is no
/// evidence: we were not scheduled.
async fn timed(probe: &dyn Probe, clock: &Clock, limit: Duration) -> Observation {
    let started = clock.moment();
    let sample = probe.probe().await;
    let finished = clock.moment();
    let took = finished.since(started);
    let finding = if took > limit {
        Finding::Late(took.saturating_sub(limit.saturating_sub(LATENESS)))
    } else {
        sample.finding
    };
    Observation {
        started,
        finished,
        finding,
        phases: sample.phases,
    }
}

#[cfg(test)]
mod tests;
