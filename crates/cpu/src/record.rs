//! Recordings: the calls that one thread makes on one stream, kept so that they can be made again
//! without a graph and without binding.
//!
//! While a thread records, its calls are noted and nothing runs. Memory comes from a pool that
//! belongs to the recording, so that every replay finds its intermediates where they were and nobody
//! else has them. Small arguments are copied into memory of the recording; large ones must be where
//! they were. What the work reads besides is kept alive.

use std::cell::RefCell;
use std::sync::Arc;

use lazulite_core::backend::{Buffer, Call, Job, Memory, Operand, Recorded, Recording};
use lazulite_core::op::Primitive;
use lazulite_core::plan::Tape;
use lazulite_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::allocator::{CpuMemory, Pool, allocator};
use crate::backend;
use crate::backend::{jobs, submit};
use crate::strided::internal;

/// Arguments of up to so many bytes are copied; larger ones stay where they are.
const COPIED: usize = 64 << 10;

/// A call that owns what it works with.
enum Noted {
    Op {
        op: Primitive,
        inputs: Vec<Operand>,
        outputs: Vec<Operand>,
    },
    Tape {
        tape: Tape,
        inputs: Vec<Operand>,
        outputs: Vec<Operand>,
        space: Vec<usize>,
    },
    Product {
        op: Primitive,
        inputs: Vec<Operand>,
        epilogue: Tape,
        extra: Vec<Operand>,
        output: Operand,
    },
}

impl Noted {
    fn run(&self) -> Result<()> {
        backend::run(&match self {
            Noted::Op { op, inputs, outputs } => Call::Op { op, inputs, outputs },
            Noted::Tape { tape, inputs, outputs, space } => {
                Call::Tape { tape, inputs, outputs, space }
            }
            Noted::Product { op, inputs, epilogue, extra, output } => {
                Call::Product { op, inputs, epilogue, extra, output }
            }
        })
    }
}

/// What a thread records.
struct Active {
    stream: u32,
    pool: Arc<Pool>,
    calls: Vec<Noted>,
    /// Stand-ins for memory of arguments and of the pool, by place and size: one for each, since
    /// kernels ask whether two operands are the same memory.
    aliases: FxHashMap<(usize, usize), Buffer>,
    /// Memory from outside that the work reads, by place.
    kept: FxHashMap<usize, Buffer>,
    /// The places that are written.
    written: FxHashSet<usize>,
    /// True iff the work needs something that a replay does not do.
    spoiled: bool,
}

thread_local! {
    static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
}

fn with<R>(f: impl FnOnce(&mut Active) -> R) -> Option<R> {
    ACTIVE.with_borrow_mut(|active| active.as_mut().map(f))
}

/// True iff the calling thread records.
pub(crate) fn active() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}

/// Where the calling thread's memory comes from, if it records.
pub(crate) fn pool() -> Option<Arc<Pool>> {
    with(|a| a.pool.clone())
}

/// An error for what cannot wait for a replay.
///
/// # Errors
/// Kind `Kernel` iff the calling thread records.
pub(crate) fn refuse(what: &'static str) -> Result<()> {
    let spoiled = with(|a| a.spoiled = true).is_some();
    let message = "the values of a step that is being recorded are not there";
    if spoiled { Err(Error::new(ErrorKind::Kernel, what, message)) } else { Ok(()) }
}

/// Runs a job now if the calling thread records, else gives it back.
pub(crate) fn job(stream: u32, job: Job) -> Option<Job> {
    if with(|a| a.spoiled |= a.stream != stream).is_none() {
        return Some(job);
    }
    job();
    None
}

/// Notes a call if the calling thread records; false if it does not.
pub(crate) fn note(call: &Call<'_>) -> bool {
    with(|a| {
        let noted = match call {
            Call::Op { op, inputs, outputs } => {
                let (inputs, outputs) = (a.operands(inputs, false), a.operands(outputs, true));
                Noted::Op { op: (*op).clone(), inputs, outputs }
            }
            Call::Tape { tape, inputs, outputs, space } => {
                let (inputs, outputs) = (a.operands(inputs, false), a.operands(outputs, true));
                Noted::Tape { tape: (*tape).clone(), inputs, outputs, space: space.to_vec() }
            }
            Call::Product { op, inputs, epilogue, extra, output } => Noted::Product {
                op: (*op).clone(),
                inputs: a.operands(inputs, false),
                epilogue: (*epilogue).clone(),
                extra: a.operands(extra, false),
                output: a.operand(output, true),
            },
        };
        a.calls.push(noted);
    })
    .is_some()
}

impl Active {
    fn operands(&mut self, all: &[Operand], written: bool) -> Vec<Operand> {
        all.iter().map(|x| self.operand(x, written)).collect()
    }

    /// The operand on a stand-in for its memory, so that nobody counts one more handle on that.
    fn operand(&mut self, x: &Operand, written: bool) -> Operand {
        let Some(memory) = x.buffer.downcast::<CpuMemory>() else {
            self.spoiled = true;
            return x.clone();
        };
        let place = memory.as_ptr().addr();
        if memory.is_unrecorded() {
            // Memory from outside has a value that others may see.
            self.spoiled |= written;
            self.kept.entry(place).or_insert_with(|| x.buffer.clone());
        } else if written {
            self.written.insert(place);
        }
        let alias = self.aliases.entry((place, memory.size()));
        let buffer = alias.or_insert_with(|| Buffer::new(memory.alias())).clone();
        Operand { buffer, dtype: x.dtype, layout: x.layout.clone() }
    }
}

/// An argument of a recording.
enum Argument {
    /// It is copied here before each replay.
    Copied(Buffer),
    /// It must be here.
    Place { at: usize, written: bool },
}

/// A result of a recording.
enum Outcome {
    /// The memory of an argument.
    Argument(usize),
    /// Memory of the recording, which is copied after each replay.
    Own(Buffer),
    /// Memory that no replay changes.
    Constant(Buffer),
}

/// The calls, and the memory behind their stand-ins.
struct Kept {
    calls: Vec<Noted>,
    _outside: Vec<Buffer>,
    _pool: Arc<Pool>,
}

struct Captured {
    stream: u32,
    arguments: Vec<Argument>,
    results: Vec<Outcome>,
    /// One replay at a time works on the recording's memory.
    kept: Mutex<Arc<Kept>>,
}

/// Ends the recording of this thread, also if the work panics.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        ACTIVE.take();
    }
}

/// Records `work` on stream `stream`.
///
/// # Errors
/// Kind `OutOfMemory`.
pub(crate) fn record(
    stream: u32,
    arguments: &[Buffer],
    work: &mut Recorded<'_>,
) -> Result<Option<Arc<dyn Recording>>> {
    if active() {
        return Ok(None);
    }
    let (mut taken, mut aliases, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for buffer in arguments {
        let Some(memory) = buffer.downcast::<CpuMemory>() else { return Ok(None) };
        let (argument, alias) = if memory.size() <= COPIED {
            let own = allocator().allocate(memory.size())?;
            let Some(alias) = own.downcast::<CpuMemory>().map(CpuMemory::alias) else {
                return Ok(None);
            };
            (Argument::Copied(own), alias)
        } else {
            let at = memory.as_ptr().addr();
            (Argument::Place { at, written: false }, memory.alias())
        };
        places.push(alias.as_ptr().addr());
        aliases.push(Buffer::new(alias));
        taken.push(argument);
    }
    let active = Active {
        stream,
        pool: Arc::default(),
        calls: Vec::new(),
        aliases: FxHashMap::default(),
        kept: FxHashMap::default(),
        written: FxHashSet::default(),
        spoiled: false,
    };
    ACTIVE.set(Some(active));
    let ending = Ending;
    let results = work(aliases);
    let active = ACTIVE.take();
    drop(ending);
    let (Some(active), Ok(results)) = (active, results) else { return Ok(None) };
    if active.spoiled {
        return Ok(None);
    }
    let outcome = |buffer: Buffer| {
        let memory = buffer.downcast::<CpuMemory>()?;
        let argument = places.iter().position(|&at| at == memory.as_ptr().addr());
        Some(match argument.map(|i| (i, &taken[i])) {
            Some((i, Argument::Place { .. })) => Outcome::Argument(i),
            Some((_, Argument::Copied(own))) => Outcome::Own(own.clone()),
            None if memory.is_unrecorded() => Outcome::Constant(buffer),
            None => Outcome::Own(buffer),
        })
    };
    let Some(results) = results.into_iter().map(outcome).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    for argument in &mut taken {
        if let Argument::Place { at, written } = argument {
            *written = active.written.contains(at);
        }
    }
    let kept = Kept {
        calls: active.calls,
        _outside: active.kept.into_values().collect(),
        _pool: active.pool,
    };
    let kept = Mutex::new(Arc::new(kept));
    Ok(Some(Arc::new(Captured { stream, arguments: taken, results, kept })))
}

/// All of `from` into `to`, which has as many bytes.
fn copy(from: &Buffer, to: &Buffer) -> Result<()> {
    let memory = |b: &Buffer| {
        let found = b.downcast::<CpuMemory>().map(|m| (m.as_ptr(), m.size()));
        found.ok_or_else(|| internal("an argument of a recording is elsewhere"))
    };
    let ((from, size), (to, room)) = (memory(from)?, memory(to)?);
    // SAFETY: both blocks have as many bytes and are different ones; the replay owns `to`.
    unsafe { to.copy_from_nonoverlapping(from, size.min(room)) };
    Ok(())
}

impl Recording for Captured {
    fn overwrites(&self, argument: usize) -> bool {
        matches!(self.arguments.get(argument), Some(Argument::Place { written: true, .. }))
    }

    fn replay(&self, arguments: &[Buffer]) -> Result<Option<Vec<Buffer>>> {
        let there = |(argument, buffer): (&Argument, &Buffer)| match argument {
            Argument::Copied(own) => own.memory().size() == buffer.memory().size(),
            Argument::Place { at, .. } => {
                buffer.downcast::<CpuMemory>().is_some_and(|m| m.as_ptr().addr() == *at)
            }
        };
        if active()
            || arguments.len() != self.arguments.len()
            || !self.arguments.iter().zip(arguments).all(there)
        {
            return Ok(None);
        }
        let kept = self.kept.lock();
        for (argument, buffer) in self.arguments.iter().zip(arguments) {
            if let Argument::Copied(own) = argument {
                copy(buffer, own)?;
            }
        }
        let done = Arc::new(Mutex::new(None));
        let (calls, outcome) = (Arc::clone(&kept), Arc::clone(&done));
        let job = move || *outcome.lock() = Some(calls.calls.iter().try_for_each(Noted::run));
        submit(self.stream, true, Box::new(job));
        jobs().synchronize(self.stream)?;
        let done = done.lock().take();
        done.unwrap_or_else(|| Err(internal("a step that was made again did not end")))?;
        let result = |outcome: &Outcome| {
            Ok(match outcome {
                Outcome::Argument(i) => arguments[*i].clone(),
                Outcome::Constant(buffer) => buffer.clone(),
                Outcome::Own(own) => {
                    let fresh = allocator().allocate(own.memory().size())?;
                    copy(own, &fresh)?;
                    fresh
                }
            })
        };
        self.results.iter().map(result).collect::<Result<_>>().map(Some)
    }
}
