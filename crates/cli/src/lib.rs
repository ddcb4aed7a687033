//! The parts of the `lazulite` program that can be tested without running it.
#![forbid(unsafe_code)]

pub mod text;
