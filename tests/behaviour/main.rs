//! Scenarios against the real binary, in front of a simulated Cloudflare and
//! simulated origins: what the contract promises, seen from outside.

#[path = "../support/mod.rs"]
mod support;

mod common;
mod families;
mod rule;
mod shapes;
