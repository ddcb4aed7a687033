//! Writing at places that are arrays or slices.
//!
//! The output starts as a copy of `dst`, or is `dst` where the planner gave its buffer away; then
//! `k` rows cost `k` rows. All indices are checked before the first element is written. Several
//! updates of one element are applied in row-major order, on one thread each.

use lazulite_core::backend::Operand;
use lazulite_core::op::scatter::{
    DynamicSliceUpdate, MaskedScatter, Scatter, ScatterAxis, SliceUpdate, UpdateMode,
};
use lazulite_core::shape::contiguous_strides;
use lazulite_core::{Complex32, Dtype, Error, Result, bf16, f16};

use crate::copy::{copy, copy_strided};
use crate::gather::{Axis, FirstError, Indices, Places, dynamic_offset, resolve};
use crate::pool::{self, parallel_for};
use crate::strided::{
    Plain, SERIAL, Target, View, Walk, internal, rows_per_task, with_bits, with_number,
};

/// How two elements join.
pub(crate) trait Join: Plain {
    fn add(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
    /// The greater one; NaN if one is NaN.
    fn greater(self, other: Self) -> Self;
    /// The lesser one; NaN if one is NaN.
    fn lesser(self, other: Self) -> Self;
}

macro_rules! join_int {
    ($($t:ty)*) => { $(impl Join for $t {
        #[inline(always)]
        fn add(self, other: Self) -> Self { self.wrapping_add(other) }
        #[inline(always)]
        fn multiply(self, other: Self) -> Self { self.wrapping_mul(other) }
        #[inline(always)]
        fn greater(self, other: Self) -> Self { self.max(other) }
        #[inline(always)]
        fn lesser(self, other: Self) -> Self { self.min(other) }
    })* };
}
join_int! { u8 u16 u32 u64 i8 i16 i32 i64 }

macro_rules! join_float {
    ($($t:ty)*) => { $(impl Join for $t {
        #[inline(always)]
        fn add(self, other: Self) -> Self { self + other }
        #[inline(always)]
        fn multiply(self, other: Self) -> Self { self * other }
        #[inline(always)]
        fn greater(self, other: Self) -> Self {
            if self >= other || self.is_nan() { self } else { other }
        }
        #[inline(always)]
        fn lesser(self, other: Self) -> Self {
            if self <= other || self.is_nan() { self } else { other }
        }
    })* };
}
join_float! { f16 bf16 f32 f64 }

impl Join for Complex32 {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn multiply(self, other: Self) -> Self {
        self * other
    }
    /// By real part, then imaginary part.
    #[inline(always)]
    fn greater(self, other: Self) -> Self {
        let more = (self.re, self.im) >= (other.re, other.im);
        if more || self.is_nan() { self } else { other }
    }
    #[inline(always)]
    fn lesser(self, other: Self) -> Self {
        let less = (self.re, self.im) <= (other.re, other.im);
        if less || self.is_nan() { self } else { other }
    }
}

/// The mode with which the bytes of a bool join as those of the integer that stands for it.
fn mode_of(mode: UpdateMode, dtype: Dtype) -> UpdateMode {
    match mode {
        UpdateMode::Add if dtype == Dtype::Bool => UpdateMode::Max,
        UpdateMode::Multiply if dtype == Dtype::Bool => UpdateMode::Min,
        mode => mode,
    }
}

/// Joins a row of updates into a row of the output: `n` elements, pointers with steps in elements.
type JoinRow = unsafe fn(usize, (*mut u8, isize), (*const u8, isize));

/// The row function of a mode and a dtype. All else here knows only the size of elements, so that
/// modes times types cost one small loop each.
fn join_of(mode: UpdateMode, dtype: Dtype) -> JoinRow {
    let mode = mode_of(mode, dtype);
    if mode == UpdateMode::Set {
        return with_bits!(dtype.size(), T => join_row::<T, Set>);
    }
    with_number!(dtype, T => match mode {
        UpdateMode::Set => join_row::<T, Set>,
        UpdateMode::Add => join_row::<T, Add>,
        UpdateMode::Multiply => join_row::<T, Multiply>,
        UpdateMode::Max => join_row::<T, Max>,
        UpdateMode::Min => join_row::<T, Min>,
    })
}

/// A mode as a type.
trait Mode<T> {
    fn join(old: T, new: T) -> T;
}

struct Set;
struct Add;
struct Multiply;
struct Max;
struct Min;

impl<T> Mode<T> for Set {
    #[inline(always)]
    fn join(_: T, new: T) -> T {
        new
    }
}
impl<T: Join> Mode<T> for Add {
    #[inline(always)]
    fn join(old: T, new: T) -> T {
        old.add(new)
    }
}
impl<T: Join> Mode<T> for Multiply {
    #[inline(always)]
    fn join(old: T, new: T) -> T {
        old.multiply(new)
    }
}
impl<T: Join> Mode<T> for Max {
    #[inline(always)]
    fn join(old: T, new: T) -> T {
        old.greater(new)
    }
}
impl<T: Join> Mode<T> for Min {
    #[inline(always)]
    fn join(old: T, new: T) -> T {
        old.lesser(new)
    }
}

/// Makes the output a copy of `dst`, unless it is `dst`.
fn start(dst: &Operand, out: &Operand) -> Result<()> {
    if dst.buffer.same(&out.buffer) { Ok(()) } else { copy(dst, out) }
}

/// Joins a row of updates into a row of the output.
///
/// # Safety
/// Both rows are of type `T` and lie inside live memory, and the output's elements are this
/// thread's.
unsafe fn join_row<T: Plain, M: Mode<T>>(
    n: usize,
    (dst, d): (*mut u8, isize),
    (src, s): (*const u8, isize),
) {
    let (dst, src) = (dst.cast::<T>(), src.cast::<T>());
    // SAFETY: the caller's promise.
    unsafe {
        if d == 1 && s == 1 {
            for i in 0..n {
                *dst.add(i) = M::join(*dst.add(i), *src.add(i));
            }
        } else {
            for i in 0..n as isize {
                *dst.offset(i * d) = M::join(*dst.offset(i * d), *src.offset(i * s));
            }
        }
    }
}

/// `dst[s + index(i)]` joined with `updates[i, s]`.
pub(crate) fn scatter(op: &Scatter, inputs: &[Operand], out: &Operand) -> Result<()> {
    let updates = &inputs[1];
    let indices = &inputs[2..];
    let lead = indices.first().map_or(0, |i| i.shape().len());
    let ndim = out.shape().len();
    if updates.shape().len() != lead + ndim {
        return Err(internal("the updates of a scatter have another rank"));
    }
    let slice = &updates.shape()[lead..];
    if !slice.iter().zip(out.shape()).all(|(n, m)| n <= m) {
        return Err(internal("the updates of a scatter are larger than its output"));
    }
    let strides = contiguous_strides(out.shape());
    let layout = (out.shape(), &strides[..]);
    let places = Places::new("scatter", &op.axes, indices, layout, slice)?;
    if updates.layout.len() != places.count() * slice.iter().product::<usize>() {
        return Err(internal("the updates of a scatter have another size"));
    }
    if updates.layout.is_empty() {
        return start(&inputs[0], out);
    }
    let mut offsets = vec![0isize; places.count()];
    check(&places, &mut offsets)?;
    start(&inputs[0], out)?;
    let layout = &updates.layout;
    let job = Slices {
        offsets: &offsets,
        leads: Walk::new(&layout.shape[..lead], [&layout.strides[..lead]]),
        slice,
        slice_strides: &layout.strides[lead..],
        out_strides: &strides,
        free: &(0..ndim).map(|a| !op.axes.contains(&a)).collect::<Vec<_>>(),
        join: join_of(op.mode, out.dtype),
    };
    with_bits!(out.dtype.size(), T => {
        job.run(&View::<T>::new(updates)?, &Target::<T>::new(out)?);
    });
    Ok(())
}

/// Turns all places into offsets, on several threads.
fn check(places: &Places, offsets: &mut [isize]) -> Result<()> {
    let first = FirstError::default();
    let target = crate::pool::SharedPtr::new(offsets.as_mut_ptr());
    parallel_for(offsets.len(), SERIAL, |r| {
        // SAFETY: tasks have disjoint ranges of the slice.
        let part = unsafe { std::slice::from_raw_parts_mut(target.get().add(r.start), r.len()) };
        if let Err(error) = places.offsets(r.start, part) {
            first.put(error);
        }
    });
    first.finish()
}

/// Slices of updates with the offsets at which they go.
struct Slices<'a> {
    offsets: &'a [isize],
    leads: Walk<1>,
    slice: &'a [usize],
    slice_strides: &'a [isize],
    out_strides: &'a [isize],
    /// True for axes that are not indexed: slices that differ there never meet.
    free: &'a [bool],
    join: JoinRow,
}

impl Slices<'_> {
    fn run<T: Plain>(&self, updates: &View<T>, out: &Target<T>) {
        let len: usize = self.slice.iter().product();
        let total = self.offsets.len() * len;
        let longest =
            (0..self.slice.len()).filter(|&a| self.free[a]).max_by_key(|&a| self.slice[a]);
        match longest {
            _ if total <= SERIAL => self.part(updates, out, self.slice, [0, 0]),
            // Parts of the slices along an axis that is not indexed never meet.
            Some(axis) if self.slice[axis] >= 8 => {
                let n = self.slice[axis];
                // Every part walks all updates, so parts are few and at least some cache lines wide.
                let grain = n.div_ceil(8).max(64).max(SERIAL * n / total);
                parallel_for(n, grain, |r| {
                    let mut slice = self.slice.to_vec();
                    slice[axis] = r.len();
                    let at = r.start as isize;
                    let shift = [at * self.out_strides[axis], at * self.slice_strides[axis]];
                    self.part(updates, out, &slice, shift);
                });
            }
            // Every thread looks at all offsets and writes those in its own part of the output:
            // only for single elements, whose place is their offset. The number of parts changes
            // no result.
            _ if len == 1 => {
                let parts = pool::num_threads().min(16);
                pool::run(parts, &|part| {
                    let bound = |p: usize| (out.len() as u128 * p as u128 / parts as u128) as isize;
                    let (low, high) = (bound(part), bound(part + 1));
                    self.leads.each(0..self.offsets.len(), |i, [from]| {
                        let at = self.offsets[i];
                        if (low..high).contains(&at) {
                            // SAFETY: a checked offset, which this part alone writes.
                            unsafe {
                                let to = out.data().offset(at);
                                (self.join)(
                                    1,
                                    (to.cast(), 1),
                                    (updates.first().offset(from).cast(), 1),
                                );
                            }
                        }
                    });
                });
            }
            _ => self.part(updates, out, self.slice, [0, 0]),
        }
    }

    /// Applies part `slice` of every slice, which begins `shift` further in the output and the
    /// updates.
    fn part<T: Plain>(
        &self,
        updates: &View<T>,
        out: &Target<T>,
        slice: &[usize],
        shift: [isize; 2],
    ) {
        let mut rows = Walk::new(slice, [self.out_strides, self.slice_strides]);
        let (n, [d, s]) = rows.pop();
        self.leads.each(0..self.offsets.len(), |i, [from]| {
            rows.each(0..rows.len(), |_, [to, row]| {
                // SAFETY: slices lie inside both operands from every checked place on, and the
                // caller gives each thread parts of its own.
                unsafe {
                    let dst = out.data().offset(self.offsets[i] + to + shift[0]);
                    let src = updates.first().offset(from + row + shift[1]);
                    (self.join)(n, (dst.cast(), d), (src.cast(), s));
                }
            });
        });
    }
}

/// `dst` at `i` with `indices[i]` along the axis, joined with `updates[i]`.
pub(crate) fn scatter_axis(op: &ScatterAxis, inputs: &[Operand], out: &Operand) -> Result<()> {
    let (index, updates) = (&inputs[1], &inputs[2]);
    let shape = index.shape();
    let others = |a: usize| a == op.axis || shape[a] == out.shape()[a];
    if shape != updates.shape() || shape.len() != out.shape().len() || !(0..shape.len()).all(others)
    {
        return Err(internal("the shapes of put_along_axis differ in another axis"));
    }
    let strides = contiguous_strides(out.shape());
    let size = out.shape()[op.axis];
    let axis = Axis {
        indices: Indices::new("put_along_axis", index)?,
        axis: op.axis,
        size,
        places: size,
        step: strides[op.axis],
    };
    if index.layout.is_empty() {
        return start(&inputs[0], out);
    }
    // Rows run along the indexed axis; elements of different rows never meet.
    let steps = [&strides[..], &index.layout.strides, &updates.layout.strides];
    let rows = Walk::without(op.axis, shape, steps);
    let n = shape[op.axis];
    let (by, with) = (index.layout.strides[op.axis], updates.layout.strides[op.axis]);
    let first = FirstError::default();
    parallel_for(rows.len(), rows_per_task(n), |r| {
        rows.each(r, |row, [_, at, _]| {
            for j in 0..n {
                // SAFETY: inside the index array.
                let value = unsafe { axis.indices.at(at + j as isize * by) };
                if let Err(error) = resolve("put_along_axis", value, &axis) {
                    return first.put((row * n + j, error));
                }
            }
        });
    });
    first.finish()?;
    start(&inputs[0], out)?;
    let join = join_of(op.mode, out.dtype);
    with_bits!(out.dtype.size(), T => {
        let (updates, out_data) = (View::<T>::new(updates)?, Target::<T>::new(out)?);
        {
            // One long row is shared by places, as in `Slices`.
            let parts = match rows.len() {
                1 if n > SERIAL => pool::num_threads().min(16),
                _ => 1,
            };
            parallel_for(rows.len() * parts, rows_per_task(n), |tasks| {
                for task in tasks {
                    let (row, part) = (task / parts, task % parts);
                    let low = size * part / parts;
                    let high = size * (part + 1) / parts;
                    rows.each(row..row + 1, |_, [to, at, from]| {
                        for j in 0..n as isize {
                            // SAFETY: the indices were checked; tasks have rows or parts of a row
                            // of their own.
                            unsafe {
                                let value = axis.indices.at(at + j * by);
                                let place = if value < 0 { value + size as i64 } else { value };
                                if parts > 1 && !(low..high).contains(&(place as usize)) {
                                    continue;
                                }
                                let dst = out_data.data().offset(to + place as isize * axis.step);
                                let src = updates.first().offset(from + j * with);
                                join(1, (dst.cast(), 1), (src.cast(), 1));
                            }
                        }
                    });
                }
            });
        }
    });
    Ok(())
}

/// Joins `update` into a part of the output: `offset` elements in, with these strides.
fn update_part(
    mode: UpdateMode,
    update: &Operand,
    out: &Operand,
    offset: isize,
    strides: &[isize],
) -> Result<()> {
    if mode == UpdateMode::Set {
        with_bits!(out.dtype.size(), T => {
            let (x, out) = (View::<T>::new(update)?, Target::<T>::new(out)?);
            // SAFETY: the caller has checked the part, and the output is not read.
            unsafe {
                let to = out.data().wrapping_offset(offset);
                copy_strided(x.shape, x.first(), x.strides, to, strides);
            }
        });
        return Ok(());
    }
    let join = join_of(mode, out.dtype);
    with_bits!(out.dtype.size(), T => {
        let (x, out_data) = (View::<T>::new(update)?, Target::<T>::new(out)?);
        let mut rows = Walk::new(x.shape, [strides, x.strides]);
        let (n, [d, s]) = rows.pop();
        {
            parallel_for(rows.len(), rows_per_task(n), |r| {
                rows.each(r, |_, [to, from]| {
                    // SAFETY: as above; rows are disjoint.
                    unsafe {
                        let dst = out_data.data().offset(offset + to);
                        join(n, (dst.cast(), d), (x.first().offset(from).cast(), s));
                    }
                });
            });
        }
    });
    Ok(())
}

/// `dst[start + i * step]` joined with `update[i]`.
pub(crate) fn slice_update(op: &SliceUpdate, inputs: &[Operand], out: &Operand) -> Result<()> {
    start(&inputs[0], out)?;
    let update = &inputs[1];
    if update.layout.is_empty() {
        return Ok(());
    }
    let strides = contiguous_strides(out.shape());
    let mut offset = 0;
    let mut steps = strides.clone();
    for (axis, step) in steps.iter_mut().enumerate() {
        let (n, first, by) = (update.shape()[axis], op.start[axis], op.step[axis]);
        let last = first as isize + (n as isize - 1) * by;
        if first >= out.shape()[axis] || last < 0 || last >= out.shape()[axis] as isize || by == 0 {
            return Err(internal(format!("slice_update: {first} to {last} along axis {axis}")));
        }
        offset += first as isize * *step;
        *step *= by;
    }
    update_part(op.mode, update, out, offset, &steps)
}

/// The part of `dst` that begins at a place given by an array, joined with `update`.
pub(crate) fn dynamic_slice_update(
    op: &DynamicSliceUpdate,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    let update = &inputs[1];
    if update.layout.is_empty() {
        return start(&inputs[0], out);
    }
    let strides = contiguous_strides(out.shape());
    let layout = (out.shape(), &strides[..]);
    let name = "dynamic_slice_update";
    let offset = dynamic_offset(name, &op.axes, &inputs[2], layout, update.shape())?;
    start(&inputs[0], out)?;
    update_part(op.mode, update, out, offset, &strides)
}

/// The elements under the mask become consecutive elements of `src`.
pub(crate) fn masked_scatter(_: &MaskedScatter, inputs: &[Operand], out: &Operand) -> Result<()> {
    let mask = View::<u8>::new(&inputs[1])?;
    if mask.shape != out.shape() {
        return Err(internal("the mask of a masked_scatter has another shape"));
    }
    let mut rows = Walk::new(mask.shape, [mask.strides]);
    let (n, [step]) = rows.pop();
    // Pieces of rows: counted first, so that each knows where its elements of `src` begin.
    let cuts = n.div_ceil(SERIAL).max(1);
    let pieces = if out.layout.is_empty() { 0 } else { rows.len() * cuts };
    let piece_of = |piece: usize, f: &mut dyn FnMut(usize, bool)| {
        let (row, cut) = (piece / cuts, piece % cuts);
        rows.each(row..row + 1, |_, [at]| {
            for j in cut * n / cuts..(cut + 1) * n / cuts {
                // SAFETY: inside the mask.
                let set = unsafe { *mask.first().offset(at + j as isize * step) != 0 };
                f(row * n + j, set);
            }
        });
    };
    let mut starts = vec![0usize; pieces + 1];
    let counts = Target::of(&mut starts[1..]);
    parallel_for(pieces, rows_per_task(n.div_ceil(cuts)), |r| {
        // SAFETY: tasks have disjoint ranges.
        let counts = unsafe { counts.part(r.clone()) };
        for (piece, count) in r.zip(counts) {
            piece_of(piece, &mut |_, set| *count += usize::from(set));
        }
    });
    for i in 0..pieces {
        starts[i + 1] += starts[i];
    }
    let have = inputs[2].layout.len();
    if starts[pieces] > have {
        let message = format!("the mask selects {} elements, src has {have}", starts[pieces]);
        return Err(Error::argument("masked_scatter", message));
    }
    start(&inputs[0], out)?;
    with_bits!(out.dtype.size(), T => {
        let (src, out) = (View::<T>::new(&inputs[2])?, Target::<T>::new(out)?);
        let by = src.strides.first().copied().unwrap_or(0);
        parallel_for(pieces, rows_per_task(n.div_ceil(cuts)), |r| {
            for piece in r {
                let mut next = starts[piece] as isize;
                piece_of(piece, &mut |i, set| {
                    if set {
                        // SAFETY: `next` is below the count, which is at most the source's size;
                        // pieces are disjoint.
                        unsafe { *out.data().add(i) = *src.first().offset(next * by) };
                        next += 1;
                    }
                });
            }
        });
    });
    Ok(())
}
