//! Oracles and checks for the tests of lazulite; not shipped.
//!
//! [`sample`] makes arrays of every dtype and layout from a seed, [`ulp`] measures distances of
//! floats, and [`rules`] checks the transforms of a function against what they mean: derivatives
//! against differences, batches against loops, replays against the function itself.

pub mod rules;
pub mod sample;
pub mod ulp;

pub use rules::{Tolerance, check_compile, check_grads, check_vmap};
pub use sample::{Arrangement, Rng, from_values, values};
pub use ulp::{ulp_f32, ulp_f64, ulp_half};
