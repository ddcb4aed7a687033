//! `lazulite guide`: the performance guide's claims, one by one.
//!
//! Where the guide calls one of two spellings slow and one fast, both run, interleaved, and should
//! cost the same; times are medians. The other claims are facts that are checked.

mod checks;
mod claims;
mod page;
mod pairs;

use claims::{CLAIMS, Trial};
use lazulite::backend::{self, MemoryStats};
use lazulite::prelude::*;
use lazulite::{eval, plan};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Slow over fast up to which two spellings cost the same.
const LEVEL: f64 = 1.10;

/// How many calls follow each other, without waiting, for one time on a GPU.
const SERIES: usize = 8;

/// True iff the guide runs on a GPU.
fn on_gpu() -> bool {
    lazulite::device::current_stream().device.kind == lazulite::device::DeviceKind::Gpu
}

/// Two spellings of one computation.
pub struct Pair {
    /// What is computed.
    pub title: String,
    /// The spelling that the guide calls slow.
    pub slow: Spelling,
    /// The spelling that the guide calls fast.
    pub fast: Spelling,
    /// The greatest difference of two results, relative to the largest value.
    pub tolerance: f64,
    /// How many things the slow spelling asks for one by one, and what they are; the fast one asks for
    /// all at once. Making them takes time that no plan can save.
    pub one_by_one: Option<(usize, &'static str)>,
}

impl Pair {
    /// The same, where the slow spelling asks for `count` things one by one.
    fn one_by_one(mut self, count: usize, what: &'static str) -> Pair {
        self.one_by_one = Some((count, what));
        self
    }
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

/// What was found for one claim in one trial.
struct Finding {
    claim: &'static str,
    says: &'static str,
    seen: Seen,
}

enum Seen {
    Times(Times),
    /// A fact with the words for it, or why it does not hold.
    Fact(std::result::Result<String, String>),
}

/// What was found for one pair.
struct Times {
    title: String,
    codes: [&'static str; 2],
    seconds: [f64; 2],
    /// Bytes above the inputs at the highest point, as predicted and as measured.
    predicted: [u64; 2],
    peaks: [usize; 2],
    /// The greatest relative difference of the results.
    difference: f64,
    same: bool,
    plans: [usize; 2],
    /// True iff the guide's fast spelling is other work, which may pay.
    pays: bool,
    one_by_one: Option<(usize, &'static str)>,
}

impl Times {
    fn ratio(&self) -> f64 {
        self.seconds[0] / self.seconds[1]
    }

    /// Microseconds that the slow spelling takes longer for each thing that it asks for by itself.
    fn each(&self) -> Option<f64> {
        let (count, _) = self.one_by_one?;
        Some((self.seconds[0] - self.seconds[1]) * 1e6 / count as f64)
    }

    fn verdict(&self) -> String {
        let text = match self.ratio() {
            _ if !self.same => "RESULTS DIFFER",
            r if self.pays && r > LEVEL => "pays, as the guide says",
            r if self.pays && r >= 1.0 / LEVEL => "no difference",
            r if r <= LEVEL => "both cost the same",
            _ => match (self.each(), self.one_by_one) {
                (Some(each), Some((count, what))) => {
                    return format!("slow costs {each:.2} us more for each of {count} {what}");
                }
                _ => "slow costs more",
            },
        };
        text.to_string()
    }
}

impl Finding {
    fn verdict(&self) -> String {
        match &self.seen {
            Seen::Times(times) => times.verdict(),
            Seen::Fact(Ok(_)) => "holds".to_string(),
            Seen::Fact(Err(_)) => "DOES NOT HOLD".to_string(),
        }
    }

    /// True iff results are equal or the fact holds.
    fn right(&self) -> bool {
        match &self.seen {
            Seen::Times(times) => times.same,
            Seen::Fact(fact) => fact.is_ok(),
        }
    }
}

/// How the findings are shown.
pub struct Output<'a> {
    /// Print JSON instead of a table.
    pub json: bool,
    /// Write a page with bar charts there.
    pub html: Option<&'a Path>,
}

/// Tries all claims that are in `only` (all if empty) and shows what was found.
pub fn run(only: &[String], repeats: usize, output: &Output<'_>) -> Result<()> {
    if let Some(wrong) = only.iter().find(|o| CLAIMS.iter().all(|c| c.id != *o)) {
        let message = format!("no claim {wrong}; the guide has C1 to C{}", CLAIMS.len());
        return Err(Error::argument("guide", message));
    }
    let chosen: Vec<_> =
        CLAIMS.iter().filter(|c| only.is_empty() || only.iter().any(|o| o == c.id)).collect();
    let progress = std::io::stderr().is_terminal();
    let mut findings = Vec::new();
    for (i, claim) in chosen.iter().enumerate() {
        if progress {
            eprint!("\r\x1b[K[{}/{}] {}", i + 1, chosen.len(), claim.id);
            let _ = std::io::stderr().flush();
        }
        let mut found = |seen| findings.push(Finding { claim: claim.id, says: claim.says, seen });
        for trial in claim.trials {
            match trial {
                Trial::Level(make) | Trial::Pays(make) => {
                    for pair in make()? {
                        let pays = matches!(trial, Trial::Pays(_));
                        found(Seen::Times(measure(&pair, repeats, pays)?));
                    }
                }
                Trial::Fact(check) => {
                    found(Seen::Fact(check().map_err(|e| e.to_string())));
                }
            }
        }
    }
    if progress {
        eprint!("\r\x1b[K");
    }
    if let Some(path) = output.html {
        std::fs::write(path, page::page(&findings)).map_err(|e| {
            let message = format!("cannot write {}: {e}", path.display());
            Error::new(ErrorKind::Io, "guide", message)
        })?;
    }
    if output.json {
        print_json(&findings);
    } else {
        print_table(&findings);
    }
    let wrong = findings.iter().filter(|f| !f.right()).count();
    if wrong > 0 {
        return Err(Error::argument("guide", format!("{wrong} claims do not hold")));
    }
    Ok(())
}

fn memory() -> Result<MemoryStats> {
    let device = lazulite::device::current_stream().device;
    Ok(backend::get(device)?.memory(device))
}

fn measure(pair: &Pair, repeats: usize, pays: bool) -> Result<Times> {
    let spellings = [&pair.slow, &pair.fast];
    let device = lazulite::device::current_stream().device;
    let (mut peaks, mut predicted, mut plans) = ([0; 2], [0; 2], [0; 2]);
    let mut results = Vec::new();
    for (i, spelling) in spellings.iter().enumerate() {
        let before = memory()?.active;
        backend::get(device)?.reset_peak(device);
        let out = (spelling.run)()?;
        let estimate = lazulite::estimate(&out)?;
        predicted[i] = estimate.peak;
        plans[i] = plan::report(&out)?.steps.len();
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
            times[which].push(seconds(spellings[which])?);
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
    Ok(Times {
        title: pair.title.clone(),
        codes: [pair.slow.code, pair.fast.code],
        seconds: [median(slow), median(fast)],
        predicted,
        peaks,
        difference,
        same: difference <= pair.tolerance,
        plans,
        pays,
        one_by_one: pair.one_by_one,
    })
}

/// The time of one call.
fn seconds(spelling: &Spelling) -> Result<f64> {
    let start = Instant::now();
    if !on_gpu() {
        eval::eval(&(spelling.run)()?)?;
        return Ok(start.elapsed().as_secs_f64());
    }
    let queued = (0..SERIES).map(|_| {
        let out = (spelling.run)()?;
        eval::async_eval(&out)?;
        Ok(out)
    });
    for out in queued.collect::<Result<Vec<_>>>()? {
        // An evaluation on a GPU ends when its work is queued.
        eval::eval(&out)?;
        out.iter().try_for_each(|x| eval::synchronize(x.stream()))?;
    }
    Ok(start.elapsed().as_secs_f64() / SERIES as f64)
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

/// The pairs among the findings.
fn times(findings: &[Finding]) -> impl Iterator<Item = (&Finding, &Times)> {
    findings.iter().filter_map(|f| match &f.seen {
        Seen::Times(times) => Some((f, times)),
        Seen::Fact(_) => None,
    })
}

/// What all findings together say, in a line.
fn summary(findings: &[Finding]) -> String {
    let pairs: Vec<&Times> = times(findings).map(|(_, t)| t).collect();
    let mut ratios: Vec<f64> = pairs.iter().filter(|t| !t.pays).map(|t| t.ratio()).collect();
    ratios.sort_by(f64::total_cmp);
    let facts = findings.len() - pairs.len();
    let held = findings.iter().filter(|f| matches!(f.seen, Seen::Fact(Ok(_)))).count();
    let mut text = format!("{held} of {facts} facts hold");
    if let (Some(first), Some(last)) = (ratios.first(), ratios.last()) {
        let median = ratios[ratios.len() / 2];
        let level = ratios.iter().filter(|r| **r <= LEVEL).count();
        let equal = pairs.iter().filter(|t| t.same).count();
        text = format!(
            "{} pairs, {equal} with equal results; {level} of {} slow spellings cost the same; \
             slow/fast: median {median:.2}, least {first:.2}, greatest {last:.2}; {text}",
            pairs.len(),
            ratios.len()
        );
    }
    text
}

fn print_table(findings: &[Finding]) {
    let width = |f: fn(&Times) -> &str| {
        times(findings).map(|(_, t)| f(t).chars().count()).max().unwrap_or(0).max(16)
    };
    let (wt, ws, wf) = (width(|t| &t.title), width(|t| t.codes[0]), width(|t| t.codes[1]));
    println!(
        "{:5} {:wt$}  {:ws$}  {:wf$} {:>9} {:>9} {:>6} {:>9} {:>9}  verdict",
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
    let wide = wt + ws + wf + 54;
    for f in findings {
        match &f.seen {
            Seen::Times(t) => {
                let mb = |bytes: usize| bytes as f64 / 1e6;
                println!(
                    "{:5} {:wt$}  {:ws$}  {:wf$} {:9.3} {:9.3} {:6.2} {:9.2} {:9.2}  {}",
                    f.claim,
                    t.title,
                    t.codes[0],
                    t.codes[1],
                    t.seconds[0] * 1e3,
                    t.seconds[1] * 1e3,
                    t.ratio(),
                    mb(t.peaks[0]),
                    mb(t.peaks[1]),
                    f.verdict(),
                );
            }
            Seen::Fact(Ok(what) | Err(what)) => {
                let text = format!("{}: {what}", f.says);
                let cut: String = text.chars().take(wide).collect();
                println!("{:5} {cut:wide$}  {}", f.claim, f.verdict());
            }
        }
    }
    println!("{}", summary(findings));
}

fn print_json(findings: &[Finding]) {
    let rows: Vec<_> = findings
        .iter()
        .map(|f| match &f.seen {
            Seen::Times(t) => json!({
                "claim": f.claim, "says": f.says, "verdict": f.verdict(), "title": t.title,
                "slow": t.codes[0], "fast": t.codes[1],
                "slow_seconds": t.seconds[0], "fast_seconds": t.seconds[1], "ratio": t.ratio(),
                "slow_peak_bytes": t.peaks[0], "fast_peak_bytes": t.peaks[1],
                "slow_predicted_bytes": t.predicted[0], "fast_predicted_bytes": t.predicted[1],
                "slow_steps": t.plans[0], "fast_steps": t.plans[1],
                "difference": t.difference, "same": t.same,
                "microseconds_each": t.each(),
            }),
            Seen::Fact(fact) => json!({
                "claim": f.claim, "says": f.says, "verdict": f.verdict(),
                "seen": match fact { Ok(what) | Err(what) => what },
                "same": fact.is_ok(),
            }),
        })
        .collect();
    println!("{}", json!({ "findings": rows, "summary": summary(findings) }));
}
