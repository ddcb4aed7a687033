//! Matrix products by packed panels and a register tile (Goto and van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication", 2008).
//!
//! Both operands are seen as "outer index times k": the outer index of A is the row of the result,
//! that of B its column. A transposition, a narrower element type or a quantised format is then only
//! another `Operand`, and there is one tile for each sum type and instruction set.
//!
//! Each element of the result is summed in order of k, in blocks whose size depends on the type and
//! the instruction set alone. So neither the number of threads nor the cut into tasks changes a bit.

use std::cell::RefCell;

use crate::elem::Acc;
use crate::gemv;
use crate::isa::{IsaKind, Job, dispatch, fetch, fetch_far, isa};
use crate::lanes::{Isa, Lanes};
use crate::operand::{Operand, Sink};
use crate::pool::{self, SharedPtr};

/// What is applied to each finished piece of a row, `(batch, row, first column, values)`, before it
/// is rounded to the type of the result and while it is in cache.
pub type Epilogue<'a, T> = dyn Fn(usize, usize, usize, &mut [T]) + Sync + 'a;

/// Rows of the tallest tile, and columns of the widest.
pub(crate) const MOST_MR: usize = 14;
pub(crate) const MOST_NR: usize = 32;
/// Column panels between two calls of the epilogue.
const PANELS: usize = 4;
/// Steps of k in one round of the tile's loop, whose counters take the ports of the arithmetic.
const UNROLL: usize = 4;
/// Products of fewer multiply-adds stay on the caller's thread.
const SERIAL: usize = 1 << 18;
/// The most elements of the buffer for sums whose result has another type.
const MOST_SUMS: usize = 1 << 22;

/// Block sizes: an A block (mc x kc) sits in L2, where a B panel (kc x nr) is fetched ahead of its
/// use, and a B block (kc x nc) in L2 and L3. With AVX-512 a panel is more than L1 holds: longer sums
/// read and write the result less often, and a tile uses no more of B than L2 gives.
pub(crate) struct Blocks {
    pub mr: usize,
    pub nr: usize,
    mc: usize,
    pub kc: usize,
    nc: usize,
}

/// The sizes for sums of type `T`.
pub(crate) fn blocks<T>(kind: IsaKind) -> Blocks {
    struct Tile<T>(std::marker::PhantomData<T>);
    impl<T> Job for Tile<T> {
        type Output = [usize; 2];
        #[inline(always)]
        unsafe fn run<I: Isa>(self) -> [usize; 2] {
            [I::MR, 2 * I::F32::L * 4 / size_of::<T>()]
        }
    }
    // SAFETY: `kind` is this processor's, and the job only reads constants.
    let [mr, nr] = unsafe { dispatch(kind, Tile::<T>(std::marker::PhantomData)) };
    let wide = size_of::<T>() / 4;
    match kind {
        IsaKind::Avx512 => Blocks { mr, nr, mc: 24 * mr, kc: 512 / wide, nc: 2048 },
        _ => Blocks { mr, nr, mc: 144, kc: 256 / wide, nc: 2048 },
    }
}

/// `out = epilogue(A B)`, or `out += A B` where `out` accumulates, for every batch.
///
/// # Shapes
/// `a: (m, k), b: (n, k) -> out: (m, n)`, each with the batches of `out` or shared by them.
/// Any extent may be zero; for k = 0 the epilogue gets zeros.
///
/// # Panics
/// If the extents or batches disagree.
pub fn gemm<T: Acc>(
    a: &dyn Operand<T>,
    b: &dyn Operand<T>,
    out: &mut dyn Sink<T>,
    epilogue: Option<&Epilogue<T>>,
) {
    let ([m, k], [n, kb], [om, on]) = (a.extent(), b.extent(), out.extent());
    assert!(k == kb && m == om && n == on, "gemm: ({m}, {k}) times ({n}, {kb})^T to ({om}, {on})");
    let batches = out.batches();
    for operand in [a, b] {
        assert!(operand.batches().is_none_or(|count| count == batches), "gemm: batches differ");
    }
    if m == 0 || n == 0 || batches == 0 {
        return;
    }
    let kind = isa();
    let product = Product { a, b, out, epilogue, m, n, k, kind, blocks: blocks::<T>(kind) };
    if !gemv::product(&product) {
        product.gemm(batches);
    }
}

/// The arguments of one call.
pub(crate) struct Product<'a, T: Acc> {
    pub a: &'a dyn Operand<T>,
    pub b: &'a dyn Operand<T>,
    pub out: &'a dyn Sink<T>,
    pub epilogue: Option<&'a Epilogue<'a, T>>,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub kind: IsaKind,
    pub blocks: Blocks,
}

/// A part of the sums in memory: in the result itself, or in a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Place<T> {
    pub sums: *mut T,
    pub ld: usize,
    pub batch: usize,
    pub row: usize,
    pub col: usize,
    /// True iff the sums start here, at zero.
    pub first: bool,
    /// True iff they are complete after this block of k.
    pub last: bool,
}

impl<T> Place<T> {
    /// The place `rows` further down and `cols` further right.
    unsafe fn at(self, rows: usize, cols: usize) -> Place<T> {
        // SAFETY: the caller stays inside the sums.
        let sums = unsafe { self.sums.add(rows * self.ld + cols) };
        Place { sums, row: self.row + rows, col: self.col + cols, ..self }
    }
}

impl<T: Acc> Product<'_, T> {
    fn gemm(&self, batches: usize) {
        let Blocks { mc, .. } = self.blocks;
        let one = self.m.saturating_mul(self.n).saturating_mul(self.k.max(1));
        let threads = pool::num_threads().min(one.saturating_mul(batches) / SERIAL).max(1);
        if self.k == 0 {
            pool::parallel_for(batches * self.m, 64, |rows| {
                rows.for_each(|i| self.empty_row(i / self.m, i % self.m));
            });
        } else if self.m <= mc || one <= SERIAL || batches >= 4 * threads && one <= 1 << 24 {
            self.local(batches, one, threads);
        } else {
            (0..batches).for_each(|batch| self.shared(batch, threads));
        }
    }

    /// Finishes one row of a product with k = 0.
    fn empty_row(&self, batch: usize, row: usize) {
        let mut zeros = [T::default(); 256];
        for col in (0..self.n).step_by(256) {
            let cols = (self.n - col).min(256);
            if let Some(sums) = self.out.sums(batch)
                && self.out.accumulates()
            {
                // SAFETY: the piece lies inside the result, and this task alone writes the row.
                let piece = unsafe {
                    std::slice::from_raw_parts_mut(sums.add(row * self.out.ld() + col), cols)
                };
                self.finish(batch, row, col, piece, true);
            } else {
                zeros.fill(T::default());
                self.finish(batch, row, col, &mut zeros[..cols], false);
            }
        }
    }

    /// Applies the epilogue to a piece of a row and writes it, unless it is there already.
    pub fn finish(&self, batch: usize, row: usize, col: usize, sums: &mut [T], in_place: bool) {
        if let Some(f) = self.epilogue {
            f(batch, row, col, sums);
        }
        if !in_place {
            // SAFETY: the piece lies inside the result, and each piece is finished by one task.
            unsafe { self.out.store(self.kind, batch, row, col, sums.as_ptr(), sums.len()) }
        }
    }

    /// Few rows or small products: each task packs what it needs, all of its rows of A and slabs of
    /// B just before their use.
    fn local(&self, batches: usize, one: usize, threads: usize) {
        let Blocks { mr, nr, mc, .. } = self.blocks;
        let row_parts = self.m.div_ceil(mc);
        let rows = self.m.div_ceil(row_parts).next_multiple_of(mr);
        let row_parts = self.m.div_ceil(rows);
        // Two tasks for each thread, of at most 1024 columns, so that the sums fit in L2 and L3.
        let want = (2 * threads).div_ceil(batches * row_parts).max(self.n.div_ceil(1024));
        let want = if threads == 1 { self.n.div_ceil(1024) } else { want };
        let cols = self.n.div_ceil(want).next_multiple_of(nr);
        let col_parts = self.n.div_ceil(cols);
        let tasks = batches * row_parts * col_parts;
        // Tiny products of a large batch share a task.
        let together = if one < SERIAL / 8 { (SERIAL / 4 / one).max(1) } else { 1 };
        let tasks_of = |i: usize| i * together..tasks.min((i + 1) * together);
        let job = |i: usize| {
            for t in tasks_of(i) {
                let (batch, t) = (t / (row_parts * col_parts), t % (row_parts * col_parts));
                let (r, c) = (t % row_parts * rows, t / row_parts * cols);
                self.region(batch, [r, rows.min(self.m - r)], [c, cols.min(self.n - c)]);
            }
        };
        let jobs = tasks.div_ceil(together);
        if threads == 1 { (0..jobs).for_each(job) } else { pool::run(jobs, &job) }
    }

    /// One task of `local`: the sums of `rows` and `cols`, each a start and a length.
    fn region(&self, batch: usize, [row, rows]: [usize; 2], [col, cols]: [usize; 2]) {
        let Blocks { mr, nr, .. } = self.blocks;
        let kc = self.k_block();
        let slab = (PANELS * nr).min(cols.next_multiple_of(nr));
        let direct = self.out.sums(batch);
        let sums = if direct.is_some() { 0 } else { rows * cols };
        let sizes = [rows.next_multiple_of(mr) * kc + 8, slab * kc, sums];
        with_scratch(0, sizes, |[pa, pb, buffer]: [*mut T; 3]| {
            for k0 in (0..self.k).step_by(kc) {
                let kc = kc.min(self.k - k0);
                let place = self.place(direct, batch, [row, col], (buffer, cols), [k0, kc]);
                // SAFETY: the panels lie inside the operands and the scratch has room for them; the
                // tasks' regions are disjoint.
                unsafe {
                    self.pack_a(batch, [row, rows], [k0, kc], pa);
                    for j in (0..cols).step_by(slab) {
                        let width = slab.min(cols - j);
                        let columns = [col + j, width, nr];
                        self.b.pack_panels(self.kind, batch, columns, [k0, kc], pb);
                        self.block([rows, width, kc], pa, pb, place.at(0, j));
                    }
                }
            }
        });
    }

    /// Many rows: the threads pack a block of B together, then multiply blocks of rows by it.
    fn shared(&self, batch: usize, threads: usize) {
        let Blocks { mr, nr, mc, nc, .. } = self.blocks;
        let (kb, direct) = (self.k_block(), self.out.sums(batch));
        let nc = self.n.div_ceil(self.n.div_ceil(nc)).next_multiple_of(nr);
        // Sums in a buffer are made for as many rows as it holds.
        let most_rows = if direct.is_some() { self.m } else { (MOST_SUMS / nc).max(mc) };
        let sums = if direct.is_some() { 0 } else { most_rows.min(self.m) * nc.min(self.n) };
        with_scratch(1, [nc * kb, sums], |[pb, buffer]: [*mut T; 2]| {
            let (pb, buffer) = (SharedPtr::new(pb), SharedPtr::new(buffer));
            let direct = direct.map(SharedPtr::new);
            for top in (0..self.m).step_by(most_rows) {
                let m = most_rows.min(self.m - top);
                // Blocks of equal height but for one tile, as many for each thread, and column
                // parts if those are too few.
                let parts = m.div_ceil(mc);
                let parts = if threads == 1 { parts } else { parts.next_multiple_of(2 * threads) };
                let tiles = m.div_ceil(mr);
                let row_parts = parts.min(tiles);
                let edge = |i: usize| (i * tiles / row_parts * mr).min(m);
                for col in (0..self.n).step_by(nc) {
                    let nc = nc.min(self.n - col);
                    let col_parts = if threads == 1 { 1 } else { threads.div_ceil(row_parts) };
                    let width = nc.div_ceil(col_parts).next_multiple_of(nr);
                    let col_parts = nc.div_ceil(width);
                    for k0 in (0..self.k).step_by(kb) {
                        let kc = kb.min(self.k - k0);
                        let pack = |i: usize| {
                            let j = i * PANELS * nr;
                            let columns = [col + j, (PANELS * nr).min(nc - j), nr];
                            // SAFETY: the panels lie inside B, and their place inside the block.
                            unsafe {
                                let to = pb.get().add(j * kc);
                                self.b.pack_panels(self.kind, batch, columns, [k0, kc], to);
                            }
                        };
                        let multiply = |i: usize| {
                            let (r, c) = (edge(i % row_parts), i / row_parts * width);
                            let (rows, cols) = (edge(i % row_parts + 1) - r, width.min(nc - c));
                            let size = rows.next_multiple_of(mr) * kc + 8;
                            let direct = direct.map(SharedPtr::get);
                            with_scratch(0, [size], |[pa]: [*mut T; 1]| {
                                // SAFETY: as for `region`; B's block is packed and only read.
                                unsafe {
                                    let sums = (buffer.get(), nc);
                                    let place =
                                        self.place(direct, batch, [top, col], sums, [k0, kc]);
                                    self.pack_a(batch, [top + r, rows], [k0, kc], pa);
                                    let pb = pb.get().add(c * kc);
                                    self.block([rows, cols, kc], pa, pb, place.at(r, c));
                                }
                            });
                        };
                        let (packs, blocks) = (nc.div_ceil(PANELS * nr), row_parts * col_parts);
                        if threads == 1 {
                            (0..packs).for_each(pack);
                            (0..blocks).for_each(multiply);
                        } else {
                            pool::run(packs, &pack);
                            pool::run(blocks, &multiply);
                        }
                    }
                }
            }
        });
    }

    /// The length of a block of k: all have about the same.
    fn k_block(&self) -> usize {
        self.k.div_ceil(self.k.div_ceil(self.blocks.kc)).next_multiple_of(8)
    }

    /// Where the sums from (row, col) on are: in the result, or at the start of `buffer`.
    fn place(
        &self,
        direct: Option<*mut T>,
        batch: usize,
        [row, col]: [usize; 2],
        (buffer, buffer_ld): (*mut T, usize),
        [k0, kc]: [usize; 2],
    ) -> Place<T> {
        let ld = if direct.is_some() { self.out.ld() } else { buffer_ld };
        let sums = direct.map_or(buffer, |p| p.wrapping_add(row * ld + col));
        let first = k0 == 0 && !self.out.accumulates();
        Place { sums, ld, batch, row, col, first, last: k0 + kc == self.k }
    }

    /// Packs `rows` of A in panels of mr.
    ///
    /// # Safety
    /// The rows and k lie inside A, and `to` has room for the panels and eight elements more.
    pub unsafe fn pack_a(
        &self,
        batch: usize,
        [row, rows]: [usize; 2],
        [k0, kc]: [usize; 2],
        to: *mut T,
    ) {
        let mr = self.blocks.mr;
        // SAFETY: the caller's promise; a panel may spill into the next, which is packed after it.
        unsafe { self.a.pack_panels(self.kind, batch, [row, rows, mr], [k0, kc], to) }
    }

    /// Multiplies packed rows by packed columns, and finishes what is complete.
    ///
    /// # Safety
    /// `a` and `b` hold the panels of `rows`, `cols` and `kc`; no other thread touches the place.
    pub unsafe fn block(
        &self,
        [rows, cols, kc]: [usize; 3],
        a: *const T,
        b: *const T,
        at: Place<T>,
    ) {
        let group = PANELS * self.blocks.nr;
        let in_place = self.out.sums(at.batch).is_some();
        for j in (0..cols).step_by(group) {
            let width = group.min(cols - j);
            // SAFETY: the caller's promise.
            unsafe {
                let at = at.at(0, j);
                let tiles = Tiles {
                    rows,
                    cols: width,
                    kc,
                    a,
                    b: b.add(j * kc),
                    c: at.sums,
                    ld: at.ld,
                    first: at.first,
                };
                dispatch(self.kind, tiles);
                if at.last && (self.epilogue.is_some() || !in_place) {
                    for r in 0..rows {
                        let piece = std::slice::from_raw_parts_mut(at.sums.add(r * at.ld), width);
                        self.finish(at.batch, at.row + r, at.col, piece, in_place);
                    }
                }
            }
        }
    }
}

/// The tiles of some rows times some columns.
struct Tiles<T> {
    rows: usize,
    cols: usize,
    kc: usize,
    a: *const T,
    b: *const T,
    c: *mut T,
    ld: usize,
    first: bool,
}

impl<T: Acc> Job for Tiles<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Tiles { rows, cols, kc, a, b, c, ld, first } = self;
        let (mr, nr) = (I::MR, 2 * T::V::<I>::L);
        let mut edge = [T::default(); MOST_MR * MOST_NR];
        for j in (0..cols).step_by(nr) {
            for i in (0..rows).step_by(mr) {
                let (h, w) = (mr.min(rows - i), nr.min(cols - j));
                // The least height there is a tile for; panels are padded with zeros.
                let height =
                    if h > 8 || h > 4 && mr < 8 { mr } else { [2, 2, 2, 4, 4, 8, 8, 8, 8][h] };
                let to = c.wrapping_add(i * ld + j);
                let whole = w == nr && h == height;
                // The first tiles ask for the next panel of B.
                let asked = i / mr * Tile::<T>::fetched(kc);
                let next = if asked < kc * nr { (j + nr) * kc + asked } else { j * kc };
                let next = b.wrapping_add(next);
                // SAFETY: the panels and the place are inside what `Product::block` was promised;
                // a tile at the edge goes through `edge`, which holds a whole one.
                unsafe {
                    let (a, b) = (a.add(i * kc), b.add(j * kc));
                    let tile = Tile { mr, kc, a, b, next, c: to, ld, first };
                    if whole {
                        tile.of_height::<T::V<I>>(height);
                        continue;
                    }
                    let e = edge.as_mut_ptr();
                    if !first {
                        for r in 0..h {
                            std::ptr::copy_nonoverlapping(to.add(r * ld), e.add(r * nr), w);
                        }
                    }
                    Tile { c: e, ld: nr, ..tile }.of_height::<T::V<I>>(height);
                    for r in 0..h {
                        std::ptr::copy_nonoverlapping(e.add(r * nr), to.add(r * ld), w);
                    }
                }
            }
        }
    }
}

/// The register tile: some rows of two vectors, one broadcast of A for each row and k.
#[derive(Clone, Copy)]
struct Tile<T> {
    /// The columns of A's panel.
    mr: usize,
    kc: usize,
    a: *const T,
    b: *const T,
    /// What of B is wanted soon, which need not be readable.
    next: *const T,
    c: *mut T,
    ld: usize,
    first: bool,
}

impl<T: Acc> Tile<T> {
    /// How many elements from `next` on a tile asks for: a cache line each round.
    fn fetched(kc: usize) -> usize {
        kc / UNROLL * (64 / size_of::<T>())
    }

    /// Runs the tile of height `h`, one of `heights`.
    ///
    /// # Safety
    /// As `run`, for `h` rows, at most `mr`.
    #[inline(always)]
    unsafe fn of_height<V: Lanes<T = T>>(self, h: usize) {
        // Heights above mr do not happen, and their code is left out.
        // SAFETY: the caller's promise.
        unsafe {
            match h {
                2 => self.run::<V, 2>(),
                4 => self.run::<V, 4>(),
                6 if self.mr == 6 => self.run::<V, 6>(),
                8 if self.mr >= 8 => self.run::<V, 8>(),
                14 if self.mr == 14 => self.run::<V, 14>(),
                _ => {}
            }
        }
    }

    /// # Safety
    /// `a` holds kc packed columns of `mr` and `b` of two vectors; c has R rows of two vectors.
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>, const R: usize>(self) {
        let Tile { mr, kc, mut a, mut b, next, c, ld, first } = self;
        // SAFETY: the caller's promise.
        unsafe {
            let zero = V::splat(T::default());
            let mut acc = [[zero; 2]; R];
            let rounds = kc / UNROLL;
            // The rows of c are asked for when they are near: earlier, the panels would push them
            // out of L1 again.
            let near = rounds.saturating_sub(2 * R);
            for round in 0..rounds {
                fetch_far(next.cast::<u8>().wrapping_add(64 * round));
                if round >= near && round < near + R {
                    fetch(c.wrapping_add((round - near) * ld).cast(), 2 * size_of::<V>());
                }
                for u in 0..UNROLL {
                    step(&mut acc, mr, a.add(u * mr), b.add(u * 2 * V::L));
                }
                (a, b) = (a.add(UNROLL * mr), b.add(UNROLL * 2 * V::L));
            }
            for _ in 0..kc % UNROLL {
                step(&mut acc, mr, a, b);
                (a, b) = (a.add(mr), b.add(2 * V::L));
            }
            for (i, sums) in acc.iter().enumerate() {
                for (h, &sum) in sums.iter().enumerate() {
                    let p = c.add(i * ld + h * V::L);
                    if first { sum.store(p) } else { sum.add(V::load(p)).store(p) }
                }
            }
        }
    }
}

/// One step of k: R rows times two vectors are added to the sums.
///
/// # Safety
/// `a` holds R elements, of a panel of `mr` for each k, and `b` two vectors.
#[inline(always)]
unsafe fn step<V: Lanes, const R: usize>(
    sums: &mut [[V; 2]; R],
    mr: usize,
    a: *const V::T,
    b: *const V::T,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (b0, b1) = (V::load(b), V::load(b.add(V::L)));
        prefetch(a.wrapping_add(8 * mr));
        fetch(b.wrapping_add(16 * V::L).cast(), 2 * size_of::<V>());
        for (i, sums) in sums.iter_mut().enumerate() {
            let x = V::splat(*a.add(i));
            sums[0] = x.mul_add(b0, sums[0]);
            sums[1] = x.mul_add(b1, sums[1]);
        }
    }
}

/// Asks for the cache line of `p`, which need not be valid.
#[inline(always)]
pub(crate) fn prefetch<T>(p: *const T) {
    fetch(p.cast(), 1);
}

thread_local! {
    /// Buffers of this thread, kept between calls so that their pages are faulted in only once.
    static SCRATCH: RefCell<[Vec<u64>; 4]> =
        const { RefCell::new([vec![], vec![], vec![], vec![]]) };
}

/// Lends buffers of `sizes` elements, those of the slots from `slot` on, each aligned to a cache line.
/// Their contents are arbitrary. A nested call finds other buffers.
pub(crate) fn with_scratch<T: Acc, const N: usize, R>(
    slot: usize,
    sizes: [usize; N],
    f: impl FnOnce([*mut T; N]) -> R,
) -> R {
    let mut taken: [Vec<u64>; N] = [const { Vec::new() }; N];
    let mut pointers = [std::ptr::null_mut(); N];
    for i in 0..N {
        if sizes[i] == 0 {
            continue;
        }
        let words = (sizes[i] * size_of::<T>()).div_ceil(8) + 16;
        taken[i] = SCRATCH.with_borrow_mut(|s| std::mem::take(&mut s[slot + i]));
        if taken[i].len() < words {
            taken[i] = vec![0; words];
        }
        let p = taken[i].as_mut_ptr();
        pointers[i] = p.wrapping_add(p.align_offset(64)).cast();
    }
    let result = f(pointers);
    SCRATCH.with_borrow_mut(|s| {
        for (i, v) in taken.into_iter().enumerate() {
            if v.len() > s[slot + i].len() {
                s[slot + i] = v;
            }
        }
    });
    result
}
