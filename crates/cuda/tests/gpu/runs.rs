//! What spans several evaluations: recorded steps, and errors after which work goes on.

use lazulite_core::transform::Repeated;
use lazulite_core::{Array, Device, Dtype, Result};

use super::check::{Report, on};

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

pub fn faults(r: &mut Report) {
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
