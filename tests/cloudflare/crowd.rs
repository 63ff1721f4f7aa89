//! A thousand sites that lose MAIN together.

use crate::{BACKUP, Rig, options};
use originswitch::failover::Written;
use originswitch::sandbox::cloudflare::Options;
use std::time::{Duration, Instant};

/// All sites are due at once; how many calls change records, and how long
/// until the last record is changed.
async fn switched(zones: &[(&str, usize)]) -> (usize, Duration) {
    let slow = Options {
        latency: Duration::from_millis(100),
        ..options()
    };
    let rig = Rig::new(slow, "", zones);
    let start = Instant::now();
    for written in rig.switch_all(|_| BACKUP).await {
        assert!(matches!(written, Written::Confirmed(_)), "{written:?}");
    }
    rig.assert_never_throttled();
    (rig.write_calls(), start.elapsed())
}

#[tokio::test]
async fn a_thousand_sites_of_one_zone_take_hardly_more_calls_than_there_must_be() {
    let (calls, took) = switched(&[("example.com", 1000)]).await;
    assert!(calls <= 6, "{calls}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_thousand_sites_of_a_hundred_zones_are_changed_within_the_budget() {
    let names: Vec<String> = (0..100).map(|n| format!("zone{n:02}.test")).collect();
    let zones: Vec<_> = names.iter().map(|name| (name.as_str(), 10)).collect();
    let (calls, took) = switched(&zones).await;
    assert!(calls <= 120, "{calls}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}
