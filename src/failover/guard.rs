//! What holds over all sites: a freeze of all of them, the brake for those that
//! leave MAIN together, waves for those that flee to one origin, and turns for
//! those that return. One for the process.

use super::chance::Chance;
use super::controls::Controls;
use super::homecoming::Homecoming;
use super::orders::Standing;
use super::waves::Waves;
use super::{Lookout, Store, StoreFault};
use crate::clock::Clock;
use crate::config;
use crate::metrics::Metrics;
use crate::rule::Moment;
use crate::rule::brakes::Together;
use crate::rule::standing::Freeze;
use crate::rule::turns::Wave;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{info, warn};

/// Names in one log line.
const NAMED: usize = 20;

/// How far back sites that left MAIN are looked for at start: no window is
/// longer (the configuration of a later reload may ask for a longer one).
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// As many sites as may have left MAIN.
pub(super) struct Full;

/// What holds over all sites.
pub struct Guard {
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// When a freeze of all sites ended, if that was while nobody ran.
    lapsed: Option<Timestamp>,
    state: Mutex<State>,
}

struct State {
    freeze: Option<Standing<Freeze>>,
    /// Sites that may leave MAIN within `window`; 0 is no limit.
    allowed: usize,
    window: Duration,
    /// When each site last left MAIN.
    left: HashMap<Arc<str>, Moment>,
    /// When a person last let all go: for a window from then, all may.
    released: Option<Moment>,
    /// Those the brake holds now.
    held: BTreeSet<Arc<str>>,
    homecoming: Homecoming,
    waves: Waves,
    controls: Arc<Controls>,
}

impl Guard {
    /// A guard that remembers what the state file does, and starts asking its
    /// control targets when something is being confirmed.
    ///
    /// # Errors
    /// If the state file cannot be read: all sites may be frozen.
    pub async fn start(
        settings: &config::Guard,
        store: Arc<dyn Store>,
        lookout: &Lookout,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Guard>, StoreFault> {
        let clock = lookout.rounds.clock().clone();
        let since = clock.now().saturating_sub(REMEMBERED);
        let past = store.load_guard(since.unwrap_or(Timestamp::MIN)).await?;
        let freeze = past
            .freeze
            .map(|freeze| Standing::new(freeze.until, freeze, &clock));
        let stands = |freeze: &Standing<Freeze>| freeze.stands(clock.moment());
        let lapsed = freeze.as_ref().filter(|freeze| !stands(freeze));
        let lapsed = lapsed.and_then(|freeze| freeze.terms.until);
        if lapsed.is_some() {
            // A failure is the store's to tell.
            let _ = store.save_freeze("", None).await;
        }
        let left = past.left_main.into_iter();
        let left = left.map(|(site, at)| (site, clock.moment_of(at))).collect();
        Ok(Arc::new(Guard {
            state: Mutex::new(State {
                freeze: freeze.filter(stands),
                allowed: settings.max_sites_together,
                window: settings.together_window,
                left,
                released: past.released.map(|at| clock.moment_of(at)),
                held: BTreeSet::new(),
                homecoming: Homecoming::new(seed(&clock)),
                waves: Waves::new(settings),
                controls: Controls::start(settings, lookout, &metrics),
            }),
            store,
            clock,
            metrics,
            lapsed,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over settings that were read again; control targets that changed
    /// are asked from now on.
    pub fn set(&self, settings: &config::Guard, lookout: &Lookout) {
        let mut state = self.state();
        state.allowed = settings.max_sites_together;
        state.window = settings.together_window;
        state.waves.set(settings);
        if !state.controls.are(settings) {
            state.controls = Controls::start(settings, lookout, &self.metrics);
        }
    }

    /// The control targets.
    pub(super) fn controls(&self) -> Arc<Controls> {
        self.state().controls.clone()
    }

    /// When a freeze of all sites ended, if that was while nobody ran: what was
    /// seen of a site until then is not waited out.
    pub(super) fn lapsed(&self) -> Option<Timestamp> {
        self.lapsed
    }

    /// The freeze of all sites, while it stands.
    #[must_use]
    pub fn freeze(&self) -> Option<Freeze> {
        self.standing().map(|standing| standing.terms)
    }

    pub(super) fn standing(&self) -> Option<Standing<Freeze>> {
        let now = self.clock.moment();
        let state = self.state();
        let freeze = state.freeze.as_ref().filter(|freeze| freeze.stands(now));
        freeze.cloned()
    }

    /// Freezes all sites, or ends that; what cannot be stored holds all the
    /// same, until the process ends.
    ///
    /// # Errors
    /// If it would not survive a restart.
    pub async fn set_freeze(&self, freeze: Option<Freeze>) -> Result<(), StoreFault> {
        let standing = freeze.as_ref();
        let standing = standing.map(|f| Standing::new(f.until, f.clone(), &self.clock));
        self.state().freeze = standing;
        match &freeze {
            Some(_) => warn!("all sites are frozen, by hand"),
            None => info!("the freeze of all sites is lifted, by hand"),
        }
        self.store.save_freeze("", freeze.as_ref()).await
    }

    /// The window in which sites that leave MAIN are counted.
    pub(super) fn window(&self) -> Duration {
        self.state().window
    }

    /// The brake, if it is engaged for a site that would leave MAIN now.
    pub(super) fn together(&self, site: &str) -> Option<Together> {
        let state = self.state();
        let now = self.clock.moment();
        let left = state.others(site, now);
        let excess = (left.len() + 1).checked_sub(state.allowed)?;
        if excess == 0 || !state.engages(now) {
            return None;
        }
        // One may go when enough of those before it have left the window.
        let until = left.get(excess - 1).map(|&at| at + state.window);
        Some(Together {
            left: left.len(),
            allowed: state.allowed,
            window: state.window,
            until: until.map(|at| self.clock.timestamp(at)),
        })
    }

    /// Counts a site that is about to leave MAIN, and tells when it last did;
    /// an error if it may not, since another was quicker. One that a person
    /// released may always.
    pub(super) fn leave(&self, site: &Arc<str>, released: bool) -> Result<Option<Moment>, Full> {
        let now = self.clock.moment();
        let mut state = self.state();
        let full = state.others(site, now).len() >= state.allowed;
        if full && !released && state.engages(now) {
            return Err(Full);
        }
        let keep = state.window.max(Duration::from_secs(86_400));
        state.left.retain(|_, at| now.since(*at) < keep);
        Ok(state.left.insert(site.clone(), now))
    }

    /// Takes back a leave that did not come about; the one before it counts on.
    pub(super) fn stayed(&self, site: &Arc<str>, before: Option<Moment>) {
        let mut state = self.state();
        match before {
            Some(at) => state.left.insert(site.clone(), at),
            None => state.left.remove(site),
        };
    }

    /// For each of these origins, the wave that keeps the site from it, going by
    /// probes made from `seen` on; empty where nobody has to wait.
    pub(super) fn waves<'a>(
        &self,
        site: &str,
        targets: impl Iterator<Item = &'a Arc<str>>,
        seen: Moment,
    ) -> Vec<Option<Wave>> {
        let now = self.clock.moment();
        let state = self.state();
        if state.waves.are_idle() || state.is_lifted(now) {
            return Vec::new();
        }
        let wave = |target: &Arc<str>| {
            let closed = state.waves.closed(site, target, seen, now)?;
            Some(Wave {
                moved: closed.moved,
                target: target.clone(),
                until: closed.opens.map(|at| self.clock.timestamp(at)),
            })
        };
        targets.map(wave).collect()
    }

    /// Takes a seat for a site that is about to flee to `target`; an error if it
    /// has to wait after all, since others were quicker. One that a person
    /// released never has to.
    pub(super) fn board(
        &self,
        site: &Arc<str>,
        target: &Arc<str>,
        seen: Moment,
        released: bool,
    ) -> Result<(), Full> {
        let now = self.clock.moment();
        let mut state = self.state();
        let free = released || state.is_lifted(now);
        if !free && state.waves.closed(site, target, seen, now).is_some() {
            return Err(Full);
        }
        state.waves.board(site, target, now);
        Ok(())
    }

    /// A site's flight to `target` had its result, or did not come about.
    pub(super) fn landed(&self, site: &str, target: &str, moved: bool) {
        let now = self.clock.moment();
        let waves = &mut self.state().waves;
        if moved {
            waves.landed(site, target, now);
        } else {
            waves.stayed(site, target);
        }
    }

    /// Notes whether a wave keeps the site now.
    pub(super) fn wait(&self, site: &Arc<str>, waits: bool) {
        self.state().waves.wait(site, waits);
    }

    /// The waves in which sites move to one origin, if the user wants any.
    #[must_use]
    pub fn wave_sizes(&self) -> Vec<usize> {
        self.state().waves.sizes().to_vec()
    }

    /// Notes that the site is not where it wants to be; `None` where it is, or
    /// where that cannot be told.
    pub(super) fn away(&self, site: &Arc<str>, target: Option<&Arc<str>>) {
        let now = self.clock.moment();
        let homecoming = &mut self.state().homecoming;
        match target {
            Some(target) => homecoming.away(site, target, now),
            None => homecoming.home(site, now),
        }
    }

    /// The turn that the site has among those that return, if it is yet to come.
    pub(super) fn turn(&self, site: &Arc<str>) -> Option<Moment> {
        let turn = self.state().homecoming.turn(site);
        turn.filter(|turn| *turn > self.clock.moment())
    }

    /// When the site may return, which nothing else keeps from it: now, or at
    /// the turn that it has from now on.
    pub(super) fn ask_turn(&self, site: &Arc<str>, spread: Duration) -> Moment {
        let now = self.clock.moment();
        self.state().homecoming.ask(site, spread, now)
    }

    /// The site's turn counts no more.
    pub(super) fn forgo_turn(&self, site: &Arc<str>) {
        self.state().homecoming.forgo(site);
    }

    /// Notes whether the brake holds a site, and says aloud which ones it does
    /// whenever their number has doubled.
    pub(super) fn hold(&self, site: &Arc<str>, held: bool) {
        let mut state = self.state();
        let changed = if held {
            state.held.insert(site.clone())
        } else {
            state.held.remove(site)
        };
        if !changed {
            return;
        }
        let count = state.held.len();
        self.metrics.brake_held(count);
        if held && count.is_power_of_two() {
            let names: Vec<&str> = state.held.iter().map(|name| &**name).take(NAMED).collect();
            let more = if count > NAMED { ", …" } else { "" };
            warn!(
                sites = count,
                "the brake holds {count} on MAIN: {}{more}; `originswitch release` lets them go",
                names.join(", ")
            );
        }
    }

    /// Lets the sites go that the brake holds or a wave, and those that would follow them
    /// within the window; returns the names of the first.
    ///
    /// # Errors
    /// If the release would not survive a restart; it holds all the same.
    pub async fn release(&self) -> (Vec<Arc<str>>, Result<(), StoreFault>) {
        let held: Vec<Arc<str>> = {
            let mut state = self.state();
            state.released = Some(self.clock.moment());
            let held: BTreeSet<_> = state.held.iter().chain(state.waves.waiting()).collect();
            held.into_iter().cloned().collect()
        };
        info!(
            sites = held.len(),
            "the brake across sites is released, by hand"
        );
        let stored = self.store.save_release("", self.clock.now()).await;
        (held, stored)
    }
}

/// The begin of all chance: the time to the nanosecond, so that it is another
/// one in each process, and the same again where the time is made.
fn seed(clock: &Clock) -> Chance {
    let nanoseconds = clock.now().as_nanosecond();
    Chance::new(u64::try_from(nanoseconds).unwrap_or_default())
}

impl State {
    /// Whether there is a limit, and no person has just lifted it.
    fn engages(&self, now: Moment) -> bool {
        self.allowed > 0 && !self.is_lifted(now)
    }

    /// Whether a person has just let all go.
    fn is_lifted(&self, now: Moment) -> bool {
        self.released.is_some_and(|at| now.since(at) < self.window)
    }

    /// When the other sites left MAIN inside the window, oldest first.
    fn others(&self, site: &str, now: Moment) -> Vec<Moment> {
        let inside = |at: &Moment| now.since(*at) < self.window;
        let others = self.left.iter().filter(|(name, _)| &***name != site);
        let mut left: Vec<Moment> = others.map(|(_, at)| *at).filter(inside).collect();
        left.sort_unstable();
        left
    }
}
