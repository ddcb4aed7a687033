//! Writing at places that are arrays or slices: scatter, put_along_axis, slice_update, masked
//! updates. All return a new array; the planner writes in place where nobody else sees the old one.
//!
//! Indices are checked as in `gather.rs`.

use super::gather::{
    Gather, GatherAxis, as_index, batch_indices, check_dynamic, check_index_dtype, check_indices,
    distinct_axes, match_but, named_indices, start_indices,
};
use super::view::{Ends, Slice, check_range};
use super::{
    Aval, Avals, Batched, Derivative, Rules, batch_first, behind_batch, conjugated, index_dtype,
    like, one, prepend, with_batch,
};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Axes, Shape, Strides, normalize_axis, show};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// How an update meets the element that is there. Where several updates meet one element, the last
/// in row-major order wins (`Set`), or all join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum UpdateMode {
    /// Replaces it.
    Set,
    /// Is added.
    Add,
    /// Is multiplied in.
    Multiply,
    /// The greater one stays.
    Max,
    /// The lesser one stays.
    Min,
}

/// Inputs: `dst`, `updates`, then one index array for each of `axes`, all of one shape `I`.
/// `updates` has shape `I + slice` with an axis in `slice` for each axis of `dst`; element `(i, s)`
/// goes to `dst[s + index(i)]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Scatter {
    /// The indexed axes of `dst`.
    pub axes: Axes,
    /// How updates meet elements.
    pub mode: UpdateMode,
}

/// Inputs `dst`, `indices`, `updates`, the latter two of one shape and, but for `axis`, of `dst`'s
/// sizes. Element `i` of `updates` goes to `dst` at `i` with `indices[i]` along `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct ScatterAxis {
    /// The axis.
    pub axis: usize,
    /// How updates meet elements.
    pub mode: UpdateMode,
}

/// Inputs `dst`, `update`. Element `i` of `update` goes to `dst[start + i * step]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct SliceUpdate {
    /// The first element along each axis.
    pub start: SmallVec<[usize; 4]>,
    /// The step along each axis, not zero.
    pub step: Strides,
    /// How updates meet elements.
    pub mode: UpdateMode,
    /// What the bounds mean on a `dst` of another size.
    pub ends: Ends,
}

/// Inputs `dst`, `update`, `start` (1-d, one place for each of `axes`). The update goes to the place
/// that begins at `start` along `axes` and at 0 along the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct DynamicSliceUpdate {
    /// The axes that `start` speaks of.
    pub axes: Axes,
    /// How updates meet elements.
    pub mode: UpdateMode,
}

/// Inputs `dst`, `mask` (bool, of `dst`'s shape), `src` (1-d). The elements of `dst` under the mask,
/// in row-major order, become consecutive elements of `src`, which must have at least as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct MaskedScatter;

/// What the update ops share: writing to places and reading from them. Everything about
/// derivatives follows from these.
trait Update: Rules {
    /// Which input holds the updates; input 0 is the target, the others name the places.
    const UPDATES: usize;
    /// True iff no two updates meet in one element, so that their order does not matter.
    const DISTINCT: bool;

    fn mode(&self) -> UpdateMode;

    /// `updates` written to `dst` at the places of `inputs`.
    fn write(
        &self,
        mode: UpdateMode,
        dst: Array,
        updates: Array,
        inputs: &[Array],
    ) -> Result<Array>;

    /// The elements of `src` at the places of `inputs`, in the shape of the updates.
    fn read(&self, src: &Array, inputs: &[Array]) -> Result<Array>;

    /// The derivative of the result in the target (at each element) and in the updates (each, at
    /// its place). Elements that tie for the least or greatest share it equally; where several
    /// updates are set at one element, only the last has one.
    fn weights(&self, inputs: &[Array], output: &Array) -> Result<(Option<Array>, Option<Array>)> {
        let (dst, updates) = (&inputs[0], &inputs[Self::UPDATES]);
        let one = || dst.ones_like();
        Ok(match self.mode() {
            UpdateMode::Set => {
                let kept = self.write(UpdateMode::Set, one()?, updates.zeros_like()?, inputs)?;
                if Self::DISTINCT {
                    return Ok((Some(kept), None));
                }
                // Every update writes its number; who reads its own number back was the last.
                let dtype = index_dtype(updates.len());
                let number =
                    Array::iota(0.0, 1.0, updates.len(), dtype)?.reshape(updates.shape())?;
                let board = Array::zeros(dst.shape(), dtype)?;
                let board = self.write(UpdateMode::Set, board, number.clone(), inputs)?;
                let last = self.read(&board, inputs)?.equal(&number)?;
                (Some(kept), Some(last.astype(updates.dtype())?))
            }
            UpdateMode::Add => (None, None),
            UpdateMode::Multiply => {
                // The product of the other updates of an element, without dividing by zero.
                let zero = updates.equal(&like(updates, 0.0))?;
                let factor = zero.select(&like(updates, 1.0), updates)?;
                let product = self.write(UpdateMode::Multiply, one()?, factor.clone(), inputs)?;
                let count = zero.astype(updates.dtype())?;
                let zeros =
                    self.write(UpdateMode::Add, dst.zeros_like()?, count.clone(), inputs)?;
                let others = self.read(&zeros, inputs)?.subtract(&count)?;
                let others = others.equal(&like(&count, 0.0))?;
                let rest = self.read(&product.multiply(dst)?, inputs)?.divide(&factor)?;
                let rest = others.select(&rest, &like(&rest, 0.0))?;
                (
                    Some(self.write(UpdateMode::Multiply, one()?, updates.clone(), inputs)?),
                    Some(rest),
                )
            }
            UpdateMode::Max | UpdateMode::Min => {
                let held = dst.equal(output)?.astype(dst.dtype())?;
                let brought = updates.equal(&self.read(output, inputs)?)?.astype(dst.dtype())?;
                let count = self.write(UpdateMode::Add, held.clone(), brought.clone(), inputs)?;
                // An element that is NaN has no tie to share.
                let count = count.maximum(&like(&count, 1.0))?;
                let share = brought.divide(&self.read(&count, inputs)?)?;
                (Some(held.divide(&count)?), Some(share))
            }
        })
    }

    fn update_jvp(
        &self,
        inputs: &[Array],
        output: &Array,
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        let (dst, updates) = (&tangents[0], &tangents[Self::UPDATES]);
        if dst.is_none() && updates.is_none() {
            return Ok(vec![None]);
        }
        let (kept, share) = self.weights(inputs, output)?;
        let base = match dst {
            Some(t) => weighted(t, kept.as_ref())?,
            None => inputs[0].zeros_like()?,
        };
        let Some(t) = updates else { return Ok(vec![Some(base)]) };
        let t = weighted(t, share.as_ref())?;
        Ok(vec![Some(self.write(UpdateMode::Add, base, t, inputs)?)])
    }

    fn update_vjp(
        &self,
        inputs: &[Array],
        output: &Array,
        cotangent: Option<&Array>,
        wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let mut out = vec![None; inputs.len()];
        let Some(ct) = cotangent else { return Ok(out) };
        let (kept, share) = self.weights(inputs, output)?;
        let conj = |w: Option<Array>| w.map(|w| conjugated(&w)).transpose();
        if wanted[0] {
            out[0] = Some(weighted(ct, conj(kept)?.as_ref())?);
        }
        if wanted[Self::UPDATES] {
            let at = self.read(ct, inputs)?;
            out[Self::UPDATES] = Some(weighted(&at, conj(share)?.as_ref())?);
        }
        Ok(out)
    }
}

fn weighted(x: &Array, weight: Option<&Array>) -> Result<Array> {
    weight.map_or_else(|| Ok(x.clone()), |w| x.multiply(w))
}

fn mismatch(op: &'static str, dst: &[usize], updates: &[usize]) -> Error {
    let message = format!("updates of {} do not fit {}", show(updates), show(dst));
    Error::shape(op, &[updates, dst], message)
}

/// Checks that the updates have the target's dtype, which the front doors see to.
fn same_dtype(op: &'static str, dst: &Array, updates: &Array) -> Result<()> {
    if dst.dtype() == updates.dtype() {
        return Ok(());
    }
    Err(Error::dtype(op, &[dst.dtype(), updates.dtype()], "updates of the target's type"))
}

impl Update for Scatter {
    const UPDATES: usize = 1;
    const DISTINCT: bool = false;

    fn mode(&self) -> UpdateMode {
        self.mode
    }

    fn write(
        &self,
        mode: UpdateMode,
        dst: Array,
        updates: Array,
        inputs: &[Array],
    ) -> Result<Array> {
        let mut all = vec![dst, updates];
        all.extend_from_slice(&inputs[2..]);
        Array::apply(Scatter { axes: self.axes.clone(), mode }, &all)
    }

    fn read(&self, src: &Array, inputs: &[Array]) -> Result<Array> {
        let ndim = inputs.get(2).map_or(0, Array::ndim);
        let slice = inputs[1].shape()[ndim..].into();
        let mut all = vec![src.clone()];
        all.extend_from_slice(&inputs[2..]);
        Array::apply(Gather { axes: self.axes.clone(), slice }, &all)
    }
}

impl Update for ScatterAxis {
    const UPDATES: usize = 2;
    const DISTINCT: bool = false;

    fn mode(&self) -> UpdateMode {
        self.mode
    }

    fn write(
        &self,
        mode: UpdateMode,
        dst: Array,
        updates: Array,
        inputs: &[Array],
    ) -> Result<Array> {
        Array::apply(ScatterAxis { axis: self.axis, mode }, &[dst, inputs[1].clone(), updates])
    }

    fn read(&self, src: &Array, inputs: &[Array]) -> Result<Array> {
        Array::apply(GatherAxis { axis: self.axis }, &[src.clone(), inputs[1].clone()])
    }
}

impl Update for SliceUpdate {
    const UPDATES: usize = 1;
    const DISTINCT: bool = true;

    fn mode(&self) -> UpdateMode {
        self.mode
    }

    fn write(
        &self,
        mode: UpdateMode,
        dst: Array,
        updates: Array,
        _inputs: &[Array],
    ) -> Result<Array> {
        Array::apply(SliceUpdate { mode, ..self.clone() }, &[dst, updates])
    }

    fn read(&self, src: &Array, inputs: &[Array]) -> Result<Array> {
        src.slice_by(Slice {
            start: self.start.clone(),
            step: self.step.clone(),
            shape: inputs[1].shape().into(),
            ends: self.ends,
        })
    }
}

impl Update for DynamicSliceUpdate {
    const UPDATES: usize = 1;
    const DISTINCT: bool = true;

    fn mode(&self) -> UpdateMode {
        self.mode
    }

    fn write(
        &self,
        mode: UpdateMode,
        dst: Array,
        updates: Array,
        inputs: &[Array],
    ) -> Result<Array> {
        let op = DynamicSliceUpdate { axes: self.axes.clone(), mode };
        Array::apply(op, &[dst, updates, inputs[2].clone()])
    }

    fn read(&self, src: &Array, inputs: &[Array]) -> Result<Array> {
        let shape: Shape = inputs[1].shape().into();
        let op = super::gather::DynamicSlice { axes: self.axes.clone(), shape };
        Array::apply(op, &[src.clone(), inputs[2].clone()])
    }
}

macro_rules! update_rules {
    ($($Op:ty, $name:literal, |$op:ident, $state:ident| $key:expr, check: $check:expr,
        vmap: $vmap:expr, rebind: $rebind:expr;)*) => {
        $(impl Rules for $Op {
            fn name(&self) -> &'static str {
                $name
            }

            fn infer(&self, inputs: &[Array]) -> Result<Avals> {
                same_dtype($name, &inputs[0], &inputs[<$Op as Update>::UPDATES])?;
                let check: fn(&$Op, &[Array]) -> Result<()> = $check;
                check(self, inputs)?;
                one(inputs[0].shape(), inputs[0].dtype())
            }

            fn derivative(&self) -> Derivative {
                Derivative::Custom
            }

            fn jvp(
                &self,
                inputs: &[Array],
                outputs: &[Array],
                tangents: &[Option<Array>],
            ) -> Result<Vec<Option<Array>>> {
                self.update_jvp(inputs, &outputs[0], tangents)
            }

            fn vjp(
                &self,
                inputs: &[Array],
                outputs: &[Array],
                cotangents: &[Option<Array>],
                wanted: &[bool],
            ) -> Result<Vec<Option<Array>>> {
                self.update_vjp(inputs, &outputs[0], cotangents[0].as_ref(), wanted)
            }

            fn vmap(
                &self,
                inputs: &[Array],
                axes: &[Option<usize>],
                batch: usize,
            ) -> Result<Batched> {
                let vmap: fn(&$Op, &[Array], &[Option<usize>], usize) -> Result<Array> = $vmap;
                Ok((vec![vmap(self, inputs, axes, batch)?], vec![Some(0)]))
            }

            fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Self> {
                let rebind: fn(&$Op, &[Array], &[Aval]) -> Result<$Op> = $rebind;
                rebind(self, inputs, old)
            }

            fn key(&self, $state: &mut impl Hasher) {
                let $op = self;
                $key
            }
        })*
    };
}
update_rules! {
    Scatter, "scatter", |op, state| op.hash(state),
    check: |op, inputs| {
        check_indices("scatter", &op.axes, &inputs[2..])?;
        let (dst, updates) = (inputs[0].shape(), inputs[1].shape());
        let index = inputs.get(2).map_or(&[][..], |i| i.shape());
        let fits = updates.len() == index.len() + dst.len()
            && updates.starts_with(index)
            && updates[index.len()..].iter().zip(dst).all(|(u, d)| u <= d)
            && op.axes.iter().all(|&a| a < dst.len());
        if fits { Ok(()) } else { Err(mismatch("scatter", dst, updates)) }
    },
    vmap: |op, inputs, axes, batch| {
        let dst = with_batch(&inputs[0], axes[0], batch)?;
        let updates = with_batch(&inputs[1], axes[1], batch)?;
        let ndim = inputs.get(2).map_or(0, |i| i.ndim() - usize::from(axes[2].is_some()));
        if axes[2..].iter().all(Option::is_none) {
            let mut all = vec![dst, updates.moveaxis(0, ndim as i64)?];
            all.extend_from_slice(&inputs[2..]);
            return Array::apply(Scatter { axes: behind_batch(&op.axes), mode: op.mode }, &all);
        }
        let mut all = vec![dst, updates.expand_dims(&[1 + ndim as i64])?];
        all.extend(batch_indices(&inputs[2..], &axes[2..], batch)?);
        let axes = prepend(0, &behind_batch(&op.axes));
        Array::apply(Scatter { axes, mode: op.mode }, &all)
    },
    rebind: |op, _, _| Ok(op.clone());

    ScatterAxis, "put_along_axis", |op, state| op.hash(state),
    check: |op, inputs| {
        check_index_dtype("put_along_axis", &inputs[1])?;
        let (dst, index, updates) = (inputs[0].shape(), inputs[1].shape(), inputs[2].shape());
        let same = |a: usize| a == op.axis || dst[a] == index[a];
        let fits = index == updates && dst.len() == index.len() && (0..dst.len()).all(same);
        if fits { Ok(()) } else { Err(mismatch("put_along_axis", dst, updates)) }
    },
    vmap: |op, inputs, axes, batch| {
        let all = inputs.iter().zip(axes).map(|(x, &axis)| with_batch(x, axis, batch));
        let op = ScatterAxis { axis: op.axis + 1, mode: op.mode };
        Array::apply(op, &all.collect::<Result<Vec<_>>>()?)
    },
    rebind: |op, _, _| Ok(*op);

    SliceUpdate, "slice_update", |op, state| op.mode.hash(state),
    check: |op, inputs| {
        let (dst, updates) = (inputs[0].shape(), inputs[1].shape());
        check_range("slice_update", dst, &op.start, &op.step, updates)
    },
    vmap: |op, inputs, axes, batch| {
        let dst = with_batch(&inputs[0], axes[0], batch)?;
        let updates = with_batch(&inputs[1], axes[1], batch)?;
        let mut step = op.step.clone();
        step.insert(0, 1);
        let start = prepend(0, &op.start);
        let ends = op.ends.behind_batch();
        Array::apply(SliceUpdate { start, step, mode: op.mode, ends }, &[dst, updates])
    },
    rebind: |op, inputs, old| {
        let mut op = op.clone();
        for a in 0..op.start.len() {
            let sizes = (old[0].shape[a], inputs[0].shape()[a]);
            let len = inputs[1].shape()[a];
            if sizes.0 == sizes.1 && len <= old[1].shape[a] {
                continue;
            }
            let range = (op.start[a], op.step[a], old[1].shape[a]);
            let (start, want) = op.ends.follow("slice_update", a, range, sizes)?;
            if want != len && sizes.0 != sizes.1 {
                let message = format!(
                    "axis {a} of the updates has size {len} where the slice now has {want}; \
                     make the updates from arrays of that size"
                );
                return Err(Error::shape("slice_update", &[inputs[1].shape()], message));
            }
            op.start[a] = start;
        }
        Ok(op)
    };

    DynamicSliceUpdate, "dynamic_slice_update", |op, state| op.hash(state),
    check: |op, inputs| {
        let (dst, updates) = (inputs[0].shape(), inputs[1].shape());
        check_dynamic("dynamic_slice_update", dst, updates, &op.axes, &inputs[2])
    },
    vmap: |op, inputs, axes, batch| {
        if axes[2].is_some() {
            // Starts that differ between examples are the indices of a scatter.
            let start = batch_first(&inputs[2], axes[2])?;
            let mut all = inputs[..2].to_vec();
            all.extend(start_indices(&start)?);
            let mut places = vec![Some(0); all.len()];
            places[..2].copy_from_slice(&axes[..2]);
            let op = Scatter { axes: op.axes.clone(), mode: op.mode };
            return Ok(op.vmap(&all, &places, batch)?.0.swap_remove(0));
        }
        let dst = with_batch(&inputs[0], axes[0], batch)?;
        let updates = with_batch(&inputs[1], axes[1], batch)?;
        let op = DynamicSliceUpdate { axes: behind_batch(&op.axes), mode: op.mode };
        Array::apply(op, &[dst, updates, inputs[2].clone()])
    },
    rebind: |op, _, _| Ok(op.clone());
}

/// For each element under `mask (..., n)` its number among them along the last axis; 0 elsewhere.
fn ranks(mask: &Array) -> Result<Array> {
    let dtype = index_dtype(mask.len());
    let order = mask.astype(dtype)?.cumsum(-1, false, true)?;
    let rank = order.subtract(&like(&order, 1.0))?;
    mask.select(&rank, &like(&rank, 0.0))
}

impl Rules for MaskedScatter {
    fn name(&self) -> &'static str {
        "masked_scatter"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (dst, mask, src) = (&inputs[0], &inputs[1], &inputs[2]);
        same_dtype("masked_scatter", dst, src)?;
        if mask.dtype() != Dtype::Bool {
            return Err(Error::dtype("masked_scatter", &[mask.dtype()], "a bool mask"));
        }
        if mask.shape() != dst.shape() || src.ndim() != 1 {
            let message = format!(
                "array {}, mask {} and source {}; the mask needs the array's shape and the source \
                 one axis",
                show(dst.shape()),
                show(mask.shape()),
                show(src.shape())
            );
            return Err(Error::shape("masked_scatter", &[dst.shape(), mask.shape()], message));
        }
        one(dst.shape(), dst.dtype())
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
        if tangents[0].is_none() && tangents[2].is_none() {
            return Ok(vec![None]);
        }
        let tangent = |i: usize| tangents[i].clone().map_or_else(|| inputs[i].zeros_like(), Ok);
        Array::apply(*self, &[tangent(0)?, inputs[1].clone(), tangent(2)?]).map(|t| vec![Some(t)])
    }

    fn vjp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let mut out = vec![None; 3];
        let Some(ct) = &cotangents[0] else { return Ok(out) };
        let zero = like(ct, 0.0);
        if wanted[0] {
            out[0] = Some(inputs[1].select(&zero, ct)?);
        }
        if wanted[2] {
            let n = ct.len();
            let places = ranks(&inputs[1].reshape(&[n])?)?;
            let updates = inputs[1].select(ct, &zero)?.reshape(&[n])?;
            let add = ScatterAxis { axis: 0, mode: UpdateMode::Add };
            out[2] = Some(if inputs[2].is_empty() {
                inputs[2].zeros_like()?
            } else {
                Array::apply(add, &[inputs[2].zeros_like()?, places, updates])?
            });
        }
        Ok(out)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let all = inputs.iter().zip(axes).map(|(x, &axis)| with_batch(x, axis, batch));
        let all = all.collect::<Result<Vec<_>>>()?;
        let (dst, mask, src) = (&all[0], &all[1], &all[2]);
        if src.shape()[1] == 0 {
            return super::vmap_by_loop(self, inputs, axes, batch);
        }
        let n = dst.shape()[1..].iter().product();
        let places = ranks(&mask.reshape(&[batch, n])?)?;
        let picked = Array::apply(GatherAxis { axis: 1 }, &[src.clone(), places])?;
        Ok((vec![mask.select(&picked.reshape(dst.shape())?, dst)?], vec![Some(0)]))
    }
}

impl Array {
    /// A copy in which `values[i]` meets, by `mode`, the element at `i` with `indices[i]` along
    /// `axis`; over the flattened array if `None`. Values broadcast to the indices. Where several
    /// values are set at one element, the last in row-major order stays.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if ranks or sizes do not fit, `Dtype` if
    /// the indices are not integers. An index out of range is an error of evaluation.
    pub fn scatter_along_axis(
        &self,
        indices: &Array,
        values: &Array,
        axis: Option<i64>,
        mode: UpdateMode,
    ) -> Result<Array> {
        let Some(axis) = axis else {
            let flat = self.flatten(0, -1)?.scatter_along_axis(indices, values, Some(0), mode)?;
            return flat.reshape(self.shape());
        };
        let axis = normalize_axis("put_along_axis", axis, self.ndim())?;
        let mut row: Shape = self.shape().into();
        if indices.ndim() == row.len() {
            row[axis] = indices.shape()[axis];
        } else {
            match_but(axis, "put_along_axis", self, indices)?;
        }
        if let Some(whole) = super::gather::whole_slices(self, indices, axis)? {
            let slices = values.astype(self.dtype())?.broadcast_to(&row)?;
            let slices = slices.moveaxis(axis as i64, 0)?.expand_dims(&[axis as i64 + 1])?;
            return self.scatter(&[whole], &slices, &[axis as i64], mode);
        }
        let indices = as_index("put_along_axis", indices)?.broadcast_to(&row)?;
        let values = values.astype(self.dtype())?.broadcast_to(&row)?;
        Array::apply(ScatterAxis { axis, mode }, &[self.clone(), indices, values])
    }

    /// A copy with `values[i]` at `i` with `indices[i]` along `axis`; see
    /// [`Array::scatter_along_axis`].
    ///
    /// # Errors
    /// As [`Array::scatter_along_axis`].
    pub fn put_along_axis(
        &self,
        indices: &Array,
        values: &Array,
        axis: Option<i64>,
    ) -> Result<Array> {
        self.scatter_along_axis(indices, values, axis, UpdateMode::Set)
    }

    /// A copy in which slices meet, by `mode`, the slices whose places along `axes` are in
    /// `indices`, which broadcast to one shape `I`. `updates` has shape `I + slice` with an axis in
    /// `slice` for each axis of the array; element `(i, s)` goes to `s + index(i)`.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Shape` if the updates do not fit or the indices do
    /// not broadcast, `Argument` if the numbers of indices and axes differ, `Dtype` if the indices
    /// are not integers. An index out of range is an error of evaluation.
    pub fn scatter(
        &self,
        indices: &[Array],
        updates: &Array,
        axes: &[i64],
        mode: UpdateMode,
    ) -> Result<Array> {
        let (axes, indices) = named_indices("scatter", self, indices, axes)?;
        let mut inputs = vec![self.clone(), updates.astype(self.dtype())?];
        inputs.extend(indices);
        Array::apply(Scatter { axes, mode }, &inputs)
    }

    /// A copy in which `update`, which broadcasts to the slice, meets by `mode` the elements
    /// `start..stop` by `step` along each axis (Python's rules for bounds).
    ///
    /// # Errors
    /// Kind `Argument` if the numbers of bounds and axes differ or a step is 0, `Shape` if the
    /// update does not broadcast to the slice.
    pub fn slice_update(
        &self,
        update: &Array,
        start: &[i64],
        stop: &[i64],
        step: &[i64],
        mode: UpdateMode,
    ) -> Result<Array> {
        let mut op = self.whole();
        if [start.len(), stop.len(), step.len()] != [self.ndim(); 3] {
            let message = format!("bounds for {} axes, got {}", self.ndim(), start.len());
            return Err(Error::argument("slice_update", message));
        }
        for a in 0..self.ndim() {
            let bounds = (Some(start[a]), Some(stop[a]), step[a]);
            let (first, len, end) =
                super::shaping::resolve_slice(self.shape()[a], bounds.0, bounds.1, bounds.2)?;
            (op.start[a], op.step[a], op.shape[a]) = (first, step[a] as isize, len);
            op.ends = op.ends.with(a, end);
        }
        self.update_by(op, update, mode)
    }

    /// The update of a slice; `update` is converted and broadcast to it.
    pub(crate) fn update_by(&self, op: Slice, update: &Array, mode: UpdateMode) -> Result<Array> {
        let update = update.astype(self.dtype())?.broadcast_to(&op.shape)?;
        if op.shape.contains(&0) {
            return Ok(self.clone());
        }
        let op = SliceUpdate { start: op.start, step: op.step, mode, ends: op.ends };
        Array::apply(op, &[self.clone(), update])
    }

    /// A copy in which `update` replaces the part that begins at `start` (1-d, one place for each
    /// of `axes`) along `axes` and at 0 along the others. The start may change without planning
    /// anew.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Shape` if the update does not fit, `Dtype` if the
    /// start is not of an integer type. A part that would end outside is an error of evaluation.
    pub fn slice_update_dynamic(
        &self,
        update: &Array,
        start: &Array,
        axes: &[i64],
    ) -> Result<Array> {
        let axes = distinct_axes("dynamic_slice_update", axes, self.ndim())?;
        let start = as_index("dynamic_slice_update", &start.flatten(0, -1)?)?;
        let op = DynamicSliceUpdate { axes, mode: UpdateMode::Set };
        Array::apply(op, &[self.clone(), update.astype(self.dtype())?, start])
    }

    /// A copy in which the elements under `mask`, in row-major order, are consecutive elements of
    /// the flattened `src`, which must have at least as many. The mask broadcasts to the array; it
    /// may have fewer axes, which are then the leading ones.
    ///
    /// # Errors
    /// Kind `Dtype` if the mask is not bool, `Shape` if it does not fit. Too few elements in `src`
    /// are an error of evaluation.
    pub fn masked_scatter(&self, mask: &Array, src: &Array) -> Result<Array> {
        if mask.dtype() != Dtype::Bool {
            return Err(Error::dtype("masked_scatter", &[mask.dtype()], "a bool mask"));
        }
        let mut shape: Shape = mask.shape().into();
        shape.resize(self.ndim().max(shape.len()), 1);
        let mask = mask.reshape(&shape)?.broadcast_to(self.shape())?;
        let src = src.astype(self.dtype())?.flatten(0, -1)?;
        Array::apply(MaskedScatter, &[self.clone(), mask, src])
    }
}
