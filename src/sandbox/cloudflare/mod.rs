//! The simulated Cloudflare: version 4 of the API, as far as DNS records,
//! zones and token verification go.
//!
//! What it knows is the official schema and what users have reported; numbers
//! that neither names are marked where they are used. Nothing here asks
//! whether a client behaves: tests read the [log](Cloudflare::requests).

mod answer;
mod limits;
mod list;
mod log;
mod options;
mod record;
mod route;
mod server;
mod state;
mod tokens;
mod validate;
mod view;
mod write;
mod zone;

pub use log::Logged;
pub use options::{Options, Plan, RateLimits};
pub use record::{Record, RecordSpec};
pub use tokens::{Permission, TokenSpec, TokenStatus};

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use jiff::Timestamp;
use tokio::sync::Mutex as AsyncMutex;

use self::state::State;
use self::zone::{Account, Zone};
use super::faults::{Effect, Fault, FaultId, Matcher};
use super::{Server, listen};

/// A handle on a running simulated Cloudflare; clones are the same one.
///
/// The server stops when the last handle is dropped.
#[derive(Clone)]
pub struct Cloudflare(Arc<Inner>);

struct Inner {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    server: AsyncMutex<Option<Server>>,
}

impl fmt::Debug for Cloudflare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cloudflare").field(&self.0.addr).finish()
    }
}

/// The state has no invariant a panicking test could have broken half way.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cloudflare {
    /// Listens on `addr` (port 0 takes a free one) and serves.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub fn start(addr: SocketAddr, options: Options) -> io::Result<Self> {
        let listener = listen(addr, 1024)?;
        let addr = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::new(options)));
        let server = server::serve(state.clone(), listener);
        Ok(Self(Arc::new(Inner {
            addr,
            state,
            server: AsyncMutex::new(Some(server)),
        })))
    }

    /// `http://ADDRESS:PORT/client/v4`, what `cloudflare.api_url` takes.
    pub fn url(&self) -> String {
        format!("http://{}/client/v4", self.0.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Closes the port, and every connection right after; what is known stays.
    pub async fn stop(&self) {
        if let Some(mut server) = self.0.server.lock().await.take() {
            server.stop().await;
        }
    }

    /// Listens on the same port again.
    ///
    /// # Errors
    ///
    /// When somebody else took the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        let listener = listen(self.0.addr, 1024)?;
        let server = server::serve(self.0.state.clone(), listener);
        *self.0.server.lock().await = Some(server);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Changes how it is set up, from the next request on.
    pub fn configure(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.state().options);
    }

    /// The id of the account that owns zones unless told otherwise.
    pub fn account(&self) -> String {
        self.state().accounts[0].id.clone()
    }

    /// A further account; gives its id.
    pub fn add_account(&self, name: &str) -> String {
        let mut state = self.state();
        let id = state.new_id();
        state.accounts.push(Account {
            id: id.clone(),
            name: name.into(),
        });
        id
    }

    /// A zone of the first account; gives its id.
    pub fn add_zone(&self, name: &str) -> String {
        let account = self.account();
        self.add_zone_in(&account, name)
    }

    /// A zone of an account (the first one if there is no such account); gives its id.
    pub fn add_zone_in(&self, account: &str, name: &str) -> String {
        let mut state = self.state();
        let id = state.new_id();
        let owner = state.accounts.iter().find(|a| a.id == account);
        let owner = owner.unwrap_or(&state.accounts[0]).clone();
        let zone = Zone::new(id.clone(), name, owner, Timestamp::now());
        state.zones.push(zone);
        id
    }

    /// Sets `active`, `pending`, `initializing` or `moved`.
    pub fn set_zone_status(&self, zone: &str, status: &str) {
        if let Some(zone) = self.state().zone_mut(zone) {
            zone.status = status.into();
        }
    }

    /// A token; gives its id. One of the same secret is replaced and keeps its id.
    pub fn add_token(&self, token: TokenSpec) -> String {
        let mut state = self.state();
        let id = match state.tokens.get(&token.secret) {
            Some((id, _)) => id.clone(),
            None => state.new_id(),
        };
        state
            .tokens
            .insert(token.secret.clone(), (id.clone(), token));
        id
    }

    /// Changes a token, for instance its status: revoked, and given back.
    pub fn set_token(&self, secret: &str, change: impl FnOnce(&mut TokenSpec)) {
        if let Some((_, token)) = self.state().tokens.get_mut(secret) {
            change(token);
        }
    }

    /// Takes a token away for good: nobody knows it any more. Whether there was one.
    pub fn remove_token(&self, secret: &str) -> bool {
        self.state().tokens.remove(secret).is_some()
    }

    /// Puts a record into a zone, visible at once; gives its id.
    ///
    /// # Panics
    ///
    /// When there is no such zone.
    pub fn add_record(&self, zone: &str, spec: RecordSpec) -> String {
        let mut state = self.state();
        let id = state.new_id();
        let now = Timestamp::now();
        let noted = spec.comment.as_ref().map(|_| now);
        let tagged = (!spec.tags.is_empty()).then_some(now);
        let mut record = Record {
            kind: spec.kind,
            name: spec.name,
            content: spec.content,
            proxied: spec.proxied,
            ttl: spec.ttl,
            comment: spec.comment,
            tags: spec.tags,
            settings: spec.settings,
            priority: spec.priority,
            comment_modified_on: noted,
            tags_modified_on: tagged,
            ..Record::blank(id.clone(), now)
        };
        let at = state.zones.iter().position(|z| z.id == zone);
        let at = at.unwrap_or_else(|| panic!("no zone {zone}"));
        validate::normalise(&mut record, &state.zones[at].name);
        let name = record.name.clone();
        state.zones[at].records.push(Arc::new(record));
        let records = state.zones[at].records.clone();
        let none = Duration::ZERO;
        state
            .view
            .publish(&[name], &records, Instant::now(), none, none);
        id
    }

    /// Takes a record away, as another hand would. Whether there was one.
    pub fn remove_record(&self, id: &str) -> bool {
        self.touch(id, |records, at| {
            records.remove(at);
        })
    }

    /// Gives a record other content, as another hand would: `modified_on`
    /// moves. Whether there is such a record.
    pub fn edit(&self, id: &str, content: &str) -> bool {
        self.touch(id, |records, at| {
            let mut record = Record::clone(&records[at]);
            record.content = content.into();
            let least = record.modified_on + jiff::SignedDuration::from_micros(1);
            record.modified_on = Timestamp::now().max(least);
            records[at] = Arc::new(record);
        })
    }

    fn touch(&self, id: &str, change: impl FnOnce(&mut zone::Records, usize)) -> bool {
        let mut state = self.state();
        let found = state
            .zones
            .iter()
            .find_map(|z| z.position(id).map(|at| (z, at)));
        let Some((zone, at)) = found else {
            return false;
        };
        let (zone_id, mut records) = (zone.id.clone(), zone.records.clone());
        let name = records[at].name.clone();
        change(&mut records, at);
        state.commit(&zone_id, records, &[name], Instant::now());
        true
    }

    /// The records of a name, in every zone.
    pub fn records(&self, name: &str) -> Vec<Record> {
        let state = self.state();
        let all = state.zones.iter().flat_map(|z| &z.records);
        all.filter(|r| r.name.eq_ignore_ascii_case(name))
            .map(|r| Record::clone(r))
            .collect()
    }

    /// One record.
    pub fn record(&self, id: &str) -> Option<Record> {
        let state = self.state();
        let mut all = state.zones.iter().flat_map(|z| &z.records);
        all.find(|r| r.id == id).map(|r| Record::clone(r))
    }

    /// What was asked and answered since the start or the last clearing.
    pub fn requests(&self) -> Vec<Logged> {
        self.state().log.entries()
    }

    /// Empties the log.
    pub fn clear_requests(&self) {
        self.state().log.clear();
    }

    /// How many requests have changed records; a batch is one.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Lays a fault over it, behind those already there.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.state().faults.push(fault)
    }

    /// Takes one fault away.
    pub fn clear_fault(&self, id: FaultId) {
        self.state().faults.clear(id);
    }

    /// Takes every fault away.
    pub fn clear_faults(&self) {
        self.state().faults.clear_all();
    }

    /// Every request is answered with `status` for `first`, then all is well
    /// for `lull`, then it breaks again for `second`: the shape of the outage
    /// of 12 September 2025.
    pub fn two_phase_outage(
        &self,
        status: u16,
        first: Duration,
        lull: Duration,
        second: Duration,
    ) -> [FaultId; 2] {
        let now = Instant::now();
        let again = now + first + lull;
        let fault = || Fault::always(Matcher::Any, Effect::Status(status));
        [
            self.fault(fault().between(now, now + first)),
            self.fault(fault().between(again, again + second)),
        ]
    }

    /// What a look-up of the name finds at this moment: contents of its A,
    /// AAAA and CNAME records once they have propagated, or its shadow's.
    pub fn visible(&self, name: &str) -> Vec<String> {
        self.state().view.visible(name, Instant::now())
    }

    /// Lets something else answer for the name, as a load balancer of the
    /// same hostname does: writes succeed and change nothing that is visible.
    /// `None` takes it away.
    pub fn shadow(&self, name: &str, contents: Option<&[&str]>) {
        let contents = contents.map(|c| c.iter().map(|s| s.to_string()).collect());
        self.state().view.shadow(name, contents);
    }

    /// Forgets how many requests were counted, and every block.
    pub fn reset_limits(&self) {
        self.state().limiter = limits::Limiter::default();
    }
}
