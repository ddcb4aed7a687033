//! Attention of one query, and what a model does just before it: the query and a new key are turned by their
//! position, and the new key and value take their place among those of earlier tokens. All wait for each
//! other, and become one launch where they are of one position.

use lazulite_core::backend::Operand;
use lazulite_core::{Device, Result};
use smallvec::SmallVec;

use crate::args::Args;
use crate::attention::SOURCE;
use crate::backend;
use crate::driver::CUdeviceptr;
use crate::held::{Calls, Range, meet};
use crate::module::Rounding;
use crate::record;
use crate::stream::Queue;

/// What a call does, where attention of one query may do it.
#[derive(Clone, Copy)]
pub(crate) enum Note {
    Turn(Turn),
    Put(Put),
}

/// Rows `(b, heads, 1, d)` of which all pairs are turned by the position.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub x: CUdeviceptr,
    pub shape: [usize; 4],
    /// Of the batch and the heads.
    pub strides: [isize; 2],
    /// One `int64`.
    pub position: CUdeviceptr,
    pub freqs: CUdeviceptr,
    /// The logarithm of the slope and the scale of positions, as bits.
    pub numbers: [u64; 2],
    /// True iff pairs are neighbours.
    pub traditional: bool,
    /// In row-major order.
    pub out: CUdeviceptr,
    /// True iff nothing queued before may still write the position and the frequencies.
    pub settled: bool,
}

/// Rows `(b, groups, 1, d)` put in place `position` of the third axis of an array.
#[derive(Clone, Copy)]
pub(crate) struct Put {
    pub part: CUdeviceptr,
    pub shape: [usize; 4],
    /// Of the batch and the groups.
    pub strides: [isize; 2],
    pub whole: CUdeviceptr,
    pub whole_strides: [isize; 3],
    /// One `int64`.
    pub position: CUdeviceptr,
    /// The number of the op in reports of bad places.
    pub op: u64,
    /// True iff nothing queued before may still write the array.
    pub settled: bool,
}

/// Strides of batch and heads of an array of rows, if the elements of a row are neighbours.
pub(crate) fn row_strides(x: &Operand) -> Option<[isize; 2]> {
    let (shape, strides) = (x.shape(), &x.layout.strides);
    let of = |a: usize| if shape[a] == 1 { 0 } else { strides[a] };
    (shape.len() == 4 && shape[2] == 1 && strides[3] == 1).then(|| [of(0), of(1)])
}

/// Calls that turn a query and a key, and calls that put that key and a value in place.
pub(crate) struct Heads {
    turns: Calls,
    puts: Calls,
}

impl Heads {
    /// True iff attention may begin with the two.
    pub fn fit(turns: &Calls, puts: &Calls) -> bool {
        let all = |calls: &Calls, is: fn(&Note) -> bool| {
            calls.notes.len() == calls.count && calls.notes.iter().all(is)
        };
        all(turns, |n| matches!(n, Note::Turn(_))) && all(puts, |n| matches!(n, Note::Put(_)))
    }

    /// The two, which [`Heads::fit`].
    pub fn new(turns: Calls, puts: Calls) -> Heads {
        Heads { turns, puts }
    }

    /// Takes a call in, or gives it back.
    pub fn join(&mut self, calls: Calls) -> Option<Calls> {
        match calls.notes.first() {
            Some(Note::Put(_)) => self.puts.join(calls),
            _ => Some(calls),
        }
    }

    /// Queues the launches by themselves.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn launch(self, queue: &Queue) -> Result<()> {
        self.turns.launch(queue)?;
        self.puts.launch(queue)
    }
}

/// Where operands of a query's attention lie: the first element, shape, and strides but the last, 1.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Rows {
    pub at: CUdeviceptr,
    pub shape: [usize; 4],
    pub strides: [isize; 3],
}

impl Rows {
    /// Those of an operand of four axes.
    pub fn of(x: &Operand, at: CUdeviceptr) -> Option<Rows> {
        let (&[b, h, t, d], &[of_b, of_h, of_t, _]) = (x.shape(), &x.layout.strides[..]) else {
            return None;
        };
        Some(Rows { at, shape: [b, h, t, d], strides: [of_b, of_h, of_t] })
    }
}

/// A launch of attention of one query `(b, h, 1, d)`.
pub(crate) struct Query {
    pub device: Device,
    /// Queries, keys and values.
    pub rows: [Rows; 3],
    /// The mask, the sinks, the result, parts of it, and counters.
    pub others: [CUdeviceptr; 5],
    pub scale: f64,
    /// As [`crate::attention::Shapes::geometry`] has it.
    pub geometry: SmallVec<[u64; 64]>,
    pub spans: usize,
    /// What it reads besides queries, keys and values, and what it writes.
    pub reads: SmallVec<[Range; 4]>,
    pub writes: SmallVec<[Range; 2]>,
    pub fault: CUdeviceptr,
    pub first: Option<First>,
}

/// What the launch does first.
pub(crate) struct First {
    query: Turn,
    key: Turn,
    keys: Put,
    values: Put,
}

impl Query {
    /// Makes the launch do what `heads` does, or gives it back.
    pub fn begin_with(&mut self, heads: Heads) -> Option<Heads> {
        match self.first.is_none().then(|| self.first_of(&heads)).flatten() {
            None => Some(heads),
            Some(first) => {
                self.first = Some(first);
                None
            }
        }
    }

    fn first_of(&self, heads: &Heads) -> Option<First> {
        let (&[Note::Turn(a), Note::Turn(b)], &[Note::Put(c), Note::Put(d)]) =
            (&heads.turns.notes[..], &heads.puts.notes[..])
        else {
            return None;
        };
        let [q, k, v] = &self.rows;
        let (query, key) = if a.out == q.at { (a, b) } else { (b, a) };
        let (keys, values) = if c.whole == k.at { (c, d) } else { (d, c) };
        let size = |shape: &[usize; 4]| shape.iter().product::<usize>() * size_of::<f32>();
        let made = (key.out, size(&key.shape));
        let row_major = |shape: &[usize; 4]| [shape[1] * shape[3], shape[3]].map(|n| n as isize);
        let lies = |shape: &[usize; 4], strides: [isize; 2], x: &[usize; 4], by: [isize; 2]| {
            shape == x && (0..2).all(|i| shape[i] == 1 || strides[i] == by[i])
        };
        let array = |put: &Put, rows: &Rows| {
            let [b, g, _, d] = rows.shape;
            put.whole == rows.at && put.whole_strides == rows.strides && put.shape == [b, g, 1, d]
        };
        let fits = query.out == q.at
            && lies(&q.shape, [q.strides[0], q.strides[1]], &query.shape, row_major(&query.shape))
            && array(&keys, k)
            && array(&values, v)
            && keys.part == key.out
            && lies(&keys.shape, keys.strides, &key.shape, row_major(&key.shape))
            && query.numbers == key.numbers
            && (query.freqs, query.traditional) == (key.freqs, key.traditional)
            && [key.position, keys.position, values.position] == [query.position; 3];
        // Blocks do not wait for each other: nothing is written that another one may still read.
        let own = [(query.out, size(&query.shape)), made];
        let inside = |r: &&Range| own.contains(r);
        let reads = heads.turns.reads.iter().chain(&heads.puts.reads).chain(&self.reads);
        let writes: SmallVec<[Range; 8]> = (heads.turns.writes.iter())
            .chain(&heads.puts.writes)
            .chain(&self.writes)
            .copied()
            .collect();
        let apart = |r: &Range| !writes.iter().any(|&w| meet(*r, w));
        let alone = |(i, w): (usize, &Range)| !writes[..i].iter().any(|&o| meet(*w, o));
        let free = reads.filter(|r| !inside(r)).all(apart) && writes.iter().enumerate().all(alone);
        (fits && free).then_some(First { query, key, keys, values })
    }

    /// Queues the launch.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn launch(mut self, queue: &Queue) -> Result<()> {
        let [q, k, v] = self.rows;
        let mut defines = format!("T=f32;D={};E={};ONE_QUERY", q.shape[3], v.shape[3]);
        let (mut at, mut more) = (q.at, SmallVec::<[u64; 12]>::new());
        if let Some(First { query, key, keys, values }) = &self.first {
            let settled = [query.settled, key.settled, keys.settled, values.settled];
            defines.push_str(if settled == [true; 4] { ";TURNED;EARLY" } else { ";TURNED" });
            defines.push_str(if query.traditional { ";TRADITIONAL" } else { "" });
            at = query.x;
            self.geometry[STRIDES_OF_Q..][..2].copy_from_slice(&query.strides.map(|s| s as u64));
            more.extend([key.x, values.part, query.out, key.out, query.position, query.freqs]);
            more.extend([self.fault, keys.op]);
            more.extend(query.numbers);
            more.extend(key.strides.iter().chain(&values.strides).map(|&s| s as u64));
        }
        let kernel = backend::with_gpu(self.device, |gpu| {
            gpu.modules.kernel(SOURCE, "one_query", &defines, Rounding::Contracted)
        })?;
        let mut args = Args::new();
        args.word(at).word(k.at).word(v.at);
        self.others.iter().for_each(|&other| {
            args.word(other);
        });
        args.word(self.scale.to_bits()).words(&self.geometry);
        if !more.is_empty() {
            args.words(&more);
        }
        let grid = [(q.shape[0] * q.shape[1]) as u32, self.spans as u32, 1];
        // SAFETY: the kernel has these parameters; strides stay within the operands, whose rows are
        // aligned, the parts have room for all spans, and no block writes what another one reads.
        unsafe { args.send(kernel, grid, [512, 1, 1], 0, (queue.handle(), record::active())) }
    }
}

/// The place of the queries' strides among the words of the geometry.
const STRIDES_OF_Q: usize = 6;
