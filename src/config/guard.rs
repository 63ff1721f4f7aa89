//! `[guard]`: what holds over all sites.

use super::probes;
use super::read::Reading;
use super::scope::Scope;
use super::values::{any_entries, count, text};
use super::{ControlTarget, Guard, ProbeKind, ProbeSettings, Site, StatusSet};
use crate::rule::address::{Address, Place};
use figment::value::Value;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Sites in one wave: more than there can be.
const LARGEST_WAVE: u64 = 1_000_000;

pub(super) fn guard(reading: &Reading) -> Guard {
    let scope = Scope::new(reading, "guard");
    let like = probes::settings(&Scope::new(reading, "probe"), "");
    let targets: Vec<ControlTarget> = scope
        .read("control_targets", |value| {
            any_entries(value)
                .map(|entry| target(text(entry)?, &like))
                .collect()
        })
        .unwrap_or_default();
    let needed = scope.count("control_needed");
    if !targets.is_empty() && needed > targets.len() {
        scope.fault(
            "control_needed",
            format!(
                "is {needed}, but there are only {} control_targets: nothing would ever be believed down",
                targets.len()
            ),
        );
    }
    let mut seen = HashSet::new();
    for target in &targets {
        if !seen.insert(&target.text) {
            let text = &target.text;
            let sentence = format!("{text:?} is there twice, and would count twice: write it once");
            scope.fault("control_targets", sentence);
        }
    }
    Guard {
        control_targets: targets,
        control_needed: needed,
        max_sites_together: scope.count("max_sites_together"),
        together_window: scope.duration("together_window"),
        wave: scope.read("wave", waves).unwrap_or_default(),
        wave_pause: scope.duration("wave_pause"),
    }
}

/// The sizes of waves.
fn waves(value: &Value) -> Result<Vec<usize>, String> {
    let size = |entry| {
        let size = count(entry, 1, LARGEST_WAVE)
            .map_err(|why| format!("{why}: write sizes such as [10, 50], or [] for no waves"))?;
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    };
    any_entries(value).map(size).collect()
}

/// A target that is an origin says nothing of our network when it dies.
pub(super) fn warn_of_origins(reading: &Reading, guard: &Guard, sites: &[Arc<Site>]) {
    for target in &guard.control_targets {
        let origins = |site: &&Arc<Site>| {
            let places = site.origins.iter().map(|origin| &origin.place);
            places
                .flat_map(Place::addresses)
                .any(|a| *a == target.address)
        };
        if let Some(site) = sites.iter().find(origins) {
            reading.warn(format!(
                "guard.control_targets: {} is an origin of {}: when it dies, nothing is believed down; name servers that are no origins",
                target.text, site.name
            ));
        }
    }
}

/// Reads `https://host[:port][/path]`, `http://…` or `tcp://host:port`.
fn target(written: &str, like: &ProbeSettings) -> Result<ControlTarget, String> {
    let example = "write one such as \"https://www.example.org\" or \"tcp://192.0.2.1:443\"";
    let url = reqwest::Url::parse(written)
        .map_err(|error| format!("{written:?} is no URL ({error}): {example}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: there may be a password in it.
        return Err(format!("holds a user or a password: {example}"));
    }
    let kind = match url.scheme() {
        "https" => ProbeKind::Https,
        "http" => ProbeKind::Http,
        "tcp" => ProbeKind::Tcp,
        other => {
            return Err(format!(
                "{written:?} begins with {other}:, which is not known: {example}"
            ));
        }
    };
    let bare = kind == ProbeKind::Tcp
        && (!matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some());
    if bare {
        return Err(format!(
            "{written:?} asks a TCP port for a path: write \"tcp://host:port\" alone"
        ));
    }
    let host = url
        .host_str()
        .map(|host| host.trim_matches(['[', ']']))
        .filter(|host| !host.is_empty())
        .ok_or_else(|| format!("{written:?} names no host: {example}"))?;
    let port = match (url.port_or_known_default(), kind) {
        (Some(port), _) if port > 0 => port,
        _ => {
            return Err(format!(
                "{written:?} names no port: write \"tcp://host:port\""
            ));
        }
    };
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => Address::from(ip),
        Err(_) => Address::name(host),
    };
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Ok(ControlTarget {
        text: written.into(),
        address,
        probe: Arc::new(ProbeSettings {
            kind,
            port,
            path: if path.is_empty() { "/".into() } else { path },
            method: "GET".into(),
            host: host.to_owned(),
            headers: BTreeMap::new(),
            // Any answer shows that we reach it; but a gateway in between
            // answers with a 5xx where it reaches nothing.
            expect_status: StatusSet(vec![(200, 499)]),
            expect_body: None,
            ..like.clone()
        }),
    })
}
