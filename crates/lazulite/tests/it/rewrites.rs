//! Every rule of the planner: that it applies, that it keeps values, and gradients through it.
//! The other side of each comparison is the same function with every op a step of its own.

use lazulite::fft;
use lazulite::plan::{explain, without_rules};
use lazulite::prelude::*;
use lazulite::quantized::{QuantFormat, QuantMode};
use lazulite::random;
use lazulite::transform::{grad, vjp_arrays};

pub(crate) type Inputs = Vec<Array>;
pub(crate) type Body = fn(&[Array]) -> Result<Array>;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The rule that must show in the plan.
    pub(crate) rule: &'static str,
    pub(crate) inputs: fn() -> Result<Inputs>,
    pub(crate) body: Body,
    /// The greatest difference, relative to the largest value.
    pub(crate) tolerance: f64,
}

pub(crate) fn normal(shape: &[usize], seed: u64) -> Result<Array> {
    let x = random::normal(shape, Dtype::F32, None, None, Some(&random::key(seed)?))?;
    x.eval()?;
    Ok(x)
}

fn difference(a: &Array, b: &Array) -> Result<f64> {
    assert_eq!((a.shape(), a.dtype()), (b.shape(), b.dtype()));
    let wide = |x: &Array| x.astype(Dtype::F64)?.to_vec::<f64>();
    let (a, b) = (wide(a)?, wide(b)?);
    let scale = b.iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    Ok(a.iter().zip(&b).map(|(x, y)| (x - y).abs() / scale).fold(0.0, f64::max))
}

pub(crate) fn check(case: &Case) -> Result<()> {
    let inputs = (case.inputs)()?;
    let plan = explain(&[(case.body)(&inputs)?])?;
    assert!(plan.contains(&format!("[{}]", case.rule)), "{}:\n{plan}", case.name);
    let run = || -> Result<Array> {
        let y = (case.body)(&inputs)?;
        y.eval()?;
        Ok(y)
    };
    let (with, without) = (run()?, without_rules(run)?);
    let off = difference(&with, &without)?;
    assert!(off <= case.tolerance, "{}: values differ by {off:.1e}\n{plan}", case.name);
    let compiled = {
        let body = case.body;
        lazulite::transform::compile(move |x: Inputs| body(&x))(inputs.clone())?
    };
    assert_eq!(difference(&compiled, &with)?, 0.0, "{}: compiled differs", case.name);

    let floats: Vec<usize> =
        (0..inputs.len()).filter(|&i| inputs[i].dtype() == Dtype::F32).collect();
    let slope = || -> Result<Inputs> {
        let primals: Inputs = floats.iter().map(|&i| inputs[i].clone()).collect();
        let f = |x: &[Array]| {
            let mut all = inputs.clone();
            floats.iter().zip(x).for_each(|(&i, x)| all[i] = x.clone());
            Ok(vec![(case.body)(&all)?.square()?.sum(None, false)?])
        };
        let (_, out) = vjp_arrays(f, &primals, |y| Ok(vec![y[0].ones_like()?]))?;
        out.iter().try_for_each(Array::eval)?;
        Ok(out)
    };
    for (i, (with, without)) in slope()?.iter().zip(&without_rules(slope)?).enumerate() {
        let off = difference(with, without)?;
        assert!(off <= 10.0 * case.tolerance, "{}: gradient {i} differs by {off:.1e}", case.name);
    }
    Ok(())
}

/// Sums of some tens of float32 products in different orders.
pub(crate) const SUMS: f64 = 2e-6;

fn packed(x: &[usize]) -> Result<Inputs> {
    let q = normal(&[48, 128], 1)?.quantize(format()?)?;
    lazulite::eval::eval(&q)?;
    let mut all = vec![normal(x, 2)?];
    all.extend(q);
    Ok(all)
}

fn format() -> Result<QuantFormat> {
    QuantFormat::new(QuantMode::Affine, Some(64), Some(4))
}

fn dense(i: &[Array]) -> Result<Array> {
    i[1].dequantize(&i[2], Some(&i[3]), format()?, None)
}

#[test]
fn dequantised_products_read_packed_weights() -> Result<()> {
    let cases = [
        Case {
            name: "x @ w.T",
            rule: "quantized_product",
            inputs: || packed(&[5, 128]),
            body: |i| i[0].matmul(&dense(i)?.t()?),
            tolerance: SUMS,
        },
        Case {
            name: "x @ w",
            rule: "quantized_product",
            inputs: || packed(&[5, 48]),
            body: |i| i[0].matmul(&dense(i)?),
            tolerance: SUMS,
        },
        Case {
            name: "w @ x",
            rule: "quantized_product",
            inputs: || packed(&[128, 3]),
            body: |i| dense(i)?.matmul(&i[0]),
            tolerance: SUMS,
        },
        Case {
            name: "w.T @ x",
            rule: "quantized_product",
            inputs: || packed(&[48, 3]),
            body: |i| dense(i)?.t()?.matmul(&i[0]),
            tolerance: SUMS,
        },
        Case {
            name: "a vector, with bias",
            rule: "quantized_product",
            inputs: || packed(&[128]),
            body: |i| Ok(i[0].matmul(&dense(i)?.t()?)? + 1.0),
            tolerance: SUMS,
        },
    ];
    cases.iter().try_for_each(check)
}

fn qkv(q: &[usize], k: &[usize]) -> Result<Inputs> {
    Ok(vec![normal(q, 1)?, normal(k, 2)?, normal(k, 3)?])
}

fn softmax(s: &Array) -> Result<Array> {
    let e = (s - s.max(Some(&[-1]), true)?).exp()?;
    Ok(&e / e.sum(Some(&[-1]), true)?)
}

fn scores(q: &Array, k: &Array) -> Result<Array> {
    q.matmul(&k.swapaxes(-1, -2)?)
}

/// True where query i of t may see key j of s.
fn seen(t: usize, s: usize) -> Result<Array> {
    Array::tri(t, s, s as i64 - t as i64, Dtype::Bool)
}

#[test]
fn attention_by_hand_is_the_fused_step() -> Result<()> {
    let case = |name, inputs, body| Case { name, rule: "attention", inputs, body, tolerance: SUMS };
    let cases = [
        case(
            "scale after",
            || qkv(&[2, 3, 5, 16], &[2, 3, 7, 16]),
            |i| softmax(&(scores(&i[0], &i[1])? * 0.25))?.matmul(&i[2]),
        ),
        case(
            "divided by a root, softmax called",
            || qkv(&[2, 3, 5, 16], &[2, 3, 7, 16]),
            |i| (scores(&i[0], &i[1])? / 4.0).softmax(Some(&[-1]), true)?.matmul(&i[2]),
        ),
        case(
            "scale before",
            || qkv(&[2, 3, 5, 16], &[2, 3, 7, 16]),
            |i| softmax(&scores(&(&i[0] * 0.25), &i[1])?)?.matmul(&i[2]),
        ),
        case(
            "no scale, no maximum",
            || qkv(&[1, 2, 5, 8], &[1, 2, 7, 8]),
            |i| {
                let e = scores(&i[0], &i[1])?.exp()?;
                (&e / e.sum(Some(&[-1]), true)?).matmul(&i[2])
            },
        ),
        case(
            "an added mask",
            || qkv(&[2, 3, 7, 16], &[2, 3, 7, 16]),
            |i| {
                let mask = seen(7, 7)?.select(&Array::scalar(0.0f32), &Array::scalar(-1e9f32))?;
                softmax(&(scores(&i[0], &i[1])? * 0.25 + mask))?.matmul(&i[2])
            },
        ),
        case(
            "a mask before the scale",
            || qkv(&[1, 1, 4, 8], &[1, 1, 6, 8]),
            |i| {
                let mask = seen(4, 6)?.select(&Array::scalar(0.0f32), &Array::scalar(-50.0f32))?;
                softmax(&((mask + scores(&i[0], &i[1])?) * 0.5))?.matmul(&i[2])
            },
        ),
        case(
            "where",
            || qkv(&[2, 3, 5, 16], &[2, 3, 7, 16]),
            |i| {
                let hidden = Array::scalar(f32::NEG_INFINITY);
                let s = seen(5, 7)?.select(&(scores(&i[0], &i[1])? * 0.25), &hidden)?;
                softmax(&s)?.matmul(&i[2])
            },
        ),
        case(
            "where not, finite",
            || qkv(&[2, 3, 5, 16], &[2, 3, 7, 16]),
            |i| {
                let hidden = seen(5, 7)?.logical_not()?;
                let s = hidden.select(&Array::scalar(-1e4f32), &(scores(&i[0], &i[1])? * 0.25))?;
                softmax(&s)?.matmul(&i[2])
            },
        ),
        case(
            "heads grouped by repeat",
            || qkv(&[2, 6, 5, 16], &[2, 3, 7, 16]),
            |i| {
                let (k, v) = (i[1].repeat(2, Some(1))?, i[2].repeat(2, Some(1))?);
                softmax(&(scores(&i[0], &k)? * 0.25))?.matmul(&v)
            },
        ),
        case(
            "heads grouped by an axis",
            || qkv(&[2, 6, 5, 16], &[2, 3, 7, 16]),
            |i| {
                let q = i[0].reshape(&[2, 3, 2, 5, 16])?;
                let (k, v) = (i[1].expand_dims(&[2])?, i[2].expand_dims(&[2])?);
                softmax(&(scores(&q, &k)? * 0.25))?.matmul(&v)?.reshape(&[2, 6, 5, 16])
            },
        ),
        case(
            "one head",
            || qkv(&[2, 5, 16], &[2, 7, 16]),
            |i| softmax(&(scores(&i[0], &i[1])? * 0.25))?.matmul(&i[2]),
        ),
        case(
            "matrices",
            || qkv(&[5, 16], &[7, 16]),
            |i| {
                softmax(&(scores(&i[0], &i[1])? * 0.25 + seen(5, 7)?.astype(Dtype::F32)?))?
                    .matmul(&i[2])
            },
        ),
    ];
    cases.iter().try_for_each(check)
}

#[test]
fn attention_in_half_types_is_no_worse() -> Result<()> {
    let i = qkv(&[2, 3, 5, 16], &[2, 3, 7, 16])?;
    let exact = softmax(&(scores(&i[0], &i[1])? * 0.25))?.matmul(&i[2])?;
    for dtype in [Dtype::F16, Dtype::BF16] {
        let h = i.iter().map(|x| x.astype(dtype)).collect::<Result<Vec<_>>>()?;
        let body = || {
            let s = (scores(&h[0], &h[1])? * 0.25).astype(Dtype::F32)?;
            softmax(&s)?.astype(dtype)?.matmul(&h[2])
        };
        let y = body()?;
        let plan = explain(std::slice::from_ref(&y))?;
        assert!(plan.contains("[attention]"), "{plan}");
        let (with, without) = (
            difference(&y.astype(Dtype::F32)?, &exact)?,
            without_rules(|| difference(&body()?.astype(Dtype::F32)?, &exact))?,
        );
        assert!(with <= without * 1.05, "{dtype}: {with:.1e} against {without:.1e}");
    }
    Ok(())
}

fn row(x: &Array, i: i64) -> Result<Array> {
    x.at(i)
}

fn loss(w: &Array, x: &Array, y: &Array) -> Result<Array> {
    (x.matmul(w)?.tanh()? - y).square()?.mean(None, false)
}

fn each(i: &[Array], f: fn(&[Array], i64) -> Result<Array>) -> Result<Vec<Array>> {
    (0..i[1].shape()[0] as i64).map(|j| f(i, j)).collect()
}

/// The gradient of the loss of each item.
fn gradients(i: &[Array]) -> Result<Vec<Array>> {
    each(i, |i, j| {
        let (x, y) = (row(&i[1], j)?, row(&i[2], j)?);
        grad(move |w: Array| loss(&w, &x, &y))(i[0].clone())
    })
}

#[test]
fn loops_over_items_are_batches() -> Result<()> {
    fn wxy() -> Result<Inputs> {
        Ok(vec![normal(&[12, 12], 1)?, normal(&[9, 12], 2)?, normal(&[9, 12], 3)?])
    }
    let case = |name, rule, body| Case { name, rule, inputs: wxy, body, tolerance: SUMS };
    let cases = [
        case("stacked losses", "batch_loop", |i| {
            Array::stack(&each(i, |i, j| loss(&i[0], &row(&i[1], j)?, &row(&i[2], j)?))?, 0)
        }),
        case("rows joined along the last axis", "batch_loop", |i| {
            let rows = each(i, |i, j| row(&i[1], j)?.matmul(&i[0])?.sin()?.reshape(&[3, 4]))?;
            Array::concatenate(&rows, 1)
        }),
        case("every other column", "batch_loop", |i| {
            let columns: Vec<Array> = (0..6)
                .map(|j| i[1].slice(&[0, 2 * j], &[9, 2 * j + 1], &[1, 1])?.exp()?.sum(None, false))
                .collect::<Result<_>>()?;
            Array::stack(&columns, 0)
        }),
        case("a factor of each item's own", "batch_loop", |i| {
            let rows = each(i, |i, j| (row(&i[1], j)? * (j as f64 + 0.5)).exp())?;
            Array::stack(&rows, 1)
        }),
        case("gradients", "batch_loop", |i| Array::stack(&gradients(i)?, 0)),
        case("a sum of losses", "batch_sum", |i| {
            let losses = each(i, |i, j| loss(&i[0], &row(&i[1], j)?, &row(&i[2], j)?))?;
            losses.iter().try_fold(Array::scalar(0.0f32), |sum, x| Ok(sum + x))
        }),
    ];
    cases.iter().try_for_each(check)?;
    // What all items share is not copied for each of them.
    let all = Array::stack(&gradients(&wxy()?)?, 0)?;
    let plan = explain(&[all])?;
    assert!(plan.contains("[batch_loop]") && !plan.contains("concatenate"), "{plan}");
    Ok(())
}

/// The values of a program's results, with all rules and with none, and its plan.
struct Both {
    got: Vec<Vec<f32>>,
    want: Vec<Vec<f32>>,
    plan: String,
}

fn both(program: impl Fn() -> Result<Inputs>) -> Result<Both> {
    let run = || -> Result<Vec<Vec<f32>>> {
        let out = program()?;
        lazulite::eval::eval(&out)?;
        out.iter().map(Array::to_vec).collect()
    };
    Ok(Both { got: run()?, want: without_rules(run)?, plan: explain(&program()?)? })
}

fn assert_close(name: &str, Both { got, want, plan }: &Both) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        let off = got.iter().zip(want).fold(0.0, |m, (g, w)| f32::max(m, (g - w).abs() / scale));
        assert!(f64::from(off) <= SUMS, "{name}: result {i} differs by {off:.1e}\n{plan}");
    }
}

#[test]
fn items_that_are_kept_are_parts_of_a_batch() -> Result<()> {
    type Program = fn(&[Array]) -> Result<Inputs>;
    let losses: Program = |i| each(i, |i, j| loss(&i[0], &row(&i[1], j)?, &row(&i[2], j)?));
    let hidden: Program = |i| each(i, |i, j| row(&i[1], j)?.matmul(&i[0])?.tanh());
    let programs: [(&str, &str, Program); 7] = [
        ("losses", "batch_items", losses),
        ("gradients", "batch_items", gradients),
        ("hidden states", "batch_items", hidden),
        ("hidden states and what is made of them", "batch_items", |i| {
            let h = each(i, |i, j| row(&i[1], j)?.matmul(&i[0])?.tanh())?;
            let y = h.iter().map(|h| h.exp()?.sum(None, false)).collect::<Result<Inputs>>()?;
            Ok([h, y].concat())
        }),
        ("a kept list and its stack", "batch_loop", |i| {
            let mut all = each(i, |i, j| loss(&i[0], &row(&i[1], j)?, &row(&i[2], j)?))?;
            all.push(Array::stack(&all, 0)?);
            Ok(all)
        }),
        ("a kept list and its sum", "batch_sum", |i| {
            let mut all = each(i, |i, j| loss(&i[0], &row(&i[1], j)?, &row(&i[2], j)?))?;
            all.push(all.iter().try_fold(Array::scalar(0.0f32), |sum, x| Ok::<_, Error>(sum + x))?);
            Ok(all)
        }),
        ("the last item's parts are kept, as a loop's variables are", "batch_loop", |i| {
            let mut kept = Vec::new();
            let losses = each(i, |i, j| {
                let (x, y) = (row(&i[1], j)?, row(&i[2], j)?);
                loss(&i[0], &x, &y)
            })?;
            for j in 0..9 {
                let (x, y) = (row(&i[1], j)?, row(&i[2], j)?);
                let h = x.matmul(&i[0])?;
                kept = vec![x, y, h.clone(), h.tanh()?];
            }
            kept.push(Array::stack(&losses, 0)?);
            Ok(kept)
        }),
    ];
    let inputs = vec![normal(&[12, 12], 1)?, normal(&[9, 12], 2)?, normal(&[9, 12], 3)?];
    for (name, rule, program) in programs {
        let found = both(|| program(&inputs))?;
        assert!(found.plan.contains(&format!("[{rule}]")), "{name}:\n{}", found.plan);
        assert_close(name, &found);
    }
    // The loop's last variables are views of the batch that the stack is made of.
    let held = || -> Result<Inputs> {
        let (mut all, mut last) = (Vec::new(), Vec::new());
        for j in 0..9 {
            let h = row(&inputs[1], j)?.matmul(&inputs[0])?;
            let y = h.tanh()?;
            all.push(y.sum(None, false)?);
            last = vec![h, y];
        }
        last.push(Array::stack(&all, 0)?);
        Ok(last)
    };
    let found = both(held)?;
    assert_eq!(found.plan.matches("= matmul(").count(), 1, "{}", found.plan);
    assert_close("variables of a loop", &found);
    Ok(())
}

#[test]
fn items_with_nothing_in_common_stay_apart() -> Result<()> {
    // Updates of eight arrays by eight others are no loop over the parts of one thing.
    let arrays: Inputs = (0..16).map(|i| normal(&[6], i)).collect::<Result<_>>()?;
    let update =
        || -> Result<Inputs> { arrays.chunks(2).map(|a| Ok(&a[0] - &a[1] * 0.1)).collect() };
    let found = both(update)?;
    assert!(!found.plan.contains("[batch_items]"), "{}", found.plan);
    // Items that are large are computed one by one, so that each can be let go.
    let x = normal(&[4, 1 << 15], 1)?;
    let found = both(|| (0..4).map(|i| row(&x, i)?.sin()).collect())?;
    assert!(!found.plan.contains("[batch_items]"), "{}", found.plan);
    Ok(())
}

#[test]
fn kept_states_that_need_each_other_are_computed_in_turn() -> Result<()> {
    // A Fourier transform is no part of a batch, so the walk over the items ends there.
    let x = normal(&[8], 1)?;
    let program = || -> Result<Inputs> {
        let mut states = vec![x.tanh()?];
        for i in 0..5 {
            let y = fft::fft(&states[i], None, -1, fft::Norm::Backward)?;
            states.push(y.real()?.tanh()?);
        }
        states.push(Array::stack(&states, 0)?);
        Ok(states)
    };
    let found = both(program)?;
    assert!(!found.plan.contains("[batch"), "{}", found.plan);
    assert_close("states", &found);
    Ok(())
}

#[test]
fn a_softmax_by_hand_divides_once_for_each_row() -> Result<()> {
    let x = normal(&[6, 40], 1)? * 3.0;
    x.eval()?;
    let plan = explain(&[softmax(&x)?])?;
    assert!(plan.contains("reciprocal") && !plan.contains("divide"), "{plan}");
    let one = without_rules(|| -> Result<Array> {
        let y = softmax(&x)?;
        y.eval()?;
        Ok(y)
    })?;
    // Reciprocal, product and quotient round by half a unit each; the sums of 40 terms may join in
    // another order.
    let (a, b) = (softmax(&x)?.to_vec::<f32>()?, one.to_vec::<f32>()?);
    let off = |(a, b): (&f32, &f32)| (a - b).abs() / (b * f32::EPSILON);
    assert!(a.iter().zip(&b).map(off).fold(0.0, f32::max) <= 6.0);
    // A sum that may be as small as the least numbers has no reciprocal.
    let e = x.exp()?;
    let plan = explain(&[&e / e.sum(Some(&[-1]), true)?])?;
    assert!(plan.contains("divide"), "{plan}");
    Ok(())
}

#[test]
fn siblings_and_values_computed_again_are_equal() -> Result<()> {
    let x = normal(&[5, 7, 33], 1)?;
    let h = x.astype(Dtype::F16)?;
    h.eval()?;
    type Program = fn(&Array) -> Result<Inputs>;
    let programs: [Program; 4] = [
        |x| {
            Ok(vec![
                x.sum(Some(&[-1]), true)?,
                x.max(Some(&[-1]), true)?,
                x.min(Some(&[-1]), false)?,
            ])
        },
        |x| {
            Ok(vec![
                x.sin()?,
                x.cos()? * 2.0,
                x.mean(Some(&[1]), false)?,
                x.var(Some(&[1]), false, 0)?,
            ])
        },
        |x| {
            let wide = x.astype(Dtype::F32)?;
            let top = wide.max(Some(&[0]), true)?;
            Ok(vec![wide.sum(Some(&[1]), true)?, (&wide - top).exp()?, wide.swapaxes(0, 1)?.sin()?])
        },
        |x| {
            let twice = x * 2.0;
            Ok(vec![
                twice.sum(Some(&[1]), true)?,
                twice.sum(Some(&[2]), true)?,
                (&twice + x).sin()?,
            ])
        },
    ];
    for (i, program) in programs.iter().enumerate() {
        for x in [&x, &h] {
            let run = || -> Result<Vec<Array>> {
                let out = program(x)?;
                lazulite::eval::eval(&out)?;
                Ok(out)
            };
            for (a, b) in run()?.iter().zip(&without_rules(run)?) {
                // Half types round once in a fused step and after each op without.
                let tolerance = if x.dtype() == Dtype::F16 { 4e-3 } else { 1e-6 };
                assert!(difference(a, b)? <= tolerance, "program {i}, {}", x.dtype());
            }
        }
    }
    Ok(())
}

#[test]
fn chains_stay_chains() -> Result<()> {
    // Each state needs the one before it.
    let (w, x) = (normal(&[8, 8], 1)?, normal(&[1, 8], 2)?);
    let mut states = vec![x];
    for _ in 0..6 {
        states.push(states[states.len() - 1].matmul(&w)?.tanh()?);
    }
    let y = Array::concatenate(&states[1..], 0)?;
    drop(states);
    let plan = explain(std::slice::from_ref(&y))?;
    assert!(!plan.contains("[batch_loop]"), "{plan}");
    Ok(())
}

#[test]
fn logarithms_of_softmaxes_need_no_division() -> Result<()> {
    fn x() -> Result<Inputs> {
        let x = normal(&[6, 40], 1)? * 3.0;
        x.eval()?;
        Ok(vec![x])
    }
    fn targets(rows: usize) -> Result<Array> {
        let places: Vec<i32> = (0..rows as i32).map(|i| i * 7 % 40).collect();
        Array::from_slice(&places, &[rows, 1])
    }
    let case = |name, rule, body| Case { name, rule, inputs: x, body, tolerance: SUMS };
    let cases = [
        case("called", "log_softmax", |i| i[0].softmax(Some(&[-1]), false)?.log()),
        case("over columns", "log_softmax", |i| i[0].softmax(Some(&[0]), false)?.log()),
        case("by hand", "log_softmax", |i| softmax(&i[0])?.log()),
        case("without the maximum", "log_softmax", |i| {
            let e = i[0].exp()?;
            (&e / e.sum(Some(&[-1]), true)?).log()
        }),
        case("picked", "pick", |i| {
            let p = i[0].softmax(Some(&[-1]), false)?.log()?.negative()?;
            p.take_along_axis(&targets(6)?, Some(-1))?.mean(None, false)
        }),
        case("picked logarithms", "pick", |i| {
            i[0].softmax(Some(&[-1]), false)?.log()?.take_along_axis(&targets(6)?, Some(-1))
        }),
        case("picked, and needed otherwise", "pick", |i| {
            let p = softmax(&i[0])?;
            let all = (&p * 2.0).sum(Some(&[-1]), true)?;
            Ok(p.take_along_axis(&targets(6)?, Some(-1))? + all)
        }),
        case("picked of a chain", "pick", |i| {
            let y = (&i[0] * 2.0).sin()? + i[0].max(Some(&[1]), true)?;
            y.take_along_axis(&targets(6)?, Some(1))
        }),
    ];
    cases.iter().try_for_each(check)?;
    // Where a probability underflows, its logarithm does not.
    let x = Array::from_slice(&[0.0f32, -200.0], &[2])?;
    assert_eq!(x.softmax(None, false)?.log()?.to_vec::<f32>()?, [0.0, -200.0]);
    // Of a half type, the logarithm is that of the probability before it was rounded.
    let h = normal(&[4, 64], 3)?.astype(Dtype::F16)?;
    let y = h.softmax(Some(&[-1]), false)?.log()?;
    let exact = h.astype(Dtype::F32)?.softmax(Some(&[-1]), false)?.log()?;
    assert_eq!(y.dtype(), Dtype::F16);
    assert!(difference(&y.astype(Dtype::F32)?, &exact)? <= 5e-4);
    Ok(())
}

/// What rules made of a graph is kept; the next one with other values must not get it.
#[test]
fn what_rules_made_is_used_for_equal_values_only() -> Result<()> {
    let x = normal(&[12, 5], 1)?;
    let wide = normal(&[12, 9], 2)?;
    for (factor, rows, x) in [
        (2.0, 0, &x),
        (2.0, 0, &x),
        (3.0, 0, &x),
        (2.0, 4, &x),
        (2.0, 0, &wide),
        (2.0, 0, &x),
        (3.0, 0, &x),
        (f64::NAN, 2, &wide),
    ] {
        let body = || -> Result<Array> {
            let all = (0..4).map(|j| (row(x, rows + j)? * factor).exp()?.sum(None, false));
            Ok(Array::stack(&all.collect::<Result<Vec<_>>>()?, 0)? * factor)
        };
        let want = without_rules(|| -> Result<Vec<f32>> { body()?.to_vec() })?;
        let got = body()?.to_vec::<f32>()?;
        for (g, w) in got.iter().zip(&want) {
            let close = (g - w).abs() <= 2e-6 * w.abs() || (g.is_nan() && w.is_nan());
            assert!(close, "{factor} {rows} {:?}: {g} and {w}", x.shape());
        }
    }
    Ok(())
}

#[test]
fn other_slices_are_other_batches() -> Result<()> {
    // One structure, whose plan is kept; the rows are consecutive, reversed, and then in no order.
    let x = normal(&[9, 12], 1)?;
    let orders = [[0i64, 1, 2, 3], [8, 6, 4, 2], [5, 0, 7, 1], [3, 3, 3, 3], [1, 2, 3, 4]];
    for rows in orders.iter().flat_map(|rows| [rows, rows]) {
        let body = || -> Result<Array> {
            let all = rows.iter().map(|&j| row(&x, j)?.exp()?.sum(None, false));
            Array::stack(&all.collect::<Result<Vec<_>>>()?, 0)
        };
        let want = without_rules(|| -> Result<Vec<f32>> { body()?.to_vec() })?;
        let got = body()?.to_vec::<f32>()?;
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() <= 2e-6 * w.abs(), "{rows:?}: {g} and {w}");
        }
    }
    Ok(())
}

#[test]
fn held_parts_get_their_values() -> Result<()> {
    // The weights are wanted too, so they are computed, and the rule does not apply.
    let i = qkv(&[1, 2, 5, 8], &[1, 2, 7, 8])?;
    let weights = softmax(&scores(&i[0], &i[1])?)?;
    let y = weights.matmul(&i[2])?;
    y.eval()?;
    assert!(weights.is_evaluated());
    let again = weights.matmul(&i[2])?;
    assert!(difference(&y, &again)? <= SUMS);
    Ok(())
}
