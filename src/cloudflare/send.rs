//! Sending the changes that sites wait for, and telling each what became of
//! its own.

use super::access::Access;
use super::answer::{Fault, Kind};
use super::budget::Class;
use super::queue::Queue;
use super::slots::Permit;
use super::writes::{Writer, Writes};
use crate::failover::{Change, Record, Urgency, Written};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::Instant;

/// A refused batch is halved until this many sites are left: then it is one at
/// a time.
const FEW: usize = 8;

/// What a fault means for a write.
pub(super) fn became(fault: &Fault) -> Written {
    let text = fault.text.clone();
    match fault.kind {
        Kind::Refused(_) | Kind::Auth(_) => Written::Rejected(text),
        Kind::NotSent | Kind::Stopped | Kind::Throttled(_) => Written::Unavailable(text),
        Kind::Lost | Kind::Server => Written::Unanswered(text),
    }
}

/// A call under way: over when this is dropped, however it ends. Reads that
/// began before that are joined by nobody.
struct Calling<'a>(&'a Queue, u64);

impl<'a> Calling<'a> {
    fn begin(queue: &'a Queue) -> Calling<'a> {
        queue.reads.write_begins();
        let number = queue.writes.begin_call();
        Calling(queue, number)
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.writes.end_call(self.1);
        self.0.reads.write_ends();
    }
}

/// The task that calls for those who wait. One that breaks must not keep another from beginning.
pub(super) struct Task<'a> {
    pub(super) writes: &'a Writes,
    pub(super) over: bool,
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.writes.end_task();
        }
    }
}

/// Calls for those who wait until nobody does.
pub(super) async fn call_for_all(access: Arc<Access>, queue: Arc<Queue>) {
    let mut task = Task {
        writes: &queue.writes,
        over: false,
    };
    while let Some((urgency, until)) = queue.writes.wanted() {
        let most = access.max_batch;
        queue.writes.wait_for_askers(&queue.reads, most).await;
        queue.writes.wait_for_company(most).await;
        let (zone, permit) = match turn(&access, &queue, urgency, until).await {
            None => continue,
            Some(Ok(entered)) => entered,
            Some(Err(fault)) => {
                access.forget(&queue.zone, &fault);
                queue.writes.fail(&fault, until);
                continue;
            }
        };
        let writers = queue.writes.take(most);
        if !writers.is_empty() {
            send(&access, &queue, &zone, writers, permit).await;
        }
    }
    task.over = true;
}

/// Waits for a turn; `None` if somebody more urgent has come meanwhile.
async fn turn(
    access: &Access,
    queue: &Queue,
    urgency: Urgency,
    until: Instant,
) -> Option<Result<(String, Permit), Fault>> {
    let entered = async {
        let zone = access.zone_id(&queue.zone, urgency, until).await?;
        let class = Class::write(urgency);
        let permit = access.enter(class, &zone, urgency, until).await?;
        Ok((zone, permit))
    };
    tokio::select! {
        biased;
        entered = entered => Some(entered),
        () = queue.writes.raised.notified() => None,
    }
}

/// Sends what was taken, in one call; and in parts, where that is refused.
async fn send(access: &Access, queue: &Queue, zone: &str, writers: Vec<Writer>, permit: Permit) {
    let _calling = Calling::begin(queue);
    let mut permit = Some(permit);
    let mut parts = vec![writers];
    while let Some(mut part) = parts.pop() {
        part.retain(|writer| !writer.is_gone());
        let Some((urgency, until)) = pressing(&part) else {
            continue;
        };
        let changes: Vec<&Change> = part.iter().flat_map(|w| &w.changes).collect();
        let sent = access.change(zone, &changes, urgency, until, &mut permit);
        match sent.await {
            Ok(records) => {
                let shared = part.len().saturating_sub(1);
                access.metrics.cloudflare_shared("write", shared);
                confirm(part, records);
            }
            Err(fault) if matches!(fault.kind, Kind::Refused(_)) && part.len() > 1 => {
                parts.extend(split(part));
            }
            Err(fault) => {
                access.forget(&queue.zone, &fault);
                conclude(queue, part, &fault);
            }
        }
    }
}

/// How urgent a call for these is, and by when it has to be answered.
fn pressing(writers: &[Writer]) -> Option<(Urgency, Instant)> {
    let urgency = writers.iter().map(|w| w.urgency).max()?;
    let until = writers.iter().map(|w| w.until).min()?;
    Some((urgency, until))
}

/// Each site is given its own records.
fn confirm(writers: Vec<Writer>, records: Vec<Record>) {
    for writer in writers {
        let ids: HashSet<&String> = writer.changes.iter().map(|c| &c.record.id).collect();
        let its = records.iter().filter(|record| ids.contains(&record.id));
        let its = its.cloned().collect();
        writer.tell(Written::Confirmed(its));
    }
}

/// What a refused batch is tried again as, in the order in which it was sent.
fn split(mut writers: Vec<Writer>) -> Vec<Vec<Writer>> {
    if writers.len() <= FEW {
        return writers
            .into_iter()
            .rev()
            .map(|writer| vec![writer])
            .collect();
    }
    let second = writers.split_off(writers.len() / 2);
    vec![second, writers]
}

/// Who has time left waits again where nothing was carried out; everybody else
/// hears of the fault.
fn conclude(queue: &Queue, writers: Vec<Writer>, fault: &Fault) {
    let now = Instant::now();
    let unsent = matches!(fault.kind, Kind::NotSent | Kind::Throttled(_));
    let pressing = writers.iter().map(|w| w.until).min().unwrap_or(now);
    let (again, over): (Vec<_>, Vec<_>) = writers
        .into_iter()
        .partition(|w| unsent && w.until > pressing && w.until > now);
    for writer in over {
        writer.tell(became(fault));
    }
    queue.writes.put_back(again);
}

/// Writes to test with.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::rule::address::RecordType;
    use std::time::Duration;
    use tokio::sync::oneshot;

    pub(in super::super) type Pending = oneshot::Receiver<Written>;

    pub(in super::super) fn change(id: &str) -> Change {
        let record = Record {
            id: id.into(),
            hostname: format!("{id}.example.com"),
            kind: RecordType::A,
            content: "192.0.2.1".into(),
            proxied: true,
            ttl: 1,
            modified_on: None,
            rest: "{}".into(),
        };
        Change {
            record,
            content: "192.0.2.2".into(),
        }
    }

    pub(in super::super) fn writer(
        ids: &[&str],
        urgency: Urgency,
        seconds: u64,
    ) -> (Writer, Pending) {
        let (answer, answered) = oneshot::channel();
        let writer = Writer {
            number: 0,
            changes: ids.iter().map(|id| change(id)).collect(),
            urgency,
            until: Instant::now() + Duration::from_secs(seconds),
            answer,
        };
        (writer, answered)
    }

    pub(in super::super) fn ids(writers: &[Writer]) -> Vec<&str> {
        let changes = writers.iter().flat_map(|w| &w.changes);
        changes.map(|c| c.record.id.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{change, ids, writer};
    use super::*;
    use crate::config::Zone;
    use std::time::Duration;
    use tokio::sync::oneshot;

    #[test]
    fn a_refused_batch_is_halved_and_then_taken_apart() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let now = Instant::now();
        let one = |id: &String| {
            let (answer, _) = oneshot::channel();
            Writer {
                number: 0,
                changes: vec![change(id)],
                urgency: Urgency::Flight,
                until: now,
                answer,
            }
        };
        let halves = split(names.iter().map(one).collect());
        assert_eq!(halves.len(), 2);
        assert_eq!(ids(&halves[1])[0], "0", "the last is sent first");
        let singles = split(names[..FEW].iter().map(one).collect());
        assert_eq!(singles.len(), FEW);
        assert_eq!(ids(&singles[FEW - 1]), ["0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_site_hears_of_its_own_records() {
        let (first, mut one) = writer(&["a", "b"], Urgency::Flight, 30);
        let (second, mut two) = writer(&["c"], Urgency::Flight, 30);
        let records: Vec<Record> = ["c", "a", "b"].map(|id| change(id).record).into();
        confirm(vec![first, second], records.clone());
        let of =
            |at: &[usize]| Written::Confirmed(at.iter().map(|&n| records[n].clone()).collect());
        assert_eq!(one.try_recv().unwrap(), of(&[1, 2]));
        assert_eq!(two.try_recv().unwrap(), of(&[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_time_left_waits_again_where_nothing_was_carried_out() {
        let queue = Queue::new(Zone::Name("example.com".into()));
        let throttled = Fault::new(Kind::Throttled(Duration::from_secs(9)), "slower");
        let (short, mut soon) = writer(&["a"], Urgency::Flight, 5);
        let (long, mut later) = writer(&["b"], Urgency::Flight, 30);
        conclude(&queue, vec![short, long], &throttled);
        assert_eq!(
            soon.try_recv().unwrap(),
            Written::Unavailable("slower".into())
        );
        assert!(later.try_recv().is_err());
        let taken = queue.writes.take(200);
        assert_eq!(ids(&taken), ["b"]);
        let lost = Fault::new(Kind::Lost, "no answer");
        conclude(&queue, taken, &lost);
        assert_eq!(
            later.try_recv().unwrap(),
            Written::Unanswered("no answer".into())
        );
    }
}
