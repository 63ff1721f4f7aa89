//! What is known of the token, and what that comes to: whether it is good,
//! and if not, what to change.

use crate::config::Zone;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// The permission to look a zone up by its name.
pub(super) const ZONE_READ: &str = "Zone.Zone Read";

/// The permission that a switch needs; it includes reading.
pub(super) const DNS_EDIT: &str = "Zone.DNS Edit";

/// As many zones are named in a sentence; of more, the number.
const NAMED: usize = 5;

/// Cloudflare's word for the state of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Active,
    Disabled,
    Expired,
}

/// What Cloudflare says of a token that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) status: Status,
    /// `None`: it has no end.
    pub(super) expires: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
}

/// What came of asking about the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verified {
    /// Nothing yet, or Cloudflare does not say.
    Untold,
    /// This.
    Told(Told),
    /// No such token, in Cloudflare's words and ours. An account's token that
    /// could be asked about only as if it were a user's is refused as well.
    Refused(String),
}

/// What reads have shown of the right to read a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing yet.
    Unknown,
    /// It was read last at this time.
    Read(Instant),
    /// It could not be read.
    Lacking(Lacking),
}

/// A zone that the token could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lacking {
    /// The first refusal after the last good read.
    pub(super) since: Instant,
    /// The newest.
    pub(super) at: Instant,
    /// What is missing, if the token itself is good.
    pub(super) permission: &'static str,
    /// The newest refusal as a sentence.
    pub(super) text: String,
}

/// The right to read each configured zone.
pub(super) type Rights = BTreeMap<Zone, Right>;

/// What it all comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too little is known.
    Unknown,
    /// The token is good, and reads every zone.
    Valid,
    /// It is not, with a sentence that says what to change.
    Invalid(String),
}

/// What is known of the token in use.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) verified: Verified,
    /// When Cloudflare last said that the token is not good: what was refused
    /// before says nothing of a token that is good again.
    bad_at: Option<Instant>,
    pub(super) rights: Rights,
}

impl Known {
    /// Nothing.
    pub(super) fn nothing() -> Known {
        Known {
            verified: Verified::Untold,
            bad_at: None,
            rights: Rights::new(),
        }
    }

    /// Takes the outcome of a verification at `at`.
    pub(super) fn take(&mut self, verified: Verified, at: Instant) {
        self.verified = verified;
        if !self.is_active() && self.verified != Verified::Untold {
            self.bad_at = Some(at);
        }
    }

    /// Whether Cloudflare says that the token is in force.
    pub(super) fn is_active(&self) -> bool {
        matches!(&self.verified, Verified::Told(told) if told.status == Status::Active)
    }

    /// When the token ends, if Cloudflare says so.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        match &self.verified {
            Verified::Told(told) => told.expires,
            Verified::Untold | Verified::Refused(_) => None,
        }
    }

    /// What it comes to at `now`. While not `settled`, zones that were not
    /// read yet are waited for. `place` is the key that holds the token.
    pub(super) fn verdict(&self, now: Timestamp, settled: bool, place: &str) -> Verdict {
        if let Some(sentence) = self.out_of_force(now, place) {
            return Verdict::Invalid(sentence);
        }
        let lacking = self.lacking();
        if !lacking.is_empty() {
            return Verdict::Invalid(self.why_lacking(&lacking));
        }
        let unread = self.rights.values().any(|right| *right == Right::Unknown);
        if unread && !settled {
            return Verdict::Unknown;
        }
        match &self.verified {
            Verified::Told(_) => Verdict::Valid,
            _ if self.last_read().is_some() => Verdict::Valid,
            Verified::Refused(text) if self.rights.is_empty() => Verdict::Invalid(text.clone()),
            Verified::Untold | Verified::Refused(_) => Verdict::Unknown,
        }
    }

    /// Why the token is not in force, in Cloudflare's own account of it.
    fn out_of_force(&self, now: Timestamp, place: &str) -> Option<String> {
        let Verified::Told(told) = &self.verified else {
            return None;
        };
        match told.status {
            Status::Disabled => Some(format!(
                "the Cloudflare token is disabled: enable it in Cloudflare's dashboard, or put another one into {place}"
            )),
            Status::Expired => {
                let when = told.expires.map_or(String::new(), |at| format!(" on {at}"));
                Some(format!(
                    "the Cloudflare token expired{when}: make another one and put it into {place}"
                ))
            }
            // A zone that could be read shows that it is our clock that is slow.
            Status::Active => {
                let begins = told.not_before.filter(|begins| *begins > now)?;
                self.last_read().is_none().then(|| {
                    format!(
                        "the Cloudflare token is not valid before {begins}: let it begin earlier in Cloudflare's dashboard, \
                         put another one into {place}, or wait"
                    )
                })
            }
        }
    }

    /// Zones that cannot be read, for another reason than a token that was
    /// bad then and is good now.
    fn lacking(&self) -> Vec<(&Zone, &Lacking)> {
        let explained = |lacking: &Lacking| {
            self.is_active() && self.bad_at.is_some_and(|bad_at| lacking.at <= bad_at)
        };
        let lacking = self.rights.iter().filter_map(|(zone, right)| match right {
            Right::Lacking(lacking) if !explained(lacking) => Some((zone, lacking)),
            Right::Lacking(_) | Right::Unknown | Right::Read(_) => None,
        });
        lacking.collect()
    }

    fn last_read(&self) -> Option<Instant> {
        let reads = self.rights.values().filter_map(|right| match right {
            Right::Read(at) => Some(*at),
            Right::Unknown | Right::Lacking(_) => None,
        });
        reads.max()
    }

    /// A wrong permission or a wrong token: Cloudflare answers both alike.
    fn why_lacking(&self, lacking: &[(&Zone, &Lacking)]) -> String {
        let newest = lacking.iter().map(|(_, lacking)| lacking.since).max();
        let last_read = self.last_read();
        if self.is_active() || last_read > newest {
            return wrong_permission(lacking);
        }
        match &self.verified {
            Verified::Refused(text) if last_read.is_none() => text.clone(),
            // It may be either, and the refusal names both.
            _ => format!("zone {}: {}", name_of(lacking[0].0), lacking[0].1.text),
        }
    }
}

fn wrong_permission(lacking: &[(&Zone, &Lacking)]) -> String {
    let names = lacking.iter().map(|(zone, _)| name_of(zone).to_owned());
    let mut names: Vec<String> = names.collect();
    if names.len() > NAMED {
        let more = names.split_off(NAMED).len();
        names.push(format!("{more} more"));
    }
    let (zones, them) = if names.len() == 1 {
        ("zone", "it")
    } else {
        ("zones", "them")
    };
    let permissions: BTreeSet<&str> = lacking.iter().map(|(_, l)| l.permission).collect();
    let or = if lacking.iter().any(|(zone, _)| matches!(zone, Zone::Id(_))) {
        ", or correct zone_id"
    } else if permissions.contains(ZONE_READ) {
        ", or set zone_id"
    } else {
        ""
    };
    let permissions: Vec<&str> = permissions.into_iter().collect();
    format!(
        "the Cloudflare token is good, but may not read the {zones} {}: give it the permission {} on {them}{or}",
        joined(&names),
        permissions.join(" and "),
    )
}

/// A zone as the configuration names it.
fn name_of(zone: &Zone) -> &str {
    match zone {
        Zone::Name(name) | Zone::Id(name) => name,
    }
}

/// `a`, `a and b`, `a, b and c`.
fn joined(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PLACE: &str = "cloudflare.api_token_file";

    fn now() -> Timestamp {
        "2026-11-23T00:00:00Z".parse().unwrap()
    }

    fn told(status: Status) -> Verified {
        Verified::Told(Told {
            status,
            expires: None,
            not_before: None,
        })
    }

    fn zone(name: &str) -> Zone {
        Zone::Name(name.into())
    }

    fn lacking(at: Instant) -> Right {
        Right::Lacking(Lacking {
            since: at,
            at,
            permission: DNS_EDIT,
            text: "Cloudflare refuses the token".into(),
        })
    }

    fn known(verified: Verified, rights: &[(Zone, Right)]) -> Known {
        let mut known = Known::nothing();
        known.take(verified, Instant::now());
        known.rights = rights.iter().cloned().collect();
        known
    }

    fn sentence(known: &Known) -> String {
        match known.verdict(now(), true, PLACE) {
            Verdict::Invalid(sentence) => sentence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_in_force_that_reads_every_zone_is_valid() {
        let start = Instant::now();
        let read = (zone("a.test"), Right::Read(start));
        let unread = (zone("b.test"), Right::Unknown);
        let verdict = |verified: &Verified, rights: &[(Zone, Right)], settled| {
            known(verified.clone(), rights).verdict(now(), settled, PLACE)
        };
        let active = told(Status::Active);
        let refused = Verified::Refused("no such token".into());
        let both = [read, unread];
        let (read, unread) = (&both[..1], &both[1..]);
        assert_eq!(verdict(&active, read, false), Verdict::Valid);
        // Zones are waited for, but not for ever.
        assert_eq!(verdict(&active, &both, false), Verdict::Unknown);
        assert_eq!(verdict(&active, &both, true), Verdict::Valid);
        // A zone that was read proves more than a verification.
        for verified in [&Verified::Untold, &refused] {
            assert_eq!(verdict(verified, read, true), Verdict::Valid);
            assert_eq!(verdict(verified, unread, true), Verdict::Unknown);
        }
        let nothing_to_read = verdict(&refused, &[], true);
        assert_eq!(nothing_to_read, Verdict::Invalid("no such token".into()));
    }

    #[test]
    fn a_token_out_of_force_is_told_what_ended_it() {
        let read = [(zone("a.test"), Right::Read(Instant::now()))];
        assert_eq!(
            sentence(&known(told(Status::Disabled), &read)),
            "the Cloudflare token is disabled: enable it in Cloudflare's dashboard, or put another one into \
             cloudflare.api_token_file"
        );
        let mut expired = known(told(Status::Expired), &read);
        let Verified::Told(told) = &mut expired.verified else {
            panic!()
        };
        told.expires = Some("2026-11-22T00:00:00Z".parse().unwrap());
        assert_eq!(
            sentence(&expired),
            "the Cloudflare token expired on 2026-11-22T00:00:00Z: make another one and put it into \
             cloudflare.api_token_file"
        );
    }

    #[test]
    fn a_token_that_is_to_begin_is_not_valid_yet_unless_it_reads() {
        let begins = "2026-11-24T00:00:00Z".parse().unwrap();
        let verified = Verified::Told(Told {
            status: Status::Active,
            expires: None,
            not_before: Some(begins),
        });
        let early = known(verified.clone(), &[(zone("a.test"), Right::Unknown)]);
        assert!(
            sentence(&early)
                .starts_with("the Cloudflare token is not valid before 2026-11-24T00:00:00Z: ")
        );
        assert_eq!(early.verdict(begins, true, PLACE), Verdict::Valid);
        let reads = known(verified, &[(zone("a.test"), Right::Read(Instant::now()))]);
        assert_eq!(reads.verdict(now(), true, PLACE), Verdict::Valid);
    }

    #[test]
    fn a_wrong_permission_names_the_permission_and_the_zones() {
        let at = Instant::now();
        let one = known(told(Status::Active), &[(zone("a.test"), lacking(at))]);
        assert_eq!(
            sentence(&one),
            "the Cloudflare token is good, but may not read the zone a.test: give it the permission Zone.DNS Edit on it"
        );
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let many: Vec<_> = names.map(|name| (zone(name), lacking(at))).into();
        assert_eq!(
            sentence(&known(told(Status::Active), &many)),
            "the Cloudflare token is good, but may not read the zones a, b, c, d, e and 2 more: give it the permission \
             Zone.DNS Edit on them"
        );
        let by_id = [(Zone::Id("0123".into()), lacking(at))];
        let said = sentence(&known(told(Status::Active), &by_id));
        assert!(said.ends_with(" on it, or correct zone_id"), "{said}");
        let Right::Lacking(mut unseen) = lacking(at) else {
            panic!()
        };
        unseen.permission = ZONE_READ;
        let unseen = [(zone("a.test"), Right::Lacking(unseen))];
        let said = sentence(&known(told(Status::Active), &unseen));
        assert!(
            said.ends_with("the permission Zone.Zone Read on it, or set zone_id"),
            "{said}"
        );
    }

    #[test]
    fn a_wrong_token_and_a_wrong_permission_are_told_apart() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let refused = || Verified::Refused("no such token".into());
        let beside = |right| [(zone("a.test"), lacking(start)), (zone("b.test"), right)];
        let said = |verified, rights: &[(Zone, Right)]| sentence(&known(verified, rights));
        assert_eq!(said(refused(), &beside(lacking(later))), "no such token");
        // Another zone was read since: it is not the token.
        let permission = said(refused(), &beside(Right::Read(later)));
        assert!(
            permission.contains("may not read the zone a.test"),
            "{permission}"
        );
        // It was read before: it may be the one or the other.
        let earlier = [
            (zone("a.test"), lacking(later)),
            (zone("b.test"), Right::Read(start)),
        ];
        for verified in [refused(), Verified::Untold] {
            let either = said(verified, &earlier);
            assert_eq!(either, "zone a.test: Cloudflare refuses the token");
        }
    }

    #[test]
    fn what_was_refused_while_the_token_was_bad_is_not_held_against_it() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut known = known(Verified::Untold, &[(zone("a.test"), lacking(start))]);
        known.take(told(Status::Disabled), start + second);
        assert!(sentence(&known).contains("is disabled"));
        known.take(told(Status::Active), start + 2 * second);
        assert_eq!(known.verdict(now(), true, PLACE), Verdict::Valid);
        known.rights = [(zone("a.test"), lacking(start + 3 * second))].into();
        assert!(sentence(&known).contains("may not read the zone a.test"));
    }
}
