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
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Sleep, sleep_until};

use flights::Flights;

mod flights;

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

/// Between a site and one of its probers: the pace that the one sets, and the
/// report that the other gives.
pub struct Line {
    /// It began with a confirmation: the first probe comes at once, also if
    /// that is over by then. Whether an origin can be probed is not put off.
    at_once: bool,
    state: Mutex<Told>,
    /// The site has said something.
    told: Notify,
    /// A probe waits for a place.
    waiting: AtomicBool,
    /// Who hears that there is a new report, beside the site.
    news: Option<watch::Sender<u64>>,
}

#[derive(Default)]
struct Told {
    pace: Pace,
    report: Report,
    ended: bool,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pace as it is now; `None` once nobody listens any more.
    fn pace(&self) -> Option<Pace> {
        let told = self.lock();
        (!told.ended).then_some(told.pace)
    }

    fn report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock().report);
        if let Some(news) = &self.news {
            news.send_modify(|number| *number += 1);
        }
    }
}

/// The site's end of a line; the prober ends when it is dropped.
pub struct Reins(Arc<Line>);

impl Reins {
    /// A line that begins with this pace.
    #[must_use]
    pub fn new(pace: Pace) -> Reins {
        Reins::of(pace, None)
    }

    /// The same, and a number that changes with each report.
    #[must_use]
    pub fn with_news(pace: Pace) -> (Reins, watch::Receiver<u64>) {
        let (news, heard) = watch::channel(0);
        (Reins::of(pace, Some(news)), heard)
    }

    fn of(pace: Pace, news: Option<watch::Sender<u64>>) -> Reins {
        let told = Told {
            pace,
            ..Told::default()
        };
        Reins(Arc::new(Line {
            at_once: pace.confirming.is_some(),
            state: Mutex::new(told),
            told: Notify::new(),
            waiting: AtomicBool::new(false),
            news,
        }))
    }

    /// The prober's end.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        self.0.clone()
    }

    /// Sets the pace.
    pub fn set_pace(&self, pace: Pace) {
        self.0.lock().pace = pace;
        self.0.told.notify_one();
    }

    /// The report as it is; not to be kept.
    pub fn report(&self) -> impl Deref<Target = Report> {
        struct Shown<'a>(MutexGuard<'a, Told>);
        impl Deref for Shown<'_> {
            type Target = Report;
            fn deref(&self) -> &Report {
                &self.0.report
            }
        }
        Shown(self.0.lock())
    }

    /// Whether a probe waits for a place: what it would find is yet to be seen.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Reins {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.told.notify_one();
    }
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
mod tests {
    use super::*;
    use crate::rule::health::Answer;

    type Calls = Box<dyn FnMut(usize) -> (Duration, Finding) + Send>;

    /// A probe that follows a script: the delay and the finding of each call.
    struct Script(Mutex<Calls>, Mutex<usize>);

    impl Probe for Script {
        fn probe(&self) -> BoxFuture<'_, Sample> {
            Box::pin(async move {
                let call = {
                    let mut calls = self.1.lock().unwrap();
                    *calls += 1;
                    *calls - 1
                };
                let (delay, finding) = (self.0.lock().unwrap())(call);
                tokio::time::sleep(delay).await;
                Sample {
                    finding,
                    phases: Phases::default(),
                }
            })
        }
    }

    #[derive(Default)]
    struct Seen(Mutex<Vec<(u64, Verdict)>>, Mutex<Vec<Transition>>);

    impl Witness for Seen {
        fn observed(&self, seen: &Observation) {
            let started = u64::try_from(seen.started.0.as_millis()).unwrap();
            self.0
                .lock()
                .unwrap()
                .push((started, seen.finding.verdict()));
        }
        fn changed(&self, transition: Transition, _: &Observation) {
            self.1.lock().unwrap().push(transition);
        }
    }

    struct Rig {
        reins: Reins,
        pace: Mutex<Pace>,
        seen: Arc<Seen>,
        clock: Clock,
    }

    impl Rig {
        fn repace(&self, change: impl FnOnce(&mut Pace)) {
            let mut pace = self.pace.lock().unwrap();
            change(&mut pace);
            self.reins.set_pace(*pace);
        }
    }

    const SCHEDULE: Schedule = Schedule {
        interval: Duration::from_secs(10),
        confirm_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        offset: Duration::from_secs(3),
        limits: Thresholds { fall: 3, rise: 2 },
    };

    fn rig(script: impl FnMut(usize) -> (Duration, Finding) + Send + 'static, pace: Pace) -> Rig {
        rig_among(script, pace, Arc::new(Semaphore::new(8)))
    }

    fn rig_among(
        script: impl FnMut(usize) -> (Duration, Finding) + Send + 'static,
        pace: Pace,
        places: Arc<Semaphore>,
    ) -> Rig {
        let reins = Reins::new(pace);
        let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
        let seen = Arc::new(Seen::default());
        let prober = Prober {
            probe: Arc::new(Script(Mutex::new(Box::new(script)), Mutex::new(0))),
            schedule: SCHEDULE,
            places,
            clock: clock.clone(),
            line: reins.line(),
            site: Arc::new(Notify::new()),
            witness: seen.clone(),
        };
        tokio::spawn(prober.run());
        Rig {
            reins,
            pace: Mutex::new(pace),
            seen,
            clock,
        }
    }

    fn up() -> (Duration, Finding) {
        let after = Duration::from_millis(5);
        (after, Finding::Connected { after })
    }

    fn swallowed() -> (Duration, Finding) {
        let limit = Duration::from_secs(2);
        let phase = crate::rule::finding::Phase::Connect;
        (limit, Finding::Timeout { phase, limit })
    }

    fn starts(rig: &Rig) -> Vec<u64> {
        let origin = u64::try_from(ORIGIN_MS).unwrap();
        let seen = rig.seen.0.lock().unwrap();
        seen.iter().map(|(at, _)| at - origin).collect()
    }

    const ORIGIN_MS: u128 = (1u128 << 32) * 1000;

    #[tokio::test(start_paused = true)]
    async fn routine_probes_come_every_interval_at_their_own_offset() {
        let rig = rig(|_| up(), Pace::default());
        tokio::time::sleep(Duration::from_secs(35)).await;
        let starts = starts(&rig);
        assert_eq!(
            starts.len(),
            3 + usize::from(starts[0] < 5_000),
            "{starts:?}"
        );
        assert!(
            starts.windows(2).all(|w| w[1] - w[0] == 10_000),
            "{starts:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_origin_is_down_after_two_seconds_of_confirmation() {
        let rig = rig(
            |_| (Duration::ZERO, Finding::Refused),
            Pace {
                confirming: Some(1),
                nudges: 0,
            },
        );
        tokio::time::sleep(Duration::from_millis(2_010)).await;
        let report = rig.reins.report().clone();
        assert_eq!(report.state, State::Down);
        let limits = Thresholds { fall: 3, rise: 2 };
        assert_eq!(report.trial.1.answer(Duration::ZERO, limits), Answer::Down);
        assert_eq!(starts(&rig), [0, 1_000, 2_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_overlap_and_an_origin_that_swallows_packets_is_down_after_four_seconds() {
        let rig = rig(
            |_| swallowed(),
            Pace {
                confirming: Some(1),
                nudges: 0,
            },
        );
        tokio::time::sleep(Duration::from_millis(3_990)).await;
        assert_eq!(rig.reins.report().state, State::Unknown);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(rig.reins.report().state, State::Down);
    }

    #[tokio::test(start_paused = true)]
    async fn results_are_taken_in_the_order_of_starts() {
        // The first probe is slow and fails, the later ones answer at once.
        let rig = rig(
            |call| if call == 0 { swallowed() } else { up() },
            Pace {
                confirming: Some(1),
                nudges: 0,
            },
        );
        tokio::time::sleep(Duration::from_millis(1_900)).await;
        assert!(rig.seen.0.lock().unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(starts(&rig), [0, 1_000, 2_000]);
        let verdicts: Vec<Verdict> = {
            let seen = rig.seen.0.lock().unwrap();
            seen.iter().map(|(_, verdict)| *verdict).collect()
        };
        assert_eq!(verdicts, [Verdict::Down, Verdict::Up, Verdict::Up]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_nudge_probes_at_once_and_further_ones_add_nothing() {
        let rig = rig(
            |_| up(),
            Pace {
                confirming: Some(1),
                nudges: 0,
            },
        );
        tokio::time::sleep(Duration::from_millis(1_400)).await;
        for nudges in 1..100 {
            rig.repace(|pace| pace.nudges = nudges);
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(starts(&rig), [0, 1_000, 1_400]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_probes_started_inside_the_confirmation_count_for_it() {
        let rig = rig(|_| swallowed(), Pace::default());
        // A routine probe is under way when the confirmation starts.
        while rig.clock.moment().0.as_millis() % 10_000 != 3_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        rig.repace(|pace| pace.confirming = Some(7));
        tokio::time::sleep(Duration::from_millis(1_800)).await;
        let report = rig.reins.report().clone();
        assert!(report.newest.is_some());
        assert_eq!(report.trial.1.probes, 0);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(rig.reins.report().trial.1.probes, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_long_after_its_limit_is_no_evidence() {
        let rig = rig(
            |_| (Duration::from_millis(3_100), Finding::Refused),
            Pace {
                confirming: Some(1),
                nudges: 0,
            },
        );
        tokio::time::sleep(Duration::from_secs(10)).await;
        let report = rig.reins.report().clone();
        assert_eq!(report.state, State::Unknown);
        let newest = report.newest.unwrap();
        assert_eq!(newest.finding, Finding::Late(Duration::from_millis(1_100)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_confirmation_that_is_over_before_it_began_puts_no_first_probe_off() {
        let confirming = Some(1);
        let rig = rig(
            |_| up(),
            Pace {
                confirming,
                nudges: 0,
            },
        );
        rig.repace(|pace| pace.confirming = None);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(starts(&rig), [0]);
    }

    /// A probe of an address that others probe too, whose dials all fail alike.
    struct Dials {
        gate: Gate,
        fails: Finding,
        dials: Arc<Mutex<u32>>,
    }

    impl Probe for Dials {
        fn probe(&self) -> BoxFuture<'_, Sample> {
            Box::pin(async {
                *self.dials.lock().unwrap() += 1;
                let began = tokio::time::Instant::now();
                if let Finding::Timeout { limit, .. } = self.fails {
                    tokio::time::sleep(limit).await;
                }
                self.gate.dialled(began, Some(&self.fails));
                Sample {
                    finding: self.fails.clone(),
                    phases: Phases::default(),
                }
            })
        }

        fn gate(&self) -> Option<&Gate> {
            Some(&self.gate)
        }
    }

    /// So many probers of one address that is being confirmed, and one of
    /// another; gives their lines, and how often the first were dialled.
    fn crowd(number: usize, fails: &Finding) -> (Vec<Reins>, Arc<Mutex<u32>>, Rig) {
        let crowds = crate::crowd::Crowds::new(32);
        let dials: Arc<Mutex<u32>> = Arc::default();
        let places = Arc::new(Semaphore::new(64));
        let confirming = Some(1);
        let pace = Pace {
            confirming,
            nudges: 0,
        };
        let elsewhere = rig_among(|_| up(), pace, places.clone());
        let probers = (0..number).map(|_| {
            let reins = Reins::new(pace);
            let probe = Dials {
                gate: crowds.gate("192.0.2.10", 443, Duration::from_secs(2)),
                fails: fails.clone(),
                dials: dials.clone(),
            };
            let prober = Prober {
                probe: Arc::new(probe),
                schedule: SCHEDULE,
                places: places.clone(),
                clock: elsewhere.clock.clone(),
                line: reins.line(),
                site: Arc::new(Notify::new()),
                witness: Arc::new(Seen::default()),
            };
            tokio::spawn(prober.run());
            reins
        });
        (probers.collect(), dials, elsewhere)
    }

    fn all_are_down(reins: &[Reins]) -> bool {
        let limits = SCHEDULE.limits;
        let answer = |one: &Reins| one.report().trial.1.answer(Duration::ZERO, limits);
        reins.iter().all(|one| answer(one) == Answer::Down)
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_probers_of_a_refusing_address_dial_a_few_times_and_are_as_fast_as_one() {
        let (reins, dials, _elsewhere) = crowd(1_000, &Finding::Refused);
        tokio::time::sleep(Duration::from_millis(2_010)).await;
        assert!(all_are_down(&reins));
        let dialled = *dials.lock().unwrap();
        assert!(dialled <= 64, "{dialled} dials");
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_probers_of_a_silent_address_find_it_so_and_delay_nobody_elsewhere() {
        let (_, fails) = swallowed();
        let (reins, dials, elsewhere) = crowd(1_000, &fails);
        let mut second = 0u32;
        while !all_are_down(&reins) {
            second += 1;
            assert!(second <= 12, "not found in {second} s");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // 32 at once, and each takes two seconds.
        let dialled = *dials.lock().unwrap();
        assert!(
            dialled <= 32 * (second / 2 + 1),
            "{dialled} dials in {second} s"
        );
        let expected: Vec<u64> = (0..starts(&elsewhere).len() as u64)
            .map(|n| n * 1_000)
            .collect();
        assert_eq!(starts(&elsewhere), expected);
        assert!(expected.len() as u32 >= second - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_counts_as_a_gap() {
        let rig = rig(|_| (Duration::ZERO, Finding::Refused), Pace::default());
        tokio::time::sleep(Duration::from_secs(22)).await;
        let before = rig.reins.report().clone();
        assert_eq!((before.state, before.gaps), (State::Unknown, 0));
        rig.clock.step(3_600_000);
        tokio::time::sleep(Duration::from_secs(11)).await;
        let after = rig.reins.report().clone();
        assert_eq!((after.state, after.gaps), (State::Unknown, 1));
    }
}
