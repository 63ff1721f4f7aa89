//! The look through the edge: a site asked for the way a visitor does, and
//! what of the answer is evidence.
//!
//! The witness is careful. It speaks for the origin only where no cache and no
//! part of the edge can have given the answer, and against it only where the
//! edge says so by a 5xx; on everything else it abstains.

use super::dial::Dialer;
use super::http::{Ask, Manner, location};
use crate::config::{EdgeAddress, ProbeKind, ProbeSettings, Site};
use crate::prober::{Probe, Sample};
use crate::rule::address::Address;
use crate::rule::finding::Finding;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Empty;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The query parameter that makes each request one that no cache holds.
const PARAMETER: &str = "originswitch";

/// What `cf-cache-status` says where the answer came from the origin.
const FROM_ORIGIN: [&str; 3] = ["MISS", "DYNAMIC", "BYPASS"];

/// What is shown of a cache's word, in characters.
const WORD_LIMIT: usize = 30;

/// Where to dial for a site, and what to ask there.
pub(super) fn visit(site: &Site) -> (Address, Arc<ProbeSettings>) {
    let hostname = site.hostnames.first().map_or("", String::as_str);
    let (kind, host, port) = way(hostname, site.probe.kind, site.edge.address.as_deref());
    let settings = ProbeSettings {
        kind,
        port,
        host: hostname.to_owned(),
        timeout: site.edge.timeout,
        ..(*site.probe).clone()
    };
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => Address::from(ip),
        Err(_) => Address::name(host),
    };
    (address, Arc::new(settings))
}

/// Scheme, host and port: a visitor's own, unless an address is given. Whoever
/// probes origins by TCP has visitors of a web site all the same.
fn way<'a>(
    hostname: &'a str,
    kind: ProbeKind,
    address: Option<&'a EdgeAddress>,
) -> (ProbeKind, &'a str, u16) {
    match (address, kind) {
        (Some(edge), _) if edge.tls => (ProbeKind::Https, &edge.host, edge.port),
        (Some(edge), _) => (ProbeKind::Http, &edge.host, edge.port),
        (None, ProbeKind::Http) => (ProbeKind::Http, hostname, 80),
        (None, ProbeKind::Https | ProbeKind::Tcp) => (ProbeKind::Https, hostname, 443),
    }
}

/// The probe: what it finds is said in the words of a witness.
#[derive(Debug)]
pub(super) struct Edge(pub(super) Dialer<Ask<Visitor>>);

impl Probe for Edge {
    fn probe(&self) -> BoxFuture<'_, Sample> {
        Box::pin(async {
            let sample = self.0.probe().await;
            Sample {
                finding: testimony(sample.finding),
                ..sample
            }
        })
    }
}

/// What speaks against an origin that is asked straight says nothing of one
/// behind the edge.
fn testimony(finding: Finding) -> Finding {
    match finding {
        Finding::Certificate(what) => abstained(format!("certificate: {what}")),
        Finding::Unresolved(what) => abstained(format!("name not found: {what}")),
        Finding::Body => abstained("the body is not what [probe] expects"),
        other => other,
    }
}

fn abstained(what: impl Into<Arc<str>>) -> Finding {
    Finding::Abstained(what.into())
}

/// Asks as a visitor whom no cache can serve.
#[derive(Debug, Default)]
pub(super) struct Visitor {
    /// Random in each process, so that no value comes twice.
    seed: RandomState,
    asked: AtomicU64,
}

impl Manner for Visitor {
    fn dress(&self, request: &mut Request<Empty<Bytes>>) -> Result<(), Arc<str>> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let path = with_parameter(&request.uri().to_string(), self.seed.hash_one(number));
        *request.uri_mut() = Uri::try_from(path)
            .map_err(|error| format!("path with {PARAMETER} in its query: {error}"))?;
        let no_cache = HeaderValue::from_static("no-cache");
        request
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_cache);
        Ok(())
    }

    fn at_sight(
        &self,
        settings: &ProbeSettings,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<Finding> {
        if headers.contains_key("cf-mitigated") {
            return Some(abstained("challenged"));
        }
        if let Some(word) = cached(headers) {
            return Some(abstained(format!("cached ({word})")));
        }
        let number = status.as_u16();
        if status.is_redirection() {
            // Expected or not: it may be the edge's own.
            return Some(abstained(match location(status, headers) {
                Some(to) => format!("redirect to {to}"),
                None => format!("redirect ({number})"),
            }));
        }
        if settings.expect_status.contains(number) {
            return None;
        }
        Some(if status.is_server_error() {
            Finding::Status {
                status: number,
                location: None,
            }
        } else {
            abstained(format!("{number} is not what [probe] expects"))
        })
    }
}

/// What the cache says of an answer that is, or may be, its own.
fn cached(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("cf-cache-status")?;
    let word = String::from_utf8_lossy(value.as_bytes());
    let from_origin = FROM_ORIGIN
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known));
    (!from_origin).then(|| word.chars().take(WORD_LIMIT).collect())
}

/// The path with the parameter behind the query that it has, if any.
fn with_parameter(path: &str, value: u64) -> String {
    let join = match path.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{path}{join}{PARAMETER}={value:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_takes_https_unless_the_site_or_the_address_says_otherwise() {
        let www = "www.example.com";
        let to = |kind| way(www, kind, None);
        assert_eq!(to(ProbeKind::Https), (ProbeKind::Https, www, 443));
        assert_eq!(to(ProbeKind::Tcp), (ProbeKind::Https, www, 443));
        assert_eq!(to(ProbeKind::Http), (ProbeKind::Http, www, 80));
        for kind in [ProbeKind::Https, ProbeKind::Tcp, ProbeKind::Http] {
            for (tls, expected) in [(true, ProbeKind::Https), (false, ProbeKind::Http)] {
                let host = "192.0.2.80".to_owned();
                let edge = EdgeAddress { tls, host, port: 8 };
                assert_eq!(way(www, kind, Some(&edge)), (expected, "192.0.2.80", 8));
            }
        }
    }

    #[test]
    fn the_parameter_stands_behind_the_query_there_is() {
        let end = "originswitch=00000000000000ff";
        assert_eq!(with_parameter("/", 255), format!("/?{end}"));
        assert_eq!(with_parameter("/a?", 255), format!("/a?{end}"));
        assert_eq!(with_parameter("/a?b=c", 255), format!("/a?b=c&{end}"));
    }
}
