//! What a primitive that was read from a file must fulfil before its rules may be asked: `infer`
//! and the kernels take for granted what the public functions check, and a file may be damaged.

use super::fft::FftKind;
use super::grouped::Matrices;
use super::linalg::Linalg;
use super::quantized::{QuantFormat, QuantMode};
use super::{Aval, Avals, Primitive};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::shape::checked_len;
use std::ops::RangeInclusive;

/// Sizes above this are damage: no memory holds them, and sums and products of a few of them do
/// not overflow.
const MOST: usize = 1 << 48;

/// What is wrong with a stored op.
type Checked<T = ()> = Result<T, String>;

fn demand(right: bool, what: &str) -> Checked {
    if right { Ok(()) } else { Err(what.to_owned()) }
}

/// Checks that an array of this shape can be.
pub(crate) fn check_aval(aval: &Aval) -> Checked {
    let len = checked_len("import", &aval.shape).map_err(|e| e.to_string())?;
    let sizes = aval.shape.iter().all(|&n| n <= MOST) && aval.shape.len() <= 64;
    demand(len <= MOST && sizes, "a shape is too large")
}

fn below(axes: &[usize], ndim: usize) -> Checked {
    demand(axes.iter().all(|&a| a < ndim), "an axis is out of range")
}

/// Checks that `n` steps of `step` from `start` on do not overflow.
fn check_steps(start: &[usize], step: &[isize], shape: &[usize]) -> Checked {
    let small = |&n: &usize| n <= MOST;
    let reach = |(&n, &s): (&usize, &isize)| {
        (n as isize).checked_mul(s).is_some_and(|r| r.unsigned_abs() <= MOST)
    };
    let right = start.iter().chain(shape).all(small) && shape.iter().zip(step).all(reach);
    demand(right, "a step is too large")
}

fn check_format(format: QuantFormat) -> Checked {
    QuantFormat::new(format.mode, Some(format.group), Some(format.bits))
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// How many arrays a quantised matrix is made of.
fn parts(format: QuantFormat) -> usize {
    2 + usize::from(format.mode == QuantMode::Affine)
}

impl Primitive {
    /// Shapes and dtypes of the outputs of an op that was read from a file.
    ///
    /// # Errors
    /// What is wrong with the op for these inputs.
    pub(crate) fn infer_stored(&self, inputs: &[Array]) -> Checked<Avals> {
        let count = self.arity();
        if !count.contains(&inputs.len()) {
            return Err(format!("{} inputs, expected {count:?}", inputs.len()));
        }
        self.check_params(inputs)?;
        let avals = self.infer(inputs).map_err(|e| e.to_string())?;
        avals.iter().try_for_each(check_aval)?;
        Ok(avals)
    }

    /// Why the op cannot be stored, if it cannot.
    pub(crate) fn unstorable(&self) -> Option<&'static str> {
        self.arity().is_empty().then_some("it is a part of the running program")
    }

    /// How many inputs there may be; none at all for what is no part of a stored graph.
    fn arity(&self) -> RangeInclusive<usize> {
        let exactly = |n: usize| n..=n;
        match self {
            Primitive::Data
            | Primitive::Load(_)
            | Primitive::Placeholder(_)
            | Primitive::Kernel(_)
            | Primitive::CustomFunction(_) => RangeInclusive::new(1, 0),
            Primitive::Arange(_) => exactly(0),
            Primitive::Scalar(_) => 0..=1,
            Primitive::Cast(_)
            | Primitive::Unary(_)
            | Primitive::Reduce(_)
            | Primitive::ArgReduce(_)
            | Primitive::Scan(_)
            | Primitive::Reshape(_)
            | Primitive::Transpose(_)
            | Primitive::Slice(_)
            | Primitive::AsStrided(_)
            | Primitive::Bitcast(_)
            | Primitive::Sort(_)
            | Primitive::ArgSort(_)
            | Primitive::Quantize(_)
            | Primitive::RandomBits(_)
            | Primitive::Fft(_) => exactly(1),
            Primitive::Broadcast(_) => 1..=2,
            Primitive::Binary(_)
            | Primitive::GatherAxis(_)
            | Primitive::DynamicSlice(_)
            | Primitive::SliceUpdate(_)
            | Primitive::Matmul(_)
            | Primitive::Conv(_) => exactly(2),
            Primitive::Select(_)
            | Primitive::ScatterAxis(_)
            | Primitive::DynamicSliceUpdate(_)
            | Primitive::MaskedScatter(_) => exactly(3),
            Primitive::Identity(_) | Primitive::Concatenate(_) => 1..=usize::MAX,
            Primitive::Gather(op) => exactly(1 + op.axes.len()),
            Primitive::Scatter(op) => exactly(2 + op.axes.len()),
            Primitive::Dequantize(op) => exactly(parts(op.format)),
            Primitive::QuantizedMatmul(op) => exactly(1 + parts(op.format)),
            Primitive::MaskedMatmul(op) => {
                exactly(2 + op.masks.iter().filter(|there| **there).count())
            }
            Primitive::GroupedMatmul(op) => match op.matrices {
                Matrices::Dense => exactly(4),
                Matrices::Quantized { format, .. } => exactly(3 + parts(format)),
            },
            Primitive::Rope(op) => exactly(2 + usize::from(op.base.is_none())),
            Primitive::Attention(op) => exactly(3 + usize::from(op.mask) + usize::from(op.sinks)),
            Primitive::AttentionGrad(op) => {
                exactly(5 + usize::from(op.forward.mask) + usize::from(op.forward.sinks))
            }
            Primitive::Linalg(Linalg::LuSolve { .. }) => exactly(4),
            Primitive::Linalg(Linalg::SolveTriangular { .. }) => exactly(2),
            Primitive::Linalg(_) => exactly(1),
        }
    }

    /// Checks what `infer` does not: axes, types, and numbers whose sums would overflow.
    fn check_params(&self, inputs: &[Array]) -> Checked {
        let ndim = inputs.first().map_or(0, Array::ndim);
        let dtype = |i: usize| inputs.get(i).map_or(Dtype::Bool, Array::dtype);
        let same = |range: std::ops::Range<usize>| {
            let alike = inputs[range.clone()].iter().all(|x| x.dtype() == dtype(range.start));
            demand(alike, "the inputs' types differ")
        };
        match self {
            Primitive::Data
            | Primitive::Load(_)
            | Primitive::Placeholder(_)
            | Primitive::Kernel(_)
            | Primitive::CustomFunction(_)
            | Primitive::Scalar(_)
            | Primitive::Cast(_)
            | Primitive::Identity(_)
            | Primitive::Bitcast(_)
            | Primitive::Transpose(_)
            | Primitive::MaskedScatter(_)
            | Primitive::Rope(_) => Ok(()),
            Primitive::Arange(op) => {
                let start = op.start.dtype();
                let step = if start.is_integer() { Dtype::I64 } else { Dtype::F64 };
                let right = start != Dtype::Bool && !start.is_complex() && op.step.dtype() == step;
                demand(right, "types of start and step")
            }
            Primitive::Unary(op) => {
                let (input, _) =
                    (op.info().class).resolve(op.name(), dtype(0)).map_err(|e| e.to_string())?;
                demand(input == dtype(0), "the input's type")
            }
            Primitive::Binary(op) => {
                let (input, _) = (op.info().class)
                    .resolve(op.info().name, dtype(0), dtype(1))
                    .map_err(|e| e.to_string())?;
                demand(input == dtype(0) && input == dtype(1), "the inputs' types")
            }
            Primitive::Select(_) => {
                demand(dtype(0) == Dtype::Bool, "the condition's type")?;
                same(1..3)
            }
            Primitive::Reduce(op) => {
                below(&op.axes, ndim)?;
                let ordered = op.axes.windows(2).all(|pair| pair[0] < pair[1]);
                demand(ordered, "axes are not in order")?;
                let class = crate::op::reduce::REDUCTIONS[op.op as usize].class;
                demand(class.resolve(dtype(0)) == dtype(0), "the input's type")
            }
            Primitive::ArgReduce(op) => below(&[op.axis], ndim),
            Primitive::Scan(op) => below(&[op.axis], ndim),
            Primitive::Sort(op) => below(&[op.axis], ndim),
            Primitive::ArgSort(op) => below(&[op.axis], ndim),
            Primitive::GatherAxis(op) => below(&[op.axis], ndim),
            Primitive::ScatterAxis(op) => below(&[op.axis], ndim),
            Primitive::Concatenate(op) => {
                below(&[op.axis], ndim)?;
                same(0..inputs.len())
            }
            Primitive::Broadcast(op) => check_aval(&Aval::new(op.shape.clone(), dtype(0))),
            Primitive::Reshape(op) => check_aval(&Aval::new(op.shape.clone(), dtype(0))),
            Primitive::Slice(op) => check_steps(&op.start, &op.step, &op.shape),
            Primitive::SliceUpdate(op) => check_steps(&op.start, &op.step, inputs[1].shape()),
            Primitive::AsStrided(op) => {
                demand(op.shape.len() == op.strides.len(), "shape and strides differ in rank")?;
                check_steps(&[op.offset], &op.strides, &op.shape)
            }
            Primitive::Gather(_)
            | Primitive::DynamicSlice(_)
            | Primitive::Scatter(_)
            | Primitive::DynamicSliceUpdate(_) => demand(ndim > 0, "an array without axes"),
            Primitive::Matmul(_) | Primitive::Conv(_) => {
                if let Primitive::Conv(op) = self {
                    let small = |n: &usize| *n <= u32::MAX as usize;
                    let lengths = op.stride.iter().chain(&op.kernel_dilation);
                    let right = lengths.chain(&op.input_dilation).all(small)
                        && op.low.iter().chain(&op.high).all(|n| small(&n.unsigned_abs()));
                    demand(right, "a distance is too large")?;
                }
                same(0..2)
            }
            Primitive::MaskedMatmul(_) => {
                demand(dtype(0).is_floating(), "the type of the operands")?;
                same(0..2)
            }
            Primitive::Quantize(op) => check_format(op.format),
            Primitive::Dequantize(op) => check_format(op.format),
            Primitive::QuantizedMatmul(op) => check_format(op.format),
            Primitive::GroupedMatmul(op) => match op.matrices {
                Matrices::Dense => demand(dtype(0) == dtype(3), "the inputs' types differ"),
                Matrices::Quantized { format, .. } => check_format(format),
            },
            Primitive::RandomBits(op) => demand(matches!(op.width, 1 | 2 | 4), "the width"),
            Primitive::Attention(_) | Primitive::AttentionGrad(_) => {
                demand(dtype(0).is_floating(), "the type of the queries")?;
                same(0..3)
            }
            Primitive::Linalg(op) => {
                let factors = matches!(op, Linalg::LuSolve { .. });
                let right = !factors
                    || (inputs[1].shape() == inputs[0].shape()
                        && dtype(1) == dtype(0)
                        && dtype(2) == Dtype::U32
                        && ndim > 0
                        && inputs[2].shape() == &inputs[0].shape()[..ndim - 1]);
                demand(right, "the factors do not fit the matrix")
            }
            Primitive::Fft(op) => {
                below(&[op.axis], ndim)?;
                demand(op.len <= MOST, "the length")?;
                let expected = match op.kind {
                    FftKind::FromReal { .. } => Dtype::F32,
                    FftKind::Forward | FftKind::Inverse | FftKind::ToReal { .. } => Dtype::C64,
                };
                demand(dtype(0) == expected, "the signal's type")
            }
        }
    }
}
