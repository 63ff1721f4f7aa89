//! The labels of an alert, where they stand in the body.

use crate::matcher::Labelled;
use std::borrow::Cow;
use std::fmt;

/// A name, or a value.
pub(super) type Text<'a> = Cow<'a, str>;

/// The labels of an alert, sorted by name, each name once.
///
/// They borrow from the body as far as nothing in it is escaped: an alert of
/// the usual form takes one allocation, however many labels it has.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Labels<'a> {
    /// Labels in the order in which they were written; of several with one
    /// name, the last one counts.
    pub(super) fn new(mut labels: Vec<(Text<'a>, Text<'a>)>) -> Labels<'a> {
        // Alertmanager writes them sorted.
        if !labels.is_sorted_by(|(one, _), (next, _)| one < next) {
            labels.sort_by(|(one, _), (other, _)| one.cmp(other));
            labels.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Labels(labels)
    }

    /// The value of the label with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(other, _)| (**other).cmp(name));
        found.ok().map(|index| &*self.0[index].1)
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// FNV-1a (64 bits) over the sorted labels. Our own, because a `fingerprint`
    /// is whatever the sender wrote, and curl sends none.
    pub(super) fn identity(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        // 0xff occurs in no UTF-8 text, so it keeps {a: "bc"} and {ab: "c"} apart.
        self.iter().fold(OFFSET, |hash, (name, value)| {
            let hash = stir(fnv(hash, name), 0xff);
            stir(fnv(hash, value), 0xff)
        })
    }
}

fn fnv(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, stir)
}

fn stir(hash: u64, byte: u8) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    (hash ^ u64::from(byte)).wrapping_mul(PRIME)
}

impl Labelled for Labels<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.get(name)
    }
}

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a, N: Into<Text<'a>>, V: Into<Text<'a>>> FromIterator<(N, V)> for Labels<'a> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Labels<'a> {
        let labels = labels.into_iter();
        Labels::new(labels.map(|(n, v)| (n.into(), v.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&'static str, &'static str)]) -> Labels<'static> {
        pairs.iter().copied().collect()
    }

    #[test]
    fn the_identity_is_fnv_1a_and_separates_names_from_values() {
        assert_eq!(labels(&[]).identity(), 0xcbf2_9ce4_8422_2325);
        // Worked out by another program: replicas of ours must agree.
        let www = labels(&[("site", "www")]);
        assert_eq!(www.identity(), 0x003e_d2ca_8308_1cd7);
        let (one, other) = (labels(&[("a", "bc")]), labels(&[("ab", "c")]));
        assert_ne!(one.identity(), other.identity());
    }

    #[test]
    fn they_are_found_in_whatever_order_they_came_and_the_last_counts() {
        let mixed = labels(&[("b", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("b", "5")]);
        assert_eq!(mixed, labels(&[("a", "2"), ("b", "5"), ("c", "4")]));
        assert_eq!(mixed.get("b"), Some("5"));
        assert_eq!(mixed.get("d"), None);
        assert_eq!(format!("{mixed:?}"), r#"{"a": "2", "b": "5", "c": "4"}"#);
        let sorted = labels(&[("a", "1"), ("a", "2")]);
        assert_eq!((sorted.len(), sorted.get("a")), (1, Some("2")));
    }
}
