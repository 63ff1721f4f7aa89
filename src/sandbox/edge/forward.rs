//! Connections to an edge, and from it to the origin.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::Result as HttpResult;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response, Uri, client, server};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls};

use super::{Conduct, Request, Shared};
use crate::sandbox::Trust;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// What two neighbours say to each other and to nobody else.
const HOP_BY_HOP: [HeaderName; 4] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// An error anywhere in a connection means that the visitor went away.
pub(super) async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = shared.tls.clone() else {
        return talk(shared, stream, peer, None).await;
    };
    if let Ok(stream) = TlsAcceptor::from(tls.config()).accept(stream).await {
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        talk(shared, stream, peer, name).await;
    }
}

async fn talk<S>(shared: Arc<Shared>, stream: S, peer: SocketAddr, server_name: Option<String>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = service_fn(move |request: HttpRequest<Incoming>| {
        let (head, body) = request.into_parts();
        let seen = Request::new(&head, server_name.clone());
        let request = HttpRequest::from_parts(head, body);
        answer(shared.clone(), peer, seen, request)
    });
    let _ = server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    shared: Arc<Shared>,
    peer: SocketAddr,
    seen: Request,
    request: HttpRequest<Incoming>,
) -> HttpResult<Response<Body>> {
    let host = hostname(seen.host.as_deref().unwrap_or_default());
    let (number, conduct) = shared.saw(seen);
    let ray = HeaderValue::try_from(format!("{number:016x}-SBX"))?;
    let mut answer = match conduct {
        Conduct::Forwarding => {
            let request = as_passed_on(request, peer, &ray)?;
            match forward(&shared, &host, request).await {
                Ok(answer) => answer,
                Err(status) => page(status)?,
            }
        }
        Conduct::Cached => reply(200, ("cf-cache-status", "HIT"), "ok")?,
        Conduct::Challenging => reply(403, ("cf-mitigated", "challenge"), "Just a moment...")?,
        Conduct::Hanging => pending().await,
        Conduct::Failing(status) => page(status)?,
    };
    let headers = answer.headers_mut();
    headers.insert("cf-ray", ray);
    headers.insert(header::SERVER, HeaderValue::from_static("cloudflare"));
    Ok(answer)
}

/// The name in a Host header.
fn hostname(host: &str) -> String {
    let name = host.split(':').next().unwrap_or_default();
    name.to_ascii_lowercase()
}

/// The request as the origin gets it.
fn as_passed_on(
    mut request: HttpRequest<Incoming>,
    visitor: SocketAddr,
    ray: &HeaderValue,
) -> HttpResult<HttpRequest<Incoming>> {
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    let headers = request.headers_mut();
    drop_hop_by_hop(headers);
    let visitor = HeaderValue::try_from(visitor.ip().to_string())?;
    headers.insert("cf-connecting-ip", visitor);
    headers.insert("cf-ray", ray.clone());
    Ok(request)
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The origin's answer, or the status that the edge has for its absence.
async fn forward(
    shared: &Shared,
    host: &str,
    request: HttpRequest<Incoming>,
) -> Result<Response<Body>, u16> {
    let origin = shared.origin_of(host).ok_or(530_u16)?;
    let options = &shared.options;
    let stream = connect(origin, options.connect_timeout).await?;
    let answer = match &options.trust {
        None => ask(stream, request, options.answer_timeout).await?,
        Some(trust) => {
            let stream = secure(stream, host, trust, options.connect_timeout).await?;
            ask(stream, request, options.answer_timeout).await?
        }
    };
    let (mut head, body) = answer.into_parts();
    drop_hop_by_hop(&mut head.headers);
    let status = HeaderValue::from_static("DYNAMIC");
    head.headers.insert("cf-cache-status", status);
    Ok(Response::from_parts(head, body.boxed_unsync()))
}

async fn connect(origin: SocketAddr, limit: Duration) -> Result<TcpStream, u16> {
    if !origin.ip().is_loopback() {
        return Err(523);
    }
    match timeout(limit, TcpStream::connect(origin)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Err(521),
        Ok(Err(_)) => Err(523),
        Err(_) => Err(522),
    }
}

async fn secure(
    stream: TcpStream,
    host: &str,
    trust: &Trust,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, u16> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| 525_u16)?;
    let connector = TlsConnector::from(trust.config());
    match timeout(limit, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if is_about_certificate(&error) => Err(526),
        Ok(Err(_)) | Err(_) => Err(525),
    }
}

fn is_about_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

async fn ask<S>(
    stream: S,
    request: HttpRequest<Incoming>,
    limit: Duration,
) -> Result<Response<Incoming>, u16>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let exchange = async {
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It carries the body too, and ends with it.
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    match timeout(limit, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(520),
        Err(_) => Err(524),
    }
}

/// What the edge shows instead of an answer. Where the record leads nowhere,
/// the code within says more than the status.
fn page(status: u16) -> HttpResult<Response<Body>> {
    let code = if status == 530 { 1016 } else { status };
    let kind = ("content-type", "text/plain; charset=UTF-8");
    reply(status, kind, format!("error code: {code}"))
}

fn reply(
    status: u16,
    (name, value): (&str, &str),
    text: impl Into<Bytes>,
) -> HttpResult<Response<Body>> {
    let body = Full::new(text.into()).map_err(|never| match never {});
    Response::builder()
        .status(status)
        .header(name, value)
        .body(body.boxed_unsync())
}
