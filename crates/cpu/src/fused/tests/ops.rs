//! The op table's functions in wide types, and the test that takes every row through every type. A
//! row without a function here is compared with its own expression in the widest type.

use super::interpreter::Wide::{self, Complex, Int, Real};
use super::{Builder, Random, check, operand};
use crate::fused::kernel::{self, Kernel, PAD};
use crate::isa::IsaKind;
use lazulite_core::Dtype;
use lazulite_core::op::elementwise::{BINARY_OPS, UNARY_OPS};
use lazulite_core::op::reduce::REDUCTIONS;
use lazulite_core::op::{BinaryOp, UnaryOp};
use num_complex::{Complex32, Complex64};

/// `x` with `erf(x) = y`, by bisection.
fn inverse_erf(y: f64) -> f64 {
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if libm::erf(middle) < y { low = middle } else { high = middle }
    }
    low
}

/// Kernels without vectors.
const PLAIN: IsaKind = IsaKind::Portable;

/// A row's own expression on one element of the widest type that it takes: for rows that have no
/// function in wide types here. It tells wrong lanes, conversions and roundings of the narrower types;
/// that the expression is what the row's name says is for the comparison with NumPy to tell.
fn by_row<T: Copy + Default>(kernel: Option<Kernel>) -> impl Fn(T, T) -> T {
    let kernel = kernel.expect("the row takes the type");
    move |x, y| {
        let (a, b, mut d) = ([x; PAD], [y; PAD], [T::default(); PAD]);
        let none = std::ptr::null();
        // SAFETY: all blocks have room for as many elements, and the row's result has their type.
        unsafe { kernel(d.as_mut_ptr().cast(), a.as_ptr().cast(), b.as_ptr().cast(), none, PAD) }
        d[0]
    }
}

/// [`by_row`] in a type that is narrower than the oracle's.
fn narrow<W: Widened>(x: W, y: W, f: impl Fn(W::Narrow, W::Narrow) -> W::Narrow) -> W {
    W::widen(f(x.narrow(), y.narrow()))
}

/// A wide type of the oracle beside the widest that kernels have.
trait Widened {
    type Narrow;
    fn narrow(&self) -> Self::Narrow;
    fn widen(x: Self::Narrow) -> Self;
}

impl Widened for i128 {
    type Narrow = i64;
    fn narrow(&self) -> i64 {
        *self as i64
    }
    fn widen(x: i64) -> i128 {
        i128::from(x)
    }
}

impl Widened for Complex64 {
    type Narrow = Complex32;
    fn narrow(&self) -> Complex32 {
        Complex32::new(self.re as f32, self.im as f32)
    }
    fn widen(x: Complex32) -> Complex64 {
        Complex64::new(f64::from(x.re), f64::from(x.im))
    }
}

pub(super) fn unary(op: UnaryOp, x: Wide, dtype: Dtype) -> Wide {
    use UnaryOp as U;
    match x {
        Int(x) => Int(match op {
            U::Abs => x.abs(),
            U::Negative => -x,
            U::Sign => x.signum(),
            U::Square => x.wrapping_mul(x),
            U::BitwiseInvert | U::LogicalNot if dtype == Dtype::Bool => 1 - x,
            U::BitwiseInvert => !x,
            _ => narrow(x, x, by_row(kernel::unary(op, Dtype::I64, PLAIN))),
        }),
        Real(x) => Real(match op {
            U::Abs => x.abs(),
            U::Arccos => x.acos(),
            U::Arccosh => x.acosh(),
            U::Arcsin => x.asin(),
            U::Arcsinh => x.asinh(),
            U::Arctan => x.atan(),
            U::Arctanh => x.atanh(),
            U::Ceil => x.ceil(),
            U::Cos => x.cos(),
            U::Cosh => x.cosh(),
            U::Erf => libm::erf(x),
            U::Erfinv => inverse_erf(x),
            U::Exp => x.exp(),
            U::Expm1 => x.exp_m1(),
            U::Floor => x.floor(),
            U::Log => x.ln(),
            U::Log10 => x.log10(),
            U::Log1p => x.ln_1p(),
            U::Log2 => x.log2(),
            U::Negative => -x,
            U::Reciprocal => x.recip(),
            U::Round => x.round_ties_even(),
            U::Rsqrt => x.sqrt().recip(),
            U::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            U::Sign if x == 0.0 => x,
            U::Sign => x.signum(),
            U::Sin => x.sin(),
            U::Sinh => x.sinh(),
            U::Sqrt => x.sqrt(),
            U::Square => x * x,
            U::Tan => x.tan(),
            U::Tanh => x.tanh(),
            _ => by_row(kernel::unary(op, Dtype::F64, PLAIN))(x, x),
        }),
        Complex(z) => {
            let one = Complex64::new(1.0, 0.0);
            Complex(match op {
                U::Modulus => return Real(z.norm()),
                U::Real => return Real(z.re),
                U::Imag => return Real(z.im),
                U::Abs => Complex64::new(z.norm(), 0.0),
                U::Conjugate => z.conj(),
                U::Arccos => z.acos(),
                U::Arccosh => z.acosh(),
                U::Arcsin => z.asin(),
                U::Arcsinh => z.asinh(),
                U::Arctan => z.atan(),
                U::Arctanh => z.atanh(),
                U::Cos => z.cos(),
                U::Cosh => z.cosh(),
                U::Exp => z.exp(),
                U::Expm1 => z.exp() - one,
                U::Log => z.ln(),
                U::Log10 => z.log10(),
                U::Log1p => (one + z).ln(),
                U::Log2 => z.log2(),
                U::Negative => -z,
                U::Reciprocal => one / z,
                U::Rsqrt => one / z.sqrt(),
                U::Sigmoid => one / (one + (-z).exp()),
                U::Sign => z / z.norm(),
                U::Sin => z.sin(),
                U::Sinh => z.sinh(),
                U::Sqrt => z.sqrt(),
                U::Square => z * z,
                U::Tan => z.tan(),
                U::Tanh => z.tanh(),
                _ => narrow(z, z, by_row(kernel::unary(op, Dtype::C64, PLAIN))),
            })
        }
    }
}

/// The quotient rounded down.
fn floor(x: i128, y: i128) -> i128 {
    if y == 0 { 0 } else { x.div_euclid(y) - i128::from(y < 0 && x.rem_euclid(y) != 0) }
}

fn integers(op: BinaryOp, x: i128, y: i128, dtype: Dtype) -> i128 {
    use BinaryOp as B;
    let width = 8 * dtype.size() as i128;
    let truth = i128::from;
    match op {
        B::Add => x + y,
        B::Subtract => x - y,
        B::Multiply => x.wrapping_mul(y),
        B::BitwiseAnd => x & y,
        B::BitwiseOr => x | y,
        B::BitwiseXor => x ^ y,
        B::Maximum => x.max(y),
        B::Minimum => x.min(y),
        B::Equal => truth(x == y),
        B::NotEqual => truth(x != y),
        B::Less => truth(x < y),
        B::LessEqual => truth(x <= y),
        B::Greater => truth(x > y),
        B::GreaterEqual => truth(x >= y),
        B::LogicalAnd => truth(x != 0 && y != 0),
        B::LogicalOr => truth(x != 0 || y != 0),
        B::LeftShift => {
            if (0..width).contains(&y) {
                x << y
            } else {
                0
            }
        }
        B::RightShift => x >> if (0..width).contains(&y) { y } else { 100 },
        B::FloorDivide => floor(x, y),
        B::Remainder => {
            if y == 0 {
                0
            } else {
                x - y * floor(x, y)
            }
        }
        B::Power if y < 0 => match x {
            1 => 1,
            -1 => 1 - 2 * (y & 1),
            _ => 0,
        },
        B::Power => (0..y).fold(1i128, |p, _| p.wrapping_mul(x)),
        _ => narrow(x, y, by_row(kernel::binary(op, Dtype::I64, PLAIN))),
    }
}

pub(super) fn binary(op: BinaryOp, x: Wide, y: Wide, dtype: Dtype) -> Wide {
    use BinaryOp as B;
    let truth = |b: bool| Int(i128::from(b));
    if let (Int(x), Int(y)) = (x, y) {
        return Int(integers(op, x, y, dtype));
    }
    if let (Complex(a), b) | (b, Complex(a)) = (x, y)
        && (dtype.is_complex() || b.complex() == a)
    {
        let (x, y) = (x.complex(), y.complex());
        let order = (x.re, x.im).partial_cmp(&(y.re, y.im));
        let each = |f: fn(f64, f64) -> f64| Complex64::new(f(x.re, y.re), f(x.im, y.im));
        return Complex(match op {
            B::Add => x + y,
            B::Subtract => x - y,
            B::Multiply => x * y,
            B::Divide => x / y,
            B::Power => (y * x.ln()).exp(),
            B::LogAddExp => (x.exp() + y.exp()).ln(),
            B::FloorDivide => each(|x, y| (x / y).floor()),
            B::Remainder => each(|x, y| x - y * (x / y).floor()),
            B::Maximum => {
                if order.is_some_and(|o| o.is_gt()) {
                    x
                } else {
                    y
                }
            }
            B::Minimum => {
                if order.is_some_and(|o| o.is_lt()) {
                    x
                } else {
                    y
                }
            }
            B::Equal => return truth(x == y),
            B::NotEqual => return truth(x != y),
            B::Less => return truth(order.is_some_and(|o| o.is_lt())),
            B::LessEqual => return truth(order.is_some_and(|o| o.is_le())),
            B::Greater => return truth(order.is_some_and(|o| o.is_gt())),
            B::GreaterEqual => return truth(order.is_some_and(|o| o.is_ge())),
            _ => narrow(x, y, by_row(kernel::binary(op, Dtype::C64, PLAIN))),
        });
    }
    let (x, y) = (x.real(), y.real());
    let propagate = |z: f64| if x.is_nan() || y.is_nan() { f64::NAN } else { z };
    Real(match op {
        B::Add => x + y,
        B::Subtract => x - y,
        B::Multiply => x * y,
        B::Divide => x / y,
        B::Arctan2 => x.atan2(y),
        B::Power => x.powf(y),
        B::LogAddExp => x.max(y) + (-(x - y).abs()).exp().ln_1p(),
        B::FloorDivide => (x / y).floor(),
        B::Remainder => x - y * (x / y).floor(),
        B::Maximum => propagate(x.max(y)),
        B::Minimum => propagate(x.min(y)),
        B::MakeComplex => return Complex(Complex64::new(x, y)),
        B::Equal => return truth(x == y),
        B::NotEqual => return truth(x != y),
        B::Less => return truth(x < y),
        B::LessEqual => return truth(x <= y),
        B::Greater => return truth(x > y),
        B::GreaterEqual => return truth(x >= y),
        _ => by_row(kernel::binary(op, Dtype::F64, PLAIN))(x, y),
    })
}

/// Relative to `max(1, |result|)`: the table bounds errors in ulp over whole ranges, which the
/// mathematics' own tests check; here a wrong function or a wrong lane must show.
fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => 4e-3,
        Dtype::BF16 => 3e-2,
        Dtype::F32 | Dtype::C64 => 2e-5,
        _ => 1e-11,
    }
}

fn range(dtype: Dtype, domain: (f64, f64)) -> (f64, f64) {
    if dtype.is_inexact() {
        return domain;
    }
    let low =
        if matches!(dtype.category(), lazulite_core::Category::SignedInteger) { -9.0 } else { 0.0 };
    (low, 12.0)
}

#[test]
fn every_unary_row_and_type() {
    let mut random = Random(11);
    for info in UNARY_OPS {
        for dtype in Dtype::ALL {
            if !info.class.resolve(info.name, dtype).is_ok_and(|(input, _)| input == dtype)
                || info.name.starts_with("round") && !dtype.is_inexact()
                || matches!(info.op, UnaryOp::Ceil | UnaryOp::Floor) && !dtype.is_inexact()
            {
                continue;
            }
            let x = operand(&mut random, dtype, &[77], 0, range(dtype, info.domain));
            let mut b = Builder::default();
            let v = b.load(dtype);
            let y = b.unary(info.op, v);
            b.store(y);
            check(info.name, &b.0, &[x], &[77], tolerance(dtype));
        }
    }
}

#[test]
fn every_binary_row_and_type() {
    let mut random = Random(12);
    for info in BINARY_OPS {
        for dtype in Dtype::ALL {
            let bool_sum = dtype == Dtype::Bool && info.class == super::ARITH;
            if bool_sum
                || !info
                    .class
                    .resolve(info.name, dtype, dtype)
                    .is_ok_and(|(input, _)| input == dtype)
            {
                continue;
            }
            let x = operand(&mut random, dtype, &[77], 0, range(dtype, (0.3, 3.0)));
            let y = operand(&mut random, dtype, &[77], 0, range(dtype, (0.7, 2.9)));
            let mut b = Builder::default();
            let (v, w) = (b.load(dtype), b.load(dtype));
            let z = b.binary(info.op, v, w);
            b.store(z);
            check(info.name, &b.0, &[x, y], &[77], tolerance(dtype));
        }
    }
}

#[test]
fn every_reduction_and_type() {
    let mut random = Random(13);
    for info in REDUCTIONS {
        for dtype in Dtype::ALL {
            if info.class.resolve(dtype) != dtype {
                continue;
            }
            for axes in [1, 2, 3] {
                let x = operand(&mut random, dtype, &[70, 40], 0, range(dtype, (0.9, 1.1)));
                let mut b = Builder::default();
                let v = b.load(dtype);
                let y = b.reduce(info.op, v);
                b.store(y);
                b.0.axes = axes;
                // A product of 2800 factors of complex numbers grows without bound.
                if dtype == Dtype::C64 && info.name == "prod" {
                    continue;
                }
                check(info.name, &b.0, &[x], &[70, 40], 20.0 * tolerance(dtype));
            }
        }
    }
}

#[test]
fn every_cast() {
    let mut random = Random(14);
    for from in Dtype::ALL {
        for to in Dtype::ALL {
            let range = if from.is_inexact() { (-3.0, 300.0) } else { (0.0, 120.0) };
            let x = operand(&mut random, from, &[50], 0, range);
            let mut b = Builder::default();
            let v = b.load(from);
            let y = b.cast(v, to);
            b.store(y);
            check("cast", &b.0, &[x], &[50], 0.0);
        }
    }
}
