//! The CPU backend of lazulite.
//!
//! [`backend`] implements the boundary that core defines and sends each step to the file of its
//! family, which has the basename of the op's file in core. Below them are memory
//! ([`allocator`]), queues (`stream`), threads ([`pool`]), views of operands (`strided`), and the
//! kernels of products ([`gemm`]), fused programs ([`fused`]) and mathematics ([`math`]).
//!
//! Invariant: results depend on shapes and values alone, never on the number of threads.

pub mod allocator;
mod attention;
mod attention_grad;
pub mod backend;
pub mod complex;
mod conv;
mod copy;
mod creation;
pub mod elem;
mod fft;
pub mod fused;
mod gather;
pub mod gemm;
mod gemv;
mod grouped;
pub mod isa;
mod join;
mod kernel;
mod keys;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod lanes_x86;
mod linalg;
mod load;
mod masked;
pub mod math;
mod matmul;
mod microfloat;
pub mod operand;
pub mod pool;
#[cfg(test)]
mod product_tests;
pub mod quantized;
mod random;
mod record;
mod reduce;
mod rope;
mod scan;
mod scatter;
mod sort;
mod strided;
#[cfg(test)]
mod testing;
mod transpose;
