//! Ops written with other ops. The planner fuses them; half types are computed in `float32` and
//! rounded once at the end.

use super::reduce::resolve_axes;
use super::{UnaryOp, like};
use crate::array::Array;
use crate::dtype::{Category, Dtype, Literal};
use crate::error::{Error, Result};
use crate::shape::{Axes, broadcast_shapes, normalize_axis};

fn signed(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|&a| a as i64).collect()
}

impl Array {
    /// `exp(x) / sum(exp(x))` over `axes`, all if `None`. Accumulated in `float32` at least,
    /// whether `precise` or not.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice, `Shape` if one is
    /// empty.
    pub fn softmax(&self, axes: Option<&[i64]>, precise: bool) -> Result<Array> {
        let _ = precise;
        let axes = signed(&resolve_axes("softmax", self, axes)?);
        let dtype = self.dtype().to_inexact();
        let x = self.astype(dtype)?.astype(dtype.compute())?;
        if axes.is_empty() || x.is_empty() {
            return if axes.is_empty() { self.astype(dtype)?.ones_like() } else { x.astype(dtype) };
        }
        let max = x.max(Some(&axes), true)?.stop_gradient()?;
        let e = x.subtract(&max)?.exp()?;
        // One division for each row, not for each element.
        e.multiply(&e.sum(Some(&axes), true)?.reciprocal()?)?.astype(dtype)
    }

    /// The arithmetic mean over `axes`, all if `None`; they stay with size 1 if `keepdims`.
    /// Integers give `float32`. The mean of no elements is NaN.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice.
    pub fn mean(&self, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
        let axes = signed(&resolve_axes("mean", self, axes)?);
        let dtype = self.dtype().to_inexact();
        let x = self.astype(dtype)?.astype(dtype.compute())?;
        let count = x.number_of_elements(Some(&axes), x.dtype())?;
        x.sum(Some(&axes), keepdims)?.divide(&count)?.astype(dtype)
    }

    /// The mean squared distance from the mean over `axes`, all if `None`, with the sum divided by
    /// the number of elements less `ddof`; reduced axes stay with size 1 if `keepdims`.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice.
    pub fn var(&self, axes: Option<&[i64]>, keepdims: bool, ddof: usize) -> Result<Array> {
        let axes = signed(&resolve_axes("var", self, axes)?);
        let dtype = self.dtype().to_inexact();
        let x = self.astype(dtype)?.astype(dtype.compute())?;
        let mut away = x.subtract(&x.mean(Some(&axes), true)?)?;
        if dtype.is_complex() {
            away = away.modulus()?;
        }
        let count = x.number_of_elements(Some(&axes), away.dtype())?;
        let free = match ddof {
            0 => count,
            _ => count.subtract(&like(&count, ddof as f64))?.maximum(&like(&count, 0.0))?,
        };
        let out = away.square()?.sum(Some(&axes), keepdims)?.divide(&free)?;
        if dtype.is_complex() { Ok(out) } else { out.astype(dtype) }
    }

    /// The square root of [`Array::var`].
    ///
    /// # Errors
    /// As [`Array::var`].
    pub fn std(&self, axes: Option<&[i64]>, keepdims: bool, ddof: usize) -> Result<Array> {
        let dtype = self.dtype().to_inexact();
        let wide = self.astype(dtype)?.astype(dtype.compute())?;
        let out = wide.var(axes, keepdims, ddof)?.sqrt()?;
        if dtype.is_complex() { Ok(out) } else { out.astype(dtype) }
    }

    /// The middle of the sorted elements over `axes`, all if `None`: the mean of the two middle
    /// ones of an even number; NaN if one is NaN.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice, `Shape` if there
    /// are no elements.
    pub fn median(&self, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
        let axes = resolve_axes("median", self, axes)?;
        let dtype = self.dtype().to_inexact();
        let kept: Axes = (0..self.ndim()).filter(|a| !axes.contains(a)).collect();
        let order = signed(&kept.iter().chain(&axes).copied().collect::<Axes>());
        let moved = self.transpose(Some(&order))?;
        let mut shape: crate::shape::Shape = moved.shape()[..kept.len()].into();
        let n: usize = moved.shape()[kept.len()..].iter().product();
        if n == 0 {
            let message = "the median of no elements is not defined";
            return Err(Error::shape("median", &[self.shape()], message));
        }
        shape.push(n);
        let sorted = moved.reshape(&shape)?.astype(dtype)?.sort(Some(-1))?;
        let last = kept.len();
        let middle = sorted.pinned_range(last, (n - 1) / 2, 2 - n % 2)?.mean(Some(&[-1]), false)?;
        let top = sorted.at_axis(last, n - 1)?;
        let out = top.isnan()?.select(&top, &middle)?;
        if keepdims { out.expand_dims(&signed(&axes)) } else { Ok(out) }
    }

    /// The least and the greatest element over `axes`, all if `None`.
    ///
    /// # Errors
    /// As [`Array::max`].
    pub fn minmax(&self, axes: Option<&[i64]>, keepdims: bool) -> Result<(Array, Array)> {
        Ok((self.min(axes, keepdims)?, self.max(axes, keepdims)?))
    }

    /// The number of elements over `axes`, all if `None`, that are not zero (`int32`).
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if one is named twice.
    pub fn count_nonzero(&self, axes: Option<&[i64]>, keepdims: bool) -> Result<Array> {
        self.astype(Dtype::Bool)?.astype(Dtype::I32)?.sum(axes, keepdims)
    }

    /// The elements limited to the range from `low` to `high`; one limit may be missing. All
    /// broadcast.
    ///
    /// # Errors
    /// Kind `Argument` if both are missing, `Shape` if the shapes cannot be broadcast.
    pub fn clip(&self, low: Option<&Array>, high: Option<&Array>) -> Result<Array> {
        let x = match low {
            Some(low) => self.maximum(low)?,
            None if high.is_none() => {
                return Err(Error::argument(
                    "clip",
                    "neither a lower nor an upper bound was given",
                ));
            }
            None => self.clone(),
        };
        high.map_or(Ok(x.clone()), |high| x.minimum(high))
    }

    /// The same bool at every place.
    fn all_places(&self, value: bool) -> Result<Array> {
        Array::full(self.shape(), Literal::new(value))
    }

    /// True where the element is not a number.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn isnan(&self) -> Result<Array> {
        if self.dtype().is_inexact() { self.not_equal(self) } else { self.all_places(false) }
    }

    /// True where the element is infinite (a part of it, if complex).
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn isinf(&self) -> Result<Array> {
        match self.dtype().category() {
            Category::Floating => self.abs()?.equal(&like(self, f64::INFINITY)),
            Category::Complex => self.real()?.isinf()?.logical_or(&self.imag()?.isinf()?),
            _ => self.all_places(false),
        }
    }

    /// True where the element is neither infinite nor NaN.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn isfinite(&self) -> Result<Array> {
        match self.dtype().category() {
            Category::Floating => self.abs()?.less(&like(self, f64::INFINITY)),
            Category::Complex => self.real()?.isfinite()?.logical_and(&self.imag()?.isfinite()?),
            _ => self.all_places(true),
        }
    }

    /// True where the element is positive infinity.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn isposinf(&self) -> Result<Array> {
        if !self.dtype().is_inexact() {
            return self.all_places(false);
        }
        self.equal(&like(self, f64::INFINITY))
    }

    /// True where the element is negative infinity.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn isneginf(&self) -> Result<Array> {
        if !self.dtype().is_inexact() {
            return self.all_places(false);
        }
        self.equal(&like(self, f64::NEG_INFINITY))
    }

    /// True where `|x - y| <= atol + rtol * |y|`, or both are the same infinity, or, with
    /// `equal_nan`, both are NaN.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes cannot be broadcast.
    pub fn isclose(&self, other: &Array, rtol: f64, atol: f64, equal_nan: bool) -> Result<Array> {
        broadcast_shapes("isclose", self.shape(), other.shape())?;
        let dtype = self.dtype().promote(other.dtype()).to_inexact();
        let (x, y) = (self.astype(dtype)?, other.astype(dtype)?);
        let size = |x: &Array| if dtype.is_complex() { x.modulus() } else { x.abs() };
        let reach = size(&y)?;
        let reach = reach.multiply(&like(&reach, rtol))?.add(&like(&reach, atol))?;
        let near = size(&x.subtract(&y)?)?.less_equal(&reach)?;
        let finite = x.isfinite()?.logical_and(&y.isfinite()?)?;
        let out = near.logical_and(&finite)?.logical_or(&x.equal(&y)?)?;
        if !equal_nan {
            return Ok(out);
        }
        out.logical_or(&x.isnan()?.logical_and(&y.isnan()?)?)
    }

    /// True iff all elements are close in the sense of [`Array::isclose`]; 0-d bool.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes cannot be broadcast.
    pub fn allclose(&self, other: &Array, rtol: f64, atol: f64, equal_nan: bool) -> Result<Array> {
        self.isclose(other, rtol, atol, equal_nan)?.all(None, false)
    }

    /// True iff the shapes and all elements are equal (NaN too, with `equal_nan`); 0-d bool.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn array_equal(&self, other: &Array, equal_nan: bool) -> Result<Array> {
        if self.shape() != other.shape() {
            return Ok(Array::scalar(false));
        }
        let mut same = self.equal(other)?;
        if equal_nan {
            same = same.logical_or(&self.isnan()?.logical_and(&other.isnan()?)?)?;
        }
        same.all(None, false)
    }

    /// NaN replaced by `nan`, infinities by `posinf` and `neginf` (the greatest and least finite
    /// numbers of the type if `None`).
    ///
    /// # Errors
    /// Kind `Dtype` for complex numbers.
    pub fn nan_to_num(&self, nan: f64, posinf: Option<f64>, neginf: Option<f64>) -> Result<Array> {
        if self.dtype().is_complex() {
            return Err(Error::dtype("nan_to_num", &[self.dtype()], "a real type"));
        }
        if !self.dtype().is_floating() {
            return Ok(self.clone());
        }
        let most = match self.dtype() {
            Dtype::F16 => crate::f16::MAX.to_f64(),
            Dtype::BF16 => crate::bf16::MAX.to_f64(),
            Dtype::F64 => f64::MAX,
            _ => f64::from(f32::MAX),
        };
        let x = self.isnan()?.select(&like(self, nan), self)?;
        let x = self.isposinf()?.select(&like(self, posinf.unwrap_or(most)), &x)?;
        self.isneginf()?.select(&like(self, neginf.unwrap_or(-most)), &x)
    }

    fn scaled(&self, factor: f64) -> Result<Array> {
        let x = self.astype(self.dtype().to_inexact())?;
        x.multiply(&like(&x, factor))
    }

    /// Radians to degrees.
    ///
    /// # Errors
    /// None.
    pub fn degrees(&self) -> Result<Array> {
        self.scaled(180.0 / std::f64::consts::PI)
    }

    /// Degrees to radians.
    ///
    /// # Errors
    /// None.
    pub fn radians(&self) -> Result<Array> {
        self.scaled(std::f64::consts::PI / 180.0)
    }

    /// The nearest multiple of `10^-decimals`, ties to even; part by part for complex numbers.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub fn round(&self, decimals: i32) -> Result<Array> {
        if self.dtype().is_complex() {
            return self.real()?.round(decimals)?.make_complex(&self.imag()?.round(decimals)?);
        }
        if decimals == 0 || (decimals > 0 && !self.dtype().is_floating()) {
            return super::elementwise::unary(UnaryOp::Round, self);
        }
        let x = self.astype(self.dtype().to_inexact())?;
        let factor = like(&x, 10f64.powi(decimals.abs()));
        let out = if decimals > 0 {
            x.multiply(&factor)?.round_half_even()?.divide(&factor)?
        } else {
            x.divide(&factor)?.round_half_even()?.multiply(&factor)?
        };
        out.astype(self.dtype())
    }

    /// The quotient rounded down and the remainder.
    ///
    /// # Errors
    /// Kind `Shape` if the shapes cannot be broadcast.
    pub fn divmod(&self, other: &Array) -> Result<(Array, Array)> {
        Ok((self.floor_divide(other)?, self.remainder(other)?))
    }

    /// `n`-th difference of neighbours along `axis`.
    ///
    /// # Errors
    /// Kind `Axis` if the axis is out of range.
    pub fn diff(&self, n: usize, axis: i64) -> Result<Array> {
        let axis = normalize_axis("diff", axis, self.ndim())?;
        (0..n).try_fold(self.clone(), |x, _| {
            if x.shape()[axis] == 0 {
                return Ok(x);
            }
            let later = x.slice_axis(axis, Some(1), None, 1)?;
            let earlier = x.slice_axis(axis, None, Some(-1), 1)?;
            later.subtract(&earlier)
        })
    }

    /// The places of the non-zero elements: for each axis a 1-d array of `int32` (`int64` on long
    /// axes), in row-major order. Their number is a value, so the array is evaluated.
    ///
    /// # Errors
    /// Those of evaluation; kind `Trace` inside a traced function.
    pub fn nonzero(&self) -> Result<Vec<Array>> {
        let hits = self.astype(Dtype::Bool)?.to_vec::<bool>()?;
        let mut columns = vec![Vec::new(); self.ndim()];
        for (i, _) in hits.iter().enumerate().filter(|(_, hit)| **hit) {
            let mut rest = i;
            for (axis, &n) in self.shape().iter().enumerate().rev() {
                columns[axis].push((rest % n) as i64);
                rest /= n;
            }
        }
        columns
            .iter()
            .zip(self.shape())
            .map(|(column, &n)| {
                Array::from_slice(column, &[column.len()])?.astype(super::index_dtype(n))
            })
            .collect()
    }
}
