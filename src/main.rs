//! The `originswitch` binary.

use std::process::ExitCode;

/// Gives back what a start or a storm of very many sites took, and costs less
/// than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    originswitch::cli::run()
}
