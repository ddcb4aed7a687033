//! What spans several evaluations: recorded steps, and errors after which work goes on.

use lazulite_core::device::current_stream;
use lazulite_core::dtype::Category;
use lazulite_core::op::fast::scaled_dot_product_attention as attention;
use lazulite_core::op::fast::{Frequencies, Mask, rms_norm, rope};
use lazulite_core::op::fft::{self, Norm};
use lazulite_core::op::kernel::{self, CudaCode, CudaSource, CudaText};
use lazulite_core::op::quantized::{QuantFormat, QuantMode};
use lazulite_core::transform::Repeated;
use lazulite_core::{Array, Device, Dtype, Result, eval};

use super::check::{Draw, Report, on};

/// A step that is recorded: a cache that it overwrites, a small argument, a constant. The results of
/// every call are held, so that a replay must not change those of the one before.
pub fn repeated(r: &mut Report) {
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

/// Compares a function's numbers on both devices, to 1 in 1000; it must be replayed.
fn replayed(r: &mut Report, name: &str, run: impl Fn() -> Result<Vec<Vec<f32>>>) {
    let before = lazulite_cuda::backend::record_stats();
    let (got, want) = (on(Device::GPU, &run), on(Device::CPU, &run));
    let replays = lazulite_cuda::backend::record_stats().replayed - before.replayed;
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * (1.0 + b.abs());
    let same = |(a, b): (&Vec<f32>, &Vec<f32>)| a.len() == b.len() && a.iter().zip(b).all(close);
    let first = |all: &Result<Vec<Vec<f32>>>| match all {
        Ok(all) => format!("{:?}", all.iter().map(|v| &v[..v.len().min(4)]).collect::<Vec<_>>()),
        Err(e) => e.to_string(),
    };
    match (&got, &want) {
        (Ok(a), Ok(b)) if a.len() == b.len() && a.iter().zip(b).all(same) && replays > 0 => {
            r.passed += 1;
        }
        _ => r.failed.push(format!(
            "{name}: {} expected {}, {replays} replays",
            first(&got),
            first(&want)
        )),
    }
}

/// Steps of a model that reads one token after another: norms, packed products, rotary embeddings, keys and
/// values in arrays with room, attention with a mask.
pub fn decoding(r: &mut Report, d: &mut Draw) {
    const WIDTH: usize = 256;
    let Ok(format) = QuantFormat::new(QuantMode::Affine, Some(32), Some(4)) else { return };
    // Rooms of one block and of several; heads that share keys; long outputs, which blocks take in turn.
    for (room, heads, groups, size, out) in
        [(40, 4, 4, 64, 96), (256, 6, 2, 64, 40_000), (1500, 4, 1, 32, 96), (600, 2, 2, 64, 40)]
    {
        let mut matrix = |n: usize, k: usize| {
            let w = d.array(Dtype::F32, &[n, k], -0.1, 0.1);
            on(Device::CPU, || {
                let parts = w.quantize(format)?;
                eval::eval(&parts)?;
                Ok(parts)
            })
        };
        let (inner, shared) = (heads * size, groups * size);
        let weights: Result<Vec<Vec<Array>>> = [
            (inner, WIDTH),
            (shared, WIDTH),
            (shared, WIDTH),
            (WIDTH, inner),
            (512, WIDTH),
            (512, WIDTH),
            (WIDTH, 512),
            (out, WIDTH),
        ]
        .into_iter()
        .map(|(n, k)| matrix(n, k))
        .collect();
        let Ok(weights) = weights else { continue };
        let scale = d.array(Dtype::F32, &[WIDTH], 0.5, 1.5);
        let start = d.array(Dtype::F32, &[1, 1, WIDTH], -1.0, 1.0);
        let filled = d.array(Dtype::F32, &[4, 1, groups, room, size], -1.0, 1.0);
        let split =
            |x: &Array, n: usize| x.reshape(&[1, 1, n, size])?.transpose(Some(&[0, 2, 1, 3]));
        let name = format!("decoding {room} {heads} {groups} {size} {out}");
        replayed(r, &name, || {
            // Where the work is done: types that hold the numbers, and back.
            let here = |x: &Array| {
                let wide =
                    x.astype(if x.dtype() == Dtype::U32 { Dtype::I64 } else { Dtype::F64 })?;
                wide.eval()?;
                let x = wide.astype(x.dtype())?;
                x.eval()?;
                Ok(x)
            };
            let all = |w: &Vec<Array>| w.iter().map(here).collect::<Result<Vec<_>>>();
            let weights = weights.iter().map(all).collect::<Result<Vec<_>>>()?;
            let (scale, filled) = (here(&scale)?, here(&filled)?);
            let places: Vec<i64> = (0..room as i64).collect();
            let places = here(&Array::from_slice(&places, &[1, 1, 1, room])?)?;
            let by = |x: &Array, i: usize| {
                let w = &weights[i];
                x.quantized_matmul(&w[0], &w[1], w.get(2), true, format)
            };
            type State = (Array, Array, Vec<(Array, Array)>);
            let step = Repeated::new(|(mut x, place, mut caches): State| {
                let mask = places.less_equal(&place)?;
                for (keys, values) in &mut caches {
                    let y = rms_norm(&x, Some(&scale), 1e-5)?;
                    let base = Frequencies::Base(1e4);
                    let turn = |x: &Array| rope(x, size, groups == 2, base, 1.0, &place);
                    let q = turn(&split(&by(&y, 0)?, heads)?)?;
                    let k = turn(&split(&by(&y, 1)?, groups)?)?;
                    let v = split(&by(&y, 2)?, groups)?;
                    *keys = keys.slice_update_dynamic(&k, &place, &[2])?;
                    *values = values.slice_update_dynamic(&v, &place, &[2])?;
                    let z = attention(&q, keys, values, 0.125, Mask::Array(&mask), None)?;
                    let z = z.transpose(Some(&[0, 2, 1, 3]))?.reshape(&[1, 1, inner])?;
                    x = x.add(&by(&z, 3)?)?;
                    let y = rms_norm(&x, Some(&scale), 1e-5)?;
                    let gate = by(&y, 4)?;
                    let up = gate.multiply(&gate.sigmoid()?)?.multiply(&by(&y, 5)?)?;
                    x = x.add(&by(&up, 6)?)?;
                }
                let logits = by(&rms_norm(&x, Some(&scale), 1e-5)?, 7)?;
                Ok((x, place.add(&Array::scalar(1i64))?, caches, logits))
            });
            let half = |i: i64| {
                let n = [1, groups as i64, room as i64, size as i64];
                let (low, high) = ([i, 0, 0, 0, 0], [i + 1, n[0], n[1], n[2], n[3]]);
                here(&filled.slice(&low, &high, &[1; 5])?.squeeze(Some(&[0]))?)
            };
            let mut place = Array::from_slice(&[room as i64 - 9], &[1])?;
            let mut x = here(&start)?;
            let mut caches = vec![(half(0)?, half(1)?), (half(2)?, half(3)?), (half(1)?, half(0)?)];
            let mut all = Vec::new();
            for _ in 0..6 {
                let logits;
                (x, place, caches, logits) = step.call((x, place, caches))?;
                all.extend([x.to_vec::<f32>()?, logits.to_vec()?]);
            }
            for (keys, values) in caches {
                all.extend([keys.flatten(0, -1)?.to_vec()?, values.flatten(0, -1)?.to_vec()?]);
            }
            Ok(all)
        });
    }
}

/// A user's kernel within a step that is recorded, and on the processor the same function.
pub fn repeated_kernel(r: &mut Report) {
    replayed(r, "a kernel of the user's, repeated", || {
        let step = Repeated::new(|(x, y): (Array, Array)| {
            let doubled = match current_stream().device {
                Device::CPU => kernel::host("double", &[x], &[(&[1000], Dtype::F32)], |x, y| {
                    let (x, y) = (x[0].as_slice::<f32>()?, y[0].as_mut_slice::<f32>()?);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
                    Ok(())
                })?,
                _ => kernel::cuda("double", &[x], &[(&[1000], Dtype::F32)], doubling())?,
            };
            let x = doubled[0].multiply(&Array::scalar(0.75f32))?;
            Ok((x.clone(), y.add(&x)?))
        });
        let mut x = Array::ones(&[1000], Dtype::F32)?;
        let mut y = x.clone();
        let mut all = Vec::new();
        for _ in 0..6 {
            (x, y) = step.call((x, y))?;
            all.push(y.to_vec()?);
        }
        Ok(all)
    });
}

/// Transforms of real and complex signals, whose plans a recording keeps.
pub fn repeated_transforms(r: &mut Report) {
    replayed(r, "Fourier transforms, repeated", || {
        let step = Repeated::new(|(x, y): (Array, Array)| {
            let waves = fft::rfft(&x, None, -1, Norm::Ortho)?;
            let across = fft::ifft(&fft::fft(&waves, None, 0, Norm::Ortho)?, None, 0, Norm::Ortho)?;
            let back = fft::irfft(&across, Some(1000), -1, Norm::Ortho)?;
            Ok((back.add(&Array::scalar(0.5f32))?, y.add(&back)?))
        });
        let mut x = Array::arange(0.0, 3000.0, 1.0, Some(Dtype::F32), Category::SignedInteger)?;
        x = x.multiply(&Array::scalar(0.01f32))?.reshape(&[3, 1000])?;
        let mut y = x.clone();
        let mut all = Vec::new();
        for _ in 0..6 {
            (x, y) = step.call((x, y))?;
            all.push(y.to_vec()?);
        }
        Ok(all)
    });
}

/// `y[i] = 2 x[i]` for 1000 elements.
pub fn doubling() -> CudaCode {
    CudaCode {
        text: CudaText::Source(CudaSource {
            body:
                "int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < 1000) y[i] = 2.0f * x[i];"
                    .into(),
            header: String::new(),
            inputs: vec!["x".into()],
            outputs: vec!["y".into()],
            template: Vec::new(),
        }),
        grid: [1000, 1, 1],
        block: [256, 1, 1],
        shared: 0,
        init: None,
        contiguous: true,
    }
}
