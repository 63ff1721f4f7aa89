//! When steady reads are due.
//!
//! Sites of one zone are given the same moments, so that one list serves them
//! all; zones take turns. Where all of them at their own intervals would need
//! more than the budget's share for steady reads, the time between is
//! stretched, for every zone alike.

use crate::config::{Site, Zone};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Part of the share that is planned with. The rest is for reads that come
/// beside: the look-up of a zone, a name asked for again.
const PLANNED: f64 = 0.9;

/// How long what was worked out is used.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// What is read of one zone.
#[derive(Debug)]
struct Reading {
    zone: Zone,
    names: usize,
    /// The different intervals at which it is wanted, in seconds.
    intervals: Vec<f64>,
}

/// When steady reads of one token's zones are due.
#[derive(Debug)]
pub(super) struct Rhythm {
    began: Instant,
    zones: Vec<Reading>,
    place: HashMap<Zone, usize>,
    /// The time between reads of a zone at which the budget's share is enough,
    /// and when it was worked out.
    stretch: Option<(Duration, Instant)>,
}

impl Rhythm {
    pub(super) fn new() -> Rhythm {
        Rhythm {
            began: Instant::now(),
            zones: Vec::new(),
            place: HashMap::new(),
            stretch: None,
        }
    }

    /// These are the sites whose records are read.
    pub(super) fn set_sites<'a>(&mut self, sites: impl Iterator<Item = &'a Arc<Site>>) {
        let mut zones: BTreeMap<&Zone, (usize, Vec<Duration>)> = BTreeMap::new();
        for site in sites {
            let (names, intervals) = zones.entry(&site.zone).or_default();
            *names += site.hostnames.len();
            if !intervals.contains(&site.probe.interval) {
                intervals.push(site.probe.interval);
            }
        }
        let reading = |(zone, (names, intervals)): (&Zone, (usize, Vec<Duration>))| Reading {
            zone: zone.clone(),
            names,
            intervals: intervals.iter().map(Duration::as_secs_f64).collect(),
        };
        self.zones = zones.into_iter().map(reading).collect();
        let places = self.zones.iter().enumerate();
        self.place = places.map(|(at, its)| (its.zone.clone(), at)).collect();
        self.stretch = None;
    }

    /// How many names of the zone are read.
    pub(super) fn names(&self, zone: &Zone) -> usize {
        let reading = self.place.get(zone).map(|&at| &self.zones[at]);
        reading.map_or(0, |reading| reading.names)
    }

    /// How long until a site of `zone` that wants a read every `interval` asks
    /// next. `share` is what steady reads may take of 5 minutes, in calls;
    /// `pages` says how many calls a list of a zone takes.
    pub(super) fn due(
        &mut self,
        zone: &Zone,
        interval: Duration,
        share: usize,
        pages: impl Fn(&Zone) -> usize,
        now: Instant,
    ) -> Duration {
        let stretch = self.stretch(share, pages, now);
        // Stretched, intervals that differ would each have lists of their own.
        let times = if stretch.is_zero() {
            0.0
        } else {
            interval.div_duration_f64(stretch).ceil()
        };
        let period = interval.max(stretch.mul_f64(times));
        let place = self.place.get(zone).copied().unwrap_or(0);
        let turn = period.mul_f64(place as f64 / self.zones.len().max(1) as f64);
        next(self.began + turn, period, now)
    }

    /// The time between reads, if they have to be fewer than is wanted; else zero.
    fn stretch(&mut self, share: usize, pages: impl Fn(&Zone) -> usize, now: Instant) -> Duration {
        let known = self.stretch.filter(|(_, at)| now - *at < KNOWN_FOR);
        if let Some((stretch, _)) = known {
            return stretch;
        }
        let share = share as f64 * PLANNED;
        let window = super::budget::WINDOW.as_secs_f64();
        let (mut round, mut wanted) = (0.0, 0.0);
        for reading in &self.zones {
            let calls = reading.names.min(pages(&reading.zone)).max(1) as f64;
            round += calls;
            let times = reading.intervals.iter().map(|interval| window / interval);
            wanted += calls * times.sum::<f64>();
        }
        let stretch = if wanted <= share {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(round * window / share)
        };
        self.stretch = Some((stretch, now));
        stretch
    }
}

/// The time to the next of a row of moments that are `period` apart, `from`
/// being one; one that is less than half a period away belongs to the read
/// just made.
fn next(from: Instant, period: Duration, now: Instant) -> Duration {
    let earliest = now + period / 2;
    let passed = earliest.saturating_duration_since(from);
    if passed.is_zero() {
        return from - now;
    }
    let rounds = passed.div_duration_f64(period).ceil();
    let at = from + period.mul_f64(rounds);
    at.saturating_duration_since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn zone(number: usize) -> Zone {
        Zone::Name(format!("zone-{number}.test"))
    }

    /// So many zones, each with so many names, all wanted at these intervals.
    fn rhythm(zones: usize, names: usize, intervals: &[f64]) -> Rhythm {
        let mut rhythm = Rhythm::new();
        for number in 0..zones {
            rhythm.place.insert(zone(number), number);
            rhythm.zones.push(Reading {
                zone: zone(number),
                names,
                intervals: intervals.to_vec(),
            });
        }
        rhythm
    }

    fn due(rhythm: &mut Rhythm, number: usize, interval: Duration, pages: usize) -> Instant {
        let now = Instant::now();
        now + rhythm.due(&zone(number), interval, 600, |_| pages, now)
    }

    #[tokio::test(start_paused = true)]
    async fn sites_of_a_zone_are_given_the_same_moment_and_zones_take_turns() {
        let mut rhythm = rhythm(4, 100, &[10.0]);
        let first = due(&mut rhythm, 1, 10 * SECOND, 1);
        tokio::time::sleep(SECOND).await;
        assert_eq!(due(&mut rhythm, 1, 10 * SECOND, 1), first);
        let other = due(&mut rhythm, 2, 10 * SECOND, 1);
        let apart = other.max(first) - other.min(first);
        assert_eq!(apart, Duration::from_millis(2500));
        // After the read the next one is a whole interval later.
        tokio::time::sleep_until(first + SECOND / 5).await;
        assert_eq!(due(&mut rhythm, 1, 10 * SECOND, 1), first + 10 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_between_is_stretched_until_all_take_their_share() {
        // 50 zones of one page each: 50 calls a round, 540 of them in 300 s.
        let mut crowd = rhythm(50, 200, &[10.0]);
        let first = due(&mut crowd, 7, 10 * SECOND, 1);
        tokio::time::sleep_until(first + SECOND / 5).await;
        let period = due(&mut crowd, 7, 10 * SECOND, 1) - first;
        let expected = 50.0 * 300.0 / 540.0;
        assert!(
            (period.as_secs_f64() - expected).abs() < 0.001,
            "{period:?}"
        );
        // Names one by one, where that is less than the zone's pages.
        let mut names = rhythm(1, 3, &[1.0]);
        assert_eq!(names.stretch(600, |_| 40, Instant::now()).as_secs(), 1);
    }

    /// Ten minutes of 10,000 sites in 50 zones, each of which asks when it is due.
    #[tokio::test(start_paused = true)]
    async fn a_steady_crowd_takes_half_of_the_budget_at_most_and_evenly() {
        let mut crowd = rhythm(50, 200, &[10.0]);
        let start = Instant::now();
        let mut reads = Vec::new();
        for number in 0..50 {
            let mut now = start;
            while now < start + 600 * SECOND {
                reads.push(now - start);
                // The answer takes a moment, and each zone another one.
                now += Duration::from_millis(20 * number as u64);
                now += crowd.due(&zone(number), 10 * SECOND, 600, |_| 1, now);
            }
        }
        assert!((1050..=1150).contains(&reads.len()), "{}", reads.len());
        // After the start, no ten seconds have more than their part.
        for from in 30..590 {
            let within = |at: &&Duration| (from..from + 10).contains(&at.as_secs());
            let calls = reads.iter().filter(within).count();
            assert!(calls <= 20, "{calls} from second {from} on");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn different_intervals_share_their_moments_when_calls_are_scarce() {
        let mut crowd = rhythm(50, 200, &[10.0, 60.0]);
        let start = Instant::now();
        let quick = due(&mut crowd, 0, 10 * SECOND, 1) - start;
        let slow = due(&mut crowd, 0, 60 * SECOND, 1) - start;
        let stretch = crowd.stretch(600, |_| 1, start).as_secs_f64();
        let rounds = slow.as_secs_f64() / stretch;
        assert!((quick.as_secs_f64() - stretch).abs() < 0.001, "{quick:?}");
        assert!((rounds - rounds.round()).abs() < 0.001, "{slow:?}");
        assert!(slow >= 30 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_take_is_not_planned_with() {
        let mut crowd = rhythm(50, 200, &[10.0]);
        let alone = crowd.stretch(600, |_| 1, Instant::now());
        tokio::time::sleep(KNOWN_FOR).await;
        let shared = crowd.stretch(300, |_| 1, Instant::now());
        assert_eq!(shared.as_millis() / 2, alone.as_millis());
    }
}
