//! Our own probes: called one after the other, and by real probers.

use super::origin::Origin;
use futures_util::future::join_all;
use originswitch::clock::Clock;
use originswitch::config::{ProbeKind, ProbeSettings, StatusSet};
use originswitch::probe::Probes;
use originswitch::prober::{Pace, Probe, Prober, Rounds, Schedule, Witness};
use originswitch::rule::address::Address;
use originswitch::rule::finding::{Observation, Verdict};
use originswitch::rule::health::{Thresholds, Transition};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

fn settings(port: u16) -> Arc<ProbeSettings> {
    Arc::new(ProbeSettings {
        kind: ProbeKind::Http,
        port,
        path: "/".into(),
        method: "GET".into(),
        host: "www.example.com".into(),
        headers: BTreeMap::new(),
        expect_status: StatusSet(vec![(200, 399)]),
        expect_body: None,
        timeout: Duration::from_secs(2),
        interval: Duration::from_secs(1),
        verify_tls: true,
        ca_file: None,
    })
}

fn build(factory: &Probes, address: SocketAddr) -> Arc<dyn Probe> {
    let settings = settings(address.port());
    factory.build(&Address::from(address.ip()), &settings)
}

/// A probe of each of the origin's addresses.
pub fn probes(origin: &Origin) -> Vec<Arc<dyn Probe>> {
    let factory = Probes::new();
    let all = (0..100).map(|turn| build(&factory, origin.address(turn)));
    all.collect()
}

/// So many, one after the other in each of so many loops.
pub async fn closed(probes: &[Arc<dyn Probe>], count: usize, loops: usize) -> usize {
    let tasks = (0..loops).map(|one| {
        let probes = probes.to_vec();
        tokio::spawn(async move {
            for turn in 0..count / loops {
                let probe = &probes[(one + turn * loops) % probes.len()];
                let sample = probe.probe().await;
                assert_eq!(sample.finding.verdict(), Verdict::Up, "{}", sample.finding);
            }
        })
    });
    for ended in join_all(tasks).await {
        ended.unwrap();
    }
    count
}

#[derive(Default)]
struct Count {
    up: AtomicUsize,
    others: AtomicUsize,
}

impl Witness for Count {
    fn observed(&self, seen: &Observation) {
        let of = match seen.finding.verdict() {
            Verdict::Up => &self.up,
            _ => &self.others,
        };
        of.fetch_add(1, Ordering::Relaxed);
    }

    fn changed(&self, _: Transition, _: &Observation) {}
}

/// Real probers with an interval of a second, as many as give this rate.
pub async fn open(origin: &Origin, rate: usize, time: Duration) -> usize {
    let (factory, clock) = (Probes::new(), Clock::system());
    let places = Arc::new(Semaphore::new(rate));
    let count = Arc::new(Count::default());
    let tasks = TaskTracker::new();
    let rounds = Rounds::start(places, clock, tasks.clone());
    let mut probers = Vec::new();
    for turn in 0..rate {
        let prober = Prober {
            probe: build(&factory, origin.address(turn)),
            schedule: Schedule {
                interval: Duration::from_secs(1),
                confirm_interval: Duration::from_secs(1),
                timeout: Duration::from_secs(2),
                offset: Duration::from_secs(1) * u32::try_from(turn).unwrap()
                    / u32::try_from(rate).unwrap(),
                limits: Thresholds { fall: 3, rise: 2 },
            },
            site: Arc::new(Notify::new()),
            witness: count.clone(),
        };
        probers.push(prober.start(&rounds, Pace::default()));
    }
    tokio::time::sleep(time).await;
    drop(probers);
    tasks.close();
    tasks.wait().await;
    let others = count.others.load(Ordering::Relaxed);
    assert_eq!(others, 0, "every probe finds the origin up");
    count.up.load(Ordering::Relaxed)
}
