//! A weight matrix, dense or quantised: what linear layers and embeddings hold.

use super::module::{Module, Visitor, child};
use super::param::Param;
use crate::quantized::{QuantFormat, QuantMode};
use crate::transform::Tree;
use crate::{Array, Dtype, Error, Result};

/// A matrix `(n, k)` of rows that are multiplied or looked up. Its arrays are called `weight`, and
/// `scales` and `biases` if it is quantised, as in MLX's files.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// Numbers, trained like any parameter.
    Dense(Param),
    /// Packed numbers, which have no gradient.
    Quantized(QuantizedMatrix),
}

/// The parts of a quantised matrix.
#[derive(Clone, Debug)]
pub struct QuantizedMatrix {
    /// Packed numbers `(n, k * bits / 32)` of `uint32`.
    pub weight: Param,
    /// The scale of each group, `(n, k / group)`.
    pub scales: Param,
    /// What is added to each group, in the affine mode.
    pub biases: Option<Param>,
    /// How the numbers are packed.
    pub format: QuantFormat,
}

impl Matrix {
    /// A trainable matrix.
    pub fn dense(weight: Array) -> Matrix {
        Matrix::Dense(Param::new(weight))
    }

    /// The numbers of rows and columns. What is not a matrix has none.
    pub fn shape(&self) -> [usize; 2] {
        let (weight, per_element) = match self {
            Matrix::Dense(weight) => (weight, None),
            Matrix::Quantized(q) => (&q.weight, Some(q.format.bits)),
        };
        match (weight.shape(), per_element) {
            (&[n, k], None) => [n, k],
            (&[n, packed], Some(bits)) => [n, packed * 32 / bits],
            _ => [0, 0],
        }
    }

    /// True iff the matrix is quantised.
    pub fn is_quantized(&self) -> bool {
        matches!(self, Matrix::Quantized(_))
    }

    /// `x @ w^T`, with `bias` added before the result is rounded.
    ///
    /// # Shapes
    /// `x: (..., k), bias: (n) -> (..., n)`
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn apply(&self, x: &Array, bias: Option<&Array>) -> Result<Array> {
        match self {
            Matrix::Dense(w) => match bias {
                Some(bias) => bias.addmm(x, &w.t()?, 1.0, 1.0),
                None => x.matmul(&w.t()?),
            },
            Matrix::Quantized(q) => {
                let biases = q.biases.as_deref();
                let y = x.quantized_matmul(&q.weight, &q.scales, biases, true, q.format)?;
                bias.map_or(Ok(y.clone()), |bias| y.add(bias))
            }
        }
    }

    /// The rows `ids`, in `dtype` if they were quantised (that of the scales if `None`).
    ///
    /// # Shapes
    /// `ids: (...) -> (..., k)`
    ///
    /// # Errors
    /// Kind `Dtype` if the ids are not integers.
    pub fn rows(&self, ids: &Array, dtype: Option<Dtype>) -> Result<Array> {
        let pick = |x: &Param| x.take(ids, Some(0));
        match self {
            Matrix::Dense(w) => pick(w),
            Matrix::Quantized(q) => {
                let biases = q.biases.as_ref().map(pick).transpose()?;
                pick(&q.weight)?.dequantize(&pick(&q.scales)?, biases.as_ref(), q.format, dtype)
            }
        }
    }

    /// The matrix as numbers; one of a quantised matrix is computed.
    ///
    /// # Errors
    /// Kind `Shape` or `Dtype` if the parts of a quantised matrix do not fit.
    pub fn to_dense(&self) -> Result<Array> {
        match self {
            Matrix::Dense(w) => Ok(w.value.clone()),
            Matrix::Quantized(q) => {
                q.weight.dequantize(&q.scales, q.biases.as_deref(), q.format, None)
            }
        }
    }

    /// The matrix rounded to `format`.
    ///
    /// # Errors
    /// Kind `Shape` if a row does not have whole groups, `Dtype` if the numbers are neither half
    /// precision nor `float32`.
    pub fn quantized(&self, format: QuantFormat) -> Result<Matrix> {
        let mut parts = self.to_dense()?.quantize(format)?.into_iter().map(Param::buffer);
        match (parts.next(), parts.next()) {
            (Some(weight), Some(scales)) => {
                let biases = parts.next();
                Ok(Matrix::Quantized(QuantizedMatrix { weight, scales, biases, format }))
            }
            _ => Err(Error::argument("quantize", "fewer parts than a quantised matrix has")),
        }
    }

    /// A matrix of this one's shape in the form of these arrays, which it holds.
    pub(super) fn with_form_of(
        &self,
        weight: &Array,
        scales: Option<&Array>,
        biases: Option<&Array>,
    ) -> Result<Matrix> {
        let Some(scales) = scales else {
            return match self {
                Matrix::Dense(_) => Ok(self.clone()),
                // A form is needed, not the numbers: the arrays replace them next.
                Matrix::Quantized(_) => {
                    Ok(Matrix::dense(Array::zeros(&self.shape(), weight.dtype())?))
                }
            };
        };
        let format = self.format_of(weight, scales, biases.is_some())?;
        Ok(Matrix::Quantized(QuantizedMatrix {
            weight: Param::buffer(weight.clone()),
            scales: Param::buffer(scales.clone()),
            biases: biases.cloned().map(Param::buffer),
            format,
        }))
    }

    /// The format in which the parts have this matrix's shape.
    fn format_of(&self, weight: &Array, scales: &Array, biases: bool) -> Result<QuantFormat> {
        let [n, k] = self.shape();
        let fits = |x: &Array| x.ndim() == 2 && x.shape()[0] == n && x.shape()[1] > 0;
        if k == 0 || !fits(weight) || !fits(scales) {
            let shapes = [weight.shape(), scales.shape()];
            let message = format!("packed weights and scales of {shapes:?} for a matrix {n} x {k}");
            return Err(Error::shape("load_weights", &shapes, message));
        }
        let (bits, group) = (weight.shape()[1] * 32 / k, k / scales.shape()[1]);
        let mode = match (biases, bits, group) {
            (true, ..) => QuantMode::Affine,
            (false, 8, _) => QuantMode::Mxfp8,
            (false, _, 16) => QuantMode::Nvfp4,
            (false, ..) => QuantMode::Mxfp4,
        };
        QuantFormat::new(mode, Some(group), Some(bits))
    }
}

impl Tree for Matrix {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        self.visit("", &mut |_, param| leaves.push(&param.value));
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Matrix> {
        Ok(match self {
            Matrix::Dense(w) => Matrix::Dense(w.rebuild(leaves)?),
            Matrix::Quantized(q) => Matrix::Quantized(QuantizedMatrix {
                weight: q.weight.rebuild(leaves)?,
                scales: q.scales.rebuild(leaves)?,
                biases: q.biases.rebuild(leaves)?,
                format: q.format,
            }),
        })
    }

    fn same_form(&self, other: &Matrix) -> bool {
        match (self, other) {
            (Matrix::Dense(a), Matrix::Dense(b)) => a.same_form(b),
            (Matrix::Quantized(a), Matrix::Quantized(b)) => a.format == b.format,
            _ => false,
        }
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        self.visit(prefix, &mut |path, _| names.push(path.to_string()));
    }
}

impl Module for Matrix {
    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
        match self {
            Matrix::Dense(w) => f(&child(path, "weight"), w),
            Matrix::Quantized(q) => {
                f(&child(path, "weight"), &q.weight);
                f(&child(path, "scales"), &q.scales);
                q.biases.iter().for_each(|biases| f(&child(path, "biases"), biases));
            }
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
        visitor.matrix(path, self)?;
        match self {
            Matrix::Dense(w) => visitor.param(&child(path, "weight"), w),
            Matrix::Quantized(q) => {
                visitor.param(&child(path, "weight"), &mut q.weight)?;
                visitor.param(&child(path, "scales"), &mut q.scales)?;
                let biases = q.biases.as_mut();
                biases.map_or(Ok(()), |b| visitor.param(&child(path, "biases"), b))
            }
        }
    }
}
