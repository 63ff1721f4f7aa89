//! Reads that are shared: one list of a zone serves every site that wants to
//! know at that moment.
//!
//! A site queues its read. If none of the zone is under way, one begins at
//! once; what it asks for is fixed only when its turn has come, so that it
//! serves everybody who queued until then. An answer is given to nobody for
//! whom it may be too old: who came later joins a list under way only if no
//! write of ours to the zone can lie between.

use super::access::{Access, LARGE_PAGE};
use super::budget::Class;
use super::client::{Fault, Kind};
use super::listing::Listing;
use super::queue::{Callers, GRACE, Queue, SLOW};
use super::slots::Permit;
use crate::failover::{Record, Urgency};
use futures_util::future::{join_all, try_join_all};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A list that began this long ago at most answers those who join it, and
/// steady reads that come after its end.
const FRESH: Duration = Duration::from_secs(1);

/// A zone with no more records is listed whole sooner than name by name.
const SMALL: usize = 500;

type Answer = Result<Vec<Record>, Fault>;

/// A site's read.
struct Reader {
    names: Vec<String>,
    urgency: Urgency,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Reader {
    fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    fn tell(self, answer: Answer) {
        // Who gave up wants no answer.
        let _ = self.answer.send(answer);
    }
}

/// A list of the whole zone under way.
struct Under {
    number: u64,
    began: Instant,
    joined: Vec<Reader>,
    /// A write of ours may be older than what it shows, or newer.
    doubtful: bool,
}

/// What is known of a zone's size, from its last list.
#[derive(Debug, Clone, Copy)]
struct Size {
    pages: usize,
    records: usize,
}

struct State {
    waiting: Vec<Reader>,
    /// Who asks for those who wait.
    callers: Callers,
    lists: Vec<Under>,
    recent: Option<(Instant, Arc<Listing>)>,
    writing: usize,
    size: Option<Size>,
    page: u64,
    next: u64,
}

/// The reads of one zone.
pub(super) struct Reads {
    state: Mutex<State>,
    /// Somebody more urgent has come.
    raised: Notify,
}

impl Default for Reads {
    fn default() -> Reads {
        Reads {
            state: Mutex::new(State {
                waiting: Vec::new(),
                callers: Callers::default(),
                lists: Vec::new(),
                recent: None,
                writing: 0,
                size: None,
                page: LARGE_PAGE,
                next: 0,
            }),
            raised: Notify::new(),
        }
    }
}

/// Reads the records of `names`.
pub(super) async fn read(
    access: &Arc<Access>,
    queue: &Arc<Queue>,
    names: &[String],
    urgency: Urgency,
    until: Instant,
) -> Answer {
    let (answer, mut answered) = oneshot::channel();
    let reader = Reader {
        names: names.to_vec(),
        urgency,
        until,
        answer,
    };
    if queue.reads.admit(reader) {
        access.metrics.cloudflare_shared("read", 1);
    }
    loop {
        if queue.reads.needs_asker() {
            tokio::spawn(ask_for_all(access.clone(), queue.clone()));
        }
        let again = (Instant::now() + SLOW).min(until + GRACE);
        match tokio::time::timeout_at(again, &mut answered).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(_)) => return Err(over("the read was given up")),
            Err(_) if Instant::now() >= until + GRACE => {
                return Err(over("the time for this decision is over"));
            }
            Err(_) => {}
        }
    }
}

fn over(text: &str) -> Fault {
    Fault::new(Kind::NotSent, text)
}

/// What a call asks for.
enum Plan {
    Zone,
    Names,
}

impl Reads {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls a list of the zone takes; one, while that is not known.
    pub(super) fn pages(&self) -> usize {
        self.lock().size.map_or(1, |size| size.pages)
    }

    /// Takes in a reader. Whether it needs no call of its own: it is answered
    /// already, or joins a list under way.
    fn admit(&self, reader: Reader) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let recent = state
            .recent
            .as_ref()
            .filter(|(began, _)| *began + FRESH > now);
        if let Some((_, listing)) = recent
            && reader.urgency == Urgency::Steady
            && let Some(records) = records_of(listing, &reader.names)
        {
            reader.tell(Ok(records));
            return true;
        }
        let open = |list: &&mut Under| !list.doubtful && list.began + FRESH > now;
        if let Some(list) = state.lists.iter_mut().find(open) {
            list.joined.push(reader);
            return true;
        }
        let most = state.waiting.iter().map(|waiting| waiting.urgency).max();
        let raises = most.is_some_and(|most| most < reader.urgency);
        state.waiting.push(reader);
        drop(state);
        if raises {
            self.raised.notify_one();
        }
        false
    }

    /// Whether somebody waits whom nobody asks for. If so, the caller is to
    /// start who does.
    fn needs_asker(&self) -> bool {
        let mut state = self.lock();
        state.waiting.retain(|reader| !reader.is_gone());
        let any = !state.waiting.is_empty();
        let hurry = state.waiting.iter().any(|r| r.urgency > Urgency::Steady);
        state.callers.need(any, hurry)
    }

    /// The urgency of those who wait, and the latest deadline. `None` ends the
    /// task that asks for them: it is counted no more.
    fn wanted(&self) -> Option<(Urgency, Instant)> {
        let mut state = self.lock();
        state.waiting.retain(|reader| !reader.is_gone());
        let urgency = state.waiting.iter().map(|reader| reader.urgency).max();
        let until = state.waiting.iter().map(|reader| reader.until).max();
        if urgency.is_none() {
            state.callers.end();
        }
        urgency.zip(until)
    }

    /// Everybody who waits with a deadline up to `until` hears of the fault.
    fn fail(&self, fault: &Fault, until: Instant) {
        let mut state = self.lock();
        let all = std::mem::take(&mut state.waiting);
        let (failed, rest): (Vec<_>, _) = all.into_iter().partition(|r| r.until <= until);
        state.waiting = rest;
        drop(state);
        for reader in failed {
            reader.tell(Err(fault.clone()));
        }
    }

    /// Takes everybody who waits, as the call for them begins.
    fn take(&self) -> Vec<Reader> {
        let mut taken = std::mem::take(&mut self.lock().waiting);
        taken.retain(|reader| !reader.is_gone());
        taken
    }

    /// The cheaper way to answer these readers.
    fn plan(&self, readers: &[Reader], ours: usize) -> Plan {
        let names: HashSet<&String> = readers.iter().flat_map(|r| &r.names).collect();
        let steady = readers.iter().any(|r| r.urgency == Urgency::Steady);
        let ours = ours.max(names.len());
        let size = self.lock().size;
        let pages = size.map_or(1, |size| size.pages);
        let small = size.is_some_and(|size| size.pages == 1 && size.records <= SMALL);
        // All our names are due together, or will be in a moment.
        let shared = (steady && pages < ours) || (small && ours > 1);
        if shared || pages < names.len() {
            Plan::Zone
        } else {
            Plan::Names
        }
    }

    fn begin_list(&self) -> (u64, u64) {
        let mut state = self.lock();
        state.next += 1;
        let list = Under {
            number: state.next,
            began: Instant::now(),
            joined: Vec::new(),
            doubtful: state.writing > 0,
        };
        state.lists.push(list);
        (state.next, state.page)
    }

    /// A list came to its end: who joined it, and what is kept of it.
    fn end_list(&self, number: u64, page: u64, listing: Option<&Arc<Listing>>) -> Vec<Reader> {
        let mut state = self.lock();
        let Some(at) = state.lists.iter().position(|list| list.number == number) else {
            return Vec::new();
        };
        let list = state.lists.swap_remove(at);
        if let Some(listing) = listing {
            state.page = page;
            state.size = Some(Size {
                pages: listing.pages,
                records: listing.records,
            });
            state.recent = (!list.doubtful).then(|| (list.began, listing.clone()));
        }
        list.joined
    }

    /// A write of ours to the zone is about to be sent: nobody joins what
    /// began before it, or begins before its end.
    pub(super) fn write_begins(&self) {
        let mut state = self.lock();
        state.writing += 1;
        state.doubt();
    }

    /// A write of ours came to its end.
    pub(super) fn write_ends(&self) {
        let mut state = self.lock();
        state.writing -= 1;
        state.doubt();
    }
}

impl State {
    fn doubt(&mut self) {
        self.recent = None;
        for list in &mut self.lists {
            list.doubtful = true;
        }
    }
}

/// A call under way: over when this is dropped, however it ends.
struct Calling<'a>(&'a Reads, u64);

impl<'a> Calling<'a> {
    fn begin(reads: &'a Reads) -> Calling<'a> {
        let number = reads.lock().callers.begin_call();
        Calling(reads, number)
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.lock().callers.end_call(self.1);
    }
}

/// Asks for those who wait until nobody does.
async fn ask_for_all(access: Arc<Access>, queue: Arc<Queue>) {
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
async fn ask(access: &Access, queue: &Queue, zone: &str, permit: Permit) -> Shown {
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
    queue: &Queue,
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

fn records_of(listing: &Listing, names: &[String]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    for name in names {
        records.extend_from_slice(listing.of(name)?);
    }
    Some(records)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(name: &str, urgency: Urgency) -> (Reader, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let reader = Reader {
            names: vec![name.to_owned()],
            urgency,
            until: Instant::now() + Duration::from_secs(30),
            answer,
        };
        (reader, answered)
    }

    fn listed(reads: &Reads, pages: usize, records: usize) {
        let (number, page) = reads.begin_list();
        let mut listing = Listing::default();
        (listing.pages, listing.records) = (pages, records);
        let listing = Arc::new(listing);
        reads.end_list(number, page, Some(&listing));
    }

    fn is_whole(
        reads: &Reads,
        readers: &[(Reader, oneshot::Receiver<Answer>)],
        ours: usize,
    ) -> bool {
        let readers: Vec<Reader> = readers
            .iter()
            .map(|(r, _)| reader(&r.names[0], r.urgency).0)
            .collect();
        matches!(reads.plan(&readers, ours), Plan::Zone)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cheaper_is_asked() {
        let steady = [reader("a", Urgency::Steady)];
        let flight = [reader("a", Urgency::Flight)];
        let two = [reader("a", Urgency::Flight), reader("b", Urgency::Flight)];
        let reads = Reads::default();
        // Nothing is known: one name alone is asked for by its name.
        assert!(!is_whole(&reads, &steady, 1));
        assert!(is_whole(&reads, &steady, 2));
        assert!(!is_whole(&reads, &flight, 2));
        assert!(is_whole(&reads, &two, 2));
        // A small zone with several of our names.
        listed(&reads, 1, 500);
        assert!(is_whole(&reads, &flight, 2));
        assert!(!is_whole(&reads, &flight, 1));
        // One that is not small.
        listed(&reads, 1, 501);
        assert!(!is_whole(&reads, &flight, 2));
        assert!(is_whole(&reads, &two, 2));
        // One of many pages.
        listed(&reads, 35, 3500);
        assert!(!is_whole(&reads, &two, 1000));
        assert!(!is_whole(&reads, &steady, 35));
        assert!(is_whole(&reads, &steady, 36));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_joined_unless_a_write_or_a_second_lies_between() {
        let reads = Reads::default();
        let joins = |reads: &Reads| reads.admit(reader("a", Urgency::Flight).0);
        let (number, page) = reads.begin_list();
        assert!(joins(&reads));
        tokio::time::advance(FRESH).await;
        assert!(!joins(&reads), "it began too long ago");
        assert_eq!(reads.end_list(number, page, None).len(), 1);
        for write_first in [true, false] {
            let list = || reads.begin_list().0;
            let number = if write_first {
                reads.write_begins();
                list()
            } else {
                let number = list();
                reads.write_begins();
                number
            };
            assert!(!joins(&reads), "a write is under way");
            reads.write_ends();
            assert!(!joins(&reads), "a write was under way");
            reads.end_list(number, page, None);
        }
        reads.begin_list();
        assert!(joins(&reads));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_answers_steady_reads_for_a_second_unless_something_was_written() {
        let reads = Reads::default();
        let answered = |urgency| {
            let (reader, mut answered) = reader("a", urgency);
            reads.admit(reader);
            answered.try_recv().is_ok()
        };
        listed(&reads, 1, 0);
        assert!(answered(Urgency::Steady));
        assert!(!answered(Urgency::Flight));
        tokio::time::advance(FRESH).await;
        assert!(!answered(Urgency::Steady));
        listed(&reads, 1, 0);
        reads.write_begins();
        assert!(!answered(Urgency::Steady));
        reads.write_ends();
        assert!(!answered(Urgency::Steady));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_up_is_asked_for_no_more() {
        let reads = Reads::default();
        let (gone, answered) = reader("a", Urgency::Flight);
        reads.admit(gone);
        assert!(reads.needs_asker());
        assert!(!reads.needs_asker(), "one asks already");
        drop(answered);
        assert!(reads.wanted().is_none());
        assert!(!reads.needs_asker(), "nobody waits");
        let (next, _answered) = reader("a", Urgency::Steady);
        reads.admit(next);
        assert!(reads.needs_asker(), "the one before has ended");
    }
}
