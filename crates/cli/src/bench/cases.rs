//! What each case of `benches/` computes.

use crate::generate::Session;
use crate::generate::llama::Cache;
use lazulite::conv::{Conv, conv_general};
use lazulite::einsum::einsum;
use lazulite::fft::{self, Norm};
use lazulite::prelude::*;
use lazulite::quantized::{QuantFormat, QuantMode};
use lazulite::scatter::UpdateMode;
use lazulite::transform::vjp;
use lazulite::{eval, fast, linalg};
use serde_json::Value;
use std::path::Path;

/// A case with its inputs made: each call computes one result.
pub(super) type Case = Box<dyn FnMut() -> Result<Array>>;

pub(super) struct Params<'a>(pub(super) &'a Value);

impl Params<'_> {
    fn size(&self, key: &str) -> Result<usize> {
        let value = self.0[key].as_u64().filter(|&n| n < 1 << 40);
        value.map(|n| n as usize).ok_or_else(|| self.wrong(key, "a size"))
    }

    fn shape(&self, key: &str) -> Result<Vec<usize>> {
        shape(&self.0[key]).ok_or_else(|| self.wrong(key, "a shape"))
    }

    fn text(&self, key: &str) -> Result<&str> {
        self.0[key].as_str().ok_or_else(|| self.wrong(key, "a text"))
    }

    fn dtype(&self) -> Result<Dtype> {
        Dtype::from_name(self.text("dtype")?).ok_or_else(|| self.wrong("dtype", "a dtype"))
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::argument("bench", format!("params {}: '{key}' must be {expected}", self.0))
    }
}

fn shape(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|n| n.as_u64().map(|n| n as usize)).collect()
}

fn hash(s: u32, i: usize) -> u32 {
    let mut z = (i as u32).wrapping_add(s.wrapping_mul(0x9E37_79B9));
    z = (z ^ (z >> 16)).wrapping_mul(0x85EB_CA6B);
    z = (z ^ (z >> 13)).wrapping_mul(0xC2B2_AE35);
    z ^ (z >> 16)
}

/// Float input number `s`.
fn input(s: u32, shape: &[usize]) -> Result<Array> {
    let n = shape.iter().product();
    let at = |i| (hash(s, i) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    Array::from_slice(&(0..n).map(at).collect::<Vec<f32>>(), shape)
}

/// Integer input number `s` below `limit`.
fn integers(s: u32, limit: u32, count: usize) -> Result<Array> {
    let values: Vec<u32> = (0..count).map(|i| hash(s, i) % limit.max(1)).collect();
    Array::from_slice(&values, &[count])
}

fn ready(x: Result<Array>) -> Result<Array> {
    let x = x?;
    x.eval()?;
    Ok(x)
}

fn case(mut f: impl FnMut() -> Result<Array> + 'static) -> Result<Case> {
    Ok(Box::new(move || ready(f())))
}

/// The case of that name with its inputs made.
///
/// # Errors
/// Kind `Unsupported` for a name that is not there, else those of making the inputs.
pub(super) fn make(name: &str, p: &Params<'_>) -> Result<Case> {
    match name {
        "copy" => copy(p),
        "negate" => {
            let x = input(1, &[p.size("n")?])?;
            case(move || x.negative())
        }
        "gelu" => {
            let x = ready(input(1, &[p.size("n")?])?.astype(p.dtype()?))?;
            case(move || {
                let inner = (&x + &x * 0.044715 * &x * &x) * 0.797_884_560_802_865_4;
                Ok(&x * 0.5 * (inner.tanh()? + 1.0))
            })
        }
        "square" | "half_square" => {
            let n = p.size("n")?;
            let a = ready(input(1, &[n, n])?.astype(p.dtype()?))?;
            let b = ready(input(2, &[n, n])?.astype(p.dtype()?))?;
            case(move || a.matmul(&b))
        }
        "vector" => vector(p),
        "rows" => rows(p),
        "quantized_product" => quantized_product(p),
        "dense_product" => {
            let (m, k, n) = (p.size("m")?, p.size("k")?, p.size("n")?);
            let (x, w) = (input(1, &[m, k])?, input(2, &[n, k])?);
            case(move || x.matmul(&w.t()?))
        }
        "sum" => {
            let n = p.size("n")?;
            let x = input(1, &[n, n])?;
            let axes: Option<&'static [i64]> = match p.text("over")? {
                "rows" => Some(&[-1]),
                "columns" => Some(&[0]),
                _ => None,
            };
            case(move || x.sum(axes, false))
        }
        "argmax" => {
            let n = p.size("n")?;
            let x = input(1, &[n, n])?;
            case(move || x.argmax(Some(-1), false))
        }
        "cumsum" => {
            let x = input(1, &p.shape("shape")?)?;
            case(move || x.cumsum(-1, false, true))
        }
        "sort" => {
            let x = input(1, &[p.size("n")?])?;
            case(move || x.sort(Some(-1)))
        }
        "gather_rows" => {
            let (rows, width, count) = (p.size("rows")?, p.size("width")?, p.size("count")?);
            let (x, i) = (input(1, &[rows, width])?, integers(2, rows as u32, count)?);
            case(move || x.take(&i, Some(0)))
        }
        "scatter_add" => {
            let (rows, width, count) = (p.size("rows")?, p.size("width")?, p.size("count")?);
            let (x, i) = (input(1, &[rows, width])?, integers(2, rows as u32, count)?);
            let updates = input(3, &[count, 1, width])?;
            case(move || x.scatter(std::slice::from_ref(&i), &updates, &[0], UpdateMode::Add))
        }
        "conv2d" | "conv2d_gradients" => convolution(name, p),
        "linalg" => linear_algebra(p),
        "fft" => fourier(p),
        "einsum" => {
            let shapes = p.0["shapes"].as_array().ok_or_else(|| p.wrong("shapes", "shapes"))?;
            let shapes: Option<Vec<Vec<usize>>> = shapes.iter().map(shape).collect();
            let shapes = shapes.ok_or_else(|| p.wrong("shapes", "shapes"))?;
            let inputs = (1..).zip(&shapes).map(|(s, shape)| input(s, shape));
            let (spec, inputs) = (p.text("spec")?.to_owned(), inputs.collect::<Result<Vec<_>>>()?);
            case(move || einsum(&spec, &inputs))
        }
        "grouped_product" => grouped_product(p),
        "tiny_ops" => {
            let (ops, x) = (p.size("ops")?, input(1, &[p.size("n")?])?);
            case(move || {
                let mut y = x.clone();
                for _ in 0..ops / 2 {
                    y = y * 0.999 + 0.001;
                }
                Ok(y)
            })
        }
        "new_function" => {
            let (ops, x) = (p.size("ops")?, input(1, &[p.size("n")?])?);
            let mut calls = 0u64;
            case(move || {
                let mut y = x.clone();
                for j in 0..ops {
                    y = if calls >> j & 1 == 1 { y.sin()? } else { y * 0.5 + &x };
                }
                calls += 1;
                Ok(y)
            })
        }
        "prompt" => {
            let session = Session::open(Path::new(p.text("model")?))?;
            let ids = integers(1, 49152, p.size("tokens")?)?.to_vec::<u32>()?;
            case(move || session.read(&ids, &mut Cache::default()))
        }
        "decode" => decode(p),
        _ => Err(Error::unsupported("bench", format!("there is no case '{name}'"))),
    }
}

/// The bandwidth of the machine: memcpy by all threads, into memory that is there already.
fn copy(p: &Params<'_>) -> Result<Case> {
    let n = p.size("n")?;
    let from: Vec<f32> = input(1, &[n])?.to_vec()?;
    let mut to = vec![0.0f32; n];
    let threads = std::env::var("LAZULITE_NUM_THREADS").ok().and_then(|t| t.parse().ok());
    let threads: usize =
        threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let sample = Array::from_slice(&from, &[n])?;
    Ok(Box::new(move || {
        let part = n.div_ceil(threads).max(1);
        std::thread::scope(|s| {
            for (a, b) in from.chunks(part).zip(to.chunks_mut(part)) {
                s.spawn(|| b.copy_from_slice(a));
            }
        });
        std::hint::black_box(&to);
        Ok(sample.clone())
    }))
}

fn vector(p: &Params<'_>) -> Result<Case> {
    let n = p.size("n")?;
    let (x, w) = (input(1, &[n])?, input(2, &[n, n])?);
    match p.text("spelling")? {
        "x@W.T" => case(move || x.matmul(&w.t()?)),
        "x@W" => case(move || x.matmul(&w)),
        "W@x" => case(move || w.matmul(&x)),
        "W.T@x" => case(move || w.t()?.matmul(&x)),
        _ => Err(p.wrong("spelling", "one of x@W.T, x@W, W@x, W.T@x")),
    }
}

fn rows(p: &Params<'_>) -> Result<Case> {
    let (rows, width) = (p.size("rows")?, p.size("width")?);
    let dtype = p.dtype()?;
    let x = ready(input(1, &[rows, width])?.astype(dtype))?;
    let w = ready(input(2, &[width])?.astype(dtype))?;
    let b = ready(input(3, &[width])?.astype(dtype))?;
    match p.text("op")? {
        "softmax" => case(move || x.softmax(Some(&[-1]), false)),
        "layer_norm" => case(move || fast::layer_norm(&x, Some(&w), Some(&b), 1e-5)),
        "rms_norm" => case(move || fast::rms_norm(&x, Some(&w), 1e-5)),
        _ => Err(p.wrong("op", "one of softmax, layer_norm, rms_norm")),
    }
}

fn quantized_product(p: &Params<'_>) -> Result<Case> {
    let (m, k, n) = (p.size("m")?, p.size("k")?, p.size("n")?);
    let transpose = p.0["transpose"].as_bool().unwrap_or(true);
    let format =
        QuantFormat::new(QuantMode::Affine, Some(p.size("group")?), Some(p.size("bits")?))?;
    let x = input(1, &[m, k])?;
    let w = input(2, &if transpose { [n, k] } else { [k, n] })?;
    let q = w.quantize(format)?;
    eval::eval(&q)?;
    case(move || x.quantized_matmul(&q[0], &q[1], Some(&q[2]), transpose, format))
}

fn grouped_product(p: &Params<'_>) -> Result<Case> {
    let (tokens, experts) = (p.size("tokens")?, p.size("experts")?);
    let (k, n) = (p.size("k")?, p.size("n")?);
    let format =
        QuantFormat::new(QuantMode::Affine, Some(p.size("group")?), Some(p.size("bits")?))?;
    let x = input(1, &[tokens, 1, k])?;
    let q = input(2, &[experts, n, k])?.quantize(format)?;
    let picked = integers(3, experts as u32, tokens)?;
    eval::eval(&q)?;
    case(move || x.gather_qmm(&q[0], &q[1], Some(&q[2]), None, Some(&picked), true, format))
}

fn convolution(name: &str, p: &Params<'_>) -> Result<Case> {
    let (batch, size, kernel) = (p.size("batch")?, p.size("size")?, p.size("kernel")?);
    let (from, to) = (p.size("in")?, p.size("out")?);
    let (x, w) = (input(1, &[batch, size, size, from])?, input(2, &[to, kernel, kernel, from])?);
    let mut options = Conv::new(2);
    options.low.fill((kernel / 2) as isize);
    options.high.fill((kernel / 2) as isize);
    if name == "conv2d" {
        return case(move || conv_general(&x, &w, &options));
    }
    let cotangent = input(3, &[batch, size, size, to])?;
    let primals = (x, w);
    case(move || {
        let f = |(x, w): (Array, Array)| conv_general(&x, &w, &options);
        let (_, (dx, dw)) = vjp(f, &primals, &cotangent)?;
        Array::concatenate(&[dx.reshape(&[dx.len()])?, dw.reshape(&[dw.len()])?], 0)
    })
}

fn linear_algebra(p: &Params<'_>) -> Result<Case> {
    let n = p.size("n")?;
    let mut shape = p.shape("batch")?;
    shape.extend([n, n]);
    let x = input(1, &shape)?;
    let positive = || {
        let square = x.matmul(&x.swapaxes(-1, -2)?)?;
        ready(Ok(square / n as f64 + Array::eye(n, n, 0, Dtype::F32)?))
    };
    match p.text("op")? {
        "inv" => case(move || linalg::inv(&x)),
        "solve" => {
            let (a, b) = (positive()?, input(2, &shape)?);
            case(move || linalg::solve(&a, &b))
        }
        "cholesky" => {
            let a = positive()?;
            case(move || linalg::cholesky(&a, false))
        }
        "qr" => case(move || linalg::qr(&x)?.1.abs()),
        "svd" => case(move || Ok(linalg::svd(&x)?.1)),
        "eigvalsh" => {
            let a = positive()?;
            case(move || linalg::eigvalsh(&a, "L"))
        }
        _ => Err(p.wrong("op", "a factorisation")),
    }
}

fn fourier(p: &Params<'_>) -> Result<Case> {
    let (op, shape) = (p.text("op")?, p.shape("shape")?);
    let re = input(1, &shape)?;
    if op == "rfft" {
        return case(move || fft::rfft(&re, None, -1, Norm::Backward));
    }
    let x = ready(re.make_complex(&input(2, &shape)?))?;
    match op {
        "fft" => case(move || fft::fft(&x, None, -1, Norm::Backward)),
        "fft2" => case(move || fft::fft2(&x, None, &[-2, -1], Norm::Backward)),
        _ => Err(p.wrong("op", "one of fft, rfft, fft2")),
    }
}

fn decode(p: &Params<'_>) -> Result<Case> {
    let session = Session::open(Path::new(p.text("model")?))?;
    let tokens = p.size("tokens")?;
    let ids = session.encode("What is the capital of France?")?;
    let mut prompt = Cache::default();
    let first = session.read(&ids, &mut prompt)?;
    // The copy of the cache is part of the call, and small against it.
    case(move || {
        let mut reader = session.model.decoder(prompt.clone(), false);
        let mut made = Vec::with_capacity(tokens);
        let mut token: u32 = first.argmax(None, false)?.item()?;
        for _ in 0..tokens {
            made.push(token);
            (_, token) = reader.read(token)?;
        }
        made.truncate(8);
        Array::from_slice(&made, &[made.len()])
    })
}
