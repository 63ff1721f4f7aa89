//! originswitch: alerts wake it, its own probes convince it, the rule decides,
//! Cloudflare is told, and Prometheus hears why.
//!
//! `ARCHITECTURE.md` is the map. Imports point one way: [`rule`] knows nobody.

pub mod rule;
pub mod store;
