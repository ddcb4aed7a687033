//! Byte pair encoding: the best pair of neighbours is joined until no pair can be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

struct Node<S> {
    symbol: S,
    previous: Option<usize>,
    next: Option<usize>,
    /// Counts the changes of this node, so that a pair noted before one is known to be out of date.
    stamp: u32,
}

/// A pair that can be joined.
struct Pair<S> {
    right: usize,
    stamps: (u32, u32),
    joined: S,
}

/// Joins neighbours for which `join` gives a priority and a symbol, the least priority first and
/// of equals the leftmost. Takes `n log n` steps.
pub(super) fn merge<S: Copy, P: Ord>(
    symbols: impl IntoIterator<Item = S>,
    join: impl Fn(S, S) -> Option<(P, S)>,
) -> Vec<S> {
    let mut nodes: Vec<Node<S>> = symbols
        .into_iter()
        .enumerate()
        .map(|(i, symbol)| Node { symbol, previous: i.checked_sub(1), next: Some(i + 1), stamp: 0 })
        .collect();
    if let Some(last) = nodes.last_mut() {
        last.next = None;
    }
    let mut pairs: Vec<Pair<S>> = Vec::new();
    let mut heap = BinaryHeap::new();
    let note = |nodes: &[Node<S>], heap: &mut BinaryHeap<_>, pairs: &mut Vec<_>, left: usize| {
        let Some(right) = nodes[left].next else { return };
        if let Some((priority, joined)) = join(nodes[left].symbol, nodes[right].symbol) {
            heap.push(Reverse((priority, left, pairs.len())));
            pairs.push(Pair { right, stamps: (nodes[left].stamp, nodes[right].stamp), joined });
        }
    };
    for left in 0..nodes.len() {
        note(&nodes, &mut heap, &mut pairs, left);
    }
    while let Some(Reverse((_, left, pair))) = heap.pop() {
        let Pair { right, stamps, joined } = pairs[pair];
        if (nodes[left].stamp, nodes[right].stamp) != stamps {
            continue;
        }
        nodes[left].symbol = joined;
        nodes[left].stamp += 1;
        nodes[right].stamp += 1;
        let next = nodes[right].next;
        nodes[left].next = next;
        if let Some(next) = next {
            nodes[next].previous = Some(left);
        }
        note(&nodes, &mut heap, &mut pairs, left);
        if let Some(previous) = nodes[left].previous {
            note(&nodes, &mut heap, &mut pairs, previous);
        }
    }
    let mut result = Vec::new();
    let mut at = (!nodes.is_empty()).then_some(0);
    while let Some(node) = at.map(|i| &nodes[i]) {
        result.push(node.symbol);
        at = node.next;
    }
    result
}
