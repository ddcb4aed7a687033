//! A tape made ready to run: its instructions as kernels, sorted into passes over the rows.
//!
//! A pass ends with reductions; what depends on them belongs to the next pass. A value of an
//! earlier pass that a later one needs is kept in a buffer of the row's length where the call
//! allows that, and computed again otherwise. All stores of whole rows happen in the last pass, so
//! that an output may take an input's memory.

use super::chain::{self, Summing};
use super::kernel::{self, Cast, Kernel, Reducer};
use super::lower::{is_bitwise_one, is_bitwise_two};
use super::space::BLOCK;
use crate::isa::IsaKind;
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::plan::{Extent, Instr, Tape};
use lazulite_core::{Dtype, Error, Result};

/// A kernel with the values it works on.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub kernel: Kernel,
    /// The kernel that reads one element of what rows have one value of, where there is one; the same
    /// where there is no such operand.
    pub by_row: Option<Kernel>,
    /// The kernel's elements for each element of the value.
    pub scale: u8,
    pub d: u16,
    pub a: u16,
    pub b: u16,
    pub c: u16,
}

/// A step whose kernel adds what it makes to a reduction's running results.
pub(super) struct Summed {
    pub kernel: Summing,
    /// What is written, if anything is.
    pub d: Option<u16>,
    pub a: u16,
    pub b: u16,
    /// The reduction, as an index into [`Program::reductions`].
    pub reduction: usize,
}

/// One pass over the rows.
#[derive(Default)]
pub(super) struct Pass {
    /// The loads that this pass needs, as indices into [`Program::loads`].
    pub loads: Vec<usize>,
    /// Instructions on whole blocks.
    pub steps: Vec<Step>,
    /// Where values of this pass lie: value and byte offset in the scratch memory.
    pub slots: Vec<(u16, usize)>,
    /// Buffers that this pass reads or writes, as indices into [`Program::buffers`].
    pub buffers: Vec<usize>,
    /// Reductions that end this pass, as indices into [`Program::reductions`].
    pub reductions: Vec<usize>,
    /// What whole blocks of rows need instead of `steps` and `reductions`: some steps have kernels
    /// that sum what they make, for the reduction beside them.
    pub whole_steps: Vec<Step>,
    pub summed: Vec<Summed>,
    pub whole_reductions: Vec<usize>,
    /// True iff the kernels of whole blocks read no value that fills only one block: several blocks
    /// may be done at once where all operands lie along the row.
    pub is_even: bool,
    /// Instructions on values of rows that follow.
    pub rows: Vec<Step>,
    /// Row values that this pass makes and blocks of later passes use.
    pub spread: Vec<u16>,
}

/// A load.
pub(super) struct Load {
    pub value: u16,
    pub operand: usize,
    /// True iff the value is kept in a buffer, which this load fills.
    pub kept: bool,
}

/// A reduction.
#[derive(Clone, Copy)]
pub(super) struct Reduction {
    pub value: u16,
    pub source: u16,
    pub reducer: Reducer,
}

/// A store.
pub(super) struct Store {
    pub value: u16,
    pub extent: Extent,
    /// True iff the value's last step may write to the output itself.
    pub direct: bool,
}

/// A tape made ready.
pub(super) struct Program {
    /// The compute type of each value.
    pub dtypes: Vec<Dtype>,
    /// Constants and their bits.
    pub consts: Vec<(u16, u64)>,
    pub loads: Vec<Load>,
    /// Row instructions that need no reduction.
    pub prologue: Vec<Step>,
    pub passes: Vec<Pass>,
    pub reductions: Vec<Reduction>,
    /// Values that later passes need, kept for a whole row.
    pub buffers: Vec<u16>,
    /// Values that rows have one of each and that are computed.
    pub row_values: Vec<u16>,
    pub stores: Vec<Store>,
    /// Bytes of the slots of all passes.
    pub slot_bytes: usize,
}

/// The bytes of a slot: not a multiple of a page, so that slots do not compete for cache sets.
pub(super) fn slot_bytes(size: usize) -> usize {
    BLOCK * size + 64
}

/// The value that holds `v`'s content: conversions that change nothing are skipped.
fn roots(tape: &Tape) -> Vec<u16> {
    let mut root: Vec<u16> = Vec::with_capacity(tape.values.len());
    for (v, value) in tape.values.iter().enumerate() {
        root.push(match value.instr {
            Instr::Cast(a) => {
                match kernel::cast(tape.values[a as usize].dtype, value.dtype, IsaKind::Portable) {
                    Cast::Same => root[a as usize],
                    Cast::Direct(_) | Cast::Via(_) => v as u16,
                }
            }
            _ => v as u16,
        });
    }
    root
}

fn operands(instr: Instr) -> [Option<u16>; 3] {
    match instr {
        Instr::Load { .. } | Instr::Const(_) => [None; 3],
        Instr::Unary(_, a) | Instr::Cast(a) | Instr::Reduce(_, a) => [Some(a), None, None],
        Instr::Binary(_, a, b) => [Some(a), Some(b), None],
        Instr::Select(c, a, b) => [Some(c), Some(a), Some(b)],
    }
}

/// The number of passes over the rows.
pub(super) fn count_passes(tape: &Tape) -> usize {
    let level = levels(tape);
    last_pass(tape, &level) + 1
}

fn levels(tape: &Tape) -> Vec<usize> {
    let mut level: Vec<usize> = Vec::with_capacity(tape.values.len());
    for value in &tape.values {
        let above = operands(value.instr).into_iter().flatten().map(|a| level[a as usize]).max();
        let step = usize::from(matches!(value.instr, Instr::Reduce(..)));
        level.push(above.unwrap_or(0) + step);
    }
    level
}

fn last_pass(tape: &Tape, level: &[usize]) -> usize {
    let reduced = tape.values.iter().filter_map(|v| match v.instr {
        Instr::Reduce(_, a) => Some(level[a as usize]),
        _ => None,
    });
    let stored = tape.stores.iter().map(|&v| v as usize);
    let stored = stored.filter(|&v| tape.values[v].extent == Extent::Full).map(|v| level[v]);
    reduced.chain(stored).max().unwrap_or(0)
}

impl Program {
    /// Prepares `tape`. `direct` says of an operand whether its loads cost nothing, and `keep`
    /// whether rows are short enough for buffers.
    ///
    /// # Errors
    /// Kind `Dtype` if an op does not take its operand's type.
    pub(super) fn new(tape: &Tape, direct: u64, keep: bool, isa: IsaKind) -> Result<Program> {
        let count = tape.values.len();
        let root = roots(tape);
        let at = |v: u16| root[v as usize];
        // A store to a half type rounds, so that the conversion before it need not.
        let stored = |v: u16| match tape.values[at(v) as usize].instr {
            Instr::Cast(a) if tape.values[v as usize].dtype.is_half() => {
                let from = &tape.values[a as usize];
                let same = from.extent == tape.values[v as usize].extent;
                if from.dtype == Dtype::F32 && same { at(a) } else { at(v) }
            }
            _ => at(v),
        };
        let ends: Vec<u16> = tape.stores.iter().map(|&v| stored(v)).collect();
        let level = levels(tape);
        let last = last_pass(tape, &level);
        let is_full = |v: u16| tape.values[v as usize].extent == Extent::Full;
        let is_const = |v: u16| matches!(tape.values[v as usize].instr, Instr::Const(_));

        // What anything needs at all.
        let mut live = vec![false; count];
        let mut stack: Vec<u16> = ends.clone();
        while let Some(v) = stack.pop() {
            if !std::mem::replace(&mut live[v as usize], true) {
                stack.extend(operands(tape.values[v as usize].instr).into_iter().flatten().map(at));
            }
        }

        // What each pass computes, from the last to the first.
        let mut needed = vec![vec![false; count]; last + 1];
        let mut buffered = vec![false; count];
        for pass in (0..=last).rev() {
            let mut stack: Vec<u16> = Vec::new();
            for (v, value) in tape.values.iter().enumerate() {
                if let Instr::Reduce(_, a) = value.instr
                    && live[v]
                    && level[a as usize] == pass
                {
                    stack.push(at(a));
                }
                if buffered[v] && level[v] == pass {
                    stack.push(v as u16);
                }
            }
            if pass == last {
                stack.extend(&ends);
            }
            while let Some(v) = stack.pop() {
                let i = v as usize;
                if !is_full(v) || is_const(v) || std::mem::replace(&mut needed[pass][i], true) {
                    continue;
                }
                // What one op makes of a load and of values of the row is made again.
                let given = |a: u16| {
                    is_of_row(tape, at(a))
                        || matches!(tape.values[at(a) as usize].instr, Instr::Load { .. })
                };
                let costs = match tape.values[i].instr {
                    Instr::Load { operand } => operand >= 64 || direct >> operand & 1 == 0,
                    Instr::Binary(
                        BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Multiply,
                        a,
                        b,
                    ) => tape.values[i].dtype.compute() != Dtype::F32 || !given(a) || !given(b),
                    _ => true,
                };
                if level[i] < pass && keep && costs {
                    buffered[i] = true;
                    continue;
                }
                stack.extend(operands(tape.values[i].instr).into_iter().flatten().map(at));
            }
        }

        let buffers: Vec<u16> = (0..count as u16).filter(|&v| buffered[v as usize]).collect();
        let mut program = Program {
            dtypes: tape.values.iter().map(|v| v.dtype.compute()).collect(),
            consts: Vec::new(),
            loads: Vec::new(),
            prologue: Vec::new(),
            passes: Vec::new(),
            reductions: Vec::new(),
            buffers,
            row_values: Vec::new(),
            stores: Vec::new(),
            slot_bytes: 0,
        };
        for (v, value) in tape.values.iter().enumerate() {
            let value_id = v as u16;
            match value.instr {
                _ if !live[v] => {}
                Instr::Const(x) => {
                    let wide = if x.dtype().is_half() { x.cast(Dtype::F32) } else { x };
                    program.consts.push((value_id, wide.bits()));
                }
                Instr::Load { operand } => {
                    let (operand, kept) = (operand as usize, buffered[v]);
                    program.loads.push(Load { value: value_id, operand, kept });
                }
                Instr::Reduce(op, a) => {
                    let dtype = value.dtype.compute();
                    let reducer = kernel::reducer(op, dtype, isa)
                        .ok_or_else(|| Error::dtype(op.name(), &[value.dtype], "another type"))?;
                    let reduction = Reduction { value: value_id, source: at(a), reducer };
                    program.reductions.push(reduction);
                    program.row_values.push(value_id);
                }
                _ if !is_full(value_id) && root[v] == value_id => {
                    program.row_values.push(value_id);
                }
                _ => {}
            }
        }
        for pass in 0..=last {
            let made = program.pass(
                tape,
                &root,
                &level,
                pass,
                last,
                &needed[pass],
                &buffered,
                &ends,
                isa,
            )?;
            program.passes.push(made);
        }
        for (v, value) in tape.values.iter().enumerate() {
            let is_row = live[v] && !is_full(v as u16) && level[v] == 0 && root[v] == v as u16;
            if is_row && let Some(step) = step(tape, &root, v as u16, isa)? {
                program.prologue.push(step);
            }
            let _ = value;
        }
        let mut written = vec![false; count];
        for (&v, &value) in tape.stores.iter().zip(&ends) {
            let extent = tape.values[v as usize].extent;
            let i = value as usize;
            let computed = needed[last][i] && step(tape, &root, value, isa)?.is_some();
            let own = !tape.values[v as usize].dtype.is_half() && !buffered[i];
            let direct = extent == Extent::Full && computed && own && !written[i];
            written[i] = true;
            program.stores.push(Store { value, extent, direct });
        }
        Ok(program)
    }

    #[allow(clippy::too_many_arguments)]
    fn pass(
        &mut self,
        tape: &Tape,
        root: &[u16],
        level: &[usize],
        pass: usize,
        last: usize,
        needed: &[bool],
        buffered: &[bool],
        ends: &[u16],
        isa: IsaKind,
    ) -> Result<Pass> {
        let mut out = Pass::default();
        let at = |v: u16| root[v as usize];
        for (i, load) in self.loads.iter().enumerate() {
            let again = load.kept && pass > 0;
            if needed[load.value as usize] && !again {
                out.loads.push(i);
            }
        }
        out.buffers =
            (0..self.buffers.len()).filter(|&b| needed[self.buffers[b] as usize]).collect();
        out.reductions = (0..self.reductions.len())
            .filter(|&r| level[self.reductions[r].value as usize] == pass + 1)
            .collect();

        // Steps in order, then slots by last use.
        for v in 0..tape.values.len() as u16 {
            let i = v as usize;
            let here = level[i] == pass || !buffered[i];
            if needed[i]
                && here
                && let Some(step) = step(tape, root, v, isa)?
            {
                out.steps.push(step);
            }
        }
        let count = tape.values.len();
        let mut lasting = buffered.to_vec();
        for &r in &out.reductions {
            lasting[self.reductions[r].source as usize] = true;
        }
        if pass == last {
            ends.iter().for_each(|&v| lasting[v as usize] = true);
        }
        chain_steps(tape, root, &mut out.steps, &lasting, isa);
        let mut last_use = vec![0usize; count];
        for (at, step) in out.steps.iter().enumerate() {
            for v in [step.a, step.b, step.c, step.d] {
                last_use[v as usize] = at;
            }
        }
        for &r in &out.reductions {
            last_use[self.reductions[r].source as usize] = usize::MAX;
        }
        if pass == last {
            ends.iter().for_each(|&v| last_use[v as usize] = usize::MAX);
        }
        let mut free: Vec<(usize, usize)> = Vec::new();
        let mut place = vec![None; count];
        let mut end = 0;
        for (now, step) in out.steps.iter().enumerate() {
            let d = step.d as usize;
            if !buffered[d] {
                let size = self.dtypes[d].size();
                let found = free.iter().rposition(|&(s, _)| s == size);
                let offset = match found {
                    Some(found) => free.swap_remove(found).1,
                    None => {
                        end += slot_bytes(size);
                        end - slot_bytes(size)
                    }
                };
                place[d] = Some(offset);
                out.slots.push((step.d, offset));
            }
            for v in [step.a, step.b, step.c] {
                let v = v as usize;
                if last_use[v] == now
                    && let Some(offset) = place[v].take()
                {
                    free.push((self.dtypes[v].size(), offset));
                }
            }
        }
        self.slot_bytes = self.slot_bytes.max(end);
        let ends = if pass == last { ends } else { &[] };
        self.join_sums(tape, root, &mut out, buffered, ends, isa);

        // Row instructions that this pass's reductions make possible.
        for &v in &self.row_values {
            if level[v as usize] == pass + 1 {
                out.spread.push(v);
                if let Some(step) = step(tape, root, v, isa)? {
                    out.rows.push(step);
                }
            }
        }
        let used = |v: &u16| {
            tape.values.iter().any(|value| {
                value.extent == Extent::Full
                    && operands(value.instr).into_iter().flatten().any(|a| at(a) == *v)
            })
        };
        out.spread.retain(used);
        Ok(out)
    }
}

impl Program {
    /// Finds the kernels of whole blocks of rows, among them those that sum what they make. Values that
    /// are `buffered` or in `ends` are used later.
    fn join_sums(
        &self,
        tape: &Tape,
        root: &[u16],
        pass: &mut Pass,
        buffered: &[bool],
        ends: &[u16],
        isa: IsaKind,
    ) {
        let mut steps = pass.steps.clone();
        pass.whole_reductions.clone_from(&pass.reductions);
        let at = |v: u16| root[v as usize];
        let uses = |step: &Step, v: u16| [step.a, step.b, step.c].contains(&v);
        for &r in &pass.reductions {
            let Reduction { value, source, .. } = self.reductions[r];
            let sums = matches!(tape.values[value as usize].instr, Instr::Reduce(ReduceOp::Sum, _));
            let sources = pass.reductions.iter().map(|&r| self.reductions[r].source);
            if !sums
                || self.dtypes[source as usize] != Dtype::F32
                || sources.filter(|&s| s == source).count() > 1
                || pass.steps.iter().any(|step| uses(step, source))
            {
                continue;
            }
            let Some(i) = steps.iter().position(|step| step.d == source) else {
                continue;
            };
            let Step { d, a, b, .. } = steps[i];
            let kept = buffered[source as usize] || ends.contains(&source);
            let row = is_of_row(tape, b);
            // True iff the step was joined with the difference before it.
            let joined = |v: u16| a != at(v);
            let (kernel, d) = match tape.values[source as usize].instr {
                _ if is_of_row(tape, a) => continue,
                Instr::Unary(UnaryOp::Square, v) if !kept && joined(v) => {
                    (chain::sum_of_squared_differences(row, isa), None)
                }
                Instr::Unary(UnaryOp::Square, _) if !kept => {
                    (chain::sum_of_squares(row, isa), None)
                }
                Instr::Unary(UnaryOp::Exp, v) if joined(v) => {
                    (chain::sum_of_exp(row, isa), Some(d))
                }
                _ => continue,
            };
            pass.summed.push(Summed { kernel, d, a, b, reduction: r });
            pass.whole_reductions.retain(|&other| other != r);
            steps.remove(i);
        }
        pass.is_even = steps.iter().all(|step| step.by_row.is_some());
        for step in &mut steps {
            step.kernel = step.by_row.unwrap_or(step.kernel);
        }
        pass.whole_steps = steps;
    }
}

/// True iff a value is the same all along a row.
fn is_of_row(tape: &Tape, v: u16) -> bool {
    let value = &tape.values[v as usize];
    value.extent == Extent::Row || matches!(value.instr, Instr::Const(_))
}

/// The operands of a binary op as values that are computed, what rows have one of last where the order
/// does not matter.
fn ordered(tape: &Tape, root: &[u16], op: BinaryOp, a: u16, b: u16) -> (u16, u16) {
    let (a, b) = (root[a as usize], root[b as usize]);
    let commutes = matches!(op, BinaryOp::Add | BinaryOp::Multiply);
    let swap = commutes && is_of_row(tape, a) && !is_of_row(tape, b);
    if swap { (b, a) } else { (a, b) }
}

/// Joins steps whose result one other step alone uses with that step, where a kernel does both.
/// `lasting` values are used elsewhere too.
fn chain_steps(tape: &Tape, root: &[u16], steps: &mut Vec<Step>, lasting: &[bool], isa: IsaKind) {
    let single = |v: u16| match tape.values[v as usize].instr {
        Instr::Binary(op, a, b) if tape.values[a as usize].dtype.compute() == Dtype::F32 => {
            let (a, b) = ordered(tape, root, op, a, b);
            Some((op, a, b))
        }
        _ => None,
    };
    let of_row = |v: u16| is_of_row(tape, v);
    let mut uses = vec![0u32; root.len()];
    for step in steps.iter() {
        for v in operands(tape.values[step.d as usize].instr).into_iter().flatten() {
            uses[root[v as usize] as usize] += 1;
        }
    }
    // The places of steps that are neither gone nor joined already.
    let mut alone = vec![None; root.len()];
    let mut gone = vec![false; steps.len()];
    for at in 0..steps.len() {
        let d = steps[at].d;
        alone[d as usize] = Some(at);
        if let Instr::Unary(op @ (UnaryOp::Exp | UnaryOp::Square), v) =
            tape.values[d as usize].instr
        {
            let i = root[v as usize] as usize;
            let of_difference = match op {
                UnaryOp::Exp => chain::exp_of_difference,
                _ => chain::square_of_difference,
            };
            if uses[i] == 1
                && !lasting[i]
                && let Some(before) = alone[i]
                && let Some((BinaryOp::Subtract, a, b)) = single(i as u16)
            {
                let kernel = of_difference(false, isa);
                let by_row = (!of_row(a)).then(|| of_difference(of_row(b), isa));
                steps[at] = Step { kernel, by_row, scale: 1, d, a, b, c: b };
                gone[before] = true;
                alone[i] = None;
            }
            continue;
        }
        let Some((second, x, y)) = single(d) else { continue };
        for (v, other, back) in [(x, y, false), (y, x, true)] {
            let i = v as usize;
            if uses[i] != 1 || lasting[i] {
                continue;
            }
            let (Some(before), Some((first, a, b))) = (alone[i], single(v)) else { continue };
            if let Some(kernel) = chain::pair(first, second, back, [false; 2], isa) {
                let rows = [of_row(b), of_row(other)];
                let by_row =
                    if of_row(a) { None } else { chain::pair(first, second, back, rows, isa) };
                steps[at] = Step { kernel, by_row, scale: 1, d, a, b, c: other };
                gone[before] = true;
                (alone[i], alone[d as usize]) = (None, None);
                break;
            }
        }
    }
    let mut gone = gone.into_iter();
    steps.retain(|_| gone.next() != Some(true));
}

/// The kernel of value `v` with its operands, or `None` for what is not computed.
fn step(tape: &Tape, root: &[u16], v: u16, isa: IsaKind) -> Result<Option<Step>> {
    let value = &tape.values[v as usize];
    let of = |a: u16| tape.values[a as usize].dtype;
    let refuse = |op, a| Error::dtype(op, &[of(a)], "a type that the op takes");
    // Bits of integers are bits of bytes.
    let bytes = |alike: bool, a: u16| match of(a) {
        dtype if alike && dtype.is_integer() => (Dtype::U8, dtype.size() as u8),
        dtype => (dtype.compute(), 1),
    };
    let (mut scale, mut by_row) = (1, None);
    let (kernel, [a, b, c]) = match value.instr {
        Instr::Load { .. } | Instr::Const(_) | Instr::Reduce(..) => return Ok(None),
        Instr::Unary(op, a) => {
            let (dtype, size) = bytes(is_bitwise_one(op), a);
            scale = size;
            (kernel::unary(op, dtype, isa).ok_or_else(|| refuse(op.name(), a))?, [a, a, a])
        }
        Instr::Binary(op, a, b) => {
            let (dtype, size) = bytes(is_bitwise_two(op), a);
            scale = size;
            let found = kernel::binary(op, dtype, isa).ok_or_else(|| refuse(op.name(), a))?;
            let (a, b) = ordered(tape, root, op, a, b);
            if dtype == Dtype::F32 && is_of_row(tape, b) && !is_of_row(tape, a) {
                by_row = chain::by_row(op, isa);
            }
            (found, [a, b, b])
        }
        Instr::Select(c, a, b) => (kernel::select(value.dtype.compute().size(), isa), [c, a, b]),
        Instr::Cast(a) => match kernel::cast(of(a), value.dtype, isa) {
            Cast::Direct(found) => (found, [a, a, a]),
            Cast::Same => return Ok(None),
            Cast::Via(_) => return Err(refuse("astype", a)),
        },
    };
    let [a, b, c] = [a, b, c].map(|v| root[v as usize]);
    if ![a, b, c].into_iter().any(|v| is_of_row(tape, v)) {
        by_row = Some(kernel);
    }
    Ok(Some(Step { kernel, by_row, scale, d: v, a, b, c }))
}
