//! What people ordered, in the judge's own reading: what certainly stands, and
//! what may.

use super::incident::Wish;
use super::judge::{Found, Judge};
use super::site::{Row, Site};
use super::writes::Case;
use crate::world::{ms, secs};
use originswitch::rule::decision::{Decision, Reason};
use originswitch::rule::walk::SwitchKind;
use std::time::Duration;

/// MAIN, by number.
const MAIN: usize = 0;

/// An order that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order<T> {
    pub terms: T,
    /// When it ends by itself.
    ends: Option<Duration>,
}

/// A pin: the origin, and whether it was forced.
pub type Pin = (usize, bool);

/// What may stand at the moment; certain where it is one thing only.
#[derive(Debug, Clone)]
struct Standing<T> {
    maybe: Vec<Option<Order<T>>>,
    /// What it may have been before the orders that are under way, by event.
    before: Vec<Option<Order<T>>>,
    under_way: Vec<(usize, Duration, Option<Order<T>>)>,
    /// Whether orders overlapped.
    mixed: bool,
    /// All that it ever may have been.
    ever: Vec<Option<Order<T>>>,
    /// When a certain order last gave way to another state, at the earliest.
    ended: Option<Duration>,
    /// When it was last read otherwise than before.
    changed: Duration,
}

impl<T> Default for Standing<T> {
    fn default() -> Self {
        Standing {
            maybe: vec![None],
            before: vec![None],
            under_way: Vec::new(),
            mixed: false,
            ever: vec![None],
            ended: None,
            changed: Duration::ZERO,
        }
    }
}

impl<T: Copy + PartialEq> Standing<T> {
    fn may(&mut self, state: Option<Order<T>>) {
        for states in [&mut self.maybe, &mut self.ever] {
            if !states.contains(&state) {
                states.push(state);
            }
        }
    }

    fn asked(&mut self, event: usize, at: Duration, state: Option<Order<T>>) {
        self.changed = at;
        self.mixed = !self.under_way.is_empty();
        if !self.mixed {
            self.before = self.maybe.clone();
        }
        self.under_way.push((event, at, state));
        self.may(state);
    }

    /// An order was answered. Where several were under way, no answer says
    /// which came last.
    fn answered(&mut self, event: usize, granted: bool, at: Duration) {
        let Some(index) = self.under_way.iter().position(|one| one.0 == event) else {
            return;
        };
        self.changed = at;
        let (_, asked, state) = self.under_way.remove(index);
        if !self.under_way.is_empty() {
            return;
        }
        match (granted, self.mixed) {
            (true, false) => self.maybe = vec![state],
            (false, false) => self.maybe = self.before.clone(),
            (_, true) => {}
        }
        if let ([Some(before)], [after]) = (&self.before[..], &self.maybe[..])
            && Some(*before) != *after
        {
            self.ended = Some(asked);
        }
    }

    /// The process is gone: what was under way may have been done, and what
    /// the disk did not take is forgotten.
    fn cut_off(&mut self, forgets: bool) {
        self.under_way.clear();
        if forgets {
            self.maybe = self.ever.clone();
        }
    }

    /// What ends by itself ends a little before or after its time, and where the
    /// clock was set since, whenever.
    fn advance(&mut self, now: Duration, runs: bool, clock_set: bool) {
        let about = secs(1);
        let due = |state: &Option<Order<T>>| {
            let ends = state.as_ref().and_then(|order| order.ends);
            ends.is_some_and(|ends| clock_set || now + about >= ends)
        };
        if !self.maybe.iter().any(due) {
            return;
        }
        self.changed = now;
        if let (Some(Some(order)), false) = (self.certain(), clock_set) {
            self.ended = order.ends.map(|ends| ends.min(now));
        }
        self.may(None);
        // A loop that looks every interval has seen the end by then, but not of
        // what is still on its way.
        let runs = runs && self.under_way.is_empty();
        let over = |state: &Option<Order<T>>| {
            let ends = state.as_ref().and_then(|order| order.ends);
            runs && !clock_set && ends.is_some_and(|ends| now > ends + about)
        };
        self.maybe.retain(|state| !over(state));
    }

    fn certain(&self) -> Option<Option<Order<T>>> {
        match self.maybe[..] {
            [one] if self.under_way.is_empty() => Some(one),
            _ => None,
        }
    }
}

/// The orders of a site.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    pin: Standing<Pin>,
    freeze: Standing<()>,
    /// When the first was given.
    first: Option<Duration>,
}

impl Orders {
    pub fn ask(&mut self, wish: Wish, event: usize, at: Duration) {
        let ends = |lasts: Option<Duration>| lasts.map(|lasts| at + lasts);
        match wish {
            Wish::Pin(to, force, lasts) => {
                let (terms, ends) = ((to, force), ends(lasts));
                self.pin.asked(event, at, Some(Order { terms, ends }));
            }
            Wish::Unpin => self.pin.asked(event, at, None),
            Wish::Freeze(lasts) => {
                let (terms, ends) = ((), ends(lasts));
                self.freeze.asked(event, at, Some(Order { terms, ends }));
            }
            Wish::Unfreeze => {
                self.freeze.asked(event, at, None);
                // It ends what a pin by force holds, too, also of one on its way.
                self.pin.mixed |= !self.pin.under_way.is_empty();
                let pins = self.pin.maybe.clone();
                for order in pins.into_iter().flatten().filter(|order| order.terms.1) {
                    let terms = (order.terms.0, false);
                    self.pin.may(Some(Order { terms, ..order }));
                    self.pin.changed = at;
                }
            }
            _ => return,
        }
        self.first.get_or_insert(at);
    }

    pub fn replied(&mut self, event: usize, granted: bool, at: Duration) {
        self.pin.answered(event, granted, at);
        self.freeze.answered(event, granted, at);
    }

    pub fn cut_off(&mut self, forgets: bool) {
        self.pin.cut_off(forgets);
        self.freeze.cut_off(forgets);
    }

    pub fn advance(&mut self, now: Duration, runs: bool, clock_set: bool) {
        self.pin.advance(now, runs, clock_set);
        self.freeze.advance(now, runs, clock_set);
    }

    /// When the first order was given, if any was.
    pub fn first(&self) -> Option<Duration> {
        self.first
    }

    /// Origins that may play MAIN's part.
    pub fn mains(&self) -> Vec<usize> {
        let pins = self.pin.maybe.iter();
        pins.map(|pin| pin.map_or(MAIN, |order| order.terms.0))
            .collect()
    }

    /// The origin that certainly plays it.
    pub fn main(&self) -> Option<usize> {
        let pin = self.pin.certain()?;
        Some(pin.map_or(MAIN, |order| order.terms.0))
    }

    /// Whether there may be a pin to this origin; by force, if that is asked for.
    pub fn may_pin(&self, to: usize, force: bool) -> bool {
        let mut pins = self.pin.maybe.iter().flatten();
        pins.any(|order| order.terms.0 == to && (order.terms.1 || !force))
    }

    /// Whether a freeze may stand, or a pin by force.
    pub fn may_freeze(&self) -> bool {
        let forced = |pin: &Order<Pin>| pin.terms.1;
        self.freeze.maybe.iter().any(Option::is_some) || self.pin.maybe.iter().flatten().any(forced)
    }

    /// Whether there may ever have been a pin to this origin.
    pub fn ever_pinned(&self, to: usize) -> bool {
        let mut pins = self.pin.ever.iter().flatten();
        pins.any(|order| order.terms.0 == to)
    }

    /// What certainly stands against a write, one for a pin or another.
    fn against(&self, pins: bool) -> Option<&'static str> {
        if let Some(Some(_)) = self.freeze.certain() {
            return Some("it is frozen");
        }
        match self.pin.certain() {
            Some(Some(pin)) if pin.terms.1 && !pins => Some("it is pinned by force"),
            _ => None,
        }
    }

    /// When an order last ended or was replaced by `now`, where that is certain.
    pub fn last_end(&self, now: Duration) -> Duration {
        let ends = self.pin.ended.into_iter().chain(self.freeze.ended);
        ends.filter(|&at| at <= now).max().unwrap_or_default()
    }
}

/// The switch that a pin asks for.
pub const PIN: Reason = Reason::Switch(SwitchKind::Pin);

impl Judge<'_> {
    /// Law 7: nothing is written where people said so.
    pub fn not_frozen(&self, site: usize, case: &Case) -> Found {
        let truth = &self.sites[site];
        let against = truth.orders.against(case.may_be_pinned(truth))?;
        let what = format!("{against}: {:?}", truth.orders);
        (!truth.forgetful()).then_some(("7: frozen holds", what))
    }

    /// Law 9: every decision knows the pin that stands, and none that does not.
    pub fn pin_is_known(&self, site: usize, row: &Row) -> Found {
        let truth = &self.sites[site];
        let decided = self.moment(row.decision.time, row.stored)?;
        if decided <= truth.orders.pin.changed + ms(1) || truth.forgetful() {
            return None;
        }
        let stands = truth.orders.pin.certain()?;
        let place = stands.map(|order| truth.plan.places[order.terms.0].to_string());
        let shown = shown(&row.decision);
        let what = format!("pinned to {place:?}, but the decision shows {shown:?}");
        (shown != place.as_deref()).then_some(("9: no pin is lost", what))
    }
}

fn shown(decision: &Decision) -> Option<&str> {
    let (_, pin) = decision.pin.as_deref()?;
    Some(&pin.place)
}

impl Site<'_> {
    /// Whether what the disk did not take may be forgotten.
    fn forgetful(&self) -> bool {
        self.trouble.is_some() && self.boots.len() > 1
    }
}
