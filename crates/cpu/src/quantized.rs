//! Quantised matrices: affine formats through the packed kernels, small floats by plain loops and
//! dequantised panels.

pub mod affine;
pub mod codec;
mod dot;
mod sum;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::quantized::{Dequantize, QuantFormat, QuantMode, Quantize, QuantizedMatmul};
use lazulite_core::shape::{Layout, broadcast_shapes};
use lazulite_core::{Dtype, Error, Result};

use self::affine::Affine;
use crate::allocator::allocator;
use crate::copy::dense;
use crate::elem::Elem;
use crate::gemm::gemm;
use crate::microfloat;
use crate::operand::{Operand as Factor, Output, Strided};
use crate::pool::{SharedPtr, parallel_for};
use crate::strided::{Plain, Target, View, internal, rows_per_task};

/// Calls `$body` with `$T` bound to a floating type of at most 32 bits.
macro_rules! with_real {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            Dtype::F16 => {
                type $T = f16;
                $body
            }
            Dtype::BF16 => {
                type $T = bf16;
                $body
            }
            Dtype::F32 => {
                type $T = f32;
                $body
            }
            other => Err(Error::dtype($op, &[other], "float16, bfloat16 or float32")),
        }
    };
}

/// A type whose products accumulate in `float32`.
trait Real: Elem<Acc = f32> + Plain {}
impl Real for f16 {}
impl Real for bf16 {}
impl Real for f32 {}

/// How many arrays make a quantised matrix.
pub(crate) fn operands(format: QuantFormat) -> usize {
    if format.mode == QuantMode::Affine { 3 } else { 2 }
}

fn elements<T: Plain>(x: &Operand) -> Result<&[T]> {
    View::<T>::new(x)?.slice().ok_or_else(|| internal("an operand is not contiguous"))
}

/// Checks that rows of `len` elements can have the format.
fn check(op: &'static str, format: QuantFormat, len: usize) -> Result<()> {
    let QuantFormat { group, bits, mode } = format;
    let known = match mode {
        QuantMode::Affine => matches!(bits, 2..=6 | 8) && matches!(group, 16 | 32 | 64 | 128),
        QuantMode::Mxfp4 => (group, bits) == (32, 4),
        QuantMode::Nvfp4 => (group, bits) == (16, 4),
        QuantMode::Mxfp8 => (group, bits) == (32, 8),
    };
    if known && len.is_multiple_of(group) && (len * bits).is_multiple_of(32) {
        return Ok(());
    }
    let message =
        format!("rows of {len} elements in groups of {group} with {bits} bits ({mode:?})");
    Err(Error::argument(op, message))
}

/// Packed words, scales and, if affine, biases of a matrix.
pub(crate) fn quantize(op: &Quantize, w: &Operand, outputs: &[Operand]) -> Result<()> {
    let len = w.shape().last().copied().unwrap_or(1);
    check("quantize", op.format, len)?;
    let w = dense(w)?;
    with_real!("quantize", w.dtype, T => {
        let data = elements::<T>(&w)?;
        let words = Target::<u32>::new(&outputs[0])?;
        // SAFETY: the outputs are this step's alone.
        let words = unsafe { words.all() };
        if op.format.mode == QuantMode::Affine {
            // SAFETY: as above.
            let (scales, biases) = unsafe {
                (Target::<T>::new(&outputs[1])?.all(), Target::<T>::new(&outputs[2])?.all())
            };
            let QuantFormat { bits, group, .. } = op.format;
            codec::quantize(data, len, bits, group, words, scales, biases);
            return Ok(());
        }
        // SAFETY: as above.
        let scales = unsafe { Target::<u8>::new(&outputs[1])?.all() };
        small_floats(op.format, data, words, scales)
    })
}

fn small_floats<T: Real>(
    format: QuantFormat,
    data: &[T],
    words: &mut [u32],
    scales: &mut [u8],
) -> Result<()> {
    let QuantFormat { group, bits, mode } = format;
    if scales.len() * group != data.len() || words.len() * 32 != data.len() * bits {
        return Err(internal("the outputs of quantize have other sizes"));
    }
    let per_group = group * bits / 32;
    let (words, scales) = (Target::of(words), Target::of(scales));
    parallel_for(scales.len(), rows_per_task(group * 16), |groups| {
        for g in groups {
            let values = &data[g * group..][..group];
            let most = values.iter().fold(0f32, |most, v| most.max(v.widen().abs()));
            let code = microfloat::to_scale(mode, most);
            let scale = microfloat::scale(mode, code);
            // SAFETY: groups have words and scales of their own.
            let (scales, words) =
                unsafe { (scales.part(g..g + 1), words.part(g * per_group..(g + 1) * per_group)) };
            scales[0] = code;
            for (word, values) in words.iter_mut().zip(values.chunks(32 / bits)) {
                *word = (values.iter().enumerate()).fold(0, |word, (i, v)| {
                    let x = if scale == 0.0 { 0.0 } else { v.widen() / scale };
                    word | u32::from(microfloat::to_element(mode, x)) << (i * bits)
                });
            }
        }
    });
    Ok(())
}

/// The matrix of packed words, scales and, if affine, biases.
pub(crate) fn dequantize(op: &Dequantize, inputs: &[Operand], out: &Operand) -> Result<()> {
    let len = out.shape().last().copied().unwrap_or(1);
    check("dequantize", op.format, len)?;
    let inputs = inputs.iter().map(dense).collect::<Result<Vec<_>>>()?;
    with_real!("dequantize", out.dtype, T => {
        let target = Target::<T>::new(out)?;
        // SAFETY: the output is this step's alone.
        expand::<T>("dequantize", op.format, &inputs, len, unsafe { target.all() })
    })
}

fn expand<T: Real>(
    op: &'static str,
    format: QuantFormat,
    inputs: &[Operand],
    len: usize,
    out: &mut [T],
) -> Result<()> {
    let QuantFormat { group, bits, mode } = format;
    let words = elements::<u32>(&inputs[0])?;
    let groups = out.len() / group;
    if words.len() * 32 != out.len() * bits || inputs[1].layout.len() != groups {
        return Err(internal(format!("{op}: packed words and scales have other sizes")));
    }
    if mode == QuantMode::Affine {
        if inputs[2].layout.len() != groups || inputs[2].dtype != inputs[1].dtype {
            return Err(internal(format!("{op}: biases differ from scales")));
        }
        return with_real!(op, inputs[1].dtype, S => {
            let (scales, biases) = (elements::<S>(&inputs[1])?, elements::<S>(&inputs[2])?);
            codec::dequantize(words, scales, biases, len, bits, group, out);
            Ok(())
        });
    }
    let scales = elements::<u8>(&inputs[1])?;
    let table: Vec<f32> = (0..1u32 << bits).map(|c| microfloat::element(mode, c as u8)).collect();
    let data = SharedPtr::new(out.as_mut_ptr());
    let (per_word, mask) = (32 / bits, (1usize << bits) - 1);
    parallel_for(groups, rows_per_task(group), |range| {
        for g in range {
            let scale = microfloat::scale(mode, scales[g]);
            for i in g * group..(g + 1) * group {
                let code = words[i / per_word] as usize >> (i % per_word * bits) & mask;
                // SAFETY: groups of the output are disjoint and inside it.
                unsafe { *data.get().add(i) = T::narrow(table[code] * scale) };
            }
        }
    });
    Ok(())
}

/// `x @ w^T` or `x @ w` with a quantised `w`, over broadcast leading axes. The result has the type of `x`
/// or is `float32`.
pub(crate) fn quantized_matmul(
    op: &QuantizedMatmul,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    let name = "quantized_matmul";
    let packed = inputs[1..].iter().map(dense).collect::<Result<Vec<_>>>()?;
    let x = dense(&inputs[0])?;
    let (&[ref lead_x @ .., m, k], &[ref lead_w @ .., rows, words]) =
        (x.shape(), packed[0].shape())
    else {
        return Err(internal("quantized_matmul needs two axes"));
    };
    let len = words * 32 / op.format.bits;
    let (n, kw) = if op.transpose { (rows, len) } else { (len, rows) };
    let lead = broadcast_shapes(name, lead_x, lead_w)?;
    let groups = lead_w.iter().product::<usize>() * rows * len / op.format.group;
    let fits = packed[1..].iter().all(|p| p.layout.len() == groups);
    let product = |s: &[usize]| s.iter().product::<usize>();
    if kw != k || out.layout.len() != product(&lead) * m * n || !fits {
        return Err(internal(format!(
            "quantized_matmul: {:?} by {:?}",
            x.shape(),
            packed[0].shape()
        )));
    }
    if out.layout.is_empty() {
        return Ok(());
    }
    check(name, op.format, len)?;
    let one_matrix = product(lead_w) == 1;
    // Where each batch element's matrices are, in matrices from the first.
    let places = |from: &[usize]| -> Vec<usize> {
        let unit = Layout::contiguous(from).broadcast_to(&lead);
        let walk = crate::strided::Walk::new(&lead, [&unit.strides]);
        let mut out = Vec::new();
        walk.each(0..walk.len(), |_, [at]| out.push(at as usize));
        out
    };
    // One matrix for all makes one product of all rows.
    let (batches, m) = if one_matrix { (1, product(&lead) * m) } else { (product(&lead), m) };
    let (at_x, at_w) =
        if one_matrix { (vec![0], vec![0]) } else { (places(lead_x), places(lead_w)) };
    with_real!(name, x.dtype, T => {
        let data = elements::<T>(&x)?;
        let multiply = |batch: usize, w: &dyn Factor<f32>| -> Result<()> {
            let a = Strided::rows(&data[at_x[batch] * m * k..][..m * k], [m, k], false);
            let place = batch * m * n..(batch + 1) * m * n;
            with_real!(name, out.dtype, O => {
                let target = Target::<O>::new(out)?;
                // SAFETY: batches have parts of their own, one after another.
                let mut part = Output::new(unsafe { target.part(place) }, 1, [m, n]);
                gemm::<f32>(&a, w, &mut part, None);
                Ok(())
            })
        };
        if op.format.mode == QuantMode::Affine {
            if packed[2].dtype != packed[1].dtype {
                return Err(internal("quantized_matmul: biases differ from scales"));
            }
            with_real!(name, packed[1].dtype, S => {
                let (words, scales) = (elements::<u32>(&packed[0])?, elements::<S>(&packed[1])?);
                let biases = elements::<S>(&packed[2])?;
                let (per_word, per_scale) = (rows * words_of(op.format, len), rows * len / op.format.group);
                for batch in 0..batches {
                    let w = Affine::new(
                        &words[at_w[batch] * per_word..][..per_word],
                        &scales[at_w[batch] * per_scale..][..per_scale],
                        &biases[at_w[batch] * per_scale..][..per_scale],
                        [n, k],
                        op.format.bits,
                        op.format.group,
                        op.transpose,
                    );
                    multiply(batch, &w)?;
                }
                Ok(())
            })
        } else {
            let total = product(lead_w) * rows * len;
            let scratch = Operand {
                buffer: allocator().allocate(total * size_of::<f32>())?,
                dtype: Dtype::F32,
                layout: Layout::contiguous(&[total]),
            };
            let panel = Target::<f32>::new(&scratch)?;
            // SAFETY: the scratch buffer is fresh and this function's alone.
            let panel = unsafe { panel.all() };
            expand::<f32>(name, op.format, &packed, len, panel)?;
            for batch in 0..batches {
                let w = &panel[at_w[batch] * rows * len..][..rows * len];
                multiply(batch, &Strided::rows(w, [n, k], !op.transpose))?;
            }
            Ok(())
        }
    })
}

fn words_of(format: QuantFormat, len: usize) -> usize {
    len * format.bits / 32
}
