//! Timings of the cases of `benches/gpu.py`.

use std::time::{Duration, Instant};

use lazulite_core::op::conv::{Conv, conv_general};
use lazulite_core::op::fast::scaled_dot_product_attention as attention;
use lazulite_core::op::fast::{Mask, cross_entropy, layer_norm, rms_norm};
use lazulite_core::op::fft::{self, Norm};
use lazulite_core::op::linalg;
use lazulite_core::op::quantized::{QuantFormat, QuantMode};
use lazulite_core::op::random;
use lazulite_core::op::scatter::UpdateMode;
use lazulite_core::transform::{compile, value_and_grad, vjp_arrays};
use lazulite_core::{Array, Device, Dtype, Literal, Result, Stream, eval, with_stream};

use Dtype::{BF16, F32};

const STREAM: Stream = Stream::default_of(Device::GPU);

/// Which cases run: all, or those whose names contain the text.
struct Bench {
    filter: Option<String>,
}

impl Bench {
    /// A timing: the best of five series of `repeats` steps, in milliseconds for a step.
    fn times(&self, name: &str, repeats: usize, f: impl Fn() -> Result<Vec<Array>>) {
        if self.filter.as_ref().is_some_and(|part| !name.contains(part.as_str())) {
            return;
        }
        let series = || -> Result<f64> {
            let mut best = f64::MAX;
            // Graphs of launches are made when a sequence comes for the second time.
            for _ in 0..3 {
                eval::eval(&f()?)?;
            }
            eval::synchronize(STREAM)?;
            for _ in 0..5 {
                let begin = Instant::now();
                for _ in 0..repeats {
                    eval::eval(&f()?)?;
                }
                eval::synchronize(STREAM)?;
                best = best.min(begin.elapsed().as_secs_f64() * 1e3 / repeats as f64);
            }
            Ok(best)
        };
        match with_stream(STREAM, series) {
            Ok(ms) => println!("bench {name}: {ms:.4} ms"),
            Err(e) => println!("bench {name}: {e}"),
        }
    }

    fn time(&self, name: &str, repeats: usize, f: impl Fn() -> Result<Array>) {
        self.times(name, repeats, || Ok(vec![f()?]));
    }
}

/// A card that has multiplied matrices for a while is slower for a while; cases of many products begin on
/// one that has rested.
fn rest() {
    std::thread::sleep(Duration::from_millis(500));
}

fn ready(x: Result<Array>) -> Array {
    let x = x.unwrap_or_else(|e| panic!("bench input: {e}"));
    x.eval().unwrap_or_else(|e| panic!("bench input: {e}"));
    x
}

/// Normal numbers, and integers below a bound, of one key.
struct Draw {
    key: Array,
}

impl Draw {
    fn of(&self, shape: &[usize], dtype: Dtype) -> Array {
        ready(random::normal(shape, dtype, None, None, Some(&self.key)))
    }

    /// Scaled so that products keep their size.
    fn weight(&self, shape: &[usize], inner: usize) -> Array {
        let scale = Array::literal(Literal::from_f64((inner as f64).powf(-0.5), BF16));
        ready(self.of(shape, BF16).multiply(&scale))
    }

    fn below(&self, bound: i32, shape: &[usize]) -> Array {
        let (low, high) = (Array::scalar(0i32), Array::scalar(bound));
        ready(random::randint(&low, &high, Some(shape), Dtype::I32, Some(&self.key)))
    }
}

fn c(v: f64) -> Array {
    Array::literal(Literal::from_f64(v, BF16))
}

/// Runs the cases whose names contain `filter`.
pub fn run(filter: Option<String>) {
    with_stream(STREAM, || {
        let (b, d) = (Bench { filter }, Draw { key: ready(random::key(1)) });
        elementwise(&b, &d);
        let rows = d.of(&[16384, 4096], BF16);
        over_rows(&b, &d, &rows);
        products(&b, &d);
        indexing(&b, &d, &rows);
        drop(rows);
        attentions(&b, &d);
        networks(&b, &d);
        transforms(&b, &d);
        factors(&b, &d);
        tiny(&b);
    });
}

fn elementwise(b: &Bench, d: &Draw) {
    let x = d.of(&[1 << 26], BF16);
    b.time("copy 2^26 (negative)", 20, || x.negative());
    b.time("gelu 2^26", 20, || gelu(&x));
    b.time("cumsum 2^26", 10, || x.cumsum(0, false, true));
    let wide = ready(x.astype(Dtype::F32));
    b.time("cumsum 2^26 f32", 10, || wide.cumsum(0, false, true));
    let part = ready(x.slice(&[0], &[1 << 24], &[1]));
    b.time("sort 2^24", 10, || part.sort(Some(0)));
    let key = &d.key;
    b.time("uniform 2^26", 10, || random::unit_uniform(&[1 << 26], Dtype::F32, Some(key)));
    b.time("normal 2^26", 10, || random::normal(&[1 << 26], Dtype::F32, None, None, Some(key)));
}

fn gelu(x: &Array) -> Result<Array> {
    let cube = x.multiply(x)?.multiply(x)?.multiply(&c(0.044715))?;
    let t = x.add(&cube)?.multiply(&c(0.7978845608))?.tanh()?;
    x.multiply(&c(0.5))?.multiply(&t.add(&c(1.0))?)
}

fn over_rows(b: &Bench, d: &Draw, rows: &Array) {
    let w = d.of(&[4096], BF16);
    let last = Some(&[-1i64][..]);
    b.time("softmax 16384x4096", 20, || rows.softmax(last, true));
    b.time("rms_norm", 20, || rms_norm(rows, Some(&w), 1e-5));
    b.time("residual + scale * rms_norm", 20, || {
        rms_norm(rows, Some(&w), 1e-5)?.multiply(&c(0.5))?.add(rows)
    });
    b.time("layer_norm", 20, || layer_norm(rows, Some(&w), Some(&w), 1e-5));
    b.time("rms_norm by hand", 20, || {
        let mean = rows.multiply(rows)?.mean(last, true)?;
        rows.multiply(&mean.add(&c(1e-5))?.rsqrt()?)?.multiply(&w)
    });
    b.time("layer_norm by hand", 20, || {
        let centred = rows.subtract(&rows.mean(last, true)?)?;
        let by = rows.var(last, true, 0)?.add(&c(1e-5))?.rsqrt()?;
        centred.multiply(&by)?.multiply(&w)?.add(&w)
    });
    b.time("sum rows", 20, || rows.sum(Some(&[1]), false));
    b.time("sum cols", 20, || rows.sum(Some(&[0]), false));
    b.time("sum all", 20, || rows.sum(None, false));
    b.time("var rows", 20, || rows.var(Some(&[1]), false, 0));
    b.time("argmax rows", 10, || rows.argmax(Some(1), false));
    let vocab = d.of(&[2048, 128_256], BF16);
    b.time("softmax 2048x128256", 20, || vocab.softmax(last, true));
    let targets = d.below(128_256, &[2048]);
    let loss = |x: Array| cross_entropy(&x, &targets)?.mean(None, false);
    b.time("cross-entropy 2048x128256", 20, || loss(vocab.clone()));
    b.times("cross-entropy with gradient", 20, || {
        let (value, gradient) = value_and_grad(loss)(vocab.clone())?;
        Ok(vec![value, gradient])
    });
}

fn products(b: &Bench, d: &Draw) {
    let (x, y) = (d.of(&[8192, 8192], BF16), d.of(&[8192, 8192], BF16));
    b.time("matmul 8192^3", 10, || x.matmul(&y));
    let (v, column) = (d.of(&[1, 8192], BF16), d.of(&[8192, 1], BF16));
    b.time("x@W.T 8192", 50, || v.matmul(&x.t()?));
    b.time("x@W 8192", 50, || v.matmul(&x));
    b.time("W@x 8192", 50, || x.matmul(&column));
    b.time("W.T@x 8192", 50, || x.t()?.matmul(&column));
    let wide = d.of(&[4096, 4096], BF16);
    for m in [8, 64, 512] {
        let y = d.of(&[m, 4096], BF16);
        b.time(&format!("matmul M={m} 4096"), 50, || y.matmul(&wide.t()?));
    }
    let (square, bias) = (d.of(&[4096, 4096], BF16), d.of(&[4096], BF16));
    b.time("linear with bias 4096^3", 20, || square.matmul(&wide.t()?)?.add(&bias));
    let format = QuantFormat::new(QuantMode::Affine, Some(64), Some(4));
    let format = format.unwrap_or_else(|e| panic!("{e}"));
    let q = wide.quantize(format).unwrap_or_else(|e| panic!("{e}"));
    let q: Vec<Array> = q.into_iter().map(|x| ready(Ok(x))).collect();
    for m in [1, 8, 64, 512] {
        let y = d.of(&[m, 4096], BF16);
        b.time(&format!("4-bit matmul M={m} 4096"), 20, || {
            y.quantized_matmul(&q[0], &q[1], q.get(2), true, format)
        });
    }
}

fn indexing(b: &Bench, d: &Draw, rows: &Array) {
    let idx = d.below(16384, &[16384]);
    b.time("row gather", 20, || rows.take(&idx, Some(0)));
    let places = ready(idx.expand_dims(&[1]));
    let places = ready(places.broadcast_to(&[16384, 4096]));
    b.time("row gather by take_along_axis", 20, || rows.take_along_axis(&places, Some(0)));
    let columns = d.below(4096, &[16384, 4096]);
    b.time("take_along_axis 16384x4096", 20, || rows.take_along_axis(&columns, Some(1)));
    b.time("put_along_axis", 10, || {
        rows.scatter_along_axis(&columns, rows, Some(1), UpdateMode::Set)
    });
    let updates = ready(rows.reshape(&[16384, 1, 4096]));
    let at = [idx];
    b.time("scatter set rows", 10, || rows.scatter(&at, &updates, &[0], UpdateMode::Set));
    b.time("scatter add rows", 10, || rows.scatter(&at, &updates, &[0], UpdateMode::Add));
    b.time("sort rows 16384x4096", 5, || rows.sort(Some(1)));
    b.time("argsort rows 16384x4096", 5, || rows.argsort(Some(1)));
    b.time("topk 50 rows 16384x4096", 5, || rows.topk(50, Some(1)));
}

fn attentions(b: &Bench, d: &Draw) {
    let heads = || d.of(&[4, 32, 2048, 128], BF16);
    let (q, k, v) = (heads(), heads(), heads());
    b.time("attention 4x32x2048x128", 3, || attention(&q, &k, &v, 0.088, Mask::None, None));
    b.time("attention causal", 3, || attention(&q, &k, &v, 0.088, Mask::Causal, None));
    b.times("attention causal with gradients", 3, || {
        let f = |x: &[Array]| Ok(vec![attention(&x[0], &x[1], &x[2], 0.088, Mask::Causal, None)?]);
        let inputs = [q.clone(), k.clone(), v.clone()];
        Ok(vjp_arrays(f, &inputs, |_| Ok(vec![v.clone()]))?.1)
    });
    let cache = || d.of(&[8, 8, 8192, 128], BF16);
    let (q, k, v) = (d.of(&[8, 32, 1, 128], BF16), cache(), cache());
    b.time("decode attention 8x32(8)x8192x128", 20, || {
        attention(&q, &k, &v, 0.088, Mask::None, None)
    });
    let heads = || d.of(&[4, 16, 2048, 64], F32);
    let (q, k, v) = (heads(), heads(), heads());
    b.time("attention f32 4x16x2048x64", 5, || attention(&q, &k, &v, 0.125, Mask::None, None));
    b.time("attention f32 causal", 5, || attention(&q, &k, &v, 0.125, Mask::Causal, None));
}

/// Width, heads and rows of the transformer block of the cases.
const WIDTH: usize = 2048;
const HEADS: i64 = 16;

/// Norm, causal attention, norm, and two layers with gelu; `w` are qkv, out, up, down and two norms.
fn block(x: &Array, w: &[Array]) -> Result<Array> {
    let normed = rms_norm(x, Some(&w[4]), 1e-5)?;
    let qkv = normed.matmul(&w[0].t()?)?.unflatten(-1, &[3, HEADS, -1])?;
    let parts = qkv.transpose(Some(&[2, 0, 3, 1, 4]))?;
    let part = |i: i64| {
        let mut stop: Vec<i64> = parts.shape().iter().map(|&n| n as i64).collect();
        stop[0] = i + 1;
        parts.slice(&[i, 0, 0, 0, 0], &stop, &[1; 5])?.squeeze(Some(&[0]))
    };
    let scale = (WIDTH as f64 / HEADS as f64).powf(-0.5);
    let heads = attention(&part(0)?, &part(1)?, &part(2)?, scale, Mask::Causal, None)?;
    let joined = heads.transpose(Some(&[0, 2, 1, 3]))?.flatten(-2, -1)?;
    let x = x.add(&joined.matmul(&w[1].t()?)?)?;
    let normed = rms_norm(&x, Some(&w[5]), 1e-5)?;
    x.add(&gelu(&normed.matmul(&w[2].t()?)?)?.matmul(&w[3].t()?)?)
}

fn networks(b: &Bench, d: &Draw) {
    let (x, w) = (d.of(&[32, 56, 56, 128], BF16), d.weight(&[128, 3, 3, 128], 1152));
    let op = Conv { low: [1, 1][..].into(), high: [1, 1][..].into(), ..Conv::new(2) };
    b.time("conv2d 3x3 32x56x56x128", 5, || conv_general(&x, &w, &op));
    b.times("conv2d with gradients", 3, || {
        let f = |p: &[Array]| Ok(vec![conv_general(&p[0], &p[1], &op)?]);
        let (mut out, gradients) = vjp_arrays(f, &[x.clone(), w.clone()], |_| Ok(vec![x.clone()]))?;
        out.extend(gradients);
        Ok(out)
    });
    let x = d.of(&[2, 2048, WIDTH], BF16);
    let weight = |rows: usize, columns: usize| d.weight(&[rows, columns], columns);
    let mut weights = vec![weight(3 * WIDTH, WIDTH), weight(WIDTH, WIDTH)];
    weights.extend([weight(4 * WIDTH, WIDTH), weight(WIDTH, 4 * WIDTH)]);
    weights.extend([d.of(&[WIDTH], BF16), d.of(&[WIDTH], BF16)]);
    rest();
    b.time("transformer block", 10, || block(&x, &weights));
    let compiled = compile(|(x, w): (Array, Vec<Array>)| block(&x, &w));
    rest();
    b.time("transformer block compiled", 10, || compiled((x.clone(), weights.clone())));
    let step = |(x, w): (Array, Vec<Array>)| {
        let loss = |w: Vec<Array>| {
            let y = block(&x, &w)?.astype(Dtype::F32)?;
            y.multiply(&y)?.mean(None, false)
        };
        let (value, gradients) = value_and_grad(loss)(w.clone())?;
        let mut out = vec![value];
        for (w, g) in w.iter().zip(&gradients) {
            out.push(w.subtract(&g.multiply(&c(1e-3))?)?);
        }
        Ok(out)
    };
    rest();
    b.times("train step", 5, || step((x.clone(), weights.clone())));
    let compiled = compile(step);
    rest();
    b.times("train step compiled", 5, || compiled((x.clone(), weights.clone())));
}

fn transforms(b: &Bench, d: &Draw) {
    let z = |shape: &[usize]| {
        let (re, im) = (d.of(shape, Dtype::F32), d.of(shape, Dtype::F32));
        ready(re.make_complex(&im))
    };
    let line = z(&[1 << 24]);
    b.time("fft 2^24 complex64", 20, || fft::fft(&line, None, -1, Norm::Backward));
    b.time("ifft 2^24 complex64", 20, || fft::ifft(&line, None, -1, Norm::Backward));
    drop(line);
    let images = z(&[64, 1024, 1024]);
    b.time("fft2 64x1024x1024", 10, || fft::fft2(&images, None, &[-2, -1], Norm::Backward));
    let real = ready(images.real());
    b.time("rfft 64x1024x1024 f32", 10, || fft::rfft(&real, None, -1, Norm::Backward));
}

/// Matrices of normal numbers in `float32`, and positive definite ones.
fn factors(b: &Bench, d: &Draw) {
    for shape in [&[2048usize, 2048][..], &[512, 64, 64]] {
        let n = shape[shape.len() - 1];
        let a = d.of(shape, Dtype::F32);
        let eye = Array::identity(n, Dtype::F32).and_then(|x| x.multiply(&Array::scalar(n as f32)));
        let positive = eye.and_then(|eye| a.matmul(&a.moveaxis(-1, -2)?)?.add(&eye));
        let positive = ready(positive);
        let name = |what: &str| {
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            format!("{what} {} f32", sizes.join("x"))
        };
        b.time(&name("cholesky"), 10, || linalg::cholesky(&positive, false));
        b.time(&name("solve"), 10, || linalg::solve(&positive, &a));
        b.time(&name("inv"), 10, || linalg::inv(&positive));
        b.times(&name("qr"), 1, || linalg::qr(&a).map(|(q, r)| vec![q, r]));
        b.times(&name("eigh"), 1, || linalg::eigh(&positive, "L").map(|(w, v)| vec![w, v]));
        b.times(&name("svd"), 1, || linalg::svd(&a).map(|(u, s, vh)| vec![u, s, vh]));
        b.time(&name("svdvals"), 1, || linalg::svdvals(&a));
    }
}

fn tiny(b: &Bench) {
    let one = ready(Array::ones(&[32], Dtype::F32));
    let chain = |n: usize, each: bool| {
        let mut y = one.clone();
        for _ in 0..n {
            y = y.add(&one)?;
            if each {
                y.eval()?;
            }
        }
        Ok(y)
    };
    b.time("one tiny op", 1000, || one.add(&one));
    b.time("1000 tiny ops (one by one)", 5, || chain(1000, true));
    b.time("10,000 tiny ops", 3, || chain(10_000, false));
    // Sums of different arrays of different sizes do not join into one kernel.
    let sizes: Vec<Array> = (1..=100).map(|n| ready(Array::ones(&[n, 32], Dtype::F32))).collect();
    b.times("10,000 tiny ops that cannot fuse", 3, || {
        let mut all = sizes.clone();
        for _ in 0..100 {
            all = all.iter().map(|y| y.sum(Some(&[0]), true)?.add(y)).collect::<Result<_>>()?;
        }
        Ok(all)
    });
    if b.filter.as_ref().is_some_and(|part| !"first call".contains(part.as_str())) {
        return;
    }
    let seed = (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH))
        .map_or(1, |t| t.as_nanos() as u64);
    first_call(seed, "compiled");
    let again = std::env::current_exe()
        .and_then(|me| std::process::Command::new(me).arg("first").arg(seed.to_string()).output());
    if let Ok(output) = again {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|l| l.starts_with("bench")).for_each(|l| println!("{l}"));
    }
}

/// The time of a function of twenty ops that no process has called before, chosen by `seed`.
pub fn first_call(seed: u64, how: &str) {
    let call = || -> Result<f64> {
        let x = ready(Array::ones(&[1000], Dtype::F32).and_then(|x| x.add(&x)));
        eval::synchronize(STREAM)?;
        let begin = Instant::now();
        let mut y = x.clone();
        for bit in 0..20 {
            y = match seed >> (2 * bit) & 3 {
                0 => y.multiply(&x)?.sin()?,
                1 => y.add(&x)?.tanh()?,
                2 => y.subtract(&x)?.cos()?,
                _ => y.maximum(&x)?.sigmoid()?,
            };
        }
        y.eval()?;
        eval::synchronize(STREAM)?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    };
    match with_stream(STREAM, call) {
        Ok(ms) => println!("bench first call of a new function, {how}: {ms:.4} ms"),
        Err(e) => println!("bench first call of a new function, {how}: {e}"),
    }
}
