//! What stops calls: authentication errors.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use crate::failover::Urgency;

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
                Urgency::Return | Urgency::Steady => STEADY_WAIT,
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
}
