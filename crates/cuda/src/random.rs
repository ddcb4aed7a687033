//! Random words. Those of one key that fill an array are not written at once: a fused program that
//! reads them makes them in registers, and only another reader has them written.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::random::RandomBits;

use crate::allocator::{DeviceMemory, RandomWords};
use crate::args::Args;
use crate::copy;
use crate::driver::{self, CUdeviceptr};
use crate::indexing::{SOURCE, THREADS, blocks};
use crate::module::Rounding;
use crate::stream::Launch;

/// The fewest words that are worth a kernel's variant of their own.
const MANY: usize = 1 << 15;

/// Random words; narrow ones are the bytes of whole words.
pub(crate) fn random_bits(
    launch: &Launch<'_>,
    op: &RandomBits,
    key: &Operand,
    out: &Operand,
) -> Result<()> {
    let len: usize = op.shape.iter().product();
    if len == 0 || out.layout.is_empty() {
        return Ok(());
    }
    let keys = copy::as_contiguous(launch, key)?;
    let streams = keys.layout.len() / 2;
    let words = (len * op.width).div_ceil(4);
    let put_off = op.width == 4 && streams == 1 && words >= MANY;
    if put_off
        && !out.buffer.same(&keys.buffer)
        && let Some(memory) = out.buffer.downcast::<DeviceMemory>()
    {
        let stream = launch.queue.index;
        launch.own(memory)?;
        *memory.pending.lock() = Some(RandomWords { key: keys, words, stream });
        return Ok(());
    }
    let bytes = len * op.width;
    if words * 4 == bytes {
        return fill(launch, &keys, words, launch.write(out)?);
    }
    let scratch = launch.scratch(streams * words * 4)?;
    fill(launch, &keys, words, scratch.address())?;
    let to = launch.write(out)?;
    for s in 0..streams as u64 {
        let (from, at) = (scratch.address() + s * words as u64 * 4, to + s * bytes as u64);
        // SAFETY: both ranges lie in their blocks.
        unsafe { driver::copy_within(at, from, bytes, launch.queue.raw())? };
    }
    Ok(())
}

/// Writes `words` words for each key to `to`, which must have room for them.
pub(crate) fn fill(
    launch: &Launch<'_>,
    keys: &Operand,
    words: usize,
    to: CUdeviceptr,
) -> Result<()> {
    let streams = keys.layout.len() / 2;
    let pack = if words.is_multiple_of(8) && to.is_multiple_of(16) { 4 } else { 1 };
    // With 64-bit numbers of pairs 2^26 words take 1.25 of the time on an H100.
    let index = if words * streams < 1 << 31 { "u32" } else { "i64" };
    let defines = format!("V={pack};I={index};RANDOM");
    let kernel = launch.gpu.modules.kernel(SOURCE, "random", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.read(keys)?).word(to).size(words).size(streams);
    let grid = blocks((words / 2 + words % 2) / pack * streams);
    // SAFETY: the kernel has these parameters and writes `words` words for every key.
    unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue) }
}
