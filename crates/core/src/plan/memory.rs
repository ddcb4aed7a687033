//! Pass 5: lifetimes, and which buffers may be reused for which results.

use super::collect::{Graph, Slot};
use super::{Plan, TapeWork, Work};
use crate::op::Primitive;
use crate::plan::tape::{Extent, Instr};

/// Fills in `frees` of every step, and `reuse` if results may take over buffers.
pub(crate) fn assign(graph: &Graph, plan: &mut Plan, in_place: bool) {
    let mut keep = vec![false; graph.slots()];
    for &slot in &graph.outputs {
        keep[slot as usize] = true;
    }
    for n in graph.nodes.iter().filter(|n| n.held && !n.leaf) {
        for slot in n.first..n.first + n.node.outputs.len() as Slot {
            keep[slot as usize] = true;
        }
    }
    for &(copy, original) in &plan.aliases {
        if keep[copy as usize] {
            keep[original as usize] = true;
        }
    }
    let mut read_later = keep;
    for step in plan.steps.iter_mut().rev() {
        for slot in step.work.reads(graph) {
            if !std::mem::replace(&mut read_later[slot as usize], true) {
                step.frees.push(slot);
            }
        }
        let dying = |slot: Slot| in_place && step.frees.contains(&slot);
        match &mut step.work {
            Work::Op { node, inputs, reuse } => {
                let updates = matches!(
                    graph.nodes[*node as usize].node.op,
                    Primitive::Scatter(_)
                        | Primitive::ScatterAxis(_)
                        | Primitive::SliceUpdate(_)
                        | Primitive::DynamicSliceUpdate(_)
                        | Primitive::MaskedScatter(_)
                );
                *reuse = updates && dying(inputs[0]) && !inputs[1..].contains(&inputs[0]);
            }
            Work::Tape(tape) => tape.reuse = reuse(graph, tape, dying),
            _ => {}
        }
    }
}

/// For each store a dying load of the same extent and item size that is read in place.
fn reuse(graph: &Graph, work: &TapeWork, dying: impl Fn(Slot) -> bool) -> Vec<Option<u16>> {
    let mut taken = Vec::new();
    work.stores
        .iter()
        .zip(&work.tape.stores)
        .map(|(&store, &value)| {
            let extent = work.tape.values[value as usize].extent;
            let size = graph.dtype(store).size();
            let found = work.loads.iter().enumerate().position(|(i, load)| {
                let i = i as u16;
                let load_extent = work.tape.values.iter().find_map(|v| match v.instr {
                    Instr::Load { operand } if operand == i => Some(v.extent),
                    _ => None,
                });
                extent == Extent::Full
                    && load_extent == Some(extent)
                    && !taken.contains(&i)
                    && dying(load.slot)
                    && graph.dtype(load.slot).size() == size
                    && graph.shape(load.slot) == graph.shape(load.frame)
                    && work.loads.iter().filter(|l| l.slot == load.slot).count() == 1
            });
            found.map(|i| {
                taken.push(i as u16);
                i as u16
            })
        })
        .collect()
}
