//! The cotangents of attention's queries, keys and values: two kernels of warpgroup products where
//! the architecture and the sizes allow it, else products of one batch element at a time.

use lazulite_core::backend::Operand;
use lazulite_core::op::fast::AttentionGrad;
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Error, Result};

use crate::allocator::DeviceMemory;
use crate::args::Args;
use crate::attention::{self, Shapes, at_example, unit};
use crate::flash::{LENGTH, in_pieces, map_at, tile_map};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;
use crate::{copy, driver, matmul};

/// The source of the kernels for compute capability 9.0.
pub(crate) const SOURCE_90: &str =
    concat!(include_str!("mma.cuh"), include_str!("hopper.cuh"), include_str!("grad90.cu"));

/// Rows of a tile, and bytes of 64 columns of one.
const TILE: usize = 64;
const PART: usize = 8192;

/// True iff the products are there for the type.
pub(crate) fn supports(dtype: Dtype) -> bool {
    dtype != Dtype::F64 && matmul::supports(dtype)
}

/// The cotangents of queries, keys and values.
pub(crate) fn cotangents(
    launch: &Launch<'_>,
    op: &AttentionGrad,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    let (given, later) = inputs.split_at(inputs.len() - 2);
    let ([out, ct], [dq, dk, dv]) = (later, outputs) else {
        return Err(Error::argument("scaled_dot_product_attention_vjp", "an operand is missing"));
    };
    let call = attention::shapes(launch, &op.forward, given)?;
    let (out, ct) = (unit(launch, out)?, unit(launch, ct)?);
    let (d, e) = (call.q.shape()[3], call.v.shape()[3]);
    let fits = |n: usize| n.is_multiple_of(8) && n <= 128;
    let sized = [&call.q, &call.k].iter().all(|x| !x.layout.is_empty()) && !ct.layout.is_empty();
    if !sized {
        for to in outputs {
            let bytes = to.layout.len() * to.dtype.size();
            let at = launch.write(to)?;
            // SAFETY: the output's block holds all its elements.
            unsafe { driver::fill_zero(at, bytes, launch.queue.raw())? };
        }
        return Ok(());
    }
    let hopper = launch.gpu.facts.capability.0 == 9;
    if hopper && ct.dtype.is_half() && fits(d) && fits(e) {
        return warpgroups(launch, &call, [&out, &ct], [dq, dk, dv]);
    }
    composed(launch, &call, [&out, &ct], [dq, dk, dv])
}

fn warpgroups(
    launch: &Launch<'_>,
    call: &Shapes,
    [result, ct]: [&Operand; 2],
    [dq, dk, dv]: [&Operand; 3],
) -> Result<()> {
    let &[b, h, t, d] = call.q.shape() else { return Ok(()) };
    let (g, s, e) = (call.k.shape()[1], call.k.shape()[2], call.v.shape()[3]);
    let piece = |x: &Operand| in_pieces(launch, x);
    let (q, k, v) = (piece(&call.q)?, piece(&call.k)?, piece(&call.v)?);
    let (out, ct) = (piece(result)?, piece(ct)?);
    let call = &Shapes { q, k, v, mask: call.mask.clone(), sinks: call.sinks.clone(), ..*call };
    let length = t.next_multiple_of(TILE);
    let sums = [b * h, length];
    let deltas = launch.temporary(Dtype::F32, &sums)?;
    // The result's own kernel has left the logarithms with it.
    let of = (call.scale.to_bits(), call.flags, length);
    let known = result.buffer.downcast::<DeviceMemory>().and_then(|m| m.logarithms.lock().clone());
    let whole = result.layout.is_contiguous() && result.layout.offset == 0;
    let known = known.filter(|l| whole && l.of == of && l.at.shape() == sums);
    let (logs, fresh) = match known {
        Some(known) => (known.at, false),
        None => (launch.temporary(Dtype::F32, &sums)?, true),
    };
    let logs_at = if fresh { launch.write(&logs)? } else { launch.read(&logs)? };
    let deltas_at = launch.write(&deltas)?;
    let mut geometry = call.geometry(s, 1).into_vec();
    let strides = [&ct, &out].map(|x| x.layout.strides.clone());
    let more = strides.iter().flat_map(|s| s[..3].iter().map(|&s| s as u64));
    geometry.splice(21..LENGTH + 1, more.chain([length as u64]));
    let half = if dq.dtype == Dtype::F16 { ";HALF" } else { "" };
    let form = if fresh { "" } else { ";KNOWN" };
    let defines = format!("T={};D={d};E={e};FLAGS={}{half}{form}", storage(dq.dtype), call.flags);
    let kernel = |name| launch.gpu.modules.kernel(SOURCE_90, name, &defines, Rounding::Contracted);
    let map = |x: &Operand| tile_map(launch, x, TILE as u32);
    let maps = [map(&call.q)?, map(&call.k)?, map(&call.v)?, map(&ct)?];
    let to = |x: &Operand| map_at(launch.write(x)?, x, TILE as u32);
    let [mask, sinks] = call.optional(launch)?;
    let part = (d.div_ceil(64) + e.div_ceil(64)) * PART;
    let mut args = Args::new();
    maps.iter().for_each(|m| {
        args.words(m);
    });
    args.words(&to(dq)?).word(mask).word(sinks);
    args.word(launch.read(&ct)?).word(launch.read(&out)?).word(logs_at).word(deltas_at);
    args.word(call.scale.to_bits()).words(&geometry);
    let shared = 2 * part + (3 * d.div_ceil(64) + 2 * e.div_ceil(64)) * PART;
    let grid = [t.div_ceil(2 * TILE) as u32, h as u32, b as u32];
    // SAFETY: the kernel has these parameters; the maps cover the operands, and there is a logarithm and
    // a delta for every row of every head.
    unsafe { args.launch(kernel("grad_q")?, grid, [384, 1, 1], shared, launch.queue)? };
    let mut args = Args::new();
    maps.iter().for_each(|m| {
        args.words(m);
    });
    args.words(&to(dk)?).words(&to(dv)?).word(mask).word(logs_at).word(deltas_at);
    args.word(call.scale.to_bits()).words(&geometry);
    let shared = 2 * part + 3 * (part + 1024);
    let grid = [s.div_ceil(2 * TILE) as u32, g as u32, b as u32];
    // SAFETY: as above.
    unsafe { args.launch(kernel("grad_kv")?, grid, [384, 1, 1], shared, launch.queue) }
}

/// An operand of `(g, r, rows, columns)` as `(g, r * rows, columns)`; a copy where strides need one.
fn joined(launch: &Launch<'_>, x: &Operand) -> Result<Operand> {
    let n = x.shape();
    let shape = [n[0], n[1] * n[2], n[3]];
    let x = copy::as_contiguous(launch, x)?;
    let layout = Layout { offset: x.layout.offset, ..Layout::contiguous(&shape) };
    Ok(Operand { layout, ..x })
}

fn turned(x: &Operand) -> Operand {
    let mut axes: Vec<usize> = (0..x.shape().len()).collect();
    let n = axes.len();
    axes.swap(n - 2, n - 1);
    Operand { layout: x.layout.transpose(&axes), ..x.clone() }
}

fn composed(
    launch: &Launch<'_>,
    call: &Shapes,
    [out, ct]: [&Operand; 2],
    [dq, dk, dv]: [&Operand; 3],
) -> Result<()> {
    let &[b, h, t, _] = call.q.shape() else { return Ok(()) };
    let (groups, s, e) = (call.k.shape()[1], call.k.shape()[2], ct.shape()[3]);
    let per = h / groups;
    let scores = launch.temporary(Dtype::F32, &[groups, per, t, s])?;
    let weights = launch.temporary(dq.dtype, &[groups, per, t, s])?;
    let slopes = launch.temporary(dq.dtype, &[groups, per, t, s])?;
    let defines = format!("T={};GRADIENT", storage(dq.dtype));
    let modules = &launch.gpu.modules;
    let kernel = modules.kernel(attention::SOURCE, "gradient", &defines, Rounding::Contracted)?;
    for i in 0..b {
        let heads = |x: &Operand| at_example(x, groups, i, per);
        let shared = |x: &Operand| at_example(x, groups, i, 1);
        let c = copy::as_contiguous(launch, &heads(ct))?;
        let o = copy::as_contiguous(launch, &heads(out))?;
        attention::weigh(launch, call, i, &(0..t), &scores, &weights)?;
        matmul::matmul(launch, &c, &turned(&shared(&call.v)), &scores)?;
        let mut args = Args::new();
        args.word(launch.read(&weights)?).word(launch.read(&scores)?).word(launch.read(&c)?);
        args.word(launch.read(&o)?).word(launch.write(&slopes)?).word(call.scale.to_bits());
        args.size(s).size(e);
        // SAFETY: the kernel has these parameters; all operands are contiguous.
        unsafe { args.launch(kernel, [(h * t) as u32, 1, 1], [256, 1, 1], 0, launch.queue)? };
        matmul::matmul(launch, &slopes, &shared(&call.k), &heads(dq))?;
        // Sums over the heads of a group are sums over more rows.
        let one = |x: &Operand| {
            let layout = Layout {
                shape: x.shape()[1..].into(),
                strides: x.layout.strides[1..].into(),
                offset: x.layout.offset + i * x.layout.strides[0] as usize,
            };
            Operand { layout, ..x.clone() }
        };
        let q = joined(launch, &heads(&call.q))?;
        matmul::matmul(launch, &turned(&joined(launch, &slopes)?), &q, &one(dk))?;
        let c = joined(launch, &c)?;
        matmul::matmul(launch, &turned(&joined(launch, &weights)?), &c, &one(dv))?;
    }
    Ok(())
}
