//! The cases: each primitive with several params.

use super::{Case, Input, Kind, input, numeric};
use lazulite::blocks::{BlockMasks, block_masked_mm, segmented_mm};
use lazulite::op::creation::Source;
use lazulite::op::elementwise::{
    BINARY_OPS, BinaryClass, UNARY_OPS, UnaryClass, UnaryOp, binary, unary,
};
use lazulite::op::fast::{
    Attention, FloatBits, Frequencies, Mask, attention_cotangents, rope,
    scaled_dot_product_attention,
};
use lazulite::op::kernel::{self, HostInput, HostOutput};
use lazulite::op::qqmm::{self, Weights};
use lazulite::op::quantized::{QuantFormat, QuantMode};
use lazulite::op::reduce::{REDUCTIONS, ReduceClass, reduce};
use lazulite::op::scan::{SCANS, scan};
use lazulite::op::scatter::UpdateMode;
use lazulite::op::{ScanOp, random};
use lazulite::prelude::*;
use lazulite::transform::{checkpoint, custom_function};
use std::sync::Arc;

fn float(shape: &[usize]) -> Input {
    input(Kind::Float(-2.0, 2.0), shape)
}

fn single(shape: &[usize]) -> Input {
    input(Kind::Single(-1.0, 1.0), shape)
}

fn index(shape: &[usize], below: i64) -> Input {
    input(Kind::Int(Dtype::I32, -below, below), shape)
}

/// Indices that count from the front, which stay apart.
fn place(shape: &[usize], below: i64) -> Input {
    input(Kind::Int(Dtype::I32, 0, below), shape)
}

pub(super) fn all() -> Vec<Case> {
    let families: [fn(&mut Vec<Case>); 13] = [
        elementwise,
        reductions,
        views,
        joins,
        indexed,
        products,
        grouped,
        quantised,
        both_sides_quantised,
        others,
        numeric::transforms,
        numeric::linear_algebra,
        numeric::convolutions,
    ];
    let mut cases = Vec::new();
    families.iter().for_each(|family| family(&mut cases));
    cases
}

fn elementwise(cases: &mut Vec<Case>) {
    for info in UNARY_OPS {
        let margin = 0.05 * (info.domain.1 - info.domain.0);
        let real = Kind::Float(info.domain.0 + margin, info.domain.1 - margin);
        let kinds = match info.class {
            UnaryClass::Bits => vec![Kind::Int(Dtype::I32, -50, 50), Kind::Bool],
            UnaryClass::Logical => vec![Kind::Bool, real],
            UnaryClass::Part | UnaryClass::Conjugate => vec![Kind::Complex(0.5, 2.0)],
            UnaryClass::Inexact => vec![real, Kind::Complex(0.2, 0.8)],
            _ => vec![real],
        };
        for kind in kinds {
            let inputs = vec![input(kind, &[2, 3]).or(&[4, 5])];
            let op = info.op;
            cases.push(Case::new(format!("{} of {kind:?}", info.name), inputs, move |x| {
                unary(op, &x[0])
            }));
        }
    }
    for info in BINARY_OPS {
        let real = Kind::Float(0.5, 2.0);
        let kinds = match info.class {
            BinaryClass::Bits | BinaryClass::Shift => vec![Kind::Int(Dtype::I32, 0, 7)],
            BinaryClass::Logical => vec![Kind::Bool],
            BinaryClass::Build => vec![Kind::Single(-1.0, 1.0)],
            _ => vec![real],
        };
        for kind in kinds {
            let shapes: [([usize; 2], &[usize], &[usize]); 3] =
                [([2, 3], &[2, 3], &[4, 5]), ([2, 3], &[3], &[5]), ([2, 3], &[2, 1], &[4, 1])];
            for (a, b, other) in shapes {
                let inputs = vec![input(kind, &a).or(&[4, 5]), input(kind, b).or(other)];
                let op = info.op;
                let name = format!("{} of {kind:?} and {b:?}", info.name);
                cases.push(Case::new(name, inputs, move |x| binary(op, &x[0], &x[1])));
            }
        }
    }
    let complex = |shape: &[usize]| input(Kind::Complex(-1.0, 1.0), shape);
    cases.push(Case::new("complex product", vec![complex(&[3]), complex(&[2, 3])], |x| {
        x[0].multiply(&x[1])?.divide(&x[0].exp()?)
    }));
    cases.push(Case::new(
        "where",
        vec![
            input(Kind::Bool, &[2, 3]).or(&[4, 5]),
            float(&[3]).or(&[5]),
            float(&[2, 1]).or(&[4, 1]),
        ],
        |x| x[0].select(&x[1], &x[2]),
    ));
    for dtype in [Dtype::F32, Dtype::I32] {
        let case =
            Case::new(format!("cast to {dtype}"), vec![float(&[2, 3]).or(&[4, 5])], move |x| {
                x[0].astype(dtype)
            });
        cases.push(case.coarse());
    }
}

fn reductions(cases: &mut Vec<Case>) {
    let axes: [Option<&'static [i64]>; 4] = [None, Some(&[-1]), Some(&[0]), Some(&[0, 2])];
    for info in REDUCTIONS {
        let kind = match info.class {
            ReduceClass::Logical => Kind::Bool,
            _ => Kind::Float(-1.5, 1.5),
        };
        for axes in axes {
            let op = info.op;
            let inputs = vec![input(kind, &[2, 3, 4]).or(&[3, 2, 5])];
            cases.push(Case::new(format!("{} over {axes:?}", info.name), inputs, move |x| {
                reduce(op, &x[0], axes, true)
            }));
        }
    }
    for axis in [None, Some(0), Some(-1)] {
        let inputs = || vec![float(&[3, 4]).or(&[2, 5])];
        cases.push(Case::new(format!("argmin {axis:?}"), inputs(), move |x| {
            x[0].argmin(axis, false)
        }));
        cases.push(Case::new(format!("argmax {axis:?}"), inputs(), move |x| {
            x[0].argmax(axis, true)
        }));
    }
    for info in SCANS {
        for axis in [0, -1] {
            for (reverse, inclusive) in [(false, true), (true, true), (false, false), (true, false)]
            {
                let op = info.op;
                let name = format!("{} axis {axis}, {reverse}, {inclusive}", info.name);
                let inputs = vec![float(&[3, 4]).or(&[2, 5])];
                let case =
                    Case::new(name, inputs, move |x| scan(op, &x[0], axis, reverse, inclusive));
                // The others begin with an infinity, which has no differences.
                let finite = inclusive || matches!(op, ScanOp::CumSum | ScanOp::CumProd);
                cases.push(if finite { case } else { case.values_only() });
            }
        }
    }
    for op in ["softmax", "logsumexp", "var"] {
        let inputs = vec![float(&[3, 4]).or(&[2, 5])];
        cases.push(Case::new(op, inputs, move |x| match op {
            "softmax" => {
                let e = x[0].subtract(&x[0].max(Some(&[-1]), true)?)?.exp()?;
                e.divide(&e.sum(Some(&[-1]), true)?)
            }
            "logsumexp" => x[0].logsumexp(Some(&[-1]), false),
            _ => {
                let n = x[0].number_of_elements(Some(&[-1]), x[0].dtype())?;
                let mean = x[0].sum(Some(&[-1]), true)?.divide(&n)?;
                x[0].subtract(&mean)?.square()?.sum(Some(&[-1]), true)?.divide(&n)
            }
        }));
    }
}

fn views(cases: &mut Vec<Case>) {
    let mut view = |name: &str, shape: &[usize], f: fn(&Array) -> Result<Array>| {
        cases.push(Case::new(name, vec![float(shape)], move |x| f(&x[0])));
    };
    view("broadcast to new axes", &[3, 1], |x| x.broadcast_to(&[2, 3, 4]));
    view("broadcast a scalar", &[], |x| x.broadcast_to(&[2, 3]));
    view("reshape", &[4, 6], |x| x.reshape(&[2, 2, 6]));
    view("reshape of a transpose", &[4, 6], |x| x.transpose(None)?.reshape(&[8, 3]));
    view("flatten", &[2, 3, 4], |x| x.reshape(&[24]));
    view("as_strided with overlap", &[3, 4], |x| x.as_strided(Some(&[4, 3]), Some(&[2, 1]), 1));
    view("as_strided backwards", &[6], |x| x.as_strided(Some(&[3]), Some(&[-2]), 5));
    view("view as integers", &[2, 4], |x| {
        x.view(if x.dtype().size() == 8 { Dtype::I64 } else { Dtype::I32 })
    });
    view("view as bytes", &[2, 4], |x| x.view(Dtype::U8));
    view("slice with steps", &[7, 6], |x| x.slice(&[1, 0], &[6, 6], &[2, 3]));
    let mut sized =
        |name: &str, shape: &[usize], other: &[usize], f: fn(&Array) -> Result<Array>| {
            cases.push(Case::new(name, vec![float(shape).or(other)], move |x| f(&x[0])));
        };
    sized("transpose", &[2, 3, 4], &[3, 2, 5], |x| x.transpose(Some(&[2, 0, 1])));
    sized("slice from the front", &[5, 4], &[6, 3], |x| x.slice(&[1, 0], &[3, 2], &[1, 1]));
    sized("slice to the end", &[5, 4], &[6, 3], |x| x.slice(&[1, -2], &[99, 99], &[1, 1]));
    sized("slice backwards", &[5, 4], &[6, 3], |x| x.slice(&[-1, -1], &[-99, -99], &[-1, -2]));
    sized("flip", &[5, 4], &[6, 3], |x| x.flip(None));
    for case in cases.iter_mut().filter(|case| case.name.starts_with("view as")) {
        case.dtypes = false;
    }
    let inputs = || vec![float(&[2, 3]).or(&[4, 5])];
    let stop = Case::new("stop_gradient", inputs(), |x| x[0].stop_gradient());
    cases.push(stop.values_only());
    let two = vec![float(&[2, 3]).or(&[4, 5]), float(&[2]).or(&[3])];
    cases.push(Case::new("depends", two, |x| x[0].depends(&x[1..])));
}

fn joins(cases: &mut Vec<Case>) {
    for axis in [0, 1] {
        let (b, other): ([usize; 2], [usize; 2]) =
            if axis == 0 { ([4, 3], [3, 5]) } else { ([2, 1], [4, 2]) };
        let inputs = vec![float(&[2, 3]).or(&[4, 5]), float(&b).or(&other)];
        cases.push(Case::new(format!("concatenate axis {axis}"), inputs, move |x| {
            Array::concatenate(x, axis)
        }));
    }
    let inputs = vec![float(&[2, 3]).or(&[4, 5]), float(&[2, 3]).or(&[4, 5])];
    cases.push(Case::new("stack", inputs, |x| Array::stack(x, 1)));
    cases.push(Case::new("tile", vec![float(&[2, 3])], |x| x[0].tile(&[2, 2])));
    cases.push(Case::new("repeat", vec![float(&[2, 3])], |x| x[0].repeat(2, Some(1))));
}

const MODES: [UpdateMode; 5] =
    [UpdateMode::Set, UpdateMode::Add, UpdateMode::Multiply, UpdateMode::Max, UpdateMode::Min];

fn indexed(cases: &mut Vec<Case>) {
    let x = || float(&[5, 4]).or(&[5, 3]);
    for axis in [None, Some(0), Some(1)] {
        let inputs = vec![float(&[5, 4]), index(&[2, 3], 4)];
        cases.push(Case::new(format!("take {axis:?}"), inputs, move |x| x[0].take(&x[1], axis)));
    }
    cases.push(Case::new(
        "gather of two axes",
        vec![float(&[5, 4, 3]), index(&[2, 1], 5), index(&[3], 4)],
        |x| x[0].gather(&x[1..], &[0, 1], &[1, 1, 2]),
    ));
    let along = vec![x(), index(&[2, 4], 5).or(&[2, 3])];
    cases.push(Case::new("take_along_axis", along, |x| x[0].take_along_axis(&x[1], Some(0))));
    let dynamic = vec![float(&[5, 4]), place(&[2], 2)];
    cases
        .push(Case::new("slice_dynamic", dynamic, |x| x[0].slice_dynamic(&x[1], &[0, 1], &[3, 2])));
    for mode in MODES {
        let inputs = vec![x(), float(&[3, 1, 4]).or(&[3, 1, 3]), place(&[3], 5)];
        cases.push(Case::new(format!("scatter {mode:?}"), inputs, move |x| {
            x[0].scatter(&x[2..], &x[1], &[0], mode)
        }));
        let inputs = vec![x(), float(&[8, 1, 4]), place(&[8], 5)];
        cases.push(Case::new(format!("scatter {mode:?} where updates meet"), inputs, move |x| {
            x[0].scatter(&x[2..], &x[1], &[0], mode)
        }));
        let inputs = vec![x(), place(&[2, 4], 5).or(&[2, 3]), float(&[2, 4]).or(&[2, 3])];
        cases.push(Case::new(format!("scatter_along_axis {mode:?}"), inputs, move |x| {
            x[0].scatter_along_axis(&x[1], &x[2], Some(0), mode)
        }));
        let inputs = vec![float(&[6, 4]), float(&[2, 4])];
        cases.push(Case::new(format!("slice_update {mode:?}"), inputs, move |x| {
            x[0].slice_update(&x[1], &[1, 0], &[5, 4], &[2, 1], mode)
        }));
    }
    let dynamic = vec![float(&[5, 4]), float(&[3, 2]), place(&[2], 2)];
    cases.push(Case::new("slice_update_dynamic", dynamic, |x| {
        x[0].slice_update_dynamic(&x[1], &x[2], &[0, 1])
    }));
    let masked = vec![float(&[3, 4]), input(Kind::Bool, &[3, 4]), float(&[12])];
    cases.push(Case::new("masked_scatter", masked, |x| x[0].masked_scatter(&x[1], &x[2])));
    for axis in [0, -1] {
        let inputs = || vec![float(&[4, 5]).or(&[5, 6])];
        cases
            .push(Case::new(format!("sort axis {axis}"), inputs(), move |x| x[0].sort(Some(axis))));
        cases.push(Case::new(format!("argsort axis {axis}"), inputs(), move |x| {
            x[0].argsort(Some(axis))
        }));
        // Which of the elements on one side comes first is not said: only element 2 is compared.
        cases.push(Case::new(format!("partition axis {axis}"), inputs(), move |x| {
            x[0].partition(2, Some(axis))?.take(&Array::scalar(2i32), Some(axis))
        }));
        cases.push(Case::new(format!("argpartition axis {axis}"), inputs(), move |x| {
            x[0].argpartition(2, Some(axis))?.take(&Array::scalar(2i32), Some(axis))
        }));
    }
}

fn products(cases: &mut Vec<Case>) {
    let shapes: [[&[usize]; 4]; 5] = [
        [&[2, 3], &[3, 4], &[5, 2], &[2, 6]],
        [&[2, 2, 3], &[3, 4], &[3, 4, 2], &[2, 5]],
        [&[2, 3], &[2, 3, 4], &[4, 2], &[3, 2, 5]],
        [&[3], &[3, 4], &[2], &[2, 5]],
        [&[2, 3], &[3], &[4, 2], &[2]],
    ];
    for [a, b, other_a, other_b] in shapes {
        let inputs = vec![float(a).or(other_a), float(b).or(other_b)];
        cases.push(Case::new(format!("matmul {a:?} {b:?}"), inputs, |x| x[0].matmul(&x[1])));
    }
    let complex = |shape: &[usize]| input(Kind::Complex(-1.0, 1.0), shape);
    let inputs = vec![complex(&[2, 3]), complex(&[3, 4])];
    cases.push(Case::new("complex matmul", inputs, |x| x[0].matmul(&x[1])));
    let inputs = vec![float(&[4]), float(&[2, 3]), float(&[3, 4])];
    cases.push(Case::new("product, bias and activation", inputs, |x| {
        x[0].addmm(&x[1], &x[2], 0.5, 2.0)?.tanh()
    }));
}

fn grouped(cases: &mut Vec<Case>) {
    let index = |n: i64, shape: &[usize]| input(Kind::Int(Dtype::I32, -n, n), shape);
    let inputs = vec![float(&[2, 2, 3, 4]), float(&[3, 4, 5]), index(4, &[2, 3]), index(3, &[3])];
    cases.push(Case::new("gather_mm", inputs, |x| x[0].gather_mm(&x[1], Some(&x[2]), Some(&x[3]))));
    let inputs = vec![float(&[3, 3, 4]), float(&[3, 4, 5]), index(3, &[3])];
    cases.push(Case::new("gather_mm of every block", inputs, |x| {
        x[0].gather_mm(&x[1], None, Some(&x[2]))
    }));
    let inputs = vec![float(&[2, 1, 4]), float(&[2, 4, 5]), index(2, &[3])];
    cases.push(Case::new("gather_mm of every matrix twice", inputs, |x| {
        x[0].gather_mm(&x[1], Some(&x[2].reshape(&[3, 1])?), None)
    }));
    let mask = |shape: &[usize]| input(Kind::Bool, shape);
    let inputs = vec![float(&[2, 20, 18]), float(&[18, 17]), mask(&[2, 2, 2]), mask(&[2, 2])];
    cases.push(Case::new("block_masked_mm", inputs, |x| {
        let masks = BlockMasks { lhs: Some(&x[2]), rhs: None, out: Some(&x[3]) };
        block_masked_mm(&x[0], &x[1], 16, masks)
    }));
    let inputs = vec![float(&[3, 8]), float(&[8, 4]), input(Kind::Int(Dtype::I32, 0, 9), &[2, 2])];
    cases.push(Case::new("segmented_mm", inputs, |x| segmented_mm(&x[0], &x[1], &x[2])));
}

fn quantised(cases: &mut Vec<Case>) {
    for (bits, group) in [(2, 32), (3, 32), (4, 64), (8, 32)] {
        let Ok(format) = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits)) else {
            continue;
        };
        let words = 64 * bits / 32;
        let packed = |rows: usize| input(Kind::Int(Dtype::U32, 0, 1 << 32), &[rows, words]);
        let groups = |rows: usize| input(Kind::Single(0.01, 0.1), &[rows, 64 / group]);
        let case = Case::several(format!("quantize {bits}"), vec![single(&[3, 64])], move |x| {
            x[0].quantize(format)
        });
        cases.push(case.values_only());
        cases.push(Case::new(
            format!("dequantize {bits}"),
            vec![packed(3), groups(3), groups(3)],
            move |x| x[0].dequantize(&x[1], Some(&x[2]), format, None),
        ));
        for transpose in [true, false] {
            let (m, rows) = if transpose { (64, 5) } else { (5, 5) };
            cases.push(Case::new(
                format!("quantized_matmul {bits}, {transpose}"),
                vec![single(&[2, m]), packed(rows), groups(rows), groups(rows)],
                move |x| x[0].quantized_matmul(&x[1], &x[2], Some(&x[3]), transpose, format),
            ));
            let many = |x: Input, count: usize| {
                let shape = [&[count], x.shape.as_slice()].concat();
                input(x.kind, &shape)
            };
            cases.push(Case::new(
                format!("gather_qmm {bits}, {transpose}"),
                vec![
                    single(&[4, 2, m]),
                    many(packed(rows), 3),
                    many(groups(rows), 3),
                    many(groups(rows), 3),
                    input(Kind::Int(Dtype::I32, -4, 4), &[6]),
                    input(Kind::Int(Dtype::I64, -3, 3), &[2, 1]),
                ],
                move |x| {
                    let (lhs, rhs) = (Some(&x[4]), Some(&x[5]));
                    x[0].gather_qmm(&x[1], &x[2], Some(&x[3]), lhs, rhs, transpose, format)
                },
            ));
        }
    }
}

fn both_sides_quantised(cases: &mut Vec<Case>) {
    // The derivative takes the rounding for the identity, which differences do not.
    for mode in [QuantMode::Mxfp4, QuantMode::Nvfp4, QuantMode::Mxfp8] {
        let Ok(format) = QuantFormat::new(mode, None, None) else { continue };
        let inputs = || vec![single(&[2, 3, 64]), single(&[2, 5, 64])];
        let case = Case::new(format!("qqmm {}", mode.name()), inputs(), move |x| {
            qqmm::qqmm(&x[0], Weights::Plain(&x[1]), format, None)
        });
        cases.push(case.values_only());
        let case = Case::new(format!("gather_qqmm {}", mode.name()), inputs(), move |x| {
            let rhs = Array::from_slice(&[1i32, 0, 1], &[3])?;
            let lhs = Array::from_slice(&[0i32, 0, 1], &[3])?;
            qqmm::gather_qqmm(&x[0], Weights::Plain(&x[1]), Some(&lhs), Some(&rhs), format, None)
        });
        cases.push(case.values_only());
    }
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let start = offset as usize;
        bytes.copy_from_slice(&self.0[start..start + bytes.len()]);
        Ok(())
    }
}

fn others(cases: &mut Vec<Case>) {
    cases.push(
        Case::new("scalar and arange", vec![float(&[4])], |x| {
            x[0].multiply(&Array::iota(1.0, 0.5, 4, x[0].dtype())?)?
                .add(&Array::scalar(1i32).astype(x[0].dtype())?)
        })
        .also(&["Arange"]),
    );
    let source: Arc<dyn Source> = Arc::new(Bytes((0..64).collect()));
    cases.push(
        Case::new("load", vec![float(&[2, 3])], move |x| {
            let loaded = Array::load(source.clone(), 4, Dtype::U8, &[2, 3])?;
            x[0].multiply(&loaded.astype(x[0].dtype())?)
        })
        .also(&["Load"]),
    );
    for width in [1, 2, 4] {
        let key = vec![input(Kind::Int(Dtype::U32, 0, 1 << 32), &[2])];
        cases.push(Case::new(format!("random bits {width}"), key, move |x| {
            random::bits(&[3, 5], width, Some(&x[0]))
        }));
    }
    for (traditional, dims) in [(true, 6), (false, 6), (false, 4)] {
        let offset = input(Kind::Int(Dtype::I32, 0, 5), &[]);
        let inputs = vec![single(&[2, 3, 6]).or(&[3, 4, 6]), offset];
        cases.push(Case::new(format!("rope {traditional} {dims}"), inputs, move |x| {
            rope(&x[0], dims, traditional, Frequencies::Base(100.0), 1.0, &x[1])
        }));
    }
    let inputs = vec![
        single(&[2, 3, 6]),
        input(Kind::Int(Dtype::I32, 0, 5), &[2]),
        input(Kind::Single(1.0, 9.0), &[3]),
    ];
    cases.push(
        Case::new("rope by frequencies", inputs, |x| {
            rope(&x[0], 6, false, Frequencies::Array(&x[2].stop_gradient()?), 1.0, &x[1])
        })
        .values_only(),
    );
    attention(cases);
    let inputs = vec![float(&[2, 3]).or(&[4, 5]), float(&[3]).or(&[5])];
    cases.push(Case::new("checkpoint", inputs, |x| {
        let f = checkpoint(|(x, y): (Array, Array)| x.multiply(&y)?.sin()?.exp());
        f((x[0].clone(), x[1].clone()))
    }));
    let inputs = vec![float(&[2, 3]).or(&[4, 5])];
    cases.push(Case::new("custom_function", inputs, |x| {
        // The rules are right, and written otherwise than those of the function itself.
        custom_function(|x: Array| unary(UnaryOp::Sin, &x))
            .with_vjp(|x: &Array, _: &Array, ct: &Array| x.cos()?.multiply(ct))
            .with_jvp(|x: &Array, t: &Array| t.multiply(&x.cos()?))
            .call(x[0].clone())
    }));
    cases.push(Case::new("kernel", vec![float(&[2, 3])], |x| {
        custom_function(|x: Array| cubes(&x))
            .with_vjp(|x: &Array, _: &Array, ct: &Array| {
                x.square()?.multiply(ct)?.multiply(&Array::scalar(3u8))
            })
            .with_jvp(|x: &Array, t: &Array| x.square()?.multiply(t)?.multiply(&Array::scalar(3u8)))
            .call(x[0].clone())
    }));
}

/// The third powers, by a function over slices.
fn cubes(x: &Array) -> Result<Array> {
    fn fill<T: Element + std::ops::Mul<Output = T>>(
        x: &[HostInput<'_>],
        y: &mut [HostOutput<'_>],
    ) -> Result<()> {
        let x = x[0].as_slice::<T>()?;
        for (y, &x) in y[0].as_mut_slice::<T>()?.iter_mut().zip(x) {
            *y = x * x * x;
        }
        Ok(())
    }
    let (dtype, outputs) = (x.dtype(), [(x.shape(), x.dtype())]);
    let inputs = std::slice::from_ref(x);
    let made = kernel::host("cubes", inputs, &outputs, move |x, y| match dtype {
        Dtype::F16 => fill::<f16>(x, y),
        Dtype::BF16 => fill::<bf16>(x, y),
        Dtype::F32 => fill::<f32>(x, y),
        _ => fill::<f64>(x, y),
    })?;
    Ok(made[0].clone())
}

fn attention(cases: &mut Vec<Case>) {
    let (q, kv) = (|| single(&[1, 4, 3, 8]), || single(&[1, 2, 5, 8]));
    let sized = || vec![q().or(&[2, 4, 4, 8]), kv().or(&[2, 2, 7, 8]), kv().or(&[2, 2, 7, 8])];
    cases.push(Case::new("attention", sized(), |x| {
        scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.35, Mask::None, None)
    }));
    cases.push(Case::new("causal attention", sized(), |x| {
        scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.35, Mask::Causal, None)
    }));
    let with = |extra: Input| vec![q(), kv(), kv(), extra];
    cases.push(Case::new("additive mask", with(single(&[3, 5])), |x| {
        scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.35, Mask::Array(&x[3]), None)
    }));
    cases.push(Case::new("boolean mask", with(input(Kind::Bool, &[4, 3, 5])), |x| {
        scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.35, Mask::Array(&x[3]), None)
    }));
    for (name, causal) in
        [("attention's cotangents", false), ("causal attention's cotangents", true)]
    {
        let mut inputs = sized();
        inputs.push(single(&[1, 4, 3, 8]).or(&[2, 4, 4, 8]));
        cases.push(Case::several(name, inputs, move |x| {
            let mask = if causal { Mask::Causal } else { Mask::None };
            let out = scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.35, mask, None)?;
            let scale = FloatBits::new(0.35);
            let forward = Attention { scale, causal, mask: false, sinks: false };
            attention_cotangents(forward, &x[..3], &out, &x[3])
        }));
    }
    cases.push(Case::new("sinks", with(single(&[4])), |x| {
        scaled_dot_product_attention(&x[0], &x[1], &x[2], 0.35, Mask::None, Some(&x[3]))
    }));
}
