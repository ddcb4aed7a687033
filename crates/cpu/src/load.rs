//! Data from files and other sources, read straight into the array's memory.

use lazulite_core::backend::Operand;
use lazulite_core::op::creation::Load;
use lazulite_core::{Dtype, Result};
use parking_lot::Mutex;

use crate::pool::parallel_for;
use crate::strided::{Target, with_bits};

/// Bytes of one read: large enough for a disk, small enough to share among threads.
const PIECE: usize = 4 << 20;

/// Reads the array's bytes.
pub(crate) fn load(op: &Load, out: &Operand) -> Result<()> {
    let size = out.dtype.size();
    with_bits!(size, T => {
        let out = Target::<T>::new(out)?;
        // SAFETY: the output is this step's alone.
        let elements = unsafe { out.all() };
        // Fresh memory may hold anything; a source sees plain bytes either way.
        read(op, bytemuck::cast_slice_mut(elements))?;
    });
    if out.dtype == Dtype::Bool {
        let out = Target::<u8>::new(out)?;
        // SAFETY: as above. A source may hold any byte where a bool must be 0 or 1.
        unsafe { out.all() }.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    Ok(())
}

fn read(op: &Load, bytes: &mut [u8]) -> Result<()> {
    let failure = Mutex::new(None);
    let len = bytes.len();
    let target = Target::of(bytes);
    parallel_for(len, PIECE, |r| {
        // SAFETY: tasks have disjoint ranges.
        let part = unsafe { target.part(r.clone()) };
        if let Err(error) = op.source.read(op.offset + r.start as u64, part) {
            let mut failure = failure.lock();
            if failure.as_ref().is_none_or(|(at, _)| r.start < *at) {
                *failure = Some((r.start, error));
            }
        }
    });
    failure.into_inner().map_or(Ok(()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, read};
    use lazulite_core::{Error, ErrorKind, Source};
    use std::sync::Arc;

    #[derive(Debug)]
    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
            let from = offset as usize;
            let part = self.0.get(from..from + bytes.len());
            bytes.copy_from_slice(part.ok_or_else(|| Error::io("load", "bytes", "too short"))?);
            Ok(())
        }
    }

    #[test]
    fn bytes_arrive_and_failures_are_reported() {
        let source = Arc::new(Bytes((0..=255).cycle().take(PIECE + 4004).collect()));
        let shape: &[usize] = &[PIECE / 4 + 1000];
        let out = empty(Dtype::U32, shape);
        let mut op = Load { source, offset: 4, dtype: Dtype::U32, shape: shape.into() };
        load(&op, &out).unwrap();
        let want = |i: usize| u32::from_le_bytes(std::array::from_fn(|b| (4 * i + 4 + b) as u8));
        assert!(read::<u32>(&out).iter().enumerate().all(|(i, &x)| x == want(i)));
        op.offset = 8;
        assert_eq!(load(&op, &out).unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn bools_become_zero_or_one() {
        let source = Arc::new(Bytes(vec![0, 1, 2, 255]));
        let op = Load { source, offset: 0, dtype: Dtype::Bool, shape: [4].into_iter().collect() };
        let out = empty(Dtype::Bool, &[4]);
        load(&op, &out).unwrap();
        assert_eq!(read::<bool>(&out), [false, true, true, true]);
    }
}
