//! The parts of the `lazulite` program, as a library so that they can be tested without running it.
#![forbid(unsafe_code)]

pub mod bench;
pub mod doctor;
pub mod explain;
pub mod generate;
pub mod guide;
pub mod info;
pub mod loops;
pub mod requantise;
pub mod text;
