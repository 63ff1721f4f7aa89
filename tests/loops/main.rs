//! The real loops of a site in a modelled world: what happens, and exactly when.

mod cloudflare;
mod edge;
mod flapping;
mod guard;
mod leaving;
mod notify;
mod people;
mod proof;
mod quiet;
mod remembering;
mod returning;
mod shapes;
#[path = "../support/mod.rs"]
mod support;
mod turns;

use std::time::Duration;

/// Asserts a time to the few milliseconds that timers round up to.
#[track_caller]
pub fn about(is: Duration, wanted: Duration) {
    assert!(
        is.abs_diff(wanted) < Duration::from_millis(20),
        "{is:?} instead of {wanted:?}"
    );
}
