//! How Cloudflare does: for each kind of trouble the chances of every call.

use crate::world::{Chance, ReadFate, Weather, WriteFate};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sky {
    /// None.
    Clear,
    /// Calls take seconds, some of them too long.
    Slow,
    /// Some calls fail, in every way.
    Patchy,
    /// Every call fails.
    Down,
    /// No call is answered.
    Silent,
    /// Reads are answered late, writes are put off.
    Throttling,
    /// Writes are refused.
    Refusing,
    /// Answers to writes are lost, before or after they are carried out.
    Losing,
    /// Writes are carried out long after they were given up.
    Late,
    /// Reads show what was so seconds ago.
    Stale,
    /// Answers to writes show the old content.
    Lying,
}

impl Sky {
    /// All trouble, and how often it is that.
    pub const TROUBLES: [(u64, Sky); 10] = [
        (1, Sky::Slow),
        (3, Sky::Patchy),
        (1, Sky::Down),
        (1, Sky::Silent),
        (1, Sky::Throttling),
        (2, Sky::Refusing),
        (4, Sky::Losing),
        (3, Sky::Late),
        (2, Sky::Stale),
        (1, Sky::Lying),
    ];

    fn latency(self, chance: &mut Chance) -> Duration {
        match (self, chance.below(5)) {
            (Sky::Slow, 0) => chance.millis(8_000, 40_000),
            (Sky::Slow, _) => chance.millis(500, 5_000),
            (_, 0) => Duration::ZERO,
            _ => chance.millis(2, 120),
        }
    }

    fn read(self, chance: &mut Chance) -> ReadFate {
        let fine = ReadFate::Answered;
        match self {
            Sky::Down => ReadFate::Unavailable,
            Sky::Silent => ReadFate::Silent,
            Sky::Throttling => ReadFate::Delayed(chance.millis(500, 9_000)),
            Sky::Stale => ReadFate::Behind(chance.millis(0, 8_000)),
            Sky::Patchy | Sky::Losing => {
                let late = ReadFate::Delayed(chance.millis(0, 9_000));
                chance.weighed(&[
                    (6, fine),
                    (2, ReadFate::Unavailable),
                    (1, ReadFate::Silent),
                    (1, late),
                ])
            }
            _ => fine,
        }
    }

    fn write(self, chance: &mut Chance) -> WriteFate {
        use WriteFate::{Applied, LostAfter, LostBefore, Misanswered, Rejected, SilentAfter};
        let late = WriteFate::ActsLate(chance.millis(100, 45_000));
        match self {
            Sky::Down => chance.weighed(&[(1, WriteFate::Unavailable), (1, LostBefore)]),
            Sky::Silent => chance.weighed(&[(1, SilentAfter), (1, LostBefore)]),
            Sky::Throttling => WriteFate::Unavailable,
            Sky::Refusing => Rejected,
            Sky::Lying => Misanswered,
            Sky::Losing => chance.weighed(&[(1, LostBefore), (1, LostAfter), (1, SilentAfter)]),
            Sky::Late => late,
            Sky::Patchy => chance.weighed(&[
                (3, Applied),
                (1, LostBefore),
                (1, LostAfter),
                (1, SilentAfter),
                (1, Rejected),
                (1, WriteFate::Unavailable),
                (1, late),
            ]),
            Sky::Clear | Sky::Slow | Sky::Stale => Applied,
        }
    }
}

/// The sky over all sites of an incident. Clones share it.
#[derive(Debug, Clone)]
pub struct Skies(Arc<Mutex<(Sky, Chance)>>);

impl Skies {
    pub fn clear(chance: Chance) -> Skies {
        Skies(Arc::new(Mutex::new((Sky::Clear, chance))))
    }

    pub fn set(&self, sky: Sky) {
        self.0.lock().unwrap().0 = sky;
    }

    fn draw<T>(&self, draw: impl FnOnce(Sky, &mut Chance) -> T) -> T {
        let (sky, chance) = &mut *self.0.lock().unwrap();
        draw(*sky, chance)
    }
}

impl Weather for Skies {
    fn latency(&mut self) -> Duration {
        self.draw(Sky::latency)
    }

    fn read(&mut self) -> ReadFate {
        self.draw(Sky::read)
    }

    fn write(&mut self) -> WriteFate {
        self.draw(Sky::write)
    }

    fn arrives(&mut self) -> bool {
        self.draw(|_, chance| chance.percent(70))
    }
}
