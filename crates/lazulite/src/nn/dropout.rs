//! Random zeros in training; the identity afterwards.

use super::{Module, Training};
use crate::{Array, Error, Result, random};

/// Sets each element to 0 with probability `p` and divides the others by `1 - p`.
#[derive(Clone, Debug, PartialEq, Module)]
pub struct Dropout {
    /// The probability, in `[0, 1)`.
    #[module(skip)]
    p: f64,
    /// How many axes behind the first share their zeros.
    #[module(skip)]
    spatial: usize,
    /// Whether anything is dropped.
    pub training: Training,
}

impl Dropout {
    /// A layer that drops single elements.
    ///
    /// # Errors
    /// Kind `Argument` if `p` is not in `[0, 1)`.
    pub fn new(p: f64) -> Result<Dropout> {
        Dropout::channels(p, 0)
    }

    /// A layer that drops whole channels, the last axis, over `spatial` axes before it: 2 for
    /// images `(n, h, w, c)`, 3 for volumes.
    ///
    /// # Errors
    /// Kind `Argument` if `p` is not in `[0, 1)`.
    pub fn channels(p: f64, spatial: usize) -> Result<Dropout> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::argument(
                "dropout",
                format!("a probability of {p}; it must be in [0, 1)"),
            ));
        }
        Ok(Dropout { p, spatial, training: Training::default() })
    }

    /// The layer's result with zeros drawn from the thread's default key, which compiled functions
    /// carry along.
    ///
    /// # Errors
    /// Kind `Shape` if x has fewer axes than share their zeros, `Dtype` if it is not floating.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        self.draw(x, None)
    }

    /// The layer's result with zeros drawn from `key`.
    ///
    /// # Errors
    /// As [`Dropout::forward`].
    pub fn forward_with_key(&self, x: &Array, key: &Array) -> Result<Array> {
        self.draw(x, Some(key))
    }

    fn draw(&self, x: &Array, key: Option<&Array>) -> Result<Array> {
        if self.p == 0.0 || !self.training.0 {
            return Ok(x.clone());
        }
        if !x.dtype().is_floating() {
            return Err(Error::dtype("dropout", &[x.dtype()], "a floating type"));
        }
        let Some(first) = x.ndim().checked_sub(self.spatial + 1) else {
            let message = format!("an input of {:?} with {} spatial axes", x.shape(), self.spatial);
            return Err(Error::shape("dropout", &[x.shape()], message));
        };
        let mut shape = x.shape().to_vec();
        shape[first..first + self.spatial].fill(1);
        let keep = 1.0 - self.p;
        let mask = random::bernoulli(&Array::scalar(keep as f32), Some(&shape), key)?;
        x.multiply(&(mask.astype(x.dtype())? * (1.0 / keep)))
    }
}
