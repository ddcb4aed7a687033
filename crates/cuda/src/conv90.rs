//! Convolutions of 16-bit elements over one or two axes by warpgroup products: the copy engine gathers the
//! patches. The gradient of a weight, which is a convolution of the turned input with the turned
//! cotangent, is summed over the places without a copy of either.

use lazulite_core::backend::Operand;
use lazulite_core::op::conv::Conv;
use lazulite_core::{Dtype, Result};

use crate::args::Args;
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::Launch;
use crate::{conv, copy, driver};

pub(crate) const SOURCE: &str =
    concat!(include_str!("mma.cuh"), include_str!("hopper.cuh"), include_str!("conv90.cu"));

/// Rows of a warpgroup's tile, elements of a step, and bytes of 64 rows of one.
const TILE: usize = 128;
const STEP: usize = 64;
const PART: usize = 8192;
/// Tiles from which on the kernel is worth its multiprocessors; fewer are cut along the sum elsewhere.
const FEWEST_TILES: usize = 32;

/// What a convolution is along two axes, of which the first may be absent.
struct Geometry {
    /// Sizes of the input, of the kernel, and places.
    input: [usize; 2],
    kernel: [usize; 2],
    places: [usize; 2],
    stride: [usize; 2],
    low: [isize; 2],
    /// The distance of taps.
    spread: [usize; 2],
}

/// Numbers of one or two axes as those of two.
fn two<T: Copy>(of: &[T], absent: T) -> [T; 2] {
    match *of {
        [h, w] => [h, w],
        [w] => [absent, w],
        _ => [absent; 2],
    }
}

/// The sizes between the first and the last axis.
fn spatial(x: &Operand) -> [usize; 2] {
    let n = x.shape();
    two(&n[1..n.len() - 1], 1)
}

impl Geometry {
    /// The corners of the first patch, and of the last from the input's end (width first), if
    /// the copy engine can express them.
    fn corners(&self) -> Option<[[i32; 2]; 2]> {
        let mut corners = [[0; 2]; 2];
        for (to, a) in [(0, 1), (1, 0)] {
            let low = -self.low[a];
            let reach = ((self.places[a] - 1) * self.stride[a]) as isize;
            let high = low + reach - (self.input[a] as isize - 1);
            let far = (self.kernel[a] - 1) * self.spread[a];
            let fits = |n: isize| (-128..128).contains(&n);
            if !fits(low) || !fits(high) || far > 255 || self.stride[a] > 8 {
                return None;
            }
            corners[0][to] = low as i32;
            corners[1][to] = high as i32;
        }
        Some(corners)
    }

    /// The map of `x (n, h, w, c)`, contiguous, in boxes of `pixels` places and 64 channels.
    fn map(&self, launch: &Launch<'_>, x: &Operand, pixels: usize) -> Result<Option<[u64; 16]>> {
        let Some(corners) = self.corners() else { return Ok(None) };
        let (n, c) = (x.shape()[0], x.shape()[x.shape().len() - 1]);
        let sizes = [c, self.input[1], self.input[0], n].map(|n| n as u64);
        let steps = [self.stride[1], self.stride[0]].map(|n| n as u32);
        driver::patch_map(launch.read(x)?, sizes, corners, steps, pixels as u32).map(Some)
    }

    /// The kernels' struct.
    fn words(&self, outputs: usize, channels: usize, examples: usize, flip: bool) -> [u64; 16] {
        let rows = examples * self.places[0] * self.places[1];
        let [k, p, s, d] = [self.kernel, self.places, self.stride, self.spread];
        let low = self.low.map(|n| n as i64 as u64);
        let [k, p, s, d] = [k, p, s, d].map(|x| x.map(|n| n as u64));
        [
            rows as u64,
            outputs as u64,
            channels as u64,
            k[0],
            k[1],
            p[0],
            p[1],
            s[0],
            s[1],
            low[0],
            low[1],
            d[0],
            d[1],
            u64::from(flip),
            0,
            0,
        ]
    }
}

/// The operand with its first and last axes exchanged.
fn turned(x: &Operand) -> Operand {
    let mut axes: Vec<usize> = (0..x.shape().len()).collect();
    let last = axes.len() - 1;
    axes.swap(0, last);
    Operand { layout: x.layout.transpose(&axes), ..x.clone() }
}

/// Runs the op if its type, sizes and options suit these kernels; says whether it did.
pub(crate) fn conv(
    launch: &Launch<'_>,
    op: &Conv,
    [x, w]: [&Operand; 2],
    out: &Operand,
) -> Result<bool> {
    let axes = op.stride.len();
    let plain = op.groups == 1 && op.input_dilation.iter().all(|&d| d == 1);
    let hopper = launch.gpu.facts.capability.0 == 9;
    if !hopper || !out.dtype.is_half() || !(1..=2).contains(&axes) || !plain {
        return Ok(false);
    }
    let elements = |x: &Operand| spatial(x).iter().product::<usize>();
    if !op.flip && elements(w) > elements(out) {
        return weight(launch, op, [x, w], out);
    }
    forward(launch, op, [x, w], out)
}

fn forward(launch: &Launch<'_>, op: &Conv, [x, w]: [&Operand; 2], out: &Operand) -> Result<bool> {
    let last = w.shape().len() - 1;
    let (channels, outputs) = (w.shape()[last], w.shape()[0]);
    let rows = out.layout.len() / outputs;
    // Channels come 64 at a time, and those that are not there are multiplied, too.
    let even = channels.is_multiple_of(8) && channels >= 32 && outputs.is_multiple_of(8);
    let bn = if outputs <= 64 { 64 } else { 128 };
    let (across, tiles) = (outputs.div_ceil(bn), rows.div_ceil(TILE));
    if !even || across * tiles < FEWEST_TILES || rows >= 1 << 30 {
        return Ok(false);
    }
    let geometry = Geometry {
        input: spatial(x),
        kernel: spatial(w),
        places: spatial(out),
        stride: two(&op.stride, 1),
        low: two(&op.low, 0),
        spread: two(&op.kernel_dilation, 1),
    };
    if geometry.corners().is_none() {
        return Ok(false);
    }
    let x = copy::as_contiguous(launch, x)?;
    // A weight is used as it lies where channels or outputs are contiguous.
    let unit = |w: &Operand, a: usize| {
        let fits = |(i, &s): (usize, &isize)| i == a || w.shape()[i] == 1 || s > 0 && s % 8 == 0;
        w.layout.strides[a] == 1 && w.layout.strides.iter().enumerate().all(fits)
    };
    let w = match unit(w, last) || unit(w, 0) {
        true => w.clone(),
        false => copy::contiguous(launch, w)?,
    };
    let across_outputs = !unit(&w, last);
    if !(launch.read(&x)? | launch.read(&w)? | launch.write(out)?).is_multiple_of(16) {
        return Ok(false);
    }
    let Some(patches) = geometry.map(launch, &x, TILE)? else { return Ok(false) };
    let (n, s) = (w.shape(), &w.layout.strides);
    let size = |a: usize| if a < last { n[a] as u64 } else { 1 };
    let stride = |a: usize| if n[a] == 1 { 16 } else { s[a] as u64 * 2 };
    let (kw, kh) = (last - 1, if last == 3 { 1 } else { last });
    let [inner, outer] = if across_outputs { [0, last] } else { [last, 0] };
    let sizes = [n[inner] as u64, n[outer] as u64, size(kw), size(kh)];
    let strides = [stride(outer), stride(kw), if last == 3 { stride(kh) } else { 16 }];
    let height = if across_outputs { STEP } else { bn };
    let weights = driver::tensor_map(launch.read(&w)?, sizes, strides, height as u32)?;
    // Two warpgroups share the weight's tiles; with one there are more tiles to go round.
    let slots = launch.gpu.facts.multiprocessors as usize;
    let turns = |groups: usize| (tiles.div_ceil(groups) * across).div_ceil(slots) * groups;
    let groups = if turns(2) * 6 <= turns(1) * 7 { 2 } else { 1 };
    let stage = groups * TILE * 128 + bn * 128;
    let stages = 4;
    let mut defines = defines(out.dtype, groups, bn, stages);
    defines.push_str(if across_outputs { ";FORWARD;TURNED" } else { ";FORWARD" });
    let kernel = launch.gpu.modules.kernel(SOURCE, "conv90", &defines, Rounding::Contracted)?;
    let mut args = Args::new();
    args.words(&patches).words(&weights).word(launch.write(out)?);
    args.words(&geometry.words(outputs, channels, x.shape()[0], op.flip));
    let grid = [(tiles.div_ceil(groups) * across).min(slots) as u32, 1, 1];
    let block = [128 * (groups as u32 + 1), 1, 1];
    // SAFETY: the kernel has these parameters; the maps cover the operands.
    unsafe { args.launch(kernel, grid, block, stages * stage, launch.queue)? };
    Ok(true)
}

fn defines(dtype: Dtype, groups: usize, bn: usize, stages: usize) -> String {
    let half = if dtype == Dtype::F16 { ";HALF" } else { "" };
    format!("T={};WGS={groups};BN={bn};STAGES={stages}{half}", storage(dtype))
}

/// A convolution whose examples are the channels of `x`, and whose channels are its examples.
fn weight(launch: &Launch<'_>, op: &Conv, [x, w]: [&Operand; 2], out: &Operand) -> Result<bool> {
    let (channels, outputs) = (x.shape()[0], w.shape()[0]);
    let even = channels.is_multiple_of(8) && channels >= 32 && outputs.is_multiple_of(8);
    let geometry = Geometry {
        input: spatial(x),
        kernel: spatial(out),
        places: spatial(w),
        stride: two(&op.kernel_dilation, 1),
        low: two(&op.low, 0),
        spread: two(&op.stride, 1),
    };
    let rows = w.layout.len() / outputs;
    if !even || geometry.corners().is_none() || rows >= 1 << 30 {
        return Ok(false);
    }
    let (x, ct) = (turned(x), turned(w));
    let (x, ct) = (copy::as_contiguous(launch, &x)?, copy::as_contiguous(launch, &ct)?);
    if !(launch.read(&x)? | launch.read(&ct)? | launch.write(out)?).is_multiple_of(16) {
        return Ok(false);
    }
    let Some(patches) = geometry.map(launch, &x, STEP)? else { return Ok(false) };
    let line = outputs as u64 * 2;
    let sizes = [outputs as u64, rows as u64, 1, 1];
    let cotangents = driver::tensor_map(launch.read(&ct)?, sizes, [line; 3], STEP as u32)?;
    let bn = if outputs <= 64 { 64 } else { 128 };
    let halves = if channels <= 64 { 1 } else { 2 };
    let taps = geometry.kernel[0] * geometry.kernel[1];
    let units = taps * channels.div_ceil(64 * halves);
    // As many warpgroups as share the cotangent's tiles with the fewest idle.
    let groups = [3, 2, 1].into_iter().min_by_key(|&n| units.next_multiple_of(n)).unwrap_or(1);
    let stage = groups * halves * PART + bn * 128;
    let stages = ((200 << 10) / stage).min(6);
    let across = units.div_ceil(groups) * outputs.div_ceil(bn);
    let steps = rows.div_ceil(STEP);
    // The places are cut so that every multiprocessor has a block, of at least eight steps.
    let slots = launch.gpu.facts.multiprocessors as usize;
    let splits = (slots / across).clamp(1, (steps / 8).max(1));
    let each = steps.div_ceil(splits);
    let splits = steps.div_ceil(each);
    let parts = match splits {
        1 => None,
        _ => Some(launch.scratch(splits * out.layout.len() * 4)?),
    };
    let parts_at = parts.as_ref().map_or(0, |p| p.address());
    let defines = defines(out.dtype, groups, bn, stages) + &format!(";MH={halves};WEIGHT");
    let modules = &launch.gpu.modules;
    let kernel = modules.kernel(SOURCE, "conv90_weight", &defines, Rounding::Contracted)?;
    let mut words = geometry.words(outputs, channels, x.shape()[0], false);
    words[14] = each as u64;
    let mut args = Args::new();
    args.words(&patches).words(&cotangents).word(launch.write(out)?).word(parts_at).words(&words);
    let grid = [across as u32, splits as u32, 1];
    let block = [128 * (groups as u32 + 1), 1, 1];
    // SAFETY: the kernel has these parameters; the maps cover the operands, and the parts have room
    // for all splits.
    unsafe { args.launch(kernel, grid, block, stages * stage, launch.queue)? };
    if splits > 1 {
        conv::join(launch, parts_at, out, splits)?;
    }
    Ok(true)
}
