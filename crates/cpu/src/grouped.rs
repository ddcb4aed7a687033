//! Grouped products: the blocks of one matrix are brought together, whatever their order, and make
//! one product.

use lazulite_core::backend::Operand;
use lazulite_core::op::grouped::{GroupedMatmul, Matrices};
use lazulite_core::op::quantized::QuantizedMatmul;
use lazulite_core::shape::Layout;
use lazulite_core::{Error, Result};

use crate::allocator::allocator;
use crate::copy::dense;
use crate::gather::Indices;
use crate::linalg::each;
use crate::matmul::matmul;
use crate::pool::{num_threads, parallel_for};
use crate::quantized::quantized_matmul;
use crate::strided::{Target, View, internal, rows_per_task, with_bits};

/// Blocks `x[lhs[i]]` of rows times matrices `rhs[i]`.
pub(crate) fn grouped(op: &GroupedMatmul, inputs: &[Operand], out: &Operand) -> Result<()> {
    let (name, [x, lhs, rhs, parts @ ..]) = (op.name(), inputs) else {
        return Err(internal("a grouped product needs rows and indices"));
    };
    let (&[blocks, m, k], &[count, _, n]) = (x.shape(), out.shape()) else {
        return Err(internal(format!("{name}: {:?} to {:?}", x.shape(), out.shape())));
    };
    let matrices = parts.first().map_or(0, |part| part.shape()[0]);
    let lhs = places(name, lhs, blocks)?;
    let rhs = places(name, rhs, matrices)?;
    if lhs.len() != count || rhs.len() != count {
        return Err(internal(format!("{name}: {count} products of {} blocks", lhs.len())));
    }
    if out.layout.is_empty() {
        return Ok(());
    }
    let x = dense(x)?;
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&i| rhs[i]);
    let groups: Vec<&[usize]> = order.chunk_by(|&i, &j| rhs[i] == rhs[j]).collect();
    let multiply = |group: &[usize]| -> Result<()> {
        let from: Vec<usize> = group.iter().map(|&i| lhs[i]).collect();
        let rows = group.len() * m;
        let left = if is_run(&from) {
            matrix(&x, from[0] * m * k, [rows, k])
        } else {
            let panel = scratch(&x, [rows, k])?;
            copy_blocks(&x, &from, &panel, None, m * k)?;
            panel
        };
        let direct = is_run(group);
        let result = if direct {
            matrix(out, group[0] * m * n, [rows, n])
        } else {
            scratch(out, [rows, n])?
        };
        let right = parts.iter().map(|part| one_of(part, rhs[group[0]]));
        let operands: Vec<Operand> = std::iter::once(left).chain(right).collect();
        match op.matrices {
            Matrices::Dense => matmul(&operands, &result)?,
            Matrices::Quantized { format, transpose } => {
                quantized_matmul(&QuantizedMatmul { format, transpose }, &operands, &result)?;
            }
        }
        if !direct {
            let all: Vec<usize> = (0..group.len()).collect();
            copy_blocks(&result, &all, out, Some(group), m * n)?;
        }
        Ok(())
    };
    // Many groups are cut over the threads, each for itself; few leave them to their products.
    if groups.len() < 2 * num_threads() {
        return groups.iter().try_for_each(|group| multiply(group));
    }
    let cost = count.saturating_mul(m).saturating_mul(k).saturating_mul(n) / groups.len();
    each(groups.len(), cost, |g| multiply(groups[g]))
}

/// The elements of an index array, counted from the front and checked against an axis.
fn places(op: &'static str, index: &Operand, size: usize) -> Result<Vec<usize>> {
    let index = dense(index)?;
    let values = Indices::new(op, &index)?;
    (0..index.layout.len())
        .map(|i| {
            // SAFETY: a dense array of one axis has an element at every offset below its length.
            let at = unsafe { values.at(i as isize) };
            let from_front = if at < 0 { at.wrapping_add(size as i64) } else { at };
            usize::try_from(from_front)
                .ok()
                .filter(|&at| at < size)
                .ok_or_else(|| Error::index(op, at, 0, size))
        })
        .collect()
}

/// True iff the numbers count up by one.
fn is_run(places: &[usize]) -> bool {
    places.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

/// A matrix that begins `start` elements into a dense operand.
fn matrix(of: &Operand, start: usize, shape: [usize; 2]) -> Operand {
    let mut layout = Layout::contiguous(&shape);
    layout.offset = of.layout.offset + start;
    Operand { buffer: of.buffer.clone(), dtype: of.dtype, layout }
}

/// Fresh memory for a matrix of the type of `like`.
fn scratch(like: &Operand, shape: [usize; 2]) -> Result<Operand> {
    let buffer = allocator().allocate(shape[0] * shape[1] * like.dtype.size())?;
    Ok(Operand { buffer, dtype: like.dtype, layout: Layout::contiguous(&shape) })
}

/// Entry `i` along the first axis.
fn one_of(part: &Operand, i: usize) -> Operand {
    let layout = &part.layout;
    let offset = layout.offset as isize + i as isize * layout.strides[0];
    let layout = Layout {
        shape: layout.shape[1..].into(),
        strides: layout.strides[1..].into(),
        offset: offset as usize,
    };
    Operand { buffer: part.buffer.clone(), dtype: part.dtype, layout }
}

/// Copies blocks of `len` elements from their places in `src` to those in `dst`, or one after another.
fn copy_blocks(
    src: &Operand,
    from: &[usize],
    dst: &Operand,
    to: Option<&[usize]>,
    len: usize,
) -> Result<()> {
    with_bits!(src.dtype.size(), T => {
        let view = View::<T>::new(src)?;
        let elements = view.slice().ok_or_else(|| internal("blocks are not contiguous"))?;
        let target = Target::<T>::new(dst)?;
        parallel_for(from.len(), rows_per_task(len), |range| {
            for i in range {
                let place = to.map_or(i, |to| to[i]);
                // SAFETY: places are distinct and inside the destination, which checks them.
                let block = unsafe { target.part(place * len..(place + 1) * len) };
                block.copy_from_slice(&elements[from[i] * len..][..len]);
            }
        });
    });
    Ok(())
}
