//! The pairs, in the guide's order. Inputs are made once and evaluated; a spelling builds its graph
//! anew at every call, as a program would.

use super::{Pair, Spelling, on_gpu};
use lazulite::fast;
use lazulite::prelude::*;
use lazulite::quantized::{QuantFormat, QuantMode};
use lazulite::random;
use lazulite::scatter::UpdateMode;
use lazulite::{device, eval, transform};

pub fn normal(shape: &[usize], seed: u64) -> Result<Array> {
    let x = random::normal(shape, Dtype::F32, None, None, Some(&random::key(seed)?))?;
    x.eval()?;
    Ok(x)
}

/// Random places, all less than `end`.
fn below(end: usize, shape: &[usize]) -> Result<Array> {
    let (zero, end) = (Array::scalar(0i32), Array::scalar(end as i32));
    let x = random::randint(&zero, &end, Some(shape), Dtype::I32, Some(&random::key(2)?))?;
    x.eval()?;
    Ok(x)
}

/// The transposition of a matrix, in memory.
fn turned(x: &Array) -> Result<Array> {
    let x = x.transpose(None)?.contiguous()?;
    x.eval()?;
    Ok(x)
}

fn pair(title: impl Into<String>, slow: Spelling, fast: Spelling, tolerance: f64) -> Pair {
    Pair { title: title.into(), slow, fast, tolerance, one_by_one: None }
}

/// The side of a matrix, four times as long on a GPU, so that there is as much to do.
fn side(n: usize) -> usize {
    if on_gpu() { 4 * n } else { n }
}

/// The number of rows, sixteen times as many on a GPU.
fn many(n: usize) -> usize {
    if on_gpu() { 16 * n } else { n }
}

/// Clones `$x`s into a closure that computes one array.
macro_rules! spell {
    ($code:literal, [$($x:ident),*], $body:expr) => {{
        $(let $x = $x.clone();)*
        Spelling::new($code, move || Ok(vec![$body]))
    }};
}

const SUM: f64 = 1e-5;

pub fn layouts() -> Result<Vec<Pair>> {
    let (m, n) = (side(256), side(1024));
    let (x, w) = (normal(&[m, n], 1)?, normal(&[n, n], 2)?);
    let wt = turned(&w)?;
    let xt = turned(&x)?;
    Ok(vec![
        pair(
            format!("{m} rows times a matrix"),
            spell!("x @ W.T", [x, wt], x.matmul(&wt.transpose(None)?)?),
            spell!("x @ W", [x, w], x.matmul(&w)?),
            SUM,
        ),
        pair(
            "a transposed left operand",
            spell!("x.T @ W", [xt, w], xt.transpose(None)?.matmul(&w)?),
            spell!("x @ W", [x, w], x.matmul(&w)?),
            SUM,
        ),
    ])
}

pub fn vector_matrix() -> Result<Vec<Pair>> {
    let n = side(4096);
    let (x, w) = (normal(&[n], 1)?, normal(&[n, n], 2)?);
    let wt = turned(&w)?;
    Ok(vec![pair(
        format!("vector times matrix, {n}^2"),
        spell!("x @ W", [x, wt], x.matmul(&wt)?),
        spell!("x @ W.T", [x, w], x.matmul(&w.transpose(None)?)?),
        SUM,
    )])
}

pub fn matrix_vector() -> Result<Vec<Pair>> {
    let n = side(4096);
    let (x, w) = (normal(&[n], 1)?, normal(&[n, n], 2)?);
    let wt = turned(&w)?;
    Ok(vec![pair(
        format!("matrix times vector, {n}^2"),
        spell!("W.T @ x", [x, wt], wt.transpose(None)?.matmul(&x)?),
        spell!("W @ x", [x, w], w.matmul(&x)?),
        SUM,
    )])
}

pub fn addmm() -> Result<Vec<Pair>> {
    let n = side(1024);
    let (w, b) = (normal(&[n, n], 2)?, normal(&[n], 3)?);
    let mut out = Vec::new();
    for m in [1, side(256)] {
        let x = normal(&[m, n], 1)?;
        out.push(pair(
            format!("product and bias, rows: {m}"),
            spell!("x @ W.T + b", [x, w, b], x.matmul(&w.transpose(None)?)? + &b),
            spell!("addmm(b, x, W.T)", [x, w, b], b.addmm(&x, &w.transpose(None)?, 1.0, 1.0)?),
            SUM,
        ));
    }
    Ok(out)
}

pub fn quantized() -> Result<Vec<Pair>> {
    let n = side(2048);
    let (w, x) = (normal(&[n, n], 1)?, normal(&[1, n], 2)?);
    let format = QuantFormat::new(QuantMode::Affine, Some(64), Some(4))?;
    let q = w.quantize(format)?;
    eval::eval(&q)?;
    let (wq, s, b) = (q[0].clone(), q[1].clone(), q[2].clone());
    Ok(vec![
        pair(
            format!("4-bit product, one row, {n}^2"),
            spell!("x @ dequantize(wq).T", [x, wq, s, b], {
                let w = wq.dequantize(&s, Some(&b), format, None)?;
                x.matmul(&w.transpose(None)?)?
            }),
            spell!("quantized_matmul", [x, wq, s, b], {
                x.quantized_matmul(&wq, &s, Some(&b), true, format)?
            }),
            1e-4,
        ),
        pair(
            "the same, not transposed",
            spell!("x @ dequantize(wq)", [x, wq, s, b], {
                x.matmul(&wq.dequantize(&s, Some(&b), format, None)?)?
            }),
            spell!("quantized_matmul", [x, wq, s, b], {
                x.quantized_matmul(&wq, &s, Some(&b), false, format)?
            }),
            1e-4,
        ),
    ])
}

pub fn model() -> Result<Vec<Pair>> {
    let layers: Vec<Array> = (0..4).map(|i| normal(&[64, 64], i)).collect::<Result<_>>()?;
    let mut out = Vec::new();
    for (rows, title) in [(4, "four layers, 4 x 64"), (512, "four layers, 512 x 64")] {
        let x = normal(&[rows, 64], 9)?;
        let run = |x: &Array, layers: &[Array]| {
            layers.iter().try_fold(x.clone(), |y, w| (y.matmul(w)? + 0.1).tanh())
        };
        let own = layers.clone();
        let compiled = transform::compile(move |x: Array| run(&x, &own));
        let input = x.clone();
        out.push(pair(
            title,
            spell!("model(x)", [x, layers], run(&x, &layers)?),
            Spelling::new("compile(model)(x)", move || Ok(vec![compiled(input.clone())?])),
            0.0,
        ));
    }
    Ok(out)
}

pub fn gelu_of(x: &Array) -> Result<Array> {
    let inner = (x + x * x * x * 0.044715) * 0.797_884_560_802_865_4;
    Ok(x * 0.5 * (inner.tanh()? + 1.0))
}

pub fn gelu() -> Result<Vec<Pair>> {
    let types = [(Dtype::F32, "numbers"), (Dtype::F16, "float16"), (Dtype::BF16, "bfloat16")];
    let millions = many(1);
    let pairs = types.into_iter().map(|(dtype, what)| {
        let x = normal(&[millions << 20], 1)?.astype(dtype)?;
        x.eval()?;
        let compiled = transform::compile(|x: Array| gelu_of(&x));
        let input = x.clone();
        Ok(pair(
            format!("gelu of {millions} million {what}"),
            spell!("gelu(x)", [x], gelu_of(&x)?),
            Spelling::new("compile(gelu)(x)", move || Ok(vec![compiled(input.clone())?])),
            0.0,
        ))
    });
    pairs.collect()
}

pub fn residual_norm() -> Result<Vec<Pair>> {
    let (x, w) = (normal(&[many(512), 4096], 1)?, normal(&[4096], 2)?);
    let block =
        |x: &Array, w: &Array| -> Result<Array> { Ok(x + fast::rms_norm(x, Some(w), 1e-5)? * 0.5) };
    let compiled = transform::compile(move |(x, w): (Array, Array)| block(&x, &w));
    let (cx, cw) = (x.clone(), w.clone());
    Ok(vec![pair(
        "residual + scale * rms_norm",
        spell!("as written", [x, w], block(&x, &w)?),
        Spelling::new("compiled", move || Ok(vec![compiled((cx.clone(), cw.clone()))?])),
        0.0,
    )])
}

pub fn rms_norm() -> Result<Vec<Pair>> {
    let rows = many(1024);
    let (x, w) = (normal(&[rows, 4096], 1)?, normal(&[4096], 2)?);
    Ok(vec![pair(
        format!("rms_norm, {rows} x 4096"),
        spell!("x * rsqrt(mean(x*x) + eps) * w", [x, w], {
            let mean = (&x * &x).mean(Some(&[-1]), true)?;
            &x * (mean + 1e-5).rsqrt()? * &w
        }),
        spell!("fast.rms_norm", [x, w], fast::rms_norm(&x, Some(&w), 1e-5)?),
        1e-6,
    )])
}

pub fn layer_norm() -> Result<Vec<Pair>> {
    let rows = many(1024);
    let (x, w, b) = (normal(&[rows, 4096], 1)?, normal(&[4096], 2)?, normal(&[4096], 3)?);
    Ok(vec![pair(
        format!("layer_norm, {rows} x 4096"),
        spell!("(x - mean) * rsqrt(var + eps) * w + b", [x, w, b], {
            let mean = x.mean(Some(&[-1]), true)?;
            let var = x.var(Some(&[-1]), true, 0)?;
            (&x - mean) * (var + 1e-5).rsqrt()? * &w + &b
        }),
        spell!("fast.layer_norm", [x, w, b], { fast::layer_norm(&x, Some(&w), Some(&b), 1e-5)? }),
        1e-5,
    )])
}

pub fn softmax() -> Result<Vec<Pair>> {
    let rows = many(1024);
    let x = normal(&[rows, 4096], 1)?;
    let h = x.astype(Dtype::F16)?;
    h.eval()?;
    Ok(vec![
        pair(
            format!("softmax, {rows} x 4096"),
            spell!("exp(x - max) / sum", [x], {
                let e = (&x - x.max(Some(&[-1]), true)?).exp()?;
                &e / e.sum(Some(&[-1]), true)?
            }),
            spell!("softmax(x)", [x], x.softmax(Some(&[-1]), false)?),
            1e-6,
        ),
        pair(
            "softmax in float16",
            spell!("softmax(x)", [h], h.softmax(Some(&[-1]), false)?),
            spell!("softmax(x, precise)", [h], h.softmax(Some(&[-1]), true)?),
            0.0,
        ),
        attention()?,
    ])
}

/// The weights, written out, times the values; and the fused step.
fn attention() -> Result<Pair> {
    let (count, length) = (side(8), side(512));
    let heads = |seed| normal(&[1, count, length, 64], seed);
    let (q, k, v) = (heads(1)?, heads(2)?, heads(3)?);
    Ok(pair(
        format!("attention, {count} heads of {length} x 64"),
        spell!("softmax(q @ k.T * scale) @ v", [q, k, v], {
            let s = q.matmul(&k.swapaxes(-1, -2)?)? * 0.125;
            s.softmax(Some(&[-1]), false)?.matmul(&v)?
        }),
        spell!("fast.scaled_dot_product_attention", [q, k, v], {
            fast::scaled_dot_product_attention(&q, &k, &v, 0.125, fast::Mask::None, None)?
        }),
        SUM,
    ))
}

pub fn upcast() -> Result<Vec<Pair>> {
    let (x, w) = (normal(&[many(1024), 4096], 1)?, normal(&[4096], 2)?);
    let (x, w) = (x.astype(Dtype::F16)?, w.astype(Dtype::F16)?);
    eval::eval(&[x.clone(), w.clone()])?;
    Ok(vec![pair(
        "rms_norm in float16",
        spell!("upcast, norm, downcast", [x, w], {
            let (x, w) = (x.astype(Dtype::F32)?, w.astype(Dtype::F32)?);
            fast::rms_norm(&x, Some(&w), 1e-5)?.astype(Dtype::F16)?
        }),
        spell!("fast.rms_norm", [x, w], fast::rms_norm(&x, Some(&w), 1e-5)?),
        1e-3,
    )])
}

pub fn loss(w: &Array, x: &Array, y: &Array) -> Result<Array> {
    (x.matmul(w)?.tanh()? - y).square()?.mean(None, false)
}

/// The losses of 64 examples of `width` numbers.
fn losses(title: &'static str, width: usize) -> Result<Pair> {
    let w = normal(&[width, width], 1)?;
    let (x, y) = (normal(&[64, width], 2)?, normal(&[64, width], 3)?);
    let mapped = {
        let w = w.clone();
        transform::vmap(move |(x, y): (Array, Array)| loss(&w, &x, &y), 0, 0)
    };
    let (mx, my) = (x.clone(), y.clone());
    let wide = width as i64;
    Ok(pair(
        title,
        spell!("a loop and stack", [w, x, y], {
            let each = (0..64).map(|i| {
                let row = |a: &Array| a.slice(&[i, 0], &[i + 1, wide], &[1, 1])?.reshape(&[width]);
                loss(&w, &row(&x)?, &row(&y)?)
            });
            Array::stack(&each.collect::<Result<Vec<_>>>()?, 0)?
        }),
        Spelling::new("vmap", move || Ok(vec![mapped((mx.clone(), my.clone()))?])),
        SUM,
    )
    .one_by_one(64, "graphs"))
}

pub fn vmap_loop() -> Result<Vec<Pair>> {
    Ok(vec![
        losses("64 losses of one example each", 64)?,
        losses("the same, 2048 numbers each", 2048)?,
    ])
}

pub fn per_example_gradients() -> Result<Vec<Pair>> {
    let (w, x, y) = (normal(&[32, 32], 1)?, normal(&[64, 32], 2)?, normal(&[64, 32], 3)?);
    let gradient = |w: Array, x: Array, y: Array| -> Result<Array> {
        transform::grad(move |w: Array| loss(&w, &x, &y))(w)
    };
    let mapped = {
        let w = w.clone();
        transform::vmap(move |(x, y): (Array, Array)| gradient(w.clone(), x, y), 0, 0)
    };
    let (mx, my) = (x.clone(), y.clone());
    Ok(vec![
        pair(
            "64 gradients of one example each",
            spell!("a loop and stack", [w, x, y], {
                let each = (0..64).map(|i| {
                    let row = |a: &Array| a.slice(&[i, 0], &[i + 1, 32], &[1, 1])?.reshape(&[32]);
                    gradient(w.clone(), row(&x)?, row(&y)?)
                });
                Array::stack(&each.collect::<Result<Vec<_>>>()?, 0)?
            }),
            Spelling::new("vmap(grad)", move || Ok(vec![mapped((mx.clone(), my.clone()))?])),
            SUM,
        )
        .one_by_one(64, "graphs"),
    ])
}

pub fn vmap_broadcast() -> Result<Vec<Pair>> {
    let n = side(1024);
    let (x, w) = (normal(&[n, n], 1)?, normal(&[n], 2)?);
    let mapped = {
        let w = w.clone();
        transform::vmap(move |x: Array| Ok(x * &w + 1.0), 0, 0)
    };
    let mx = x.clone();
    Ok(vec![pair(
        "x * w + 1 over a batch",
        Spelling::new("vmap", move || Ok(vec![mapped(mx.clone())?])),
        spell!("broadcasting", [x, w], &x * &w + 1.0),
        0.0,
    )])
}

pub fn two_streams() -> Result<Vec<Pair>> {
    let (a, b) = (normal(&[384, 384], 1)?, normal(&[384, 384], 2)?);
    let chain = |x: &Array| -> Result<Array> {
        let mut y = x.clone();
        for _ in 0..8 {
            y = y.matmul(x)? * 0.05;
        }
        Ok(y)
    };
    let here = device::current_stream().device;
    let (s, t) = (Stream::new(here)?, Stream::new(here)?);
    let (c, d) = (a.clone(), b.clone());
    Ok(vec![pair(
        "two independent chains of products",
        {
            let (a, b) = (a.clone(), b.clone());
            Spelling::new("one stream", move || Ok(vec![chain(&a)?, chain(&b)?]))
        },
        Spelling::new("two streams", move || {
            Ok(vec![device::with_stream(s, || chain(&c))?, device::with_stream(t, || chain(&d))?])
        }),
        0.0,
    )])
}

/// A file that is removed when the last spelling is dropped.
pub struct Temporary(pub std::path::PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file of 16 float32 tensors of 2 MB.
pub fn tensors_on_disk() -> Result<Temporary> {
    let path =
        std::env::temp_dir().join(format!("lazulite-guide-{}.safetensors", std::process::id()));
    let names: Vec<String> = (0..16).map(|i| format!("t{i}")).collect();
    let tensors = (0..16).map(|i| normal(&[512, 1024], i)).collect::<Result<Vec<_>>>()?;
    let named: Vec<(&str, &dyn lazulite::io::Saved)> =
        names.iter().zip(&tensors).map(|(n, t)| (n.as_str(), t as _)).collect();
    lazulite::io::safetensors::save(&path, &named, &Default::default())?;
    Ok(Temporary(path))
}

pub fn cast_after() -> Result<Vec<Pair>> {
    let file = std::rc::Rc::new(tensors_on_disk()?);
    let load = |file: &Temporary| -> Result<Vec<Array>> {
        let input = lazulite::io::Input::open(&file.0)?;
        let arrays = lazulite::io::Contents::open(&input)?.arrays()?;
        arrays.into_iter().map(|(_, x)| x.astype(Dtype::F16)).collect()
    };
    let other = file.clone();
    Ok(vec![pair(
        "load 32 MB, cast to float16",
        Spelling::new("cast all, then evaluate", move || load(&file)),
        Spelling::new("one tensor at a time", move || {
            let arrays = load(&other)?;
            arrays.iter().try_for_each(Array::eval)?;
            Ok(arrays)
        }),
        0.0,
    )])
}

/// Waits as a disk or a network would, then makes a batch.
fn prepare(seed: u64) -> Result<Array> {
    std::thread::sleep(std::time::Duration::from_millis(3));
    normal(&[256, 256], seed)
}

pub fn pipeline() -> Result<Vec<Pair>> {
    let w = normal(&[256, 256], 1)?;
    let work =
        |x: &Array, w: &Array| (0..4).try_fold(x.clone(), |y, _| (y.matmul(w)? * 0.06).tanh());
    let other = w.clone();
    Ok(vec![pair(
        "six batches of prepare and compute",
        Spelling::new("one after the other", move || {
            (0..6)
                .map(|i| {
                    let y = work(&prepare(i)?, &w)?;
                    y.eval()?;
                    Ok(y)
                })
                .collect()
        }),
        Spelling::new("async_eval, then the next", move || {
            (0..6)
                .map(|i| {
                    let y = work(&prepare(i)?, &other)?;
                    eval::async_eval(std::slice::from_ref(&y))?;
                    Ok(y)
                })
                .collect()
        }),
        0.0,
    )])
}

pub fn items() -> Result<Vec<Pair>> {
    let rows: Vec<Vec<f32>> = (0..1000).map(|i| vec![i as f32; 64]).collect();
    let all = rows.clone();
    Ok(vec![pair(
        "1000 rows of 64 from the host",
        Spelling::new("an array each, and stack", move || {
            let each = rows.iter().map(|r| Array::from_slice(r, &[64]));
            Ok(vec![Array::stack(&each.collect::<Result<Vec<_>>>()?, 0)?])
        }),
        Spelling::new("one array", move || {
            Ok(vec![Array::from_slice(&all.concat(), &[1000, 64])?])
        }),
        0.0,
    )])
}

pub fn cross_entropy() -> Result<Vec<Pair>> {
    let n = many(1024);
    let x = normal(&[n, 4096], 1)?;
    let rows = below(4096, &[n, 1])?;
    Ok(vec![pair(
        format!("cross-entropy of {n} rows"),
        spell!("-log(softmax(x))[target], mean", [x, rows], {
            let p = x.softmax(Some(&[-1]), false)?.log()?.negative()?;
            p.take_along_axis(&rows, Some(-1))?.mean(None, false)?
        }),
        spell!("logsumexp(x) - x[target], mean", [x, rows], {
            let picked = x.take_along_axis(&rows, Some(-1))?;
            (x.logsumexp(Some(&[-1]), true)? - picked).mean(None, false)?
        }),
        SUM,
    )])
}

pub fn evaluations() -> Result<Vec<Pair>> {
    let x = normal(&[256, 64], 1)?;
    let row = |x: &Array, i: i64| -> Result<Array> {
        (x.slice(&[i, 0], &[i + 1, 64], &[1, 1])? * 2.0 + 1.0).sum(None, false)
    };
    let y = x.clone();
    Ok(vec![
        pair(
            "256 small results",
            Spelling::new("an evaluation each", move || {
                let each: Vec<Array> = (0..256).map(|i| row(&x, i)).collect::<Result<_>>()?;
                each.iter().try_for_each(Array::eval)?;
                Ok(each)
            }),
            Spelling::new("one evaluation", move || (0..256).map(|i| row(&y, i)).collect()),
            SUM,
        )
        .one_by_one(256, "evaluations"),
    ])
}

pub fn concatenate_copies() -> Result<Vec<Pair>> {
    let x = normal(&[1, 4096], 1)?;
    Ok(vec![
        pair(
            "a row 64 times",
            spell!("concatenate([x] * 64)", [x], Array::concatenate(&vec![x.clone(); 64], 0)?),
            spell!("repeat(x, 64)", [x], x.repeat(64, Some(0))?),
            0.0,
        )
        .one_by_one(64, "handles"),
    ])
}

pub fn broadcast() -> Result<Vec<Pair>> {
    let n = many(4096);
    let (x, w) = (normal(&[1024, n], 1)?, normal(&[n], 2)?);
    Ok(vec![
        pair(
            "rows times a vector",
            spell!("x * concatenate([w] * n)", [x, w], {
                let row = w.reshape(&[1, n])?;
                &x * Array::concatenate(&vec![row; 1024], 0)?
            }),
            spell!("x * w", [x, w], &x * &w),
            0.0,
        )
        .one_by_one(1024, "handles"),
    ])
}

pub fn gather_rows() -> Result<Vec<Pair>> {
    let (rows, count) = (many(32768), many(8192));
    let x = normal(&[rows, 256], 1)?;
    let index = below(rows, &[count])?;
    Ok(vec![pair(
        format!("{count} rows by index"),
        spell!("take_along_axis(x, i[:, None])", [x, index], {
            x.take_along_axis(&index.reshape(&[count, 1])?.broadcast_to(&[count, 256])?, Some(0))?
        }),
        spell!("x[i]", [x, index], x.take(&index, Some(0))?),
        0.0,
    )])
}

pub fn put_rows() -> Result<Vec<Pair>> {
    let rows = many(32768);
    let (x, v) = (normal(&[rows, 256], 1)?, normal(&[512, 256], 2)?);
    let index = Array::iota(0.0, 64.0, 512, Dtype::I32)?;
    index.eval()?;
    Ok(vec![pair(
        format!("write 512 of {rows} rows"),
        spell!("put_along_axis", [x, v, index], {
            let places = index.reshape(&[512, 1])?.broadcast_to(&[512, 256])?;
            x.put_along_axis(&places, &v, Some(0))?
        }),
        spell!("x[i] = v", [x, v, index], {
            x.scatter(
                std::slice::from_ref(&index),
                &v.reshape(&[512, 1, 256])?,
                &[0],
                UpdateMode::Set,
            )?
        }),
        0.0,
    )])
}

pub fn log_softmax() -> Result<Vec<Pair>> {
    let x = normal(&[many(1024), 4096], 1)?;
    Ok(vec![pair(
        "log probabilities",
        spell!("log(softmax(x))", [x], x.softmax(Some(&[-1]), false)?.log()?),
        spell!("x - logsumexp(x)", [x], &x - x.logsumexp(Some(&[-1]), true)?),
        1e-5,
    )])
}

pub fn held_features() -> Result<Vec<Pair>> {
    let n = side(1024);
    let (x, w) = (normal(&[n, n], 1)?, normal(&[n, n], 2)?);
    let layer = |y: &Array, w: &Array| -> Result<Array> { (y.matmul(w)? * 0.03).tanh() };
    let (a, b) = (x.clone(), w.clone());
    Ok(vec![pair(
        format!("eight layers of {} MB", 4 * n * n / 1_000_000),
        Spelling::new("features held until the end", move || {
            let mut all = vec![a.clone()];
            for _ in 0..8 {
                all.push(layer(&all[all.len() - 1], &b)?);
            }
            let out = all[8].clone();
            out.eval()?;
            Ok(vec![out])
        }),
        Spelling::new("features dropped", move || {
            let mut y = x.clone();
            for _ in 0..8 {
                y = layer(&y, &w)?;
            }
            Ok(vec![y])
        }),
        0.0,
    )])
}
