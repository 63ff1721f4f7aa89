//! Several hostnames, two families, and records whose shape forbids a change.

use crate::about;
use crate::support::world::*;
use originswitch::rule::address::RecordType::{A, Aaaa};
use originswitch::rule::alerts::AlertStatus::{Firing, Resolved};

#[tokio::test(start_paused = true)]
async fn hostnames_and_families_move_together_in_one_write() {
    let mut rig = Rig::resting_on(DUAL).await;
    rig.kill(MAIN);
    let died = rig.now();
    rig.alert(Firing);
    rig.run_for(secs(5)).await;
    about(rig.write_times()[0], died + secs(2));
    let writes = rig.writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].changes.len(), 4);
    assert_eq!(rig.record(), Some(BACKUP));
    assert_eq!(writes[0].to, "198.51.100.20, 2001:db8::20");
}

#[tokio::test(start_paused = true)]
async fn an_origin_with_one_dead_family_is_down() {
    for kind in [A, Aaaa] {
        let mut rig = Rig::resting_on(DUAL).await;
        rig.leg(MAIN, kind, Mood::Refusing);
        let died = rig.now();
        rig.alert(Firing);
        rig.run_for(secs(5)).await;
        about(rig.write_times()[0], died + secs(2));
        assert_eq!(rig.record(), Some(BACKUP));
    }
    // And is not switched to. (Where MAIN is dead altogether, a family that
    // BACKUP lacks fails everywhere, and the other one decides.)
    let mut rig = Rig::resting_on(DUAL).await;
    rig.leg(MAIN, Aaaa, Mood::Refusing);
    rig.leg(BACKUP, A, Mood::Refusing);
    rig.alert(Firing);
    rig.run_for(secs(60)).await;
    assert!(rig.writes().is_empty());
    assert_eq!(rig.reason(), "all_down");
}

#[tokio::test(start_paused = true)]
async fn a_family_that_fails_everywhere_is_about_us_and_changes_nothing() {
    for mood in [Mood::Refusing, Mood::Swallowing] {
        for alerted in [true, false] {
            let mut rig = Rig::resting_on(DUAL).await;
            rig.leg(MAIN, Aaaa, mood.clone());
            rig.leg(BACKUP, Aaaa, mood.clone());
            if alerted {
                rig.alert(Firing);
            }
            rig.run_for(secs(120)).await;
            assert!(rig.writes().is_empty(), "{mood:?} {:#?}", rig.story());
            assert_eq!(rig.reason(), "on_main");
            // What is left of MAIN dies: the other family decides.
            rig.leg(MAIN, A, Mood::Refusing);
            rig.alert(Firing);
            rig.run_for(secs(6)).await;
            assert_eq!(rig.record(), Some(BACKUP));
            // And back, with the family still away.
            rig.alert(Resolved);
            rig.leg(MAIN, A, Mood::Up);
            rig.run_for(secs(400)).await;
            assert_eq!(rig.record(), Some(MAIN), "{:#?}", rig.story());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_family_that_our_host_does_not_have_does_not_keep_a_dead_site_dead() {
    // ENETUNREACH: unknown, on every origin and from the start.
    let mut rig = Rig::still(DUAL);
    rig.leg(MAIN, Aaaa, Mood::Unknown);
    rig.leg(BACKUP, Aaaa, Mood::Unknown);
    rig.boot();
    rig.run_for(secs(60)).await;
    assert_eq!(rig.reason(), "on_main", "{:#?}", rig.story());
    rig.leg(MAIN, A, Mood::Refusing);
    rig.alert(Firing);
    rig.run_for(secs(30)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
}

#[tokio::test(start_paused = true)]
async fn records_that_disagree_are_left_alone_until_they_agree_again() {
    let mut rig = Rig::resting_on(DUAL).await;
    rig.dns
        .edit_records(|records| records[0].content = "198.51.100.20".into());
    rig.run_for(secs(30)).await;
    assert_eq!(rig.reason(), "record_shape");
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(60)).await;
    assert!(rig.writes().is_empty());
    rig.dns
        .edit_records(|records| records[0].content = "192.0.2.10".into());
    let agreed = rig.now();
    rig.run_for(secs(30)).await;
    assert_eq!(rig.record(), Some(BACKUP), "{:#?}", rig.story());
    assert!(rig.write_times()[0] - agreed <= secs(13));
}

#[tokio::test(start_paused = true)]
async fn missing_doubled_and_mistyped_records_are_held() {
    type Edit = fn(&mut Vec<originswitch::failover::Record>);
    let edits: [Edit; 3] = [
        |records| records.clear(),
        |records| {
            let mut twin = records[0].clone();
            twin.id = "twin".into();
            twin.content = "203.0.113.99".into();
            records.push(twin);
        },
        |records| {
            records[0].kind = originswitch::rule::address::RecordType::Cname;
            records[0].content = "elsewhere.example.net".into();
        },
    ];
    for edit in edits {
        let mut rig = Rig::resting().await;
        rig.dns.edit_records(edit);
        rig.kill(MAIN);
        rig.alert(Firing);
        rig.run_for(secs(120)).await;
        assert!(rig.writes().is_empty());
        assert_eq!(rig.reason(), "record_shape", "{:#?}", rig.story());
    }
}

#[tokio::test(start_paused = true)]
async fn settings_beside_content_that_others_change_stay_theirs() {
    let mut rig = Rig::resting().await;
    rig.dns.edit_records(|records| {
        records[0].proxied = false;
        records[0].ttl = 60;
        records[0].rest = "{\"comment\":\"mine\"}".into();
    });
    rig.kill(MAIN);
    rig.alert(Firing);
    rig.run_for(secs(10)).await;
    let writes = rig.writes();
    assert!(writes[0].faults.is_empty(), "{:?}", writes[0].faults);
    let record = &rig.dns.records()[0];
    assert_eq!((record.proxied, record.ttl), (false, 60));
    assert_eq!(record.rest, "{\"comment\":\"mine\"}");
    assert_eq!(record.content, "198.51.100.20");
}
