//! Who is to probe when: one task for all probers, as there may be tens of
//! thousands of them, each with little to do and seldom.

use super::running::Running;
use crate::clock::{Clock, DriftWatch};
use crate::rule::Moment;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::pin::pin;
use std::sync::{Arc, Weak};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

/// So many probes are started before others get their turn.
const AT_ONCE: usize = 128;

/// What all probers share. Cheap to clone; the task ends with the last of them.
#[derive(Clone)]
pub struct Rounds(Arc<Shared>);

struct Shared {
    places: Arc<Semaphore>,
    clock: Clock,
    tasks: TaskTracker,
    calls: mpsc::UnboundedSender<Call>,
}

/// A prober wants to be asked, then.
struct Call {
    at: Moment,
    who: Weak<Running>,
}

/// The same in the order of time, and of calling where that is the same.
struct Due {
    order: (Moment, u64),
    who: Weak<Running>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.order == other.order
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

impl Rounds {
    /// Starts the task. Probes under way have one of `places` each, over all
    /// sites, and are among `tasks`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(places: Arc<Semaphore>, clock: Clock, tasks: TaskTracker) -> Rounds {
        let (calls, called) = mpsc::unbounded_channel();
        tokio::spawn(keep(Timetable::new(clock.clone()), called));
        Rounds(Arc::new(Shared {
            places,
            clock,
            tasks,
            calls,
        }))
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn places(&self) -> &Semaphore {
        &self.0.places
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(super) fn call(&self, at: Moment, who: Weak<Running>) {
        // The task ends with the runtime only, or after the last of us.
        let _ = self.0.calls.send(Call { at, who });
    }
}

/// Who is due when.
struct Timetable {
    clock: Clock,
    drift: DriftWatch,
    /// How often the clocks went apart so far.
    jumps: u32,
    dues: BinaryHeap<Reverse<Due>>,
    called: u64,
}

impl Timetable {
    fn new(clock: Clock) -> Timetable {
        Timetable {
            drift: DriftWatch::new(&clock),
            jumps: 0,
            clock,
            dues: BinaryHeap::new(),
            called: 0,
        }
    }

    fn add(&mut self, Call { at, who }: Call) {
        self.called += 1;
        let order = (at, self.called);
        self.dues.push(Reverse(Due { order, who }));
    }

    fn next(&self) -> Option<Instant> {
        let Reverse(due) = self.dues.peek()?;
        Some(self.clock.instant(due.order.0))
    }

    /// Asks those who are due, at most so many; whether those were all.
    fn ask(&mut self) -> bool {
        let now = self.clock.moment();
        self.jumps += u32::from(self.drift.jumped(&self.clock));
        for _ in 0..AT_ONCE {
            let due = self.dues.peek_mut();
            let due = due.filter(|due| due.0.order.0 <= now).map(PeekMut::pop);
            let Some(Reverse(due)) = due else { return true };
            let prober = due.who.upgrade();
            if let Some(at) = prober.and_then(|prober| prober.asked(due.order.0, now, self.jumps)) {
                self.add(Call { at, who: due.who });
            }
        }
        false
    }
}

async fn keep(mut timetable: Timetable, mut called: mpsc::UnboundedReceiver<Call>) {
    let mut alarm = pin!(sleep_until(Instant::now()));
    loop {
        let next = timetable.next();
        if let Some(next) = next.filter(|&next| next != alarm.deadline()) {
            alarm.as_mut().reset(next);
        }
        tokio::select! {
            biased;
            call = called.recv() => match call {
                Some(call) => timetable.add(call),
                None => return,
            },
            () = &mut alarm, if next.is_some() => {}
        }
        while let Ok(call) = called.try_recv() {
            timetable.add(call);
        }
        while !timetable.ask() {
            tokio::task::yield_now().await;
        }
    }
}
