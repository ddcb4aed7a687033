//! Evaluation and function transforms. Each transform is an object that calls the user's function
//! on traced arrays, inside the engine's walk.

mod custom;

use crate::array::PyArray;
use crate::convert::{Arr, evaluate, extract_one_of, type_name};
use crate::errors::{Answer, raised, value_error};
use crate::functions::add_functions;
use crate::trees;
use lazulite::Array;
use lazulite::transform::{self, jvp_arrays, vjp_arrays, vmap_arrays};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::cell::RefCell;

type Engine<T> = lazulite::Result<T>;

/// Computes the arrays of trees, and waits for them. Other leaves are ignored.
///
/// Errors in the data (an index out of range, a singular matrix, too little memory) are raised
/// here: IndexError, RuntimeError, MemoryError.
///
/// On a GPU it returns once the work is queued there: call `mx.synchronize()` before reading a clock.
/// Errors in the data then come with the values.
///
/// >>> mx.eval(mx.ones(3) + 1)
#[pyfunction]
#[pyo3(signature = (*args))]
fn eval(py: Python<'_>, args: &Bound<'_, PyTuple>) -> Answer<()> {
    evaluate(py, &trees::flatten(args)?)
}

/// Starts to compute the arrays of trees, and does not wait for them. Other leaves are ignored.
///
/// Errors in the data (an index out of range, a singular matrix) come with the next call that needs
/// the values: IndexError, RuntimeError. A plan that needs more memory than the limit leaves raises
/// MemoryError here.
///
/// >>> mx.async_eval(mx.ones(3) + 1)
#[pyfunction]
#[pyo3(signature = (*args))]
fn async_eval(py: Python<'_>, args: &Bound<'_, PyTuple>) -> Answer<()> {
    let arrays = trees::flatten(args)?;
    Ok(py.detach(|| lazulite::eval::async_eval(&arrays))?)
}

/// Writes the graph of lazy arrays in the language of Graphviz to a path or an open file. Keywords
/// name arrays, and their graph is written, too.
///
/// An argument that is not an array raises ValueError; a file that cannot be written raises
/// OSError.
///
/// >>> import io
/// >>> file = io.StringIO()
/// >>> mx.export_to_dot(file, mx.zeros(3) + 1)
/// >>> file.getvalue().startswith("digraph")
/// True
#[pyfunction]
#[pyo3(signature = (file, *args, **kwargs))]
fn export_to_dot(
    py: Python<'_>,
    file: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> Answer<()> {
    let mut outputs = trees::flatten_strict(args)?;
    let mut names = Vec::new();
    for (name, array) in kwargs.into_iter().flatten() {
        let array = Arr::of(&array)?.0;
        if !outputs.iter().any(|output| output.same(&array)) {
            outputs.push(array.clone());
        }
        names.push((name.extract()?, array));
    }
    let text = lazulite::plan::dot(&outputs, &names)?;
    if file.hasattr(intern!(py, "write"))? {
        file.call_method1(intern!(py, "write"), (text,))?;
    } else {
        std::fs::write(file.extract::<std::path::PathBuf>()?, text).map_err(PyErr::from)?;
    }
    Ok(())
}

/// `fun(*args, **kwargs)`, with Python's exceptions passed through the engine.
fn call<'py>(
    fun: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Answer<Bound<'py, PyAny>> {
    Ok(fun.call(args, kwargs)?)
}

/// A closure's result for the engine.
fn inside<T>(answer: Answer<T>) -> Engine<T> {
    answer.map_err(raised)
}

fn new<'py>(py: Python<'py>, array: &Array) -> Answer<Bound<'py, PyAny>> {
    Ok(Bound::new(py, PyArray::from(array.clone()))?.into_any())
}

fn list<'py>(py: Python<'py>, arrays: Vec<Array>) -> Answer<Bound<'py, PyList>> {
    Ok(PyList::new(py, arrays.into_iter().map(PyArray::from).collect::<Vec<_>>())?)
}

/// Makes a transformed function look like the function, of which it has all attributes. It does not
/// bind to an instance: as a class attribute it is called without `self`, as with MLX.
macro_rules! wrapper {
    ($Class:ident) => {
        #[pymethods]
        impl $Class {
            fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
                visit.call(&self.fun)
            }

            /// The function that is transformed.
            #[getter]
            fn __wrapped__(&self, py: Python<'_>) -> Py<PyAny> {
                self.fun.clone_ref(py)
            }

            fn __getattr__(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
                self.fun.getattr(py, name)
            }
        }
    };
}
pub(crate) use wrapper;

/// A function that returns gradients of another.
#[pyclass(module = "lazulite.core", frozen, weakref)]
struct GradFunction {
    fun: Py<PyAny>,
    argnums: Vec<i64>,
    /// True iff a single number was given, so that the gradient is not in a tuple.
    single: bool,
    argnames: Vec<String>,
    with_value: bool,
}

/// One name or several.
enum Names {
    One(String),
    Many(Vec<String>),
}
extract_one_of!(Names, "a name or a sequence of names": One, Many);

/// One number or several.
enum Numbers {
    One(i64),
    Many(Vec<i64>),
}
extract_one_of!(Numbers, "an integer or a sequence of integers": One, Many);

/// The first item that occurs twice.
fn duplicate<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(i, item)| items[..*i].contains(item)).map(|(_, item)| item)
}

fn differentiated(
    fun: Py<PyAny>,
    argnums: Option<Numbers>,
    argnames: Option<Names>,
    with_value: bool,
) -> Answer<GradFunction> {
    let argnames = match argnames {
        None => Vec::new(),
        Some(Names::One(name)) => vec![name],
        Some(Names::Many(names)) => names,
    };
    let name = if with_value { "value_and_grad" } else { "grad" };
    let (argnums, single) = match argnums {
        None if argnames.is_empty() => (vec![0], true),
        None => (Vec::new(), false),
        Some(Numbers::One(n)) => (vec![n], true),
        Some(Numbers::Many(n)) => {
            let single = n.len() == 1;
            (n, single)
        }
    };
    if argnums.iter().any(|&n| n < 0) {
        let message = "[grad] Can't compute the gradient of negative argument index";
        return Err(value_error(message));
    }
    if let Some(n) = duplicate(&argnums) {
        let message = format!("[{name}] Duplicate argument index {n} is not allowed.");
        return Err(value_error(message));
    }
    if let Some(n) = duplicate(&argnames) {
        let message = format!("[{name}] Duplicate argument name {n} is not allowed.");
        return Err(value_error(message));
    }
    if argnums.is_empty() && argnames.is_empty() {
        let message = format!("[{name}] Gradient wrt no argument requested");
        return Err(value_error(message));
    }
    Ok(GradFunction { fun, argnums, single, argnames, with_value })
}

#[pymethods]
impl GradFunction {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Answer<Py<PyAny>> {
        let py = args.py();
        let fun = self.fun.bind(py);
        let missing =
            |what: String| value_error(format!("[grad] Can't compute the gradient of {what}"));
        let mut primals = Vec::new();
        for &n in &self.argnums {
            let arg = args.get_item(n as usize).map_err(|_| {
                let got = args.len();
                missing(format!(
                    "argument index {n} because the function is called with only {got} positional \
                     arguments."
                ))
            })?;
            primals.extend(trees::flatten_strict(&arg)?);
        }
        let named = |name: &str| -> Answer<Bound<'_, PyAny>> {
            let arg = kwargs.map(|k| k.get_item(name)).transpose()?.flatten();
            arg.ok_or_else(|| {
                missing(format!(
                    "keyword argument {name} because the function is called without it."
                ))
            })
        };
        for name in &self.argnames {
            primals.extend(trees::flatten_strict(&named(name)?)?);
        }

        let mut value = None;
        let (_, gradients) = vjp_arrays(
            |tracers| {
                inside((|| {
                    let mut tracers = tracers.iter().cloned();
                    let mut all: Vec<_> = args.iter().collect();
                    for &n in &self.argnums {
                        all[n as usize] = trees::rebuild(&all[n as usize], &mut tracers)?;
                    }
                    let keywords = kwargs.map(|k| k.copy()).transpose()?;
                    for name in &self.argnames {
                        let tree = trees::rebuild(&named(name)?, &mut tracers)?;
                        if let Some(keywords) = &keywords {
                            keywords.set_item(name, tree)?;
                        }
                    }
                    let result = call(fun, &PyTuple::new(py, all)?, keywords.as_ref())?;
                    let loss = loss_of(&result)?;
                    value = Some(result);
                    Ok(vec![loss])
                })())
            },
            &primals,
            |outputs| Ok(vec![outputs[0].ones_like()?]),
        )?;
        let value = value.ok_or_else(|| value_error("[grad] the function was not called"))?;

        let mut gradients = gradients.into_iter();
        let mut positional = Vec::new();
        for &n in &self.argnums {
            positional.push(trees::rebuild(&args.get_item(n as usize)?, &mut gradients)?);
        }
        let by_name = PyDict::new(py);
        for name in &self.argnames {
            by_name.set_item(name, trees::rebuild(&named(name)?, &mut gradients)?)?;
        }
        let positional = match (positional.len(), self.single) {
            (0, _) => py.None().into_bound(py),
            (_, true) => positional.swap_remove(0),
            _ => PyTuple::new(py, positional)?.into_any(),
        };
        let gradient = match self.argnames.is_empty() {
            true => positional,
            false => (positional, by_name).into_pyobject(py)?.into_any(),
        };
        Ok(match self.with_value {
            false => gradient.unbind(),
            true => (value, gradient).into_pyobject(py)?.into_any().unbind(),
        })
    }
}
wrapper!(GradFunction);

/// The array to differentiate: the function's value, or the first of several.
fn loss_of(result: &Bound<'_, PyAny>) -> Answer<Array> {
    let first = match result.cast::<PyTuple>() {
        Ok(tuple) if !tuple.is_empty() => tuple.get_item(0)?,
        _ => match result.cast::<PyList>() {
            Ok(list) if !list.is_empty() => list.get_item(0)?,
            _ => result.clone(),
        },
    };
    let Ok(array) = first.cast::<PyArray>() else {
        let message = format!(
            "[grad] The return value of the function whose gradient we want to compute should be a \
             scalar array or a tuple that begins with one; but {} was returned.",
            type_name(&first)
        );
        return Err(value_error(message));
    };
    let array = array.get().array();
    if array.ndim() > 0 {
        let shape = lazulite::shape::show(array.shape());
        let message = format!(
            "[grad] the function whose gradient we want to compute must return a 0-d array; it \
             returned one of shape {shape}"
        );
        return Err(value_error(message));
    }
    Ok(array)
}

/// A function that returns the gradient of `fun`.
///
/// `fun` returns a 0-d array, or a tuple or list that begins with one, which is differentiated.
/// `argnums` (an index or several, 0 by default) picks positional arguments and `argnames` (a name
/// or several) keyword arguments; each may be a tree of arrays. The gradient of one index has the
/// form of that argument, that of several is a tuple. With `argnames` the result is a pair: the
/// positional gradients, or None, and a dict by name.
///
/// Shapes: each gradient has that of its argument; the function returns one number.
/// Dtypes: gradients have those of their arguments, floats or complex.
/// Any other result, and an argument that is missing or not an array, raise ValueError.
///
/// >>> mx.grad(lambda x: (x**2).sum())(mx.array([1.0, 2.0]))
/// array([2, 4], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (fun, argnums = None, argnames = None),
    text_signature = "(fun, argnums=None, argnames=[])"
)]
fn grad(fun: Py<PyAny>, argnums: Option<Numbers>, argnames: Option<Names>) -> Answer<GradFunction> {
    differentiated(fun, argnums, argnames, false)
}

/// A function that returns the pair of all that `fun` returns and its gradient.
///
/// The arguments are those of `grad`. Values beside the loss, such as metrics, are returned as they
/// are.
///
/// Shapes: each gradient has that of its argument; the function returns one number.
/// Dtypes: gradients have those of their arguments, floats or complex.
/// Any other result, and an argument that is missing or not an array, raise ValueError.
///
/// >>> mx.value_and_grad(lambda x: (x**2).sum())(mx.array([1.0, 2.0]))
/// (array(5, dtype=float32), array([2, 4], dtype=float32))
#[pyfunction]
#[pyo3(
    signature = (fun, argnums = None, argnames = None),
    text_signature = "(fun, argnums=None, argnames=[])"
)]
fn value_and_grad(
    fun: Py<PyAny>,
    argnums: Option<Numbers>,
    argnames: Option<Names>,
) -> Answer<GradFunction> {
    differentiated(fun, argnums, argnames, true)
}

/// The arrays that a function of arrays returned: one, or a list or tuple of them.
fn outputs_of(result: &Bound<'_, PyAny>) -> Answer<Vec<Array>> {
    trees::flatten_strict(result)
}

fn on_arrays<'py>(fun: &Bound<'py, PyAny>, arrays: &[Array]) -> Answer<Vec<Array>> {
    let py = fun.py();
    let args = arrays.iter().map(|a| new(py, a)).collect::<Answer<Vec<_>>>()?;
    outputs_of(&call(fun, &PyTuple::new(py, args)?, None)?)
}

fn several(arrays: Vec<Arr>) -> Vec<Array> {
    arrays.into_iter().map(|a| a.0).collect()
}

/// The outputs of `fun(*primals)`, and the products of the cotangents with its Jacobian (reverse
/// mode): two lists.
///
/// Shapes: a cotangent for each output, of its shape; the results have those of the primals.
/// Dtypes: those of the outputs and of the primals.
/// Cotangents of other shapes or of another number raise ValueError.
///
/// >>> mx.vjp(mx.sin, [mx.array(0.0)], [mx.array(2.0)])
/// ([array(0, dtype=float32)], [array(2, dtype=float32)])
#[pyfunction]
fn vjp<'py>(
    fun: Bound<'py, PyAny>,
    primals: Vec<Arr>,
    cotangents: Vec<Arr>,
) -> Answer<(Bound<'py, PyList>, Bound<'py, PyList>)> {
    let py = fun.py();
    let cotangents = several(cotangents);
    let (outputs, products) = vjp_arrays(
        |tracers| inside(on_arrays(&fun, tracers)),
        &several(primals),
        |_| Ok(cotangents),
    )?;
    Ok((list(py, outputs)?, list(py, products)?))
}

/// The outputs of `fun(*primals)`, and the products of its Jacobian with the tangents (forward
/// mode): two lists.
///
/// Shapes: a tangent for each primal, of its shape; the results have those of the outputs.
/// Dtypes: those of the primals and of the outputs.
/// Tangents of other shapes or of another number raise ValueError.
///
/// >>> mx.jvp(mx.sin, [mx.array(0.0)], [mx.array(2.0)])
/// ([array(0, dtype=float32)], [array(2, dtype=float32)])
#[pyfunction]
fn jvp<'py>(
    fun: Bound<'py, PyAny>,
    primals: Vec<Arr>,
    tangents: Vec<Arr>,
) -> Answer<(Bound<'py, PyList>, Bound<'py, PyList>)> {
    let py = fun.py();
    let (outputs, products) = jvp_arrays(
        |tracers| inside(on_arrays(&fun, tracers)),
        &several(primals),
        &several(tangents),
    )?;
    Ok((list(py, outputs)?, list(py, products)?))
}

/// A function applied to every example of a batch.
#[pyclass(module = "lazulite.core", frozen, weakref)]
struct VmapFunction {
    fun: Py<PyAny>,
    in_axes: Py<PyAny>,
    out_axes: Py<PyAny>,
}

/// The batch axis of every array of `tree`, where `axes` is a tree that may end early.
fn axes_of(
    axes: &Bound<'_, PyAny>,
    tree: &Bound<'_, PyAny>,
    out: &mut Vec<Option<i64>>,
) -> Answer<()> {
    let mismatch =
        || value_error("[vmap] Additional input tree is not a valid prefix of the first tree.");
    if axes.is_none() || axes.extract::<i64>().is_ok() {
        let axis = axes.extract::<Option<i64>>()?;
        return trees::visit(tree, &mut |_| {
            out.push(axis);
            Ok(())
        });
    }
    if let Ok(axes) = axes.cast::<PyDict>() {
        let tree = tree.cast::<PyDict>().map_err(|_| mismatch())?;
        if axes.len() != tree.len() {
            return Err(mismatch());
        }
        for (key, item) in tree {
            axes_of(&axes.get_item(key)?.ok_or_else(mismatch)?, &item, out)?;
        }
        return Ok(());
    }
    let axes = crate::convert::sequence(axes)?;
    let items = crate::convert::sequence(tree).map_err(|_| mismatch())?;
    if axes.len() != items.len() {
        return Err(mismatch());
    }
    axes.iter().zip(&items).try_for_each(|(axes, item)| axes_of(axes, item, out))
}

#[pymethods]
impl VmapFunction {
    #[pyo3(signature = (*args))]
    fn __call__(&self, args: &Bound<'_, PyTuple>) -> Answer<Py<PyAny>> {
        let py = args.py();
        let inputs = trees::flatten_strict(args)?;
        let mut axes = Vec::with_capacity(inputs.len());
        let in_axes = self.in_axes.bind(py);
        // As in MLX, a dict speaks of the only argument.
        match args.len() {
            1 if in_axes.is_instance_of::<PyDict>() => {
                axes_of(in_axes, &args.get_item(0)?, &mut axes)?;
            }
            _ => axes_of(in_axes, args, &mut axes)?,
        }
        let form = RefCell::new(None);
        let outputs = vmap_arrays(
            |tracers| {
                inside((|| {
                    let args = trees::rebuild(args, &mut tracers.iter().cloned())?;
                    let result = call(self.fun.bind(py), args.cast::<PyTuple>()?, None)?;
                    let arrays = outputs_of(&result)?;
                    form.replace(Some(result));
                    Ok(arrays)
                })())
            },
            &inputs,
            &axes,
            |_| {
                inside((|| {
                    let form = form.borrow();
                    let mut axes = Vec::new();
                    if let Some(form) = &*form {
                        axes_of(self.out_axes.bind(py), form, &mut axes)?;
                    }
                    Ok(axes)
                })())
            },
            |i| format!("array {i} of the arguments"),
        )?;
        let form = form.into_inner().ok_or_else(|| value_error("[vmap] no call was made"))?;
        Ok(trees::rebuild(&form, &mut outputs.into_iter())?.unbind())
    }
}
wrapper!(VmapFunction);

/// An axes argument, where None is a value of its own and not the default.
enum Given {
    Default,
    Tree(Py<PyAny>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Given {
    type Error = PyErr;

    fn extract(obj: Borrowed<'a, 'py, PyAny>) -> PyResult<Given> {
        Ok(Given::Tree(obj.to_owned().unbind()))
    }
}

impl Given {
    fn tree(self, py: Python<'_>) -> Answer<Py<PyAny>> {
        match self {
            Given::Default => Ok(0i64.into_pyobject(py)?.into_any().unbind()),
            Given::Tree(tree) => Ok(tree),
        }
    }
}

/// A function that applies `fun` to every example of a batch; `in_axes` and `out_axes` say where
/// the batch axes are, as trees that may end early, with None for what is the same for all.
///
/// Shapes: the axes of `in_axes` have one size; the outputs have it at `out_axes`.
/// Dtypes: those of `fun`.
/// Different sizes raise ValueError; an axis out of range raises IndexError.
///
/// >>> mx.vmap(lambda row: row.sum())(mx.ones((2, 3)))
/// array([3, 3], dtype=float32)
#[pyfunction]
#[pyo3(
    signature = (fun, in_axes = Given::Default, out_axes = Given::Default),
    text_signature = "(fun, in_axes=0, out_axes=0)"
)]
fn vmap(py: Python<'_>, fun: Py<PyAny>, in_axes: Given, out_axes: Given) -> Answer<VmapFunction> {
    Ok(VmapFunction { fun, in_axes: in_axes.tree(py)?, out_axes: out_axes.tree(py)? })
}

/// A function whose intermediate results are computed again for its derivative.
#[pyclass(module = "lazulite.core", frozen, weakref)]
struct CheckpointFunction {
    fun: Py<PyAny>,
}

#[pymethods]
impl CheckpointFunction {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Answer<Py<PyAny>> {
        let py = args.py();
        let (tree, inputs) = arguments(args, kwargs)?;
        let form = RefCell::new(None);
        let run = transform::checkpoint(|arrays: Vec<Array>| {
            inside((|| {
                let result = call_tree(self.fun.bind(py), &tree, arrays)?;
                let arrays = trees::flatten(&result)?;
                form.replace(Some(result));
                Ok(arrays)
            })())
        });
        let outputs = run(inputs)?;
        drop(run);
        let form = form.into_inner().ok_or_else(|| value_error("[checkpoint] no call was made"))?;
        Ok(trees::rebuild(&form, &mut outputs.into_iter())?.unbind())
    }
}
wrapper!(CheckpointFunction);

/// `(args, kwargs)` as one tree, and its arrays.
pub fn arguments<'py>(
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> Answer<(Bound<'py, PyAny>, Vec<Array>)> {
    let py = args.py();
    let kwargs = kwargs.cloned().unwrap_or_else(|| PyDict::new(py));
    let tree = (args, kwargs).into_pyobject(py)?.into_any();
    let arrays = trees::flatten(&tree)?;
    Ok((tree, arrays))
}

/// Calls `fun` with a tree of [`arguments`] that has other arrays.
pub fn call_tree<'py>(
    fun: &Bound<'py, PyAny>,
    tree: &Bound<'py, PyAny>,
    arrays: Vec<Array>,
) -> Answer<Bound<'py, PyAny>> {
    let tree = trees::rebuild(tree, &mut arrays.into_iter())?;
    let (args, kwargs) = (tree.get_item(0)?, tree.get_item(1)?);
    call(fun, args.cast::<PyTuple>()?, Some(kwargs.cast::<PyDict>()?))
}

/// `fun`, whose intermediate results are computed again for its derivative instead of being kept:
/// less memory for more arithmetic.
///
/// Shapes: those of `fun`.
/// Dtypes: those of `fun`.
/// Exceptions of `fun` are passed on; a `fun` that cannot be called raises TypeError when called.
///
/// >>> mx.grad(mx.checkpoint(lambda x: mx.exp(x).sum()))(mx.zeros(2))
/// array([1, 1], dtype=float32)
#[pyfunction]
fn checkpoint(fun: Py<PyAny>) -> CheckpointFunction {
    CheckpointFunction { fun }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<GradFunction>()?;
    m.add_class::<VmapFunction>()?;
    m.add_class::<CheckpointFunction>()?;
    m.add_class::<custom::CustomFunction>()?;
    add_functions!(
        m,
        eval,
        async_eval,
        export_to_dot,
        grad,
        value_and_grad,
        vjp,
        jvp,
        vmap,
        checkpoint
    );
    Ok(())
}

/// Adds the class that all transformed functions are of, under the name that programs ask for.
pub fn register_class_of_all(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    let members = PyDict::new(py);
    members.set_item("__module__", "lazulite.core")?;
    members.set_item("__doc__", "A function that a transform made of another.")?;
    let args = ("_gc_func", PyTuple::empty(py), members);
    let class = py.import("abc")?.getattr("ABCMeta")?.call1(args)?;
    let compiled = m.getattr("CompiledFunction")?;
    let own = [
        py.get_type::<GradFunction>(),
        py.get_type::<VmapFunction>(),
        py.get_type::<CheckpointFunction>(),
    ];
    for made in own.into_iter().map(Bound::into_any).chain([compiled]) {
        class.call_method1("register", (made,))?;
    }
    m.add("_gc_func", class)
}
