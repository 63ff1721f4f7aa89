//! Sites that share an origin are kind to it: they flee to it in waves, if the
//! user says so, and come home to it one after the other.

use crate::about;
use crate::support::world::*;
use originswitch::failover::{Request, StandingOrder};
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use std::time::Duration;

/// So many sites that share all their origins.
async fn sharing(sites: usize, more: &str) -> Fleet {
    let mut text = more.to_owned();
    for n in 0..sites {
        let named = SITE.replace("\"www\"", &format!("\"site-{n:02}\""));
        text += &named.replace("www.", &format!("site-{n:02}."));
    }
    let fleet = Fleet::resting(&text).await;
    fleet.run_for(secs(20)).await;
    fleet
}

/// MAIN dies, and an alert of each site says so and ends.
async fn flee(fleet: &mut Fleet) {
    fleet.sites[0].kill(MAIN);
    for site in &mut fleet.sites {
        site.alert(Firing);
    }
    fleet.run_for(secs(4)).await;
    for site in &mut fleet.sites {
        site.alert(Resolved);
    }
    fleet.run_for(secs(5)).await;
    assert_eq!(fleet.on(BACKUP), fleet.sites.len(), "{:?}", fleet.reasons());
}

/// MAIN answers again; returns when it is believed up by all.
async fn revive(fleet: &Fleet) -> Duration {
    fleet.sites[0].revive(MAIN);
    fleet.run_for(secs(12)).await;
    fleet.now()
}

/// The newest write of each site, in the order of time, with its number.
fn newest(fleet: &Fleet, since: Duration) -> Vec<(Duration, usize)> {
    let all = fleet.sites.iter().enumerate();
    let mut newest: Vec<_> = all
        .filter_map(|(n, site)| Some((*site.write_times().last()?, n)))
        .filter(|(at, _)| *at >= since)
        .collect();
    newest.sort_unstable();
    newest
}

/// Each is this much later than the one before, but for a confirmation.
fn are_apart(returns: &[(Duration, usize)], apart: Duration) {
    for pair in returns.windows(2) {
        let between = pair[1].0 - pair[0].0;
        let off = between.abs_diff(apart);
        assert!(off <= secs(2), "{between:?} apart: {returns:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn thirty_sites_come_home_one_after_the_other_in_random_order() {
    let mut fleet = sharing(30, "").await;
    flee(&mut fleet).await;
    let up = revive(&fleet).await;
    fleet.run_for(secs(300)).await;
    let waits = fleet.sites.iter().find(|s| s.record() == Some(BACKUP));
    let waits = waits.unwrap();
    assert_eq!(waits.reason(), "failback_wait");
    let status = waits.status();
    let turn = status.hold_until.expect("its turn is known");
    let said = &status.last_decision.as_ref().unwrap().explanation;
    let name = &waits.site.name;
    for part in [
        "not switched to main: returns to 192.0.2.10 are spread over 5 min",
        &format!("this site's turn comes at {turn:.0}"),
        &format!("`originswitch failback {name}` lifts this"),
    ] {
        assert!(said.contains(part), "{said}");
    }
    fleet.run_for(secs(310)).await;
    assert_eq!(fleet.on(MAIN), 30, "{:?}", fleet.reasons());
    let returns = newest(&fleet, up);
    are_apart(&returns, secs(10));
    let order: Vec<usize> = returns.iter().map(|(_, site)| *site).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_ne!(order, sorted);
    assert_eq!(fleet.write_times().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn the_site_that_was_told_its_turn_returns_then_on_fresh_probes() {
    let mut fleet = sharing(5, "").await;
    flee(&mut fleet).await;
    revive(&fleet).await;
    fleet.run_for(secs(304)).await;
    let waits: Vec<(&Rig, Duration)> = fleet
        .sites
        .iter()
        .filter_map(|site| Some((site, site.status().hold_until?)))
        .map(|(site, turn)| (site, site.at(site.clock.moment_of(turn))))
        .collect();
    assert!(waits.len() > 2, "{:?}", fleet.reasons());
    fleet.run_for(secs(60)).await;
    for (site, turn) in waits {
        // `rise` probes, a second apart.
        about(*site.write_times().last().unwrap(), turn + secs(1));
        assert_eq!(site.record(), Some(MAIN));
    }
}

#[tokio::test(start_paused = true)]
async fn who_shares_with_nobody_or_does_not_spread_does_not_wait() {
    let apart = |n: usize, site: &str| site.replace("192.0.2.10", &format!("192.0.2.1{n}"));
    let mut text = String::new();
    for n in 0..3 {
        let named = SITE.replace("\"www\"", &format!("\"site-{n}\""));
        text += &apart(n, &named.replace("www.", &format!("site-{n}.")));
    }
    let alone = Fleet::resting(&text).await;
    let at_once = sharing(3, "[rule]\nfailback_spread = \"0s\"\n").await;
    for mut fleet in [alone, at_once] {
        fleet.run_for(secs(20)).await;
        for site in &mut fleet.sites {
            site.kill(MAIN);
            site.alert(Firing);
        }
        fleet.run_for(secs(4)).await;
        for site in &mut fleet.sites {
            site.alert(Resolved);
            site.revive(MAIN);
        }
        let since = fleet.now();
        fleet.run_for(secs(320)).await;
        assert_eq!(fleet.on(MAIN), 3, "{:?}", fleet.reasons());
        are_apart(&newest(&fleet, since), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_main_that_falls_while_they_return_starts_all_of_it_again() {
    let mut fleet = sharing(12, "").await;
    flee(&mut fleet).await;
    let up = revive(&fleet).await;
    fleet.run_for(secs(345)).await;
    let back = fleet.on(MAIN);
    assert!((3..8).contains(&back), "{back}");
    flee(&mut fleet).await;
    let again = revive(&fleet).await;
    assert!(again > up + secs(345));
    fleet.run_for(secs(286)).await;
    assert_eq!(newest(&fleet, again), [], "{:?}", fleet.reasons());
    // Those that had not returned before; the return of the others did not last.
    fleet.run_for(secs(150)).await;
    let returns = newest(&fleet, again);
    assert_eq!(returns.len(), 12 - back, "{:?}", fleet.reasons());
    for pair in returns.windows(2) {
        // The others are away as well and keep their turns from nobody, but
        // none follows another at its heels.
        let between = pair[1].0 - pair[0].0;
        assert!(between >= secs(8), "{returns:?}");
    }
    fleet.run_for(secs(600)).await;
    assert_eq!(fleet.on(MAIN), 12, "{:?}", fleet.reasons());
}

#[tokio::test(start_paused = true)]
async fn a_person_does_not_wait_for_a_turn_and_a_freeze_loses_it() {
    let mut fleet = sharing(10, "").await;
    flee(&mut fleet).await;
    revive(&fleet).await;
    fleet.run_for(secs(304)).await;
    // Those whose turns come last, first.
    let mut waits: Vec<usize> = (0..10)
        .filter(|n| fleet.sites[*n].status().hold_until.is_some())
        .collect();
    waits.sort_by_key(|n| std::cmp::Reverse(fleet.sites[*n].status().hold_until));
    assert!(waits.len() > 4, "{:?}", fleet.reasons());
    let [first, second, third, ..] = waits[..] else {
        panic!("{waits:?}")
    };
    let now = fleet.now();
    fleet.sites[first].ask(Request::Failback).await;
    fleet.sites[second].pin(MAIN, None).await;
    for site in [first, second] {
        let at = *fleet.sites[site].write_times().last().unwrap();
        assert!(at <= now + secs(3), "{at:?}");
        assert_eq!(fleet.sites[site].record(), Some(MAIN));
    }
    let frozen = &fleet.sites[third];
    frozen.freeze(None).await;
    frozen.run_for(secs(20)).await;
    let kept = frozen.handle().order(StandingOrder::Unfreeze).await;
    kept.unwrap().unwrap();
    let lifted = frozen.now();
    frozen.run_for(secs(295)).await;
    assert_eq!(frozen.record(), Some(BACKUP));
    frozen
        .until(secs(60), |site| site.record() == Some(MAIN))
        .await;
    assert!(frozen.now() >= lifted + secs(300));
    assert_eq!(fleet.on(MAIN), 10, "{:?}", fleet.reasons());
}

#[tokio::test(start_paused = true)]
async fn a_restart_draws_the_turns_anew_and_they_stay_apart() {
    let mut fleet = sharing(12, "").await;
    flee(&mut fleet).await;
    revive(&fleet).await;
    fleet.run_for(secs(320)).await;
    fleet.restart().await;
    let since = fleet.now();
    let back = fleet.on(MAIN);
    assert!(back < 8, "{:?}", fleet.reasons());
    fleet.run_for(secs(150)).await;
    assert_eq!(fleet.on(MAIN), 12, "{:?}", fleet.reasons());
    let returns = newest(&fleet, since);
    assert_eq!(returns.len(), 12 - back);
    are_apart(&returns, secs(10));
}

const WAVES: &str = "[guard]\nwave = [10, 50]\n";

/// So many sites with two BACKUPs that share all their origins.
async fn with_backup_2(sites: usize, more: &str) -> Fleet {
    let mut text = more.to_owned();
    for n in 0..sites {
        let named = THREE.replace("\"www\"", &format!("\"site-{n:02}\""));
        text += &named.replace("www.", &format!("site-{n:02}."));
    }
    let fleet = Fleet::resting(&text).await;
    fleet.run_for(secs(20)).await;
    fleet
}

/// MAIN of all dies, and an alert of each site fires.
fn die(fleet: &mut Fleet) -> Duration {
    fleet.sites[0].kill(MAIN);
    for site in &mut fleet.sites {
        site.alert(Firing);
    }
    fleet.now()
}

/// How many writes there were about these seconds after a moment, and that
/// there were no others.
fn wrote(fleet: &Fleet, since: Duration, wanted: &[(u64, usize)]) {
    let times = fleet.write_times();
    let mut rest = times.as_slice();
    for &(second, many) in wanted {
        assert!(rest.len() >= many, "{times:?}");
        let (now, later) = rest.split_at(many);
        for &at in now {
            let off = at.abs_diff(since + secs(second));
            assert!(off <= ms(1_500), "{at:?} is not {second} s: {times:?}");
        }
        rest = later;
    }
    assert_eq!(rest.len(), 0, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_sites_flee_in_waves_each_on_fresh_probes() {
    let mut fleet = sharing(100, WAVES).await;
    let died = die(&mut fleet);
    fleet.run_for(secs(6)).await;
    wrote(&fleet, died, &[(2, 10)]);
    assert_eq!(fleet.decided("wave"), 90, "{:?}", fleet.reasons());
    assert_eq!(fleet.metric("originswitch_hold", "wave"), 90.0);
    let waits = fleet.sites.iter().find(|site| site.reason() == "wave");
    let waits = waits.unwrap();
    let status = waits.status();
    let until = status.hold_until.unwrap();
    about(waits.at(waits.clock.moment_of(until)), died + secs(12));
    let said = &status.last_decision.as_ref().unwrap().explanation;
    for part in [
        "not switched to backup: 10 sites have just moved to 198.51.100.20",
        &format!("the next wave goes at {until:.0}, while it still answers"),
        &format!("`originswitch release {}` lifts this", waits.site.name),
    ] {
        assert!(said.contains(part), "{said}");
    }
    // The pause, and a confirmation of three failures after it.
    fleet.run_for(secs(12)).await;
    wrote(&fleet, died, &[(2, 10), (14, 50)]);
    assert_eq!(fleet.decided("wave"), 40);
    fleet.run_for(secs(12)).await;
    wrote(&fleet, died, &[(2, 10), (14, 50), (26, 40)]);
    assert_eq!(fleet.on(BACKUP), 100);
    assert_eq!(fleet.metric("originswitch_hold", "wave"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_falls_under_the_first_wave_gets_no_second() {
    let mut fleet = sharing(100, WAVES).await;
    let died = die(&mut fleet);
    fleet.run_for(secs(4)).await;
    fleet.sites[0].kill(BACKUP);
    fleet.run_for(secs(120)).await;
    wrote(&fleet, died, &[(2, 10)]);
    assert_eq!(fleet.decided("all_down"), 100, "{:?}", fleet.reasons());
}

#[tokio::test(start_paused = true)]
async fn the_rest_goes_to_the_next_backup_whose_waves_are_its_own() {
    let mut fleet = with_backup_2(100, WAVES).await;
    die(&mut fleet);
    fleet.run_for(secs(4)).await;
    assert_eq!(fleet.on(BACKUP), 10);
    fleet.sites[0].kill(BACKUP);
    let fell = fleet.now();
    fleet.run_for(secs(60)).await;
    assert_eq!(fleet.on(BACKUP_2), 100, "{:?}", fleet.reasons());
    let mut second = fleet.write_times().split_off(10);
    let sizes = [10, 50, 40].map(|many| {
        let rest = second.split_off(many);
        std::mem::replace(&mut second, rest)
    });
    for (before, after) in sizes.iter().zip(&sizes[1..]) {
        let pause = after[0] - before[before.len() - 1];
        assert!(pause >= secs(10), "{sizes:?}");
    }
    assert!(sizes[0][0] >= fell);
}

#[tokio::test(start_paused = true)]
async fn a_person_lets_one_go_or_all() {
    let mut fleet = sharing(20, "[guard]\nwave = [2, 2, 2]\nwave_pause = \"5m\"\n").await;
    let died = die(&mut fleet);
    fleet.run_for(secs(6)).await;
    let waits = fleet.sites.iter().find(|site| site.reason() == "wave");
    let waits = waits.unwrap();
    waits.ask(Request::Release).await;
    assert_eq!(waits.record(), Some(BACKUP));
    fleet.run_for(secs(6)).await;
    wrote(&fleet, died, &[(2, 2), (8, 1)]);
    assert_eq!(fleet.release().await, 17);
    fleet.run_for(secs(4)).await;
    assert_eq!(fleet.on(BACKUP), 20, "{:?}", fleet.reasons());
    assert_eq!(fleet.release().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_was_refused_gives_its_place_to_another() {
    for fate in [WriteFate::Rejected, WriteFate::Unavailable] {
        let mut fleet = sharing(10, "[guard]\nwave = [2]\nwave_pause = \"5m\"\n").await;
        for site in &fleet.sites[..2] {
            site.dns.writes_are(fate);
        }
        die(&mut fleet);
        fleet.run_for(secs(20)).await;
        assert_eq!(fleet.on(BACKUP), 2, "{:?}", fleet.reasons());
        assert_eq!(fleet.sites[0].record(), Some(MAIN));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wave_waits_for_a_switch_of_unknown_outcome() {
    let mut fleet = sharing(10, "[guard]\nwave = [2]\n").await;
    for site in &fleet.sites {
        site.dns.next_write(WriteFate::LostBefore);
    }
    let died = die(&mut fleet);
    fleet.run_for(secs(3)).await;
    for site in &fleet.sites {
        site.dns.heal();
    }
    // Sent once more, and confirmed, or given up after a minute: then the wave
    // has its results.
    fleet.run_for(secs(90)).await;
    assert_eq!(fleet.on(BACKUP), 10, "{:?}", fleet.reasons());
    let sent: Vec<_> = fleet.write_times();
    let third = sent.iter().filter(|at| **at > died + secs(3)).nth(2);
    assert!(*third.unwrap() >= died + secs(13), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn waves_begin_anew_when_nobody_has_moved_for_a_while() {
    let mut fleet = sharing(12, "[guard]\nwave = [3]\nmax_sites_together = 11\n").await;
    let died = die(&mut fleet);
    fleet.run_for(secs(30)).await;
    // The brake is asked before the wave: eleven go, in two waves.
    wrote(&fleet, died, &[(2, 3), (14, 8)]);
    assert_eq!(fleet.decided("brake"), 1, "{:?}", fleet.reasons());
    fleet.sites[0].revive(MAIN);
    for site in &mut fleet.sites {
        site.alert(Resolved);
    }
    fleet.run_for(secs(900)).await;
    assert_eq!(fleet.on(MAIN), 12, "{:?}", fleet.reasons());
    let before = fleet.write_times().len();
    die(&mut fleet);
    fleet.run_for(secs(6)).await;
    assert_eq!(fleet.write_times().len(), before + 3);
}

#[tokio::test(start_paused = true)]
async fn turns_that_passed_unused_are_drawn_anew() {
    let mut fleet = sharing(8, "").await;
    flee(&mut fleet).await;
    revive(&fleet).await;
    fleet.run_for(secs(304)).await;
    let away = 8 - fleet.on(MAIN);
    assert!(away > 4, "{:?}", fleet.reasons());
    let disks = |disk| {
        for site in &fleet.sites {
            site.store.disk(disk);
        }
    };
    // A return that could not be remembered is not made.
    disks(Disk::Full);
    fleet.run_for(secs(120)).await;
    assert_eq!(8 - fleet.on(MAIN), away, "{:?}", fleet.reasons());
    disks(Disk::Fine);
    let since = fleet.now();
    fleet.run_for(secs(120)).await;
    assert_eq!(fleet.on(MAIN), 8, "{:?}", fleet.reasons());
    are_apart(&newest(&fleet, since), secs(10));
}
