//! Convolution as packed products: the patches under the kernel are gathered while the product
//! packs them, and never lie in memory as a whole.
//!
//! Where the input is dilated, the places of the kernel fall into phases that each meet other
//! elements of the kernel, so that no zero is multiplied. Along each axis a phase is a list of taps
//! and a number of places; flips and dilations are gone.

mod direct;
mod tile;
mod weight;

use std::ops::{AddAssign, Mul, Range};

use lazulite_core::Result;
use lazulite_core::backend::{self, Operand as Slot};
use lazulite_core::op::conv::Conv;
use lazulite_core::shape::Layout;
use lazulite_core::{Device, Dtype, bf16, f16};
use smallvec::SmallVec;

use crate::copy::copy;
use crate::elem::Elem;
use crate::gemm::gemm;
use crate::isa::{IsaKind, Job, dispatch};
use crate::lanes::{Eight, Isa, Lanes};
use crate::operand::{Operand, Output, Strided};
use crate::pool::parallel_for;
use crate::strided::{Plain, Target, View, internal, rows_per_task};

/// Outputs of a group below which a product would waste its tiles, and channels are the vectors.
const THIN: usize = 4;

/// Sums of products outside of packed ones.
trait Sum: AddAssign + Mul<Output = Self> + Copy {}
impl Sum for f32 {}
impl Sum for f64 {}

/// Runs the op.
pub(crate) fn conv(op: &Conv, inputs: &[Slot; 2], out: &Slot) -> Result<()> {
    match out.dtype {
        Dtype::F16 => typed::<f16>(op, inputs, out),
        Dtype::BF16 => typed::<bf16>(op, inputs, out),
        Dtype::F32 => typed::<f32>(op, inputs, out),
        Dtype::F64 => typed::<f64>(op, inputs, out),
        dtype => Err(internal(format!("convolution of {dtype}"))),
    }
}

/// The operand without gaps.
fn dense(x: &Slot) -> Result<Slot> {
    if x.layout.is_contiguous() {
        return Ok(x.clone());
    }
    let buffer =
        backend::get(Device::CPU)?.allocate(Device::CPU, x.layout.len() * x.dtype.size())?;
    let out = Slot { buffer, dtype: x.dtype, layout: Layout::contiguous(x.shape()) };
    copy(x, &out)?;
    Ok(out)
}

/// One phase along one axis: place `j` of `places` is output `first + j * every`, and reads input
/// `j * stride + offset` for each tap that is inside.
struct Phase {
    first: usize,
    every: usize,
    places: usize,
    stride: isize,
    /// The element of the kernel and the offset.
    taps: Vec<(usize, isize)>,
}

/// The phases along axis `a` for `t` places of a kernel of `k`.
fn phases(op: &Conv, a: usize, k: usize, t: usize) -> Vec<Phase> {
    let (stride, dilation) = (op.stride[a], op.input_dilation[a]);
    let every = dilation / gcd(stride, dilation);
    (0..every.min(t))
        .map(|first| {
            let start = (first * stride) as isize;
            let spread = dilation as isize;
            let mut taps: Vec<(usize, isize)> = (0..k)
                .map(|p| (p, start + op.offset(a, p, k)))
                .filter(|(_, at)| at % spread == 0)
                .map(|(p, at)| (p, at / spread))
                .collect();
            // In the order of the input, for flips too.
            taps.sort_by_key(|&(_, at)| at);
            let places = (t - first).div_ceil(every);
            Phase { first, every, places, stride: (every * stride / dilation) as isize, taps }
        })
        .collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

type Index = SmallVec<[usize; 3]>;

/// The index of point `i` of a space.
fn unravel(mut i: usize, sizes: &[usize]) -> Index {
    let mut index = Index::from_elem(0, sizes.len());
    for (at, &n) in index.iter_mut().zip(sizes).rev() {
        (*at, i) = (i % n, i / n);
    }
    index
}

fn typed<E: Elem<Acc: Sum + Plain> + Plain>(
    op: &Conv,
    inputs: &[Slot; 2],
    out: &Slot,
) -> Result<()> {
    if weight::turned::<E>(op, inputs, out)? {
        return Ok(());
    }
    let axes = op.stride.len();
    let (x, w) = (&dense(&inputs[0])?, &dense(&inputs[1])?);
    let (input, weight) = (View::<E>::new(x)?, View::<E>::new(w)?);
    let (Some(input), Some(weight)) = (input.slice(), weight.slice()) else {
        return Err(internal("operands of a convolution have gaps"));
    };
    let target = Target::<E>::new(out)?;
    // SAFETY: a convolution's output is unshared.
    let result = unsafe { target.all() };
    let along: Vec<Vec<Phase>> =
        (0..axes).map(|a| phases(op, a, w.shape()[a + 1], out.shape()[a + 1])).collect();
    let counts: Index = along.iter().map(Vec::len).collect();
    for number in 0..counts.iter().product() {
        let phase: Vec<&Phase> =
            unravel(number, &counts).iter().zip(&along).map(|(&i, all)| &all[i]).collect();
        let part = Part::new(op, x.shape(), w.shape(), out.shape(), &phase);
        if op.groups > 1 && part.outputs < THIN {
            part.thin(input, weight, result);
        } else {
            part.products(input, weight, result);
        }
    }
    Ok(())
}

/// The places of one phase, for all groups.
struct Part<'a> {
    phase: &'a [&'a Phase],
    /// Sizes of the input's spatial axes.
    space: &'a [usize],
    /// Sizes of the kernel.
    kernel: &'a [usize],
    /// Sizes of the result's spatial axes.
    full: &'a [usize],
    examples: usize,
    channels: usize,
    groups: usize,
    /// Channels and outputs of one group.
    depth: usize,
    outputs: usize,
    /// Places along each axis.
    places: Index,
    taps: Vec<Tap>,
    /// Elements of the input between two rows of a segment.
    step: isize,
}

/// An element of the kernel.
struct Tap {
    /// Its number in the kernel.
    number: usize,
    /// The offsets along each axis.
    offsets: SmallVec<[isize; 3]>,
    /// The same in elements of the input.
    distance: isize,
}

/// Rows that follow each other along the last axis.
struct Segment {
    /// How many they are.
    len: usize,
    /// Where the first one's first channel without offset lies in the input, in elements.
    first: isize,
    /// Where the first one begins along each axis.
    start: SmallVec<[isize; 3]>,
}

impl<'a> Part<'a> {
    fn new(
        op: &Conv,
        x: &'a [usize],
        w: &'a [usize],
        y: &'a [usize],
        phase: &'a [&'a Phase],
    ) -> Part<'a> {
        let axes = phase.len();
        let (space, kernel, full) = (&x[1..=axes], &w[1..=axes], &y[1..=axes]);
        let sizes: Index = phase.iter().map(|p| p.taps.len()).collect();
        let taps = (0..sizes.iter().product())
            .map(|i| {
                let index = unravel(i, &sizes);
                let (mut number, mut distance) = (0, 0);
                let mut offsets = SmallVec::new();
                for (a, &t) in index.iter().enumerate() {
                    let (k, offset) = phase[a].taps[t];
                    number = number * kernel[a] + k;
                    distance = distance * space[a] as isize + offset;
                    offsets.push(offset);
                }
                Tap { number, offsets, distance: distance * x[axes + 1] as isize }
            })
            .collect();
        Part {
            step: phase.last().map_or(0, |p| p.stride) * x[axes + 1] as isize,
            phase,
            space,
            kernel,
            full,
            examples: x[0],
            channels: x[axes + 1],
            groups: op.groups,
            depth: w[axes + 1],
            outputs: w[0] / op.groups,
            places: phase.iter().map(|p| p.places).collect(),
            taps,
        }
    }

    fn rows(&self) -> usize {
        self.examples * self.places.iter().product::<usize>()
    }

    /// True iff the places are all of the result, in order.
    fn whole(&self) -> bool {
        self.phase.iter().all(|p| p.every == 1)
    }

    /// The number of row `i` among the result's places.
    fn place(&self, i: usize) -> usize {
        let each: usize = self.places.iter().product();
        let index = unravel(i % each, &self.places);
        (index.iter().zip(self.phase).zip(self.full))
            .fold(i / each, |at, ((&j, p), &n)| at * n + p.first + j * p.every)
    }

    /// The segments of a range of rows.
    fn segments(&self, range: Range<usize>) -> impl Iterator<Item = Segment> {
        let each: usize = self.places.iter().product();
        let mut next = range.start;
        std::iter::from_fn(move || {
            if next >= range.end {
                return None;
            }
            let index = unravel(next % each, &self.places);
            let left = index.iter().zip(&self.places).next_back().map_or(1, |(&j, &n)| n - j);
            let len = left.min(range.end - next);
            let start: SmallVec<[isize; 3]> =
                index.iter().zip(self.phase).map(|(&j, p)| j as isize * p.stride).collect();
            let first = (start.iter().zip(self.space))
                .fold((next / each) as isize, |at, (&start, &n)| at * n as isize + start);
            next += len;
            Some(Segment { len, first: first * self.channels as isize, start })
        })
    }

    /// Which rows of a segment have a tap inside the input.
    #[inline]
    fn inside(&self, segment: &Segment, tap: &Tap) -> Range<usize> {
        let Some(last) = self.space.len().checked_sub(1) else { return 0..segment.len };
        for a in 0..last {
            let at = segment.start[a] + tap.offsets[a];
            if at < 0 || at >= self.space[a] as isize {
                return 0..0;
            }
        }
        let (at, stride) = (segment.start[last] + tap.offsets[last], self.phase[last].stride);
        // The number of rows that begin before `edge`.
        let before = |edge: isize| match edge - at {
            ..=0 => 0,
            d if d > segment.len as isize * stride => segment.len,
            d => ((d + stride - 1) / stride).min(segment.len as isize) as usize,
        };
        let (low, high) = (before(0), before(self.space[last] as isize));
        low..high.max(low)
    }

    /// The first channel of what a tap reads for a row of a segment, inside the input.
    #[inline]
    fn reads(&self, segment: &Segment, row: usize, tap: &Tap) -> usize {
        (segment.first + row as isize * self.step + tap.distance) as usize
    }

    /// A product for each group.
    fn products<E: Elem<Acc: Plain> + Plain>(&self, input: &[E], weight: &[E], result: &mut [E]) {
        let (rows, total) = (self.rows(), self.groups * self.outputs);
        let all: usize = self.kernel.iter().product();
        let k = self.taps.len() * self.depth;
        let in_order = self.taps.iter().enumerate().all(|(i, tap)| tap.number == i);
        let mut picked = Vec::new();
        if !in_order || self.taps.len() != all {
            for o in 0..total {
                for Tap { number, .. } in &self.taps {
                    let from = (o * all + number) * self.depth;
                    picked.extend_from_slice(&weight[from..from + self.depth]);
                }
            }
        }
        let kernel = if picked.is_empty() && k > 0 { weight } else { &picked };
        // A kernel of one element that meets every element once reads a plain matrix.
        let plain = self.whole()
            && self.taps.len() == 1
            && self.phase.iter().all(|p| p.stride == 1 && p.taps[0].1 == 0)
            && self.space == self.full;
        let mut room = vec![];
        if !self.whole() {
            // Zeros of any type are zero bits.
            room = vec![E::narrow(E::Acc::default()); rows * total];
        }
        for g in 0..self.groups {
            let own = &kernel[g * self.outputs * k..(g + 1) * self.outputs * k];
            let right = Strided::rows(own, [self.outputs, k], false);
            let (from, columns) = (g * self.depth, g * self.outputs);
            let to = if self.whole() { &mut *result } else { &mut room[..] };
            let to = to.get_mut(columns..).unwrap_or_default();
            if !plain && self.direct(input, from, &right, to, total) {
                continue;
            }
            let mut out = Output::with_ld(to, 1, [rows, self.outputs], total, 0);
            if plain {
                let steps = [self.channels as isize, 1];
                let left = Strided::new(input, from, [rows, self.depth], steps);
                gemm::<E::Acc>(&left, &right, &mut out, None);
            } else {
                let zeros = vec![E::narrow(E::Acc::default()); self.depth];
                let left = Patches { part: self, input, from, zeros };
                gemm::<E::Acc>(&left, &right, &mut out, None);
            }
        }
        if !self.whole() && total > 0 {
            for (i, row) in room.chunks(total).enumerate() {
                let to = self.place(i) * total;
                result[to..to + total].copy_from_slice(row);
            }
        }
    }

    /// Few outputs of a group: the sums of all groups of a row side by side.
    fn thin<E: Elem<Acc: Sum> + Plain>(&self, input: &[E], weight: &[E], result: &mut [E]) {
        let total = self.groups * self.outputs;
        let all: usize = self.kernel.iter().product();
        // (taps, depth, groups * outputs), so that the outputs are vectors.
        let mut turned: Vec<E::Acc> = Vec::with_capacity(self.taps.len() * self.depth * total);
        for Tap { number, .. } in &self.taps {
            for c in 0..self.depth {
                let at = |o: usize| weight[(o * all + number) * self.depth + c].widen();
                turned.extend((0..total).map(at));
            }
        }
        let out = Target::of(result);
        let grain = rows_per_task(self.taps.len() * self.depth * total);
        parallel_for(self.rows(), grain, |range| {
            let mut sums = vec![E::Acc::default(); total];
            let mut i = range.start;
            for segment in self.segments(range) {
                let inside: SmallVec<[Range<usize>; 9]> =
                    self.taps.iter().map(|tap| self.inside(&segment, tap)).collect();
                for row in 0..segment.len {
                    sums.fill(E::Acc::default());
                    for (t, tap) in self.taps.iter().enumerate() {
                        if !inside[t].contains(&row) {
                            continue;
                        }
                        let from = self.reads(&segment, row, tap);
                        for c in 0..self.depth {
                            let w = &turned[(t * self.depth + c) * total..][..total];
                            let x = &input[from..from + self.channels];
                            accumulate::<E>(&mut sums, w, x, c, [self.depth, self.outputs]);
                        }
                    }
                    let to = self.place(i + row) * total;
                    // SAFETY: rows have places of their own.
                    let place = unsafe { out.part(to..to + total) };
                    place.iter_mut().zip(&sums).for_each(|(y, s)| *y = E::narrow(*s));
                }
                i += segment.len;
            }
        });
    }
}

/// `sums[g o' + o] += w[g o' + o] x[g c' + c]`.
#[inline]
fn accumulate<E: Elem<Acc: Sum>>(
    sums: &mut [E::Acc],
    w: &[E::Acc],
    x: &[E],
    c: usize,
    [depth, outputs]: [usize; 2],
) {
    if depth == 1 && outputs == 1 {
        for ((s, w), x) in sums.iter_mut().zip(w).zip(x) {
            *s += *w * x.widen();
        }
        return;
    }
    for (g, (s, w)) in sums.chunks_mut(outputs).zip(w.chunks(outputs)).enumerate() {
        let x = x[g * depth + c].widen();
        for (s, w) in s.iter_mut().zip(w) {
            *s += *w * x;
        }
    }
}

/// The patches of one group as the left operand of a product: row by (tap, channel).
struct Patches<'a, E> {
    part: &'a Part<'a>,
    input: &'a [E],
    /// The group's first channel.
    from: usize,
    /// What is outside.
    zeros: Vec<E>,
}

// SAFETY: `pack` writes `width` elements for each of the `kc` indices.
unsafe impl<E: Elem> Operand<E::Acc> for Patches<'_, E> {
    fn extent(&self) -> [usize; 2] {
        [self.part.rows(), self.part.taps.len() * self.part.depth]
    }

    fn batches(&self) -> Option<usize> {
        None
    }

    unsafe fn pack(
        &self,
        kind: IsaKind,
        _batch: usize,
        [outer, w, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut E::Acc,
    ) {
        let (part, depth) = (self.part, self.part.depth);
        let segments: SmallVec<[Segment; 4]> = part.segments(outer..outer + w).collect();
        let mut rows: SmallVec<[&[E]; 32]> = SmallVec::new();
        let mut p = k0;
        while p < k0 + kc {
            let (tap, c) = (&part.taps[p / depth], p % depth);
            let run = (depth - c).min(k0 + kc - p);
            rows.clear();
            for segment in &segments {
                let inside = part.inside(segment, tap);
                rows.extend((0..segment.len).map(|i| match inside.contains(&i) {
                    true => {
                        let at = part.reads(segment, i, tap) + self.from + c;
                        &self.input[at..at + run]
                    }
                    false => &self.zeros[..run],
                }));
            }
            // SAFETY: the caller's promise: `dst` has room for `width * kc` elements.
            unsafe {
                let to = dst.add((p - k0) * width);
                dispatch(kind, Turn { rows: &rows, run, width, dst: to });
            }
            p += run;
        }
    }
}

/// The rows, all of `run` elements, as the columns of a panel of `width`.
struct Turn<'a, E: Elem> {
    rows: &'a [&'a [E]],
    run: usize,
    width: usize,
    dst: *mut E::Acc,
}

impl<E: Elem> Job for Turn<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Turn { rows, run, width, dst } = self;
        let mut done = 0;
        // SAFETY: all rows have `run` elements; stores are inside the panel but for eight elements.
        unsafe {
            // As in the packing of rows in memory: a group of fewer than eight columns spills into
            // the next k, whose first columns are written after it.
            while E::IN_F32 && done + 8 <= run {
                for g in (0..width).step_by(8).rev() {
                    let mut square = [I::P::splat(0.0); 8];
                    for (line, row) in square.iter_mut().zip(rows.iter().skip(g)) {
                        *line = E::load8::<I>(row.as_ptr().add(done));
                    }
                    let columns = I::P::transpose(square);
                    for (i, column) in columns.into_iter().enumerate() {
                        column.store(dst.add((done + i) * width + g).cast());
                    }
                }
                done += 8;
            }
            for r in done..run {
                let to = dst.add(r * width);
                for (i, row) in rows.iter().enumerate() {
                    *to.add(i) = row.get_unchecked(r).widen();
                }
                for i in rows.len()..width {
                    *to.add(i) = E::Acc::default();
                }
            }
        }
    }
}
