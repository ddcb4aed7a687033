//! Steps after what they read. A group runs where its last member stands; a view of an earlier
//! member may stand before that.

use super::Step;
use super::collect::Graph;

/// The steps, each after those that make what it reads, otherwise as they were.
pub(crate) fn in_order(graph: &Graph, steps: Vec<Step>) -> Vec<Step> {
    const NOBODY: u32 = u32::MAX;
    let mut maker = vec![NOBODY; graph.slots()];
    for (i, step) in steps.iter().enumerate() {
        for slot in step.work.writes(graph) {
            maker[slot as usize] = i as u32;
        }
    }
    let late = |(i, step): (usize, &Step)| {
        let after = |&slot: &u32| {
            let by = maker[slot as usize];
            by != NOBODY && by as usize > i
        };
        step.work.reads(graph).iter().any(after)
    };
    if !steps.iter().enumerate().any(late) {
        return steps;
    }
    let mut entered = vec![false; steps.len()];
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(steps.len());
    let mut stack = Vec::new();
    for first in 0..steps.len() {
        stack.push(first);
        while let Some(&i) = stack.last() {
            if let Some(step) = &steps[i]
                && !std::mem::replace(&mut entered[i], true)
            {
                let makers = step.work.reads(graph).into_iter().map(|slot| maker[slot as usize]);
                let open = |&by: &u32| by != NOBODY && !entered[by as usize];
                stack.extend(makers.filter(open).map(|by| by as usize));
                continue;
            }
            ordered.extend(steps[i].take());
            stack.pop();
        }
    }
    ordered
}
