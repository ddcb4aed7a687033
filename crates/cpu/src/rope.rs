//! Rotary position embedding. Angles are computed once for each position and pair, in `float32`
//! with the position's product in `float64`, and shared by all heads.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::fast::Rope;
use lazulite_core::{Dtype, Error, Result};

use crate::pool::parallel_for;
use crate::strided::{Plain, Target, View, Walk, internal, rows_per_task};

/// A floating type that is turned in `float32`, or in itself if it is wider.
trait Turn: Plain {
    fn turn(a: Self, b: Self, cos: f64, sin: f64) -> [Self; 2];
}

macro_rules! turn {
    ($($t:ty, $wide:ty, |$x:ident| $up:expr, |$y:ident| $down:expr;)*) => {
        $(impl Turn for $t {
            #[inline(always)]
            fn turn(a: Self, b: Self, cos: f64, sin: f64) -> [Self; 2] {
                let widen = |$x: $t| -> $wide { $up };
                let narrow = |$y: $wide| -> $t { $down };
                let (a, b, cos, sin) = (widen(a), widen(b), cos as $wide, sin as $wide);
                [narrow(a * cos - b * sin), narrow(a * sin + b * cos)]
            }
        })*
    };
}
turn! {
    f16, f32, |x| x.to_f32(), |y| f16::from_f32(y);
    bf16, f32, |x| x.to_f32(), |y| bf16::from_f32(y);
    f32, f32, |x| x, |y| y;
    f64, f64, |x| x, |y| y;
}

/// Turns the pairs of the last axis.
pub(crate) fn rope(op: &Rope, inputs: &[Operand], out: &Operand) -> Result<()> {
    match out.dtype {
        Dtype::F16 => run::<f16>(op, inputs, out),
        Dtype::BF16 => run::<bf16>(op, inputs, out),
        Dtype::F32 => run::<f32>(op, inputs, out),
        Dtype::F64 => run::<f64>(op, inputs, out),
        other => Err(Error::dtype("rope", &[other], "a floating type")),
    }
}

fn run<T: Turn>(op: &Rope, inputs: &[Operand], out: &Operand) -> Result<()> {
    let x = View::<T>::new(&inputs[0])?;
    let &[ref lead @ .., steps, d] = x.shape else {
        return Err(internal("rope needs two axes"));
    };
    let half = op.dims / 2;
    if !op.dims.is_multiple_of(2) || op.dims > d {
        return Err(internal(format!("rope of {} of {d} elements", op.dims)));
    }
    let offsets = offsets(&inputs[1], x.shape[0])?;
    let frequencies = frequencies(op, inputs.get(2), half)?;
    let target = Target::<T>::new(out)?;
    if target.len() == 0 {
        return Ok(());
    }
    // Angles (offsets, steps, half) as cosine and sine.
    let mut angles = vec![[0f64; 2]; offsets.len() * steps * half];
    let sign = if op.inverse { -1.0 } else { 1.0 };
    let table = crate::pool::SharedPtr::new(angles.as_mut_ptr());
    parallel_for(offsets.len() * steps, rows_per_task(half * 16), |r| {
        for row in r {
            let position = (offsets[row / steps] + (row % steps) as f64) * op.scale.get();
            for (pair, &frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (position * frequency).sin_cos();
                // SAFETY: rows of the table are disjoint.
                unsafe { *table.get().add(row * half + pair) = [cos, sign * sin] };
            }
        }
    });
    let ndim = x.shape.len();
    let walk = Walk::new(&x.shape[..ndim - 1], [&x.strides[..ndim - 1]]);
    let step = x.strides[ndim - 1];
    let rows_per_batch = walk.len() / lead.first().copied().unwrap_or(1).max(1);
    let (pair_step, partner) = if op.traditional { (2, 1) } else { (1, half) };
    parallel_for(walk.len(), rows_per_task(d), |r| {
        walk.each(r, |row, [at]| {
            let batch = match offsets.len() {
                1 => 0,
                // The first axis is that of the steps.
                _ if lead.is_empty() => row,
                _ => row / rows_per_batch,
            };
            let angles = &angles[(batch * steps + row % steps) * half..][..half];
            // SAFETY: the row lies inside the input; rows of the output are disjoint. An output
            // that is its input is read pair by pair before it is written.
            unsafe {
                let from = x.first().offset(at);
                let to = target.data().add(row * d);
                for (pair, &[cos, sin]) in angles.iter().enumerate() {
                    let a = pair * pair_step;
                    let b = a + partner;
                    let x0 = *from.offset(a as isize * step);
                    let x1 = *from.offset(b as isize * step);
                    let [y0, y1] = T::turn(x0, x1, cos, sin);
                    *to.add(a) = y0;
                    *to.add(b) = y1;
                }
                for i in op.dims..d {
                    *to.add(i) = *from.offset(i as isize * step);
                }
            }
        });
    });
    Ok(())
}

/// The first position of every element of the first axis, or one for all.
fn offsets(x: &Operand, count: usize) -> Result<Vec<f64>> {
    let mut out = Vec::with_capacity(x.layout.len());
    macro_rules! read {
        ($($dtype:ident $t:ty),*) => {
            match x.dtype {
                $(Dtype::$dtype => {
                    let view = View::<$t>::new(x)?;
                    let walk = Walk::new(view.shape, [view.strides]);
                    // SAFETY: the walk stays inside the operand.
                    walk.each(0..walk.len(), |_, [at]| unsafe {
                        out.push(*view.first().offset(at) as f64);
                    });
                })*
                other => return Err(Error::dtype("rope", &[other], "integer offsets")),
            }
        };
    }
    read!(U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64);
    if out.len() != 1 && out.len() != count {
        return Err(internal(format!("rope: {} offsets for {count}", out.len())));
    }
    Ok(out)
}

/// What a position is multiplied by for each pair.
fn frequencies(op: &Rope, input: Option<&Operand>, half: usize) -> Result<Vec<f64>> {
    match (op.base, input) {
        (Some(base), _) => {
            let log = base.get().ln();
            Ok((0..half).map(|i| (-2.0 * i as f64 / op.dims as f64 * log).exp()).collect())
        }
        (None, Some(input)) => {
            let x = View::<f32>::new(input)?;
            if x.shape != [half] {
                return Err(internal(format!("rope: {:?} frequencies for {half}", x.shape)));
            }
            // SAFETY: inside the 1-d input.
            let at = |i: usize| unsafe { *x.first().offset(i as isize * x.strides[0]) };
            Ok((0..half).map(|i| 1.0 / f64::from(at(i))).collect())
        }
        (None, None) => Err(internal("rope: neither base nor frequencies")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, operand, read};
    use lazulite_core::op::fast::FloatBits;

    fn naive(op: &Rope, shape: &[usize], x: &[f64], offsets: &[f64], freqs: &[f64]) -> Vec<f64> {
        let (d, half) = (shape[shape.len() - 1], op.dims / 2);
        let mut out = x.to_vec();
        for (i, index) in indices(shape).iter().enumerate() {
            let e = index[index.len() - 1];
            if e >= op.dims {
                continue;
            }
            let batch = if offsets.len() == 1 { 0 } else { index[0] };
            let (pair, first, other) = match op.traditional {
                true => (e / 2, e % 2 == 0, if e % 2 == 0 { i + 1 } else { i - 1 }),
                false => (e % half, e < half, if e < half { i + half } else { i - half }),
            };
            let p = (offsets[batch] + index[index.len() - 2] as f64) * op.scale.get();
            let angle = p * freqs[pair] * if op.inverse { -1.0 } else { 1.0 };
            let sign = if first { -1.0 } else { 1.0 };
            out[i] = x[i] * angle.cos() + sign * x[other] * angle.sin();
        }
        assert!(d >= op.dims);
        out
    }

    #[test]
    fn both_layouts_and_all_inputs() {
        let scale = FloatBits::new(0.5);
        for (traditional, inverse) in [(true, false), (false, false), (false, true)] {
            for (shape, dims) in [(&[2usize, 3, 5, 8][..], 8), (&[2, 1, 7, 10], 6), (&[4, 6], 4)] {
                for own in [false, true] {
                    let base = (!own).then(|| FloatBits::new(100.0));
                    let op = Rope { dims, traditional, base, scale, inverse };
                    let half = dims / 2;
                    let freqs: Vec<f32> = (0..half).map(|i| 1.0 + i as f32 * 2.0).collect();
                    let by: Vec<f64> = (0..half)
                        .map(|i| match own {
                            true => 1.0 / f64::from(freqs[i]),
                            false => 100f64.powf(-2.0 * i as f64 / dims as f64),
                        })
                        .collect();
                    for offsets in [vec![7i32], vec![3; shape[0]]] {
                        let many: &[usize] = if offsets.len() == 1 { &[] } else { &shape[..1] };
                        let starts = operand(&offsets, many);
                        let wide: Vec<f64> = offsets.iter().map(|&o| f64::from(o)).collect();
                        for (name, x) in layouts(shape, |i| (i % 13) as f32 - 6.0) {
                            let data: Vec<f64> =
                                read::<f32>(&x).into_iter().map(f64::from).collect();
                            let out = empty(Dtype::F32, shape);
                            let mut inputs = vec![x, starts.clone()];
                            if own {
                                inputs.push(operand(&freqs, &[half]));
                            }
                            rope(&op, &inputs, &out).unwrap();
                            let want = naive(&op, shape, &data, &wide, &by);
                            for (got, want) in read::<f32>(&out).iter().zip(want) {
                                // Two products and a sum in float32 of values up to 6.
                                assert!((f64::from(*got) - want).abs() < 4e-6, "{name} {op:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn integers_are_refused() {
        let x = operand(&[1i32, 2], &[1, 2]);
        let scale = FloatBits::new(1.0);
        let op = Rope { dims: 2, traditional: true, base: Some(scale), scale, inverse: false };
        let start = operand(&[0i32], &[]);
        assert!(rope(&op, &[x, start], &empty(Dtype::I32, &[1, 2])).is_err());
    }
}
