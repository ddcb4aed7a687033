//! `lazulite guide`: the performance guide's claims, both spellings side by side.
//!
//! Every pair computes the same in two spellings, of which the guide calls one slow and one fast.
//! Here both should cost the same. The runs are interleaved; times are medians.

mod pairs;

use lazulite::backend::{self, MemoryStats};
use lazulite::prelude::*;
use lazulite::{eval, plan};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// One claim of the guide, as two spellings of one computation.
pub struct Pair {
    /// The claim's number in the guide, such as "C2".
    pub claim: &'static str,
    /// What is computed.
    pub title: &'static str,
    /// The spelling that the guide calls slow.
    pub slow: Spelling,
    /// The spelling that the guide calls fast.
    pub fast: Spelling,
    /// The greatest difference of two results, relative to the largest value.
    pub tolerance: f64,
}

/// One way to write a computation.
pub struct Spelling {
    /// The code, as a person would write it.
    pub code: &'static str,
    /// Computes it from evaluated inputs; the result is evaluated by the caller.
    pub run: Box<dyn Fn() -> Result<Vec<Array>>>,
}

impl Spelling {
    fn new(code: &'static str, run: impl Fn() -> Result<Vec<Array>> + 'static) -> Spelling {
        Spelling { code, run: Box::new(run) }
    }
}

/// What was found for one pair.
struct Finding {
    claim: &'static str,
    title: &'static str,
    codes: [&'static str; 2],
    seconds: [f64; 2],
    /// Bytes above the inputs at the highest point.
    peaks: [usize; 2],
    /// The greatest relative difference of the results.
    difference: f64,
    same: bool,
    plans: [usize; 2],
}

impl Finding {
    fn ratio(&self) -> f64 {
        self.seconds[0] / self.seconds[1]
    }
}

/// Runs all pairs whose claim is in `only` (all if empty) and prints a table, or JSON.
pub fn run(only: &[String], repeats: usize, as_json: bool) -> Result<()> {
    let mut findings = Vec::new();
    let makers: Vec<_> = pairs::ALL
        .iter()
        .filter(|(claim, _)| only.is_empty() || only.iter().any(|c| c == claim))
        .collect();
    if makers.is_empty() {
        let known: Vec<_> = pairs::ALL.iter().map(|(claim, _)| *claim).collect();
        let message = format!("no such claim; the guide has {}", known.join(", "));
        return Err(Error::argument("guide", message));
    }
    let progress = std::io::stderr().is_terminal();
    for (i, (claim, make)) in makers.iter().enumerate() {
        if progress {
            eprint!("\r\x1b[K[{}/{}] {claim}", i + 1, makers.len());
            let _ = std::io::stderr().flush();
        }
        for pair in make()? {
            findings.push(measure(&pair, repeats)?);
        }
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    if as_json {
        print_json(&findings);
    } else {
        print_table(&findings);
    }
    Ok(())
}

fn memory() -> Result<MemoryStats> {
    let device = lazulite::device::current_stream().device;
    Ok(backend::get(device)?.memory(device))
}

fn measure(pair: &Pair, repeats: usize) -> Result<Finding> {
    let spellings = [&pair.slow, &pair.fast];
    let device = lazulite::device::current_stream().device;
    let mut peaks = [0; 2];
    let mut plans = [0; 2];
    let mut results = Vec::new();
    for (i, spelling) in spellings.iter().enumerate() {
        let before = memory()?.active;
        backend::get(device)?.reset_peak(device);
        let out = (spelling.run)()?;
        plans[i] = plan::explain(&out)?
            .lines()
            .filter(|l| l.contains('=') && !l.starts_with("    "))
            .count();
        eval::eval(&out)?;
        peaks[i] = memory()?.peak.saturating_sub(before);
        results.push(out);
    }
    let difference = difference(&results[0], &results[1])?;
    drop(results);
    let mut times = [Vec::new(), Vec::new()];
    let begin = Instant::now();
    for round in 0..repeats.max(3) {
        for i in 0..2 {
            let which = (i + round) % 2;
            let start = Instant::now();
            let out = (spellings[which].run)()?;
            eval::eval(&out)?;
            times[which].push(start.elapsed().as_secs_f64());
        }
        if begin.elapsed() > Duration::from_secs(4) && round >= 2 {
            break;
        }
    }
    let median = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let [slow, fast] = &mut times;
    Ok(Finding {
        claim: pair.claim,
        title: pair.title,
        codes: [pair.slow.code, pair.fast.code],
        seconds: [median(slow), median(fast)],
        peaks,
        difference,
        same: difference <= pair.tolerance,
        plans,
    })
}

/// The greatest difference of two lists of arrays, relative to the largest value.
fn difference(a: &[Array], b: &[Array]) -> Result<f64> {
    if a.len() != b.len() {
        return Ok(f64::INFINITY);
    }
    let mut worst = 0.0f64;
    for (x, y) in a.iter().zip(b) {
        if x.shape() != y.shape() {
            return Ok(f64::INFINITY);
        }
        let (x, y) =
            (x.astype(Dtype::F64)?.to_vec::<f64>()?, y.astype(Dtype::F64)?.to_vec::<f64>()?);
        let scale = x.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
        for (p, q) in x.iter().zip(&y) {
            worst = worst.max((p - q).abs() / scale);
        }
    }
    Ok(worst)
}

fn print_table(findings: &[Finding]) {
    let width = |f: fn(&Finding) -> usize| findings.iter().map(f).max().unwrap_or(0);
    let (wt, ws, wf) = (
        width(|f| f.title.chars().count()),
        width(|f| f.codes[0].chars().count()),
        width(|f| f.codes[1].chars().count()),
    );
    println!(
        "{:5} {:wt$}  {:ws$}  {:wf$} {:>9} {:>9} {:>6} {:>9} {:>9}  same",
        "claim",
        "what",
        "the guide's slow",
        "the guide's fast",
        "slow ms",
        "fast ms",
        "ratio",
        "slow MB",
        "fast MB"
    );
    for f in findings {
        let mb = |bytes: usize| bytes as f64 / 1e6;
        println!(
            "{:5} {:wt$}  {:ws$}  {:wf$} {:9.3} {:9.3} {:6.2} {:9.2} {:9.2}  {}",
            f.claim,
            f.title,
            f.codes[0],
            f.codes[1],
            f.seconds[0] * 1e3,
            f.seconds[1] * 1e3,
            f.ratio(),
            mb(f.peaks[0]),
            mb(f.peaks[1]),
            if f.same { "yes".to_string() } else { format!("NO ({:.1e})", f.difference) }
        );
    }
    let mut ratios: Vec<f64> = findings.iter().map(Finding::ratio).collect();
    ratios.sort_by(f64::total_cmp);
    if let (Some(first), Some(last)) = (ratios.first(), ratios.last()) {
        let median = ratios[ratios.len() / 2];
        println!(
            "{} pairs; slow/fast: median {median:.2}, least {first:.2}, greatest {last:.2}; equal results: {}",
            findings.len(),
            findings.iter().filter(|f| f.same).count()
        );
    }
}

fn print_json(findings: &[Finding]) {
    let rows: Vec<_> = findings
        .iter()
        .map(|f| {
            json!({
                "claim": f.claim, "title": f.title, "slow": f.codes[0], "fast": f.codes[1],
                "slow_seconds": f.seconds[0], "fast_seconds": f.seconds[1], "ratio": f.ratio(),
                "slow_peak_bytes": f.peaks[0], "fast_peak_bytes": f.peaks[1],
                "slow_steps": f.plans[0], "fast_steps": f.plans[1],
                "difference": f.difference, "same": f.same,
            })
        })
        .collect();
    println!("{}", json!({ "pairs": rows }));
}
