//! What people write by hand for norms, activations, positions, gathers and updates: the steps that it
//! becomes, its values, and gradients through it.

use crate::rewrites::{Case, Inputs, SUMS, check, normal};
use lazulite::op::index::Index;
use lazulite::plan::explain;
use lazulite::prelude::*;
use lazulite::scatter::UpdateMode;

/// The steps of the plan that compute or copy something, without what rules made them.
fn steps(y: &Array) -> Result<String> {
    let text = explain(std::slice::from_ref(y))?;
    let numbered = |l: &&str| l.as_bytes().get(2).is_some_and(u8::is_ascii_digit);
    let kinds = text.lines().filter(numbered).filter_map(|l| l[4..].split_whitespace().next());
    Ok(kinds.filter(|kind| *kind != "view").collect::<Vec<_>>().join(" "))
}

struct Written {
    name: &'static str,
    rule: &'static str,
    steps: &'static str,
    inputs: fn() -> Result<Inputs>,
    body: fn(&[Array]) -> Result<Array>,
}

fn try_all(table: &[Written]) -> Result<()> {
    for w in table {
        let inputs = (w.inputs)()?;
        let y = (w.body)(&inputs)?;
        assert_eq!(steps(&y)?, w.steps, "{}:\n{}", w.name, explain(&[y])?);
        let (name, rule, tolerance) = (w.name, w.rule, 2.0 * SUMS);
        check(&Case { name, rule, inputs: w.inputs, body: w.body, tolerance })?;
    }
    Ok(())
}

fn images() -> Result<Inputs> {
    // (batch, pixels, channels), and a weight and a bias for each channel.
    Ok(vec![normal(&[3, 10, 8], 1)?, normal(&[8], 2)?, normal(&[8], 3)?])
}

/// `x` with mean 0 and variance 1 along `axes`, as papers write it.
fn normalised(x: &Array, axes: &[i64]) -> Result<Array> {
    let away = x - x.mean(Some(axes), true)?;
    let var = away.square()?.mean(Some(axes), true)?;
    Ok(away / (var + 1e-5).sqrt()?)
}

#[test]
fn norms() -> Result<()> {
    try_all(&[
        Written {
            name: "layer norm",
            rule: "fuse_rows",
            steps: "tape",
            inputs: images,
            body: |i| Ok(normalised(&i[0], &[-1])? * &i[1] + &i[2]),
        },
        Written {
            name: "rms norm",
            rule: "fuse_rows",
            steps: "tape",
            inputs: images,
            body: |i| {
                let mean = (&i[0] * &i[0]).mean(Some(&[-1]), true)?;
                Ok(&i[0] * (mean + 1e-5).rsqrt()? * &i[1])
            },
        },
        Written {
            name: "batch norm",
            rule: "fuse_rows",
            steps: "tape",
            inputs: images,
            body: |i| Ok(normalised(&i[0], &[0, 1])? * &i[1] + &i[2]),
        },
        Written {
            name: "instance norm",
            rule: "fuse_rows",
            steps: "tape",
            inputs: images,
            body: |i| Ok(normalised(&i[0], &[1])? * &i[1] + &i[2]),
        },
        Written {
            name: "group norm",
            rule: "fuse_rows",
            steps: "tape tape",
            inputs: images,
            body: |i| {
                let groups = i[0].reshape(&[3, 10, 4, 2])?;
                let y = normalised(&groups, &[1, 3])?.reshape(&[3, 10, 8])?;
                Ok(y * &i[1] + &i[2])
            },
        },
        Written {
            name: "mean and variance",
            rule: "fuse_rows",
            steps: "tape",
            inputs: images,
            body: |i| Ok(i[0].mean(Some(&[-1]), true)? + i[0].var(Some(&[-1]), true, 0)?),
        },
        Written {
            name: "standard deviation",
            rule: "fuse_rows",
            steps: "tape",
            inputs: images,
            body: |i| i[0].std(Some(&[-1]), true, 0),
        },
    ])
}

fn gates() -> Result<Inputs> {
    Ok(vec![normal(&[5, 8], 1)?, normal(&[8, 12], 2)?, normal(&[8, 12], 3)?])
}

#[test]
fn activations() -> Result<()> {
    fn case(name: &'static str, body: fn(&[Array]) -> Result<Array>) -> Written {
        Written { name, rule: "fuse", steps: "tape", inputs: gates, body }
    }
    try_all(&[
        case("gelu by tanh", |i| {
            let x = &i[0];
            let inner = (x + x * x * x * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
            Ok(x * 0.5 * (inner.tanh()? + 1.0))
        }),
        case("gelu by erf", |i| Ok(&i[0] * ((&i[0] / 2f64.sqrt()).erf()? + 1.0) * 0.5)),
        case("gelu by sigmoid", |i| Ok(&i[0] * (&i[0] * 1.702).sigmoid()?)),
        case("silu", |i| Ok(&i[0] * i[0].sigmoid()?)),
        case("silu by exp", |i| Ok(&i[0] / (i[0].negative()?.exp()? + 1.0))),
        Written {
            name: "swiglu of two products",
            rule: "epilogue",
            steps: "op product",
            inputs: gates,
            body: |i| {
                let gate = i[0].matmul(&i[1])?;
                Ok(&gate * gate.sigmoid()? * i[0].matmul(&i[2])?)
            },
        },
    ])
}

fn heads() -> Result<Inputs> {
    // (batch, heads, tokens, size), and an angle for each token and pair.
    Ok(vec![normal(&[2, 3, 5, 8], 1)?, normal(&[5, 4], 2)?])
}

#[test]
fn positions() -> Result<()> {
    // The angles are fewer than the elements: their functions are steps of their own.
    try_all(&[
        Written {
            name: "rope of halves",
            rule: "fuse_siblings",
            steps: "tape tape tape op",
            inputs: heads,
            body: |i| {
                let part = |h: i64| i[0].slice(&[0, 0, 0, 4 * h], &[2, 3, 5, 4 * h + 4], &[1; 4]);
                let (a, b, cos, sin) = (part(0)?, part(1)?, i[1].cos()?, i[1].sin()?);
                Array::concatenate(&[&a * &cos - &b * &sin, &a * &sin + &b * &cos], -1)
            },
        },
        Written {
            name: "rope of pairs",
            rule: "fuse",
            steps: "tape tape tape tape op",
            inputs: heads,
            body: |i| {
                let part = |h: i64| i[0].slice(&[0, 0, 0, h], &[2, 3, 5, 8], &[1, 1, 1, 2]);
                let (a, b, cos, sin) = (part(0)?, part(1)?, i[1].cos()?, i[1].sin()?);
                let pairs = [&a * &cos - &b * &sin, &a * &sin + &b * &cos];
                Array::stack(&pairs, -1)?.reshape(&[2, 3, 5, 8])
            },
        },
    ])
}

fn table() -> Result<Inputs> {
    let index = Array::from_slice(&[6i32, 0, 3, 3, 5], &[5])?;
    Ok(vec![normal(&[7, 8], 1)?, index, normal(&[5, 8], 2)?])
}

/// Rows by index: each spelling is one gather, and what follows is one pass over the rows.
#[test]
fn gathers() -> Result<()> {
    fn case(name: &'static str, body: fn(&[Array]) -> Result<Array>) -> Result<()> {
        let inputs = table()?;
        let y = body(&inputs)?;
        assert_eq!(steps(&y)?, "op tape", "{name}:\n{}", explain(&[y])?);
        check(&Case { name, rule: "fuse", inputs: table, body, tolerance: SUMS })
    }
    case("indexed", |i| i[0].index(&[Index::Array(i[1].clone())])?.tanh()?.exp())?;
    case("taken", |i| i[0].take(&i[1], Some(0))?.tanh()?.exp())?;
    case("taken along the axis", |i| {
        let rows = i[1].reshape(&[5, 1])?.broadcast_to(&[5, 8])?;
        i[0].take_along_axis(&rows, Some(0))?.tanh()?.exp()
    })
}

/// Updates of an array that nobody needs afterwards happen in its buffer.
#[test]
fn updates_of_dying_arrays_are_in_place() -> Result<()> {
    type Update = fn(&Array, &[Array]) -> Result<Array>;
    let updates: [(&str, Update); 4] = [
        ("x[i] = v", |x, i| x.index_update(&[Index::Array(i[1].clone())], &i[2], UpdateMode::Set)),
        ("x.at[i].add(v)", |x, i| {
            x.index_update(&[Index::Array(i[1].clone())], &i[2], UpdateMode::Add)
        }),
        ("put_along_axis", |x, i| {
            let rows = i[1].reshape(&[5, 1])?.broadcast_to(&[5, 8])?;
            x.put_along_axis(&rows, &i[2], Some(0))
        }),
        ("x[1:6] = v", |x, i| {
            let rows = Index::Slice { start: Some(1), stop: Some(6), step: None };
            x.index_update(&[rows], &i[2], UpdateMode::Set)
        }),
    ];
    let inputs = table()?;
    for (name, update) in updates {
        let y = update(&inputs[0].sin()?, &inputs)?;
        let plan = explain(std::slice::from_ref(&y))?;
        assert!(plan.contains("in place"), "{name}:\n{plan}");
        let wanted = inputs[0].sin()?;
        let z = update(&wanted, &inputs)?;
        let plan = explain(std::slice::from_ref(&z))?;
        assert!(!plan.contains("in place"), "{name}, where the array is kept:\n{plan}");
        assert_eq!(y.to_vec::<f32>()?, z.to_vec::<f32>()?, "{name}");
        assert_eq!(wanted.to_vec::<f32>()?, inputs[0].sin()?.to_vec::<f32>()?, "{name}");
    }
    Ok(())
}

/// Copies that strides can express are views; others are one step.
#[test]
fn copies_are_views_where_strides_can_express_them() -> Result<()> {
    let (row, x) = (normal(&[1, 8], 1)?, normal(&[3, 8], 2)?);
    type Copy = fn(&Array) -> Result<Array>;
    let table: [(&str, &Array, &str, Copy); 8] = [
        ("a row repeated", &row, "", |x| x.repeat(5, Some(0))),
        ("a row tiled", &row, "", |x| x.tile(&[5, 1])),
        ("a row joined to itself", &row, "", |x| {
            Array::concatenate(&[x.clone(), x.clone(), x.clone()], 0)
        }),
        ("a row stacked on itself", &row, "", |x| Array::stack(&[x.clone(), x.clone()], 0)),
        ("a row broadcast and used", &row, "tape", |x| Ok(x.tile(&[5, 1])? * 2.0)),
        ("running sums", &x, "op", |x| x.cumsum(1, false, true)),
        ("running sums of a function", &x, "tape op", |x| x.exp()?.cumsum(1, false, true)),
        ("rows joined", &x, "op", |x| {
            Array::concatenate(&[x.clone(), x.slice(&[0, 0], &[1, 8], &[1, 1])?], 0)
        }),
    ];
    for (name, x, want, copy) in table {
        let y = copy(x)?;
        assert_eq!(steps(&y)?, want, "{name}:\n{}", explain(&[y])?);
        let plain = lazulite::plan::without_rules(|| copy(x)?.to_vec::<f32>())?;
        assert_eq!(copy(x)?.to_vec::<f32>()?, plain, "{name}");
    }
    Ok(())
}
