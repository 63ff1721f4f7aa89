//! Chance that can be repeated: the same seed gives the same numbers.

use std::time::Duration;

/// A small generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// Other numbers of the same seed: what one part draws moves no other part.
    pub fn branch(&self, part: u64) -> Chance {
        let mut other = Chance(self.0 ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        Chance(other.next())
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        // The bias is far smaller than anything that is counted here.
        self.next() % below.max(1)
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let index = self.below(among.len() as u64);
        &among[usize::try_from(index).unwrap()]
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    /// A time from `low` to `high` milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// One of them, each as often as its weight says.
    pub fn weighed<T: Clone>(&mut self, among: &[(u64, T)]) -> T {
        let sum = among.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(sum);
        for (weight, what) in among {
            if at < *weight {
                return what.clone();
            }
            at -= weight;
        }
        unreachable!("the weights of nothing")
    }
}
