//! The CPU backend of lazulite.

pub mod complex;
pub mod elem;
pub mod fused;
pub mod gemm;
mod gemv;
pub mod isa;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod lanes_x86;
pub mod math;
pub mod operand;
pub mod pool;
pub mod quantized_kernels;
pub mod simd;

#[cfg(test)]
mod product_tests;
#[cfg(test)]
mod quantized_tests;
