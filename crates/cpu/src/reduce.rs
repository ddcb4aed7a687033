//! Places of least and greatest elements. Other reductions run as tapes.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::reduce::{ArgReduce, ArgReduceOp};
use parking_lot::Mutex;
use std::cmp::Reverse;

use crate::isa::fetch_block;
use crate::keys::{Key, Order, with_key};
use crate::pool::{self, parallel_for};
use crate::strided::{SERIAL, Target, View, Walk, rows_per_task, with_bits};

/// Columns that are compared at once.
const COLUMNS: usize = 256;
/// Elements of a row whose best is found before it is looked for.
const BLOCK: usize = 1024;
/// How many blocks ahead memory is asked for.
const AHEAD: usize = 2;

/// The first place of the least or greatest element along the axis. NaN is beyond all else.
pub(crate) fn arg_reduce(op: &ArgReduce, x: &Operand, out: &Operand) -> Result<()> {
    let out = Target::<u32>::new(out)?;
    let order = Order::of(x.dtype);
    with_bits!(x.dtype.size(), T => {
        let x = View::<T>::new(x)?;
        let line = Line {
            first: x.first().cast(),
            step: x.strides[op.axis],
            len: x.shape[op.axis],
            order,
            least: op.op == ArgReduceOp::Min,
        };
        let walk = Walk::without(op.axis, x.shape, [x.strides]);
        with_key!(order.bits() / 8, K => run::<K>(line, walk, &out));
    });
    Ok(())
}

/// Elements among which the best is sought.
#[derive(Clone, Copy)]
struct Line {
    first: *const u8,
    /// The step in elements.
    step: isize,
    len: usize,
    order: Order,
    least: bool,
}

// SAFETY: it is a shared view of plain data.
unsafe impl Send for Line {}
// SAFETY: as above.
unsafe impl Sync for Line {}

impl Line {
    /// The line that begins so many elements further.
    fn shifted(self, by: isize) -> Line {
        let size = self.order.bits() as isize / 8;
        Line { first: self.first.wrapping_offset(by * size), ..self }
    }

    /// The keys of `out.len()` elements with this step; the greatest one is sought.
    ///
    /// # Safety
    /// The elements lie inside live memory.
    unsafe fn keys<K: Key>(self, step: isize, out: &mut [K]) {
        // SAFETY: the caller's promise.
        unsafe { K::ranks(self.order, self.first, step, out) };
        if self.least {
            reverse(out, K::low(self.order.highest()), self.order.has_nan());
        }
    }
}

impl Line {
    /// The greatest key of the first `n` elements, if it is quickly found.
    ///
    /// # Safety
    /// They lie inside live memory.
    unsafe fn bound<K: Key>(self, n: usize) -> Option<K> {
        if self.step != 1 || !self.order.is_float() {
            return None;
        }
        let mut key = [K::default()];
        // SAFETY: the caller's promise; the element is on the stack.
        unsafe {
            match self.order.bits() {
                32 => {
                    let x = std::slice::from_raw_parts(self.first.cast::<f32>(), n);
                    let best = if self.least { lowest(x) } else { highest(x) }?;
                    Line { first: (&raw const best).cast(), ..self }.keys(1, &mut key);
                }
                64 => {
                    let x = std::slice::from_raw_parts(self.first.cast::<f64>(), n);
                    let best = if self.least { lowest(x) } else { highest(x) }?;
                    Line { first: (&raw const best).cast(), ..self }.keys(1, &mut key);
                }
                _ => return None,
            }
        }
        Some(key[0])
    }
}

fn run<K: Key>(line: Line, mut walk: Walk<1>, out: &Target<u32>) {
    let n = line.len;
    if walk.len() == 0 || n == 0 {
        return;
    }
    let dense = walk.strides.last().is_some_and(|s| s[0] == 1);
    if line.step != 1 && dense && walk.shape.last().is_some_and(|&w| w >= 8) {
        let (width, _) = walk.pop();
        let strips = width.div_ceil(COLUMNS);
        parallel_for(walk.len() * strips, rows_per_task(n * COLUMNS.min(width)), |r| {
            for strip in r {
                let (row, column) = (strip / strips, strip % strips * COLUMNS);
                let place = row * width + column;
                let columns = COLUMNS.min(width - column);
                walk.each(row..row + 1, |_, [at]| {
                    // SAFETY: the columns are inside the input; tasks write places of their own.
                    unsafe {
                        let first = line.shifted(at + column as isize);
                        strip_best::<K>(first, out.part(place..place + columns));
                    }
                });
            }
        });
        return;
    }
    // Long rows are cut, so that few of them keep all threads busy.
    let cuts = n.div_ceil(2 * SERIAL);
    if cuts == 1 {
        parallel_for(walk.len(), rows_per_task(n), |r| {
            walk.each(r, |row, [at]| {
                // SAFETY: the row is inside the input; tasks write places of their own.
                unsafe {
                    let (_, place) = row_best::<K>(line.shifted(at));
                    out.part(row..row + 1)[0] = place as u32;
                }
            });
        });
        return;
    }
    walk.each(0..walk.len(), |row, [at]| {
        let best = Mutex::new(None::<(K, usize)>);
        pool::run(cuts, &|cut| {
            let (start, end) = (cut * n / cuts, (cut + 1) * n / cuts);
            let part = line.shifted(at + start as isize * line.step);
            // SAFETY: a part of a row of the input.
            let (key, place) = unsafe { row_best::<K>(Line { len: end - start, ..part }) };
            let mut best = best.lock();
            let place = start + place;
            if best.is_none_or(|(k, p)| (key, Reverse(place)) > (k, Reverse(p))) {
                *best = Some((key, place));
            }
        });
        // SAFETY: no other task writes.
        unsafe { out.part(row..row + 1)[0] = best.into_inner().map_or(0, |(_, p)| p as u32) };
    });
}

/// A type of which NaN is the one value that differs from itself.
trait Float: Copy + PartialOrd + Default {}
impl Float for f32 {}
impl Float for f64 {}

/// The element that is better than all others; `None` if one is NaN.
#[inline(always)]
fn best_of<T: Float>(x: &[T], better: impl Fn(T, T) -> bool) -> Option<T> {
    const LANES: usize = 32;
    let first = *x.first()?;
    let (mut lanes, mut nan) = ([first; LANES], [T::default(); LANES]);
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            let x = chunk[i];
            lanes[i] = if better(x, lanes[i]) { x } else { lanes[i] };
            nan[i] = if x.partial_cmp(&x).is_some() { nan[i] } else { x };
        }
    }
    let (mut best, mut is_clean) = (first, true);
    for &x in lanes.iter().chain(rest).chain(&nan) {
        is_clean &= x.partial_cmp(&x).is_some();
    }
    for &x in lanes.iter().chain(rest) {
        best = if better(x, best) { x } else { best };
    }
    is_clean.then_some(best)
}

crate::multiversion! {
    /// The greatest element; `None` if one is NaN.
    fn highest, highest_for<const FMA: bool, T: Float>(x: &[T]) -> Option<T> {
        best_of(x, |a, b| a > b)
    }

    /// The least element; `None` if one is NaN.
    fn lowest, lowest_for<const FMA: bool, T: Float>(x: &[T]) -> Option<T> {
        best_of(x, |a, b| a < b)
    }

    /// Reverses the order of keys, but for NaN, which stays the greatest.
    fn reverse, reverse_for<const FMA: bool, K: crate::keys::Key>
    (keys: &mut [K], highest: K, has_nan: bool) {
        for key in keys {
            let back = K::low(highest.wide().wrapping_sub(key.wide()));
            *key = if has_nan && *key == highest { highest } else { back };
        }
    }

    /// The greatest key.
    fn greatest, greatest_for<const FMA: bool, K: crate::keys::Key>(keys: &[K]) -> K {
        keys.iter().fold(K::default(), |high, &key| high.max(key))
    }

    /// The place of the first key that equals `key`.
    fn first_place, first_place_for<const FMA: bool, K: crate::keys::Key>
    (keys: &[K], key: K) -> usize {
        const LANES: usize = 64;
        let has = |part: &[K]| part.iter().fold(false, |found, k| found | (*k == key));
        let start = keys.chunks(LANES).position(has).unwrap_or(0) * LANES;
        start + keys[start..].iter().position(|k| *k == key).unwrap_or(0)
    }

    /// Keeps the greater of each old and new key, and its row.
    fn keep_better, keep_better_for<const FMA: bool, K: crate::keys::Key>
    (row: u32, keys: &[K], best: &mut [K], place: &mut [u32]) {
        for ((key, best), place) in keys.iter().zip(best).zip(place) {
            let better = row == 0 || *key > *best;
            *best = if better { *key } else { *best };
            *place = if better { row } else { *place };
        }
    }
}

/// The greatest key of a line and its first place.
///
/// # Safety
/// The line is not empty and lies inside live memory.
unsafe fn row_best<K: Key>(line: Line) -> (K, usize) {
    let mut keys = [K::default(); BLOCK];
    // The greatest key so far, and where its block begins: its place is looked for in the end.
    let mut best = None::<(K, usize)>;
    for start in (0..line.len).step_by(BLOCK) {
        let keys = &mut keys[..BLOCK.min(line.len - start)];
        let part = line.shifted(start as isize * line.step);
        if line.step == 1 {
            let ahead = part.shifted((AHEAD * BLOCK) as isize);
            fetch_block(ahead.first, BLOCK * line.order.bits() as usize / 8);
        }
        // SAFETY: the caller's promise.
        let bound = unsafe { part.bound::<K>(keys.len()) };
        let high = bound.unwrap_or_else(|| {
            // SAFETY: the caller's promise.
            unsafe { part.keys(line.step, keys) };
            greatest(keys)
        });
        if best.is_none_or(|(key, _)| high > key) {
            best = Some((high, start));
        }
    }
    let (key, start) = best.unwrap_or_default();
    let keys = &mut keys[..BLOCK.min(line.len - start)];
    // SAFETY: the caller's promise.
    unsafe { line.shifted(start as isize * line.step).keys(line.step, keys) };
    (key, start + first_place(keys, key))
}

/// The first places of the greatest keys of columns side by side.
///
/// # Safety
/// The columns lie inside live memory; `out` has at most `COLUMNS`.
unsafe fn strip_best<K: Key>(line: Line, out: &mut [u32]) {
    let columns = out.len();
    let (mut keys, mut best) = ([K::default(); COLUMNS], [K::default(); COLUMNS]);
    for row in 0..line.len {
        let keys = &mut keys[..columns];
        // SAFETY: the caller's promise.
        unsafe { line.shifted(row as isize * line.step).keys(1, keys) };
        keep_better(row as u32, keys, &mut best[..columns], out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, operand, read};
    use half::{bf16, f16};
    use lazulite_core::{Complex32, Dtype};

    /// Elements are without NaN and negative zeros.
    fn check<T: lazulite_core::Element + PartialOrd>(
        shape: &[usize],
        make: impl Fn(usize) -> T + Copy,
    ) {
        check_by(shape, make, |a, b| a < b);
    }

    fn check_by<T: lazulite_core::Element>(
        shape: &[usize],
        make: impl Fn(usize) -> T + Copy,
        less: impl Fn(T, T) -> bool,
    ) {
        for axis in 0..shape.len() {
            for (name, x) in layouts(shape, make) {
                let mut small = shape.to_vec();
                small[axis] = 1;
                let data = read::<T>(&x);
                for op in [ArgReduceOp::Max, ArgReduceOp::Min] {
                    let out = empty(Dtype::U32, &small);
                    arg_reduce(&ArgReduce { op, axis }, &x, &out).unwrap();
                    let strides = lazulite_core::shape::contiguous_strides(shape);
                    let want: Vec<u32> = (indices(&small).iter())
                        .map(|index| {
                            let at = |j: usize| {
                                let mut index = index.clone();
                                index[axis] = j;
                                let steps = index.iter().zip(&strides);
                                data[steps.map(|(&i, &s)| i as isize * s).sum::<isize>() as usize]
                            };
                            let beats = |j: usize, best: usize| match op {
                                ArgReduceOp::Max => less(at(best), at(j)),
                                ArgReduceOp::Min => less(at(j), at(best)),
                            };
                            let better = |best, j| if beats(j, best) { j } else { best };
                            (0..shape[axis]).fold(0, better) as u32
                        })
                        .collect();
                    assert_eq!(read::<u32>(&out), want, "{shape:?} axis {axis} {name} {op:?}");
                }
            }
        }
    }

    #[test]
    fn first_places_in_every_layout_and_type() {
        let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % 97;
        for shape in [&[1usize][..], &[5], &[3, 200], &[200, 3], &[4, 5, 33], &[2, 70_000]] {
            check::<f32>(shape, |i| noise(i) as f32 - 50.0);
            check::<i32>(shape, |i| noise(i) as i32 - 50);
        }
        let shape: &[usize] = &[6, 40];
        check::<u8>(shape, |i| noise(i) as u8);
        check::<i8>(shape, |i| noise(i) as i8);
        check::<u64>(shape, |i| noise(i) as u64);
        check::<f64>(shape, |i| noise(i) as f64 - 9.0);
        check::<f16>(shape, |i| f16::from_f32(noise(i) as f32 - 9.0));
        check::<bf16>(shape, |i| bf16::from_f32(noise(i) as f32 - 9.0));
        let complex = |i| Complex32::new((noise(i) % 3) as f32, noise(i) as f32);
        check_by::<Complex32>(shape, complex, |a, b| (a.re, a.im) < (b.re, b.im));
    }

    #[test]
    fn nan_wins_and_zeros_are_equal() {
        let best = |data: &[f32], op| {
            let out = empty(Dtype::U32, &[1]);
            arg_reduce(&ArgReduce { op, axis: 0 }, &operand(data, &[data.len()]), &out).unwrap();
            read::<u32>(&out)[0]
        };
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for (data, max, min) in [
            (vec![1.0, nan, inf, nan], 1, 1),
            (vec![-0.0, 0.0, -0.0], 0, 0),
            (vec![0.0, -inf, inf], 2, 1),
            (vec![1.0, -nan, 3.0], 1, 1),
            (vec![-1.0, -2.0], 0, 1),
        ] {
            assert_eq!(best(&data, ArgReduceOp::Max), max, "{data:?}");
            assert_eq!(best(&data, ArgReduceOp::Min), min, "{data:?}");
        }
    }
}
