//! The `http` and `https` probes: one request on one fresh connection.

use super::dial::{Track, Visit};
use super::faults;
use super::tls::Trust;
use crate::config::ProbeSettings;
use crate::rule::finding::{Finding, Phase};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How we present ourselves.
const USER_AGENT: &str = concat!("originswitch/", env!("CARGO_PKG_VERSION"));
/// What of a body is searched, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// What is held of an answer at once, in bytes; a head must fit into it.
const BUFFER_LIMIT: usize = 128 * 1024;
/// What is shown of a redirect's target, in characters.
const LOCATION_LIMIT: usize = 200;

/// Who is asked, and what the head of an answer says by itself.
pub(super) trait Manner: Send + Sync + 'static {
    /// The last touch on a request before it is sent; an error is our own side.
    fn dress(&self, request: &mut Request<Empty<Bytes>>) -> Result<(), Arc<str>>;

    /// What an answer is found to be at its head; `None` if it is as expected
    /// so far.
    fn at_sight(
        &self,
        settings: &ProbeSettings,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Finding>;
}

/// An origin, straight: what comes from the CDN is no answer of it.
#[derive(Debug)]
pub(super) struct Straight;

impl Manner for Straight {
    fn dress(&self, _: &mut Request<Empty<Bytes>>) -> Result<(), Arc<str>> {
        Ok(())
    }

    fn at_sight(
        &self,
        settings: &ProbeSettings,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Finding> {
        if headers.contains_key("cf-ray") {
            return Some(Finding::ThroughCdn);
        }
        let expected = settings.expect_status.contains(status.as_u16());
        (!expected).then(|| Finding::Status {
            status: status.as_u16(),
            location: location(status, headers),
        })
    }
}

/// Asks, and judges the answer.
#[derive(Debug)]
pub(super) struct Ask<M> {
    manner: M,
    settings: Arc<ProbeSettings>,
    /// Why these settings make no request, if they do not. One that they make
    /// is built when it is sent: there may be ten thousand.
    fault: Option<Arc<str>>,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    /// Or why the host cannot be one.
    name: Result<ServerName<'static>, Arc<str>>,
    trust: Arc<Trust>,
}

impl<M: Manner> Ask<M> {
    /// With `trust`, over TLS.
    pub(super) fn new(settings: &Arc<ProbeSettings>, trust: Option<Arc<Trust>>, manner: M) -> Self {
        Ask {
            manner,
            fault: request(settings).err().map(Arc::from),
            tls: trust.map(|trust| Tls {
                name: server_name(&settings.host),
                trust,
            }),
            settings: settings.clone(),
        }
    }

    /// The request to send now.
    fn dressed(&self) -> Result<Request<Empty<Bytes>>, Arc<str>> {
        let mut request = request(&self.settings)?;
        self.manner.dress(&mut request)?;
        Ok(request)
    }

    /// Asks on a connection that stands. As a block, what it is given is held
    /// once: there may be thousands under way.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn holds its arguments twice"
    )]
    pub(super) fn answered<S>(
        &self,
        stream: S,
        track: &Track,
    ) -> impl Future<Output = Finding> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        async move {
            let (mut sender, mut connection) = match client().handshake(TokioIo::new(stream)).await
            {
                Ok(both) => both,
                Err(error) => return faults::asking(&error),
            };
            let mut judged = pin!(self.judge(&mut sender, track));
            let result = tokio::select! {
                biased;
                result = &mut judged => result,
                // It may end before the answer has been looked at, and then knows
                // better than the answer why there is none.
                ended = &mut connection => match judged.await {
                    Err(error) if error.is_canceled() || error.is_closed() => Err(ended.err().unwrap_or(error)),
                    result => result,
                },
            };
            result.unwrap_or_else(|error| faults::asking(&error))
        }
    }

    async fn judge(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        track: &Track,
    ) -> Result<Finding, hyper::Error> {
        let asked = match self.dressed() {
            Ok(request) => sender.send_request(request),
            Err(what) => return Ok(Finding::Local(what)),
        };
        let answer = asked.await?;
        let status = answer.status();
        let seen = self
            .manner
            .at_sight(&self.settings, status, answer.headers());
        if let Some(finding) = seen {
            return Ok(finding);
        }
        if let Some(pattern) = &self.settings.expect_body {
            match start_of_body(answer).await {
                Ok(body) if !pattern.is_match(&body) => return Ok(Finding::Body),
                Ok(_) => {}
                Err(error) => return Ok(faults::reading(&error)),
            }
        }
        Ok(Finding::Answered {
            status: status.as_u16(),
            after: track.elapsed(),
        })
    }
}

impl<M: Manner> Visit for Ask<M> {
    type Ready = Option<TlsConnector>;

    async fn ready(&self) -> Result<Self::Ready, Finding> {
        if let Some(what) = &self.fault {
            return Err(Finding::Local(what.clone()));
        }
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        if let Err(what) = &tls.name {
            return Err(Finding::Local(what.clone()));
        }
        let config = tls.trust.config().await.map_err(Finding::Local)?;
        Ok(Some(TlsConnector::from(config)))
    }

    async fn visit(&self, ready: &Self::Ready, stream: TcpStream, track: &mut Track) -> Finding {
        let name = self.tls.as_ref().map(|tls| tls.name.clone());
        match (ready, name) {
            // Far larger than what plain HTTP takes.
            (Some(connector), Some(Ok(name))) => {
                Box::pin(self.secured(connector, name, stream, track)).await
            }
            _ => {
                track.enter(Phase::Response);
                self.answered(stream, track).await
            }
        }
    }
}

impl<M: Manner> Ask<M> {
    /// Asks over TLS.
    async fn secured(
        &self,
        connector: &TlsConnector,
        name: ServerName<'static>,
        stream: TcpStream,
        track: &mut Track,
    ) -> Finding {
        track.enter(Phase::Tls);
        // The request follows the end of the handshake, which need not be
        // acknowledged first. It only saves time; plain HTTP is one write.
        let _ = stream.set_nodelay(true);
        match connector.connect(name, stream).await {
            Ok(stream) => {
                track.enter(Phase::Response);
                self.answered(stream, track).await
            }
            Err(error) => faults::shaking_hands(&error),
        }
    }
}

/// As strict as it must be and no stricter: what a browser or Cloudflare
/// would forgive does not take an origin down.
fn client() -> Builder {
    let mut client = Builder::new();
    client
        .max_buf_size(BUFFER_LIMIT)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    client
}

/// The request that these settings describe.
fn request(settings: &ProbeSettings) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::from_bytes(settings.method.as_bytes())
        .map_err(|_| format!("method {:?} is none", settings.method))?;
    *request.uri_mut() = Uri::try_from(&settings.path)
        .map_err(|error| format!("path {:?}: {error}", settings.path))?;
    let headers = request.headers_mut();
    let host = HeaderValue::try_from(host_header(&settings.host))
        .map_err(|_| format!("host {:?} cannot be a header", settings.host))?;
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &settings.headers {
        // The value may be a secret: it is not repeated.
        let (Ok(key), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            return Err(format!("header {name:?} has a name or value that is none"));
        };
        headers.insert(key, value);
    }
    Ok(request)
}

/// What a visitor would send: no port, but brackets around an IPv6 address.
fn host_header(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => host.to_owned(),
    }
}

/// The name sent to the origin and looked for in its certificate.
fn server_name(host: &str) -> Result<ServerName<'static>, Arc<str>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(ServerName::from(ip)),
        Err(_) => ServerName::try_from(bare.trim_end_matches('.').to_owned())
            .map_err(|_| format!("host {host:?} cannot be a TLS server name").into()),
    }
}

/// Where a redirect points to, shortened.
pub(super) fn location(status: StatusCode, headers: &HeaderMap) -> Option<Arc<str>> {
    let value = headers
        .get(header::LOCATION)
        .filter(|_| status.is_redirection())?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let shown: String = text.chars().take(LOCATION_LIMIT).collect();
    Some(shown.into())
}

/// The first [`BODY_LIMIT`] bytes, or all if there are fewer. Searched only
/// when complete: a pattern such as `ok$` must not depend on how the network
/// cut the body.
async fn start_of_body(answer: Response<Incoming>) -> Result<Vec<u8>, hyper::Error> {
    let mut body = answer.into_body();
    let mut start = Vec::new();
    while start.len() < BODY_LIMIT {
        let Some(frame) = body.frame().await else {
            break;
        };
        if let Some(data) = frame?.data_ref() {
            let room = BODY_LIMIT - start.len();
            start.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_name_is_the_host_and_an_address_is_no_name() {
        let name = |host| server_name(host).map(|name| name.to_str().into_owned());
        assert_eq!(name("www.example.com").as_deref(), Ok("www.example.com"));
        assert_eq!(name("www.example.com.").as_deref(), Ok("www.example.com"));
        assert!(matches!(
            server_name("192.0.2.1"),
            Ok(ServerName::IpAddress(_))
        ));
        assert!(matches!(
            server_name("[2001:db8::1]"),
            Ok(ServerName::IpAddress(_))
        ));
        assert_eq!(
            name("no spaces").unwrap_err().as_ref(),
            "host \"no spaces\" cannot be a TLS server name"
        );
    }

    #[test]
    fn an_ipv6_host_is_bracketed_in_the_header() {
        assert_eq!(host_header("2001:db8::1"), "[2001:db8::1]");
        assert_eq!(host_header("[2001:db8::1]"), "[2001:db8::1]");
        assert_eq!(host_header("www.example.com"), "www.example.com");
    }
}
