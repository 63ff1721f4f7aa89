//! What holds over all sites: whether we see anything at all, and how many may
//! leave MAIN together.

use crate::about;
use crate::support::world::*;
use originswitch::failover::Request;
use originswitch::rule::address::Address;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use std::time::Duration;

const TARGETS: [&str; 2] = ["192.0.2.98", "192.0.2.99"];

fn address(of: &str) -> Address {
    Address::V4(of.parse().unwrap())
}

/// At rest, with so many control targets of which so many are needed.
async fn with_targets(targets: usize, needed: usize, more: &str) -> Rig {
    let named: Vec<String> = TARGETS[..targets]
        .iter()
        .map(|target| format!("tcp://{target}:443"))
        .collect();
    let guard = format!("[guard]\ncontrol_targets = {named:?}\ncontrol_needed = {needed}\n");
    let rig = Rig::resting_on(&format!("{guard}{more}\n{SITE}")).await;
    rig.run_for(secs(20)).await;
    rig
}

fn targets_are(rig: &Rig, mood: &Mood) {
    for target in TARGETS {
        rig.origins.set(&address(target), mood.clone());
    }
}

fn blind(rig: &Rig) -> f64 {
    rig.metric("originswitch_blind", "")
}

fn asked(rig: &Rig) -> usize {
    let of = |target: &&str| rig.origins.log_of(&address(target)).len();
    TARGETS.iter().map(of).sum()
}

#[tokio::test(start_paused = true)]
async fn while_no_control_target_answers_nothing_is_believed_to_be_down() {
    for mood in [Mood::Refusing, Mood::Unknown, Mood::Swallowing] {
        let mut rig = with_targets(1, 1, "").await;
        assert_eq!(blind(&rig), 0.0);
        targets_are(&rig, &mood);
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(5)).await;
        assert_eq!(rig.reason(), "blind", "{mood:?} {:#?}", rig.story());
        assert_eq!(blind(&rig), 1.0);
        let hold = rig.decisions().pop().unwrap();
        let said = &hold.explanation;
        assert!(said.contains("fewer of guard.control_targets answer"));
        assert_eq!(hold.origins[MAIN].state().as_str(), "unknown");
        let status = rig.status();
        assert_eq!(status.hold.unwrap().as_str(), "blind");
        assert_eq!(status.origins[MAIN].state().as_str(), "unknown");
        assert_eq!(status.origins[BACKUP].state().as_str(), "up");
        let text = String::from_utf8(rig.metrics.text()).unwrap();
        let up = |origin: &str| {
            text.contains(&format!(
                "originswitch_origin_up{{origin=\"{origin}\",site=\"www\"}}"
            ))
        };
        assert!(!up("main") && up("backup"), "{text}");
        for _ in 0..60 {
            rig.alert(Firing);
            rig.run_for(secs(10)).await;
        }
        assert!(rig.writes().is_empty());
        assert_eq!(rig.reason(), "blind");
        // A row for each hold, and not one for each look.
        assert!(rig.decisions().len() <= 3, "{:#?}", rig.story());

        targets_are(&rig, &Mood::Up);
        let back = rig.now();
        rig.run_for(secs(20)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        let took = rig.write_times()[0] - back;
        // An interval until it looks again, and a whole confirmation.
        assert!(took >= secs(2) && took <= secs(15), "{took:?}");
        assert_eq!(blind(&rig), 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_while_we_saw_nothing_does_not_count() {
    let mut rig = with_targets(1, 1, "").await;
    targets_are(&rig, &Mood::Refusing);
    rig.kill(MAIN);
    rig.alert(Firing);
    let alerted = rig.now();
    rig.run_for(ms(1_500)).await;
    targets_are(&rig, &Mood::Up);
    rig.run_for(secs(10)).await;
    // The target is asked again at 2 s; only then does it begin.
    about(rig.write_times()[0], alerted + secs(4));
    let switch = rig.decisions().pop().unwrap();
    assert_eq!(switch.origins[MAIN].probes, 3, "{switch:?}");

    // The network was away for all of us and came back: nobody is left.
    let mut rig = with_targets(1, 1, "").await;
    targets_are(&rig, &Mood::Swallowing);
    rig.mood(MAIN, Mood::Swallowing);
    rig.mood(BACKUP, Mood::Swallowing);
    rig.alert(Firing);
    rig.run_for(secs(60)).await;
    targets_are(&rig, &Mood::Up);
    rig.revive(BACKUP);
    rig.run_for(ms(900)).await;
    rig.revive(MAIN);
    rig.run_for(secs(60)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
    assert_eq!(rig.reason(), "on_main");
}

#[tokio::test(start_paused = true)]
async fn with_all_origins_down_it_is_blind_and_not_all_down() {
    for alerted in [false, true] {
        let mut rig = with_targets(2, 1, "").await;
        targets_are(&rig, &Mood::Refusing);
        rig.kill(MAIN);
        rig.kill(BACKUP);
        if alerted {
            rig.alert(Firing);
        }
        rig.run_for(secs(120)).await;
        let reasons = rig.reasons();
        assert!(!reasons.contains(&"all_down".into()), "{reasons:?}");
        assert_eq!(rig.reason(), "blind");
        targets_are(&rig, &Mood::Up);
        rig.run_for(secs(30)).await;
        assert_eq!(rig.reason(), "all_down");
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_targets_must_answer_as_are_needed() {
    for (needed, answers, left) in [(1, 1, true), (2, 1, false), (2, 2, true), (1, 0, false)] {
        let mut rig = with_targets(2, needed, "").await;
        for target in &TARGETS[answers..] {
            rig.origins.set(&address(target), Mood::Refusing);
        }
        rig.kill(MAIN);
        rig.alert(Firing);
        let alerted = rig.now();
        rig.run_for(secs(60)).await;
        assert_eq!(rig.record() == Some(BACKUP), left, "{needed} {answers}");
        if left {
            about(rig.write_times()[0], alerted + secs(2));
        } else {
            assert_eq!(rig.reason(), "blind");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_answers_slowly_is_waited_for_and_one_that_is_too_slow_is_none() {
    // MAIN is down at the first failure; the target has until its time limit.
    for (after, written) in [(ms(0), ms(0)), (ms(700), ms(700)), (ms(1_900), ms(1_900))] {
        let mut rig = with_targets(1, 1, "[rule]\nfall = 1\nrise = 1").await;
        targets_are(&rig, &Mood::Slow(after));
        rig.kill(MAIN);
        rig.alert(Firing);
        let alerted = rig.now();
        rig.run_for(secs(5)).await;
        about(rig.write_times()[0], alerted + written);
    }
    let mut rig = with_targets(1, 1, "[rule]\nfall = 1\nrise = 1").await;
    targets_are(&rig, &Mood::Slow(ms(2_100)));
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(ms(1_900)).await;
    assert_eq!(rig.reason(), "on_main");
    rig.run_for(secs(60)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reason(), "blind");
}

#[tokio::test(start_paused = true)]
async fn targets_are_asked_only_while_something_is_confirmed() {
    let mut rig = with_targets(2, 1, "").await;
    let before = asked(&rig);
    rig.run_for(secs(1_000)).await;
    assert_eq!(asked(&rig), before);
    // Each every second, and no more than that however much comes in.
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    assert_eq!(asked(&rig) - before, 2 * 3);
    let after = asked(&rig);
    rig.run_for(secs(600)).await;
    assert_eq!(asked(&rig), after);
}

#[tokio::test(start_paused = true)]
async fn sight_that_is_back_is_told_although_nothing_is_wrong_any_more() {
    let mut rig = with_targets(2, 1, "").await;
    targets_are(&rig, &Mood::Refusing);
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(30)).await;
    assert_eq!(blind(&rig), 1.0);
    // The origins are back, the targets not yet: we still do not see.
    rig.revive(MAIN);
    rig.alert(Resolved);
    rig.run_for(secs(300)).await;
    assert_eq!(blind(&rig), 1.0);
    assert_eq!(rig.reason(), "on_main");
    targets_are(&rig, &Mood::Up);
    rig.run_for(secs(11)).await;
    assert_eq!(blind(&rig), 0.0);
    // And they are left in peace again.
    let after = asked(&rig);
    rig.run_for(secs(300)).await;
    assert_eq!(asked(&rig), after);
}

#[tokio::test(start_paused = true)]
async fn a_return_waits_until_we_see_again() {
    let mut rig = with_targets(1, 1, "").await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    rig.alert(Resolved);
    rig.revive(MAIN);
    rig.run_for(secs(200)).await;
    targets_are(&rig, &Mood::Refusing);
    rig.run_for(secs(300)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "blind");
    targets_are(&rig, &Mood::Up);
    rig.run_for(secs(15)).await;
    assert_eq!(rig.record(), Some(MAIN));
}

#[tokio::test(start_paused = true)]
async fn a_person_moves_the_site_also_while_we_see_nothing() {
    let rig = with_targets(1, 1, "").await;
    targets_are(&rig, &Mood::Refusing);
    rig.pin(BACKUP, None).await;
    assert_eq!(rig.record(), Some(BACKUP));
}

/// So many sites, each with a MAIN of its own, and a limit.
async fn fleet(sites: usize, limit: usize) -> Fleet {
    let mut text = format!("[guard]\nmax_sites_together = {limit}\n");
    for n in 0..sites {
        let named = SITE.replace("\"www\"", &format!("\"site-{n}\""));
        let named = named.replace("www.", &format!("site-{n}."));
        text += &named.replace("192.0.2.10", &format!("192.0.2.1{n}"));
    }
    let fleet = Fleet::resting(&text).await;
    fleet.run_for(secs(20)).await;
    fleet
}

/// MAIN of these sites dies, and an alert says so of each.
fn die(fleet: &mut Fleet, sites: std::ops::Range<usize>) -> Duration {
    for site in &mut fleet.sites[sites] {
        site.kill(MAIN);
        site.alert(Firing);
    }
    fleet.now()
}

fn held(fleet: &Fleet) -> f64 {
    fleet.metric("originswitch_brake_held_sites", "")
}

#[tokio::test(start_paused = true)]
async fn of_five_sites_two_leave_and_the_rest_is_held_until_the_window_slides() {
    let mut fleet = fleet(5, 2).await;
    let died = die(&mut fleet, 0..5);
    fleet.run_for(secs(30)).await;
    let times = fleet.write_times();
    assert_eq!(times.len(), 2);
    for &at in &times {
        about(at, died + secs(2));
    }
    assert_eq!(fleet.on(BACKUP), 2);
    assert_eq!(fleet.decided("brake"), 3);
    assert_eq!(held(&fleet), 3.0);
    assert_eq!(fleet.metric("originswitch_hold", "brake"), 3.0);
    let last = fleet.sites.iter().find(|site| site.reason() == "brake");
    let last = last.unwrap();
    let said = last.decisions().pop().unwrap().explanation;
    for part in [
        "not switched to backup: 2 other sites left MAIN within 5 min",
        "guard.max_sites_together allows 2",
        &format!("`originswitch release {}` lifts this", last.site.name),
    ] {
        assert!(said.contains(part), "{said}");
    }
    // When the first two have left the window, and a confirmation after it.
    fleet.run_for(secs(280)).await;
    let times = fleet.write_times();
    assert_eq!(times.len(), 4);
    about(times[2], died + secs(2 + 300 + 2));
    about(times[3], died + secs(2 + 300 + 2));
    assert_eq!(held(&fleet), 1.0);
    fleet.run_for(secs(302)).await;
    about(fleet.write_times()[4], died + secs(2 + 2 * 302));
    assert_eq!(fleet.on(BACKUP), 5);
    assert_eq!(held(&fleet), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_person_lets_all_go_that_are_held_and_those_that_follow() {
    let mut fleet = fleet(6, 2).await;
    die(&mut fleet, 0..5);
    fleet.run_for(secs(30)).await;
    assert_eq!(fleet.decided("brake"), 3);
    assert_eq!(fleet.release().await, 3);
    let released = fleet.now();
    fleet.run_for(secs(30)).await;
    let times = fleet.write_times();
    assert_eq!(times.len(), 5);
    for &at in &times[2..] {
        about(at, released + secs(2));
    }
    assert_eq!(held(&fleet), 0.0);
    // One more that follows them is released too; after the window none is.
    die(&mut fleet, 5..6);
    fleet.run_for(secs(30)).await;
    assert_eq!(fleet.sites[5].record(), Some(BACKUP));
    assert_eq!(fleet.write_times().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn one_site_is_released_by_its_name() {
    for restarts in [false, true] {
        let mut fleet = fleet(5, 1).await;
        die(&mut fleet, 0..1);
        fleet.run_for(secs(10)).await;
        die(&mut fleet, 1..5);
        fleet.run_for(secs(30)).await;
        assert_eq!(fleet.decided("brake"), 4);
        if restarts {
            // While it was released, but had not gone.
            fleet.sites[3].dns.reads_are(ReadFate::Unavailable);
        }
        let released = fleet.now();
        fleet.sites[3].ask(Request::Release).await;
        if restarts {
            fleet.restart().await;
            fleet.sites[3].dns.heal();
            fleet.run_for(secs(30)).await;
        } else {
            about(fleet.write_times()[1], released + secs(2));
        }
        assert_eq!(fleet.sites[3].record(), Some(BACKUP));
        fleet.run_for(secs(60)).await;
        assert_eq!(fleet.write_times().len(), 2);
        assert_eq!(fleet.decided("brake"), 3);
        assert_eq!(held(&fleet), 3.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_site_that_failed_to_switch_gives_its_place_back() {
    for fate in [WriteFate::Rejected, WriteFate::Unavailable] {
        let mut fleet = fleet(3, 1).await;
        fleet.sites[0].dns.writes_are(fate);
        die(&mut fleet, 0..1);
        fleet.run_for(secs(10)).await;
        let died = die(&mut fleet, 1..3);
        fleet.run_for(secs(10)).await;
        assert_eq!(fleet.on(BACKUP), 1, "{fate:?} {:?}", fleet.reasons());
        let other = &fleet.sites[1..];
        let moved = other.iter().find(|site| site.record() == Some(BACKUP));
        about(moved.unwrap().write_times()[0], died + secs(2));
    }
    // A frozen one never had one.
    let mut fleet = fleet(2, 1).await;
    fleet.sites[0].freeze(None).await;
    die(&mut fleet, 0..2);
    fleet.run_for(secs(10)).await;
    assert_eq!(fleet.records(), [Some(MAIN), Some(BACKUP)]);
}

#[tokio::test(start_paused = true)]
async fn a_switch_of_unknown_outcome_that_did_not_happen_gives_its_place_back() {
    let mut fleet = fleet(2, 1).await;
    fleet.sites[0].dns.next_write(WriteFate::LostBefore);
    die(&mut fleet, 0..1);
    fleet.run_for(ms(2_100)).await;
    assert_eq!(fleet.sites[0].reason(), "failover unconfirmed");
    fleet.sites[0].revive(MAIN);
    // It may still be on its way.
    fleet.run_for(secs(10)).await;
    die(&mut fleet, 1..2);
    fleet.run_for(secs(20)).await;
    assert_eq!(fleet.sites[1].reason(), "brake");
    fleet.run_for(secs(60)).await;
    assert_eq!(fleet.records(), [Some(MAIN), Some(BACKUP)]);
}

#[tokio::test(start_paused = true)]
async fn the_brake_survives_a_restart() {
    let mut fleet = fleet(5, 2).await;
    let died = die(&mut fleet, 0..5);
    fleet.run_for(secs(30)).await;
    fleet.restart().await;
    die(&mut fleet, 0..5);
    fleet.run_for(secs(60)).await;
    assert_eq!(fleet.write_times().len(), 2);
    assert_eq!(fleet.decided("brake"), 3);
    assert_eq!(held(&fleet), 3.0);
    // Nor does it begin anew.
    fleet.run_for(died + secs(310) - fleet.now()).await;
    assert_eq!(fleet.write_times().len(), 4);
    // A release is remembered too.
    fleet.release().await;
    fleet.restart().await;
    die(&mut fleet, 0..5);
    fleet.run_for(secs(10)).await;
    assert_eq!(fleet.write_times().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn returns_and_flights_from_a_backup_are_not_braked() {
    let mut fleet = fleet(3, 1).await;
    die(&mut fleet, 0..2);
    fleet.run_for(secs(10)).await;
    let gone = fleet.records().iter().position(|at| *at == Some(BACKUP));
    let gone = gone.unwrap();
    // The one that left comes back; its place stays taken while the window lasts.
    fleet.sites[gone].revive(MAIN);
    fleet.sites[gone].alert(Resolved);
    fleet.sites[gone].ask(Request::Failback).await;
    assert_eq!(fleet.sites[gone].record(), Some(MAIN));
    fleet.run_for(secs(20)).await;
    assert_eq!(fleet.decided("brake"), 1);
    // It may leave again: it is the one that did.
    fleet.sites[gone].kill(MAIN);
    fleet.sites[gone].alert(Firing);
    fleet.run_for(secs(3)).await;
    assert_eq!(fleet.sites[gone].record(), Some(BACKUP));
    // And from BACKUP, when that dies, although the brake is engaged.
    fleet.sites[gone].revive(MAIN);
    fleet.run_for(secs(20)).await;
    fleet.sites[gone].kill(BACKUP);
    fleet.sites[gone].alert(Firing);
    fleet.run_for(secs(5)).await;
    assert_eq!(fleet.sites[gone].record(), Some(MAIN));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_and_goes_ends_in_a_hold_and_not_in_silence() {
    for mood in [
        Mood::Alternating,
        Mood::Flapping(secs(1), secs(1)),
        Mood::Flapping(ms(500), secs(1)),
        Mood::Flapping(ms(2_500), secs(1)),
    ] {
        let mut rig = with_targets(1, 1, "").await;
        targets_are(&rig, &mood);
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(60)).await;
        let told = rig.status().hold.is_some();
        let left = rig.record() == Some(BACKUP);
        assert!(told || left, "{mood:?} {:#?}", rig.story());
    }
}
