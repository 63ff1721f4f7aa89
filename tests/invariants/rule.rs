//! Invariants 1 to 4: the rule and its brakes, over any snapshot.

use jiff::{SignedDuration, Timestamp};
use originswitch::rule::address::Role;
use originswitch::rule::brakes::{Circumstances, Foreign, HoldReason, Together};
use originswitch::rule::decision::{
    Order, OriginView, Outcome, Plan, Pointer, Reason, RecordView, Snapshot, Trigger, decide,
};
use originswitch::rule::finding::{Finding, Observation, Phases, Verdict};
use originswitch::rule::health::{Answer, Thresholds, Trial};
use originswitch::rule::standing::{Freeze, Frozen, Scope};
use originswitch::rule::turns::{Turn, Wave};
use originswitch::rule::walk::{KeepReason, SwitchKind};
use originswitch::rule::witness::{Edge, Sight};
use originswitch::rule::{Failback, Moment, Policy, Stance};
use proptest::prelude::*;
use std::time::Duration;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn duration(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most).prop_map(Duration::from_secs)
}

fn policy() -> impl Strategy<Value = Policy> {
    let counts = (1..5u32, 1..4u32, 0..8u32);
    let durations = (duration(20), duration(600), duration(7_200));
    let stances = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (counts, durations, stances, any::<bool>()).prop_map(
        |((fall, rise, max_switches), (span, after, window), (a, b, c, d), dry_run)| {
            let stance = |hold| if hold { Stance::Hold } else { Stance::Reclaim };
            Policy {
                fall,
                rise,
                confirm_interval: Duration::from_secs(1),
                confirm_for: span,
                require_proof: a,
                failback: if b { Failback::Auto } else { Failback::Manual },
                failback_after: after,
                unknown_origin: stance(c),
                foreign_edit: stance(d),
                max_switches,
                switch_window: window,
                failback_max: after * 4,
                failback_spread: Duration::from_secs(300),
                verify_after: Duration::from_secs(5),
                dry_run,
            }
        },
    )
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let ages = prop::collection::vec(0..7_200i64, 0..10);
    let told = (any::<bool>(), ordered(), witnesses());
    (flags, duration(900), duration(1_200), ages, told).prop_map(
        |((proven, firing, edited, state_ok), undoubted, resolvers_need, mut ages, told)| {
            let (asked_for, (frozen, together, (turn, waves)), (relapses, sight, edge)) = told;
            ages.sort_unstable();
            Circumstances {
                now: second(0),
                proven,
                on_other: false,
                undoubted,
                resolvers_need,
                alert_until: firing.then(|| second(60)),
                switches: ages.iter().rev().map(|age| second(-age)).collect(),
                foreign: edited.then(|| Foreign {
                    ours: "192.0.2.10".into(),
                    theirs: "198.51.100.20".into(),
                    modified_on: second(-5),
                }),
                state_ok,
                asked_for,
                frozen,
                relapses,
                together,
                turn,
                waves,
                sight,
                edge,
            }
        },
    )
}

/// The turn of a return, and the waves that keep flights from origins.
type Crowd = (Option<Turn>, Vec<Option<Wave>>);

/// What people and other sites have to do with it.
fn ordered() -> impl Strategy<Value = (Option<Frozen>, Option<Together>, Crowd)> {
    let scope = prop_oneof![Just(Scope::Site), Just(Scope::All), Just(Scope::Pin)];
    let freeze = Freeze {
        until: Some(second(90)),
        reason: "move".into(),
    };
    let frozen = scope.prop_map(move |scope| Frozen {
        scope,
        freeze: freeze.clone(),
    });
    let together = Together {
        left: 3,
        allowed: 3,
        window: Duration::from_secs(300),
        until: Some(second(40)),
    };
    let turn = Turn {
        at: second(50),
        target: "192.0.2.10".into(),
        spread: Duration::from_secs(300),
    };
    let wave = Wave {
        moved: 10,
        target: "198.51.100.20".into(),
        until: Some(second(30)),
    };
    let rarely = |weight| prop::option::weighted(weight, Just(()));
    let waves = prop::collection::vec(prop::option::weighted(0.1, Just(wave)), 0..4);
    let all = (
        prop::option::weighted(0.2, frozen),
        rarely(0.2),
        rarely(0.2),
        waves,
    );
    all.prop_map(move |(frozen, engaged, waits, waves)| {
        let together = engaged.map(|()| together.clone());
        (frozen, together, (waits.map(|()| turn.clone()), waves))
    })
}

fn witnesses() -> impl Strategy<Value = (u32, Sight, Edge)> {
    let sight =
        prop_oneof![6 => Just(Sight::Clear), 1 => Just(Sight::Pending), 1 => Just(Sight::Blind)];
    let edge = prop_oneof![
        6 => Just(Edge::Off),
        1 => Just(Edge::Pending),
        1 => Just(Edge::Serves),
        1 => Just(Edge::Fails(521)),
        1 => Just(Edge::Silent),
        1 => Just(Edge::Abstains),
    ];
    (0..4u32, sight, edge)
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Up),
        4 => Just(Answer::Down),
        1 => Just(Answer::Unknown),
        1 => Just(Answer::Pending),
    ]
}

fn view(role: Role, answer: Answer) -> OriginView {
    OriginView {
        at: Pointer {
            role,
            address: "192.0.2.1".into(),
        },
        answer,
        known: answer.into(),
        reason: String::new(),
        probes: 3,
        failed: 3,
        evidence: Vec::new(),
    }
}

/// Any site of two to four origins, any of which may play MAIN's part, with
/// the record anywhere.
fn snapshot() -> impl Strategy<Value = Snapshot> {
    let answers = prop::collection::vec(answer(), 2..5);
    let record = (0..8usize, answer());
    (
        answers,
        record,
        any::<prop::sample::Index>(),
        circumstances(),
    )
        .prop_map(|(answers, (record, other), main, mut given)| {
            let mut origins: Vec<OriginView> = answers
                .iter()
                .enumerate()
                .map(|(index, &answer)| view(Role::of_index(index), answer))
                .collect();
            let record = match record {
                index if index < answers.len() => RecordView::Origin(index),
                4 | 5 => RecordView::Other,
                6 => RecordView::Unclear("doubled".into()),
                7 => RecordView::Unreadable("no answer".into()),
                _ => RecordView::Origin(0),
            };
            if record == RecordView::Other {
                origins.push(view(Role::Other, other));
                given.on_other = true;
                given.proven = true;
            }
            for origin in &mut origins {
                origin.answer = given.sight.believe(origin.answer);
            }
            Snapshot {
                pin: None,
                order: None,
                site: "www".into(),
                trigger: Trigger::Timer,
                record,
                configured: answers.len(),
                main: main.index(answers.len()),
                origins,
                given,
            }
        })
}

/// Settings and circumstances in which no brake holds.
fn lax(policy: &Policy, seen: &Snapshot) -> (Policy, Snapshot) {
    let policy = Policy {
        require_proof: false,
        failback: Failback::Auto,
        failback_after: Duration::ZERO,
        unknown_origin: Stance::Reclaim,
        foreign_edit: Stance::Reclaim,
        max_switches: 100,
        ..policy.clone()
    };
    let mut seen = seen.clone();
    seen.given.resolvers_need = Duration::ZERO;
    seen.given.alert_until = None;
    seen.given.switches.clear();
    seen.given.state_ok = true;
    seen.given.frozen = None;
    seen.given.together = None;
    seen.given.turn = None;
    seen.given.waves.clear();
    seen.given.edge = Edge::Off;
    if seen.given.sight != Sight::Clear {
        // What it took from the answers is taken; returns are free.
        seen.given.sight = Sight::Clear;
    }
    (policy, seen)
}

/// The switch the rule wants, whatever the brakes say.
fn wanted(policy: &Policy, seen: &Snapshot) -> Option<(SwitchKind, usize)> {
    let (policy, seen) = lax(policy, seen);
    switch(&decide(&policy, &seen))
}

fn switch(outcome: &Outcome) -> Option<(SwitchKind, usize)> {
    match outcome {
        Outcome::Plan(Plan {
            reason: Reason::Switch(kind),
            to,
            ..
        }) => Some((*kind, to.unwrap())),
        Outcome::Plan(_) | Outcome::Wait | Outcome::Refused(_) => None,
    }
}

fn current(seen: &Snapshot) -> Option<Answer> {
    seen.current().map(|origin| origin.answer)
}

/// The snapshot after the record was changed to `to`.
fn applied(seen: &Snapshot, to: usize) -> Snapshot {
    let mut after = seen.clone();
    after.record = RecordView::Origin(to);
    after.origins.truncate(seen.configured);
    after.given.on_other = false;
    after
}

fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    let verdict = prop_oneof![
        Just(Verdict::Up),
        Just(Verdict::Down),
        Just(Verdict::Unknown)
    ];
    prop::collection::vec(verdict, 0..20)
}

fn observation(at: u64, verdict: Verdict) -> Observation {
    let moment = Moment(Duration::from_secs(at));
    Observation {
        started: moment,
        finished: moment,
        finding: match verdict {
            Verdict::Up => Finding::Connected {
                after: Duration::ZERO,
            },
            Verdict::Down => Finding::Refused,
            Verdict::Unknown => Finding::ThroughCdn,
        },
        phases: Phases::default(),
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(super::cases(cases))
    }
}

proptest! {
    #![proptest_config(cases(5_000))]

    #[test]
    fn one_never_to_an_origin_that_was_not_seen_up(policy in policy(), seen in snapshot()) {
        for to in [switch(&decide(&policy, &seen)), wanted(&policy, &seen)].into_iter().flatten() {
            prop_assert!(to.1 < seen.configured);
            prop_assert_eq!(seen.origins[to.1].answer, Answer::Up);
            prop_assert_ne!(&seen.record, &RecordView::Origin(to.1));
        }
    }

    #[test]
    fn one_up_means_rise_times_running_up_to_the_newest(
        verdicts in verdicts(), fall in 1..5u32, rise in 1..4u32, span in 0..12u64,
    ) {
        let limits = Thresholds { fall, rise };
        let mut trial = Trial::default();
        for (at, &verdict) in (0..).zip(&verdicts) {
            trial.observe(&observation(at, verdict), limits);
        }
        if trial.answer(Duration::from_secs(span), limits) == Answer::Up {
            let told: Vec<_> = verdicts.iter().filter(|&&v| v != Verdict::Unknown).collect();
            let rise = usize::try_from(rise).unwrap();
            prop_assert!(told.len() >= rise);
            prop_assert!(told[told.len() - rise..].iter().all(|&&v| v == Verdict::Up));
            prop_assert_eq!(verdicts.last(), Some(&Verdict::Up));
        }
    }

    #[test]
    fn two_never_away_from_an_origin_that_is_up_except_for_main(
        policy in policy(), seen in snapshot(),
    ) {
        for (kind, to) in [switch(&decide(&policy, &seen)), wanted(&policy, &seen)].into_iter().flatten() {
            match kind {
                SwitchKind::Failover => prop_assert_eq!(current(&seen), Some(Answer::Down)),
                SwitchKind::Failback => {
                    prop_assert_eq!(to, seen.main);
                    prop_assert_eq!(current(&seen), Some(Answer::Up));
                }
                SwitchKind::Pin => prop_assert!(false, "nobody ordered it"),
            }
        }
    }

    #[test]
    fn three_all_down_or_our_side_in_doubt_changes_nothing(
        policy in policy(), seen in snapshot(),
    ) {
        let in_doubt = !matches!(current(&seen), Some(Answer::Up | Answer::Down));
        let mut others = seen.origins[..seen.configured].iter().enumerate();
        let no_other_up = others.all(|(index, origin)| {
            seen.record == RecordView::Origin(index) || origin.answer != Answer::Up
        });
        if in_doubt || no_other_up {
            prop_assert_eq!(wanted(&policy, &seen), None);
            prop_assert_eq!(switch(&decide(&policy, &seen)), None);
        }
    }

    #[test]
    fn four_deciding_again_after_applying_changes_nothing(
        policy in policy(), seen in snapshot(),
    ) {
        let (policy, seen) = lax(&policy, &seen);
        if let Some((kind, to)) = switch(&decide(&policy, &seen)) {
            let after = applied(&seen, to);
            let again = decide(&policy, &after);
            // The seed's letter: from an unknown, dead address to BACKUP even
            // where MAIN is well, and from there the usual way home; or home
            // before it could be told that MAIN is well.
            let main = seen.origins[seen.main].answer;
            if let Some(home) = switch(&again) {
                prop_assert!(kind == SwitchKind::Failover && main == Answer::Up);
                prop_assert_eq!(&seen.record, &RecordView::Other);
                prop_assert_eq!(home, (SwitchKind::Failback, seen.main));
                let at_home = decide(&policy, &applied(&after, home.1));
                let on_main = Reason::Keep(KeepReason::OnMain);
                let rests = matches!(at_home, Outcome::Plan(plan) if plan.reason == on_main);
                prop_assert!(rests);
            } else if main != Answer::Unknown && main != Answer::Pending {
                let kept = matches!(again, Outcome::Plan(Plan { reason: Reason::Keep(_), .. }));
                prop_assert!(kept, "{:?}", again);
            }
        }
    }

    #[test]
    fn brakes_only_turn_a_switch_into_a_hold(policy in policy(), seen in snapshot()) {
        let braked = decide(&policy, &seen);
        let (lax_policy, lax_seen) = lax(&policy, &seen);
        let free = decide(&lax_policy, &lax_seen);
        let Outcome::Plan(free_plan) = &free else {
            prop_assert!(matches!(braked, Outcome::Wait));
            return Ok(());
        };
        let Outcome::Plan(plan) = &braked else {
            // A flight waits for the first answer through the edge, a return
            // for the control targets.
            let waits = match free_plan.reason {
                Reason::Switch(SwitchKind::Failover) => seen.given.edge == Edge::Pending,
                Reason::Switch(SwitchKind::Failback) => seen.given.sight == Sight::Pending,
                _ => false,
            };
            prop_assert!(waits, "{:?}", free);
            return Ok(());
        };
        prop_assert_eq!(&plan.steps, &free_plan.steps);
        prop_assert_eq!(plan.to, free_plan.to);
        match (free_plan.reason, plan.reason) {
            (Reason::Switch(kind), Reason::Hold(hold)) => {
                let stops_flights = matches!(
                    hold,
                    HoldReason::Unproven
                        | HoldReason::SwitchBudget
                        | HoldReason::UnknownOrigin
                        | HoldReason::Frozen
                        | HoldReason::EdgeUp
                        | HoldReason::Brake
                        | HoldReason::Wave
                );
                prop_assert!(kind == SwitchKind::Failback || stops_flights, "{:?}", hold);
            }
            (Reason::Hold(HoldReason::Unconfirmed), Reason::Hold(HoldReason::Blind)) => {}
            (free, braked) => prop_assert_eq!(free, braked),
        }
    }

    #[test]
    fn seven_a_freeze_lets_nothing_through(
        policy in policy(), seen in snapshot(), to in any::<prop::sample::Index>(), force in any::<bool>(),
    ) {
        let order = Order { to: to.index(seen.configured), force };
        for order in [None, Some(order)] {
            let mut seen = Snapshot { order, ..seen.clone() };
            seen.given.frozen = Some(Frozen {
                scope: Scope::All,
                freeze: Freeze { until: None, reason: "".into() },
            });
            prop_assert_eq!(switch(&decide(&policy, &seen)), None);
        }
    }

    #[test]
    fn a_person_moves_a_site_to_what_is_up_or_by_force_and_needs_no_steps(
        policy in policy(), seen in snapshot(), to in any::<prop::sample::Index>(), force in any::<bool>(),
    ) {
        let order = Order { to: to.index(seen.configured), force };
        let seen = Snapshot { order: Some(order), main: order.to, ..seen };
        let there = seen.record == RecordView::Origin(order.to);
        let up = seen.origins[order.to].answer == Answer::Up;
        match decide(&policy, &seen) {
            Outcome::Plan(Plan { reason: Reason::Switch(SwitchKind::Pin), steps, to, .. }) => {
                prop_assert_eq!((steps, to), (Vec::new(), Some(order.to)));
                prop_assert!(!there && (up || force));
            }
            Outcome::Refused(_) => prop_assert!(!up && !force),
            Outcome::Plan(plan) => {
                let held = matches!(plan.reason, Reason::Hold(_));
                prop_assert!(there || held, "{:?}", plan);
            }
            Outcome::Wait => {}
        }
    }

    #[test]
    fn three_while_we_see_nothing_nothing_changes(policy in policy(), seen in snapshot()) {
        if seen.given.sight != Sight::Clear {
            prop_assert_eq!(switch(&decide(&policy, &seen)), None);
        }
    }

    #[test]
    fn six_neither_kind_of_switch_exceeds_the_budget(policy in policy(), seen in snapshot()) {
        if let Some((kind, _)) = switch(&decide(&policy, &seen)) {
            let window = SignedDuration::try_from(policy.switch_window).unwrap();
            let inside = seen.given.switches.iter()
                .filter(|&&at| seen.given.now.duration_since(at) < window)
                .count();
            let most = usize::try_from(policy.max_switches).unwrap();
            prop_assert!(inside + 1 + usize::from(kind == SwitchKind::Failback) <= most);
        }
    }
}
