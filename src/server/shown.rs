//! Decisions and sites as JSON: the names that users rely on.

use crate::failover::SiteHandle;
use crate::rule::decision::{self, OriginView};
use jiff::Timestamp;
use serde::Serialize;

/// A decision as the API, the log and `once --json` show it.
#[derive(Debug, Serialize)]
pub struct Decision {
    id: Option<i64>,
    time: String,
    site: String,
    trigger: &'static str,
    record: Option<Pointer>,
    origins: Vec<Origin>,
    steps: Vec<u8>,
    action: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    explanation: String,
}

#[derive(Debug, Serialize)]
struct Pointer {
    role: String,
    address: String,
}

#[derive(Debug, Serialize)]
struct Origin {
    role: String,
    address: String,
    state: &'static str,
    reason: String,
    probes: u32,
}

#[derive(Debug, Serialize)]
struct Alert {
    status: &'static str,
    received: String,
}

/// A site as the API shows it.
#[derive(Debug, Serialize)]
pub struct Site {
    name: String,
    hostnames: Vec<String>,
    record: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_error: Option<String>,
    origins: Vec<Origin>,
    hold: Option<&'static str>,
    pin: Option<()>,
    frozen: bool,
    alert: Option<Alert>,
    last_decision: Option<Decision>,
}

/// RFC 3339 with milliseconds.
#[must_use]
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn pointer(at: &decision::Pointer) -> Pointer {
    Pointer {
        role: at.role.to_string(),
        address: at.address.to_string(),
    }
}

fn origin(view: &OriginView) -> Origin {
    Origin {
        role: view.at.role.to_string(),
        address: view.at.address.to_string(),
        state: view.state().as_str(),
        reason: view.reason.clone(),
        probes: view.probes,
    }
}

impl Decision {
    /// Shows a decision.
    #[must_use]
    pub fn of(given: &decision::Decision) -> Decision {
        Decision {
            id: given.id,
            time: time(given.time),
            site: given.site.to_string(),
            trigger: given.trigger.as_str(),
            record: given.record.as_ref().map(pointer),
            origins: given.origins.iter().map(origin).collect(),
            steps: given.steps.clone(),
            action: given.action().as_str(),
            reason: given.reason.as_str(),
            to: given.to.as_ref().map(pointer),
            result: given.result.map(decision::SwitchResult::as_str),
            duration_seconds: given
                .duration
                .map(|time| (time.as_secs_f64() * 1000.0).round() / 1000.0),
            explanation: given.explanation.clone(),
        }
    }
}

impl Site {
    /// Shows a site.
    #[must_use]
    pub fn of(handle: &SiteHandle) -> Site {
        let status = handle.status();
        Site {
            name: handle.site.name.to_string(),
            hostnames: handle.site.hostnames.clone(),
            record: status.record.as_ref().map(pointer),
            record_error: status.record_error.clone(),
            origins: status.origins.iter().map(origin).collect(),
            hold: status.hold.map(|hold| hold.as_str()),
            pin: None,
            frozen: false,
            alert: status.alert.map(|alert| Alert {
                status: alert.status.as_str(),
                received: time(alert.received),
            }),
            last_decision: status.last_decision.as_deref().map(Decision::of),
        }
    }
}
