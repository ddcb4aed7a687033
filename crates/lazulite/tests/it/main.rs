//! All integration tests, in one binary.

mod composites;
mod contractions;
mod conv;
mod engine;
mod errors;
mod examples;
mod fft;
mod indexing;
mod linalg;
mod quantized;
mod random;
mod rules;
mod structural;
mod transforms;
