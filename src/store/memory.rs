//! What is remembered: the types that the store hands out and takes.

pub use crate::failover::{Away, GuardMemory, KnownRecord, Undoubted};
use crate::rule::decision::{Decision, Pointer, Reason, SwitchResult};
use crate::rule::standing::{Freeze, KeptPin};
use jiff::Timestamp;

/// What is remembered of a site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteMemory {
    /// Probe settings with which one of its origins was seen up.
    pub proofs: Vec<String>,
    /// How long MAIN was seen undoubted.
    pub undoubted: Option<Undoubted>,
    /// Switches that were, or may have been, sent inside the window, oldest
    /// first; also those known not to have happened, and no dry runs.
    pub switches: Vec<PastSwitch>,
    /// The newest switches that are known to have happened, oldest first,
    /// however long ago: whether returns last is told by them.
    pub course: Vec<PastSwitch>,
    /// When the newest confirmed switch was sent, however long ago.
    pub last_switch: Option<Timestamp>,
    /// The newest decision in the history.
    pub last_decision: Option<Decision>,
    /// The record as it was last written or adopted.
    pub known_record: Option<KnownRecord>,
    /// The newest switch of which nobody knows yet whether it happened,
    /// however long ago.
    pub open_switch: Option<PastSwitch>,
    /// The newest switch away from MAIN that is known to have happened, however
    /// long ago, and whether the record has held MAIN since.
    pub away: Option<Away>,
    /// A person's pin.
    pub pin: Option<KeptPin>,
    /// A person's freeze of the site.
    pub freeze: Option<Freeze>,
    /// Switches up to here count no more: a person released the site.
    pub released: Option<Timestamp>,
}

/// A switch that was, or may have been, sent to Cloudflare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastSwitch {
    /// Its row in the history.
    pub id: i64,
    /// When it was sent.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// What was shown to people as its result.
    pub result: SwitchResult,
    /// Whether it happened; `None` while that is not known.
    pub applied: Option<bool>,
    /// Where the record pointed before.
    pub from: Option<Pointer>,
    /// Where it was to point.
    pub to: Option<Pointer>,
}

/// A decision of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDecision {
    /// The decision, with its id.
    pub decision: Decision,
    /// Of a switch: whether it happened, where that is known.
    pub applied: Option<bool>,
}

/// Which part of the history is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Of this site only.
    pub site: Option<String>,
    /// At most this many.
    pub limit: usize,
    /// Only rows older than this one: the last id of the page before.
    pub before: Option<i64>,
}
