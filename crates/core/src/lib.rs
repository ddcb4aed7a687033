//! The engine of lazulite: lazy arrays, their transforms, and the planner. No device code.
//!
//! Reading order: [`dtype`], [`shape`], [`device`] and [`error`] are the vocabulary; [`mod@array`] is
//! the handle and the graph behind it; [`op`] holds the closed set of primitives with all their
//! rules; [`transform`] walks graphs; [`plan`] turns a graph into steps; [`eval`] runs them through
//! [`backend`]. [`observe`] and [`doctor`] tell what a program spends its time on.
#![forbid(unsafe_code)]

pub mod array;
pub mod backend;
pub mod device;
pub mod display;
pub mod doctor;
pub mod dtype;
pub mod error;
pub mod eval;
#[cfg(feature = "ndarray")]
mod interop;
pub mod jobs;
pub mod observe;
pub mod op;
pub mod operators;
pub mod plan;
pub mod shape;
mod text;
pub mod transform;

pub use array::{Array, HostSlice};
pub use device::{Device, DeviceKind, Stream, with_stream};
pub use dtype::{Category, Dtype, Element, Literal};
pub use error::{Error, ErrorKind, Result};
pub use half::{bf16, f16};
pub use num_complex::Complex32;
pub use op::creation::Source;
pub use plan::{Estimate, estimate};
pub use transform::{
    Tree, checkpoint, compile, cond, custom_function, grad, jvp, scan, value_and_grad, vjp, vmap,
    while_loop,
};
