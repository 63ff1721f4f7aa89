//! The only reader of time.
//!
//! Evidence is measured on the monotonic clock ([`Moment`]), history is
//! written with the wall clock ([`Timestamp`]). Both follow tokio's paused
//! clock when simulated, so that a month runs in a second.

use crate::rule::Moment;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What the monotonic clock shows when the process starts: far enough from
/// zero that moments before the start (stored history) can be expressed.
const ORIGIN: Duration = Duration::from_secs(1 << 32);

/// Wall and monotonic clock may drift apart by this much in one tick; more
/// means that the machine slept or its clock was set.
const DRIFT: Duration = Duration::from_secs(2);

/// A source of time, cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

#[derive(Debug, Clone)]
enum Wall {
    System,
    Simulated {
        base: Timestamp,
        steps_ms: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Clock {
        Clock {
            start: Instant::now(),
            wall: Wall::System,
        }
    }

    /// A wall clock that shows `base` now and follows tokio's clock.
    #[must_use]
    pub fn simulated(base: Timestamp) -> Clock {
        Clock {
            start: Instant::now(),
            wall: Wall::Simulated {
                base,
                steps_ms: Arc::default(),
            },
        }
    }

    /// Sets a simulated wall clock forward, or back; a system clock is left alone.
    pub fn step(&self, milliseconds: i64) {
        if let Wall::Simulated { steps_ms, .. } = &self.wall {
            steps_ms.fetch_add(milliseconds, Ordering::Relaxed);
        }
    }

    /// The monotonic clock.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(ORIGIN + self.start.elapsed())
    }

    /// The wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.wall {
            Wall::System => Timestamp::now(),
            Wall::Simulated { base, steps_ms } => {
                let elapsed =
                    SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::MAX);
                let steps = SignedDuration::from_millis(steps_ms.load(Ordering::Relaxed));
                base.saturating_add(elapsed.saturating_add(steps))
                    .unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// The instant to sleep until for `moment` to come.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.0.saturating_sub(ORIGIN)
    }

    /// When on the wall clock `moment` is, going by how far away it is now.
    #[must_use]
    pub fn timestamp(&self, moment: Moment) -> Timestamp {
        let (here, now) = (self.moment(), self.now());
        let ahead = signed(moment.since(here));
        let behind = signed(here.since(moment));
        now.saturating_add(ahead - behind).unwrap_or(now)
    }

    /// When on the monotonic clock `at` is, going by how far away it is now.
    #[must_use]
    pub fn moment_of(&self, at: Timestamp) -> Moment {
        let (here, now) = (self.moment(), self.now());
        let away = at.duration_since(now);
        if away.is_negative() {
            Moment(here.0.saturating_sub(away.unsigned_abs()))
        } else {
            here + away.unsigned_abs()
        }
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

/// Notices that the wall clock and the monotonic clock went apart between two
/// looks: a suspended machine or a clock that was set.
#[derive(Debug)]
pub struct DriftWatch {
    last: (Moment, Timestamp),
}

impl DriftWatch {
    /// Starts watching now.
    #[must_use]
    pub fn new(clock: &Clock) -> DriftWatch {
        DriftWatch {
            last: (clock.moment(), clock.now()),
        }
    }

    /// Whether they went apart since the last look.
    pub fn jumped(&mut self, clock: &Clock) -> bool {
        let (moment, now) = (clock.moment(), clock.now());
        let by_wall = now.duration_since(self.last.1);
        let by_moment = signed(moment.since(self.last.0));
        self.last = (moment, now);
        (by_wall - by_moment).unsigned_abs() > DRIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated() -> Clock {
        Clock::simulated("2026-11-23T00:00:00Z".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn both_clocks_follow_the_paused_clock() {
        let clock = simulated();
        let (moment, now) = (clock.moment(), clock.now());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.moment().since(moment), Duration::from_secs(3600));
        assert_eq!(clock.now().duration_since(now).as_secs(), 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn moments_before_the_start_can_be_expressed() {
        let clock = simulated();
        let yesterday = clock.now() - SignedDuration::from_hours(24);
        let moment = clock.moment_of(yesterday);
        assert_eq!(clock.moment().since(moment), Duration::from_secs(86_400));
        assert_eq!(clock.timestamp(moment), yesterday);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_is_noticed_once() {
        let clock = simulated();
        let mut watch = DriftWatch::new(&clock);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!watch.jumped(&clock));
        clock.step(1_900);
        assert!(!watch.jumped(&clock));
        clock.step(-3_600_000);
        assert!(watch.jumped(&clock));
        assert!(!watch.jumped(&clock));
    }
}
