//! A graph with some of its nodes computed by others.

use super::Replacement;
use crate::array::{NodeRef, Progress};
use crate::plan::collect::{Graph, NodeId, Slot};
use rustc_hash::{FxHashMap, FxHashSet};
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

/// A node on its way to become an item.
#[derive(Clone)]
enum Visit {
    /// One of the old graph.
    Old(NodeId),
    /// One that a rule made, by the replacement of this number.
    Made(NodeRef, u32),
}

/// No item yet.
const NONE: u32 = u32::MAX;

struct Splicer<'a> {
    old: &'a Graph,
    instead: &'a [Replacement],
    /// For each old node the replacement of its value, or [`NONE`].
    by: Vec<u32>,
    /// The old nodes by address, since made nodes name what they read by address.
    old_ids: FxHashMap<usize, NodeId>,
    items: Vec<Item>,
    /// The item of each old node.
    own: Vec<u32>,
    /// The items of made nodes by address.
    made: FxHashMap<usize, u32>,
}

/// `old` with each of these nodes computed in its other way. Nodes that nobody needs any more are
/// left out; a replaced node that somebody outside holds gets the value. The order is the old one, but
/// what a replacement reads comes before it.
pub(super) fn splice(old: Graph, instead: &[Replacement]) -> Graph {
    let nodes = old.nodes.len();
    let mut by = vec![NONE; nodes];
    for (i, r) in (0..).zip(instead) {
        by[r.root as usize] = i;
    }
    let old_ids = (0..).zip(&old.nodes).map(|(id, n)| (n.node.address(), id)).collect();
    let (items, own, made) = (Vec::with_capacity(nodes), vec![NONE; nodes], FxHashMap::default());
    let mut splicer = Splicer { old: &old, instead, by, old_ids, items, own, made };
    let mut stack = Vec::new();
    for id in 0..nodes as NodeId {
        stack.push((Visit::Old(id), false));
        while let Some((visit, entered)) = stack.pop() {
            if splicer.place(&visit) != NONE {
                continue;
            }
            if entered {
                splicer.leave(visit);
            } else {
                stack.push((visit.clone(), true));
                splicer.enter(&visit, &mut stack);
            }
        }
    }
    let Splicer { items, own, .. } = splicer;
    finish(items, &own, old)
}

impl Splicer<'_> {
    fn place(&self, visit: &Visit) -> u32 {
        match visit {
            Visit::Old(id) => self.own[*id as usize],
            Visit::Made(node, _) => self.made.get(&node.address()).copied().unwrap_or(NONE),
        }
    }

    /// How to visit the node of a made node's input, or a replacement's root.
    fn visit(&self, node: &NodeRef, rule: u32) -> Visit {
        let old = self.old_ids.get(&node.address());
        old.map_or_else(|| Visit::Made(node.clone(), rule), |&id| Visit::Old(id))
    }

    /// Schedules what the node reads that is not there yet, the first input on top.
    fn enter(&self, visit: &Visit, stack: &mut Vec<(Visit, bool)>) {
        let begin = stack.len();
        match visit {
            Visit::Old(id) => match self.by[*id as usize] {
                NONE => {
                    let inputs = self.old.nodes[*id as usize].inputs.iter();
                    let open = inputs.map(|&slot| self.old.node_of[slot as usize]);
                    let open = open.filter(|&of| self.own[of as usize] == NONE);
                    stack.extend(open.map(|of| (Visit::Old(of), false)));
                }
                r => {
                    let of = &self.instead[r as usize].array.node;
                    stack.push((self.visit(of, r), false));
                }
            },
            Visit::Made(node, _) if !is_lazy(node) => {}
            Visit::Made(node, r) => node.with_inputs(|inputs| {
                stack.extend(inputs.iter().map(|i| (self.visit(&i.node, *r), false)));
            }),
        }
        stack[begin..].reverse();
    }

    /// Makes the item of a node, whose inputs have theirs.
    fn leave(&mut self, visit: Visit) {
        let place = self.items.len() as u32;
        let item = match visit {
            Visit::Old(id) => {
                let n = &self.old.nodes[id as usize];
                self.own[id as usize] = place;
                let (mut inputs, mut stands_for) = (SmallVec::new(), None);
                match self.by[id as usize] {
                    NONE => inputs = n.inputs.iter().map(|&slot| self.edge(slot)).collect(),
                    r => {
                        let array = &self.instead[r as usize].array;
                        let of = self.place(&self.visit(&array.node, r));
                        stands_for = Some((of, array.output));
                    }
                }
                let (node, rule) = (n.node.clone(), None);
                Item { node, inputs, leaf: n.leaf, edges: n.edges, held: n.held, stands_for, rule }
            }
            Visit::Made(node, r) => {
                let mut inputs = SmallVec::new();
                let leaf = !is_lazy(&node);
                if !leaf {
                    node.with_inputs(|list| {
                        for input in list {
                            let of = self.place(&self.visit(&input.node, r));
                            self.items[of as usize].edges += 1;
                            inputs.push((of, input.output));
                        }
                    });
                }
                self.made.insert(node.address(), place);
                let rule = Some(self.instead[r as usize].rule);
                Item { node, inputs, leaf, edges: 0, held: false, stands_for: None, rule }
            }
        };
        self.items.push(item);
    }

    /// Where the value of an old slot is; of a replaced node it is the replacement's.
    fn edge(&self, slot: Slot) -> Edge {
        let id = self.old.node_of[slot as usize];
        let own = self.own[id as usize];
        let output = slot - self.old.nodes[id as usize].first;
        self.items[own as usize].stands_for.unwrap_or((own, output))
    }
}

fn is_lazy(node: &NodeRef) -> bool {
    matches!(node.outputs[0].progress(), Progress::Lazy)
}

/// The graph of the items that are needed. `own` is where the old graph's nodes went.
fn finish(items: Vec<Item>, own: &[u32], old: Graph) -> Graph {
    let output = |slot: Slot| {
        let id = old.node_of[slot as usize];
        (own[id as usize], slot - old.nodes[id as usize].first)
    };
    let mut needed: Vec<bool> = items.iter().map(|i| i.held && !i.leaf).collect();
    for &slot in &old.outputs {
        needed[output(slot).0 as usize] = true;
    }
    for (i, item) in items.iter().enumerate().rev() {
        if needed[i] {
            for &(place, _) in item.inputs.iter().chain(&item.stands_for) {
                needed[place as usize] = true;
            }
        }
    }
    let is_replaced = |&id: &NodeId| items[own[id as usize] as usize].stands_for.is_some();
    let roots: Vec<NodeId> = (0..old.nodes.len() as NodeId).filter(is_replaced).collect();
    let value = |&id: &NodeId| items[own[id as usize] as usize].stands_for;
    let values: Vec<Edge> = roots.iter().filter_map(value).collect();
    let kept = needed.clone();
    let mut graph = Graph { pending: old.pending.clone(), ..Graph::default() };
    let mut firsts: Vec<Slot> = Vec::with_capacity(items.len());
    for (item, needed) in items.into_iter().zip(needed) {
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
    let outputs = old.outputs.iter().map(|&slot| {
        let (place, output) = output(slot);
        firsts[place as usize] + output
    });
    graph.outputs = outputs.collect();
    let places = Places { old: &old, own, kept: &kept, firsts: &firsts };
    for (&root, &(place, output)) in roots.iter().zip(&values) {
        let value = firsts[place as usize] + output;
        graph.until.extend(places.operands(root).into_iter().map(|slot| (value, slot)));
        if !kept[own[root as usize] as usize] {
            graph.replaced.push((old.nodes[root as usize].node.clone(), value));
        }
    }
    graph
}

/// Where the nodes of an old graph are in the new one.
struct Places<'a> {
    old: &'a Graph,
    own: &'a [u32],
    /// For each item whether the new graph has it, and its first slot.
    kept: &'a [bool],
    firsts: &'a [Slot],
}

impl Places<'_> {
    /// The new graph's slots from which the old one computes `root`, by nodes that the new one has not.
    fn operands(&self, root: NodeId) -> Vec<Slot> {
        let (mut found, mut seen) = (Vec::new(), FxHashSet::default());
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            for &slot in &self.old.nodes[id as usize].inputs {
                let of = self.old.node_of[slot as usize];
                let own = self.own[of as usize] as usize;
                if !seen.insert(slot) {
                    continue;
                }
                if self.kept[own] {
                    found.push(self.firsts[own] + slot - self.old.nodes[of as usize].first);
                } else {
                    open.push(of);
                }
            }
        }
        found
    }
}
