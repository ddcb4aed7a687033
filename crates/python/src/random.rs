//! `lazulite.core.random`: draws from explicit keys or from the thread's own state.

use crate::array::{PyArray, wrap};
use crate::convert::{Arr, Count, Operand, Sizes, optional_size};
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::{Answer, index_error};
use crate::functions::add_functions;
use lazulite::op::random;
use lazulite::{Array, Dtype};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// The thread's key, as a list of one array.
#[pyclass(name = "_RandomState", module = "lazulite.core.random", frozen)]
pub struct RandomState;

#[pymethods]
impl RandomState {
    fn __len__(&self) -> usize {
        1
    }

    fn __getitem__(&self, index: i64) -> Answer<PyArray> {
        match index {
            0 | -1 => wrap(random::state()),
            _ => Err(index_error("the random state is a list of one array")),
        }
    }

    fn __setitem__(&self, index: i64, value: Arr) -> Answer<()> {
        match index {
            0 | -1 => {
                random::set_state(value.0);
                Ok(())
            }
            _ => Err(index_error("the random state is a list of one array")),
        }
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> Answer<Bound<'py, PyAny>> {
        let list = PyList::new(py, [wrap(random::state())?])?;
        Ok(list.try_iter()?.into_any())
    }
}

fn or_float(dtype: Option<PyDtype>) -> Dtype {
    dtype.map_or(Dtype::F32, |d| d.0)
}

fn shape_of(shape: Option<Sizes>) -> Answer<Vec<usize>> {
    Ok(shape.map_or_else(|| Ok(Default::default()), |s| s.shape("random"))?.to_vec())
}

fn optional(shape: Option<Sizes>) -> Answer<Option<Vec<usize>>> {
    shape.map(|s| Ok(s.shape("random")?.to_vec())).transpose()
}

/// Sets the thread's key.
///
/// A value that is not an integer raises TypeError; a negative one raises ValueError.
///
/// >>> mx.random.seed(1)
#[pyfunction]
fn seed(seed: Count) -> Answer<()> {
    Ok(random::seed(seed.of("seed", "seed")?)?)
}

/// The key that belongs to a number, for the `key` argument of the functions here.
///
/// Shapes: `(2)`.
/// Dtypes: uint32.
/// A value that is not an integer raises TypeError; a negative one raises ValueError.
///
/// >>> mx.random.key(1)
/// array([0, 1], dtype=uint32)
#[pyfunction]
fn key(seed: Count) -> Answer<PyArray> {
    wrap(random::key(seed.of("key", "seed")?))
}

/// Independent keys made of one.
///
/// Shapes: `(num, 2)`.
/// Dtypes: uint32.
/// An array that is not a key raises ValueError.
///
/// >>> mx.random.split(mx.random.key(1)).shape
/// (2, 2)
#[pyfunction]
#[pyo3(
    signature = (key, num = Count::new(2), stream = None),
    text_signature = "(key, num=2, stream=None)"
)]
fn split(key: Arr, num: Count, stream: On) -> Answer<PyArray> {
    let num = num.size("split", "num")?;
    on(stream, || wrap(random::split(&key.0, num)))
}

/// Uniform numbers of `[low, high)`.
///
/// Every function of this module takes a `key`, made by `key` or `split`: equal keys give equal
/// numbers. Without one, the thread's own state is used, which `seed` sets.
///
/// Shapes: the one that is asked for.
/// Dtypes: floats, float32 unless one is asked for.
/// A dtype that is not floating, and bounds that do not broadcast to the shape, raise ValueError.
///
/// >>> mx.random.uniform(shape=(2,), key=mx.random.key(1)).shape
/// (2,)
#[pyfunction]
#[pyo3(
    signature = (low = None, high = None, shape = None, dtype = None, key = None, stream = None),
    text_signature = "(low=0, high=1, shape=[], dtype=None, key=None, stream=None)"
)]
fn uniform(
    low: Option<Operand>,
    high: Option<Operand>,
    shape: Option<Sizes>,
    dtype: Option<PyDtype>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let dtype = or_float(dtype);
    let shape = optional(shape)?;
    let bound = |x: Option<Operand>, default: f64| -> Answer<Array> {
        match x {
            None => Ok(Array::literal(lazulite::Literal::from_f64(default, dtype))),
            Some(x) => Ok(x.beside(dtype)?.astype(dtype)?),
        }
    };
    on(stream, || {
        let (low, high) = (bound(low, 0.0)?, bound(high, 1.0)?);
        wrap(random::uniform(&low, &high, shape.as_deref(), dtype, key.map(|k| k.0).as_ref()))
    })
}

/// Normal numbers of mean `loc` and standard deviation `scale`.
///
/// Shapes: the one that is asked for.
/// Dtypes: floats and complex64, float32 unless one is asked for.
/// A negative size, an invalid key and a dtype that is not floating raise ValueError.
///
/// >>> mx.random.normal((2, 3), key=mx.random.key(1)).dtype
/// mlx.core.float32
#[pyfunction]
#[pyo3(
    signature = (shape = None, dtype = None, loc = None, scale = None, key = None, stream = None),
    text_signature = "(shape=[], dtype=None, loc=None, scale=None, key=None, stream=None)"
)]
fn normal(
    shape: Option<Sizes>,
    dtype: Option<PyDtype>,
    loc: Option<Operand>,
    scale: Option<Operand>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let dtype = or_float(dtype);
    let shape = shape_of(shape)?;
    let operand = |x: Option<Operand>| -> Answer<Option<Array>> {
        x.map(|x| Ok(x.beside(dtype)?.astype(dtype)?)).transpose()
    };
    on(stream, || {
        let (loc, scale) = (operand(loc)?, operand(scale)?);
        let key = key.map(|k| k.0);
        wrap(random::normal(&shape, dtype, loc.as_ref(), scale.as_ref(), key.as_ref()))
    })
}

/// Integers of `[low, high)`, `low` where that is empty, or with a `dtype` of bool whether they are not 0.
///
/// Shapes: `shape`, or that of the bounds broadcast together.
/// Dtypes: integers, int32 unless one is asked for.
/// A dtype that is not an integer type, and shapes that do not broadcast, raise ValueError.
///
/// >>> mx.random.randint(0, 10, (3,), key=mx.random.key(1)).dtype
/// mlx.core.int32
#[pyfunction]
#[pyo3(signature = (low, high, shape = None, dtype = None, key = None, stream = None))]
fn randint(
    low: Operand,
    high: Operand,
    shape: Option<Sizes>,
    dtype: Option<PyDtype>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let dtype = dtype.map_or(Dtype::I32, |d| d.0);
    let shape = optional(shape)?;
    on(stream, || {
        let (low, high) = Operand::pair(low, high)?;
        wrap(random::randint(&low, &high, shape.as_deref(), dtype, key.map(|k| k.0).as_ref()))
    })
}

/// True with probability `p`.
///
/// Shapes: `shape`, or that of `p`.
/// Dtypes: bool; `p` is a float.
/// A `p` that does not broadcast to the shape raises ValueError.
///
/// >>> mx.random.bernoulli(1.0, (2,))
/// array([True, True], dtype=bool)
#[pyfunction]
#[pyo3(
    signature = (p = None, shape = None, key = None, stream = None),
    text_signature = "(p=0.5, shape=None, key=None, stream=None)"
)]
fn bernoulli(
    p: Option<Operand>,
    shape: Option<Sizes>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let shape = optional(shape)?;
    on(stream, || {
        let p = match p {
            None => Array::scalar(0.5f32),
            Some(p) => p.beside(Dtype::F32)?,
        };
        wrap(random::bernoulli(&p, shape.as_deref(), key.map(|k| k.0).as_ref()))
    })
}

/// Numbers of the standard normal distribution restricted to `[lower, upper]`.
///
/// Shapes: `shape`, or that of both limits broadcast together.
/// Dtypes: all.
/// Shapes that do not broadcast raise ValueError.
///
/// >>> mx.abs(mx.random.truncated_normal(-1, 1, (4,))).max() <= 1
/// array(True, dtype=bool)
#[pyfunction]
#[pyo3(signature = (lower, upper, shape = None, dtype = None, key = None, stream = None))]
fn truncated_normal(
    lower: Operand,
    upper: Operand,
    shape: Option<Sizes>,
    dtype: Option<PyDtype>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let dtype = or_float(dtype);
    let shape = optional(shape)?;
    on(stream, || {
        let lower = lower.beside(dtype)?.astype(dtype)?;
        let upper = upper.beside(dtype)?.astype(dtype)?;
        let key = key.map(|k| k.0);
        wrap(random::truncated_normal(&lower, &upper, shape.as_deref(), dtype, key.as_ref()))
    })
}

/// Numbers of the standard Gumbel distribution, `-log(-log(u))` for uniform u.
///
/// Shapes: the one that is asked for.
/// Dtypes: floats, float32 unless one is asked for.
/// A negative size, an invalid key and a dtype that is not floating raise ValueError.
///
/// >>> mx.random.gumbel((2,)).shape
/// (2,)
#[pyfunction]
#[pyo3(
    signature = (shape = None, dtype = None, key = None, stream = None),
    text_signature = "(shape=[], dtype=None, key=None, stream=None)"
)]
fn gumbel(
    shape: Option<Sizes>,
    dtype: Option<PyDtype>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let shape = shape_of(shape)?;
    on(stream, || wrap(random::gumbel(&shape, or_float(dtype), key.map(|k| k.0).as_ref())))
}

/// Numbers of the Laplace distribution with mean `loc` and the given scale.
///
/// Shapes: the one that is asked for.
/// Dtypes: floats, float32 unless one is asked for.
/// A negative size, an invalid key and a dtype that is not floating raise ValueError.
///
/// >>> mx.random.laplace((2,)).shape
/// (2,)
#[pyfunction]
#[pyo3(
    signature = (shape = None, dtype = None, loc = 0.0, scale = 1.0, key = None, stream = None),
    text_signature = "(shape=[], dtype=None, loc=0.0, scale=1.0, key=None, stream=None)"
)]
fn laplace(
    shape: Option<Sizes>,
    dtype: Option<PyDtype>,
    loc: f64,
    scale: f64,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let shape = shape_of(shape)?;
    let dtype = or_float(dtype);
    on(stream, || wrap(random::laplace(&shape, dtype, loc, scale, key.map(|k| k.0).as_ref())))
}

/// Indices drawn with the probabilities `softmax(logits)` along an axis.
///
/// Shapes: those of `logits` without the axis, followed by `num_samples` if given; or `shape`, to
/// which they broadcast.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.random.categorical(mx.array([-mx.inf, 0.0]))
/// array(1, dtype=uint32)
#[pyfunction]
#[pyo3(signature = (
    logits, axis = -1, shape = None, num_samples = None, key = None, stream = None
))]
fn categorical(
    logits: Arr,
    axis: i64,
    shape: Option<Sizes>,
    num_samples: Option<Count>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let key = key.map(|k| k.0);
    let shape = optional(shape)?;
    let num_samples = optional_size(num_samples, "categorical", "num_samples")?;
    if shape.is_some() && num_samples.is_some() {
        let message = "[categorical] At most one of shape or num_samples can be specified.";
        return Err(crate::errors::value_error(message));
    }
    on(stream, || match (shape, num_samples) {
        (None, None) => wrap(random::categorical(&logits.0, axis, key.as_ref())),
        (None, Some(n)) => wrap(random::categorical_samples(&logits.0, axis, n, key.as_ref())),
        (Some(shape), _) => {
            // The draws of a shape are those of logits that are broadcast to it.
            let logits = logits.0.moveaxis(axis, -1)?;
            let mut wide = shape;
            wide.extend(logits.shape().last());
            wrap(random::categorical(&logits.broadcast_to(&wide)?, -1, key.as_ref()))
        }
    })
}

/// The parts of an array along an axis, or the numbers below `x`, in random order.
///
/// Shapes: that of `x`, or `(x)` for a number.
/// Dtypes: all.
/// An axis out of range raises IndexError.
///
/// >>> mx.sort(mx.random.permutation(4))
/// array([0, 1, 2, 3], dtype=uint32)
#[pyfunction]
#[pyo3(signature = (x, axis = 0, key = None, stream = None))]
fn permutation(x: Operand, axis: i64, key: Option<Arr>, stream: On) -> Answer<PyArray> {
    let key = key.map(|k| k.0);
    on(stream, || match x {
        Operand::Array(x) | Operand::Foreign(x) => wrap(random::shuffle(&x, axis, key.as_ref())),
        Operand::Scalar(n) => {
            let n = n.literal(Dtype::I64).to_i64().max(0) as usize;
            wrap(random::permutation(n, key.as_ref()))
        }
    })
}

/// Numbers of the normal distribution with the given means `(..., n)` and covariances
/// `(..., n, n)`: `(*shape, n)`.
///
/// Shapes: `mean (..., n)`, `cov (..., n, n) -> (*shape, n)`.
/// Dtypes: all.
/// Other shapes raise ValueError.
///
/// >>> mx.random.multivariate_normal(mx.zeros(2), mx.eye(2), (5,)).shape
/// (5, 2)
#[pyfunction]
#[pyo3(
    signature = (mean, cov, shape = None, dtype = None, key = None, stream = None),
    text_signature = "(mean, cov, shape=[], dtype=None, key=None, stream=None)"
)]
fn multivariate_normal(
    mean: Arr,
    cov: Arr,
    shape: Option<Sizes>,
    dtype: Option<PyDtype>,
    key: Option<Arr>,
    stream: On,
) -> Answer<PyArray> {
    let shape = shape.map(|s| s.shape("multivariate_normal")).transpose()?.unwrap_or_default();
    let dtype = dtype.map_or(Dtype::F32, |d| d.0);
    let key = key.map(|k| k.0);
    on(stream, || wrap(random::multivariate_normal(&mean.0, &cov.0, &shape, dtype, key.as_ref())))
}

/// Attributes of the module that are not there: an `AttributeError`.
#[pyfunction]
fn __getattr__(name: &str) -> Answer<RandomState> {
    match name {
        "state" => Ok(RandomState),
        _ => {
            let message = format!("module 'lazulite.core.random' has no attribute {name:?}");
            Err(pyo3::exceptions::PyAttributeError::new_err(message).into())
        }
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<RandomState>()?;
    m.add("state", Py::new(m.py(), RandomState)?)?;
    add_functions!(m, seed, key, split, uniform, normal, randint, bernoulli, truncated_normal);
    add_functions!(m, gumbel, laplace, categorical, permutation, __getattr__);
    add_functions!(m, multivariate_normal);
    Ok(())
}
