//! The edge as a witness: what it says is heard, within its time, and never
//! takes a site anywhere.

use crate::about;
use crate::support::world::*;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use originswitch::rule::finding::{Finding, Phase};
use std::time::Duration;

fn serves() -> Finding {
    Finding::Answered {
        status: 200,
        after: ms(5),
    }
}

fn fails(status: u16) -> Finding {
    Finding::Status {
        status,
        location: None,
    }
}

/// The edge says nothing of the origin: everything that counts as nothing.
fn nothing() -> Vec<Finding> {
    let abstains = [
        "cached (HIT)",
        "challenged",
        "redirect to https://elsewhere.example.net/",
        "404 is not what [probe] expects",
        "the body is not what [probe] expects",
        "name not found: no such host",
        "certificate: expired",
    ];
    let abstains = abstains
        .into_iter()
        .map(|what| Finding::Abstained(what.into()));
    abstains
        .chain([
            Finding::Local("no sockets left".into()),
            Finding::Late(secs(2)),
        ])
        .collect()
}

fn silent() -> Vec<Finding> {
    let phase = Phase::Connect;
    vec![
        Finding::Refused,
        Finding::Unreachable,
        Finding::Timeout {
            phase,
            limit: secs(5),
        },
        Finding::Broken {
            phase: Phase::Tls,
            what: "connection reset".into(),
        },
    ]
}

/// At rest on MAIN, which the edge says it serves.
async fn witnessed(more: &str) -> Rig {
    let rig = Rig::start(&format!("[edge]\nprobe = true\n{more}\n{SITE}"));
    rig.origins.edge(Some(serves()));
    rig.run_for(secs(90)).await;
    rig
}

fn edge_up(rig: &Rig) -> Option<bool> {
    gauge(rig, "originswitch_edge_up")
}

/// A gauge of the site; `None` while it is absent.
fn gauge(rig: &Rig, name: &str) -> Option<bool> {
    let text = String::from_utf8(rig.metrics.text()).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}{{")))?;
    Some(line.ends_with(" 1"))
}

fn recovered(rig: &Rig) -> (f64, f64) {
    let of = |name: &str| rig.metric(&format!("originswitch_recovery_seconds_{name}"), "");
    (of("count"), of("sum"))
}

fn ineffective(rig: &Rig) -> f64 {
    rig.metric("originswitch_switches_total", "result=\"ineffective\"")
}

/// MAIN is down to us; when that was.
fn dies(rig: &mut Rig) -> Duration {
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.now()
}

#[tokio::test(start_paused = true)]
async fn while_the_edge_serves_the_site_a_main_that_we_do_not_reach_is_not_left() {
    let mut rig = witnessed("").await;
    dies(&mut rig);
    rig.run_for(secs(600)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
    assert_eq!(rig.reason(), "edge_up");
    assert_eq!(rig.metric("originswitch_hold", "edge_up"), 1.0);
    let said = rig.decisions().pop().unwrap().explanation;
    let part = "not switched to backup: through Cloudflare's edge the site answers as expected";
    assert!(said.contains(part), "{said}");
    assert_eq!(edge_up(&rig), Some(true));
    // It dies in truth: the edge is asked with the next confirmation.
    rig.alert(Firing);
    rig.origins.edge(Some(fails(521)));
    let truly = rig.now();
    rig.run_for(secs(20)).await;
    let took = rig.write_times()[0] - truly;
    assert!(took <= secs(13), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_edge_says_against_the_origin_or_not_at_all_holds_nothing_up() {
    let failing = [500, 502, 503, 504, 521, 522, 523, 524, 525, 530];
    let told = failing.into_iter().map(fails);
    for says in told.chain(silent()).chain(nothing()) {
        let mut rig = witnessed("").await;
        rig.origins.edge(Some(says.clone()));
        rig.run_for(secs(20)).await;
        let died = dies(&mut rig);
        rig.run_for(secs(4)).await;
        assert_eq!(rig.record(), Some(BACKUP), "{says:?} {:#?}", rig.story());
        about(rig.write_times()[0], died + secs(2));
        let said = rig.decisions().pop().unwrap().explanation;
        let concurs = matches!(
            says,
            Finding::Status {
                status: 521..=523,
                ..
            }
        );
        let part = "the edge does not reach it either (52";
        assert_eq!(said.contains(part), concurs, "{says:?} {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_good_answer_speaks_louder_than_what_says_nothing() {
    let mut rig = witnessed("").await;
    dies(&mut rig);
    rig.run_for(ms(500)).await;
    rig.origins.edge(None);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.reason(), "edge_up");
    // And the newest word of those that tell is the one that counts.
    let mut rig = witnessed("").await;
    let died = dies(&mut rig);
    rig.run_for(ms(500)).await;
    rig.origins.edge(Some(fails(522)));
    rig.run_for(secs(5)).await;
    about(rig.write_times()[0], died + secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_failover_waits_for_the_first_answer_of_the_edge_and_not_for_ever() {
    for (takes, waits) in [(0, 2), (1, 2), (3, 3), (4, 4), (5, 5), (60, 5)] {
        let mut rig = witnessed("").await;
        rig.origins.edge(Some(fails(521)));
        rig.origins.edge_takes(secs(takes));
        rig.run_for(secs(100)).await;
        let died = dies(&mut rig);
        rig.run_for(secs(10)).await;
        about(rig.write_times()[0], died + secs(waits));

        // The same, and then it turns out that the edge serves.
        let mut rig = witnessed("").await;
        rig.origins.edge_takes(secs(takes));
        rig.run_for(secs(100)).await;
        dies(&mut rig);
        rig.run_for(secs(10)).await;
        let held = takes < 5;
        assert_eq!(rig.writes().is_empty(), held, "{takes}");
        assert_eq!(rig.reason() == "edge_up", held, "{takes}");
    }
    // Its time limit is its own.
    let mut rig = witnessed("timeout = \"3s\"").await;
    rig.origins.edge_takes(secs(60));
    let died = dies(&mut rig);
    rig.run_for(secs(10)).await;
    about(rig.write_times()[0], died + secs(3));
}

#[tokio::test(start_paused = true)]
async fn within_settle_of_a_change_the_edge_is_not_heard() {
    for (after, heard) in [(30, false), (57, false), (62, true), (200, true)] {
        let mut rig = witnessed("").await;
        rig.origins.edge(Some(fails(521)));
        dies(&mut rig);
        rig.run_for(secs(3)).await;
        let switched = rig.write_times()[0];
        rig.alert(Resolved);
        rig.revive(MAIN);
        rig.origins.edge(Some(serves()));
        rig.run_for(switched + secs(after) - rig.now()).await;
        // BACKUP dies: what the edge serves may still be MAIN, as it was before.
        rig.kill(BACKUP);
        rig.alert(Firing);
        rig.run_for(secs(3)).await;
        let record = if heard { BACKUP } else { MAIN };
        assert_eq!(rig.record(), Some(record), "{after} {:#?}", rig.story());
        assert_eq!(rig.reason() == "edge_up", heard, "{after}");
    }
    // Also after somebody else's change.
    let mut rig = witnessed("").await;
    rig.dns.edit("198.51.100.20");
    rig.run_for(secs(30)).await;
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
}

#[tokio::test(start_paused = true)]
async fn recovery_is_measured_from_the_trigger_to_the_first_good_answer() {
    for (after, sum) in [(0, 2), (7, 9), (58, 60)] {
        let mut rig = witnessed("").await;
        rig.origins.edge(Some(fails(521)));
        let died = dies(&mut rig);
        rig.run_for(died + secs(2) + ms(10) - rig.now()).await;
        assert_eq!(rig.record(), Some(BACKUP));
        assert_eq!(recovered(&rig).0, 0.0);
        rig.run_for(secs(after)).await;
        rig.origins.edge(Some(serves()));
        rig.run_for(secs(90)).await;
        let (count, seconds) = recovered(&rig);
        assert_eq!(count, 1.0, "{after}");
        // It is asked every second.
        let sum = Duration::from_secs(sum).as_secs_f64();
        assert!(seconds >= sum && seconds <= sum + 1.1, "{after}: {seconds}");
        assert_eq!(ineffective(&rig), 0.0);
        assert_eq!(edge_up(&rig), Some(true));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failover_the_edge_is_asked_every_second_until_it_serves() {
    let mut rig = witnessed("").await;
    rig.origins.edge(Some(fails(521)));
    let died = dies(&mut rig);
    let asked = |rig: &Rig, from: u64, to: u64| {
        let within = died + secs(from)..died + secs(to);
        let looks = rig.origins.edge_looks();
        looks
            .iter()
            .filter(|at| within.contains(&rig.at(**at)))
            .count()
    };
    rig.run_for(ms(20_500)).await;
    rig.origins.edge(Some(serves()));
    rig.run_for(secs(120)).await;
    assert_eq!(asked(&rig, 3, 20), 17);
    // From then on every interval, as it was before.
    assert_eq!(asked(&rig, 30, 130), 10);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_the_edge_does_not_show_is_ineffective() {
    for says in [fails(521), fails(503)].into_iter().chain(silent()) {
        let mut rig = witnessed("").await;
        rig.origins.edge(Some(says.clone()));
        let died = dies(&mut rig);
        rig.run_for(died + ms(61_900) - rig.now()).await;
        assert_eq!(ineffective(&rig), 0.0, "{says:?}");
        rig.run_for(ms(200)).await;
        assert_eq!(ineffective(&rig), 1.0, "{says:?}");
        let confirmed = rig.metric("originswitch_switches_total", "result=\"confirmed\"");
        assert_eq!(confirmed, 1.0);
        assert_eq!(
            rig.metric("originswitch_switch_duration_seconds_count", ""),
            1.0
        );
        assert_eq!(recovered(&rig).0, 0.0);
        // Its row says so, and it counts as the switch that it was.
        let rows = rig.store.rows();
        let row = rows.iter().find(|row| row.sent.is_some()).unwrap();
        assert_eq!(row.decision.result.unwrap().as_str(), "ineffective");
        assert_eq!(row.applied, Some(true));
        let said = &row.decision.explanation;
        assert!(said.contains("look for a load balancer"), "{said}");
        assert!(said.contains("record switched to backup"), "{said}");
        rig.run_for(secs(600)).await;
        assert_eq!(rig.writes().len(), 1);
        assert_eq!(ineffective(&rig), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_says_nothing_does_not_call_a_switch_ineffective() {
    for says in nothing() {
        let mut rig = witnessed("").await;
        rig.origins.edge(Some(says.clone()));
        dies(&mut rig);
        rig.run_for(secs(300)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        assert_eq!(ineffective(&rig), 0.0, "{says:?}");
        assert_eq!(recovered(&rig).0, 0.0);
        assert_eq!(edge_up(&rig), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ineffective_switch_survives_a_restart_as_what_it_was() {
    let mut rig = witnessed("[rule]\nmax_switches = 1").await;
    rig.origins.edge(Some(fails(521)));
    dies(&mut rig);
    rig.run_for(secs(70)).await;
    rig.restart().await;
    rig.revive(MAIN);
    rig.run_for(secs(20)).await;
    // The budget is spent.
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(20)).await;
    assert_eq!(rig.reason(), "switch_budget", "{:#?}", rig.story());
    assert_eq!(rig.record(), Some(BACKUP));
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_fails_before_a_healthy_origin_is_told_and_nothing_is_switched() {
    let rig = witnessed("").await;
    assert_eq!(gauge(&rig, "originswitch_edge_down"), None);
    rig.origins.edge(Some(fails(503)));
    rig.run_for(secs(25)).await;
    assert_eq!(gauge(&rig, "originswitch_edge_down"), Some(true));
    assert_eq!(edge_up(&rig), Some(false));
    let decision = rig.ask(originswitch::failover::Request::Evaluate { dry_run: false });
    let decision = decision.await;
    assert_eq!(decision.reason.as_str(), "on_main");
    let part = "but through Cloudflare's edge the site answers 503 (edge_down)";
    assert!(
        decision.explanation.contains(part),
        "{}",
        decision.explanation
    );
    rig.run_for(secs(600)).await;
    assert!(rig.writes().is_empty());
    rig.origins.edge(Some(serves()));
    rig.run_for(secs(11)).await;
    assert_eq!(gauge(&rig, "originswitch_edge_down"), None);
    assert_eq!(edge_up(&rig), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_dead_origin_behind_a_failing_edge_is_no_edge_down() {
    let mut rig = witnessed("").await;
    rig.origins.edge(Some(fails(521)));
    rig.kill(BACKUP);
    dies(&mut rig);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.reason(), "all_down");
    assert_eq!(gauge(&rig, "originswitch_edge_down"), None);
    assert_eq!(edge_up(&rig), Some(false));
}

#[tokio::test(start_paused = true)]
async fn without_edge_probe_nobody_asks() {
    let mut rig = Rig::resting().await;
    rig.origins.edge(Some(serves()));
    let died = dies(&mut rig);
    rig.run_for(secs(60)).await;
    about(rig.write_times()[0], died + secs(2));
    assert!(rig.origins.edge_looks().is_empty());
    assert_eq!((edge_up(&rig), recovered(&rig).0), (None, 0.0));
}

#[tokio::test(start_paused = true)]
async fn at_rest_the_edge_is_asked_once_an_interval() {
    let rig = witnessed("").await;
    let before = rig.origins.edge_looks().len();
    rig.run_for(secs(1_000)).await;
    assert_eq!(rig.origins.edge_looks().len() - before, 100);
    assert_eq!(rig.reasons(), ["on_main"]);
}

#[tokio::test(start_paused = true)]
async fn a_person_who_knows_better_moves_the_site_past_the_edge() {
    let mut rig = witnessed("").await;
    dies(&mut rig);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.reason(), "edge_up");
    let asked = rig.now();
    rig.pin(BACKUP, None).await;
    about(rig.write_times()[0], asked + secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_only_we_do_not_reach_is_not_left_either() {
    let mut rig = witnessed("").await;
    rig.origins.edge(Some(fails(521)));
    dies(&mut rig);
    rig.run_for(secs(3)).await;
    rig.revive(MAIN);
    rig.alert(Resolved);
    rig.origins.edge(Some(serves()));
    rig.run_for(secs(100)).await;
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "edge_up");
}

#[tokio::test(start_paused = true)]
async fn a_switch_to_an_origin_that_died_meanwhile_is_not_called_ineffective() {
    // BACKUP dies before the edge has shown it; or nothing reaches us any more.
    for says in [fails(521), Finding::Refused] {
        let mut rig = witnessed("").await;
        rig.origins.edge(Some(fails(521)));
        dies(&mut rig);
        rig.run_for(secs(5)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        rig.kill(BACKUP);
        rig.origins.edge(Some(says));
        rig.run_for(secs(120)).await;
        assert_eq!(ineffective(&rig), 0.0, "{:#?}", rig.story());
    }
    // Somebody points the record elsewhere.
    let mut rig = witnessed("").await;
    rig.origins.edge(Some(fails(521)));
    dies(&mut rig);
    rig.run_for(secs(5)).await;
    rig.dns.edit("203.0.113.99");
    rig.run_for(secs(120)).await;
    assert_eq!(ineffective(&rig), 0.0, "{:#?}", rig.story());
}
