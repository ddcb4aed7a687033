//! Matrix products of any rank, layout and element type, through the packed kernels.

use half::{bf16, f16};
use lazulite_core::backend::Operand;
use lazulite_core::{Complex32, Dtype, Error, Result};

use crate::complex::{ComplexLeft, ComplexRight};
use crate::elem::Elem;
use crate::gemm::gemm;
use crate::operand::{Output, Strided};
use crate::strided::{Plain, Target, View, Walk, internal};

/// `a @ b` over broadcast leading axes. Half types also have results in `float32`.
pub(crate) fn matmul(inputs: &[Operand], out: &Operand) -> Result<()> {
    let (a, b) = (&inputs[0], &inputs[1]);
    if out.layout.is_empty() {
        return Ok(());
    }
    match (a.dtype, out.dtype) {
        (Dtype::U8, Dtype::U8) => real::<u8, u8>(a, b, out),
        (Dtype::U16, Dtype::U16) => real::<u16, u16>(a, b, out),
        (Dtype::U32, Dtype::U32) => real::<u32, u32>(a, b, out),
        (Dtype::U64, Dtype::U64) => real::<u64, u64>(a, b, out),
        (Dtype::I8, Dtype::I8) => real::<i8, i8>(a, b, out),
        (Dtype::I16, Dtype::I16) => real::<i16, i16>(a, b, out),
        (Dtype::I32, Dtype::I32) => real::<i32, i32>(a, b, out),
        (Dtype::I64, Dtype::I64) => real::<i64, i64>(a, b, out),
        (Dtype::F16, Dtype::F16) => real::<f16, f16>(a, b, out),
        (Dtype::F16, Dtype::F32) => real::<f16, f32>(a, b, out),
        (Dtype::BF16, Dtype::BF16) => real::<bf16, bf16>(a, b, out),
        (Dtype::BF16, Dtype::F32) => real::<bf16, f32>(a, b, out),
        (Dtype::F32, Dtype::F32) => real::<f32, f32>(a, b, out),
        (Dtype::F64, Dtype::F64) => real::<f64, f64>(a, b, out),
        (Dtype::C64, Dtype::C64) => complex(a, b, out),
        (from, to) => Err(Error::dtype("matmul", &[from, to], "numeric types of one kind")),
    }
}

fn real<E: Elem + Plain, O: Elem<Acc = E::Acc> + Plain>(
    a: &Operand,
    b: &Operand,
    out: &Operand,
) -> Result<()> {
    let (a, b, target) = (View::<E>::new(a)?, View::<E>::new(b)?, Target::<O>::new(out)?);
    let batches = Batches::new(&a, &b, out.shape())?;
    let (left, right) = (batches.left(&a), batches.right(&b));
    // SAFETY: a product's output is unshared.
    let mut output = Output::new(unsafe { target.all() }, batches.count, [batches.m, batches.n]);
    gemm::<E::Acc>(&left, &right, &mut output, None);
    Ok(())
}

fn complex(a: &Operand, b: &Operand, out: &Operand) -> Result<()> {
    let (a, b) = (View::<Complex32>::new(a)?, View::<Complex32>::new(b)?);
    let target = Target::<Complex32>::new(out)?;
    let batches = Batches::new(&a, &b, out.shape())?;
    let (left, right) = (ComplexLeft(batches.left(&a)), ComplexRight(batches.right(&b)));
    // SAFETY: a product's output is unshared.
    let data: &mut [f32] = bytemuck::cast_slice_mut(unsafe { target.all() });
    let mut output = Output::new(data, batches.count, [batches.m, 2 * batches.n]);
    gemm::<f32>(&left, &right, &mut output, None);
    Ok(())
}

/// The leading axes of a product as a list of matrices, merged into rows where one right operand
/// serves all.
pub(crate) struct Batches {
    /// How many results there are.
    pub count: usize,
    /// Rows of a result.
    pub m: usize,
    /// Columns of a result.
    pub n: usize,
    /// The inner size.
    pub k: usize,
    row_step: isize,
    /// Where each batch's left matrix begins, counted from the lowest element; none if shared.
    left: Option<Vec<usize>>,
    right: Option<Vec<usize>>,
}

impl Batches {
    fn new<E: Plain>(a: &View<E>, b: &View<E>, out: &[usize]) -> Result<Batches> {
        let (&[ref lead_a @ .., m, k], &[ref lead_b @ .., kb, n], &[ref lead @ .., om, on]) =
            (a.shape, b.shape, out)
        else {
            return Err(internal("matmul needs two axes"));
        };
        let steps_a = broadcast(lead_a, a.strides, lead)?;
        let steps_b = broadcast(lead_b, b.strides, lead)?;
        if kb != k || om != m || on != n {
            return Err(internal(format!("matmul: {:?} by {:?} to {out:?}", a.shape, b.shape)));
        }
        let row_step = a.strides[a.shape.len() - 2];
        let shared =
            |steps: &[isize]| steps.iter().zip(lead).all(|(&step, &size)| step == 0 || size == 1);
        let count: usize = lead.iter().product();
        let plain = Batches { count, m, n, k, row_step, left: None, right: None };
        if count <= 1 {
            return Ok(plain);
        }
        if shared(&steps_b) {
            // One right operand for all rows: they are rows of one product if they lie so.
            let shape: Vec<usize> = lead.iter().copied().chain([m]).collect();
            let steps: Vec<isize> = steps_a.iter().copied().chain([row_step]).collect();
            let mut walk = Walk::new(&shape, [&steps]);
            if walk.shape.len() <= 1 {
                let (m, [row_step]) = walk.pop();
                return Ok(Batches { count: 1, m, row_step, ..plain });
            }
        }
        let starts = |steps: &[isize], first: usize| {
            let walk = Walk::new(lead, [steps]);
            let mut starts = Vec::with_capacity(count);
            walk.each(0..count, |_, [at]| starts.push((first as isize + at) as usize));
            starts
        };
        let left = (!shared(&steps_a)).then(|| starts(&steps_a, a.span().1));
        let right = (!shared(&steps_b)).then(|| starts(&steps_b, b.span().1));
        Ok(Batches { left, right, ..plain })
    }

    fn left<'a, E: Plain>(&'a self, a: &View<'a, E>) -> Strided<'a, E> {
        let steps = [self.row_step, a.strides[a.shape.len() - 1]];
        matrices(a, self.left.as_deref(), [self.m, self.k], steps)
    }

    fn right<'a, E: Plain>(&'a self, b: &View<'a, E>) -> Strided<'a, E> {
        let ndim = b.shape.len();
        let steps = [b.strides[ndim - 1], b.strides[ndim - 2]];
        matrices(b, self.right.as_deref(), [self.n, self.k], steps)
    }
}

fn matrices<'a, E: Plain>(
    x: &View<'a, E>,
    starts: Option<&'a [usize]>,
    extent: [usize; 2],
    steps: [isize; 2],
) -> Strided<'a, E> {
    let (data, first) = x.span();
    match starts {
        Some(starts) => Strided::batched(data, starts, extent, steps),
        None => Strided::new(data, first, extent, steps),
    }
}

/// The steps of leading axes under the shape to which they are broadcast.
fn broadcast(from: &[usize], strides: &[isize], to: &[usize]) -> Result<Vec<isize>> {
    let Some(missing) = to.len().checked_sub(from.len()) else {
        return Err(internal(format!("{from:?} cannot be broadcast to {to:?}")));
    };
    let mut steps = vec![0; to.len()];
    for (axis, (&n, &step)) in from.iter().zip(strides).enumerate() {
        if n != 1 {
            steps[missing + axis] = step;
            if n != to[missing + axis] {
                return Err(internal(format!("{from:?} cannot be broadcast to {to:?}")));
            }
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, indices, layouts, read};
    use lazulite_core::{Element, shape::contiguous_strides};

    /// Both operands in all pairs of layouts against three loops.
    fn check<T: Element + Plain, W: Copy>(
        a_shape: &[usize],
        b_shape: &[usize],
        lead: &[usize],
        make: impl Fn(usize) -> T + Copy,
        zero: W,
        step: impl Fn(W, T, T) -> W,
        finish: impl Fn(W) -> T,
    ) {
        let (m, k) = (a_shape[a_shape.len() - 2], a_shape[a_shape.len() - 1]);
        let n = b_shape[b_shape.len() - 1];
        let shape = [lead, &[m, n]].concat();
        for (name_a, a) in layouts(a_shape, make) {
            for (name_b, b) in layouts(b_shape, |i| make(i * 3 + 1)) {
                let out = empty(T::DTYPE, &shape);
                matmul(&[a.clone(), b.clone()], &out).unwrap();
                let (x, y) = (read::<T>(&a), read::<T>(&b));
                let place = |shape: &[usize], index: &[usize], last: [usize; 2]| {
                    let ndim = shape.len();
                    let strides = contiguous_strides(shape);
                    let lead = &index[index.len() - 2 - (ndim - 2)..index.len() - 2];
                    let at: usize = (lead.iter().zip(shape).zip(&strides))
                        .map(|((&i, &n), &s)| if n == 1 { 0 } else { i * s as usize })
                        .sum();
                    at + last[0] * shape[ndim - 1] + last[1]
                };
                for (got, index) in read::<T>(&out).iter().zip(indices(&shape)) {
                    let (i, j) = (index[index.len() - 2], index[index.len() - 1]);
                    let want = (0..k).fold(zero, |sum, p| {
                        step(
                            sum,
                            x[place(a_shape, &index, [i, p])],
                            y[place(b_shape, &index, [p, j])],
                        )
                    });
                    assert_eq!(*got, finish(want), "{a_shape:?} {name_a} {b_shape:?} {name_b}");
                }
            }
        }
    }

    /// Small integers, so that sums are exact in every type and order.
    #[test]
    fn every_rank_and_layout() {
        let cases: [(&[usize], &[usize], &[usize]); 9] = [
            (&[1, 1], &[1, 1], &[]),
            (&[3, 0], &[0, 2], &[]),
            (&[0, 3], &[3, 2], &[]),
            (&[5, 7], &[7, 4], &[]),
            (&[1, 30], &[30, 90], &[]),
            (&[3, 5, 7], &[7, 4], &[3]),
            (&[2, 1, 5, 6], &[3, 6, 4], &[2, 3]),
            (&[5, 6], &[4, 6, 3], &[4]),
            (&[2, 40, 33], &[2, 33, 50], &[2]),
        ];
        for (a, b, lead) in cases {
            let make = |i: usize| (i % 5) as f32 - 2.0;
            check::<f32, f32>(a, b, lead, make, 0.0, |s, x, y| s + x * y, |s| s);
        }
    }

    #[test]
    fn every_type() {
        let (a, b, lead) = (&[2, 3, 5][..], &[5, 4][..], &[2][..]);
        macro_rules! ints {
            ($($t:ty)*) => { $(
                let step = |s: $t, x: $t, y: $t| s.wrapping_add(x.wrapping_mul(y));
                check::<$t, $t>(a, b, lead, |i| (i * 37) as $t, 0, step, |s| s);
            )* };
        }
        ints!(u8 u16 u32 u64 i8 i16 i32 i64);
        let small = |i: usize| (i % 5) as f32 - 2.0;
        check::<f64, f64>(a, b, lead, |i| f64::from(small(i)), 0.0, |s, x, y| s + x * y, |s| s);
        check::<f16, f32>(
            a,
            b,
            lead,
            |i| f16::from_f32(small(i)),
            0.0,
            |s, x, y| s + x.to_f32() * y.to_f32(),
            f16::from_f32,
        );
        check::<bf16, f32>(
            a,
            b,
            lead,
            |i| bf16::from_f32(small(i)),
            0.0,
            |s, x, y| s + x.to_f32() * y.to_f32(),
            bf16::from_f32,
        );
        let zero = Complex32::new(0.0, 0.0);
        check::<Complex32, Complex32>(
            a,
            b,
            lead,
            |i| Complex32::new(small(i), small(i + 1)),
            zero,
            |s, x, y| s + x * y,
            |s| s,
        );
    }

    #[test]
    fn bool_is_refused() {
        let x = crate::testing::operand(&[true], &[1, 1]);
        assert!(matmul(&[x.clone(), x.clone()], &empty(Dtype::Bool, &[1, 1])).is_err());
    }

    #[test]
    fn no_matrices_are_multiplied() -> Result<()> {
        for dtype in [Dtype::F32, Dtype::C64] {
            let (a, b) = (empty(dtype, &[0, 4, 5]), empty(dtype, &[0, 5, 6]));
            matmul(&[a, b], &empty(dtype, &[0, 4, 6]))?;
        }
        Ok(())
    }
}
