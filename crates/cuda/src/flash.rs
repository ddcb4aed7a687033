//! Attention on the matrix units. 16-bit elements: one kernel for many queries, by warpgroup products where
//! the architecture has them, and one for few queries and long caches. `float32`: one kernel for many queries.

use lazulite_core::backend::Operand;
use lazulite_core::{Dtype, Result};

use crate::allocator::{DeviceMemory, Logarithms};
use crate::args::Args;
use crate::attention::{MANY_QUERIES, Shapes};
use crate::copy;
use crate::driver::{self, CUdeviceptr};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::{COUNTERS, Launch};

/// The source of the kernels for all architectures.
pub(crate) const SOURCE: &str =
    concat!(include_str!("mma.cuh"), include_str!("logits.cuh"), include_str!("flash.cu"));
/// The source of the kernel for compute capability 9.0.
pub(crate) const SOURCE_90: &str =
    concat!(include_str!("mma.cuh"), include_str!("hopper.cuh"), include_str!("flash90.cu"));

/// The source of the kernel for few queries and long caches there.
pub(crate) const FEW_90: &str = concat!(
    include_str!("mma.cuh"),
    include_str!("hopper.cuh"),
    include_str!("logits.cuh"),
    include_str!("flash.cu"),
    include_str!("decode90.cu")
);

/// The source of the kernel for `float32`.
pub(crate) const SOURCE_32: &str =
    concat!(include_str!("mma.cuh"), include_str!("logits.cuh"), include_str!("flash32.cu"));

/// The most rows (queries of all heads of a group) that share one pass over keys and values.
const FEW_ROWS: usize = 64;
/// Rows of a tile, and keys of a turn of the four warps, in the kernel for few queries.
const TILE: usize = 16;
const TURN: usize = 64;

/// An operand whose rows the kernels can fetch in pieces of 16 bytes: itself or a copy.
pub(crate) fn in_pieces(launch: &Launch<'_>, x: &Operand) -> Result<Operand> {
    let outer = x.shape().iter().zip(&x.layout.strides).take(3);
    let piece = (16 / x.dtype.size()) as isize;
    let even = outer.into_iter().all(|(&n, &s)| n == 1 || s > 0 && s % piece == 0);
    match even && launch.read(x)?.is_multiple_of(16) {
        true => Ok(x.clone()),
        false => copy::contiguous(launch, x),
    }
}

/// Runs the call if its types and sizes suit these kernels; says whether it did.
pub(crate) fn attention(launch: &Launch<'_>, call: &Shapes, out: &Operand) -> Result<bool> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(false) };
    let (g, s, e) = (call.k.shape()[1], call.k.shape()[2], call.v.shape()[3]);
    let fits = |n: usize| n.is_multiple_of(8) && n <= 256;
    let small = b <= 65_535 && h <= 65_535 && b * h * t < 1 << 31 && s < 1 << 30;
    if !fits(d) || !fits(e) || !small || s == 0 {
        return Ok(false);
    }
    if out.dtype == Dtype::F32 {
        return single(launch, call, out);
    }
    if !out.dtype.is_half() {
        return Ok(false);
    }
    let call = &Shapes {
        q: in_pieces(launch, &call.q)?,
        k: in_pieces(launch, &call.k)?,
        v: in_pieces(launch, &call.v)?,
        mask: call.mask.clone(),
        sinks: call.sinks.clone(),
        ..*call
    };
    let rows = h / g * t;
    let limit = launch.gpu.facts.shared;
    if rows <= FEW_ROWS && t <= TILE {
        if streamed(launch, call, out)? {
            return Ok(true);
        }
        let stage = TILE * (row(d) + row(e)) * 2 * 4;
        let stages = [3, 2].into_iter().find(|n| n * stage <= limit);
        return match stages {
            Some(stages) => few(launch, call, out, (stages, stages * stage)).map(|()| true),
            None => Ok(false),
        };
    }
    let hopper = launch.gpu.facts.capability.0 == 9;
    if hopper && d <= 128 && e <= 128 && call.scale > 0.0 && [b, g, h, t].iter().all(|&n| n > 0) {
        return warpgroups(launch, call, out).map(|()| true);
    }
    let keys = if d.max(e) > 128 { 32 } else { 64 };
    let shared = ((64 + keys) * row(d) + keys * row(e)) * 2;
    if shared > limit {
        return Ok(false);
    }
    let defines =
        format!("T={};D={d};E={e};FLAGS={};BN={keys};PREFILL", storage(out.dtype), call.flags);
    let kernel = launch.gpu.modules.kernel(SOURCE, "flash", &defines, Rounding::Contracted)?;
    let mut args = Args::new();
    args.word(launch.read(&call.q)?).word(launch.read(&call.k)?).word(launch.read(&call.v)?);
    let [mask, sinks] = call.optional(launch)?;
    args.word(mask).word(sinks).word(launch.write(out)?).word(call.scale.to_bits());
    args.words(&call.geometry(s, 1));
    let grid = [t.div_ceil(64) as u32, h as u32, b as u32];
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, grid, [128, 1, 1], shared, launch.queue)? };
    Ok(true)
}

/// Queries of a block of the kernel for `float32`.
const QUERIES: usize = 64;
/// The longest rows of values whose sums fit the registers there.
const LONGEST_VALUES: usize = 128;
/// Keys up to which the kernel for `float32` takes a call that leaves half of the multiprocessors idle.
const FEW_KEYS: usize = 512;

/// Many queries in `float32`, each product by three of the matrix units; says whether it ran. 4 x 16 x 2048 x 64
/// takes 1.33 ms on an H100, causal 0.68; with logits in memory 4.91 and 3.00.
fn single(launch: &Launch<'_>, call: &Shapes, out: &Operand) -> Result<bool> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(false) };
    let (s, e) = (call.k.shape()[2], call.v.shape()[3]);
    let blocks = t.div_ceil(QUERIES) * h * b;
    let busy = 2 * blocks >= launch.gpu.facts.multiprocessors as usize || s <= FEW_KEYS;
    let units = launch.gpu.facts.capability.0 >= 8;
    if t < MANY_QUERIES || e > LONGEST_VALUES || !busy || !units {
        return Ok(false);
    }
    // As the kernel pads them.
    let keys_row = match d.next_multiple_of(16) {
        n if n.is_multiple_of(32) => n + 16,
        n => n,
    };
    let stage = keys_row + e.next_multiple_of(32) + 4;
    let shared = |keys: usize| (QUERIES * keys_row + 2 * keys * stage) * 4;
    let Some(keys) = [32, 16].into_iter().find(|&keys| shared(keys) <= launch.gpu.facts.shared)
    else {
        return Ok(false);
    };
    let (q, k) = (in_pieces(launch, &call.q)?, in_pieces(launch, &call.k)?);
    let v = in_pieces(launch, &call.v)?;
    let call = &Shapes { q, k, v, mask: call.mask.clone(), sinks: call.sinks.clone(), ..*call };
    let defines = format!("T=f32;D={d};E={e};FLAGS={};BN={keys}", call.flags);
    let kernel = launch.gpu.modules.kernel(SOURCE_32, "flash32", &defines, Rounding::Contracted)?;
    let [mask, sinks] = call.optional(launch)?;
    let mut args = Args::new();
    args.word(launch.read(&call.q)?).word(launch.read(&call.k)?).word(launch.read(&call.v)?);
    args.word(mask).word(sinks).word(launch.write(out)?).word(call.scale.to_bits());
    args.words(&call.geometry(s, 1));
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, [blocks as u32, 1, 1], [128, 1, 1], shared(keys), launch.queue)? };
    Ok(true)
}

/// Elements of a row of `n` elements in shared memory.
fn row(n: usize) -> usize {
    n.next_multiple_of(16) + 8
}

/// Few queries: the keys are cut into spans, so that all multiprocessors read.
fn few(
    launch: &Launch<'_>,
    call: &Shapes,
    out: &Operand,
    (stages, shared): (usize, usize),
) -> Result<()> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(()) };
    let (g, s, e) = (call.k.shape()[1], call.k.shape()[2], call.v.shape()[3]);
    let tiles = (h / g * t).div_ceil(TILE);
    let resident = (launch.gpu.facts.shared / shared).max(1);
    let slots = launch.gpu.facts.multiprocessors as usize * resident;
    let units = b * g * tiles;
    let wanted = if units <= COUNTERS { (slots / units).max(1) } else { 1 };
    let span = s.div_ceil(wanted).next_multiple_of(TURN).max(4 * TURN);
    let spans = s.div_ceil(span);
    let defines =
        format!("T={};D={d};E={e};FLAGS={};STAGES={stages};DECODE", storage(out.dtype), call.flags);
    let kernel =
        launch.gpu.modules.kernel(SOURCE, "flash_decode", &defines, Rounding::Contracted)?;
    let parts = match spans {
        1 => None,
        _ => Some(launch.scratch(b * h * t * spans * (e + 2) * 4)?),
    };
    let words = call.geometry(span, spans);
    let parts_at = parts.as_ref().map_or(0, |p| p.address());
    let [mask, sinks] = call.optional(launch)?;
    let to = launch.write(out)?;
    let mut args = Args::new();
    args.word(launch.read(&call.q)?).word(launch.read(&call.k)?).word(launch.read(&call.v)?);
    args.word(mask).word(sinks).word(to).word(parts_at).word(launch.queue.counters()?);
    args.word(call.scale.to_bits()).words(&words);
    let grid = [spans as u32, (g * tiles) as u32, b as u32];
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, grid, [128, 1, 1], shared, launch.queue) }
}

/// Bytes of keys and values that are under way in a block: with twice as many, reading 256 MiB takes 1.01 of the time on an
/// H100.
const UNDER_WAY: usize = 64 << 10;

/// Few queries on tiles of the copy engine, which take 0.83 to 0.97 of the time of [`few`] for 2 to 512 MB of keys
/// and values on an H100; says whether it ran.
fn streamed(launch: &Launch<'_>, call: &Shapes, out: &Operand) -> Result<bool> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(false) };
    let (g, s, e) = (call.k.shape()[1], call.k.shape()[2], call.v.shape()[3]);
    let facts = &launch.gpu.facts;
    let tiles = (h / g * t).div_ceil(TILE);
    let units = b * g * tiles;
    let stage = (d.div_ceil(64) + e.div_ceil(64)) * TURN * 128;
    let suits = facts.capability.0 == 9 && d <= 128 && e <= 128 && units <= COUNTERS;
    if !suits {
        return Ok(false);
    }
    // One block for each multiprocessor, or up to two where one would leave many idle.
    let slots = facts.multiprocessors as usize;
    let wanted = match slots / units {
        0 => 1,
        n if 4 * n * units >= 3 * slots => n,
        _ => 2 * slots / units,
    };
    let span = s.div_ceil(wanted).next_multiple_of(TURN).max(4 * TURN);
    let spans = s.div_ceil(span);
    let stages = UNDER_WAY / stage;
    // Beside the tiles, the results of four warps.
    let shared = stages * stage + 4 * TILE * (e.next_multiple_of(16) + 2) * 4;
    let half = if out.dtype == Dtype::F16 { ";HALF" } else { "" };
    let (dtype, flags) = (storage(out.dtype), call.flags);
    let defines = format!("T={dtype};D={d};E={e};FLAGS={flags};STAGES={stages}{half}");
    let kernel = launch.gpu.modules.kernel(FEW_90, "decode90", &defines, Rounding::Contracted)?;
    let parts = match spans {
        1 => None,
        _ => Some(launch.scratch(b * h * t * spans * (e + 2) * 4)?),
    };
    let [mask, sinks] = call.optional(launch)?;
    let mut args = Args::new();
    args.words(&tile_map(launch, &call.k, TURN as u32)?);
    args.words(&tile_map(launch, &call.v, TURN as u32)?);
    args.word(launch.read(&call.q)?).word(mask).word(sinks).word(launch.write(out)?);
    args.word(parts.as_ref().map_or(0, |p| p.address())).word(launch.queue.counters()?);
    args.word(call.scale.to_bits()).words(&call.geometry(span, spans));
    let grid = [spans as u32, (g * tiles) as u32, b as u32];
    // SAFETY: the kernel has these parameters; the maps cover keys and values, and strides stay within the
    // operands.
    unsafe { args.launch(kernel, grid, [160, 1, 1], shared, launch.queue)? };
    Ok(true)
}

/// The map of `(b, h, rows, columns)` for the copy engine, in tiles of `rows` rows.
pub(crate) fn tile_map(launch: &Launch<'_>, x: &Operand, rows: u32) -> Result<[u64; 16]> {
    map_at(launch.read(x)?, x, rows)
}

/// As [`tile_map`], of an array at `at`.
pub(crate) fn map_at(at: CUdeviceptr, x: &Operand, rows: u32) -> Result<[u64; 16]> {
    let (n, s) = (x.shape(), &x.layout.strides);
    // Axes of one element have any stride; the engine wants a multiple of 16 bytes.
    let stride = |a: usize| if n[a] == 1 { n[3] as u64 * 2 } else { s[a] as u64 * 2 };
    let sizes = [n[3], n[2], n[1], n[0]].map(|n| n as u64);
    driver::tensor_map(at, sizes, [stride(2), stride(1), stride(0)], rows)
}

/// Where the kernels' struct has the length of a head's row of logarithms.
pub(crate) const LENGTH: usize = 27;

/// Many queries by warpgroup products, on tiles of the copy engine. The logarithms of the softmax's sums stay
/// with the result for its gradients.
fn warpgroups(launch: &Launch<'_>, call: &Shapes, out: &Operand) -> Result<()> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(()) };
    let e = call.v.shape()[3];
    let half = if out.dtype == Dtype::F16 { ";HALF" } else { "" };
    let defines = format!("T={};D={d};E={e};FLAGS={}{half}", storage(out.dtype), call.flags);
    let kernel = launch.gpu.modules.kernel(SOURCE_90, "flash90", &defines, Rounding::Contracted)?;
    let columns = |n: usize| n.div_ceil(64) * 128;
    // Queries of two items, two stages of keys and values, and results on their way out.
    let shared = 2 * 128 * columns(d) + 2 * 128 * (columns(d) + columns(e)) + 128 * columns(e);
    let mut args = Args::new();
    args.words(&tile_map(launch, &call.q, 64)?);
    args.words(&tile_map(launch, &call.k, 128)?).words(&tile_map(launch, &call.v, 128)?);
    args.words(&map_at(launch.write(out)?, out, 64)?);
    let [mask, sinks] = call.optional(launch)?;
    let length = t.next_multiple_of(64);
    let logs = launch.temporary(Dtype::F32, &[b * h, length])?;
    args.word(mask).word(sinks).word(launch.write(&logs)?);
    let mut geometry = call.geometry(call.k.shape()[2], 1);
    geometry[LENGTH] = length as u64;
    args.word(launch.queue.counters()?).word(call.scale.to_bits()).words(&geometry);
    let items = t.div_ceil(128) * h * b;
    let grid = [items.min(launch.gpu.facts.multiprocessors as usize) as u32, 1, 1];
    // SAFETY: the kernel has these parameters; the maps cover the operands, and there is a logarithm for
    // every row of every head.
    unsafe { args.launch(kernel, grid, [384, 1, 1], shared, launch.queue)? };
    if let Some(memory) = out.buffer.downcast::<DeviceMemory>() {
        let of = (call.scale.to_bits(), call.flags, length);
        *memory.logarithms.lock() = Some(Logarithms { of, at: logs });
    }
    Ok(())
}
