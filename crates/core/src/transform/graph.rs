//! A recording as data: what can be written to a file and become a recording again.

use super::Tracing;
use super::trace::{Step, Traced};
use crate::array::Array;
use crate::backend;
use crate::device::{Device, DeviceKind, Stream, current_stream};
use crate::error::{Error, ErrorKind, Result};
use crate::op::stored::check_aval;
use crate::op::{Aval, Primitive};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// The ops of a [`Traced`] without its captured arrays.
///
/// Slots are numbered: inputs, captured arrays, then the outputs of the nodes in order. Shapes and
/// dtypes are those of the inputs and captured arrays; the others follow from the ops.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Graph {
    /// Shape and dtype of each input.
    pub inputs: Vec<Aval>,
    /// Shape and dtype of each captured array.
    pub captured: Vec<Aval>,
    /// The ops, inputs before users.
    pub nodes: Vec<Node>,
    /// The slots of the outputs.
    pub outputs: Vec<u32>,
    /// True iff it may be applied to inputs of other sizes.
    pub shapeless: bool,
}

/// One op of a [`Graph`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Node {
    /// What is applied.
    pub op: Primitive,
    /// To which slots.
    pub inputs: SmallVec<[u32; 2]>,
    /// The family of devices that the function named itself, if it is not the one on which the
    /// function was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Place>,
}

/// A family of devices in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The processor.
    Cpu,
    /// An accelerator.
    Gpu,
}

impl Place {
    /// The default stream of the place where it is there, else `current`.
    fn stream(self, current: Stream) -> Stream {
        let device = match self {
            Place::Cpu => Device::CPU,
            Place::Gpu => Device::GPU,
        };
        if backend::is_available(device) { Stream::default_of(device) } else { current }
    }
}

fn damaged(message: String) -> Error {
    Error::new(ErrorKind::Io, "import", message)
}

impl Traced {
    /// The recording as data. A function with transforms of the user's is what it computes, and
    /// its transforms are those of that.
    ///
    /// # Errors
    /// Kind `Unsupported` if an op is a part of the program that cannot be stored.
    pub fn graph(&self) -> Result<Graph> {
        let here = current_stream();
        let given = self.inputs().len() + self.captured().len();
        // Slots here by slots there.
        let mut slots: Vec<u32> = (0..given as u32).collect();
        let mut next = given as u32;
        let mut nodes = Vec::with_capacity(self.steps().len());
        for step in self.steps() {
            let inputs: SmallVec<[u32; 2]> =
                step.inputs.iter().map(|&s| slots[s as usize]).collect();
            if let Primitive::CustomFunction(_) = step.op {
                slots.extend_from_slice(&inputs[..step.count as usize]);
                continue;
            }
            if let Some(why) = step.op.unstorable() {
                return Err(Error::unsupported("export", format!("{}: {why}", step.op.name())));
            }
            let device = (step.stream.device != here.device).then_some({
                match step.stream.device.kind {
                    DeviceKind::Cpu => Place::Cpu,
                    DeviceKind::Gpu => Place::Gpu,
                }
            });
            nodes.push(Node { op: step.op.clone(), inputs, device });
            slots.extend(next..next + step.count);
            next += step.count;
        }
        Ok(Graph {
            inputs: self.inputs().to_vec(),
            captured: self.captured().iter().map(Array::aval).collect(),
            nodes,
            outputs: self.outputs().iter().map(|&s| slots[s as usize]).collect(),
            shapeless: self.is_shapeless(),
        })
    }

    /// The recording with what is on stream `from` on `to`.
    #[must_use]
    pub fn moved(&self, from: Stream, to: Stream) -> Traced {
        let mut traced = self.clone();
        for step in traced.steps.iter_mut().filter(|step| step.stream == from) {
            step.stream = to;
        }
        traced
    }
}

impl Graph {
    /// The recording, on the current stream, with `captured` for the captured arrays. Everything
    /// that ops take for granted is checked.
    ///
    /// # Errors
    /// Kind `Io` if the graph is not one that a recording gives: a slot before it is made, an op
    /// that does not take its inputs, an array of another shape.
    pub fn traced(self, captured: Vec<Array>) -> Result<Traced> {
        let wrong = |aval: &Aval| check_aval(aval).map_err(damaged);
        self.inputs.iter().chain(&self.captured).try_for_each(wrong)?;
        if captured.len() != self.captured.len()
            || captured.iter().zip(&self.captured).any(|(x, aval)| x.aval() != *aval)
        {
            return Err(damaged("constants have other shapes or types than the graph".into()));
        }
        let here = current_stream();
        let tracing = Tracing::begin();
        let mut slots: Vec<Array> = (self.inputs.iter().chain(&self.captured))
            .map(|a| tracing.placeholder(a.clone()))
            .collect();
        let mut steps = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.into_iter().enumerate() {
            let fault = |why: String| damaged(format!("node {i}, {}: {why}", node.op.name()));
            let inputs: Option<Vec<Array>> =
                node.inputs.iter().map(|&s| slots.get(s as usize).cloned()).collect();
            let inputs = inputs.ok_or_else(|| fault("an input that is not made before".into()))?;
            let avals = node.op.infer_stored(&inputs).map_err(fault)?;
            let (first, count) = (slots.len() as u32, avals.len() as u32);
            slots.extend(avals.into_iter().map(|aval| tracing.placeholder(aval)));
            let stream = node.device.map_or(here, |place| place.stream(here));
            steps.push(Step { op: node.op, inputs: node.inputs, stream, first, count });
        }
        if let Some(slot) = self.outputs.iter().find(|&&s| s as usize >= slots.len()) {
            return Err(damaged(format!("output {slot} of {} slots", slots.len())));
        }
        Ok(Traced {
            inputs: self.inputs.len(),
            captured,
            steps,
            outputs: self.outputs,
            avals: slots.iter().map(Array::aval).collect(),
            shapeless: self.shapeless,
        })
    }
}
