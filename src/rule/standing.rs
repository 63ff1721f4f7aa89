//! Pins and freezes: what people ordered, and what stands until it ends.

use jiff::Timestamp;
use std::sync::Arc;

/// A person's order that one origin take MAIN's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The origin's address, as people read it: roles move when the
    /// configuration changes, and the order was about a machine.
    pub place: Arc<str>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// What the person said.
    pub reason: Arc<str>,
    /// It was ordered although the origin was not up: no write for the site
    /// while it stands, or the rule would leave at once.
    pub forced: bool,
}

/// A pin as it is kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPin {
    /// The pin.
    pub pin: Pin,
    /// The site has yet to move there.
    pub due: bool,
}

/// A person's order that nothing be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// What the person said.
    pub reason: Arc<str>,
}

/// What a freeze is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The site.
    Site,
    /// All sites.
    All,
    /// The site, because it was pinned by force.
    Pin,
}

impl Scope {
    /// The word used in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Site => "site",
            Scope::All => "all",
            Scope::Pin => "pin",
        }
    }
}

/// The freeze that stands against a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// What it is of.
    pub scope: Scope,
    /// Its terms.
    pub freeze: Freeze,
}

impl Frozen {
    /// Half a sentence: what stands, until when, and why.
    #[must_use]
    pub fn clause(&self) -> String {
        let what = match self.scope {
            Scope::Site => "the site is frozen",
            Scope::All => "all sites are frozen",
            Scope::Pin => "the site is pinned by force, and so frozen",
        };
        let Freeze { until, reason } = &self.freeze;
        format!("{what}{}", terms(*until, reason))
    }

    /// The command that lifts it.
    #[must_use]
    pub fn lift(&self, site: &str) -> String {
        match self.scope {
            Scope::Site => format!("unfreeze {site}"),
            Scope::All => "unfreeze".into(),
            Scope::Pin => format!("unpin {site}"),
        }
    }
}

/// "until … (reason)", as far as they were given.
#[must_use]
pub fn terms(until: Option<Timestamp>, reason: &str) -> String {
    let until = until.map_or(String::new(), |at| format!(" until {at:.0}"));
    let reason = match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    format!("{until}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_is_said_with_its_end_its_reason_and_what_lifts_it() {
        let freeze = Freeze {
            until: Some("2026-11-23T06:00:00Z".parse().unwrap()),
            reason: "database move".into(),
        };
        let scope = Scope::Site;
        let frozen = Frozen { scope, freeze };
        assert_eq!(
            frozen.clause(),
            "the site is frozen until 2026-11-23T06:00:00Z (database move)"
        );
        assert_eq!(frozen.lift("www"), "unfreeze www");
        let freeze = Freeze {
            until: None,
            reason: "".into(),
        };
        let scope = Scope::All;
        let frozen = Frozen { scope, freeze };
        assert_eq!(frozen.clause(), "all sites are frozen");
        assert_eq!(frozen.lift("www"), "unfreeze");
    }
}
