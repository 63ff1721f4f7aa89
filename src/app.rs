//! Wires everything, reloads, and winds up with a deadline.

use crate::clock::Clock;
use crate::cloudflare::{Cloudflare, TokenWatch};
use crate::config::{self, Config, Site, Zone};
use crate::crowd::{Crowds, resize};
use crate::descriptors;
use crate::failover::{
    Change, Dns, Guard, Lookout, Record, SiteHandle, SiteLoop, Tools, Ttl, Unavailable, Urgency,
    Written,
};
use crate::metrics::Metrics;
use crate::notify::{self, Notifier};
use crate::probe::Probes;
use crate::prober::Rounds;
use crate::rule::decision::Decision;
use crate::server::{self, History, Listening, Past, Reload, Shared, Sites};
use crate::store::{Query, SqliteStore};
use crate::watchdog::Watchdog;
use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// What is under way may take this long to end once the process is told to.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Sites that look at their origins for the first time, at once: what that
/// takes for each is soon given back, and need not be held for all together.
const STARTING: usize = 2_500;

/// A loop that broke starts again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a configuration comes from: read again at each reload.
pub type ReadConfig = Arc<dyn Fn() -> Result<Config, config::Faults> + Send + Sync>;

/// Reads the file at `path`, and the environment over it.
#[must_use]
pub fn from_file(path: PathBuf) -> ReadConfig {
    Arc::new(move || config::load(&path, config::environment()))
}

/// A running server.
pub struct App {
    /// Where it listens.
    pub addr: SocketAddr,
    reload: mpsc::Sender<Reload>,
    sites: watch::Receiver<Arc<Sites>>,
    draining: CancellationToken,
    stop: CancellationToken,
    core: JoinHandle<Core>,
    watchdog: JoinHandle<()>,
    notifier: JoinHandle<()>,
    listening: Listening,
    probers: TaskTracker,
    store: SqliteStore,
}

/// The DNS side in force: a reload may put another in its place.
struct Current(RwLock<InForce>);

struct InForce {
    cloudflare: Arc<Cloudflare>,
    /// The epoch at which it came into force, so that the number never comes
    /// back to one that was there before.
    since: u64,
}

impl Current {
    fn new(cloudflare: Cloudflare) -> Current {
        Current(RwLock::new(InForce {
            cloudflare: Arc::new(cloudflare),
            since: 0,
        }))
    }

    fn get(&self) -> Arc<Cloudflare> {
        let in_force = self.0.read().unwrap_or_else(PoisonError::into_inner);
        in_force.cloudflare.clone()
    }

    fn set(&self, cloudflare: Cloudflare) {
        let mut in_force = self.0.write().unwrap_or_else(PoisonError::into_inner);
        in_force.since += in_force.cloudflare.epoch() + 1;
        in_force.cloudflare = Arc::new(cloudflare);
    }
}

impl Dns for Current {
    fn read<'a>(
        &'a self,
        zone: &'a Zone,
        hostnames: &'a [String],
        urgency: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Result<Vec<Record>, Unavailable>> {
        Box::pin(async move { self.get().read(zone, hostnames, urgency, until).await })
    }

    fn write<'a>(
        &'a self,
        zone: &'a Zone,
        changes: &'a [Change],
        urgency: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Written> {
        Box::pin(async move { self.get().write(zone, changes, urgency, until).await })
    }

    fn pace(&self, zone: &Zone, interval: Duration) -> Duration {
        self.get().pace(zone, interval)
    }

    fn epoch(&self) -> u64 {
        let in_force = self.0.read().unwrap_or_else(PoisonError::into_inner);
        in_force.since + in_force.cloudflare.epoch()
    }
}

impl History for SqliteStore {
    fn decisions(&self, past: Past) -> BoxFuture<'_, Result<Vec<Decision>, String>> {
        let query = Query {
            site: past.site,
            limit: past.limit,
            before: past.before,
        };
        Box::pin(async move {
            let rows = SqliteStore::decisions(self, query).await;
            rows.map(|rows| rows.into_iter().map(|row| row.decision).collect())
                .map_err(|fault| fault.to_string())
        })
    }

    fn decision(&self, id: i64) -> BoxFuture<'_, Result<Option<Decision>, String>> {
        Box::pin(async move {
            let row = SqliteStore::decision(self, id).await;
            row.map(|row| row.map(|stored| stored.decision))
                .map_err(|fault| fault.to_string())
        })
    }

    fn healthy(&self) -> bool {
        SqliteStore::healthy(self)
    }
}

/// A site's loop, and what stops it.
struct Running {
    handle: Arc<SiteHandle>,
    task: JoinHandle<()>,
    /// What it was started with, to tell whether a reload changes it.
    print: u64,
}

impl Running {
    async fn end(self) {
        self.handle.stop();
        // A loop that panicked has said so; there is nothing left to end.
        let _ = self.task.await;
    }
}

/// What a reload works on.
struct Core {
    config: Config,
    read: ReadConfig,
    tools: Arc<Tools>,
    dns: Arc<Current>,
    running: HashMap<Arc<str>, Running>,
    token: Option<TokenWatch>,
    places: Arc<Semaphore>,
    starting: Arc<Semaphore>,
    crowds: Crowds,
    sites: watch::Sender<Arc<Sites>>,
    watchdog: Arc<Watchdog>,
    notifier: Arc<Notifier>,
    settings: watch::Sender<config::Server>,
    /// Numbers probers, so that they are spread.
    next: u64,
}

impl App {
    /// Opens the state, listens, and starts every site's loop.
    ///
    /// # Errors
    /// If the state file cannot be used or the address cannot be listened on.
    pub async fn start(
        config: Config,
        read: ReadConfig,
        listen: Option<SocketAddr>,
        clock: Clock,
    ) -> anyhow::Result<App> {
        let store = SqliteStore::open(&config.state.path, config.state.keep)?;
        // Before anything is watched: probes may take every socket there is,
        // and who cannot be called must not switch either.
        let listener = listen_on(listen.unwrap_or(config.server.listen)).await?;
        let metrics = Metrics::new();
        metrics.reloaded(true, clock.now());
        let (settings, settings_seen) = watch::channel(config.server.clone());
        let (reload, reloads) = mpsc::channel(1);
        let draining = CancellationToken::new();
        let probers = TaskTracker::new();
        let mut core = Core::new(
            config,
            read,
            settings,
            Arc::new(store.clone()),
            &metrics,
            &clock,
            &probers,
        )
        .await?;
        let shared = Shared::new(
            metrics,
            clock,
            core.sites.subscribe(),
            core.tools.guard.clone(),
            Arc::new(store.clone()),
            settings_seen,
            reload.clone(),
            draining.clone(),
        );
        core.start_sites(false).await;
        core.watch_token().await;
        let listening = server::serve(listener, server::router(Arc::new(shared)))?;
        core.announce(listening.addr);
        let stop = CancellationToken::new();
        Ok(App {
            addr: listening.addr,
            reload,
            sites: core.sites.subscribe(),
            draining,
            watchdog: tokio::spawn(core.watchdog.clone().run(stop.clone())),
            notifier: tokio::spawn(core.notifier.clone().run(stop.clone())),
            core: tokio::spawn(core.run(reloads, stop.clone())),
            stop,
            listening,
            probers,
            store,
        })
    }

    /// Gives the sites in force, whenever it is asked.
    pub fn sites(&self) -> impl Fn() -> Vec<Arc<SiteHandle>> + Send + use<> {
        let sites = self.sites.clone();
        move || sites.borrow().sites.clone()
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// Every fault; the configuration before stays in force.
    pub async fn reload(&self) -> Result<(), Vec<String>> {
        let (answer, answered) = oneshot::channel();
        let gone = || vec!["originswitch is shutting down".to_owned()];
        self.reload.send(answer).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Winds up: takes nothing new, lets switches under way end, stores what
    /// was observed. Gives up on the rest after [`DRAIN`].
    pub async fn stop(self) {
        self.draining.cancel();
        self.stop.cancel();
        let wind_up = async {
            if let Ok(core) = self.core.await {
                if let Some(token) = core.token {
                    token.end().await;
                }
                let ends = core.running.into_values().map(Running::end);
                futures_util::future::join_all(ends).await;
            }
            // One that panicked has said so; there is nothing left to end.
            let _ = self.watchdog.await;
            let _ = self.notifier.await;
            self.listening.stop().await;
            self.probers.close();
            self.probers.wait().await;
            self.store.close().await;
        };
        if tokio::time::timeout(DRAIN, wind_up).await.is_err() {
            warn!("not everything ended within {DRAIN:?}; the rest is given up");
        }
    }
}

impl Core {
    async fn new(
        config: Config,
        read: ReadConfig,
        settings: watch::Sender<config::Server>,
        store: Arc<SqliteStore>,
        metrics: &Arc<Metrics>,
        clock: &Clock,
        probers: &TaskTracker,
    ) -> anyhow::Result<Core> {
        let cloudflare =
            Cloudflare::new(&config.cloudflare, metrics.clone()).map_err(anyhow::Error::msg)?;
        let dns = Arc::new(Current::new(cloudflare));
        let places = Arc::new(Semaphore::new(config.max_in_flight));
        let crowds = Crowds::new(config.max_per_address);
        let lookout = lookout(places.clone(), crowds.clone(), clock, probers);
        let guard = Guard::start(&config.guard, store.clone(), &lookout, metrics.clone())
            .await
            .context("what holds over all sites cannot be read")?;
        let tools = Tools {
            dns: dns.clone(),
            store,
            clock: clock.clone(),
            lookout,
            metrics: metrics.clone(),
            guard,
            alert_ttl: Ttl::new(config.alerts.ttl),
            between_runs: false,
        };
        let watchdog = Watchdog::new(&config.alerts, clock, metrics);
        let notifier = Notifier::new(&config.notify, clock, metrics, notify::over_http());
        let none = Sites::new(Vec::new(), &config.alerts.site_label, watchdog.clone());
        Ok(Core {
            config,
            read,
            tools: Arc::new(tools),
            dns,
            running: HashMap::new(),
            token: None,
            places,
            starting: Arc::new(Semaphore::new(STARTING)),
            crowds,
            sites: watch::Sender::new(Arc::new(none)),
            watchdog,
            notifier,
            settings,
            next: 0,
        })
    }

    /// Says at start what a person should know.
    fn announce(&self, addr: SocketAddr) {
        for warning in &self.config.warnings {
            warn!("{warning}");
        }
        descriptors::say(self.config.max_in_flight, server::CONNECTIONS);
        let dry = self
            .config
            .sites
            .iter()
            .filter(|s| s.policy.dry_run)
            .count();
        if dry > 0 {
            warn!("dry_run: {} watched, decided and never switched", many(dry));
        }
        info!(
            listen = %addr,
            sites = self.running.len(),
            "originswitch {} listens on {} and watches {}",
            env!("CARGO_PKG_VERSION"), addr, many(self.running.len())
        );
    }

    async fn run(mut self, mut reloads: mpsc::Receiver<Reload>, stop: CancellationToken) -> Core {
        loop {
            let answer = tokio::select! {
                () = stop.cancelled() => return self,
                Some(answer) = reloads.recv() => answer,
            };
            let outcome = self.reload().await;
            let now = self.tools.clock.now();
            self.tools.metrics.reloaded(outcome.is_ok(), now);
            // Whoever asked may have gone.
            let _ = answer.send(outcome);
        }
    }

    async fn reload(&mut self) -> Result<(), Vec<String>> {
        let fresh = self.fresh().inspect_err(|faults| {
            for fault in faults {
                warn!("the configuration is not taken over: {fault}");
            }
        })?;
        let before = std::mem::replace(&mut self.config, fresh);
        let replaced = before.cloudflare != self.config.cloudflare;
        if replaced {
            let metrics = self.tools.metrics.clone();
            let in_force = self.dns.get();
            match Cloudflare::after(&in_force, &self.config.cloudflare, metrics) {
                Ok(cloudflare) => self.dns.set(cloudflare),
                Err(fault) => {
                    self.config = before;
                    return Err(vec![fault]);
                }
            }
        }
        if before.state.keep != self.config.state.keep {
            warn!("state.keep has changed: that takes effect with the next start");
        }
        self.tools.alert_ttl.set(self.config.alerts.ttl);
        self.tools
            .guard
            .set(&self.config.guard, &self.tools.lookout);
        self.watchdog.configure(&self.config.alerts);
        self.notifier.configure(&self.config.notify);
        resize(
            &self.places,
            before.max_in_flight,
            self.config.max_in_flight,
        );
        self.crowds.set(self.config.max_per_address);
        if before.max_in_flight < self.config.max_in_flight {
            descriptors::say(self.config.max_in_flight, server::CONNECTIONS);
        }
        self.settings.send_replace(self.config.server.clone());
        let kept = self.start_sites(true).await;
        if replaced {
            self.watch_token().await;
        }
        info!(
            sites = self.running.len(),
            kept,
            "the configuration is read again: {}, {kept} unchanged",
            many(self.running.len())
        );
        Ok(())
    }

    /// The configuration as it is now, if it can be taken over.
    fn fresh(&self) -> Result<Config, Vec<String>> {
        let fresh = (self.read)()
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut faults = Vec::new();
        if fresh.server.listen != self.config.server.listen {
            faults.push(format!(
                "server.listen changed from {} to {}: that needs a restart",
                self.config.server.listen, fresh.server.listen
            ));
        }
        if fresh.state.path != self.config.state.path {
            faults.push(format!(
                "state.path changed from {} to {}: that needs a restart",
                self.config.state.path.display(),
                fresh.state.path.display()
            ));
        }
        if faults.is_empty() {
            Ok(fresh)
        } else {
            Err(faults)
        }
    }

    /// Starts the loops of sites that are new or changed, ends those of sites
    /// that are gone or changed. Returns how many were left alone.
    async fn start_sites(&mut self, reloaded: bool) -> usize {
        let wanted: Vec<(Arc<Site>, u64)> = self
            .config
            .sites
            .iter()
            .map(|site| (site.clone(), print(site)))
            .collect();
        let keep: HashMap<&Arc<str>, u64> = wanted
            .iter()
            .map(|(site, print)| (&site.name, *print))
            .collect();
        let stale: Vec<Arc<str>> = self
            .running
            .iter()
            .filter(|(name, running)| keep.get(name).is_none_or(|&print| print != running.print))
            .map(|(name, _)| name.clone())
            .collect();
        let ended = self.end_sites(&stale).await;
        let kept = self.running.len();
        self.dns.get().set_sites(&self.config.sites);
        for (site, print) in wanted {
            if !self.running.contains_key(&site.name) {
                let before = ended.get(&site.name);
                self.start_site(site, print, before, reloaded);
            }
        }
        let handles: Vec<_> = self.running.values().map(|r| r.handle.clone()).collect();
        self.notifier.watch(handles.clone());
        let label = &self.config.alerts.site_label;
        let sites = Sites::new(handles, label, self.watchdog.clone());
        self.sites.send_replace(Arc::new(sites));
        kept
    }

    /// Watches the token of the DNS side in force, and of no other. Sites hear
    /// at once of another token.
    async fn watch_token(&mut self) {
        if let Some(before) = self.token.take() {
            before.end().await;
            wake_all(&self.sites.borrow());
        }
        let sites = self.sites.subscribe();
        let watch = self.dns.get().watch_token(
            &self.tools.clock,
            &self.tools.metrics,
            Arc::new(move || wake_all(&sites.borrow())),
        );
        self.token = Some(watch);
    }

    /// Ends the loops of these sites, all at once: one may be in the middle of a
    /// call to Cloudflare. Gives their handles.
    async fn end_sites(&mut self, names: &[Arc<str>]) -> HashMap<Arc<str>, Arc<SiteHandle>> {
        let stale: Vec<Running> = names
            .iter()
            .filter_map(|name| self.running.remove(name))
            .collect();
        for running in &stale {
            running.handle.stop();
        }
        let handles: Vec<_> = stale.iter().map(|running| running.handle.clone()).collect();
        futures_util::future::join_all(stale.into_iter().map(Running::end)).await;
        let mut ended = HashMap::new();
        for handle in handles {
            let name = handle.site.name.clone();
            self.tools.metrics.forget(&name);
            ended.insert(name, handle);
        }
        ended
    }

    fn start_site(
        &mut self,
        site: Arc<Site>,
        print: u64,
        before: Option<&Arc<SiteHandle>>,
        reloaded: bool,
    ) {
        let handle = SiteHandle::new(site.clone());
        if reloaded {
            handle.mark_reloaded();
        }
        if let Some(before) = before {
            handle.inherit(before);
        }
        let tools = self.tools.clone();
        let spread = self.next;
        self.next += 2 * site.origins.len() as u64;
        let starting = self.starting.clone();
        let task = tokio::spawn(watch(handle.clone(), tools, spread, starting));
        let running = Running {
            handle,
            task,
            print,
        };
        self.running.insert(site.name.clone(), running);
    }
}

fn wake_all(sites: &Sites) {
    for handle in &sites.sites {
        handle.wake();
    }
}

/// All that makes a site what it is, as one number. `Debug` hides header
/// values, which may be secrets; the fingerprints of the probes stand for them.
fn print(site: &Site) -> u64 {
    let mut print = DefaultHasher::new();
    format!("{site:?}").hash(&mut print);
    for origin in &site.origins {
        origin.probe.fingerprint(&origin.place).hash(&mut print);
        site.probe.fingerprint(&origin.place).hash(&mut print);
    }
    print.finish()
}

/// Runs a site's loop until it is told to end. A loop that panicked says so
/// and starts again: one site's fault must not leave it unwatched.
async fn watch(handle: Arc<SiteHandle>, tools: Arc<Tools>, spread: u64, starting: Arc<Semaphore>) {
    loop {
        let place = tokio::select! {
            () = handle.stopped() => break,
            // It is never closed; without a place it starts all the same.
            place = starting.clone().acquire_owned() => place.ok(),
        };
        let run = SiteLoop::new(handle.clone(), tools.clone(), spread)
            .starting_in(place)
            .run();
        // What the loop held goes with it; what it shares is behind locks that
        // a panic leaves usable.
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(()) => break,
            Err(_) => {
                let site = &handle.site.name;
                // The panic itself was said where it happened.
                error!(%site, "{site}: the loop broke and starts again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    handle.mark_ended();
}

async fn listen_on(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| {
        format!(
            "cannot listen on {addr} (is another one running? --listen or server.listen name another)"
        )
    })
}

/// A number of sites, in words.
pub(crate) fn many(sites: usize) -> String {
    format!("{sites} {}", if sites == 1 { "site" } else { "sites" })
}

/// What starts probers: real probes.
#[must_use]
pub fn lookout(
    places: Arc<Semaphore>,
    crowds: Crowds,
    clock: &Clock,
    tasks: &TaskTracker,
) -> Lookout {
    let probes = Probes::among(crowds);
    let edges = probes.clone();
    Lookout {
        make: Arc::new(move |address, settings| probes.build(address, settings)),
        edge: Arc::new(move |site| edges.edge(site)),
        rounds: Rounds::start(places, clock.clone(), tasks.clone()),
    }
}
