//! One body, compiled for several instruction sets, chosen once at run time.
//!
//! Kernels of this crate contain no intrinsics: they are loops that the compiler vectorises, and
//! [`multiversion!`](crate::multiversion) compiles each loop for every [`Isa`]. The one thing a
//! body must know of its instruction set is whether a fused multiply-add is one instruction, and
//! it learns that from a constant parameter.
//!
//! Results may differ in the last bits between `Portable` and the others, because only the others
//! fuse. They never differ between threads or between positions inside an array: vector
//! arithmetic rounds every lane as scalar arithmetic does, and no rounding depends on neighbours.

use std::sync::OnceLock;

/// An instruction set for which kernels are compiled, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Whatever the compilation target guarantees: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// AVX2 with FMA and F16C, 256 bits.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, 512 bits.
    Avx512,
}

/// True iff a fused multiply-add is one instruction in code compiled without further features.
pub const PORTABLE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

impl Isa {
    /// The widest instruction set of this machine, found once.
    #[must_use]
    #[inline]
    pub fn detect() -> Self {
        static WIDEST: OnceLock<Isa> = OnceLock::new();
        *WIDEST.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                use std::is_x86_feature_detected as has;
                if has!("avx2") && has!("fma") && has!("f16c") {
                    let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq");
                    return if wide && has!("avx512vl") { Self::Avx512 } else { Self::Avx2 };
                }
            }
            Self::Portable
        })
    }

    /// Every instruction set that this machine can run, the narrowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let widest = Self::detect();
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|&i| i <= widest).collect()
    }
}

/// The instruction set that kernels use in this process: the widest that the machine has, or a
/// lower one named in the environment variable `LAZULITE_CPU_ISA` (`portable`, `avx2`, `avx512`).
/// A name that is unknown or beyond the machine changes nothing.
#[must_use]
#[inline]
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let widest = Isa::detect();
        let asked = match std::env::var("LAZULITE_CPU_ISA").as_deref() {
            Ok("portable") => Isa::Portable,
            Ok("avx2") => Isa::Avx2,
            _ => Isa::Avx512,
        };
        asked.min(widest)
    })
}

/// Defines functions whose body is compiled once per [`Isa`] and dispatched at run time.
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
            $name_for::<$($g),*>($crate::simd::isa(), $($arg),*)
        }

        /// The same on a given instruction set, or the widest below it that the machine has.
        #[inline]
        $vis fn $name_for<$($g: $bound),*>(isa: $crate::simd::Isa, $($arg: $ty),*) $(-> $ret)? {
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

            match isa.min($crate::simd::Isa::detect()) {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `detect` found every feature that the function enables.
                $crate::simd::Isa::Avx512 => unsafe { avx512::<$($g),*>($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::simd::Isa::Avx2 => unsafe { avx2::<$($g),*>($($arg),*) },
                _ => body::<{ $crate::simd::PORTABLE_FMA } $(, $g)*>($($arg),*),
            }
        }
    )*};
}
