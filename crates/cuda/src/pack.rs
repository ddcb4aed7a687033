//! Packing matrices into groups of few bits.

use lazulite_core::backend::Operand;
use lazulite_core::op::quantized::{QuantMode, Quantize};
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::copy;
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;

pub(crate) const SOURCE: &str = include_str!("pack.cu");

/// True iff the kernel packs this format and type.
pub(crate) fn fits(op: &Quantize, w: &Operand) -> bool {
    op.format.mode == QuantMode::Affine && (w.dtype == Dtype::F32 || w.dtype.is_half())
}

/// Packed words, scales and biases of rows.
pub(crate) fn quantize(
    launch: &Launch<'_>,
    op: &Quantize,
    w: &Operand,
    outputs: &[Operand],
) -> Result<()> {
    let [words, scales, biases] = outputs else { return Ok(()) };
    let k = w.shape().last().copied().unwrap_or(0);
    if w.layout.is_empty() || k == 0 {
        return Ok(());
    }
    let (w, rows) = (copy::as_contiguous(launch, w)?, w.layout.len() / k);
    let (bits, group) = (op.format.bits, op.format.group);
    let defines = format!("T={};BITS={bits};GROUP={group}", storage(w.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "pack", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.read(&w)?).word(launch.write(words)?).word(launch.write(scales)?);
    args.word(launch.write(biases)?).size(rows).size(k);
    // A warp for every 32 elements or group.
    let warps = rows * k.div_ceil(group.max(32));
    let grid = [warps.div_ceil(8) as u32, 1, 1];
    // SAFETY: the kernel has these parameters; core checked that rows are whole groups and words, and
    // gave the outputs their sizes.
    unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue) }
}
