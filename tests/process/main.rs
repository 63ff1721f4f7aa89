//! The running binary against a simulated world: good days and bad days.

mod answers;
mod cli;
mod descriptors;
mod ending;
mod notify;
mod once;
mod record;
mod reload;
mod saying;
mod service;
mod silence;
mod state;
mod together;
mod token;

#[path = "../support/mod.rs"]
mod support;
