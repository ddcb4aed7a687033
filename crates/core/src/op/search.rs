//! Ops that compose sorting and gathering: places in sorted arrays and unique elements.

use super::like;
use super::scatter::UpdateMode;
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::show;

/// What [`Array::unique`] returns.
#[derive(Clone, Debug)]
pub struct Unique {
    /// The elements in increasing order.
    pub values: Array,
    /// Where each occurs first in the flattened array (`uint32`).
    pub index: Array,
    /// For each element of the array its place among `values` (`uint32`), in the array's shape.
    pub inverse: Array,
    /// How often each occurs (`int32`).
    pub counts: Array,
}

/// `a < b` in the order in which NaN is greater than everything else.
fn precedes(a: &Array, b: &Array) -> Result<Array> {
    let plain = a.less(b)?;
    if !a.dtype().is_floating() {
        return Ok(plain);
    }
    plain.logical_or(&b.isnan()?.logical_and(&a.isnan()?.logical_not()?)?)
}

impl Array {
    /// Where `values` could be put into this sorted vector: the number of elements that are less
    /// than each, or, with `right`, not greater (`uint32`). NaN is greater than everything else.
    /// All values are searched at once, by halves.
    ///
    /// # Errors
    /// Kind `Shape` if the array is not a vector, `Dtype` for complex types.
    pub fn searchsorted(&self, values: &Array, right: bool) -> Result<Array> {
        const OP: &str = "searchsorted";
        let dtype = self.dtype().promote(values.dtype());
        if self.ndim() != 1 || self.len() > u32::MAX as usize {
            let message = format!("a sorted vector is needed, got shape {}", show(self.shape()));
            return Err(Error::shape(OP, &[self.shape()], message));
        }
        if dtype.is_complex() {
            return Err(Error::dtype(OP, &[dtype], "real types"));
        }
        let (sorted, values) = (self.astype(dtype)?, values.astype(dtype)?);
        let mut found = Array::zeros(values.shape(), Dtype::U32)?;
        let n = self.len();
        if n == 0 {
            return Ok(found);
        }
        let (last, bits) = (like(&found, n as f64), usize::BITS - n.leading_zeros());
        for bit in (0..bits).rev() {
            let next = found.add(&like(&found, (1u64 << bit) as f64))?;
            let inside = next.less_equal(&last)?;
            let place = next.minimum(&last)?.subtract(&like(&found, 1.0))?;
            let element = sorted.take(&place, Some(0))?;
            let before = match right {
                true => precedes(&values, &element)?.logical_not()?,
                false => precedes(&element, &values)?,
            };
            found = inside.logical_and(&before)?.select(&next, &found)?;
        }
        Ok(found)
    }

    /// The unique elements of the flattened array in increasing order, `size` of them: if there are
    /// more the greatest are left out, and places in `inverse` that would name them name the last
    /// one; if there are fewer, `fill` follows (the least element if `None`), with a count of 0 and
    /// the index of the least element. All NaN are one element, and the last.
    ///
    /// # Errors
    /// Kind `Argument` if the array is empty, the size is not 0 and there is no `fill`.
    pub fn unique(&self, size: usize, fill: Option<&Array>) -> Result<Unique> {
        let flat = self.flatten(0, -1)?;
        let n = flat.len();
        if n == 0 {
            let values = match fill {
                Some(fill) => fill.astype(self.dtype())?.broadcast_to(&[size])?,
                None if size == 0 => flat,
                None => {
                    let message = "an empty array needs a fill value for a size that is not 0";
                    return Err(Error::argument("unique", message));
                }
            };
            return Ok(Unique {
                values,
                index: Array::zeros(&[size], Dtype::U32)?,
                inverse: Array::zeros(self.shape(), Dtype::U32)?,
                counts: Array::zeros(&[size], Dtype::I32)?,
            });
        }
        let order = flat.argsort(Some(0))?;
        let sorted = flat.take(&order, Some(0))?;
        let (before, after) =
            (sorted.slice_axis(0, None, Some(-1), 1)?, sorted.slice_axis(0, Some(1), None, 1)?);
        let mut differs = before.not_equal(&after)?;
        if flat.dtype().is_inexact() {
            differs = differs
                .logical_and(&before.isnan()?.logical_and(&after.isnan()?)?.logical_not()?)?;
        }
        let group = differs.astype(Dtype::U32)?.cumsum(0, false, true)?;
        let group = Array::concatenate(&[Array::zeros(&[1], Dtype::U32)?, group], 0)?;
        let first = Array::concatenate(&[Array::ones(&[1], Dtype::Bool)?, differs], 0)?;
        // One place more, for what is left out.
        let beyond = like(&group, size as f64);
        let kept = group.minimum(&beyond)?;
        let place = first.select(&kept, &beyond)?;
        let put = |start: &Array, updates: &Array, place: &Array, mode| -> Result<Array> {
            let start = start.broadcast_to(&[size + 1])?;
            let updates = updates.expand_dims(&[1])?;
            start
                .scatter(std::slice::from_ref(place), &updates, &[0], mode)?
                .pinned_range(0, 0, size)
        };
        let fill = match fill {
            Some(fill) => fill.astype(self.dtype())?,
            None => sorted.front(0)?,
        };
        let ones = Array::ones(&[n], Dtype::I32)?;
        let zero = Array::zeros(&[], Dtype::I32)?;
        let last = like(&group, size.saturating_sub(1) as f64);
        let back = Array::zeros(&[n], Dtype::U32)?;
        let inverse =
            back.scatter_along_axis(&order, &group.minimum(&last)?, Some(0), UpdateMode::Set)?;
        Ok(Unique {
            values: put(&fill, &sorted, &place, UpdateMode::Set)?,
            index: put(&order.front(0)?, &order, &place, UpdateMode::Set)?,
            inverse: inverse.reshape(self.shape())?,
            counts: put(&zero, &ones, &kept, UpdateMode::Add)?,
        })
    }
}
