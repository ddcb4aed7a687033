//! The cotangents of attention's queries, keys and values, one row of weights at a time. Core makes
//! this step where a device has a kernel for it; here it is right and plain, and the composition of
//! other steps is what the processor runs for gradients.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::fast::AttentionGrad;
use lazulite_core::{Dtype, Error, Result};

use crate::pool::parallel_for;
use crate::strided::{Plain, Target, View, Walk, internal};

/// A type that is read and written through `float32`.
trait Single: Plain {
    fn widen(self) -> f32;
    fn narrow(x: f32) -> Self;
}

macro_rules! single {
    ($($t:ty, |$x:ident| $up:expr, |$y:ident| $down:expr;)*) => {
        $(impl Single for $t {
            fn widen(self) -> f32 {
                let $x = self;
                $up
            }
            fn narrow($y: f32) -> $t {
                $down
            }
        })*
    };
}
single! {
    f16, |x| x.to_f32(), |y| f16::from_f32(y);
    bf16, |x| x.to_f32(), |y| bf16::from_f32(y);
    f32, |x| x, |y| y;
    f64, |x| x as f32, |y| f64::from(y);
}

/// The elements in row-major order.
fn dense<T: Single>(x: &Operand) -> Result<Vec<f32>> {
    let view = View::<T>::new(x)?;
    let walk = Walk::new(view.shape, [view.strides]);
    let mut out = vec![0.0; walk.len()];
    // SAFETY: the walk stays inside the input.
    walk.each(0..walk.len(), |i, [at]| out[i] = unsafe { *view.first().offset(at) }.widen());
    Ok(out)
}

/// Runs the op.
pub(crate) fn attention_grad(
    op: &AttentionGrad,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    match inputs[0].dtype {
        Dtype::F16 => run::<f16>(op, inputs, outputs),
        Dtype::BF16 => run::<bf16>(op, inputs, outputs),
        Dtype::F32 => run::<f32>(op, inputs, outputs),
        Dtype::F64 => run::<f64>(op, inputs, outputs),
        other => Err(Error::dtype("scaled_dot_product_attention_vjp", &[other], "a floating type")),
    }
}

fn run<T: Single>(op: &AttentionGrad, inputs: &[Operand], outputs: &[Operand]) -> Result<()> {
    let forward = op.forward;
    let (&[b, h, t, d], &[_, groups, s, e]) = (inputs[0].shape(), inputs[2].shape()) else {
        return Err(internal("attention needs four axes"));
    };
    let [dq, dk, dv] = outputs else { return Err(internal("attention has three cotangents")) };
    let (q, k, v) = (dense::<T>(&inputs[0])?, dense::<T>(&inputs[1])?, dense::<T>(&inputs[2])?);
    let ct = dense::<T>(&inputs[inputs.len() - 1])?;
    let mask = match forward.mask {
        true => {
            let layout = inputs[3].layout.broadcast_to(&[b, h, t, s]);
            let mask = Operand { layout, ..inputs[3].clone() };
            Some(match mask.dtype {
                Dtype::Bool => {
                    let walk = Walk::new(&mask.layout.shape, [&mask.layout.strides]);
                    let view = View::<u8>::new(&mask)?;
                    let mut out = vec![f32::NEG_INFINITY; walk.len()];
                    walk.each(0..walk.len(), |i, [at]| {
                        // SAFETY: the walk stays inside the mask.
                        if unsafe { *view.first().offset(at) } != 0 {
                            out[i] = 0.0;
                        }
                    });
                    out
                }
                _ => dense::<T>(&mask)?,
            })
        }
        false => None,
    };
    let sinks = match forward.sinks {
        true => dense::<T>(&inputs[3 + usize::from(forward.mask)])?,
        false => vec![f32::NEG_INFINITY; h],
    };
    let scale = forward.scale.get() as f32;
    let per = h / groups.max(1);
    let (to_q, to_k, to_v) = (Target::<T>::new(dq)?, Target::<T>::new(dk)?, Target::<T>::new(dv)?);
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    let add = |to: &mut [f32], by: f32, x: &[f32]| {
        to.iter_mut().zip(x).for_each(|(to, x)| *to += by * x);
    };
    let each = |task: usize| {
        let (i, g) = (task / groups, task % groups);
        let own = task * s;
        let (keys, values) = (&k[own * d..][..s * d], &v[own * e..][..s * e]);
        let (mut k_sum, mut v_sum) = (vec![0.0; s * d], vec![0.0; s * e]);
        let (mut weights, mut products) = (vec![0.0; s], vec![0.0; s]);
        for row in (g * per * t)..((g + 1) * per * t) {
            let (head, query) = (row / t, row % t);
            let at = i * h * t + row;
            let (x, c) = (&q[at * d..][..d], &ct[at * e..][..e]);
            let mut most = sinks[head];
            for j in 0..s {
                let shown = !forward.causal || j + t <= s + query;
                let extra = mask.as_ref().map_or(0.0, |m| m[at * s + j]);
                let logit = scale * dot(x, &keys[j * d..][..d]) + extra;
                weights[j] = if shown { logit } else { f32::NEG_INFINITY };
                most = most.max(weights[j]);
            }
            let base = if most == f32::NEG_INFINITY { 0.0 } else { most };
            weights.iter_mut().for_each(|w| *w = (*w - base).exp());
            let total = weights.iter().sum::<f32>() + (sinks[head] - base).exp();
            let by = if total > 0.0 { 1.0 / total } else { 0.0 };
            let mut mean = 0.0;
            for j in 0..s {
                weights[j] *= by;
                products[j] = dot(c, &values[j * e..][..e]);
                mean += weights[j] * products[j];
            }
            let mut q_sum = vec![0.0; d];
            for j in 0..s {
                let slope = scale * weights[j] * (products[j] - mean);
                add(&mut q_sum, slope, &keys[j * d..][..d]);
                add(&mut k_sum[j * d..][..d], slope, x);
                add(&mut v_sum[j * e..][..e], weights[j], c);
            }
            store(&to_q, at * d, &q_sum);
        }
        store(&to_k, own * d, &k_sum);
        store(&to_v, own * e, &v_sum);
    };
    parallel_for(b * groups, 1, |tasks| tasks.for_each(each));
    Ok(())
}

/// Writes `values` from element `from` on, a range that no other task has.
fn store<T: Single>(to: &Target<'_, T>, from: usize, values: &[f32]) {
    // SAFETY: tasks write disjoint ranges inside the output.
    let part = unsafe { to.part(from..from + values.len()) };
    part.iter_mut().zip(values).for_each(|(to, &x)| *to = T::narrow(x));
}
