//! Tapes with reductions: one warp, one block, or one column of threads for each row.
//!
//! A row is the set of points that differ in reduced axes only. Reductions that need the result of
//! another one run in later passes over the row; where a row fits the registers of its threads, its
//! loads are kept there, else they are read again (from a cache, as a rule). Few long rows are cut
//! into parts: then each pass is a launch, which leaves partial results for the next.
//!
//! The order of additions depends on shapes, strides and types only.

use std::hash::Hash;
use std::sync::OnceLock;

use lazulite_core::backend::Operand;
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::plan::{Extent, Instr, Tape};
use lazulite_core::shape::{Strides, contiguous_strides};
use lazulite_core::{Dtype, Result};
use smallvec::SmallVec;

use crate::args::Args;
use crate::fused::{
    KernelCache, Merged, Printed, aligned, broadcast_strides, merge, needs_wide, widest_pack,
};
use crate::held::{Held, range};
use crate::module::Rounding;
use crate::prologue::{Prepared, Prologue, Rows, is_small};
use crate::stream::{COUNTERS, Launch};

mod print;

pub(crate) use print::print;

/// Which threads share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Team {
    /// A warp; four rows to a block.
    Warp,
    /// A block.
    Block,
    /// The threads of one `threadIdx.x`, for rows that lie side by side.
    Column,
}

/// How an operand moves along a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Along {
    /// One element for the row.
    Fixed,
    /// Neighbours, in aligned packs.
    Unit,
    /// Any way.
    Any,
}

/// What a kernel with reductions is printed for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    pub team: Team,
    pub pack: usize,
    /// Packs that each thread keeps in registers; 0 for a loop over rows of any length.
    pub items: usize,
    pub kept_axes: usize,
    pub reduced_axes: usize,
    /// With [`Team::Column`]: neighbouring rows of each thread.
    pub columns: usize,
    /// Loads, then stores.
    pub along: SmallVec<[Along; 8]>,
    /// With several columns: true iff neighbouring rows lie side by side, aligned; else they share
    /// the element.
    pub beside: SmallVec<[bool; 8]>,
    pub wide: bool,
    /// The most threads that a block has.
    pub threads: usize,
    /// Blocks that share a row and join through each other's memory; 1 for none.
    pub cluster: usize,
    /// True iff packs, of 16 bytes each, are kept in the block's memory instead of registers.
    pub shared: bool,
    /// With rows that are cut: the pass, from 1.
    pub stage: Option<usize>,
    /// True iff the first two reductions are one pass (see [`online`]).
    pub online: bool,
    /// With the only pass of rows that are cut: true iff the last block of a row to finish joins the
    /// parts, so that no other launch does.
    pub joins: bool,
}

/// Threads of a block with which any row can be computed.
const ANY_THREADS: usize = 256;

impl Printed for Variant {
    fn loose(&self) -> Variant {
        if self.stage.is_some() || self.team == Team::Column {
            return self.clone();
        }
        let threads = if self.team == Team::Warp { self.threads } else { ANY_THREADS };
        let (cluster, shared, online) = (1, false, false);
        Variant { pack: 1, items: 0, cluster, shared, online, threads, ..self.clone() }
    }
}

/// The pass after which each value is known: the number of reductions it waits for.
pub(crate) fn levels(tape: &Tape) -> Vec<usize> {
    let mut out: Vec<usize> = Vec::with_capacity(tape.values.len());
    for value in &tape.values {
        let of = |v: u16| out[v as usize];
        out.push(match value.instr {
            Instr::Load { .. } | Instr::Const(_) => 0,
            Instr::Unary(_, a) | Instr::Cast(a) => of(a),
            Instr::Binary(_, a, b) => of(a).max(of(b)),
            Instr::Select(c, a, b) => of(c).max(of(a)).max(of(b)),
            Instr::Reduce(_, a) => of(a) + 1,
        });
    }
    out
}

/// The greatest element of a row, and the sum of the exponentials of the elements less a shift that
/// follows from it, as in a softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Online {
    /// The maximum.
    pub top: usize,
    /// What it is the maximum of.
    pub element: u16,
    /// The sum.
    pub sum: usize,
    /// What is taken off in the exponents: a row value.
    pub shift: u16,
}

/// The tape's first two reductions, if one pass over the row can do both: the sum so far is kept for
/// the greatest element so far, and follows it (Milakov and Gimelshein, "Online normalizer calculation
/// for softmax", 2018).
pub(crate) fn online(tape: &Tape) -> Option<Online> {
    let levels = levels(tape);
    let only = |level: usize| {
        let mut here = reductions(tape).into_iter().filter(|&v| levels[v] == level);
        here.next().filter(|_| here.next().is_none())
    };
    let (top, sum) = (only(1)?, only(2)?);
    let value = |v: u16| tape.values[v as usize].instr;
    let Instr::Reduce(ReduceOp::Max, element) = value(top as u16) else { return None };
    let Instr::Reduce(ReduceOp::Sum, powers) = value(sum as u16) else { return None };
    let Instr::Unary(UnaryOp::Exp, exponent) = value(powers) else { return None };
    let Instr::Binary(BinaryOp::Subtract, minuend, shift) = value(exponent) else { return None };
    let wide = |v: u16| tape.values[v as usize].dtype == Dtype::F32;
    let row = tape.values[shift as usize].extent == Extent::Row;
    let fits =
        minuend == element && row && [element, powers, exponent, shift].into_iter().all(wide);
    fits.then_some(Online { top, element, sum, shift })
}

/// The full values that `roots` need, in order; row values and those of `held` end the walk.
pub(crate) fn needed(tape: &Tape, roots: &[u16], held: &[usize]) -> Vec<usize> {
    let mut wanted = vec![false; tape.values.len()];
    roots.iter().for_each(|&r| wanted[r as usize] = true);
    for v in (0..tape.values.len()).rev() {
        if !wanted[v] || tape.values[v].extent == Extent::Row || held.contains(&v) {
            continue;
        }
        match tape.values[v].instr {
            Instr::Load { .. } | Instr::Const(_) | Instr::Reduce(..) => {}
            Instr::Unary(_, a) | Instr::Cast(a) => wanted[a as usize] = true,
            Instr::Binary(_, a, b) => [a, b].iter().for_each(|&x| wanted[x as usize] = true),
            Instr::Select(c, a, b) => [c, a, b].iter().for_each(|&x| wanted[x as usize] = true),
        }
    }
    (0..tape.values.len()).filter(|&v| wanted[v] && tape.values[v].extent == Extent::Full).collect()
}

/// Registers of a thread that hold values from one pass over the row to the next.
const MOST_HELD_WORDS: usize = 32;

/// Full values that cost a function call and that several passes need: they stay in registers after
/// the first one, as far as there is room.
fn worth_holding(tape: &Tape, variant: &Variant, levels: &[usize]) -> Vec<usize> {
    let last = levels.iter().copied().max().unwrap_or(0);
    let mut uses = vec![0; tape.values.len()];
    for level in 1..=last + 1 {
        let roots: Vec<u16> = match level > last {
            true => tape.stores.to_vec(),
            false => reductions(tape)
                .into_iter()
                .filter(|&r| levels[r] == level)
                .filter_map(|r| match tape.values[r].instr {
                    Instr::Reduce(_, a) => Some(a),
                    _ => None,
                })
                .collect(),
        };
        needed(tape, &roots, &[]).into_iter().for_each(|v| uses[v] += 1);
    }
    let dear = |v: usize| match tape.values[v].instr {
        Instr::Unary(op, _) => op.info().cuda.contains('('),
        _ => false,
    };
    let each = variant.items * variant.pack;
    let room = MOST_HELD_WORDS.checked_div(each).unwrap_or(0);
    let fits = |&v: &usize| {
        uses[v] > 1
            && dear(v)
            && tape.values[v].extent == Extent::Full
            && tape.values[v].dtype.compute().size() == 4
    };
    // The last ones have most of the work behind them.
    (0..tape.values.len()).rev().filter(fits).take(room).collect()
}

/// The values that are reductions.
pub(crate) fn reductions(tape: &Tape) -> Vec<usize> {
    (0..tape.values.len()).filter(|&v| matches!(tape.values[v].instr, Instr::Reduce(..))).collect()
}

/// The layout of a call: kept and reduced axes apart, all operands as strides over them.
struct Frame {
    kept: Merged,
    reduced: Merged,
    rows: usize,
    length: usize,
}

fn frame(tape: &Tape, inputs: &[Operand], outputs: &[Operand], space: &[usize]) -> Frame {
    let ndim = space.len();
    let is_reduced = |a: &usize| tape.axes >> a & 1 == 1;
    type Axes = SmallVec<[usize; 4]>;
    let (reduced, kept): (Axes, Axes) = (0..ndim).partition(is_reduced);
    let mut strides: SmallVec<[Strides; 8]> =
        inputs.iter().map(|o| broadcast_strides(o, space)).collect();
    for output in outputs {
        let own = contiguous_strides(output.shape());
        let sized = |a: usize| if output.shape()[a] == 1 { 0 } else { own[a] };
        strides.push((0..ndim).map(sized).collect());
    }
    let pick = |axes: &[usize]| {
        let sizes: Axes = axes.iter().map(|&a| space[a]).collect();
        let parts: SmallVec<[Strides; 8]> =
            strides.iter().map(|s| axes.iter().map(|&a| s[a]).collect()).collect();
        merge(&sizes, &parts.iter().map(|s| &s[..]).collect::<SmallVec<[_; 8]>>())
    };
    let count = |axes: &[usize]| axes.iter().map(|&a| space[a]).product();
    Frame {
        rows: count(&kept),
        length: count(&reduced),
        kept: pick(&kept),
        reduced: pick(&reduced),
    }
}

/// Runs a program with reductions.
pub(crate) fn execute(
    launch: &Launch<'_>,
    tape: &Tape,
    inputs: &[Operand],
    outputs: &[Operand],
    space: &[usize],
) -> Result<()> {
    let f = frame(tape, inputs, outputs, space);
    if f.rows == 0 || outputs.is_empty() {
        return Ok(());
    }
    let mut addresses: SmallVec<[u64; 8]> = SmallVec::new();
    for input in inputs {
        addresses.push(launch.read(input)?);
    }
    for output in outputs {
        addresses.push(launch.write(output)?);
    }
    let (base, threads, parts) = choose(launch, tape, &f, inputs, outputs, &addresses);
    let last = levels(tape).iter().copied().max().unwrap_or(0);
    let chunk = f.length.div_ceil(parts).next_multiple_of(base.pack.max(1)).max(1);

    let mut geometry: SmallVec<[u64; 64]> = SmallVec::new();
    geometry.extend([f.rows as u64, f.length as u64, parts as u64, chunk as u64]);
    geometry.extend(f.kept.sizes.iter().chain(&f.reduced.sizes).map(|&n| n as u64));
    for (k, r) in f.kept.strides.iter().zip(&f.reduced.strides) {
        geometry.extend(k.iter().chain(r).map(|&s| s as u64));
    }
    let mut scratch = Vec::new();
    if parts > 1 {
        for v in reductions(tape) {
            let bytes = f.rows * parts * tape.values[v].dtype.compute().size();
            let memory = launch.scratch(bytes)?;
            addresses.push(memory.address());
            scratch.push(memory);
        }
    }
    let stores_row = |&v: &u16| tape.values[v as usize].extent == Extent::Row;
    let only_rows = tape.stores.iter().all(stores_row);
    let teams_of = |v: &Variant| match v.team {
        Team::Warp => f.rows.div_ceil(4),
        Team::Block => f.rows * v.cluster,
        Team::Column => f.rows.div_ceil(32 * v.columns),
    };
    let teams = teams_of(&base);
    let joins = parts > 1 && last == 1 && only_rows && teams <= COUNTERS;
    let stages: Vec<Option<usize>> = match parts {
        1 => vec![None],
        _ if joins => vec![Some(1)],
        _ => (1..=last + 1).map(Some).collect(),
    };
    if joins {
        addresses.push(launch.queue.counters()?);
    }
    for stage in stages {
        let variant = Variant { stage, joins, ..base.clone() };
        static KERNELS: OnceLock<KernelCache<Variant>> = OnceLock::new();
        let kernels = KERNELS.get_or_init(KernelCache::new);
        let (points, asked) = (f.rows.saturating_mul(f.length), variant.threads);
        let (kernel, variant) =
            kernels.get(launch.gpu.index(), tape, variant, points, |variant| {
                launch.gpu.modules.load(&print(tape, variant), "tape", Rounding::Separate)
            })?;
        let threads = if variant.threads == asked { threads } else { variant.threads };
        let parts = if stage == Some(last + 1) && only_rows { 1 } else { parts };
        let grid = [teams_of(&variant), parts, 1];
        let block = match variant.team {
            Team::Warp => [32, 4, 1],
            Team::Block => [threads, 1, 1],
            Team::Column => [32, threads / 32, 1],
        };
        let mut args = Args::new();
        args.words(&addresses).words(&geometry);
        let (grid, block) = (grid.map(|n| n as u32), block.map(|n| n as u32));
        if stage.is_none()
            && let Some(prologue) = prologue(launch, tape, &f, inputs, outputs)
        {
            let alone = Prepared { kernel, grid, block, args };
            let at = inputs.iter().zip(&addresses);
            let out = range(&outputs[0], addresses[inputs.len()]);
            launch.queue.hold(Held::Rows(Box::new(Rows {
                prologue,
                reads: at.map(|(x, &at)| range(x, at)).collect(),
                out,
                dtype: outputs[0].dtype,
                rows: f.rows,
                length: f.length,
                addresses,
                alone,
            })));
            return Ok(());
        }
        let copied = |&&along: &&Along| variant.shared && along != Along::Fixed;
        let shelves = variant.along[..inputs.len()].iter().filter(copied).count();
        let memory = shelves * variant.items * variant.threads * COPIED;
        // SAFETY: the kernel was printed for this tape and variant; addresses cover the operands'
        // extents, which core bound, and reads and writes are ordered on the stream.
        unsafe { args.launch(kernel, grid, block, memory, launch.queue)? };
    }
    Ok(())
}

/// The program as the prologue of what may read its rows, where they are few and short.
fn prologue(
    launch: &Launch<'_>,
    tape: &Tape,
    f: &Frame,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Option<Prologue> {
    let [output] = outputs else { return None };
    let plain = f.kept.sizes.len() == 1 && f.reduced.sizes.len() == 1;
    if !plain || !is_small(f.rows, f.length, output.dtype) {
        return None;
    }
    let strides = inputs
        .iter()
        .enumerate()
        .map(|(i, x)| (f.kept.strides[i][0], f.reduced.strides[i][0], launch.is_settled(x)));
    Prologue::new(tape, strides, f.length)
}

/// Packs of a row that a thread may keep in registers, and the registers that they may take.
const MOST_ITEMS: usize = 4;
const MOST_KEPT_BYTES: usize = 256;

/// Registers of packs that each thread of a cluster may keep, and threads of its blocks.
const MOST_CLUSTER_WORDS: usize = 32;
const CLUSTER_THREADS: usize = 512;
/// Blocks of a multiprocessor that keep their parts of rows in its memory, so that some read while others
/// compute or write, and the bytes for each. A softmax of 2048 x 128256 takes 0.42 ms so on an H100, in
/// clusters of four; with registers in clusters of eight 0.50.
const SHARING: usize = 3;
const MOST_SHARED_BYTES: usize = 72 << 10;
/// The bytes that a copy from memory to memory moves.
const COPIED: usize = 16;

/// The team for a call, the threads of its blocks, and into how many parts rows are cut.
fn choose(
    launch: &Launch<'_>,
    tape: &Tape,
    f: &Frame,
    inputs: &[Operand],
    outputs: &[Operand],
    addresses: &[u64],
) -> (Variant, usize, usize) {
    let (kd, rd) = (f.kept.sizes.len(), f.reduced.sizes.len());
    let operands: Vec<&Operand> = inputs.iter().chain(outputs).collect();
    let full: Vec<bool> =
        (0..operands.len()).map(|i| f.reduced.strides[i].iter().any(|&s| s != 0)).collect();
    // Column teams where most bytes lie side by side in neighbouring rows.
    let bytes_where = |step: &dyn Fn(usize) -> isize| -> usize {
        let unit = |&i: &usize| full[i] && step(i) == 1;
        (0..operands.len()).filter(unit).map(|i| operands[i].dtype.size()).sum()
    };
    let along_row = bytes_where(&|i| f.reduced.strides[i][rd - 1]);
    let across = bytes_where(&|i| f.kept.strides[i][kd - 1]);
    let column = across > along_row && f.rows >= 32 && f.length > 1;

    let mut pack = 1;
    if !column && rd == 1 {
        pack = widest_pack((0..operands.len()).filter(|&i| full[i]).map(|i| operands[i]));
        let fits = |pack: usize| {
            f.length.is_multiple_of(pack)
                && (0..operands.len()).filter(|&i| full[i]).all(|i| {
                    f.reduced.strides[i][0] == 1
                        && aligned(addresses[i], &f.kept.strides[i], operands[i].dtype, pack)
                })
        };
        while pack > 1 && !fits(pack) {
            pack /= 2;
        }
    }
    let mut columns = 1;
    if column {
        let fits = |n: usize| {
            f.kept.sizes[kd - 1].is_multiple_of(n)
                && f.rows >= 32 * n
                && (0..operands.len()).all(|i| {
                    let (kept, reduced) = (&f.kept.strides[i], &f.reduced.strides[i]);
                    let outer: SmallVec<[isize; 8]> =
                        kept[..kd - 1].iter().chain(reduced).copied().collect();
                    match kept[kd - 1] {
                        0 => i < inputs.len(),
                        1 => aligned(addresses[i], &outer, operands[i].dtype, n),
                        _ => false,
                    }
                })
        };
        columns = widest_pack(operands.iter().copied());
        while columns > 1 && !fits(columns) {
            columns /= 2;
        }
    }
    let along = |i: usize| {
        let s = &f.reduced.strides[i];
        match full[i] {
            false => Along::Fixed,
            true if rd == 1 && s[0] == 1 && !column => Along::Unit,
            true => Along::Any,
        }
    };
    let packs = f.length.div_ceil(pack);
    let kept_bytes: usize =
        (0..inputs.len()).filter(|&i| full[i]).map(|i| inputs[i].dtype.size() * pack).sum();
    let keeps = rd == 1 && !column && kept_bytes <= MOST_KEPT_BYTES;
    let room = |items: usize| keeps && items * kept_bytes <= MOST_KEPT_BYTES;

    let processors = launch.gpu.facts.multiprocessors as usize;
    let (mut cluster, mut shelved) = (1, false);
    let (team, threads, items) = if column {
        (Team::Column, 512, 0)
    } else if packs <= 32 * MOST_ITEMS && f.rows >= 4 * processors {
        let items = packs.div_ceil(32).next_power_of_two();
        (Team::Warp, 128, if room(items) { items } else { 0 })
    } else {
        let items = packs.div_ceil(256).next_power_of_two().min(MOST_ITEMS);
        let threads = packs.div_ceil(items).next_multiple_of(32);
        match threads <= 1024 && room(items) {
            true => (Team::Block, threads, items),
            false => (Team::Block, packs.next_multiple_of(32).min(512), 0),
        }
    };
    // Rows too long for the registers of one block, where blocks can share them: read once.
    let long = team == Team::Block && items == 0;
    if long && keeps && launch.gpu.facts.capability.0 == 9 {
        let words: usize = (0..inputs.len())
            .filter(|&i| full[i])
            .map(|i| (inputs[i].dtype.size() * pack).div_ceil(4))
            .sum();
        let each = |blocks: usize| packs.div_ceil(blocks * CLUSTER_THREADS);
        let copied = |&i: &usize| full[i];
        let copies = (0..inputs.len()).filter(copied).count();
        let bytes = |blocks: usize| each(blocks) * CLUSTER_THREADS * COPIED * copies;
        let by_copies =
            |i: usize| inputs[i].dtype.size() * pack == COPIED && f.reduced.strides[i][0] == 1;
        let sharing = [2, 4, 8].into_iter().find(|&c| bytes(c) <= MOST_SHARED_BYTES);
        match sharing.filter(|_| (0..inputs.len()).filter(copied).all(by_copies)) {
            Some(blocks) => (cluster, shelved) = (blocks, true),
            None => {
                cluster = [2, 4, 8].into_iter().find(|&c| each(c) <= 4).unwrap_or(8);
                if each(cluster) * words > MOST_CLUSTER_WORDS {
                    cluster = 1;
                }
            }
        }
    }
    // Many such rows of which only sums are stored, or which blocks cannot share: one pass has all that
    // a softmax needs of a row, and a second one finds most of it in the cache, where one block of a
    // multiprocessor runs at a time.
    let sums_only = (inputs.len()..operands.len()).all(|i| !full[i]);
    let online =
        long && f.rows >= processors && (cluster == 1 || sums_only) && self::online(tape).is_some();
    let threads = if online { 1024 } else { threads };
    if online {
        cluster = 1;
    }
    // Rows are cut where their teams would leave most of the device idle.
    let teams = match team {
        Team::Warp => f.rows.div_ceil(4),
        Team::Block => f.rows,
        Team::Column => f.rows.div_ceil(32 * columns),
    };
    let lanes = if team == Team::Column { threads / 32 } else { threads };
    let longest = f.length.div_ceil(lanes * pack * 8);
    let parts = match teams * 2 <= processors && longest > 1 {
        true => longest.min((4 * processors).div_ceil(teams)),
        false => 1,
    };
    let shared = cluster > 1 && parts == 1;
    let threads = if (parts > 1 || shared) && team == Team::Block { 512 } else { threads };
    let variant = Variant {
        team,
        pack,
        items: match parts {
            1 if shared => packs.div_ceil(cluster * CLUSTER_THREADS),
            1 => items,
            _ => 0,
        },
        kept_axes: kd,
        reduced_axes: rd,
        columns,
        along: (0..operands.len()).map(along).collect(),
        beside: (0..operands.len()).map(|i| f.kept.strides[i][kd - 1] == 1).collect(),
        wide: needs_wide(f.rows.saturating_mul(f.length), &[inputs, outputs]),
        // Few bounds, so that rows of other lengths have the same kernel.
        threads: if team == Team::Block { threads.next_multiple_of(256) } else { threads },
        cluster: if shared { cluster } else { 1 },
        shared: shared && shelved,
        stage: None,
        online: online && parts == 1,
        joins: false,
    };
    (variant, threads, parts)
}
