//! Writes that travel together: changes of one zone that become due while a
//! call is in flight go in one batch.
//!
//! The first never waits for company. Who was due while the same call was in
//! flight, as one list answered several sites, is company: they come within
//! milliseconds, as each stores its intent first.

use super::access::Access;
use super::answer::Fault;
use super::queue::{Callers, GRACE, Queue, SLOW};
use super::reads::{FRESH, Reads};
use super::send::{became, call_for_all};
use crate::failover::{Change, Urgency, Written};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Sites that are due come one after the other, no further apart than this.
const APART: Duration = Duration::from_millis(100);

/// They are not waited for any longer after the answer that made them due.
const COMPANY: Duration = Duration::from_millis(500);

/// A site's write.
pub(super) struct Writer {
    /// Given when it is taken in.
    pub(super) number: u64,
    pub(super) changes: Vec<Change>,
    pub(super) urgency: Urgency,
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Written>,
}

impl Writer {
    pub(super) fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    pub(super) fn tell(self, written: Written) {
        // Who gave up wants no answer.
        let _ = self.answer.send(written);
    }
}

/// Sites that one answer made due.
#[derive(Debug, Clone, Copy)]
struct Due {
    since: Instant,
    /// As many have not come yet.
    missing: usize,
    /// When the last one came, if one did.
    last: Option<Instant>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Writer>,
    /// Who calls for those who wait.
    callers: Callers,
    due: Option<Due>,
    /// When the last call ended.
    ended: Option<Instant>,
    next: u64,
}

/// The writes of one zone.
#[derive(Default)]
pub(super) struct Writes {
    state: Mutex<State>,
    /// Somebody has come.
    came: Notify,
    /// Somebody more urgent has come.
    pub(super) raised: Notify,
}

/// Carries out a site's changes, all or none.
pub(super) async fn write(
    access: &Arc<Access>,
    queue: &Arc<Queue>,
    changes: &[Change],
    urgency: Urgency,
    until: Instant,
) -> Written {
    let (answer, mut answered) = oneshot::channel();
    let number = queue.writes.admit(Writer {
        number: 0,
        changes: changes.to_vec(),
        urgency,
        until,
        answer,
    });
    loop {
        if queue.writes.needs_caller() {
            tokio::spawn(call_for_all(access.clone(), queue.clone()));
        }
        let again = (Instant::now() + SLOW).min(until);
        match tokio::time::timeout_at(again, &mut answered).await {
            Ok(Ok(written)) => return written,
            Ok(Err(_)) => return gave_up(),
            Err(_) if Instant::now() < until => {}
            Err(_) if queue.writes.withdraw(number) => {
                return Written::Unavailable("the time for this decision is over".into());
            }
            Err(_) => break,
        }
    }
    match tokio::time::timeout(GRACE, answered).await {
        Ok(Ok(written)) => written,
        Ok(Err(_)) | Err(_) => gave_up(),
    }
}

fn gave_up() -> Written {
    Written::Unanswered("Cloudflare did not answer in time".into())
}

impl Writes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One answer has made so many sites due at once.
    pub(super) fn expect(&self, sites: usize) {
        if sites < 2 {
            return;
        }
        let now = Instant::now();
        let mut state = self.lock();
        let before = state.due.filter(|due| now < due.since + COMPANY);
        state.due = Some(Due {
            since: before.map_or(now, |due| due.since),
            missing: before.map_or(0, |due| due.missing) + sites,
            last: before.and_then(|due| due.last),
        });
    }

    fn admit(&self, mut writer: Writer) -> u64 {
        let mut state = self.lock();
        let most = state.waiting.iter().map(|w| w.urgency).max();
        let raises = most.is_some_and(|most| most < writer.urgency);
        if let Some(due) = &mut state.due {
            due.missing = due.missing.saturating_sub(1);
            due.last = Some(Instant::now());
        }
        state.next += 1;
        let number = state.next;
        writer.number = number;
        state.waiting.push(writer);
        drop(state);
        self.came.notify_one();
        if raises {
            self.raised.notify_one();
        }
        number
    }

    /// Takes a write back that was not taken yet; whether it was so.
    fn withdraw(&self, number: u64) -> bool {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.retain(|writer| writer.number != number);
        state.waiting.len() < before
    }

    /// Whether somebody waits for whom nobody calls. If so, the caller is to
    /// start who does.
    fn needs_caller(&self) -> bool {
        let mut state = self.lock();
        state.waiting.retain(|writer| !writer.is_gone());
        let any = !state.waiting.is_empty();
        state.callers.need(any, any)
    }

    /// The urgency of those who wait, and the latest deadline. `None` ends the
    /// task that calls for them: it is counted no more.
    pub(super) fn wanted(&self) -> Option<(Urgency, Instant)> {
        let mut state = self.lock();
        state.waiting.retain(|writer| !writer.is_gone());
        let urgency = state.waiting.iter().map(|w| w.urgency).max();
        let until = state.waiting.iter().map(|w| w.until).max();
        if urgency.is_none() {
            state.callers.end();
        }
        urgency.zip(until)
    }

    /// Until when company is waited for; `None` if it is not.
    fn company_until(&self, most: usize) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        let due = state.due?;
        let until = (due.last.unwrap_or(due.since) + APART).min(due.since + COMPANY);
        if due.missing == 0 || until <= now {
            state.due = None;
            return None;
        }
        let waiting: usize = state.waiting.iter().map(|w| w.changes.len()).sum();
        (waiting < most).then_some(until)
    }

    /// In a burst, who is being answered at this moment is company too: for the
    /// first write nobody is waited for, and for the next ones until they are
    /// answered.
    pub(super) async fn wait_for_askers(&self, reads: &Reads, most: usize) {
        let until = Instant::now() + COMPANY;
        while self.bursts(most) && reads.are_hurried() && Instant::now() < until {
            let look = (Instant::now() + APART).min(until);
            // Either way it is looked at again.
            let _ = tokio::time::timeout_at(look, self.came.notified()).await;
        }
    }

    /// Whether another call of the zone has only just ended, and there is room
    /// in the next.
    fn bursts(&self, most: usize) -> bool {
        let state = self.lock();
        let waiting: usize = state.waiting.iter().map(|w| w.changes.len()).sum();
        waiting < most && state.ended.is_some_and(|at| at.elapsed() < FRESH)
    }

    pub(super) async fn wait_for_company(&self, most: usize) {
        while let Some(until) = self.company_until(most) {
            // Either way it is looked at again.
            let _ = tokio::time::timeout_at(until, self.came.notified()).await;
        }
    }

    /// A task that calls has broken.
    pub(super) fn end_task(&self) {
        self.lock().callers.end();
    }

    /// A call begins; gives its number.
    pub(super) fn begin_call(&self) -> u64 {
        self.lock().callers.begin_call()
    }

    /// A call has ended.
    pub(super) fn end_call(&self, number: u64) {
        let mut state = self.lock();
        state.ended = Some(Instant::now());
        state.callers.end_call(number);
    }

    /// Takes whole sites' changes, the most urgent first and then who came
    /// first, as long as they fit.
    pub(super) fn take(&self, most: usize) -> Vec<Writer> {
        let mut state = self.lock();
        state.waiting.retain(|writer| !writer.is_gone());
        // Stable: in order of arrival.
        state.waiting.sort_by_key(|w| std::cmp::Reverse(w.urgency));
        let mut room = most;
        let fits = |writer: &&Writer| {
            let fits = writer.changes.len() <= room;
            room = room.saturating_sub(writer.changes.len());
            fits
        };
        // One that fits into no batch goes alone.
        let fitting = state.waiting.iter().take_while(fits).count().max(1);
        let taken = fitting.min(state.waiting.len());
        state.waiting.drain(..taken).collect()
    }

    /// Puts writes back that were surely not carried out.
    pub(super) fn put_back(&self, writers: Vec<Writer>) {
        self.lock().waiting.splice(..0, writers);
    }

    /// Everybody who waits with a deadline up to `until` hears of the fault.
    pub(super) fn fail(&self, fault: &Fault, until: Instant) {
        let mut state = self.lock();
        let all = std::mem::take(&mut state.waiting);
        let (failed, rest): (Vec<_>, _) = all.into_iter().partition(|w| w.until <= until);
        state.waiting = rest;
        drop(state);
        for writer in failed {
            writer.tell(became(fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::send::Task;
    use super::super::send::testing::{Pending, ids, writer};
    use super::*;

    fn admit(writes: &Writes, ids: &[&str], urgency: Urgency) -> Pending {
        let (writer, answered) = writer(ids, urgency, 30);
        writes.admit(writer);
        answered
    }

    #[tokio::test(start_paused = true)]
    async fn flights_go_first_and_no_site_is_torn_apart() {
        let writes = Writes::default();
        let _kept = [
            admit(&writes, &["a", "b"], Urgency::Return),
            admit(&writes, &["c", "d"], Urgency::Flight),
            admit(&writes, &["e"], Urgency::Flight),
        ];
        assert_eq!(ids(&writes.take(4)), ["c", "d", "e"]);
        assert_eq!(ids(&writes.take(4)), ["a", "b"]);
        let _large = admit(&writes, &["f", "g", "h"], Urgency::Flight);
        let _small = admit(&writes, &["i"], Urgency::Flight);
        assert_eq!(ids(&writes.take(2)), ["f", "g", "h"], "it goes alone");
        assert_eq!(ids(&writes.take(2)), ["i"]);
        assert!(writes.take(2).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_breaks_keeps_nobody_from_being_called_for() {
        let writes = Writes::default();
        let _kept = admit(&writes, &["a"], Urgency::Flight);
        assert!(writes.needs_caller());
        assert!(!writes.needs_caller(), "one calls already");
        let over = false;
        drop(Task {
            writes: &writes,
            over,
        });
        assert!(writes.needs_caller());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_or_took_it_back_is_not_sent() {
        let writes = Writes::default();
        drop(admit(&writes, &["a"], Urgency::Flight));
        let (second, _kept) = writer(&["b"], Urgency::Flight, 30);
        let number = writes.admit(second);
        let _third = admit(&writes, &["c"], Urgency::Flight);
        assert!(writes.withdraw(number));
        assert!(!writes.withdraw(number));
        assert_eq!(ids(&writes.take(200)), ["c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_waits_for_nobody_and_those_due_together_for_each_other() {
        let writes = Writes::default();
        let start = Instant::now();
        let millis = Duration::from_millis;
        let _first = admit(&writes, &["a"], Urgency::Flight);
        writes.expect(1);
        writes.wait_for_company(200).await;
        assert_eq!(Instant::now(), start);
        // Three are due; two come, and the third does not.
        writes.expect(3);
        let _second = admit(&writes, &["b"], Urgency::Flight);
        let mut third = None;
        let late = async {
            tokio::time::sleep(millis(20)).await;
            third = Some(admit(&writes, &["c"], Urgency::Flight));
        };
        tokio::join!(late, writes.wait_for_company(200));
        assert_eq!(Instant::now(), start + millis(120));
        // All have come, or as many as go into one call.
        writes.expect(1000);
        writes.wait_for_company(3).await;
        assert_eq!(Instant::now(), start + millis(120));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_burst_who_is_being_answered_is_company() {
        let (writes, reads) = (Writes::default(), Reads::default());
        let start = Instant::now();
        let _one = admit(&writes, &["a"], Urgency::Flight);
        let _asks = reads.admitted("b", Urgency::Flight);
        writes.wait_for_askers(&reads, 200).await;
        assert_eq!(Instant::now(), start, "the first waits for nobody");
        let call = writes.begin_call();
        writes.end_call(call);
        writes.wait_for_askers(&reads, 1).await;
        assert_eq!(Instant::now(), start, "there is no room for more");
        writes.wait_for_askers(&reads, 200).await;
        assert_eq!(Instant::now(), start + COMPANY, "and none for ever");
        tokio::time::advance(FRESH).await;
        let later = Instant::now();
        writes.wait_for_askers(&reads, 200).await;
        assert_eq!(Instant::now(), later, "the burst is over");
    }

    #[tokio::test(start_paused = true)]
    async fn company_that_trickles_in_is_not_waited_for_without_end() {
        let writes = Arc::new(Writes::default());
        let start = Instant::now();
        writes.expect(1000);
        let trickle = tokio::spawn({
            let writes = writes.clone();
            async move {
                let mut kept = Vec::new();
                loop {
                    kept.push(admit(&writes, &["a"], Urgency::Flight));
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
        writes.wait_for_company(200).await;
        trickle.abort();
        assert_eq!(Instant::now(), start + COMPANY);
    }
}
