//! The whole table of ops on a GPU against the processor, on fresh random inputs; with the argument
//! `bench`, timings. One program without a harness, so that its binary runs by itself on a machine
//! that has a driver and nothing else. Without a GPU it says so and checks nothing.

use std::time::Instant;

use lazulite_core::op::elementwise::{BINARY_OPS, UNARY_OPS};
use lazulite_core::op::fast::scaled_dot_product_attention as attention;
use lazulite_core::op::fast::{Frequencies, Mask, layer_norm, rms_norm, rope};
use lazulite_core::op::quantized::{QuantFormat, QuantMode};
use lazulite_core::op::reduce::REDUCTIONS;
use lazulite_core::op::scan::SCANS;
use lazulite_core::op::scatter::UpdateMode;
use lazulite_core::op::{elementwise, random, reduce, scan};
use lazulite_core::transform::{Repeated, vjp_arrays};
use lazulite_core::{Array, Device, Dtype, Result, Stream, backend, eval, with_stream};
use lazulite_cpu as _;

mod bench;
mod conv;

/// Random numbers that differ from run to run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn array(&mut self, dtype: Dtype, shape: &[usize], low: f64, high: f64) -> Array {
        let n: usize = shape.iter().product();
        let data: Vec<f64> = (0..n).map(|_| low + (high - low) * self.next()).collect();
        let make = || {
            let x = Array::from_slice(&data, shape)?;
            let x = if dtype == Dtype::Bool {
                x.greater(&Array::scalar(0.5))?
            } else {
                x.astype(dtype)?
            };
            let x = match dtype {
                Dtype::C64 => {
                    let im = Array::from_slice(&data, shape)?.multiply(&Array::scalar(-0.7))?;
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

    fn indices(&mut self, shape: &[usize], bound: usize) -> Array {
        let n: usize = shape.iter().product();
        let data: Vec<i32> =
            (0..n).map(|_| (self.next() * 2.0 * bound as f64) as i32 - bound as i32).collect();
        Array::from_slice(&data, shape).unwrap_or_else(|e| panic!("input: {e}"))
    }
}

fn on<T>(device: Device, f: impl FnOnce() -> Result<T>) -> Result<T> {
    with_stream(Stream::default_of(device), f)
}

/// All elements as doubles; complex ones as two.
fn numbers(x: &Array) -> Result<Vec<f64>> {
    on(Device::CPU, || {
        if x.dtype() == Dtype::C64 {
            let mut all = x.real()?.astype(Dtype::F64)?.to_vec::<f64>()?;
            all.extend(x.imag()?.astype(Dtype::F64)?.to_vec::<f64>()?);
            return Ok(all);
        }
        x.astype(Dtype::F64)?.to_vec::<f64>()
    })
}

struct Report {
    passed: usize,
    failed: Vec<String>,
    filter: Option<String>,
    /// Which of how many parts of the table this process checks, and how many checks it met.
    part: (usize, usize),
    met: usize,
}

impl Report {
    /// Runs `f` on both devices; results may differ by `rtol` of the value plus `atol`.
    fn check(&mut self, name: &str, rtol: f64, atol: f64, f: impl Fn() -> Result<Vec<Array>>) {
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

const FLOATS: [Dtype; 4] = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F64];

fn tables(r: &mut Report, d: &mut Draw) {
    for dtype in Dtype::ALL {
        for info in UNARY_OPS {
            let (low, high) = info.domain;
            let x = d.array(
                dtype,
                &[37, 29],
                if dtype.is_integer() { low.max(0.0) } else { low },
                high,
            );
            // Two libraries, each within the table's bound; complex functions are looser.
            let rtol = if dtype == Dtype::F64 { 1e-13 } else { 2e-6 };
            r.check(&format!("{} {dtype}", info.name), rtol, 2e-6, || {
                Ok(vec![elementwise::unary(info.op, &x)?])
            });
        }
        for info in BINARY_OPS {
            let x = d.array(dtype, &[37, 29], if dtype.is_integer() { 0.0 } else { -4.0 }, 9.0);
            let y = d.array(dtype, &[29], 0.6, 5.0);
            let rtol = if dtype == Dtype::F64 { 1e-13 } else { 3e-6 };
            r.check(&format!("{} {dtype}", info.name), rtol, 4e-6, || {
                Ok(vec![elementwise::binary(info.op, &x, &y)?])
            });
        }
        let x = d.array(dtype, &[33, 65], if dtype.is_integer() { 0.0 } else { -300.0 }, 300.0);
        for to in Dtype::ALL {
            r.check(&format!("astype {dtype} {to}"), 0.0, 0.0, || Ok(vec![x.astype(to)?]));
        }
        r.check(&format!("layouts {dtype}"), 0.0, 0.0, || {
            let t = x.t()?;
            let s = x.slice(&[1, 0], &[33, 65], &[2, 3])?;
            let f = x.flip(None)?;
            Ok(vec![t.reshape(&[65 * 33])?, s.reshape(&[16 * 22])?, f.reshape(&[33 * 65])?])
        });
    }
    let (x, b) =
        (d.array(Dtype::F32, &[8, 5, 48], -2.0, 2.0), d.array(Dtype::F32, &[5, 1], -2.0, 2.0));
    let c = d.array(Dtype::Bool, &[48], 0.0, 1.0);
    r.check("fused broadcast select", 2e-6, 1e-6, || {
        let y = x.multiply(&b)?.add(&x)?;
        Ok(vec![c.select(&y.exp()?, &x)?, y])
    });
}

fn reductions(r: &mut Report, d: &mut Draw) {
    let shapes: [&[usize]; 6] =
        [&[1, 300_000], &[1000, 7], &[7, 1000], &[300, 1031], &[6, 40, 33], &[3, 70_000]];
    for shape in shapes {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::I32, Dtype::Bool, Dtype::F64, Dtype::C64] {
            let x = d.array(dtype, shape, 0.1, 1.9);
            for info in REDUCTIONS {
                if info.name == "prod" && dtype != Dtype::F32 {
                    continue;
                }
                let all: Vec<i64> = (0..shape.len() as i64).collect();
                for axes in [&all[..], &all[..1], &all[1..], &all[all.len() - 1..]] {
                    // Sums of n terms in another order differ by a few roundings of the sum.
                    let name = format!("{} {dtype} {shape:?} over {axes:?}", info.name);
                    // Products of n factors round n times, relative to the result.
                    let rtol = match dtype {
                        Dtype::F64 => 1e-12,
                        _ if info.name == "prod" => 3e-4,
                        _ => 2e-5,
                    };
                    r.check(&name, rtol, 1e-5, || {
                        let x = if info.name == "prod" {
                            x.multiply(&Array::scalar(0.01f32))?.add(&Array::scalar(0.99f32))?
                        } else {
                            x.clone()
                        };
                        Ok(vec![reduce::reduce(info.op, &x, Some(axes), false)?])
                    });
                }
            }
        }
        for dtype in FLOATS {
            let x = d.array(dtype, shape, -3.0, 3.0);
            let n = shape[shape.len() - 1];
            let w = d.array(dtype, &[n], 0.5, 1.5);
            let atol = if dtype.is_half() { 0.02 } else { 1e-5 };
            r.check(&format!("softmax {dtype} {shape:?}"), 1e-4, 1e-7, || {
                Ok(vec![x.softmax(Some(&[-1]), true)?])
            });
            r.check(&format!("softmax of axis 0 {dtype} {shape:?}"), 1e-4, 1e-7, || {
                Ok(vec![x.softmax(Some(&[0]), true)?])
            });
            r.check(&format!("norms {dtype} {shape:?}"), 1e-3, atol, || {
                let a = rms_norm(&x, Some(&w), 1e-5)?;
                let b = layer_norm(&x, Some(&w), Some(&w), 1e-5)?;
                Ok(vec![a, b, x.var(Some(&[-1]), false, 0)?])
            });
        }
    }
}

fn moving(r: &mut Report, d: &mut Draw) {
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::I64, Dtype::Bool, Dtype::C64, Dtype::I8] {
        let x = d.array(dtype, &[50, 12, 16], 0.0, 50.0);
        let y = d.array(dtype, &[50, 3, 16], 0.0, 50.0);
        let (i, j) = (d.indices(&[7, 5], 50), d.indices(&[7, 5], 12));
        let k = d.indices(&[50, 4, 16], 12);
        let u = d.array(dtype, &[7, 5, 1, 1, 16], 0.0, 9.0);
        let v = d.array(dtype, &[50, 4, 16], 0.0, 9.0);
        let start = Array::from_slice(&[3i32, 2], &[2]).unwrap();
        let name = |what: &str| format!("{what} {dtype}");
        r.check(&name("concatenate"), 0.0, 0.0, || {
            Ok(vec![Array::concatenate(&[x.clone(), y.clone(), x.clone()], 1)?])
        });
        r.check(&name("gather"), 0.0, 0.0, || {
            Ok(vec![
                x.take(&i, Some(0))?,
                x.gather(&[i.clone(), j.clone()], &[0, 1], &[1, 1, 16])?,
                x.take(&j, Some(1))?,
            ])
        });
        r.check(&name("take_along_axis"), 0.0, 0.0, || Ok(vec![x.take_along_axis(&k, Some(1))?]));
        r.check(&name("dynamic_slice"), 0.0, 0.0, || {
            Ok(vec![
                x.slice_dynamic(&start, &[0, 1], &[20, 5, 16])?,
                x.slice_update_dynamic(
                    &y.slice(&[0, 0, 0], &[20, 3, 16], &[1, 1, 1])?,
                    &start,
                    &[0, 1],
                )?,
            ])
        });
        for mode in [
            UpdateMode::Set,
            UpdateMode::Add,
            UpdateMode::Max,
            UpdateMode::Min,
            UpdateMode::Multiply,
        ] {
            // Products of a few bytes may differ in half types by the order of rounding.
            let rtol = if dtype.is_inexact() { 0.03 } else { 0.0 };
            let name = |what: &str| format!("{what} {mode:?} {dtype}");
            r.check(&name("scatter"), rtol, 1e-5, || {
                Ok(vec![x.scatter(&[i.clone(), j.clone()], &u, &[0, 1], mode)?])
            });
            r.check(&name("scatter_axis"), rtol, 1e-5, || {
                Ok(vec![x.scatter_along_axis(&k, &v, Some(1), mode)?])
            });
            r.check(&name("slice_update"), rtol, 1e-5, || {
                Ok(vec![x.slice_update(&y, &[0, 2, 0], &[50, 11, 16], &[1, 3, 1], mode)?])
            });
        }
        let mask = d.array(Dtype::Bool, &[50, 12, 16], 0.0, 1.0);
        let src = d.array(dtype, &[9600], 0.0, 9.0);
        r.check(&name("masked_scatter"), 0.0, 0.0, || Ok(vec![x.masked_scatter(&mask, &src)?]));
    }
    for dtype in
        [Dtype::F32, Dtype::BF16, Dtype::I32, Dtype::U8, Dtype::F64, Dtype::I64, Dtype::F16]
    {
        for shape in [&[40, 300][..], &[3, 5000], &[70_001], &[9, 13, 5], &[70, 4096], &[1]] {
            let x = d.array(dtype, shape, 0.0, 100.0);
            let name = |what: &str| format!("{what} {dtype} {shape:?}");
            r.check(&name("sort"), 0.0, 0.0, || Ok(vec![x.sort(Some(-1))?, x.argsort(Some(-1))?]));
            r.check(&name("sort of axis 0"), 0.0, 0.0, || {
                Ok(vec![x.sort(Some(0))?, x.argsort(Some(0))?])
            });
            r.check(&name("argmax"), 0.0, 0.0, || {
                Ok(vec![
                    x.argmax(Some(-1), false)?,
                    x.argmin(Some(0), false)?,
                    x.argmax(None, false)?,
                ])
            });
            r.check(&name("topk"), 0.0, 0.0, || {
                let n = shape[shape.len() - 1];
                Ok(vec![
                    x.topk(3, Some(-1))?.sort(Some(-1))?,
                    x.partition((n / 2) as i64, Some(-1))?
                        .slice(
                            &vec![0; shape.len()],
                            &shape.iter().map(|&n| n as i64).collect::<Vec<_>>(),
                            &vec![1; shape.len()],
                        )?
                        .sort(Some(-1))?,
                ])
            });
            let small = d.array(dtype, shape, 0.0, 1.5);
            for info in SCANS {
                for (reverse, inclusive) in [(false, true), (true, false)] {
                    let inexact = dtype.is_inexact() || info.name == "logcumsumexp";
                    let rtol = if inexact { 2e-4 } else { 0.0 };
                    r.check(
                        &name(&format!("{} {reverse} {inclusive}", info.name)),
                        rtol,
                        1e-4,
                        || {
                            Ok(vec![
                                scan::scan(info.op, &small, -1, reverse, inclusive)?,
                                scan::scan(info.op, &small, 0, reverse, inclusive)?,
                            ])
                        },
                    );
                }
            }
        }
    }
    let odd = [f32::NAN, 1.0, -0.0, 0.0, f32::INFINITY, -1.0, -f32::NAN, f32::NEG_INFINITY, 0.0];
    for n in [9usize, 9000] {
        let x: Vec<f32> = odd.iter().cycle().take(n).copied().collect();
        let x = Array::from_slice(&x, &[n]).unwrap_or_else(|e| panic!("input: {e}"));
        for dtype in FLOATS {
            r.check(&format!("extremes with NaN {n} {dtype}"), 0.0, 0.0, || {
                let x = x.astype(dtype)?;
                let y = x.flip(None)?;
                Ok(vec![x.max(None, false)?, x.min(None, false)?, x.maximum(&y)?, x.minimum(&y)?])
            });
            r.check(&format!("sort of extremes {n} {dtype}"), 0.0, 0.0, || {
                let x = x.astype(dtype)?;
                Ok(vec![x.sort(None)?, x.argsort(None)?])
            });
        }
    }
    // Rows that the blocks of a cluster share.
    for shape in [[150, 33_000], [140, 9001]] {
        for dtype in [Dtype::F32, Dtype::BF16] {
            let x = d.array(dtype, &shape, -3.0, 3.0);
            let atol = if dtype.is_half() { 0.02 } else { 1e-5 };
            r.check(&format!("long rows {dtype} {shape:?}"), 1e-3, atol, || {
                Ok(vec![
                    x.softmax(Some(&[-1]), true)?,
                    rms_norm(&x, None, 1e-5)?,
                    x.var(Some(&[-1]), false, 0)?,
                    x.max(Some(&[-1]), false)?,
                ])
            });
        }
    }
    for n in [1usize, 7, 1000, 100_003, 1 << 16] {
        r.check(&format!("random {n}"), 0.0, 0.0, || {
            let key = random::key(42)?;
            Ok(vec![
                random::bits(&[n], 4, Some(&key))?,
                random::bits(&[n], 2, Some(&key))?,
                random::bits(&[n], 1, Some(&key))?,
                random::split(&key, n.min(50))?,
            ])
        });
        r.check(&format!("random draws {n}"), 4e-6, 1e-6, || {
            let key = random::key(7)?;
            Ok(vec![
                random::unit_uniform(&[n], Dtype::F32, Some(&key))?,
                random::gumbel(&[n], Dtype::F32, Some(&key))?,
                random::unit_uniform(&[n], Dtype::F32, Some(&key))?
                    .add(&random::bits(&[n], 4, Some(&key))?.astype(Dtype::F32)?)?,
            ])
        });
    }
}

fn products(r: &mut Report, d: &mut Draw) {
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F64, Dtype::C64] {
        // Sums of k products of half-precision results: one rounding at the end.
        let (rtol, atol) = (1e-4, if dtype.is_half() { 0.05 } else { 1e-4 });
        for (m, n, k) in
            [(1, 64, 96), (3, 5, 7), (17, 33, 65), (128, 256, 192), (5, 8, 0), (2, 100, 1)]
        {
            let (a, b) = (d.array(dtype, &[m, k], -1.0, 1.0), d.array(dtype, &[k, n], -1.0, 1.0));
            let (at, bt) = (d.array(dtype, &[k, m], -1.0, 1.0), d.array(dtype, &[n, k], -1.0, 1.0));
            let c = d.array(dtype, &[n], -1.0, 1.0);
            r.check(&format!("matmul {dtype} {m} {n} {k}"), rtol, atol, || {
                Ok(vec![
                    a.matmul(&b)?,
                    at.t()?.matmul(&b)?,
                    a.matmul(&bt.t()?)?,
                    at.t()?.matmul(&bt.t()?)?,
                    a.matmul(&b)?.add(&c)?.multiply(&c)?,
                    a.matmul(&b)?.add(&c)?,
                    c.add(&a.matmul(&bt.t()?)?)?,
                    a.matmul(&b)?.multiply(&c)?.tanh()?,
                ])
            });
        }
        let (a, b) =
            (d.array(dtype, &[3, 1, 9, 16], -1.0, 1.0), d.array(dtype, &[4, 16, 10], -1.0, 1.0));
        r.check(&format!("matmul of batches {dtype}"), rtol, atol, || {
            let heads =
                a.transpose(Some(&[1, 2, 0, 3]))?.matmul(&a.transpose(Some(&[1, 2, 3, 0]))?)?;
            Ok(vec![a.matmul(&b)?, heads, a.flip(None)?.matmul(&b)?])
        });
    }
    for (mode, groups, widths) in [
        (QuantMode::Affine, &[32usize, 64, 128][..], &[2usize, 3, 4, 5, 6, 8][..]),
        (QuantMode::Mxfp4, &[32], &[4]),
        (QuantMode::Nvfp4, &[16], &[4]),
        (QuantMode::Mxfp8, &[32], &[8]),
    ] {
        for (&group, &bits) in groups.iter().flat_map(|g| widths.iter().map(move |b| (g, b))) {
            let Ok(format) = QuantFormat::new(mode, Some(group), Some(bits)) else { continue };
            for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
                let w = d.array(dtype, &[96, 256], -1.0, 1.0);
                let name = |what: &str| format!("{what} {mode:?} {group} {bits} {dtype}");
                r.check(&name("quantize"), 0.0, 0.0, || w.quantize(format));
                let parts = on(Device::CPU, || {
                    let parts = w.quantize(format)?;
                    eval::eval(&parts)?;
                    Ok(parts)
                });
                let Ok(parts) = parts else { continue };
                let biases = parts.get(2);
                r.check(&name("dequantize"), 1e-6, 1e-6, || {
                    Ok(vec![parts[0].dequantize(&parts[1], biases, format, Some(dtype))?])
                });
                for m in [1, 3, 8, 40] {
                    let (x, y) =
                        (d.array(dtype, &[m, 256], -1.0, 1.0), d.array(dtype, &[m, 96], -1.0, 1.0));
                    let atol = if dtype.is_half() { 0.06 } else { 1e-4 };
                    r.check(&name(&format!("quantized_matmul {m}")), 1e-3, atol, || {
                        Ok(vec![
                            x.quantized_matmul(&parts[0], &parts[1], biases, true, format)?,
                            y.quantized_matmul(&parts[0], &parts[1], biases, false, format)?,
                        ])
                    });
                }
            }
        }
    }
    grouped(r, d);
    joined(r, d);
    growing(r, d);
    // Matrices that several blocks share, at the edges of their tiles.
    for (bits, group) in [(4, 32), (4, 64), (4, 128), (8, 64)] {
        let Ok(format) = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits)) else {
            continue;
        };
        for dtype in [Dtype::BF16, Dtype::F16] {
            let w = d.array(dtype, &[200, 2048], -1.0, 1.0);
            let parts = on(Device::CPU, || {
                let parts = w.quantize(format)?;
                eval::eval(&parts)?;
                Ok(parts)
            });
            let Ok(parts) = parts else { continue };
            for m in [1, 2, 4, 5, 16, 17, 33, 64, 100, 128, 130] {
                let x = d.array(dtype, &[m, 2048], -1.0, 1.0);
                // Sums of 2048 products with weights that round once more than on the processor.
                r.check(
                    &format!("quantized_matmul tiles {bits} {group} {dtype} {m}"),
                    1e-2,
                    0.1,
                    || {
                        let (scales, biases) = (&parts[1], parts.get(2));
                        Ok(vec![x.quantized_matmul(&parts[0], scales, biases, true, format)?])
                    },
                );
            }
        }
    }
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        for (t, s, h, g, e) in [
            (1, 300, 8, 2, 64),
            (1, 3000, 4, 4, 128),
            (33, 33, 4, 2, 64),
            (70, 130, 2, 1, 80),
            (5, 9, 2, 2, 256),
            (129, 257, 4, 2, 128),
            (200, 200, 2, 2, 64),
            (300, 130, 2, 1, 96),
            (64, 65, 2, 1, 256),
            (17, 1000, 8, 1, 128),
            (4, 777, 8, 2, 128),
            (1, 9000, 32, 8, 128),
            (3, 40, 6, 3, 72),
        ] {
            let q = d.array(dtype, &[2, h, t, e], -1.0, 1.0);
            let (k, v) = (
                d.array(dtype, &[2, g, s, e], -1.0, 1.0),
                d.array(dtype, &[2, g, s, e], -1.0, 1.0),
            );
            let m = d.array(Dtype::Bool, &[t, s], 0.2, 1.0);
            let bias = d.array(dtype, &[2, 1, t, s], -1.0, 1.0);
            let sinks = d.array(dtype, &[h], -1.0, 1.0);
            let scale = 1.0 / (e as f64).sqrt();
            let atol = if dtype.is_half() { 4e-3 } else { 2e-5 };
            r.check(&format!("attention {dtype} {t} {s} {h} {g} {e}"), 1e-3, atol, || {
                Ok(vec![
                    attention(&q, &k, &v, scale, Mask::None, None)?,
                    attention(&q, &k, &v, scale, Mask::Causal, None)?,
                    attention(&q, &k, &v, scale, Mask::Array(&m), None)?,
                    attention(&q, &k, &v, scale, Mask::Array(&bias), Some(&sinks))?,
                    attention(&q, &k, &v, -scale, Mask::Causal, Some(&sinks))?,
                ])
            });
            // On the processor, the composition's gradients.
            let c = d.array(dtype, &[2, h, t, e], -1.0, 1.0);
            let name = format!("attention gradients {dtype} {t} {s} {h} {g} {e}");
            // Half types: weights and their slopes round before the second products.
            let atol = if dtype.is_half() { 2e-2 } else { 1e-4 };
            r.check(&name, 2e-2, atol, || {
                let mut out = Vec::new();
                for mask in [Mask::None, Mask::Causal, Mask::Array(&m), Mask::Array(&bias)] {
                    let sinks = matches!(mask, Mask::Causal | Mask::Array(_)).then_some(&sinks);
                    let f =
                        |x: &[Array]| Ok(vec![attention(&x[0], &x[1], &x[2], scale, mask, sinks)?]);
                    let inputs = [q.clone(), k.clone(), v.clone()];
                    out.extend(vjp_arrays(f, &inputs, |_| Ok(vec![c.clone()]))?.1);
                }
                Ok(out)
            });
            // Heads beside the elements of a position, as projections leave them.
            let turned = |x: &Array| x.transpose(Some(&[0, 2, 1, 3]));
            let beside = |x: &Array| -> Result<Array> {
                let y = turned(x)?.multiply(&Array::scalar(0.5f32).astype(dtype)?)?;
                y.eval()?;
                turned(&y)
            };
            let name = format!("attention of turned heads {dtype} {t} {s} {h} {g} {e}");
            r.check(&name, 1e-3, atol, || {
                let (q, k, v) = (beside(&q)?, beside(&k)?, beside(&v)?);
                Ok(vec![attention(&q, &k, &v, scale, Mask::Causal, None)?])
            });
        }
        let x = d.array(dtype, &[2, 4, 9, 64], -1.0, 1.0);
        let (zero, each) = (Array::scalar(5i32), Array::from_slice(&[3i32, 900], &[2]).unwrap());
        let freqs = d.array(Dtype::F32, &[16], 1.0, 100.0);
        r.check(&format!("rope {dtype}"), 2e-5, if dtype.is_half() { 8e-3 } else { 2e-5 }, || {
            Ok(vec![
                rope(&x, 64, false, Frequencies::Base(10000.0), 1.0, &zero)?,
                rope(&x, 32, true, Frequencies::Base(500.0), 0.5, &each)?,
                rope(&x, 32, false, Frequencies::Array(&freqs), 1.0, &zero)?,
            ])
        });
    }
}

/// A step that is recorded: a cache that it overwrites, a small argument, a constant. The results of
/// every call are held, so that a replay must not change those of the one before.
fn repeated(r: &mut Report) {
    let width = Array::from_slice(&[0.5f32; 64], &[64]);
    let step = Repeated::new(|(x, place, cache): (Array, Array, Array)| {
        let row = x.multiply(width.as_ref().map_err(Clone::clone)?)?.reshape(&[1, 64])?;
        let cache = cache.slice_update_dynamic(&row, &place, &[0])?;
        let sum = cache.sum(Some(&[0]), false)?;
        Ok((sum.add(&x)?, place.add(&Array::scalar(1i64))?, cache))
    });
    let run = |device| {
        on(device, || {
            let mut x = Array::ones(&[64], Dtype::F32)?;
            let mut place = Array::from_slice(&[0i64], &[1])?;
            let mut cache = Array::zeros(&[1024, 64], Dtype::F32)?;
            let mut all = Vec::new();
            for _ in 0..8 {
                (x, place, cache) = step.call((x, place, cache))?;
                all.push(x.clone());
            }
            // A cache that somebody else holds stays as it is.
            let held = cache.clone();
            let (_, _, other) = step.call((x, place, cache))?;
            let mut sums = all.iter().map(Array::to_vec::<f32>).collect::<Result<Vec<_>>>()?;
            sums.push(held.sum(None, false)?.to_vec()?);
            sums.push(other.sum(None, false)?.to_vec()?);
            Ok(sums)
        })
    };
    let before = lazulite_cuda::backend::record_stats();
    let (got, want): (Result<_>, Result<_>) = (run(Device::GPU), run(Device::CPU));
    let stats = lazulite_cuda::backend::record_stats();
    let close = |a: &Vec<f32>, b: &Vec<f32>| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs())
    };
    let same = match (&got, &want) {
        (Ok(got), Ok(want)) => got.iter().zip(want).all(|(a, b)| close(a, b)),
        _ => false,
    };
    println!("{stats:?}");
    match same && stats.replayed >= before.replayed + 6 {
        true => r.passed += 1,
        false => r.failed.push(format!("repeated: {got:?}, expected {want:?}, {stats:?}")),
    }
}

/// Softmaxes and norms over an axis that grows compile few kernels, whatever its length divides by.
fn growing(r: &mut Report, d: &mut Draw) {
    let made = || {
        let stats = lazulite_cuda::backend::module_stats();
        stats.compiled + stats.loaded
    };
    let mut after = Vec::new();
    for n in 40..100 {
        let x = d.array(Dtype::F32, &[9, 1, n], -1.0, 1.0);
        r.check(&format!("growing rows {n}"), 1e-5, 1e-6, || {
            let y = x.multiply(&Array::scalar(0.5f32))?.softmax(Some(&[-1]), true)?;
            Ok(vec![y, x.exp()?.add(&x)?])
        });
        after.push(made());
    }
    // Two for each of the two programs at most: one for the first length, and one for all others.
    let late = after.last().zip(after.get(16)).is_none_or(|(last, early)| last == early);
    match late || r.filter.is_some() || r.part.1 > 1 {
        true => r.passed += 1,
        false => r.failed.push(format!("growing rows compile kernels: {after:?}")),
    }
}

/// Products of one x, and what is done with their elements, in one launch.
fn joined(r: &mut Report, d: &mut Draw) {
    let Ok(format) = QuantFormat::new(QuantMode::Affine, Some(32), Some(4)) else { return };
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        let mut matrix = |n: usize| {
            let w = d.array(dtype, &[n, 288], -1.0, 1.0);
            on(Device::CPU, || {
                let parts = w.quantize(format)?;
                eval::eval(&parts)?;
                Ok(parts)
            })
        };
        let (Ok(a), Ok(b), Ok(c)) = (matrix(200), matrix(72), matrix(200)) else { continue };
        let bias = d.array(dtype, &[200], -1.0, 1.0);
        let scale = d.array(dtype, &[288], 0.5, 1.5);
        let atol = if dtype.is_half() { 0.1 } else { 1e-4 };
        for m in [1, 2, 3, 4, 9, 16] {
            let x = d.array(dtype, &[1, m, 288], -1.0, 1.0);
            let residual = d.array(dtype, &[1, m, 200], -1.0, 1.0);
            let by = |w: &[Array]| x.quantized_matmul(&w[0], &w[1], w.get(2), true, format);
            r.check(&format!("joined products {dtype} {m}"), 1e-3, atol, || {
                Ok(vec![by(&a)?, by(&b)?.exp()?, by(&c)?.add(&bias)?])
            });
            r.check(&format!("gated product {dtype} {m}"), 1e-2, 8.0 * atol, || {
                let gate = by(&a)?;
                Ok(vec![gate.multiply(&gate.sigmoid()?)?.multiply(&by(&c)?)?])
            });
            r.check(&format!("norm before products {dtype} {m}"), 1e-3, 4.0 * atol, || {
                let y = rms_norm(&x, Some(&scale), 1e-5)?;
                let by = |w: &[Array]| y.quantized_matmul(&w[0], &w[1], w.get(2), true, format);
                Ok(vec![by(&a)?, by(&b)?.add(&Array::scalar(1i8))?, y.clone()])
            });
            r.check(&format!("product onto a residual {dtype} {m}"), 1e-3, atol, || {
                Ok(vec![residual.add(&by(&a)?)?, by(&c)?.multiply(&Array::scalar(2i8))?])
            });
        }
    }
}

/// Products with the matrices that indices pick.
fn grouped(r: &mut Report, d: &mut Draw) {
    let (lhs, rhs) = (d.indices(&[9], 4), d.indices(&[9], 5));
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        let atol = if dtype.is_half() { 0.06 } else { 1e-4 };
        for m in [1, 3, 20] {
            let x = d.array(dtype, &[4, m, 128], -1.0, 1.0);
            let b = d.array(dtype, &[5, 128, 40], -1.0, 1.0);
            r.check(&format!("gather_mm {dtype} {m}"), 1e-3, atol, || {
                Ok(vec![x.gather_mm(&b, Some(&lhs), Some(&rhs))?])
            });
            for (bits, group) in [(4, 32), (8, 64), (6, 32)] {
                let format = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits));
                let Ok(format) = format else { continue };
                for transpose in [true, false] {
                    let shape = if transpose { [5, 64, 128] } else { [5, 128, 64] };
                    let w = d.array(dtype, &shape, -1.0, 1.0);
                    let parts = on(Device::CPU, || {
                        let parts = w.quantize(format)?;
                        eval::eval(&parts)?;
                        Ok(parts)
                    });
                    let Ok(p) = parts else { continue };
                    let name = format!("gather_qmm {dtype} {m} {bits} {transpose}");
                    r.check(&name, 1e-3, atol, || {
                        let (l, r) = (Some(&lhs), Some(&rhs));
                        Ok(vec![x.gather_qmm(&p[0], &p[1], p.get(2), l, r, transpose, format)?])
                    });
                }
            }
        }
    }
}

fn faults(r: &mut Report) {
    let x = Array::from_slice(&[1f32, 2.0, 3.0], &[3]).unwrap();
    let far = Array::from_slice(&[0i32, 7], &[2]).unwrap();
    let gpu = |f: &dyn Fn() -> Result<Vec<f32>>| on(Device::GPU, f);
    let mut expect = |name: &str, ok: bool| match ok {
        true => r.passed += 1,
        false => r.failed.push(format!("faults: {name}")),
    };
    let got = gpu(&|| x.take(&far, Some(0))?.to_vec());
    expect("an index out of range is an error", got.is_err());
    if let Err(e) = got {
        println!("as expected: {e}");
    }
    expect("the next step runs", gpu(&|| x.add(&x)?.to_vec()).is_ok_and(|v| v == [2.0, 4.0, 6.0]));
    let huge = gpu(&|| Array::ones(&[1 << 20, 1 << 20], Dtype::F32)?.exp()?.to_vec());
    expect("too large an array is an error", huge.is_err());
    if let Err(e) = huge {
        println!("as expected: {e}");
    }
    expect(
        "and the next step runs",
        gpu(&|| x.add(&x)?.to_vec()).is_ok_and(|v| v == [2.0, 4.0, 6.0]),
    );
}

fn main() {
    if !backend::is_available(Device::GPU) {
        let why = lazulite_cuda::availability().err().unwrap_or_default();
        println!("skipped: {why}");
        return;
    }
    let facts = backend::get(Device::GPU).map(|b| b.describe(Device::GPU)).unwrap_or_default();
    println!("{facts:?}");
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if args.first().is_some_and(|a| a == "bench") {
        bench::run(args.get(1).cloned());
        return;
    }
    if let [first, seed] = &args[..]
        && first == "first"
    {
        bench::first_call(seed.parse().unwrap_or(0), "from disk");
        return;
    }
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |t| t.as_nanos() as u64);
    println!("seed {seed}");
    let mut d = Draw(seed);
    // An argument such as 2/8 names a part of the table, any other a part of the checks' names.
    let part = args.iter().find_map(|a| {
        let (i, n) = a.split_once('/')?;
        Some((i.parse().ok()?, n.parse::<usize>().ok()?.max(1)))
    });
    let filter = args.iter().find(|a| !a.contains('/')).cloned();
    let part: (usize, usize) = part.unwrap_or((0, 1));
    let mut r = Report { passed: 0, failed: Vec::new(), filter, part, met: 0 };
    let begin = Instant::now();
    let done = |what: &str, r: &Report| {
        println!(
            "{what}: {:.1} s so far, {} passed, {} failed, {:?}",
            begin.elapsed().as_secs_f64(),
            r.passed,
            r.failed.len(),
            lazulite_cuda::backend::module_stats()
        );
    };
    if r.filter.is_none() && r.part.0 == 0 {
        faults(&mut r);
        repeated(&mut r);
    }
    lazulite_cuda::backend::poison_allocations().unwrap_or_else(|e| panic!("{e}"));
    tables(&mut r, &mut d);
    done("elementwise", &r);
    reductions(&mut r, &mut d);
    done("reductions", &r);
    products(&mut r, &mut d);
    conv::checks(&mut r, &mut d);
    done("products", &r);
    moving(&mut r, &mut d);
    done("moving", &r);
    for failure in &r.failed {
        println!("FAILED {failure}");
    }
    println!(
        "{} passed, {} failed, {} steps on the host",
        r.passed,
        r.failed.len(),
        lazulite_cuda::backend::host_steps()
    );
    if !r.failed.is_empty() {
        std::process::exit(1);
    }
}
