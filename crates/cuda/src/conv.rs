//! Convolutions as products. For 16-bit elements whose channels come in eights the patches under the
//! kernel are gathered on their way to the matrix units (`conv90.rs` where there are warpgroup
//! products); for others they are written out, as many at a time as a limit allows, and multiplied
//! as matrices.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::conv::Conv;
use lazulite_core::shape::Layout;

use crate::args::Args;
use crate::indexing::{THREADS, blocks};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;
use crate::{conv90, copy, driver, matmul};

pub(crate) const SOURCE: &str = concat!(include_str!("mma.cuh"), include_str!("conv.cu"));

/// The most spatial axes.
const AXES: usize = 3;
/// Rows and outputs of a block's tile, elements of a step, and bytes of its buffers.
const TILE: usize = 128;
const STEP: usize = 32;
const SHARED: usize = 4 * 2 * TILE * 40 * 2;
/// Bytes of patches that are written out at a time.
const MOST_PATCHES: usize = 256 << 20;

/// True iff the kernels have room for the axes, and the products are there.
pub(crate) fn supports(op: &Conv, out: &Operand) -> bool {
    op.stride.len() <= AXES && matmul::supports(out.dtype)
}

/// The sizes of a call.
struct Sizes {
    /// Places of the result, over all examples.
    rows: usize,
    groups: usize,
    /// Channels and outputs of a group.
    depth: usize,
    outputs: usize,
    /// Elements under the kernel for one group.
    inner: usize,
    /// The words of the kernels' struct.
    words: Vec<u64>,
}

fn sizes(op: &Conv, x: &Operand, w: &Operand, out: &Operand) -> Sizes {
    let axes = op.stride.len();
    let (groups, channels, outputs) = (op.groups, x.shape()[axes + 1], w.shape()[0]);
    let spatial = |x: &Operand| x.shape()[1..=axes].to_vec();
    let taps: usize = spatial(w).iter().product();
    let (depth, rows) = (channels / groups, out.layout.len() / outputs);
    let mut words: Vec<i64> =
        [rows, depth, outputs / groups, channels, outputs].map(|n| n as i64).into();
    let mut each = |given: Vec<i64>, absent: i64| {
        words.extend(std::iter::repeat_n(absent, AXES - axes).chain(given));
    };
    let wide = |n: &[usize]| n.iter().map(|&n| n as i64).collect::<Vec<i64>>();
    each(wide(&spatial(x)), 1);
    each(wide(&spatial(w)), 1);
    each(wide(&spatial(out)), 1);
    each(wide(&op.stride), 1);
    each(op.low.iter().map(|&n| n as i64).collect(), 0);
    each(wide(&op.kernel_dilation), 1);
    each(wide(&op.input_dilation), 1);
    words.extend([i64::from(op.flip), (taps * depth) as i64]);
    let mut words: Vec<u64> = words.into_iter().map(|w| w as u64).collect();
    words.resize(64, 0);
    Sizes { rows, groups, depth, outputs: outputs / groups, inner: taps * depth, words }
}

/// Runs the op.
pub(crate) fn conv(
    launch: &Launch<'_>,
    op: &Conv,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    if inputs[1].layout.is_empty() || inputs[0].layout.is_empty() {
        let bytes = out.layout.len() * out.dtype.size();
        let to = launch.write(out)?;
        // SAFETY: the output's block holds all its elements.
        return unsafe { driver::fill_zero(to, bytes, launch.queue.raw()) };
    }
    if conv90::conv(launch, op, [&inputs[0], &inputs[1]], out)? {
        return Ok(());
    }
    let x = copy::as_contiguous(launch, &inputs[0])?;
    let w = copy::as_contiguous(launch, &inputs[1])?;
    let sizes = sizes(op, &x, &w, out);
    let dilated = if op.input_dilation.iter().any(|&d| d > 1) { ";DILATED" } else { "" };
    let defines = format!("T={}{dilated}", storage(out.dtype));
    let addresses = launch.read(&x)? | launch.read(&w)?;
    // Places and offsets are 32-bit numbers.
    let narrow = sizes.inner < 1 << 30 && x.shape().iter().all(|&n| n < 1 << 30);
    let units = out.dtype.is_half() && sizes.depth.is_multiple_of(8);
    if units && narrow && addresses.is_multiple_of(16) {
        return tiled(launch, &defines, [&x, &w], out, sizes);
    }
    written_out(launch, &defines, [&x, &w], out, sizes)
}

fn tiled(
    launch: &Launch<'_>,
    defines: &str,
    [x, w]: [&Operand; 2],
    out: &Operand,
    mut sizes: Sizes,
) -> Result<()> {
    let modules = &launch.gpu.modules;
    let across = sizes.groups * sizes.outputs.div_ceil(TILE);
    let (down, steps) = (sizes.rows.div_ceil(TILE), sizes.inner.div_ceil(STEP));
    // Few tiles are cut along K: two blocks for each multiprocessor, of at least eight steps.
    let slots = 2 * launch.gpu.facts.multiprocessors as usize;
    let splits = (slots / (across * down)).clamp(1, (steps / 8).max(1));
    let each = steps.div_ceil(splits);
    let splits = steps.div_ceil(each);
    sizes.words[28] = each as u64;
    let parts = match splits {
        1 => None,
        _ => Some(launch.scratch(splits * out.layout.len() * 4)?),
    };
    let parts_at = parts.as_ref().map_or(0, |p| p.address());
    let kernel =
        modules.kernel(SOURCE, "conv", &format!("{defines};UNITS"), Rounding::Contracted)?;
    let to = launch.write(out)?;
    let mut args = Args::new();
    args.word(launch.read(x)?).word(launch.read(w)?).word(to).word(parts_at).words(&sizes.words);
    let grid = [down as u32, across as u32, splits as u32];
    // SAFETY: the kernel has these parameters, and reads inside the operands whose sizes it has.
    unsafe { args.launch(kernel, grid, [256, 1, 1], SHARED, launch.queue)? };
    match splits {
        1 => Ok(()),
        _ => join(launch, parts_at, out, splits),
    }
}

/// `out` is the sum of `splits` arrays of its shape in float32 at `parts`, in order.
pub(crate) fn join(launch: &Launch<'_>, parts: u64, out: &Operand, splits: usize) -> Result<()> {
    let defines = format!("T={};JOIN", storage(out.dtype));
    let modules = &launch.gpu.modules;
    let kernel = modules.kernel(SOURCE, "join_splits", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(parts).word(launch.write(out)?).size(out.layout.len()).size(splits);
    let grid = blocks(out.layout.len());
    // SAFETY: the kernel has these parameters; the parts have room for all splits.
    unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue) }
}

fn written_out(
    launch: &Launch<'_>,
    defines: &str,
    [x, w]: [&Operand; 2],
    out: &Operand,
    mut sizes: Sizes,
) -> Result<()> {
    let Sizes { rows, groups, depth: _, outputs, inner, .. } = sizes;
    let line = (groups * inner * x.dtype.size()).max(1);
    let most = (MOST_PATCHES / line).clamp(1, rows);
    let defines = format!("{defines};PATCHES");
    let kernel = launch.gpu.modules.kernel(SOURCE, "patches", &defines, Rounding::Separate)?;
    let view = |x: &Operand, shape: [usize; 3], strides: [usize; 3], offset: usize| {
        let strides = strides.iter().map(|&s| s as isize).collect();
        let layout = Layout { shape: shape[..].into(), strides, offset };
        Operand { layout, ..x.clone() }
    };
    let weight = view(w, [groups, inner, outputs], [outputs * inner, 1, inner], w.layout.offset);
    for first in (0..rows).step_by(most) {
        let count = most.min(rows - first);
        let patches = launch.temporary(x.dtype, &[groups, count, inner])?;
        (sizes.words[29], sizes.words[30]) = (first as u64, count as u64);
        let mut args = Args::new();
        args.word(launch.read(x)?).word(launch.write(&patches)?).words(&sizes.words);
        let grid = blocks(groups * count * inner);
        // SAFETY: the kernel has these parameters, and the patches room for all elements.
        unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue)? };
        let all = groups * outputs;
        let target = view(out, [groups, count, outputs], [outputs, all, 1], first * all);
        matmul::matmul(launch, &patches, &weight, &target)?;
    }
    Ok(())
}
