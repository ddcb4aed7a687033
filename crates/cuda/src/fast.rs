//! Rotary embedding and attention.

use lazulite_core::backend::Operand;
use lazulite_core::op::fast::{Attention, Rope};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::fused::{execute, merge};
use crate::indexing::{THREADS, blocks};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;
use crate::{copy, matmul};

pub(crate) const SOURCE: &str = include_str!("fast.cu");
const GEOMETRY: usize = 64;
/// Queries from which on attention is two products and a softmax between them, on the matrix units:
/// the kernel of running softmaxes, which does without, took 115 ms for 4x32x2048x128 on an H100.
const MANY_QUERIES: usize = 32;

fn padded(words: &[i64]) -> Vec<u64> {
    let mut out: Vec<u64> = words.iter().map(|&w| w as u64).collect();
    out.resize(GEOMETRY, 0);
    out
}

/// A contiguous copy in another type.
fn cast(launch: &Launch<'_>, x: &Operand, to: Dtype) -> Result<Operand> {
    if x.dtype == to {
        return copy::as_contiguous(launch, x);
    }
    let load =
        TapeValue { instr: Instr::Load { operand: 0 }, dtype: x.dtype, extent: Extent::Full };
    let cast = TapeValue { instr: Instr::Cast(0), dtype: to, extent: Extent::Full };
    let tape = Tape { values: vec![load, cast], stores: vec![1], inputs: 1, axes: 0 };
    let out = launch.temporary(to, x.shape())?;
    execute(launch, &tape, std::slice::from_ref(x), std::slice::from_ref(&out), x.shape())?;
    Ok(out)
}

/// Turns the pairs of the last axis.
pub(crate) fn rope(
    launch: &Launch<'_>,
    op: &Rope,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    // A donated buffer is read by other threads than write it.
    let x = match inputs[0].buffer.same(&out.buffer) {
        true => copy::contiguous(launch, &inputs[0])?,
        false => inputs[0].clone(),
    };
    let offsets = cast(launch, &inputs[1], Dtype::I64)?;
    let freqs = match op.base {
        Some(_) => None,
        None => Some(cast(launch, &inputs[2], Dtype::F32)?),
    };
    let ndim = x.shape().len();
    let (d, steps) = (x.shape()[ndim - 1], x.shape()[ndim - 2]);
    let rows = x.layout.len() / d;
    let batch = if ndim > 2 { x.shape()[0] } else { 1 };
    let each = op.dims / 2 + (d - op.dims);
    let merged = merge(&x.shape()[..ndim - 1], &[&x.layout.strides[..ndim - 1]]);
    let mut g: Vec<i64> = [each, rows, steps, rows / batch, op.dims, d].map(|n| n as i64).into();
    g.extend([
        i64::from(op.traditional),
        i64::from(op.inverse),
        offsets.layout.len() as i64,
        merged.sizes.len() as i64,
        0,
        x.layout.strides[ndim - 1] as i64,
    ]);
    for a in 0..merged.sizes.len() {
        g.extend([merged.sizes[a] as i64, merged.strides[0][a] as i64]);
    }
    let defines = format!("T={};ROPE", storage(out.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "rope", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.read(&x)?).word(launch.read(&offsets)?);
    args.word(freqs.as_ref().map(|f| launch.read(f)).transpose()?.unwrap_or(0));
    args.word(launch.write(out)?);
    args.word(op.base.map_or(1.0, |b| b.get()).to_bits()).word(op.scale.get().to_bits());
    args.words(&padded(&g));
    let grid = blocks(each * rows);
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue.raw()) }
}

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
    let unit = |x: &Operand| match x.layout.strides[3] == 1 || x.shape()[3] == 1 {
        true => Ok(x.clone()),
        false => copy::contiguous(launch, x),
    };
    let (q, k, v) = (unit(&inputs[0])?, unit(&inputs[1])?, unit(&inputs[2])?);
    let &[b, h, t, d] = q.shape() else {
        return Err(lazulite_core::Error::argument("attention", "queries have four axes"));
    };
    let (groups, s, e) = (k.shape()[1], k.shape()[2], v.shape()[3]);
    let mask = op.mask.then(|| {
        let mask = &inputs[3];
        Operand { layout: mask.layout.broadcast_to(&[b, h, t, s]), ..mask.clone() }
    });
    let sinks = match op.sinks {
        true => Some(copy::as_contiguous(launch, &inputs[3 + usize::from(op.mask)])?),
        false => None,
    };
    if t >= MANY_QUERIES && matmul::supports(out.dtype) {
        return composed(launch, op, [&q, &k, &v], mask.as_ref(), sinks.as_ref(), out);
    }
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
    let span = s.div_ceil(wanted).max(64).min(s.max(1));
    let spans = s.div_ceil(span).max(1);
    let mut flags = i64::from(op.causal) + 8 * i64::from(op.sinks);
    if let Some(mask) = &mask {
        flags += if mask.dtype == Dtype::Bool { 2 } else { 4 };
    }
    let mut g: Vec<i64> = [t, s, h, groups, span, spans].map(|n| n as i64).into();
    for x in [&q, &k, &v] {
        g.extend(x.layout.strides[..3].iter().map(|&s| s as i64));
    }
    match &mask {
        Some(mask) => g.extend(mask.layout.strides.iter().map(|&s| s as i64)),
        None => g.extend([0; 4]),
    }
    g.extend([flags, b as i64]);
    let g = padded(&g);
    let defines = format!("T={};D={d};E={e};ROWS={rows};ATTENTION", storage(out.dtype));
    let modules = &launch.gpu.modules;
    let kernel = modules.kernel(SOURCE, "attention", &defines, Rounding::Contracted)?;
    let parts = match spans {
        1 => None,
        _ => Some(launch.scratch(b * h * t * spans * (e + 2) * 4)?),
    };
    let parts_at = parts.as_ref().map_or(0, |p| p.address());
    let sinks_at = sinks.as_ref().map(|s| launch.read(s)).transpose()?.unwrap_or(0);
    let to = launch.write(out)?;
    let mut args = Args::new();
    args.word(launch.read(&q)?).word(launch.read(&k)?).word(launch.read(&v)?);
    args.word(mask.as_ref().map(|m| launch.read(m)).transpose()?.unwrap_or(0)).word(sinks_at);
    args.word(to).word(parts_at).word(op.scale.get().to_bits()).words(&g);
    let grid = [units.div_ceil(4) as u32, spans as u32, 1];
    // SAFETY: the kernel has these parameters; strides stay within the operands.
    unsafe { args.launch(kernel, grid, [128, 1, 1], 0, launch.queue.raw())? };
    if spans > 1 {
        let kernel = modules.kernel(SOURCE, "join_spans", &defines, Rounding::Contracted)?;
        let mut args = Args::new();
        args.word(parts_at).word(sinks_at).word(to).words(&g);
        let grid = [(b * h * t) as u32, 1, 1];
        // SAFETY: the kernel has these parameters; the parts have room for all spans.
        unsafe { args.launch(kernel, grid, [32, 1, 1], 0, launch.queue.raw())? };
    }
    Ok(())
}

/// Attention by products: float32 logits of one batch element at a time, weights in the inputs'
/// type.
fn composed(
    launch: &Launch<'_>,
    op: &Attention,
    [q, k, v]: [&Operand; 3],
    mask: Option<&Operand>,
    sinks: Option<&Operand>,
    out: &Operand,
) -> Result<()> {
    let (b, h, t) = (q.shape()[0], q.shape()[1], q.shape()[2]);
    let (groups, s) = (k.shape()[1], k.shape()[2]);
    let per = h / groups;
    // Element `i` of the batch as (groups, heads of a group, rows, columns).
    let at = |x: &Operand, i: usize, heads: usize| {
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
    };
    let scores = launch.temporary(Dtype::F32, &[groups, per, t, s])?;
    let weights = launch.temporary(out.dtype, &[groups, per, t, s])?;
    let mut flags = i64::from(op.causal) + 8 * i64::from(op.sinks);
    let mut g: Vec<i64> = [t, s, h, 0, 0, 0].map(|n| n as i64).into();
    match mask {
        Some(mask) => {
            flags += if mask.dtype == Dtype::Bool { 2 } else { 4 };
            g.extend(mask.layout.strides.iter().map(|&s| s as i64));
        }
        None => g.extend([0; 4]),
    }
    g.push(flags);
    let defines = format!("T={};WEIGHTS", storage(out.dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "weights", &defines, Rounding::Contracted)?;
    for i in 0..b {
        let mut keys = at(k, i, 1);
        keys.layout = keys.layout.transpose(&[0, 1, 3, 2]);
        matmul::matmul(launch, &at(q, i, per), &keys, &scores)?;
        g[5] = i as i64;
        let mut args = Args::new();
        args.word(launch.read(&scores)?);
        args.word(mask.map(|m| launch.read(m)).transpose()?.unwrap_or(0));
        args.word(sinks.map(|s| launch.read(s)).transpose()?.unwrap_or(0));
        args.word(launch.write(&weights)?).word(op.scale.get().to_bits()).words(&padded(&g));
        // SAFETY: the kernel has these parameters; strides stay within the operands.
        unsafe { args.launch(kernel, [(h * t) as u32, 1, 1], [256, 1, 1], 0, launch.queue.raw())? };
        matmul::matmul(launch, &weights, &at(v, i, 1), &at(out, i, per))?;
    }
    Ok(())
}
