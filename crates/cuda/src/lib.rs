//! The CUDA backend of lazulite.
//!
//! Everything is found at run time: without a driver, or without the run-time compiler, the backend
//! is not registered, and [`availability`] says why. [`backend`] implements the boundary that core
//! defines and sends each step to the file of its family, which has the basename of the op's file in
//! core. Below them are the driver, memory (`allocator`), streams, and kernels from source
//! (`module`), which are printed from tapes (`fused`, `rows`) or lie beside the family (`*.cu`).
//!
//! Invariant: results depend on shapes, layouts and values alone, never on timing, except where
//! several updates of a floating-point scatter meet one element.

mod allocator;
mod args;
mod attention;
mod attention_grad;
pub mod backend;
#[cfg(test)]
mod compile_tests;
mod conv;
mod conv90;
mod copy;
mod device;
mod driver;
mod fast;
mod few;
mod fft;
mod flash;
mod fused;
mod gather;
mod gelu;
mod grouped;
mod heads;
mod held;
mod host;
#[cfg(test)]
mod host_tests;
mod indexing;
mod kernel;
mod landing;
mod library;
mod linalg;
mod matmul;
mod module;
mod pack;
mod print;
mod product;
mod prologue;
mod quantized;
mod random;
mod record;
mod rows;
mod scan;
mod solver;
mod sort;
mod stream;
mod vector;

pub use driver::{DeviceFacts, availability};
pub use module::ModuleStats;
pub use record::RecordStats;
