//! The site's end of a prober.

use super::running::{Running, State};
use super::{Pace, Report};
use std::ops::Deref;
use std::sync::{Arc, MutexGuard};

/// The site's end of a prober, which ends when this is dropped.
pub struct Reins(pub(super) Arc<Running>);

impl Reins {
    /// Sets the pace.
    pub fn set_pace(&self, pace: Pace) {
        self.0.set_pace(pace);
    }

    /// The report as it is; not to be kept.
    pub fn report(&self) -> impl Deref<Target = Report> {
        struct Shown<'a>(MutexGuard<'a, State>);
        impl Deref for Shown<'_> {
            type Target = Report;
            fn deref(&self) -> &Report {
                &self.0.report
            }
        }
        Shown(self.0.lock())
    }

    /// Whether a probe waits for a place: what it would find is yet to be seen.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.0.lock().waiting
    }
}

impl Drop for Reins {
    fn drop(&mut self) {
        self.0.end();
    }
}
