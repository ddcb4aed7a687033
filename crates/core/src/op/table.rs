//! THE elementwise, reduction and scan ops: one row each, and no other definition anywhere.
//!
//! `for_each_unary!`, `for_each_binary!`, `for_each_reduction!` and `for_each_scan!` pass the rows
//! to whichever crate asks: the enums, derivatives and dtype checks (`op/elementwise.rs`,
//! `op/reduce.rs`, `op/scan.rs`), the CPU loops, the CUDA source, the Python functions,
//! `docs/ops.md` and the tests are all expanded from them.
//!
//! A row holds facts, never control flow:
//! - `class`: the dtype rule (`UnaryClass`, `BinaryClass`, ... say what each means);
//! - `cpu`: the scalar expression, generic over lanes, so that a loop over it vectorises;
//! - `cuda`: the functor's text;
//! - `partial`: the derivative of the output `y` (or `z`) in each input, from which jvp and vjp
//!   both come; `Zero` where the function is locally constant;
//! - `numpy`, `domain`, `ulp`: NumPy's or SciPy's name of the function, an interval in which all of
//!   it is smooth, and the bound on the error in units in the last place; the tests read them.

/// Passes every unary elementwise op to `$consume!`, one row per op.
#[macro_export]
macro_rules! for_each_unary {
    ($consume:ident) => {
        $consume! {
            /// Absolute value.
            Abs abs {
                class: Number,
                cpu: |x| x.abs(),
                cuda: "abs(x)",
                partial: |x, y| Of(x.sign()?),
                numpy: "abs", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Inverse cosine, in `[0, pi]`.
            Arccos arccos {
                class: Inexact,
                cpu: |x| x.arccos(),
                cuda: "acos(x)",
                partial: |x, y| Of(one_minus_square(x)?.rsqrt()?.negative()?),
                numpy: "arccos", domain: (-0.95, 0.95), ulp: 3,
            }
            /// Inverse hyperbolic cosine.
            Arccosh arccosh {
                class: Inexact,
                cpu: |x| x.arccosh(),
                cuda: "acosh(x)",
                partial: |x, y| Of(x.square()?.subtract(&like(x, 1.0))?.rsqrt()?),
                numpy: "arccosh", domain: (1.1, 9.0), ulp: 4,
            }
            /// Inverse sine, in `[-pi/2, pi/2]`.
            Arcsin arcsin {
                class: Inexact,
                cpu: |x| x.arcsin(),
                cuda: "asin(x)",
                partial: |x, y| Of(one_minus_square(x)?.rsqrt()?),
                numpy: "arcsin", domain: (-0.95, 0.95), ulp: 3,
            }
            /// Inverse hyperbolic sine.
            Arcsinh arcsinh {
                class: Inexact,
                cpu: |x| x.arcsinh(),
                cuda: "asinh(x)",
                partial: |x, y| Of(x.square()?.add(&like(x, 1.0))?.rsqrt()?),
                numpy: "arcsinh", domain: (-5.0, 5.0), ulp: 4,
            }
            /// Inverse tangent, in `[-pi/2, pi/2]`.
            Arctan arctan {
                class: Inexact,
                cpu: |x| x.arctan(),
                cuda: "atan(x)",
                partial: |x, y| Of(x.square()?.add(&like(x, 1.0))?.reciprocal()?),
                numpy: "arctan", domain: (-5.0, 5.0), ulp: 3,
            }
            /// Inverse hyperbolic tangent.
            Arctanh arctanh {
                class: Inexact,
                cpu: |x| x.arctanh(),
                cuda: "atanh(x)",
                partial: |x, y| Of(one_minus_square(x)?.reciprocal()?),
                numpy: "arctanh", domain: (-0.95, 0.95), ulp: 4,
            }
            /// Bitwise complement; logical complement of bool.
            BitwiseInvert bitwise_invert {
                class: Bits,
                cpu: |x| !x,
                cuda: "~x",
                partial: |x, y| Zero,
                numpy: "invert", domain: (-100.0, 100.0), ulp: 0,
            }
            /// The least integer not below `x`.
            Ceil ceil {
                class: Rounding,
                cpu: |x| x.ceil(),
                cuda: "ceil(x)",
                partial: |x, y| Zero,
                numpy: "ceil", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Complex conjugate; the identity on real types.
            Conjugate conjugate {
                class: Conjugate,
                cpu: |x| x.conj(),
                cuda: "conj(x)",
                partial: |x, y| Zero,
                numpy: "conjugate", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Cosine.
            Cos cos {
                class: Inexact,
                cpu: |x| x.cos(),
                cuda: "cos(x)",
                partial: |x, y| Of(x.sin()?.negative()?),
                numpy: "cos", domain: (-9.0, 9.0), ulp: 2,
            }
            /// Hyperbolic cosine, `(e^x + e^-x) / 2`.
            Cosh cosh {
                class: Inexact,
                cpu: |x| x.cosh(),
                cuda: "cosh(x)",
                partial: |x, y| Of(x.sinh()?),
                numpy: "cosh", domain: (-5.0, 5.0), ulp: 3,
            }
            /// Error function, `2/sqrt(pi) * integral of e^(-t^2) from 0 to x`.
            Erf erf {
                class: Real,
                cpu: |x| x.erf(),
                cuda: "erf(x)",
                partial: |x, y| Of(x.square()?.negative()?.exp()?.multiply(&like(x, TWO_OVER_SQRT_PI))?),
                numpy: "erf", domain: (-4.0, 4.0), ulp: 3,
            }
            /// Inverse of the error function on `(-1, 1)`.
            Erfinv erfinv {
                class: Real,
                cpu: |x| x.erfinv(),
                cuda: "erfinv(x)",
                partial: |x, y| Of(y.square()?.exp()?.multiply(&like(x, 1.0 / TWO_OVER_SQRT_PI))?),
                numpy: "erfinv", domain: (-0.95, 0.95), ulp: 4,
            }
            /// Exponential, `e^x`.
            Exp exp {
                class: Inexact,
                cpu: |x| x.exp(),
                cuda: "exp(x)",
                partial: |x, y| Of(y.clone()),
                numpy: "exp", domain: (-5.0, 5.0), ulp: 2,
            }
            /// `e^x - 1`, accurate near 0.
            Expm1 expm1 {
                class: Inexact,
                cpu: |x| x.expm1(),
                cuda: "expm1(x)",
                partial: |x, y| Of(x.exp()?),
                numpy: "expm1", domain: (-5.0, 5.0), ulp: 3,
            }
            /// The greatest integer not above `x`.
            Floor floor {
                class: Rounding,
                cpu: |x| x.floor(),
                cuda: "floor(x)",
                partial: |x, y| Zero,
                numpy: "floor", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Imaginary part.
            Imag imag {
                class: Part,
                cpu: |x| x.imag(),
                cuda: "imag(x)",
                partial: |x, y| Zero,
                numpy: "imag", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Natural logarithm.
            Log log {
                class: Inexact,
                cpu: |x| x.log(),
                cuda: "log(x)",
                partial: |x, y| Of(x.reciprocal()?),
                numpy: "log", domain: (0.1, 9.0), ulp: 2,
            }
            /// Logarithm to base 10.
            Log10 log10 {
                class: Inexact,
                cpu: |x| x.log10(),
                cuda: "log10(x)",
                partial: |x, y| Of(x.multiply(&like(x, LN_10))?.reciprocal()?),
                numpy: "log10", domain: (0.1, 9.0), ulp: 2,
            }
            /// `log(1 + x)`, accurate near 0.
            Log1p log1p {
                class: Inexact,
                cpu: |x| x.log1p(),
                cuda: "log1p(x)",
                partial: |x, y| Of(x.add(&like(x, 1.0))?.reciprocal()?),
                numpy: "log1p", domain: (-0.9, 9.0), ulp: 3,
            }
            /// Logarithm to base 2.
            Log2 log2 {
                class: Inexact,
                cpu: |x| x.log2(),
                cuda: "log2(x)",
                partial: |x, y| Of(x.multiply(&like(x, LN_2))?.reciprocal()?),
                numpy: "log2", domain: (0.1, 9.0), ulp: 2,
            }
            /// True where `x` is zero.
            LogicalNot logical_not {
                class: Logical,
                cpu: |x| !x,
                cuda: "!x",
                partial: |x, y| Zero,
                numpy: "logical_not", domain: (-2.0, 2.0), ulp: 0,
            }
            /// Absolute value of a complex number, a real number.
            Modulus modulus {
                class: Part,
                cpu: |x| x.modulus(),
                cuda: "abs(x)",
                partial: |x, y| Zero,
                numpy: "abs", domain: (-5.0, 5.0), ulp: 2,
            }
            /// Negation; unsigned integers wrap.
            Negative negative {
                class: Number,
                cpu: |x| x.neg(),
                cuda: "-x",
                partial: |x, y| Minus,
                numpy: "negative", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Real part.
            Real real {
                class: Part,
                cpu: |x| x.real(),
                cuda: "real(x)",
                partial: |x, y| Zero,
                numpy: "real", domain: (-5.0, 5.0), ulp: 0,
            }
            /// `1 / x`.
            Reciprocal reciprocal {
                class: Inexact,
                cpu: |x| x.reciprocal(),
                cuda: "1 / x",
                partial: |x, y| Of(y.square()?.negative()?),
                numpy: "reciprocal", domain: (0.2, 5.0), ulp: 1,
            }
            /// The nearest integer, ties to even.
            Round round_half_even {
                class: Rounding,
                cpu: |x| x.round(),
                cuda: "rint(x)",
                partial: |x, y| Zero,
                numpy: "rint", domain: (-5.0, 5.0), ulp: 0,
            }
            /// `1 / sqrt(x)`.
            Rsqrt rsqrt {
                class: Inexact,
                cpu: |x| x.rsqrt(),
                cuda: "rsqrt(x)",
                partial: |x, y| Of(y.multiply(&y.square()?)?.multiply(&like(x, -0.5))?),
                numpy: "rsqrt", domain: (0.1, 9.0), ulp: 2,
            }
            /// Logistic function, `1 / (1 + e^-x)`.
            Sigmoid sigmoid {
                class: Inexact,
                cpu: |x| x.sigmoid(),
                cuda: "sigmoid(x)",
                partial: |x, y| Of(y.multiply(&like(x, 1.0).subtract(y)?)?),
                numpy: "sigmoid", domain: (-9.0, 9.0), ulp: 3,
            }
            /// -1, 0 or 1 after the sign of `x`; `x / |x|` for complex numbers; NaN for NaN.
            Sign sign {
                class: Number,
                cpu: |x| x.sign(),
                cuda: "sign(x)",
                partial: |x, y| Zero,
                numpy: "sign", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Sine.
            Sin sin {
                class: Inexact,
                cpu: |x| x.sin(),
                cuda: "sin(x)",
                partial: |x, y| Of(x.cos()?),
                numpy: "sin", domain: (-9.0, 9.0), ulp: 2,
            }
            /// Hyperbolic sine, `(e^x - e^-x) / 2`.
            Sinh sinh {
                class: Inexact,
                cpu: |x| x.sinh(),
                cuda: "sinh(x)",
                partial: |x, y| Of(x.cosh()?),
                numpy: "sinh", domain: (-5.0, 5.0), ulp: 3,
            }
            /// Square root.
            Sqrt sqrt {
                class: Inexact,
                cpu: |x| x.sqrt(),
                cuda: "sqrt(x)",
                partial: |x, y| Of(y.reciprocal()?.multiply(&like(x, 0.5))?),
                numpy: "sqrt", domain: (0.1, 9.0), ulp: 0,
            }
            /// `x * x`.
            Square square {
                class: Number,
                cpu: |x| x.square(),
                cuda: "x * x",
                partial: |x, y| Of(x.multiply(&like(x, 2.0))?),
                numpy: "square", domain: (-5.0, 5.0), ulp: 0,
            }
            /// Tangent.
            Tan tan {
                class: Inexact,
                cpu: |x| x.tan(),
                cuda: "tan(x)",
                partial: |x, y| Of(y.square()?.add(&like(x, 1.0))?),
                numpy: "tan", domain: (-1.3, 1.3), ulp: 3,
            }
            /// Hyperbolic tangent.
            Tanh tanh {
                class: Inexact,
                cpu: |x| x.tanh(),
                cuda: "tanh(x)",
                partial: |x, y| Of(one_minus_square(y)?),
                numpy: "tanh", domain: (-5.0, 5.0), ulp: 3,
            }
        }
    };
}

/// Passes every binary elementwise op to `$consume!`, one row per op.
#[macro_export]
macro_rules! for_each_binary {
    ($consume:ident) => {
        $consume! {
            /// Sum.
            Add add {
                class: Arith,
                cpu: |x, y| x.add(y),
                cuda: "x + y",
                partial: |x, y, z| [One, One],
                numpy: "add", ulp: 1,
            }
            /// Angle of the point `(y, x)` given as `arctan2(y, x)`, in `[-pi, pi]`.
            Arctan2 arctan2 {
                class: Real,
                cpu: |x, y| x.arctan2(y),
                cuda: "atan2(x, y)",
                partial: |x, y, z| { let r = x.square()?.add(&y.square()?)?; [Of(y.divide(&r)?), Of(x.negative()?.divide(&r)?)] },
                numpy: "arctan2", ulp: 3,
            }
            /// Bitwise and.
            BitwiseAnd bitwise_and {
                class: Bits,
                cpu: |x, y| x & y,
                cuda: "x & y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "bitwise_and", ulp: 0,
            }
            /// Bitwise or.
            BitwiseOr bitwise_or {
                class: Bits,
                cpu: |x, y| x | y,
                cuda: "x | y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "bitwise_or", ulp: 0,
            }
            /// Bitwise exclusive or.
            BitwiseXor bitwise_xor {
                class: Bits,
                cpu: |x, y| x ^ y,
                cuda: "x ^ y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "bitwise_xor", ulp: 0,
            }
            /// Quotient; integers are divided as `float32`.
            Divide divide {
                class: Inexact,
                cpu: |x, y| x.div(y),
                cuda: "x / y",
                partial: |x, y, z| { let r = y.reciprocal()?; let d = z.multiply(&r)?.negative()?; [Of(r), Of(d)] },
                numpy: "divide", ulp: 1,
            }
            /// True where equal.
            Equal equal {
                class: Compare,
                cpu: |x, y| x == y,
                cuda: "x == y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "equal", ulp: 0,
            }
            /// Quotient rounded to the integer below; 0 for integers divided by 0.
            FloorDivide floor_divide {
                class: Arith,
                cpu: |x, y| x.floor_divide(y),
                cuda: "floor_divide(x, y)",
                partial: |x, y, z| [Zero, Zero],
                numpy: "floor_divide", ulp: 1,
            }
            /// True where `x > y`.
            Greater greater {
                class: Compare,
                cpu: |x, y| x > y,
                cuda: "x > y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "greater", ulp: 0,
            }
            /// True where `x >= y`.
            GreaterEqual greater_equal {
                class: Compare,
                cpu: |x, y| x >= y,
                cuda: "x >= y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "greater_equal", ulp: 0,
            }
            /// `x * 2^y`; 0 where `y` is not below the width.
            LeftShift left_shift {
                class: Shift,
                cpu: |x, y| x.shift_left(y),
                cuda: "shift_left(x, y)",
                partial: |x, y, z| [Zero, Zero],
                numpy: "left_shift", ulp: 0,
            }
            /// True where `x < y`.
            Less less {
                class: Compare,
                cpu: |x, y| x < y,
                cuda: "x < y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "less", ulp: 0,
            }
            /// True where `x <= y`.
            LessEqual less_equal {
                class: Compare,
                cpu: |x, y| x <= y,
                cuda: "x <= y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "less_equal", ulp: 0,
            }
            /// `log(e^x + e^y)` without overflow.
            LogAddExp logaddexp {
                class: Inexact,
                cpu: |x, y| x.logaddexp(y),
                cuda: "logaddexp(x, y)",
                partial: |x, y, z| [Of(x.subtract(y)?.sigmoid()?), Of(y.subtract(x)?.sigmoid()?)],
                numpy: "logaddexp", ulp: 4,
            }
            /// True where both are non-zero.
            LogicalAnd logical_and {
                class: Logical,
                cpu: |x, y| x & y,
                cuda: "x && y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "logical_and", ulp: 0,
            }
            /// True where one is non-zero.
            LogicalOr logical_or {
                class: Logical,
                cpu: |x, y| x | y,
                cuda: "x || y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "logical_or", ulp: 0,
            }
            /// The complex number `x + iy` of two `float32`.
            MakeComplex make_complex {
                class: Build,
                cpu: |x, y| make_complex(x, y),
                cuda: "complex64(x, y)",
                partial: |x, y, z| [Zero, Zero],
                numpy: "complex", ulp: 0,
            }
            /// The greater of two; NaN if one is NaN. On a tie the derivative goes to `y`.
            Maximum maximum {
                class: Arith,
                cpu: |x, y| x.maximum(y),
                cuda: "maximum(x, y)",
                partial: |x, y, z| [Where(x.greater(y)?), Where(x.less_equal(y)?)],
                numpy: "maximum", ulp: 0,
            }
            /// The lesser of two; NaN if one is NaN. On a tie the derivative goes to `y`.
            Minimum minimum {
                class: Arith,
                cpu: |x, y| x.minimum(y),
                cuda: "minimum(x, y)",
                partial: |x, y, z| [Where(x.less(y)?), Where(x.greater_equal(y)?)],
                numpy: "minimum", ulp: 0,
            }
            /// Product.
            Multiply multiply {
                class: Arith,
                cpu: |x, y| x.mul(y),
                cuda: "x * y",
                partial: |x, y, z| [Of(y.clone()), Of(x.clone())],
                numpy: "multiply", ulp: 1,
            }
            /// True where different; NaN differs from itself.
            NotEqual not_equal {
                class: Compare,
                cpu: |x, y| x != y,
                cuda: "x != y",
                partial: |x, y, z| [Zero, Zero],
                numpy: "not_equal", ulp: 0,
            }
            /// `x` to the power `y`; a negative integer exponent of an integer gives 0 unless `x` is 1 or -1.
            Power power {
                class: Arith,
                cpu: |x, y| x.power(y),
                cuda: "power(x, y)",
                partial: |x, y, z| [Of(power_partial_base(x, y)?), Of(power_partial_exponent(x, z)?)],
                numpy: "power", ulp: 4,
            }
            /// Remainder of floor division, with the sign of `y`; 0 for integers divided by 0.
            Remainder remainder {
                class: Arith,
                cpu: |x, y| x.remainder(y),
                cuda: "remainder(x, y)",
                partial: |x, y, z| [One, Of(x.divide(y)?.floor()?.negative()?)],
                numpy: "remainder", ulp: 1,
            }
            /// `x / 2^y` rounded down; the sign alone where `y` is not below the width.
            RightShift right_shift {
                class: Shift,
                cpu: |x, y| x.shift_right(y),
                cuda: "shift_right(x, y)",
                partial: |x, y, z| [Zero, Zero],
                numpy: "right_shift", ulp: 0,
            }
            /// Difference.
            Subtract subtract {
                class: Arith,
                cpu: |x, y| x.sub(y),
                cuda: "x - y",
                partial: |x, y, z| [One, Minus],
                numpy: "subtract", ulp: 1,
            }
        }
    };
}

/// Passes every reduction to `$consume!`, one row per op: `start` is the value of an empty
/// reduction, and `cpu` joins two partial results.
#[macro_export]
macro_rules! for_each_reduction {
    ($consume:ident) => {
        $consume! {
            /// Sum over axes.
            Sum sum {
                class: Additive,
                start: zero,
                cpu: |x, y| x.add(y),
                cuda: "x + y",
            }
            /// Product over axes.
            Prod prod {
                class: Additive,
                start: one,
                cpu: |x, y| x.mul(y),
                cuda: "x * y",
            }
            /// Least element; NaN if one is NaN.
            Min min {
                class: Ordered,
                start: highest,
                cpu: |x, y| x.minimum(y),
                cuda: "minimum(x, y)",
            }
            /// Greatest element; NaN if one is NaN.
            Max max {
                class: Ordered,
                start: lowest,
                cpu: |x, y| x.maximum(y),
                cuda: "maximum(x, y)",
            }
            /// True iff all elements are non-zero.
            All all {
                class: Logical,
                start: one,
                cpu: |x, y| x & y,
                cuda: "x && y",
            }
            /// True iff an element is non-zero.
            Any any {
                class: Logical,
                start: zero,
                cpu: |x, y| x | y,
                cuda: "x || y",
            }
        }
    };
}

/// Passes every scan to `$consume!`, one row per op: `start` is what an exclusive scan begins
/// with, and `cpu` joins the running value and the next element.
#[macro_export]
macro_rules! for_each_scan {
    ($consume:ident) => {
        $consume! {
            /// Running sum.
            CumSum cumsum {
                start: zero,
                cpu: |x, y| x.add(y),
                cuda: "x + y",
            }
            /// Running product.
            CumProd cumprod {
                start: one,
                cpu: |x, y| x.mul(y),
                cuda: "x * y",
            }
            /// Running minimum.
            CumMin cummin {
                start: highest,
                cpu: |x, y| x.minimum(y),
                cuda: "minimum(x, y)",
            }
            /// Running maximum.
            CumMax cummax {
                start: lowest,
                cpu: |x, y| x.maximum(y),
                cuda: "maximum(x, y)",
            }
            /// Running `log(sum(exp))`.
            LogCumSumExp logcumsumexp {
                start: lowest,
                cpu: |x, y| x.logaddexp(y),
                cuda: "logaddexp(x, y)",
            }
        }
    };
}
