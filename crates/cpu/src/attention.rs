//! Attention by blocks of queries and keys with a running softmax (Dao et al., "FlashAttention",
//! 2022), accumulated in `float32` whatever the inputs' type.
//!
//! A task is a block of query rows that share keys and values: rows of one head, or where there are
//! few, those of all heads of a group, so that the keys are read once for them. Where there are few
//! tasks, as when one token is decoded, the keys are cut into spans, whose partial results are joined
//! in order. All cuts depend on shapes alone.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::fast::Attention;
use lazulite_core::{Dtype, Error, Result};
use parking_lot::Mutex;

use crate::elem::Elem;
use crate::gemm::gemm;
use crate::math::{Lane, Real};
use crate::operand::{Output, Strided};
use crate::pool::{self, parallel_for};
use crate::strided::{Plain, Target, View, internal};

/// Query rows of a block, and fewer than this many queries share a block with other heads.
const ROWS: usize = 64;
/// Keys of a block of `ROWS` rows; blocks of fewer rows take more keys, up to `MOST_KEYS`.
const KEYS: usize = 256;
const MOST_KEYS: usize = 2048;
/// Keys of a span, where the keys are cut.
const SPAN: usize = 2048;
/// Rows for which packing the values costs more than the product.
const FEW_ROWS: usize = 4;
/// Tasks below which the keys are cut.
const FEW: usize = 16;
/// Multiply-adds up to which nobody is woken.
const SERIAL: usize = 1 << 17;

/// A type whose products accumulate in `float32`.
trait Value: Elem<Acc = f32> + Plain {}
impl Value for f16 {}
impl Value for bf16 {}
impl Value for f32 {}

/// The softmax of scaled and masked products, times the values.
pub(crate) fn attention(op: &Attention, inputs: &[Operand], out: &Operand) -> Result<()> {
    match out.dtype {
        Dtype::F16 => run::<f16>(op, inputs, out),
        Dtype::BF16 => run::<bf16>(op, inputs, out),
        Dtype::F32 => run::<f32>(op, inputs, out),
        Dtype::F64 => through_single(op, inputs, out),
        other => Err(Error::dtype("scaled_dot_product_attention", &[other], "a floating type")),
    }
}

/// `float64` inputs are rounded, as the op's definition says.
fn through_single(op: &Attention, inputs: &[Operand], out: &Operand) -> Result<()> {
    let single = |x: &Operand| -> Result<Operand> {
        if x.dtype != Dtype::F64 {
            return Ok(x.clone());
        }
        let to = like(x)?;
        let (from, target) = (View::<f64>::new(x)?, Target::<f32>::new(&to)?);
        let walk = crate::strided::Walk::new(from.shape, [from.strides]);
        // SAFETY: the walk stays inside the input; the buffer is fresh.
        walk.each(0..walk.len(), |i, [at]| unsafe {
            *target.data().add(i) = *from.first().offset(at) as f32;
        });
        Ok(to)
    };
    let inputs = inputs.iter().map(single).collect::<Result<Vec<_>>>()?;
    let result = like(out)?;
    run::<f32>(op, &inputs, &result)?;
    let (from, target) = (View::<f32>::new(&result)?, Target::<f64>::new(out)?);
    for (i, &x) in from.slice().unwrap_or_default().iter().enumerate() {
        // SAFETY: the output has as many elements and is this step's alone.
        unsafe { *target.data().add(i) = f64::from(x) };
    }
    Ok(())
}

/// A fresh contiguous `float32` operand of the same shape.
fn like(x: &Operand) -> Result<Operand> {
    let layout = lazulite_core::shape::Layout::contiguous(x.shape());
    let buffer = crate::allocator::allocator().allocate(layout.len() * size_of::<f32>())?;
    Ok(Operand { buffer, dtype: Dtype::F32, layout })
}

/// A mask of either kind, or none.
enum Mask<'a> {
    None,
    Bool(View<'a, u8>),
    F16(View<'a, f16>),
    BF16(View<'a, bf16>),
    F32(View<'a, f32>),
    F64(View<'a, f64>),
}

/// One call.
struct Call<'a, T> {
    q: View<'a, T>,
    k: View<'a, T>,
    v: View<'a, T>,
    mask: Mask<'a>,
    /// One logit for each head.
    sinks: Vec<f32>,
    scale: f32,
    causal: bool,
    /// Heads of q for each head of k.
    ratio: usize,
    t: usize,
    s: usize,
    d: usize,
    e: usize,
}

/// Where a task's rows are: query rows `rows` of `heads` heads from `head` on.
struct Block {
    batch: usize,
    head: usize,
    heads: usize,
    queries: std::ops::Range<usize>,
}

/// What a span of keys gives for each row: the greatest logit, the sum of exponentials, and the sum
/// of values weighed with them.
struct Partial {
    most: Vec<f32>,
    sum: Vec<f32>,
    values: Vec<f32>,
}

fn run<T: Value>(op: &Attention, inputs: &[Operand], out: &Operand) -> Result<()> {
    let (q, k, v) =
        (View::<T>::new(&inputs[0])?, View::<T>::new(&inputs[1])?, View::<T>::new(&inputs[2])?);
    let (&[b, h, t, d], &[kb, g, s, kd], &[vb, vg, vs, e]) = (q.shape, k.shape, v.shape) else {
        return Err(internal("attention needs four axes"));
    };
    let fits = (kb, vb, vg, vs, kd) == (b, b, g, s, d) && out.shape() == [b, h, t, e];
    if !fits || g == 0 && h > 0 || g > 0 && h % g != 0 {
        return Err(internal(format!("attention: {:?}, {:?}, {:?}", q.shape, k.shape, v.shape)));
    }
    let mut rest = inputs[3..].iter();
    let full: &[usize] = &[b, h, t, s];
    let mask_operand = match op.mask {
        true => {
            let x = rest.next().ok_or_else(|| internal("attention: no mask"))?;
            if lazulite_core::shape::broadcast_shapes("mask", x.shape(), full)?[..] != *full {
                return Err(internal(format!("attention: a mask of {:?}", x.shape())));
            }
            Some(Operand { layout: x.layout.broadcast_to(full), ..x.clone() })
        }
        false => None,
    };
    let mask = match &mask_operand {
        None => Mask::None,
        Some(x) => match x.dtype {
            Dtype::Bool => Mask::Bool(View::new(x)?),
            Dtype::F16 => Mask::F16(View::new(x)?),
            Dtype::BF16 => Mask::BF16(View::new(x)?),
            Dtype::F32 => Mask::F32(View::new(x)?),
            Dtype::F64 => Mask::F64(View::new(x)?),
            other => {
                let op = "scaled_dot_product_attention";
                return Err(Error::dtype(op, &[other], "a bool or floating mask"));
            }
        },
    };
    let sinks = match op.sinks {
        true => sinks(rest.next().ok_or_else(|| internal("attention: no sinks"))?, h)?,
        false => vec![],
    };
    let target = Target::<T>::new(out)?;
    if target.len() == 0 {
        return Ok(());
    }
    let (scale, ratio) = (op.scale.get() as f32, h / g);
    let call = Call { q, k, v, mask, sinks, scale, causal: op.causal, ratio, t, s, d, e };
    let blocks = call.blocks(b, h);
    let spans = if blocks.len() < FEW { s.div_ceil(SPAN).clamp(1, 64) } else { 1 };
    let work = b * h * t * s * (d + e);
    if spans == 1 {
        let grain = if work <= SERIAL { blocks.len() } else { 1 };
        parallel_for(blocks.len(), grain, |r| {
            for block in &blocks[r] {
                let mut part = call.span(block, 0..s);
                call.finish(block, std::slice::from_mut(&mut part), &target);
            }
        });
        return Ok(());
    }
    let parts: Vec<Mutex<Option<Partial>>> =
        (0..blocks.len() * spans).map(|_| Mutex::new(None)).collect();
    let task = |i: usize| {
        let (block, span) = (&blocks[i / spans], i % spans);
        let keys = span * s / spans..(span + 1) * s / spans;
        *parts[i].lock() = Some(call.span(block, keys));
    };
    if work <= SERIAL {
        (0..blocks.len() * spans).for_each(task);
    } else {
        pool::run(blocks.len() * spans, &task);
    }
    let mut parts = parts.into_iter().filter_map(Mutex::into_inner);
    for block in &blocks {
        let mut parts: Vec<Partial> = parts.by_ref().take(spans).collect();
        call.finish(block, &mut parts, &target);
    }
    Ok(())
}

fn sinks(x: &Operand, h: usize) -> Result<Vec<f32>> {
    fn wide<T: Value>(x: &Operand) -> Result<Vec<f32>> {
        let x = View::<T>::new(x)?;
        let step = x.strides.first().copied().unwrap_or(0);
        // SAFETY: inside the 1-d input.
        Ok((0..x.len() as isize).map(|i| unsafe { *x.first().offset(i * step) }.widen()).collect())
    }
    let out = match x.dtype {
        Dtype::F16 => wide::<f16>(x)?,
        Dtype::BF16 => wide::<bf16>(x)?,
        Dtype::F32 => wide::<f32>(x)?,
        other => {
            return Err(Error::dtype("scaled_dot_product_attention", &[other], "floating sinks"));
        }
    };
    if out.len() != h { Err(internal("attention: sinks of another size")) } else { Ok(out) }
}

impl<T: Value> Call<'_, T> {
    fn blocks(&self, b: usize, h: usize) -> Vec<Block> {
        let mut out = Vec::new();
        let heads = if self.t < ROWS { self.ratio } else { 1 };
        for batch in 0..b {
            for head in (0..h).step_by(heads) {
                for start in (0..self.t).step_by(ROWS) {
                    let queries = start..self.t.min(start + ROWS);
                    out.push(Block { batch, head, heads, queries });
                }
            }
        }
        out
    }

    /// One past the last key that query `i` may see.
    fn horizon(&self, i: usize) -> usize {
        if self.causal { (self.s + i + 1).saturating_sub(self.t).min(self.s) } else { self.s }
    }

    /// A matrix of one head of k or v as (outer, inner) with these axes.
    fn matrix<'a>(
        x: &View<'a, T>,
        [batch, head]: [usize; 2],
        keys: std::ops::Range<usize>,
        transposed: bool,
    ) -> Strided<'a, T> {
        let (data, first) = x.span();
        let step = |axis: usize, i: usize| i as isize * x.strides[axis];
        let start = first as isize + step(0, batch) + step(1, head) + step(2, keys.start);
        let (rows, columns) = (keys.len(), x.shape[3]);
        let (extent, strides) = if transposed {
            ([columns, rows], [x.strides[3], x.strides[2]])
        } else {
            ([rows, columns], [x.strides[2], x.strides[3]])
        };
        Strided::new(data, start as usize, extent, strides)
    }

    /// The partial result of a block's rows over some keys.
    fn span(&self, block: &Block, keys: std::ops::Range<usize>) -> Partial {
        let (d, e) = (self.d, self.e);
        let queries = block.queries.len();
        let rows = block.heads * queries;
        let mut part = Partial {
            most: vec![f32::NEG_INFINITY; rows],
            sum: vec![0.0; rows],
            values: vec![0.0; rows * e],
        };
        let mut q = vec![0f32; rows * d];
        for row in 0..rows {
            let (head, i) = (block.head + row / queries, block.queries.start + row % queries);
            let step = |axis: usize, i: usize| i as isize * self.q.strides[axis];
            let at = step(0, block.batch) + step(1, head) + step(2, i);
            for (j, x) in q[row * d..][..d].iter_mut().enumerate() {
                // SAFETY: inside the queries.
                *x = unsafe { (*self.q.first().offset(at + step(3, j))).widen() } * self.scale;
            }
        }
        let place = [block.batch, block.head / self.ratio];
        let end = keys.end.min(self.horizon(block.queries.end - 1));
        let block_keys = (ROWS * KEYS / rows.max(1)).clamp(KEYS, MOST_KEYS).min(keys.len());
        let mut logits = vec![0f32; rows * block_keys];
        let mut start = keys.start;
        while start < end {
            let len = block_keys.min(end - start);
            let keys = start..start + len;
            start += len;
            let logits = &mut logits[..rows * len];
            let left = Strided::rows(&q, [rows, d], false);
            let right = Self::matrix(&self.k, place, keys.clone(), false);
            gemm::<f32>(&left, &right, &mut Output::new(logits, 1, [rows, len]), None);
            for (row, logits) in logits.chunks_mut(len).enumerate() {
                let (head, i) = (block.head + row / queries, block.queries.start + row % queries);
                self.mask.apply([block.batch, head, i], keys.start, logits);
                let seen = self.horizon(i).saturating_sub(keys.start).min(len);
                logits[seen..].fill(f32::NEG_INFINITY);
                let most = greatest(logits).max(part.most[row]);
                // A row that has seen nothing yet keeps its zeros.
                let shift = if most == f32::NEG_INFINITY { 0.0 } else { most };
                let fade = (part.most[row] - shift).exp();
                part.sum[row] = part.sum[row] * fade + exponentials(shift, logits);
                part.most[row] = most;
                if fade != 1.0 {
                    part.values[row * e..][..e].iter_mut().for_each(|x| *x *= fade);
                }
            }
            let left = Strided::rows(logits, [rows, len], false);
            let right = Self::matrix(&self.v, place, keys, true);
            if rows > FEW_ROWS {
                let sums = Output::new(&mut part.values, 1, [rows, e]);
                gemm::<f32>(&left, &right, &mut sums.accumulating(), None);
                continue;
            }
            // Only products that add to nothing read the values as they lie.
            let mut values = vec![0f32; rows * e];
            gemm::<f32>(&left, &right, &mut Output::new(&mut values, 1, [rows, e]), None);
            part.values.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
        }
        part
    }

    /// Joins the spans of a block in order, divides, and writes.
    fn finish(&self, block: &Block, parts: &mut [Partial], out: &Target<T>) {
        let e = self.e;
        let queries = block.queries.len();
        let h = self.q.shape[1];
        let mut values = vec![0f32; e];
        for row in 0..block.heads * queries {
            let (head, i) = (block.head + row / queries, block.queries.start + row % queries);
            let sink = self.sinks.get(head).copied().unwrap_or(f32::NEG_INFINITY);
            let most = parts.iter().fold(sink, |most, p| most.max(p.most[row]));
            let shift = if most == f32::NEG_INFINITY { 0.0 } else { most };
            let mut sum = (sink - shift).exp();
            values.fill(0.0);
            for part in parts.iter() {
                let weight = (part.most[row] - shift).exp();
                sum += part.sum[row] * weight;
                for (x, &y) in values.iter_mut().zip(&part.values[row * e..]) {
                    *x += y * weight;
                }
            }
            let scale = if sum == 0.0 { 0.0 } else { 1.0 / sum };
            let at = ((block.batch * h + head) * self.t + i) * e;
            // SAFETY: every row belongs to one block, and blocks are finished by one thread each.
            let to = unsafe { out.part(at..at + e) };
            for (to, x) in to.iter_mut().zip(&values) {
                *to = T::narrow(x * scale);
            }
        }
    }
}

impl Mask<'_> {
    /// Applies the mask to the logits of a query for keys from `start` on.
    fn apply(&self, index: [usize; 3], start: usize, logits: &mut [f32]) {
        fn each<T: Plain>(
            x: &View<T>,
            index: [usize; 3],
            start: usize,
            logits: &mut [f32],
            f: impl Fn(f32, T) -> f32,
        ) {
            let step = x.strides[3];
            let at: isize = index.iter().zip(x.strides).map(|(&i, &s)| i as isize * s).sum();
            let at = at + start as isize * step;
            for (j, logit) in logits.iter_mut().enumerate() {
                // SAFETY: the mask was broadcast to the shape of all logits.
                *logit = f(*logit, unsafe { *x.first().offset(at + j as isize * step) });
            }
        }
        let hidden = f32::NEG_INFINITY;
        match self {
            Mask::None => {}
            Mask::Bool(x) => each(x, index, start, logits, |l, m| if m != 0 { l } else { hidden }),
            Mask::F16(x) => each(x, index, start, logits, |l, m| l + m.to_f32()),
            Mask::BF16(x) => each(x, index, start, logits, |l, m| l + m.to_f32()),
            Mask::F32(x) => each(x, index, start, logits, |l, m| l + m),
            Mask::F64(x) => each(x, index, start, logits, |l, m| l + m as f32),
        }
    }
}

/// The greatest element that is not NaN, in eight lanes.
fn greatest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let chunks = x.chunks_exact(8);
    for &x in chunks.remainder() {
        lanes[0] = lanes[0].max(x);
    }
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

crate::multiversion! {
    /// Replaces each element by `exp(x - shift)` and returns their sum, added in 16 lanes.
    fn exponentials, exponentials_for<const FMA: bool>(shift: f32, x: &mut [f32]) -> f32 {
        let mut lanes = [0f32; 16];
        let mut chunks = x.chunks_exact_mut(16);
        for chunk in &mut chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *x = Lane::<f32, FMA>(*x - shift).exp().0;
                *lane += *x;
            }
        }
        for (lane, x) in lanes.iter_mut().zip(chunks.into_remainder()) {
            *x = Lane::<f32, FMA>(*x - shift).exp().0;
            *lane += *x;
        }
        lanes.into_iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, operand, read};
    use lazulite_core::op::fast::FloatBits;

    fn noise(i: usize) -> f32 {
        (i.wrapping_mul(2_654_435_761) >> 8 & 0xffff) as f32 / 32_768.0 - 1.0
    }

    /// Attention in float64, one row at a time; `mask` gives what is added to a logit.
    fn naive(
        [q, k, v]: [&Operand; 3],
        scale: f64,
        mask: &dyn Fn(usize, usize, usize, usize) -> f64,
        sinks: Option<&[f32]>,
    ) -> Vec<f64> {
        let (x, y, z) = (read::<f32>(q), read::<f32>(k), read::<f32>(v));
        let (&[b, h, t, d], &[_, g, s, _], e) = (q.shape(), k.shape(), v.shape()[3]) else {
            panic!("four axes")
        };
        let mut out = Vec::new();
        for index in indices(&[b, h, t]) {
            let (b, i, r) = (index[0], index[1], index[2]);
            let kv = b * g + i * g / h;
            let logits: Vec<f64> = (0..s)
                .map(|j| {
                    let at = ((b * h + i) * t + r) * d;
                    let dot: f64 = (0..d)
                        .map(|p| f64::from(x[at + p]) * f64::from(y[(kv * s + j) * d + p]))
                        .sum();
                    dot * scale + mask(b, i, r, j)
                })
                .collect();
            let sink = sinks.map_or(f64::NEG_INFINITY, |x| f64::from(x[i]));
            let most = logits.iter().fold(sink, |m, &x| m.max(x));
            let weights: Vec<f64> = logits.iter().map(|l| (l - most).exp()).collect();
            let sum: f64 = weights.iter().sum::<f64>() + (sink - most).exp();
            for c in 0..e {
                let y: f64 = (0..s).map(|j| weights[j] * f64::from(z[(kv * s + j) * e + c])).sum();
                out.push(if most == f64::NEG_INFINITY { 0.0 } else { y / sum });
            }
        }
        out
    }

    fn close(got: &[f32], want: &[f64], what: &str) {
        for (got, want) in got.iter().zip(want) {
            // Averages of values up to 1 with weights of some 1e-6 relative error.
            assert!((f64::from(*got) - want).abs() < 1e-5, "{what}: {got} {want}");
        }
    }

    #[test]
    fn masks_sinks_heads_and_lengths() {
        let scale = 0.4;
        for (b, h, g, t, s, d, e) in [
            (1, 1, 1, 1, 1, 4, 4),
            (2, 4, 2, 3, 5, 8, 6),
            (1, 2, 1, 70, 70, 16, 16),
            (1, 4, 1, 1, 5000, 8, 8),
            (1, 2, 2, 65, 300, 8, 4),
            (2, 2, 1, 4, 0, 8, 4),
        ] {
            let add: Vec<f32> = (0..t * s).map(|i| noise(i * 7)).collect();
            let keep: Vec<bool> = (0..b * t * s).map(|i| noise(i * 5) > -0.5).collect();
            let sink: Vec<f32> = (0..h).map(|i| i as f32 * 0.5).collect();
            for (kind, sinks) in [(0, false), (1, false), (2, true), (3, false), (0, true)] {
                let causal = kind == 1;
                let op = Attention { scale: FloatBits::new(scale), causal, mask: kind >= 2, sinks };
                let hidden = f64::NEG_INFINITY;
                let mask = |b: usize, _: usize, i: usize, j: usize| match kind {
                    1 if j + t > s + i => hidden,
                    2 => f64::from(add[i * s + j]),
                    3 if !keep[(b * t + i) * s + j] => hidden,
                    _ => 0.0,
                };
                for which in 0..4 {
                    let pick = |shape: &[usize], seed: usize| {
                        let all = layouts(shape, |i| noise(i + seed));
                        all[which.min(all.len() - 1)].1.clone()
                    };
                    let (q, k, v) =
                        (pick(&[b, h, t, d], 1), pick(&[b, g, s, d], 99), pick(&[b, g, s, e], 7));
                    let mut inputs = vec![q.clone(), k.clone(), v.clone()];
                    match kind {
                        2 => inputs.push(operand(&add, &[t, s])),
                        3 => inputs.push(operand(&keep, &[b, 1, t, s])),
                        _ => {}
                    }
                    if sinks {
                        inputs.push(operand(&sink, &[h]));
                    }
                    let out = empty(Dtype::F32, &[b, h, t, e]);
                    attention(&op, &inputs, &out).unwrap();
                    let want = naive([&q, &k, &v], scale, &mask, sinks.then_some(&sink[..]));
                    let what =
                        format!("{:?} {:?} mask {kind} layout {which}", q.shape(), k.shape());
                    close(&read::<f32>(&out), &want, &what);
                }
            }
        }
    }

    #[test]
    fn a_row_that_sees_nothing_is_zero() {
        let x = operand(&[1f32; 8], &[1, 1, 2, 4]);
        let masks = [
            operand(&[false, false, true, true], &[2, 2]),
            operand(&[f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0], &[2, 2]),
        ];
        for mask in masks {
            let scale = FloatBits::new(1.0);
            let op = Attention { scale, causal: false, mask: true, sinks: false };
            let out = empty(Dtype::F32, &[1, 1, 2, 4]);
            attention(&op, &[x.clone(), x.clone(), x.clone(), mask], &out).unwrap();
            assert_eq!(read::<f32>(&out), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        }
    }

    #[test]
    fn halves_round_once() {
        let shape: &[usize] = &[1, 2, 9, 8];
        let make = |seed: usize| -> Vec<f16> {
            (0..144).map(|i| f16::from_f32(noise(i + seed))).collect()
        };
        let (q, k, v) = (make(1), make(2), make(3));
        let wide = |x: &[f16]| operand(&x.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), shape);
        let op = Attention { scale: FloatBits::new(0.5), causal: true, mask: false, sinks: false };
        let (half, single) = (empty(Dtype::F16, shape), empty(Dtype::F32, shape));
        attention(&op, &[operand(&q, shape), operand(&k, shape), operand(&v, shape)], &half)
            .unwrap();
        attention(&op, &[wide(&q), wide(&k), wide(&v)], &single).unwrap();
        let want: Vec<f16> = read::<f32>(&single).into_iter().map(f16::from_f32).collect();
        assert_eq!(read::<f16>(&half), want);
    }
}
