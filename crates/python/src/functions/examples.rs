//! What the documentation of an op of the table says in Python beyond its sentence: `example!` of a
//! name is dtypes, errors and an example, which the tests run.

/// The end of the docs of the function of this name.
macro_rules! example {
    (abs) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.abs(mx.array([-1.5, 2.0]))\n\
         array([1.5, 2], dtype=float32)\n\
         "
    };
    (add) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.add(mx.array([1, 2]), 3)\n\
         array([4, 5], dtype=int32)\n\
         "
    };
    (arccos) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.arccos(mx.array([1.0, 0.0]))\n\
         array([0, 1.5708], dtype=float32)\n\
         "
    };
    (arccosh) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.arccosh(mx.array([1.0, 2.0]))\n\
         array([0, 1.31696], dtype=float32)\n\
         "
    };
    (arcsin) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.arcsin(mx.array([0.0, 1.0]))\n\
         array([0, 1.5708], dtype=float32)\n\
         "
    };
    (arcsinh) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.arcsinh(mx.array([0.0, 1.0]))\n\
         array([0, 0.881374], dtype=float32)\n\
         "
    };
    (arctan) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.arctan(mx.array([0.0, 1.0]))\n\
         array([0, 0.785398], dtype=float32)\n\
         "
    };
    (arctan2) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers, floats; others raise ValueError.\n\
         \n\
         >>> mx.arctan2(mx.array([1.0]), mx.array([-1.0]))\n\
         array([2.35619], dtype=float32)\n\
         "
    };
    (arctanh) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.arctanh(mx.array([0.0, 0.5]))\n\
         array([0, 0.549306], dtype=float32)\n\
         "
    };
    (bitwise_and) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers; others raise ValueError.\n\
         \n\
         >>> mx.bitwise_and(mx.array([6]), mx.array([3]))\n\
         array([2], dtype=int32)\n\
         "
    };
    (bitwise_or) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers; others raise ValueError.\n\
         \n\
         >>> mx.bitwise_or(mx.array([6]), mx.array([3]))\n\
         array([7], dtype=int32)\n\
         "
    };
    (bitwise_xor) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers; others raise ValueError.\n\
         \n\
         >>> mx.bitwise_xor(mx.array([6]), mx.array([3]))\n\
         array([5], dtype=int32)\n\
         "
    };
    (ceil) => {
        "\n\
         Dtypes: bool, integers, floats; others raise ValueError.\n\
         \n\
         >>> mx.ceil(mx.array([1.2, -1.2]))\n\
         array([2, -1], dtype=float32)\n\
         "
    };
    (cos) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.cos(mx.array([0.0, 1.0]))\n\
         array([1, 0.540302], dtype=float32)\n\
         "
    };
    (cosh) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.cosh(mx.array([0.0, 1.0]))\n\
         array([1, 1.54308], dtype=float32)\n\
         "
    };
    (divide) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.divide(mx.array([1, 2]), 4)\n\
         array([0.25, 0.5], dtype=float32)\n\
         "
    };
    (equal) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.equal(mx.array([1, 2]), mx.array([1, 3]))\n\
         array([True, False], dtype=bool)\n\
         "
    };
    (erf) => {
        "\n\
         Dtypes: bool, integers, floats; others raise ValueError.\n\
         \n\
         >>> mx.erf(mx.array([0.0, 1.0]))\n\
         array([0, 0.842701], dtype=float32)\n\
         "
    };
    (erfinv) => {
        "\n\
         Dtypes: bool, integers, floats; others raise ValueError.\n\
         \n\
         >>> mx.erfinv(mx.array([0.0, 0.5]))\n\
         array([0, 0.476936], dtype=float32)\n\
         "
    };
    (exp) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.exp(mx.array([0.0, 1.0]))\n\
         array([1, 2.71828], dtype=float32)\n\
         "
    };
    (expm1) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.expm1(mx.array([0.0, 1.0]))\n\
         array([0, 1.71828], dtype=float32)\n\
         "
    };
    (floor) => {
        "\n\
         Dtypes: bool, integers, floats; others raise ValueError.\n\
         \n\
         >>> mx.floor(mx.array([1.7, -1.2]))\n\
         array([1, -2], dtype=float32)\n\
         "
    };
    (floor_divide) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers, floats; others raise ValueError.\n\
         \n\
         >>> mx.floor_divide(mx.array([7, -7]), 2)\n\
         array([3, -4], dtype=int32)\n\
         "
    };
    (greater) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.greater(mx.array([1, 3]), 2)\n\
         array([False, True], dtype=bool)\n\
         "
    };
    (greater_equal) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.greater_equal(mx.array([1, 2]), 2)\n\
         array([False, True], dtype=bool)\n\
         "
    };
    (imag) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.imag(mx.array([1 + 2j]))\n\
         array([2], dtype=float32)\n\
         "
    };
    (left_shift) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers; others raise ValueError.\n\
         \n\
         >>> mx.left_shift(mx.array([1, 2]), 3)\n\
         array([8, 16], dtype=int32)\n\
         "
    };
    (less) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.less(mx.array([1, 3]), 2)\n\
         array([True, False], dtype=bool)\n\
         "
    };
    (less_equal) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.less_equal(mx.array([2, 3]), 2)\n\
         array([True, False], dtype=bool)\n\
         "
    };
    (log) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.log(mx.array([1.0, 2.0]))\n\
         array([0, 0.693147], dtype=float32)\n\
         "
    };
    (log10) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.log10(mx.array([1.0, 100.0]))\n\
         array([0, 2], dtype=float32)\n\
         "
    };
    (log1p) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.log1p(mx.array([0.0, 1.0]))\n\
         array([0, 0.693147], dtype=float32)\n\
         "
    };
    (log2) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.log2(mx.array([1.0, 8.0]))\n\
         array([0, 3], dtype=float32)\n\
         "
    };
    (logaddexp) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.logaddexp(mx.array([0.0]), mx.array([0.0]))\n\
         array([0.693147], dtype=float32)\n\
         "
    };
    (logical_and) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.logical_and(mx.array([True, False]), mx.array([True, True]))\n\
         array([True, False], dtype=bool)\n\
         "
    };
    (logical_not) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.logical_not(mx.array([0, 2]))\n\
         array([True, False], dtype=bool)\n\
         "
    };
    (logical_or) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.logical_or(mx.array([True, False]), mx.array([False, False]))\n\
         array([True, False], dtype=bool)\n\
         "
    };
    (maximum) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.maximum(mx.array([1, 5]), 3)\n\
         array([3, 5], dtype=int32)\n\
         "
    };
    (minimum) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.minimum(mx.array([1, 5]), 3)\n\
         array([1, 3], dtype=int32)\n\
         "
    };
    (multiply) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.multiply(mx.array([1, 2]), 1.5)\n\
         array([1.5, 3], dtype=float32)\n\
         "
    };
    (negative) => {
        "\n\
         Dtypes: integers, floats, complex; others raise ValueError.\n\
         \n\
         >>> mx.negative(mx.array([1, -2]))\n\
         array([-1, 2], dtype=int32)\n\
         "
    };
    (not_equal) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.not_equal(mx.array([1, 2]), mx.array([1, 3]))\n\
         array([False, True], dtype=bool)\n\
         "
    };
    (power) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.power(mx.array([2.0, 3.0]), 2)\n\
         array([4, 9], dtype=float32)\n\
         "
    };
    (real) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.real(mx.array([1 + 2j]))\n\
         array([1], dtype=float32)\n\
         "
    };
    (reciprocal) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.reciprocal(mx.array([2.0, 4.0]))\n\
         array([0.5, 0.25], dtype=float32)\n\
         "
    };
    (remainder) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers, floats; others raise ValueError.\n\
         \n\
         >>> mx.remainder(mx.array([7, -7]), 3)\n\
         array([1, 2], dtype=int32)\n\
         "
    };
    (right_shift) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: bool, integers; others raise ValueError.\n\
         \n\
         >>> mx.right_shift(mx.array([8, 9]), 2)\n\
         array([2, 2], dtype=int32)\n\
         "
    };
    (rsqrt) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.rsqrt(mx.array([4.0]))\n\
         array([0.5], dtype=float32)\n\
         "
    };
    (sigmoid) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.sigmoid(mx.array([0.0, 2.0]))\n\
         array([0.5, 0.880797], dtype=float32)\n\
         "
    };
    (sign) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.sign(mx.array([-2.0, 0.0, 3.0]))\n\
         array([-1, 0, 1], dtype=float32)\n\
         "
    };
    (sin) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.sin(mx.array([0.0, 1.0]))\n\
         array([0, 0.841471], dtype=float32)\n\
         "
    };
    (sinh) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.sinh(mx.array([0.0, 1.0]))\n\
         array([0, 1.1752], dtype=float32)\n\
         "
    };
    (sqrt) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.sqrt(mx.array([4.0, 2.0]))\n\
         array([2, 1.41421], dtype=float32)\n\
         "
    };
    (square) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.square(mx.array([3, -4]))\n\
         array([9, 16], dtype=int32)\n\
         "
    };
    (subtract) => {
        "\n\
         Shapes: the operands broadcast; shapes that cannot raise ValueError.\n\
         Dtypes: all.\n\
         \n\
         >>> mx.subtract(mx.array([5, 2]), 3)\n\
         array([2, -1], dtype=int32)\n\
         "
    };
    (tan) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.tan(mx.array([0.0, 1.0]))\n\
         array([0, 1.55741], dtype=float32)\n\
         "
    };
    (tanh) => {
        "\n\
         Dtypes: all.\n\
         \n\
         >>> mx.tanh(mx.array([0.0, 1.0]))\n\
         array([0, 0.761594], dtype=float32)\n\
         "
    };
    ($other:ident) => {
        ""
    };
}
pub(crate) use example;
