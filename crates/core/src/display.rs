//! Arrays as text, in the way of NumPy: `array([[1, 2], [3, 4]], dtype=int32)`.

use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::Result;
use std::fmt;

/// How arrays are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Significant digits of floating-point numbers.
    pub precision: usize,
    /// The number of elements above which the middle is left out.
    pub threshold: usize,
    /// How many elements are shown at each end of a shortened axis.
    pub edge: usize,
    /// True iff columns are padded to one width.
    pub align: bool,
}

impl Default for Style {
    fn default() -> Style {
        Style { precision: 6, threshold: 1000, edge: 3, align: true }
    }
}

impl Array {
    /// The array as text.
    ///
    /// # Errors
    /// Those of evaluation.
    pub fn format(&self, style: Style) -> Result<String> {
        let cells = cells(self, style.precision)?;
        let width = if style.align {
            cells.iter().map(|c| c.chars().count()).max().unwrap_or(0)
        } else {
            0
        };
        let mut text = String::from("array(");
        let mut place = 0;
        let edge = if self.len() > style.threshold { style.edge } else { usize::MAX };
        write_axis(&mut text, self.shape(), &cells, &mut place, edge, width, 7);
        text.push_str(", dtype=");
        text.push_str(self.dtype().name());
        text.push(')');
        Ok(text)
    }
}

/// Each element as text.
fn cells(x: &Array, precision: usize) -> Result<Vec<String>> {
    macro_rules! each {
        ($T:ty, $f:expr) => {
            x.as_slice::<$T>()?.iter().map($f).collect()
        };
    }
    let float = |x: f64| format_float(x, precision);
    Ok(match x.dtype() {
        Dtype::Bool => each!(bool, |&b| if b { "True".into() } else { "False".into() }),
        Dtype::U8 => each!(u8, u8::to_string),
        Dtype::U16 => each!(u16, u16::to_string),
        Dtype::U32 => each!(u32, u32::to_string),
        Dtype::U64 => each!(u64, u64::to_string),
        Dtype::I8 => each!(i8, i8::to_string),
        Dtype::I16 => each!(i16, i16::to_string),
        Dtype::I32 => each!(i32, i32::to_string),
        Dtype::I64 => each!(i64, i64::to_string),
        Dtype::F16 => each!(crate::f16, |x| float(x.to_f64())),
        Dtype::BF16 => each!(crate::bf16, |x| float(x.to_f64())),
        Dtype::F32 => each!(f32, |&x| float(f64::from(x))),
        Dtype::F64 => each!(f64, |&x| float(x)),
        Dtype::C64 => each!(crate::Complex32, |z| {
            let (re, im) = (float(f64::from(z.re)), float(f64::from(z.im)));
            format!("{re}{}{im}j", if im.starts_with('-') { "" } else { "+" })
        }),
    })
}

/// `%g` of C: at most `precision` significant digits, without trailing zeros.
pub fn format_float(x: f64, precision: usize) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let digits = precision.max(1) - 1;
    let scientific = format!("{x:.digits$e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => s.to_string(),
    };
    if exponent < -4 || exponent > digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - exponent).max(0) as usize;
    trim(&format!("{x:.decimals$}"))
}

fn write_axis(
    text: &mut String,
    shape: &[usize],
    cells: &[String],
    place: &mut usize,
    edge: usize,
    width: usize,
    indent: usize,
) {
    let Some((&n, inner)) = shape.split_first() else {
        text.push_str(&cells[*place]);
        *place += 1;
        return;
    };
    let step: usize = inner.iter().product();
    text.push('[');
    let mut i = 0;
    while i < n {
        if i > 0 {
            text.push(',');
            separate(text, inner.len(), indent);
        }
        if n > edge.saturating_mul(2) && i == edge {
            text.push_str("...");
            let skip = n - 2 * edge;
            *place += skip * step;
            i += skip;
            continue;
        }
        if inner.is_empty() {
            let cell = &cells[*place];
            let pad = width.saturating_sub(cell.chars().count());
            text.extend(std::iter::repeat_n(' ', pad));
        }
        write_axis(text, inner, cells, place, edge, width, indent + 1);
        i += 1;
    }
    text.push(']');
}

/// A blank between numbers, a line break between rows, one more for each axis around them.
fn separate(text: &mut String, inner: usize, indent: usize) {
    if inner == 0 {
        text.push(' ');
        return;
    }
    text.extend(std::iter::repeat_n('\n', inner));
    text.extend(std::iter::repeat_n(' ', indent));
}

impl fmt::Display for Array {
    /// Evaluates the array. If that fails, the error is printed in its place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format(Style::default()) {
            Ok(text) => f.write_str(&text),
            Err(error) => write!(f, "array({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::format_float;

    #[test]
    fn floats_print_as_with_percent_g() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1234567.0, "1.23457e+06"),
            (123456.0, "123456"),
            (0.00001, "1e-05"),
            (-2.5, "-2.5"),
            (999999.5, "1e+06"),
        ];
        for (x, want) in cases {
            assert_eq!(format_float(x, 6), want);
        }
    }
}
