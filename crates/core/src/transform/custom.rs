//! Functions whose transforms the user writes.

use super::tree::Tree;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::op::Batched;
use crate::op::custom::{CustomFunction, CustomRules, Transform};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;

type Vjp<A, B> = dyn Fn(&A, &B, &B) -> Result<A> + Send + Sync;
type Jvp<A, B> = dyn Fn(&A, &A) -> Result<B> + Send + Sync;
type Vmap<A, B> = dyn Fn(&A, &[Option<usize>]) -> Result<(B, Vec<Option<usize>>)> + Send + Sync;

/// A function with transforms of its own. Made by [`custom_function`].
pub struct CustomFn<A, B> {
    call: Box<dyn Fn(A) -> Result<B> + Send + Sync>,
    vjp: Option<Arc<Vjp<A, B>>>,
    jvp: Option<Arc<Jvp<A, B>>>,
    vmap: Option<Arc<Vmap<A, B>>>,
}

/// `f`, for which some transforms can be written by hand; the others go through what `f` does.
///
/// ```no_run
/// use lazulite_core::{Array, custom_function, grad};
/// let log = custom_function(|x: Array| x.log())
///     .with_vjp(|x, _y, ct| ct.divide(&x.maximum(&Array::scalar(1e-3f32))?));
/// let slope = grad(|x: Array| log.call(x))(Array::scalar(0.0f32))?;
/// assert_eq!(slope.item::<f32>()?, 1e3); // not infinite
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn custom_function<A, B>(f: impl Fn(A) -> Result<B> + Send + Sync + 'static) -> CustomFn<A, B>
where
    A: Tree + Send + Sync + 'static,
    B: Tree + Send + Sync + 'static,
{
    CustomFn { call: Box::new(f), vjp: None, jvp: None, vmap: None }
}

impl<A, B> CustomFn<A, B>
where
    A: Tree + Send + Sync + 'static,
    B: Tree + Send + Sync + 'static,
{
    /// Takes `vjp(primals, outputs, cotangents)`, which returns the primals' cotangents, for the
    /// function's own. Arrays that the function captures get no cotangent then.
    #[must_use]
    pub fn with_vjp(
        mut self,
        vjp: impl Fn(&A, &B, &B) -> Result<A> + Send + Sync + 'static,
    ) -> CustomFn<A, B> {
        self.vjp = Some(Arc::new(vjp));
        self
    }

    /// Takes `jvp(primals, tangents)`, which returns the outputs' tangents, for the function's own.
    #[must_use]
    pub fn with_jvp(
        mut self,
        jvp: impl Fn(&A, &A) -> Result<B> + Send + Sync + 'static,
    ) -> CustomFn<A, B> {
        self.jvp = Some(Arc::new(jvp));
        self
    }

    /// Takes `vmap(primals, axes)`, which gets the batch axis of each array of the primals (`None`
    /// where it has none) and returns the outputs and theirs, for the function's own.
    #[must_use]
    pub fn with_vmap(
        mut self,
        vmap: impl Fn(&A, &[Option<usize>]) -> Result<(B, Vec<Option<usize>>)> + Send + Sync + 'static,
    ) -> CustomFn<A, B> {
        self.vmap = Some(Arc::new(vmap));
        self
    }

    /// The function's outputs, to which its transforms apply.
    ///
    /// # Errors
    /// Those of the function.
    pub fn call(&self, args: A) -> Result<B> {
        let primals = args.leaves();
        let form = args.with_leaves(blanks(primals.len()))?;
        let outputs = (self.call)(args)?;
        let leaves = outputs.leaves();
        let rules = TreeRules {
            primals: Mutex::new(form),
            outputs: Mutex::new(outputs.with_leaves(blanks(leaves.len()))?),
            vjp: self.vjp.clone(),
            jvp: self.jvp.clone(),
            vmap: self.vmap.clone(),
        };
        outputs.with_leaves(CustomFunction::wrap(Arc::new(rules), &leaves, &primals)?)
    }

    /// The function as a closure, for other transforms to take.
    pub fn into_fn(self) -> impl Fn(A) -> Result<B> + Send + Sync {
        move |args| self.call(args)
    }
}

/// Placeholders of a tree's form: 0-d constants that hold nothing alive.
pub(crate) fn blanks(count: usize) -> Vec<Array> {
    vec![Array::scalar(false); count]
}

/// A user's transforms with the forms of the trees that they speak of.
struct TreeRules<A, B> {
    primals: Mutex<A>,
    outputs: Mutex<B>,
    vjp: Option<Arc<Vjp<A, B>>>,
    jvp: Option<Arc<Jvp<A, B>>>,
    vmap: Option<Arc<Vmap<A, B>>>,
}

fn missing() -> Error {
    Error::argument("custom_function", "the transform is not overridden")
}

impl<A: Tree + Send + Sync, B: Tree + Send + Sync> CustomRules for TreeRules<A, B> {
    fn overrides(&self, transform: Transform) -> bool {
        match transform {
            Transform::Vjp => self.vjp.is_some(),
            Transform::Jvp => self.jvp.is_some(),
            Transform::Vmap => self.vmap.is_some(),
        }
    }

    fn vjp(
        &self,
        primals: &[Array],
        outputs: &[Array],
        cotangents: &[Array],
    ) -> Result<Vec<Option<Array>>> {
        let vjp = self.vjp.as_ref().ok_or_else(missing)?;
        let args = self.primals.lock().with_leaves(primals.to_vec())?;
        let (outputs, cotangents) = {
            let form = self.outputs.lock();
            (form.with_leaves(outputs.to_vec())?, form.with_leaves(cotangents.to_vec())?)
        };
        let result = vjp(&args, &outputs, &cotangents)?.leaves();
        check("vjp", &result, primals)?;
        Ok(result.into_iter().map(Some).collect())
    }

    fn jvp(&self, primals: &[Array], tangents: &[Option<Array>]) -> Result<Vec<Option<Array>>> {
        let jvp = self.jvp.as_ref().ok_or_else(missing)?;
        let filled = (tangents.iter().zip(primals))
            .map(|(t, x)| t.clone().map_or_else(|| x.zeros_like(), Ok))
            .collect::<Result<Vec<Array>>>()?;
        let (args, tangents) = {
            let form = self.primals.lock();
            (form.with_leaves(primals.to_vec())?, form.with_leaves(filled)?)
        };
        Ok(jvp(&args, &tangents)?.leaves().into_iter().map(Some).collect())
    }

    fn vmap(&self, primals: &[Array], axes: &[Option<usize>]) -> Result<Batched> {
        let vmap = self.vmap.as_ref().ok_or_else(missing)?;
        let args = self.primals.lock().with_leaves(primals.to_vec())?;
        let (outputs, out_axes) = vmap(&args, axes)?;
        let outputs = outputs.leaves();
        if outputs.len() != out_axes.len() {
            let message =
                format!("vmap returned {} axes for {} outputs", out_axes.len(), outputs.len());
            return Err(Error::argument("custom_function", message));
        }
        for (y, axis) in outputs.iter().zip(&out_axes) {
            if let Some(axis) = *axis
                && axis >= y.ndim()
            {
                return Err(Error::axis("custom_function", axis as i64, y.ndim()));
            }
        }
        Ok((outputs, out_axes))
    }
}

/// Checks that a user's transform returned arrays of the shapes of `like`.
fn check(what: &str, got: &[Array], like: &[Array]) -> Result<()> {
    for (i, (x, y)) in got.iter().zip(like).enumerate() {
        if x.shape() != y.shape() {
            let message = format!(
                "the {what} returned shape {} for array {i}, expected {}",
                crate::shape::show(x.shape()),
                crate::shape::show(y.shape())
            );
            return Err(Error::shape("custom_function", &[x.shape(), y.shape()], message));
        }
    }
    Ok(())
}

/// The transforms of a custom function that was batched: those of one example, batched.
pub(crate) struct BatchedRules {
    pub(crate) rules: Arc<dyn CustomRules>,
    /// Batch axes of the primals; the outputs have theirs in front.
    pub(crate) primals: SmallVec<[Option<usize>; 4]>,
    pub(crate) batch: usize,
}

impl BatchedRules {
    /// `f` over the examples of `arrays`, whose results all have a batch axis in front.
    fn each(
        &self,
        arrays: &[Array],
        axes: &[Option<usize>],
        f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    ) -> Result<Vec<Array>> {
        super::vmap::batched(arrays, axes, self.batch, f, |count| vec![Some(0); count])
    }
}

impl CustomRules for BatchedRules {
    fn overrides(&self, transform: Transform) -> bool {
        transform != Transform::Vmap && self.rules.overrides(transform)
    }

    fn vjp(
        &self,
        primals: &[Array],
        outputs: &[Array],
        cotangents: &[Array],
    ) -> Result<Vec<Option<Array>>> {
        let arrays = [primals, outputs, cotangents].concat();
        let (n, m) = (primals.len(), outputs.len());
        let axes = [&self.primals[..], &vec![Some(0); 2 * m]].concat();
        let batched = self.each(&arrays, &axes, |x| {
            let cotangents = self.rules.vjp(&x[..n], &x[n..n + m], &x[n + m..])?;
            (cotangents.into_iter().zip(&x[..n]))
                .map(|(ct, x)| ct.map_or_else(|| x.zeros_like(), Ok))
                .collect()
        })?;
        // A primal that all examples share gets the sum of their cotangents.
        (batched.into_iter().zip(&self.primals))
            .map(|(ct, axis)| match *axis {
                Some(axis) => ct.moveaxis(0, axis as i64).map(Some),
                None => ct.sum(Some(&[0]), false).map(Some),
            })
            .collect()
    }

    fn jvp(&self, primals: &[Array], tangents: &[Option<Array>]) -> Result<Vec<Option<Array>>> {
        let n = primals.len();
        let mut arrays = primals.to_vec();
        let mut axes = self.primals.to_vec();
        for (t, axis) in tangents.iter().zip(&self.primals) {
            arrays.extend(t.clone());
            axes.extend(t.as_ref().map(|_| *axis));
        }
        let batched = self.each(&arrays, &axes, |x| {
            let mut given = x[n..].iter();
            let tangents: Vec<Option<Array>> =
                tangents.iter().map(|t| t.as_ref().and_then(|_| given.next().cloned())).collect();
            let results = self.rules.jvp(&x[..n], &tangents)?;
            results
                .into_iter()
                .map(|t| t.ok_or_else(|| Error::argument("custom_function", "no tangent")))
                .collect()
        })?;
        Ok(batched.into_iter().map(Some).collect())
    }

    fn vmap(&self, _primals: &[Array], _axes: &[Option<usize>]) -> Result<Batched> {
        Err(missing())
    }
}
