//! Convolution of images without packing: some rows of an image, with zeros around, are copied into
//! L2, and the tiles read them there, where each place is a fixed distance from the one before it.

use std::ops::Range;

use super::Part;
use super::tile::{Edge, Run, Tile, height};
use crate::elem::{Acc, Elem};
use crate::gemm::{MOST_MR, MOST_NR, blocks, with_scratch};
use crate::isa::{Job, dispatch, isa};
use crate::lanes::{Isa, Lanes};
use crate::operand::{Operand, Strided};
use crate::pool::{self, SharedPtr};
use crate::strided::Plain;

/// Bytes of images that a task has in L2, beside a panel of the kernel.
const HELD: usize = 384 << 10;
/// Rows of images that a task computes at most.
const MOST_ROWS: usize = 16;

/// The images of a group as the tiles read them.
struct Bands {
    /// The offsets of the first tap along both axes, and how far the last ones are from them.
    first: [isize; 2],
    reach: [usize; 2],
    stride: [usize; 2],
    /// Places of a row with zeros around, and elements of one.
    width: usize,
    depth: usize,
    runs: Vec<Run>,
}

/// A row of places: where its first one lies in the band, and its number in the result.
type Row = (usize, usize);

impl Part<'_> {
    /// What [`Self::direct`] needs; none if packing is better, as where tiles would be much higher
    /// than what is left of a row.
    fn bands(&self, mr: usize) -> Option<Bands> {
        let ([vertical, horizontal], &[_, columns]) = (self.phase, &self.places[..]) else {
            return None;
        };
        let (mut tiled, mut left) = (0, columns);
        while left > 0 {
            let tile = height(left, mr);
            (tiled, left) = (tiled + tile, left.saturating_sub(tile));
        }
        if !self.whole() || self.rows() * self.depth == 0 || columns * 8 < tiled * 7 {
            return None;
        }
        let (up, along) = (&vertical.taps, &horizontal.taps);
        let first = [up.first()?.1, along.first()?.1];
        let reach = [up.last()?.1 - first[0], along.last()?.1 - first[1]];
        let stride = [vertical.stride as usize, horizontal.stride as usize];
        let (reach, depth) = (reach.map(|r| r as usize), self.depth);
        let width = (columns - 1) * stride[1] + reach[1] + 1;
        let mut runs: Vec<Run> = vec![];
        for (i, tap) in self.taps.iter().enumerate() {
            let at = [tap.offsets[0] - first[0], tap.offsets[1] - first[1]].map(|d| d as usize);
            let a = (at[0] * width + at[1]) * depth;
            match runs.last_mut() {
                Some(run) if run.a + run.len == a => run.len += depth,
                _ => runs.push(Run { a, b: i * depth, len: depth }),
            }
        }
        Some(Bands { first, reach, stride, width, depth, runs })
    }

    /// The products of one group, if they are better made without packing: of the channels from
    /// `from` on with `kernel` of (outputs, k), to columns of a result with `total`.
    pub(super) fn direct<E: Elem<Acc: Plain> + Plain>(
        &self,
        input: &[E],
        from: usize,
        kernel: &Strided<E>,
        result: &mut [E],
        total: usize,
    ) -> bool {
        let kind = isa();
        let sizes = blocks::<E::Acc>(kind);
        let Some(bands) = self.bands(sizes.mr) else { return false };
        let (nr, [outputs, k]) = (sizes.nr, kernel.extent);
        let panels = outputs.div_ceil(nr);
        let rows = self.examples * self.places[0];
        let line = bands.width * bands.depth * size_of::<E::Acc>();
        let fits = (HELD / line).saturating_sub(bands.reach[0]) / bands.stride[0];
        let each = fits.clamp(1, MOST_ROWS).min(rows.div_ceil(4 * pool::num_threads()));
        let to = SharedPtr::new(result.as_mut_ptr());
        with_scratch(1, [panels * k * nr], |[packed]: [*mut E::Acc; 1]| {
            let packed = SharedPtr::new(packed);
            pool::run(panels, &|j| {
                let columns = [j * nr, nr.min(outputs - j * nr), nr];
                // SAFETY: the columns lie inside the kernel, and each panel has room of its own.
                unsafe { kernel.pack(kind, 0, columns, [0, k], packed.get().add(j * k * nr)) }
            });
            let runs: Vec<Run> =
                bands.runs.iter().map(|run| Run { b: run.b * nr, ..*run }).collect();
            pool::run(rows.div_ceil(each), &|i| {
                let range = i * each..rows.min((i + 1) * each);
                let (lines, rows) = self.lines(&bands, range);
                let size = lines.len() * bands.width * bands.depth;
                let spare = MOST_MR * bands.stride[1] * bands.depth;
                with_scratch(0, [size + spare], |[held]: [*mut E::Acc; 1]| {
                    // SAFETY: the scratch has room for the lines; what is behind them is read for
                    // rows of tiles that are not kept. Each task writes rows of its own.
                    unsafe {
                        let (part, bands, lines) = (self, &bands, &lines[..]);
                        dispatch(kind, Copy { part, bands, lines, input, from, to: held });
                        let places = Places {
                            rows: &rows,
                            columns: self.places[1],
                            outputs,
                            k,
                            to: to.get(),
                            total,
                            tile: Tile {
                                runs: &runs,
                                step: bands.stride[1] * bands.depth,
                                next: nr,
                                a: held,
                                b: packed.get(),
                                c: std::ptr::null_mut(),
                                ld: nr,
                                more: false,
                            },
                        };
                        dispatch(kind, places);
                    }
                });
            });
        });
        true
    }

    /// The lines of images that some rows of places read, by number, or none for one of zeros; and
    /// where each row begins.
    fn lines(&self, bands: &Bands, range: Range<usize>) -> (Vec<Option<usize>>, Vec<Row>) {
        let (mut lines, mut rows) = (vec![], vec![]);
        let (each, height) = (self.places[0], self.space[0]);
        let mut next = range.start;
        while next < range.end {
            let (example, row) = (next / each, next % each);
            let count = (each - row).min(range.end - next);
            let start = lines.len();
            for i in 0..count {
                let line = start + i * bands.stride[0];
                rows.push((line * bands.width * bands.depth, (next + i) * self.places[1]));
            }
            let top = (row * bands.stride[0]) as isize + bands.first[0];
            for line in top..top + ((count - 1) * bands.stride[0] + bands.reach[0] + 1) as isize {
                let inside = usize::try_from(line).ok().filter(|&line| line < height);
                lines.push(inside.map(|line| example * height + line));
            }
            next += count;
        }
        (lines, rows)
    }
}

/// The copy of a group's channels of some lines, with zeros around.
struct Copy<'a, E: Elem> {
    part: &'a Part<'a>,
    bands: &'a Bands,
    lines: &'a [Option<usize>],
    input: &'a [E],
    from: usize,
    to: *mut E::Acc,
}

impl<E: Elem> Job for Copy<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Copy { part, bands: &Bands { first, width, depth, .. }, lines, input, from, to } = self;
        let size = part.space[1];
        // The places of a line that are inside the image.
        let start = (-first[1]).clamp(0, width as isize) as usize;
        let end = (size as isize - first[1]).clamp(start as isize, width as isize) as usize;
        for (i, line) in lines.iter().enumerate() {
            let inside = if line.is_some() { start..end } else { 0..0 };
            // SAFETY: the caller's promise: there is room for all lines.
            let to =
                unsafe { std::slice::from_raw_parts_mut(to.add(i * width * depth), width * depth) };
            to[..inside.start * depth].fill(E::Acc::default());
            to[inside.end * depth..].fill(E::Acc::default());
            let (Some(line), false) = (line, inside.is_empty()) else { continue };
            let place = (line * size) as isize + first[1] + inside.start as isize;
            let read = &input[place as usize * part.channels + from..];
            let to = &mut to[inside.start * depth..inside.end * depth];
            if depth == part.channels {
                to.iter_mut().zip(read).for_each(|(to, x)| *to = x.widen());
            } else {
                for (to, x) in to.chunks_mut(depth).zip(read.chunks(part.channels)) {
                    to.iter_mut().zip(x).for_each(|(to, x)| *to = x.widen());
                }
            }
        }
    }
}

/// The places of some rows times all panels of the kernel.
struct Places<'a, E: Elem> {
    rows: &'a [Row],
    columns: usize,
    outputs: usize,
    k: usize,
    to: *mut E,
    total: usize,
    tile: Tile<'a, E::Acc>,
}

impl<E: Elem> Job for Places<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Places { rows, columns, outputs, k, to, total, tile } = self;
        let (mr, nr) = (I::MR, 2 * <E::Acc as Acc>::V::<I>::L);
        let mut edge: Edge<E::Acc> = [E::Acc::default(); MOST_MR * MOST_NR];
        for j in (0..outputs).step_by(nr) {
            let w = nr.min(outputs - j);
            let narrow = 2 * w <= nr;
            let full = if narrow { nr / 2 } else { nr };
            for &(held, place) in rows {
                let mut i = 0;
                while i < columns {
                    let height = height(columns - i, mr);
                    let h = height.min(columns - i);
                    // SAFETY: the caller's promise; a tile that is not kept as a whole goes through
                    // `edge`, which holds any.
                    unsafe {
                        let to = to.add((place + i) * total + j);
                        let (a, b) = (tile.a.add(held + i * tile.step), tile.b.add(j * k));
                        let whole = E::SAME_LAYOUT && h == height && w == full;
                        let (c, ld) =
                            if whole { (to.cast(), total) } else { (edge.as_mut_ptr(), nr) };
                        let tile = Tile { a, b, c, ld, ..tile };
                        tile.of_height::<<E::Acc as Acc>::V<I>, true>(height, mr, narrow);
                        if !whole {
                            for r in 0..h {
                                E::store::<I>(edge.as_ptr().add(r * nr), w, to.add(r * total));
                            }
                        }
                    }
                    i += h;
                }
            }
        }
    }
}
