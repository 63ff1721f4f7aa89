//! Several sites in one process: they share the guard, the clock, the origins
//! and the metrics, and each has its own records.

use super::{FakeOrigins, MemoryStore, Rig, config};
use futures_util::FutureExt;
use originswitch::clock::Clock;
use originswitch::config::Guard as Settings;
use originswitch::failover::{Guard, Lookout, Request};
use originswitch::metrics::Metrics;
use originswitch::prober::Rounds;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// What the sites of one process share.
pub struct Process {
    pub guard: Arc<Guard>,
    pub lookout: Lookout,
    pub metrics: Arc<Metrics>,
}

impl Process {
    /// A process that starts.
    pub fn start(
        settings: &Settings,
        store: &MemoryStore,
        origins: &FakeOrigins,
        clock: &Clock,
        metrics: Arc<Metrics>,
    ) -> Process {
        let places = Arc::new(Semaphore::new(256));
        let lookout = Lookout {
            make: origins.maker(),
            edge: origins.edge_maker(),
            rounds: Rounds::start(places, clock.clone(), TaskTracker::new()),
        };
        let store = Arc::new(store.clone());
        let guard = Guard::start(settings, store, &lookout, metrics.clone());
        Process {
            // Nothing in the modelled store waits when it is read.
            guard: guard.now_or_never().unwrap().unwrap(),
            lookout,
            metrics,
        }
    }
}

/// Sites of one process.
pub struct Fleet {
    pub sites: Vec<Rig>,
}

impl Fleet {
    /// All sites of a configuration, started and at rest on MAIN.
    pub async fn resting(text: &str) -> Fleet {
        let config = config(text);
        let mut first = Rig::of(config.sites[0].clone(), config.alerts.ttl);
        first.guard = config.guard;
        let others: Vec<Rig> = config.sites[1..]
            .iter()
            .map(|site| {
                let (clock, origins) = (first.clock.clone(), first.origins.clone());
                let ttl = config.alerts.ttl;
                Rig::among(site.clone(), ttl, clock, origins, first.metrics.clone())
            })
            .collect();
        for other in &others {
            first.store.beside(&other.store);
        }
        let sites = std::iter::once(first).chain(others).collect();
        let mut fleet = Fleet { sites };
        fleet.boot();
        fleet.run_for(Duration::from_secs(5)).await;
        fleet
    }

    /// Starts the process; the guard is remembered by the first site's store.
    pub fn boot(&mut self) {
        let first = &self.sites[0];
        let process = Process::start(
            &first.guard,
            &first.store,
            &first.origins,
            &first.clock,
            Metrics::new(),
        );
        for site in &mut self.sites {
            site.boot_in(&process);
        }
    }

    /// The process ends wherever it is, and starts again at once.
    pub async fn restart(&mut self) {
        for site in &mut self.sites {
            site.crash().await;
        }
        self.boot();
    }

    /// Lets the sites go that the brake holds, as the API does: each looks again.
    pub async fn release(&self) -> usize {
        let (held, stored) = self.guard().release().await;
        stored.unwrap();
        for site in &self.sites {
            if held.contains(&site.site.name) {
                // Nobody waits for it.
                drop(site.handle().ask(Request::Evaluate { dry_run: false }));
            }
        }
        held.len()
    }

    /// What holds over all sites.
    pub fn guard(&self) -> &Arc<Guard> {
        self.sites[0].shared()
    }

    pub async fn run_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Since the world began.
    pub fn now(&self) -> Duration {
        self.sites[0].now()
    }

    /// Where each record is.
    pub fn records(&self) -> Vec<Option<usize>> {
        self.sites.iter().map(Rig::record).collect()
    }

    /// How many records hold this origin.
    pub fn on(&self, origin: usize) -> usize {
        let records = self.records();
        records.iter().filter(|held| **held == Some(origin)).count()
    }

    /// The reason of each site's newest decision.
    pub fn reasons(&self) -> Vec<String> {
        self.sites.iter().map(Rig::reason).collect()
    }

    /// How many sites were last decided so.
    pub fn decided(&self, reason: &str) -> usize {
        let reasons = self.reasons();
        reasons.iter().filter(|is| is.starts_with(reason)).count()
    }

    /// Every write, in the order of time.
    pub fn write_times(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self.sites.iter().flat_map(Rig::write_times).collect();
        times.sort_unstable();
        times
    }

    /// One metric over all sites.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        self.sites[0].metric(name, labels)
    }
}
