//! A function of lanes applied to whole slices.

use super::lane::Lane;
use super::real::Real;

/// Elements per chunk: two AVX-512 vectors of float32, so that two dependency chains overlap.
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
     $chunk:ident, $chunk2:ident) => {
        #[inline(always)]
        fn $chunk<const FMA: bool, U: Unary>(x: &[$t; CHUNK], out: &mut [$t; CHUNK]) {
            for i in 0..CHUNK {
                out[i] = U::apply(Lane::<$t, FMA>(x[i])).0;
            }
        }

        #[inline(always)]
        fn $chunk2<const FMA: bool, B: Binary>(
            x: &[$t; CHUNK],
            y: &[$t; CHUNK],
            out: &mut [$t; CHUNK],
        ) {
            for i in 0..CHUNK {
                out[i] = B::apply(Lane::<$t, FMA>(x[i]), Lane(y[i])).0;
            }
        }

        crate::multiversion! {
            /// `out = f(x)`, up to the shorter length.
            pub fn $map, $map_for<const FMA: bool, U: super::map::Unary>
            (x: &[$t], out: &mut [$t]) {
                let n = x.len().min(out.len());
                let (xs, x_tail) = x[..n].as_chunks::<CHUNK>();
                let (outs, out_tail) = out[..n].as_chunks_mut::<CHUNK>();
                for (x, out) in xs.iter().zip(outs) {
                    $chunk::<FMA, U>(x, out);
                }
                let (mut a, mut y) = ([0.0; CHUNK], [0.0; CHUNK]);
                a[..x_tail.len()].copy_from_slice(x_tail);
                $chunk::<FMA, U>(&a, &mut y);
                out_tail.copy_from_slice(&y[..x_tail.len()]);
            }

            /// `out = f(x, y)`, up to the shortest length.
            pub fn $map2, $map2_for<const FMA: bool, B: super::map::Binary>
            (x: &[$t], y: &[$t], out: &mut [$t]) {
                let n = x.len().min(y.len()).min(out.len());
                let (xs, x_tail) = x[..n].as_chunks::<CHUNK>();
                let (ys, y_tail) = y[..n].as_chunks::<CHUNK>();
                let (outs, out_tail) = out[..n].as_chunks_mut::<CHUNK>();
                for ((x, y), out) in xs.iter().zip(ys).zip(outs) {
                    $chunk2::<FMA, B>(x, y, out);
                }
                let (mut a, mut b, mut z) = ([0.0; CHUNK], [0.0; CHUNK], [0.0; CHUNK]);
                a[..x_tail.len()].copy_from_slice(x_tail);
                b[..y_tail.len()].copy_from_slice(y_tail);
                $chunk2::<FMA, B>(&a, &b, &mut z);
                out_tail.copy_from_slice(&z[..x_tail.len()]);
            }
        }
    };
}

maps!(f32, map_f32, map_f32_for, map2_f32, map2_f32_for, chunk_f32, chunk2_f32);
maps!(f64, map_f64, map_f64_for, map2_f64, map2_f64_for, chunk_f64, chunk2_f64);
