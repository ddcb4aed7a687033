//! Products, dense and quantised, alone, joined and grouped, and attention.

use lazulite_core::op::fast::scaled_dot_product_attention as attention;
use lazulite_core::op::fast::{Frequencies, Mask, rms_norm, rope};
use lazulite_core::op::quantized::{QuantFormat, QuantMode};
use lazulite_core::transform::vjp_arrays;
use lazulite_core::{Array, Device, Dtype, Literal, Result, eval};

use super::check::{Draw, Report, given, on};

pub fn checks(r: &mut Report, d: &mut Draw) {
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F64, Dtype::C64] {
        // Sums of k products of half-precision results: one rounding at the end.
        let (rtol, atol) = (1e-4, if dtype.is_half() { 0.05 } else { 1e-4 });
        for (m, n, k) in
            [(1, 64, 96), (3, 5, 7), (17, 33, 65), (128, 256, 192), (5, 8, 0), (2, 100, 1)]
        {
            let (a, b) = (d.array(dtype, &[m, k], -1.0, 1.0), d.array(dtype, &[k, n], -1.0, 1.0));
            let (at, bt) = (d.array(dtype, &[k, m], -1.0, 1.0), d.array(dtype, &[n, k], -1.0, 1.0));
            let c = d.array(dtype, &[n], -1.0, 1.0);
            r.check(&format!("matmul {dtype} {m} {n} {k}"), rtol, atol, || {
                Ok(vec![
                    a.matmul(&b)?,
                    at.t()?.matmul(&b)?,
                    a.matmul(&bt.t()?)?,
                    at.t()?.matmul(&bt.t()?)?,
                    a.matmul(&b)?.add(&c)?.multiply(&c)?,
                    a.matmul(&b)?.add(&c)?,
                    c.add(&a.matmul(&bt.t()?)?)?,
                    a.matmul(&b)?.multiply(&c)?.tanh()?,
                ])
            });
        }
        for (m, n, k) in [(3, 5, 7), (17, 33, 65), (128, 256, 192), (64, 64, 0)] {
            let (a, b) = (d.array(dtype, &[m, k], -1.0, 1.0), d.array(dtype, &[k, n], -1.0, 1.0));
            let (term, turned) =
                (d.array(dtype, &[m, n], -1.0, 1.0), d.array(dtype, &[n, m], -1.0, 1.0));
            let batch = d.array(dtype, &[3, m, k], -1.0, 1.0);
            let step = d.array(dtype, &[], 0.1, 0.2);
            r.check(&format!("product and a term {dtype} {m} {n} {k}"), rtol, atol, || {
                let scale = Array::literal(Literal::from_f64(0.125, dtype));
                let product = || a.matmul(&b);
                Ok(vec![
                    product()?.add(&term)?,
                    term.subtract(&product()?.multiply(&scale)?)?,
                    product()?.multiply(&scale)?.add(&scale.multiply(&product()?)?)?,
                    product()?.add(&product()?)?.subtract(&term.multiply(&scale)?)?,
                    turned.t()?.subtract(&product()?)?,
                    term.add(&scale)?.add(&product()?)?,
                    term.subtract(&product()?.multiply(&step)?)?,
                    batch.matmul(&b)?.add(&term)?,
                ])
            });
        }
        let (a, b) =
            (d.array(dtype, &[3, 1, 9, 16], -1.0, 1.0), d.array(dtype, &[4, 16, 10], -1.0, 1.0));
        r.check(&format!("matmul of batches {dtype}"), rtol, atol, || {
            let heads =
                a.transpose(Some(&[1, 2, 0, 3]))?.matmul(&a.transpose(Some(&[1, 2, 3, 0]))?)?;
            Ok(vec![a.matmul(&b)?, heads, a.flip(None)?.matmul(&b)?])
        });
    }
    for dtype in [Dtype::I8, Dtype::I32, Dtype::I64, Dtype::U8, Dtype::U16] {
        for (m, n, k) in [(1, 64, 96), (70, 33, 65), (128, 130, 17)] {
            // Products of 65 factors wrap in bytes.
            let (a, b) = (d.array(dtype, &[m, k], 0.0, 99.0), d.array(dtype, &[n, k], 0.0, 99.0));
            let c = d.array(dtype, &[3, 1, k, n], 0.0, 9.0);
            r.check(&format!("integer matmul {dtype} {m} {n} {k}"), 0.0, 0.0, || {
                Ok(vec![
                    a.matmul(&b.t()?)?,
                    a.matmul(&c)?,
                    a.flip(None)?.matmul(&c)?.add(&c.max(None, false)?)?,
                ])
            });
        }
    }
    for dtype in [Dtype::F32, Dtype::BF16] {
        let atol = if dtype.is_half() { 0.1 } else { 1e-3 };
        layer_gradients(r, d, dtype, atol);
        // A result so large that its half type holds the product's numbers, too.
        let (a, b) =
            (d.array(dtype, &[2048, 16], -1.0, 1.0), d.array(dtype, &[16, 2112], -1.0, 1.0));
        r.check(&format!("large product and tanh {dtype}"), 1e-3, atol, || {
            Ok(vec![a.matmul(&b)?.tanh()?])
        });
    }
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        large_gelus(r, d, dtype);
    }
    for (mode, groups, widths) in [
        (QuantMode::Affine, &[32usize, 64, 128][..], &[2usize, 3, 4, 5, 6, 8][..]),
        (QuantMode::Mxfp4, &[32], &[4]),
        (QuantMode::Nvfp4, &[16], &[4]),
        (QuantMode::Mxfp8, &[32], &[8]),
    ] {
        for (&group, &bits) in groups.iter().flat_map(|g| widths.iter().map(move |b| (g, b))) {
            let Ok(format) = QuantFormat::new(mode, Some(group), Some(bits)) else { continue };
            for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
                let w = d.array(dtype, &[96, 256], -1.0, 1.0);
                let name = |what: &str| format!("{what} {mode:?} {group} {bits} {dtype}");
                r.check(&name("quantize"), 0.0, 0.0, || w.quantize(format));
                let parts = on(Device::CPU, || {
                    let parts = w.quantize(format)?;
                    eval::eval(&parts)?;
                    Ok(parts)
                });
                let Ok(parts) = parts else { continue };
                let biases = parts.get(2);
                r.check(&name("dequantize"), 1e-6, 1e-6, || {
                    Ok(vec![parts[0].dequantize(&parts[1], biases, format, Some(dtype))?])
                });
                for m in [1, 3, 8, 40] {
                    let (x, y) =
                        (d.array(dtype, &[m, 256], -1.0, 1.0), d.array(dtype, &[m, 96], -1.0, 1.0));
                    let atol = if dtype.is_half() { 0.06 } else { 1e-4 };
                    r.check(&name(&format!("quantized_matmul {m}")), 1e-3, atol, || {
                        Ok(vec![
                            x.quantized_matmul(&parts[0], &parts[1], biases, true, format)?,
                            y.quantized_matmul(&parts[0], &parts[1], biases, false, format)?,
                        ])
                    });
                }
            }
        }
    }
    small_floats(r, d);
    grouped(r, d);
    joined(r, d);
    growing(r, d);
    // Matrices that several blocks share, at the edges of their tiles.
    for (bits, group) in [(4, 32), (4, 64), (4, 128), (8, 64)] {
        let Ok(format) = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits)) else {
            continue;
        };
        for dtype in [Dtype::BF16, Dtype::F16] {
            let w = d.array(dtype, &[200, 2048], -1.0, 1.0);
            let parts = on(Device::CPU, || {
                let parts = w.quantize(format)?;
                eval::eval(&parts)?;
                Ok(parts)
            });
            let Ok(parts) = parts else { continue };
            for m in [1, 2, 4, 5, 16, 17, 33, 64, 100, 128, 130] {
                let x = d.array(dtype, &[m, 2048], -1.0, 1.0);
                // Sums of 2048 products with weights that round once more than on the processor: by
                // up to 2^-9 each, 0.0009 in the mean of squares, times x's 0.58 and the root of 2048.
                // The sum's deviation is 0.024, and one of 26,000 may be six times that.
                r.check(
                    &format!("quantized_matmul tiles {bits} {group} {dtype} {m}"),
                    1e-2,
                    0.15,
                    || {
                        let (scales, biases) = (&parts[1], parts.get(2));
                        Ok(vec![x.quantized_matmul(&parts[0], scales, biases, true, format)?])
                    },
                );
            }
        }
    }
    few_rows(r, d);
    unusual_logits(r, d);
    many_queries(r, d);
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        for (t, s, h, g, e) in [
            (1, 300, 8, 2, 64),
            (1, 3000, 4, 4, 128),
            (33, 33, 4, 2, 64),
            (70, 130, 2, 1, 80),
            (5, 9, 2, 2, 256),
            (129, 257, 4, 2, 128),
            (200, 200, 2, 2, 64),
            (300, 130, 2, 1, 96),
            (64, 65, 2, 1, 256),
            (17, 1000, 8, 1, 128),
            (4, 777, 8, 2, 128),
            (1, 9000, 32, 8, 128),
            (3, 40, 6, 3, 72),
        ] {
            let q = d.array(dtype, &[2, h, t, e], -1.0, 1.0);
            let (k, v) = (
                d.array(dtype, &[2, g, s, e], -1.0, 1.0),
                d.array(dtype, &[2, g, s, e], -1.0, 1.0),
            );
            let m = d.array(Dtype::Bool, &[t, s], 0.2, 1.0);
            let bias = d.array(dtype, &[2, 1, t, s], -1.0, 1.0);
            let sinks = d.array(dtype, &[h], -1.0, 1.0);
            let scale = 1.0 / (e as f64).sqrt();
            let atol = if dtype.is_half() { 4e-3 } else { 2e-5 };
            r.check(&format!("attention {dtype} {t} {s} {h} {g} {e}"), 1e-3, atol, || {
                Ok(vec![
                    attention(&q, &k, &v, scale, Mask::None, None)?,
                    attention(&q, &k, &v, scale, Mask::Causal, None)?,
                    attention(&q, &k, &v, scale, Mask::Array(&m), None)?,
                    attention(&q, &k, &v, scale, Mask::Array(&bias), Some(&sinks))?,
                    attention(&q, &k, &v, -scale, Mask::Causal, Some(&sinks))?,
                ])
            });
            // On the processor, the composition's gradients.
            let c = d.array(dtype, &[2, h, t, e], -1.0, 1.0);
            let name = format!("attention gradients {dtype} {t} {s} {h} {g} {e}");
            // Half types: weights and their slopes round before the second products.
            let atol = if dtype.is_half() { 2e-2 } else { 1e-4 };
            r.check(&name, 2e-2, atol, || {
                let mut out = Vec::new();
                for mask in [Mask::None, Mask::Causal, Mask::Array(&m), Mask::Array(&bias)] {
                    let sinks = matches!(mask, Mask::Causal | Mask::Array(_)).then_some(&sinks);
                    let f =
                        |x: &[Array]| Ok(vec![attention(&x[0], &x[1], &x[2], scale, mask, sinks)?]);
                    let inputs = [q.clone(), k.clone(), v.clone()];
                    out.extend(vjp_arrays(f, &inputs, |_| Ok(vec![c.clone()]))?.1);
                }
                Ok(out)
            });
            // Heads beside the elements of a position, as projections leave them.
            let turned = |x: &Array| x.transpose(Some(&[0, 2, 1, 3]));
            let beside = |x: &Array| -> Result<Array> {
                let y = turned(x)?.multiply(&Array::scalar(0.5f32).astype(dtype)?)?;
                y.eval()?;
                turned(&y)
            };
            let name = format!("attention of turned heads {dtype} {t} {s} {h} {g} {e}");
            r.check(&name, 1e-3, atol, || {
                let (q, k, v) = (beside(&q)?, beside(&k)?, beside(&v)?);
                Ok(vec![attention(&q, &k, &v, scale, Mask::Causal, None)?])
            });
        }
        let x = d.array(dtype, &[2, 4, 9, 64], -1.0, 1.0);
        let (zero, each) = (Array::scalar(5i32), Array::from_slice(&[3i32, 900], &[2]).unwrap());
        let freqs = d.array(Dtype::F32, &[16], 1.0, 100.0);
        r.check(&format!("rope {dtype}"), 2e-5, if dtype.is_half() { 8e-3 } else { 2e-5 }, || {
            Ok(vec![
                rope(&x, 64, false, Frequencies::Base(10000.0), 1.0, &zero)?,
                rope(&x, 32, true, Frequencies::Base(500.0), 0.5, &each)?,
                rope(&x, 32, false, Frequencies::Array(&freqs), 1.0, &zero)?,
            ])
        });
    }
}

/// Attention in `float32` by its own kernel, and for longer values or uneven heads in slices, of which there are
/// several.
fn many_queries(r: &mut Report, d: &mut Draw) {
    for (t, s, h, g, e, f) in [
        (700, 3000, 8, 2, 64, 64),
        (2100, 900, 8, 8, 32, 72),
        (300, 600, 8, 4, 256, 128),
        (700, 3000, 8, 2, 136, 136),
        (2100, 900, 8, 8, 12, 12),
    ] {
        let q = d.array(Dtype::F32, &[2, h, t, e], -1.0, 1.0);
        let k = d.array(Dtype::F32, &[2, g, s, e], -1.0, 1.0);
        let v = d.array(Dtype::F32, &[2, g, s, f], -1.0, 1.0);
        let m = d.array(Dtype::Bool, &[t, s], 0.2, 1.0);
        let bias = d.array(Dtype::F32, &[2, 1, t, s], -1.0, 1.0);
        let sinks = d.array(Dtype::F32, &[h], -1.0, 1.0);
        let scale = 1.0 / (e as f64).sqrt();
        // Five times the error seen against float64; values rounded to 11 bits would be 1e-4 off where a row sees one key.
        r.check(&format!("attention float32, many queries {t} {s} {e} {f}"), 0.0, 5e-6, || {
            Ok(vec![
                attention(&q, &k, &v, scale, Mask::None, None)?,
                attention(&q, &k, &v, scale, Mask::Causal, Some(&sinks))?,
                attention(&q, &k, &v, scale, Mask::Array(&m), None)?,
                attention(&q, &k, &v, scale, Mask::Array(&bias), Some(&sinks))?,
            ])
        });
    }
}

/// Gelus behind products with many elements, in both forms, with and without a bias.
fn large_gelus(r: &mut Report, d: &mut Draw, dtype: Dtype) {
    let (a, b) = (d.array(dtype, &[2048, 16], -1.5, 1.5), d.array(dtype, &[16, 2112], -1.5, 1.5));
    let bias = d.array(dtype, &[2112], -2.0, 2.0);
    let c = |x: f64| Array::literal(Literal::from_f64(x, dtype));
    let half = |x: &Array, y: Array| x.multiply(&c(0.5))?.multiply(&y.add(&c(1.0))?);
    let tanh = |x: Array| {
        let cube = x.multiply(&x)?.multiply(&x)?.multiply(&c(0.044715))?;
        half(&x, x.add(&cube)?.multiply(&c(0.7978845608))?.tanh()?)
    };
    let erf = |x: Array| half(&x, x.multiply(&c(0.5f64.sqrt()))?.erf()?);
    // Where constants round to a half type, the library's do not.
    let (rtol, atol) = if dtype.is_half() { (1e-2, 1e-2) } else { (1e-4, 1e-5) };
    r.check(&format!("large product and gelu {dtype}"), rtol, atol, || {
        let (x, y) = (a.matmul(&b)?, a.matmul(&b)?.add(&bias)?);
        Ok(vec![
            tanh(x.clone())?,
            tanh(y.clone())?,
            erf(x)?,
            erf(y)?,
            tanh(a.matmul(&b)?.multiply(&c(0.5))?)?,
        ])
    });
}

/// Packing of numbers at and beside the limits of the formats, in rows that begin anywhere.
fn small_floats(r: &mut Report, d: &mut Draw) {
    let mut rows: Vec<f32> = Vec::new();
    for exponent in -40..40 {
        let scale = 2f32.powi(3 * exponent);
        let some = [0.0, -0.0, 0.25, 0.75, 1.25, -1.75, 2.5, 3.5, 5.0, 6.0, 6.1, 448.0, 464.0, 7.0];
        rows.extend(some.iter().map(|x| x * scale));
        // Products of rounded factors: ties, and what is a little off them.
        rows.extend((0..18).map(|_| (d.next() as f32 * 4.0).round() * scale * 0.5));
    }
    let odd = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40, -1.0];
    rows.extend((0..32).map(|i| if i == 5 { odd[0] } else { i as f32 }));
    rows.extend((0..32).map(|i| odd[2 + i % 4]));
    rows.extend((0..32).map(|i| odd[1 + i % 5]));
    let n = rows.len() / 32;
    let x = Array::from_slice(&rows, &[n, 32]).unwrap_or_else(|e| panic!("input: {e}"));
    let wide = d.array(Dtype::F32, &[5, 3, 131], -3.0, 3.0);
    for mode in [QuantMode::Mxfp4, QuantMode::Nvfp4, QuantMode::Mxfp8] {
        let Ok(format) = QuantFormat::new(mode, None, None) else { continue };
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            r.check(&format!("packing {mode:?} {dtype}"), 0.0, 0.0, || {
                let mut out = x.astype(dtype)?.quantize(format)?;
                let view = wide.astype(dtype)?.slice(&[1, 0, 3], &[5, 3, 131], &[2, 1, 1])?;
                out.extend(view.quantize(format)?);
                let flat = wide.astype(dtype)?.flatten(0, -1)?.slice(&[1], &[1 + 1920], &[1])?;
                out.extend(flat.quantize(format)?);
                Ok(out)
            });
        }
    }
}

/// Softmaxes and norms over an axis that grows compile few kernels, whatever its length divides by.
fn growing(r: &mut Report, d: &mut Draw) {
    let made = || {
        let stats = lazulite_cuda::backend::module_stats();
        stats.compiled + stats.loaded
    };
    let mut after = Vec::new();
    for n in 40..100 {
        let x = d.array(Dtype::F32, &[9, 1, n], -1.0, 1.0);
        r.check(&format!("growing rows {n}"), 1e-5, 1e-6, || {
            let y = x.multiply(&Array::scalar(0.5f32))?.softmax(Some(&[-1]), true)?;
            Ok(vec![y, x.exp()?.add(&x)?])
        });
        after.push(made());
    }
    // Two for each of the two programs at most: one for the first length, and one for all others.
    let late = after.last().zip(after.get(16)).is_none_or(|(last, early)| last == early);
    match late || r.filter.is_some() || r.part.1 > 1 {
        true => r.passed += 1,
        false => r.failed.push(format!("growing rows compile kernels: {after:?}")),
    }
}

/// Products of one x, and what is done with their elements, in one launch.
fn joined(r: &mut Report, d: &mut Draw) {
    let Ok(format) = QuantFormat::new(QuantMode::Affine, Some(32), Some(4)) else { return };
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        let mut matrix = |n: usize| {
            let w = d.array(dtype, &[n, 288], -1.0, 1.0);
            on(Device::CPU, || {
                let parts = w.quantize(format)?;
                eval::eval(&parts)?;
                Ok(parts)
            })
        };
        let (Ok(a), Ok(b), Ok(c)) = (matrix(200), matrix(72), matrix(200)) else { continue };
        let bias = d.array(dtype, &[200], -1.0, 1.0);
        let scale = d.array(dtype, &[288], 0.5, 1.5);
        let atol = if dtype.is_half() { 0.1 } else { 1e-4 };
        for m in [1, 2, 3, 4, 9, 16] {
            let x = d.array(dtype, &[1, m, 288], -1.0, 1.0);
            let residual = d.array(dtype, &[1, m, 200], -1.0, 1.0);
            let by = |w: &[Array]| x.quantized_matmul(&w[0], &w[1], w.get(2), true, format);
            r.check(&format!("joined products {dtype} {m}"), 1e-3, atol, || {
                Ok(vec![by(&a)?, by(&b)?.exp()?, by(&c)?.add(&bias)?])
            });
            r.check(&format!("gated product {dtype} {m}"), 1e-2, 8.0 * atol, || {
                let gate = by(&a)?;
                Ok(vec![gate.multiply(&gate.sigmoid()?)?.multiply(&by(&c)?)?])
            });
            r.check(&format!("norm before products {dtype} {m}"), 1e-3, 4.0 * atol, || {
                let y = rms_norm(&x, Some(&scale), 1e-5)?;
                let by = |w: &[Array]| y.quantized_matmul(&w[0], &w[1], w.get(2), true, format);
                Ok(vec![by(&a)?, by(&b)?.add(&Array::scalar(1i8))?, y.clone()])
            });
            r.check(&format!("product onto a residual {dtype} {m}"), 1e-3, atol, || {
                Ok(vec![residual.add(&by(&a)?)?, by(&c)?.multiply(&Array::scalar(2i8))?])
            });
        }
    }
}

/// Products with the matrices that indices pick.
fn grouped(r: &mut Report, d: &mut Draw) {
    let (lhs, rhs) = (d.indices(&[9], 4), d.indices(&[9], 5));
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        let atol = if dtype.is_half() { 0.06 } else { 1e-4 };
        for m in [1, 3, 20] {
            let x = d.array(dtype, &[4, m, 128], -1.0, 1.0);
            let b = d.array(dtype, &[5, 128, 40], -1.0, 1.0);
            r.check(&format!("gather_mm {dtype} {m}"), 1e-3, atol, || {
                Ok(vec![x.gather_mm(&b, Some(&lhs), Some(&rhs))?])
            });
            for (bits, group) in [(4, 32), (8, 64), (6, 32)] {
                let format = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits));
                let Ok(format) = format else { continue };
                for transpose in [true, false] {
                    let shape = if transpose { [5, 64, 128] } else { [5, 128, 64] };
                    let w = d.array(dtype, &shape, -1.0, 1.0);
                    let parts = on(Device::CPU, || {
                        let parts = w.quantize(format)?;
                        eval::eval(&parts)?;
                        Ok(parts)
                    });
                    let Ok(p) = parts else { continue };
                    let name = format!("gather_qmm {dtype} {m} {bits} {transpose}");
                    r.check(&name, 1e-3, atol, || {
                        let (l, r) = (Some(&lhs), Some(&rhs));
                        Ok(vec![x.gather_qmm(&p[0], &p[1], p.get(2), l, r, transpose, format)?])
                    });
                }
            }
        }
    }
}

/// Gradients through a gelu, which are computed again from its input, through turned weights, and through
/// slices that overlap.
fn layer_gradients(r: &mut Report, d: &mut Draw, dtype: Dtype, atol: f64) {
    let x = d.array(dtype, &[2, 24, 32], -1.0, 1.0);
    let (up, down) = (d.array(dtype, &[64, 32], -0.3, 0.3), d.array(dtype, &[32, 32], -0.3, 0.3));
    let ct = d.array(dtype, &[2, 24, 32], -1.0, 1.0);
    r.check(&format!("gradients of a layer {dtype}"), 1e-2, atol, || {
        let f = |p: &[Array]| {
            let h = p[0].matmul(&p[1].t()?)?;
            let half = Array::literal(Literal::from_f64(0.5, dtype));
            let one = Array::literal(Literal::from_f64(1.0, dtype));
            let t = h.multiply(&h)?.multiply(&h)?.multiply(&half)?.add(&h)?.tanh()?;
            let y = h.multiply(&half)?.multiply(&t.add(&one)?)?;
            let part = |from: i64| y.slice(&[0, 0, from], &[2, 24, from + 32], &[1, 1, 1]);
            let y = part(0)?.add(&part(32)?.exp()?)?.multiply(&part(16)?)?;
            Ok(vec![y.matmul(&p[2].t()?)?])
        };
        let (mut out, gradients) =
            vjp_arrays(f, &[x.clone(), up.clone(), down.clone()], |_| Ok(vec![ct.clone()]))?;
        // A step of descent, whose product the weight joins.
        let step = Array::literal(Literal::from_f64(0.001, dtype));
        out.extend(gradients.iter().map(|g| g.multiply(&step)).collect::<Result<Vec<_>>>()?);
        Ok(out)
    });
}

/// Products of few rows: around the sizes of tiles and of the parts of a sum, in both layouts of the matrix,
/// with what joins before the result rounds, in batches, of rows that lie apart, and with numbers that are
/// none.
fn few_rows(r: &mut Report, d: &mut Draw) {
    for dtype in [Dtype::BF16, Dtype::F16] {
        for (m, n, k) in [
            (2, 64, 64),
            (5, 999, 1000),
            (8, 4096, 520),
            (9, 200, 72),
            (16, 328, 8192),
            (31, 1032, 576),
            (33, 72, 1000),
            (63, 130, 4104),
            (64, 512, 2048),
        ] {
            let mut array = |shape: &[usize]| d.array(dtype, shape, -1.0, 1.0);
            let (a, b, bt) = (array(&[m, k]), array(&[k, n]), array(&[n, k]));
            let (bias, term) = (array(&[n]), array(&[m, n]));
            let (x, w, wt) = (array(&[3, m, k]), array(&[3, k, n]), array(&[3, n, k]));
            let (apart, odd) = (array(&[m, k + 16]), array(&[m, k + 9]));
            let scale = Array::literal(Literal::from_f64(0.125, dtype));
            // One rounding of sums of k products.
            r.check(&format!("few rows {dtype} {m} {n} {k}"), 1e-4, 0.05, || {
                let (along, across) = (a.matmul(&bt.t()?)?, a.matmul(&b)?);
                let part = |x: &Array, from: usize| {
                    x.slice(&[0, from as i64], &[m as i64, (from + k) as i64], &[1, 1])
                };
                Ok(vec![
                    along.add(&bias)?,
                    across.add(&bias)?,
                    term.add(&along)?,
                    term.subtract(&across.multiply(&scale)?)?,
                    along.multiply(&bias)?.tanh()?,
                    part(&apart, 8)?.matmul(&bt.t()?)?,
                    part(&odd, 1)?.matmul(&b)?,
                    x.matmul(&w)?,
                    x.matmul(&wt.transpose(Some(&[0, 2, 1]))?)?,
                    x.matmul(&b)?,
                    along,
                    across,
                ])
            });
            let mut values: Vec<f64> = (0..m * k).map(|_| d.next() - 0.5).collect();
            values[k - 1] = f64::NAN;
            values[k + k / 2] = f64::INFINITY;
            let x = given(dtype, &[m, k], &values);
            let name = format!("few rows with what is no number {dtype} {m} {n} {k}");
            r.check(&name, 1e-4, 0.05, || Ok(vec![x.matmul(&b)?, x.matmul(&bt.t()?)?.add(&bias)?]));
        }
    }
}

/// Attention whose logits rise or fall along the keys by hundreds or a few in 128, have one outlier, are
/// no numbers, or are hidden in the tiles that kernels meet first.
fn unusual_logits(r: &mut Report, d: &mut Draw) {
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
        for (t, s, h, g, e) in [
            (129, 300, 4, 2, 128),
            (200, 520, 2, 1, 64),
            (70, 257, 2, 2, 80),
            (65, 300, 2, 1, 256),
            (1, 700, 8, 2, 128),
        ] {
            let q = d.array(dtype, &[2, h, t, e], 0.5, 1.0);
            let k = d.array(dtype, &[2, g, s, e], -0.5, 0.5);
            let v = d.array(dtype, &[2, g, s, e], -1.0, 1.0);
            let scale = 1.0 / (e as f64).sqrt();
            let column = |f: &dyn Fn(f64) -> f64| {
                let data: Vec<f64> = (0..s).map(|j| f(j as f64)).collect();
                given(dtype, &[s, 1], &data)
            };
            let last = s as f64 - 1.0;
            let columns = [
                ("rise", column(&|j| j * 0.18)),
                ("fall", column(&|j| (last - j) * 0.18)),
                ("rise slowly", column(&|j| j * 0.01)),
                ("fall slowly", column(&|j| (last - j) * 0.01)),
                ("begin high", column(&|j| if j == 0.0 { 90.0 } else { 0.0 })),
                ("end high", column(&|j| if j == last { 90.0 } else { 0.0 })),
                ("begin low", column(&|j| if j < 200.0 { -90.0 } else { 0.0 })),
                ("have a NaN", column(&|j| if j == 3.0 { f64::NAN } else { 0.0 })),
            ];
            let at = |n: usize| (n / s, n % s);
            let shown = |n: usize| (at(n).1 + 180 < s || at(n).0 % 3 == 0) && at(n).0 % 7 != 5;
            let mask: Vec<f64> = (0..t * s).map(|n| f64::from(shown(n))).collect();
            let bias: Vec<f64> =
                (0..t * s).map(|n| if shown(n) { 0.0 } else { f64::NEG_INFINITY }).collect();
            let mask = given(Dtype::Bool, &[t, s], &mask);
            let (bias, sinks) = (given(dtype, &[t, s], &bias), d.array(dtype, &[h], -1.0, 1.0));
            // Logits of hundreds have errors that weights have as a part of themselves.
            let atol = if dtype.is_half() { 4e-3 } else { 1e-3 };
            for (what, column) in &columns {
                let name = format!("attention, logits {what}, {dtype} {t} {s} {h} {g} {e}");
                r.check(&name, 1e-3, atol, || {
                    let k = k.add(column)?;
                    Ok(vec![
                        attention(&q, &k, &v, scale, Mask::None, None)?,
                        attention(&q, &k, &v, scale, Mask::Causal, None)?,
                        attention(&q, &k, &v, scale, Mask::Array(&mask), Some(&sinks))?,
                        attention(&q, &k, &v, scale, Mask::Array(&bias), Some(&sinks))?,
                        attention(&q, &k, &v, scale, Mask::Causal, Some(&sinks))?,
                    ])
                });
            }
        }
    }
}
