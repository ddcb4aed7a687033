//! Group-wise quantised matrices.

use super::add_functions;
use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Count, optional_size};
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::{Answer, value_error};
use lazulite::op::qqmm::{GlobalScales, Weights};
use lazulite::op::quantized::{QuantFormat, QuantMode};
use lazulite::{Array, Dtype};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

fn format(
    op: &str,
    mode: &str,
    group_size: Option<Count>,
    bits: Option<Count>,
) -> Answer<QuantFormat> {
    let group_size = optional_size(group_size, op, "group_size")?;
    let bits = optional_size(bits, op, "bits")?;
    Ok(QuantFormat::new(QuantMode::from_name(mode)?, group_size, bits)?)
}

/// The packed matrix, its scales and, in affine mode, its biases.
///
/// Each group of `group_size` neighbours along the last axis shares a scale. In mode `affine` an
/// element is `scale * q + bias` with an unsigned integer q of `bits` bits (64 and 4 by default);
/// the modes `mxfp4`, `mxfp8` and `nvfp4` store small floating numbers and no biases.
///
/// Shapes: the last axis has whole groups; packed words `(..., k * bits / 32)` of uint32, scales
/// and biases `(..., k / group_size)`; others raise ValueError.
/// Dtypes: float16 bfloat16 float32; others raise ValueError.
///
/// >>> [p.shape for p in mx.quantize(mx.ones((2, 64)))]
/// [(2, 8), (2, 1), (2, 1)]
#[pyfunction]
#[pyo3(signature = (
    w, /, group_size = None, bits = None, mode = "affine", *, global_scale = None, stream = None
))]
fn quantize<'py>(
    py: Python<'py>,
    w: Arr,
    group_size: Option<Count>,
    bits: Option<Count>,
    mode: &str,
    global_scale: Option<Arr>,
    stream: On,
) -> Answer<Bound<'py, PyTuple>> {
    let format = format("quantize", mode, group_size, bits)?;
    let parts = on(stream, || match &global_scale {
        Some(global) => Ok(w.0.quantize_scaled(format, &global.0)?),
        None => Ok(w.0.quantize(format)?),
    })?;
    Ok(PyTuple::new(py, parts.into_iter().map(PyArray::from).collect::<Vec<_>>())?)
}

/// The matrix that a packed matrix stands for: the inverse of `quantize`, up to its rounding.
///
/// `group_size`, `bits` and `mode` are those of `quantize`; `dtype` is that of the result, by default
/// that of the scales.
///
/// Shapes: packed `(..., n, k * bits / 32)`, scales and biases `(..., n, k / group_size) -> (...,
/// n, k)`.
/// Dtypes: float16 bfloat16 float32; others raise ValueError.
///
/// >>> mx.dequantize(*mx.quantize(mx.ones((1, 64))))[0, :2]
/// array([1, 1], dtype=float32)
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
    group_size: Option<Count>,
    bits: Option<Count>,
    mode: &str,
    global_scale: Option<Arr>,
    dtype: Option<PyDtype>,
    stream: On,
) -> Answer<PyArray> {
    let format = format("dequantize", mode, group_size, bits)?;
    let (biases, dtype) = (biases.map(|b| b.0), dtype.map(|d| d.0));
    on(stream, || match &global_scale {
        Some(global) => wrap(w.0.dequantize_scaled(&scales.0, format, dtype, &global.0)),
        None => wrap(w.0.dequantize(&scales.0, biases.as_ref(), format, dtype)),
    })
}

/// The product of `x` with a packed matrix (its transpose, by default).
///
/// `w`, `scales` and `biases` are what `quantize` returned for the same `group_size`, `bits` and
/// `mode`.
///
/// Shapes: `x (..., m, k)`, `w` of `(..., n, k)` if `transpose`, else of `(..., k, n)`; others
/// raise ValueError.
/// Dtypes: bool, integers, float16 bfloat16 float32; others raise ValueError.
///
/// >>> mx.quantized_matmul(mx.ones((1, 64)), *mx.quantize(mx.ones((2, 64))))
/// array([[64, 64]], dtype=float32)
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
    group_size: Option<Count>,
    bits: Option<Count>,
    mode: &str,
    stream: On,
) -> Answer<PyArray> {
    let format = format("quantized_matmul", mode, group_size, bits)?;
    let biases = biases.map(|b| b.0);
    on(stream, || wrap(x.0.quantized_matmul(&w.0, &scales.0, biases.as_ref(), transpose, format)))
}

/// Products of the matrices that indices pick: row `i` of the result's leading axes multiplies
/// `x[lhs_indices[i]]` with `w[rhs_indices[i]]` (its transpose, by default), which is packed.
///
/// Shapes: `x (..., m, k)`, packed matrices `(e, n, k * bits / 32)` if `transpose`; the indices
/// broadcast: `(*indices, m, n)`.
/// Dtypes: bool, integers, float16 bfloat16 float32; others raise ValueError.
///
/// >>> mx.gather_qmm(mx.ones((1, 1, 64)), *mx.quantize(mx.ones((2, 3, 64))),
/// ...     rhs_indices=mx.array([1])).shape
/// (1, 1, 3)
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
    group_size: Option<Count>,
    bits: Option<Count>,
    mode: &str,
    global_scale: Option<Arr>,
    sorted_indices: bool,
    stream: On,
) -> Answer<PyArray> {
    // The engine brings the rows of one matrix together itself, sorted or not.
    let _ = sorted_indices;
    let format = format("gather_qmm", mode, group_size, bits)?;
    let [biases, left, right] = [biases, lhs_indices, rhs_indices].map(|a| a.map(|a| a.0));
    on(stream, || {
        let (w, scales, biases) = (&w.0, &scales.0, biases.as_ref());
        let (left, right) = (left.as_ref(), right.as_ref());
        let product = |x: &Array| x.gather_qmm(w, scales, biases, left, right, transpose, format);
        let Some(global) = &global_scale else { return wrap(product(&x.0)) };
        let factor = format.range_factor("gather_qmm", &global.0)?;
        wrap(product(&x.0.astype(Dtype::F32)?)?.divide(&factor)?.astype(x.0.dtype()))
    })
}

fn weights<'a>(w: &'a Arr, scales: &'a Option<Arr>, op: &str) -> Answer<Weights<'a>> {
    match scales {
        Some(scales) => Ok(Weights::Packed(&w.0, &scales.0)),
        None if w.0.dtype() == Dtype::U32 => Err(value_error(format!(
            "[{op}] Scales must be provided if second argument is quantized."
        ))),
        None => Ok(Weights::Plain(&w.0)),
    }
}

fn globals<'a>(
    x: &'a Option<Arr>,
    w: &'a Option<Arr>,
    op: &str,
) -> Answer<Option<GlobalScales<'a>>> {
    match (x, w) {
        (None, None) => Ok(None),
        (Some(x), Some(w)) => Ok(Some(GlobalScales { x: &x.0, w: &w.0 })),
        _ => Err(value_error(format!(
            "[{op}] For nvfp4 mode, either both global_scale_x and global_scale_w must be provided, \
             or neither."
        ))),
    }
}

/// `x @ w.T` with both sides rounded to a format: `x`, which is quantised on the way, and `w`,
/// which is packed words with their scales, or is quantised on the way, too.
///
/// Modes are `nvfp4`, `mxfp4` and `mxfp8`. The global scales, for nvfp4, are the largest magnitudes
/// of both sides. Derivatives take the rounding for the identity.
///
/// Shapes: `x (..., m, k)` or `(k,)`, `w (..., n, k)`, the result `(..., m, n)`.
/// Dtypes: float16 bfloat16 float32; others raise ValueError.
/// Last axes that differ or do not hold whole groups raise ValueError.
///
/// >>> w = mx.eye(32)
/// >>> mx.qqmm(mx.full((1, 32), 1.5), *mx.quantize(w, mode="mxfp8"), mode="mxfp8")[0, :2]
/// array([1.5, 1.5], dtype=float32)
#[pyfunction]
#[pyo3(signature = (
    x, w, scales = None, group_size = None, bits = None, mode = "nvfp4", global_scale_x = None,
    global_scale_w = None, *, stream = None
))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn qqmm(
    x: Arr,
    w: Arr,
    scales: Option<Arr>,
    group_size: Option<Count>,
    bits: Option<Count>,
    mode: &str,
    global_scale_x: Option<Arr>,
    global_scale_w: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let format = format("qqmm", mode, group_size, bits)?;
    let global = globals(&global_scale_x, &global_scale_w, "qqmm")?;
    let w = weights(&w, &scales, "qqmm")?;
    on(stream, || wrap(lazulite::op::qqmm::qqmm(&x.0, w, format, global)))
}

/// `qqmm` of the matrices that indices pick: `x[lhs_indices[i]] @ w[rhs_indices[i]].T`.
///
/// Indices count the leading axes of `x (..., m, k)` and `w (..., n, k)` as one; those that are not
/// given are all in order. They broadcast to a shape `I`, and the result has shape `I + (m, n)`.
///
/// Dtypes: float16 bfloat16 float32; others raise ValueError.
/// Shapes and dtypes that do not fit, and last axes without whole groups, raise ValueError.
///
/// >>> w = mx.stack([mx.eye(32), 2 * mx.eye(32)])
/// >>> picked = mx.gather_qqmm(mx.ones((1, 32)), w, rhs_indices=mx.array([1, 0]), mode="mxfp8")
/// >>> picked[:, 0, 0]
/// array([2, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (
    x, w, /, scales = None, lhs_indices = None, rhs_indices = None, group_size = None, bits = None,
    mode = "nvfp4", global_scale_x = None, global_scale_w = None, *, sorted_indices = false,
    stream = None
))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn gather_qqmm(
    x: Arr,
    w: Arr,
    scales: Option<Arr>,
    lhs_indices: Option<Arr>,
    rhs_indices: Option<Arr>,
    group_size: Option<Count>,
    bits: Option<Count>,
    mode: &str,
    global_scale_x: Option<Arr>,
    global_scale_w: Option<Arr>,
    sorted_indices: bool,
    stream: On,
) -> Answer<PyArray> {
    let _ = sorted_indices;
    let format = format("gather_qqmm", mode, group_size, bits)?;
    let global = globals(&global_scale_x, &global_scale_w, "gather_qqmm")?;
    let w = weights(&w, &scales, "gather_qqmm")?;
    let [left, right] = [lhs_indices, rhs_indices].map(|a| a.map(|a| a.0));
    on(stream, || {
        wrap(lazulite::op::qqmm::gather_qqmm(
            &x.0,
            w,
            left.as_ref(),
            right.as_ref(),
            format,
            global,
        ))
    })
}

/// Products of the matrices that indices pick: `a[lhs_indices[i]] @ b[rhs_indices[i]]`.
///
/// Shapes: `a (..., m, k)`, `b (..., k, n)`, indices that broadcast to `I`; the result is `I + (m,
/// n)`; others raise ValueError.
/// Dtypes: floats, complex; others raise ValueError.
///
/// >>> mx.gather_mm(mx.ones((1, 1, 2)), mx.stack([mx.eye(2), 2 * mx.eye(2)]),
/// ...     rhs_indices=mx.array([1, 0])).reshape(2, 2)
/// array([[2, 2],
///        [1, 1]], dtype=float32)
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

/// Floating numbers as 8 bits (`uint8`): a sign, 4 bits of exponent and 3 of fraction (E4M3).
///
/// Shapes: any; the result has the shape of `x`.
/// Dtypes: floats; others raise ValueError.
///
/// >>> mx.to_fp8(mx.array([1.0, -1.0]))
/// array([56, 184], dtype=uint8)
#[pyfunction]
#[pyo3(signature = (x, *, stream = None))]
fn to_fp8(x: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(x.0.to_fp8()))
}

/// The numbers that the 8 bits of `to_fp8` stand for.
///
/// Shapes: any; the result has the shape of `x`.
/// Dtypes: uint8; others raise ValueError.
///
/// >>> mx.from_fp8(mx.to_fp8(mx.array([1.0, 3.3])))
/// array([1, 3.25], dtype=bfloat16)
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
        qqmm,
        gather_qqmm,
        to_fp8,
        from_fp8
    );
    Ok(())
}
