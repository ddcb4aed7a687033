//! Steps after what they read. A group runs where its last member stands; a view of an earlier
//! member may stand before that. Products of one array with several quantised matrices follow each
//! other, so that a device can prepare the array once, or make all of them in one go.

use super::collect::{Graph, Slot};
use super::{Step, Work};
use crate::op::Primitive;
use rustc_hash::FxHashMap;

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

/// The most products that are brought together: what they make is live until it is read.
const MOST_TOGETHER: u32 = 4;

/// Brings products of one array with quantised matrices together, where nothing that they read is made
/// in between.
pub(crate) fn together(graph: &Graph, steps: Vec<Step>) -> Vec<Step> {
    let array_of = |step: &Step| match &step.work {
        Work::Op { node, inputs, .. } | Work::Product { node, inputs, .. } => {
            let op = &graph.nodes[*node as usize].node.op;
            matches!(op, Primitive::QuantizedMatmul(_)).then(|| inputs[0])
        }
        _ => None,
    };
    if steps.iter().filter(|step| array_of(step).is_some()).count() < 2 {
        return steps;
    }
    // For each step the one behind which it moves, if any; for each slot the step that makes it.
    let mut maker: FxHashMap<Slot, u32> = FxHashMap::default();
    let mut first: FxHashMap<Slot, (u32, u32)> = FxHashMap::default();
    let mut behind: Vec<Vec<u32>> = vec![Vec::new(); steps.len()];
    let mut moves = vec![false; steps.len()];
    for (i, step) in steps.iter().enumerate() {
        let mut made_at = i as u32;
        if let Some(array) = array_of(step) {
            let (leader, count) = first.entry(array).or_insert((i as u32, 0));
            let stream = |s: &Step| graph.nodes[s.work.node(graph) as usize].node.stream;
            let known = |slot: &Slot| maker.get(slot).is_none_or(|by| by < leader);
            if *leader < i as u32
                && *count < MOST_TOGETHER
                && stream(&steps[*leader as usize]) == stream(step)
                && step.work.reads(graph).iter().all(known)
            {
                behind[*leader as usize].push(i as u32);
                moves[i] = true;
                made_at = *leader;
            } else {
                (*leader, *count) = (i as u32, 0);
            }
            *count += 1;
        }
        for slot in step.work.writes(graph) {
            maker.insert(slot, made_at);
        }
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(steps.len());
    for i in 0..steps.len() {
        if moves[i] {
            continue;
        }
        out.extend(steps[i].take());
        for &later in &behind[i] {
            out.extend(steps[later as usize].take());
        }
    }
    out
}
