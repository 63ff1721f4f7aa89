//! Going back to MAIN: when it was well for long enough, and not before.

use crate::about;
use crate::support::world::*;
use originswitch::failover::Request;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};

/// On BACKUP, with MAIN dead, and no alert.
async fn on_backup(rule: &str) -> Rig {
    let mut rig = Rig::resting_with(rule).await;
    flee(&mut rig).await;
    rig
}

async fn flee(rig: &mut Rig) {
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    rig.alert(Resolved);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
}

/// When MAIN was believed up again: the second of its successes.
async fn believed_up(rig: &Rig) -> std::time::Duration {
    rig.until(secs(25), |rig| {
        let status = rig.status();
        let main = status.origins.get(MAIN);
        main.is_some_and(|main| main.state().as_str() == "up")
    })
    .await;
    rig.now()
}

#[tokio::test(start_paused = true)]
async fn main_is_returned_to_after_exactly_failback_after_of_undoubted_main() {
    let rig = on_backup("").await;
    rig.revive(MAIN);
    let up = believed_up(&rig).await;
    rig.run_for(secs(20)).await;
    assert_eq!(rig.reason(), "failback_wait");
    rig.run_for(secs(290)).await;
    // The wait, then a confirmation of `rise` probes a second apart.
    about(rig.write_times()[1], up + secs(301));
    assert_eq!(rig.record(), Some(MAIN));
    let all = rig.reasons();
    assert_eq!(all.last().unwrap(), "failback confirmed");
    assert_eq!(rig.decisions().last().unwrap().steps, [1, 2, 3, 4, 5]);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.reason(), "on_main");
}

#[tokio::test(start_paused = true)]
async fn a_main_that_dies_again_starts_the_wait_again() {
    let rig = on_backup("").await;
    rig.revive(MAIN);
    rig.run_for(secs(290)).await;
    rig.kill(MAIN);
    rig.run_for(secs(40)).await;
    rig.revive(MAIN);
    let up = believed_up(&rig).await;
    rig.run_for(secs(310)).await;
    about(rig.write_times()[1], up + secs(301));
}

/// With a time limit beyond the spacing, results wait for those of probes that
/// started before them: the fourth failure is known in the same moment as the
/// successes after it, and the site never sees MAIN down.
#[tokio::test(start_paused = true)]
async fn an_outage_that_is_known_only_when_it_is_over_starts_the_wait_again() {
    let text = format!("[probe]\ntimeout = \"3s\"\n[rule]\nfall = 4\n{SITE}");
    let rig = Rig::resting_on(&text).await;
    rig.kill(MAIN);
    rig.run_for(secs(40)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
    rig.revive(MAIN);
    believed_up(&rig).await;
    rig.run_for(secs(100)).await;
    rig.mood(MAIN, Mood::Swallowing);
    let died = rig.now();
    let newest = |rig: &Rig| {
        rig.at(rig
            .origins
            .log_of(&rig.address(MAIN))
            .last()
            .unwrap()
            .started)
    };
    rig.until(secs(15), |rig| newest(rig) >= died).await;
    // A confirmation begins. Its third probe is the last that fails.
    rig.run_for(ms(2_500)).await;
    rig.revive(MAIN);
    rig.run_for(ms(2_501)).await;
    let over = rig.now();
    assert_eq!(rig.status().origins[MAIN].state().as_str(), "up");
    rig.run_for(secs(320)).await;
    about(rig.write_times()[1], over + secs(301));
}

#[tokio::test(start_paused = true)]
async fn a_dead_backup_is_left_for_main_without_any_wait() {
    let mut rig = on_backup("").await;
    rig.revive(MAIN);
    rig.run_for(secs(30)).await;
    rig.kill(BACKUP);
    let died = rig.now();
    rig.alert(Firing);
    rig.run_for(secs(10)).await;
    about(rig.write_times()[1], died + secs(2));
    assert_eq!(rig.record(), Some(MAIN));
    assert_eq!(rig.decisions().last().unwrap().reason.as_str(), "failover");
}

#[tokio::test(start_paused = true)]
async fn an_alert_vetoes_a_return_until_it_resolves() {
    let rig = on_backup("").await;
    rig.revive(MAIN);
    let starts = rig.clock.now();
    rig.alert_as(2, Firing, starts);
    for _ in 0..60 {
        rig.run_for(secs(10)).await;
        rig.alert_as(2, Firing, starts);
    }
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "alert_firing");
    rig.alert_as(2, Resolved, starts);
    let resolved = rig.now();
    rig.run_for(secs(5)).await;
    about(rig.write_times()[1], resolved + secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_veto_that_is_not_repeated_ends_with_its_ttl() {
    let rig = on_backup("").await;
    rig.revive(MAIN);
    rig.run_for(secs(60)).await;
    rig.alert_as(2, Firing, rig.clock.now());
    let fired = rig.now();
    rig.run_for(secs(1_000)).await;
    // 15 min, then a confirmation of a second.
    about(rig.write_times()[1], fired + secs(901));
}

#[tokio::test(start_paused = true)]
async fn manual_failback_waits_for_a_person_who_is_not_made_to_wait() {
    let rig = on_backup("failback = \"manual\"").await;
    rig.revive(MAIN);
    rig.run_for(secs(1_000)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "failback_manual");
    let asked = rig.now();
    let decision = rig.ask(Request::Failback).await;
    assert_eq!(decision.reason.as_str(), "failback");
    about(rig.write_times()[1], asked + secs(1));
    assert_eq!(rig.record(), Some(MAIN));
}

#[tokio::test(start_paused = true)]
async fn dns_only_records_wait_twice_their_ttl() {
    let mut rig = Rig::still(SITE);
    rig.dns.edit_records(|records| {
        records[0].proxied = false;
        records[0].ttl = 600;
    });
    rig.boot();
    rig.run_for(secs(5)).await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    let up = believed_up(&rig).await;
    rig.run_for(secs(1_300)).await;
    about(rig.write_times()[1], up + secs(1_201));
}

#[tokio::test(start_paused = true)]
async fn a_return_leaves_one_switch_of_the_budget_for_the_next_flight() {
    let mut rig = Rig::resting_with("max_switches = 2\nfailback_after = \"1m\"").await;
    let first = rig.now() + secs(2);
    flee(&mut rig).await;
    rig.revive(MAIN);
    rig.run_for(secs(600)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "switch_budget");
    assert_eq!(rig.metric("originswitch_hold", "switch_budget"), 1.0);
    // The flight takes the last one.
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    assert_eq!(rig.record(), Some(MAIN));
    rig.revive(BACKUP);
    rig.alert(Resolved);
    // And then not even a flight goes, until the window has slid.
    rig.run_for(secs(60)).await;
    rig.kill(MAIN);
    rig.run_for(secs(600)).await;
    assert_eq!(rig.reason(), "switch_budget");
    assert_eq!(rig.writes().len(), 2);
    rig.run_for(secs(3_600)).await;
    // The first left the window after an hour; MAIN's death takes 10 s.
    let third = rig.write_times()[2];
    about(third, first + secs(3_610));
}

#[tokio::test(start_paused = true)]
async fn a_flapping_main_is_held_by_the_budget_over_any_time() {
    let rig = Rig::resting_with("max_switches = 3\nfailback_after = \"20s\"").await;
    rig.mood(MAIN, Mood::Flapping(secs(60), secs(60)));
    rig.run_for(secs(3_600)).await;
    let times = rig.write_times();
    // Away, back, away: the last one was not spent on a return.
    assert_eq!(times.len(), 3, "{:#?}", rig.story());
    assert_eq!(rig.record(), Some(BACKUP));
    rig.run_for(4 * secs(3_600)).await;
    for window in rig.write_times().windows(4) {
        assert!(window[3] - window[0] >= secs(3_600), "{window:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_may_release_the_budget() {
    let mut rig = Rig::resting_with("max_switches = 2\nfailback_after = \"1m\"").await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    rig.run_for(secs(300)).await;
    assert_eq!(rig.reason(), "switch_budget");
    rig.ask(Request::Release).await;
    assert_eq!(rig.record(), Some(MAIN));
}

#[tokio::test(start_paused = true)]
async fn unknown_answers_of_main_neither_count_nor_doubt() {
    let rig = on_backup("").await;
    rig.revive(MAIN);
    let up = believed_up(&rig).await;
    rig.run_for(secs(200)).await;
    rig.mood(MAIN, Mood::Unknown);
    rig.run_for(secs(300)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    rig.revive(MAIN);
    rig.run_for(secs(30)).await;
    // The state stayed up all along, as unknown findings are no evidence; the
    // return itself needs two successes.
    assert_eq!(rig.record(), Some(MAIN), "{up:?} {:#?}", rig.story());
}
