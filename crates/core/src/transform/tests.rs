//! Transforms on graphs that a small interpreter evaluates in double precision: no device is
//! needed, and the interpreter knows nothing of plans.

use super::trace::outputs_of;
use super::*;
use crate::array::NodeRef;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::op::{BinaryOp, Primitive, ReduceOp, UnaryOp};
use crate::shape::{Layout, contiguous_strides};
use rustc_hash::FxHashMap;

/// The elements of arrays, row-major, by the arrays' numbers.
type Values = FxHashMap<usize, Vec<f64>>;

/// A leaf with values that only the interpreter knows, and the values' table.
#[derive(Default)]
struct Bench {
    values: Values,
    leaves: Vec<Array>,
}

impl Bench {
    fn leaf(&mut self, shape: &[usize], data: &[f64]) -> Array {
        let aval = Aval::new(shape, Dtype::F64);
        let x = Array::apply(Placeholder { aval }, &[]).unwrap();
        self.values.insert(x.id(), data.to_vec());
        self.leaves.push(x.clone());
        x
    }

    fn scalar(&mut self, x: f64) -> Array {
        self.leaf(&[], &[x])
    }

    /// The elements of `x`.
    fn get(&self, x: &Array) -> Vec<f64> {
        let mut values = self.values.clone();
        let mut stack = vec![x.node.clone()];
        while let Some(node) = stack.last().cloned() {
            let first = outputs_of(&node)[0].id();
            let missing: Vec<_> = (node.inputs().iter())
                .filter(|x| !values.contains_key(&x.id()))
                .map(|x| x.node.clone())
                .collect();
            if values.contains_key(&first) {
                stack.pop();
            } else if missing.is_empty() {
                interpret(&node, &mut values);
                stack.pop();
            } else {
                stack.extend(missing);
            }
        }
        values[&x.id()].clone()
    }
}

/// The elements that `layout` picks, in row-major order.
fn pick(data: &[f64], layout: &Layout) -> Vec<f64> {
    let strides = contiguous_strides(&layout.shape);
    (0..layout.len() as isize)
        .map(|i| {
            let mut at = layout.offset as isize;
            for (a, &n) in layout.shape.iter().enumerate() {
                at += (i / strides[a]) % n as isize * layout.strides[a];
            }
            data[at as usize]
        })
        .collect()
}

fn unary(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Square => x * x,
        UnaryOp::Negative => -x,
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Reciprocal => 1.0 / x,
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign => x.signum(),
        other => panic!("the interpreter lacks {}", other.name()),
    }
}

fn binary(op: BinaryOp, x: f64, y: f64) -> f64 {
    match op {
        BinaryOp::Add => x + y,
        BinaryOp::Subtract => x - y,
        BinaryOp::Multiply => x * y,
        BinaryOp::Divide => x / y,
        BinaryOp::Maximum => x.max(y),
        BinaryOp::Greater => f64::from(x > y),
        BinaryOp::LessEqual => f64::from(x <= y),
        BinaryOp::Equal => f64::from(x == y),
        other => panic!("the interpreter lacks {}", other.name()),
    }
}

fn interpret(node: &NodeRef, values: &mut Values) {
    let inputs = node.inputs();
    let outputs = outputs_of(node);
    let shape = outputs[0].shape().to_vec();
    let spread = |i: usize| -> Vec<f64> {
        let x = &inputs[i];
        pick(&values[&x.id()], &Layout::contiguous(x.shape()).broadcast_to(&shape))
    };
    let result = match &node.op {
        Primitive::Scalar(v) => vec![v.to_f64()],
        Primitive::Unary(op) => spread(0).into_iter().map(|x| unary(*op, x)).collect(),
        Primitive::Binary(op) => {
            spread(0).into_iter().zip(spread(1)).map(|(x, y)| binary(*op, x, y)).collect()
        }
        Primitive::Select(_) => {
            let (c, a, b) = (spread(0), spread(1), spread(2));
            (0..c.len()).map(|i| if c[i] != 0.0 { a[i] } else { b[i] }).collect()
        }
        Primitive::Reduce(op) => {
            let x = &inputs[0];
            let mut order: Vec<usize> = (0..x.ndim()).filter(|a| !op.axes.contains(a)).collect();
            order.extend_from_slice(&op.axes);
            let moved = pick(&values[&x.id()], &Layout::contiguous(x.shape()).transpose(&order));
            let join: fn(f64, f64) -> f64 = match op.op {
                ReduceOp::Sum => |a, b| a + b,
                ReduceOp::Max => f64::max,
                other => panic!("the interpreter lacks {}", other.name()),
            };
            let len = op.axes.iter().map(|&a| x.shape()[a]).product();
            moved.chunks(len).map(|c| c.iter().copied().reduce(join).unwrap_or(0.0)).collect()
        }
        Primitive::Cast(_) => spread(0),
        Primitive::Matmul(_) => {
            let (a, b) = (&inputs[0], &inputs[1]);
            let (m, k, n) = (shape[0], a.shape()[1], shape[1]);
            let (x, y) = (&values[&a.id()], &values[&b.id()]);
            let at = |i: usize| (0..k).map(|p| x[i / n * k + p] * y[p * n + i % n]).sum();
            (0..m * n).map(at).collect()
        }
        Primitive::CustomFunction(op) => {
            for (y, x) in outputs.iter().zip(&inputs[..op.outputs]) {
                values.insert(y.id(), values[&x.id()].clone());
            }
            return;
        }
        op if op.is_view() => {
            let x = &inputs[0];
            let layout = op.view(&Layout::contiguous(x.shape()), x.dtype()).unwrap();
            pick(&values[&x.id()], &layout)
        }
        op => panic!("the interpreter lacks {}", op.name()),
    };
    values.insert(outputs[0].id(), result);
}

fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{got:?} {want:?}");
    for (g, w) in got.iter().zip(want) {
        // Both are a few roundings of numbers near 1.
        assert!((g - w).abs() <= 1e-12 * w.abs().max(1.0), "{got:?} is not {want:?}");
    }
}

#[test]
fn derivatives_of_every_order() {
    let mut bench = Bench::default();
    let x = bench.scalar(0.7);
    let sin = |x: Array| x.sin();
    close(&bench.get(&grad(sin)(x.clone()).unwrap()), &[0.7f64.cos()]);
    close(&bench.get(&grad(grad(sin))(x.clone()).unwrap()), &[-(0.7f64.sin())]);
    close(&bench.get(&grad(grad(grad(sin)))(x.clone()).unwrap()), &[-(0.7f64.cos())]);
    let one = Array::scalar(1.0f64);
    let (_, second) = jvp(grad(sin), &x, &one).unwrap();
    close(&bench.get(&second), &[-(0.7f64.sin())]);
    let forward = |x: Array| Ok(jvp(sin, &x, &Array::scalar(1.0f64))?.1);
    close(&bench.get(&grad(forward)(x.clone()).unwrap()), &[-(0.7f64.sin())]);
    let (_, third) =
        jvp(|x| jvp(grad(sin), &x, &Array::scalar(1.0f64)).map(|r| r.1), &x, &one).unwrap();
    close(&bench.get(&third), &[-(0.7f64.cos())]);
}

#[test]
fn cotangents_of_broadcast_operands_are_summed_back() {
    let mut bench = Bench::default();
    let x = bench.leaf(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let row = bench.leaf(&[3], &[0.5, -1.0, 2.0]);
    let column = bench.leaf(&[2, 1], &[3.0, -2.0]);
    let f = |(x, row, column): (Array, Array, Array)| {
        x.multiply(&row)?.subtract(&column)?.square()?.sum(None, false)
    };
    let (dx, drow, dcolumn) = grad(f)((x, row, column)).unwrap();
    let r = [-2.5, -5.0, 3.0, 4.0, -3.0, 14.0];
    let row = [0.5, -1.0, 2.0];
    close(&bench.get(&dx), &(0..6).map(|i| 2.0 * r[i] * row[i % 3]).collect::<Vec<_>>());
    let sum = |i: usize| 2.0 * (r[i] * (i as f64 + 1.0) + r[i + 3] * (i as f64 + 4.0));
    close(&bench.get(&drow), &[sum(0), sum(1), sum(2)]);
    assert_eq!(dcolumn.shape(), [2, 1]);
    close(&bench.get(&dcolumn), &[9.0, -30.0]);
}

#[test]
fn one_argument_of_several_and_unused_ones() {
    let mut bench = Bench::default();
    let (x, y) = (bench.scalar(2.0), bench.scalar(5.0));
    let f = |(x, _unused, y): (Array, Array, Array)| x.multiply(&y)?.multiply(&y);
    let args = (x.clone(), x.clone(), y.clone());
    close(&bench.get(&grad_wrt::<2, _>(f)(args.clone()).unwrap()), &[20.0]);
    let (dx, unused, dy) = grad(f)(args).unwrap();
    close(&bench.get(&dx), &[25.0]);
    close(&bench.get(&unused), &[0.0]);
    close(&bench.get(&dy), &[20.0]);
    let same = grad(|(a, b): (Array, Array)| a.multiply(&b))((x.clone(), x)).unwrap();
    close(&[bench.get(&same.0)[0], bench.get(&same.1)[0]], &[2.0, 2.0]);
}

#[test]
fn wrong_arguments_are_named() {
    let mut bench = Bench::default();
    let x = bench.leaf(&[2], &[1.0, 2.0]);
    let counts =
        Array::apply(Placeholder { aval: Aval::new([2].as_slice(), Dtype::I32) }, &[]).unwrap();
    let error = grad(|(x, _): (Array, Vec<Array>)| x.sum(None, false))((x.clone(), vec![counts]))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "grad: argument.1.0: got int32, expected a floating or complex type"
    );
    let error = grad(|x: Array| x.sin())(x.clone()).err().unwrap();
    assert_eq!(error.to_string(), "grad: the function must return a 0-d array, got shape (2,)");
    let y = bench.leaf(&[3], &[1.0, 2.0, 3.0]);
    let error = vmap(|(x, y): (Array, Array)| x.add(&y), 0, 0)((x.clone(), y)).err().unwrap();
    assert_eq!(
        error.to_string(),
        "vmap: batch sizes differ: argument.0 has 2 examples, argument.1 has 3 along axis 0 of (3,)"
    );
    let error = vmap(|x: Array| x.sin(), 1, 0)(x.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Axis);
    let error = vmap(|x: Array| x.sin(), None::<i64>, 0)(x.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Argument);
    let error = jvp(|x: Array| x.sin(), &x, &Array::scalar(1.0f64)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Shape);
}

#[test]
fn evaluation_inside_vmap_and_compile_is_an_error() {
    let mut bench = Bench::default();
    let x = bench.leaf(&[2], &[1.0, 2.0]);
    let f = |x: Array| {
        x.sin()?.eval()?;
        Ok(x)
    };
    assert_eq!(vmap(f, 0, 0)(x.clone()).err().unwrap().kind(), ErrorKind::Trace);
    assert_eq!(compile(f)(x).err().unwrap().kind(), ErrorKind::Trace);
}

#[test]
fn vmap_places_batch_axes() {
    let mut bench = Bench::default();
    let x = bench.leaf(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = bench.leaf(&[3, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    let s = bench.scalar(2.0);
    let f = |(x, y, s): (Array, Array, Array)| x.multiply(&y)?.add(&s);
    let out = vmap(f, [Some(0), Some(-1), None], 1)((x.clone(), y, s)).unwrap();
    assert_eq!(out.shape(), [3, 2]);
    close(&bench.get(&out), &[3.0, 42.0, 6.0, 102.0, 11.0, 182.0]);
    let pair = vmap(|x: Array| Ok((x.sum(None, false)?, Array::scalar(7.0f64))), 0, 0);
    let (sum, constant) = pair(x.clone()).unwrap();
    close(&bench.get(&sum), &[6.0, 15.0]);
    close(&bench.get(&constant), &[7.0, 7.0]);
    let nested = vmap(vmap(|x: Array| x.square(), 0, 0), 1, 0)(x.clone()).unwrap();
    assert_eq!(nested.shape(), [3, 2]);
    close(&bench.get(&nested), &[1.0, 16.0, 4.0, 25.0, 9.0, 36.0]);
    let slopes = vmap(grad(|x: Array| x.sin()?.sum(None, false)), 0, 0)(x.clone()).unwrap();
    close(&bench.get(&slopes), &[1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0].map(f64::cos));
    let total = |x: Array| vmap(|x: Array| x.sin(), 0, 0)(x)?.sum(None, false);
    close(&bench.get(&grad(total)(x).unwrap()), &[1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0].map(f64::cos));
}

#[test]
fn compiled_functions_trace_once_and_compose() {
    let mut bench = Bench::default();
    let (x, y) = (bench.scalar(0.3), bench.scalar(1.1));
    let c = bench.scalar(4.0);
    let captured = c.clone();
    let compiled = Compiled::new(move |x: Array| x.sin()?.multiply(&captured));
    let f = |x: Array| compiled.call(x);
    close(&bench.get(&f(x.clone()).unwrap()), &[4.0 * 0.3f64.sin()]);
    close(&bench.get(&f(y.clone()).unwrap()), &[4.0 * 1.1f64.sin()]);
    close(&bench.get(&grad(f)(y.clone()).unwrap()), &[4.0 * 1.1f64.cos()]);
    close(&bench.get(&compile(grad(f))(y.clone()).unwrap()), &[4.0 * 1.1f64.cos()]);
    assert_eq!(compiled.traces(), 1);
    let row = bench.leaf(&[2], &[0.3, 1.1]);
    let out = vmap(f, 0, 0)(row.clone()).unwrap();
    close(&bench.get(&out), &[4.0 * 0.3f64.sin(), 4.0 * 1.1f64.sin()]);
    assert_eq!(compiled.traces(), 1);
    f(row.clone()).unwrap();
    assert_eq!(compiled.traces(), 2);
    let shapeless = Compiled::shapeless(|x: Array| x.square()?.sum(None, false));
    let long = bench.leaf(&[3], &[1.0, 2.0, 3.0]);
    close(&bench.get(&shapeless.call(row).unwrap()), &[0.09 + 1.21]);
    close(&bench.get(&shapeless.call(long).unwrap()), &[14.0]);
    assert_eq!(shapeless.traces(), 1);
}

#[test]
fn a_replay_makes_constants_anew_and_shares_captured_work() {
    let mut bench = Bench::default();
    let (x, c) = (bench.scalar(0.3), bench.scalar(2.0));
    let traced = trace(&[x.aval()], false, |x| {
        Ok(vec![x[0].multiply(&Array::scalar(2.0f64))?.add(&c.exp()?)?, x[0].clone()])
    })
    .unwrap();
    assert_eq!(traced.captured().len(), 1);
    let names: Vec<_> = traced.steps().iter().map(|s| s.op.name()).collect();
    assert_eq!(names, ["scalar", "multiply", "add"]);
    let out = traced.call(std::slice::from_ref(&x)).unwrap();
    close(&bench.get(&out[0]), &[0.6 + 2.0f64.exp()]);
    assert!(out[1].same(&x));
}

#[test]
fn checkpoint_recomputes_and_follows_captured_arrays() {
    let mut bench = Bench::default();
    let (w, x) = (bench.scalar(0.4), bench.scalar(1.5));
    let plain = |(w, x): (Array, Array)| w.multiply(&x)?.sin()?.exp();
    let outer = |(w, x): (Array, Array)| {
        let layer = checkpoint(move |x: Array| w.multiply(&x)?.sin()?.exp());
        layer(x)
    };
    let (a, b) = grad(plain)((w.clone(), x.clone())).unwrap();
    let (c, d) = grad(outer)((w.clone(), x.clone())).unwrap();
    close(&bench.get(&c), &bench.get(&a));
    close(&bench.get(&d), &bench.get(&b));
    let second = |f: &dyn Fn((Array, Array)) -> Result<Array>| {
        grad(|w: Array| grad_wrt::<1, _>(f)((w, x.clone())))(w.clone()).unwrap()
    };
    close(&bench.get(&second(&outer)), &bench.get(&second(&plain)));
}

#[test]
fn custom_rules_take_the_place_of_the_function_s_own() {
    let mut bench = Bench::default();
    let x = bench.scalar(0.4);
    let make = || {
        custom_function(|x: Array| x.sin())
            .with_vjp(|x, _y, ct| ct.multiply(x))
            .with_jvp(|x, t| t.multiply(x)?.multiply(x))
    };
    let f = make().into_fn();
    close(&bench.get(&f(x.clone()).unwrap()), &[0.4f64.sin()]);
    close(&bench.get(&grad(&f)(x.clone()).unwrap()), &[0.4]);
    close(&bench.get(&jvp(&f, &x, &Array::scalar(1.0f64)).unwrap().1), &[0.4 * 0.4]);
    let row = bench.leaf(&[2], &[3.0, 5.0]);
    let total = |x: Array| vmap(&f, 0, 0)(x)?.sum(None, false);
    close(&bench.get(&grad(total)(row.clone()).unwrap()), &[3.0, 5.0]);
    let batched = custom_function(|x: Array| x.sin())
        .with_vmap(|x, axes| Ok((x.cos()?, axes.to_vec())))
        .into_fn();
    close(&bench.get(&vmap(batched, 0, 0)(row).unwrap()), &[3.0f64.cos(), 5.0f64.cos()]);
}

#[test]
fn long_chains_need_no_stack() {
    let mut bench = Bench::default();
    let x = bench.scalar(0.4);
    let chain = |x: Array| (0..300_000).try_fold(x, |y, _| y.negative());
    let slope = grad(chain)(x.clone()).unwrap();
    close(&bench.get(&slope), &[1.0]);
    let traced = trace(&[x.aval()], false, |x| Ok(vec![chain(x[0].clone())?])).unwrap();
    assert_eq!(traced.steps().len(), 300_000);
    drop(traced.call(&[x]).unwrap());
}
