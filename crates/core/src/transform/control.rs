//! Control flow over trees of arrays that every transform takes: `scan`, `cond` and loops.
//!
//! Steps become nodes of one graph, so that derivatives, batches and recordings need no rules of
//! their own. Where a value decides and there is none (inside `vmap` and `compile`), both ways are
//! computed and the results are chosen element by element.

use super::Tree;
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::show;

/// The value of a condition, or `None` where it has none because a function is being traced.
fn decided(op: &'static str, condition: &Array) -> Result<Option<bool>> {
    if condition.len() != 1 {
        let message =
            format!("a condition of one element is needed, got {}", show(condition.shape()));
        return Err(Error::shape(op, &[condition.shape()], message));
    }
    match condition.astype(Dtype::Bool)?.item::<bool>() {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::Trace => Ok(None),
        Err(e) => Err(e),
    }
}

/// Each array of `a` where the condition holds, else that of `b`.
fn choose<T: Tree>(op: &'static str, condition: &Array, a: &T, b: &T) -> Result<T> {
    let (x, y) = (a.leaves(), b.leaves());
    if !a.same_form(b) {
        return Err(Error::argument(op, "both ways must give trees of one form"));
    }
    let condition = condition.reshape(&[])?;
    let leaves = x.iter().zip(&y).map(|(x, y)| {
        if x.shape() != y.shape() || x.dtype() != y.dtype() {
            let message = format!("one way gives {x:?}, the other {y:?}; they must be alike");
            return Err(Error::shape(op, &[x.shape(), y.shape()], message));
        }
        condition.select(x, y)
    });
    a.with_leaves(leaves.collect::<Result<_>>()?)
}

/// Calls `f` with a state and each slice of `xs` along the first axes, in order; `f` gives the next
/// state and a result. Returns the last state and the results, stacked along a new first axis.
///
/// Derivatives go through all steps; wrap `f` in [`super::checkpoint()`] to compute its inside again
/// in place of keeping it.
///
/// ```no_run
/// use lazulite_core::{Array, scan};
/// let add = |sum: Array, x: Array| {
///     let sum = sum.add(&x)?;
///     Ok((sum.clone(), sum))
/// };
/// let xs = Array::from_slice(&[1.0f32, 2.0, 3.0], &[3])?;
/// let (total, sums) = scan(add, Array::scalar(0.0f32), xs)?;
/// assert_eq!((total.item::<f32>()?, sums.to_vec::<f32>()?), (6.0, vec![1.0, 3.0, 6.0]));
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// Those of `f`; kind `Shape` if the first axes of `xs` differ in size or there are none; kind
/// `Argument` if there is no step, since the results' form is not known then.
pub fn scan<S: Tree, X: Tree, Y: Tree>(
    f: impl Fn(S, X) -> Result<(S, Y)>,
    init: S,
    xs: X,
) -> Result<(S, Y)> {
    const OP: &str = "scan";
    let leaves = xs.leaves();
    let Some(&steps) = leaves.first().and_then(|x| x.shape().first()) else {
        return Err(Error::argument(OP, "there is no array with a first axis to step along"));
    };
    if let Some(x) = leaves.iter().find(|x| x.shape().first() != Some(&steps)) {
        let message = format!("first axes of {steps} elements are needed, got {}", show(x.shape()));
        return Err(Error::shape(OP, &[leaves[0].shape(), x.shape()], message));
    }
    let (mut state, mut columns): (S, Vec<Vec<Array>>) = (init, Vec::new());
    let mut form = None;
    for step in 0..steps {
        let slices = leaves.iter().map(|x| x.at_axis(0, step)).collect::<Result<_>>()?;
        let (next, y) = f(state, xs.with_leaves(slices)?)?;
        let results = y.leaves();
        columns.resize_with(results.len(), Vec::new);
        columns.iter_mut().zip(results).for_each(|(column, y)| column.push(y));
        (state, form) = (next, Some(y));
    }
    let Some(form) = form else {
        return Err(Error::argument(OP, "there is no step, so that the results have no shape"));
    };
    let stacked = columns.iter().map(|column| Array::stack(column, 0));
    Ok((state, form.with_leaves(stacked.collect::<Result<_>>()?)?))
}

/// `yes(args)` if the condition, one element, is not zero, else `no(args)`. Inside `vmap` and
/// `compile` both are computed, and must then be finite for derivatives to be.
///
/// # Errors
/// Those of the functions; kind `Shape` if the condition has several elements or, where both are
/// computed, their results are not alike.
pub fn cond<A: Tree + Clone, B: Tree>(
    condition: &Array,
    yes: impl FnOnce(A) -> Result<B>,
    no: impl FnOnce(A) -> Result<B>,
    args: A,
) -> Result<B> {
    match decided("cond", condition)? {
        Some(true) => yes(args),
        Some(false) => no(args),
        None => choose("cond", condition, &yes(args.clone())?, &no(args)?),
    }
}

/// Applies `step` to a state while `condition` of it holds, at most `limit` times if there is a
/// limit. Inside `vmap` and `compile` a limit is needed: then as many steps are computed, and those
/// after the end change nothing.
///
/// # Errors
/// Those of the functions; kind `Shape` if the condition has several elements or a step changes the
/// shapes where they must stay; kind `Trace` where a limit is needed and missing.
pub fn while_loop<S: Tree + Clone>(
    condition: impl Fn(&S) -> Result<Array>,
    step: impl Fn(S) -> Result<S>,
    init: S,
    limit: Option<usize>,
) -> Result<S> {
    const OP: &str = "while_loop";
    let mut state = init;
    // Where values are missing: whether no earlier condition has failed.
    let mut running: Option<Array> = None;
    let mut count = 0;
    while limit.is_none_or(|limit| count < limit) {
        let now = condition(&state)?;
        let value = if running.is_some() { None } else { decided(OP, &now)? };
        match value {
            Some(false) => break,
            Some(true) => state = step(state)?,
            None if limit.is_none() => {
                let message = "inside vmap and compile the number of steps must have a limit";
                return Err(Error::new(ErrorKind::Trace, OP, message));
            }
            None => {
                let now = now.astype(Dtype::Bool)?.reshape(&[])?;
                let on = match running {
                    Some(before) => before.logical_and(&now)?,
                    None => now,
                };
                let next = step(state.clone())?;
                state = choose(OP, &on, &next, &state)?;
                running = Some(on);
            }
        }
        count += 1;
    }
    Ok(state)
}
