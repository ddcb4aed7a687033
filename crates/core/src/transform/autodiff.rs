//! Derivatives: `grad`, `vjp` and `jvp`, from the kinds of derivative that primitives state.
//!
//! The primals are replaced by aliases that belong to a trace; what the function makes of them is
//! a graph, which tangents go through forwards and cotangents backwards. Both walks make ordinary
//! nodes, so that derivatives have derivatives. A tangent has the shape and dtype of its primal,
//! a cotangent those of its array; a missing one is zero. Only floating and complex arrays have
//! any. The cotangent of a complex array is that of the inner product `Re(sum(conj(c) * t))`.

use super::Tracing;
use super::trace::{Dependents, outputs_of};
use super::tree::{Argument, Tree, leaf_name};
use crate::array::{Array, Node, NodeRef};
use crate::device::{current_stream, with_stream};
use crate::dtype::Literal;
use crate::error::{Error, Result};
use crate::op::custom::Transform;
use crate::op::scatter::{SliceUpdate, UpdateMode};
use crate::op::{Derivative, Partial, Primitive, conjugated, like};
use crate::shape::{Shape, show};
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};
use std::collections::hash_map::Entry;

/// Tangents or cotangents by the number of their array.
type Duals = FxHashMap<usize, Array>;
type List = SmallVec<[Option<Array>; 2]>;

/// A function that returns the gradient of `f` with respect to its argument, in the argument's
/// form. `f` must return a 0-d array; pass several arguments as a tuple.
///
/// ```no_run
/// use lazulite_core::{Array, grad};
/// let curvature = grad(grad(|x: Array| x.multiply(&x)));
/// assert_eq!(curvature(Array::scalar(3.0f32))?.item::<f32>()?, 2.0);
/// let g = grad(|(w, b): (Array, Array)| w.multiply(&w)?.add(&b)?.sum(None, false));
/// let w = Array::from_slice(&[1.0f32, 2.0], &[2])?;
/// let (dw, db) = g((w, Array::scalar(0.0f32)))?;
/// assert_eq!((dw.to_vec::<f32>()?, db.item::<f32>()?), (vec![2.0, 4.0], 2.0));
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// The returned function fails with those of `f`; with kind `Dtype` if an array of the argument is
/// not floating or complex; with kind `Shape` if `f` does not return a 0-d array.
pub fn grad<A: Tree>(f: impl Fn(A) -> Result<Array>) -> impl Fn(A) -> Result<A> {
    let f = value_and_grad(f);
    move |args| Ok(f(args)?.1)
}

/// As [`grad`], with the function's value in front.
///
/// # Errors
/// As [`grad`].
pub fn value_and_grad<A: Tree>(f: impl Fn(A) -> Result<Array>) -> impl Fn(A) -> Result<(Array, A)> {
    let f = value_and_grad_aux(move |args| Ok((f(args)?, ())));
    move |args| {
        let ((value, ()), gradient) = f(args)?;
        Ok((value, gradient))
    }
}

/// As [`value_and_grad`], for functions that return something else beside the value.
///
/// # Errors
/// As [`grad`].
pub fn value_and_grad_aux<A: Tree, X>(
    f: impl Fn(A) -> Result<(Array, X)>,
) -> impl Fn(A) -> Result<((Array, X), A)> {
    move |args: A| {
        let primals = args.leaves();
        require_inexact(&args, &primals)?;
        let mut aux = None;
        let (outputs, gradient) = vjp_arrays(
            |primals| {
                let (value, rest) = f(args.with_leaves(primals.to_vec())?)?;
                aux = Some(rest);
                Ok(vec![value])
            },
            &primals,
            seed,
        )?;
        let gradient = args.with_leaves(gradient)?;
        match (outputs.into_iter().next(), aux) {
            (Some(value), Some(aux)) => Ok(((value, aux), gradient)),
            _ => Err(Error::argument("grad", "the function was not called")),
        }
    }
}

/// The gradient of a function of several arguments with respect to argument `N`, counted from 0.
///
/// ```no_run
/// use lazulite_core::{Array, transform::grad_wrt};
/// let g = grad_wrt::<1, _>(|(x, w): (Array, Array)| x.multiply(&w)?.sum(None, false));
/// let dw = g((Array::scalar(3.0f32), Array::scalar(5.0f32)))?;
/// assert_eq!(dw.item::<f32>()?, 3.0);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// As [`grad`]; only argument `N` must be floating or complex.
pub fn grad_wrt<const N: usize, A: Argument<N> + Clone>(
    f: impl Fn(A) -> Result<Array>,
) -> impl Fn(A) -> Result<A::Item> {
    let f = value_and_grad_wrt::<N, A>(f);
    move |args| Ok(f(args)?.1)
}

/// As [`grad_wrt`], with the function's value in front.
///
/// # Errors
/// As [`grad_wrt`].
pub fn value_and_grad_wrt<const N: usize, A: Argument<N> + Clone>(
    f: impl Fn(A) -> Result<Array>,
) -> impl Fn(A) -> Result<(Array, A::Item)> {
    move |args: A| {
        let primals = args.argument().leaves();
        require_inexact(args.argument(), &primals)?;
        let (mut outputs, gradient) = vjp_arrays(
            |primals| {
                let mut all = args.clone();
                all.set_argument(args.argument().with_leaves(primals.to_vec())?);
                Ok(vec![f(all)?])
            },
            &primals,
            seed,
        )?;
        Ok((outputs.swap_remove(0), args.argument().with_leaves(gradient)?))
    }
}

/// The cotangent 1 of a function's only output.
fn seed(outputs: &[Array]) -> Result<Vec<Array>> {
    let y = &outputs[0];
    if y.ndim() != 0 {
        let message =
            format!("the function must return a 0-d array, got shape {}", show(y.shape()));
        return Err(Error::shape("grad", &[y.shape()], message));
    }
    if !y.dtype().is_inexact() {
        return Err(Error::dtype("grad", &[y.dtype()], "a function with a floating result"));
    }
    Ok(vec![like(y, 1.0)])
}

fn require_inexact<A: Tree>(args: &A, primals: &[Array]) -> Result<()> {
    match primals.iter().position(|x| !x.dtype().is_inexact()) {
        Some(i) => Err(Error::dtype("grad", &[primals[i].dtype()], "a floating or complex type")
            .context(leaf_name(args, i))),
        None => Ok(()),
    }
}

/// The outputs of `f` at `primals`, and the cotangents of the primals for given ones of the
/// outputs. Primals that are integers or that `f` does not use get zeros.
///
/// ```no_run
/// use lazulite_core::{Array, vjp};
/// let (x, cotangent) = (Array::scalar(3.0f32), Array::scalar(10.0f32));
/// let (y, dx) = vjp(|x: Array| x.square(), &x, &cotangent)?;
/// assert_eq!((y.item::<f32>()?, dx.item::<f32>()?), (9.0, 60.0));
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// Those of `f`; kind `Argument` or `Shape` if the cotangents do not match the outputs.
pub fn vjp<A: Tree, B: Tree>(
    f: impl FnOnce(A) -> Result<B>,
    primals: &A,
    cotangents: &B,
) -> Result<(B, A)> {
    let mut form = None;
    let (outputs, gradients) = vjp_arrays(
        |args| {
            let out = f(primals.with_leaves(args.to_vec())?)?;
            let leaves = out.leaves();
            form = Some(out);
            Ok(leaves)
        },
        &primals.leaves(),
        |_| Ok(cotangents.leaves()),
    )?;
    let form = form.as_ref().unwrap_or(cotangents);
    Ok((form.with_leaves(outputs)?, primals.with_leaves(gradients)?))
}

/// The outputs of `f` at `primals`, and the tangents of the outputs for given ones of the primals.
///
/// ```no_run
/// use lazulite_core::{Array, jvp};
/// let (x, tangent) = (Array::scalar(3.0f32), Array::scalar(10.0f32));
/// let (y, dy) = jvp(|x: Array| x.square(), &x, &tangent)?;
/// assert_eq!((y.item::<f32>()?, dy.item::<f32>()?), (9.0, 60.0));
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// Those of `f`; kind `Argument` or `Shape` if the tangents do not match the primals.
pub fn jvp<A: Tree, B: Tree>(
    f: impl FnOnce(A) -> Result<B>,
    primals: &A,
    tangents: &A,
) -> Result<(B, B)> {
    let mut form = None;
    let (outputs, tangents) = jvp_arrays(
        |args| {
            let out = f(primals.with_leaves(args.to_vec())?)?;
            let leaves = out.leaves();
            form = Some(out);
            Ok(leaves)
        },
        &primals.leaves(),
        &tangents.leaves(),
    )?;
    match form {
        Some(form) => Ok((form.with_leaves(outputs)?, form.with_leaves(tangents)?)),
        None => Err(Error::argument("jvp", "the function was not called")),
    }
}

/// [`vjp`] over lists of arrays, with cotangents that may depend on the outputs.
///
/// # Errors
/// As [`vjp`].
pub fn vjp_arrays(
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    primals: &[Array],
    cotangents: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<(Vec<Array>, Vec<Array>)> {
    let tracing = Tracing::begin();
    let aliases: Vec<Array> = primals.iter().map(|x| tracing.alias(x)).collect();
    let outputs = f(&aliases)?;
    let seeds = cotangents(&outputs)?;
    match_duals("vjp", "cotangent", "output", &outputs, &seeds)?;
    let graph = Dependents::between(&aliases, &outputs, Some(Transform::Vjp));
    let mut duals = Duals::default();
    for (y, ct) in outputs.iter().zip(seeds) {
        if y.dtype().is_inexact() {
            accumulate(&mut duals, y, ct)?;
        }
    }
    pull_back(&graph, &mut duals)?;
    let gradients = (aliases.iter())
        .map(|x| duals.remove(&x.id()).map_or_else(|| x.zeros_like(), Ok))
        .collect::<Result<_>>()?;
    drop(tracing);
    graph.release();
    Ok((outputs, gradients))
}

/// [`jvp`] over lists of arrays.
///
/// # Errors
/// As [`jvp`].
pub fn jvp_arrays(
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    primals: &[Array],
    tangents: &[Array],
) -> Result<(Vec<Array>, Vec<Array>)> {
    match_duals("jvp", "tangent", "primal", primals, tangents)?;
    let tracing = Tracing::begin();
    let aliases: Vec<Array> = primals.iter().map(|x| tracing.alias(x)).collect();
    let outputs = f(&aliases)?;
    let graph = Dependents::between(&aliases, &outputs, Some(Transform::Jvp));
    let mut duals = Duals::default();
    for (x, t) in aliases.iter().zip(tangents) {
        if x.dtype().is_inexact() {
            duals.insert(x.id(), t.clone());
        }
    }
    push_forward(&graph, &mut duals)?;
    let tangents = (outputs.iter())
        .map(|y| duals.get(&y.id()).cloned().map_or_else(|| y.zeros_like(), Ok))
        .collect::<Result<_>>()?;
    drop(tracing);
    graph.release();
    Ok((outputs, tangents))
}

/// Checks that there is a dual of the right shape and dtype for each array.
fn match_duals(
    op: &'static str,
    dual: &str,
    of: &str,
    arrays: &[Array],
    duals: &[Array],
) -> Result<()> {
    if arrays.len() != duals.len() {
        let message =
            format!("got {} {dual}s for {} {of}s, expected as many", duals.len(), arrays.len());
        return Err(Error::argument(op, message));
    }
    for (i, (x, t)) in arrays.iter().zip(duals).enumerate() {
        if x.shape() != t.shape() {
            let message = format!(
                "{dual} {i} has shape {}, expected {}, the shape of the {of}",
                show(t.shape()),
                show(x.shape())
            );
            return Err(Error::shape(op, &[t.shape(), x.shape()], message));
        }
        if x.dtype() != t.dtype() && x.dtype().is_inexact() {
            let expected = format!("{}, the type of the {of}", x.dtype());
            return Err(Error::dtype(op, &[t.dtype()], expected).context(format!("{dual} {i}")));
        }
    }
    Ok(())
}

/// `f` on the stream of the node whose derivative it makes.
fn on_stream_of<R>(node: &Node, f: impl FnOnce() -> R) -> R {
    if node.stream == current_stream() { f() } else { with_stream(node.stream, f) }
}

/// True iff `x` is visibly 1 everywhere: then a product with it is left out.
fn is_one(x: &Array) -> bool {
    let mut x = x.clone();
    loop {
        x = match &x.node.op {
            Primitive::Scalar(v) => return *v == Literal::from_f64(1.0, v.dtype()),
            Primitive::Broadcast(_) | Primitive::Reshape(_) | Primitive::Transpose(_) => {
                match x.node.inputs().first() {
                    Some(input) => input.clone(),
                    None => return false,
                }
            }
            _ => return false,
        };
    }
}

/// `dual * partial`; the result may lack axes along which both are constant.
fn scale(dual: &Array, partial: &Array) -> Result<Array> {
    if is_one(dual) && partial.dtype() == dual.dtype() {
        return partial.broadcast_to(&crate::shape::broadcast_shapes(
            "grad",
            dual.shape(),
            partial.shape(),
        )?);
    }
    dual.multiply(partial)
}

/// Tangents of everything in the graph, in order.
fn push_forward(graph: &Dependents, duals: &mut Duals) -> Result<()> {
    for node in &graph.nodes {
        let inputs = node.inputs();
        let tangents: List = inputs.iter().map(|x| duals.get(&x.id()).cloned()).collect();
        if tangents.iter().all(Option::is_none) {
            continue;
        }
        let outputs = outputs_of(node);
        let results = on_stream_of(node, || push_node(node, &inputs, &outputs, &tangents))?;
        for (y, t) in outputs.iter().zip(results) {
            if let Some(t) = t
                && y.dtype().is_inexact()
            {
                duals.insert(y.id(), t.astype(y.dtype())?.broadcast_to(y.shape())?);
            }
        }
    }
    Ok(())
}

fn push_node(
    node: &NodeRef,
    inputs: &[Array],
    outputs: &[Array],
    tangents: &[Option<Array>],
) -> Result<Vec<Option<Array>>> {
    let op = &node.op;
    match op.derivative() {
        Derivative::Zero => Ok(Vec::new()),
        Derivative::Partials => {
            if !outputs[0].dtype().is_inexact() {
                return Ok(Vec::new());
            }
            let mut total: Option<Array> = None;
            for (partial, t) in op.partials(inputs, &outputs[0])?.into_iter().zip(tangents) {
                let Some(t) = t else { continue };
                let term = match partial {
                    Partial::Zero => continue,
                    Partial::One => t.clone(),
                    Partial::Minus => t.negative()?,
                    Partial::Of(p) => scale(t, &p)?,
                    Partial::Where(mask) => mask.select(t, &like(t, 0.0))?,
                };
                total = Some(match total {
                    Some(sum) => sum.add(&term)?,
                    None => term,
                });
            }
            Ok(vec![total])
        }
        Derivative::Linear(places) => {
            let mut args: Vec<Array> = inputs.to_vec();
            // Elementwise ops broadcast, so that a bare zero does for them.
            let broadcasts = matches!(op, Primitive::Binary(_) | Primitive::Select(_));
            for (i, (arg, t)) in args.iter_mut().zip(tangents).enumerate() {
                if !places.is_empty() && !places.contains(&i) {
                    continue;
                }
                *arg = match t {
                    Some(t) => t.clone(),
                    None if broadcasts => like(arg, 0.0),
                    None => arg.zeros_like()?,
                };
            }
            Ok(Array::apply_all(op.clone(), &args)?.into_iter().map(Some).collect())
        }
        Derivative::Bilinear(a, b) => {
            let mut total: Option<Array> = None;
            for place in [a, b] {
                let Some(t) = &tangents[place] else { continue };
                let mut args = inputs.to_vec();
                args[place] = t.clone();
                let term = Array::apply(op.clone(), &args)?;
                total = Some(match total {
                    Some(sum) => sum.add(&term)?,
                    None => term,
                });
            }
            Ok(vec![total])
        }
        Derivative::Custom => op.jvp(inputs, outputs, tangents),
        Derivative::Composed => {
            let composed = op.compose(inputs)?;
            let sources: Vec<Array> = (inputs.iter().zip(tangents))
                .filter(|(_, t)| t.is_some())
                .map(|(x, _)| x.clone())
                .collect();
            let graph = Dependents::between(&sources, &composed, Some(Transform::Jvp));
            let mut duals = Duals::default();
            for (x, t) in inputs.iter().zip(tangents) {
                if let Some(t) = t {
                    duals.insert(x.id(), t.clone());
                }
            }
            push_forward(&graph, &mut duals)?;
            Ok(composed.iter().map(|y| duals.get(&y.id()).cloned()).collect())
        }
    }
}

/// Cotangents of everything in the graph, from the outputs to the sources, whose cotangents stay
/// in `duals`.
fn pull_back(graph: &Dependents, duals: &mut Duals) -> Result<()> {
    for node in graph.nodes.iter().rev() {
        let outputs = outputs_of(node);
        let cotangents: List = outputs.iter().map(|y| duals.remove(&y.id())).collect();
        if cotangents.iter().all(Option::is_none) {
            continue;
        }
        let inputs = node.inputs();
        let wanted: SmallVec<[bool; 4]> =
            inputs.iter().map(|x| x.dtype().is_inexact() && graph.has(x)).collect();
        on_stream_of(node, || {
            let results = pull_node(node, &inputs, &outputs, &cotangents, &wanted)?;
            for ((x, ct), &wanted) in inputs.iter().zip(results).zip(&wanted) {
                if let Some(ct) = ct
                    && wanted
                {
                    accumulate(duals, x, fit(ct, x)?)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn accumulate(duals: &mut Duals, x: &Array, ct: Array) -> Result<()> {
    match duals.entry(x.id()) {
        Entry::Occupied(mut sum) => {
            let both = joined(sum.get(), &ct)?;
            sum.insert(both);
        }
        Entry::Vacant(place) => {
            place.insert(ct);
        }
    }
    Ok(())
}

/// The sum of two cotangents. One that is a part among zeros, as a slice's is, is added where it lies.
fn joined(sum: &Array, ct: &Array) -> Result<Array> {
    for (part, rest) in [(ct, sum), (sum, ct)] {
        if let Primitive::SliceUpdate(op) = &part.node.op
            && op.mode == UpdateMode::Set
            && let [dst, update] = &part.node.inputs()[..]
            && is_zero(dst)
        {
            let op = SliceUpdate { mode: UpdateMode::Add, ..(**op).clone() };
            return Array::apply(op, &[rest.clone(), update.clone()]);
        }
    }
    sum.add(ct)
}

/// True iff an array is the scalar zero, or that one broadcast.
fn is_zero(x: &Array) -> bool {
    match &x.node.op {
        Primitive::Scalar(value) => *value == Literal::from_f64(0.0, value.dtype()),
        Primitive::Broadcast(_) => x.node.with_inputs(|i| i.first().is_some_and(is_zero)),
        _ => false,
    }
}

/// `ct` summed back over the axes along which `x` was repeated, in `x`'s dtype.
fn fit(ct: Array, x: &Array) -> Result<Array> {
    if ct.shape() == x.shape() && ct.dtype() == x.dtype() {
        return Ok(ct);
    }
    let lead = ct.ndim().saturating_sub(x.ndim());
    let mut axes: Vec<i64> = (0..lead as i64).collect();
    if ct.ndim() >= x.ndim() {
        for (i, (&have, &want)) in ct.shape()[lead..].iter().zip(x.shape()).enumerate() {
            if want == 1 && have != 1 {
                axes.push((lead + i) as i64);
            }
        }
    }
    let mut out = if axes.is_empty() { ct } else { ct.sum(Some(&axes), true)? };
    if lead > 0 {
        let shape: Shape = out.shape()[lead..].into();
        out = out.reshape(&shape)?;
    }
    let out = out.astype(x.dtype())?;
    out.broadcast_to(x.shape())
}

fn pull_node(
    node: &NodeRef,
    inputs: &[Array],
    outputs: &[Array],
    cotangents: &[Option<Array>],
    wanted: &[bool],
) -> Result<List> {
    let op = &node.op;
    let linear = |places: &[usize]| {
        let mut results: List = smallvec![None; inputs.len()];
        for place in 0..inputs.len() {
            if wanted[place] && (places.is_empty() || places.contains(&place)) {
                results[place] = op.transpose(place, inputs, outputs, cotangents)?;
            }
        }
        Ok(results)
    };
    match op.derivative() {
        Derivative::Zero => Ok(List::new()),
        Derivative::Partials => {
            let Some(ct) = &cotangents[0] else { return Ok(List::new()) };
            let partials = op.partials(inputs, &outputs[0])?;
            let mut results = List::with_capacity(inputs.len());
            for ((x, partial), &wanted) in inputs.iter().zip(partials).zip(wanted) {
                results.push(match partial {
                    _ if !wanted => None,
                    Partial::Zero => None,
                    Partial::One => Some(ct.clone()),
                    // Summing back first negates fewer elements.
                    Partial::Minus => Some(fit(ct.clone(), x)?.negative()?),
                    Partial::Of(p) => Some(scale(ct, &conjugated(&p)?)?),
                    Partial::Where(mask) => Some(mask.select(ct, &like(ct, 0.0))?),
                });
            }
            Ok(results)
        }
        Derivative::Linear(places) => linear(places),
        Derivative::Bilinear(a, b) => linear(&[a, b]),
        Derivative::Custom => op.vjp(inputs, outputs, cotangents, wanted).map(List::from_vec),
        Derivative::Composed => {
            if let Some(found) = op.fused_vjp(inputs, outputs, cotangents, wanted)? {
                return Ok(List::from_vec(found));
            }
            let composed = op.compose(inputs)?;
            let sources: Vec<Array> = (inputs.iter().zip(wanted))
                .filter(|&(_, &wanted)| wanted)
                .map(|(x, _)| x.clone())
                .collect();
            let graph = Dependents::between(&sources, &composed, Some(Transform::Vjp));
            let mut duals = Duals::default();
            for (y, ct) in composed.iter().zip(cotangents) {
                if let Some(ct) = ct {
                    accumulate(&mut duals, y, ct.clone())?;
                }
            }
            pull_back(&graph, &mut duals)?;
            // An array that is several inputs gets its cotangent once.
            Ok(inputs.iter().map(|x| duals.remove(&x.id())).collect())
        }
    }
}
