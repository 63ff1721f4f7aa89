//! The configuration as it is in force, for people; and what identifies a probe.

use super::{
    Config, EdgeSettings, Origin, ProbeKind, ProbeSettings, Site, TokenSource, Zone, durations,
};
use crate::matcher::Matcher;
use crate::rule::address::Place;
use crate::rule::{Failback, Policy, Stance};
use std::fmt::{self, Write};

/// What stands where a secret stood.
const MASKED: &str = "\"…\"";

impl Config {
    /// The configuration in force as TOML-like text, secrets masked.
    #[must_use]
    pub fn effective(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = self.write_sections(&mut text);
        for site in &self.sites {
            let _ = write_site(&mut text, site);
        }
        text
    }

    /// What is left off, and what that means; one sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.guard.control_targets.is_empty() {
            notes.push(
                "guard.control_targets is empty: originswitch cannot tell its own network's failure \
                 from that of an origin it alone does not reach; name servers elsewhere that always answer"
                    .to_owned(),
            );
        }
        notes
    }

    fn write_sections(&self, out: &mut String) -> fmt::Result {
        let mask = |set: bool| if set { MASKED } else { "\"\"" };
        writeln!(out, "[server]")?;
        writeln!(out, "listen = \"{}\"", self.server.listen)?;
        let webhook = mask(self.server.webhook_token.is_some());
        writeln!(out, "webhook_token = {webhook}")?;
        let admin = mask(self.server.admin_token.is_some());
        writeln!(out, "admin_token = {admin}")?;
        writeln!(out, "max_body = {}", self.server.max_body)?;

        writeln!(out, "\n[cloudflare]")?;
        match &self.cloudflare.token {
            TokenSource::Value(_) => writeln!(out, "api_token = {MASKED}")?,
            TokenSource::File(path, _) => writeln!(out, "api_token_file = {path:?}")?,
        }
        writeln!(out, "api_url = {:?}", self.cloudflare.api_url)?;
        let timeout = durations::show(self.cloudflare.timeout);
        writeln!(out, "timeout = \"{timeout}\"")?;
        writeln!(out, "requests_per_5m = {}", self.cloudflare.requests_per_5m)?;
        writeln!(out, "max_batch = {}", self.cloudflare.max_batch)?;
        let files = self.cloudflare.zone_tokens.iter();
        let files: Vec<_> = files
            .map(|own| format!("{:?} = {:?}", own.written, own.file))
            .collect();
        writeln!(out, "zone_token_files = {{{}}}", files.join(", "))?;

        writeln!(out, "\n[probe]\nmax_in_flight = {}", self.max_in_flight)?;
        writeln!(out, "max_per_address = {}", self.max_per_address)?;
        self.write_guard(out)?;
        writeln!(out, "\n[alerts]\nsite_label = {:?}", self.alerts.site_label)?;
        writeln!(out, "ttl = \"{}\"", durations::show(self.alerts.ttl))?;
        let watchdog = show_matchers(&self.alerts.watchdog);
        writeln!(out, "watchdog = {watchdog}")?;
        let timeout = durations::show(self.alerts.watchdog_timeout);
        writeln!(out, "watchdog_timeout = \"{timeout}\"")?;
        self.write_notify(out)?;
        writeln!(out, "\n[state]\npath = {:?}", self.state.path)?;
        writeln!(out, "keep = \"{}\"", durations::show(self.state.keep))
    }

    fn write_notify(&self, out: &mut String) -> fmt::Result {
        let notify = &self.notify;
        let urls = &notify.alertmanager_urls;
        writeln!(out, "\n[notify]\nalertmanager_urls = {urls:?}")?;
        let token = notify.token.as_ref().map_or("\"\"", |_| MASKED);
        writeln!(out, "token = {token}")?;
        let hold_for = durations::show(notify.hold_for);
        writeln!(out, "hold_for = \"{hold_for}\"")
    }

    fn write_guard(&self, out: &mut String) -> fmt::Result {
        let guard = &self.guard;
        let targets: Vec<_> = guard.control_targets.iter().map(|t| &t.text).collect();
        writeln!(out, "\n[guard]\ncontrol_targets = {targets:?}")?;
        writeln!(out, "control_needed = {}", guard.control_needed)?;
        writeln!(out, "max_sites_together = {}", guard.max_sites_together)?;
        let window = durations::show(guard.together_window);
        writeln!(out, "together_window = \"{window}\"")?;
        writeln!(out, "wave = {:?}", guard.wave)?;
        let pause = durations::show(guard.wave_pause);
        writeln!(out, "wave_pause = \"{pause}\"")
    }
}

fn write_site(out: &mut String, site: &Site) -> fmt::Result {
    writeln!(out, "\n[[site]]\nname = {:?}", site.name)?;
    writeln!(out, "hostname = {:?}", site.hostnames)?;
    match &site.zone {
        Zone::Name(name) => writeln!(out, "zone = {name:?}")?,
        Zone::Id(id) => writeln!(out, "zone_id = {id:?}")?,
    }
    writeln!(out, "matchers = {}", show_matchers(&site.matchers))?;
    writeln!(out, "probe = {}", show_probe(&site.probe))?;
    writeln!(out, "rule = {}", show_policy(&site.policy))?;
    writeln!(out, "edge = {}", show_edge(&site.edge))?;
    for (n, origin) in site.origins.iter().enumerate() {
        let key = crate::rule::address::Role::of_index(n);
        writeln!(out, "{key} = {}", show_origin(origin, site))?;
    }
    Ok(())
}

fn show_matchers(matchers: &[Matcher]) -> String {
    let matchers: Vec<_> = matchers.iter().map(|m| format!("'{m}'")).collect();
    format!("[{}]", matchers.join(", "))
}

/// An origin; its probe settings only where they are not the site's.
fn show_origin(origin: &Origin, site: &Site) -> String {
    let own = show_probe(&origin.probe);
    if own == show_probe(&site.probe) {
        format!("\"{}\"", origin.place)
    } else {
        format!("{{ place = \"{}\", probe = {own} }}", origin.place)
    }
}

fn show_probe(probe: &ProbeSettings) -> String {
    // Header values may be passwords: only their names are shown.
    let headers: Vec<_> = probe
        .headers
        .keys()
        .map(|name| format!("{name} = {MASKED}"))
        .collect();
    let body = probe.expect_body.as_ref().map_or("", |body| body.as_str());
    let ca_file = probe.ca_file.clone().unwrap_or_default();
    format!(
        "{{ kind = \"{}\", port = {}, path = {:?}, method = {:?}, host = {:?}, headers = {{{}}}, \
         expect_status = [\"{}\"], expect_body = {body:?}, timeout = \"{}\", interval = \"{}\", \
         verify_tls = {}, ca_file = {ca_file:?} }}",
        probe.kind.as_str(),
        probe.port,
        probe.path,
        probe.method,
        probe.host,
        headers.join(", "),
        probe.expect_status.to_string().replace(", ", "\", \""),
        durations::show(probe.timeout),
        durations::show(probe.interval),
        probe.verify_tls,
    )
}

fn show_policy(policy: &Policy) -> String {
    let stance = |stance| match stance {
        Stance::Hold => "hold",
        Stance::Reclaim => "reclaim",
    };
    let failback = match policy.failback {
        Failback::Auto => "auto",
        Failback::Manual => "manual",
    };
    format!(
        "{{ fall = {}, rise = {}, confirm_interval = \"{}\", confirm_for = \"{}\", \
         require_proof = {}, failback = \"{failback}\", failback_after = \"{}\", \
         failback_max = \"{}\", failback_spread = \"{}\", unknown_origin = \"{}\", foreign_edit = \"{}\", max_switches = {}, \
         switch_window = \"{}\", verify_after = \"{}\", dry_run = {} }}",
        policy.fall,
        policy.rise,
        durations::show(policy.confirm_interval),
        durations::show(policy.confirm_for),
        policy.require_proof,
        durations::show(policy.failback_after),
        durations::show(policy.failback_max),
        durations::show(policy.failback_spread),
        stance(policy.unknown_origin),
        stance(policy.foreign_edit),
        policy.max_switches,
        durations::show(policy.switch_window),
        durations::show(policy.verify_after),
        policy.dry_run,
    )
}

fn show_edge(edge: &EdgeSettings) -> String {
    let address = edge.address.as_ref().map(ToString::to_string);
    format!(
        "{{ probe = {}, address = {:?}, timeout = \"{}\", settle = \"{}\" }}",
        edge.probe,
        address.unwrap_or_default(),
        durations::show(edge.timeout),
        durations::show(edge.settle),
    )
}

/// As in the effective configuration: header values may be passwords.
impl fmt::Debug for ProbeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_probe(self))
    }
}

impl ProbeSettings {
    /// A hash over what determines a probe's result at `place`: equal settings
    /// give equal hashes in every run and version, other time limits included.
    ///
    /// What a kind of probe does not use does not count: a TCP probe has no
    /// path, and plain HTTP no certificate.
    #[must_use]
    pub fn fingerprint(&self, place: &Place) -> String {
        let mut hash = Fnv::default();
        hash.field("place", &place.to_string());
        hash.field("kind", self.kind.as_str());
        hash.field("port", &self.port.to_string());
        if self.kind != ProbeKind::Tcp {
            hash.field("method", &self.method);
            hash.field("path", &self.path);
            hash.field("host", &self.host);
            for (name, value) in &self.headers {
                hash.field("header", name);
                hash.field("value", value);
            }
            hash.field("status", &self.expect_status.to_string());
            let body = self.expect_body.as_ref().map_or("", |body| body.as_str());
            hash.field("body", body);
        }
        if self.kind == ProbeKind::Https {
            hash.field("verify", &self.verify_tls.to_string());
            let ca_file = self.ca_file.clone().unwrap_or_default();
            hash.field("ca", &ca_file.to_string_lossy());
        }
        format!("{:016x}", hash.0)
    }
}

/// FNV-1a, 64 bits: std's hasher may change between versions, and what is
/// stored under this hash must be found again.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a named value, with its length: no two lists of fields read the same.
    fn field(&mut self, name: &str, value: &str) {
        self.bytes(format!("{name}:{}:", value.len()).as_bytes());
        self.bytes(value.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        let hash = |text: &str| {
            let mut fnv = Fnv::default();
            fnv.bytes(text.as_bytes());
            fnv.0
        };
        // From the test vectors of the authors.
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }
}
