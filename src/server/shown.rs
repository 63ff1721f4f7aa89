//! Decisions and sites as JSON: the names that users rely on.

use crate::failover::SiteHandle;
use crate::rule::address::Role;
use crate::rule::brakes::HoldReason;
use crate::rule::decision::{self, OriginView};
use crate::rule::finding::Phase;
use crate::rule::standing;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<Pin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen: Option<Freeze>,
    explanation: String,
}

/// A pin: the origin that plays MAIN's part.
#[derive(Debug, Serialize)]
struct Pin {
    origin: String,
    address: String,
    until: Option<String>,
    reason: String,
    forced: bool,
}

/// A freeze: nothing is written.
#[derive(Debug, Serialize)]
pub(super) struct Freeze {
    scope: &'static str,
    until: Option<String>,
    reason: String,
}

/// One probe that a decision rests on.
#[derive(Debug, Serialize)]
struct Probe {
    started: String,
    result: &'static str,
    reason: String,
    duration_seconds: f64,
    phases: BTreeMap<&'static str, f64>,
}

/// Where a record points, or an origin.
#[derive(Debug, Serialize)]
pub(super) struct Pointer {
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
    /// The probes themselves, of a decision that a confirmation led to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<Probe>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_until: Option<String>,
    /// The command that lifts the hold, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    lift: Option<String>,
    pin: Option<Pin>,
    frozen: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze: Option<Freeze>,
    alert: Option<Alert>,
    last_decision: Option<Decision>,
}

/// RFC 3339 with milliseconds.
#[must_use]
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Shows it.
pub(super) fn pointer(at: &decision::Pointer) -> Pointer {
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
        evidence: view.evidence.iter().map(probe).collect(),
    }
}

fn pin((role, pin): &(Role, standing::Pin)) -> Pin {
    Pin {
        origin: role.to_string(),
        address: pin.place.to_string(),
        until: pin.until.map(time),
        reason: pin.reason.to_string(),
        forced: pin.forced,
    }
}

/// Shows a freeze of this scope.
pub(super) fn freeze(scope: standing::Scope, freeze: &standing::Freeze) -> Freeze {
    Freeze {
        scope: scope.as_str(),
        until: freeze.until.map(time),
        reason: freeze.reason.to_string(),
    }
}

fn frozen(given: &standing::Frozen) -> Freeze {
    freeze(given.scope, &given.freeze)
}

fn probe(probed: &decision::Probed) -> Probe {
    let phases = [
        (Phase::Resolve, probed.phases.resolve),
        (Phase::Connect, probed.phases.connect),
        (Phase::Tls, probed.phases.tls),
        (Phase::Response, probed.phases.response),
    ];
    let reached = phases.into_iter().filter_map(|(phase, took)| {
        let took = took?;
        Some((phase.as_str(), seconds(took)))
    });
    Probe {
        started: time(probed.started),
        result: probed.verdict.as_str(),
        reason: probed.reason.clone(),
        duration_seconds: seconds(probed.took),
        phases: reached.collect(),
    }
}

/// Seconds, to the microsecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
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
            pin: given.pin.as_deref().map(pin),
            frozen: given.frozen.as_deref().map(frozen),
            explanation: given.explanation.clone(),
        }
    }

    /// The same without the probes it rests on: a list of sites stays short.
    fn brief(given: &decision::Decision) -> Decision {
        let mut shown = Decision::of(given);
        for origin in &mut shown.origins {
            origin.evidence.clear();
        }
        shown
    }
}

impl Site {
    /// Shows a site.
    #[must_use]
    pub fn of(handle: &SiteHandle) -> Site {
        let status = handle.status();
        let name = &handle.site.name;
        let lift = |hold: HoldReason| hold.lift(name, status.frozen.as_deref());
        Site {
            name: name.to_string(),
            hostnames: handle.site.hostnames.clone(),
            record: status.record.as_ref().map(pointer),
            record_error: status.record_error.clone(),
            origins: status.origins.iter().map(origin).collect(),
            hold: status.hold.map(HoldReason::as_str),
            hold_until: status.hold_until.map(time),
            lift: status.hold.and_then(lift),
            pin: status.pin.as_deref().map(pin),
            frozen: status.frozen.is_some(),
            freeze: status.frozen.as_deref().map(frozen),
            alert: status.alert.map(|alert| Alert {
                status: alert.status.as_str(),
                received: time(alert.received),
            }),
            last_decision: status.last_decision.as_deref().map(Decision::brief),
        }
    }
}
