//! Grouped products: each row block is multiplied by the matrix that an index picks.
//!
//! This is the product of mixtures of experts. Backends bring the blocks of one matrix together
//! themselves, so that sorting the indices first is not needed for speed.

use super::gather::{as_index, check_index_dtype};
use super::quantized::{FLOATS, QuantFormat, QuantMode, affine_cotangents, takes};
use super::scatter::UpdateMode;
use super::{
    Avals, Batched, Derivative, Rules, batch_first, conjugated, index_dtype, one, with_batch,
};
use crate::array::Array;
use crate::error::{Error, Result};
use crate::shape::{Shape, broadcast_shapes, show};
use serde::{Deserialize, Serialize};

/// How the matrices of a grouped product are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum Matrices {
    /// One input `b (e, k, n)` of x's dtype.
    Dense,
    /// Packed weights, scales and, if affine, biases of `w (e, n, k)` if `transpose`, else
    /// `(e, k, n)`.
    Quantized {
        /// The format of `w`, packed along its last axis.
        format: QuantFormat,
        /// True iff `w` is multiplied transposed.
        transpose: bool,
    },
}

/// Inputs `x (a, m, k)`, `lhs (s,)` and `rhs (s,)`, then the parts of the matrices; output `(s, m, n)`
/// in x's dtype: block `lhs[i]` of x times matrix `rhs[i]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct GroupedMatmul {
    /// How the matrices are held.
    pub matrices: Matrices,
}

impl GroupedMatmul {
    /// MLX's name of the op.
    pub fn name(&self) -> &'static str {
        match self.matrices {
            Matrices::Dense => "gather_mm",
            Matrices::Quantized { .. } => "gather_qmm",
        }
    }

    /// The matrices' number, k and n.
    fn sizes(&self, parts: &[Array]) -> Result<[usize; 3]> {
        let name = self.name();
        let shape: Shape = match self.matrices {
            Matrices::Dense => parts[0].shape().into(),
            Matrices::Quantized { format, .. } => format.unpacked(name, parts)?,
        };
        let &[count, rows, columns] = shape.as_slice() else {
            let message = format!("matrices of shape {} need three axes", show(&shape));
            return Err(Error::shape(name, &[&shape], message));
        };
        Ok(match self.matrices {
            Matrices::Quantized { transpose: true, .. } => [count, columns, rows],
            _ => [count, rows, columns],
        })
    }

    /// The op that multiplies by the transposed matrices, and its parts.
    fn transposed(&self, parts: &[Array]) -> Result<(GroupedMatmul, Vec<Array>)> {
        Ok(match self.matrices {
            Matrices::Dense => (*self, vec![conjugated(&parts[0])?.swapaxes(-1, -2)?]),
            Matrices::Quantized { format, transpose } => {
                let matrices = Matrices::Quantized { format, transpose: !transpose };
                (GroupedMatmul { matrices }, parts.to_vec())
            }
        })
    }

    fn with(&self, x: &Array, lhs: &Array, rhs: &Array, parts: &[Array]) -> Result<Array> {
        let mut inputs = vec![x.clone(), lhs.clone(), rhs.clone()];
        inputs.extend_from_slice(parts);
        Array::apply(*self, &inputs)
    }
}

/// The first input that belongs to the matrices.
const PARTS: usize = 3;

impl Rules for GroupedMatmul {
    fn name(&self) -> &'static str {
        GroupedMatmul::name(self)
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let name = self.name();
        let [x, lhs, rhs] = [&inputs[0], &inputs[1], &inputs[2]];
        let [_, k, n] = self.sizes(&inputs[PARTS..])?;
        for index in [lhs, rhs] {
            check_index_dtype(name, index)?;
        }
        if lhs.ndim() != 1 || lhs.shape() != rhs.shape() {
            let message =
                format!("index shapes {} and {} differ", show(lhs.shape()), show(rhs.shape()));
            return Err(Error::shape(name, &[lhs.shape(), rhs.shape()], message));
        }
        let &[_, m, inner] = x.shape() else {
            let message = format!("row blocks of shape {} need three axes", show(x.shape()));
            return Err(Error::shape(name, &[x.shape()], message));
        };
        if inner != k {
            let message = format!(
                "inner dimensions differ: rows of {inner} elements, matrices ({k}, {n}); rows must \
                 have {k}"
            );
            return Err(Error::shape(name, &[x.shape(), inputs[PARTS].shape()], message));
        }
        one(Shape::from_slice(&[lhs.shape()[0], m, n]), x.dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }

    fn jvp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        let [x, lhs, rhs] = [&inputs[0], &inputs[1], &inputs[2]];
        let parts = &inputs[PARTS..];
        let by_x = tangents[0].as_ref().map(|t| self.with(t, lhs, rhs, parts)).transpose()?;
        // Packed words have no tangent; the result is linear in the other parts together.
        let fixed = usize::from(self.matrices != Matrices::Dense);
        let moving = &tangents[PARTS..];
        if moving.iter().all(Option::is_none) {
            return Ok(vec![by_x]);
        }
        let parts = (parts.iter().zip(moving).enumerate())
            .map(|(i, (part, tangent))| match tangent {
                _ if i < fixed => Ok(part.clone()),
                Some(tangent) => Ok(tangent.clone()),
                None => part.zeros_like(),
            })
            .collect::<Result<Vec<_>>>()?;
        let by_parts = self.with(x, lhs, rhs, &parts)?;
        Ok(vec![Some(match by_x {
            Some(by_x) => by_x.add(&by_parts)?,
            None => by_parts,
        })])
    }

    fn vjp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let mut out = vec![None; inputs.len()];
        let Some(ct) = &cotangents[0] else { return Ok(out) };
        let [x, lhs, rhs] = [&inputs[0], &inputs[1], &inputs[2]];
        let parts = &inputs[PARTS..];
        // Each product's share, joined where several have one block or one matrix.
        let joined = |into: Array, index: &Array, shares: &Array| {
            let mut shape: Shape = shares.shape().into();
            shape.insert(1, 1);
            let shares = shares.reshape(&shape)?;
            into.scatter(std::slice::from_ref(index), &shares, &[0], UpdateMode::Add)
        };
        if wanted[0] {
            let count = ct.shape()[0];
            let each = Array::iota(0.0, 1.0, count, index_dtype(count))?;
            let (back, parts) = self.transposed(parts)?;
            let shares = back.with(ct, &each, rhs, &parts)?;
            out[0] = Some(joined(x.zeros_like()?, lhs, &shares)?);
        }
        let affine = |format: QuantFormat| {
            format.mode == QuantMode::Affine && wanted[PARTS + 1..].contains(&true)
        };
        let [count, k, n] = self.sizes(parts)?;
        let shares = |transpose: bool| {
            let rows = conjugated(x)?.take(lhs, Some(0))?;
            let (a, b) = if transpose { (ct, &rows) } else { (&rows, ct) };
            let shape = if transpose { [count, n, k] } else { [count, k, n] };
            let zeros = Array::zeros(&shape, x.dtype())?;
            joined(zeros, rhs, &a.swapaxes(-1, -2)?.matmul(b)?)
        };
        match self.matrices {
            Matrices::Dense if wanted[PARTS] => out[PARTS] = Some(shares(false)?),
            Matrices::Quantized { format, transpose } if affine(format) => {
                let [scales, biases] = affine_cotangents(format, parts, &shares(transpose)?)?;
                (out[PARTS + 1], out[PARTS + 2]) = (Some(scales), Some(biases));
            }
            _ => {}
        }
        Ok(out)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        // The examples' blocks, and their matrices, follow each other in one array; indices count on.
        let first = |i: usize| {
            let mut shape: Shape = inputs[i].shape().into();
            axes[i].map(|axis| shape.remove(axis));
            shape[0]
        };
        let counted = |index: usize, of: usize, batched: bool| -> Result<Array> {
            let all = with_batch(&inputs[index], axes[index], batch)?;
            if !batched {
                return all.flatten(0, -1);
            }
            let step = first(of);
            let dtype = all.dtype().promote(index_dtype(batch * step));
            let all = all.astype(dtype)?;
            let starts = Array::iota(0.0, 1.0, batch, dtype)?.reshape(&[batch, 1])?;
            let size = super::like(&all, step as f64);
            // A negative index counts from the end of its own example.
            let from_end = all.less(&super::like(&all, 0.0))?;
            let all = from_end.select(&all.add(&size)?, &all)?;
            all.add(&starts.multiply(&size)?)?.flatten(0, -1)
        };
        let merged = |x: &Array, axis: Option<usize>| -> Result<Array> {
            match axis {
                None => Ok(x.clone()),
                Some(_) => batch_first(x, axis)?.flatten(0, 1),
            }
        };
        let split = axes[PARTS..].iter().any(Option::is_some);
        let parts = (PARTS..inputs.len())
            .map(|i| {
                if split {
                    with_batch(&inputs[i], axes[i], batch)?.flatten(0, 1)
                } else {
                    Ok(inputs[i].clone())
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let lhs = counted(1, 0, axes[0].is_some())?;
        let rhs = counted(2, PARTS, split)?;
        let out = self.with(&merged(&inputs[0], axes[0])?, &lhs, &rhs, &parts)?;
        let count = out.shape()[0] / batch.max(1);
        let shape = [&[batch, count], &out.shape()[1..]].concat();
        Ok((vec![out.reshape(&shape)?], vec![Some(0)]))
    }
}

/// The indices of a grouped product, flattened, and the shape that they had.
struct Places {
    lhs: Array,
    rhs: Array,
    shape: Shape,
}

impl Places {
    /// `None` stands for every block, or every matrix, in order.
    fn new(
        op: &'static str,
        lead: [&[usize]; 2],
        lhs: Option<&Array>,
        rhs: Option<&Array>,
    ) -> Result<Places> {
        let index = |given: Option<&Array>, lead: &[usize]| match given {
            Some(index) => as_index(op, index),
            None => {
                let count: usize = lead.iter().product();
                Array::iota(0.0, 1.0, count, index_dtype(count))?.reshape(lead)
            }
        };
        let (lhs, rhs) = (index(lhs, lead[0])?, index(rhs, lead[1])?);
        let shape = broadcast_shapes(op, lhs.shape(), rhs.shape())?;
        let flat = |x: &Array| x.broadcast_to(&shape)?.flatten(0, -1);
        Ok(Places { lhs: flat(&lhs)?, rhs: flat(&rhs)?, shape })
    }
}

/// The leading axes of `x`, and `x` with them as one.
fn merged<'a>(op: &'static str, x: &'a Array) -> Result<(&'a [usize], Array)> {
    let shape = x.shape();
    let Some(lead) = shape.len().checked_sub(2) else {
        let message = format!("at least two axes are needed, got {}", show(shape));
        return Err(Error::shape(op, &[shape], message));
    };
    let count = shape[..lead].iter().product();
    Ok((&shape[..lead], x.reshape(&[count, shape[lead], shape[lead + 1]])?))
}

impl Array {
    /// Products of picked blocks with picked matrices: `self[lhs[i]] @ b[rhs[i]]` for every place i,
    /// where the leading axes of both are counted as one. `None` stands for all of them in order.
    /// Equal indices need not be together.
    ///
    /// # Shapes
    /// `self (..., m, k)`, `b (..., k, n)`, indices that broadcast to `I` `-> I + (m, n)`.
    ///
    /// # Dtypes
    /// The promoted type, which must be floating or complex.
    ///
    /// # Errors
    /// Kind `Shape` if the inner sizes differ or the indices do not broadcast; `Dtype` if the types do
    /// not fit. An index out of range is an error of evaluation.
    pub fn gather_mm(&self, b: &Array, lhs: Option<&Array>, rhs: Option<&Array>) -> Result<Array> {
        const OP: &str = "gather_mm";
        let dtype = self.dtype().promote(b.dtype());
        if !dtype.is_inexact() {
            return Err(Error::dtype(OP, &[self.dtype(), b.dtype()], "a floating or complex type"));
        }
        let ((la, a), (lb, b)) = (merged(OP, self)?, merged(OP, b)?);
        let places = Places::new(OP, [la, lb], lhs, rhs)?;
        finish(Matrices::Dense, places, &a.astype(dtype)?, &[b.astype(dtype)?])
    }

    /// [`Array::gather_mm`] with quantised matrices: packed weights `w`, scales and biases.
    ///
    /// # Shapes
    /// `self (..., m, k)`, `w (..., n, k)` if `transpose`, else `(..., k, n)`, packed along the last
    /// axis; indices that broadcast to `I` `-> I + (m, n)`.
    ///
    /// # Dtypes
    /// As [`Array::quantized_matmul`].
    ///
    /// # Errors
    /// As [`Array::quantized_matmul`] and [`Array::gather_mm`].
    #[allow(clippy::too_many_arguments)]
    pub fn gather_qmm(
        &self,
        w: &Array,
        scales: &Array,
        biases: Option<&Array>,
        lhs: Option<&Array>,
        rhs: Option<&Array>,
        transpose: bool,
        format: QuantFormat,
    ) -> Result<Array> {
        const OP: &str = "gather_qmm";
        let affine = format.mode == QuantMode::Affine;
        let dtype =
            if affine { self.dtype().promote(scales.dtype()) } else { self.dtype().to_inexact() };
        if !takes(dtype) {
            return Err(Error::dtype(OP, &[self.dtype(), scales.dtype()], FLOATS));
        }
        let (lead, x) = merged(OP, self)?;
        let (lead_w, w) = merged(OP, w)?;
        let places = Places::new(OP, [lead, lead_w], lhs, rhs)?;
        let mut parts = vec![w];
        for part in [Some(scales), biases].into_iter().flatten() {
            parts.push(merged(OP, part)?.1.astype(scales.dtype())?);
        }
        format.unpacked(OP, &parts)?;
        finish(Matrices::Quantized { format, transpose }, places, &x.astype(dtype)?, &parts)
    }
}

fn finish(matrices: Matrices, places: Places, x: &Array, parts: &[Array]) -> Result<Array> {
    let out = GroupedMatmul { matrices }.with(x, &places.lhs, &places.rhs, parts)?;
    let mut shape = places.shape;
    shape.extend_from_slice(&out.shape()[1..]);
    out.reshape(&shape)
}
