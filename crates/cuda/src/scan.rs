//! Running reductions and the places of extremes along an axis.

use lazulite_core::backend::Operand;
use lazulite_core::op::ScanOp;
use lazulite_core::op::reduce::{ArgReduce, ArgReduceOp};
use lazulite_core::op::scan::Scan;
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::driver;
use crate::fused::merge;
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;

pub(crate) const SOURCE: &str = include_str!("scan.cu");
const GEOMETRY: usize = 64;
const THREADS: u32 = 256;
/// Elements from which on a row that is reduced to one place is long.
const LONG_ROW: usize = 1 << 13;
/// Elements that a thread takes at once, and a block.
const EACH: usize = 8;
const TURN: usize = THREADS as usize * EACH;
/// Threads of a block of the scan in one pass, the elements of its part, and the parts of a group.
const ONCE_THREADS: u32 = 512;
const ONCE_PART: usize = 4 * ONCE_THREADS as usize * EACH;
const ONCE_GROUP: usize = 64;
/// Parts from which on one pass is worth the waits of blocks for each other.
const MANY_PARTS: usize = 64;

/// The words of the kernels' struct; the last axis of `x` and `out` that is scanned is `axis`.
fn geometry(x: &Operand, out: &Operand, axis: usize, part: usize, inclusive: bool) -> Vec<u64> {
    let kept: Vec<usize> = (0..x.shape().len()).filter(|&a| a != axis).collect();
    let sizes: Vec<usize> = kept.iter().map(|&a| x.shape()[a]).collect();
    let of = |o: &Operand| -> Vec<isize> { kept.iter().map(|&a| o.layout.strides[a]).collect() };
    let merged = merge(&sizes, &[&of(x), &of(out)]);
    let n = x.shape()[axis];
    let mut g = vec![
        sizes.iter().product::<usize>() as u64,
        n as u64,
        x.layout.strides[axis] as u64,
        out.layout.strides[axis] as u64,
        part as u64,
        n.div_ceil(part) as u64,
        merged.sizes.len() as u64,
        0,
        u64::from(inclusive),
    ];
    for a in 0..merged.sizes.len() {
        let (from, to) = (merged.strides[0][a], merged.strides[1][a]);
        g.extend([merged.sizes[a] as u64, from as u64, to as u64]);
    }
    g.resize(GEOMETRY, 0);
    g
}

/// True iff the kernels' struct has room for this rank.
pub(crate) fn fits(x: &Operand) -> bool {
    x.shape().len() <= 16
}

fn reducer(op: ScanOp) -> &'static str {
    match op {
        ScanOp::CumSum => "Sum",
        ScanOp::CumProd => "Prod",
        ScanOp::CumMin => "Min",
        ScanOp::CumMax => "Max",
        ScanOp::LogCumSumExp => "LogAddExp",
    }
}

/// True iff rows along `axis` are made of whole packs of neighbours.
fn even(o: &Operand, axis: usize, at: u64) -> bool {
    let (s, size) = (&o.layout.strides, o.dtype.size() as u64);
    s[axis] == 1
        && o.shape()[axis].is_multiple_of(EACH)
        && at.is_multiple_of((size * EACH as u64).min(16))
        && (0..s.len()).all(|a| a == axis || s[a] % EACH as isize == 0)
}

/// A running reduction. Rows longer than a part are cut where rows are few: the parts' joins come
/// first, and every part starts from those before it. Where parts are many, blocks get them from each other in
/// one pass: 2^26 numbers of float32 took 0.279 ms so on an H100 (0.226 in a trial
/// of this kernel with 16 bytes at a time), and 0.297 in two.
pub(crate) fn scan(launch: &Launch<'_>, op: &Scan, x: &Operand, out: &Operand) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let n = x.shape()[op.axis];
    let rows = x.layout.len() / n;
    // Few rows are cut into parts, about sixteen for each multiprocessor and none shorter than four
    // turns of a block.
    let wanted = (16 * launch.gpu.facts.multiprocessors as usize).div_ceil(rows);
    let part = n.div_ceil(wanted.min(65_535)).next_multiple_of(TURN).max(4 * TURN).min(n);
    let (from, to) = (launch.read(x)?, launch.write(out)?);
    let unit = even(x, op.axis, from) && even(out, op.axis, to);
    let g = geometry(x, out, op.axis, part, op.inclusive);
    let parts = n.div_ceil(part);
    let unit = if unit { ";UNIT" } else { "" };
    let back = if op.reverse { ";REVERSE" } else { "" };
    let defines = format!("T={};R={};SCAN{unit}{back}", storage(x.dtype), reducer(op.op));
    let modules = &launch.gpu.modules;
    let once = n.div_ceil(ONCE_PART);
    if parts > 1 && once >= MANY_PARTS && x.dtype.compute().size() == 4 && !unit.is_empty() {
        let words = 1 + rows * (once + once.div_ceil(ONCE_GROUP));
        let state = launch.scratch(words * 8)?;
        // SAFETY: the block was just made, with this size.
        unsafe { driver::fill_zero(state.address(), words * 8, launch.queue.raw())? };
        let defines = format!("{defines};ONCE");
        let kernel = modules.kernel(SOURCE, "scan_once", &defines, Rounding::Separate)?;
        let mut args = Args::new();
        args.word(from).word(to).word(state.address());
        args.words(&geometry(x, out, op.axis, ONCE_PART, op.inclusive));
        let grid = [(rows * once) as u32, 1, 1];
        // SAFETY: the kernel has these parameters; strides stay within the operands.
        return unsafe { args.launch(kernel, grid, [ONCE_THREADS, 1, 1], 0, launch.queue) };
    }
    let grid = [rows as u32, parts as u32, 1];
    let totals = match parts {
        1 => None,
        _ => Some(launch.scratch(rows * parts * x.dtype.compute().size())?),
    };
    if let Some(totals) = &totals {
        let kernel = modules.kernel(SOURCE, "part_totals", &defines, Rounding::Separate)?;
        let mut args = Args::new();
        args.word(from).word(totals.address()).words(&g);
        // SAFETY: the kernel has these parameters; the totals have room for all parts.
        unsafe { args.launch(kernel, grid, [THREADS, 1, 1], 0, launch.queue)? };
    }
    let kernel = modules.kernel(SOURCE, "scan", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(from).word(to).word(totals.as_ref().map_or(0, |t| t.address())).words(&g);
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, grid, [THREADS, 1, 1], 0, launch.queue) }
}

/// The place of the least or greatest element along an axis.
pub(crate) fn arg_reduce(
    launch: &Launch<'_>,
    op: &ArgReduce,
    x: &Operand,
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let n = x.shape()[op.axis];
    let sign = match op.op {
        ArgReduceOp::Min => -1,
        ArgReduceOp::Max => 1,
    };
    let g = geometry(x, out, op.axis, n, false);
    let from = launch.read(x)?;
    let unit = even(x, op.axis, from);
    let rows = x.layout.len() / n;
    let many = rows >= 4 * launch.gpu.facts.multiprocessors as usize;
    if unit && many && x.dtype.is_half() && n <= 1 << 16 {
        let half = if x.dtype == Dtype::F16 { ";HALF" } else { "" };
        let defines = format!("T={};ARG_ROWS={sign}{half}", storage(x.dtype));
        let kernel = launch.gpu.modules.kernel(SOURCE, "arg_rows", &defines, Rounding::Separate)?;
        let mut args = Args::new();
        args.word(from).word(launch.write(out)?).words(&g);
        let grid = [rows.div_ceil(4) as u32, 1, 1];
        // SAFETY: the kernel has these parameters; strides stay within the operands.
        return unsafe { args.launch(kernel, grid, [128, 1, 1], 0, launch.queue) };
    }
    let unit = if unit { ";UNIT" } else { "" };
    // Few long rows, such as the logits of one token, get as many threads as a block may have.
    let width = if !many && n >= LONG_ROW { 1024 } else { THREADS };
    let defines = format!("T={};ARG={sign};WIDTH={width}{unit}", storage(x.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "arg_reduce", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(from).word(launch.write(out)?).words(&g);
    let grid = [rows as u32, 1, 1];
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, grid, [width, 1, 1], 0, launch.queue) }
}
