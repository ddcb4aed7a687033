//! Kernels of several `float32` instructions, and those for which AVX-512 has instructions that loops
//! over elements do not lead to.

use super::kernel::{
    Body, Kernel, MapOne, OneArg, TwoArgs, pair_rows, read, room, rows, version, write,
};
use super::lanes::Scalar;
use crate::isa::IsaKind;
use lazulite_core::Dtype;
use lazulite_core::op::{BinaryOp, ReduceOp};
use std::marker::PhantomData;

struct Chain<P, Q, const BACK: bool>(PhantomData<(P, Q)>);

impl<P, Q, const BACK: bool> Body for Chain<P, Q, BACK>
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
            (write::<f32>(d, n), read::<f32>(a, n), read::<f32>(b, n), read::<f32>(c, n))
        };
        for (((d, a), b), c) in d.iter_mut().zip(a).zip(b).zip(c) {
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
/// `second(c, first(a, b))` if `back`.
pub(super) fn pair(first: BinaryOp, second: BinaryOp, back: bool, isa: IsaKind) -> Option<Kernel> {
    use pair_rows::{Add, Multiply, Subtract};
    macro_rules! with_second {
        ($P:ident) => {
            match (second, back) {
                (BinaryOp::Add, _) => Some(version::<Chain<$P, Add, false>>(isa)),
                (BinaryOp::Multiply, _) => Some(version::<Chain<$P, Multiply, false>>(isa)),
                (BinaryOp::Subtract, false) => Some(version::<Chain<$P, Subtract, false>>(isa)),
                (BinaryOp::Subtract, true) => Some(version::<Chain<$P, Subtract, true>>(isa)),
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

struct ExpOfDifference;

impl Body for ExpOfDifference {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, _: *const u8, n: usize) {
        let n = room::<f32>(n);
        // SAFETY: the caller's promise.
        let (d, a, b) = unsafe { (write::<f32>(d, n), read::<f32>(a, n), read::<f32>(b, n)) };
        for ((d, a), b) in d.iter_mut().zip(a).zip(b) {
            let x = <pair_rows::Subtract as TwoArgs<f32>>::apply::<FMA>(a.enter(), b.enter());
            *d = <rows::Exp as OneArg<f32>>::apply::<FMA>(x.enter());
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
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
            /// As [`super::Body::run`]; the processor has the set.
            #[target_feature(enable = "avx512f,avx512dq")]
            pub(super) unsafe fn $name(
                d: *mut u8,
                a: *const u8,
                b: *const u8,
                _: *const u8,
                n: usize,
            ) {
                for at in (0..room::<f32>(n) * 4).step_by(64) {
                    // SAFETY: the caller's promise: whole vectors.
                    unsafe {
                        let ($x, $y) = (a.add(at).cast(), b.add(at).cast::<f32>());
                        let _ = $y;
                        _mm512_storeu_ps(d.add(at).cast(), $value);
                    }
                }
            }
        )*};
    }
    kernels! {
        exp |x, y| exp_512(_mm512_loadu_ps(x));
        exp_of_difference |x, y| exp_512(_mm512_sub_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(y)));
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
            /// Adds values to the running sums in `c`.
            ///
            /// # Safety
            /// As the kernel of the value; `c` has [`LANES`] elements, of which `n` is a multiple,
            /// and nobody else touches them.
            #[target_feature(enable = "avx512f,avx512dq")]
            pub(super) unsafe fn $name(
                d: *mut u8,
                a: *const u8,
                b: *const u8,
                c: *const u8,
                n: usize,
            ) {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut sums = load(c);
                    for at in (0..n * 4).step_by(BYTES) {
                        for (i, sum) in sums.iter_mut().enumerate() {
                            let at = at + 64 * i;
                            let $d = d.wrapping_add(at).cast::<f32>();
                            let $a = _mm512_loadu_ps(a.add(at).cast());
                            let $b = b.add(at).cast::<f32>();
                            *sum = _mm512_add_ps(*sum, $value);
                        }
                    }
                    store(sums, c.cast_mut());
                }
            }
        )*};
    }
    sums! {
        sum_of_squares |_d, a, _b| _mm512_mul_ps(a, a);
        sum_of_exp |d, a, b| {
            let e = exp_512(_mm512_sub_ps(a, _mm512_loadu_ps(b)));
            _mm512_storeu_ps(d, e);
            e
        };
    }
}

/// The wide version where the processor has the set, else the loop over elements.
macro_rules! chosen {
    ($name:ident, $isa:ident, $Body:ty) => {{
        #[cfg(target_arch = "x86_64")]
        if $isa == IsaKind::Avx512 {
            return wide::$name;
        }
        version::<$Body>($isa)
    }};
}

/// `exp(a)` on `float32`.
pub(super) fn exp(isa: IsaKind) -> Kernel {
    chosen!(exp, isa, MapOne<rows::Exp, f32>)
}

/// `exp(a - b)` on `float32` in one kernel, each op rounded as alone.
pub(super) fn exp_of_difference(isa: IsaKind) -> Kernel {
    chosen!(exp_of_difference, isa, ExpOfDifference)
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

/// The kernel `(-, a, a, running sums, count)` of the sums of squares of `float32`, each op rounded
/// as alone; it writes no squares.
pub(super) fn sum_of_squares(isa: IsaKind) -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    if isa == IsaKind::Avx512 {
        return Some(wide::sum_of_squares);
    }
    let _ = isa;
    None
}

/// The kernel `(exponentials, a, b, running sums, count)` of `exp(a - b)` on `float32`.
pub(super) fn sum_of_exp(isa: IsaKind) -> Option<Kernel> {
    #[cfg(target_arch = "x86_64")]
    if isa == IsaKind::Avx512 {
        return Some(wide::sum_of_exp);
    }
    let _ = isa;
    None
}

#[cfg(test)]
mod tests {
    use super::super::kernel::{LANES, reducer};
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
    fn wide_extremes_and_sums_are_those_of_loops() {
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
        let (ones, mut e) = (vec![1f32; 512], vec![0f32; 512]);
        let (mut sums, mut squares) = ([0.5f32; LANES], [0.5f32; LANES]);
        let (from, one) = (x.as_ptr().cast(), ones.as_ptr().cast());
        let (to, c) = (e.as_mut_ptr().cast(), sums.as_mut_ptr());
        // SAFETY: all have as many elements, and the processor has the set.
        unsafe {
            sum_of_exp(IsaKind::Avx512).unwrap()(to, from, one, c.cast::<u8>(), 512);
            let c = squares.as_mut_ptr().cast::<u8>();
            sum_of_squares(IsaKind::Avx512).unwrap()(to, from, from, c, 512);
        }
        for lane in 0..LANES {
            let add = |term: &dyn Fn(usize) -> f32| {
                (lane..512).step_by(LANES).fold(0.5f32, |sum, i| sum + term(i))
            };
            assert_eq!(sums[lane], add(&|i| e[i]), "sums of exponentials");
            assert_eq!(squares[lane], add(&|i| x[i] * x[i]), "sums of squares");
            assert!((e[lane] - (x[lane] - 1.0).exp()).abs() < 1e-6, "exp({})", x[lane] - 1.0);
        }
    }
}
