//! The socket side: accepts, reads requests, and answers, or does not.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::Query as Decoded;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::answer::Answer;
use super::list::Query;
use super::lock;
use super::state::{Request, State};
use crate::sandbox::Server;
use crate::sandbox::faults::Effect;

/// Returned by the service to make hyper close the socket without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut on purpose")
    }
}

impl Error for Cut {}

/// Answers requests from what is known.
pub(super) fn serve(state: Arc<Mutex<State>>, listener: TcpListener) -> Server {
    Server::start(listener, move |stream, peer| {
        connection(state.clone(), stream, peer)
    })
}

async fn connection(state: Arc<Mutex<State>>, stream: TcpStream, peer: SocketAddr) {
    // Small answers must not wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(state.clone(), peer.ip(), request));
    // An error here is a client that went away, or a fault at work.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    state: Arc<Mutex<State>>,
    ip: IpAddr,
    request: HttpRequest<Incoming>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let request = read(ip, request).await?;
    let (arrival, latency) = {
        let mut state = lock(&state);
        let arrival = state.arrive(&request, Instant::now());
        let latency = state.options.latency + arrival.hit.latency;
        (arrival, latency)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    match arrival.hit.effect {
        Some(Effect::NothingAtAll) => pending().await,
        Some(Effect::CutBefore) => return Err(Cut),
        _ => {}
    }
    let mut state = lock(&state);
    let answer = state.respond(&request, &arrival, Instant::now());
    if arrival.hit.effect == Some(Effect::CutAfter) {
        return Err(Cut);
    }
    state.log.answered(arrival.log, answer.status, &answer.body);
    response(answer)
}

async fn read(ip: IpAddr, request: HttpRequest<Incoming>) -> Result<Request, Cut> {
    let (head, body) = request.into_parts();
    let query = Decoded::try_from_uri(&head.uri).map_or_else(|_| Query::default(), |d| Query(d.0));
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    Ok(Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        raw_query: head.uri.query().unwrap_or("").to_owned(),
        query,
        headers: head.headers,
        body,
        ip,
    })
}

fn response(answer: Answer) -> Result<Response<Full<Bytes>>, Cut> {
    let kind = if answer.html {
        "text/html; charset=UTF-8"
    } else {
        "application/json"
    };
    let mut response = Response::builder()
        .status(answer.status)
        .header("content-type", kind)
        .header("server", "cloudflare");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(answer.body)).map_err(|_| Cut)
}
