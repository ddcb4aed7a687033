//! One task's state: scratch memory, where each value lies, and running results of reductions.

use super::kernel::{self, Kernel, LANES, PAD};
use super::program::{Pass, Program, Step, slot_bytes};
use super::run::AHEAD;
use super::space::{BLOCK, Mode, Space, Walk};
use super::transfer::{self, PANEL, Place};
use crate::isa::{IsaKind, fetch_block};
use lazulite_core::plan::Extent;
use smallvec::SmallVec;
use std::cell::Cell;

/// Blocks of a row, or rows of a column block, whose sum is one leaf of the tree of partial sums.
pub(super) const ROW_LEAF: usize = 8;
const COLUMN_LEAF: usize = 64;
/// Bytes from one running result to the next of a tree level.
const WIDEST: usize = 8;
/// A call with its operands bound.
pub(super) struct Bound<'a> {
    pub program: &'a Program,
    pub space: Space,
    pub isa: IsaKind,
    pub inputs: SmallVec<[Place; 6]>,
    pub outputs: SmallVec<[Place; 2]>,
    /// True iff outputs are written past the caches.
    pub streams: bool,
    /// True iff blocks are asked for some time before they are read.
    pub fetches: bool,
    /// True iff an output has the memory of an input.
    pub in_place: SmallVec<[bool; 2]>,
}

/// A cache line of scratch memory, reached by address only.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; 64]);

thread_local! {
    /// Scratch memory, kept from task to task.
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// The state of one task.
pub(super) struct Machine<'a> {
    pub(super) bound: &'a Bound<'a>,
    /// Where each value lies now.
    pub(super) at: SmallVec<[*mut u8; 32]>,
    /// The slots of loads, by load.
    pub(super) load_slots: SmallVec<[*mut u8; 6]>,
    slots: *mut u8,
    /// The panels of loads and of stores that lie across the blocks; null for others.
    load_panels: SmallVec<[*mut u8; 6]>,
    store_panels: SmallVec<[*mut u8; 2]>,
    /// Elements from one row of a panel to the next.
    room: usize,
    buffers: SmallVec<[*mut u8; 4]>,
    pub(super) running: SmallVec<[*mut u8; 4]>,
    trees: SmallVec<[*mut u8; 4]>,
    tail: *mut u8,
    /// Elements of a running result.
    width: usize,
    leaves: usize,
    pub(super) in_leaf: usize,
    splats: [Kernel; 4],
    /// One element after another.
    pub(super) line: Walk,
    scratch: Vec<Line>,
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.scratch));
        if self.bound.streams {
            transfer::end_streams();
        }
    }
}

/// Levels of the tree of partial results that `leaves` leaves need.
fn tree_levels(leaves: usize) -> usize {
    (usize::BITS - leaves.leading_zeros()) as usize + 1
}

impl<'a> Machine<'a> {
    pub(super) fn new(bound: &'a Bound<'a>) -> Machine<'a> {
        let (program, space) = (bound.program, &bound.space);
        let width = space.tile;
        // Rows of a panel a power of two apart would share few places of the first cache.
        let room = width.next_multiple_of(PAD) + PAD;
        let slot = slot_bytes(WIDEST);
        let leaves = match space.mode {
            Mode::Rows => space.reduced.div_ceil(ROW_LEAF * BLOCK),
            Mode::Columns => space.reduced.div_ceil(COLUMN_LEAF),
        };
        let tree = tree_levels(leaves.max(space.chunks)) * room * WIDEST + 64;
        let running = LANES.max(room) * WIDEST + 64;
        let buffer = |size: usize| match space.mode {
            Mode::Rows => space.reduced.next_multiple_of(BLOCK) * size + 64,
            Mode::Columns => space.reduced * room * size + 64,
        };
        let size_of = |v: u16| program.dtypes[v as usize].size();
        let fixed = program.loads.len() + program.consts.len() + program.row_values.len();
        let columns = space.mode == Mode::Columns;
        let crosses = |p: &Place| columns && p.reduced.is_contiguous() && !p.kept.is_contiguous();
        let panel = PANEL * room * WIDEST + 64;
        let panels = bound.inputs.iter().chain(&bound.outputs).filter(|p| crosses(p)).count();
        let bytes = fixed * slot
            + (panels + program.loads.len()) * panel
            + program.slot_bytes
            + program.reductions.len() * (running + tree)
            + LANES * WIDEST
            + program.buffers.iter().map(|&v| buffer(size_of(v))).sum::<usize>();
        let mut scratch = SCRATCH.take();
        let lines = bytes.div_ceil(64) + 2;
        if scratch.len() < lines {
            scratch.resize(lines, Line([0; 64]));
        }
        // SAFETY: a place inside the scratch memory, which is not empty.
        let mut next = unsafe { (&raw mut (*scratch.as_mut_ptr()).0).cast::<u8>() };
        let mut take = |bytes: usize| {
            let at = next;
            // SAFETY: the pieces together are within `bytes`, up to rounding.
            next = unsafe { next.add(bytes.next_multiple_of(8)) };
            at
        };
        let mut at: SmallVec<[*mut u8; 32]> =
            SmallVec::from_elem(std::ptr::null_mut(), program.dtypes.len());
        let mut load_slots = SmallVec::new();
        for load in &program.loads {
            let place = take(slot);
            load_slots.push(place);
            at[load.value as usize] = place;
        }
        for &(value, _) in &program.consts {
            at[value as usize] = take(slot);
        }
        for &value in &program.row_values {
            at[value as usize] = take(slot);
        }
        let slots = take(program.slot_bytes);
        let mut panel_for = |p: &Place| if crosses(p) { take(panel) } else { std::ptr::null_mut() };
        let load_panels =
            program.loads.iter().map(|l| panel_for(&bound.inputs[l.operand])).collect();
        let store_panels = bound.outputs.iter().map(&mut panel_for).collect();
        let tail = take(LANES * WIDEST);
        let count = program.reductions.len();
        let running = (0..count).map(|_| take(running)).collect();
        let trees = (0..count).map(|_| take(tree)).collect();
        let buffers = program.buffers.iter().map(|&v| take(buffer(size_of(v)))).collect();
        let mut machine = Machine {
            bound,
            at,
            load_slots,
            slots,
            load_panels,
            store_panels,
            room,
            buffers,
            running,
            trees,
            tail,
            width,
            leaves: 0,
            in_leaf: 0,
            splats: [1, 2, 4, 8].map(|size| kernel::splat(size, bound.isa)),
            line: Walk::steps(1),
            scratch,
        };
        let fill = machine.fill();
        for &(value, bits) in &program.consts {
            machine.splat(value, bits, fill);
        }
        for i in 0..program.loads.len() {
            let place = &bound.inputs[program.loads[i].operand];
            if place.kept.is_uniform() && place.reduced.is_uniform() {
                machine.load_uniform(i, 0);
            }
        }
        machine
    }

    /// How many elements of a block are used at most.
    fn fill(&self) -> usize {
        match self.bound.space.mode {
            Mode::Rows => self.bound.space.reduced.clamp(1, BLOCK),
            Mode::Columns => self.width,
        }
    }

    pub(super) fn size(&self, value: u16) -> usize {
        self.bound.program.dtypes[value as usize].size()
    }

    fn splat(&self, value: u16, bits: u64, count: usize) {
        let kernel = self.splats[self.size(value).trailing_zeros() as usize];
        let from = std::ptr::from_ref(&bits).cast();
        // SAFETY: the value has a slot of BLOCK elements; the source is one element.
        unsafe { kernel(self.at[value as usize], from, from, from, count) }
    }

    /// Loads one element and spreads it over the load's slot.
    fn load_uniform(&mut self, i: usize, offset: isize) {
        let load = &self.bound.program.loads[i];
        let place = &self.bound.inputs[load.operand];
        let mut bits = 0u64;
        // SAFETY: the element lies inside the operand, and the word has room for it.
        unsafe {
            let from = place.first.offset(offset * place.dtype.size() as isize);
            let one = Walk::default();
            transfer::load(from, place.dtype, &one, 0, 1, std::ptr::from_mut(&mut bits).cast());
        }
        self.at[load.value as usize] = self.load_slots[i];
        self.splat(load.value, bits, self.fill());
    }

    /// Prepares for the rows `first..first + width`: loads what rows have one of.
    pub(super) fn begin(&mut self, first: usize, width: usize) {
        let bound = self.bound;
        for (i, load) in bound.program.loads.iter().enumerate() {
            let place = &bound.inputs[load.operand];
            if !place.reduced.is_uniform() || place.kept.is_uniform() {
                continue;
            }
            match bound.space.mode {
                Mode::Rows => self.load_uniform(i, place.kept.offset(first)),
                // SAFETY: these elements lie inside the operand.
                Mode::Columns => unsafe {
                    let to = self.load_slots[i];
                    self.at[load.value as usize] = to;
                    transfer::load(place.first, place.dtype, &place.kept, first, width, to);
                },
            }
        }
        self.steps(&bound.program.prologue, width);
        if bound.space.mode == Mode::Rows {
            for step in &bound.program.prologue {
                self.spread(step.d);
            }
        }
    }

    /// Spreads the first element of a value over its slot.
    fn spread(&self, value: u16) {
        let (mut bits, size) = (0u64, self.size(value));
        // SAFETY: the slot and the word have room for one element.
        unsafe {
            let to = std::ptr::from_mut(&mut bits).cast::<u8>();
            to.copy_from_nonoverlapping(self.at[value as usize], size);
        }
        self.splat(value, bits, self.fill());
    }

    #[inline(always)]
    pub(super) fn steps(&self, steps: &[Step], n: usize) {
        // One look at where the places are kept serves all steps.
        let places = self.at.as_slice();
        for step in steps {
            let at = |v: u16| places[v as usize];
            // SAFETY: all places have room for `n` elements rounded up, and slots of one step differ.
            unsafe {
                let n = n * usize::from(step.scale);
                (step.kernel)(at(step.d), at(step.a), at(step.b), at(step.c), n)
            }
        }
    }

    /// Sets all running results to their start values.
    fn clear(&mut self, pass: &Pass) {
        (self.leaves, self.in_leaf) = (0, 0);
        for &r in &pass.reductions {
            self.clear_running(r);
        }
    }

    fn clear_running(&self, r: usize) {
        let reduction = &self.bound.program.reductions[r];
        let size = self.size(reduction.value);
        let count = LANES.max(self.width);
        let from = std::ptr::from_ref(&reduction.reducer.start).cast();
        let kernel = self.splats[size.trailing_zeros() as usize];
        // SAFETY: the running results have this many elements.
        unsafe { kernel(self.running[r], from, from, from, count) }
    }

    /// Runs one pass over the part `from..to` of the rows `first..first + width`. The running
    /// results of its reductions are complete afterwards.
    pub(super) fn pass(&mut self, p: usize, first: usize, width: usize, from: usize, to: usize) {
        let bound = self.bound;
        let pass = &bound.program.passes[p];
        let last = p + 1 == bound.program.passes.len();
        self.width = width;
        self.clear(pass);
        self.place_slots(pass);
        match bound.space.mode {
            Mode::Rows => {
                let mut position = from;
                if to - from >= BLOCK
                    && let Some(mut run) = self.start_run(p, from, first)
                {
                    while position + BLOCK <= to {
                        self.begin_block(pass, ROW_LEAF, true);
                        let most = if run.is_even { ROW_LEAF - self.in_leaf } else { 1 };
                        let blocks = most.min((to - position) / BLOCK);
                        self.run_blocks(pass, &mut run, blocks);
                        self.in_leaf += blocks;
                        position += BLOCK * blocks;
                    }
                    self.place_slots(pass);
                }
                while position < to {
                    let n = BLOCK.min(to - position);
                    self.begin_block(pass, ROW_LEAF, true);
                    self.in_leaf += 1;
                    self.block(pass, last, position, n, first, (0, 1));
                    position += n;
                }
            }
            Mode::Columns => {
                for r in from..to {
                    let row = (r - from) % PANEL;
                    self.begin_block(pass, COLUMN_LEAF, false);
                    self.in_leaf += 1;
                    self.block(pass, last, first, width, r, (row, to - r));
                }
            }
        }
        self.finish(pass);
    }

    /// One block: `n` elements from `start` of the list along which blocks run, at index `across`
    /// of the other; it is row `row` of its panels, and `left` blocks are left in the pass.
    #[inline]
    fn block(
        &mut self,
        pass: &Pass,
        last: bool,
        start: usize,
        n: usize,
        across: usize,
        (row, left): (usize, usize),
    ) {
        let bound = self.bound;
        let program = bound.program;
        let rows = bound.space.mode == Mode::Rows;
        for &i in &pass.loads {
            let load = &program.loads[i];
            let place = &bound.inputs[load.operand];
            if place.reduced.is_uniform() {
                continue;
            }
            let (along, other) =
                if rows { (&place.reduced, &place.kept) } else { (&place.kept, &place.reduced) };
            let offset = other.offset(across);
            if along.is_uniform() {
                self.load_uniform(i, offset);
                if !load.kept {
                    continue;
                }
            }
            let size = place.dtype.size();
            if bound.fetches && along.is_contiguous() {
                let (along, across) = if rows { (AHEAD * BLOCK, 0) } else { (0, AHEAD) };
                let ahead = offset + other.step() * across as isize + (start + along) as isize;
                fetch_block(place.first.wrapping_offset(ahead * size as isize), n * size);
            }
            // SAFETY: the elements lie inside the operand; slots and buffers have room for a block.
            unsafe {
                let from = place.first.offset(offset * size as isize);
                let panel = self.load_panels[i];
                if !panel.is_null() {
                    if row == 0 {
                        let depth = PANEL.min(left);
                        transfer::load_panel(from, size, along, start, n, depth, panel, self.room);
                    }
                    let from = panel.add(row * self.room * size);
                    if !load.kept && !place.dtype.is_half() {
                        self.at[load.value as usize] = from;
                        continue;
                    }
                    let to = if load.kept {
                        self.buffer_place(load.value, start, across)
                    } else {
                        self.load_slots[i]
                    };
                    self.at[load.value as usize] = to;
                    transfer::load(from, place.dtype, &self.line, 0, n, to);
                    continue;
                }
                let direct =
                    along.is_contiguous() && !place.dtype.is_half() && n.is_multiple_of(PAD);
                if direct && !load.kept {
                    self.at[load.value as usize] = from.add(start * size);
                } else {
                    let to = if load.kept {
                        self.buffer_place(load.value, start, across)
                    } else {
                        self.load_slots[i]
                    };
                    self.at[load.value as usize] = to;
                    transfer::load(from, place.dtype, along, start, n, to);
                }
            }
        }
        for &b in &pass.buffers {
            let value = program.buffers[b];
            self.at[value as usize] = self.buffer_place(value, start, across);
        }
        let mut written = 0u64;
        if last {
            for (s, store) in program.stores.iter().enumerate().take(64) {
                let out = &bound.outputs[s];
                let panel = self.store_panels[s];
                if store.direct && !panel.is_null() {
                    // SAFETY: the panel has PANEL rows.
                    let to = unsafe { panel.add(row * self.room * out.dtype.size()) };
                    self.at[store.value as usize] = to;
                    continue;
                }
                if !store.direct || bound.in_place[s] || !n.is_multiple_of(PAD) {
                    continue;
                }
                let (along, other) =
                    if rows { (&out.reduced, &out.kept) } else { (&out.kept, &out.reduced) };
                if along.is_contiguous() && !bound.streams {
                    let at = other.offset(across) + start as isize;
                    // SAFETY: the block lies inside the output.
                    let to = unsafe { out.first.offset(at * out.dtype.size() as isize) };
                    self.at[store.value as usize] = to;
                    written |= 1 << s;
                }
            }
        }
        self.steps(&pass.steps, n);
        if !pass.reductions.is_empty() {
            self.reduce(&pass.reductions, n, rows);
        }
        if last {
            for (s, store) in program.stores.iter().enumerate() {
                if store.extent == Extent::Row || s < 64 && written >> s & 1 == 1 {
                    continue;
                }
                let out = &bound.outputs[s];
                let (along, other) =
                    if rows { (&out.reduced, &out.kept) } else { (&out.kept, &out.reduced) };
                let offset = other.offset(across) * out.dtype.size() as isize;
                let panel = self.store_panels[s];
                // SAFETY: the elements lie inside the output, and the value has `n` elements.
                unsafe {
                    let from = self.at[store.value as usize];
                    if !panel.is_null() {
                        let size = out.dtype.size();
                        let to = panel.add(row * self.room * size);
                        if to != from {
                            transfer::store(to, out.dtype, &self.line, 0, n, from);
                        }
                        if row + 1 == PANEL || left == 1 {
                            let first = out.first.offset(offset - (row * size) as isize);
                            let depth = row + 1;
                            transfer::store_panel(
                                first, size, along, start, n, depth, panel, self.room,
                            );
                        }
                        continue;
                    }
                    let to = out.first.offset(offset);
                    if bound.streams && along.is_contiguous() && !out.dtype.is_half() {
                        let size = out.dtype.size();
                        transfer::stream(to.add(start * size), from, n * size);
                        continue;
                    }
                    transfer::store(to, out.dtype, along, start, n, from);
                }
            }
            // A value that went to an output directly goes to its slot in a shorter last block.
            if written != 0 {
                self.place_slots(pass);
            }
        }
    }

    /// Puts the values that a pass computes into their slots.
    fn place_slots(&mut self, pass: &Pass) {
        for &(value, offset) in &pass.slots {
            // SAFETY: the offset lies within the slots.
            self.at[value as usize] = unsafe { self.slots.add(offset) };
        }
    }

    pub(super) fn buffer_place(&self, value: u16, start: usize, across: usize) -> *mut u8 {
        let index = self.bound.program.buffers.iter().position(|&v| v == value).unwrap_or(0);
        let elements = match self.bound.space.mode {
            Mode::Rows => start,
            Mode::Columns => across * self.bound.space.tile.next_multiple_of(PAD),
        };
        // SAFETY: the buffer has room for the whole row.
        unsafe { self.buffers[index].add(elements * self.size(value)) }
    }

    /// Makes room in the leaf for another block.
    #[inline]
    fn begin_block(&mut self, pass: &Pass, leaf: usize, rows: bool) {
        if self.in_leaf == leaf {
            self.end_leaf(pass, rows);
        }
    }

    /// Joins a block of `n` elements into the running results of some reductions.
    pub(super) fn reduce(&self, some: &[usize], n: usize, rows: bool) {
        for &r in some {
            let reduction = &self.bound.program.reductions[r];
            let (source, to) = (self.at[reduction.source as usize], self.running[r]);
            let reducer = &reduction.reducer;
            let size = self.size(reduction.source);
            // SAFETY: the source has `n` elements, and running results never overlap values.
            unsafe {
                if !rows {
                    (reducer.join)(to, source, source, source, n);
                    continue;
                }
                let whole = n - n % LANES;
                (reducer.lanes)(to, source, source, source, whole);
                if whole < n {
                    let start = std::ptr::from_ref(&reducer.start).cast();
                    let splat = self.splats[size.trailing_zeros() as usize];
                    splat(self.tail, start, start, start, LANES);
                    let rest = source.add(whole * size);
                    self.tail.copy_from_nonoverlapping(rest, (n - whole) * size);
                    (reducer.lanes)(to, self.tail, self.tail, self.tail, LANES);
                }
            }
        }
    }

    /// Moves the running results into the tree of partial results.
    fn end_leaf(&mut self, pass: &Pass, rows: bool) {
        for &r in &pass.reductions {
            self.fold(r, rows);
            self.push(r);
            self.clear_running(r);
        }
        self.leaves += 1;
        self.in_leaf = 0;
    }

    /// Joins the lanes of a row's running result.
    fn fold(&self, r: usize, rows: bool) {
        if rows {
            let to = self.running[r];
            // SAFETY: the running results have LANES elements.
            unsafe { (self.bound.program.reductions[r].reducer.fold)(to, to, to, to, 0) };
        }
    }

    /// Adds the running result to the tree as its next leaf: like a binary counter, level `i` holds
    /// the result of `2^i` leaves iff bit `i` of the number of leaves is set.
    fn push(&self, r: usize) {
        let reduction = &self.bound.program.reductions[r];
        let to = self.running[r];
        let mut level = 0;
        while self.leaves >> level & 1 == 1 {
            let held = self.tree_level(r, level);
            // SAFETY: a level has `width` elements, rounded up.
            unsafe { (reduction.reducer.join)(to, held, held, held, self.width) };
            level += 1;
        }
        let bytes = self.width.next_multiple_of(PAD) * self.size(reduction.value);
        // SAFETY: as above; levels do not overlap running results.
        unsafe { self.tree_level(r, level).copy_from_nonoverlapping(to, bytes) };
    }

    fn tree_level(&self, r: usize, level: usize) -> *mut u8 {
        let stride = self.bound.space.tile.next_multiple_of(PAD) * WIDEST;
        // SAFETY: the tree has a level for each bit of the number of leaves.
        unsafe { self.trees[r].add(level * stride) }
    }

    /// Joins the tree into the running results.
    fn finish(&mut self, pass: &Pass) {
        let rows = self.bound.space.mode == Mode::Rows;
        if self.leaves == 0 {
            // A single leaf is the result.
            return pass.reductions.iter().for_each(|&r| self.fold(r, rows));
        }
        if self.in_leaf > 0 {
            self.end_leaf(pass, rows);
        }
        self.join_tree(pass);
    }

    fn join_tree(&mut self, pass: &Pass) {
        for &r in &pass.reductions {
            let reduction = &self.bound.program.reductions[r];
            let to = self.running[r];
            let bytes = self.width.next_multiple_of(PAD) * self.size(reduction.value);
            let (mut first, mut levels) = (true, self.leaves);
            while levels != 0 {
                let held = self.tree_level(r, levels.trailing_zeros() as usize);
                levels &= levels - 1;
                // SAFETY: as in `push`.
                unsafe {
                    if first {
                        to.copy_from_nonoverlapping(held, bytes);
                    } else {
                        (reduction.reducer.join)(to, held, held, held, self.width);
                    }
                }
                first = false;
            }
        }
    }

    /// Copies the running results of a pass to `to`, [`Machine::partial_bytes`] bytes.
    ///
    /// # Safety
    /// `to` has the room, and nobody else touches it.
    pub(super) unsafe fn export(&self, p: usize, to: *mut u8) {
        for (i, &r) in self.bound.program.passes[p].reductions.iter().enumerate() {
            let size = self.size(self.bound.program.reductions[r].value);
            let bytes = self.bound.space.tile * WIDEST;
            // SAFETY: the caller's promise.
            unsafe {
                to.add(i * bytes).copy_from_nonoverlapping(self.running[r], self.width * size)
            };
        }
    }

    /// Joins exported results of `count` chunks, which lie `stride` bytes apart.
    ///
    /// # Safety
    /// `from` holds them.
    pub(super) unsafe fn import(
        &mut self,
        p: usize,
        width: usize,
        from: *const u8,
        count: usize,
        stride: usize,
    ) {
        let pass = &self.bound.program.passes[p];
        self.width = width;
        self.clear(pass);
        for chunk in 0..count {
            for (i, &r) in pass.reductions.iter().enumerate() {
                let size = self.size(self.bound.program.reductions[r].value);
                let bytes = self.bound.space.tile * WIDEST;
                // SAFETY: the caller's promise.
                unsafe {
                    let held = from.add(chunk * stride + i * bytes);
                    self.running[r].copy_from_nonoverlapping(held, width * size);
                }
                self.push(r);
            }
            self.leaves += 1;
        }
        self.join_tree(pass);
    }

    /// Makes the row values that follow from a pass's reductions.
    pub(super) fn rows(&mut self, p: usize) {
        let pass = &self.bound.program.passes[p];
        for &r in &pass.reductions {
            let value = self.bound.program.reductions[r].value;
            let bytes = self.width.next_multiple_of(PAD) * self.size(value);
            // SAFETY: the slot has room for a block, and running results are of that room.
            unsafe { self.at[value as usize].copy_from_nonoverlapping(self.running[r], bytes) };
        }
        self.steps(&pass.rows, self.width);
        self.spread_rows(p);
    }

    fn spread_rows(&self, p: usize) {
        if self.bound.space.mode == Mode::Rows {
            for &value in &self.bound.program.passes[p].spread {
                self.spread(value);
            }
        }
    }

    /// Copies all row values to `to`, `width` elements each.
    ///
    /// # Safety
    /// `to` has room for `row_values.len() * tile * 8` bytes, and nobody else touches it.
    pub(super) unsafe fn export_rows(&self, to: *mut u8) {
        let bytes = self.bound.space.tile * WIDEST;
        for (i, &value) in self.bound.program.row_values.iter().enumerate() {
            let length = self.width * self.size(value);
            // SAFETY: the caller's promise.
            unsafe { to.add(i * bytes).copy_from_nonoverlapping(self.at[value as usize], length) };
        }
    }

    /// Reads row values that [`Machine::export_rows`] wrote after pass `p`.
    ///
    /// # Safety
    /// `from` holds them.
    pub(super) unsafe fn import_rows(&mut self, p: usize, width: usize, from: *const u8) {
        self.width = width;
        let bytes = self.bound.space.tile * WIDEST;
        for (i, &value) in self.bound.program.row_values.iter().enumerate() {
            let length = width * self.size(value);
            // SAFETY: the caller's promise.
            unsafe {
                self.at[value as usize].copy_from_nonoverlapping(from.add(i * bytes), length)
            };
        }
        for done in 0..=p {
            self.spread_rows(done);
        }
    }

    /// Stores what rows have one of.
    pub(super) fn store_rows(&self, first: usize, width: usize) {
        let bound = self.bound;
        for (s, store) in bound.program.stores.iter().enumerate() {
            if store.extent == Extent::Full {
                continue;
            }
            let (out, from) = (&bound.outputs[s], self.at[store.value as usize]);
            // SAFETY: these rows' elements lie inside the output, and the value has `width`.
            unsafe { transfer::store(out.first, out.dtype, &out.kept, first, width, from) };
        }
    }
}
