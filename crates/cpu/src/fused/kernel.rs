//! The kernels of tape instructions: one loop over a block for each op and compute type, expanded
//! from the op table and compiled for every instruction set.
//!
//! A kernel reads and writes contiguous blocks. Kernels of padded types work on whole vectors: they
//! touch the count rounded up to [`PAD`], so every block must have that room, and what they compute
//! beyond the count is never used. Destination and sources never overlap.

use super::chain;
use super::lanes::{Bit, Convert, Leave, RoundHalf, Scalar, make_complex};
use super::space::BLOCK;
use crate::isa::{IsaKind, PORTABLE_FMA};
use crate::math::{Float, Real, narrow_f16, widen_f16};
use half::f16;
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::{Dtype, for_each_binary, for_each_reduction, for_each_unary};
use num_complex::Complex32;
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Kernels round counts up to a multiple of this.
pub(crate) const PAD: usize = 16;
/// The number of running results of a reduction along a block.
pub(crate) const LANES: usize = 64;

/// `(destination, a, b, c, count)`; sources that an instruction does not have are ignored.
pub(crate) type Kernel = unsafe fn(*mut u8, *const u8, *const u8, *const u8, usize);

/// The loop of a kernel, and the instruction sets for which a version of its own pays.
pub(super) trait Body {
    /// True iff vectors of 256 bits help at all.
    const AVX2: bool = true;
    /// True iff vectors of 512 bits do more than those of 256, or have instructions of their own.
    const AVX512: bool = false;

    /// # Safety
    /// The pointers are aligned for their types and have room for `n` elements, rounded up to
    /// [`PAD`], all initialised; the destination overlaps no source.
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize);
}

unsafe fn portable<B: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { B::run::<PORTABLE_FMA>(d, a, b, c, n) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<B: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { B::run::<true>(d, a, b, c, n) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<B: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize) {
    // SAFETY: the caller's promise.
    unsafe { B::run::<true>(d, a, b, c, n) }
}

/// The version of a kernel for `isa`, which the machine must have. Versions that are never chosen
/// are not compiled.
pub(super) fn version<B: Body>(isa: IsaKind) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    {
        if B::AVX512 && isa == IsaKind::Avx512 {
            return avx512::<B>;
        }
        if B::AVX2 && isa >= IsaKind::Avx2 {
            return avx2::<B>;
        }
    }
    let _ = isa;
    portable::<B>
}

#[inline(always)]
pub(super) fn room<A: Scalar>(n: usize) -> usize {
    if A::PADDED { n.next_multiple_of(PAD) } else { n }
}

/// # Safety
/// As [`std::slice::from_raw_parts`].
#[inline(always)]
pub(super) unsafe fn read<'a, T>(p: *const u8, n: usize) -> &'a [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(p.cast(), n) }
}

/// # Safety
/// As [`std::slice::from_raw_parts_mut`].
#[inline(always)]
pub(super) unsafe fn write<'a, T>(p: *mut u8, n: usize) -> &'a mut [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(p.cast(), n) }
}

/// A function of one element.
pub(super) trait OneArg<A: Scalar> {
    const SETS: Sets;
    type Out: Copy;
    fn apply<const FMA: bool>(a: A::Lane<FMA>) -> Self::Out;
}

/// A function of two elements.
pub(super) trait TwoArgs<A: Scalar> {
    const SETS: Sets;
    type Out: Copy;
    fn apply<const FMA: bool>(a: A::Lane<FMA>, b: A::Lane<FMA>) -> Self::Out;
}

pub(super) struct MapOne<F, A>(PhantomData<(F, A)>);

impl<F: OneArg<A>, A: Scalar> Body for MapOne<F, A> {
    const AVX2: bool = F::SETS.avx2;
    const AVX512: bool = F::SETS.avx512;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let n = room::<A>(n);
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<F::Out>(d, n), read::<A>(a, n)) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = F::apply::<FMA>(a.enter());
        }
    }
}

struct MapTwo<F, A>(PhantomData<(F, A)>);

impl<F: TwoArgs<A>, A: Scalar> Body for MapTwo<F, A> {
    const AVX2: bool = F::SETS.avx2;
    const AVX512: bool = F::SETS.avx512;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, _: *const u8, n: usize) {
        let n = room::<A>(n);
        // SAFETY: the caller's promise.
        let (d, a, b) = unsafe { (write::<F::Out>(d, n), read::<A>(a, n), read::<A>(b, n)) };
        for ((d, a), b) in d.iter_mut().zip(a).zip(b) {
            *d = F::apply::<FMA>(a.enter(), b.enter());
        }
    }
}

/// The instruction sets for which an op has versions.
#[derive(Clone, Copy)]
pub(super) struct Sets {
    avx2: bool,
    avx512: bool,
}

/// No versions: functions of complex numbers are scalar, and there are no vectors of quotients of
/// integers nor of exact remainders.
const SCALAR: Sets = Sets { avx2: false, avx512: false };
/// Divisions and roots are no faster in 512 bits, and one instruction for each element is as fast in
/// 256 as memory is.
const SHORT: Sets = Sets { avx2: true, avx512: false };
/// Functions of many instructions, 1.4 times as fast in 512 bits on a Xeon of the fourth
/// generation; products of 64 bits; and what is common in chains on `float32`, whose blocks come
/// from the first cache.
const LONG: Sets = Sets { avx2: true, avx512: true };

const fn sets(dtype: Dtype) -> Sets {
    if matches!(dtype, Dtype::C64) { SCALAR } else { SHORT }
}

const fn unary_sets(op: UnaryOp, dtype: Dtype) -> Sets {
    use UnaryOp::{
        Abs, Ceil, Conjugate, Floor, Negative, Reciprocal, Round, Rsqrt, Sign, Sqrt, Square,
    };
    match (op, dtype) {
        (Negative | Conjugate, Dtype::C64) => SHORT,
        (Abs | Negative | Square, Dtype::F32) => LONG,
        (Abs | Ceil | Floor | Negative | Reciprocal | Round | Rsqrt | Sign | Sqrt | Square, _) => {
            sets(dtype)
        }
        (_, Dtype::F32) => LONG,
        _ => sets(dtype),
    }
}

const fn binary_sets(op: BinaryOp, dtype: Dtype) -> Sets {
    use BinaryOp::{
        Add, Arctan2, FloorDivide, LogAddExp, Maximum, Minimum, Multiply, Power, Remainder,
        Subtract,
    };
    match (op, dtype) {
        (Remainder, _) => SCALAR,
        (Power | LogAddExp | Arctan2, Dtype::F32) => LONG,
        (Add | Subtract | Multiply | Maximum | Minimum, Dtype::F32) => LONG,
        (Power | FloorDivide, Dtype::F32 | Dtype::F64) => SHORT,
        (Power | FloorDivide, _) => SCALAR,
        (Add | Subtract | Multiply, Dtype::C64) => SHORT,
        (Multiply, Dtype::U64 | Dtype::I64) => LONG,
        _ => sets(dtype),
    }
}

const fn reduced_sets(dtype: Dtype) -> Sets {
    if matches!(dtype, Dtype::F32) { LONG } else { sets(dtype) }
}

/// Expands `$then!` with the types of a class for which there are kernels: element type, dtype,
/// result type. Narrow integers are computed in 32 bits ([`super::lower`]), bits of any width as
/// bytes.
macro_rules! of_class {
    (Inexact $then:ident $args:tt) => {
        $then! { $args f32 F32 f32, f64 F64 f64, Complex32 C64 Complex32 }
    };
    (Real $then:ident $args:tt) => {
        $then! { $args f32 F32 f32, f64 F64 f64 }
    };
    (Rounding $then:ident $args:tt) => {
        $then! { $args f32 F32 f32, f64 F64 f64 }
    };
    (Number $then:ident $args:tt) => {
        of_class! { Arith $then $args }
    };
    (Arith $then:ident $args:tt) => {
        $then! { $args u32 U32 u32, u64 U64 u64, i32 I32 i32, i64 I64 i64, f32 F32 f32,
        f64 F64 f64, Complex32 C64 Complex32 }
    };
    (Ordered $then:ident $args:tt) => {
        of_class! { Arith $then $args }
    };
    (Additive $then:ident $args:tt) => {
        $then! { $args u32 U32 u32, u64 U64 u64, f32 F32 f32, f64 F64 f64,
        Complex32 C64 Complex32 }
    };
    (Compare $then:ident $args:tt) => {
        $then! { $args u32 U32 u8, u64 U64 u8, i32 I32 u8, i64 I64 u8, f32 F32 u8, f64 F64 u8,
        Complex32 C64 u8 }
    };
    (Bits $then:ident $args:tt) => {
        $then! { $args Bit Bool Bit, u8 U8 u8 }
    };
    (Shift $then:ident $args:tt) => {
        $then! { $args u32 U32 u32, u64 U64 u64, i32 I32 i32, i64 I64 i64 }
    };
    (Logical $then:ident $args:tt) => {
        $then! { $args Bit Bool Bit }
    };
    (Part $then:ident $args:tt) => {
        $then! { $args Complex32 C64 f32 }
    };
    (Conjugate $then:ident $args:tt) => {
        $then! { $args Complex32 C64 Complex32 }
    };
    (Build $then:ident $args:tt) => {
        $then! { $args f32 F32 Complex32 }
    };
}

/// The lane that leaves an expression as an element of the given type.
type Left<T, const FMA: bool> = <T as ResultOf>::Lane<FMA>;

/// Names the lane of a result type, so that expressions generic over it are pinned.
trait ResultOf: Copy {
    type Lane<const FMA: bool>;
}
macro_rules! results {
    ($($t:ident)*) => {$(
        impl ResultOf for $t {
            type Lane<const FMA: bool> = <$t as Scalar>::Lane<FMA>;
        }
    )*};
}
results!(Bit u32 u64 i32 i64 f32 f64 Complex32);

macro_rules! implement_one {
    ([Part $Op:ident $x:ident $cpu:expr] $A:ident $D:ident $Out:ident) => {
        impl OneArg<$A> for rows::$Op {
            const SETS: Sets = unary_sets(UnaryOp::$Op, Dtype::$D);
            type Out = $Out;
            #[inline(always)]
            fn apply<const FMA: bool>($x: <$A as Scalar>::Lane<FMA>) -> $Out {
                let y: Left<$Out, FMA> = $cpu;
                y.leave()
            }
        }
    };
    ([$class:ident $Op:ident $x:ident $cpu:expr] $($A:ident $D:ident $Out:ident),*) => {$(
        impl OneArg<$A> for rows::$Op {
            const SETS: Sets = unary_sets(UnaryOp::$Op, Dtype::$D);
            type Out = $Out;
            #[inline(always)]
            fn apply<const FMA: bool>($x: <$A as Scalar>::Lane<FMA>) -> $Out {
                ($cpu).leave()
            }
        }
    )*};
}

macro_rules! find_one {
    ([$Op:ident $dtype:ident $isa:ident] $($A:ident $D:ident $Out:ident),*) => {
        match $dtype {
            $(Dtype::$D => Some(version::<MapOne<rows::$Op, $A>>($isa)),)*
            #[allow(unreachable_patterns)]
            _ => None,
        }
    };
}

macro_rules! unary_kernels {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        class: $class:ident, cpu: |$cx:ident| $cpu:expr, cuda: $cuda:literal,
        partial: |$x:ident, $y:ident| $partial:expr,
        numpy: $numpy:literal, domain: ($low:expr, $high:expr), ulp: $ulp:literal,
    })*) => {
        pub(super) mod rows {
            $(pub(crate) struct $Op;)*
        }
        mod unary_rows {
            use super::*;
            $(of_class! { $class implement_one [$class $Op $cx $cpu] })*
        }

        /// The kernel of a unary op on a compute type, or `None` if the op does not take it.
        pub(crate) fn unary(op: UnaryOp, dtype: Dtype, isa: IsaKind) -> Option<Kernel> {
            match op {
                UnaryOp::Exp if dtype == Dtype::F32 => Some(chain::exp(isa)),
                $(UnaryOp::$Op => of_class! { $class find_one [$Op dtype isa] },)*
            }
        }
    };
}
for_each_unary!(unary_kernels);

macro_rules! implement_two {
    ([$rows:ident $sets:expr, $Op:ident $x:ident $y:ident $cpu:expr]
     $($A:ident $D:ident $Out:ident),*) => {$(
        impl TwoArgs<$A> for $rows::$Op {
            const SETS: Sets = $sets(Dtype::$D);
            type Out = $Out;
            #[inline(always)]
            fn apply<const FMA: bool>(
                $x: <$A as Scalar>::Lane<FMA>,
                $y: <$A as Scalar>::Lane<FMA>,
            ) -> $Out {
                ($cpu).leave()
            }
        }
    )*};
}

macro_rules! find_two {
    ([$Op:ident $dtype:ident $isa:ident] $($A:ident $D:ident $Out:ident),*) => {
        match $dtype {
            $(Dtype::$D => Some(version::<MapTwo<pair_rows::$Op, $A>>($isa)),)*
            #[allow(unreachable_patterns)]
            _ => None,
        }
    };
}

macro_rules! binary_kernels {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        class: $class:ident, cpu: |$cx:ident, $cy:ident| $cpu:expr, cuda: $cuda:literal,
        partial: |$x:ident, $y:ident, $z:ident| $partial:expr,
        numpy: $numpy:literal, ulp: $ulp:literal,
    })*) => {
        pub(super) mod pair_rows {
            use super::{BinaryOp, Dtype, Sets, binary_sets};
            $(
                pub(crate) struct $Op;
                impl $Op {
                    pub(super) const fn sets(dtype: Dtype) -> Sets {
                        binary_sets(BinaryOp::$Op, dtype)
                    }
                }
            )*
        }
        mod binary_rows {
            use super::*;
            $(of_class! { $class implement_two [
                pair_rows (pair_rows::$Op::sets), $Op $cx $cy $cpu
            ] })*
        }

        /// The kernel of a binary op on a compute type, or `None` if the op does not take it.
        pub(crate) fn binary(op: BinaryOp, dtype: Dtype, isa: IsaKind) -> Option<Kernel> {
            match op {
                $(BinaryOp::$Op => of_class! { $class find_two [$Op dtype isa] },)*
            }
        }
    };
}
for_each_binary!(binary_kernels);

/// The kernels of a reduction.
#[derive(Clone, Copy)]
pub(crate) struct Reducer {
    /// The bits of the value of an empty reduction.
    pub start: u64,
    /// Joins `a` into the destination, element by element. Here the destination is also a source.
    pub join: Kernel,
    /// Joins a block into [`LANES`] running results; its count is a multiple of [`LANES`].
    pub lanes: Kernel,
    /// Joins [`LANES`] running results pairwise into the first.
    pub fold: Kernel,
}

struct Join<F, A>(PhantomData<(F, A)>);

impl<F: TwoArgs<A, Out = A>, A: Scalar> Body for Join<F, A> {
    const AVX2: bool = F::SETS.avx2;
    const AVX512: bool = F::SETS.avx512;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let n = room::<A>(n);
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<A>(d, n), read::<A>(a, n)) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = F::apply::<FMA>(d.enter(), a.enter());
        }
    }
}

struct Lanewise<F, A>(PhantomData<(F, A)>);

impl<F: TwoArgs<A, Out = A>, A: Scalar> Body for Lanewise<F, A> {
    const AVX2: bool = F::SETS.avx2;
    const AVX512: bool = F::SETS.avx512;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        // SAFETY: the caller's promise; the destination has LANES elements.
        let (d, a) = unsafe { (&mut *d.cast::<[A; LANES]>(), read::<[A; LANES]>(a, n / LANES)) };
        let mut running = *d;
        for a in a {
            for (r, a) in running.iter_mut().zip(a) {
                *r = F::apply::<FMA>(r.enter(), a.enter());
            }
        }
        *d = running;
    }
}

struct Fold<F, A>(PhantomData<(F, A)>);

impl<F: TwoArgs<A, Out = A>, A: Scalar> Body for Fold<F, A> {
    const AVX2: bool = false;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, _: *const u8, _: *const u8, _: *const u8, _: usize) {
        // SAFETY: the caller's promise; the destination has LANES elements.
        let d = unsafe { write::<A>(d, LANES) };
        let mut width = LANES / 2;
        while width > 0 {
            let (low, high) = d.split_at_mut(width);
            for (l, h) in low.iter_mut().zip(high) {
                *l = F::apply::<FMA>(l.enter(), h.enter());
            }
            width /= 2;
        }
    }
}

fn bits<T: Copy>(value: T) -> u64 {
    let mut bits = 0u64;
    // SAFETY: element types are plain bytes, eight at most.
    unsafe { std::ptr::from_mut(&mut bits).cast::<T>().write(value) };
    bits
}

macro_rules! find_reducer {
    ([$Op:ident $start:ident $dtype:ident $isa:ident] $($A:ident $D:ident $Out:ident),*) => {
        match $dtype {
            $(Dtype::$D => Some(Reducer {
                start: bits(<$A as Scalar>::$start()),
                join: version::<Join<reduce_rows::$Op, $A>>($isa),
                lanes: chain::lanes(ReduceOp::$Op, $dtype, $isa)
                    .unwrap_or_else(|| version::<Lanewise<reduce_rows::$Op, $A>>($isa)),
                fold: version::<Fold<reduce_rows::$Op, $A>>($isa),
            }),)*
            #[allow(unreachable_patterns)]
            _ => None,
        }
    };
}

macro_rules! reduction_kernels {
    ($($(#[doc = $doc:literal])* $Op:ident $name:ident {
        class: $class:ident, start: $start:ident, cpu: |$x:ident, $y:ident| $cpu:expr,
        cuda: $cuda:literal,
    })*) => {
        mod reduce_rows {
            $(pub(crate) struct $Op;)*
        }
        mod reduction_rows {
            use super::*;
            $(of_class! { $class implement_two [reduce_rows reduced_sets, $Op $x $y $cpu] })*
        }

        /// The kernels of a reduction of a compute type, or `None` if the op does not take it.
        pub(crate) fn reducer(op: ReduceOp, dtype: Dtype, isa: IsaKind) -> Option<Reducer> {
            // Wrapping sums and products do not depend on the sign.
            let dtype = match (op, dtype) {
                (ReduceOp::Sum | ReduceOp::Prod, Dtype::I32) => Dtype::U32,
                (ReduceOp::Sum | ReduceOp::Prod, Dtype::I64) => Dtype::U64,
                _ => dtype,
            };
            match op {
                $(ReduceOp::$Op => of_class! { $class find_reducer [$Op $start dtype isa] },)*
            }
        }
    };
}
for_each_reduction!(reduction_kernels);

struct Choose<T>(PhantomData<T>);

impl<T: Copy> Body for Choose<T> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, n: usize) {
        let n = n.next_multiple_of(PAD);
        // SAFETY: the caller's promise.
        let (d, a, b, c) =
            unsafe { (write::<T>(d, n), read::<u8>(a, n), read::<T>(b, n), read::<T>(c, n)) };
        for (((d, a), b), c) in d.iter_mut().zip(a).zip(b).zip(c) {
            *d = if *a != 0 { *b } else { *c };
        }
    }
}

struct Splat<T>(PhantomData<T>);

impl<T: Copy> Body for Splat<T> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let n = n.next_multiple_of(PAD);
        // SAFETY: the caller's promise; `a` has one element.
        let (d, a) = unsafe { (write::<T>(d, n), a.cast::<T>().read()) };
        d.fill(a);
    }
}

macro_rules! by_size {
    ($body:ident, $size:expr, $isa:expr) => {
        match $size {
            1 => version::<$body<u8>>($isa),
            2 => version::<$body<u16>>($isa),
            4 => version::<$body<u32>>($isa),
            _ => version::<$body<u64>>($isa),
        }
    };
}

/// `a ? b : c` on elements of `size` bytes.
pub(crate) fn select(size: usize, isa: IsaKind) -> Kernel {
    by_size!(Choose, size, isa)
}

/// The first element of `a` everywhere.
pub(crate) fn splat(size: usize, isa: IsaKind) -> Kernel {
    by_size!(Splat, size, isa)
}

struct Casting<A, B>(PhantomData<(A, B)>);

impl<A: Converts + Convert<B>, B: Converts> Body for Casting<A, B> {
    // Conversions between floats and integers of 64 bits are instructions of AVX-512 only.
    const AVX512: bool = A::FLOAT != B::FLOAT;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let n = n.next_multiple_of(PAD);
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<B>(d, n), read::<A>(a, n)) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = a.convert();
        }
    }
}

/// A type that casts know.
trait Converts: Copy {
    const FLOAT: bool;
}
macro_rules! converts {
    ($($t:ident $float:literal),*) => { $(impl Converts for $t { const FLOAT: bool = $float; })* };
}
converts!(Bit false, u8 false, u16 false, u32 false, u64 false, i8 false, i16 false, i32 false,
    i64 false, f32 true, f64 true, Complex32 true);

/// `float32` rounded to a half type.
struct Rounded<const BRAIN: bool>;

impl<const BRAIN: bool> Body for Rounded<BRAIN> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let n = n.next_multiple_of(PAD);
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<f32>(d, n), read::<f32>(a, n)) };
        if BRAIN {
            for (d, a) in d.iter_mut().zip(a) {
                *d = a.round_bf16();
            }
            return;
        }
        let mut narrow = [f16::ZERO; BLOCK];
        for (d, a) in d.chunks_mut(BLOCK).zip(a.chunks(BLOCK)) {
            narrow_f16(a, &mut narrow);
            widen_f16(&narrow, d);
        }
    }
}

/// `float64` to a half type, rounded once.
struct Wide<const BRAIN: bool>;

impl<const BRAIN: bool> Body for Wide<BRAIN> {
    const AVX2: bool = false;

    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<f32>(d, n), read::<f64>(a, n)) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = if BRAIN { a.round_bf16() } else { a.round_f16() };
        }
    }
}

/// How a conversion is done.
pub(crate) enum Cast {
    /// Nothing changes.
    Same,
    /// In one step.
    Direct(Kernel),
    /// By way of another type.
    Via(Dtype),
}

/// Conversion of blocks of the compute type of `from` to that of `to`, rounding to `to` if it is a
/// half type. Integers wrap, and reals are truncated to 64 bits, saturating, before they do.
pub(crate) fn cast(from: Dtype, to: Dtype, isa: IsaKind) -> Cast {
    use Dtype::{BF16, Bool, C64, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    if from == to || from.is_half() && to == F32 {
        return Cast::Same;
    }
    let from = from.compute();
    let whole = |dtype: Dtype| dtype.is_integer() || dtype == Bool;
    let (size, to_size) = (from.size(), to.size());
    macro_rules! casting {
        ($A:ident, $B:ident) => {
            Cast::Direct(version::<Casting<$A, $B>>(isa))
        };
    }
    match (from, to) {
        (F32, F16) => Cast::Direct(version::<Rounded<false>>(isa)),
        (F32, BF16) => Cast::Direct(version::<Rounded<true>>(isa)),
        (F64, F16) => Cast::Direct(version::<Wide<false>>(isa)),
        (F64, BF16) => Cast::Direct(version::<Wide<true>>(isa)),
        (F32, F64) => casting!(f32, f64),
        (F64, F32) => casting!(f64, f32),
        (F32, C64) => casting!(f32, Complex32),
        (C64, F32) => casting!(Complex32, f32),
        (F32, Bool) => casting!(f32, Bit),
        (F64, Bool) => casting!(f64, Bit),
        (C64, Bool) => casting!(Complex32, Bit),
        (F32, I32 | U32) => casting!(f32, i32),
        (F32, I64) => casting!(f32, i64),
        (F32, U64) => casting!(f32, u64),
        (F64, I32 | U32) => casting!(f64, i32),
        (F64, I64) => casting!(f64, i64),
        (F64, U64) => casting!(f64, u64),
        (I32, F32) => casting!(i32, f32),
        (I32, F64) => casting!(i32, f64),
        (I64, F32) => casting!(i64, f32),
        (I64, F64) => casting!(i64, f64),
        (U64, F32) => casting!(u64, f32),
        (U64, F64) => casting!(u64, f64),
        (U32, F32 | F64) => Cast::Via(I64),
        (F32 | F64, U8 | U16 | I8 | I16) => Cast::Via(I32),
        (_, F32 | F64) if whole(from) => Cast::Via(I32),
        (C64, _) | (_, F16 | BF16 | C64) => Cast::Via(F32),
        (_, Bool) => match size {
            1 => casting!(u8, Bit),
            2 => casting!(u16, Bit),
            4 => casting!(u32, Bit),
            _ => casting!(u64, Bit),
        },
        // The bits of a bool are those of an unsigned integer.
        _ if size == to_size => Cast::Same,
        _ if size > to_size => match (size, to_size) {
            (2, _) => casting!(u16, u8),
            (4, 1) => casting!(u32, u8),
            (4, _) => casting!(u32, u16),
            (_, 1) => casting!(u64, u8),
            (_, 2) => casting!(u64, u16),
            _ => casting!(u64, u32),
        },
        _ => match (from, to_size) {
            (I8, 2) => casting!(i8, i16),
            (I8, 4) => casting!(i8, i32),
            (I8, _) => casting!(i8, i64),
            (I16, 4) => casting!(i16, i32),
            (I16, _) => casting!(i16, i64),
            (I32, _) => casting!(i32, i64),
            (U16, 4) => casting!(u16, u32),
            (U16, _) => casting!(u16, u64),
            (U32, _) => casting!(u32, u64),
            (_, 2) => casting!(u8, u16),
            (_, 4) => casting!(u8, u32),
            _ => casting!(u8, u64),
        },
    }
}
