//! Checks of transforms against what they mean. Each returns a sentence if something is wrong.

use crate::sample::{Rng, bits, example, from_values, values};
use lazulite_core::op::{Aval, Primitive};
use lazulite_core::transform::{Graph, Traced, jvp_arrays, trace, vjp_arrays, vmap_arrays};
use lazulite_core::{Array, Result};

/// How close two results must be: `|a - b| <= absolute + relative * max(|b|)`, with the largest
/// element of the array, since differences have the rounding errors of the largest terms.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// The step of central differences.
    pub step: f64,
    /// Relative to the largest element.
    pub relative: f64,
    /// Absolute.
    pub absolute: f64,
}

impl Default for Tolerance {
    /// For functions computed in `f64`: a central difference of step `h` has an error of about
    /// `h^2` from the curvature and `1e-16 / h` from rounding, which balance near `h = 1e-5`.
    fn default() -> Tolerance {
        Tolerance { step: 1e-5, relative: 1e-6, absolute: 1e-7 }
    }
}

impl Tolerance {
    /// For functions computed in `f32`, whose differences are that much coarser.
    pub fn single() -> Tolerance {
        Tolerance { step: 3e-3, relative: 2e-2, absolute: 2e-2 }
    }

    fn check(&self, what: &str, got: &[f64], want: &[f64]) -> Result<(), String> {
        if got.len() != want.len() {
            return Err(format!("{what}: {} elements, expected {}", got.len(), want.len()));
        }
        let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let bound = self.absolute + self.relative * largest;
        match got.iter().zip(want).position(|(g, w)| {
            let near = (g - w).abs() <= bound;
            !near && g != w
        }) {
            Some(i) => Err(format!("{what}: element {i} is {}, expected {}", got[i], want[i])),
            None => Ok(()),
        }
    }
}

type Function<'a> = &'a dyn Fn(&[Array]) -> Result<Vec<Array>>;

fn text<T>(what: &str, result: Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{what}: {e}"))
}

/// Checks the jvp of `f` at `primals` against central differences, its vjp against its jvp by
/// inner products with random tangents and cotangents, and up to `order` also the derivatives of
/// the vjp. Primals that are not floating or complex are held fixed; such outputs are left out.
///
/// # Errors
/// What is wrong.
pub fn check_grads(
    f: Function<'_>,
    primals: &[Array],
    order: usize,
    tolerance: Tolerance,
    rng: &mut Rng,
) -> Result<(), String> {
    let active: Vec<usize> =
        (0..primals.len()).filter(|&i| primals[i].dtype().is_inexact()).collect();
    let g = |x: &[Array]| -> Result<Vec<Array>> {
        let mut all = primals.to_vec();
        active.iter().zip(x).for_each(|(&i, x)| all[i] = x.clone());
        Ok(f(&all)?.into_iter().filter(|y| y.dtype().is_inexact()).collect())
    };
    let x: Vec<Array> = active.iter().map(|&i| primals[i].clone()).collect();
    let random = |like: &[Array], rng: &mut Rng| -> Result<Vec<Array>, String> {
        like.iter()
            .map(|x| {
                let parts = if x.dtype().is_complex() { 2 } else { 1 };
                let data = rng.uniforms(x.len() * parts, -1.0, 1.0);
                text("sample", from_values(&data, x.shape(), x.dtype()))
            })
            .collect()
    };
    let tangents = random(&x, rng)?;
    let (outputs, pushed) = text("jvp", jvp_arrays(g, &x, &tangents))?;
    let shifted = |sign: f64| -> Result<Vec<Vec<f64>>> {
        let moved = (x.iter().zip(&tangents))
            .map(|(x, t)| {
                let sum: Vec<f64> = (values(x)?.iter().zip(values(t)?))
                    .map(|(x, t)| x + sign * tolerance.step * t)
                    .collect();
                from_values(&sum, x.shape(), x.dtype())
            })
            .collect::<Result<Vec<_>>>()?;
        g(&moved)?.iter().map(values).collect()
    };
    let (up, down) = (text("value", shifted(1.0))?, text("value", shifted(-1.0))?);
    for (i, t) in pushed.iter().enumerate() {
        if t.shape() != outputs[i].shape() || t.dtype() != outputs[i].dtype() {
            return Err(format!("jvp: tangent {i} is {t:?}, the output {:?}", outputs[i]));
        }
        let want: Vec<f64> =
            up[i].iter().zip(&down[i]).map(|(u, d)| (u - d) / (2.0 * tolerance.step)).collect();
        tolerance.check(&format!("jvp of output {i}"), &text("jvp", values(t))?, &want)?;
    }
    let cotangents = random(&outputs, rng)?;
    let (_, pulled) = text("vjp", vjp_arrays(g, &x, |_| Ok(cotangents.clone())))?;
    let dot = |a: &[Array], b: &[Array]| -> Result<(f64, f64), String> {
        let (mut sum, mut size) = (0.0, 0.0);
        for (a, b) in a.iter().zip(b) {
            for (a, b) in text("values", values(a))?.iter().zip(text("values", values(b))?) {
                sum += a * b;
                size += (a * b).abs();
            }
        }
        Ok((sum, size))
    };
    for (i, ct) in pulled.iter().enumerate() {
        if ct.shape() != x[i].shape() || ct.dtype() != x[i].dtype() {
            return Err(format!("vjp: cotangent {i} is {ct:?}, the primal {:?}", x[i]));
        }
    }
    let (forward, size) = dot(&cotangents, &pushed)?;
    let (backward, _) = dot(&pulled, &tangents)?;
    // Both products round alike; only the order of sums differs.
    let bound = tolerance.absolute * 1e-2 + tolerance.relative * 1e-2 * size;
    if (forward - backward).abs() > bound || forward.is_nan() != backward.is_nan() {
        return Err(format!("vjp: inner products are {backward} and, by jvp, {forward}"));
    }
    if order > 1 {
        let pull = |x: &[Array]| -> Result<Vec<Array>> {
            Ok(vjp_arrays(g, x, |_| Ok(cotangents.clone()))?.1)
        };
        return check_grads(&pull, &x, order - 1, tolerance, rng)
            .map_err(|e| format!("order {order}: {e}"));
    }
    Ok(())
}

/// Checks `vmap` of `f` against a loop over the examples. `axes` are the batch axes of the inputs;
/// the outputs' are in front. Integers must be equal, floats within `tolerance`.
///
/// # Errors
/// What is wrong.
pub fn check_vmap(
    f: Function<'_>,
    inputs: &[Array],
    axes: &[Option<usize>],
    tolerance: Tolerance,
) -> Result<(), String> {
    let signed: Vec<Option<i64>> = axes.iter().map(|a| a.map(|a| a as i64)).collect();
    let name = |i| format!("input {i}");
    let batched = text("vmap", vmap_arrays(f, inputs, &signed, |n| Ok(vec![Some(0); n]), name))?;
    let batch = (inputs.iter().zip(axes)).find_map(|(x, a)| a.map(|a| x.shape()[a])).unwrap_or(0);
    for i in 0..batch {
        let one = (inputs.iter().zip(axes))
            .map(|(x, axis)| axis.map_or_else(|| Ok(x.clone()), |axis| example(x, axis, i)))
            .collect::<Result<Vec<_>>>();
        let expected = text("one example", f(&text("one example", one)?))?;
        if expected.len() != batched.len() {
            return Err(format!("vmap: {} outputs, not {}", batched.len(), expected.len()));
        }
        for (k, (want, all)) in expected.iter().zip(&batched).enumerate() {
            let what = format!("vmap: output {k} of example {i}");
            let got = text(&what, example(all, 0, i))?;
            if got.shape() != want.shape() || got.dtype() != want.dtype() {
                return Err(format!("{what} is {got:?}, expected {want:?}"));
            }
            let (got, want) = (text(&what, values(&got))?, text(&what, values(want))?);
            let exact = Tolerance { relative: 0.0, absolute: 0.0, ..tolerance };
            let inexact = expected[k].dtype().is_inexact();
            let bound = if inexact { tolerance } else { exact };
            let nans = |v: &[f64]| -> Vec<f64> {
                v.iter().map(|x| if x.is_nan() { f64::MAX } else { *x }).collect()
            };
            bound.check(&what, &nans(&got), &nans(&want))?;
        }
    }
    Ok(())
}

/// The recording as a file would give it back: written as text, read, and checked.
fn stored(traced: &Traced) -> Result<Traced, String> {
    let graph = text("stored", traced.graph())?;
    let json = serde_json::to_string(&graph).map_err(|e| format!("stored: {e}"))?;
    let graph: Graph = serde_json::from_str(&json).map_err(|e| format!("stored: {e}: {json}"))?;
    text("stored", graph.traced(traced.captured().to_vec()))
}

/// Checks that a recording of `f` on `inputs` gives `f`'s own results, bit for bit, and that a
/// shapeless recording does so on `others` too, of other sizes.
///
/// # Errors
/// What is wrong.
pub fn check_compile(
    f: Function<'_>,
    inputs: &[Array],
    others: Option<&[Array]>,
) -> Result<(), String> {
    let avals: Vec<Aval> = inputs.iter().map(|x| Aval::new(x.shape(), x.dtype())).collect();
    let same = |what: &str, got: Result<Vec<Array>>, want: Result<Vec<Array>>| {
        let (got, want) = (text(what, got)?, text("eager", want)?);
        for (k, (g, w)) in got.iter().zip(&want).enumerate() {
            if g.shape() != w.shape() || g.dtype() != w.dtype() {
                return Err(format!("{what}: output {k} is {g:?}, expected {w:?}"));
            }
            if text(what, bits(g))? != text("eager", bits(w))? {
                return Err(format!("{what}: output {k} has other bits than eager"));
            }
        }
        Ok(())
    };
    let fixed = text("trace", trace(&avals, false, f))?;
    // Code of the user's cannot be stored.
    let storable = !fixed.steps().iter().any(|step| matches!(step.op, Primitive::Kernel(_)));
    same("compiled", fixed.call(inputs), f(inputs))?;
    same("compiled, second call", fixed.call(inputs), f(inputs))?;
    if storable {
        same("stored", stored(&fixed)?.call(inputs), f(inputs))?;
    }
    if let Some(others) = others {
        let shapeless = text("shapeless trace", trace(&avals, true, f))?;
        same("shapeless, same sizes", shapeless.call(inputs), f(inputs))?;
        same("shapeless, other sizes", shapeless.call(others), f(others))?;
        same("stored, other sizes", stored(&shapeless)?.call(others), f(others))?;
    }
    Ok(())
}
