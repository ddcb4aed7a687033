//! ggml's tensor types, and how a block of a quantised type becomes affine weights or float16.
//!
//! Source of the layouts: `ggml-common.h` (the block structs) and `ggml-quants.c` (the functions
//! `dequantize_row_*`) of the ggml project. Letters: `d` and `m` are a block's scale and minimum,
//! `q` its small integers.

use half::f16;
use lazulite_core::{Dtype, Result, Source};
use std::fmt;
use std::sync::Arc;

/// Declares the types, once: name, the format's number, elements and bytes of a block.
macro_rules! types {
    ($($name:ident = $id:literal: $len:literal in $size:literal),* $(,)?) => {
        /// How ggml stores the elements of a tensor, by ggml's own names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types)]
        #[allow(missing_docs)]
        pub enum TensorType { $($name = $id,)* }

        impl TensorType {
            /// Every type.
            pub const ALL: [TensorType; [$($id),*].len()] = [$(TensorType::$name),*];

            /// The type of this number in a file.
            pub fn from_id(id: u32) -> Option<TensorType> {
                match id { $($id => Some(TensorType::$name),)* _ => None }
            }

            /// The elements of a block.
            pub fn block_len(self) -> u64 {
                match self { $(TensorType::$name => $len,)* }
            }

            /// The bytes of a block.
            pub fn block_size(self) -> u64 {
                match self { $(TensorType::$name => $size,)* }
            }
        }
    };
}

types! {
    F32 = 0: 1 in 4, F16 = 1: 1 in 2, BF16 = 30: 1 in 2, F64 = 28: 1 in 8,
    I8 = 24: 1 in 1, I16 = 25: 1 in 2, I32 = 26: 1 in 4, I64 = 27: 1 in 8,
    Q4_0 = 2: 32 in 18, Q4_1 = 3: 32 in 20, Q5_0 = 6: 32 in 22, Q5_1 = 7: 32 in 24,
    Q8_0 = 8: 32 in 34, Q8_1 = 9: 32 in 36,
    Q2_K = 10: 256 in 84, Q3_K = 11: 256 in 110, Q4_K = 12: 256 in 144, Q5_K = 13: 256 in 176,
    Q6_K = 14: 256 in 210, Q8_K = 15: 256 in 292,
    IQ2_XXS = 16: 256 in 66, IQ2_XS = 17: 256 in 74, IQ3_XXS = 18: 256 in 98,
    IQ1_S = 19: 256 in 50, IQ4_NL = 20: 32 in 18, IQ3_S = 21: 256 in 110, IQ2_S = 22: 256 in 82,
    IQ4_XS = 23: 256 in 136, IQ1_M = 29: 256 in 56, TQ1_0 = 34: 256 in 54, TQ2_0 = 35: 256 in 66,
    MXFP4 = 39: 32 in 17,
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A type that keeps its integers: `w = scale * q + bias`.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    /// The bits of one packed integer.
    pub(super) bits: usize,
    /// What is added to a stored integer to make it unsigned, so that `bias = -offset * scale`;
    /// `None` if the block stores its bias.
    offset: Option<u8>,
}

impl TensorType {
    /// The element type, if the bytes are plain elements.
    pub fn dtype(self) -> Option<Dtype> {
        Some(match self {
            TensorType::F32 => Dtype::F32,
            TensorType::F16 => Dtype::F16,
            TensorType::BF16 => Dtype::BF16,
            TensorType::F64 => Dtype::F64,
            TensorType::I8 => Dtype::I8,
            TensorType::I16 => Dtype::I16,
            TensorType::I32 => Dtype::I32,
            TensorType::I64 => Dtype::I64,
            _ => return None,
        })
    }

    pub(super) fn affine(self) -> Option<Affine> {
        match self {
            TensorType::Q4_0 => Some(Affine { bits: 4, offset: Some(8) }),
            TensorType::Q4_1 => Some(Affine { bits: 4, offset: None }),
            TensorType::Q8_0 => Some(Affine { bits: 8, offset: Some(128) }),
            _ => None,
        }
    }

    /// True iff the type is read as float16.
    pub fn is_dequantised(self) -> bool {
        self.dequantise().is_some()
    }

    fn dequantise(self) -> Option<Dequantise> {
        Some(match self {
            TensorType::Q5_0 => q5_0,
            TensorType::Q5_1 => q5_1,
            TensorType::Q2_K => q2_k,
            TensorType::Q3_K => q3_k,
            TensorType::Q4_K => q4_k,
            TensorType::Q5_K => q5_k,
            TensorType::Q6_K => q6_k,
            TensorType::IQ4_NL => iq4_nl,
            TensorType::IQ4_XS => iq4_xs,
            _ => return None,
        })
    }
}

/// Which array of a quantised tensor is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    Weights,
    Scales,
    Biases,
    /// All elements, dequantised.
    Values,
}

/// One array of a quantised tensor, made from its blocks as it is read.
#[derive(Debug)]
pub(super) struct Repacked {
    pub(super) source: Arc<dyn Source>,
    /// Where the first block begins.
    pub(super) base: u64,
    pub(super) kind: TensorType,
    pub(super) part: Part,
}

/// The most elements of a block.
const MAX_LEN: usize = 256;

/// Blocks fetched at a time.
const BATCH: usize = 4096;

impl Repacked {
    /// The bytes that one block becomes.
    fn out_size(&self) -> usize {
        let bits = self.kind.affine().map_or(0, |affine| affine.bits);
        match self.part {
            Part::Weights => self.kind.block_len() as usize * bits / 8,
            Part::Scales | Part::Biases => 2,
            Part::Values => self.kind.block_len() as usize * 2,
        }
    }

    fn convert(&self, block: &[u8], out: &mut [u8]) {
        match self.part {
            Part::Weights => weights(self.kind, block, out),
            Part::Scales => out.copy_from_slice(&block[..2]),
            Part::Biases => match self.kind.affine().and_then(|affine| affine.offset) {
                Some(offset) => {
                    let bias = f16::from_f32(-f32::from(offset) * half(block));
                    out.copy_from_slice(&bias.to_le_bytes());
                }
                None => out.copy_from_slice(&block[2..4]),
            },
            Part::Values => {
                let mut values = [0.0; MAX_LEN];
                let values = &mut values[..self.kind.block_len() as usize];
                if let Some(dequantise) = self.kind.dequantise() {
                    dequantise(block, values);
                }
                for (out, value) in out.chunks_exact_mut(2).zip(values) {
                    out.copy_from_slice(&f16::from_f32(*value).to_le_bytes());
                }
            }
        }
    }
}

impl Source for Repacked {
    fn read(&self, offset: u64, mut dst: &mut [u8]) -> Result<()> {
        let (size, out_size) = (self.kind.block_size() as usize, self.out_size());
        let mut block = offset / out_size as u64;
        let mut skip = (offset % out_size as u64) as usize;
        let mut packed = Vec::new();
        let mut out = [0; 2 * MAX_LEN];
        while !dst.is_empty() {
            let count = (skip + dst.len()).div_ceil(out_size).min(BATCH);
            packed.resize(count * size, 0);
            self.source.read(self.base + block * size as u64, &mut packed)?;
            for bytes in packed.chunks_exact(size) {
                let n = dst.len().min(out_size - skip);
                let (head, tail) = dst.split_at_mut(n);
                if n == out_size {
                    self.convert(bytes, head);
                } else {
                    self.convert(bytes, &mut out[..out_size]);
                    head.copy_from_slice(&out[skip..skip + n]);
                }
                (dst, skip) = (tail, 0);
            }
            block += count as u64;
        }
        Ok(())
    }
}

/// Packs a block's integers, unsigned and in order, the first in the low bits.
fn weights(kind: TensorType, block: &[u8], out: &mut [u8]) {
    match kind {
        TensorType::Q8_0 => {
            out.iter_mut().zip(&block[2..]).for_each(|(o, q)| *o = q ^ 0x80);
        }
        // ggml puts element j in the low and element j + 16 in the high half of byte j.
        _ => {
            let q = &block[kind.block_size() as usize - 16..];
            for j in 0..8 {
                let (a, b) = (q[2 * j], q[2 * j + 1]);
                out[j] = a & 15 | b << 4;
                out[j + 8] = a >> 4 | b & 0xf0;
            }
        }
    }
}

/// Fills the second argument with the elements of the block that is the first.
type Dequantise = fn(&[u8], &mut [f32]);

/// The float16 at the start of `bytes`.
fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Bit `i` of a bit string.
fn bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 8] >> (i % 8) & 1
}

/// Element `i` of 32 half bytes, laid out as in [`weights`].
fn nibble(q: &[u8], i: usize) -> u8 {
    q[i % 16] >> (4 * (i / 16)) & 15
}

fn q5_0(block: &[u8], y: &mut [f32]) {
    let (d, high, q) = (half(block), &block[2..6], &block[6..]);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * (f32::from(nibble(q, i) | bit(high, i) << 4) - 16.0);
    }
}

fn q5_1(block: &[u8], y: &mut [f32]) {
    let (d, m, high, q) = (half(block), half(&block[2..]), &block[4..8], &block[8..]);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(nibble(q, i) | bit(high, i) << 4) + m;
    }
}

/// Element `i` of 256 integers of 2 bits: byte `l` of each half of the block holds elements `l`,
/// `l + 32`, `l + 64` and `l + 96` of that half.
fn crumb(q: &[u8], i: usize) -> u8 {
    q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(block: &[u8], y: &mut [f32]) {
    let (scales, q) = (&block[..16], &block[16..80]);
    let (d, m) = (half(&block[80..]), half(&block[82..]));
    for (i, y) in y.iter_mut().enumerate() {
        let scale = scales[i / 16];
        *y = d * f32::from(scale & 15) * f32::from(crumb(q, i)) - m * f32::from(scale >> 4);
    }
}

fn q3_k(block: &[u8], y: &mut [f32]) {
    let (high, q, scales, d) = (&block[..32], &block[32..96], &block[96..108], half(&block[108..]));
    for (i, y) in y.iter_mut().enumerate() {
        let group = i / 16;
        let low = scales[group % 8] >> (4 * (group / 8)) & 15;
        let scale = low | (scales[8 + group % 4] >> (2 * (group / 4)) & 3) << 4;
        let value = crumb(q, i) | (high[i % 32] >> (i / 32) & 1) << 2;
        *y = d * (f32::from(scale) - 32.0) * (f32::from(value) - 4.0);
    }
}

/// The scale and the minimum of group `j` of 8, six bits each, in 12 bytes.
fn scale_and_minimum(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let high = |byte: u8| byte >> 6 << 4;
        (packed[j + 4] & 15 | high(packed[j - 4]), packed[j + 4] >> 4 | high(packed[j]))
    };
    (scale.into(), minimum.into())
}

fn q4_k(block: &[u8], y: &mut [f32]) {
    let (d, m, scales, q) = (half(block), half(&block[2..]), &block[4..16], &block[16..]);
    for (j, group) in y.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, j);
        for (l, y) in group.iter_mut().enumerate() {
            let value = q[j / 2 * 32 + l] >> (4 * (j % 2)) & 15;
            *y = d * scale * f32::from(value) - m * minimum;
        }
    }
}

fn q5_k(block: &[u8], y: &mut [f32]) {
    let (d, m, scales) = (half(block), half(&block[2..]), &block[4..16]);
    let (high, q) = (&block[16..48], &block[48..]);
    for (j, group) in y.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, j);
        for (l, y) in group.iter_mut().enumerate() {
            let value = q[j / 2 * 32 + l] >> (4 * (j % 2)) & 15 | (high[l] >> j & 1) << 4;
            *y = d * scale * f32::from(value) - m * minimum;
        }
    }
}

fn q6_k(block: &[u8], y: &mut [f32]) {
    let (low, high, scales, d) =
        (&block[..128], &block[128..192], &block[192..208], half(&block[208..]));
    for (i, y) in y.iter_mut().enumerate() {
        let (part, row) = (i / 128, i % 128 / 32);
        let nibble = low[part * 64 + row % 2 * 32 + i % 32] >> (4 * (row / 2)) & 15;
        let value = nibble | (high[part * 32 + i % 32] >> (2 * row) & 3) << 4;
        *y = d * f32::from(scales[i / 16] as i8) * (f32::from(value) - 32.0);
    }
}

/// The values that the half bytes of the non-linear types stand for.
const NON_LINEAR: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn iq4_nl(block: &[u8], y: &mut [f32]) {
    let (d, q) = (half(block), &block[2..]);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(NON_LINEAR[usize::from(nibble(q, i))]);
    }
}

fn iq4_xs(block: &[u8], y: &mut [f32]) {
    let d = half(block);
    let (high, low, q) = (&block[2..4], &block[4..8], &block[8..]);
    for (j, group) in y.chunks_exact_mut(32).enumerate() {
        let scale = low[j / 2] >> (4 * (j % 2)) & 15 | (high[j / 4] >> (2 * (j % 4)) & 3) << 4;
        let d = d * (f32::from(scale) - 32.0);
        for (i, y) in group.iter_mut().enumerate() {
            *y = d * f32::from(NON_LINEAR[usize::from(nibble(&q[16 * j..], i))]);
        }
    }
}
