//! Products against sums in a wide type, for all element types, layouts, shapes and instruction sets.

use half::{bf16, f16};
use num_complex::{Complex32, Complex64};

use crate::complex::{ComplexLeft, ComplexRight};
use crate::elem::Elem;
use crate::gemm::{Epilogue, gemm};
use crate::isa::{IsaKind, with_isa};
use crate::operand::{Operand, Output, Strided};
use crate::pool;

/// Whole numbers from -4 to 4: every sum of the shapes below is exact in every type that sums in
/// floats, so that equality can be asked for.
fn number(i: usize, seed: usize) -> i64 {
    let mut s = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed as u64) << 7;
    s ^= s >> 29;
    s = s.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (s >> 33) as i64 % 9 - 4
}

const SHAPES: &[[usize; 3]] = &[
    [1, 1, 1],
    [1, 7, 3],
    [2, 33, 17],
    [3, 5, 129],
    [4, 64, 40],
    [5, 31, 8],
    [7, 100, 64],
    [13, 32, 5],
    [14, 65, 23],
    [29, 1, 31],
    [40, 40, 40],
    [37, 130, 700],
    [400, 70, 90],
    [700, 33, 333],
    [1351, 70, 40],
    [2, 3, 0],
    [0, 3, 4],
    [3, 0, 4],
];

/// Every combination of strides of an operand (outer, k): along k, across, spread out, reversed, and
/// a broadcast of either index.
fn layouts([outer, k]: [usize; 2]) -> Vec<(usize, usize, [isize; 2])> {
    let (o, i) = (outer as isize, k as isize);
    let most = (3 * outer + 1) * (2 * k + 1);
    let last_row = outer.saturating_sub(1) * k;
    vec![
        (outer * k, 0, [i, 1]),
        (outer * k, 0, [1, o]),
        (most, 1, [2 * i, 2]),
        (outer * k, last_row, [-i, 1]),
        (outer * k, (outer * k).saturating_sub(1), [-i, -1]),
        (outer + k, 0, [0, 1]),
        (outer + k, 0, [1, 0]),
    ]
}

fn expected(
    a: &[i64],
    b: &[i64],
    [m, n, k]: [usize; 3],
    sa: (usize, [isize; 2]),
    sb: (usize, [isize; 2]),
) -> Vec<i64> {
    let at = |v: &[i64], (o, s): (usize, [isize; 2]), i: usize, p: usize| {
        v[(o as isize + i as isize * s[0] + p as isize * s[1]) as usize]
    };
    let sum = |i: usize, j: usize| (0..k).map(|p| at(a, sa, i, p) * at(b, sb, j, p)).sum();
    (0..m * n).map(|e| sum(e / n, e % n)).collect()
}

fn check<A, B, C>(name: &str, from: fn(i64) -> A, from_b: fn(i64) -> B, to: fn(C) -> i64, zero: C)
where
    A: Elem,
    B: Elem<Acc = A::Acc>,
    C: Elem<Acc = A::Acc> + PartialEq + std::fmt::Debug,
{
    for &[m, n, k] in SHAPES {
        let few = if m * n * k > 100_000 { 2 } else { 7 };
        for (la, oa, sa) in layouts([m, k]).into_iter().take(few) {
            for (lb, ob, sb) in layouts([n, k]).into_iter().take(few) {
                let ia: Vec<i64> = (0..la).map(|i| number(i, 1)).collect();
                let ib: Vec<i64> = (0..lb).map(|i| number(i, 2)).collect();
                let a: Vec<A> = ia.iter().map(|&v| from(v)).collect();
                let b: Vec<B> = ib.iter().map(|&v| from_b(v)).collect();
                let want = expected(&ia, &ib, [m, n, k], (oa, sa), (ob, sb));
                let a = Strided::new(&a, oa, [m, k], sa);
                let b = Strided::new(&b, ob, [n, k], sb);
                for kind in IsaKind::ALL {
                    let mut c = vec![zero; m * n];
                    let run = || gemm(&a, &b, &mut Output::new(&mut c, 1, [m, n]), None);
                    if with_isa(kind, run).is_none() {
                        continue;
                    }
                    let got: Vec<i64> = c.into_iter().map(to).collect();
                    // Half results have eleven or eight bits.
                    let rounded: Vec<i64> = want.iter().map(|&v| to(round::<C>(v))).collect();
                    assert_eq!(got, rounded, "{name} {kind:?} {:?} {sa:?} {sb:?}", [m, n, k]);
                }
            }
        }
    }
}

fn round<C: Elem>(v: i64) -> C {
    let acc: Box<dyn std::any::Any> = match std::any::type_name::<C::Acc>() {
        "f32" => Box::new(v as f32),
        "f64" => Box::new(v as f64),
        "u32" => Box::new(v as u32),
        _ => Box::new(v as u64),
    };
    C::narrow(*acc.downcast::<C::Acc>().unwrap())
}

#[test]
fn floats_in_every_layout() {
    check::<f32, f32, f32>("f32", |v| v as f32, |v| v as f32, |v| v as i64, 9.0);
    check::<f64, f64, f64>("f64", |v| v as f64, |v| v as f64, |v| v as i64, 9.0);
}

#[test]
fn half_types_in_every_layout_and_mixed() {
    let (h, b) = (|v: i64| f16::from_f32(v as f32), |v: i64| bf16::from_f32(v as f32));
    check::<f16, f16, f16>("f16", h, h, |v| v.to_f32() as i64, f16::NAN);
    check::<bf16, bf16, bf16>("bf16", b, b, |v| v.to_f32() as i64, bf16::NAN);
    check::<f16, bf16, f32>("f16 bf16 to f32", h, b, |v| v as i64, f32::NAN);
}

#[test]
fn integers_in_every_layout() {
    check::<i8, i8, i8>("i8", |v| v as i8, |v| v as i8, i64::from, 99);
    check::<u16, u16, u16>("u16", |v| v as u16, |v| v as u16, i64::from, 99);
    check::<i32, i32, i32>("i32", |v| v as i32, |v| v as i32, i64::from, 99);
    check::<i64, i64, i64>("i64", |v| v, |v| v, |v| v, 99);
}

#[test]
fn wide_integers_wrap() {
    let (a, b) = ([u64::MAX - 5, 1 << 40, 3], [7u64, 1 << 41, u64::MAX]);
    for kind in IsaKind::ALL {
        let mut c = [0u64; 9];
        let (x, y) = (Strided::new(&a, 0, [3, 1], [1, 1]), Strided::new(&b, 0, [3, 1], [1, 1]));
        with_isa(kind, || gemm(&x, &y, &mut Output::new(&mut c, 1, [3, 3]), None));
        let want: Vec<u64> =
            a.iter().flat_map(|x| b.iter().map(move |y| x.wrapping_mul(*y))).collect();
        assert!(!kind.is_available() || c[..] == want[..], "{kind:?}");
    }
}

#[test]
fn complex_products() {
    for &[m, n, k] in SHAPES {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            let z = |i, s| Complex32::new(number(i, s) as f32, number(i, s + 1) as f32);
            let a: Vec<_> = (0..m * k).map(|i| z(i, 3)).collect();
            let b: Vec<_> = (0..n * k).map(|i| z(i, 5)).collect();
            let left = ComplexLeft(Strided::rows(&a, [m, k], ta));
            let right = ComplexRight(Strided::rows(&b, [n, k], tb));
            let mut c = vec![Complex32::default(); m * n];
            let reals = bytemuck::cast_slice_mut::<_, f32>(&mut c);
            gemm(&left, &right, &mut Output::new(reals, 1, [m, 2 * n]), None);
            for (e, got) in c.iter().enumerate() {
                let (i, j) = (e / n, e % n);
                let wide = |z: Complex32| Complex64::new(f64::from(z.re), f64::from(z.im));
                let want: Complex64 = (0..k)
                    .map(|p| {
                        wide(a[if ta { p * m + i } else { i * k + p }])
                            * wide(b[if tb { p * n + j } else { j * k + p }])
                    })
                    .sum();
                assert_eq!(wide(*got), want, "{:?} {ta} {tb}", [m, n, k]);
            }
        }
    }
}

#[test]
fn batches_epilogues_and_accumulation() {
    for [m, n, k] in [[1, 40, 9], [3, 70, 20], [20, 33, 5], [200, 40, 300], [4, 5, 0], [30, 1, 64]]
    {
        for batches in [1, 3, 40] {
            let a: Vec<f32> = (0..batches * m * k).map(|i| number(i, 1) as f32).collect();
            let b: Vec<f32> = (0..batches * n * k).map(|i| number(i, 2) as f32).collect();
            let offsets: Vec<usize> = (0..batches).map(|i| i * m * k).collect();
            for shared in [false, true] {
                let ob: Vec<usize> = (0..batches).map(|i| i * n * k).collect();
                let x = Strided::batched(&a, &offsets, [m, k], [k as isize, 1]);
                let y = if shared {
                    Strided::rows(&b[..n * k], [n, k], false)
                } else {
                    Strided::batched(&b, &ob, [n, k], [k as isize, 1])
                };
                let value = |t: usize, i: usize, j: usize| -> f32 {
                    let tb = if shared { 0 } else { t };
                    (0..k).map(|p| a[t * m * k + i * k + p] * b[tb * n * k + j * k + p]).sum()
                };
                let tail: &Epilogue<f32> = &|t, i, j, v| {
                    for (d, v) in v.iter_mut().enumerate() {
                        *v = 2.0 * *v + (t * 7 + i * 3 + j + d) as f32;
                    }
                };
                let (ld, step) = (n + 3, m * (n + 3) + 5);
                let mut c = vec![-1.0f32; batches * step];
                let mut halves = vec![f16::ZERO; batches * m * n];
                gemm(&x, &y, &mut Output::with_ld(&mut c, batches, [m, n], ld, step), Some(tail));
                gemm(&x, &y, &mut Output::new(&mut halves, batches, [m, n]), Some(tail));
                let mut sums = vec![5.0f32; batches * m * n];
                let out = Output::new(&mut sums, batches, [m, n]);
                gemm(&x, &y, &mut out.accumulating(), None);
                for t in 0..batches {
                    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                        let v = value(t, i, j);
                        let e = (t * m + i) * n + j;
                        let finished = 2.0 * v + (t * 7 + i * 3 + j) as f32;
                        let what = format!("{:?} batch {t} of {batches} at {i} {j}", [m, n, k]);
                        assert_eq!(c[t * step + i * ld + j], finished, "{what}");
                        assert_eq!(halves[e], f16::from_f32(finished), "{what}");
                        assert_eq!(sums[e], v + 5.0, "{what}");
                    }
                    let gaps = (0..m).map(|i| c[t * step + i * ld + n]);
                    assert!(gaps.into_iter().all(|v| v == -1.0), "written between rows");
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let random = |n: usize| -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.7311).sin() * (1.0 + (i % 13) as f32)).collect()
    };
    for [m, n, k] in [[1, 900, 700], [3, 700, 400], [64, 300, 900], [600, 500, 700], [300, 1, 900]]
    {
        let (a, b) = (random(m * k), random(n * k));
        let run = |threads: usize, transposed: bool| {
            pool::set_num_threads(threads);
            let (mut c, mut h) = (vec![0f32; m * n], vec![bf16::ZERO; m * n]);
            let x = Strided::rows(&a, [m, k], false);
            let y = Strided::rows(&b, [n, k], transposed);
            gemm(&x, &y, &mut Output::new(&mut c, 1, [m, n]), None);
            gemm(&x, &y, &mut Output::new(&mut h, 1, [m, n]), None);
            (c.into_iter().map(f32::to_bits).collect::<Vec<_>>(), h)
        };
        for transposed in [false, true] {
            let one = run(1, transposed);
            for threads in [2, 3, 8] {
                assert!(run(threads, transposed) == one, "{:?} {threads} threads", [m, n, k]);
            }
        }
    }
}

#[test]
fn sums_are_as_accurate_as_their_order_allows() {
    // Blocked sums of f32 err by less than k epsilon times the sum of magnitudes.
    let (m, n, k) = (9, 35, 1000);
    let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 1.3).sin()).collect();
    let b: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.9).cos()).collect();
    for kind in IsaKind::ALL {
        let mut c = vec![0f32; m * n];
        let (x, y) = (Strided::rows(&a, [m, k], false), Strided::rows(&b, [n, k], false));
        if with_isa(kind, || gemm(&x, &y, &mut Output::new(&mut c, 1, [m, n]), None)).is_none() {
            continue;
        }
        for (e, got) in c.iter().enumerate() {
            let term = |p| f64::from(a[e / n * k + p]) * f64::from(b[e % n * k + p]);
            let want: f64 = (0..k).map(term).sum();
            let bound: f64 = (0..k).map(|p| term(p).abs()).sum::<f64>() * 6e-8 * 40.0;
            assert!((f64::from(*got) - want).abs() < bound, "{kind:?} {got} {want}");
        }
    }
}

#[test]
#[should_panic(expected = "leaves its")]
fn an_operand_outside_its_data_is_refused() {
    let _ = Strided::new(&[0f32; 11], 0, [3, 4], [4, 1]).extent();
}

#[test]
#[should_panic(expected = "overlap")]
fn an_output_that_overlaps_is_refused() {
    let _ = Output::with_ld(&mut [0f32; 64], 2, [4, 4], 4, 15);
}
