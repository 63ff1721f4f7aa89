//! Sites that come home to one origin do so one after the other, in random
//! order: a MAIN that was down is cold, and a thousand sites at once would take
//! it down again. One for the process.

use super::chance::Chance;
use crate::rule::Moment;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Turns are no further apart: a handful of sites need not be minutes apart.
const APART: Duration = Duration::from_secs(10);

/// Who is away from where it wants to be, and whose turn to return is when.
#[derive(Debug)]
pub(super) struct Homecoming {
    chance: Chance,
    /// Where each site that is away wants to be, as text.
    away: HashMap<Arc<str>, Arc<str>>,
    targets: HashMap<Arc<str>, Target>,
}

/// One origin that sites want to return to.
#[derive(Debug, Default)]
struct Target {
    away: HashSet<Arc<str>>,
    episode: Option<Episode>,
}

/// A time in which sites return to an origin.
#[derive(Debug)]
struct Episode {
    /// Turns that nobody has yet, in random order.
    free: Vec<Moment>,
    /// The turns of those that wait.
    turns: HashMap<Arc<str>, Moment>,
    /// The last turn there is.
    last: Moment,
    /// How far apart they are.
    apart: Duration,
    /// Until then the newest return is too close for another.
    busy_until: Moment,
}

impl Homecoming {
    pub(super) fn new(chance: Chance) -> Homecoming {
        Homecoming {
            chance,
            away: HashMap::new(),
            targets: HashMap::new(),
        }
    }

    /// The site wants to be at `target`, and is not.
    pub(super) fn away(&mut self, site: &Arc<str>, target: &Arc<str>, now: Moment) {
        if self.away.get(site) == Some(target) {
            return;
        }
        self.home(site, now);
        self.away.insert(site.clone(), target.clone());
        let target = self.targets.entry(target.clone()).or_default();
        target.away.insert(site.clone());
    }

    /// The site is where it wants to be, or nobody knows where it is.
    pub(super) fn home(&mut self, site: &Arc<str>, now: Moment) {
        let Some(name) = self.away.remove(site) else {
            return;
        };
        if let Some(target) = self.targets.get_mut(&name) {
            target.away.remove(site);
            if let Some(episode) = &mut target.episode {
                episode.home(site, now);
            }
            if target.away.is_empty() {
                self.targets.remove(&name);
            }
        }
    }

    /// The site's turn counts no more: something else keeps it away now.
    pub(super) fn forgo(&mut self, site: &Arc<str>) {
        let target = self.away.get(site);
        if let Some(target) = target.and_then(|target| self.targets.get_mut(target)) {
            target.forgo(site);
        }
    }

    /// The site's turn, if it has one.
    pub(super) fn turn(&self, site: &Arc<str>) -> Option<Moment> {
        let target = self.targets.get(self.away.get(site)?)?;
        target.episode.as_ref()?.turns.get(site).copied()
    }

    /// The site may return otherwise: gives it a turn, if it has none. Who is
    /// away alone never waits.
    pub(super) fn ask(&mut self, site: &Arc<str>, spread: Duration, now: Moment) -> Moment {
        let target = self.away.get(site);
        match target.and_then(|target| self.targets.get_mut(target)) {
            Some(target) if !spread.is_zero() => target.ask(site, spread, now, &mut self.chance),
            _ => now,
        }
    }
}

impl Target {
    fn forgo(&mut self, site: &Arc<str>) {
        if let Some(episode) = &mut self.episode {
            episode.turns.remove(site);
        }
    }

    fn ask(
        &mut self,
        site: &Arc<str>,
        spread: Duration,
        now: Moment,
        chance: &mut Chance,
    ) -> Moment {
        self.episode.take_if(|episode| episode.is_over(now));
        if self.episode.is_none() && self.away.len() < 2 {
            return now;
        }
        let sites = u32::try_from(self.away.len()).unwrap_or(u32::MAX);
        let apart = (spread / sites.max(1)).min(APART);
        let begin = || Episode::begin(sites, apart, now, chance);
        let episode = self.episode.get_or_insert_with(begin);
        episode.take(site, apart, now)
    }
}

impl Episode {
    /// As many turns as there are sites, the first of them now.
    fn begin(sites: u32, apart: Duration, now: Moment, chance: &mut Chance) -> Episode {
        let mut free: Vec<Moment> = (0..sites).map(|k| now + apart * k).collect();
        chance.shuffle(&mut free);
        Episode {
            free,
            turns: HashMap::new(),
            last: now + apart * sites.saturating_sub(1),
            apart,
            busy_until: now,
        }
    }

    /// The site's turn: the one it has, a free one, or one behind the last.
    fn take(&mut self, site: &Arc<str>, apart: Duration, now: Moment) -> Moment {
        if let Some(turn) = self.turns.get(site) {
            return *turn;
        }
        while self.free.last().is_some_and(|turn| *turn < now) {
            self.free.pop();
        }
        let turn = self.free.pop().unwrap_or_else(|| {
            self.last = (self.last + apart).max(now);
            self.last
        });
        self.turns.insert(site.clone(), turn);
        turn
    }

    /// The site waits no more; if it had a turn, it has used it.
    fn home(&mut self, site: &Arc<str>, now: Moment) {
        if self.turns.remove(site).is_some() {
            self.busy_until = self.busy_until.max(now + self.apart);
        }
    }

    /// Whether nobody waits any more, and the last to return has had its time.
    fn is_over(&self, now: Moment) -> bool {
        self.turns.is_empty() && self.busy_until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(1_000 + seconds))
    }

    fn names(sites: usize) -> Vec<Arc<str>> {
        (0..sites).map(|n| format!("site-{n}").into()).collect()
    }

    /// So many sites, all away from one origin.
    fn away(sites: usize, seed: u64) -> (Homecoming, Vec<Arc<str>>) {
        let mut homecoming = Homecoming::new(Chance::new(seed));
        let names = names(sites);
        for name in &names {
            homecoming.away(name, &"192.0.2.10".into(), at(0));
        }
        (homecoming, names)
    }

    /// The turn of each, in seconds from now, if all ask at once.
    fn turns(homecoming: &mut Homecoming, names: &[Arc<str>]) -> Vec<f64> {
        let ask = |name| homecoming.ask(name, SPREAD, at(0)).since(at(0));
        names.iter().map(ask).map(|t| t.as_secs_f64()).collect()
    }

    #[test]
    fn turns_fill_the_spread_evenly_and_are_at_most_ten_seconds_apart() {
        for (sites, apart) in [(2, 10.0), (30, 10.0), (60, 5.0), (1000, 0.3)] {
            let (mut homecoming, names) = away(sites, 7);
            let mut given = turns(&mut homecoming, &names);
            let asked = given.clone();
            given.sort_by(f64::total_cmp);
            for (k, turn) in given.iter().enumerate() {
                let wanted = apart * k as f64;
                assert!((turn - wanted).abs() < 1e-6, "{sites}: {k} at {turn}");
            }
            assert!(sites == 2 || asked != given, "in the order of asking");
            // Whoever asks again is told the same.
            assert_eq!(turns(&mut homecoming, &names), asked);
        }
    }

    #[test]
    fn the_order_is_that_of_chance() {
        let order = |seed| {
            let (mut homecoming, names) = away(30, seed);
            turns(&mut homecoming, &names)
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn who_is_away_alone_goes_at_once_and_so_does_who_does_not_spread() {
        let (mut homecoming, names) = away(1, 1);
        assert_eq!(homecoming.ask(&names[0], SPREAD, at(0)), at(0));
        assert_eq!(homecoming.turn(&names[0]), None);
        let (mut homecoming, names) = away(5, 1);
        for name in &names {
            assert_eq!(homecoming.ask(name, Duration::ZERO, at(0)), at(0));
        }
        // Nor does one wait for those that are away from another origin.
        homecoming.away(&"blog".into(), &"192.0.2.50".into(), at(0));
        assert_eq!(homecoming.ask(&"blog".into(), SPREAD, at(0)), at(0));
    }

    #[test]
    fn a_turn_that_is_past_is_given_to_nobody_and_who_comes_late_comes_last() {
        let (mut homecoming, names) = away(4, 3);
        let first = homecoming.ask(&names[0], SPREAD, at(0));
        // At 25 s of the turns at 0, 10, 20 and 30 s only the last may be left.
        let later: Vec<Moment> = names[1..]
            .iter()
            .map(|name| homecoming.ask(name, SPREAD, at(25)))
            .collect();
        assert!(later.iter().all(|turn| *turn >= at(25)), "{later:?}");
        let mut all = later.clone();
        all.push(first);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4, "two have the same turn: {all:?}");
        // One that was not known at the begin.
        let name: Arc<str> = "late".into();
        homecoming.away(&name, &"192.0.2.10".into(), at(0));
        let last = homecoming.ask(&name, SPREAD, at(26));
        assert!(later.iter().all(|turn| *turn < last));
    }

    #[test]
    fn a_turn_that_is_forgone_is_drawn_anew() {
        let (mut homecoming, names) = away(3, 5);
        turns(&mut homecoming, &names);
        let before = homecoming.turn(&names[1]).unwrap();
        homecoming.forgo(&names[1]);
        assert_eq!(homecoming.turn(&names[1]), None);
        let again = homecoming.ask(&names[1], SPREAD, at(5));
        assert_ne!(again, before);
        assert_eq!(again, at(30));
    }

    #[test]
    fn the_last_of_them_keeps_its_distance_and_the_next_time_begins_anew() {
        let (mut homecoming, names) = away(2, 1);
        let given = turns(&mut homecoming, &names);
        let (first, second) = if given[0] < given[1] { (0, 1) } else { (1, 0) };
        homecoming.home(&names[first], at(0));
        assert_eq!(homecoming.turn(&names[second]), Some(at(10)));
        // It loses its turn; though it is the last that is away, it does not
        // follow the first at its heels.
        homecoming.forgo(&names[second]);
        assert_eq!(homecoming.ask(&names[second], SPREAD, at(2)), at(20));
        homecoming.home(&names[second], at(20));
        assert_eq!(homecoming.turn(&names[second]), None);
        homecoming.away(&names[0], &"192.0.2.10".into(), at(0));
        assert_eq!(homecoming.ask(&names[0], SPREAD, at(60)), at(60));
    }

    #[test]
    fn turns_that_nobody_used_are_drawn_from_the_begin() {
        let (mut homecoming, names) = away(30, 5);
        for second in [0, 100, 200] {
            let latest = names
                .iter()
                .map(|name| homecoming.ask(name, SPREAD, at(second)))
                .max();
            assert_eq!(latest, Some(at(second + 290)));
            for name in &names {
                homecoming.forgo(name);
            }
        }
    }

    #[test]
    fn who_wants_to_be_elsewhere_has_no_turn_any_more() {
        let (mut homecoming, names) = away(2, 1);
        turns(&mut homecoming, &names);
        homecoming.away(&names[0], &"198.51.100.20".into(), at(0));
        assert_eq!(homecoming.turn(&names[0]), None);
        assert_eq!(homecoming.ask(&names[0], SPREAD, at(1)), at(1));
        // The one that is left is alone now, and keeps the turn it has.
        assert!(homecoming.turn(&names[1]).is_some());
    }
}
