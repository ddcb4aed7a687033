//! What goes wrong and what comes after it: each fault is an error with a message, and the next work runs.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use lazulite_core::backend::{self, Limit};
use lazulite_core::op::kernel::{self, CudaCode, CudaSource, CudaText};
use lazulite_core::{Array, Device, Dtype, Error, ErrorKind, Literal, Result};

use super::check::{Report, on};

fn note(r: &mut Report, name: &str, ok: bool) {
    match ok {
        true => r.passed += 1,
        false => r.failed.push(format!("faults: {name}")),
    }
}

/// True iff the GPU computes as before.
fn works(device: Device) -> bool {
    let sum = || Array::from_slice(&[1f32, 2.0, 3.0], &[3])?.add(&Array::scalar(1.0f32))?.to_vec();
    on(device, sum).is_ok_and(|v: Vec<f32>| v == [2.0, 3.0, 4.0])
}

/// Whatever `f` does must be an error of this kind whose text has `words`, and the next step must run.
pub fn refused<T>(
    r: &mut Report,
    name: &str,
    kind: ErrorKind,
    words: &str,
    f: impl FnOnce() -> Result<T>,
) {
    let error = on(Device::GPU, f).err();
    let right = |e: &Error| e.kind() == kind && e.to_string().contains(words);
    if let Some(e) = &error {
        println!("as expected: {}", e.to_string().chars().take(300).collect::<String>());
    }
    note(r, name, error.as_ref().is_some_and(right));
    note(r, &format!("after {name}"), works(Device::GPU));
}

/// A kernel of one output of four elements.
fn cuda(label: &str, body: &str) -> Result<Vec<f32>> {
    let code = CudaCode {
        text: CudaText::Source(CudaSource {
            body: body.into(),
            header: String::new(),
            inputs: vec!["x".into()],
            outputs: vec!["y".into()],
            template: Vec::new(),
        }),
        grid: [4, 1, 1],
        block: [4, 1, 1],
        shared: 0,
        init: None,
        contiguous: true,
    };
    let x = Array::from_slice(&[1f32, 2.0, 3.0, 4.0], &[4])?;
    kernel::cuda(label, &[x], &[(&[4], Dtype::F32)], code)?[0].to_vec()
}

/// A million elements.
const MILLION: usize = 1 << 20;

/// This program again, with an argument.
fn child(what: &str) -> Option<Command> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.arg("child").arg(what).stdout(Stdio::piped());
    Some(command)
}

pub fn checks(r: &mut Report) {
    refused(r, "an index out of range", ErrorKind::Axis, "7", || {
        let far = Array::from_slice(&[0i32, 7], &[2])?;
        Array::from_slice(&[1f32, 2.0, 3.0], &[3])?.take(&far, Some(0))?.to_vec::<f32>()
    });
    refused(r, "an array larger than the limit", ErrorKind::OutOfMemory, "limit", || {
        Array::ones(&[MILLION, MILLION], Dtype::F32)?.exp()?.to_vec::<f32>()
    });
    let Ok(gpu) = backend::get(Device::GPU) else { return };
    let former = gpu.set_limit(Device::GPU, Limit::Memory, usize::MAX / 2);
    refused(r, "an array larger than the card", ErrorKind::OutOfMemory, "live", || {
        Array::ones(&[MILLION, MILLION], Dtype::F32)?.exp()?.to_vec::<f32>()
    });
    // Ten arrays of 2^30 bytes fit the limit, with a few small ones.
    let now = gpu.memory(Device::GPU).active;
    gpu.set_limit(Device::GPU, Limit::Memory, now + 10 * (1 << 30) + MILLION);
    let mut held = Vec::new();
    refused(r, "the eleventh array", ErrorKind::OutOfMemory, "limit", || {
        for i in 0..11 {
            let x = Array::full(&[1 << 28], Literal::from_f64(i as f64, Dtype::F32))?
                .add(&Array::scalar(0.5f32))?;
            x.eval()?;
            held.push(x);
        }
        Ok(())
    });
    let ends = |(i, x): (usize, &Array)| {
        let last = || x.slice(&[(1 << 28) - 2], &[1 << 28], &[1])?.to_vec::<f32>();
        on(Device::GPU, last).is_ok_and(|v| v == [i as f32 + 0.5; 2])
    };
    note(r, "the ten before it", held.len() == 10 && held.iter().enumerate().all(ends));
    drop(held);
    gpu.set_limit(Device::GPU, Limit::Memory, former);
    gpu.clear_cache(Device::GPU);
    refused(r, "source that does not compile", ErrorKind::Kernel, "nonsense", || {
        cuda("nonsense", "y[0] = nothing_of_this_name;")
    });
    refused(r, "a block of too many threads", ErrorKind::Kernel, "wide", || {
        let code = CudaCode { grid: [4096, 1, 1], block: [4096, 1, 1], ..super::runs::doubling() };
        let x = Array::ones(&[1000], Dtype::F32)?;
        kernel::cuda("wide", &[x], &[(&[1000], Dtype::F32)], code)?[0].to_vec::<f32>()
    });
    processes(r);
}

/// What other processes do to the device, and this one does not notice.
fn processes(r: &mut Report) {
    let Some(mut lost) = child("lost") else { return };
    let output = lost.output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    println!("{}", output.as_deref().unwrap_or("no child").trim());
    note(
        r,
        "a process that lost its device",
        output.is_ok_and(|text| text.contains("lost: right")),
    );
    note(r, "after another process lost its device", works(Device::GPU));
    // One that is killed while it works.
    let Some(Ok(mut busy)) = child("busy").map(|mut c| c.spawn()) else { return };
    let mut lines = busy.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
    let begun = lines.any(|line| line.is_ok_and(|line| line == "busy"));
    note(r, "two processes at once", begun && works(Device::GPU));
    let killed = busy.kill().is_ok() && busy.wait().is_ok();
    note(r, "after another process was killed", killed && works(Device::GPU));
}

/// What the processes of [`processes`] do.
pub fn run_child(what: &str) {
    match what {
        "lost" => {
            let far = on(Device::GPU, || cuda("far", "((float*)64)[i()] = x[0];").and(Ok(())));
            // A body that does not compile is an error of its own, with which nothing is lost.
            let compiled =
                far.err().is_some_and(|e| e.kind() == ErrorKind::Kernel) && works(Device::GPU);
            let wild =
                on(Device::GPU, || cuda("wild", "((float*)64)[threadIdx.x] = x[0]; y[0] = 1;"));
            let message = wild.err().map(|e| e.to_string()).unwrap_or_default();
            println!("as expected: {message}");
            // Every later step says the same, those on the processor run, and nothing hangs at the end.
            let later = on(Device::GPU, || Array::ones(&[3], Dtype::F32)?.exp()?.to_vec::<f32>());
            let later = later.err().map(|e| e.to_string()).unwrap_or_default();
            let named = |text: &str| text.contains("a new process has the device again");
            let right = compiled && named(&message) && named(&later) && works(Device::CPU);
            println!("lost: {}", if right { "right" } else { "wrong" });
        }
        "busy" => {
            let _ = on(Device::GPU, || {
                let mut x = Array::ones(&[1 << 28], Dtype::F32)?;
                x.eval()?;
                println!("busy");
                loop {
                    x = x.multiply(&Array::scalar(0.5f32))?.add(&Array::scalar(0.5f32))?;
                    x.sum(None, false)?.item::<f32>()?;
                }
                #[expect(unreachable_code, reason = "it is killed")]
                Ok(())
            });
        }
        other => println!("no such child: {other}"),
    }
}

/// Arrays of more than 2^31 elements: values at both ends, of a real one and of broadcast views.
pub fn large(r: &mut Report) {
    const ROWS: usize = 1 << 16;
    const COLUMNS: usize = (1 << 15) + 8;
    let memory =
        backend::get(Device::GPU).map(|b| b.limit(Device::GPU, Limit::Memory)).unwrap_or(0);
    if memory < 24 << 30 {
        println!("skipped: arrays of 2^31 elements need 24 GB");
        return;
    }
    let check = || -> Result<Vec<(&'static str, bool)>> {
        let (rows, columns) = (ROWS as i64, COLUMNS as i64);
        let row = Array::arange(0.0, ROWS as f64, 1.0, Some(Dtype::I32), SIGNED)?;
        let row = row.reshape(&[ROWS, 1])?;
        let column = Array::arange(0.0, COLUMNS as f64, 1.0, Some(Dtype::I32), SIGNED)?;
        let view = row.broadcast_to(&[ROWS, COLUMNS])?;
        // Element (i, j) is (i + j) mod 251, which differs between places 2^31 or 2^32 apart.
        let x = view.add(&column)?.remainder(&Array::scalar(251i32))?.astype(Dtype::U8)?;
        x.eval()?;
        let want = |i: i64, j: i64| ((i + j) % 251) as u8;
        let corner = |x: &Array, i: i64, j: i64| {
            x.slice(&[i, j], &[i + 2, j + 2], &[1, 1])?.flatten(0, -1)?.to_vec::<u8>()
        };
        let square = |i, j| [want(i, j), want(i, j + 1), want(i + 1, j), want(i + 1, j + 1)];
        let (i, j) = (rows - 2, columns - 2);
        let flat = x.flatten(0, -1)?;
        let n = rows * columns;
        let places = Array::from_slice(&[0, n / 2, n - 1], &[3])?;
        let at = |place: i64| want(place / columns, place % columns);
        let sums: i64 = (0..columns).map(|j| i64::from(want(rows - 1, j))).sum();
        let wide = x.astype(Dtype::I32)?;
        let total = wide.sum(Some(&[1]), false)?;
        let ends = total.slice(&[rows - 1], &[rows], &[1])?.to_vec::<i32>()?;
        let down = view.slice(&[0, columns - 3], &[rows, columns], &[1, 1])?;
        let down = down.astype(Dtype::I64)?.sum(Some(&[0]), false)?.to_vec::<i64>()?;
        let turned = x.t()?.add(&Array::scalar(1u8))?;
        let reversed = flat.slice(&[n - 1], &[-n - 1], &[-1])?;
        let reversed = reversed.add(&Array::scalar(0u8))?;
        reversed.eval()?;
        Ok(vec![
            ("the first corner", corner(&x, 0, 0)? == square(0, 0)),
            ("the last corner", corner(&x, i, j)? == square(i, j)),
            (
                "a copy of the transposed array",
                corner(&turned, j, i)? == square(i, j).map(|v| v + 1),
            ),
            (
                "gathered",
                flat.take(&places, Some(0))?.to_vec::<u8>()? == [at(0), at(n / 2), at(n - 1)],
            ),
            ("sums of rows", ends == [sums as i32]),
            ("a sum of a broadcast view", down == [rows * (rows - 1) / 2; 3]),
            ("reversed", {
                let two = reversed.slice(&[n - 2], &[n], &[1])?.to_vec::<u8>()?;
                two == [at(1), at(0)]
            }),
            ("counted", x.equal(&x)?.all(None, false)?.item::<bool>()?),
            ("the greatest place", flat.argmax(None, false)?.item::<u32>()? == 250),
        ])
    };
    match on(Device::GPU, check) {
        Ok(all) => all.into_iter().for_each(|(name, ok)| note(r, &format!("2^31: {name}"), ok)),
        Err(e) => r.failed.push(format!("2^31 elements: {e}")),
    }
    if let Ok(gpu) = backend::get(Device::GPU) {
        gpu.clear_cache(Device::GPU);
    }
}

const SIGNED: lazulite_core::dtype::Category = lazulite_core::dtype::Category::SignedInteger;
