//! Affine layers and look-up tables.

use super::matrix::Matrix;
use super::{Module, Param, init};
use crate::{Array, Dtype, Error, Result};

/// A parameter uniform in `[-k, k)` with `k = 1 / sqrt(fan)`.
pub(super) fn uniform_parameter(shape: &[usize], fan: usize) -> Result<Array> {
    let bound = (fan.max(1) as f64).sqrt().recip();
    init::uniform(shape, -bound, bound, Dtype::F32, None)
}

/// `y = x @ weight^T + bias`.
///
/// The weight is dense or quantised (`Module::quantize`): the type of a model does not change when
/// it is quantised.
///
/// # Shapes
/// `x: (..., k), weight: (n, k), bias: (n) -> (..., n)`
#[derive(Clone, Debug, Module)]
pub struct Linear {
    /// The weight, one row for each output.
    #[module(flatten)]
    pub weight: Matrix,
    /// What is added to each row of the result.
    pub bias: Option<Param>,
}

impl Linear {
    /// A layer whose weight and bias are uniform in `[-k, k)` with `k = 1 / sqrt(inputs)`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(inputs: usize, outputs: usize) -> Result<Linear> {
        let bias = uniform_parameter(&[outputs], inputs)?;
        Ok(Linear { bias: Some(Param::new(bias)), ..Linear::without_bias(inputs, outputs)? })
    }

    /// As [`Linear::new`], with no bias.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn without_bias(inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = uniform_parameter(&[outputs, inputs], inputs)?;
        Ok(Linear { weight: Matrix::dense(weight), bias: None })
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the last axis of `x` is not that of the weight.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        self.weight.apply(x, self.bias.as_deref())
    }
}

/// `y[o] = sum over i, j of x1[i] weight[o, j, i] x2[j] + bias[o]`.
///
/// # Shapes
/// `x1: (..., i), x2: (..., j), weight: (o, j, i), bias: (o) -> (..., o)`
#[derive(Clone, Debug, Module)]
pub struct Bilinear {
    /// The form of each output.
    pub weight: Param,
    /// What is added to the result.
    pub bias: Option<Param>,
}

impl Bilinear {
    /// A layer whose parameters are uniform in `[-k, k)` with `k = 1 / sqrt(i)`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(i: usize, j: usize, outputs: usize) -> Result<Bilinear> {
        let weight = Param::new(uniform_parameter(&[outputs, j, i], i)?);
        Ok(Bilinear { weight, bias: Some(Param::new(uniform_parameter(&[outputs], i)?)) })
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn forward(&self, x1: &Array, x2: &Array) -> Result<Array> {
        let &[o, j, i] = self.weight.shape() else {
            let message = format!("a weight of {:?}, expected three axes", self.weight.shape());
            return Err(Error::shape("bilinear", &[self.weight.shape()], message));
        };
        let y = x1.matmul(&self.weight.reshape(&[o * j, i])?.t()?)?;
        let y = y.unflatten(-1, &[o as i64, j as i64])?;
        let y = y.matmul(&x2.expand_dims(&[-1])?)?.squeeze(Some(&[-1]))?;
        self.bias.as_ref().map_or(Ok(y.clone()), |bias| y.add(bias))
    }
}

/// A table of vectors that are looked up by number.
///
/// # Shapes
/// `ids: (...), weight: (n, k) -> (..., k)`
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// The vectors; they may be quantised.
    #[module(flatten)]
    pub weight: Matrix,
}

impl Embedding {
    /// `count` vectors of `dims` normal numbers with the variance `1 / dims`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(count: usize, dims: usize) -> Result<Embedding> {
        let std = (dims.max(1) as f64).sqrt().recip();
        let weight = init::normal(&[count, dims], 0.0, std, Dtype::F32, None)?;
        Ok(Embedding { weight: Matrix::dense(weight) })
    }

    /// The vectors with these numbers.
    ///
    /// # Errors
    /// Kind `Dtype` if the numbers are not integers. One out of range is an error of evaluation.
    pub fn forward(&self, ids: &Array) -> Result<Array> {
        self.weight.rows(ids, None)
    }

    /// `x @ weight^T`: a score for every vector, where a model's output shares its embedding.
    ///
    /// # Errors
    /// Kind `Shape` if the last axis of `x` is not that of the vectors.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        self.weight.apply(x, None)
    }
}
