//! Main memory for arrays: a caching allocator with exact counters and limits.
//!
//! Freed blocks are kept, oldest out first, and the smallest one that is not wastefully large serves
//! the next request: fresh pages cost more to fault in than most kernels cost to run. Counters count
//! bytes as asked for; the cache counts whole blocks. A request that the limit or the system refuses
//! is an error, never an abort.

use std::alloc;
use std::any::Any;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use lazulite_core::backend::{Buffer, Limit, Memory, MemoryStats};
use lazulite_core::{Device, Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::record;

/// Every block starts at a multiple of a cache line, which is also the widest vector.
const ALIGN: usize = 64;
const PAGE: usize = 4096;
/// From this size on blocks start on a huge page and ask for huge pages.
const HUGE: usize = 4 << 20;
const HUGE_PAGE: usize = 2 << 20;
/// From this size on a fresh block must fit what the system says is available.
const LARGE: usize = 64 << 20;

/// A block of main memory.
///
/// Safety contract: while a step runs, its outputs are written by that step alone; a buffer that
/// is an input and an output of one step (donation) is read and written by that step alone.
/// Whoever reads the bytes in place ([`Memory::host_bytes`]) waits first for the step that fills
/// them.
pub struct CpuMemory {
    block: Block,
    size: usize,
    owner: Owner,
}

/// Whom a block goes back to.
enum Owner {
    Allocator,
    /// A recording, with the bytes that the allocator counts.
    Pool(Arc<Pool>, usize),
    /// Nobody: another handle is on the block too.
    Alias,
}

/// The memory of a recording that is not in use while it is made, with the bytes that the allocator
/// counts.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<(Block, usize)>>);

impl Drop for Pool {
    fn drop(&mut self) {
        for (block, counted) in self.0.get_mut().drain(..) {
            allocator().release(block, counted);
        }
    }
}

/// Memory from the system. Not freed by dropping.
#[derive(Clone, Copy)]
struct Block {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a block is plain bytes without an owner thread; the contract above orders accesses.
unsafe impl Send for CpuMemory {}
// SAFETY: as above.
unsafe impl Sync for CpuMemory {}
// SAFETY: as above.
unsafe impl Send for Block {}

impl CpuMemory {
    /// The first byte. The pointer may be written through under the type's safety contract.
    pub fn as_ptr(&self) -> *mut u8 {
        self.block.start.as_ptr()
    }

    /// Another handle, which does not keep the memory.
    pub(crate) fn alias(&self) -> CpuMemory {
        CpuMemory { block: self.block, size: self.size, owner: Owner::Alias }
    }

    /// True iff the memory belongs to no recording and is not an alias.
    pub(crate) fn is_unrecorded(&self) -> bool {
        matches!(self.owner, Owner::Allocator)
    }
}

impl Memory for CpuMemory {
    fn device(&self) -> Device {
        Device::CPU
    }

    fn size(&self) -> usize {
        self.size
    }

    fn host_bytes(&self) -> Option<&[u8]> {
        // What a recording's steps make is not there yet.
        if !self.is_unrecorded() && record::active() {
            return None;
        }
        // SAFETY: the block holds `size` bytes, initialised when it was made or by the step that
        // filled it, and nothing writes them meanwhile by the type's contract.
        Some(unsafe { std::slice::from_raw_parts(self.as_ptr(), self.size) })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for CpuMemory {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Allocator => allocator().release(self.block, self.size),
            Owner::Pool(pool, counted) => pool.0.lock().push((self.block, *counted)),
            Owner::Alias => {}
        }
    }
}

#[derive(Default)]
struct State {
    stats: MemoryStats,
    /// Free blocks by capacity and age.
    free: BTreeMap<(usize, u64), Block>,
    /// The same by age: what leaves first.
    ages: BTreeMap<u64, usize>,
    clock: u64,
    memory_limit: usize,
    cache_limit: usize,
    wired_limit: usize,
}

/// The allocator of main memory.
pub(crate) struct Allocator(Mutex<State>);

/// The process's allocator.
pub(crate) fn allocator() -> &'static Allocator {
    static ALLOCATOR: OnceLock<Allocator> = OnceLock::new();
    ALLOCATOR.get_or_init(|| {
        let total = total_memory();
        Allocator::new(total / 10 * 9, total / 4)
    })
}

impl Allocator {
    fn new(memory_limit: usize, cache_limit: usize) -> Allocator {
        Allocator(Mutex::new(State { memory_limit, cache_limit, ..State::default() }))
    }

    /// Uninitialised memory of `size` bytes.
    pub fn allocate(&self, size: usize) -> Result<Buffer> {
        let block = self.block(size)?;
        Ok(Buffer::new(CpuMemory { block, size, owner: Owner::Allocator }))
    }

    /// Uninitialised memory of a recording: what it had and no longer uses, or else more.
    pub fn allocate_in(&self, pool: Arc<Pool>, size: usize) -> Result<Buffer> {
        let fits =
            |(block, _): &(Block, usize)| (size..=size + size / 4 + PAGE).contains(&block.capacity);
        let mut free = pool.0.lock();
        let (block, counted) = match free.iter().position(fits) {
            Some(place) => free.swap_remove(place),
            None => (self.block(size)?, size),
        };
        drop(free);
        Ok(Buffer::new(CpuMemory { block, size, owner: Owner::Pool(pool, counted) }))
    }

    fn block(&self, size: usize) -> Result<Block> {
        let mut state = self.0.lock();
        let needed = state.stats.active.saturating_add(size);
        if needed > state.memory_limit {
            let message = format!(
                "{size} bytes and {} in use are more than the limit of {} bytes",
                state.stats.active, state.memory_limit
            );
            return Err(Error::new(ErrorKind::OutOfMemory, "allocate", message));
        }
        // Counted before the lock is let go, so that two requests cannot share the last bytes.
        state.stats.active = needed;
        let block = match state.reuse(size) {
            Some(block) => block,
            None => {
                let room = state.memory_limit - needed;
                let old = state.trim(room);
                drop(state);
                old.into_iter().for_each(free);
                let block = capacity_of(size).and_then(|capacity| self.fresh(capacity));
                state = self.0.lock();
                if block.is_err() {
                    state.stats.active -= size;
                }
                block?
            }
        };
        state.stats.peak = state.stats.peak.max(state.stats.active);
        Ok(block)
    }

    /// A block from the system, at the cost of the cache if need be.
    fn fresh(&self, capacity: usize) -> Result<Block> {
        let fits = capacity < LARGE || available_memory().is_none_or(|free| capacity <= free);
        if fits && let Some(block) = system_block(capacity) {
            return Ok(block);
        }
        self.clear_cache();
        let available = available_memory();
        if (capacity < LARGE || available.is_none_or(|free| capacity <= free))
            && let Some(block) = system_block(capacity)
        {
            return Ok(block);
        }
        let available = available.map_or(String::new(), |n| format!("; {n} bytes are available"));
        let message = format!("the system has no {capacity} bytes to give{available}");
        Err(Error::new(ErrorKind::OutOfMemory, "allocate", message))
    }

    fn release(&self, block: Block, size: usize) {
        let old = {
            let mut state = self.0.lock();
            state.stats.active -= size;
            if block.capacity > state.cache_limit {
                vec![block]
            } else {
                state.keep(block);
                let limit = state.cache_limit;
                state.trim(limit)
            }
        };
        old.into_iter().for_each(free);
    }

    /// The counters.
    pub fn stats(&self) -> MemoryStats {
        self.0.lock().stats
    }

    /// Sets the peak to the live bytes.
    pub fn reset_peak(&self) {
        let mut state = self.0.lock();
        state.stats.peak = state.stats.active;
    }

    /// Gives all free blocks back to the system.
    pub fn clear_cache(&self) {
        let old = self.0.lock().trim(0);
        old.into_iter().for_each(free);
    }

    /// Sets a limit and returns the former one.
    pub fn set_limit(&self, limit: Limit, bytes: usize) -> usize {
        let (former, old) = {
            let mut state = self.0.lock();
            let former = std::mem::replace(state.limit_mut(limit), bytes);
            let cache = state.cache_limit;
            (former, state.trim(cache))
        };
        old.into_iter().for_each(free);
        former
    }

    /// A limit's value.
    pub fn limit(&self, limit: Limit) -> usize {
        *self.0.lock().limit_mut(limit)
    }
}

impl State {
    fn limit_mut(&mut self, limit: Limit) -> &mut usize {
        match limit {
            Limit::Memory => &mut self.memory_limit,
            Limit::Cache => &mut self.cache_limit,
            Limit::Wired => &mut self.wired_limit,
        }
    }

    /// The smallest free block of at least `size` bytes, unless it is much too large.
    fn reuse(&mut self, size: usize) -> Option<Block> {
        let slack = size.min((2 * PAGE).max(size / 8));
        let most = size.saturating_add(slack).max(capacity_of(size).ok()?);
        let (&key, &block) = self.free.range((size, 0)..).next()?;
        if key.0 > most {
            return None;
        }
        self.free.remove(&key);
        self.ages.remove(&key.1);
        self.stats.cache -= block.capacity;
        Some(block)
    }

    fn keep(&mut self, block: Block) {
        self.clock += 1;
        self.stats.cache += block.capacity;
        self.free.insert((block.capacity, self.clock), block);
        self.ages.insert(self.clock, block.capacity);
    }

    /// Takes the oldest blocks out of the cache until it has at most `bytes`.
    fn trim(&mut self, bytes: usize) -> Vec<Block> {
        let mut out = Vec::new();
        while self.stats.cache > bytes {
            let Some((age, capacity)) = self.ages.pop_first() else { break };
            if let Some(block) = self.free.remove(&(capacity, age)) {
                self.stats.cache -= capacity;
                out.push(block);
            }
        }
        out
    }
}

/// The size of the block for a request: whole cache lines up to a page, then pages, then huge pages.
fn capacity_of(size: usize) -> Result<usize> {
    let unit = match size {
        _ if size <= PAGE => ALIGN,
        _ if size < HUGE => PAGE,
        _ => HUGE_PAGE,
    };
    size.max(1)
        .checked_next_multiple_of(unit)
        .filter(|&n| n <= isize::MAX as usize - HUGE_PAGE)
        .ok_or_else(|| {
            let message = format!("{size} bytes are more than can be addressed");
            Error::new(ErrorKind::OutOfMemory, "allocate", message)
        })
}

fn system_layout(capacity: usize) -> Option<alloc::Layout> {
    let align = if capacity >= HUGE { HUGE_PAGE } else { ALIGN };
    alloc::Layout::from_size_align(capacity, align).ok()
}

fn system_block(capacity: usize) -> Option<Block> {
    // SAFETY: `capacity_of` is never zero.
    let start = NonNull::new(unsafe { alloc::alloc(system_layout(capacity)?) })?;
    #[cfg(target_os = "linux")]
    if capacity >= HUGE {
        // SAFETY: the range is the fresh block; the advice does not change its contents, and a
        // system that does not know it says so without harm.
        unsafe { libc::madvise(start.as_ptr().cast(), capacity, libc::MADV_HUGEPAGE) };
    }
    Some(Block { start, capacity })
}

fn free(block: Block) {
    if let Some(layout) = system_layout(block.capacity) {
        // SAFETY: the block came from `system_block` with the same layout, and this was its owner.
        unsafe { alloc::dealloc(block.start.as_ptr(), layout) };
    }
}

/// A field of `/proc/meminfo` in bytes.
fn meminfo(field: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The memory that this process may have: the machine's, or its control group's.
fn total_memory() -> usize {
    let machine = meminfo("MemTotal").unwrap_or(8 << 30);
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<usize>().ok());
    group.map_or(machine, |n| n.min(machine))
}

/// What the system could give now without swapping, if it says.
fn available_memory() -> Option<usize> {
    meminfo("MemAvailable")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `f` on blocks of an allocator of its own.
    struct Own(Allocator);

    impl Own {
        fn take(&self, size: usize) -> (Block, usize) {
            (self.0.block(size).unwrap(), size)
        }

        fn give(&self, (block, size): (Block, usize)) {
            self.0.release(block, size);
        }
    }

    fn own(memory: usize, cache: usize) -> Own {
        Own(Allocator::new(memory, cache))
    }

    #[test]
    fn counters_are_exact() {
        let a = own(1 << 30, 1 << 20);
        let x = a.take(1000);
        let y = a.take(0);
        let z = a.take(5000);
        let stats = |active, peak, cache| MemoryStats { active, peak, cache };
        assert_eq!(a.0.stats(), stats(6000, 6000, 0));
        a.give(z);
        assert_eq!(a.0.stats(), stats(1000, 6000, 8192));
        a.0.reset_peak();
        assert_eq!(a.0.stats(), stats(1000, 1000, 8192));
        a.give(x);
        a.give(y);
        assert_eq!(a.0.stats(), stats(0, 1000, 8192 + 1024 + 64));
        a.0.clear_cache();
        assert_eq!(a.0.stats(), stats(0, 1000, 0));
    }

    #[test]
    fn blocks_are_aligned_reused_and_not_wasted() {
        let a = own(1 << 30, 1 << 28);
        for size in [1, 63, 64, 4096, 4097, 1 << 20, HUGE, HUGE + 1] {
            let x = a.take(size);
            let start = x.0.start;
            assert_eq!(start.as_ptr() as usize % ALIGN, 0);
            assert!(x.0.capacity >= size);
            a.give(x);
            let again = a.take(size);
            assert_eq!(again.0.start, start, "{size} bytes are taken from the cache");
            a.give(again);
            a.0.clear_cache();
        }
        let large = a.take(1 << 20);
        a.give(large);
        let small = a.take(1000);
        assert_eq!(a.0.stats().cache, 1 << 20, "a large block does not serve a small request");
        a.give(small);
        a.0.clear_cache();
    }

    #[test]
    fn the_cache_is_bounded_and_the_oldest_leaves() {
        let a = own(1 << 30, 3 * PAGE);
        let blocks: Vec<_> = (0..4).map(|_| a.take(PAGE)).collect();
        let last = blocks[3].0.start;
        blocks.into_iter().for_each(|b| a.give(b));
        assert_eq!(a.0.stats().cache, 3 * PAGE);
        let kept: Vec<_> = (0..3).map(|_| a.take(PAGE)).collect();
        assert!(kept.iter().any(|b| b.0.start == last));
        assert_eq!(a.0.stats().cache, 0);
        kept.into_iter().for_each(|b| a.give(b));
        assert_eq!(a.0.set_limit(Limit::Cache, 0), 3 * PAGE);
        assert_eq!(a.0.stats().cache, 0);
    }

    #[test]
    fn too_much_is_an_error_and_nothing_breaks() {
        let a = own(10_000, 1 << 20);
        let x = a.take(6000);
        let refused = a.0.block(5000).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        assert_eq!(a.0.stats().active, 6000);
        a.give(x);
        let y = a.take(9000);
        a.give(y);
        let b = own(usize::MAX, 0);
        for size in [usize::MAX, usize::MAX / 2, 1 << 60] {
            assert_eq!(b.0.block(size).err().unwrap().kind(), ErrorKind::OutOfMemory);
        }
        assert_eq!(b.0.stats(), MemoryStats::default());
        a.0.clear_cache();
    }

    #[test]
    fn threads_share_it() {
        let a = own(1 << 30, 1 << 16);
        std::thread::scope(|s| {
            for t in 0..4 {
                let a = &a;
                s.spawn(move || {
                    for i in 0..500 {
                        let x = a.take((i * 37 + t * 101) % 9000);
                        let y = a.take(100);
                        a.give(x);
                        a.give(y);
                    }
                });
            }
        });
        assert_eq!(a.0.stats().active, 0);
        a.0.clear_cache();
    }
}
