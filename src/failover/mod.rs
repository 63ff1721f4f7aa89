//! A loop for each site: wake → snapshot → decide → brake → store → apply →
//! verify.
//!
//! Wake-ups carry no data: an alert, a probe result, a timer and a person all
//! say "look again", and the loop then reads what is so. It owns the two
//! traits through which it acts, [`Dns`] and [`Store`].
//!
//! | file | holds |
//! | --- | --- |
//! | `handle` | what the rest of the program sees of a site |
//! | `site` | the loop: when it wakes, what it then does |
//! | `pass` | one look: what it rests on, what ends it |
//! | `confirm` | probing until the rule has its answers |
//! | `apply` | carrying out a switch, and proving it |
//! | `orders` | pins and freezes of a site |
//! | `guard` | what holds over all sites: a freeze, the brake |
//! | `turns` | what a site has to do with others |
//! | `homecoming` | whose turn it is to return to an origin that others return to |
//! | `waves` | which of those that flee to one origin may go |
//! | `chance` | random order |
//! | `controls` | whether our own network reaches anything |
//! | `edge` | the site as its visitors see it |
//! | `reading` | reading the record, and noticing whose hand it shows |
//! | `record` | the record as it was read |
//! | `legs` | a site's probers, joined to one answer for each origin |
//! | `memory` | proofs, switches and how long MAIN has been well |

mod apply;
mod chance;
mod confirm;
mod controls;
mod edge;
mod guard;
pub mod handle;
mod homecoming;
mod legs;
mod memory;
mod orders;
mod pass;
mod reading;
mod record;
mod site;
mod turns;
mod waves;

pub use guard::Guard;
pub use handle::{Answer, Kept, LastAlert, Request, SiteHandle, Status, Word};
pub use legs::{Lookout, MakeEdgeProbe, MakeProbe};
pub use orders::StandingOrder;
pub use site::{SiteLoop, Tools, Ttl};

use crate::config::Zone;
use crate::rule::address::RecordType;
use crate::rule::decision::{Decision, Reason};
use crate::rule::standing::{Freeze, KeptPin};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One address record as Cloudflare holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Cloudflare's id of the record.
    pub id: String,
    /// The hostname, lower case.
    pub hostname: String,
    /// Its type.
    pub kind: RecordType,
    /// Its content.
    pub content: String,
    /// Whether visitors come through Cloudflare.
    pub proxied: bool,
    /// Time to live in seconds; 1 is automatic.
    pub ttl: u32,
    /// When Cloudflare says it was last changed.
    pub modified_on: Option<Timestamp>,
    /// Every other field that a write could reset, as comparable text.
    pub rest: String,
}

/// A change of one record's content; everything else stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record as it was read.
    pub record: Record,
    /// What it is to hold.
    pub content: String,
}

/// How much depends on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The regular look at a record.
    Steady,
    /// A site goes back to MAIN.
    Return,
    /// A dead origin is to be left, or a person's pin carried out.
    Flight,
}

/// A read that did not come through: one sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The answer shows the records as they are now.
    Confirmed(Vec<Record>),
    /// Cloudflare said no; nothing was changed.
    Rejected(String),
    /// It was not sent, or Cloudflare put it off; nothing was changed.
    Unavailable(String),
    /// It was sent and not answered readably: it may have been carried out.
    Unanswered(String),
}

/// The DNS side: reads the records of names, and changes their content.
pub trait Dns: Send + Sync + 'static {
    /// All address records of `hostnames`, read now and not remembered.
    fn read<'a>(
        &'a self,
        zone: &'a Zone,
        hostnames: &'a [String],
        urgency: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Result<Vec<Record>, Unavailable>>;

    /// Changes the content of records of one zone: all of them or none. They
    /// may travel together with other sites' changes; what becomes of them is
    /// this site's own.
    fn write<'a>(
        &'a self,
        zone: &'a Zone,
        changes: &'a [Change],
        urgency: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Written>;

    /// How long until a site of this zone that wants a steady read every
    /// `interval` is to ask next, so that the budget is never eaten by looking.
    /// Sites of one zone are given the same moment: one answer serves them all.
    fn pace(&self, zone: &Zone, interval: Duration) -> Duration;

    /// A number that changes when it may be worth asking again at once what
    /// was refused: with another token.
    fn epoch(&self) -> u64 {
        0
    }
}

/// The state file failed: one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreFault(pub String);

/// How long MAIN has been seen undoubted, with these probe settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undoubted {
    /// The hash of MAIN's probe settings.
    pub fingerprint: String,
    /// Time that was observed.
    pub observed: Duration,
    /// When that was written.
    pub as_of: Timestamp,
}

/// What a site's records held, as we last wrote or adopted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRecord {
    /// The place, as text.
    pub content: String,
    /// The newest change among the records.
    pub modified_on: Timestamp,
}

/// A switch of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastSwitch {
    /// Its row.
    pub id: i64,
    /// When it was decided.
    pub at: Timestamp,
    /// Whether it was carried out; `None` is not known yet.
    pub applied: Option<bool>,
    /// Why.
    pub reason: Reason,
}

/// The newest switch that led a site away from MAIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// The switch.
    pub switch: Arc<Decision>,
    /// Whether the record has held MAIN since.
    pub returned: bool,
}

/// What the state file holds of one site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteMemory {
    /// Hashes of probe settings with which an origin was seen up.
    pub proofs: Vec<String>,
    /// How long MAIN has been undoubted.
    pub undoubted: Option<Undoubted>,
    /// Switches that were or may have been carried out, oldest first.
    pub switches: Vec<PastSwitch>,
    /// When the last confirmed switch was.
    pub last_switch: Option<Timestamp>,
    /// The newest stored decision.
    pub last_decision: Option<Decision>,
    /// The record as we last knew it.
    pub known_record: Option<KnownRecord>,
    /// A switch whose outcome is unknown.
    pub open_switch: Option<Decision>,
    /// The newest switches that are known to have happened, oldest first,
    /// however long ago: whether returns last is told by them.
    pub course: Vec<PastSwitch>,
    /// The newest switch away from MAIN, and whether one led back since.
    pub away: Option<Away>,
    /// A person's pin.
    pub pin: Option<KeptPin>,
    /// A person's freeze of the site.
    pub freeze: Option<Freeze>,
    /// Switches up to here count no more: a person released the site.
    pub released: Option<Timestamp>,
}

/// What the state file holds of all sites together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardMemory {
    /// A person's freeze of all sites.
    pub freeze: Option<Freeze>,
    /// Sites that left MAIN up to here count no more.
    pub released: Option<Timestamp>,
    /// Sites that left MAIN, and when the last time.
    pub left_main: Vec<(Arc<str>, Timestamp)>,
}

/// The state file, as a site's loop uses it.
pub trait Store: Send + Sync + 'static {
    /// What is remembered of a site, with the switches of `window` before `now`.
    fn load<'a>(
        &'a self,
        site: &'a str,
        now: Timestamp,
        window: Duration,
    ) -> BoxFuture<'a, Result<SiteMemory, StoreFault>>;

    /// Stores the intent of a switch, durably, before it is sent.
    fn begin_switch<'a>(&'a self, decision: &'a Decision)
    -> BoxFuture<'a, Result<i64, StoreFault>>;

    /// Writes what became of a switch into its row.
    fn conclude_switch<'a>(
        &'a self,
        id: i64,
        decision: &'a Decision,
        applied: Option<bool>,
    ) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// Stores a decision that is not a write.
    fn record<'a>(&'a self, decision: &'a Decision) -> BoxFuture<'a, Result<i64, StoreFault>>;

    /// Remembers that an origin was seen up with these probe settings.
    fn prove<'a>(
        &'a self,
        site: &'a str,
        fingerprint: &'a str,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// Remembers how long MAIN has been undoubted.
    fn save_undoubted<'a>(
        &'a self,
        site: &'a str,
        undoubted: &'a Undoubted,
    ) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// Remembers the record as we wrote or adopted it.
    fn save_known_record<'a>(
        &'a self,
        site: &'a str,
        known: &'a KnownRecord,
    ) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// Remembers a pin of the site, or that it has ended.
    fn save_pin<'a>(
        &'a self,
        site: &'a str,
        pin: Option<&'a KeptPin>,
    ) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// Remembers a freeze of the site, or of all where the name is empty; or
    /// that it has ended.
    fn save_freeze<'a>(
        &'a self,
        site: &'a str,
        freeze: Option<&'a Freeze>,
    ) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// Remembers that the site was released, or the brake across all of them
    /// where the name is empty.
    fn save_release<'a>(
        &'a self,
        site: &'a str,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreFault>>;

    /// What is remembered of all sites together, with those that left MAIN
    /// since `since`.
    fn load_guard(&self, since: Timestamp) -> BoxFuture<'_, Result<GuardMemory, StoreFault>>;

    /// Whether the file takes writes.
    fn healthy(&self) -> bool;
}
