//! A simulated Cloudflare and simulated origins, over real HTTP on loopback.
//!
//! The `demo` command and the tests stand on these: [`Cloudflare`] behaves like
//! version 4 of the real API as far as DNS records go, errors and rate limits
//! included, and breaks on request in the ways the real one has been seen to
//! break ([`faults`]). [`Origin`] is a web server that can refuse, hang,
//! swallow, cut or drip. Everything needs a running tokio runtime and real
//! time; a paused clock only makes the sockets time out early.
#![allow(clippy::disallowed_methods, reason = "it keeps its own time")]

pub mod cloudflare;
pub mod faults;
pub mod origin;
mod tls;

pub use cloudflare::Cloudflare;
pub use origin::{Behaviour, Origin};
pub use tls::{Authority, Tls};

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

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
