//! What waits for one zone: reads and writes, and the tasks that call for them.

use super::reads::Reads;
use super::writes::Writes;
use crate::config::Zone;
use std::time::Duration;
use tokio::time::Instant;

/// A call that has been under way for longer than this may never be answered:
/// another one begins for those who wait and are in a hurry.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// Who waits is answered by the one who calls for it, and who keeps to the
/// same deadline. For an answer that is on its way there is this much more.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// What waits and is under way for one zone.
pub(super) struct Queue {
    pub(super) zone: Zone,
    pub(super) reads: Reads,
    pub(super) writes: Writes,
}

impl Queue {
    pub(super) fn new(zone: Zone) -> Queue {
        Queue {
            zone,
            reads: Reads::default(),
            writes: Writes::default(),
        }
    }
}

/// The tasks that call for those who wait: one, and another where that one's
/// call hangs.
#[derive(Debug, Default)]
pub(super) struct Callers {
    tasks: usize,
    /// Calls under way, by number, and when each began.
    calls: Vec<(u64, Instant)>,
    next: u64,
}

impl Callers {
    /// Whether another task is needed, while somebody waits (`any`) who may be
    /// in a hurry (`hurry`). If so it is counted: the caller is to start it.
    pub(super) fn need(&mut self, any: bool, hurry: bool) -> bool {
        let slow = |(_, began): &(u64, Instant)| began.elapsed() >= SLOW;
        let all_hang = self.calls.len() == self.tasks && self.calls.iter().all(slow);
        let needed = if self.tasks == 0 {
            any
        } else {
            hurry && all_hang
        };
        self.tasks += usize::from(needed);
        needed
    }

    /// A task ends.
    pub(super) fn end(&mut self) {
        self.tasks -= 1;
    }

    /// Whether somebody calls.
    pub(super) fn any(&self) -> bool {
        self.tasks > 0
    }

    /// A call begins; gives its number.
    pub(super) fn begin_call(&mut self) -> u64 {
        self.next += 1;
        self.calls.push((self.next, Instant::now()));
        self.next
    }

    /// A call has ended.
    pub(super) fn end_call(&mut self, number: u64) {
        self.calls.retain(|(its, _)| *its != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_task_begins_only_for_who_is_in_a_hurry_and_when_all_calls_hang() {
        let mut callers = Callers::default();
        assert!(!callers.need(false, false));
        assert!(callers.need(true, false));
        assert!(!callers.need(true, true), "that one has not called yet");
        let first = callers.begin_call();
        assert!(!callers.need(true, true));
        tokio::time::advance(SLOW).await;
        assert!(!callers.need(true, false));
        assert!(callers.need(true, true));
        assert!(!callers.need(true, true), "the second has not called yet");
        callers.end_call(first);
        callers.end();
        assert!(!callers.need(true, true), "the second is there");
        callers.end();
        assert!(callers.need(true, false));
    }
}
