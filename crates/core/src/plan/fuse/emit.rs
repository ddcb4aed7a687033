//! Groups as steps: each becomes a tape, alone or as the epilogue of its product.

use super::{Fuser, is_constant_along};
use crate::dtype::Dtype;
use crate::op::{BinaryOp, Primitive, ReduceOp, UnaryOp};
use crate::plan::collect::{GraphNode, NodeId, Slot};
use crate::plan::tape::{Extent, Instr, Tape, TapeValue, ValueId};
use crate::plan::{LoadFrom, Step, TapeWork, Work};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

impl Fuser<'_> {
    /// The members whose values are needed outside the group.
    pub(super) fn stores(&self, group: usize) -> Vec<NodeId> {
        let outside = |&&m: &&NodeId| {
            let slot = self.node(m).first as usize;
            self.kept[slot]
                || self.consumers[slot].iter().any(|&c| self.group_of[c as usize] != Some(group))
        };
        self.groups[group].members.iter().filter(outside).copied().collect()
    }

    pub(super) fn emit(&self) -> Vec<Step> {
        let mut absorbed = vec![false; self.graph.nodes.len()];
        for product in self.groups.iter().filter_map(|g| g.product) {
            absorbed[product as usize] = true;
        }
        let mut steps = Vec::new();
        for (id, n) in self.graph.nodes.iter().enumerate() {
            let id = id as NodeId;
            if n.leaf || self.is_alias(n) || absorbed[id as usize] || self.again[id as usize] {
                continue;
            }
            let mut rule = None;
            let work = if let Some(group) = self.group_of[id as usize] {
                if self.groups[group].members.last() != Some(&id) {
                    continue;
                }
                let tape = self.tape(group);
                if self.groups[group].siblings {
                    rule = Some("fuse_siblings");
                } else if self.groups[group].members.len() > 1 {
                    rule = Some(if tape.tape.reduces() { "fuse_rows" } else { "fuse" });
                }
                match self.groups[group].product {
                    None => Work::Tape(tape),
                    Some(product) => {
                        rule = Some("epilogue");
                        let inputs = self.inputs(self.node(product));
                        Work::Product { node: product, inputs, epilogue: tape }
                    }
                }
            } else if let Primitive::Scalar(_) = n.node.op {
                continue;
            } else if let Primitive::CustomFunction(_) = n.node.op {
                Work::Forward { node: id }
            } else if n.node.op.is_view() {
                Work::View { node: id, input: self.input(n, 0) }
            } else {
                Work::Op { node: id, inputs: self.inputs(n), reuse: false }
            };
            steps.push(Step { work, frees: SmallVec::new(), rule });
        }
        steps
    }

    fn inputs(&self, n: &GraphNode) -> SmallVec<[Slot; 3]> {
        (0..n.inputs.len()).map(|i| self.input(n, i)).collect()
    }

    /// The program of a group. With a product, load 0 is the product and has no `LoadFrom`.
    fn tape(&self, group: usize) -> TapeWork {
        let g = &self.groups[group];
        let mut builder = TapeBuilder {
            fuser: self,
            group,
            tape: Tape { axes: g.axes, ..Tape::default() },
            loads: Vec::new(),
            load_values: Vec::new(),
            values: FxHashMap::default(),
        };
        if let Some(product) = g.product {
            let slot = self.node(product).first;
            let value =
                builder.push(Instr::Load { operand: 0 }, self.graph.dtype(slot), Extent::Full);
            builder.values.insert(slot, value);
            builder.tape.inputs = 1;
        }
        for &m in &g.members {
            builder.member(m);
        }
        let stores = self.stores(group);
        for &m in &stores {
            let value = builder.values[&self.node(m).first];
            builder.tape.stores.push(value);
        }
        TapeWork {
            tape: builder.tape,
            loads: builder.loads,
            reuse: vec![None; stores.len()],
            stores: stores.iter().map(|&m| self.node(m).first).collect(),
            space: g.space,
        }
    }
}

struct TapeBuilder<'a> {
    fuser: &'a Fuser<'a>,
    group: usize,
    tape: Tape,
    loads: Vec<LoadFrom>,
    load_values: Vec<ValueId>,
    values: FxHashMap<Slot, ValueId>,
}

impl TapeBuilder<'_> {
    fn push(&mut self, instr: Instr, dtype: Dtype, extent: Extent) -> ValueId {
        self.tape.values.push(TapeValue { instr, dtype, extent });
        (self.tape.values.len() - 1) as ValueId
    }

    /// The value of `slot` for a member whose frame is the shape of `frame`.
    fn operand(&mut self, slot: Slot, frame: Slot, row: bool) -> ValueId {
        let fuser = self.fuser;
        let producer = fuser.graph.node_of[slot as usize] as usize;
        let product = fuser.groups[self.group].product;
        if fuser.group_of[producer] == Some(self.group) || product == Some(producer as NodeId) {
            return self.values[&slot];
        }
        if fuser.again[producer] {
            return self.instruction(producer as NodeId, frame, row);
        }
        let known = self.loads.iter().position(|l| {
            l.slot == slot && l.row == row && fuser.shape(l.frame) == fuser.shape(frame)
        });
        if let Some(i) = known {
            return self.load_values[i];
        }
        let space = fuser.shape(fuser.groups[self.group].space);
        let constant = fuser.shape(frame) == space
            && is_constant_along(fuser.shape(slot), space.len(), self.tape.axes);
        let extent =
            if self.tape.reduces() && (row || constant) { Extent::Row } else { Extent::Full };
        let operand = self.tape.inputs;
        self.tape.inputs += 1;
        self.loads.push(LoadFrom { slot, frame, row });
        let value = self.push(Instr::Load { operand }, fuser.graph.dtype(slot), extent);
        self.load_values.push(value);
        value
    }

    fn member(&mut self, id: NodeId) {
        let fuser = self.fuser;
        let (n, row) = (fuser.node(id), fuser.row[id as usize]);
        let slot = n.first;
        let mut operands = SmallVec::<[ValueId; 3]>::new();
        for i in 0..n.inputs.len() {
            let input = fuser.input(n, i);
            let reduce = matches!(n.node.op, Primitive::Reduce(_));
            let (frame, row) = if reduce { (input, false) } else { (slot, row) };
            operands.push(self.operand(input, frame, row));
        }
        let value = match instr(&n.node.op, &operands) {
            Some(Instr::Binary(BinaryOp::Divide, e, sum)) if self.is_softmax(e, sum) => {
                let dtype = self.tape.values[sum as usize].dtype;
                let inverse = Instr::Unary(UnaryOp::Reciprocal, sum);
                let inverse = self.push(inverse, dtype, Extent::Row);
                let product = Instr::Binary(BinaryOp::Multiply, e, inverse);
                self.push(product, fuser.graph.dtype(slot), Extent::Full)
            }
            Some(instr) => {
                let extent = if row { Extent::Row } else { Extent::Full };
                self.push(instr, fuser.graph.dtype(slot), extent)
            }
            None => operands[0],
        };
        self.values.insert(slot, value);
    }

    /// True iff `e / sum` is a softmax: `sum` is at least 1 then, and has a reciprocal, with which a
    /// row is multiplied in less time than it is divided.
    fn is_softmax(&self, e: ValueId, sum: ValueId) -> bool {
        let instr = |v: ValueId| self.tape.values[v as usize].instr;
        if instr(sum) != Instr::Reduce(ReduceOp::Sum, e) {
            return false;
        }
        let Instr::Unary(UnaryOp::Exp, exponent) = instr(e) else { return false };
        let Instr::Binary(BinaryOp::Subtract, x, top) = instr(exponent) else { return false };
        instr(top) == Instr::Reduce(ReduceOp::Max, x)
    }

    /// The value of a node that is computed again here, for a reader whose frame is the shape of
    /// `frame`.
    fn instruction(&mut self, id: NodeId, frame: Slot, row: bool) -> ValueId {
        let fuser = self.fuser;
        let n = fuser.node(id);
        let operands: SmallVec<[ValueId; 3]> =
            (0..n.inputs.len()).map(|i| self.operand(fuser.input(n, i), frame, row)).collect();
        let full = operands.iter().any(|&v| self.tape.values[v as usize].extent == Extent::Full);
        let extent = if full { Extent::Full } else { Extent::Row };
        let (dtype, instr) = (fuser.graph.dtype(n.first), instr(&n.node.op, &operands));
        let known = self
            .tape
            .values
            .iter()
            .position(|v| Some(v.instr) == instr && v.dtype == dtype && v.extent == extent);
        match (known, instr) {
            (Some(value), _) => value as ValueId,
            (None, Some(instr)) => self.push(instr, dtype, extent),
            (None, None) => operands[0],
        }
    }
}

/// The instruction of a member; none for views.
fn instr(op: &Primitive, operands: &[ValueId]) -> Option<Instr> {
    Some(match op {
        Primitive::Unary(op) => Instr::Unary(*op, operands[0]),
        Primitive::Binary(op) => Instr::Binary(*op, operands[0], operands[1]),
        Primitive::Select(_) => Instr::Select(operands[0], operands[1], operands[2]),
        Primitive::Cast(_) => Instr::Cast(operands[0]),
        Primitive::Reduce(op) => Instr::Reduce(op.op, operands[0]),
        _ => return None,
    })
}
