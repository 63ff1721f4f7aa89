//! Faults that can be laid over the simulated Cloudflare.
//!
//! Faults stand in a queue. A request takes the first one that matches it;
//! faults of [`Effect::Latency`] only slow the request down and let it look
//! further.

use std::time::{Duration, Instant};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET /zones`
    ListZones,
    /// `GET /zones/{id}`
    GetZone,
    /// `GET /zones/{id}/dns_records`
    ListRecords,
    /// `GET /zones/{id}/dns_records/{id}`
    GetRecord,
    /// `GET /zones/{id}/dns_records/usage`
    Usage,
    /// `POST /zones/{id}/dns_records`
    CreateRecord,
    /// `PATCH /zones/{id}/dns_records/{id}`
    PatchRecord,
    /// `PUT /zones/{id}/dns_records/{id}`
    PutRecord,
    /// `DELETE /zones/{id}/dns_records/{id}`
    DeleteRecord,
    /// `POST /zones/{id}/dns_records/batch`
    Batch,
    /// `GET /user/tokens/verify` and `GET /accounts/{id}/tokens/verify`
    VerifyToken,
}

impl Operation {
    /// Whether it changes records.
    pub fn writes(self) -> bool {
        matches!(
            self,
            Self::CreateRecord
                | Self::PatchRecord
                | Self::PutRecord
                | Self::DeleteRecord
                | Self::Batch
        )
    }
}

/// Which requests a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// All of them, also those that lead nowhere.
    Any,
    /// Those that change nothing.
    Reads,
    /// Those that change records.
    Writes,
    /// Those of one operation.
    Operation(Operation),
    /// Those within one zone, by id or name.
    Zone(String),
    /// Those that all of these match.
    All(Vec<Matcher>),
}

impl Matcher {
    pub(super) fn matches(&self, operation: Option<Operation>, zone: &[&str]) -> bool {
        match self {
            Self::Any => true,
            Self::Reads => operation.is_some_and(|o| !o.writes()),
            Self::Writes => operation.is_some_and(Operation::writes),
            Self::Operation(wanted) => operation == Some(*wanted),
            Self::Zone(wanted) => zone.contains(&wanted.as_str()),
            Self::All(all) => all.iter().all(|m| m.matches(operation, zone)),
        }
    }
}

/// What happens to a request that meets a fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The answer comes so much later; further faults still apply.
    Latency(Duration),
    /// This status with an HTML page, as the edge sends it; nothing is done.
    Status(u16),
    /// The request is carried out, then answered with this status and an HTML page.
    StatusAfter(u16),
    /// 429, nothing is done.
    Throttle {
        /// Seconds in the `Retry-After` header; no header if `None`.
        retry_after: Option<u64>,
    },
    /// Carried out, but the JSON of the answer stops half way.
    TruncatedJson,
    /// HTTP 200 whose body says `"success": false`; nothing is done.
    SuccessFalse200,
    /// No answer until the client gives up; nothing is done.
    NothingAtAll,
    /// The connection is closed without an answer; nothing is done.
    CutBefore,
    /// Carried out, then the connection is closed without an answer.
    CutAfter,
    /// 403 with code 10000, as seen now and then with good tokens; nothing is done.
    SpuriousForbidden,
    /// A read shows records as they were so long ago, a write is not touched.
    StaleReads {
        /// How far behind reads are.
        lag: Duration,
    },
    /// A write is answered as if it were done, and is not. A record created
    /// so has an id that nobody knows afterwards.
    GhostRecord,
}

/// One fault in the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Which requests it is for.
    pub matches: Matcher,
    /// So many matching requests pass unharmed first.
    pub skip: u32,
    /// How many requests it hits; `None` is every one until it is cleared.
    pub times: Option<u32>,
    /// In force only from the first to before the second; `None` is always.
    pub between: Option<(Instant, Instant)>,
    /// What it does.
    pub effect: Effect,
}

impl Fault {
    /// A fault that stays until it is cleared.
    pub fn always(matches: Matcher, effect: Effect) -> Self {
        Self {
            matches,
            skip: 0,
            times: None,
            between: None,
            effect,
        }
    }

    /// A fault for the next matching request alone.
    pub fn once(matches: Matcher, effect: Effect) -> Self {
        Self::times(1, matches, effect)
    }

    /// A fault for the next `times` matching requests.
    pub fn times(times: u32, matches: Matcher, effect: Effect) -> Self {
        Self {
            times: Some(times),
            ..Self::always(matches, effect)
        }
    }

    /// The same, after `skip` matching requests went well.
    pub fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// The same, in force only between two moments.
    pub fn between(self, from: Instant, until: Instant) -> Self {
        Self {
            between: Some((from, until)),
            ..self
        }
    }
}

/// Names a fault, to clear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// The faults in force, in the order they were added.
#[derive(Debug, Default)]
pub(super) struct Queue {
    faults: Vec<(FaultId, Fault)>,
    next: u64,
}

/// What the queue does to one request.
#[derive(Debug, Default)]
pub(super) struct Hit {
    pub latency: Duration,
    pub effect: Option<Effect>,
}

impl Queue {
    pub fn push(&mut self, fault: Fault) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.faults.push((id, fault));
        id
    }

    pub fn clear(&mut self, id: FaultId) {
        self.faults.retain(|(i, _)| *i != id);
    }

    pub fn clear_all(&mut self) {
        self.faults.clear();
    }

    /// Takes what is meant for this request, and counts it.
    pub fn take(&mut self, operation: Option<Operation>, zone: &[&str], now: Instant) -> Hit {
        let mut hit = Hit::default();
        for (_, fault) in &mut self.faults {
            if !fault.matches.matches(operation, zone) || !in_force(fault, now) {
                continue;
            }
            // A stale view means nothing to a write.
            let stale = matches!(fault.effect, Effect::StaleReads { .. });
            if stale && operation.is_some_and(Operation::writes) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times = fault.times.map(|n| n.saturating_sub(1));
            if let Effect::Latency(more) = fault.effect {
                hit.latency += more;
            } else {
                hit.effect = Some(fault.effect.clone());
                break;
            }
        }
        self.faults.retain(|(_, f)| f.times != Some(0));
        hit
    }
}

fn in_force(fault: &Fault, now: Instant) -> bool {
    fault.times != Some(0)
        && fault
            .between
            .is_none_or(|(from, until)| from <= now && now < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_spent_after_its_times() {
        let mut queue = Queue::default();
        queue.push(Fault::times(2, Matcher::Writes, Effect::CutBefore).after(1));
        let mut hits = |o| queue.take(Some(o), &[], Instant::now()).effect.is_some();
        assert!(!hits(Operation::ListRecords));
        assert!(!hits(Operation::PatchRecord), "the first is skipped");
        assert!(hits(Operation::PatchRecord));
        assert!(hits(Operation::Batch));
        assert!(!hits(Operation::PatchRecord));
    }

    #[test]
    fn latency_lets_a_request_meet_the_next_fault() {
        let mut queue = Queue::default();
        let slow = Duration::from_millis(7);
        queue.push(Fault::always(Matcher::Any, Effect::Latency(slow)));
        queue.push(Fault::always(Matcher::Any, Effect::Status(502)));
        let hit = queue.take(None, &[], Instant::now());
        assert_eq!(hit.latency, slow);
        assert_eq!(hit.effect, Some(Effect::Status(502)));
    }
}
