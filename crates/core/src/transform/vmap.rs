//! `vmap`: a function of one example, applied to a batch of them at once.
//!
//! The function is traced on arrays of one example's shape that have no values; then each op that
//! depends on a batched argument is replaced by its batched form. Nothing else is touched.

use super::Tracing;
use super::trace::{Dependents, outputs_of};
use super::tree::{Tree, leaf_name};
use crate::array::Array;
use crate::device::{current_stream, with_stream};
use crate::error::{Error, Result};
use crate::op::custom::Transform;
use crate::op::{Aval, with_batch};
use crate::shape::{Shape, normalize_axis, show};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Where arguments or results have their batch axis. `None` means that all examples share them.
///
/// Made from one axis for everything (`0`, `-1`, `None`), or from a list with one for each argument
/// of a tuple (`[Some(0), None]`) or one for each array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchAxes {
    /// The same for all arrays.
    All(Option<i64>),
    /// One for each argument, or one for each array.
    Each(Vec<Option<i64>>),
}

macro_rules! batch_axes {
    ($($Int:ty),*) => {
        $(impl From<$Int> for BatchAxes {
            fn from(axis: $Int) -> BatchAxes {
                BatchAxes::All(Some(i64::from(axis)))
            }
        }

        impl From<Option<$Int>> for BatchAxes {
            fn from(axis: Option<$Int>) -> BatchAxes {
                BatchAxes::All(axis.map(i64::from))
            }
        }

        impl<const N: usize> From<[Option<$Int>; N]> for BatchAxes {
            fn from(axes: [Option<$Int>; N]) -> BatchAxes {
                BatchAxes::Each(axes.into_iter().map(|a| a.map(i64::from)).collect())
            }
        }

        impl<const N: usize> From<[$Int; N]> for BatchAxes {
            fn from(axes: [$Int; N]) -> BatchAxes {
                BatchAxes::Each(axes.into_iter().map(|a| Some(i64::from(a))).collect())
            }
        }

        impl From<Vec<Option<$Int>>> for BatchAxes {
            fn from(axes: Vec<Option<$Int>>) -> BatchAxes {
                BatchAxes::Each(axes.into_iter().map(|a| a.map(i64::from)).collect())
            }
        })*
    };
}
batch_axes!(i32, i64);

impl BatchAxes {
    /// One axis for each array, given how many arrays each argument has.
    fn for_leaves(&self, what: &str, arguments: &[usize]) -> Result<Vec<Option<i64>>> {
        let total = arguments.iter().sum();
        match self {
            BatchAxes::All(axis) => Ok(vec![*axis; total]),
            BatchAxes::Each(axes) if axes.len() == arguments.len() => Ok((axes.iter())
                .zip(arguments)
                .flat_map(|(&axis, &count)| std::iter::repeat_n(axis, count))
                .collect()),
            BatchAxes::Each(axes) if axes.len() == total => Ok(axes.clone()),
            BatchAxes::Each(axes) => Err(Error::argument(
                "vmap",
                format!(
                    "{what} has {} axes, expected one for each of {} arguments or {total} arrays",
                    axes.len(),
                    arguments.len()
                ),
            )),
        }
    }
}

/// A function that applies `f`, written for one example, to a batch. `in_axes` says where the
/// arguments have their batch axes, `out_axes` where the results are to have theirs.
///
/// ```no_run
/// use lazulite_core::{Array, Dtype, vmap};
/// let scores = vmap(|(w, x): (Array, Array)| w.matmul(&x), [None, Some(0)], 0);
/// let (w, batch) = (Array::ones(&[3, 4], Dtype::F32)?, Array::ones(&[8, 4], Dtype::F32)?);
/// assert_eq!(scores((w, batch))?.shape(), [8, 3]);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// The returned function fails with those of `f`; with kind `Axis` if an array has no such axis;
/// `Argument` if the axes do not fit the arguments, the batch sizes differ or nothing is batched;
/// `Trace` if `f` evaluates an array that depends on a batched argument.
pub fn vmap<A: Tree, B: Tree>(
    f: impl Fn(A) -> Result<B>,
    in_axes: impl Into<BatchAxes>,
    out_axes: impl Into<BatchAxes>,
) -> impl Fn(A) -> Result<B> {
    let (in_axes, out_axes) = (in_axes.into(), out_axes.into());
    move |args: A| {
        let inputs = args.leaves();
        let axes = in_axes.for_leaves("in_axes", &args.arguments())?;
        let form = std::cell::RefCell::new(None);
        let outputs = vmap_arrays(
            |x| {
                let out = f(args.with_leaves(x.to_vec())?)?;
                let leaves = out.leaves();
                *form.borrow_mut() = Some(out);
                Ok(leaves)
            },
            &inputs,
            &axes,
            |_| match &*form.borrow() {
                Some(out) => out_axes.for_leaves("out_axes", &out.arguments()),
                None => Ok(Vec::new()),
            },
            |i| leaf_name(&args, i),
        )?;
        match form.into_inner() {
            Some(form) => form.with_leaves(outputs),
            None => Err(Error::argument("vmap", "the function was not called")),
        }
    }
}

/// [`vmap`] over lists of arrays: an axis for each input and, once their number is known, for each
/// output. `name` names an input in errors.
///
/// # Errors
/// As [`vmap`].
pub fn vmap_arrays(
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    inputs: &[Array],
    in_axes: &[Option<i64>],
    out_axes: impl FnOnce(usize) -> Result<Vec<Option<i64>>>,
    name: impl Fn(usize) -> String,
) -> Result<Vec<Array>> {
    if inputs.len() != in_axes.len() {
        let message = format!("got {} axes for {} arrays", in_axes.len(), inputs.len());
        return Err(Error::argument("vmap", message));
    }
    let mut axes = Vec::with_capacity(inputs.len());
    let mut batch: Option<(usize, usize)> = None;
    for (i, (x, axis)) in inputs.iter().zip(in_axes).enumerate() {
        let axis = axis
            .map(|axis| normalize_axis("vmap", axis, x.ndim()))
            .transpose()
            .map_err(|e| e.context(name(i)))?;
        axes.push(axis);
        let Some(axis) = axis else { continue };
        let size = x.shape()[axis];
        match batch {
            Some((first, other)) if other != size => {
                let message = format!(
                    "batch sizes differ: {} has {other} examples, {} has {size} along axis {axis} \
                     of {}",
                    name(first),
                    name(i),
                    show(x.shape())
                );
                let shapes = [inputs[first].shape(), x.shape()];
                return Err(Error::shape("vmap", &shapes, message));
            }
            _ => batch = Some((i, size)),
        }
    }
    let Some((_, batch)) = batch else {
        return Err(Error::argument("vmap", "no argument has a batch axis"));
    };
    let mut wanted = Ok(Vec::new());
    let outputs = batched(inputs, &axes, batch, f, |count| match out_axes(count) {
        Ok(axes) if axes.len() == count => axes,
        Ok(axes) => {
            let message = format!("got {} output axes for {count} outputs", axes.len());
            wanted = Err(Error::argument("vmap", message));
            vec![Some(0); count]
        }
        Err(error) => {
            wanted = Err(error);
            vec![Some(0); count]
        }
    })?;
    let _: Vec<()> = wanted?;
    Ok(outputs)
}

/// The outputs of `f` for a batch of inputs with batch axes at `axes`, with their own where
/// `out_axes` says.
pub(crate) fn batched(
    inputs: &[Array],
    axes: &[Option<usize>],
    batch: usize,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    out_axes: impl FnOnce(usize) -> Vec<Option<i64>>,
) -> Result<Vec<Array>> {
    let tracing = Tracing::begin();
    let mut sources = Vec::new();
    let mut examples = Vec::with_capacity(inputs.len());
    let mut values: FxHashMap<usize, (Array, Option<usize>)> = FxHashMap::default();
    for (x, axis) in inputs.iter().zip(axes) {
        let Some(axis) = *axis else {
            examples.push(x.clone());
            continue;
        };
        let mut shape: Shape = x.shape().into();
        shape.remove(axis);
        let example = tracing.placeholder(Aval::new(shape, x.dtype()));
        values.insert(example.id(), (x.clone(), Some(axis)));
        sources.push(example.clone());
        examples.push(example);
    }
    let outputs = f(&examples)?;
    let graph = Dependents::between(&sources, &outputs, Some(Transform::Vmap));
    for node in &graph.nodes {
        let mut args: SmallVec<[Array; 3]> = SmallVec::new();
        let mut places: SmallVec<[Option<usize>; 3]> = SmallVec::new();
        node.with_inputs(|inputs| {
            for x in inputs {
                let (value, axis) =
                    values.get(&x.id()).cloned().unwrap_or_else(|| (x.clone(), None));
                args.push(value);
                places.push(axis);
            }
        });
        let rule = || node.op.vmap(&args, &places, batch);
        let (results, axes) =
            if node.stream == current_stream() { rule()? } else { with_stream(node.stream, rule)? };
        for ((y, result), axis) in outputs_of(node).iter().zip(results).zip(axes) {
            values.insert(y.id(), (result, axis));
        }
    }
    let wanted = out_axes(outputs.len());
    (outputs.iter().zip(wanted))
        .map(|(y, to)| {
            let (value, axis) = values.get(&y.id()).cloned().unwrap_or_else(|| (y.clone(), None));
            place_axis(&value, axis, to, batch)
        })
        .collect()
}

/// `x` with its batch axis moved from `from` to `to`.
fn place_axis(x: &Array, from: Option<usize>, to: Option<i64>, batch: usize) -> Result<Array> {
    match (from, to) {
        (None, None) => Ok(x.clone()),
        (Some(_), None) => Err(Error::argument(
            "vmap",
            "an output that depends on the batch was asked for without a batch axis",
        )),
        (Some(from), Some(to)) => {
            let to = normalize_axis("vmap", to, x.ndim())?;
            if from == to { Ok(x.clone()) } else { x.moveaxis(from as i64, to as i64) }
        }
        (None, Some(to)) => {
            let to = normalize_axis("vmap", to, x.ndim() + 1)?;
            with_batch(x, None, batch)?.moveaxis(0, to as i64)
        }
    }
}
