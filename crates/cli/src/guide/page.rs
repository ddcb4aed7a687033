//! The findings as one HTML page with bar charts, which needs nothing from elsewhere.

use super::{Finding, LEVEL, Seen, Times, summary, times};
use std::fmt::Write;

const STYLE: &str = "\
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;color:#1b1f24;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}p{color:#57606a}\
svg text{font:12px system-ui,sans-serif;fill:#1b1f24}.code{font-family:ui-monospace,monospace}\
.slow{fill:#d4a72c}.fast{fill:#4ac26b}.pays{fill:#8c959f}.limit{stroke:#cf222e;stroke-dasharray:4 3}\
table{border-collapse:collapse}td,th{text-align:left;padding:.25rem .8rem .25rem 0;vertical-align:top;\
border-bottom:1px solid #eaeef2}.bad{color:#cf222e;font-weight:600}";

/// Text inside an element.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn page(findings: &[Finding]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>lazulite guide</title><style>{STYLE}</style></head><body>\n\
         <h1>The performance guide, claim by claim</h1>\n<p>{}</p>\n",
        escape(&summary(findings))
    );
    let _ = writeln!(
        out,
        "<h2>Slow over fast</h2>\n<p>Green: the slow spelling takes at most {LEVEL:.2} of the fast \
         one's time. Ochre: more. Grey: the fast spelling is other work, which may pay.</p>"
    );
    ratios(findings, &mut out);
    out.push_str("<h2>Times of both spellings</h2>\n");
    for (f, t) in times(findings) {
        bars(f, t, &mut out);
    }
    out.push_str(
        "<h2>All claims</h2>\n<table><tr><th>claim</th><th>what</th><th>seen</th>\
                  <th>verdict</th></tr>\n",
    );
    for f in findings {
        let seen = match &f.seen {
            Seen::Times(t) => format!("{}: {:.2}", t.title, t.ratio()),
            Seen::Fact(Ok(what) | Err(what)) => what.clone(),
        };
        let class = if f.right() { "" } else { " class=\"bad\"" };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td{class}>{}</td></tr>",
            f.claim,
            escape(f.says),
            escape(&seen),
            f.verdict()
        );
    }
    out.push_str("</table>\n</body></html>\n");
    out
}

/// One bar for each pair, on a logarithmic axis from a quarter to 32.
fn ratios(findings: &[Finding], out: &mut String) {
    const LEFT: f64 = 330.0;
    const UNIT: f64 = 80.0;
    let rows = times(findings).count();
    let place = |ratio: f64| LEFT + UNIT * (ratio.clamp(0.25, 32.0).log2() + 2.0);
    let height = rows * 20 + 30;
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1120\" height=\"{height}\" role=\"img\" \
         aria-label=\"slow over fast for each pair\">"
    );
    for tick in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0] {
        let x = place(tick);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{}\" stroke=\"#eaeef2\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            rows * 20,
            rows * 20 + 16
        );
    }
    for (i, (f, t)) in times(findings).enumerate() {
        let (one, end) = (place(1.0), place(t.ratio()));
        let class = match t.ratio() {
            _ if t.pays => "pays",
            r if r > LEVEL => "slow",
            _ => "fast",
        };
        let beyond = if (0.25..=32.0).contains(&t.ratio()) { "" } else { " (beyond the axis)" };
        let _ = writeln!(
            out,
            "<text x=\"0\" y=\"{y}\">{} {}</text><rect class=\"{class}\" x=\"{:.1}\" y=\"{top}\" \
             width=\"{:.1}\" height=\"12\"/><text x=\"{:.1}\" y=\"{y}\">{:.2}{beyond}</text>",
            f.claim,
            escape(&t.title),
            one.min(end),
            (end - one).abs().max(1.0),
            end.max(place(LEVEL)) + 6.0,
            t.ratio(),
            y = i * 20 + 14,
            top = i * 20 + 4
        );
    }
    let x = place(LEVEL);
    let _ = writeln!(
        out,
        "<line class=\"limit\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{}\"/></svg>",
        rows * 20
    );
}

/// Both spellings of one pair.
fn bars(f: &Finding, t: &Times, out: &mut String) {
    let longest = t.seconds[0].max(t.seconds[1]).max(f64::MIN_POSITIVE);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1000\" height=\"62\" role=\"img\" \
         aria-label=\"{0}\"><text x=\"0\" y=\"14\">{1} {0}: {2}</text>",
        escape(&t.title),
        f.claim,
        f.verdict()
    );
    for (i, class) in ["slow", "fast"].into_iter().enumerate() {
        let y = 20 + i * 20;
        let _ = writeln!(
            out,
            "<text class=\"code\" x=\"0\" y=\"{}\">{}</text><rect class=\"{class}\" x=\"330\" \
             y=\"{y}\" width=\"{:.1}\" height=\"14\"/><text x=\"{:.1}\" y=\"{}\">{:.3} ms, {:.2} MB</text>",
            y + 12,
            escape(t.codes[i]),
            400.0 * t.seconds[i] / longest,
            340.0 + 400.0 * t.seconds[i] / longest,
            y + 12,
            t.seconds[i] * 1e3,
            t.peaks[i] as f64 / 1e6
        );
    }
    out.push_str("</svg>\n");
}
