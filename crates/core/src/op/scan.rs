//! Running reductions along an axis.

use super::gather::GatherAxis;
use super::scatter::{ScatterAxis, UpdateMode};
use super::{Avals, Batched, Derivative, Rules, beside_batch, conjugated, index_dtype, like, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::for_each_scan;
use crate::op::reduce::ReduceClass;
use crate::shape::{Shape, normalize_axis};
use serde::{Deserialize, Serialize};

/// What the table says of one scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanInfo {
    /// The op.
    pub op: ScanOp,
    /// The function's name.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// The functor's text.
    pub cuda: &'static str,
}

macro_rules! define_scans {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        start: $start:ident, cpu: |$x:ident, $y:ident| $cpu:expr, cuda: $cuda:literal,
    })*) => {
        /// The scan rows of the op table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        pub enum ScanOp { $($(#[doc = $doc])* $Op,)* }

        /// Every scan, in the table's order.
        pub static SCANS: &[ScanInfo] = &[$(ScanInfo {
            op: ScanOp::$Op, name: stringify!($name), doc: concat!($($doc),*), cuda: $cuda,
        }),*];

        impl Array {
            $(
                $(#[doc = $doc])*
                ///
                /// Along `axis`; from the end if `reverse`; element `i` of the result includes
                /// element `i` of the input if `inclusive`, else only those before it.
                ///
                /// # Errors
                /// Kind `Axis` if the axis is out of range.
                pub fn $name(&self, axis: i64, reverse: bool, inclusive: bool) -> Result<Array> {
                    scan(ScanOp::$Op, self, axis, reverse, inclusive)
                }
            )*
        }
    };
}
for_each_scan!(define_scans);

impl ScanOp {
    /// The op's row.
    pub fn info(self) -> &'static ScanInfo {
        &SCANS[self as usize]
    }
}

/// A running reduction along `axis`. Half types accumulate in `float32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Scan {
    /// Which row.
    pub op: ScanOp,
    /// The axis.
    pub axis: usize,
    /// True iff the scan starts at the end.
    pub reverse: bool,
    /// True iff element `i` of the result includes element `i` of the input.
    pub inclusive: bool,
}

/// A running reduction along `axis`.
///
/// # Errors
/// Kind `Axis` if the axis is out of range.
pub fn scan(op: ScanOp, x: &Array, axis: i64, reverse: bool, inclusive: bool) -> Result<Array> {
    let axis = normalize_axis(op.info().name, axis, x.ndim())?;
    let dtype = match op {
        ScanOp::CumSum | ScanOp::CumProd => ReduceClass::Additive.resolve(x.dtype()),
        ScanOp::CumMin | ScanOp::CumMax => x.dtype(),
        ScanOp::LogCumSumExp => x.dtype().to_inexact(),
    };
    Array::apply(Scan { op, axis, reverse, inclusive }, &[x.astype(dtype)?])
}

impl Rules for Scan {
    fn name(&self) -> &'static str {
        self.op.info().name
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(inputs[0].shape(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        match self.op {
            ScanOp::CumSum => Derivative::Linear(&[]),
            _ => Derivative::Custom,
        }
    }

    fn transpose(
        &self,
        _place: usize,
        _inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let back = Scan { reverse: !self.reverse, ..*self };
        cotangents[0].as_ref().map(|ct| Array::apply(back, std::slice::from_ref(ct))).transpose()
    }

    fn jvp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        let Some(t) = &tangents[0] else { return Ok(vec![None]) };
        Ok(vec![Some(match self.op {
            ScanOp::CumMax | ScanOp::CumMin => {
                let picked = GatherAxis { axis: self.axis };
                self.shifted(&Array::apply(picked, &[t.clone(), self.choice(&inputs[0])?])?, false)?
            }
            _ => {
                let mut total = t.zeros_like()?;
                for [after, before] in self.factors(&inputs[0], &outputs[0])? {
                    let part = self.sum(&before.multiply(&widened(t, &before)?)?, false)?;
                    total = total.add(&after.multiply(&part)?.astype(t.dtype())?)?;
                }
                total
            }
        })])
    }

    fn vjp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let Some(ct) = &cotangents[0] else { return Ok(vec![None]) };
        Ok(vec![Some(match self.op {
            ScanOp::CumMax | ScanOp::CumMin => {
                let add = ScatterAxis { axis: self.axis, mode: UpdateMode::Add };
                let ct = self.shifted(ct, true)?;
                Array::apply(add, &[ct.zeros_like()?, self.choice(&inputs[0])?, ct])?
            }
            _ => {
                let mut total = ct.zeros_like()?;
                for [after, before] in self.factors(&inputs[0], &outputs[0])? {
                    let ct_here = conjugated(&after)?.multiply(&widened(ct, &after)?)?;
                    let part = conjugated(&before)?.multiply(&self.sum(&ct_here, true)?)?;
                    total = total.add(&part.astype(ct.dtype())?)?;
                }
                total
            }
        })])
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let axis = beside_batch(self.axis, axes[0]);
        Ok((vec![Array::apply(Scan { axis, ..*self }, inputs)?], vec![axes[0]]))
    }
}

/// `x` in the type in which `factor` was computed.
fn widened(x: &Array, factor: &Array) -> Result<Array> {
    x.astype(factor.dtype())
}

impl Scan {
    /// The running sum over the same elements, or its transpose.
    fn sum(&self, x: &Array, transpose: bool) -> Result<Array> {
        let reverse = self.reverse != transpose;
        let op = Scan { op: ScanOp::CumSum, reverse, ..*self };
        Array::apply(op, std::slice::from_ref(x))
    }

    /// Pairs `(a, b)` such that the derivative along `t` is the sum of `a * cumsum(b * t)`.
    ///
    /// For the product: `y * cumsum(t / x)` over the elements that are not zero, and the tangent
    /// of the first zero times the product of all others (second derivatives in two zeros at once
    /// are left out). For logcumsumexp it is
    /// `exp(c - y) * cumsum(exp(x - c) * t)` with the greatest element `c`, in `float64` so that
    /// the exponentials have room.
    fn factors(&self, x: &Array, y: &Array) -> Result<Vec<[Array; 2]>> {
        if self.op == ScanOp::LogCumSumExp {
            if x.is_empty() {
                return Ok(Vec::new());
            }
            let axis = [self.axis as i64];
            let (x, y) = (x.astype(Dtype::F64)?, y.astype(Dtype::F64)?);
            let top = x.max(Some(&axis), true)?.stop_gradient()?;
            // Beyond this the factor would overflow; what it multiplies is 0 there.
            let room = top.subtract(&y)?.minimum(&like(&y, 700.0))?;
            return Ok(vec![[room.exp()?, x.subtract(&top)?.exp()?]]);
        }
        let zero = x.equal(&like(x, 0.0))?;
        let count = Scan { op: ScanOp::CumSum, inclusive: true, ..*self };
        let seen = zero.astype(index_dtype(x.len()))?;
        let seen = Array::apply(count, &[seen])?;
        let first = zero.logical_and(&seen.equal(&like(&seen, 1.0))?)?;
        let nonzero = zero.select(&like(x, 1.0), x)?;
        let inverse = zero.select(&like(x, 0.0), &nonzero.reciprocal()?)?;
        let without = first.select(&like(x, 1.0), x)?;
        let others = Array::apply(*self, &[without])?;
        Ok(vec![[y.clone(), inverse], [others, first.astype(x.dtype())?]])
    }

    /// The place along the axis of the latest element that the running extreme, itself included,
    /// comes from.
    fn choice(&self, x: &Array) -> Result<Array> {
        let n = x.shape()[self.axis];
        let extreme = Array::apply(Scan { inclusive: true, ..*self }, std::slice::from_ref(x))?;
        let mut column = Shape::from_elem(1, x.ndim());
        column[self.axis] = n;
        let place = Array::iota(0.0, 1.0, n, index_dtype(n))?.reshape(&column)?;
        let none = if self.reverse { n.saturating_sub(1) } else { 0 };
        let hit = x.equal(&extreme)?.select(&place, &like(&place, none as f64))?;
        let op = if self.reverse { ScanOp::CumMin } else { ScanOp::CumMax };
        Array::apply(Scan { op, inclusive: true, ..*self }, &[hit])
    }

    /// Turns values of the inclusive scan into those of the exclusive one by a shift of one place,
    /// or transposes that shift; nothing for an inclusive scan.
    fn shifted(&self, x: &Array, transpose: bool) -> Result<Array> {
        let n = x.shape()[self.axis];
        if self.inclusive || n == 0 {
            return Ok(x.clone());
        }
        let zero = x.pinned_range(self.axis, 0, 1)?.zeros_like()?;
        let axis = self.axis as i64;
        if self.reverse != transpose {
            Array::concatenate(&[x.pinned_range(self.axis, 1, n - 1)?, zero], axis)
        } else {
            Array::concatenate(&[zero, x.pinned_range(self.axis, 0, n - 1)?], axis)
        }
    }
}
