//! The rule and what surrounds it: pure, so that it cannot fail and can be
//! tested by the million.
//!
//! Nothing in this folder performs I/O, reads a clock, logs or knows a wire
//! format; it uses `std` and `jiff` only. `now` is always an argument.
//!
//! | file | holds |
//! | --- | --- |
//! | `address` | what a record can hold, and which origin that is |
//! | `finding` | what one probe found, and whether that is evidence |
//! | `health` | an origin's health machine, and its twin inside a confirmation |
//! | `walk` | the eight steps |
//! | `brakes` | what may turn a switch into a hold |
//! | `turns` | what protects an origin from all its sites at once |
//! | `alerts` | what is known of a site's alerts |
//! | `standing` | pins and freezes: what people ordered |
//! | `witness` | what else is asked before an origin is believed to be down |
//! | `decision` | the result, with its reason and explanation |

pub mod address;
pub mod alerts;
pub mod brakes;
pub mod decision;
pub mod finding;
pub mod health;
pub mod standing;
pub mod turns;
pub mod walk;
pub mod witness;

use std::time::Duration;

/// A moment on the monotonic clock, as time since the process started.
///
/// Kept apart from [`jiff::Timestamp`] (the wall clock): evidence is measured
/// on this one, history is written with the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// Time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_add(rhs))
    }
}

/// Whether `failback` waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// The site returns to MAIN by itself.
    Auto,
    /// A person sends it back.
    Manual,
}

/// What to do with a record that something or somebody else points elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// Leave it and say so.
    Hold,
    /// Apply the rule to it.
    Reclaim,
}

/// A site's settings of the rule, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Failed probes that take an origin down.
    pub fall: u32,
    /// Successful probes in a row that bring it up.
    pub rise: u32,
    /// Spacing of probes while something is being confirmed.
    pub confirm_interval: Duration,
    /// Without a firing alert, failures of the current origin span this long.
    pub confirm_for: Duration,
    /// An origin never seen up with its present probe settings is not left.
    pub require_proof: bool,
    /// Whether the site returns by itself.
    pub failback: Failback,
    /// MAIN must have been undoubted this long before a return.
    pub failback_after: Duration,
    /// What the wait before a return doubles up to while returns do not last.
    pub failback_max: Duration,
    /// Returns of sites that share a target are spread over this long; zero: not.
    pub failback_spread: Duration,
    /// The record holds neither MAIN nor a BACKUP.
    pub unknown_origin: Stance,
    /// Somebody else changed the record since we last knew it.
    pub foreign_edit: Stance,
    /// Switches allowed in `switch_window`.
    pub max_switches: u32,
    /// The sliding window of `max_switches`.
    pub switch_window: Duration,
    /// A confirmed switch is read once more after this long; zero: not.
    pub verify_after: Duration,
    /// Decide and say, but write nothing.
    pub dry_run: bool,
}
