//! What a function can reach without being given it, to tell later whether it changed: arrays, the
//! attributes of modules and optimizers, the numbers and functions that its code names.
//!
//! Reached are the function's closure, its defaults, `self`, the globals that its code loads (not
//! its attributes' names), and what these hold. Arrays count wherever they are. Plain values count
//! in modules and optimizers, and where the code names them itself; lists of numbers that a program
//! keeps elsewhere, to append its losses to, do not.

use crate::array::PyArray;
use crate::dtype::PyDtype;
use crate::errors::Answer;
use crate::trees;
use lazulite::{Array, Dtype};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyAnyMethods, PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyModule, PySet, PyString,
    PyTuple, PyType,
};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// Something that is not an array, as far as a trace may depend on it.
#[derive(Clone, Debug, PartialEq)]
enum Fact {
    None,
    Bool(bool),
    Int(i64),
    Float(u64),
    Dtype(Dtype),
    /// A string, or an integer of many digits.
    Hash(isize),
    /// A container's number of items.
    Items(usize),
    /// A class, code, or a function without code of its own, by its address.
    At(usize),
}

/// What was found at one time.
#[derive(Default)]
pub struct Reached {
    arrays: Vec<Array>,
    facts: Vec<Fact>,
    /// Keeps code alive, so that no other is at its address.
    codes: Vec<Py<PyAny>>,
    /// Places of facts that the function itself changes, like a count of its calls.
    own: Vec<usize>,
}

impl Reached {
    /// True iff the arrays are the same ones.
    pub fn same_arrays(&self, other: &Reached) -> bool {
        self.arrays.len() == other.arrays.len()
            && self.arrays.iter().zip(&other.arrays).all(|(a, b)| a.same(b))
    }

    /// True iff `now` has nothing that the function would see changed.
    pub fn is_current(&self, now: &Reached) -> bool {
        let differs = |i: &usize| self.facts[*i] != now.facts[*i] && !self.own.contains(i);
        self.facts.len() == now.facts.len()
            && !(0..self.facts.len()).any(|i| differs(&i))
            && self.same_arrays(now)
    }

    /// The same, after a call of the function before which `before` was found.
    pub fn after(mut self, before: &Reached) -> Reached {
        if self.facts.len() == before.facts.len() {
            self.own =
                (0..self.facts.len()).filter(|&i| self.facts[i] != before.facts[i]).collect();
        }
        self
    }
}

/// The globals that code loads, by the code's address; the code is kept alive.
#[derive(Default)]
pub struct Globals(HashMap<usize, (Py<PyAny>, Vec<Py<PyString>>)>);

impl Globals {
    fn of(&mut self, code: &Bound<'_, PyAny>) -> Answer<&[Py<PyString>]> {
        let (_, names) = match self.0.entry(code.as_ptr().addr()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let mut names = Vec::new();
                collect_globals(code, &mut HashSet::new(), &mut names)?;
                place.insert((code.clone().unbind(), names))
            }
        };
        Ok(names)
    }
}

/// Appends the names that the code, and functions and classes inside it, load as globals.
fn collect_globals(
    code: &Bound<'_, PyAny>,
    seen: &mut HashSet<String>,
    names: &mut Vec<Py<PyString>>,
) -> Answer<()> {
    let py = code.py();
    let dis = py.import("dis")?;
    for instruction in dis.call_method1("get_instructions", (code,))?.try_iter()? {
        let instruction = instruction?;
        let op = instruction.getattr(intern!(py, "opname"))?;
        let op = op.cast::<PyString>()?.to_cow()?;
        if !matches!(&*op, "LOAD_GLOBAL" | "LOAD_NAME" | "LOAD_FROM_DICT_OR_GLOBALS") {
            continue;
        }
        let name = instruction.getattr(intern!(py, "argval"))?;
        let name = name.cast::<PyString>()?;
        if seen.insert(name.to_string()) {
            names.push(name.clone().unbind());
        }
    }
    for constant in code.getattr(intern!(py, "co_consts"))?.cast::<PyTuple>()? {
        if constant.hasattr(intern!(py, "co_names"))? {
            collect_globals(&constant, seen, names)?;
        }
    }
    Ok(())
}

/// A walk over what a function can reach.
pub struct Reach<'a, 'py> {
    globals: &'a mut Globals,
    /// The class of optimizers, if there can be any.
    optimizer: Option<Bound<'py, PyAny>>,
    seen: HashSet<usize>,
    /// Objects that are inputs or outputs of the function.
    given: HashSet<usize>,
    found: Reached,
}

impl<'a, 'py> Reach<'a, 'py> {
    /// Beyond this depth nothing is looked at: user programs nest their state less deeply.
    const DEPTH: usize = 24;

    /// What `function` reaches, without the arrays of the trees `given`.
    pub fn of(
        function: &Bound<'py, PyAny>,
        given: [&Option<Py<PyAny>>; 2],
        globals: &'a mut Globals,
    ) -> Answer<Reached> {
        let py = function.py();
        static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
        let modules = MODULES.get_or_try_init(py, || -> PyResult<_> {
            Ok(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind())
        })?;
        let base = modules.bind(py).get_item(intern!(py, "lazulite.optimizers.base"))?;
        // While it is imported it has no optimizers.
        let optimizer = base.and_then(|m| m.getattr(intern!(py, "Optimizer")).ok());
        let mut reach = Reach {
            globals,
            optimizer,
            seen: HashSet::new(),
            given: HashSet::new(),
            found: Reached::default(),
        };
        for tree in given.into_iter().flatten() {
            trees::visit(tree.bind(py), &mut |leaf| {
                reach.given.insert(leaf.as_ptr().addr());
                Ok(())
            })?;
        }
        reach.follow(function, false, 0)?;
        Ok(reach.found)
    }

    /// A value that code names: plain ones count.
    fn named(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Answer<()> {
        match self.plain(value)? {
            Some(fact) => self.found.facts.push(fact),
            None => self.follow(value, false, depth)?,
        }
        Ok(())
    }

    /// The value as a fact, if it is nothing to look into.
    fn plain(&self, value: &Bound<'py, PyAny>) -> Answer<Option<Fact>> {
        Ok(Some(if value.is_none() {
            Fact::None
        } else if let Ok(b) = value.cast::<PyBool>() {
            Fact::Bool(b.is_true())
        } else if value.is_instance_of::<PyInt>() {
            match value.extract::<i64>() {
                Ok(i) => Fact::Int(i),
                Err(_) => Fact::Hash(value.hash()?),
            }
        } else if let Ok(x) = value.cast::<PyFloat>() {
            Fact::Float(x.value().to_bits())
        } else if value.is_instance_of::<PyString>() {
            Fact::Hash(value.hash()?)
        } else if value.is_instance_of::<PyModule>() || value.is_instance_of::<PyType>() {
            Fact::At(value.as_ptr().addr())
        } else if let Ok(dtype) = value.cast::<PyDtype>() {
            Fact::Dtype(dtype.get().0)
        } else {
            return Ok(None);
        }))
    }

    /// Looks into a value; with `watched` plain values in it count.
    fn follow(&mut self, obj: &Bound<'py, PyAny>, watched: bool, depth: usize) -> Answer<()> {
        let py = obj.py();
        if let Ok(array) = obj.cast::<PyArray>() {
            if !self.given.contains(&obj.as_ptr().addr()) {
                self.found.arrays.push(array.get().array());
            }
            return Ok(());
        }
        if let Some(fact) = self.plain(obj)? {
            self.found.facts.extend(watched.then_some(fact));
            return Ok(());
        }
        if depth > Reach::DEPTH || !self.seen.insert(obj.as_ptr().addr()) {
            return Ok(());
        }
        if let Ok(list) = obj.cast::<PyList>() {
            self.note(watched, Fact::Items(list.len()));
            return list.iter().try_for_each(|item| self.follow(&item, watched, depth + 1));
        }
        if let Ok(tuple) = obj.cast::<PyTuple>() {
            self.note(watched, Fact::Items(tuple.len()));
            return tuple.iter().try_for_each(|item| self.follow(&item, watched, depth + 1));
        }
        if obj.is_instance_of::<PySet>() || obj.is_instance_of::<PyFrozenSet>() {
            return if watched { self.set(obj) } else { Ok(()) };
        }
        if let Ok(dict) = obj.cast::<PyDict>() {
            // Modules are dictionaries, and have no more than those and their members: to ask them
            // for what functions have would go through their own `__getattr__` each time.
            let module = !dict.is_exact_instance_of::<PyDict>();
            self.items(dict, watched || module, depth)?;
            return match module {
                true => self.members(obj, true, depth),
                false => Ok(()),
            };
        }
        if self.callable(obj, depth)? {
            return Ok(());
        }
        let watched =
            watched || self.optimizer.as_ref().is_some_and(|c| obj.is_instance(c).unwrap_or(false));
        if obj.is_callable() && obj.getattr_opt(intern!(py, "__dict__")).ok().flatten().is_none() {
            self.found.facts.push(Fact::At(obj.as_ptr().addr()));
        }
        self.members(obj, watched, depth)
    }

    fn note(&mut self, watched: bool, fact: Fact) {
        self.found.facts.extend(watched.then_some(fact));
    }

    fn items(&mut self, dict: &Bound<'py, PyDict>, watched: bool, depth: usize) -> Answer<()> {
        self.note(watched, Fact::Items(dict.len()));
        for (key, item) in trees::settled(dict)? {
            if watched {
                self.found.facts.push(Fact::Hash(key.hash()?));
            }
            self.follow(&item, watched, depth + 1)?;
        }
        Ok(())
    }

    /// The members of an instance, and its class.
    fn members(&mut self, obj: &Bound<'py, PyAny>, watched: bool, depth: usize) -> Answer<()> {
        self.note(watched, Fact::At(obj.get_type().as_ptr().addr()));
        let members = obj.getattr_opt(intern!(obj.py(), "__dict__")).ok().flatten();
        match members.as_ref().and_then(|m| m.cast::<PyDict>().ok()) {
            Some(members) => self.items(members, watched, depth + 1),
            None => Ok(()),
        }
    }

    /// A set of plain values, whose order means nothing.
    fn set(&mut self, set: &Bound<'py, PyAny>) -> Answer<()> {
        self.found.facts.push(Fact::Items(set.len()?));
        let mut all = 0;
        for item in set.try_iter()? {
            all ^= item?.hash()?;
        }
        self.found.facts.push(Fact::Hash(all));
        Ok(())
    }

    /// Follows what is behind a function, a method, or a partial application; true if it is one
    /// with code of its own.
    fn callable(&mut self, obj: &Bound<'py, PyAny>, depth: usize) -> Answer<bool> {
        let py = obj.py();
        if let Some(code) = obj.getattr_opt(intern!(py, "__code__")).ok().flatten() {
            self.function(obj, &code, depth)?;
            return Ok(true);
        }
        for name in [intern!(py, "__self__"), intern!(py, "__func__"), intern!(py, "__wrapped__")] {
            if let Some(inner) = obj.getattr_opt(name).ok().flatten() {
                self.follow(&inner, false, depth + 1)?;
            }
        }
        if obj.get_type().name()?.eq("partial") {
            if let Some(inner) = obj.getattr_opt(intern!(py, "func")).ok().flatten() {
                self.follow(&inner, false, depth + 1)?;
            }
            for name in [intern!(py, "args"), intern!(py, "keywords")] {
                if let Some(inner) = obj.getattr_opt(name).ok().flatten() {
                    self.follow(&inner, true, depth + 1)?;
                }
            }
        }
        Ok(false)
    }

    fn function(
        &mut self,
        function: &Bound<'py, PyAny>,
        code: &Bound<'py, PyAny>,
        depth: usize,
    ) -> Answer<()> {
        let py = function.py();
        let member = |name| function.getattr_opt(name).ok().flatten();
        self.found.facts.push(Fact::At(code.as_ptr().addr()));
        self.found.codes.push(code.clone().unbind());
        for name in [intern!(py, "__defaults__"), intern!(py, "__kwdefaults__")] {
            if let Some(values) = member(name) {
                self.follow(&values, true, depth + 1)?;
            }
        }
        if let Some(cells) = member(intern!(py, "__closure__"))
            && let Ok(cells) = cells.cast::<PyTuple>()
        {
            for cell in cells {
                // A cell that is not filled yet raises.
                if let Ok(value) = cell.getattr(intern!(py, "cell_contents")) {
                    self.named(&value, depth + 1)?;
                }
            }
        }
        if let Some(globals) = member(intern!(py, "__globals__"))
            && let Ok(globals) = globals.cast::<PyDict>()
        {
            let mut values = Vec::new();
            for name in self.globals.of(code)? {
                values.extend(globals.get_item(name)?);
            }
            values.iter().try_for_each(|value| self.named(value, depth + 1))?;
        }
        // A bound method passes on the code of its function.
        for name in [intern!(py, "__self__"), intern!(py, "__wrapped__")] {
            if let Some(inner) = member(name) {
                self.follow(&inner, false, depth + 1)?;
            }
        }
        Ok(())
    }
}
