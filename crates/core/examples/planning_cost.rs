//! Prints what building, planning (a miss and a hit) and dropping cost for each node of a graph.

use lazulite_core::plan::{cache, explain};
use lazulite_core::{Array, Dtype, Result, Source};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
struct Nowhere;

impl Source for Nowhere {
    fn read(&self, _offset: u64, _bytes: &mut [u8]) -> Result<()> {
        Ok(())
    }
}

fn chain(nodes: usize) -> Result<Array> {
    let mut y = Array::load(Arc::new(Nowhere), 0, Dtype::F32, &[16])?;
    for _ in 0..nodes / 2 {
        y = (y * 0.999).sin()?;
    }
    Ok(y)
}

/// A loop over rows that a rule makes a batch of: four nodes for each of them.
fn rows(nodes: usize) -> Result<Array> {
    let n = (nodes / 4).max(4);
    let x = Array::load(Arc::new(Nowhere), 0, Dtype::F32, &[n, 16])?;
    let each = (0..n as i64).map(|i| x.at(i)?.sin()?.sum(None, false));
    Array::stack(&each.collect::<Result<Vec<_>>>()?, 0)
}

fn main() -> Result<()> {
    measure("a chain of elementwise ops", chain)?;
    measure("a loop that a rule batches", rows)
}

fn measure(what: &str, graph: fn(usize) -> Result<Array>) -> Result<()> {
    println!("{what}");
    println!("{:>8} {:>9} {:>9} {:>9} {:>9}  ns a node", "nodes", "build", "miss", "hit", "drop");
    for nodes in [10, 1_000, 100_000] {
        let mut best = [f64::INFINITY; 4];
        for _ in 0..5 {
            cache::clear();
            let mut spent = [0.0; 4];
            let clock =
                |slot: &mut f64, start: Instant| *slot += start.elapsed().as_secs_f64() * 1e9;
            let start = Instant::now();
            let first = graph(nodes)?;
            clock(&mut spent[0], start);
            for place in [1, 2] {
                let start = Instant::now();
                lazulite_core::plan::warm(std::slice::from_ref(&first))?;
                clock(&mut spent[place], start);
            }
            let start = Instant::now();
            drop(first);
            clock(&mut spent[3], start);
            for (b, s) in best.iter_mut().zip(spent) {
                *b = b.min(s / nodes as f64);
            }
        }
        let [build, miss, hit, dropped] = best;
        println!("{nodes:>8} {build:>9.0} {miss:>9.0} {hit:>9.0} {dropped:>9.0}");
    }
    let _ = explain(&[graph(10)?])?;
    Ok(())
}
