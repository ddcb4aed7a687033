//! Places of least and greatest elements. Other reductions run as tapes.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::reduce::{ArgReduce, ArgReduceOp};
use lazulite_core::{Complex32, Result};
use parking_lot::Mutex;
use std::cmp::Reverse;

use crate::pool::{self, parallel_for};
use crate::strided::{Plain, SERIAL, Target, View, Walk, rows_per_task, with_number};

/// Columns that are compared at once.
const COLUMNS: usize = 256;
/// Elements of a row whose best is found before it is looked for.
const BLOCK: usize = 1024;

/// A type whose order is that of an integer: NaN above all else in `greatest`, below all else in
/// `least`, and equal elements have equal ranks.
trait Rank: Plain {
    type Key: Copy + Ord + Send + Sync + Default;
    /// The order in which the greatest element is sought.
    fn greatest(self) -> Self::Key;
    /// The reverse order, with NaN again on top.
    fn least(self) -> Self::Key;
}

macro_rules! rank_int {
    ($($t:ty)*) => { $(impl Rank for $t {
        type Key = $t;
        #[inline(always)]
        fn greatest(self) -> $t { self }
        #[inline(always)]
        fn least(self) -> $t { !self }
    })* };
}
rank_int! { u8 u16 u32 u64 i8 i16 i32 i64 }

macro_rules! rank_float {
    ($($t:ty, $bits:ty, $int:ty, $nan:expr;)*) => { $(impl Rank for $t {
        type Key = $int;
        #[inline(always)]
        fn greatest(self) -> $int {
            let bits = self.to_bits() as $int;
            let magnitude = bits & <$int>::MAX;
            // Two's complement of sign and magnitude: both zeros become 0.
            let key = if bits < 0 { -magnitude } else { magnitude };
            if magnitude > $nan { <$int>::MAX } else { key }
        }
        #[inline(always)]
        fn least(self) -> $int {
            let key = self.greatest();
            if key == <$int>::MAX { key } else { -key }
        }
    })* };
}
rank_float! {
    f16, u16, i16, 0x7c00;
    bf16, u16, i16, 0x7f80;
    f32, u32, i32, 0x7f80_0000;
    f64, u64, i64, 0x7ff0_0000_0000_0000;
}

impl Rank for Complex32 {
    type Key = (i32, i32);
    /// By real part, then imaginary part; NaN if one of them is.
    #[inline(always)]
    fn greatest(self) -> (i32, i32) {
        if self.is_nan() { (i32::MAX, i32::MAX) } else { (self.re.greatest(), self.im.greatest()) }
    }
    #[inline(always)]
    fn least(self) -> (i32, i32) {
        if self.is_nan() { (i32::MAX, i32::MAX) } else { (self.re.least(), self.im.least()) }
    }
}

/// The first place of the least or greatest element along the axis.
pub(crate) fn arg_reduce(op: &ArgReduce, x: &Operand, out: &Operand) -> Result<()> {
    let out = Target::<u32>::new(out)?;
    with_number!(x.dtype, T => {
        let x = View::<T>::new(x)?;
        match op.op {
            ArgReduceOp::Max => run(&x, op.axis, &out, |v: T| v.greatest()),
            ArgReduceOp::Min => run(&x, op.axis, &out, |v: T| v.least()),
        }
    });
    Ok(())
}

fn run<T: Plain, K: Copy + Ord + Default + Send>(
    x: &View<T>,
    axis: usize,
    out: &Target<u32>,
    key: impl Fn(T) -> K + Copy + Sync,
) {
    let (n, step) = (x.shape[axis], x.strides[axis]);
    let mut walk = Walk::without(axis, x.shape, [x.strides]);
    if walk.len() == 0 || n == 0 {
        return;
    }
    let dense = walk.strides.last().is_some_and(|s| s[0] == 1);
    if step != 1 && dense && walk.shape.last().is_some_and(|&w| w >= 8) {
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
                        let first = x.first().offset(at + column as isize);
                        strip_best(n, step, first, out.part(place..place + columns), key);
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
                    let (_, place) = row_best(n, x.first().offset(at), step, key);
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
            // SAFETY: a part of a row of the input.
            let (key, place) = unsafe {
                let first = x.first().offset(at + start as isize * step);
                row_best(end - start, first, step, key)
            };
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

/// The greatest key of a row of `n > 0` elements and its first place.
///
/// # Safety
/// The row lies inside live memory.
unsafe fn row_best<T: Copy, K: Copy + Ord>(
    n: usize,
    first: *const T,
    step: isize,
    key: impl Fn(T) -> K,
) -> (K, usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let (mut best, mut block) = (key(*first), 0);
        // The maximum of a block vectorises; its place is looked for once.
        for start in (0..n).step_by(BLOCK) {
            let len = BLOCK.min(n - start);
            let piece = first.offset(start as isize * step);
            let mut high = key(*piece);
            if step == 1 {
                for &x in std::slice::from_raw_parts(piece, len) {
                    high = high.max(key(x));
                }
            } else {
                for i in 1..len as isize {
                    high = high.max(key(*piece.offset(i * step)));
                }
            }
            if high > best {
                (best, block) = (high, start);
            }
        }
        let found = (block..n).find(|&i| key(*first.offset(i as isize * step)) == best);
        (best, found.unwrap_or(block))
    }
}

/// The first places of the greatest keys of columns of `n > 0` elements.
///
/// # Safety
/// The columns lie inside live memory; `out` has at most `COLUMNS`.
unsafe fn strip_best<T: Copy, K: Copy + Ord + Default>(
    n: usize,
    step: isize,
    first: *const T,
    out: &mut [u32],
    key: impl Fn(T) -> K,
) {
    let mut best = [K::default(); COLUMNS];
    let mut place = [0u32; COLUMNS];
    for row in 0..n {
        // SAFETY: the caller's promise.
        let line =
            unsafe { std::slice::from_raw_parts(first.offset(row as isize * step), out.len()) };
        for ((x, best), place) in line.iter().zip(&mut best).zip(&mut place) {
            let key = key(*x);
            let better = row == 0 || key > *best;
            *best = if better { key } else { *best };
            *place = if better { row as u32 } else { *place };
        }
    }
    out.copy_from_slice(&place[..out.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, operand, read};
    use lazulite_core::Dtype;

    fn check<T: lazulite_core::Element + Rank>(shape: &[usize], make: impl Fn(usize) -> T + Copy) {
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
                            let key = |j: usize| match op {
                                ArgReduceOp::Max => at(j).greatest(),
                                ArgReduceOp::Min => at(j).least(),
                            };
                            let better = |best, j| if key(j) > key(best) { j } else { best };
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
        check::<Complex32>(shape, |i| Complex32::new((noise(i) % 3) as f32, noise(i) as f32));
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
