//! Reads that are shared, and what a list is not believed about.

use crate::{BACKUP, MAIN, Rig, options};
use futures_util::future::join_all;
use originswitch::failover::{Dns, Urgency};
use originswitch::sandbox::cloudflare::Options;
use originswitch::sandbox::faults::{Effect, Fault, Matcher, Operation};
use std::time::Duration;

#[tokio::test]
async fn all_sites_of_a_zone_that_start_together_take_one_list() {
    let rig = Rig::new(options(), "", &[("example.com", 100)]);
    let sites = rig.config.sites.iter();
    let reads = join_all(sites.map(|site| rig.read(site, Urgency::Steady))).await;
    for (number, records) in reads.into_iter().enumerate() {
        let records = records.unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].hostname, rig.site(number).hostnames[0]);
    }
    assert_eq!(rig.lists(), 1);
    let request = rig.cloud.requests().pop().unwrap();
    assert_eq!(request.query, "order=name&page=1&per_page=5000");
    // One that comes in the same second needs no call.
    rig.read(rig.site(0), Urgency::Steady).await.unwrap();
    assert_eq!(rig.lists(), 1);
    assert_eq!(rig.metric("shared_total{kind=\"read\"}"), Some(100.0));
}

#[tokio::test]
async fn a_single_name_of_a_zone_is_asked_for_by_its_name() {
    let rig = Rig::new(options(), "", &[("example.com", 1), ("example.net", 2)]);
    rig.read(rig.site(0), Urgency::Steady).await.unwrap();
    let request = rig.cloud.requests().pop().unwrap();
    let query = "name=s000.example.com&page=1&per_page=100";
    assert_eq!(request.query, query);
}

#[tokio::test]
async fn before_a_write_it_is_read_anew() {
    let rig = Rig::new(options(), "", &[("example.com", 5)]);
    let site = rig.site(0);
    rig.read(site, Urgency::Steady).await.unwrap();
    let id = rig.cloud.records(&site.hostnames[0])[0].id.clone();
    assert!(rig.cloud.edit(&id, "203.0.113.7"));
    let remembered = rig.read(site, Urgency::Steady).await.unwrap();
    assert_eq!(remembered[0].content, MAIN, "of the same second");
    let records = rig.read(site, Urgency::Return).await.unwrap();
    assert_eq!(records[0].content, "203.0.113.7");
    // After a write of ours nobody is told what was before it.
    rig.write(site, records[0].clone(), BACKUP, Urgency::Return)
        .await;
    let after = rig.read(site, Urgency::Steady).await.unwrap();
    assert_eq!(after[0].content, BACKUP);
}

#[tokio::test]
async fn who_gives_up_takes_no_answer_away_from_the_others() {
    let latency = Duration::from_millis(80);
    let slow = Options {
        latency,
        ..options()
    };
    let rig = Rig::new(slow, "", &[("example.com", 3)]);
    let first = tokio::time::timeout(latency / 2, rig.read(rig.site(0), Urgency::Steady));
    let second = rig.read(rig.site(1), Urgency::Steady);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_err());
    assert_eq!(second.unwrap().len(), 1);
    assert_eq!(rig.lists(), 1);
}

#[tokio::test]
async fn a_flight_does_not_wait_behind_a_read_that_hangs() {
    let rig = Rig::new(options(), "", &[("example.com", 3)]);
    rig.read(rig.site(0), Urgency::Flight).await.unwrap();
    rig.cloud
        .fault(Fault::once(Matcher::Reads, Effect::NothingAtAll));
    let steady = rig.read(rig.site(1), Urgency::Return);
    let flight = async {
        // By now the other one is under way for too long to be joined.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let start = std::time::Instant::now();
        rig.read(rig.site(0), Urgency::Flight).await.unwrap();
        start.elapsed()
    };
    tokio::select! {
        answer = steady => panic!("{answer:?}"),
        took = flight => assert!(took < Duration::from_secs(2), "{took:?}"),
    }
}

#[tokio::test]
async fn a_flight_that_joins_a_steady_read_in_its_queue_takes_it_along() {
    let zones = [("a.test", 2), ("b.test", 2), ("c.test", 3)];
    let rig = Rig::new(options(), "", &zones);
    let lists = Matcher::Operation(Operation::ListRecords);
    rig.cloud
        .fault(Fault::times(2, lists, Effect::NothingAtAll));
    // These hang, and have all the slots that steady reads may have.
    let hanging = futures_util::future::join(
        rig.read(rig.site(0), Urgency::Steady),
        rig.read(rig.site(2), Urgency::Steady),
    );
    let together = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let start = std::time::Instant::now();
        let steady = rig.read(rig.site(4), Urgency::Steady);
        let flight = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            rig.read(rig.site(5), Urgency::Flight).await
        };
        let (steady, flight) = tokio::join!(steady, flight);
        assert!(steady.is_ok() && flight.is_ok());
        start.elapsed()
    };
    tokio::select! {
        answers = hanging => panic!("{answers:?}"),
        took = together => assert!(took < Duration::from_secs(1), "{took:?}"),
    }
    assert_eq!(rig.lists(), 3, "one list answered both");
}

/// Cloudflare allows 100 records a page only, and somebody deletes a record
/// while we are between two pages: all that follow move up by one.
#[tokio::test]
async fn a_record_that_moves_between_pages_is_not_taken_for_missing() {
    let options = Options {
        largest_page: 100,
        latency: Duration::from_millis(150),
        ..options()
    };
    let rig = Rig::new(options, "", &[("example.com", 250)]);
    let doomed = rig.cloud.records("s000.example.com")[0].id.clone();
    let sites = rig.config.sites.iter().skip(1);
    let reads = join_all(sites.map(|site| rig.read(site, Urgency::Steady)));
    let meanwhile = async {
        let answered =
            || rig.calls(|r| r.query.contains("page=1&per_page=100") && r.status.is_some());
        while answered() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(rig.cloud.remove_record(&doomed));
    };
    let (reads, ()) = tokio::join!(reads, meanwhile);
    for (number, records) in reads.into_iter().enumerate() {
        let records = records.unwrap();
        assert_eq!(records.len(), 1, "{number}");
        assert_eq!(records[0].hostname, rig.site(number + 1).hostnames[0]);
    }
    // Once refused, pages as large are not asked for again.
    let large = || rig.calls(|r| r.query.ends_with("per_page=5000"));
    assert_eq!(large(), 1);
    let by_name = rig.calls(|r| r.query.starts_with("name=s"));
    assert!((1..=6).contains(&by_name), "{by_name}");
    tokio::time::sleep(Duration::from_millis(1000)).await;
    rig.read(rig.site(7), Urgency::Steady).await.unwrap();
    assert_eq!(large(), 1);
}

#[tokio::test]
async fn sites_of_a_zone_are_due_at_the_same_moment() {
    let rig = Rig::new(options(), "", &[("example.com", 3), ("example.net", 3)]);
    let interval = Duration::from_secs(10);
    let due = |n: usize| rig.dns.pace(&rig.site(n).zone, interval);
    let start = tokio::time::Instant::now();
    let all = [0, 1, 2, 3, 4, 5].map(due);
    let apart = |a: Duration, b: Duration| a.abs_diff(b);
    let slack = start.elapsed();
    assert!(apart(all[0], all[2]) <= slack);
    assert!(apart(all[3], all[5]) <= slack);
    assert!(
        apart(all[0], all[3]).abs_diff(interval / 2) <= slack,
        "{all:?}"
    );
}
