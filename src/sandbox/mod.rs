//! A simulated Cloudflare with its edge, and simulated origins, over real HTTP
//! on loopback.
//!
//! The `demo` command and the tests stand on these: [`Cloudflare`] behaves like
//! version 4 of the real API as far as DNS records go, errors and rate limits
//! included, and breaks on request in the ways the real one has been seen to
//! break ([`faults`]). [`Origin`] is a web server that can refuse, hang,
//! swallow, cut or drip. [`Edge`] is what visitors ask: it passes their
//! requests on to the origin that the record holds. Everything needs a running tokio runtime and real
//! time; a paused clock only makes the sockets time out early.
#![allow(clippy::disallowed_methods, reason = "it keeps its own time")]

pub mod cloudflare;
pub mod edge;
pub mod faults;
pub mod origin;
mod tls;

pub use cloudflare::Cloudflare;
pub use edge::Edge;
pub use origin::{Behaviour, Origin};
pub use tls::{Authority, Tls, Trust};

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Listens on `addr`, also where an earlier listener has just been closed.
///
/// Without `SO_REUSEADDR` the connections of the earlier listener would hold
/// the port for a minute.
fn listen(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(backlog)
}

/// A listener at work; closed when it is dropped, and every connection with it.
struct Server(JoinHandle<Infallible>);

impl Server {
    /// Hands each connection to `serve`.
    fn start<F, Connection>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(TcpStream, SocketAddr) -> Connection + Send + 'static,
        Connection: Future<Output = ()> + Send + 'static,
    {
        Self(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, peer)) = accepted {
                            connections.spawn(serve(stream, peer));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        }))
    }

    /// Closed once this returns; its connections close right after.
    async fn stop(&mut self) {
        self.0.abort();
        if !self.0.is_finished() {
            let _ = (&mut self.0).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}
