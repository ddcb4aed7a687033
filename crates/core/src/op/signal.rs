//! Windows of signals and the Hadamard transform.

use super::like;
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::show;
use std::f64::consts::PI;

/// `m` values (`float32`) of `f` at `2 pi j / (m - 1)`; 1 for `m = 1`.
fn sampled(m: usize, f: impl Fn(f64) -> f64) -> Result<Array> {
    let at = |j: usize| 2.0 * PI * j as f64 / (m - 1) as f64;
    let data: Vec<f32> = (0..m).map(|j| if m == 1 { 1.0 } else { f(at(j)) as f32 }).collect();
    Array::from_slice(&data, &[m])
}

/// The triangular window of `m` points, 0 at both ends (`float32`).
///
/// # Errors
/// Those of the allocation.
pub fn bartlett(m: usize) -> Result<Array> {
    sampled(m, |x| 1.0 - (x / PI - 1.0).abs())
}

/// `0.42 - 0.5 cos(x) + 0.08 cos(2 x)` over a period, `m` points (`float32`).
///
/// # Errors
/// Those of the allocation.
pub fn blackman(m: usize) -> Result<Array> {
    sampled(m, |x| 0.42 - 0.5 * x.cos() + 0.08 * (2.0 * x).cos())
}

/// `0.54 - 0.46 cos(x)` over a period, `m` points (`float32`).
///
/// # Errors
/// Those of the allocation.
pub fn hamming(m: usize) -> Result<Array> {
    sampled(m, |x| 0.54 - 0.46 * x.cos())
}

/// `0.5 - 0.5 cos(x)` over a period, `m` points (`float32`).
///
/// # Errors
/// Those of the allocation.
pub fn hanning(m: usize) -> Result<Array> {
    sampled(m, |x| 0.5 - 0.5 * x.cos())
}

/// Hadamard matrices that are no power of two, one word for each row, in which 1 is -1 and the
/// first column is the highest bit. Others of these sizes exist; these are the ones of MLX.
const ODD: [(usize, &[u32]); 3] = [
    (12, &[1024, 3413, 316, 1897, 79, 1498, 787, 1654, 964, 1693, 241, 1447]),
    (
        20,
        &[
            507081, 777332, 912938, 980741, 1014162, 540358, 286051, 159409, 96088, 63916, 828912,
            938728, 469860, 235426, 641985, 746991, 389879, 703355, 860093, 446430,
        ],
    ),
    (
        28,
        &[
            132617907, 199486297, 233952748, 251194038, 259814683, 264116941, 265235814, 204465709,
            236442454, 119261611, 60679381, 31388266, 16734517, 142576858, 172810209, 87453680,
            177944504, 88980380, 44498318, 156466823, 79281987, 160730943, 80365535, 41231343,
            153793015, 210073851, 106085501, 53042814,
        ],
    ),
];

/// The largest power of two that is one matrix; larger ones are products of several.
const MOST: usize = 64;

/// A Hadamard matrix of `n` rows: one of [`ODD`], or `(-1)^popcount(i & j)`.
fn matrix(n: usize, dtype: Dtype) -> Result<Array> {
    let odd = ODD.iter().find(|(m, _)| *m == n);
    let negative = |i: usize, j: usize| match odd {
        Some((m, rows)) => rows[i] >> (m - 1 - j) & 1 == 1,
        None => (i & j).count_ones() % 2 == 1,
    };
    let data: Vec<f32> =
        (0..n * n).map(|p| if negative(p / n, p % n) { -1.0 } else { 1.0 }).collect();
    Array::from_slice(&data, &[n, n])?.astype(dtype)
}

/// `scale * H x` over the last axis, of `n = m 2^k` elements with m one of 1, 12, 20, 28, where H is
/// the Kronecker product of the Hadamard matrices of m and `2^k`; `1 / sqrt(n)` is the scale if
/// `None`, with which H is orthonormal. It runs as products with small matrices.
///
/// # Dtypes
/// Floating types stay; integers become `float32`. Half types are computed in `float32`.
///
/// # Errors
/// Kind `Shape` for another size, `Dtype` for complex types.
pub fn hadamard_transform(x: &Array, scale: Option<f64>) -> Result<Array> {
    const OP: &str = "hadamard_transform";
    let dtype = x.dtype().to_inexact();
    if dtype.is_complex() {
        return Err(Error::dtype(OP, &[x.dtype()], "a real type"));
    }
    let n = x.shape().last().copied().unwrap_or(0);
    let odd = ODD.iter().map(|(m, _)| *m).chain([1]);
    let fits = |m: &usize| n.is_multiple_of(*m) && (n / m).is_power_of_two();
    let Some(m) = odd.into_iter().find(fits) else {
        let message =
            format!("a last axis of m 2^k, m of 1, 12, 20, 28, is needed, got {}", show(x.shape()));
        return Err(Error::shape(OP, &[x.shape()], message));
    };
    let mut factors = if m > 1 { vec![m] } else { Vec::new() };
    let mut rest = n / m;
    while rest > 1 {
        let factor = rest.min(MOST);
        factors.push(factor);
        rest /= factor;
    }
    let lead = x.ndim() - 1;
    let mut shape = x.shape()[..lead].to_vec();
    shape.extend(&factors);
    let mut y = x.astype(dtype.compute())?.reshape(&shape)?;
    for (i, &factor) in factors.iter().enumerate() {
        let turned = matrix(factor, y.dtype())?.t()?;
        let axis = (lead + i) as i64;
        y = y.moveaxis(axis, -1)?.matmul(&turned)?.moveaxis(-1, axis)?;
    }
    let factor = scale.unwrap_or(1.0 / (n as f64).sqrt());
    y.multiply(&like(&y, factor))?.reshape(x.shape())?.astype(dtype)
}
