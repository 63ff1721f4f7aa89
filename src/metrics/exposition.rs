//! The series of all sites as text, in Prometheus' format 0.0.4.
//!
//! One walk over the sites writes into a text for each family, as a family's
//! series have to stand together.

use super::families::{Family, PER_SITE};
use super::seconds;
use super::site::{OriginCounts, SiteMetrics, Told};
use crate::rule::health::State;
use std::fmt::{Display, Write};
use std::sync::Arc;

/// The lines of one family.
struct Series {
    family: &'static Family,
    lines: String,
}

impl Series {
    fn of(family: &'static Family) -> Series {
        Series {
            family,
            lines: String::new(),
        }
    }

    /// Writes one series; the labels in the order of their names.
    fn add(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.lines.push_str("originswitch_");
        self.lines.push_str(self.family.name);
        for (number, (name, text)) in labels.iter().enumerate() {
            let opens = if number == 0 { '{' } else { ',' };
            // Writing into memory cannot fail.
            let _ = write!(self.lines, "{opens}{name}=\"{text}\"");
        }
        let _ = writeln!(self.lines, "}} {value}");
    }

    /// A series that is 1 while something is so, and else absent.
    fn flag(&mut self, so: bool, site: &str) {
        if so {
            self.add(&[("site", &site)], 1);
        }
    }
}

/// All families.
struct Page {
    alert_unconfirmed: Series,
    decisions: Series,
    edge_down: Series,
    edge_up: Series,
    foreign_edits: Series,
    frozen: Series,
    hold: Series,
    last_switch: Series,
    origin_up: Series,
    pinned: Series,
    probes: Series,
    record_origin: Series,
    switches: Series,
}

/// Writes the series of these sites behind `text`.
pub(super) fn write(sites: &[Arc<SiteMetrics>], text: &mut Vec<u8>) {
    let mut page = Page::new();
    for site in sites {
        page.site(site);
    }
    for series in page.families() {
        if series.lines.is_empty() {
            continue;
        }
        let Family { name, kind, help } = series.family;
        let head =
            format!("# HELP originswitch_{name} {help}\n# TYPE originswitch_{name} {kind}\n");
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(series.lines.as_bytes());
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text
}

impl Page {
    fn new() -> Page {
        Page {
            alert_unconfirmed: Series::of(&PER_SITE.alert_unconfirmed),
            decisions: Series::of(&PER_SITE.decisions),
            edge_down: Series::of(&PER_SITE.edge_down),
            edge_up: Series::of(&PER_SITE.edge_up),
            foreign_edits: Series::of(&PER_SITE.foreign_edits),
            frozen: Series::of(&PER_SITE.frozen),
            hold: Series::of(&PER_SITE.hold),
            last_switch: Series::of(&PER_SITE.last_switch),
            origin_up: Series::of(&PER_SITE.origin_up),
            pinned: Series::of(&PER_SITE.pinned),
            probes: Series::of(&PER_SITE.probes),
            record_origin: Series::of(&PER_SITE.record_origin),
            switches: Series::of(&PER_SITE.switches),
        }
    }

    /// In the order of their names.
    fn families(self) -> [Series; 13] {
        [
            self.alert_unconfirmed,
            self.decisions,
            self.edge_down,
            self.edge_up,
            self.foreign_edits,
            self.frozen,
            self.hold,
            self.last_switch,
            self.origin_up,
            self.pinned,
            self.probes,
            self.record_origin,
            self.switches,
        ]
    }

    fn site(&mut self, metrics: &SiteMetrics) {
        let site = escaped(metrics.name());
        for (role, counts) in metrics.counts() {
            self.origin(&site, &role.to_string(), counts);
        }
        self.told(&site, &metrics.told());
    }

    fn origin(&mut self, site: &str, role: &str, counts: &OriginCounts) {
        for (result, probes) in counts.probes() {
            let labels: [(&str, &dyn Display); 3] = [
                ("origin", &role),
                ("result", &result.as_str()),
                ("site", &site),
            ];
            self.probes.add(&labels, probes);
        }
        let labels: [(&str, &dyn Display); 2] = [("origin", &role), ("site", &site)];
        if let Some(held) = counts.held() {
            self.record_origin.add(&labels, u8::from(held));
        }
        match counts.state() {
            State::Up => self.origin_up.add(&labels, 1),
            State::Down => self.origin_up.add(&labels, 0),
            State::Unknown => {}
        }
    }

    fn told(&mut self, site: &str, told: &Told) {
        for (reason, passes) in &told.decisions {
            let action = reason.action().as_str();
            let labels: [(&str, &dyn Display); 3] = [
                ("action", &action),
                ("reason", &reason.as_str()),
                ("site", &site),
            ];
            self.decisions.add(&labels, passes);
        }
        for ((from, to, result), switches) in &told.switches {
            let labels: [(&str, &dyn Display); 4] = [
                ("from", from),
                ("result", &result.as_str()),
                ("site", &site),
                ("to", to),
            ];
            self.switches.add(&labels, switches);
        }
        if let Some(reason) = told.hold {
            self.hold
                .add(&[("reason", &reason.as_str()), ("site", &site)], 1);
        }
        if let Some(role) = told.pinned {
            self.pinned.add(&[("origin", &role), ("site", &site)], 1);
        }
        if let Some(at) = told.last_switch {
            self.last_switch.add(&[("site", &site)], seconds(at));
        }
        if let Some(served) = told.edge_up {
            self.edge_up.add(&[("site", &site)], u8::from(served));
        }
        if told.foreign_edits > 0 {
            self.foreign_edits
                .add(&[("site", &site)], told.foreign_edits);
        }
        self.alert_unconfirmed.flag(told.alert_unconfirmed, site);
        self.frozen.flag(told.frozen, site);
        self.edge_down.flag(told.edge_down, site);
    }
}
