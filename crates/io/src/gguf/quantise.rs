//! Numbers to blocks of ggml's quantised types: the inverse of what `blocks.rs` reads.
//!
//! A group's scale is searched for: scales for which the extreme elements are at the ends, or somewhat
//! beyond, round the elements; the line through these integers by least squares gives a better scale; and
//! of these the one that leaves the least squared error is taken. Scales of groups are rounded before the
//! elements are, so that these make up for it.

use super::TensorType;
use half::f16;
use lazulite_core::{Error, Result};

/// Elements of a block of the types that have two levels of scales.
const SUPER: usize = 256;
/// Blocks for which a thread is worth its start.
const LEAST: usize = 1024;

impl TensorType {
    /// The blocks of this type for `values`, whose rows, and so their number, must be whole blocks.
    ///
    /// # Errors
    /// Kind `Unsupported` for a type other than `Q4_0`, `Q5_0`, `Q8_0`, `Q4_K` and `Q6_K`, `Argument` if the
    /// number of values is not a multiple of [`TensorType::block_len`] or one is not finite.
    pub fn quantise(self, values: &[f32]) -> Result<Vec<u8>> {
        const OP: &str = "quantise";
        let block: fn(&[f32], &mut [u8]) = match self {
            TensorType::Q4_0 => q4_0,
            TensorType::Q5_0 => q5_0,
            TensorType::Q8_0 => q8_0,
            TensorType::Q4_K => q4_k,
            TensorType::Q6_K => q6_k,
            _ => {
                let why = format!("{self}; Q4_0, Q5_0, Q8_0, Q4_K and Q6_K can be written");
                return Err(Error::unsupported(OP, why));
            }
        };
        let (len, size) = (self.block_len() as usize, self.block_size() as usize);
        if !values.len().is_multiple_of(len) {
            let why = format!("{} values are not whole {self} blocks of {len}", values.len());
            return Err(Error::argument(OP, why));
        }
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::argument(OP, format!("value {at} is {}", values[at])));
        }
        let mut bytes = vec![0; values.len() / len * size];
        // Each thread has a run of blocks.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let each = (values.len() / len).div_ceil(threads).max(LEAST);
        std::thread::scope(|scope| {
            for (values, bytes) in values.chunks(each * len).zip(bytes.chunks_mut(each * size)) {
                scope.spawn(move || {
                    for (values, bytes) in values.chunks(len).zip(bytes.chunks_mut(size)) {
                        block(values, bytes);
                    }
                });
            }
        });
        Ok(bytes)
    }
}

/// Writes `x` as float16 and returns what was written.
fn put_half(x: f32, to: &mut [u8]) -> f32 {
    let rounded = f16::from_f32(x);
    to.copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}

/// `x / by` rounded and moved by `offset`, within `0..=most`.
fn integer(x: f32, by: f32, offset: f32, most: f32) -> u8 {
    if by == 0.0 { offset as u8 } else { ((x / by).round() + offset).clamp(0.0, most) as u8 }
}

/// The element of the greatest size, with its sign.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |a: f32, &b| if b.abs() > a.abs() { b } else { a })
}

/// The sum of the squared differences between `values` and `step * q + offset` for their best `q` of
/// `low..=high`.
fn error(values: &[f32], step: f32, offset: f32, low: f32, high: f32) -> f32 {
    let q = |x: f32| ((x - offset) / step).round().clamp(low, high);
    values.iter().map(|&x| (x - offset - step * q(x)).powi(2)).sum()
}

/// Keeps the scale of the least error.
#[derive(Clone, Copy)]
struct Best {
    error: f32,
    step: f32,
    offset: f32,
}

impl Best {
    const NONE: Best = Best { error: f32::INFINITY, step: 0.0, offset: 0.0 };

    /// Tries a scale for the integers of `low..=high`.
    fn attempt(&mut self, values: &[f32], step: f32, offset: f32, low: f32, high: f32) {
        let error = error(values, step, offset, low, high);
        if error < self.error {
            *self = Best { error, step, offset };
        }
    }
}

/// The scale by which `values` as integers of `-half..half` have about the least squared error.
fn best_scale(values: &[f32], half: f32) -> f32 {
    let extreme = extreme(values);
    let (low, high) = (-half, half - 1.0);
    let mut best = Best::NONE;
    for tenth in -9..=9 {
        let step = -extreme / (half + 0.1 * tenth as f32);
        best.attempt(values, step, 0.0, low, high);
        let (mut products, mut squares) = (0.0, 0.0);
        for &x in values {
            let q = (x / step).round().clamp(low, high);
            (products, squares) = (products + x * q, squares + q * q);
        }
        best.attempt(values, products / squares, 0.0, low, high);
    }
    best.step
}

/// The scale and the least element, which is not above 0, by which `values` as integers of `0..=high`
/// have about the least squared error.
fn best_line(values: &[f32], high: f32) -> (f32, f32) {
    let least = values.iter().fold(0f32, |a, &b| a.min(b));
    let greatest = values.iter().fold(0f32, |a, &b| a.max(b));
    let mut best = Best::NONE;
    for tenth in -5..=14 {
        let step = (greatest - least) / (high + 0.2 * tenth as f32);
        best.attempt(values, step, least, 0.0, high);
        let (mut sum_q, mut sum_qq, mut sum_x, mut sum_qx) = (0.0, 0.0, 0.0, 0.0);
        for &x in values {
            let q = ((x - least) / step).round().clamp(0.0, high);
            (sum_q, sum_qq) = (sum_q + q, sum_qq + q * q);
            (sum_x, sum_qx) = (sum_x + x, sum_qx + q * x);
        }
        let n = values.len() as f32;
        let step = (n * sum_qx - sum_q * sum_x) / (n * sum_qq - sum_q * sum_q);
        let offset = (sum_x - step * sum_q) / n;
        if offset <= 0.0 {
            best.attempt(values, step, offset, 0.0, high);
        } else {
            best.attempt(values, sum_qx / sum_qq, 0.0, 0.0, high);
        }
    }
    (best.step, best.offset)
}

fn q8_0(values: &[f32], out: &mut [u8]) {
    let d = put_half(extreme(values).abs() / 127.0, &mut out[..2]);
    for (q, &x) in out[2..].iter_mut().zip(values) {
        *q = integer(x, d, 128.0, 255.0) ^ 0x80;
    }
}

/// Puts the low halves of 32 integers where `nibble` in `blocks.rs` finds them.
fn put_nibbles(integers: &[u8; 32], out: &mut [u8]) {
    for (j, byte) in out.iter_mut().enumerate() {
        *byte = integers[j] & 15 | integers[j + 16] << 4;
    }
}

fn q4_0(values: &[f32], out: &mut [u8]) {
    let d = put_half(best_scale(values, 8.0), &mut out[..2]);
    let integers = std::array::from_fn(|i| integer(values[i], d, 8.0, 15.0));
    put_nibbles(&integers, &mut out[2..]);
}

fn q5_0(values: &[f32], out: &mut [u8]) {
    let d = put_half(best_scale(values, 16.0), &mut out[..2]);
    let integers: [u8; 32] = std::array::from_fn(|i| integer(values[i], d, 16.0, 31.0));
    for (i, q) in integers.iter().enumerate() {
        out[2 + i / 8] |= (q >> 4) << (i % 8);
    }
    put_nibbles(&integers, &mut out[6..]);
}

/// Groups of 32: `d * scale * q - m * minimum`, scales and minima of six bits.
fn q4_k(values: &[f32], out: &mut [u8]) {
    const GROUPS: usize = SUPER / 32;
    let (mut steps, mut minima) = ([0f32; GROUPS], [0f32; GROUPS]);
    for (g, group) in values.chunks_exact(32).enumerate() {
        let (step, least) = best_line(group, 15.0);
        (steps[g], minima[g]) = (step, -least);
    }
    let d = put_half(extreme(&steps) / 63.0, &mut out[..2]);
    let m = put_half(extreme(&minima) / 63.0, &mut out[2..4]);
    for (g, group) in values.chunks_exact(32).enumerate() {
        let (scale, minimum) = (integer(steps[g], d, 0.0, 63.0), integer(minima[g], m, 0.0, 63.0));
        let packed = &mut out[4..16];
        if g < 4 {
            packed[g] |= scale;
            packed[g + 4] |= minimum;
        } else {
            packed[g + 4] = scale & 15 | (minimum & 15) << 4;
            packed[g - 4] |= (scale >> 4) << 6;
            packed[g] |= (minimum >> 4) << 6;
        }
        let (step, offset) = (d * f32::from(scale), m * f32::from(minimum));
        for (i, &x) in group.iter().enumerate() {
            let q = integer(x + offset, step, 0.0, 15.0);
            out[16 + g / 2 * 32 + i] |= q << (4 * (g % 2));
        }
    }
}

/// Groups of 16: `d * scale * (q - 32)`, scales of eight bits with a sign.
fn q6_k(values: &[f32], out: &mut [u8]) {
    const GROUPS: usize = SUPER / 16;
    let mut steps = [0f32; GROUPS];
    for (step, group) in steps.iter_mut().zip(values.chunks_exact(16)) {
        *step = best_scale(group, 32.0);
    }
    let d = put_half(extreme(&steps) / -128.0, &mut out[208..210]);
    for (g, group) in values.chunks_exact(16).enumerate() {
        let scale = if d == 0.0 { 0.0 } else { (steps[g] / d).round().clamp(-128.0, 127.0) };
        out[192 + g] = scale as i8 as u8;
        for (j, &x) in group.iter().enumerate() {
            let q = integer(x, d * scale, 32.0, 63.0);
            let i = 16 * g + j;
            let (part, row, column) = (i / 128, i % 128 / 32, i % 32);
            out[part * 64 + row % 2 * 32 + column] |= (q & 15) << (4 * (row / 2));
            out[128 + part * 32 + column] |= (q >> 4) << (2 * row);
        }
    }
}
