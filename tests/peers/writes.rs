//! What becomes of a switch, and of a record that others work on: in a
//! modelled world.

use crate::support::world::*;
use originswitch::failover::Request;
use originswitch::rule::address::{Address, RecordType};
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};

/// Not configured.
const ELSEWHERE: &str = "203.0.113.99";

/// What writes made the record hold, without those that changed nothing.
fn changes(rig: &Rig) -> Vec<String> {
    let writes = rig.writes().into_iter().filter(|write| write.acted);
    let mut held: Vec<String> = writes.map(|write| write.to).collect();
    held.dedup();
    held
}

/// 4. dnsmgr noted the switch before the call, others after it: a crash in between lost it or made two.
#[tokio::test(start_paused = true)]
async fn a_restart_at_any_moment_of_a_switch_makes_one_of_it() {
    for moment in (0..120).step_by(5) {
        let mut rig = Rig::resting().await;
        rig.dns.latency(ms(30));
        rig.store.delay(ms(10));
        rig.kill(MAIN);
        rig.alert(Firing);
        // Two seconds confirm it; then the read, the intent, the write, the row.
        rig.run_for(ms(1_980 + moment)).await;
        rig.restart().await;
        rig.run_for(secs(60)).await;
        assert_eq!(rig.record(), Some(BACKUP), "{moment} {:#?}", rig.story());
        let acted = rig.writes().iter().filter(|write| write.acted).count();
        assert_eq!(acted, 1, "{moment} {:#?}", rig.story());
        let rows = rig.store.rows();
        let counted = rows.iter().filter(|row| row.applied == Some(true)).count();
        assert_eq!(counted, 1, "{moment} {:#?}", rig.story());
        assert_eq!(rig.status().hold, None);
    }
}

/// 5. kissgyorgy, external-dns: a write that timed out was taken for one that failed, and made again.
#[tokio::test(start_paused = true)]
async fn a_write_that_times_out_and_was_done_is_recognised_and_counted_once() {
    let mut rig = Rig::resting_with("max_switches = 2\nfailback_after = \"1m\"").await;
    rig.dns.next_write(WriteFate::SilentAfter);
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(60)).await;
    assert_eq!((rig.record(), rig.writes().len()), (Some(BACKUP), 1));
    assert_eq!(rig.reasons()[1], "failover confirmed");
    rig.alert(Resolved);
    rig.revive(MAIN);
    rig.run_for(secs(300)).await;
    let held = rig.decisions().pop().unwrap().explanation;
    assert!(held.contains("1 of 2 switches"), "{held}");
}

/// 7. dhaf, bootjp and the rule itself: an emergency edit was overwritten at the next look.
#[tokio::test(start_paused = true)]
async fn an_address_that_nobody_configured_is_held_adopted_or_reclaimed_as_told() {
    let cases = [
        ("", false, "foreign", None),
        ("unknown_origin = \"hold\"", false, "foreign", None),
        (
            "foreign_edit = \"reclaim\"\nunknown_origin = \"hold\"",
            false,
            "unknown_origin",
            None,
        ),
        ("foreign_edit = \"reclaim\"", false, "on_main", Some(MAIN)),
        // A person's release adopts it: the rule applies as at first sight.
        ("", true, "on_main", Some(MAIN)),
    ];
    for (rule, released, reason, held) in cases {
        let rig = Rig::resting_with(rule).await;
        rig.dns.edit(ELSEWHERE);
        rig.run_for(secs(30)).await;
        if released {
            rig.ask(Request::Release).await;
        }
        rig.run_for(secs(1_000)).await;
        assert_eq!(rig.record(), held, "{rule}: {:#?}", rig.story());
        assert_eq!(
            rig.status().last_decision.as_ref().unwrap().reason.as_str(),
            reason
        );
    }
}

/// 7. the rule's own hole: a dead third address beside a dead BACKUP stayed, although MAIN was well.
#[tokio::test(start_paused = true)]
async fn a_dead_third_address_is_left_for_whoever_lives() {
    for (dead, to) in [(MAIN, BACKUP), (BACKUP, MAIN)] {
        let rig = Rig::resting().await;
        let other = Address::V4(ELSEWHERE.parse().unwrap());
        rig.origins.set(&other, Mood::Refusing);
        rig.kill(dead);
        rig.dns.edit(ELSEWHERE);
        rig.run_for(secs(60)).await;
        assert_eq!(rig.record(), Some(to), "{:#?}", rig.story());
        assert_eq!(rig.writes().len(), 1);
    }
}

/// 12. lyoshenka wrote A records whatever it was given, bootjp pasted IPv6 addresses into URLs.
#[tokio::test(start_paused = true)]
async fn an_ipv6_site_has_its_aaaa_record_moved_and_no_other() {
    let mut rig = Rig::resting_on(
        &SITE
            .replace("\"192.0.2.10\"", "{ ipv6 = \"2001:db8::10\" }")
            .replace("\"198.51.100.20\"", "{ ipv6 = \"2001:db8::20\" }"),
    )
    .await;
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(10)).await;
    assert_eq!(rig.record(), Some(BACKUP));
    let [write] = &rig.writes()[..] else {
        panic!("{:#?}", rig.story())
    };
    let [change] = &write.changes[..] else {
        panic!("{write:?}")
    };
    assert_eq!(change.record.kind, RecordType::Aaaa);
    assert_eq!(change.content, "2001:db8::20");
}

/// 18. k8gb, dhaf: two that see different things moved the record to and fro.
#[tokio::test(start_paused = true)]
async fn an_instance_that_sees_it_otherwise_does_not_fight_for_the_record() {
    let mut sees = Rig::resting().await;
    // The other one, with a state file and a network of its own.
    let mut other = Rig::still(SITE);
    other.dns = sees.dns.clone();
    other.boot();
    other.run_for(secs(10)).await;
    sees.kill(MAIN);
    sees.alert(Firing);
    sees.run_for(secs(3_600)).await;
    assert_eq!(changes(&sees), ["198.51.100.20"], "{:#?}", other.story());
    assert_eq!(sees.reason(), "main_down");
    assert_eq!(other.reason(), "foreign");
}

/// 18. dnsmgr, favonia, external-dns: a tool that puts its own value back each minute was fought for ever.
#[tokio::test(start_paused = true)]
async fn a_fight_with_another_tool_ends_with_the_budget_and_says_so() {
    let mut rig = Rig::resting_with("max_switches = 4").await;
    rig.kill(MAIN);
    rig.alert(Firing);
    for _ in 0..50 {
        rig.run_for(secs(60)).await;
        rig.dns.edit("192.0.2.10");
    }
    assert_eq!(rig.writes().len(), 4, "{:#?}", rig.story());
    assert_eq!(rig.metric("originswitch_hold", "switch_budget"), 1.0);
}

/// 21. mirai-prototype: a dry run spent the breaker, and noted a switch that never was.
#[tokio::test(start_paused = true)]
async fn a_dry_run_writes_nothing_and_spends_nothing() {
    let mut rig = Rig::resting_with("dry_run = true\nmax_switches = 1").await;
    for _ in 0..5 {
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(60)).await;
        rig.alert(Resolved);
        rig.revive(MAIN);
        rig.run_for(secs(60)).await;
    }
    assert!(rig.writes().is_empty());
    assert!(rig.store.rows().iter().all(|row| row.sent.is_none()));
    let switches = |result: &str| rig.metric("originswitch_switches_total", result);
    assert_eq!((switches("confirmed"), switches("dry_run")), (0.0, 5.0));

    // The same state file in earnest: its one switch is there.
    rig.stop().await;
    rig.site = config(&format!("[rule]\nmax_switches = 1\n{SITE}")).sites[0].clone();
    rig.kill(MAIN);
    rig.boot();
    rig.run_for(secs(30)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
}
