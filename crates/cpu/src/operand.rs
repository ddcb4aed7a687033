//! What products read and write: matrices in memory behind bounds that are checked once.

use std::marker::PhantomData;
use std::ops::Range;

use crate::elem::{Acc, Elem};
use crate::gemm::prefetch;
use crate::gemv::{self, Cut, Vectors};
use crate::isa::{IsaKind, Job, dispatch};
use crate::lanes::{Eight, Isa, Lanes};

/// An operand seen as "outer index times k", which a product packs panel by panel.
///
/// # Safety
/// `pack` must initialise all that it documents, and touch no more.
pub unsafe trait Operand<T: Acc>: Sync {
    /// The outer extent and k.
    fn extent(&self) -> [usize; 2];

    /// The number of matrices, or `None` for one that all batches share.
    fn batches(&self) -> Option<usize>;

    /// Writes `dst[p * width + i] = self[outer + i, k0 + p]` for i < w and p < kc, and zeros for
    /// i from w to `width`; `columns` is `[outer, w, width]` and `ks` is `[k0, kc]`.
    ///
    /// # Safety
    /// The indices lie inside the operand; `dst` has room for `width * kc` elements, and for eight
    /// more if `width` is not a multiple of 8, which may be overwritten; `kind` is available.
    unsafe fn pack(
        &self,
        kind: IsaKind,
        batch: usize,
        columns: [usize; 3],
        ks: [usize; 2],
        dst: *mut T,
    );

    /// Packs `columns` of any number as panels of `width`, each after the one before it.
    ///
    /// # Safety
    /// As `pack`, with room for all panels.
    unsafe fn pack_panels(
        &self,
        kind: IsaKind,
        batch: usize,
        [outer, columns, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut T,
    ) {
        for i in (0..columns).step_by(width) {
            let panel = [outer + i, width.min(columns - i), width];
            // SAFETY: the caller's promise.
            unsafe { self.pack(kind, batch, panel, [k0, kc], dst.add(i * kc)) }
        }
    }

    /// How `gemv` on m rows is cut into tasks, or `None` if the operand has no faster way for so
    /// many rows than packing.
    fn gemv_cut(&self, m: usize) -> Option<Cut> {
        let _ = m;
        None
    }

    /// `y[r * ld + j] = sum over ks of x[r][k] self[j, k]` for j in `columns`, both ranges one of
    /// those into which `gemv_cut` cuts.
    ///
    /// # Safety
    /// `gemv_cut` is not `None`; the ranges lie inside the operand, `y` has room for the columns
    /// from its start on, and `kind` is available.
    unsafe fn gemv(
        &self,
        kind: IsaKind,
        batch: usize,
        x: Vectors<T>,
        [columns, ks]: [Range<usize>; 2],
        y: *mut T,
        ld: usize,
    ) {
        let _ = (kind, batch, x, columns, ks, y, ld);
    }

    /// Prepares the vectors for `gemv`, once for all columns: may permute them and write what it
    /// likes to `x.extra`.
    ///
    /// # Safety
    /// As `gemv`; no other thread touches the vectors.
    unsafe fn prepare(&self, kind: IsaKind, x: Vectors<T>) {
        let _ = (kind, x);
    }
}

/// A matrix, or one for each batch, in memory with any strides: element (i, p) of batch b is
/// `data[offsets[b] + i * strides[0] + p * strides[1]]`.
pub struct Strided<'a, E> {
    data: *const E,
    offset: usize,
    offsets: Option<&'a [usize]>,
    pub(crate) extent: [usize; 2],
    strides: [isize; 2],
    life: PhantomData<&'a [E]>,
}

// SAFETY: it is a shared slice.
unsafe impl<E: Sync> Send for Strided<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for Strided<'_, E> {}

impl<'a, E> Strided<'a, E> {
    /// One matrix, shared by all batches.
    ///
    /// # Panics
    /// If an element would lie outside `data`.
    pub fn new(
        data: &'a [E],
        offset: usize,
        extent: [usize; 2],
        strides: [isize; 2],
    ) -> Strided<'a, E> {
        check(data.len(), [offset, offset], extent, strides);
        Strided { data: data.as_ptr(), offset, offsets: None, extent, strides, life: PhantomData }
    }

    /// A matrix for each batch, from `offsets` on.
    ///
    /// # Panics
    /// If an element would lie outside `data`.
    pub fn batched(
        data: &'a [E],
        offsets: &'a [usize],
        extent: [usize; 2],
        strides: [isize; 2],
    ) -> Strided<'a, E> {
        let low = offsets.iter().min().copied().unwrap_or(0);
        let high = offsets.iter().max().copied().unwrap_or(0);
        if !offsets.is_empty() {
            check(data.len(), [low, high], extent, strides);
        }
        let all = Strided::new(data, 0, [0, 0], [0, 0]);
        Strided { offsets: Some(offsets), extent, strides, ..all }
    }

    /// A row-major matrix (outer, k), or with `transposed` (k, outer), with nothing between rows.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn rows(data: &'a [E], extent: [usize; 2], transposed: bool) -> Strided<'a, E> {
        let strides = if transposed { [1, extent[0] as isize] } else { [extent[1] as isize, 1] };
        Strided::new(data, 0, extent, strides)
    }

    /// The number of matrices, or `None` for one that all batches share.
    pub(crate) fn matrices(&self) -> Option<usize> {
        self.offsets.map(<[usize]>::len)
    }

    pub(crate) fn at(&self, batch: usize, i: usize, p: usize) -> *const E {
        let offset = self.offsets.map_or(self.offset, |o| o[batch]);
        self.data.wrapping_add(offset).wrapping_offset(
            (i as isize)
                .wrapping_mul(self.strides[0])
                .wrapping_add((p as isize).wrapping_mul(self.strides[1])),
        )
    }
}

/// Panics unless all elements from both offsets lie inside `len`.
fn check(len: usize, offsets: [usize; 2], extent: [usize; 2], strides: [isize; 2]) {
    if extent.contains(&0) {
        return;
    }
    let (mut low, mut high) = (offsets[0] as i128, offsets[1] as i128);
    for (n, s) in extent.into_iter().zip(strides) {
        let reach = (n as i128 - 1) * s as i128;
        low += reach.min(0);
        high += reach.max(0);
    }
    assert!(
        low >= 0 && high < len as i128,
        "operand {extent:?} with strides {strides:?} from {offsets:?} leaves its {len} elements"
    );
}

// SAFETY: `Pack` writes every element of the panel, and reads inside the bounds of `check`.
unsafe impl<E: Elem> Operand<E::Acc> for Strided<'_, E> {
    fn extent(&self) -> [usize; 2] {
        self.extent
    }

    fn batches(&self) -> Option<usize> {
        self.matrices()
    }

    unsafe fn pack(
        &self,
        kind: IsaKind,
        batch: usize,
        [i0, w, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut E::Acc,
    ) {
        let src = self.at(batch, i0, k0);
        let [outer, inner] = self.strides;
        let pack = Pack { src, outer, inner, w, width, kc, dst };
        // SAFETY: the caller's promise.
        unsafe { dispatch(kind, pack) }
    }

    unsafe fn pack_panels(
        &self,
        kind: IsaKind,
        batch: usize,
        [outer, columns, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut E::Acc,
    ) {
        // Where the columns are contiguous, all panels are filled for a few k at a time.
        let step = if self.strides[0] == 1 && self.strides[1] != 1 { 16 } else { kc };
        for p in (0..kc).step_by(step) {
            for i in (0..columns).step_by(width) {
                let ks = [k0 + p, step.min(kc - p)];
                let panel = [outer + i, width.min(columns - i), width];
                // SAFETY: the caller's promise.
                unsafe {
                    let to = dst.add(i * kc + p * width);
                    self.pack(kind, batch, panel, ks, to);
                }
            }
        }
    }

    fn gemv_cut(&self, m: usize) -> Option<Cut> {
        if !E::IS_FLOAT {
            return None;
        }
        let k = self.extent[1];
        // At least 32768 elements for a task.
        let columns = (1usize << 15).div_ceil(k.max(1)).next_multiple_of(64);
        match self.strides {
            [_, 1] if m <= gemv::MOST_ROWS => Some(Cut::columns(columns)),
            // Long pieces of rows are faster to read.
            [1, _] if m <= gemv::MOST_ROWS => Some(Cut::columns(columns.max(512))),
            _ => None,
        }
    }

    unsafe fn gemv(
        &self,
        kind: IsaKind,
        batch: usize,
        x: Vectors<E::Acc>,
        [columns, _]: [Range<usize>; 2],
        y: *mut E::Acc,
        ld: usize,
    ) {
        if !E::IS_FLOAT {
            return;
        }
        let (w, n) = (self.at(batch, columns.start, 0), columns.len());
        let k = self.extent[1];
        // SAFETY: the caller's promise.
        unsafe {
            if self.strides[1] == 1 {
                dispatch(kind, gemv::DotRows { x, w, stride: self.strides[0], k, n, y, ld });
            } else {
                dispatch(kind, gemv::SumRows { x, w, stride: self.strides[1], k, n, y, ld });
            }
        }
    }
}

/// The packing of one panel, `E` to its sum type.
struct Pack<E: Elem> {
    src: *const E,
    outer: isize,
    inner: isize,
    w: usize,
    width: usize,
    kc: usize,
    dst: *mut E::Acc,
}

impl<E: Elem> Job for Pack<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Pack { src, outer, inner, w, width, kc, dst } = self;
        let at = |i: usize, p: usize| {
            src.wrapping_offset(i as isize * outer).wrapping_offset(p as isize * inner)
        };
        let mut done = 0;
        // SAFETY: rows below w and k below kc lie inside the operand; a load of several elements
        // stays inside them; stores are inside the panel but for eight elements.
        unsafe {
            if inner == 1 && width == 1 {
                let l = <E::Acc as Acc>::V::<I>::L;
                while done + l <= kc {
                    E::load::<I>(src.add(done)).store(dst.add(done));
                    done += l;
                }
            } else if inner == 1 && E::IN_F32 {
                // Rows along k: eight by eight are transposed. A group of fewer than eight columns
                // spills into the next k, whose first columns are written after it.
                while done + 8 <= kc {
                    for g in (0..width).step_by(8).rev() {
                        let mut rows = [I::P::splat(0.0); 8];
                        for (i, row) in rows.iter_mut().enumerate().take(w.saturating_sub(g)) {
                            *row = E::load8::<I>(at(g + i, done));
                        }
                        let columns = I::P::transpose(rows);
                        for (i, column) in columns.into_iter().enumerate() {
                            column.store(dst.add((done + i) * width + g).cast());
                        }
                    }
                    done += 8;
                }
            } else if outer == 1 && w == width && width.is_multiple_of(<E::Acc as Acc>::V::<I>::L) {
                // Rows along the panel's width: copied, and what the next panel reads is fetched.
                while done < kc {
                    let row = at(0, done);
                    prefetch(row.wrapping_add(width));
                    for g in (0..width).step_by(<E::Acc as Acc>::V::<I>::L) {
                        E::load::<I>(row.add(g)).store(dst.add(done * width + g));
                    }
                    done += 1;
                }
            }
            // Other strides, and what the fast ways left.
            for p in done..kc {
                for i in 0..width {
                    let v = if i < w { (*at(i, p)).widen() } else { Default::default() };
                    *dst.add(p * width + i) = v;
                }
            }
        }
    }
}

/// What a product writes.
///
/// # Safety
/// `sums` must give memory for all rows of `ld` and columns of the result, disjoint for each batch.
pub unsafe trait Sink<T: Acc>: Sync {
    /// Rows and columns.
    fn extent(&self) -> [usize; 2];
    /// The number of results.
    fn batches(&self) -> usize;
    /// The memory of the batch's result, if it has the layout of the sums.
    fn sums(&self, batch: usize) -> Option<*mut T>;
    /// Elements between rows.
    fn ld(&self) -> usize;
    /// True iff the product is added to what is there.
    fn accumulates(&self) -> bool;
    /// Narrows and writes `n` elements of a row.
    ///
    /// # Safety
    /// They lie inside the result, no other thread touches them, and `kind` is available.
    unsafe fn store(
        &self,
        kind: IsaKind,
        batch: usize,
        row: usize,
        col: usize,
        src: *const T,
        n: usize,
    );
}

/// A row-major result (m, n), or one for each batch, in memory.
pub struct Output<'a, E> {
    data: *mut E,
    batches: usize,
    extent: [usize; 2],
    ld: usize,
    batch_stride: usize,
    accumulates: bool,
    life: PhantomData<&'a mut [E]>,
}

// SAFETY: it is an exclusive slice, whose disjoint parts the tasks of a product write.
unsafe impl<E: Send> Send for Output<'_, E> {}
// SAFETY: as above.
unsafe impl<E: Send> Sync for Output<'_, E> {}

impl<'a, E: Elem> Output<'a, E> {
    /// Results without gaps: (batches, m, n).
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn new(data: &'a mut [E], batches: usize, extent: [usize; 2]) -> Output<'a, E> {
        Output::with_ld(data, batches, extent, extent[1], extent[0].saturating_mul(extent[1]))
    }

    /// Results with `ld` elements from row to row and `batch_stride` from batch to batch.
    ///
    /// # Panics
    /// If they leave `data` or overlap.
    pub fn with_ld(
        data: &'a mut [E],
        batches: usize,
        extent: [usize; 2],
        ld: usize,
        batch_stride: usize,
    ) -> Output<'a, E> {
        let [m, n] = extent;
        if batches > 0 && m > 0 && n > 0 {
            let one = (m as u128 - 1) * ld as u128 + n as u128;
            let all = (batches as u128 - 1) * batch_stride as u128 + one;
            assert!(ld >= n || m == 1, "output: rows of {n} overlap at {ld}");
            assert!(batches == 1 || batch_stride as u128 >= one, "output: batches overlap");
            assert!(all <= data.len() as u128, "output: {all} elements in {}", data.len());
        }
        let data = data.as_mut_ptr();
        Output { data, batches, extent, ld, batch_stride, accumulates: false, life: PhantomData }
    }

    /// Adds the product to what is there.
    ///
    /// # Panics
    /// If the type is narrower than its sums (half types and integers below 32 bits).
    pub fn accumulating(self) -> Output<'a, E> {
        assert!(E::SAME_LAYOUT, "output: this type cannot accumulate");
        Output { accumulates: true, ..self }
    }
}

// SAFETY: checked in `with_ld`.
unsafe impl<E: Elem> Sink<E::Acc> for Output<'_, E> {
    fn extent(&self) -> [usize; 2] {
        self.extent
    }

    fn batches(&self) -> usize {
        self.batches
    }

    fn sums(&self, batch: usize) -> Option<*mut E::Acc> {
        E::SAME_LAYOUT.then(|| self.data.wrapping_add(batch * self.batch_stride).cast())
    }

    fn ld(&self) -> usize {
        self.ld
    }

    fn accumulates(&self) -> bool {
        self.accumulates
    }

    unsafe fn store(
        &self,
        kind: IsaKind,
        batch: usize,
        row: usize,
        col: usize,
        src: *const E::Acc,
        n: usize,
    ) {
        struct Store<E: Elem>(*const E::Acc, usize, *mut E);
        impl<E: Elem> Job for Store<E> {
            type Output = ();
            #[inline(always)]
            unsafe fn run<I: Isa>(self) {
                // SAFETY: the caller's promise.
                unsafe { E::store::<I>(self.0, self.1, self.2) }
            }
        }
        // SAFETY: the caller's promise.
        unsafe {
            let dst = self.data.add(batch * self.batch_stride + row * self.ld + col);
            dispatch(kind, Store::<E>(src, n, dst));
        }
    }
}
