//! Cloudflare's DNS API, as much of it as a failover needs: find the zone,
//! list a name, change contents.
//!
//! | file | holds |
//! | --- | --- |
//! | `access` | one token: zone look-up, lists, PATCH, batch |
//! | `reads` | reads that are shared: who waits, and what may answer whom |
//! | `ask` | asking for those who wait |
//! | `listing` | a whole zone's records, and which of them can be believed |
//! | `writes` | writes that travel together: who waits, and for whom |
//! | `send` | sending what waits, and telling each what became of it |
//! | `queue` | what waits for one zone, and the tasks that call for it |
//! | `rhythm` | when steady reads are due |
//! | `wire` | the JSON; nothing else knows it |
//! | `client` | one call: token, time limit, retries, counting |
//! | `answer` | what an answer means |
//! | `slots` | who calls next |
//! | `budget` | how many calls a token may make |
//! | `ratelimit` | what answers tell of Cloudflare's windows |
//! | `gate` | what stops calls: authentication errors |
//! | `health` | the loop that watches the token |
//! | `board` | what is known of all tokens |
//! | `token` | the token in use, and its file |
//! | `tidings` | what calls tell that loop |
//! | `verify` | asking about the token itself |
//! | `verdict` | what all that comes to |

mod access;
mod answer;
mod ask;
mod board;
mod budget;
mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod health;
mod listing;
mod queue;
mod ratelimit;
mod reads;
mod rhythm;
mod send;
mod slots;
mod tidings;
mod token;
mod verdict;
mod verify;
mod wire;
mod writes;

pub use health::{OnNewToken, TokenWatch};

use crate::clock::Clock;
use crate::config::{Cloudflare as Settings, Site, Zone};
use crate::failover::{Change, Dns, Record, Unavailable, Urgency, Written};
use crate::metrics::{BudgetSeen, Metrics};
use access::Access;
use futures_util::future::BoxFuture;
use health::Asked;
use slots::Desk;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use token::Token;
use tokio::time::Instant;

/// The name of the token that works on every zone without one of its own.
const DEFAULT: &str = "default";

/// Cloudflare as a DNS side.
pub struct Cloudflare {
    /// The token for every zone without one of its own, then those.
    tokens: Vec<Named>,
    /// Zones with a token of their own, by its place.
    zones: HashMap<Zone, usize>,
}

/// A token with its name in metrics.
struct Named {
    name: String,
    access: Arc<Access>,
}

impl Cloudflare {
    /// A client for these settings.
    ///
    /// # Errors
    /// If no TLS client can be set up on this machine.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Cloudflare, String> {
        Cloudflare::following(None, settings, metrics)
    }

    /// One that takes the place of `before`: calls that were made with the same
    /// token, or with the one it replaces, are counted on.
    ///
    /// # Errors
    /// If no TLS client can be set up on this machine.
    pub fn after(
        before: &Cloudflare,
        settings: &Settings,
        metrics: Arc<Metrics>,
    ) -> Result<Cloudflare, String> {
        Cloudflare::following(Some(before), settings, metrics)
    }

    fn following(
        before: Option<&Cloudflare>,
        settings: &Settings,
        metrics: Arc<Metrics>,
    ) -> Result<Cloudflare, String> {
        let named = |name: &str, token: Token| {
            let desk = before.and_then(|before| before.desk_of(name, &token));
            let desk = desk.unwrap_or_else(|| Desk::new(settings.requests_per_5m));
            desk.set_limit(settings.requests_per_5m);
            let access = Access::new(settings, token, desk, metrics.clone())?;
            let name = name.to_owned();
            Ok::<_, String>(Named { name, access })
        };
        let mut tokens = vec![named(DEFAULT, Token::new(&settings.token))?];
        let mut zones = HashMap::new();
        let mut places: HashMap<&Path, usize> = HashMap::new();
        places.extend(settings.token.file().map(|path| (path, 0)));
        for own in &settings.zone_tokens {
            // Zones of one file share its token, and so its budget.
            let place = *places.entry(&own.file).or_insert(tokens.len());
            if place == tokens.len() {
                let token = Token::of_zone(&own.written, &own.file, &own.value);
                tokens.push(named(&own.written, token)?);
            }
            zones.insert(own.zone.clone(), place);
        }
        let cloudflare = Cloudflare { tokens, zones };
        metrics.show_budgets(cloudflare.budgets());
        Ok(cloudflare)
    }

    /// Where calls of this token, or of the one that had its name, are counted.
    fn desk_of(&self, name: &str, token: &Token) -> Option<Arc<Desk>> {
        let desk = |its: &Named| its.access.client.desk().clone();
        let same = |its: &&Named| its.access.client.has_token_of(token);
        if let Some(same) = self.tokens.iter().find(same) {
            return Some(desk(same));
        }
        let replaced = desk(self.tokens.iter().find(|its| its.name == name)?);
        replaced.forget_told();
        Some(replaced)
    }

    /// What tells of all budgets, whenever it is asked.
    fn budgets(&self) -> Box<dyn Fn() -> Vec<BudgetSeen> + Send + Sync> {
        let desks: Vec<(String, Arc<Desk>)> = self
            .tokens
            .iter()
            .map(|its| (its.name.clone(), its.access.client.desk().clone()))
            .collect();
        Box::new(move || {
            let seen = |(name, desk): &(String, Arc<Desk>)| {
                let seen = desk.seen();
                BudgetSeen {
                    token: name.clone(),
                    limit: seen.limit,
                    used: seen.used,
                    foreign: seen.foreign,
                    remaining: seen.remaining,
                }
            };
            desks.iter().map(seen).collect()
        })
    }

    /// Says which sites there are: what is read again and again, so that all
    /// of them together stay inside their share of the budget, and which zones
    /// each token has to read.
    pub fn set_sites(&self, sites: &[Arc<Site>]) {
        for (place, named) in self.tokens.iter().enumerate() {
            let its: Vec<_> = sites
                .iter()
                .filter(|site| self.place(&site.zone) == place)
                .collect();
            named.access.set_sites(&its);
        }
    }

    fn place(&self, zone: &Zone) -> usize {
        self.zones.get(zone).copied().unwrap_or(0)
    }

    fn access(&self, zone: &Zone) -> &Arc<Access> {
        &self.tokens[self.place(zone)].access
    }

    /// Watches the tokens from now on; `on_new` is called when another one has
    /// come into use.
    pub fn watch_token(
        &self,
        clock: &Clock,
        metrics: &Arc<Metrics>,
        on_new: OnNewToken,
    ) -> TokenWatch {
        let asked = |its: &Named| -> Arc<dyn Asked> { its.access.clone() };
        let asked = self.tokens.iter().map(asked).collect();
        TokenWatch::start(asked, clock, metrics, on_new)
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
            let access = self.access(zone);
            let queue = access.queue(zone);
            let answer = reads::read(access, &queue, hostnames, urgency, until).await;
            answer.map_err(|fault| Unavailable(fault.text))
        })
    }

    fn write<'a>(
        &'a self,
        zone: &'a Zone,
        changes: &'a [Change],
        urgency: Urgency,
        until: Instant,
    ) -> BoxFuture<'a, Written> {
        Box::pin(async move {
            let access = self.access(zone);
            let queue = access.queue(zone);
            writes::write(access, &queue, changes, urgency, until).await
        })
    }

    fn pace(&self, zone: &Zone, interval: Duration) -> Duration {
        self.access(zone).due(zone, interval)
    }

    fn epoch(&self) -> u64 {
        self.tokens.iter().map(|its| its.access.epoch()).sum()
    }
}
