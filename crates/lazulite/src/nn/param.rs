//! The leaves of a module: its arrays, and whether it is being trained.

use crate::transform::Tree;
use crate::{Array, Result};
use std::ops::Deref;

/// What becomes of a parameter when the model is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has a gradient, and optimisers change it.
    Trainable,
    /// It was frozen; `unfreeze` makes it trainable again.
    Frozen,
    /// It is carried and saved but never learned: running statistics, packed weights.
    Buffer,
}

/// An array of a module, which dereferences to it.
#[derive(Clone, Debug)]
pub struct Param {
    /// The array.
    pub value: Array,
    /// What becomes of it in training.
    pub role: Role,
}

impl Param {
    /// A trainable parameter.
    pub fn new(value: Array) -> Param {
        Param { value, role: Role::Trainable }
    }

    /// An array that is saved with the model but never trained.
    pub fn buffer(value: Array) -> Param {
        Param { value, role: Role::Buffer }
    }

    /// True iff the parameter has a gradient.
    pub fn is_trainable(&self) -> bool {
        self.role == Role::Trainable
    }
}

impl Deref for Param {
    type Target = Array;

    fn deref(&self) -> &Array {
        &self.value
    }
}

impl From<Array> for Param {
    fn from(value: Array) -> Param {
        Param::new(value)
    }
}

impl Tree for Param {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        leaves.push(&self.value);
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Param> {
        Ok(Param { value: self.value.rebuild(leaves)?, role: self.role })
    }

    fn same_form(&self, other: &Param) -> bool {
        self.role == other.role
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        names.push(prefix.to_string());
    }
}

/// Whether a layer that behaves otherwise in training (dropout, batch normalisation) is being
/// trained. New layers are; `Module::train` sets all flags of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training(pub bool);

impl Default for Training {
    fn default() -> Training {
        Training(true)
    }
}

impl Tree for Training {
    fn flatten<'a>(&'a self, _leaves: &mut Vec<&'a Array>) {}

    fn rebuild(&self, _leaves: &mut dyn Iterator<Item = Array>) -> Result<Training> {
        Ok(*self)
    }

    fn same_form(&self, other: &Training) -> bool {
        self == other
    }

    fn names(&self, _prefix: &str, _names: &mut Vec<String>) {}
}
