//! Group-wise quantised matrices.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::Arr;
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::{Answer, value_error};
use lazulite::op::quantized::{QuantFormat, QuantMode};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

fn format(mode: &str, group_size: Option<usize>, bits: Option<usize>) -> Answer<QuantFormat> {
    Ok(QuantFormat::new(QuantMode::from_name(mode)?, group_size, bits)?)
}

fn no_global_scale(op: &str, scale: &Option<Arr>) -> Answer<()> {
    match scale {
        None => Ok(()),
        Some(_) => Err(value_error(format!("[{op}] a global scale is not supported"))),
    }
}

/// The packed matrix, its scales and, in affine mode, its biases.
#[pyfunction]
#[pyo3(signature = (
    w, /, group_size = None, bits = None, mode = "affine", *, global_scale = None, stream = None
))]
fn quantize<'py>(
    py: Python<'py>,
    w: Arr,
    group_size: Option<usize>,
    bits: Option<usize>,
    mode: &str,
    global_scale: Option<Arr>,
    stream: On,
) -> Answer<Bound<'py, PyTuple>> {
    no_global_scale("quantize", &global_scale)?;
    let format = format(mode, group_size, bits)?;
    let parts = on(stream, || Ok(w.0.quantize(format)?))?;
    Ok(PyTuple::new(py, parts.into_iter().map(PyArray::from).collect::<Vec<_>>())?)
}

/// The matrix that a packed matrix stands for.
#[pyfunction]
#[pyo3(signature = (
    w, /, scales, biases = None, group_size = None, bits = None, mode = "affine",
    global_scale = None, dtype = None, *, stream = None
))]
#[allow(clippy::too_many_arguments)]
fn dequantize(
    w: Arr,
    scales: Arr,
    biases: Option<Arr>,
    group_size: Option<usize>,
    bits: Option<usize>,
    mode: &str,
    global_scale: Option<Arr>,
    dtype: Option<PyDtype>,
    stream: On,
) -> Answer<PyArray> {
    no_global_scale("dequantize", &global_scale)?;
    let format = format(mode, group_size, bits)?;
    let biases = biases.map(|b| b.0);
    on(stream, || wrap(w.0.dequantize(&scales.0, biases.as_ref(), format, dtype.map(|d| d.0))))
}

/// The product of `x` with a packed matrix (its transpose, by default).
#[pyfunction]
#[pyo3(signature = (
    x, w, /, scales, biases = None, transpose = true, group_size = None, bits = None,
    mode = "affine", *, stream = None
))]
#[allow(clippy::too_many_arguments)]
fn quantized_matmul(
    x: Arr,
    w: Arr,
    scales: Arr,
    biases: Option<Arr>,
    transpose: bool,
    group_size: Option<usize>,
    bits: Option<usize>,
    mode: &str,
    stream: On,
) -> Answer<PyArray> {
    let format = format(mode, group_size, bits)?;
    let biases = biases.map(|b| b.0);
    on(stream, || wrap(x.0.quantized_matmul(&w.0, &scales.0, biases.as_ref(), transpose, format)))
}

/// Products of the matrices that indices pick: row `i` of the result's leading axes multiplies
/// `x[lhs_indices[i]]` with `w[rhs_indices[i]]` (its transpose, by default), which is packed.
#[pyfunction]
#[pyo3(signature = (
    x, w, /, scales, biases = None, lhs_indices = None, rhs_indices = None, transpose = true,
    group_size = None, bits = None, mode = "affine", global_scale = None, *,
    sorted_indices = false, stream = None
))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn gather_qmm(
    x: Arr,
    w: Arr,
    scales: Arr,
    biases: Option<Arr>,
    lhs_indices: Option<Arr>,
    rhs_indices: Option<Arr>,
    transpose: bool,
    group_size: Option<usize>,
    bits: Option<usize>,
    mode: &str,
    global_scale: Option<Arr>,
    sorted_indices: bool,
    stream: On,
) -> Answer<PyArray> {
    // The engine brings the rows of one matrix together itself, sorted or not.
    let _ = sorted_indices;
    no_global_scale("gather_qmm", &global_scale)?;
    let format = format(mode, group_size, bits)?;
    let [biases, left, right] = [biases, lhs_indices, rhs_indices].map(|a| a.map(|a| a.0));
    on(stream, || {
        let (w, scales, biases) = (&w.0, &scales.0, biases.as_ref());
        let (left, right) = (left.as_ref(), right.as_ref());
        wrap(x.0.gather_qmm(w, scales, biases, left, right, transpose, format))
    })
}

/// Products of the matrices that indices pick: `a[lhs_indices[i]] @ b[rhs_indices[i]]`.
#[pyfunction]
#[pyo3(signature = (
    a, b, /, lhs_indices = None, rhs_indices = None, *, sorted_indices = false, stream = None
))]
fn gather_mm(
    a: Arr,
    b: Arr,
    lhs_indices: Option<Arr>,
    rhs_indices: Option<Arr>,
    sorted_indices: bool,
    stream: On,
) -> Answer<PyArray> {
    let _ = sorted_indices;
    let [left, right] = [lhs_indices, rhs_indices].map(|a| a.map(|a| a.0));
    on(stream, || wrap(a.0.gather_mm(&b.0, left.as_ref(), right.as_ref())))
}

/// Floating numbers as 8 bits, of which 4 are the exponent and 3 the fraction (`uint8`).
#[pyfunction]
#[pyo3(signature = (x, *, stream = None))]
fn to_fp8(x: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(x.0.to_fp8()))
}

/// The numbers that the 8 bits of `to_fp8` stand for.
#[pyfunction]
#[pyo3(
    signature = (x, dtype = PyDtype(lazulite::Dtype::BF16), *, stream = None),
    text_signature = "(x, dtype=None, *, stream=None)"
)]
fn from_fp8(x: Arr, dtype: PyDtype, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(x.0.from_fp8(dtype.0)))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(
        m,
        quantize,
        dequantize,
        quantized_matmul,
        gather_qmm,
        gather_mm,
        to_fp8,
        from_fp8
    );
    Ok(())
}
