//! The running binary against a simulated world: good days and bad days.

mod answers;
mod record;
mod silence;
mod token;

#[path = "../support/mod.rs"]
mod support;
