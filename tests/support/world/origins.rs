//! Origins that are up, dead in several ways, or flapping, without a network.

use super::chance::Chance;
use super::journal::{Entry, Journal};
use futures_util::future::BoxFuture;
use originswitch::clock::Clock;
use originswitch::config::ProbeSettings;
use originswitch::failover::{MakeEdgeProbe, MakeProbe};
use originswitch::prober::{Probe, Sample};
use originswitch::rule::Moment;
use originswitch::rule::address::Address;
use originswitch::rule::finding::{Finding, Phase, Phases, Verdict};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How an address behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mood {
    /// Answers at once.
    Up,
    /// Refuses at once.
    Refusing,
    /// Swallows packets: a timeout when the probe's limit is over.
    Swallowing,
    /// Takes the request and never answers: the same, one phase later.
    Hanging,
    /// Our own side fails at once: no evidence.
    Unknown,
    /// The result comes so long after the limit that it says more about us.
    Late,
    /// Refuses the next so many probes, then is up.
    Blip(u32),
    /// Up, refusing, up, refusing … from probe to probe.
    Alternating,
    /// Up for the first duration, refusing for the second, and again.
    Flapping(Duration, Duration),
    /// Refuses so many probes in a hundred.
    Lossy(u64),
    /// Answers this late, if that is within the probe's limit.
    Slow(Duration),
}

/// How our own side fails to reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Packets vanish: a timeout, as if the origin were dead.
    Silent,
    /// We have no route, and know it: no evidence.
    NoRoute,
}

/// A probe that ran to its end.
#[derive(Debug, Clone)]
pub struct Probed {
    pub address: Address,
    pub started: Moment,
    pub finished: Moment,
    pub verdict: Verdict,
}

#[derive(Default)]
struct State {
    moods: HashMap<Address, (Mood, Moment)>,
    cuts: HashMap<Address, Cut>,
    chance: Option<Chance>,
    journal: Option<Journal>,
    probers: usize,
    calls: HashMap<Address, u64>,
    log: Vec<Probed>,
    started: u64,
    edge: Option<Finding>,
    edge_takes: Duration,
    edge_looks: Vec<Moment>,
}

/// All addresses of the world; one that was never given a mood is up.
#[derive(Clone)]
pub struct FakeOrigins {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

impl FakeOrigins {
    pub fn new(clock: &Clock) -> FakeOrigins {
        FakeOrigins {
            state: Arc::default(),
            clock: clock.clone(),
        }
    }

    pub fn set(&self, address: &Address, mood: Mood) {
        let now = self.clock.moment();
        let mut state = self.state.lock().unwrap();
        state.calls.insert(address.clone(), 0);
        state.moods.insert(address.clone(), (mood, now));
    }

    /// From now on answers take their time, by chance, and all is written down.
    pub fn told(&self, chance: Chance, journal: &Journal) {
        let mut state = self.state.lock().unwrap();
        state.chance = Some(chance);
        state.journal = Some(journal.clone());
    }

    /// Whether our own side reaches an address, from now on.
    pub fn cut(&self, address: &Address, cut: Option<Cut>) {
        let mut state = self.state.lock().unwrap();
        match cut {
            Some(cut) => state.cuts.insert(address.clone(), cut),
            None => state.cuts.remove(address),
        };
    }

    /// All probes that ended, in the order in which they did.
    pub fn log(&self) -> Vec<Probed> {
        self.state.lock().unwrap().log.clone()
    }

    /// Those of one address, in the order in which they started.
    pub fn log_of(&self, address: &Address) -> Vec<Probed> {
        let mut log = self.log();
        log.retain(|probed| probed.address == *address);
        log.sort_by_key(|probed| probed.started);
        log
    }

    /// Probes that were started.
    pub fn started(&self) -> u64 {
        self.state.lock().unwrap().started
    }

    pub fn maker(&self) -> MakeProbe {
        let origins = self.clone();
        Arc::new(move |address, settings: &Arc<ProbeSettings>| {
            Arc::new(FakeProbe {
                origins: origins.clone(),
                address: address.clone(),
                limit: settings.timeout,
                prober: origins.watched(address),
                launched: AtomicUsize::new(0),
            })
        })
    }

    /// What the edge says of the site from now on; `None`: not heard of.
    pub fn edge(&self, says: Option<Finding>) {
        self.state.lock().unwrap().edge = says;
    }

    /// It says so this late from now on, or nothing within its time limit.
    pub fn edge_takes(&self, time: Duration) {
        self.state.lock().unwrap().edge_takes = time;
    }

    /// When somebody looked through the edge.
    pub fn edge_looks(&self) -> Vec<Moment> {
        self.state.lock().unwrap().edge_looks.clone()
    }

    pub fn edge_maker(&self) -> MakeEdgeProbe {
        let origins = self.clone();
        Arc::new(move |site| {
            Arc::new(FakeEdge {
                origins: origins.clone(),
                limit: site.edge.timeout,
            })
        })
    }

    fn watched(&self, address: &Address) -> usize {
        let mut state = self.state.lock().unwrap();
        let prober = state.probers;
        state.probers += 1;
        let address = address.clone();
        state.note(Entry::Watched { prober, address });
        prober
    }

    /// What a probe of `address` that starts now will find, and when.
    fn fate(&self, address: &Address, limit: Duration) -> (Duration, Finding) {
        let now = self.clock.moment();
        let mut state = self.state.lock().unwrap();
        state.started += 1;
        let call = state.calls.entry(address.clone()).or_default();
        *call += 1;
        let call = *call;
        let (mood, since) = state
            .moods
            .get(address)
            .cloned()
            .unwrap_or((Mood::Up, Moment::default()));
        let after = state.takes();
        let up = (after, Finding::Connected { after });
        let refused = (after, Finding::Refused);
        let timeout = |phase| (limit, Finding::Timeout { phase, limit });
        let choose = |good: bool| if good { up.clone() } else { refused.clone() };
        match state.cuts.get(address) {
            Some(Cut::Silent) => return timeout(Phase::Connect),
            Some(Cut::NoRoute) => {
                let what = Finding::Local("no route of our own".into());
                return (Duration::ZERO, what);
            }
            None => {}
        }
        match mood {
            Mood::Up => up,
            Mood::Refusing => refused,
            Mood::Swallowing => timeout(Phase::Connect),
            Mood::Hanging => timeout(Phase::Response),
            Mood::Unknown => {
                let what = Finding::Local("no sockets left".into());
                (Duration::ZERO, what)
            }
            Mood::Late => (limit + Duration::from_secs(3), Finding::Refused),
            Mood::Blip(probes) => choose(call > u64::from(probes)),
            Mood::Alternating => choose(call % 2 == 1),
            Mood::Flapping(good, bad) => {
                let period = (good + bad).as_nanos().max(1);
                choose(now.since(since).as_nanos() % period < good.as_nanos())
            }
            Mood::Lossy(percent) => {
                let lost = state.chance.as_mut().is_some_and(|c| c.percent(percent));
                choose(!lost)
            }
            Mood::Slow(after) if after > limit => timeout(Phase::Response),
            Mood::Slow(after) => (after, Finding::Connected { after }),
        }
    }
}

impl State {
    fn note(&self, entry: Entry) {
        if let Some(journal) = &self.journal {
            journal.note(entry);
        }
    }

    /// How long an answer takes that is not slow.
    fn takes(&mut self) -> Duration {
        let chance = self.chance.as_mut();
        chance.map_or(Duration::ZERO, |chance| chance.millis(0, 60))
    }
}

struct FakeProbe {
    origins: FakeOrigins,
    address: Address,
    limit: Duration,
    prober: usize,
    launched: AtomicUsize,
}

impl Probe for FakeProbe {
    fn probe(&self) -> BoxFuture<'_, Sample> {
        Box::pin(async move {
            let clock = &self.origins.clock;
            let started = clock.moment();
            let (prober, nth) = (self.prober, self.launched.fetch_add(1, Ordering::Relaxed));
            let launched = Entry::Launched { prober, nth };
            self.origins.state.lock().unwrap().note(launched);
            let (delay, finding) = self.origins.fate(&self.address, self.limit);
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let finished = clock.moment();
            let late = finished.since(started) > self.limit + Duration::from_secs(1);
            let verdict = if late {
                Verdict::Unknown
            } else {
                finding.verdict()
            };
            let mut state = self.origins.state.lock().unwrap();
            state.log.push(Probed {
                address: self.address.clone(),
                started,
                finished,
                verdict,
            });
            state.note(Entry::Landed {
                prober,
                nth,
                verdict,
            });
            drop(state);
            Sample {
                finding,
                phases: Phases {
                    connect: Some(delay),
                    ..Phases::default()
                },
            }
        })
    }
}

/// A look through the edge.
struct FakeEdge {
    origins: FakeOrigins,
    limit: Duration,
}

impl Probe for FakeEdge {
    fn probe(&self) -> BoxFuture<'_, Sample> {
        Box::pin(async move {
            let now = self.origins.clock.moment();
            let (says, takes) = {
                let mut state = self.origins.state.lock().unwrap();
                state.edge_looks.push(now);
                (state.edge.clone(), state.edge_takes)
            };
            tokio::time::sleep(takes.min(self.limit)).await;
            let finding = if takes < self.limit {
                says.unwrap_or_else(|| Finding::Abstained("cached (HIT)".into()))
            } else {
                Finding::Timeout {
                    phase: Phase::Response,
                    limit: self.limit,
                }
            };
            let phases = Phases::default();
            Sample { finding, phases }
        })
    }
}
