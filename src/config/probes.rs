//! Probe settings and the rule's settings, each through its layers.

use super::names::hostname;
use super::scope::Scope;
use super::values::{describe, entries, text};
use super::{ProbeKind, ProbeSettings, StatusSet};
use crate::matcher::regex_reason;
use crate::rule::{Failback, Policy, Stance};
use figment::value::Value;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use regex::bytes::Regex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The rule's settings.
pub(super) fn policy(scope: &Scope) -> Policy {
    let max_switches = scope.count("max_switches");
    if max_switches == 1
        && let Some((_, key)) = scope.find("max_switches")
    {
        scope.reading.warn(format!(
            "{key} is 1: a return never spends the last switch, so the site will not go back to MAIN by itself"
        ));
    }
    Policy {
        fall: scope.count("fall"),
        rise: scope.count("rise"),
        confirm_interval: scope.duration("confirm_interval"),
        confirm_for: scope.duration("confirm_for"),
        require_proof: scope.flag("require_proof"),
        failback: match scope.choice("failback") {
            "manual" => Failback::Manual,
            _ => Failback::Auto,
        },
        failback_after: scope.duration("failback_after"),
        failback_max: scope.duration("failback_max"),
        failback_spread: scope.duration("failback_spread"),
        unknown_origin: stance(scope.choice("unknown_origin")),
        foreign_edit: stance(scope.choice("foreign_edit")),
        max_switches,
        switch_window: scope.duration("switch_window"),
        verify_after: scope.duration("verify_after"),
        dry_run: scope.flag("dry_run"),
    }
}

fn stance(word: &str) -> Stance {
    match word {
        "reclaim" => Stance::Reclaim,
        _ => Stance::Hold,
    }
}

/// The probe settings of a site or origin; `site_host` fills an empty `host`.
///
/// A TCP probe without a port comes out with port 0, for the caller to judge:
/// a site's own settings may lack what each of its origins names.
pub(super) fn settings(scope: &Scope, site_host: &str) -> ProbeSettings {
    let kind = match scope.choice("kind") {
        "http" => ProbeKind::Http,
        "tcp" => ProbeKind::Tcp,
        _ => ProbeKind::Https,
    };
    let verify_tls = scope.flag("verify_tls");
    if !verify_tls
        && kind == ProbeKind::Https
        && let Some((value, key)) = scope.find("verify_tls")
        && value.to_bool() == Some(false)
    {
        scope.reading.warn(format!(
            "{key} is false: an origin counts as up with any certificate, also one that Cloudflare refuses"
        ));
    }
    ProbeSettings {
        kind,
        port: match (scope.count("port"), kind) {
            (0, ProbeKind::Https) => 443,
            (0, ProbeKind::Http) => 80,
            (port, _) => port,
        },
        path: scope.parsed("path", path).unwrap_or_default(),
        method: scope.parsed("method", method).unwrap_or_default(),
        host: scope
            .parsed("host", |text| match text {
                "" => Ok(site_host.to_owned()),
                ip if ip.parse::<IpAddr>().is_ok() => Ok(ip.to_owned()),
                name => hostname(name),
            })
            .unwrap_or_default(),
        headers: scope.read("headers", headers).unwrap_or_default(),
        expect_status: scope
            .read("expect_status", statuses)
            .unwrap_or(StatusSet(Vec::new())),
        expect_body: scope.parsed("expect_body", body).flatten(),
        timeout: scope.duration("timeout"),
        interval: scope.duration("interval"),
        verify_tls,
        ca_file: ca_file(scope),
    }
}

fn path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!(
            "{text:?} does not start with a slash: write \"/\" or \"/health\""
        ));
    }
    match PathAndQuery::try_from(text) {
        // Equal only if nothing was dropped, as a fragment is.
        Ok(parsed) if parsed.as_str() == text => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} cannot stand in a request: percent-encode all but letters, digits and signs, and drop any `#`"
        )),
    }
}

fn method(text: &str) -> Result<String, String> {
    let bad = format!("{text:?} is no method: write one such as \"GET\" or \"HEAD\"");
    match Method::from_bytes(text.as_bytes()) {
        Err(_) => Err(bad),
        Ok(Method::CONNECT) => Err(bad),
        Ok(_) if text.bytes().any(|b| b.is_ascii_lowercase()) => Err(format!(
            "{text:?} is in lower case: write {:?}",
            text.to_ascii_uppercase()
        )),
        Ok(method) => Ok(method.to_string()),
    }
}

fn headers(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let Some(dict) = value.as_dict() else {
        return Err(format!(
            "must be a table such as {{ accept = \"text/html\" }}, not {}",
            describe(value)
        ));
    };
    let mut headers = BTreeMap::new();
    for (name, value) in dict {
        let lower = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{name:?} is no header name: write one such as \"accept\""))?
            .as_str()
            .to_owned();
        match lower.as_str() {
            "host" => return Err("holds `host`: write it as the key `host` instead".into()),
            "connection" | "content-length" | "transfer-encoding" => {
                return Err(format!(
                    "holds `{lower}`, which the probe sets itself: leave it out"
                ));
            }
            _ => {}
        }
        let text = text(value).map_err(|sentence| format!("`{name}` {sentence}"))?;
        // The value is not repeated: it may be a password.
        HeaderValue::from_str(text).map_err(|_| {
            format!(
                "the value of `{name}` cannot stand in a header: write it in ASCII and on one line"
            )
        })?;
        if headers.insert(lower, text.to_owned()).is_some() {
            return Err(format!("holds `{name}` twice, in different case: keep one"));
        }
    }
    Ok(headers)
}

/// The statuses as ranges, sorted and merged, so that `2xx` and `200-299` are one.
fn statuses(value: &Value) -> Result<StatusSet, String> {
    let mut ranges = entries(value)
        .iter()
        .map(|entry| {
            status_range(entry).ok_or_else(|| {
                format!(
                    "{} is no status: write \"200\", \"200-399\" or \"2xx\"",
                    describe(entry)
                )
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if ranges.is_empty() {
        return Err("is empty, so nothing could be up: write one such as [\"200-399\"]".into());
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if low <= last.1 + 1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    Ok(StatusSet(merged))
}

fn status_range(entry: &Value) -> Option<(u16, u16)> {
    let written = match entry {
        Value::String(_, text) => text.clone(),
        Value::Num(..) => describe(entry),
        _ => return None,
    };
    let one = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|status| digits && (100..=599).contains(status))
    };
    if let Some(class) = written.to_ascii_lowercase().strip_suffix("xx") {
        let low = one(&format!("{class}00"))?;
        return Some((low, low + 99));
    }
    let (low, high) = written.split_once('-').unwrap_or((&written, &written));
    let range = (one(low.trim())?, one(high.trim())?);
    (range.0 <= range.1).then_some(range)
}

fn body(text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    Regex::new(text).map(Some).map_err(|error| {
        format!(
            "{text:?} is no valid regular expression: {}",
            regex_reason(&error)
        )
    })
}

/// The file of trust anchors, looked at once so that a bad one is found at start.
fn ca_file(scope: &Scope) -> Option<PathBuf> {
    let path = scope.path("ca_file")?;
    if let Err(sentence) = readable_anchors(&path) {
        scope.fault("ca_file", sentence);
    }
    Some(path)
}

fn readable_anchors(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| {
        format!("cannot read {shown} ({error}): name a readable file of PEM certificates")
    })?;
    match CertificateDer::pem_slice_iter(&pem).next() {
        Some(Ok(_)) => Ok(()),
        _ => Err(format!(
            "{shown} holds no PEM certificate: name a file that begins with -----BEGIN CERTIFICATE-----"
        )),
    }
}
