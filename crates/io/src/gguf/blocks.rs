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
    /// The elements that share a scale.
    pub(super) group: usize,
    /// The type in which scales and biases are exact: float16 where a block stores them, float32
    /// where they are products with small integers.
    pub(super) scales: Dtype,
    /// An element as an unsigned integer.
    integer: fn(&[u8], usize) -> u8,
    /// A group's scale and bias.
    pair: fn(&[u8], usize) -> (f32, f32),
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

    /// How the type's integers are kept, if every element is exactly `scale * q + bias`.
    pub(super) fn affine(self) -> Option<Affine> {
        let block =
            |bits, integer, pair| Affine { bits, group: 32, scales: Dtype::F16, integer, pair };
        let wide = |bits, group, integer, pair| {
            Some(Affine { bits, group, scales: Dtype::F32, integer, pair })
        };
        match self {
            TensorType::Q4_0 => {
                Some(block(4, |b, i| nibble(&b[2..], i), |b, _| centred(half(b), 8.0)))
            }
            TensorType::Q4_1 => {
                Some(block(4, |b, i| nibble(&b[4..], i), |b, _| (half(b), half(&b[2..]))))
            }
            TensorType::Q8_0 => {
                Some(block(8, |b, i| b[2 + i] ^ 0x80, |b, _| centred(half(b), 128.0)))
            }
            TensorType::Q5_0 => Some(block(5, q5_0_integer, |b, _| centred(half(b), 16.0))),
            TensorType::Q5_1 => Some(block(5, q5_1_integer, |b, _| (half(b), half(&b[2..])))),
            TensorType::Q2_K => wide(2, 16, q2_k_integer, q2_k_pair),
            TensorType::Q3_K => wide(3, 16, q3_k_integer, |b, g| centred(q3_k_scale(b, g), 4.0)),
            TensorType::Q4_K => wide(4, 32, q4_k_integer, minimum_pair),
            TensorType::Q5_K => wide(5, 32, q5_k_integer, minimum_pair),
            TensorType::Q6_K => wide(6, 16, q6_k_integer, |b, g| centred(q6_k_scale(b, g), 32.0)),
            _ => None,
        }
    }

    /// True iff [`super::Entry::tensors`] leaves the type quantised, as MLX does.
    pub(super) fn stays_quantised(self) -> bool {
        matches!(self, TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q8_0)
    }

    /// True iff [`super::Entry::tensors`] reads the type as float16.
    pub fn is_dequantised(self) -> bool {
        self.dequantise().is_some()
    }

    fn dequantise(self) -> Option<Dequantise> {
        Some(match self {
            TensorType::IQ4_NL => iq4_nl,
            TensorType::IQ4_XS => iq4_xs,
            _ if self.affine().is_some() && !self.stays_quantised() => affine_values,
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
        let len = self.kind.block_len() as usize;
        match (self.part, self.kind.affine()) {
            (Part::Weights, Some(affine)) => len * affine.bits / 8,
            (Part::Scales | Part::Biases, Some(affine)) => {
                len / affine.group * affine.scales.size()
            }
            _ => len * 2,
        }
    }

    fn convert(&self, block: &[u8], out: &mut [u8]) {
        match (self.part, self.kind.affine()) {
            (Part::Weights, Some(affine)) => pack(self.kind, affine, block, out),
            (Part::Scales | Part::Biases, Some(affine)) => {
                let size = affine.scales.size();
                for (group, out) in out.chunks_exact_mut(size).enumerate() {
                    let (scale, bias) = (affine.pair)(block, group);
                    let value = if self.part == Part::Scales { scale } else { bias };
                    match size {
                        2 => out.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
                        _ => out.copy_from_slice(&value.to_le_bytes()),
                    }
                }
            }
            _ => {
                let mut values = [0.0; MAX_LEN];
                let values = &mut values[..self.kind.block_len() as usize];
                if let Some(dequantise) = self.kind.dequantise() {
                    dequantise(self.kind, block, values);
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
        // No part has more bytes than one for each element, but the values.
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

/// Packs a block's integers in order, the first in the low bits.
fn pack(kind: TensorType, affine: Affine, block: &[u8], out: &mut [u8]) {
    match kind {
        TensorType::Q8_0 => {
            out.iter_mut().zip(&block[2..]).for_each(|(o, q)| *o = q ^ 0x80);
            return;
        }
        // Two halves of a byte at a time, as [`nibble`] finds them.
        TensorType::Q4_0 | TensorType::Q4_1 => {
            let q = &block[kind.block_size() as usize - 16..];
            for j in 0..8 {
                let (a, b) = (q[2 * j], q[2 * j + 1]);
                out[j] = a & 15 | b << 4;
                out[j + 8] = a >> 4 | b & 0xf0;
            }
            return;
        }
        _ => {}
    }
    let (mut held, mut bits, mut i) = (0u32, 0, 0);
    for out in out {
        while bits < 8 {
            held |= u32::from((affine.integer)(block, i)) << bits;
            (bits, i) = (bits + affine.bits, i + 1);
        }
        *out = held as u8;
        (held, bits) = (held >> 8, bits - 8);
    }
}

/// Fills the third argument with the elements of the block that is the second.
type Dequantise = fn(TensorType, &[u8], &mut [f32]);

/// A scale and the bias that takes `offset` from the integers.
fn centred(scale: f32, offset: f32) -> (f32, f32) {
    (scale, -offset * scale)
}

/// The elements of a block of affine weights.
fn affine_values(kind: TensorType, block: &[u8], y: &mut [f32]) {
    let Some(affine) = kind.affine() else { return };
    for (group, y) in y.chunks_exact_mut(affine.group).enumerate() {
        let (scale, bias) = (affine.pair)(block, group);
        for (i, y) in y.iter_mut().enumerate() {
            *y = scale * f32::from((affine.integer)(block, group * affine.group + i)) + bias;
        }
    }
}

/// The float16 at the start of `bytes`.
fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Bit `i` of a bit string.
fn bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 8] >> (i % 8) & 1
}

/// Element `i` of 32 half bytes: byte `j` has element `j` in its low and `j + 16` in its high half.
fn nibble(q: &[u8], i: usize) -> u8 {
    q[i % 16] >> (4 * (i / 16)) & 15
}

fn q5_0_integer(block: &[u8], i: usize) -> u8 {
    nibble(&block[6..], i) | bit(&block[2..6], i) << 4
}

fn q5_1_integer(block: &[u8], i: usize) -> u8 {
    nibble(&block[8..], i) | bit(&block[4..8], i) << 4
}

/// Element `i` of 256 integers of 2 bits: byte `l` of each half of the block holds elements `l`,
/// `l + 32`, `l + 64` and `l + 96` of that half.
fn crumb(q: &[u8], i: usize) -> u8 {
    q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k_integer(block: &[u8], i: usize) -> u8 {
    crumb(&block[16..80], i)
}

fn q2_k_pair(block: &[u8], group: usize) -> (f32, f32) {
    let scale = block[group];
    let (d, m) = (half(&block[80..]), half(&block[82..]));
    (d * f32::from(scale & 15), -(m * f32::from(scale >> 4)))
}

fn q3_k_integer(block: &[u8], i: usize) -> u8 {
    crumb(&block[32..96], i) | (block[i % 32] >> (i / 32) & 1) << 2
}

fn q3_k_scale(block: &[u8], group: usize) -> f32 {
    let (scales, d) = (&block[96..108], half(&block[108..]));
    let low = scales[group % 8] >> (4 * (group / 8)) & 15;
    let scale = low | (scales[8 + group % 4] >> (2 * (group / 4)) & 3) << 4;
    d * (f32::from(scale) - 32.0)
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

/// Scale and bias of a group of 32 in the types that begin with `d`, `m` and packed scales.
fn minimum_pair(block: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = scale_and_minimum(&block[4..16], group);
    (half(block) * scale, -(half(&block[2..]) * minimum))
}

/// Element `i` of 256 half bytes: byte `l` of 32 has element `l` of two groups that follow each
/// other.
fn half_byte(q: &[u8], i: usize) -> u8 {
    q[i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 15
}

fn q4_k_integer(block: &[u8], i: usize) -> u8 {
    half_byte(&block[16..], i)
}

fn q5_k_integer(block: &[u8], i: usize) -> u8 {
    half_byte(&block[48..], i) | (block[16 + i % 32] >> (i / 32) & 1) << 4
}

fn q6_k_integer(block: &[u8], i: usize) -> u8 {
    let (low, high) = (&block[..128], &block[128..192]);
    let (part, row) = (i / 128, i % 128 / 32);
    let nibble = low[part * 64 + row % 2 * 32 + i % 32] >> (4 * (row / 2)) & 15;
    nibble | (high[part * 32 + i % 32] >> (2 * row) & 3) << 4
}

fn q6_k_scale(block: &[u8], group: usize) -> f32 {
    half(&block[208..]) * f32::from(block[192 + group] as i8)
}

/// The values that the half bytes of the non-linear types stand for.
const NON_LINEAR: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn iq4_nl(_: TensorType, block: &[u8], y: &mut [f32]) {
    let (d, q) = (half(block), &block[2..]);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(NON_LINEAR[usize::from(nibble(q, i))]);
    }
}

fn iq4_xs(_: TensorType, block: &[u8], y: &mut [f32]) {
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
