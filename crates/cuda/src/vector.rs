//! Products of few rows with quantised matrices. Those of one x that follow each other are one launch,
//! and what is done with their elements is done where they are made.
//!
//! A product waits until something else is queued on its stream. One that reads what the product before
//! it makes, element by element (the two branches of a gated layer), is computed in step with it.

use std::fmt::Write;
use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

use lazulite_core::backend::Operand;
use lazulite_core::op::quantized::QuantFormat;
use lazulite_core::plan::{Instr, Tape};
use lazulite_core::{Device, Dtype, Result};
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

use crate::args::Args;
use crate::backend;
use crate::device::Gpu;
use crate::driver::Kernel;
use crate::fused::load_dtypes;
use crate::held::{Held, Range, meet, range};
use crate::module::Rounding;
use crate::print::{compute, expression, storage, stored};
use crate::prologue::{Prologue, Rows};
use crate::quantized::{SOURCE, aligned, defines, parts};
use crate::record;
use crate::stream::{Launch, Queue};

/// The most products of a launch.
const MOST: usize = 4;
/// The most rows of x for which two products are computed in step.
const MOST_IN_STEP: usize = 4;
/// Warps of a block.
const WARPS: usize = 4;
/// Rows of matrices from which on a warp takes two of one matrix.
const MANY_ROWS: usize = 1 << 12;
/// Blocks of a multiprocessor where each takes several parts of the matrices in turn, and makes x once.
const BLOCKS_IN_TURN: usize = 4;

/// How an operand of an epilogue lies beside the product `(m, n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Beside {
    /// An element for each of the product, in the same order.
    Each,
    /// An element for each column.
    Column,
    /// One element.
    One,
    /// The elements of an earlier product of the same section, which are at hand.
    Product(u8),
}

/// What is done with the elements of a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Epilogue {
    pub tape: Tape,
    /// For each load but the first, which is the product.
    pub beside: SmallVec<[Beside; 4]>,
}

/// Products that a warp computes in step, of matrices of as many rows: the last one's epilogue may read
/// the elements of those before.
pub(crate) type Section = SmallVec<[Option<Epilogue>; 2]>;

/// What a kernel is printed for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    pub format: QuantFormat,
    pub dtype: Dtype,
    pub scales: Dtype,
    /// Rows of x, rounded up to a power of two.
    pub rows: usize,
    /// Rows of a matrix that a warp takes.
    pub each: usize,
    /// What makes x, where every block makes it for itself.
    pub prologue: Option<Prologue>,
    /// True iff the matrices may be read before the work ahead has ended.
    pub early: bool,
    /// True iff there are fewer blocks than parts of the matrices.
    pub in_turn: bool,
    pub sections: SmallVec<[Section; MOST]>,
}

/// One product.
struct Product {
    parts: [Range; 3],
    out: Range,
    n: usize,
    epilogue: Option<Epilogue>,
    extra: SmallVec<[Range; 4]>,
}

/// Products that wait, all of one x.
pub(crate) struct Waiting {
    device: Device,
    format: QuantFormat,
    dtype: Dtype,
    scales: Dtype,
    x: Range,
    m: usize,
    k: usize,
    /// True iff the matrices may be read before the work ahead has ended.
    early: bool,
    /// What makes x.
    made: Option<Rows>,
    sections: SmallVec<[SmallVec<[Box<Product>; 2]>; MOST]>,
}

impl Waiting {
    fn products(&self) -> impl Iterator<Item = &Product> {
        self.sections.iter().flatten().map(Box::as_ref)
    }

    /// True iff every block may compute these rows for itself before it multiplies them.
    pub fn can_begin_with(&self, rows: &Rows) -> bool {
        let apart = |p: &Product| {
            let mut touched = rows.reads.iter().copied().chain([rows.out]);
            !touched.any(|r| meet(r, p.out)) && !p.extra.iter().any(|&e| meet(e, rows.out))
        };
        self.made.is_none()
            && (self.x, self.m, self.k, self.dtype)
                == (rows.out, rows.rows, rows.length, rows.dtype)
            && !rows.reads.iter().any(|&r| meet(r, rows.out))
            && self.products().all(apart)
    }

    /// Makes x of these rows.
    pub fn begin_with(&mut self, rows: Rows) {
        self.made = Some(rows);
    }

    /// Takes the product of `other` in, or gives it back if the two cannot be one launch.
    pub fn join(&mut self, mut other: Waiting) -> Option<Waiting> {
        let same = (self.device, self.format, self.dtype, self.scales, self.x, self.m, self.k)
            == (other.device, other.format, other.dtype, other.scales, other.x, other.m, other.k);
        let mut section = other.sections.pop()?;
        let mut product = section.pop()?;
        let give_back = |mut other: Waiting, product: Box<Product>| {
            other.sections.push(SmallVec::from_iter([product]));
            Some(other)
        };
        // What it writes, nobody may still read or write.
        let free = |p: &Product| {
            let read = p.extra.iter().chain(&p.parts);
            !meet(p.out, product.out) && !read.copied().any(|r| meet(r, product.out))
        };
        let room = self.products().count() < MOST;
        let beside = |made: &Rows| {
            !made.reads.iter().any(|&r| meet(r, product.out))
                && !product.extra.iter().any(|&e| meet(e, made.out))
        };
        let free = self.products().all(free) && self.made.iter().all(beside);
        if !same || !room || !free || meet(self.x, product.out) {
            return give_back(other, product);
        }
        let reads_any = product.extra.iter().any(|&e| self.products().any(|p| meet(e, p.out)));
        if !reads_any {
            self.early &= other.early;
            self.sections.push(SmallVec::from_iter([product]));
            return None;
        }
        // It reads what one of them makes: only in step with that one, where registers have room for both.
        if self.m > MOST_IN_STEP {
            return give_back(other, product);
        }
        let Some(partner) = self.sections.last_mut() else { return give_back(other, product) };
        let first = match &partner[..] {
            [first] if first.n == product.n && first.epilogue.is_none() => first.out,
            _ => return give_back(other, product),
        };
        let Some(epilogue) = &mut product.epilogue else { return give_back(other, product) };
        let mut beside = epilogue.beside.clone();
        for (b, &e) in beside.iter_mut().zip(&product.extra) {
            if e == first && *b == Beside::Each {
                *b = Beside::Product(0);
            } else if meet(e, first) {
                return give_back(other, product);
            }
        }
        let others = &self.sections[..self.sections.len() - 1];
        if product.extra.iter().any(|&e| others.iter().flatten().any(|p| meet(e, p.out))) {
            return give_back(other, product);
        }
        epilogue.beside = beside;
        self.early &= other.early;
        if let Some(partner) = self.sections.last_mut() {
            partner.push(product);
        }
        None
    }

    /// Queues the launch.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn launch(self, queue: &Queue) -> Result<()> {
        let total: usize = self.sections.iter().map(|s| s[0].n * s.len()).sum();
        let rows = self.m.next_power_of_two();
        let alone = self.sections.iter().all(|s| s.len() == 1);
        let each = if alone && rows <= 4 && total >= MANY_ROWS { 2 } else { 1 };
        let parts = |s: &SmallVec<[Box<Product>; 2]>| s[0].n.div_ceil(WARPS * each);
        let blocks: usize = self.sections.iter().map(parts).sum();
        let gpu = |gpu: &Gpu| Ok(gpu.facts.multiprocessors as usize * BLOCKS_IN_TURN);
        let at_once = backend::with_gpu(self.device, gpu)?;
        let in_turn = self.made.is_some() && blocks > 2 * at_once;
        let variant = Variant {
            format: self.format,
            dtype: self.dtype,
            scales: self.scales,
            rows,
            prologue: self.made.as_ref().map(|made| made.prologue.clone()),
            early: self.early,
            in_turn,
            each,
            sections: (self.sections.iter())
                .map(|s| s.iter().map(|p| p.epilogue.clone()).collect())
                .collect(),
        };
        let kernel = backend::with_gpu(self.device, |gpu| kernel(gpu, &variant))?;
        let (mut words, mut end): (SmallVec<[u64; 48]>, usize) = (SmallVec::new(), 0);
        for section in &self.sections {
            end += parts(section);
            words.extend([end as u64, section[0].n as u64]);
            for product in section {
                words.extend(product.parts.iter().map(|p| p.0));
                words.push(product.out.0);
                words.extend(product.extra.iter().map(|e| e.0));
            }
        }
        words.extend(self.made.iter().flat_map(|made| made.addresses.iter().copied()));
        let shared = |made: &Rows| made.prologue.shared(made.rows, made.length, made.dtype);
        let shared = self.made.as_ref().map_or(0, shared);
        let blocks = if in_turn { at_once } else { blocks };
        let mut args = Args::new();
        args.word(self.x.0).size(self.m).size(self.k).words(&words);
        let (grid, block) = ([blocks as u32, 1, 1], [32 * WARPS as u32, 1, 1]);
        // SAFETY: the kernel was printed for these sections; core checked the sizes of the parts, and
        // the ranges that are written meet no other.
        unsafe { args.send(kernel, grid, block, shared, (queue.handle(), record::active())) }
    }
}

/// The kernel of a variant.
fn kernel(gpu: &Gpu, variant: &Variant) -> Result<Kernel> {
    type Known = FxHashMap<u64, Vec<(usize, Variant, Kernel)>>;
    static KERNELS: OnceLock<Mutex<Known>> = OnceLock::new();
    let kernels = KERNELS.get_or_init(Mutex::default);
    let device = gpu.index();
    let hash = FxBuildHasher.hash_one((device, variant));
    let known = kernels.lock().get(&hash).and_then(|list| {
        list.iter().find(|(d, v, _)| *d == device && v == variant).map(|(_, _, kernel)| *kernel)
    });
    if let Some(kernel) = known {
        return Ok(kernel);
    }
    let kernel = gpu.modules.load(&print(variant), "products", Rounding::Separate)?;
    kernels.lock().entry(hash).or_default().push((device, variant.clone(), kernel));
    Ok(kernel)
}

/// How an operand that broadcasts to `(..., n)` of `m` rows lies beside it.
fn beside(x: &Operand, m: usize, n: usize) -> Option<Beside> {
    let layout = &x.layout;
    let last = layout.shape.len().checked_sub(1)?;
    let still = |a: usize| layout.shape[a] == 1 || layout.strides[a] == 0;
    if (0..=last).all(still) {
        return Some(Beside::One);
    }
    if layout.is_contiguous() && layout.len() == m * n {
        return Some(Beside::Each);
    }
    let column = layout.shape[last] == n && layout.strides[last] == 1 && (0..last).all(still);
    column.then_some(Beside::Column)
}

/// Queues `x w^T` for few rows of x, followed by an epilogue whose load 0 is the product and whose
/// other loads are `extra`; false if the epilogue's operands do not lie beside it.
pub(crate) fn product(
    launch: &Launch<'_>,
    format: QuantFormat,
    inputs: &[Operand],
    epilogue: Option<(&Tape, &[Operand])>,
    out: &Operand,
    (m, n, k): (usize, usize, usize),
) -> Result<bool> {
    let mut with = None;
    if let Some((tape, extra)) = epilogue {
        let beside = extra.iter().map(|x| beside(x, m, n)).collect::<Option<SmallVec<_>>>();
        let Some(beside) = beside.filter(|_| tape.stores.len() == 1) else { return Ok(false) };
        with = Some(Epilogue { tape: tape.clone(), beside });
    }
    let x = aligned(launch, &inputs[0])?;
    let [words, scales, biases] = parts(launch, &inputs[1..], inputs[2].dtype)?;
    let operands = epilogue.map_or(&[][..], |e| e.1);
    let early = [&words, &scales, &biases].iter().all(|part| launch.is_settled(part));
    let read = |x: &Operand| Ok(range(x, launch.read(x)?));
    let extra = operands.iter().map(read).collect::<Result<_>>()?;
    let product = Box::new(Product {
        parts: [read(&words)?, read(&scales)?, read(&biases)?],
        out: range(out, launch.write(out)?),
        n,
        epilogue: with,
        extra,
    });
    let waiting = Waiting {
        device: launch.gpu.device(),
        format,
        dtype: x.dtype,
        scales: scales.dtype,
        x: read(&x)?,
        m,
        k,
        early,
        made: None,
        sections: SmallVec::from_iter([SmallVec::from_iter([product])]),
    };
    launch.queue.hold(Held::Products(Box::new(waiting)));
    Ok(true)
}

/// The source of the kernel of a variant.
pub(crate) fn print(variant: &Variant) -> String {
    let mut out = String::new();
    let defines = defines(variant.format, variant.dtype, variant.scales);
    for define in defines.split(';') {
        let (name, value) = define.split_once('=').unwrap_or((define, "1"));
        let _ = writeln!(out, "#define {name} {value}");
    }
    let (rows, each) = (variant.rows, variant.each);
    let _ = writeln!(out, "#define M {rows}\n#define R {each}\n#define DOTS");
    let prologue = variant.prologue.as_ref();
    let (threads, count) = (32 * WARPS, variant.sections.iter().map(SmallVec::len).max());
    let count = count.unwrap_or(1);
    // One product of a vector that lies in memory asks for all of a turn at once.
    let ahead = prologue.is_none() && count == 1 && rows * each <= 2;
    let least = if ahead { BLOCKS_IN_TURN } else { 1 };
    if ahead {
        out.push_str("#define AHEAD\n");
    }
    out.push_str(SOURCE);
    let products = Products::of(variant);
    let size = products.words + prologue.map_or(0, Prologue::words);
    let w = &mut out;
    // Writing to a string cannot fail.
    let _ = write!(
        w,
        "struct A {{ u64 v[{size}]; }};\n\
         struct Part {{ int section, count; i64 row, n; const Eight* w[{count}]; const S* scale[{count}]; \
         const S* bias[{count}]; Turn turn[{count}]; }};\n\
         extern \"C\" __global__ void __launch_bounds__({threads}, {least}) products(const T* x, i64 m, i64 k, A a) {{\n  \
         const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;\n  release();\n  \
         auto begin = [&](Part& p, i64 block) {{\n{}\n#pragma unroll\n    \
         for (int i = 0; i < {count}; i++)\n      \
         if (i < p.count) load(p.turn[i], p.w[i], p.scale[i], p.bias[i], p.row, p.n, k, 0, lane);\n  }};\n  \
         Part part;\n",
        products.choices
    );
    // The weights are on their way while the kernel before this one ends.
    let begin = "  begin(part, blockIdx.x);\n";
    if variant.early {
        w.push_str(begin);
    }
    if let Some(prologue) = prologue {
        w.push_str(&prologue.print_early(products.words, threads));
    }
    w.push_str("  await();\n");
    if !variant.early {
        w.push_str(begin);
    }
    // A lane for each element of the warp's.
    let read = format!(
        "  const int section = part.section, count = part.count;\n  const i64 row = part.row, n = part.n;\n  \
         const i64 i = lane % M, j = row + lane / M, at = i * n + j;\n  \
         const bool live = lane < R * M && i < m && j < n;\n  float given[{}];\n  \
         if (live) {{\n{}  }}\n",
        products.given.max(1),
        products.loads
    );
    let made = prologue.map_or(String::new(), |p| p.print(products.words, threads));
    // In turn, what epilogues read differs from part to part, and the next part's matrices are on their way.
    w.push_str(&match variant.in_turn {
        true => format!(
            "{made}  Part next;\n  for (i64 block = blockIdx.x;;) {{\n{read}  block += gridDim.x;\n  \
             const bool more = block < {};\n  if (more) begin(next, block);\n",
            products.end
        ),
        false => format!("{read}{made}"),
    });
    let _ = write!(
        w,
        "  float sums[{count}][R][M], mine[{count}];\n#pragma unroll\n  \
         for (int p = 0; p < {count}; p++)\n    if (p < count && row < n) \
         dots(x, part.turn[p], part.w[p], part.scale[p], part.bias[p], row, n, m, k, lane, sums[p]);\n\
         #pragma unroll\n  for (int p = 0; p < {count}; p++) mine[p] = sums[p][0][0];\n\
         #pragma unroll\n  for (int e = 1; e < R * M; e++)\n#pragma unroll\n    \
         for (int p = 0; p < {count}; p++) if (lane == e) mine[p] = sums[p][e / M][e % M];\n  \
         if (live) {{\n{}  }}\n",
        products.stores
    );
    w.push_str(match variant.in_turn {
        true => "  if (!more) break;\n  part = next;\n  }\n}\n",
        false => "}\n",
    });
    out
}

/// The parts of a kernel's text that go through its products.
#[derive(Default)]
struct Products {
    /// Words of parameters.
    words: usize,
    /// The number of parts of the matrices.
    end: String,
    /// Which part a block takes.
    choices: String,
    /// What epilogues read as soon as they may, and how many values that are.
    loads: String,
    given: usize,
    /// What becomes of the sums.
    stores: String,
}

impl Products {
    fn of(variant: &Variant) -> Products {
        let (mut out, mut place) = (Products::default(), 0);
        let mut first = "0".to_string();
        for (s, section) in variant.sections.iter().enumerate() {
            let (end, otherwise) = (format!("(i64)a.v[{place}]"), ["    ", " else "][s.min(1)]);
            // Writing to a string cannot fail.
            let _ = write!(
                out.choices,
                "{otherwise}if (block < {end}) {{\n      p.section = {s}; p.count = {}; p.n = a.v[{}]; \
                 p.row = ((block - {first}) * {WARPS} + warp) * R;\n",
                section.len(),
                place + 1
            );
            let _ = writeln!(out.loads, "    if (section == {s}) {{");
            let _ = writeln!(out.stores, "    if (section == {s}) {{");
            place += 2;
            let mut given = 0;
            for (p, epilogue) in section.iter().enumerate() {
                let _ = writeln!(
                    out.choices,
                    "      p.w[{p}] = (const Eight*)a.v[{place}]; p.scale[{p}] = (const S*)a.v[{}]; \
                     p.bias[{p}] = (const S*)a.v[{}];",
                    place + 1,
                    place + 2
                );
                place += 3;
                let mut loads = SmallVec::<[Option<usize>; 4]>::new();
                for l in 0..epilogue.as_ref().map_or(0, |e| e.beside.len()) {
                    let early = epilogue.as_ref().and_then(|e| e.load(l, place));
                    loads.push(early.as_ref().map(|_| given));
                    if let Some(text) = early {
                        let _ = writeln!(out.loads, "      given[{given}] = {text};");
                        given += 1;
                    }
                }
                element(&mut out.stores, variant.dtype, (p, epilogue.as_ref()), &loads, place);
                place += 1 + loads.len();
            }
            out.choices.push_str("    }");
            out.loads.push_str("    }\n");
            out.stores.push_str("    }\n");
            (out.given, first) = (out.given.max(given), end);
        }
        Products { words: place, end: first, ..out }
    }
}

impl Epilogue {
    /// The address of the element that load `l`, after the product's, reads; the addresses begin at word
    /// `place`.
    fn address(&self, l: usize, dtype: Dtype, place: usize) -> Option<String> {
        let at = match self.beside[l] {
            Beside::Each => "at",
            Beside::Column => "j",
            Beside::One => "0",
            Beside::Product(_) => return None,
        };
        Some(format!("((const {}*)a.v[{}])[{at}]", storage(dtype), place + l + 1))
    }

    /// The text of load `l` as a float, if it is one.
    fn load(&self, l: usize, place: usize) -> Option<String> {
        let dtype = load_dtypes(&self.tape)[l + 1];
        let float = dtype == Dtype::F32 || dtype.is_half();
        self.address(l, dtype, place).filter(|_| float).map(|at| format!("widen({at})"))
    }
}

/// The text that stores one element of product `p`; `given` says which of its loads were read before.
fn element(
    out: &mut String,
    dtype: Dtype,
    (p, epilogue): (usize, Option<&Epilogue>),
    given: &[Option<usize>],
    place: usize,
) {
    // Writing to a string cannot fail.
    let Some(epilogue) = epilogue else {
        let t = storage(dtype);
        let _ = writeln!(out, "      (({t}*)a.v[{place}])[at] = convert<{t}>(mine[{p}]);");
        return;
    };
    let _ = writeln!(out, "      {{");
    let tape = &epilogue.tape;
    for (v, value) in tape.values.iter().enumerate() {
        let text = match value.instr {
            Instr::Load { operand: 0 } => format!("mine[{p}]"),
            Instr::Load { operand } => {
                let (l, t) = (operand as usize - 1, storage(value.dtype));
                match (epilogue.beside[l], given[l]) {
                    (Beside::Product(q), _) => format!("widen(convert<{t}>(mine[{q}]))"),
                    (_, Some(g)) => format!("given[{g}]"),
                    (_, None) => {
                        let at = epilogue.address(l, value.dtype, place).unwrap_or_default();
                        format!("widen({at})")
                    }
                }
            }
            _ => expression(tape, v).unwrap_or_default(),
        };
        let _ = writeln!(out, "        const {} v{v} = {text};", compute(value.dtype));
    }
    let store = tape.stores.first().copied().unwrap_or_default();
    let t = storage(tape.values[store as usize].dtype);
    let made = stored(tape, store as usize);
    let _ = writeln!(out, "        (({t}*)a.v[{place}])[at] = {made};\n      }}");
}
