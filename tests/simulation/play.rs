//! Playing an incident: the real loops live through it in the modelled world.

use super::incident::{Event, Hand, Incident, Step, Strike, Wish};
use super::plans::Plan;
use super::sky::{Skies, Sky};
use crate::world::{Chance, Disk, Entry, FakeOrigins, Journal, Mood, Rig, WriteCall, ms, secs};
use originswitch::clock::Clock;
use originswitch::failover::{Answer, Kept, Record, Request, StandingOrder};
use originswitch::metrics::Metrics;
use originswitch::rule::address::Address;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// What came of an incident: all that the judge may look at.
pub struct Played {
    pub journal: Vec<(Duration, Entry)>,
    pub sites: Vec<Outcome>,
    /// When it ended.
    pub end: Duration,
}

/// What came of one site.
pub struct Outcome {
    /// Every write that was asked for.
    pub writes: Vec<WriteCall>,
    /// What the records held in each of their versions.
    pub versions: Vec<Held>,
    /// How long resolvers need to see a change of each.
    pub needs: Vec<Duration>,
    /// Whether anything but content is other than people made it.
    pub spoilt: Option<String>,
    /// How much a counter of switches moved that were not dry.
    pub counted: f64,
}

/// What records hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The address with this number.
    At(usize),
    /// None, several, or an address that is nobody's.
    Odd,
}

/// A site while it is played.
pub struct Stage {
    pub rig: Rig,
    /// The records as people made them, but for their content.
    pub made: Vec<Record>,
}

pub struct World<'a> {
    pub incident: &'a Incident,
    pub journal: Journal,
    clock: Clock,
    skies: Skies,
    pub stages: Vec<Stage>,
    blown: Arc<Notify>,
    /// When the process that died begins again.
    pub reboot: Option<Duration>,
    /// How long the next crash takes.
    pause: Duration,
    /// What happens soon because a step of a switch was taken, and when.
    due: Arc<Mutex<Vec<(Duration, Due)>>>,
}

/// What happens soon.
#[derive(Debug, Clone, Copy)]
enum Due {
    Crash,
    Hand(usize, Hand),
}

/// What follows a step of a switch.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// A crash, so many polls later.
    Polls(u64),
    /// This, so many milliseconds later.
    Soon(u64, Due),
}

/// Plays an incident to its end.
pub fn play(incident: &Incident, metrics: &Arc<Metrics>) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::of(incident, metrics);
        world.run().await;
        world.end().await
    })
}

impl<'a> World<'a> {
    fn of(incident: &'a Incident, metrics: &Arc<Metrics>) -> World<'a> {
        let clock = Clock::simulated(epoch());
        let journal = Journal::new(&clock);
        let root = Chance::new(incident.seed);
        let origins = FakeOrigins::new(&clock);
        origins.told(root.branch(3), &journal);
        let skies = Skies::clear(root.branch(4));
        let mut chance = root.branch(5);
        let mut world = World {
            incident,
            skies: skies.clone(),
            stages: Vec::new(),
            blown: Arc::default(),
            reboot: None,
            pause: Duration::ZERO,
            due: Arc::default(),
            journal: journal.clone(),
            clock: clock.clone(),
        };
        for (number, plan) in incident.plans.iter().enumerate() {
            let (site, ttl) = (plan.site.clone(), incident.ttl);
            let mut rig = Rig::among(site, ttl, clock.clone(), origins.clone(), metrics.clone());
            prepare(&mut rig, plan);
            rig.blown = world.blown.clone();
            rig.told(&mut chance, &journal, number);
            rig.dns.weather(Box::new(skies.clone()));
            let made = rig.dns.records();
            world.stages.push(Stage { rig, made });
        }
        world
    }

    async fn run(&mut self) {
        self.boot();
        for (number, told) in self.incident.events.iter().enumerate() {
            self.until(told.at).await;
            self.perform(number, &told.event).await;
        }
        self.rest().await;
    }

    /// Lets time pass until `at`, while the process may die and begin again.
    pub async fn until(&mut self, at: Duration) {
        loop {
            let soon = self.due.lock().unwrap().iter().map(|due| due.0).min();
            let next = [self.reboot, soon].into_iter().flatten().min();
            let next = next.map_or(at, |next| next.min(at));
            let wait = next.saturating_sub(self.journal.now());
            tokio::select! {
                biased;
                () = self.blown.notified() => {
                    if self.stages.iter().any(|stage| stage.rig.burnt()) {
                        self.crash().await;
                    }
                }
                () = tokio::time::sleep(wait) => {
                    let now = self.journal.now();
                    if let Some(due) = self.take_due(now) {
                        self.happen(due).await;
                    } else if self.reboot.is_some_and(|reboot| reboot <= now) {
                        self.boot();
                    } else if at <= now {
                        return;
                    }
                }
            }
        }
    }

    fn take_due(&self, now: Duration) -> Option<Due> {
        let mut due = self.due.lock().unwrap();
        let index = due.iter().position(|due| due.0 <= now)?;
        Some(due.swap_remove(index).1)
    }

    async fn happen(&mut self, due: Due) {
        match due {
            Due::Crash => self.crash().await,
            Due::Hand(site, hand) => self.hand(site, hand),
        }
    }

    fn boot(&mut self) {
        self.reboot = None;
        for stage in &mut self.stages {
            stage.rig.boot_again();
        }
    }

    /// The process is gone, with all its sites.
    async fn crash(&mut self) {
        if self.reboot.is_some() {
            return;
        }
        for stage in &mut self.stages {
            stage.rig.crash().await;
        }
        self.reboot = Some(self.journal.now() + self.pause);
    }

    async fn perform(&mut self, number: usize, event: &Event) {
        if !matches!(event, Event::Settle(..)) {
            self.journal.note(Entry::Event(number));
        }
        match event {
            Event::Mood(site, address, mood) => {
                let origins = &self.stages[*site].rig.origins;
                origins.set(self.address(*site, *address), mood.clone());
            }
            Event::Cut(site, addresses, cut) => {
                let origins = &self.stages[*site].rig.origins;
                for address in addresses {
                    origins.cut(self.address(*site, *address), *cut);
                }
            }
            Event::Sky(sky) => self.skies.set(*sky),
            Event::Alert(site, identity, status, starts) => {
                let starts = starts.map(|after| epoch() + signed(after));
                let rig = &self.stages[*site].rig;
                if rig.runs() && !rig.burnt() {
                    let received = (self.clock.moment(), self.clock.now());
                    rig.handle()
                        .alert(*identity, Some(*status), starts, received);
                }
            }
            Event::Disk(site, disk) => self.stages[*site].rig.store.disk(*disk),
            Event::Crash(site, strike, pause) => self.strike(*site, *strike, *pause).await,
            Event::Clock(seconds) => self.clock.step(seconds * 1_000),
            Event::Stall(time) => tokio::time::advance(*time).await,
            Event::Hand(site, hand) => self.hand(*site, *hand),
            Event::HandAfter(site, step, millis, hand) => {
                self.set_trap(*site, *step, Then::Soon(*millis, Due::Hand(*site, *hand)));
            }
            Event::Wish(site, wish) => self.wish(*site, *wish, number),
            Event::Heal(dead) => self.heal(dead),
            Event::Settle(site, wish) => {
                while self.reboot.is_some() {
                    self.until(self.journal.now() + secs(30)).await;
                }
                self.journal.note(Entry::Event(number));
                self.wish(*site, *wish, number);
            }
        }
    }

    fn address(&self, site: usize, address: usize) -> &'a Address {
        self.incident.plans[site].address(address)
    }

    async fn strike(&mut self, site: usize, strike: Strike, pause: Duration) {
        let rig = &self.stages[site].rig;
        if !rig.runs() || rig.burnt() {
            return;
        }
        self.pause = pause;
        match strike {
            Strike::Now => self.crash().await,
            Strike::Politely => {
                for stage in &mut self.stages {
                    stage.rig.stop().await;
                }
                self.reboot = Some(self.journal.now() + pause);
            }
            Strike::Polls(polls) => rig.fuse.light(polls),
            Strike::PollsAfter(step, polls) => self.set_trap(site, step, Then::Polls(polls)),
            Strike::MillisAfter(step, millis) => {
                self.set_trap(site, step, Then::Soon(millis, Due::Crash));
            }
        }
    }

    /// Something happens when `step` is taken next.
    fn set_trap(&self, site: usize, step: Step, then: Then) {
        let (due, blown) = (self.due.clone(), self.blown.clone());
        let fuse = self.stages[site].rig.fuse.clone();
        self.journal.trap(move |at, entry| {
            if !step.is(entry, site) {
                return false;
            }
            match then {
                Then::Polls(polls) => fuse.light(polls),
                Then::Soon(millis, what) => {
                    due.lock().unwrap().push((at + ms(millis), what));
                    blown.notify_one();
                }
            }
            true
        });
    }

    fn hand(&mut self, site: usize, hand: Hand) {
        let plan = &self.incident.plans[site];
        let Stage { rig, made } = &mut self.stages[site];
        match hand {
            Hand::Points(to) => rig.dns.edit(&plan.address(to).to_string()),
            Hand::Splits(to) => {
                let now = rig.dns.time().1;
                let content = plan.address(to).to_string();
                rig.dns.edit_records(|records| {
                    if let Some(record) = records.last_mut() {
                        record.content = content;
                        record.modified_on = Some(now);
                    }
                });
            }
            Hand::Touches(ttl) => {
                let rest = format!("a comment of {ttl}");
                let touch = |records: &mut Vec<Record>| {
                    for record in records {
                        record.ttl = ttl;
                        record.rest.clone_from(&rest);
                    }
                };
                touch(made);
                rig.dns.edit_records(touch);
            }
            Hand::Deletes => rig.dns.edit_records(Vec::clear),
            Hand::Doubles => {
                let mut one_more = made[0].clone();
                one_more.id.push_str("-2");
                one_more.content = plan.foreign.to_string();
                rig.dns.edit_records(|records| records.push(one_more));
            }
        }
    }

    fn wish(&self, site: usize, wish: Wish, event: usize) {
        let rig = &self.stages[site].rig;
        if !rig.runs() || rig.burnt() {
            return;
        }
        let ask = |request| Reply::Decision(rig.handle().ask(request));
        let order = |order| Reply::Kept(rig.handle().order(order));
        let reply = match wish {
            Wish::Failback => ask(Request::Failback),
            Wish::Trust => ask(Request::Trust),
            Wish::Release => ask(Request::Release),
            Wish::Evaluate => ask(Request::Evaluate { dry_run: false }),
            Wish::DryRun => ask(Request::Evaluate { dry_run: true }),
            Wish::Pin(to, force, lasts) => ask(rig.pin_request(to, force, lasts)),
            Wish::Unpin => order(StandingOrder::Unpin),
            Wish::Freeze(lasts) => order(StandingOrder::Freeze(rig.terms(lasts))),
            Wish::Unfreeze => order(StandingOrder::Unfreeze),
        };
        let journal = self.journal.clone();
        tokio::spawn(async move {
            if let Some(granted) = reply.granted().await {
                journal.note(Entry::Replied {
                    site,
                    event,
                    granted,
                });
            }
        });
    }

    fn heal(&mut self, dead: &[Option<usize>]) {
        self.skies.set(Sky::Clear);
        self.journal.forget_traps();
        self.due.lock().unwrap().clear();
        for (site, stage) in self.stages.iter().enumerate() {
            let plan = &self.incident.plans[site];
            stage.rig.fuse.quench();
            for (number, address) in plan.addresses().enumerate() {
                let mood = if dead[site] == Some(number) {
                    Mood::Refusing
                } else {
                    Mood::Up
                };
                stage.rig.origins.set(address, mood);
                stage.rig.origins.cut(address, None);
            }
            stage.rig.store.disk(Disk::Fine);
            if held(plan, &stage.rig.dns.records()) == Held::Odd {
                let (now, mut made) = (stage.rig.dns.time().1, stage.made.clone());
                for record in &mut made {
                    record.modified_on = Some(now);
                }
                stage.rig.dns.edit_records(|records| *records = made);
            }
        }
    }
}

/// Who is asked answers in one of two ways.
enum Reply {
    Decision(oneshot::Receiver<Answer>),
    Kept(oneshot::Receiver<Kept>),
}

impl Reply {
    /// Whether it was done; `None` if there is no answer.
    async fn granted(self) -> Option<bool> {
        match self {
            Reply::Decision(answer) => Some(answer.await.ok()?.is_ok()),
            // What the disk did not take stands all the same.
            Reply::Kept(answer) => answer.await.ok().map(|_| true),
        }
    }
}

/// When the world began. Other people's clocks go by it whatever ours is set to.
pub fn epoch() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_795_000_000).unwrap()
}

fn signed(time: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(time).unwrap()
}

/// The records as they are when the incident begins.
fn prepare(rig: &mut Rig, plan: &Plan) {
    let first = plan.address(plan.first.unwrap_or(plan.places.len()));
    rig.dns.edit_records(|records| {
        for record in records {
            record.content = first.to_string();
            if let Some(ttl) = plan.dns_only {
                record.proxied = false;
                record.ttl = ttl;
            }
        }
    });
}

/// What records hold: one for each hostname, and all the same.
pub fn held(plan: &Plan, records: &[Record]) -> Held {
    let [record, others @ ..] = records else {
        return Held::Odd;
    };
    let same = others.iter().all(|other| other.content == record.content);
    if !same || records.len() != plan.site.hostnames.len() {
        return Held::Odd;
    }
    let mut addresses = plan.addresses().map(ToString::to_string);
    let at = addresses.position(|address| address == record.content);
    at.map_or(Held::Odd, Held::At)
}
