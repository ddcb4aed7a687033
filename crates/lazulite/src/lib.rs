//! An array framework: lazy arrays, function transforms, one planner, every CPU.
//!
//! Arrays are lazy handles on a graph; reading one evaluates what it needs, in one plan, in which
//! elementwise runs, reductions and epilogues are fused without being asked to.
//!
//! ```
//! use lazulite::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let x = array![[1.0, 2.0], [3.0, 4.0]; f32];
//! let y = (&x * 2.0 + 1.0).sum(Some(&[1]), false)?;
//! assert_eq!(y.to_vec::<f32>()?, [8.0, 16.0]);
//! # Ok(())
//! # }
//! ```
//!
//! Methods return [`Result`]; the operators panic with the same text. Bare numbers are weak: they
//! take the array's dtype (`float16 * 2.0` stays `float16`).
#![forbid(unsafe_code)]

pub use lazulite_core::op::{fast, quantized, random, scatter};
pub use lazulite_core::*;
pub use lazulite_derive::*;
pub use lazulite_io as io;

// Linking the backend is what registers it.
use lazulite_cpu as _;

/// What most programs use.
pub mod prelude {
    pub use lazulite_core::{
        Array, Device, Dtype, Element, Error, ErrorKind, Literal, Result, Stream, array, bf16, f16,
        with_stream,
    };
}
