//! `lazulite.core.fast`: the fused operations of transformers.

use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Count, Operand};
use crate::device::{On, on};
use crate::errors::{Answer, value_error};
use crate::functions::add_functions;
use lazulite::op::delta;
use lazulite::op::fast::{self, Frequencies, Mask};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// `x / sqrt(mean(x^2) + eps) * weight` along the last axis, computed in float32 at least.
///
/// Shapes: `x (..., n)`, which the result has; `weight (n)` or None for ones.
/// Dtypes: floats; others raise ValueError.
/// Parameters of another shape raise ValueError.
///
/// >>> mx.fast.rms_norm(mx.array([3.0, 4.0]), None, 1e-5)
/// array([0.848528, 1.13137], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, weight, eps, *, stream = None))]
fn rms_norm(x: Arr, weight: Option<Arr>, eps: f64, stream: On) -> Answer<PyArray> {
    let weight = weight.map(|w| w.0);
    on(stream, || wrap(fast::rms_norm(&x.0, weight.as_ref(), eps)))
}

/// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` along the last axis.
///
/// Shapes: `x (..., n)`, which the result has; `weight` and `bias (n)`, or None for ones and zeros.
/// Dtypes: floats; others raise ValueError.
/// Parameters of another shape raise ValueError.
///
/// >>> mx.fast.layer_norm(mx.array([1.0, 3.0]), None, None, 1e-5)
/// array([-0.999995, 0.999995], dtype=float32)
#[pyfunction]
#[pyo3(signature = (x, weight, bias, eps, *, stream = None))]
fn layer_norm(
    x: Arr,
    weight: Option<Arr>,
    bias: Option<Arr>,
    eps: f64,
    stream: On,
) -> Answer<PyArray> {
    let (weight, bias) = (weight.map(|w| w.0), bias.map(|b| b.0));
    on(stream, || wrap(fast::layer_norm(&x.0, weight.as_ref(), bias.as_ref(), eps)))
}

/// Rotary position embedding of the first `dims` elements of the last axis (Su et al., "RoFormer",
/// 2021).
///
/// Pair i at position p is rotated by the angle `scale * (p + offset) * base^(-2 i / dims)`, or
/// `scale * (p + offset) / freqs[i]` where `freqs` is given in place of `base`. Pairs are neighbours
/// if `traditional`, else the elements i and `i + dims / 2`. `offset` is a number or an array with
/// one for each example.
///
/// Shapes: `a (..., t, d)`, which the result has; `dims` is even and at most d; others raise
/// ValueError.
/// Dtypes: floats; others raise ValueError.
///
/// >>> mx.fast.rope(mx.ones((1, 2, 2)), 2, traditional=True, base=10000.0, scale=1.0,
/// ...     offset=0)[0, 0]
/// array([1, 1], dtype=float32)
#[pyfunction]
#[pyo3(signature = (a, dims, *, traditional, base, scale, offset, freqs = None, stream = None))]
#[allow(clippy::too_many_arguments)]
fn rope(
    a: Arr,
    dims: Count,
    traditional: bool,
    base: Option<f64>,
    scale: f64,
    offset: Operand,
    freqs: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let dims = dims.size("rope", "dims")?;
    on(stream, || {
        let frequencies = match (base, &freqs) {
            (Some(base), None) => Frequencies::Base(base),
            (None, Some(freqs)) => Frequencies::Array(&freqs.0),
            (Some(_), Some(_)) => {
                return Err(value_error("[rope] Only one of base or freqs can have a value."));
            }
            (None, None) => {
                let message = "[rope] Neither base nor freqs has a value; give one of them.";
                return Err(value_error(message));
            }
        };
        let offset = offset.array();
        wrap(fast::rope(&a.0, dims, traditional, frequencies, scale, &offset))
    })
}

/// `softmax(scale * q k^T + mask) v`, computed in float32 at least.
///
/// `mask` is None, `"causal"` (a query sees the keys up to its own place, counted from the end), or
/// an array that broadcasts to `(b, h, t, s)`: bool hides where it is false, numbers are added.
/// `sinks (h)` are logits that take part in each softmax and have no value.
///
/// Shapes: `q (b, h, t, d)`, `k (b, g, s, d)`, `v (b, g, s, e)` with `h` a multiple of `g`, the
/// result `(b, h, t, e)`; others raise ValueError.
/// Dtypes: floats; others raise ValueError.
///
/// >>> mx.fast.scaled_dot_product_attention(mx.ones((1, 2, 1, 4)), mx.ones((1, 1, 3, 4)),
/// ...     mx.ones((1, 1, 3, 4)), scale=0.5).shape
/// (1, 2, 1, 4)
#[pyfunction]
#[pyo3(signature = (
    q, k, v, *, scale, mask = None, sinks = None, force_fused = false, stream = None
))]
#[allow(clippy::too_many_arguments)]
fn scaled_dot_product_attention(
    q: Arr,
    k: Arr,
    v: Arr,
    scale: f64,
    mask: Option<&Bound<'_, PyAny>>,
    sinks: Option<Arr>,
    force_fused: bool,
    stream: On,
) -> Answer<PyArray> {
    let _ = force_fused;
    let array;
    let mask = match mask {
        None => Mask::None,
        Some(mask) => match mask.extract::<&str>() {
            Ok("causal") => Mask::Causal,
            Ok("") => Mask::None,
            Ok(other) => {
                let message = format!(
                    "[scaled_dot_product_attention] mask is {other:?}, expected \"causal\", an \
                     array or None"
                );
                return Err(value_error(message));
            }
            Err(_) => {
                array = Arr::of(mask)?.0;
                Mask::Array(&array)
            }
        },
    };
    let sinks = sinks.map(|s| s.0);
    on(stream, || {
        let (q, k, v) = (&q.0, &k.0, &v.0);
        wrap(fast::scaled_dot_product_attention(q, k, v, scale, mask, sinks.as_ref()))
    })
}

/// `logsumexp(logits) - logits[target]` along the last axis, computed and returned in float32.
///
/// Shapes: `logits (..., n)`, `targets (...) -> (...)`.
/// Dtypes: all.
/// Other shapes and targets that are not integers raise ValueError.
///
/// >>> mx.fast.cross_entropy(mx.zeros((1, 4)), mx.array([2]))
/// array([1.38629], dtype=float32)
#[pyfunction]
#[pyo3(signature = (logits, targets, *, stream = None))]
fn cross_entropy(logits: Arr, targets: Arr, stream: On) -> Answer<PyArray> {
    on(stream, || wrap(fast::cross_entropy(&logits.0, &targets.0)))
}

/// A linear attention whose state forgets (`gamma`) and corrects itself (`beta`), step by step: the
/// outputs `(b, t, g, e)` and the last state `(b, g, e, d)`.
///
/// Shapes: `q, k (b, t, h, d)`, `v (b, t, g, e)`, `gamma (b, t, g)` or `(b, t, g, d)`, `beta (b,
/// t, g)`, the state `(b, g, e, d)`.
/// Dtypes: floats; others raise ValueError.
/// Other shapes raise ValueError.
///
/// >>> [a.shape for a in mx.fast.gated_delta_update(*[mx.ones((1, 3, 2, 4))] * 3, mx.ones((1, 3,
/// ...     2)), mx.ones((1, 3, 2)))]
/// [(1, 3, 2, 4), (1, 2, 4, 4)]
#[pyfunction]
#[pyo3(signature = (q, k, v, gamma, beta, initial_state = None, mask = None, stream = None))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn gated_delta_update(
    q: Arr,
    k: Arr,
    v: Arr,
    gamma: Arr,
    beta: Arr,
    initial_state: Option<Arr>,
    mask: Option<Arr>,
    stream: On,
) -> Answer<Vec<PyArray>> {
    let [state, mask] = [initial_state, mask].map(|a| a.map(|a| a.0));
    on(stream, || {
        let parts = [&q.0, &k.0, &v.0];
        let (y, last) =
            delta::gated_delta_update(parts, &gamma.0, &beta.0, state.as_ref(), mask.as_ref())?;
        Ok(vec![y.into(), last.into()])
    })
}

/// A kernel in the language of Apple's graphics, which cannot run: there is no such device here.
#[pyclass(module = "lazulite.core.fast", frozen)]
struct MetalKernel {
    name: String,
}

#[pymethods]
impl MetalKernel {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Answer<Vec<PyArray>> {
        let _ = (args, kwargs);
        let message = format!("[metal_kernel] {}: no Metal device is here", self.name);
        Err(PyRuntimeError::new_err(message).into())
    }
}

/// A kernel for Apple's graphics. Programs may make one anywhere; calling it needs such a device,
/// which this library does not support, and is a `RuntimeError`.
///
/// Shapes: those that the caller names.
/// Dtypes: those that the caller names.
#[pyfunction]
#[pyo3(signature = (
    name, input_names, output_names, source, header = "", ensure_row_contiguous = true,
    atomic_outputs = false, compile_options = None
))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn metal_kernel(
    name: String,
    input_names: Vec<String>,
    output_names: Vec<String>,
    source: &str,
    header: &str,
    ensure_row_contiguous: bool,
    atomic_outputs: bool,
    compile_options: Option<&Bound<'_, PyAny>>,
) -> MetalKernel {
    let _ = (input_names, output_names, source, header);
    let _ = (ensure_row_contiguous, atomic_outputs, compile_options);
    MetalKernel { name }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, rms_norm, layer_norm, rope, scaled_dot_product_attention, cross_entropy);
    add_functions!(m, metal_kernel, gated_delta_update);
    crate::kernel::register(m)
}
