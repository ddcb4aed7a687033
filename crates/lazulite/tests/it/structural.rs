//! Derivatives, vmap and replay of every structural family, by table.

use lazulite::Result;
use lazulite::op::fast::{self, Frequencies, Mask};
use lazulite::op::index::Index;
use lazulite::op::join::PadMode;
use lazulite::op::quantized::{QuantFormat, QuantMode};
use lazulite::op::scatter::UpdateMode;
use lazulite::prelude::*;
use lazulite::s;
use lazulite::transform::{grad, vmap};
use lazulite_testkit::{Rng, Tolerance, check_compile, check_grads, check_vmap, from_values};

/// All but the first and the last place.
const MIDDLE: Index = Index::Slice { start: Some(1), stop: Some(-1), step: None };

/// An input of a case.
#[derive(Clone)]
enum In {
    /// Random numbers between -2 and 2.
    R(&'static [usize]),
    /// These numbers.
    F(&'static [f64], &'static [usize]),
    /// These indices.
    I(&'static [f64], &'static [usize]),
    /// This mask.
    B(&'static [f64], &'static [usize]),
}
use In::{B, F, I, R};

impl In {
    fn shape(&self) -> &'static [usize] {
        match *self {
            R(shape) | F(_, shape) | I(_, shape) | B(_, shape) => shape,
        }
    }

    /// `batch` variants, stacked in front: numbers differ, indices and masks are turned round.
    fn batch(&self, batch: usize, rng: &mut Rng) -> Result<Array> {
        let n: usize = self.shape().iter().product();
        let shape: Vec<usize> =
            std::iter::once(batch).chain(self.shape().iter().copied()).collect();
        let (data, dtype) = match self {
            R(_) => (rng.uniforms(n * batch, -2.0, 2.0), Dtype::F64),
            F(v, _) => (turned(v, batch), Dtype::F64),
            I(v, _) => (turned(v, batch), Dtype::I32),
            B(v, _) => (turned(v, batch), Dtype::Bool),
        };
        from_values(&data, &shape, dtype)
    }
}

fn turned(values: &[f64], batch: usize) -> Vec<f64> {
    let n = values.len();
    (0..batch).flat_map(|b| (0..n).map(move |i| values[(i + b) % n])).collect()
}

type Function = fn(&[Array]) -> Result<Array>;

fn format() -> QuantFormat {
    QuantFormat::new(QuantMode::Affine, Some(32), Some(4)).expect("a known format")
}

/// Packed weights that do not depend on the inputs: `(rows, 64)`.
fn packed(rows: usize) -> Result<Array> {
    let words: Vec<u32> = (0..rows as u32 * 8).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    Array::from_slice(&words, &[rows, 8])
}

fn single(x: &Array) -> Result<Array> {
    x.astype(Dtype::F32)
}

fn iota(n: i32) -> Result<Array> {
    Array::from_slice(&(0..n).collect::<Vec<_>>(), &[n as usize])
}

#[rustfmt::skip]
fn cases() -> Vec<(&'static str, Vec<In>, Function)> {
    let mut all: Vec<(&'static str, Vec<In>, Function)> = vec![
        ("reshape", vec![R(&[2, 6])], |x| x[0].reshape(&[3, 4])),
        ("transpose", vec![R(&[2, 3, 4])], |x| x[0].transpose(Some(&[2, 0, 1]))),
        ("broadcast", vec![R(&[3, 1])], |x| x[0].broadcast_to(&[2, 3, 4])),
        ("slice", vec![R(&[5, 4])], |x| x[0].index(&s![lazulite::op::index::Index::from(1..).by(2), ..])),
        ("slice back", vec![R(&[5, 4])], |x| x[0].flip(None)),
        ("slice int", vec![R(&[5, 4])], |x| x[0].index(&s![-1])),
        ("as_strided", vec![R(&[3, 4])], |x| x[0].as_strided(Some(&[4, 3]), Some(&[2, 1]), 1)),
        ("diagonal", vec![R(&[3, 4])], |x| x[0].diagonal(1, 0, 1)),
        ("diag", vec![R(&[3])], |x| x[0].diag(-1)),
        ("tril", vec![R(&[3, 4])], |x| x[0].tril(0)),
        ("concatenate", vec![R(&[2, 3]), R(&[1, 3])], |x| Array::concatenate(x, 0)),
        ("stack", vec![R(&[2, 3]), R(&[2, 3])], |x| Array::stack(x, -1)),
        ("tile", vec![R(&[2, 3])], |x| x[0].tile(&[2, 2])),
        ("repeat", vec![R(&[2, 3])], |x| x[0].repeat(2, Some(0))),
        ("pad constant", vec![R(&[2, 3])], |x| x[0].pad(&[(1, 2)], &PadMode::Constant(Array::scalar(1.5)))),
        ("pad edge", vec![R(&[2, 3])], |x| x[0].pad(&[(1, 2), (0, 1)], &PadMode::Edge)),
        ("pad symmetric", vec![R(&[2, 3])], |x| x[0].pad(&[(1, 2)], &PadMode::Symmetric)),
        ("roll", vec![R(&[2, 5])], |x| x[0].roll(&[2], Some(&[1]))),
        ("take", vec![R(&[3, 4, 2]), I(&[1., 3., 1., -1.], &[2, 2])], |x| x[0].take(&x[1], Some(1))),
        ("take rows", vec![R(&[4, 3]), I(&[1., 3., 1.], &[3])], |x| x[0].take(&x[1], Some(0))),
        ("take_along_axis", vec![R(&[2, 4]), I(&[1., 3., 1., 0., -1., 2.], &[2, 3])], |x| x[0].take_along_axis(&x[1], Some(1))),
        ("gather", vec![R(&[4, 3, 5]), I(&[1., 2.], &[2]), I(&[0., 3.], &[2])], |x| x[0].gather(&x[1..], &[0, 2], &[1, 3, 2])),
        ("slice_dynamic", vec![R(&[4, 5]), I(&[2., 1.], &[2])], |x| x[0].slice_dynamic(&x[1], &[0, 1], &[2, 3])),
        ("mixed index", vec![R(&[2, 3, 4]), I(&[1., 0., 2.], &[3])], |x| x[0].index(&s![0, .., &x[1]])),
        ("adjacent index", vec![R(&[2, 3, 4]), I(&[1., 0., 2.], &[3])], |x| x[0].index(&s![.., &x[1], 1..])),
        ("slice_update_dynamic", vec![R(&[4, 5]), R(&[2, 3]), I(&[2., 1.], &[2])], |x| x[0].slice_update_dynamic(&x[1], &x[2], &[0, 1])),
        ("masked_scatter", vec![R(&[2, 3]), B(&[1., 0., 1., 1., 0., 0.], &[2, 3]), R(&[4])], |x| x[0].masked_scatter(&x[1], &x[2])),
        ("select by mask", vec![R(&[2, 3]), B(&[1., 0.], &[2]), R(&[])], |x| x[1].expand_dims(&[1])?.select(&x[2], &x[0])),
        ("sort", vec![R(&[3, 5])], |x| x[0].sort(Some(1))),
        ("partition", vec![R(&[5, 2])], |x| x[0].partition(2, Some(0))),
        ("topk", vec![R(&[5, 2])], |x| x[0].topk(2, Some(0))?.sort(Some(0))),
        ("median", vec![R(&[4, 3])], |x| x[0].median(Some(&[0]), false)),
        ("cumsum", vec![R(&[2, 4])], |x| x[0].cumsum(1, true, false)),
        ("cumprod", vec![R(&[2, 4])], |x| x[0].cumprod(1, false, true)),
        ("cumprod exclusive", vec![R(&[2, 4])], |x| x[0].cumprod(1, true, false)),
        ("cumprod with a zero", vec![F(&[1.5, 0., -2., 0.5], &[4])], |x| x[0].cumprod(0, false, true)),
        ("cummax", vec![R(&[2, 4])], |x| x[0].cummax(1, false, true)),
        ("cummin from the end", vec![R(&[4, 2])], |x| x[0].cummin(0, true, true)),
        ("logcumsumexp", vec![R(&[2, 4])], |x| x[0].logcumsumexp(1, false, true)),
        ("logcumsumexp from the end", vec![R(&[4])], |x| x[0].logcumsumexp(0, true, true)),
        ("matmul", vec![R(&[2, 3]), R(&[3, 4])], |x| x[0].matmul(&x[1])),
        ("matmul batch", vec![R(&[2, 1, 2, 3]), R(&[3, 3, 2])], |x| x[0].matmul(&x[1])),
        ("matmul rows", vec![R(&[2, 2, 3]), R(&[3, 2])], |x| x[0].matmul(&x[1])),
        ("matmul vectors", vec![R(&[3]), R(&[3, 2])], |x| x[0].matmul(&x[1])),
        ("matvec", vec![R(&[2, 3]), R(&[3])], |x| x[0].matmul(&x[1])),
        ("addmm", vec![R(&[2]), R(&[3, 4]), R(&[4, 2])], |x| x[0].addmm(&x[1], &x[2], 0.5, 2.0)),
        ("tensordot", vec![R(&[2, 3, 4]), R(&[4, 3, 2])], |x| x[0].tensordot(&x[1], &[1, 2], &[1, 0])),
        ("inner, outer", vec![R(&[2, 3]), R(&[4, 3])], |x| x[0].inner(&x[1])?.outer(&x[1])),
        ("vecdot", vec![R(&[2, 3]), R(&[2, 3])], |x| x[0].vecdot(&x[1], -1)),
        ("kron", vec![R(&[2, 2]), R(&[2, 3])], |x| x[0].kron(&x[1])),
        ("trace", vec![R(&[3, 4])], |x| x[0].trace(0, 0, 1, None)),
        ("dequantize", vec![R(&[3, 2]), R(&[3, 2])], |x| packed(3)?.dequantize(&single(&x[0])?, Some(&x[1]), format(), None)),
        ("quantized_matmul", vec![R(&[2, 64]), R(&[3, 2]), R(&[3, 2])], |x| single(&x[0])?.quantized_matmul(&packed(3)?, &single(&x[1])?, Some(&x[2]), true, format())),
        ("quantized_matmul plain", vec![R(&[2, 3]), R(&[3, 2]), R(&[3, 2])], |x| single(&x[0])?.quantized_matmul(&packed(3)?, &single(&x[1])?, Some(&x[2]), false, format())),
        ("rms_norm", vec![R(&[3, 4]), R(&[4])], |x| fast::rms_norm(&x[0], Some(&x[1]), 1e-5)),
        ("layer_norm", vec![R(&[3, 4]), R(&[4]), R(&[4])], |x| fast::layer_norm(&x[0], Some(&x[1]), Some(&x[2]), 1e-5)),
        ("attention", vec![R(&[1, 2, 3, 2]), R(&[1, 1, 4, 2]), R(&[1, 1, 4, 3])], |x| fast::scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.7, Mask::None, None)),
        ("attention causal", vec![R(&[2, 2, 2, 2]), R(&[2, 2, 3, 2]), R(&[2, 2, 3, 2])], |x| fast::scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.7, Mask::Causal, None)),
        ("attention mask", vec![R(&[2, 2, 2, 2]), R(&[2, 1, 3, 2]), R(&[2, 1, 3, 2]), B(&[1., 0., 1., 0., 0., 0.], &[2, 3])], |x| fast::scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.7, Mask::Array(&x[3]), None)),
        ("attention additive", vec![R(&[2, 2, 2, 2]), R(&[2, 1, 3, 2]), R(&[2, 1, 3, 2]), R(&[2, 2, 2, 3])], |x| fast::scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.7, Mask::Array(&x[3]), None)),
        ("attention sinks", vec![R(&[1, 2, 2, 2]), R(&[1, 1, 3, 2]), R(&[1, 1, 3, 2]), R(&[2])], |x| fast::scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.7, Mask::None, Some(&x[3]))),
        ("softmax", vec![R(&[3, 4])], |x| x[0].softmax(Some(&[-1]), false)),
        ("mean", vec![R(&[3, 4])], |x| x[0].mean(Some(&[0]), false)),
        ("var", vec![R(&[3, 4])], |x| x[0].var(None, true, 1)),
        ("std", vec![R(&[3, 4])], |x| x[0].std(Some(&[1]), false, 0)),
        ("logsumexp", vec![R(&[3, 4])], |x| x[0].logsumexp(Some(&[0]), false)),
        ("clip", vec![R(&[3, 4]), R(&[4])], |x| x[0].clip(Some(&x[1]), Some(&Array::scalar(1.0f32)))),
        ("nan_to_num", vec![R(&[3])], |x| x[0].nan_to_num(0.0, None, None)),
        ("diff", vec![R(&[5])], |x| x[0].diff(2, 0)),
        ("split", vec![R(&[6])], |x| Array::stack(&x[0].split(3, 0)?, 1)),
    ];
    all.push(("rope", vec![R(&[2, 3, 4])], |x| fast::rope(&x[0], 4, false, Frequencies::Base(100.0), 1.0, &Array::scalar(2i32))));
    all.push(("rope traditional", vec![R(&[2, 3, 6])], |x| fast::rope(&x[0], 4, true, Frequencies::Base(100.0), 0.5, &iota(2)?)));
    macro_rules! modes {
        ($($mode:ident),*) => { $(
            all.push((concat!("scatter ", stringify!($mode)), vec![R(&[4, 3]), I(&[1., 3., 1.], &[3]), R(&[3, 1, 3])],
                |x| x[0].scatter(&x[1..2], &x[2], &[0], UpdateMode::$mode)));
            all.push((concat!("put_along_axis ", stringify!($mode)), vec![R(&[2, 4]), I(&[1., 3., 1., 0., 2., 2.], &[2, 3]), R(&[2, 3])],
                |x| x[0].scatter_along_axis(&x[1], &x[2], Some(1), UpdateMode::$mode)));
            all.push((concat!("slice_update ", stringify!($mode)), vec![R(&[4, 5]), R(&[2, 1])],
                |x| x[0].slice_update(&x[1], &[0, 1], &[4, 5], &[2, 1], UpdateMode::$mode)));
            all.push((concat!("index_update ", stringify!($mode)), vec![R(&[3, 4, 2]), I(&[1., 0., 1.], &[3]), R(&[3, 3])],
                |x| x[0].index_update(&s![.., &x[1], 0], &x[2], UpdateMode::$mode)));
        )* };
    }
    modes!(Set, Add, Multiply, Max, Min);
    all
}

/// Every way to batch some of the inputs, along the first axis and along the last.
fn patterns(count: usize) -> Vec<Vec<bool>> {
    (1..1usize << count).map(|bits| (0..count).map(|i| bits >> i & 1 == 1).collect()).collect()
}

/// Runs `check` on every case and reports all that fail.
fn each(mut check: impl FnMut(&str, &[In], Function, &mut Rng) -> Result<(), String>) {
    let mut failures = Vec::new();
    for (i, (name, inputs, f)) in cases().into_iter().enumerate() {
        if let Err(message) = check(name, &inputs, f, &mut Rng::new(i as u64)) {
            failures.push(format!("{name}: {message}"));
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

fn examples(inputs: &[In], rng: &mut Rng) -> Result<Vec<Array>, String> {
    (inputs.iter().map(|x| x.batch(1, rng)?.reshape(x.shape())).collect::<Result<Vec<_>>>())
        .map_err(|e| e.to_string())
}

#[test]
fn derivatives_agree_with_differences_to_second_order() {
    each(|name, inputs, f, rng| {
        // These compute in f32 whatever the input.
        let narrow = ["rope", "attention", "quantized", "dequantize"];
        let tolerance = match narrow.iter().any(|n| name.starts_with(n)) {
            true => Tolerance::single(),
            false => Tolerance::default(),
        };
        let x = examples(inputs, rng)?;
        check_grads(&|x| Ok(vec![f(x)?]), &x, 2, tolerance, rng)
    });
}

#[test]
fn vmap_agrees_with_a_loop_for_every_choice_of_batched_inputs() {
    each(|_, inputs, f, rng| {
        for pattern in patterns(inputs.len()) {
            for last in [false, true] {
                let mut axes = Vec::new();
                let mut arrays = Vec::new();
                for (input, &batched) in inputs.iter().zip(&pattern) {
                    let batch = if batched { 3 } else { 1 };
                    let text = |e: lazulite::Error| e.to_string();
                    let mut x = input.batch(batch, rng).map_err(text)?;
                    let mut axis = batched.then_some(0);
                    if !batched {
                        x = x.reshape(input.shape()).map_err(text)?;
                    } else if last {
                        x = x.moveaxis(0, -1).map_err(text)?;
                        axis = Some(input.shape().len());
                    }
                    axes.push(axis);
                    arrays.push(x);
                }
                for x in &arrays {
                    x.eval().map_err(|e| e.to_string())?;
                }
                check_vmap(&|x| Ok(vec![f(x)?]), &arrays, &axes, Tolerance::default())
                    .map_err(|e| format!("axes {axes:?}: {e}"))?;
            }
        }
        Ok(())
    });
}

#[test]
fn replays_have_the_bits_of_the_first_run() {
    each(|_, inputs, f, rng| {
        let x = examples(inputs, rng)?;
        check_compile(&|x| Ok(vec![f(x)?]), &x, None)
    });
}

fn gradient(x: &[Array], f: fn(&Array) -> Result<Array>) -> Result<Array> {
    grad(|x: Array| f(&x))(x[0].clone())
}

#[test]
fn shapeless_functions_follow_sizes() {
    let ones = |shape: &[usize]| Array::ones(shape, Dtype::F32).expect("makes ones");
    let cases: Vec<(Function, &[usize], &[usize])> = vec![
        (|x| x[0].index(&s![1..]), &[4, 2], &[7, 2]),
        (|x| x[0].index(&s![-1]), &[4, 2], &[7, 2]),
        (|x| x[0].index(&s![.., MIDDLE]), &[4, 5], &[4, 9]),
        (|x| x[0].flip(None), &[4, 5], &[6, 9]),
        (|x| x[0].flatten(0, 1), &[4, 5, 2], &[6, 9, 2]),
        (|x| x[0].unflatten(1, &[2, 3])?.swapaxes(0, 1), &[4, 6], &[7, 6]),
        (|x| x[0].softmax(Some(&[-1]), true), &[4, 6], &[7, 3]),
        (|x| x[0].take(&Array::scalar(1i32), Some(1)), &[4, 6], &[7, 3]),
        (|x| x[0].matmul(&x[0].t()?), &[4, 6], &[7, 3]),
        (|x| x[0].mean(Some(&[0]), false)?.add(&x[0].var(None, true, 1)?), &[4, 6], &[7, 3]),
        (|x| fast::layer_norm(&x[0], None, None, 1e-5)?.sum(Some(&[1]), false), &[4, 6], &[7, 3]),
        (|x| x[0].ones_like()?.sum(None, false), &[4, 6], &[7, 3]),
        (|x| gradient(x, |x| x.square()?.mean(None, false)), &[4, 6], &[7, 3]),
        (|x| gradient(x, |x| x.index(&s![1.., -1])?.sum(None, false)), &[4, 6], &[7, 3]),
        (|x| gradient(x, |x| x.softmax(Some(&[1]), true)?.max(None, false)), &[4, 6], &[7, 3]),
        (|x| vmap(|x: Array| x.mean(None, false), 0, 0)(x[0].clone()), &[4, 6], &[7, 3]),
        (|x| x[0].cumsum(0, false, true)?.sort(Some(1)), &[4, 6], &[7, 3]),
    ];
    for (i, (f, from, to)) in cases.into_iter().enumerate() {
        let run = check_compile(&|x| Ok(vec![f(x)?]), &[ones(from)], Some(&[ones(to)]));
        assert_eq!(run, Ok(()), "case {i}");
    }
}

#[test]
fn arrays_of_ndarray_go_in_and_out_with_any_layout() -> Result<()> {
    let x = ndarray::Array3::from_shape_fn((2, 3, 4), |(i, j, k)| (100 * i + 10 * j + k) as i64);
    let mut turned = x.view().reversed_axes();
    turned.invert_axis(ndarray::Axis(1));
    let back = Array::from_ndarray(&turned)?;
    assert_eq!((back.shape(), back.dtype()), (&[4, 3, 2][..], Dtype::I64));
    assert_eq!(back.to_ndarray::<i64>()?, turned.to_owned().into_dyn());
    assert_eq!(back.to_ndarray::<f32>().map_err(|e| e.kind()), Err(ErrorKind::Dtype));
    let empty = ndarray::Array2::<f32>::zeros((0, 5));
    assert_eq!(Array::from_ndarray(&empty)?.to_ndarray::<f32>()?, empty.into_dyn());
    Ok(())
}
