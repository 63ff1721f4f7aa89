//! What proves a switch: the record read once more, and the probes that are
//! kept with the decision.

use crate::about;
use crate::support::world::*;
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};
use originswitch::rule::decision::{Decision, Probed};
use originswitch::rule::finding::Verdict;

fn foreign(rig: &Rig) -> f64 {
    rig.metric("originswitch_foreign_edits_total", "")
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_somebody_overwrites_is_noticed_at_verify_after() {
    // Wherever the routine reads lie.
    for phase in 0..20 {
        let mut rig = Rig::resting().await;
        rig.run_for(secs(30) + ms(500) * phase).await;
        rig.kill(MAIN);
        rig.alert(Firing);
        let switched = rig.now() + secs(2);
        rig.run_for(secs(4)).await;
        about(rig.write_times()[0], switched);
        rig.dns.edit("203.0.113.99");
        // By then at the latest: a routine read may have seen it before.
        rig.run_for(switched + ms(5_050) - rig.now()).await;
        assert_eq!(foreign(&rig), 1.0, "{phase}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_stays_is_read_once_more_and_is_nobody_elses_hand() {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(30)).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(2) + ms(100)).await;
    let switched = rig.write_times()[0];
    // The read at which it is verified shows what was there before.
    for _ in 0..3 {
        rig.dns.next_read(ReadFate::Stale);
    }
    rig.run_for(secs(30)).await;
    let reads = rig.dns.reads();
    assert!(
        reads
            .iter()
            .any(|r| r.at.abs_diff(switched + secs(5)) < ms(20))
    );
    assert_eq!(foreign(&rig), 0.0);
    assert_eq!(rig.writes().len(), 1);
    assert_eq!(
        rig.reasons(),
        ["on_main", "failover confirmed", "main_down"]
    );
}

#[tokio::test(start_paused = true)]
async fn without_verify_after_the_routine_read_is_the_next_one() {
    let mut rig = Rig::resting_with("verify_after = \"0s\"").await;
    rig.run_for(secs(30)).await;
    rig.until(secs(11), |rig| {
        let last = rig.dns.reads().last().unwrap().at;
        rig.now() - last >= secs(7)
    })
    .await;
    let next = rig.dns.reads().last().unwrap().at + secs(10);
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(ms(2_100)).await;
    let before = rig.dns.reads().len();
    rig.run_for(secs(20)).await;
    about(rig.dns.reads()[before].at, next);
    about(rig.dns.reads()[before + 1].at, next + secs(10));
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_counted_once_however_often_it_is_read() {
    let rig = Rig::resting().await;
    rig.dns.edit("198.51.100.20");
    rig.run_for(secs(300)).await;
    assert_eq!(foreign(&rig), 1.0);
    rig.dns.edit("203.0.113.99");
    rig.run_for(secs(300)).await;
    assert_eq!(foreign(&rig), 2.0);
    let said = rig.decisions().pop().unwrap().explanation;
    for part in [
        "from 192.0.2.10 to 203.0.113.99",
        "`originswitch release www` lifts this",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// When the probes of an origin started, before the decision.
fn before(decision: &Decision, probes: &[Probed]) -> Vec<i64> {
    let ago = |probe: &Probed| decision.time.duration_since(probe.started);
    let ago = probes.iter().map(|probe| ago(probe).as_millis());
    ago.map(|ms| i64::try_from(ms).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_decision_keeps_the_probes_it_rests_on() {
    let mut rig = Rig::resting().await;
    rig.run_for(secs(30)).await;
    rig.mood(MAIN, Mood::Swallowing);
    rig.mood(BACKUP, Mood::Slow(ms(300)));
    rig.alert(Firing);
    rig.run_for(secs(6)).await;
    let decision = rig.decisions().pop().unwrap();
    assert_eq!(decision.reason.as_str(), "failover");
    let main = &decision.origins[MAIN];
    assert_eq!(main.evidence.len(), usize::try_from(main.probes).unwrap());
    assert_eq!(before(&decision, &main.evidence), [4_000, 3_000, 2_000]);
    for probe in &main.evidence {
        assert_eq!(probe.verdict, Verdict::Down);
        assert_eq!(probe.reason, "connect: no answer within 2s");
        about(probe.took, secs(2));
    }
    // Those of BACKUP that were back by then.
    let backup = &decision.origins[BACKUP];
    assert_eq!(
        before(&decision, &backup.evidence),
        [4_000, 3_000, 2_000, 1_000]
    );
    for probe in &backup.evidence {
        assert_eq!(probe.verdict, Verdict::Up);
        about(probe.took, ms(300));
        about(probe.phases.connect.unwrap(), ms(300));
        assert_eq!(probe.phases.resolve, None);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_dual_stack_origin_the_probes_of_both_families_are_kept() {
    let mut rig = Rig::resting_on(DUAL).await;
    rig.run_for(secs(30)).await;
    use originswitch::rule::address::RecordType::Aaaa;
    rig.leg(MAIN, Aaaa, Mood::Refusing);
    rig.alert(Firing);
    rig.run_for(secs(3)).await;
    let decision = rig.decisions().pop().unwrap();
    assert_eq!(decision.reason.as_str(), "failover");
    let main = &decision.origins[MAIN];
    let told: Vec<&str> = main.evidence.iter().map(|p| p.reason.as_str()).collect();
    let four = told.iter().filter(|r| r.starts_with("ipv4: connected"));
    let six = told
        .iter()
        .filter(|r| **r == "ipv6: connect: connection refused");
    assert_eq!((four.count(), six.count()), (3, 3), "{told:?}");
    let times = before(&decision, &main.evidence);
    assert_eq!(times, [2_000, 2_000, 1_000, 1_000, 0, 0]);
    assert_eq!(main.probes, 6);
}

#[tokio::test(start_paused = true)]
async fn a_hold_and_a_keep_have_their_probes_too_and_a_routine_look_has_none() {
    let mut rig = Rig::resting().await;
    let start = rig.decisions().pop().unwrap();
    assert_eq!(start.origins[MAIN].evidence.len(), 2);
    rig.run_for(secs(30)).await;
    rig.freeze(None).await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    let hold = rig.decisions().pop().unwrap();
    assert_eq!(hold.reason.as_str(), "frozen");
    assert_eq!(hold.origins[MAIN].evidence.len(), 3);
    // A routine look asks nobody anew.
    rig.alert(Resolved);
    rig.revive(MAIN);
    rig.run_for(secs(60)).await;
    rig.unfreeze().await;
    rig.run_for(secs(60)).await;
    let keep = rig.decisions().pop().unwrap();
    assert_eq!(
        (keep.reason.as_str(), keep.trigger.as_str()),
        ("on_main", "timer")
    );
    assert!(keep.origins[MAIN].evidence.is_empty(), "{keep:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_confirmation_keeps_the_newest_probes_and_no_more() {
    let rig = Rig::resting_with("confirm_for = \"2m\"").await;
    rig.run_for(secs(30)).await;
    rig.kill(MAIN);
    rig.run_for(secs(200)).await;
    let decision = rig.decisions().pop().unwrap();
    assert_eq!(decision.reason.as_str(), "main_down");
    let switch = rig.decisions().into_iter().rfind(|d| d.result.is_some());
    let switch = switch.unwrap();
    let main = &switch.origins[MAIN];
    assert!(main.probes > 100, "{}", main.probes);
    assert_eq!(main.evidence.len(), 32);
    let times = before(&switch, &main.evidence);
    let newest: Vec<i64> = (0..32).rev().map(|second| second * 1_000).collect();
    assert_eq!(times, newest);
}
