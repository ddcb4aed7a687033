//! Einstein summation: a planned order of contractions of two operands, each one matrix product.

use crate::array::Array;
use crate::error::{Error, Result};
use std::fmt::Write;

/// Operands up to which the best order is found by trying all; beyond it each step is the one that
/// leaves the least behind.
const EXHAUSTIVE: usize = 7;

/// Labels of the axes that an ellipsis stands for, the last axis first.
const ELLIPSIS: char = '\u{E000}';

fn refuse(message: impl Into<String>) -> Error {
    Error::argument("einsum", message)
}

fn ellipsis_label(from_end: usize) -> char {
    char::from_u32(ELLIPSIS as u32 + from_end as u32).unwrap_or(ELLIPSIS)
}

/// The labels of one subscript, whose ellipsis stands for `hidden` axes.
fn labels(subscript: &str, hidden: usize) -> Result<Vec<char>> {
    let (before, after) = match subscript.split_once("...") {
        Some((before, after)) => (before, Some(after)),
        None => (subscript, None),
    };
    let mut out: Vec<char> = before.chars().collect();
    if let Some(after) = after {
        out.extend((0..hidden).rev().map(ellipsis_label));
        out.extend(after.chars());
    }
    match out.iter().find(|c| !c.is_ascii_alphabetic() && **c < ELLIPSIS) {
        Some(c) => Err(refuse(format!("invalid character {c:?} in {subscript:?}"))),
        None => Ok(out),
    }
}

/// Subscripts taken apart: the labels of each operand's axes, those of the result, and the size
/// that each label stands for.
struct Sum {
    inputs: Vec<Vec<char>>,
    output: Vec<char>,
    sizes: Vec<(char, usize)>,
}

impl Sum {
    fn parse(subscripts: &str, shapes: &[&[usize]]) -> Result<Sum> {
        let text: String = subscripts.chars().filter(|c| !c.is_whitespace()).collect();
        let (inputs, output) = match text.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (text.as_str(), None),
        };
        let subscripts: Vec<&str> = inputs.split(',').collect();
        if subscripts.len() != shapes.len() {
            let (n, m) = (subscripts.len(), shapes.len());
            return Err(refuse(format!("{n} subscripts for {m} operands")));
        }
        let (mut hidden, mut inputs) = (0, Vec::new());
        for (subscript, shape) in subscripts.iter().zip(shapes) {
            let named = subscript.replace("...", "").chars().count();
            let spare = shape.len().checked_sub(named);
            let fits = spare.filter(|&n| n == 0 || subscript.contains("..."));
            let spare = fits.ok_or_else(|| {
                refuse(format!("{subscript:?} does not fit an array of {} axes", shape.len()))
            })?;
            hidden = hidden.max(spare);
            inputs.push(labels(subscript, spare)?);
        }
        let output = match output {
            Some(output) => labels(output, hidden)?,
            None => implied(&inputs),
        };
        let twice = |l: &&char| output.iter().filter(|m| m == l).count() > 1;
        if let Some(l) = output.iter().find(twice) {
            return Err(refuse(format!("label {l:?} is twice in the output")));
        }
        if let Some(l) = output.iter().find(|l| !inputs.iter().flatten().any(|m| m == *l)) {
            return Err(refuse(format!("label {l:?} of the output is in no operand")));
        }
        let mut sum = Sum { inputs, output, sizes: Vec::new() };
        for (labels, shape) in sum.inputs.iter().zip(shapes) {
            for (&l, &n) in labels.iter().zip(*shape) {
                match sum.sizes.iter_mut().find(|(m, _)| *m == l) {
                    Some((_, size)) if *size == n || n == 1 => {}
                    Some((_, size)) if *size == 1 => *size = n,
                    Some((_, size)) => {
                        let name = if l >= ELLIPSIS { "...".into() } else { l.to_string() };
                        return Err(refuse(format!("label {name} is {size} and {n} long")));
                    }
                    None => sum.sizes.push((l, n)),
                }
            }
        }
        if sum.sizes.len() > 64 {
            return Err(refuse("more than 64 axes"));
        }
        Ok(sum)
    }

    fn size(&self, label: char) -> u128 {
        self.sizes.iter().find(|(l, _)| *l == label).map_or(1, |(_, n)| *n as u128)
    }

    /// The product of the sizes, without overflow.
    fn volume(&self, labels: u64) -> u128 {
        (self.sizes.iter().enumerate())
            .filter(|(i, _)| labels >> i & 1 == 1)
            .fold(1, |v: u128, (_, (_, n))| v.saturating_mul(*n as u128))
    }

    fn mask(&self, labels: &[char]) -> u64 {
        (self.sizes.iter().enumerate())
            .filter(|(_, (l, _))| labels.contains(l))
            .fold(0, |mask, (i, _)| mask | 1 << i)
    }

    /// Multiplications and, if any label is summed, additions of a contraction over `labels`.
    fn cost(&self, labels: u64, terms: usize, kept: u64) -> u128 {
        let factor = terms.max(2) as u128 - 1 + u128::from(labels & !kept != 0);
        self.volume(labels).saturating_mul(factor)
    }

    /// The pairs to contract, by place among the operands that are left; results go to the end.
    fn path(&self) -> Vec<(usize, usize)> {
        let output = self.mask(&self.output);
        let masks: Vec<u64> = self.inputs.iter().map(|l| self.mask(l)).collect();
        if masks.len() <= EXHAUSTIVE {
            return self.best(&masks, output, u128::MAX).map_or_else(Vec::new, |(_, path)| path);
        }
        let mut left = masks;
        let mut path = Vec::new();
        while left.len() > 1 {
            let Some((i, j)) = pairs(left.len()).min_by_key(|&(i, j)| {
                let (kept, all) = merged(&left, i, j, output);
                let grown = self.volume(kept) as f64
                    - self.volume(left[i]) as f64
                    - self.volume(left[j]) as f64;
                (ordered(grown), self.cost(all, 2, kept))
            }) else {
                break;
            };
            left = after(&left, i, j, output);
            path.push((i, j));
        }
        path
    }

    /// The cheapest order whose cost is below `bound`, and its cost.
    fn best(&self, left: &[u64], output: u64, bound: u128) -> Option<(u128, Vec<(usize, usize)>)> {
        if left.len() < 2 {
            return Some((0, Vec::new()));
        }
        let (mut bound, mut found) = (bound, None);
        for (i, j) in pairs(left.len()) {
            let (kept, all) = merged(left, i, j, output);
            let cost = self.cost(all, 2, kept);
            if cost >= bound {
                continue;
            }
            let rest = after(left, i, j, output);
            if let Some((more, mut path)) = self.best(&rest, output, bound - cost) {
                path.insert(0, (i, j));
                bound = cost.saturating_add(more);
                found = Some((bound, path));
            }
        }
        found
    }
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

/// What a pair leaves, and all labels that it meets.
fn merged(left: &[u64], i: usize, j: usize, output: u64) -> (u64, u64) {
    let others = (left.iter().enumerate())
        .filter(|(k, _)| *k != i && *k != j)
        .fold(output, |mask, (_, m)| mask | m);
    let all = left[i] | left[j];
    (all & others, all)
}

fn after(left: &[u64], i: usize, j: usize, output: u64) -> Vec<u64> {
    let (kept, _) = merged(left, i, j, output);
    let rest = left.iter().enumerate().filter(|(k, _)| *k != i && *k != j).map(|(_, m)| *m);
    rest.chain([kept]).collect()
}

/// A number's place among numbers.
fn ordered(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The letters that occur once, in order: the output where none is given.
fn implied(inputs: &[Vec<char>]) -> Vec<char> {
    let all: Vec<char> = inputs.iter().flatten().copied().collect();
    let once = |l: &char| *l >= ELLIPSIS || all.iter().filter(|m| *m == l).count() == 1;
    let mut out: Vec<char> = all.iter().copied().filter(once).collect();
    // Axes of the ellipsis come first, the outermost in front.
    out.sort_by_key(|&l| (l < ELLIPSIS, if l < ELLIPSIS { l as u32 } else { !(l as u32) }));
    out.dedup();
    out
}

/// An operand and the label of each of its axes.
struct Labelled {
    array: Array,
    labels: Vec<char>,
}

impl Labelled {
    fn axes_of(&self, wanted: impl Fn(char) -> bool) -> Vec<i64> {
        let hit = |(i, &l): (usize, &char)| wanted(l).then_some(i as i64);
        self.labels.iter().enumerate().filter_map(hit).collect()
    }

    /// One axis for each label, by diagonals; axes of size 1 that are broadcast are dropped.
    fn distinct(mut self, sum: &Sum) -> Result<Labelled> {
        let mut i = 0;
        while i < self.labels.len() {
            let label = self.labels[i];
            if self.array.shape()[i] == 1 && sum.size(label) > 1 {
                self.array = self.array.squeeze(Some(&[i as i64]))?;
                self.labels.remove(i);
                continue;
            }
            let Some(j) = self.labels[i + 1..].iter().position(|l| *l == label) else {
                i += 1;
                continue;
            };
            let j = i + 1 + j;
            if self.array.shape()[j] == 1 && sum.size(label) > 1 {
                self.array = self.array.squeeze(Some(&[j as i64]))?;
                self.labels.remove(j);
                continue;
            }
            self.array = self.array.diagonal(0, i as i64, j as i64)?;
            self.labels.remove(j);
            self.labels.remove(i);
            self.labels.push(label);
        }
        Ok(self)
    }

    /// Sums the axes that nothing else needs.
    fn summed(self, needed: impl Fn(char) -> bool) -> Result<Labelled> {
        let gone = self.axes_of(|l| !needed(l));
        if gone.is_empty() {
            return Ok(self);
        }
        let labels = self.labels.iter().copied().filter(|&l| needed(l)).collect();
        Ok(Labelled { array: self.array.sum(Some(&gone), false)?, labels })
    }

    /// The axes in the order of `order`, which names all of them.
    fn arranged(&self, order: &[char]) -> Result<Array> {
        let place = |l: &char| self.labels.iter().position(|m| m == l).map(|i| i as i64);
        self.array.transpose(Some(&order.iter().filter_map(place).collect::<Vec<_>>()))
    }

    /// The product with `other`, summed over what nothing else needs.
    fn contracted(self, other: Labelled, needed: impl Fn(char) -> bool) -> Result<Labelled> {
        let (a, b) = (self, other);
        let a = a.summed(|l| needed(l) || b.labels.contains(&l))?;
        let b = b.summed(|l| needed(l) || a.labels.contains(&l))?;
        let shared = |l: &&char| b.labels.contains(l);
        let (batch, inner): (Vec<char>, Vec<char>) =
            a.labels.iter().filter(shared).copied().partition(|&l| needed(l));
        let only = |a: &Labelled, b: &Labelled| -> Vec<char> {
            a.labels.iter().copied().filter(|l| !b.labels.contains(l)).collect()
        };
        let (left, right) = (only(&a, &b), only(&b, &a));
        let x = a.arranged(&[&batch[..], &left, &inner].concat())?;
        let y = b.arranged(&[&batch[..], &inner, &right].concat())?;
        let (lead, rows) = (x.shape()[..batch.len()].to_vec(), batch.len() + left.len());
        let (rows, depth) = (x.shape()[batch.len()..rows].to_vec(), x.shape()[rows..].to_vec());
        let columns = y.shape()[batch.len() + inner.len()..].to_vec();
        let product = |sizes: &[usize]| sizes.iter().product::<usize>();
        let (m, k, n) = (product(&rows), product(&depth), product(&columns));
        let x = x.reshape(&[&lead[..], &[m, k]].concat())?;
        let y = y.reshape(&[&lead[..], &[k, n]].concat())?;
        let out = if inner.is_empty() { x.multiply(&y)? } else { x.matmul(&y)? };
        let array = out.reshape(&[lead, rows, columns].concat())?;
        Ok(Labelled { array, labels: [batch, left, right].concat() })
    }
}

/// The sum of products that `subscripts` describe: `"ik,kj->ij"` is the matrix product. Letters
/// name axes; a letter that is not in the output is summed; `...` stands for axes that broadcast.
/// Without `->` the output has the letters that occur once, in alphabetic order.
///
/// Operands are contracted in the order of [`einsum_path`].
///
/// # Dtypes
/// The promoted type of the operands.
///
/// # Errors
/// Kind `Argument` if the subscripts do not fit the operands or a letter has two sizes.
///
/// ```no_run
/// use lazulite_core::{Array, op::einsum::einsum};
/// let a = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(einsum("ii", &[a])?.item::<f32>()?, 5.0);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn einsum(subscripts: &str, operands: &[Array]) -> Result<Array> {
    let shapes: Vec<&[usize]> = operands.iter().map(Array::shape).collect();
    let sum = Sum::parse(subscripts, &shapes)?;
    let mut left = (operands.iter().zip(&sum.inputs))
        .map(|(x, labels)| Labelled { array: x.clone(), labels: labels.clone() }.distinct(&sum))
        .collect::<Result<Vec<_>>>()?;
    for (i, j) in sum.path() {
        let (b, a) = (left.remove(j), left.remove(i));
        let needed = |l: char| {
            sum.output.contains(&l) || left.iter().any(|x: &Labelled| x.labels.contains(&l))
        };
        let joined = a.contracted(b, needed)?;
        left.push(joined);
    }
    let Some(last) = left.pop() else { return Err(refuse("at least one operand is needed")) };
    let last = last.summed(|l| sum.output.contains(&l))?;
    last.arranged(&sum.output)
}

/// The order in which [`einsum`] contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// For each step the operands that are contracted, by place among those that are left; the
    /// result goes to the end.
    pub steps: Vec<Vec<usize>>,
    /// Multiplications and additions of one loop over all letters.
    pub naive: u128,
    /// Multiplications and additions of the steps.
    pub optimized: u128,
    /// The greatest numbers of letters in one loop, of the one loop and of the steps.
    pub scaling: (usize, usize),
    /// The subscripts with their output.
    pub contraction: String,
}

impl Path {
    /// The path as text.
    pub fn report(&self) -> String {
        let mut text = format!("  Complete contraction:  {}\n", self.contraction);
        // Writing to a string does not fail.
        let _ = writeln!(text, "         Naive scaling:  {}", self.scaling.0);
        let _ = writeln!(text, "     Optimized scaling:  {}", self.scaling.1);
        let _ = writeln!(text, "      Naive FLOP count:  {}", self.naive);
        let _ = writeln!(text, "  Optimized FLOP count:  {}", self.optimized);
        text
    }
}

/// The order of contractions that takes the fewest operations, found by trying all for up to seven
/// operands; for more each step is the one that leaves the least behind.
///
/// # Errors
/// As [`einsum`].
pub fn einsum_path(subscripts: &str, shapes: &[&[usize]]) -> Result<Path> {
    let sum = Sum::parse(subscripts, shapes)?;
    let output = sum.mask(&sum.output);
    let mut left: Vec<u64> = sum.inputs.iter().map(|l| sum.mask(l)).collect();
    let everything = left.iter().fold(output, |all, m| all | m);
    let naive = sum.cost(everything, left.len(), output);
    let (mut optimized, mut widest, mut steps) = (0u128, 0, Vec::new());
    for (i, j) in sum.path() {
        let (kept, all) = merged(&left, i, j, output);
        optimized = optimized.saturating_add(sum.cost(all, 2, kept));
        widest = widest.max(all.count_ones() as usize);
        left = after(&left, i, j, output);
        steps.push(vec![i, j]);
    }
    if steps.is_empty() {
        (optimized, widest) = (naive, everything.count_ones() as usize);
        steps.push(vec![0]);
    }
    let shown = |labels: &[char]| -> String {
        let mut text = String::new();
        for (i, &l) in labels.iter().enumerate() {
            if l < ELLIPSIS {
                text.push(l);
            } else if i == 0 || labels[i - 1] < ELLIPSIS {
                text.push_str("...");
            }
        }
        text
    };
    let inputs: Vec<String> = sum.inputs.iter().map(|l| shown(l)).collect();
    let contraction = format!("{}->{}", inputs.join(","), shown(&sum.output));
    let scaling = (everything.count_ones() as usize, widest);
    Ok(Path { steps, naive, optimized, scaling, contraction })
}
