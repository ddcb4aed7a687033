//! Accuracy of the elementwise mathematics over the whole range, on every instruction set.

use lazulite_cpu::isa::IsaKind;
use lazulite_cpu::math::{
    Binary, Real, Unary, map_f32_for, map_f64_for, map2_f32_for, map2_f64_for,
};

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
    0.7072,
    0.9999,
    1.0,
    1.4141,
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
    for isa in IsaKind::available() {
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
        let unsigned =
            |i: &usize| y[*i] == 0.0 && y[*i].is_sign_negative() != want[*i].is_sign_negative();
        if let Some(i) = (0..x.len()).find(unsigned) {
            failures.push(format!("{name} f32 {isa:?}: sign of zero at {:e}", x[i]));
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
    for isa in IsaKind::available() {
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

/// The inverse of `erf`, or of `erfc` away from 0, by bisection; a series near 0.
fn erfinv(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() || a > 1.0 {
        return f64::NAN;
    }
    if a == 1.0 {
        return f64::INFINITY.copysign(x);
    }
    if a < 1e-4 {
        let t = std::f64::consts::PI * a * a / 12.0;
        return x / std::f64::consts::FRAC_2_SQRT_PI * (1.0 + t + 1.4 * t * t);
    }
    let (mut low, mut high) = (0.8 * a, if a < 0.5 { a } else { 6.0 });
    for _ in 0..58 {
        let y = 0.5 * (low + high);
        let below = if a < 0.5 { libm::erf(y) < a } else { libm::erfc(y) > 1.0 - a };
        if below { low = y } else { high = y }
    }
    (0.5 * (low + high)).copysign(x)
}

fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

// erfinv reads a logarithm near 0, whose absolute error is 1 ulp of 1.
// Bounds in ulp: against the true value for float32, and for float64 against oracles that are
// themselves off by up to 1 ulp, and counted in whole steps.
table! {
    exp 1.0 2.0 f64::exp;
    exp2 1.0 2.0 f64::exp2;
    expm1 2.0 2.0 f64::exp_m1;
    log 1.0 2.0 f64::ln;
    log2 1.0 2.0 f64::log2;
    log10 1.0 2.0 f64::log10;
    log1p 1.0 2.0 f64::ln_1p;
    sqrt 0.5 0.0 f64::sqrt;
    rsqrt 1.5 1.0 |x| 1.0 / x.sqrt();
    reciprocal 0.5 0.0 |x| 1.0 / x;
    sin 1.0 0.0 f64::sin;
    cos 1.0 0.0 f64::cos;
    tan 1.0 0.0 f64::tan;
    sinh 2.0 3.0 libm::sinh;
    cosh 2.0 3.0 libm::cosh;
    tanh 2.5 4.0 libm::tanh;
    arcsin 2.0 2.0 libm::asin;
    arccos 2.0 2.0 libm::acos;
    arctan 2.0 2.0 libm::atan;
    arcsinh 2.0 3.0 libm::asinh;
    arccosh 2.0 3.0 |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) };
    arctanh 2.0 3.0 libm::atanh;
    erf 1.0 3.0 libm::erf;
    erfinv 2.5 4.0 erfinv;
    sigmoid 2.1 3.0 sigmoid;
    sign 0.0 0.0 sign;
    floor 0.0 0.0 f64::floor;
    ceil 0.0 0.0 f64::ceil;
    trunc 0.0 0.0 f64::trunc;
    round 0.0 0.0 f64::round_ties_even;
}

/// Pairs of random bit patterns, random pairs of moderate size, and all pairs of edges.
fn pairs_f32() -> (Vec<f32>, Vec<f32>) {
    let mut state = 3;
    let mut pairs = Vec::new();
    for _ in 0..400_000 {
        let b = bits(&mut state);
        pairs.push((f32::from_bits(b as u32), f32::from_bits((b >> 32) as u32)));
        let (u, v) =
            (bits(&mut state) as f32 * 2e-19 - 1.8, bits(&mut state) as f32 * 2e-18 - 18.0);
        pairs.extend([(u, v), (v, u), (v, u.round()), (v.round(), v)]);
    }
    let edges = [0.0, 1e-45, 1e-30, 0.5, 1.0, 1.5, 2.0, 3.0, 1e9, 16_777_217.0, 3.4e38];
    let edges = edges.into_iter().chain([f32::INFINITY, f32::NAN]);
    let edges: Vec<f32> = edges.flat_map(|v| [v, -v]).collect();
    for &a in &edges {
        pairs.extend(edges.iter().map(|&b| (a, b)));
    }
    pairs.into_iter().unzip()
}

fn check_pairs<B: Binary>(name: &str, bound: f64, oracle: fn(f64, f64) -> f64) {
    let (x, y) = pairs_f32();
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (x64, y64) = (wide(&x), wide(&y));
    let want: Vec<f64> = x64.iter().zip(&y64).map(|(&x, &y)| oracle(x, y)).collect();
    for isa in IsaKind::available() {
        let mut got = vec![0.0; x.len()];
        map2_f32_for::<B>(isa, &x, &y, &mut got);
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let e = ulp_f32(got, want);
            let (x, y) = (x[i], y[i]);
            assert!(e <= bound, "{name}({x:e}, {y:e}) {isa:?}: {e} ulp, {got:e} for {want:e}");
            let signed = got.is_sign_negative() == want.is_sign_negative();
            assert!(got != 0.0 || signed, "{name}({x:e}, {y:e}) {isa:?}: sign of zero");
        }
        let mut got = vec![0.0; x.len()];
        map2_f64_for::<B>(isa, &x64, &y64, &mut got);
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let e = ulp_f64(got, want);
            let (x, y) = (x[i], y[i]);
            assert!(e <= 3.0, "{name}({x:e}, {y:e}) f64 {isa:?}: {e} ulp, {got:e} for {want:e}");
        }
    }
}

macro_rules! binary {
    ($($name:ident $bound:literal $oracle:expr;)*) => {$(
        #[test]
        fn $name() {
            struct Row;
            impl Binary for Row {
                #[inline(always)]
                fn apply<X: Real>(x: X, y: X) -> X {
                    x.$name(y)
                }
            }
            check_pairs::<Row>(stringify!($name), $bound, $oracle);
        }
    )*};
}

binary! {
    power 1.0 f64::powf;
    arctan2 2.0 f64::atan2;
    fmod 0.5 |x, y| x % y;
    maximum 0.0 |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else if x > y { x } else { y };
    minimum 0.0 |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else if x < y { x } else { y };
}

/// Near its zeros `ln(e^x + e^y)` cancels, so the bound is relative to the larger argument.
#[test]
fn logaddexp_is_accurate_relative_to_its_arguments() {
    struct Row;
    impl Binary for Row {
        #[inline(always)]
        fn apply<X: Real>(x: X, y: X) -> X {
            x.logaddexp(y)
        }
    }
    let (x, y) = pairs_f32();
    for isa in IsaKind::available() {
        let mut got = vec![0.0; x.len()];
        map2_f32_for::<Row>(isa, &x, &y, &mut got);
        for (i, &got) in got.iter().enumerate() {
            let (a, b) = (f64::from(x[i]), f64::from(y[i]));
            let larger = a.max(b);
            let distance = if a == b { 0.0 } else { (a - b).abs() };
            let want = if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                larger + (-distance).exp().ln_1p()
            };
            let bound = 2.5e-7 * larger.abs().max(1.0);
            let close = (f64::from(got) - want).abs() <= bound;
            let same = got == want as f32 || got.is_nan() && want.is_nan();
            assert!(close || same, "logaddexp({a:e}, {b:e}) {isa:?}: {got:e} for {want:e}");
        }
    }
}

#[test]
fn division_with_remainder_follows_the_divisor() {
    struct Remainder;
    impl Binary for Remainder {
        #[inline(always)]
        fn apply<X: Real>(x: X, y: X) -> X {
            x.remainder(y)
        }
    }
    struct Floor;
    impl Binary for Floor {
        #[inline(always)]
        fn apply<X: Real>(x: X, y: X) -> X {
            x.floor_divide(y)
        }
    }
    for (x, y, quotient, rest) in [
        (7.0, 3.0, 2.0, 1.0),
        (-7.0, 3.0, -3.0, 2.0),
        (7.0, -3.0, -3.0, -2.0),
        (-7.0, -3.0, 2.0, -1.0),
        (6.0, 3.0, 2.0, 0.0),
        (1.0, 0.0, f32::INFINITY, f32::NAN),
    ] {
        for isa in IsaKind::available() {
            let (mut q, mut r) = ([0.0], [0.0]);
            map2_f32_for::<Floor>(isa, &[x], &[y], &mut q);
            map2_f32_for::<Remainder>(isa, &[x], &[y], &mut r);
            assert_eq!(q, [quotient], "{x} // {y}");
            assert!(r == [rest] || r[0].is_nan() && rest.is_nan(), "{x} % {y}: {r:?}");
        }
    }
}

/// Values that MLX 0.32.4 draws for key 0: `normal` is `sqrt(2) erfinv` of a `uniform` on (-1, 1).
#[test]
fn erfinv_reproduces_normal_numbers() {
    struct Row;
    impl Unary for Row {
        #[inline(always)]
        fn apply<X: Real>(x: X) -> X {
            x.erfinv()
        }
    }
    let low = -1.0_f32.next_down();
    let uniform = [0.574_500_56_f32, 0.099_686_09, 0.393_160_28, 0.894_178_4, 0.596_566_56];
    let normal = [0.187_844_16_f32, -1.283_342_1, -0.271_091_55, 1.249_059_9, 0.244_470_02];
    for isa in IsaKind::available() {
        let mut y = [0.0; 5];
        map_f32_for::<Row>(isa, &uniform.map(|u| u * (1.0 - low) + low), &mut y);
        for (y, want) in y.into_iter().zip(normal) {
            let got = std::f32::consts::SQRT_2 * y;
            assert!(ulp_f32(got, f64::from(want)) <= 2.0, "{got:e} for {want:e}");
        }
    }
}
