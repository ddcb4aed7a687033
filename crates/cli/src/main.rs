//! The `lazulite` program.
fn main() {}
