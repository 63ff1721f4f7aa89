//! How a command ends: its exit code, what it says of an error, and the signals
//! that tell it to.

use tokio::signal::unix::{SignalKind, signal};

/// Done.
pub const DONE: u8 = 0;
/// Something could not be decided or applied, or the server failed.
pub const FAILED: u8 = 1;
/// Usage or configuration, an unknown site, or the state in use.
pub const USAGE: u8 = 2;

/// An error with its causes, on one line.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let parts: Vec<String> = error.chain().map(ToString::to_string).collect();
    parts.join(": ")
}

/// Listens, from the call on, for a signal to end; without a way to hear one,
/// the answer never comes.
pub(crate) fn told_to_end() -> impl Future<Output = ()> {
    let listeners = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = listeners else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
