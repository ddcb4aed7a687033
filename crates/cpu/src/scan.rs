//! Running reductions.
//!
//! Along the innermost axis of few long rows the work is cut into chunks whose sizes depend on the
//! shape alone: totals of chunks first, then each chunk from the total before it. Otherwise rows,
//! or columns side by side, are scanned from end to end.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::ScanOp;
use lazulite_core::op::scan::Scan;
use lazulite_core::{Complex32, Dtype, Error, Result};

use crate::pool::{self, SharedPtr, parallel_for};
use crate::strided::{Plain, SERIAL, Target, View, Walk, rows_per_task};

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
    macro_rules! ints {
        ($t:ty) => {{
            match op.op {
                ScanOp::CumSum => run::<$t>(op, x, out, 0, |a: $t, b: $t| a.wrapping_add(b)),
                ScanOp::CumProd => run::<$t>(op, x, out, 1, |a: $t, b: $t| a.wrapping_mul(b)),
                ScanOp::CumMin => run::<$t>(op, x, out, <$t>::MAX, |a: $t, b: $t| a.min(b)),
                ScanOp::CumMax => run::<$t>(op, x, out, <$t>::MIN, |a: $t, b: $t| a.max(b)),
                ScanOp::LogCumSumExp => refuse(op, x.dtype, "a floating type"),
            }
        }};
    }
    macro_rules! floats {
        ($t:ty, $sum:ty) => {{
            type S = $sum;
            let inf = <$sum>::INFINITY;
            match op.op {
                ScanOp::CumSum => run::<$t>(op, x, out, 0.0, |a, b| a + b),
                ScanOp::CumProd => run::<$t>(op, x, out, 1.0, |a, b| a * b),
                ScanOp::CumMin => {
                    run::<$t>(
                        op,
                        x,
                        out,
                        inf,
                        |a: S, b: S| {
                            if a <= b || a.is_nan() { a } else { b }
                        },
                    )
                }
                ScanOp::CumMax => {
                    run::<$t>(
                        op,
                        x,
                        out,
                        -inf,
                        |a: S, b: S| {
                            if a >= b || a.is_nan() { a } else { b }
                        },
                    )
                }
                ScanOp::LogCumSumExp => run::<$t>(op, x, out, -inf, |a: S, b: S| {
                    let (high, low) = if a >= b { (a, b) } else { (b, a) };
                    // Equal infinities have no difference.
                    if high == low && high.is_infinite() {
                        return high;
                    }
                    let sum = high + (low - high).exp().ln_1p();
                    if a.is_nan() || b.is_nan() { a + b } else { sum }
                }),
            }
        }};
    }
    match x.dtype {
        Dtype::Bool | Dtype::U8 => ints!(u8),
        Dtype::U16 => ints!(u16),
        Dtype::U32 => ints!(u32),
        Dtype::U64 => ints!(u64),
        Dtype::I8 => ints!(i8),
        Dtype::I16 => ints!(i16),
        Dtype::I32 => ints!(i32),
        Dtype::I64 => ints!(i64),
        Dtype::F16 => floats!(f16, f32),
        Dtype::BF16 => floats!(bf16, f32),
        Dtype::F32 => floats!(f32, f32),
        Dtype::F64 => floats!(f64, f64),
        Dtype::C64 => complex(op, x, out),
    }
}

fn complex(op: &Scan, x: &Operand, out: &Operand) -> Result<()> {
    use crate::scatter::Join;
    let (zero, inf) = (Complex32::new(0.0, 0.0), f32::INFINITY);
    match op.op {
        ScanOp::CumSum => run::<Complex32>(op, x, out, zero, |a, b| a + b),
        ScanOp::CumProd => run::<Complex32>(op, x, out, Complex32::new(1.0, 0.0), |a, b| a * b),
        ScanOp::CumMin => run::<Complex32>(op, x, out, Complex32::new(inf, inf), Join::lesser),
        ScanOp::CumMax => run::<Complex32>(op, x, out, Complex32::new(-inf, -inf), Join::greater),
        ScanOp::LogCumSumExp => run::<Complex32>(op, x, out, Complex32::new(-inf, 0.0), |a, b| {
            let (high, low) = if a.re >= b.re { (a, b) } else { (b, a) };
            if low.re == -inf { high } else { high + ((low - high).exp() + 1.0).ln() }
        }),
    }
}

fn refuse(op: &Scan, dtype: Dtype, expected: &str) -> Result<()> {
    Err(Error::dtype(op.op.info().name, &[dtype], expected))
}

/// One line of a scan: where it is read and written.
#[derive(Clone, Copy)]
struct Line<T> {
    src: *const T,
    src_step: isize,
    dst: *mut T,
    dst_step: isize,
    len: usize,
}

// SAFETY: tasks write lines, or parts of a line, of their own.
unsafe impl<T: Send> Send for Line<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Line<T> {}

impl<T: Running> Line<T> {
    /// Elements `start..end` of the line.
    fn part(self, start: usize, end: usize) -> Line<T> {
        Line {
            src: self.src.wrapping_offset(start as isize * self.src_step),
            dst: self.dst.wrapping_offset(start as isize * self.dst_step),
            len: end - start,
            ..self
        }
    }

    /// The line from its end.
    fn reversed(self) -> Line<T> {
        let last = self.len.saturating_sub(1) as isize;
        Line {
            src: self.src.wrapping_offset(last * self.src_step),
            dst: self.dst.wrapping_offset(last * self.dst_step),
            src_step: -self.src_step,
            dst_step: -self.dst_step,
            ..self
        }
    }

    /// The reduction of the line, from `sum` on.
    ///
    /// # Safety
    /// The line lies inside live memory.
    unsafe fn total(self, mut sum: T::Sum, join: impl Fn(T::Sum, T::Sum) -> T::Sum) -> T::Sum {
        for i in 0..self.len as isize {
            // SAFETY: the caller's promise.
            sum = join(sum, unsafe { *self.src.offset(i * self.src_step) }.widen());
        }
        sum
    }

    /// The scan of the line, from `sum` on.
    ///
    /// # Safety
    /// As `total`, and no other thread touches the line's output. Input and output may be the same.
    unsafe fn scan(
        self,
        mut sum: T::Sum,
        inclusive: bool,
        join: impl Fn(T::Sum, T::Sum) -> T::Sum,
    ) {
        for i in 0..self.len as isize {
            // SAFETY: the caller's promise.
            unsafe {
                let next = join(sum, (*self.src.offset(i * self.src_step)).widen());
                *self.dst.offset(i * self.dst_step) = T::narrow(if inclusive { next } else { sum });
                sum = next;
            }
        }
    }
}

fn run<T: Running>(
    op: &Scan,
    x: &Operand,
    out: &Operand,
    start: T::Sum,
    join: impl Fn(T::Sum, T::Sum) -> T::Sum + Copy + Sync,
) -> Result<()> {
    let (x, out_shape) = (View::<T>::new(x)?, out.shape());
    let target = Target::<T>::new(out)?;
    let strides = lazulite_core::shape::contiguous_strides(out_shape);
    let (n, src_step, dst_step) = (x.shape[op.axis], x.strides[op.axis], strides[op.axis]);
    let others = |values: &[isize]| -> Vec<isize> {
        (0..values.len()).filter(|&a| a != op.axis).map(|a| values[a]).collect()
    };
    let shape: Vec<usize> =
        (0..x.shape.len()).filter(|&a| a != op.axis).map(|a| x.shape[a]).collect();
    let mut walk = Walk::new(&shape, [&others(x.strides), &others(&strides)]);
    if n == 0 || walk.len() == 0 {
        return Ok(());
    }
    let line = move |from: isize, to: isize| {
        let src = x.first().wrapping_offset(from);
        let dst = target.data().wrapping_offset(to);
        let line = Line { src, src_step, dst, dst_step, len: n };
        if op.reverse { line.reversed() } else { line }
    };
    let inclusive = op.inclusive;
    // Columns side by side: the innermost axis is dense on both sides.
    if walk.strides.last() == Some(&[1, 1]) && walk.shape.last().is_some_and(|&w| w >= 4) {
        let (width, _) = walk.pop();
        let strips = width.div_ceil(COLUMNS);
        parallel_for(walk.len() * strips, rows_per_task(n * COLUMNS.min(width)), |r| {
            for strip in r {
                let (outer, column) = (strip / strips, strip % strips * COLUMNS);
                let columns = COLUMNS.min(width - column);
                walk.each(outer..outer + 1, |_, [from, to]| {
                    let line = line(from + column as isize, to + column as isize);
                    // SAFETY: the columns lie inside both operands and are this task's alone.
                    unsafe { scan_columns(line, columns, start, inclusive, join) };
                });
            }
        });
        return Ok(());
    }
    if walk.len() >= 16 || n < 2 * SERIAL {
        parallel_for(walk.len(), rows_per_task(n), |r| {
            // SAFETY: the line lies inside both operands and is this task's alone.
            walk.each(r, |_, [from, to]| unsafe { line(from, to).scan(start, inclusive, join) });
        });
        return Ok(());
    }
    // Chunks of equal length (but for the last ones), `ABREAST` of them in each task.
    let chunk = SERIAL / ABREAST;
    let tasks = n.div_ceil(SERIAL);
    let mut sums = vec![start; tasks * ABREAST];
    walk.each(0..walk.len(), |_, [from, to]| {
        let line = line(from, to);
        let part = |c: usize| line.part((c * chunk).min(n), ((c + 1) * chunk).min(n));
        let table = SharedPtr::new(sums.as_mut_ptr());
        pool::run(tasks, &|task| {
            let first = task * ABREAST;
            // SAFETY: parts of the line, and places of the table, of their own.
            unsafe {
                let totals = totals(std::array::from_fn(|c| part(first + c)), start, join);
                for (c, total) in totals.into_iter().enumerate() {
                    *table.get().add(first + c) = total;
                }
            }
        });
        let mut sum = start;
        for place in &mut sums {
            let next = join(sum, *place);
            *place = sum;
            sum = next;
        }
        pool::run(tasks, &|task| {
            let first = task * ABREAST;
            let starts = std::array::from_fn(|c| sums[first + c]);
            // SAFETY: as above.
            unsafe {
                scan_abreast(std::array::from_fn(|c| part(first + c)), starts, inclusive, join);
            }
        });
    });
    Ok(())
}

/// The reductions of some lines, each from `start` on, side by side: one alone would wait for the
/// last addition at every element. No line is longer than the first.
///
/// # Safety
/// The lines lie inside live memory.
unsafe fn totals<T: Running>(
    lines: [Line<T>; ABREAST],
    start: T::Sum,
    join: impl Fn(T::Sum, T::Sum) -> T::Sum + Copy,
) -> [T::Sum; ABREAST] {
    let mut sums = [start; ABREAST];
    let common = lines[ABREAST - 1].len;
    for i in 0..common as isize {
        for (sum, line) in sums.iter_mut().zip(&lines) {
            // SAFETY: the last line is the shortest.
            *sum = join(*sum, unsafe { *line.src.offset(i * line.src_step) }.widen());
        }
    }
    for (sum, line) in sums.iter_mut().zip(&lines) {
        // SAFETY: what is left of each line.
        *sum = unsafe { line.part(common, line.len).total(*sum, join) };
    }
    sums
}

/// The scans of some lines side by side, as in [`totals`].
///
/// # Safety
/// As [`Line::scan`] for each of them.
unsafe fn scan_abreast<T: Running>(
    lines: [Line<T>; ABREAST],
    mut sums: [T::Sum; ABREAST],
    inclusive: bool,
    join: impl Fn(T::Sum, T::Sum) -> T::Sum + Copy,
) {
    let common = lines[ABREAST - 1].len;
    for i in 0..common as isize {
        for (sum, line) in sums.iter_mut().zip(&lines) {
            // SAFETY: the last line is the shortest.
            unsafe {
                let next = join(*sum, (*line.src.offset(i * line.src_step)).widen());
                let out = T::narrow(if inclusive { next } else { *sum });
                *line.dst.offset(i * line.dst_step) = out;
                *sum = next;
            }
        }
    }
    for (sum, line) in sums.into_iter().zip(lines) {
        // SAFETY: what is left of each line.
        unsafe { line.part(common, line.len).scan(sum, inclusive, join) };
    }
}

/// The scans of `columns` neighbouring lines, at most `COLUMNS`.
///
/// # Safety
/// As [`Line::scan`] for each of them.
unsafe fn scan_columns<T: Running>(
    line: Line<T>,
    columns: usize,
    start: T::Sum,
    inclusive: bool,
    join: impl Fn(T::Sum, T::Sum) -> T::Sum,
) {
    let mut sums = [start; COLUMNS];
    for i in 0..line.len as isize {
        // SAFETY: the caller's promise.
        unsafe {
            let src = line.src.offset(i * line.src_step);
            let dst = line.dst.offset(i * line.dst_step);
            for (j, sum) in sums.iter_mut().enumerate().take(columns) {
                let next = join(*sum, (*src.add(j)).widen());
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
