//! Reading at places that are arrays: gather, take, take_along_axis, dynamic slices.
//!
//! Indices are `int32`, `int64`, `uint32` or `uint64`, may be negative, and are checked against the
//! axis when the op runs: one out of range is an error that names axis, index and size.

use super::scatter::{DynamicSliceUpdate, Scatter, ScatterAxis, UpdateMode};
use super::{
    Aval, Avals, Batched, Derivative, Rules, batch_first, behind_batch, index_dtype, like, one,
    prepend, with_batch,
};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Axes, Shape, normalize_axes, normalize_axis, show};
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// Inputs: `src`, then one index array for each of `axes`, all of one shape `I`. The result has
/// shape `I + slice`, where `slice` has an axis for each axis of `src`; its element `(i, s)` is
/// `src[s + index(i)]`, the index being 0 along axes that are not in `axes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Gather {
    /// The indexed axes of `src`.
    pub axes: Axes,
    /// The shape of one slice.
    pub slice: Shape,
}

/// Inputs `src`, `indices` of equal rank and equal sizes along all other axes. Element `i` of the
/// result, which has the shape of `indices`, is `src` at `i` with `indices[i]` along `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct GatherAxis {
    /// The axis.
    pub axis: usize,
}

/// Inputs: `src`, `start` (1-d, one place for each of `axes`). The result has `shape`; it begins at
/// `start` along `axes` and at 0 along the others. A start beyond the last possible one is an
/// error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct DynamicSlice {
    /// The axes that `start` speaks of.
    pub axes: Axes,
    /// The result's shape.
    pub shape: Shape,
}

/// Checks that an index array has an integer type that can be read as an index.
pub(crate) fn check_index_dtype(op: &'static str, index: &Array) -> Result<()> {
    match index.dtype() {
        Dtype::I32 | Dtype::I64 | Dtype::U32 | Dtype::U64 => Ok(()),
        dtype => Err(Error::dtype(op, &[dtype], "int32, int64, uint32 or uint64 indices")),
    }
}

/// `index` in a type that the primitives take.
///
/// # Errors
/// Kind `Dtype` if it is not of an integer type.
pub(crate) fn as_index(op: &'static str, index: &Array) -> Result<Array> {
    match index.dtype() {
        Dtype::I32 | Dtype::I64 | Dtype::U32 | Dtype::U64 => Ok(index.clone()),
        dtype if dtype.is_integer() => index.astype(Dtype::I32),
        dtype => Err(Error::dtype(op, &[dtype], "an integer type for indices")),
    }
}

/// Checks that there is one index array for each axis, all of one shape.
pub(crate) fn check_indices(op: &'static str, axes: &[usize], indices: &[Array]) -> Result<()> {
    if axes.len() != indices.len() {
        let message = format!("{} index arrays for {} axes", indices.len(), axes.len());
        return Err(Error::argument(op, message));
    }
    for index in indices {
        check_index_dtype(op, index)?;
        if index.shape() != indices[0].shape() {
            let (a, b) = (indices[0].shape(), index.shape());
            let message = format!("index shapes {} and {} differ", show(a), show(b));
            return Err(Error::shape(op, &[a, b], message));
        }
    }
    Ok(())
}

/// Checks that a part of shape `part` fits `whole` and that `start` names a place for each axis.
pub(crate) fn check_dynamic(
    op: &'static str,
    whole: &[usize],
    part: &[usize],
    axes: &[usize],
    start: &Array,
) -> Result<()> {
    check_index_dtype(op, start)?;
    if part.len() != whole.len() || part.iter().zip(whole).any(|(p, w)| p > w) {
        let message = format!("a part of {} does not fit {}", show(part), show(whole));
        return Err(Error::shape(op, &[part, whole], message));
    }
    if start.shape() != [axes.len()] || axes.iter().any(|&a| a >= whole.len()) {
        let message = format!(
            "start of shape {} for axes {axes:?} of {}; one place for each axis is needed",
            show(start.shape()),
            show(whole)
        );
        return Err(Error::shape(op, &[start.shape(), whole], message));
    }
    Ok(())
}

/// The indices for a gather or scatter on a source with its batch axis in front: those of the
/// batch, whose batch axes go to the front, and a first one that counts the examples.
pub(crate) fn batch_indices(
    indices: &[Array],
    axes: &[Option<usize>],
    batch: usize,
) -> Result<Vec<Array>> {
    let indices = indices.iter().zip(axes).map(|(x, &axis)| with_batch(x, axis, batch));
    let mut out = indices.collect::<Result<Vec<_>>>()?;
    let ndim = out.first().map_or(1, Array::ndim);
    let mut column = Shape::from_elem(1, ndim);
    column[0] = batch;
    let count = Array::iota(0.0, 1.0, batch, index_dtype(batch))?.reshape(&column)?;
    let shape = out.first().map_or(column, |x| x.shape().into());
    out.insert(0, count.broadcast_to(&shape)?);
    Ok(out)
}

/// The places of a dynamic slice as one index array for each axis: `start (..., k)` gives `k` of
/// shape `(...)`.
pub(crate) fn start_indices(start: &Array) -> Result<Vec<Array>> {
    let last = start.ndim() - 1;
    (0..start.shape()[last]).map(|i| start.at_axis(last, i)).collect()
}

/// The 1-d index of an along-axis access that picks whole slices: `indices` has size 1, or the
/// stride 0 of a broadcast, along all other axes. Whole slices are picked at memory speed.
pub(crate) fn whole_slices(x: &Array, indices: &Array, axis: usize) -> Result<Option<Array>> {
    let line =
        |i: &Array| i.ndim() == x.ndim() && (0..i.ndim()).all(|a| a == axis || i.shape()[a] == 1);
    let base = match &indices.node.op {
        super::Primitive::Broadcast(_) => indices.node.inputs().into_iter().next(),
        _ => None,
    };
    // A broadcast along the axis itself picks one slice several times.
    let base = base.filter(|b| {
        indices.ndim() == x.ndim()
            && line(b)
            && b.shape()[axis] == indices.shape()[axis]
            && (0..x.ndim()).all(|a| a == axis || indices.shape()[a] == x.shape()[a])
    });
    match base.or_else(|| line(indices).then(|| indices.clone())) {
        Some(index) if x.ndim() > 1 => Ok(Some(index.reshape(&[index.len()])?)),
        _ => Ok(None),
    }
}

impl Array {
    /// The elements at `indices` along `axis`, or of the flattened array if `None`. The result has
    /// the shape of `indices` in place of the axis: `x (a, n, b)`, `indices (i, j)`, axis 1 give
    /// `(a, i, j, b)`. Negative indices count from the end.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Dtype` if the indices are not integers. An index
    /// out of range is an error of evaluation.
    pub fn take(&self, indices: &Array, axis: Option<i64>) -> Result<Array> {
        let Some(axis) = axis else {
            return self.flatten(0, -1)?.take(indices, Some(0));
        };
        let axis = normalize_axis("take", axis, self.ndim())?;
        let mut slice: Shape = self.shape().into();
        slice[axis] = slice[axis].min(1);
        let op = Gather { axes: Axes::from_iter([axis]), slice };
        let out = Array::apply(op, &[self.clone(), as_index("take", indices)?])?;
        let ndim = indices.ndim();
        let out = super::reduce::drop_axes(&out, &[ndim + axis])?;
        // The index axes come first; they belong at the place of the axis.
        let order: Vec<i64> = (ndim..ndim + axis)
            .chain(0..ndim)
            .chain(ndim + axis..out.ndim())
            .map(|a| a as i64)
            .collect();
        out.transpose(Some(&order))
    }

    /// Element `i` of the result is this array at `i` with `indices[i]` along `axis`; over the
    /// flattened array if `None`. The other axes broadcast.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if the ranks differ or sizes cannot be
    /// broadcast, `Dtype` if the indices are not integers. An index out of range is an error of
    /// evaluation.
    pub fn take_along_axis(&self, indices: &Array, axis: Option<i64>) -> Result<Array> {
        let Some(axis) = axis else {
            return self.flatten(0, -1)?.take_along_axis(indices, Some(0));
        };
        let axis = normalize_axis("take_along_axis", axis, self.ndim())?;
        if let Some(whole) = whole_slices(self, indices, axis)? {
            return self.take(&whole, Some(axis as i64));
        }
        let (src, index) = match_but(axis, "take_along_axis", self, indices)?;
        Array::apply(GatherAxis { axis }, &[src, as_index("take_along_axis", &index)?])
    }

    /// Slices of shape `slice` whose places along `axes` are in `indices`, which broadcast to one
    /// shape `I`; the result has shape `I + slice`. Element `(i, s)` is `self[s + index(i)]`.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Shape` if a slice does not fit or the indices do
    /// not broadcast, `Argument` if the numbers of indices and axes differ, `Dtype` if the indices
    /// are not integers. An index out of range is an error of evaluation.
    pub fn gather(&self, indices: &[Array], axes: &[i64], slice: &[usize]) -> Result<Array> {
        let (axes, indices) = named_indices("gather", self, indices, axes)?;
        let mut inputs = vec![self.clone()];
        inputs.extend(indices);
        Array::apply(Gather { axes, slice: slice.into() }, &inputs)
    }

    /// The part of shape `shape` that begins at `start` (1-d, one place for each of `axes`) along
    /// `axes` and at 0 along the others. The start may change without planning anew.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Shape` if the part does not fit, `Dtype` if the
    /// start is not of an integer type. A part that would end outside is an error of evaluation.
    pub fn slice_dynamic(&self, start: &Array, axes: &[i64], shape: &[usize]) -> Result<Array> {
        let axes = distinct_axes("dynamic_slice", axes, self.ndim())?;
        let start = as_index("dynamic_slice", &start.flatten(0, -1)?)?;
        Array::apply(DynamicSlice { axes, shape: shape.into() }, &[self.clone(), start])
    }
}

/// The axes from the front, in the order given.
pub(crate) fn distinct_axes(op: &'static str, axes: &[i64], ndim: usize) -> Result<Axes> {
    normalize_axes(op, axes, ndim)?;
    axes.iter().map(|&a| normalize_axis(op, a, ndim)).collect()
}

/// The axes from the front, and the indices broadcast to one shape.
pub(crate) fn named_indices(
    op: &'static str,
    x: &Array,
    indices: &[Array],
    axes: &[i64],
) -> Result<(Axes, Vec<Array>)> {
    let axes = distinct_axes(op, axes, x.ndim())?;
    let indices = indices.iter().map(|i| as_index(op, i)).collect::<Result<Vec<_>>>()?;
    Ok((axes, Array::broadcast_arrays(&indices)?))
}

/// Two arrays of equal rank broadcast to each other along all axes but one.
pub(crate) fn match_but(
    axis: usize,
    op: &'static str,
    a: &Array,
    b: &Array,
) -> Result<(Array, Array)> {
    if a.ndim() != b.ndim() {
        let message = format!(
            "source {} and indices {} have different numbers of axes",
            show(a.shape()),
            show(b.shape())
        );
        return Err(Error::shape(op, &[a.shape(), b.shape()], message));
    }
    let (mut from, mut to): (Shape, Shape) = (a.shape().into(), b.shape().into());
    (from[axis], to[axis]) = (1, 1);
    let common = crate::shape::broadcast_shapes(op, &from, &to)?;
    let widen = |x: &Array| {
        let mut shape = common.clone();
        shape[axis] = x.shape()[axis];
        x.broadcast_to(&shape)
    };
    Ok((widen(a)?, widen(b)?))
}

impl Rules for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let src = inputs[0].shape();
        let fits = self.slice.len() == src.len()
            && self.slice.iter().zip(src).all(|(&s, &n)| s <= n)
            && self.axes.iter().all(|&a| a < src.len());
        if !fits {
            let message = format!("slices of {} do not fit {}", show(&self.slice), show(src));
            return Err(Error::shape("gather", &[&self.slice, src], message));
        }
        check_indices("gather", &self.axes, &inputs[1..])?;
        let mut shape: Shape = inputs[1..].first().map_or_else(Shape::new, |i| i.shape().into());
        shape.extend_from_slice(&self.slice);
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let zeros = like(ct, 0.0).broadcast_like(&inputs[0])?;
        let op = Scatter { axes: self.axes.clone(), mode: UpdateMode::Add };
        let mut all = vec![zeros, ct.clone()];
        all.extend_from_slice(&inputs[1..]);
        Array::apply(op, &all).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let ndim = inputs.get(1).map_or(0, |i| i.ndim() - usize::from(axes[1].is_some()));
        let src = batch_first(&inputs[0], axes[0])?;
        let indexed = axes[1..].iter().any(Option::is_some);
        let mut all = vec![src];
        if axes[0].is_none() {
            let indices = inputs[1..].iter().zip(&axes[1..]);
            for (index, &axis) in indices {
                all.push(with_batch(index, axis, batch)?);
            }
            return Ok((vec![Array::apply(self.clone(), &all)?], vec![Some(0)]));
        }
        if !indexed {
            all.extend_from_slice(&inputs[1..]);
            let slice = prepend(batch, &self.slice);
            let op = Gather { axes: behind_batch(&self.axes), slice };
            return Ok((vec![Array::apply(op, &all)?], vec![Some(ndim)]));
        }
        all.extend(batch_indices(&inputs[1..], &axes[1..], batch)?);
        let op = Gather {
            axes: prepend(0, &behind_batch(&self.axes)),
            slice: prepend(batch.min(1), &self.slice),
        };
        let out = Array::apply(op, &all)?;
        Ok((vec![super::reduce::drop_axes(&out, &[1 + ndim])?], vec![Some(0)]))
    }

    /// Slices that took all of an axis follow its size.
    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Self> {
        let follow = |(a, (&s, &n)): (usize, (&usize, &usize))| {
            if s == n && !self.axes.contains(&a) { inputs[0].shape()[a] } else { s }
        };
        let slice = self.slice.iter().zip(&old[0].shape).enumerate().map(follow).collect();
        Ok(Gather { axes: self.axes.clone(), slice })
    }

    fn key(&self, state: &mut impl Hasher) {
        self.axes.hash(state);
    }
}

impl Rules for GatherAxis {
    fn name(&self) -> &'static str {
        "take_along_axis"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (src, index) = (inputs[0].shape(), inputs[1].shape());
        let same = |a: usize| a == self.axis || src[a] == index[a];
        if src.len() != index.len() || !(0..src.len()).all(same) {
            let message = format!(
                "source {} and indices {} differ in another axis than {}",
                show(src),
                show(index),
                self.axis
            );
            return Err(Error::shape("take_along_axis", &[src, index], message));
        }
        check_index_dtype("take_along_axis", &inputs[1])?;
        one(index, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let n = inputs[0].shape()[self.axis];
        if inputs[1].shape()[self.axis] == 1 && n > 1 {
            // One place of each row: a comparison, which fuses with what the result is added to.
            let dtype = index_dtype(n);
            let index = inputs[1].astype(dtype)?;
            let from_end = index.add(&like(&index, n as f64))?;
            let index = index.less(&like(&index, 0.0))?.select(&from_end, &index)?;
            let mut shape: Shape = std::iter::repeat_n(1, inputs[0].ndim()).collect();
            shape[self.axis] = n;
            let places = Array::iota(0.0, 1.0, n, dtype)?.reshape(&shape)?;
            return places.equal(&index)?.select(ct, &like(ct, 0.0)).map(Some);
        }
        let zeros = like(ct, 0.0).broadcast_like(&inputs[0])?;
        let op = ScatterAxis { axis: self.axis, mode: UpdateMode::Add };
        Array::apply(op, &[zeros, inputs[1].clone(), ct.clone()]).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let src = with_batch(&inputs[0], axes[0], batch)?;
        let indices = with_batch(&inputs[1], axes[1], batch)?;
        let op = GatherAxis { axis: self.axis + 1 };
        Ok((vec![Array::apply(op, &[src, indices])?], vec![Some(0)]))
    }
}

impl Rules for DynamicSlice {
    fn name(&self) -> &'static str {
        "dynamic_slice"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        check_dynamic("dynamic_slice", inputs[0].shape(), &self.shape, &self.axes, &inputs[1])?;
        one(self.shape.clone(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[0])
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let zeros = like(ct, 0.0).broadcast_like(&inputs[0])?;
        let op = DynamicSliceUpdate { axes: self.axes.clone(), mode: UpdateMode::Set };
        Array::apply(op, &[zeros, ct.clone(), inputs[1].clone()]).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        if axes[1].is_some() {
            // Starts that differ between examples are the indices of a gather.
            let start = batch_first(&inputs[1], axes[1])?;
            let op = Gather { axes: self.axes.clone(), slice: self.shape.clone() };
            let mut all = vec![inputs[0].clone()];
            all.extend(start_indices(&start)?);
            let mut places = vec![Some(0); all.len()];
            places[0] = axes[0];
            return op.vmap(&all, &places, batch);
        }
        let src = with_batch(&inputs[0], axes[0], batch)?;
        let op =
            DynamicSlice { axes: behind_batch(&self.axes), shape: prepend(batch, &self.shape) };
        Ok((vec![Array::apply(op, &[src, inputs[1].clone()])?], vec![Some(0)]))
    }

    /// Axes that the slice took whole follow the input's size.
    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Self> {
        let follow = |(a, (&s, &n)): (usize, (&usize, &usize))| {
            if s == n && !self.axes.contains(&a) { inputs[0].shape()[a] } else { s }
        };
        let shape = self.shape.iter().zip(&old[0].shape).enumerate().map(follow).collect();
        Ok(DynamicSlice { axes: self.axes.clone(), shape })
    }

    fn key(&self, state: &mut impl Hasher) {
        self.axes.hash(state);
    }
}
