//! The kernels of tape instructions: one loop over a block for each op and compute type, expanded
//! from the op table and compiled for every instruction set.
//!
//! A kernel reads and writes contiguous blocks. Kernels of padded types work on whole vectors: they
//! touch the count rounded up to [`PAD`], so every block must have that room, and what they compute
//! beyond the count is never used. Destination and sources never overlap.

use super::lanes::{Bit, Convert, Leave, RoundHalf, Scalar, make_complex};
use super::space::BLOCK;
use crate::math::{Float, Real, narrow_f16, widen_f16};
use crate::simd::{Isa, PORTABLE_FMA};
use half::f16;
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::{Dtype, for_each_binary, for_each_reduction, for_each_unary};
use num_complex::Complex32;
use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Kernels round counts up to a multiple of this.
pub(super) const PAD: usize = 16;
/// The number of running results of a reduction along a block.
pub(super) const LANES: usize = 64;

/// `(destination, a, b, c, count)`; sources that an instruction does not have are ignored.
pub(super) type Kernel = unsafe fn(*mut u8, *const u8, *const u8, *const u8, usize);

/// The loop of a kernel.
trait Body {
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

/// The version of a kernel for `isa`, which the machine must have.
fn version<B: Body>(isa: Isa) -> Kernel {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::<B>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::<B>,
        _ => portable::<B>,
    }
}

#[inline(always)]
fn room<A: Scalar>(n: usize) -> usize {
    if A::PADDED { n.next_multiple_of(PAD) } else { n }
}

/// # Safety
/// As [`std::slice::from_raw_parts`].
#[inline(always)]
unsafe fn read<'a, T>(p: *const u8, n: usize) -> &'a [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(p.cast(), n) }
}

/// # Safety
/// As [`std::slice::from_raw_parts_mut`].
#[inline(always)]
unsafe fn write<'a, T>(p: *mut u8, n: usize) -> &'a mut [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(p.cast(), n) }
}

/// A function of one element.
trait OneArg<A: Scalar> {
    type Out: Copy;
    fn apply<const FMA: bool>(a: A::Lane<FMA>) -> Self::Out;
}

/// A function of two elements.
trait TwoArgs<A: Scalar> {
    type Out: Copy;
    fn apply<const FMA: bool>(a: A::Lane<FMA>, b: A::Lane<FMA>) -> Self::Out;
}

struct MapOne<F, A>(PhantomData<(F, A)>);

impl<F: OneArg<A>, A: Scalar> Body for MapOne<F, A> {
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

/// Expands `$then!` with the types of a class: element type, dtype, result type.
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
        $then! { $args u8 U8 u8, u16 U16 u16, u32 U32 u32, u64 U64 u64, i8 I8 i8, i16 I16 i16,
        i32 I32 i32, i64 I64 i64, f32 F32 f32, f64 F64 f64, Complex32 C64 Complex32 }
    };
    (Ordered $then:ident $args:tt) => {
        $then! { $args Bit Bool Bit, u8 U8 u8, u16 U16 u16, u32 U32 u32, u64 U64 u64, i8 I8 i8,
        i16 I16 i16, i32 I32 i32, i64 I64 i64, f32 F32 f32, f64 F64 f64,
        Complex32 C64 Complex32 }
    };
    (Additive $then:ident $args:tt) => {
        $then! { $args u32 U32 u32, u64 U64 u64, i32 I32 i32, i64 I64 i64, f32 F32 f32,
        f64 F64 f64, Complex32 C64 Complex32 }
    };
    (Compare $then:ident $args:tt) => {
        $then! { $args Bit Bool u8, u8 U8 u8, u16 U16 u8, u32 U32 u8, u64 U64 u8, i8 I8 u8,
        i16 I16 u8, i32 I32 u8, i64 I64 u8, f32 F32 u8, f64 F64 u8, Complex32 C64 u8 }
    };
    (Bits $then:ident $args:tt) => {
        $then! { $args Bit Bool Bit, u8 U8 u8, u16 U16 u16, u32 U32 u32, u64 U64 u64, i8 I8 i8,
        i16 I16 i16, i32 I32 i32, i64 I64 i64 }
    };
    (Shift $then:ident $args:tt) => {
        $then! { $args u8 U8 u8, u16 U16 u16, u32 U32 u32, u64 U64 u64, i8 I8 i8,
        i16 I16 i16, i32 I32 i32, i64 I64 i64 }
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
results!(Bit u16 u32 u64 i8 i16 i32 i64 f32 f64 Complex32);

macro_rules! implement_one {
    ([Part $Op:ident $x:ident $cpu:expr] $A:ident $D:ident $Out:ident) => {
        impl OneArg<$A> for rows::$Op {
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
        mod rows {
            $(pub(super) struct $Op;)*
        }
        mod unary_rows {
            use super::*;
            $(of_class! { $class implement_one [$class $Op $cx $cpu] })*
        }

        /// The kernel of a unary op on a compute type, or `None` if the op does not take it.
        pub(super) fn unary(op: UnaryOp, dtype: Dtype, isa: Isa) -> Option<Kernel> {
            match op {
                $(UnaryOp::$Op => of_class! { $class find_one [$Op dtype isa] },)*
            }
        }
    };
}
for_each_unary!(unary_kernels);

macro_rules! implement_two {
    ([$rows:ident $Op:ident $x:ident $y:ident $cpu:expr] $($A:ident $D:ident $Out:ident),*) => {$(
        impl TwoArgs<$A> for $rows::$Op {
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
        mod pair_rows {
            $(pub(super) struct $Op;)*
        }
        mod binary_rows {
            use super::*;
            $(of_class! { $class implement_two [pair_rows $Op $cx $cy $cpu] })*
        }

        /// The kernel of a binary op on a compute type, or `None` if the op does not take it.
        pub(super) fn binary(op: BinaryOp, dtype: Dtype, isa: Isa) -> Option<Kernel> {
            match op {
                $(BinaryOp::$Op => of_class! { $class find_two [$Op dtype isa] },)*
            }
        }
    };
}
for_each_binary!(binary_kernels);

/// The kernels of a reduction.
#[derive(Clone, Copy)]
pub(super) struct Reducer {
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
                lanes: version::<Lanewise<reduce_rows::$Op, $A>>($isa),
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
            $(pub(super) struct $Op;)*
        }
        mod reduction_rows {
            use super::*;
            $(of_class! { $class implement_two [reduce_rows $Op $x $y $cpu] })*
        }

        /// The kernels of a reduction of a compute type, or `None` if the op does not take it.
        pub(super) fn reducer(op: ReduceOp, dtype: Dtype, isa: Isa) -> Option<Reducer> {
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
pub(super) fn select(size: usize, isa: Isa) -> Kernel {
    by_size!(Choose, size, isa)
}

/// The first element of `a` everywhere.
pub(super) fn splat(size: usize, isa: Isa) -> Kernel {
    by_size!(Splat, size, isa)
}

struct Casting<A, B>(PhantomData<(A, B)>);

impl<A: Scalar + Convert<B>, B: Copy> Body for Casting<A, B> {
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

struct ToF16<A>(PhantomData<A>);

impl<A: Scalar + Convert<f32>> Body for ToF16<A> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let n = n.next_multiple_of(PAD);
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<f32>(d, n), read::<A>(a, n)) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = a.convert();
        }
        let mut narrow = [f16::ZERO; BLOCK];
        for d in d.chunks_mut(BLOCK) {
            narrow_f16(d, &mut narrow);
            widen_f16(&narrow, d);
        }
    }
}

struct ToBf16<A>(PhantomData<A>);

impl<A: Scalar + Convert<f32>> Body for ToBf16<A> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        let n = n.next_multiple_of(PAD);
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<f32>(d, n), read::<A>(a, n)) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = a.convert().round_bf16();
        }
    }
}

/// `float64` to a half type, rounded once.
struct Wide<const BRAIN: bool>;

impl<const BRAIN: bool> Body for Wide<BRAIN> {
    #[inline(always)]
    unsafe fn run<const FMA: bool>(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, n: usize) {
        // SAFETY: the caller's promise.
        let (d, a) = unsafe { (write::<f32>(d, n), read::<f64>(a, n)) };
        for (d, a) in d.iter_mut().zip(a) {
            *d = if BRAIN { a.round_bf16() } else { a.round_f16() };
        }
    }
}

macro_rules! casts {
    ($($A:ident $From:ident),*) => {
        /// Conversion of blocks of the compute type of `from` to that of `to`, rounding to `to` if
        /// it is a half type. `None` iff nothing changes.
        pub(super) fn cast(from: Dtype, to: Dtype, isa: Isa) -> Option<Kernel> {
            if from == to || from.is_half() && to == Dtype::F32 {
                return None;
            }
            if from == Dtype::F64 && to.is_half() {
                let brain = to == Dtype::BF16;
                return Some(if brain { version::<Wide<true>>(isa) } else { version::<Wide<false>>(isa) });
            }
            match from.compute() {
                $(Dtype::$From => casts!(@to $A to isa),)*
                Dtype::F16 | Dtype::BF16 => None,
            }
        }
    };
    (@to $A:ident $to:ident $isa:ident) => {
        Some(match $to {
            Dtype::Bool => version::<Casting<$A, Bit>>($isa),
            Dtype::U8 => version::<Casting<$A, u8>>($isa),
            Dtype::U16 => version::<Casting<$A, u16>>($isa),
            Dtype::U32 => version::<Casting<$A, u32>>($isa),
            Dtype::U64 => version::<Casting<$A, u64>>($isa),
            Dtype::I8 => version::<Casting<$A, i8>>($isa),
            Dtype::I16 => version::<Casting<$A, i16>>($isa),
            Dtype::I32 => version::<Casting<$A, i32>>($isa),
            Dtype::I64 => version::<Casting<$A, i64>>($isa),
            Dtype::F16 => version::<ToF16<$A>>($isa),
            Dtype::BF16 => version::<ToBf16<$A>>($isa),
            Dtype::F32 => version::<Casting<$A, f32>>($isa),
            Dtype::F64 => version::<Casting<$A, f64>>($isa),
            Dtype::C64 => version::<Casting<$A, Complex32>>($isa),
        })
    };
}
casts!(Bit Bool, u8 U8, u16 U16, u32 U32, u64 U64, i8 I8, i16 I16, i32 I32, i64 I64, f32 F32,
    f64 F64, Complex32 C64);
