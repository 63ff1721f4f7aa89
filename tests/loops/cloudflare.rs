//! Cloudflare on bad days: refusals, lost answers, stale reads, other hands.

use crate::about;
use crate::support::world::*;
use originswitch::failover::Request;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use std::time::Duration;

async fn dead_main(rule: &str) -> (Rig, Duration) {
    let mut rig = Rig::resting_with(rule).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    let alerted = rig.now();
    (rig, alerted)
}

fn confirmed(rig: &Rig) -> f64 {
    rig.metric("originswitch_switches_total", "result=\"confirmed\"")
}

#[tokio::test(start_paused = true)]
async fn a_rejected_write_is_decided_again_after_an_interval_that_doubles_to_five_minutes() {
    let (mut rig, alerted) = dead_main("").await;
    rig.dns.writes_are(WriteFate::Rejected);
    rig.run_for(secs(840)).await;
    let times = rig.write_times();
    about(times[0], alerted + secs(2));
    // The wait, then a confirmation of 2 s.
    let waits: Vec<u64> = times.windows(2).map(|w| (w[1] - w[0]).as_secs()).collect();
    assert_eq!(waits, [12, 22, 42, 82, 162, 302]);
    assert_eq!(rig.record(), Some(MAIN));
    assert_eq!(rig.reason(), "failover rejected");
    assert_eq!(confirmed(&rig), 0.0);
    // Alerts in between write nothing, and say the same.
    let rows = rig.decisions().len();
    for _ in 0..10 {
        rig.alert(Firing);
        rig.run_for(secs(5)).await;
    }
    assert_eq!(rig.writes().len(), times.len());
    assert_eq!(rig.decisions().len(), rows);
    // A person does not wait.
    rig.dns.heal();
    let asked = rig.now();
    let decision = rig.ask(Request::Evaluate { dry_run: false }).await;
    assert_eq!(decision.result.unwrap().as_str(), "confirmed");
    about(*rig.write_times().last().unwrap(), asked + secs(2));
    assert_eq!(rig.record(), Some(BACKUP));
    // Refusals are no switches: the whole budget but one is there.
    assert_eq!(confirmed(&rig), 1.0);
}

#[tokio::test(start_paused = true)]
async fn with_another_token_a_rejected_write_is_decided_again_at_once() {
    let (rig, alerted) = dead_main("").await;
    rig.dns.writes_are(WriteFate::Rejected);
    rig.run_for(secs(200)).await;
    // By itself the sixth would come 322 s after the alert.
    assert_eq!(rig.writes().len(), 5);
    rig.dns.heal();
    rig.dns.another_token();
    rig.run_for(secs(13)).await;
    // The next look at the record, and a confirmation of 2 s.
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
    assert!(rig.write_times()[5] <= alerted + secs(212));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_carried_out_and_not_answered_is_not_sent_again_and_counted_once() {
    for (fate, late) in [(WriteFate::LostAfter, 0), (WriteFate::SilentAfter, 10)] {
        let (mut rig, alerted) = dead_main("").await;
        rig.dns.next_write(fate);
        rig.run_for(secs(60)).await;
        assert_eq!(rig.writes().len(), 1);
        assert_eq!(rig.record(), Some(BACKUP));
        let stories = rig.reasons();
        assert_eq!(stories[1], "failover confirmed", "{:#?}", rig.story());
        about(rig.decisions()[1].duration.unwrap(), secs(2 + late));
        about(rig.write_times()[0], alerted + secs(2));
        assert_eq!(confirmed(&rig), 1.0);
        // It is not taken for somebody else's hand.
        rig.alert(Resolved);
        rig.revive(MAIN);
        rig.run_for(secs(340)).await;
        assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_write_whose_outcome_stays_unknown_is_settled_by_a_later_read() {
    for fate in [WriteFate::LostAfter, WriteFate::LostBefore] {
        let (rig, _) = dead_main("").await;
        rig.dns.next_write(fate);
        rig.run_for(ms(1_900)).await;
        // The read before the write is answered, those after it are not.
        rig.dns.next_read(ReadFate::Answered);
        rig.dns.reads_are(ReadFate::Unavailable);
        rig.run_for(secs(60)).await;
        assert_eq!(rig.writes().len(), 1, "{:#?}", rig.story());
        assert_eq!(rig.reasons()[1], "failover unconfirmed");
        assert_eq!(confirmed(&rig), 0.0);
        rig.dns.reads_are(ReadFate::Answered);
        rig.run_for(secs(30)).await;
        assert_eq!(rig.record(), Some(BACKUP));
        assert_eq!(confirmed(&rig), 1.0);
        let writes = if fate == WriteFate::LostAfter { 1 } else { 2 };
        assert_eq!(rig.writes().len(), writes);
        if fate == WriteFate::LostAfter {
            // Its row in the history is amended.
            assert_eq!(rig.reasons()[1], "failover confirmed");
        }
        let rows = rig.store.rows();
        let applied = rows.iter().filter(|row| row.applied == Some(true)).count();
        assert_eq!(applied, 1, "{rows:#?}");
        assert!(
            rows.iter()
                .all(|row| row.sent.is_none() || row.applied.is_some())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_not_carried_out_is_read_again_and_then_sent_again() {
    for fate in [WriteFate::LostBefore, WriteFate::Misanswered] {
        let (rig, alerted) = dead_main("").await;
        rig.dns.next_write(fate);
        rig.run_for(secs(30)).await;
        let times = rig.write_times();
        assert_eq!(times.len(), 2);
        let read_between = rig
            .dns
            .reads()
            .iter()
            .any(|r| r.at >= times[0] && r.at < times[1]);
        assert!(read_between);
        // A second, and a confirmation.
        about(times[1], alerted + secs(5));
        assert_eq!(rig.record(), Some(BACKUP));
        assert_eq!(
            rig.reasons()[1..3],
            ["failover unconfirmed", "failover confirmed"]
        );
        assert_eq!(confirmed(&rig), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn with_cloudflare_away_for_minutes_the_switch_comes_soon_after_it_is_back() {
    for fate in [ReadFate::Unavailable, ReadFate::Silent] {
        for alerted in [true, false] {
            let mut rig = Rig::resting().await;
            rig.dns.reads_are(fate.clone());
            rig.run_for(secs(60)).await;
            rig.kill(MAIN);
            if alerted {
                rig.alert(Firing);
            }
            rig.run_for(secs(400)).await;
            assert!(rig.writes().is_empty());
            assert_eq!(rig.reason(), "cloudflare_unavailable");
            rig.dns.heal();
            let back = rig.now();
            rig.run_for(secs(120)).await;
            assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
            // A try every 5 s, and its confirmation; a call under way ends first.
            let mut bound = secs(if alerted { 7 } else { 15 });
            if fate == ReadFate::Silent {
                bound += secs(30);
            }
            let took = rig.write_times()[0] - back;
            assert!(took <= bound + ms(20), "{fate:?} {alerted} {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn writes_that_are_put_off_are_tried_again_soon_and_are_no_switches() {
    let (rig, alerted) = dead_main("max_switches = 2").await;
    rig.dns.writes_are(WriteFate::Unavailable);
    rig.run_for(secs(120)).await;
    assert_eq!(rig.reason(), "cloudflare_unavailable");
    let times = rig.write_times();
    about(times[0], alerted + secs(2));
    about(times[1], alerted + secs(9));
    assert_eq!(confirmed(&rig), 0.0);
    rig.dns.heal();
    rig.run_for(secs(10)).await;
    assert_eq!(rig.record(), Some(BACKUP));
}

#[tokio::test(start_paused = true)]
async fn cloudflare_away_at_start_costs_nothing_but_time() {
    let mut rig = Rig::resting().await;
    rig.crash().await;
    rig.dns.reads_are(ReadFate::Unavailable);
    rig.kill(MAIN);
    rig.boot();
    rig.run_for(secs(120)).await;
    assert_eq!(rig.reason(), "cloudflare_unavailable");
    rig.dns.heal();
    let back = rig.now();
    rig.run_for(secs(60)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert!(rig.write_times()[0] - back <= secs(22));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_edit_is_left_alone_until_what_it_points_to_dies() {
    let mut rig = Rig::resting().await;
    rig.dns.edit("198.51.100.20");
    rig.run_for(secs(1_000)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.reason(), "foreign");
    assert!(rig.writes().is_empty());
    // A restart remembers.
    rig.restart().await;
    rig.run_for(secs(600)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reason(), "foreign");
    // A dead origin is left, whoever pointed the record there.
    rig.kill(BACKUP);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    assert_eq!(rig.record(), Some(MAIN));
}

#[tokio::test(start_paused = true)]
async fn a_person_releases_a_foreign_edit_and_reclaim_needs_none() {
    let rig = Rig::resting().await;
    rig.run_for(secs(400)).await;
    rig.dns.edit("198.51.100.20");
    rig.run_for(secs(30)).await;
    rig.ask(Request::Release).await;
    rig.run_for(secs(400)).await;
    assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());

    let rig = Rig::resting_with("foreign_edit = \"reclaim\"").await;
    rig.run_for(secs(400)).await;
    let edited = rig.now();
    rig.dns.edit("198.51.100.20");
    rig.run_for(secs(400)).await;
    assert_eq!(rig.record(), Some(MAIN));
    // As after any other adopted edit MAIN is waited for.
    assert!(rig.write_times()[0] - edited >= secs(300));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_nobody_knows_is_reclaimed_or_left_as_the_user_says() {
    // An unknown address on first sight: the rule applies.
    let mut rig = Rig::still(SITE);
    rig.dns.edit("203.0.113.99");
    rig.boot();
    rig.run_for(secs(400)).await;
    assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
    assert!(rig.reasons().contains(&"failback confirmed".to_owned()));

    // A dead one is left at once, for BACKUP as the seed says.
    let mut rig = Rig::still(SITE);
    rig.dns.edit("203.0.113.99");
    let other = originswitch::rule::address::Address::V4("203.0.113.99".parse().unwrap());
    rig.origins.set(&other, Mood::Refusing);
    rig.boot();
    rig.run_for(secs(15)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.writes().len(), 1);

    // BACKUP dead as well: our one addition.
    let mut rig = Rig::still(SITE);
    rig.dns.edit("203.0.113.99");
    rig.origins.set(&other, Mood::Refusing);
    rig.kill(BACKUP);
    rig.boot();
    rig.run_for(secs(15)).await;
    assert_eq!(rig.record(), Some(MAIN));
    assert_eq!(rig.decisions()[0].steps, [1, 2, 6, 7]);

    let mut rig = Rig::still(&format!("[rule]\nunknown_origin = \"hold\"\n{SITE}"));
    rig.dns.edit("203.0.113.99");
    rig.origins.set(&other, Mood::Refusing);
    rig.boot();
    rig.run_for(secs(600)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reason(), "unknown_origin");
}

#[tokio::test(start_paused = true)]
async fn a_record_edited_between_decision_and_write_is_decided_again() {
    // Somebody was faster and moved the site to BACKUP.
    let (rig, _) = dead_main("").await;
    rig.run_for(ms(1_900)).await;
    rig.dns
        .next_read(ReadFate::EditedFirst("198.51.100.20".into()));
    rig.run_for(secs(30)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
    assert_eq!(rig.reason(), "main_down");

    // Somebody pointed it to a dead address: BACKUP it is, from there.
    let (rig, _) = dead_main("").await;
    let other = originswitch::rule::address::Address::V4("203.0.113.99".parse().unwrap());
    rig.origins.set(&other, Mood::Refusing);
    rig.run_for(ms(1_900)).await;
    rig.dns
        .next_read(ReadFate::EditedFirst("203.0.113.99".into()));
    rig.run_for(secs(30)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.writes().len(), 1);
    assert_eq!(rig.writes()[0].from, "203.0.113.99");
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_is_read_again_and_is_nobodys_hand() {
    let (mut rig, _) = dead_main("").await;
    rig.run_for(secs(5)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    for _ in 0..5 {
        rig.dns.next_read(ReadFate::Stale);
    }
    let before = rig.dns.reads().len();
    rig.run_for(secs(17)).await;
    // Within an interval, then every second until it is what we know.
    let reads = rig.dns.reads().len() - before;
    assert!(reads >= 6, "{reads}");
    assert_eq!(
        rig.status().record.as_ref().unwrap().role.to_string(),
        "backup"
    );
    rig.run_for(secs(60)).await;
    assert_eq!(rig.writes().len(), 1);
    rig.alert(Resolved);
    rig.revive(MAIN);
    rig.run_for(secs(340)).await;
    assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());

    // Stale right before a write: not acted upon.
    let mut rig = Rig::resting().await;
    rig.dns.edit("203.0.113.99");
    rig.dns.edit("192.0.2.10");
    rig.run_for(secs(30)).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(ms(1_900)).await;
    rig.dns.next_read(ReadFate::Stale);
    rig.dns.next_read(ReadFate::Stale);
    let before = rig.now();
    rig.run_for(secs(10)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
    about(rig.write_times()[0], before + ms(100) + secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_after_an_unanswered_write_does_not_make_it_somebody_elses() {
    let (mut rig, _) = dead_main("").await;
    rig.dns.next_write(WriteFate::LostAfter);
    rig.run_for(ms(1_900)).await;
    rig.dns.next_read(ReadFate::Answered);
    rig.dns.next_read(ReadFate::Stale);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(rig.writes().len(), 1, "{:#?}", rig.story());
    let rows = rig.store.rows();
    let applied = rows.iter().filter(|row| row.applied == Some(true)).count();
    assert_eq!(applied, 1, "{:#?}", rig.story());
    assert_eq!(confirmed(&rig), 1.0);
    rig.alert(Resolved);
    rig.revive(MAIN);
    rig.run_for(secs(340)).await;
    assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
}

#[tokio::test(start_paused = true)]
async fn a_read_from_before_a_write_says_nothing_about_it() {
    let mut rig = Rig::resting().await;
    rig.dns.next_read(ReadFate::Delayed(secs(3)));
    let reads = rig.dns.reads().len();
    rig.until(secs(15), |rig| rig.dns.reads().len() > reads)
        .await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.dns.next_read(ReadFate::Answered);
    rig.dns.next_write(WriteFate::LostAfter);
    rig.dns.next_read(ReadFate::Unavailable);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.writes().len(), 1);
    assert_eq!(rig.reasons()[1], "failover confirmed", "{:#?}", rig.story());
    assert_eq!(confirmed(&rig), 1.0);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_add_what_they_take_and_no_more() {
    let mut rig = Rig::resting().await;
    rig.dns.latency(ms(200));
    rig.store.delay(ms(5));
    rig.run_for(secs(20)).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(10)).await;
    // 2 s, a read, the intent, the write, the outcome.
    about(
        rig.decisions()[1].duration.unwrap(),
        ms(2_000 + 200 + 5 + 200),
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_dies_while_the_record_is_read_is_not_switched_to() {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(20)).await;
    rig.dns.latency(secs(8));
    rig.kill(MAIN);
    rig.alert(Firing);
    // Decided after 2 s, and read for 8 s more.
    rig.run_for(ms(2_500)).await;
    rig.kill(BACKUP);
    rig.run_for(secs(30)).await;
    assert!(rig.writes().is_empty(), "{:#?}", rig.story());
    assert_eq!(rig.reason(), "all_down");
    rig.revive(BACKUP);
    rig.run_for(secs(60)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
}
