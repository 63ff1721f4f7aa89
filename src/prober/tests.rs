//! The loop with scripts for probes, on a paused clock.

use super::*;
use crate::clock::Clock;
use crate::rule::finding::Verdict;
use crate::rule::health::{Answer, State};
use std::sync::PoisonError;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

type Calls = Box<dyn FnMut(usize) -> (Duration, Finding) + Send>;

/// A probe that follows a script: the delay and the finding of each call. One
/// that would take for ever panics.
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
            assert!(delay < Duration::MAX, "a fault of ours");
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
    rounds: Rounds,
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

const CONFIRMING: Pace = Pace {
    confirming: Some(1),
    nudges: 0,
};

fn rig(script: impl FnMut(usize) -> (Duration, Finding) + Send + 'static, pace: Pace) -> Rig {
    rig_among(script, pace, Arc::new(Semaphore::new(8)))
}

fn rig_among(
    script: impl FnMut(usize) -> (Duration, Finding) + Send + 'static,
    pace: Pace,
    places: Arc<Semaphore>,
) -> Rig {
    let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
    let seen = Arc::new(Seen::default());
    let rounds = Rounds::start(places, clock.clone(), TaskTracker::new());
    let prober = Prober {
        probe: Arc::new(Script(Mutex::new(Box::new(script)), Mutex::new(0))),
        schedule: SCHEDULE,
        site: Arc::new(Notify::new()),
        witness: seen.clone(),
    };
    Rig {
        reins: prober.start(&rounds, pace),
        rounds,
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
    let rig = rig(|_| (Duration::ZERO, Finding::Refused), CONFIRMING);
    tokio::time::sleep(Duration::from_millis(2_010)).await;
    let report = rig.reins.report().clone();
    assert_eq!(report.state, State::Down);
    let limits = Thresholds { fall: 3, rise: 2 };
    assert_eq!(report.trial.1.answer(Duration::ZERO, limits), Answer::Down);
    assert_eq!(starts(&rig), [0, 1_000, 2_000]);
}

#[tokio::test(start_paused = true)]
async fn probes_overlap_and_an_origin_that_swallows_packets_is_down_after_four_seconds() {
    let rig = rig(|_| swallowed(), CONFIRMING);
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
        CONFIRMING,
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
    let rig = rig(|_| up(), CONFIRMING);
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
        CONFIRMING,
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    let report = rig.reins.report().clone();
    assert_eq!(report.state, State::Unknown);
    let newest = report.newest.unwrap();
    assert_eq!(newest.finding, Finding::Late(Duration::from_millis(1_100)));
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_that_is_over_before_it_began_puts_no_first_probe_off() {
    let rig = rig(|_| up(), CONFIRMING);
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
    let elsewhere = rig_among(|_| up(), CONFIRMING, places);
    let probers = (0..number).map(|_| {
        let probe = Dials {
            gate: crowds.gate("192.0.2.10", 443, Duration::from_secs(2)),
            fails: fails.clone(),
            dials: dials.clone(),
        };
        let prober = Prober {
            probe: Arc::new(probe),
            schedule: SCHEDULE,
            site: Arc::new(Notify::new()),
            witness: Arc::new(Seen::default()),
        };
        prober.start(&elsewhere.rounds, CONFIRMING)
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

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_holds_up_no_other() {
    let breaks = || (Duration::MAX, Finding::Refused);
    let script = move |call| if call == 1 { breaks() } else { up() };
    let rig = rig(script, CONFIRMING);
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(starts(&rig), [0, 2_000, 3_000]);
}

/// A probe whose way to its place breaks once.
struct Strays(Mutex<u32>);

impl Probe for Strays {
    fn probe(&self) -> BoxFuture<'_, Sample> {
        let (_, finding) = up();
        let phases = Phases::default();
        Box::pin(std::future::ready(Sample { finding, phases }))
    }

    fn gate(&self) -> Option<&Gate> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *asked += 1;
        assert!(*asked != 2, "a fault of ours");
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_breaks_while_it_waits_holds_up_no_other() {
    let elsewhere = rig(|_| up(), CONFIRMING);
    let prober = Prober {
        probe: Arc::new(Strays(Mutex::new(0))),
        schedule: SCHEDULE,
        site: Arc::new(Notify::new()),
        witness: Arc::new(Seen::default()),
    };
    let reins = prober.start(&elsewhere.rounds, CONFIRMING);
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(reins.report().trial.1.probes, 3);
    assert!(!reins.waits());
}
