//! Functions in files: `export_function`, `exporter` and `import_function`.

use crate::array::PyArray;
use crate::dtype::PyDtype;
use crate::errors::{Answer, Fault, raised, value_error};
use crate::functions::add_functions;
use lazulite::Array;
use lazulite::export::{Exporter, Imported};
use lazulite::op::Primitive;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::path::PathBuf;

/// Arrays with names.
type Named = Vec<(String, Array)>;

/// The arrays of a call: given one by one, or as one tuple or list and one dictionary.
fn inputs(
    function: &str,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> Answer<(Vec<Array>, Named)> {
    let refused = || {
        value_error(format!(
            "[{function}] Inputs can either be a variable number of positional and keyword arrays \
             or a single tuple and/or dictionary of arrays."
        ))
    };
    let array = |x: &Bound<'_, PyAny>| -> Answer<Array> {
        x.cast::<PyArray>().map(|x| x.get().array()).map_err(|_| refused())
    };
    let listed =
        |x: &Bound<'_, PyAny>| x.is_instance_of::<PyTuple>() || x.is_instance_of::<PyList>();
    let (mut given, mut named) = (Vec::new(), kwargs.filter(|k| !k.is_empty()).cloned());
    let mut rest: Vec<Bound<'_, PyAny>> = args.iter().collect();
    if let Some(last) = rest.last()
        && let Ok(dict) = last.cast::<PyDict>()
    {
        if named.is_some() {
            return Err(refused());
        }
        named = Some(dict.clone());
        rest.pop();
        if rest.len() > 1 || rest.first().is_some_and(|x| !listed(x)) {
            return Err(refused());
        }
    }
    match &rest[..] {
        [only] if listed(only) => {
            for item in only.try_iter()? {
                given.push(array(&item?)?);
            }
        }
        several => {
            for item in several {
                given.push(array(item)?);
            }
        }
    }
    let mut arrays = Named::new();
    for (name, x) in named.into_iter().flatten() {
        arrays.push((name.extract().map_err(|_| refused())?, array(&x)?));
    }
    arrays.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((given, arrays))
}

fn borrowed(named: &Named) -> Vec<(&str, Array)> {
    named.iter().map(|(name, x)| (name.as_str(), x.clone())).collect()
}

/// Records `fun` for these arrays.
fn record(
    exporter: &mut Exporter,
    fun: &Bound<'_, PyAny>,
    given: &[Array],
    named: &Named,
) -> Answer<()> {
    let call = |arrays: &[Array]| -> Answer<Vec<Array>> {
        let py = fun.py();
        let mut arrays = arrays.iter().cloned().map(PyArray::from);
        let args: Vec<PyArray> = arrays.by_ref().take(given.len()).collect();
        let kwargs = PyDict::new(py);
        for ((name, _), x) in named.iter().zip(arrays) {
            kwargs.set_item(name, x)?;
        }
        let result = fun.call(PyTuple::new(py, args)?, Some(&kwargs))?;
        outputs(&result)
    };
    Ok(exporter.trace(given, &borrowed(named), |arrays| call(arrays).map_err(raised))?)
}

/// The arrays that a function returned: one, or a tuple or list of them.
fn outputs(result: &Bound<'_, PyAny>) -> Answer<Vec<Array>> {
    let array = |x: &Bound<'_, PyAny>| -> Answer<Array> {
        x.cast::<PyArray>().map(|x| x.get().array()).map_err(|_| {
            value_error(
                "[export_function] Outputs can be either a single array, a tuple, or a list of \
                 arrays.",
            )
        })
    };
    if result.is_instance_of::<PyTuple>() || result.is_instance_of::<PyList>() {
        return result.try_iter()?.map(|x| array(&x?)).collect();
    }
    Ok(vec![array(result)?])
}

fn closed() -> Fault {
    PyRuntimeError::new_err("[export_function] Attempting to write after exporting is closed.")
        .into()
}

/// Writes `fun`, recorded for the example arrays, to a file, or tells a callback of its parts.
///
/// The arrays are given as `fun` takes them, or as one tuple and one dictionary; `fun` returns one
/// array, or a tuple or list of them. Other arrays that it uses are constants in the file. With
/// `shapeless` the function can be called with arrays of other sizes. Functions with transforms of
/// their own are stored as what they compute.
///
/// A callback gets dictionaries with the key `type`, which is `inputs`, `keyword_inputs`,
/// `outputs`, `constants`, or, for each operation in order, `primitive`.
///
/// Raises ValueError if an argument or a result is not an array, and RuntimeError if the file
/// cannot be written.
///
/// Shapes: those of the arrays with which it is recorded; any sizes if `shapeless`.
/// Dtypes: those of the arrays with which it is recorded.
/// A function that cannot be recorded raises ValueError; a file that cannot be written raises
/// RuntimeError.
///
/// >>> mx.export_function("f.lazulite", lambda x, y: mx.exp(x) + y, mx.zeros(3), y=mx.ones(3))
/// >>> mx.import_function("f.lazulite")(mx.zeros(3), y=mx.zeros(3))
/// (array([1, 1, 1], dtype=float32),)
#[pyfunction]
#[pyo3(signature = (file_or_callback, fun, *args, shapeless = false, metadata = None, **kwargs))]
fn export_function(
    file_or_callback: &Bound<'_, PyAny>,
    fun: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    shapeless: bool,
    metadata: Option<String>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> Answer<()> {
    let (given, named) = inputs("export_function", args, kwargs)?;
    let callback = file_or_callback.is_callable();
    if callback && metadata.is_some() {
        let message = "[export_function] Metadata is not supported when exporting with a callback.";
        return Err(value_error(message));
    }
    let mut exporter = Exporter::new(shapeless, metadata);
    record(&mut exporter, fun, &given, &named)?;
    if callback {
        return tell(file_or_callback, &exporter);
    }
    let path: PathBuf = file_or_callback.extract()?;
    Ok(fun.py().detach(|| exporter.save(path))?)
}

/// `A` to `Z`, then `AA` and so on.
fn letters(mut slot: usize) -> String {
    let mut name = Vec::new();
    loop {
        name.push(b'A' + (slot % 26) as u8);
        slot /= 26;
        if slot == 0 {
            break;
        }
        slot -= 1;
    }
    name.iter().rev().map(|&letter| char::from(letter)).collect()
}

/// The op's name, and its parameters without theirs.
fn told<'py>(
    json: &Bound<'py, PyModule>,
    op: &Primitive,
) -> Answer<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let text = serde_json::to_string(op).map_err(|e| value_error(e.to_string()))?;
    let stored = json.call_method1(intern!(json.py(), "loads"), (text,))?;
    let (name, params) = stored.cast::<PyDict>()?.iter().next().ok_or_else(closed)?;
    if params.is_none() {
        return Ok((name, PyList::empty(json.py()).into_any()));
    }
    if let Ok(params) = params.cast::<PyDict>() {
        return Ok((name, params.values().into_any()));
    }
    let none = PyList::empty(json.py()).into_any();
    // An op of the table is told by its own name.
    if matches!(op, Primitive::Unary(_) | Primitive::Binary(_)) {
        return Ok((params, none));
    }
    Ok((name, PyList::new(json.py(), [params])?.into_any()))
}

/// Calls the callback with each part of the recording.
fn tell(callback: &Bound<'_, PyAny>, exporter: &Exporter) -> Answer<()> {
    let py = callback.py();
    let json = py.import("json")?;
    let say = |kind: &str, entries: &[(&str, Bound<'_, PyAny>)]| -> Answer<()> {
        let message = PyDict::new(py);
        message.set_item("type", kind)?;
        for (key, value) in entries {
            message.set_item(key, value)?;
        }
        callback.call1((message,))?;
        Ok(())
    };
    for (names, traced) in exporter.traces() {
        let parts = |slots: &mut dyn Iterator<Item = u32>| -> Answer<Bound<'_, PyAny>> {
            let parts = slots
                .map(|slot| {
                    let aval = traced.aval(slot);
                    let shape = PyTuple::new(py, aval.shape.iter())?;
                    let dtype = PyDtype(aval.dtype);
                    Ok((letters(slot as usize), shape, dtype).into_pyobject(py)?.into_any())
                })
                .collect::<Answer<Vec<_>>>()?;
            Ok(PyList::new(py, parts)?.into_any())
        };
        let given = traced.inputs().len();
        say("inputs", &[("inputs", parts(&mut (0..given as u32))?)])?;
        let keywords: Vec<(&String, String)> = (names.iter().enumerate())
            .map(|(i, name)| (name, letters(given - names.len() + i)))
            .collect();
        say("keyword_inputs", &[("keywords", keywords.into_pyobject(py)?.into_any())])?;
        let outputs = &mut traced.outputs().iter().copied();
        say("outputs", &[("outputs", parts(outputs)?)])?;
        let constants: Vec<(String, PyArray)> = (traced.captured().iter().enumerate())
            .map(|(i, x)| (letters(given + i), PyArray::from(x.clone())))
            .collect();
        say("constants", &[("constants", constants.into_pyobject(py)?.into_any())])?;
        for step in traced.steps() {
            let (name, arguments) = told(&json, &step.op)?;
            let inputs = parts(&mut step.inputs.iter().copied())?;
            let outputs = parts(&mut (step.first..step.first + step.count))?;
            let entries = [
                ("name", name),
                ("inputs", inputs),
                ("outputs", outputs),
                ("arguments", arguments),
            ];
            say("primitive", &entries)?;
        }
    }
    Ok(())
}

/// Recordings of a function for several forms of its arguments, on their way to a file. It is made
/// by `exporter`, called with example arrays, and writes the file when it is closed, which the end
/// of a `with` block does.
#[pyclass(module = "lazulite.core", frozen, weakref)]
struct FunctionExporter {
    fun: Py<PyAny>,
    path: PathBuf,
    /// Nothing once it is closed.
    state: Mutex<Option<Exporter>>,
}

#[pymethods]
impl FunctionExporter {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.fun)
    }

    /// Records the function for these arrays.
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Answer<()> {
        let (given, named) = inputs("export_function", args, kwargs)?;
        // The function may use the exporter itself, which is not locked while it runs.
        let mut exporter = self.state.lock().clone().ok_or_else(closed)?;
        let before = exporter.traces().count();
        record(&mut exporter, self.fun.bind(args.py()), &given, &named)?;
        let mut state = self.state.lock();
        match &*state {
            Some(now) if now.traces().count() == before => *state = Some(exporter),
            _ => return Err(closed()),
        }
        Ok(())
    }

    /// Writes the file, after which nothing more can be recorded.
    fn close(&self, py: Python<'_>) -> Answer<()> {
        let Some(exporter) = self.state.lock().take() else { return Ok(()) };
        Ok(py.detach(|| exporter.save(&self.path))?)
    }

    fn __enter__(slf: Py<FunctionExporter>) -> Py<FunctionExporter> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) -> Answer<()> {
        self.close(py)
    }
}

/// An object that records a function for several forms of its arguments, and writes all to one
/// file.
///
/// It is called with example arrays as `export_function` is, and used in a `with` block, at whose
/// end the file is written.
///
/// Shapes: those of the arrays with which it is recorded; any sizes if `shapeless`.
/// Dtypes: those of the arrays with which it is recorded.
/// A function that cannot be recorded raises ValueError; a file that cannot be written raises
/// RuntimeError.
///
/// >>> with mx.exporter("f.lazulite", lambda *xs: sum(xs)) as exporter:
/// ...     exporter(mx.array(1))
/// ...     exporter(mx.array(1), mx.array(2))
/// >>> f = mx.import_function("f.lazulite")
/// >>> f(mx.array(3)), f(mx.array(3), mx.array(4))
/// ((array(3, dtype=int32),), (array(7, dtype=int32),))
#[pyfunction]
#[pyo3(signature = (file, fun, *, shapeless = false, metadata = None))]
fn exporter(
    file: PathBuf,
    fun: Py<PyAny>,
    shapeless: bool,
    metadata: Option<String>,
) -> FunctionExporter {
    let state = Exporter::new(shapeless, metadata);
    FunctionExporter { fun, path: file, state: Mutex::new(Some(state)) }
}

/// A function that was read from a file.
#[pyclass(module = "lazulite.core", frozen, weakref)]
struct ImportedFunction(Imported);

#[pymethods]
impl ImportedFunction {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> Answer<Bound<'py, PyTuple>> {
        let (given, named) = inputs("import_function::call", args, kwargs)?;
        let outputs = self.0.call(&given, &borrowed(&named))?;
        Ok(PyTuple::new(args.py(), outputs.into_iter().map(PyArray::from))?)
    }
}

/// The function in a file that `export_function` or an `exporter` wrote; with `return_metadata`
/// also the text that was saved with it.
///
/// The function takes arrays as it was recorded for, one by one or as one tuple and one
/// dictionary, and returns a tuple of arrays. It can be differentiated, batched and compiled.
///
/// Raises RuntimeError if the file cannot be read or is damaged; the function raises ValueError if
/// nothing was recorded for arrays of such shapes and dtypes.
///
/// Shapes: those that were recorded.
/// Dtypes: those that were recorded.
/// A file that is missing or damaged raises RuntimeError; a call that was not recorded raises
/// ValueError.
///
/// >>> mx.export_function("f.lazulite", mx.sin, mx.zeros(2), shapeless=True, metadata="a sine")
/// >>> f, text = mx.import_function("f.lazulite", return_metadata=True)
/// >>> mx.grad(lambda x: f(x)[0].sum())(mx.zeros(3)), text
/// (array([1, 1, 1], dtype=float32), 'a sine')
#[pyfunction]
#[pyo3(signature = (file, return_metadata = false))]
fn import_function(py: Python<'_>, file: PathBuf, return_metadata: bool) -> Answer<Py<PyAny>> {
    let imported = Imported::open(file)?;
    let metadata = imported.metadata().to_owned();
    let function = Bound::new(py, ImportedFunction(imported))?.into_any();
    Ok(match return_metadata {
        true => (function, metadata).into_pyobject(py)?.into_any().unbind(),
        false => function.unbind(),
    })
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<FunctionExporter>()?;
    m.add_class::<ImportedFunction>()?;
    add_functions!(m, export_function, exporter, import_function);
    Ok(())
}
