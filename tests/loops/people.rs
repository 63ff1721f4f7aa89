//! What people order: pins, freezes, releases, and how they end.

use crate::about;
use crate::support::world::*;
use originswitch::failover::{Request, StandingOrder};
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use originswitch::rule::decision::Trigger;
use std::time::Duration;

/// What the stored decisions of a switch came to, with where it went.
fn switches(rig: &Rig) -> Vec<String> {
    let decisions = rig.decisions().into_iter();
    let switches = decisions.filter_map(|decision| {
        let to = decision.to.as_ref()?.role;
        let result = decision.result?.as_str();
        Some(format!("{} {to} {result}", decision.reason.as_str()))
    });
    switches.collect()
}

#[tokio::test(start_paused = true)]
async fn a_pin_moves_the_site_after_rise_good_probes_and_is_in_every_decision() {
    let rig = Rig::resting().await;
    rig.run_for(secs(30)).await;
    let asked = rig.now();
    let decision = rig.pin(BACKUP, Some(secs(7_200))).await;
    about(rig.write_times()[0], asked + secs(1));
    about(rig.now(), asked + secs(1));
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(decision.reason.as_str(), "pin");
    assert_eq!(decision.result.unwrap().as_str(), "confirmed");
    assert_eq!(decision.steps, [0u8; 0]);
    assert_eq!(decision.trigger, Trigger::Manual);
    assert_eq!(decision.to.as_ref().unwrap().role.to_string(), "backup");
    let (role, pin) = *decision.pin.clone().unwrap();
    assert_eq!((role.to_string().as_str(), pin.forced), ("backup", false));
    assert_eq!(&*pin.place, "198.51.100.20");
    assert_eq!(&*pin.reason, "kernel update");
    assert!(decision.explanation.contains("pinned to backup until "));
    assert_eq!(rig.decisions().last().unwrap(), &*decision);
    assert_eq!(rig.metric("originswitch_pinned", "origin=\"backup\""), 1.0);

    // It plays MAIN's part: the site rests on it, and says why.
    rig.run_for(secs(1_000)).await;
    assert_eq!(rig.writes().len(), 1);
    assert_eq!(rig.reason(), "on_main");
    let newest = rig.decisions().pop().unwrap();
    assert_eq!(newest.pin, decision.pin);
    assert!(newest.explanation.contains("(kernel update)"));
    assert_eq!(rig.pinned().as_deref(), Some("backup"));
    assert_eq!(rig.status().hold, None);
}

#[tokio::test(start_paused = true)]
async fn a_pin_is_not_counted_in_the_budget_not_even_by_a_restart() {
    for restarts in [false, true] {
        let mut rig = Rig::resting_with("max_switches = 1").await;
        rig.pin(BACKUP, None).await;
        rig.pin(MAIN, None).await;
        rig.pin(BACKUP, None).await;
        if restarts {
            rig.restart().await;
            rig.run_for(secs(5)).await;
        }
        rig.kill(BACKUP);
        let died = rig.now();
        rig.alert(Firing);
        rig.run_for(secs(5)).await;
        assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
        about(rig.write_times()[3], died + secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pin_needs_no_proof_and_no_calm_but_an_origin_that_is_up() {
    // In the middle of an alert, with a foreign edit, and a spent budget.
    let mut rig = Rig::resting_on(&format!("[rule]\nmax_switches = 1\n{}", &THREE[1..])).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    rig.dns.edit("192.0.2.10");
    rig.run_for(secs(15)).await;
    let asked = rig.now();
    let decision = rig.pin(BACKUP_2, None).await;
    assert_eq!(decision.reason.as_str(), "pin", "{decision:?}");
    about(*rig.write_times().last().unwrap(), asked + secs(1));
    assert_eq!(rig.record(), Some(BACKUP_2));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_not_up_is_no_pin() {
    for (mood, after, says) in [
        (Mood::Refusing, secs(2), "backup (198.51.100.20) is down"),
        (Mood::Swallowing, secs(4), "is down"),
        (Mood::Unknown, secs(2), "is not to be told up or down"),
    ] {
        let rig = Rig::resting().await;
        rig.mood(BACKUP, mood);
        rig.run_for(secs(60)).await;
        let asked = rig.now();
        let why = rig.pin_refused(BACKUP).await;
        about(rig.now(), asked + after);
        assert!(why.contains(says), "{why}");
        assert!(why.contains("force it"), "{why}");
        rig.run_for(secs(30)).await;
        assert_eq!(rig.pinned(), None);
        assert!(rig.writes().is_empty());
        assert!(rig.decisions().iter().all(|said| said.pin.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pin_to_a_dead_origin_is_refused_while_the_record_cannot_be_read_too() {
    // From the start, so that not even an old reading is there.
    let mut rig = Rig::resting().await;
    rig.crash().await;
    rig.dns.reads_are(ReadFate::Unavailable);
    rig.kill(BACKUP);
    rig.boot();
    rig.run_for(secs(40)).await;
    let why = rig.pin_refused(BACKUP).await;
    assert!(why.contains("is down"), "{why}");
    assert_eq!(rig.pinned(), None);
    // Nor while its shape forbids any change.
    let rig = Rig::resting().await;
    rig.dns.edit_records(Vec::clear);
    rig.kill(BACKUP);
    rig.run_for(secs(40)).await;
    let why = rig.pin_refused(BACKUP).await;
    assert!(why.contains("is down"), "{why}");
    assert_eq!(rig.pinned(), None);
}

#[tokio::test(start_paused = true)]
async fn a_pin_to_where_the_site_is_writes_nothing_and_keeps_it_there() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    rig.alert(Resolved);
    rig.revive(MAIN);
    rig.run_for(secs(60)).await;
    let decision = rig.pin(BACKUP, None).await;
    assert_eq!(decision.reason.as_str(), "on_main");
    assert!(decision.pin.is_some());
    rig.run_for(secs(2_000)).await;
    assert_eq!(rig.writes().len(), 1);
    assert_eq!(rig.record(), Some(BACKUP));
}

#[tokio::test(start_paused = true)]
async fn a_forced_pin_moves_to_a_dead_origin_at_once_and_freezes_the_site() {
    let mut rig = Rig::resting().await;
    rig.kill(BACKUP);
    rig.run_for(secs(60)).await;
    let asked = rig.now();
    let decision = rig.force(BACKUP, None).await;
    assert_eq!(decision.reason.as_str(), "pin");
    about(rig.write_times()[0], asked);
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.frozen(), Some("pin"));
    assert_eq!(rig.metric("originswitch_frozen", ""), 1.0);
    rig.alert(Firing);
    rig.run_for(secs(600)).await;
    // The rule would leave at once.
    assert_eq!(rig.writes().len(), 1, "{:#?}", rig.story());
    assert_eq!(rig.reason(), "frozen");
    let hold = rig.decisions().pop().unwrap().explanation;
    assert!(
        hold.contains("`originswitch unpin www` lifts this"),
        "{hold}"
    );

    rig.unpin().await;
    let lifted = rig.now();
    assert_eq!((rig.pinned(), rig.frozen()), (None, None));
    rig.run_for(secs(5)).await;
    // The alert still fires.
    about(rig.write_times()[1], lifted + secs(2));
    assert_eq!(rig.record(), Some(MAIN));
    assert_eq!(switches(&rig).last().unwrap(), "failover main confirmed");
    assert_eq!(rig.metric("originswitch_frozen", ""), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_forced_pin_to_where_the_site_is_keeps_it_on_a_dead_origin() {
    let rig = Rig::resting().await;
    rig.kill(MAIN);
    rig.run_for(ms(500)).await;
    let decision = rig.force(MAIN, None).await;
    assert_eq!(decision.reason.as_str(), "frozen", "{decision:?}");
    rig.run_for(secs(600)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
    assert_eq!(rig.pinned().as_deref(), Some("main"));
    assert_eq!(rig.frozen(), Some("pin"));
}

#[tokio::test(start_paused = true)]
async fn a_pinned_origin_that_dies_is_left_and_returned_to_after_its_own_wait() {
    let mut rig = Rig::resting().await;
    rig.pin(BACKUP, None).await;
    rig.run_for(secs(600)).await;
    rig.kill(BACKUP);
    let died = rig.now();
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    about(rig.write_times()[1], died + secs(2));
    assert_eq!(rig.record(), Some(MAIN));
    rig.alert(Resolved);
    rig.revive(BACKUP);
    rig.until(secs(25), |rig| {
        let status = rig.status();
        let backup = status.origins.get(BACKUP);
        backup.is_some_and(|origin| origin.state().as_str() == "up")
    })
    .await;
    let up = rig.now();
    rig.run_for(secs(320)).await;
    about(rig.write_times()[2], up + secs(301));
    assert_eq!(
        switches(&rig),
        [
            "pin backup confirmed",
            "failover main confirmed",
            "failback backup confirmed"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pin_ends_by_itself_and_main_is_waited_for_anew() {
    let rig = Rig::resting().await;
    let asked = rig.now();
    rig.pin(BACKUP, Some(secs(600))).await;
    rig.run_for(secs(598)).await;
    assert_eq!(rig.pinned().as_deref(), Some("backup"));
    rig.run_for(secs(2)).await;
    assert_eq!(rig.pinned(), None);
    assert_eq!(rig.metric("originswitch_pinned", ""), 0.0);
    assert_eq!(rig.record(), Some(BACKUP));
    rig.run_for(secs(20)).await;
    assert_eq!(rig.reason(), "failback_wait");
    rig.run_for(secs(300)).await;
    about(rig.write_times()[1], asked + secs(600 + 301));
    assert_eq!(rig.record(), Some(MAIN));
}

#[tokio::test(start_paused = true)]
async fn a_pin_is_lifted_by_hand_and_main_is_waited_for_anew_also_after_a_crash() {
    for crashes in [false, true] {
        // MAIN's good time from before the pin is stored.
        let mut rig = Rig::resting().await;
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(3)).await;
        rig.alert(Resolved);
        rig.revive(MAIN);
        rig.run_for(secs(250)).await;
        rig.pin(BACKUP, None).await;
        rig.run_for(secs(100)).await;
        rig.unpin().await;
        let lifted = rig.now();
        assert_eq!(rig.pinned(), None);
        if crashes {
            rig.run_for(ms(50)).await;
            rig.restart().await;
        }
        rig.run_for(secs(320)).await;
        assert_eq!(rig.writes().len(), 2, "{:#?}", rig.story());
        let late = if crashes { secs(1) } else { secs(0) };
        let waited = rig.write_times()[1] - lifted;
        assert!(waited.abs_diff(secs(301) + late) < ms(200), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unfreeze_takes_the_force_out_of_a_pin_and_nothing_else() {
    // The pinned origin is up: it stays.
    let mut rig = Rig::resting().await;
    rig.force(BACKUP, None).await;
    rig.run_for(secs(30)).await;
    assert_eq!(rig.frozen(), Some("pin"));
    rig.unfreeze().await;
    assert_eq!(
        (rig.pinned().as_deref(), rig.frozen()),
        (Some("backup"), None)
    );
    rig.run_for(secs(1_000)).await;
    assert_eq!(rig.writes().len(), 1);
    // It dies: it is left, as nothing is frozen any more, also after a restart.
    rig.restart().await;
    rig.run_for(secs(5)).await;
    assert_eq!(
        (rig.pinned().as_deref(), rig.frozen()),
        (Some("backup"), None)
    );
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(MAIN));
}

#[tokio::test(start_paused = true)]
async fn a_pin_that_cloudflare_cannot_be_told_is_made_when_it_is_back() {
    for fate in [ReadFate::Unavailable, ReadFate::Silent] {
        let rig = Rig::resting().await;
        rig.run_for(secs(20)).await;
        rig.dns.reads_are(fate.clone());
        let decision = rig.pin(BACKUP, None).await;
        assert_eq!(decision.reason.as_str(), "cloudflare_unavailable");
        assert_eq!(rig.pinned().as_deref(), Some("backup"));
        rig.run_for(secs(300)).await;
        assert!(rig.writes().is_empty());
        rig.dns.heal();
        let back = rig.now();
        rig.run_for(secs(60)).await;
        assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
        assert_eq!(switches(&rig), ["pin backup confirmed"]);
        let silent = if fate == ReadFate::Silent { 30 } else { 0 };
        let took = rig.write_times()[0] - back;
        assert!(took <= secs(6 + silent) + ms(20), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pin_whose_write_fails_is_tried_again_as_a_pin() {
    for (fate, within) in [
        (WriteFate::Rejected, 12),
        (WriteFate::Unavailable, 7),
        (WriteFate::LostBefore, 12),
        (WriteFate::LostAfter, 12),
        (WriteFate::Misanswered, 12),
    ] {
        for force in [false, true] {
            let rig = Rig::resting().await;
            rig.run_for(secs(20)).await;
            rig.dns.next_write(fate);
            if force {
                rig.kill(BACKUP);
            }
            let asked = rig.now();
            rig.ask(rig.pin_request(BACKUP, force, None)).await;
            rig.run_for(secs(60)).await;
            assert_eq!(rig.record(), Some(BACKUP), "{fate:?} {:#?}", rig.story());
            let last = *rig.write_times().last().unwrap();
            assert!(last - asked <= secs(within), "{fate:?} {:?}", last - asked);
            let all = switches(&rig);
            assert!(all.iter().all(|said| said.starts_with("pin ")), "{all:?}");
            assert_eq!(all.last().unwrap(), "pin backup confirmed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_file_that_fails_does_not_keep_a_person_from_moving_the_site() {
    let rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.store.disk(Disk::Full);
    let asked = rig.now();
    let decision = rig.pin(BACKUP, None).await;
    assert_eq!(decision.reason.as_str(), "pin", "{decision:?}");
    about(rig.write_times()[0], asked + secs(1));
    rig.store.disk(Disk::Fine);
    rig.run_for(secs(20)).await;
    assert_eq!(switches(&rig), ["pin backup confirmed"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_of_a_pin_ends_with_the_site_there_and_one_write() {
    // The pin stands from one second on; then come a read of 30 ms, the intent
    // of 10 ms, the write of 30 ms, and what became of it.
    for force in [false, true] {
        for crash_after in (5..120).step_by(5) {
            let mut rig = Rig::resting().await;
            rig.store.delay(ms(10));
            rig.dns.latency(ms(30));
            rig.run_for(secs(20)).await;
            let _waits = rig.handle().ask(rig.pin_request(BACKUP, force, None));
            let granted = if force { ms(0) } else { secs(1) };
            rig.run_for(granted + ms(crash_after)).await;
            rig.crash().await;
            rig.run_for(secs(2)).await;
            rig.boot();
            let booted = rig.now();
            rig.run_for(secs(30)).await;
            let told = format!("{crash_after} {force} {:#?}", rig.story());
            assert_eq!(rig.record(), Some(BACKUP), "{told}");
            assert_eq!(rig.pinned().as_deref(), Some("backup"), "{told}");
            assert_eq!(
                switches(&rig).last().unwrap(),
                "pin backup confirmed",
                "{told}"
            );
            let acted = rig.writes().iter().filter(|write| write.acted).count();
            assert_eq!(acted, 1, "{told}");
            let last = *rig.write_times().last().unwrap();
            assert!(last <= booted + secs(2), "{told}");
            let rows = rig.store.rows();
            let applied = rows.iter().filter(|row| row.applied == Some(true)).count();
            assert_eq!(applied, 1, "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_pin_stood_leaves_none() {
    let mut rig = Rig::resting().await;
    let _waits = rig.handle().ask(rig.pin_request(BACKUP, false, None));
    rig.run_for(ms(500)).await;
    rig.restart().await;
    rig.run_for(secs(60)).await;
    assert_eq!(rig.pinned(), None);
    assert!(rig.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pinned_site_that_had_to_leave_does_not_jump_back_when_it_restarts() {
    let mut rig = Rig::resting().await;
    rig.pin(BACKUP, None).await;
    rig.run_for(secs(30)).await;
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(MAIN));
    rig.alert(Resolved);
    rig.revive(BACKUP);
    rig.run_for(secs(30)).await;
    rig.restart().await;
    let booted = rig.now();
    rig.run_for(secs(320)).await;
    let returned = rig.write_times()[2] - booted;
    assert!(returned >= secs(270), "{returned:?}");
    assert_eq!(switches(&rig).last().unwrap(), "failback backup confirmed");
}

#[tokio::test(start_paused = true)]
async fn a_pin_to_an_origin_that_is_not_configured_any_more_is_dropped_for_good() {
    let mut rig = Rig::resting_on(THREE).await;
    rig.pin(BACKUP, None).await;
    rig.run_for(secs(20)).await;
    rig.stop().await;
    let three = std::mem::replace(&mut rig.site, config(SITE).sites[0].clone());
    let moved = SITE.replace("198.51.100.20", "203.0.113.30");
    rig.site = config(&moved).sites[0].clone();
    rig.boot();
    rig.run_for(secs(20)).await;
    assert_eq!(rig.pinned(), None);
    // The address is back; the order that was about it is not.
    rig.stop().await;
    rig.site = three;
    rig.boot();
    rig.run_for(secs(20)).await;
    assert_eq!(rig.pinned(), None);
}

#[tokio::test(start_paused = true)]
async fn a_pin_follows_its_machine_when_roles_move() {
    let mut rig = Rig::resting_on(THREE).await;
    rig.pin(BACKUP, None).await;
    rig.run_for(secs(20)).await;
    rig.stop().await;
    let turned = THREE.replace(
        r#"["198.51.100.20", "203.0.113.30"]"#,
        r#"["203.0.113.30", "198.51.100.20"]"#,
    );
    rig.site = config(&turned).sites[0].clone();
    rig.boot();
    rig.run_for(secs(400)).await;
    assert_eq!(rig.pinned().as_deref(), Some("backup-2"));
    assert_eq!(rig.writes().len(), 1);
    assert_eq!(rig.reason(), "on_main");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_ends_no_pin_early_or_late() {
    for step in [3_600_000, -3_600_000] {
        let rig = Rig::resting().await;
        let asked = rig.now();
        rig.pin(BACKUP, Some(secs(600))).await;
        rig.run_for(secs(60)).await;
        rig.clock.step(step);
        rig.run_for(asked + secs(599) - rig.now()).await;
        assert_eq!(rig.pinned().as_deref(), Some("backup"), "{step}");
        rig.run_for(secs(2)).await;
        assert_eq!(rig.pinned(), None, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_revive_a_pin_that_ended_while_nobody_ran() {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.pin(BACKUP, Some(secs(60))).await;
    rig.crash().await;
    rig.run_for(secs(100)).await;
    // It ran in between, and found the pin over.
    rig.boot();
    rig.run_for(secs(5)).await;
    rig.crash().await;
    rig.clock.step(-3_600_000);
    rig.boot();
    rig.run_for(secs(5)).await;
    assert_eq!(rig.pinned(), None, "{:#?}", rig.story());
}

#[tokio::test(start_paused = true)]
async fn the_last_of_two_pins_is_the_one_that_counts() {
    let rig = Rig::resting_on(THREE).await;
    rig.run_for(secs(20)).await;
    let first = rig.handle().ask(rig.pin_request(BACKUP, false, None));
    rig.run_for(ms(300)).await;
    let second = rig.pin(BACKUP_2, None).await;
    let why = first.await.unwrap().unwrap_err();
    assert!(why.contains("another pin"), "{why}");
    assert_eq!(second.to.as_ref().unwrap().role.to_string(), "backup-2");
    // One that stands is replaced the same way.
    rig.pin(BACKUP, Some(secs(60))).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.pinned().as_deref(), Some("backup"));
    assert_eq!(rig.metric("originswitch_pinned", ""), 1.0);
}

#[tokio::test(start_paused = true)]
async fn whoever_unpins_while_a_pin_is_on_its_way_has_the_last_word() {
    // While it is being confirmed, and while the record is being read.
    for moment in [0, 300, 1_100, 1_250] {
        let rig = Rig::resting().await;
        rig.run_for(secs(20)).await;
        rig.dns.latency(ms(300));
        let _gone = rig.handle().ask(rig.pin_request(BACKUP, false, None));
        rig.run_for(ms(moment)).await;
        rig.unpin().await;
        rig.run_for(secs(60)).await;
        assert_eq!(rig.pinned(), None, "{moment}");
        assert!(rig.writes().is_empty(), "{moment} {:#?}", rig.story());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pin_in_a_dry_run_says_what_it_would_do() {
    let rig = Rig::resting_with("dry_run = true").await;
    let decision = rig.pin(BACKUP, None).await;
    assert_eq!(decision.reason.as_str(), "pin");
    assert_eq!(decision.result.unwrap().as_str(), "dry_run");
    rig.run_for(secs(200)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.metric("originswitch_switches_total", "dry_run"), 1.0);
}

/// MAIN dead, an alert, and the site frozen for this long.
async fn frozen_in_an_outage(time: Option<Duration>) -> Rig {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.freeze(time).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig
}

#[tokio::test(start_paused = true)]
async fn a_freeze_lets_nothing_be_written_and_says_what_would_be() {
    let rig = frozen_in_an_outage(Some(secs(7_200))).await;
    rig.run_for(secs(3)).await;
    assert_eq!(rig.frozen(), Some("site"));
    assert_eq!(rig.metric("originswitch_frozen", "site=\"www\""), 1.0);
    assert_eq!(rig.reason(), "frozen");
    let hold = rig.decisions().pop().unwrap();
    assert_eq!(hold.steps, [1, 2, 6, 7, 8]);
    assert!(hold.frozen.is_some());
    let said = &hold.explanation;
    for part in [
        "not switched to backup: the site is frozen until ",
        "(database move)",
        "`originswitch unfreeze www` lifts this",
    ] {
        assert!(said.contains(part), "{said}");
    }
    rig.run_for(secs(3_000)).await;
    assert!(rig.writes().is_empty());
    let rows = rig.store.rows();
    assert!(rows.iter().all(|row| row.sent.is_none()), "{rows:#?}");
    // No person's order for the site goes through it either.
    let why = rig.pin_refused(BACKUP).await;
    assert!(why.contains("`originswitch unfreeze www` first"), "{why}");
    let decision = rig.ask(Request::Evaluate { dry_run: false }).await;
    assert_eq!(decision.reason.as_str(), "frozen");
    assert!(rig.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_main_is_left_when_the_freeze_has_ended_and_it_was_confirmed_again() {
    // By itself, with and without an alert.
    for (alerted, confirming) in [(true, 2), (false, 10)] {
        let mut rig = frozen_in_an_outage(Some(secs(600))).await;
        if !alerted {
            rig.alert(Resolved);
        }
        let ends = rig.now() + secs(600);
        rig.run_for(secs(640)).await;
        assert_eq!(rig.frozen(), None);
        about(rig.write_times()[0], ends + secs(confirming));
        assert_eq!(rig.metric("originswitch_frozen", ""), 0.0);
    }
    // By hand.
    let rig = frozen_in_an_outage(None).await;
    rig.run_for(secs(300)).await;
    rig.unfreeze().await;
    let lifted = rig.now();
    rig.run_for(secs(5)).await;
    about(rig.write_times()[0], lifted + secs(2));
}

#[tokio::test(start_paused = true)]
async fn after_a_freeze_main_is_waited_for_anew() {
    let mut rig = Rig::resting().await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    rig.alert(Resolved);
    rig.revive(MAIN);
    rig.run_for(secs(100)).await;
    rig.freeze(Some(secs(600))).await;
    let ends = rig.now() + secs(600);
    rig.run_for(secs(600)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    rig.run_for(secs(320)).await;
    about(rig.write_times()[1], ends + secs(301));
}

#[tokio::test(start_paused = true)]
async fn no_write_begins_once_a_freeze_is_answered_and_none_is_under_way() {
    for all in [false, true] {
        let mut stopped = 0;
        for moment in (1_525..3_300).step_by(50) {
            let mut rig = Rig::resting().await;
            rig.run_for(secs(20)).await;
            rig.dns.latency(ms(400));
            rig.store.delay(ms(100));
            rig.kill(MAIN);
            rig.alert(Firing);
            rig.run_for(ms(moment)).await;
            if all {
                rig.freeze_all(None).await;
            } else {
                rig.freeze(None).await;
            }
            let answered = rig.now();
            let record = rig.record();
            rig.run_for(secs(100)).await;
            for at in rig.write_times() {
                assert!(at + ms(400) <= answered, "{moment}: {at:?} {answered:?}");
            }
            assert_eq!(rig.record(), record, "{moment}");
            stopped += u32::from(rig.writes().is_empty());
        }
        // Until 2.4 s the read is under way.
        assert_eq!(stopped, 18, "{all}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_freeze_that_comes_during_a_slow_read_is_what_the_decision_says() {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.dns.latency(ms(500));
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(ms(2_200)).await;
    rig.freeze(None).await;
    rig.run_for(secs(1)).await;
    assert_eq!(rig.reason(), "frozen");
    let hold = rig.decisions().pop().unwrap();
    assert!(hold.frozen.is_some() && hold.to.is_none(), "{hold:?}");
    assert!(hold.explanation.contains("`originswitch unfreeze www`"));
    assert_eq!(rig.status().hold.unwrap().as_str(), "frozen");
}

#[tokio::test(start_paused = true)]
async fn freezes_survive_a_crash_and_end_when_they_were_to() {
    for all in [false, true] {
        let mut rig = Rig::resting().await;
        rig.run_for(secs(20)).await;
        let ends = rig.now() + secs(600);
        if all {
            rig.freeze_all(Some(secs(600))).await;
        } else {
            rig.freeze(Some(secs(600))).await;
        }
        rig.restart().await;
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(300)).await;
        assert_eq!(rig.frozen(), Some(if all { "all" } else { "site" }));
        assert!(rig.writes().is_empty());
        rig.restart().await;
        rig.alert(Firing);
        rig.run_for(ends + secs(5) - rig.now()).await;
        assert_eq!(rig.frozen(), None);
        about(rig.write_times()[0], ends + secs(2));

        // One that ended while nobody ran is over.
        let mut rig = frozen_in_an_outage(Some(secs(60))).await;
        rig.crash().await;
        rig.run_for(secs(100)).await;
        rig.boot();
        let booted = rig.now();
        rig.run_for(secs(20)).await;
        assert_eq!(rig.frozen(), None);
        about(rig.write_times()[0], booted + secs(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_freeze_of_all_holds_every_site_and_ends_for_each() {
    let second = SITE.replace("\"www\"", "\"shop\"").replace("www.", "shop.");
    let mut fleet = Fleet::resting(&format!("{SITE}{second}")).await;
    fleet.run_for(secs(20)).await;
    fleet.sites[0].freeze_all(Some(secs(600))).await;
    let ends = fleet.now() + secs(600);
    // The second one has a freeze of its own, which stays.
    fleet.sites[1].freeze(Some(secs(1_200))).await;
    fleet.sites[0].kill(MAIN);
    for site in &mut fleet.sites {
        site.alert(Firing);
    }
    fleet.run_for(secs(100)).await;
    assert!(fleet.write_times().is_empty());
    assert_eq!(fleet.reasons(), ["frozen", "frozen"]);
    assert_eq!(fleet.sites[0].frozen(), Some("all"));
    assert_eq!(fleet.sites[1].frozen(), Some("site"));
    assert_eq!(fleet.metric("originswitch_frozen", ""), 2.0);
    let said = fleet.sites[0].decisions().pop().unwrap().explanation;
    assert!(said.contains("all sites are frozen until"), "{said}");
    assert!(
        said.contains("`originswitch unfreeze` lifts this"),
        "{said}"
    );
    fleet.run_for(secs(520)).await;
    about(fleet.write_times()[0], ends + secs(2));
    assert_eq!(fleet.records(), [Some(BACKUP), Some(MAIN)]);
    fleet.run_for(secs(700)).await;
    assert_eq!(fleet.records(), [Some(BACKUP), Some(BACKUP)]);
}

#[tokio::test(start_paused = true)]
async fn a_freeze_of_all_holds_a_forced_pin_too() {
    // One that has not moved yet, since Cloudflare was away.
    let rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.dns.reads_are(ReadFate::Unavailable);
    rig.force(BACKUP, None).await;
    rig.freeze_all(None).await;
    rig.dns.heal();
    rig.run_for(secs(100)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
    // And one that is to be exchanged for another.
    let rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.force(BACKUP, None).await;
    rig.freeze_all(None).await;
    let why = rig.pin_refused(MAIN).await;
    assert!(why.contains("all sites are frozen"), "{why}");
    rig.run_for(secs(100)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_ends_no_freeze_early_or_late() {
    for all in [false, true] {
        for step in [3_600_000, -3_600_000] {
            let mut rig = Rig::resting().await;
            rig.run_for(secs(20)).await;
            let ends = rig.now() + secs(600);
            if all {
                rig.freeze_all(Some(secs(600))).await;
            } else {
                rig.freeze(Some(secs(600))).await;
            }
            rig.kill(MAIN);
            rig.alert(Firing);
            rig.run_for(secs(60)).await;
            rig.clock.step(step);
            let passes = rig.metric("originswitch_decisions_total", "");
            rig.run_for(secs(500)).await;
            assert_eq!(rig.reason(), "frozen", "{step}");
            let passed = rig.metric("originswitch_decisions_total", "") - passes;
            assert!(passed <= 60.0, "{passed} looks in 500 s");
            rig.run_for(ends + secs(5) - rig.now()).await;
            about(rig.write_times()[0], ends + secs(2));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_frozen_dry_run_is_held_like_any_other() {
    let mut rig = Rig::resting_with("dry_run = true").await;
    rig.freeze(None).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(30)).await;
    assert_eq!(rig.reason(), "frozen");
    rig.unfreeze().await;
    rig.run_for(secs(30)).await;
    assert_eq!(rig.reason(), "failover dry_run");
    assert!(rig.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_released_budget_stays_free_after_a_restart() {
    for released in [false, true] {
        let mut rig = Rig::resting_with("max_switches = 2\nfailback_after = \"1m\"").await;
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(3)).await;
        rig.alert(Resolved);
        if released {
            rig.ask(Request::Release).await;
        }
        rig.restart().await;
        rig.revive(MAIN);
        rig.run_for(secs(200)).await;
        let record = if released { MAIN } else { BACKUP };
        assert_eq!(rig.record(), Some(record), "{:#?}", rig.story());
    }
}

#[tokio::test(start_paused = true)]
async fn main_is_waited_for_anew_after_a_freeze_that_ended_while_nobody_ran() {
    for all in [false, true] {
        let mut rig = Rig::resting_with("failback_max = \"5m\"").await;
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(3)).await;
        rig.alert(Resolved);
        rig.revive(MAIN);
        rig.run_for(secs(20)).await;
        if all {
            rig.freeze_all(Some(secs(600))).await;
        } else {
            rig.freeze(Some(secs(600))).await;
        }
        rig.run_for(secs(500)).await;
        rig.stop().await;
        rig.run_for(secs(200)).await;
        rig.boot();
        let booted = rig.now();
        rig.run_for(secs(320)).await;
        about(rig.write_times()[1], booted + secs(302));
        // It is over: the next restart is one like any other.
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(3)).await;
        rig.alert(Resolved);
        rig.revive(MAIN);
        rig.run_for(secs(200)).await;
        rig.stop().await;
        rig.boot();
        let booted = rig.now();
        rig.run_for(secs(320)).await;
        let waited = rig.write_times()[3] - booted;
        assert!(waited < secs(150), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_stored_holds_and_says_so() {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.store.disk(Disk::Full);
    let freeze = StandingOrder::Freeze(rig.terms(None));
    let stored = rig.handle().order(freeze).await.unwrap();
    assert_eq!(stored.unwrap_err().to_string(), "the disk is full");
    assert_eq!(rig.frozen(), Some("site"));
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(10)).await;
    assert!(rig.writes().is_empty());
    let stored = rig.handle().order(StandingOrder::Unfreeze).await.unwrap();
    assert!(stored.is_err());

    rig.revive(MAIN);
    let decision = rig.pin(BACKUP, None).await;
    let said = &decision.explanation;
    let says = "the pin holds, but would not survive a restart: the disk is full";
    assert!(said.contains(says), "{said}");
    let stored = rig.handle().order(StandingOrder::Unpin).await.unwrap();
    assert!(stored.is_err());
    assert_eq!(rig.pinned(), None);
}
