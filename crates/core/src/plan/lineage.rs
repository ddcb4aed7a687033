//! How the steps of a plan stand to each other, for observers.

use super::collect::{Graph, Slot};
use super::{Plan, Work};
use smallvec::SmallVec;

/// Where one step stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// The most steps that must run one after the other before this one. Of two steps of equal depth
    /// neither needs the other.
    pub(crate) depth: u32,
    /// The arrays of more than one element that the step reads; a view counts as what it shows.
    pub(crate) arrays: SmallVec<[Slot; 4]>,
}

/// The lineage of each step.
pub(crate) fn lineage(graph: &Graph, plan: &Plan) -> Vec<Lineage> {
    let mut depth = vec![0; graph.slots()];
    let mut shown: Vec<Slot> = (0..graph.slots() as Slot).collect();
    let mut all = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let reads = step.work.reads(graph);
        let below = reads.iter().map(|&slot| depth[slot as usize]).max().unwrap_or(0);
        let moves = matches!(step.work, Work::View { .. } | Work::Forward { .. });
        for (slot, &from) in step.work.writes(graph).into_iter().zip(reads.iter().cycle()) {
            if moves {
                shown[slot as usize] = shown[from as usize];
            }
        }
        for slot in step.work.writes(graph) {
            depth[slot as usize] = below + u32::from(!moves);
        }
        let mut arrays: SmallVec<[Slot; 4]> =
            reads.iter().map(|&slot| shown[slot as usize]).collect();
        arrays.retain(|slot| graph.shape(*slot).iter().product::<usize>() > 1);
        arrays.sort_unstable();
        arrays.dedup();
        all.push(Lineage { depth: below, arrays });
    }
    all
}
