//! Plans as text.

use super::collect::{Graph, Slot, collect};
use super::{Plan, TapeWork, Work};
use crate::array::Array;
use crate::error::Result;
use crate::shape::show;
use std::fmt::Write;

/// The plan by which [`crate::eval::eval`] would compute `outputs`, as text: a line for each step,
/// with the rule that made it, and fused programs in full.
///
/// # Errors
/// Kind `Trace` inside a function transform.
pub fn explain(outputs: &[Array]) -> Result<String> {
    let graph = collect(outputs)?;
    let plan = super::cache::plan(&graph);
    Ok(print(&graph, &plan))
}

fn print(graph: &Graph, plan: &Plan) -> String {
    let mut text = String::new();
    let name = |slot: Slot| {
        let n = graph.of(slot);
        match n.node.op {
            crate::op::Primitive::Scalar(value) if !n.leaf => format!("{value:?}"),
            _ => format!("%{slot}"),
        }
    };
    let names = |slots: &[Slot]| slots.iter().map(|&s| name(s)).collect::<Vec<_>>().join(", ");
    let typed = |slot: Slot| format!("%{slot}: {} {}", graph.dtype(slot), show(graph.shape(slot)));
    let program = |work: &TapeWork, text: &mut String| {
        let _ = writeln!(text, "    space {}", show(graph.shape(work.space)));
        let _ = write!(text, "{}", work.tape);
    };
    for (i, step) in plan.steps.iter().enumerate() {
        let rule = step.rule.map_or_else(String::new, |r| format!("  [{r}]"));
        let _ = match &step.work {
            Work::View { node, input } => {
                let n = &graph.nodes[*node as usize];
                let op = n.node.op.name();
                writeln!(text, "{i:3} view     {} = {op}({}){rule}", typed(n.first), name(*input))
            }
            Work::Forward { node } => {
                let n = &graph.nodes[*node as usize];
                writeln!(text, "{i:3} forward  {}{rule}", typed(n.first))
            }
            Work::Op { node, inputs, reuse } => {
                let n = &graph.nodes[*node as usize];
                let (op, place) = (n.node.op.name(), if *reuse { " in place" } else { "" });
                let args = names(inputs);
                writeln!(text, "{i:3} op       {} = {op}({args}){place}{rule}", typed(n.first))
            }
            Work::Tape(work) => {
                let outs: Vec<_> = work.stores.iter().map(|&s| typed(s)).collect();
                let ins: Vec<_> = work.loads.iter().map(|l| name(l.slot)).collect();
                let line = writeln!(
                    text,
                    "{i:3} tape     {} = tape({}){rule}",
                    outs.join(", "),
                    ins.join(", ")
                );
                program(work, &mut text);
                line
            }
            Work::Product { node, inputs, epilogue } => {
                let n = &graph.nodes[*node as usize];
                let outs: Vec<_> = epilogue.stores.iter().map(|&s| typed(s)).collect();
                let op = n.node.op.name();
                let args = names(inputs);
                let line =
                    writeln!(text, "{i:3} product  {} = {op}({args}){rule}", outs.join(", "));
                program(epilogue, &mut text);
                line
            }
        };
    }
    text
}
