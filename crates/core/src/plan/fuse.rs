//! Pass 4: elementwise ops, casts and reductions become tapes, and tapes become epilogues.
//!
//! Groups grow from consumers to producers: a producer joins a group iff all its consumers are in
//! that group, which can never make a cycle. Its *frame* must fit: `Full` members have the
//! elements of the group's space in the same order (shapes may differ by unit axes), and `Row`
//! members have one element for each row. A group becomes a row group when the first reduction
//! joins, either as a row value that its full members use (softmax), or below a group that so far
//! was a tail on reduced values (the square root of a mean), which then becomes the tail of rows.
//!
//! A row value may also have readers elsewhere: the group that uses it along its rows stores it, unless
//! those readers lead back to the group. So the sum and the shift of a log-sum-exp are made where the
//! exponentials are, although a loss reads them too.
//!
//! Decisions rest only on what the structural key holds: equality of shapes, ranks and unit axes.

mod emit;

use super::Plan;
use super::cache::Enabled;
use super::collect::{Graph, GraphNode, NodeId, Slot};
use super::rewrite::Rewritten;
use crate::device::DeviceKind;
use crate::op::Primitive;
use crate::op::identity::Identity;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

/// The most members of a group: bounds the slots that an executor needs, and the size of sources.
const MAX_MEMBERS: usize = 96;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One instruction.
    Elementwise,
    /// One reducing instruction.
    Reduce,
    /// No instruction: the value of its input under another shape of the same rows.
    View,
}

fn kind(graph: &Graph, n: &GraphNode) -> Option<Kind> {
    if n.leaf || n.stands_for.is_some() {
        return None;
    }
    match &n.node.op {
        Primitive::Unary(_) | Primitive::Binary(_) | Primitive::Select(_) | Primitive::Cast(_) => {
            Some(Kind::Elementwise)
        }
        Primitive::Reduce(_) => Some(Kind::Reduce),
        Primitive::Broadcast(_) => Some(Kind::View),
        Primitive::Reshape(_) if is_unit_reshape(graph, n) => Some(Kind::View),
        Primitive::Identity(Identity::StopGradient | Identity::Alias) => Some(Kind::View),
        _ => None,
    }
}

/// True iff a reshape only adds and drops axes of size 1.
pub(crate) fn is_unit_reshape(graph: &Graph, n: &GraphNode) -> bool {
    same_order(graph.shape(n.inputs[0]), graph.shape(n.first))
}

/// True iff the shapes differ by axes of size 1 only, so that element follows element.
fn same_order(a: &[usize], b: &[usize]) -> bool {
    a.iter().filter(|&&n| n != 1).eq(b.iter().filter(|&&n| n != 1))
}

/// True iff an operand of `shape` broadcasts along all of `axes` of `space`, and along no other.
fn is_row_of(shape: &[usize], space: &[usize], axes: u64) -> bool {
    let Some(lead) = space.len().checked_sub(shape.len()) else { return false };
    (0..space.len()).all(|a| {
        let n = if a < lead { 1 } else { shape[a - lead] };
        if axes >> a & 1 == 1 { n == 1 } else { n == space[a] }
    })
}

/// True iff an operand of `shape` is the same along all of `axes` of a space of `ndim` axes.
fn is_constant_along(shape: &[usize], ndim: usize, axes: u64) -> bool {
    let lead = ndim.saturating_sub(shape.len());
    (lead..ndim).all(|a| axes >> a & 1 == 0 || shape[a - lead] == 1)
}

struct Group {
    members: Vec<NodeId>,
    /// The slot whose shape is the space.
    space: Slot,
    /// Reduced axes of the space.
    axes: u64,
    reductions: usize,
    /// The product that the group becomes the epilogue of.
    product: Option<NodeId>,
    /// True iff another group that reads the same operands joined.
    siblings: bool,
}

/// What may join a group.
#[derive(Clone, Copy)]
struct Joins {
    /// Elementwise ops without reductions.
    elements: bool,
    /// Reductions, and what is beside them.
    rows: bool,
    /// Cheap values may be computed in each group that reads them.
    again: bool,
}

struct Fuser<'a> {
    graph: &'a Graph,
    alias: Vec<Slot>,
    /// For each slot the nodes that read it.
    consumers: Vec<SmallVec<[NodeId; 2]>>,
    /// For each slot: somebody outside needs it.
    kept: Vec<bool>,
    /// For each node the value of a reduction that it is computed from, row by row: the slot whose
    /// shape is the space of the reduction, and the reduced axes.
    rows: Vec<Option<(Slot, u64)>>,
    groups: Vec<Group>,
    group_of: Vec<Option<usize>>,
    /// For each member: it has one element for each row.
    row: Vec<bool>,
    /// For each node: every group that reads it computes it again.
    again: Vec<bool>,
    /// For each node on a GPU that is computed element by element from one array and scalars: that array, which is
    /// stored in any case, and the number of instructions.
    origins: Vec<Option<(Slot, u32)>>,
    /// True iff a row value joined a group although others read it, too.
    any_shared: bool,
}

/// Makes the steps of a rewritten graph.
pub(crate) fn fuse(graph: &Graph, rewritten: Rewritten, enabled: Enabled) -> Plan {
    let mut fuser = Fuser::new(graph, rewritten.alias);
    let joins = Joins {
        elements: enabled.has("fuse"),
        rows: enabled.has("fuse_rows"),
        again: enabled.has("computed again"),
    };
    for id in (0..graph.nodes.len() as NodeId).rev() {
        fuser.place(id, joins);
    }
    fuser.evict_rows_without_reduction();
    if enabled.has("epilogue") {
        fuser.absorb_products();
    }
    fuser.demote_views();
    if enabled.has("fuse_siblings") {
        fuser.join_siblings();
    }
    let steps = super::order::in_order(graph, fuser.emit());
    let steps = super::order::together(graph, steps);
    let aliases = (0..graph.slots() as Slot)
        .map(|s| (s, fuser.alias[s as usize]))
        .filter(|&(s, original)| s != original)
        .collect();
    Plan { steps, guards: rewritten.guards, aliases }
}

impl<'a> Fuser<'a> {
    fn new(graph: &'a Graph, alias: Vec<Slot>) -> Fuser<'a> {
        let nodes = graph.nodes.len();
        let mut fuser = Fuser {
            graph,
            consumers: vec![SmallVec::new(); graph.slots()],
            kept: vec![false; graph.slots()],
            rows: vec![None; nodes],
            groups: Vec::new(),
            group_of: vec![None; nodes],
            row: vec![false; nodes],
            again: vec![false; nodes],
            origins: vec![None; nodes],
            any_shared: false,
            alias,
        };
        for (id, n) in graph.nodes.iter().enumerate() {
            if n.leaf {
                continue;
            }
            if n.held {
                for slot in n.first..n.first + n.node.outputs.len() as Slot {
                    fuser.kept[fuser.alias[slot as usize] as usize] = true;
                }
            }
            if fuser.is_alias(n) {
                continue;
            }
            for &input in &n.inputs {
                fuser.consumers[fuser.alias[input as usize] as usize].push(id as NodeId);
            }
            fuser.rows[id] = fuser.row_origin(n);
        }
        for &slot in &graph.outputs {
            fuser.kept[fuser.alias[slot as usize] as usize] = true;
        }
        for id in 0..nodes {
            fuser.origins[id] = fuser.origin(&graph.nodes[id]);
        }
        fuser
    }

    fn node(&self, id: NodeId) -> &'a GraphNode {
        &self.graph.nodes[id as usize]
    }

    fn shape(&self, slot: Slot) -> &'a [usize] {
        self.graph.shape(slot)
    }

    fn is_alias(&self, n: &GraphNode) -> bool {
        self.alias[n.first as usize] != n.first
    }

    /// Input `i` of a node, seen through aliases.
    fn input(&self, n: &GraphNode, i: usize) -> Slot {
        self.alias[n.inputs[i] as usize]
    }

    /// Where a GPU could compute a node from again: its memory is slower, beside its arithmetic, than
    /// that of a processor, where functions are not worth a second time.
    fn origin(&self, n: &GraphNode) -> Option<(Slot, u32)> {
        const MOST_INSTRUCTIONS: u32 = 16;
        let op = &n.node.op;
        if n.leaf
            || self.is_alias(n)
            || n.node.stream.device.kind != DeviceKind::Gpu
            || !matches!(op, Primitive::Unary(_) | Primitive::Binary(_) | Primitive::Cast(_))
            || self.rows[self.graph.node_of[n.first as usize] as usize].is_some()
        {
            return None;
        }
        let (mut from, mut count) = (None, 1);
        for i in 0..n.inputs.len() {
            let slot = self.input(n, i);
            let source = self.graph.of(slot);
            if !source.leaf && matches!(source.node.op, Primitive::Scalar(_)) {
                continue;
            }
            if self.shape(slot) != self.shape(n.first) {
                return None;
            }
            let id = self.graph.node_of[slot as usize] as usize;
            let (slot, more) =
                self.origins[id].filter(|_| !self.is_stored(slot)).unwrap_or((slot, 0));
            if *from.get_or_insert(slot) != slot {
                return None;
            }
            count += more;
        }
        let narrow = |slot| self.graph.dtype(slot).size() <= self.graph.dtype(n.first).size();
        let slot = from.filter(|&slot| narrow(slot))?;
        (count <= MOST_INSTRUCTIONS).then_some((slot, count))
    }

    /// True iff a slot's value is in memory whatever becomes a group: it is needed outside, or read by
    /// what is no member of any.
    fn is_stored(&self, slot: Slot) -> bool {
        let reads = |&c: &NodeId| kind(self.graph, self.node(c)).is_none();
        self.kept[slot as usize] || self.consumers[slot as usize].iter().any(reads)
    }

    fn row_origin(&self, n: &GraphNode) -> Option<(Slot, u64)> {
        match (kind(self.graph, n)?, &n.node.op) {
            (Kind::Reduce, Primitive::Reduce(op)) => {
                let axes = op.axes.iter().fold(0u64, |m, &a| m | 1 << a);
                Some((self.input(n, 0), axes))
            }
            (Kind::Reduce, _) => None,
            (Kind::Elementwise | Kind::View, _) => (0..n.inputs.len()).find_map(|i| {
                let input = self.input(n, i);
                let same = same_order(self.shape(input), self.shape(n.first));
                self.rows[self.graph.node_of[input as usize] as usize].filter(|_| same)
            }),
        }
    }

    /// Puts a node into the group of its consumers, or starts a group with it.
    fn place(&mut self, id: NodeId, joins: Joins) {
        let n = self.node(id);
        let Some(kind) = kind(self.graph, n).filter(|_| !self.is_alias(n)) else { return };
        if let Some(group) = self.common_group(n) {
            let rows = kind == Kind::Reduce || self.groups[group].axes != 0;
            let fits = (if rows { joins.rows } else { joins.elements })
                && self.groups[group].members.len() < MAX_MEMBERS
                && !(kind == Kind::View && self.kept[n.first as usize]);
            if fits && self.try_join(id, kind, group) {
                self.groups[group].members.push(id);
                self.group_of[id as usize] = Some(group);
                return;
            }
        }
        if joins.rows && self.join_as_row(id, kind) {
            return;
        }
        if joins.again && kind == Kind::Elementwise && self.is_cheap_again(n) {
            self.again[id as usize] = true;
            return;
        }
        let (space, axes) = match kind {
            Kind::View => return,
            Kind::Elementwise => (n.first, 0),
            Kind::Reduce => match self.rows[id as usize] {
                Some(rows) => rows,
                None => return,
            },
        };
        self.row[id as usize] = kind == Kind::Reduce;
        self.group_of[id as usize] = Some(self.groups.len());
        let reductions = usize::from(kind == Kind::Reduce);
        self.groups.push(Group {
            members: vec![id],
            space,
            axes,
            reductions,
            product: None,
            siblings: false,
        });
    }

    /// True iff computing the node in each group that reads it moves fewer bytes than storing it
    /// once: one instruction on one array, which is there already and no wider, and constants; read
    /// by few members of groups. On a GPU a single reader is reason enough, which broadcasts it, such as a
    /// norm its half weight: storing it is a launch of 2.7 us on an H100.
    fn is_cheap_again(&self, n: &GraphNode) -> bool {
        const MOST_READERS: usize = 4;
        if self.is_near_again(n) {
            return true;
        }
        let cheap = matches!(n.node.op, Primitive::Cast(_) | Primitive::Binary(_));
        let readers = &self.consumers[n.first as usize];
        let fewest = if n.node.stream.device.kind == DeviceKind::Gpu { 1 } else { 2 };
        let some = (fewest..=MOST_READERS).contains(&readers.len());
        if !cheap || self.kept[n.first as usize] || !some {
            return false;
        }
        let groups = readers.iter().all(|&c| {
            self.group_of[c as usize].is_some()
                && self.node(c).node.stream == n.node.stream
                && kind(self.graph, self.node(c)) != Some(Kind::View)
        });
        let mut arrays = 0;
        let there = (0..n.inputs.len()).all(|i| {
            let slot = self.input(n, i);
            let source = self.graph.of(slot);
            if !source.leaf && matches!(source.node.op, Primitive::Scalar(_)) {
                return true;
            }
            arrays += 1;
            source.leaf
                && self.shape(slot) == self.shape(n.first)
                && self.graph.dtype(slot).size() <= self.graph.dtype(n.first).size()
        });
        groups && there && arrays == 1
    }

    /// True iff a node with an origin is read by groups, and by others that they compute again.
    fn is_near_again(&self, n: &GraphNode) -> bool {
        const MOST_READERS: usize = 8;
        let readers = &self.consumers[n.first as usize];
        let near = |&c: &NodeId| {
            (self.group_of[c as usize].is_some() || self.again[c as usize])
                && self.node(c).node.stream == n.node.stream
                && kind(self.graph, self.node(c)) != Some(Kind::View)
        };
        let origin = self.origins[self.graph.node_of[n.first as usize] as usize];
        origin.is_some()
            && !self.kept[n.first as usize]
            && (1..=MOST_READERS).contains(&readers.len())
            && readers.iter().all(near)
            && (readers.len() > 1 || self.again[readers[0] as usize])
    }

    /// Groups over the same space that read an operand in common, and of which neither needs the
    /// other, become one, which reads it once: the mean and the greatest element of rows.
    fn join_siblings(&mut self) {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.retain(|&g| !self.groups[g].members.is_empty() && self.groups[g].product.is_none());
        order.sort_unstable_by_key(|&g| self.groups[g].members.last().copied());
        // The latest group that reads a slot, for each slot.
        let mut readers = FxHashMap::<Slot, usize>::default();
        for g in order {
            let inputs = self.group_inputs(g);
            let sibling = inputs.iter().find_map(|slot| {
                readers.get(slot).copied().filter(|&earlier| self.are_siblings(earlier, g))
            });
            if let Some(earlier) = sibling {
                let members = std::mem::take(&mut self.groups[earlier].members);
                for &m in &members {
                    self.group_of[m as usize] = Some(g);
                }
                let reductions = self.groups[earlier].reductions;
                let group = &mut self.groups[g];
                group.members.extend(members);
                group.members.sort_unstable();
                group.reductions += reductions;
                group.siblings = true;
            }
            for slot in inputs {
                readers.insert(slot, g);
            }
        }
    }

    /// What a group reads of the shape of its space.
    fn group_inputs(&self, group: usize) -> SmallVec<[Slot; 8]> {
        let g = &self.groups[group];
        let mut slots = SmallVec::<[Slot; 8]>::new();
        for &m in &g.members {
            let n = self.node(m);
            for i in 0..n.inputs.len() {
                let slot = self.input(n, i);
                let outside =
                    self.group_of[self.graph.node_of[slot as usize] as usize] != Some(group);
                if outside && self.shape(slot) == self.shape(g.space) && !slots.contains(&slot) {
                    slots.push(slot);
                }
            }
        }
        slots
    }

    /// True iff `earlier` may run where `later` does: nobody reads its results before that.
    fn are_siblings(&self, earlier: usize, later: usize) -> bool {
        let (a, b) = (&self.groups[earlier], &self.groups[later]);
        let (Some(&first), Some(&last)) = (a.members.last(), b.members.last()) else {
            return false;
        };
        earlier != later
            && a.axes == b.axes
            && a.members.len() + b.members.len() <= MAX_MEMBERS
            && self.shape(a.space) == self.shape(b.space)
            && self.node(first).node.stream == self.node(last).node.stream
            && a.members.iter().all(|&m| {
                let slot = self.node(m).first as usize;
                self.consumers[slot]
                    .iter()
                    .all(|&c| self.group_of[c as usize] == Some(earlier) || c > last)
            })
            && self.are_apart(earlier, later)
    }

    /// True iff neither group needs the other, where the order of their members does not tell.
    fn are_apart(&self, a: usize, b: usize) -> bool {
        let leads = |from: usize, to: usize| {
            self.groups[from].members.first().is_some_and(|&m| self.leads_to(m, to))
        };
        !self.any_shared || (!leads(a, b) && !leads(b, a))
    }

    /// Puts a row value that several groups read into one that uses it along its rows.
    fn join_as_row(&mut self, id: NodeId, kind: Kind) -> bool {
        let n = self.node(id);
        let consumers = &self.consumers[n.first as usize];
        if kind == Kind::View || consumers.len() < 2 || self.rows[id as usize].is_none() {
            return false;
        }
        let mut tried = SmallVec::<[usize; 4]>::new();
        for &c in consumers {
            let Some(group) = self.group_of[c as usize].filter(|g| !tried.contains(g)) else {
                continue;
            };
            tried.push(group);
            let g = &self.groups[group];
            let inside = |c: NodeId| self.group_of[c as usize] == Some(group);
            let fits = |&c: &NodeId| {
                let fit = self.fit(id, kind, c, g.space, g.axes);
                !inside(c) || (fit == Some(Fit::Row) && self.node(c).node.stream == n.node.stream)
            };
            // Where nothing is used along the rows, the value is no row of the group.
            let along = consumers.iter().any(|&c| inside(c) && !self.row[c as usize]);
            let apart = |&c: &NodeId| inside(c) || !self.leads_to(c, group);
            if g.members.len() < MAX_MEMBERS
                && (along || g.axes != 0)
                && consumers.iter().all(fits)
                && consumers.iter().all(apart)
            {
                if let (0, Some((_, rows))) = (g.axes, self.rows[id as usize]) {
                    self.groups[group].axes = rows;
                }
                self.row[id as usize] = true;
                self.groups[group].reductions += usize::from(kind == Kind::Reduce);
                self.groups[group].members.push(id);
                self.any_shared = true;
                self.group_of[id as usize] = Some(group);
                return true;
            }
        }
        false
    }

    /// True iff a member of `group` reads what is computed from `from`, each group being one step; also
    /// where that takes long to find out.
    fn leads_to(&self, from: NodeId, group: usize) -> bool {
        const MOST_VISITED: usize = 512;
        let mut seen = FxHashSet::<NodeId>::default();
        let mut stack = vec![from];
        seen.insert(from);
        while let Some(id) = stack.pop() {
            let home = self.group_of[id as usize];
            if home == Some(group) || seen.len() > MOST_VISITED {
                return true;
            }
            let alone = [id];
            let members = home.map_or(&alone[..], |h| &self.groups[h].members);
            for &m in members {
                seen.insert(m);
                let n = self.node(m);
                for slot in n.first..n.first + n.node.outputs.len() as Slot {
                    for &c in &self.consumers[slot as usize] {
                        if seen.insert(c) {
                            stack.push(c);
                        }
                    }
                }
            }
        }
        false
    }

    /// The group that all consumers are in.
    fn common_group(&self, n: &GraphNode) -> Option<usize> {
        let consumers = &self.consumers[n.first as usize];
        let group = self.group_of[*consumers.first()? as usize]?;
        let joined = |&c: &NodeId| {
            self.group_of[c as usize] == Some(group) && self.node(c).node.stream == n.node.stream
        };
        consumers.iter().all(joined).then_some(group)
    }

    /// Checks that the node fits the frames of all its consumers, and adapts the group.
    fn try_join(&mut self, id: NodeId, kind: Kind, group: usize) -> bool {
        let n = self.node(id);
        let (space, axes) = (self.groups[group].space, self.groups[group].axes);
        let mut decision: Option<Fit> = None;
        for &c in &self.consumers[n.first as usize] {
            let Some(fit) = self.fit(id, kind, c, space, axes) else { return false };
            if *decision.get_or_insert(fit) != fit {
                return false;
            }
        }
        match decision {
            None => return false,
            Some(Fit::Full) => self.row[id as usize] = false,
            Some(Fit::Row) => {
                self.row[id as usize] = true;
                if let (0, Some((_, rows))) = (axes, self.rows[id as usize]) {
                    self.groups[group].axes = rows;
                }
            }
            Some(Fit::Below) => {
                let Some((below, rows)) = self.rows[id as usize] else { return false };
                for &m in &self.groups[group].members {
                    self.row[m as usize] = true;
                }
                self.row[id as usize] = true;
                self.groups[group].space = below;
                self.groups[group].axes = rows;
            }
        }
        self.groups[group].reductions += usize::from(kind == Kind::Reduce);
        true
    }

    /// How a node fits the frame of its consumer `c`, if it does.
    fn fit(&self, id: NodeId, kind: Kind, c: NodeId, space: Slot, axes: u64) -> Option<Fit> {
        let (n, consumer) = (self.node(id), self.node(c));
        let (mine, theirs) = (self.shape(n.first), self.shape(consumer.first));
        let space_shape = self.shape(space);
        let reducing = matches!(consumer.node.op, Primitive::Reduce(_));
        if reducing {
            return (kind != Kind::Reduce && mine == space_shape).then_some(Fit::Full);
        }
        let same = same_order(mine, theirs);
        let rows = self.rows[id as usize];
        let rows_fit = rows.is_some_and(|(below, reduced)| {
            self.shape(below) == space_shape && (axes == 0 || axes == reduced)
        });
        if self.row[c as usize] {
            let fits = same && (kind != Kind::Reduce || rows_fit);
            return fits.then_some(Fit::Row);
        }
        let aligned = theirs == space_shape
            && rows.is_some_and(|(_, reduced)| is_row_of(mine, space_shape, reduced));
        match kind {
            Kind::Reduce if rows_fit && aligned => Some(Fit::Row),
            Kind::Reduce => (same && axes == 0).then_some(Fit::Below),
            _ if same => Some(Fit::Full),
            _ => (rows_fit && aligned).then_some(Fit::Row),
        }
    }

    /// A group may have hoped for a reduction that did not join: its row members then become a
    /// group of their own.
    fn evict_rows_without_reduction(&mut self) {
        for g in 0..self.groups.len() {
            if self.groups[g].axes == 0 || self.groups[g].reductions > 0 {
                continue;
            }
            self.groups[g].axes = 0;
            let row = &self.row;
            let (evicted, stay) =
                self.groups[g].members.iter().partition::<Vec<_>, _>(|&&m| row[m as usize]);
            self.groups[g].members = stay;
            // Members were added from consumers to producers, so the first one is the last node.
            let Some(&last) = evicted.first() else { continue };
            for &m in &evicted {
                self.row[m as usize] = false;
                self.group_of[m as usize] = Some(self.groups.len());
            }
            let space = self.node(last).first;
            self.groups.push(Group {
                members: evicted,
                space,
                axes: 0,
                reductions: 0,
                product: None,
                siblings: false,
            });
        }
    }

    /// A view whose input is outside its group is a view step, not a member.
    fn demote_views(&mut self) {
        for id in 0..self.graph.nodes.len() as NodeId {
            let n = self.node(id);
            let Some(group) = self.group_of[id as usize] else { continue };
            if kind(self.graph, n) == Some(Kind::View) {
                let input = self.graph.node_of[self.input(n, 0) as usize];
                let product = self.groups[group].product == Some(input);
                if self.group_of[input as usize] != Some(group) && !product {
                    self.group_of[id as usize] = None;
                    self.groups[group].members.retain(|&m| m != id);
                }
            }
        }
        for group in &mut self.groups {
            group.members.sort_unstable();
        }
    }

    /// A product that is read by one elementwise group only, which stores one result of the
    /// product's shape but for unit axes, takes that group as its epilogue. The product's shape
    /// becomes the group's space.
    fn absorb_products(&mut self) {
        for g in 0..self.groups.len() {
            if self.groups[g].axes != 0 || self.stores(g).len() != 1 {
                continue;
            }
            let space = self.shape(self.groups[g].space);
            let product = self.groups[g].members.iter().rev().find_map(|&m| {
                let n = self.node(m);
                (0..n.inputs.len()).find_map(|i| {
                    let slot = self.input(n, i);
                    let id = self.graph.node_of[slot as usize];
                    let p = self.node(id);
                    let is_product = !p.leaf
                        && matches!(
                            p.node.op,
                            Primitive::Matmul(_) | Primitive::QuantizedMatmul(_)
                        );
                    // Most operands are no products, and some of them have very many consumers.
                    (is_product
                        && p.node.stream == n.node.stream
                        && p.node.outputs[0].dtype.is_floating()
                        && !self.kept[slot as usize]
                        && same_order(self.shape(slot), space)
                        && self.consumers[slot as usize].iter().all(|&c| {
                            self.group_of[c as usize] == Some(g)
                                && same_order(self.shape(self.node(c).first), space)
                        }))
                    .then_some(id)
                })
            });
            self.groups[g].product = product;
            if let Some(product) = product {
                self.groups[g].space = self.node(product).first;
            }
        }
    }
}

/// How a producer fits its consumer's frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Element for element.
    Full,
    /// One element for each row.
    Row,
    /// It reduces rows to the elements of the group, which becomes their tail.
    Below,
}
