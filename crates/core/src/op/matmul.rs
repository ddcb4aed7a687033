//! Matrix products.
//!
//! Transposed, strided and broadcast operands cost nothing: the kernels take any strides. Half
//! types accumulate in `float32` and round once.

use super::elementwise::align_batches;
use super::{Avals, Batched, Derivative, Primitive, Rules, conjugated, one};
use crate::array::Array;
use crate::dtype::{Category, Dtype};
use crate::error::{Error, Result};
use crate::shape::{Axes, Shape, broadcast_shapes, normalize_axis, show};
use serde::{Deserialize, Serialize};

/// `(..., m, k) @ (..., k, n) -> (..., m, n)`; both inputs have one dtype and at least two axes, and
/// their leading axes broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Matmul;

impl Rules for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (a, b) = (inputs[0].shape(), inputs[1].shape());
        let (la, lb) = (a.len(), b.len());
        if la < 2 || lb < 2 {
            let message = format!("two axes are needed, got {} and {}", show(a), show(b));
            return Err(Error::shape("matmul", &[a, b], message));
        }
        if a[la - 1] != b[lb - 2] {
            let message = format!(
                "inner dimensions differ: lhs {}, rhs {}; lhs axis -1 must equal rhs axis -2",
                show(a),
                show(b)
            );
            return Err(Error::shape("matmul", &[a, b], message));
        }
        let mut shape: Shape = broadcast_shapes("matmul", &a[..la - 2], &b[..lb - 2])?;
        shape.extend([a[la - 2], b[lb - 1]]);
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Bilinear(0, 1)
    }

    fn transpose(
        &self,
        place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let (a, b) = (&inputs[0], &inputs[1]);
        let turned = |x: &Array| conjugated(x)?.swapaxes(-1, -2);
        if place == 0 {
            let out = Array::apply(Matmul, &[ct.clone(), turned(b)?])?;
            return super::sum_to(&out, a.shape()).map(Some);
        }
        let (mut a, mut ct) = (a.clone(), ct.clone());
        if b.ndim() == 2 && a.ndim() > 2 {
            // One product over all rows of the batch, instead of a product each and their sum.
            let rows = |x: &Array| x.reshape(&[x.len() / last(x).max(1), last(x)]);
            (a, ct) = (rows(&a)?, rows(&ct)?);
        }
        // The cotangent of a turned matrix is made turned: that of the matrix itself then lies as it does.
        let out = match is_turned(b) {
            true => {
                Array::apply(Matmul, &[ct.swapaxes(-1, -2)?, conjugated(&a)?])?.swapaxes(-1, -2)?
            }
            false => Array::apply(Matmul, &[turned(&a)?, ct])?,
        };
        super::sum_to(&out, inputs[place].shape()).map(Some)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        Ok((vec![Array::apply(Matmul, &align_batches(inputs, axes)?)?], vec![Some(0)]))
    }
}

/// True iff an array is another with its last two axes exchanged.
fn is_turned(x: &Array) -> bool {
    let n = x.ndim();
    let same = |(i, &a): (usize, &usize)| i + 2 >= n || a == i;
    match &x.node.op {
        Primitive::Transpose(t) => t.axes[n - 2] == n - 1 && t.axes.iter().enumerate().all(same),
        _ => false,
    }
}

fn last(x: &Array) -> usize {
    x.shape()[x.ndim() - 1]
}

/// The dtype in which a product of these types is taken.
fn product_dtype(a: Dtype, b: Dtype) -> Dtype {
    let dtype = a.promote(b);
    if dtype.category() == Category::Bool { Dtype::I32 } else { dtype }
}

impl Array {
    /// Matrix product. A 1-d operand is a row on the left and a column on the right; that axis is
    /// dropped from the result.
    ///
    /// # Shapes
    /// `self (..., m, k)`, `other (..., k, n)` `-> (..., m, n)`; leading axes broadcast.
    ///
    /// # Dtypes
    /// The promoted type; bool becomes `int32`. Half types accumulate in `float32`.
    ///
    /// # Errors
    /// Kind `Shape` if an operand is 0-d, the inner sizes differ or leading axes do not broadcast.
    ///
    /// ```no_run
    /// use lazulite_core::Array;
    /// let a = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
    /// assert_eq!(a.matmul(&a)?.to_vec::<f32>()?, [7.0, 10.0, 15.0, 22.0]);
    /// # Ok::<(), lazulite_core::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul(&self, other: &Array) -> Result<Array> {
        if self.ndim() == 0 || other.ndim() == 0 {
            let message = format!(
                "operands need at least one axis, got {} and {}",
                show(self.shape()),
                show(other.shape())
            );
            return Err(Error::shape("matmul", &[self.shape(), other.shape()], message));
        }
        let dtype = product_dtype(self.dtype(), other.dtype());
        crate::observe::promotion("matmul", self, other, dtype);
        let (a, b) = (self.astype(dtype)?, other.astype(dtype)?);
        let (row, column) = (a.ndim() == 1, b.ndim() == 1);
        let a = if row { a.expand_dims(&[0])? } else { a };
        let b = if column { b.expand_dims(&[1])? } else { b };
        let out = Array::apply(Matmul, [a, b])?;
        let n = out.ndim();
        let mut drop = Axes::new();
        if row {
            drop.push(n - 2);
        }
        if column {
            drop.push(n - 1);
        }
        if drop.is_empty() { Ok(out) } else { super::reduce::drop_axes(&out, &drop) }
    }

    /// `beta * self + alpha * (a @ b)`; one step where the planner fuses it.
    ///
    /// # Errors
    /// As [`Array::matmul`], and kind `Shape` if `self` does not broadcast to the product.
    pub fn addmm(&self, a: &Array, b: &Array, alpha: f64, beta: f64) -> Result<Array> {
        let product = a.matmul(b).map_err(|error| error.of("addmm"))?;
        let shape = broadcast_shapes("addmm", self.shape(), product.shape())?;
        if shape.as_slice() != product.shape() {
            let message = format!(
                "{} does not broadcast to the product's {}",
                show(self.shape()),
                show(product.shape())
            );
            return Err(Error::shape("addmm", &[self.shape(), product.shape()], message));
        }
        let dtype = self.dtype().promote(product.dtype());
        let scaled = |x: &Array, by: f64| {
            let x = x.astype(dtype)?;
            if by == 1.0 { Ok(x) } else { x.multiply(&super::like(&x, by)) }
        };
        scaled(&product, alpha)?.add(&scaled(self, beta)?)
    }

    /// The inner product over the last axes of both: `(..., k)`, `(*..., k)` give `(..., *...)`.
    ///
    /// # Errors
    /// Kind `Shape` if the last sizes differ.
    pub fn inner(&self, other: &Array) -> Result<Array> {
        if self.ndim() == 0 || other.ndim() == 0 {
            return self.multiply(other);
        }
        contract("inner", self, other, &[-1], &[-1])
    }

    /// All products of an element of each flattened array, `(m, n)`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn outer(&self, other: &Array) -> Result<Array> {
        self.reshape(&[self.len(), 1])?.multiply(&other.reshape(&[1, other.len()])?)
    }

    /// The sum of products over `axes` of this array and `other_axes` of the other, in pairs. The
    /// result has this array's other axes, then the other's.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range; `Argument` if the numbers differ or an axis is
    /// named twice; `Shape` if the sizes of a pair differ.
    pub fn tensordot(&self, other: &Array, axes: &[i64], other_axes: &[i64]) -> Result<Array> {
        contract("tensordot", self, other, axes, other_axes)
    }

    /// The sum of products along `axis`, the left operand conjugated; the other axes broadcast.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range, `Shape` if sizes do not fit.
    pub fn vecdot(&self, other: &Array, axis: i64) -> Result<Array> {
        let a = normalize_axis("vecdot", axis, self.ndim())?;
        let b = normalize_axis("vecdot", axis, other.ndim())?;
        if self.shape()[a] != other.shape()[b] {
            let message = format!(
                "axis {axis} has different sizes in {} and {}",
                show(self.shape()),
                show(other.shape())
            );
            return Err(Error::shape("vecdot", &[self.shape(), other.shape()], message));
        }
        let row = conjugated(self)?.moveaxis(axis, -1)?.expand_dims(&[-2])?;
        let column = other.moveaxis(axis, -1)?.expand_dims(&[-1])?;
        row.matmul(&column)?.squeeze(Some(&[-2, -1]))
    }

    /// The Kronecker product: block `(i, j)` is `self[i, j] * other`, for any rank.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn kron(&self, other: &Array) -> Result<Array> {
        let ndim = self.ndim().max(other.ndim());
        let pad = |x: &Array| -> Shape {
            std::iter::repeat_n(1, ndim - x.ndim()).chain(x.shape().iter().copied()).collect()
        };
        let (m, n) = (pad(self), pad(other));
        let left: Shape = m.iter().flat_map(|&a| [a, 1]).collect();
        let right: Shape = n.iter().flat_map(|&b| [1, b]).collect();
        let whole: Shape = m.iter().zip(&n).map(|(a, b)| a * b).collect();
        self.reshape(&left)?.multiply(&other.reshape(&right)?)?.reshape(&whole)
    }
}

/// [`Array::tensordot`] in the name of `op`, which its errors name.
fn contract(
    op: &'static str,
    a: &Array,
    b: &Array,
    axes: &[i64],
    other_axes: &[i64],
) -> Result<Array> {
    if axes.len() != other_axes.len() {
        let message = format!(
            "axes {axes:?} and {other_axes:?} differ in number; each axis needs a partner",
        );
        return Err(Error::argument(op, message));
    }
    let sum_a = super::gather::distinct_axes(op, axes, a.ndim())?;
    let sum_b = super::gather::distinct_axes(op, other_axes, b.ndim())?;
    let sizes =
        |x: &Array, axes: &[usize]| -> Shape { axes.iter().map(|&a| x.shape()[a]).collect() };
    if sizes(a, &sum_a) != sizes(b, &sum_b) {
        let message = format!(
            "axes {axes:?} of {} and {other_axes:?} of {} have different sizes",
            show(a.shape()),
            show(b.shape())
        );
        return Err(Error::shape(op, &[a.shape(), b.shape()], message));
    }
    let rest = |x: &Array, sum: &[usize]| -> Axes {
        (0..x.ndim()).filter(|axis| !sum.contains(axis)).collect()
    };
    let (keep_a, keep_b) = (rest(a, &sum_a), rest(b, &sum_b));
    let matrix = |x: &Array, left: &[usize], right: &[usize]| -> Result<Array> {
        let order: Vec<i64> = left.iter().chain(right).map(|&axis| axis as i64).collect();
        let count = |axes: &[usize]| axes.iter().map(|&axis| x.shape()[axis]).product();
        x.transpose(Some(&order))?.reshape(&[count(left), count(right)])
    };
    let product = matrix(a, &keep_a, &sum_a)?.matmul(&matrix(b, &sum_b, &keep_b)?)?;
    let mut shape = sizes(a, &keep_a);
    shape.extend(sizes(b, &keep_b));
    product.reshape(&shape)
}
