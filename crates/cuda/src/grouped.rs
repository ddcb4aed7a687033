//! Products of row blocks with the matrices that indices pick. Packed matrices are read where they
//! lie; others are brought together, as many at a time as a limit allows, and multiplied as batches.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::gather::Gather;
use lazulite_core::op::grouped::{GroupedMatmul, Matrices};
use lazulite_core::op::quantized::QuantFormat;
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Error};

use crate::args::Args;
use crate::gather::{self, number, wide_indices};
use crate::module::Rounding;
use crate::stream::Launch;
use crate::{copy, matmul, quantized};

/// Bytes of matrices that are brought together at a time.
const MOST_GATHERED: usize = 256 << 20;
/// The most rows of a block for one pass over packed weights; more take several.
const ROWS: usize = 16;

/// True iff the types are multiplied on the device.
pub(crate) fn supports(out: &Operand) -> bool {
    matmul::supports(out.dtype)
}

/// Runs the op: `x (a, m, k)`, `lhs (s)`, `rhs (s)`, then the matrices' parts, to `(s, m, n)`.
pub(crate) fn grouped(
    launch: &Launch<'_>,
    op: &GroupedMatmul,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let [x, lhs, rhs, parts @ ..] = inputs else {
        return Err(Error::argument(op.name(), "an operand is missing"));
    };
    match op.matrices {
        Matrices::Dense => batches(launch, x, lhs, rhs, &parts[0], out),
        Matrices::Quantized { format, transpose } => {
            let real = x.dtype != Dtype::F64 && !x.dtype.is_complex();
            if transpose && real && x.shape()[2] > 0 {
                return packed(launch, op, format, inputs, out);
            }
            let mut shape = parts[0].shape().to_vec();
            shape[2] = shape[2] * 32 / format.bits;
            let mut full = launch.temporary(x.dtype, &shape)?;
            quantized::expand(launch, format, parts, &full)?;
            if transpose {
                full.layout = full.layout.transpose(&[0, 2, 1]);
            }
            batches(launch, x, lhs, rhs, &full, out)
        }
    }
}

/// One pass over the packed weights that each index picks.
fn packed(
    launch: &Launch<'_>,
    op: &GroupedMatmul,
    format: QuantFormat,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    let x = quantized::aligned(launch, &inputs[0])?;
    let [words, scales, biases] = quantized::parts(launch, &inputs[3..], inputs[4].dtype)?;
    let (lhs, rhs) = (wide_indices(launch, &inputs[1])?, wide_indices(launch, &inputs[2])?);
    let &[blocks, m, k] = x.shape() else { return Ok(()) };
    let (entries, n) = (out.shape()[0], out.shape()[2]);
    let most = m.next_power_of_two().min(ROWS);
    let rows = if most <= 4 { 2 } else { 1 };
    let format = quantized::defines(format, x.dtype, scales.dtype);
    let defines = format!("{format};M={most};R={rows};GROUPED;QMV");
    let modules = &launch.gpu.modules;
    let kernel = modules.kernel(quantized::SOURCE, "qmv", &defines, Rounding::Contracted)?;
    let mut args = Args::new();
    args.word(launch.read(&x)?).word(launch.read(&words)?).word(launch.read(&scales)?);
    args.word(launch.read(&biases)?).word(launch.write(out)?).size(m).size(n).size(k);
    args.word(launch.read(&lhs)?).word(launch.read(&rhs)?).size(blocks);
    args.size(words.shape()[0]).word(launch.queue.fault_address()).size(number(op.name()));
    let grid = [n.div_ceil(8 * rows) as u32, entries as u32, m.div_ceil(most) as u32];
    // SAFETY: the kernel has these parameters; indices are checked before use, and core checked the
    // sizes of the parts.
    unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue) }
}

/// `x` and `matrices (e, k, n)` at the indices, multiplied as batches.
fn batches(
    launch: &Launch<'_>,
    x: &Operand,
    lhs: &Operand,
    rhs: &Operand,
    matrices: &Operand,
    out: &Operand,
) -> Result<()> {
    let (m, k, n) = (x.shape()[1], x.shape()[2], out.shape()[2]);
    let each = (k * n * x.dtype.size()).max(1);
    let most = (MOST_GATHERED / each).max(1);
    let (lhs, rhs) = (copy::as_contiguous(launch, lhs)?, copy::as_contiguous(launch, rhs)?);
    let entries = out.shape()[0];
    for first in (0..entries).step_by(most) {
        let count = most.min(entries - first);
        let part = |index: &Operand| {
            let offset = index.layout.offset + first;
            let layout = Layout { offset, ..Layout::contiguous(&[count]) };
            Operand { layout, ..index.clone() }
        };
        let pick = |from: &Operand, index: &Operand, rows: usize, columns: usize| {
            let to = launch.temporary(x.dtype, &[count, rows, columns])?;
            let op = Gather { axes: [0][..].into(), slice: [1, rows, columns][..].into() };
            gather::gather(launch, &op, &[from.clone(), part(index)], &to)?;
            Ok(to)
        };
        let (a, b): (Operand, Operand) = (pick(x, &lhs, m, k)?, pick(matrices, &rhs, k, n)?);
        let offset = out.layout.offset + first * m * n;
        let layout = Layout { offset, ..Layout::contiguous(&[count, m, n]) };
        matmul::matmul(launch, &a, &b, &Operand { layout, ..out.clone() })?;
    }
    Ok(())
}
