//! Steps of a loop that are the same each time: planned and launched once, then queued again whole.
//!
//! A [`Repeated`] function is evaluated as it is called. From the third call for arguments of some
//! shapes on, a device that can record its work queues the whole step at once, and the host neither
//! builds a graph nor binds steps. Elsewhere a call is the function and an `eval`.

use super::custom::blanks;
use super::tree::Tree;
use crate::array::{Array, NodeRef, Value};
use crate::backend::{self, Buffer, Recording};
use crate::device::{Stream, current_stream};
use crate::error::Result;
use crate::eval::eval;
use crate::op::{Aval, random};
use crate::shape::{Layout, Strides, contiguous_strides};
use parking_lot::Mutex;
use std::sync::Arc;

/// Kinds of arguments for which a function keeps what it recorded.
const MOST_KINDS: usize = 16;
/// How often large arguments may be elsewhere than the recorded ones before nothing is recorded for
/// such arguments any more.
const MOST_MOVES: usize = 4;

/// A function of arrays that is called again and again, such as one step of a model that generates
/// text. Arguments are taken by value: those that nobody else holds may be overwritten by results of
/// the same size, so that a cache that is passed in and comes back stays where it is.
///
/// As with [`super::compile()`], what the function computes from anything but its arguments stays as it
/// was when it was recorded: arrays that it captures, numbers that it reads.
///
/// ```no_run
/// # use lazulite_core::{Array, Result, transform::Repeated};
/// let step = Repeated::new(|(x, sum): (Array, Array)| Ok((x.multiply(&x)?, sum.add(&x)?)));
/// let (mut x, mut sum) = (Array::scalar(2.0f32), Array::scalar(0.0f32));
/// for _ in 0..3 {
///     (x, sum) = step.call((x, sum))?;
/// }
/// assert_eq!(sum.item::<f32>()?, 2.0 + 4.0 + 16.0);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub struct Repeated<A, B, F> {
    f: F,
    kinds: Mutex<Vec<Kind<A, B>>>,
}

/// Arguments of one form, with what is known of the function for them.
struct Kind<A, B> {
    /// The argument's form, without its arrays.
    args: A,
    avals: Vec<Aval>,
    stream: Stream,
    stage: Stage<B>,
    /// How often a recording did not take the arguments.
    moves: usize,
}

enum Stage<B> {
    /// There was a call, which prepared what a first one prepares.
    Seen,
    Recorded(Arc<Replay<B>>),
    /// The device cannot record the function.
    Never,
}

/// A recorded call.
struct Replay<B> {
    recording: Arc<dyn Recording>,
    /// The result's form, without its arrays.
    form: B,
    results: Vec<Laid>,
}

/// How a result lies in its buffer.
struct Laid {
    aval: Aval,
    strides: Strides,
    offset: usize,
}

impl<A: Tree, B: Tree, F: Fn(A) -> Result<B>> Repeated<A, B, F> {
    /// `f`, not called yet.
    pub fn new(f: F) -> Repeated<A, B, F> {
        Repeated { f, kinds: Mutex::default() }
    }

    /// The function's outputs, evaluated.
    ///
    /// # Errors
    /// Those of the function and of evaluating what it returns.
    pub fn call(&self, args: A) -> Result<B> {
        let stream = current_stream();
        let Some(buffers) = buffers(&args, stream)? else { return self.plainly(args) };
        match self.replay(&args, &buffers, stream)? {
            Some(result) => Ok(result),
            None => {
                drop(buffers);
                self.plainly(args)
            }
        }
    }

    fn plainly(&self, args: A) -> Result<B> {
        let out = (self.f)(args)?;
        eval(&out.leaves())?;
        Ok(out)
    }

    /// The results by a recording, which is made if there was a call of this kind before; `None` if
    /// these arguments cannot be recorded.
    fn replay(&self, args: &A, buffers: &[Buffer], stream: Stream) -> Result<Option<B>> {
        let avals: Vec<Aval> = args.leaves().iter().map(Array::aval).collect();
        // A call from within the function, or from another thread meanwhile, is evaluated plainly.
        let Some(mut kinds) = self.kinds.try_lock() else { return Ok(None) };
        let known = kinds
            .iter()
            .position(|k| k.stream == stream && k.avals == avals && k.args.same_form(args));
        let Some(known) = known else {
            if kinds.len() == MOST_KINDS {
                kinds.remove(0);
            }
            let args = args.with_leaves(blanks(avals.len()))?;
            kinds.push(Kind { args, avals, stream, stage: Stage::Seen, moves: 0 });
            return Ok(None);
        };
        let kind = &mut kinds[known];
        let replay = match &kind.stage {
            Stage::Never => return Ok(None),
            Stage::Recorded(replay) => replay.clone(),
            Stage::Seen => match self.record(args, &avals, buffers, stream)? {
                Some(replay) => {
                    let replay = Arc::new(replay);
                    kind.stage = Stage::Recorded(replay.clone());
                    replay
                }
                None => {
                    kind.stage = Stage::Never;
                    return Ok(None);
                }
            },
        };
        if !unshared(args, &*replay.recording) {
            return Ok(None);
        }
        let Some(results) = replay.recording.replay(buffers)? else {
            kind.moves += 1;
            kind.stage = if kind.moves < MOST_MOVES { Stage::Seen } else { Stage::Never };
            return Ok(None);
        };
        let array = |(buffer, laid): (Buffer, &Laid)| {
            let (shape, strides) = (laid.aval.shape.clone(), laid.strides.clone());
            let layout = Layout { shape, strides, offset: laid.offset };
            Array::from_buffer(buffer, laid.aval.dtype, layout)
        };
        let results = results.into_iter().zip(&replay.results).map(array);
        replay.form.with_leaves(results.collect::<Result<_>>()?).map(Some)
    }

    fn record(
        &self,
        args: &A,
        avals: &[Aval],
        buffers: &[Buffer],
        stream: Stream,
    ) -> Result<Option<Replay<B>>> {
        let mut made = None;
        let key = random::state()?;
        let mut work = |aliases: Vec<Buffer>| {
            let array = |(buffer, aval): (Buffer, &Aval)| {
                Array::from_buffer(buffer, aval.dtype, Layout::contiguous(&aval.shape))
            };
            let inputs = aliases.into_iter().zip(avals).map(array).collect::<Result<_>>()?;
            let inputs = args.with_leaves(inputs)?;
            let (out, next) = random::with_state(&key, || (self.f)(inputs));
            let out = out?;
            let leaves = out.leaves();
            eval(&leaves)?;
            let (mut results, mut places) = (Vec::new(), Vec::new());
            for leaf in &leaves {
                let Some(value) = leaf.out().value() else { return Ok(Vec::new()) };
                let (strides, offset) = (value.strides, value.offset);
                places.push(Laid { aval: leaf.aval(), strides, offset });
                results.push(value.buffer);
            }
            // A function that draws random numbers must draw others in each call.
            if next.same(&key) {
                made = Some((out.with_leaves(blanks(leaves.len()))?, places));
            }
            Ok(results)
        };
        let recording = backend::get(stream.device)?.record(stream, buffers, &mut work)?;
        Ok(recording.zip(made).map(|(recording, (form, results))| Replay {
            recording,
            form,
            results,
        }))
    }
}

/// The buffers of the arguments, if each is all of one in row-major order. Those of other devices are
/// copied to the stream's.
fn buffers<A: Tree>(args: &A, stream: Stream) -> Result<Option<Vec<Buffer>>> {
    let leaves = args.leaves();
    let lazy: Vec<Array> = leaves.iter().filter(|x| !x.is_evaluated()).cloned().collect();
    if !lazy.is_empty() {
        eval(&lazy)?;
    }
    let mut buffers = Vec::with_capacity(leaves.len());
    for x in &leaves {
        let Some(Value { buffer, strides, offset }) = x.out().value() else {
            return Ok(None);
        };
        let (home, size) = (buffer.memory().device(), buffer.memory().size());
        if size != x.nbytes() || offset != 0 || strides != contiguous_strides(x.shape()) {
            return Ok(None);
        }
        buffers.push(match home == stream.device {
            true => buffer,
            false => {
                let bytes = backend::get(home)?.download(&buffer)?;
                backend::get(stream.device)?.upload(stream.device, &bytes)?
            }
        });
    }
    Ok(Some(buffers))
}

/// True iff nobody but `args` holds those arguments that the recording overwrites; each has one more
/// handle, the caller's.
fn unshared<A: Tree>(args: &A, recording: &dyn Recording) -> bool {
    let mut leaves = Vec::new();
    args.flatten(&mut leaves);
    leaves.iter().enumerate().all(|(i, x)| {
        let alone = || {
            let Some(value) = x.out().value() else { return false };
            // Handles: the array's, the caller's and this one.
            NodeRef::strong_count(&x.node) == 1 && value.buffer.handles() == 3
        };
        !recording.overwrites(i) || alone()
    })
}
