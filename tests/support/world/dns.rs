//! A Cloudflare that can be slow, absent, forgetful and edited by others.

use super::fates::{ReadCall, ReadFate, Weather, WriteCall, WriteFate};
use super::journal::{Entry, Journal};
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

struct State {
    records: Vec<Record>,
    /// The records as they ever were, and since when.
    versions: Vec<(Duration, Vec<Record>)>,
    weather: Option<Box<dyn Weather>>,
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

/// What Cloudflare's clock tells apart.
const TICK: jiff::SignedDuration = jiff::SignedDuration::from_micros(1);

/// The simulated DNS side. Clones share one state.
#[derive(Clone)]
pub struct FakeDns {
    state: Arc<Mutex<State>>,
    clock: Clock,
    began: Moment,
    epoch: jiff::Timestamp,
    journal: Option<(Journal, usize)>,
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
            epoch: clock.now(),
            clock: clock.clone(),
            journal: None,
            state: Arc::new(Mutex::new(State {
                versions: vec![(Duration::ZERO, records.clone())],
                weather: None,
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

    /// Since the world began, and what Cloudflare's own clock shows: setting
    /// ours does not set it.
    pub fn time(&self) -> (Duration, jiff::Timestamp) {
        let at = self.since_began();
        let passed = jiff::SignedDuration::try_from(at).unwrap();
        (at, self.epoch + passed)
    }

    /// From now on all is written down, as what happens to site number `site`.
    pub fn told(&mut self, journal: &Journal, site: usize) {
        self.journal = Some((journal.clone(), site));
    }

    fn note(&self, entry: impl FnOnce(usize) -> Entry) {
        if let Some((journal, site)) = &self.journal {
            journal.note(entry(*site));
        }
    }

    /// From now on this decides what becomes of calls.
    pub fn weather(&self, weather: Box<dyn Weather>) {
        self.with(|state| state.weather = Some(weather));
    }

    /// The number of the version that is so.
    pub fn newest(&self) -> usize {
        self.with(|state| state.newest())
    }

    /// The records as they were in a version, and since when.
    pub fn version(&self, version: usize) -> (Duration, Vec<Record>) {
        self.with(|state| state.versions[version].clone())
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
        let (at, now) = self.time();
        let version = self.with(|state| state.edit(content, at, now));
        self.note(|site| Entry::Edited { site, version });
    }

    /// Somebody else works on the records themselves.
    pub fn edit_records(&self, work: impl FnOnce(&mut Vec<Record>)) {
        let at = self.since_began();
        let version = self.with(|state| {
            work(&mut state.records);
            state.remember(at)
        });
        self.note(|site| Entry::Edited { site, version });
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
            let fate = match (state.next_reads.pop_front(), &mut state.weather) {
                (Some(planned), _) => planned,
                (None, Some(weather)) => weather.read(),
                (None, None) => state.standing_read.clone(),
            };
            state.reads.push(ReadCall {
                at,
                urgency,
                fate: fate.clone(),
            });
            (fate, state.takes())
        });
        let silent = fate == ReadFate::Silent;
        let asked = self.with(|state| state.newest());
        let ready = match fate {
            ReadFate::Silent => until,
            ReadFate::Delayed(delay) => Instant::now() + delay,
            _ => Instant::now() + latency,
        };
        pass(ready.min(until)).await;
        if ready > until || silent {
            return Err(Unavailable("no answer in time".into()));
        }
        let (at, now) = self.time();
        let version = match fate {
            ReadFate::Unavailable | ReadFate::Silent => {
                return Err(Unavailable("Cloudflare answers 500".into()));
            }
            ReadFate::Delayed(_) => asked,
            ReadFate::Answered => self.with(|state| state.newest()),
            ReadFate::Stale => self.with(|state| state.newest().saturating_sub(1)),
            ReadFate::Behind(by) => self.with(|state| state.as_of(at.saturating_sub(by))),
            ReadFate::EditedFirst(content) => {
                let version = self.with(|state| state.edit(&content, at, now));
                self.note(|site| Entry::Edited { site, version });
                version
            }
        };
        self.note(|site| Entry::Read { site, version });
        Ok(self.version(version).1)
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
            version: None,
            faults: Vec::new(),
        };
        let (fate, write, latency) = self.with(|state| state.begin(call));
        self.note(|site| Entry::Wrote { site, write });
        let (asked, half) = (Instant::now(), latency / 2);
        if fate.acts() {
            let dns = self.clone();
            let act = async move {
                if let WriteFate::ActsLate(late) = fate {
                    pass(Instant::now() + late).await;
                }
                dns.act(write);
            };
            if latency.is_zero() && !matches!(fate, WriteFate::ActsLate(_)) {
                act.await;
            } else if self.with(|state| state.arrives()) {
                // The request is on its way: it acts whatever becomes of the caller.
                tokio::spawn(async move {
                    pass(asked + half).await;
                    act.await;
                });
            } else {
                pass(asked + half).await;
                tokio::spawn(act);
            }
        }
        let answered = match fate {
            WriteFate::SilentAfter => until.min(asked + REQUEST),
            _ => asked + latency,
        };
        pass(answered).await;
        self.note(|site| Entry::Answered { site, fate });
        match fate {
            WriteFate::Applied => Written::Confirmed(self.shown(write, changes)),
            WriteFate::Misanswered => {
                let as_before = changes.iter().map(|change| change.record.clone());
                Written::Confirmed(as_before.collect())
            }
            WriteFate::Rejected => Written::Rejected("9003: no".into()),
            WriteFate::Unavailable => Written::Unavailable("429".into()),
            WriteFate::SilentAfter => Written::Unanswered("no answer in time".into()),
            WriteFate::LostBefore | WriteFate::LostAfter | WriteFate::ActsLate(_) => {
                Written::Unanswered("connection reset".into())
            }
        }
    }

    fn act(&self, write: usize) {
        let (at, now) = self.time();
        let version = self.with(|state| state.act(write, at, now));
        self.note(|site| Entry::Acted {
            site,
            write,
            version,
        });
    }

    /// What the answer to a write shows: its records as it made them.
    fn shown(&self, write: usize, changes: &[Change]) -> Vec<Record> {
        let version = self.with(|state| state.writes[write].version);
        let mut records = self.version(version.unwrap_or_else(|| self.newest())).1;
        records.retain(|record| changes.iter().any(|c| c.record.id == record.id));
        records
    }
}

impl State {
    fn newest(&self) -> usize {
        self.versions.len() - 1
    }

    /// The version that was so at `at`.
    fn as_of(&self, at: Duration) -> usize {
        let later = self.versions.partition_point(|version| version.0 <= at);
        later.saturating_sub(1)
    }

    fn takes(&mut self) -> Duration {
        let weather = self.weather.as_mut();
        weather.map_or(self.latency, |weather| weather.latency())
    }

    fn arrives(&mut self) -> bool {
        let weather = self.weather.as_mut();
        weather.is_none_or(|weather| weather.arrives())
    }

    fn edit(&mut self, content: &str, at: Duration, now: jiff::Timestamp) -> usize {
        // Two changes are never at one time.
        let newest = self.records.iter().filter_map(|record| record.modified_on);
        let now = newest.max().map_or(now, |newest| now.max(newest + TICK));
        for record in &mut self.records {
            if Address::parse(record.kind, content).is_some() {
                record.content = content.to_owned();
                record.modified_on = Some(now);
            }
        }
        self.remember(at)
    }

    fn remember(&mut self, at: Duration) -> usize {
        self.versions.push((at, self.records.clone()));
        self.newest()
    }

    fn begin(&mut self, mut call: WriteCall) -> (WriteFate, usize, Duration) {
        let fate = match (self.next_writes.pop_front(), &mut self.weather) {
            (Some(planned), _) => planned,
            (None, Some(weather)) => weather.write(),
            (None, None) => self.standing_write,
        };
        call.fate = fate;
        for read in std::mem::take(&mut self.after_write).into_iter().rev() {
            self.next_reads.push_front(read);
        }
        call.from = contents(self.records.iter().map(|r| r.content.as_str()));
        call.faults = self.faults_of(&call.changes);
        self.writes.push(call);
        (fate, self.writes.len() - 1, self.takes())
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
            let was = |version: &(_, Vec<Record>)| version.1.contains(&change.record);
            if !self.versions.iter().any(was) {
                faults.push(format!("{:?} for {held:?}", change.record));
            }
        }
        faults
    }

    fn act(&mut self, write: usize, at: Duration, now: jiff::Timestamp) -> usize {
        for change in &self.writes[write].changes {
            let held = self.records.iter_mut().find(|r| r.id == change.record.id);
            if let Some(held) = held {
                // What a write sends is the content; it sends nothing else.
                held.content = change.content.clone();
                held.modified_on = Some(now);
            }
        }
        let version = self.remember(at);
        self.writes[write].acted = true;
        self.writes[write].version = Some(version);
        version
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
        _: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Written> {
        Box::pin(self.carry_out(changes, until))
    }

    fn pace(&self, _: &Zone, interval: Duration) -> Duration {
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
