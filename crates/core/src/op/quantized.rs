//! Group-wise quantised matrices and products with them.
//!
//! Format: groups of `group` elements along the last axis; each row is a little-endian bit stream in
//! `uint32` words, lowest element in the lowest bits. `affine`: `w = scale * q + bias` with
//! scales and biases of shape `(..., k / group)` in the matrix's dtype.

use super::elementwise::align_batches;
use super::{Aval, Avals, Batched, Derivative, Rules, batch_first, one, sum_to, with_batch};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, show};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// How elements of a group are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum QuantMode {
    /// Unsigned integers of 2, 3, 4, 5, 6 or 8 bits, a scale and a bias for each group.
    Affine,
    /// E2M1 elements, an E8M0 scale for each group of 32.
    Mxfp4,
    /// E2M1 elements, an E4M3 scale for each group of 16.
    Nvfp4,
    /// E4M3 elements, an E8M0 scale for each group of 32.
    Mxfp8,
}

/// The parameters of a quantised format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct QuantFormat {
    /// Elements in a group.
    pub group: usize,
    /// Bits of an element.
    pub bits: usize,
    /// The encoding.
    pub mode: QuantMode,
}

impl QuantMode {
    /// MLX's name of the encoding.
    pub const fn name(self) -> &'static str {
        match self {
            QuantMode::Affine => "affine",
            QuantMode::Mxfp4 => "mxfp4",
            QuantMode::Nvfp4 => "nvfp4",
            QuantMode::Mxfp8 => "mxfp8",
        }
    }

    /// The encoding of this name.
    ///
    /// # Errors
    /// Kind `Argument` if there is none.
    pub fn from_name(name: &str) -> Result<QuantMode> {
        [QuantMode::Affine, QuantMode::Mxfp4, QuantMode::Nvfp4, QuantMode::Mxfp8]
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| {
                let message = format!("mode {name:?} is not one of affine, mxfp4, nvfp4 and mxfp8");
                Error::argument("quantize", message)
            })
    }
}

impl QuantFormat {
    /// A format; `None` stands for the mode's default (affine: groups of 64, 4 bits).
    ///
    /// # Errors
    /// Kind `Argument` if the mode does not have this group size or number of bits.
    pub fn new(mode: QuantMode, group: Option<usize>, bits: Option<usize>) -> Result<QuantFormat> {
        let (groups, widths): (&[usize], &[usize]) = match mode {
            QuantMode::Affine => (&[64, 16, 32, 128], &[4, 2, 3, 5, 6, 8]),
            QuantMode::Mxfp4 => (&[32], &[4]),
            QuantMode::Nvfp4 => (&[16], &[4]),
            QuantMode::Mxfp8 => (&[32], &[8]),
        };
        let (group, bits) = (group.unwrap_or(groups[0]), bits.unwrap_or(widths[0]));
        if groups.contains(&group) && widths.contains(&bits) {
            return Ok(QuantFormat { group, bits, mode });
        }
        let message = format!(
            "mode {} has no group_size {group} with {bits} bits; group_size can be one of \
             {groups:?}, bits one of {widths:?}",
            mode.name()
        );
        Err(Error::argument("quantize", message))
    }

    /// Checks packed weights with their scales and biases; returns the matrix's shape.
    pub(crate) fn unpacked(self, op: &'static str, parts: &[Array]) -> Result<Shape> {
        let affine = self.mode == QuantMode::Affine;
        if parts.len() != 2 + usize::from(affine) {
            let needed = if affine { "scales and biases" } else { "scales and no biases" };
            let message = format!("{} weights come with {needed}", self.mode.name());
            return Err(Error::argument(op, message));
        }
        let (wq, scales) = (&parts[0], &parts[1]);
        if wq.dtype() != Dtype::U32 {
            return Err(Error::dtype(op, &[wq.dtype()], "packed weights of uint32"));
        }
        let right = if affine { takes(scales.dtype()) } else { scales.dtype() == Dtype::U8 };
        if !right {
            let expected = if affine { FLOATS } else { "scales of uint8" };
            return Err(Error::dtype(op, &[scales.dtype()], expected));
        }
        let mut shape: Shape = wq.shape().into();
        if let Some(last) = shape.last_mut() {
            *last = *last * 32 / self.bits;
        }
        let mut groups = shape.clone();
        if let Some(last) = groups.last_mut() {
            *last /= self.group;
        }
        for part in &parts[1..] {
            if shape.is_empty() || part.shape() != groups.as_slice() {
                let message = format!(
                    "packed weights {} with scales or biases {}; groups of {} elements of {} bits \
                     need {}",
                    show(wq.shape()),
                    show(part.shape()),
                    self.group,
                    self.bits,
                    show(&groups)
                );
                return Err(Error::shape(op, &[wq.shape(), part.shape()], message));
            }
        }
        Ok(shape)
    }
}

/// The types in which a quantised matrix exists.
pub(crate) const FLOATS: &str = "float16, bfloat16 or float32";

pub(crate) fn takes(dtype: Dtype) -> bool {
    dtype.is_half() || dtype == Dtype::F32
}

/// The cotangents of scales and biases of an affine matrix, given the matrix's.
pub(crate) fn affine_cotangents(
    format: QuantFormat,
    parts: &[Array],
    ct: &Array,
) -> Result<[Array; 2]> {
    let mut shape: Shape = parts[1].shape().into();
    shape.push(format.group);
    let groups = |x: &Array| x.reshape(&shape)?.sum(Some(&[-1]), false);
    let (ones, zeros) = (parts[1].ones_like()?, parts[1].zeros_like()?);
    let op = Dequantize { format, dtype: ct.dtype() };
    let q = Array::apply(op, &[parts[0].clone(), ones, zeros])?;
    Ok([
        groups(&ct.multiply(&q)?)?.astype(parts[1].dtype())?,
        groups(ct)?.astype(parts[2].dtype())?,
    ])
}

/// Input `w (..., k)`; outputs `wq (..., k * bits / 32)`, scales and, if affine, biases
/// `(..., k / group)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Quantize {
    /// The format.
    pub format: QuantFormat,
}

/// Inputs `wq`, scales and, if affine, biases; output `(..., k)` of `dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Dequantize {
    /// The format.
    pub format: QuantFormat,
    /// The result's dtype.
    pub dtype: Dtype,
}

/// Inputs `x (..., m, k)`, `wq`, scales and, if affine, biases; output `(..., m, n)` in x's dtype:
/// `x @ w^T` with `w (..., n, k)` if `transpose`, else `x @ w` with `w (..., k, n)`. Leading axes
/// broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct QuantizedMatmul {
    /// The format of `w`, packed along its last axis.
    pub format: QuantFormat,
    /// True iff `w` is multiplied transposed.
    pub transpose: bool,
}

impl Rules for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let w = inputs[0].shape();
        let group = self.format.group;
        let Some(&k) = w.last().filter(|&&k| k % group == 0) else {
            let message = format!(
                "the last axis of {} does not have whole groups of {group} elements",
                show(w)
            );
            return Err(Error::shape("quantize", &[w], message));
        };
        if !takes(inputs[0].dtype()) {
            return Err(Error::dtype("quantize", &[inputs[0].dtype()], FLOATS));
        }
        let with_last = |n: usize| {
            let mut shape: Shape = w.into();
            shape[w.len() - 1] = n;
            shape
        };
        let packed = Aval::new(with_last(k * self.format.bits / 32), Dtype::U32);
        let groups = with_last(k / self.format.group);
        let dtype = inputs[0].dtype();
        Ok(match self.format.mode {
            QuantMode::Affine => SmallVec::from_vec(vec![
                packed,
                Aval::new(groups.clone(), dtype),
                Aval::new(groups, dtype),
            ]),
            _ => SmallVec::from_vec(vec![packed, Aval::new(groups, Dtype::U8)]),
        })
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let out = Array::apply_all(*self, &[batch_first(&inputs[0], axes[0])?])?;
        let places = vec![axes[0].map(|_| 0); out.len()];
        Ok((out, places))
    }
}

impl Rules for Dequantize {
    fn name(&self) -> &'static str {
        "dequantize"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        if !takes(self.dtype) {
            return Err(Error::dtype("dequantize", &[self.dtype], FLOATS));
        }
        one(self.format.unpacked("dequantize", inputs)?, self.dtype)
    }

    fn derivative(&self) -> Derivative {
        if self.format.mode == QuantMode::Affine { Derivative::Custom } else { Derivative::Zero }
    }

    fn jvp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        if tangents[1..].iter().all(Option::is_none) {
            return Ok(vec![None]);
        }
        let tangent = |i: usize| tangents[i].clone().map_or_else(|| inputs[i].zeros_like(), Ok);
        Array::apply(*self, &[inputs[0].clone(), tangent(1)?, tangent(2)?]).map(|t| vec![Some(t)])
    }

    fn vjp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let Some(ct) = &cotangents[0] else { return Ok(vec![None; 3]) };
        let [scales, biases] = affine_cotangents(self.format, inputs, ct)?;
        Ok(vec![None, Some(scales), Some(biases)])
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let all = inputs.iter().zip(axes).map(|(x, &axis)| with_batch(x, axis, batch));
        let all = all.collect::<Result<Vec<_>>>()?;
        Ok((vec![Array::apply(*self, &all)?], vec![Some(0)]))
    }
}

impl Rules for QuantizedMatmul {
    fn name(&self) -> &'static str {
        "quantized_matmul"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let name = self.name();
        let x = inputs[0].shape();
        if !takes(inputs[0].dtype()) {
            return Err(Error::dtype(name, &[inputs[0].dtype()], FLOATS));
        }
        let w = self.format.unpacked(name, &inputs[1..])?;
        if x.len() < 2 || w.len() < 2 {
            let message = format!("two axes are needed, got {} and {}", show(x), show(&w));
            return Err(Error::shape(name, &[x, &w], message));
        }
        let (rows, columns) = (w[w.len() - 2], w[w.len() - 1]);
        let (k, n) = if self.transpose { (columns, rows) } else { (rows, columns) };
        if x[x.len() - 1] != k {
            let message = format!(
                "inner dimensions differ: x {}, w {} (transpose {}); x axis -1 must be {k}",
                show(x),
                show(&w),
                self.transpose
            );
            return Err(Error::shape(name, &[x, &w], message));
        }
        let mut shape = crate::shape::broadcast_shapes(name, &x[..x.len() - 2], &w[..w.len() - 2])?;
        shape.extend([x[x.len() - 2], n]);
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }

    fn jvp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        let with = |x: Array, parts: Vec<Array>| {
            let mut all = vec![x];
            all.extend(parts);
            Array::apply(*self, &all)
        };
        let mut total = match &tangents[0] {
            Some(t) => Some(with(t.clone(), inputs[1..].to_vec())?),
            None => None,
        };
        if tangents[2..].iter().any(Option::is_some) {
            let tangent = |i: usize| tangents[i].clone().map_or_else(|| inputs[i].zeros_like(), Ok);
            let parts = vec![inputs[1].clone(), tangent(2)?, tangent(3)?];
            let t = with(inputs[0].clone(), parts)?;
            total = Some(match total {
                Some(sum) => sum.add(&t)?,
                None => t,
            });
        }
        Ok(vec![total])
    }

    fn vjp(
        &self,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        let mut out = vec![None; inputs.len()];
        let Some(ct) = &cotangents[0] else { return Ok(out) };
        if wanted[0] {
            let mut all = inputs.to_vec();
            all[0] = ct.clone();
            let back = QuantizedMatmul { transpose: !self.transpose, ..*self };
            out[0] = Some(sum_to(&Array::apply(back, &all)?, inputs[0].shape())?);
        }
        if self.format.mode == QuantMode::Affine && wanted[2..].contains(&true) {
            let x = &inputs[0];
            let (a, b) = if self.transpose { (ct, x) } else { (x, ct) };
            let dw = a.swapaxes(-1, -2)?.matmul(b)?;
            let mut shape: Shape = inputs[1].shape().into();
            if let Some(last) = shape.last_mut() {
                *last = *last * 32 / self.format.bits;
            }
            let dw = sum_to(&dw, &shape)?;
            let [scales, biases] = affine_cotangents(self.format, &inputs[1..], &dw)?;
            (out[2], out[3]) = (Some(scales), Some(biases));
        }
        Ok(out)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        let shared = axes[1..].iter().all(Option::is_none);
        if shared && inputs[1].ndim() == 2 && axes[0] == Some(0) {
            // One product over the rows of all examples.
            let x = &inputs[0];
            let k = x.shape()[x.ndim() - 1];
            let mut all = inputs.to_vec();
            all[0] = x.reshape(&[x.len() / k.max(1), k])?;
            let out = Array::apply(*self, &all)?;
            let mut shape: Shape = x.shape().into();
            shape.pop();
            shape.push(out.shape()[1]);
            return Ok((vec![out.reshape(&shape)?], vec![Some(0)]));
        }
        let mut all = inputs.to_vec();
        let mut places = axes.to_vec();
        if !shared {
            // Packed weights, scales and biases keep one shape only together.
            for i in 1..all.len() {
                all[i] = with_batch(&inputs[i], axes[i], batch)?;
                places[i] = Some(0);
            }
        }
        Ok((vec![Array::apply(*self, &align_batches(&all, &places)?)?], vec![Some(0)]))
    }
}

impl Array {
    /// The matrix rounded to `format`: packed weights, scales and, if affine, biases.
    ///
    /// # Shapes
    /// `self (..., k)` `-> (..., k * bits / 32)` of `uint32`, and `(..., k / group)` twice.
    ///
    /// # Errors
    /// Kind `Shape` if the last axis does not have whole groups, `Dtype` if the type is not
    /// `float16`, `bfloat16` or `float32`.
    pub fn quantize(&self, format: QuantFormat) -> Result<Vec<Array>> {
        Array::apply_all(Quantize { format }, std::slice::from_ref(self))
    }

    /// The matrix of packed weights (this array), scales and biases, in `dtype` (that of the scales
    /// if `None`; `bfloat16` where these are not floating).
    ///
    /// # Errors
    /// Kind `Argument` if biases are missing or too many, `Shape` or `Dtype` if the parts do not
    /// fit.
    pub fn dequantize(
        &self,
        scales: &Array,
        biases: Option<&Array>,
        format: QuantFormat,
        dtype: Option<Dtype>,
    ) -> Result<Array> {
        let natural = if scales.dtype().is_floating() { scales.dtype() } else { Dtype::BF16 };
        let dtype = dtype.unwrap_or(natural);
        let mut parts = vec![self.clone(), scales.clone()];
        parts.extend(biases.map(|b| b.astype(scales.dtype())).transpose()?);
        Array::apply(Dequantize { format, dtype }, &parts)
    }

    /// The product with a quantised matrix `w` of packed weights, scales and biases, without ever
    /// writing `w` out: `x @ w^T` if `transpose`, else `x @ w`.
    ///
    /// # Shapes
    /// `self (..., m, k)` or `(k,)`; `w (..., n, k)` if `transpose`, else `(..., k, n)`;
    /// `-> (..., m, n)` or `(n,)`.
    ///
    /// # Dtypes
    /// The promoted type of x and the scales.
    ///
    /// # Errors
    /// As [`Array::dequantize`], and kind `Shape` if the inner sizes differ.
    pub fn quantized_matmul(
        &self,
        w: &Array,
        scales: &Array,
        biases: Option<&Array>,
        transpose: bool,
        format: QuantFormat,
    ) -> Result<Array> {
        let affine = format.mode == QuantMode::Affine;
        let dtype =
            if affine { self.dtype().promote(scales.dtype()) } else { self.dtype().to_inexact() };
        let x = self.astype(dtype)?;
        let x = if self.ndim() == 1 { x.expand_dims(&[0])? } else { x };
        // Scales stay as narrow as they are: the kernels widen them, which is exact.
        let mut parts = vec![x, w.clone(), scales.clone()];
        parts.extend(biases.map(|b| b.astype(scales.dtype())).transpose()?);
        let out = Array::apply(QuantizedMatmul { format, transpose }, &parts)?;
        if self.ndim() == 1 { out.squeeze(Some(&[-2])) } else { Ok(out) }
    }
}
