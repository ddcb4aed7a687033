//! Sorting along an axis: rows that fit a block are sorted by it, longer ones in passes over all
//! rows. Both are stable sorts by digits, so a partial order costs as much as a whole one.

use lazulite_core::backend::Operand;
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;
use crate::{copy, driver};

pub(crate) const SOURCE: &str = include_str!("sort.cu");
const THREADS: usize = 256;

/// True iff the kernels sort this operand along this axis.
pub(crate) fn fits(x: &Operand, axis: usize) -> bool {
    let rows: usize = x.layout.len() / x.shape()[axis].max(1);
    x.dtype != Dtype::C64 && x.shape()[axis] < 1 << 30 && rows <= 65_535.max(row_limit(x, axis))
}

/// The most rows for the kernel of short rows; 0 where rows are long.
fn row_limit(x: &Operand, axis: usize) -> usize {
    if x.shape()[axis] <= longest(x.dtype) { i32::MAX as usize } else { 0 }
}

/// The most elements for which a block has room.
fn longest(dtype: Dtype) -> usize {
    THREADS * if dtype.size() == 8 { 8 } else { 16 }
}

/// Words that a kernel of `name` is compiled with.
fn defines(dtype: Dtype, places: bool, items: usize, what: &str) -> String {
    let order = if dtype.is_floating() {
        ";FLOATING"
    } else if matches!(dtype, Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64) {
        ";SIGNED"
    } else {
        ""
    };
    let places = if places { ";PLACES" } else { "" };
    let bits = dtype.size() * 8;
    format!("T={};U=u{bits}{order}{places};ITEMS={items};{what}", storage(dtype))
}

/// Sorts `x` along `axis`: elements, or with `places` the places they had.
pub(crate) fn sort(
    launch: &Launch<'_>,
    axis: usize,
    places: bool,
    x: &Operand,
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let mut axes: Vec<usize> = (0..x.shape().len()).filter(|&a| a != axis).collect();
    axes.push(axis);
    let turned = |o: &Operand| Operand { layout: o.layout.transpose(&axes), ..o.clone() };
    let target = turned(out);
    if axis + 1 == x.shape().len() {
        let from = copy::as_contiguous(launch, x)?;
        return rows(launch, places, &from, &target);
    }
    let from = copy::contiguous(launch, &turned(x))?;
    let sorted = launch.temporary(out.dtype, target.shape())?;
    rows(launch, places, &from, &sorted)?;
    copy::copy(launch, &sorted, &target)
}

/// Sorts along the last axis; both operands are contiguous, and may be the same memory.
fn rows(launch: &Launch<'_>, places: bool, x: &Operand, out: &Operand) -> Result<()> {
    let n = x.shape()[x.shape().len() - 1];
    let count = x.layout.len() / n;
    if n > longest(x.dtype) {
        return passes(launch, places, x, out, (count, n));
    }
    let items = n.div_ceil(THREADS).next_power_of_two();
    let defines = defines(x.dtype, places, items, "ROWS");
    let kernel = launch.gpu.modules.kernel(SOURCE, "sort_rows", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.read(x)?).word(launch.write(out)?).size(n);
    let grid = [count as u32, 1, 1];
    // SAFETY: the kernel has these parameters; a block reads its row before it writes it.
    unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue) }
}

/// Rows longer than a block holds, digit by digit.
fn passes(
    launch: &Launch<'_>,
    places: bool,
    x: &Operand,
    out: &Operand,
    (count, n): (usize, usize),
) -> Result<()> {
    let digits = x.dtype.size();
    // The only pass over bytes reads where it writes.
    let x = match digits == 1 && x.buffer.same(&out.buffer) {
        true => copy::contiguous(launch, x)?,
        false => x.clone(),
    };
    let items = longest(x.dtype) / THREADS;
    let tiles = n.div_ceil(THREADS * items);
    let modules = &launch.gpu.modules;
    let defines = defines(x.dtype, places, items, "COUNT;SWEEP");
    // Counts of digits, then for each pass the state of its tiles and its tickets.
    let (counted, state) = (count * digits * 256 * 4, count * (tiles * 256 + 1) * 4);
    let memory = launch.scratch(counted + digits * state)?;
    // SAFETY: the scratch block has this size.
    unsafe { driver::fill_zero(memory.address(), counted + digits * state, launch.queue.raw())? };
    let from = launch.read(&x)?;
    let kernel = modules.kernel(SOURCE, "count_digits", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(from).word(memory.address()).size(n);
    let processors = launch.gpu.facts.multiprocessors as usize;
    let blocks = (8 * processors).div_ceil(count).min(n.div_ceil(THREADS * 16)).max(1);
    // SAFETY: the kernel has these parameters.
    unsafe {
        args.launch(
            kernel,
            [blocks as u32, count as u32, 1],
            [THREADS as u32, 1, 1],
            0,
            launch.queue,
        )?
    };
    let kernel = modules.kernel(SOURCE, "sweep", &defines, Rounding::Separate)?;
    let to = launch.write(out)?;
    let half = |size: usize| {
        if digits > 1 { launch.scratch(count * n * size).map(Some) } else { Ok(None) }
    };
    let (keys, origins) = ([half(digits)?, half(digits)?], [half(4)?, half(4)?]);
    let at = |m: &Option<crate::allocator::DeviceMemory>| m.as_ref().map_or(0, |m| m.address());
    for pass in 0..digits {
        let (source, target) = ((pass + 1) % 2, pass % 2);
        let last = pass + 1 == digits;
        let mut args = Args::new();
        args.word(if pass == 0 { from } else { at(&keys[source]) });
        args.word(if last && !places { to } else { at(&keys[target]) });
        args.word(at(&origins[source])).word(if last { to } else { at(&origins[target]) });
        let status = memory.address() + (counted + pass * state) as u64;
        args.word(memory.address()).word(status).word(status + (count * tiles * 256 * 4) as u64);
        args.size(n).size(tiles).size(pass);
        let grid = [tiles as u32, count as u32, 1];
        // SAFETY: the kernel has these parameters; all blocks have room for the rows.
        unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue)? };
    }
    Ok(())
}
