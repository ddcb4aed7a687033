//! Quantised formats against what MLX 0.32.4 writes, and products against dequantised ones.

use crate::random::flatten;
use lazulite::Result;
use lazulite::op::quantized::{QuantFormat, QuantMode};
use lazulite::prelude::*;
use lazulite_testkit::{Rng, values};

fn golden(format: &str, part: &str) -> Vec<f64> {
    let text = include_str!("../data/random_and_quantised_golden.json");
    let all: serde_json::Value = serde_json::from_str(text).expect("valid JSON");
    let mut out = Vec::new();
    flatten(&all[format][part], &mut out);
    assert!(!out.is_empty(), "no golden value {format} {part}");
    out
}

/// The matrix that the golden values are of.
fn matrix() -> Result<Array> {
    let w: Vec<f32> = (0..128).map(|i| (i as f32 - 50.0) * 0.37).collect();
    Array::from_slice(&w, &[2, 64])
}

#[test]
fn affine_packing_equals_mlx() -> Result<()> {
    for bits in [2, 3, 4, 5, 6, 8] {
        let format = QuantFormat::new(QuantMode::Affine, Some(32), Some(bits))?;
        let parts = matrix()?.quantize(format)?;
        for (part, got) in ["wq", "scales", "biases"].into_iter().zip(&parts) {
            let (got, want) = (values(got)?, golden(&format!("affine_gs32_b{bits}"), part));
            let same = got.iter().zip(&want).all(|(g, w)| *g as f32 == *w as f32);
            assert!(same && got.len() == want.len(), "{bits} bits, {part}: {got:?}, {want:?}");
        }
    }
    Ok(())
}

#[test]
fn float_formats_equal_mlx() -> Result<()> {
    for (name, mode) in
        [("mxfp4", QuantMode::Mxfp4), ("nvfp4", QuantMode::Nvfp4), ("mxfp8", QuantMode::Mxfp8)]
    {
        let format = QuantFormat::new(mode, None, None)?;
        let parts = matrix()?.quantize(format)?;
        let whole = parts[0].dequantize(&parts[1], None, format, Some(Dtype::F32))?;
        let got = [("wq", &parts[0]), ("scales", &parts[1]), ("deq", &whole)];
        for (part, got) in got {
            let (got, want) = (values(got)?, golden(name, part));
            assert_eq!(got, want, "{name} {part}");
        }
    }
    Ok(())
}

/// The product takes the dequantised elements as they are, so only the order of summation
/// differs: 128 terms in float32.
#[test]
fn products_equal_those_of_the_dequantised_matrix() -> Result<()> {
    let mut rng = Rng::new(5);
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [32, 64, 128] {
            let format = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits))?;
            let w = Array::from_slice(&floats(&mut rng, 128 * 128), &[128, 128])?;
            let parts = w.quantize(format)?;
            let whole = parts[0].dequantize(&parts[1], Some(&parts[2]), format, None)?;
            for m in [1, 5] {
                let x = Array::from_slice(&floats(&mut rng, m * 128), &[m, 128])?;
                for transpose in [true, false] {
                    let right = if transpose { whole.t()? } else { whole.clone() };
                    let want = values(&x.matmul(&right)?)?;
                    let (wq, s, b) = (&parts[0], &parts[1], Some(&parts[2]));
                    let got = values(&x.quantized_matmul(wq, s, b, transpose, format)?)?;
                    for (g, w) in got.iter().zip(&want) {
                        let what = format!("{bits} bits, {group}, m {m}, transpose {transpose}");
                        assert!((g - w).abs() < 2e-4, "{what}: got {g}, want {w}");
                    }
                }
            }
        }
    }
    Ok(())
}

fn floats(rng: &mut Rng, count: usize) -> Vec<f32> {
    rng.uniforms(count, -1.0, 1.0).into_iter().map(|x| x as f32).collect()
}

#[test]
fn mismatches_are_named() -> Result<()> {
    let format = QuantFormat::new(QuantMode::Affine, Some(32), Some(4))?;
    let parts = matrix()?.quantize(format)?;
    let x = Array::zeros(&[1, 63], Dtype::F32)?;
    let error = x.quantized_matmul(&parts[0], &parts[1], Some(&parts[2]), true, format);
    let text = error.expect_err("sizes differ").to_string();
    assert_eq!(
        text,
        "quantized_matmul: inner dimensions differ: x (1, 63), w (2, 64) (transpose true); \
         x axis -1 must be 64"
    );
    assert!(QuantFormat::new(QuantMode::Affine, Some(48), None).is_err());
    Ok(())
}

/// The product takes the elements as the gguf package dequantises them, so only the order of
/// summation differs: up to 256 terms in float32.
#[test]
fn products_take_the_types_of_gguf_files_as_they_are() -> Result<()> {
    use lazulite::io::{Contents, Input};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../io/tests/data");
    let open = |name: &str| Contents::open(&Input::open(folder.join(name))?);
    let Contents::Gguf(file) = open("all.gguf")? else { panic!("not GGUF") };
    let parts: std::collections::HashMap<_, _> = file.quantised_tensors()?.into_iter().collect();
    let mut rng = Rng::new(8);
    for (name, want) in open("gguf_single.safetensors")?.arrays()? {
        let part = |part: &str| parts[&name.replace("weight", part)].array();
        let (w, scales, biases) = (part("weight")?, part("scales")?, part("biases")?);
        let [n, k] = [want.size(0)?, want.size(1)?];
        let (bits, group) = (w.size(1)? * 32 / k, k / scales.size(1)?);
        let format = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits))?;
        for m in [1, 3, 40] {
            let x = Array::from_slice(&floats(&mut rng, m * k), &[m, k])?;
            let got = x.quantized_matmul(&w, &scales, Some(&biases), true, format)?;
            let want = values(&x.astype(Dtype::F64)?.matmul(&want.astype(Dtype::F64)?.t()?)?)?;
            let largest = want.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            for (i, (g, w)) in values(&got)?.iter().zip(&want).enumerate() {
                assert!((g - w).abs() < 2e-4 * largest, "{name} {m} {i} of {n}: {g}, not {w}");
            }
        }
    }
    Ok(())
}
