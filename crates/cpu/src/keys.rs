//! Elements of all types as unsigned integers of the same order, so that sorting and the search for
//! extremes exist once for each width and not once for each type.
//!
//! *Ranks* are equal where elements compare equal: both zeros have one rank, and all NaN have the
//! highest. *Codes* tell all bit patterns apart and can be turned back: -0.0 comes before 0.0.
//! Complex numbers are ordered by real part, then imaginary part, and have no codes.

use lazulite_core::Dtype;

/// An unsigned integer in which elements are compared: of 32 bits for elements of up to 4 bytes,
/// and of 64 for others.
pub(crate) trait Key: Copy + Ord + Default + Send + Sync + 'static {
    /// The low bits of `x`.
    fn low(x: u64) -> Self;
    /// The integer.
    fn wide(self) -> u64;
    /// Writes the ranks of `out.len()` elements, `step` elements apart.
    ///
    /// # Safety
    /// The elements are of the order's type and lie in live memory from `src` on.
    unsafe fn ranks(order: Order, src: *const u8, step: isize, out: &mut [Self]);
    /// Writes the codes of `out.len()` elements, `step` elements apart.
    ///
    /// # Safety
    /// As [`Key::ranks`].
    unsafe fn codes(order: Order, src: *const u8, step: isize, out: &mut [Self]);
    /// Writes the elements of `codes`, `step` elements apart.
    ///
    /// # Safety
    /// As [`Key::ranks`], for a place to write to.
    unsafe fn decode(order: Order, codes: &[Self], dst: *mut u8, step: isize);
}

/// Calls `$body` with `$K` bound to the key type of elements of `$size` bytes.
macro_rules! with_key {
    ($size:expr, $K:ident => $body:expr) => {
        if $size <= 4 {
            type $K = u32;
            $body
        } else {
            type $K = u64;
            $body
        }
    };
}
pub(crate) use with_key;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    /// With the bits of infinity.
    Float(u64),
    Complex,
}

/// How elements of a type are ordered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    size: usize,
    kind: Kind,
}

impl Order {
    pub fn of(dtype: Dtype) -> Order {
        let kind = match dtype {
            Dtype::Bool | Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => Kind::Unsigned,
            Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => Kind::Signed,
            Dtype::F16 => Kind::Float(0x7c00),
            Dtype::BF16 => Kind::Float(0x7f80),
            Dtype::F32 => Kind::Float(0x7f80_0000),
            Dtype::F64 => Kind::Float(0x7ff0_0000_0000_0000),
            Dtype::C64 => Kind::Complex,
        };
        Order { size: dtype.size(), kind }
    }

    /// The bits that keys use.
    pub fn bits(self) -> u32 {
        8 * self.size as u32
    }

    /// The highest key.
    pub fn highest(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// True iff the highest rank is that of NaN.
    pub fn has_nan(self) -> bool {
        matches!(self.kind, Kind::Float(_) | Kind::Complex)
    }

    /// True iff elements are real floating numbers.
    pub fn is_float(self) -> bool {
        matches!(self.kind, Kind::Float(_))
    }

    /// True iff elements have codes.
    pub fn has_codes(self) -> bool {
        self.kind != Kind::Complex
    }
}

/// Writes `f` of elements that lie `step` apart.
///
/// # Safety
/// They lie in live memory from `src` on.
#[inline(always)]
unsafe fn each<B: Copy, K>(src: *const u8, step: isize, out: &mut [K], f: impl Fn(B) -> K) {
    let src = src.cast::<B>();
    // SAFETY: the caller's promise.
    unsafe {
        if step == 1 {
            let src = std::slice::from_raw_parts(src, out.len());
            out.iter_mut().zip(src).for_each(|(o, &x)| *o = f(x));
        } else {
            out.iter_mut().enumerate().for_each(|(i, o)| *o = f(*src.offset(i as isize * step)));
        }
    }
}

macro_rules! key {
    ($K:ident, $($size:literal $B:ident),*; $complex:expr) => {
        crate::multiversion! {
            /// The ranks of contiguous elements, given as bytes.
            fn dense_ranks, dense_ranks_for<const FMA: bool>
            (order: Order, bytes: &[u8], out: &mut [$K]) {
                let n = out.len() * order.size;
                // SAFETY: the bytes hold as many elements, whose alignment `Key::ranks` promises.
                unsafe { strided_ranks(order, bytes[..n].as_ptr(), 1, out) }
            }
        }

        /// # Safety
        /// As [`Key::ranks`].
        #[inline(always)]
        unsafe fn strided_ranks(order: Order, src: *const u8, step: isize, out: &mut [$K]) {
            let sign = 1 << (order.bits() - 1);
            // SAFETY: the caller's promise.
            unsafe {
                match (order.size, order.kind) {
                    $(
                        ($size, Kind::Unsigned) => each(src, step, out, |x: $B| $K::from(x)),
                        ($size, Kind::Signed) => each(src, step, out, |x: $B| $K::from(x) ^ sign),
                        ($size, Kind::Float(infinity)) => {
                            let (infinity, highest) = (infinity as $K, order.highest() as $K);
                            each(src, step, out, |x: $B| {
                                let x = $K::from(x);
                                let size = x & (sign - 1);
                                let key = if x & sign != 0 { sign - size } else { size | sign };
                                if size > infinity { highest } else { key }
                            });
                        }
                    )*
                    _ => each(src, step, out, $complex),
                }
            }
        }

        impl Key for $K {
            #[inline(always)]
            fn low(x: u64) -> $K {
                x as $K
            }
            #[inline(always)]
            fn wide(self) -> u64 {
                u64::from(self)
            }
            unsafe fn ranks(order: Order, src: *const u8, step: isize, out: &mut [$K]) {
                // SAFETY: the caller's promise.
                unsafe {
                    if step == 1 {
                        let bytes = std::slice::from_raw_parts(src, out.len() * order.size);
                        dense_ranks(order, bytes, out);
                    } else {
                        strided_ranks(order, src, step, out);
                    }
                }
            }
            unsafe fn codes(order: Order, src: *const u8, step: isize, out: &mut [$K]) {
                // SAFETY: the caller's promise.
                unsafe {
                    match order.size {
                        $($size => each(src, step, out, |x: $B| $K::from(x)),)*
                        _ => {}
                    }
                }
                let sign = 1 << (order.bits() - 1);
                match order.kind {
                    Kind::Unsigned | Kind::Complex => {}
                    Kind::Signed => out.iter_mut().for_each(|k| *k ^= sign),
                    Kind::Float(infinity) => {
                        // Negative NaN would come first; the rotation brings them to the end.
                        let (nans, all) = (sign - 1 - infinity as $K, order.highest() as $K);
                        out.iter_mut().for_each(|k| {
                            let ordered = if *k & sign != 0 { !*k } else { *k | sign };
                            *k = (ordered & all).wrapping_sub(nans) & all;
                        });
                    }
                }
            }
            unsafe fn decode(order: Order, codes: &[$K], dst: *mut u8, step: isize) {
                let sign: $K = 1 << (order.bits() - 1);
                let (flip, nans) = match order.kind {
                    Kind::Signed => (sign, 0),
                    Kind::Float(infinity) => (0, sign - 1 - infinity as $K),
                    Kind::Unsigned | Kind::Complex => (0, 0),
                };
                let float = matches!(order.kind, Kind::Float(_));
                let back = |k: $K| {
                    let ordered = k.wrapping_add(nans);
                    let bits = if ordered & sign != 0 { ordered ^ sign } else { !ordered };
                    if float { bits } else { k ^ flip }
                };
                // SAFETY: the caller's promise.
                unsafe {
                    match order.size {
                        $($size => {
                            let dst = dst.cast::<$B>();
                            for (i, &k) in codes.iter().enumerate() {
                                *dst.offset(i as isize * step) = back(k) as $B;
                            }
                        })*
                        _ => {}
                    }
                }
            }
        }
    };
}

mod narrow {
    use super::*;
    key!(u32, 1 u8, 2 u16, 4 u32; |_: u8| 0);
}

mod broad {
    use super::*;
    key!(u64, 8 u64; |z: [u32; 2]| {
        let (re, im) = (float_rank(z[0]), float_rank(z[1]));
        if re == u32::MAX || im == u32::MAX { u64::MAX } else { u64::from(re) << 32 | u64::from(im) }
    });

    fn float_rank(x: u32) -> u32 {
        let (sign, magnitude) = (x & 1 << 31, x & (u32::MAX >> 1));
        let key = if sign != 0 { sign - magnitude } else { magnitude | 1 << 31 };
        if magnitude > 0x7f80_0000 { u32::MAX } else { key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use lazulite_core::{Complex32, Element};

    /// Elements in ascending order, those of an inner list being equal.
    fn check<T: Element>(groups: &[&[T]]) {
        let order = Order::of(T::DTYPE);
        let elements: Vec<T> = groups.concat();
        let group = |i: usize| {
            let mut left = i;
            groups.iter().position(|g| {
                let inside = left < g.len();
                left = left.wrapping_sub(g.len());
                inside
            })
        };
        with_key!(size_of::<T>(), K => {
            let n = elements.len();
            let mut keys: [Vec<K>; 3] = [vec![0; n], vec![0; n], vec![0; n]];
            let bytes = elements.as_ptr().cast::<u8>();
            let mut back = elements.clone();
            back.reverse();
            // SAFETY: `n` elements lie there, in reverse order from the last on.
            unsafe {
                let last = elements.as_ptr().add(n - 1).cast::<u8>();
                K::ranks(order, bytes, 1, &mut keys[0]);
                K::ranks(order, last, -1, &mut keys[1]);
                if order.has_codes() {
                    K::codes(order, bytes, 1, &mut keys[2]);
                    K::decode(order, &keys[2], back.as_mut_ptr().cast(), 1);
                }
            }
            assert!(keys[0].iter().eq(keys[1].iter().rev()));
            assert!(keys[0].iter().all(|&k| k.wide() <= order.highest()));
            for i in 1..n {
                assert_eq!(keys[0][i - 1].cmp(&keys[0][i]), group(i - 1).cmp(&group(i)));
                assert!(!order.has_codes() || keys[2][i - 1] <= keys[2][i]);
            }
            if order.has_codes() {
                let (a, b) = (bytemuck::cast_slice::<T, u8>(&back), bytemuck::cast_slice(&elements));
                assert_eq!(a, b);
            }
        });
    }

    #[test]
    fn ranks_and_codes_have_the_order_of_elements() {
        check::<u8>(&[&[0], &[7, 7], &[255]]);
        check::<i8>(&[&[-128], &[-1], &[0, 0], &[127]]);
        check::<u16>(&[&[0], &[65_535]]);
        check::<i16>(&[&[-32_768], &[0], &[32_767]]);
        check::<u32>(&[&[0], &[u32::MAX]]);
        check::<i32>(&[&[i32::MIN], &[-1], &[0], &[i32::MAX]]);
        check::<u64>(&[&[0], &[u64::MAX]]);
        check::<i64>(&[&[i64::MIN], &[-1], &[0], &[i64::MAX]]);
        macro_rules! floats {
            ($($t:ident)*) => { $(
                let x = |v: f32| $t::from_f32(v);
                let inf = x(f32::INFINITY);
                check::<$t>(&[&[-inf], &[x(-2.0)], &[x(-0.0), x(0.0)], &[x(1.5)], &[inf],
                    &[x(f32::NAN), x(f32::NAN)]]);
            )* };
        }
        floats!(f16 bf16);
        let inf = f32::INFINITY;
        let nan = f32::from_bits(0x7f80_0001);
        check::<f32>(&[
            &[-inf],
            &[-1.0],
            &[-0.0, 0.0],
            &[1e-40],
            &[inf],
            &[nan, f32::NAN, -f32::NAN],
        ]);
        let inf = f64::INFINITY;
        check::<f64>(&[&[-inf], &[-1.0], &[-0.0, 0.0], &[1e-310], &[inf], &[f64::NAN, -f64::NAN]]);
        let z = Complex32::new;
        check::<Complex32>(&[
            &[z(-1.0, 5.0)],
            &[z(0.0, -1.0)],
            &[z(-0.0, 2.0), z(0.0, 2.0)],
            &[z(f32::NAN, 0.0), z(0.0, f32::NAN)],
        ]);
    }
}
