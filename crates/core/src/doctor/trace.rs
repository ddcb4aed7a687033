//! Records in the trace event format of Chrome (complete events, `"ph": "X"`, times in
//! microseconds), after "Trace Event Format", Google, 2016.

use crate::observe::{Record, What};
use crate::text::quote;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Rows of streams are numbered from here on, so that they come below those of threads.
const STREAMS: usize = 1000;

pub(super) fn chrome(records: &[Record]) -> String {
    let mut streams: BTreeMap<&str, usize> = BTreeMap::new();
    for r in records {
        if let What::Step { stream, .. } = &r.what {
            let next = STREAMS + streams.len();
            streams.entry(stream).or_insert(next);
        }
    }
    let mut threads: Vec<u64> = records.iter().map(|r| r.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    let mut events: Vec<String> = Vec::with_capacity(records.len() + 16);
    let mut name = |row: usize, name: &str| {
        events.push(format!(
            "{{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": {row}, \
             \"args\": {{\"name\": {}}}}}",
            quote(name)
        ));
    };
    threads.iter().for_each(|&t| name(t as usize, &format!("host thread {t}")));
    streams.iter().for_each(|(stream, &row)| name(row, stream));
    for r in records {
        let (label, row, arguments) = describe(r, &streams);
        let phase = if r.seconds > 0.0 { "X" } else { "i" };
        let mut event = format!(
            "{{\"name\": {}, \"ph\": \"{phase}\", \"pid\": 1, \"tid\": {row}, \"ts\": {:.3}, ",
            quote(&label),
            r.start * 1e6
        );
        if r.seconds > 0.0 {
            let _ = write!(event, "\"dur\": {:.3}, ", r.seconds * 1e6);
        } else {
            event.push_str("\"s\": \"t\", ");
        }
        let place = r.place.as_ref().map_or_else(String::new, |p| {
            format!(
                "{}\"line\": {}",
                if arguments.is_empty() { "" } else { ", " },
                quote(&p.to_string())
            )
        });
        let _ = write!(event, "\"args\": {{{arguments}{place}}}}}");
        events.push(event);
    }
    format!("{{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n{}\n]}}\n", events.join(",\n"))
}

/// A record's label, row and arguments.
fn describe(r: &Record, streams: &BTreeMap<&str, usize>) -> (String, usize, String) {
    let host = r.thread as usize;
    match &r.what {
        What::Evaluation { nodes, steps, planned, planning, peak, .. } => {
            let arguments = format!(
                "\"nodes\": {nodes}, \"steps\": {steps}, \"plan\": \"{planned:?}\", \
                 \"planning_us\": {:.3}, \"peak_bytes\": {peak}",
                planning * 1e6
            );
            ("evaluation".to_string(), host, arguments)
        }
        What::Step { op, stream, bytes, flops, index, .. } => {
            let row = streams.get(stream.as_str()).copied().unwrap_or(STREAMS);
            let arguments = format!("\"step\": {index}, \"bytes\": {bytes}, \"flops\": {flops}");
            ((*op).to_string(), row, arguments)
        }
        What::Read { bytes } => ("read".to_string(), host, format!("\"bytes\": {bytes}")),
        What::Upload { bytes } => ("upload".to_string(), host, format!("\"bytes\": {bytes}")),
        What::Copy { bytes } => ("device copy".to_string(), host, format!("\"bytes\": {bytes}")),
        What::Promotion { op, elements, from } => {
            let arguments = format!(
                "\"op\": {}, \"elements\": {elements}, \"from\": \"{} and {}\"",
                quote(op),
                from[0],
                from[1]
            );
            ("promotion".to_string(), host, arguments)
        }
        What::Trace { before, .. } => {
            ("trace of a function".to_string(), host, format!("\"traces_before\": {before}"))
        }
    }
}
