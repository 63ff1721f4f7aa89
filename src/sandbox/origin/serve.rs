//! Connections to an origin, from accepting to the last byte.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Behaviour, Request, Shared};
use crate::sandbox::Server;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves, and counts connections.
pub(super) fn serve(shared: Arc<Shared>, listener: TcpListener) -> Server {
    Server::start(listener, move |stream, _| {
        shared.hits.fetch_add(1, Ordering::SeqCst);
        connection(shared.clone(), stream)
    })
}

/// An error anywhere in a connection means that the client went away.
async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    match shared.behaviour() {
        Behaviour::Cutting => {
            // Closing with a linger of zero sends a reset instead of a FIN.
            let _ = stream.set_zero_linger();
        }
        Behaviour::Mute => read_on(stream).await,
        _ => {
            let Some(tls) = shared.tls.clone() else {
                return talk(shared, stream, None).await;
            };
            if let Ok(stream) = TlsAcceptor::from(tls.config()).accept(stream).await {
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                talk(shared, stream, name).await;
            }
        }
    }
}

async fn read_on(mut stream: TcpStream) {
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

async fn talk<S>(shared: Arc<Shared>, stream: S, server_name: Option<String>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if let Behaviour::Drip { byte_every } = shared.behaviour() {
        // The server speaks into a pipe; what comes out of it drips.
        let (near, far) = tokio::io::duplex(64);
        let mut dripping = pin!(drip(stream, far, byte_every));
        tokio::select! {
            // The last bytes are still in the pipe.
            () = http(shared, near, server_name) => drop(dripping.await),
            _ = &mut dripping => {}
        }
    } else {
        http(shared, stream, server_name).await;
    }
}

async fn http<S>(shared: Arc<Shared>, stream: S, server_name: Option<String>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = service_fn(move |request| answer(shared.clone(), server_name.clone(), request));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn drip<S>(stream: S, pipe: tokio::io::DuplexStream, pause: Duration) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(stream);
    let (mut from_server, mut to_server) = tokio::io::split(pipe);
    let requests = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        loop {
            let byte = from_server.read_u8().await?;
            tokio::time::sleep(pause).await;
            to_client.write_u8(byte).await?;
            to_client.flush().await?;
        }
    };
    // The requests end when the client has gone.
    tokio::select! {
        ended = requests => ended.map(drop),
        ended = answers => ended,
    }
}

async fn answer(
    shared: Arc<Shared>,
    server_name: Option<String>,
    request: HttpRequest<Incoming>,
) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    body.collect().await.map_err(io::Error::other)?;
    shared.saw(Request::new(&head, server_name));
    match shared.behaviour() {
        Behaviour::Up {
            status,
            body,
            headers,
        } => reply(status, &headers, full(body)),
        Behaviour::Redirect { to } => reply(302, &[("location".into(), to)], full("")),
        Behaviour::Huge { bytes } => reply(
            200,
            &[("content-length".into(), bytes.to_string())],
            huge(bytes),
        ),
        Behaviour::CutMidAnswer => reply(200, &[("content-length".into(), "1000".into())], half()),
        Behaviour::Hanging => pending().await,
        Behaviour::Delay(time) => {
            tokio::time::sleep(time).await;
            reply(200, &[], full("ok"))
        }
        // The port is about to be closed; nobody is there to answer.
        Behaviour::Refusing | Behaviour::Swallowing | Behaviour::Cutting | Behaviour::Mute => {
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Behaviour::Drip { .. } => reply(200, &[], full("ok")),
    }
}

fn reply(status: u16, headers: &[(String, String)], body: Body) -> io::Result<Response<Body>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(io::Error::other)
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|e| match e {})
        .boxed_unsync()
}

/// Half of what the head promised, then a broken connection.
fn half() -> Body {
    let parts = stream::unfold(0, |part| async move {
        if part == 0 {
            return Some((Ok(Frame::data(Bytes::from(vec![b'.'; 500]))), 1));
        }
        // Time for the half to reach the client before the end does.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Err(io::ErrorKind::ConnectionReset.into()), 2))
    });
    BodyExt::boxed_unsync(StreamBody::new(parts))
}

fn huge(bytes: u64) -> Body {
    const PIECE: u64 = 64 * 1024;
    let piece = Bytes::from(vec![b'.'; PIECE as usize]);
    let left = (0..bytes.div_ceil(PIECE)).map(move |n| {
        let length = PIECE.min(bytes - n * PIECE) as usize;
        Ok(Frame::data(piece.slice(..length)))
    });
    BodyExt::boxed_unsync(StreamBody::new(stream::iter(left)))
}
