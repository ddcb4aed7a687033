//! A product with a matrix that was just dequantised becomes a product with the packed matrix.

use super::site::Site;
use super::{Found, Rule};
use crate::array::Array;
use crate::error::Result;
use crate::op::Primitive;
use crate::plan::collect::{GraphNode, NodeId, Slot};

pub(super) const RULE: Rule =
    Rule { name: "quantized_product", root: |op| matches!(op, Primitive::Matmul(_)), build };

fn build(site: &Site<'_>, root: NodeId) -> Result<Found> {
    let n = site.node(root);
    let (left, right) = (n.inputs[0], n.inputs[1]);
    let out = if let Some((w, swapped)) = dequantised(site, right) {
        product(site, w, &site.array(left), swapped)?
    } else if let Some((w, swapped)) = dequantised(site, left) {
        // w @ x is (x^T @ w^T)^T.
        product(site, w, &site.array(right).swapaxes(-1, -2)?, !swapped)?.swapaxes(-1, -2)?
    } else {
        return Ok(Found::Nothing);
    };
    Ok(if out.dtype() == n.node.outputs[0].dtype { Found::Instead(out) } else { Found::Nothing })
}

/// The node that dequantises the matrix in `slot`, and whether that is a transposed view of it.
fn dequantised<'a>(site: &Site<'a>, slot: Slot) -> Option<(&'a GraphNode, bool)> {
    let mut slot = site.unmarked(slot);
    let mut turned = false;
    loop {
        let n = site.computed(slot).filter(|n| !n.held)?;
        match &n.node.op {
            Primitive::Dequantize(_) => return Some((n, turned)),
            // Widening the matrix loses nothing; the product widens the groups instead.
            Primitive::Cast(_) => {
                let (from, to) = (site.dtype(n.inputs[0]), site.dtype(slot));
                if !from.is_half() || to != crate::dtype::Dtype::F32 {
                    return None;
                }
                slot = n.inputs[0];
            }
            _ => {
                slot = site.swapped(slot)?;
                turned = !turned;
            }
        }
        slot = site.unmarked(slot);
    }
}

fn product(site: &Site<'_>, w: &GraphNode, x: &Array, transpose: bool) -> Result<Array> {
    let Primitive::Dequantize(op) = &w.node.op else { return Ok(x.clone()) };
    let biases = w.inputs.get(2).map(|&s| site.array(s));
    let (packed, scales) = (site.array(w.inputs[0]), site.array(w.inputs[1]));
    x.quantized_matmul(&packed, &scales, biases.as_ref(), transpose, op.format)
}
