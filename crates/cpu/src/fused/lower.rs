//! A tape in the types that kernels know.
//!
//! There are kernels for integers of 32 and 64 bits only, so that there are few. Narrow integers
//! are widened, computed in 32 bits and narrowed: all arithmetic wraps, so that the low bits are
//! the same, and comparisons, quotients and shifts see the same numbers. Conversions between types
//! that have no kernel of their own go by way of a third.

use super::kernel::{self, Cast};
use crate::isa::IsaKind;
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::{Dtype, Literal};
use std::collections::HashMap;

/// The type in which values of an integer type are computed.
fn wide(dtype: Dtype) -> Dtype {
    match dtype {
        Dtype::U8 | Dtype::U16 => Dtype::U32,
        Dtype::I8 | Dtype::I16 => Dtype::I32,
        other => other,
    }
}

/// The type in which elements of a type are compared.
fn compared(dtype: Dtype) -> Dtype {
    if dtype == Dtype::Bool { Dtype::U32 } else { wide(dtype) }
}

/// The least and the greatest value of a type that is computed in a wider one.
pub(crate) fn limits(dtype: Dtype) -> Option<(i32, i32)> {
    match dtype {
        Dtype::Bool => Some((0, 1)),
        Dtype::U8 => Some((0, u8::MAX.into())),
        Dtype::U16 => Some((0, u16::MAX.into())),
        Dtype::I8 => Some((i8::MIN.into(), i8::MAX.into())),
        Dtype::I16 => Some((i16::MIN.into(), i16::MAX.into())),
        _ => None,
    }
}

/// True iff the op treats all bits alike, so that it may run on bytes.
pub(super) fn is_bitwise_one(op: UnaryOp) -> bool {
    op == UnaryOp::BitwiseInvert
}

/// As [`is_bitwise_one`].
pub(super) fn is_bitwise_two(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::BitwiseAnd | BinaryOp::BitwiseOr | BinaryOp::BitwiseXor)
}

struct Lowering {
    tape: Tape,
    /// Conversions that exist.
    casts: HashMap<(u16, Dtype), u16>,
}

impl Lowering {
    fn push(&mut self, instr: Instr, dtype: Dtype, extent: Extent) -> u16 {
        self.tape.values.push(TapeValue { instr, dtype, extent });
        self.tape.values.len() as u16 - 1
    }

    /// The value `v` as type `to`.
    fn cast(&mut self, v: u16, to: Dtype) -> u16 {
        let TapeValue { dtype, extent, .. } = self.tape.values[v as usize];
        if dtype == to {
            return v;
        }
        if let Some(&known) = self.casts.get(&(v, to)) {
            return known;
        }
        let from = self.towards(v, to);
        let made = self.push(Instr::Cast(from), to, extent);
        self.casts.insert((v, to), made);
        made
    }

    /// The value `v` in a type from which one conversion leads to `to`.
    fn towards(&mut self, v: u16, to: Dtype) -> u16 {
        match kernel::cast(self.tape.values[v as usize].dtype, to, IsaKind::Portable) {
            Cast::Via(middle) => {
                let v = self.cast(v, middle);
                self.towards(v, to)
            }
            Cast::Same | Cast::Direct(_) => v,
        }
    }
}

/// The same tape in types that have kernels.
pub(super) fn lower(tape: &Tape) -> Tape {
    let empty = Tape { values: Vec::new(), stores: Vec::new(), ..*tape };
    let mut low = Lowering { tape: empty, casts: HashMap::new() };
    let mut at: Vec<u16> = Vec::with_capacity(tape.values.len());
    for value in &tape.values {
        let of = |v: u16| (at[v as usize], tape.values[v as usize].dtype);
        let TapeValue { instr, dtype, extent } = *value;
        let made = match instr {
            Instr::Load { .. } | Instr::Const(_) => low.push(instr, dtype, extent),
            Instr::Cast(a) => {
                let a = low.towards(of(a).0, dtype);
                // A value of its own: its extent may differ from that of other conversions.
                low.push(Instr::Cast(a), dtype, extent)
            }
            Instr::Select(c, a, b) => {
                low.push(Instr::Select(of(c).0, of(a).0, of(b).0), dtype, extent)
            }
            Instr::Unary(op, a) => {
                let (a, from) = of(a);
                if is_bitwise_one(op) || wide(from) == from {
                    low.push(Instr::Unary(op, a), dtype, extent)
                } else {
                    let a = low.cast(a, wide(from));
                    let y = low.push(Instr::Unary(op, a), wide(dtype), extent);
                    low.cast(y, dtype)
                }
            }
            Instr::Binary(op, a, b) => {
                let ((a, from), (b, _)) = (of(a), of(b));
                let through = if is_comparison(op) { compared(from) } else { wide(from) };
                if is_bitwise_two(op) || through == from {
                    low.push(Instr::Binary(op, a, b), dtype, extent)
                } else {
                    let (a, b) = (low.cast(a, through), low.cast(b, through));
                    let result = if is_comparison(op) { dtype } else { through };
                    let y = low.push(Instr::Binary(op, a, b), result, extent);
                    low.cast(y, dtype)
                }
            }
            Instr::Reduce(op, a) => {
                let (a, from) = of(a);
                let logical = matches!(op, ReduceOp::All | ReduceOp::Any);
                let through = if logical { from } else { compared(from) };
                let a = low.cast(a, through);
                let mut y = low.push(Instr::Reduce(op, a), through, extent);
                // An empty reduction gives the limit of the narrow type.
                let limit = match op {
                    ReduceOp::Min => limits(from).map(|l| (BinaryOp::Minimum, l.1)),
                    ReduceOp::Max => limits(from).map(|l| (BinaryOp::Maximum, l.0)),
                    _ => None,
                };
                if let Some((join, limit)) = limit {
                    let limit = Literal::new(limit).cast(through);
                    let limit = low.push(Instr::Const(limit), through, extent);
                    y = low.push(Instr::Binary(join, y, limit), through, extent);
                }
                low.cast(y, dtype)
            }
        };
        at.push(made);
    }
    low.tape.stores = tape.stores.iter().map(|&v| at[v as usize]).collect();
    low.tape
}

fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
    matches!(op, Equal | Greater | GreaterEqual | Less | LessEqual | NotEqual)
}
