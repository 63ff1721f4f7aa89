//! The loop of one site, and what ends a pass.

use super::apply::OpenSwitch;
use super::handle::{Asked, Request, SiteHandle, Status};
use super::legs::{Evidence, Lookout, Watched, views};
use super::memory::{History, Wellness};
use super::record::{Hand, Reading};
use super::{Dns, KnownRecord, Record, Store, Unavailable, Urgency};
use crate::clock::{Clock, DriftWatch};
use crate::config::{Origin, Site};
use crate::metrics::{Metrics, SiteMetrics};
use crate::prober::Pace;
use crate::rule::Moment;
use crate::rule::address::{Holding, Place, Role};
use crate::rule::brakes::{Circumstances, Foreign, HoldReason};
use crate::rule::decision::{
    Action, Decision, OriginView, Outcome, Plan, Reason, RecordView, Snapshot, SwitchResult,
    Trigger, decide,
};
use crate::rule::health::{State, Thresholds};
use crate::rule::walk::SwitchKind;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// All calls to Cloudflare that one decision may take, together.
pub(super) const DECISION_LIMIT: Duration = Duration::from_secs(30);

/// How soon a stale answer is read again, and how often before it is believed.
pub(super) const STALE_AGAIN: Duration = Duration::from_secs(1);
const STALE_BELIEVED: u32 = 10;

/// The index of the origin that plays MAIN's part.
pub(super) const MAIN: usize = 0;

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

/// What a site's loop works with.
#[derive(Clone)]
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
    /// How long a firing alert that is not repeated still counts as firing.
    pub alert_ttl: Ttl,
    /// Whether time between two runs counts as observed: the cron form.
    pub between_runs: bool,
    /// Told to wind up.
    pub cancel: CancellationToken,
}

/// One pass that a confirmation leads to.
pub(super) struct Pass {
    pub(super) trigger: Trigger,
    pub(super) begun: Moment,
    pub(super) dry_run: bool,
    pub(super) by_hand: bool,
    pub(super) asked_for: bool,
    pub(super) answers: Vec<oneshot::Sender<Arc<Decision>>>,
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

type ReadFlight = BoxFuture<'static, Result<Vec<Record>, Unavailable>>;

/// The loop of one site.
pub struct SiteLoop {
    pub(super) handle: Arc<SiteHandle>,
    pub(super) site: Arc<Site>,
    pub(super) tools: Tools,
    pub(super) metrics: Arc<SiteMetrics>,
    pub(super) places: Vec<Place>,
    pub(super) origins: Vec<Watched>,
    pub(super) other: Option<Watched>,
    pub(super) pace: Pace,
    pub(super) well: Wellness,
    pub(super) history: History,
    pub(super) known: Option<KnownRecord>,
    pub(super) foreign: Option<Foreign>,
    pub(super) reading: Option<Reading>,
    pub(super) read_error: Option<String>,
    pub(super) open: Option<OpenSwitch>,
    pub(super) last: Option<Arc<Decision>>,
    /// No switch is tried again before this.
    pub(super) retry_at: Option<Moment>,
    pub(super) refusals: u32,
    /// What a write under way, or one of unknown outcome, makes the record hold.
    pub(super) expected: Option<String>,
    pub(super) trial: u64,
    pub(super) stale_reads: u32,
    read_flight: Option<ReadFlight>,
    next_read: Moment,
    next_pass: Moment,
    confirmed_at: Moment,
    record_changed: bool,
    gaps: u64,
    drift: DriftWatch,
    hold: Option<HoldReason>,
    seen_at: Moment,
}

impl SiteLoop {
    /// A loop that starts probing at once, for a confirmation.
    #[must_use]
    pub fn new(handle: Arc<SiteHandle>, tools: Tools, spread: u64) -> SiteLoop {
        let site = handle.site.clone();
        let metrics = tools.metrics.site(&site.name, site.origins.len());
        let pace = Pace {
            confirming: Some(1),
            nudges: 0,
        };
        let origins: Vec<Watched> = site
            .origins
            .iter()
            .enumerate()
            .map(|(index, origin)| {
                let number = spread.wrapping_add(index as u64 * 2);
                tools.lookout.watch(
                    Role::of_index(index),
                    origin,
                    &site.policy,
                    &handle.notify,
                    &metrics,
                    pace,
                    number,
                )
            })
            .collect();
        let now = tools.clock.moment();
        SiteLoop {
            places: origins.iter().map(|origin| origin.place.clone()).collect(),
            well: Wellness::new(origins[MAIN].fingerprint.clone()),
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
            read_flight: None,
            record_changed: false,
            stale_reads: 0,
            gaps: 0,
            hold: None,
            tools,
        }
    }

    /// Runs until told to wind up.
    pub async fn run(mut self) {
        self.restore().await;
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
                    if self.confirmed_pass(pass).await.is_none() {
                        break;
                    }
                }
                Look::Routine => {
                    if let Some(trigger) = self.routine_pass().await {
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
        self.save_wellness().await;
    }

    /// One confirmed pass, then the end: the cron form. `None` if told to wind
    /// up before there was a decision.
    pub async fn once(mut self) -> Option<Arc<Decision>> {
        self.restore().await;
        let pass = self.pass(Trigger::Manual);
        let decision = self.confirmed_pass(pass).await;
        // What came in while the disk was waited for: no later pass takes it in.
        self.absorb().await;
        self.save_wellness().await;
        decision
    }

    async fn restore(&mut self) {
        let (now, window) = (self.tools.clock.now(), self.site.policy.switch_window);
        let memory = match self.tools.store.load(&self.site.name, now, window).await {
            Ok(memory) => memory,
            Err(fault) => {
                warn!(site = %self.site.name, "{}: the past is not known: {fault}", self.site.name);
                return;
            }
        };
        self.history.restore(&memory, &self.tools.clock);
        if let Some(stored) = &memory.undoubted {
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
        self.open = memory.open_switch.and_then(OpenSwitch::restored);
        self.expected = self.open.as_ref().and_then(OpenSwitch::target);
        self.known = memory.known_record;
        self.last = memory.last_decision.map(Arc::new);
    }

    fn pass(&self, trigger: Trigger) -> Pass {
        Pass {
            trigger,
            begun: self.tools.clock.moment(),
            dry_run: self.site.policy.dry_run,
            by_hand: false,
            asked_for: false,
            answers: Vec::new(),
        }
    }

    /// Waits until there is something to do; `None` when told to wind up.
    async fn wait(&mut self) -> Option<Look> {
        loop {
            self.absorb().await;
            self.publish();
            if let Some(look) = self.look() {
                return Some(look);
            }
            if self.event(self.next_pass).await == Event::Cancelled {
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
        if self.doubted() && self.retry_at.is_none_or(|at| at <= now) {
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
            .chain(self.other.as_ref())
            .any(|origin| origin.doubted(self.confirmed_at, dead))
    }

    /// Waits for a wake-up, the answer of a read, or `until`.
    pub(super) async fn event(&mut self, until: Moment) -> Event {
        let now = self.tools.clock.moment();
        if self.read_flight.is_none() && self.next_read <= now {
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
        tokio::select! {
            biased;
            () = self.tools.cancel.cancelled() => Event::Cancelled,
            answer = answer => {
                self.read_flight = None;
                self.next_read = self.tools.clock.moment() + self.tools.dns.pace(self.site.probe.interval);
                self.take_answer(answer).await;
                Event::Woken
            }
            () = self.handle.notify.notified() => Event::Woken,
            () = tokio::time::sleep_until(self.tools.clock.instant(until)) => Event::Time,
        }
    }

    fn start_read(&self) -> ReadFlight {
        let (dns, site) = (self.tools.dns.clone(), self.site.clone());
        let urgency = match &self.last {
            Some(last) if last.reason == Reason::Hold(HoldReason::CloudflareUnavailable) => {
                Urgency::Flight
            }
            _ => Urgency::Steady,
        };
        let until = tokio::time::Instant::now() + DECISION_LIMIT;
        Box::pin(async move { dns.read(&site.zone, &site.hostnames, urgency, until).await })
    }

    /// Takes the answer of a read.
    pub(super) async fn take_answer(&mut self, answer: Result<Vec<Record>, Unavailable>) {
        match answer {
            Ok(records) => {
                self.read_error = None;
                let reading = Reading::new(&self.site.hostnames, &self.places, records);
                self.take_reading(reading).await;
            }
            Err(fault) => {
                if self.read_error.as_deref() != Some(fault.0.as_str()) {
                    warn!(site = %self.site.name, "{}: the record cannot be read: {fault}", self.site.name);
                }
                self.read_error = Some(fault.0);
            }
        }
    }

    async fn take_reading(&mut self, reading: Reading) {
        match reading.hand(&self.places, self.known.as_ref()) {
            Hand::Stale if self.stale_reads < STALE_BELIEVED && self.reading.is_some() => {
                self.stale_reads += 1;
                self.next_read = self.tools.clock.moment() + STALE_AGAIN;
                return;
            }
            Hand::Ours(known) => {
                self.foreign = None;
                if let Some(known) = known {
                    self.keep_known(known).await;
                }
            }
            // Our own write, whose answer we did not get.
            Hand::Theirs(foreign) if self.expected.as_ref() == Some(&foreign.theirs) => {}
            Hand::Theirs(foreign) => self.notice_foreign(foreign),
            Hand::Shapeless | Hand::Stale => {}
        }
        self.stale_reads = 0;
        self.settle_open(&reading).await;
        let changed = match &self.reading {
            Some(before) => before.holding != reading.holding,
            None => false,
        };
        self.record_changed |= changed;
        self.set_reading(reading);
    }

    fn notice_foreign(&mut self, foreign: Foreign) {
        if self.foreign.as_ref() == Some(&foreign) {
            return;
        }
        warn!(
            site = %self.site.name,
            "{}: somebody else changed the record from {} to {} at {}",
            self.site.name, foreign.ours, foreign.theirs, foreign.modified_on
        );
        // What we waited for, we waited for on the record as it was.
        let now = self.well.running().then(|| self.tools.clock.moment());
        self.well.restart(now);
        self.foreign = Some(foreign);
    }

    /// Makes `reading` the one decisions rest on, and watches a foreign address.
    pub(super) fn set_reading(&mut self, reading: Reading) {
        match &reading.holding {
            Holding::Other(place) if self.other.as_ref().is_none_or(|o| o.place != *place) => {
                let origin = Origin {
                    place: place.clone(),
                    probe: self.site.probe.clone(),
                };
                let watched = self.tools.lookout.watch(
                    Role::Other,
                    &origin,
                    &self.site.policy,
                    &self.handle.notify,
                    &self.metrics,
                    self.pace,
                    u64::MAX,
                );
                self.other = Some(watched);
            }
            Holding::Other(_) => {}
            Holding::Origin(_) | Holding::Unclear(_) => {
                if self.other.take().is_some() {
                    self.metrics.forget_other();
                }
            }
        }
        self.metrics.record(match &reading.holding {
            Holding::Origin(index) => Some(Role::of_index(*index)),
            Holding::Other(_) => Some(Role::Other),
            Holding::Unclear(_) => None,
        });
        self.reading = Some(reading);
    }

    pub(super) async fn keep_known(&mut self, known: KnownRecord) {
        // A failure is the store's to tell; the next read offers it again.
        let _ = self
            .tools
            .store
            .save_known_record(&self.site.name, &known)
            .await;
        self.known = Some(known);
    }

    /// Takes in what probers and clocks say: proofs, gaps, MAIN's wellness.
    pub(super) async fn absorb(&mut self) {
        let now = self.tools.clock.moment();
        if self.drift.jumped(&self.tools.clock) {
            // Time passed that nobody looked at: nothing expires in it.
            self.handle.inbox().alerts.forgive(now.since(self.seen_at));
        }
        self.seen_at = now;
        let gaps = self.origins.iter().map(Watched::gaps).sum();
        let gap = gaps != self.gaps;
        self.gaps = gaps;
        let views = self.views(Evidence::Routine);
        self.well.observe(views[MAIN].state(), now);
        if gap {
            let from = self.well.running().then_some(now);
            self.well.restart(from);
        }
        if self.well.overstated(now) {
            self.save_wellness().await;
        }
        for (index, view) in views.iter().take(self.origins.len()).enumerate() {
            if view.state() == State::Up {
                self.prove(index).await;
            }
        }
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

    pub(super) fn views(&self, evidence: Evidence) -> Vec<OriginView> {
        let current = match self.reading.as_ref().map(|r| &r.holding) {
            Some(Holding::Origin(index)) => Some(*index),
            _ => None,
        };
        let limits = Thresholds {
            fall: self.site.policy.fall,
            rise: self.site.policy.rise,
        };
        views(
            &self.origins,
            self.other.as_ref(),
            current,
            evidence,
            limits,
        )
    }

    /// Everything a decision rests on, as it is now.
    pub(super) fn snapshot(&self, pass: &Pass, evidence: Evidence) -> Snapshot {
        let record = match self.reading.as_ref().map(|r| &r.holding) {
            Some(Holding::Origin(index)) => RecordView::Origin(*index),
            Some(Holding::Other(_)) => RecordView::Other,
            Some(Holding::Unclear(sentence)) => RecordView::Unclear(sentence.clone()),
            None => RecordView::Unreadable(
                self.read_error
                    .clone()
                    .unwrap_or_else(|| "the record has not been read yet".into()),
            ),
        };
        Snapshot {
            site: self.site.name.clone(),
            trigger: pass.trigger,
            origins: self.views(evidence),
            configured: self.origins.len(),
            main: MAIN,
            given: self.circumstances(pass, &record),
            record,
        }
    }

    fn circumstances(&self, pass: &Pass, record: &RecordView) -> Circumstances {
        let (clock, now) = (&self.tools.clock, self.tools.clock.moment());
        let alert = self
            .handle
            .inbox()
            .alerts
            .firing_until(now, self.tools.alert_ttl.get());
        Circumstances {
            now: clock.now(),
            proven: match record {
                RecordView::Origin(index) => self.history.proven(&self.origins[*index].fingerprint),
                _ => true,
            },
            on_other: *record == RecordView::Other,
            undoubted: self.well.total(now),
            resolvers_need: self
                .reading
                .as_ref()
                .map_or(Duration::ZERO, Reading::resolvers_need),
            alert_until: alert.map(|moment| clock.timestamp(moment)),
            switches: self.history.switches(clock),
            foreign: self.foreign.clone(),
            state_ok: self.tools.store.healthy(),
            asked_for: pass.asked_for,
        }
    }

    fn current_view(&self) -> Option<OriginView> {
        let mut views = self.views(Evidence::Routine);
        let index = match self.reading.as_ref().map(|r| &r.holding)? {
            Holding::Origin(index) => *index,
            Holding::Other(_) => self.origins.len(),
            Holding::Unclear(_) => return None,
        };
        (index < views.len()).then(|| views.swap_remove(index))
    }

    /// A look at what is believed, without new probes: it never switches, but
    /// says if a confirmation is worth its probes.
    async fn routine_pass(&mut self) -> Option<Trigger> {
        let now = self.tools.clock.moment();
        self.next_pass = now + self.site.probe.interval;
        self.absorb().await;
        self.handle
            .inbox()
            .alerts
            .prune(now, self.tools.alert_ttl.get());
        let pass = self.pass(Trigger::Timer);
        let snapshot = self.snapshot(&pass, Evidence::Routine);
        let plan = match decide(&self.site.policy, &snapshot) {
            Outcome::Plan(plan) => plan,
            Outcome::Wait(_) => return Some(Trigger::Timer),
        };
        if let Reason::Switch(_) = plan.reason {
            if self.retry_at.is_none_or(|at| at <= now) {
                return Some(Trigger::Timer);
            }
            // Put off: what was said when it was put off still holds.
            self.next_pass = self.retry_at.unwrap_or(self.next_pass);
            return None;
        }
        self.look_again_when(&plan);
        let on_main = matches!(snapshot.record, RecordView::Origin(MAIN));
        if !on_main {
            self.save_wellness().await;
        }
        let decision = Decision::of(&snapshot, &plan);
        self.finish(decision, Vec::new(), false).await;
        None
    }

    /// A hold that ends by itself is looked at when it does.
    pub(super) fn look_again_when(&mut self, plan: &Plan) {
        if let Some(until) = plan.until {
            let until = self.tools.clock.moment_of(until) + Duration::from_millis(1);
            self.next_pass = self.next_pass.min(until);
        }
    }

    async fn save_wellness(&mut self) {
        if let Some(undoubted) = self.well.take_unsaved(&self.tools.clock) {
            let _ = self
                .tools
                .store
                .save_undoubted(&self.site.name, &undoubted)
                .await;
        }
    }

    /// Ends a pass: counts, stores what differs, logs it, answers who waits.
    /// `stored` says that the decision has its row already.
    pub(super) async fn finish(
        &mut self,
        mut decision: Decision,
        answers: Vec<oneshot::Sender<Arc<Decision>>>,
        stored: bool,
    ) -> Arc<Decision> {
        self.metrics.pass(&decision);
        self.set_hold(match decision.reason {
            Reason::Hold(reason) => Some(reason),
            Reason::Keep(_) | Reason::Switch(_) => None,
        });
        let news = stored
            || !self
                .last
                .as_ref()
                .is_some_and(|last| decision.same_as(last));
        if news && !stored {
            decision.id = self.tools.store.record(&decision).await.ok();
        }
        if news {
            log(&decision);
            if decision.result == Some(SwitchResult::DryRun) {
                self.metrics.switched(&decision);
            }
        }
        let decision = Arc::new(decision);
        if news {
            self.last = Some(decision.clone());
        } else if let (Action::Hold, Some(last)) = (decision.action(), &mut self.last) {
            // It says the same in fresher words: how long is left, what else is waited for.
            Arc::make_mut(last)
                .explanation
                .clone_from(&decision.explanation);
        }
        for answer in answers {
            // Whoever asked may have gone.
            let _ = answer.send(decision.clone());
        }
        self.publish();
        decision
    }

    fn set_hold(&mut self, hold: Option<HoldReason>) {
        if hold != self.hold {
            self.metrics.hold(self.hold, hold);
            self.hold = hold;
        }
    }

    /// Shows the site as it is now.
    pub(super) fn publish(&mut self) {
        let views = self.views(Evidence::Routine);
        for view in &views {
            self.metrics.origin(view.at.role, view.state());
        }
        let current = match self.reading.as_ref().map(|r| &r.holding) {
            Some(Holding::Origin(index)) => views.get(*index),
            Some(Holding::Other(_)) => views.get(self.origins.len()),
            Some(Holding::Unclear(_)) | None => None,
        };
        let now = self.tools.clock.moment();
        let inbox = self.handle.inbox();
        let firing = inbox.alerts.firing(now, self.tools.alert_ttl.get());
        let alert = inbox.last_alert;
        drop(inbox);
        let up = current.is_some_and(|view| view.state() == State::Up);
        self.metrics.alert_unconfirmed(firing && up);
        let status = Status {
            record: current.map(|view| view.at.clone()),
            hold: self.hold,
            alert,
            last_decision: self.last.clone(),
            probed: self.origins.iter().all(Watched::probed),
            origins: views,
        };
        self.handle.status.send_if_modified(|shown| {
            let differs = **shown != status;
            if differs {
                *shown = Arc::new(status);
            }
            differs
        });
    }

    /// What there is to say to the probers when a confirmation starts or ends.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        for origin in self.origins.iter().chain(self.other.as_ref()) {
            origin.set_pace(pace);
        }
    }

    /// Looks again at `at`, or before.
    pub(super) fn look_no_later_than(&mut self, at: Moment) {
        self.next_pass = self.next_pass.min(at);
    }

    /// Gives up a read under way: what it would say is older than a write.
    pub(super) fn forget_read(&mut self) {
        self.read_flight = None;
    }

    /// Reads at `at`, or before.
    pub(super) fn read_no_later_than(&mut self, at: Moment) {
        self.next_read = self.next_read.min(at);
    }

    /// Asks for a read now where none has come through.
    pub(super) fn read_soon(&mut self) {
        if self.reading.is_none() && self.read_flight.is_none() {
            self.read_error = None;
            self.next_read = self.tools.clock.moment();
        }
    }

    /// Marks the end of a confirmation.
    pub(super) fn confirmed(&mut self) {
        self.set_pace(Pace {
            confirming: None,
            ..self.pace
        });
        self.confirmed_at = self.tools.clock.moment();
        self.next_pass = self.confirmed_at + self.site.probe.interval;
    }

    /// The gaps seen so far, to notice one during a confirmation.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Takes what came in while a pass is under way: alerts join it, requests
    /// wait for it. Returns whether an alert came.
    pub(super) async fn join(&mut self, pass: &mut Pass) -> bool {
        let (alert, asked) = {
            let mut inbox = self.handle.inbox();
            let alert = std::mem::take(&mut inbox.look_for_alert);
            (alert, std::mem::take(&mut inbox.asked))
        };
        let mut later = Vec::new();
        for one in asked {
            let dry = matches!(one.request, Request::Evaluate { dry_run: true });
            pass.dry_run |= dry && pass.trigger == Trigger::Manual && !pass.by_hand;
            // A request to only look must not keep a real pass from acting,
            // nor the other way round.
            if dry != pass.dry_run && !self.site.policy.dry_run {
                later.push(one);
                continue;
            }
            pass.by_hand |= !matches!(one.request, Request::Decision);
            match one.request {
                Request::Evaluate { .. } | Request::Decision => {}
                Request::Failback => pass.asked_for = true,
                Request::Trust => self.trust().await,
                Request::Release => self.release().await,
            }
            pass.answers.push(one.answer);
        }
        if !later.is_empty() {
            self.handle.inbox().asked.extend(later);
        }
        if alert && pass.trigger != Trigger::Manual {
            pass.trigger = Trigger::Alert;
        }
        alert
    }

    async fn trust(&mut self) {
        for index in 0..self.origins.len() {
            self.prove(index).await;
        }
        info!(site = %self.site.name, "{}: origins are counted as proven, by hand", self.site.name);
    }

    async fn release(&mut self) {
        self.history.release();
        self.retry_at = None;
        if self.foreign.take().is_some()
            && let Some(known) = self.reading.as_ref().and_then(|r| r.known(&self.places))
        {
            self.keep_known(known).await;
        }
        info!(site = %self.site.name, "{}: budget and foreign edit are released, by hand", self.site.name);
    }
}

/// One line for each decision that differs from the one before.
fn log(decision: &Decision) {
    let site = &decision.site;
    let trigger = decision.trigger.as_str();
    let reason = decision.reason.as_str();
    let action = decision.action();
    let from = decision.record.as_ref().map(|at| at.role.to_string());
    let to = decision.to.as_ref().map(|at| at.role.to_string());
    let result = decision.result.map(SwitchResult::as_str);
    let duration = decision.duration.map(|time| time.as_secs_f64());
    let text = &decision.explanation;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                site = %site, id = decision.id, trigger, action = action.as_str(), reason,
                from, to, result, duration_seconds = duration,
                "{site}: {} {reason}: {text}", action.as_str()
            )
        };
    }
    match (action, decision.reason) {
        (Action::Switch, _) | (Action::Hold, _) => line!(warn),
        (Action::Keep, Reason::Keep(crate::rule::walk::KeepReason::OnMain)) => line!(info),
        (Action::Keep, _) => line!(warn),
    }
}

/// Whether a switch is one that leaves a dead origin.
pub(super) fn is_flight(reason: Reason) -> bool {
    reason == Reason::Switch(SwitchKind::Failover)
}
