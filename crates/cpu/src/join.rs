//! Concatenation.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::join::Concatenate;
use lazulite_core::shape::contiguous_strides;

use crate::copy::copy_strided;
use crate::pool;
use crate::strided::{SERIAL, Target, View, internal, with_bits};

/// Copies each input to its place along the axis.
pub(crate) fn concatenate(op: &Concatenate, inputs: &[Operand], out: &Operand) -> Result<()> {
    let strides = contiguous_strides(out.shape());
    let total: usize = inputs.iter().map(|x| x.shape()[op.axis]).sum();
    let same = |x: &Operand| {
        (x.shape().iter().zip(out.shape()).enumerate()).all(|(a, (n, m))| a == op.axis || n == m)
    };
    if total != out.shape()[op.axis] || !inputs.iter().all(same) {
        return Err(internal("the inputs of a concatenation do not fill its output"));
    }
    with_bits!(out.dtype.size(), T => {
        let out = Target::<T>::new(out)?;
        let views = inputs.iter().map(View::<T>::new).collect::<Result<Vec<_>>>()?;
        let places: Vec<usize> = (views.iter())
            .scan(0, |at, x| {
                let place = *at;
                *at += x.shape[op.axis];
                Some(place)
            })
            .collect();
        let copy = |i: usize| {
            let x = &views[i];
            let start = places[i] as isize * strides[op.axis];
            // SAFETY: the inputs' places are disjoint and together are the output, as checked.
            unsafe {
                let dst = out.data().wrapping_offset(start);
                copy_strided(x.shape, x.first(), x.strides, dst, &strides);
            }
        };
        // Many small inputs share the threads; large ones are each copied by all of them.
        if views.len() >= 8 && out.len() > SERIAL && out.len() / views.len() <= SERIAL {
            let tasks = views.len().min(32);
            pool::run(tasks, &|t| {
                (t * views.len() / tasks..(t + 1) * views.len() / tasks).for_each(copy);
            });
        } else {
            (0..views.len()).for_each(copy);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, read};
    use lazulite_core::Dtype;

    #[test]
    fn parts_lie_one_after_another() {
        for (sizes, axis) in [
            (vec![2, 0, 3], 0),
            (vec![1, 4], 1),
            (vec![5; 40], 2),
            (vec![3000; 12], 1),
            (vec![1], 2),
        ] {
            let shape = |n: usize| {
                let mut shape = vec![2, 3, 4];
                shape[axis] = n;
                shape
            };
            for layout in 0..4 {
                let inputs: Vec<Operand> = (sizes.iter().enumerate())
                    .map(|(k, &n)| {
                        let all = layouts(&shape(n), |i| (i + 1000 * k) as i32);
                        all[layout.min(all.len() - 1)].1.clone()
                    })
                    .collect();
                let total = shape(sizes.iter().sum());
                let out = empty(Dtype::I32, &total);
                concatenate(&Concatenate { axis }, &inputs, &out).unwrap();
                let parts: Vec<Vec<i32>> = inputs.iter().map(read::<i32>).collect();
                let mut seen = vec![0; parts.len()];
                for (index, got) in indices(&total).iter().zip(read::<i32>(&out)) {
                    let (mut k, mut at) = (0, index[axis]);
                    while at >= sizes[k] {
                        at -= sizes[k];
                        k += 1;
                    }
                    // Each part is met in its own row-major order.
                    assert_eq!(got, parts[k][seen[k]]);
                    seen[k] += 1;
                }
            }
        }
    }
}
