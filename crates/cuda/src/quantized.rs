//! Quantised matrices: their values, and products with them.
//!
//! Products of few rows read the packed weights once, in a kernel of one warp for two rows of the
//! matrix; those of more rows unpack them on the way to the matrix units; those of many write the
//! matrix out in x's type and multiply as usual.

use lazulite_core::backend::Operand;
use lazulite_core::op::quantized::{Dequantize, QuantFormat, QuantMode, QuantizedMatmul};
use lazulite_core::plan::Tape;
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::indexing::{THREADS, blocks};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::{COUNTERS, Launch};
use crate::{copy, fast, matmul, vector};

pub(crate) const SOURCE: &str = include_str!("quantized.cu");
/// The source of the product on the matrix units.
pub(crate) const UNITS: &str = concat!(include_str!("mma.cuh"), include_str!("qmm.cu"));
/// That of few rows of x, and that of more by warpgroups.
pub(crate) const FEW: &str = concat!(include_str!("mma.cuh"), include_str!("qmm16.cu"));
pub(crate) const WARPGROUPS: &str =
    concat!(include_str!("mma.cuh"), include_str!("hopper.cuh"), include_str!("qmm90.cu"));
/// The most rows of x for the kernel of plain arithmetic, where the matrix units take more and where
/// they do not.
const FEW_ROWS: usize = 4;
const FEW_ROWS_WITHOUT_UNITS: usize = 16;
/// The most rows of x for which weights are unpacked on the way to the matrix units: with more, every
/// weight is unpacked too often, and the matrix is written out first.
const MANY_ROWS: usize = 128;
/// The most parts into which it cuts k.
const MOST_SPLITS: usize = 8;

pub(crate) fn defines(format: QuantFormat, dtype: Dtype, scales: Dtype) -> String {
    let mode = match format.mode {
        QuantMode::Affine => 0,
        QuantMode::Mxfp4 => 1,
        QuantMode::Nvfp4 => 2,
        QuantMode::Mxfp8 => 3,
    };
    let (bits, group) = (format.bits, format.group);
    let (t, scale) = (storage(dtype), storage(scales));
    format!("T={t};SCALE={scale};BITS={bits};GROUP={group};MODE={mode}")
}

/// A contiguous operand at a multiple of 16 bytes.
pub(crate) fn aligned(launch: &Launch<'_>, x: &Operand) -> Result<Operand> {
    let x = copy::as_contiguous(launch, x)?;
    if launch.read(&x)?.is_multiple_of(16) { Ok(x) } else { copy::contiguous(launch, &x) }
}

/// The contiguous parts of a matrix: words, scales and biases in `dtype` (the scales again where there are
/// none).
pub(crate) fn parts(launch: &Launch<'_>, inputs: &[Operand], dtype: Dtype) -> Result<[Operand; 3]> {
    let part = |i: usize| {
        let part = &inputs[i.min(inputs.len() - 1)];
        let bytes = part.dtype == Dtype::U8;
        fast::cast(launch, part, if bytes { part.dtype } else { dtype })
    };
    Ok([aligned(launch, &inputs[0])?, part(1)?, part(2)?])
}

/// Runs the op.
pub(crate) fn dequantize(
    launch: &Launch<'_>,
    op: &Dequantize,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    expand(launch, op.format, inputs, out)
}

/// The values of a quantised matrix, in the type of `out`.
pub(crate) fn expand(
    launch: &Launch<'_>,
    format: QuantFormat,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let [words, scales, biases] = parts(launch, inputs, inputs[1].dtype)?;
    let to = storage(out.dtype);
    let defines = format!("{};O={to};DEQUANTIZE", defines(format, out.dtype, scales.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "dequantize", &defines, Rounding::Separate)?;
    let (count, k) = (out.layout.len() / 8, out.shape()[out.shape().len() - 1] / 8);
    let mut args = Args::new();
    args.word(launch.read(&words)?).word(launch.read(&scales)?).word(launch.read(&biases)?);
    args.word(launch.write(out)?).size(count).size(k);
    // SAFETY: the kernel has these parameters; core checked the sizes of the parts.
    unsafe { args.launch(kernel, blocks(count), [THREADS as u32, 1, 1], 0, launch.queue) }
}

/// The most rows of x for which a block takes 16 rows of the matrix, and its warps share k.
const FEW_TILES: usize = 16;

/// A product on the matrix units, which unpacks weights on their way there.
fn tiled(
    launch: &Launch<'_>,
    format: QuantFormat,
    inputs: &[Operand],
    out: &Operand,
    (m, n, k): (usize, usize, usize),
) -> Result<()> {
    let x = aligned(launch, &inputs[0])?;
    let [words, scales, biases] = parts(launch, &inputs[1..], x.dtype)?;
    if format.bits == 4 && (m <= FEW_TILES || launch.gpu.facts.capability.0 == 9) {
        return turned(launch, format, [&x, &words, &scales, &biases], out, (m, n, k));
    }
    let rows = m.next_power_of_two().clamp(16, 128);
    // Rows of w of a block.
    let block = if rows == 64 { 64 } else { 128 };
    let (across, down) = (n.div_ceil(block), m.div_ceil(rows));
    let tiles = k / 64;
    // Two blocks of up to 64 rows for each multiprocessor, one of more (whose partial sums weigh), of at
    // least four tiles of k each.
    let slots = if rows > 64 { 1 } else { 2 } * launch.gpu.facts.multiprocessors as usize;
    let most = if across * down <= COUNTERS { (tiles / 4).clamp(1, MOST_SPLITS) } else { 1 };
    let splits = (slots / (across * down)).clamp(1, most);
    let splits = tiles.div_ceil(tiles.div_ceil(splits));
    let scratch = match splits {
        1 => None,
        _ => Some(launch.scratch(splits * m * n * 4)?),
    };
    let shared = 4 * (rows * 72 * 2 + block * format.bits * 8);
    let dtype = storage(x.dtype);
    let defines = format!("T={dtype};BITS={};GROUP={};BM={rows}", format.bits, format.group);
    let kernel = launch.gpu.modules.kernel(UNITS, "qmm", &defines, Rounding::Contracted)?;
    let mut args = Args::new();
    args.word(launch.read(&x)?).word(launch.read(&words)?).word(launch.read(&scales)?);
    args.word(launch.read(&biases)?).word(launch.write(out)?);
    args.word(scratch.as_ref().map_or(0, |s| s.address())).word(launch.queue.counters()?);
    args.size(m).size(n).size(k).size(splits);
    let grid = [across as u32, down as u32, splits as u32];
    // SAFETY: the kernel has these parameters; core checked the sizes of the parts.
    unsafe { args.launch(kernel, grid, [256, 1, 1], shared, launch.queue) }
}

/// As [`tiled`], with the matrix of four bits as the left side: few rows of x then leave little of the
/// units idle. A product with 4096 x 4096 by 64 rows takes 0.74 of the time so, on an H100.
fn turned(
    launch: &Launch<'_>,
    format: QuantFormat,
    operands: [&Operand; 4],
    out: &Operand,
    (m, n, k): (usize, usize, usize),
) -> Result<()> {
    let mut args = Args::new();
    for operand in operands {
        args.word(launch.read(operand)?);
    }
    args.word(launch.write(out)?).size(m).size(n).size(k);
    let (dtype, group, modules) = (out.dtype, format.group, &launch.gpu.modules);
    let t = storage(dtype);
    if m <= FEW_TILES {
        let defines = format!("T={t};GROUP={group};NT={}", m.div_ceil(8));
        let kernel = modules.kernel(FEW, "qmm16", &defines, Rounding::Contracted)?;
        let grid = [n.div_ceil(16) as u32, 1, 1];
        // SAFETY: the kernel has these parameters; core checked the sizes of the parts.
        return unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue) };
    }
    let rows = m.next_power_of_two().clamp(32, 128);
    let (across, down) = (n.div_ceil(64), m.div_ceil(rows));
    // Four blocks for each multiprocessor, of at least four tiles of k each.
    let wanted = 4 * launch.gpu.facts.multiprocessors as usize / (across * down);
    let most = wanted.min(k / 64 / 4);
    let splits = [8, 4, 2].into_iter().find(|&s| s <= most).unwrap_or(1);
    let half = if dtype == Dtype::F16 { ";HALF" } else { "" };
    let defines = format!("T={t};GROUP={group};M={rows};SPLITS={splits}{half}");
    let kernel = modules.kernel(WARPGROUPS, "qmm90", &defines, Rounding::Contracted)?;
    // Four tiles of x and of the matrix, or the sums.
    let shared = (4 * (rows * 128 + 64 * 32)).max(rows * 68 * 4);
    let grid = [across as u32, down as u32, splits as u32];
    // SAFETY: as above.
    unsafe { args.launch(kernel, grid, [128, 1, 1], shared, launch.queue) }
}

/// The sizes `(m, n, k)` of a product.
fn sizes(inputs: &[Operand], out: &Operand) -> (usize, usize, usize) {
    let x = &inputs[0];
    let n = out.shape()[out.shape().len() - 1];
    (out.layout.len() / n, n, x.shape()[x.shape().len() - 1])
}

/// True iff the kernels for one matrix `(n, k)` of packed rows take the product.
fn plain(op: &QuantizedMatmul, inputs: &[Operand]) -> bool {
    let (x, w) = (&inputs[0], &inputs[1]);
    let one_matrix = w.shape()[..w.shape().len() - 2].iter().all(|&b| b == 1);
    let k = x.shape()[x.shape().len() - 1];
    op.transpose && one_matrix && k > 0 && !x.dtype.is_complex() && x.dtype != Dtype::F64
}

/// True iff the matrix units take products of this format.
fn units(op: &QuantizedMatmul, x: &Operand) -> bool {
    x.dtype.is_half()
        && op.format.mode == QuantMode::Affine
        && matches!(op.format.bits, 4 | 8)
        && x.shape()[x.shape().len() - 1].is_multiple_of(64)
}

/// Runs the product of few rows and then the epilogue, where both are one kernel; false if not.
pub(crate) fn with_epilogue(
    launch: &Launch<'_>,
    op: &QuantizedMatmul,
    inputs: &[Operand],
    epilogue: &Tape,
    extra: &[Operand],
    out: &Operand,
) -> Result<bool> {
    if out.layout.is_empty() || !plain(op, inputs) {
        return Ok(false);
    }
    let sizes = sizes(inputs, out);
    let few = if units(op, &inputs[0]) { FEW_ROWS } else { FEW_ROWS_WITHOUT_UNITS };
    let epilogue = Some((epilogue, extra));
    Ok(sizes.0 <= few && vector::product(launch, op.format, inputs, epilogue, out, sizes)?)
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
    let (sizes, ndim) = (sizes(inputs, out), w.shape().len());
    if plain(op, inputs) {
        let units = units(op, x);
        if units && sizes.0 > FEW_ROWS && sizes.0 <= MANY_ROWS {
            return tiled(launch, op.format, inputs, out, sizes);
        }
        if sizes.0 <= FEW_ROWS || !units && sizes.0 <= FEW_ROWS_WITHOUT_UNITS {
            return vector::product(launch, op.format, inputs, None, out, sizes).map(|_| ());
        }
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
