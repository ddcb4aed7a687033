//! Pass 5: lifetimes, and which buffers may be reused for which results.

use super::collect::{Graph, Slot};
use super::{Plan, TapeWork, Work};
use crate::op::Primitive;
use crate::plan::tape::{Extent, Instr};
use rustc_hash::{FxHashMap, FxHashSet};

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
    let mut stays = stays(graph, plan);
    let mut read_later = keep;
    for (i, step) in plan.steps.iter_mut().enumerate().rev() {
        let needed = stays.remove(&i).unwrap_or_default();
        for slot in step.work.reads(graph).into_iter().chain(needed) {
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

/// The slots of [`Graph::until`] by the step that computes what they stay for.
fn stays(graph: &Graph, plan: &Plan) -> FxHashMap<usize, Vec<Slot>> {
    let mut stays = FxHashMap::<usize, Vec<Slot>>::default();
    if graph.until.is_empty() {
        return stays;
    }
    let mut alias: Vec<Slot> = (0..graph.slots() as Slot).collect();
    plan.aliases.iter().for_each(|&(copy, original)| alias[copy as usize] = original);
    // The step that makes each node: of one that is not stored, the last of those that read it.
    let mut stored = vec![false; graph.nodes.len()];
    let mut made_at = vec![0; graph.nodes.len()];
    for (i, step) in plan.steps.iter().enumerate() {
        for slot in step.work.writes(graph) {
            let id = graph.node_of[slot as usize] as usize;
            (stored[id], made_at[id]) = (true, i);
        }
    }
    let node_of = |slot: Slot| graph.node_of[alias[slot as usize] as usize] as usize;
    for (id, n) in graph.nodes.iter().enumerate().rev() {
        for &input in n.inputs.iter().filter(|_| alias[n.first as usize] == n.first) {
            let input = node_of(input);
            if !stored[input] {
                made_at[input] = made_at[input].max(made_at[id]);
            }
        }
    }
    let mut until = FxHashMap::<Slot, Vec<Slot>>::default();
    for &(of, slot) in &graph.until {
        until.entry(alias[of as usize]).or_default().push(alias[slot as usize]);
    }
    for (&of, slots) in &until {
        let (mut open, mut seen) = (slots.clone(), FxHashSet::default());
        while let Some(slot) = open.pop() {
            let (id, n) = (node_of(slot), graph.of(slot));
            if !seen.insert(slot) {
                continue;
            }
            if n.leaf || stored[id] {
                stays.entry(made_at[node_of(of)]).or_default().push(slot);
            } else if let Some(slots) = until.get(&slot) {
                open.extend(slots);
            } else {
                open.extend(n.inputs.iter().map(|&input| alias[input as usize]));
            }
        }
    }
    stays.values_mut().for_each(|slots| slots.sort_unstable());
    stays
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
