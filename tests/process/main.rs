//! The running binary against a simulated world: good days and bad days.

mod cloudflare;

#[path = "../support/mod.rs"]
mod support;
