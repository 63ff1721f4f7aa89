//! The `originswitch` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    originswitch::cli::run()
}
