//! Plans for people and programs: a [`Report`] as text, as JSON and as a page.

use super::collect::{Graph, Slot, collect};
use super::cost::{self, Estimate, StepCost};
use super::{Plan, TapeWork, Work};
use crate::array::Array;
use crate::error::Result;
use crate::observe::{self, What};
use crate::shape::show;
use crate::text::quote;
use std::fmt::Write;

/// The plan by which [`crate::eval::eval`] would compute `outputs`, as text: a line for each step,
/// with the rule that made it, and fused programs in full.
///
/// # Errors
/// Kind `Trace` inside a function transform.
pub fn explain(outputs: &[Array]) -> Result<String> {
    Ok(report(outputs)?.text())
}

/// The plan by which [`crate::eval::eval`] would compute `outputs`.
///
/// # Errors
/// Kind `Trace` inside a function transform.
pub fn report(outputs: &[Array]) -> Result<Report> {
    let (graph, plan, _) = super::cache::plan(collect(outputs)?);
    Ok(Report::new(&graph, &plan))
}

/// Evaluates `outputs` and returns the plan with the time of each step. On devices with queues
/// that is the time to queue it.
///
/// # Errors
/// Those of evaluation.
pub fn profile(outputs: &[Array]) -> Result<Report> {
    let mut report = report(outputs)?;
    let observation = observe::observe();
    let result = crate::eval::eval(outputs);
    let records = observation.finish();
    result?;
    // Other threads may evaluate meanwhile; this evaluation has this thread's last record.
    let own = records.iter().rev().find_map(|r| match r.what {
        What::Evaluation { id, steps, .. } if steps == report.estimate.steps => Some(id),
        _ => None,
    });
    for r in &records {
        if let What::Step { evaluation, index, .. } = r.what
            && Some(evaluation) == own
            && let Some(step) = report.steps.get_mut(index)
        {
            step.seconds = Some(r.seconds);
        }
    }
    Ok(report)
}

/// A plan with what its steps take.
#[derive(Clone, Debug)]
pub struct Report {
    /// The steps in order.
    pub steps: Vec<StepReport>,
    /// What the whole takes.
    pub estimate: Estimate,
}

/// One step of a [`Report`].
#[derive(Clone, Debug)]
pub struct StepReport {
    /// `view`, `forward`, `op`, `tape` or `product`.
    pub kind: &'static str,
    /// What it computes, on one line.
    pub what: String,
    /// The fused program, a line for each instruction; empty if there is none.
    pub program: String,
    /// The rules and passes that made the step something else than one op.
    pub rules: Vec<&'static str>,
    /// The steps whose results it reads.
    pub after: Vec<usize>,
    /// What it takes.
    pub cost: StepCost,
    /// How long it took, if it ran.
    pub seconds: Option<f64>,
}

impl Report {
    fn new(graph: &Graph, plan: &Plan) -> Report {
        let (costs, estimate) = cost::walk(graph, plan);
        let mut made_by = vec![None; graph.slots()];
        let mut steps = Vec::with_capacity(plan.steps.len());
        for (i, (step, cost)) in plan.steps.iter().zip(costs).enumerate() {
            let mut after: Vec<usize> =
                step.work.reads(graph).iter().filter_map(|&s| made_by[s as usize]).collect();
            after.sort_unstable();
            after.dedup();
            for slot in step.work.writes(graph) {
                made_by[slot as usize] = Some(i);
            }
            let made = graph.nodes[step.work.node(graph) as usize].rule;
            let (kind, what, program) = describe(graph, &step.work);
            let rules = made.into_iter().chain(step.rule).collect();
            steps.push(StepReport { kind, what, program, rules, after, cost, seconds: None });
        }
        Report { steps, estimate }
    }

    /// A line for each step, with its time and share of the whole if the plan ran, and fused
    /// programs in full.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let ran = self.steps.iter().any(|s| s.seconds.is_some());
        let total: f64 = self.steps.iter().filter_map(|s| s.seconds).sum();
        for (i, step) in self.steps.iter().enumerate() {
            let rules: String = step.rules.iter().map(|r| format!("  [{r}]")).collect();
            let taken = match step.seconds {
                Some(t) => {
                    let share = 100.0 * t / total.max(f64::MIN_POSITIVE);
                    format!("{:9.1} us {share:5.1} % ", t * 1e6)
                }
                None => " ".repeat(if ran { 21 } else { 0 }),
            };
            let _ = writeln!(text, "{i:3} {:8} {taken}{}{rules}", step.kind, step.what);
            text.push_str(&step.program);
        }
        text
    }

    /// Everything as JSON.
    pub fn json(&self) -> String {
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|s| {
                let list = |all: Vec<String>| all.join(", ");
                format!(
                    "{{\"kind\": {}, \"what\": {}, \"program\": {}, \"rules\": [{}], \"after\": [{}], \
                     \"read\": {}, \"written\": {}, \"flops\": {}, \"live\": {}, \"seconds\": {}}}",
                    quote(s.kind),
                    quote(&s.what),
                    quote(&s.program),
                    list(s.rules.iter().map(|r| quote(r)).collect()),
                    list(s.after.iter().map(usize::to_string).collect()),
                    s.cost.read,
                    s.cost.written,
                    s.cost.flops,
                    s.cost.live,
                    s.seconds.map_or_else(|| "null".to_string(), |t| format!("{t:e}"))
                )
            })
            .collect();
        let e = &self.estimate;
        format!(
            "{{\"peak\": {}, \"kept\": {}, \"moved\": {}, \"flops\": {}, \"steps\": [\n{}\n]}}\n",
            e.peak,
            e.kept,
            e.moved,
            e.flops,
            steps.join(",\n")
        )
    }

    /// A page that needs nothing but itself: the graph, and what each step takes.
    pub fn html(&self, title: &str) -> String {
        super::page::page(self, title)
    }
}

/// The kind of a step, what it computes, and its program.
fn describe(graph: &Graph, work: &Work) -> (&'static str, String, String) {
    let name = |slot: Slot| {
        let n = graph.of(slot);
        match n.node.op {
            crate::op::Primitive::Scalar(value) if !n.leaf => format!("{value:?}"),
            _ => format!("%{slot}"),
        }
    };
    let names = |slots: &[Slot]| slots.iter().map(|&s| name(s)).collect::<Vec<_>>().join(", ");
    let typed = |slot: Slot| format!("%{slot}: {} {}", graph.dtype(slot), show(graph.shape(slot)));
    let stored = |work: &TapeWork| {
        let outs: Vec<_> = work.stores.iter().map(|&s| typed(s)).collect();
        outs.join(", ")
    };
    let program =
        |work: &TapeWork| format!("    space {}\n{}", show(graph.shape(work.space)), work.tape);
    match work {
        Work::View { node, input } => {
            let n = &graph.nodes[*node as usize];
            let what = format!("{} = {}({})", typed(n.first), n.node.op.name(), name(*input));
            ("view", what, String::new())
        }
        Work::Forward { node } => {
            ("forward", typed(graph.nodes[*node as usize].first), String::new())
        }
        Work::Op { node, inputs, reuse } => {
            let n = &graph.nodes[*node as usize];
            let (op, place) = (n.node.op.name(), if *reuse { " in place" } else { "" });
            ("op", format!("{} = {op}({}){place}", typed(n.first), names(inputs)), String::new())
        }
        Work::Tape(work) => {
            let loads: Vec<Slot> = work.loads.iter().map(|l| l.slot).collect();
            ("tape", format!("{} = tape({})", stored(work), names(&loads)), program(work))
        }
        Work::Product { node, inputs, epilogue } => {
            let op = graph.nodes[*node as usize].node.op.name();
            let what = format!("{} = {op}({})", stored(epilogue), names(inputs));
            ("product", what, program(epilogue))
        }
    }
}
