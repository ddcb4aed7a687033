//! Packing matrices into groups of few bits.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::quantized::{QuantMode, Quantize};

use crate::args::Args;
use crate::copy;
use crate::indexing::{THREADS, blocks};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;

pub(crate) const SOURCE: &str = include_str!("pack.cu");
pub(crate) const FLOATS: &str = include_str!("microfloat.cu");

/// Packed words, scales and, if affine, biases of rows.
pub(crate) fn quantize(
    launch: &Launch<'_>,
    op: &Quantize,
    w: &Operand,
    outputs: &[Operand],
) -> Result<()> {
    let k = w.shape().last().copied().unwrap_or(0);
    if w.layout.is_empty() || k == 0 {
        return Ok(());
    }
    let mode = match op.format.mode {
        QuantMode::Affine => 0,
        QuantMode::Mxfp4 => 1,
        QuantMode::Nvfp4 => 2,
        QuantMode::Mxfp8 => 3,
    };
    if let (1.., [words, scales]) = (mode, outputs) {
        return small_floats(launch, op, mode, w, [words, scales]);
    }
    let [words, scales, biases] = outputs else { return Ok(()) };
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

/// Elements of a thread, which it reads at once.
const EACH: usize = 8;

/// Packed words and scales of rows of small floats, in the kernel's mode.
fn small_floats(
    launch: &Launch<'_>,
    op: &Quantize,
    mode: u32,
    w: &Operand,
    [words, scales]: [&Operand; 2],
) -> Result<()> {
    let mut w = copy::as_contiguous(launch, w)?;
    if !launch.read(&w)?.is_multiple_of(16) {
        w = copy::contiguous(launch, &w)?;
    }
    let count = w.layout.len();
    let defines = format!("T={};GROUP={};MODE={mode}", storage(w.dtype), op.format.group);
    let kernel = launch.gpu.modules.kernel(FLOATS, "pack_floats", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.read(&w)?).word(launch.write(words)?).word(launch.write(scales)?).size(count);
    // SAFETY: the kernel has these parameters; core checked that rows are whole groups, and gave the
    // outputs their sizes.
    unsafe { args.launch(kernel, blocks(count / EACH), [THREADS as u32, 1, 1], 0, launch.queue) }
}
