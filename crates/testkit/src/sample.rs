//! Arrays from a seed, in every layout that a kernel may meet, and their values in `f64`.

use lazulite_core::shape::{Layout, contiguous_strides};
use lazulite_core::{Array, Complex32, Dtype, Literal, Result, with_element};

/// A small generator (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014), so that a failing test fails again.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `count` numbers in `[low, high)`.
    pub fn uniforms(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
        (0..count).map(|_| self.uniform(low, high)).collect()
    }

    /// An evaluated array of numbers in `[low, high)`, laid out as asked; complex arrays have such
    /// real and imaginary parts.
    ///
    /// # Errors
    /// Those of the allocation.
    pub fn array(
        &mut self,
        shape: &[usize],
        dtype: Dtype,
        (low, high): (f64, f64),
        arrangement: Arrangement,
    ) -> Result<Array> {
        let parts = if dtype.is_complex() { 2 } else { 1 };
        let layout = arrangement.layout(shape);
        let storage = layout.extent().map_or(0, |(_, high)| high as usize + 1);
        let data = self.uniforms(storage * parts, low, high);
        let (buffer, _) = from_values(&data, &[storage], dtype)?.buffer()?;
        Array::from_buffer(buffer, dtype, layout)
    }
}

/// How the elements of an array lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// Row-major without gaps.
    Contiguous,
    /// The axes reversed.
    Transposed,
    /// Every second element along the last axis, from the third on.
    Strided,
    /// The last axis backwards.
    Reversed,
    /// The first axis repeats one slice.
    Repeated,
}

impl Arrangement {
    /// All of them.
    pub const ALL: [Arrangement; 5] = [
        Arrangement::Contiguous,
        Arrangement::Transposed,
        Arrangement::Strided,
        Arrangement::Reversed,
        Arrangement::Repeated,
    ];

    /// The layout of an array of `shape`.
    pub fn layout(self, shape: &[usize]) -> Layout {
        let mut layout = Layout::contiguous(shape);
        let last = shape.len().wrapping_sub(1);
        match self {
            Arrangement::Contiguous => {}
            _ if shape.is_empty() => {}
            Arrangement::Transposed => {
                let reversed: Vec<usize> = shape.iter().rev().copied().collect();
                layout.strides = contiguous_strides(&reversed).into_iter().rev().collect();
            }
            Arrangement::Strided => {
                layout.strides.iter_mut().for_each(|s| *s *= 2);
                layout.offset = 2;
            }
            Arrangement::Reversed => {
                layout.strides[last] = -layout.strides[last];
                layout.offset = shape[last].saturating_sub(1);
            }
            Arrangement::Repeated => layout.strides[0] = 0,
        }
        layout
    }
}

/// An array of these elements, converted to `dtype`; complex elements are pairs.
///
/// # Errors
/// Kind `Shape` if there are not as many as the shape has.
pub fn from_values(values: &[f64], shape: &[usize], dtype: Dtype) -> Result<Array> {
    if dtype.is_complex() {
        let pairs: Vec<Complex32> =
            values.chunks_exact(2).map(|c| Complex32::new(c[0] as f32, c[1] as f32)).collect();
        return Array::from_slice(&pairs, shape);
    }
    let bytes: Vec<u8> = (values.iter())
        .flat_map(|&x| {
            let bits = Literal::from_f64(x, dtype).bits().to_le_bytes();
            bits.into_iter().take(dtype.size())
        })
        .collect();
    Array::from_bytes(&bytes, dtype, shape)
}

/// The elements in row-major order; complex elements are pairs.
///
/// # Errors
/// Those of evaluation.
pub fn values(x: &Array) -> Result<Vec<f64>> {
    if x.dtype().is_complex() {
        let elements = x.to_vec::<Complex32>()?;
        return Ok(elements.iter().flat_map(|z| [f64::from(z.re), f64::from(z.im)]).collect());
    }
    with_element!(x.dtype(), T => {
        Ok(x.to_vec::<T>()?.into_iter().map(|v| Literal::new(v).to_f64()).collect())
    })
}

/// The bytes of the elements in row-major order, for comparisons bit by bit.
///
/// # Errors
/// Those of evaluation.
pub fn bits(x: &Array) -> Result<Vec<u64>> {
    with_element!(x.dtype(), T => {
        Ok(x.to_vec::<T>()?.into_iter().map(|v| Literal::new(v).bits()).collect())
    })
}

/// Slice `index` along `axis` of an evaluated array, which drops the axis.
///
/// # Errors
/// Those of evaluation.
pub fn example(x: &Array, axis: usize, index: usize) -> Result<Array> {
    let (buffer, mut layout) = x.buffer()?;
    let stride = layout.strides.remove(axis);
    layout.shape.remove(axis);
    if !layout.shape.contains(&0) {
        layout.offset = layout.offset.wrapping_add_signed(stride * index as isize);
    }
    Array::from_buffer(buffer, x.dtype(), layout)
}
