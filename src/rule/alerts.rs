//! What is known of a site's alerts: "look now", "it is not only you", "do not
//! go back yet". Never "it is down", never "it is well".

use super::Moment;
use jiff::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// How many alerts of one site are remembered; the oldest go first.
const REMEMBERED: usize = 256;

/// What an alert says, by its own status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertStatus {
    /// It fires.
    Firing,
    /// It does not fire any more.
    Resolved,
}

impl AlertStatus {
    /// The word Alertmanager uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AlertStatus::Firing => "firing",
            AlertStatus::Resolved => "resolved",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Known {
    status: AlertStatus,
    starts_at: Option<Timestamp>,
    received: Moment,
}

/// The alerts of one site, newest word of each.
///
/// Copies come doubled, late and out of order. Within one alert a newer start
/// wins; for the same start, resolved beats firing.
#[derive(Debug, Clone, Default)]
pub struct AlertBook {
    known: HashMap<u64, Known>,
}

impl AlertBook {
    /// Takes the word of the alert with this identity (a hash of its labels).
    /// Returns whether it says anything that was not known.
    pub fn take(
        &mut self,
        identity: u64,
        status: AlertStatus,
        starts_at: Option<Timestamp>,
        received: Moment,
    ) -> bool {
        if let Some(known) = self.known.get_mut(&identity) {
            return known.merge(status, starts_at, received);
        }
        if self.known.len() >= REMEMBERED {
            self.drop_oldest();
        }
        let fresh = Known {
            status,
            starts_at,
            received,
        };
        self.known.insert(identity, fresh);
        true
    }

    fn drop_oldest(&mut self) {
        let oldest = self
            .known
            .iter()
            .min_by_key(|(_, known)| known.received)
            .map(|(&identity, _)| identity);
        if let Some(identity) = oldest {
            self.known.remove(&identity);
        }
    }

    /// Whether an alert fires: not resolved, and received within `ttl`.
    #[must_use]
    pub fn firing(&self, now: Moment, ttl: Duration) -> bool {
        self.firing_until(now, ttl).is_some()
    }

    /// When the last of the firing alerts stops counting, if none repeats.
    #[must_use]
    pub fn firing_until(&self, now: Moment, ttl: Duration) -> Option<Moment> {
        self.known
            .values()
            .filter(|known| known.status == AlertStatus::Firing)
            .map(|known| known.received + ttl)
            .filter(|&until| until > now)
            .max()
    }

    /// Adds `by` to every age limit: time in which we were not looking.
    pub fn forgive(&mut self, by: Duration) {
        for known in self.known.values_mut() {
            known.received = known.received + by;
        }
    }

    /// Forgets what has not been heard of for longer than `ttl`.
    pub fn prune(&mut self, now: Moment, ttl: Duration) {
        self.known
            .retain(|_, known| now.since(known.received) < ttl);
    }
}

impl Known {
    fn merge(
        &mut self,
        status: AlertStatus,
        starts_at: Option<Timestamp>,
        received: Moment,
    ) -> bool {
        // A copy without a start time cannot be ordered: take it as the newest word.
        let newer = match (self.starts_at, starts_at) {
            (Some(known), Some(given)) if given < known => {
                // Old news, but where one fires the sender still speaks of it:
                // overlapping alerts keep the earliest start.
                if status == self.status {
                    self.received = self.received.max(received);
                }
                return false;
            }
            (Some(known), Some(given)) => given > known,
            _ => true,
        };
        if !newer && self.status == AlertStatus::Resolved {
            if status == self.status {
                // A late copy of the firing may come any time after this one.
                self.received = self.received.max(received);
            }
            return false;
        }
        let news = status != self.status || (newer && starts_at != self.starts_at);
        *self = Known {
            status,
            starts_at: starts_at.or(self.starts_at),
            received: self.received.max(received),
        };
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AlertStatus::{Firing, Resolved};
    use proptest::prelude::*;

    const TTL: Duration = Duration::from_secs(900);

    fn start(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(second).unwrap())
    }

    fn at(second: u64) -> Moment {
        Moment(Duration::from_secs(second))
    }

    #[test]
    fn any_order_of_copies_ends_in_the_same_word() {
        let copies = [(Firing, 10), (Resolved, 10), (Firing, 20), (Resolved, 5)];
        let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 1, 3], [1, 0, 3, 2]];
        for order in orders {
            let mut book = AlertBook::default();
            for index in order {
                let (status, starts) = copies[index];
                book.take(1, status, start(starts), at(1));
            }
            assert!(book.firing(at(2), TTL), "{order:?}");
        }
    }

    #[test]
    fn a_copy_of_its_end_keeps_the_end_in_mind() {
        let mut book = AlertBook::default();
        book.take(1, Resolved, start(10), at(100));
        book.take(1, Resolved, start(10), at(900));
        book.prune(at(1_100), TTL);
        book.take(1, Firing, start(10), at(1_100));
        assert!(!book.firing(at(1_101), TTL));
    }

    proptest! {
        #[test]
        fn order_and_copies_never_change_what_is_known(
            said in prop::collection::vec((0..3u64, any::<bool>(), 0..5i64), 0..12),
            shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            // Every copy at least once, in their order; then any of them again.
            let again = shuffle.iter().filter(|_| !said.is_empty());
            let again = again.map(|index| said[index.index(said.len())]);
            let shuffled: Vec<_> = again.chain(said.iter().rev().copied()).collect();
            for order in [&said, &shuffled] {
                let mut book = AlertBook::default();
                for &(identity, firing, starts) in order {
                    let status = if firing { Firing } else { Resolved };
                    book.take(identity, status, start(starts), at(1));
                }
                // The newest start decides, and there resolved beats firing.
                let fires = (0..3).any(|identity| {
                    let mine = said.iter().filter(|(other, _, _)| *other == identity);
                    let newest = mine.clone().map(|said| said.2).max();
                    newest.is_some_and(|newest| {
                        mine.clone().filter(|said| said.2 == newest).all(|said| said.1)
                    })
                });
                prop_assert_eq!(book.firing(at(2), TTL), fires);
            }
        }

        #[test]
        fn a_copy_that_says_nothing_new_is_not_news(
            said in prop::collection::vec((any::<bool>(), 0..4i64), 1..10),
        ) {
            let mut book = AlertBook::default();
            for &(firing, starts) in &said {
                let status = if firing { Firing } else { Resolved };
                let before = book.firing(at(2), TTL);
                let news = book.take(1, status, start(starts), at(1));
                prop_assert!(news || book.firing(at(2), TTL) == before);
                prop_assert!(!book.take(1, status, start(starts), at(1)));
            }
        }
    }

    #[test]
    fn a_late_firing_copy_does_not_undo_a_resolve() {
        let mut book = AlertBook::default();
        assert!(book.take(1, Firing, start(10), at(1)));
        assert!(!book.take(1, Firing, start(10), at(2)));
        assert!(book.take(1, Resolved, start(10), at(3)));
        assert!(!book.take(1, Firing, start(10), at(4)));
        assert!(!book.firing(at(5), TTL));
    }

    #[test]
    fn a_firing_alert_that_is_not_repeated_ends_with_its_ttl() {
        let mut book = AlertBook::default();
        book.take(1, Firing, start(10), at(0));
        assert!(book.firing(at(899), TTL));
        assert!(!book.firing(at(900), TTL));
        book.take(1, Firing, start(10), at(900));
        assert!(book.firing(at(901), TTL));
        assert_eq!(book.firing_until(at(901), TTL), Some(at(1800)));
    }

    #[test]
    fn curl_without_start_times_can_fire_and_resolve() {
        let mut book = AlertBook::default();
        book.take(1, Firing, None, at(0));
        assert!(book.firing(at(1), TTL));
        book.take(1, Resolved, None, at(1));
        assert!(!book.firing(at(2), TTL));
        book.take(1, Firing, None, at(2));
        assert!(book.firing(at(3), TTL));
    }

    #[test]
    fn the_book_of_a_site_is_bounded() {
        let mut book = AlertBook::default();
        for identity in 0..10_000 {
            book.take(identity, Firing, None, at(identity));
        }
        assert_eq!(book.known.len(), REMEMBERED);
    }
}
