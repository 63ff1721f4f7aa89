//! What one token gives access to: zones are looked up, names and whole zones
//! listed, contents changed.

use super::answer::{Fault, Kind};
use super::budget::Class;
use super::client::{Call, Client};
use super::listing::Listing;
use super::queue::Queue;
use super::rhythm::Rhythm;
use super::slots::{Desk, Permit};
use super::token::Token;
use super::verdict::{DNS_EDIT, ZONE_READ};
use super::wire;
use crate::config::{Cloudflare as Settings, Site, Zone};
use crate::failover::{Change, Record, Urgency};
use crate::metrics::Metrics;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Records of one name asked for at once; a name holds a handful.
const PAGE: u64 = 100;

/// Records of a whole zone asked for at once. More is not documented to work.
pub(super) const LARGE_PAGE: u64 = 5000;

/// No answer needs more pages than this; more would be a loop.
const PAGES: usize = 200;

/// One token, and the zones that are worked on with it.
pub(super) struct Access {
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    /// How many records may change in one call.
    pub(super) max_batch: usize,
    /// Zone ids by name; dropped when Cloudflare says that one is wrong.
    zones: Mutex<HashMap<String, String>>,
    /// The account that they belong to, once an answer has told.
    account: Mutex<Option<String>>,
    queues: Mutex<HashMap<Zone, Arc<Queue>>>,
    rhythm: Mutex<Rhythm>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Access {
    pub(super) fn new(
        settings: &Settings,
        token: Token,
        desk: Arc<Desk>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Access>, String> {
        Ok(Arc::new(Access {
            client: Client::new(settings, token, desk, metrics.clone())?,
            metrics,
            max_batch: settings.max_batch,
            zones: Mutex::default(),
            account: Mutex::default(),
            queues: Mutex::default(),
            rhythm: Mutex::new(Rhythm::new()),
        }))
    }

    /// These are the sites whose zones are this token's.
    pub(super) fn set_sites(&self, sites: &[&Arc<Site>]) {
        lock(&self.rhythm).set_sites(sites.iter().copied());
        let zones = sites.iter().map(|site| site.zone.clone()).collect();
        self.client.tidings().set_zones(zones);
    }

    /// What waits and is under way for a zone.
    pub(super) fn queue(&self, zone: &Zone) -> Arc<Queue> {
        let mut queues = lock(&self.queues);
        match queues.get(zone) {
            Some(queue) => queue.clone(),
            None => {
                let queue = Arc::new(Queue::new(zone.clone()));
                queues.insert(zone.clone(), queue.clone());
                queue
            }
        }
    }

    /// How many names of the zone the sites have.
    pub(super) fn names(&self, zone: &Zone) -> usize {
        lock(&self.rhythm).names(zone)
    }

    /// How long until a steady read is due.
    pub(super) fn due(&self, zone: &Zone, interval: Duration) -> Duration {
        let share = self.client.desk().steady_share();
        let queues = lock(&self.queues);
        let pages = |zone: &Zone| queues.get(zone).map_or(1, |queue| queue.reads.pages());
        lock(&self.rhythm).due(zone, interval, share, pages, Instant::now())
    }

    /// The zone's id; looked up once, where the configuration has a name.
    pub(super) async fn zone_id(
        &self,
        zone: &Zone,
        urgency: Urgency,
        until: Instant,
    ) -> Result<String, Fault> {
        let name = match zone {
            Zone::Id(id) => return Ok(id.clone()),
            Zone::Name(name) => name,
        };
        if let Some(id) = self.cached(name) {
            return Ok(id);
        }
        let mut found = Vec::new();
        for page in 1..=PAGES {
            let path = format!("/zones?name={name}&page={page}&per_page=50");
            // Who may not look up this zone may still work on others.
            let scope = format!("name:{name}");
            let call = Call::get("list_zones", path, urgency).of_zone(&scope);
            let body = self.client.read(&call, until, &mut None).await?;
            let zones = wire::zones(&body).map_err(|text| Fault::new(Kind::Lost, text))?;
            found.extend(zones.items.into_iter().filter(|z| z.name == *name));
            if zones.last {
                break;
            }
        }
        match found.as_slice() {
            [one] => {
                lock(&self.zones).insert(name.clone(), one.id.clone());
                self.set_account(one.account());
                Ok(one.id.clone())
            }
            [] => Err(Fault::new(
                Kind::Refused(404),
                format!(
                    "the token sees no zone {name}: give it the permission Zone.Zone Read on it, \
                     or set zone_id in the site's configuration"
                ),
            )),
            _ => Err(Fault::new(
                Kind::Refused(409),
                format!(
                    "the token sees {} zones named {name}: set zone_id",
                    found.len()
                ),
            )),
        }
    }

    pub(super) fn cached(&self, name: &str) -> Option<String> {
        lock(&self.zones).get(name).cloned()
    }

    pub(super) fn known_account(&self) -> Option<String> {
        lock(&self.account).clone()
    }

    pub(super) fn set_account(&self, account: Option<String>) {
        *lock(&self.account) = account;
    }

    /// How many tokens there have been.
    pub(super) fn epoch(&self) -> u64 {
        self.client.tidings().tokens()
    }

    /// Tells the watch of the token what a read has shown.
    pub(super) fn note_right(&self, zone: &Zone, fault: Option<&Fault>) {
        let refused = match fault {
            None => None,
            Some(fault) if matches!(fault.kind, Kind::Auth(_) | Kind::Refused(404)) => {
                let found = match zone {
                    Zone::Id(_) => true,
                    Zone::Name(name) => self.cached(name).is_some(),
                };
                let permission = if found { DNS_EDIT } else { ZONE_READ };
                Some((permission, fault.text.as_str()))
            }
            // It says nothing about the token.
            Some(_) => return,
        };
        self.client.tidings().note(zone, refused);
    }

    /// A zone id that Cloudflare does not know is looked up again next time.
    pub(super) fn forget(&self, zone: &Zone, fault: &Fault) {
        if let (Zone::Name(name), Kind::Refused(_)) = (zone, fault.kind) {
            lock(&self.zones).remove(name);
        }
    }

    /// Waits for a call's turn, whatever it will be about.
    pub(super) async fn enter(
        &self,
        class: Class,
        zone: &str,
        urgency: Urgency,
        until: Instant,
    ) -> Result<Permit, Fault> {
        self.client.enter(class, zone, urgency, until).await
    }

    /// The records of one name.
    pub(super) async fn list_name(
        &self,
        zone: &str,
        hostname: &str,
        urgency: Urgency,
        until: Instant,
        mut permit: Option<Permit>,
    ) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::new();
        for page in 1..=PAGES {
            let path =
                format!("/zones/{zone}/dns_records?name={hostname}&page={page}&per_page={PAGE}");
            let call = Call::get("list_records", path, urgency).of_zone(zone);
            let body = self.client.read(&call, until, &mut permit).await?;
            let answer =
                wire::records(hostname, &body).map_err(|text| Fault::new(Kind::Lost, text))?;
            records.extend(answer.items);
            if answer.last {
                break;
            }
        }
        Ok(records)
    }

    /// The records of a whole zone, asked for in pages of `size`, which is
    /// made smaller where Cloudflare has it so.
    pub(super) async fn list_zone(
        &self,
        zone: &str,
        size: &mut u64,
        urgency: Urgency,
        until: Instant,
        mut permit: Option<Permit>,
    ) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        while listing.pages < PAGES {
            let page = listing.pages + 1;
            let path = format!("/zones/{zone}/dns_records?order=name&page={page}&per_page={size}");
            let call = Call::get("list_records", path, urgency).of_zone(zone);
            let body = match self.client.read(&call, until, &mut permit).await {
                // It may be that pages are not allowed to be so large.
                Err(fault) if fault.kind == Kind::Refused(400) && *size > PAGE => {
                    *size = PAGE;
                    listing = Listing::default();
                    continue;
                }
                answer => answer?,
            };
            let answer = wire::entries(&body).map_err(|text| Fault::new(Kind::Lost, text))?;
            *size = answer.size.map_or(*size, |told| told.min(*size));
            let last = answer.last;
            listing.add(answer);
            if last {
                break;
            }
        }
        Ok(listing)
    }

    /// Changes records of one zone, all or none: one by PATCH, several in a
    /// batch. Gives the records as they are then.
    pub(super) async fn change(
        &self,
        zone: &str,
        changes: &[&Change],
        urgency: Urgency,
        until: Instant,
        permit: &mut Option<Permit>,
    ) -> Result<Vec<Record>, Fault> {
        let (call, single) = match changes {
            [one] => {
                let path = format!("/zones/{zone}/dns_records/{}", one.record.id);
                let body = wire::content(&one.content);
                (Call::patch("patch_record", path, body, urgency), true)
            }
            many => {
                let path = format!("/zones/{zone}/dns_records/batch");
                let patches = many.iter().map(|c| (c.record.id.as_str(), &*c.content));
                let body = wire::batch(patches);
                (Call::post("batch_records", path, body, urgency), false)
            }
        };
        let body = self
            .client
            .write(&call.of_zone(zone), until, permit)
            .await?;
        let records = if single {
            wire::record(&body).map(|record| vec![record])
        } else {
            wire::patched(&body)
        };
        records.map_err(|text| Fault::new(Kind::Lost, text))
    }
}
