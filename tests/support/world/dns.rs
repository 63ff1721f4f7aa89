//! A Cloudflare that can be slow, absent, forgetful and edited by others.

use futures_util::future::BoxFuture;
use originswitch::clock::Clock;
use originswitch::config::{Site, Zone};
use originswitch::failover::{Change, Dns, Record, Unavailable, Urgency, Written};
use originswitch::rule::Moment;
use originswitch::rule::address::{Address, Place};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The time limit of one request, as in the configuration's default.
const REQUEST: Duration = Duration::from_secs(10);

/// What becomes of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFate {
    /// Answered with what is so.
    Answered,
    /// No answer that could be used.
    Unavailable,
    /// No answer at all, until the time for it is over.
    Silent,
    /// Answered with what was so before the newest change.
    Stale,
    /// Answered this late, with what was so when it was asked.
    Delayed(Duration),
    /// Answered, after somebody else pointed the records to this address.
    EditedFirst(String),
}

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFate {
    /// Carried out and answered.
    Applied,
    /// Cloudflare says no.
    Rejected,
    /// Not sent, or put off.
    Unavailable,
    /// The connection is cut before Cloudflare acted.
    LostBefore,
    /// The connection is cut after Cloudflare acted.
    LostAfter,
    /// Carried out, and not answered until the time for it is over.
    SilentAfter,
    /// The answer shows the old content; nothing was done.
    Misanswered,
}

impl WriteFate {
    fn acts(self) -> bool {
        use WriteFate::{Applied, LostAfter, SilentAfter};
        matches!(self, Applied | LostAfter | SilentAfter)
    }
}

/// A read as it was asked for.
#[derive(Debug, Clone)]
pub struct ReadCall {
    /// Since the world began.
    pub at: Duration,
    pub urgency: Urgency,
    pub fate: ReadFate,
}

/// A write as it was asked for.
#[derive(Debug, Clone)]
pub struct WriteCall {
    /// Since the world began.
    pub at: Duration,
    pub moment: Moment,
    pub changes: Vec<Change>,
    pub fate: WriteFate,
    /// What the records held when it was asked for.
    pub from: String,
    /// What they were to hold.
    pub to: String,
    /// Whether it changed anything.
    pub acted: bool,
    /// What in it was not as it should be: anything but content in a change.
    pub faults: Vec<String>,
}

#[derive(Debug)]
struct State {
    records: Vec<Record>,
    before: Vec<Record>,
    /// Every record as it ever was.
    versions: Vec<Record>,
    latency: Duration,
    standing_read: ReadFate,
    standing_write: WriteFate,
    next_reads: VecDeque<ReadFate>,
    next_writes: VecDeque<WriteFate>,
    after_write: Vec<ReadFate>,
    reads: Vec<ReadCall>,
    writes: Vec<WriteCall>,
    tokens: u64,
}

/// The simulated DNS side. Clones share one state.
#[derive(Clone)]
pub struct FakeDns {
    state: Arc<Mutex<State>>,
    clock: Clock,
    began: Moment,
}

impl FakeDns {
    /// Records of `site` that hold MAIN.
    pub fn new(site: &Site, clock: &Clock) -> FakeDns {
        let records: Vec<Record> = site
            .hostnames
            .iter()
            .flat_map(|hostname| {
                let addresses = site.origins[0].place.addresses().iter();
                addresses.map(move |address| record(hostname, address, clock))
            })
            .collect();
        FakeDns {
            began: clock.moment(),
            clock: clock.clone(),
            state: Arc::new(Mutex::new(State {
                before: records.clone(),
                versions: records.clone(),
                records,
                latency: Duration::ZERO,
                standing_read: ReadFate::Answered,
                standing_write: WriteFate::Applied,
                next_reads: VecDeque::new(),
                next_writes: VecDeque::new(),
                after_write: Vec::new(),
                reads: Vec::new(),
                writes: Vec::new(),
                tokens: 0,
            })),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap())
    }

    fn since_began(&self) -> Duration {
        self.clock.moment().since(self.began)
    }

    /// From now on each call takes this long; a write acts half way through.
    pub fn latency(&self, latency: Duration) {
        self.with(|state| state.latency = latency);
    }

    /// What becomes of reads from now on.
    pub fn reads_are(&self, fate: ReadFate) {
        self.with(|state| state.standing_read = fate);
    }

    /// What becomes of writes from now on.
    pub fn writes_are(&self, fate: WriteFate) {
        self.with(|state| state.standing_write = fate);
    }

    /// From now on there is another token.
    pub fn another_token(&self) {
        self.with(|state| state.tokens += 1);
    }

    /// What becomes of the next read for which nothing is planned yet.
    pub fn next_read(&self, fate: ReadFate) {
        self.with(|state| state.next_reads.push_back(fate));
    }

    /// What becomes of the next write for which nothing is planned yet.
    pub fn next_write(&self, fate: WriteFate) {
        self.with(|state| state.next_writes.push_back(fate));
    }

    /// What becomes of the next write, and of the reads that follow it.
    pub fn next_write_then(&self, fate: WriteFate, reads: Vec<ReadFate>) {
        self.with(|state| {
            state.next_writes = VecDeque::from([fate]);
            state.after_write = reads;
        });
    }

    /// Forgets what is planned, and answers everything.
    pub fn heal(&self) {
        self.with(|state| {
            state.next_reads.clear();
            state.next_writes.clear();
            state.after_write.clear();
            state.standing_read = ReadFate::Answered;
            state.standing_write = WriteFate::Applied;
        });
    }

    /// Somebody else points all A records to `content`.
    pub fn edit(&self, content: &str) {
        let now = self.clock.now();
        self.with(|state| state.edit(content, now));
    }

    /// Somebody else works on the records themselves.
    pub fn edit_records(&self, work: impl FnOnce(&mut Vec<Record>)) {
        self.with(|state| {
            state.before = state.records.clone();
            work(&mut state.records);
            state.remember();
        });
    }

    /// The records as they are.
    pub fn records(&self) -> Vec<Record> {
        self.with(|state| state.records.clone())
    }

    pub fn reads(&self) -> Vec<ReadCall> {
        self.with(|state| state.reads.clone())
    }

    pub fn writes(&self) -> Vec<WriteCall> {
        self.with(|state| state.writes.clone())
    }

    async fn answer(&self, urgency: Urgency, until: Instant) -> Result<Vec<Record>, Unavailable> {
        let at = self.since_began();
        let (fate, latency) = self.with(|state| {
            let planned = state.next_reads.pop_front();
            let fate = planned.unwrap_or_else(|| state.standing_read.clone());
            state.reads.push(ReadCall {
                at,
                urgency,
                fate: fate.clone(),
            });
            (fate, state.latency)
        });
        let silent = fate == ReadFate::Silent;
        let asked = self.records();
        let ready = match fate {
            ReadFate::Silent => until,
            ReadFate::Delayed(delay) => Instant::now() + delay,
            _ => Instant::now() + latency,
        };
        pass(ready.min(until)).await;
        if ready > until || silent {
            return Err(Unavailable("no answer in time".into()));
        }
        let now = self.clock.now();
        self.with(|state| match fate {
            ReadFate::Unavailable | ReadFate::Silent => {
                Err(Unavailable("Cloudflare answers 500".into()))
            }
            ReadFate::Delayed(_) => Ok(asked),
            ReadFate::Answered => Ok(state.records.clone()),
            ReadFate::Stale => Ok(state.before.clone()),
            ReadFate::EditedFirst(content) => {
                state.edit(&content, now);
                Ok(state.records.clone())
            }
        })
    }

    async fn carry_out(&self, changes: &[Change], until: Instant) -> Written {
        let call = WriteCall {
            at: self.since_began(),
            moment: self.clock.moment(),
            changes: changes.to_vec(),
            fate: WriteFate::Applied,
            from: String::new(),
            to: contents(changes.iter().map(|change| change.content.as_str())),
            acted: false,
            faults: Vec::new(),
        };
        let (fate, index, latency) = self.with(|state| state.begin(call));
        if fate.acts() {
            // The request is on its way: it acts whatever becomes of the caller.
            let (dns, changes) = (self.clone(), changes.to_vec());
            let act = async move {
                pass(Instant::now() + latency / 2).await;
                let now = dns.clock.now();
                dns.with(|state| state.act(index, &changes, now));
            };
            if latency.is_zero() {
                act.await;
            } else {
                tokio::spawn(act);
            }
        }
        if fate == WriteFate::SilentAfter {
            pass(until.min(Instant::now() + REQUEST)).await;
            return Written::Unanswered("no answer in time".into());
        }
        pass(Instant::now() + latency).await;
        match fate {
            WriteFate::Applied => Written::Confirmed(self.shown(changes)),
            WriteFate::Misanswered => {
                let as_before = changes.iter().map(|change| change.record.clone());
                Written::Confirmed(as_before.collect())
            }
            WriteFate::Rejected => Written::Rejected("9003: no".into()),
            WriteFate::Unavailable => Written::Unavailable("429".into()),
            WriteFate::LostBefore | WriteFate::LostAfter | WriteFate::SilentAfter => {
                Written::Unanswered("connection reset".into())
            }
        }
    }

    fn shown(&self, changes: &[Change]) -> Vec<Record> {
        let of = |record: &Record| changes.iter().any(|c| c.record.id == record.id);
        let mut records = self.records();
        records.retain(of);
        records
    }
}

impl State {
    fn edit(&mut self, content: &str, now: jiff::Timestamp) {
        self.before = self.records.clone();
        for record in &mut self.records {
            if Address::parse(record.kind, content).is_some() {
                record.content = content.to_owned();
                record.modified_on = Some(now);
            }
        }
        self.remember();
    }

    fn remember(&mut self) {
        self.versions.extend(self.records.iter().cloned());
    }

    fn begin(&mut self, mut call: WriteCall) -> (WriteFate, usize, Duration) {
        let fate = self.next_writes.pop_front().unwrap_or(self.standing_write);
        call.fate = fate;
        for read in std::mem::take(&mut self.after_write).into_iter().rev() {
            self.next_reads.push_front(read);
        }
        call.from = contents(self.records.iter().map(|r| r.content.as_str()));
        call.faults = self.faults_of(&call.changes);
        self.writes.push(call);
        (fate, self.writes.len() - 1, self.latency)
    }

    /// A change names a record that is there, as it was read but for its content.
    fn faults_of(&self, changes: &[Change]) -> Vec<String> {
        let mut faults = Vec::new();
        if changes.is_empty() {
            faults.push("an empty batch".into());
        }
        for change in changes {
            let Some(held) = self.records.iter().find(|r| r.id == change.record.id) else {
                faults.push(format!("no record {}", change.record.id));
                continue;
            };
            if Address::parse(held.kind, &change.content).is_none() {
                faults.push(format!("{} for {}", change.content, held.kind));
            }
            if !self.versions.contains(&change.record) {
                faults.push(format!("{:?} for {held:?}", change.record));
            }
        }
        faults
    }

    fn act(&mut self, index: usize, changes: &[Change], now: jiff::Timestamp) {
        self.before = self.records.clone();
        for change in changes {
            let held = self.records.iter_mut().find(|r| r.id == change.record.id);
            if let Some(held) = held {
                // What a write sends is the content; it sends nothing else.
                held.content = change.content.clone();
                held.modified_on = Some(now);
            }
        }
        self.remember();
        self.writes[index].acted = true;
    }
}

impl Dns for FakeDns {
    fn read<'a>(
        &'a self,
        _: &'a Zone,
        _: &'a [String],
        urgency: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Result<Vec<Record>, Unavailable>> {
        Box::pin(self.answer(urgency, until))
    }

    fn write<'a>(
        &'a self,
        _: &'a Zone,
        changes: &'a [Change],
        until: Instant,
    ) -> BoxFuture<'a, Written> {
        Box::pin(self.carry_out(changes, until))
    }

    fn pace(&self, interval: Duration) -> Duration {
        interval
    }

    fn epoch(&self) -> u64 {
        self.with(|state| state.tokens)
    }
}

/// Sleeps, but does not yield where there is nothing to wait for.
async fn pass(until: Instant) {
    if until > Instant::now() {
        tokio::time::sleep_until(until).await;
    }
}

fn record(hostname: &str, address: &Address, clock: &Clock) -> Record {
    Record {
        id: format!("{hostname}-{}", address.kind()),
        hostname: hostname.to_owned(),
        kind: address.kind(),
        content: address.to_string(),
        proxied: true,
        ttl: 1,
        modified_on: Some(clock.now()),
        rest: r#"{"comment":"do not touch","tags":["a"]}"#.into(),
    }
}

/// Contents that belong to one place, once each, as a place is written.
pub fn contents<'a>(contents: impl Iterator<Item = &'a str>) -> String {
    let mut different: Vec<Address> = Vec::new();
    for content in contents {
        let address = content
            .parse::<std::net::IpAddr>()
            .map_or_else(|_| Address::name(content), Address::from);
        if !different.contains(&address) {
            different.push(address);
        }
    }
    Place::new(different).to_string()
}
