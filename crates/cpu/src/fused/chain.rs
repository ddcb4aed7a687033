//! Kernels of several `float32` instructions, and those for which AVX-512 has instructions that loops
//! over elements do not lead to.

use super::kernel::{
    Body, Kernel, LANES, MapOne, OneArg, TwoArgs, pair_rows, read, room, rows, version, write,
};
use super::lanes::Scalar;
use crate::isa::{IsaKind, PORTABLE_FMA};
use lazulite_core::Dtype;
use lazulite_core::op::{BinaryOp, ReduceOp};
use std::marker::PhantomData;

/// Memory that kernels ask for while they compute: where it begins, and how many bytes of it go with
/// [`LANES`] elements. The first is read next; the second is written after that, and stays beyond
/// the first cache. Asked for between the kernels instead, a softmax of 1024 x 4096 took 1.25 times as
/// long on two cores of a Xeon of the fourth generation.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub at: [*const u8; 2],
    pub bytes: [usize; 2],
}

impl Ahead {
    /// Nothing.
    pub(super) fn none() -> Ahead {
        Ahead { at: [std::ptr::null(); 2], bytes: [0; 2] }
    }

    /// Goes on to what belongs to the elements after the next `n`.
    pub(super) fn skip(&mut self, n: usize) {
        for (at, bytes) in self.at.iter_mut().zip(self.bytes) {
            *at = at.wrapping_add(n / LANES * bytes);
        }
    }

    /// Asks for line `i` of what belongs to a group of [`LANES`] elements.
    #[inline(always)]
    fn ask(&self, group: usize, i: usize) {
        let place = |s: usize| self.at[s].wrapping_add(self.bytes[s] * group + 64 * i).cast();
        let has = |s: usize| 64 * i < self.bytes[s];
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has the instructions, which never fault.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            if has(0) {
                _mm_prefetch::<_MM_HINT_T0>(place(0));
            }
            if has(1) {
                _mm_prefetch::<_MM_HINT_T1>(place(1));
            }
        }
        let _ = (place, has);
    }
}

/// A kernel `(destination, a, b, running sums, count, what to ask for)` that adds what it makes of a
/// and b to [`LANES`] running sums; the count is a multiple of [`LANES`].
pub(super) type Summing = unsafe fn(*mut u8, *const u8, *const u8, *mut u8, usize, &Ahead);

/// The elements of an operand, or its first one where that stands for all.
///
/// # Safety
/// As [`read`].
#[inline(always)]
unsafe fn some<'a, const ROW: bool>(p: *const u8, n: usize) -> &'a [f32] {
    // SAFETY: the caller's promise.
    unsafe { read(p, if ROW { 1 } else { n }) }
}

/// Two ops; `ROWS_B` and `ROWS_C` say that b and c have one value for all elements.
struct Chain<P, Q, const BACK: bool, const ROWS_B: bool, const ROWS_C: bool>(PhantomData<(P, Q)>);

impl<P, Q, const BACK: bool, const ROWS_B: bool, const ROWS_C: bool> Body
    for Chain<P, Q, BACK, ROWS_B, ROWS_C>
where
    P: TwoArgs<f32, Out = f32>,
    Q: TwoArgs<f32, Out = f32>,
{
    const AVX512: bool = true;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize) {
        let n = room::<f32>(n);
        // SAFETY: the caller's promise.
        let (d, a, b, c) = unsafe {
            (write::<f32>(d, n), read::<f32>(a, n), some::<ROWS_B>(b, n), some::<ROWS_C>(c, n))
        };
        let first = |x: &[f32]| x.first().copied().unwrap_or_default();
        let (first_b, first_c) = (first(b), first(c));
        for (i, (d, a)) in d.iter_mut().zip(a).enumerate() {
            // SAFETY: both have n elements where more than the first is read.
            let at = |x: &[f32]| unsafe { *x.get_unchecked(i) };
            let b = if ROWS_B { first_b } else { at(b) };
            let c = if ROWS_C { first_c } else { at(c) };
            let x = P::apply::<FMA>(a.enter(), b.enter());
            *d = if BACK {
                Q::apply::<FMA>(c.enter(), x.enter())
            } else {
                Q::apply::<FMA>(x.enter(), c.enter())
            };
        }
    }
}

/// Two binary ops on `float32` in one kernel, each rounded as alone: `second(first(a, b), c)`, or
/// `second(c, first(a, b))` if `back`. `rows` says of b and c whether they have one value for all elements.
pub(super) fn pair(
    first: BinaryOp,
    second: BinaryOp,
    back: bool,
    rows: [bool; 2],
    isa: IsaKind,
) -> Option<Kernel> {
    use pair_rows::{Add, Multiply, Subtract};
    macro_rules! with_rows {
        ($P:ident, $Q:ident, $back:literal) => {
            Some(match rows {
                [false, false] => version::<Chain<$P, $Q, $back, false, false>>(isa),
                [true, false] => version::<Chain<$P, $Q, $back, true, false>>(isa),
                [false, true] => version::<Chain<$P, $Q, $back, false, true>>(isa),
                [true, true] => version::<Chain<$P, $Q, $back, true, true>>(isa),
            })
        };
    }
    macro_rules! with_second {
        ($P:ident) => {
            match (second, back) {
                (BinaryOp::Add, _) => with_rows!($P, Add, false),
                (BinaryOp::Multiply, _) => with_rows!($P, Multiply, false),
                (BinaryOp::Subtract, false) => with_rows!($P, Subtract, false),
                (BinaryOp::Subtract, true) => with_rows!($P, Subtract, true),
                _ => None,
            }
        };
    }
    match first {
        BinaryOp::Add => with_second!(Add),
        BinaryOp::Multiply => with_second!(Multiply),
        BinaryOp::Subtract => with_second!(Subtract),
        _ => None,
    }
}

struct ByRow<P>(PhantomData<P>);

impl<P: TwoArgs<f32, Out = f32>> Body for ByRow<P> {
    const AVX512: bool = true;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, _: *const u8, n: usize) {
        let n = room::<f32>(n);
        // SAFETY: the caller's promise; one element of b is read.
        let (d, a, b) = unsafe { (write::<f32>(d, n), read::<f32>(a, n), b.cast::<f32>().read()) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = P::apply::<FMA>(a.enter(), b.enter());
        }
    }
}

/// A binary op on `float32` whose second operand has one value for all elements.
pub(super) fn by_row(op: BinaryOp, isa: IsaKind) -> Option<Kernel> {
    match op {
        BinaryOp::Add => Some(version::<ByRow<pair_rows::Add>>(isa)),
        BinaryOp::Multiply => Some(version::<ByRow<pair_rows::Multiply>>(isa)),
        BinaryOp::Subtract => Some(version::<ByRow<pair_rows::Subtract>>(isa)),
        _ => None,
    }
}

/// What a summing kernel makes of two elements and adds.
trait Term {
    /// True iff it is written too.
    const WRITES: bool;
    fn of<const FMA: bool>(a: f32, b: f32) -> f32;
}

#[inline(always)]
fn difference<const FMA: bool>(a: f32, b: f32) -> f32 {
    <pair_rows::Subtract as TwoArgs<f32>>::apply::<FMA>(a.enter(), b.enter())
}

struct Squares;

impl Term for Squares {
    const WRITES: bool = false;
    #[inline(always)]
    fn of<const FMA: bool>(a: f32, _: f32) -> f32 {
        a * a
    }
}

struct SquaredDifferences;

impl Term for SquaredDifferences {
    const WRITES: bool = false;
    #[inline(always)]
    fn of<const FMA: bool>(a: f32, b: f32) -> f32 {
        let d = difference::<FMA>(a, b);
        d * d
    }
}

struct Exponentials;

impl Term for Exponentials {
    const WRITES: bool = true;
    #[inline(always)]
    fn of<const FMA: bool>(a: f32, b: f32) -> f32 {
        let x = difference::<FMA>(a, b);
        <rows::Exp as OneArg<f32>>::apply::<FMA>(x.enter())
    }
}

/// # Safety
/// As [`Body::run`]; `c` has [`LANES`] elements that nobody else touches, of which `n` is a multiple; with
/// `ROW`, one element of b is read.
#[inline(always)]
unsafe fn sum_terms<T: Term, const ROW: bool, const FMA: bool>(
    d: *mut u8,
    a: *const u8,
    b: *const u8,
    c: *mut u8,
    n: usize,
    ahead: &Ahead,
) {
    type Group = [f32; LANES];
    /// Cache lines of a group.
    const LINES: usize = LANES / 16;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = c.cast::<Group>().read();
        let mut other = [b.cast::<f32>().read(); LANES];
        for group in 0..n / LANES {
            (0..LINES).for_each(|i| ahead.ask(group, i));
            let a = &*a.cast::<Group>().add(group);
            if !ROW {
                other = b.cast::<Group>().add(group).read();
            }
            let mut made = [0f32; LANES];
            for i in 0..LANES {
                made[i] = T::of::<FMA>(a[i], other[i]);
                sums[i] += made[i];
            }
            if T::WRITES {
                d.cast::<Group>().add(group).write(made);
            }
        }
        c.cast::<Group>().write(sums);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_sums<T: Term, const ROW: bool>(
    d: *mut u8,
    a: *const u8,
    b: *const u8,
    c: *mut u8,
    n: usize,
    ahead: &Ahead,
) {
    // SAFETY: the caller's promise.
    unsafe { sum_terms::<T, ROW, true>(d, a, b, c, n, ahead) }
}

unsafe fn portable_sums<T: Term, const ROW: bool>(
    d: *mut u8,
    a: *const u8,
    b: *const u8,
    c: *mut u8,
    n: usize,
    ahead: &Ahead,
) {
    // SAFETY: the caller's promise.
    unsafe { sum_terms::<T, ROW, PORTABLE_FMA>(d, a, b, c, n, ahead) }
}

struct OfDifference<T, const ROW: bool>(PhantomData<T>);

impl<T: Term, const ROW: bool> Body for OfDifference<T, ROW> {
    const AVX512: bool = true;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, _: *const u8, n: usize) {
        let n = room::<f32>(n);
        // SAFETY: the caller's promise.
        let (d, a, b) = unsafe { (write::<f32>(d, n), read::<f32>(a, n), some::<ROW>(b, n)) };
        let first = b.first().copied().unwrap_or_default();
        for (i, (d, a)) in d.iter_mut().zip(a).enumerate() {
            // SAFETY: b has n elements where more than the first is read.
            let b = if ROW { first } else { unsafe { *b.get_unchecked(i) } };
            *d = T::of::<FMA>(*a, b);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::Ahead;
    use crate::fused::kernel::{LANES, room};
    use crate::math::exp_512;
    use std::arch::x86_64::{
        __m512, __mmask16, _CMP_UNORD_Q, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_loadu_ps,
        _mm512_mask_blend_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
    };

    /// The vectors of running results, and their bytes.
    const VECTORS: usize = LANES / 16;
    const BYTES: usize = LANES * 4;

    macro_rules! kernels {
        ($($name:ident |$x:ident, $y:ident| $value:expr;)*) => {$(
            /// # Safety
            /// As [`super::Body::run`]; the processor has the set. With `ROW`, one element of b is
            /// read.
            #[target_feature(enable = "avx512f,avx512dq")]
            pub(super) unsafe fn $name<const ROW: bool>(
                d: *mut u8,
                a: *const u8,
                b: *const u8,
                _: *const u8,
                n: usize,
            ) {
                // SAFETY: the caller's promise: whole vectors.
                unsafe {
                    let first = _mm512_set1_ps(b.cast::<f32>().read());
                    for at in (0..room::<f32>(n) * 4).step_by(64) {
                        let $x = _mm512_loadu_ps(a.add(at).cast());
                        let $y = if ROW { first } else { _mm512_loadu_ps(b.add(at).cast()) };
                        let _ = $y;
                        _mm512_storeu_ps(d.add(at).cast(), $value);
                    }
                }
            }
        )*};
    }
    kernels! {
        exp |x, y| exp_512(x);
        exp_of_difference |x, y| exp_512(_mm512_sub_ps(x, y));
    }

    /// # Safety
    /// [`LANES`] elements are readable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const u8) -> [__m512; VECTORS] {
        let mut all = [_mm512_setzero_ps(); VECTORS];
        for (i, one) in all.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *one = unsafe { _mm512_loadu_ps(from.add(64 * i).cast()) };
        }
        all
    }

    /// # Safety
    /// [`LANES`] elements are writable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(all: [__m512; VECTORS], to: *mut u8) {
        for (i, one) in all.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(to.add(64 * i).cast(), one) };
        }
    }

    /// True where one of the elements is NaN: two vectors are asked in one comparison.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn has_nan(x: &[__m512; VECTORS]) -> __mmask16 {
        let (pairs, _) = x.as_chunks::<2>();
        let mut nan = 0;
        for [a, b] in pairs {
            nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(*a, *b);
        }
        nan
    }

    macro_rules! extremes {
        ($($name:ident $better:ident)*) => {$(
            /// The running extremes in `d` joined with the elements of `a`. The instruction drops
            /// a NaN that comes first, so that these are counted apart.
            ///
            /// # Safety
            /// As [`crate::fused::kernel::Reducer::lanes`]; the processor has the set.
            #[target_feature(enable = "avx512f")]
            pub(super) unsafe fn $name(
                d: *mut u8,
                a: *const u8,
                _: *const u8,
                _: *const u8,
                n: usize,
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut best = load(d);
                    let mut nan = has_nan(&best);
                    for at in (0..n * 4).step_by(BYTES) {
                        let x = load(a.add(at));
                        nan |= has_nan(&x);
                        for (best, x) in best.iter_mut().zip(x) {
                            *best = $better(*best, x);
                        }
                    }
                    best[0] = _mm512_mask_blend_ps(nan, best[0], _mm512_set1_ps(f32::NAN));
                    store(best, d);
                }
            }
        )*};
    }
    extremes! { greatest _mm512_max_ps least _mm512_min_ps }

    macro_rules! sums {
        ($($name:ident |$d:ident, $a:ident, $b:ident| $value:expr;)*) => {$(
            /// # Safety
            /// As [`super::sum_terms`]; the processor has the set.
            #[target_feature(enable = "avx512f,avx512dq")]
            pub(super) unsafe fn $name<const ROW: bool>(
                d: *mut u8,
                a: *const u8,
                b: *const u8,
                c: *mut u8,
                n: usize,
                ahead: &Ahead,
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    let first = _mm512_set1_ps(b.cast::<f32>().read());
                    let mut sums = load(c);
                    for group in 0..n / LANES {
                        for (i, sum) in sums.iter_mut().enumerate() {
                            ahead.ask(group, i);
                            let at = group * BYTES + 64 * i;
                            let $d = d.wrapping_add(at).cast::<f32>();
                            let $a = _mm512_loadu_ps(a.add(at).cast());
                            let $b = if ROW { first } else { _mm512_loadu_ps(b.add(at).cast()) };
                            *sum = _mm512_add_ps(*sum, $value);
                        }
                    }
                    store(sums, c);
                }
            }
        )*};
    }
    sums! {
        squares |_d, a, _b| _mm512_mul_ps(a, a);
        squared_differences |_d, a, b| {
            let x = _mm512_sub_ps(a, b);
            _mm512_mul_ps(x, x)
        };
        exponentials |d, a, b| {
            let e = exp_512(_mm512_sub_ps(a, b));
            _mm512_storeu_ps(d, e);
            e
        };
    }
}

/// The wide version where the processor has the set, else the loop over elements.
macro_rules! chosen {
    ($name:ident $row:literal, $isa:ident, $Body:ty) => {{
        #[cfg(target_arch = "x86_64")]
        if $isa == IsaKind::Avx512 {
            return wide::$name::<$row>;
        }
        version::<$Body>($isa)
    }};
}

/// `exp(a)` on `float32`.
pub(super) fn exp(isa: IsaKind) -> Kernel {
    chosen!(exp false, isa, MapOne<rows::Exp, f32>)
}

/// `exp(a - b)` on `float32` in one kernel, each op rounded as alone. `row` says whether b has one value
/// for all elements.
pub(super) fn exp_of_difference(row: bool, isa: IsaKind) -> Kernel {
    if row {
        chosen!(exp_of_difference true, isa, OfDifference<Exponentials, true>)
    } else {
        chosen!(exp_of_difference false, isa, OfDifference<Exponentials, false>)
    }
}

/// `(a - b)^2` on `float32` in one kernel, as [`exp_of_difference`].
pub(super) fn square_of_difference(row: bool, isa: IsaKind) -> Kernel {
    match row {
        true => version::<OfDifference<SquaredDifferences, true>>(isa),
        false => version::<OfDifference<SquaredDifferences, false>>(isa),
    }
}

macro_rules! summing {
    ($(#[doc = $doc:literal] $name:ident $wide:ident $Term:ident;)*) => {$(
        #[doc = $doc]
        pub(super) fn $name(row: bool, isa: IsaKind) -> Summing {
            match (isa, row) {
                #[cfg(target_arch = "x86_64")]
                (IsaKind::Avx512, false) => wide::$wide::<false>,
                #[cfg(target_arch = "x86_64")]
                (IsaKind::Avx512, true) => wide::$wide::<true>,
                #[cfg(target_arch = "x86_64")]
                (IsaKind::Avx2, false) => avx2_sums::<$Term, false>,
                #[cfg(target_arch = "x86_64")]
                (IsaKind::Avx2, true) => avx2_sums::<$Term, true>,
                (_, false) => portable_sums::<$Term, false>,
                (_, true) => portable_sums::<$Term, true>,
            }
        }
    )*};
}
summing! {
    /// Sums of `a * a`, each op rounded as alone; nothing is written.
    sum_of_squares squares Squares;
    /// Sums of the squares of `a - b`; nothing is written. `row`: b has one value for all elements.
    sum_of_squared_differences squared_differences SquaredDifferences;
    /// Sums of `exp(a - b)`, which is written. `row`: b has one value for all elements.
    sum_of_exp exponentials Exponentials;
}

/// The kernel that joins a block into the running results of a reduction, if there is a better one
/// than the loop.
pub(super) fn lanes(op: ReduceOp, dtype: Dtype, isa: IsaKind) -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    match (op, dtype, isa) {
        (ReduceOp::Max, Dtype::F32, IsaKind::Avx512) => return Some(wide::greatest),
        (ReduceOp::Min, Dtype::F32, IsaKind::Avx512) => return Some(wide::least),
        _ => {}
    }
    let _ = (op, dtype, isa);
    None
}

#[cfg(test)]
mod tests {
    use super::super::kernel::{self, reducer};
    use super::*;

    /// A kernel's results for floats of every exponent and sign, infinities and NaN among them.
    fn all_over(kernel: Kernel) -> Vec<(f32, f32)> {
        let x: Vec<f32> = (0..1 << 20).map(|i: u32| f32::from_bits(i.wrapping_mul(4095))).collect();
        let mut y = vec![0f32; x.len()];
        let (from, to) = (x.as_ptr().cast(), y.as_mut_ptr().cast());
        // SAFETY: both have as many elements, and the processor has the set.
        unsafe { kernel(to, from, from, from, x.len()) };
        x.into_iter().zip(y).collect()
    }

    #[test]
    fn the_wide_exponential_is_that_of_elements() {
        if !IsaKind::Avx512.is_available() {
            return;
        }
        let pairs = all_over(exp(IsaKind::Avx512)).into_iter().zip(all_over(exp(IsaKind::Avx2)));
        for ((x, wide), (_, narrow)) in pairs {
            assert!(wide.to_bits() == narrow.to_bits() || x.is_nan() && wide.is_nan(), "exp({x})");
        }
    }

    #[test]
    fn wide_extremes_are_those_of_loops() {
        if !IsaKind::Avx512.is_available() {
            return;
        }
        let mut x: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32).sin()).collect();
        for nan in [None, Some(0), Some(77), Some(511)] {
            if let Some(at) = nan {
                x[at] = f32::NAN;
            }
            for op in [ReduceOp::Max, ReduceOp::Min] {
                let of = |isa| {
                    let reducer = reducer(op, Dtype::F32, isa).unwrap();
                    let mut running = [f32::from_bits(reducer.start as u32); LANES];
                    let (to, from) = (running.as_mut_ptr().cast(), x.as_ptr().cast());
                    // SAFETY: a whole number of running results, and the processor has the sets.
                    unsafe {
                        // NaN of an earlier block stays.
                        (reducer.lanes)(to, from, from, from, 256);
                        (reducer.lanes)(to, from.add(1024), from, from, 256);
                        (reducer.fold)(to, to, to, to, 0);
                    }
                    running[0]
                };
                let (wide, narrow) = (of(IsaKind::Avx512), of(IsaKind::Avx2));
                assert_eq!(wide.is_nan(), nan.is_some(), "{op:?} with NaN at {nan:?}");
                assert!(wide == narrow || wide.is_nan() && narrow.is_nan(), "{op:?} {nan:?}");
            }
            x.iter_mut().for_each(|v| *v = if v.is_nan() { 0.5 } else { *v });
        }
    }

    /// Runs a summing kernel on 512 elements; what it wrote and the sums, which begin at 0.5.
    fn summed(kernel: Summing, x: &[f32], y: &[f32]) -> (Vec<f32>, [f32; LANES]) {
        let (mut made, mut sums) = (vec![0f32; 512], [0.5f32; LANES]);
        let (to, c) = (made.as_mut_ptr().cast(), sums.as_mut_ptr().cast());
        // Neither what is asked for nor what lies behind it is touched.
        let ahead = Ahead { at: [x.as_ptr().cast(), std::ptr::null()], bytes: [128, 256] };
        // SAFETY: all have as many elements as the kernel reads, and the processor has the set.
        unsafe { kernel(to, x.as_ptr().cast(), y.as_ptr().cast(), c, 512, &ahead) };
        (made, sums)
    }

    #[test]
    fn sums_are_those_of_each_op_alone_in_every_set() {
        let x: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32).sin()).collect();
        let y: Vec<f32> = (0..512).map(|i| ((i * 53 % 97) as f32).cos()).collect();
        type Find = fn(bool, IsaKind) -> Summing;
        type Row = (&'static str, Find, fn(f32, f32) -> f32, f32);
        let kernels: [Row; 3] = [
            ("squares", sum_of_squares, |a, _| a * a, 0.0),
            ("differences", sum_of_squared_differences, |a, b| (a - b) * (a - b), 0.0),
            // The standard library's function and ours round differently in the last place, eight
            // times for each sum.
            ("exponentials", sum_of_exp, |a, b| (a - b).exp(), 1e-6),
        ];
        for (name, find, term, tolerance) in kernels {
            for isa in IsaKind::ALL.into_iter().filter(|isa| isa.is_available()) {
                for row in [false, true] {
                    let other = |i: usize| y[if row { 0 } else { i }];
                    let (made, sums) = summed(find(row, isa), &x, &y);
                    let close = |a: f32, b: f32| (a - b).abs() <= tolerance * b.abs();
                    for i in 0..512 {
                        // Only exponentials are written.
                        let want = if tolerance == 0.0 { 0.0 } else { term(x[i], other(i)) };
                        assert!(close(made[i], want), "{name} {isa:?} {row}: {} {want}", made[i]);
                    }
                    for lane in 0..LANES {
                        let places = (lane..512).step_by(LANES);
                        let want = places.fold(0.5f32, |sum, i| sum + term(x[i], other(i)));
                        assert!(close(sums[lane], want), "{name} {isa:?} {row}: lane {lane}");
                    }
                }
            }
        }
    }

    #[test]
    fn ops_by_one_value_of_a_row_are_those_by_as_many() {
        let x: Vec<f32> = (0..528).map(|i| ((i * 37 % 101) as f32).sin()).collect();
        let run = |kernel: Kernel, b: &[f32], c: &[f32]| {
            let mut d = vec![0f32; 528];
            let (to, a) = (d.as_mut_ptr().cast(), x.as_ptr().cast());
            // SAFETY: all have 521 elements rounded up, or one where one is read.
            unsafe { kernel(to, a, b.as_ptr().cast(), c.as_ptr().cast(), 521) };
            d.truncate(521);
            d
        };
        let (b, c) = (vec![1.7f32; 528], vec![-0.3f32; 528]);
        let ops = [BinaryOp::Add, BinaryOp::Multiply, BinaryOp::Subtract];
        for isa in IsaKind::ALL.into_iter().filter(|isa| isa.is_available()) {
            for find in [exp_of_difference, square_of_difference] {
                let row = run(find(true, isa), &b[..1], &c);
                assert_eq!(row, run(find(false, isa), &b, &c), "{isa:?}");
            }
            for first in ops {
                let alone = kernel::binary(first, Dtype::F32, isa).unwrap();
                let row = run(by_row(first, isa).unwrap(), &b[..1], &c);
                assert_eq!(row, run(alone, &b, &c), "{first:?} {isa:?}");
                for (second, back) in ops.iter().flat_map(|&op| [(op, false), (op, true)]) {
                    let of = |rows| pair(first, second, back, rows, isa).unwrap();
                    let want = run(of([false; 2]), &b, &c);
                    for rows in [[true, false], [false, true], [true; 2]] {
                        let got = run(of(rows), &b[..if rows[0] { 1 } else { 528 }], &c);
                        assert_eq!(got, want, "{first:?} {second:?} {back} {rows:?} {isa:?}");
                    }
                }
            }
        }
    }
}
