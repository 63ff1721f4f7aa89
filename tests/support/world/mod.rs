//! A modelled world for the real loops: origins, Cloudflare and a state file
//! without a network or a disk, on tokio's paused clock. Nothing but time
//! passes in it, so what happens when is exact.
//!
//! | file | holds |
//! | --- | --- |
//! | `origins` | addresses that are up, dead in several ways, or flapping |
//! | `dns` | records, and those who read and write them |
//! | `fates` | what becomes of reads and writes |
//! | `store` | the state file; outlives a crash of the loop |
//! | `fuse` | a crash at any point where the loop waits |
//! | `chance` | chance that can be repeated |
//! | `journal` | what happened, for an oracle to judge by |
//! | here | the rig: a site's real loop among them |
//! | `seen` | what a test looks at in it |
//! | `fleet` | several sites in one process |
//! | `people` | what people order |

mod chance;
mod dns;
mod fates;
mod fleet;
mod fuse;
mod journal;
mod origins;
mod people;
mod seen;
mod store;

pub use chance::Chance;
pub use dns::{FakeDns, contents};
pub use fates::{ReadCall, ReadFate, Weather, WriteCall, WriteFate};
pub use fleet::{Fleet, Process};
pub use fuse::{Fuse, Fused};
pub use journal::{Entry, Journal};
pub use origins::{Cut, FakeOrigins, Mood, Probed};
pub use store::{Disk, MemoryStore, Row};

use jiff::Timestamp;
use originswitch::clock::Clock;
use originswitch::config::{self, Site};
use originswitch::failover::{Guard, Request, SiteHandle, SiteLoop, Status, Tools, Ttl};
use originswitch::metrics::Metrics;
use originswitch::rule::Moment;
use originswitch::rule::address::{Address, RecordType};
use originswitch::rule::alerts::AlertStatus;
use originswitch::rule::decision::Decision;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A site with one BACKUP, all settings at their defaults.
pub const SITE: &str = r#"
[[site]]
name = "www"
hostname = "www.example.com"
zone = "example.com"
main = "192.0.2.10"
backup = "198.51.100.20"
"#;

/// A site with two BACKUPs.
pub const THREE: &str = r#"
[[site]]
name = "www"
hostname = "www.example.com"
zone = "example.com"
main = "192.0.2.10"
backup = ["198.51.100.20", "203.0.113.30"]
"#;

/// Two hostnames, dual stack.
pub const DUAL: &str = r#"
[[site]]
name = "www"
hostname = ["www.example.com", "example.com"]
zone = "example.com"
main = { ipv4 = "192.0.2.10", ipv6 = "2001:db8::10" }
backup = { ipv4 = "198.51.100.20", ipv6 = "2001:db8::20" }
"#;

/// The index of MAIN, and of the first BACKUPs.
pub const MAIN: usize = 0;
pub const BACKUP: usize = 1;
pub const BACKUP_2: usize = 2;

/// So many seconds.
pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many milliseconds.
pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The configuration of a text without `[cloudflare]`.
pub fn config(text: &str) -> config::Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.toml");
    std::fs::write(
        &path,
        format!("[cloudflare]\napi_token = \"s3cret\"\n{text}"),
    )
    .unwrap();
    config::load(&path, []).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// The loop of one site, running in a modelled world.
pub struct Rig {
    pub clock: Clock,
    pub origins: FakeOrigins,
    pub dns: FakeDns,
    pub store: MemoryStore,
    pub site: Arc<Site>,
    pub metrics: Arc<Metrics>,
    /// `[guard]` of the configuration.
    pub guard: config::Guard,
    began: Moment,
    ttl: Ttl,
    running: Option<Running>,
    alert: Option<(AlertStatus, Timestamp)>,
    journal: Option<(Journal, usize)>,
    /// Ends the loop that runs, once it is lit.
    pub fuse: Fuse,
    /// Told when it did.
    pub blown: Arc<Notify>,
}

struct Running {
    handle: Arc<SiteHandle>,
    guard: Arc<Guard>,
    task: JoinHandle<()>,
}

impl Rig {
    /// The first site of a configuration, its loop started; the record holds
    /// MAIN and everything is well.
    pub fn start(text: &str) -> Rig {
        let mut rig = Rig::still(text);
        rig.boot();
        rig
    }

    /// The same, with the loop not started yet.
    pub fn still(text: &str) -> Rig {
        let config = config(text);
        let rig = Rig::of(config.sites[0].clone(), config.alerts.ttl);
        Rig {
            guard: config.guard,
            ..rig
        }
    }

    /// The same, from a site that was read before.
    pub fn of(site: Arc<Site>, ttl: Duration) -> Rig {
        let clock = Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap());
        let origins = FakeOrigins::new(&clock);
        Rig::among(site, ttl, clock, origins, Metrics::new())
    }

    /// The same, in a world that has other sites.
    pub fn among(
        site: Arc<Site>,
        ttl: Duration,
        clock: Clock,
        origins: FakeOrigins,
        metrics: Arc<Metrics>,
    ) -> Rig {
        Rig {
            origins,
            dns: FakeDns::new(&site, &clock),
            store: MemoryStore::default(),
            metrics,
            guard: config::Guard {
                control_targets: Vec::new(),
                control_needed: 1,
                max_sites_together: 0,
                together_window: secs(300),
                wave: Vec::new(),
                wave_pause: secs(10),
            },
            began: clock.moment(),
            ttl: Ttl::new(ttl),
            clock,
            site,
            running: None,
            alert: None,
            journal: None,
            fuse: Fuse::unlit(),
            blown: Arc::default(),
        }
    }

    /// From now on all is written down, as what happens to site number `site`.
    pub fn told(&mut self, chance: &mut Chance, journal: &Journal, site: usize) {
        self.dns.told(journal, site);
        self.store.told(Chance::new(chance.next()), journal, site);
        self.journal = Some((journal.clone(), site));
    }

    fn note(&self, entry: impl FnOnce(usize) -> Entry) {
        if let Some((journal, site)) = &self.journal {
            journal.note(entry(*site));
        }
    }

    /// The default site, at rest on MAIN: its first confirmation is over.
    pub async fn resting() -> Rig {
        Rig::resting_with("").await
    }

    /// The same, with lines of `[rule]`.
    pub async fn resting_with(rule: &str) -> Rig {
        Rig::resting_on(&format!("[rule]\n{rule}\n{SITE}")).await
    }

    /// The same, with any configuration.
    pub async fn resting_on(text: &str) -> Rig {
        let rig = Rig::start(text);
        rig.run_for(secs(5)).await;
        rig
    }

    /// Starts the loop, as a process that starts does.
    pub fn boot(&mut self) {
        self.metrics = Metrics::new();
        self.boot_again();
    }

    /// The same, with the metrics counting on.
    pub fn boot_again(&mut self) {
        let process = Process::start(
            &self.guard,
            &self.store,
            &self.origins,
            &self.clock,
            self.metrics.clone(),
        );
        self.boot_in(&process);
    }

    /// Starts the loop in a process that may have others.
    pub fn boot_in(&mut self, process: &Process) {
        assert!(self.running.is_none(), "it runs already");
        self.note(|site| Entry::Booted { site });
        self.metrics = process.metrics.clone();
        let handle = SiteHandle::new(self.site.clone());
        let tools = Tools {
            dns: Arc::new(self.dns.clone()),
            guard: process.guard.clone(),
            store: Arc::new(self.store.clone()),
            clock: self.clock.clone(),
            lookout: process.lookout.clone(),
            metrics: self.metrics.clone(),
            alert_ttl: self.ttl.clone(),
            between_runs: false,
        };
        let run = SiteLoop::new(handle.clone(), Arc::new(tools), 0).run();
        self.fuse = Fuse::unlit();
        let (store, blown, journal) =
            (self.store.clone(), self.blown.clone(), self.journal.clone());
        let task = tokio::spawn(Fused::new(run, self.fuse.clone(), move || {
            store.process_died();
            if let Some((journal, site)) = journal {
                journal.note(Entry::Ended { site });
            }
            blown.notify_one();
        }));
        self.running = Some(Running {
            handle,
            guard: process.guard.clone(),
            task,
        });
    }

    /// Whether there is a loop, if only one that was ended by its fuse.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Whether its loop has ended by itself.
    pub fn burnt(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.task.is_finished())
    }

    /// Ends the loop wherever it is, as a crash does.
    pub async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            if !running.task.is_finished() {
                self.note(|site| Entry::Ended { site });
            }
            running.task.abort();
            let ended = running.task.await;
            assert!(
                ended.as_ref().is_ok() || ended.as_ref().is_err_and(|e| e.is_cancelled()),
                "the loop panicked: {ended:?}"
            );
            self.store.process_died();
        }
    }

    /// Crashes and starts again at once.
    pub async fn restart(&mut self) {
        self.crash().await;
        self.boot();
    }

    /// Ends the loop as SIGTERM does.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.handle.stop();
            running.task.await.unwrap();
            self.note(|site| Entry::Ended { site });
            self.store.process_died();
        }
    }

    pub fn handle(&self) -> &Arc<SiteHandle> {
        &self.running.as_ref().unwrap().handle
    }

    pub fn status(&self) -> Arc<Status> {
        self.handle().status()
    }

    /// Since the world began.
    pub fn now(&self) -> Duration {
        self.at(self.clock.moment())
    }

    /// A moment, since the world began.
    pub fn at(&self, moment: Moment) -> Duration {
        moment.since(self.began)
    }

    /// Lets time pass.
    pub async fn run_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets time pass until this many seconds since the world began.
    pub async fn run_to(&self, second: u64) {
        let until = self.began + secs(second);
        tokio::time::sleep_until(self.clock.instant(until)).await;
    }

    /// Lets time pass until something is so; returns how long that took.
    pub async fn until(&self, limit: Duration, so: impl Fn(&Rig) -> bool) -> Duration {
        let begin = self.now();
        while !so(self) {
            let passed = self.now() - begin;
            assert!(
                passed < limit,
                "not so after {limit:?}: {:#?}",
                self.story()
            );
            self.run_for(ms(1)).await;
        }
        self.now() - begin
    }

    /// The same alert again and again: firing, repeated, resolved, a new one.
    pub fn alert(&mut self, status: AlertStatus) {
        let starts_at = match (self.alert, status) {
            (Some((AlertStatus::Firing, at)), _) | (Some((_, at)), AlertStatus::Resolved) => at,
            _ => self.clock.now(),
        };
        self.alert = Some((status, starts_at));
        self.alert_as(1, status, starts_at);
    }

    /// Any alert.
    pub fn alert_as(&self, identity: u64, status: AlertStatus, starts_at: Timestamp) {
        let received = (self.clock.moment(), self.clock.now());
        if let Some(running) = &self.running {
            let starts_at = Some(starts_at);
            running
                .handle
                .alert(identity, Some(status), starts_at, received);
        }
    }

    /// Asks as a person does; answers with the decision.
    pub async fn ask(&self, request: Request) -> Arc<Decision> {
        self.handle().ask(request).await.unwrap().unwrap()
    }

    /// Asks for what cannot be had; answers with the sentence that says why.
    pub async fn refused(&self, request: Request) -> String {
        self.handle().ask(request).await.unwrap().unwrap_err()
    }

    /// How an origin behaves from now on, at all its addresses.
    pub fn mood(&self, origin: usize, mood: Mood) {
        for address in self.site.origins[origin].place.addresses() {
            self.origins.set(address, mood.clone());
        }
    }

    /// The same for its address of one family.
    pub fn leg(&self, origin: usize, kind: RecordType, mood: Mood) {
        let address = self.site.origins[origin].place.of_kind(kind).unwrap();
        self.origins.set(address, mood);
    }

    /// The origin refuses connections from now on.
    pub fn kill(&self, origin: usize) {
        self.mood(origin, Mood::Refusing);
    }

    /// The origin answers from now on.
    pub fn revive(&self, origin: usize) {
        self.mood(origin, Mood::Up);
    }

    /// The first address of an origin.
    pub fn address(&self, origin: usize) -> Address {
        self.site.origins[origin].place.addresses()[0].clone()
    }

    /// What the records hold in truth: the index of an origin, if all of them
    /// hold the same one.
    pub fn record(&self) -> Option<usize> {
        let held = self.content();
        let place = |origin: &config::Origin| origin.place.to_string() == held;
        self.site.origins.iter().position(place)
    }

    /// What the records hold in truth, as text.
    pub fn content(&self) -> String {
        let records = self.dns.records();
        contents(records.iter().map(|record| record.content.as_str()))
    }
}
