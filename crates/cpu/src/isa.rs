//! The instruction set, chosen once at run time.
//!
//! A kernel is a `Job`, generic over an `Isa`; `dispatch` compiles it once for each set, inside a
//! function that has the set's features, so that everything the kernel calls must be inlined.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::lanes::{Isa, Portable};
#[cfg(target_arch = "x86_64")]
use crate::lanes_x86::{Avx2, Avx512};

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IsaKind {
    /// What the target always has.
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL beside AVX2, FMA and F16C.
    Avx512,
}

impl IsaKind {
    /// All sets, least first.
    pub const ALL: [IsaKind; 3] = [IsaKind::Portable, IsaKind::Avx2, IsaKind::Avx512];

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
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }
}

thread_local! {
    static FORCED: Cell<Option<IsaKind>> = const { Cell::new(None) };
}

/// The set that products started by this thread use: the best one, or what `LAZULITE_CPU_ISA`
/// (`portable`, `avx2` or `avx512`) names if the processor has it.
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
            let can = |kind: &IsaKind| *kind <= most && kind.is_available();
            IsaKind::ALL.into_iter().rfind(can).unwrap_or(IsaKind::Portable)
        })
    })
}

/// Calls `f` with products of this thread on `kind`, if the processor has it; `None` if not. For tests.
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
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
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
