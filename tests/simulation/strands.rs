//! What an incident is made of: strands of events that belong together, most
//! of them close to each other in time.

use super::incident::{Event, Hand, Step, Strike, Told, Wish};
use super::plans::{Plan, TTL_MOST};
use super::sky::Sky;
use crate::world::{Chance, Cut, Disk, Mood, ms};
use originswitch::rule::alerts::AlertStatus;
use std::time::Duration;

/// A script in the making.
struct Script<'a> {
    chance: &'a mut Chance,
    plans: &'a [Plan],
    events: Vec<Told>,
    /// The site and the time that the strand being drawn is about.
    site: usize,
    at: Duration,
}

/// The events of an incident, in no order.
pub fn script(chance: &mut Chance, plans: &[Plan]) -> Vec<Told> {
    let strands = chance.weighed(&[(2, 1), (4, 2), (4, 3), (3, 4), (3, 5), (1, 8)]);
    let span = chance.weighed(&[(3, 60_000), (3, 240_000), (1, 600_000)]);
    let mut script = Script {
        at: chance.millis(0, 40_000),
        site: 0,
        chance,
        plans,
        events: Vec::new(),
    };
    for strand in 0..strands {
        let near = script.chance.percent(65);
        script.site = script.chance.index(plans.len());
        if strand > 0 {
            script.at = if near {
                let before = script.at.saturating_sub(ms(5_000));
                before + script.chance.millis(0, 30_000)
            } else {
                script.chance.millis(0, span)
            };
        }
        if strand == 0 && script.chance.percent(60) {
            script.outage();
        } else {
            script.strand();
        }
    }
    script.events
}

impl Script<'_> {
    fn tell(&mut self, after: Duration, event: Event) {
        let at = self.at + after;
        self.events.push(Told { at, event });
    }

    /// How long trouble lasts: some of it only for moments.
    fn lasts(&mut self) -> Duration {
        let most = self
            .chance
            .weighed(&[(2, 3_000), (4, 40_000), (3, 150_000)]);
        self.chance.millis(100, most)
    }

    fn strand(&mut self) {
        match self.chance.below(100) {
            0..24 => self.outage(),
            24..32 => self.rough(),
            32..36 => self.partition(),
            36..60 => self.trouble(),
            60..78 => self.crash(),
            78..82 => self.disk(),
            82..86 => self.clock(),
            86..92 => self.hand(),
            92..94 => self.person(),
            94..98 => self.order(),
            _ => self.alarm(None),
        }
    }

    /// Mostly MAIN, or where the record may have gone.
    fn address(&mut self) -> usize {
        let last = self.plans[self.site].places.len();
        match self.chance.below(20) {
            0..11 => 0,
            11..16 => 1,
            16..19 => self.chance.index(last),
            _ => last,
        }
    }

    fn mood(&mut self, after: Duration, address: usize, mood: Mood) {
        self.tell(after, Event::Mood(self.site, address, mood));
    }

    /// An origin dies, mostly for a while, and the world may hear of it.
    fn outage(&mut self) {
        let address = self.address();
        let beyond = self.plans[self.site].timeout() + self.chance.millis(1, 5_000);
        let mood = self.chance.weighed(&[
            (5, Mood::Refusing),
            (3, Mood::Swallowing),
            (2, Mood::Hanging),
            (1, Mood::Slow(beyond)),
        ]);
        self.mood(Duration::ZERO, address, mood);
        let ends = self.chance.percent(75).then(|| self.lasts());
        if let Some(after) = ends {
            self.mood(after, address, Mood::Up);
        }
        if self.chance.percent(55) {
            self.alarm(ends);
        }
    }

    /// An origin that is neither well nor dead.
    fn rough(&mut self) {
        let address = self.address();
        let within = self.chance.millis(1, 450);
        let (good, bad) = (self.lasts(), self.lasts());
        let blip = u32::try_from(self.chance.between(1, 6)).unwrap();
        let loss = self.chance.between(5, 80);
        let mood = self.chance.weighed(&[
            (3, Mood::Flapping(good, bad)),
            (3, Mood::Lossy(loss)),
            (1, Mood::Alternating),
            (2, Mood::Blip(blip)),
            (1, Mood::Slow(within)),
            (1, Mood::Late),
            (1, Mood::Unknown),
        ]);
        self.mood(Duration::ZERO, address, mood);
        if self.chance.percent(70) {
            let after = self.lasts() + self.lasts();
            self.mood(after, address, Mood::Up);
        }
        if self.chance.percent(30) {
            self.alarm(None);
        }
    }

    /// Our own side reaches no origin, or only some; maybe not Cloudflare either.
    fn partition(&mut self) {
        let cut = self.chance.weighed(&[(1, Cut::Silent), (1, Cut::NoRoute)]);
        let ends = self.lasts();
        let everywhere = self.chance.percent(60);
        for site in 0..self.plans.len() {
            let addresses = 0..=self.plans[site].places.len();
            let struck = |_: &usize| everywhere || self.chance.percent(50);
            let struck: Vec<usize> = addresses.filter(struck).collect();
            self.tell(Duration::ZERO, Event::Cut(site, struck.clone(), Some(cut)));
            self.tell(ends, Event::Cut(site, struck, None));
        }
        if self.chance.percent(50) {
            self.tell(Duration::ZERO, Event::Sky(Sky::Silent));
            self.tell(ends, Event::Sky(Sky::Clear));
        }
    }

    /// Cloudflare has trouble.
    fn trouble(&mut self) {
        let sky = self.chance.weighed(&Sky::TROUBLES);
        self.tell(Duration::ZERO, Event::Sky(sky));
        let ends = self.lasts();
        self.tell(ends, Event::Sky(Sky::Clear));
    }

    /// The process dies: anywhere, and most gladly around a write.
    fn crash(&mut self) {
        let step = *self.chance.pick(&Step::ALL);
        let far = self.chance.between(1, 60);
        let polls = self.chance.between(1, 6);
        let millis = self.chance.weighed(&[(1, 0), (1, 30), (1, 3_000)]);
        let millis = self.chance.between(0, millis);
        let strike = self.chance.weighed(&[
            (2, Strike::Now),
            (1, Strike::Politely),
            (3, Strike::Polls(far)),
            (5, Strike::PollsAfter(step, polls)),
            (5, Strike::MillisAfter(step, millis)),
        ]);
        let pause = self.chance.weighed(&[(2, 1_500), (2, 20_000), (1, 90_000)]);
        let pause = self.chance.millis(1, pause);
        self.tell(Duration::ZERO, Event::Crash(self.site, strike, pause));
    }

    fn disk(&mut self) {
        let disk = self.chance.weighed(&[(1, Disk::Full), (1, Disk::Stalls)]);
        let ends = self.lasts();
        self.tell(Duration::ZERO, Event::Disk(self.site, disk));
        self.tell(ends, Event::Disk(self.site, Disk::Fine));
    }

    /// The wall clock is set, or the machine sleeps, or is not scheduled.
    fn clock(&mut self) {
        let little = self.chance.between(1, 90);
        let by = self.chance.weighed(&[(1, 3_600), (1, little)]);
        let by = i64::try_from(by).unwrap();
        let event = match self.chance.below(4) {
            0 => Event::Clock(by),
            1 => Event::Clock(-by),
            _ => Event::Stall(self.lasts()),
        };
        self.tell(Duration::ZERO, event);
    }

    /// Somebody else works on the records.
    fn hand(&mut self) {
        let last = self.plans[self.site].places.len();
        let to = self.chance.index(last + 1);
        let ttl = u32::try_from(self.chance.between(2, u64::from(TTL_MOST))).unwrap();
        let hand = self.chance.weighed(&[
            (5, Hand::Points(to)),
            (2, Hand::Touches(ttl)),
            (1, Hand::Splits(to)),
            (1, Hand::Deletes),
            (1, Hand::Doubles),
        ]);
        if self.chance.percent(30) {
            let step = *self.chance.pick(&Step::ALL);
            let millis = self.chance.weighed(&[(1, 0), (1, 100), (1, 5_000)]);
            let millis = self.chance.between(0, millis);
            self.tell(
                Duration::ZERO,
                Event::HandAfter(self.site, step, millis, hand),
            );
        } else {
            self.tell(Duration::ZERO, Event::Hand(self.site, hand));
        }
        if self.chance.percent(30) {
            let after = self.lasts();
            self.tell(after, Event::Hand(self.site, Hand::Points(0)));
        }
    }

    fn person(&mut self) {
        let wishes = [
            Wish::Failback,
            Wish::Trust,
            Wish::Release,
            Wish::Evaluate,
            Wish::DryRun,
        ];
        let wish = *self.chance.pick(&wishes);
        self.wish(Duration::ZERO, wish);
    }

    fn wish(&mut self, after: Duration, wish: Wish) {
        self.tell(after, Event::Wish(self.site, wish));
    }

    /// A person orders something that stands, and may end it.
    fn order(&mut self) {
        let lasts = self.chance.percent(50).then(|| self.lasts());
        let (order, lift) = if self.chance.percent(60) {
            let to = self.chance.index(self.plans[self.site].places.len());
            let force = self.chance.percent(30);
            (Wish::Pin(to, force, lasts), Wish::Unpin)
        } else {
            (Wish::Freeze(lasts), Wish::Unfreeze)
        };
        self.wish(Duration::ZERO, order);
        if self.chance.percent(40) {
            let after = self.lasts();
            let lift = self.chance.weighed(&[(4, lift), (1, Wish::Unfreeze)]);
            self.wish(after, lift);
        }
    }

    /// What Alertmanager makes of an outage, or of nothing at all: some of its
    /// posts are lost, doubled, late, or come before earlier ones; and when
    /// Prometheus dies, it says "resolved" in the middle.
    fn alarm(&mut self, ends: Option<Duration>) {
        // Some fire again, with a newer start.
        let identity = self.chance.between(1, 4);
        let starts = self.chance.weighed(&[(5, Some(self.at)), (1, None)]);
        let first = self.chance.millis(0, 30_000);
        let mut posts = vec![(first, AlertStatus::Firing)];
        for repeat in 1..=self.chance.below(4) {
            let again = first + ms(repeat * self.chance.between(5_000, 60_000));
            posts.push((again, AlertStatus::Firing));
        }
        if self.chance.percent(20) {
            let falsely = first + self.chance.millis(0, 40_000);
            posts.push((falsely, AlertStatus::Resolved));
        }
        if let Some(ends) = ends {
            let resolved = ends + self.chance.millis(0, 40_000);
            posts.push((resolved, AlertStatus::Resolved));
        }
        for (at, status) in posts {
            let copies = self.chance.weighed(&[(3, 0), (14, 1), (3, 2)]);
            for _ in 0..copies {
                let late = self.chance.weighed(&[(3, 0), (1, 30_000), (1, 90_000)]);
                let after = at + self.chance.millis(0, late);
                let event = Event::Alert(self.site, identity, status, starts);
                self.tell(after, event);
            }
        }
    }
}
