//! Sorting and partitioning, stable, by integer keys in which NaN is last and both zeros are equal.
//!
//! Long rows of keys of up to 32 bits are sorted digit by digit, others by comparison. One long row
//! is cut into runs that are sorted apart and merged; a stable order is unique, so the number of
//! runs changes no result.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::sort::{ArgSort, Sort};
use lazulite_core::shape::contiguous_strides;
use lazulite_core::{Complex32, Result};

use crate::pool::{self, SharedPtr, parallel_for};
use crate::strided::{Plain, SERIAL, Target, View, Walk, rows_per_task, with_number};

/// Rows from this length on are sorted digit by digit where keys have up to 32 bits.
const RADIX: usize = 512;
/// Rows from this length on use wide digits for 32-bit keys, three passes in place of four.
const WIDE: usize = 8192;

/// A type with a sort key of `BITS` bits.
trait Keyed: Plain {
    const WIDTH: u32;
    fn key(self) -> u64;
}

macro_rules! keyed_int {
    ($($t:ty, $flip:expr;)*) => { $(impl Keyed for $t {
        const WIDTH: u32 = <$t>::BITS;
        #[inline(always)]
        fn key(self) -> u64 {
            let mask = if <$t>::BITS == 64 { u64::MAX } else { (1 << (<$t>::BITS % 64)) - 1 };
            (self as u64 ^ $flip) & mask
        }
    })* };
}
keyed_int! {
    u8, 0; u16, 0; u32, 0; u64, 0;
    i8, 1 << 7; i16, 1 << 15; i32, 1 << 31; i64, 1 << 63;
}

macro_rules! keyed_float {
    ($($t:ty, $bits:ty, $infinity:expr;)*) => { $(impl Keyed for $t {
        const WIDTH: u32 = <$bits>::BITS;
        #[inline(always)]
        fn key(self) -> u64 {
            let bits = self.to_bits();
            let sign: $bits = 1 << (<$bits>::BITS - 1);
            let magnitude = bits & !sign;
            let key = if bits & sign != 0 { sign.wrapping_sub(magnitude) } else { magnitude | sign };
            u64::from(if magnitude > $infinity { <$bits>::MAX } else { key })
        }
    })* };
}
keyed_float! {
    f16, u16, 0x7c00;
    bf16, u16, 0x7f80;
    f32, u32, 0x7f80_0000;
    f64, u64, 0x7ff0_0000_0000_0000;
}

impl Keyed for Complex32 {
    const WIDTH: u32 = 64;
    /// By real part, then imaginary part; last if one is NaN.
    #[inline(always)]
    fn key(self) -> u64 {
        if self.is_nan() { u64::MAX } else { self.re.key() << 32 | self.im.key() }
    }
}

/// A key of up to 32 bits in the upper half, its place in the lower.
#[derive(Clone, Copy)]
struct Narrow(u64);

/// A key of up to 64 bits with its place.
#[derive(Clone, Copy)]
struct Broad(u64, u32);

/// A key that remembers where it was.
trait Placed: Keyed {
    fn new(key: u64, place: u32) -> Self;
    fn place(self) -> u32;
}

impl Plain for Narrow {}
impl Plain for Broad {}

impl Keyed for Narrow {
    const WIDTH: u32 = 32;
    #[inline(always)]
    fn key(self) -> u64 {
        self.0 >> 32
    }
}

impl Placed for Narrow {
    #[inline(always)]
    fn new(key: u64, place: u32) -> Narrow {
        Narrow(key << 32 | u64::from(place))
    }
    #[inline(always)]
    fn place(self) -> u32 {
        self.0 as u32
    }
}

impl Keyed for Broad {
    const WIDTH: u32 = 64;
    #[inline(always)]
    fn key(self) -> u64 {
        self.0
    }
}

impl Placed for Broad {
    #[inline(always)]
    fn new(key: u64, place: u32) -> Broad {
        Broad(key, place)
    }
    #[inline(always)]
    fn place(self) -> u32 {
        self.1
    }
}

/// The sorted elements along an axis.
pub(crate) fn sort(op: &Sort, x: &Operand, out: &Operand) -> Result<()> {
    let n = x.shape()[op.axis];
    with_number!(x.dtype, T => {
        let (x, out) = (View::<T>::new(x)?, Target::<T>::new(out)?);
        if T::WIDTH <= 32 && n >= RADIX && op.kth.is_none() {
            let arrange = |a: &mut [T], b: &mut [T], own| order(a, b, own, by_digits);
            rows(&x, &out, op.axis, |_, v| v, |_, v| v, arrange);
        } else if T::WIDTH <= 32 {
            let arrange = by_place::<Narrow>(op.kth);
            rows(&x, &out, op.axis, placed, |row, v: Narrow| row(v.place()), arrange);
        } else {
            let arrange = by_place::<Broad>(op.kth);
            rows(&x, &out, op.axis, placed, |row, v: Broad| row(v.place()), arrange);
        }
    });
    Ok(())
}

/// The places of the sorted elements along an axis.
pub(crate) fn argsort(op: &ArgSort, x: &Operand, out: &Operand) -> Result<()> {
    with_number!(x.dtype, T => {
        let (x, out) = (View::<T>::new(x)?, Target::<u32>::new(out)?);
        if T::WIDTH <= 32 {
            let arrange = by_place::<Narrow>(op.kth);
            rows(&x, &out, op.axis, placed, |_, v: Narrow| v.place(), arrange);
        } else {
            let arrange = by_place::<Broad>(op.kth);
            rows(&x, &out, op.axis, placed, |_, v: Broad| v.place(), arrange);
        }
    });
    Ok(())
}

/// Orders keys with places, or puts one in its place.
fn by_place<P: Placed>(kth: Option<usize>) -> impl Fn(&mut [P], &mut [P], bool) + Copy + Sync {
    move |items, spare, threads| match kth {
        Some(kth) => select(items, kth),
        None => order(items, spare, threads, order_run),
    }
}

fn placed<T: Keyed, P: Placed>(place: usize, x: T) -> P {
    P::new(x.key(), place as u32)
}

/// Turns each row along the axis into items, orders them, and writes what they become. `arrange`
/// gets the items, room for as many more, and whether it may use all threads.
fn rows<T: Plain, I: Plain, O: Plain>(
    x: &View<T>,
    out: &Target<O>,
    axis: usize,
    item: impl Fn(usize, T) -> I + Copy + Sync,
    result: impl Fn(&dyn Fn(u32) -> T, I) -> O + Copy + Sync,
    arrange: impl Fn(&mut [I], &mut [I], bool) + Copy + Sync,
) {
    let (n, step) = (x.shape[axis], x.strides[axis]);
    let strides = contiguous_strides(x.shape);
    let walk = Walk::without(axis, x.shape, [x.strides, &strides]);
    if n == 0 || walk.len() == 0 {
        return;
    }
    let alone = walk.len() >= pool::num_threads() || n <= 2 * SERIAL;
    let work = |range: std::ops::Range<usize>| {
        let mut items: Vec<I> = Vec::with_capacity(n);
        let mut spare: Vec<I> = Vec::new();
        walk.each(range, |_, [from, to]| {
            items.clear();
            // SAFETY: the row lies inside the input.
            let at = |i: usize| unsafe { *x.first().offset(from + i as isize * step) };
            items.extend((0..n).map(|i| item(i, at(i))));
            if spare.is_empty() {
                spare.extend_from_slice(&items);
            }
            arrange(&mut items, &mut spare, !alone);
            for (i, &v) in items.iter().enumerate() {
                let v = result(&|place| at(place as usize), v);
                // SAFETY: the row lies inside the output and is this task's alone.
                unsafe { *out.data().offset(to + i as isize * strides[axis]) = v };
            }
        });
    };
    if alone {
        // Sorting costs some passes over a row.
        parallel_for(walk.len(), rows_per_task(n * 4), work);
    } else {
        work(0..walk.len());
    }
}

/// Puts item `kth` in its place; ties go by place.
fn select<P: Placed>(items: &mut [P], kth: usize) {
    if kth < items.len() {
        items.select_nth_unstable_by_key(kth, |v| (v.key(), v.place()));
    }
}

/// Sorts items by key, stably; `spare` is as long. With `threads`, on all threads; `run` sorts on
/// one.
fn order<I: Keyed>(
    items: &mut [I],
    spare: &mut [I],
    threads: bool,
    run: impl Fn(&mut [I], &mut [I]) + Sync,
) {
    let n = items.len();
    if !threads {
        return run(items, spare);
    }
    let runs = pool::num_threads().next_power_of_two().clamp(1, 16);
    let bound = |r: usize| r * n / runs;
    let (a, b) = (Target::of(items), Target::of(spare));
    pool::run(runs, &|r| {
        // SAFETY: runs are disjoint.
        unsafe {
            let range = bound(r)..bound(r + 1);
            run(a.part(range.clone()), b.part(range));
        }
    });
    let (mut from, mut to, mut width) = (a, b, 1);
    let mut swapped = false;
    while width < runs {
        let pieces = 16;
        pool::run(runs / (2 * width) * pieces, &|task| {
            let (pair, piece) = (task / pieces, task % pieces);
            let start = bound(2 * width * pair);
            let (middle, end) = (bound(2 * width * pair + width), bound(2 * width * (pair + 1)));
            let (first, last) =
                ((end - start) * piece / pieces, (end - start) * (piece + 1) / pieces);
            // SAFETY: nobody writes to the source during a merge, and pieces of the result are
            // disjoint.
            unsafe {
                let (left, right) = (from.part(start..middle), from.part(middle..end));
                merge(left, right, first, to.part(start + first..start + last));
            }
        });
        std::mem::swap(&mut from, &mut to);
        swapped = !swapped;
        width *= 2;
    }
    if swapped {
        // `from` is the spare room, which holds the result.
        parallel_for(n, SERIAL, |r| {
            // SAFETY: ranges are disjoint, and the two arrays are different.
            unsafe { to.part(r.clone()).copy_from_slice(from.part(r)) };
        });
    }
}

/// Elements `start..start + out.len()` of the stable merge of two sorted slices ("merge path").
fn merge<I: Keyed>(left: &[I], right: &[I], start: usize, out: &mut [I]) {
    // The number of elements of `left` among the first `start`: the least `i` for which
    // `left[i] > right[start - i - 1]`.
    let (mut low, mut high) = (start.saturating_sub(right.len()), start.min(left.len()));
    while low < high {
        let middle = (low + high) / 2;
        if left[middle].key() <= right[start - middle - 1].key() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (mut i, mut j) = (low, start - low);
    for slot in out {
        let take_left = j == right.len() || i < left.len() && left[i].key() <= right[j].key();
        *slot = if take_left { left[i] } else { right[j] };
        i += usize::from(take_left);
        j += usize::from(!take_left);
    }
}

/// Sorts one run of placed keys on this thread.
fn order_run<P: Placed>(items: &mut [P], spare: &mut [P]) {
    if items.len() < RADIX || P::WIDTH > 32 {
        // Places differ, so that an unstable sort gives the stable order.
        items.sort_unstable_by_key(|v| (v.key(), v.place()));
    } else {
        by_digits(items, spare);
    }
}

/// Sorts one run of keys of up to 32 bits on this thread.
fn by_digits<I: Keyed>(items: &mut [I], spare: &mut [I]) {
    match I::WIDTH {
        8 => radix::<I, 8, 1>(items, spare),
        16 => radix::<I, 8, 2>(items, spare),
        _ if items.len() < WIDE => radix::<I, 8, 4>(items, spare),
        _ => radix::<I, 11, 3>(items, spare),
    }
}

/// Sorts by `PASSES` digits of `DIGIT` bits, lowest first. Digits that are all equal are skipped.
fn radix<I: Keyed, const DIGIT: u32, const PASSES: usize>(items: &mut [I], spare: &mut [I]) {
    let size = 1usize << DIGIT;
    let digit = |v: I, pass: usize| (v.key() >> (pass as u32 * DIGIT)) as usize & (size - 1);
    let mut counts = vec![0u32; size * PASSES];
    for &v in items.iter() {
        for pass in 0..PASSES {
            counts[pass * size + digit(v, pass)] += 1;
        }
    }
    let (mut from, mut to) = (items, spare);
    let mut swapped = false;
    for (pass, counts) in counts.chunks_mut(size).enumerate() {
        if counts.contains(&(from.len() as u32)) {
            continue;
        }
        let mut sum = 0;
        for count in counts.iter_mut() {
            sum += std::mem::replace(count, sum);
        }
        let target = SharedPtr::new(to.as_mut_ptr());
        for &v in from.iter() {
            let place = &mut counts[digit(v, pass)];
            // SAFETY: prefix sums of the counts give every element a place of its own below the
            // length, which both slices have.
            unsafe { *target.get().add(*place as usize) = v };
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
        swapped = !swapped;
    }
    if swapped {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, operand, read};
    use lazulite_core::{Dtype, Element};

    fn noise(i: usize) -> usize {
        (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17) % 1_000_003
    }

    fn check<T: Element + Keyed>(shape: &[usize], make: impl Fn(usize) -> T + Copy) {
        let strides = contiguous_strides(shape);
        for axis in 0..shape.len() {
            for (name, x) in layouts(shape, make) {
                let data = read::<T>(&x);
                let (out, places) = (empty(T::DTYPE, shape), empty(Dtype::U32, shape));
                sort(&Sort { axis, kth: None }, &x, &out).unwrap();
                argsort(&ArgSort { axis, kth: None }, &x, &places).unwrap();
                let (out, places) = (read::<T>(&out), read::<u32>(&places));
                let step = strides[axis] as usize;
                for (first, index) in indices(shape).iter().enumerate() {
                    if index[axis] != 0 {
                        continue;
                    }
                    let mut want: Vec<usize> = (0..shape[axis]).collect();
                    want.sort_by_key(|&j| data[first + j * step].key());
                    for (j, &w) in want.iter().enumerate() {
                        let at = first + j * step;
                        assert_eq!(places[at], w as u32, "{shape:?} axis {axis} {name}");
                        let (got, want) = (out[at], data[first + w * step]);
                        assert_eq!(bytemuck::bytes_of(&got), bytemuck::bytes_of(&want));
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_every_type_layout_and_length() {
        for shape in [&[1usize][..], &[0, 3], &[700], &[3, 40], &[20, 600], &[2, 9000]] {
            check::<f32>(shape, |i| noise(i) as f32 / 7.0 - 40_000.0);
            check::<i32>(shape, |i| noise(i) as i32 - 500_000);
        }
        let shape: &[usize] = &[3, 1000];
        check::<u8>(shape, |i| noise(i) as u8);
        check::<i8>(shape, |i| noise(i) as i8);
        check::<u16>(shape, |i| noise(i) as u16);
        check::<i16>(shape, |i| noise(i) as i16);
        check::<u32>(shape, |i| noise(i) as u32 * 4000);
        check::<u64>(shape, |i| noise(i) as u64);
        check::<i64>(shape, |i| noise(i) as i64 - 500_000);
        check::<f64>(shape, |i| noise(i) as f64 - 500_000.0);
        check::<f16>(shape, |i| f16::from_f32(noise(i) as f32 / 9000.0 - 50.0));
        check::<bf16>(shape, |i| bf16::from_f32(noise(i) as f32 / 9000.0 - 50.0));
        check::<Complex32>(shape, |i| Complex32::new((noise(i) % 5) as f32, noise(i) as f32));
    }

    #[test]
    fn one_long_row_is_merged_from_runs() {
        check::<f32>(&[150_001], |i| noise(i) as f32 % 1000.0 - 500.0);
        check::<i64>(&[100_000], |i| noise(i) as i64 % 300);
    }

    #[test]
    fn nan_is_last_and_zeros_keep_their_order() {
        let special =
            [0.0f32, f32::NAN, -0.0, f32::INFINITY, 0.0, -1.0, f32::NEG_INFINITY, -f32::NAN];
        for n in [8, 2000] {
            check::<f32>(&[n], |i| special[i % 8]);
            let x: Vec<f32> = (0..n).map(|i| special[i % 8]).collect();
            let out = empty(Dtype::F32, &[n]);
            sort(&Sort { axis: 0, kth: None }, &operand(&x, &[n]), &out).unwrap();
            let got = read::<f32>(&out);
            assert_eq!(got[0], f32::NEG_INFINITY);
            assert!(got[n - 1].is_nan() && got[n - n / 4].is_nan() && !got[n - n / 4 - 1].is_nan());
        }
    }

    #[test]
    fn a_partition_puts_one_element_in_its_place() {
        for n in [1, 2, 77, 5000] {
            let data: Vec<f32> = (0..n).map(|i| (noise(i) % 50) as f32).collect();
            let x = operand(&data, &[n]);
            let mut sorted = data.clone();
            sorted.sort_by(f32::total_cmp);
            for kth in [0, n / 3, n - 1] {
                let (out, places) = (empty(Dtype::F32, &[n]), empty(Dtype::U32, &[n]));
                sort(&Sort { axis: 0, kth: Some(kth) }, &x, &out).unwrap();
                argsort(&ArgSort { axis: 0, kth: Some(kth) }, &x, &places).unwrap();
                let (out, places) = (read::<f32>(&out), read::<u32>(&places));
                assert_eq!(out[kth], sorted[kth]);
                assert!(out[..kth].iter().all(|&v| v <= out[kth]));
                assert!(out[kth..].iter().all(|&v| v >= out[kth]));
                assert!((0..n).all(|i| data[places[i] as usize] == out[i]));
                let mut all = places.clone();
                all.sort_unstable();
                assert!(all.iter().enumerate().all(|(i, &p)| i as u32 == p));
            }
        }
    }
}
