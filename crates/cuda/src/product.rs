//! Products by plain arithmetic: of integers, and of all types where cublasLt is missing.

use lazulite_core::backend::Operand;
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::fast::padded;
use crate::fused::broadcast_strides;
use crate::module::Rounding;
use crate::print::{compute, storage};
use crate::stream::Launch;

pub(crate) const SOURCE: &str = include_str!("product.cu");
/// Rows and columns of a block's part of the result.
const TILE: usize = 64;
/// The most blocks along the third axis of a grid.
const MOST_BATCHES: usize = 65_535;
/// Batch axes for which the kernel's struct has room.
const MOST_AXES: usize = 16;

/// The type in which products of `dtype` are summed: integers wrap.
pub(crate) fn sum_type(dtype: Dtype) -> &'static str {
    match (dtype.is_inexact(), dtype.size()) {
        (true, _) => compute(dtype),
        (false, 8) => "u64",
        (false, _) => "u32",
    }
}

/// True iff the kernel takes operands of so many axes.
pub(crate) fn fits(out: &Operand) -> bool {
    out.shape().len() <= 2 + MOST_AXES
}

/// `a (..., m, k) @ b (..., k, n)` into `out`, which is contiguous.
pub(crate) fn product(launch: &Launch<'_>, a: &Operand, b: &Operand, out: &Operand) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let (axes, k) = (out.shape().len() - 2, a.shape()[a.shape().len() - 1]);
    let (batch, &[m, n]) = (&out.shape()[..axes], &out.shape()[axes..]) else { return Ok(()) };
    let strides = |x: &Operand| {
        let own = x.shape().len() - 2;
        let mut outer = x.clone();
        outer.layout.shape.truncate(own);
        let last = [x.layout.strides[own], x.layout.strides[own + 1]];
        outer.layout.strides.truncate(own);
        (broadcast_strides(&outer, batch), last)
    };
    let ((of_a, [a_m, a_k]), (of_b, [b_k, b_n])) = (strides(a), strides(b));
    let batches: usize = batch.iter().product();
    let sizes = [m, n, k].map(|n| n as i64);
    let mut g: Vec<i64> = sizes.into_iter().chain([a_m, a_k, b_k, b_n].map(|s| s as i64)).collect();
    g.extend([batches as i64, axes as i64]);
    for axis in 0..axes {
        g.extend([batch[axis] as i64, of_a[axis] as i64, of_b[axis] as i64]);
    }
    let (t, o, u) = (storage(a.dtype), storage(out.dtype), sum_type(a.dtype));
    let defines = format!("T={t};O={o};U={u}");
    let kernel = launch.gpu.modules.kernel(SOURCE, "product", &defines, Rounding::Contracted)?;
    let mut args = Args::new();
    args.word(launch.read(a)?).word(launch.read(b)?).word(launch.write(out)?).words(&padded(&g));
    let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
    let grid = [tiles as u32, 1, batches.min(MOST_BATCHES) as u32];
    // SAFETY: the kernel has these parameters; strides stay within the operands, whose inner sizes core
    // compared.
    unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue) }
}
