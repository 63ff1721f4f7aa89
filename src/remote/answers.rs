//! What the API answers, as far as it is printed. Nothing else knows it.
//!
//! What is not there is left empty: a server of another version may say less.

use crate::table::printable;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// Where a record points, or an origin.
#[derive(Debug, Deserialize)]
pub(super) struct Pointer {
    pub(super) role: String,
    pub(super) address: String,
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.role, self.address)
    }
}

/// An origin, and what is known of it.
#[derive(Debug, Deserialize)]
pub(super) struct Origin {
    pub(super) role: String,
    pub(super) address: String,
    pub(super) state: String,
    pub(super) reason: String,
    #[serde(default)]
    pub(super) evidence: Vec<Probe>,
}

/// One probe that a decision rests on.
#[derive(Debug, Deserialize)]
pub(super) struct Probe {
    pub(super) started: String,
    pub(super) result: String,
    pub(super) reason: String,
    pub(super) duration_seconds: f64,
    #[serde(default)]
    pub(super) phases: BTreeMap<String, f64>,
}

/// A pin that stands.
#[derive(Debug, Deserialize)]
pub(super) struct Pin {
    pub(super) origin: String,
    pub(super) address: String,
    pub(super) until: Option<String>,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) forced: bool,
}

/// "pinned to backup (198.51.100.20) until … (reason)".
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pin {
            origin, address, ..
        } = self;
        let terms = terms(self.until.as_deref(), &self.reason);
        write!(f, "pinned to {origin} ({address}){terms}")?;
        if self.forced {
            f.write_str(", by force, and frozen")?;
        }
        Ok(())
    }
}

/// A freeze that stands.
#[derive(Debug, Deserialize)]
pub(super) struct Freeze {
    pub(super) scope: String,
    pub(super) until: Option<String>,
    #[serde(default)]
    pub(super) reason: String,
}

/// "frozen until … (reason)".
impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = terms(self.until.as_deref(), &self.reason);
        write!(f, "frozen{terms}")
    }
}

/// What stands for all sites.
#[derive(Debug, Deserialize)]
pub(super) struct All {
    pub(super) freeze: Option<Freeze>,
}

/// The sites that the brake let go.
#[derive(Debug, Deserialize)]
pub(super) struct Released {
    pub(super) released: Vec<String>,
}

/// What became of an evacuation.
#[derive(Debug, Deserialize)]
pub(super) struct Evacuated {
    pub(super) address: String,
    pub(super) dry_run: bool,
    pub(super) undo: bool,
    pub(super) moved: Vec<Moved>,
    pub(super) not_moved: Vec<NotMoved>,
    #[serde(default)]
    pub(super) released: Option<Vec<String>>,
}

/// A site that moved.
#[derive(Debug, Deserialize)]
pub(super) struct Moved {
    pub(super) site: String,
    pub(super) from: Pointer,
    pub(super) to: Pointer,
    pub(super) result: String,
}

/// A site that did not.
#[derive(Debug, Deserialize)]
pub(super) struct NotMoved {
    pub(super) site: String,
    pub(super) why: String,
}

/// A decision.
#[derive(Debug, Deserialize)]
pub(super) struct Decision {
    pub(super) id: Option<i64>,
    pub(super) time: String,
    pub(super) site: String,
    pub(super) trigger: String,
    pub(super) record: Option<Pointer>,
    pub(super) origins: Vec<Origin>,
    #[serde(default)]
    pub(super) steps: Vec<u8>,
    pub(super) action: String,
    pub(super) reason: String,
    pub(super) to: Option<Pointer>,
    pub(super) result: Option<String>,
    pub(super) duration_seconds: Option<f64>,
    pub(super) pin: Option<Pin>,
    pub(super) frozen: Option<Freeze>,
    pub(super) explanation: String,
}

impl Decision {
    /// "switch failover to backup".
    pub(super) fn said(&self) -> String {
        let to = self.to.as_ref();
        let to = to.map_or(String::new(), |to| format!(" to {}", to.role));
        format!("{} {}{to}", self.action, self.reason)
    }
}

/// A site.
#[derive(Debug, Deserialize)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) record: Option<Pointer>,
    pub(super) record_error: Option<String>,
    pub(super) origins: Vec<Origin>,
    pub(super) hold: Option<String>,
    pub(super) hold_until: Option<String>,
    pub(super) lift: Option<String>,
    pub(super) pin: Option<Pin>,
    pub(super) freeze: Option<Freeze>,
    pub(super) last_decision: Option<Decision>,
}

/// " until … (reason)", as far as they were given.
fn terms(until: Option<&str>, reason: &str) -> String {
    let until = until.map_or(String::new(), |at| format!(" until {}", second(at)));
    match reason {
        "" => until,
        reason => format!("{until} ({})", printable(reason)),
    }
}

/// A time of the API without the fraction of its second.
pub(super) fn second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}
