//! A plan as one HTML page: no scripts, no styles, fonts or pictures from elsewhere.
//!
//! Steps stand below each other in the order in which they run; arcs on the left lead from a step
//! to those that read its results; bars show the share of time (of bytes moved, if it did not run).

use super::cost::bytes;
use super::explain::{Report, StepReport};
use crate::text::escape;
use std::fmt::Write;

/// The height of a step's row, and the width of the arcs' column, in pixels.
const ROW: usize = 34;
const ARCS: usize = 150;
/// Steps beyond this many are left out of the drawing, which a browser could not lay out.
const DRAWN: usize = 2000;

const STYLE: &str = "\
body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#1b1f24;background:#fff}\
h1{font-size:1.3rem;margin:0 0 .3rem}p{margin:.2rem 0 1rem;color:#57606a}\
svg text{font:12px ui-monospace,monospace;fill:#1b1f24}\
.faint{fill:#57606a}.arc{fill:none;stroke:#8c959f;stroke-width:1.2}\
.bar{fill:#54aeff}.track{fill:#eaeef2}\
.view,.forward{fill:#afb8c1}.op{fill:#d4a72c}.tape{fill:#4ac26b}.product{fill:#a475f9}\
details{margin:.3rem 0}summary{cursor:pointer;font-family:ui-monospace,monospace}\
pre{background:#f6f8fa;padding:.7rem;overflow-x:auto;font-size:12px}\
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em;border-radius:2px}\
.key span:first-child{margin-left:0}";

pub(super) fn page(report: &Report, title: &str) -> String {
    let e = &report.estimate;
    let time: f64 = report.steps.iter().filter_map(|s| s.seconds).sum();
    let ran = report.steps.iter().any(|s| s.seconds.is_some());
    let took = if ran { format!(", {:.3} ms in steps", time * 1e3) } else { String::new() };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n<p>{1}{took}</p>\n",
        escape(title),
        escape(&e.to_string())
    );
    out.push_str("<p class=\"key\">");
    for (kind, colour) in
        [("view", "#afb8c1"), ("op", "#d4a72c"), ("tape", "#4ac26b"), ("product", "#a475f9")]
    {
        let _ = write!(out, "<span style=\"background:{colour}\"></span>{kind}");
    }
    let measure = if ran { "time" } else { "bytes moved" };
    let _ = writeln!(out, "; bars: share of {measure}</p>");
    drawing(report, ran, &mut out);
    for (i, step) in report.steps.iter().enumerate().filter(|(_, s)| !s.program.is_empty()) {
        let _ = writeln!(
            out,
            "<details><summary>{i}: {}</summary><pre>{}</pre></details>",
            escape(&step.what),
            escape(&step.program)
        );
    }
    out.push_str("</body></html>\n");
    out
}

fn weight(step: &StepReport, ran: bool) -> f64 {
    if ran { step.seconds.unwrap_or(0.0) } else { (step.cost.read + step.cost.written) as f64 }
}

fn drawing(report: &Report, ran: bool, out: &mut String) {
    let drawn = &report.steps[..report.steps.len().min(DRAWN)];
    let total: f64 =
        report.steps.iter().map(|s| weight(s, ran)).sum::<f64>().max(f64::MIN_POSITIVE);
    // The step's number, what it does, and its rules.
    let letters = |s: &StepReport| {
        s.what.chars().count() + s.rules.iter().map(|r| r.len() + 2).sum::<usize>()
    };
    let longest = drawn.iter().map(letters).max().unwrap_or(0) + 8;
    let width = ARCS + 410 + longest * 8;
    let height = drawn.len() * ROW + 10;
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"the plan's steps\">"
    );
    let middle = |i: usize| i * ROW + ROW / 2;
    for (i, step) in drawn.iter().enumerate() {
        for &from in &step.after {
            let (top, bottom) = (middle(from), middle(i));
            let reach = (12 + (bottom - top) / 3).min(ARCS - 20);
            let _ = writeln!(
                out,
                "<path class=\"arc\" d=\"M{ARCS} {top} C{x} {top} {x} {bottom} {ARCS} {bottom}\"/>",
                x = ARCS - reach
            );
        }
    }
    for (i, step) in drawn.iter().enumerate() {
        let (y, share) = (i * ROW, weight(step, ran) / total);
        let taken = step.seconds.map_or_else(String::new, |s| format!("{:.1} us", s * 1e6));
        let rules = step.rules.join(", ");
        let cost = format!(
            "{} / {:.3} MFLOP",
            bytes(step.cost.read + step.cost.written),
            step.cost.flops as f64 / 1e6
        );
        let _ = writeln!(
            out,
            "<g class=\"step\"><title>{title}</title><rect class=\"{kind}\" x=\"{ARCS}\" y=\"{box_y}\" \
             width=\"12\" height=\"20\" rx=\"3\"/>\
             <rect class=\"track\" x=\"{bar_x}\" y=\"{bar_y}\" width=\"100\" height=\"10\"/>\
             <rect class=\"bar\" x=\"{bar_x}\" y=\"{bar_y}\" width=\"{bar:.1}\" height=\"10\"/>\
             <text x=\"{cost_x}\" y=\"{text_y}\" class=\"faint\">{cost} {taken}</text>\
             <text x=\"{what_x}\" y=\"{text_y}\">{i} {what}<tspan class=\"faint\">  {rules}</tspan></text></g>",
            title = escape(&format!(
                "step {i}, {:.1} % ; {} live",
                share * 100.0,
                bytes(step.cost.live)
            )),
            kind = step.kind,
            box_y = y + 7,
            bar_x = ARCS + 20,
            bar_y = y + 12,
            bar = share * 100.0,
            cost_x = ARCS + 130,
            text_y = y + 21,
            cost = escape(&cost),
            what_x = ARCS + 410,
            what = escape(&step.what),
            rules = escape(&rules),
        );
    }
    out.push_str("</svg>\n");
    if drawn.len() < report.steps.len() {
        let _ = writeln!(out, "<p>{} more steps</p>", report.steps.len() - drawn.len());
    }
}
