//! The files that are shipped, with addresses that are ours and, where a test
//! cannot wait so long, shorter intervals. Nothing else in them is changed, and
//! what is to be changed has to be there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::stack::Addresses;
use crate::support::server::World;

/// How long the intervals are.
#[derive(Clone, Copy, PartialEq)]
pub enum Pace {
    /// As they are shipped.
    #[allow(dead_code, reason = "for the bench alone")]
    Shipped,
    /// A second or two.
    Quick,
}

/// Where a shipped file is.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A shipped file with some of its text replaced.
fn changed(name: &str, changes: &[(&str, String)]) -> String {
    let mut text = std::fs::read_to_string(path(name)).unwrap();
    for (theirs, ours) in changes {
        assert!(text.contains(theirs), "{name} has no {theirs:?}");
        text = text.replace(theirs, ours);
    }
    text
}

impl Pace {
    /// These changes, or none.
    fn quick(self, changes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        match self {
            Self::Shipped => Vec::new(),
            Self::Quick => changes.iter().map(|(a, b)| (*a, (*b).into())).collect(),
        }
    }

    /// It scrapes the origins of this world, and hands its alerts to these.
    pub fn prometheus(self, world: &World, at: &Addresses, alertmanagers: &[SocketAddr]) -> String {
        let mut changes = self.quick(&[
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 1s"),
            // On a loaded machine a probe may take long, and is not to fail.
            ("scrape_interval: 3s", "scrape_interval: 2s"),
            ("scrape_timeout: 3s", "scrape_timeout: 2s"),
        ]);
        let quoted: Vec<_> = alertmanagers.iter().map(|a| format!("'{a}'")).collect();
        changes.extend([
            ("'127.0.0.1:9093'", quoted.join(", ")),
            ("127.0.0.1:9115", at.blackbox.to_string()),
            ("127.0.0.1:10053", at.originswitch.to_string()),
            ("192.0.2.10/", format!("{}/", world.main.addr())),
            ("198.51.100.20/", format!("{}/", world.backup.addr())),
        ]);
        changed("alertmanager-examples/prometheus.yml", &changes)
    }

    /// The alerts on the origins.
    pub fn origin_alerts(self) -> String {
        let changes = self.quick(&[
            ("interval: 3s", "interval: 1s"),
            ("keep_firing_for: 5m", "keep_firing_for: 2s"),
        ]);
        changed("alertmanager-examples/origin-alerts.yml", &changes)
    }

    /// It shows this token to originswitch.
    pub fn alertmanager(self, at: &Addresses, token: &Path) -> String {
        let mut changes = self.quick(&[("group_interval: 10s", "group_interval: 1s")]);
        changes.extend([
            ("127.0.0.1:10053", at.originswitch.to_string()),
            (
                "/etc/prometheus/originswitch-webhook.token",
                token.display().to_string(),
            ),
        ]);
        changed("alertmanager-examples/alertmanager.yml", &changes)
    }
}
