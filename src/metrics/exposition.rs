//! The series of all sites as text, in Prometheus' format 0.0.4.
//!
//! A family's series have to stand together, so each family is a walk over the
//! sites. The text is made in pieces: with ten thousand sites the whole of it
//! would be as much as all that is known of them.

use super::families::{Family, PER_SITE};
use super::seconds;
use super::site::SiteMetrics;
use crate::rule::health::State;
use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::sync::Arc;

/// A piece ends with the site that makes it this long, in bytes.
const PIECE: usize = 64 * 1024;

/// The lines of one family, as far as they are written.
struct Series<'a> {
    family: &'static Family,
    /// Whether there is a series yet: no head stands without one.
    begun: bool,
    lines: &'a mut String,
}

impl Series<'_> {
    /// Writes one series; the labels in the order of their names.
    fn add(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        let Family { name, kind, help } = self.family;
        // Writing into memory cannot fail.
        if !std::mem::replace(&mut self.begun, true) {
            let _ = writeln!(self.lines, "# HELP originswitch_{name} {help}");
            let _ = writeln!(self.lines, "# TYPE originswitch_{name} {kind}");
        }
        self.lines.push_str("originswitch_");
        self.lines.push_str(name);
        for (number, (name, text)) in labels.iter().enumerate() {
            let opens = if number == 0 { '{' } else { ',' };
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

/// Writes what one site has of a family.
type Walk = fn(&mut Series<'_>, &str, &SiteMetrics);

/// In the order of their names.
const FAMILIES: [(&Family, Walk); 13] = [
    (&PER_SITE.alert_unconfirmed, |series, site, metrics| {
        series.flag(metrics.told().alert_unconfirmed, site);
    }),
    (&PER_SITE.decisions, decisions),
    (&PER_SITE.edge_down, |series, site, metrics| {
        series.flag(metrics.told().edge_down, site);
    }),
    (&PER_SITE.edge_up, |series, site, metrics| {
        if let Some(served) = metrics.told().edge_up {
            series.add(&[("site", &site)], u8::from(served));
        }
    }),
    (&PER_SITE.foreign_edits, |series, site, metrics| {
        let edits = metrics.told().foreign_edits;
        if edits > 0 {
            series.add(&[("site", &site)], edits);
        }
    }),
    (&PER_SITE.frozen, |series, site, metrics| {
        series.flag(metrics.told().frozen, site);
    }),
    (&PER_SITE.hold, |series, site, metrics| {
        if let Some(reason) = metrics.told().hold {
            series.add(&[("reason", &reason.as_str()), ("site", &site)], 1);
        }
    }),
    (&PER_SITE.last_switch, |series, site, metrics| {
        if let Some(at) = metrics.told().last_switch {
            series.add(&[("site", &site)], seconds(at));
        }
    }),
    (&PER_SITE.origin_up, origin_up),
    (&PER_SITE.pinned, |series, site, metrics| {
        if let Some(role) = metrics.told().pinned {
            series.add(&[("origin", &role), ("site", &site)], 1);
        }
    }),
    (&PER_SITE.probes, probes),
    (&PER_SITE.record_origin, record_origin),
    (&PER_SITE.switches, switches),
];

fn decisions(series: &mut Series<'_>, site: &str, metrics: &SiteMetrics) {
    for (reason, passes) in &metrics.told().decisions {
        let action = reason.action().as_str();
        let labels: [(&str, &dyn Display); 3] = [
            ("action", &action),
            ("reason", &reason.as_str()),
            ("site", &site),
        ];
        series.add(&labels, passes);
    }
}

fn origin_up(series: &mut Series<'_>, site: &str, metrics: &SiteMetrics) {
    for (role, counts) in metrics.counts() {
        let up = match counts.state() {
            State::Up => 1,
            State::Down => 0,
            State::Unknown => continue,
        };
        series.add(&[("origin", &role), ("site", &site)], up);
    }
}

fn probes(series: &mut Series<'_>, site: &str, metrics: &SiteMetrics) {
    for (role, counts) in metrics.counts() {
        for (result, probes) in counts.probes() {
            let labels: [(&str, &dyn Display); 3] = [
                ("origin", &role),
                ("result", &result.as_str()),
                ("site", &site),
            ];
            series.add(&labels, probes);
        }
    }
}

fn record_origin(series: &mut Series<'_>, site: &str, metrics: &SiteMetrics) {
    for (role, counts) in metrics.counts() {
        if let Some(held) = counts.held() {
            series.add(&[("origin", &role), ("site", &site)], u8::from(held));
        }
    }
}

fn switches(series: &mut Series<'_>, site: &str, metrics: &SiteMetrics) {
    for ((from, to, result), switches) in &metrics.told().switches {
        let labels: [(&str, &dyn Display); 4] = [
            ("from", from),
            ("result", &result.as_str()),
            ("site", &site),
            ("to", to),
        ];
        series.add(&labels, switches);
    }
}

/// The text in pieces, each of whole lines.
pub(super) struct Pieces {
    sites: Vec<Arc<SiteMetrics>>,
    family: usize,
    /// The next site of that family, and whether it has a series yet.
    site: usize,
    begun: bool,
}

impl Pieces {
    pub(super) fn of(sites: Vec<Arc<SiteMetrics>>) -> Pieces {
        Pieces {
            sites,
            family: 0,
            site: 0,
            begun: false,
        }
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut lines = String::new();
        while let Some((family, walk)) = FAMILIES.get(self.family) {
            let mut series = Series {
                family,
                begun: self.begun,
                lines: &mut lines,
            };
            while let Some(metrics) = self.sites.get(self.site)
                && series.lines.len() < PIECE
            {
                walk(&mut series, &escaped(metrics.name()), metrics);
                self.site += 1;
            }
            self.begun = series.begun;
            if self.site < self.sites.len() {
                break;
            }
            (self.family, self.site, self.begun) = (self.family + 1, 0, false);
        }
        (!lines.is_empty()).then(|| lines.into_bytes())
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return value.into();
    }
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.into()
}
