//! All integration tests, in one binary.

mod engine;
mod errors;
mod examples;
mod indexing;
mod quantized;
mod random;
mod rules;
mod structural;
mod transforms;
