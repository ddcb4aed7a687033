//! Numbers to blocks of ggml's quantised types: the inverse of what `blocks.rs` reads.
//!
//! Each group's scale is taken from its extreme elements, and scales of groups are rounded before the
//! elements are, so that these make up for it. ggml's own tools search for scales besides.

use super::TensorType;
use half::f16;
use lazulite_core::{Error, Result};

/// Elements of a block of the types that have two levels of scales.
const SUPER: usize = 256;

impl TensorType {
    /// The blocks of this type for `values`, of which each row, and so their number, is made of whole
    /// blocks.
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
        for (values, bytes) in values.chunks_exact(len).zip(bytes.chunks_exact_mut(size)) {
            block(values, bytes);
        }
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
    // The extreme element becomes the least integer, of which there is one more.
    let d = put_half(extreme(values) / -8.0, &mut out[..2]);
    let integers = std::array::from_fn(|i| integer(values[i], d, 8.0, 15.0));
    put_nibbles(&integers, &mut out[2..]);
}

fn q5_0(values: &[f32], out: &mut [u8]) {
    let d = put_half(extreme(values) / -16.0, &mut out[..2]);
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
        let low = group.iter().fold(0f32, |a, &b| a.min(b));
        let high = group.iter().fold(0f32, |a, &b| a.max(b));
        (steps[g], minima[g]) = ((high - low) / 15.0, -low);
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
        *step = extreme(group) / -32.0;
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
