//! The `originswitch` binary.

use std::process::ExitCode;

/// With very many sites it keeps less for itself than the system's, and gives
/// back what a start or a storm took.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    originswitch::cli::run()
}
