//! Layers one after the other.

use super::activations::{Activation, Apply};
use super::module::{Module, Visitor, child};
use super::param::Param;
use super::*;
use crate::transform::Tree;
use crate::{Array, Result};
use std::any::Any;

/// A module that makes one array of one array. In training it may change what it remembers, such
/// as running statistics.
pub trait Layer: Module {
    /// The layer's result.
    ///
    /// # Errors
    /// Those of the layer.
    fn call(&mut self, x: &Array) -> Result<Array>;
}

macro_rules! layers {
    ($($Layer:ty $(, const $N:ident)?;)*) => {
        $(impl$(<const $N: usize>)? Layer for $Layer {
            fn call(&mut self, x: &Array) -> Result<Array> {
                self.forward(x)
            }
        })*
    };
}
layers! {
    Linear; Embedding; LayerNorm; RmsNorm; InstanceNorm; GroupNorm; BatchNorm; Dropout; Sequential;
    Conv<N>, const N; ConvTranspose<N>, const N; MaxPool<N>, const N; AvgPool<N>, const N;
}

/// [`Layer`] without its type.
trait AnyLayer: Send + Sync {
    fn call(&mut self, x: &Array) -> Result<Array>;
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>);
    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Box<dyn AnyLayer>>;
    fn same_form(&self, other: &dyn AnyLayer) -> bool;
    fn names(&self, prefix: &str, names: &mut Vec<String>);
    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param));
    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()>;
    fn boxed(&self) -> Box<dyn AnyLayer>;
    fn as_any(&self) -> &dyn Any;
}

impl<L: Layer + Send + Sync + 'static> AnyLayer for L {
    fn call(&mut self, x: &Array) -> Result<Array> {
        Layer::call(self, x)
    }

    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        Tree::flatten(self, leaves);
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Box<dyn AnyLayer>> {
        Ok(Box::new(Tree::rebuild(self, leaves)?))
    }

    fn same_form(&self, other: &dyn AnyLayer) -> bool {
        other.as_any().downcast_ref::<L>().is_some_and(|other| Tree::same_form(self, other))
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        Tree::names(self, prefix, names);
    }

    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
        Module::visit(self, path, f);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
        Module::visit_mut(self, path, visitor)
    }

    fn boxed(&self) -> Box<dyn AnyLayer> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Layers of any types, called one after the other. Their parameters are `layers.0.weight` and so
/// on; functions without parameters count too.
///
/// ```
/// use lazulite::nn::{self, Linear, Module, Sequential};
/// use lazulite::prelude::*;
///
/// # fn main() -> Result<()> {
/// let mut model = Sequential::new()
///     .then(Linear::new(4, 8)?)
///     .then_apply(nn::relu)
///     .then(Linear::new(8, 2)?);
/// assert_eq!(model.forward(&Array::zeros(&[3, 4], Dtype::F32)?)?.shape(), [3, 2]);
/// assert!(model.parameters().contains_key("layers.2.weight"));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn AnyLayer>>,
}

impl Sequential {
    /// No layers: the identity.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With one layer more.
    pub fn then(mut self, layer: impl Layer + Send + Sync + 'static) -> Sequential {
        self.layers.push(Box::new(layer));
        self
    }

    /// With a function more.
    pub fn then_apply(self, function: fn(&Array) -> Result<Array>) -> Sequential {
        self.then(Apply { activation: Activation(function) })
    }

    /// The number of layers and functions.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// True iff there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The result of the last layer.
    ///
    /// # Errors
    /// Those of the layers.
    pub fn forward(&mut self, x: &Array) -> Result<Array> {
        self.layers.iter_mut().try_fold(x.clone(), |x, layer| layer.call(&x))
    }

    fn path(path: &str, i: usize) -> String {
        child(&child(path, "layers"), &i.to_string())
    }
}

impl Clone for Sequential {
    fn clone(&self) -> Sequential {
        Sequential { layers: self.layers.iter().map(|layer| layer.boxed()).collect() }
    }
}

impl std::fmt::Debug for Sequential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut names = Vec::new();
        Tree::names(self, "", &mut names);
        f.debug_struct("Sequential").field("layers", &self.len()).field("arrays", &names).finish()
    }
}

impl Tree for Sequential {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        self.layers.iter().for_each(|layer| layer.flatten(leaves));
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Sequential> {
        let layers = self.layers.iter().map(|layer| layer.rebuild(leaves));
        Ok(Sequential { layers: layers.collect::<Result<_>>()? })
    }

    fn same_form(&self, other: &Sequential) -> bool {
        let mut pairs = self.layers.iter().zip(&other.layers);
        self.len() == other.len() && pairs.all(|(a, b)| a.same_form(&**b))
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        for (i, layer) in self.layers.iter().enumerate() {
            layer.names(&Sequential::path(prefix, i), names);
        }
    }
}

impl Module for Sequential {
    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
        for (i, layer) in self.layers.iter().enumerate() {
            layer.visit(&Sequential::path(path, i), f);
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.visit_mut(&Sequential::path(path, i), visitor)?;
        }
        Ok(())
    }
}
