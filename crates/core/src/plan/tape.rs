//! Tapes: the one fused form, which both executors understand.
//!
//! A tape is a list of scalar instructions in single-assignment form. It runs once for every point
//! of an index space (the `space` of the call), whose axes are cut in two: the *reduced* axes, and
//! the others. Values are of two extents: `Full` values differ from point to point; `Row` values
//! are the same all along the reduced axes. A reduction makes a `Row` value of a `Full` one, and a
//! `Row` value may be used by `Full` instructions after it, so that whole softmax and norm rows
//! are one tape with several reductions. A tape without reductions has no reduced axes, and all
//! its values are `Full`.
//!
//! Sizes and strides are not part of a tape: loads and stores get them from the call's operands.
//! A load's operand broadcasts to the space; a `Row` load has size 1 on all reduced axes. A store of
//! a `Full` value has the shape of the space, a store of a `Row` value has size 1 on the reduced
//! axes; stores are contiguous.
//!
//! Precision: a value has the dtype that the separate op would have, but `float16` and `bfloat16`
//! values are kept in `float32` (see [`Dtype::compute`]) and rounded only by a `Cast` to the half
//! type and by stores. All other instructions round as the separate op does: no contraction.
//! Reductions of half types accumulate in `float32`.

use crate::dtype::{Dtype, Literal};
use crate::op::{BinaryOp, ReduceOp, UnaryOp};
use std::fmt;

/// The number of a tape value: instruction `v` makes value `v`.
pub type ValueId = u16;

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instr {
    /// The element of input operand `operand` at this point.
    Load {
        /// Which input operand.
        operand: u16,
    },
    /// A constant that the plan's structure fixes.
    Const(Literal),
    /// A unary op; the operand has the op's input type.
    Unary(UnaryOp, ValueId),
    /// A binary op; both operands have the op's input type.
    Binary(BinaryOp, ValueId, ValueId),
    /// `condition ? a : b`; the condition is bool.
    Select(ValueId, ValueId, ValueId),
    /// Conversion to the instruction's dtype; to a half type it rounds.
    Cast(ValueId),
    /// Reduction of a `Full` value over the reduced axes.
    Reduce(ReduceOp, ValueId),
}

/// Whether a value differs along the reduced axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// One value for each point.
    Full,
    /// One value for all points that differ only in reduced axes.
    Row,
}

/// An instruction with its result's type and extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TapeValue {
    /// What is computed.
    pub instr: Instr,
    /// The type of the result, as the separate op would give it.
    pub dtype: Dtype,
    /// The extent of the result.
    pub extent: Extent,
}

/// A fused program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tape {
    /// The instructions, each after its operands.
    pub values: Vec<TapeValue>,
    /// The values that are stored, one for each output operand.
    pub stores: Vec<ValueId>,
    /// The number of input operands.
    pub inputs: u16,
    /// The reduced axes of the space: bit `a` is axis `a`. Zero iff there are no reductions.
    pub axes: u64,
}

impl Tape {
    /// True iff the tape reduces.
    pub fn reduces(&self) -> bool {
        self.axes != 0
    }

    /// The reduced axes of a space of `ndim` axes, in order.
    pub fn reduced_axes(&self, ndim: usize) -> impl Iterator<Item = usize> + '_ {
        (0..ndim).filter(|a| self.axes >> a & 1 == 1)
    }
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (v, value) in self.values.iter().enumerate() {
            let extent = if value.extent == Extent::Row { "row " } else { "" };
            write!(f, "    %{v} = {extent}{} ", value.dtype)?;
            match value.instr {
                Instr::Load { operand } => writeln!(f, "load in{operand}")?,
                Instr::Const(x) => writeln!(f, "{x:?}")?,
                Instr::Unary(op, a) => writeln!(f, "{} %{a}", op.name())?,
                Instr::Binary(op, a, b) => writeln!(f, "{} %{a} %{b}", op.name())?,
                Instr::Select(c, a, b) => writeln!(f, "select %{c} %{a} %{b}")?,
                Instr::Cast(a) => writeln!(f, "cast %{a}")?,
                Instr::Reduce(op, a) => writeln!(f, "{} over row %{a}", op.name())?,
            }
        }
        for (i, v) in self.stores.iter().enumerate() {
            writeln!(f, "    out{i} = %{v}")?;
        }
        Ok(())
    }
}
