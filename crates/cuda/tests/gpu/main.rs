//! The whole table of ops on a GPU against the processor, on fresh random inputs; with the argument
//! `bench`, timings. One program without a harness, so that its binary runs by itself on a machine
//! that has a driver and nothing else. Without a GPU it says so and checks nothing.

use std::time::Instant;

use lazulite_core::op::elementwise::{BINARY_OPS, UNARY_OPS};
use lazulite_core::op::fast::{layer_norm, rms_norm};
use lazulite_core::op::reduce::REDUCTIONS;
use lazulite_core::op::scan::SCANS;
use lazulite_core::op::scatter::UpdateMode;
use lazulite_core::op::{elementwise, random, reduce, scan};
use lazulite_core::{Array, Device, Dtype, backend, eval};
use lazulite_cpu as _;

use check::{Draw, FLOATS, Report};

mod bench;
mod check;
mod conv;
mod factors;
mod faults;
mod products;
mod runs;

/// Rows of many parts, whose blocks wait for each other: numbers of which all sums are exact, so that any
/// mistake shows, and others.
fn long_scans(r: &mut Report, d: &mut Draw) {
    for shape in [[1, 2_150_408], [2, 1_048_584]] {
        let whole = d.indices(&shape, 3);
        let x = d.array(Dtype::F32, &shape, 0.0, 1.0);
        for info in SCANS {
            for (reverse, inclusive) in [(false, true), (true, false)] {
                let name = format!("long {} {shape:?} {reverse} {inclusive}", info.name);
                r.check(&name, 2e-4, 2e-3, || {
                    let sums = whole.astype(Dtype::F32)?.cumsum(-1, reverse, inclusive)?;
                    let halves = whole.astype(Dtype::BF16)?;
                    Ok(vec![
                        sums,
                        scan::scan(info.op, &whole, -1, reverse, inclusive)?,
                        scan::scan(info.op, &x, -1, reverse, inclusive)?,
                        scan::scan(info.op, &halves, -1, reverse, inclusive)?,
                    ])
                });
            }
        }
    }
}

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
        // Indices that are arrays already, the same along whole slices: rows of neighbours, and others.
        let rows = d.indices(&[7, 1, 1], 50);
        r.check(&name("take_along_axis of slices"), 0.0, 0.0, || {
            let all = rows.broadcast_to(&[7, 12, 16])?;
            let few = rows.broadcast_to(&[7, 1, 16])?;
            let turned = rows.broadcast_to(&[7, 16, 12])?;
            eval::eval(&[all.clone(), few.clone(), turned.clone()])?;
            Ok(vec![
                x.take_along_axis(&all, Some(0))?,
                x.slice(&[0, 3, 0], &[50, 4, 16], &[1; 3])?.take_along_axis(&few, Some(0))?,
                x.transpose(Some(&[0, 2, 1]))?.take_along_axis(&turned, Some(0))?,
                x.slice(&[0, 0, 1], &[50, 12, 16], &[1; 3])?
                    .take_along_axis(&all.slice(&[0, 0, 1], &[7, 12, 16], &[1; 3])?, Some(0))?,
            ])
        });
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
    long_scans(r, d);
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
    for shape in [[150, 33_000], [140, 9001], [133, 100_008]] {
        for dtype in [Dtype::F32, Dtype::BF16] {
            let x = d.array(dtype, &shape, -3.0, 3.0);
            let w = d.array(dtype, &shape[1..], -1.0, 1.0);
            let atol = if dtype.is_half() { 0.02 } else { 1e-5 };
            r.check(&format!("long rows {dtype} {shape:?}"), 1e-3, atol, || {
                Ok(vec![
                    x.softmax(Some(&[-1]), true)?,
                    rms_norm(&x, None, 1e-5)?,
                    rms_norm(&x, Some(&w), 1e-5)?.add(&x)?,
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
    if let [first, what] = &args[..]
        && first == "child"
    {
        faults::run_child(what);
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
    let first = |name: &str, r: &Report| {
        r.part.0 == 0 && r.filter.as_deref().is_none_or(|filter| filter == name)
    };
    if first("faults", &r) {
        faults::checks(&mut r);
    }
    if first("unfactored", &r) {
        factors::faults(&mut r);
    }
    if first("large", &r) {
        faults::large(&mut r);
    }
    if first("repeated", &r) {
        runs::repeated(&mut r);
        runs::repeated_kernel(&mut r);
        runs::repeated_transforms(&mut r);
    }
    if first("decoding", &r) {
        runs::decoding(&mut r, &mut d);
    }
    lazulite_cuda::backend::poison_allocations().unwrap_or_else(|e| panic!("{e}"));
    tables(&mut r, &mut d);
    done("elementwise", &r);
    reductions(&mut r, &mut d);
    done("reductions", &r);
    products::checks(&mut r, &mut d);
    conv::checks(&mut r, &mut d);
    done("products", &r);
    factors::checks(&mut r, &mut d);
    done("factors", &r);
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
