//! Fused programs.

use lazulite_core::backend::Operand;
use lazulite_core::plan::Tape;
use lazulite_core::{Error, Result};

pub(crate) fn execute(_: &Tape, _: &[Operand], _: &[Operand], _: &[usize]) -> Result<()> {
    Err(Error::unsupported("tape", "the executor of tapes is not linked in"))
}
