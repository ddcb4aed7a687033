//! Attention: which kernel takes a call, and the kernels for all types and sizes.

use std::ops::Range;

use lazulite_core::backend::{Memory, Operand};
use lazulite_core::op::fast::Attention;
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::fast::{Geometry, padded};
use crate::heads::{Query, Rows};
use crate::held::{Held, range};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::{COUNTERS, Launch};
use crate::{copy, flash, matmul};

pub(crate) const SOURCE: &str = concat!(include_str!("rotary.cuh"), include_str!("attention.cu"));
/// Queries from which on attention is two products and a softmax between them, on the matrix units:
/// the kernel of running softmaxes, which does without, took 115 ms for 4x32x2048x128 on an H100.
pub(crate) const MANY_QUERIES: usize = 32;

/// The most keys of a head with one query that one block takes alone.
const MOST_ALONE: usize = 1024;

/// True iff the attention kernel takes these operands.
pub(crate) fn supports(inputs: &[Operand], out: &Operand) -> bool {
    let (d, e) = (inputs[0].shape()[3], inputs[2].shape()[3]);
    out.dtype != Dtype::F64 && d > 0 && e > 0 && d <= 256 && e <= 256
}

/// The softmax of scaled and masked products, times the values.
pub(crate) fn attention(
    launch: &Launch<'_>,
    op: &Attention,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let call = shapes(launch, op, inputs)?;
    if flash::attention(launch, &call, out)? {
        return Ok(());
    }
    if call.q.shape()[2] >= MANY_QUERIES && matmul::supports(out.dtype) {
        return composed(launch, &call, out);
    }
    match one_query(launch, &call, out)? {
        true => Ok(()),
        false => spread(launch, &call, out),
    }
}

/// An operand that is contiguous along the last axis: itself or a copy.
pub(crate) fn unit(launch: &Launch<'_>, x: &Operand) -> Result<Operand> {
    match x.layout.strides[3] == 1 || x.shape()[3] == 1 {
        true => Ok(x.clone()),
        false => copy::contiguous(launch, x),
    }
}

/// The op's inputs as the kernels take them.
pub(crate) fn shapes(launch: &Launch<'_>, op: &Attention, inputs: &[Operand]) -> Result<Shapes> {
    let q = unit(launch, &inputs[0])?;
    let (k, v) = (unit(launch, &inputs[1])?, unit(launch, &inputs[2])?);
    let &[b, h, t, _] = q.shape() else {
        return Err(lazulite_core::Error::argument("attention", "queries have four axes"));
    };
    let s = k.shape()[2];
    let mask = op.mask.then(|| {
        let mask = &inputs[3];
        Operand { layout: mask.layout.broadcast_to(&[b, h, t, s]), ..mask.clone() }
    });
    let sinks = match op.sinks {
        true => Some(copy::as_contiguous(launch, &inputs[3 + usize::from(op.mask)])?),
        false => None,
    };
    let mut flags = u32::from(op.causal) + 8 * u32::from(op.sinks);
    if let Some(mask) = &mask {
        flags += if mask.dtype == Dtype::Bool { 2 } else { 4 };
    }
    Ok(Shapes { q, k, v, mask, sinks, flags, scale: op.scale.get() })
}

/// A call of attention as the kernels take it.
pub(crate) struct Shapes {
    /// Queries `(b, h, t, d)`, contiguous along the last axis.
    pub q: Operand,
    /// Keys `(b, g, s, d)`, likewise.
    pub k: Operand,
    /// Values `(b, g, s, e)`, likewise.
    pub v: Operand,
    /// The mask, broadcast to `(b, h, t, s)`.
    pub mask: Option<Operand>,
    /// One logit for each head, contiguous.
    pub sinks: Option<Operand>,
    /// 1 causal, 2 boolean mask, 4 additive mask, 8 sinks.
    pub flags: u32,
    pub scale: f64,
}

impl Shapes {
    /// The words that the kernels of all files share; `span` is the length of a span of keys.
    pub fn geometry(&self, span: usize, spans: usize) -> Geometry {
        let (q, k) = (self.q.shape(), self.k.shape());
        let mut g: Vec<i64> = [q[2], k[2], q[1], k[1], span, spans].map(|n| n as i64).into();
        for x in [&self.q, &self.k, &self.v] {
            g.extend(x.layout.strides[..3].iter().map(|&s| s as i64));
        }
        match &self.mask {
            Some(mask) => g.extend(mask.layout.strides.iter().map(|&s| s as i64)),
            None => g.extend([0; 4]),
        }
        g.extend([i64::from(self.flags), q[0] as i64]);
        padded(&g)
    }

    /// The addresses of mask and sinks, 0 where there are none.
    pub fn optional(&self, launch: &Launch<'_>) -> Result<[u64; 2]> {
        let at = |x: &Option<Operand>| x.as_ref().map(|x| launch.read(x)).transpose();
        Ok([at(&self.mask)?.unwrap_or(0), at(&self.sinks)?.unwrap_or(0)])
    }
}

/// One query for each head, in `float32`, where rows can be read 16 bytes at a time; says whether it
/// ran.
fn one_query(launch: &Launch<'_>, call: &Shapes, out: &Operand) -> Result<bool> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(false) };
    let (s, e) = (call.k.shape()[2], call.v.shape()[3]);
    // Longer rows would need more registers than a thread of so large a block has.
    let fits = |n: usize| n.is_multiple_of(32) && n <= 64;
    if t != 1 || s == 0 || out.dtype != Dtype::F32 || !fits(d) || !fits(e) || b * h > COUNTERS {
        return Ok(false);
    }
    for x in [&call.q, &call.k, &call.v] {
        let outer = x.shape().iter().zip(&x.layout.strides).take(3);
        let even = outer.into_iter().all(|(&n, &stride)| n == 1 || stride % 4 == 0);
        if !even || !launch.read(x)?.is_multiple_of(16) {
            return Ok(false);
        }
    }
    // A turn of a block is 256 keys; heads that leave multiprocessors idle share their keys out, where that
    // saves more than it takes to join the parts.
    let wanted = (2 * launch.gpu.facts.multiprocessors as usize / (b * h)).max(1);
    let span = if s <= MOST_ALONE { s } else { s.div_ceil(wanted).next_multiple_of(256) };
    let spans = s.div_ceil(span);
    let parts = match spans {
        1 => None,
        _ => Some(launch.scratch(b * h * spans * (e + 2) * 4)?),
    };
    let [mask_at, sinks_at] = call.optional(launch)?;
    let (q, k, v) = (launch.read(&call.q)?, launch.read(&call.k)?, launch.read(&call.v)?);
    let parts_at = parts.as_ref().map_or(0, |p| p.address());
    let rows = [Rows::of(&call.q, q), Rows::of(&call.k, k), Rows::of(&call.v, v)];
    let [Some(q), Some(k), Some(v)] = rows else { return Ok(false) };
    let out_at = launch.write(out)?;
    let others = [mask_at, sinks_at, out_at, parts_at, launch.queue.counters()?];
    let read = |x: &Option<Operand>, at| x.as_ref().map(|x| range(x, at));
    let parts = parts.as_ref().map(|p| (parts_at, p.size()));
    launch.queue.hold(Held::Query(Box::new(Query {
        device: launch.gpu.device(),
        rows: [q, k, v],
        others,
        scale: call.scale,
        geometry: call.geometry(span, spans),
        spans,
        reads: read(&call.mask, mask_at).into_iter().chain(read(&call.sinks, sinks_at)).collect(),
        writes: parts.into_iter().chain([range(out, out_at)]).collect(),
        fault: launch.queue.fault_address(),
        first: None,
    })));
    Ok(true)
}

/// Attention by a kernel of running softmaxes on plain arithmetic units.
fn spread(launch: &Launch<'_>, call: &Shapes, out: &Operand) -> Result<()> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(()) };
    let (s, e) = (call.k.shape()[2], call.v.shape()[3]);
    let rows = if t == 1 {
        1
    } else if d > 128 || e > 128 {
        4
    } else {
        8
    };
    // Few warps of work are spread over spans of keys.
    let units = b * h * t.div_ceil(rows);
    let wanted = (launch.gpu.facts.multiprocessors as usize * 16).div_ceil(units);
    // A warp takes four keys at a time, and its turns follow each other.
    let span = s.div_ceil(wanted).next_multiple_of(4).max(16).min(s.max(1));
    let spans = s.div_ceil(span).max(1);
    let g = call.geometry(span, spans);
    let defines = format!("T={};D={d};E={e};ROWS={rows};ATTENTION", storage(out.dtype));
    let modules = &launch.gpu.modules;
    let kernel = modules.kernel(SOURCE, "attention", &defines, Rounding::Contracted)?;
    let parts = match spans {
        1 => None,
        _ => Some(launch.scratch(b * h * t * spans * (e + 2) * 4)?),
    };
    let parts_at = parts.as_ref().map_or(0, |p| p.address());
    let [mask_at, sinks_at] = call.optional(launch)?;
    let to = launch.write(out)?;
    let mut args = Args::new();
    args.word(launch.read(&call.q)?).word(launch.read(&call.k)?).word(launch.read(&call.v)?);
    args.word(mask_at).word(sinks_at).word(to).word(parts_at).word(launch.queue.counters()?);
    args.word(call.scale.to_bits()).words(&g);
    let grid = [units.div_ceil(4) as u32, spans as u32, 1];
    // SAFETY: the kernel has these parameters; strides stay within the operands, the parts have room
    // for all spans, and there are spans only where there are fewer rows than counters.
    unsafe { args.launch(kernel, grid, [128, 1, 1], 0, launch.queue) }
}

/// Example `i` of the batch as `(groups, heads, rows, columns)`: with all heads of a group, or with
/// one that they share.
pub(crate) fn at_example(x: &Operand, groups: usize, i: usize, heads: usize) -> Operand {
    let l = &x.layout;
    let split = l.shape[1] / groups;
    let head = l.strides[1] * split as isize;
    let inner = if split == heads { l.strides[1] } else { 0 };
    let layout = Layout {
        shape: [groups, heads, l.shape[2], l.shape[3]].into(),
        strides: [head, inner, l.strides[2], l.strides[3]].into(),
        offset: (l.offset as isize + i as isize * l.strides[0]) as usize,
    };
    Operand { layout, ..x.clone() }
}

/// Rows `rows` of an operand `(groups, heads, rows, columns)`.
fn rows_of(x: &Operand, rows: &Range<usize>) -> Operand {
    let mut x = x.clone();
    x.layout.shape[2] = rows.len();
    x.layout.offset =
        x.layout.offset.wrapping_add_signed(rows.start as isize * x.layout.strides[2]);
    x
}

/// The weights of queries `rows` of example `i` for the first keys, as many as `scores` has columns;
/// `scores` is `float32` memory for their logits, which may be that of `weights`.
pub(crate) fn weigh(
    launch: &Launch<'_>,
    call: &Shapes,
    i: usize,
    rows: &Range<usize>,
    scores: &Operand,
    weights: &Operand,
) -> Result<()> {
    let &[groups, per, t, s] = scores.shape() else { return Ok(()) };
    let h = groups * per;
    let mut g: Vec<i64> = [t, s, h, rows.start].map(|n| n as i64).into();
    g.push(call.k.shape()[2] as i64 - call.q.shape()[2] as i64);
    g.push(i as i64);
    match &call.mask {
        Some(mask) => g.extend(mask.layout.strides.iter().map(|&s| s as i64)),
        None => g.extend([0; 4]),
    }
    g.push(i64::from(call.flags));
    let defines = format!("T={};WEIGHTS", storage(weights.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "weights", &defines, Rounding::Contracted)?;
    let mut keys = rows_of(&at_example(&call.k, groups, i, 1), &(0..s));
    keys.layout = keys.layout.transpose(&[0, 1, 3, 2]);
    let queries = rows_of(&at_example(&call.q, groups, i, per), rows);
    matmul::matmul(launch, &queries, &keys, scores)?;
    let mut args = Args::new();
    args.word(launch.read(scores)?);
    let [mask_at, sinks_at] = call.optional(launch)?;
    args.word(mask_at).word(sinks_at).word(launch.write(weights)?);
    args.word(call.scale.to_bits()).words(&padded(&g));
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, [(h * t) as u32, 1, 1], [256, 1, 1], 0, launch.queue) }
}

/// Attention by products, a slice of one example's queries at a time: `float32` logits, weights in
/// the inputs' type.
fn composed(launch: &Launch<'_>, call: &Shapes, out: &Operand) -> Result<()> {
    let &[b, h, t, _] = call.q.shape() else { return Ok(()) };
    let (groups, s) = (call.k.shape()[1], call.k.shape()[2]);
    let per = h / groups;
    let slice = slice_length(h, t, s);
    let logits = launch.temporary(Dtype::F32, &[h, slice, s])?;
    let others = match out.dtype {
        Dtype::F32 => logits.clone(),
        dtype => launch.temporary(dtype, &[h, slice, s])?,
    };
    for i in 0..b {
        for first in (0..t).step_by(slice) {
            let rows = first..(first + slice).min(t);
            // No query of the slice sees what comes after.
            let seen = match call.flags & 1 {
                0 => s,
                _ => (s + rows.end).saturating_sub(t).next_multiple_of(64).clamp(1, s.max(1)),
            };
            let layout = Layout::contiguous(&[groups, per, rows.len(), seen.min(s)]);
            let part = |x: &Operand| Operand { layout: layout.clone(), ..x.clone() };
            let (scores, weights) = (part(&logits), part(&others));
            weigh(launch, call, i, &rows, &scores, &weights)?;
            let values = rows_of(&at_example(&call.v, groups, i, 1), &(0..seen.min(s)));
            let to = rows_of(&at_example(out, groups, i, per), &rows);
            matmul::matmul(launch, &weights, &values, &to)?;
        }
    }
    Ok(())
}

/// How many queries of `t` are taken at a time, so that the logits of `h` heads for `s` keys stay in the
/// second level of the cache between the products.
fn slice_length(h: usize, t: usize, s: usize) -> usize {
    const IN_CACHE: usize = 32 << 20;
    // Fewer queries would leave the matrix units idle.
    const FEWEST: usize = 16;
    let rows = (IN_CACHE / (h * s * 4).max(1)).max(FEWEST);
    // The products' tiles have 64 rows.
    let rows = if rows > 64 { rows - rows % 64 } else { rows };
    rows.min(t)
}
