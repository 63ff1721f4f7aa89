//! The loop of one site: what it holds, when it wakes, what it then does.

use super::apply::OpenSwitch;
use super::controls::Look as ControlLook;
use super::edge::EdgeWatch;
use super::handle::{Asked, Request, SiteHandle};
use super::legs::{Evidence, Lookout, Watched, schedule};
use super::memory::{History, Wellness};
use super::orders::Orders;
use super::reading::ReadFlight;
use super::record::Reading;
use super::{Away, Dns, Guard, KnownRecord, Store, Undoubted};
use crate::clock::{Clock, DriftWatch};
use crate::config::Site;
use crate::metrics::{Metrics, SiteMetrics};
use crate::prober::Pace;
use crate::rule::Moment;
use crate::rule::address::{Place, Role};
use crate::rule::brakes::{Foreign, HoldReason};
use crate::rule::decision::{Decision, Trigger};
use crate::rule::health::State;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

/// All calls to Cloudflare that one decision may take, together.
pub(super) const DECISION_LIMIT: Duration = Duration::from_secs(30);

/// Between attempts to read a state file that does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a firing alert that is not repeated still counts as firing; shared,
/// so that it can be changed without disturbing a loop.
#[derive(Debug, Clone)]
pub struct Ttl(Arc<AtomicU64>);

impl Ttl {
    /// A shared time to live.
    #[must_use]
    pub fn new(ttl: Duration) -> Ttl {
        let shared = Ttl(Arc::default());
        shared.set(ttl);
        shared
    }

    /// Changes it for all who share it.
    pub fn set(&self, ttl: Duration) {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// What sites' loops work with.
pub struct Tools {
    /// The DNS side.
    pub dns: Arc<dyn Dns>,
    /// The state file.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    /// Starts probers.
    pub lookout: Lookout,
    /// The metrics of all sites.
    pub metrics: Arc<Metrics>,
    /// What holds over all sites.
    pub guard: Arc<Guard>,
    /// How long a firing alert that is not repeated still counts as firing.
    pub alert_ttl: Ttl,
    /// Whether time between two runs counts as observed: the cron form.
    pub between_runs: bool,
}

/// Why the loop woke.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Woken,
    Time,
    Cancelled,
}

/// What there is to do.
enum Look {
    Routine,
    Confirm(Trigger),
}

/// The loop of one site.
pub struct SiteLoop {
    pub(super) handle: Arc<SiteHandle>,
    pub(super) site: Arc<Site>,
    pub(super) tools: Arc<Tools>,
    pub(super) metrics: Arc<SiteMetrics>,
    pub(super) places: Vec<Place>,
    pub(super) origins: Vec<Watched>,
    pub(super) other: Option<Box<Watched>>,
    pub(super) pace: Pace,
    pub(super) well: Wellness,
    pub(super) history: History,
    pub(super) known: Option<KnownRecord>,
    pub(super) foreign: Option<Box<Foreign>>,
    pub(super) reading: Option<Reading>,
    pub(super) read_error: Option<String>,
    pub(super) open: Option<Box<OpenSwitch>>,
    pub(super) last: Option<Arc<Decision>>,
    /// No switch is tried again before this.
    pub(super) retry_at: Option<Moment>,
    pub(super) refusals: u32,
    /// What a write under way, or one of unknown outcome, makes the record hold.
    pub(super) expected: Option<String>,
    pub(super) trial: u64,
    /// A dead origin could not be left because Cloudflare could not be asked.
    pub(super) flight_waits: bool,
    /// The token that the last refusal was for, as the DNS side counts them.
    pub(super) epoch: u64,
    pub(super) stale_reads: u32,
    pub(super) read_flight: Option<ReadFlight>,
    pub(super) next_read: Moment,
    /// A switch is yet to be read once more, then.
    pub(super) verify_at: Option<Moment>,
    pub(super) next_pass: Moment,
    pub(super) confirmed_at: Moment,
    pub(super) record_changed: bool,
    pub(super) gaps: u64,
    pub(super) main_downs: u64,
    pub(super) drift: DriftWatch,
    pub(super) hold: Option<HoldReason>,
    /// When the hold ends by itself, if that is known.
    pub(super) hold_until: Option<Timestamp>,
    pub(super) seen_at: Moment,
    pub(super) orders: Orders,
    /// The look at the control targets, while something is being confirmed.
    pub(super) look: Option<ControlLook>,
    /// The site as its visitors see it, if its user wants that.
    pub(super) edge: Option<Box<EdgeWatch>>,
    /// The newest switch away from MAIN.
    pub(super) away: Option<Away>,
    /// The newest switch that was tried.
    pub(super) tried: Option<Arc<Decision>>,
    pub(super) decided: bool,
    /// When the record last changed, as far as we know.
    pub(super) moved_at: Option<Moment>,
    /// When the trial under way began.
    pub(super) trial_begun: Moment,
    /// Its place among those that start, until the first decision.
    pub(super) starting: Option<OwnedSemaphorePermit>,
}

/// Starts a site's probers, and its look through the edge if it has one.
fn begin(
    handle: &SiteHandle,
    tools: &Tools,
    metrics: &Arc<SiteMetrics>,
    pace: Pace,
    spread: u64,
) -> (Vec<Watched>, Option<Box<EdgeWatch>>) {
    let (site, notify) = (&handle.site, &handle.notify);
    let (lookout, policy) = (&tools.lookout, &site.policy);
    let origins = site.origins.iter().enumerate().map(|(index, origin)| {
        let role = Role::of_index(index);
        let number = spread.wrapping_add(index as u64 * 2);
        lookout.watch(role, origin, policy, notify, metrics, pace, number)
    });
    let origins = origins.collect();
    let offset = schedule(&site.probe, policy, spread.wrapping_add(1)).offset;
    let edge = EdgeWatch::start(site, lookout, notify, metrics, pace, offset);
    (origins, edge.map(Box::new))
}

impl SiteLoop {
    /// A loop that starts probing at once, for a confirmation.
    #[must_use]
    pub fn new(handle: Arc<SiteHandle>, tools: Arc<Tools>, spread: u64) -> SiteLoop {
        let site = handle.site.clone();
        let metrics = tools.metrics.site(&site.name, site.origins.len());
        let pace = Pace {
            confirming: Some(1),
            nudges: 0,
        };
        let (origins, edge) = begin(&handle, &tools, &metrics, pace, spread);
        let now = tools.clock.moment();
        handle.awake_by(now);
        SiteLoop {
            places: origins.iter().map(|origin| origin.place.clone()).collect(),
            well: Wellness::new(origins[0].fingerprint.clone()),
            drift: DriftWatch::new(&tools.clock),
            next_read: now,
            next_pass: now + site.probe.interval,
            confirmed_at: now,
            seen_at: now,
            handle,
            site,
            metrics,
            origins,
            other: None,
            pace,
            history: History::default(),
            known: None,
            foreign: None,
            reading: None,
            read_error: None,
            open: None,
            last: None,
            retry_at: None,
            refusals: 0,
            expected: None,
            trial: 0,
            flight_waits: false,
            epoch: 0,
            read_flight: None,
            record_changed: false,
            stale_reads: 0,
            gaps: 0,
            main_downs: 0,
            hold: None,
            hold_until: None,
            orders: Orders::default(),
            look: None,
            edge,
            away: None,
            tried: None,
            decided: false,
            moved_at: None,
            verify_at: None,
            trial_begun: now,
            starting: None,
            tools,
        }
    }

    /// The same, which gives its place among those that start back with its
    /// first decision.
    #[must_use]
    pub fn starting_in(self, place: Option<OwnedSemaphorePermit>) -> SiteLoop {
        SiteLoop {
            starting: place,
            ..self
        }
    }

    /// Runs until told to wind up.
    ///
    /// What a site needs at rest is little and is all that stays: what a pass,
    /// a read or a start needs is boxed for as long as it lasts, as there may be
    /// ten thousand sites.
    pub fn run(self) -> impl Future<Output = ()> + Send {
        let mut site = Box::new(self);
        async move { site.live().await }
    }

    async fn live(&mut self) {
        if !Box::pin(self.restore()).await {
            return;
        }
        let first = if std::mem::take(&mut self.handle.inbox().reloaded) {
            Trigger::Reload
        } else {
            Trigger::Start
        };
        let mut look = Look::Confirm(first);
        loop {
            match look {
                Look::Confirm(trigger) => {
                    let pass = self.pass(trigger);
                    if Box::pin(self.confirmed_pass(pass)).await.is_none() {
                        break;
                    }
                }
                Look::Routine => {
                    if let Some(trigger) = Box::pin(self.routine_pass()).await {
                        look = Look::Confirm(trigger);
                        continue;
                    }
                }
            }
            match self.wait().await {
                Some(next) => look = next,
                None => break,
            }
        }
        self.tools.guard.hold(&self.site.name, false);
        self.tools.guard.wait(&self.site.name, false);
        self.tools.guard.away(&self.site.name, None);
        // Time may have passed that nobody looked at, and no prober noticed yet.
        self.absorb().await;
        Box::pin(self.save_wellness()).await;
    }

    /// One confirmed pass, then the end: the cron form. `None` if told to wind
    /// up before there was a decision.
    pub async fn once(mut self) -> Option<Arc<Decision>> {
        let known = tokio::time::timeout(DECISION_LIMIT, self.restore()).await;
        if known != Ok(true) {
            return None;
        }
        let pass = self.pass(Trigger::Manual);
        let decision = self.confirmed_pass(pass).await;
        // What came in while the disk was waited for: no later pass takes it in.
        self.absorb().await;
        if self.views(Evidence::Routine)[self.main()].state() != State::Up {
            // MAIN's time counts only if every run saw it up.
            self.well.restart(None);
        }
        self.save_wellness().await;
        decision
    }

    /// Takes over what is remembered; `false` when told to wind up before that
    /// was known.
    async fn restore(&mut self) -> bool {
        let (now, window) = (self.tools.clock.now(), self.site.policy.switch_window);
        let mut patient = true;
        let memory = loop {
            self.handle.awake_by(self.tools.clock.moment());
            match self.tools.store.load(&self.site.name, now, window).await {
                Ok(memory) => break memory,
                // What is not known may be a freeze: nothing is decided before.
                Err(fault) if std::mem::take(&mut patient) => {
                    warn!(site = %self.site.name, "{}: nothing is decided until the state file can be read: {fault}", self.site.name);
                }
                Err(_) => {}
            }
            tokio::select! {
                () = self.handle.stopped() => return false,
                () = tokio::time::sleep(AGAIN) => {}
            }
        };
        self.history.restore(&memory, &self.tools.clock, window);
        self.restore_orders(memory.pin, memory.freeze).await;
        let lapsed = self.tools.guard.lapsed();
        let counts = |stored: &&Undoubted| lapsed.is_none_or(|at| stored.as_of > at);
        if let Some(stored) = memory.undoubted.as_ref().filter(counts) {
            let between = if self.tools.between_runs {
                self.tools.clock.now().duration_since(stored.as_of)
            } else {
                SignedDuration::ZERO
            };
            self.well
                .restore(stored, Duration::try_from(between).unwrap_or_default());
        }
        if let Some(at) = memory.last_switch {
            self.metrics.last_switch(at);
        }
        self.open = memory
            .open_switch
            .and_then(|open| OpenSwitch::restored(open, &self.history, &self.tools.clock))
            .map(Box::new);
        self.expected = self.open.as_deref().and_then(OpenSwitch::target);
        self.known = memory.known_record;
        self.away = memory.away;
        self.last = memory.last_decision.as_ref().map(Decision::summary);
        self.tried = self.last.clone().filter(|last| last.was_tried());
        true
    }

    /// Waits until there is something to do; `None` when told to wind up.
    async fn wait(&mut self) -> Option<Look> {
        loop {
            self.absorb().await;
            self.notice_token();
            self.publish();
            if let Some(look) = self.look() {
                return Some(look);
            }
            let ends = self.something_ends().into_iter().chain(self.edge_settles());
            let until = ends.fold(self.next_pass, Moment::min);
            if self.event(until).await == Event::Cancelled {
                return None;
            }
        }
    }

    fn look(&mut self) -> Option<Look> {
        let now = self.tools.clock.moment();
        let (alert, asked, reloaded) = {
            let mut inbox = self.handle.inbox();
            let waits = |asked: &Asked| matches!(asked.request, Request::Decision);
            // Who only waits for a decision came with an alert.
            let alert = inbox.look_for_alert || inbox.asked.iter().any(waits);
            let reloaded = std::mem::take(&mut inbox.reloaded);
            (alert, !inbox.asked.is_empty(), reloaded)
        };
        if alert {
            return Some(Look::Confirm(Trigger::Alert));
        }
        if asked {
            return Some(Look::Confirm(Trigger::Manual));
        }
        if reloaded {
            return Some(Look::Confirm(Trigger::Reload));
        }
        if std::mem::take(&mut self.record_changed) {
            return Some(Look::Confirm(Trigger::Record));
        }
        if self.doubted() {
            return Some(Look::Confirm(Trigger::Probe));
        }
        (self.next_pass <= now).then_some(Look::Routine)
    }

    /// Whether a probe since the last confirmation contradicts what is
    /// believed, in a way that could change the record.
    fn doubted(&self) -> bool {
        let dead = self
            .current_view()
            .is_some_and(|v| v.state() == State::Down);
        self.origins
            .iter()
            .chain(self.other.as_deref())
            .any(|origin| origin.doubted(self.confirmed_at, dead))
    }

    /// Waits for a wake-up, the answer of a read, or `until`.
    pub(super) async fn event(&mut self, until: Moment) -> Event {
        let now = self.tools.clock.moment();
        if self.read_flight.is_none() && self.next_read <= now {
            self.verify_at = self.verify_at.filter(|&at| at > now);
            self.read_flight = Some(self.start_read());
        }
        let until = match self.read_flight {
            Some(_) => until,
            None => until.min(self.next_read),
        };
        let answer = async {
            match &mut self.read_flight {
                Some(flight) => flight.await,
                None => std::future::pending().await,
            }
        };
        let seen = async {
            match &mut self.look {
                Some(look) => look.changed().await,
                None => std::future::pending().await,
            }
        };
        if self.handle.is_stopped() {
            return Event::Cancelled;
        }
        self.handle.awake_by(until);
        let event = tokio::select! {
            biased;
            answer = answer => {
                self.read_flight = None;
                self.plan_read();
                Box::pin(self.take_answer(answer)).await;
                Event::Woken
            }
            () = self.handle.notify.notified() => Event::Woken,
            () = seen => Event::Woken,
            () = tokio::time::sleep_until(self.tools.clock.instant(until)) => Event::Time,
        };
        self.handle.awake_by(self.tools.clock.moment());
        if self.handle.is_stopped() {
            return Event::Cancelled;
        }
        event
    }

    /// Takes in what probers and clocks say: proofs, gaps, MAIN's wellness.
    pub(super) async fn absorb(&mut self) {
        let now = self.tools.clock.moment();
        let jumped = self.drift.jumped(&self.tools.clock);
        if jumped {
            // Time passed that nobody looked at: nothing expires in it.
            self.handle.inbox().alerts.forgive(now.since(self.seen_at));
        }
        self.seen_at = now;
        let gaps = self.origins.iter().map(Watched::gaps).sum();
        let gap = gaps != self.gaps || jumped || self.unheard_of(now);
        self.gaps = gaps;
        let downs = self.origins[self.main()].downs();
        let fell = std::mem::replace(&mut self.main_downs, downs) != downs;
        let views = self.views(Evidence::Routine);
        self.well.observe(views[self.main()].state(), now);
        if gap || fell {
            let from = self.well.running().then_some(now);
            self.restart_wait(from);
        }
        if self.well.overstated(now) {
            Box::pin(self.save_wellness()).await;
        }
        for (index, view) in views.iter().take(self.origins.len()).enumerate() {
            if view.state() == State::Up {
                self.prove(index).await;
            }
        }
        if self.orders_due() {
            Box::pin(self.take_orders()).await;
        }
        if self.recovers() {
            Box::pin(self.see_recovery()).await;
        }
    }

    /// MAIN has to be well anew before a return; a turn that it had is past.
    pub(super) fn restart_wait(&mut self, from: Option<Moment>) {
        self.well.restart(from);
        self.tools.guard.forgo_turn(&self.site.name);
    }

    /// Whether nothing came from MAIN's probes for as long as only a gap lasts.
    fn unheard_of(&self, now: Moment) -> bool {
        let main = self.main();
        let probe = &self.site.origins[main].probe;
        let heard = self.origins[main].heard();
        heard.is_some_and(|at| now.since(at) > 3 * probe.interval + probe.timeout)
    }

    pub(super) async fn prove(&mut self, index: usize) {
        let fingerprint = self.origins[index].fingerprint.clone();
        if self.history.prove(&fingerprint) {
            let now = self.tools.clock.now();
            let _ = self
                .tools
                .store
                .prove(&self.site.name, &fingerprint, now)
                .await;
        }
    }

    pub(super) async fn save_wellness(&mut self) {
        if let Some(undoubted) = self.well.take_unsaved(&self.tools.clock) {
            let _ = self
                .tools
                .store
                .save_undoubted(&self.site.name, &undoubted)
                .await;
        }
    }

    /// What there is to say to the probers when a confirmation starts or ends.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        for origin in self.origins.iter().chain(self.other.as_deref()) {
            origin.set_pace(pace);
        }
        if let Some(edge) = &self.edge {
            edge.set_pace(pace, self.trial);
        }
    }

    /// Marks the end of a confirmation.
    pub(super) fn confirmed(&mut self) {
        self.set_pace(Pace {
            confirming: None,
            ..self.pace
        });
        self.look = None;
        for origin in self.origins.iter_mut().chain(self.other.as_deref_mut()) {
            origin.confirmed();
        }
        self.confirmed_at = self.tools.clock.moment();
        self.next_pass = self.confirmed_at + self.site.probe.interval;
    }

    /// The gaps seen so far, to notice one during a confirmation.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }
}
