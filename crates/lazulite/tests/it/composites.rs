//! Composed ops and control flow against what they are meant to give.

use lazulite::fast::gated_delta_update;
use lazulite::prelude::*;
use lazulite::{compile, cond, grad, jvp, random, scan, vmap, while_loop};
use lazulite_testkit::{Arrangement, Rng, from_values, values};

#[test]
fn places_in_sorted_arrays() -> Result<()> {
    let mut rng = Rng::new(1);
    let nan = f64::NAN;
    for n in [0, 1, 2, 3, 7, 8, 9, 64, 100] {
        let mut sorted: Vec<f64> = rng.uniforms(n, 0.0, 20.0).iter().map(|x| x.floor()).collect();
        sorted.sort_by(f64::total_cmp);
        let queries: Vec<f64> = (-1..22).map(f64::from).chain([nan, f64::INFINITY]).collect();
        for dtype in [Dtype::F32, Dtype::I32, Dtype::F16] {
            let kept: Vec<f64> =
                queries.iter().copied().filter(|x| dtype != Dtype::I32 || x.is_finite()).collect();
            let a = from_values(&sorted, &[n], dtype)?;
            let v = from_values(&kept, &[kept.len()], dtype)?;
            let less = |a: f64, b: f64| a < b || (!a.is_nan() && b.is_nan());
            let count = |f: &dyn Fn(f64) -> bool| sorted.iter().filter(|x| f(**x)).count() as f64;
            let left: Vec<f64> = kept.iter().map(|&v| count(&|x| less(x, v))).collect();
            let right: Vec<f64> = kept.iter().map(|&v| count(&|x| !less(v, x))).collect();
            assert_eq!(values(&a.searchsorted(&v, false)?)?, left, "{n} {dtype}");
            assert_eq!(values(&a.searchsorted(&v, true)?)?, right, "{n} {dtype}");
        }
    }
    let a = from_values(&[1.0, 2.0, nan], &[3], Dtype::F32)?;
    let v = from_values(&[nan], &[1, 1], Dtype::F32)?;
    assert_eq!(values(&a.searchsorted(&v, false)?)?, [2.0]);
    assert_eq!(values(&a.searchsorted(&v, true)?)?, [3.0]);
    assert_eq!(a.searchsorted(&v, true)?.shape(), [1, 1]);
    assert!(v.searchsorted(&a, true).is_err());
    Ok(())
}

#[test]
fn unique_elements() -> Result<()> {
    let nan = f64::NAN;
    let seven = Array::scalar(7i32);
    // Elements, size, fill; values, index, inverse, counts.
    type Want<'a> = [&'a [f64]; 4];
    let cases: [(&[f64], usize, Option<&Array>, Want<'_>); 5] = [
        (
            &[3.0, 1.0, 1.0, 2.0],
            3,
            None,
            [&[1.0, 2.0, 3.0], &[1.0, 3.0, 0.0], &[2.0, 0.0, 0.0, 1.0], &[2.0, 1.0, 1.0]],
        ),
        (
            &[3.0, 1.0, 1.0, 2.0],
            5,
            None,
            [
                &[1.0, 2.0, 3.0, 1.0, 1.0],
                &[1.0, 3.0, 0.0, 1.0, 1.0],
                &[2.0, 0.0, 0.0, 1.0],
                &[2.0, 1.0, 1.0, 0.0, 0.0],
            ],
        ),
        (
            &[3.0, 1.0, 1.0, 2.0],
            4,
            Some(&seven),
            [
                &[1.0, 2.0, 3.0, 7.0],
                &[1.0, 3.0, 0.0, 1.0],
                &[2.0, 0.0, 0.0, 1.0],
                &[2.0, 1.0, 1.0, 0.0],
            ],
        ),
        (
            &[3.0, 1.0, 1.0, 2.0],
            2,
            None,
            [&[1.0, 2.0], &[1.0, 3.0], &[1.0, 0.0, 0.0, 1.0], &[2.0, 1.0]],
        ),
        (&[5.0], 1, None, [&[5.0], &[0.0], &[0.0], &[1.0]]),
    ];
    for (data, size, fill, want) in cases {
        let u = from_values(data, &[data.len()], Dtype::F32)?.unique(size, fill)?;
        let got = [u.values, u.index, u.inverse, u.counts];
        for (g, w) in got.iter().zip(want) {
            assert_eq!(values(g)?, w, "{data:?} to {size}");
        }
    }
    let u = from_values(&[nan, 1.0, nan, 1.0], &[2, 2], Dtype::F32)?.unique(2, None)?;
    assert_eq!(values(&u.counts)?, [2.0, 2.0]);
    assert_eq!(
        (values(&u.inverse)?, u.inverse.shape().to_vec()),
        (vec![1.0, 0.0, 1.0, 0.0], vec![2, 2])
    );
    let empty = Array::zeros(&[0], Dtype::F32)?;
    assert!(empty.unique(1, None).is_err());
    assert_eq!(values(&empty.unique(2, Some(&seven))?.values)?, [7.0, 7.0]);
    Ok(())
}

#[test]
fn eight_bit_floats() -> Result<()> {
    let codes: Vec<u8> = (0..=255).collect();
    let codes = Array::from_slice(&codes, &[256])?;
    let numbers = values(&codes.from_fp8(Dtype::F32)?)?;
    let positive = &numbers[..127];
    assert!(positive.windows(2).all(|w| w[0] < w[1]) && numbers[127].is_nan());
    assert_eq!(
        (positive[0], positive[1], positive[56], positive[126]),
        (0.0, 1.0 / 512.0, 1.0, 448.0)
    );
    assert!((1..127).all(|i| numbers[i + 128] == -numbers[i]));
    // Every number is its own code; what lies between goes to the nearest, ties to even codes.
    let back = values(&codes.from_fp8(Dtype::F32)?.to_fp8()?)?;
    assert!((0..256).filter(|i| i % 128 != 127).all(|i| back[i] == i as f64), "{back:?}");
    for i in 0..126 {
        let (low, high) = (positive[i], positive[i + 1]);
        let middle = (low + high) / 2.0;
        let even = (i + i % 2) as f64;
        let near = [
            (middle, even),
            (low.mul_add(0.51, high * 0.49), i as f64),
            (low.mul_add(0.49, high * 0.51), (i + 1) as f64),
        ];
        for (x, want) in near {
            for dtype in [Dtype::F32, Dtype::F64] {
                let got = values(&from_values(&[x, -x], &[2], dtype)?.to_fp8()?)?;
                assert_eq!(got, [want, want + 128.0], "{x} as {dtype}");
            }
        }
    }
    let wild = from_values(&[500.0, f64::INFINITY, f64::NAN, -1e30, 1e-30], &[5], Dtype::F32)?;
    assert_eq!(values(&wild.to_fp8()?)?, [126.0, 126.0, 126.0, 254.0, 0.0]);
    assert!(codes.to_fp8().is_err() && wild.from_fp8(Dtype::F32).is_err());
    Ok(())
}

#[test]
fn the_delta_rule_against_loops() -> Result<()> {
    let mut rng = Rng::new(2);
    let (b, t, h, g, d, e) = (2, 4, 2, 4, 3, 5);
    let mut array = |shape: &[usize], low: f64| {
        rng.array(shape, Dtype::F64, (low, 1.0), Arrangement::Contiguous)
    };
    let (q, k) = (array(&[b, t, h, d], -1.0)?, array(&[b, t, h, d], -1.0)?);
    let (v, start) = (array(&[b, t, g, e], -1.0)?, array(&[b, g, e, d], -1.0)?);
    let (gamma, beta) = (array(&[b, t, g], 0.0)?, array(&[b, t, g], 0.0)?);
    let on = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0];
    let mask = from_values(&on, &[b, t], Dtype::Bool)?;
    let (y, last) = gated_delta_update([&q, &k, &v], &gamma, &beta, Some(&start), Some(&mask))?;
    let [q, k, v, mut s] = [values(&q)?, values(&k)?, values(&v)?, values(&start)?];
    let (gamma, beta) = (values(&gamma)?, values(&beta)?);
    let mut want = vec![0.0; b * t * g * e];
    for (x, head, step) in
        (0..b).flat_map(|x| (0..g).flat_map(move |h| (0..t).map(move |t| (x, h, t))))
    {
        if on[x * t + step] == 0.0 {
            continue;
        }
        let at = (x * t + step) * g + head;
        let key = ((x * t + step) * h + head / (g / h)) * d;
        for i in 0..e {
            let row = &mut s[((x * g + head) * e + i) * d..][..d];
            row.iter_mut().for_each(|s| *s *= gamma[at]);
            let seen: f64 = (0..d).map(|j| row[j] * k[key + j]).sum();
            let error = (v[at * e + i] - seen) * beta[at];
            (0..d).for_each(|j| row[j] += error * k[key + j]);
            want[at * e + i] = (0..d).map(|j| row[j] * q[key + j]).sum();
        }
    }
    for (got, want) in values(&y)?.iter().zip(&want).chain(values(&last)?.iter().zip(&s)) {
        assert!((got - want).abs() < 1e-13, "{got}, expected {want}");
    }
    assert!(gated_delta_update([&y, &y, &last], &mask, &mask, None, None).is_err());
    Ok(())
}

#[test]
fn correlated_normal_numbers() -> Result<()> {
    let mean = from_values(&[1.0, -2.0], &[2], Dtype::F32)?;
    let cov = from_values(&[2.0, 0.8, 0.8, 1.0], &[2, 2], Dtype::F32)?;
    let key = random::key(3)?;
    let n = 40_000;
    let x = random::multivariate_normal(&mean, &cov, &[n], Dtype::F32, Some(&key))?;
    assert_eq!(x.shape(), [n, 2]);
    let away = x.subtract(&mean)?;
    let found = away.t()?.matmul(&away)?.divide(&Array::scalar(n as f32))?;
    // Standard errors are below 2 / sqrt(n) = 0.01; four of them leave room.
    for (got, want) in values(&found)?.iter().zip(values(&cov)?) {
        assert!((got - want).abs() < 0.06, "{got}, expected {want}");
    }
    let means = x.mean(Some(&[0]), false)?;
    assert!(values(&means)?.iter().zip(values(&mean)?).all(|(g, w)| (g - w).abs() < 0.03));
    assert!(random::multivariate_normal(&cov, &mean, &[], Dtype::F32, None).is_err());
    assert!(random::multivariate_normal(&mean, &cov, &[3, 1, 2], Dtype::F32, None).is_ok());
    Ok(())
}

#[test]
fn least_greatest_and_counts() -> Result<()> {
    let x = from_values(&[3.0, 0.0, -1.0, 5.0], &[2, 2], Dtype::F32)?;
    let (low, high) = x.minmax(Some(&[1]), false)?;
    assert_eq!((values(&low)?, values(&high)?), (vec![0.0, -1.0], vec![3.0, 5.0]));
    assert_eq!(values(&x.count_nonzero(Some(&[0]), true)?)?, [2.0, 1.0]);
    assert_eq!(x.count_nonzero(None, false)?.item::<i32>()?, 3);
    Ok(())
}

/// `x[t] + decay * state`: the running sums, and what they are made of.
fn running((decay, xs): (Array, Array)) -> Result<(Array, Array)> {
    let step = |state: Array, x: Array| {
        let next = state.multiply(&decay)?.add(&x)?;
        Ok((next.clone(), next.square()?))
    };
    scan(step, Array::scalar(0.0f32), xs)
}

#[test]
fn scans_compile_differentiate_and_batch() -> Result<()> {
    let decay = Array::scalar(0.5f32);
    let xs = from_values(&[1.0, 2.0, 3.0], &[3], Dtype::F32)?;
    let (last, squares) = running((decay.clone(), xs.clone()))?;
    assert_eq!((last.item::<f32>()?, values(&squares)?), (4.25, vec![1.0, 6.25, 18.0625]));
    let (last, squares) = compile(running)((decay.clone(), xs.clone()))?;
    assert_eq!((last.item::<f32>()?, values(&squares)?), (4.25, vec![1.0, 6.25, 18.0625]));
    // The last sum is 3 + d (2 + d): its derivatives are 2 + 2 d and d^2, d, 1.
    let (dd, dx) = grad(|args| Ok(running(args)?.0))((decay.clone(), xs.clone()))?;
    assert_eq!((dd.item::<f32>()?, values(&dx)?), (3.0, vec![0.25, 0.5, 1.0]));
    let many = Array::stack(&[xs.clone(), xs.negative()?], 1)?;
    let (last, _) = vmap(running, [None, Some(1)], 0)((decay.clone(), many))?;
    assert_eq!(values(&last)?, [4.25, -4.25]);
    let empty = Array::zeros(&[0], Dtype::F32)?;
    assert!(running((decay.clone(), empty)).is_err());
    assert!(running((decay.clone(), decay)).is_err());
    Ok(())
}

#[test]
fn choices_and_loops() -> Result<()> {
    let halved = |x: Array| {
        let big = x.greater(&Array::scalar(1.0f32))?;
        cond(&big, |x: Array| x.multiply(&Array::scalar(0.5f32)), |x: Array| x.square(), x)
    };
    let scalar = |x: f32| Array::scalar(x);
    for (x, y, slope) in [(4.0, 2.0, 0.5), (0.5, 0.25, 1.0)] {
        assert_eq!(halved(scalar(x))?.item::<f32>()?, y);
        assert_eq!(compile(halved)(scalar(x))?.item::<f32>()?, y);
        assert_eq!(grad(halved)(scalar(x))?.item::<f32>()?, slope);
        assert_eq!(jvp(halved, &scalar(x), &scalar(1.0))?.1.item::<f32>()?, slope);
    }
    let both = from_values(&[4.0, 0.5], &[2], Dtype::F32)?;
    assert_eq!(values(&vmap(halved, 0, 0)(both.clone())?)?, [2.0, 0.25]);
    // Doubling until 10 is passed.
    let grown = |limit: Option<usize>| {
        move |x: Array| {
            let going = |x: &Array| x.less(&Array::scalar(10.0f32));
            while_loop(going, |x: Array| x.add(&x), x, limit)
        }
    };
    assert_eq!(grown(None)(scalar(3.0))?.item::<f32>()?, 12.0);
    assert_eq!(grad(grown(None))(scalar(3.0))?.item::<f32>()?, 4.0);
    assert_eq!(grown(Some(1))(scalar(3.0))?.item::<f32>()?, 6.0);
    assert_eq!(compile(grown(Some(8)))(scalar(3.0))?.item::<f32>()?, 12.0);
    assert_eq!(values(&vmap(grown(Some(8)), 0, 0)(both)?)?, [16.0, 16.0]);
    let fault = compile(grown(None))(scalar(3.0)).err().map(|e| e.kind());
    assert_eq!(fault, Some(ErrorKind::Trace));
    assert!(cond(&Array::zeros(&[2], Dtype::F32)?, Ok, Ok, scalar(1.0)).is_err());
    Ok(())
}
