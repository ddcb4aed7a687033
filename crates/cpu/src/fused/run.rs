//! Whole blocks of a row, one after another: what moves from block to block is found out once for
//! the row.

use super::chain::Ahead;
use super::kernel::LANES;
use super::machine::Machine;
use super::program::Pass;
use super::space::BLOCK;
use super::transfer::{self, Place};
use crate::isa::fetch_block;
use lazulite_core::Dtype;
use lazulite_core::plan::Extent;
use smallvec::SmallVec;

/// How many blocks ahead memory is asked for what will be read. The processor looks ahead by itself,
/// but not while a block is computed, nor from one row of columns to the next: the sums of the
/// columns of 64 MiB took 0.45 of the time so, those of the rows 0.5 to 0.7.
pub(super) const AHEAD: usize = 3;

/// A value that lies in an operand or in a buffer, and the bytes from one block to the next.
struct Moving {
    value: u16,
    step: usize,
}

/// Elements of an operand that are copied to or from blocks.
struct Copied {
    dtype: Dtype,
    /// The next block's elements.
    at: *mut u8,
    value: u16,
}

/// The state of a run.
pub(super) struct Run {
    moving: SmallVec<[Moving; 8]>,
    loads: SmallVec<[Copied; 4]>,
    stores: SmallVec<[Copied; 2]>,
    /// Memory to ask for, with the bytes from block to block.
    fetched: SmallVec<[(*const u8, usize); 4]>,
    /// Memory that summing kernels ask for.
    ahead: Ahead,
    /// True iff several blocks may be done at once.
    pub(super) is_even: bool,
}

impl Machine<'_> {
    /// A run of whole blocks from element `from` of row `row` on, or `None` if an operand does not
    /// lie along the row.
    pub(super) fn start_run(&mut self, p: usize, from: usize, row: usize) -> Option<Run> {
        let bound = self.bound;
        let program = bound.program;
        let pass = &program.passes[p];
        let mut run = Run {
            moving: SmallVec::new(),
            loads: SmallVec::new(),
            stores: SmallVec::new(),
            fetched: SmallVec::new(),
            ahead: Ahead::none(),
            is_even: pass.is_even,
        };
        for &i in &pass.loads {
            let load = &program.loads[i];
            let place = &bound.inputs[load.operand];
            if place.reduced.is_uniform() {
                run.is_even = false;
                continue;
            }
            if !place.reduced.is_contiguous() {
                return None;
            }
            let size = place.dtype.size();
            let offset = place.kept.offset(row) + from as isize;
            let at = place.first.wrapping_offset(offset * size as isize);
            if bound.fetches {
                run.fetched.push((at.wrapping_add(AHEAD * BLOCK * size), BLOCK * size));
            }
            if place.dtype.is_half() || load.kept {
                // A kept load lies in a buffer, which moves below.
                self.at[load.value as usize] = self.load_slots[i];
                run.loads.push(Copied { dtype: place.dtype, at, value: load.value });
            } else {
                self.at[load.value as usize] = at;
                run.moving.push(Moving { value: load.value, step: BLOCK * size });
            }
        }
        for &b in &pass.buffers {
            let value = program.buffers[b];
            self.at[value as usize] = self.buffer_place(value, from, row);
            run.moving.push(Moving { value, step: BLOCK * self.size(value) });
        }
        let last = program.passes.len() - 1;
        let computes = p + 1 == last && bound.space.chunks == 1;
        let asks = computes && !pass.summed.is_empty();
        let next = row + 1;
        if asks && !next.is_multiple_of(bound.space.tiles_per_task) {
            // This pass computes on what the caches hold: the task's next row comes meanwhile.
            let along = |p: &&Place| p.reduced.is_contiguous() && !p.kept.is_uniform();
            let loads = program.passes[0].loads.iter();
            let mut places = loads.map(|&i| &bound.inputs[program.loads[i].operand]);
            if let Some(place) = places.find(along) {
                let size = place.dtype.size();
                let offset = place.kept.offset(next) + from as isize;
                run.ahead.at[0] = place.first.wrapping_offset(offset * size as isize);
                run.ahead.bytes[0] = LANES * size;
            }
        }
        for (s, store) in program.stores.iter().enumerate().take(64) {
            if store.extent == Extent::Row || p + 1 < last {
                continue;
            }
            let out = &bound.outputs[s];
            if !out.reduced.is_contiguous() {
                return None;
            }
            let size = out.dtype.size();
            let offset = (out.kept.offset(row) + from as isize) * size as isize;
            let at = out.first.wrapping_offset(offset);
            if p < last {
                // The row is written soon: its lines come while this pass computes.
                if asks && s == 0 {
                    run.ahead.at[1] = at;
                    run.ahead.bytes[1] = LANES * size;
                } else if computes && !bound.in_place[s] {
                    run.fetched.push((at, BLOCK * size));
                }
            } else if store.direct && !bound.in_place[s] && !bound.streams {
                self.at[store.value as usize] = at;
                run.moving.push(Moving { value: store.value, step: BLOCK * size });
            } else {
                run.stores.push(Copied { dtype: out.dtype, at, value: store.value });
            }
        }
        run.is_even &= run.loads.is_empty() && run.stores.is_empty() && run.fetched.is_empty();
        let moves = |v: u16| run.moving.iter().any(|m| m.value == v);
        let made = pass.whole_steps.iter().map(|step| step.d);
        let reduced = pass.whole_reductions.iter().map(|&r| program.reductions[r].source);
        run.is_even = run.is_even
            && made.chain(pass.summed.iter().filter_map(|sum| sum.d)).chain(reduced).all(moves);
        (program.stores.len() <= 64).then_some(run)
    }

    /// The next blocks of a run: several only if the run is even.
    #[inline]
    pub(super) fn run_blocks(&mut self, pass: &Pass, run: &mut Run, blocks: usize) {
        let n = BLOCK * blocks;
        for (at, step) in &mut run.fetched {
            fetch_block(*at, *step);
            *at = at.wrapping_add(*step);
        }
        for load in &mut run.loads {
            // SAFETY: the block's elements lie inside the operand, and its place has room for it.
            unsafe {
                let to = self.at[load.value as usize];
                transfer::load(load.at, load.dtype, &self.line, 0, BLOCK, to);
            }
            load.at = load.at.wrapping_add(BLOCK * load.dtype.size());
        }
        self.steps(&pass.whole_steps, n);
        let mut ahead = &run.ahead;
        let none = Ahead::none();
        for sum in &pass.summed {
            let at = |v: u16| self.at[v as usize];
            let (to, sums) = (at(sum.d.unwrap_or(sum.a)), self.running[sum.reduction]);
            // SAFETY: all places have room for the blocks, and the running results are this task's.
            unsafe { (sum.kernel)(to, at(sum.a), at(sum.b), sums, n, ahead) }
            ahead = &none;
        }
        run.ahead.skip(n);
        self.reduce(&pass.whole_reductions, n, true);
        for store in &mut run.stores {
            let (size, from) = (store.dtype.size(), self.at[store.value as usize]);
            // SAFETY: the block's elements lie inside the output, and the value has as many.
            unsafe {
                if self.bound.streams && !store.dtype.is_half() {
                    transfer::stream(store.at, from, BLOCK * size);
                } else {
                    transfer::store(store.at, store.dtype, &self.line, 0, BLOCK, from);
                }
            }
            store.at = store.at.wrapping_add(BLOCK * size);
        }
        for moving in &run.moving {
            let at = &mut self.at[moving.value as usize];
            *at = at.wrapping_add(moving.step * blocks);
        }
    }
}
