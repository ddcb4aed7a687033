//! Sorting and partitioning by integer keys ([`crate::keys`]) in which NaN is last.
//!
//! Values are sorted as codes and turned back; places are sorted together with ranks, so that equal
//! elements keep their order. Codes of 32 bits are sorted by vectors where the processor can
//! ([`vectors`]), other long rows digit by digit. One long row is cut into parts that are sorted
//! apart; items that are equal are the same, so the number of parts changes no result.

#[cfg(target_arch = "x86_64")]
mod vectors;

use lazulite_core::Result;
use lazulite_core::backend::{Buffer, Operand};
use lazulite_core::op::sort::{ArgSort, Sort};
use lazulite_core::shape::contiguous_strides;

use parking_lot::Mutex;

use crate::allocator::{CpuMemory, allocator};
use crate::copy::copy_strided;
#[cfg(target_arch = "x86_64")]
use crate::isa::{IsaKind, isa};
use crate::keys::{Key, Order, with_key};
use crate::pool::{self, SharedPtr, parallel_for};
use crate::strided::{Plain, SERIAL, Target, View, Walk, internal, rows_per_task, with_bits};

/// Rows from this length on are sorted digit by digit, if not by vectors.
const RADIX: usize = 128;
/// Rows from this length on use wide digits, where those save passes.
const WIDE: usize = 8192;
/// Keys that are made at once.
const BLOCK: usize = 1024;

/// What is sorted: a code, or a rank above the place of its element.
trait Item: Plain + Ord + Default {
    /// `bits` bits from bit `shift` on, at most 16.
    fn digit(self, shift: u32, bits: u32) -> usize;
    /// Sorts items of all bits by vectors, if that is possible; with `threads`, on all threads.
    fn by_vectors(items: &mut [Self], threads: bool) -> bool {
        let _ = (items, threads);
        false
    }
}

/// A rank and a place as an item.
trait Placed: Item {
    type Key: Key;
    fn new(key: Self::Key, place: u32) -> Self;
    fn place(self) -> u32;
}

macro_rules! item {
    ($($t:ty { $($also:item)* })*) => { $(impl Item for $t {
        #[inline(always)]
        fn digit(self, shift: u32, bits: u32) -> usize {
            (self >> shift) as usize & ((1 << bits) - 1)
        }
        $($also)*
    })* };
}
item! {
    u32 {
        #[cfg(target_arch = "x86_64")]
        fn by_vectors(items: &mut [u32], threads: bool) -> bool {
            codes_by_vectors(items, threads)
        }
    }
    u64 {}
    u128 {}
}
impl Plain for u128 {}

#[cfg(target_arch = "x86_64")]
fn codes_by_vectors(codes: &mut [u32], threads: bool) -> bool {
    if isa() < IsaKind::Avx512 {
        return false;
    }
    if !threads {
        // SAFETY: the processor has the set.
        unsafe { vectors::sort(codes) };
        return true;
    }
    // Cut until every thread has several parts.
    let mut parts = vec![codes];
    while parts.len() < 4 * pool::num_threads() {
        let halves: Vec<Mutex<[&mut [u32]; 2]>> =
            parts.into_iter().map(|part| Mutex::new([part, &mut []])).collect();
        pool::run(halves.len(), &|i| {
            let mut halves = halves[i].lock();
            let part = std::mem::take(&mut halves[0]);
            *halves = if part.len() < 2 * SERIAL {
                [part, &mut []]
            } else {
                // SAFETY: as above.
                <[_; 2]>::from(unsafe { vectors::split(part) })
            };
        });
        parts = halves.into_iter().flat_map(Mutex::into_inner).collect();
    }
    let parts: Vec<Mutex<&mut [u32]>> = parts.into_iter().map(Mutex::new).collect();
    pool::run(parts.len(), &|i| {
        // SAFETY: as above.
        unsafe { vectors::sort(&mut parts[i].lock()) }
    });
    true
}

/// Bits below a rank.
const PLACE: u32 = 32;

macro_rules! placed {
    ($($t:ty, $key:ty;)*) => { $(impl Placed for $t {
        type Key = $key;
        #[inline(always)]
        fn new(key: $key, place: u32) -> $t {
            <$t>::from(key) << PLACE | <$t>::from(place)
        }
        #[inline(always)]
        fn place(self) -> u32 {
            self as u32
        }
    })* };
}
placed! { u64, u32; u128, u64; }

/// Rows of an input and of an output along an axis.
struct Rows {
    src: *const u8,
    dst: *mut u8,
    /// Steps along the axis, in elements.
    steps: [isize; 2],
    len: usize,
    walk: Walk<2>,
    order: Order,
}

// SAFETY: tasks read the input, and each writes rows of its own.
unsafe impl Sync for Rows {}

impl Rows {
    /// The first element of the input's row that begins so many elements further.
    fn from(&self, at: isize) -> *const u8 {
        self.src.wrapping_offset(at * (self.order.bits() / 8) as isize)
    }

    /// Calls `work` with room for the items of a row and as many more, each row's first input and
    /// output elements, by offset, and whether it may use all threads.
    fn each<I: Item>(
        &self,
        work: impl Fn([&mut [I]; 2], Vec<[isize; 2]>, bool) + Sync,
    ) -> Result<()> {
        let (n, count) = (self.len, self.walk.len());
        if n == 0 || count == 0 {
            return Ok(());
        }
        let failure = Mutex::new(Ok(()));
        let work = |starts, threads| match (Room::new(n), Room::new(n)) {
            (Ok(mut items), Ok(mut spare)) => work([items.items(), spare.items()], starts, threads),
            (Err(error), _) | (_, Err(error)) => *failure.lock() = Err(error),
        };
        let rows = |range| {
            let mut rows = Vec::new();
            self.walk.each(range, |_, at| rows.push(at));
            rows
        };
        if count >= pool::num_threads() || n <= 2 * SERIAL {
            // Sorting costs some passes over a row.
            parallel_for(count, rows_per_task(n * 4), |range| work(rows(range), false));
        } else {
            work(rows(0..count), true);
        }
        failure.into_inner()
    }
}

/// Room for the items of a row, from the allocator: fresh pages would cost as much as sorting.
struct Room<I> {
    _buffer: Buffer,
    start: *mut I,
    len: usize,
}

impl<I: Item> Room<I> {
    fn new(len: usize) -> Result<Room<I>> {
        let buffer = allocator().allocate(len * size_of::<I>())?;
        let start = buffer.downcast::<CpuMemory>().map(|memory| memory.as_ptr().cast());
        let start = start.ok_or_else(|| internal("room for items is not this backend's memory"))?;
        Ok(Room { _buffer: buffer, start, len })
    }

    fn items(&mut self) -> &mut [I] {
        // SAFETY: the buffer is this room's alone, has the length, and is aligned to more than any
        // item; items are plain, and are written before they are read.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

/// The sorted elements along an axis.
pub(crate) fn sort(op: &Sort, x: &Operand, out: &Operand) -> Result<()> {
    let order = Order::of(x.dtype);
    with_bits!(x.dtype.size(), T => {
        let (view, target) = (View::<T>::new(x)?, Target::<T>::new(out)?);
        let rows = rows(op.axis, x, view.first().cast(), target.data().cast());
        with_key!(order.bits() / 8, K => {
            // A partition has the places of the partition of places.
            if op.kth.is_none() && order.has_codes() {
                values::<K>(&rows)
            } else {
                type Item = <K as Pair>::Item;
                let [step, to_step] = rows.steps;
                places::<Item>(&rows, op.kth, |[from, to], places| {
                    for (i, &item) in places.iter().enumerate() {
                        // SAFETY: places of the row, which lies inside both operands.
                        unsafe {
                            let from = view.first().offset(from + item.place() as isize * step);
                            *target.data().offset(to + i as isize * to_step) = *from;
                        }
                    }
                })
            }
        })
    })
}

/// The places of the sorted elements along an axis.
pub(crate) fn argsort(op: &ArgSort, x: &Operand, out: &Operand) -> Result<()> {
    let target = Target::<u32>::new(out)?;
    let order = Order::of(x.dtype);
    let rows = with_bits!(x.dtype.size(), T => {
        rows(op.axis, x, View::<T>::new(x)?.first().cast(), target.data().cast())
    });
    let step = rows.steps[1];
    with_key!(order.bits() / 8, K => {
        places::<<K as Pair>::Item>(&rows, op.kth, |[_, to], places| {
            for (i, &item) in places.iter().enumerate() {
                // SAFETY: the row lies inside the output and is this task's alone.
                unsafe { *target.data().offset(to + i as isize * step) = item.place() };
            }
        })
    })
}

/// The item that holds a rank and a place.
trait Pair {
    type Item: Placed;
}
impl Pair for u32 {
    type Item = u64;
}
impl Pair for u64 {
    type Item = u128;
}

fn rows(axis: usize, x: &Operand, src: *const u8, dst: *mut u8) -> Rows {
    let strides = contiguous_strides(x.shape());
    Rows {
        src,
        dst,
        steps: [x.layout.strides[axis], strides[axis]],
        len: x.shape()[axis],
        walk: Walk::without(axis, x.shape(), [&x.layout.strides, &strides]),
        order: Order::of(x.dtype),
    }
}

/// Sorts the elements of rows.
fn values<K: Key + Item>(rows: &Rows) -> Result<()> {
    let [step, to_step] = rows.steps;
    let size = (rows.order.bits() / 8) as isize;
    rows.each(|[items, spare]: [&mut [K]; 2], starts, threads| {
        for [from, to] in starts {
            let target = Target::of(items);
            in_blocks(rows.len, threads, |range| {
                let from = rows.from(from + range.start as isize * step);
                // SAFETY: the row lies inside the input, and blocks are disjoint.
                unsafe { K::codes(rows.order, from, step, target.part(range)) };
            });
            order(items, spare, threads, (0, rows.order.bits()));
            let items = &*items;
            in_blocks(rows.len, threads, |range| {
                let to = rows.dst.wrapping_offset((to + range.start as isize * to_step) * size);
                // SAFETY: the row lies inside the output, and blocks are disjoint.
                unsafe { K::decode(rows.order, &items[range], to, to_step) };
            });
        }
    })
}

/// Orders the places of rows, or puts one in its place, and passes them on.
fn places<P: Placed>(
    rows: &Rows,
    kth: Option<usize>,
    write: impl Fn([isize; 2], &[P]) + Sync,
) -> Result<()> {
    let step = rows.steps[0];
    rows.each(|[items, spare]: [&mut [P]; 2], starts, threads| {
        for [from, to] in starts {
            let target = Target::of(items);
            in_blocks(rows.len, threads, |range| {
                let mut keys = [P::Key::default(); BLOCK];
                let keys = &mut keys[..range.len()];
                let first = rows.from(from + range.start as isize * step);
                // SAFETY: the row lies inside the input, and blocks are disjoint.
                let part = unsafe {
                    P::Key::ranks(rows.order, first, step, keys);
                    target.part(range.clone())
                };
                for ((item, &key), place) in part.iter_mut().zip(&*keys).zip(range) {
                    *item = P::new(key, place as u32);
                }
            });
            match kth {
                Some(kth) if kth < rows.len => {
                    items.select_nth_unstable(kth);
                }
                Some(_) => {}
                None => {
                    order(items, spare, threads, (PLACE, rows.order.bits()));
                }
            }
            write([from, to], items);
        }
    })
}

/// Calls `f` with the blocks of `0..n`, on all threads or on this one.
fn in_blocks(n: usize, threads: bool, f: impl Fn(std::ops::Range<usize>) + Sync) {
    let block = |i: usize| f(i * BLOCK..n.min((i + 1) * BLOCK));
    let count = n.div_ceil(BLOCK);
    if threads {
        parallel_for(count, SERIAL / BLOCK, |blocks| blocks.for_each(block));
    } else {
        (0..count).for_each(block);
    }
}

/// Sorts items whose key is `bits` bits from bit `base` on, below which they are in order; `spare`
/// is as long. With `threads`, on all threads.
fn order<I: Item>(items: &mut [I], spare: &mut [I], threads: bool, (base, bits): (u32, u32)) {
    let n = items.len();
    if base == 0 && bits == u32::BITS && I::by_vectors(items, threads) {
        return;
    }
    if !threads {
        return order_run(items, spare, base, bits);
    }
    let runs = pool::num_threads().next_power_of_two().clamp(1, 16);
    let bound = |r: usize| r * n / runs;
    let (a, b) = (Target::of(items), Target::of(spare));
    pool::run(runs, &|r| {
        // SAFETY: runs are disjoint.
        unsafe {
            let range = bound(r)..bound(r + 1);
            order_run(a.part(range.clone()), b.part(range), base, bits);
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
        // SAFETY: `from` is the spare room, which holds the result; the two are different arrays.
        unsafe { copy_strided(&[n], from.data(), &[1], to.data(), &[1]) };
    }
}

/// Elements `start..start + out.len()` of the merge of two sorted slices ("merge path").
fn merge<I: Item>(left: &[I], right: &[I], start: usize, out: &mut [I]) {
    // The number of elements of `left` among the first `start`: the least `i` for which
    // `left[i] > right[start - i - 1]`.
    let (mut low, mut high) = (start.saturating_sub(right.len()), start.min(left.len()));
    while low < high {
        let middle = (low + high) / 2;
        if left[middle] <= right[start - middle - 1] {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (mut i, mut j) = (low, start - low);
    for slot in out {
        let take_left = j == right.len() || i < left.len() && left[i] <= right[j];
        *slot = if take_left { left[i] } else { right[j] };
        i += usize::from(take_left);
        j += usize::from(!take_left);
    }
}

/// Sorts one run on this thread, by digits, lowest first, if it is long enough. Digits that are all
/// equal are skipped.
fn order_run<I: Item>(items: &mut [I], spare: &mut [I], base: u32, bits: u32) {
    let n = items.len();
    // Counting costs as much as some passes over short rows of long keys.
    if n < RADIX * bits.div_ceil(32) as usize {
        return items.sort_unstable();
    }
    let width = if n >= WIDE && bits > 16 { 11 } else { 8 };
    let passes = bits.div_ceil(width) as usize;
    let size = 1usize << width;
    let mut counts = vec![0u32; size * passes];
    for &v in items.iter() {
        for (pass, counts) in counts.chunks_exact_mut(size).enumerate() {
            counts[v.digit(base + pass as u32 * width, width)] += 1;
        }
    }
    let (mut from, mut to) = (items, spare);
    let mut swapped = false;
    for (pass, counts) in counts.chunks_exact_mut(size).enumerate() {
        if counts.contains(&(n as u32)) {
            continue;
        }
        let mut sum = 0;
        for count in counts.iter_mut() {
            sum += std::mem::replace(count, sum);
        }
        let shift = base + pass as u32 * width;
        let target = SharedPtr::new(to.as_mut_ptr());
        for &v in from.iter() {
            let place = &mut counts[v.digit(shift, width)];
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
    use half::{bf16, f16};
    use lazulite_core::{Complex32, Dtype, Element};
    use std::cmp::Ordering;

    fn noise(i: usize) -> usize {
        (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17) % 1_000_003
    }

    /// As numbers, with NaN last.
    fn check<T: Element + PartialOrd>(shape: &[usize], make: impl Fn(usize) -> T + Copy) {
        let is_nan = |x: T| x.partial_cmp(&x).is_none();
        check_by(shape, make, |a, b| match a.partial_cmp(b) {
            Some(order) => order,
            None => is_nan(*a).cmp(&is_nan(*b)),
        });
    }

    fn check_by<T: Element>(
        shape: &[usize],
        make: impl Fn(usize) -> T + Copy,
        compare: impl Fn(&T, &T) -> Ordering,
    ) {
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
                    let at = |j: usize| &data[first + j * step];
                    want.sort_by(|&i, &j| compare(at(i), at(j)));
                    for (j, &w) in want.iter().enumerate() {
                        let at = first + j * step;
                        assert_eq!(places[at], w as u32, "{shape:?} axis {axis} {name}");
                        let (got, want) = (&out[at], &data[first + w * step]);
                        assert!(compare(got, want).is_eq(), "{shape:?} axis {axis} {name}");
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
        let complex = |i| Complex32::new((noise(i) % 5) as f32, noise(i) as f32);
        check_by(shape, complex, |a, b| (a.re, a.im).partial_cmp(&(b.re, b.im)).unwrap());
    }

    #[test]
    fn one_long_row_is_merged_from_runs() {
        check::<f32>(&[150_001], |i| noise(i) as f32 % 1000.0 - 500.0);
        check::<i64>(&[100_000], |i| noise(i) as i64 % 300);
    }

    #[test]
    fn nan_is_last_and_places_of_zeros_keep_their_order() {
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
