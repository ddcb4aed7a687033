//! Arrays as text, as MLX prints them, and the print options.

use crate::convert::evaluate;
use crate::errors::Answer;
use lazulite::display::format_float;
use lazulite::{Array, Dtype};
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::fmt::Write;
use std::sync::atomic::{AtomicI32, Ordering};

/// Digits behind the point; negative stands for six significant digits.
static PRECISION: AtomicI32 = AtomicI32::new(-1);

/// An axis with more elements than this is shortened to its ends.
const LONGEST: usize = 6;
const EDGE: usize = 3;

/// The array as `repr` shows it.
pub fn show(py: Python<'_>, array: &Array) -> Answer<String> {
    evaluate(py, std::slice::from_ref(array))?;
    let cells = Cells { array: &corner(array)?, precision: PRECISION.load(Ordering::Relaxed) };
    let mut text = String::from("array(");
    cells.axis(&mut text, array.shape(), 0, 7)?;
    let _ = write!(text, ", dtype={})", array.dtype().name());
    Ok(text)
}

/// The elements that will be shown: the ends of every long axis.
fn corner(array: &Array) -> Answer<Array> {
    let mut shown = array.clone();
    for axis in 0..array.ndim() {
        let n = array.shape()[axis] as i64;
        if n as usize > LONGEST {
            let part = |from: i64, to: i64| {
                let mut start = vec![0; shown.ndim()];
                let mut stop: Vec<i64> = shown.shape().iter().map(|&n| n as i64).collect();
                (start[axis], stop[axis]) = (from, to);
                shown.slice(&start, &stop, &vec![1; shown.ndim()])
            };
            let edge = EDGE as i64;
            shown = Array::concatenate(&[part(0, edge)?, part(n - edge, n)?], axis as i64)?;
        }
    }
    Ok(shown)
}

struct Cells<'a> {
    array: &'a Array,
    precision: i32,
}

impl Cells<'_> {
    /// Writes the first axis of `shape` and those inside it; `place` is that of its first element among those
    /// shown.
    fn axis(&self, text: &mut String, shape: &[usize], place: usize, indent: usize) -> Answer<()> {
        let Some((&n, inner)) = shape.split_first() else { return self.cell(text, place) };
        let step: usize = inner.iter().map(|&n| n.min(LONGEST)).product();
        let last = inner.is_empty();
        text.push('[');
        for i in 0..n.min(LONGEST) {
            let between = |text: &mut String| match last {
                true => text.push_str(", "),
                false => {
                    text.push_str(",\n");
                    text.extend(std::iter::repeat_n(' ', indent));
                }
            };
            if i > 0 {
                between(text);
            }
            if n > LONGEST && i == EDGE {
                text.push_str("...");
                between(text);
            }
            self.axis(text, inner, place + i * step, indent + 1)?;
        }
        text.push(']');
        Ok(())
    }

    fn float(&self, x: f64) -> String {
        match usize::try_from(self.precision) {
            Ok(digits) if x.is_finite() => format!("{x:.digits$}"),
            _ => format_float(x, 6),
        }
    }

    fn cell(&self, text: &mut String, place: usize) -> Answer<()> {
        macro_rules! element {
            ($T:ty) => {
                self.array.as_slice::<$T>()?[place]
            };
        }
        let cell = match self.array.dtype() {
            Dtype::Bool => if element!(bool) { "True" } else { "False" }.to_string(),
            Dtype::U8 => element!(u8).to_string(),
            Dtype::U16 => element!(u16).to_string(),
            Dtype::U32 => element!(u32).to_string(),
            Dtype::U64 => element!(u64).to_string(),
            Dtype::I8 => element!(i8).to_string(),
            Dtype::I16 => element!(i16).to_string(),
            Dtype::I32 => element!(i32).to_string(),
            Dtype::I64 => element!(i64).to_string(),
            Dtype::F16 => self.float(element!(half::f16).to_f64()),
            Dtype::BF16 => self.float(element!(half::bf16).to_f64()),
            Dtype::F32 => self.float(f64::from(element!(f32))),
            Dtype::F64 => self.float(element!(f64)),
            Dtype::C64 => {
                let z = element!(lazulite::Complex32);
                let (re, im) = (self.float(f64::from(z.re)), self.float(f64::from(z.im)));
                format!("{re}{}{im}j", if im.starts_with('-') { "" } else { "+" })
            }
        };
        text.push_str(&cell);
        Ok(())
    }
}

/// How arrays are printed.
#[pyclass(name = "PrintOptions", module = "lazulite.core", from_py_object, get_all, set_all)]
#[derive(Clone, Copy)]
struct PrintOptions {
    precision: i32,
}

#[pymethods]
impl PrintOptions {
    #[new]
    #[pyo3(signature = (precision = -1))]
    fn new(precision: i32) -> PrintOptions {
        PrintOptions { precision }
    }
}

#[pyclass(name = "_PrintOptionsContext", module = "lazulite.core", frozen)]
struct PrintOptionsContext {
    options: PrintOptions,
    former: Mutex<Vec<i32>>,
}

#[pymethods]
impl PrintOptionsContext {
    #[new]
    fn new(options: PrintOptions) -> PrintOptionsContext {
        PrintOptionsContext { options, former: Mutex::default() }
    }

    fn __enter__(&self) {
        self.former.lock().push(PRECISION.swap(self.options.precision, Ordering::Relaxed));
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyAny>) {
        if let Some(former) = self.former.lock().pop() {
            PRECISION.store(former, Ordering::Relaxed);
        }
    }
}

/// The print options in force.
///
/// >>> mx.get_printoptions().precision
/// -1
#[pyfunction]
fn get_printoptions() -> PrintOptions {
    PrintOptions { precision: PRECISION.load(Ordering::Relaxed) }
}

/// Sets the print options: digits behind the point, or -1 for six significant digits.
///
/// A precision that is not an integer raises TypeError.
///
/// >>> mx.set_printoptions(precision=2)
/// >>> mx.array(3.14159)
/// array(3.14, dtype=float32)
/// >>> mx.set_printoptions(precision=-1)
#[pyfunction]
#[pyo3(signature = (precision = -1))]
fn set_printoptions(precision: i32) {
    PRECISION.store(precision, Ordering::Relaxed);
}

/// A context with other print options.
///
/// A precision that is not an integer raises TypeError.
///
/// >>> with mx.printoptions(precision=2):
/// ...     print(mx.array(3.14159))
/// array(3.14, dtype=float32)
#[pyfunction]
#[pyo3(signature = (precision = -1))]
fn printoptions(precision: i32) -> PrintOptionsContext {
    PrintOptionsContext::new(PrintOptions { precision })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PrintOptions>()?;
    m.add_class::<PrintOptionsContext>()?;
    m.add_function(wrap_pyfunction!(get_printoptions, m)?)?;
    m.add_function(wrap_pyfunction!(set_printoptions, m)?)?;
    m.add_function(wrap_pyfunction!(printoptions, m)?)
}
