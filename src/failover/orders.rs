//! What people order and what stands until it ends: pins and freezes of a site.

use super::handle::Kept;
use super::legs::Evidence;
use super::memory::Wellness;
use super::site::SiteLoop;
use crate::clock::Clock;
use crate::rule::Moment;
use crate::rule::address::{Place, Role};
use crate::rule::brakes::HoldReason;
use crate::rule::decision::Order;
use crate::rule::health::State;
use crate::rule::standing::{Freeze, Frozen, KeptPin, Pin, Scope, terms};
use jiff::Timestamp;
use std::sync::Arc;
use tokio::sync::oneshot;
use tracing::{info, warn};

/// The origin that plays MAIN's part unless a pin says otherwise.
const MAIN: usize = 0;

/// Something that stands until a moment: the wall clock that a person named is
/// turned into one, so that setting that clock ends nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing<T> {
    pub(super) terms: T,
    pub(super) ends: Option<Moment>,
}

impl<T> Standing<T> {
    pub(super) fn new(until: Option<Timestamp>, terms: T, clock: &Clock) -> Standing<T> {
        let ends = until.map(|at| clock.moment_of(at));
        Standing { terms, ends }
    }

    pub(super) fn stands(&self, now: Moment) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

/// An order that takes effect without a look at the origins.
#[derive(Debug)]
pub enum StandingOrder {
    /// End the pin.
    Unpin,
    /// Let nothing be written.
    Freeze(Freeze),
    /// End the freeze, and that of a pin by force.
    Unfreeze,
    /// Take in what holds over all sites.
    Heed,
}

/// A person's wish for a pin, until it is known whether it can be had.
#[derive(Debug)]
pub(super) struct PinWish {
    pub(super) order: Order,
    pub(super) until: Option<Timestamp>,
    pub(super) reason: Arc<str>,
    pub(super) answer: oneshot::Sender<super::Answer>,
}

impl PinWish {
    /// The pin that it will be.
    pub(super) fn pin(&self, places: &[Place]) -> Pin {
        Pin {
            place: places[self.order.to].to_string().into(),
            until: self.until,
            reason: self.reason.clone(),
            forced: self.order.force,
        }
    }
}

/// What stands for a site.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pin: Option<Box<(usize, Standing<Pin>)>>,
    freeze: Option<Box<Standing<Freeze>>>,
    /// The site has not moved to its pin yet.
    pub(super) unmoved: Option<Order>,
    /// Pins were lifted, and so is one that is still on its way.
    pub(super) lifted: bool,
    /// Whether a freeze stood at the last look.
    was_frozen: bool,
    /// What the metrics show.
    shown: (Option<Role>, bool),
}

impl SiteLoop {
    /// The index of the origin that plays MAIN's part.
    pub(super) fn main(&self) -> usize {
        self.orders.pin.as_deref().map_or(MAIN, |(index, _)| *index)
    }

    /// The pin that stands.
    pub(super) fn pin(&self) -> Option<&Pin> {
        self.orders.pin.as_deref().map(|(_, pin)| &pin.terms)
    }

    /// The part of the pinned origin, and the pin.
    pub(super) fn pinned(&self) -> Option<(Role, Pin)> {
        let (index, pin) = self.orders.pin.as_deref()?;
        Some((Role::of_index(*index), pin.terms.clone()))
    }

    /// The freeze that stands: that of the site before that of all, and both
    /// before that of a forced pin, which holds against everything but itself.
    pub(super) fn frozen(&self) -> Option<Frozen> {
        let now = self.tools.clock.moment();
        let site = self.orders.freeze.as_ref().filter(|f| f.stands(now));
        let site = site.map(|freeze| (Scope::Site, freeze.terms.clone()));
        let pin = self.pin().filter(|pin| pin.forced).map(|pin| {
            let (until, reason) = (pin.until, pin.reason.clone());
            (Scope::Pin, Freeze { until, reason })
        });
        let all = || self.tools.guard.freeze().map(|freeze| (Scope::All, freeze));
        let (scope, freeze) = site.or_else(all).or(pin)?;
        Some(Frozen { scope, freeze })
    }

    /// Brings the metrics up to date.
    pub(super) fn show_orders(&mut self) {
        let role = self.pinned().map(|(role, _)| role);
        let now = (role, self.frozen().is_some());
        let before = std::mem::replace(&mut self.orders.shown, now);
        if before.0 != now.0 {
            self.metrics.pinned(now.0);
        }
        if before.1 != now.1 {
            self.metrics.frozen(now.1);
        }
    }

    /// When something that stands ends by itself.
    pub(super) fn something_ends(&self) -> Option<Moment> {
        let pin = self.orders.pin.as_deref().and_then(|(_, pin)| pin.ends);
        let freeze = self.orders.freeze.as_ref().and_then(|f| f.ends);
        let all = self.tools.guard.standing().and_then(|f| f.ends);
        pin.into_iter().chain(freeze).chain(all).min()
    }

    /// Takes over what was stored.
    pub(super) async fn restore_orders(&mut self, pin: Option<KeptPin>, freeze: Option<Freeze>) {
        let clock = &self.tools.clock;
        let now = clock.moment();
        let freeze = freeze.map(|freeze| Standing::new(freeze.until, freeze, clock));
        self.orders.freeze = freeze.map(Box::new);
        // One that ended while nobody ran ends at the first look, like any other.
        self.orders.was_frozen = self.orders.freeze.is_some();
        if let Some(KeptPin { pin, due }) = pin {
            let standing = Standing::new(pin.until, pin, clock);
            let place = &*standing.terms.place;
            let index = self.places.iter().position(|p| p.to_string() == place);
            match index {
                Some(to) if standing.stands(now) => {
                    let force = standing.terms.forced;
                    self.orders.unmoved = due.then_some(Order { to, force });
                    self.orders.pin = Some(Box::new((to, standing)));
                }
                Some(_) => {
                    // It ended while nobody ran; a clock that is set back does
                    // not bring it back.
                    let _ = self.tools.store.save_pin(&self.site.name, None).await;
                }
                None => {
                    warn!(
                        site = %self.site.name,
                        "{}: the pin to {place} is dropped: no origin of the site has that address any more",
                        self.site.name
                    );
                    // Nor is it to be back when the address is.
                    let _ = self.tools.store.save_pin(&self.site.name, None).await;
                }
            }
        }
        self.well = Wellness::new(self.origins[self.main()].fingerprint.clone());
        self.orders.was_frozen |= self.frozen().is_some();
    }

    /// Whether there may be an order to take, or one that ends.
    pub(super) fn orders_due(&self) -> bool {
        let orders = &self.orders;
        let stands = orders.pin.is_some() || orders.freeze.is_some() || orders.was_frozen;
        stands || self.tools.guard.standing().is_some() || !self.handle.inbox().orders.is_empty()
    }

    /// Takes the orders that came in, and ends what is over.
    pub(super) async fn take_orders(&mut self) {
        let orders = std::mem::take(&mut self.handle.inbox().orders);
        for (order, answer) in orders {
            let kept = self.take_order(order).await;
            self.publish();
            // Whoever ordered may have gone.
            let _ = answer.send(kept);
        }
        let now = self.tools.clock.moment();
        if self
            .orders
            .pin
            .as_deref()
            .is_some_and(|(_, pin)| !pin.stands(now))
        {
            info!(site = %self.site.name, "{}: the pin has ended", self.site.name);
            // A failure is the store's to tell; what is past stays past.
            let _ = self.set_pin(None, None).await;
        }
        if self.orders.freeze.as_ref().is_some_and(|f| !f.stands(now)) {
            info!(site = %self.site.name, "{}: the freeze has ended", self.site.name);
            let _ = self.set_freeze(None).await;
        }
        let frozen = self.frozen().is_some();
        if std::mem::replace(&mut self.orders.was_frozen, frozen) && !frozen {
            // What was seen while nothing could be done is not waited out, and
            // what is lifted is not shown until the next decision.
            self.wait_anew();
            if self.hold == Some(HoldReason::Frozen) {
                self.set_hold(None);
            }
        }
    }

    async fn take_order(&mut self, order: StandingOrder) -> Kept {
        let site = &self.site.name;
        match order {
            StandingOrder::Heed => Ok(()),
            StandingOrder::Unpin => {
                info!(%site, "{site}: the pin is lifted, by hand");
                self.orders.lifted = true;
                self.set_pin(None, None).await
            }
            StandingOrder::Freeze(freeze) => {
                let said = terms(freeze.until, &freeze.reason);
                warn!(%site, "{site}: frozen by hand{said}");
                self.set_freeze(Some(freeze)).await
            }
            StandingOrder::Unfreeze => {
                info!(%site, "{site}: the freeze is lifted, by hand");
                let kept = self.set_freeze(None).await;
                match self.orders.pin.as_deref().cloned() {
                    Some((to, mut pin)) if pin.terms.forced => {
                        pin.terms.forced = false;
                        let force = false;
                        let due = self.orders.unmoved.map(|order| Order { force, ..order });
                        kept.and(self.set_pin(Some((to, pin)), due).await)
                    }
                    _ => kept,
                }
            }
        }
    }

    /// Makes an origin play MAIN's part, or MAIN itself again. The site moves
    /// there if it is `due` to.
    async fn set_pin(&mut self, pin: Option<(usize, Standing<Pin>)>, due: Option<Order>) -> Kept {
        let before = self.main();
        if self.orders.pin.is_none() && pin.is_none() {
            return Ok(());
        }
        self.orders.pin = pin.map(Box::new);
        self.orders.unmoved = due;
        let kept = self.keep_pin().await;
        if self.main() != before {
            self.history.forget_returns();
            self.well = Wellness::anew(self.origins[self.main()].fingerprint.clone());
            self.tell_where();
        }
        self.wait_anew();
        self.save_wellness().await;
        kept
    }

    async fn keep_pin(&mut self) -> Kept {
        let kept = self.pin().map(|pin| KeptPin {
            pin: pin.clone(),
            due: self.orders.unmoved.is_some(),
        });
        let (store, site) = (&self.tools.store, &self.site.name);
        store.save_pin(site, kept.as_ref()).await
    }

    /// The site need not move to its pin any more: it has, or it cannot.
    pub(super) async fn moved(&mut self) {
        if self.orders.unmoved.take().is_some() {
            // A failure is the store's to tell; a restart finds it so again.
            let _ = self.keep_pin().await;
        }
    }

    async fn set_freeze(&mut self, freeze: Option<Freeze>) -> Kept {
        if self.orders.freeze.is_none() && freeze.is_none() {
            return Ok(());
        }
        let stored = freeze.clone();
        let freeze = freeze.map(|freeze| Standing::new(freeze.until, freeze, &self.tools.clock));
        self.orders.freeze = freeze.map(Box::new);
        let (store, site) = (&self.tools.store, &self.site.name);
        store.save_freeze(site, stored.as_ref()).await
    }

    /// Waits that were served before somebody's hand count no more; the site
    /// is looked at now.
    pub(super) fn wait_anew(&mut self) {
        let now = self.tools.clock.moment();
        let up = self.views(Evidence::Routine)[self.main()].state() == State::Up;
        self.restart_wait(up.then_some(now));
        self.retry_at = None;
        self.look_no_later_than(now);
    }

    /// Makes the wish the pin that stands: it can be had.
    pub(super) async fn grant(&mut self, wish: PinWish) -> (oneshot::Sender<super::Answer>, Kept) {
        let to = wish.order.to;
        let pin = wish.pin(&self.places);
        let site = &self.site.name;
        let said = terms(pin.until, &pin.reason);
        warn!(%site, "{site}: pinned to {} by hand{said}", Role::of_index(to));
        let pin = Standing::new(pin.until, pin, &self.tools.clock);
        let kept = self.set_pin(Some((to, pin)), Some(wish.order)).await;
        (wish.answer, kept)
    }
}
