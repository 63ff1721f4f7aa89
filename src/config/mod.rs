//! The configuration: raw values in (TOML, then the environment), validated
//! types out, every fault reported at once.
//!
//! The types here are valid by construction: whoever holds a [`Config`] need
//! not check anything again.

mod addresses;
mod durations;
mod edge;
mod effective;
mod faults;
mod guard;
mod keys;
mod names;
mod nearest;
mod origins;
mod probes;
mod read;
mod scope;
mod sections;
mod sites;
mod unknown;
mod values;

pub use durations::{parse as parse_duration, show as show_duration};
pub use faults::{Fault, Faults};
pub use keys::{KEYS, Key, Kind};
pub use origins::parse_address;
pub use sections::{is_loopback, parse_listen, parse_url, read_token_file};

use crate::matcher::Matcher;
use crate::rule::Policy;
use crate::rule::address::{Address, Place};
use regex::bytes::Regex;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Reads and validates the configuration: the file at `path`, and over it the
/// environment's `ORIGINSWITCH_SECTION__KEY`.
///
/// Relative paths in it count from the file's folder. Token and CA files are
/// read here once, so that a bad one is found at start.
///
/// # Errors
///
/// Every fault at once; alone only a file that cannot be read or is no TOML.
pub fn load(
    path: &Path,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Faults> {
    let reading = read::Reading::open(path, env)?;
    unknown::check_sections(&reading);
    let config = Config {
        source: path.to_owned(),
        server: sections::server(&reading),
        cloudflare: sections::cloudflare(&reading),
        max_in_flight: scope::Scope::new(&reading, "probe").count("max_in_flight"),
        max_per_address: scope::Scope::new(&reading, "probe").count("max_per_address"),
        guard: guard::guard(&reading),
        alerts: sections::alerts(&reading),
        notify: sections::notify(&reading),
        state: sections::state(&reading),
        sites: sites::sites(&reading),
        warnings: Vec::new(),
    };
    guard::warn_of_origins(&reading, &config.guard, &config.sites);
    sections::check_zone_tokens(&reading, &config.cloudflare, &config.sites);
    let warnings = reading.finish()?;
    Ok(Config { warnings, ..config })
}

/// The environment's variables. One that is no text cannot be ours.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub source: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[cloudflare]`.
    pub cloudflare: Cloudflare,
    /// `[probe] max_in_flight`: probes under way at once, over all sites.
    pub max_in_flight: usize,
    /// `[probe] max_per_address`: probes under way at once to one address, over
    /// all sites.
    pub max_per_address: usize,
    /// `[guard]`.
    pub guard: Guard,
    /// `[alerts]`.
    pub alerts: Alerts,
    /// `[notify]`.
    pub notify: Notify,
    /// `[state]`.
    pub state: State,
    /// `[[site]]`, in the order of the file.
    pub sites: Vec<Arc<Site>>,
    /// What is allowed but worth a second look; one sentence each.
    pub warnings: Vec<String>,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What `/webhook` asks for, if anything.
    pub webhook_token: Option<Secret>,
    /// What the page, the API and reload ask for; without it only loopback
    /// peers without forwarding headers may.
    pub admin_token: Option<Secret>,
    /// The largest body taken, in bytes.
    pub max_body: usize,
}

/// `[cloudflare]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cloudflare {
    /// Where the API token comes from.
    pub token: TokenSource,
    /// The API's base URL, without a trailing slash.
    pub api_url: String,
    /// Time limit of one request.
    pub timeout: Duration,
    /// Cloudflare's budget for a token, in requests per 300 s.
    pub requests_per_5m: u32,
    /// How many records may change in one call.
    pub max_batch: usize,
    /// Zones with a token of their own.
    pub zone_tokens: Vec<ZoneToken>,
}

/// The token of one zone.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneToken {
    /// The zone, as sites name it.
    pub zone: Zone,
    /// The same as it was written.
    pub written: String,
    /// Where the token is, read again every minute.
    pub file: PathBuf,
    /// What the file held at start.
    pub value: Secret,
}

/// Where the API token comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenSource {
    /// Written in the configuration or the environment.
    Value(Secret),
    /// A file, read again every minute; the value is what it held at start.
    File(PathBuf, Secret),
}

impl TokenSource {
    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            TokenSource::Value(_) => None,
            TokenSource::File(path, _) => Some(path),
        }
    }
}

/// `[guard]`: what holds over all sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// What tells whether our own network reaches anything.
    pub control_targets: Vec<ControlTarget>,
    /// How many of them must answer for anything to be believed down.
    pub control_needed: usize,
    /// Sites that may leave MAIN within `together_window`; 0 is no limit.
    pub max_sites_together: usize,
    /// The sliding window of `max_sites_together`.
    pub together_window: Duration,
    /// How many sites may flee to one origin in each wave; after the last one
    /// all may. Empty: no waves.
    pub wave: Vec<usize>,
    /// Between the last result of a wave and the next one.
    pub wave_pause: Duration,
}

/// Somebody else's server, asked whether it answers at all.
#[derive(Debug, Clone)]
pub struct ControlTarget {
    /// As it was written.
    pub text: Arc<str>,
    /// Where it is.
    pub address: Address,
    /// How it is asked.
    pub probe: Arc<ProbeSettings>,
}

/// Two are the same if the same is asked in the same way.
impl PartialEq for ControlTarget {
    fn eq(&self, other: &ControlTarget) -> bool {
        let print = |target: &ControlTarget| format!("{:?}", target.probe);
        self.text == other.text && print(self) == print(other)
    }
}

impl Eq for ControlTarget {}

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// The label whose value names a site or one of its hostnames.
    pub site_label: String,
    /// How long a firing alert that is not repeated still counts as firing.
    pub ttl: Duration,
    /// Which alert always fires while the alert path lives; all must match,
    /// and none turn it off.
    pub watchdog: Vec<Matcher>,
    /// After so much silence of it the alert path is dead.
    pub watchdog_timeout: Duration,
}

/// `[notify]`: who is told of switches, holds and refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The base URLs of Alertmanagers, each told everything; none: nobody is.
    pub alertmanager_urls: Vec<String>,
    /// What they ask for, if anything.
    pub token: Option<Secret>,
    /// A hold that lasts this long is told.
    pub hold_for: Duration,
}

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long history is kept.
    pub keep: Duration,
}

/// `[[site]]`: hostnames served together from several origins.
#[derive(Debug, Clone)]
pub struct Site {
    /// The name used in metrics, the API and alerts.
    pub name: Arc<str>,
    /// Lower case, in the order of the file; all of them in `zone`.
    pub hostnames: Vec<String>,
    /// Where the records live.
    pub zone: Zone,
    /// MAIN first, then the BACKUPs in order of preference; at least two.
    pub origins: Vec<Origin>,
    /// The settings of the rule.
    pub policy: Policy,
    /// Probe settings for an address that is not configured: the site's own.
    pub probe: Arc<ProbeSettings>,
    /// How the site is asked for through the edge.
    pub edge: EdgeSettings,
    /// Alerts that belong to the site in addition to `site_label`; all must match.
    pub matchers: Box<[Matcher]>,
}

/// Where a site's records live.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Zone {
    /// Looked up by name.
    Name(String),
    /// Known by its id: 32 hexadecimal digits.
    Id(String),
}

/// One origin of a site.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What the records hold when the site lives here.
    pub place: Place,
    /// How it is probed.
    pub probe: Arc<ProbeSettings>,
}

/// What kind of probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// HTTP over TLS.
    Https,
    /// Plain HTTP.
    Http,
    /// A TCP connection.
    Tcp,
}

impl ProbeKind {
    /// The word used in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ProbeKind::Https => "https",
            ProbeKind::Http => "http",
            ProbeKind::Tcp => "tcp",
        }
    }
}

/// How an origin is probed, defaults filled in: `port` and `host` are never empty.
#[derive(Clone)]
pub struct ProbeSettings {
    /// The kind of probe.
    pub kind: ProbeKind,
    /// The port dialled.
    pub port: u16,
    /// The path asked for.
    pub path: String,
    /// The method used.
    pub method: String,
    /// Host header and TLS server name.
    pub host: String,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// The statuses that mean up.
    pub expect_status: StatusSet,
    /// Searched in the first 64 KiB of the body.
    pub expect_body: Option<Regex>,
    /// Time limit of one probe, name look-up and connect included.
    pub timeout: Duration,
    /// Between routine probes of one origin.
    pub interval: Duration,
    /// Whether the certificate must be acceptable for `host`.
    pub verify_tls: bool,
    /// Extra trust anchors, a PEM file.
    pub ca_file: Option<PathBuf>,
}

impl PartialEq for ProbeSettings {
    fn eq(&self, other: &ProbeSettings) -> bool {
        fn parts(it: &ProbeSettings) -> impl PartialEq {
            // Each is named, so that a new one is not forgotten.
            let ProbeSettings {
                kind,
                port,
                path,
                method,
                host,
                headers,
                expect_status,
                expect_body,
                timeout,
                interval,
                verify_tls,
                ca_file,
            } = it;
            let body = expect_body.as_ref().map(Regex::as_str);
            (
                (kind, port, path, method, host, headers),
                (expect_status, body, timeout, interval, verify_tls, ca_file),
            )
        }
        parts(self) == parts(other)
    }
}

/// `[edge]`: whether and how a site is asked for the way its visitors do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Whether it is asked at all.
    pub probe: bool,
    /// What is dialled; `None` is what a visitor's resolver finds.
    pub address: Option<Box<EdgeAddress>>,
    /// Time limit of one look, name look-up and connect included.
    pub timeout: Duration,
    /// How long after a switch the edge may take to show it.
    pub settle: Duration,
}

/// What is dialled instead of the address that a resolver finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeAddress {
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The URL that the configuration takes.
impl fmt::Display for EdgeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A set of HTTP statuses, as inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(pub Vec<(u16, u16)>);

impl StatusSet {
    /// Whether `status` is in the set.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|&(low, high)| (low..=high).contains(&status))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (low, high)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

/// A secret: `Debug` and `Display` never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself; keep it out of logs, errors and metrics.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
