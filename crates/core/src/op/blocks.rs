//! Products that leave out masked blocks.
//!
//! A processor multiplies what masks of bool keep and nothing else. On other devices, and for blocks so
//! small that to look at them would cost what they save, the masks are composed with a plain product.

use super::elementwise::align_batches;
use super::{Avals, Batched, Derivative, Rules, conjugated, like, one};
use crate::array::Array;
use crate::device::{DeviceKind, current_stream};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{Shape, broadcast_shapes, show};
use serde::{Deserialize, Serialize};

/// Blocks of [`block_masked_mm`] with fewer rows and columns are not worth a look each.
const LEAST_BLOCK: usize = 16;

/// `out[i, j] = sum over p of a[i, p] b[p, j]` over what is kept, and 0 where the result is not.
///
/// Inputs `a (..., m, k)` and `b (..., k, n)`, then those bool masks of the blocks of `a`, of `b` and
/// of the result that `masks` says there are. All have the same leading axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct MaskedMatmul {
    /// The sizes of blocks along m, k and n; blocks at the end may be smaller.
    pub blocks: [usize; 3],
    /// True iff there is a mask of `a`, of `b`, of the result.
    pub masks: [bool; 3],
}

impl MaskedMatmul {
    /// The masks among the inputs, in the order of `masks`.
    pub fn pick<T>(self, inputs: &[T]) -> [Option<&T>; 3] {
        let mut rest = inputs.iter().skip(2);
        self.masks.map(|there| if there { rest.next() } else { None })
    }

    /// The op on operands and masks that already have the same leading axes.
    fn on(blocks: [usize; 3], [a, b]: [&Array; 2], masks: [Option<Array>; 3]) -> Result<Array> {
        let op = MaskedMatmul { blocks, masks: masks.each_ref().map(Option::is_some) };
        let inputs: Vec<Array> =
            [a.clone(), b.clone()].into_iter().chain(masks.into_iter().flatten()).collect();
        Array::apply(op, &inputs)
    }
}

impl Rules for MaskedMatmul {
    fn name(&self) -> &'static str {
        "masked_matmul"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let shapes: Vec<&[usize]> = inputs.iter().map(Array::shape).collect();
        let refuse = |why: &str| Err(Error::shape("masked_matmul", &shapes, why));
        let ndim = inputs[0].ndim();
        if ndim < 2 || self.blocks.contains(&0) {
            return refuse("matrices and blocks of some size are needed");
        }
        let lead = &shapes[0][..ndim - 2];
        if shapes.iter().any(|s| s.len() != ndim || &s[..ndim - 2] != lead) {
            return refuse("the leading axes differ");
        }
        let last = |s: &[usize]| [s[ndim - 2], s[ndim - 1]];
        let ([m, k], [inner, n]) = (last(shapes[0]), last(shapes[1]));
        if k != inner {
            return refuse("the inner sizes differ");
        }
        let [rows, depth, columns] =
            [(m, 0), (k, 1), (n, 2)].map(|(size, axis)| size.div_ceil(self.blocks[axis]));
        let counts = [[rows, depth], [depth, columns], [rows, columns]];
        for (mask, count) in self.pick(inputs).into_iter().zip(counts) {
            if mask.is_some_and(|x| last(x.shape()) != count || x.dtype() != Dtype::Bool) {
                return refuse("a mask needs a bool for each block");
            }
        }
        let mut shape = Shape::from_slice(lead);
        shape.extend([m, n]);
        one(shape, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Bilinear(0, 1)
    }

    fn transpose(
        &self,
        place: usize,
        inputs: &[Array],
        _outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        let Some(ct) = &cotangents[0] else { return Ok(None) };
        let [lhs, rhs, out] = self.pick(inputs).map(Option::<&Array>::cloned);
        let turned = |x: Option<Array>| x.map(|x| x.swapaxes(-1, -2)).transpose();
        let [bm, bk, bn] = self.blocks;
        let other = conjugated(&inputs[1 - place])?.swapaxes(-1, -2)?;
        Ok(Some(if place == 0 {
            MaskedMatmul::on([bm, bn, bk], [ct, &other], [out, turned(rhs)?, lhs])?
        } else {
            MaskedMatmul::on([bk, bm, bn], [&other, ct], [turned(lhs)?, out, rhs])?
        }))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], _batch: usize) -> Result<Batched> {
        let inputs = align_batches(inputs, axes)?;
        Ok((
            vec![product(self.blocks, [&inputs[0], &inputs[1]], self.pick(&inputs))?],
            vec![Some(0)],
        ))
    }
}

/// [`MaskedMatmul`] of operands and masks whose leading axes broadcast.
fn product(blocks: [usize; 3], operands: [&Array; 2], masks: [Option<&Array>; 3]) -> Result<Array> {
    let mut lead = Shape::new();
    for x in operands.into_iter().chain(masks.into_iter().flatten()) {
        lead = broadcast_shapes("block_masked_mm", &lead, &x.shape()[..x.ndim() - 2])?;
    }
    let wide = |x: &Array| {
        let mut shape = lead.clone();
        shape.extend_from_slice(&x.shape()[x.ndim() - 2..]);
        x.broadcast_to(&shape)
    };
    let [a, b] = [wide(operands[0])?, wide(operands[1])?];
    let [x, y, z] = masks.map(|mask| mask.map(wide).transpose());
    MaskedMatmul::on(blocks, [&a, &b], [x?, y?, z?])
}

/// True iff blocks of products of this type are left out where this is called.
fn skips(dtype: Dtype) -> bool {
    dtype.is_floating() && current_stream().device.kind == DeviceKind::Cpu
}

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
    let Some(mask) = mask else { return Ok(x.clone()) };
    let sizes = [x.shape()[x.ndim() - 2], x.shape()[x.ndim() - 1]];
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

/// The error of a mask that has no element for each block of the last axes of `shape`.
fn check_mask(shape: &[usize], mask: Option<&Array>, block: usize) -> Result<()> {
    let Some(mask) = mask else { return Ok(()) };
    let blocks = [shape.len() - 2, shape.len() - 1].map(|axis| shape[axis].div_ceil(block));
    if mask.ndim() >= 2 && mask.shape()[mask.ndim() - 2..] == blocks {
        return Ok(());
    }
    let message = format!(
        "a mask of {} for blocks of {block} of {}; its last axes must be {}",
        show(mask.shape()),
        show(shape),
        show(&blocks)
    );
    Err(Error::shape("block_masked_mm", &[mask.shape(), shape], message))
}

/// `a @ b`, where blocks of `block` by `block` elements of the operands and of the result are
/// masked.
///
/// What bool masks leave out is not read and takes no time, on a processor and for blocks of 16 on;
/// factors, 0 among them, do not shorten the product, for it has a derivative by them.
///
/// # Shapes
/// `a (..., m, k)`, `b (..., k, n) -> (..., m, n)`; leading axes, those of masks too, broadcast.
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
    let outer = [a.shape()[a.ndim() - 2], b.shape()[b.ndim() - 1]];
    check_mask(a.shape(), masks.lhs, block)?;
    check_mask(b.shape(), masks.rhs, block)?;
    check_mask(&outer, masks.out, block)?;
    let dtype = a.dtype().promote(b.dtype());
    let skip = block >= LEAST_BLOCK && skips(dtype);
    // What is kept is left to the product; factors are multiplied here.
    let split = |mask: Option<&'_ Array>| match mask {
        Some(mask) if skip && mask.dtype() == Dtype::Bool => (Some(mask.clone()), None),
        _ => (None, mask.cloned()),
    };
    let [lhs, rhs, out] = [masks.lhs, masks.rhs, masks.out].map(split);
    let (a, b) = (masked(a, lhs.1.as_ref(), block)?, masked(b, rhs.1.as_ref(), block)?);
    let kept = [lhs.0.as_ref(), rhs.0.as_ref(), out.0.as_ref()];
    let c =
        if kept.iter().any(Option::is_some) && a.shape()[a.ndim() - 1] == b.shape()[b.ndim() - 2] {
            product([block; 3], [&a.astype(dtype)?, &b.astype(dtype)?], kept)?
        } else {
            a.matmul(&b).map_err(|error| error.of("block_masked_mm"))?
        };
    masked(&c, out.1.as_ref(), block)
}

/// The product for each range of the inner axis: `segments` holds pairs `[start, end)`. What lies
/// outside of a range takes no time, on a processor.
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
    let inside = inside.expand_dims(&[1])?;
    let mut shape = lead.to_vec();
    shape.extend([*m, *n]);
    let dtype = a.dtype().promote(b.dtype());
    if skips(dtype) && !a.is_empty() && !b.is_empty() {
        // Ranges of k are blocks of one row of blocks, one element wide.
        let whole = [usize::MAX, 1, usize::MAX];
        let operands = [&a.astype(dtype)?, &b.astype(dtype)?];
        return product(whole, operands, [Some(&inside), None, None])?.reshape(&shape);
    }
    let rows = inside.select(a, &like(a, 0.0))?;
    rows.reshape(&[count * m, *k])?.matmul(b)?.reshape(&shape)
}
