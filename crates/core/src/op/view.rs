//! Views: ops that move no elements. At run time they are arithmetic on layouts
//! ([`Primitive::view`]); a copy is made only where strides cannot express the result.

use super::cast::Cast;
use super::scatter::{Scatter, SliceUpdate, UpdateMode};
use super::{
    Aval, Avals, Batched, Derivative, Primitive, Rules, batch_first, index_dtype, like, one,
    prepend,
};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{
    Axes, Layout, Shape, Strides, broadcast_shapes, checked_len, normalize_axis, show,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// The input repeated along axes of size 1 and new leading axes, to `shape`, which is that of the
/// second input if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Broadcast {
    /// The result's shape.
    pub shape: Shape,
}

/// The input's elements in row-major order under `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Reshape {
    /// The result's shape, of as many elements.
    pub shape: Shape,
    /// The axes, one bit each, whose sizes the caller gave as numbers: they do not take part in a
    /// change of the number of elements.
    #[serde(default)]
    pub given: u64,
}

/// Axis `i` of the result is axis `axes[i]` of the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Transpose {
    /// A permutation.
    pub axes: Axes,
}

/// Elements `start + i * step` along each axis, `shape` of them. All are inside the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Slice {
    /// The first element along each axis.
    pub start: SmallVec<[usize; 4]>,
    /// The step along each axis, not zero.
    pub step: Strides,
    /// The result's shape.
    pub shape: Shape,
    /// What the bounds mean on an input of another size.
    pub ends: Ends,
}

/// Where one axis of a slice has its bounds when the input's size changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Both bounds count from the front.
    Front,
    /// The first counts from the front, the last from the end: `x[2:]`, and all of an axis.
    Stop,
    /// Both count from the end: `x[-1]`.
    Back,
    /// Neither is known: the axis must keep its size.
    Pinned,
}

/// The [`End`] of every axis, two bits each. The default is `Front` for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Ends(u64);

impl Ends {
    /// The entry of `axis`; axes beyond 31 are pinned.
    pub fn get(self, axis: usize) -> End {
        match self.0.checked_shr(2 * axis as u32).map(|bits| bits & 3) {
            Some(0) => End::Front,
            Some(1) => End::Stop,
            Some(2) => End::Back,
            _ => End::Pinned,
        }
    }

    /// The same with `end` for `axis`.
    #[must_use]
    pub fn with(self, axis: usize, end: End) -> Ends {
        if axis >= 32 {
            return self;
        }
        Ends(self.0 & !(3 << (2 * axis)) | (end as u64) << (2 * axis))
    }

    /// The same behind a new first axis that is taken whole.
    #[must_use]
    pub fn behind_batch(self) -> Ends {
        Ends(self.0 << 2).with(0, End::Stop)
    }

    /// The first place and the number of elements on an axis of `new` elements, where they were
    /// `start` and `len` on one of `old`, with `step` between.
    pub(crate) fn follow(
        self,
        op: &'static str,
        axis: usize,
        (start, step, len): (usize, isize, usize),
        (old, new): (usize, usize),
    ) -> Result<(usize, usize)> {
        let stale = || {
            let message = format!(
                "a slice of axis {axis} does not say what it means for size {new} instead of \
                 {old}; give bounds that are fixed or counted from the end"
            );
            Error::shape(op, &[&[old], &[new]], message)
        };
        let shift = new as isize - old as isize;
        let (first, len) = match self.get(axis) {
            _ if shift == 0 => (start as isize, len),
            End::Front => (start as isize, len),
            End::Back => (start as isize + shift, len),
            // Going down, the first element is the one that is counted from the end.
            End::Stop if step < -1 => {
                let first = start as isize + shift;
                (first, if first < 0 { 0 } else { (first / -step) as usize + 1 })
            }
            End::Stop if step > 1 => {
                (start as isize, new.saturating_sub(start).div_ceil(step as usize))
            }
            End::Stop => {
                let first = start as isize + if step < 0 { shift } else { 0 };
                (first, (len as isize + shift).max(0) as usize)
            }
            End::Pinned => return Err(stale()),
        };
        let last = first + (len as isize - 1) * step;
        if len > 0 && (first < 0 || last < 0 || first.max(last) >= new as isize) {
            return Err(stale());
        }
        Ok((first.max(0) as usize, len))
    }
}

/// Element `i` of the result is element `offset + sum(i * strides)` of the flattened input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct AsStrided {
    /// The result's shape.
    pub shape: Shape,
    /// Steps in elements.
    pub strides: Strides,
    /// The place of the first element.
    pub offset: usize,
}

/// The input's bytes as `dtype`; where the sizes differ the last axis grows or shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Bitcast {
    /// The result's dtype.
    pub dtype: Dtype,
}

impl Primitive {
    /// True iff the op moves no elements: [`Primitive::view`] gives its result's layout.
    pub fn is_view(&self) -> bool {
        matches!(
            self,
            Primitive::Broadcast(_)
                | Primitive::Reshape(_)
                | Primitive::Transpose(_)
                | Primitive::Slice(_)
                | Primitive::AsStrided(_)
                | Primitive::Bitcast(_)
                | Primitive::Identity(_)
        )
    }

    /// The layout of a view's result on a first input of `layout` and `dtype`, or `None` if the
    /// input must be made contiguous first (a contiguous input always works).
    pub fn view(&self, layout: &Layout, dtype: Dtype) -> Option<Layout> {
        match self {
            Primitive::Broadcast(op) => Some(layout.broadcast_to(&op.shape)),
            Primitive::Reshape(op) => layout.reshape(&op.shape),
            Primitive::Transpose(op) => Some(layout.transpose(&op.axes)),
            Primitive::Slice(op) => Some(layout.slice(&op.start, &op.step, &op.shape)),
            Primitive::AsStrided(op) => layout.is_contiguous().then(|| Layout {
                shape: op.shape.clone(),
                strides: op.strides.clone(),
                offset: layout.offset + op.offset,
            }),
            Primitive::Bitcast(op) => op.view(layout, dtype),
            Primitive::Identity(_) => Some(layout.clone()),
            _ => None,
        }
    }
}

impl Bitcast {
    fn view(self, layout: &Layout, dtype: Dtype) -> Option<Layout> {
        let (old, new) = (dtype.size(), self.dtype.size());
        let mut out = layout.clone();
        if old == new {
            return Some(out);
        }
        if !layout.is_contiguous() || !(layout.offset * old).is_multiple_of(new) {
            return None;
        }
        let last = out.shape.last_mut()?;
        *last = *last * old / new;
        out.strides = crate::shape::contiguous_strides(&out.shape);
        out.offset = layout.offset * old / new;
        Some(out)
    }
}

impl Array {
    /// The array repeated along axes of size 1 and new leading axes, to `shape`. A view.
    ///
    /// # Errors
    /// Kind `Shape` if an axis has another size than 1 and than the target.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Array> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        Array::apply(Broadcast { shape: shape.into() }, std::slice::from_ref(self))
    }

    /// The array broadcast to the shape of `other`, also where a recording is applied to arrays of
    /// other sizes.
    ///
    /// # Errors
    /// Kind `Shape` if an axis has another size than 1 and than the other's.
    pub fn broadcast_like(&self, other: &Array) -> Result<Array> {
        if !crate::transform::follows_sizes() {
            return self.broadcast_to(other.shape());
        }
        Array::apply(Broadcast { shape: other.shape().into() }, &[self.clone(), other.clone()])
    }

    /// The elements in row-major order under another shape. A view where strides allow it.
    ///
    /// # Errors
    /// Kind `Shape` if the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Array> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        Array::apply(Reshape { shape: Shape::from_slice(shape), given: 0 }, [self.clone()])
    }

    /// The array with its axes in the order `axes`, reversed if `None`. A view.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if `axes` is not a permutation.
    pub fn transpose(&self, axes: Option<&[i64]>) -> Result<Array> {
        let ndim = self.ndim();
        let axes: Axes = match axes {
            None => (0..ndim).rev().collect(),
            Some(axes) => {
                axes.iter().map(|&a| normalize_axis("transpose", a, ndim)).collect::<Result<_>>()?
            }
        };
        if axes.iter().enumerate().all(|(i, &a)| i == a) && axes.len() == ndim {
            return Ok(self.clone());
        }
        Array::apply(Transpose { axes }, std::slice::from_ref(self))
    }

    /// The array with axis `from` moved to place `to`. A view.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range.
    pub fn moveaxis(&self, from: i64, to: i64) -> Result<Array> {
        let ndim = self.ndim();
        let from = normalize_axis("moveaxis", from, ndim)?;
        let to = normalize_axis("moveaxis", to, ndim)?;
        let mut axes: Vec<i64> = (0..ndim as i64).filter(|&a| a != from as i64).collect();
        axes.insert(to, from as i64);
        self.transpose(Some(&axes))
    }

    /// The elements in row-major order without gaps: the array itself if it has data and is laid out
    /// so. What has none yet stays lazy.
    ///
    /// # Errors
    /// Kind `OutOfMemory` if there is no room for a copy.
    pub fn contiguous(&self) -> Result<Array> {
        if !self.is_evaluated() || self.node.trace.is_some() {
            // A step of its own, whose result is laid out in order as all results are.
            return Array::apply(Cast { dtype: self.dtype() }, std::slice::from_ref(self));
        }
        let (buffer, layout) = self.buffer()?;
        if layout.is_contiguous() {
            return Array::from_buffer(buffer, self.dtype(), layout);
        }
        crate::eval::copy_contiguous(buffer, self.dtype(), layout)
    }
}

/// Checks that `shape` elements from `start` by `step` along each axis lie inside `from`.
pub(crate) fn check_range(
    op: &'static str,
    from: &[usize],
    start: &[usize],
    step: &[isize],
    shape: &[usize],
) -> Result<()> {
    let inside = |a: usize| {
        let last = start[a] as isize + (shape[a] as isize - 1) * step[a];
        shape[a] == 0 || (start[a] < from[a] && last >= 0 && last < from[a] as isize)
    };
    let ranks = [start.len(), step.len(), shape.len()];
    if ranks.iter().all(|&r| r == from.len()) && (0..from.len()).all(inside) {
        return Ok(());
    }
    let message = format!(
        "{} elements from {:?} by {:?} are not all inside an array of {}",
        show(shape),
        start,
        step,
        show(from)
    );
    Err(Error::shape(op, &[from, shape], message))
}

/// The permutation that undoes `axes`.
pub(crate) fn inverse(axes: &[usize]) -> Axes {
    let mut back = Axes::from_elem(0, axes.len());
    for (i, &a) in axes.iter().enumerate() {
        back[a] = i;
    }
    back
}

/// The shape for a reshape of `new`, where the reshape was of `old` to `target`.
///
/// Old and target axes are matched in the least groups of equal products. A group whose sizes
/// changed must have one target axis that is not 1, which takes the new product, or exactly one
/// that can take the change while the others stay. An axis whose size was `given` takes none.
fn regroup(old: &[usize], target: &[usize], given: u64, new: &[usize]) -> Result<Shape> {
    if old == new {
        return Ok(target.into());
    }
    let stale = || {
        let message = format!(
            "recorded as {} to {}, and does not say what becomes of {}; in a shapeless function, \
             give the size that changes as -1, or use flatten and unflatten",
            show(old),
            show(target),
            show(new)
        );
        Error::shape("reshape", &[old, target, new], message)
    };
    if old.contains(&0) {
        return Err(stale());
    }
    let mut shape: Shape = target.into();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < target.len() {
        let (i0, j0) = (i, j);
        let (mut have, mut want) = (1, 1);
        loop {
            if i < old.len() && (have < want || i == i0) {
                have *= old[i];
                i += 1;
            } else if j < target.len() && (want < have || j == j0) {
                want *= target[j];
                j += 1;
            } else {
                break;
            }
        }
        // Unit axes that nothing else would claim belong to the last group.
        if target[j..].iter().all(|&n| n == 1) && old[i..].iter().all(|&n| n == 1) {
            (i, j) = (old.len(), target.len());
        }
        if old[i0..i] == new[i0..i] {
            continue;
        }
        if i - i0 == j - j0 && old[i0..i] == target[j0..j] {
            shape[j0..j].copy_from_slice(&new[i0..i]);
            continue;
        }
        let total: usize = new[i0..i].iter().product();
        let wide: Vec<usize> = (j0..j).filter(|&a| target[a] != 1).collect();
        let places = if wide.is_empty() { (j0..j).take(1).collect() } else { wide };
        let before: usize = target[j0..j].iter().product();
        // An axis that stays one, beside unit axes, follows its size in any case.
        let not_unit = |n: &&usize| **n != 1;
        let split = !old[i0..i].iter().filter(not_unit).eq(target[j0..j].iter().filter(not_unit));
        let given = |a: usize| split && given.checked_shr(a as u32).is_some_and(|g| g & 1 == 1);
        let takes = |&&a: &&usize| !given(a) && total.is_multiple_of(before / target[a]);
        let mut able = places.iter().filter(takes);
        match (able.next(), able.next()) {
            (Some(&a), None) => shape[a] = total / (before / target[a]),
            _ => return Err(stale()),
        }
    }
    Ok(shape)
}

impl Rules for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let from = inputs[0].shape();
        let to = broadcast_shapes("broadcast_to", from, &self.shape)?;
        if to != self.shape {
            let message = format!("cannot broadcast {} to {}", show(from), show(&self.shape));
            return Err(Error::shape("broadcast_to", &[from, &self.shape], message));
        }
        checked_len("broadcast_to", &to)?;
        one(to, inputs[0].dtype())
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
        Ok(Some(super::sum_to(ct, inputs[0].shape())?))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let like = inputs.get(1).zip(axes.get(1));
        if axes[0].is_none() {
            let mut all = vec![inputs[0].clone()];
            if let Some((like, axis)) = like {
                all.push(axis.map_or_else(|| Ok(like.clone()), |axis| like.front(axis))?);
            }
            return Ok((vec![Array::apply(self.clone(), &all)?], vec![None]));
        }
        let x = batch_first(&inputs[0], axes[0])?;
        let missing = self.shape.len() + 1 - x.ndim();
        let places: Vec<i64> = (1..=missing as i64).collect();
        let mut all = vec![x.expand_dims(&places)?];
        if let Some((like, &axis)) = like {
            all.push(super::with_batch(like, axis, batch)?);
        }
        let shape = prepend(batch, &self.shape);
        Ok((vec![Array::apply(Broadcast { shape }, &all)?], vec![Some(0)]))
    }

    /// A second input gives the shape. Else axes that the input fills follow its size; stretched and new axes keep theirs.
    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Self> {
        if let Some(like) = inputs.get(1) {
            return Ok(Broadcast { shape: like.shape().into() });
        }
        let mut shape = self.shape.clone();
        let lead = shape.len() - old[0].shape.len();
        for (a, &n) in old[0].shape.iter().enumerate() {
            if shape[lead + a] == n {
                shape[lead + a] = inputs[0].shape()[a];
            }
        }
        Ok(Broadcast { shape })
    }

    /// The target shape is a parameter of the plan; which axes grow follows from the ranks and the
    /// unit axes, which the key holds.
    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let from = inputs[0].shape();
        let (have, want) = (inputs[0].len(), checked_len("reshape", &self.shape)?);
        if have != want {
            let message = format!(
                "cannot reshape {} of {have} elements to {} of {want}",
                show(from),
                show(&self.shape)
            );
            return Err(Error::shape("reshape", &[from, &self.shape], message));
        }
        one(Shape::from_slice(&self.shape), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        Ok(Some(ct.reshape(inputs[0].shape())?))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let Some(batch) = axes[0] else {
            return Ok((vec![Array::apply(self.clone(), inputs)?], vec![None]));
        };
        let x = batch_first(&inputs[0], Some(batch))?;
        let out = x.reshape(&prepend(x.shape()[0], &self.shape))?;
        Ok((vec![out], vec![Some(0)]))
    }

    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Self> {
        let shape = regroup(&old[0].shape, &self.shape, self.given, inputs[0].shape())?;
        Ok(Reshape { shape, given: self.given })
    }

    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let shape = inputs[0].shape();
        let mut seen = SmallVec::<[bool; 8]>::from_elem(false, shape.len());
        for &a in &self.axes {
            if a >= shape.len() || std::mem::replace(&mut seen[a], true) {
                let message = format!("axes {:?} are not a permutation", self.axes.as_slice());
                return Err(Error::argument("transpose", message));
            }
        }
        if self.axes.len() != shape.len() {
            let message = format!("{} axes given for an array of {}", self.axes.len(), shape.len());
            return Err(Error::argument("transpose", message));
        }
        one(self.axes.iter().map(|&a| shape[a]).collect::<Shape>(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn transpose(
        &self,
        _place: usize,
        _inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        // What was turned for this place, as by a product, is turned back.
        if let Primitive::Transpose(before) = &ct.node.op
            && before.axes == self.axes
            && let [x] = &ct.node.inputs()[..]
        {
            return Ok(Some(x.clone()));
        }
        Array::apply(Transpose { axes: inverse(&self.axes) }, std::slice::from_ref(ct)).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let Some(batch) = axes[0] else {
            return Ok((vec![Array::apply(self.clone(), inputs)?], vec![None]));
        };
        let x = batch_first(&inputs[0], Some(batch))?;
        let out =
            Array::apply(Transpose { axes: prepend(0, &super::behind_batch(&self.axes)) }, &[x])?;
        Ok((vec![out], vec![Some(0)]))
    }
}

impl Rules for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        check_range("slice", inputs[0].shape(), &self.start, &self.step, &self.shape)?;
        one(Shape::from_slice(&self.shape), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let op = SliceUpdate {
            start: self.start.clone(),
            step: self.step.clone(),
            mode: UpdateMode::Set,
            ends: self.ends,
        };
        let zeros = like(ct, 0.0).broadcast_like(&inputs[0])?;
        Array::apply(op, &[zeros, ct.clone()]).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let Some(batch) = axes[0] else {
            return Ok((vec![Array::apply(self.clone(), inputs)?], vec![None]));
        };
        let x = batch_first(&inputs[0], Some(batch))?;
        let mut step = self.step.clone();
        step.insert(0, 1);
        let op = Slice {
            start: prepend(0, &self.start),
            step,
            shape: prepend(x.shape()[0], &self.shape),
            ends: self.ends.behind_batch(),
        };
        let out = Array::apply(op, &[x])?;
        Ok((vec![out], vec![Some(0)]))
    }

    /// Bounds that count from the end follow it; the others stay and are checked.
    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Self> {
        let mut op = self.clone();
        for a in 0..op.shape.len() {
            let sizes = (old[0].shape[a], inputs[0].shape()[a]);
            let range = (op.start[a], op.step[a], op.shape[a]);
            (op.start[a], op.shape[a]) = self.ends.follow("slice", a, range, sizes)?;
        }
        Ok(op)
    }

    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for AsStrided {
    fn name(&self) -> &'static str {
        "as_strided"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let layout = Layout {
            shape: self.shape.clone(),
            strides: self.strides.clone(),
            offset: self.offset,
        };
        if let Some((low, high)) = layout.extent()
            && (low < 0 || high as usize >= inputs[0].len())
        {
            let message = format!(
                "shape {}, strides {:?} and offset {} reach elements {low} to {high} of an array of {}",
                show(&self.shape),
                self.strides.as_slice(),
                self.offset,
                inputs[0].len()
            );
            return Err(Error::argument("as_strided", message));
        }
        one(Shape::from_slice(&self.shape), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn transpose(
        &self,
        _place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        // Views may overlap, so the elements' cotangents are added at their places.
        let n = inputs[0].len();
        let mut place = Array::literal(crate::Literal::from_i64(self.offset as i64, Dtype::I64))
            .broadcast_to(&self.shape)?;
        for (a, (&size, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            let mut column = Shape::from_elem(1, self.shape.len());
            column[a] = size;
            let steps = Array::iota(0.0, stride as f64, size, Dtype::I64)?.reshape(&column)?;
            place = place.add(&steps)?;
        }
        let mut shape: Shape = self.shape.clone();
        shape.push(1);
        let op = Scatter { axes: Axes::from_iter([0]), mode: UpdateMode::Add };
        let place = place.astype(index_dtype(n))?;
        let zeros = Array::zeros(&[n], ct.dtype())?;
        let flat = Array::apply(op, &[zeros, ct.reshape(&shape)?, place])?;
        Ok(Some(flat.reshape(inputs[0].shape())?))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let Some(batch) = axes[0] else {
            return Ok((vec![Array::apply(self.clone(), inputs)?], vec![None]));
        };
        let x = batch_first(&inputs[0], Some(batch))?;
        let batch = x.shape()[0];
        let mut strides = self.strides.clone();
        strides.insert(0, (x.len() / batch.max(1)) as isize);
        let shape = prepend(batch, &self.shape);
        let out = Array::apply(AsStrided { shape, strides, offset: self.offset }, &[x])?;
        Ok((vec![out], vec![Some(0)]))
    }

    /// Strides say nothing about other sizes.
    fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Self> {
        if inputs[0].shape() == old[0].shape.as_slice() {
            return Ok(self.clone());
        }
        let message = format!(
            "strides were given for an input of {}, not of {}; a shapeless function cannot use them",
            show(&old[0].shape),
            show(inputs[0].shape())
        );
        Err(Error::shape("as_strided", &[&old[0].shape, inputs[0].shape()], message))
    }

    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for Bitcast {
    fn name(&self) -> &'static str {
        "view"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (old, new) = (inputs[0].dtype().size(), self.dtype.size());
        let mut shape: Shape = inputs[0].shape().into();
        if old != new {
            match shape.last_mut() {
                Some(last) if *last * old % new == 0 => *last = *last * old / new,
                _ => {
                    let message = format!(
                        "the last axis of {} elements of {} does not hold whole elements of {}",
                        show(inputs[0].shape()),
                        inputs[0].dtype(),
                        self.dtype
                    );
                    return Err(Error::shape("view", &[inputs[0].shape()], message));
                }
            }
        }
        one(shape, self.dtype)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let Some(batch) = axes[0] else {
            return Ok((vec![Array::apply(*self, inputs)?], vec![None]));
        };
        let x = batch_first(&inputs[0], Some(batch))?;
        let out = Array::apply(*self, &[x])?;
        Ok((vec![out], vec![Some(0)]))
    }
}
