//! Which programs behind a product are the tanh form of a gelu, which cublasLt computes before the product
//! rounds.
//!
//! Programs spell it in many ways, so that they are told by their values. A program in a half type has its
//! constants rounded; the library's are not, and it is close to the program where that could be the reason.

use lazulite_core::op::{BinaryOp, UnaryOp};
use lazulite_core::plan::{Instr, Tape};
use lazulite_core::{Dtype, Literal};

/// What a load of a program after the product's is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// A number that is known.
    Number(f64),
    /// The vector that is added to every row of the product.
    Bias,
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel, "Gaussian error linear units", 2016).
fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// The program's result for one element of the product and of the bias.
fn value(tape: &Tape, loads: &[Load], product: f64, bias: f64) -> Option<f64> {
    let mut values: Vec<f64> = Vec::with_capacity(tape.values.len());
    for value in &tape.values {
        let of = |v: u16| values[v as usize];
        let number = match value.instr {
            Instr::Load { operand: 0 } => product,
            Instr::Load { operand } => match loads.get(operand as usize - 1)? {
                Load::Number(number) => *number,
                Load::Bias => bias,
            },
            Instr::Const(literal) => Literal::to_f64(literal),
            Instr::Cast(a) => of(a),
            Instr::Unary(UnaryOp::Tanh, a) => of(a).tanh(),
            Instr::Unary(UnaryOp::Square, a) => of(a) * of(a),
            Instr::Binary(BinaryOp::Add, a, b) => of(a) + of(b),
            Instr::Binary(BinaryOp::Subtract, a, b) => of(a) - of(b),
            Instr::Binary(BinaryOp::Multiply, a, b) => of(a) * of(b),
            Instr::Binary(BinaryOp::Power, a, b) => of(a).powf(of(b)),
            _ => return None,
        };
        values.push(number);
    }
    values.get(*tape.stores.first()? as usize).copied()
}

/// True iff the program, with results of a half type, is a gelu of the product, or of the product and the bias.
pub(crate) fn is_gelu(tape: &Tape, loads: &[Load], dtype: Dtype) -> bool {
    const MOST_VALUES: usize = 24;
    // The largest error of a number that rounds to this type.
    let unit: f64 = match dtype {
        Dtype::BF16 => 2f64.powi(-8),
        Dtype::F16 => 2f64.powi(-11),
        _ => return false,
    };
    let is_tanh = |instr: Instr| matches!(instr, Instr::Unary(UnaryOp::Tanh, _));
    let one_tanh = tape.values.iter().filter(|v| is_tanh(v.instr)).count() == 1;
    let floats = tape.values.iter().all(|v| v.dtype == dtype || v.dtype == Dtype::F32);
    if tape.stores.len() != 1 || tape.values.len() > MOST_VALUES || !one_tanh || !floats {
        return false;
    }
    let close = |x: f64, bias: f64| {
        let slope = gelu(x * (1.0 + unit)) - gelu(x * (1.0 - unit));
        let near = |y: f64| (y - gelu(x)).abs() <= unit * gelu(x).abs() + slope.abs();
        value(tape, loads, x - bias, bias).is_some_and(near)
    };
    let biases: &[f64] = match loads.iter().any(|l| matches!(l, Load::Bias)) {
        true => &[0.0, 0.625, -1.5],
        false => &[0.0],
    };
    biases.iter().all(|&bias| (-40..=40).all(|i| close(f64::from(i) * 0.11, bias)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazulite_core::plan::{Extent, TapeValue};

    /// `half x (1 + tanh(scale (x + cube x^3)))`, of the product and what is added to it first.
    fn tape(dtype: Dtype, added: bool, [half, scale, cube]: [f64; 3], op: UnaryOp) -> Tape {
        let number = |x: f64| Instr::Const(Literal::from_f64(x, dtype));
        let (load, mul) = (|operand| Instr::Load { operand }, BinaryOp::Multiply);
        let first = if added { Instr::Binary(BinaryOp::Add, 0, 1) } else { Instr::Cast(0) };
        let instrs = [
            load(0),
            load(1),
            first,
            Instr::Unary(UnaryOp::Square, 2),
            Instr::Binary(mul, 3, 2),
            number(cube),
            Instr::Binary(mul, 4, 5),
            Instr::Binary(BinaryOp::Add, 2, 6),
            number(scale),
            Instr::Binary(mul, 7, 8),
            Instr::Unary(op, 9),
            number(1.0),
            Instr::Binary(BinaryOp::Add, 10, 11),
            number(half),
            Instr::Binary(mul, 2, 13),
            Instr::Binary(mul, 14, 12),
        ];
        let value = |instr| TapeValue { instr, dtype, extent: Extent::Full };
        Tape {
            values: instrs.into_iter().map(value).collect(),
            stores: vec![15],
            inputs: 2,
            axes: 0,
        }
    }

    #[test]
    fn gelus_are_told_by_their_values() {
        let right = [0.5, 0.797_884_560_8, 0.044_715];
        let (half, wide) = (Dtype::BF16, Dtype::F32);
        let (tanh, erf) = (UnaryOp::Tanh, UnaryOp::Erf);
        let (number, bias) = (Load::Number(2.0), Load::Bias);
        for (dtype, added, numbers, op, load, want) in [
            (half, false, right, tanh, number, true),
            (half, true, right, tanh, bias, true),
            (Dtype::F16, true, right, tanh, bias, true),
            // Not the library's accuracy.
            (wide, false, right, tanh, number, false),
            // Another function, though its values are close.
            (half, false, [0.5, 0.5f64.sqrt(), 0.0], erf, number, false),
            (half, false, [0.5, 0.5, 0.0], tanh, number, false),
            (half, false, [0.5, 0.797_884_560_8, 0.04], tanh, number, false),
            (half, false, [0.51, 0.797_884_560_8, 0.044_715], tanh, number, false),
            // A number that is added, not a vector, is not there for the library.
            (half, true, right, tanh, number, false),
        ] {
            let tape = tape(dtype, added, numbers, op);
            assert_eq!(is_gelu(&tape, &[load], dtype), want, "{dtype} {added} {numbers:?} {op:?}");
        }
    }
}
