//! Trees of arrays: nested lists, tuples and dictionaries.

use crate::array::PyArray;
use crate::errors::{Answer, value_error};
use crate::random::RandomState;
use lazulite::Array;
use lazulite::op::random;
use pyo3::exceptions::PyRecursionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::cell::Cell;

/// The dictionary as it is now. Without Python's lock other threads may add and remove keys while it is
/// walked, which ends the walk in a panic: then it is a copy.
pub fn settled<'py>(dict: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
    if cfg!(Py_GIL_DISABLED) { dict.copy() } else { Ok(dict.clone()) }
}

/// A level of a tree, for as long as a walk is in it: a tree that holds itself would have no end of them,
/// and walks take room on the thread's stack.
pub struct Level(());

impl Level {
    /// As many as Python's own calls may have.
    const MOST: usize = 1000;

    /// A `RecursionError` where the tree is too deep.
    pub fn enter() -> Answer<Level> {
        if DEPTH.get() == Level::MOST {
            let message = format!("a tree has more than {} levels, or holds itself", Level::MOST);
            return Err(PyRecursionError::new_err(message).into());
        }
        DEPTH.set(DEPTH.get() + 1);
        Ok(Level(()))
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

thread_local! {
    /// How many levels the walks of this thread are in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Calls `f` with every leaf, in order.
pub fn visit<'py>(
    tree: &Bound<'py, PyAny>,
    f: &mut dyn FnMut(&Bound<'py, PyAny>) -> Answer<()>,
) -> Answer<()> {
    let _level = Level::enter()?;
    if let Ok(list) = tree.cast::<PyList>() {
        list.iter().try_for_each(|item| visit(&item, f))
    } else if let Ok(tuple) = tree.cast::<PyTuple>() {
        tuple.iter().try_for_each(|item| visit(&item, f))
    } else if let Ok(dict) = tree.cast::<PyDict>() {
        settled(dict)?.iter().try_for_each(|(_, item)| visit(&item, f))
    } else if tree.is_instance_of::<RandomState>() {
        visit(&tree.get_item(0)?, f)
    } else {
        f(tree)
    }
}

/// The arrays of a tree; other leaves are left out.
pub fn flatten(tree: &Bound<'_, PyAny>) -> Answer<Vec<Array>> {
    let mut arrays = Vec::new();
    visit(tree, &mut |leaf| {
        if let Ok(array) = leaf.cast::<PyArray>() {
            arrays.push(array.get().array());
        }
        Ok(())
    })?;
    Ok(arrays)
}

/// The arrays of a tree, which must have no other leaves.
pub fn flatten_strict(tree: &Bound<'_, PyAny>) -> Answer<Vec<Array>> {
    let mut arrays = Vec::new();
    visit(tree, &mut |leaf| match leaf.cast::<PyArray>() {
        Ok(array) => {
            arrays.push(array.get().array());
            Ok(())
        }
        Err(_) => Err(value_error("[tree_flatten] The argument should contain only arrays")),
    })?;
    Ok(arrays)
}

/// A copy of the tree with every leaf replaced by what `f` makes of it.
pub fn map<'py>(
    tree: &Bound<'py, PyAny>,
    f: &mut dyn FnMut(&Bound<'py, PyAny>) -> Answer<Bound<'py, PyAny>>,
) -> Answer<Bound<'py, PyAny>> {
    let _level = Level::enter()?;
    let py = tree.py();
    if let Ok(list) = tree.cast::<PyList>() {
        let items = list.iter().map(|item| map(&item, f)).collect::<Answer<Vec<_>>>()?;
        Ok(PyList::new(py, items)?.into_any())
    } else if let Ok(tuple) = tree.cast::<PyTuple>() {
        let items = tuple.iter().map(|item| map(&item, f)).collect::<Answer<Vec<_>>>()?;
        let items = PyTuple::new(py, items)?;
        if tuple.hasattr(intern!(py, "_fields"))? {
            return Ok(tuple.get_type().call1(items)?);
        }
        Ok(items.into_any())
    } else if let Ok(dict) = tree.cast::<PyDict>() {
        let copy = PyDict::new(py);
        for (key, item) in settled(dict)? {
            copy.set_item(key, map(&item, f)?)?;
        }
        Ok(copy.into_any())
    } else {
        f(tree)
    }
}

/// A copy of the tree with the next arrays of `arrays` in place of its own.
pub fn rebuild<'py>(
    tree: &Bound<'py, PyAny>,
    arrays: &mut dyn Iterator<Item = Array>,
) -> Answer<Bound<'py, PyAny>> {
    map(tree, &mut |leaf| {
        if !leaf.is_instance_of::<PyArray>() {
            return Ok(leaf.clone());
        }
        let array = arrays.next().ok_or_else(|| value_error("a tree has too many arrays"))?;
        Ok(Bound::new(leaf.py(), PyArray::from(array))?.into_any())
    })
}

/// Puts what `next` gives for each array of the tree in its place, in the tree's own lists and
/// dictionaries; an array for which it gives nothing stays. Tuples of arrays are replaced as a
/// whole, and where there is nothing to put another object into, the array object itself takes the
/// value.
pub fn fill<'py>(
    tree: &Bound<'py, PyAny>,
    next: &mut dyn FnMut(&Bound<'py, PyArray>) -> Option<Bound<'py, PyAny>>,
) -> Answer<()> {
    let _level = Level::enter()?;
    if let Ok(list) = tree.cast::<PyList>() {
        for i in 0..list.len() {
            if let Some(item) = refill(&list.get_item(i)?, next)? {
                list.set_item(i, item)?;
            }
        }
    } else if let Ok(dict) = tree.cast::<PyDict>() {
        let items: Vec<_> = settled(dict)?.iter().collect();
        for (key, item) in items {
            if let Some(item) = refill(&item, next)? {
                dict.set_item(key, item)?;
            }
        }
    } else if let Ok(tuple) = tree.cast::<PyTuple>() {
        tuple.iter().try_for_each(|item| fill(&item, next))?;
    } else if let Ok(array) = tree.cast::<PyArray>() {
        if let Some(other) = next(array) {
            array.get().set(other.cast::<PyArray>()?.get().array());
        }
    } else if tree.is_instance_of::<RandomState>() {
        let key = tree.get_item(0)?;
        if let Some(other) = next(key.cast::<PyArray>()?) {
            random::set_state(other.cast::<PyArray>()?.get().array());
        }
    }
    Ok(())
}

/// What takes the item's place in its list or dictionary; nothing if the item was filled itself.
fn refill<'py>(
    item: &Bound<'py, PyAny>,
    next: &mut dyn FnMut(&Bound<'py, PyArray>) -> Option<Bound<'py, PyAny>>,
) -> Answer<Option<Bound<'py, PyAny>>> {
    if let Ok(array) = item.cast::<PyArray>() {
        return Ok(next(array));
    }
    if let Ok(tuple) = item.cast::<PyTuple>()
        && tuple.iter().any(|x| x.is_instance_of::<PyArray>())
    {
        return Ok(Some(map(item, &mut |leaf| {
            let array = leaf.cast::<PyArray>().ok();
            Ok(array.and_then(&mut *next).unwrap_or_else(|| leaf.clone()))
        })?));
    }
    fill(item, next)?;
    Ok(None)
}
