//! What calls tell whoever watches the token.

use super::verdict::{Lacking, Right, Rights};
use crate::config::Zone;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What calls have shown of the token in use.
#[derive(Debug, Clone, Default)]
pub(super) struct News {
    /// How many tokens there have been.
    pub(super) tokens: u64,
    /// How many authentication errors were repeated.
    pub(super) refusals: u64,
    /// How often a zone became readable.
    pub(super) readable: u64,
    /// The right to read each configured zone.
    pub(super) rights: Rights,
}

/// What calls tell whoever watches the token.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    news: Mutex<News>,
    wake: Notify,
}

impl Tidings {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to tell.
    pub(super) fn news(&self) -> News {
        self.lock().clone()
    }

    /// Comes back when that may have changed since the last time; one task
    /// waits at a time.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// How many tokens there have been.
    pub(super) fn tokens(&self) -> u64 {
        self.lock().tokens
    }

    /// There is another token; what was seen of the one before is no use.
    pub(super) fn replaced(&self) {
        let mut news = self.lock();
        news.tokens += 1;
        for right in news.rights.values_mut() {
            *right = Right::Unknown;
        }
        drop(news);
        self.wake.notify_one();
    }

    /// An authentication error was repeated.
    pub(super) fn refused(&self) {
        self.lock().refusals += 1;
        self.wake.notify_one();
    }

    /// These zones are configured, and no others.
    pub(super) fn set_zones(&self, zones: BTreeSet<Zone>) {
        let mut news = self.lock();
        let mut before = std::mem::take(&mut news.rights);
        let mut right = |zone: &Zone| before.remove(zone).unwrap_or(Right::Unknown);
        news.rights = zones
            .into_iter()
            .map(|zone| (zone.clone(), right(&zone)))
            .collect();
        drop(news);
        self.wake.notify_one();
    }

    /// The token read `zone`, or (with `refused`: what is missing, and the
    /// refusal as a sentence) could not.
    pub(super) fn note(&self, zone: &Zone, refused: Option<(&'static str, &str)>) {
        let now = Instant::now();
        let mut news = self.lock();
        let Some(right) = news.rights.get_mut(zone) else {
            return;
        };
        let before = std::mem::replace(right, Right::Unknown);
        *right = match refused {
            None => Right::Read(now),
            Some((permission, text)) => Right::Lacking(Lacking {
                since: match &before {
                    Right::Lacking(lacking) => lacking.since,
                    Right::Unknown | Right::Read(_) => now,
                },
                at: now,
                permission,
                text: text.to_owned(),
            }),
        };
        let same_kind = std::mem::discriminant(right) == std::mem::discriminant(&before);
        if !same_kind {
            news.readable += u64::from(refused.is_none());
            self.wake.notify_one();
        }
    }

    /// Zones that the token has read.
    pub(super) fn readable(&self) -> Vec<Zone> {
        let news = self.lock();
        let read = news.rights.iter();
        read.filter(|(_, right)| matches!(right, Right::Read(_)))
            .map(|(zone, _)| zone.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn zone() -> Zone {
        Zone::Name("example.com".into())
    }

    fn configured() -> Tidings {
        let tidings = Tidings::default();
        tidings.set_zones([zone()].into());
        tidings
    }

    #[tokio::test(start_paused = true)]
    async fn a_zone_keeps_the_time_of_its_first_refusal() {
        let tidings = configured();
        let start = Instant::now();
        tidings.note(&zone(), Some(("a", "no")));
        tokio::time::advance(Duration::from_secs(300)).await;
        tidings.note(&zone(), Some(("b", "still no")));
        let Right::Lacking(lacking) = tidings.news().rights[&zone()].clone() else {
            panic!()
        };
        assert_eq!((lacking.since, lacking.at), (start, Instant::now()));
        assert_eq!((lacking.permission, &*lacking.text), ("b", "still no"));
        tidings.note(&zone(), None);
        tidings.note(&zone(), None);
        assert_eq!(tidings.news().readable, 1);
        assert_eq!(tidings.readable(), [zone()]);
    }

    #[test]
    fn zones_come_and_go_with_the_configuration_and_start_anew_with_a_token() {
        let tidings = configured();
        let other = Zone::Id("0123".into());
        tidings.note(&zone(), None);
        tidings.note(&other, None);
        assert_eq!(tidings.readable(), [zone()], "the other is not configured");
        tidings.set_zones([zone(), other.clone()].into());
        assert_eq!(tidings.news().rights[&other], Right::Unknown);
        assert_eq!(tidings.readable(), [zone()], "what is known of it stays");
        tidings.replaced();
        assert!(tidings.readable().is_empty());
        tidings.set_zones([other].into());
        assert!(!tidings.news().rights.contains_key(&zone()));
    }
}
