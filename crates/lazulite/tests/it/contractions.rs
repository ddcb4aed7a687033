//! Einstein sums, masked products, the Hadamard transform: against loops in `f64`.

use lazulite::blocks::{BlockMasks, block_masked_mm, segmented_mm};
use lazulite::einsum::{einsum, einsum_path};
use lazulite::prelude::*;
use lazulite::signal;
use lazulite::transform::vjp_arrays;
use lazulite_testkit::{Arrangement, Rng, from_values, values};
use std::collections::BTreeMap;

/// The sum over all values of all letters; `subscripts` has an output and no ellipsis.
fn loops(subscripts: &str, operands: &[Array]) -> Vec<f64> {
    let (inputs, output) = subscripts.split_once("->").unwrap();
    let inputs: Vec<&str> = inputs.split(',').collect();
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (labels, x) in inputs.iter().zip(operands) {
        for (l, &n) in labels.chars().zip(x.shape()) {
            let size = sizes.entry(l).or_insert(n);
            *size = (*size).max(n);
        }
    }
    let data: Vec<Vec<f64>> = operands.iter().map(|x| values(x).unwrap()).collect();
    let place = |labels: &str, shape: &[usize], index: &BTreeMap<char, usize>| {
        labels.chars().zip(shape).fold(0, |at, (l, &n)| at * n + if n == 1 { 0 } else { index[&l] })
    };
    let shape: Vec<usize> = output.chars().map(|l| sizes[&l]).collect();
    let mut out = vec![0.0; shape.iter().product()];
    for mut i in 0..sizes.values().product::<usize>() {
        let mut index = BTreeMap::new();
        for (&l, &n) in &sizes {
            index.insert(l, i % n);
            i /= n;
        }
        let term: f64 = (inputs.iter().zip(operands).zip(&data))
            .map(|((labels, x), data)| data[place(labels, x.shape(), &index)])
            .product();
        out[place(output, &shape, &index)] += term;
    }
    out
}

fn near(what: &str, got: &Array, want: &[f64], epsilon: f64) {
    let got = values(got).unwrap();
    assert_eq!(got.len(), want.len(), "{what}");
    let most = want.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() <= epsilon * most, "{what}: {got:?}, expected {want:?}");
    }
}

#[test]
fn einstein_sums() -> Result<()> {
    let mut rng = Rng::new(1);
    // Subscripts as written, the same without ellipsis and with an output, and the shapes.
    let cases: [(&str, &str, &[&[usize]]); 18] = [
        ("ij,jk", "ij,jk->ik", &[&[2, 3], &[3, 4]]),
        ("ij->ji", "ij->ji", &[&[2, 3]]),
        ("ba", "ba->ab", &[&[2, 3]]),
        ("ii", "ii->", &[&[3, 3]]),
        ("ii->i", "ii->i", &[&[3, 3]]),
        ("iij,j->ij", "iij,j->ij", &[&[3, 3, 2], &[2]]),
        ("i,j->ij", "i,j->ij", &[&[3], &[2]]),
        ("ij,ij->", "ij,ij->", &[&[3, 2], &[3, 2]]),
        ("bij,bjk->bik", "bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 2]]),
        ("bhqd,bhkd->bhqk", "bhqd,bhkd->bhqk", &[&[2, 2, 3, 4], &[2, 2, 5, 4]]),
        ("...ij,...jk->...ik", "bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 2]]),
        ("...ij,jk", "abij,jk->abik", &[&[2, 2, 3, 4], &[4, 2]]),
        ("...i,...->...", "bci,c->bc", &[&[2, 3, 4], &[3]]),
        ("ij,jk,kl->il", "ij,jk,kl->il", &[&[2, 5], &[5, 3], &[3, 4]]),
        ("ij,ik,il,im->jklm", "ij,ik,il,im->jklm", &[&[3, 2], &[3, 2], &[3, 3], &[3, 2]]),
        ("ij,j->i", "ij,j->i", &[&[3, 1], &[4]]),
        (
            "ab,bc,cd,de,ef,fg,gh,hi->ai",
            "ab,bc,cd,de,ef,fg,gh,hi->ai",
            &[&[2, 3], &[3, 2], &[2, 2], &[2, 3], &[3, 2], &[2, 2], &[2, 3], &[3, 2]],
        ),
        (" i j , k -> j ", "ij,k->j", &[&[2, 3], &[4]]),
    ];
    for (written, plain, shapes) in cases {
        for arrangement in [Arrangement::Contiguous, Arrangement::Transposed] {
            let operands: Vec<Array> = (shapes.iter())
                .map(|s| rng.array(s, Dtype::F64, (-1.0, 1.0), arrangement))
                .collect::<Result<_>>()?;
            near(written, &einsum(written, &operands)?, &loops(plain, &operands), 1e-14);
        }
    }
    let ints = from_values(&[1.0, 2.0, 3.0, 4.0], &[2, 2], Dtype::I32)?;
    assert_eq!(values(&einsum("ij,jk", &[ints.clone(), ints.clone()])?)?, [7.0, 10.0, 15.0, 22.0]);
    for wrong in ["ij", "ijk,ij", "i1,ij", "ij,jk->iz", "ij,jk->ii", "ij,jjj", "...,ij,ij"] {
        let fault = einsum(wrong, &[ints.clone(), ints.clone()]).err().map(|e| e.kind());
        assert_eq!(fault, Some(ErrorKind::Argument), "{wrong}");
    }
    Ok(())
}

#[test]
fn paths_take_the_fewest_operations() -> Result<()> {
    let path = einsum_path("ij,jk,kl", &[&[2, 3], &[3, 4], &[4, 5]])?;
    // ((ij,jk),kl) takes 2 * 24 + 2 * 40 operations, (ij,(jk,kl)) takes 2 * 60 + 2 * 30.
    assert_eq!((path.steps.clone(), path.optimized), (vec![vec![0, 1], vec![0, 1]], 128));
    assert_eq!((path.naive, path.scaling), (360, (4, 3)));
    assert!(path.report().contains("ij,jk,kl->il"));
    let thin = einsum_path("ij,jk,kl", &[&[9, 9], &[9, 9], &[9, 1]])?;
    assert_eq!(thin.steps, vec![vec![1, 2], vec![0, 1]]);
    // Beyond the number for which all orders are tried, a chain is still contracted in pieces.
    let sizes: Vec<Vec<usize>> = (0..9).map(|_| vec![10, 10]).collect();
    let shapes: Vec<&[usize]> = sizes.iter().map(Vec::as_slice).collect();
    let long = einsum_path("ab,bc,cd,de,ef,fg,gh,hi,ij", &shapes)?;
    assert_eq!((long.steps.len(), long.scaling.1, long.optimized), (8, 3, 16_000));
    assert_eq!(einsum_path("ii->i", &[&[3, 3]])?.steps, [[0]]);
    Ok(())
}

#[test]
fn masked_and_segmented_products() -> Result<()> {
    let mut rng = Rng::new(2);
    let mut array =
        |shape: &[usize]| rng.array(shape, Dtype::F64, (-1.0, 1.0), Arrangement::Contiguous);
    let (a, b) = (array(&[2, 5, 6])?, array(&[6, 4])?);
    let (lhs, out) =
        (array(&[3, 3])?, from_values(&[1.0, 0.0, 1.0, 1.0, 0.0, 1.0], &[3, 2], Dtype::Bool)?);
    let rhs = from_values(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &[3, 2], Dtype::Bool)?;
    let masks = BlockMasks { out: Some(&out), lhs: Some(&lhs), rhs: Some(&rhs) };
    let got = block_masked_mm(&a, &b, 2, masks)?;
    let (x, y) = (values(&a)?, values(&b)?);
    let (l, r, o) = (values(&lhs)?, values(&rhs)?, values(&out)?);
    let want: Vec<f64> = (0..40)
        .map(|p| {
            let (e, i, j) = (p / 20, p / 4 % 5, p % 4);
            let term = |k: usize| {
                let (left, right) = (l[i / 2 * 3 + k / 2], r[k / 2 * 2 + j / 2]);
                x[(e * 5 + i) * 6 + k] * left * y[k * 4 + j] * right
            };
            (0..6).map(term).sum::<f64>() * o[i / 2 * 2 + j / 2]
        })
        .collect();
    near("block_masked_mm", &got, &want, 1e-14);
    let bad = BlockMasks { out: Some(&lhs), ..BlockMasks::default() };
    assert!(block_masked_mm(&a, &b, 2, bad).is_err());
    let a = a.at(0)?;
    let segments = from_values(&[0.0, 2.0, 2.0, 6.0, 3.0, 3.0], &[3, 2], Dtype::U32)?;
    let got = segmented_mm(&a, &b, &segments)?;
    assert_eq!(got.shape(), [3, 5, 4]);
    let part = |from: i64, to: i64| -> Result<Vec<f64>> {
        values(&a.slice(&[0, from], &[5, to], &[1, 1])?.matmul(&b.slice(
            &[from, 0],
            &[to, 4],
            &[1, 1],
        )?)?)
    };
    near("segmented_mm", &got, &[part(0, 2)?, part(2, 6)?, vec![0.0; 20]].concat(), 1e-14);
    Ok(())
}

/// Blocks large enough to be left out: odd sizes, several strips of rows, columns and k, shared and
/// transposed operands, NaN in what no product may read.
#[test]
fn blocks_that_are_left_out_are_not_read() -> Result<()> {
    // What a sum of 700 products in [-1, 1] loses, relative to the greatest; half types round once.
    let types = [(Dtype::F64, 1e-13), (Dtype::F32, 1e-5), (Dtype::F16, 6e-4), (Dtype::BF16, 5e-3)];
    let sizes = [[70, 50, 33], [16, 16, 16], [1, 129, 64], [300, 700, 40], [33, 40, 1100]];
    let mut rng = Rng::new(5);
    for (number, (([m, k, n], block), (dtype, epsilon))) in sizes
        .into_iter()
        .flat_map(|s| [16, 32].map(|block| (s, block)))
        .flat_map(|s| types.map(|t| (s, t)))
        .enumerate()
    {
        let batch = 1 + number % 2;
        let mut some = |rows: usize, columns: usize, batch: usize| -> Result<Array> {
            let shape = [batch, rows.div_ceil(block), columns.div_ceil(block)];
            let draw = rng.array(&shape, Dtype::F64, (-1.0, 1.0), Arrangement::Contiguous)?;
            draw.greater(&Array::scalar(-0.2))
        };
        let (lhs, rhs, out) = (some(m, k, batch)?, some(k, n, 1)?, some(m, n, 1)?);
        let turned =
            if number % 3 == 0 { Arrangement::Transposed } else { Arrangement::Contiguous };
        let a = rng.array(&[batch, m, k], dtype, (-1.0, 1.0), turned)?;
        let b = rng.array(&[k, n], dtype, (-1.0, 1.0), turned)?;
        let wide = |mask: &Array, rows: usize, columns: usize| -> Result<Array> {
            let (r, c) = (mask.repeat(block, Some(-2))?, rows as i64);
            let all = r.repeat(block, Some(-1))?;
            let lead = all.shape()[0] as i64;
            all.slice(&[0, 0, 0], &[lead, c, columns as i64], &[1, 1, 1])
        };
        let kept = wide(&lhs, m, k)?;
        let holes = kept.select(&a, &Array::scalar(f32::NAN).astype(dtype)?)?;
        let zeros = kept.select(&a, &Array::scalar(0f32).astype(dtype)?)?;
        let (x, y) = (values(&zeros)?, values(&b)?);
        let (right, keep) = (values(&wide(&rhs, k, n)?)?, values(&wide(&out, m, n)?)?);
        for used in [[true, false, false], [true, true, false], [true, true, true]] {
            let masks = BlockMasks {
                lhs: used[0].then_some(&lhs),
                rhs: used[1].then_some(&rhs),
                out: used[2].then_some(&out),
            };
            let got = block_masked_mm(&holes, &b, block, masks)?;
            assert_eq!((got.shape(), got.dtype()), (&[batch, m, n][..], dtype));
            let mut want = vec![0.0; batch * m * n];
            for (row, sums) in want.chunks_mut(n).enumerate() {
                for p in 0..k {
                    let left = x[row * k + p];
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let right = if used[1] { right[p * n + j] } else { 1.0 };
                        *sum += left * y[p * n + j] * right;
                    }
                }
                if used[2] {
                    let keep = &keep[row % m * n..][..n];
                    sums.iter_mut().zip(keep).for_each(|(sum, keep)| *sum *= keep);
                }
            }
            near(&format!("{m} {k} {n} by {block}, {dtype}, {used:?}"), &got, &want, epsilon);
        }
    }
    Ok(())
}

/// The gradients of a masked product are those of the product of masked operands, and so for ranges
/// that overlap or are empty.
#[test]
fn gradients_of_masked_products() -> Result<()> {
    let mut rng = Rng::new(6);
    let mut array =
        |shape: &[usize]| rng.array(shape, Dtype::F64, (-1.0, 1.0), Arrangement::Contiguous);
    let (a, b, ct) = (array(&[2, 40, 50])?, array(&[50, 20])?, array(&[2, 40, 20])?);
    let mask = |rows: usize, columns: usize, step: usize| {
        let bits: Vec<f64> = (0..rows * columns).map(|i| f64::from(i % step != 0)).collect();
        from_values(&bits, &[rows, columns], Dtype::Bool)
    };
    let (lhs, rhs, out) = (mask(3, 4, 3)?, mask(4, 2, 5)?, mask(3, 2, 4)?);
    let wide = |mask: &Array, rows: i64, columns: i64| -> Result<Array> {
        let all = mask.repeat(16, Some(0))?.repeat(16, Some(1))?;
        all.slice(&[0, 0], &[rows, columns], &[1, 1])?.astype(Dtype::F64)
    };
    let factors = [wide(&lhs, 40, 50)?, wide(&rhs, 50, 20)?, wide(&out, 40, 20)?];
    let skipping = |x: &[Array]| -> Result<Vec<Array>> {
        let masks = BlockMasks { lhs: Some(&lhs), rhs: Some(&rhs), out: Some(&out) };
        Ok(vec![block_masked_mm(&x[0], &x[1], 16, masks)?])
    };
    let full = |x: &[Array]| -> Result<Vec<Array>> {
        let (a, b) = (x[0].multiply(&factors[0])?, x[1].multiply(&factors[1])?);
        Ok(vec![a.matmul(&b)?.multiply(&factors[2])?])
    };
    let primals = [a.clone(), b.clone()];
    let same = |f: &dyn Fn(&[Array]) -> Result<Vec<Array>>,
                g: &dyn Fn(&[Array]) -> Result<Vec<Array>>,
                primals: &[Array],
                ct: &Array|
     -> Result<()> {
        let (_, got) = vjp_arrays(f, primals, |_| Ok(vec![ct.clone()]))?;
        let (_, want) = vjp_arrays(g, primals, |_| Ok(vec![ct.clone()]))?;
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.shape(), want.shape());
            near("gradient", got, &values(want)?, 1e-13);
        }
        Ok(())
    };
    same(&skipping, &full, &primals, &ct)?;
    let bounds = [0.0, 30.0, 20.0, 50.0, 7.0, 7.0];
    let segments = from_values(&bounds, &[3, 2], Dtype::I32)?;
    let parts = |x: &[Array]| -> Result<Vec<Array>> {
        let part = |s: usize| -> Result<Array> {
            let (from, to) = (bounds[2 * s] as i64, bounds[2 * s + 1] as i64);
            let left = x[0].slice(&[0, from], &[40, to], &[1, 1])?;
            left.matmul(&x[1].slice(&[from, 0], &[to, 20], &[1, 1])?)
        };
        Ok(vec![Array::stack(&[part(0)?, part(1)?, part(2)?], 0)?])
    };
    let ranges =
        |x: &[Array]| -> Result<Vec<Array>> { Ok(vec![segmented_mm(&x[0], &x[1], &segments)?]) };
    let primals = [a.at(0)?, b];
    near("segments", &ranges(&primals)?[0], &values(&parts(&primals)?[0])?, 1e-13);
    same(&ranges, &parts, &primals, &array(&[3, 40, 20])?)
}

#[test]
fn hadamard_matrices_are_orthogonal_and_signs_alternate() -> Result<()> {
    for n in [1, 2, 8, 12, 24, 20, 28, 56, 128, 192] {
        let h = values(&signal::hadamard_transform(&Array::identity(n, Dtype::F64)?, Some(1.0))?)?;
        assert!(h.iter().all(|x| x.abs() == 1.0), "{n}");
        for i in 0..n {
            for j in 0..n {
                let dot: f64 = (0..n).map(|k| h[i * n + k] * h[j * n + k]).sum();
                assert_eq!(dot, if i == j { n as f64 } else { 0.0 }, "{n}: rows {i} and {j}");
            }
        }
    }
    let x = from_values(&[1.0, 2.0, 3.0, 4.0], &[4], Dtype::F32)?;
    assert_eq!(values(&signal::hadamard_transform(&x, None)?)?, [5.0, -1.0, -2.0, 0.0]);
    // MLX's matrix of 12: the transform of the first unit vector, and of the second.
    let eye = Array::identity(12, Dtype::F32)?;
    let h = values(&signal::hadamard_transform(&eye, Some(1.0))?)?;
    let first = [1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    assert_eq!((h[0], &h[..12].iter().filter(|x| **x < 0.0).count()), (first[0], &1));
    assert!(signal::hadamard_transform(&Array::zeros(&[7], Dtype::F32)?, None).is_err());
    let ends = |x: Array| values(&x).map(|v| (v[0], v[2], v[4]));
    assert_eq!(ends(signal::bartlett(5)?)?, (0.0, 1.0, 0.0));
    for window in [signal::hanning(5)?, signal::hamming(5)?, signal::blackman(5)?] {
        let (first, middle, last) = ends(window)?;
        assert!((middle - 1.0).abs() < 1e-6 && (first - last).abs() < 1e-6 && first.abs() < 0.09);
    }
    assert_eq!(values(&signal::hanning(1)?)?, [1.0]);
    assert!(signal::blackman(0)?.is_empty());
    Ok(())
}
