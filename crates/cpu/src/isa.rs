//! The instruction set, chosen once at run time.
//!
//! A kernel is compiled once for each set, inside a function that has the set's features, so that
//! everything it calls must be inlined. Kernels that name vectors are a [`Job`], generic over the
//! set; loops that the compiler vectorises are written with [`multiversion!`](crate::multiversion).
//! The one thing that such a loop must know of the set is whether a fused multiply-add is one
//! instruction, and it learns that from a constant parameter.
//!
//! Results may differ in the last bits between `Portable` and the others, because only the others
//! fuse. They never differ between threads or between positions inside an array: vector
//! arithmetic rounds every lane as scalar arithmetic does, and no rounding depends on neighbours.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::lanes::{Isa, Portable};
#[cfg(target_arch = "x86_64")]
use crate::lanes_x86::{Avx2, Avx512};

/// True iff a fused multiply-add is one instruction in code compiled without further features.
pub const PORTABLE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// An instruction set that the kernels are compiled for, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IsaKind {
    /// What the target always has: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// AVX2 with FMA and F16C, 256 bits.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI beside AVX2, FMA and F16C, 512 bits.
    Avx512,
}

impl IsaKind {
    /// All sets, least first.
    pub const ALL: [IsaKind; 3] = [IsaKind::Portable, IsaKind::Avx2, IsaKind::Avx512];

    /// The widest set that this processor has, found once.
    #[inline]
    pub fn widest() -> IsaKind {
        static WIDEST: OnceLock<IsaKind> = OnceLock::new();
        *WIDEST.get_or_init(|| {
            let found = IsaKind::ALL.into_iter().rfind(|kind| kind.is_available());
            found.unwrap_or(IsaKind::Portable)
        })
    }

    /// The sets that this processor has, the narrowest first.
    pub fn available() -> impl Iterator<Item = IsaKind> {
        IsaKind::ALL.into_iter().filter(|kind| kind.is_available())
    }

    /// True iff this processor has the set.
    pub fn is_available(self) -> bool {
        match self {
            IsaKind::Portable => true,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx512 => {
                IsaKind::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }
}

thread_local! {
    static FORCED: Cell<Option<IsaKind>> = const { Cell::new(None) };
}

/// The set that kernels started by this thread use: the widest one, or what `LAZULITE_CPU_ISA`
/// (`portable`, `avx2` or `avx512`) names if the processor has it.
#[inline]
pub fn isa() -> IsaKind {
    static CHOICE: OnceLock<IsaKind> = OnceLock::new();
    FORCED.get().unwrap_or_else(|| {
        *CHOICE.get_or_init(|| {
            let asked = std::env::var("LAZULITE_CPU_ISA").unwrap_or_default();
            let most = match asked.trim() {
                "portable" => IsaKind::Portable,
                "avx2" => IsaKind::Avx2,
                _ => IsaKind::Avx512,
            };
            most.min(IsaKind::widest())
        })
    })
}

/// Calls `f` with kernels of this thread on `kind`, if the processor has it; `None` if not. For tests.
pub fn with_isa<R>(kind: IsaKind, f: impl FnOnce() -> R) -> Option<R> {
    if !kind.is_available() {
        return None;
    }
    let before = FORCED.replace(Some(kind));
    let result = f();
    FORCED.set(before);
    Some(result)
}

/// A kernel with its arguments.
pub trait Job {
    /// What the kernel returns.
    type Output;

    /// Must be `#[inline(always)]`, down to the lanes' functions.
    ///
    /// # Safety
    /// The processor has the instruction set, and what the job's maker promised.
    unsafe fn run<I: Isa>(self) -> Self::Output;
}

/// Runs `job` compiled for `kind`.
///
/// # Safety
/// `kind` is available, and the job's own conditions hold.
pub unsafe fn dispatch<J: Job>(kind: IsaKind, job: J) -> J::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn avx2<J: Job>(job: J) -> J::Output {
            // SAFETY: the caller's promise.
            unsafe { job.run::<Avx2>() }
        }
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        unsafe fn avx512<J: Job>(job: J) -> J::Output {
            // SAFETY: the caller's promise.
            unsafe { job.run::<Avx512>() }
        }
        // SAFETY: the caller's promise.
        unsafe {
            match kind {
                IsaKind::Portable => job.run::<Portable>(),
                IsaKind::Avx2 => avx2(job),
                IsaKind::Avx512 => avx512(job),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = kind;
        // SAFETY: the caller's promise.
        unsafe { job.run::<Portable>() }
    }
}

/// Asks for the cache lines of `bytes` bytes from `p` on, which need not be readable and are soon read.
#[inline(always)]
pub(crate) fn fetch(p: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(64) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has the instruction, which never faults.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(at).cast());
        }
        let _ = at;
    }
    let _ = p;
}

/// As [`fetch`], for many lines that are read after some thousand others. On AMD's processors they come as
/// near as L2: those on their way to L1 keep the reads of the present block waiting (an EPYC of family
/// 25, two cores, 64 MiB of `float32`: to L2, sums of columns take 0.47 of the time and of rows 0.74, argmax
/// 0.73). Elsewhere they come to L1, which is what was measured on a Xeon.
#[inline]
pub(crate) fn fetch_block(p: *const u8, bytes: usize) {
    static IS_AMD: OnceLock<bool> = OnceLock::new();
    if *IS_AMD.get_or_init(is_amd) {
        (0..bytes).step_by(64).for_each(|at| fetch_far(p.wrapping_add(at)));
    } else {
        fetch(p, bytes);
    }
}

/// True iff AMD made the processor.
fn is_amd() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::x86_64::__cpuid(0).ebx.to_le_bytes() == *b"Auth";
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Asks for the cache line of `p`, which need not be readable, to come as near as L2.
#[inline(always)]
pub(crate) fn fetch_far(p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, which never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }
    let _ = p;
}

/// Defines functions whose body is compiled once per [`IsaKind`] and dispatched at run time.
///
/// The function takes one constant parameter, true iff a fused multiply-add is one instruction,
/// and optional type parameters with one bound each; all arguments are plain names. The expansion
/// is a safe function of the same name without the constant, and `name_for(isa, ...)`, which
/// tests use and which treats an instruction set beyond the machine as the machine's widest.
/// Everything the body calls must be `#[inline(always)]`, or it is compiled for the baseline.
///
/// ```
/// lazulite_cpu::multiversion! {
///     /// Adds one to every element.
///     pub fn increment, increment_for<const FMA: bool>(x: &mut [f32]) {
///         for v in x {
///             *v += 1.0;
///         }
///     }
/// }
/// let mut x = [1.0, 2.0];
/// increment(&mut x);
/// assert_eq!(x, [2.0, 3.0]);
/// ```
#[macro_export]
macro_rules! multiversion {
    ($(
        $(#[$meta:meta])*
        $vis:vis fn $name:ident, $name_for:ident<const $fma:ident: bool $(, $g:ident: $bound:path)*>
        ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    )*) => {$(
        $(#[$meta])*
        #[inline]
        $vis fn $name<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? {
            $name_for::<$($g),*>($crate::isa::isa(), $($arg),*)
        }

        /// The same on a given instruction set, or the widest below it that the machine has.
        #[inline]
        $vis fn $name_for<$($g: $bound),*>(isa: $crate::isa::IsaKind, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<const $fma: bool $(, $g: $bound)*>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<true $(, $g)*>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<true $(, $g)*>($($arg),*)
            }

            match isa.min($crate::isa::IsaKind::widest()) {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `widest` found every feature that the function enables.
                $crate::isa::IsaKind::Avx512 => unsafe { avx512::<$($g),*>($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::isa::IsaKind::Avx2 => unsafe { avx2::<$($g),*>($($arg),*) },
                _ => body::<{ $crate::isa::PORTABLE_FMA } $(, $g)*>($($arg),*),
            }
        }
    )*};
}
