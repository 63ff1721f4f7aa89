//! Reading the record, and noticing whose hand it shows.

use super::record::{Hand, Reading};
use super::site::{DECISION_LIMIT, SiteLoop};
use super::{KnownRecord, Record, Unavailable, Urgency};
use crate::config::Origin;
use crate::rule::Moment;
use crate::rule::address::{Holding, Role};
use crate::rule::brakes::Foreign;
use crate::rule::decision::Order;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tracing::warn;

/// How soon a stale answer is read again, and how often before it is believed.
pub(super) const STALE_AGAIN: Duration = Duration::from_secs(1);
const STALE_BELIEVED: u32 = 10;

/// A read under way.
pub(super) type ReadFlight = BoxFuture<'static, Result<Vec<Record>, Unavailable>>;

impl SiteLoop {
    pub(super) fn start_read(&self) -> ReadFlight {
        let (dns, site) = (self.tools.dns.clone(), self.site.clone());
        let urgency = if self.flight_waits {
            Urgency::Flight
        } else {
            Urgency::Steady
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

    /// With another token, what was refused may be tried at once.
    pub(super) fn notice_token(&mut self) {
        let epoch = self.tools.dns.epoch();
        if std::mem::replace(&mut self.epoch, epoch) == epoch {
            return;
        }
        let now = self.tools.clock.moment();
        if self.retry_at.take().is_some() {
            self.look_no_later_than(now);
        }
        if self.read_error.is_some() {
            self.read_no_later_than(now);
        }
    }

    pub(super) async fn take_reading(&mut self, reading: Reading) {
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
            // Away until now: what could not be decided can be.
            None => !self.handle.inbox().confirming,
        };
        self.record_changed |= changed;
        if changed && self.reading.is_some() {
            self.moved_at = Some(self.tools.clock.moment());
        }
        self.set_reading(reading).await;
    }

    pub(super) fn notice_foreign(&mut self, foreign: Foreign) {
        if self.foreign.as_deref() == Some(&foreign) {
            return;
        }
        self.metrics.foreign_edit();
        warn!(
            site = %self.site.name,
            "{}: somebody else changed the record from {} to {} at {}",
            self.site.name, foreign.ours, foreign.theirs, foreign.modified_on
        );
        // What we waited for, we waited for on the record as it was.
        let now = self.well.running().then(|| self.tools.clock.moment());
        self.restart_wait(now);
        self.foreign = Some(Box::new(foreign));
    }

    /// Makes `reading` the one decisions rest on, and watches a foreign address.
    pub(super) async fn set_reading(&mut self, reading: Reading) {
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
                self.other = Some(Box::new(watched));
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
        let moved = |order: Order| reading.holding == Holding::Origin(order.to);
        if self.orders.unmoved.is_some_and(moved) {
            self.moved().await;
        }
        self.reading = Some(reading);
        self.tell_where();
    }

    /// Takes the record as it was last read for the one we know.
    pub(super) async fn adopt_reading(&mut self) {
        if let Some(known) = self.reading.as_ref().and_then(|r| r.known(&self.places)) {
            self.keep_known(known).await;
        }
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

    /// Gives up a read under way: what it would say is older than a write.
    pub(super) fn forget_read(&mut self) {
        self.read_flight = None;
    }

    /// The next read is the routine one, unless a switch is verified before.
    pub(super) fn plan_read(&mut self) {
        let interval = self
            .tools
            .dns
            .pace(&self.site.zone, self.site.probe.interval);
        self.next_read = self.tools.clock.moment() + interval;
        if let Some(at) = self.verify_at {
            self.read_no_later_than(at);
        }
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
}
