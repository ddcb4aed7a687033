//! The indexing front door: one form for reading and for updating, with NumPy's rules.
//!
//! Integers, slices, new axes and an ellipsis are views. Index arrays and masks pick elements: they
//! broadcast against each other (an integer beside them counts as an index array), and their axes
//! take the place of the indexed axes if these are next to each other, else come first.

use super::reduce::drop_axes;
use super::scatter::UpdateMode;
use super::view::{End, Slice};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Axes, Shape, broadcast_shapes, show};
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// What is taken of one axis or more.
#[derive(Clone, Debug)]
pub enum Index {
    /// One element, whose axis is dropped; negative counts from the end.
    Int(i64),
    /// A range with Python's rules: negative bounds count from the end, bounds are clipped.
    Slice {
        /// The first place.
        start: Option<i64>,
        /// The place behind the last.
        stop: Option<i64>,
        /// The step, 1 if `None`; not 0.
        step: Option<i64>,
    },
    /// A new axis of size 1.
    NewAxis,
    /// As many whole axes as make the index complete.
    Ellipsis,
    /// The elements at these places of one axis.
    Array(Array),
    /// The elements where this bool array is true; it covers as many axes as it has.
    Mask(Array),
}

impl Index {
    /// All of an axis.
    pub const ALL: Index = Index::Slice { start: None, stop: None, step: None };

    /// The same range by `step`; anything but a range stays as it is.
    #[must_use]
    pub fn by(self, step: i64) -> Index {
        match self {
            Index::Slice { start, stop, .. } => Index::Slice { start, stop, step: Some(step) },
            other => other,
        }
    }

    /// How many axes of the array the entry takes.
    fn consumes(&self) -> usize {
        match self {
            Index::NewAxis | Index::Ellipsis => 0,
            Index::Mask(mask) => mask.ndim(),
            _ => 1,
        }
    }
}

macro_rules! index_from {
    ($($T:ty, |$x:ident| $start:expr, $stop:expr;)*) => {
        $(impl From<$T> for Index {
            fn from($x: $T) -> Index {
                let _ = &$x;
                Index::Slice { start: $start, stop: $stop, step: None }
            }
        })*
    };
}
/// The bound behind `last`; none behind -1, which is the end.
fn behind(last: i64) -> Option<i64> {
    last.checked_add(1).filter(|&i| i != 0)
}
index_from! {
    Range<i64>, |r| Some(r.start), Some(r.end);
    RangeFrom<i64>, |r| Some(r.start), None;
    RangeTo<i64>, |r| None, Some(r.end);
    RangeInclusive<i64>, |r| Some(*r.start()), behind(*r.end());
    RangeToInclusive<i64>, |r| None, behind(r.end);
    RangeFull, |r| None, None;
}

impl From<i64> for Index {
    fn from(i: i64) -> Index {
        Index::Int(i)
    }
}

impl From<i32> for Index {
    fn from(i: i32) -> Index {
        Index::Int(i64::from(i))
    }
}

impl From<usize> for Index {
    fn from(i: usize) -> Index {
        Index::Int(i64::try_from(i).unwrap_or(i64::MAX))
    }
}

impl From<Array> for Index {
    fn from(x: Array) -> Index {
        if x.dtype() == Dtype::Bool { Index::Mask(x) } else { Index::Array(x) }
    }
}

impl From<&Array> for Index {
    fn from(x: &Array) -> Index {
        x.clone().into()
    }
}

/// A list of [`Index`] entries from integers, ranges, arrays and masks:
/// `x.index(&s![0, 1.., &rows])`.
///
/// ```
/// use lazulite_core::{op::index::Index, s};
/// let entries = s![0, 1..-1, .., Index::NewAxis];
/// assert_eq!(entries.len(), 4);
/// ```
#[macro_export]
macro_rules! s {
    ($($entry:expr),* $(,)?) => { [$($crate::op::index::Index::from($entry)),*] };
}

/// One entry of the result, in order.
enum Entry {
    /// This axis of the array.
    Axis(usize),
    /// An axis of size 1.
    New,
    /// One or more axes that integers, arrays or a mask index.
    Advanced,
}

/// An index that has been checked against an array's shape.
struct Plan {
    /// The basic part: integers have length 1, indexed axes are whole.
    slice: Slice,
    entries: Vec<Entry>,
    /// Axes that integers index, which are dropped.
    ints: Axes,
    /// The index arrays with their axes, all of one shape.
    arrays: Vec<(usize, Array)>,
}

const OP: &str = "index";

impl Plan {
    fn new(x: &Array, index: &[Index]) -> Result<Plan> {
        let used: usize = index.iter().map(Index::consumes).sum();
        if used > x.ndim() {
            let message = format!("{used} indices for {} axes of {}", x.ndim(), show(x.shape()));
            return Err(Error::new(crate::ErrorKind::Axis, OP, message));
        }
        let dots = index.iter().filter(|i| matches!(i, Index::Ellipsis)).count();
        if dots > 1 {
            return Err(Error::argument(OP, "an index has at most one ellipsis"));
        }
        let mut slice = x.whole();
        let mut entries = Vec::with_capacity(x.ndim());
        let (mut ints, mut arrays) = (Axes::new(), Vec::new());
        let mut axis = 0;
        for entry in index {
            match entry {
                Index::NewAxis => entries.push(Entry::New),
                Index::Ellipsis => {
                    let whole = x.ndim() - used;
                    entries.extend((axis..axis + whole).map(Entry::Axis));
                    axis += whole;
                }
                Index::Int(i) => {
                    let n = x.shape()[axis];
                    let at = if *i < 0 { i + n as i64 } else { *i };
                    if at < 0 || at >= n as i64 {
                        return Err(Error::index(OP, *i, axis as i64, n));
                    }
                    (slice.start[axis], slice.shape[axis]) = (at as usize, 1);
                    let end = if *i < 0 { End::Back } else { End::Front };
                    slice.ends = slice.ends.with(axis, end);
                    ints.push(axis);
                    entries.push(Entry::Advanced);
                    axis += 1;
                }
                Index::Slice { start, stop, step } => {
                    let step = step.unwrap_or(1);
                    let n = x.shape()[axis];
                    let (first, len, end) = super::shaping::resolve_slice(n, *start, *stop, step)?;
                    (slice.start[axis], slice.step[axis], slice.shape[axis]) =
                        (first, step as isize, len);
                    slice.ends = slice.ends.with(axis, end);
                    entries.push(Entry::Axis(axis));
                    axis += 1;
                }
                Index::Array(places) => {
                    arrays.push((axis, super::gather::as_index(OP, places)?));
                    entries.push(Entry::Advanced);
                    axis += 1;
                }
                Index::Mask(mask) => {
                    if mask.dtype() != Dtype::Bool {
                        return Err(Error::dtype(OP, &[mask.dtype()], "a bool mask"));
                    }
                    let covered = &x.shape()[axis..axis + mask.ndim()];
                    if mask.shape() != covered {
                        let message = format!(
                            "a mask of {} does not fit axes of {}",
                            show(mask.shape()),
                            show(covered)
                        );
                        return Err(Error::shape(OP, &[mask.shape(), covered], message));
                    }
                    for places in mask.nonzero()? {
                        arrays.push((axis, places));
                        axis += 1;
                    }
                    entries.push(Entry::Advanced);
                }
            }
        }
        if dots == 0 {
            entries.extend((axis..x.ndim()).map(Entry::Axis));
        }
        let shape = (arrays.iter())
            .try_fold(Shape::new(), |shape, (_, i)| broadcast_shapes(OP, &shape, i.shape()))?;
        for (_, places) in &mut arrays {
            *places = places.broadcast_to(&shape)?;
        }
        Ok(Plan { slice, entries, ints, arrays })
    }

    /// The shape of the index arrays.
    fn indices(&self) -> &[usize] {
        self.arrays.first().map_or(&[], |(_, i)| i.shape())
    }

    /// The result's axes but those of the index arrays.
    fn rest(&self) -> Shape {
        let size = |e: &Entry| match e {
            Entry::Axis(a) => Some(self.slice.shape[*a]),
            Entry::New => Some(1),
            Entry::Advanced => None,
        };
        self.entries.iter().filter_map(size).collect()
    }

    /// Where the axes of the index arrays are in the result.
    fn place(&self) -> usize {
        let advanced = |e: &Entry| matches!(e, Entry::Advanced);
        let Some(first) = self.entries.iter().position(advanced) else { return 0 };
        let count = self.entries[first..].iter().take_while(|e| advanced(e)).count();
        if count == self.entries.iter().filter(|e| advanced(e)).count() { first } else { 0 }
    }

    /// Moves the axes of the index arrays from the front to their place, or back.
    fn arrange(&self, x: &Array, back: bool) -> Result<Array> {
        let (count, place) = (self.indices().len(), self.place());
        let mut order: Axes = (count..count + place).chain(0..count).collect();
        order.extend(count + place..x.ndim());
        if back {
            order = super::view::inverse(&order);
        }
        x.transpose(Some(&order.iter().map(|&a| a as i64).collect::<Vec<_>>()))
    }

    /// The shape of the gathered slices: 1 along indexed axes.
    fn part(&self) -> Shape {
        let mut part = self.slice.shape.clone();
        for (axis, _) in &self.arrays {
            part[*axis] = part[*axis].min(1);
        }
        part
    }

    fn split(&self) -> (Vec<i64>, Vec<Array>) {
        self.arrays.iter().map(|(a, i)| (*a as i64, i.clone())).unzip()
    }
}

impl Array {
    /// The elements that `index` names, as NumPy's `x[...]`. An index that is shorter than the
    /// array's rank leaves the other axes whole.
    ///
    /// # Errors
    /// Kind `Axis` if an integer is out of range or there are too many entries; `Argument` for a
    /// step of 0 or a second ellipsis; `Shape` if index arrays do not broadcast or a mask does not
    /// fit; `Dtype` if index arrays are not integers. A place in an index array that is out of
    /// range is an error of evaluation. A mask is evaluated, since the result's size depends on it.
    ///
    /// ```no_run
    /// use lazulite_core::{Array, s};
    /// let x = Array::from_slice(&[1, 2, 3, 4, 5, 6], &[2, 3])?;
    /// assert_eq!(x.index(&s![1, 1..])?.to_vec::<i32>()?, [5, 6]);
    /// # Ok::<(), lazulite_core::Error>(())
    /// ```
    pub fn index(&self, index: &[Index]) -> Result<Array> {
        let plan = Plan::new(self, index)?;
        let x = self.slice_by(plan.slice.clone())?;
        if plan.arrays.is_empty() {
            let x = drop_axes(&x, &plan.ints)?;
            return x.reshape(&plan.rest());
        }
        let (axes, indices) = plan.split();
        let picked = x.gather(&indices, &axes, &plan.part())?;
        let mut shape: Shape = plan.indices().into();
        shape.extend(plan.rest());
        plan.arrange(&picked.reshape(&shape)?, false)
    }

    /// Element or part `i` along the first axis, which is dropped.
    ///
    /// # Errors
    /// Kind `Axis` if there is no such element.
    pub fn at(&self, i: i64) -> Result<Array> {
        self.index(&[Index::Int(i)])
    }

    /// A copy in which `values`, which broadcast to the shape of [`Array::index`] and are converted
    /// to the array's dtype, meet the elements that `index` names by `mode`. Where an index array
    /// names an element twice, both updates join (or the last stays, with `Set`).
    ///
    /// # Errors
    /// As [`Array::index`], and kind `Shape` if the values do not broadcast.
    pub fn index_update(&self, index: &[Index], values: &Array, mode: UpdateMode) -> Result<Array> {
        let values = values.astype(self.dtype())?;
        if let [Index::Mask(mask)] | [Index::Mask(mask), Index::Ellipsis] = index
            && mask.dtype() == Dtype::Bool
            && self.shape().starts_with(mask.shape())
        {
            let covered = mask.ndim();
            let mut wide: Shape = mask.shape().into();
            wide.resize(self.ndim(), 1);
            let wide = mask.reshape(&wide)?;
            if values.ndim() == 0 || (covered > 0 && values.ndim() < self.ndim() - covered + 1) {
                // The same values for every element under the mask need no places.
                let fits = broadcast_shapes(OP, values.shape(), &self.shape()[covered..])?;
                if fits.as_slice() == &self.shape()[covered..] {
                    return wide.select(&meet(self, &values, mode)?, self);
                }
            } else if mode == UpdateMode::Set && covered == self.ndim() && values.ndim() == 1 {
                let count = mask.nonzero()?.first().map_or(0, Array::len);
                if values.len() == count {
                    return self.masked_scatter(mask, &values);
                }
            }
        }
        let plan = Plan::new(self, index)?;
        let mut shape: Shape = plan.indices().into();
        shape.extend(plan.rest());
        let target = plan.arrange_shape(&shape);
        // Leading axes of size 1 too many are dropped, as NumPy does.
        let extra = values.ndim().saturating_sub(target.len());
        if values.shape()[..extra].iter().any(|&n| n != 1) {
            let message =
                format!("values of {} do not broadcast to {}", show(values.shape()), show(&target));
            return Err(Error::shape(OP, &[values.shape(), &target], message));
        }
        let values = values.reshape(&values.shape()[extra..])?.broadcast_to(&target)?;
        if plan.arrays.is_empty() {
            let values = values.reshape(&plan.slice.shape)?;
            return self.update_by(plan.slice, &values, mode);
        }
        let x = self.slice_by(plan.slice.clone())?;
        let mut shape: Shape = plan.indices().into();
        shape.extend(plan.part());
        let updates = plan.arrange(&values, true)?.reshape(&shape)?;
        let (axes, indices) = plan.split();
        let updated = x.scatter(&indices, &updates, &axes, mode)?;
        if plan.slice.shape.as_slice() == self.shape() && plan.slice.step.iter().all(|&s| s == 1) {
            return Ok(updated);
        }
        self.update_by(plan.slice, &updated, UpdateMode::Set)
    }
}

impl Plan {
    /// `shape`, whose leading axes are those of the index arrays, in the result's order.
    fn arrange_shape(&self, shape: &[usize]) -> Shape {
        let (count, place) = (self.indices().len(), self.place());
        let (indices, rest) = shape.split_at(count);
        rest[..place].iter().chain(indices).chain(&rest[place..]).copied().collect()
    }
}

/// What an element becomes when `update` meets it.
fn meet(x: &Array, update: &Array, mode: UpdateMode) -> Result<Array> {
    match mode {
        UpdateMode::Set => Ok(update.clone()),
        UpdateMode::Add => x.add(update),
        UpdateMode::Multiply => x.multiply(update),
        UpdateMode::Max => x.maximum(update),
        UpdateMode::Min => x.minimum(update),
    }
}
