//! Running reductions.
//!
//! Along the innermost axis of few long rows the work is cut into chunks whose sizes depend on the
//! shape alone: totals of chunks first, then each chunk from the total before it. Otherwise rows,
//! or columns side by side, are scanned from end to end.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::ScanOp;
use lazulite_core::op::scan::Scan;
use lazulite_core::shape::contiguous_strides;
use lazulite_core::{Complex32, Dtype, Error, Result};
use smallvec::SmallVec;

use crate::pool::{self, parallel_for};
use crate::scatter::Join;
use crate::strided::{Plain, SERIAL, Target, View, Walk, rows_per_task, with_bits};

/// Columns that are scanned side by side.
const COLUMNS: usize = 512;
/// Chunks of one line that are scanned side by side.
const ABREAST: usize = 8;

/// An element with the type in which it is accumulated.
trait Running: Plain {
    type Sum: Copy + Send + Sync;
    fn widen(self) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;
}

macro_rules! running {
    ($($t:ty, $sum:ty, |$x:ident| $up:expr, |$y:ident| $down:expr;)*) => {
        $(impl Running for $t {
            type Sum = $sum;
            #[inline(always)]
            fn widen(self) -> $sum { let $x = self; $up }
            #[inline(always)]
            fn narrow($y: $sum) -> $t { $down }
        })*
    };
}
running! {
    u8, u8, |x| x, |y| y;
    u16, u16, |x| x, |y| y;
    u32, u32, |x| x, |y| y;
    u64, u64, |x| x, |y| y;
    i8, i8, |x| x, |y| y;
    i16, i16, |x| x, |y| y;
    i32, i32, |x| x, |y| y;
    i64, i64, |x| x, |y| y;
    f16, f32, |x| x.to_f32(), |y| f16::from_f32(y);
    bf16, f32, |x| x.to_f32(), |y| bf16::from_f32(y);
    f32, f32, |x| x, |y| y;
    f64, f64, |x| x, |y| y;
    Complex32, Complex32, |x| x, |y| y;
}

/// The scan of an input.
pub(crate) fn scan(op: &Scan, x: &Operand, out: &Operand) -> Result<()> {
    let kernels = kernels(op, x.dtype)?;
    let size = x.dtype.size();
    with_bits!(size, T => {
        let (x, target) = (View::<T>::new(x)?, Target::<T>::new(out)?);
        let strides = contiguous_strides(out.shape());
        let first = Line {
            src: x.first().cast(),
            src_step: x.strides[op.axis],
            dst: target.data().cast(),
            dst_step: strides[op.axis],
            len: x.shape[op.axis],
            size,
        };
        let walk = Walk::without(op.axis, x.shape, [x.strides, &strides]);
        // SAFETY: both operands were checked.
        unsafe { run(op, walk, first, &kernels) };
    });
    Ok(())
}

/// A running value of any type, up to 8 bytes.
type Sum = u64;

/// What a row of the table and a dtype need; all else here is shared by them.
#[derive(Clone, Copy)]
struct Kernels {
    /// What a scan begins with.
    start: Sum,
    /// Scans the lines side by side from their sums on, which it leaves at the ends. Writes unless
    /// only the sums are wanted.
    lines: unsafe fn(&[Line], &mut [Sum], Option<bool>),
    /// Scans neighbouring lines, at most `COLUMNS`.
    columns: unsafe fn(Line, usize, bool),
    /// Turns totals into what lies before each of them.
    prefix: fn(&mut [Sum]),
}

/// A row of the table for elements `T`.
trait Row<T: Running> {
    const START: T::Sum;
    fn join(sum: T::Sum, x: T::Sum) -> T::Sum;
}

struct CumSum;
struct CumProd;
struct CumMin;
struct CumMax;
struct LogCumSumExp;

macro_rules! rows {
    (int $($t:ty)*) => { $(
        rows!(@ $t, CumSum, 0, |a, b| a.wrapping_add(b));
        rows!(@ $t, CumProd, 1, |a, b| a.wrapping_mul(b));
        rows!(@ $t, CumMin, <$t>::MAX, |a, b| a.min(b));
        rows!(@ $t, CumMax, <$t>::MIN, |a, b| a.max(b));
    )* };
    (float $($t:ty, $sum:ident;)*) => { $(
        rows!(@ $t, CumSum, 0.0, |a, b| a + b);
        rows!(@ $t, CumProd, 1.0, |a, b| a * b);
        rows!(@ $t, CumMin, $sum::INFINITY, |a, b| if a <= b || a.is_nan() { a } else { b });
        rows!(@ $t, CumMax, $sum::NEG_INFINITY, |a, b| if a >= b || a.is_nan() { a } else { b });
        rows!(@ $t, LogCumSumExp, $sum::NEG_INFINITY, |a, b| {
            let (high, low) = if a >= b { (a, b) } else { (b, a) };
            if a.is_nan() || b.is_nan() {
                a + b
            } else if high == low && high.is_infinite() {
                // Equal infinities have no difference.
                high
            } else {
                high + (low - high).exp().ln_1p()
            }
        });
    )* };
    (@ $t:ty, $Row:ident, $start:expr, |$a:ident, $b:ident| $join:expr) => {
        impl Row<$t> for $Row {
            const START: <$t as Running>::Sum = $start;
            #[inline(always)]
            fn join($a: <$t as Running>::Sum, $b: <$t as Running>::Sum) -> <$t as Running>::Sum {
                $join
            }
        }
    };
}
rows! { int u8 u16 u32 u64 i8 i16 i32 i64 }
rows! { float f16, f32; bf16, f32; f32, f32; f64, f64; }
rows!(@ Complex32, CumSum, Complex32::new(0.0, 0.0), |a, b| a + b);
rows!(@ Complex32, CumProd, Complex32::new(1.0, 0.0), |a, b| a * b);
rows!(@ Complex32, CumMin, Complex32::new(f32::INFINITY, f32::INFINITY), |a, b| a.lesser(b));
rows!(@ Complex32, CumMax, Complex32::new(f32::NEG_INFINITY, f32::NEG_INFINITY), |a, b| {
    a.greater(b)
});
rows!(@ Complex32, LogCumSumExp, Complex32::new(f32::NEG_INFINITY, 0.0), |a, b| {
    let (high, low) = if a.re >= b.re { (a, b) } else { (b, a) };
    let nothing = low.re == f32::NEG_INFINITY;
    if nothing { high } else { high + ((low - high).exp() + 1.0).ln() }
});

/// The kernels of an op for a dtype. Bool runs as `u8`.
fn kernels(op: &Scan, dtype: Dtype) -> Result<Kernels> {
    macro_rules! of {
        ($($Dtype:ident $t:ty),*; $($Float:ident $f:ty),*) => {
            match (op.op, dtype) {
                $((ScanOp::CumSum, Dtype::$Dtype) => Ok(kernels_of::<$t, CumSum>()),
                (ScanOp::CumProd, Dtype::$Dtype) => Ok(kernels_of::<$t, CumProd>()),
                (ScanOp::CumMin, Dtype::$Dtype) => Ok(kernels_of::<$t, CumMin>()),
                (ScanOp::CumMax, Dtype::$Dtype) => Ok(kernels_of::<$t, CumMax>()),)*
                $((ScanOp::LogCumSumExp, Dtype::$Float) => {
                    Ok(kernels_of::<$f, LogCumSumExp>())
                })*
                (ScanOp::LogCumSumExp, other) => {
                    Err(Error::dtype(op.op.info().name, &[other], "a floating or complex type"))
                }
            }
        };
    }
    of! {
        Bool u8, U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64, F16 f16,
        BF16 bf16, F32 f32, F64 f64, C64 Complex32;
        F16 f16, BF16 bf16, F32 f32, F64 f64, C64 Complex32
    }
}

fn kernels_of<T: Running, R: Row<T>>() -> Kernels {
    let (lines, columns, prefix) = (lines::<T, R>, columns::<T, R>, prefix::<T, R>);
    Kernels { start: pack::<T>(R::START), lines, columns, prefix }
}

fn pack<T: Running>(sum: T::Sum) -> Sum {
    let mut bits = 0;
    // SAFETY: a sum has at most 8 bytes.
    unsafe { (&raw mut bits).cast::<T::Sum>().write_unaligned(sum) };
    bits
}

fn unpack<T: Running>(bits: Sum) -> T::Sum {
    // SAFETY: `pack` made it, of the same type.
    unsafe { (&raw const bits).cast::<T::Sum>().read_unaligned() }
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
unsafe fn run(op: &Scan, mut walk: Walk<2>, first: Line, kernels: &Kernels) {
    let n = first.len;
    if n == 0 || walk.len() == 0 {
        return;
    }
    let line = |from: isize, to: isize| {
        let line = first.shifted(from, to);
        if op.reverse { line.reversed() } else { line }
    };
    let inclusive = op.inclusive;
    // Columns side by side: the innermost axis is dense on both sides.
    if walk.strides.last() == Some(&[1, 1]) && walk.shape.last().is_some_and(|&w| w >= 4) {
        let (width, _) = walk.pop();
        let strips = width.div_ceil(COLUMNS);
        return parallel_for(walk.len() * strips, rows_per_task(n * COLUMNS.min(width)), |r| {
            for strip in r {
                let (outer, column) = (strip / strips, strip % strips * COLUMNS);
                let columns = COLUMNS.min(width - column);
                let column = column as isize;
                walk.each(outer..outer + 1, |_, [from, to]| {
                    // SAFETY: the columns lie inside both operands and are this task's alone.
                    unsafe {
                        (kernels.columns)(line(from + column, to + column), columns, inclusive)
                    };
                });
            }
        });
    }
    if walk.len() >= 16 || n < 2 * SERIAL {
        return parallel_for(walk.len(), rows_per_task(n), |r| {
            let mut rows = SmallVec::<[Line; ABREAST]>::new();
            let scan = |rows: &mut SmallVec<[Line; ABREAST]>| {
                let mut sums = [kernels.start; ABREAST];
                // SAFETY: the lines lie inside both operands and are this task's alone.
                unsafe { (kernels.lines)(rows, &mut sums[..rows.len()], Some(inclusive)) };
                rows.clear();
            };
            walk.each(r, |_, [from, to]| {
                rows.push(line(from, to));
                if rows.len() == ABREAST {
                    scan(&mut rows);
                }
            });
            scan(&mut rows);
        });
    }
    // Chunks of equal length (but for the last ones), `ABREAST` of them in each task: one alone
    // would wait for the last addition at every element.
    let chunk = SERIAL / ABREAST;
    let tasks = n.div_ceil(SERIAL);
    let mut sums = vec![kernels.start; tasks * ABREAST];
    walk.each(0..walk.len(), |_, [from, to]| {
        let line = line(from, to);
        let parts = |task: usize| {
            let mut parts = [line; ABREAST];
            for (c, part) in parts.iter_mut().enumerate() {
                let start = task * SERIAL + c * chunk;
                *part = line.part(start.min(n), (start + chunk).min(n));
            }
            parts
        };
        sums.fill(kernels.start);
        let table = Target::of(&mut sums);
        for write in [false, true] {
            pool::run(tasks, &|task| {
                // SAFETY: parts of the line, and places of the table, of their own.
                unsafe {
                    let sums = table.part(task * ABREAST..(task + 1) * ABREAST);
                    (kernels.lines)(&parts(task), sums, write.then_some(inclusive));
                }
            });
            if !write {
                // SAFETY: no task runs.
                (kernels.prefix)(unsafe { table.all() });
            }
        }
    });
}

/// See [`Kernels::lines`]. No line is longer than the first.
///
/// # Safety
/// The lines are of type `T`, lie inside live memory, and no other thread touches their outputs.
unsafe fn lines<T: Running, R: Row<T>>(lines: &[Line], sums: &mut [Sum], write: Option<bool>) {
    let mut done = 0;
    if let (Ok(lines), Ok(sums)) =
        (<&[Line; ABREAST]>::try_from(lines), <&mut [Sum; ABREAST]>::try_from(&mut *sums))
    {
        let mut wide = [R::START; ABREAST];
        for (wide, sum) in wide.iter_mut().zip(&*sums) {
            *wide = unpack::<T>(*sum);
        }
        done = lines[ABREAST - 1].len;
        for i in 0..done {
            for (sum, line) in wide.iter_mut().zip(lines) {
                // SAFETY: the last line is the shortest.
                unsafe { step::<T, R>(line, i, sum, write) };
            }
        }
        for (sum, wide) in sums.iter_mut().zip(wide) {
            *sum = pack::<T>(wide);
        }
    }
    for (line, sum) in lines.iter().zip(sums) {
        let mut wide = unpack::<T>(*sum);
        for i in done..line.len {
            // SAFETY: inside the line.
            unsafe { step::<T, R>(line, i, &mut wide, write) };
        }
        *sum = pack::<T>(wide);
    }
}

/// One element of a scan.
///
/// # Safety
/// As [`lines`], and `i` is inside the line.
#[inline(always)]
unsafe fn step<T: Running, R: Row<T>>(
    line: &Line,
    i: usize,
    sum: &mut T::Sum,
    write: Option<bool>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let x = *line.src.cast::<T>().offset(i as isize * line.src_step);
        let next = R::join(*sum, x.widen());
        if let Some(inclusive) = write {
            let value = T::narrow(if inclusive { next } else { *sum });
            *line.dst.cast::<T>().offset(i as isize * line.dst_step) = value;
        }
        *sum = next;
    }
}

/// See [`Kernels::prefix`].
fn prefix<T: Running, R: Row<T>>(sums: &mut [Sum]) {
    let mut sum = R::START;
    for place in sums {
        let next = R::join(sum, unpack::<T>(*place));
        *place = pack::<T>(sum);
        sum = next;
    }
}

/// See [`Kernels::columns`].
///
/// # Safety
/// As [`lines`] for each of the neighbours.
unsafe fn columns<T: Running, R: Row<T>>(line: Line, columns: usize, inclusive: bool) {
    let mut sums = [R::START; COLUMNS];
    for i in 0..line.len as isize {
        // SAFETY: the caller's promise.
        unsafe {
            let src = line.src.cast::<T>().offset(i * line.src_step);
            let dst = line.dst.cast::<T>().offset(i * line.dst_step);
            for (j, sum) in sums.iter_mut().enumerate().take(columns) {
                let next = R::join(*sum, (*src.add(j)).widen());
                *dst.add(j) = T::narrow(if inclusive { next } else { *sum });
                *sum = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, operand, read};
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
