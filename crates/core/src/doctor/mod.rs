//! What costs a program time that no rewrite can mend, with the line, the seconds and a mend.
//!
//! ```no_run
//! use lazulite_core::doctor;
//! # fn train() {}
//! let visit = doctor::begin();
//! train();
//! println!("{}", visit.finish());
//! ```
//!
//! A finding needs a measured cost: seconds between the program's calls that were not spent in
//! steps, seconds spent tracing or copying, or bytes that the measured throughput turns into
//! seconds. What costs less than a hundredth of the time is not reported.

mod time;
mod trace;

use crate::observe::{self, Observation, Place, Planned, Record, What};
use crate::plan::bytes;
use crate::text::quote;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;
pub use time::Time;

/// A loop is something that happens at least this often on one line.
const LOOP: usize = 8;
/// The least share of the observed time that is worth a line.
const SHARE: f64 = 0.01;
/// Steps below this many seconds cost about as much to begin as to run.
const SMALL: f64 = 20e-6;

/// A kind of waste.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Waste {
    /// Many small evaluations on one line.
    EvaluationsInLoop,
    /// Many small reads (`item`, printing, conversion) on one line, each of which evaluates.
    ReadsInLoop,
    /// A function traced, or a line planned, again and again.
    Recompilation,
    /// A half type widened to `float32` by an operand of that type.
    Promotion,
    /// Data brought to the device in many small parts.
    HostCopies,
    /// The same small step on many items in one evaluation.
    UnbatchedLoop,
    /// An evaluation whose intermediates take far more memory than its results.
    MemoryPeak,
    /// Nothing runs while the program makes the next piece of work, again and again.
    IdleDevice,
}

impl Waste {
    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Waste::EvaluationsInLoop => "evaluations in a loop",
            Waste::ReadsInLoop => "reads in a loop",
            Waste::Recompilation => "recompilation",
            Waste::Promotion => "promotion to float32",
            Waste::HostCopies => "host copies in a loop",
            Waste::UnbatchedLoop => "an unbatched loop",
            Waste::MemoryPeak => "a memory peak",
            Waste::IdleDevice => "an idle device",
        }
    }

    /// What to do about it.
    pub fn mend(self) -> &'static str {
        match self {
            Waste::EvaluationsInLoop => {
                "build the results in the loop and evaluate them together after it"
            }
            Waste::ReadsInLoop => {
                "keep the arrays and read them together after the loop, or every some steps"
            }
            Waste::Recompilation => {
                "compile shapeless, or pad to a few shapes, and pass numbers as arrays"
            }
            Waste::Promotion => "cast the float32 operand to the half type, once, where it is made",
            Waste::HostCopies => "collect the data on the host and make one array of it",
            Waste::UnbatchedLoop => "vmap the function over the items, or stack the items first",
            Waste::MemoryPeak => {
                "evaluate in parts, drop what is not needed, or checkpoint the function"
            }
            Waste::IdleDevice => {
                "compile the function that builds the graph, and start work with async_eval before \
                 the next piece is prepared"
            }
        }
    }

    /// The claims of the performance guide on which the finding rests.
    pub fn claims(self) -> &'static str {
        match self {
            Waste::EvaluationsInLoop => "C39",
            Waste::ReadsInLoop => "C30, C32, C39",
            Waste::Recompilation => "C13, C14",
            Waste::Promotion => "C8, C19, C49",
            Waste::HostCopies => "C38, C40",
            Waste::UnbatchedLoop => "C22, C24",
            Waste::MemoryPeak => "C36, C52",
            Waste::IdleDevice => "C13, C28, C30",
        }
    }
}

/// One thing that costs time or memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What kind of waste.
    pub waste: Waste,
    /// The line of the user's program.
    pub place: Option<Place>,
    /// How often it happened.
    pub times: usize,
    /// Measured seconds that the mend would save.
    pub seconds: f64,
    /// Bytes that it takes, where that is the cost.
    pub bytes: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: ")?,
            None => write!(f, "somewhere: ")?,
        }
        write!(f, "{}, {} times", self.waste.name(), self.times)?;
        if self.seconds > 0.0 {
            write!(f, ", {:.4} s", self.seconds)?;
        }
        if self.bytes > 0 {
            write!(f, ", {}", bytes(self.bytes))?;
        }
        write!(f, "; {} [{}]", self.waste.mend(), self.waste.claims())
    }
}

/// What a visit found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The findings, dearest first.
    pub findings: Vec<Finding>,
    /// How long the program was observed.
    pub seconds: f64,
    /// How many evaluations it made.
    pub evaluations: usize,
    /// Where all of it went.
    pub time: Time,
    /// Everything that was recorded.
    pub records: Vec<Record>,
}

/// The time during which a program is watched.
pub struct Visit {
    observation: Observation,
    began: Instant,
}

/// Begins to watch the program. Visits take turns.
pub fn begin() -> Visit {
    Visit { observation: observe::observe(), began: Instant::now() }
}

impl Visit {
    /// Stops watching and says what was found.
    pub fn finish(self) -> Report {
        let seconds = self.began.elapsed().as_secs_f64();
        report(self.observation.finish(), seconds)
    }
}

/// What `records` of a program that ran for `seconds` say.
pub fn report(records: Vec<Record>, seconds: f64) -> Report {
    let steps = steps_of(&records);
    let time = time::time(&records, seconds);
    let mut findings = Vec::new();
    findings.extend(overheads(&records, &steps));
    findings.extend(traces(&records));
    findings.extend(plans(&records));
    findings.extend(promotions(&records));
    findings.extend(uploads(&records));
    findings.extend(unbatched(&records, &steps));
    findings.extend(idle(&time, seconds));
    let least = SHARE * seconds;
    findings.retain(|f| f.seconds >= least);
    findings.extend(memory_peaks(&records));
    findings.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let evaluations = records.iter().filter(|r| matches!(r.what, What::Evaluation { .. })).count();
    Report { findings, seconds, evaluations, time, records }
}

/// The steps of each evaluation.
fn steps_of(records: &[Record]) -> FxHashMap<u64, Vec<&Record>> {
    let mut steps: FxHashMap<u64, Vec<&Record>> = FxHashMap::default();
    for r in records {
        if let What::Step { evaluation, .. } = r.what {
            steps.entry(evaluation).or_default().push(r);
        }
    }
    steps
}

/// Records of one line.
fn by_place(
    records: &[Record],
    pick: impl Fn(&What) -> bool,
) -> BTreeMap<Option<Place>, Vec<&Record>> {
    let mut places: BTreeMap<Option<Place>, Vec<&Record>> = BTreeMap::new();
    for r in records.iter().filter(|r| pick(&r.what)) {
        places.entry(r.place.clone()).or_default().push(r);
    }
    places
}

/// Lines that evaluate again and again, and spend more than a quarter of that beside the steps.
fn overheads<'a>(
    records: &'a [Record],
    steps: &'a FxHashMap<u64, Vec<&Record>>,
) -> impl Iterator<Item = Finding> + 'a {
    let reads = by_place(records, |w| matches!(w, What::Read { .. }));
    by_place(records, |w| matches!(w, What::Evaluation { .. })).into_iter().filter_map(
        move |(place, list)| {
            let spent: f64 = list.iter().map(|r| r.seconds).sum();
            let inside = |r: &&Record| match r.what {
                What::Evaluation { id, .. } => {
                    steps.get(&id).into_iter().flatten().map(|s| s.seconds).sum::<f64>()
                }
                _ => 0.0,
            };
            let seconds = spent - list.iter().map(inside).sum::<f64>();
            let waste = match reads.get(&place) {
                Some(reads) if reads.len() >= LOOP => Waste::ReadsInLoop,
                _ => Waste::EvaluationsInLoop,
            };
            let (times, bytes) = (list.len(), 0);
            let finding = Finding { waste, place, times, seconds, bytes };
            (times >= LOOP && seconds >= 0.25 * spent).then_some(finding)
        },
    )
}

/// Functions that are traced again and again.
fn traces(records: &[Record]) -> Vec<Finding> {
    let mut functions: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for r in records {
        if let What::Trace { function, .. } = r.what {
            functions.entry(function).or_default().push(r);
        }
    }
    functions
        .into_values()
        .filter(|list| list.len() > 2)
        .map(|list| Finding {
            waste: Waste::Recompilation,
            place: list[0].place.clone(),
            times: list.len(),
            seconds: list[1..].iter().map(|r| r.seconds).sum(),
            bytes: 0,
        })
        .collect()
}

/// Lines whose evaluations are planned anew again and again.
fn plans(records: &[Record]) -> impl Iterator<Item = Finding> + '_ {
    let anew =
        |w: &What| matches!(w, What::Evaluation { planned: Planned::New | Planned::Guard, .. });
    by_place(records, anew).into_iter().filter(|(_, list)| list.len() >= LOOP).map(
        |(place, list)| {
            let planning = |r: &&Record| match r.what {
                What::Evaluation { planning, .. } => planning,
                _ => 0.0,
            };
            Finding {
                waste: Waste::Recompilation,
                place,
                times: list.len(),
                seconds: list[1..].iter().map(planning).sum(),
                bytes: 0,
            }
        },
    )
}

/// Lines that widen half types. The bytes that this adds become seconds by the throughput of the
/// program's own steps.
fn promotions(records: &[Record]) -> Vec<Finding> {
    let (mut moved, mut seconds) = (0, 0.0);
    for r in records {
        if let What::Step { bytes, .. } = r.what {
            moved += bytes;
            seconds += r.seconds;
        }
    }
    if moved == 0 {
        return Vec::new();
    }
    by_place(records, |w| matches!(w, What::Promotion { .. }))
        .into_iter()
        .map(|(place, list)| {
            let wider = |r: &&Record| match r.what {
                What::Promotion { elements, .. } => 2 * elements,
                _ => 0,
            };
            let bytes: u64 = list.iter().map(wider).sum();
            Finding {
                waste: Waste::Promotion,
                place,
                times: list.len(),
                seconds: seconds * bytes as f64 / moved as f64,
                bytes,
            }
        })
        .collect()
}

/// Lines that bring data to a device again and again.
fn uploads(records: &[Record]) -> impl Iterator<Item = Finding> + '_ {
    let size = |r: &&Record| match r.what {
        What::Upload { bytes } | What::Copy { bytes } => bytes,
        _ => 0,
    };
    by_place(records, |w| matches!(w, What::Upload { .. } | What::Copy { .. }))
        .into_iter()
        .filter(|(_, list)| list.len() >= LOOP)
        .map(move |(place, list)| Finding {
            waste: Waste::HostCopies,
            place,
            times: list.len(),
            seconds: list.iter().map(|r| r.seconds).sum(),
            bytes: list.iter().map(size).sum(),
        })
}

/// Evaluations in which one small step is taken very often, on different items with something in
/// common: an operand that all share, such as the weights, or the array that the items are parts of.
/// Steps that need one another, such as the layers of a model, are no loop over items.
fn unbatched(records: &[Record], steps: &FxHashMap<u64, Vec<&Record>>) -> Vec<Finding> {
    const MANY: usize = 32;
    let mut found: BTreeMap<Option<Place>, Finding> = BTreeMap::new();
    for r in records {
        let What::Evaluation { id, .. } = r.what else { continue };
        let mut alike: FxHashMap<_, Vec<(&[u32], f64)>> = FxHashMap::default();
        for s in steps.get(&id).into_iter().flatten() {
            if let What::Step { op, bytes, flops, dtype, depth, arrays, .. } = &s.what
                && *bytes > 0
            {
                let like = (op, bytes, flops, dtype, depth);
                alike.entry(like).or_default().push((arrays, s.seconds));
            }
        }
        for items in alike.values().filter(|items| items.len() >= MANY) {
            let mut readers: FxHashMap<u32, (usize, f64)> = FxHashMap::default();
            for (arrays, seconds) in items {
                for &array in *arrays {
                    let of = readers.entry(array).or_default();
                    *of = (of.0 + 1, of.1 + seconds);
                }
            }
            let Some((times, sum)) = readers.into_values().max_by_key(|&(times, _)| times) else {
                continue;
            };
            if times < MANY || sum / times as f64 > SMALL {
                continue;
            }
            let finding = found.entry(r.place.clone()).or_insert_with(|| Finding {
                waste: Waste::UnbatchedLoop,
                place: r.place.clone(),
                times: 0,
                seconds: 0.0,
                bytes: 0,
            });
            finding.times += times;
            finding.seconds += sum * (1.0 - 1.0 / times as f64);
        }
    }
    found.into_values().collect()
}

/// Lines before which nothing runs again and again, for more than a fifth of the time in all.
fn idle(time: &Time, seconds: f64) -> impl Iterator<Item = Finding> + '_ {
    const MUCH: f64 = 0.2;
    let often = move |(place, times, spent): &&(Option<Place>, usize, f64)| {
        place.is_some() && *times >= LOOP && *spent >= MUCH * seconds
    };
    time.before.iter().filter(often).map(|(place, times, spent)| Finding {
        waste: Waste::IdleDevice,
        place: place.clone(),
        times: *times,
        seconds: *spent,
        bytes: 0,
    })
}

/// Evaluations that need 256 MB and eight times their results.
fn memory_peaks(records: &[Record]) -> impl Iterator<Item = Finding> + '_ {
    const LARGE: u64 = 256 << 20;
    let wasteful = |w: &What| matches!(w, What::Evaluation { peak, results, .. } if *peak >= LARGE && *peak >= 8 * results);
    by_place(records, wasteful).into_iter().map(|(place, list)| {
        let peak = |r: &&Record| match r.what {
            What::Evaluation { peak, .. } => peak,
            _ => 0,
        };
        Finding {
            waste: Waste::MemoryPeak,
            place,
            times: list.len(),
            seconds: 0.0,
            bytes: list.iter().map(peak).max().unwrap_or(0),
        }
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.time;
        writeln!(
            f,
            "{:.3} s observed, {} evaluations: {:.3} s in steps, {:.3} s moving bytes, {:.3} s \
             tracing, {:.3} s around steps, {:.3} s in the program itself",
            self.seconds, self.evaluations, t.steps, t.moving, t.tracing, t.evaluating, t.program
        )?;
        // Where the program's own time is too little to explain anything, lines do not matter.
        let worth = |s: f64| s >= 10.0 * SHARE * self.seconds;
        for (place, times, seconds) in t.before.iter().filter(|(_, _, s)| worth(*s)).take(3) {
            match place {
                Some(place) => writeln!(f, "  {seconds:.3} s of it before {place}, {times} times")?,
                None => writeln!(f, "  {seconds:.3} s of it after the last call")?,
            }
        }
        if self.findings.is_empty() {
            writeln!(f, "nothing to mend")?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

impl Report {
    /// The report as JSON, without the records.
    pub fn json(&self) -> String {
        let rows: Vec<String> = self
            .findings
            .iter()
            .map(|f| {
                let place = f.place.as_ref().map_or_else(
                    || "\"file\": null, \"line\": null".to_string(),
                    |p| format!("\"file\": {}, \"line\": {}", quote(&p.file), p.line),
                );
                format!(
                    "{{\"waste\": {}, {place}, \"times\": {}, \"seconds\": {:e}, \"bytes\": {}, \
                     \"mend\": {}, \"claims\": {}}}",
                    quote(f.waste.name()),
                    f.times,
                    f.seconds,
                    f.bytes,
                    quote(f.waste.mend()),
                    quote(f.waste.claims())
                )
            })
            .collect();
        format!(
            "{{\"seconds\": {:e}, \"evaluations\": {}, \"time\": {{\"steps\": {:e}, \"moving\": {:e}, \
             \"tracing\": {:e}, \"evaluating\": {:e}, \"program\": {:e}}}, \"findings\": [{}]}}",
            self.seconds,
            self.evaluations,
            self.time.steps,
            self.time.moving,
            self.time.tracing,
            self.time.evaluating,
            self.time.program,
            rows.join(", ")
        )
    }

    /// The records as Chrome trace JSON, which Perfetto opens: a row for each host thread and one
    /// for each stream.
    pub fn chrome_trace(&self) -> String {
        trace::chrome(&self.records)
    }
}
