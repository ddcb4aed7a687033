//! Where all of the observed time went: each moment counts once, for the first of what happened in
//! it, and what is left was spent in the program itself.

use crate::observe::{Place, Record, What};
use rustc_hash::FxHashMap;

/// What happens at a moment; steps before all others.
const STEPS: usize = 0;
const MOVING: usize = 1;
const TRACING: usize = 2;
const EVALUATING: usize = 3;
const PROGRAM: usize = 4;

/// The observed seconds, by what happened in them. Their sum is the time observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Time {
    /// A step ran, on whichever thread.
    pub steps: f64,
    /// No step ran; bytes came to a device or went between devices.
    pub moving: f64,
    /// A function was traced.
    pub tracing: f64,
    /// The engine planned, bound operands, or handed over values.
    pub evaluating: f64,
    /// None of these: the program's own code, in which graphs are built.
    pub program: f64,
    /// The program's own stretches, by the line whose call ended them: how many and their seconds,
    /// longest first. Those after the last call have no line.
    pub before: Vec<(Option<Place>, usize, f64)>,
}

/// The kind of a record; none if it is of a moment.
fn kind(what: &What) -> Option<usize> {
    match what {
        What::Step { .. } => Some(STEPS),
        What::Upload { .. } | What::Copy { .. } => Some(MOVING),
        What::Trace { .. } => Some(TRACING),
        What::Evaluation { .. } | What::Read { .. } => Some(EVALUATING),
        What::Promotion { .. } => None,
    }
}

/// How `seconds` of observation are made up of `records`.
pub(super) fn time(records: &[Record], seconds: f64) -> Time {
    // Beginnings and ends, each with its kind and, for beginnings, the record.
    let mut edges: Vec<(f64, Option<usize>, usize)> = Vec::with_capacity(2 * records.len());
    for (i, r) in records.iter().enumerate() {
        let Some(kind) = kind(&r.what) else { continue };
        edges.push((r.start, Some(i), kind));
        edges.push((r.start + r.seconds, None, kind));
    }
    edges.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut open, mut sums) = ([0usize; PROGRAM], [0.0; PROGRAM + 1]);
    let mut before: FxHashMap<Option<&Place>, (usize, f64)> = FxHashMap::default();
    let (mut now, mut stretch) = (0.0, 0.0);
    for (at, begins, kind) in edges {
        let at = at.clamp(now, seconds.max(now));
        let first = open.iter().position(|&n| n > 0).unwrap_or(PROGRAM);
        sums[first] += at - now;
        if first == PROGRAM {
            stretch += at - now;
        }
        now = at;
        match begins {
            Some(record) => {
                // A step of another thread has no line; the call that waits for it has.
                if let Some(place) = &records[record].place
                    && stretch > 0.0
                {
                    let sum = before.entry(Some(place)).or_default();
                    *sum = (sum.0 + 1, sum.1 + stretch);
                    stretch = 0.0;
                }
                open[kind] += 1;
            }
            None => open[kind] = open[kind].saturating_sub(1),
        }
    }
    let rest = (seconds - now).max(0.0);
    sums[PROGRAM] += rest;
    if stretch + rest > 0.0 {
        before.insert(None, (1, stretch + rest));
    }
    let mut before: Vec<_> = before.into_iter().map(|(p, (n, s))| (p.cloned(), n, s)).collect();
    before.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
    let [steps, moving, tracing, evaluating, program] = sums;
    Time { steps, moving, tracing, evaluating, program, before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;
    use smallvec::smallvec;

    fn record(what: What, start: f64, seconds: f64, line: Option<u32>) -> Record {
        let place = line.map(|line| Place { file: "a.py".into(), line });
        Record { what, start, seconds, thread: 1, place }
    }

    fn step() -> What {
        let (op, stream, dtype) = ("tape", String::new(), Dtype::F32);
        let (depth, arrays) = (0, smallvec![]);
        What::Step { evaluation: 1, index: 0, op, stream, bytes: 8, flops: 1, dtype, depth, arrays }
    }

    #[test]
    fn each_moment_counts_once() {
        let records = [
            record(What::Upload { bytes: 4 }, 1.0, 1.0, Some(3)),
            // On another thread, while line 5 waits for it.
            record(step(), 4.0, 3.0, None),
            record(What::Read { bytes: 4 }, 6.0, 1.5, Some(5)),
            record(What::Read { bytes: 4 }, 8.0, 1.0, Some(5)),
        ];
        let time = time(&records, 10.0);
        let close = |x: f64, y: f64| (x - y).abs() < 1e-9;
        assert!(close(time.steps, 3.0) && close(time.moving, 1.0), "{time:?}");
        assert!(close(time.evaluating, 1.5) && close(time.program, 4.5), "{time:?}");
        let lines: Vec<_> =
            time.before.iter().map(|(p, n, s)| (p.as_ref().map(|p| p.line), *n, *s)).collect();
        assert_eq!(lines, [(Some(5), 2, 2.5), (None, 1, 1.0), (Some(3), 1, 1.0)]);
        assert_eq!(super::time(&[], 2.0).program, 2.0);
    }

    #[test]
    fn a_line_that_nothing_runs_before_is_found() {
        use super::super::{Waste, report};
        let reads = (0..10).map(|i| {
            record(What::Read { bytes: 4 }, f64::from(i) + 0.9, 0.1, Some(5 + u32::from(i == 9)))
        });
        let found = report(reads.collect(), 10.0).findings;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].waste, Waste::IdleDevice);
        assert_eq!(found[0].place.as_ref().map(|p| p.line), Some(5));
        assert!(found[0].times == 9 && (found[0].seconds - 8.1).abs() < 1e-9, "{found:?}");
        // Evaluated once, on a line of its own, it is no loop.
        let once = vec![record(What::Read { bytes: 4 }, 9.0, 1.0, Some(5))];
        assert!(report(once, 10.0).findings.is_empty());
    }
}
