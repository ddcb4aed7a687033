//! Running reductions.
//!
//! Along the innermost axis of few long rows the work is cut into chunks whose sizes depend on the
//! shape alone: totals of chunks first, then each chunk from the total before it. Otherwise rows,
//! or columns side by side, are scanned from end to end.
//!
//! Elements are read in blocks in the type in which they are accumulated: narrow integers as 32
//! bits, half types as `float32`. So that there is one kernel for each row of the op table and each
//! of these types.

use lazulite_core::backend::Operand;
use lazulite_core::op::scan::Scan;
use lazulite_core::op::{BinaryOp, ScanOp};
use lazulite_core::shape::contiguous_strides;
use lazulite_core::{Complex32, Dtype, Error, Result, for_each_scan};
use smallvec::SmallVec;
use std::cell::Cell;
use std::ops::{Add, Mul};

use crate::fused::kernel::{self, Cast, Kernel, PAD};
use crate::fused::lanes::{Leave, Scalar};
use crate::fused::lower::limits;
use crate::fused::space::Walk as Steps;
use crate::fused::transfer;
use crate::isa::isa;
use crate::math::Real;
use crate::pool::{self, parallel_for};
use crate::strided::{SERIAL, Target, View, Walk, rows_per_task, with_bits};

/// Elements that are converted at once.
const BLOCK: usize = 512;
/// Lines that are scanned side by side: with more, lines a power of two apart compete for the same
/// places of the first cache.
const ABREAST: usize = 4;

/// The scan of an input.
pub(crate) fn scan(op: &Scan, x: &Operand, out: &Operand) -> Result<()> {
    let scanner = Scanner::new(op.op, x.dtype, op.inclusive)?;
    with_bits!(x.dtype.size(), T => {
        let (x, target) = (View::<T>::new(x)?, Target::<T>::new(out)?);
        let strides = contiguous_strides(out.shape());
        let first = Line {
            src: x.first().cast(),
            src_step: x.strides[op.axis],
            dst: target.data().cast(),
            dst_step: strides[op.axis],
            len: x.shape[op.axis],
            size: size_of::<T>(),
        };
        let walk = Walk::without(op.axis, x.shape, [x.strides, &strides]);
        // SAFETY: both operands were checked.
        unsafe { run(op.reverse, walk, first, &scanner) };
    });
    Ok(())
}

/// A running value of any type, up to 8 bytes.
type Sum = u64;

/// Joins `n` elements of each line to its running value: destination, source and value of each.
type Join = unsafe fn(&mut [(*mut u8, *const u8, Sum)], usize);

/// How elements of a type are scanned.
struct Scanner {
    /// What a scan begins with.
    start: Sum,
    join: Join,
    /// The same between two blocks.
    join_blocks: Kernel,
    inclusive: bool,
    /// The type of elements and that of running values.
    dtype: Dtype,
    sum: Dtype,
    /// Conversions between them, after half types were widened and before they are narrowed.
    widen: Option<Kernel>,
    narrow: Option<Kernel>,
}

/// The type of running values, and that of its kernel.
fn sum_types(op: ScanOp, dtype: Dtype) -> (Dtype, Dtype) {
    let sum = match dtype {
        Dtype::Bool | Dtype::U8 | Dtype::U16 => Dtype::U32,
        Dtype::I8 | Dtype::I16 => Dtype::I32,
        other => other.compute(),
    };
    // Wrapping sums and products do not depend on the sign.
    let kernel = match (op, sum) {
        (ScanOp::CumSum | ScanOp::CumProd, Dtype::I32) => Dtype::U32,
        (ScanOp::CumSum | ScanOp::CumProd, Dtype::I64) => Dtype::U64,
        _ => sum,
    };
    (sum, kernel)
}

impl Scanner {
    fn new(op: ScanOp, dtype: Dtype, inclusive: bool) -> Result<Scanner> {
        let (sum, of_kernel) = sum_types(op, dtype);
        let refuse = || Error::dtype(op.info().name, &[dtype], "a floating or complex type");
        let (start, join) = joins(op, of_kernel).ok_or_else(refuse)?;
        let start = match (op, limits(dtype)) {
            (ScanOp::CumMin, Some((_, highest))) => pack(highest),
            (ScanOp::CumMax, Some((lowest, _))) => pack(lowest),
            _ => start,
        };
        let pair = match op {
            ScanOp::CumSum => BinaryOp::Add,
            ScanOp::CumProd => BinaryOp::Multiply,
            ScanOp::CumMin => BinaryOp::Minimum,
            ScanOp::CumMax => BinaryOp::Maximum,
            ScanOp::LogCumSumExp => BinaryOp::LogAddExp,
        };
        let join_blocks = kernel::binary(pair, sum, isa()).ok_or_else(refuse)?;
        let bytes = if dtype == Dtype::Bool { Dtype::U8 } else { dtype };
        let convert = |from: Dtype, to: Dtype| {
            let half = from.is_half() || to.is_half();
            match kernel::cast(from, to, isa()) {
                Cast::Direct(kernel) if !half => Some(kernel),
                _ => None,
            }
        };
        let (widen, narrow) = (convert(bytes, sum), convert(sum, bytes));
        Ok(Scanner { start, join, join_blocks, inclusive, dtype, sum, widen, narrow })
    }

    /// Reads `n` elements as running values.
    ///
    /// # Safety
    /// They lie in live memory, and `n` is at most [`BLOCK`].
    unsafe fn load(&self, src: *const u8, step: isize, n: usize, to: &mut Room, spare: &mut Room) {
        let (to, spare) = (to.at(), spare.at());
        // SAFETY: the caller's promise; rooms hold a block.
        unsafe {
            let place = if self.widen.is_some() { spare } else { to };
            transfer::load(src, self.dtype, &Steps::steps(step), 0, n, place);
            if let Some(widen) = self.widen {
                widen(to, spare, spare, spare, n);
            }
        }
    }

    /// Writes `n` running values.
    ///
    /// # Safety
    /// As [`Scanner::load`], and nobody else touches the elements.
    unsafe fn store(&self, from: &mut Room, n: usize, dst: *mut u8, step: isize, spare: &mut Room) {
        let (mut from, spare) = (from.at(), spare.at());
        // SAFETY: the caller's promise; rooms hold a block.
        unsafe {
            if let Some(narrow) = self.narrow {
                narrow(spare, from, from, from, n);
                from = spare;
            }
            transfer::store(dst, self.dtype, &Steps::steps(step), 0, n, from);
        }
    }
}

/// Room for a block of running values and one more, rounded up as kernels do.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Room([u64; BLOCK + PAD]);

impl Room {
    fn at(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// The rooms of a task: one for conversions, and two for each line.
const ROOMS: usize = 1 + 2 * ABREAST;

thread_local! {
    /// Rooms, kept from task to task.
    static SCRATCH: Cell<Vec<Room>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with this thread's rooms.
fn with_rooms(f: impl FnOnce(&mut [Room; ROOMS])) {
    let mut rooms = SCRATCH.take();
    rooms.resize(ROOMS, Room([0; BLOCK + PAD]));
    if let Ok(rooms) = <&mut [Room; ROOMS]>::try_from(&mut rooms[..]) {
        f(rooms);
    }
    SCRATCH.set(rooms);
}

/// A row of the op table for running values `T`.
trait Row<T> {
    fn start() -> T;
    fn join(sum: T, x: T) -> T;
}

macro_rules! scan_rows {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        start: $start:ident, cpu: |$x:ident, $y:ident| $cpu:expr, cuda: $cuda:literal,
    })*) => {
        $(
            struct $Op;
            scan_rows!(@types $Op [$Op $start $x $y $cpu]);
        )*

        /// The kernel of an op and the bits of what a scan begins with, if the op takes the type.
        fn joins(op: ScanOp, dtype: Dtype) -> Option<(Sum, Join)> {
            match op {
                $(ScanOp::$Op => scan_rows!(@find $Op dtype),)*
            }
        }
    };
    (@types LogCumSumExp $row:tt) => {
        scan_rows!(@impl $row f32 f64 Complex32);
    };
    (@types CumMin $row:tt) => {
        scan_rows!(@impl $row u32 u64 i32 i64 f32 f64 Complex32);
    };
    (@types CumMax $row:tt) => {
        scan_rows!(@impl $row u32 u64 i32 i64 f32 f64 Complex32);
    };
    (@types $Op:ident $row:tt) => {
        scan_rows!(@impl $row u32 u64 f32 f64 Complex32);
    };
    (@impl $row:tt $($t:ident)*) => { $(scan_rows!(@one $row $t);)* };
    (@one [$Op:ident $start:ident $x:ident $y:ident $cpu:expr] $t:ident) => {
        impl Row<$t> for $Op {
            #[inline(always)]
            fn start() -> $t {
                <$t as Scalar>::$start()
            }
            #[inline(always)]
            fn join(x: $t, y: $t) -> $t {
                let ($x, $y) = (x.enter::<false>(), y.enter::<false>());
                ($cpu).leave()
            }
        }
    };
    (@find LogCumSumExp $dtype:ident) => {
        scan_rows!(@match LogCumSumExp $dtype, F32 f32, F64 f64, C64 Complex32)
    };
    (@find CumMin $dtype:ident) => {
        scan_rows!(@match CumMin $dtype, U32 u32, U64 u64, I32 i32, I64 i64, F32 f32, F64 f64,
            C64 Complex32)
    };
    (@find CumMax $dtype:ident) => {
        scan_rows!(@match CumMax $dtype, U32 u32, U64 u64, I32 i32, I64 i64, F32 f32, F64 f64,
            C64 Complex32)
    };
    (@find $Op:ident $dtype:ident) => {
        scan_rows!(@match $Op $dtype, U32 u32, U64 u64, F32 f32, F64 f64, C64 Complex32)
    };
    (@match $Op:ident $dtype:ident, $($D:ident $t:ident),*) => {
        match $dtype {
            $(Dtype::$D => Some((pack(<$Op as Row<$t>>::start()), join::<$t, $Op> as Join)),)*
            _ => None,
        }
    };
}
for_each_scan!(scan_rows);

fn pack<T: Copy>(sum: T) -> Sum {
    let mut bits = 0;
    // SAFETY: a running value has at most 8 bytes.
    unsafe { (&raw mut bits).cast::<T>().write_unaligned(sum) };
    bits
}

fn unpack<T: Copy>(bits: Sum) -> T {
    // SAFETY: `pack` made it, of the same type.
    unsafe { (&raw const bits).cast::<T>().read_unaligned() }
}

/// See [`Join`]. Several lines side by side do not wait for each other's results.
///
/// # Safety
/// Each line has `n` elements of type `T` at both places, which do not overlap unless they are the
/// same.
unsafe fn join<T: Scalar, R: Row<T>>(lines: &mut [(*mut u8, *const u8, Sum)], n: usize) {
    if let Ok(lines) = <&mut [(*mut u8, *const u8, Sum); ABREAST]>::try_from(&mut *lines) {
        let mut sums = lines.map(|line| unpack::<T>(line.2));
        for i in 0..n {
            for (sum, line) in sums.iter_mut().zip(&*lines) {
                // SAFETY: the caller's promise.
                unsafe {
                    *sum = R::join(*sum, *line.1.cast::<T>().add(i));
                    *line.0.cast::<T>().add(i) = *sum;
                }
            }
        }
        for (line, sum) in lines.iter_mut().zip(sums) {
            line.2 = pack(sum);
        }
        return;
    }
    for line in lines {
        let mut sum = unpack::<T>(line.2);
        for i in 0..n {
            // SAFETY: the caller's promise.
            unsafe {
                sum = R::join(sum, *line.1.cast::<T>().add(i));
                *line.0.cast::<T>().add(i) = sum;
            }
        }
        line.2 = pack(sum);
    }
}

/// One line of a scan: where it is read and written. Steps count elements of `size` bytes.
#[derive(Clone, Copy)]
struct Line {
    src: *const u8,
    src_step: isize,
    dst: *mut u8,
    dst_step: isize,
    len: usize,
    size: usize,
}

// SAFETY: tasks write lines, or parts of a line, of their own.
unsafe impl Send for Line {}
// SAFETY: as above.
unsafe impl Sync for Line {}

impl Line {
    /// The line that begins so many elements further.
    fn shifted(self, from: isize, to: isize) -> Line {
        let size = self.size as isize;
        Line {
            src: self.src.wrapping_offset(from * size),
            dst: self.dst.wrapping_offset(to * size),
            ..self
        }
    }

    /// Elements `start..end` of the line.
    fn part(self, start: usize, end: usize) -> Line {
        let start_at = start as isize;
        let line = self.shifted(start_at * self.src_step, start_at * self.dst_step);
        Line { len: end - start, ..line }
    }

    /// The line from its end.
    fn reversed(self) -> Line {
        let last = self.len.saturating_sub(1) as isize;
        let line = self.shifted(last * self.src_step, last * self.dst_step);
        Line { src_step: -self.src_step, dst_step: -self.dst_step, ..line }
    }
}

/// Scans all lines of a walk; `first` is the one at its start.
///
/// # Safety
/// The lines lie inside live memory, and their outputs are this step's.
unsafe fn run(reverse: bool, mut walk: Walk<2>, first: Line, scanner: &Scanner) {
    let n = first.len;
    if n == 0 || walk.len() == 0 {
        return;
    }
    let line = |from: isize, to: isize| {
        let line = first.shifted(from, to);
        if reverse { line.reversed() } else { line }
    };
    // Columns side by side: the innermost axis is dense on both sides.
    if walk.strides.last() == Some(&[1, 1]) && walk.shape.last().is_some_and(|&w| w >= 4) {
        let (width, _) = walk.pop();
        let strips = width.div_ceil(BLOCK);
        return parallel_for(walk.len() * strips, rows_per_task(n * BLOCK.min(width)), |r| {
            for strip in r {
                let (outer, column) = (strip / strips, strip % strips * BLOCK);
                let count = BLOCK.min(width - column);
                let column = column as isize;
                walk.each(outer..outer + 1, |_, [from, to]| {
                    // SAFETY: the columns lie inside both operands and are this task's alone.
                    unsafe {
                        let first = line(from + column, to + column);
                        with_rooms(|rooms| columns(first, count, scanner, rooms));
                    }
                });
            }
        });
    }
    if walk.len() >= 16 || n < 2 * SERIAL {
        return parallel_for(walk.len(), rows_per_task(n), |r| {
            with_rooms(|rooms| {
                let mut rows = SmallVec::<[(Line, Sum); ABREAST]>::new();
                walk.each(r.clone(), |i, [from, to]| {
                    rows.push((line(from, to), scanner.start));
                    if rows.len() == ABREAST || i + 1 == r.end {
                        // SAFETY: the lines lie inside both operands and are this task's alone.
                        unsafe { lines(&mut rows, scanner, true, rooms) };
                        rows.clear();
                    }
                });
            });
        });
    }
    // Chunks of equal length (but for the last ones), `ABREAST` of them in each task: one alone
    // would wait for the last addition at every element.
    let chunk = SERIAL / ABREAST;
    let tasks = n.div_ceil(SERIAL);
    let mut sums = vec![scanner.start; tasks * ABREAST];
    walk.each(0..walk.len(), |_, [from, to]| {
        let line = line(from, to);
        sums.fill(scanner.start);
        let table = Target::of(&mut sums);
        for write in [false, true] {
            pool::run(tasks, &|task| {
                // SAFETY: parts of the line, and places of the table, of their own.
                unsafe {
                    let sums = table.part(task * ABREAST..(task + 1) * ABREAST);
                    let mut parts = [(line, 0); ABREAST];
                    for (c, (part, &sum)) in parts.iter_mut().zip(&*sums).enumerate() {
                        let start = task * SERIAL + c * chunk;
                        *part = (line.part(start.min(n), (start + chunk).min(n)), sum);
                    }
                    with_rooms(|rooms| lines(&mut parts, scanner, write, rooms));
                    sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum = part.1);
                }
            });
            if !write {
                // SAFETY: no task runs.
                totals_before(unsafe { table.all() }, scanner);
            }
        }
    });
}

/// Turns totals into what lies before each of them.
fn totals_before(sums: &mut [Sum], scanner: &Scanner) {
    let mut sum = scanner.start;
    for place in sums {
        let (mut next, mut line) = (0u64, [(std::ptr::null_mut(), std::ptr::null(), sum)]);
        let total = *place;
        line[0].0 = (&raw mut next).cast();
        line[0].1 = (&raw const total).cast();
        // SAFETY: one element at both places.
        unsafe { (scanner.join)(&mut line, 1) };
        *place = std::mem::replace(&mut sum, line[0].2);
    }
}

/// Scans lines of which none is longer than the first, from their running values on, which it
/// leaves at the ends. Without `write`, only the running values are wanted.
///
/// # Safety
/// The lines lie inside live memory, and no other thread touches their outputs.
unsafe fn lines(
    lines: &mut [(Line, Sum)],
    scanner: &Scanner,
    write: bool,
    [spare, rooms @ ..]: &mut [Room; ROOMS],
) {
    let (rooms, sums) = rooms.split_at_mut(ABREAST);
    let plain = scanner.dtype == scanner.sum;
    let shift = if scanner.inclusive { 0 } else { scanner.sum.size() };
    let longest = lines.first().map_or(0, |(line, _)| line.len);
    for start in (0..longest).step_by(BLOCK) {
        let mut work: SmallVec<[(*mut u8, *const u8, Sum); ABREAST]> = SmallVec::new();
        let mut counts: SmallVec<[usize; ABREAST]> = SmallVec::new();
        for (i, (line, sum)) in lines.iter().enumerate() {
            let n = BLOCK.min(line.len.saturating_sub(start));
            let part = line.part(start.min(line.len), line.len);
            // SAFETY: the caller's promise.
            let src = unsafe {
                if plain && part.src_step == 1 {
                    part.src
                } else {
                    scanner.load(part.src, part.src_step, n, &mut rooms[i], spare);
                    rooms[i].at().cast_const()
                }
            };
            let direct = write && plain && part.dst_step == 1 && scanner.inclusive;
            let dst = if direct {
                part.dst
            } else {
                sums[i].0[0] = *sum;
                sums[i].at().wrapping_add(shift)
            };
            work.push((dst, src, *sum));
            counts.push(n);
        }
        // SAFETY: blocks of the lines, or rooms for them.
        unsafe {
            if counts.iter().all(|&n| n == counts[0]) {
                (scanner.join)(&mut work, counts[0]);
            } else {
                for (line, &n) in work.iter_mut().zip(&counts) {
                    (scanner.join)(std::slice::from_mut(line), n);
                }
            }
        }
        for (i, (line, sum)) in lines.iter_mut().enumerate() {
            *sum = work[i].2;
            let part = line.part(start.min(line.len), line.len);
            if write && work[i].0 != part.dst {
                // SAFETY: the caller's promise.
                unsafe {
                    scanner.store(&mut sums[i], counts[i], part.dst, part.dst_step, spare);
                }
            }
        }
    }
}

/// Scans neighbouring lines, at most a block of them; `line` is the first.
///
/// # Safety
/// As [`lines`] for each of the neighbours.
unsafe fn columns(
    line: Line,
    count: usize,
    scanner: &Scanner,
    [spare, row, sums, next, ..]: &mut [Room; ROOMS],
) {
    let (mut sums, mut next) = (sums, next);
    let size = scanner.sum.size();
    let start = (&raw const scanner.start).cast::<u8>();
    for i in 0..BLOCK {
        // SAFETY: the room has a block of running values.
        unsafe { sums.at().add(i * size).copy_from_nonoverlapping(start, size) };
    }
    for i in 0..line.len {
        let part = line.part(i, line.len);
        // SAFETY: the caller's promise; kernels touch less than a room.
        unsafe {
            scanner.load(part.src, 1, count, row, spare);
            (scanner.join_blocks)(next.at(), sums.at(), row.at(), row.at(), count);
            let result = if scanner.inclusive { &mut *next } else { &mut *sums };
            scanner.store(result, count, part.dst, 1, spare);
        }
        std::mem::swap(&mut sums, &mut next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, operand, read};
    use half::f16;
    use lazulite_core::Element;

    fn naive<T: Copy>(
        op: &Scan,
        shape: &[usize],
        data: &[T],
        start: T,
        join: impl Fn(T, T) -> T,
    ) -> Vec<T> {
        let mut out = data.to_vec();
        let strides = lazulite_core::shape::contiguous_strides(shape);
        let n = shape[op.axis];
        for (first, index) in indices(shape).iter().enumerate() {
            if index[op.axis] != 0 {
                continue;
            }
            let mut sum = start;
            for j in 0..n {
                let j = if op.reverse { n - 1 - j } else { j };
                let at = first + j * strides[op.axis] as usize;
                let next = join(sum, data[at]);
                out[at] = if op.inclusive { next } else { sum };
                sum = next;
            }
        }
        out
    }

    fn check<T: Element>(
        kind: ScanOp,
        make: impl Fn(usize) -> T + Copy,
        start: T,
        join: impl Fn(T, T) -> T + Copy,
    ) {
        for shape in
            [&[1usize][..], &[0, 3], &[70_001], &[2, 98_304], &[3, 50], &[20, 7, 5], &[40, 300]]
        {
            for axis in 0..shape.len() {
                for (reverse, inclusive) in
                    [(false, true), (true, true), (false, false), (true, false)]
                {
                    let op = Scan { op: kind, axis, reverse, inclusive };
                    for (name, x) in layouts(shape, make) {
                        let out = empty(T::DTYPE, shape);
                        scan(&op, &x, &out).unwrap();
                        let want = naive(&op, shape, &read::<T>(&x), start, join);
                        assert_eq!(read::<T>(&out), want, "{shape:?} {name} {op:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn integer_scans_in_every_layout() {
        check::<i32>(ScanOp::CumSum, |i| i as i32 % 7 - 3, 0, i32::wrapping_add);
        check::<u64>(ScanOp::CumProd, |i| i as u64 % 3 + 1, 1, u64::wrapping_mul);
        check::<i8>(ScanOp::CumMax, |i| (i * 7 % 100) as i8, i8::MIN, i8::max);
        check::<u16>(ScanOp::CumMin, |i| (i * 7 % 100) as u16 + 1, u16::MAX, u16::min);
    }

    #[test]
    fn exact_float_scans() {
        // Sums of small integers are exact in any order.
        check::<f32>(ScanOp::CumSum, |i| (i % 5) as f32, 0.0, |a, b| a + b);
        check::<f64>(ScanOp::CumMax, |i| (i % 50) as f64, f64::NEG_INFINITY, f64::max);
        let one = Complex32::new(1.0, -1.0);
        check::<Complex32>(ScanOp::CumSum, |_| one, Complex32::new(0.0, 0.0), |a, b| a + b);
    }

    #[test]
    fn halves_accumulate_in_single_precision() {
        let x = operand(&vec![f16::from_f32(0.001); 4000], &[4000]);
        let op = Scan { op: ScanOp::CumSum, axis: 0, reverse: false, inclusive: true };
        let out = empty(Dtype::F16, &[4000]);
        scan(&op, &x, &out).unwrap();
        let want = 4000.0 * f16::from_f32(0.001).to_f64();
        // One rounding to half precision: relative error 2^-11, and a little from the sums.
        assert!((read::<f16>(&out)[3999].to_f64() / want - 1.0).abs() < 6e-4);
    }

    #[test]
    fn nan_and_infinities() {
        let inf = f32::INFINITY;
        let run = |kind, data: &[f32]| {
            let out = empty(Dtype::F32, &[data.len()]);
            let op = Scan { op: kind, axis: 0, reverse: false, inclusive: true };
            scan(&op, &operand(data, &[data.len()]), &out).unwrap();
            read::<f32>(&out)
        };
        let x = run(ScanOp::CumMax, &[1.0, f32::NAN, 3.0]);
        assert!(x[0] == 1.0 && x[1].is_nan() && x[2].is_nan());
        let x = run(ScanOp::LogCumSumExp, &[-inf, -inf, 0.0, 0.0, inf, inf]);
        assert_eq!((x[0], x[1], x[2], x[4], x[5]), (-inf, -inf, 0.0, inf, inf));
        assert!((x[3] - std::f32::consts::LN_2).abs() < 1e-7);
        assert!(run(ScanOp::LogCumSumExp, &[0.0, f32::NAN])[1].is_nan());
    }
}
