//! Fused steps: tapes run block by block, so that values between two memory accesses stay in the
//! L1 cache.
//!
//! A call is prepared once per tape and kind of operands ([`program`]), cut by shape ([`space`]),
//! and its tasks run on the pool ([`machine`]). Strides belong to loads and stores ([`transfer`]);
//! kernels see contiguous blocks ([`kernel`]).

mod chain;
pub(crate) mod kernel;
pub(crate) mod lanes;
pub(crate) mod lower;
mod machine;
mod program;
mod run;
pub(crate) mod space;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;

use crate::isa::{IsaKind, isa};
use crate::pool;
use crate::strided::bytes;
use lazulite_core::backend::Operand;
use lazulite_core::plan::{Extent, Tape};
use lazulite_core::shape::Strides;
use lazulite_core::{Error, ErrorKind, Result};
use machine::{Bound, Machine};
use parking_lot::Mutex;
use program::{Program, count_passes};
use smallvec::SmallVec;
use space::{GRAIN, KEEP, Mode, Space, output_strides, strides_over};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use transfer::Place;

/// Bytes of outputs from which on they are written past the caches: a sum of 4M `float32` took 0.53
/// of the time so on one thread of a Xeon of the fourth generation.
pub(crate) const STREAMED: usize = 16 << 20;

/// Bytes of inputs from which on blocks are asked for ahead: they lie beyond a core's caches.
const FETCHED: usize = 1 << 20;

/// Runs a fused step.
///
/// # Errors
/// Kind `Dtype` if an op does not take its operand's type; kind `Kernel` if an operand lies outside
/// its buffer.
pub fn execute(
    tape: &Tape,
    inputs: &[Operand],
    outputs: &[Operand],
    space: &[usize],
) -> Result<()> {
    execute_on(isa(), tape, inputs, outputs, space)
}

fn execute_on(
    isa: IsaKind,
    tape: &Tape,
    inputs: &[Operand],
    outputs: &[Operand],
    shape: &[usize],
) -> Result<()> {
    if outputs.iter().all(|o| o.layout.is_empty()) {
        return Ok(());
    }
    let passes = count_passes(tape);
    let strides: SmallVec<[Strides; 6]> =
        inputs.iter().map(|x| strides_over(&x.layout, shape)).collect();
    let ends: SmallVec<[Strides; 2]> =
        outputs.iter().map(|x| output_strides(&x.layout, shape)).collect();
    // A whole output leads, else the input that covers most of the space.
    let whole = |s: usize| tape.values[tape.stores[s] as usize].extent == Extent::Full;
    let covered = |i: usize| -> usize {
        strides[i].iter().zip(shape).map(|(&s, &n)| if s == 0 { 1 } else { n }).product()
    };
    let leader = match (0..outputs.len()).find(|&s| whole(s)) {
        Some(s) => ends[s].clone(),
        None => match (0..inputs.len()).rev().max_by_key(|&i| covered(i)) {
            Some(i) => strides[i].clone(),
            None => ends[0].clone(),
        },
    };
    let all = || strides.iter().chain(&ends);
    let turned = if tape.axes == 0 { turned_axes(shape, all) } else { None };
    let space = Space::new(shape, tape.axes, &leader, passes, turned);

    let mut places: SmallVec<[Place; 6]> = SmallVec::new();
    let mut direct = 0u64;
    for (i, (x, strides)) in inputs.iter().zip(&strides).enumerate() {
        let (kept, reduced) = space.walks(shape, strides);
        let along = if space.mode == Mode::Rows { &reduced } else { &kept };
        if !x.dtype.is_half() && along.is_contiguous() || reduced.is_uniform() {
            direct |= if i < 64 { 1 << i } else { 0 };
        }
        places.push(Place { first: first(x, false)?, dtype: x.dtype, kept, reduced });
    }
    let mut sinks: SmallVec<[Place; 2]> = SmallVec::new();
    for (x, strides) in outputs.iter().zip(&ends) {
        let (kept, reduced) = space.walks(shape, strides);
        sinks.push(Place { first: first(x, true)?, dtype: x.dtype, kept, reduced });
    }
    let in_place: SmallVec<[bool; 2]> =
        outputs.iter().map(|o| inputs.iter().any(|i| i.buffer.same(&o.buffer))).collect();
    let row_bytes = space.reduced.saturating_mul(space.tile).saturating_mul(4);
    let keep = passes > 1 && space.chunks == 1 && row_bytes <= KEEP;
    let program = prepared(tape, direct, keep, isa)?;
    let written: usize = outputs.iter().map(|x| x.layout.len() * x.dtype.size()).sum();
    // Rows of several passes are asked for before they are written.
    let rows = passes > 1 && space.mode == Mode::Rows && space.chunks == 1;
    let streams = written >= STREAMED && !rows && !in_place.contains(&true);
    let program = &program;
    let read: usize = inputs.iter().map(|x| x.layout.len() * x.dtype.size()).sum();
    let fetches = read >= FETCHED && (passes == 1 || space.mode == Mode::Columns);
    let bound =
        Bound { program, space, isa, fetches, inputs: places, outputs: sinks, streams, in_place };
    run(&bound);
    Ok(())
}

/// The two axes of a call in which some operands lie along one axis and some along another: first
/// the one along which more of them lie, which blocks run along.
fn turned_axes<'a, I: Iterator<Item = &'a Strides>>(
    shape: &[usize],
    operands: impl Fn() -> I,
) -> Option<[usize; 2]> {
    let inner = shape.iter().rposition(|&n| n != 1)?;
    let along = |axis: usize| operands().filter(move |s| s[axis] == 1).count();
    let far = |axis: usize| {
        operands().any(|s| s[axis] == 1 && s[inner].unsigned_abs() > 1) && shape[axis] >= 8
    };
    let other = (0..inner).rev().find(|&axis| far(axis))?;
    if shape[inner] < 8 {
        return None;
    }
    Some(if along(other) > along(inner) { [other, inner] } else { [inner, other] })
}

/// The address of an operand's first element, after a check that all of it is inside its buffer.
fn first(x: &Operand, output: bool) -> Result<*mut u8> {
    let (start, length) = bytes(x, output)?;
    let size = x.dtype.size();
    if let Some((low, high)) = x.layout.extent()
        && (low < 0 || (high as usize + 1) * size > length)
    {
        let message = format!(
            "an operand reaches from element {low} to {high} of a buffer of {length} bytes",
        );
        return Err(Error::new(ErrorKind::Kernel, "fused", message));
    }
    Ok(start.wrapping_add(x.layout.offset * size))
}

/// A prepared tape and what it was prepared for.
struct Entry {
    hash: u64,
    tape: Tape,
    direct: u64,
    keep: bool,
    isa: IsaKind,
    program: Arc<Program>,
}

/// Prepared tapes beyond this number are forgotten.
const CACHED: usize = 512;

/// The prepared form of a tape, from the cache if it was run before.
fn prepared(tape: &Tape, direct: u64, keep: bool, isa: IsaKind) -> Result<Arc<Program>> {
    static CACHE: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
    let mut hasher = rustc_hash::FxHasher::default();
    (tape, direct, keep, isa).hash(&mut hasher);
    let hash = hasher.finish();
    let is_it = |e: &Entry| {
        e.hash == hash && (e.direct, e.keep, e.isa) == (direct, keep, isa) && e.tape == *tape
    };
    if let Some(found) = CACHE.lock().iter().find(|e| is_it(e)) {
        return Ok(found.program.clone());
    }
    let program = Arc::new(Program::new(&lower::lower(tape), direct, keep, isa)?);
    let entry = Entry { hash, tape: tape.clone(), direct, keep, isa, program: program.clone() };
    let mut cache = CACHE.lock();
    if cache.len() >= CACHED {
        cache.drain(..CACHED / 2);
    }
    cache.push(entry);
    Ok(program)
}

/// Memory that tasks share, each a part of its own.
#[derive(Clone, Copy)]
struct Shared(*mut u8);

// SAFETY: tasks touch disjoint parts.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// The offset lies inside the memory.
    unsafe fn at(self, offset: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

fn run(bound: &Bound<'_>) {
    let space = &bound.space;
    let width_of = |tile: usize| space.tile.min(space.kept - tile * space.tile);
    let passes = bound.program.passes.len();
    if space.tiles == 0 {
        return;
    }
    if space.chunks == 1 {
        let step = space.tiles_per_task;
        let work = |task: usize| {
            let mut machine = Machine::new(bound);
            for tile in task * step..space.tiles.min((task + 1) * step) {
                let (first, width) = (tile * space.tile, width_of(tile));
                machine.begin(first, width);
                for p in 0..passes {
                    machine.pass(p, first, width, 0, space.reduced);
                    machine.rows(p);
                }
                machine.store_rows(first, width);
            }
        };
        let small = space.kept.saturating_mul(space.reduced) <= GRAIN;
        let tasks = space.tiles.div_ceil(step);
        return if small { (0..tasks).for_each(work) } else { pool::run(tasks, &work) };
    }

    // Long rows: each pass is cut into chunks, whose partial results join in order.
    let word = space.tile * 8;
    let most = bound.program.passes.iter().map(|p| p.reductions.len()).max().unwrap_or(0);
    let (part, rows) = (most * word, bound.program.row_values.len() * word);
    let mut partial_memory = vec![0u64; (space.tiles * space.chunks * part) / 8 + 1];
    let mut row_memory = vec![0u64; (space.tiles * rows) / 8 + 1];
    let partials = Shared(partial_memory.as_mut_ptr().cast());
    let row_values = Shared(row_memory.as_mut_ptr().cast());
    for p in 0..passes {
        pool::run(space.tiles * space.chunks, &|task: usize| {
            let (tile, chunk) = (task / space.chunks, task % space.chunks);
            let (first, width) = (tile * space.tile, width_of(tile));
            let (from, to) = (chunk * space.chunk, space.reduced.min((chunk + 1) * space.chunk));
            let mut machine = Machine::new(bound);
            machine.begin(first, width);
            // SAFETY: row values were written by the join of the pass before, and each task has a
            // part of the partial results to itself.
            unsafe {
                if p > 0 {
                    machine.import_rows(p - 1, width, row_values.at(tile * rows));
                }
                machine.pass(p, first, width, from, to);
                machine.export(p, partials.at(task * part));
            }
        });
        let row_stores = bound.program.stores.iter().any(|s| s.extent == Extent::Row);
        if rows == 0 && !(row_stores && p + 1 == passes) {
            continue;
        }
        for tile in 0..space.tiles {
            let (first, width) = (tile * space.tile, width_of(tile));
            let mut machine = Machine::new(bound);
            machine.begin(first, width);
            // SAFETY: all tasks have ended.
            unsafe {
                if p > 0 {
                    machine.import_rows(p - 1, width, row_values.at(tile * rows));
                }
                let held = partials.at(tile * space.chunks * part);
                machine.import(p, width, held, space.chunks, part);
                machine.rows(p);
                machine.export_rows(row_values.at(tile * rows));
                if p + 1 == passes {
                    machine.store_rows(first, width);
                }
            }
        }
    }
}
