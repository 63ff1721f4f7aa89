//! originswitch: alerts wake it, its own probes convince it, the rule decides,
//! Cloudflare is told, and Prometheus hears why.

pub mod sandbox;
