//! What an evaluation will take and how it will run: `estimate` and `explain`, which MLX lacks.

use crate::errors::{Answer, value_error};
use crate::functions::add_functions;
use crate::trees;
use lazulite::{Array, Estimate, plan};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// What an evaluation will take, in bytes and operations.
#[pyclass(name = "Estimate", module = "lazulite.core", frozen)]
pub struct PyEstimate(Estimate);

#[pymethods]
impl PyEstimate {
    /// Bytes allocated on top of what is live now, at the highest point.
    #[getter]
    fn peak(&self) -> u64 {
        self.0.peak
    }

    /// Bytes that stay allocated afterwards.
    #[getter]
    fn kept(&self) -> u64 {
        self.0.kept
    }

    /// Bytes read and written by all steps.
    #[getter]
    fn moved(&self) -> u64 {
        self.0.moved
    }

    /// Operations of all steps.
    #[getter]
    fn flops(&self) -> u64 {
        self.0.flops
    }

    /// The number of steps that compute or copy something.
    #[getter]
    fn steps(&self) -> usize {
        self.0.steps
    }

    fn __repr__(&self) -> String {
        format!("Estimate({})", self.0)
    }
}

/// The arrays that would be evaluated: those of what a function returns, if the first argument is
/// one, else those of all arguments.
fn outputs(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> Answer<Vec<Array>> {
    if let Ok(function) = args.get_item(0)
        && function.is_callable()
    {
        let rest = args.get_slice(1, args.len());
        return trees::flatten(&function.call(rest, kwargs)?);
    }
    if kwargs.is_some_and(|kwargs| !kwargs.is_empty()) {
        return Err(value_error("keyword arguments are a function's; there is none to call"));
    }
    trees::flatten(args)
}

/// What `eval(f(*args, **kwargs))` would take, without running it: `peak`, `kept` and `moved` bytes,
/// `flops` and `steps`. Without a function, what the evaluation of the arrays in `args` would take.
/// What `f` evaluates itself runs, and is not counted.
#[pyfunction]
#[pyo3(signature = (*args, **kwargs))]
fn estimate(
    py: Python<'_>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> Answer<PyEstimate> {
    let outputs = outputs(args, kwargs)?;
    Ok(PyEstimate(py.detach(|| plan::estimate(&outputs))?))
}

/// How `eval(f(*args, **kwargs))` would run: its steps, with what the planner fused and rewrote.
/// Without a function, how the evaluation of the arrays in `args` would. `format` is `text`, `json` or
/// `html`, a page that needs nothing but itself; with `run` the steps run and are timed.
#[pyfunction]
#[pyo3(signature = (*args, format="text", run=false, **kwargs))]
fn explain(
    py: Python<'_>,
    args: &Bound<'_, PyTuple>,
    format: &str,
    run: bool,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> Answer<String> {
    if !matches!(format, "text" | "json" | "html") {
        let message = format!("[explain] format must be text, json or html, got {format}");
        return Err(value_error(message));
    }
    let title = match args.get_item(0).and_then(|f| f.getattr("__name__")) {
        Ok(name) => name.to_string(),
        Err(_) => String::from("plan"),
    };
    let outputs = outputs(args, kwargs)?;
    let report =
        py.detach(|| if run { plan::profile(&outputs) } else { plan::report(&outputs) })?;
    Ok(match format {
        "json" => report.json(),
        "html" => report.html(&title),
        _ => format!("{}{}\n", report.text(), report.estimate),
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyEstimate>()?;
    add_functions!(m, estimate, explain);
    Ok(())
}
