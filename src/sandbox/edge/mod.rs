//! A simulated edge: what visitors of a site behind Cloudflare reach.
//!
//! It passes a request on to the origin that the simulated Cloudflare's record
//! holds, as the edge sees it: later than the API, and not where a load
//! balancer shadows the record. It serves records that are DNS only as well,
//! and of several records of a name the first. Nothing leaves the machine:
//! only loopback is dialled, every other address is out of reach.

mod forward;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use tokio::sync::Mutex as AsyncMutex;

use super::origin::Request;
use super::{Cloudflare, Server, Tls, Trust, listen};

/// CNAMEs followed from one name to the next.
const MOST_NAMES: usize = 8;

/// How an edge is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port of every origin of which [`Edge::origin_at`] told no other.
    pub port: u16,
    /// Whose certificates origins must have; `None` asks them over plain HTTP.
    pub trust: Option<Trust>,
    /// No connection by then is 522. The real edge waits 15 s or more.
    pub connect_timeout: Duration,
    /// No answer by then is 524. The real edge waits about as long as this.
    pub answer_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 80,
            trust: None,
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(100),
        }
    }
}

/// What an edge does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conduct {
    /// Passes them on to the origin.
    #[default]
    Forwarding,
    /// Answers `200` from its cache (`cf-cache-status: HIT`).
    Cached,
    /// Answers `403` and wants to know whether a human asks.
    Challenging,
    /// Takes them and never answers.
    Hanging,
    /// Answers this status by itself, as in an outage of its own.
    Failing(u16),
}

/// A handle on a running edge; clones are the same one.
///
/// The server stops when the last handle is dropped.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    addr: SocketAddr,
    shared: Arc<Shared>,
    server: AsyncMutex<Server>,
}

/// What connections and the handle both look at.
struct Shared {
    cloudflare: Cloudflare,
    tls: Option<Tls>,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    conduct: Conduct,
    ports: HashMap<IpAddr, u16>,
    requests: u64,
    last: Option<Request>,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Edge").field(&self.0.addr).finish()
    }
}

impl Shared {
    /// Nothing in here can be broken half way by a panicking test.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request; its number, and what to do with it.
    fn saw(&self, request: Request) -> (u64, Conduct) {
        let mut state = self.state();
        state.requests += 1;
        state.last = Some(request);
        (state.requests, state.conduct)
    }

    /// Where the record of a name leads at this moment.
    fn origin_of(&self, name: &str) -> Option<SocketAddr> {
        let mut name = name.to_owned();
        for _ in 0..MOST_NAMES {
            let content = self.cloudflare.visible(&name).into_iter().next()?;
            if let Ok(ip) = content.parse() {
                let port = self.state().ports.get(&ip).copied();
                return Some(SocketAddr::new(ip, port.unwrap_or(self.options.port)));
            }
            name = content;
        }
        None
    }
}

impl Edge {
    /// Listens on `addr` (port 0 takes a free one) and serves the records of
    /// `cloudflare`, over TLS if it is given a certificate.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub fn start(
        addr: SocketAddr,
        tls: Option<Tls>,
        cloudflare: &Cloudflare,
        options: Options,
    ) -> io::Result<Self> {
        let listener = listen(addr, 1024)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            cloudflare: cloudflare.clone(),
            tls,
            options,
            state: Mutex::default(),
        });
        let served = shared.clone();
        let server = Server::start(listener, move |stream, peer| {
            forward::connection(served.clone(), stream, peer)
        });
        Ok(Self(Arc::new(Inner {
            addr,
            shared,
            server: AsyncMutex::new(server),
        })))
    }

    /// Where it listens, or did.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// `https://ADDRESS:PORT`, or `http://…` without a certificate: what
    /// `edge.address` takes.
    pub fn url(&self) -> String {
        let scheme = match self.0.shared.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.0.addr)
    }

    /// Origins at this IP are reached at this port, from the next request on.
    pub fn origin_at(&self, origin: SocketAddr) {
        let ports = &mut self.0.shared.state().ports;
        ports.insert(origin.ip(), origin.port());
    }

    /// Does this with every request from the next one on.
    pub fn set(&self, conduct: Conduct) {
        self.0.shared.state().conduct = conduct;
    }

    /// Closes the port, and every connection right after.
    pub async fn stop(&self) {
        self.0.server.lock().await.stop().await;
    }

    /// How many requests it has read.
    pub fn requests(&self) -> u64 {
        self.0.shared.state().requests
    }

    /// The last request it has read.
    pub fn last_request(&self) -> Option<Request> {
        self.0.shared.state().last.clone()
    }
}
