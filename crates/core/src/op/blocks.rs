//! Products of which parts are left out, composed of masks and plain products.

use super::like;
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::show;

/// Masks of [`block_masked_mm`]: bool, or factors.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockMasks<'a> {
    /// Of the blocks of the result, `(..., m / block, n / block)`, rounded up.
    pub out: Option<&'a Array>,
    /// Of the left operand, `(..., m / block, k / block)`.
    pub lhs: Option<&'a Array>,
    /// Of the right operand, `(..., k / block, n / block)`.
    pub rhs: Option<&'a Array>,
}

/// `x` with each block of the last two axes multiplied by its element of the mask, or 0 where a
/// bool mask is false.
fn masked(x: &Array, mask: Option<&Array>, block: usize) -> Result<Array> {
    const OP: &str = "block_masked_mm";
    let Some(mask) = mask else { return Ok(x.clone()) };
    let sizes = [x.shape()[x.ndim() - 2], x.shape()[x.ndim() - 1]];
    let blocks = sizes.map(|n| n.div_ceil(block));
    if mask.ndim() < 2 || mask.shape()[mask.ndim() - 2..] != blocks {
        let message = format!(
            "a mask of {} for blocks of {block} of {}; its last axes must be {}",
            show(mask.shape()),
            show(x.shape()),
            show(&blocks)
        );
        return Err(Error::shape(OP, &[mask.shape(), x.shape()], message));
    }
    let mut wide = mask.clone();
    for (axis, n) in [(-2, sizes[0]), (-1, sizes[1])] {
        wide = wide.repeat(block, Some(axis))?;
        let axis = (wide.ndim() as i64 + axis) as usize;
        wide = wide.pinned_range(axis, 0, n)?;
    }
    match mask.dtype() {
        Dtype::Bool => wide.select(x, &like(x, 0.0)),
        _ => x.multiply(&wide.astype(x.dtype())?),
    }
}

/// `a @ b`, where blocks of `block` by `block` elements of the operands and of the result are
/// masked.
///
/// # Shapes
/// `a (..., m, k)`, `b (..., k, n) -> (..., m, n)`.
///
/// # Errors
/// Kind `Argument` if the block is empty, `Shape` if a mask does not fit; those of a product.
pub fn block_masked_mm(a: &Array, b: &Array, block: usize, masks: BlockMasks<'_>) -> Result<Array> {
    if block == 0 {
        return Err(Error::argument("block_masked_mm", "blocks of 0 elements"));
    }
    if a.ndim() < 2 || b.ndim() < 2 {
        let message = format!("{} and {} are not matrices", show(a.shape()), show(b.shape()));
        return Err(Error::shape("block_masked_mm", &[a.shape(), b.shape()], message));
    }
    let product = masked(a, masks.lhs, block)?.matmul(&masked(b, masks.rhs, block)?)?;
    masked(&product, masks.out, block)
}

/// The product for each range of the inner axis: `segments` holds pairs `[start, end)`.
///
/// # Shapes
/// `a (..., m, k)`, `b (..., k, n)`, `segments (*s, 2) -> (..., *s, m, n)` for operands without
/// leading axes.
///
/// # Errors
/// Kind `Shape` if the operands are not matrices, their inner sizes differ or the segments are no
/// pairs; `Dtype` if these are not of an integer type.
pub fn segmented_mm(a: &Array, b: &Array, segments: &Array) -> Result<Array> {
    const OP: &str = "segmented_mm";
    let ([m, k], [kb, n]) = (a.shape(), b.shape()) else {
        let message = format!("{} and {} are not matrices", show(a.shape()), show(b.shape()));
        return Err(Error::shape(OP, &[a.shape(), b.shape()], message));
    };
    let [lead @ .., 2] = segments.shape() else {
        let message = format!("segments of {}; their last axis must be 2", show(segments.shape()));
        return Err(Error::shape(OP, &[segments.shape()], message));
    };
    if k != kb {
        let message = format!("inner sizes {k} and {kb} differ");
        return Err(Error::shape(OP, &[a.shape(), b.shape()], message));
    }
    if !segments.dtype().is_integer() {
        return Err(Error::dtype(OP, &[segments.dtype()], "an integer type"));
    }
    let count: usize = lead.iter().product();
    let bounds = segments.astype(Dtype::I64)?.reshape(&[count, 2])?;
    let (start, end) = (bounds.pinned_range(1, 0, 1)?, bounds.pinned_range(1, 1, 1)?);
    let place = Array::iota(0.0, 1.0, *k, Dtype::I64)?;
    let inside = place.greater_equal(&start)?.logical_and(&place.less(&end)?)?;
    let rows = inside.expand_dims(&[1])?.select(a, &like(a, 0.0))?;
    let mut shape = lead.to_vec();
    shape.extend([*m, *n]);
    rows.reshape(&[count * m, *k])?.matmul(b)?.reshape(&shape)
}
