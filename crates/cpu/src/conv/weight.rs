//! The weight's cotangent of a convolution, which is a convolution whose examples are channels: of
//! images `(n, *s, c)` and cotangents `(n, *t, o)` as they lie in memory, the product
//! `(place, c) by (n, t)` times `(n, t) by o`.
//!
//! It sums over all places of all examples, which are many, so they are cut into parts: each is a
//! product of its own, and the parts are added in their order. How many there are depends on the shape
//! alone.

use lazulite_core::Result;
use lazulite_core::backend::Operand as Slot;
use lazulite_core::op::conv::Conv;
use lazulite_core::shape::contiguous_strides;
use smallvec::SmallVec;
use std::ops::Range;

use super::{Index, Sum, unravel};
use crate::elem::Elem;
use crate::gemm::gemm;
use crate::isa::{IsaKind, Job, dispatch};
use crate::lanes::{Isa, Lanes};
use crate::operand::{Operand, Output, Strided};
use crate::pool::{self, parallel_for};
use crate::strided::{Plain, Target, View, rows_per_task};

/// The least number of summed places of a part, and the most parts.
const LEAST: usize = 1024;
const MOST_PARTS: usize = 16;
/// The most elements of the parts' sums.
const MOST_SUMS: usize = 1 << 22;

/// True iff the first axis is innermost in memory, and the last one outermost, without gaps.
fn is_turned(x: &Slot) -> bool {
    let mut shape = x.shape().to_vec();
    let last = shape.len() - 1;
    shape.swap(0, last);
    let mut strides = contiguous_strides(&shape);
    strides.swap(0, last);
    let mut axes = x.shape().iter().zip(&x.layout.strides).zip(&strides);
    axes.all(|((&n, have), want)| n == 1 || have == want)
}

/// Runs the op if its operands are turned; false if it is left to others.
pub(super) fn turned<E: Elem<Acc: Sum + Plain> + Plain>(
    op: &Conv,
    inputs: &[Slot; 2],
    out: &Slot,
) -> Result<bool> {
    let [x, w] = inputs;
    let axes = op.stride.len();
    let plain = op.groups == 1 && !op.flip && op.input_dilation.iter().all(|&d| d == 1);
    if axes == 0 || !plain || !is_turned(x) || !is_turned(w) || out.layout.is_empty() {
        return Ok(false);
    }
    let (images, cotangents) = (View::<E>::new(x)?.span().0, View::<E>::new(w)?.span().0);
    let (channels, outputs, examples) = (x.shape()[0], w.shape()[0], x.shape()[axes + 1]);
    let (places, summed) = (&out.shape()[1..=axes], &w.shape()[1..=axes]);
    let rows = places.iter().product::<usize>() * channels;
    let k = examples * summed.iter().product::<usize>();
    let parts = (k / LEAST).min(MOST_SUMS / (rows * outputs)).clamp(1, MOST_PARTS);
    let mut sums = vec![E::Acc::default(); parts * rows * outputs];
    let room = Target::of(&mut sums);
    let one = |part: usize| {
        let (from, to) = (part * k / parts, (part + 1) * k / parts);
        let left =
            Places { op, space: &x.shape()[1..=axes], places, summed, channels, images, from, to };
        let extent = [outputs, to - from];
        let right = Strided::new(cotangents, from * outputs, extent, [1, outputs as isize]);
        // SAFETY: each part has sums of its own.
        let own = unsafe { room.part(part * rows * outputs..(part + 1) * rows * outputs) };
        gemm::<E::Acc>(&left, &right, &mut Output::new(own, 1, [rows, outputs]), None);
    };
    if parts == 1 {
        one(0)
    } else {
        pool::run(parts, &one)
    }
    // (place, c, o) to (c, place, o).
    let (target, each) = (Target::<E>::new(out)?, rows / channels);
    parallel_for(rows, rows_per_task(parts * outputs), |range| {
        for row in range {
            let from = (row % each * channels + row / each) * outputs;
            // SAFETY: tasks have rows of their own.
            let to = unsafe { target.part(row * outputs..(row + 1) * outputs) };
            for (o, to) in to.iter_mut().enumerate() {
                let mut sum = sums[from + o];
                (1..parts).for_each(|part| sum += sums[part * rows * outputs + from + o]);
                *to = E::narrow(sum);
            }
        }
    });
    Ok(true)
}

/// What each place of the kernel and channel meets, by the summed places of a part.
struct Places<'a, E> {
    op: &'a Conv,
    /// Sizes of the images, of the kernel, and of the cotangents.
    space: &'a [usize],
    places: &'a [usize],
    summed: &'a [usize],
    channels: usize,
    images: &'a [E],
    from: usize,
    to: usize,
}

/// Channels that follow each other at one place of the kernel.
struct Piece {
    /// Where the place begins along each axis of the image, before any summed place.
    start: SmallVec<[isize; 3]>,
    channel: usize,
    len: usize,
    column: usize,
}

/// A piece along a row of summed places: the elements for number `q` are from `first + q * step` on.
struct Line {
    first: isize,
    inside: Range<usize>,
    len: usize,
    column: usize,
}

impl<E> Places<'_, E> {
    /// The pieces of some rows.
    fn pieces(&self, outer: usize, w: usize) -> SmallVec<[Piece; 4]> {
        let mut pieces = SmallVec::new();
        let mut row = outer;
        while row < outer + w {
            let channel = row % self.channels;
            let len = (self.channels - channel).min(outer + w - row);
            let index = unravel(row / self.channels, self.places);
            let start = (index.iter().zip(&self.op.stride).zip(&self.op.low))
                .map(|((&j, &stride), &low)| (j * stride) as isize - low)
                .collect();
            pieces.push(Piece { start, channel, len, column: row - outer });
            row += len;
        }
        pieces
    }

    /// What a piece reads in `run` summed places from `index` of an example on.
    fn line(&self, piece: &Piece, example: usize, index: &Index, run: usize) -> Line {
        let last = self.space.len() - 1;
        let mut at = example as isize;
        let mut inside = 0..run;
        for a in 0..=last {
            let step = self.op.kernel_dilation[a] as isize;
            let (place, size) = (piece.start[a] + index[a] as isize * step, self.space[a] as isize);
            if a < last && (place < 0 || place >= size) {
                inside = 0..0;
            } else if a == last {
                // Numbers q with `0 <= place + q step < size`.
                let before = |edge: isize| ((edge - place).max(0) + step - 1) / step;
                let high = before(size).min(inside.end as isize) as usize;
                inside = (before(0) as usize).min(high)..high;
            }
            at = at * size + place;
        }
        let first = at * self.channels as isize + piece.channel as isize;
        Line { first, inside, len: piece.len, column: piece.column }
    }
}

// SAFETY: `pack` writes `width` elements for each of the `kc` indices: the lines cover all columns.
unsafe impl<E: Elem> Operand<E::Acc> for Places<'_, E> {
    fn extent(&self) -> [usize; 2] {
        [self.places.iter().product::<usize>() * self.channels, self.to - self.from]
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
        let pieces = self.pieces(outer, w);
        let each: usize = self.summed.iter().product();
        let last = self.summed.len() - 1;
        let (start, end) = (self.from + k0, self.from + k0 + kc);
        let step = self.op.kernel_dilation[last] * self.channels;
        let mut lines: SmallVec<[Line; 8]> = SmallVec::new();
        let mut p = start;
        while p < end {
            let index = unravel(p % each, self.summed);
            let run = (self.summed[last] - index[last]).min(end - p);
            lines.clear();
            lines.extend(pieces.iter().map(|piece| self.line(piece, p / each, &index, run)));
            if w < width {
                lines.push(Line { first: 0, inside: 0..0, len: width - w, column: w });
            }
            // SAFETY: the caller's promise: `dst` has room for `width * kc` elements.
            unsafe {
                let dst = dst.add((p - start) * width);
                dispatch(kind, Copy { images: self.images, lines: &lines, run, step, width, dst });
            }
            p += run;
        }
    }
}

/// The packing of a row of summed places.
struct Copy<'a, E: Elem> {
    images: &'a [E],
    lines: &'a [Line],
    run: usize,
    step: usize,
    width: usize,
    dst: *mut E::Acc,
}

impl<E: Elem> Job for Copy<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Copy { images, lines, run, step, width, dst } = self;
        let at = |line: &Line, q: usize| (line.first + (q * step) as isize) as usize;
        // Groups of eight may spill into the next summed place, which is written after them, and at the
        // end into the eight spare elements that a width of no whole groups has.
        if E::IN_F32 && !width.is_multiple_of(8) && lines.len() <= width / 4 {
            for q in 0..run {
                for line in lines {
                    let inside = line.inside.contains(&q);
                    let from = if inside { at(line, q) } else { 0 };
                    for g in (0..line.len).step_by(8) {
                        // SAFETY: the eight elements lie inside the images; stores are inside the panel
                        // but for those that may spill.
                        unsafe {
                            let to = dst.add(q * width + line.column + g).cast::<f32>();
                            if !inside {
                                I::P::splat(0.0).store(to);
                            } else if from + g + 8 <= images.len() {
                                E::load8::<I>(images.as_ptr().add(from + g)).store(to);
                            } else {
                                for i in g..line.len.min(g + 8) {
                                    *to.cast::<E::Acc>().add(i - g) = images[from + i].widen();
                                }
                            }
                        }
                    }
                }
            }
            return;
        }
        for line in lines {
            for q in 0..run {
                // SAFETY: columns of the panel.
                let to = unsafe { dst.add(q * width + line.column) };
                let inside = line.inside.contains(&q);
                for i in 0..line.len {
                    let x =
                        if inside { images[at(line, q) + i].widen() } else { E::Acc::default() };
                    // SAFETY: as above.
                    unsafe { *to.add(i) = x };
                }
            }
        }
    }
}
