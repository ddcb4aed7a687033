//! The CPU backend of lazulite.

pub mod math;
pub mod simd;
