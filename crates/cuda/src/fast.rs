//! Rotary embedding.

use lazulite_core::backend::Operand;
use lazulite_core::op::fast::Rope;
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::{Dtype, Result};
use smallvec::SmallVec;

use crate::copy;
use crate::fused::{execute, merge};
use crate::heads::{Note, Turn, row_strides};
use crate::held::{Callee, Calls, Range, range};
use crate::print::storage;
use crate::stream::Launch;

pub(crate) const SOURCE: &str = concat!(include_str!("rotary.cuh"), include_str!("fast.cu"));
const GEOMETRY: usize = 64;
/// The words of a struct that kernels take.
pub(crate) type Geometry = SmallVec<[u64; GEOMETRY]>;

/// Words and zeros behind them.
pub(crate) fn padded(words: &[i64]) -> Geometry {
    let mut out: Geometry = words.iter().map(|&w| w as u64).collect();
    out.resize(GEOMETRY, 0);
    out
}

/// A contiguous copy in another type.
pub(crate) fn cast(launch: &Launch<'_>, x: &Operand, to: Dtype) -> Result<Operand> {
    if x.dtype == to {
        return copy::as_contiguous(launch, x);
    }
    let load =
        TapeValue { instr: Instr::Load { operand: 0 }, dtype: x.dtype, extent: Extent::Full };
    let cast = TapeValue { instr: Instr::Cast(0), dtype: to, extent: Extent::Full };
    let tape = Tape { values: vec![load, cast], stores: vec![1], inputs: 1, axes: 0 };
    let out = launch.temporary(to, x.shape())?;
    execute(launch, &tape, std::slice::from_ref(x), std::slice::from_ref(&out), x.shape())?;
    Ok(out)
}

/// Turns the pairs of the last axis.
pub(crate) fn rope(
    launch: &Launch<'_>,
    op: &Rope,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    // A donated buffer is read by other threads than write it.
    let x = match inputs[0].buffer.same(&out.buffer) {
        true => copy::contiguous(launch, &inputs[0])?,
        false => inputs[0].clone(),
    };
    let offsets = copy::as_contiguous(launch, &inputs[1])?;
    let freqs = match op.base {
        Some(_) => None,
        None => Some(cast(launch, &inputs[2], Dtype::F32)?),
    };
    let ndim = x.shape().len();
    let (d, steps) = (x.shape()[ndim - 1], x.shape()[ndim - 2]);
    let rows = x.layout.len() / d;
    let batch = if ndim > 2 { x.shape()[0] } else { 1 };
    let each = op.dims / 2 + (d - op.dims);
    let merged = merge(&x.shape()[..ndim - 1], &[&x.layout.strides[..ndim - 1]]);
    let mut g: SmallVec<[i64; 24]> =
        [each, rows, steps, rows / batch, op.dims, d].map(|n| n as i64).into_iter().collect();
    g.extend([
        i64::from(op.traditional),
        i64::from(op.inverse),
        offsets.layout.len() as i64,
        merged.sizes.len() as i64,
        0,
        x.layout.strides[ndim - 1] as i64,
    ]);
    for a in 0..merged.sizes.len() {
        g.extend([merged.sizes[a] as i64, merged.strides[0][a] as i64]);
    }
    let defines = format!("T={};I={};ROPE", storage(out.dtype), storage(offsets.dtype));
    let callee = Callee { source: SOURCE, name: "rope", defines };
    let slope = op.base.map_or(0.0, |b| -b.get().log2() / (op.dims / 2) as f64);
    let settled = launch.is_settled(&offsets) && freqs.iter().all(|f| launch.is_settled(f));
    let (x_at, offsets_at, to) = (launch.read(&x)?, launch.read(&offsets)?, launch.write(out)?);
    let freqs_at = freqs.as_ref().map(|f| launch.read(f)).transpose()?.unwrap_or(0);
    let numbers = [slope.to_bits(), op.scale.get().to_bits()];
    let mut words: SmallVec<[u64; 80]> = SmallVec::new();
    words.extend([x_at, offsets_at, freqs_at, to]);
    words.extend(numbers);
    words.extend(padded(&g));
    let mut reads: SmallVec<[Range; 4]> = SmallVec::new();
    reads.extend([range(&x, x_at), range(&offsets, offsets_at)]);
    reads.extend(freqs.as_ref().map(|f| range(f, freqs_at)));
    let plain = op.dims == d && !op.inverse && offsets.layout.len() == 1;
    let typed = (out.dtype, offsets.dtype) == (Dtype::F32, Dtype::I64);
    let note = row_strides(&x).filter(|_| plain && typed).map(|strides| {
        let shape = [x.shape()[0], x.shape()[1], 1, d];
        let (position, freqs, traditional) = (offsets_at, freqs_at, op.traditional);
        Note::Turn(Turn {
            x: x_at,
            shape,
            strides,
            position,
            freqs,
            numbers,
            traditional,
            out: to,
            settled,
        })
    });
    let writes = [range(out, to)];
    // SAFETY: the kernel has these parameters; strides stay within the operands, whose ranges these
    // are.
    let call = unsafe { Calls::one(launch, callee, each * rows, &words, &reads, &writes, note) };
    launch.queue.hold(call);
    Ok(())
}
