//! Plans under the structural keys of their graphs: looked up after pass 1, before the others run.
//!
//! A key holds ops, dtypes, ranks, unit axes, which shapes are equal, sharing, and who is held from
//! outside; sizes, strides, slice bounds and scalar values are parameters. Where a pass looked at
//! a parameter, the plan has a [`Guard`], and a graph that fails it gets a plan of its own.

use super::collect::Graph;
use super::rules::{Candidate, Recipe};
use super::{Guard, Plan};
use crate::observe::Planned;
use crate::shape::Shape;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the words of a key go.
pub(crate) trait Words {
    /// Takes the next word.
    fn word(&mut self, word: u64);
}

/// A hasher that hands on what it is fed, so that equal keys can be told from colliding ones.
#[derive(Default)]
pub(crate) struct Keyed<W>(pub(crate) W);

/// Keeps a key.
pub(crate) type KeyWriter = Keyed<Vec<u64>>;

impl Words for Vec<u64> {
    fn word(&mut self, word: u64) {
        self.push(word);
    }
}

/// What is left of a key, and whether it was equal so far.
pub(crate) struct Rest<'a>(&'a [u64], bool);

/// Compares with a key that was kept.
pub(crate) type KeyReader<'a> = Keyed<Rest<'a>>;

impl Words for Rest<'_> {
    fn word(&mut self, word: u64) {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                self.1 &= first == word;
            }
            None => self.1 = false,
        }
    }
}

impl<'a> KeyReader<'a> {
    /// Compares with `words`.
    pub(crate) fn new(words: &'a [u64]) -> KeyReader<'a> {
        Keyed(Rest(words, true))
    }

    /// True iff what came so far is how the key begins.
    pub(crate) fn matches(&self) -> bool {
        self.0.1
    }
}

impl<W: Words> Hasher for Keyed<W> {
    /// Keys are compared word by word; nobody asks for a hash of one under way.
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|&w| self.0.word(u64::from_le_bytes(w)));
        if !rest.is_empty() {
            let mut word = [0u8; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.0.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, x: u8) {
        self.0.word(u64::from(x));
    }

    fn write_u32(&mut self, x: u32) {
        self.0.word(u64::from(x));
    }

    fn write_u64(&mut self, x: u64) {
        self.0.word(x);
    }

    fn write_usize(&mut self, x: usize) {
        self.0.word(x as u64);
    }

    fn write_isize(&mut self, x: isize) {
        self.0.word(x as u64);
    }
}

/// Numbers for shapes, equal ones for equal shapes. Graphs have few; the first of them are found
/// without hashing.
#[derive(Default)]
struct Shapes<'a> {
    first: SmallVec<[&'a Shape; 6]>,
    more: FxHashMap<&'a Shape, u64>,
}

impl<'a> Shapes<'a> {
    fn number(&mut self, shape: &'a Shape) -> u64 {
        if let Some(place) = self.first.iter().position(|s| *s == shape) {
            return place as u64;
        }
        if self.first.len() < self.first.inline_size() {
            self.first.push(shape);
            return self.first.len() as u64 - 1;
        }
        let next = (self.first.len() + self.more.len()) as u64;
        *self.more.entry(shape).or_insert(next)
    }
}

/// The structural key of a graph. Shapes are in it by number: equal ones have equal numbers.
///
/// The words go to `room`.
fn key(graph: &Graph, stage: Stage, enabled: Enabled, mut room: Vec<u64>) -> Vec<u64> {
    room.clear();
    room.reserve(graph.nodes.len() * 8 + 8);
    let mut key: KeyWriter = Keyed(room);
    key.0.push(stage as u64 | u64::from(enabled.0) << 1);
    let mut shapes = Shapes::default();
    let mut streams: Vec<crate::device::Stream> = Vec::new();
    for n in &graph.nodes {
        let stream = streams.iter().position(|&s| s == n.node.stream).unwrap_or_else(|| {
            streams.push(n.node.stream);
            streams.len() - 1
        });
        let gpu = n.node.stream.device.kind == crate::device::DeviceKind::Gpu;
        let flags = u64::from(n.leaf) | u64::from(n.held) << 1 | u64::from(gpu) << 2;
        let flags = flags | (stream as u64) << 3;
        key.0.push(flags);
        if let Some(slot) = n.stands_for {
            key.0.extend([u64::MAX - 1, u64::from(slot)]);
        } else if n.leaf {
            // The leaf may be the only handle: then its buffer may be reused.
            key.0.push(u64::MAX);
        } else {
            n.node.op.key(&mut key);
            for &input in &n.inputs {
                key.0.push(u64::from(input));
            }
        }
        for output in &n.node.outputs {
            let id = shapes.number(&output.shape);
            let units = unit_mask(&output.shape);
            key.0.push(id | (output.dtype as u64) << 32 | (output.shape.len() as u64) << 40);
            key.0.push(units);
        }
        if let crate::op::Primitive::Reshape(_) = n.node.op
            && !n.leaf
            && n.stands_for.is_none()
        {
            key.0.push(u64::from(super::fuse::is_unit_reshape(graph, n)));
        }
    }
    key.0.push(u64::MAX);
    key.0.extend(graph.outputs.iter().map(|&s| u64::from(s)));
    key.0.extend(graph.until.iter().map(|&(s, t)| u64::from(s) | u64::from(t) << 32));
    key.0
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
}

/// What is known of a structure.
#[derive(Clone)]
enum Known {
    /// Its plan.
    Plan(Arc<Plan>),
    /// Where rules may apply. The graph that they make has a plan of its own.
    Rules(Arc<[Candidate]>, Recipes),
}

/// What the rules made of graphs of one structure with some values, the latest last.
#[derive(Clone, Default)]
struct Recipes {
    made: SmallVec<[Arc<Made>; 4]>,
    /// How many there were so far.
    count: u32,
}

/// What rules made of a graph, and its plan.
struct Made {
    recipe: Recipe,
    plan: Arc<Plan>,
}

struct Entry {
    key: Vec<u64>,
    known: Known,
    used: u64,
    /// The room that it takes, in words, without the plan.
    words: usize,
}

/// Plans by the hash of their key; bounded, least recently used out.
#[derive(Default)]
struct Cache {
    entries: FxHashMap<u64, Vec<Entry>>,
    clock: u64,
    words: usize,
    guard_failures: u64,
    /// How often a known structure was planned anew, by the guard that failed.
    failures: FxHashMap<String, u64>,
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

/// How often what rules made is kept for one structure.
const MOST_RECIPES: u32 = 64;

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);
static HITS: AtomicU64 = AtomicU64::new(0);
static MISSES: AtomicU64 = AtomicU64::new(0);

/// Which rows of the catalogue of rules may apply, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enabled(u32);

impl Enabled {
    const ALL: Enabled = Enabled(u32::MAX);

    fn only(names: &[&str]) -> Enabled {
        let bit = |(i, rule): (usize, &super::rules::RuleInfo)| {
            if names.contains(&rule.name) { 1 << i } else { 0 }
        };
        Enabled(super::rules::CATALOGUE.iter().enumerate().map(bit).sum())
    }

    /// True iff the rule of this name may apply.
    pub(crate) fn has(self, name: &str) -> bool {
        self == Enabled::ALL || self.0 & Enabled::only(&[name]).0 != 0
    }
}

thread_local! {
    /// What may apply on this thread.
    static ENABLED: std::cell::Cell<Enabled> = const { std::cell::Cell::new(Enabled::ALL) };
}

/// Runs `f` with plans in which every node is a step of its own: no rule applies and nothing is
/// fused. What it computes on this thread is what the ops say, one by one; tests compare with it.
pub fn without_rules<R>(f: impl FnOnce() -> R) -> R {
    with_only_rules(&[], f)
}

/// Runs `f` with plans to which only the rules of these names apply, of those in
/// [`super::rules::CATALOGUE`]. Views and products of strided operands are no rules that can be left
/// out.
pub fn with_only_rules<R>(names: &[&str], f: impl FnOnce() -> R) -> R {
    struct Restore(Enabled);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(Enabled::only(names)));
    f()
}

thread_local! {
    /// Where the calling thread's last key was: large ones cost more to allocate than to write.
    static ROOM: std::cell::Cell<Vec<u64>> = const { std::cell::Cell::new(Vec::new()) };
}

impl Drop for Key {
    fn drop(&mut self) {
        /// Keys of more words are not kept.
        const MOST: usize = 1 << 16;
        if self.words.capacity() <= MOST {
            // A thread that ends has nowhere to keep it.
            let _ = ROOM.try_with(|room| room.set(std::mem::take(&mut self.words)));
        }
    }
}

/// A structural key and its hash.
struct Key {
    hash: u64,
    words: Vec<u64>,
}

impl Key {
    fn of(graph: &Graph, stage: Stage, enabled: Enabled) -> Key {
        let words = key(graph, stage, enabled, ROOM.take());
        let mut h = rustc_hash::FxHasher::default();
        words.iter().for_each(|&w| h.write_u64(w));
        Key { hash: h.finish(), words }
    }
}

/// The plan of `graph`, from the cache or made now, and the graph that the plan is for, in which
/// rules may have replaced nodes.
pub(crate) fn plan(mut graph: Graph) -> (Graph, Arc<Plan>, Planned) {
    let (mut stage, enabled) = (Stage::Asked, ENABLED.get());
    let mut planned = Planned::Found;
    let mut written: Option<(Key, Recipe)> = None;
    loop {
        let key = Key::of(&graph, stage, enabled);
        let known = find(&key, &graph).unwrap_or_else(|failed| {
            planned = if failed { Planned::Guard } else { Planned::New };
            let found = match stage {
                Stage::Asked => super::rules::candidates(&graph, enabled),
                Stage::Rewritten => Vec::new(),
            };
            let known = if found.is_empty() {
                Known::Plan(Arc::new(super::make(&graph, enabled)))
            } else {
                Known::Rules(found.into(), Recipes::default())
            };
            insert(&key, known.clone());
            known
        });
        let (candidates, recipes) = match known {
            Known::Plan(plan) => {
                if let Some((key, recipe)) = written {
                    remember(&key, Made { recipe, plan: plan.clone() });
                }
                count(planned);
                return (graph, plan, planned);
            }
            Known::Rules(candidates, recipes) => (candidates, recipes),
        };
        stage = Stage::Rewritten;
        if let Some(made) = recipes.made.iter().rev().find(|m| m.recipe.fits(&graph)) {
            graph = made.recipe.make(graph);
            if made.plan.guards.iter().all(|g| g.holds(&graph)) {
                count(planned);
                return (graph, made.plan.clone(), planned);
            }
            continue;
        }
        let recipe;
        (graph, recipe) = super::rules::apply(graph, &candidates);
        // Where values were others each time, the next ones will be, too.
        if recipes.count < MOST_RECIPES {
            written = Some((key, recipe));
        }
    }
}

/// Keeps what rules made of a graph of this key, in the place of the oldest such.
fn remember(key: &Key, made: Made) {
    let mut guard = CACHE.lock();
    let cache = guard.get_or_insert_default();
    let entry = cache.entries.get_mut(&key.hash).and_then(|all| {
        all.iter_mut().find(|e| e.key == key.words && matches!(e.known, Known::Rules(..)))
    });
    let Some(Entry { known: Known::Rules(_, recipes), words, .. }) = entry else { return };
    let (before, room) = (*words, made.recipe.len());
    if recipes.made.len() == recipes.made.inline_size() {
        *words -= recipes.made.remove(0).recipe.len();
    }
    recipes.made.push(Arc::new(made));
    recipes.count += 1;
    *words += room;
    cache.words = cache.words + *words - before;
    cache.trim();
}

/// What the cache holds for a key, if the guards hold of the graph; else whether one failed.
fn find(key: &Key, graph: &Graph) -> Result<Known, bool> {
    let mut guard = CACHE.lock();
    let cache = guard.get_or_insert_default();
    cache.clock += 1;
    let now = cache.clock;
    let mut failed: Option<Guard> = None;
    let entries = cache.entries.get_mut(&key.hash);
    for entry in entries.into_iter().flatten().filter(|e| e.key == key.words) {
        let fails = match &entry.known {
            Known::Plan(plan) => plan.guards.iter().find(|g| !g.holds(graph)),
            Known::Rules(..) => None,
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
        cache.guard_failures += 1;
        let times = cache.failures.entry(guard.describe(graph)).or_default();
        *times += 1;
    }
    Err(failed.is_some())
}

fn insert(key: &Key, known: Known) {
    let mut guard = CACHE.lock();
    let cache = guard.get_or_insert_default();
    let (used, words) = (cache.clock, key.words.len());
    cache.words += words;
    let entry = Entry { key: key.words.clone(), known, used, words };
    cache.entries.entry(key.hash).or_default().push(entry);
    cache.trim();
}

fn count(planned: Planned) {
    let counter = if planned == Planned::Found { &HITS } else { &MISSES };
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Cache {
    /// Drops the older half, if there is too much.
    fn trim(&mut self) {
        if self.words <= MAX_WORDS {
            return;
        }
        let mut ages: Vec<u64> = self.entries.values().flatten().map(|e| e.used).collect();
        ages.sort_unstable();
        let cut = ages[ages.len() / 2];
        for list in self.entries.values_mut() {
            list.retain(|e| e.used > cut);
        }
        self.entries.retain(|_, list| !list.is_empty());
        self.words = self.entries.values().flatten().map(|e| e.words).sum();
    }
}

/// How often plans were found and made since the process began.
pub fn stats() -> CacheStats {
    let guard = CACHE.lock();
    let plans = |c: &Cache| {
        c.entries.values().flatten().filter(|e| matches!(e.known, Known::Plan(_))).count()
    };
    CacheStats {
        hits: HITS.load(Ordering::Relaxed),
        misses: MISSES.load(Ordering::Relaxed),
        guard_failures: guard.as_ref().map_or(0, |c| c.guard_failures),
        plans: guard.as_ref().map_or(0, plans),
    }
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
    HITS.store(0, Ordering::Relaxed);
    MISSES.store(0, Ordering::Relaxed);
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
