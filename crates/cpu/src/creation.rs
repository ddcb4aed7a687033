//! Ranges.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::op::creation::Arange;
use lazulite_core::{Dtype, Error, Result};

use crate::pool::parallel_for;
use crate::strided::{Plain, SERIAL, Target};

/// `start + i * step`, computed in `float64` or with wrapping 64-bit integers.
pub(crate) fn arange(op: &Arange, out: &Operand) -> Result<()> {
    let (start, step) = (op.start.to_f64(), op.step.to_f64());
    // The low bits of a wrapping sum do not depend on the sign.
    let (first, by) = (op.start.cast(Dtype::I64).bits(), op.step.cast(Dtype::I64).bits());
    let float = |i: usize| start + i as f64 * step;
    let int = |i: usize| first.wrapping_add((i as u64).wrapping_mul(by));
    match out.dtype {
        Dtype::U8 | Dtype::I8 => fill(out, |i| int(i) as u8),
        Dtype::U16 | Dtype::I16 => fill(out, |i| int(i) as u16),
        Dtype::U32 | Dtype::I32 => fill(out, |i| int(i) as u32),
        Dtype::U64 | Dtype::I64 => fill(out, int),
        Dtype::F16 => fill(out, |i| f16::from_f64(float(i))),
        Dtype::BF16 => fill(out, |i| bf16::from_f64(float(i))),
        Dtype::F32 => fill(out, |i| float(i) as f32),
        Dtype::F64 => fill(out, float),
        Dtype::Bool | Dtype::C64 => {
            Err(Error::dtype("arange", &[out.dtype], "an integer or floating type"))
        }
    }
}

fn fill<T: Plain>(out: &Operand, value: impl Fn(usize) -> T + Sync) -> Result<()> {
    let out = Target::<T>::new(out)?;
    parallel_for(out.len(), SERIAL, |r| {
        // SAFETY: tasks have disjoint ranges.
        let part = unsafe { out.part(r.clone()) };
        part.iter_mut().zip(r).for_each(|(x, i)| *x = value(i));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, read};
    use lazulite_core::Literal;

    fn run(start: Literal, step: Literal, len: usize) -> Operand {
        let out = empty(start.dtype(), &[len]);
        arange(&Arange { start, step, len }, &out).unwrap();
        out
    }

    #[test]
    fn values_are_rounded_once_and_integers_wrap() {
        let x = run(Literal::new(250u8), Literal::new(3i64), 4);
        assert_eq!(read::<u8>(&x), [250, 253, 0, 3]);
        let x = run(Literal::new(5i64), Literal::new(-2i64), 4);
        assert_eq!(read::<i64>(&x), [5, 3, 1, -1]);
        let x = read::<f32>(&run(Literal::new(0.5f32), Literal::new(0.1f64), 70_000));
        assert!(x.iter().enumerate().all(|(i, &v)| v == (0.5 + i as f64 * 0.1) as f32));
        let x = run(Literal::new(f16::ZERO), Literal::new(0.1f64), 5);
        assert_eq!(read::<f16>(&x)[3], f16::from_f64(3.0 * 0.1));
        assert!(read::<bf16>(&run(Literal::new(bf16::ONE), Literal::new(1f64), 0)).is_empty());
    }

    #[test]
    fn bool_is_refused() {
        let out = empty(Dtype::Bool, &[2]);
        let op = Arange { start: Literal::new(false), step: Literal::new(1i64), len: 2 };
        assert!(arange(&op, &out).is_err());
    }
}
