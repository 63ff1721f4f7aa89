//! Scenarios against the real binary, in front of a simulated Cloudflare and
//! simulated origins: what the contract promises, seen from outside.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod api;
mod brakes;
mod common;
mod edge;
mod evacuation;
mod families;
mod holds;
mod matching;
mod metrics;
mod orders;
mod probes;
mod remote;
mod remote_orders;
mod rule;
mod shapes;
mod slow;
mod storm;
mod tls;
mod watchdog;
mod webhook;
