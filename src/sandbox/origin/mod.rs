//! Simulated origins: web servers that behave, or misbehave, on request.

mod behaviour;
mod serve;

pub use behaviour::Behaviour;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex as AsyncMutex;

use super::{Server, Tls, listen};

/// A request as an origin, or an edge, saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// With the query.
    pub path: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// The name asked for in the TLS handshake.
    pub server_name: Option<String>,
    /// Headers by name in lower case; of repeated ones the last.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub(super) fn new(head: &hyper::http::request::Parts, server_name: Option<String>) -> Self {
        let text = |v: &hyper::header::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into();
        Self {
            method: head.method.to_string(),
            path: head.uri.to_string(),
            host: head.headers.get("host").map(text),
            server_name,
            headers: head
                .headers
                .iter()
                .map(|(n, v)| (n.to_string(), text(v)))
                .collect(),
        }
    }
}

/// A handle on a running origin; clones are the same one.
///
/// The server stops when the last handle is dropped.
#[derive(Clone)]
pub struct Origin(Arc<Inner>);

struct Inner {
    addr: SocketAddr,
    shared: Arc<Shared>,
    port: AsyncMutex<Port>,
}

/// What connections and the handle both look at.
struct Shared {
    tls: Option<Tls>,
    behaviour: Mutex<Behaviour>,
    hits: AtomicU64,
    seen: Mutex<(u64, Option<Request>)>,
}

impl Shared {
    fn behaviour(&self) -> Behaviour {
        lock(&self.behaviour).clone()
    }

    fn saw(&self, request: Request) {
        let mut seen = lock(&self.seen);
        seen.0 += 1;
        seen.1 = Some(request);
    }
}

/// What holds the origin's port.
enum Port {
    /// Nothing: connections are refused.
    Closed,
    /// The accept loop.
    Served(Server),
    /// A listener that nobody accepts from, and what fills its backlog.
    Full(#[expect(dead_code, reason = "held, never used")] (TcpListener, Vec<TcpStream>)),
}

impl Port {
    /// Closed once this returns; its connections close right after.
    async fn close(&mut self) {
        if let Self::Served(server) = self {
            server.stop().await;
        }
        *self = Self::Closed;
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Origin").field(&self.0.addr).finish()
    }
}

/// Nothing in here can be broken half way by a panicking test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Origin {
    /// Listens on `addr` (port 0 takes a free one) and answers `200 ok`, over
    /// TLS if it is given a certificate.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub fn start(addr: SocketAddr, tls: Option<Tls>) -> io::Result<Self> {
        let listener = listen(addr, 1024)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            tls,
            behaviour: Mutex::default(),
            hits: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let server = serve::serve(shared.clone(), listener);
        Ok(Self(Arc::new(Inner {
            addr,
            shared,
            port: AsyncMutex::new(Port::Served(server)),
        })))
    }

    /// Where it listens, or did.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Behaves like this from now on.
    ///
    /// Requests that have been answered in part stay as they are, except that
    /// [`Refusing`](Behaviour::Refusing), [`Swallowing`](Behaviour::Swallowing)
    /// and the way back from them close every connection.
    ///
    /// # Errors
    ///
    /// When the port has to be opened again and somebody else took it meanwhile.
    pub async fn set(&self, behaviour: Behaviour) -> io::Result<()> {
        let mut port = self.0.port.lock().await;
        *lock(&self.0.shared.behaviour) = behaviour.clone();
        match (&behaviour, &*port) {
            (Behaviour::Refusing, _) => port.close().await,
            (Behaviour::Swallowing, Port::Full(_)) => {}
            (Behaviour::Swallowing, _) => {
                port.close().await;
                *port = fill(self.0.addr).await?;
            }
            (_, Port::Served(_)) => {}
            _ => {
                port.close().await;
                let listener = listen(self.0.addr, 1024)?;
                *port = Port::Served(serve::serve(self.0.shared.clone(), listener));
            }
        }
        Ok(())
    }

    /// Closes the port and every connection, as [`Behaviour::Refusing`] does.
    pub async fn stop(&self) {
        // Closing a port cannot fail.
        let _ = self.set(Behaviour::Refusing).await;
    }

    /// How many connections it has accepted.
    pub fn hits(&self) -> u64 {
        self.0.shared.hits.load(Ordering::SeqCst)
    }

    /// How many HTTP requests it has read.
    pub fn requests(&self) -> u64 {
        lock(&self.0.shared.seen).0
    }

    /// The last HTTP request it has read.
    pub fn last_request(&self) -> Option<Request> {
        lock(&self.0.shared.seen).1.clone()
    }
}

/// Listens, and connects until nobody is let in any more.
async fn fill(addr: SocketAddr) -> io::Result<Port> {
    let listener = listen(addr, 0)?;
    let mut inside = Vec::new();
    // A SYN on loopback is answered within microseconds, or not at all.
    let patience = Duration::from_millis(100);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(addr)).await {
        inside.push(stream?);
    }
    Ok(Port::Full((listener, inside)))
}
