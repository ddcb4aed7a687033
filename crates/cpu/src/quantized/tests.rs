//! Quantised products against sums in `f64` of the weights that `dequantize` gives, and the quantiser.

use half::{bf16, f16};

use super::affine::Affine;
use super::codec::{dequantize, quantize};
use crate::elem::Elem;
use crate::gemm::gemm;
use crate::isa::{IsaKind, with_isa};
use crate::operand::{Output, Strided};
use crate::pool;

fn random(n: usize, seed: u32) -> Vec<f32> {
    let mut s = u64::from(seed) + 99;
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (s >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

struct Packed<S> {
    words: Vec<u32>,
    scales: Vec<S>,
    biases: Vec<S>,
    dense: Vec<f32>,
}

fn pack<S: Elem<Acc = f32>>(rows: usize, len: usize, bits: usize, group: usize) -> Packed<S> {
    let w: Vec<S> = random(rows * len, 7).into_iter().map(S::narrow).collect();
    let mut words = vec![0; rows * len * bits / 32];
    let mut scales = vec![S::narrow(0.0); rows * len / group];
    let mut biases = scales.clone();
    quantize(&w, len, bits, group, &mut words, &mut scales, &mut biases);
    let mut dense = vec![0f32; rows * len];
    dequantize(&words, &scales, &biases, len, bits, group, &mut dense);
    // A level away from the weight at most, and a half unless clamped or rounded to S.
    for (i, (d, w)) in dense.iter().zip(&w).enumerate() {
        let (scale, bias) = (scales[i / group].widen().abs(), biases[i / group].widen().abs());
        let bound = 0.51 * scale + 0.01 * (bias + 256.0 * scale);
        assert!((d - w.widen()).abs() <= bound, "{d} for {}", w.widen());
    }
    Packed { words, scales, biases, dense }
}

fn products<S: Elem<Acc = f32>, X: Elem<Acc = f32>>(
    m: usize,
    n: usize,
    k: usize,
    bits: usize,
    group: usize,
) {
    for along_k in [true, false] {
        let (rows, len) = if along_k { (n, k) } else { (k, n) };
        if !len.is_multiple_of(group) || !(len * bits).is_multiple_of(32) {
            continue;
        }
        let p = pack::<S>(rows, len, bits, group);
        let x: Vec<X> = random(m * k, 3).into_iter().map(X::narrow).collect();
        let w = Affine::new(&p.words, &p.scales, &p.biases, [n, k], bits, group, along_k);
        for kind in IsaKind::ALL {
            let run = |threads| {
                pool::set_num_threads(threads);
                let mut y = vec![f32::NAN; m * n];
                let x = Strided::rows(&x, [m, k], false);
                gemm(&x, &w, &mut Output::new(&mut y, 1, [m, n]), None);
                y
            };
            let Some(y) = with_isa(kind, || run(1)) else { continue };
            let two = with_isa(kind, || run(2)).unwrap();
            assert!(y.iter().zip(&two).all(|(a, b)| a.to_bits() == b.to_bits()));
            for (e, got) in y.iter().enumerate() {
                let (i, j) = (e / n, e % n);
                let weight = |q: usize| p.dense[if along_k { j * k + q } else { q * n + j }];
                let term = |q: usize| f64::from(x[i * k + q].widen()) * f64::from(weight(q));
                let want: f64 = (0..k).map(term).sum();
                // Scale and bias parts are summed apart, each of a few times the magnitude.
                let bound = (0..k).map(|q| term(q).abs()).sum::<f64>() * 1e-5 + 1e-4;
                let what =
                    format!("{kind:?} m {m} n {n} k {k} bits {bits} group {group} {along_k}");
                assert!((f64::from(*got) - want).abs() < bound, "{what} at {i} {j}: {got} {want}");
            }
        }
    }
}

#[test]
fn products_of_all_bits_and_groups() {
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [16, 32, 64, 128] {
            for m in [1, 2, 3, 5, 9] {
                products::<f32, f32>(m, 5 * group, 3 * group, bits, group);
            }
        }
    }
}

#[test]
fn products_of_many_rows() {
    // Every height of a tile, and columns that are no whole panel.
    for (m, group) in [(7, 16), (8, 32), (15, 64), (20, 128), (300, 32)] {
        products::<f16, f32>(m, 37, 3 * group, 4, group);
    }
    products::<bf16, f16>(13, 160, 1184, 4, 32);
}

#[test]
fn products_of_half_types() {
    for bits in [3, 4, 8] {
        products::<f16, f32>(1, 64, 576, bits, 32);
        products::<f16, f16>(4, 192, 192, bits, 64);
        products::<bf16, bf16>(1, 576, 64, bits, 32);
        products::<bf16, f32>(33, 96, 160, bits, 32);
    }
}

#[test]
fn long_rows_take_several_segments() {
    products::<f16, f32>(1, 96, 32 * 300, 4, 32);
    products::<f32, f32>(2, 64, 16 * 520, 5, 16);
    products::<f32, f32>(1, 1184, 70, 4, 32);
    products::<f32, f32>(1, 1184, 35, 8, 32);
}

#[test]
fn rows_are_cut_into_parts_and_pieces() {
    // Four parts of k, the last of them short, and two pieces of the columns.
    products::<f16, f32>(2, 4608, 250, 4, 32);
    products::<f32, f32>(1, 640, 1001, 6, 64);
}

#[test]
fn the_quantiser_meets_the_larger_end_and_zero() {
    let w: Vec<f32> = (0..32).map(|i| i as f32 / 4.0 - 2.0).collect();
    for bits in [2, 3, 4, 5, 6, 8] {
        let (mut words, mut scale, mut bias) = (vec![0; bits], [0f32], [0f32]);
        quantize(&w, 32, bits, 32, &mut words, &mut scale, &mut bias);
        let mut dense = [0f32; 32];
        dequantize(&words, &scale, &bias, 32, bits, 32, &mut dense);
        assert_eq!(bias[0], 5.75, "level 0 is the end of larger magnitude");
        assert_eq!(dense[31], 5.75);
        // The scale divides the edge, so that zero is a level.
        assert!(dense.iter().any(|v| v.abs() < 1e-5), "{bits} bits: {dense:?}");
    }
    let (mut words, mut scale, mut bias) = (vec![1; 4], [1f32], [1f32]);
    quantize(&[0f32; 32], 32, 4, 32, &mut words, &mut scale, &mut bias);
    assert_eq!((&words[..], scale, bias), (&[0u32; 4][..], [-1e-7], [0.0]), "all zeros");
}

#[test]
#[should_panic(expected = "expected")]
fn short_scales_are_refused() {
    let _ = Affine::new(&[0; 16], &[0f32; 3], &[0f32; 4], [2, 64], 4, 32, true);
}
