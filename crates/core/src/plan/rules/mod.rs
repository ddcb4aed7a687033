//! Pass 2: rules that put other nodes in the place of a part of the graph.
//!
//! A rule looks at one node, the *root* of what it would replace, and at the nodes below it, and
//! builds what should be computed instead from the same operands, with the ops that a user would
//! have called. The result is a graph like any other: it has a structural key and a plan of its
//! own, so a rule may look at sizes and values. What the cache keeps is where a rule's structure
//! was found; whether its values fit is asked at every evaluation.

mod attention;
mod batch;
mod catalogue;
mod quantized;
mod recipe;
mod site;
mod softmax;
mod splice;

pub use catalogue::{CATALOGUE, RuleInfo};

use super::cache::Enabled;
use super::collect::{Graph, GraphNode, NodeId};
use crate::array::Array;
use crate::device::with_stream;
use crate::error::Result;
use crate::op::Primitive;
pub(super) use recipe::Recipe;
use site::Site;

/// One rule.
pub(super) struct Rule {
    /// Its name in the catalogue.
    pub(super) name: &'static str,
    /// True iff the rule may apply at a node of this op.
    root: fn(&Primitive) -> bool,
    /// What the rule finds at a root.
    build: fn(&Site<'_>, NodeId) -> Result<Found>,
}

/// What a rule says of one root.
pub(super) enum Found {
    /// The structure is another one.
    Nothing,
    /// The structure is right, but sizes or values are not; those of another graph may be.
    OtherValues,
    /// This array, of the root's shape and dtype, has the root's value.
    Instead(Array),
    /// So have these, of their nodes; they are computed together.
    All(Vec<Replaced>),
}

/// A node with one output, and the array that has its value.
pub(super) struct Replaced {
    root: NodeId,
    array: Array,
}

/// The rules, in the order in which they are tried at a node; the last one is tried at the end.
static RULES: &[Rule] = &[
    quantized::RULE,
    attention::RULE,
    batch::STACK,
    batch::SUM,
    softmax::LOG,
    softmax::PICK,
    batch::ITEMS,
];

/// A place where the structure of a rule was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    root: NodeId,
    rule: u8,
}

/// A node that is computed in another way.
pub(super) struct Replacement {
    root: NodeId,
    array: Array,
    rule: &'static str,
}

/// Where rules may apply, for graphs of this structure.
pub(super) fn candidates(graph: &Graph, enabled: Enabled) -> Vec<Candidate> {
    let mut found = Vec::new();
    let root = |n: &GraphNode| !n.leaf && RULES.iter().any(|r| (r.root)(&n.node.op));
    if graph.nodes.iter().any(root) || site::has_alike(graph) {
        walk(graph, Sites::All(enabled), &mut found);
    }
    found
}

/// Where to try which rules.
enum Sites<'a> {
    /// Everywhere, all that may apply.
    All(Enabled),
    /// Where they were found in a graph of the same structure.
    Of(&'a [Candidate]),
}

/// The graph with every rule applied that fits at one of `candidates`, and how to make it again of a
/// graph that is equal to this one in all that the rules looked at.
pub(super) fn apply(graph: Graph, candidates: &[Candidate]) -> (Graph, Recipe) {
    let (instead, seen) = walk(&graph, Sites::Of(candidates), &mut Vec::new());
    let facts = recipe::Facts::of(&graph, seen);
    if instead.is_empty() {
        return (graph, Recipe::nothing(facts));
    }
    let origins = recipe::Origins::of(&graph);
    let graph = splice::splice(graph, &instead);
    let recipe = Recipe::of(&graph, &origins, facts);
    (graph, recipe)
}

/// Tries rules from inputs to users, so that later ones see what earlier ones replaced. Returns what
/// they replace, and the nodes that they looked at.
fn walk(
    graph: &Graph,
    sites: Sites<'_>,
    found: &mut Vec<Candidate>,
) -> (Vec<Replacement>, Vec<NodeId>) {
    let mut site = Site::new(graph);
    let last_items = match sites {
        Sites::All(enabled) if enabled.has(batch::ITEMS.name) => site.last_alike(),
        _ => Vec::new(),
    };
    let mut instead = Vec::new();
    let mut attempt = |root: NodeId, rule: u8, found: &mut Vec<Candidate>| {
        let n = site.node(root);
        if site.is_replaced(n.first) {
            return;
        }
        // A rule that cannot build its ops leaves the graph as it is.
        let build = || (RULES[rule as usize].build)(&site, root).unwrap_or(Found::Nothing);
        let replaced = match with_stream(n.node.stream, build) {
            Found::Nothing => return,
            Found::OtherValues => Vec::new(),
            Found::Instead(array) => vec![Replaced { root, array }],
            Found::All(replaced) => replaced,
        };
        let same = |r: &Replaced| r.array.aval() == site.array(site.node(r.root).first).aval();
        if replaced.iter().all(same) {
            site.replace(&replaced);
            let rule = RULES[rule as usize].name;
            instead.extend(replaced.into_iter().map(|r| Replacement {
                root: r.root,
                array: r.array,
                rule,
            }));
        }
        found.push(Candidate { root, rule });
    };
    match sites {
        Sites::Of(candidates) => candidates.iter().for_each(|c| attempt(c.root, c.rule, found)),
        Sites::All(enabled) => {
            let rules: Vec<(usize, &Rule)> =
                RULES.iter().enumerate().filter(|(_, r)| enabled.has(r.name)).collect();
            for (id, n) in graph.nodes.iter().enumerate().filter(|(_, n)| !n.leaf) {
                for (r, _) in rules.iter().filter(|(_, r)| (r.root)(&n.node.op)) {
                    attempt(id as NodeId, *r as u8, found);
                }
            }
            // Items that are made of other items are further behind; one batch makes both.
            if let Some((last, _)) = rules.iter().find(|(_, r)| r.name == batch::ITEMS.name) {
                for &root in last_items.iter().rev() {
                    attempt(root, *last as u8, found);
                }
            }
        }
    }
    (instead, site.seen())
}
