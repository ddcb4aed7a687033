//! Between text and a model's token numbers, from the metadata of its GGUF file or
//! the pages of its folder.
//!
//! - [`Tokenizer`]: text to numbers and back, also one number at a time.
//! - [`Template`]: a conversation to the text that the model was trained to continue.
//!
//! `split.rs` cuts text into the pieces that are encoded apart, `merge.rs` joins the symbols of
//! a piece.

pub mod folder;
mod merge;
mod split;
mod template;
mod tokenizer;

pub use template::{Message, Prompt, Template};
pub use tokenizer::{Decoder, Tokenizer};
