//! Reading at places that are arrays.
//!
//! Indices are checked as they are turned into offsets, block by block; nothing is read before its
//! index was found good.

use lazulite_core::backend::Operand;
use lazulite_core::op::gather::{DynamicSlice, Gather, GatherAxis};
use lazulite_core::{Dtype, Error, Result};
use parking_lot::Mutex;

use crate::copy::{copy_row, copy_strided};
use crate::fused::STREAMED;
use crate::fused::transfer::{end_streams, stream};
use crate::isa::fetch;
use crate::pool::parallel_for;
use crate::strided::{SERIAL, Target, View, Walk, internal, rows_per_task, with_bits};

/// Index positions that are checked at once.
const BLOCK: usize = 256;
/// How many slices ahead memory is asked for, and how much of each at most: the processor does not
/// know where the next slice is.
const AHEAD: usize = 2;
const FETCHED: usize = 4096;
/// Bytes of a slice from which on it is written past the caches, if the output is large: 8192 rows
/// of 2 KiB took 0.74 of the time so on two cores of a Xeon of the fourth generation.
const LONG: usize = 256;

/// The elements of an index array of any of the four types.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    U32(View<'a, u32>),
    U64(View<'a, u64>),
    I32(View<'a, i32>),
    I64(View<'a, i64>),
}

impl<'a> Indices<'a> {
    /// The index array of an operand.
    pub fn new(op: &'static str, x: &'a Operand) -> Result<Indices<'a>> {
        match x.dtype {
            Dtype::U32 => Ok(Indices::U32(View::new(x)?)),
            Dtype::U64 => Ok(Indices::U64(View::new(x)?)),
            Dtype::I32 => Ok(Indices::I32(View::new(x)?)),
            Dtype::I64 => Ok(Indices::I64(View::new(x)?)),
            other => Err(Error::dtype(op, &[other], "int32, int64, uint32 or uint64")),
        }
    }

    /// The index at an element offset.
    ///
    /// # Safety
    /// The offset is one that the view's strides reach.
    #[inline]
    pub unsafe fn at(&self, offset: isize) -> i64 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Indices::U32(x) => i64::from(*x.first().offset(offset)),
                Indices::U64(x) => i64::try_from(*x.first().offset(offset)).unwrap_or(i64::MAX),
                Indices::I32(x) => i64::from(*x.first().offset(offset)),
                Indices::I64(x) => *x.first().offset(offset),
            }
        }
    }
}

/// One indexed axis of an array.
pub(crate) struct Axis<'a> {
    pub indices: Indices<'a>,
    /// The axis's number, for errors.
    pub axis: usize,
    /// Its size.
    pub size: usize,
    /// The number of places at which a slice may start.
    pub places: usize,
    /// The array's step along it.
    pub step: isize,
}

/// `index` from the front, if the axis has it.
#[inline]
pub(crate) fn resolve(op: &'static str, index: i64, axis: &Axis) -> Result<usize> {
    let from_front = if index < 0 { index.wrapping_add(axis.size as i64) } else { index };
    if from_front < 0 || from_front as u64 >= axis.places as u64 {
        return Err(Error::index(op, index, axis.axis as i64, axis.size));
    }
    Ok(from_front as usize)
}

/// The indexed axes of an op, and a walk over the common shape of the index arrays.
pub(crate) struct Places<'a> {
    op: &'static str,
    axes: Vec<Axis<'a>>,
    walks: Vec<Walk<1>>,
    count: usize,
}

impl<'a> Places<'a> {
    /// The places that `indices` name along `axes` of an array of `shape` with `strides`, at which
    /// slices of `slice` elements along each axis start.
    pub fn new(
        op: &'static str,
        axes: &[usize],
        indices: &'a [Operand],
        (shape, strides): (&[usize], &[isize]),
        slice: &[usize],
    ) -> Result<Places<'a>> {
        if axes.len() != indices.len() || slice.len() != shape.len() {
            return Err(internal(format!("{op}: {} indices for {axes:?}", indices.len())));
        }
        let mut made = Vec::with_capacity(axes.len());
        for (&axis, index) in axes.iter().zip(indices) {
            made.push(Axis {
                indices: Indices::new(op, index)?,
                axis,
                size: shape[axis],
                places: (shape[axis] + 1).saturating_sub(slice[axis]),
                step: strides[axis],
            });
        }
        let walks = indices.iter().map(|x| Walk::new(x.shape(), [&x.layout.strides])).collect();
        let count = indices.first().map_or(1, |x| x.layout.len());
        Ok(Places { op, axes: made, walks, count })
    }

    /// The number of places.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The offsets of places `start..start + out.len()`, or the number of the first bad one with
    /// its error.
    pub fn offsets(&self, start: usize, out: &mut [isize]) -> Result<(), (usize, Error)> {
        out.fill(0);
        let mut bad: Option<(usize, Error)> = None;
        for (axis, walk) in self.axes.iter().zip(&self.walks) {
            walk.each(start..start + out.len(), |i, [at]| {
                // SAFETY: the walk stays inside the index array.
                let index = unsafe { axis.indices.at(at) };
                match resolve(self.op, index, axis) {
                    Ok(place) => out[i - start] += place as isize * axis.step,
                    Err(error) if bad.as_ref().is_none_or(|(at, _)| i < *at) => {
                        bad = Some((i, error));
                    }
                    Err(_) => {}
                }
            });
        }
        bad.map_or(Ok(()), Err)
    }
}

/// The first error of several tasks, by position, so that it does not depend on timing.
#[derive(Default)]
pub(crate) struct FirstError(Mutex<Option<(usize, Error)>>);

impl FirstError {
    pub fn put(&self, (at, error): (usize, Error)) {
        let mut first = self.0.lock();
        if first.as_ref().is_none_or(|(before, _)| at < *before) {
            *first = Some((at, error));
        }
    }

    pub fn finish(self) -> Result<()> {
        self.0.into_inner().map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// `src[s + index(i)]` for every place `i` and every element `s` of a slice.
pub(crate) fn gather(op: &Gather, inputs: &[Operand], out: &Operand) -> Result<()> {
    let src = &inputs[0];
    let fits = |(n, m): (&usize, &usize)| n <= m;
    if op.slice.len() != src.shape().len() || !op.slice.iter().zip(src.shape()).all(fits) {
        return Err(internal("the slice of a gather does not fit its source"));
    }
    let layout = (src.shape(), &src.layout.strides[..]);
    let places = Places::new("gather", &op.axes, &inputs[1..], layout, &op.slice)?;
    with_bits!(out.dtype.size(), T => {
        let (src, out) = (View::<T>::new(src)?, Target::<T>::new(out)?);
        let mut rows = Walk::new(&op.slice, [src.strides]);
        let len = rows.len();
        let (n, [step]) = rows.pop();
        if out.len() != places.count() * len {
            return Err(internal("the output of a gather has another size"));
        }
        if out.len() == 0 {
            // An empty slice starts nowhere; its indices are not looked at.
            return Ok(());
        }
        let first = FirstError::default();
        let one_run = rows.len() == 1 && step == 1;
        let streams = one_run
            && n * size_of::<T>() >= LONG
            && out.len() * size_of::<T>() >= STREAMED;
        parallel_for(places.count(), rows_per_task(len), |mut range| {
            let mut offsets = [0; BLOCK];
            while !range.is_empty() {
                let block = range.start..range.end.min(range.start + BLOCK);
                range.start = block.end;
                let offsets = &mut offsets[..block.len()];
                if let Err(error) = places.offsets(block.start, offsets) {
                    return first.put(error);
                }
                for (at, (i, &offset)) in block.zip(&*offsets).enumerate() {
                    if one_run && let Some(&next) = offsets.get(at + AHEAD) {
                        fetch(src.first().wrapping_offset(next).cast(), (n * size_of::<T>()).min(FETCHED));
                    }
                    // SAFETY: the slice lies inside the source from every good place on; tasks
                    // write slices of their own.
                    unsafe {
                        let from = src.first().offset(offset);
                        let to = out.data().add(i * len);
                        if streams {
                            stream(to.cast(), from.cast(), n * size_of::<T>());
                        } else if len == 1 {
                            *to = *from;
                        } else {
                            rows.each(0..rows.len(), |row, [at]| {
                                copy_row(n, from.offset(at), step, to.add(row * n), 1);
                            });
                        }
                    }
                }
            }
            if streams {
                end_streams();
            }
        });
        first.finish()
    })
}

/// `src` at `i` with `indices[i]` along the axis.
pub(crate) fn gather_axis(op: &GatherAxis, inputs: &[Operand], out: &Operand) -> Result<()> {
    let (src, index) = (&inputs[0], &inputs[1]);
    let others = |a: usize| a == op.axis || src.shape()[a] == index.shape()[a];
    if src.shape().len() != index.shape().len() || !(0..src.shape().len()).all(others) {
        return Err(internal("the shapes of take_along_axis differ in another axis"));
    }
    let axis = Axis {
        indices: Indices::new("take_along_axis", index)?,
        axis: op.axis,
        size: src.shape()[op.axis],
        places: src.shape()[op.axis],
        step: src.layout.strides[op.axis],
    };
    // Steps along the indexed axis come from the indices.
    let mut strides = src.layout.strides.clone();
    strides[op.axis] = 0;
    with_bits!(out.dtype.size(), T => {
        let (src, out) = (View::<T>::new(src)?, Target::<T>::new(out)?);
        let mut rows = Walk::new(index.shape(), [&strides, &index.layout.strides]);
        let (n, [src_step, index_step]) = rows.pop();
        let count = out.len().checked_div(n).unwrap_or(0);
        let first = FirstError::default();
        // A task is a part of one row if rows are long, else some rows.
        let cuts = n.div_ceil(SERIAL).max(1);
        parallel_for(count * cuts, rows_per_task(n.div_ceil(cuts)), |parts| {
            for part in parts {
                let (row, cut) = (part / cuts, part % cuts);
                let columns = cut * n / cuts..(cut + 1) * n / cuts;
                rows.each(row..row + 1, |_, [from, at]| {
                    // SAFETY: `from` and `at` are inside the operands, and every good place is
                    // inside the source; tasks write elements of their own.
                    unsafe {
                        let to = out.data().add(row * n);
                        for j in columns.clone() {
                            let index = axis.indices.at(at + j as isize * index_step);
                            match resolve("take_along_axis", index, &axis) {
                                Ok(place) => {
                                    let place = place as isize * axis.step + j as isize * src_step;
                                    *to.add(j) = *src.first().offset(from + place);
                                }
                                Err(error) => return first.put((row * n + j, error)),
                            }
                        }
                    }
                });
            }
        });
        first.finish()
    })
}

/// The offset that the elements of `start` name along `axes`, for a window of `window` elements.
pub(crate) fn dynamic_offset(
    op: &'static str,
    axes: &[usize],
    start: &Operand,
    (shape, strides): (&[usize], &[isize]),
    window: &[usize],
) -> Result<isize> {
    let indices = Indices::new(op, start)?;
    if start.layout.len() != axes.len() || window.len() != shape.len() {
        return Err(internal(format!("{op}: {} starts for {axes:?}", start.layout.len())));
    }
    if !window.iter().zip(shape).all(|(n, m)| n <= m) {
        return Err(internal(format!("{op}: {window:?} does not fit {shape:?}")));
    }
    let by = start.layout.strides.first().copied().unwrap_or(0);
    let mut offset = 0;
    for (i, &axis) in axes.iter().enumerate() {
        let (size, step) = (shape[axis], strides[axis]);
        let axis = Axis { indices, axis, size, places: size + 1 - window[axis], step };
        // SAFETY: element i of a 1-d array of as many elements.
        let index = unsafe { indices.at(i as isize * by) };
        offset += resolve(op, index, &axis)? as isize * step;
    }
    Ok(offset)
}

/// The part of `src` that begins at a place given by an array.
pub(crate) fn dynamic_slice(op: &DynamicSlice, inputs: &[Operand], out: &Operand) -> Result<()> {
    let src = &inputs[0];
    if out.layout.is_empty() {
        return Ok(());
    }
    let layout = (src.shape(), &src.layout.strides[..]);
    let offset = dynamic_offset("dynamic_slice", &op.axes, &inputs[1], layout, &op.shape)?;
    with_bits!(out.dtype.size(), T => {
        let (src, out) = (View::<T>::new(src)?, Target::<T>::new(out)?);
        let strides = lazulite_core::shape::contiguous_strides(&op.shape);
        // SAFETY: the window lies inside the source, and the output is not read.
        unsafe {
            let from = src.first().offset(offset);
            copy_strided(&op.shape, from, src.strides, out.data(), &strides);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, operand};

    #[test]
    fn many_long_slices_are_written_past_the_caches() {
        // Slices of whole lines, and of lengths that no vector divides.
        for width in [512, 77] {
            let (rows, count) = (40, STREAMED / 4 / width + 1);
            let data: Vec<f32> = (0..rows * width).map(|i| i as f32).collect();
            let places: Vec<u32> = (0..count).map(|i| (i * 7 % rows) as u32).collect();
            let inputs = [operand(&data, &[rows, width]), operand(&places, &[count])];
            let out = empty(Dtype::F32, &[count, 1, width]);
            let op =
                Gather { axes: [0].into_iter().collect(), slice: [1, width].into_iter().collect() };
            gather(&op, &inputs, &out).unwrap();
            let bytes = out.buffer.memory().host_bytes().unwrap();
            let got: &[f32] = bytemuck::cast_slice(&bytes[..count * width * 4]);
            for (got, &place) in got.chunks_exact(width).zip(&places) {
                let row = place as usize * width;
                assert_eq!(got, &data[row..row + width], "row {place} of width {width}");
            }
        }
    }
}
