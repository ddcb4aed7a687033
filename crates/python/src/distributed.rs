//! `lazulite.core.distributed`: groups of processes. No transport is there yet, so the only group
//! is that of this process alone, for which every collective is the identity.

use crate::array::PyArray;
use crate::convert::{Arr, Sizes};
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::{Answer, Fault, value_error};
use crate::functions::add_functions;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// Processes that work together.
#[pyclass(name = "Group", module = "lazulite.core.distributed", frozen, from_py_object)]
#[derive(Clone, Copy)]
pub struct Group;

#[pymethods]
impl Group {
    /// This process's number.
    fn rank(&self) -> usize {
        0
    }

    /// The number of processes.
    fn size(&self) -> usize {
        1
    }

    /// The group of the processes with the same color, ordered by key.
    #[pyo3(signature = (color, key = -1))]
    fn split(&self, color: i64, key: i64) -> Answer<Group> {
        let _ = (color, key);
        Err(value_error("[split] a group of one process cannot be split"))
    }
}

/// True if a transport between processes is there.
#[pyfunction]
#[pyo3(signature = (backend = "any"))]
fn is_available(backend: &str) -> bool {
    let _ = backend;
    false
}

/// The group of all processes; with `strict`, an error if there is no transport.
///
/// >>> mx.distributed.init().size()
/// 1
#[pyfunction]
#[pyo3(signature = (strict = false, backend = "any", *, all_gather_factory = None))]
fn init(
    strict: bool,
    backend: &str,
    all_gather_factory: Option<&Bound<'_, PyAny>>,
) -> Answer<Group> {
    let _ = all_gather_factory;
    if strict || !["any", "mpi", "ring", "nccl", "jaccl"].contains(&backend) {
        let message = format!("[distributed.init] no transport for the backend {backend:?}");
        return Err(Fault::from(PyRuntimeError::new_err(message)));
    }
    Ok(Group)
}

macro_rules! collectives {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[pyfunction]
        #[pyo3(signature = (x, *, group = None, stream = None))]
        fn $name(x: Arr, group: Option<Group>, stream: On) -> Answer<PyArray> {
            let _ = group;
            on(stream, || Ok(x.0.into()))
        }
    )*};
}
collectives! {
    /// The sum over the processes.
    ///
    /// Dtypes: all.
    ///
    /// >>> mx.distributed.all_sum(mx.ones(2))
    /// array([1, 1], dtype=float32)
    all_sum;
    /// The greatest elements over the processes.
    all_max;
    /// The least elements over the processes.
    all_min;
    /// The arrays of all processes, joined along the first axis.
    all_gather;
    /// This process's part of the sum over the processes.
    sum_scatter;
}

fn alone(what: &str) -> Fault {
    value_error(format!("Cannot {what} a singleton group"))
}

/// Sends an array to a process. A group of one process has no other: a `ValueError`.
#[pyfunction]
#[pyo3(signature = (x, dst, *, group = None, stream = None))]
fn send(x: Arr, dst: i64, group: Option<Group>, stream: On) -> Answer<PyArray> {
    let _ = (x, dst, group, stream);
    Err(alone("send to"))
}

/// The array that a process sends. A group of one process has no other: a `ValueError`.
#[pyfunction]
#[pyo3(signature = (shape, dtype, src, *, group = None, stream = None))]
fn recv(
    shape: Sizes,
    dtype: PyDtype,
    src: i64,
    group: Option<Group>,
    stream: On,
) -> Answer<PyArray> {
    let _ = (shape, dtype, src, group, stream);
    Err(alone("recv from"))
}

/// The array, of the shape and dtype of `x`, that a process sends. A group of one process has no
/// other: a `ValueError`.
#[pyfunction]
#[pyo3(signature = (x, src, *, group = None, stream = None))]
fn recv_like(x: Arr, src: i64, group: Option<Group>, stream: On) -> Answer<PyArray> {
    let _ = (x, src, group, stream);
    Err(alone("recv from"))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<Group>()?;
    add_functions!(m, is_available, init, all_sum, all_max, all_min, all_gather, sum_scatter);
    add_functions!(m, send, recv, recv_like);
    Ok(())
}
