//! A function of lanes applied to whole slices.

use super::lane::Lane;
use super::real::Real;

/// The tail of a slice is padded to this many elements, and runs through the same vector loop.
const CHUNK: usize = 32;

/// A function of one real number, generic over the lane, as a row of the op table gives it.
/// Implementations are `#[inline(always)]`.
pub trait Unary {
    /// The value at one element.
    fn apply<X: Real>(x: X) -> X;
}

/// A function of two real numbers, like [`Unary`].
pub trait Binary {
    /// The value at one pair of elements.
    fn apply<X: Real>(x: X, y: X) -> X;
}

macro_rules! maps {
    ($t:ident, $map:ident, $map_for:ident, $map2:ident, $map2_for:ident,
     $each:ident, $each2:ident) => {
        #[inline(always)]
        fn $each<const FMA: bool, U: Unary>(x: &[$t], out: &mut [$t]) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = U::apply(Lane::<$t, FMA>(x)).0;
            }
        }

        #[inline(always)]
        fn $each2<const FMA: bool, B: Binary>(x: &[$t], y: &[$t], out: &mut [$t]) {
            for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                *out = B::apply(Lane::<$t, FMA>(x), Lane(y)).0;
            }
        }

        crate::multiversion! {
            /// `out = f(x)`, up to the shorter length.
            pub fn $map, $map_for<const FMA: bool, U: super::map::Unary>
            (x: &[$t], out: &mut [$t]) {
                let n = x.len().min(out.len());
                let (x, x_tail) = x[..n].split_at(n - n % CHUNK);
                let (out, out_tail) = out[..n].split_at_mut(n - n % CHUNK);
                $each::<FMA, U>(x, out);
                if !x_tail.is_empty() {
                    let (mut a, mut y) = ([0.0; CHUNK], [0.0; CHUNK]);
                    a[..x_tail.len()].copy_from_slice(x_tail);
                    $each::<FMA, U>(&a, &mut y);
                    out_tail.copy_from_slice(&y[..x_tail.len()]);
                }
            }

            /// `out = f(x, y)`, up to the shortest length.
            pub fn $map2, $map2_for<const FMA: bool, B: super::map::Binary>
            (x: &[$t], y: &[$t], out: &mut [$t]) {
                let n = x.len().min(y.len()).min(out.len());
                let (x, x_tail) = x[..n].split_at(n - n % CHUNK);
                let (y, y_tail) = y[..n].split_at(n - n % CHUNK);
                let (out, out_tail) = out[..n].split_at_mut(n - n % CHUNK);
                $each2::<FMA, B>(x, y, out);
                if !x_tail.is_empty() {
                    let (mut a, mut b, mut z) = ([0.0; CHUNK], [0.0; CHUNK], [0.0; CHUNK]);
                    a[..x_tail.len()].copy_from_slice(x_tail);
                    b[..y_tail.len()].copy_from_slice(y_tail);
                    $each2::<FMA, B>(&a, &b, &mut z);
                    out_tail.copy_from_slice(&z[..x_tail.len()]);
                }
            }
        }
    };
}

maps!(f32, map_f32, map_f32_for, map2_f32, map2_f32_for, each_f32, each2_f32);
maps!(f64, map_f64, map_f64_for, map2_f64, map2_f64_for, each_f64, each2_f64);
