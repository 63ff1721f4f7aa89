//! Every key there is: the one table behind the check for unknown keys, the
//! reading of the environment, the bounds and the defaults.
//!
//! To add a key, add a row here and read it where its section is read
//! (`sections.rs`, `probes.rs`, `edge.rs`); to add a section, write rows that name it.

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, taken from the environment as it stands.
    Text,
    /// Text that is never shown.
    Secret,
    /// A duration of at least so many milliseconds.
    Duration(u64),
    /// A whole number between these bounds.
    Count(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list, or a single entry.
    List,
    /// Names with values.
    Table,
}

impl Kind {
    /// Whether the environment's text is the value as it stands, and not parsed.
    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Kind::Text | Kind::Secret | Kind::Duration(_) | Kind::Choice(_)
        )
    }
}

/// One key of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The section's name.
    pub section: &'static str,
    /// The key's name in its section.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Its default, as TOML.
    pub default: &'static str,
}

/// Keys of [`PER_SITE`] sections that a site may not override, and why.
pub(super) const GLOBAL_ONLY: [(&str, &str); 2] = [
    (
        "max_in_flight",
        "it counts over all sites: write it in [probe]",
    ),
    (
        "max_per_address",
        "it counts over all sites: write it in [probe]",
    ),
];

/// Sections that `[site.<section>]` overrides key by key.
pub(super) const PER_SITE: [&str; 3] = ["probe", "rule", "edge"];

/// The keys of `[[site]]`.
pub(super) const SITE: [&str; 10] = [
    "name", "hostname", "zone", "zone_id", "main", "backup", "matchers", "probe", "rule", "edge",
];

/// The keys that say where an origin lives; its table may hold those of `[probe]` too.
pub(super) const PLACE: [&str; 3] = ["ipv4", "ipv6", "hostname"];

const fn key(section: &'static str, name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key {
        section,
        name,
        kind,
        default,
    }
}

const ANY: u64 = 0;
const SOME: u64 = 1;
const GIB: u64 = 1 << 30;

/// Every key of every section.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("server", "listen", Kind::Text, r#""127.0.0.1:10053""#),
    key("server", "webhook_token_file", Kind::Text, r#""""#),
    key("server", "admin_token_file", Kind::Text, r#""""#),
    key("server", "max_body", Kind::Count(1024, GIB), "8388608"),

    key("cloudflare", "api_token_file", Kind::Text, r#""""#),
    key("cloudflare", "api_token", Kind::Secret, r#""""#),
    key("cloudflare", "api_url", Kind::Text, r#""https://api.cloudflare.com/client/v4""#),
    key("cloudflare", "timeout", Kind::Duration(SOME), r#""10s""#),
    key("cloudflare", "requests_per_5m", Kind::Count(10, 1_000_000), "1200"),
    key("cloudflare", "max_batch", Kind::Count(1, 3500), "200"),
    key("cloudflare", "zone_token_files", Kind::Table, "{}"),

    key("probe", "kind", Kind::Choice(&["https", "http", "tcp"]), r#""https""#),
    key("probe", "port", Kind::Count(0, 65535), "0"),
    key("probe", "path", Kind::Text, r#""/""#),
    key("probe", "method", Kind::Text, r#""GET""#),
    key("probe", "host", Kind::Text, r#""""#),
    key("probe", "headers", Kind::Table, "{}"),
    key("probe", "expect_status", Kind::List, r#"["200-399"]"#),
    key("probe", "expect_body", Kind::Text, r#""""#),
    key("probe", "timeout", Kind::Duration(SOME), r#""2s""#),
    key("probe", "interval", Kind::Duration(SOME), r#""10s""#),
    key("probe", "verify_tls", Kind::Flag, "true"),
    key("probe", "ca_file", Kind::Text, r#""""#),
    key("probe", "max_in_flight", Kind::Count(1, 100_000), "256"),
    key("probe", "max_per_address", Kind::Count(1, 100_000), "32"),

    key("rule", "fall", Kind::Count(1, 1000), "3"),
    key("rule", "rise", Kind::Count(1, 1000), "2"),
    key("rule", "confirm_interval", Kind::Duration(SOME), r#""1s""#),
    key("rule", "confirm_for", Kind::Duration(ANY), r#""10s""#),
    key("rule", "require_proof", Kind::Flag, "true"),
    key("rule", "failback", Kind::Choice(&["auto", "manual"]), r#""auto""#),
    key("rule", "failback_after", Kind::Duration(ANY), r#""5m""#),
    key("rule", "failback_max", Kind::Duration(ANY), r#""1h""#),
    key("rule", "failback_spread", Kind::Duration(ANY), r#""5m""#),
    key("rule", "unknown_origin", Kind::Choice(&["reclaim", "hold"]), r#""reclaim""#),
    key("rule", "foreign_edit", Kind::Choice(&["hold", "reclaim"]), r#""hold""#),
    key("rule", "max_switches", Kind::Count(1, 100_000), "6"),
    key("rule", "switch_window", Kind::Duration(SOME), r#""1h""#),
    key("rule", "verify_after", Kind::Duration(ANY), r#""5s""#),
    key("rule", "dry_run", Kind::Flag, "false"),

    key("guard", "control_targets", Kind::List, "[]"),
    key("guard", "control_needed", Kind::Count(1, 1000), "1"),
    key("guard", "max_sites_together", Kind::Count(0, 1_000_000), "0"),
    key("guard", "together_window", Kind::Duration(SOME), r#""5m""#),
    key("guard", "wave", Kind::List, "[]"),
    key("guard", "wave_pause", Kind::Duration(ANY), r#""10s""#),

    key("edge", "probe", Kind::Flag, "false"),
    key("edge", "address", Kind::Text, r#""""#),
    key("edge", "timeout", Kind::Duration(SOME), r#""5s""#),
    key("edge", "settle", Kind::Duration(SOME), r#""60s""#),

    key("alerts", "site_label", Kind::Text, r#""site""#),
    key("alerts", "ttl", Kind::Duration(SOME), r#""15m""#),
    key("alerts", "watchdog", Kind::List, r#"['alertname="Watchdog"']"#),
    key("alerts", "watchdog_timeout", Kind::Duration(SOME), r#""15m""#),

    key("notify", "alertmanager_urls", Kind::List, "[]"),
    key("notify", "token_file", Kind::Text, r#""""#),
    key("notify", "hold_for", Kind::Duration(ANY), r#""5m""#),

    key("state", "path", Kind::Text, r#""originswitch.db""#),
    key("state", "keep", Kind::Duration(SOME), r#""400d""#),
];

/// The key of this name in this section.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// The key written `section.key`.
pub(super) fn find_full(full: &str) -> Option<&'static Key> {
    let (section, name) = full.split_once('.')?;
    find(section, name)
}

/// The names of a section's keys.
pub(super) fn names(section: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(move |key| key.section == section)
        .map(|key| key.name)
}

/// The sections, each once, in the order of the table.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    let first = |n: usize| n == 0 || KEYS[n - 1].section != KEYS[n].section;
    (0..KEYS.len())
        .filter(move |n| first(*n))
        .map(|n| KEYS[n].section)
}

/// All defaults as one TOML text.
pub(super) fn defaults() -> String {
    let mut text = String::new();
    for section in sections() {
        text.push_str(&format!("[{section}]\n"));
        for key in KEYS.iter().filter(|key| key.section == section) {
            text.push_str(&format!("{} = {}\n", key.name, key.default));
        }
    }
    text
}
