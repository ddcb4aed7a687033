//! Joining arrays: concatenate, stack, tile, repeat, pad.

use super::scatter::{SliceUpdate, UpdateMode};
use super::view::Ends;
use super::{Avals, Batched, Derivative, Rules, one, with_batch};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, Strides, checked_len, normalize_axes, normalize_axis, show};
use serde::{Deserialize, Serialize};

/// The inputs, of one dtype, one after another along `axis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Concatenate {
    /// The axis.
    pub axis: usize,
}

impl Rules for Concatenate {
    fn name(&self) -> &'static str {
        "concatenate"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let Some(first) = inputs.first() else {
            return Err(Error::argument(
                "concatenate",
                "no arrays to join, at least one is needed",
            ));
        };
        let mut shape: Shape = first.shape().into();
        shape[self.axis] = 0;
        for x in inputs {
            let fits = x.ndim() == shape.len()
                && (0..shape.len()).all(|a| a == self.axis || x.shape()[a] == shape[a]);
            if !fits {
                let message = format!(
                    "shapes {} and {} differ in another axis than {}",
                    show(inputs[0].shape()),
                    show(x.shape()),
                    self.axis
                );
                return Err(Error::shape("concatenate", &[inputs[0].shape(), x.shape()], message));
            }
            shape[self.axis] += x.shape()[self.axis];
        }
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn transpose(
        &self,
        place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let start = inputs[..place].iter().map(|x| x.shape()[self.axis]).sum();
        ct.pinned_range(self.axis, start, inputs[place].shape()[self.axis]).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let all = inputs.iter().zip(axes).map(|(x, &axis)| with_batch(x, axis, batch));
        let all = all.collect::<Result<Vec<_>>>()?;
        Ok((vec![Array::apply(Concatenate { axis: self.axis + 1 }, &all)?], vec![Some(0)]))
    }
}

/// What [`Array::pad`] puts around an array.
#[derive(Clone, Debug)]
pub enum PadMode {
    /// One value (0-d), converted to the array's dtype.
    Constant(Array),
    /// The nearest element of the array.
    Edge,
    /// The elements beside the edge, mirrored, the edge included.
    Symmetric,
    /// The elements beside the edge, mirrored, the edge left out.
    Reflect,
}

impl Array {
    /// The arrays one after another along `axis`, converted to a common dtype.
    ///
    /// # Errors
    /// Kind `Argument` if there are no arrays, `Axis` if the axis is out of range, `Shape` if the
    /// sizes of another axis differ.
    pub fn concatenate(arrays: &[Array], axis: i64) -> Result<Array> {
        let [first, rest @ ..] = arrays else {
            return Err(Error::argument(
                "concatenate",
                "no arrays to join, at least one is needed",
            ));
        };
        let axis = normalize_axis("concatenate", axis, first.ndim())?;
        if rest.is_empty() {
            return Ok(first.clone());
        }
        let dtype = rest.iter().fold(first.dtype(), |d, x| d.promote(x.dtype()));
        if rest.iter().all(|x| x.same(first)) {
            // Copies of one array are a tile, which is a view where the axis has size 1.
            let mut reps = vec![1; first.ndim()];
            reps[axis] = arrays.len();
            return first.tile(&reps);
        }
        let arrays = arrays.iter().map(|x| x.astype(dtype)).collect::<Result<Vec<_>>>()?;
        Array::apply(Concatenate { axis }, &arrays)
    }

    /// Arrays of one shape joined along a new axis at place `axis`, converted to a common dtype.
    ///
    /// # Errors
    /// Kind `Argument` if there are no arrays, `Axis` if the place is out of range, `Shape` if the
    /// shapes differ.
    pub fn stack(arrays: &[Array], axis: i64) -> Result<Array> {
        if arrays.is_empty() {
            return Err(Error::argument("stack", "no arrays to join, at least one is needed"));
        }
        if let Some(other) = arrays.iter().find(|x| x.shape() != arrays[0].shape()) {
            let (a, b) = (arrays[0].shape(), other.shape());
            let message = format!("shapes {} and {} differ, all must be equal", show(a), show(b));
            return Err(Error::shape("stack", &[a, b], message));
        }
        if let [first, rest @ ..] = arrays
            && rest.iter().all(|x| x.same(first))
        {
            return Array::concatenate(&vec![first.expand_dims(&[axis])?; arrays.len()], axis);
        }
        let arrays = arrays.iter().map(|x| x.expand_dims(&[axis])).collect::<Result<Vec<_>>>()?;
        Array::concatenate(&arrays, axis)
    }

    /// The array repeated `reps[i]` times along axis `i` as a whole: `(n,)` by 2 gives `x, x`.
    /// Leading axes are added where `reps` has more entries than the array has axes, and entries
    /// of 1 where it has fewer. Axes of size 1 are repeated by a view.
    ///
    /// # Errors
    /// Kind `Shape` if the result would have too many elements.
    pub fn tile(&self, reps: &[usize]) -> Result<Array> {
        let ndim = self.ndim().max(reps.len());
        let pad = |s: &[usize]| -> Shape {
            std::iter::repeat_n(1, ndim - s.len()).chain(s.iter().copied()).collect()
        };
        let (shape, reps) = (pad(self.shape()), pad(reps));
        let pairs = || reps.iter().zip(&shape);
        let total: Shape = pairs().map(|(&r, &n)| r.saturating_mul(n)).collect();
        checked_len("tile", &total)?;
        let apart: Shape = pairs().flat_map(|(_, &n)| [1, n]).collect();
        let wide: Shape = pairs().flat_map(|(&r, &n)| [r, n]).collect();
        self.reshape(&apart)?.broadcast_to(&wide)?.reshape(&total)
    }

    /// Each element along `axis` (of the flattened array if `None`) repeated `count` times in a
    /// row: `1, 2` by 2 gives `1, 1, 2, 2`. An axis of size 1 is repeated by a view.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if the result would be too large.
    pub fn repeat(&self, count: usize, axis: Option<i64>) -> Result<Array> {
        let Some(axis) = axis else { return self.flatten(0, -1)?.repeat(count, Some(0)) };
        let axis = normalize_axis("repeat", axis, self.ndim())?;
        let mut total: Shape = self.shape().into();
        total[axis] = total[axis].saturating_mul(count);
        checked_len("repeat", &total)?;
        let mut wide: Shape = self.shape().into();
        wide.insert(axis + 1, count);
        self.expand_dims(&[axis as i64 + 1])?.broadcast_to(&wide)?.reshape(&total)
    }

    /// The array with `widths[i] = (before, after)` elements put around it along axis `i`. One
    /// entry stands for all axes.
    ///
    /// # Errors
    /// Kind `Argument` if the number of widths is neither 1 nor that of the axes; `Shape` if there
    /// are too few elements to repeat or mirror, or too many in the result.
    pub fn pad(&self, widths: &[(usize, usize)], mode: &PadMode) -> Result<Array> {
        let widths: Vec<(usize, usize)> = match widths {
            [all] => vec![*all; self.ndim()],
            _ if widths.len() == self.ndim() => widths.to_vec(),
            _ => {
                let message = format!("{} pairs of widths for {} axes", widths.len(), self.ndim());
                return Err(Error::argument("pad", message));
            }
        };
        if let PadMode::Constant(value) = mode {
            let grown =
                |(&n, &(b, a)): (&usize, &(usize, usize))| n.saturating_add(b).saturating_add(a);
            let shape: Shape = self.shape().iter().zip(&widths).map(grown).collect();
            checked_len("pad", &shape)?;
            let op = SliceUpdate {
                start: widths.iter().map(|w| w.0).collect(),
                step: Strides::from_elem(1, self.ndim()),
                mode: UpdateMode::Set,
                ends: Ends::default(),
            };
            let around = value.astype(self.dtype())?.broadcast_to(&shape)?;
            return Array::apply(op, &[around, self.clone()]);
        }
        let mut x = self.clone();
        for (axis, &(before, after)) in widths.iter().enumerate() {
            let n = x.shape()[axis];
            let most = match mode {
                PadMode::Reflect => n.saturating_sub(1),
                PadMode::Symmetric => n,
                _ if n == 0 => 0,
                _ => usize::MAX,
            };
            if before.max(after) > most {
                let message = format!(
                    "axis {axis} of {} has too few elements for {} more",
                    show(x.shape()),
                    before.max(after)
                );
                return Err(Error::shape("pad", &[x.shape()], message));
            }
            let side = |low: bool, width: usize| -> Result<Array> {
                let skip = usize::from(matches!(mode, PadMode::Reflect));
                match mode {
                    PadMode::Edge => {
                        let edge = x.pinned_range(axis, if low { 0 } else { n - 1 }, 1)?;
                        edge.repeat(width, Some(axis as i64))
                    }
                    _ => {
                        let start = if low { skip } else { n - width - skip };
                        x.pinned_range(axis, start, width)?.flip(Some(&[axis as i64]))
                    }
                }
            };
            let mut parts = Vec::with_capacity(3);
            if before > 0 {
                parts.push(side(true, before)?);
            }
            parts.push(x.clone());
            if after > 0 {
                parts.push(side(false, after)?);
            }
            x = Array::concatenate(&parts, axis as i64)?;
        }
        Ok(x)
    }

    /// The elements moved by `shifts[i]` places along `axes[i]`; those that leave at one end come
    /// back at the other. Over the flattened array if `axes` is `None`.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range; `Argument` if the numbers of shifts and axes differ
    /// and there is not one shift for all.
    pub fn roll(&self, shifts: &[i64], axes: Option<&[i64]>) -> Result<Array> {
        let Some(axes) = axes else {
            let total = [shifts.iter().sum()];
            return self.flatten(0, -1)?.roll(&total, Some(&[0]))?.reshape(self.shape());
        };
        if shifts.len() != axes.len() && shifts.len() != 1 {
            let message = format!("{} shifts for {} axes", shifts.len(), axes.len());
            return Err(Error::argument("roll", message));
        }
        let mut x = self.clone();
        for (i, &axis) in axes.iter().enumerate() {
            let axis = normalize_axis("roll", axis, x.ndim())?;
            let n = x.shape()[axis];
            let shift = shifts[if shifts.len() == 1 { 0 } else { i }];
            let shift = if n == 0 { 0 } else { shift.rem_euclid(n as i64) as usize };
            if shift > 0 {
                let tail = x.pinned_range(axis, n - shift, shift)?;
                let head = x.pinned_range(axis, 0, n - shift)?;
                x = Array::concatenate(&[tail, head], axis as i64)?;
            }
        }
        Ok(x)
    }

    /// The elements in reverse order along `axes`, all if `None`. A view.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice.
    pub fn flip(&self, axes: Option<&[i64]>) -> Result<Array> {
        let axes = match axes {
            Some(axes) => normalize_axes("flip", axes, self.ndim())?,
            None => (0..self.ndim()).collect(),
        };
        axes.iter().try_fold(self.clone(), |x, &axis| x.slice_axis(axis, None, None, -1))
    }

    /// Equal parts along `axis`.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if its size is not a multiple of
    /// `sections`, `Argument` if `sections` is 0.
    pub fn split(&self, sections: usize, axis: i64) -> Result<Vec<Array>> {
        let axis = normalize_axis("split", axis, self.ndim())?;
        let n = self.shape()[axis];
        if sections == 0 {
            return Err(Error::argument("split", "0 sections asked for, at least 1 is needed"));
        }
        if !n.is_multiple_of(sections) {
            let message = format!(
                "axis {axis} of {} cannot be cut in {sections} equal sections",
                show(self.shape())
            );
            return Err(Error::shape("split", &[self.shape()], message));
        }
        let part = n / sections;
        (0..sections).map(|i| self.pinned_range(axis, i * part, part)).collect()
    }

    /// The parts along `axis` between the places `indices`, as `x[:i0], x[i0:i1], ..., x[ik:]`.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range.
    pub fn split_at(&self, indices: &[i64], axis: i64) -> Result<Vec<Array>> {
        let axis = normalize_axis("split", axis, self.ndim())?;
        let mut bounds = vec![None];
        bounds.extend(indices.iter().map(|&i| Some(i)));
        bounds.push(None);
        bounds.windows(2).map(|w| self.slice_axis(axis, w[0], w[1], 1)).collect()
    }

    /// Coordinate arrays of a grid: output `i` varies along the axis of input `i` only. With
    /// `sparse` the outputs keep size 1 along the others. `xy` swaps the first two axes.
    ///
    /// # Errors
    /// Kind `Shape` if an input has more than one axis or the grid has too many elements.
    pub fn meshgrid(arrays: &[Array], sparse: bool, xy: bool) -> Result<Vec<Array>> {
        let count = arrays.len();
        let mut place: Vec<usize> = (0..count).collect();
        if xy && count > 1 {
            place.swap(0, 1);
        }
        let mut grid = Shape::from_elem(1, count);
        for (x, &p) in arrays.iter().zip(&place) {
            if x.ndim() > 1 {
                let message = format!("inputs have at most one axis, got {}", show(x.shape()));
                return Err(Error::shape("meshgrid", &[x.shape()], message));
            }
            grid[p] = x.len();
        }
        checked_len("meshgrid", &grid)?;
        let lines = (arrays.iter().zip(&place))
            .map(|(x, &p)| {
                let mut shape = Shape::from_elem(1, count);
                shape[p] = x.len();
                x.reshape(&shape)
            })
            .collect::<Result<Vec<Array>>>()?;
        if sparse { Ok(lines) } else { Array::broadcast_arrays(&lines) }
    }

    /// The sum over a diagonal, in `dtype` if given; see [`Array::diagonal`] for the parameters.
    ///
    /// # Errors
    /// As [`Array::diagonal`].
    pub fn trace(
        &self,
        offset: i64,
        axis1: i64,
        axis2: i64,
        dtype: Option<Dtype>,
    ) -> Result<Array> {
        let x = self.diagonal(offset, axis1, axis2)?;
        x.astype(dtype.unwrap_or(x.dtype()))?.sum(Some(&[-1]), false)
    }
}
