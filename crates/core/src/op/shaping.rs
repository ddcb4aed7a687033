//! Functions that give an array another shape: all of them are views, or constants.

use super::view::{AsStrided, Bitcast, End, Ends, Reshape, Slice};
use crate::array::Array;
use crate::dtype::{Category, Dtype, Literal};
use crate::error::{Error, Result};
use crate::shape::{
    Axes, Shape, Strides, broadcast_shapes, contiguous_strides, normalize_axes, normalize_axis,
    show,
};

impl Array {
    /// The axes `start` to `end` (both included) merged into one. A 0-d array becomes 1-d.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if `start` is behind `end`.
    pub fn flatten(&self, start: i64, end: i64) -> Result<Array> {
        if self.ndim() == 0 {
            return self.reshape(&[1]);
        }
        // A first axis before the array's and a last one behind them are clipped, as in MLX.
        let n = self.ndim() as i64;
        let from_end = |a: i64| if a < 0 { a + n } else { a };
        let start = from_end(start).max(0) as usize;
        let end = from_end(end).clamp(0, n - 1) as usize;
        if start > end {
            let message = format!("axis {start}, the first to merge, is behind axis {end}");
            return Err(Error::argument("flatten", message));
        }
        let mut shape: Shape = self.shape()[..start].into();
        shape.push(self.shape()[start..=end].iter().product());
        shape.extend_from_slice(&self.shape()[end + 1..]);
        self.reshape(&shape)
    }

    /// The axis `axis` split into axes of the sizes `shape`, of which one may be -1.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if the sizes do not fill it.
    pub fn unflatten(&self, axis: i64, shape: &[i64]) -> Result<Array> {
        let axis = normalize_axis("unflatten", axis, self.ndim())?;
        let inner = infer_size("unflatten", self.shape()[axis], shape)?;
        let mut out: Shape = self.shape()[..axis].into();
        out.extend_from_slice(&inner);
        out.extend_from_slice(&self.shape()[axis + 1..]);
        self.reshape(&out)
    }

    /// As [`Array::reshape`], with one size -1 that the number of elements gives.
    ///
    /// # Errors
    /// Kind `Shape` if the sizes do not fit the number of elements.
    pub fn reshape_infer(&self, shape: &[i64]) -> Result<Array> {
        let sizes = infer_size("reshape", self.len(), shape)?;
        if self.shape() == sizes.as_slice() {
            return Ok(self.clone());
        }
        let places = shape.iter().take(64).enumerate().filter(|(_, n)| **n >= 0);
        let given = places.fold(0, |bits, (a, _)| bits | 1 << a);
        Array::apply(Reshape { shape: sizes, given }, [self.clone()])
    }

    /// The array without the axes `axes`, which have size 1; without all such axes if `None`.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice, `Shape` if one
    /// has another size.
    pub fn squeeze(&self, axes: Option<&[i64]>) -> Result<Array> {
        let axes: Axes = match axes {
            Some(axes) => normalize_axes("squeeze", axes, self.ndim())?,
            None => (0..self.ndim()).filter(|&a| self.shape()[a] == 1).collect(),
        };
        if let Some(&axis) = axes.iter().find(|&&a| self.shape()[a] != 1) {
            let message = format!(
                "axis {axis} of {} has size {}, only axes of size 1 can be dropped",
                show(self.shape()),
                self.shape()[axis]
            );
            return Err(Error::shape("squeeze", &[self.shape()], message));
        }
        super::reduce::drop_axes(self, &axes)
    }

    /// The array with axes of size 1 added, which the result has at the places `axes`.
    ///
    /// # Errors
    /// Kind `Axis` if a place is out of range, `Argument` if one is named twice.
    pub fn expand_dims(&self, axes: &[i64]) -> Result<Array> {
        let axes = normalize_axes("expand_dims", axes, self.ndim() + axes.len())?;
        let mut shape: Shape = self.shape().into();
        for &axis in &axes {
            shape.insert(axis, 1);
        }
        self.reshape(&shape)
    }

    /// The array with two axes exchanged. A view.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range.
    pub fn swapaxes(&self, a: i64, b: i64) -> Result<Array> {
        let a = normalize_axis("swapaxes", a, self.ndim())?;
        let b = normalize_axis("swapaxes", b, self.ndim())?;
        let mut axes: Vec<i64> = (0..self.ndim() as i64).collect();
        axes.swap(a, b);
        self.transpose(Some(&axes))
    }

    /// The array with its axes reversed. A view.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn t(&self) -> Result<Array> {
        self.transpose(None)
    }

    /// The arrays broadcast to their common shape. Views.
    ///
    /// # Errors
    /// Kind `Shape` if they have none.
    pub fn broadcast_arrays(arrays: &[Array]) -> Result<Vec<Array>> {
        let shape = arrays.iter().try_fold(Shape::new(), |shape, x| {
            broadcast_shapes("broadcast_arrays", &shape, x.shape())
        })?;
        if !crate::transform::follows_sizes() {
            return arrays.iter().map(|x| x.broadcast_to(&shape)).collect();
        }
        // An array of the common shape; only its shape is used.
        let Some((first, rest)) = arrays.split_first() else { return Ok(Vec::new()) };
        let common = rest.iter().try_fold(first.clone(), |all, x| all.logical_and(x))?;
        arrays.iter().map(|x| x.broadcast_like(&common)).collect()
    }

    /// The array with at least one axis: `()` becomes `(1,)`.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn atleast_1d(&self) -> Result<Array> {
        if self.ndim() == 0 { self.reshape(&[1]) } else { Ok(self.clone()) }
    }

    /// The array with at least two axes: `(n,)` becomes `(1, n)`.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn atleast_2d(&self) -> Result<Array> {
        let x = self.atleast_1d()?;
        if x.ndim() == 1 { x.expand_dims(&[0]) } else { Ok(x) }
    }

    /// The array with at least three axes: `(n,)` becomes `(1, n, 1)`, `(m, n)` becomes
    /// `(m, n, 1)`.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn atleast_3d(&self) -> Result<Array> {
        let x = self.atleast_2d()?;
        if x.ndim() == 2 { x.expand_dims(&[2]) } else { Ok(x) }
    }

    /// The view whose element `i` is element `offset + sum(i * strides)` of the flattened array.
    /// Row-major strides if `None`, the array's shape if `None`.
    ///
    /// # Errors
    /// Kind `Argument` if it reaches outside the array, or strides and shape differ in length.
    pub fn as_strided(
        &self,
        shape: Option<&[usize]>,
        strides: Option<&[isize]>,
        offset: usize,
    ) -> Result<Array> {
        let shape: Shape = shape.unwrap_or(self.shape()).into();
        let strides: Strides = strides.map_or_else(|| contiguous_strides(&shape), Strides::from);
        if strides.len() != shape.len() {
            let message = format!("{} strides for {} axes", strides.len(), shape.len());
            return Err(Error::argument("as_strided", message));
        }
        Array::apply(AsStrided { shape, strides, offset }, std::slice::from_ref(self))
    }

    /// The bytes of the elements as `dtype`. Where the sizes differ, the last axis grows or
    /// shrinks.
    ///
    /// # Errors
    /// Kind `Shape` if the last axis does not hold whole elements of `dtype`.
    pub fn view(&self, dtype: Dtype) -> Result<Array> {
        if self.dtype() == dtype {
            return Ok(self.clone());
        }
        Array::apply(Bitcast { dtype }, std::slice::from_ref(self))
    }

    /// The number of elements along `axes` (all if `None`), as a 0-d array of `dtype`.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice.
    pub fn number_of_elements(&self, axes: Option<&[i64]>, dtype: Dtype) -> Result<Array> {
        let axes = super::reduce::resolve_axes("number_of_elements", self, axes)?;
        let count: usize = axes.iter().map(|&a| self.shape()[a]).product();
        if crate::transform::follows_sizes() {
            let mut part = self.whole();
            for a in (0..self.ndim()).filter(|a| !axes.contains(a)) {
                part.shape[a] = part.shape[a].min(1);
                part.ends = part.ends.with(a, End::Front);
            }
            let part = self.slice_by(part)?;
            return Array::apply(Literal::from_i64(count as i64, dtype), &[part]);
        }
        Ok(Array::literal(Literal::from_i64(count as i64, dtype)))
    }

    /// Elements `start..stop` by `step` along `axis`, with Python's rules: negative bounds count
    /// from the end, bounds are clipped to the axis, and `None` is the end that the step leaves
    /// or goes to.
    pub(crate) fn slice_axis(
        &self,
        axis: usize,
        start: Option<i64>,
        stop: Option<i64>,
        step: i64,
    ) -> Result<Array> {
        let n = self.shape()[axis];
        let (first, len, end) = resolve_slice(n, start, stop, step)?;
        let mut op = self.whole();
        (op.start[axis], op.step[axis], op.shape[axis]) = (first, step as isize, len);
        op.ends = op.ends.with(axis, end);
        self.slice_by(op)
    }

    /// Elements `start..start + len` along `axis`, which no other size may take over.
    pub(crate) fn pinned_range(&self, axis: usize, start: usize, len: usize) -> Result<Array> {
        let mut op = self.whole();
        (op.start[axis], op.shape[axis]) = (start, len);
        op.ends = op.ends.with(axis, End::Pinned);
        self.slice_by(op)
    }

    /// The first part along `axis`, which is dropped, whatever the axis's size.
    pub(crate) fn front(&self, axis: usize) -> Result<Array> {
        super::reduce::drop_axes(&self.slice_axis(axis, Some(0), Some(1), 1)?, &[axis])
    }

    /// The part at `index` along `axis`, which is dropped.
    pub(crate) fn at_axis(&self, axis: usize, index: usize) -> Result<Array> {
        let x = self.pinned_range(axis, index, 1)?;
        super::reduce::drop_axes(&x, &[axis])
    }

    /// The slice that takes all of the array.
    pub(crate) fn whole(&self) -> Slice {
        let ends = (0..self.ndim()).fold(Ends::default(), |ends, a| ends.with(a, End::Stop));
        Slice {
            start: Shape::from_elem(0, self.ndim()),
            step: Strides::from_elem(1, self.ndim()),
            shape: self.shape().into(),
            ends,
        }
    }

    /// The slice, or the array itself if that is all of it.
    pub(crate) fn slice_by(&self, op: Slice) -> Result<Array> {
        if op.shape.as_slice() == self.shape() && op.step.iter().all(|&s| s == 1) {
            return Ok(self.clone());
        }
        Array::apply(op, std::slice::from_ref(self))
    }

    /// Elements `start..stop` by `step` along each axis, with Python's rules for negative and
    /// out-of-range bounds.
    ///
    /// # Errors
    /// Kind `Argument` if the numbers of bounds and axes differ or a step is 0.
    pub fn slice(&self, start: &[i64], stop: &[i64], step: &[i64]) -> Result<Array> {
        let n = self.ndim();
        if [start.len(), stop.len(), step.len()] != [n; 3] {
            let message = format!(
                "{} starts, {} stops and {} steps for {n} axes",
                start.len(),
                stop.len(),
                step.len()
            );
            return Err(Error::argument("slice", message));
        }
        let mut op = self.whole();
        for a in 0..n {
            let size = self.shape()[a];
            let (first, len, end) = resolve_slice(size, Some(start[a]), Some(stop[a]), step[a])?;
            (op.start[a], op.step[a], op.shape[a]) = (first, step[a] as isize, len);
            op.ends = op.ends.with(a, end);
        }
        self.slice_by(op)
    }

    /// The diagonal of the plane of two axes as a new last axis: elements `(i, i + offset)`. A
    /// view.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range; `Argument` if they are one and the same.
    pub fn diagonal(&self, offset: i64, axis1: i64, axis2: i64) -> Result<Array> {
        let a = normalize_axis("diagonal", axis1, self.ndim())?;
        let b = normalize_axis("diagonal", axis2, self.ndim())?;
        if a == b {
            let message = format!("axes {axis1} and {axis2} are the same axis");
            return Err(Error::argument("diagonal", message));
        }
        let mut order: Vec<i64> =
            (0..self.ndim()).filter(|&i| i != a && i != b).map(|i| i as i64).collect();
        order.extend([a as i64, b as i64]);
        let x = self.transpose(Some(&order))?;
        let (rows, columns) = (self.shape()[a], self.shape()[b]);
        let shift = offset.unsigned_abs() as usize;
        let (top, left) = if offset < 0 { (shift, 0) } else { (0, shift) };
        let len = rows.saturating_sub(top).min(columns.saturating_sub(left));
        let lead = &x.shape()[..x.ndim() - 2];
        let mut shape: Shape = lead.into();
        shape.push(len);
        let mut strides = contiguous_strides(x.shape());
        strides.truncate(lead.len());
        strides.push(columns as isize + 1);
        let offset = if len == 0 { 0 } else { top * columns + left };
        x.as_strided(Some(&shape), Some(&strides), offset)
    }

    /// A matrix with the elements of a 1-d array on diagonal `k`, or diagonal `k` of a matrix.
    ///
    /// # Errors
    /// Kind `Shape` if the array has neither one nor two axes.
    pub fn diag(&self, k: i64) -> Result<Array> {
        match self.ndim() {
            2 => self.diagonal(k, 0, 1),
            1 => {
                let shift = k.unsigned_abs() as usize;
                let on = Array::eye(self.len() + shift, self.len() + shift, k, Dtype::Bool)?;
                // Row i holds element i, or element i - |k| below the main diagonal.
                let around = if k < 0 { (shift, 0) } else { (0, shift) };
                let zero = super::join::PadMode::Constant(super::like(self, 0.0));
                let column = self.pad(&[around], &zero)?;
                on.select(&column.expand_dims(&[1])?, &super::like(self, 0.0))
            }
            _ => {
                let message = format!("one or two axes are needed, got {}", show(self.shape()));
                Err(Error::shape("diag", &[self.shape()], message))
            }
        }
    }

    /// Ones at and below diagonal `k` of an `(n, m)` matrix, zeros above.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn tri(n: usize, m: usize, k: i64, dtype: Dtype) -> Result<Array> {
        triangle(n, m, k)?.astype(dtype)
    }

    /// Each matrix of the last two axes with the elements above diagonal `k` set to 0.
    ///
    /// # Errors
    /// Kind `Shape` if there are fewer than two axes.
    pub fn tril(&self, k: i64) -> Result<Array> {
        let (n, m) = self.matrix_sizes("tril")?;
        triangle(n, m, k)?.select(self, &super::like(self, 0.0))
    }

    /// Each matrix of the last two axes with the elements below diagonal `k` set to 0.
    ///
    /// # Errors
    /// Kind `Shape` if there are fewer than two axes.
    pub fn triu(&self, k: i64) -> Result<Array> {
        let (n, m) = self.matrix_sizes("triu")?;
        triangle(n, m, k - 1)?.select(&super::like(self, 0.0), self)
    }

    fn matrix_sizes(&self, op: &'static str) -> Result<(usize, usize)> {
        match self.shape() {
            [.., n, m] => Ok((*n, *m)),
            shape => {
                let message = format!("at least two axes are needed, got {}", show(shape));
                Err(Error::shape(op, &[shape], message))
            }
        }
    }

    /// An `(n, m)` matrix with ones on diagonal `k`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn eye(n: usize, m: usize, k: i64, dtype: Dtype) -> Result<Array> {
        let (rows, columns) = row_and_column(n, m, k)?;
        rows.equal(&columns)?.astype(dtype)
    }

    /// The identity matrix of size `n`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn identity(n: usize, dtype: Dtype) -> Result<Array> {
        Array::eye(n, n, 0, dtype)
    }

    /// The values `start`, `start + step`, ... before `stop`.
    ///
    /// # Dtypes
    /// `dtype` if given; else `int32` if `integer` (the caller's numbers were all integers),
    /// `float32` if not.
    ///
    /// # Errors
    /// Kind `Argument` if the step is 0 or a bound is not finite; `Dtype` for bool and complex.
    pub fn arange(
        start: f64,
        stop: f64,
        step: f64,
        dtype: Option<Dtype>,
        kind: Category,
    ) -> Result<Array> {
        if !(start.is_finite() && stop.is_finite() && step.is_finite()) || step == 0.0 {
            let message = format!(
                "bounds {start} to {stop} by {step}; finite bounds and a step other than 0 are needed"
            );
            return Err(Error::argument("arange", message));
        }
        let integer = matches!(kind, Category::SignedInteger | Category::UnsignedInteger);
        let dtype = dtype.unwrap_or(if integer { Dtype::I32 } else { Dtype::F32 });
        let len = ((stop - start) / step).ceil().max(0.0);
        if len > (1u64 << 53) as f64 {
            let message = format!("{len} values are too many");
            return Err(Error::argument("arange", message));
        }
        Array::iota(start, step, len as usize, dtype)
    }

    /// `count` values from `start` to `stop`, both included.
    ///
    /// # Errors
    /// Kind `Dtype` for bool and complex.
    pub fn linspace(start: f64, stop: f64, count: usize, dtype: Dtype) -> Result<Array> {
        if count == 1 || !dtype.is_floating() {
            let compute = if dtype.is_floating() { dtype } else { Dtype::F32 };
            let step = if count > 1 { (stop - start) / (count - 1) as f64 } else { 0.0 };
            return Array::iota(start, step, count, compute)?.astype(dtype);
        }
        // Each half is counted from its own end, so that both ends are exact.
        let step = (stop - start) / (count.max(2) - 1) as f64;
        let compute = if dtype == Dtype::F64 { dtype } else { Dtype::F32 };
        let low = Array::iota(start, step, count.div_ceil(2), compute)?;
        let half = count / 2;
        let high = Array::iota(stop - step * half.saturating_sub(1) as f64, step, half, compute)?;
        Array::concatenate(&[low, high], 0)?.astype(dtype)
    }
}

fn row_and_column(n: usize, m: usize, k: i64) -> Result<(Array, Array)> {
    let rows = Array::iota(k as f64, 1.0, n, Dtype::I64)?.expand_dims(&[1])?;
    Ok((rows, Array::iota(0.0, 1.0, m, Dtype::I64)?))
}

/// True at and below diagonal `k` of an `(n, m)` matrix.
fn triangle(n: usize, m: usize, k: i64) -> Result<Array> {
    let (rows, columns) = row_and_column(n, m, k)?;
    rows.greater_equal(&columns)
}

/// `shape` with its only -1 replaced so that there are `len` elements.
fn infer_size(op: &'static str, len: usize, shape: &[i64]) -> Result<Shape> {
    let known: usize = shape
        .iter()
        .filter(|&&n| n >= 0)
        .fold(1usize, |product, &n| product.saturating_mul(n as usize));
    let open = shape.iter().filter(|&&n| n < 0).count();
    let fits = match open {
        0 => known == len,
        1 => known != 0 && len.is_multiple_of(known) && shape.iter().all(|&n| n >= -1),
        _ => false,
    };
    if !fits {
        let message = format!("sizes {shape:?} do not fit {len} elements");
        return Err(Error::shape(op, &[&[len]], message));
    }
    Ok(shape.iter().map(|&n| if n < 0 { len / known } else { n as usize }).collect())
}

/// The first place, the number of elements and what the bounds mean of `start..stop` by `step` on
/// an axis of `n` elements, by Python's rules.
pub(crate) fn resolve_slice(
    n: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> Result<(usize, usize, End)> {
    if step == 0 {
        return Err(Error::argument("slice", "the step is 0"));
    }
    let n = n as i64;
    let absolute = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let first = start.map_or(if step > 0 { 0 } else { n - 1 }, absolute).clamp(low, high);
    let last = stop.map_or(if step > 0 { n } else { -1 }, absolute).clamp(low, high);
    let span = if step > 0 { last - first } else { first - last };
    let len = if span <= 0 { 0 } else { (span - 1) / step.abs() + 1 };
    // A clipped bound, or bounds that cross, say nothing about another size; nor does a stop that
    // a longer step may have missed.
    let clipped = |bound: Option<i64>| bound.is_some_and(|i| !(-n..=n).contains(&i));
    let long_step = step.abs() > 1;
    let back = start.map_or(step < 0, |i| i < 0);
    let stop_back = stop.map_or(step > 0, |i| i < 0 || (i == n && step > 0));
    let end = match (back, stop_back) {
        _ if clipped(start) || clipped(stop) || span < 0 => End::Pinned,
        (false, false) => End::Front,
        (true, true) => End::Back,
        (false, true) if step > 0 && (!long_step || stop.is_none_or(|i| i == n)) => End::Stop,
        (true, false) if step < 0 && (!long_step || stop.is_none()) => End::Stop,
        _ => End::Pinned,
    };
    Ok((first.max(0) as usize, len as usize, end))
}
