//! Neural networks: modules, layers, losses and initialisers.
//!
//! A model is a plain struct of layers, of [`Param`]s where it has arrays of its own, and of `Vec`,
//! `Option` or maps of them; `#[derive(Module)]` names its parameters by their paths. What makes
//! arrays of arrays is an ordinary method of it.
//!
//! ```
//! use lazulite::nn::{self, Linear, Module, Reduction};
//! use lazulite::optim::{Optimizer, Sgd};
//! use lazulite::prelude::*;
//!
//! #[derive(Clone, Module)]
//! struct Model {
//!     hidden: Linear,
//!     out: Linear,
//! }
//!
//! impl Model {
//!     fn forward(&self, x: &Array) -> Result<Array> {
//!         self.out.forward(&nn::relu(&self.hidden.forward(x)?)?)
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! lazulite::random::seed(0)?;
//! let mut model = Model { hidden: Linear::new(2, 8)?, out: Linear::new(8, 1)? };
//! let mut optimizer = Optimizer::new(Sgd::default(), 0.1);
//! let x = array![[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]; f32];
//! let y = array![[1.0], [1.0], [2.0]; f32];
//! let mut losses = Vec::new();
//! for _ in 0..20 {
//!     let (loss, gradients) = nn::value_and_grad(&mut model, |model| {
//!         nn::mse_loss(&model.forward(&x)?, &y, Reduction::Mean)
//!     })?;
//!     optimizer.update(&mut model, &gradients)?;
//!     losses.push(loss.item::<f32>()?);
//! }
//! assert!(losses[19] < 0.5 * losses[0]);
//! # Ok(())
//! # }
//! ```
//!
//! Models and optimisers are trees of arrays, so a whole training step compiles: it takes them and
//! a batch and returns them changed. See [`optim`](crate::optim).
//!
//! There are no types of quantised layers: the weight of a [`Linear`] or an [`Embedding`] is a
//! [`Matrix`], which [`Module::quantize`] packs, and which loading makes what the file holds.

mod activations;
mod attention;
mod conv;
mod dropout;
pub mod init;
mod linear;
mod losses;
mod matrix;
mod module;
mod norm;
mod param;
mod pool;
mod position;
mod recurrent;
mod sequential;
mod transformer;

pub use activations::*;
pub use attention::{KvCache, MultiHeadAttention};
pub use conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
};
pub use dropout::Dropout;
pub use lazulite_derive::Module;
pub use linear::{Bilinear, Embedding, Linear};
pub use losses::*;
pub use matrix::{Matrix, QuantizedMatrix};
pub(crate) use module::save_arrays;
pub use module::{Module, Parameters, Visitor, child};
pub use norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RmsNorm};
pub use param::{Param, Role, Training};
pub use pool::{
    AvgPool, AvgPool1d, AvgPool2d, AvgPool3d, MaxPool, MaxPool1d, MaxPool2d, MaxPool3d,
};
pub use position::Rope;
pub use recurrent::{Gru, Lstm, Rnn};
pub use sequential::{Layer, Sequential};
pub use transformer::{
    TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerOptions,
};

use crate::{Array, Result, transform};

/// The value of `f` and its gradient in the model's trainable parameters, by their paths. What `f`
/// changes in the model beside them, such as running statistics, stays changed.
///
/// # Errors
/// Those of `f`; kind `Shape` if its value is not 0-d, `Dtype` if a trainable parameter is not
/// floating or complex.
pub fn value_and_grad<M: Module>(
    model: &mut M,
    f: impl Fn(&mut M) -> Result<Array>,
) -> Result<(Array, Parameters)> {
    let ((value, ()), gradients) = value_and_grad_aux(model, |model| Ok((f(model)?, ())))?;
    Ok((value, gradients))
}

/// As [`value_and_grad`], for functions that return something else beside the value.
///
/// # Errors
/// As [`value_and_grad`].
pub fn value_and_grad_aux<M: Module, X>(
    model: &mut M,
    f: impl Fn(&mut M) -> Result<(Array, X)>,
) -> Result<((Array, X), Parameters)> {
    let (parameters, before) = (model.trainable_parameters(), model.clone());
    let differentiated = transform::value_and_grad_aux(|parameters: Parameters| {
        let mut traced = before.clone();
        traced.update(&parameters)?;
        let (value, aux) = f(&mut traced)?;
        Ok((value, (aux, traced)))
    });
    let ((value, (aux, mut after)), gradients) = differentiated(parameters.clone())?;
    after.update(&parameters)?;
    *model = after;
    Ok(((value, aux), gradients))
}
