//! `compile`: a user's function is traced once for arguments of some form, and later calls replay
//! the trace.
//!
//! A trace is used again only while everything that it was made from is the same: the form of the
//! arguments and of the `inputs` tree, constants, the stream, and every array that the function
//! can reach through its closure, its globals or `self`. Where one of those arrays was replaced or
//! written to since, the function is traced again, so that a result is never stale.

use crate::array::PyArray;
use crate::convert::type_name;
use crate::dtype::PyDtype;
use crate::errors::{Answer, raised, value_error};
use crate::functions::add_functions;
use crate::random::RandomState;
use crate::transforms::{arguments, call_tree, wrapper};
use crate::trees;
use lazulite::device::current_stream;
use lazulite::op::{Aval, random};
use lazulite::transform::{Traced, trace};
use lazulite::{Array, Stream};
use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyModule, PyString, PyTuple, PyType};
use std::collections::HashSet;
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

/// A function and its traces.
#[pyclass(module = "lazulite.core", frozen, weakref)]
struct CompiledFunction {
    fun: Py<PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
    shapeless: bool,
    entries: Mutex<Vec<Arc<Entry>>>,
}

/// A trace and what it is good for.
struct Entry {
    form: Vec<Part>,
    stream: Stream,
    /// The arrays that the function could reach when it was traced.
    reached: Vec<Array>,
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

/// The arrays that a function can reach without being given them.
#[derive(Default)]
struct Reach {
    seen: HashSet<usize>,
    /// Objects that are inputs or outputs of the function.
    given: HashSet<usize>,
    arrays: Vec<Array>,
}

impl Reach {
    /// Beyond this depth nothing is looked at: user programs nest their state less deeply.
    const DEPTH: usize = 24;

    fn exclude(&mut self, tree: &Option<Py<PyAny>>, py: Python<'_>) -> Answer<()> {
        let Some(tree) = tree else { return Ok(()) };
        trees::visit(tree.bind(py), &mut |leaf| {
            self.given.insert(leaf.as_ptr().addr());
            Ok(())
        })
    }

    fn follow(&mut self, obj: &Bound<'_, PyAny>, depth: usize) -> Answer<()> {
        let py = obj.py();
        if let Ok(array) = obj.cast::<PyArray>() {
            if !self.given.contains(&obj.as_ptr().addr()) {
                self.arrays.push(array.get().array());
            }
            return Ok(());
        }
        let plain = obj.is_none()
            || obj.is_instance_of::<PyModule>()
            || obj.is_instance_of::<PyType>()
            || obj.is_instance_of::<PyString>()
            || obj.is_instance_of::<PyInt>()
            || obj.is_instance_of::<PyFloat>();
        if plain || depth > Reach::DEPTH || !self.seen.insert(obj.as_ptr().addr()) {
            return Ok(());
        }
        if let Ok(list) = obj.cast::<PyList>() {
            return list.iter().try_for_each(|item| self.follow(&item, depth + 1));
        }
        if let Ok(tuple) = obj.cast::<PyTuple>() {
            return tuple.iter().try_for_each(|item| self.follow(&item, depth + 1));
        }
        if let Ok(dict) = obj.cast::<PyDict>() {
            // Modules are dictionaries, and have no more than those and their members: to ask them
            // for what functions have would go through their own `__getattr__` each time.
            let mut items = trees::settled(dict)?.into_iter();
            items.try_for_each(|(_, item)| self.follow(&item, depth + 1))?;
        } else if self.callable(obj, depth)? {
            return Ok(());
        }
        if let Some(members) = obj.getattr_opt(intern!(py, "__dict__")).ok().flatten()
            && members.is_instance_of::<PyDict>()
        {
            self.follow(&members, depth + 1)?;
        }
        Ok(())
    }

    /// Follows what is behind a function, a method, or a partial application; true if it is one
    /// with code of its own.
    fn callable(&mut self, obj: &Bound<'_, PyAny>, depth: usize) -> Answer<bool> {
        let py = obj.py();
        if let Some(code) = obj.getattr_opt(intern!(py, "__code__")).ok().flatten() {
            self.function(obj, &code, depth)?;
            return Ok(true);
        }
        for name in [intern!(py, "__self__"), intern!(py, "__func__"), intern!(py, "__wrapped__")] {
            if let Some(inner) = obj.getattr_opt(name).ok().flatten() {
                self.follow(&inner, depth + 1)?;
            }
        }
        if obj.get_type().name()?.eq("partial") {
            for name in [intern!(py, "func"), intern!(py, "args"), intern!(py, "keywords")] {
                if let Some(inner) = obj.getattr_opt(name).ok().flatten() {
                    self.follow(&inner, depth + 1)?;
                }
            }
        }
        Ok(false)
    }

    fn function(
        &mut self,
        function: &Bound<'_, PyAny>,
        code: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Answer<()> {
        let py = function.py();
        for name in [intern!(py, "__defaults__"), intern!(py, "__kwdefaults__")] {
            if let Ok(values) = function.getattr(name) {
                self.follow(&values, depth + 1)?;
            }
        }
        if let Ok(cells) = function.getattr(intern!(py, "__closure__"))
            && let Ok(cells) = cells.cast::<PyTuple>()
        {
            for cell in cells {
                // A cell that is not filled yet raises.
                if let Ok(value) = cell.getattr(intern!(py, "cell_contents")) {
                    self.follow(&value, depth + 1)?;
                }
            }
        }
        if let Ok(globals) = function.getattr(intern!(py, "__globals__"))
            && let Ok(globals) = globals.cast::<PyDict>()
        {
            self.names(globals, code, depth)?;
        }
        // A bound method passes on the code of its function.
        for name in [intern!(py, "__self__"), intern!(py, "__wrapped__")] {
            if let Ok(inner) = function.getattr(name) {
                self.follow(&inner, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Follows the globals that the code, or the functions inside it, name.
    fn names(
        &mut self,
        globals: &Bound<'_, PyDict>,
        code: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Answer<()> {
        let py = code.py();
        let names = code.getattr(intern!(py, "co_names"))?;
        for name in names.cast::<PyTuple>()? {
            if let Some(value) = globals.get_item(name)? {
                self.follow(&value, depth + 1)?;
            }
        }
        let constants = code.getattr(intern!(py, "co_consts"))?;
        for constant in constants.cast::<PyTuple>()? {
            if constant.hasattr(intern!(py, "co_names"))? {
                self.names(globals, &constant, depth)?;
            }
        }
        Ok(())
    }
}

impl CompiledFunction {
    fn reach(&self, py: Python<'_>) -> Answer<Vec<Array>> {
        let mut reach = Reach::default();
        reach.exclude(&self.inputs, py)?;
        reach.exclude(&self.outputs, py)?;
        reach.follow(self.fun.bind(py), 0)?;
        Ok(reach.arrays)
    }

    /// A trace that is good for arguments of this form.
    fn find(&self, py: Python<'_>, form: &[Part], stream: Stream) -> Answer<Option<Arc<Entry>>> {
        let fits = |e: &&Arc<Entry>| e.stream == stream && e.form == form;
        let Some(entry) = self.entries.lock().iter().find(fits).cloned() else {
            return Ok(None);
        };
        let now = self.reach(py)?;
        let same = now.len() == entry.reached.len()
            && now.iter().zip(&entry.reached).all(|(a, b)| a.same(b));
        if !same {
            // What goes may run the user's code, which must find the list free.
            let mut entries = self.entries.lock();
            let at = entries.iter().position(|e| Arc::ptr_eq(e, &entry));
            let gone = at.map(|at| entries.remove(at));
            drop(entries);
            drop(gone);
            return Ok(None);
        }
        Ok(Some(entry))
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
        let reached = self.reach(py)?;
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
/// replayed afterwards. `inputs` and `outputs` are trees whose arrays the function reads and
/// replaces; with `shapeless`, one trace serves all sizes.
///
/// Shapes: those of `fun`; each form of arguments is traced once.
/// Dtypes: those of `fun`.
/// An argument that is neither a tree of arrays nor a constant is a ValueError.
///
/// >>> mx.compile(lambda x: x * mx.sigmoid(x))(mx.array([0.0, 2.0]))
/// array([0, 1.76159], dtype=float32)
#[pyfunction]
#[pyo3(signature = (fun, inputs = None, outputs = None, shapeless = false))]
fn compile(
    fun: Py<PyAny>,
    inputs: Option<Py<PyAny>>,
    outputs: Option<Py<PyAny>>,
    shapeless: bool,
) -> CompiledFunction {
    CompiledFunction { fun, inputs, outputs, shapeless, entries: Mutex::default() }
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
