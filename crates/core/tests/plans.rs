//! Plans of small graphs, without a device: inputs are lazy loads that nothing reads.

use lazulite_core::plan::{dot, explain};
use lazulite_core::{Array, Dtype, Result, Source};
use std::sync::Arc;

#[derive(Debug)]
struct Nowhere;

impl Source for Nowhere {
    fn read(&self, _offset: u64, _bytes: &mut [u8]) -> Result<()> {
        Ok(())
    }
}

fn input(shape: &[usize]) -> Array {
    Array::load(Arc::new(Nowhere), 0, Dtype::F32, shape).expect("small")
}

/// The kinds of the plan's steps, loads left out.
fn kinds(output: Array) -> String {
    let text = explain(&[output]).expect("plans");
    text.lines()
        .filter(|l| l.as_bytes().get(2).is_some_and(u8::is_ascii_digit) && !l.contains("= load("))
        .map(|l| {
            let kind = l[4..].split_whitespace().next().unwrap_or("").to_string();
            match l.rsplit_once("  [") {
                Some((_, rule)) => format!("{kind} [{rule}"),
                None => kind,
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn check(output: Result<Array>, expected: &str) {
    let output = output.expect("builds");
    let text = explain(std::slice::from_ref(&output)).expect("plans");
    assert_eq!(kinds(output), expected, "\n{text}");
}

#[test]
fn elementwise_chains_are_one_tape() {
    check((|| input(&[8]).sin()?.exp()?.add(&Array::scalar(1.0f32)))(), "tape [fuse]");
}

#[test]
fn softmax_is_one_tape() {
    check(
        (|| {
            let x = input(&[4, 8]);
            let max = x.max(Some(&[-1]), true)?;
            let e = x.subtract(&max)?.exp()?;
            e.divide(&e.sum(Some(&[-1]), true)?)
        })(),
        "tape [fuse_rows]",
    );
}

#[test]
fn logsumexp_with_dropped_axes_is_one_tape() {
    // The dropped axis is a view of the stored row values.
    check(input(&[4, 8]).logsumexp(Some(&[-1]), true), "tape [fuse_rows]");
}

#[test]
fn squeezed_statistics_join_their_rows() {
    check(
        (|| {
            let x = input(&[4, 8]);
            let r = x.square()?.sum(Some(&[-1]), false)?.add(&Array::scalar(1e-5f32))?.rsqrt()?;
            x.multiply(&r.reshape(&[4, 1])?)
        })(),
        "tape [fuse_rows]",
    );
}

#[test]
fn layer_norm_with_weights_is_one_tape() {
    check(
        (|| {
            let (x, w, b) = (input(&[4, 8]), input(&[8]), input(&[8]));
            let n = Array::scalar(8.0f32);
            let mean = x.sum(Some(&[-1]), true)?.divide(&n)?;
            let d = x.subtract(&mean)?;
            let var = d.square()?.sum(Some(&[-1]), true)?.divide(&n)?;
            d.multiply(&var.add(&Array::scalar(1e-5f32))?.rsqrt()?)?.multiply(&w)?.add(&b)
        })(),
        "tape [fuse_rows]",
    );
}

#[test]
fn a_row_of_other_length_stays_apart() {
    // The sum runs over rows of 16, its user over rows of 8.
    check((|| input(&[4, 8]).multiply(&input(&[4, 16]).sum(Some(&[-1]), true)?))(), "tape, tape");
}

#[test]
fn a_shared_product_keeps_its_value() {
    check(
        (|| {
            let p = input(&[4, 8]).matmul(&input(&[8, 4]))?;
            p.add(&p.transpose(None)?)
        })(),
        "op, view, tape",
    );
}

#[test]
fn products_take_bias_and_activation() {
    check(
        (|| {
            let p = input(&[4, 8]).matmul(&input(&[8, 6]))?;
            p.add(&input(&[6]))?.maximum(&Array::scalar(0.0f32))
        })(),
        "product [epilogue]",
    );
}

#[test]
fn equal_subexpressions_are_computed_once() {
    check(
        (|| {
            let x = input(&[4]);
            x.sin()?.add(&x.sin()?)
        })(),
        "tape [fuse]",
    );
}

#[test]
fn a_mean_and_its_root_are_one_tape() {
    check(
        (|| {
            let x = input(&[4, 8]);
            x.square()?.sum(Some(&[-1]), false)?.divide(&Array::scalar(8.0f32))?.sqrt()
        })(),
        "tape [fuse_rows]",
    );
}

#[test]
fn a_reduced_column_does_not_pass_for_a_row() {
    // Both have four elements, but one lies along the other axis.
    check(
        (|| {
            let x = input(&[4, 4]);
            let column = x.sum(Some(&[1]), false)?.reshape(&[1, 4])?;
            x.multiply(&column)
        })(),
        "tape, view, view, tape",
    );
}

#[test]
fn a_graph_for_graphviz_has_boxes_of_ops_and_named_ends() -> Result<()> {
    let x = input(&[2]);
    let y = x.multiply(&x)?.add(&x)?;
    let text = dot(std::slice::from_ref(&y), &[("y \"sum\"".into(), y.clone())])?;
    for line in [
        "op0 [label=\"load\", shape=box];",
        "op1 [label=\"multiply\", shape=box];",
        "op2 [label=\"add\", shape=box];",
        "op0 -> op1 [label=\"float32 (2,)\"];",
        "op1 -> op2 [label=\"float32 (2,)\"];",
        "out0 [label=\"y \\\"sum\\\"\\nfloat32 (2,)\", shape=ellipse];",
        "op2 -> out0;",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    Ok(())
}
