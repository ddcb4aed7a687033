//! Pass 6, which comes first: plans under the structural keys of their graphs.
//!
//! A key holds ops, dtypes, ranks, unit axes, which shapes are equal, sharing, and who is held from
//! outside; sizes, strides, slice bounds and scalar values are parameters. Where a pass looked at
//! a parameter, the plan has a [`Guard`], and a graph that fails it gets a plan of its own.

use super::collect::Graph;
use super::{Guard, Plan};
use crate::shape::Shape;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// A hasher that keeps what it is fed, so that equal keys can be told from colliding ones.
#[derive(Default)]
struct KeyWriter {
    words: Vec<u64>,
}

impl Hasher for KeyWriter {
    fn finish(&self) -> u64 {
        let mut hash = rustc_hash::FxHasher::default();
        for &w in &self.words {
            hash.write_u64(w);
        }
        hash.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.words.push(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, x: u8) {
        self.words.push(u64::from(x));
    }

    fn write_u32(&mut self, x: u32) {
        self.words.push(u64::from(x));
    }

    fn write_u64(&mut self, x: u64) {
        self.words.push(x);
    }

    fn write_usize(&mut self, x: usize) {
        self.words.push(x as u64);
    }

    fn write_isize(&mut self, x: isize) {
        self.words.push(x as u64);
    }
}

/// The structural key of a graph, and for each slot the number of its shape: equal shapes have
/// equal numbers.
fn key(graph: &Graph) -> Vec<u64> {
    let mut key = KeyWriter { words: Vec::with_capacity(graph.nodes.len() * 8) };
    let mut shapes: FxHashMap<&Shape, u64> = FxHashMap::default();
    let mut streams: Vec<crate::device::Stream> = Vec::new();
    let mut last: Option<(&Shape, u64)> = None;
    for n in &graph.nodes {
        let stream = streams.iter().position(|&s| s == n.node.stream).unwrap_or_else(|| {
            streams.push(n.node.stream);
            streams.len() - 1
        });
        let flags = u64::from(n.leaf) | u64::from(n.held) << 1 | (stream as u64) << 2;
        key.words.push(flags);
        if n.leaf {
            // The leaf may be the only handle: then its buffer may be reused.
            key.words.push(u64::MAX);
        } else {
            n.node.op.key(&mut key);
            for &input in &n.inputs {
                key.words.push(u64::from(input));
            }
        }
        for output in &n.node.outputs {
            let id = match last {
                Some((shape, id)) if *shape == output.shape => id,
                _ => {
                    let next = shapes.len() as u64;
                    *shapes.entry(&output.shape).or_insert(next)
                }
            };
            last = Some((&output.shape, id));
            let units = unit_mask(&output.shape);
            key.words.push(id | (output.dtype as u64) << 32 | (output.shape.len() as u64) << 40);
            key.words.push(units);
        }
        if let crate::op::Primitive::Reshape(_) = n.node.op
            && !n.leaf
        {
            key.words.push(u64::from(super::fuse::is_unit_reshape(graph, n)));
        }
    }
    key.words.push(u64::MAX);
    key.words.extend(graph.outputs.iter().map(|&s| u64::from(s)));
    key.words
}

/// Bit `a` is set iff axis `a` has size 1.
pub(crate) fn unit_mask(shape: &[usize]) -> u64 {
    shape.iter().enumerate().fold(0, |m, (a, &n)| m | u64::from(n == 1) << (a & 63))
}

struct Entry {
    key: Vec<u64>,
    plan: Arc<Plan>,
    used: u64,
}

/// Plans by the hash of their key; bounded, least recently used out.
#[derive(Default)]
struct Cache {
    entries: FxHashMap<u64, Vec<Entry>>,
    clock: u64,
    words: usize,
    stats: CacheStats,
}

/// How often plans were found and made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Evaluations whose plan was in the cache.
    pub hits: u64,
    /// Evaluations that were planned.
    pub misses: u64,
    /// Of the misses, those whose structure was known but whose parameters failed a guard.
    pub guard_failures: u64,
    /// Plans in the cache now.
    pub plans: usize,
}

/// The cache's bound, in words of keys: about 128 MiB with the plans.
const MAX_WORDS: usize = 4 << 20;

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

/// The plan of `graph`, from the cache or made now.
pub(crate) fn plan(graph: &Graph) -> Arc<Plan> {
    let words = key(graph);
    let hash = {
        let mut h = rustc_hash::FxHasher::default();
        words.iter().for_each(|&w| h.write_u64(w));
        h.finish()
    };
    let mut known = false;
    {
        let mut guard = CACHE.lock();
        let cache = guard.get_or_insert_default();
        cache.clock += 1;
        let now = cache.clock;
        for entry in cache.entries.get_mut(&hash).into_iter().flatten() {
            if entry.key == words {
                known = true;
                if entry.plan.guards.iter().all(|g| g.holds(graph)) {
                    entry.used = now;
                    cache.stats.hits += 1;
                    return entry.plan.clone();
                }
            }
        }
    }
    let plan = Arc::new(super::make(graph));
    let mut guard = CACHE.lock();
    let cache = guard.get_or_insert_default();
    cache.stats.misses += 1;
    cache.stats.guard_failures += u64::from(known);
    cache.words += words.len();
    let used = cache.clock;
    cache.entries.entry(hash).or_default().push(Entry { key: words, plan: plan.clone(), used });
    if cache.words > MAX_WORDS {
        cache.evict();
    }
    plan
}

impl Cache {
    /// Drops the older half.
    fn evict(&mut self) {
        let mut ages: Vec<u64> = self.entries.values().flatten().map(|e| e.used).collect();
        ages.sort_unstable();
        let cut = ages[ages.len() / 2];
        for list in self.entries.values_mut() {
            list.retain(|e| e.used > cut);
        }
        self.entries.retain(|_, list| !list.is_empty());
        self.words = self.entries.values().flatten().map(|e| e.key.len()).sum();
    }
}

/// How often plans were found and made since the process began.
pub fn stats() -> CacheStats {
    let guard = CACHE.lock();
    guard.as_ref().map_or_else(CacheStats::default, |c| CacheStats {
        plans: c.entries.values().map(Vec::len).sum(),
        ..c.stats
    })
}

/// Forgets all plans and sets the counters to zero.
pub fn clear() {
    *CACHE.lock() = None;
}

impl Guard {
    fn holds(&self, graph: &Graph) -> bool {
        match *self {
            Guard::SameOp(a, b) => {
                graph.nodes[a as usize].node.op == graph.nodes[b as usize].node.op
            }
            Guard::Value(node, literal) => {
                graph.nodes[node as usize].node.op == crate::op::Primitive::Scalar(literal)
            }
        }
    }
}

/// The type of hash maps over small integers in the planner.
pub(crate) type FastMap<K, V> =
    std::collections::HashMap<K, V, BuildHasherDefault<rustc_hash::FxHasher>>;
