//! Connections: how many, how slow, and how they end.

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

/// Connections at once; the rest wait in the kernel's queue.
pub const CONNECTIONS: usize = 1024;

/// A peer that has not sent its headers by then holds nothing up. It bounds an
/// idle connection too; clients open another.
const HEADERS: Duration = Duration::from_secs(10);

/// After a failed accept (no sockets left), so that it does not spin: the peer
/// waits in the kernel's queue, and the same call would fail the same way. Short,
/// as a descriptor that a probe gives back is soon taken by the next.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// While accepting fails, it is said so often.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// A running listener.
pub struct Listening {
    /// Where it listens.
    pub addr: SocketAddr,
    connections: TaskTracker,
    stop: CancellationToken,
}

impl Listening {
    /// Stops accepting, lets requests under way end, and waits for them.
    pub async fn stop(self) {
        self.stop.cancel();
        self.connections.close();
        self.connections.wait().await;
    }
}

/// Serves `router` to those who call at `listener`; who called before waits in
/// the kernel's queue.
///
/// # Errors
/// If the listener does not know its address.
pub fn serve(listener: TcpListener, router: Router) -> io::Result<Listening> {
    let listening = Listening {
        addr: listener.local_addr()?,
        connections: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    let (connections, stop) = (listening.connections.clone(), listening.stop.clone());
    listening
        .connections
        .spawn(accept(listener, router, connections, stop));
    Ok(listening)
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut said: Option<Instant> = None;
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    converse(stream, peer, router, stop).await;
                });
            }
            // Of that peer alone: the next one may well be accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if said.is_none_or(|at| at.elapsed() >= SAID_AGAIN) {
                    warn!("connections cannot be accepted, and wait: {error}");
                    said = Some(Instant::now());
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ACCEPT_AGAIN) => {}
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    // Answers are small and written whole.
    let _ = stream.set_nodelay(true);
    let service = tower::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, "connection ended: {error}");
    }
}
