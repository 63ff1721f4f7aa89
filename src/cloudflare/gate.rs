//! What stops calls: authentication errors, Cloudflare's throttling, and our
//! own count of the budget.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

use crate::failover::Urgency;

/// The window of the budget.
const WINDOW: Duration = Duration::from_secs(300);

/// After an authentication error that was repeated: while a flight is waiting.
const FLIGHT_WAITS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];

/// Else.
const STEADY_WAIT: Duration = Duration::from_secs(300);

/// Which calls an authentication error stops.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// The token is bad: all of them.
    All,
    /// The token lacks a permission on this zone.
    Zone(String),
}

#[derive(Debug)]
struct Closed {
    at: Instant,
    times: usize,
    text: String,
}

/// Calls that authentication errors stop, for a while.
#[derive(Debug, Default)]
pub(super) struct AuthGate {
    closed: HashMap<Scope, Closed>,
}

impl AuthGate {
    /// Whether a call may be made; if not, why, and how long to wait.
    pub(super) fn check(
        &self,
        zone: Option<&str>,
        urgency: Urgency,
        now: Instant,
    ) -> Result<(), (String, Duration)> {
        let scopes = [
            Some(Scope::All),
            zone.map(|zone| Scope::Zone(zone.to_owned())),
        ];
        for closed in scopes.iter().flatten().filter_map(|s| self.closed.get(s)) {
            let wait = match urgency {
                Urgency::Flight => FLIGHT_WAITS[closed.times.min(FLIGHT_WAITS.len()) - 1],
                Urgency::Steady => STEADY_WAIT,
            };
            let left = (closed.at + wait).saturating_duration_since(now);
            if !left.is_zero() {
                return Err((closed.text.clone(), left));
            }
        }
        Ok(())
    }

    /// An authentication error that was repeated stops further calls.
    pub(super) fn close(&mut self, scope: Scope, text: String, now: Instant) {
        let closed = self.closed.entry(scope).or_insert(Closed {
            at: now,
            times: 0,
            text: String::new(),
        });
        closed.at = now;
        closed.times += 1;
        closed.text = text;
    }

    /// A call went through.
    pub(super) fn open(&mut self, zone: Option<&str>) {
        if self.closed.is_empty() {
            return;
        }
        self.closed.remove(&Scope::All);
        if let Some(zone) = zone {
            self.closed.remove(&Scope::Zone(zone.to_owned()));
        }
    }

    /// Another token: everything is open.
    pub(super) fn open_all(&mut self) {
        self.closed.clear();
    }

    /// Whether calls of this zone were stopped and none has come through since.
    pub(super) fn concerns(&self, zone: Option<&str>) -> bool {
        self.closed.keys().any(|scope| match scope {
            Scope::All => true,
            Scope::Zone(closed) => zone == Some(closed),
        })
    }

    /// Whether anything is stopped.
    pub(super) fn is_closed(&self) -> bool {
        !self.closed.is_empty()
    }
}

/// What a call may take of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// All of it.
    Write,
    /// All but a reserve for writes.
    Read,
    /// Half of it.
    SteadyRead,
}

/// Our own count of calls in the sliding window.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    /// What reads leave for writes.
    reserve: usize,
    calls: VecDeque<Instant>,
    /// Cloudflare asked for silence until then.
    silent_until: Option<Instant>,
}

impl Budget {
    pub(super) fn new(limit: u32) -> Budget {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        Budget {
            limit,
            reserve: (limit / 10).max(2).min(limit - 1),
            calls: VecDeque::new(),
            silent_until: None,
        }
    }

    /// Counts a call, or says how long it has to wait and why.
    pub(super) fn take(&mut self, weight: Weight, now: Instant) -> Result<(), (String, Duration)> {
        if let Some(left) = self.silence_left(now) {
            let text = format!(
                "Cloudflare asked for no calls for another {} s",
                left.as_secs() + 1
            );
            return Err((text, left));
        }
        while self
            .calls
            .front()
            .is_some_and(|&at| now.saturating_duration_since(at) >= WINDOW)
        {
            self.calls.pop_front();
        }
        let allowed = match weight {
            Weight::SteadyRead => (self.limit / 2).max(1),
            Weight::Read => self.limit - self.reserve,
            Weight::Write => self.limit,
        };
        if self.calls.len() < allowed {
            self.calls.push_back(now);
            return Ok(());
        }
        let freed = self.calls.len() - allowed;
        let left = (self.calls[freed] + WINDOW).saturating_duration_since(now);
        let text = format!(
            "the budget of {} calls in 5 minutes is used up for another {} s",
            self.limit,
            left.as_secs() + 1
        );
        Err((text, left))
    }

    /// How long Cloudflare still wants no calls.
    pub(super) fn silence_left(&self, now: Instant) -> Option<Duration> {
        let left = self.silent_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Cloudflare throttles us: no calls before this.
    pub(super) fn silence(&mut self, until: Instant) {
        self.silent_until = self.silent_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_authentication_error_stops_calls_and_a_flight_asks_sooner() {
        let mut gate = AuthGate::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        gate.close(Scope::All, "no".into(), start);
        assert!(gate.check(None, Urgency::Flight, after(4)).is_err());
        assert!(gate.check(None, Urgency::Flight, after(5)).is_ok());
        assert!(gate.check(None, Urgency::Steady, after(299)).is_err());
        assert!(gate.check(None, Urgency::Steady, after(300)).is_ok());
        gate.close(Scope::All, "no".into(), after(5));
        assert!(gate.check(None, Urgency::Flight, after(19)).is_err());
        gate.open(Some("z"));
        assert!(gate.check(None, Urgency::Steady, after(20)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_zone_is_stopped_without_the_others() {
        let mut gate = AuthGate::default();
        let now = Instant::now();
        gate.close(Scope::Zone("a".into()), "no".into(), now);
        assert!(gate.check(Some("a"), Urgency::Flight, now).is_err());
        assert!(gate.check(Some("b"), Urgency::Flight, now).is_ok());
        assert!(gate.concerns(Some("a")) && !gate.concerns(Some("b")));
        assert!(gate.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn steady_reads_take_half_and_a_reserve_is_left_for_writes() {
        let mut budget = Budget::new(20);
        let start = Instant::now();
        let mut taken = |weight, at| {
            let mut calls = 0;
            while budget.take(weight, at).is_ok() {
                calls += 1;
            }
            calls
        };
        assert_eq!(taken(Weight::SteadyRead, start), 10);
        assert_eq!(taken(Weight::Read, start), 8);
        assert_eq!(taken(Weight::Write, start), 2);
        assert_eq!(taken(Weight::SteadyRead, start + WINDOW), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_that_cloudflare_asked_for_is_kept() {
        let mut budget = Budget::new(1200);
        let now = Instant::now();
        budget.silence(now + Duration::from_secs(30));
        let (text, wait) = budget.take(Weight::Read, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(30));
        assert_eq!(text, "Cloudflare asked for no calls for another 31 s");
        assert!(budget.take(Weight::Read, now + wait).is_ok());
    }
}
