//! Accuracy of the elementwise mathematics over the whole range, on every instruction set.

use lazulite_cpu::math::{
    Binary, Real, Unary, map_f32_for, map_f64_for, map2_f32_for, map2_f64_for,
};
use lazulite_cpu::simd::Isa;

/// The distance of `got` from `want` in units in the last place of `want`, as float32.
fn ulp_f32(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if got == rounded || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    if !got.is_finite() || !want.is_finite() {
        return f64::INFINITY;
    }
    let exponent = want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
}

/// The number of float64 between two values, as a distance in ulp.
fn ulp_f64(got: f64, want: f64) -> f64 {
    if got == want || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    if !got.is_finite() || !want.is_finite() {
        return f64::INFINITY;
    }
    let ordered = |x: f64| {
        let bits = x.to_bits() as i64;
        if bits < 0 { i64::MIN.wrapping_sub(bits) } else { bits }
    };
    (i128::from(ordered(got)) - i128::from(ordered(want))).abs() as f64
}

/// Every 4099th bit pattern, the edges of the format and the places where functions change over.
fn samples_f32() -> Vec<f32> {
    let mut x: Vec<f32> = (0..=u32::MAX).step_by(4099).map(f32::from_bits).collect();
    for v in EDGES {
        for d in -2_i32..=2 {
            let near = f32::from_bits((v as f32).to_bits().wrapping_add_signed(d));
            x.extend([near, -near]);
        }
    }
    x
}

const EDGES: [f64; 40] = [
    0.0,
    1e-45,
    1.18e-38,
    1e-20,
    2.4e-4,
    0.125,
    0.25,
    0.3466,
    0.4142,
    0.5,
    0.7071,
    0.9999,
    1.0,
    1.4142,
    1.5,
    2.0,
    2.4142,
    3.0,
    4.0,
    5.9,
    10.0,
    16.0,
    17.3,
    20.0,
    22.0,
    60.0,
    87.3,
    88.02,
    88.73,
    89.4,
    89.6,
    103.9,
    127.9,
    128.0,
    149.5,
    1e5,
    16_384.0,
    1e10,
    3.4e38,
    f64::INFINITY,
];

/// Pseudo-random bits (splitmix64).
fn bits(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// All exponents, then the moderate ones more densely, then the edges.
fn samples_f64() -> Vec<f64> {
    let mut state = 7;
    let mut x: Vec<f64> = (0..200_000).map(|_| f64::from_bits(bits(&mut state))).collect();
    for _ in 0..400_000 {
        let unit = bits(&mut state) as f64 / u64::MAX as f64;
        let scale = (bits(&mut state) % 30) as f64 - 18.0;
        x.push((2.0 * unit - 1.0) * scale.exp2());
    }
    for v in EDGES.into_iter().chain([709.78, 710.4, 710.47, 745.1, 1022.0, 1074.0, 1e300, 5e-324])
    {
        for d in -2_i64..=2 {
            let near = f64::from_bits(v.to_bits().wrapping_add_signed(d));
            x.extend([near, -near]);
        }
    }
    x
}

/// The largest error of `got` and where, printed by the callers' assertions.
fn worst<T: Copy>(x: &[T], errors: impl Fn(usize) -> f64) -> (f64, T) {
    let mut worst = (0.0, x[0]);
    for (i, &v) in x.iter().enumerate() {
        let e = errors(i);
        if e > worst.0 {
            worst = (e, v);
        }
    }
    worst
}

fn check_f32<U: Unary>(name: &str, bound: f64, oracle: fn(f64) -> f64, failures: &mut Vec<String>) {
    let x = samples_f32();
    let want: Vec<f64> = x.iter().map(|&v| oracle(f64::from(v))).collect();
    for isa in Isa::available() {
        let mut y = vec![0.0; x.len()];
        map_f32_for::<U>(isa, &x, &mut y);
        let (e, at) = worst(&x, |i| ulp_f32(y[i], want[i]));
        println!("{name} f32 {isa:?}: {e:.3} at {at:e}");
        if e > bound {
            let got = y[x.iter().position(|v| v.to_bits() == at.to_bits()).unwrap_or(0)];
            let expected = oracle(f64::from(at));
            failures
                .push(format!("{name} f32 {isa:?}: {e} ulp at {at:e}: {got:e} for {expected:e}"));
        }
        // The same element at another position, and alone in a tail, has the same bits.
        for offset in [1, 2, 7, 31] {
            let part = &x[offset..offset + 1001];
            let mut z = vec![0.0; part.len()];
            map_f32_for::<U>(isa, part, &mut z);
            for (i, (a, b)) in z.iter().zip(&y[offset..]).enumerate() {
                assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{name} {i}");
            }
        }
    }
}

fn check_f64<U: Unary>(name: &str, bound: f64, oracle: fn(f64) -> f64, failures: &mut Vec<String>) {
    let x = samples_f64();
    let want: Vec<f64> = x.iter().map(|&v| oracle(v)).collect();
    for isa in Isa::available() {
        let mut y = vec![0.0; x.len()];
        map_f64_for::<U>(isa, &x, &mut y);
        let (e, at) = worst(&x, |i| ulp_f64(y[i], want[i]));
        println!("{name} f64 {isa:?}: {e:.3} at {at:e}");
        if e > bound {
            failures.push(format!("{name} f64 {isa:?}: {e} ulp at {at:e}, want {:e}", oracle(at)));
        }
        let part = &x[3..1000];
        let mut z = vec![0.0; part.len()];
        map_f64_for::<U>(isa, part, &mut z);
        for (a, b) in z.iter().zip(&y[3..]) {
            assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{name}");
        }
    }
}

macro_rules! table {
    ($($name:ident $f32:literal $f64:literal $oracle:expr;)*) => {
        #[test]
        fn unary_functions_keep_their_bounds() {
            let mut failures = Vec::new();
            $({
                struct Row;
                impl Unary for Row {
                    #[inline(always)]
                    fn apply<X: Real>(x: X) -> X {
                        x.$name()
                    }
                }
                check_f32::<Row>(stringify!($name), $f32, $oracle, &mut failures);
                check_f64::<Row>(stringify!($name), $f64, $oracle, &mut failures);
            })*
            assert!(failures.is_empty(), "{}", failures.join("\n"));
        }
    };
}

fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

// Bounds in ulp: against the true value for float32, and for float64 against oracles that are
// themselves off by up to 1 ulp, and counted in whole steps.
table! {
    exp 1.0 2.0 f64::exp;
    exp2 1.0 2.0 f64::exp2;
    expm1 2.0 2.0 f64::exp_m1;
    log 1.0 2.0 f64::ln;
    log2 1.0 2.0 f64::log2;
    log10 1.5 2.0 f64::log10;
    log1p 2.0 2.0 f64::ln_1p;
    sqrt 0.5 0.0 f64::sqrt;
    rsqrt 1.5 1.0 |x| 1.0 / x.sqrt();
    reciprocal 0.5 0.0 |x| 1.0 / x;
    sin 1.0 0.0 f64::sin;
    cos 1.0 0.0 f64::cos;
    tan 1.0 0.0 f64::tan;
    sinh 2.0 3.0 libm::sinh;
    cosh 2.0 3.0 libm::cosh;
    tanh 2.0 3.0 libm::tanh;
    arcsin 2.0 2.0 libm::asin;
    arccos 2.0 2.0 libm::acos;
    arctan 2.0 2.0 libm::atan;
    arcsinh 3.0 3.0 libm::asinh;
    arccosh 3.0 3.0 libm::acosh;
    arctanh 3.0 3.0 libm::atanh;
    erf 2.0 3.0 libm::erf;
    sigmoid 2.0 3.0 sigmoid;
    sign 0.0 0.0 sign;
    floor 0.0 0.0 f64::floor;
    ceil 0.0 0.0 f64::ceil;
    trunc 0.0 0.0 f64::trunc;
    round 0.0 0.0 f64::round_ties_even;
}
