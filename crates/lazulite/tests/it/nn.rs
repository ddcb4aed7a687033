//! Layers, losses, schedules and optimisers against what MLX 0.32.4 gives. The numbers come from
//! `tests/reference/nn_mlx.py`, which fills inputs and parameters as [`fill`] does.

use lazulite::fast::Mask;
use lazulite::nn::{self, Activation, CrossEntropy, Module, Param, Parameters, Reduction};
use lazulite::optim::{self, Optimizer, Rule, Schedule};
use lazulite::prelude::*;
use std::collections::BTreeMap;

/// Numbers in `[-scale, scale]` that look irregular, the same as the script's.
pub fn fill(shape: &[usize], seed: usize, scale: f64) -> Result<Array> {
    let n: usize = shape.iter().product();
    let number = |i: usize| (((i * 37 + 11 * seed + 5) % 101) as f64 / 50.0 - 1.0) * scale;
    Array::from_slice(&(0..n).map(|i| number(i) as f32).collect::<Vec<_>>(), shape)
}

/// The module with parameters filled in the order of their paths, which both sides must agree on.
pub fn filled<M: Module>(mut module: M) -> Result<M> {
    let mut filled = Parameters::new();
    for (i, (name, array)) in module.parameters().into_iter().enumerate() {
        filled.insert(name, fill(array.shape(), i, 0.5)?);
    }
    module.update(&filled)?;
    Ok(module)
}

fn golden() -> BTreeMap<String, Vec<f64>> {
    let text = include_str!("../data/nn_golden.json");
    serde_json::from_str(text).expect("lists of numbers by name")
}

type Case = (&'static str, Array);

/// Both sides compute in `float32`: sums of tens of terms of order one differ by some units of
/// `6e-8`, and quotients by small norms make that a few times more.
fn check(cases: Vec<Case>, tolerance: f64) -> Result<()> {
    let golden = golden();
    let mut wrong = Vec::new();
    for (name, array) in cases {
        let got = array.astype(Dtype::F32)?.to_vec::<f32>()?;
        let want = golden.get(name).unwrap_or_else(|| panic!("no golden value {name}"));
        let far = |(g, w): (&f32, &f64)| {
            let distance = (f64::from(*g) - w).abs();
            distance.is_nan() || distance > tolerance * w.abs().max(1.0)
        };
        if got.len() != want.len() || got.iter().zip(want).any(far) {
            wrong.push(format!("{name}: {got:?}\n  expected {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn activations_equal_mlx() -> Result<()> {
    let x = &fill(&[24], 1, 4.0)?;
    let rows = &x.reshape(&[4, 6])?;
    let alpha = Array::scalar(0.3f32);
    let cases = vec![
        ("sigmoid", nn::sigmoid(x)?),
        ("tanh", nn::tanh(x)?),
        ("relu", nn::relu(x)?),
        ("relu2", nn::relu2(x)?),
        ("relu6", nn::relu6(x)?),
        ("selu", nn::selu(x)?),
        ("silu", nn::silu(x)?),
        ("gelu", nn::gelu(x)?),
        ("gelu_approx", nn::gelu_approx(x)?),
        ("gelu_fast_approx", nn::gelu_fast_approx(x)?),
        ("mish", nn::mish(x)?),
        ("hardswish", nn::hardswish(x)?),
        ("softplus", nn::softplus(x)?),
        ("softsign", nn::softsign(x)?),
        ("log_sigmoid", nn::log_sigmoid(x)?),
        ("leaky_relu", nn::leaky_relu(x, 0.1)?),
        ("prelu", nn::prelu(x, &alpha)?),
        ("elu", nn::elu(x, 0.7)?),
        ("celu", nn::celu(x, 0.7)?),
        ("hard_tanh", nn::hard_tanh(x, -1.5, 0.5)?),
        ("hard_shrink", nn::hard_shrink(x, 0.6)?),
        ("softshrink", nn::softshrink(x, 0.6)?),
        ("softmax", nn::softmax(rows, -1)?),
        ("softmin", nn::softmin(rows, -1)?),
        ("log_softmax", nn::log_softmax(rows, -1)?),
        ("glu", nn::glu(rows, -1)?),
        ("step", nn::step(x, 0.5)?),
    ];
    check(cases, 2e-6)
}

#[test]
fn losses_equal_mlx() -> Result<()> {
    let (a, b) = (&fill(&[6, 5], 1, 1.0)?, &fill(&[6, 5], 2, 1.0)?);
    let (p, q) = (&a.sigmoid()?, &b.sigmoid()?);
    let classes = &array![0, 3, 1, 4, 2, 0; i32];
    let signs = &b.sign()?;
    let weights = fill(&[6], 3, 1.0)?;
    let all = CrossEntropy {
        weights: Some(&weights),
        axis: 0,
        label_smoothing: 0.2,
        reduction: Reduction::Sum,
    };
    let (none, mean) = (Reduction::None, Reduction::Mean);
    let log = |x: &Array| nn::log_softmax(x, -1);
    let third = fill(&[6, 5], 3, 1.0)?;
    let cases = vec![
        ("cross_entropy", nn::cross_entropy(a, classes, none)?),
        ("cross_entropy_probabilities", nn::cross_entropy(a, &nn::softmax(b, -1)?, none)?),
        ("cross_entropy_all", all.loss(&a.t()?, classes)?),
        ("binary_cross_entropy", nn::binary_cross_entropy(p, q, mean)?),
        ("binary_cross_entropy_with_logits", nn::binary_cross_entropy_with_logits(a, q, mean)?),
        ("l1_loss", nn::l1_loss(a, b, mean)?),
        ("mse_loss", nn::mse_loss(a, b, Reduction::Sum)?),
        ("nll_loss", nn::nll_loss(&log(a)?, classes, -1, none)?),
        ("gaussian_nll_loss", nn::gaussian_nll_loss(a, b, p, true, none)?),
        ("kl_div_loss", nn::kl_div_loss(&log(a)?, &log(b)?, -1, none)?),
        ("smooth_l1_loss", nn::smooth_l1_loss(a, b, 0.7, none)?),
        ("huber_loss", nn::huber_loss(a, b, 0.4, none)?),
        ("log_cosh_loss", nn::log_cosh_loss(a, b, none)?),
        ("hinge_loss", nn::hinge_loss(a, signs, none)?),
        ("triplet_loss", nn::triplet_loss([a, b, &third], -1, 3.0, 0.5, none)?),
        ("cosine_similarity_loss", nn::cosine_similarity_loss(a, b, 1, none)?),
        ("margin_ranking_loss", nn::margin_ranking_loss(a, b, signs, 0.1, none)?),
    ];
    check(cases, 5e-6)
}

#[test]
fn layers_equal_mlx() -> Result<()> {
    let x = &fill(&[2, 3, 8], 50, 1.0)?;
    let signal = &fill(&[2, 12, 4], 50, 1.0)?;
    let image = &fill(&[2, 9, 8, 4], 50, 1.0)?;
    let volume = &fill(&[1, 5, 6, 4, 4], 50, 1.0)?;
    let ids = &array![[0, 6], [3, 2]; i32];
    let mut pytorch = filled(nn::GroupNorm::new(2, 4)?)?;
    pytorch.pytorch_compatible = true;
    let mut batch_norm = filled(nn::BatchNorm::new(4)?)?;
    batch_norm.running_var.value = batch_norm.running_var.abs()?;
    let trained = batch_norm.forward(image)?;
    batch_norm.train(false);
    let conv1 = nn::Conv1d::grouped(4, 6, [3], 2)?.stride([2]).padding([1]).dilation([2]);
    let conv2 = nn::Conv2d::new(4, 6, [3, 2])?.stride([2, 1]).padding([1, 0]);
    let conv3 = nn::Conv3d::new(4, 2, [2, 2, 2])?.padding([1, 1, 1]);
    let up1 = nn::ConvTranspose1d::new(4, 3, [3])?.stride([2]).padding([1]).output_padding([1]);
    let up2 = nn::ConvTranspose2d::new(4, 3, [3, 2])?.stride([2, 1]);
    let up3 = nn::ConvTranspose3d::new(4, 2, [2, 2, 2])?.dilation([2, 2, 2]);
    let avg1 = nn::AvgPool1d::new([3]).stride([2]).padding([1]);
    let max2 = nn::MaxPool2d::new([3, 2]).stride([2, 2]).padding([1, 1]);
    let mut rope = nn::Rope::new(6);
    (rope.base, rope.scale) = (500.0, 0.5);
    let mut traditional = nn::Rope::new(8);
    traditional.traditional = true;
    let cases = vec![
        ("linear", filled(nn::Linear::new(8, 5)?)?.forward(x)?),
        ("bilinear", filled(nn::Bilinear::new(8, 4, 5)?)?.forward(x, &fill(&[2, 3, 4], 51, 1.0)?)?),
        ("embedding", filled(nn::Embedding::new(7, 4)?)?.forward(ids)?),
        ("as_linear", filled(nn::Embedding::new(7, 8)?)?.as_linear(x)?),
        ("layer_norm", filled(nn::LayerNorm::new(8)?)?.forward(x)?),
        ("rms_norm", filled(nn::RmsNorm::new(8, 1e-4)?)?.forward(x)?),
        ("instance_norm", filled(nn::InstanceNorm::new(4, true)?)?.forward(image)?),
        ("group_norm", filled(nn::GroupNorm::new(2, 4)?)?.forward(image)?),
        ("group_norm_pytorch", pytorch.forward(image)?),
        ("batch_norm_training", trained),
        ("running_mean", batch_norm.running_mean.value.clone()),
        ("running_var", batch_norm.running_var.value.clone()),
        ("batch_norm", batch_norm.forward(image)?),
        ("conv1d", filled(conv1)?.forward(signal)?),
        ("conv2d", filled(conv2)?.forward(image)?),
        ("conv3d", filled(conv3)?.forward(volume)?),
        ("conv_transpose1d", filled(up1)?.forward(signal)?),
        ("conv_transpose2d", filled(up2)?.forward(image)?),
        ("conv_transpose3d", filled(up3)?.forward(volume)?),
        ("max_pool1d", nn::MaxPool1d::new([3]).forward(signal)?),
        ("avg_pool1d", avg1.forward(signal)?),
        ("max_pool2d", max2.forward(image)?),
        ("avg_pool2d", nn::AvgPool2d::new([3, 2]).forward(image)?),
        ("max_pool3d", nn::MaxPool3d::new([2, 2, 2]).forward(volume)?),
        ("avg_pool3d", nn::AvgPool3d::new([2, 2, 2]).stride([1, 1, 1]).forward(volume)?),
        ("rope", rope.forward(x, 3)?),
        ("rope_traditional", traditional.forward(x, 0)?),
    ];
    check(cases, 5e-6)
}

#[test]
fn recurrent_layers_and_transformers_equal_mlx() -> Result<()> {
    let x = &fill(&[2, 3, 8], 50, 1.0)?;
    let memory = &fill(&[2, 5, 8], 51, 1.0)?;
    let (h, c) = (fill(&[2, 4], 51, 1.0)?, fill(&[2, 4], 52, 1.0)?);
    let gru = filled(nn::Gru::new(8, 4)?)?;
    let (hidden, cell) = filled(nn::Lstm::new(8, 4)?)?.forward(x, Some((&h, &c)))?;
    let attention = filled(nn::MultiHeadAttention::new(8, 2)?)?;
    let options = nn::TransformerOptions { mlp_dims: 6, ..nn::TransformerOptions::new(8, 2) };
    let last = nn::TransformerOptions { norm_first: false, ..options };
    let gelu = nn::TransformerOptions { activation: Activation(nn::gelu), ..last };
    let encoder = filled(nn::TransformerEncoder::new(2, &options)?)?;
    let decoder = filled(nn::TransformerDecoder::new(2, &options)?)?;
    let encoder_last = filled(nn::TransformerEncoderLayer::new(&gelu)?)?;
    let decoder_last = filled(nn::TransformerDecoderLayer::new(&last)?)?;
    let cases = vec![
        ("rnn", filled(nn::Rnn::new(8, 4)?)?.forward(x, Some(&h))?),
        ("gru", gru.forward(x, None)?),
        ("gru_state", gru.forward(x, Some(&h))?),
        ("lstm_hidden", hidden),
        ("lstm_cell", cell),
        ("attention", attention.forward(x, memory, memory, Mask::None)?),
        ("causal", attention.forward(x, x, x, Mask::Causal)?),
        ("encoder", encoder.forward(x, Mask::Causal)?),
        ("encoder_norm_last", encoder_last.forward(x, Mask::None)?),
        ("decoder", decoder.forward(x, memory, Mask::Causal, Mask::None)?),
        ("decoder_norm_last", decoder_last.forward(x, memory, Mask::None, Mask::None)?),
    ];
    check(cases, 1e-5)
}

#[test]
fn a_cache_gives_what_the_whole_sequence_gives() -> Result<()> {
    let attention = filled(nn::MultiHeadAttention::new(8, 2)?)?;
    let x = fill(&[2, 7, 8], 50, 1.0)?;
    let whole = attention.forward(&x, &x, &x, Mask::Causal)?;
    let mut cache = nn::KvCache::new();
    let inputs = x.split_at(&[4, 5], 1)?;
    let parts: Vec<Array> = inputs
        .iter()
        .map(|part| attention.forward_cached(part, Mask::Causal, &mut cache))
        .collect::<Result<_>>()?;
    let joined = Array::concatenate(&parts, 1)?;
    assert_eq!(cache.len(), 7);
    // The products have other numbers of rows, so their sums may have another order.
    assert!(whole.allclose(&joined, 1e-5, 1e-6, false)?.item::<bool>()?);
    cache.truncate(5);
    let again = attention.forward_cached(&inputs[2], Mask::Causal, &mut cache)?;
    assert!(parts[2].allclose(&again, 1e-5, 1e-6, false)?.item::<bool>()?);
    Ok(())
}

#[test]
fn schedules_equal_mlx() -> Result<()> {
    let linear = Schedule::Linear { init: 0.0, end: 1.0, steps: 10 };
    let table = [
        ("schedule_exponential", Schedule::Exponential { init: 0.5, decay: 0.9 }),
        ("schedule_step", Schedule::Step { init: 0.5, decay: 0.5, size: 4 }),
        ("schedule_cosine", Schedule::Cosine { init: 0.5, end: 0.1, steps: 12 }),
        ("schedule_linear", linear),
        ("schedule_join", Schedule::warmup_cosine(1.0, 0.0, 10, 10)),
        ("schedule_linear", Schedule::custom(|step| (step * 0.1).minimum(&Array::scalar(1.0f32)))),
    ];
    let mut cases = Vec::new();
    for (name, schedule) in table {
        let values = (0..25).map(|step| schedule.value(&Array::scalar(step as f32)));
        cases.push((name, Array::stack(&values.collect::<Result<Vec<_>>>()?, 0)?));
    }
    check(cases, 1e-6)
}

/// Three arrays of the shapes that the rules treat differently.
#[derive(Clone, Module)]
struct Shapes {
    bias: Param,
    conv: Param,
    weight: Param,
}

impl Shapes {
    fn new() -> Result<Shapes> {
        filled(Shapes {
            bias: Array::zeros(&[3], Dtype::F32)?.into(),
            conv: Array::zeros(&[5, 2, 2, 3], Dtype::F32)?.into(),
            weight: Array::zeros(&[4, 3], Dtype::F32)?.into(),
        })
    }

    fn gradients(&self, seed: usize) -> Result<Parameters> {
        let named = self.parameters().into_iter();
        named.map(|(name, p)| Ok((name, fill(p.shape(), seed, 1.0)?))).collect()
    }

    fn joined(&self) -> Result<Array> {
        let flat = self.parameters().into_values().map(|p| p.flatten(0, -1));
        Array::concatenate(&flat.collect::<Result<Vec<_>>>()?, 0)
    }
}

fn three_steps<R: Rule>(rule: R, rate: impl Into<Schedule>) -> Result<Array> {
    let mut optimizer = Optimizer::new(rule, rate);
    let mut model = Shapes::new()?;
    for step in 0..3 {
        let gradients = model.gradients(10 + step)?;
        optimizer.update(&mut model, &gradients)?;
    }
    assert_eq!(optimizer.step().item::<u64>()?, 3);
    model.joined()
}

#[test]
fn optimizers_equal_mlx() -> Result<()> {
    use optim::*;
    let adam = Adam { betas: (0.8, 0.99), bias_correction: true, ..Adam::default() };
    let momentum = Sgd { momentum: 0.9, weight_decay: 0.1, dampening: 0.2, nesterov: false };
    let nesterov = Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() };
    let adamw = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let lion = Lion { weight_decay: 0.1, ..Lion::default() };
    let fixed = Adafactor {
        beta1: Some(0.9),
        weight_decay: 0.1,
        relative_step: false,
        scale_parameter: false,
        ..Adafactor::default()
    };
    let warmup = Adafactor { warmup_init: true, clip_threshold: 0.5, ..Adafactor::default() };
    let plain = Muon { weight_decay: 0.0, nesterov: false, ns_steps: 3, ..Muon::default() };
    let cosine = Schedule::Cosine { init: 0.1, end: 0.0, steps: 4 };
    let cases = vec![
        ("optimizer_sgd", three_steps(Sgd::default(), 0.1)?),
        ("optimizer_sgd_momentum", three_steps(momentum, 0.1)?),
        ("optimizer_sgd_nesterov", three_steps(nesterov, 0.1)?),
        ("optimizer_rmsprop", three_steps(RmsProp::default(), 0.1)?),
        ("optimizer_adagrad", three_steps(Adagrad::default(), 0.1)?),
        ("optimizer_adadelta", three_steps(AdaDelta::default(), 0.1)?),
        ("optimizer_adam", three_steps(Adam::default(), 0.1)?),
        ("optimizer_adam_corrected", three_steps(adam, 0.1)?),
        ("optimizer_adamw", three_steps(adamw, 0.1)?),
        ("optimizer_adamax", three_steps(Adamax::default(), 0.1)?),
        ("optimizer_lion", three_steps(lion, 0.1)?),
        ("optimizer_adafactor", three_steps(Adafactor::default(), 0.0)?),
        ("optimizer_adafactor_fixed", three_steps(fixed, 0.1)?),
        ("optimizer_adafactor_warmup", three_steps(warmup, 0.0)?),
        ("optimizer_muon", three_steps(Muon::default(), 0.1)?),
        ("optimizer_muon_plain", three_steps(plain, 0.1)?),
        ("optimizer_scheduled", three_steps(Adam::default(), cosine)?),
    ];
    // Quotients by roots of small mean squares carry some more rounding.
    check(cases, 3e-5)
}

#[test]
fn clipping_equals_mlx() -> Result<()> {
    let gradients = Shapes::new()?.gradients(10)?;
    let (clipped, norm) = optim::clip_grad_norm(&gradients, 1.5)?;
    let joined = [clipped["weight"].flatten(0, -1)?, norm.reshape(&[1])?];
    check(vec![("clip_grad_norm", Array::concatenate(&joined, 0)?)], 5e-6)
}

/// `logsumexp(z) - sum(p z)` with z = (-1, 0), as MLX computes it.
#[test]
fn cross_entropy_of_targets_that_do_not_sum_to_one() -> Result<()> {
    let logits = Array::from_slice(&[1.0f32, 2.0], &[1, 2])?;
    let targets = Array::from_slice(&[0.5f32, 0.9], &[1, 2])?;
    let loss: f32 = nn::cross_entropy(&logits, &targets, Reduction::Sum)?.item()?;
    assert!((loss - 0.813_261_7).abs() < 1e-6, "{loss}");
    Ok(())
}
