//! The sites of an incident: any valid policy.

use crate::world::{Chance, config, secs};
use originswitch::config::{Config, Origin, ProbeSettings, Site};
use originswitch::rule::address::Address;
use originswitch::rule::{Failback, Policy, Stance};
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const ZERO: Duration = Duration::ZERO;

/// The most sites of one incident.
pub const SITES: usize = 3;

/// The most origins of one site.
const ORIGINS: usize = 4;

/// The longest time to live of a record, in seconds.
pub const TTL_MOST: u32 = 60;

/// One site of an incident.
#[derive(Debug, Clone)]
pub struct Plan {
    pub site: Arc<Site>,
    /// Where its origins are, MAIN first.
    pub places: Vec<Address>,
    /// An address that is not configured, where its records may point.
    pub foreign: Address,
    /// A DNS-only record has a time to live that a return waits for.
    pub dns_only: Option<u32>,
    /// Where its records point at first: an origin, or the foreign address.
    pub first: Option<usize>,
}

/// The configuration that all plans are made from, read once.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let sites = (0..SITES).map(|site| {
        let place = |origin| format!("{:?}", place(site, origin).to_string());
        let backups: Vec<String> = (1..ORIGINS).map(place).collect();
        format!(
            "[[site]]\nname = \"s{site}\"\nhostname = [\"s{site}.example.com\", \"www.s{site}.example.com\"]\n\
             zone = \"example.com\"\nmain = {}\nbackup = [{}]\n",
            place(0),
            backups.join(", ")
        )
    });
    config(&sites.collect::<String>())
});

fn place(site: usize, origin: usize) -> Address {
    let last = u8::try_from(10 * (site + 1) + origin).unwrap();
    Address::V4(Ipv4Addr::new(192, 0, 2, last))
}

fn foreign(site: usize) -> Address {
    Address::V4(Ipv4Addr::new(203, 0, 113, u8::try_from(site + 1).unwrap()))
}

/// A duration, in whole seconds.
fn seconds(chance: &mut Chance, low: u64, high: u64) -> Duration {
    Duration::from_secs(chance.between(low, high))
}

/// A policy within what the configuration takes. What a later policy adds
/// stays at its default until it has its line here.
fn policy(chance: &mut Chance, like: &Policy) -> Policy {
    let stance = |hold| if hold { Stance::Hold } else { Stance::Reclaim };
    let mut policy = like.clone();
    policy.fall = chance.weighed(&[(1, 1), (3, 2), (4, 3), (1, 4)]);
    policy.rise = chance.weighed(&[(1, 1), (4, 2), (1, 3)]);
    policy.confirm_interval = chance.millis(500, 2_000);
    policy.confirm_for = seconds(chance, 0, 5) + chance.weighed(&[(1, ZERO), (2, secs(7))]);
    policy.require_proof = chance.percent(80);
    if chance.percent(15) {
        policy.failback = Failback::Manual;
    }
    policy.failback_after = seconds(chance, 0, 60) + chance.weighed(&[(1, ZERO), (3, secs(20))]);
    policy.unknown_origin = stance(chance.percent(25));
    policy.foreign_edit = stance(chance.percent(60));
    policy.max_switches = u32::try_from(chance.between(1, 8)).unwrap();
    policy.switch_window = seconds(chance, 60, 900);
    policy.dry_run = chance.percent(5);
    policy
}

/// Site number `site`, with any policy.
fn plan(chance: &mut Chance, number: usize) -> Plan {
    let like = &CONFIG.sites[number];
    let origins = chance.weighed(&[(6, 2), (3, 3), (1, 4)]);
    let probe = Arc::new(ProbeSettings {
        interval: seconds(chance, 6, 20),
        timeout: chance.millis(500, 3_000),
        ..(*like.probe).clone()
    });
    let origin = |index: usize| Origin {
        place: like.origins[index].place.clone(),
        probe: probe.clone(),
    };
    let hostnames = chance.weighed(&[(4, 1), (1, 2)]);
    let site = Site {
        hostnames: like.hostnames[..hostnames].to_vec(),
        origins: (0..origins).map(origin).collect(),
        policy: policy(chance, &like.policy),
        probe: probe.clone(),
        ..(**like).clone()
    };
    Plan {
        site: Arc::new(site),
        places: (0..origins).map(|index| place(number, index)).collect(),
        foreign: foreign(number),
        dns_only: chance
            .percent(10)
            .then(|| u32::try_from(chance.between(2, u64::from(TTL_MOST))).unwrap()),
        first: match chance.below(20) {
            0 => None,
            1 | 2 => Some(chance.index(origins)),
            _ => Some(0),
        },
    }
}

/// The sites of one incident, mostly one.
pub fn plans(chance: &mut Chance) -> Vec<Plan> {
    let sites = chance.weighed(&[(18, 1), (1, 2), (1, SITES)]);
    (0..sites).map(|number| plan(chance, number)).collect()
}

impl Plan {
    pub fn policy(&self) -> &Policy {
        &self.site.policy
    }

    pub fn interval(&self) -> Duration {
        self.site.probe.interval
    }

    pub fn timeout(&self) -> Duration {
        self.site.probe.timeout
    }

    /// All addresses that matter: the origins', then the foreign one.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.places.iter().chain([&self.foreign])
    }

    /// The address with this number; that of the foreign one comes last.
    pub fn address(&self, number: usize) -> &Address {
        self.places.get(number).unwrap_or(&self.foreign)
    }

    /// The longest a confirmation takes until it is settled what cannot be
    /// told: the worst order of successes and failures, and the span of an
    /// outage that no alert speaks of.
    pub fn patience(&self) -> Duration {
        let Policy { fall, rise, .. } = *self.policy();
        let probes = fall * rise + rise + 2;
        self.policy().confirm_for
            + self.policy().confirm_interval * probes
            + self.timeout()
            + Duration::from_secs(1)
    }
}
