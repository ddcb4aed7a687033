//! Fourier transforms against the sums that define them, in `f64`.

use lazulite::fft::{self, Norm};
use lazulite::op::join::PadMode;
use lazulite::prelude::*;
use lazulite::stft::{Frames, istft, stft};
use lazulite_testkit::{Arrangement, Rng, from_values, values};
use std::f64::consts::TAU;

type Complex = (f64, f64);

/// `sum_j x[j] exp(sign 2 pi i j k / n)` for every k, with `x` cut or filled with zeros to `n`.
fn sums(x: &[Complex], n: usize, sign: f64) -> Vec<Complex> {
    let at = |j: usize| x.get(j).copied().unwrap_or((0.0, 0.0));
    (0..n)
        .map(|k| {
            (0..n).fold((0.0, 0.0), |sum, j| {
                let (sin, cos) = (sign * TAU * ((j * k) % n) as f64 / n as f64).sin_cos();
                let (re, im) = at(j);
                (sum.0 + re * cos - im * sin, sum.1 + re * sin + im * cos)
            })
        })
        .collect()
}

fn pairs(x: &Array) -> Vec<Complex> {
    values(x).unwrap().chunks(2).map(|c| (c[0], c[1])).collect()
}

fn reals(x: &Array) -> Vec<Complex> {
    values(x).unwrap().into_iter().map(|x| (x, 0.0)).collect()
}

/// The rounding errors of a transform grow with the root of the logarithm of its length, relative
/// to the largest result.
fn near(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let most = want.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 2e-6 * most, "{what}: element {i} is {g}, expected {w}");
    }
}

fn flat(x: impl IntoIterator<Item = Complex>, factor: f64) -> Vec<f64> {
    x.into_iter().flat_map(|(re, im)| [re * factor, im * factor]).collect()
}

#[test]
fn every_length_and_norm() {
    let mut rng = Rng::new(1);
    let lengths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 30, 31, 64, 97, 121, 210, 512, 1009];
    let norms = [Norm::Backward, Norm::Ortho, Norm::Forward];
    for (number, &have) in lengths.iter().enumerate() {
        let z = rng.array(&[have], Dtype::C64, (-1.0, 1.0), Arrangement::Contiguous).unwrap();
        let x = rng.array(&[have], Dtype::F32, (-1.0, 1.0), Arrangement::Contiguous).unwrap();
        for n in [None, Some(have + 3), Some(have.div_ceil(2))] {
            let norm = norms[number % 3];
            let (size, half) = (n.unwrap_or(have), n.unwrap_or(have) / 2 + 1);
            let (forward, inverse) = match norm {
                Norm::Backward => (1.0, 1.0 / size as f64),
                Norm::Ortho => (1.0 / (size as f64).sqrt(), 1.0 / (size as f64).sqrt()),
                Norm::Forward => (1.0 / size as f64, 1.0),
            };
            let what = |name: &str| format!("{name} of {have} elements to {n:?}, {norm:?}");
            let got = values(&fft::fft(&z, n, -1, norm).unwrap()).unwrap();
            near(&what("fft"), &got, &flat(sums(&pairs(&z), size, -1.0), forward));
            let got = values(&fft::ifft(&z, n, 0, norm).unwrap()).unwrap();
            near(&what("ifft"), &got, &flat(sums(&pairs(&z), size, 1.0), inverse));
            let got = values(&fft::rfft(&x, n, -1, norm).unwrap()).unwrap();
            let mut want = sums(&reals(&x), size, -1.0);
            want.truncate(half);
            near(&what("rfft"), &got, &flat(want, forward));
            // The real signal whose first frequencies are those of z, and 0 beyond them.
            let got = values(&fft::irfft(&z, Some(size), -1, norm).unwrap()).unwrap();
            let mut whole: Vec<Complex> = pairs(&z);
            whole.resize(half, (0.0, 0.0));
            whole[0].1 = 0.0;
            for k in half..size {
                let (re, im) = whole[size - k];
                whole.push((re, -im));
            }
            if size % 2 == 0 {
                whole[size / 2].1 = 0.0;
            }
            let want: Vec<f64> =
                sums(&whole, size, 1.0).iter().map(|(re, _)| re * inverse).collect();
            near(&what("irfft"), &got, &want);
        }
    }
}

#[test]
fn every_axis_and_layout() {
    let mut rng = Rng::new(2);
    for shape in [[3, 4, 5], [40, 1, 6], [2, 33, 17], [0, 3, 4]] {
        for arrangement in Arrangement::ALL {
            let z = rng.array(&shape, Dtype::C64, (-1.0, 1.0), arrangement).unwrap();
            for axis in 0..3 {
                if shape[axis] == 0 {
                    continue;
                }
                let rows = pairs(&z.moveaxis(axis as i64, -1).unwrap());
                let want = rows.chunks(shape[axis]).flat_map(|row| sums(row, shape[axis], -1.0));
                let got = fft::fft(&z, None, axis as i64, Norm::Backward).unwrap();
                let got = values(&got.moveaxis(axis as i64, -1).unwrap()).unwrap();
                near(&format!("{shape:?} {arrangement:?} {axis}"), &got, &flat(want, 1.0));
            }
        }
    }
}

#[test]
fn several_axes() -> Result<()> {
    let mut rng = Rng::new(3);
    let z = rng.array(&[3, 4, 5], Dtype::C64, (-1.0, 1.0), Arrangement::Contiguous)?;
    let x = rng.array(&[3, 4, 5], Dtype::F32, (-1.0, 1.0), Arrangement::Contiguous)?;
    let norm = Norm::Backward;
    let one = |x: &Array, n, axis| fft::fft(x, n, axis, norm);
    let cases: [(Array, Array); 5] = [
        (fft::fftn(&z, None, None, norm)?, one(&one(&one(&z, None, 0)?, None, 1)?, None, 2)?),
        (fft::fftn(&z, Some(&[2, 7]), None, norm)?, one(&one(&z, Some(2), 1)?, Some(7), 2)?),
        (fft::fft2(&z, Some(&[6, 3]), &[2, 0], norm)?, one(&one(&z, Some(6), 2)?, Some(3), 0)?),
        (fft::ifftn(&fft::fftn(&z, None, None, norm)?, None, None, norm)?, z.clone()),
        (fft::rfftn(&x, None, Some(&[0, 1]), norm)?, one(&fft::rfft(&x, None, 1, norm)?, None, 0)?),
    ];
    for (i, (got, want)) in cases.iter().enumerate() {
        assert_eq!(got.shape(), want.shape(), "case {i}");
        near(&format!("case {i}"), &values(got)?, &values(want)?);
    }
    for norm in [Norm::Backward, Norm::Ortho, Norm::Forward] {
        let back = fft::irfftn(&fft::rfftn(&x, None, None, norm)?, Some(&[3, 4, 5]), None, norm)?;
        near("irfftn of rfftn", &values(&back)?, &values(&x)?);
    }
    let shifted = fft::fftshift(&fft::fftfreq(5, 0.5)?, None)?;
    near("fftfreq", &values(&shifted)?, &[-0.8, -0.4, 0.0, 0.4, 0.8]);
    near("ifftshift", &values(&fft::ifftshift(&shifted, None)?)?, &[0.0, 0.4, 0.8, -0.8, -0.4]);
    near("rfftfreq", &values(&fft::rfftfreq(4, 0.5)?)?, &[0.0, 0.5, 1.0]);
    Ok(())
}

#[test]
fn frames_and_back() -> Result<()> {
    let mut rng = Rng::new(4);
    for (n_fft, hop, center, onesided) in
        [(16, 4, true, true), (15, 5, true, true), (12, 3, false, false), (8, 8, false, true)]
    {
        let x = rng.array(&[2, 60], Dtype::F32, (-1.0, 1.0), Arrangement::Strided)?;
        let win = n_fft - 2;
        let window = rng.array(&[win], Dtype::F32, (0.5, 1.5), Arrangement::Contiguous)?;
        let frames = Frames {
            hop_length: Some(hop),
            win_length: Some(win),
            window: Some(&window),
            center,
            pad_mode: PadMode::Constant(Array::scalar(0.0f32)),
            onesided: Some(onesided),
            ..Frames::new(n_fft)
        };
        let y = stft(&x, &frames)?;
        let side = if center { n_fft / 2 } else { 0 };
        let count = (60 + 2 * side - n_fft) / hop + 1;
        let frequencies = if onesided { n_fft / 2 + 1 } else { n_fft };
        assert_eq!(y.shape(), [2, frequencies, count]);
        let (signal, w) = (values(&x)?, values(&window)?);
        let mut want = vec![(0.0, 0.0); 2 * frequencies * count];
        for (row, signal) in signal.chunks(60).enumerate() {
            for t in 0..count {
                let frame: Vec<Complex> = (0..n_fft)
                    .map(|j| {
                        let at = (t * hop + j).wrapping_sub(side);
                        let weight = j.checked_sub(1).and_then(|j| w.get(j)).unwrap_or(&0.0);
                        (signal.get(at).unwrap_or(&0.0) * weight, 0.0)
                    })
                    .collect();
                let all = sums(&frame, n_fft, -1.0);
                for k in 0..frequencies {
                    want[(row * frequencies + k) * count + t] = all[k];
                }
            }
        }
        near("stft", &values(&y)?, &flat(want, 1.0));
        let back = istft(&y, &frames, Some(50))?;
        let back = if onesided { back } else { back.real()? };
        // The last frame may end before the signal, and no window reaches the ends of an
        // uncentred one.
        let (got, want) = (values(&back)?, values(&x)?);
        for row in 0..2 {
            let skip = usize::from(!center);
            let end = if n_fft == hop { 7 } else { 45 };
            near(
                "istft",
                &got[row * 50 + skip..row * 50 + end],
                &want[row * 60 + skip..row * 60 + end],
            );
        }
    }
    Ok(())
}

#[test]
fn what_is_refused() -> Result<()> {
    let x = from_values(&[1.0; 6], &[2, 3], Dtype::F32)?;
    let z = x.astype(Dtype::C64)?;
    let kind = |r: Result<Array>| r.err().map(|e| e.kind());
    let norm = Norm::Backward;
    assert_eq!(kind(fft::fft(&x, None, 2, norm)), Some(ErrorKind::Axis));
    assert_eq!(kind(fft::fft(&x, Some(0), 0, norm)), Some(ErrorKind::Shape));
    assert_eq!(kind(fft::irfft(&z, None, 1, norm)), None);
    assert_eq!(
        kind(fft::irfft(&z.slice(&[0, 0], &[2, 1], &[1, 1])?, None, 1, norm)),
        Some(ErrorKind::Shape)
    );
    assert_eq!(kind(fft::rfft(&z, None, 0, norm)), Some(ErrorKind::Dtype));
    assert_eq!(kind(fft::fftn(&x, Some(&[2]), Some(&[0, 1]), norm)), Some(ErrorKind::Argument));
    assert_eq!(kind(stft(&x, &Frames::new(64))), Some(ErrorKind::Shape));
    assert!(Norm::from_name("other").is_err());
    Ok(())
}
