//! Prints what building, planning (a miss and a hit) and dropping cost for each node of a graph, in
//! nanoseconds.

use lazulite_core::plan::{self, cache};
use lazulite_core::{Array, Dtype, Result, Source, transform};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
struct Nowhere;

impl Source for Nowhere {
    fn read(&self, _offset: u64, _bytes: &mut [u8]) -> Result<()> {
        Ok(())
    }
}

fn load(shape: &[usize]) -> Result<Array> {
    Array::load(Arc::new(Nowhere), 0, Dtype::F32, shape)
}

fn chain(n: usize) -> Result<Array> {
    (0..n).try_fold(load(&[16])?, |y, _| (y * 0.999).sin())
}

/// A loop over rows that a rule makes a batch of.
fn rows(n: usize) -> Result<Array> {
    let x = load(&[n, 16])?;
    let each = (0..n as i64).map(|i| x.at(i)?.sin()?.sum(None, false));
    Array::stack(&each.collect::<Result<Vec<_>>>()?, 0)
}

fn loss(w: &Array, x: &Array, y: &Array) -> Result<Array> {
    (x.matmul(w)?.tanh()? - y).square()?.mean(None, false)
}

/// The losses of single examples, in a loop.
fn losses(n: usize) -> Result<Array> {
    let (w, x, y) = (load(&[64, 64])?, load(&[n, 64])?, load(&[n, 64])?);
    let each = (0..n as i64).map(|i| loss(&w, &x.at(i)?, &y.at(i)?));
    Array::stack(&each.collect::<Result<Vec<_>>>()?, 0)
}

/// The gradients of single examples, in a loop.
fn gradients(n: usize) -> Result<Array> {
    let (w, x, y) = (load(&[64, 64])?, load(&[n, 64])?, load(&[n, 64])?);
    let each = (0..n as i64).map(|i| {
        let (x, y) = (x.at(i)?, y.at(i)?);
        transform::grad(move |w: Array| loss(&w, &x, &y))(w.clone())
    });
    Array::stack(&each.collect::<Result<Vec<_>>>()?, 0)
}

fn main() -> Result<()> {
    println!("| graph | nodes | build | miss | hit | drop |");
    println!("|---|---:|---:|---:|---:|---:|");
    measure("a chain of elementwise ops", 3, 3, chain)?;
    measure("a loop over rows, batched by a rule", 4, 5, rows)?;
    measure("losses of single examples, the same", 4, 15, losses)?;
    measure("their gradients, the same", 4, 32, gradients)
}

/// Measures graphs of about 10, 1,000 and 100,000 nodes, which have `each` nodes for each of at
/// least `least` items.
fn measure(what: &str, least: usize, each: usize, graph: fn(usize) -> Result<Array>) -> Result<()> {
    for nodes in [10, 1_000, 100_000] {
        let items = (nodes / each).max(least);
        let mut best = [f64::INFINITY; 4];
        for _ in 0..(1_000_000 / (items * each)).clamp(5, 300) {
            cache::clear();
            let mut spent = [0.0; 4];
            let clock =
                |slot: &mut f64, start: Instant| *slot += start.elapsed().as_secs_f64() * 1e9;
            let start = Instant::now();
            let first = graph(items)?;
            clock(&mut spent[0], start);
            for place in [1, 2] {
                let start = Instant::now();
                plan::warm(std::slice::from_ref(&first))?;
                clock(&mut spent[place], start);
            }
            let start = Instant::now();
            drop(first);
            clock(&mut spent[3], start);
            for (b, s) in best.iter_mut().zip(spent) {
                *b = b.min(s / (items * each) as f64);
            }
        }
        let [build, miss, hit, dropped] = best;
        println!(
            "| {what} | {} | {build:.0} | {miss:.0} | {hit:.0} | {dropped:.0} |",
            items * each
        );
    }
    Ok(())
}
