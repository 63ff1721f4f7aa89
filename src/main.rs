//! The `originswitch` binary.
fn main() {}
