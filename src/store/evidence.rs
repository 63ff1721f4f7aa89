//! The stored form of what stands beside a decision: the probes that decided
//! it, the pin and the freeze that stood.

use super::rows::{nanoseconds, one_of, role_of, timestamp, unknown_word};
use crate::rule::address::Role;
use crate::rule::decision::Probed;
use crate::rule::finding::{Phases, Verdict};
use crate::rule::standing::{self, Frozen, Pin, Scope};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const VERDICTS: [Verdict; 3] = [Verdict::Up, Verdict::Down, Verdict::Unknown];
const SCOPES: [Scope; 3] = [Scope::Site, Scope::All, Scope::Pin];

/// A probe. Times are nanoseconds; phases are those of [`Phases`], in order.
#[derive(Serialize, Deserialize)]
pub(super) struct Probe {
    at: i64,
    took: u64,
    found: String,
    reason: String,
    phases: [Option<u64>; 4],
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Probe {
    pub(super) fn of(probed: &Probed) -> Probe {
        let phases = &probed.phases;
        let phases = [phases.resolve, phases.connect, phases.tls, phases.response];
        Probe {
            at: nanoseconds(probed.started),
            took: nanos(probed.took),
            found: probed.verdict.as_str().into(),
            reason: probed.reason.clone(),
            phases: phases.map(|phase| phase.map(nanos)),
        }
    }

    pub(super) fn probed(self) -> Result<Probed, String> {
        let [resolve, connect, tls, response] =
            self.phases.map(|phase| phase.map(Duration::from_nanos));
        Ok(Probed {
            started: timestamp(self.at),
            took: Duration::from_nanos(self.took),
            verdict: one_of(&VERDICTS, Verdict::as_str, &self.found)?,
            reason: self.reason,
            phases: Phases {
                resolve,
                connect,
                tls,
                response,
            },
        })
    }
}

/// A pin, with the part its origin had.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredPin {
    role: String,
    place: String,
    until: Option<i64>,
    reason: String,
    forced: bool,
}

impl StoredPin {
    pub(super) fn of((role, pin): &(Role, Pin)) -> StoredPin {
        StoredPin {
            role: role.to_string(),
            place: pin.place.to_string(),
            until: pin.until.map(nanoseconds),
            reason: pin.reason.to_string(),
            forced: pin.forced,
        }
    }

    pub(super) fn pin(self) -> Result<(Role, Pin), String> {
        let role = role_of(&self.role).ok_or_else(|| unknown_word(&self.role))?;
        let pin = Pin {
            place: self.place.into(),
            until: self.until.map(timestamp),
            reason: self.reason.into(),
            forced: self.forced,
        };
        Ok((role, pin))
    }
}

/// A freeze.
#[derive(Serialize, Deserialize)]
pub(super) struct Freeze {
    scope: String,
    until: Option<i64>,
    reason: String,
}

impl Freeze {
    pub(super) fn of(frozen: &Frozen) -> Freeze {
        Freeze {
            scope: frozen.scope.as_str().into(),
            until: frozen.freeze.until.map(nanoseconds),
            reason: frozen.freeze.reason.to_string(),
        }
    }

    pub(super) fn frozen(self) -> Result<Frozen, String> {
        Ok(Frozen {
            scope: one_of(&SCOPES, Scope::as_str, &self.scope)?,
            freeze: standing::Freeze {
                until: self.until.map(timestamp),
                reason: self.reason.into(),
            },
        })
    }
}
