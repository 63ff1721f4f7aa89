//! One look at one address of an origin: a fresh connection to the literal
//! address, no redirect followed, no proxy, nothing reused. And one at a site
//! as its visitors see it, through the edge.
//!
//! [`Probes`] builds them. What a probe cannot blame on the origin it reports
//! as [`Finding::Local`](crate::rule::finding::Finding::Local), which is no evidence.

mod certificate;
mod dial;
mod edge;
mod faults;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod tcp;
mod tls;

use crate::config::{ProbeKind, ProbeSettings, Site};
use crate::crowd::Crowds;
use crate::prober::Probe;
use crate::rule::address::Address;
use dial::Dialer;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tls::Trust;
use tokio::sync::Semaphore;

/// Which certificates are accepted: `verify_tls`, and the `ca_file` if it matters.
type TrustKey = (bool, Option<PathBuf>);

/// Builds probes that share their trust anchors. Cheap to clone; keep one for
/// the life of the process, so that anchors are read once and not per probe.
#[derive(Debug, Clone)]
pub struct Probes {
    trusts: Arc<Mutex<HashMap<TrustKey, Arc<Trust>>>>,
    crowds: Crowds,
}

impl Default for Probes {
    fn default() -> Self {
        Self::new()
    }
}

impl Probes {
    /// A factory that has read nothing yet: anchors are read by the first probe
    /// that needs them. As many probes as there may be go to one address.
    #[must_use]
    pub fn new() -> Self {
        Self::among(Crowds::new(Semaphore::MAX_PERMITS))
    }

    /// The same, whose probes of one address are one of `crowds`.
    #[must_use]
    pub fn among(crowds: Crowds) -> Self {
        Probes {
            trusts: Arc::default(),
            crowds,
        }
    }

    /// A probe of `address`. Settings that cannot be used (a header that is
    /// none, a host that no certificate can name) show in its findings.
    #[must_use]
    pub fn build(&self, address: &Address, settings: &Arc<ProbeSettings>) -> Arc<dyn Probe> {
        match settings.kind {
            ProbeKind::Tcp => self.dialer(address, settings, tcp::Touch),
            ProbeKind::Http => {
                let ask = http::Ask::new(settings, None, http::Straight);
                self.dialer(address, settings, ask)
            }
            ProbeKind::Https => {
                let ask = http::Ask::new(settings, Some(self.trust(settings)), http::Straight);
                self.dialer(address, settings, ask)
            }
        }
    }

    fn dialer<V: dial::Visit>(
        &self,
        address: &Address,
        settings: &ProbeSettings,
        visit: V,
    ) -> Arc<dyn Probe> {
        Arc::new(Dialer::new(address, settings, visit).among(&self.crowds, address))
    }

    /// A look at a site the way a visitor has it, through the edge. What it
    /// finds is about the way through the edge, and mostly it
    /// [abstains](crate::rule::finding::Finding::Abstained):
    ///
    /// * `Answered`: served, as `[probe]` expects, and by no cache;
    /// * `Status`: failed, with a 5xx that `[probe]` does not expect;
    /// * `Timeout`, `Broken`, `Refused`, `Unreachable`: no answer.
    #[must_use]
    pub fn edge(&self, site: &Site) -> Arc<dyn Probe> {
        let (address, settings) = edge::visit(site);
        let trust = (settings.kind == ProbeKind::Https).then(|| self.trust(&settings));
        let ask = http::Ask::new(&settings, trust, edge::Visitor::default());
        let dialer = Dialer::new(&address, &settings, ask).one_of_a_family();
        Arc::new(edge::Edge(dialer))
    }

    /// The anchors that these settings ask for.
    fn trust(&self, settings: &ProbeSettings) -> Arc<Trust> {
        let ca_file = settings.ca_file.clone().filter(|_| settings.verify_tls);
        let mut trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
        trusts
            .entry((settings.verify_tls, ca_file.clone()))
            .or_insert_with(|| Arc::new(Trust::new(settings.verify_tls, ca_file)))
            .clone()
    }
}
