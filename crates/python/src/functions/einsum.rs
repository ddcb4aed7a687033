//! Einstein summation: operands are contracted from left to right, each step as one matrix product.

use super::add_functions;
use crate::array::PyArray;
use crate::convert::Arr;
use crate::device::{On, on};
use crate::errors::{Answer, Fault, value_error};
use lazulite::{Array, Dtype};
use pyo3::prelude::*;

/// An operand and the label of each of its axes.
struct Labelled {
    array: Array,
    labels: Vec<char>,
}

fn refuse(message: impl std::fmt::Display) -> Fault {
    value_error(format!("[einsum] {message}"))
}

/// Labels of the axes that an ellipsis stands for, the last axis first.
const ELLIPSIS: char = '\u{E000}';

fn ellipsis_label(from_end: usize) -> char {
    char::from_u32(ELLIPSIS as u32 + from_end as u32).unwrap_or(ELLIPSIS)
}

/// The labels of one subscript, whose ellipsis stands for `hidden` axes.
fn labels(subscript: &str, hidden: usize) -> Answer<Vec<char>> {
    let mut out = Vec::new();
    let (before, after) = match subscript.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (subscript, None),
    };
    out.extend(before.chars());
    if let Some(after) = after {
        out.extend((0..hidden).rev().map(ellipsis_label));
        out.extend(after.chars());
    }
    let wrong = out.iter().find(|c| !c.is_ascii_alphabetic() && **c < ELLIPSIS);
    match wrong {
        Some(c) => Err(refuse(format!("invalid character {c:?} in the subscripts"))),
        None => Ok(out),
    }
}

/// Takes the diagonal of axes with the same label.
fn without_repeats(mut x: Labelled) -> Answer<Labelled> {
    let repeated = |labels: &[char]| {
        (0..labels.len()).find_map(|i| {
            let j = labels[i + 1..].iter().position(|l| *l == labels[i])?;
            Some((i, i + 1 + j))
        })
    };
    while let Some((i, j)) = repeated(&x.labels) {
        if x.array.shape()[i] != x.array.shape()[j] {
            return Err(refuse(format!("the axes of label {:?} differ in size", x.labels[i])));
        }
        x.array = x.array.diagonal(0, i as i64, j as i64)?;
        let label = x.labels.remove(j);
        x.labels.remove(i);
        x.labels.push(label);
    }
    Ok(x)
}

/// Sums the axes that nothing else needs.
fn summed(x: Labelled, needed: impl Fn(char) -> bool) -> Answer<Labelled> {
    let gone: Vec<i64> =
        (0..x.labels.len()).filter(|&i| !needed(x.labels[i])).map(|i| i as i64).collect();
    if gone.is_empty() {
        return Ok(x);
    }
    let labels = x.labels.iter().copied().filter(|&l| needed(l)).collect();
    Ok(Labelled { array: x.array.sum(Some(&gone), false)?, labels })
}

/// The axes of `x` in the order of `order`, which names all of them.
fn arranged(x: &Labelled, order: &[char]) -> Answer<Array> {
    let axes: Vec<i64> = order
        .iter()
        .filter_map(|l| x.labels.iter().position(|m| m == l))
        .map(|i| i as i64)
        .collect();
    Ok(x.array.transpose(Some(&axes))?)
}

/// An axis of size 1 that meets a longer one is broadcast: it needs no label.
fn stretched(x: Labelled, other: &Labelled) -> Answer<Labelled> {
    let size =
        |x: &Labelled, l: char| x.labels.iter().position(|m| *m == l).map(|i| x.array.shape()[i]);
    let gone: Vec<char> = x
        .labels
        .iter()
        .copied()
        .filter(|&l| size(&x, l) == Some(1) && size(other, l).is_some_and(|n| n > 1))
        .collect();
    let axes: Vec<i64> =
        (0..x.labels.len()).filter(|&i| gone.contains(&x.labels[i])).map(|i| i as i64).collect();
    if axes.is_empty() {
        return Ok(x);
    }
    let labels = x.labels.iter().copied().filter(|l| !gone.contains(l)).collect();
    Ok(Labelled { array: x.array.squeeze(Some(&axes))?, labels })
}

fn contracted(a: Labelled, b: Labelled, needed: impl Fn(char) -> bool) -> Answer<Labelled> {
    let (a, b) = (stretched(a, &b)?, b);
    let b = stretched(b, &a)?;
    let a = summed(a, |l| needed(l) || b.labels.contains(&l))?;
    let b = summed(b, |l| needed(l) || a.labels.contains(&l))?;
    let shared = |l: &&char| b.labels.contains(l);
    let (batch, inner): (Vec<char>, Vec<char>) =
        a.labels.iter().filter(shared).copied().partition(|&l| needed(l));
    let left: Vec<char> = a.labels.iter().copied().filter(|l| !b.labels.contains(l)).collect();
    let right: Vec<char> = b.labels.iter().copied().filter(|l| !a.labels.contains(l)).collect();
    let sizes = |x: &Labelled, part: &[char]| -> Vec<usize> {
        let axis = |l: &char| x.labels.iter().position(|m| m == l);
        part.iter().filter_map(axis).map(|i| x.array.shape()[i]).collect()
    };
    for part in [&batch, &inner] {
        if sizes(&a, part) != sizes(&b, part) {
            return Err(refuse("axes of the same label differ in size"));
        }
    }
    let (lead, rows, columns) = (sizes(&a, &batch), sizes(&a, &left), sizes(&b, &right));
    let depth: usize = sizes(&a, &inner).iter().product();
    let x = arranged(&a, &[&batch[..], &left, &inner].concat())?;
    let y = arranged(&b, &[&batch[..], &inner, &right].concat())?;
    let (m, n) = (rows.iter().product(), columns.iter().product());
    let x = x.reshape(&[&lead[..], &[m, depth]].concat())?;
    let y = y.reshape(&[&lead[..], &[depth, n]].concat())?;
    let dtype = x.dtype().promote(y.dtype());
    let product = if dtype.is_floating() || dtype == Dtype::C64 {
        x.matmul(&y)?
    } else {
        x.expand_dims(&[-1])?.multiply(&y.expand_dims(&[-3])?)?.sum(Some(&[-2]), false)?
    };
    let array = product.reshape(&[lead, rows, columns].concat())?;
    Ok(Labelled { array, labels: [batch, left, right].concat() })
}

/// The letters that occur once, in order: the output where none is given.
fn implied(inputs: &[Vec<char>]) -> Vec<char> {
    let all: Vec<char> = inputs.iter().flatten().copied().collect();
    let mut once: Vec<char> = all
        .iter()
        .copied()
        .filter(|&l| l >= ELLIPSIS || all.iter().filter(|&&m| m == l).count() == 1)
        .collect();
    // Axes of the ellipsis come first, the outermost in front.
    once.sort_by_key(|&l| {
        (l < ELLIPSIS, if l >= ELLIPSIS { u32::MAX - l as u32 } else { l as u32 })
    });
    once.dedup();
    once
}

fn evaluate(subscripts: &str, operands: Vec<Array>) -> Answer<Array> {
    let text: String = subscripts.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match text.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (text.as_str(), None),
    };
    let inputs: Vec<&str> = inputs.split(',').collect();
    if inputs.len() != operands.len() {
        let (n, m) = (inputs.len(), operands.len());
        return Err(refuse(format!("{n} subscripts for {m} operands")));
    }
    let mut hidden = 0;
    let mut all = Vec::new();
    for (subscript, array) in inputs.iter().zip(&operands) {
        let named = subscript.replace("...", "").len();
        let spare = array.ndim().checked_sub(named);
        let spare = spare.filter(|&n| n == 0 || subscript.contains("...")).ok_or_else(|| {
            refuse(format!("{subscript:?} does not fit an array of {} axes", array.ndim()))
        })?;
        hidden = hidden.max(spare);
        all.push(labels(subscript, spare)?);
    }
    let output = match output {
        Some(output) => labels(output, hidden)?,
        None => implied(&all),
    };
    if let Some(l) = output.iter().find(|l| !all.iter().flatten().any(|m| m == *l)) {
        return Err(refuse(format!("label {l:?} of the output is in no operand")));
    }
    let mut operands = operands.into_iter().zip(all);
    let label = |(array, labels): (Array, Vec<char>)| without_repeats(Labelled { array, labels });
    let first = operands.next().ok_or_else(|| refuse("at least one operand is needed"))?;
    let mut result = label(first)?;
    while let Some(next) = operands.next() {
        let later: Vec<char> = operands.clone().flat_map(|(_, labels)| labels).collect();
        let next = label(next)?;
        result = contracted(result, next, |l| output.contains(&l) || later.contains(&l))?;
    }
    let result = summed(result, |l| output.contains(&l))?;
    arranged(&result, &output)
}

/// Sums of products that letters describe: `einsum("ik,kj->ij", a, b)` is the matrix product.
#[pyfunction]
#[pyo3(signature = (subscripts, *operands, stream = None))]
fn einsum(subscripts: &str, operands: Vec<Arr>, stream: On) -> Answer<PyArray> {
    let operands = operands.into_iter().map(|a| a.0).collect();
    on(stream, || Ok(evaluate(subscripts, operands)?.into()))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, einsum);
    Ok(())
}
