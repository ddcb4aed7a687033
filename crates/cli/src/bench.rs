//! `lazulite bench --serve`: the worker of `benches/`, one JSON request a line.
//!
//! `benches/README.md` defines the protocol, the inputs and every case.

mod cases;

use cases::{Case, Params};
use lazulite::prelude::*;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

/// Answers requests from standard input until it ends.
///
/// # Errors
/// Kind `Io` if standard output cannot be written.
pub fn serve() -> Result<()> {
    let mut last: Option<(String, Value, Case)> = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match line {
            Ok(line) => answer(&line, &mut last),
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .map_err(|error| Error::io("bench", "standard output", error))?;
    }
    Ok(())
}

fn answer(line: &str, last: &mut Option<(String, Value, Case)>) -> Value {
    let request: Value = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let name = request["case"].as_str().unwrap_or("").to_string();
    if name == "hello" {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = std::env::var("LAZULITE_NUM_THREADS")
            .ok()
            .and_then(|t| t.parse().ok())
            .unwrap_or(threads);
        return json!({ "name": "lazulite", "version": env!("CARGO_PKG_VERSION"), "threads": threads });
    }
    match timed(name, &request, last) {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            *last = None;
            json!({ "unsupported": error.to_string() })
        }
        Err(error) => {
            *last = None;
            json!({ "error": error.to_string() })
        }
    }
}

fn timed(name: String, request: &Value, last: &mut Option<(String, Value, Case)>) -> Result<Value> {
    let params = request["params"].clone();
    let mut check = None;
    if !matches!(last, Some((n, p, _)) if *n == name && *p == params) {
        *last = None;
        let mut case = cases::make(&name, &Params(&params))?;
        check = Some(samples(&case()?)?);
        *last = Some((name, params, case));
    }
    let Some((_, _, case)) = last else { return Ok(json!({ "error": "no case" })) };
    let budget =
        Duration::from_secs_f64(request["budget"].as_f64().unwrap_or(0.2).clamp(0.0, 60.0));
    let repeats = request["repeats"].as_u64().unwrap_or(100).max(1);
    let begin = Instant::now();
    let mut seconds = Vec::new();
    while seconds.is_empty() || (begin.elapsed() < budget && (seconds.len() as u64) < repeats) {
        let start = Instant::now();
        let result = case()?;
        seconds.push(start.elapsed().as_secs_f64());
        drop(result);
    }
    Ok(match check {
        Some(check) => json!({ "seconds": seconds, "check": check }),
        None => json!({ "seconds": seconds }),
    })
}

/// Up to 64 values of a result, evenly spaced in row-major order.
fn samples(x: &Array) -> Result<Value> {
    let values = x.reshape(&[x.len()])?.astype(Dtype::F64)?.to_vec::<f64>()?;
    let count = values.len().min(64);
    let picked: Vec<f64> = (0..count).map(|k| values[k * values.len() / count]).collect();
    Ok(json!({ "shape": x.shape(), "samples": picked }))
}
