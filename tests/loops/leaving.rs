//! Leaving a dead origin, and not leaving one that is not dead.

use crate::about;
use crate::support::world::*;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};

#[tokio::test(start_paused = true)]
async fn with_an_alert_a_refusing_main_is_left_after_two_seconds() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    let died = rig.now();
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    about(rig.write_times()[0], died + secs(2));
    assert_eq!(rig.reasons(), ["on_main", "failover confirmed"]);
    let switch = &rig.decisions()[1];
    assert_eq!(switch.steps, [1, 2, 6, 7, 8]);
    about(switch.duration.unwrap(), secs(2));
}

#[tokio::test(start_paused = true)]
async fn with_an_alert_a_swallowing_or_hanging_main_is_left_after_four_seconds() {
    for mood in [Mood::Swallowing, Mood::Hanging] {
        let mut rig = Rig::resting().await;
        rig.mood(MAIN, mood);
        let died = rig.now();
        rig.alert(Firing);
        rig.run_for(secs(10)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        about(rig.write_times()[0], died + secs(4));
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_alert_main_is_left_after_10_to_12_s_and_within_22_of_its_death() {
    // Wherever in the interval it dies.
    for (mood, confirming) in [(Mood::Refusing, 10), (Mood::Swallowing, 12)] {
        for moment in 0..20 {
            let rig = Rig::resting().await;
            rig.run_for(ms(500) * moment).await;
            rig.mood(MAIN, mood.clone());
            let died = rig.now();
            rig.run_for(secs(30)).await;
            let written = rig.write_times()[0];
            about(written, rig.first_failure(MAIN, died) + secs(confirming));
            assert!(written - died <= secs(22), "{:?}", written - died);
            assert_eq!(rig.record(), Some(BACKUP));
            assert_eq!(rig.writes().len(), 1);
        }
    }
}

/// With `fall = 1` the probe that raises the doubt has settled it for the
/// health machine already: nothing is left to contradict.
#[tokio::test(start_paused = true)]
async fn a_single_failure_that_takes_main_down_starts_a_confirmation_too() {
    let rig = Rig::resting_with("fall = 1\nconfirm_for = \"3s\"").await;
    rig.run_for(secs(30)).await;
    rig.kill(MAIN);
    let died = rig.now();
    rig.run_for(secs(30)).await;
    let failed = rig.first_failure(MAIN, died);
    about(rig.write_times()[0], failed + secs(3));
}

/// The same the other way round: with `rise = 1` the first success of an origin
/// that a dead site waits for has brought it up already.
#[tokio::test(start_paused = true)]
async fn a_single_success_that_brings_an_origin_up_starts_a_confirmation_too() {
    let rig = Rig::resting_with("rise = 1\nfall = 2\nconfirm_for = \"3s\"").await;
    rig.kill(MAIN);
    rig.kill(BACKUP);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.reason(), "all_down");
    rig.revive(BACKUP);
    let revived = rig.now();
    rig.run_for(secs(30)).await;
    let log = rig.origins.log_of(&rig.address(BACKUP));
    let seen = log.iter().find(|p| rig.at(p.started) >= revived).unwrap();
    about(rig.write_times()[0], rig.at(seen.started) + secs(3));
}

#[tokio::test(start_paused = true)]
async fn an_alert_joins_a_running_confirmation_and_its_counts_carry_on() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    let died = rig.now();
    rig.until(secs(11), |rig| {
        let log = rig.origins.log_of(&rig.address(MAIN));
        log.iter().filter(|p| rig.at(p.started) >= died).count() == 2
    })
    .await;
    // One routine probe and one of the confirmation have failed; by the time
    // of the alert two of the confirmation have.
    rig.run_for(ms(1_300)).await;
    let alerted = rig.now();
    rig.alert(Firing);
    rig.run_for(secs(2)).await;
    about(rig.write_times()[0], alerted);
    assert_eq!(rig.decisions()[1].trigger.as_str(), "alert");
    assert_eq!(rig.decisions()[1].origins[MAIN].probes, 3);
}

#[tokio::test(start_paused = true)]
async fn an_alert_late_in_a_patient_confirmation_ends_it_at_once() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    let died = rig.now();
    rig.run_for(secs(10)).await;
    let failed = rig.first_failure(MAIN, died);
    rig.run_to(0).await;
    let at = failed + ms(6_500);
    rig.run_for(at - rig.now()).await;
    rig.alert(Firing);
    rig.run_for(secs(1)).await;
    about(rig.write_times()[0], at);
}

#[tokio::test(start_paused = true)]
async fn a_blip_changes_nothing_with_or_without_an_alert() {
    for alerted in [false, true] {
        for probes in [1, 2] {
            let mut rig = Rig::resting().await;
            rig.mood(MAIN, Mood::Blip(probes));
            if alerted {
                rig.alert(Firing);
            }
            rig.run_for(secs(60)).await;
            assert!(rig.writes().is_empty(), "{:#?}", rig.story());
            assert_eq!(rig.reasons(), ["on_main"]);
            // The first failure made it look, and looking ended.
            let before = rig.origins.started();
            rig.run_for(secs(100)).await;
            assert_eq!(rig.origins.started() - before, 20);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_that_restarts_in_nine_seconds_is_not_left_without_an_alert() {
    let rig = Rig::resting().await;
    for _ in 0..10 {
        rig.kill(MAIN);
        rig.run_for(secs(9)).await;
        rig.revive(MAIN);
        rig.run_for(secs(30)).await;
    }
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_every_other_probe_is_left_in_bounded_time() {
    for (alerted, bound) in [(true, 6), (false, 32)] {
        let mut rig = Rig::resting().await;
        rig.mood(MAIN, Mood::Alternating);
        let began = rig.now();
        if alerted {
            rig.alert(Firing);
        }
        rig.run_for(secs(60)).await;
        let written = rig.write_times()[0] - began;
        assert!(written <= secs(bound), "{written:?}");
        assert_eq!(rig.record(), Some(BACKUP));
        assert_eq!(rig.writes().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_probes_do_not_confirm_changes_nothing() {
    let mut rig = Rig::resting().await;
    for n in 0..200 {
        rig.alert(if n % 7 == 6 { Resolved } else { Firing });
        rig.run_for(secs(7)).await;
    }
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reasons(), ["on_main"]);
    rig.alert(Firing);
    rig.run_for(secs(2)).await;
    assert_eq!(rig.metric("originswitch_alert_unconfirmed", ""), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_backup_is_not_switched_to_and_the_next_one_is() {
    let mut rig = Rig::resting_on(THREE).await;
    rig.kill(BACKUP);
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(BACKUP_2));
    assert_eq!(
        rig.decisions()[1].to.as_ref().unwrap().role.to_string(),
        "backup-2"
    );
    // A dead second BACKUP asks MAIN first, then the others in order.
    rig.revive(BACKUP);
    rig.kill(BACKUP_2);
    rig.run_for(secs(30)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.writes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_down_changes_nothing_and_one_that_comes_up_is_taken_soon() {
    for alerted in [true, false] {
        for who in [BACKUP, MAIN] {
            let mut rig = Rig::resting().await;
            rig.kill(MAIN);
            rig.kill(BACKUP);
            if alerted {
                rig.alert(Firing);
            }
            rig.run_for(secs(120)).await;
            assert!(rig.writes().is_empty());
            assert_eq!(rig.reason(), "all_down");
            if alerted {
                rig.alert(Firing);
                rig.run_for(secs(10)).await;
            }
            rig.revive(who);
            let back = rig.now();
            rig.run_for(secs(40)).await;
            if who == MAIN {
                assert!(rig.writes().is_empty());
                assert_eq!(rig.reason(), "on_main");
            } else {
                let took = rig.write_times()[0] - back;
                // With an alert: up to an interval until it is seen, 2 s to
                // confirm. Without one MAIN's death takes 10 s to confirm again.
                let bound = if alerted { secs(12) } else { secs(20) };
                assert!(took <= bound + ms(20), "{took:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_answers_are_no_evidence_for_anything() {
    // MAIN cannot be told: nothing is changed, and it is said.
    let mut rig = Rig::resting().await;
    rig.mood(MAIN, Mood::Unknown);
    rig.alert(Firing);
    rig.run_for(secs(100)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reasons()[1], "unconfirmed");

    // Results that come late say more about us.
    let mut rig = Rig::resting().await;
    rig.mood(MAIN, Mood::Late);
    rig.alert(Firing);
    rig.run_for(secs(100)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reasons()[1], "unconfirmed");

    // MAIN is dead and BACKUP cannot be told: not switched to.
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    rig.mood(BACKUP, Mood::Unknown);
    rig.alert(Firing);
    rig.run_for(secs(30)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reason(), "unconfirmed");
    rig.revive(BACKUP);
    let told = rig.now();
    rig.run_for(secs(30)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert!(rig.write_times()[0] - told <= secs(15));
}

#[tokio::test(start_paused = true)]
async fn an_origin_never_seen_up_is_not_left_until_it_was() {
    let mut rig = Rig::still(SITE);
    rig.kill(MAIN);
    rig.boot();
    rig.run_for(secs(1)).await;
    rig.alert(Firing);
    rig.run_for(secs(60)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reason(), "unproven");
    // Once it was seen up, a restart remembers.
    rig.revive(MAIN);
    rig.run_for(secs(30)).await;
    rig.restart().await;
    rig.kill(MAIN);
    rig.run_for(secs(30)).await;
    assert_eq!(rig.record(), Some(BACKUP));

    // Without asking for proof it is left.
    let mut rig = Rig::still(&format!("[rule]\nrequire_proof = false\n{SITE}"));
    rig.kill(MAIN);
    rig.boot();
    rig.run_for(secs(15)).await;
    assert_eq!(rig.record(), Some(BACKUP));
}

#[tokio::test(start_paused = true)]
async fn a_dead_main_at_start_is_left_at_start_where_it_was_proven() {
    let mut rig = Rig::resting().await;
    rig.crash().await;
    rig.kill(MAIN);
    rig.run_for(secs(600)).await;
    rig.boot();
    let started = rig.now();
    rig.run_for(secs(60)).await;
    about(rig.write_times()[0], started + secs(10));
    assert_eq!(rig.decisions()[1].trigger.as_str(), "start");
}
