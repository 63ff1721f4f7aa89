//! Who may call what.
//!
//! `/webhook` asks for its token if there is one. The page, the API and reload
//! ask for the admin token; without one, only programs on this machine may:
//! a loopback peer, without the headers of a proxy or of a browser page from
//! elsewhere.

use super::{App, Refusal};
use crate::config::Secret;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

/// Headers that say that somebody else stands behind the peer.
const FORWARDING: [&str; 5] = [
    "forwarded",
    "via",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
];

/// Lets a request through to the page, the API or reload.
pub(super) async fn admin(
    app: App,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let token = app.settings.borrow().admin_token.clone();
    match may_administrate(token.as_ref(), peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => challenge(refusal),
    }
}

/// Whether a request may do what the API does.
pub(super) fn may_administrate(
    token: Option<&Secret>,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    match token {
        Some(token) if presents(headers, token) => Ok(()),
        Some(_) => Err(Refusal(
            StatusCode::UNAUTHORIZED,
            "this call needs the token of server.admin_token_file: \
             send it as \"Authorization: Bearer …\""
                .into(),
        )),
        None if is_local(peer, headers) => Ok(()),
        None => Err(Refusal(
            StatusCode::FORBIDDEN,
            "without server.admin_token_file this call is for programs on this machine only \
             (from 127.0.0.1 or ::1, to that address or localhost, without a proxy's forwarding \
             headers and not from another site's page): set one to call from elsewhere"
                .into(),
        )),
    }
}

/// Whether a request may post alerts. Who may administrate may do that too.
pub(super) fn may_post(
    webhook: Option<&Secret>,
    admin: Option<&Secret>,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let Some(token) = webhook else { return Ok(()) };
    if presents(headers, token) || admin.is_some_and(|admin| presents(headers, admin)) {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::UNAUTHORIZED,
        "this webhook needs the token of server.webhook_token_file: set http_config.authorization \
         in Alertmanager's receiver"
            .into(),
    ))
}

/// A 401 names the ways to authenticate.
pub(super) fn challenge(refusal: Refusal) -> Response {
    let ask = refusal.0 == StatusCode::UNAUTHORIZED;
    let mut response = refusal.into_response();
    if ask {
        let ways =
            HeaderValue::from_static("Bearer realm=\"originswitch\", Basic realm=\"originswitch\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, ways);
    }
    response
}

/// Whether the request presents `secret`, as Bearer or as the password of
/// Basic with any user. Compared without telling by time how much is right.
fn presents(headers: &HeaderMap, secret: &Secret) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, given)) = split(value.as_bytes()) else {
        return false;
    };
    let expected = secret.expose().as_bytes();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return given.ct_eq(expected).into();
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return false;
    }
    let Ok(pair) = base64::engine::general_purpose::STANDARD.decode(given) else {
        return false;
    };
    let Some(colon) = pair.iter().position(|&byte| byte == b':') else {
        return false;
    };
    pair[colon + 1..].ct_eq(expected).into()
}

fn split(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = value.iter().position(|&byte| byte == b' ')?;
    Some((&value[..space], value[space + 1..].trim_ascii()))
}

fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    peer.ip().to_canonical().is_loopback()
        && !headers.keys().any(|name| {
            let name = name.as_str();
            FORWARDING.contains(&name) || name.starts_with("x-forwarded")
        })
        && !from_a_page(headers)
        && names_this_machine(headers)
}

/// A page in a browser on this machine must not steer us from elsewhere.
fn from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let foreign_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    let foreign_origin = headers.get(header::ORIGIN).is_some_and(|origin| {
        let host = headers
            .get(header::HOST)
            .map_or("", |h| h.to_str().unwrap_or(""));
        origin.to_str().ok().and_then(|o| o.strip_prefix("http://")) != Some(host)
    });
    foreign_site || foreign_origin
}

/// A name from elsewhere that was pointed to 127.0.0.1 is no name of ours.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let host = host.to_str().unwrap_or("");
    if host == "localhost" || host.starts_with("localhost:") {
        return true;
    }
    host.parse::<SocketAddr>().is_ok() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn bearer_and_basic_are_taken_and_nothing_else() {
        let secret = Secret::new("s3cret");
        let basic = |pair: &str| {
            let text = base64::engine::general_purpose::STANDARD.encode(pair);
            format!("Basic {text}")
        };
        for (value, good) in [
            ("Bearer s3cret".to_owned(), true),
            ("bearer  s3cret ".into(), true),
            (basic("any:s3cret"), true),
            (basic(":s3cret"), true),
            ("Bearer s3cre".into(), false),
            ("Bearer s3crets".into(), false),
            ("Bearer ".into(), false),
            ("s3cret".into(), false),
            (basic("s3cret"), false),
            ("Basic !!!".into(), false),
            ("Digest s3cret".into(), false),
        ] {
            let given = headers(&[("authorization", &value)]);
            assert_eq!(presents(&given, &secret), good, "{value}");
        }
    }

    #[test]
    fn without_a_token_only_programs_on_this_machine_may() {
        let local: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:4000".parse().unwrap();
        let remote: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let may = |peer, pairs: &[(&'static str, &str)]| {
            may_administrate(None, peer, &headers(pairs)).is_ok()
        };
        assert!(may(local, &[("host", "127.0.0.1:10053")]));
        assert!(may(local, &[("host", "localhost:10053")]));
        assert!(may(mapped, &[("host", "[::1]:10053")]));
        assert!(!may(remote, &[]));
        assert!(!may(local, &[("x-forwarded-for", "192.0.2.1")]));
        assert!(!may(local, &[("forwarded", "for=192.0.2.1")]));
        assert!(!may(local, &[("host", "evil.example:10053")]));
        assert!(!may(
            local,
            &[("origin", "http://evil.example"), ("host", "127.0.0.1")]
        ));
        assert!(!may(local, &[("sec-fetch-site", "cross-site")]));
    }
}
