//! Quantised formats against what MLX 0.32.4 writes, and products against dequantised ones.

use crate::random::flatten;
use lazulite::Result;
use lazulite::grad;
use lazulite::op::qqmm::{GlobalScales, Weights, qqmm};
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

/// The product is that of what the rounded numbers stand for, whose sums of 64 terms differ in
/// order; the derivative is that of the product, with the rounding for the identity.
#[test]
fn products_of_two_quantised_sides() -> Result<()> {
    let mut rng = Rng::new(9);
    let x = Array::from_slice(&floats(&mut rng, 3 * 64), &[3, 64])?;
    let w = Array::from_slice(&floats(&mut rng, 5 * 64), &[5, 64])?;
    for mode in [QuantMode::Mxfp4, QuantMode::Nvfp4, QuantMode::Mxfp8] {
        let format = QuantFormat::new(mode, None, None)?;
        let parts = w.quantize(format)?;
        let round = |x: &Array| {
            let parts = x.quantize(format)?;
            parts[0].dequantize(&parts[1], None, format, Some(Dtype::F32))
        };
        let (rx, rw) = (round(&x)?, round(&w)?);
        let near = |what: &str, got: Array, want: Array| -> Result<()> {
            let name = mode.name();
            assert_eq!(got.shape(), want.shape(), "{name} {what}");
            for (g, w) in values(&got)?.iter().zip(values(&want)?) {
                assert!((g - w).abs() < 1e-4, "{name} {what}: {g}, not {w}");
            }
            Ok(())
        };
        for weights in [Weights::Plain(&w), Weights::Packed(&parts[0], &parts[1])] {
            near("value", qqmm(&x, weights, format, None)?, rx.matmul(&rw.t()?)?)?;
            let ct = Array::from_slice(&floats(&mut rng, 15), &[3, 5])?;
            let loss = |x: &Array, w: Weights<'_>| {
                qqmm(x, w, format, None)?.multiply(&ct)?.sum(None, false)
            };
            near("dx", grad(|x: Array| loss(&x, weights))(x.clone())?, ct.matmul(&rw)?)?;
            if let Weights::Plain(w) = weights {
                let dw = grad(|w: Array| loss(&x, Weights::Plain(&w)))(w.clone())?;
                near("dw", dw, ct.t()?.matmul(&rx)?)?;
            }
        }
        let half =
            qqmm(&x.astype(Dtype::F16)?, Weights::Packed(&parts[0], &parts[1]), format, None)?;
        assert_eq!(half.dtype(), Dtype::F16);
        let row = x.take(&Array::scalar(0i32), Some(0))?;
        assert_eq!(qqmm(&row, Weights::Plain(&w), format, None)?.shape(), [5]);
    }
    Ok(())
}

/// A global scale moves numbers that are far outside of the range of the scales into it.
#[test]
fn global_scales_of_nvfp4() -> Result<()> {
    let format = QuantFormat::new(QuantMode::Nvfp4, None, None)?;
    let mut rng = Rng::new(10);
    let size = |x: &Array| x.abs()?.max(None, false);
    for scale in [1e-6, 1.0, 1e6] {
        let scaled = |count: usize, rng: &mut Rng| -> Vec<f32> {
            floats(rng, count).into_iter().map(|x| x * scale).collect()
        };
        let x = Array::from_slice(&scaled(2 * 32, &mut rng), &[2, 32])?;
        let w = Array::from_slice(&scaled(4 * 32, &mut rng), &[4, 32])?;
        let global = GlobalScales { x: &size(&x)?, w: &size(&w)? };
        let got = values(&qqmm(&x, Weights::Plain(&w), format, Some(global))?)?;
        let want = values(&x.matmul(&w.t()?)?)?;
        let largest = want.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        for (g, w) in got.iter().zip(&want) {
            // Elements have two bits behind the first: 2 sides of 2^-3, over 32 terms.
            assert!((g - w).abs() < 0.25 * largest, "{scale}: {g}, not {w}");
        }
    }
    let x = Array::ones(&[2, 32], Dtype::F32)?;
    let one = Array::scalar(1f32);
    let mx = QuantFormat::new(QuantMode::Mxfp4, None, None)?;
    assert!(x.quantize_scaled(mx, &one).is_err());
    assert!(x.quantize_scaled(format, &Array::scalar(1i32)).is_err());
    let affine = QuantFormat::new(QuantMode::Affine, None, None)?;
    assert!(qqmm(&x, Weights::Plain(&x), affine, None).is_err());
    Ok(())
}
