//! How the simulated Cloudflare is set up.

use std::time::Duration;

/// What the zones of the simulated account are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Batches of 200, 200 records a zone, comments of 100 characters, no tags.
    Free,
    /// Batches of 3,500, 3,500 records a zone, comments of 500 characters, 20 tags.
    Pro,
    /// As [`Plan::Pro`].
    Business,
    /// As [`Plan::Pro`], and a TTL may be as low as 30 seconds.
    Enterprise,
}

impl Plan {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Free => "Free Website",
            Self::Pro => "Pro Website",
            Self::Business => "Business Website",
            Self::Enterprise => "Enterprise Website",
        }
    }

    /// Operations in one batch; also the number of records in a zone.
    pub(super) fn limit(self) -> usize {
        if self == Self::Free { 200 } else { 3_500 }
    }

    pub(super) fn comment_length(self) -> usize {
        if self == Self::Free { 100 } else { 500 }
    }

    pub(super) fn tags(self) -> usize {
        if self == Self::Free { 0 } else { 20 }
    }

    pub(super) fn lowest_ttl(self) -> u64 {
        if self == Self::Enterprise { 30 } else { 60 }
    }
}

/// How many requests are too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests of one token within `window`.
    pub per_token: u32,
    /// The window that `per_token` counts in.
    pub window: Duration,
    /// How long a token that went over is refused altogether.
    pub block: Duration,
    /// Requests of one client address within a second.
    pub per_ip: u32,
    /// Failed authentications of one client address within `window`, after
    /// which it is refused (code 10502); `None` is any number.
    pub failures: Option<u32>,
    /// The code in the body of a 429: 971, 10429 or 10300.
    pub code: u32,
}

impl Default for RateLimits {
    /// Cloudflare's own, as documented in April 2026.
    fn default() -> Self {
        Self {
            per_token: 1_200,
            window: Duration::from_secs(300),
            block: Duration::from_secs(300),
            per_ip: 200,
            failures: None,
            code: 971,
        }
    }
}

/// How the simulated Cloudflare is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Sets the limits on batches, TTL, comments and tags.
    pub plan: Plan,
    /// Records a zone may hold; `None` is what the plan allows.
    pub record_quota: Option<usize>,
    /// Refuse a proxied record with a private, loopback or Cloudflare address
    /// (code 9003). The demo, whose origins are on loopback, turns it off.
    pub refuse_private_targets: bool,
    /// Whether a PATCH that changes nothing still moves `modified_on`. The real
    /// one's habit is not documented.
    pub identical_patch_bumps_modified: bool,
    /// Whether the answer to a DELETE has `success`, `errors` and `messages`;
    /// the official schema has only `result`.
    pub delete_envelope: bool,
    /// Put members into every other answer that only older answers had:
    /// `zone_id`, `zone_name`, `locked`.
    pub extra_members: bool,
    /// Records on one page of a list at most; a client that asks for more is
    /// refused (400).
    pub largest_page: usize,
    /// How many requests are too many.
    pub limits: RateLimits,
    /// How long every answer takes.
    pub latency: Duration,
    /// From a write to when [`Cloudflare::visible`](super::Cloudflare::visible) shows it.
    pub propagation: Duration,
    /// How much later each further name of the same batch becomes visible.
    pub propagation_spread: Duration,
    /// Requests kept in the log; the oldest go first.
    pub log_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plan: Plan::Free,
            record_quota: None,
            refuse_private_targets: true,
            identical_patch_bumps_modified: true,
            delete_envelope: true,
            extra_members: false,
            largest_page: 5_000_000,
            limits: RateLimits::default(),
            latency: Duration::ZERO,
            propagation: Duration::ZERO,
            propagation_spread: Duration::ZERO,
            log_limit: 10_000,
        }
    }
}
