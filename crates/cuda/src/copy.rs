//! Copies of any layout, as the tape of one load and one store.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};

use crate::driver;
use crate::fused;
use crate::stream::Launch;

/// Copies `from` to `to`, of one shape; `to` may have any layout.
pub(crate) fn copy(launch: &Launch<'_>, from: &Operand, to: &Operand) -> Result<()> {
    if to.layout.is_empty() {
        return Ok(());
    }
    if from.dtype == to.dtype
        && from.layout.is_contiguous()
        && to.layout.is_contiguous()
        && from.layout.len() == to.layout.len()
    {
        let (from_at, to_at) = (launch.read(from)?, launch.write(to)?);
        if from_at == to_at {
            return Ok(());
        }
        let bytes = to.layout.len() * to.dtype.size();
        // SAFETY: both operands are contiguous and lie in their blocks; different addresses are
        // different blocks, because outputs are unshared.
        return unsafe { driver::copy_within(to_at, from_at, bytes, launch.queue.raw()) };
    }
    fused::execute_into(launch, &identity(from), std::slice::from_ref(from), to)
}

/// The program that stores its load.
fn identity(from: &Operand) -> Tape {
    let load =
        TapeValue { instr: Instr::Load { operand: 0 }, dtype: from.dtype, extent: Extent::Full };
    Tape { values: vec![load], stores: vec![0], inputs: 1, axes: 0 }
}

/// A contiguous copy that lives until its handle is dropped.
pub(crate) fn contiguous(launch: &Launch<'_>, from: &Operand) -> Result<Operand> {
    let to = launch.temporary(from.dtype, from.shape())?;
    copy(launch, from, &to)?;
    Ok(to)
}

/// `from` itself if it is contiguous, else a copy.
pub(crate) fn as_contiguous(launch: &Launch<'_>, from: &Operand) -> Result<Operand> {
    if from.layout.is_contiguous() { Ok(from.clone()) } else { contiguous(launch, from) }
}
