//! What becomes of calls to the modelled Cloudflare, and what was asked of it.

use originswitch::failover::{Change, Urgency};
use originswitch::rule::Moment;
use std::time::Duration;

/// What becomes of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFate {
    /// Answered with what is so.
    Answered,
    /// No answer that could be used.
    Unavailable,
    /// No answer at all, until the time for it is over.
    Silent,
    /// Answered with what was so before the newest change.
    Stale,
    /// Answered this late, with what was so when it was asked.
    Delayed(Duration),
    /// Answered with what was so this long ago.
    Behind(Duration),
    /// Answered, after somebody else pointed the records to this address.
    EditedFirst(String),
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFate {
    /// Carried out and answered.
    Applied,
    /// Cloudflare says no.
    Rejected,
    /// Not sent, or put off.
    Unavailable,
    /// The connection is cut before Cloudflare acted.
    LostBefore,
    /// The connection is cut after Cloudflare acted.
    LostAfter,
    /// Carried out, and not answered until the time for it is over.
    SilentAfter,
    /// The answer shows the old content; nothing was done.
    Misanswered,
    /// The connection is cut, and it is carried out this long after.
    ActsLate(Duration),
}

/// Decides what becomes of calls for which nothing is planned.
pub trait Weather: std::fmt::Debug + Send {
    /// How long the next call takes.
    fn latency(&mut self) -> Duration;
    /// What becomes of the next read.
    fn read(&mut self) -> ReadFate;
    /// What becomes of the next write.
    fn write(&mut self) -> WriteFate;
    /// Whether a write on its way arrives although its sender dies.
    fn arrives(&mut self) -> bool;
}

impl WriteFate {
    /// Whether it is carried out.
    pub(super) fn acts(self) -> bool {
        use WriteFate::{ActsLate, Applied, LostAfter, SilentAfter};
        matches!(self, Applied | LostAfter | SilentAfter | ActsLate(_))
    }
}

/// A read as it was asked for.
#[derive(Debug, Clone)]
pub struct ReadCall {
    /// Since the world began.
    pub at: Duration,
    pub urgency: Urgency,
    pub fate: ReadFate,
}

/// A write as it was asked for.
#[derive(Debug, Clone)]
pub struct WriteCall {
    /// Since the world began.
    pub at: Duration,
    pub moment: Moment,
    pub changes: Vec<Change>,
    pub fate: WriteFate,
    /// What the records held when it was asked for.
    pub from: String,
    /// What they were to hold.
    pub to: String,
    /// Whether it changed anything.
    pub acted: bool,
    /// The version of the records that it made.
    pub version: Option<usize>,
    /// What in it was not as it should be: anything but content in a change.
    pub faults: Vec<String>,
}
