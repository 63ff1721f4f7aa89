//! What is stored, and how a decision becomes a row and a row a decision.
//!
//! The serde structs here are the stored form alone: neither the API's nor the
//! domain's types may leak into the file, or a renamed field would lose history.

use super::evidence::{Freeze, Probe, StoredPin};
use super::{PastSwitch, StoreError, StoredDecision};
use crate::rule::address::Role;
use crate::rule::decision::{Decision, OriginView, Pointer, Reason, SwitchResult, Trigger};
use crate::rule::health::Answer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One row of `decision`, but for its id.
#[derive(Debug)]
pub(super) struct Row {
    pub site: String,
    pub time_ns: i64,
    pub action: &'static str,
    pub reason: &'static str,
    pub result: Option<&'static str>,
    pub applied: Option<bool>,
    pub sent_ns: Option<i64>,
    pub from: Option<(String, String)>,
    pub to: Option<(String, String)>,
    pub duration_ns: Option<i64>,
    pub explanation: String,
    pub detail: String,
}

impl Row {
    /// The row of an intent: sent at `at` for all that is known.
    pub(super) fn intent(decision: &Decision, at: Timestamp) -> Row {
        Row {
            result: Some(SwitchResult::Unconfirmed.as_str()),
            sent_ns: Some(nanoseconds(at)),
            ..Row::plain(decision)
        }
    }

    /// The row of a decision that is complete.
    pub(super) fn complete(decision: &Decision) -> Row {
        let applied = match decision.result {
            Some(SwitchResult::Confirmed | SwitchResult::Ineffective) => Some(true),
            Some(SwitchResult::Rejected) => Some(false),
            Some(SwitchResult::Unconfirmed | SwitchResult::DryRun) | None => None,
        };
        let sent = !matches!(decision.result, Some(SwitchResult::DryRun) | None);
        Row {
            applied,
            sent_ns: sent.then(|| nanoseconds(decision.time)),
            ..Row::plain(decision)
        }
    }

    /// The row of a switch whose outcome became known; when it was sent stays as stored.
    pub(super) fn outcome(decision: &Decision, applied: Option<bool>) -> Row {
        Row {
            applied,
            ..Row::plain(decision)
        }
    }

    fn plain(decision: &Decision) -> Row {
        Row {
            site: decision.site.to_string(),
            time_ns: nanoseconds(decision.time),
            action: decision.action().as_str(),
            reason: decision.reason.as_str(),
            result: decision.result.map(SwitchResult::as_str),
            applied: None,
            sent_ns: None,
            from: decision.record.as_ref().map(columns),
            to: decision.to.as_ref().map(columns),
            duration_ns: decision.duration.map(length),
            explanation: decision.explanation.clone(),
            detail: Detail::of(decision).text(),
        }
    }
}

fn columns(pointer: &Pointer) -> (String, String) {
    (pointer.role.to_string(), pointer.address.to_string())
}

/// The part of a decision that is only ever read back.
#[derive(Serialize, Deserialize)]
struct Detail {
    trigger: String,
    steps: Vec<u8>,
    origins: Vec<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<StoredPin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<Freeze>,
}

#[derive(Serialize, Deserialize)]
struct Origin {
    role: String,
    address: String,
    answer: String,
    reason: String,
    probes: u32,
    failed: u32,
    /// The probes that decided it; files of older versions have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<Probe>,
}

impl Detail {
    fn of(decision: &Decision) -> Detail {
        let origin = |view: &OriginView| Origin {
            role: view.at.role.to_string(),
            address: view.at.address.to_string(),
            answer: answer_word(view.answer).into(),
            reason: view.reason.clone(),
            probes: view.probes,
            failed: view.failed,
            evidence: view.evidence.iter().map(Probe::of).collect(),
        };
        Detail {
            trigger: decision.trigger.as_str().into(),
            steps: decision.steps.clone(),
            origins: decision.origins.iter().map(origin).collect(),
            pin: decision.pin.as_deref().map(StoredPin::of),
            frozen: decision.frozen.as_deref().map(Freeze::of),
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always become JSON")
    }
}

impl Origin {
    fn view(self) -> Result<OriginView, String> {
        let answer = one_of(&ANSWERS, answer_word, &self.answer)?;
        Ok(OriginView {
            at: pointer(&self.role, &self.address)?,
            answer,
            known: answer.into(),
            reason: self.reason,
            probes: self.probes,
            failed: self.failed,
            evidence: self
                .evidence
                .into_iter()
                .map(Probe::probed)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The columns that [`stored`] reads, in its order.
pub(super) const DECISION: &str = "id, site, time_ns, reason, result, applied, from_role, \
     from_address, to_role, to_address, duration_ns, explanation, detail";

/// Reads a row of [`DECISION`]; the inner error is one of understanding it.
pub(super) fn stored(
    row: &rusqlite::Row<'_>,
) -> rusqlite::Result<Result<StoredDecision, StoreError>> {
    let id: i64 = row.get(0)?;
    let site: String = row.get(1)?;
    let time: i64 = row.get(2)?;
    let reason: String = row.get(3)?;
    let result: Option<String> = row.get(4)?;
    let applied: Option<bool> = row.get(5)?;
    let from = pair(row, 6)?;
    let to = pair(row, 8)?;
    let duration: Option<i64> = row.get(10)?;
    let explanation: String = row.get(11)?;
    let detail: String = row.get(12)?;
    let understand = || {
        let detail: Detail = serde_json::from_str(&detail).map_err(|error| error.to_string())?;
        let origins = detail.origins.into_iter().map(Origin::view);
        Ok(Decision {
            id: Some(id),
            time: timestamp(time),
            site: site.into(),
            trigger: one_of(&TRIGGERS, Trigger::as_str, &detail.trigger)?,
            record: from.map(known_pointer).transpose()?,
            origins: origins.collect::<Result<_, String>>()?,
            steps: detail.steps,
            reason: reason_of(&reason)?,
            to: to.map(known_pointer).transpose()?,
            result: result.as_deref().map(result_of).transpose()?,
            duration: duration.map(duration_of),
            pin: detail.pin.map(StoredPin::pin).transpose()?.map(Box::new),
            frozen: detail.frozen.map(Freeze::frozen).transpose()?.map(Box::new),
            explanation,
        })
    };
    Ok(understand()
        .map(|decision| StoredDecision { decision, applied })
        .map_err(|what| StoreError::Unreadable { id, what }))
}

/// The columns that [`past_switch`] reads, in its order.
pub(super) const SWITCH: &str =
    "id, sent_ns, reason, result, applied, from_role, from_address, to_role, to_address";

/// Reads a row of [`SWITCH`]; the inner error is one of understanding it.
pub(super) fn past_switch(
    row: &rusqlite::Row<'_>,
) -> rusqlite::Result<Result<PastSwitch, StoreError>> {
    let id: i64 = row.get(0)?;
    let at: i64 = row.get(1)?;
    let reason: String = row.get(2)?;
    let result: String = row.get(3)?;
    let applied: Option<bool> = row.get(4)?;
    let from = pair(row, 5)?;
    let to = pair(row, 7)?;
    let understand = || {
        Ok(PastSwitch {
            id,
            at: timestamp(at),
            reason: reason_of(&reason)?,
            result: result_of(&result)?,
            applied,
            from: from.map(known_pointer).transpose()?,
            to: to.map(known_pointer).transpose()?,
        })
    };
    Ok(understand().map_err(|what| StoreError::Unreadable { id, what }))
}

fn pair(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<(String, String)>> {
    let role: Option<String> = row.get(at)?;
    let address: Option<String> = row.get(at + 1)?;
    Ok(role.zip(address))
}

fn known_pointer((role, address): (String, String)) -> Result<Pointer, String> {
    pointer(&role, &address)
}

fn pointer(role: &str, address: &str) -> Result<Pointer, String> {
    Ok(Pointer {
        role: role_of(role).ok_or_else(|| unknown_word(role))?,
        address: address.into(),
    })
}

pub(super) fn role_of(word: &str) -> Option<Role> {
    match word {
        "main" => Some(Role::Main),
        "backup" => Some(Role::Backup(1)),
        "other" => Some(Role::Other),
        _ => word.strip_prefix("backup-")?.parse().ok().map(Role::Backup),
    }
}

const TRIGGERS: [Trigger; 7] = [
    Trigger::Alert,
    Trigger::Probe,
    Trigger::Timer,
    Trigger::Record,
    Trigger::Start,
    Trigger::Manual,
    Trigger::Reload,
];

const ANSWERS: [Answer; 4] = [Answer::Up, Answer::Down, Answer::Unknown, Answer::Pending];

fn answer_word(answer: Answer) -> &'static str {
    match answer {
        Answer::Up => "up",
        Answer::Down => "down",
        Answer::Unknown => "unknown",
        Answer::Pending => "pending",
    }
}

fn reason_of(word: &str) -> Result<Reason, String> {
    Reason::from_word(word).ok_or_else(|| unknown_word(word))
}

fn result_of(word: &str) -> Result<SwitchResult, String> {
    SwitchResult::from_word(word).ok_or_else(|| unknown_word(word))
}

pub(super) fn one_of<T: Copy>(
    all: &[T],
    name: fn(T) -> &'static str,
    word: &str,
) -> Result<T, String> {
    let found = all.iter().copied().find(|&one| name(one) == word);
    found.ok_or_else(|| unknown_word(word))
}

pub(super) fn unknown_word(word: &str) -> String {
    format!("{word:?} is unknown to this version")
}

/// Nanoseconds since 1970: exact from 1677 to 2262, the nearer end beyond.
pub(super) fn nanoseconds(at: Timestamp) -> i64 {
    let exact = at.as_nanosecond();
    i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn length(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn duration_of(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::brakes::HoldReason;
    use crate::rule::walk::{KeepReason, SwitchKind};

    /// A new variant stops the build here: add it to `Reason::ALL` as well.
    fn place(reason: Reason) -> usize {
        match reason {
            Reason::Keep(KeepReason::OnMain) => 0,
            Reason::Keep(KeepReason::MainDown) => 1,
            Reason::Keep(KeepReason::AllDown) => 2,
            Reason::Switch(SwitchKind::Failover) => 3,
            Reason::Switch(SwitchKind::Failback) => 4,
            Reason::Hold(HoldReason::Unconfirmed) => 5,
            Reason::Hold(HoldReason::Unproven) => 6,
            Reason::Hold(HoldReason::FailbackWait) => 7,
            Reason::Hold(HoldReason::FailbackManual) => 8,
            Reason::Hold(HoldReason::AlertFiring) => 9,
            Reason::Hold(HoldReason::SwitchBudget) => 10,
            Reason::Hold(HoldReason::UnknownOrigin) => 11,
            Reason::Hold(HoldReason::Foreign) => 12,
            Reason::Hold(HoldReason::RecordShape) => 13,
            Reason::Hold(HoldReason::CloudflareUnavailable) => 14,
            Reason::Switch(SwitchKind::Pin) => 15,
            Reason::Hold(HoldReason::Frozen) => 16,
            Reason::Hold(HoldReason::Blind) => 17,
            Reason::Hold(HoldReason::Brake) => 18,
            Reason::Hold(HoldReason::EdgeUp) => 19,
            Reason::Hold(HoldReason::Wave) => 20,
        }
    }

    /// Likewise, for the list above.
    fn trigger_place(trigger: Trigger) -> usize {
        match trigger {
            Trigger::Alert => 0,
            Trigger::Probe => 1,
            Trigger::Timer => 2,
            Trigger::Record => 3,
            Trigger::Start => 4,
            Trigger::Manual => 5,
            Trigger::Reload => 6,
        }
    }

    #[test]
    fn every_word_that_is_written_can_be_read() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(place(reason), index);
            assert_eq!(reason_of(reason.as_str()), Ok(reason));
        }
        for (index, trigger) in TRIGGERS.into_iter().enumerate() {
            assert_eq!(trigger_place(trigger), index);
            let read = one_of(&TRIGGERS, Trigger::as_str, trigger.as_str());
            assert_eq!(read, Ok(trigger));
        }
        for answer in ANSWERS {
            assert_eq!(
                one_of(&ANSWERS, answer_word, answer_word(answer)),
                Ok(answer)
            );
        }
        for role in [Role::Main, Role::Backup(1), Role::Backup(7), Role::Other] {
            assert_eq!(role_of(&role.to_string()), Some(role));
        }
        assert_eq!(
            reason_of("later"),
            Err("\"later\" is unknown to this version".into())
        );
    }

    #[test]
    fn times_survive_to_the_nanosecond_and_odd_ones_do_no_harm() {
        for text in ["2026-11-22T18:44:44.478123456Z", "1969-12-31T23:59:59.5Z"] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(timestamp(nanoseconds(at)), at);
        }
        assert_eq!(nanoseconds(Timestamp::MAX), i64::MAX);
        assert_eq!(nanoseconds(Timestamp::MIN), i64::MIN);
        assert_eq!(length(Duration::MAX), i64::MAX);
    }
}
