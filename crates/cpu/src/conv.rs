//! Convolution as packed products: the patches under the kernel are gathered while the product
//! packs them, and never lie in memory as a whole.
//!
//! Where the input is dilated, the places of the kernel fall into phases that each meet other
//! elements of the kernel, so that no zero is multiplied. Along each axis a phase is a list of taps
//! and a number of places; flips and dilations are gone.

use std::ops::{AddAssign, Mul};

use lazulite_core::Result;
use lazulite_core::backend::{self, Operand as Slot};
use lazulite_core::op::conv::Conv;
use lazulite_core::shape::Layout;
use lazulite_core::{Device, Dtype, bf16, f16};
use smallvec::SmallVec;

use crate::copy::copy;
use crate::elem::Elem;
use crate::gemm::gemm;
use crate::isa::IsaKind;
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
    let (x, w) = (dense(&inputs[0])?, dense(&inputs[1])?);
    match out.dtype {
        Dtype::F16 => typed::<f16>(op, &x, &w, out),
        Dtype::BF16 => typed::<bf16>(op, &x, &w, out),
        Dtype::F32 => typed::<f32>(op, &x, &w, out),
        Dtype::F64 => typed::<f64>(op, &x, &w, out),
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
            let taps = (0..k)
                .map(|p| (p, start + op.offset(a, p, k)))
                .filter(|(_, at)| at % spread == 0)
                .map(|(p, at)| (p, at / spread))
                .collect();
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

fn typed<E: Elem<Acc: Sum> + Plain>(op: &Conv, x: &Slot, w: &Slot, out: &Slot) -> Result<()> {
    let axes = op.stride.len();
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
    /// Elements of the kernel: their number in it, and the offsets along each axis.
    taps: Vec<(usize, SmallVec<[isize; 3]>)>,
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
                let mut number = 0;
                let mut offsets = SmallVec::new();
                for (a, &t) in index.iter().enumerate() {
                    let (k, offset) = phase[a].taps[t];
                    number = number * kernel[a] + k;
                    offsets.push(offset);
                }
                (number, offsets)
            })
            .collect();
        Part {
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

    /// Where row `i` begins along each axis, and the number of its example.
    fn start(&self, i: usize) -> (usize, SmallVec<[isize; 3]>) {
        let each: usize = self.places.iter().product();
        let index = unravel(i % each, &self.places);
        let start = index.iter().zip(self.phase).map(|(&j, p)| j as isize * p.stride).collect();
        (i / each, start)
    }

    /// The first channel of what a tap reads for a row, if it is inside.
    fn reads(&self, (example, start): &(usize, SmallVec<[isize; 3]>), tap: usize) -> Option<usize> {
        let mut at = *example;
        for (a, &n) in self.space.iter().enumerate() {
            let i = start[a] + self.taps[tap].1[a];
            if i < 0 || i >= n as isize {
                return None;
            }
            at = at * n + i as usize;
        }
        Some(at * self.channels)
    }

    /// A product for each group.
    fn products<E: Elem + Plain>(&self, input: &[E], weight: &[E], result: &mut [E]) {
        let (rows, total) = (self.rows(), self.groups * self.outputs);
        let all: usize = self.kernel.iter().product();
        let k = self.taps.len() * self.depth;
        let in_order = self.taps.iter().enumerate().all(|(i, tap)| tap.0 == i);
        let mut picked = Vec::new();
        if !in_order || self.taps.len() != all {
            for o in 0..total {
                for (number, _) in &self.taps {
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
        for (number, _) in &self.taps {
            for c in 0..self.depth {
                let at = |o: usize| weight[(o * all + number) * self.depth + c].widen();
                turned.extend((0..total).map(at));
            }
        }
        let out = Target::of(result);
        let grain = rows_per_task(self.taps.len() * self.depth * total);
        parallel_for(self.rows(), grain, |range| {
            let mut sums = vec![E::Acc::default(); total];
            for i in range {
                sums.fill(E::Acc::default());
                let start = self.start(i);
                for tap in 0..self.taps.len() {
                    let Some(from) = self.reads(&start, tap) else { continue };
                    for c in 0..self.depth {
                        let w = &turned[(tap * self.depth + c) * total..][..total];
                        let x = &input[from..from + self.channels];
                        accumulate::<E>(&mut sums, w, x, c, [self.depth, self.outputs]);
                    }
                }
                let to = self.place(i) * total;
                // SAFETY: rows have places of their own.
                let row = unsafe { out.part(to..to + total) };
                row.iter_mut().zip(&sums).for_each(|(y, s)| *y = E::narrow(*s));
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
        _kind: IsaKind,
        _batch: usize,
        [outer, w, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut E::Acc,
    ) {
        let depth = self.part.depth;
        let starts: SmallVec<[_; 32]> = (outer..outer + w).map(|i| self.part.start(i)).collect();
        let mut rows: SmallVec<[&[E]; 32]> = SmallVec::new();
        let mut p = k0;
        while p < k0 + kc {
            let (tap, c) = (p / depth, p % depth);
            let run = (depth - c).min(k0 + kc - p);
            rows.clear();
            rows.extend(starts.iter().map(|start| match self.part.reads(start, tap) {
                Some(at) => &self.input[at + self.from + c..at + self.from + c + run],
                None => &self.zeros[..run],
            }));
            for r in 0..run {
                // SAFETY: the caller's promise: `dst` has room for `width * kc` elements.
                unsafe {
                    let to = dst.add((p - k0 + r) * width);
                    for (i, row) in rows.iter().enumerate() {
                        *to.add(i) = row.get_unchecked(r).widen();
                    }
                    for i in w..width {
                        *to.add(i) = E::Acc::default();
                    }
                }
            }
            p += run;
        }
    }
}
