//! What costs nothing: the steady state, storms of alerts, dry runs.

use crate::about;
use crate::support::world::*;
use originswitch::failover::Request;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};

#[tokio::test(start_paused = true)]
async fn the_steady_state_reads_once_an_interval_and_writes_nothing() {
    let rig = Rig::resting().await;
    rig.run_for(secs(60)).await;
    let (reads, probes) = (rig.dns.reads().len(), rig.origins.started());
    let (rows, store) = (rig.store.rows().len(), rig.store.writes());
    rig.run_for(secs(100 * 10)).await;
    assert_eq!(rig.dns.reads().len() - reads, 100);
    assert_eq!(rig.origins.started() - probes, 200);
    assert_eq!(rig.store.rows().len(), rows);
    assert_eq!(rig.store.writes(), store);
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reasons(), ["on_main"]);
}

#[tokio::test(start_paused = true)]
async fn resting_on_backup_is_as_quiet() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(30)).await;
    rig.alert(Resolved);
    rig.run_for(secs(30)).await;
    let (reads, probes) = (rig.dns.reads().len(), rig.origins.started());
    let rows = rig.store.rows().len();
    rig.run_for(secs(1_000)).await;
    assert_eq!(rig.dns.reads().len() - reads, 100);
    assert_eq!(rig.origins.started() - probes, 200);
    assert_eq!(rig.store.rows().len(), rows);
    assert_eq!(rig.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_alerts_cost_a_bounded_number_of_confirmations() {
    let rig = Rig::resting().await;
    let before = rig.origins.started();
    let passes = rig.metric("originswitch_decisions_total", "");
    let starts = rig.clock.now();
    // At once: one confirmation that runs, and one more wanted.
    for _ in 0..10_000 {
        rig.alert_as(1, Firing, starts);
    }
    rig.run_for(secs(5)).await;
    let passed = rig.metric("originswitch_decisions_total", "") - passes;
    assert!(passed <= 2.0, "{passed}");
    assert!(rig.origins.started() - before <= 8);

    // Over ten seconds: never more than one at a time.
    let before = rig.origins.started();
    let passes = rig.metric("originswitch_decisions_total", "");
    for n in 0..10_000 {
        rig.alert_as(n % 300, if n % 3 == 0 { Resolved } else { Firing }, starts);
        rig.run_for(ms(1)).await;
    }
    rig.run_for(secs(5)).await;
    let passed = rig.metric("originswitch_decisions_total", "") - passes;
    assert!(passed <= 12.0, "{passed}");
    // Two origins, a probe each second and one more for each confirmation.
    let probes = rig.origins.started() - before;
    assert!(probes <= 2 * 2 * 13, "{probes}");
    assert_eq!(rig.reasons(), ["on_main"]);
}

#[tokio::test(start_paused = true)]
async fn a_storm_does_not_slow_a_flight() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    let alerted = rig.now();
    for _ in 0..5_000 {
        rig.alert(Firing);
        rig.run_for(ms(1)).await;
    }
    assert_eq!(rig.record(), Some(BACKUP));
    // The first alert's confirmation, sped up by at most the probe of a second one.
    let written = rig.write_times()[0] - alerted;
    assert!(written <= ms(2_020) && written >= secs(1), "{written:?}");
    rig.run_for(secs(60)).await;
    assert_eq!(rig.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_once_what_it_would_do_and_writes_nothing() {
    let mut rig = Rig::resting_with("dry_run = true").await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(1_000)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reasons(), ["on_main", "failover dry_run"]);
    let counted = |result: &str| rig.metric("originswitch_switches_total", result);
    assert_eq!(counted("result=\"confirmed\""), 0.0);
    assert_eq!(counted("result=\"dry_run\""), 1.0);
    assert!(rig.store.rows().iter().all(|row| row.sent.is_none()));
    assert_eq!(
        rig.metric("originswitch_last_switch_timestamp_seconds", ""),
        0.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_person_may_ask_what_would_be_done_in_the_middle_of_it() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    let asked = rig.now();
    let decision = rig.ask(Request::Evaluate { dry_run: true }).await;
    assert_eq!(decision.result.unwrap().as_str(), "dry_run");
    assert!(rig.writes().is_empty());
    about(rig.now(), asked + secs(10));
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    assert_eq!(rig.record(), Some(BACKUP));
}

#[tokio::test(start_paused = true)]
async fn told_to_wind_up_it_ends_at_once_wherever_it_is() {
    for wait in [0, 500, 1_999, 2_100, 5_000] {
        let mut rig = Rig::resting().await;
        rig.dns.latency(ms(100));
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(ms(wait)).await;
        let told = rig.now();
        rig.stop().await;
        // A switch under way is carried to its end.
        assert!(rig.now() - told <= ms(300));
        let sent = rig
            .store
            .rows()
            .iter()
            .any(|r| r.sent.is_some() && r.applied.is_none());
        assert!(!sent);
    }
}

/// What the service manager's watchdog goes by: a loop that has nothing to do
/// is alive, as is one whose calls take as long as they may.
#[tokio::test(start_paused = true)]
async fn only_a_loop_that_waits_for_what_never_comes_is_stuck() {
    let mut rig = Rig::resting_on(&format!("[probe]\ninterval = \"1h\"\n{SITE}")).await;
    let stuck = |rig: &Rig| rig.handle().is_stuck(rig.clock.moment());
    for _ in 0..60 {
        rig.run_for(secs(120)).await;
        assert!(!stuck(&rig));
    }
    rig.dns.reads_are(ReadFate::Silent);
    rig.kill(MAIN);
    for _ in 0..60 {
        rig.alert(Firing);
        rig.run_for(secs(30)).await;
        assert!(!stuck(&rig));
    }
    // Nothing of ours waits for the disk like that.
    rig.dns.heal();
    rig.store.delay(secs(1_000_000));
    rig.alert(Firing);
    rig.run_for(secs(100)).await;
    assert!(!stuck(&rig));
    rig.run_for(secs(200)).await;
    assert!(stuck(&rig));
}
