//! A graph with some of its nodes computed by others.

use super::Replacement;
use crate::array::{Array, NodeRef, Progress};
use crate::plan::collect::{Graph, Slot};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// An output of an [`Item`].
type Edge = (u32, u32);

/// A node of the graph to be, before it is known who needs it.
struct Item {
    node: NodeRef,
    inputs: SmallVec<[Edge; 2]>,
    leaf: bool,
    edges: u32,
    held: bool,
    /// Whose value the node has, if it was replaced.
    stands_for: Option<Edge>,
    /// The rule that made the node.
    rule: Option<&'static str>,
}

#[derive(Default)]
struct Splicer {
    items: Vec<Item>,
    places: FxHashMap<usize, u32>,
}

/// `old` with each of these nodes, in order, computed in its other way. Nodes that nobody
/// needs any more are left out; a replaced node that somebody outside holds gets the value.
pub(super) fn splice(old: Graph, instead: &[Replacement]) -> Graph {
    let mut splicer = Splicer::default();
    let mut edges: Vec<Edge> = Vec::with_capacity(old.slots());
    let mut own: Vec<u32> = Vec::with_capacity(old.nodes.len());
    let mut rest = instead.iter().peekable();
    for (id, n) in old.nodes.iter().enumerate() {
        let by = rest.next_if(|r| r.root as usize == id);
        let stands_for = by.map(|r| splicer.add(&r.array, r.rule));
        let inputs = if by.is_some() {
            SmallVec::new()
        } else {
            n.inputs.iter().map(|&s| edges[s as usize]).collect()
        };
        let place = splicer.items.len() as u32;
        splicer.places.insert(n.node.address(), place);
        own.push(place);
        splicer.items.push(Item {
            node: n.node.clone(),
            inputs,
            leaf: n.leaf,
            edges: n.edges,
            held: n.held,
            stands_for,
            rule: None,
        });
        match stands_for {
            Some(edge) => edges.push(edge),
            None => edges.extend((0..n.node.outputs.len() as u32).map(|o| (place, o))),
        }
    }
    splicer.finish(old, &own)
}

impl Splicer {
    /// Adds the nodes below `array` that are not there yet, inputs first.
    fn add(&mut self, array: &Array, rule: &'static str) -> Edge {
        let mut stack = vec![(array.node.clone(), false)];
        while let Some((node, expanded)) = stack.pop() {
            let address = node.address();
            if self.places.contains_key(&address) {
                continue;
            }
            let leaf = !matches!(node.outputs[0].progress(), Progress::Lazy);
            if !expanded && !leaf {
                stack.push((node.clone(), true));
                node.with_inputs(|inputs| {
                    stack.extend(inputs.iter().rev().map(|i| (i.node.clone(), false)));
                });
                continue;
            }
            let mut inputs = SmallVec::new();
            if !leaf {
                node.with_inputs(|list| {
                    for input in list {
                        let place = self.places[&input.node.address()];
                        self.items[place as usize].edges += 1;
                        inputs.push((place, input.output));
                    }
                });
            }
            self.places.insert(address, self.items.len() as u32);
            let (held, stands_for, rule) = (false, None, Some(rule));
            self.items.push(Item { node, inputs, leaf, edges: 0, held, stands_for, rule });
        }
        (self.places[&array.node.address()], array.output)
    }

    /// The graph of the items that are needed. `own` is where the old graph's nodes went.
    fn finish(self, old: Graph, own: &[u32]) -> Graph {
        let output = |slot: Slot| {
            let id = old.node_of[slot as usize];
            (own[id as usize], slot - old.nodes[id as usize].first)
        };
        let mut needed: Vec<bool> = self.items.iter().map(|i| i.held && !i.leaf).collect();
        for &slot in &old.outputs {
            needed[output(slot).0 as usize] = true;
        }
        for (i, item) in self.items.iter().enumerate().rev() {
            if needed[i] {
                for &(place, _) in item.inputs.iter().chain(&item.stands_for) {
                    needed[place as usize] = true;
                }
            }
        }
        let mut graph = Graph { pending: old.pending.clone(), ..Graph::default() };
        let mut firsts: Vec<Slot> = Vec::with_capacity(self.items.len());
        for (item, needed) in self.items.into_iter().zip(needed) {
            firsts.push(graph.slots() as Slot);
            if !needed {
                graph.retired.push(item.node);
                continue;
            }
            let slot = |&(place, output): &Edge| firsts[place as usize] + output;
            let inputs = item.inputs.iter().map(slot).collect();
            let stands_for = item.stands_for.as_ref().map(slot);
            graph.push(item.node, inputs, item.leaf);
            if let Some(n) = graph.nodes.last_mut() {
                (n.edges, n.held) = (item.edges, item.held);
                (n.stands_for, n.rule) = (stands_for, item.rule);
            }
        }
        graph.outputs = old
            .outputs
            .iter()
            .map(|&s| {
                let (place, output) = output(s);
                firsts[place as usize] + output
            })
            .collect();
        graph
    }
}
