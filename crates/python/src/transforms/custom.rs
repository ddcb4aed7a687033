//! Functions whose derivatives and batching a program writes itself.

use super::{arguments, axes_of, call_tree, inside};
use crate::array::PyArray;
use crate::convert::type_name;
use crate::errors::{Answer, type_error, value_error};
use crate::trees;
use lazulite::Array;
use lazulite::transform;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::Arc;

/// A function whose transforms can be written by hand, with the decorators `vjp`, `jvp` and `vmap`.
/// Transforms that are not given are those of the function itself.
///
/// >>> @mx.custom_function
/// ... def clipped(x):
/// ...     return mx.clip(x, -1, 1)
/// >>> @clipped.vjp
/// ... def clipped_vjp(primals, cotangents, outputs):
/// ...     return cotangents
/// >>> mx.grad(lambda x: clipped(x).sum())(mx.array([3.0]))
/// array([1], dtype=float32)
#[pyclass(name = "custom_function", module = "lazulite.core", frozen, weakref)]
pub struct CustomFunction {
    fun: Py<PyAny>,
    rules: parking_lot::Mutex<Rules>,
}

#[derive(Default, Clone)]
struct Rules {
    vjp: Option<Arc<Py<PyAny>>>,
    jvp: Option<Arc<Py<PyAny>>>,
    vmap: Option<Arc<Py<PyAny>>>,
}

/// The positional arguments of a form with these arrays; one argument stands for itself.
fn primals<'py>(py: Python<'py>, form: &Py<PyAny>, arrays: &[Array]) -> Answer<Bound<'py, PyAny>> {
    let tree = trees::rebuild(form.bind(py), &mut arrays.iter().cloned())?;
    single(tree.get_item(0)?)
}

fn single(args: Bound<'_, PyAny>) -> Answer<Bound<'_, PyAny>> {
    if args.len()? == 1 { Ok(args.get_item(0)?) } else { Ok(args) }
}

#[pymethods]
impl CustomFunction {
    #[new]
    fn new(f: &Bound<'_, PyAny>) -> Answer<CustomFunction> {
        if !f.is_callable() {
            let got = type_name(f);
            return Err(type_error(format!("custom_function() expects a function, got {got}")));
        }
        Ok(CustomFunction { fun: f.clone().unbind(), rules: Default::default() })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.fun)?;
        let Some(rules) = self.rules.try_lock() else { return Ok(()) };
        for rule in [&rules.vjp, &rules.jvp, &rules.vmap].into_iter().flatten() {
            // A rule that is in use elsewhere is that owner's to report.
            if Arc::strong_count(rule) == 1 {
                visit.call(&**rule)?;
            }
        }
        Ok(())
    }

    /// Takes `f(primals, cotangents, outputs)`, which returns the primals' cotangents.
    fn vjp(&self, f: Py<PyAny>, py: Python<'_>) -> Py<PyAny> {
        self.rules.lock().vjp = Some(Arc::new(f.clone_ref(py)));
        f
    }

    /// Takes `f(primals, tangents)`, which returns the outputs' tangents.
    fn jvp(&self, f: Py<PyAny>, py: Python<'_>) -> Py<PyAny> {
        self.rules.lock().jvp = Some(Arc::new(f.clone_ref(py)));
        f
    }

    /// Takes `f(inputs, axes)`, which returns the outputs and their batch axes.
    fn vmap(&self, f: Py<PyAny>, py: Python<'_>) -> Py<PyAny> {
        self.rules.lock().vmap = Some(Arc::new(f.clone_ref(py)));
        f
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Answer<Py<PyAny>> {
        let py = args.py();
        let (tree, inputs) = arguments(args, kwargs)?;
        let rules = self.rules.lock().clone();
        // Forms hold no array of this call, so that nothing is kept alive.
        let blank = |tree: &Bound<'_, PyAny>| -> Answer<Arc<Py<PyAny>>> {
            let mut blanks = std::iter::repeat_with(|| Array::scalar(false));
            Ok(Arc::new(trees::rebuild(tree, &mut blanks)?.unbind()))
        };
        let form = blank(&tree)?;
        let result: Arc<parking_lot::Mutex<Option<Arc<Py<PyAny>>>>> = Arc::default();
        let (fun, inner, out) = (self.fun.clone_ref(py), form.clone(), result.clone());
        let mut custom = transform::custom_function(move |arrays: Vec<Array>| {
            Python::attach(|py| {
                inside((|| {
                    let value = call_tree(fun.bind(py), inner.bind(py), arrays)?;
                    let arrays = trees::flatten(&value)?;
                    let mut blanks = std::iter::repeat_with(|| Array::scalar(false));
                    let shape = trees::rebuild(&value, &mut blanks)?.unbind();
                    *out.lock() = Some(Arc::new(shape));
                    Ok(arrays)
                })())
            })
        });
        let shaped = |py: Python<'_>,
                      result: &parking_lot::Mutex<Option<Arc<Py<PyAny>>>>,
                      arrays: &[Array]|
         -> Answer<Py<PyAny>> {
            let form = result.lock().clone();
            let form = form.ok_or_else(|| value_error("the function was not called"))?;
            Ok(trees::rebuild(form.bind(py), &mut arrays.iter().cloned())?.unbind())
        };
        if let Some(rule) = rules.vjp {
            let (form, result) = (form.clone(), result.clone());
            custom = custom.with_vjp(move |p: &Vec<Array>, y: &Vec<Array>, ct: &Vec<Array>| {
                Python::attach(|py| {
                    inside((|| {
                        let outputs = shaped(py, &result, y)?;
                        let cotangents = shaped(py, &result, ct)?;
                        let args = (primals(py, &form, p)?, cotangents, outputs);
                        let back = rule.bind(py).call1(args)?;
                        cotangents_for(&back, p)
                    })())
                })
            });
        }
        if let Some(rule) = rules.jvp {
            let form = form.clone();
            custom = custom.with_jvp(move |p: &Vec<Array>, t: &Vec<Array>| {
                Python::attach(|py| {
                    inside((|| {
                        let args = (primals(py, &form, p)?, primals(py, &form, t)?);
                        trees::flatten_strict(&rule.bind(py).call1(args)?)
                    })())
                })
            });
        }
        if let Some(rule) = rules.vmap {
            let form = form.clone();
            custom = custom.with_vmap(move |p: &Vec<Array>, axes: &[Option<usize>]| {
                Python::attach(|py| {
                    inside((|| {
                        let mut places = axes.iter();
                        let args = form.bind(py).get_item(0)?;
                        let axes = trees::map(&args, &mut |leaf| {
                            let axis = match leaf.is_instance_of::<PyArray>() {
                                true => places.next().copied().flatten(),
                                false => None,
                            };
                            Ok(axis.into_pyobject(py)?)
                        })?;
                        let call = (primals(py, &form, p)?, single(axes)?);
                        let pair = rule.bind(py).call1(call)?;
                        let outputs = pair.get_item(0)?;
                        let mut axes = Vec::new();
                        axes_of(&pair.get_item(1)?, &outputs, &mut axes)?;
                        let arrays = trees::flatten_strict(&outputs)?;
                        let axes = (arrays.iter().zip(axes))
                            .map(|(a, axis)| match axis {
                                Some(i) if i < 0 => Some((i + a.ndim() as i64).max(0) as usize),
                                other => other.map(|i| i as usize),
                            })
                            .collect();
                        Ok((arrays, axes))
                    })())
                })
            });
        }
        let outputs = custom.call(inputs)?;
        shaped(py, &result, &outputs)
    }
}

/// The cotangents that a user's rule returned, one for each primal; None is zero.
fn cotangents_for(back: &Bound<'_, PyAny>, primals: &[Array]) -> Answer<Vec<Array>> {
    let mut given = Vec::new();
    trees::visit(back, &mut |leaf| {
        given.push(match leaf.cast::<PyArray>() {
            Ok(array) => Some(array.get().array()),
            Err(_) if leaf.is_none() => None,
            Err(_) => return Err(type_error("a cotangent is neither an array nor None")),
        });
        Ok(())
    })?;
    given.resize(primals.len(), None);
    let mut cotangents = Vec::with_capacity(primals.len());
    for (given, primal) in given.into_iter().zip(primals) {
        cotangents.push(given.map_or_else(|| primal.zeros_like(), Ok)?);
    }
    Ok(cotangents)
}
