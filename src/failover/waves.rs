//! Sites that flee to one origin do so in waves, if their user wants that: what
//! carries ten sites may not carry a thousand. Each wave goes only when the one
//! before has its results, and on probes made since, which tell whether the
//! target still answers. In memory only. One for the process.

use crate::config;
use crate::rule::Moment;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A switch that has had no result for so long will have none: its loop is
/// gone. No decision takes longer, nor does a write that was not answered.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// The waves to each origin.
#[derive(Debug)]
pub(super) struct Waves {
    /// How many sites go in each wave; after the last one all may.
    sizes: Vec<usize>,
    pause: Duration,
    /// An origin to which nobody has moved for so long begins anew.
    quiet: Duration,
    targets: HashMap<Arc<str>, Target>,
    /// Sites that wait for a wave now.
    waiting: BTreeSet<Arc<str>>,
}

/// One origin to which sites flee.
#[derive(Debug, Default)]
struct Target {
    /// The number of the wave that goes.
    wave: usize,
    /// When the wave before it had its last result: what was seen of the target
    /// until then does not tell how it bears them.
    tested: Moment,
    seats: HashMap<Arc<str>, Seat>,
    /// When a seat was last taken, or had its result.
    last: Moment,
}

/// A site of the wave that goes.
#[derive(Debug, Clone, Copy)]
enum Seat {
    /// Its switch is under way since then.
    Taken(Moment),
    /// Its switch had its result then.
    Landed(Moment),
}

/// A wave that a site is not of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed {
    /// The sites in it.
    pub(super) moved: usize,
    /// When the next one goes, once that is known.
    pub(super) opens: Option<Moment>,
}

impl Waves {
    pub(super) fn new(settings: &config::Guard) -> Waves {
        let mut waves = Waves {
            sizes: Vec::new(),
            pause: Duration::ZERO,
            quiet: Duration::ZERO,
            targets: HashMap::new(),
            waiting: BTreeSet::new(),
        };
        waves.set(settings);
        waves
    }

    /// Takes over settings that were read again; what is under way counts on.
    pub(super) fn set(&mut self, settings: &config::Guard) {
        self.sizes.clone_from(&settings.wave);
        self.pause = settings.wave_pause;
        self.quiet = settings.together_window.max(2 * settings.wave_pause);
    }

    /// How many sites go in each wave; empty without waves.
    pub(super) fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Whether nobody can have to wait: no waves, or no flights of late.
    pub(super) fn are_idle(&self) -> bool {
        self.sizes.is_empty() || self.targets.is_empty()
    }

    /// The wave that keeps the site from `target`: full, and the next one does
    /// not go yet, or not on these probes. They were made from `seen` on.
    pub(super) fn closed(
        &self,
        site: &str,
        target: &str,
        seen: Moment,
        now: Moment,
    ) -> Option<Closed> {
        let at = self.targets.get(target).filter(|at| self.counts(at, now))?;
        if at.seats.contains_key(site) {
            return None;
        }
        let (tested, opens) = if self.has_room(at) {
            (Some(at.tested), None)
        } else {
            let tested = at.all_landed(now);
            (tested, tested.map(|tested| tested + self.pause))
        };
        let open = tested.is_some_and(|tested| tested <= seen) && opens.is_none_or(|at| at <= now);
        (!open).then(|| Closed {
            moved: at.seats.len(),
            opens: opens.filter(|at| *at > now),
        })
    }

    /// Gives the site a seat in the wave that goes, or as the first of the next.
    pub(super) fn board(&mut self, site: &Arc<str>, target: &Arc<str>, now: Moment) {
        if self.sizes.is_empty() {
            return;
        }
        let quiet = self.quiet;
        self.targets.retain(|_, at| now.since(at.last) < quiet);
        let sizes = &self.sizes;
        let at = self.targets.entry(target.clone()).or_default();
        at.last = now;
        if at.seats.contains_key(site) {
            at.seats.insert(site.clone(), Seat::Taken(now));
            return;
        }
        let full = sizes
            .get(at.wave)
            .is_some_and(|&size| at.seats.len() >= size);
        if full && let Some(tested) = at.all_landed(now) {
            at.wave += 1;
            at.tested = tested;
            at.seats.clear();
        }
        at.seats.insert(site.clone(), Seat::Taken(now));
    }

    /// The site's switch to `target` had its result.
    pub(super) fn landed(&mut self, site: &str, target: &str, now: Moment) {
        if let Some(at) = self.targets.get_mut(target)
            && let Some(seat) = at.seats.get_mut(site)
        {
            *seat = Seat::Landed(now);
            at.last = now;
        }
    }

    /// The site's switch to `target` did not come about: its seat is free.
    pub(super) fn stayed(&mut self, site: &str, target: &str) {
        if let Some(at) = self.targets.get_mut(target) {
            at.seats.remove(site);
        }
    }

    /// Notes whether a wave keeps the site now.
    pub(super) fn wait(&mut self, site: &Arc<str>, waits: bool) {
        if waits {
            self.waiting.insert(site.clone());
        } else {
            self.waiting.remove(site);
        }
    }

    /// The sites that wait for a wave now.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Arc<str>> {
        self.waiting.iter()
    }

    fn counts(&self, at: &Target, now: Moment) -> bool {
        !self.sizes.is_empty() && now.since(at.last) < self.quiet
    }

    fn has_room(&self, at: &Target) -> bool {
        let size = self.sizes.get(at.wave);
        size.is_none_or(|&size| at.seats.len() < size)
    }
}

impl Target {
    /// When the last switch of the wave had its result, if all have.
    fn all_landed(&self, now: Moment) -> Option<Moment> {
        let landed = self.seats.values().map(|seat| match *seat {
            Seat::Landed(at) => Some(at),
            Seat::Taken(at) if now.since(at) > FORGOTTEN => Some(at + FORGOTTEN),
            Seat::Taken(_) => None,
        });
        let latest = |last: Moment, at: Option<Moment>| Some(last.max(at?));
        landed.into_iter().try_fold(self.tested, latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "198.51.100.20";

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(1_000 + seconds))
    }

    fn waves(sizes: &[usize]) -> Waves {
        Waves::new(&config::Guard {
            control_targets: Vec::new(),
            control_needed: 1,
            max_sites_together: 0,
            together_window: Duration::from_secs(300),
            wave: sizes.into(),
            wave_pause: Duration::from_secs(10),
        })
    }

    fn name(site: usize) -> Arc<str> {
        format!("site-{site}").into()
    }

    /// Lets sites go at a second, on fresh probes, as far as they may; returns
    /// how many did. Their switches have their results a second later.
    fn go(waves: &mut Waves, sites: std::ops::Range<usize>, second: u64) -> usize {
        let mut gone = Vec::new();
        for site in sites {
            let name = name(site);
            if waves
                .closed(&name, TARGET, at(second), at(second))
                .is_none()
            {
                waves.board(&name, &TARGET.into(), at(second));
                gone.push(name);
            }
        }
        for name in &gone {
            waves.landed(name, TARGET, at(second + 1));
        }
        gone.len()
    }

    #[test]
    fn each_wave_goes_a_pause_after_the_last_result_of_the_one_before() {
        let mut waves = waves(&[2, 3]);
        assert_eq!(go(&mut waves, 0..100, 0), 2);
        let closed =
            |waves: &Waves, second| waves.closed("site-99", TARGET, at(second), at(second));
        let second = Closed {
            moved: 2,
            opens: Some(at(11)),
        };
        assert_eq!(closed(&waves, 10), Some(second));
        assert_eq!(go(&mut waves, 2..100, 10), 0);
        assert_eq!(go(&mut waves, 2..100, 11), 3);
        assert_eq!(go(&mut waves, 5..100, 21), 0);
        assert_eq!(go(&mut waves, 5..100, 22), 95, "the rest goes at once");
        // Another origin has waves of its own.
        assert_eq!(waves.closed("x", "203.0.113.30", at(23), at(23)), None);
        // Nobody has moved for the window: it begins anew.
        assert_eq!(go(&mut waves, 100..200, 323), 2);
    }

    #[test]
    fn a_wave_waits_for_the_results_of_the_one_before_but_not_for_ever() {
        let mut waves = waves(&[1]);
        waves.board(&name(0), &TARGET.into(), at(0));
        let unknown = Closed {
            moved: 1,
            opens: None,
        };
        let closed = |waves: &Waves, second| waves.closed("x", TARGET, at(second), at(second));
        assert_eq!(closed(&waves, 100), Some(unknown));
        assert_eq!(closed(&waves, 151).unwrap().opens, Some(at(160)));
        assert_eq!(closed(&waves, 160), None);
        waves.landed("site-0", TARGET, at(120));
        assert_eq!(closed(&waves, 129).unwrap().opens, Some(at(130)));
        assert_eq!(closed(&waves, 130), None);
    }

    #[test]
    fn who_stayed_gives_its_seat_back_and_who_has_one_keeps_it() {
        let mut waves = waves(&[1, 5]);
        waves.board(&name(0), &TARGET.into(), at(0));
        assert_eq!(waves.closed("site-0", TARGET, at(1), at(1)), None);
        waves.stayed("site-0", TARGET);
        assert_eq!(go(&mut waves, 1..3, 1), 1);
    }

    #[test]
    fn probes_from_before_the_last_result_open_no_wave() {
        let mut waves = waves(&[1, 2]);
        assert_eq!(go(&mut waves, 0..1, 5), 1);
        let old = Closed {
            moved: 1,
            opens: None,
        };
        assert_eq!(waves.closed("x", TARGET, at(5), at(17)), Some(old));
        assert_eq!(waves.closed("x", TARGET, at(6), at(17)), None);
        // Nor do they give one of the next wave's seats.
        assert_eq!(go(&mut waves, 1..2, 17), 1);
        assert!(waves.closed("x", TARGET, at(5), at(18)).is_some());
        assert_eq!(waves.closed("x", TARGET, at(6), at(18)), None);
    }

    #[test]
    fn without_waves_nothing_is_kept() {
        let mut waves = waves(&[]);
        assert_eq!(go(&mut waves, 0..1000, 0), 1000);
        assert!(waves.are_idle());
    }
}
