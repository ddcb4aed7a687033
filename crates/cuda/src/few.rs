//! Products of few rows with a matrix of 16-bit elements, by warpgroups, in one launch. What they take is the
//! time in which the matrix is read: 7.9 us on an H100 for 8 rows and 4096 x 4096, where cublasLt takes 8.7.

use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::driver::{self, CUdeviceptr};
use crate::matmul::{Key, Side};
use crate::module::Rounding;
use crate::print::storage;
use crate::record;
use crate::stream::Launch;

pub(crate) const SOURCE: &str =
    concat!(include_str!("mma.cuh"), include_str!("hopper.cuh"), include_str!("few90.cu"));

/// The most rows of x.
const MOST_ROWS: usize = 64;
/// Elements of a tile of the matrix in either direction.
const TILE: usize = 64;
/// The least length of the sum, and columns of the matrix.
const LEAST: usize = TILE;
/// Bytes of tiles under way in a block.
const ROOM: usize = 110 << 10;
/// The most rows for which this kernel takes less of the device's time than cublasLt's (on an H100, with 4096 x 4096:
/// 8.2 us instead of 9.0 for 16 rows, 8.8 instead of 8.0 for 32). Beyond, it is the faster one only where
/// cublasLt's calls take the host longer than the device.
const MOST_AHEAD: usize = 16;
/// Bytes of matrices that the device reads in the time of such a call.
const HOST_BOUND: usize = 64 << 20;

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// Rows of x, rounded up.
    rows: usize,
    /// Parts of the sum.
    splits: usize,
    /// Tiles under way.
    stages: usize,
}

impl Cut {
    /// One block for each multiprocessor: with two, a product with 4096 x 4096 takes 1.5 of the time on an H100.
    fn of(m: usize, n: usize, k: usize, batch: usize, multiprocessors: usize) -> Cut {
        let rows = m.next_power_of_two().max(8);
        let most = (multiprocessors / (n.div_ceil(TILE) * batch)).min(k / TILE / 2);
        let splits = [8, 4, 2].into_iter().find(|&s| s <= most).unwrap_or(1);
        Cut { rows, splits, stages: ROOM / ((TILE + rows) * 128) }
    }

    /// Bytes of shared memory: tiles, or the sums.
    fn shared(&self) -> usize {
        let sums = self.rows * (TILE + 4) * 4;
        sums.max(self.stages * (TILE + self.rows) * 128)
    }
}

/// True iff the copy engine takes tiles of a side: its rows begin at multiples of 16 bytes.
fn in_tiles(side: &Side, batch: usize) -> bool {
    let even = |elements: usize| elements.is_multiple_of(8);
    let apart = batch == 1 || side.batch_stride > 0 && even(side.batch_stride.unsigned_abs());
    side.alignment >= 16 && even(side.leading) && apart
}

/// The map of a side for tiles of `rows` rows.
fn map(at: CUdeviceptr, side: &Side, batch: usize, rows: usize) -> Result<[u64; 16]> {
    let sizes = [side.rows, side.columns, batch, 1].map(|n| n as u64);
    let row = side.leading as u64 * 2;
    let apart = if batch == 1 { row } else { side.batch_stride as u64 * 2 };
    driver::tensor_map(at, sizes, [row, apart, apart], rows as u32)
}

/// Runs the product that a key describes, of operands at these addresses (as cublasLt takes them: the matrix, x,
/// the term, the result), if it is one for this kernel; says whether it did.
pub(crate) fn product(
    launch: &Launch<'_>,
    key: &Key,
    [w, x, term, out]: [CUdeviceptr; 4],
    bias: CUdeviceptr,
    [by, factor]: [f32; 2],
) -> Result<bool> {
    let (left, right, batch) = (&key.left, &key.right, key.batch);
    let (n, m) = (key.out.rows, key.out.columns);
    let k = right.rows;
    let facts = &launch.gpu.facts;
    let types = key.dtype.is_half() && (key.result == key.dtype || key.result == Dtype::F32);
    let sizes = (2..=MOST_ROWS).contains(&m) && n >= LEAST && k >= LEAST && batch <= 65_535;
    let small = n.max(k) < 1 << 30;
    let plain = !key.gelu && !right.transposed && !key.out.transposed;
    let term_lies = key.term.is_none_or(|t| !t.transposed);
    if facts.capability.0 != 9 || !types || !sizes || !small || !plain || !term_lies {
        return Ok(false);
    }
    let bytes = (n * k).saturating_mul(2 * batch);
    if m > MOST_AHEAD && (record::active() || bytes > HOST_BOUND) {
        return Ok(false);
    }
    if !in_tiles(left, batch) || !in_tiles(right, batch) {
        return Ok(false);
    }
    let cut = Cut::of(m, n, k, batch, facts.multiprocessors as usize);
    // Four neighbours are one access where all rows begin at multiples of them.
    let fours = |side: &Side| {
        side.alignment as usize >= 4 * key.result.size()
            && side.leading.is_multiple_of(4)
            && (batch == 1 || side.batch_stride % 4 == 0)
    };
    let packed = n.is_multiple_of(4)
        && fours(&key.out)
        && key.term.as_ref().is_none_or(fours)
        && bias.is_multiple_of(16);
    let flags = u64::from(key.bias) + 2 * u64::from(key.term.is_some()) + 4 * u64::from(packed);
    let (t, o) = (storage(key.dtype), storage(key.result));
    let across = if left.transposed { "" } else { ";ACROSS" };
    let half = if key.dtype == Dtype::F16 { ";HALF" } else { "" };
    let Cut { rows, splits, stages } = cut;
    let defines = format!("T={t};O={o};M={rows};SPLITS={splits};STAGES={stages}{across}{half}");
    let kernel = launch.gpu.modules.kernel(SOURCE, "few90", &defines, Rounding::Contracted)?;
    let beside = if key.bias { bias } else { term };
    let besides = key.term.unwrap_or(key.out);
    let mut args = Args::new();
    args.words(&map(x, right, batch, rows)?).words(&map(w, left, batch, TILE)?);
    args.word(out).word(beside).word(f64::from(by).to_bits());
    args.word(f64::from(if key.bias { 1.0 } else { factor }).to_bits());
    let mut g = [0; 16];
    let strides = [key.out.batch_stride, key.out.leading as isize];
    let others = [besides.batch_stride, besides.leading as isize];
    g[..3].copy_from_slice(&[m, n, k].map(|n| n as u64));
    g[3..5].copy_from_slice(&strides.map(|s| s as u64));
    g[5..7].copy_from_slice(&if key.bias { [0; 2] } else { others.map(|s| s as u64) });
    g[7] = flags;
    args.words(&g);
    let grid = [n.div_ceil(TILE), batch, splits].map(|n| n as u32);
    // SAFETY: the kernel has these parameters; the maps cover the operands, and the key's sides the result and
    // what is beside it.
    unsafe { args.launch(kernel, grid, [160, 1, 1], cut.shared(), launch.queue)? };
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fit_and_leave_no_part_of_the_sum_empty() {
        for m in 2..=MOST_ROWS {
            for n in [64, 100, 576, 4096, 14336, 128_256] {
                for k in [64, 65, 128, 576, 1000, 4096, 14336] {
                    let cut = Cut::of(m, n, k, 1, 132);
                    assert!(cut.rows >= m && cut.stages >= 2, "{m} {n} {k}: {cut:?}");
                    assert!(cut.shared() <= 113 << 10, "{m} {n} {k}: {cut:?}");
                    assert!(cut.splits <= k.div_ceil(TILE), "{m} {n} {k}: {cut:?}");
                }
            }
        }
    }
}
