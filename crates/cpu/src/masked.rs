//! Products that leave out masked blocks: the blocks that are kept are packed once, and each piece of
//! the result meets only those that are kept for it.
//!
//! Neighbouring blocks that the masks treat alike are one strip, so that a range costs what a product
//! of its size costs.

use lazulite_core::backend::Operand as Slot;
use lazulite_core::op::blocks::MaskedMatmul;
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Result, bf16, f16};

use crate::allocator::allocator;
use crate::elem::{Acc, Elem};
use crate::gemm::{Blocks, Place, Product, blocks, with_scratch};
use crate::isa::isa;
use crate::linalg::each;
use crate::operand::{Operand, Output, Sink, Strided};
use crate::pool::{self, SharedPtr};
use crate::strided::{Plain, Target, View, Walk, bytes, internal};

/// The most rows and columns of one piece of the result.
const MOST_ROWS: usize = 192;
const MOST_COLUMNS: usize = 512;
/// Elements that packing may write behind a panel.
const SPILL: usize = 8;

/// Runs the op.
pub(crate) fn masked_matmul(op: &MaskedMatmul, inputs: &[Slot], out: &Slot) -> Result<()> {
    match out.dtype {
        Dtype::F16 => typed::<f16>(op, inputs, out),
        Dtype::BF16 => typed::<bf16>(op, inputs, out),
        Dtype::F32 => typed::<f32>(op, inputs, out),
        Dtype::F64 => typed::<f64>(op, inputs, out),
        dtype => Err(internal(format!("masked_matmul of {dtype}"))),
    }
}

fn typed<E: Elem + Plain>(op: &MaskedMatmul, inputs: &[Slot], out: &Slot) -> Result<()> {
    let ([a, b, masks @ ..], &[ref lead @ .., m, n]) = (inputs, out.shape()) else {
        return Err(internal("a masked product needs two matrices"));
    };
    let (x, y) = (View::<E>::new(a)?, View::<E>::new(b)?);
    let (axes, k) = (lead.len(), x.shape[x.shape.len() - 1]);
    let fits = |s: &[usize], last: [usize; 2]| s.len() == axes + 2 && s[axes..] == last;
    if !fits(x.shape, [m, k])
        || !fits(y.shape, [k, n])
        || masks.iter().any(|s| s.shape().len() < axes)
    {
        return Err(internal(format!("masked_matmul: {:?} by {:?}", x.shape, y.shape)));
    }
    let [lhs, rhs, kept] = op.pick(inputs).map(|mask| mask.map(Mask::new).transpose());
    let masks = [lhs?, rhs?, kept?];
    let target = Target::<E>::new(out)?;
    let walk = Walk::new(lead, [&x.strides[..axes], &y.strides[..axes]]);
    let ((left, first_a), (right, first_b)) = (x.span(), y.span());
    let (sa, sb) = (&x.strides[axes..], &y.strides[axes..]);
    let count = lead.iter().product();
    each(count, m.saturating_mul(n).saturating_mul(k), |batch| {
        let mut result = Ok(());
        walk.each(batch..batch + 1, |_, [at_a, at_b]| {
            let (at_a, at_b) = (first_a as isize + at_a, first_b as isize + at_b);
            let a = Strided::new(left, at_a as usize, [m, k], [sa[0], sa[1]]);
            let b = Strided::new(right, at_b as usize, [n, k], [sb[1], sb[0]]);
            // SAFETY: each result has a part of its own.
            let own = unsafe { target.part(batch * m * n..(batch + 1) * m * n) };
            let out = Output::new(own, 1, [m, n]);
            let masks = masks.each_ref().map(|mask| mask.as_ref().map(|mask| mask.of(batch)));
            result = product::<E::Acc>(&a, &b, &out, masks, op.blocks);
        });
        result
    })
}

/// The masks of all batches, one after the other.
struct Mask {
    kept: Vec<bool>,
    columns: usize,
    each: usize,
}

impl Mask {
    fn new(x: &Slot) -> Result<Mask> {
        let view = View::<u8>::new(x)?;
        let mut kept = Vec::with_capacity(view.len());
        let walk = Walk::new(view.shape, [view.strides]);
        walk.each(0..walk.len(), |_, [at]| {
            // SAFETY: a point of the view.
            kept.push(unsafe { *view.first().offset(at) != 0 });
        });
        let last = &view.shape[view.shape.len() - 2..];
        Ok(Mask { kept, columns: last[1], each: last[0] * last[1] })
    }

    fn of(&self, batch: usize) -> One<'_> {
        One { kept: &self.kept[batch * self.each..(batch + 1) * self.each], columns: self.columns }
    }
}

/// The mask of one matrix.
#[derive(Clone, Copy)]
struct One<'a> {
    kept: &'a [bool],
    columns: usize,
}

impl One<'_> {
    fn at(self, i: usize, j: usize) -> bool {
        self.kept[i * self.columns + j]
    }

    fn same_rows(self, i: usize, j: usize) -> bool {
        let row = |i: usize| &self.kept[i * self.columns..(i + 1) * self.columns];
        row(i) == row(j)
    }

    fn same_columns(self, i: usize, j: usize) -> bool {
        self.kept.chunks(self.columns).all(|row| row[i] == row[j])
    }
}

/// A range of an axis that the masks treat alike.
#[derive(Clone, Copy)]
struct Strip {
    start: usize,
    len: usize,
    /// One of its blocks, which stands for all.
    block: usize,
}

/// The strips of an axis of `n` in blocks of `block`: runs of blocks that are the same, in equal parts of
/// at most `most`, which are multiples of `unit` but for the last.
fn strips(
    n: usize,
    block: usize,
    most: usize,
    unit: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Vec<Strip> {
    let (blocks, mut out, mut first) = (n.div_ceil(block), Vec::new(), 0);
    while first < blocks {
        let end = (first + 1..blocks).find(|&i| !same(first, i)).unwrap_or(blocks);
        let (from, to) = (first * block, end.saturating_mul(block).min(n));
        let len = (to - from).div_ceil((to - from).div_ceil(most)).next_multiple_of(unit);
        let parts = (from..to).step_by(len);
        out.extend(parts.map(|start| Strip { start, len: len.min(to - start), block: first }));
        first = end;
    }
    out
}

/// Where the packed pieces of strips of one operand lie, each for all strips of k.
struct Room {
    starts: Vec<usize>,
    /// Rows, or columns, with those that fill the last panel.
    padded: Vec<usize>,
    size: usize,
}

impl Room {
    fn new(strips: &[Strip], unit: usize, k: usize, pieces: usize) -> Room {
        let mut room = Room { starts: vec![], padded: vec![], size: 0 };
        for strip in strips {
            let padded = strip.len.next_multiple_of(unit);
            room.starts.push(room.size);
            room.padded.push(padded);
            room.size += padded * k + SPILL * pieces;
        }
        room
    }

    fn at(&self, strip: usize, piece: usize, ks: &[Strip]) -> usize {
        self.starts[strip] + self.padded[strip] * ks[piece].start + SPILL * piece
    }
}

/// `out = a b` over what the masks keep.
fn product<T: Acc>(
    a: &dyn Operand<T>,
    b: &dyn Operand<T>,
    out: &dyn Sink<T>,
    [lhs, rhs, kept]: [Option<One<'_>>; 3],
    sizes: [usize; 3],
) -> Result<()> {
    let ([m, k], n) = (a.extent(), b.extent()[0]);
    if m == 0 || n == 0 {
        return Ok(());
    }
    let product =
        Product { a, b, out, epilogue: None, m, n, k, kind: isa(), blocks: blocks::<T>(isa()) };
    let Blocks { mr, nr, kc, .. } = product.blocks;
    let alike = |mask: Option<One<'_>>, columns: bool, i: usize, j: usize| {
        mask.is_none_or(|mask| if columns { mask.same_columns(i, j) } else { mask.same_rows(i, j) })
    };
    let rows = strips(m, sizes[0], MOST_ROWS, mr, |i, j| {
        alike(lhs, false, i, j) && alike(kept, false, i, j)
    });
    let ks = strips(k, sizes[1], kc, 8, |i, j| alike(lhs, true, i, j) && alike(rhs, false, i, j));
    let columns = strips(n, sizes[2], MOST_COLUMNS, nr, |i, j| {
        alike(rhs, true, i, j) && alike(kept, true, i, j)
    });
    // The pieces of k that each part of the result sums.
    let at =
        |mask: Option<One<'_>>, i: Strip, j: Strip| mask.is_none_or(|x| x.at(i.block, j.block));
    let (mut used_a, mut used_b) =
        (vec![false; rows.len() * ks.len()], vec![false; columns.len() * ks.len()]);
    let sums: Vec<Vec<usize>> = (0..rows.len() * columns.len())
        .map(|t| {
            let (i, j) = (t % rows.len(), t / rows.len());
            if !at(kept, rows[i], columns[j]) {
                return Vec::new();
            }
            let meets = |p: &usize| at(lhs, rows[i], ks[*p]) && at(rhs, ks[*p], columns[j]);
            let pieces: Vec<usize> = (0..ks.len()).filter(meets).collect();
            for p in &pieces {
                used_a[i * ks.len() + p] = true;
                used_b[j * ks.len() + p] = true;
            }
            pieces
        })
        .collect();
    let (room_a, room_b) =
        (Room::new(&rows, mr, k, ks.len()), Room::new(&columns, nr, k, ks.len()));
    let size = (room_a.size + room_b.size).max(1) * size_of::<T>();
    let layout = Layout::contiguous(&[size]);
    let packed = Slot { buffer: allocator().allocate(size)?, dtype: Dtype::U8, layout };
    let start = bytes(&packed, true)?.0.cast::<T>();
    let packed_a = SharedPtr::new(start);
    let packed_b = SharedPtr::new(start.wrapping_add(room_a.size));
    let pieces = |used: &[bool]| -> Vec<(usize, usize)> {
        let all = (0..used.len()).filter(|&i| used[i]);
        all.map(|i| (i / ks.len(), i % ks.len())).collect()
    };
    let (pieces_a, pieces_b) = (pieces(&used_a), pieces(&used_b));
    pool::run(pieces_a.len() + pieces_b.len(), &|t: usize| {
        // SAFETY: strips lie inside the operands, and each piece has room of its own.
        unsafe {
            match t.checked_sub(pieces_a.len()) {
                None => {
                    let (i, p) = pieces_a[t];
                    let to = packed_a.get().add(room_a.at(i, p, &ks));
                    product.pack_a(0, [rows[i].start, rows[i].len], [ks[p].start, ks[p].len], to);
                }
                Some(t) => {
                    let (j, p) = pieces_b[t];
                    let to = packed_b.get().add(room_b.at(j, p, &ks));
                    let panel = [columns[j].start, columns[j].len, nr];
                    b.pack_panels(product.kind, 0, panel, [ks[p].start, ks[p].len], to);
                }
            }
        }
    });
    let direct = out.sums(0).map(SharedPtr::new);
    pool::run(sums.len(), &|t: usize| {
        let (i, j) = (t % rows.len(), t / rows.len());
        let (high, wide) = (rows[i], columns[j]);
        let Some(&last) = sums[t].last() else {
            let mut zeros = [T::default(); MOST_COLUMNS];
            for row in high.start..high.start + high.len {
                product.finish(0, row, wide.start, &mut zeros[..wide.len], false);
            }
            return;
        };
        let room = if direct.is_some() { 0 } else { high.len * wide.len };
        with_scratch(0, [room], |[buffer]: [*mut T; 1]| {
            let ld = if direct.is_some() { out.ld() } else { wide.len };
            let first = high.start * out.ld() + wide.start;
            let to = direct.map_or(buffer, |p| p.get().wrapping_add(first));
            for &p in &sums[t] {
                let place = Place {
                    sums: to,
                    ld,
                    batch: 0,
                    row: high.start,
                    col: wide.start,
                    first: p == sums[t][0],
                    last: p == last,
                };
                // SAFETY: the pieces are packed and only read, and the part is this task's own.
                unsafe {
                    let a = packed_a.get().add(room_a.at(i, p, &ks));
                    let b = packed_b.get().add(room_b.at(j, p, &ks));
                    product.block([high.len, wide.len, ks[p].len], a, b, place);
                }
            }
        });
    });
    Ok(())
}
