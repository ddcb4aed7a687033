//! Ops that move elements between places.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::BinaryOp;
use lazulite_core::op::creation::Arange;
use lazulite_core::op::scatter::{SliceUpdate, UpdateMode};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};

use crate::args::Args;
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;
use crate::{copy, fused};

pub(crate) const SOURCE: &str = include_str!("indexing.cu");
pub(crate) const THREADS: usize = 256;

pub(crate) fn blocks(n: usize) -> [u32; 3] {
    [n.div_ceil(THREADS) as u32, 1, 1]
}

/// Evenly spaced values.
pub(crate) fn arange(launch: &Launch<'_>, op: &Arange, out: &Operand) -> Result<()> {
    if op.len == 0 {
        return Ok(());
    }
    let integer = out.dtype.is_integer();
    let defines = format!("T={};ARANGE", storage(out.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "arange", &defines, Rounding::Separate)?;
    let word = |x: lazulite_core::Literal| match integer {
        true => x.to_i64() as u64,
        false => x.to_f64().to_bits(),
    };
    let mut args = Args::new();
    args.word(launch.write(out)?).word(word(op.start)).word(word(op.step)).size(op.len);
    // SAFETY: the kernel has these parameters, and writes `len` elements of the output.
    unsafe { args.launch(kernel, blocks(op.len), [THREADS as u32, 1, 1], 0, launch.queue) }
}

/// The part of `out` of `shape` that begins at `start` and steps by `step`.
fn part(out: &Operand, start: &[usize], step: &[isize], shape: &[usize]) -> Operand {
    Operand { layout: out.layout.slice(start, step, shape), ..out.clone() }
}

/// The inputs one after another.
pub(crate) fn concatenate(
    launch: &Launch<'_>,
    axis: usize,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    let ndim = out.shape().len();
    let (mut start, step) = (vec![0; ndim], vec![1; ndim]);
    for input in inputs {
        copy::copy(launch, input, &part(out, &start, &step, input.shape()))?;
        start[axis] += input.shape()[axis];
    }
    Ok(())
}

/// The dtype's table op that joins an update and an element.
fn joiner(mode: UpdateMode) -> Option<BinaryOp> {
    match mode {
        UpdateMode::Set => None,
        UpdateMode::Add => Some(BinaryOp::Add),
        UpdateMode::Multiply => Some(BinaryOp::Multiply),
        UpdateMode::Max => Some(BinaryOp::Maximum),
        UpdateMode::Min => Some(BinaryOp::Minimum),
    }
}

/// Copies `dst` to `out`, unless it was donated.
pub(crate) fn begin(launch: &Launch<'_>, dst: &Operand, out: &Operand) -> Result<()> {
    match dst.buffer.same(&out.buffer) {
        true => Ok(()),
        false => copy::copy(launch, dst, out),
    }
}

/// Regularly spaced elements replaced or joined; they are all different, so order is no matter.
pub(crate) fn slice_update(
    launch: &Launch<'_>,
    op: &SliceUpdate,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    let [dst, update, ..] = inputs else {
        return Err(lazulite_core::Error::argument("slice_update", "an input is missing"));
    };
    begin(launch, dst, out)?;
    let target = part(out, &op.start, &op.step, update.shape());
    let Some(join) = joiner(op.mode) else { return copy::copy(launch, update, &target) };
    let dtype = out.dtype;
    let load = |i| TapeValue { instr: Instr::Load { operand: i }, dtype, extent: Extent::Full };
    let joined = TapeValue { instr: Instr::Binary(join, 0, 1), dtype, extent: Extent::Full };
    let tape = Tape { values: vec![load(0), load(1), joined], stores: vec![2], inputs: 2, axes: 0 };
    fused::execute_into(launch, &tape, &[target.clone(), update.clone()], &target)
}
