//! Tape instructions as CUDA C++, from the texts of the op table.

use lazulite_core::op::{ReduceOp, UnaryOp};
use lazulite_core::plan::{Instr, Tape};
use lazulite_core::{Dtype, Literal};

/// The C++ type of elements in memory.
pub(crate) fn storage(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Bool => "bool",
        Dtype::U8 => "u8",
        Dtype::U16 => "u16",
        Dtype::U32 => "u32",
        Dtype::U64 => "u64",
        Dtype::I8 => "i8",
        Dtype::I16 => "i16",
        Dtype::I32 => "i32",
        Dtype::I64 => "i64",
        Dtype::F16 => "f16",
        Dtype::BF16 => "bf16",
        Dtype::F32 => "f32",
        Dtype::F64 => "f64",
        Dtype::C64 => "c64",
    }
}

/// The C++ type of values between loads and stores.
pub(crate) fn compute(dtype: Dtype) -> &'static str {
    storage(dtype.compute())
}

/// The prelude's name of a reduction.
pub(crate) fn reducer(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "Sum",
        ReduceOp::Prod => "Prod",
        ReduceOp::Min => "Min",
        ReduceOp::Max => "Max",
        ReduceOp::All => "All",
        ReduceOp::Any => "Any",
    }
}

/// A constant of the type that values of its dtype have.
pub(crate) fn literal(value: Literal) -> String {
    let bits = value.bits();
    match value.dtype() {
        Dtype::F16 | Dtype::BF16 | Dtype::F32 => {
            format!("__uint_as_float(0x{:08x}u)", (value.to_f64() as f32).to_bits())
        }
        Dtype::F64 => format!("__longlong_as_double(0x{bits:016x}ll)"),
        Dtype::C64 => format!(
            "c64(__uint_as_float(0x{:08x}u), __uint_as_float(0x{:08x}u))",
            bits as u32,
            bits >> 32
        ),
        dtype => format!("({})0x{bits:x}ull", storage(dtype)),
    }
}

/// A functor's text with operands for `x` and `y`; functions get the prelude's prefix.
pub(crate) fn functor(text: &str, x: &str, y: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !c.is_ascii_alphabetic() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        match word {
            "x" => out.push_str(x),
            "y" => out.push_str(y),
            _ => {
                out.push_str("op_");
                out.push_str(word);
            }
        }
        rest = tail;
    }
    out
}

/// The expression of value `v` from the values before it, called `v0`, `v1`, ...; `None` for loads
/// and reductions, which depend on the kernel.
pub(crate) fn expression(tape: &Tape, v: usize) -> Option<String> {
    let value = &tape.values[v];
    let name = |v: u16| format!("v{v}");
    let to = compute(value.dtype);
    Some(match value.instr {
        Instr::Load { .. } | Instr::Reduce(..) => return None,
        Instr::Const(literal_value) => literal(literal_value),
        Instr::Unary(UnaryOp::BitwiseInvert, a) if value.dtype == Dtype::Bool => format!("!v{a}"),
        Instr::Unary(op, a) => format!("({to})({})", functor(op.info().cuda, &name(a), "")),
        Instr::Binary(op, a, b) => {
            format!("({to})({})", functor(op.info().cuda, &name(a), &name(b)))
        }
        Instr::Select(c, a, b) => format!("v{c} ? v{a} : v{b}"),
        Instr::Cast(a) if value.dtype.is_half() => {
            format!("widen(convert<{}>(v{a}))", storage(value.dtype))
        }
        Instr::Cast(a) => format!("convert<{to}>(v{a})"),
    })
}

/// Value `v` as an element in memory, which rounds once where the value is a conversion to a half type.
pub(crate) fn stored(tape: &Tape, v: usize) -> String {
    let value = &tape.values[v];
    let t = storage(value.dtype);
    match value.instr {
        Instr::Cast(a) if value.dtype.is_half() => format!("convert<{t}>(v{a})"),
        _ => format!("convert<{t}>(v{v})"),
    }
}

/// Functions whose code is long.
const LONG: [&str; 26] = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "erf",
    "erfinv",
    "exp",
    "expm1",
    "floor_divide",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "power",
    "remainder",
    "sigmoid",
    "sin",
    "sinh",
    "tan",
    "tanh",
];
/// Calls of long functions from which on a kernel calls them instead of having copies of them. A function
/// of twenty ops, five of each of sine, cosine, tanh and sigmoid, compiles in a seventh of the time.
const MANY_CALLS: usize = 6;

/// A kernel's text in which functions that are used again and again are called.
pub(crate) fn outline(text: String) -> String {
    let used = |name: &&str| text.matches(&format!("op_{name}(")).count();
    let counts: Vec<(&str, usize)> = LONG.iter().map(|name| (*name, used(name))).collect();
    if counts.iter().map(|c| c.1).sum::<usize>() < MANY_CALLS {
        return text;
    }
    let (mut head, mut text) = (String::new(), text);
    for (name, _) in counts.into_iter().filter(|c| c.1 > 1) {
        head.push_str(&format!(
            "template <class... X> __noinline__ auto call_{name}(X... x) -> decltype(op_{name}(x...)) \
             {{ return op_{name}(x...); }}\n"
        ));
        text = text.replace(&format!("op_{name}("), &format!("call_{name}("));
    }
    head + &text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functors_name_operands_and_functions() {
        for (text, want) in [
            ("x + y", "v0 + v1"),
            ("abs(x)", "op_abs(v0)"),
            ("x && y", "v0 && v1"),
            ("shift_left(x, y)", "op_shift_left(v0, v1)"),
            ("1 / x", "1 / v0"),
            ("log1p(x)", "op_log1p(v0)"),
        ] {
            assert_eq!(functor(text, "v0", "v1"), want);
        }
    }

    #[test]
    fn functions_that_are_used_often_are_called() {
        let few = "op_sin(op_sin(v0))".to_string();
        assert_eq!(outline(few.clone()), few);
        let many = outline("op_sin(v0) op_abs(v1) op_exp(v2) ".repeat(3));
        assert!(many.starts_with("template <class... X> __noinline__ auto call_exp(X... x)"));
        assert_eq!((many.matches("call_sin(").count(), many.matches("op_abs(").count()), (4, 3));
    }

    #[test]
    fn literals_keep_their_bits() {
        assert_eq!(literal(Literal::new(1.5f32)), "__uint_as_float(0x3fc00000u)");
        assert_eq!(literal(Literal::new(-1i8)), "(i8)0xffull");
        assert_eq!(literal(Literal::new(true)), "(bool)0x1ull");
    }
}
