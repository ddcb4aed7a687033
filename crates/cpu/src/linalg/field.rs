//! The numbers of matrices that are factored.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

use lazulite_core::Complex32;
use num_complex::Complex64;

use crate::complex::{ComplexLeft, ComplexRight};
use crate::gemm::gemm;
use crate::operand::{Output, Strided};

/// Products of fewer multiply-adds are not packed.
const SMALL: usize = 1 << 12;

/// Real or complex numbers.
pub(crate) trait Field:
    Copy
    + Default
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
{
    /// The number, rounded.
    fn from_real(x: f64) -> Self;
    /// The real part.
    fn real(self) -> f64;
    /// The imaginary part.
    fn imag(self) -> f64;
    /// The conjugate.
    fn conj(self) -> Self;

    /// The square of the size.
    #[inline(always)]
    fn size2(self) -> f64 {
        self.real() * self.real() + self.imag() * self.imag()
    }

    /// The number times a real one.
    #[inline(always)]
    fn scale(self, by: f64) -> Self {
        self * Self::from_real(by)
    }

    /// True iff neither part is infinite or NaN.
    fn finite(self) -> bool {
        self.real().is_finite() && self.imag().is_finite()
    }

    /// `c += a b` by the packed kernels.
    fn packed(c: &mut [Self], ldc: usize, sizes: [usize; 3], a: Factor<Self>, b: Factor<Self>);
}

/// A factor of a product: element (i, p), i the row or column of the result and p the summed
/// index, is `data[i * steps[0] + p * steps[1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a, T> {
    pub data: &'a [T],
    pub steps: [usize; 2],
}

impl<'a, T> Factor<'a, T> {
    /// A left factor in rows of `ld`, or a right one in columns.
    pub fn rows(data: &'a [T], ld: usize) -> Factor<'a, T> {
        Factor { data, steps: [ld, 1] }
    }

    /// A right factor in rows of `ld`, or a left one in columns.
    pub fn columns(data: &'a [T], ld: usize) -> Factor<'a, T> {
        Factor { data, steps: [1, ld] }
    }

    fn strided(self, extent: [usize; 2]) -> Strided<'a, T> {
        Strided::new(self.data, 0, extent, self.steps.map(|s| s as isize))
    }
}

/// `c += a b` for c `(m, n)` in rows of `ldc`, with `sizes = [m, n, k]`.
pub(crate) fn add_product<T: Field>(
    c: &mut [T],
    ldc: usize,
    sizes: [usize; 3],
    a: Factor<T>,
    b: Factor<T>,
) {
    let [m, n, k] = sizes;
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    if m * n * k >= SMALL {
        return T::packed(c, ldc, sizes, a, b);
    }
    plain(c, ldc, sizes, a, b);
}

fn plain<T: Field>(c: &mut [T], ldc: usize, [m, n, k]: [usize; 3], a: Factor<T>, b: Factor<T>) {
    for i in 0..m {
        let row = &mut c[i * ldc..i * ldc + n];
        for p in 0..k {
            let x = a.data[i * a.steps[0] + p * a.steps[1]];
            if b.steps[0] == 1 {
                axpy(row, x, &b.data[p * b.steps[1]..p * b.steps[1] + n]);
            } else {
                for (j, y) in row.iter_mut().enumerate() {
                    *y += x * b.data[j * b.steps[0] + p * b.steps[1]];
                }
            }
        }
    }
}

macro_rules! real_field {
    ($($t:ty)*) => { $(impl Field for $t {
        #[inline(always)]
        fn from_real(x: f64) -> Self {
            x as $t
        }
        #[inline(always)]
        fn real(self) -> f64 {
            f64::from(self)
        }
        #[inline(always)]
        fn imag(self) -> f64 {
            0.0
        }
        #[inline(always)]
        fn conj(self) -> Self {
            self
        }
        fn packed(c: &mut [$t], ldc: usize, [m, n, k]: [usize; 3], a: Factor<$t>, b: Factor<$t>) {
            let mut out = Output::with_ld(c, 1, [m, n], ldc, 0).accumulating();
            gemm::<$t>(&a.strided([m, k]), &b.strided([n, k]), &mut out, None);
        }
    })* };
}
real_field! { f32 f64 }

macro_rules! complex_field {
    ($($t:ty: $real:ty, |$c:ident, $ldc:ident, $sizes:ident, $a:ident, $b:ident| $packed:expr;)*) => {
        $(impl Field for $t {
            #[inline(always)]
            fn from_real(x: f64) -> Self {
                <$t>::new(x as $real, 0.0)
            }
            #[inline(always)]
            fn real(self) -> f64 {
                f64::from(self.re)
            }
            #[inline(always)]
            fn imag(self) -> f64 {
                f64::from(self.im)
            }
            #[inline(always)]
            fn conj(self) -> Self {
                <$t>::new(self.re, -self.im)
            }
            fn packed(
                $c: &mut [$t],
                $ldc: usize,
                $sizes: [usize; 3],
                $a: Factor<$t>,
                $b: Factor<$t>,
            ) {
                $packed
            }
        })*
    };
}
complex_field! {
    Complex32: f32, |c, ldc, sizes, a, b| {
        let [m, n, k] = sizes;
        let c: &mut [f32] = bytemuck::cast_slice_mut(c);
        let mut out = Output::with_ld(c, 1, [m, 2 * n], 2 * ldc, 0).accumulating();
        let (a, b) = (ComplexLeft(a.strided([m, k])), ComplexRight(b.strided([n, k])));
        gemm::<f32>(&a, &b, &mut out, None);
    };
    Complex64: f64, |c, ldc, sizes, a, b| plain(c, ldc, sizes, a, b);
}

/// `y += a x`.
#[inline(always)]
pub(crate) fn axpy<T: Field>(y: &mut [T], a: T, x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * *x;
    }
}

/// `sum x conj(y)`, in eight sums that do not wait for each other.
#[inline(always)]
pub(crate) fn dot_conj<T: Field>(x: &[T], y: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a, b) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest = a.remainder().iter().zip(b.remainder());
    let mut total = rest.fold(T::default(), |sum, (x, y)| sum + *x * y.conj());
    for (a, b) in a.zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i].conj();
        }
    }
    for sum in sums {
        total += sum;
    }
    total
}

/// Two rows of a matrix, `i < j`, in rows of `ld`.
#[inline(always)]
pub(crate) fn two_rows<T>(a: &mut [T], ld: usize, i: usize, j: usize) -> (&mut [T], &mut [T]) {
    let (upper, lower) = a.split_at_mut(j * ld);
    (&mut upper[i * ld..(i + 1) * ld], &mut lower[..ld])
}
