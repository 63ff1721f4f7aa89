//! Alertmanager's webhook: what a body says, and which sites it speaks of; and
//! the alerts that Alertmanager itself is sent.
//!
//! Nothing else in the program knows this JSON. It comes from Alertmanager of
//! any version, from Grafana and Mimir, and from people with curl, so only the
//! `alerts` array is required of a body, and one alert that makes no sense
//! never costs the others their hearing: a refused webhook comes again only
//! with the next `group_interval`, as a whole.
//!
//! | file | holds |
//! | --- | --- |
//! | `wire` | the JSON, read leniently |
//! | `usual` | the JSON as Alertmanager writes it, read in one pass |
//! | `labels` | an alert's labels |
//! | `time` | the forms of a start time |
//! | `directory` | which sites an alert belongs to |
//! | `conditions` | the same by the sites' matchers |
//! | `posted` | the JSON of the alerts that are sent |

mod conditions;
mod directory;
mod labels;
mod posted;
mod time;
mod usual;
mod wire;

pub use directory::{Directory, SiteKeys};
pub use labels::Labels;
pub use posted::{Posted, body};
pub use wire::{Unread, parse};

use crate::rule::alerts::AlertStatus;
use jiff::Timestamp;

/// What the name of every alert about originswitch begins with, whoever sends
/// it: we ourselves, or rules on our metrics.
pub const ABOUT_US: &str = "Originswitch";

/// What one webhook says; what it quotes is borrowed from the body.
///
/// The body's own `status` and `common…` fields are left out on purpose: with
/// `max_alerts` they speak only of the alerts that were not cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook<'a> {
    /// The alerts that could be understood, in the order of the body.
    pub alerts: Vec<Alert<'a>>,
    /// How many alerts could not be understood.
    pub bad: usize,
    /// How many alerts the sender says it left out (`max_alerts`).
    pub truncated: u64,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert<'a> {
    /// Its labels.
    pub labels: Labels<'a>,
    /// What to make of it.
    pub meaning: Meaning,
    /// Its own status, as sent.
    pub status: AlertStatus,
    /// When it began to fire, if the sender says so intelligibly.
    pub starts_at: Option<Timestamp>,
    /// A hash of the labels: copies from replicas are one alert.
    pub identity: u64,
}

impl Alert<'_> {
    /// Whether it is about originswitch, and so no sign of any site.
    ///
    /// It names the site, so it would be taken for one of the site's: the alert
    /// that a site is on BACKUP would then keep it from going back to MAIN.
    #[must_use]
    pub fn is_about_us(&self) -> bool {
        let name = self.labels.get("alertname");
        name.is_some_and(|name| name.starts_with(ABOUT_US))
    }
}

/// What an alert means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// It fires.
    Firing,
    /// It does not fire any more, which never means that the site is well.
    Resolved,
    /// The sender says that it went blind: worth a look, but evidence of
    /// nothing, neither of firing nor of an end to it.
    LookOnly,
}

/// Why a whole body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// No bytes at all, as after a redirect that turned the POST into a GET.
    #[error("the body is empty: POST the JSON that Alertmanager's webhook sends")]
    Empty,
    /// Not JSON; the reason names line and column.
    #[error("the body is not JSON ({0}): POST the JSON that Alertmanager's webhook sends")]
    NotJson(String),
    /// JSON without `alerts`.
    #[error(
        "the body is {found} and has no `alerts` array: send an object \
         such as {{\"alerts\":[{{\"labels\":{{\"site\":\"www\"}}}}]}}"
    )]
    NoAlerts {
        /// What it is instead.
        found: &'static str,
    },
    /// `alerts` is there, and is something else.
    #[error("`alerts` is {found}: make it an array of alerts, which may be empty")]
    AlertsNotArray {
        /// What it is instead.
        found: &'static str,
    },
}
