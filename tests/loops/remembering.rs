//! Restarts, gaps, clocks that are set, and a state file that fails.

use crate::about;
use crate::support::world::*;
use originswitch::failover::Urgency;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};

async fn flee(rig: &mut Rig) {
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    rig.alert(Resolved);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
}

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
async fn a_restart_credits_no_time_that_was_not_observed_and_loses_none_that_was() {
    let mut rig = Rig::resting().await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    let up = believed_up(&rig).await;
    rig.run_for(secs(100)).await;
    let stopped = rig.now();
    rig.stop().await;
    // An hour in which nobody looked.
    rig.run_for(secs(3_600)).await;
    rig.boot();
    let again = believed_up(&rig).await;
    rig.run_for(secs(250)).await;
    let seen = stopped - up;
    about(rig.write_times()[1], again + secs(301) - seen);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_at_most_an_interval_of_what_was_observed() {
    let mut rig = Rig::resting().await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    let up = believed_up(&rig).await;
    rig.run_for(secs(104)).await;
    let seen = rig.now() - up;
    rig.crash().await;
    rig.run_for(secs(3_600)).await;
    rig.boot();
    let again = believed_up(&rig).await;
    rig.run_for(secs(250)).await;
    let returned = rig.write_times()[1];
    assert!(returned >= again + secs(301) - seen, "{returned:?}");
    assert!(returned <= again + secs(311) - seen, "{returned:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_observed_before_main_died_is_not_remembered_by_a_crash() {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(1_000)).await;
    // Its good time is stored when it winds up.
    rig.stop().await;
    rig.boot();
    rig.run_for(secs(20)).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.until(secs(5), |rig| rig.record() == Some(BACKUP)).await;
    rig.run_for(ms(50)).await;
    rig.crash().await;
    rig.revive(MAIN);
    rig.boot();
    let booted = rig.now();
    rig.run_for(secs(290)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
    rig.run_for(secs(20)).await;
    about(rig.write_times()[1], booted + secs(302));
}

#[tokio::test(start_paused = true)]
async fn restarts_during_an_incident_cost_a_confirmation_each_and_never_a_second_switch() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    for _ in 0..3 {
        rig.run_for(secs(7)).await;
        rig.restart().await;
    }
    let started = rig.now();
    rig.run_for(secs(60)).await;
    about(rig.write_times()[0], started + secs(10));
    rig.restart().await;
    rig.run_for(secs(60)).await;
    assert_eq!(rig.writes().len(), 1);
    assert_eq!(rig.record(), Some(BACKUP));
}

#[tokio::test(start_paused = true)]
async fn the_budget_survives_restarts() {
    let mut rig = Rig::resting_with("max_switches = 2\nfailback_after = \"1m\"").await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    for _ in 0..10 {
        rig.run_for(secs(100)).await;
        rig.restart().await;
    }
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "switch_budget");
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_intent_and_write_makes_no_second_switch_and_loses_none() {
    // Before the request left, while it was under way, after Cloudflare acted.
    for (crash_after, acted) in [(2, false), (15, true), (35, true)] {
        let mut rig = Rig::resting().await;
        rig.store.delay(ms(10));
        rig.dns.latency(ms(30));
        rig.kill(MAIN);
        rig.alert(Firing);
        let sent = |rig: &Rig| rig.store.rows().iter().any(|row| row.sent.is_some());
        rig.until(secs(5), sent).await;
        rig.run_for(ms(crash_after)).await;
        rig.crash().await;
        rig.run_for(secs(1)).await;
        assert_eq!(rig.record() == Some(BACKUP), acted);
        rig.boot();
        rig.run_for(secs(30)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        let writes = rig.writes();
        assert_eq!(writes.len(), 1, "{crash_after} {:#?}", rig.story());
        assert!(writes[0].acted);
        let rows = rig.store.rows();
        let applied: Vec<_> = rows.iter().filter(|r| r.applied == Some(true)).collect();
        assert_eq!(applied.len(), 1, "{crash_after} {rows:#?}");
        let open = rows
            .iter()
            .filter(|r| r.sent.is_some() && r.applied.is_none());
        assert_eq!(open.count(), 0);
        assert!(rig.reason() != "foreign" && rig.status().hold.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_scheduler_joins_nothing_from_before_to_what_comes_after() {
    let rig = Rig::resting().await;
    rig.run_for(secs(30)).await;
    rig.mood(MAIN, Mood::Blip(2));
    let died = rig.now();
    rig.until(secs(15), |rig| {
        rig.origins
            .log_of(&rig.address(MAIN))
            .iter()
            .filter(|p| rig.at(p.started) >= died)
            .count()
            == 2
    })
    .await;
    // Two of three failures were counted when everything stood still.
    rig.mood(MAIN, Mood::Blip(2));
    tokio::time::advance(secs(100)).await;
    rig.run_for(secs(60)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
}

/// Cloudflare takes so long to answer the read before the write that it is
/// decided again; the gap lies in between.
#[tokio::test(start_paused = true)]
async fn a_gap_during_the_read_before_a_write_starts_the_confirmation_again() {
    let rig = Rig::resting().await;
    rig.run_for(secs(30)).await;
    rig.mood(MAIN, Mood::Swallowing);
    rig.dns.reads_are(ReadFate::Delayed(secs(5)));
    // A read for a flight is the one before a write.
    let asked = |rig: &Rig| rig.dns.reads().last().unwrap().urgency == Urgency::Flight;
    rig.until(secs(40), asked).await;
    rig.clock.step(3_600_000);
    let set = rig.now();
    rig.run_for(secs(6)).await;
    rig.dns.reads_are(ReadFate::Answered);
    rig.run_for(secs(30)).await;
    // Ten seconds from the start of the first failure after it.
    let first = rig.first_failure(MAIN, set);
    assert!(
        rig.write_times()[0] >= first + secs(10),
        "{:#?}",
        rig.story()
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_waits_for_main_again() {
    for step in [7_200_000, -7_200_000, 3_000] {
        let mut rig = Rig::resting().await;
        flee(&mut rig).await;
        rig.revive(MAIN);
        believed_up(&rig).await;
        rig.run_for(secs(250)).await;
        rig.clock.step(step);
        let woke = rig.now();
        rig.run_for(secs(290)).await;
        assert_eq!(rig.record(), Some(BACKUP), "{step} {:#?}", rig.story());
        rig.run_for(secs(40)).await;
        assert_eq!(rig.record(), Some(MAIN));
        let waited = rig.write_times()[1] - woke;
        // It is noticed with the next probe.
        assert!(waited >= secs(301) && waited <= secs(312), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_a_gap_is_noticed_credits_none_of_it() {
    let mut rig = Rig::resting().await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    believed_up(&rig).await;
    rig.run_for(secs(20)).await;
    tokio::time::advance(secs(400)).await;
    rig.stop().await;
    let observed = rig.store.undoubted().map(|undoubted| undoubted.observed);
    assert!(observed.unwrap_or_default() < secs(1), "{observed:?}");
    rig.boot();
    rig.run_for(secs(60)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_expires_neither_alerts_nor_the_budget() {
    let mut rig = Rig::resting_with("max_switches = 2\nfailback_after = \"1m\"").await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    rig.alert_as(2, Firing, rig.clock.now());
    rig.run_for(secs(300)).await;
    rig.clock.step(7_200_000);
    rig.run_for(secs(100)).await;
    assert_eq!(rig.reason(), "alert_firing");
    rig.alert_as(2, Resolved, rig.clock.now());
    rig.run_for(secs(300)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "switch_budget");
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_a_clock_puts_into_the_future_counts_for_a_window_and_no_longer() {
    let rule = "max_switches = 1\nswitch_window = \"10m\"";
    let mut rig = Rig::resting_with(rule).await;
    flee(&mut rig).await;
    rig.crash().await;
    rig.clock.step(-7_200_000);
    rig.boot();
    let booted = rig.now();
    rig.run_for(secs(20)).await;
    rig.revive(MAIN);
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.reason(), "switch_budget", "{:#?}", rig.story());
    rig.run_for(secs(600)).await;
    // The window is over, and then it is confirmed.
    about(rig.write_times()[1], booted + secs(600 + 2));
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_across_a_clock_that_is_set_starts_again() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    rig.alert(Firing);
    let alerted = rig.now();
    rig.run_for(ms(1_500)).await;
    rig.clock.step(60_000);
    rig.run_for(secs(10)).await;
    // Noticed by the probe at 2 s, which is then the first of three.
    about(rig.write_times()[0], alerted + secs(4));
}

#[tokio::test(start_paused = true)]
async fn with_a_state_file_that_fails_flights_go_on_and_returns_wait() {
    for disk in [Disk::Full, Disk::Stalls] {
        let mut rig = Rig::resting_with("failback_after = \"1m\"").await;
        rig.store.disk(disk);
        rig.kill(MAIN);
        rig.alert(Firing);
        let alerted = rig.now();
        rig.run_for(secs(10)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        let late = if disk == Disk::Full { ms(0) } else { ms(250) };
        about(rig.write_times()[0], alerted + secs(2) + late);
        rig.alert(Resolved);
        rig.revive(MAIN);
        rig.run_for(secs(300)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        assert_eq!(rig.writes().len(), 1);
        // A flight goes on, also the other way.
        rig.kill(BACKUP);
        rig.run_for(secs(25)).await;
        assert_eq!(rig.record(), Some(MAIN));
        rig.revive(BACKUP);
        rig.run_for(secs(30)).await;
        rig.kill(MAIN);
        rig.run_for(secs(30)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        rig.revive(MAIN);
        rig.run_for(secs(300)).await;
        assert_eq!(rig.writes().len(), 3);
        // With room again the return is made, and the history is whole.
        rig.store.disk(Disk::Fine);
        rig.run_for(secs(30)).await;
        assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
        let rows = rig.store.rows();
        let switches = rows.iter().filter(|row| row.applied == Some(true)).count();
        assert_eq!(switches, 4, "{rows:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_return_that_the_state_file_cannot_remember_is_not_made() {
    let mut rig = Rig::resting_with("failback_after = \"1m\"").await;
    flee(&mut rig).await;
    rig.revive(MAIN);
    rig.run_for(secs(30)).await;
    rig.store.disk(Disk::Full);
    rig.run_for(secs(200)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    rig.store.disk(Disk::Fine);
    let fine = rig.now();
    rig.run_for(secs(30)).await;
    assert!(rig.write_times()[1] - fine <= secs(12));
}
