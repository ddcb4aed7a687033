//! Layers that bring values to zero mean and unit variance, each over axes of its own.

use super::{Module, Param, Training};
use crate::{Array, Dtype, Error, Result, fast};

/// A trainable vector of ones and one of zeros.
fn affine(dims: usize) -> Result<(Option<Param>, Option<Param>)> {
    let ones = Param::new(Array::ones(&[dims], Dtype::F32)?);
    Ok((Some(ones), Some(Param::new(Array::zeros(&[dims], Dtype::F32)?))))
}

/// `x * weight + bias`, of which each may be missing.
fn scale_and_shift(x: Array, weight: &Option<Param>, bias: &Option<Param>) -> Result<Array> {
    let x = weight.as_ref().map_or(Ok(x.clone()), |weight| x.multiply(weight))?;
    bias.as_ref().map_or(Ok(x.clone()), |bias| x.add(bias))
}

/// `(x - mean) / sqrt(var + eps)` over `axes`.
fn normalize(x: &Array, axes: &[i64], eps: f64) -> Result<Array> {
    let mean = x.mean(Some(axes), true)?;
    let var = x.var(Some(axes), true, 0)?;
    x.subtract(&mean)?.multiply(&(var + eps).rsqrt()?)
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last axis (Ba et al., 2016).
///
/// # Shapes
/// `x: (..., dims), weight, bias: (dims) -> (..., dims)`
#[derive(Clone, Debug, Module)]
pub struct LayerNorm {
    /// The factor of each element.
    pub weight: Option<Param>,
    /// What is added to each element.
    pub bias: Option<Param>,
    /// Added to the variance.
    #[module(skip)]
    pub eps: f64,
}

impl LayerNorm {
    /// Weights of one, biases of zero, an `eps` of `1e-5`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(dims: usize) -> Result<LayerNorm> {
        let (weight, bias) = affine(dims)?;
        Ok(LayerNorm { weight, bias, eps: 1e-5 })
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the last axis of `x` does not fit, `Dtype` if x is not floating.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        fast::layer_norm(x, self.weight.as_deref(), self.bias.as_deref(), self.eps)
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight` over the last axis (Zhang and Sennrich, 2019).
///
/// # Shapes
/// `x: (..., dims), weight: (dims) -> (..., dims)`
#[derive(Clone, Debug, Module)]
pub struct RmsNorm {
    /// The factor of each element.
    pub weight: Param,
    /// Added to the mean square.
    #[module(skip)]
    pub eps: f64,
}

impl RmsNorm {
    /// Weights of one.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(dims: usize, eps: f64) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: Param::new(Array::ones(&[dims], Dtype::F32)?), eps })
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the last axis of `x` does not fit, `Dtype` if x is not floating.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        fast::rms_norm(x, Some(&self.weight), self.eps)
    }
}

/// Normalises each channel of each example over the spatial axes (Ulyanov et al., 2016).
///
/// # Shapes
/// `x: (n, ..., dims), weight, bias: (dims) -> (n, ..., dims)`
#[derive(Clone, Debug, Module)]
pub struct InstanceNorm {
    /// The factor of each channel.
    pub weight: Option<Param>,
    /// What is added to each channel.
    pub bias: Option<Param>,
    /// Added to the variance.
    #[module(skip)]
    pub eps: f64,
}

impl InstanceNorm {
    /// Weights of one and biases of zero if `learned`, else neither; an `eps` of `1e-5`.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(dims: usize, learned: bool) -> Result<InstanceNorm> {
        let (weight, bias) = if learned { affine(dims)? } else { (None, None) };
        Ok(InstanceNorm { weight, bias, eps: 1e-5 })
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let axes: Vec<i64> = (1..x.ndim().saturating_sub(1) as i64).collect();
        scale_and_shift(normalize(x, &axes, self.eps)?, &self.weight, &self.bias)
    }
}

/// Normalises groups of channels of each example (Wu and He, 2018).
///
/// # Shapes
/// `x: (n, ..., dims), weight, bias: (dims) -> (n, ..., dims)`
#[derive(Clone, Debug, Module)]
pub struct GroupNorm {
    /// The factor of each channel.
    pub weight: Option<Param>,
    /// What is added to each channel.
    pub bias: Option<Param>,
    /// How many groups the channels form.
    #[module(skip)]
    pub groups: usize,
    /// Added to the variance.
    #[module(skip)]
    pub eps: f64,
    /// If true, a group is neighbouring channels, as in PyTorch; if false, the channels
    /// `g, g + groups, ...` form group `g`.
    #[module(skip)]
    pub pytorch_compatible: bool,
}

impl GroupNorm {
    /// Weights of one, biases of zero, an `eps` of `1e-5`, groups as in MLX.
    ///
    /// # Errors
    /// Kind `Argument` if `groups` does not divide `dims`.
    pub fn new(groups: usize, dims: usize) -> Result<GroupNorm> {
        if groups == 0 || !dims.is_multiple_of(groups) {
            let message = format!("{dims} channels in {groups} groups of equal size");
            return Err(Error::argument("group_norm", message));
        }
        let (weight, bias) = affine(dims)?;
        Ok(GroupNorm { weight, bias, groups, eps: 1e-5, pytorch_compatible: false })
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        let (n, g) = (x.size(0)? as i64, self.groups as i64);
        let y = if self.pytorch_compatible {
            // Each group becomes one row.
            let rows = x.reshape_infer(&[n, -1, g, x.size(-1)? as i64 / g])?;
            normalize(&rows, &[1, 3], self.eps)?
        } else {
            normalize(&x.reshape_infer(&[n, -1, g])?, &[1], self.eps)?
        };
        scale_and_shift(y.reshape(x.shape())?, &self.weight, &self.bias)
    }
}

/// Normalises each channel over the batch and the spatial axes (Ioffe and Szegedy, 2015).
///
/// In training the batch's own mean and variance are used, and the running ones move towards them,
/// `running = (1 - momentum) running + momentum batch`, the variance towards the unbiased one.
/// Afterwards the running ones are used.
///
/// # Shapes
/// `x: (..., dims)` with 2 to 4 axes, all parameters `(dims)`, `-> (..., dims)`
#[derive(Clone, Debug, Module)]
pub struct BatchNorm {
    /// The factor of each channel.
    pub weight: Option<Param>,
    /// What is added to each channel.
    pub bias: Option<Param>,
    /// The mean of the batches so far.
    pub running_mean: Param,
    /// The variance of the batches so far.
    pub running_var: Param,
    /// Added to the variance.
    #[module(skip)]
    pub eps: f64,
    /// How far the running statistics move.
    #[module(skip)]
    pub momentum: f64,
    /// Whether batches are normalised by their own statistics.
    pub training: Training,
}

impl BatchNorm {
    /// Weights and running variances of one, biases and means of zero, an `eps` of `1e-5`, a
    /// momentum of 0.1.
    ///
    /// # Errors
    /// Kind `Shape` if there are too many elements.
    pub fn new(dims: usize) -> Result<BatchNorm> {
        let (weight, bias) = affine(dims)?;
        Ok(BatchNorm {
            weight,
            bias,
            running_mean: Param::buffer(Array::zeros(&[dims], Dtype::F32)?),
            running_var: Param::buffer(Array::ones(&[dims], Dtype::F32)?),
            eps: 1e-5,
            momentum: 0.1,
            training: Training::default(),
        })
    }

    /// The layer's result; in training the running statistics move.
    ///
    /// # Errors
    /// Kind `Shape` if x has another number of axes or channels or, in training, only one value
    /// for each channel.
    pub fn forward(&mut self, x: &Array) -> Result<Array> {
        let count: usize = x.shape().iter().rev().skip(1).product();
        if !(2..=4).contains(&x.ndim()) || (self.training.0 && count < 2) {
            let message = format!(
                "an input of {:?}; it needs 2 to 4 axes and, in training, more than one value \
                 for each channel",
                x.shape()
            );
            return Err(Error::shape("batch_norm", &[x.shape()], message));
        }
        let (mean, var) = if self.training.0 {
            let axes: Vec<i64> = (0..x.ndim() as i64 - 1).collect();
            let (mean, var) = (x.mean(Some(&axes), false)?, x.var(Some(&axes), false, 0)?);
            let (m, unbiased) = (self.momentum, count as f64 / (count - 1) as f64);
            let towards =
                |old: &Array, new: Array| (old * (1.0 - m)).add(&(new * m))?.astype(old.dtype());
            self.running_mean.value = towards(&self.running_mean, mean.clone())?;
            self.running_var.value = towards(&self.running_var, &var * unbiased)?;
            (mean, var)
        } else {
            (self.running_mean.value.clone(), self.running_var.value.clone())
        };
        let y = x.subtract(&mean)?.multiply(&(var + self.eps).rsqrt()?)?;
        scale_and_shift(y, &self.weight, &self.bias)
    }
}
