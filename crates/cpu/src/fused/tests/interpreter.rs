//! The oracle: one element at a time, in `i128`, `f64` and pairs of `f64`, rounded to each value's
//! type after every instruction.

use lazulite_core::backend::Operand;
use lazulite_core::op::{BinaryOp, ReduceOp};
use lazulite_core::plan::{Extent, Instr, Tape};
use lazulite_core::shape::{Layout, contiguous_strides};
use lazulite_core::{Complex32, Dtype, Literal, bf16, f16};
use num_complex::Complex64;

/// A number of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wide {
    Int(i128),
    Real(f64),
    Complex(Complex64),
}
use Wide::{Complex, Int, Real};

impl Wide {
    pub(super) fn real(self) -> f64 {
        match self {
            Int(x) => x as f64,
            Real(x) => x,
            Complex(z) => z.re,
        }
    }
    pub(super) fn complex(self) -> Complex64 {
        match self {
            Complex(z) => z,
            other => Complex64::new(other.real(), 0.0),
        }
    }
    pub(super) fn is_near(self, want: Wide, tolerance: f64) -> bool {
        let close = |a: f64, b: f64| {
            a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * b.abs().max(1.0)
        };
        match (self, want) {
            (Int(a), Int(b)) => a == b,
            (Complex(a), Complex(b)) => {
                let scale = tolerance * b.norm().max(1.0);
                a == b || (a - b).norm() <= scale || !a.is_finite() && !b.is_finite()
            }
            (a, b) => close(a.real(), b.real()),
        }
    }
    fn holds(self) -> bool {
        self.complex() != Complex64::new(0.0, 0.0)
    }
}

fn wide(x: Literal) -> Wide {
    let bits = x.bits();
    match x.dtype() {
        Dtype::U64 => Int(i128::from(bits)),
        Dtype::C64 => {
            let part = |bits: u64| f64::from(f32::from_bits(bits as u32));
            Complex(Complex64::new(part(bits), part(bits >> 32)))
        }
        d if d.is_floating() => Real(x.to_f64()),
        _ => Int(i128::from(x.to_i64())),
    }
}

/// Rounds or wraps to a type.
pub(super) fn fit(x: Wide, dtype: Dtype) -> Wide {
    match (dtype, x) {
        (Dtype::Bool, x) => Int(i128::from(x.holds())),
        (d, Int(x)) if d.is_integer() => {
            wide(Literal::new(x as u64).cast(if d == Dtype::I64 { d } else { Dtype::U64 }).cast(d))
        }
        (Dtype::U64, x) => Int(i128::from(x.real() as u64)),
        (d, x) if d.is_integer() => wide(Literal::new(x.real()).cast(d)),
        (Dtype::F16, x) => Real(f16::from_f64(x.real()).to_f64()),
        (Dtype::BF16, x) => Real(bf16::from_f64(x.real()).to_f64()),
        (Dtype::F32, x) => Real(f64::from(x.real() as f32)),
        (Dtype::F64, x) => Real(x.real()),
        (_, x) => {
            let z = x.complex();
            Complex(Complex64::new(f64::from(z.re as f32), f64::from(z.im as f32)))
        }
    }
}

fn element(x: &Operand, index: &[usize]) -> Wide {
    let lead = index.len() - x.layout.shape.len();
    let steps = x.layout.shape.iter().zip(&x.layout.strides).zip(&index[lead..]);
    let place = steps.fold(
        x.layout.offset as isize,
        |at, ((&n, &s), &i)| {
            if n == 1 { at } else { at + s * i as isize }
        },
    );
    let (size, bytes) = (x.dtype.size(), x.buffer.memory().host_bytes().unwrap());
    let mut word = [0; 8];
    word[..size].copy_from_slice(&bytes[place as usize * size..][..size]);
    let bits = u64::from_le_bytes(word);
    wide(match x.dtype {
        Dtype::Bool => Literal::new(bits != 0),
        Dtype::F16 => Literal::new(f16::from_bits(bits as u16)),
        Dtype::BF16 => Literal::new(bf16::from_bits(bits as u16)),
        Dtype::F32 => Literal::new(f32::from_bits(bits as u32)),
        Dtype::F64 => Literal::new(f64::from_bits(bits)),
        Dtype::C64 => Literal::new(Complex32::new(
            f32::from_bits(bits as u32),
            f32::from_bits((bits >> 32) as u32),
        )),
        d => Literal::new(bits).cast(d),
    })
}

fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let strides = contiguous_strides(shape);
    (0..shape.iter().product::<usize>())
        .map(move |i| shape.iter().zip(&strides).map(|(&n, &s)| i / s as usize % n).collect())
}

/// All elements in row-major order.
pub(super) fn read(x: &Operand) -> Vec<Wide> {
    indices(x.shape()).map(|index| element(x, &index)).collect()
}

/// What the tape stores.
pub(super) fn run(tape: &Tape, inputs: &[Operand], shape: &[usize]) -> Vec<Vec<Wide>> {
    let row_shape: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(a, &n)| if tape.axes >> a & 1 == 1 { 1 } else { n })
        .collect();
    let row_strides = contiguous_strides(&row_shape);
    let full_strides = contiguous_strides(shape);
    let place = |index: &[usize], extent: Extent| -> usize {
        let (shape, strides) = if extent == Extent::Row {
            (&row_shape[..], &row_strides)
        } else {
            (shape, &full_strides)
        };
        let each = index.iter().zip(shape).zip(strides.iter());
        each.map(|((&i, &n), &s)| if n == 1 { 0 } else { i * s as usize }).sum()
    };
    let mut values: Vec<Vec<Wide>> = Vec::new();
    for value in &tape.values {
        let dims = if value.extent == Extent::Row { &row_shape[..] } else { shape };
        let at = |v: u16, index: &[usize]| match tape.values[v as usize].instr {
            Instr::Const(x) => wide(x),
            _ => values[v as usize][place(index, tape.values[v as usize].extent)],
        };
        let dtype = |v: u16| tape.values[v as usize].dtype;
        let result = match value.instr {
            Instr::Reduce(op, a) => {
                let mut out: Vec<Vec<Wide>> = vec![vec![]; Layout::contiguous(dims).len()];
                for index in indices(shape) {
                    out[place(&index, Extent::Row)].push(at(a, &index));
                }
                out.into_iter().map(|xs| fit(reduce(op, &xs, value.dtype), value.dtype)).collect()
            }
            _ => indices(dims)
                .map(|index| {
                    let x = match value.instr {
                        Instr::Load { operand } => element(&inputs[operand as usize], &index),
                        Instr::Const(x) => wide(x),
                        Instr::Unary(op, a) => unary(op, at(a, &index), dtype(a)),
                        Instr::Binary(op, a, b) => {
                            binary(op, at(a, &index), at(b, &index), dtype(a))
                        }
                        Instr::Select(c, a, b) => {
                            at(if at(c, &index).holds() { a } else { b }, &index)
                        }
                        Instr::Cast(a) | Instr::Reduce(_, a) => at(a, &index),
                    };
                    // Half values round only where they are cast or stored.
                    let rounds = matches!(value.instr, Instr::Cast(_));
                    fit(x, if rounds { value.dtype } else { value.dtype.compute() })
                })
                .collect(),
        };
        values.push(result);
    }
    let stored = |&v: &u16| -> Vec<Wide> {
        values[v as usize].iter().map(|&x| fit(x, tape.values[v as usize].dtype)).collect()
    };
    tape.stores.iter().map(stored).collect()
}

fn reduce(op: ReduceOp, xs: &[Wide], dtype: Dtype) -> Wide {
    let start = match (op, dtype) {
        (ReduceOp::Sum | ReduceOp::Any, _) => Int(0),
        (ReduceOp::Prod | ReduceOp::All, _) => Int(1),
        _ => match xs.first() {
            Some(&x) => x,
            None => {
                return Real(if op == ReduceOp::Min { f64::INFINITY } else { f64::NEG_INFINITY });
            }
        },
    };
    let join = match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Multiply,
        ReduceOp::Min => BinaryOp::Minimum,
        ReduceOp::Max => BinaryOp::Maximum,
        ReduceOp::All => BinaryOp::LogicalAnd,
        ReduceOp::Any => BinaryOp::LogicalOr,
    };
    xs.iter().fold(start, |a, &b| {
        let y = binary(join, a, b, dtype);
        if dtype.is_integer() { fit(y, dtype) } else { y }
    })
}

pub(super) use super::ops::{binary, unary};
