//! Reads that are shared: one list of a zone serves every site that wants to
//! know at that moment.
//!
//! A site queues its read. If none of the zone is under way, one begins at
//! once; what it asks for is fixed only when its turn has come, so that it
//! serves everybody who queued until then. An answer is given to nobody for
//! whom it may be too old: who came later joins a list under way only if no
//! write of ours to the zone can lie between.

use super::access::{Access, LARGE_PAGE};
use super::answer::{Fault, Kind};
use super::ask::ask_for_all;
use super::listing::Listing;
use super::queue::{Callers, GRACE, Queue, SLOW};
use crate::failover::{Record, Urgency};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A list that began this long ago at most answers those who join it, and
/// steady reads that come after its end.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// A zone with no more records is listed whole sooner than name by name.
const SMALL: usize = 500;

type Answer = Result<Vec<Record>, Fault>;

/// A site's read.
pub(super) struct Reader {
    pub(super) names: Vec<String>,
    pub(super) urgency: Urgency,
    pub(super) until: Instant,
    answer: oneshot::Sender<Answer>,
}

impl Reader {
    pub(super) fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }

    pub(super) fn tell(self, answer: Answer) {
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
    /// When somebody last asked who is about to write.
    hurried: Option<Instant>,
    writing: usize,
    size: Option<Size>,
    page: u64,
    next: u64,
}

/// The reads of one zone.
pub(super) struct Reads {
    state: Mutex<State>,
    /// Somebody more urgent has come.
    pub(super) raised: Notify,
}

impl Default for Reads {
    fn default() -> Reads {
        Reads {
            state: Mutex::new(State {
                waiting: Vec::new(),
                callers: Callers::default(),
                lists: Vec::new(),
                recent: None,
                hurried: None,
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

/// The records of these names; `None` if the list is not believed about one.
pub(super) fn records_of(listing: &Listing, names: &[String]) -> Option<Vec<Record>> {
    let lists: Option<Vec<&[Record]>> = names.iter().map(|name| listing.of(name)).collect();
    // No more room than they take: a site keeps what it read.
    Some(lists?.concat())
}

/// What a call asks for.
pub(super) enum Plan {
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
        if reader.urgency > Urgency::Steady {
            state.hurried = Some(now);
        }
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

    /// Whether sites that are about to write are being answered.
    pub(super) fn are_hurried(&self) -> bool {
        let state = self.lock();
        let lately = |at: Instant| at.elapsed() < FRESH;
        (state.callers.any() || !state.lists.is_empty()) && state.hurried.is_some_and(lately)
    }

    /// The urgency of those who wait, and the latest deadline. `None` ends the
    /// task that asks for them: it is counted no more.
    pub(super) fn wanted(&self) -> Option<(Urgency, Instant)> {
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
    pub(super) fn fail(&self, fault: &Fault, until: Instant) {
        let mut state = self.lock();
        let all = std::mem::take(&mut state.waiting);
        let (failed, rest): (Vec<_>, _) = all.into_iter().partition(|r| r.until <= until);
        state.waiting = rest;
        drop(state);
        for reader in failed {
            reader.tell(Err(fault.clone()));
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
        self.lock().callers.end_call(number);
    }

    /// Takes everybody who waits, as the call for them begins.
    pub(super) fn take(&self) -> Vec<Reader> {
        let mut taken = std::mem::take(&mut self.lock().waiting);
        taken.retain(|reader| !reader.is_gone());
        taken
    }

    /// The cheaper way to answer these readers.
    pub(super) fn plan(&self, readers: &[Reader], ours: usize) -> Plan {
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

    pub(super) fn begin_list(&self) -> (u64, u64) {
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
    pub(super) fn end_list(
        &self,
        number: u64,
        page: u64,
        listing: Option<&Arc<Listing>>,
    ) -> Vec<Reader> {
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

    /// An answer that is a second old is of no use to anybody.
    pub(super) fn forget_old(&self) {
        let mut state = self.lock();
        let fresh = |(began, _): &(Instant, Arc<Listing>)| began.elapsed() < FRESH;
        state.recent = state.recent.take().filter(fresh);
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

    impl Reads {
        /// A reader that waits, with a task that asks for it.
        pub(in super::super) fn admitted(
            &self,
            name: &str,
            urgency: Urgency,
        ) -> oneshot::Receiver<Answer> {
            let (reader, answered) = reader(name, urgency);
            assert!(!self.admit(reader));
            assert!(self.needs_asker());
            answered
        }
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
        reads.forget_old();
        assert!(answered(Urgency::Steady), "it is not old yet");
        tokio::time::advance(FRESH).await;
        assert!(!answered(Urgency::Steady));
        reads.forget_old();
        assert!(reads.lock().recent.is_none());
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
