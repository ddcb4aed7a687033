//! Tapes with reductions: one warp, one block, or one column of threads for each row.
//!
//! A row is the set of points that differ in reduced axes only. Reductions that need the result of
//! another one run in later passes over the row; where a row fits the registers of its threads, its
//! loads are kept there, else they are read again (from a cache, as a rule). Few long rows are cut
//! into parts: then each pass is a launch, which leaves partial results for the next.
//!
//! The order of additions depends on shapes, strides and types only.

use std::fmt::Write;
use std::hash::Hash;
use std::sync::OnceLock;

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::plan::{Extent, Instr, Tape};
use lazulite_core::shape::contiguous_strides;
use smallvec::SmallVec;

use crate::args::Args;
use crate::fused::{
    KernelCache, Merged, aligned, broadcast_strides, load_dtypes, merge, needs_wide, widest_pack,
};
use crate::module::Rounding;
use crate::print::{compute, expression, reducer, storage};
use crate::stream::Launch;

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
    pub threads: usize,
    /// Blocks that share a row and join through each other's memory; 1 for none.
    pub cluster: usize,
    /// With rows that are cut: the pass, from 1.
    pub stage: Option<usize>,
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

/// The full values that `roots` need, in order; row values and those of `held` end the walk.
fn needed(tape: &Tape, roots: &[u16], held: &[usize]) -> Vec<usize> {
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

fn reductions(tape: &Tape) -> Vec<usize> {
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
    let (reduced, kept): (Vec<usize>, Vec<usize>) = (0..ndim).partition(is_reduced);
    let mut strides: Vec<Vec<isize>> =
        inputs.iter().map(|o| broadcast_strides(o, space).to_vec()).collect();
    for output in outputs {
        let own = contiguous_strides(output.shape());
        let sized = |a: usize| if output.shape()[a] == 1 { 0 } else { own[a] };
        strides.push((0..ndim).map(sized).collect());
    }
    let pick = |axes: &[usize]| {
        let sizes: Vec<usize> = axes.iter().map(|&a| space[a]).collect();
        let parts: Vec<Vec<isize>> =
            strides.iter().map(|s| axes.iter().map(|&a| s[a]).collect()).collect();
        merge(&sizes, &parts.iter().map(|s| &s[..]).collect::<Vec<_>>())
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
    let (base, parts) = choose(launch, &f, inputs, outputs, &addresses);
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
    let stages: Vec<Option<usize>> =
        if parts > 1 { (1..=last + 1).map(Some).collect() } else { vec![None] };
    for stage in stages {
        let variant = Variant { stage, ..base.clone() };
        static KERNELS: OnceLock<KernelCache<Variant>> = OnceLock::new();
        let kernel = KERNELS.get_or_init(KernelCache::new).get(
            launch.gpu.index(),
            tape,
            &variant,
            || launch.gpu.modules.load(&print(tape, &variant), "tape", Rounding::Separate),
        )?;
        let parts = if stage == Some(last + 1) && only_rows { 1 } else { parts };
        let (grid, block) = match variant.team {
            Team::Warp => ([f.rows.div_ceil(4), parts, 1], [32, 4, 1]),
            Team::Block => ([f.rows * variant.cluster, parts, 1], [variant.threads, 1, 1]),
            Team::Column => {
                ([f.rows.div_ceil(32 * variant.columns), parts, 1], [32, variant.threads / 32, 1])
            }
        };
        let mut args = Args::new();
        args.words(&addresses).words(&geometry);
        let (grid, block) = (grid.map(|n| n as u32), block.map(|n| n as u32));
        // SAFETY: the kernel was printed for this tape and variant; addresses cover the operands'
        // extents, which core bound, and reads and writes are ordered on the stream.
        unsafe { args.launch(kernel, grid, block, 0, launch.queue.raw())? };
    }
    Ok(())
}

/// Packs of a row that a thread may keep in registers, and the registers that they may take.
const MOST_ITEMS: usize = 4;
const MOST_KEPT_BYTES: usize = 256;

/// Registers of packs that each thread of a cluster may keep, and threads of its blocks.
const MOST_CLUSTER_WORDS: usize = 32;
const CLUSTER_THREADS: usize = 512;

/// The team for a call, and into how many parts rows are cut.
fn choose(
    launch: &Launch<'_>,
    f: &Frame,
    inputs: &[Operand],
    outputs: &[Operand],
    addresses: &[u64],
) -> (Variant, usize) {
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
    let mut cluster = 1;
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
    if team == Team::Block && items == 0 && keeps && launch.gpu.facts.capability.0 == 9 {
        let words: usize = (0..inputs.len())
            .filter(|&i| full[i])
            .map(|i| (inputs[i].dtype.size() * pack).div_ceil(4))
            .sum();
        let each = |blocks: usize| packs.div_ceil(blocks * CLUSTER_THREADS);
        cluster = [2, 4, 8].into_iter().find(|&c| each(c) <= 4).unwrap_or(8);
        if each(cluster) * words > MOST_CLUSTER_WORDS {
            cluster = 1;
        }
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
        threads: if (parts > 1 || shared) && team == Team::Block { 512 } else { threads },
        cluster: if shared { cluster } else { 1 },
        stage: None,
    };
    (variant, parts)
}

/// The source of the kernel of a variant.
pub(crate) fn print(tape: &Tape, variant: &Variant) -> String {
    let levels = levels(tape);
    let hold = match variant.stage {
        None => worth_holding(tape, variant, &levels),
        Some(_) => Vec::new(),
    };
    let printer = Printer {
        tape,
        variant,
        out: String::new(),
        levels,
        hold,
        held: Vec::new(),
        known: Vec::new(),
    };
    printer.kernel()
}

struct Printer<'a> {
    tape: &'a Tape,
    variant: &'a Variant,
    out: String,
    levels: Vec<usize>,
    /// Values that stay in registers once they are computed, and those that are.
    hold: Vec<usize>,
    held: Vec<usize>,
    /// Row values of which a thread has one for each of its columns, so far.
    known: Vec<usize>,
}

impl Printer<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn operand_base(&self, operand: usize) -> usize {
        let axes = self.variant.kept_axes + self.variant.reduced_axes;
        4 + axes + operand * axes
    }

    fn kept_stride(&self, operand: usize, axis: usize) -> String {
        format!("(I)g.v[{}]", self.operand_base(operand) + axis)
    }

    fn reduced_stride(&self, operand: usize, axis: usize) -> String {
        format!("(I)g.v[{}]", self.operand_base(operand) + self.variant.kept_axes + axis)
    }

    fn join(&self, v: usize) -> (String, &'static str) {
        let Instr::Reduce(op, a) = self.tape.values[v].instr else { return (String::new(), "f32") };
        let t = compute(self.tape.values[a as usize].dtype);
        (format!("{}<{t}>", reducer(op)), t)
    }

    /// The function that joins value `value` by `join` over the team.
    fn combine(&self, join: &str, value: usize) -> String {
        match self.variant.team {
            Team::Warp => format!("warp_join<{join}>"),
            Team::Block if self.variant.cluster > 1 => {
                format!("cluster_join<{join}, {}, {value}>", self.variant.cluster)
            }
            Team::Block => format!("block_join<{join}>"),
            Team::Column => format!("column_join<{join}>"),
        }
    }

    /// `text` for each column of a thread, with the columns' row values at hand.
    fn each(&self, text: &str) -> String {
        match self.variant.columns {
            1 => text.to_string(),
            n => format!(
                "#pragma unroll\n  for (int e = 0; e < {n}; e++) {{ {}{text} }}",
                self.row_names()
            ),
        }
    }

    /// Names for the row values of column `e`.
    fn row_names(&self) -> String {
        let name = |&v: &usize| {
            format!(
                "[[maybe_unused]] const {} v{v} = rv{v}[e]; ",
                compute(self.tape.values[v].dtype)
            )
        };
        self.known.iter().map(name).collect()
    }

    /// Declares a row value and sets it, for each column of a thread.
    fn row_value(&mut self, v: usize, t: &str, text: &str) {
        match self.variant.columns {
            1 => self.line(format!("  const {t} v{v} = {text};")),
            n => {
                self.line(format!("  {t} rv{v}[{n}];"));
                let set = self.each(&format!("rv{v}[e] = {text};"));
                self.line(set);
                self.known.push(v);
            }
        }
    }

    /// Declares the accumulator of a reduction; returns how it is called for a column.
    fn accumulator(&mut self, v: usize, t: &str, join: &str) -> String {
        match self.variant.columns {
            1 => {
                self.line(format!("  {t} a{v} = {join}::start();"));
                format!("a{v}")
            }
            n => {
                self.line(format!("  {t} a{v}[{n}];"));
                let set = self.each(&format!("a{v}[e] = {join}::start();"));
                self.line(set);
                format!("a{v}[e]")
            }
        }
    }

    /// A load of `t` at `at`: one element, or one for each column.
    fn load(&self, l: usize, t: &str, at: &str) -> (String, String) {
        match self.variant.columns {
            n if n > 1 && self.variant.beside[l] => {
                let t = format!("Pack<{t}, {n}>");
                let text = format!("*(const {t}*)({at})");
                (t, text)
            }
            _ => (t.to_string(), format!("*({at})")),
        }
    }

    /// What a name of [`Printer::load`] is called for a column.
    fn element_of(&self, l: usize, name: &str) -> String {
        match self.variant.columns > 1 && self.variant.beside[l] {
            true => format!("widen({name}.v[e])"),
            false => format!("widen({name})"),
        }
    }

    fn kernel(mut self) -> String {
        let v = self.variant;
        let tape = self.tape;
        let reduced = reductions(tape);
        let loads = load_dtypes(tape);
        let operands = loads.len() + tape.stores.len();
        let geometry = self.operand_base(operands);
        let _ = write!(
            self.out,
            "struct P {{ u64 at[{}]; }};\nstruct G {{ i64 v[{geometry}]; }};\ntypedef {} I;\n\
             extern \"C\" __global__ void {}__launch_bounds__({}) tape(P p, G g) {{\n",
            operands + if v.stage.is_some() { reduced.len() } else { 0 },
            if v.wide { "i64" } else { "i32" },
            if v.cluster > 1 {
                format!("__cluster_dims__({}, 1, 1) ", v.cluster)
            } else {
                String::new()
            },
            v.threads,
        );
        let shared = format!(
            "  const I row = blockIdx.x / {c}; const bool live = true;\n  \
             const I lane = cluster_rank() * blockDim.x + threadIdx.x, lanes = blockDim.x * {c};",
            c = v.cluster
        );
        let columns = format!(
            "  const I place = ((I)blockIdx.x * 32 + threadIdx.x) * {n};\n  \
             const bool live = place < (I)g.v[0];\n  \
             const I row = live ? place : (I)g.v[0] - {n};\n  \
             const I lane = threadIdx.y, lanes = blockDim.y;",
            n = v.columns
        );
        self.line(match v.team {
            Team::Column => &columns,
            Team::Block if v.cluster > 1 => &shared,
            Team::Warp => {
                "  const I row = (I)blockIdx.x * 4 + threadIdx.y; const bool live = true;\n  \
                 if (row >= (I)g.v[0]) return;\n  const I lane = threadIdx.x, lanes = 32;"
            }
            Team::Block => {
                "  const I row = blockIdx.x; const bool live = true;\n  \
                 const I lane = threadIdx.x, lanes = blockDim.x;"
            }
        });
        self.line(match v.stage {
            None => "  const I begin = 0, end = (I)g.v[1];",
            Some(_) => {
                "  const I begin = (I)g.v[3] * blockIdx.y;\n  \
                 const I limit = begin + (I)g.v[3], end = limit < (I)g.v[1] ? limit : (I)g.v[1];"
            }
        });
        self.row_offsets(operands);
        for (l, &dtype) in loads.iter().enumerate() {
            if v.along[l] == Along::Fixed {
                let t = storage(dtype);
                let (kind, text) = self.load(l, t, &format!("(const {t}*)p.at[{l}] + o{l}"));
                self.line(format!("  const {kind} fx{l} = {text};"));
            } else if v.items > 0 {
                self.keep(l, storage(dtype));
            }
        }
        if v.cluster > 1 {
            self.line("  cluster_barrier();");
        }
        let last = self.levels.iter().copied().max().unwrap_or(0);
        self.row_values(0);
        for level in 1..=last {
            match v.stage {
                Some(stage) if level < stage => self.join_parts(level, &reduced, operands),
                _ => self.pass(level, &reduced),
            }
            if v.stage == Some(level) {
                self.leave_parts(level, &reduced, operands);
                self.line("}");
                return self.out;
            }
            self.row_values(level);
        }
        self.stores(loads.len());
        self.line("}");
        self.out
    }

    /// Offsets of the row in each operand.
    fn row_offsets(&mut self, operands: usize) {
        let d = self.variant.kept_axes;
        self.line("  I rest = row;");
        for a in (0..d).rev() {
            if a == 0 {
                self.line("  const I k0 = rest;");
            } else {
                let size = format!("(I)g.v[{}]", 4 + a);
                self.line(format!(
                    "  const I q{a} = rest / {size}, k{a} = rest - q{a} * {size}; rest = q{a};"
                ));
            }
        }
        for i in 0..operands {
            let terms: Vec<_> =
                (0..d).map(|a| format!("k{a} * {}", self.kept_stride(i, a))).collect();
            self.line(format!("  const I o{i} = {};", terms.join(" + ")));
        }
    }

    /// Loads all of a row's packs of one operand into registers.
    fn keep(&mut self, l: usize, t: &str) {
        let (pack, items) = (self.variant.pack, self.variant.items);
        let at = match self.variant.along[l] {
            Along::Unit => format!("*(const Pack<{t}, {pack}>*)((const {t}*)p.at[{l}] + o{l} + j)"),
            _ => format!(
                "*(const Pack<{t}, 1>*)((const {t}*)p.at[{l}] + o{l} + j * {})",
                self.reduced_stride(l, 0)
            ),
        };
        self.line(format!("  Pack<{t}, {pack}> cx{l}[{items}];\n#pragma unroll"));
        self.line(format!(
            "  for (int it = 0; it < {items}; it++) {{ const I j = (it * lanes + lane) * {pack}; \
             if (j < end) cx{l}[it] = {at}; }}"
        ));
    }

    /// Row values that are known after `level` reductions.
    fn row_values(&mut self, level: usize) {
        for v in 0..self.tape.values.len() {
            let value = &self.tape.values[v];
            let fixed = match value.instr {
                Instr::Load { operand } => self.variant.along[operand as usize] == Along::Fixed,
                Instr::Const(_) => true,
                _ => value.extent == Extent::Row,
            };
            if !fixed || self.levels[v] != level {
                continue;
            }
            let text = match value.instr {
                Instr::Reduce(..) => continue,
                Instr::Load { operand } => {
                    self.element_of(operand as usize, &format!("fx{operand}"))
                }
                _ => expression(self.tape, v).unwrap_or_default(),
            };
            let t = compute(value.dtype);
            match value.instr {
                Instr::Const(_) => self.line(format!("  const {t} v{v} = {text};")),
                _ => self.row_value(v, t, &text),
            }
        }
    }

    /// A loop over the row that computes `roots` and runs `body` for each element.
    fn over_row(&mut self, roots: &[u16], before: &str, body: &str, after: &str) {
        let v = self.variant;
        let pack = v.pack;
        let values = needed(self.tape, roots, &self.held);
        let fresh: Vec<usize> = values
            .iter()
            .copied()
            .filter(|x| self.hold.contains(x) && !self.held.contains(x))
            .collect();
        for &x in &fresh {
            let t = compute(self.tape.values[x].dtype);
            self.line(format!("  {t} hv{x}[{}][{pack}];", v.items));
        }
        if v.items > 0 {
            self.line(format!(
                "#pragma unroll\n  for (int it = 0; it < {}; it++) {{ \
                 const I j = (it * lanes + lane) * {pack}; if (j < end) {{",
                v.items
            ));
        } else {
            let unroll = if v.team == Team::Column { 8 } else { 4 };
            self.line(format!(
                "#pragma unroll {unroll}\n  for (I j = begin + lane * {pack}; j < end; \
                 j += lanes * {pack}) {{ {{"
            ));
        }
        let stored = (0..self.tape.stores.len())
            .any(|s| v.along[self.tape.inputs as usize + s] == Along::Any);
        let loaded = values.iter().any(|&x| match self.tape.values[x].instr {
            Instr::Load { operand } => v.along[operand as usize] == Along::Any,
            _ => false,
        });
        if v.reduced_axes > 1 && (stored || loaded) {
            self.line("    I left = j;");
            for a in (0..v.reduced_axes).rev() {
                let size = format!("(I)g.v[{}]", 4 + v.kept_axes + a);
                self.line(match a {
                    0 => "    const I j0 = left;".to_string(),
                    _ => format!(
                        "    const I w{a} = left / {size}, j{a} = left - w{a} * {size}; left = w{a};"
                    ),
                });
            }
        }
        for &x in &values {
            if let Instr::Load { operand } = self.tape.values[x].instr {
                let l = operand as usize;
                let t = storage(self.tape.values[x].dtype);
                match v.along[l] {
                    Along::Fixed => {}
                    _ if v.items > 0 => {}
                    Along::Unit => self.line(format!(
                        "    const Pack<{t}, {pack}> l{l} = \
                         *(const Pack<{t}, {pack}>*)((const {t}*)p.at[{l}] + o{l} + j);"
                    )),
                    Along::Any => {
                        let at = self.element(l);
                        let (kind, text) =
                            self.load(l, t, &format!("(const {t}*)p.at[{l}] + {at}"));
                        self.line(format!("    const {kind} l{l} = {text};"));
                    }
                }
            }
        }
        self.line(before);
        let (wide, names) = match v.columns {
            1 => (pack, String::new()),
            n => (n, self.row_names()),
        };
        self.line(format!("#pragma unroll\n    for (int e = 0; e < {wide}; e++) {{ {names}"));
        for &x in &values {
            let value = &self.tape.values[x];
            let text = match value.instr {
                _ if self.held.contains(&x) => format!("hv{x}[it][e]"),
                Instr::Const(_) => continue,
                Instr::Load { operand } => match v.along[operand as usize] {
                    Along::Fixed => continue,
                    _ if v.items > 0 => format!("widen(cx{operand}[it].v[e])"),
                    Along::Unit => format!("widen(l{operand}.v[e])"),
                    Along::Any => self.element_of(operand as usize, &format!("l{operand}")),
                },
                _ => expression(self.tape, x).unwrap_or_default(),
            };
            let t = compute(value.dtype);
            self.line(format!("      const {t} v{x} = {text};"));
            if fresh.contains(&x) {
                self.line(format!("      hv{x}[it][e] = v{x};"));
            }
        }
        self.held.extend(fresh);
        self.line(body);
        self.line("    }");
        self.line(after);
        self.line("  } }");
    }

    /// The offset of element `j` of the row in operand `i`.
    fn element(&self, i: usize) -> String {
        let v = self.variant;
        match v.reduced_axes {
            1 => format!("o{i} + j * {}", self.reduced_stride(i, 0)),
            d => {
                let terms: Vec<_> =
                    (0..d).map(|a| format!("j{a} * {}", self.reduced_stride(i, a))).collect();
                format!("o{i} + {}", terms.join(" + "))
            }
        }
    }

    fn at_level<'b>(&'b self, level: usize, reduced: &'b [usize]) -> Vec<(usize, usize)> {
        let here = |&(_, &v): &(usize, &usize)| self.levels[v] == level;
        reduced.iter().enumerate().filter(here).map(|(r, &v)| (r, v)).collect()
    }

    /// The reductions of one level, by a loop over the row.
    fn pass(&mut self, level: usize, reduced: &[usize]) {
        let here = self.at_level(level, reduced);
        let (mut roots, mut body) = (Vec::new(), String::new());
        for &(_, v) in &here {
            let (join, t) = self.join(v);
            let name = self.accumulator(v, t, &join);
            if let Instr::Reduce(_, a) = self.tape.values[v].instr {
                roots.push(a);
                body.push_str(&format!("      {name} = {join}::join({name}, v{a});\n"));
            }
        }
        self.over_row(&roots, "", &body, "");
        for &(_, v) in &here {
            let (join, t) = self.join(v);
            let combine = self.combine(&join, v);
            let e = if self.variant.columns > 1 { "[e]" } else { "" };
            self.row_value(v, t, &format!("{combine}(a{v}{e})"));
        }
    }

    /// The reductions of one level, from what an earlier launch left.
    fn join_parts(&mut self, level: usize, reduced: &[usize], operands: usize) {
        for (r, v) in self.at_level(level, reduced) {
            let (join, t) = self.join(v);
            let combine = self.combine(&join, v);
            let name = self.accumulator(v, t, &join);
            let row = if self.variant.columns > 1 { "(row + e)" } else { "row" };
            let add = self.each(&format!(
                "{name} = {join}::join({name}, ((const {t}*)p.at[{}])[{row} * (I)g.v[2] + s]);",
                operands + r
            ));
            self.line(format!("  for (I s = lane; s < (I)g.v[2]; s += lanes) {{\n{add}\n  }}"));
            self.row_value(v, t, &format!("{combine}({name})"));
        }
    }

    fn leave_parts(&mut self, level: usize, reduced: &[usize], operands: usize) {
        for (r, v) in self.at_level(level, reduced) {
            let (_, t) = self.join(v);
            let row = if self.variant.columns > 1 { "(row + e)" } else { "row" };
            let leave = self.each(&format!(
                "if (lane == 0 && live) (({t}*)p.at[{}])[{row} * (I)g.v[2] + blockIdx.y] = v{v};",
                operands + r
            ));
            self.line(leave);
        }
    }

    fn stores(&mut self, loads: usize) {
        let v = self.variant;
        let (mut roots, mut before, mut body, mut after) =
            (Vec::new(), String::new(), String::new(), String::new());
        for (s, &value) in self.tape.stores.iter().enumerate() {
            let i = loads + s;
            let t = storage(self.tape.values[value as usize].dtype);
            if self.tape.values[value as usize].extent == Extent::Row {
                let first = if v.stage.is_some() { " && blockIdx.y == 0" } else { "" };
                let e = if v.columns > 1 { " + e" } else { "" };
                let store = self.each(&format!(
                    "if (lane == 0 && live{first}) \
                     (({t}*)p.at[{i}])[o{i}{e}] = convert<{t}>(v{value});"
                ));
                self.line(store);
                continue;
            }
            roots.push(value);
            let pack = v.pack.max(v.columns);
            before.push_str(&format!("    Pack<{t}, {pack}> r{s};\n"));
            body.push_str(&format!("      r{s}.v[e] = convert<{t}>(v{value});\n"));
            // A row of one element has no stride; its store is element 0.
            let at = match v.along[i] {
                Along::Fixed => format!("o{i}"),
                Along::Unit => format!("o{i} + j"),
                Along::Any => self.element(i),
            };
            after.push_str(&format!(
                "    if (live) *(Pack<{t}, {pack}>*)(({t}*)p.at[{i}] + {at}) = r{s};\n"
            ));
        }
        if !roots.is_empty() {
            self.over_row(&roots, &before, &body, &after);
        }
    }
}
