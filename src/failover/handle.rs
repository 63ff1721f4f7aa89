//! What the rest of the program sees of a site: how to wake it, and what it
//! last said of itself.

use super::orders::StandingOrder;
use super::site::DECISION_LIMIT;
use super::{Away, StoreFault};
use crate::config::Site;
use crate::rule::Moment;
use crate::rule::address::Role;
use crate::rule::alerts::{AlertBook, AlertStatus};
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{Decision, Order, OriginView, Pointer};
use crate::rule::standing::{Frozen, Pin};
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Nothing that a loop waits for between two looks takes this long.
const STUCK: Duration = Duration::from_secs(4 * DECISION_LIMIT.as_secs());

/// What is said of a pin that was lifted on its way.
pub(super) const LIFTED: &str = "the pin was lifted before it was in place";

/// What a request is answered with: the decision it led to, or one sentence on
/// why it cannot be followed.
pub type Answer = Result<Arc<Decision>, String>;

/// Whether an order that stands is stored too.
pub type Kept = Result<(), StoreFault>;

/// A request that a person or a webhook waits for.
#[derive(Debug)]
pub enum Request {
    /// One confirmed pass now, without writing if `dry_run`.
    Evaluate {
        /// Decide and say, but write nothing.
        dry_run: bool,
    },
    /// Answer with the next decision that a confirmation ends in.
    Decision,
    /// Go back to MAIN now, if it is up.
    Failback,
    /// Count the origins as proven.
    Trust,
    /// Drop what holds the site: the switch budget, a foreign edit, the brake, a
    /// wave.
    Release,
    /// Let an origin play MAIN's part, and move there now.
    Pin {
        /// The origin, and whether it need not be up.
        order: Order,
        /// When it ends by itself.
        until: Option<Timestamp>,
        /// What the person says.
        reason: Arc<str>,
    },
}

/// A request with the place for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What an alert tells a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// A hash of the alert's labels.
    pub identity: u64,
    /// What it says; `None` if it says nothing but "look".
    pub status: Option<AlertStatus>,
    /// When it began to fire, if that is known.
    pub starts_at: Option<Timestamp>,
}

/// The last alert of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastAlert {
    /// What it said.
    pub status: AlertStatus,
    /// When it came.
    pub received: Timestamp,
}

/// What waits for the site's loop.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) alerts: AlertBook,
    pub(super) last_alert: Option<LastAlert>,
    pub(super) look_for_alert: bool,
    /// A confirmation is under way: a copy of what it knows adds nothing to it.
    pub(super) confirming: bool,
    pub(super) reloaded: bool,
    /// The loop has ended: nobody will answer.
    pub(super) ended: bool,
    pub(super) asked: Vec<Asked>,
    pub(super) orders: Vec<(StandingOrder, oneshot::Sender<Kept>)>,
}

impl Inbox {
    /// Pins that nobody has looked at yet are lifted like one that stands.
    fn drop_pins(&mut self) {
        let pin = |asked: &mut Asked| matches!(asked.request, Request::Pin { .. });
        for asked in self.asked.extract_if(.., pin) {
            // Whoever asked may have gone.
            let _ = asked.answer.send(Err(LIFTED.into()));
        }
    }
}

/// A site as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Where the record points; `None` while that is not known.
    pub record: Option<Pointer>,
    /// Why the record cannot be read now; what it points to is from before.
    pub record_error: Option<String>,
    /// What is known of each origin.
    pub origins: Vec<OriginView>,
    /// What holds the site, if anything does.
    pub hold: Option<HoldReason>,
    /// When that ends by itself, if it is known.
    pub hold_until: Option<Timestamp>,
    /// The pin that stands, and the part of its origin.
    pub pin: Option<Box<(Role, Pin)>>,
    /// The freeze that stands.
    pub frozen: Option<Box<Frozen>>,
    /// The last alert.
    pub alert: Option<LastAlert>,
    /// The last decision that was stored or came from a confirmation.
    pub last_decision: Option<Arc<Decision>>,
    /// The newest switch that led away from MAIN, of any earlier process too.
    pub away: Option<Away>,
    /// The newest switch that was tried, whatever became of it; no dry run.
    pub tried: Option<Arc<Decision>>,
    /// Whether every origin's first probe has answered or failed.
    pub probed: bool,
    /// Whether there was a decision since the loop began; what is said of the
    /// site before is from the state file.
    pub decided: bool,
}

/// A handle to a site's loop.
#[derive(Debug)]
pub struct SiteHandle {
    /// The site's configuration.
    pub site: Arc<Site>,
    pub(super) notify: Arc<Notify>,
    pub(super) inbox: Mutex<Inbox>,
    status: Mutex<Arc<Status>>,
    /// Its loop is told to wind up.
    stopped: AtomicBool,
    /// When its loop looks again at the latest, in milliseconds of the
    /// monotonic clock; at the end of time before there is a loop.
    awake_by: AtomicU64,
}

impl SiteHandle {
    /// A handle for a loop that is yet to start.
    #[must_use]
    pub fn new(site: Arc<Site>) -> Arc<SiteHandle> {
        Arc::new(SiteHandle {
            site,
            notify: Arc::new(Notify::new()),
            inbox: Mutex::default(),
            status: Mutex::default(),
            stopped: AtomicBool::new(false),
            awake_by: AtomicU64::new(u64::MAX),
        })
    }

    /// The loop says when it will look again, at the latest.
    pub(super) fn awake_by(&self, moment: Moment) {
        let millis = u64::try_from(moment.0.as_millis()).unwrap_or(u64::MAX);
        self.awake_by.store(millis, Ordering::Relaxed);
    }

    /// Whether the loop should have looked long ago: it is stuck, and only a
    /// new process will help.
    #[must_use]
    pub fn is_stuck(&self, now: Moment) -> bool {
        let by = Duration::from_millis(self.awake_by.load(Ordering::Relaxed));
        now.since(Moment(by)) > STUCK
    }

    /// Takes the word of an alert and wakes the site: "look now".
    ///
    /// `status` is `None` for an alert that says nothing but "look".
    pub fn alert(
        &self,
        identity: u64,
        status: Option<AlertStatus>,
        starts_at: Option<Timestamp>,
        received: (Moment, Timestamp),
    ) {
        let word = Word {
            identity,
            status,
            starts_at,
        };
        self.alerts([word], received);
    }

    /// Takes the words of alerts that came together, and wakes the site once.
    pub fn alerts(
        &self,
        words: impl IntoIterator<Item = Word>,
        (moment, time): (Moment, Timestamp),
    ) {
        let mut inbox = self.inbox();
        let mut news = false;
        for word in words {
            let Some(status) = word.status else { continue };
            let (identity, starts_at) = (word.identity, word.starts_at);
            news |= inbox.alerts.take(identity, status, starts_at, moment);
            inbox.last_alert = Some(LastAlert {
                status,
                received: time,
            });
        }
        if inbox.look_for_alert || (inbox.confirming && !news) {
            return;
        }
        inbox.look_for_alert = true;
        drop(inbox);
        self.notify.notify_one();
    }

    /// Says "look again" to the site, and nothing more.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Puts a request to the loop. The answer comes with its next decision, or
    /// never if the loop ends first.
    pub fn ask(&self, request: Request) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut inbox = self.inbox();
        if !inbox.ended {
            inbox.asked.push(Asked { request, answer });
            drop(inbox);
            self.notify.notify_one();
        }
        receiver
    }

    /// Gives an order that needs no look at the origins. The answer comes once
    /// it stands: no write is under way then that it forbids. It says whether
    /// the order would survive a restart.
    pub fn order(&self, order: StandingOrder) -> oneshot::Receiver<Kept> {
        let (answer, receiver) = oneshot::channel();
        let mut inbox = self.inbox();
        if !inbox.ended {
            if matches!(order, StandingOrder::Unpin) {
                inbox.drop_pins();
            }
            inbox.orders.push((order, answer));
            drop(inbox);
            self.notify.notify_one();
        }
        receiver
    }

    /// What the site last said of itself.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        let status = self.status.lock();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the site says of itself from now on.
    pub(super) fn publish(&self, status: Status) {
        let shown = self.status.lock();
        let mut shown = shown.unwrap_or_else(PoisonError::into_inner);
        if **shown != status {
            *shown = Arc::new(status);
        }
    }

    /// Tells its loop to wind up.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether its loop is told to wind up.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits until its loop is told to wind up, for the loop itself before its
    /// first look: this takes whatever wakes it.
    pub async fn stopped(&self) {
        while !self.is_stopped() {
            self.notify.notified().await;
        }
    }

    /// The inbox; a panic elsewhere leaves it as usable as it was.
    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the loop has ended: whoever asked hears that nobody answers.
    pub fn mark_ended(&self) {
        let mut inbox = self.inbox();
        inbox.ended = true;
        inbox.asked.clear();
        inbox.orders.clear();
    }

    /// Takes over what an earlier loop of the site knew of its alerts.
    pub fn inherit(&self, before: &SiteHandle) {
        let (alerts, last_alert) = {
            let inbox = before.inbox();
            (inbox.alerts.clone(), inbox.last_alert)
        };
        let mut inbox = self.inbox();
        inbox.alerts = alerts;
        inbox.last_alert = last_alert;
    }

    /// Says that the site is new or changed since the configuration was read again.
    pub fn mark_reloaded(&self) {
        self.inbox().reloaded = true;
    }
}
