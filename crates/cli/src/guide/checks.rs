//! Claims that are facts: each check returns the words for what it saw, or an error.

use super::pairs::{gelu_of, loss, normal};
use lazulite::fast;
use lazulite::prelude::*;
use lazulite::quantized::{QuantFormat, QuantMode};
use lazulite::random;
use lazulite::scatter::UpdateMode;
use lazulite::transform::{self, Compiled};
use lazulite::{backend, device, eval, plan};
use std::time::Instant;

/// A fact that does not hold.
fn fails(what: impl Into<String>) -> Error {
    Error::argument("guide", what.into())
}

fn check(holds: bool, what: impl Into<String>) -> Result<String> {
    let what = what.into();
    if holds { Ok(what) } else { Err(fails(what)) }
}

fn worst(a: &Array, b: &Array) -> Result<f64> {
    super::difference(std::slice::from_ref(a), std::slice::from_ref(b))
}

pub fn addmm_shapes() -> Result<String> {
    let (x, w, b) = (normal(&[4, 8], 1)?, normal(&[6, 8], 2)?, normal(&[6], 3)?);
    let Err(error) = b.addmm(&x, &w, 1.0, 1.0) else {
        return Err(fails("addmm(b, x, W) was accepted"));
    };
    let right = b.addmm(&x, &w.t()?, 1.0, 1.0)?;
    let off = worst(&right, &(x.matmul(&w.t()?)? + &b))?;
    check(off < 1e-6, format!("refused: {error}"))
}

pub fn quantized_grid() -> Result<String> {
    let mut count = 0;
    let mut off = 0.0f64;
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [32, 64, 128] {
            for transpose in [true, false] {
                let format = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits))?;
                let q = normal(&[128, 256], 1)?.quantize(format)?;
                let x = normal(&[3, if transpose { 256 } else { 128 }], 2)?;
                let y = x.quantized_matmul(&q[0], &q[1], Some(&q[2]), transpose, format)?;
                let w = q[0].dequantize(&q[1], Some(&q[2]), format, None)?;
                w.eval()?;
                let w = if transpose { w.t()? } else { w };
                off = off.max(worst(&y, &x.matmul(&w)?)?);
                count += 1;
            }
        }
    }
    check(off < 1e-4, format!("{count} combinations, greatest difference {off:.1e}"))
}

fn packed(dtype: Dtype) -> Result<(Vec<Array>, QuantFormat)> {
    let format = QuantFormat::new(QuantMode::Affine, Some(64), Some(4))?;
    Ok((normal(&[64, 128], 1)?.astype(dtype)?.quantize(format)?, format))
}

pub fn quantized_promotion() -> Result<String> {
    let types = [Dtype::F16, Dtype::BF16, Dtype::F32];
    for x in types {
        for w in types {
            let (q, format) = packed(w)?;
            let y = normal(&[2, 128], 2)?.astype(x)?;
            let y = y.quantized_matmul(&q[0], &q[1], Some(&q[2]), true, format)?;
            if y.dtype() != x.promote(w) {
                return Err(fails(format!("{x} with {w} gives {}", y.dtype())));
            }
        }
    }
    Ok("nine pairs of types promote as arrays do".into())
}

pub fn quantized_layer() -> Result<String> {
    let (q, format) = packed(Dtype::F32)?;
    eval::eval(&q)?;
    let x = normal(&[2, 128], 2)?;
    let y = x.matmul(&q[0].dequantize(&q[1], Some(&q[2]), format, None)?.t()?)? + 1.0;
    let text = plan::explain(&[y])?;
    let steps = text.lines().filter(|l| !l.starts_with("    ")).count();
    check(text.contains("quantized_product") && steps == 1, "one step, bias included")
}

pub fn first_call() -> Result<String> {
    let x = normal(&[64], 1)?;
    let start = Instant::now();
    let f = transform::compile(|x: Array| gelu_of(&(x + 0.123)));
    f(x)?.eval()?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    // A GPU's kernels are compiled in this process, when they are first used on the machine.
    let most = if device::current_stream().device == Device::CPU { 100.0 } else { 400.0 };
    check(ms < most, format!("{ms:.2} ms for a new function's first call"))
}

pub fn retraces() -> Result<String> {
    let traces = |shapeless: bool| -> Result<u64> {
        let f = |x: Array| (x * 2.0).sum(None, false);
        let f = if shapeless { Compiled::shapeless(f) } else { Compiled::new(f) };
        for n in [3, 5, 7, 3] {
            f.call(Array::zeros(&[n], Dtype::F32)?)?.eval()?;
        }
        Ok(f.traces())
    };
    let (fixed, shapeless) = (traces(false)?, traces(true)?);
    let words = format!("three shapes: {fixed} traces, shapeless {shapeless}");
    check((fixed, shapeless) == (3, 1), words)
}

pub fn layer_replaced() -> Result<String> {
    let w = normal(&[8, 8], 1)?;
    let layer = Compiled::new(move |x: Array| x.matmul(&w)?.tanh());
    for seed in 0..5 {
        layer.call(normal(&[2, 8], seed)?)?.eval()?;
    }
    let n = layer.traces();
    check(n == 1, format!("five calls, {n} trace"))
}

/// The greatest error of `f` in float16 and bfloat16 against float64, in units of the last place.
fn half_error(f: impl Fn(&Array) -> Result<Array>) -> Result<String> {
    let x = normal(&[4, 8192], 1)?;
    let mut words = Vec::new();
    for (dtype, ulp) in [(Dtype::F16, 2f64.powi(-10)), (Dtype::BF16, 2f64.powi(-7))] {
        let h = x.astype(dtype)?;
        let exact = f(&h.astype(Dtype::F64)?)?.to_vec::<f64>()?;
        let got = f(&h)?.astype(Dtype::F64)?.to_vec::<f64>()?;
        let off = exact.iter().zip(&got).map(|(e, g)| (e - g).abs() / e.abs().max(0.1) / ulp);
        let off = off.fold(0.0, f64::max);
        if off > 1.0 {
            return Err(fails(format!("{dtype}: {off:.2} units in the last place")));
        }
        words.push(format!("{dtype} {off:.2}"));
    }
    Ok(format!("{} units in the last place", words.join(", ")))
}

pub fn rms_norm_error() -> Result<String> {
    half_error(|x| fast::rms_norm(x, None, 1e-5))
}

pub fn layer_norm_error() -> Result<String> {
    half_error(|x| fast::layer_norm(x, None, None, 1e-5))
}

pub fn softmax_sums() -> Result<String> {
    let mut off = 0.0f64;
    for dtype in [Dtype::F16, Dtype::BF16] {
        for n in [1024, 32768, 131072] {
            let p = normal(&[1, n], 1)?.astype(dtype)?.softmax(Some(&[-1]), false)?;
            let sum = p.astype(Dtype::F32)?.sum(None, false)?.item::<f32>()?;
            off = off.max((f64::from(sum) - 1.0).abs());
        }
    }
    check(off < 1e-2, format!("rows up to 131072 sum to 1 within {off:.1e}"))
}

pub fn vmap_equals_loop() -> Result<String> {
    let x = normal(&[9, 33], 1)?;
    let f = |x: Array| x.softmax(Some(&[-1]), false)?.cumsum(-1, false, true);
    let each = (0..9).map(|i| f(x.at(i)?)).collect::<Result<Vec<_>>>()?;
    each.iter().try_for_each(Array::eval)?;
    let off = worst(&transform::vmap(f, 0, 0)(x)?, &Array::stack(&each, 0)?)?;
    check(off < 1e-6, format!("greatest difference {off:.1e}"))
}

pub fn vmap_model() -> Result<String> {
    let (w, v, x) = (normal(&[8, 16], 1)?, normal(&[16, 4], 2)?, normal(&[9, 8], 3)?);
    let model = move |x: Array| x.matmul(&w)?.tanh()?.matmul(&v);
    let each = (0..9).map(|i| model(x.at(i)?)).collect::<Result<Vec<_>>>()?;
    each.iter().try_for_each(Array::eval)?;
    let off = worst(&transform::vmap(model, 0, 0)(x)?, &Array::stack(&each, 0)?)?;
    check(off < 1e-5, format!("greatest difference {off:.1e}"))
}

pub fn per_example_losses() -> Result<String> {
    let (w, x, y) = (normal(&[8, 8], 1)?, normal(&[9, 8], 2)?, normal(&[9, 8], 3)?);
    let mask = Array::ones(&[9], Dtype::F32)?;
    let f = move |(x, y, m): (Array, Array, Array)| Ok(loss(&w, &x, &y)? * m);
    let out = transform::vmap(f, 0, 0)((x, y, mask))?;
    check(out.shape() == [9], format!("shape {:?}", out.shape()))
}

pub fn vmap_slice_update() -> Result<String> {
    // The case that is silently wrong elsewhere: a mapped target and an update that is not.
    let (x, u) = (Array::zeros(&[3, 4], Dtype::F32)?, Array::ones(&[2], Dtype::F32)?);
    let f = move |x: Array| x.slice_update(&u, &[1], &[3], &[1], UpdateMode::Set);
    let out = transform::vmap(f, 0, 0)(x)?.sum(None, false)?.item::<f32>()?;
    check(out == 6.0, "an update shared by all examples reaches all of them")
}

pub fn value_inside_vmap() -> Result<String> {
    let f = |x: Array| if x.item::<f32>()? > 0.0 { Ok(x) } else { x.negative() };
    match transform::vmap(f, 0, 0)(normal(&[4], 1)?) {
        Err(error) if error.kind() == ErrorKind::Trace => Ok(format!("refused: {error}")),
        Err(error) => Err(error),
        Ok(_) => Err(fails("a value was read inside vmap")),
    }
}

pub fn gpu_stream() -> Result<String> {
    match Stream::new(Device::GPU) {
        Ok(stream) => Ok(format!("{stream}")),
        Err(error) if error.kind() == ErrorKind::BackendUnavailable => Ok(format!("{error}")),
        Err(error) => Err(error),
    }
}

pub fn async_returns() -> Result<String> {
    let x = normal(&[512, 512], 1)?;
    let work = || (0..8).try_fold(x.clone(), |y, _| Ok::<_, Error>(y.matmul(&x)? * 0.04));
    let y = work()?;
    let start = Instant::now();
    eval::async_eval(std::slice::from_ref(&y))?;
    let returned = start.elapsed().as_secs_f64() * 1e3;
    y.eval()?;
    let done = start.elapsed().as_secs_f64() * 1e3;
    check(returned < done, format!("returned after {returned:.2} ms, done after {done:.2} ms"))
}

pub fn last_batch() -> Result<String> {
    let mut done = 0;
    let mut ahead: Option<Array> = None;
    for batch in 0..6 {
        let next = normal(&[64, 64], batch)?.sum(None, false)?;
        eval::async_eval(std::slice::from_ref(&next))?;
        if let Some(y) = ahead.replace(next) {
            y.item::<f32>()?;
            done += 1;
        }
    }
    if let Some(y) = ahead {
        y.item::<f32>()?;
        done += 1;
    }
    check(done == 6, format!("{done} of 6 batches"))
}

pub fn eval_waits() -> Result<String> {
    let y = normal(&[256, 256], 1)?.exp()?;
    eval::eval(std::slice::from_ref(&y))?;
    check(y.is_evaluated(), "values are there when it returns")
}

pub fn cross_streams() -> Result<String> {
    let device = device::current_stream().device;
    let streams = [Stream::new(device)?, Stream::new(device)?, Stream::new(device)?];
    let (x, w) = (normal(&[32, 32], 1)?, normal(&[32, 32], 2)?);
    let chain = |pick: &dyn Fn(usize) -> Stream| -> Result<Array> {
        (0..30).try_fold(x.clone(), |y, i| {
            device::with_stream(pick(i), || Ok((y.matmul(&w)? * 0.2).tanh()? + &x))
        })
    };
    let mixed = chain(&|i| streams[i * 7 % 3])?;
    mixed.eval()?;
    let alone = chain(&|_| streams[0])?;
    check(worst(&mixed, &alone)? == 0.0, "30 layers over three streams, equal to one")
}

pub fn lazy_files() -> Result<String> {
    let file = super::pairs::tensors_on_disk()?;
    let (before, start) = (super::memory()?.active, Instant::now());
    let input = lazulite::io::Input::open(&file.0)?;
    let arrays = lazulite::io::Contents::open(&input)?.arrays()?;
    let opened = start.elapsed().as_secs_f64() * 1e3;
    let held = super::memory()?.active - before;
    arrays[3].1.eval()?;
    let one = super::memory()?.active - before;
    let words =
        format!("opened 32 MB in {opened:.2} ms with {held} bytes; one tensor: {one} bytes");
    check(held == 0 && one == arrays[3].1.nbytes(), words)
}

pub fn eval_trees() -> Result<String> {
    use lazulite::Tree;
    let x = normal(&[8], 1)?;
    let tree = vec![(x.sin()?, x.cos()?), (x.exp()?, x.tanh()?)];
    let leaves = tree.leaves();
    eval::eval(&leaves)?;
    check(leaves.iter().all(Array::is_evaluated), "a list of pairs, four arrays")
}

pub fn one_copy() -> Result<String> {
    let data = vec![1.0f32; 1 << 20];
    let before = super::memory()?.active;
    let x = Array::from_slice(&data, &[1024, 1024])?;
    let taken = super::memory()?.active - before;
    check(taken == x.nbytes(), format!("{taken} bytes for {}", x.nbytes()))
}

pub fn repeat_and_tile() -> Result<String> {
    let x = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
    let joined = Array::concatenate(&[x.clone(), x.clone()], 0)?.to_vec::<f32>()?;
    let tiled = x.tile(&[2, 1])?.to_vec::<f32>()?;
    let repeated = x.repeat(2, Some(0))?.to_vec::<f32>()?;
    let words = format!("concatenate {joined:?}, repeat {repeated:?}");
    check(joined == tiled && repeated == [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0], words)
}

pub fn put_is_functional() -> Result<String> {
    let x = Array::zeros(&[4, 2], Dtype::F32)?;
    let i = Array::from_slice(&[1i32, 1], &[2])?;
    let v = Array::from_slice(&[1.0f32, 1.0, 2.0, 2.0], &[2, 2])?;
    let y = x.put_along_axis(&i.expand_dims(&[1])?.broadcast_to(&[2, 2])?, &v, Some(0))?;
    let kept = x.sum(None, false)?.item::<f32>()? == 0.0;
    let row = y.at(1)?.to_vec::<f32>()?;
    check(kept && row == [2.0, 2.0], "the target is unchanged; of equal indices the last stays")
}

pub fn large_logits() -> Result<String> {
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
        let x = (normal(&[8, 512], 1)? * 50.0 + 500.0).astype(dtype)?;
        let finite = x.softmax(Some(&[-1]), false)?.isfinite()?.all(None, false)?;
        if !finite.item::<bool>()? {
            return Err(fails(format!("{dtype} is not finite")));
        }
    }
    Ok("logits of 500 +- 50 in float16, bfloat16 and float32".into())
}

pub fn large_logsumexp() -> Result<String> {
    let x = normal(&[8, 512], 1)? * 50.0 + 500.0;
    let y = x.logsumexp(Some(&[-1]), true)?;
    let sums = (&x - &y).exp()?.sum(Some(&[-1]), false)?;
    let off = worst(&sums, &sums.ones_like()?)?;
    check(off < 1e-4, format!("probabilities sum to 1 within {off:.1e}"))
}

/// The loss of each row, written by hand.
pub fn cross_entropy(logits: &Array, targets: &Array) -> Result<Array> {
    let rows = logits.shape()[0];
    let picked = logits.take_along_axis(&targets.reshape(&[rows, 1])?, Some(-1))?;
    (logits.logsumexp(Some(&[-1]), true)? - picked).reshape(&[rows])
}

fn targets(rows: usize, classes: i32) -> Result<Array> {
    let (low, high) = (Array::scalar(0i32), Array::scalar(classes));
    random::randint(&low, &high, Some(&[rows]), Dtype::I32, Some(&random::key(7)?))
}

pub fn cross_entropy_error() -> Result<String> {
    let (x, t) = (normal(&[4096, 512], 1)?, targets(4096, 512)?);
    let h = x.astype(Dtype::F16)?;
    let mean = |x: &Array| -> Result<f64> {
        let each = cross_entropy(&x.astype(Dtype::F32)?, &t)?;
        Ok(f64::from(each.mean(None, false)?.item::<f32>()?))
    };
    let exact = cross_entropy(&h.astype(Dtype::F64)?, &t)?.mean(None, false)?.item::<f64>()?;
    let off = (mean(&h)? - exact).abs();
    check(off < 1e-5, format!("mean loss of float16 logits within {off:.1e}"))
}

pub fn masked_loss() -> Result<String> {
    let (x, t) = (normal(&[64, 32], 1)?, targets(64, 32)?);
    let mask = Array::iota(0.0, 1.0, 64, Dtype::F32)?.less(&Array::scalar(40.0f32))?;
    let each = cross_entropy(&x, &t)? * mask.astype(Dtype::F32)?;
    let loss = each.astype(Dtype::F32)?.sum(None, false)? / 40.0;
    let want = cross_entropy(&x.slice(&[0, 0], &[40, 32], &[1, 1])?, &t.slice(&[0], &[40], &[1])?)?
        .mean(None, false)?;
    let off = worst(&loss, &want)?;
    check(off < 1e-5, format!("the masked mean, within {off:.1e}"))
}

pub fn cache_bounded() -> Result<String> {
    let device = device::current_stream().device;
    let limit = backend::get(device)?.limit(device, backend::Limit::Cache);
    for i in 0..100 {
        normal(&[1000 + 37 * i as usize, 64], i)?;
    }
    let cache = super::memory()?.cache;
    let words = format!(
        "{:.1} MB after 100 shapes, the limit is {:.0} MB",
        cache as f64 / 1e6,
        limit as f64 / 1e6
    );
    check(cache <= limit, words)
}

pub fn counters() -> Result<String> {
    let m = super::memory()?;
    Ok(format!("peak {}, active {}, cache {}", m.peak, m.active, m.cache))
}

pub fn counters_exact() -> Result<String> {
    let before = super::memory()?.active;
    let x = normal(&[1024, 1024], 1)?;
    let with = super::memory()?.active - before;
    drop(x);
    let after = super::memory()?.active - before;
    check((with, after) == (4 << 20, 0), format!("{with} bytes for 4 MiB, {after} afterwards"))
}

pub fn nothing_to_know() -> Result<String> {
    let n = plan::rules::CATALOGUE.len();
    Ok(format!("the planner has {n} rules for them; docs/rewrites.md lists them"))
}
