//! Between operands of any layout and blocks: gathers with widening, scatters with narrowing.

use super::space::{BLOCK, Walk};
use crate::math::{narrow_bf16, narrow_f16, widen_bf16, widen_f16};
use half::{bf16, f16};
use lazulite_core::Dtype;

/// An operand: its first element, its type and how it lies.
pub(super) struct Place {
    pub first: *mut u8,
    pub dtype: Dtype,
    pub kept: Walk,
    pub reduced: Walk,
}

// SAFETY: tasks read shared operands and write disjoint elements of outputs.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// # Safety
/// The walk's elements from `start` on lie in live memory behind `src`, and `dst` has room.
unsafe fn gather<T: Copy>(src: *const T, walk: &Walk, start: usize, count: usize, dst: *mut T) {
    let mut out = dst;
    walk.runs(start, count, |at, step, n| {
        // SAFETY: the caller's promise; runs together have `count` elements.
        unsafe {
            let from = src.offset(at);
            match step {
                1 => out.copy_from_nonoverlapping(from, n),
                0 => std::slice::from_raw_parts_mut(out, n).fill(*from),
                _ => {
                    for i in 0..n {
                        *out.add(i) = *from.offset(i as isize * step);
                    }
                }
            }
            out = out.add(n);
        }
    });
}

/// # Safety
/// As [`gather`], with the roles exchanged.
unsafe fn scatter<T: Copy>(dst: *mut T, walk: &Walk, start: usize, count: usize, src: *const T) {
    let mut from = src;
    walk.runs(start, count, |at, step, n| {
        // SAFETY: the caller's promise; runs together have `count` elements.
        unsafe {
            let to = dst.offset(at);
            if step == 1 {
                to.copy_from_nonoverlapping(from, n);
            } else {
                for i in 0..n {
                    *to.offset(i as isize * step) = *from.add(i);
                }
            }
            from = from.add(n);
        }
    });
}

/// Copies `count` elements of a walk into a block in the compute type.
///
/// # Safety
/// `src` points to the walk's first element, which is of type `dtype`; the walk's elements lie in
/// live memory; `dst` has room and overlaps none of them; `count` is at most [`BLOCK`].
pub(super) unsafe fn load(
    src: *const u8,
    dtype: Dtype,
    walk: &Walk,
    start: usize,
    count: usize,
    dst: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            Dtype::F16 | Dtype::BF16 => {
                let mut bits = [0u16; BLOCK];
                let raw = if walk.is_contiguous() {
                    src.cast::<u16>().add(start)
                } else {
                    gather(src.cast::<u16>(), walk, start, count, bits.as_mut_ptr());
                    bits.as_ptr()
                };
                let wide = std::slice::from_raw_parts_mut(dst.cast::<f32>(), count);
                if dtype == Dtype::F16 {
                    widen_f16(std::slice::from_raw_parts(raw.cast::<f16>(), count), wide);
                } else {
                    widen_bf16(std::slice::from_raw_parts(raw.cast::<bf16>(), count), wide);
                }
            }
            _ => match dtype.size() {
                1 => gather(src, walk, start, count, dst),
                2 => gather(src.cast::<u16>(), walk, start, count, dst.cast()),
                4 => gather(src.cast::<u32>(), walk, start, count, dst.cast()),
                _ => gather(src.cast::<u64>(), walk, start, count, dst.cast()),
            },
        }
    }
}

/// Copies a block to `count` elements of a walk, rounding to half types.
///
/// # Safety
/// As [`load`], with the roles exchanged, and no other thread touches the elements.
pub(super) unsafe fn store(
    dst: *mut u8,
    dtype: Dtype,
    walk: &Walk,
    start: usize,
    count: usize,
    src: *const u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            Dtype::F16 | Dtype::BF16 => {
                let mut bits = [0u16; BLOCK];
                let direct = walk.is_contiguous();
                let raw = if direct { dst.cast::<u16>().add(start) } else { bits.as_mut_ptr() };
                let wide = std::slice::from_raw_parts(src.cast::<f32>(), count);
                if dtype == Dtype::F16 {
                    narrow_f16(wide, std::slice::from_raw_parts_mut(raw.cast::<f16>(), count));
                } else {
                    narrow_bf16(wide, std::slice::from_raw_parts_mut(raw.cast::<bf16>(), count));
                }
                if !direct {
                    scatter(dst.cast::<u16>(), walk, start, count, raw);
                }
            }
            _ => match dtype.size() {
                1 => scatter(dst, walk, start, count, src),
                2 => scatter(dst.cast::<u16>(), walk, start, count, src.cast()),
                4 => scatter(dst.cast::<u32>(), walk, start, count, src.cast()),
                _ => scatter(dst.cast::<u64>(), walk, start, count, src.cast()),
            },
        }
    }
}
