//! Plans of small graphs, without a device: inputs are lazy loads that nothing reads.

use lazulite_core::backend::{Buffer, Memory};
use lazulite_core::op::fast::{cross_entropy, rms_norm};
use lazulite_core::op::quantized::{QuantFormat, QuantMode};
use lazulite_core::plan::{self, dot, explain};
use lazulite_core::shape::Layout;
use lazulite_core::transform::value_and_grad;
use lazulite_core::{Array, Device, Dtype, Result, Source, Stream, f16, with_stream};
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
            l.split("  [").skip(1).fold(kind, |all, rule| format!("{all} [{rule}"))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn check(output: Result<Array>, expected: &str) {
    let output = output.expect("builds");
    let text = explain(std::slice::from_ref(&output)).expect("plans");
    assert_eq!(kinds(output), expected, "\n{text}");
}

fn packed(dtype: Dtype) -> (Array, QuantFormat) {
    let format = QuantFormat::new(QuantMode::Affine, Some(32), Some(4)).expect("a format");
    let load = |dtype, shape: &[usize]| Array::load(Arc::new(Nowhere), 0, dtype, shape);
    let parts = || -> Result<Array> {
        let (w, s, b) =
            (load(Dtype::U32, &[16, 4])?, load(dtype, &[16, 1])?, load(dtype, &[16, 1])?);
        w.dequantize(&s, Some(&b), format, None)
    };
    (parts().expect("builds"), format)
}

/// What `make` builds, of which nothing else is held any more.
fn built(make: impl Fn() -> Result<Array>) -> Result<Array> {
    make()
}

#[test]
fn a_product_reads_the_packed_matrix() {
    let w = |dtype| packed(dtype).0;
    let half = || input(&[4, 32]).astype(Dtype::F16);
    let plain = "op [quantized_product]";
    check(built(|| input(&[4, 32]).matmul(&w(Dtype::F32).t()?)), plain);
    check(built(|| input(&[4, 16]).matmul(&w(Dtype::F32))), plain);
    // The kernel widens the groups of a half matrix.
    check(built(|| input(&[4, 16]).matmul(&w(Dtype::BF16))), plain);
    check(
        built(|| half()?.matmul(&w(Dtype::F16).t()?)?.maximum(&Array::scalar(f16::ZERO))),
        "tape, product [quantized_product] [epilogue]",
    );
    // x^T and the result's transpose are views.
    let turned = "view [quantized_product], op [quantized_product], view [quantized_product]";
    check(built(|| w(Dtype::F32).matmul(&input(&[32, 4]))), turned);
    // A vector has one row, which the bias does not.
    check(
        built(|| input(&[16]).matmul(&w(Dtype::F32))?.add(&input(&[32]))),
        "view, product [quantized_product] [epilogue]",
    );
}

#[test]
fn a_dequantised_matrix_that_is_wanted_is_made() {
    let (w, _) = packed(Dtype::F32);
    let y = input(&[4, 16]).matmul(&w).expect("fits");
    assert_eq!(kinds(y), "op, op");
    drop(w);
}

#[test]
fn attention_by_hand_is_one_step() {
    let qkv = || (input(&[1, 4, 6, 8]), input(&[1, 4, 9, 8]), input(&[1, 4, 9, 8]));
    check(
        (|| {
            let (q, k, v) = qkv();
            let s = q.matmul(&k.swapaxes(-1, -2)?)?.multiply(&Array::scalar(0.35f32))?;
            s.add(&input(&[6, 9]))?.softmax(Some(&[-1]), false)?.matmul(&v)
        })(),
        "op [attention]",
    );
    // A mask whose fourth axis is the scores' first has no place in the fused step.
    check(
        (|| {
            let (q, k, _) = qkv();
            let s = q.matmul(&k.swapaxes(-1, -2)?)?;
            s.softmax(Some(&[-2]), false)?.matmul(&input(&[1, 4, 9, 8]))
        })(),
        "view, op, tape [fuse_rows], op",
    );
}

#[test]
fn a_loop_over_rows_is_a_batch() {
    let rows = |n: i64| -> Result<Vec<Array>> {
        let (x, w) = (input(&[8, 5]), input(&[5, 3]));
        (0..n).map(|i| x.at(i)?.matmul(&w)?.tanh()).collect()
    };
    let text = explain(&[(|| Array::stack(&rows(8)?, 0))().expect("builds")]).expect("plans");
    let count = |what: &str| text.matches(what).count();
    assert_eq!((count("product"), count(" op "), count(" tape ")), (1, 2, 0), "{text}");
    // Too few items.
    let few = explain(&[(|| Array::stack(&rows(3)?, 0))().expect("builds")]).expect("plans");
    assert!(!few.contains("batch_loop"), "{few}");
    // A sum, whose order of addition is that of a reduction.
    let sum = (|| {
        rows(8)?.iter().try_fold(Array::scalar(0.0f32), |sum, y| sum.add(&y.sum(None, false)?))
    })();
    let text = explain(&[sum.expect("builds")]).expect("plans");
    assert!(text.contains("[batch_sum]"), "{text}");
}

#[test]
fn reports_are_json_and_pages() {
    let y = input(&[4, 8]).softmax(Some(&[-1]), false).expect("builds");
    let report = plan::report(&[y]).expect("plans");
    let json = report.json();
    assert!(json.contains("\"rules\": [\"fuse_rows\"]"), "{json}");
    let page = report.html("softmax <by name>");
    assert!(page.contains("<title>softmax &lt;by name&gt;</title>"));
    assert!(!page.contains("<script") && !page.contains("href="), "nothing from elsewhere");
    // The load of 128 bytes, its read, and the result.
    let e = report.estimate;
    assert_eq!((e.moved, e.kept, e.peak), (4 * 128, 128, 128));
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
fn a_maximum_that_others_read_too_stays_in_the_softmax_step() {
    let picked = built(|| {
        let index = Array::load(Arc::new(Nowhere), 0, Dtype::I32, &[4, 1])?;
        let log = input(&[4, 8]).softmax(Some(&[-1]), false)?.log()?;
        log.take_along_axis(&index, Some(-1))
    });
    check(picked, "op [pick], tape [pick] [fuse_rows]");
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

/// Memory of as many bytes, which nothing reads.
struct Room(usize);

impl Memory for Room {
    fn device(&self) -> Device {
        Device::CPU
    }

    fn size(&self) -> usize {
        self.0
    }

    fn host_bytes(&self) -> Option<&[u8]> {
        None
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[test]
fn on_a_gpu_a_norm_converts_its_weight_where_it_reads_it() -> Result<()> {
    let array = |shape: &[usize]| {
        let room = Buffer::new(Room(2 * shape.iter().product::<usize>()));
        Array::from_buffer(room, Dtype::BF16, Layout::contiguous(shape))
    };
    let (x, w) = (array(&[3, 64])?, array(&[64])?);
    for (device, expected) in
        [(Device::CPU, "tape, tape [fuse_rows]"), (Device::GPU, "tape [fuse_rows]")]
    {
        let norm = || rms_norm(&x, Some(&w), 1e-5);
        check(with_stream(Stream::default_of(device), norm), expected);
    }
    Ok(())
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
fn a_cross_entropy_of_probabilities_writes_none_of_them() -> Result<()> {
    let plan = explain(&[{
        let p = input(&[6, 40]).softmax(Some(&[-1]), false)?.log()?.negative()?;
        let index = Array::load(Arc::new(Nowhere), 0, Dtype::I32, &[6, 1])?;
        p.take_along_axis(&index, Some(-1))?.mean(None, false)?
    }])?;
    assert!(plan.contains("[pick]"), "{plan}");
    let mut whole = plan.lines().filter(|l| l.contains("float32 (6, 40) ="));
    assert!(whole.all(|l| l.contains("= load(")), "{plan}");
    Ok(())
}

#[test]
fn a_cross_entropy_and_its_gradient_read_the_logits_in_one_step() -> Result<()> {
    let targets = Array::load(Arc::new(Nowhere), 0, Dtype::I32, &[6])?;
    let logits = input(&[6, 40]).astype(Dtype::BF16)?;
    let loss = |x: Array| cross_entropy(&x, &targets)?.mean(None, false);
    let over = |plan: &str| {
        let steps = plan.lines().filter(|l| l.contains("tape ") && l.contains("[fuse_rows]"));
        steps.filter(|l| l.contains("(6, 40)") || l.contains("(6, 1)")).count()
    };
    let plan = explain(&[built(|| loss(logits.clone()))?])?;
    assert_eq!(over(&plan), 1, "{plan}");
    let (value, gradient) = value_and_grad(loss)(logits)?;
    let plan = explain(&[value, gradient])?;
    assert_eq!(over(&plan), 1, "{plan}");
    Ok(())
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

/// Kinds of steps for several outputs, loads left out.
fn all_kinds(outputs: &[Array]) -> String {
    explain(outputs)
        .expect("plans")
        .lines()
        .filter(|l| l.as_bytes().get(2).is_some_and(u8::is_ascii_digit) && !l.contains("= load("))
        .map(|l| l[4..].split_whitespace().next().unwrap_or("").to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn reductions_of_one_array_are_one_pass() {
    let both = || -> Result<Vec<Array>> {
        let x = input(&[4, 8]);
        Ok(vec![x.sum(Some(&[-1]), true)?, x.max(Some(&[-1]), true)?])
    };
    assert_eq!(all_kinds(&both().expect("builds")), "tape");
    // Over other axes it is another walk.
    let apart = || -> Result<Vec<Array>> {
        let x = input(&[4, 8]);
        Ok(vec![x.sum(Some(&[-1]), true)?, x.max(Some(&[0]), true)?])
    };
    assert_eq!(all_kinds(&apart().expect("builds")), "tape tape");
    // The second needs the first by way of a product.
    let chain = || -> Result<Vec<Array>> {
        let x = input(&[4, 4]);
        let s = x.sum(Some(&[-1]), true)?;
        let y = x.matmul(&s.broadcast_to(&[4, 4])?)?.sin()?;
        Ok(vec![x.max(Some(&[-1]), true)?.add(&y.sum(Some(&[-1]), true)?)?])
    };
    let text = explain(&chain().expect("builds")).expect("plans");
    assert!(text.contains("matmul"), "{text}");
    let functions = || -> Result<Vec<Array>> {
        let x = input(&[4, 8]);
        Ok(vec![x.sin()?, x.cos()?])
    };
    assert_eq!(all_kinds(&functions().expect("builds")), "tape");
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
