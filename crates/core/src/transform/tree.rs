//! Trees of arrays: what transformed functions take and return.

use crate::array::Array;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// A value made of arrays: an array, a tuple, `Vec`, `[T; N]`, `Option`, `Box` or string-keyed map
/// of trees, or a struct that derives `Tree`.
pub trait Tree: Sized {
    /// Appends the arrays in a fixed order.
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>);

    /// A tree of this one's form with the next arrays of `leaves`, in the order of `flatten`.
    ///
    /// # Errors
    /// Kind `Argument` if there are too few arrays.
    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Self>;

    /// True iff both trees differ at most in their arrays.
    fn same_form(&self, other: &Self) -> bool;

    /// Appends the name of each array, such as `argument.1.weight`, in the order of `flatten`.
    fn names(&self, prefix: &str, names: &mut Vec<String>);

    /// How many arrays each argument has, if the tree is a tuple of arguments; else the number of
    /// all arrays.
    fn arguments(&self) -> Vec<usize> {
        vec![self.leaves().len()]
    }

    /// The arrays in the order of `flatten`.
    fn leaves(&self) -> Vec<Array> {
        let mut leaves = Vec::new();
        self.flatten(&mut leaves);
        leaves.into_iter().cloned().collect()
    }

    /// A tree of this one's form with other arrays.
    ///
    /// # Errors
    /// Kind `Argument` if there are not exactly as many arrays.
    fn with_leaves(&self, leaves: Vec<Array>) -> Result<Self> {
        let mut leaves = leaves.into_iter();
        let tree = self.rebuild(&mut leaves)?;
        match leaves.len() {
            0 => Ok(tree),
            n => Err(Error::argument("tree", format!("{n} arrays more than the tree holds"))),
        }
    }
}

/// The name of array `leaf` of `tree`, for errors.
pub(crate) fn leaf_name<T: Tree>(tree: &T, leaf: usize) -> String {
    let mut names = Vec::new();
    tree.names("argument", &mut names);
    names.into_iter().nth(leaf).unwrap_or_else(|| format!("argument {leaf}"))
}

impl Tree for Array {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        leaves.push(self);
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Array> {
        leaves.next().ok_or_else(|| Error::argument("tree", "fewer arrays than the tree holds"))
    }

    fn same_form(&self, _other: &Array) -> bool {
        true
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        names.push(prefix.to_string());
    }
}

impl<T: Tree> Tree for Vec<T> {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        self.iter().for_each(|t| t.flatten(leaves));
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Vec<T>> {
        self.iter().map(|t| t.rebuild(leaves)).collect()
    }

    fn same_form(&self, other: &Vec<T>) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(a, b)| a.same_form(b))
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        for (i, t) in self.iter().enumerate() {
            t.names(&format!("{prefix}.{i}"), names);
        }
    }
}

impl<T: Tree, const N: usize> Tree for [T; N] {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        self.iter().for_each(|t| t.flatten(leaves));
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<[T; N]> {
        let list: Vec<T> = self.iter().map(|t| t.rebuild(leaves)).collect::<Result<_>>()?;
        <[T; N]>::try_from(list).map_err(|_| Error::argument("tree", "another number of elements"))
    }

    fn same_form(&self, other: &[T; N]) -> bool {
        self.iter().zip(other).all(|(a, b)| a.same_form(b))
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        for (i, t) in self.iter().enumerate() {
            t.names(&format!("{prefix}.{i}"), names);
        }
    }
}

impl<T: Tree> Tree for Option<T> {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        self.iter().for_each(|t| t.flatten(leaves));
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Option<T>> {
        self.as_ref().map(|t| t.rebuild(leaves)).transpose()
    }

    fn same_form(&self, other: &Option<T>) -> bool {
        match (self, other) {
            (Some(a), Some(b)) => a.same_form(b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        self.iter().for_each(|t| t.names(prefix, names));
    }
}

impl<T: Tree> Tree for Box<T> {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        (**self).flatten(leaves);
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<Box<T>> {
        (**self).rebuild(leaves).map(Box::new)
    }

    fn same_form(&self, other: &Box<T>) -> bool {
        (**self).same_form(other)
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        (**self).names(prefix, names);
    }
}

impl<T: Tree> Tree for BTreeMap<String, T> {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        self.values().for_each(|t| t.flatten(leaves));
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<BTreeMap<String, T>> {
        self.iter().map(|(k, t)| Ok((k.clone(), t.rebuild(leaves)?))).collect()
    }

    fn same_form(&self, other: &BTreeMap<String, T>) -> bool {
        self.len() == other.len()
            && self.iter().zip(other).all(|((k, a), (l, b))| k == l && a.same_form(b))
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        self.iter().for_each(|(k, t)| t.names(&format!("{prefix}.{k}"), names));
    }
}

/// The entries of a map in the order of their keys.
fn sorted<T, S>(map: &HashMap<String, T, S>) -> Vec<(&String, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|&(k, _)| k);
    entries
}

impl<T: Tree, S: BuildHasher + Default> Tree for HashMap<String, T, S> {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        sorted(self).into_iter().for_each(|(_, t)| t.flatten(leaves));
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<HashMap<String, T, S>> {
        sorted(self).into_iter().map(|(k, t)| Ok((k.clone(), t.rebuild(leaves)?))).collect()
    }

    fn same_form(&self, other: &HashMap<String, T, S>) -> bool {
        self.len() == other.len()
            && self.iter().all(|(k, a)| other.get(k).is_some_and(|b| a.same_form(b)))
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        sorted(self).into_iter().for_each(|(k, t)| t.names(&format!("{prefix}.{k}"), names));
    }
}

/// A tuple as the arguments of a function, of which `N` is one.
pub trait Argument<const N: usize>: Tree {
    /// The argument's type.
    type Item: Tree;

    /// The argument.
    fn argument(&self) -> &Self::Item;

    /// Puts another argument in its place.
    fn set_argument(&mut self, argument: Self::Item);
}

macro_rules! tuples {
    ($($T:ident $index:tt),*) => {
        impl<$($T: Tree),*> Tree for ($($T,)*) {
            fn flatten<'a>(&'a self, _leaves: &mut Vec<&'a Array>) {
                $(self.$index.flatten(_leaves);)*
            }

            fn rebuild(&self, _leaves: &mut dyn Iterator<Item = Array>) -> Result<Self> {
                Ok(($(self.$index.rebuild(_leaves)?,)*))
            }

            fn same_form(&self, _other: &Self) -> bool {
                true $(&& self.$index.same_form(&_other.$index))*
            }

            fn names(&self, _prefix: &str, _names: &mut Vec<String>) {
                $(self.$index.names(&format!("{_prefix}.{}", $index), _names);)*
            }

            fn arguments(&self) -> Vec<usize> {
                vec![$(self.$index.leaves().len()),*]
            }
        }
    };
}
tuples!();
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);

macro_rules! argument {
    ($($N:tt $Item:ident: $($T:ident),*;)*) => {
        $(impl<$($T: Tree),*> Argument<$N> for ($($T,)*) {
            type Item = $Item;

            fn argument(&self) -> &$Item {
                &self.$N
            }

            fn set_argument(&mut self, argument: $Item) {
                self.$N = argument;
            }
        })*
    };
}
argument! {
    0 A: A;
    0 A: A, B; 1 B: A, B;
    0 A: A, B, C; 1 B: A, B, C; 2 C: A, B, C;
    0 A: A, B, C, D; 1 B: A, B, C, D; 2 C: A, B, C, D; 3 D: A, B, C, D;
    0 A: A, B, C, D, E; 1 B: A, B, C, D, E; 2 C: A, B, C, D, E; 3 D: A, B, C, D, E;
    4 E: A, B, C, D, E;
    0 A: A, B, C, D, E, F; 1 B: A, B, C, D, E, F; 2 C: A, B, C, D, E, F;
    3 D: A, B, C, D, E, F; 4 E: A, B, C, D, E, F; 5 F: A, B, C, D, E, F;
}
