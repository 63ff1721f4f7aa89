//! One look at one address of an origin: a fresh connection to the literal
//! address, no redirect followed, no proxy, nothing reused.
//!
//! [`Probes`] builds them. What a probe cannot blame on the origin it reports
//! as [`Finding::Local`](crate::rule::finding::Finding::Local), which is no evidence.

mod certificate;
mod dial;
mod faults;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod tcp;
mod tls;

use crate::config::{ProbeKind, ProbeSettings};
use crate::prober::Probe;
use crate::rule::address::Address;
use dial::Dialer;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tls::Trust;

/// Which certificates are accepted: `verify_tls`, and the `ca_file` if it matters.
type TrustKey = (bool, Option<PathBuf>);

/// Builds probes that share their trust anchors. Cheap to clone; keep one for
/// the life of the process, so that anchors are read once and not per probe.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    trusts: Arc<Mutex<HashMap<TrustKey, Arc<Trust>>>>,
}

impl Probes {
    /// A factory that has read nothing yet: anchors are read by the first probe
    /// that needs them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A probe of `address`. Settings that cannot be used (a header that is
    /// none, a host that no certificate can name) show in its findings.
    #[must_use]
    pub fn build(&self, address: &Address, settings: &Arc<ProbeSettings>) -> Arc<dyn Probe> {
        match settings.kind {
            ProbeKind::Tcp => Arc::new(Dialer::new(address, settings, tcp::Touch)),
            ProbeKind::Http => {
                let ask = http::Ask::new(settings, None);
                Arc::new(Dialer::new(address, settings, ask))
            }
            ProbeKind::Https => {
                let ask = http::Ask::new(settings, Some(self.trust(settings)));
                Arc::new(Dialer::new(address, settings, ask))
            }
        }
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
