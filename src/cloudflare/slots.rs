//! Who calls next: a few calls of a token at once, the most urgent first, and
//! none beyond the budget.
//!
//! That few are under way makes the order real, and lets calls gather while
//! they wait. Nothing polls: a slot that comes free and a moment at which the
//! budget frees grant what waits.

use super::answer::{Fault, Kind};
use super::budget::{Budget, Class, Seen};
use super::ratelimit::Item;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Calls of one token under way at once.
const SLOTS: usize = 6;

/// As many of them may be steady reads.
const STEADY_SLOTS: usize = 2;

/// Others' use of the budget is said aloud once in this time.
const SAID_AGAIN: Duration = Duration::from_secs(300);

type Grant = Result<Permit, Fault>;

/// A call that waits for its turn.
struct Waiter {
    until: Instant,
    grant: oneshot::Sender<Grant>,
}

struct State {
    budget: Budget,
    /// By class, in order of arrival.
    waiting: [VecDeque<Waiter>; Class::ALL.len()],
    busy: usize,
    steady: usize,
    /// Wakes when the budget frees.
    timer: Option<AbortHandle>,
    /// When it was last said that others use the budget.
    said: Option<Instant>,
}

/// The calls of one token: their slots and their budget.
pub(super) struct Desk(Mutex<State>);

/// The right to make one call.
pub(super) struct Permit {
    desk: Arc<Desk>,
    class: Class,
    has_slot: bool,
    sent: bool,
}

impl Permit {
    /// The call is about to be sent.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// The call may never be answered: others have its slot from now on.
    pub(super) fn hangs(&mut self) {
        if std::mem::take(&mut self.has_slot) {
            self.desk.lock().vacate(self.class);
            self.desk.pump();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.desk.lock();
        state.budget.end(self.class, self.sent, now);
        if self.has_slot {
            state.vacate(self.class);
        }
        drop(state);
        self.desk.pump();
    }
}

impl Desk {
    pub(super) fn new(limit: u32) -> Arc<Desk> {
        Arc::new(Desk(Mutex::new(State {
            budget: Budget::new(limit),
            waiting: Default::default(),
            busy: 0,
            steady: 0,
            timer: None,
            said: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a call's turn; not beyond `until`, and not at all if the
    /// budget frees only after that.
    ///
    /// # Errors
    /// That it may not be made in time.
    pub(super) async fn enter(self: &Arc<Self>, class: Class, until: Instant) -> Grant {
        let (grant, granted) = oneshot::channel();
        self.lock().waiting[class as usize].push_back(Waiter { until, grant });
        self.pump();
        match tokio::time::timeout_at(until, granted).await {
            Ok(Ok(granted)) => granted,
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                Kind::NotSent,
                "the time for this decision is over",
            )),
        }
    }

    /// Grants what can be granted. Grants are handed out after the lock is
    /// given back: one that nobody waits for any more comes back at once.
    fn pump(self: &Arc<Self>) {
        let mut grants = Vec::new();
        let mut state = self.lock();
        let wake = state.grant(Instant::now(), &mut grants);
        if let Some(timer) = state.timer.take() {
            timer.abort();
        }
        // Without a runtime the process is ending.
        if let (Some(wake), Ok(runtime)) = (wake, tokio::runtime::Handle::try_current()) {
            let desk = self.clone();
            let timer = async move {
                tokio::time::sleep_until(wake).await;
                desk.pump();
            };
            state.timer = Some(runtime.spawn(timer).abort_handle());
        }
        drop(state);
        for (waiter, outcome) in grants {
            let outcome = outcome.map(|class| Permit {
                desk: self.clone(),
                class,
                has_slot: true,
                sent: false,
            });
            // Who gave up gives it back by dropping it.
            let _ = waiter.grant.send(outcome);
        }
    }

    /// Cloudflare throttles us: no calls for so long.
    pub(super) fn silence(&self, wait: Duration) {
        self.lock().budget.silence(Instant::now() + wait);
    }

    /// How long Cloudflare still wants no calls.
    pub(super) fn silence_left(&self) -> Option<Duration> {
        self.lock().budget.silence_left(Instant::now())
    }

    /// Takes in what an answer tells of Cloudflare's windows. Gives what is
    /// then to be seen, if others use so much that it is to be said now.
    pub(super) fn tell(&self, items: &[Item]) -> Option<Seen> {
        let now = Instant::now();
        let mut state = self.lock();
        state.budget.tell(items, now);
        let seen = state.budget.seen(now);
        let lately = state.said.is_some_and(|at| now - at < SAID_AGAIN);
        if lately || seen.foreign <= seen.limit / 4 {
            return None;
        }
        state.said = Some(now);
        Some(seen)
    }

    /// Another token is in use.
    pub(super) fn forget_told(&self) {
        self.lock().budget.forget_told();
    }

    /// Another number of calls in 5 minutes.
    pub(super) fn set_limit(&self, limit: u32) {
        self.lock().budget.set_limit(limit);
    }

    /// What is to be seen of the budget now.
    pub(super) fn seen(&self) -> Seen {
        self.lock().budget.seen(Instant::now())
    }

    /// Steady reads in 5 minutes.
    pub(super) fn steady_share(&self) -> usize {
        self.lock().budget.steady_share(Instant::now())
    }
}

impl State {
    fn vacate(&mut self, class: Class) {
        self.busy -= 1;
        self.steady -= usize::from(class == Class::SteadyRead);
    }

    /// Takes out who goes now, or who cannot go in time. Gives when to look
    /// again, if the budget is what those wait for who are left.
    fn grant(
        &mut self,
        now: Instant,
        grants: &mut Vec<(Waiter, Result<Class, Fault>)>,
    ) -> Option<Instant> {
        for class in Class::ALL {
            let waiting = &mut self.waiting[class as usize];
            while let Some(waiter) = waiting.pop_front() {
                if waiter.grant.is_closed() {
                    continue;
                }
                let steady = class == Class::SteadyRead;
                if self.busy >= SLOTS || (steady && self.steady >= STEADY_SLOTS) {
                    waiting.push_front(waiter);
                    return None;
                }
                match self.budget.take(class, now) {
                    Ok(()) => {
                        self.busy += 1;
                        self.steady += usize::from(steady);
                        grants.push((waiter, Ok(class)));
                    }
                    Err(wait) if now + wait.left >= waiter.until => {
                        let fault = Fault::new(Kind::Throttled(wait.left), wait.text);
                        grants.push((waiter, Err(fault)));
                    }
                    // Nobody less urgent goes before.
                    Err(wait) => {
                        waiting.push_front(waiter);
                        return Some(now + wait.left);
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn soon() -> Instant {
        Instant::now() + 30 * SECOND
    }

    async fn filled(desk: &Arc<Desk>, calls: usize) -> Vec<Permit> {
        let mut permits = Vec::new();
        for _ in 0..calls {
            let mut permit = desk.enter(Class::FlightRead, soon()).await.ok().unwrap();
            permit.sent();
            permits.push(permit);
        }
        permits
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_urgent_goes_first_and_then_who_came_first() {
        let desk = Desk::new(1200);
        let mut busy = filled(&desk, SLOTS).await;
        let (order, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut classes = Class::ALL.to_vec();
        classes.reverse();
        classes.extend(Class::ALL);
        for (number, class) in classes.into_iter().enumerate() {
            let (desk, order) = (desk.clone(), order.clone());
            tokio::spawn(async move {
                let _permit = desk.enter(class, soon()).await;
                order.send((class, number)).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(order);
        busy.pop();
        let mut seen = Vec::new();
        while let Some(next) = told.recv().await {
            seen.push(next);
        }
        let mut sorted = seen.clone();
        sorted.sort();
        assert_eq!(seen.len(), 12);
        assert_eq!(seen, sorted);
    }

    #[tokio::test(start_paused = true)]
    async fn steady_reads_hold_two_slots_at_most() {
        let desk = Desk::new(1200);
        let first = desk.enter(Class::SteadyRead, soon()).await;
        let _second = desk.enter(Class::SteadyRead, soon()).await;
        let third = desk.enter(Class::SteadyRead, Instant::now() + SECOND).await;
        assert_eq!(third.err().unwrap().kind, Kind::NotSent);
        assert!(desk.enter(Class::FlightRead, soon()).await.is_ok());
        drop(first);
        assert!(desk.enter(Class::SteadyRead, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_keeps_nobody_from_calling_but_counts() {
        let desk = Desk::new(1200);
        let mut busy = filled(&desk, SLOTS).await;
        let soon = Instant::now() + SECOND;
        assert!(desk.enter(Class::FlightWrite, soon).await.is_err());
        for permit in &mut busy {
            permit.hangs();
            permit.hangs();
        }
        assert_eq!(filled(&desk, SLOTS).await.len(), SLOTS);
        assert_eq!(desk.seen().used, 2 * SLOTS);
        drop(busy);
        assert_eq!(filled(&desk, SLOTS).await.len(), SLOTS);
        assert_eq!(desk.seen().used, 3 * SLOTS);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_takes_no_slot_and_no_call() {
        let desk = Desk::new(1200);
        let busy = filled(&desk, SLOTS).await;
        let gone = tokio::spawn({
            let desk = desk.clone();
            async move { desk.enter(Class::FlightWrite, soon()).await.is_ok() }
        });
        tokio::task::yield_now().await;
        gone.abort();
        let _ = gone.await;
        drop(busy);
        assert_eq!(desk.seen().used, SLOTS);
        assert_eq!(filled(&desk, SLOTS).await.len(), SLOTS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_frees_in_time_is_waited_for_and_one_that_does_not_is_told_at_once() {
        let desk = Desk::new(10);
        drop(filled(&desk, 5).await);
        drop(filled(&desk, 3).await);
        let start = Instant::now();
        let refused = desk.enter(Class::FlightRead, soon()).await.err().unwrap();
        assert_eq!(refused.kind, Kind::Throttled(300 * SECOND));
        assert_eq!(Instant::now(), start);
        tokio::time::sleep(280 * SECOND).await;
        assert!(desk.enter(Class::FlightRead, soon()).await.is_ok());
        assert_eq!(Instant::now(), start + 300 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_return_takes_nothing_that_a_flight_waits_for() {
        let desk = Desk::new(20);
        for _ in 0..3 {
            drop(filled(&desk, SLOTS).await);
        }
        // The reads' part is used up. A return's write would find room.
        let flight = tokio::spawn({
            let (desk, until) = (desk.clone(), Instant::now() + 400 * SECOND);
            async move { desk.enter(Class::FlightRead, until).await.is_ok() }
        });
        tokio::task::yield_now().await;
        let soon = Instant::now() + SECOND;
        assert!(desk.enter(Class::ReturnWrite, soon).await.is_err());
        assert!(desk.enter(Class::FlightWrite, soon + SECOND).await.is_ok());
        assert!(flight.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn others_use_is_said_once_in_five_minutes() {
        let desk = Desk::new(1200);
        let told = |left| {
            let item = Item {
                name: "default".into(),
                left,
                resets: 300 * SECOND,
                quota: Some(1200),
                window: Some(300 * SECOND),
            };
            desk.tell(&[item])
        };
        assert_eq!(told(1200), None);
        assert_eq!(told(900), None);
        assert_eq!(told(899).map(|seen| seen.foreign), Some(301));
        assert_eq!(told(800), None);
        tokio::time::sleep(SAID_AGAIN).await;
        assert_eq!(told(899).map(|seen| seen.foreign), Some(301));
    }
}
