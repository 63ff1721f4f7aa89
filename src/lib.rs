//! originswitch: alerts wake it, its own probes convince it, the rule decides,
//! Cloudflare is told, and Prometheus hears why.
//!
//! `ARCHITECTURE.md` is the map. Imports point one way: [`rule`] knows nobody.

// The list and its reasons are in clippy.toml; tests may do otherwise.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod alertmanager;
pub mod app;
pub mod cli;
pub mod clock;
pub mod cloudflare;
pub mod config;
pub mod crowd;
pub mod demo;
pub mod descriptors;
pub mod ending;
pub mod failover;
pub mod matcher;
pub mod metrics;
pub mod notify;
pub mod once;
pub mod outbound;
pub mod probe;
pub mod prober;
pub mod remote;
pub mod rule;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod store;
pub mod table;
pub mod telemetry;
pub mod watchdog;

/// What `tests/fuzz` sees of what is private.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::cloudflare::fuzzing as cloudflare;
    pub use crate::probe::fuzzing as probe;
}
