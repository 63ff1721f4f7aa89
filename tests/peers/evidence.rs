//! What moves a site, and what does not: in a modelled world.

use crate::support::world::*;
use originswitch::rule::address::Address;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use originswitch::rule::finding::Verdict;
use std::net::Ipv4Addr;

/// 1. mirai-prototype: a delay, once begun, ended in a switch although the site was well again.
#[tokio::test(start_paused = true)]
async fn a_main_that_is_back_before_the_wait_is_over_is_not_left() {
    for down in 1..10 {
        let rig = Rig::resting().await;
        rig.kill(MAIN);
        let failed = |probed: &Probed| probed.verdict == Verdict::Down;
        let noticed = |rig: &Rig| rig.origins.log_of(&rig.address(MAIN)).iter().any(failed);
        rig.until(secs(11), noticed).await;
        rig.run_for(secs(down)).await;
        rig.revive(MAIN);
        rig.run_for(secs(600)).await;
        assert!(rig.writes().is_empty(), "{down} s: {:#?}", rig.story());
        assert_eq!(rig.reasons(), ["on_main"]);
    }
}

/// 1. bootjp, williamreis, ag-cdev: one failed sample decided.
#[tokio::test(start_paused = true)]
async fn one_failed_probe_moves_nothing_although_an_alert_fires() {
    let mut rig = Rig::resting().await;
    rig.mood(MAIN, Mood::Blip(1));
    rig.alert(Firing);
    rig.run_for(secs(3_600)).await;
    assert_eq!(rig.reasons(), ["on_main"]);
}

/// 2. mirai-prototype, WATonomous: an error of the checker itself counted as "down".
#[tokio::test(start_paused = true)]
async fn an_error_of_our_own_side_has_no_vote() {
    for doubtful in [MAIN, BACKUP] {
        let mut rig = Rig::resting().await;
        rig.kill(MAIN);
        // MAIN cannot be called dead, or BACKUP not well.
        rig.mood(doubtful, Mood::Unknown);
        rig.alert(Firing);
        rig.run_for(secs(3_600)).await;
        assert!(rig.writes().is_empty(), "{:#?}", rig.story());
        assert_eq!(rig.reasons()[1], "unconfirmed");
    }
}

/// Two servers elsewhere that tell whether our own network works.
const CONTROLLED: &str =
    "[guard]\ncontrol_targets = [\"tcp://203.0.113.1:443\", \"tcp://203.0.113.2:443\"]\n";

/// 13. uptime-kuma and its family: their own network was down, and every site was said to be.
#[tokio::test(start_paused = true)]
async fn while_no_control_target_answers_nothing_moves() {
    let mut rig = Rig::resting_on(&format!("{CONTROLLED}{SITE}")).await;
    let control = |host| Address::V4(Ipv4Addr::new(203, 0, 113, host));
    for host in [1, 2] {
        rig.origins.set(&control(host), Mood::Swallowing);
    }
    // Of all the world only BACKUP is within reach.
    rig.mood(MAIN, Mood::Swallowing);
    rig.alert(Firing);
    rig.run_for(secs(600)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
    assert_eq!(rig.reason(), "blind");
    assert_eq!(rig.metric("originswitch_blind", ""), 1.0);
    assert_eq!(rig.metric("originswitch_hold", "blind"), 1.0);
    // One of them is enough: it is MAIN, not we.
    rig.origins.set(&control(2), Mood::Up);
    rig.until(secs(20), |rig| rig.record() == Some(BACKUP))
        .await;
    assert_eq!(rig.metric("originswitch_blind", ""), 0.0);
}

/// 14. a soak that is never waived: a site stayed dead on BACKUP beside a MAIN that was back.
#[tokio::test(start_paused = true)]
async fn with_all_down_nothing_moves_and_a_main_that_recovers_is_not_waited_for() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(10)).await;
    rig.alert(Resolved);
    rig.kill(BACKUP);
    rig.run_for(secs(600)).await;
    assert_eq!((rig.reason().as_str(), rig.writes().len()), ("all_down", 1));
    rig.revive(MAIN);
    // An interval to see it, `confirm_for` to be sure of BACKUP, and not five minutes.
    rig.until(secs(21), |rig| rig.record() == Some(MAIN)).await;
    assert_eq!(rig.reason(), "failover confirmed");
}

/// 15. pingora and others that count failures in a row: they never trip on an origin that loses a third.
#[tokio::test(start_paused = true)]
async fn an_origin_that_loses_some_requests_is_decided_in_bounded_time() {
    // Probes every 1.3 s of seconds that are good for their first 0.7 s; the
    // first at 0.9: down, up, up, down, up, up, down.
    for (rise, decided, reason) in [(3, BACKUP, "failover confirmed"), (2, MAIN, "on_main")] {
        let rule = format!("confirm_interval = \"1300ms\"\nrise = {rise}");
        let mut rig = Rig::resting_with(&rule).await;
        rig.mood(MAIN, Mood::Flapping(ms(700), ms(300)));
        rig.run_for(ms(900)).await;
        rig.alert(Firing);
        rig.run_for(secs(10)).await;
        assert_eq!(rig.record(), Some(decided), "{:#?}", rig.story());
        assert_eq!(rig.reason(), reason, "{:#?}", rig.story());
    }
}

/// 16. oracle-edge-watchdog before its reset, Sentinel before TILT: what was counted before a sleep decided after it.
#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_for_five_minutes_starts_counting_anew() {
    let mut rig = Rig::resting().await;
    rig.mood(MAIN, Mood::Blip(2));
    rig.alert(Firing);
    let failures = |rig: &Rig| {
        let log = rig.origins.log_of(&rig.address(MAIN));
        log.iter().filter(|p| p.verdict == Verdict::Down).count()
    };
    rig.until(secs(15), |rig| failures(rig) == 2).await;
    // The wall clock went on, the monotonic one stood still; then one more
    // failure, the third.
    rig.clock.step(300_000);
    rig.mood(MAIN, Mood::Blip(1));
    rig.run_for(secs(3_600)).await;
    assert_eq!(failures(&rig), 3);
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
}

/// 17. dhaf: times of the wall clock, which may be set, decided what was still fresh.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_by_an_hour_moves_nothing_and_delays_no_flight() {
    for step in [3_600_000, -3_600_000] {
        let mut rig = Rig::resting().await;
        rig.alert(Firing);
        rig.run_for(secs(60)).await;
        rig.clock.step(step);
        rig.run_for(secs(60)).await;
        assert_eq!(rig.reasons(), ["on_main"]);
        assert_eq!(rig.metric("originswitch_alert_unconfirmed", ""), 1.0);
        // The alert from before it fires on: MAIN's death needs no patience.
        rig.kill(MAIN);
        rig.run_for(secs(13)).await;
        assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
    }
}
