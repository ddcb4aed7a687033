//! Random numbers against the values that MLX 0.32.4 gives for the same keys.

use lazulite::Result;
use lazulite::op::random;
use lazulite::prelude::*;
use lazulite_testkit::values;

fn golden(name: &str) -> Vec<f64> {
    let text = include_str!("../data/random_and_quantised_golden.json");
    let all: serde_json::Value = serde_json::from_str(text).expect("valid JSON");
    let mut out = Vec::new();
    flatten(&all[name], &mut out);
    assert!(!out.is_empty(), "no golden value {name}");
    out
}

pub(crate) fn flatten(value: &serde_json::Value, out: &mut Vec<f64>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|v| flatten(v, out)),
        serde_json::Value::Bool(b) => out.push(f64::from(u8::from(*b))),
        other => out.extend(other.as_f64()),
    }
}

fn unit(shape: &[usize], dtype: Dtype) -> Result<Array> {
    random::unit_uniform(shape, dtype, Some(&random::key(0)?))
}

#[test]
fn draws_equal_those_of_mlx() -> Result<()> {
    let key = random::key(0)?;
    let key = Some(&key);
    let number = |x: f32| Array::scalar(x);
    // Relative tolerances: 0 where only integer arithmetic, one conversion and one product are
    // involved; 4e-6 where a float32 logarithm or erfinv of a few ulp is.
    let cases: Vec<(&str, Array, f64)> = vec![
        ("key(7<<32|42)", random::key(7 << 32 | 42)?, 0.0),
        ("split(key0,2)", random::split(&random::key(0)?, 2)?, 0.0),
        ("split(key0,3)", random::split(&random::key(0)?, 3)?, 0.0),
        ("uniform(key0,1)", unit(&[1], Dtype::F32)?, 0.0),
        ("uniform(key0,2)", unit(&[2], Dtype::F32)?, 0.0),
        ("uniform(key0,3)", unit(&[3], Dtype::F32)?, 0.0),
        ("uniform(key0,5)", unit(&[5], Dtype::F32)?, 0.0),
        ("uniform(key0,8)", unit(&[8], Dtype::F32)?, 0.0),
        ("uniform_f16(key0,5)", unit(&[5], Dtype::F16)?, 0.0),
        ("uniform_bf16(key0,5)", unit(&[5], Dtype::BF16)?, 0.0),
        ("normal(key0,5)", random::normal(&[5], Dtype::F32, None, None, key)?, 4e-6),
        ("normal_c64(key0,2)", random::normal(&[2], Dtype::C64, None, None, key)?, 4e-6),
        (
            "randint(key0,0,100,6)",
            random::randint(&number(0.0), &number(100.0), Some(&[6]), Dtype::I32, key)?,
            0.0,
        ),
        ("bernoulli(key0,.3,6)", random::bernoulli(&number(0.3), Some(&[6]), key)?, 0.0),
        (
            "truncnorm(key0,-1,1,4)",
            random::truncated_normal(&number(-1.0), &number(1.0), Some(&[4]), Dtype::F32, key)?,
            4e-6,
        ),
        ("gumbel(key0,4)", random::gumbel(&[4], Dtype::F32, key)?, 4e-6),
        ("laplace(key0,4)", random::laplace(&[4], Dtype::F32, 0.0, 1.0, key)?, 4e-6),
        ("permutation(key0,8)", random::permutation(8, key)?, 0.0),
    ];
    for (name, got, tolerance) in cases {
        let (got, want) = (values(&got)?, golden(name));
        assert_eq!(got.len(), want.len(), "{name}");
        for (g, w) in got.iter().zip(&want) {
            let near = (g - w).abs() <= tolerance * w.abs().max(1.0);
            assert!(near || *g as f32 == *w as f32, "{name}: got {g}, want {w}");
        }
    }
    Ok(())
}

#[test]
fn the_default_state_continues_from_its_seed() -> Result<()> {
    random::seed(3)?;
    let mut got = Vec::new();
    for _ in 0..3 {
        got.extend(values(&random::unit_uniform(&[2], Dtype::F32, None)?)?);
    }
    let want = golden("seed3_uniform_x3");
    assert!(got.iter().zip(&want).all(|(g, w)| *g as f32 == *w as f32), "{got:?}, {want:?}");
    Ok(())
}

/// Frequencies of 20,000 draws lie within five standard deviations, at most 0.018, of the
/// probabilities.
#[test]
fn categorical_draws_follow_the_logits() -> Result<()> {
    let p = [0.1f32, 0.2, 0.3, 0.4];
    let logits = Array::from_slice(&p, &[4])?.log()?;
    let key = random::key(11)?;
    let single = random::categorical_samples(&logits, -1, 20_000, Some(&key))?;
    let rows = logits.broadcast_to(&[20_000, 4])?;
    for draws in [single, random::categorical(&rows, -1, Some(&key))?] {
        let draws = draws.to_vec::<u32>()?;
        for (i, p) in p.iter().enumerate() {
            let share = draws.iter().filter(|&&d| d as usize == i).count() as f32 / 20_000.0;
            assert!((share - p).abs() < 0.018, "{i}: {share}, {p}");
        }
    }
    Ok(())
}
