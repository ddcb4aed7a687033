//! safetensors, npy, npz and GGUF for lazulite.
//!
//! Opening a file reads its header and gives one [`Tensor`] a name; a tensor reads its own bytes,
//! and only when it is used. Every number of a header is checked before it is believed, so a
//! damaged or hostile file is an error and never a crash or a large allocation. Saving writes a
//! new file beside the old one and renames it, so a failed save loses nothing.
//!
//! Read in this order: [`Input`] and [`Tensor`], then the formats; [`Contents`] is a file of any
//! of them, as arrays.

#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("the formats are little-endian, and their bytes are used as they are");

mod array;
pub mod function;
pub mod gguf;
mod input;
pub mod npy;
pub mod npz;
mod output;
pub mod safetensors;
mod zip;

pub use array::Contents;
pub use input::{Input, Tensor};
pub use output::Saved;
