//! Work that waits until something else is queued on its stream, because what follows may join it in one
//! launch: products of one array, what makes the array, calls of one kernel that do not need each other,
//! and attention of one query with what comes before it.

use lazulite_core::backend::Operand;
use lazulite_core::{Device, Result};
use smallvec::SmallVec;

use crate::args::Args;
use crate::backend;
use crate::driver::CUdeviceptr;
use crate::heads::{Heads, Note, Query};
use crate::module::Rounding;
use crate::prologue::Rows;
use crate::record;
use crate::stream::{Launch, Queue};
use crate::vector::Waiting;

/// A range of addresses: the first one, and how many.
pub(crate) type Range = (CUdeviceptr, usize);

/// True iff two ranges have an address in common.
pub(crate) fn meet(a: Range, b: Range) -> bool {
    a.0 < b.0 + b.1 as u64 && b.0 < a.0 + a.1 as u64
}

/// The addresses of an operand's elements; `at` is that of the one at its offset.
pub(crate) fn range(x: &Operand, at: CUdeviceptr) -> Range {
    let size = x.dtype.size();
    let Some((low, high)) = x.layout.extent() else { return (at, 0) };
    let start = at.wrapping_add_signed((low - x.layout.offset as isize) as i64 * size as i64);
    (start, (high - low + 1) as usize * size)
}

/// What waits.
pub(crate) enum Held {
    Rows(Box<Rows>),
    Products(Box<Waiting>),
    Calls(Box<Calls>),
    Heads(Box<Heads>),
    Query(Box<Query>),
}

impl Held {
    /// The two as one launch, or both if they cannot be one.
    pub fn join(self, other: Held) -> (Held, Option<Held>) {
        match (self, other) {
            (Held::Rows(rows), Held::Products(mut products)) if products.can_begin_with(&rows) => {
                products.begin_with(*rows);
                (Held::Products(products), None)
            }
            (Held::Products(mut a), Held::Products(b)) => {
                let rest = a.join(*b).map(|b| Held::Products(Box::new(b)));
                (Held::Products(a), rest)
            }
            (Held::Calls(mut a), Held::Calls(b)) => {
                let Some(b) = a.join(*b) else { return (Held::Calls(a), None) };
                match Heads::fit(&a, &b) {
                    true => (Held::Heads(Box::new(Heads::new(*a, b))), None),
                    false => (Held::Calls(a), Some(Held::Calls(Box::new(b)))),
                }
            }
            (Held::Heads(mut a), Held::Calls(b)) => {
                let rest = a.join(*b).map(|b| Held::Calls(Box::new(b)));
                (Held::Heads(a), rest)
            }
            (Held::Heads(heads), Held::Query(mut query)) => match query.begin_with(*heads) {
                None => (Held::Query(query), None),
                Some(heads) => (Held::Heads(Box::new(heads)), Some(Held::Query(query))),
            },
            (first, other) => (first, Some(other)),
        }
    }

    /// Queues the launch.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn launch(self, queue: &Queue) -> Result<()> {
        match self {
            Held::Rows(rows) => rows.launch(queue),
            Held::Products(products) => products.launch(queue),
            Held::Calls(calls) => calls.launch(queue),
            Held::Heads(heads) => heads.launch(queue),
            Held::Query(query) => query.launch(queue),
        }
    }
}

/// The most calls of a launch, whose parameters have room for four kilobytes.
const MOST: usize = 4;

/// A kernel of `THREADS` threads a block, whose only parameter is an array of `COUNT` calls, of which
/// `blockIdx.y` takes one.
#[derive(Clone, PartialEq)]
pub(crate) struct Callee {
    pub source: &'static str,
    pub name: &'static str,
    /// The definitions besides `COUNT`.
    pub defines: String,
}

/// Calls of one kernel.
pub(crate) struct Calls {
    device: Device,
    callee: Callee,
    /// Blocks of the longest call.
    blocks: usize,
    words: SmallVec<[u64; 80]>,
    pub count: usize,
    pub reads: SmallVec<[Range; 8]>,
    pub writes: SmallVec<[Range; 4]>,
    /// For each call, what it does, if it has such a note.
    pub notes: SmallVec<[Note; 2]>,
}

/// Threads of a block.
pub(crate) const THREADS: usize = 256;

impl Calls {
    /// One call for `threads` threads, with its parameters.
    ///
    /// # Safety
    /// As [`Args::launch`]; the ranges must be those that the call reads and writes.
    pub unsafe fn one(
        launch: &Launch<'_>,
        callee: Callee,
        threads: usize,
        words: &[u64],
        reads: &[Range],
        writes: &[Range],
        note: Option<Note>,
    ) -> Held {
        Held::Calls(Box::new(Calls {
            device: launch.gpu.device(),
            callee,
            blocks: threads.div_ceil(THREADS),
            words: words.into(),
            count: 1,
            reads: reads.into(),
            writes: writes.into(),
            notes: note.into_iter().collect(),
        }))
    }

    /// Takes calls in, or gives them back if they cannot be one launch.
    pub fn join(&mut self, other: Calls) -> Option<Calls> {
        let clash = |a: &[Range], b: &[Range]| a.iter().any(|&a| b.iter().any(|&b| meet(a, b)));
        let fits = self.device == other.device
            && self.callee == other.callee
            && self.count < MOST
            && !clash(&self.writes, &other.reads)
            && !clash(&self.writes, &other.writes)
            && !clash(&self.reads, &other.writes);
        if !fits {
            return Some(other);
        }
        self.blocks = self.blocks.max(other.blocks);
        self.count += 1;
        self.words.extend(other.words);
        self.reads.extend(other.reads);
        self.writes.extend(other.writes);
        self.notes.extend(other.notes);
        None
    }

    /// Queues the launch.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn launch(self, queue: &Queue) -> Result<()> {
        let Callee { source, name, defines } = &self.callee;
        let defines = format!("{defines};COUNT={}", self.count);
        let kernel = backend::with_gpu(self.device, |gpu| {
            gpu.modules.kernel(source, name, &defines, Rounding::Separate)
        })?;
        let mut args = Args::new();
        args.words(&self.words);
        let (grid, block) = ([self.blocks as u32, self.count as u32, 1], [THREADS as u32, 1, 1]);
        // SAFETY: whoever made the calls promised it, and no call needs another one.
        unsafe { args.send(kernel, grid, block, 0, (queue.handle(), record::active())) }
    }
}
