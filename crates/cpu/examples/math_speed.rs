//! Nanoseconds per element of each function on each instruction set, beside the standard
//! library's scalar function where there is one: `cargo run --release --example math_speed`.

use std::hint::black_box;
use std::time::Instant;

use lazulite_cpu::isa::IsaKind;
use lazulite_cpu::math::{Real, Unary, map_f32_for, map_f64_for};

const N: usize = 2048;

/// The best of several runs over a block that stays in L1.
fn time(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..30 {
        let start = Instant::now();
        for _ in 0..20 {
            run();
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    best * 1e9 / (20 * N) as f64
}

fn row<U: Unary>(name: &str, f32_std: Option<fn(f32) -> f32>) {
    let x32: Vec<f32> = (0..N).map(|i| 0.1 + 0.0004 * i as f32).collect();
    let x64: Vec<f64> = x32.iter().map(|&x| f64::from(x)).collect();
    let (mut y32, mut y64) = (vec![0.0_f32; N], vec![0.0_f64; N]);
    print!("{name:10}");
    for isa in IsaKind::available() {
        let narrow = time(|| map_f32_for::<U>(isa, black_box(&x32), black_box(&mut y32)));
        let wide = time(|| map_f64_for::<U>(isa, black_box(&x64), black_box(&mut y64)));
        print!("  {isa:?} {narrow:6.2} {wide:6.2}");
    }
    if let Some(f) = f32_std {
        let scalar = time(|| {
            for (y, &x) in black_box(&mut y32).iter_mut().zip(black_box(&x32)) {
                *y = f(x);
            }
        });
        print!("  std f32 {scalar:6.2}");
    }
    println!();
}

macro_rules! rows {
    ($($name:ident $std:expr;)*) => {
        fn main() {
            println!("ns per element: f32, f64");
            $({
                struct Row;
                impl Unary for Row {
                    #[inline(always)]
                    fn apply<X: Real>(x: X) -> X {
                        x.$name()
                    }
                }
                row::<Row>(stringify!($name), $std);
            })*
        }
    };
}

rows! {
    exp Some(f32::exp);
    exp2 Some(f32::exp2);
    expm1 Some(f32::exp_m1);
    log Some(f32::ln);
    log2 Some(f32::log2);
    log10 Some(f32::log10);
    log1p Some(f32::ln_1p);
    rsqrt None;
    sin Some(f32::sin);
    cos Some(f32::cos);
    tan Some(f32::tan);
    sinh Some(f32::sinh);
    cosh Some(f32::cosh);
    tanh Some(f32::tanh);
    arcsin Some(f32::asin);
    arccos Some(f32::acos);
    arctan Some(f32::atan);
    arcsinh Some(f32::asinh);
    arccosh Some(f32::acosh);
    arctanh Some(f32::atanh);
    erf None;
    erfinv None;
    sigmoid None;
    round Some(f32::round_ties_even);
}
