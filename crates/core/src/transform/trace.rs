//! The two walks under all transforms: which nodes lie between some arrays and some others, in
//! order, and a recording of them that can be replayed on other arrays.
//!
//! Both are iterative and linear in the number of nodes and edges.

use super::{Trace, Tracing};
use crate::array::{Array, NodeRef, Progress};
use crate::device::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::op::custom::Transform;
use crate::op::{Aval, Avals, Primitive};
use crate::shape::show;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::ops::Range;

/// The nodes that lie on paths from `sources` to some outputs, inputs before users.
pub(crate) struct Dependents {
    pub(crate) nodes: Vec<NodeRef>,
    /// For each visited node whether it depends on a source.
    depends: FxHashMap<usize, bool>,
    sources: FxHashSet<usize>,
}

impl Dependents {
    /// The graph between `sources`, which belong to active traces, and `outputs`, as `transform`
    /// sees it (all of it if `None`).
    pub(crate) fn between(
        sources: &[Array],
        outputs: &[Array],
        transform: Option<Transform>,
    ) -> Dependents {
        let mut graph = Dependents {
            nodes: Vec::new(),
            // Most functions are small, and a table that grows is written several times.
            depends: FxHashMap::with_capacity_and_hasher(28, Default::default()),
            sources: sources.iter().map(Array::id).collect(),
        };
        let mut stack: Vec<(NodeRef, bool)> = Vec::new();
        for output in outputs {
            graph.visit(output, &mut stack);
            while let Some((node, expanded)) = stack.pop() {
                if !expanded {
                    if graph.depends.contains_key(&node.address()) {
                        continue;
                    }
                    graph.depends.insert(node.address(), false);
                    stack.push((node.clone(), true));
                    node.with_inputs(|inputs| {
                        for input in inputs[edges(&node.op, inputs, transform)].iter().rev() {
                            graph.visit(input, &mut stack);
                        }
                    });
                    continue;
                }
                let depends = node.with_inputs(|inputs| {
                    inputs[edges(&node.op, inputs, transform)].iter().any(|x| graph.has(x))
                });
                if depends {
                    graph.depends.insert(node.address(), true);
                    graph.nodes.push(node);
                }
            }
        }
        graph
    }

    /// Schedules the node of `x`, unless it is a source, was seen, or cannot depend on a source: a
    /// node that does belongs to a trace that is still active.
    fn visit(&self, x: &Array, stack: &mut Vec<(NodeRef, bool)>) {
        let traced = x.node.trace.as_ref().is_some_and(|t| t.is_active());
        if traced
            && !self.sources.contains(&x.id())
            && !self.depends.contains_key(&x.node.address())
        {
            stack.push((x.node.clone(), false));
        }
    }

    /// True iff `x` is a source or depends on one.
    pub(crate) fn has(&self, x: &Array) -> bool {
        self.sources.contains(&x.id())
            || self.depends.get(&x.node.address()).copied().unwrap_or(false)
    }

    /// Lets evaluated nodes drop their inputs, after the trace has ended.
    pub(crate) fn release(&self) {
        for node in &self.nodes {
            if node.outputs.iter().all(|o| o.is_ready()) {
                node.detach();
            }
        }
    }
}

/// The inputs through which `transform` goes on: those of a custom function whose transform the
/// user wrote are its primals only.
fn edges(op: &Primitive, inputs: &[Array], transform: Option<Transform>) -> Range<usize> {
    match (op, transform) {
        (Primitive::CustomFunction(op), Some(t)) if op.rules.overrides(t) => {
            op.outputs.min(inputs.len())..inputs.len()
        }
        _ => 0..inputs.len(),
    }
}

/// The outputs of a node.
pub(crate) fn outputs_of(node: &NodeRef) -> SmallVec<[Array; 1]> {
    (0..node.outputs.len() as u32).map(|output| Array { node: node.clone(), output }).collect()
}

/// One op of a recording. Slots are numbered: inputs, captured arrays, then the outputs of the
/// steps in order.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is applied.
    pub op: Primitive,
    /// To which slots.
    pub inputs: SmallVec<[u32; 2]>,
    /// The stream that it was placed on.
    pub stream: Stream,
    /// The first of its output slots.
    pub first: u32,
    /// How many outputs it has.
    pub count: u32,
}

/// A recording of a function of arrays: a list of ops that can be applied to other arrays, and
/// that exporters can read.
#[derive(Clone, Debug)]
pub struct Traced {
    pub(super) inputs: usize,
    pub(super) captured: Vec<Array>,
    pub(super) steps: Vec<Step>,
    pub(super) outputs: Vec<u32>,
    /// Shape and dtype of each slot, as recorded.
    pub(super) avals: Vec<Aval>,
    pub(super) shapeless: bool,
}

/// Records `f` on arrays that have the given shapes and dtypes and no values. With `shapeless` the
/// recording may be applied to arrays of other sizes.
///
/// Arrays that `f` uses without being given them are captured: the recording holds them.
///
/// # Errors
/// Those of `f`; kind `Trace` if `f` evaluates an array that depends on its arguments.
pub fn trace(
    avals: &[Aval],
    shapeless: bool,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<Traced> {
    let tracing = Tracing::begin();
    let _following = super::Following::set(shapeless || super::follows_sizes());
    let inputs: Vec<Array> = avals.iter().map(|a| tracing.placeholder(a.clone())).collect();
    let outputs = f(&inputs)?;
    Ok(Traced::between(&inputs, &outputs, shapeless))
}

/// Slots given to arrays while a recording is made.
#[derive(Default)]
struct Slots {
    of: FxHashMap<usize, u32>,
    /// Keeps captured arrays alive and in order.
    captured: Vec<Array>,
    avals: Vec<Aval>,
}

impl Slots {
    fn add(&mut self, x: &Array) -> u32 {
        let slot = self.avals.len() as u32;
        self.of.insert(x.id(), slot);
        self.avals.push(x.aval());
        slot
    }
}

/// The nodes that make `x` from nothing, inputs first, if it is a constant or a view of one that
/// has not been evaluated. A replay makes them anew, so that the planner can fold them into steps.
fn regenerated(x: &Array) -> Option<Vec<NodeRef>> {
    const LONGEST: usize = 8;
    let mut chain = vec![x.node.clone()];
    while chain.len() <= LONGEST {
        let node = chain.last()?.clone();
        match node.op {
            Primitive::Scalar(_) => {
                chain.reverse();
                return Some(chain);
            }
            Primitive::Broadcast(_) | Primitive::Reshape(_) | Primitive::Cast(_)
                if matches!(node.outputs[0].progress(), Progress::Lazy) =>
            {
                chain.push(node.inputs().first()?.node.clone());
            }
            _ => return None,
        }
    }
    None
}

impl Traced {
    /// The recording of what lies between `inputs`, which belong to active traces, and `outputs`.
    pub(crate) fn between(inputs: &[Array], outputs: &[Array], shapeless: bool) -> Traced {
        let graph = Dependents::between(inputs, outputs, None);
        let mut slots = Slots::default();
        for x in inputs {
            slots.add(x);
        }
        // Inputs of the graph's nodes that the graph does not make are constants or captured.
        let mut constants: Vec<NodeRef> = Vec::new();
        let mut known: FxHashSet<usize> = FxHashSet::default();
        let mut outside = |x: &Array, slots: &mut Slots| {
            if graph.has(x) || known.contains(&x.id()) {
                return;
            }
            match regenerated(x) {
                Some(chain) => {
                    for node in chain {
                        if known.insert(node.address()) {
                            constants.push(node);
                        }
                    }
                }
                None => {
                    known.insert(x.id());
                    slots.add(x);
                    slots.captured.push(x.clone());
                }
            }
        };
        for node in &graph.nodes {
            node.with_inputs(|list| list.iter().for_each(|x| outside(x, &mut slots)));
        }
        outputs.iter().for_each(|x| outside(x, &mut slots));
        let mut steps = Vec::with_capacity(constants.len() + graph.nodes.len());
        for node in constants.iter().chain(&graph.nodes) {
            let inputs = node.inputs().iter().map(|x| slots.of[&x.id()]).collect();
            let first = slots.avals.len() as u32;
            for x in outputs_of(node) {
                slots.add(&x);
            }
            let count = node.outputs.len() as u32;
            steps.push(Step { op: node.op.clone(), inputs, stream: node.stream, first, count });
        }
        Traced {
            inputs: inputs.len(),
            steps,
            outputs: outputs.iter().map(|x| slots.of[&x.id()]).collect(),
            captured: slots.captured,
            avals: slots.avals,
            shapeless,
        }
    }

    /// Shapes and dtypes of the inputs, as recorded.
    pub fn inputs(&self) -> &[Aval] {
        &self.avals[..self.inputs]
    }

    /// Arrays that the function used without being given them.
    pub fn captured(&self) -> &[Array] {
        &self.captured
    }

    /// The ops in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// True iff the recording may be applied to arrays of other sizes.
    pub fn is_shapeless(&self) -> bool {
        self.shapeless
    }

    /// The slots of the outputs.
    pub fn outputs(&self) -> &[u32] {
        &self.outputs
    }

    /// Shape and dtype of a slot, as recorded.
    pub fn aval(&self, slot: u32) -> &Aval {
        &self.avals[slot as usize]
    }

    /// The function's outputs for other inputs.
    ///
    /// # Errors
    /// Kind `Argument` if there are not as many inputs, `Dtype` or `Shape` if one has another dtype
    /// or shape than recorded (another rank, if shapeless); of a shapeless recording also those of
    /// its ops.
    pub fn call(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        self.call_with(inputs, &self.captured)
    }

    /// As [`Traced::call`], with other arrays in place of the captured ones.
    pub(crate) fn call_with(&self, inputs: &[Array], captured: &[Array]) -> Result<Vec<Array>> {
        let exact = self.check(inputs)?;
        let mut slots: Vec<Array> = Vec::with_capacity(self.avals.len());
        slots.extend_from_slice(inputs);
        slots.extend_from_slice(captured);
        for step in &self.steps {
            let mut args: SmallVec<[Array; 2]> =
                step.inputs.iter().map(|&s| slots[s as usize].clone()).collect();
            let range = step.first as usize..(step.first + step.count) as usize;
            let (op, avals) = if exact {
                (step.op.clone(), Avals::from(&self.avals[range]))
            } else {
                let old: SmallVec<[Aval; 2]> =
                    step.inputs.iter().map(|&s| self.avals[s as usize].clone()).collect();
                let op = step.op.rebind(&args, &old)?;
                let avals = op.infer(&args)?;
                (op, avals)
            };
            let trace = Trace::outermost(args.iter().filter_map(|x| x.node.trace.as_ref()));
            if !super::follows_sizes() {
                args.truncate(op.operands());
            }
            slots.extend(Array::node(op, args, avals, step.stream, trace));
        }
        Ok(self.outputs.iter().map(|&s| slots[s as usize].clone()).collect())
    }

    /// True iff the inputs have the recorded shapes.
    fn check(&self, inputs: &[Array]) -> Result<bool> {
        if inputs.len() != self.inputs {
            let message = format!("got {} arrays, expected {}", inputs.len(), self.inputs);
            return Err(Error::argument("traced", message));
        }
        let mut exact = true;
        for (i, (x, aval)) in inputs.iter().zip(&self.avals).enumerate() {
            let same = x.shape() == aval.shape.as_slice();
            exact &= same;
            if x.dtype() != aval.dtype {
                return Err(
                    Error::dtype("traced", &[x.dtype()], aval.dtype).context(format!("input {i}"))
                );
            }
            let fits = same || (self.shapeless && x.ndim() == aval.shape.len());
            if !fits {
                let message = format!(
                    "input {i} has shape {}, recorded was {}",
                    show(x.shape()),
                    show(&aval.shape)
                );
                return Err(Error::new(ErrorKind::Shape, "traced", message));
            }
        }
        Ok(exact)
    }
}
