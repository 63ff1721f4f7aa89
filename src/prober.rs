//! Probers, one for each address of each origin: schedule, probe, health, report.
//!
//! A prober decides nothing. It reports what it knows and wakes its site,
//! which then looks at the whole.
//!
//! | file | holds |
//! | --- | --- |
//! | `rounds` | one task that knows who is to probe when |
//! | `running` | a prober: its next probe, and what its probes came to |
//! | `flight` | one probe on its way |
//! | `flights` | the order in which results are taken |
//! | `reins` | the site's end |

use crate::crowd::Gate;
use crate::rule::finding::{Finding, Observation, Phases};
use crate::rule::health::{State as Believed, Thresholds, Transition, Trial};
use futures_util::future::BoxFuture;
use running::{Running, State};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};

mod flight;
mod flights;
mod reins;
mod rounds;
mod running;

pub use reins::Reins;
pub use rounds::Rounds;

/// A result may be this much later than its time limit before it says more
/// about us than about the origin.
const LATENESS: Duration = Duration::from_secs(1);

/// Observations of a confirmation that are kept.
const RECORDED: usize = 32;

/// Probes of one address under way at once, however long the time limit.
const OVERLAP: usize = 64;

/// What one probe found and how long its parts took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What it found.
    pub finding: Finding,
    /// What its parts took.
    pub phases: Phases,
}

/// Looks at one address, once, within its own time limit.
pub trait Probe: Send + Sync + 'static {
    /// Probes now.
    fn probe(&self) -> BoxFuture<'_, Sample>;

    /// Its way into the crowd of those who probe the same address, if they are
    /// counted.
    fn gate(&self) -> Option<&Gate> {
        None
    }
}

/// How often to probe. Set by the site's loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// The confirmation under way, by number; `None` is routine.
    pub confirming: Option<u64>,
    /// Raised when something joins the confirmation: probe at once.
    pub nudges: u64,
}

/// What is known of one address.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What all probes say.
    pub state: Believed,
    /// The newest observation in the order of starts.
    pub newest: Option<Arc<Observation>>,
    /// The newest one that found the origin down: why it is, while it is.
    pub failure: Option<Arc<Observation>>,
    /// What the probes of the confirmation with this number say.
    pub trial: (u64, Trial),
    /// The newest observations of that confirmation, in the order of starts.
    pub recorded: Vec<Arc<Observation>>,
    /// Gaps in observation so far.
    pub gaps: u64,
    /// How often it has gone down so far: an outage may begin and end between
    /// two looks at the state, when results come all at once.
    pub downs: u64,
    /// How often it has come up so far.
    pub ups: u64,
}

/// When one prober probes, and what it takes to believe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Between routine probes.
    pub interval: Duration,
    /// Between probes of a confirmation.
    pub confirm_interval: Duration,
    /// The time limit of one probe.
    pub timeout: Duration,
    /// Where in the interval the routine probes lie, so that they are spread.
    pub offset: Duration,
    /// The thresholds of the health machine.
    pub limits: Thresholds,
}

/// Who hears of each observation, beside the site: metrics and logs.
pub trait Witness: Send + Sync + 'static {
    /// A probe has its result.
    fn observed(&self, seen: &Observation);
    /// The state changed.
    fn changed(&self, transition: Transition, seen: &Observation);
    /// A probe starts, this much later than it was due.
    fn starts(&self, _late: Duration) {}
}

/// What a prober is made of.
pub struct Prober {
    /// The probe.
    pub probe: Arc<dyn Probe>,
    /// When to run it.
    pub schedule: Schedule,
    /// Woken when there is news.
    pub site: Arc<Notify>,
    /// Who else hears of it.
    pub witness: Arc<dyn Witness>,
}

impl Prober {
    /// Probes at this pace until what it gives is dropped.
    #[must_use]
    pub fn start(self, rounds: &Rounds, pace: Pace) -> Reins {
        self.start_with(rounds, pace, None)
    }

    /// The same, and a number that changes with each report.
    #[must_use]
    pub fn start_with_news(self, rounds: &Rounds, pace: Pace) -> (Reins, watch::Receiver<u64>) {
        let (news, heard) = watch::channel(0);
        (self.start_with(rounds, pace, Some(news)), heard)
    }

    fn start_with(self, rounds: &Rounds, pace: Pace, news: Option<watch::Sender<u64>>) -> Reins {
        let at_once = pace.confirming.is_some();
        let now = rounds.clock().moment();
        let first = if at_once {
            now
        } else {
            self.schedule.slot_after(now)
        };
        let running = Arc::new(Running {
            probe: self.probe,
            schedule: self.schedule,
            rounds: rounds.clone(),
            site: self.site,
            witness: self.witness,
            news,
            at_once,
            state: Mutex::new(State::new(pace, first)),
        });
        rounds.call(first, Arc::downgrade(&running));
        Reins(running)
    }
}

#[cfg(test)]
mod tests;
