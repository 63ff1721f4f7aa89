//! The judge: walks through the journal of an incident, entry by entry, and
//! checks after each what must always hold. It knows the world's own truth and
//! the words of the design, and calls nothing of the code under test.

use super::alarms::Post;
use super::incident::{Event, Incident, Wish};
use super::play::{Played, epoch};
use super::shots::Shots;
use super::site::Site;
use super::sky::Sky;
use crate::world::{Entry, Mood};
use jiff::Timestamp;
use originswitch::rule::finding::Verdict;
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
        for truth in &mut self.sites {
            let since = truth.orders.first();
            let set = since.is_some_and(|since| {
                let clock = self.offsets.iter().any(|set| set.0 >= since);
                clock || self.stalls.iter().any(|stall| stall.1 >= since)
            });
            let runs = truth.runs_since().is_some();
            truth.orders.advance(at, runs, set);
        }
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
            Entry::Replied {
                site,
                event,
                granted,
            } => return self.sites[*site].replied(*event, *granted, at),
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
            Event::Settle(site, wish) => {
                // What was not read by then cannot be released.
                let truth = &self.sites[*site];
                let read = truth.read.is_some_and(|(_, shown)| shown == truth.version);
                self.settled[*site] |= *wish == Wish::Release && read;
                self.sites[*site].ask(*wish, number, at);
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
