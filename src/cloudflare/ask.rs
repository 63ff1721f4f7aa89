//! Asking for the records that sites wait for: the zone's list, or names.

use super::access::Access;
use super::answer::Fault;
use super::budget::Class;
use super::listing::Listing;
use super::queue::Queue;
use super::reads::{FRESH, Plan, Reader, Reads, records_of};
use super::slots::Permit;
use crate::failover::{Record, Urgency};
use futures_util::future::{join_all, try_join_all};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// A call under way: over when this is dropped, however it ends.
struct Calling<'a>(&'a Reads, u64);

impl<'a> Calling<'a> {
    fn begin(reads: &'a Reads) -> Calling<'a> {
        let number = reads.begin_call();
        Calling(reads, number)
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.end_call(self.1);
    }
}

/// The task that asks for those who wait. One that breaks must not keep another from beginning.
struct Task<'a> {
    reads: &'a Reads,
    over: bool,
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.reads.end_task();
        }
    }
}

/// Asks for those who wait until nobody does.
pub(super) async fn ask_for_all(access: Arc<Access>, queue: Arc<Queue>) {
    let mut task = Task {
        reads: &queue.reads,
        over: false,
    };
    while let Some((urgency, until)) = queue.reads.wanted() {
        // So that what is noted is noted of the token that was used.
        access.client.renew_token();
        let token = access.epoch();
        let outcome = match turn(&access, &queue, urgency, until).await {
            Turn::Come(zone, permit) => ask(&access, &queue, &zone, permit).await,
            Turn::Again => None,
            Turn::Failed(fault) => {
                queue.reads.fail(&fault, until);
                Some(Err(fault))
            }
        };
        let Some(outcome) = outcome else { continue };
        let fault = outcome.as_ref().err();
        if access.epoch() == token {
            access.note_right(&queue.zone, fault);
        }
        if let Some(fault) = fault {
            access.forget(&queue.zone, fault);
        }
    }
    task.over = true;
}

/// What became of waiting for a turn.
enum Turn {
    /// It has come, for this zone id.
    Come(String, Permit),
    /// Somebody more urgent has come, so that it comes sooner.
    Again,
    /// It does not come.
    Failed(Fault),
}

async fn turn(access: &Access, queue: &Queue, urgency: Urgency, until: Instant) -> Turn {
    let entered = async {
        let zone = access.zone_id(&queue.zone, urgency, until).await?;
        let class = Class::read(urgency);
        let permit = access.enter(class, &zone, urgency, until).await?;
        Ok((zone, permit))
    };
    tokio::select! {
        biased;
        entered = entered => match entered {
            Ok((zone, permit)) => Turn::Come(zone, permit),
            Err(fault) => Turn::Failed(fault),
        },
        () = queue.reads.raised.notified() => Turn::Again,
    }
}

/// What calls have shown of the token and the zone; nothing, if none was made.
type Shown = Option<Result<(), Fault>>;

/// One call, or as many as it takes, for everybody who waits.
async fn ask(access: &Access, queue: &Arc<Queue>, zone: &str, permit: Permit) -> Shown {
    let readers = queue.reads.take();
    if readers.is_empty() {
        return None;
    }
    let _calling = Calling::begin(&queue.reads);
    let shown = match queue.reads.plan(&readers, access.names(&queue.zone)) {
        Plan::Zone => ask_zone(access, queue, zone, permit, readers).await,
        Plan::Names => ask_names(access, zone, permit, readers).await,
    };
    Some(shown)
}

async fn ask_zone(
    access: &Access,
    queue: &Arc<Queue>,
    zone: &str,
    permit: Permit,
    mut readers: Vec<Reader>,
) -> Result<(), Fault> {
    let urgency = readers.iter().map(|r| r.urgency).max();
    let until = readers.iter().map(|r| r.until).max();
    let (urgency, until) = urgency
        .zip(until)
        .unwrap_or((Urgency::Steady, Instant::now()));
    let (number, mut page) = queue.reads.begin_list();
    let list = access.list_zone(zone, &mut page, urgency, until, Some(permit));
    let listing = list.await.map(Arc::new);
    let joined = queue.reads.end_list(number, page, listing.as_ref().ok());
    access
        .metrics
        .cloudflare_shared("read", readers.len().saturating_sub(1));
    readers.extend(joined);
    readers.retain(|reader| !reader.is_gone());
    let listing = match listing {
        Ok(listing) => listing,
        Err(fault) => {
            for reader in readers {
                reader.tell(Err(fault.clone()));
            }
            return Err(fault);
        }
    };
    let old = queue.clone();
    tokio::spawn(async move {
        tokio::time::sleep(FRESH).await;
        old.reads.forget_old();
    });
    let due = readers.iter().filter(|r| r.urgency > Urgency::Steady);
    queue.writes.expect(due.count());
    let again = answer_from(&listing, readers);
    let asked = again.into_iter().map(|(reader, names)| {
        let listing = &listing;
        async move { ask_again(access, zone, listing, reader, &names).await }
    });
    join_all(asked).await;
    Ok(())
}

/// Answers those whom the list can answer. Gives the others, each with the
/// names that have to be asked for.
fn answer_from(listing: &Listing, readers: Vec<Reader>) -> Vec<(Reader, Vec<String>)> {
    let mut again = Vec::new();
    for reader in readers {
        match records_of(listing, &reader.names) {
            Some(records) => reader.tell(Ok(records)),
            None => {
                let doubted = |name: &&String| listing.of(name).is_none();
                let names = reader.names.iter().filter(doubted).cloned().collect();
                again.push((reader, names));
            }
        }
    }
    again
}

/// A name about which a list is not believed is asked for alone.
async fn ask_again(
    access: &Access,
    zone: &str,
    listing: &Listing,
    reader: Reader,
    names: &[String],
) {
    let asked = names
        .iter()
        .map(|name| access.list_name(zone, name, reader.urgency, reader.until, None));
    let answer = try_join_all(asked).await.map(|answers| {
        let asked: HashMap<&String, Vec<Record>> = names.iter().zip(answers).collect();
        let of = |name: &String| match asked.get(name) {
            Some(records) => records.clone(),
            None => listing.of(name).unwrap_or_default().to_vec(),
        };
        reader.names.iter().flat_map(of).collect()
    });
    reader.tell(answer);
}

/// Name by name, each reader answered as soon as its own names are read.
async fn ask_names(
    access: &Access,
    zone: &str,
    permit: Permit,
    readers: Vec<Reader>,
) -> Result<(), Fault> {
    let mut first = Some(permit);
    let asked = readers.into_iter().map(|reader| {
        let mut permits = vec![first.take()];
        permits.resize_with(reader.names.len().max(1), || None);
        async move {
            let calls = reader.names.iter().zip(permits).map(|(name, permit)| {
                access.list_name(zone, name, reader.urgency, reader.until, permit)
            });
            let answer = try_join_all(calls).await;
            let shown = answer.as_ref().map(|_| ()).map_err(Fault::clone);
            reader.tell(answer.map(|records| records.into_iter().flatten().collect()));
            shown
        }
    });
    join_all(asked).await.into_iter().collect()
}
