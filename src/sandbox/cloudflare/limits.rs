//! The budget of requests, for each token and each client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::options::RateLimits;

/// How much of a budget is used.
#[derive(Debug)]
struct Window {
    ends: Instant,
    used: u32,
    blocked: Option<Instant>,
}

impl Window {
    /// Counts one; the answer is how long to stay away, if it was too many.
    fn take(
        &mut self,
        quota: u32,
        length: Duration,
        block: Duration,
        now: Instant,
    ) -> Option<Duration> {
        if let Some(until) = self.blocked.filter(|until| now < *until) {
            return Some(until - now);
        }
        if self.blocked.take().is_some() || now >= self.ends {
            self.ends = now + length;
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        if self.used <= quota {
            return None;
        }
        let until = if block.is_zero() {
            self.ends
        } else {
            now + block
        };
        self.blocked = Some(until);
        Some(until - now)
    }

    fn new(now: Instant) -> Self {
        Self {
            ends: now,
            used: 0,
            blocked: None,
        }
    }
}

/// What the budget says about one request.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    remaining: u32,
    reset: u64,
    /// Seconds to stay away, and the code to say so with.
    pub refused: Option<(u64, u32)>,
}

impl Verdict {
    /// The headers every answer carries.
    pub fn headers(&self, limits: &RateLimits) -> [(&'static str, String); 2] {
        let (quota, window) = (limits.per_token, limits.window.as_secs());
        [
            (
                "ratelimit",
                format!("\"default\";r={};t={}", self.remaining, self.reset),
            ),
            (
                "ratelimit-policy",
                format!("\"default\";q={quota};w={window}"),
            ),
        ]
    }
}

/// All budgets.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    tokens: HashMap<String, Window>,
    addresses: HashMap<IpAddr, Window>,
    failures: HashMap<IpAddr, Window>,
}

impl Limiter {
    /// Counts one request of `token` from `ip`.
    pub fn take(
        &mut self,
        token: Option<&str>,
        ip: IpAddr,
        limits: &RateLimits,
        now: Instant,
    ) -> Verdict {
        let second = Duration::from_secs(1);
        let address = self
            .addresses
            .entry(ip)
            .or_insert_with(|| Window::new(now))
            .take(limits.per_ip, second, Duration::ZERO, now);
        let locked = self.locked(ip, limits, now);
        let mut verdict = Verdict {
            remaining: limits.per_token,
            reset: limits.window.as_secs(),
            refused: None,
        };
        let mut stay_away = address;
        if let Some(token) = token {
            let window = self
                .tokens
                .entry(token.to_owned())
                .or_insert_with(|| Window::new(now));
            let spent = window.take(limits.per_token, limits.window, limits.block, now);
            let reset = spent.unwrap_or_else(|| window.ends.saturating_duration_since(now));
            verdict.reset = whole_seconds(reset);
            verdict.remaining = match spent {
                Some(_) => 0,
                None => limits.per_token.saturating_sub(window.used),
            };
            stay_away = stay_away.max(spent);
        }
        verdict.refused = stay_away
            .map(|d| (whole_seconds(d), limits.code))
            .or(locked.map(|d| (whole_seconds(d), 10502)));
        verdict
    }

    /// Counts a failed authentication.
    pub fn failed(&mut self, ip: IpAddr, limits: &RateLimits, now: Instant) {
        if let Some(quota) = limits.failures {
            self.failures
                .entry(ip)
                .or_insert_with(|| Window::new(now))
                .take(
                    quota.saturating_sub(1),
                    limits.window,
                    Duration::from_secs(30),
                    now,
                );
        }
    }

    fn locked(&self, ip: IpAddr, limits: &RateLimits, now: Instant) -> Option<Duration> {
        limits.failures?;
        let until = self.failures.get(&ip)?.blocked?;
        (now < until).then(|| until - now)
    }
}

/// Cloudflare rounds up, so that nobody comes back too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
