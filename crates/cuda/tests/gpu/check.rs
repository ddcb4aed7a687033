//! Random inputs, and the comparison of a result on the GPU with the same on the processor.

use lazulite_core::{Array, Device, Dtype, Result, Stream, eval, with_stream};

/// Random numbers that differ from run to run.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn array(&mut self, dtype: Dtype, shape: &[usize], low: f64, high: f64) -> Array {
        let n: usize = shape.iter().product();
        let data: Vec<f64> = (0..n).map(|_| low + (high - low) * self.next()).collect();
        given(dtype, shape, &data)
    }

    pub fn indices(&mut self, shape: &[usize], bound: usize) -> Array {
        let n: usize = shape.iter().product();
        let data: Vec<i32> =
            (0..n).map(|_| (self.next() * 2.0 * bound as f64) as i32 - bound as i32).collect();
        Array::from_slice(&data, shape).unwrap_or_else(|e| panic!("input: {e}"))
    }
}

/// An array of given numbers; complex ones have -0.7 of them as imaginary parts.
pub fn given(dtype: Dtype, shape: &[usize], data: &[f64]) -> Array {
    let make = || {
        let x = Array::from_slice(data, shape)?;
        let x =
            if dtype == Dtype::Bool { x.greater(&Array::scalar(0.5))? } else { x.astype(dtype)? };
        let x = match dtype {
            Dtype::C64 => {
                let im = Array::from_slice(data, shape)?.multiply(&Array::scalar(-0.7))?;
                let im = im.astype(Dtype::F32)?;
                x.real()?.make_complex(&im)?
            }
            _ => x,
        };
        x.eval()?;
        Ok(x)
    };
    on(Device::CPU, make).unwrap_or_else(|e: lazulite_core::Error| panic!("input: {e}"))
}

pub const FLOATS: [Dtype; 4] = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F64];

pub fn on<T>(device: Device, f: impl FnOnce() -> Result<T>) -> Result<T> {
    with_stream(Stream::default_of(device), f)
}

/// All elements as doubles; complex ones as two.
pub fn numbers(x: &Array) -> Result<Vec<f64>> {
    on(Device::CPU, || {
        if x.dtype() == Dtype::C64 {
            let mut all = x.real()?.astype(Dtype::F64)?.to_vec::<f64>()?;
            all.extend(x.imag()?.astype(Dtype::F64)?.to_vec::<f64>()?);
            return Ok(all);
        }
        x.astype(Dtype::F64)?.to_vec::<f64>()
    })
}

pub struct Report {
    pub passed: usize,
    pub failed: Vec<String>,
    pub filter: Option<String>,
    /// Which of how many parts of the table this process checks, and how many checks it met.
    pub part: (usize, usize),
    pub met: usize,
}

impl Report {
    /// Runs `f` on both devices; results may differ by `rtol` of the value plus `atol`.
    pub fn check(&mut self, name: &str, rtol: f64, atol: f64, f: impl Fn() -> Result<Vec<Array>>) {
        if self.filter.as_ref().is_some_and(|f| !name.contains(f.as_str())) {
            return;
        }
        self.met += 1;
        if self.met % self.part.1 != self.part.0 {
            return;
        }
        let run = |device| {
            on(device, || {
                let out = f()?;
                eval::eval(&out)?;
                Ok(out)
            })
        };
        let before = lazulite_cuda::backend::host_steps();
        let compare = || -> Result<Option<String>> {
            // What the processor refuses, the GPU need not compute.
            let Ok(want) = run(Device::CPU) else { return Ok(Some("refused".into())) };
            let got = run(Device::GPU)?;
            for (i, (w, g)) in want.iter().zip(&got).enumerate() {
                if w.shape() != g.shape() || w.dtype() != g.dtype() {
                    return Ok(Some(format!("output {i} has another shape or dtype")));
                }
                // One unit in the last place of the half types, which round sums that differ.
                let slack = match w.dtype() {
                    Dtype::BF16 => 0.008,
                    Dtype::F16 => 0.001,
                    _ => 0.0,
                };
                let (w, g) = (numbers(w)?, numbers(g)?);
                let close = |a: f64, b: f64| {
                    a == b
                        || (a.is_nan() && b.is_nan())
                        || (a - b).abs() <= atol + (rtol + slack) * a.abs()
                };
                let bad: Vec<usize> = (0..w.len()).filter(|&j| !close(w[j], g[j])).collect();
                if let Some(&j) = bad.first() {
                    return Ok(Some(format!(
                        "output {i}: {} of {} differ, first at {j}: cpu {:e}, gpu {:e}",
                        bad.len(),
                        w.len(),
                        w[j],
                        g[j]
                    )));
                }
            }
            Ok(None)
        };
        match compare() {
            Ok(None) => {
                self.passed += 1;
                let host = lazulite_cuda::backend::host_steps() - before;
                if host > 0 {
                    println!("host {name}: {host} steps");
                }
            }
            Ok(Some(what)) if what == "refused" => println!("refused by the processor: {name}"),
            Ok(Some(what)) => self.failed.push(format!("{name}: {what}")),
            Err(e) => {
                let text: String = e.to_string().chars().take(600).collect();
                self.failed.push(format!("{name}: {text}"));
            }
        }
    }
}
