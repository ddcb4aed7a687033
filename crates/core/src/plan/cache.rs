//! Pass 6, which comes first: plans under the structural keys of their graphs.
//!
//! A key holds ops, dtypes, ranks, unit axes, which shapes are equal, sharing, and who is held from
//! outside; sizes, strides, slice bounds and scalar values are parameters. Where a pass looked at
//! a parameter, the plan has a [`Guard`], and a graph that fails it gets a plan of its own.

use super::collect::Graph;
use super::rules::Candidate;
use super::{Guard, Plan};
use crate::observe::Planned;
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
fn key(graph: &Graph, stage: Stage) -> Vec<u64> {
    let mut key = KeyWriter { words: Vec::with_capacity(graph.nodes.len() * 8 + 8) };
    key.words.push(stage as u64);
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
        if let Some(slot) = n.stands_for {
            key.words.extend([u64::MAX - 1, u64::from(slot)]);
        } else if n.leaf {
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
            && n.stands_for.is_none()
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

/// Whether rules were applied to a graph.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The graph is as it was asked for.
    Asked,
    /// Rules were applied; there is nothing left for them to find.
    Rewritten,
    /// Each node is to be a step of its own.
    Plain,
}

/// What is known of a structure.
#[derive(Clone)]
enum Known {
    /// Its plan.
    Plan(Arc<Plan>),
    /// Where rules may apply; the graph that they make has a plan of its own.
    Rules(Arc<[Candidate]>),
}

struct Entry {
    key: Vec<u64>,
    known: Known,
    used: u64,
}

/// Plans by the hash of their key; bounded, least recently used out.
#[derive(Default)]
struct Cache {
    entries: FxHashMap<u64, Vec<Entry>>,
    clock: u64,
    words: usize,
    stats: CacheStats,
    /// How often a known structure was planned anew, by the guard that failed.
    failures: FastMap<String, u64>,
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

thread_local! {
    /// True while [`without_rules`] runs.
    static PLAIN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `f` with plans in which every node is a step of its own: no rule applies and nothing is
/// fused. What it computes on this thread is what the ops say, one by one; tests compare with it.
pub fn without_rules<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLAIN.set(self.0);
        }
    }
    let _restore = Restore(PLAIN.replace(true));
    f()
}

/// The plan of `graph`, from the cache or made now, and the graph that the plan is for, in which
/// rules may have replaced nodes.
pub(crate) fn plan(mut graph: Graph) -> (Graph, Arc<Plan>, Planned) {
    let mut stage = if PLAIN.get() { Stage::Plain } else { Stage::Asked };
    let mut planned = Planned::Found;
    loop {
        let words = key(&graph, stage);
        let hash = {
            let mut h = rustc_hash::FxHasher::default();
            words.iter().for_each(|&w| h.write_u64(w));
            h.finish()
        };
        let known = find(hash, &words, &graph).unwrap_or_else(|failed| {
            planned = if failed { Planned::Guard } else { Planned::New };
            let known = match stage {
                Stage::Asked => super::rules::candidates(&graph),
                Stage::Rewritten | Stage::Plain => Vec::new(),
            };
            let known = if known.is_empty() {
                Known::Plan(Arc::new(super::make(&graph, stage == Stage::Plain)))
            } else {
                Known::Rules(known.into())
            };
            insert(hash, words, known.clone());
            known
        });
        match known {
            Known::Plan(plan) => {
                count(planned);
                return (graph, plan, planned);
            }
            Known::Rules(candidates) => {
                graph = super::rules::apply(graph, &candidates);
                stage = Stage::Rewritten;
            }
        }
    }
}

/// What the cache holds for a key, if the guards hold of the graph; else whether one failed.
fn find(hash: u64, words: &[u64], graph: &Graph) -> Result<Known, bool> {
    let mut guard = CACHE.lock();
    let cache = guard.get_or_insert_default();
    cache.clock += 1;
    let now = cache.clock;
    let mut failed: Option<Guard> = None;
    for entry in cache.entries.get_mut(&hash).into_iter().flatten().filter(|e| e.key == words) {
        let fails = match &entry.known {
            Known::Plan(plan) => plan.guards.iter().find(|g| !g.holds(graph)),
            Known::Rules(_) => None,
        };
        match fails {
            Some(&guard) => failed = Some(guard),
            None => {
                entry.used = now;
                return Ok(entry.known.clone());
            }
        }
    }
    if let Some(guard) = failed {
        cache.stats.guard_failures += 1;
        let times = cache.failures.entry(guard.describe(graph)).or_default();
        *times += 1;
    }
    Err(failed.is_some())
}

fn insert(hash: u64, key: Vec<u64>, known: Known) {
    let mut guard = CACHE.lock();
    let cache = guard.get_or_insert_default();
    cache.words += key.len();
    let used = cache.clock;
    cache.entries.entry(hash).or_default().push(Entry { key, known, used });
    if cache.words > MAX_WORDS {
        cache.evict();
    }
}

fn count(planned: Planned) {
    let made = planned != Planned::Found;
    let mut guard = CACHE.lock();
    let stats = &mut guard.get_or_insert_default().stats;
    stats.misses += u64::from(made);
    stats.hits += u64::from(!made);
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
        plans: c.entries.values().flatten().filter(|e| matches!(e.known, Known::Plan(_))).count(),
        ..c.stats
    })
}

/// Why known structures were planned anew since the process began, and how often, most frequent
/// first.
pub fn failures() -> Vec<(String, u64)> {
    let guard = CACHE.lock();
    let mut all: Vec<_> =
        guard.iter().flat_map(|c| &c.failures).map(|(why, &times)| (why.clone(), times)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all
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

    /// What the guard asked for, for people.
    fn describe(&self, graph: &Graph) -> String {
        match *self {
            Guard::SameOp(a, _) => {
                let op = graph.nodes[a as usize].node.op.name();
                format!("two {op} nodes had equal parameters and now differ")
            }
            Guard::Value(_, literal) => format!("a scalar was {literal:?} and now is not"),
        }
    }
}

/// The type of hash maps over small integers in the planner.
pub(crate) type FastMap<K, V> =
    std::collections::HashMap<K, V, BuildHasherDefault<rustc_hash::FxHasher>>;
