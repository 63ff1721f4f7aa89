//! What a decision costs: the rule with its brakes, idle and engaged, and one
//! observation of the health machine. `cargo bench --bench rule`.

use divan::{Bencher, black_box};
use jiff::{SignedDuration, Timestamp};
use originswitch::rule::address::Role;
use originswitch::rule::brakes::{Circumstances, Together};
use originswitch::rule::decision::{
    Decision, OriginView, Outcome, Pointer, RecordView, Snapshot, Trigger, decide,
};
use originswitch::rule::finding::{Finding, Observation, Phases};
use originswitch::rule::health::{Answer, Health, Thresholds};
use originswitch::rule::standing::{Freeze, Frozen, Scope};
use originswitch::rule::witness::{Edge, Sight};
use originswitch::rule::{Failback, Moment, Policy, Stance};
use std::time::Duration;

fn main() {
    divan::main();
}

fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(second)
}

fn policy() -> Policy {
    Policy {
        fall: 3,
        rise: 2,
        confirm_interval: Duration::from_secs(1),
        confirm_for: Duration::from_secs(10),
        require_proof: true,
        failback: Failback::Auto,
        failback_after: Duration::from_secs(300),
        failback_max: Duration::from_secs(3600),
        failback_spread: Duration::from_secs(300),
        unknown_origin: Stance::Reclaim,
        foreign_edit: Stance::Hold,
        max_switches: 6,
        switch_window: Duration::from_secs(3600),
        verify_after: Duration::from_secs(5),
        dry_run: false,
    }
}

fn view(role: Role, answer: Answer) -> OriginView {
    OriginView {
        at: Pointer {
            role,
            address: "192.0.2.10".into(),
        },
        answer,
        known: answer.into(),
        reason: Finding::Refused.to_string(),
        probes: 3,
        failed: 3,
        evidence: Vec::new(),
    }
}

fn snapshot(main: Answer, backup: Answer) -> Snapshot {
    Snapshot {
        site: "www".into(),
        trigger: Trigger::Probe,
        record: RecordView::Origin(0),
        origins: vec![view(Role::Main, main), view(Role::Backup(1), backup)],
        configured: 2,
        main: 0,
        pin: None,
        order: None,
        given: Circumstances {
            now: at(0),
            proven: true,
            on_other: false,
            undoubted: Duration::from_secs(300),
            resolvers_need: Duration::ZERO,
            alert_until: None,
            switches: Vec::new(),
            foreign: None,
            state_ok: true,
            asked_for: false,
            frozen: None,
            relapses: 0,
            together: None,
            turn: None,
            waves: Vec::new(),
            sight: Sight::Clear,
            edge: Edge::Off,
        },
    }
}

fn decided(bencher: Bencher, seen: Snapshot) {
    let policy = policy();
    bencher.bench_local(|| {
        let seen = black_box(&seen);
        match decide(black_box(&policy), seen) {
            Outcome::Plan(plan) => Some(Decision::of(seen, &plan)),
            Outcome::Wait | Outcome::Refused(_) => None,
        }
    });
}

#[divan::bench]
fn all_is_well_and_no_brake_is_on(bencher: Bencher) {
    decided(bencher, snapshot(Answer::Up, Answer::Up));
}

#[divan::bench]
fn main_is_dead_and_no_brake_is_on(bencher: Bencher) {
    decided(bencher, snapshot(Answer::Down, Answer::Up));
}

#[divan::bench]
fn main_is_dead_and_the_site_is_frozen(bencher: Bencher) {
    let mut seen = snapshot(Answer::Down, Answer::Up);
    seen.given.frozen = Some(Frozen {
        scope: Scope::Site,
        freeze: Freeze {
            until: Some(at(60)),
            reason: "database move".into(),
        },
    });
    decided(bencher, seen);
}

#[divan::bench]
fn main_is_dead_and_every_count_is_full(bencher: Bencher) {
    let mut seen = snapshot(Answer::Down, Answer::Up);
    seen.given.switches = (0..6).map(|n| at(-600 + n)).collect();
    seen.given.edge = Edge::Fails(521);
    seen.given.together = Some(Together {
        left: 10,
        allowed: 10,
        window: Duration::from_secs(300),
        until: Some(at(30)),
    });
    decided(bencher, seen);
}

#[divan::bench]
fn one_observation(bencher: Bencher) {
    let limits = Thresholds { fall: 3, rise: 2 };
    let mut health = Health::default();
    let seen = Observation {
        started: Moment(Duration::from_secs(1)),
        finished: Moment(Duration::from_secs(2)),
        finding: Finding::Refused,
        phases: Phases::default(),
    };
    bencher.bench_local(|| health.observe(black_box(&seen), limits));
}
