//! Running reductions along an axis.

use super::{Avals, Batched, Derivative, Rules, one};
use crate::array::Array;
use crate::error::Result;
use crate::for_each_scan;
use crate::op::reduce::ReduceClass;
use crate::shape::normalize_axis;

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
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let axis = axes[0].map_or(self.axis, |b| self.axis + usize::from(self.axis >= b));
        Ok((vec![Array::apply(Scan { axis, ..*self }, inputs)?], vec![axes[0]]))
    }
}
