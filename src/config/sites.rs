//! `[[site]]`: what is wrong inside one site, and between sites.

use super::edge;
use super::keys;
use super::names::{full_hostname, is_inside};
use super::origins;
use super::probes;
use super::read::Reading;
use super::scope::Scope;
use super::unknown::{self, Table};
use super::values::{describe, entries, text};
use super::{Origin, ProbeKind, ProbeSettings, Site, Zone};
use crate::matcher::Matcher;
use crate::rule::address::{Address, Place, RecordType, Role};
use figment::value::{Dict, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Reads every site. Those at fault are left out: what they lack is noted.
pub(super) fn sites(reading: &Reading) -> Vec<Arc<Site>> {
    let example = "write one with name, hostname, zone, main and backup";
    let list = match reading.root().get("site") {
        Some(Value::Array(_, list)) if !list.is_empty() => list,
        None | Some(Value::Array(..)) => {
            reading.fault("site", format!("there is no [[site]]: {example}"));
            return Vec::new();
        }
        Some(other) => {
            reading.fault_at(
                other,
                "site",
                "is a single table: write [[site]], in two pairs of brackets".into(),
            );
            return Vec::new();
        }
    };
    let shared = Shared::new(reading);
    let (mut sites, mut all) = (Vec::new(), Vec::new());
    for (index, value) in list.iter().enumerate() {
        let Some(dict) = value.as_dict() else {
            reading.fault_at(
                value,
                format!("site[{}]", index + 1),
                format!("must be a table, not {}: write [[site]]", describe(value)),
            );
            continue;
        };
        let reader = SiteReader::new(reading, index, value, dict);
        let (claims, site) = reader.read(&shared);
        all.push((reader.at, value, claims));
        sites.extend(site.map(Arc::new));
    }
    check_between(reading, &all);
    sites
}

/// The sections that a site may override.
struct Shared<'a> {
    probe: Scope<'a>,
    rule: Scope<'a>,
    edge: Scope<'a>,
}

impl<'a> Shared<'a> {
    /// Reads them even where every site overrides them, so that their faults are seen.
    fn new(reading: &'a Reading) -> Self {
        let shared = Shared {
            probe: Scope::new(reading, "probe"),
            rule: Scope::new(reading, "rule"),
            edge: Scope::new(reading, "edge"),
        };
        probes::settings(&shared.probe, "");
        probes::policy(&shared.rule);
        edge::settings(&shared.edge);
        shared
    }
}

/// What a site claims for itself alone, as far as it could be read.
struct Claims {
    name: Option<Arc<str>>,
    hostnames: Vec<String>,
    /// The types of its records; empty where its origins are at fault.
    kinds: Vec<RecordType>,
}

/// One site being read.
struct SiteReader<'a> {
    reading: &'a Reading,
    value: &'a Value,
    dict: &'a Dict,
    /// `site[2] "www"`, or `site[2]` while it has no name.
    at: String,
}

impl<'a> SiteReader<'a> {
    fn new(reading: &'a Reading, index: usize, value: &'a Value, dict: &'a Dict) -> Self {
        let name = dict.get("name").and_then(Value::as_str);
        let name = name.map_or(String::new(), |name| format!(" {name:?}"));
        SiteReader {
            reading,
            value,
            dict,
            at: format!("site[{}]{name}", index + 1),
        }
    }

    fn fault(&self, key: &str, sentence: impl Into<String>) {
        let value = self.dict.get(key).unwrap_or(self.value);
        let key = format!("{}: {key}", self.at);
        self.reading.fault_at(value, key, sentence.into());
    }

    /// A key's value through `convert`, or a fault; `None` without a word if it is not there.
    fn get<T>(&self, key: &str, convert: impl FnOnce(&'a Value) -> Result<T, String>) -> Option<T> {
        convert(self.dict.get(key)?)
            .map_err(|sentence| self.fault(key, sentence))
            .ok()
    }

    /// The same for a key that must be there.
    fn must<T>(
        &self,
        key: &str,
        example: &str,
        convert: impl FnOnce(&'a Value) -> Result<T, String>,
    ) -> Option<T> {
        if !self.dict.contains_key(key) {
            self.fault(key, format!("is missing: write {example}"));
        }
        self.get(key, convert)
    }

    /// What the site claims, and the site itself if nothing is at fault.
    fn read(&self, shared: &Shared<'a>) -> (Claims, Option<Site>) {
        unknown::check(
            self.reading,
            self.dict,
            &Table {
                at: &self.at,
                prefix: "",
                known: &keys::SITE,
                sections: &keys::PER_SITE,
            },
        );
        let name = self.must("name", "name = \"www\"", site_name);
        let hostnames = self
            .must("hostname", "hostname = \"www.example.com\"", hostnames)
            .unwrap_or_default();
        let zone = self.zone(&hostnames);
        let matchers = self.get("matchers", matchers);
        let policy = probes::policy(&self.layered(&shared.rule, "rule"));
        let edge = edge::settings(&self.layered(&shared.edge, "edge"));
        let host = hostnames.first().map_or("", String::as_str);
        let probe = self.layered(&shared.probe, "probe");
        let mut settings = Arc::new(probes::settings(&probe, host));
        let origins = self.origins(&probe, &settings, host);
        if let Some(origins) = &origins {
            self.check_origins(&hostnames, origins);
        }
        let main = origins.as_ref().and_then(|origins| origins.first());
        let claims = Claims {
            name: name.clone(),
            hostnames: hostnames.clone(),
            kinds: main.map_or(Vec::new(), |main| main.place.kinds().collect()),
        };
        if let (0, Some(main)) = (settings.port, main) {
            // TCP without a port of the site's own: an unknown address is asked as MAIN is.
            settings = main.probe.clone();
        }
        let site = name
            .zip(zone)
            .zip(origins)
            .map(|((name, zone), origins)| Site {
                name,
                hostnames,
                zone,
                origins,
                policy,
                probe: settings,
                edge,
                matchers: matchers.unwrap_or_default().into(),
            });
        (claims, site)
    }

    /// `[site.probe]`, `[site.rule]` or `[site.edge]` over the section of that name.
    fn layered(&self, section: &Scope<'a>, name: &'static str) -> Scope<'a> {
        let Some(value) = self.dict.get(name) else {
            return section.clone();
        };
        let Some(dict) = value.as_dict() else {
            let found = describe(value);
            self.fault(
                name,
                format!("must be a table, not {found}: write [site.{name}]"),
            );
            return section.clone();
        };
        unknown::check(
            self.reading,
            dict,
            &Table {
                at: &self.at,
                prefix: &format!("{name}."),
                known: &overridable(name),
                sections: &keys::PER_SITE,
            },
        );
        section.under(dict, format!("{}: {name}.", self.at))
    }

    fn zone(&self, hostnames: &[String]) -> Option<Zone> {
        let given = |key| self.dict.get(key).is_some_and(|v| v.as_str() != Some(""));
        match (given("zone"), given("zone_id")) {
            (true, true) => {
                self.fault("zone_id", "is set beside zone: keep one of them");
                None
            }
            (false, true) => self.get("zone_id", zone_id).map(Zone::Id),
            (true, false) => {
                let zone = self.get("zone", |value| full_hostname(text(value)?))?;
                for hostname in hostnames.iter().filter(|name| !is_inside(name, &zone)) {
                    self.fault(
                        "hostname",
                        format!("{hostname} lies outside of the zone {zone}: correct one of them"),
                    );
                }
                Some(Zone::Name(zone))
            }
            (false, false) => {
                self.fault(
                    "zone",
                    "is missing: write zone = \"example.com\", or zone_id",
                );
                None
            }
        }
    }

    /// MAIN, then the BACKUPs; `None` if one of them is missing or at fault, for
    /// the others cannot be compared by their roles then.
    fn origins(
        &self,
        probe: &Scope<'a>,
        shared: &Arc<ProbeSettings>,
        host: &str,
    ) -> Option<Vec<Origin>> {
        let main = self.must("main", "main = \"192.0.2.10\"", Ok);
        let backups = self
            .must(
                "backup",
                "backup = \"198.51.100.20\"",
                |value| match value {
                    Value::Array(_, list) if list.is_empty() => {
                        Err("is empty: write at least one".into())
                    }
                    _ => Ok(entries(value)),
                },
            )
            .unwrap_or_default();
        let named = main
            .map(|value| ("main".to_owned(), value))
            .into_iter()
            .chain(backups.iter().enumerate().map(|(n, value)| {
                let list = self
                    .dict
                    .get("backup")
                    .is_some_and(|b| b.as_array().is_some());
                let key = if list {
                    format!("backup[{}]", n + 1)
                } else {
                    "backup".into()
                };
                (key, value)
            }));
        // All are read before one that is at fault ends it, so that each is told.
        let read: Vec<_> = named
            .map(|(key, value)| self.origin(&key, value, probe, shared, host))
            .collect();
        let complete = main.is_some() && !backups.is_empty();
        let mut origins = read.into_iter().collect::<Option<Vec<_>>>()?;
        share_settings(&mut origins);
        complete.then_some(origins)
    }

    fn origin(
        &self,
        key: &str,
        value: &'a Value,
        probe: &Scope<'a>,
        shared: &Arc<ProbeSettings>,
        host: &str,
    ) -> Option<Origin> {
        let at = format!("{}: {key}", self.at);
        let mut settings = shared.clone();
        if let Some(dict) = value.as_dict() {
            let known: Vec<_> = keys::PLACE
                .into_iter()
                .chain(overridable("probe"))
                .collect();
            let table = Table {
                at: &at,
                prefix: &format!("{key}."),
                known: &known,
                sections: &[],
            };
            unknown::check(self.reading, dict, &table);
            if dict.keys().any(|key| !keys::PLACE.contains(&key.as_str())) {
                let scope = probe.under(dict, format!("{at}."));
                settings = Arc::new(probes::settings(&scope, host));
            }
        }
        if settings.kind == ProbeKind::Tcp && settings.port == 0 {
            self.reading.fault_at(
                value,
                &at,
                "kind = \"tcp\" has no usual port: write probe.port, or `port` into the origin's table"
                    .into(),
            );
        }
        match origins::place(value) {
            Ok(place) => {
                if let Some(sentence) = origins::warning(&place) {
                    self.reading.warn(format!("{at}: {sentence}"));
                }
                Some(Origin {
                    place,
                    probe: settings,
                })
            }
            Err(sentence) => {
                self.reading.fault_at(value, at, sentence);
                None
            }
        }
    }

    /// Origins of one site must be told apart, and fit into the same records.
    fn check_origins(&self, hostnames: &[String], origins: &[Origin]) {
        for (n, origin) in origins.iter().enumerate() {
            let role = Role::of_index(n);
            let key = if n == 0 { "main" } else { "backup" };
            for address in origin.place.addresses() {
                if let Address::Name(name) = address
                    && hostnames.contains(name)
                {
                    self.fault(
                        key,
                        format!("{name} is a hostname of the site: a CNAME cannot point to itself"),
                    );
                }
                let earlier = origins[..n]
                    .iter()
                    .position(|other| other.place.addresses().contains(address));
                if let Some(other) = earlier {
                    self.fault(
                        key,
                        format!(
                            "{role} and {} are both {address}: origins must differ",
                            Role::of_index(other)
                        ),
                    );
                }
            }
            let (own, mains) = (kinds(&origin.place), kinds(&origins[0].place));
            if own != mains {
                self.fault(
                    key,
                    format!(
                        "{role} needs a record of type {own}, but main one of type {mains}: give all origins the same families"
                    ),
                );
            }
        }
    }
}

/// Origins that are probed alike share their settings: there may be very many.
fn share_settings(origins: &mut [Origin]) {
    for n in 1..origins.len() {
        let (before, rest) = origins.split_at_mut(n);
        let alike = before.iter().find(|other| other.probe == rest[0].probe);
        if let Some(other) = alike {
            rest[0].probe = other.probe.clone();
        }
    }
}

fn kinds(place: &Place) -> String {
    let kinds: Vec<_> = place.kinds().map(RecordType::as_str).collect();
    kinds.join(" and ")
}

/// The keys of a section that a site may override.
fn overridable(section: &str) -> Vec<&'static str> {
    keys::names(section)
        .filter(|name| keys::GLOBAL_ONLY.iter().all(|(global, _)| global != name))
        .collect()
}

fn site_name(value: &Value) -> Result<Arc<str>, String> {
    let name = text(value)?;
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    // `.` and `..` would vanish from the paths of the API.
    if name.is_empty() || !name.bytes().all(fine) || name == "." || name == ".." {
        return Err(format!(
            "{name:?} is no name for a site: write letters, digits, dots, hyphens and underscores"
        ));
    }
    Ok(name.into())
}

fn hostnames(value: &Value) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for entry in entries(value) {
        let name = full_hostname(text(entry)?)?;
        if names.contains(&name) {
            return Err(format!("{name} is there twice: write it once"));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err("is empty: write at least one".into());
    }
    Ok(names)
}

fn zone_id(value: &Value) -> Result<String, String> {
    let id = text(value)?;
    if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(id.to_ascii_lowercase());
    }
    Err(format!(
        "{id:?} is no zone id: write the 32 hexadecimal digits from the zone's overview page"
    ))
}

/// A list of matchers, or a single one.
pub(super) fn matchers(value: &Value) -> Result<Vec<Matcher>, String> {
    entries(value)
        .iter()
        .map(|entry| Matcher::parse(text(entry)?))
        .collect()
}

/// Sites must not share a name, nor a record.
fn check_between(reading: &Reading, sites: &[(String, &Value, Claims)]) {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut records: HashMap<&str, Vec<(RecordType, &str)>> = HashMap::new();
    for (at, value, site) in sites {
        if let Some(name) = &site.name
            && let Some(other) = names.insert(name, at)
        {
            let sentence = format!("is the name of {other} too: give each site its own");
            reading.fault_at(value, format!("{at}: name"), sentence);
        }
        let kinds = &site.kinds;
        for hostname in &site.hostnames {
            let held = records.entry(hostname).or_default();
            let shared = held.iter().find(|(kind, _)| {
                // A CNAME bears no other record beside it.
                kinds.contains(kind)
                    || *kind == RecordType::Cname
                    || kinds.contains(&RecordType::Cname)
            });
            if let Some((kind, other)) = shared {
                let sentence = format!(
                    "{hostname} has its {kind} record in {other} already: a record belongs to one site"
                );
                reading.fault_at(value, format!("{at}: hostname"), sentence);
            }
            held.extend(kinds.iter().map(|kind| (*kind, at.as_str())));
        }
    }
    for (at, value, site) in sites {
        let Some(name) = &site.name else { continue };
        let owner = records.get(&**name).and_then(|held| held.first());
        if let Some((_, other)) = owner.filter(|(_, other)| other != at) {
            let sentence = format!(
                "is a hostname of {other}: alerts could not tell the two sites apart, rename one"
            );
            reading.fault_at(value, format!("{at}: name"), sentence);
        }
    }
}
