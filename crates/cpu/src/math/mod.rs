//! The mathematics of elementwise kernels: scalar functions that vectorise.
//!
//! Every function is written once for float32 and float64, without branches, and is always
//! inlined, so that a loop over [`Lane`]s inside [`multiversion!`](crate::multiversion) becomes
//! vector code. [`Real`] carries the functions of real numbers, [`ComplexMath`] those of complex
//! numbers and [`Int`] those of integers. [`map_f32`] and its kin apply one to slices.
//!
//! ```
//! use lazulite_cpu::math::{Real, Unary, map_f32};
//!
//! struct Silu;
//! impl Unary for Silu {
//!     #[inline(always)]
//!     fn apply<X: Real>(x: X) -> X {
//!         x * x.sigmoid()
//!     }
//! }
//!
//! let mut y = [0.0; 3];
//! map_f32::<Silu>(&[-100.0, 0.0, 100.0], &mut y);
//! assert_eq!(y[1..], [0.0, 100.0]);
//! ```

mod angle_table;
mod coefficients;
mod complex;
mod error_function;
mod exponential;
mod half;
mod int;
mod lane;
mod map;
mod power;
mod real;
mod trigonometric;

pub use complex::ComplexMath;
#[cfg(target_arch = "x86_64")]
pub(crate) use exponential::exp_512;
pub use half::{narrow_bf16, narrow_f16, widen_bf16, widen_f16};
pub use int::Int;
pub use lane::{Float, Lane, Limits};
pub use map::{
    Binary, Unary, map_f32, map_f32_for, map_f64, map_f64_for, map2_f32, map2_f32_for, map2_f64,
    map2_f64_for,
};
pub use real::Real;
