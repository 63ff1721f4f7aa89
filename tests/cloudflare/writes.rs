//! Changes that travel together, and what becomes of each.

use crate::{BACKUP, MAIN, Rig, options};
use futures_util::future::join_all;
use originswitch::failover::{Urgency, Written};
use originswitch::sandbox::cloudflare::Options;
use originswitch::sandbox::faults::{Effect, Fault, Matcher};
use std::time::Duration;

const LATENCY: Duration = Duration::from_millis(60);

fn slow() -> Options {
    Options {
        latency: LATENCY,
        ..options()
    }
}

/// Cloudflare refuses it for a proxied record.
const PRIVATE: &str = "192.168.0.1";

fn is_confirmed(written: &Written, hostname: &str) -> bool {
    let Written::Confirmed(records) = written else {
        return false;
    };
    matches!(&records[..], [one] if one.hostname == hostname && one.content == BACKUP)
}

#[tokio::test]
async fn fifty_sites_that_are_due_together_take_a_handful_of_calls() {
    let rig = Rig::new(slow(), "", &[("example.com", 50)]);
    for (number, written) in rig.switch_all(|_| BACKUP).await.iter().enumerate() {
        let hostname = &rig.site(number).hostnames[0];
        assert!(is_confirmed(written, hostname), "{number}: {written:?}");
        assert_eq!(rig.content(number), BACKUP);
    }
    assert!(rig.lists() <= 2, "{}", rig.lists());
    assert_eq!(rig.write_calls(), 1);
    assert!(rig.metric("shared_total{kind=\"read\"}") >= Some(48.0));
    assert_eq!(rig.metric("shared_total{kind=\"write\"}"), Some(49.0));
}

#[tokio::test]
async fn no_batch_is_larger_than_is_configured() {
    let rig = Rig::new(slow(), "max_batch = 20", &[("example.com", 50)]);
    rig.switch_all(|_| BACKUP).await;
    assert_eq!(rig.write_calls(), 3);
    let largest = rig.cloud.requests().into_iter().filter_map(|request| {
        let body = request.json()?;
        body["patches"].as_array().map(Vec::len)
    });
    assert_eq!(largest.max(), Some(20));
}

#[tokio::test]
async fn a_site_that_is_due_alone_waits_for_nobody() {
    let rig = Rig::new(slow(), "", &[("example.com", 50)]);
    // The zone is known from here on.
    rig.read(rig.site(1), Urgency::Steady).await.unwrap();
    let start = std::time::Instant::now();
    let written = rig.switch(rig.site(0), BACKUP, Urgency::Flight).await;
    assert!(matches!(written, Written::Confirmed(_)), "{written:?}");
    let took = start.elapsed();
    assert!(took < 2 * LATENCY + Duration::from_millis(100), "{took:?}");
    assert_eq!(rig.calls(|r| r.method == "PATCH"), 1);
}

#[tokio::test]
async fn a_bad_record_stops_its_own_site_and_nobody_else() {
    let rig = Rig::new(options(), "", &[("example.com", 60)]);
    let bad = [7, 41];
    let content = |n| if bad.contains(&n) { PRIVATE } else { BACKUP };
    for (number, written) in rig.switch_all(content).await.iter().enumerate() {
        if bad.contains(&number) {
            let Written::Rejected(text) = written else {
                panic!("{number}: {written:?}")
            };
            assert!(text.contains("9003"), "{text}");
            assert_eq!(rig.content(number), MAIN);
        } else {
            let hostname = &rig.site(number).hostnames[0];
            assert!(is_confirmed(written, hostname), "{number}: {written:?}");
            assert_eq!(rig.content(number), BACKUP);
        }
    }
    assert!(rig.write_calls() <= 30, "{}", rig.write_calls());
    rig.assert_never_throttled();
}

#[tokio::test]
async fn a_batch_that_is_not_answered_is_unanswered_for_every_site_in_it() {
    let rig = Rig::new(slow(), "", &[("example.com", 20)]);
    let fault = Fault::once(Matcher::Writes, Effect::CutAfter);
    rig.cloud.fault(fault);
    for written in rig.switch_all(|_| BACKUP).await {
        assert!(matches!(written, Written::Unanswered(_)), "{written:?}");
    }
    assert_eq!(rig.write_calls(), 1);
    // Each looks again, and one list shows all of them what was done.
    let lists = rig.lists();
    let sites = rig.config.sites.iter();
    let reads = join_all(sites.map(|site| rig.read(site, Urgency::Flight))).await;
    for records in reads {
        assert_eq!(records.unwrap()[0].content, BACKUP);
    }
    assert!(rig.lists() <= lists + 2, "{}", rig.lists());
}

#[tokio::test]
async fn a_throttled_batch_is_sent_again_with_whoever_has_come_meanwhile() {
    let rig = Rig::new(options(), "", &[("example.com", 10)]);
    let throttle = Effect::Throttle {
        retry_after: Some(1),
    };
    rig.cloud.fault(Fault::once(Matcher::Writes, throttle));
    for written in rig.switch_all(|_| BACKUP).await {
        assert!(matches!(written, Written::Confirmed(_)), "{written:?}");
    }
    assert!(rig.write_calls() <= 3, "{}", rig.write_calls());
}

#[tokio::test]
async fn who_gives_up_while_waiting_changes_nothing_any_more() {
    let rig = Rig::new(slow(), "", &[("example.com", 3)]);
    let mut records = Vec::new();
    for site in &rig.config.sites {
        records.push(rig.read(site, Urgency::Flight).await.unwrap().remove(0));
    }
    let write = |n: usize| rig.write(rig.site(n), records[n].clone(), BACKUP, Urgency::Flight);
    let given_up = async {
        // The first is under way by then, so that this one has to wait.
        tokio::time::sleep(LATENCY / 4).await;
        tokio::time::timeout(LATENCY / 4, write(1)).await.is_err()
    };
    let kept = async {
        tokio::time::sleep(LATENCY / 4).await;
        write(2).await
    };
    let (first, given_up, kept) = tokio::join!(write(0), given_up, kept);
    assert!(given_up);
    assert!(matches!(first, Written::Confirmed(_)), "{first:?}");
    assert!(matches!(kept, Written::Confirmed(_)), "{kept:?}");
    assert_eq!([0, 1, 2].map(|n| rig.content(n)), [BACKUP, MAIN, BACKUP]);
}

#[tokio::test]
async fn a_write_that_never_got_its_turn_in_time_was_not_sent() {
    let rig = Rig::new(slow(), "requests_per_5m = 10", &[("example.com", 1)]);
    let record = rig.read(rig.site(0), Urgency::Flight).await.unwrap();
    // The budget is used up by what nobody would do: many writes.
    for _ in 0..12 {
        let write = rig.write(rig.site(0), record[0].clone(), BACKUP, Urgency::Flight);
        match write.await {
            Written::Confirmed(_) => {}
            Written::Unavailable(text) => {
                assert!(text.starts_with("the budget of 10 calls"), "{text}");
                rig.assert_never_throttled();
                assert_eq!(rig.cloud.requests().len(), 10);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("the budget was overrun");
}
