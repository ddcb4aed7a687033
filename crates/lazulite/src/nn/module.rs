//! The trait of models and layers, and what every one of them can do.

use super::matrix::Matrix;
use super::param::{Param, Role, Training};
use crate::io::{Contents, Input, Saved, safetensors};
use crate::quantized::QuantFormat;
use crate::transform::Tree;
use crate::{Array, Dtype, Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::path::Path;

/// Arrays by path, such as `layers.0.weight`. It is a tree, so transforms take and return it.
pub type Parameters = BTreeMap<String, Array>;

/// The path of the part `name` of what stands at `path`.
pub fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

/// What a walk over a module may change. Each method is called with the path of what it is given.
pub trait Visitor {
    /// Sees one array.
    ///
    /// # Errors
    /// Whatever ends the walk.
    fn param(&mut self, _path: &str, _param: &mut Param) -> Result<()> {
        Ok(())
    }

    /// Sees a weight that may be quantised, before its arrays; the path is the layer's.
    ///
    /// # Errors
    /// Whatever ends the walk.
    fn matrix(&mut self, _path: &str, _matrix: &mut Matrix) -> Result<()> {
        Ok(())
    }

    /// Sees the flag of a layer that behaves otherwise in training.
    fn training(&mut self, _path: &str, _training: &mut bool) {}
}

/// A model or a part of one: named arrays in a struct. Derive it:
///
/// ```
/// use lazulite::nn::{self, Linear, Module};
/// use lazulite::prelude::*;
///
/// #[derive(Clone, Module)]
/// struct Mlp {
///     layers: Vec<Linear>,
/// }
///
/// impl Mlp {
///     fn forward(&self, x: &Array) -> Result<Array> {
///         let hidden = nn::relu(&self.layers[0].forward(x)?)?;
///         self.layers[1].forward(&hidden)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let model = Mlp { layers: vec![Linear::new(4, 8)?, Linear::new(8, 2)?] };
/// assert_eq!(model.forward(&Array::zeros(&[3, 4], Dtype::F32)?)?.shape(), [3, 2]);
/// let names: Vec<String> = model.parameters().into_keys().collect();
/// assert_eq!(names, ["layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight"]);
/// # Ok(())
/// # }
/// ```
pub trait Module: Tree + Clone {
    /// Calls `f` with the path and the array of every parameter; paths begin with `path`.
    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param));

    /// Shows every part to `visitor`, which may change it.
    ///
    /// # Errors
    /// Those of the visitor.
    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()>;

    /// All arrays, with frozen ones and buffers.
    fn parameters(&self) -> Parameters {
        let mut all = Parameters::new();
        self.visit("", &mut |path, p| drop(all.insert(path.to_string(), p.value.clone())));
        all
    }

    /// The arrays that have gradients.
    fn trainable_parameters(&self) -> Parameters {
        let mut all = Parameters::new();
        self.visit("", &mut |path, p| {
            if p.is_trainable() {
                all.insert(path.to_string(), p.value.clone());
            }
        });
        all
    }

    /// The number of elements of all arrays.
    fn num_parameters(&self) -> usize {
        self.leaves().iter().map(Array::len).sum()
    }

    /// The number of bytes of all arrays.
    fn nbytes(&self) -> usize {
        self.leaves().iter().map(Array::nbytes).sum()
    }

    /// Freezes every parameter.
    fn freeze(&mut self) {
        self.freeze_where(|_| true);
    }

    /// Freezes the parameters for whose paths `which` is true.
    fn freeze_where(&mut self, which: impl FnMut(&str) -> bool) {
        set_roles(self, Role::Trainable, Role::Frozen, which);
    }

    /// Makes every frozen parameter trainable again.
    fn unfreeze(&mut self) {
        self.unfreeze_where(|_| true);
    }

    /// Makes the frozen parameters trainable for whose paths `which` is true.
    fn unfreeze_where(&mut self, which: impl FnMut(&str) -> bool) {
        set_roles(self, Role::Frozen, Role::Trainable, which);
    }

    /// Tells every layer whether the model is being trained (as when it is new) or used.
    fn train(&mut self, on: bool) {
        struct Set(bool);
        impl Visitor for Set {
            fn training(&mut self, _path: &str, training: &mut bool) {
                *training = self.0;
            }
        }
        // This visitor has no errors, and a walk has none of its own.
        let _ = self.visit_mut("", &mut Set(on));
    }

    /// Replaces the arrays that `arrays` names; the others stay.
    ///
    /// # Errors
    /// Kind `Argument` if the model has no such parameter, `Shape` if one has another shape.
    fn update(&mut self, arrays: &Parameters) -> Result<()> {
        let mut left = arrays.clone();
        for_each(self, |path, param| match left.remove(path) {
            Some(array) => replace(path, param, array),
            None => Ok(()),
        })?;
        nothing_left("update", &left)
    }

    /// Replaces every array by what `f` makes of it.
    ///
    /// # Errors
    /// Those of `f`.
    fn apply(&mut self, mut f: impl FnMut(&str, &Array) -> Result<Array>) -> Result<()> {
        for_each(self, |path, param| {
            param.value = f(path, &param.value)?;
            Ok(())
        })
    }

    /// Casts the floating arrays to `dtype`.
    ///
    /// # Errors
    /// Kind `Dtype` if there is no such cast.
    fn set_dtype(&mut self, dtype: Dtype) -> Result<()> {
        self.apply(|_, x| if x.dtype().is_floating() { x.astype(dtype) } else { Ok(x.clone()) })
    }

    /// Takes the arrays of `weights`; with `strict` there must be one for every parameter of the
    /// model and no other. Weights that come quantised (with `scales` beside them) or dense make
    /// the layer so; the format follows from the shapes.
    ///
    /// # Errors
    /// Kind `Argument` with the names if some are missing or unknown, `Shape` if one has another
    /// shape.
    fn load_weights(&mut self, weights: Parameters, strict: bool) -> Result<()> {
        let mut load = Load { weights, missing: Vec::new() };
        self.visit_mut("", &mut load)?;
        if !strict {
            return Ok(());
        }
        if !load.missing.is_empty() {
            let message = format!("the weights lack {}", list(load.missing.iter()));
            return Err(Error::argument("load_weights", message));
        }
        nothing_left("load_weights", &load.weights)
    }

    /// [`Module::load_weights`], strictly, of a safetensors, npz or GGUF file. The arrays are read
    /// when they are used.
    ///
    /// # Errors
    /// Kind `Io` if the file cannot be read, and those of `load_weights`.
    fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let arrays = Contents::open(&Input::open(path.as_ref())?)?.arrays()?;
        self.load_weights(arrays.into_iter().collect(), true)
    }

    /// Writes all arrays to a safetensors file.
    ///
    /// # Errors
    /// Kind `Io` if the file cannot be written, and those of evaluation.
    fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save_arrays(path.as_ref(), &self.parameters())
    }

    /// Quantises the weights of every linear layer and embedding whose rows have whole groups.
    ///
    /// # Errors
    /// Kind `Dtype` if a weight is neither half precision nor `float32`.
    fn quantize(&mut self, format: QuantFormat) -> Result<()> {
        self.quantize_where(|_, shape| shape[1].is_multiple_of(format.group).then_some(format))
    }

    /// Quantises the weights of the linear layers and embeddings for which `format` has one; it
    /// sees the layer's path and the shape of the weight. What is quantised already stays.
    ///
    /// # Errors
    /// Kind `Shape` if a row does not have whole groups, `Dtype` if a weight is neither half
    /// precision nor `float32`.
    fn quantize_where(
        &mut self,
        format: impl FnMut(&str, [usize; 2]) -> Option<QuantFormat>,
    ) -> Result<()> {
        struct Quantize<F>(F);
        impl<F: FnMut(&str, [usize; 2]) -> Option<QuantFormat>> Visitor for Quantize<F> {
            fn matrix(&mut self, path: &str, matrix: &mut Matrix) -> Result<()> {
                if let (Matrix::Dense(_), Some(format)) = (&*matrix, (self.0)(path, matrix.shape()))
                {
                    *matrix = matrix.quantized(format).map_err(|e| e.context(path))?;
                }
                Ok(())
            }
        }
        self.visit_mut("", &mut Quantize(format))
    }
}

/// Writes arrays to a safetensors file under their names.
pub(crate) fn save_arrays(path: &Path, arrays: &Parameters) -> Result<()> {
    let tensors: Vec<(&str, &dyn Saved)> =
        arrays.iter().map(|(name, array)| (name.as_str(), array as &dyn Saved)).collect();
    let metadata = [("format".to_string(), "mlx".to_string())].into();
    safetensors::save(path, &tensors, &metadata)
}

/// Calls `f` with every parameter.
pub(crate) fn for_each<M: Module>(
    module: &mut M,
    f: impl FnMut(&str, &mut Param) -> Result<()>,
) -> Result<()> {
    struct Each<F>(F);
    impl<F: FnMut(&str, &mut Param) -> Result<()>> Visitor for Each<F> {
        fn param(&mut self, path: &str, param: &mut Param) -> Result<()> {
            (self.0)(path, param)
        }
    }
    module.visit_mut("", &mut Each(f))
}

fn set_roles<M: Module>(module: &mut M, from: Role, to: Role, mut which: impl FnMut(&str) -> bool) {
    // The closure has no errors, and a walk has none of its own.
    let _ = for_each(module, |path, param| {
        if param.role == from && which(path) {
            param.role = to;
        }
        Ok(())
    });
}

fn replace(path: &str, param: &mut Param, array: Array) -> Result<()> {
    if array.shape() != param.shape() {
        let message = format!("{path}: an array of {:?} for {:?}", array.shape(), param.shape());
        return Err(Error::shape("parameters", &[array.shape(), param.shape()], message));
    }
    param.value = array;
    Ok(())
}

/// A few names, for errors.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn nothing_left(op: &'static str, left: &Parameters) -> Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::argument(op, format!("the model has no parameter {}", list(left.keys()))))
}

/// Puts weights into a model and notes which were missing.
struct Load {
    weights: Parameters,
    missing: Vec<String>,
}

impl Visitor for Load {
    fn param(&mut self, path: &str, param: &mut Param) -> Result<()> {
        match self.weights.remove(path) {
            Some(array) => replace(path, param, array),
            None => {
                self.missing.push(path.to_string());
                Ok(())
            }
        }
    }

    fn matrix(&mut self, path: &str, matrix: &mut Matrix) -> Result<()> {
        let part = |name: &str| self.weights.get(&child(path, name));
        if let Some(weight) = part("weight") {
            *matrix = matrix
                .with_form_of(weight, part("scales"), part("biases"))
                .map_err(|e| e.context(path))?;
        }
        Ok(())
    }
}

impl Module for Param {
    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
        f(path, self);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
        visitor.param(path, self)
    }
}

impl Module for Training {
    fn visit<'a>(&'a self, _path: &str, _f: &mut dyn FnMut(&str, &'a Param)) {}

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
        visitor.training(path, &mut self.0);
        Ok(())
    }
}

impl<M: Module> Module for Box<M> {
    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
        (**self).visit(path, f);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
        (**self).visit_mut(path, visitor)
    }
}

impl<M: Module> Module for Option<M> {
    fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
        self.iter().for_each(|m| m.visit(path, f));
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
        self.iter_mut().try_for_each(|m| m.visit_mut(path, visitor))
    }
}

macro_rules! lists {
    ($([$($generics:tt)*] $List:ty;)*) => {
        $(impl<$($generics)*> Module for $List {
            fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
                for (i, m) in self.iter().enumerate() {
                    m.visit(&child(path, &i.to_string()), f);
                }
            }

            fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
                for (i, m) in self.iter_mut().enumerate() {
                    m.visit_mut(&child(path, &i.to_string()), visitor)?;
                }
                Ok(())
            }
        })*
    };
}
lists! {
    [M: Module] Vec<M>;
    [M: Module, const N: usize] [M; N];
}

macro_rules! maps {
    ($([$($generics:tt)*] $Map:ty;)*) => {
        $(impl<$($generics)*> Module for $Map {
            fn visit<'a>(&'a self, path: &str, f: &mut dyn FnMut(&str, &'a Param)) {
                for (name, m) in self {
                    m.visit(&child(path, name), f);
                }
            }

            fn visit_mut(&mut self, path: &str, visitor: &mut dyn Visitor) -> Result<()> {
                for (name, m) in self {
                    m.visit_mut(&child(path, name), visitor)?;
                }
                Ok(())
            }
        })*
    };
}
maps! {
    [M: Module] BTreeMap<String, M>;
    [M: Module, S: BuildHasher + Default + Clone] HashMap<String, M, S>;
}
