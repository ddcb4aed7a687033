//! Copies between layouts, at memory bandwidth where a layout allows it.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::shape::Layout;

use crate::allocator::allocator;
use crate::pool::parallel_for;
use crate::strided::{SERIAL, Target, View, Walk, rows_per_task, with_bits};
use crate::transpose::transpose;

/// Elements of one side of a tile of a blocked transposition: a cache line of four-byte elements.
const SIDE: usize = 16;

/// A place to write to with any strides.
#[derive(Clone, Copy)]
struct Pair<T> {
    dst: *mut T,
    src: *const T,
}

// SAFETY: tasks of a copy write disjoint elements.
unsafe impl<T: Send> Send for Pair<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Pair<T> {}

/// Copies the elements of `src`, broadcast to the output's shape, to `out`.
pub(crate) fn copy(src: &Operand, out: &Operand) -> Result<()> {
    if src.buffer.same(&out.buffer) && src.layout == out.layout {
        return Ok(());
    }
    let layout = src.layout.broadcast_to(out.shape());
    let src = Operand { layout, ..src.clone() };
    with_bits!(out.dtype.size(), T => {
        let (src, out) = (View::<T>::new(&src)?, Target::<T>::new(out)?);
        let strides = lazulite_core::shape::contiguous_strides(src.shape);
        // SAFETY: both sides were checked, and the output is not read.
        unsafe { copy_strided(src.shape, src.first(), src.strides, out.data(), &strides) };
    });
    Ok(())
}

/// The operand itself if its elements lie in row-major order, else a copy that does.
pub(crate) fn dense(x: &Operand) -> Result<Operand> {
    if x.layout.is_contiguous() {
        return Ok(x.clone());
    }
    let layout = Layout::contiguous(x.shape());
    let buffer = allocator().allocate(layout.len() * x.dtype.size())?;
    let out = Operand { buffer, dtype: x.dtype, layout };
    copy(x, &out)?;
    Ok(out)
}

/// Copies `shape` elements from one place to another.
///
/// # Safety
/// All elements that the strides reach lie inside live memory; those of `dst` are distinct, unshared
/// and not among those of `src`.
pub(crate) unsafe fn copy_strided<T: Copy + Default + Send + Sync>(
    shape: &[usize],
    src: *const T,
    src_strides: &[isize],
    dst: *mut T,
    dst_strides: &[isize],
) {
    if shape.contains(&0) {
        return;
    }
    let mut walk = Walk::new(shape, [dst_strides, src_strides]);
    let (n, [d, s]) = walk.pop();
    let pair = Pair { dst, src };
    // An axis along which the source is dense, where the innermost one is not.
    let dense = (0..walk.shape.len()).rev().find(|&a| walk.strides[a][1] == 1);
    if let Some(axis) = dense
        && s != 1
        && d == 1
        && n >= 4
        && walk.shape[axis] >= 4
    {
        let m = walk.shape.remove(axis);
        let [row, _] = walk.strides.remove(axis);
        let (down, across) = (m.div_ceil(SIDE), n.div_ceil(SIDE));
        let strips = walk.len() * down;
        parallel_for(strips, rows_per_task(n * SIDE), |strips| {
            // The whole pair is captured: it may be shared, its parts may not.
            let pair = &pair;
            for strip in strips {
                let (outer, i) = (strip / down, strip % down * SIDE);
                walk.each(outer..outer + 1, |_, [at, from]| {
                    for j in 0..across {
                        let j = j * SIDE;
                        let size = [SIDE.min(n - j), SIDE.min(m - i)];
                        // SAFETY: the tile lies inside both sides.
                        unsafe {
                            let src = pair.src.offset(from + i as isize + j as isize * s);
                            let dst = pair.dst.offset(at + i as isize * row + j as isize);
                            transpose(size, src, s, dst, row);
                        }
                    }
                });
            }
        });
        return;
    }
    if walk.shape.is_empty() {
        // SAFETY: parts of one row.
        return parallel_for(n, SERIAL, |r| unsafe {
            let pair = &pair;
            let (at, len) = (r.start as isize, r.len());
            copy_row(len, pair.src.offset(at * s), s, pair.dst.offset(at * d), d);
        });
    }
    parallel_for(walk.len(), rows_per_task(n), |rows| {
        let pair = &pair;
        walk.each(rows, |_, [at, from]| {
            // SAFETY: the row lies inside both sides.
            unsafe { copy_row(n, pair.src.offset(from), s, pair.dst.offset(at), d) }
        });
    });
}

/// Copies `n` elements.
///
/// # Safety
/// As [`copy_strided`].
#[inline]
pub(crate) unsafe fn copy_row<T: Copy>(n: usize, src: *const T, s: isize, dst: *mut T, d: isize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (s, d) {
            (1, 1) => std::ptr::copy_nonoverlapping(src, dst, n),
            (0, 1) => std::slice::from_raw_parts_mut(dst, n).fill(*src),
            (_, 1) => {
                for i in 0..n {
                    *dst.add(i) = *src.offset(i as isize * s);
                }
            }
            _ => {
                for i in 0..n as isize {
                    *dst.offset(i * d) = *src.offset(i * s);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, layouts, operand, read};
    use lazulite_core::Dtype;

    #[test]
    fn every_layout_and_size_is_copied() {
        let shapes: [&[usize]; 9] = [
            &[],
            &[0],
            &[5],
            &[3, 0, 2],
            &[7, 9],
            &[70, 130],
            &[3, 4, 5],
            &[2, 33, 1, 65],
            &[200, 300],
        ];
        for shape in shapes {
            macro_rules! check {
                ($($t:ty)*) => { $(
                    for (name, x) in layouts(shape, |i| (i % 251) as $t) {
                        let out = empty(x.dtype, shape);
                        copy(&x, &out).unwrap();
                        assert_eq!(read::<$t>(&out), read::<$t>(&x), "{shape:?} {name}");
                    }
                )* };
            }
            check!(u8 u16 u32 u64);
        }
    }

    #[test]
    fn broadcast_sources_repeat() {
        for (shape, to) in
            [(&[1usize][..], &[3usize, 5][..]), (&[4, 1], &[2, 4, 70]), (&[], &[40_000])]
        {
            let len = shape.iter().product::<usize>();
            let x = operand(&(0..len).map(|i| i as i32 + 1).collect::<Vec<_>>(), shape);
            let out = empty(Dtype::I32, to);
            copy(&x, &out).unwrap();
            let layout: Layout = x.layout.broadcast_to(to);
            assert_eq!(read::<i32>(&out), read::<i32>(&Operand { layout, ..x }));
        }
    }
}
