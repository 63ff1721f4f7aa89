//! Who goes where when an address is given up: from what sites say of
//! themselves to a plan. Pure: it starts nothing.

use crate::failover::{SiteHandle, Status};
use crate::rule::address::{Address, Place, Role};
use crate::rule::decision::{OriginView, Pointer};
use crate::rule::health::State;
use crate::rule::standing::{Pin, terms};
use std::net::IpAddr;
use std::sync::Arc;

/// What the reason of each of its pins begins with.
const SAID: &str = "evacuation of ";

/// A site as the plan sees it.
pub(super) struct Seen<'a> {
    pub(super) name: &'a Arc<str>,
    /// Where its origins live, MAIN first.
    pub(super) places: Vec<&'a Place>,
    pub(super) status: &'a Status,
    /// Nothing is ever written for it.
    pub(super) dry_run: bool,
}

impl<'a> Seen<'a> {
    pub(super) fn of(handle: &'a SiteHandle, status: &'a Status) -> Seen<'a> {
        let site = &handle.site;
        Seen {
            name: &site.name,
            places: site.origins.iter().map(|origin| &origin.place).collect(),
            status,
            dry_run: site.policy.dry_run,
        }
    }
}

/// A site that is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) site: Arc<str>,
    pub(super) from: Pointer,
    pub(super) to: Pointer,
}

/// A site that does not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) site: Arc<str>,
    pub(super) why: String,
}

/// What is to be done so that no record holds an address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) moves: Vec<Move>,
    pub(super) stuck: Vec<Stuck>,
}

/// Plans the evacuation of an address.
pub(super) fn plan<'a>(address: &Address, sites: impl IntoIterator<Item = Seen<'a>>) -> Plan {
    let mut plan = Plan::default();
    for seen in sites {
        match seen.leaves(address) {
            None => {}
            Some(Ok(to)) => plan.moves.push(to),
            Some(Err(why)) => plan.stuck.push(Stuck {
                site: seen.name.clone(),
                why,
            }),
        }
    }
    plan
}

/// The sites that an evacuation of the address pinned.
pub(super) fn pinned<'a>(
    address: &Address,
    sites: impl IntoIterator<Item = Seen<'a>>,
) -> Vec<Arc<str>> {
    let ours = |seen: &Seen| seen.evacuated().as_ref() == Some(address);
    let pinned = sites.into_iter().filter(ours);
    pinned.map(|seen| seen.name.clone()).collect()
}

/// Whether any site has to do with the address: one of its origins, its record
/// or an evacuation's pin.
pub(super) fn is_known<'a>(address: &Address, sites: impl IntoIterator<Item = Seen<'a>>) -> bool {
    sites.into_iter().any(|seen| {
        let record = seen.status.record.as_ref();
        seen.has(address)
            || record.is_some_and(|at| holds(&at.address, address))
            || seen.evacuated().as_ref() == Some(address)
    })
}

/// The reason of the pins of an evacuation.
pub(super) fn reason(address: &Address, said: &str) -> Arc<str> {
    match said {
        "" => format!("{SAID}{address}").into(),
        said => format!("{SAID}{address}: {said}").into(),
    }
}

/// The address that a pin is the evacuation of, if its reason says so.
fn evacuated(pin: &Pin) -> Option<Address> {
    let rest = pin.reason.strip_prefix(SAID)?;
    let address = rest.split_once(": ").map_or(rest, |(address, _)| address);
    Some(read(address))
}

/// Whether a place, as people read it, is or has the address.
fn holds(place: &str, address: &Address) -> bool {
    place.split(", ").any(|part| read(part) == *address)
}

fn read(text: &str) -> Address {
    let ip = text.parse::<IpAddr>();
    ip.map_or_else(|_| Address::name(text), Address::from)
}

impl Seen<'_> {
    fn has(&self, address: &Address) -> bool {
        self.places
            .iter()
            .any(|place| place.addresses().contains(address))
    }

    /// The address that the site was evacuated from, while that pin stands.
    fn evacuated(&self) -> Option<Address> {
        self.status
            .pin
            .as_deref()
            .and_then(|(_, pin)| evacuated(pin))
    }

    /// Where the site goes, or why it does not; `None` if its record does not
    /// hold the address.
    fn leaves(&self, address: &Address) -> Option<Result<Move, String>> {
        let Some(from) = &self.status.record else {
            let may = self.has(address);
            return may.then(|| Err("its record is not known: see `originswitch status`".into()));
        };
        if !holds(&from.address, address) {
            return None;
        }
        if let Some(why) = self.stopped() {
            return Some(Err(why));
        }
        let to = self.best(address).map(|to| Move {
            site: self.name.clone(),
            from: from.clone(),
            to: to.at.clone(),
        });
        Some(to)
    }

    /// Why the site may not be moved anywhere.
    pub(super) fn stopped(&self) -> Option<String> {
        let name = self.name;
        if let Some(frozen) = &self.status.frozen {
            let lift = frozen.lift(name);
            return Some(format!("{}: `originswitch {lift}` first", frozen.clause()));
        }
        if let Some((role, pin)) = self.status.pin.as_deref()
            && evacuated(pin).is_none()
        {
            let terms = terms(pin.until, &pin.reason);
            return Some(format!(
                "a person pinned it to {role}{terms}: `originswitch unpin {name}` first"
            ));
        }
        self.dry_run
            .then(|| "dry_run = true: nothing is ever written for it".into())
    }

    /// The best other origin that is up: the one that plays MAIN's part first,
    /// then in order of preference. Where the site was evacuated from is none.
    fn best(&self, address: &Address) -> Result<&OriginView, String> {
        let before = self.evacuated();
        let given_up = |place: &Place| {
            let addresses = place.addresses();
            addresses.contains(address) || before.as_ref().is_some_and(|b| addresses.contains(b))
        };
        let pinned = self.status.pin.as_deref().map(|(role, _)| *role);
        let first = (0..self.places.len()).filter(|n| Some(Role::of_index(*n)) == pinned);
        let order = first.chain(0..self.places.len());
        let others: Vec<&OriginView> = order
            .filter(|index| !given_up(self.places[*index]))
            .filter_map(|index| self.status.origins.get(index))
            .collect();
        let up = others.iter().find(|origin| origin.state() == State::Up);
        up.copied().ok_or_else(|| no_other(&others))
    }
}

/// Why there is nowhere to go.
fn no_other(others: &[&OriginView]) -> String {
    if others.is_empty() {
        return "it has no other origin".into();
    }
    let mut told = Vec::new();
    for origin in others {
        let state = match origin.state() {
            State::Down => "down",
            _ => "not known to be up",
        };
        let clause = match &*origin.reason {
            "" => format!("{} is {state}", origin.at),
            reason => format!("{} is {state}: {reason}", origin.at),
        };
        if !told.contains(&clause) {
            told.push(clause);
        }
    }
    format!("no other origin is up: {}", told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::health::Answer;
    use crate::rule::standing::{Freeze, Frozen, Scope};

    const MAIN: &str = "192.0.2.10";
    const BACKUP: &str = "198.51.100.20";
    const THIRD: &str = "203.0.113.30";

    fn place(text: &str) -> Place {
        Place::new(text.split(", ").map(read).collect())
    }

    fn pin(role: Role, reason: &str) -> Option<(Role, Pin)> {
        let pin = Pin {
            place: "somewhere".into(),
            until: None,
            reason: reason.into(),
            forced: false,
        };
        Some((role, pin))
    }

    /// A site, its origins with their states, and which of them its record
    /// holds, if one does.
    struct Site {
        name: Arc<str>,
        places: Vec<Place>,
        status: Status,
        dry_run: bool,
    }

    impl Site {
        fn new(origins: &[(&str, State)], record: Option<usize>) -> Site {
            let view = |(index, (place, state)): (usize, &(&str, State))| OriginView {
                at: Pointer {
                    role: Role::of_index(index),
                    address: (*place).into(),
                },
                answer: Answer::from(*state),
                known: *state,
                reason: String::new(),
                probes: 3,
                failed: 0,
                evidence: Vec::new(),
            };
            let views: Vec<OriginView> = origins.iter().enumerate().map(view).collect();
            Site {
                name: "www".into(),
                places: origins.iter().map(|(text, _)| place(text)).collect(),
                status: Status {
                    record: record.map(|index| views[index].at.clone()),
                    origins: views,
                    ..Status::default()
                },
                dry_run: false,
            }
        }

        fn pinned(mut self, role: Role, reason: &str) -> Site {
            self.status.pin = pin(role, reason).map(Box::new);
            self
        }

        fn frozen(mut self, scope: Scope) -> Site {
            let freeze = Freeze {
                until: None,
                reason: "move".into(),
            };
            self.status.frozen = Some(Box::new(Frozen { scope, freeze }));
            self
        }

        fn seen(&self) -> Seen<'_> {
            Seen {
                name: &self.name,
                places: self.places.iter().collect(),
                status: &self.status,
                dry_run: self.dry_run,
            }
        }

        /// Where it goes if `address` is evacuated, or why it does not.
        fn told(&self, address: &str) -> Option<Result<String, String>> {
            let plan = plan(&read(address), [self.seen()]);
            let moves = plan.moves.iter().map(|m| {
                assert_eq!(m.site, self.name);
                assert_eq!(Some(&m.from), self.status.record.as_ref());
                Ok(m.to.role.to_string())
            });
            let stuck = plan.stuck.iter().map(|stuck| Err(stuck.why.clone()));
            let all: Vec<_> = moves.chain(stuck).collect();
            assert!(all.len() < 2);
            all.into_iter().next()
        }
    }

    use State::{Down, Unknown, Up};

    #[test]
    fn a_site_goes_to_the_best_other_origin_that_is_up() {
        let goes = |to: &str| Some(Ok(to.to_owned()));
        for (origins, record, address, wanted) in [
            (
                &[(MAIN, Up), (BACKUP, Up), (THIRD, Up)][..],
                0,
                MAIN,
                goes("backup"),
            ),
            (
                &[(MAIN, Up), (BACKUP, Down), (THIRD, Up)],
                0,
                MAIN,
                goes("backup-2"),
            ),
            (
                &[(MAIN, Up), (BACKUP, Unknown), (THIRD, Up)],
                0,
                MAIN,
                goes("backup-2"),
            ),
            // A dead one is left too.
            (&[(MAIN, Down), (BACKUP, Up)], 0, MAIN, goes("backup")),
            // From a BACKUP, MAIN comes first.
            (
                &[(MAIN, Up), (BACKUP, Up), (THIRD, Up)],
                1,
                BACKUP,
                goes("main"),
            ),
            (
                &[(MAIN, Down), (BACKUP, Up), (THIRD, Up)],
                1,
                BACKUP,
                goes("backup-2"),
            ),
            // Elsewhere already.
            (&[(MAIN, Up), (BACKUP, Up)], 1, MAIN, None),
            (&[(MAIN, Up), (BACKUP, Up)], 0, BACKUP, None),
            // Not an address that begins like it.
            (&[(MAIN, Up), (BACKUP, Up)], 0, "192.0.2.1", None),
            // Either family, however it is written; names in any case.
            (
                &[
                    ("192.0.2.10, 2001:db8::10", Up),
                    ("198.51.100.20, 2001:db8::20", Up),
                ],
                0,
                MAIN,
                goes("backup"),
            ),
            (
                &[
                    ("192.0.2.10, 2001:db8::10", Up),
                    ("198.51.100.20, 2001:db8::20", Up),
                ],
                0,
                "2001:DB8:0::10",
                goes("backup"),
            ),
            (
                &[("app.example.net", Up), ("b.example.net", Up)],
                0,
                "App.Example.NET.",
                goes("backup"),
            ),
            // Another origin that has the address is no refuge.
            (
                &[
                    ("192.0.2.10, 2001:db8::10", Up),
                    ("192.0.2.10, 2001:db8::20", Up),
                    (THIRD, Up),
                ],
                0,
                MAIN,
                goes("backup-2"),
            ),
        ] {
            let site = Site::new(origins, Some(record));
            assert_eq!(
                site.told(address),
                wanted,
                "{origins:?} on {record}, {address}"
            );
        }
    }

    #[test]
    fn a_site_that_cannot_move_is_named_with_the_reason() {
        let both = || Site::new(&[(MAIN, Up), (BACKUP, Up)], Some(0));
        let dead = Site::new(&[(MAIN, Up), (BACKUP, Down), (THIRD, Unknown)], Some(0));
        let one = Site::new(&[(MAIN, Up), ("192.0.2.10, 2001:db8::20", Up)], Some(0));
        let lost = Site::new(&[(MAIN, Up), (BACKUP, Up)], None);
        let mut dry = both();
        dry.dry_run = true;
        for (site, why) in [
            (
                both().frozen(Scope::Site),
                "the site is frozen (move): `originswitch unfreeze www` first",
            ),
            (
                both().frozen(Scope::All),
                "all sites are frozen (move): `originswitch unfreeze` first",
            ),
            (
                both().pinned(Role::Main, "kernel update"),
                "a person pinned it to main (kernel update): `originswitch unpin www` first",
            ),
            (
                dead,
                "no other origin is up: backup (198.51.100.20) is down; \
                 backup-2 (203.0.113.30) is not known to be up",
            ),
            (one, "it has no other origin"),
            (lost, "its record is not known: see `originswitch status`"),
            (dry, "dry_run = true: nothing is ever written for it"),
        ] {
            assert_eq!(site.told(MAIN), Some(Err(why.to_owned())));
        }
        // Who has nothing to do with the address is not named.
        let elsewhere = Site::new(&[(BACKUP, Up), (THIRD, Up)], None);
        assert_eq!(elsewhere.told(MAIN), None);
    }

    #[test]
    fn an_evacuated_site_moves_on_but_not_back_to_where_it_came_from() {
        let on_backup = |states: [State; 3]| {
            let origins = [(MAIN, states[0]), (BACKUP, states[1]), (THIRD, states[2])];
            let site = Site::new(&origins, Some(1));
            site.pinned(Role::Backup(1), &reason(&read(MAIN), "fire"))
        };
        let to_third = Some(Ok("backup-2".to_owned()));
        assert_eq!(on_backup([Up, Up, Up]).told(BACKUP), to_third);
        let nowhere = on_backup([Up, Up, Down]).told(BACKUP);
        assert!(
            nowhere
                .unwrap()
                .unwrap_err()
                .starts_with("no other origin is up: backup-2")
        );
        // It fled from its pin: that is where it belongs.
        let mut fled = Site::new(&[(MAIN, Up), (BACKUP, Up), (THIRD, Up)], Some(0));
        fled.status.pin = pin(Role::Backup(2), "evacuation of 192.0.2.10").map(Box::new);
        assert_eq!(fled.told(MAIN), to_third);
    }

    #[test]
    fn pins_are_known_by_the_address_that_their_reason_names() {
        for (said, address, ours) in [
            ("evacuation of 192.0.2.10", MAIN, true),
            ("evacuation of 192.0.2.10: fire: in hall 2", MAIN, true),
            ("evacuation of 192.0.2.10", "192.0.2.1", false),
            ("evacuation of 192.0.2.1", MAIN, false),
            ("evacuation of 2001:db8::10: x", "2001:db8:0:0::10", true),
            ("evacuation of app.example.net", "APP.example.net", true),
            ("kernel update", MAIN, false),
            ("after the evacuation of 192.0.2.10", MAIN, false),
        ] {
            let site = Site::new(&[(BACKUP, Up), (THIRD, Up)], Some(0));
            let site = site.pinned(Role::Main, said);
            let address = read(address);
            let found = pinned(&address, [site.seen()]);
            assert_eq!(!found.is_empty(), ours, "{said:?} {address}");
            assert_eq!(is_known(&address, [site.seen()]), ours);
        }
        assert_eq!(
            &*reason(&read(MAIN), "fire"),
            "evacuation of 192.0.2.10: fire"
        );
        assert_eq!(&*reason(&read(MAIN), ""), "evacuation of 192.0.2.10");
    }
}
