//! How a call's index space is walked: which axes make the blocks, and how each operand lies along
//! them.
//!
//! The axes are cut in two lists, *kept* and *reduced*, each counted by one flat index. A tape
//! without reductions has one row: all its axes are in the reduced list. Blocks run along one list
//! while the other index stands still:
//! - [`Mode::Rows`]: a block is a piece of a row, and values of the row are the same all along it;
//! - [`Mode::Columns`]: a block is a piece of the kept list at one reduced index, and values of the
//!   rows are blocks themselves. For reduced axes that do not lie innermost, and for short rows.
//!
//! All choices depend on shapes and strides alone, so that results do not depend on threads.

use super::kernel::PAD;
use lazulite_core::shape::{Layout, Strides, contiguous_strides};
use smallvec::SmallVec;

/// The most elements of a block: four kernels' operands of eight bytes fit the L1 cache.
pub(crate) const BLOCK: usize = 512;
/// Elements below which a call stays on its caller's thread, and the least work of a task.
pub(super) const GRAIN: usize = 1 << 15;
/// Bytes of row buffers of one task, which should stay in the L2 cache.
pub(super) const KEEP: usize = 1 << 19;
/// Tiles below which long rows are cut into chunks.
const FEW: usize = 32;
/// Rows shorter than this are taken across, one vector lane a row.
const SHORT: usize = 128;

/// How an operand lies along a list of axes: sizes and strides, outermost first, merged.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    dims: SmallVec<[(usize, isize); 4]>,
    is_uniform: bool,
    is_contiguous: bool,
}

impl Default for Walk {
    fn default() -> Walk {
        Walk::of(SmallVec::new())
    }
}

impl Walk {
    fn new(axes: &[usize], shape: &[usize], strides: &[isize]) -> Walk {
        let mut dims: SmallVec<[(usize, isize); 4]> = SmallVec::new();
        for &axis in axes {
            let (n, s) = (shape[axis], strides[axis]);
            match dims.last_mut() {
                Some(last) if last.1 == n as isize * s => *last = (last.0 * n, s),
                _ => dims.push((n, s)),
            }
        }
        Walk::of(dims)
    }

    /// What blocks ask of a walk is found out once.
    fn of(dims: SmallVec<[(usize, isize); 4]>) -> Walk {
        let is_uniform = dims.iter().all(|d| d.1 == 0);
        let is_contiguous = matches!(dims.as_slice(), [(_, 1)]);
        Walk { dims, is_uniform, is_contiguous }
    }

    /// Elements that lie `step` apart.
    pub(crate) fn steps(step: isize) -> Walk {
        Walk::of(SmallVec::from_slice(&[(usize::MAX, step)]))
    }

    /// True iff all indices lead to the same element.
    #[inline(always)]
    pub(super) fn is_uniform(&self) -> bool {
        self.is_uniform
    }

    /// True iff successive indices are successive elements.
    #[inline(always)]
    pub(super) fn is_contiguous(&self) -> bool {
        self.is_contiguous
    }

    /// The distance between successive elements of the innermost axis.
    pub(super) fn step(&self) -> isize {
        self.dims.last().map_or(0, |d| d.1)
    }

    /// Where the element with this flat index lies, relative to the first.
    pub(super) fn offset(&self, flat: usize) -> isize {
        match self.dims.as_slice() {
            _ if self.is_uniform => 0,
            [(_, s)] => flat as isize * s,
            dims => {
                let (mut rest, mut at) = (flat, 0);
                for &(n, s) in dims.iter().rev() {
                    at += (rest % n) as isize * s;
                    rest /= n;
                }
                at
            }
        }
    }

    /// Calls `f(first element, stride, count)` for the runs that make up `count` elements from the
    /// flat index `start` on.
    #[inline(always)]
    pub(super) fn runs(&self, start: usize, count: usize, mut f: impl FnMut(isize, isize, usize)) {
        match self.dims.as_slice() {
            [] => f(0, 0, count),
            [(_, s)] => f(start as isize * s, *s, count),
            dims => {
                let (inner, step) = dims[dims.len() - 1];
                let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, dims.len() - 1);
                let (mut rest, mut column) = (start / inner, start % inner);
                let mut at = 0;
                for (i, &(n, s)) in index.iter_mut().zip(dims).rev() {
                    *i = rest % n;
                    rest /= n;
                    at += *i as isize * s;
                }
                let mut left = count;
                loop {
                    let run = left.min(inner - column);
                    f(at + column as isize * step, step, run);
                    left -= run;
                    if left == 0 {
                        return;
                    }
                    column = 0;
                    for (i, &(n, s)) in index.iter_mut().zip(dims).rev() {
                        *i += 1;
                        at += s;
                        if *i < n {
                            break;
                        }
                        at -= n as isize * s;
                        *i = 0;
                    }
                }
            }
        }
    }
}

/// Which list of axes the blocks run along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The reduced axes.
    Rows,
    /// The kept axes.
    Columns,
}

/// How a call is cut.
#[derive(Clone, Debug)]
pub(super) struct Space {
    /// Which way the blocks run.
    pub mode: Mode,
    /// The number of rows.
    pub kept: usize,
    /// The length of a row.
    pub reduced: usize,
    /// The rows of a tile: 1, or a block of columns.
    pub tile: usize,
    /// The number of tiles.
    pub tiles: usize,
    /// The pieces of each row that are tasks of their own; 1 iff a tile is done in one go.
    pub chunks: usize,
    /// The length of such a piece.
    pub chunk: usize,
    /// The tiles of one task, where rows are not cut.
    pub tiles_per_task: usize,
    kept_axes: SmallVec<[usize; 4]>,
    reduced_axes: SmallVec<[usize; 4]>,
}

/// Strides of an operand over the space.
pub(super) fn strides_over(layout: &Layout, shape: &[usize]) -> Strides {
    let lead = shape.len().saturating_sub(layout.shape.len());
    let mut strides: Strides = SmallVec::from_elem(0, shape.len());
    for (axis, (&n, &s)) in layout.shape.iter().zip(&layout.strides).enumerate() {
        strides[lead + axis] = if n == 1 { 0 } else { s };
    }
    strides
}

impl Space {
    /// Cuts `shape`; bit `a` of `axes` is set iff axis `a` is reduced. `leader` has the strides of
    /// the operand whose accesses weigh most, and `passes` says how often rows are read. `turned`,
    /// for tapes without reductions, is an axis along which blocks run, and one along which other
    /// operands lie.
    pub(super) fn new(
        shape: &[usize],
        axes: u64,
        leader: &[isize],
        passes: usize,
        turned: Option<[usize; 2]>,
    ) -> Space {
        let long = |a: &usize| shape[*a] != 1;
        let is_reduced = |a: &usize| match turned {
            Some([_, across]) => *a == across,
            None => axes == 0 || axes >> *a & 1 == 1,
        };
        let all = || (0..shape.len()).filter(long);
        let mut kept_axes: SmallVec<[usize; 4]> = all().filter(|a| !is_reduced(a)).collect();
        let mut reduced_axes: SmallVec<[usize; 4]> = all().filter(is_reduced).collect();
        if let Some([along, _]) = turned {
            kept_axes.retain(|a| *a != along);
            kept_axes.push(along);
        }
        if axes != 0 {
            // Axes with small steps go inside. The sort is stable: equal steps keep their order.
            kept_axes.sort_by_key(|&a| std::cmp::Reverse(leader[a].unsigned_abs()));
            reduced_axes.sort_by_key(|&a| std::cmp::Reverse(leader[a].unsigned_abs()));
        }
        let product = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
        let (kept, reduced) = (product(&kept_axes), product(&reduced_axes));
        let step = |axes: &[usize]| axes.last().map_or(isize::MAX, |&a| leader[a].abs());
        let inner_is_reduced = step(&reduced_axes) <= step(&kept_axes);
        let mode = match axes {
            0 if turned.is_some() => Mode::Columns,
            0 => Mode::Rows,
            _ if kept < PAD => Mode::Rows,
            _ if inner_is_reduced && reduced >= SHORT => Mode::Rows,
            _ => Mode::Columns,
        };
        let mut tile = 1;
        if mode == Mode::Columns {
            tile = BLOCK;
            while passes > 1 && tile > 64 && reduced * tile * 4 > KEEP {
                tile /= 2;
            }
            tile = tile.min(kept.max(1));
        }
        let tiles = kept.div_ceil(tile);
        let per_tile = (reduced * tile).max(1);
        let (mut chunks, mut chunk) = (1, reduced);
        if tiles > 0 && tiles < FEW && per_tile.saturating_mul(tiles) > 2 * GRAIN {
            let most = (per_tile / GRAIN).clamp(1, 256 / tiles);
            chunk = reduced.div_ceil(most);
            let unit = if mode == Mode::Rows { BLOCK } else { PAD };
            chunk = chunk.next_multiple_of(unit);
            chunks = reduced.div_ceil(chunk).max(1);
        }
        let tiles_per_task = (GRAIN / per_tile).max(tiles.div_ceil(1024)).max(1);
        Space {
            mode,
            kept,
            reduced,
            tile,
            tiles,
            chunks,
            chunk,
            tiles_per_task,
            kept_axes,
            reduced_axes,
        }
    }

    /// How an operand with these strides lies along the kept and the reduced axes.
    pub(super) fn walks(&self, shape: &[usize], strides: &[isize]) -> (Walk, Walk) {
        (Walk::new(&self.kept_axes, shape, strides), Walk::new(&self.reduced_axes, shape, strides))
    }
}

/// Row-major strides of an output whose axes of size 1 do not move.
pub(super) fn output_strides(layout: &Layout, shape: &[usize]) -> Strides {
    let own = contiguous_strides(&layout.shape);
    strides_over(&Layout { shape: layout.shape.clone(), strides: own, offset: 0 }, shape)
}
