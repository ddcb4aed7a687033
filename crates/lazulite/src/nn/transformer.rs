//! The transformer's blocks (Vaswani et al., 2017).

use super::activations::{Activation, relu};
use super::{Dropout, LayerNorm, Linear, Module, MultiHeadAttention};
use crate::fast::Mask;
use crate::{Array, Result};

/// The sizes of a transformer's blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerOptions {
    /// The size of the last axis.
    pub dims: usize,
    /// The number of heads.
    pub heads: usize,
    /// The size of the perceptron's hidden layer.
    pub mlp_dims: usize,
    /// The probability of dropout.
    pub dropout: f64,
    /// The perceptron's activation.
    pub activation: Activation,
    /// If true, the inputs of both parts are normalised; if false, the sums after them.
    pub norm_first: bool,
}

impl TransformerOptions {
    /// MLX's defaults: a hidden layer four times as wide, no dropout, ReLU, inputs normalised.
    pub fn new(dims: usize, heads: usize) -> TransformerOptions {
        TransformerOptions {
            dims,
            heads,
            mlp_dims: 4 * dims,
            dropout: 0.0,
            activation: Activation(relu),
            norm_first: true,
        }
    }
}

macro_rules! perceptron {
    ($dropout:ident) => {
        fn perceptron(&self, x: &Array) -> Result<Array> {
            let hidden = (self.activation.0)(&self.linear1.forward(x)?)?;
            self.linear2.forward(&self.$dropout.forward(&hidden)?)
        }
    };
}

/// Self-attention and a perceptron, each added to its input.
///
/// # Shapes
/// `x: (n, t, dims) -> (n, t, dims)`, masks as in [`MultiHeadAttention`].
#[derive(Clone, Debug, Module)]
pub struct TransformerEncoderLayer {
    /// The attention.
    pub attention: MultiHeadAttention,
    /// Normalises for the attention.
    pub ln1: LayerNorm,
    /// Normalises for the perceptron.
    pub ln2: LayerNorm,
    /// The perceptron's hidden layer.
    pub linear1: Linear,
    /// The perceptron's result.
    pub linear2: Linear,
    /// Behind the attention.
    pub dropout1: Dropout,
    /// Inside the perceptron.
    pub dropout2: Dropout,
    /// The perceptron's activation.
    #[module(skip)]
    pub activation: Activation,
    /// If true, the inputs of both parts are normalised; if false, the sums after them.
    #[module(skip)]
    pub norm_first: bool,
}

impl TransformerEncoderLayer {
    /// A new layer.
    ///
    /// # Errors
    /// Kind `Argument` if the heads do not divide `dims` or the probability is not in `[0, 1)`.
    pub fn new(options: &TransformerOptions) -> Result<TransformerEncoderLayer> {
        let &TransformerOptions { dims, heads, mlp_dims, dropout, activation, norm_first } =
            options;
        Ok(TransformerEncoderLayer {
            attention: MultiHeadAttention::new(dims, heads)?,
            ln1: LayerNorm::new(dims)?,
            ln2: LayerNorm::new(dims)?,
            linear1: Linear::new(dims, mlp_dims)?,
            linear2: Linear::new(mlp_dims, dims)?,
            dropout1: Dropout::new(dropout)?,
            dropout2: Dropout::new(dropout)?,
            activation,
            norm_first,
        })
    }

    perceptron!(dropout2);

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn forward(&self, x: &Array, mask: Mask<'_>) -> Result<Array> {
        let attend = |y: &Array| self.dropout1.forward(&self.attention.forward(y, y, y, mask)?);
        if self.norm_first {
            let x = x.add(&attend(&self.ln1.forward(x)?)?)?;
            return x.add(&self.perceptron(&self.ln2.forward(&x)?)?);
        }
        let x = self.ln1.forward(&x.add(&attend(x)?)?)?;
        self.ln2.forward(&x.add(&self.perceptron(&x)?)?)
    }
}

/// Self-attention, attention to a memory, and a perceptron, each added to its input.
///
/// # Shapes
/// `x: (n, t, dims), memory: (n, s, dims) -> (n, t, dims)`, masks as in [`MultiHeadAttention`].
#[derive(Clone, Debug, Module)]
pub struct TransformerDecoderLayer {
    /// The attention to the layer's input.
    pub self_attention: MultiHeadAttention,
    /// The attention to the memory.
    pub cross_attention: MultiHeadAttention,
    /// Normalises for the self-attention.
    pub ln1: LayerNorm,
    /// Normalises for the attention to the memory.
    pub ln2: LayerNorm,
    /// Normalises for the perceptron.
    pub ln3: LayerNorm,
    /// The perceptron's hidden layer.
    pub linear1: Linear,
    /// The perceptron's result.
    pub linear2: Linear,
    /// Behind the self-attention.
    pub dropout1: Dropout,
    /// Behind the attention to the memory.
    pub dropout2: Dropout,
    /// Inside the perceptron.
    pub dropout3: Dropout,
    /// The perceptron's activation.
    #[module(skip)]
    pub activation: Activation,
    /// If true, the inputs of all parts are normalised; if false, the sums after them.
    #[module(skip)]
    pub norm_first: bool,
}

impl TransformerDecoderLayer {
    /// A new layer.
    ///
    /// # Errors
    /// As [`TransformerEncoderLayer::new`].
    pub fn new(options: &TransformerOptions) -> Result<TransformerDecoderLayer> {
        let &TransformerOptions { dims, heads, mlp_dims, dropout, activation, norm_first } =
            options;
        Ok(TransformerDecoderLayer {
            self_attention: MultiHeadAttention::new(dims, heads)?,
            cross_attention: MultiHeadAttention::new(dims, heads)?,
            ln1: LayerNorm::new(dims)?,
            ln2: LayerNorm::new(dims)?,
            ln3: LayerNorm::new(dims)?,
            linear1: Linear::new(dims, mlp_dims)?,
            linear2: Linear::new(mlp_dims, dims)?,
            dropout1: Dropout::new(dropout)?,
            dropout2: Dropout::new(dropout)?,
            dropout3: Dropout::new(dropout)?,
            activation,
            norm_first,
        })
    }

    perceptron!(dropout3);

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn forward(
        &self,
        x: &Array,
        memory: &Array,
        mask: Mask<'_>,
        memory_mask: Mask<'_>,
    ) -> Result<Array> {
        let own = |y: &Array| self.dropout1.forward(&self.self_attention.forward(y, y, y, mask)?);
        let cross = |y: &Array| {
            let y = self.cross_attention.forward(y, memory, memory, memory_mask)?;
            self.dropout2.forward(&y)
        };
        if self.norm_first {
            let x = x.add(&own(&self.ln1.forward(x)?)?)?;
            let x = x.add(&cross(&self.ln2.forward(&x)?)?)?;
            return x.add(&self.perceptron(&self.ln3.forward(&x)?)?);
        }
        let x = self.ln1.forward(&x.add(&own(x)?)?)?;
        let x = self.ln2.forward(&x.add(&cross(&x)?)?)?;
        self.ln3.forward(&x.add(&self.perceptron(&x)?)?)
    }
}

macro_rules! stacks {
    ($($(#[$doc:meta])* $Stack:ident of $Layer:ident ($($arg:ident: $Arg:ty),*);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Module)]
        pub struct $Stack {
            /// The layers, called one after the other.
            pub layers: Vec<$Layer>,
            /// Normalises the result.
            pub ln: LayerNorm,
        }

        impl $Stack {
            /// `count` new layers.
            ///
            /// # Errors
            /// Those of a layer.
            pub fn new(count: usize, options: &TransformerOptions) -> Result<$Stack> {
                let layers = (0..count).map(|_| $Layer::new(options)).collect::<Result<_>>()?;
                Ok($Stack { layers, ln: LayerNorm::new(options.dims)? })
            }

            /// The result of all layers, normalised.
            ///
            /// # Errors
            /// Kind `Shape` if the shapes do not fit.
            pub fn forward(&self, x: &Array, $($arg: $Arg),*) -> Result<Array> {
                let y = self.layers.iter().try_fold(x.clone(), |x, layer| {
                    layer.forward(&x, $($arg),*)
                })?;
                self.ln.forward(&y)
            }
        }
    )*};
}
stacks! {
    /// A stack of encoder layers.
    TransformerEncoder of TransformerEncoderLayer(mask: Mask<'_>);
    /// A stack of decoder layers.
    TransformerDecoder of TransformerDecoderLayer
        (memory: &Array, mask: Mask<'_>, memory_mask: Mask<'_>);
}
