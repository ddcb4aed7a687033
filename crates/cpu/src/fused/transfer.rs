//! Between operands of any layout and blocks: gathers with widening, scatters with narrowing.
//!
//! Where blocks run across the memory order of an operand, [`PANEL`] blocks are transposed at once,
//! so that each cache line is touched once.

use super::space::{BLOCK, Walk};
use crate::isa::{IsaKind, isa};
use crate::math::{narrow_bf16, narrow_f16, widen_bf16, widen_f16};
use crate::transpose::transpose;
use half::{bf16, f16};
use lazulite_core::Dtype;
use std::mem::MaybeUninit;

/// An operand: its first element, its type and how it lies.
pub(crate) struct Place {
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
pub(crate) unsafe fn load(
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
                let mut bits = [const { MaybeUninit::<u16>::uninit() }; BLOCK];
                let raw = if walk.is_contiguous() {
                    src.cast::<u16>().add(start)
                } else {
                    gather(src.cast::<u16>(), walk, start, count, bits.as_mut_ptr().cast());
                    bits.as_ptr().cast::<u16>()
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
pub(crate) unsafe fn store(
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
                let mut bits = [const { MaybeUninit::<u16>::uninit() }; BLOCK];
                let direct = walk.is_contiguous();
                let raw = if direct {
                    dst.cast::<u16>().add(start)
                } else {
                    bits.as_mut_ptr().cast::<u16>()
                };
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

/// Writes `bytes` to memory past the caches, where that is possible. [`end_streams`] orders these
/// writes before later ones.
///
/// # Safety
/// Both places have as many bytes and do not overlap.
pub(crate) unsafe fn stream(dst: *mut u8, src: *const u8, bytes: usize) {
    // SAFETY: the caller's promise; the processor has the set, and lines are aligned.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if dst.addr().is_multiple_of(32) && bytes.is_multiple_of(32) && isa() >= IsaKind::Avx2 {
            return stream_lines(dst, src, bytes);
        }
        dst.copy_from_nonoverlapping(src, bytes);
    }
}

/// # Safety
/// As [`stream`], for a whole number of aligned vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn stream_lines(dst: *mut u8, src: *const u8, bytes: usize) {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm256_stream_si256};
    for at in (0..bytes).step_by(32) {
        // SAFETY: the caller's promise.
        unsafe {
            let vector = _mm256_loadu_si256(src.add(at).cast());
            _mm256_stream_si256(dst.add(at).cast(), vector);
        }
    }
}

/// Orders what [`stream`] wrote before all that this thread writes from here on.
pub(crate) fn end_streams() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a fence touches no memory, and every x86-64 has it.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Blocks that are transposed at once: a cache line of `float32`.
pub(crate) const PANEL: usize = 16;

/// # Safety
/// As [`load_panel`], for elements of this size.
unsafe fn gather_panel<T: Copy + Default>(
    src: *const T,
    walk: &Walk,
    start: usize,
    width: usize,
    depth: usize,
    dst: *mut T,
    room: usize,
) {
    let mut lane = 0;
    walk.runs(start, width, |at, step, n| {
        // SAFETY: the caller's promise: `width` lanes of `depth` successive elements.
        unsafe { transpose([n, depth], src.offset(at), step, dst.add(lane), room as isize) };
        lane += n;
    });
}

/// # Safety
/// As [`store_panel`], for elements of this size.
unsafe fn scatter_panel<T: Copy + Default>(
    dst: *mut T,
    walk: &Walk,
    start: usize,
    width: usize,
    depth: usize,
    src: *const T,
    room: usize,
) {
    let mut lane = 0;
    walk.runs(start, width, |at, step, n| {
        // SAFETY: the caller's promise: `width` lanes of `depth` successive elements.
        unsafe { transpose([depth, n], src.add(lane), room as isize, dst.offset(at), step) };
        lane += n;
    });
}

macro_rules! by_size {
    ($f:ident, $size:expr, $a:expr, $walk:expr, $start:expr, $width:expr, $depth:expr, $b:expr,
     $room:expr) => {
        match $size {
            1 => $f($a, $walk, $start, $width, $depth, $b, $room),
            2 => $f::<u16>($a.cast(), $walk, $start, $width, $depth, $b.cast(), $room),
            4 => $f::<u32>($a.cast(), $walk, $start, $width, $depth, $b.cast(), $room),
            _ => $f::<u64>($a.cast(), $walk, $start, $width, $depth, $b.cast(), $room),
        }
    };
}

/// Copies `depth` successive elements from each of `width` places of a walk, so that the `j`-th of
/// them make row `j` of a panel whose rows are `room` elements apart. Nothing is widened.
///
/// # Safety
/// The elements, of `size` bytes, lie in live memory; the panel has room and overlaps none of them.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn load_panel(
    src: *const u8,
    size: usize,
    walk: &Walk,
    start: usize,
    width: usize,
    depth: usize,
    panel: *mut u8,
    room: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { by_size!(gather_panel, size, src, walk, start, width, depth, panel, room) }
}

/// The reverse of [`load_panel`].
///
/// # Safety
/// As there, and no other thread touches the elements.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn store_panel(
    dst: *mut u8,
    size: usize,
    walk: &Walk,
    start: usize,
    width: usize,
    depth: usize,
    panel: *const u8,
    room: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { by_size!(scatter_panel, size, dst, walk, start, width, depth, panel, room) }
}
