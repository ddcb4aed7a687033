//! Kernels of the user's: a function over the bytes of its operands.

use lazulite_core::backend::Operand;
use lazulite_core::op::kernel::{Code, HostInput, HostOutput, Kernel};
use lazulite_core::{Error, ErrorKind, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::copy::dense;
use crate::strided::{Target, internal, with_bits};

/// The bytes of a contiguous output, all zeros.
///
/// # Safety
/// Nobody else may use the output while the slice lives.
#[expect(clippy::mut_from_ref, reason = "the caller has the buffer behind it alone")]
unsafe fn zeroed(out: &Operand) -> Result<&mut [u8]> {
    with_bits!(out.dtype.size(), T => {
        let target = Target::<T>::new(out)?;
        // SAFETY: the caller's promise.
        let elements = unsafe { target.all() };
        elements.fill(0);
        Ok(bytemuck::cast_slice_mut(elements))
    })
}

/// Runs the function on the calling thread.
pub(crate) fn kernel(op: &Kernel, inputs: &[Operand], outputs: &[Operand]) -> Result<()> {
    let Code::Host(code) = &op.code else {
        let message = format!(
            "{} is CUDA code, which runs on an NVIDIA device; it was placed on the processor",
            op.label
        );
        return Err(Error::new(ErrorKind::BackendUnavailable, "kernel", message));
    };
    let inputs = inputs.iter().map(dense).collect::<Result<Vec<Operand>>>()?;
    let given = inputs
        .iter()
        .map(|x| {
            let size = x.dtype.size();
            let range = x.layout.offset * size..(x.layout.offset + x.layout.len()) * size;
            let bytes = x.buffer.memory().host_bytes().and_then(|bytes| bytes.get(range));
            let bytes = bytes.ok_or_else(|| internal("an input is not in main memory"))?;
            Ok(HostInput::new(bytes, x.dtype, x.shape()))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut made = (outputs.iter())
        .map(|out| {
            // SAFETY: outputs of a step are buffers of its own, each another one.
            let bytes = unsafe { zeroed(out)? };
            Ok(HostOutput::new(bytes, out.dtype, out.shape()))
        })
        .collect::<Result<Vec<_>>>()?;
    // Other steps wait for this one, whatever the user's code does.
    match catch_unwind(AssertUnwindSafe(|| code(&given, &mut made))) {
        Ok(result) => result.map_err(|e| e.context(&op.label)),
        Err(_) => {
            let message = format!("{} panicked", op.label);
            Err(Error::new(ErrorKind::Kernel, "kernel", message))
        }
    }
}
