//! Quantised matrices: their values, and products with them.
//!
//! Products of few rows read the packed weights once, in a kernel of one warp for each row of the
//! matrix; others write the matrix out in x's type and multiply as usual.

use lazulite_core::backend::Operand;
use lazulite_core::op::quantized::{Dequantize, QuantFormat, QuantMode, QuantizedMatmul};
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::indexing::{THREADS, blocks};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;
use crate::{copy, matmul};

pub(crate) const SOURCE: &str = include_str!("quantized.cu");
/// The most rows of x for the kernel that reads packed weights.
const FEW_ROWS: usize = 16;

fn defines(format: QuantFormat, dtype: Dtype) -> String {
    let mode = match format.mode {
        QuantMode::Affine => 0,
        QuantMode::Mxfp4 => 1,
        QuantMode::Nvfp4 => 2,
        QuantMode::Mxfp8 => 3,
    };
    let (bits, group) = (format.bits, format.group);
    format!("T={};BITS={bits};GROUP={group};MODE={mode}", storage(dtype))
}

/// The contiguous parts of a matrix: words, scales and biases (the scales again where there are
/// none).
fn parts(launch: &Launch<'_>, inputs: &[Operand]) -> Result<[Operand; 3]> {
    let part = |i: usize| copy::as_contiguous(launch, &inputs[i.min(inputs.len() - 1)]);
    Ok([part(0)?, part(1)?, part(2)?])
}

/// The values of a quantised matrix.
pub(crate) fn dequantize(
    launch: &Launch<'_>,
    op: &Dequantize,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    expand(launch, op.format, inputs, out)
}

fn expand(
    launch: &Launch<'_>,
    format: QuantFormat,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let [words, scales, biases] = parts(launch, inputs)?;
    // Scales of the other modes are bytes, whose type the kernel knows.
    let dtype = if format.mode == QuantMode::Affine { scales.dtype } else { out.dtype };
    let defines = format!("{};O={};DEQUANTIZE", defines(format, dtype), storage(out.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "dequantize", &defines, Rounding::Separate)?;
    let (count, k) = (out.layout.len(), out.shape()[out.shape().len() - 1]);
    let mut args = Args::new();
    args.word(launch.read(&words)?).word(launch.read(&scales)?).word(launch.read(&biases)?);
    args.word(launch.write(out)?).size(count).size(k);
    // SAFETY: the kernel has these parameters; core checked the sizes of the parts.
    unsafe { args.launch(kernel, blocks(count), [THREADS as u32, 1, 1], 0, launch.queue.raw()) }
}

/// A product with a quantised matrix.
pub(crate) fn quantized_matmul(
    launch: &Launch<'_>,
    op: &QuantizedMatmul,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let (x, w) = (&inputs[0], &inputs[1]);
    let k = x.shape()[x.shape().len() - 1];
    let (n, ndim) = (out.shape()[out.shape().len() - 1], w.shape().len());
    let m = out.layout.len() / n;
    let one_matrix = w.shape()[..ndim - 2].iter().all(|&b| b == 1);
    if op.transpose
        && one_matrix
        && m <= FEW_ROWS
        && k % 32 == 0
        && k > 0
        && !x.dtype.is_complex()
        && x.dtype != Dtype::F64
    {
        let x = copy::as_contiguous(launch, x)?;
        // Packs of 8 elements want 16 bytes' alignment (32 for float32: two accesses).
        let x = match launch.read(&x)?.is_multiple_of(16) {
            true => x,
            false => copy::contiguous(launch, &x)?,
        };
        let [words, scales, biases] = parts(launch, &inputs[1..])?;
        let most = m.next_power_of_two();
        let defines = format!("{};M={most};QMV", defines(op.format, x.dtype));
        let modules = &launch.gpu.modules;
        let kernel = modules.kernel(SOURCE, "qmv", &defines, Rounding::Contracted)?;
        let mut args = Args::new();
        args.word(launch.read(&x)?).word(launch.read(&words)?).word(launch.read(&scales)?);
        args.word(launch.read(&biases)?).word(launch.write(out)?).size(m).size(n).size(k);
        let grid = [n.div_ceil(8) as u32, 1, 1];
        // SAFETY: the kernel has these parameters; core checked the sizes of the parts.
        return unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue.raw()) };
    }
    let mut shape = w.shape().to_vec();
    shape[ndim - 1] = shape[ndim - 1] * 32 / op.format.bits;
    let mut full = launch.temporary(x.dtype, &shape)?;
    expand(launch, op.format, &inputs[1..], &full)?;
    if op.transpose {
        let mut axes: Vec<usize> = (0..ndim).collect();
        axes.swap(ndim - 2, ndim - 1);
        full.layout = full.layout.transpose(&axes);
    }
    matmul::matmul(launch, x, &full, out)
}
