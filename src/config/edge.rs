//! `[edge]`: how a site is asked for through the edge.

use super::addresses::{Reach, reach};
use super::names::hostname;
use super::scope::Scope;
use super::{EdgeAddress, EdgeSettings};
use std::net::{IpAddr, Ipv6Addr};

/// What to write, at the end of each sentence about an address.
const LIKE: &str =
    "write one such as \"https://192.0.2.80:8443\", or \"\" for what a resolver finds";

/// The edge settings of a site.
pub(super) fn settings(scope: &Scope) -> EdgeSettings {
    EdgeSettings {
        probe: scope.flag("probe"),
        address: scope.parsed("address", address).flatten().map(Box::new),
        timeout: scope.duration("timeout"),
        settle: scope.duration("settle"),
    }
}

/// `https://HOST:PORT` or `http://HOST:PORT`, with or without the port.
fn address(text: &str) -> Result<Option<EdgeAddress>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('@') {
        // Not repeated: there may be a password in it.
        return Err(format!("holds a user or a password: {LIKE}"));
    }
    let (tls, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        _ => return Err(format!("{text:?} is no http or https URL: {LIKE}")),
    };
    // A slash at the end is how a URL is often copied, and names no path.
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(format!(
            "{text:?} holds more than a host and a port, but the path asked for is probe.path: {LIKE}"
        ));
    }
    let (host, port) = split(rest).ok_or_else(|| {
        format!("{text:?} has an IPv6 address without brackets: write it like \"https://[2001:db8::80]\"")
    })?;
    if host.is_empty() {
        return Err(format!("{text:?} names no host: {LIKE}"));
    }
    let port = match port {
        None if tls => 443,
        None => 80,
        Some(port) => {
            number(port).ok_or_else(|| format!("{text:?} has a port that is none: {LIKE}"))?
        }
    };
    let host = checked(host)?;
    Ok(Some(EdgeAddress { tls, host, port }))
}

/// Host and port; `None` if colons leave open which is which.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some((inside, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = after.strip_prefix(':');
        let whole = inside.parse::<Ipv6Addr>().is_ok() && (after.is_empty() || port.is_some());
        return whole.then_some((inside, port));
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

/// A port, in digits alone.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// A host that can be dialled, in its normal form.
fn checked(host: &str) -> Result<String, String> {
    let Ok(ip) = host.parse::<IpAddr>() else {
        return hostname(host);
    };
    match reach(ip) {
        Reach::Nobody(what) => Err(format!("{ip} is {what}: {LIKE}")),
        _ => Ok(ip.to_string()),
    }
}
