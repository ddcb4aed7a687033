//! Attention with several heads, and the cache of its keys and values.

use super::{Linear, Module};
use crate::fast::{Mask, scaled_dot_product_attention};
use crate::scatter::UpdateMode;
use crate::transform::Tree;
use crate::{Array, Error, Result};

/// A cache grows by so many tokens at a time, so that most steps write in place.
const ROOM: usize = 256;

/// Keys and values of the tokens that a layer has seen, `(b, heads, room, d)`.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    arrays: Option<(Array, Array)>,
    len: usize,
}

impl KvCache {
    /// No tokens.
    pub fn new() -> KvCache {
        KvCache::default()
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True iff there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the tokens from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// A cache of these arrays `(b, heads, room, d)`, of which the first `len` tokens are filled.
    ///
    /// # Errors
    /// Kind `Argument` if there is not room for as many.
    pub fn from_arrays(keys: Array, values: Array, len: usize) -> Result<KvCache> {
        match (keys.shape(), values.shape()) {
            (&[_, _, k, _], &[_, _, v, _]) if k >= len && v == k => {
                Ok(KvCache { arrays: Some((keys, values)), len })
            }
            (k, v) => {
                let message = format!("{len} tokens in arrays of {k:?} and {v:?}");
                Err(Error::argument("kv_cache", message))
            }
        }
    }

    /// The arrays `(b, heads, room, d)`; those of tokens that have not been seen hold anything. A cache
    /// without tokens has none.
    pub fn into_arrays(self) -> Option<(Array, Array)> {
        self.arrays
    }

    /// Makes room for `more` tokens, if there are any yet.
    ///
    /// # Errors
    /// Kind `Shape` if that is too many.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let Some((k, v)) = self.arrays.take() else { return Ok(()) };
        self.arrays = Some((k.clone(), v.clone()));
        let (k, v) = self.grown(&k, &v, self.len + more)?;
        self.arrays = Some((k, v));
        Ok(())
    }

    /// Adds the keys and values `(b, heads, t, d)` of the next tokens; those of all tokens.
    ///
    /// # Errors
    /// Kind `Shape` if they differ from those before in anything but `t`.
    pub fn update(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        let &[_, _, t, _] = keys.shape() else {
            let message = format!("keys of {:?}, expected four axes", keys.shape());
            return Err(Error::shape("kv_cache", &[keys.shape()], message));
        };
        let end = self.len + t;
        let now = self.grown(keys, values, end)?;
        let put = |all: Array, new: &Array| -> Result<(Array, Array)> {
            let stop = bounds(new.shape(), end);
            let start = [0, 0, self.len as i64, 0];
            let all = all.slice_update(new, &start, &stop, &[1; 4], UpdateMode::Set)?;
            let seen = all.slice(&[0; 4], &stop, &[1; 4])?;
            Ok((all, seen))
        };
        let ((k, seen_k), (v, seen_v)) = (put(now.0, keys)?, put(now.1, values)?);
        self.arrays = Some((k, v));
        self.len = end;
        Ok((seen_k, seen_v))
    }

    /// The arrays with room for `end` tokens.
    fn grown(&self, keys: &Array, values: &Array, end: usize) -> Result<(Array, Array)> {
        let room = end.next_multiple_of(ROOM);
        let grow = |old: Option<&Array>, new: &Array| -> Result<Array> {
            if let Some(old) = old.filter(|old| old.shape()[2] >= end) {
                return Ok(old.clone());
            }
            let mut shape = new.shape().to_vec();
            shape[2] = room;
            let empty = Array::zeros(&shape, new.dtype())?;
            let Some(old) = old else { return Ok(empty) };
            let stop = bounds(old.shape(), old.shape()[2]);
            empty.slice_update(old, &[0; 4], &stop, &[1; 4], UpdateMode::Set)
        };
        let old = self.arrays.as_ref();
        Ok((grow(old.map(|o| &o.0), keys)?, grow(old.map(|o| &o.1), values)?))
    }
}

/// Where a slice of the first `len` tokens ends.
fn bounds(shape: &[usize], len: usize) -> [i64; 4] {
    [shape[0] as i64, shape[1] as i64, len as i64, shape[3] as i64]
}

impl Tree for KvCache {
    fn flatten<'a>(&'a self, leaves: &mut Vec<&'a Array>) {
        self.arrays.flatten(leaves);
    }

    fn rebuild(&self, leaves: &mut dyn Iterator<Item = Array>) -> Result<KvCache> {
        Ok(KvCache { arrays: self.arrays.rebuild(leaves)?, len: self.len })
    }

    fn same_form(&self, other: &KvCache) -> bool {
        self.len == other.len && self.arrays.same_form(&other.arrays)
    }

    fn names(&self, prefix: &str, names: &mut Vec<String>) {
        self.arrays.names(prefix, names);
    }
}

/// Scaled dot-product attention with several heads (Vaswani et al., 2017).
///
/// # Shapes
/// `queries: (n, q, dims), keys: (n, k, dims), values: (n, k, dims) -> (n, q, dims)`; a mask
/// broadcasts to `(n, heads, q, k)`.
#[derive(Clone, Debug, Module)]
pub struct MultiHeadAttention {
    /// Makes the heads' queries.
    pub query_proj: Linear,
    /// Makes the heads' keys.
    pub key_proj: Linear,
    /// Makes the heads' values.
    pub value_proj: Linear,
    /// Joins the heads.
    pub out_proj: Linear,
    /// The number of heads.
    #[module(skip)]
    pub heads: usize,
}

impl MultiHeadAttention {
    /// A layer without biases whose inputs and outputs all have `dims` elements. Other sizes come
    /// from other projections, which are fields.
    ///
    /// # Errors
    /// Kind `Argument` if `heads` does not divide `dims`.
    pub fn new(dims: usize, heads: usize) -> Result<MultiHeadAttention> {
        if heads == 0 || !dims.is_multiple_of(heads) {
            let message = format!("{dims} elements for {heads} heads of equal size");
            return Err(Error::argument("multi_head_attention", message));
        }
        let linear = || Linear::without_bias(dims, dims);
        Ok(MultiHeadAttention {
            query_proj: linear()?,
            key_proj: linear()?,
            value_proj: linear()?,
            out_proj: linear()?,
            heads,
        })
    }

    /// `(n, t, heads d)` as `(n, heads, t, d)`.
    fn split(&self, x: &Array) -> Result<Array> {
        x.unflatten(-1, &[self.heads as i64, -1])?.transpose(Some(&[0, 2, 1, 3]))
    }

    /// The layer's result.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn forward(
        &self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: Mask<'_>,
    ) -> Result<Array> {
        self.attend(queries, keys, values, mask, None)
    }

    /// The result of `x` attending to all tokens that the cache has seen and to itself, which the
    /// cache sees now.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes do not fit.
    pub fn forward_cached(&self, x: &Array, mask: Mask<'_>, cache: &mut KvCache) -> Result<Array> {
        self.attend(x, x, x, mask, Some(cache))
    }

    fn attend(
        &self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: Mask<'_>,
        cache: Option<&mut KvCache>,
    ) -> Result<Array> {
        let q = self.split(&self.query_proj.forward(queries)?)?;
        let k = self.split(&self.key_proj.forward(keys)?)?;
        let v = self.split(&self.value_proj.forward(values)?)?;
        let (k, v) = match cache {
            Some(cache) => cache.update(&k, &v)?,
            None => (k, v),
        };
        let scale = (q.size(-1)?.max(1) as f64).sqrt().recip();
        let y = scaled_dot_product_attention(&q, &k, &v, scale, mask, None)?;
        self.out_proj.forward(&y.transpose(Some(&[0, 2, 1, 3]))?.flatten(-2, -1)?)
    }
}
