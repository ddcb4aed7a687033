//! Programs with reductions over few short rows, such as a norm of one token. They wait; where the next
//! work is products of what they make, every block of the products computes the rows for itself.

use std::fmt::Write;

use lazulite_core::Dtype;
use lazulite_core::Result;
use lazulite_core::plan::{Extent, Instr, Tape};
use smallvec::SmallVec;

use crate::args::Args;
use crate::driver::Kernel;
use crate::fused::load_dtypes;
use crate::held::Range;
use crate::print::{compute, expression, reducer, storage};
use crate::record;
use crate::rows::{levels, needed, reductions};
use crate::stream::Queue;

/// Bytes of the rows that a block computes for itself.
const MOST_BYTES: usize = 16 << 10;
/// Elements of a row that a block keeps in shared memory.
const MOST_EARLY: usize = 2 << 10;

/// How an operand moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stride {
    Zero,
    One,
    /// The length of a row.
    Length,
}

/// What a kernel computes before its products.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prologue {
    pub tape: Tape,
    /// For each load, from row to row and along a row.
    pub strides: SmallVec<[(Stride, Stride); 8]>,
    /// For each load, true iff it is one row that the kernel may read before those ahead of it have ended.
    pub early: SmallVec<[bool; 8]>,
}

/// A launch that is ready.
pub(crate) struct Prepared {
    pub kernel: Kernel,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub args: Args,
}

/// Rows that wait.
pub(crate) struct Rows {
    pub prologue: Prologue,
    /// The addresses of the loads and of the store.
    pub addresses: SmallVec<[u64; 8]>,
    pub reads: SmallVec<[Range; 8]>,
    pub out: Range,
    pub dtype: Dtype,
    pub rows: usize,
    pub length: usize,
    /// The launch by itself.
    pub alone: Prepared,
}

impl Rows {
    /// Queues the launch by itself.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn launch(mut self, queue: &Queue) -> Result<()> {
        let p = &mut self.alone;
        // SAFETY: whoever prepared the launch promised it.
        unsafe { p.args.send(p.kernel, p.grid, p.block, 0, (queue.handle(), record::active())) }
    }
}

/// True iff rows of such a number and length may be computed by every block.
pub(crate) fn is_small(rows: usize, length: usize, dtype: Dtype) -> bool {
    rows * length * dtype.size() <= MOST_BYTES && length.is_multiple_of(8)
}

impl Prologue {
    /// The prologue of a tape with one store, of whole rows; `loads` are their strides from row to row and
    /// along a row, and whether they are settled.
    pub fn new(
        tape: &Tape,
        loads: impl Iterator<Item = (isize, isize, bool)>,
        length: usize,
    ) -> Option<Prologue> {
        let [store] = tape.stores[..] else { return None };
        let stride = |s: isize| match s {
            0 => Some(Stride::Zero),
            1 => Some(Stride::One),
            _ => (s == length as isize).then_some(Stride::Length),
        };
        let (mut strides, mut early) = (SmallVec::new(), SmallVec::new());
        for (kept, along, settled) in loads {
            let moves = (stride(kept)?, stride(along)?);
            strides.push(moves);
            early.push(settled && moves == (Stride::Zero, Stride::One) && length <= MOST_EARLY);
        }
        let full = tape.values[store as usize].extent == Extent::Full;
        full.then(|| Prologue { tape: tape.clone(), strides, early })
    }

    /// The loads that are kept in shared memory, with the types of their elements.
    fn kept(&self) -> impl Iterator<Item = (usize, Dtype)> {
        let dtypes = load_dtypes(&self.tape);
        self.early.iter().enumerate().filter(|(_, early)| **early).map(move |(l, _)| (l, dtypes[l]))
    }

    /// Bytes of shared memory for `rows` rows of `length` elements of `dtype`, and for what is kept.
    pub fn shared(&self, rows: usize, length: usize, dtype: Dtype) -> usize {
        let kept: usize = self.kept().map(|(_, t)| (length * t.size()).next_multiple_of(16)).sum();
        (rows * length * dtype.size()).next_multiple_of(16) + kept
    }

    /// Text by which a block of `threads` threads brings what it may read early to shared memory.
    pub fn print_early(&self, place: usize, threads: usize) -> String {
        let mut out = "  extern __shared__ __align__(16) unsigned char memory[];\n  \
                       T* const rows_of = (T*)memory;\n  x = rows_of;\n  \
                       u32 kept = (u32)(m * k * (i64)sizeof(T) + 15) & ~15u;\n"
            .to_string();
        for (l, dtype) in self.kept() {
            let t = storage(dtype);
            // Each thread reads what it wrote.
            let _ = write!(
                out,
                "  {t}* const kept{l} = ({t}*)(memory + kept);\n  \
                 kept += (u32)(k * (i64)sizeof({t}) + 15) & ~15u;\n  \
                 for (int j = threadIdx.x; j < (int)k; j += {threads}) kept{l}[j] = ((const {t}*)a.v[{}])[j];\n",
                place + l
            );
        }
        out
    }

    /// The words that the text reads: the loads' addresses and the store's.
    pub fn words(&self) -> usize {
        self.strides.len() + 1
    }

    fn is_row(&self, v: usize) -> bool {
        let value = &self.tape.values[v];
        match value.instr {
            Instr::Load { operand } => self.strides[operand as usize].1 == Stride::Zero,
            Instr::Const(_) => true,
            _ => value.extent == Extent::Row,
        }
    }

    fn value(&self, v: usize, place: usize) -> String {
        let value = &self.tape.values[v];
        let text = match value.instr {
            Instr::Load { operand } => {
                let (kept, along) = self.strides[operand as usize];
                let by = |stride, index: &str| match stride {
                    Stride::Zero => "0".to_string(),
                    Stride::One => index.to_string(),
                    Stride::Length => format!("{index} * (int)k"),
                };
                let (t, at) = (storage(value.dtype), place + operand as usize);
                let (kept, along) = (by(kept, "i"), by(along, "j"));
                match self.early[operand as usize] {
                    true => format!("widen(kept{operand}[j])"),
                    false => format!("widen(((const {t}*)a.v[{at}])[{kept} + {along}])"),
                }
            }
            _ => expression(&self.tape, v).unwrap_or_default(),
        };
        format!("const {} v{v} = {text};", compute(value.dtype))
    }

    /// Text by which a block of `threads` threads computes rows of `T` into `rows_of`, and block 0 stores
    /// them, too; the addresses begin at word `place`. It follows that of [`Prologue::print_early`].
    pub fn print(&self, place: usize, threads: usize) -> String {
        let levels = levels(&self.tape);
        let last = levels.iter().copied().max().unwrap_or(0);
        let mut out = "  for (int i = 0; i < (int)m; i++) {\n".to_string();
        for level in 0..=last {
            for v in (0..levels.len()).filter(|&v| levels[v] == level && self.is_row(v)) {
                if !matches!(self.tape.values[v].instr, Instr::Reduce(..)) {
                    let _ = writeln!(out, "    {}", self.value(v, place));
                }
            }
            let here: Vec<usize> =
                reductions(&self.tape).into_iter().filter(|&v| levels[v] == level + 1).collect();
            let (mut roots, mut starts, mut joins, mut ends) =
                (Vec::new(), String::new(), String::new(), String::new());
            for &v in &here {
                let Instr::Reduce(op, a) = self.tape.values[v].instr else { continue };
                let t = compute(self.tape.values[a as usize].dtype);
                let join = format!("{}<{t}>", reducer(op));
                roots.push(a);
                let _ = writeln!(starts, "    {t} a{v} = {join}::start();");
                let _ = writeln!(joins, "      a{v} = {join}::join(a{v}, v{a});");
                let _ = writeln!(ends, "    const {t} v{v} = block_join<{join}>(a{v});");
            }
            if level == last {
                let store = self.tape.stores[0];
                roots.push(store);
                let to = place + self.strides.len();
                let _ = write!(
                    joins,
                    "      const T made = convert<T>(v{store});\n      rows_of[i * (int)k + j] = made;\n      \
                     if (blockIdx.x == 0) ((T*)a.v[{to}])[i * (int)k + j] = made;\n"
                );
            }
            let _ = write!(
                out,
                "{starts}#pragma unroll 4\n    for (int j = threadIdx.x; j < (int)k; j += {threads}) {{\n"
            );
            for v in needed(&self.tape, &roots, &[]).into_iter().filter(|&v| !self.is_row(v)) {
                let _ = writeln!(out, "      {}", self.value(v, place));
            }
            let _ = write!(out, "{joins}    }}\n{ends}");
        }
        out.push_str("  }\n  __syncthreads();\n");
        out
    }
}
