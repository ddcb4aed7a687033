//! `compile`: a function is traced once for arguments of some shapes and dtypes, and later calls
//! replay the trace.
//!
//! A replay builds the graph that the function would build, so results are the same bit for bit;
//! what is saved is the function's own work and all checks.

use super::Tracing;
use super::custom::blanks;
use super::trace::Traced;
use super::tree::Tree;
use crate::array::Array;
use crate::device::{Stream, current_stream};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::observe::{Clock, What};
use crate::op::{Aval, random};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Traces kept for one function; beyond it the least recently used half goes.
const MOST_TRACES: usize = 128;

/// A function with the traces of it. Made by [`Compiled::new`]; [`compile`] wraps one in a closure.
pub struct Compiled<A, B, F> {
    f: F,
    shapeless: bool,
    cache: Mutex<FxHashMap<u64, Vec<Entry<A, B>>>>,
    traces: AtomicU64,
    clock: AtomicU64,
    /// The line that made it.
    made: &'static Location<'static>,
}

/// One trace and what it is good for.
struct Entry<A, B> {
    /// The argument's form, without its arrays.
    args: A,
    /// The result's form, without its arrays.
    outputs: Arc<B>,
    avals: Vec<Aval>,
    stream: Stream,
    traced: Arc<Recording>,
    used: u64,
}

/// A trace, whose last input and output are the default random key if `f` drew from it.
struct Recording {
    traced: Traced,
    draws: bool,
}

impl Recording {
    fn new(
        avals: &[Aval],
        shapeless: bool,
        f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    ) -> Result<Recording> {
        let tracing = Tracing::begin();
        let mut inputs: Vec<Array> = avals.iter().map(|a| tracing.placeholder(a.clone())).collect();
        let key = tracing.placeholder(Aval::new([2].as_slice(), Dtype::U32));
        let (outputs, next) = random::with_state(&key, || f(&inputs));
        let mut outputs = outputs?;
        let draws = !next.same(&key);
        if draws {
            inputs.push(key);
            outputs.push(next);
        }
        Ok(Recording { traced: Traced::between(&inputs, &outputs, shapeless), draws })
    }

    fn call(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        if !self.draws {
            return self.traced.call(inputs);
        }
        let mut inputs = inputs.to_vec();
        inputs.push(random::state()?);
        let mut outputs = self.traced.call(&inputs)?;
        outputs.pop().into_iter().for_each(random::set_state);
        Ok(outputs)
    }
}

/// `f` compiled: traced once for each combination of shapes and dtypes of its arguments, of the
/// trees' forms, and of the current stream. Arrays that `f` captures are not copied: compiled
/// functions hold on to the arrays, which never change. The default random key is a hidden
/// argument, so that every call draws other numbers, the same as `f` itself would.
///
/// ```no_run
/// use lazulite_core::{Array, Dtype, compile};
/// let layer = compile(|(w, x): (Array, Array)| x.matmul(&w)?.tanh());
/// let w = Array::ones(&[4, 2], Dtype::F32)?;
/// let y = layer((w.clone(), Array::ones(&[3, 4], Dtype::F32)?))?; // traced for these shapes
/// let z = layer((w, Array::zeros(&[3, 4], Dtype::F32)?))?; // replayed
/// assert_eq!((y.shape(), z.shape()), (&[3, 2][..], &[3, 2][..]));
/// # Ok::<(), lazulite_core::Error>(())
/// ```
///
/// # Errors
/// The returned function fails with those of `f`, and with kind `Trace` if `f` evaluates an array
/// that depends on its arguments.
#[track_caller]
pub fn compile<A: Tree, B: Tree>(f: impl Fn(A) -> Result<B>) -> impl Fn(A) -> Result<B> {
    let compiled = Compiled::new(f);
    move |args| compiled.call(args)
}

/// As [`compile`], but one trace serves all sizes: `f` is traced again only if a rank or a dtype
/// changes. What `f` itself computes from sizes stays as it was in the trace.
///
/// # Errors
/// As [`compile`]; for other sizes also those of the ops.
#[track_caller]
pub fn compile_shapeless<A: Tree, B: Tree>(f: impl Fn(A) -> Result<B>) -> impl Fn(A) -> Result<B> {
    let compiled = Compiled::shapeless(f);
    move |args| compiled.call(args)
}

impl<A: Tree, B: Tree, F: Fn(A) -> Result<B>> Compiled<A, B, F> {
    /// `f`, not traced yet.
    #[track_caller]
    pub fn new(f: F) -> Compiled<A, B, F> {
        Compiled {
            f,
            shapeless: false,
            cache: Mutex::default(),
            traces: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            made: Location::caller(),
        }
    }

    /// `f`, not traced yet, with traces that serve all sizes.
    #[track_caller]
    pub fn shapeless(f: F) -> Compiled<A, B, F> {
        Compiled { shapeless: true, ..Compiled::new(f) }
    }

    /// How often `f` was traced.
    pub fn traces(&self) -> u64 {
        self.traces.load(Ordering::Relaxed)
    }

    /// The function's outputs.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn call(&self, args: A) -> Result<B> {
        let mut inputs = Vec::new();
        args.flatten(&mut inputs);
        let inputs: Vec<Array> = inputs.into_iter().cloned().collect();
        let stream = current_stream();
        let hash = self.hash(&inputs);
        if let Some((traced, outputs)) = self.find(hash, &args, &inputs, stream) {
            return outputs.with_leaves(traced.call(&inputs)?);
        }
        let clock = Clock::start();
        let avals: Vec<Aval> = inputs.iter().map(Array::aval).collect();
        let mut form = None;
        let traced = Recording::new(&avals, self.shapeless, |placeholders| {
            let out = (self.f)(args.with_leaves(placeholders.to_vec())?)?;
            let leaves = out.leaves();
            form = Some(out.with_leaves(blanks(leaves.len()))?);
            Ok(leaves)
        })?;
        let before = self.traces.fetch_add(1, Ordering::Relaxed) as usize;
        let function = std::ptr::from_ref(self).addr() as u64;
        clock.record(Some(self.made), || What::Trace { function, before });
        let results = traced.call(&inputs)?;
        let Some(outputs) = form else {
            return Err(crate::error::Error::argument("compile", "the function was not called"));
        };
        let result = outputs.with_leaves(results);
        let args = args.with_leaves(blanks(inputs.len()))?;
        let used = self.clock.fetch_add(1, Ordering::Relaxed);
        let (traced, outputs) = (Arc::new(traced), Arc::new(outputs));
        self.keep(hash, Entry { args, outputs, avals, stream, traced, used });
        result
    }

    fn hash(&self, inputs: &[Array]) -> u64 {
        let mut hash = FxHasher::default();
        for x in inputs {
            x.dtype().hash(&mut hash);
            x.ndim().hash(&mut hash);
            if !self.shapeless {
                x.shape().hash(&mut hash);
            }
        }
        hash.finish()
    }
    /// A trace for these arguments.
    fn find(
        &self,
        hash: u64,
        args: &A,
        inputs: &[Array],
        stream: Stream,
    ) -> Option<(Arc<Recording>, Arc<B>)> {
        let mut cache = self.cache.lock();
        let entry = cache.get_mut(&hash)?.iter_mut().find(|entry| {
            entry.stream == stream
                && entry.avals.len() == inputs.len()
                && entry.avals.iter().zip(inputs).all(|(aval, x)| {
                    aval.dtype == x.dtype()
                        && aval.shape.len() == x.ndim()
                        && (self.shapeless || aval.shape.as_slice() == x.shape())
                })
                && entry.args.same_form(args)
        })?;
        entry.used = self.clock.fetch_add(1, Ordering::Relaxed);
        Some((entry.traced.clone(), entry.outputs.clone()))
    }

    fn keep(&self, hash: u64, entry: Entry<A, B>) {
        let mut cache = self.cache.lock();
        if cache.values().map(Vec::len).sum::<usize>() >= MOST_TRACES {
            let mut ages: Vec<u64> = cache.values().flatten().map(|e| e.used).collect();
            ages.sort_unstable();
            let cut = ages[ages.len() / 2];
            cache.retain(|_, list| {
                list.retain(|e| e.used > cut);
                !list.is_empty()
            });
        }
        cache.entry(hash).or_default().push(entry);
    }
}
