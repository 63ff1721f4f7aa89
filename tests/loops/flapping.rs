//! Returns that do not last, and the wait that doubles.

use crate::about;
use crate::support::world::*;
use originswitch::failover::Request;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use std::time::Duration;

async fn flee(rig: &mut Rig) {
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    rig.alert(Resolved);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
}

/// MAIN comes back; how long it has to be up until the site returns, without
/// the confirmation of a second.
async fn wait_for_the_return(rig: &mut Rig) -> Duration {
    rig.revive(MAIN);
    rig.until(secs(25), |rig| {
        let status = rig.status();
        let main = status.origins.get(MAIN);
        main.is_some_and(|main| main.state().as_str() == "up")
    })
    .await;
    let (up, writes) = (rig.now(), rig.writes().len());
    for _ in 0..800 {
        if rig.writes().len() > writes {
            break;
        }
        rig.run_for(secs(5)).await;
    }
    assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
    rig.run_for(secs(30)).await;
    *rig.write_times().last().unwrap() - up - secs(1)
}

/// Nothing but the wait holds a return.
async fn unbounded(rule: &str) -> Rig {
    Rig::resting_with(&format!("max_switches = 1000\n{rule}")).await
}

#[tokio::test(start_paused = true)]
async fn the_wait_doubles_with_each_return_that_did_not_last_up_to_an_hour() {
    let mut rig = unbounded("").await;
    for minutes in [5, 10, 20, 40, 60, 60] {
        flee(&mut rig).await;
        let waited = wait_for_the_return(&mut rig).await;
        about(waited, secs(minutes * 60));
    }
}

#[tokio::test(start_paused = true)]
async fn restarts_forget_no_return_that_did_not_last() {
    let mut rig = unbounded("").await;
    for minutes in [5, 10, 20, 40] {
        flee(&mut rig).await;
        rig.restart().await;
        rig.run_for(secs(5)).await;
        let waited = wait_for_the_return(&mut rig).await;
        about(waited, secs(minutes * 60));
        rig.restart().await;
        rig.run_for(secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_return_that_lasts_for_the_window_brings_the_first_wait_back() {
    for (lasts, minutes) in [(3_500, 20), (3_700, 5)] {
        let mut rig = unbounded("").await;
        for minutes in [5, 10] {
            flee(&mut rig).await;
            about(wait_for_the_return(&mut rig).await, secs(minutes * 60));
        }
        rig.run_for(secs(lasts)).await;
        flee(&mut rig).await;
        about(wait_for_the_return(&mut rig).await, secs(minutes * 60));
    }
}

#[tokio::test(start_paused = true)]
async fn the_longer_wait_is_told_and_a_person_need_not_sit_it_out() {
    let mut rig = unbounded("").await;
    for _ in 0..2 {
        flee(&mut rig).await;
        wait_for_the_return(&mut rig).await;
    }
    flee(&mut rig).await;
    rig.revive(MAIN);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.reason(), "failback_wait");
    let status = rig.status();
    let said = &status.last_decision.as_ref().unwrap().explanation;
    let longer = "of 20 min (longer than usual: the last 2 returns did not last)";
    assert!(said.contains(longer), "{said}");
    let asked = rig.now();
    rig.ask(Request::Failback).await;
    about(*rig.write_times().last().unwrap(), asked + secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_as_long_as_the_user_says() {
    let mut rig = unbounded("failback_after = \"10s\"\nfailback_max = \"25s\"").await;
    for seconds in [10, 20, 25, 25] {
        flee(&mut rig).await;
        about(wait_for_the_return(&mut rig).await, secs(seconds));
    }
}

#[tokio::test(start_paused = true)]
async fn returns_to_another_main_are_counted_for_themselves() {
    let mut rig = unbounded("").await;
    flee(&mut rig).await;
    wait_for_the_return(&mut rig).await;
    flee(&mut rig).await;
    // BACKUP plays MAIN's part for a while: what MAIN did is forgotten.
    rig.pin(BACKUP, None).await;
    rig.run_for(secs(60)).await;
    rig.unpin().await;
    about(wait_for_the_return(&mut rig).await, secs(300));
}
