//! The sections that hold for the whole program.

use super::read::Reading;
use super::scope::Scope;
use super::sites::matchers;
use super::values::{any_entries, describe, text};
use super::{
    Alerts, Cloudflare, Notify, Secret, Server, Site, State, TokenSource, Zone, ZoneToken,
};
use figment::value::Value;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The key with the tokens of single zones.
const ZONE_TOKENS: &str = "zone_token_files";

const NO_FILE_BUT_A_TOKEN: &str =
    "names no file and looks like a token itself: write the token into a file and name that";

pub(super) fn server(reading: &Reading) -> Server {
    let scope = Scope::new(reading, "server");
    Server {
        listen: scope
            .parsed("listen", parse_listen)
            .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        webhook_token: token_file(&scope, "webhook_token_file").map(|(_, token)| token),
        admin_token: token_file(&scope, "admin_token_file").map(|(_, token)| token),
        max_body: scope.count("max_body"),
    }
}

pub(super) fn cloudflare(reading: &Reading) -> Cloudflare {
    let scope = Scope::new(reading, "cloudflare");
    let api_url = scope.parsed("api_url", parse_api_url).unwrap_or_default();
    if api_url.starts_with("http:") && !is_loopback(&api_url) {
        reading.warn(
            "cloudflare.api_url is plain http: the token crosses the network in the clear".into(),
        );
    }
    Cloudflare {
        token: token(&scope),
        api_url,
        timeout: scope.duration("timeout"),
        requests_per_5m: scope.count("requests_per_5m"),
        max_batch: scope.count("max_batch"),
        zone_tokens: zone_tokens(&scope),
    }
}

/// The tokens of single zones.
fn zone_tokens(scope: &Scope) -> Vec<ZoneToken> {
    let Some((table, key)) = scope.find(ZONE_TOKENS) else {
        return Vec::new();
    };
    let Some(dict) = table.as_dict() else {
        let sentence = format!(
            "must be a table such as {{ \"example.com\" = \"token-file\" }}, not {}",
            describe(table)
        );
        scope.fault(ZONE_TOKENS, sentence);
        return Vec::new();
    };
    let token = |(zone, value): (&String, &Value)| {
        let read = zone_token(scope.reading, zone, value);
        let fault = |sentence| {
            scope
                .reading
                .fault_at(value, format!("{key}.{zone}"), sentence)
        };
        read.map_err(fault).ok()
    };
    dict.iter().filter_map(token).collect()
}

fn zone_token(reading: &Reading, written: &str, value: &Value) -> Result<ZoneToken, String> {
    let name = text(value)?;
    if name.is_empty() {
        return Err("is empty: name the file that holds the zone's token".into());
    }
    let file = reading.path(name);
    if looks_like_token(name) && !file.exists() {
        // Not repeated, and so not named either.
        return Err(NO_FILE_BUT_A_TOKEN.into());
    }
    let lower = written.trim_end_matches('.').to_ascii_lowercase();
    let is_id = lower.len() == 32 && lower.bytes().all(|b| b.is_ascii_hexdigit());
    Ok(ZoneToken {
        zone: if is_id {
            Zone::Id(lower)
        } else {
            Zone::Name(lower)
        },
        written: written.to_owned(),
        value: read_token_file(&file)?,
        file,
    })
}

/// A token for a zone that no site is in would never be used.
pub(super) fn check_zone_tokens(reading: &Reading, cloudflare: &Cloudflare, sites: &[Arc<Site>]) {
    let scope = Scope::new(reading, "cloudflare");
    let mut seen = HashSet::new();
    for own in &cloudflare.zone_tokens {
        let written = &own.written;
        if !sites.iter().any(|site| site.zone == own.zone) {
            let sentence = format!(
                "no site is in the zone {written:?}: write it as the sites' zone or zone_id, or leave it out"
            );
            scope.fault(ZONE_TOKENS, sentence);
        }
        if !seen.insert(&own.zone) {
            let sentence = format!("{written:?} is there twice, in different case: keep one");
            scope.fault(ZONE_TOKENS, sentence);
        }
    }
}

pub(super) fn alerts(reading: &Reading) -> Alerts {
    let scope = Scope::new(reading, "alerts");
    Alerts {
        site_label: scope
            .parsed("site_label", |text| match text.trim() {
                "" => Err("is empty: write a label's name such as \"site\"".into()),
                name => Ok(name.to_owned()),
            })
            .unwrap_or_default(),
        ttl: scope.duration("ttl"),
        watchdog: scope.read("watchdog", matchers).unwrap_or_default(),
        watchdog_timeout: scope.duration("watchdog_timeout"),
    }
}

pub(super) fn notify(reading: &Reading) -> Notify {
    let scope = Scope::new(reading, "notify");
    let example = "http://127.0.0.1:9093";
    let urls: Vec<String> = scope
        .read("alertmanager_urls", |value| {
            any_entries(value)
                .map(|url| parse_url(text(url)?, example))
                .collect()
        })
        .unwrap_or_default();
    let mut seen = HashSet::new();
    if let Some(twice) = urls.iter().find(|url| !seen.insert(*url)) {
        let sentence = format!("{twice:?} is there twice: write it once");
        scope.fault("alertmanager_urls", sentence);
    }
    let token = token_file(&scope, "token_file").map(|(_, token)| token);
    let open = |url: &&String| url.starts_with("http:") && !is_loopback(url);
    if let Some(url) = urls.iter().find(open).filter(|_| token.is_some()) {
        reading.warn(format!(
            "notify.alertmanager_urls: {url} is plain http: the token of notify.token_file crosses the network in the clear"
        ));
    }
    Notify {
        alertmanager_urls: urls,
        token,
        hold_for: scope.duration("hold_for"),
    }
}

pub(super) fn state(reading: &Reading) -> State {
    let scope = Scope::new(reading, "state");
    let path = scope.parsed("path", |text| {
        let path = reading.path(text);
        if text.is_empty() || path.is_dir() {
            return Err(format!(
                "{text:?} is no file: write a path such as \"originswitch.db\""
            ));
        }
        Ok(path)
    });
    State {
        path: path.unwrap_or_default(),
        keep: scope.duration("keep"),
    }
}

/// Reads an address to listen on: `IP:PORT`, `localhost:PORT`, or `:PORT` for
/// all IPv4 interfaces.
///
/// # Errors
///
/// The rest of a sentence that says what to write instead.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let port = |text: &str| text.parse::<u16>().ok();
    let named = match text.rsplit_once(':') {
        Some(("", rest)) => port(rest).map(|port| (IpAddr::from(Ipv4Addr::UNSPECIFIED), port)),
        Some(("localhost", rest)) => port(rest).map(|port| (Ipv4Addr::LOCALHOST.into(), port)),
        _ => None,
    };
    named
        .map(SocketAddr::from)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| {
            format!(
                "{text:?} is no address to listen on: write \"IP:PORT\", or \":PORT\" for all interfaces"
            )
        })
}

/// Where Cloudflare's API is.
fn parse_api_url(text: &str) -> Result<String, String> {
    parse_url(text, "https://api.cloudflare.com/client/v4")
}

/// A base URL without its trailing slashes.
///
/// # Errors
///
/// One sentence that says what to write instead, such as `example`.
pub fn parse_url(text: &str, example: &str) -> Result<String, String> {
    let like = format!("write one such as {example:?}");
    // What may have a password in it is not repeated.
    let shown = if text.contains('@') {
        "it".to_owned()
    } else {
        format!("{text:?}")
    };
    let url = reqwest::Url::parse(text)
        .map_err(|error| format!("{shown} is no URL ({error}): {like}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("{shown} is no http or https URL: {like}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("holds a user or a password: {like}"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{shown} holds a `?` or a `#`: {like}"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Whether a URL's host is this machine.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("");
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|ip| ip.is_loopback())
}

/// The API token: from one of two keys, and from one only.
fn token(scope: &Scope) -> TokenSource {
    let written = scope.parsed("api_token", |text| match text.trim() {
        "" => Ok(None),
        token => checked_token(token).map(Some),
    });
    let file = token_file(scope, "api_token_file");
    let none = TokenSource::Value(Secret::new(""));
    let names_file = !scope.text("api_token_file").is_empty();
    match (written.flatten(), file) {
        (Some(_), _) if names_file => {
            scope.fault(
                "api_token",
                "is set beside cloudflare.api_token_file: set one of them only".into(),
            );
            none
        }
        (Some(token), _) => TokenSource::Value(token),
        (None, Some((path, token))) => TokenSource::File(path, token),
        (None, None) => {
            // Said only if both are truly empty: a bad token is a fault of its own.
            let empty = scope.find("api_token").is_some_and(|(value, _)| {
                value.as_str().is_some_and(|text| text.trim().is_empty())
            });
            if empty && !names_file {
                scope.fault(
                    "api_token_file",
                    "there is no API token: name a file that holds it, or set cloudflare.api_token"
                        .into(),
                );
            }
            none
        }
    }
}

/// The token a key's file holds; `None` if the key is empty or at fault.
fn token_file(scope: &Scope, name: &str) -> Option<(PathBuf, Secret)> {
    let path = scope.path(name)?;
    match read_token_file(&path) {
        Ok(token) => Some((path, token)),
        Err(_) if looks_like_token(&scope.text(name)) && !path.exists() => {
            // Not repeated, and so not named either.
            scope.fault(name, NO_FILE_BUT_A_TOKEN.into());
            None
        }
        Err(sentence) => {
            scope.fault(name, sentence);
            None
        }
    }
}

/// Whether a file's name may be a token in the wrong place: long, and without dot or slash.
fn looks_like_token(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    name.len() >= 32 && name.bytes().all(fits)
}

/// Reads a token from a file, without the white space around it.
///
/// # Errors
///
/// The rest of a sentence that names the file and never its content.
pub fn read_token_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("cannot read {shown} ({error}): name a readable file that holds the token")
    })?;
    match text.trim() {
        "" => Err(format!("{shown} is empty: write the token into it")),
        token => checked_token(token).map_err(|sentence| format!("{shown}: {sentence}")),
    }
}

/// A token that can stand in a header.
fn checked_token(token: &str) -> Result<Secret, String> {
    if token.contains(char::is_whitespace) {
        return Err("the token has white space inside: write the token alone".into());
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "the token has characters that no HTTP header can carry: write the token alone".into(),
        );
    }
    Ok(Secret::new(token))
}
