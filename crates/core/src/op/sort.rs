//! Sorting along an axis. NaN sorts last; equal elements keep their order.

use super::gather::GatherAxis;
use super::scatter::{ScatterAxis, UpdateMode};
use super::{Avals, Batched, Derivative, Rules, beside_batch, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{normalize_axis, show};
use serde::{Deserialize, Serialize};

/// The elements in increasing order along `axis`. With `kth`, only so far that element `kth` is in
/// its place, none before it is greater, and none after it is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Sort {
    /// The axis.
    pub axis: usize,
    /// The element that must be in its place, or all.
    pub kth: Option<usize>,
}

/// The places (`uint32`) of the elements in the order that [`Sort`] of the same params gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct ArgSort {
    /// The axis.
    pub axis: usize,
    /// The element that must be in its place, or all.
    pub kth: Option<usize>,
}

impl Rules for Sort {
    fn name(&self) -> &'static str {
        if self.kth.is_some() { "partition" } else { "sort" }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        check_sort(self.name(), &inputs[0], self.axis, self.kth)?;
        one(inputs[0].shape(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }

    fn jvp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        let Some(t) = &tangents[0] else { return Ok(vec![None]) };
        let pick = GatherAxis { axis: self.axis };
        Array::apply(pick, &[t.clone(), self.order(inputs)?]).map(|t| vec![Some(t)])
    }

    fn vjp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let Some(ct) = &cotangents[0] else { return Ok(vec![None]) };
        let put = ScatterAxis { axis: self.axis, mode: UpdateMode::Set };
        let back = Array::apply(put, &[ct.zeros_like()?, self.order(inputs)?, ct.clone()])?;
        Ok(vec![Some(back)])
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let op = Sort { axis: beside_batch(self.axis, axes[0]), kth: self.kth };
        Ok((vec![Array::apply(op, inputs)?], vec![axes[0]]))
    }
}

impl Sort {
    fn order(&self, inputs: &[Array]) -> Result<Array> {
        Array::apply(ArgSort { axis: self.axis, kth: self.kth }, &inputs[..1])
    }
}

fn check_sort(op: &'static str, x: &Array, axis: usize, kth: Option<usize>) -> Result<()> {
    let n = x.shape()[axis];
    if n > u32::MAX as usize {
        let message = format!("axis {axis} of {} has more than 2^32 elements", show(x.shape()));
        return Err(Error::shape(op, &[x.shape()], message));
    }
    match kth {
        Some(k) if k >= n => Err(Error::index(op, k as i64, axis as i64, n)),
        _ => Ok(()),
    }
}

impl Rules for ArgSort {
    fn name(&self) -> &'static str {
        if self.kth.is_some() { "argpartition" } else { "argsort" }
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        check_sort(self.name(), &inputs[0], self.axis, self.kth)?;
        one(inputs[0].shape(), Dtype::U32)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let op = ArgSort { axis: beside_batch(self.axis, axes[0]), kth: self.kth };
        Ok((vec![Array::apply(op, inputs)?], vec![axes[0]]))
    }
}

/// The array and axis to sort: the flattened array for `None`.
fn sorting(op: &'static str, x: &Array, axis: Option<i64>) -> Result<(Array, usize)> {
    match axis {
        Some(axis) => Ok((x.clone(), normalize_axis(op, axis, x.ndim())?)),
        None => Ok((x.flatten(0, -1)?, 0)),
    }
}

/// `kth` counted from the front.
fn place(op: &'static str, kth: i64, axis: usize, n: usize) -> Result<Option<usize>> {
    let at = if kth < 0 { kth + n as i64 } else { kth };
    if at < 0 || at >= n as i64 {
        return Err(Error::index(op, kth, axis as i64, n));
    }
    Ok(Some(at as usize))
}

impl Array {
    /// The elements in increasing order along `axis`, of the flattened array if `None`. NaN comes
    /// last; equal elements keep their order.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range.
    pub fn sort(&self, axis: Option<i64>) -> Result<Array> {
        let (x, axis) = sorting("sort", self, axis)?;
        Array::apply(Sort { axis, kth: None }, &[x])
    }

    /// The places (`uint32`) of the elements in increasing order along `axis`, of the flattened
    /// array if `None`.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range.
    pub fn argsort(&self, axis: Option<i64>) -> Result<Array> {
        let (x, axis) = sorting("argsort", self, axis)?;
        Array::apply(ArgSort { axis, kth: None }, &[x])
    }

    /// The elements along `axis` (of the flattened array if `None`) so far in order that element
    /// `kth` is in its place, none before it is greater and none after it is less.
    ///
    /// # Errors
    /// Kind `Axis` if the axis or `kth` is out of range.
    pub fn partition(&self, kth: i64, axis: Option<i64>) -> Result<Array> {
        let (x, axis) = sorting("partition", self, axis)?;
        let kth = place("partition", kth, axis, x.shape()[axis])?;
        Array::apply(Sort { axis, kth }, &[x])
    }

    /// The places (`uint32`) of the elements in the order of [`Array::partition`].
    ///
    /// # Errors
    /// Kind `Axis` if the axis or `kth` is out of range.
    pub fn argpartition(&self, kth: i64, axis: Option<i64>) -> Result<Array> {
        let (x, axis) = sorting("argpartition", self, axis)?;
        let kth = place("argpartition", kth, axis, x.shape()[axis])?;
        Array::apply(ArgSort { axis, kth }, &[x])
    }

    /// The `k` greatest elements along `axis` (of the flattened array if `None`), in no order that
    /// one may rely on.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Argument` if there are fewer than `k` elements.
    pub fn topk(&self, k: usize, axis: Option<i64>) -> Result<Array> {
        let (x, axis) = sorting("topk", self, axis)?;
        let n = x.shape()[axis];
        if k > n {
            let message = format!("k is {k}, but axis {axis} has only {n} elements");
            return Err(Error::argument("topk", message));
        }
        if k == n {
            return Ok(x);
        }
        if k == 0 {
            return x.slice_axis(axis, Some(0), Some(0), 1);
        }
        let sorted = Array::apply(Sort { axis, kth: Some(n - k) }, &[x])?;
        sorted.slice_axis(axis, Some(-(k as i64)), None, 1)
    }
}
