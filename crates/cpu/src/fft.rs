//! Fourier transforms of rows, by the `rustfft` and `realfft` crates.

use std::sync::Arc;

use lazulite_core::backend::Operand;
use lazulite_core::op::fft::{Fft, FftKind};
use lazulite_core::shape::contiguous_strides;
use lazulite_core::{Complex32, Result};
use parking_lot::Mutex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft as Transform, FftPlanner};

use crate::pool::parallel_for;
use crate::strided::{Plain, Target, View, Walk, internal, rows_per_task};
use crate::transpose::transpose;

/// Rows that are read and written together, so that a walk across rows takes whole cache lines.
const TOGETHER: usize = 16;
/// Elements of a block of rows.
const IN_CACHE: usize = 1 << 16;
/// Lengths for which tables are kept.
const KEPT: usize = 64;

/// The tables of one length and direction.
enum Plan {
    Complex(Arc<dyn Transform<f32>>),
    FromReal(Arc<dyn RealToComplex<f32>>),
    ToReal(Arc<dyn ComplexToReal<f32>>),
}

struct Planners {
    complex: FftPlanner<f32>,
    real: RealFftPlanner<f32>,
    lengths: Vec<usize>,
}

static PLANNERS: Mutex<Option<Planners>> = Mutex::new(None);

fn plan(op: &Fft) -> Plan {
    let mut guard = PLANNERS.lock();
    if guard.as_ref().is_some_and(|p| p.lengths.len() >= KEPT && !p.lengths.contains(&op.len)) {
        *guard = None;
    }
    let planners = guard.get_or_insert_with(|| Planners {
        complex: FftPlanner::new(),
        real: RealFftPlanner::new(),
        lengths: Vec::new(),
    });
    if !planners.lengths.contains(&op.len) {
        planners.lengths.push(op.len);
    }
    match op.kind {
        FftKind::Forward => Plan::Complex(planners.complex.plan_fft_forward(op.len)),
        FftKind::Inverse => Plan::Complex(planners.complex.plan_fft_inverse(op.len)),
        FftKind::FromReal { .. } => Plan::FromReal(planners.real.plan_fft_forward(op.len)),
        FftKind::ToReal { .. } => Plan::ToReal(planners.real.plan_fft_inverse(op.len)),
    }
}

/// The transforms of all rows along the op's axis.
pub(crate) fn fft(op: &Fft, x: &Operand, out: &Operand) -> Result<()> {
    let (plan, factor) = (plan(op), op.factor() as f32);
    match plan {
        Plan::Complex(plan) => {
            let scratch = plan.get_outofplace_scratch_len();
            rows::<Complex32, Complex32>(op, x, out, scratch, |from, to, scratch| {
                plan.process_outofplace_with_scratch(from, to, scratch);
                scale(to, factor);
                true
            })
        }
        Plan::FromReal(plan) => {
            let FftKind::FromReal { mirrored } = op.kind else { return Err(mismatch()) };
            rows::<f32, Complex32>(op, x, out, plan.get_scratch_len(), |from, to, scratch| {
                let done = plan.process_with_scratch(from, to, scratch).is_ok();
                scale(to, factor);
                if mirrored {
                    scale(paired(to, op.len), 2.0);
                }
                done
            })
        }
        Plan::ToReal(plan) => {
            let FftKind::ToReal { mirrored } = op.kind else { return Err(mismatch()) };
            rows::<Complex32, f32>(op, x, out, plan.get_scratch_len(), |from, to, scratch| {
                if !mirrored {
                    scale(paired(from, op.len), 0.5);
                }
                // What a real signal cannot have.
                from[0].im = 0.0;
                if op.len.is_multiple_of(2) {
                    from[op.len / 2].im = 0.0;
                }
                let done = plan.process_with_scratch(from, to, scratch).is_ok();
                to.iter_mut().for_each(|x| *x *= factor);
                done
            })
        }
    }
}

fn mismatch() -> lazulite_core::Error {
    internal("a plan for another transform")
}

fn scale(row: &mut [Complex32], factor: f32) {
    if factor != 1.0 {
        row.iter_mut().for_each(|z| *z *= factor);
    }
}

/// The frequencies of a real signal of `n` elements that stand for two.
fn paired(row: &mut [Complex32], n: usize) -> &mut [Complex32] {
    &mut row[1..n.div_ceil(2)]
}

/// Calls `f` with each row along the axis, room for its result, and scratch; writes the result.
/// `f` may change the row, and returns false if it could not.
fn rows<A: Plain + Default, B: Plain + Default>(
    op: &Fft,
    x: &Operand,
    out: &Operand,
    scratch: usize,
    f: impl Fn(&mut [A], &mut [B], &mut [Complex32]) -> bool + Sync,
) -> Result<()> {
    let axis = op.axis;
    let (n, m) = (x.shape()[axis], out.shape()[axis]);
    let (from, to) = (View::<A>::new(x)?, Target::<B>::new(out)?);
    let strides = contiguous_strides(out.shape());
    let walk = Walk::without(axis, x.shape(), [from.strides, &strides]);
    let (step, put) = (from.strides[axis], strides[axis]);
    let failed = std::sync::atomic::AtomicBool::new(false);
    let cost = n.max(m) * (usize::BITS - n.leading_zeros()) as usize;
    let task = rows_per_task(cost).next_multiple_of(TOGETHER);
    parallel_for(walk.len(), task, |range| {
        // Long rows across memory are read in fewer at once, so that their block stays in the cache.
        let block = TOGETHER.min((IN_CACHE / n.max(m)).max(4)).min(range.len());
        let mut read = vec![A::default(); n * block];
        let mut done = vec![B::default(); if put == 1 { 0 } else { m * block }];
        let mut scratch = vec![Complex32::default(); scratch];
        let mut places = [[0isize; 2]; TOGETHER];
        let mut start = range.start;
        while start < range.end {
            let count = block.min(range.end - start);
            walk.each(start..start + count, |i, at| places[i - start] = at);
            gather(&from, &places[..count], step, &mut read, n);
            for (r, row) in read.chunks_mut(n).take(count).enumerate() {
                let result = if put == 1 {
                    let at = places[r][1] as usize;
                    // SAFETY: a row of the output lies in one piece; those of a task are its own.
                    unsafe { to.part(at..at + m) }
                } else {
                    &mut done[r * m..(r + 1) * m]
                };
                if !f(row, result, &mut scratch) {
                    failed.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            }
            if put != 1 && is_run(&places[..count], 1) {
                // SAFETY: the places of the walk, side by side, and of the axis are elements of the
                // output; those of a task are its own.
                unsafe {
                    let first = to.data().offset(places[0][1]);
                    transpose([count, m], done.as_ptr(), m as isize, first, put);
                }
            } else if put != 1 {
                for j in 0..m {
                    for (r, [_, at]) in places[..count].iter().enumerate() {
                        // SAFETY: a place of the walk and of the axis is an element of the output.
                        unsafe { *to.data().offset(at + j as isize * put) = done[r * m + j] };
                    }
                }
            }
            start += count;
        }
    });
    if failed.into_inner() {
        return Err(internal("a transform refused its lengths"));
    }
    Ok(())
}

/// True iff the rows begin side by side.
fn is_run(places: &[[isize; 2]], operand: usize) -> bool {
    places.windows(2).all(|pair| pair[1][operand] == pair[0][operand] + 1)
}

/// Reads rows of `n` elements, `step` apart, that begin at the first of each of `places`.
fn gather<A: Plain + Default>(
    from: &View<'_, A>,
    places: &[[isize; 2]],
    step: isize,
    rows: &mut [A],
    n: usize,
) {
    if step == 1 {
        for (row, [at, _]) in rows.chunks_mut(n).zip(places) {
            // SAFETY: a row of the input lies in one piece.
            row.copy_from_slice(unsafe { std::slice::from_raw_parts(from.first().offset(*at), n) });
        }
        return;
    }
    if is_run(places, 0) {
        // By squares: whole columns would meet in one set of the cache where rows are powers of two.
        // SAFETY: a place of the walk and of the axis is an element of the input.
        unsafe {
            let first = from.first().offset(places[0][0]);
            transpose([n, places.len()], first, step, rows.as_mut_ptr(), n as isize);
        }
        return;
    }
    for j in 0..n {
        for (r, [at, _]) in places.iter().enumerate() {
            // SAFETY: a place of the walk and of the axis is an element of the input.
            rows[r * n + j] = unsafe { *from.first().offset(at + j as isize * step) };
        }
    }
}
