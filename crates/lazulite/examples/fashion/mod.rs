//! What the examples on Fashion-MNIST share: the data, the training loop, the plot of the loss.

use lazulite::nn::{self, Layer, Parameters, Reduction};
use lazulite::optim::{Adam, Optimizer, Schedule};
use lazulite::prelude::*;
use lazulite::{compile, eval, random};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

const BATCH: usize = 128;

/// Images `(n, 28, 28, 1)` of bytes and their labels `(n)`.
pub struct Data {
    images: Array,
    labels: Array,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/fashion-mnist")
}

impl Data {
    /// `train` or `t10k`; `None` if the files are not there.
    pub fn read(part: &str) -> Result<Option<Data>> {
        let path = |kind: &str| folder().join(format!("{part}-{kind}-ubyte"));
        if !path("images-idx3").exists() {
            println!("{} is missing: run `make fashion` first", folder().display());
            return Ok(None);
        }
        let images = idx(&path("images-idx3"))?;
        let images = images.expand_dims(&[-1])?;
        let labels = idx(&path("labels-idx1"))?.astype(Dtype::I32)?;
        eval::eval(&[images.clone(), labels.clone()])?;
        Ok(Some(Data { images, labels }))
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

/// An IDX file of bytes: two zeros, the type 8, the number of axes, their sizes in 32 bits, big end
/// first, and the elements.
fn idx(path: &Path) -> Result<Array> {
    let fault = |why: &dyn std::fmt::Display| Error::io("idx", path.display(), why);
    let bytes = std::fs::read(path).map_err(|error| fault(&error))?;
    let header = bytes.get(..4).filter(|h| h[..3] == [0, 0, 8]);
    let axes = header.map(|h| usize::from(h[3])).ok_or_else(|| fault(&"not bytes in IDX"))?;
    let sizes = bytes.get(4..4 + 4 * axes).ok_or_else(|| fault(&"is cut off"))?;
    let shape: Vec<usize> = sizes
        .chunks_exact(4)
        .map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]) as usize)
        .collect();
    Array::from_slice(&bytes[4 + 4 * axes..], &shape).map_err(|error| error.context(path.display()))
}

/// Rows `ids` as numbers from 0 to 1.
fn batch(images: &Array, ids: &Array) -> Result<Array> {
    Ok(images.take(ids, Some(0))?.astype(Dtype::F32)? / 255.0)
}

/// How much is trained.
pub struct Plan {
    /// Passes over the data.
    pub epochs: usize,
    /// The most steps, for a short run.
    pub most_steps: usize,
}

impl Plan {
    /// `--epochs N` and `--steps N` of the command line.
    pub fn from_args(epochs: usize) -> Plan {
        let args: Vec<String> = std::env::args().collect();
        let value = |name: &str| {
            let place = args.iter().position(|arg| arg == name)?;
            args.get(place + 1)?.parse().ok()
        };
        Plan {
            epochs: value("--epochs").unwrap_or(epochs),
            most_steps: value("--steps").unwrap_or(usize::MAX),
        }
    }
}

impl Plan {
    /// True iff fewer steps were asked for than there are.
    pub fn is_short(&self) -> bool {
        self.most_steps < usize::MAX
    }
}

/// What came of it.
pub struct Outcome {
    /// The loss of every step.
    pub losses: Vec<f32>,
    /// The share of unseen images that are recognised.
    pub accuracy: f32,
}

/// Trains with Adam and a cosine down from 2e-3. The whole step is compiled: it takes the model, the
/// optimiser and the numbers of a batch, and returns them changed.
pub fn train<M: Layer>(name: &str, mut model: M, plan: &Plan) -> Result<Option<Outcome>> {
    let (Some(data), Some(test)) = (Data::read("train")?, Data::read("t10k")?) else {
        return Ok(None);
    };
    let steps = plan.most_steps.min(plan.epochs * (data.len() / BATCH));
    let rate = Schedule::Cosine { init: 2e-3, end: 1e-5, steps: steps as u64 };
    let adam = Adam { bias_correction: true, ..Adam::default() };
    let mut optimizer = Optimizer::new(adam, rate);
    optimizer.init(&model)?;
    let step =
        compile(|(mut model, mut optimizer, images, labels, ids): (M, _, Array, Array, Array)| {
            let (x, y) = (batch(&images, &ids)?, labels.take(&ids, Some(0))?);
            let (loss, gradients): (Array, Parameters) = nn::value_and_grad(&mut model, |model| {
                nn::cross_entropy(&model.call(&x)?, &y, Reduction::Mean)
            })?;
            Optimizer::update(&mut optimizer, &mut model, &gradients)?;
            Ok((model, optimizer, loss))
        });
    println!("{name}: {} parameters, {steps} steps of {BATCH} images", model.num_parameters());
    let mut outcome = Outcome { losses: Vec::new(), accuracy: 0.0 };
    let mut times = Vec::new();
    for epoch in 1..=plan.epochs {
        let begin = outcome.losses.len();
        let order = random::permutation(data.len(), None)?;
        order.eval()?;
        for i in 0..(data.len() / BATCH).min(steps - begin) {
            let ids = order.slice(&[(i * BATCH) as i64], &[((i + 1) * BATCH) as i64], &[1])?;
            let start = Instant::now();
            let (images, labels) = (data.images.clone(), data.labels.clone());
            let loss;
            (model, optimizer, loss) = step((model, optimizer, images, labels, ids))?;
            let mut all = lazulite::Tree::leaves(&(model.clone(), optimizer.clone()));
            all.push(loss.clone());
            eval::eval(&all)?;
            times.push(start.elapsed().as_secs_f64());
            outcome.losses.push(loss.item::<f32>()?);
        }
        let losses = &outcome.losses[begin..];
        if losses.is_empty() {
            break;
        }
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        let seen = if plan.is_short() { 1000 } else { test.len() };
        outcome.accuracy = accuracy(&mut model, &test, seen)?;
        println!(
            "epoch {epoch:2}  loss {mean:.4}  test accuracy {:.4}  {:.2} ms a step",
            outcome.accuracy,
            median(&times) * 1e3
        );
    }
    println!("{}", sparkline(&outcome.losses));
    if !plan.is_short() {
        let path = folder().join(format!("{name}-loss.svg"));
        std::fs::write(&path, plot(&outcome.losses))
            .map_err(|error| Error::io("plot", path.display(), error))?;
        println!("the loss of every step: {}", path.display());
    }
    Ok(Some(outcome))
}

/// The share of the first `count` images, whole thousands, that the model recognises.
fn accuracy<M: Layer>(model: &mut M, test: &Data, count: usize) -> Result<f32> {
    model.train(false);
    let mut right = 0.0;
    for start in (0..count).step_by(1000) {
        let ids = Array::iota(start as f64, 1.0, 1000, Dtype::I32)?;
        let scores = model.call(&batch(&test.images, &ids)?)?;
        let hits = scores.argmax(Some(-1), false)?.equal(&test.labels.take(&ids, Some(0))?)?;
        right += hits.astype(Dtype::F32)?.sum(None, false)?.item::<f32>()?;
    }
    model.train(true);
    Ok(right / count as f32)
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The means of up to `n` equal parts.
fn means(losses: &[f32], n: usize) -> Vec<f32> {
    let size = losses.len().div_ceil(n).max(1);
    losses.chunks(size).map(|part| part.iter().sum::<f32>() / part.len() as f32).collect()
}

/// The course of the losses in one line.
fn sparkline(losses: &[f32]) -> String {
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let parts = means(losses, 72);
    let most = parts.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    parts.iter().map(|loss| bars[((loss / most * 7.99) as usize).min(7)]).collect()
}

/// The losses as an SVG: every step in grey, means of 1/60 of all steps in blue.
fn plot(losses: &[f32]) -> String {
    let (width, height, edge) = (640.0f32, 360.0f32, 40.0f32);
    let most = losses.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let line = |values: &[f32], colour: &str| {
        let last = (values.len().max(2) - 1) as f32;
        let mut points = String::new();
        for (i, value) in values.iter().enumerate() {
            let x = edge + (width - 2.0 * edge) * i as f32 / last;
            let y = height - edge - (height - 2.0 * edge) * value / most;
            // Writing to a string does not fail.
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        format!("<polyline points='{points}' fill='none' stroke='{colour}'/>\n")
    };
    let (right, bottom) = (width - edge, height - edge);
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' \
         font-family='sans-serif' font-size='12'>\n\
         <rect width='100%' height='100%' fill='white'/>\n{}{}\
         <path d='M{edge} {edge}V{bottom}H{right}' fill='none' stroke='black'/>\n\
         <text x='4' y='{edge}'>{most:.2}</text><text x='4' y='{bottom}'>0</text>\n\
         <text x='{right}' y='{}' text-anchor='end'>step {}</text>\n</svg>\n",
        line(losses, "lightgrey"),
        line(&means(losses, 60), "steelblue"),
        bottom + 18.0,
        losses.len()
    )
}
