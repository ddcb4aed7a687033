//! An array framework: lazy arrays, function transforms, one planner, for CPUs and NVIDIA GPUs.
//!
//! Arrays are lazy handles on a graph; reading one evaluates what it needs, in one plan, in which
//! elementwise runs, reductions and epilogues are fused without being asked to. New work is placed
//! on a GPU where there is one, else on the processor; [`with_stream`] chooses.
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
//! Functions of arrays, and of trees of arrays such as tuples, lists and structs that derive
//! [`Tree`](trait@Tree), are transformed: [`grad()`], [`vjp()`], [`jvp()`], [`vmap()`], [`compile()`], [`checkpoint()`],
//! and have loops and choices inside: [`scan()`], [`cond()`], [`while_loop()`].
//!
//! ```
//! use lazulite::prelude::*;
//! use lazulite::{Tree, compile, grad, vmap};
//!
//! #[derive(Clone, Tree)]
//! struct Line {
//!     slope: Array,
//!     offset: Array,
//! }
//!
//! # fn main() -> Result<()> {
//! let loss = |(line, x, y): (Line, Array, Array)| {
//!     (&line.slope * x + &line.offset - y).square()?.sum(None, false)
//! };
//! let line = Line { slope: Array::scalar(2.0f32), offset: Array::scalar(0.0f32) };
//! let (x, y) = (array![1.0, 2.0; f32], array![1.0, 2.0; f32]);
//! let (d, _, _) = compile(grad(loss))((line.clone(), x.clone(), y.clone()))?;
//! assert_eq!((d.slope.item::<f32>()?, d.offset.item::<f32>()?), (10.0, 6.0));
//! // The gradient of every example, without a loop.
//! let (each, _, _) = vmap(grad(loss), [None, Some(0), Some(0)], 0)((line, x, y))?;
//! assert_eq!(each.slope.to_vec::<f32>()?, [2.0, 8.0]);
//! # Ok(())
//! # }
//! ```
//!
//! Methods return [`Result`]; the operators panic with the same text. Bare numbers are weak: they
//! take the array's dtype (`float16 * 2.0` stays `float16`).
//!
//! Most ops are methods of [`Array`]; families have modules: [`linalg`], [`fft`], [`random`],
//! [`conv`], [`fast`], [`quantized`] and others. [`nn`] has layers, losses and `#[derive(Module)]`,
//! [`optim`] the optimisers, [`io`] safetensors, npy, npz and GGUF. [`export`] writes functions to
//! files for other programs to call. [`plan::explain()`] prints how arrays would be computed,
//! [`estimate`] what that would cost, [`doctor`] what a program spent its time on.
//!
//! Cargo features: `cuda` (on by default) has the CUDA backend, which loads the driver at run time;
//! `ndarray` has conversions to and from arrays of that crate.
#![forbid(unsafe_code)]

// The derive macros name the crate, also inside it.
extern crate self as lazulite;

pub mod nn;
pub mod optim;

pub use lazulite_core::op::{
    blocks, conv, einsum, fast, fft, kernel, linalg, qqmm, quantized, random, scatter, search,
    signal, stft,
};
pub use lazulite_core::*;
pub use lazulite_derive::*;
pub use lazulite_io as io;
pub use lazulite_io::function as export;

// Linking the backend is what registers it.
use lazulite_cpu as _;
#[cfg(feature = "cuda")]
use lazulite_cuda as _;

/// What most programs use.
pub mod prelude {
    pub use lazulite_core::{
        Array, Device, Dtype, Element, Error, ErrorKind, Literal, Result, Stream, array, bf16, f16,
        with_stream,
    };
}

/// The README's program is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
