//! `compile`: a user's function is traced once for arguments of some form, and later calls replay
//! the trace.
//!
//! A trace is used again only while everything that it was made from is the same: the form of the
//! arguments and of the `inputs` tree, constants, the stream, and what `reach` finds behind the
//! function. Where an array there was replaced or written to since, or a module changed, the
//! function is traced again, so that a result is never stale.

use crate::array::PyArray;
use crate::convert::type_name;
use crate::dtype::PyDtype;
use crate::errors::{Answer, raised, value_error};
use crate::functions::add_functions;
use crate::random::RandomState;
use crate::reach::{Globals, Reach, Reached};
use crate::transforms::{arguments, call_tree, wrapper};
use crate::trees;
use lazulite::device::current_stream;
use lazulite::op::{Aval, random};
use lazulite::transform::{Traced, trace};
use lazulite::{Array, Stream};
use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyModule, PyString, PyTuple};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

static DISABLED: AtomicBool = AtomicBool::new(false);

/// Held while a function is traced, and while one reads and replaces its `inputs` and `outputs`: a trace
/// puts blank arrays into the user's objects, which no other thread may take for values.
static TURN: ReentrantMutex<()> = ReentrantMutex::new(());

/// Waits for [`TURN`]. Other threads run Python code meanwhile: the one that holds it may have to.
fn turn(py: Python<'_>) -> ReentrantMutexGuard<'static, ()> {
    loop {
        if let Some(guard) = TURN.try_lock() {
            return guard;
        }
        py.detach(|| drop(TURN.lock()));
    }
}

/// Traces kept for one function; beyond it the oldest goes.
const MOST_TRACES: usize = 128;

/// Traces kept for one form of the arguments, made in different states of what the function reaches.
const MOST_STATES: usize = 4;

/// A function and its traces.
#[pyclass(module = "lazulite.core", frozen, weakref)]
struct CompiledFunction {
    fun: Py<PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
    shapeless: bool,
    entries: Mutex<Vec<Arc<Entry>>>,
    globals: Mutex<Globals>,
}

/// A trace and what it is good for.
struct Entry {
    form: Vec<Part>,
    stream: Stream,
    /// What the function could reach when it was traced.
    reached: Reached,
    traced: Traced,
    /// The function's result with blank arrays, and how many there are.
    result: Py<PyAny>,
    results: usize,
    /// True iff the function drew random numbers, so that the last output is the next key.
    draws: bool,
}

/// One piece of the form of a tree of arguments.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    List(usize),
    Tuple(usize),
    Dict(usize),
    Array(Aval),
    Rank(usize, lazulite::Dtype),
    None,
    Bool(bool),
    Int(i64),
    BigInt(String),
    Float(u64),
    Text(String),
    Dtype(lazulite::Dtype),
}

/// Appends the form of a tree, and its arrays. Leaves that are neither arrays nor constants are an
/// error if `strict`, and left out otherwise.
fn describe(
    tree: &Bound<'_, PyAny>,
    strict: bool,
    shapeless: bool,
    form: &mut Vec<Part>,
    arrays: &mut Vec<Array>,
) -> Answer<()> {
    let _level = trees::Level::enter()?;
    if let Ok(array) = tree.cast::<PyArray>() {
        let array = array.get().array();
        form.push(match shapeless {
            true => Part::Rank(array.ndim(), array.dtype()),
            false => Part::Array(Aval::new(array.shape(), array.dtype())),
        });
        arrays.push(array);
    } else if let Ok(list) = tree.cast::<PyList>() {
        form.push(Part::List(list.len()));
        list.iter().try_for_each(|item| describe(&item, strict, shapeless, form, arrays))?;
    } else if let Ok(tuple) = tree.cast::<PyTuple>() {
        form.push(Part::Tuple(tuple.len()));
        tuple.iter().try_for_each(|item| describe(&item, strict, shapeless, form, arrays))?;
    } else if let Ok(dict) = tree.cast::<PyDict>() {
        form.push(Part::Dict(dict.len()));
        for (key, item) in trees::settled(dict)? {
            describe(&key, strict, shapeless, form, arrays)?;
            describe(&item, strict, shapeless, form, arrays)?;
        }
    } else if tree.is_instance_of::<RandomState>() {
        // The key is an input of every trace anyway.
        form.push(Part::List(1));
        describe(&tree.get_item(0)?, strict, shapeless, form, arrays)?;
    } else if tree.is_none() {
        form.push(Part::None);
    } else if let Ok(b) = tree.cast::<PyBool>() {
        form.push(Part::Bool(b.is_true()));
    } else if tree.is_instance_of::<PyInt>() {
        form.push(match tree.extract::<i64>() {
            Ok(i) => Part::Int(i),
            Err(_) => Part::BigInt(tree.str()?.to_string()),
        });
    } else if let Ok(x) = tree.cast::<PyFloat>() {
        form.push(Part::Float(x.value().to_bits()));
    } else if let Ok(text) = tree.cast::<PyString>() {
        form.push(Part::Text(text.to_string()));
    } else if let Ok(dtype) = tree.extract::<PyDtype>() {
        form.push(Part::Dtype(dtype.0));
    } else if strict {
        return Err(value_error(format!(
            "[compile] Function arguments must be trees of arrays or constants (floats, ints, \
             strings, or None), but received type {}.",
            type_name(tree)
        )));
    }
    Ok(())
}

impl CompiledFunction {
    fn reach(&self, py: Python<'_>) -> Answer<Reached> {
        // The walk runs code of the program's own, which may come back here: no lock is held.
        let mut globals = std::mem::take(&mut *self.globals.lock());
        let given = [&self.inputs, &self.outputs];
        let reached = Reach::of(self.fun.bind(py), given, &mut globals);
        *self.globals.lock() = globals;
        reached
    }

    /// A trace that is good for arguments of this form. Those that hold arrays which the function
    /// would not see any more are dropped.
    fn find(&self, py: Python<'_>, form: &[Part], stream: Stream) -> Answer<Option<Arc<Entry>>> {
        let fits = |e: &Arc<Entry>| e.stream == stream && e.form == form;
        let known: Vec<Arc<Entry>> =
            self.entries.lock().iter().filter(|e| fits(e)).cloned().collect();
        if known.is_empty() {
            return Ok(None);
        }
        let now = self.reach(py)?;
        if let Some(entry) = known.iter().find(|e| e.reached.is_current(&now)) {
            return Ok(Some(entry.clone()));
        }
        // What differs in other ways, like the mode of a module, often changes back.
        let newest = known.len().saturating_sub(MOST_STATES - 1);
        let keep = |i: usize, e: &Arc<Entry>| i >= newest && e.reached.same_arrays(&now);
        let stale: Vec<&Arc<Entry>> =
            known.iter().enumerate().filter(|(i, e)| !keep(*i, e)).map(|(_, e)| e).collect();
        // What goes may run the user's code, which must find the list free: `known` holds it on.
        self.entries.lock().retain(|e| !stale.iter().any(|s| Arc::ptr_eq(s, e)));
        Ok(None)
    }

    fn trace(
        &self,
        py: Python<'_>,
        tree: &Bound<'_, PyAny>,
        form: Vec<Part>,
        arrays: &[Array],
        arguments: usize,
    ) -> Answer<Arc<Entry>> {
        let start = Instant::now();
        let before = self.reach(py)?;
        let avals: Vec<Aval> = arrays.iter().map(|a| Aval::new(a.shape(), a.dtype())).collect();
        let key = random::state()?;
        let inputs = self.inputs.as_ref().map(|t| t.bind(py));
        let outputs = self.outputs.as_ref().map(|t| t.bind(py));
        // The objects that hold the inputs, to be put back afterwards.
        let mut holders: Vec<Bound<'_, PyAny>> = Vec::new();
        if let Some(inputs) = inputs {
            trees::visit(inputs, &mut |leaf| {
                if leaf.is_instance_of::<PyArray>() {
                    holders.push(leaf.clone());
                }
                Ok(())
            })?;
        }
        let mut tracers: Vec<Array> = Vec::new();
        let mut result = None;
        let mut results = 0;
        let mut draws = false;
        let mut run = |placeholders: &[Array]| -> Answer<Vec<Array>> {
            tracers = placeholders.to_vec();
            let (own, rest) = placeholders.split_at(arguments);
            let (state, key) = rest.split_at(rest.len() - 1);
            if let Some(inputs) = inputs {
                let mut next = state.iter();
                trees::fill(inputs, &mut |leaf| {
                    let tracer = PyArray::from(next.next()?.clone());
                    Bound::new(leaf.py(), tracer).ok().map(Bound::into_any)
                })?;
            }
            random::set_state(key[0].clone());
            let value = call_tree(self.fun.bind(py), tree, own.to_vec())?;
            let mut made = trees::flatten(&value)?;
            results = made.len();
            let mut blanks = std::iter::repeat_with(|| Array::scalar(false));
            result = Some(trees::rebuild(&value, &mut blanks)?.unbind());
            if let Some(outputs) = outputs {
                made.extend(trees::flatten(outputs)?);
            }
            let next = random::state()?;
            draws = !next.same(&key[0]);
            made.push(next);
            Ok(made)
        };
        let traced =
            trace(&avals, self.shapeless, |placeholders| run(placeholders).map_err(raised));
        random::set_state(key);
        if let Some(inputs) = inputs {
            trees::fill(inputs, &mut |leaf| {
                let array = leaf.get().array();
                let place = tracers.iter().position(|t| t.same(&array))?;
                holders.get(place.checked_sub(arguments)?).cloned()
            })?;
        }
        let traced = traced?;
        // A scalar is part of the plan and not among the captured arrays: look in any case.
        let reached = self.reach(py)?.after(&before);
        let result = result.ok_or_else(|| value_error("[compile] the function was not called"))?;
        let stream = current_stream();
        let entry = Arc::new(Entry { form, stream, reached, traced, result, results, draws });
        let mut entries = self.entries.lock();
        let function = std::ptr::from_ref(self).addr() as u64;
        lazulite::observe::traced(start, function, entries.len());
        let oldest = (entries.len() >= MOST_TRACES).then(|| entries.remove(0));
        entries.push(entry.clone());
        drop(entries);
        drop(oldest);
        Ok(entry)
    }
}

#[pymethods]
impl CompiledFunction {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> Answer<Py<PyAny>> {
        let py = args.py();
        if DISABLED.load(Ordering::Relaxed) {
            return Ok(self.fun.bind(py).call(args, kwargs)?.unbind());
        }
        let (tree, _) = arguments(args, kwargs)?;
        let (mut form, mut arrays) = (Vec::new(), Vec::new());
        describe(&tree, true, self.shapeless, &mut form, &mut arrays)?;
        let arguments = arrays.len();
        let _turn = (self.inputs.is_some() || self.outputs.is_some()).then(|| turn(py));
        if let Some(inputs) = &self.inputs {
            describe(inputs.bind(py), false, self.shapeless, &mut form, &mut arrays)?;
        }
        arrays.push(random::state()?);
        let entry = match self.find(py, &form, current_stream())? {
            Some(entry) => entry,
            None => {
                let _turn = turn(py);
                // Another thread may have traced it while this one waited.
                match self.find(py, &form, current_stream())? {
                    Some(entry) => entry,
                    None => self.trace(py, &tree, form, &arrays, arguments)?,
                }
            }
        };
        let mut made = entry.traced.call(&arrays)?.into_iter();
        let own: Vec<Array> = made.by_ref().take(entry.results).collect();
        let result = trees::rebuild(entry.result.bind(py), &mut own.into_iter())?;
        let key = made.next_back();
        if let Some(outputs) = &self.outputs {
            trees::fill(outputs.bind(py), &mut |leaf| {
                let array = PyArray::from(made.next()?);
                Bound::new(leaf.py(), array).ok().map(Bound::into_any)
            })?;
        }
        if entry.draws
            && let Some(key) = key
        {
            random::set_state(key);
        }
        Ok(result.unbind())
    }
}
wrapper!(CompiledFunction);

/// A compiled version of `fun`: traced once for each form, shape and dtype of its arguments, and
/// replayed afterwards.
///
/// `fun` takes and returns trees of arrays; its other arguments are constants, for each of which it
/// is traced. While it is traced its arrays have no values, so `item()` and `print` do not work
/// inside, and side effects happen only then. `inputs` and `outputs` are trees (lists, dicts, a
/// module's `state`) whose arrays the function reads and replaces. With `shapeless` one trace
/// serves arguments of all sizes.
///
/// Shapes: those of `fun`; each form of arguments is traced once.
/// Dtypes: those of `fun`.
/// An argument that is neither a tree of arrays nor a constant raises ValueError.
///
/// >>> mx.compile(lambda x: x * mx.sigmoid(x))(mx.array([0.0, 2.0]))
/// array([0, 1.76159], dtype=float32)
#[pyfunction]
#[pyo3(signature = (fun, inputs = None, outputs = None, shapeless = false))]
fn compile(
    fun: &Bound<'_, PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
    shapeless: bool,
) -> CompiledFunction {
    // A compiled function is compiled already: a trace of its trace would look behind both.
    let fun = match fun.cast::<CompiledFunction>().map(Bound::get) {
        Ok(f) if f.inputs.is_none() && f.outputs.is_none() && f.shapeless == shapeless => &f.fun,
        _ => fun.as_unbound(),
    }
    .clone_ref(fun.py());
    CompiledFunction {
        fun,
        inputs,
        outputs,
        shapeless,
        entries: Mutex::default(),
        globals: Mutex::default(),
    }
}

/// Makes compiled functions run as they are written, from now on.
///
/// >>> mx.disable_compile()
/// >>> mx.compile(lambda x: x + 1)(mx.array(1))
/// array(2, dtype=int32)
/// >>> mx.enable_compile()
#[pyfunction]
fn disable_compile() {
    DISABLED.store(true, Ordering::Relaxed);
}

/// Makes compiled functions use their traces again.
///
/// >>> mx.enable_compile()
#[pyfunction]
fn enable_compile() {
    DISABLED.store(false, Ordering::Relaxed);
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<CompiledFunction>()?;
    if std::env::var_os("MLX_DISABLE_COMPILE").is_some() {
        disable_compile();
    }
    add_functions!(m, compile, disable_compile, enable_compile);
    Ok(())
}
