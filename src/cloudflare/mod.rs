//! Cloudflare's DNS API, as much of it as a failover needs: find the zone,
//! list a name, change contents.
//!
//! | file | holds |
//! | --- | --- |
//! | `wire` | the JSON; nothing else knows it |
//! | `client` | one call: token, time limit, classification, counting |
//! | `gate` | what stops calls: authentication errors, throttling, the budget |
//! | `health` | the loop that watches the token |
//! | `token` | the token in use, and its file |
//! | `tidings` | what calls tell that loop |
//! | `verify` | asking about the token itself |
//! | `verdict` | what all that comes to |

mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod health;
mod tidings;
mod token;
mod verdict;
mod verify;
mod wire;

pub use health::{OnNewToken, TokenWatch};

use crate::clock::Clock;
use crate::config::{Cloudflare as Settings, Site, Zone};
use crate::failover::{Change, Dns, Record, Unavailable, Urgency, Written};
use crate::metrics::Metrics;
use client::{Call, Client, Fault, Kind};
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use verdict::{DNS_EDIT, ZONE_READ};

/// Steady reads take at most this part of the budget.
const STEADY_SHARE: u32 = 2;

/// The window of Cloudflare's budget.
const WINDOW: Duration = Duration::from_secs(300);

/// Records asked for at once; a name holds a handful.
const PAGE: usize = 100;

/// No answer needs more pages than this; more would be a loop.
const PAGES: usize = 200;

/// Cloudflare as a DNS side.
pub struct Cloudflare {
    client: Client,
    /// Zone ids by name; dropped when Cloudflare says that one is wrong.
    zones: Mutex<HashMap<String, String>>,
    /// The account that they belong to, once an answer has told.
    account: Mutex<Option<String>>,
    /// Calls that reading every name once takes.
    reads: AtomicU32,
    requests_per_5m: u32,
}

impl Cloudflare {
    /// A client for these settings.
    ///
    /// # Errors
    /// If no TLS client can be set up on this machine.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Cloudflare, String> {
        Ok(Cloudflare {
            client: Client::new(settings, metrics)?,
            zones: Mutex::default(),
            account: Mutex::default(),
            reads: AtomicU32::new(0),
            requests_per_5m: settings.requests_per_5m,
        })
    }

    /// Says which sites there are: how many names are read again and again,
    /// so that all of them together stay inside their share of the budget, and
    /// which zones the token has to read.
    pub fn set_sites(&self, sites: &[Arc<Site>]) {
        let names = sites.iter().map(|site| site.hostnames.len()).sum::<usize>();
        let names = u32::try_from(names).unwrap_or(u32::MAX);
        self.reads.store(names, Ordering::Relaxed);
        let zones = sites.iter().map(|site| site.zone.clone()).collect();
        self.client.tidings().set_zones(zones);
    }

    /// Watches the token from now on; `on_new` is called when another one has
    /// come into use.
    pub fn watch_token(
        self: &Arc<Self>,
        clock: Clock,
        metrics: Arc<Metrics>,
        on_new: OnNewToken,
    ) -> TokenWatch {
        TokenWatch::start(self.clone(), clock, metrics, on_new)
    }

    async fn zone_id(
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
            let body = self.client.read(&call, until).await?;
            let zones = wire::zones(&body).map_err(|text| Fault::new(Kind::Lost, text))?;
            found.extend(zones.items.into_iter().filter(|z| z.name == *name));
            if zones.last {
                break;
            }
        }
        match found.as_slice() {
            [one] => {
                self.cache().insert(name.clone(), one.id.clone());
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

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached(&self, name: &str) -> Option<String> {
        self.cache().get(name).cloned()
    }

    fn known_account(&self) -> Option<String> {
        let account = self.account.lock();
        account.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_account(&self, account: Option<String>) {
        *self.account.lock().unwrap_or_else(PoisonError::into_inner) = account;
    }

    /// Tells the watch of the token what a read has shown.
    fn note_right(&self, zone: &Zone, fault: Option<&Fault>) {
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
    fn forget(&self, zone: &Zone, fault: &Fault) {
        if let (Zone::Name(name), Kind::Refused(_)) = (zone, fault.kind) {
            self.cache().remove(name);
        }
    }

    async fn list(
        &self,
        zone: &str,
        hostname: &str,
        urgency: Urgency,
        until: Instant,
    ) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::new();
        for page in 1..=PAGES {
            let path =
                format!("/zones/{zone}/dns_records?name={hostname}&page={page}&per_page={PAGE}");
            let call = Call::get("list_records", path, urgency).of_zone(zone);
            let body = self.client.read(&call, until).await?;
            let answer =
                wire::records(hostname, &body).map_err(|text| Fault::new(Kind::Lost, text))?;
            records.extend(answer.items);
            if answer.last {
                break;
            }
        }
        Ok(records)
    }

    async fn read_all(
        &self,
        zone: &Zone,
        hostnames: &[String],
        urgency: Urgency,
        until: Instant,
    ) -> Result<Vec<Record>, Fault> {
        let id = self.zone_id(zone, urgency, until).await?;
        let reads = hostnames
            .iter()
            .map(|hostname| self.list(&id, hostname, urgency, until));
        let answers = futures_util::future::try_join_all(reads).await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn write_all(
        &self,
        zone: &Zone,
        changes: &[Change],
        until: Instant,
    ) -> Result<Vec<Record>, Fault> {
        let id = self.zone_id(zone, Urgency::Flight, until).await?;
        let (call, single) = match changes {
            [one] => {
                let path = format!("/zones/{id}/dns_records/{}", one.record.id);
                let body = wire::content(&one.content);
                (Call::patch("patch_record", path, body), true)
            }
            many => {
                let path = format!("/zones/{id}/dns_records/batch");
                let patches = many.iter().map(|c| (c.record.id.as_str(), &*c.content));
                (
                    Call::post("batch_records", path, wire::batch(patches)),
                    false,
                )
            }
        };
        let body = self.client.write(&call.of_zone(&id), until).await?;
        let records = if single {
            wire::record(&body).map(|record| vec![record])
        } else {
            wire::patched(&body)
        };
        records.map_err(|text| Fault::new(Kind::Lost, text))
    }
}

impl Dns for Cloudflare {
    fn read<'a>(
        &'a self,
        zone: &'a Zone,
        hostnames: &'a [String],
        urgency: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Result<Vec<Record>, Unavailable>> {
        Box::pin(async move {
            // So that what is noted is noted of the token that was used.
            self.client.renew_token();
            let token = self.epoch();
            let answer = self.read_all(zone, hostnames, urgency, until).await;
            if self.epoch() == token {
                self.note_right(zone, answer.as_ref().err());
            }
            answer.map_err(|fault| {
                self.forget(zone, &fault);
                Unavailable(fault.text)
            })
        })
    }

    fn write<'a>(
        &'a self,
        zone: &'a Zone,
        changes: &'a [Change],
        until: Instant,
    ) -> BoxFuture<'a, Written> {
        Box::pin(async move {
            match self.write_all(zone, changes, until).await {
                Ok(records) => Written::Confirmed(records),
                Err(fault) => {
                    self.forget(zone, &fault);
                    match fault.kind {
                        Kind::Refused(_) | Kind::Auth(_) => Written::Rejected(fault.text),
                        Kind::NotSent | Kind::Stopped | Kind::Throttled(_) => {
                            Written::Unavailable(fault.text)
                        }
                        Kind::Lost | Kind::Server => Written::Unanswered(fault.text),
                    }
                }
            }
        })
    }

    fn pace(&self, interval: Duration) -> Duration {
        let share = (self.requests_per_5m / STEADY_SHARE).max(1);
        let needed = WINDOW * self.reads.load(Ordering::Relaxed) / share;
        interval.max(needed)
    }

    fn epoch(&self) -> u64 {
        self.client.tidings().tokens()
    }
}
