//! The judge: walks through the journal of an incident, entry by entry, and
//! checks after each what must always hold. It knows the world's own truth and
//! the words of the design, and calls nothing of the code under test.

use super::alarms::{Alarms, Post};
use super::incident::{Event, Incident, Wish};
use super::plans::Plan;
use super::play::{Held, Outcome, Played, epoch};
use super::progress::Progress;
use super::shots::{Limits, Shots};
use super::sky::Sky;
use crate::world::{Cut, Disk, Entry, Mood, WriteFate};
use jiff::Timestamp;
use originswitch::rule::decision::Decision;
use originswitch::rule::finding::Verdict;
use std::sync::Arc;
use std::time::Duration;

/// Something that must never be.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which of the things that must hold did not.
    pub law: &'static str,
    /// Since the world began.
    pub at: Duration,
    pub site: usize,
    pub what: String,
}

/// The law that is broken, and how.
pub type Broken = (&'static str, String);

/// What the judge finds wrong, if anything is.
pub type Found = Option<Broken>;

/// A write, and what is known of it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Duration,
    /// Since when the probes that it rests on were launched.
    pub since: Option<Duration>,
    pub boot: usize,
    pub from: Held,
    pub to: usize,
    /// Its row.
    pub row: Option<usize>,
    pub acted: Option<Duration>,
    pub answered: Option<WriteFate>,
}

/// A row of the history as it last was.
#[derive(Debug, Clone)]
pub struct Row {
    pub stored: Duration,
    pub boot: usize,
    pub decision: Arc<Decision>,
    pub sent: bool,
    pub applied: Option<bool>,
    pub write: Option<usize>,
}

/// What somebody asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub at: Duration,
    pub boot: usize,
    pub event: usize,
    pub wish: Wish,
    pub replied: Option<Duration>,
}

/// All the truth about one site.
pub struct Site<'a> {
    pub plan: &'a Plan,
    pub outcome: &'a Outcome,
    /// When its loops began and ended.
    pub boots: Vec<(Duration, Option<Duration>)>,
    /// The probers of its addresses; of the loop that runs come last.
    pub probers: Vec<Vec<usize>>,
    /// Where those of the loop that runs begin.
    pub fresh: Vec<usize>,
    pub held: Held,
    pub version: usize,
    /// What reads of the loop that runs showed, and when.
    pub read: Option<(Duration, usize)>,
    /// Every version that a read showed, and when first.
    pub seen: Vec<(Duration, usize)>,
    pub writes: Vec<Sent>,
    pub rows: Vec<Row>,
    pub alarms: Alarms,
    pub asked: Vec<Asked>,
    /// Versions that other hands made, and when.
    pub edits: Vec<(Duration, usize)>,
    pub moods: Vec<(Duration, Mood)>,
    pub cuts: Vec<Option<Cut>>,
    pub disk: Disk,
    /// When the disk last had trouble.
    pub trouble: Option<Duration>,
    pub progress: Progress,
}

/// The judge of an incident.
pub struct Judge<'a> {
    pub incident: &'a Incident,
    pub sites: Vec<Site<'a>>,
    pub shots: Vec<Shots>,
    /// Of each prober: its site, and the number of its address.
    owners: Vec<(usize, usize)>,
    pub sky: Sky,
    /// When the sky last changed.
    pub sky_since: Duration,
    /// Kinds of trouble Cloudflare has had.
    pub skies: Vec<Sky>,
    /// What the wall clock was set by, in milliseconds, and since when.
    pub offsets: Vec<(Duration, i64)>,
    /// Times in which nothing ran.
    pub stalls: Vec<(Duration, Duration)>,
    /// When anything last happened that could change a decision.
    pub stirred: Duration,
    /// When and how it healed.
    pub healed: Option<(Duration, Vec<Option<usize>>)>,
    /// Sites that were released after it healed.
    pub settled: Vec<bool>,
}

/// What the judge says of an incident.
#[derive(Debug)]
pub struct Judged {
    /// The first law that was broken.
    pub broken: Option<Violation>,
    /// The longest that a dead origin was kept, as a part of what it may be.
    pub longest: f64,
}

/// Judges an incident.
pub fn judge(incident: &Incident, played: &Played) -> Judged {
    let mut judge = Judge::of(incident, played);
    let broken = judge.all(played);
    let longest = judge.sites.iter().map(|site| site.progress.longest);
    Judged {
        broken,
        longest: longest.fold(0.0, f64::max),
    }
}

impl<'a> Judge<'a> {
    fn of(incident: &'a Incident, played: &'a Played) -> Judge<'a> {
        let plans = incident.plans.iter().zip(&played.sites);
        let sites: Vec<Site> = plans
            .map(|(plan, outcome)| Site::of(plan, outcome))
            .collect();
        Judge {
            settled: vec![false; sites.len()],
            incident,
            sites,
            shots: Vec::new(),
            owners: Vec::new(),
            sky: Sky::Clear,
            sky_since: Duration::ZERO,
            skies: Vec::new(),
            offsets: vec![(Duration::ZERO, 0)],
            stalls: Vec::new(),
            stirred: Duration::ZERO,
            healed: None,
        }
    }

    /// The first violation, if there is one.
    fn all(&mut self, played: &Played) -> Option<Violation> {
        let violation = |at, (site, (law, what))| Violation {
            law,
            at,
            site,
            what,
        };
        for (at, entry) in &played.journal {
            if let Some(found) = self.take(*at, entry) {
                return Some(violation(*at, found));
            }
        }
        let at_the_end = |site| Some((site, self.at_the_end(site, played.end)?));
        let found = (0..self.sites.len()).find_map(at_the_end)?;
        Some(violation(played.end, found))
    }

    pub fn offset(&self) -> i64 {
        self.offsets.last().map_or(0, |offset| offset.1)
    }

    /// How much of this time nothing ran.
    pub fn lost(&self, from: Duration, to: Duration) -> Duration {
        let inside = self.stalls.iter().map(|&(begin, end)| {
            let (begin, end) = (begin.max(from), end.min(to));
            end.saturating_sub(begin)
        });
        inside.sum()
    }

    /// When it was, by the world's time, that the wall clock showed this; at
    /// `by` or before.
    pub fn moment(&self, shown: Timestamp, by: Duration) -> Option<Duration> {
        let shown = shown.duration_since(epoch());
        let mut end = by;
        for &(since, offset) in self.offsets.iter().rev() {
            let at = shown - jiff::SignedDuration::from_millis(offset);
            if let Ok(at) = Duration::try_from(at)
                && (since..=end).contains(&at)
            {
                return Some(at);
            }
            end = end.min(since);
        }
        None
    }

    /// Takes one entry; says of which site a law was broken, which, and how.
    fn take(&mut self, at: Duration, entry: &Entry) -> Option<(usize, Broken)> {
        let (site, found) = match entry {
            Entry::Watched { prober, address } => {
                self.watched(*prober, address);
                return None;
            }
            Entry::Launched { prober, .. } => {
                let (site, _) = self.owners[*prober];
                let (offset, interval) = (self.offset(), self.sites[site].plan.interval());
                self.shots[*prober].launch(at, offset, interval);
                return None;
            }
            Entry::Landed {
                prober,
                nth,
                verdict,
            } => {
                let site = self.landed(*prober, *nth, *verdict, at);
                (site, self.advance(site, at))
            }
            Entry::Event(number) => {
                self.event(*number, at);
                return None;
            }
            Entry::Wrote { site, write } => (*site, self.wrote(*site, *write, at)),
            Entry::Stored { site, .. } => (*site, self.stored(entry, at)),
            other => {
                self.happened(other, at);
                return None;
            }
        };
        Some((site, found?))
    }

    /// Takes what happened to one site.
    fn happened(&mut self, entry: &Entry, at: Duration) {
        match entry {
            Entry::Booted { site } => self.sites[*site].boot(at),
            Entry::Ended { site } => self.sites[*site].end(at),
            Entry::Edited { site, version } => self.sites[*site].edited(*version, at),
            Entry::Read { site, version } => return self.sites[*site].reads(*version, at),
            Entry::Acted {
                site,
                write,
                version,
            } => return self.sites[*site].acted(*write, *version, at),
            Entry::Answered { site, fate } => return self.sites[*site].answered(*fate, at),
            Entry::Disk { site, disk } => return self.sites[*site].disk(*disk, at),
            Entry::Replied { site, event } => return self.sites[*site].replied(*event, at),
            other => unreachable!("{other:?} is taken elsewhere"),
        }
        self.stirred = at;
    }

    fn watched(&mut self, prober: usize, address: &originswitch::rule::address::Address) {
        assert_eq!(
            prober,
            self.shots.len(),
            "probers are numbered in their order"
        );
        let owner = self.sites.iter().enumerate().find_map(|(site, truth)| {
            let number = truth.plan.addresses().position(|one| one == address)?;
            Some((site, number))
        });
        let (site, number) = owner.expect("an address that is probed is somebody's");
        self.owners.push((site, number));
        let mut shots = Shots::default();
        shots.start_with(self.offset());
        self.shots.push(shots);
        self.sites[site].probers[number].push(prober);
    }

    fn landed(&mut self, prober: usize, nth: usize, verdict: Verdict, at: Duration) -> usize {
        let (site, _) = self.owners[prober];
        let limits = self.sites[site].limits();
        self.shots[prober].land(nth, at, verdict, limits);
        site
    }

    fn event(&mut self, number: usize, at: Duration) {
        self.stirred = at;
        match &self.incident.events[number].event {
            Event::Mood(site, address, mood) => {
                self.sites[*site].moods[*address] = (at, mood.clone());
            }
            Event::Cut(site, addresses, cut) => {
                let truth = &mut self.sites[*site];
                for address in addresses {
                    truth.cuts[*address] = *cut;
                    truth.moods[*address].0 = at;
                }
            }
            Event::Sky(sky) => self.sky(*sky, at),
            Event::Alert(site, identity, status, starts) => {
                let post = Post {
                    status: *status,
                    starts: *starts,
                    received: at,
                };
                if self.sites[*site].runs_since().is_some() {
                    self.sites[*site]
                        .alarms
                        .take(*identity, post, self.incident.ttl);
                }
            }
            Event::Clock(seconds) => self.offsets.push((at, self.offset() + seconds * 1_000)),
            Event::Stall(time) => {
                self.stirred = at + *time;
                self.stalls.push((at, self.stirred));
            }
            Event::Wish(site, wish) => self.sites[*site].ask(*wish, number, at),
            Event::Heal(dead) => self.heal(dead, at),
            Event::Settle(site) => {
                self.settled[*site] = true;
                self.sites[*site].ask(Wish::Release, number, at);
            }
            Event::Hand(site, _) => self.sites[*site].progress.stir(at),
            Event::Disk(..) | Event::Crash(..) | Event::HandAfter(..) => {}
        }
    }

    fn sky(&mut self, sky: Sky, at: Duration) {
        if sky != self.sky {
            self.sky_since = at;
        }
        self.sky = sky;
        if sky != Sky::Clear && !self.skies.contains(&sky) {
            self.skies.push(sky);
        }
    }

    fn heal(&mut self, dead: &[Option<usize>], at: Duration) {
        self.sky(Sky::Clear, at);
        self.healed = Some((at, dead.to_vec()));
        for (site, truth) in self.sites.iter_mut().enumerate() {
            for (number, (since, mood)) in truth.moods.iter_mut().enumerate() {
                let now = match dead[site] {
                    Some(one) if one == number => Mood::Refusing,
                    _ => Mood::Up,
                };
                if *mood != now || truth.cuts[number].is_some() {
                    (*since, *mood) = (at, now);
                }
                truth.cuts[number] = None;
            }
        }
    }
}

impl<'a> Site<'a> {
    fn of(plan: &'a Plan, outcome: &'a Outcome) -> Site<'a> {
        let addresses = plan.places.len() + 1;
        Site {
            plan,
            outcome,
            boots: Vec::new(),
            probers: vec![Vec::new(); addresses],
            fresh: vec![0; addresses],
            held: outcome.versions[1],
            version: 1,
            read: None,
            seen: Vec::new(),
            writes: Vec::new(),
            rows: Vec::new(),
            alarms: Alarms::default(),
            asked: Vec::new(),
            edits: Vec::new(),
            moods: vec![(Duration::ZERO, Mood::Up); addresses],
            cuts: vec![None; addresses],
            disk: Disk::Fine,
            trouble: None,
            progress: Progress::default(),
        }
    }

    pub fn limits(&self) -> Limits {
        let policy = self.plan.policy();
        Limits {
            fall: policy.fall,
            rise: policy.rise,
        }
    }

    /// The number of the loop that runs, or ran last.
    pub fn boot_number(&self) -> usize {
        self.boots.len().saturating_sub(1)
    }

    /// When the loop that runs began, if one runs.
    pub fn runs_since(&self) -> Option<Duration> {
        let last = self.boots.last()?;
        last.1.is_none().then_some(last.0)
    }

    /// How long loops ran between these times.
    pub fn uptime(&self, from: Duration, to: Duration) -> Duration {
        let inside = self.boots.iter().map(|&(begin, end)| {
            let (begin, end) = (begin.max(from), end.unwrap_or(to).min(to));
            end.saturating_sub(begin)
        });
        inside.sum()
    }

    /// The newest prober of an address that the loop that runs made.
    pub fn prober(&self, address: usize) -> Option<usize> {
        self.probers[address][self.fresh[address]..].last().copied()
    }

    fn boot(&mut self, at: Duration) {
        self.boots.push((at, None));
        for (address, probers) in self.probers.iter().enumerate() {
            self.fresh[address] = probers.len();
        }
        self.read = None;
        self.alarms = Alarms::default();
        self.progress.stir(at);
    }

    fn end(&mut self, at: Duration) {
        if let Some(last) = self.boots.last_mut() {
            last.1.get_or_insert(at);
        }
    }

    fn reads(&mut self, version: usize, at: Duration) {
        self.read = Some((at, version));
        if !self.seen.iter().any(|seen| seen.1 == version) {
            self.seen.push((at, version));
        }
    }

    fn acted(&mut self, write: usize, version: usize, at: Duration) {
        self.writes[write].acted = Some(at);
        self.holds(version, at);
    }

    fn edited(&mut self, version: usize, at: Duration) {
        self.edits.push((at, version));
        self.holds(version, at);
    }

    fn holds(&mut self, version: usize, at: Duration) {
        self.version = version;
        self.held = self.outcome.versions[version];
        self.progress.stir(at);
    }

    fn answered(&mut self, fate: WriteFate, at: Duration) {
        if let Some(last) = self.writes.last_mut() {
            last.answered = Some(fate);
        }
        if fate == WriteFate::Rejected {
            self.progress.refused(at);
        }
    }

    fn disk(&mut self, disk: Disk, at: Duration) {
        if disk != Disk::Fine || self.disk != Disk::Fine {
            self.trouble = Some(at);
        }
        self.disk = disk;
    }

    fn ask(&mut self, wish: Wish, event: usize, at: Duration) {
        if self.runs_since().is_some() {
            self.asked.push(Asked {
                at,
                boot: self.boot_number(),
                event,
                wish,
                replied: None,
            });
        }
        self.progress.stir(at);
    }

    fn replied(&mut self, event: usize, at: Duration) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.event == event) {
            asked.replied = Some(at);
        }
        self.progress.stir(at);
    }
}
