//! One probe on its way.

use super::flights::Landed;
use super::running::Running;
use super::{LATENESS, Probe};
use crate::clock::Clock;
use crate::crowd::Entered;
use crate::rule::Moment;
use crate::rule::finding::{Finding, Observation, Phases};
use std::sync::Arc;
use std::time::Duration;

/// One probe on its way. A flight that is dropped before its end is lost, and
/// holds up nobody's result.
pub(super) struct Flight {
    pub(super) prober: Arc<Running>,
    pub(super) number: u64,
    /// When it was due.
    pub(super) slot: Moment,
    /// The confirmation it is for.
    pub(super) confirming: Option<u64>,
    /// It waits for its place.
    pub(super) waits: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.prober.lost(self.number, self.waits);
    }
}

impl Flight {
    pub(super) async fn fly(mut self) {
        let seen = self.seen().await;
        let confirming = self.confirming;
        self.prober.landed(self.number, Landed { seen, confirming });
    }

    async fn seen(&mut self) -> Observation {
        let prober = self.prober.clone();
        // The address's place first: who waits for that keeps nobody else from
        // probing elsewhere.
        let place = match prober.probe.gate() {
            None => None,
            Some(gate) => match gate.enter().await {
                Entered::Dials(place) => Some(place),
                Entered::Told(finding, began) => return self.told(finding, began),
            },
        };
        let rounds = &prober.rounds;
        // The semaphore is never closed; without a permit we probe all the same.
        let _place = (place, rounds.places().acquire().await.ok());
        self.starts();
        let limit = prober.schedule.timeout + LATENESS;
        timed(prober.probe.as_ref(), rounds.clock(), limit).await
    }

    fn starts(&mut self) {
        self.waits = false;
        self.prober.starts(self.slot);
    }

    /// Another's dial, begun then, has told what this probe would find.
    fn told(&mut self, finding: Finding, began: tokio::time::Instant) -> Observation {
        self.starts();
        let finished = self.prober.rounds.clock().moment();
        let ago = began.elapsed();
        Observation {
            started: Moment(finished.0.saturating_sub(ago)),
            finished,
            finding,
            phases: Phases::default(),
        }
    }
}

/// Runs one probe and notes its times. A result long after its limit is no
/// evidence: we were not scheduled.
async fn timed(probe: &dyn Probe, clock: &Clock, limit: Duration) -> Observation {
    let started = clock.moment();
    let sample = probe.probe().await;
    let finished = clock.moment();
    let took = finished.since(started);
    let finding = if took > limit {
        Finding::Late(took.saturating_sub(limit.saturating_sub(LATENESS)))
    } else {
        sample.finding
    };
    Observation {
        started,
        finished,
        finding,
        phases: sample.phases,
    }
}
