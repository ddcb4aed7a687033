//! The weight's cotangent of a convolution, which is a convolution whose examples are channels: of
//! images `(n, *s, c)` and cotangents `(n, *t, o)` as they lie in memory, the product
//! `(place, c) by (n, t)` times `(n, t) by o`.
//!
//! It sums over all places of all examples, which are many, so they are cut into parts: each is a
//! product of its own, and the parts are added in their order. How many there are depends on the shape
//! alone. Images of two axes are not packed: the channels of a place are the rows of a tile, and the
//! summed places of a line are a fixed distance apart.

use lazulite_core::Result;
use lazulite_core::backend::Operand as Slot;
use lazulite_core::op::conv::Conv;
use lazulite_core::shape::contiguous_strides;
use smallvec::SmallVec;
use std::ops::Range;

use super::tile::{Edge, Run, Tile, exact_height, height};
use super::{Index, Sum, unravel};
use crate::elem::{Acc, Elem};
use crate::gemm::{MOST_MR, MOST_NR, blocks, gemm};
use crate::isa::{IsaKind, Job, dispatch, isa};
use crate::lanes::{Isa, Lanes};
use crate::operand::{Operand, Output, Strided};
use crate::pool::{self, parallel_for};
use crate::strided::{Plain, Target, View, rows_per_task};

/// The least number of summed places of a part, and the most parts.
const LEAST: usize = 1024;
const MOST_PARTS: usize = 16;
/// Summed places of lines that tiles add at once, so that images and cotangents stay in L2.
const BLOCK: usize = 448;
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
    let half = blocks::<E::Acc>(isa()).nr / 2;
    let lines = axes == 2 && E::SAME_LAYOUT && outputs.is_multiple_of(half) && summed[1] >= 8;
    // Few channels leave tiles empty: the places along a row of the kernel are rows together.
    let together = channels < 8 || !channels.is_multiple_of(2);
    let lines = lines && (!together || op.stride[1] == 1);
    let mut padded = vec![];
    let mut job = Lines::<E> {
        op,
        height: 0,
        width: 0,
        left: 0,
        channels,
        outputs,
        places: [0, 0],
        rows: channels,
        exact: !together,
        summed: [0, 0],
        images: images.as_ptr().cast(),
        cotangents: cotangents.as_ptr().cast(),
        lines: 0..0,
        sums: std::ptr::null_mut(),
    };
    if lines {
        (job.height, job.width, job.left) = (x.shape()[1], x.shape()[2], -op.low[1]);
        (job.places, job.summed) = ([places[0], places[1]], [summed[0], summed[1]]);
        if together {
            let width = (summed[1] - 1) * op.kernel_dilation[1] + places[1];
            padded =
                pad::<E>(images, [examples * job.height, job.width, channels], width, job.left);
            job.images = padded.as_ptr();
            (job.width, job.left, job.rows) = (width, 0, places[1] * channels);
            job.places[1] = 1;
        }
    }
    let job = &job;
    let direct = |part: usize| {
        let all = examples * summed[0];
        let job = Lines {
            lines: part * all / parts..(part + 1) * all / parts,
            // SAFETY: each part has sums of its own.
            sums: unsafe { room.part(part * rows * outputs..(part + 1) * rows * outputs) }
                .as_mut_ptr(),
            ..*job
        };
        // SAFETY: the operands lie without gaps, so that every element of the shapes is readable, and
        // the type has the layout of its sums.
        unsafe { dispatch(isa(), job) }
    };
    let one = |part: usize| {
        if lines {
            return direct(part);
        }
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

/// Lines of images of `(lines, size, channels)` from place `left` on, `width` long, with zeros outside
/// and behind all.
fn pad<E: Elem<Acc: Plain>>(
    images: &[E],
    [lines, size, channels]: [usize; 3],
    width: usize,
    left: isize,
) -> Vec<E::Acc> {
    let mut padded = vec![E::Acc::default(); lines * width * channels + MOST_MR];
    let start = (-left).clamp(0, width as isize) as usize;
    let end = (size as isize - left).clamp(start as isize, width as isize) as usize;
    let room = Target::of(&mut padded);
    parallel_for(lines, rows_per_task(width * channels), |range| {
        for line in range.filter(|_| start < end) {
            let from = (line * size) as isize + left + start as isize;
            let from = from as usize * channels;
            let at = line * width;
            // SAFETY: lines have places of their own.
            let to = unsafe { room.part((at + start) * channels..(at + end) * channels) };
            to.iter_mut().zip(&images[from..]).for_each(|(to, x)| *to = x.widen());
        }
    });
    padded
}

/// A part of the sums of images of two axes.
struct Lines<'a, E: Elem> {
    op: &'a Conv,
    /// Of an image, and the place of its lines that the kernel's first one meets first.
    height: usize,
    width: usize,
    left: isize,
    channels: usize,
    outputs: usize,
    places: [usize; 2],
    /// Sums of a place and an output: the channels, or those of some places.
    rows: usize,
    /// True iff they are even, and the tiles have no more.
    exact: bool,
    summed: [usize; 2],
    images: *const E::Acc,
    cotangents: *const E::Acc,
    /// Lines of summed places.
    lines: Range<usize>,
    sums: *mut E::Acc,
}

// SAFETY: the pointers are to operands, which are only read, and to sums of its own.
unsafe impl<E: Elem> Sync for Lines<'_, E> {}

impl<E: Elem> Lines<'_, E> {
    /// What place (i, j) of the kernel meets in some lines.
    fn runs(&self, [i, j]: [usize; 2], lines: Range<usize>, runs: &mut Vec<Run>) {
        let (stride, step) = (&self.op.stride, &self.op.kernel_dilation);
        let top = (i * stride[0]) as isize - self.op.low[0];
        let (left, apart) = ((j * stride[1]) as isize + self.left, step[1] as isize);
        // Numbers q with `0 <= left + q apart < width`.
        let before = |edge: isize| ((edge - left).max(0) + apart - 1) / apart;
        let (from, to) = (before(0), before(self.width as isize).min(self.summed[1] as isize));
        runs.clear();
        for line in lines {
            let (example, q) = (line / self.summed[0], line % self.summed[0]);
            let y = top + (q * step[0]) as isize;
            if from < to && (0..self.height as isize).contains(&y) {
                let row = example * self.height + y as usize;
                let column = (left + from * apart) as usize;
                runs.push(Run {
                    a: (row * self.width + column) * self.channels,
                    b: (line * self.summed[1] + from as usize) * self.outputs,
                    len: (to - from) as usize,
                });
            }
        }
    }
}

impl<E: Elem<Acc: Sum>> Job for Lines<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let outputs = self.outputs;
        let nr = 2 * <E::Acc as Acc>::V::<I>::L;
        let block = (BLOCK / self.summed[1]).max(1);
        let mut runs = vec![];
        let mut edge: Edge<E::Acc> = [E::Acc::default(); MOST_MR * MOST_NR];
        for first in self.lines.clone().step_by(block) {
            let lines = first..self.lines.end.min(first + block);
            let more = first > self.lines.start;
            for place in 0..self.places[0] * self.places[1] {
                let at = [place / self.places[1], place % self.places[1]];
                self.runs(at, lines.clone(), &mut runs);
                let mut c = 0;
                while c < self.rows {
                    let left = self.rows - c;
                    let height =
                        if self.exact { exact_height(left, I::MR) } else { height(left, I::MR) };
                    let whole = height <= left;
                    for j in (0..outputs).step_by(nr) {
                        let width = nr.min(outputs - j);
                        // SAFETY: the caller's promise; outputs are whole vectors, and what a tile has
                        // more than there are rows is behind the images' last element or before it.
                        unsafe {
                            let to = self.sums.add((place * self.rows + c) * outputs + j);
                            let tile = Tile {
                                runs: &runs,
                                step: self.op.kernel_dilation[1] * self.channels,
                                next: outputs,
                                a: self.images.add(c),
                                b: self.cotangents.add(j),
                                c: if whole { to } else { edge.as_mut_ptr() },
                                ld: if whole { outputs } else { width },
                                more: more && whole,
                            };
                            let narrow = width < nr;
                            tile.of_height::<<E::Acc as Acc>::V<I>, false>(height, I::MR, narrow);
                            if !whole {
                                for i in 0..left * width {
                                    let to = to.add(i / width * outputs + i % width);
                                    if more {
                                        *to += edge[i];
                                    } else {
                                        *to = edge[i];
                                    }
                                }
                            }
                        }
                    }
                    c += height;
                }
            }
        }
    }
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
