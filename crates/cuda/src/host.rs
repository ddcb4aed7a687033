//! Steps for which no kernel is written: their operands go to the host, where the processor's
//! backend runs them, and the results come back. Right, slow, and counted.

use lazulite_core::backend::{self, Buffer, Call, Operand};
use lazulite_core::op::Primitive;
use lazulite_core::shape::Layout;
use lazulite_core::{Device, Error, ErrorKind, Result, Stream};

use crate::allocator::DeviceMemory;
use crate::stream::Launch;

/// Runs one primitive on the host.
pub(crate) fn execute(
    launch: &Launch<'_>,
    op: &Primitive,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    launch.gpu.note_host_step();
    let cpu = backend::get(Device::CPU)?;
    let fetch = |o: &Operand| {
        let memory = o.buffer.downcast::<DeviceMemory>().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, op.name(), "an operand is not in device memory")
        })?;
        let buffer = cpu.upload(Device::CPU, &launch.gpu.download(memory)?)?;
        Ok(Operand { buffer, ..o.clone() })
    };
    let host_inputs: Vec<Operand> = inputs.iter().map(fetch).collect::<Result<_>>()?;
    let make = |o: &Operand| {
        // A donated buffer is an input and an output at once; the host's copy is, too.
        let donor = inputs.iter().position(|i| i.buffer.same(&o.buffer));
        let buffer: Buffer = match donor {
            Some(i) => host_inputs[i].buffer.clone(),
            None => cpu.allocate(Device::CPU, o.layout.len() * o.dtype.size())?,
        };
        Ok(Operand { buffer, dtype: o.dtype, layout: Layout::contiguous(o.shape()) })
    };
    let host_outputs: Vec<Operand> = outputs.iter().map(make).collect::<Result<_>>()?;
    let call = Call::Op { op, inputs: &host_inputs, outputs: &host_outputs };
    cpu.execute(Stream::default_of(Device::CPU), &call)?;
    launch.gpu.context.bind()?;
    for (host, out) in host_outputs.iter().zip(outputs) {
        let bytes = cpu.download(&host.buffer)?;
        let to = launch.write(out)?;
        launch.gpu.copy_in(launch.queue, to, &bytes[..out.layout.len() * out.dtype.size()])?;
    }
    Ok(())
}
