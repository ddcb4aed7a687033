//! All integration tests, in one binary.

mod by_hand;
mod composites;
mod contractions;
mod conv;
mod doctor;
mod engine;
mod errors;
mod examples;
mod export;
mod fft;
mod indexing;
mod kernels;
mod linalg;
mod modules;
mod nn;
mod quantized;
mod random;
mod random_graphs;
mod rewrites;
mod rules;
mod structural;
mod transforms;
