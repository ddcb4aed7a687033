//! The processor as a device: each step goes to the file of its family.

use std::sync::{Arc, OnceLock};

use lazulite_core::backend::{
    BACKENDS, Backend, Buffer, Call, Job, Limit, MemoryStats, Operand, Recorded, Recording,
};
use lazulite_core::jobs::Jobs;
use lazulite_core::op::Primitive;
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::shape::Layout;
use lazulite_core::{Device, DeviceKind, Error, ErrorKind, Result, Stream};

use crate::allocator::{CpuMemory, allocator};
use crate::pool;
use crate::strided::internal;
use crate::{
    attention, attention_grad, conv, copy, creation, fft, fused, gather, grouped, isa, join,
    kernel, linalg, load, masked, matmul, quantized, random, record, reduce, rope, scan, scatter,
    sort,
};

/// The processor and its main memory.
struct Cpu;

#[linkme::distributed_slice(BACKENDS)]
static REGISTER: fn() -> Option<Arc<dyn Backend>> = || Some(Arc::new(Cpu));

/// The jobs of the processor's streams.
pub(crate) fn jobs() -> &'static Jobs {
    static JOBS: OnceLock<Jobs> = OnceLock::new();
    JOBS.get_or_init(Jobs::default)
}

/// As [`Backend::submit`]; the pool's workers stay awake while the job runs.
pub(crate) fn submit(stream: u32, inline: bool, job: Job) {
    let awake = move || {
        let _awake = pool::Awake::new();
        job();
    };
    jobs().submit(stream, inline, Box::new(awake));
}

impl Backend for Cpu {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn device_count(&self) -> u32 {
        1
    }

    fn describe(&self, _device: Device) -> Vec<(String, String)> {
        let fact = |key: &str, value: String| (key.to_string(), value);
        vec![
            fact("architecture", std::env::consts::ARCH.into()),
            fact("instruction_set", format!("{:?}", isa::isa()).to_lowercase()),
            fact("threads", pool::num_threads().to_string()),
            fact("memory_limit", allocator().limit(Limit::Memory).to_string()),
        ]
    }

    fn allocate(&self, _device: Device, bytes: usize) -> Result<Buffer> {
        match record::pool() {
            Some(pool) => allocator().allocate_in(pool, bytes),
            None => allocator().allocate(bytes),
        }
    }

    fn upload(&self, _device: Device, bytes: &[u8]) -> Result<Buffer> {
        let buffer = allocator().allocate(bytes.len())?;
        let Some(memory) = buffer.downcast::<CpuMemory>() else {
            return Err(internal("the allocator gave foreign memory"));
        };
        let to = pool::SharedPtr::new(memory.as_ptr());
        pool::parallel_for(bytes.len(), UPLOAD, |r| {
            // SAFETY: the fresh buffer has room for all bytes; tasks have ranges of their own.
            unsafe {
                let part = bytes.as_ptr().add(r.start);
                std::ptr::copy_nonoverlapping(part, to.get().add(r.start), r.len());
            }
        });
        Ok(buffer)
    }

    fn download(&self, buffer: &Buffer) -> Result<Vec<u8>> {
        record::refuse("download")?;
        match buffer.memory().host_bytes() {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(internal("the buffer is not in main memory")),
        }
    }

    fn execute(&self, _stream: Stream, call: &Call<'_>) -> Result<()> {
        if record::note(call) { Ok(()) } else { run(call) }
    }

    fn submit(&self, stream: Stream, inline: bool, job: Job) {
        if let Some(job) = record::job(stream.index, job) {
            submit(stream.index, inline, job);
        }
    }

    fn record(
        &self,
        stream: Stream,
        arguments: &[Buffer],
        work: &mut Recorded<'_>,
    ) -> Result<Option<Arc<dyn Recording>>> {
        record::record(stream.index, arguments, work)
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        record::refuse("synchronize")?;
        jobs().synchronize(stream.index)
    }

    fn memory(&self, _device: Device) -> MemoryStats {
        allocator().stats()
    }

    fn reset_peak(&self, _device: Device) {
        allocator().reset_peak();
    }

    fn clear_cache(&self, _device: Device) {
        allocator().clear_cache();
    }

    fn set_limit(&self, _device: Device, limit: Limit, bytes: usize) -> usize {
        allocator().set_limit(limit, bytes)
    }

    fn limit(&self, _device: Device, limit: Limit) -> usize {
        allocator().limit(limit)
    }
}

/// Runs one step.
pub(crate) fn run(call: &Call<'_>) -> Result<()> {
    match call {
        Call::Op { op, inputs, outputs } => execute(op, inputs, outputs),
        Call::Tape { tape, inputs, outputs, space } => run_tape(tape, inputs, outputs, space),
        Call::Product { op, inputs, epilogue, extra, output } => {
            product(op, inputs, epilogue, extra, output)
        }
    }
}

/// Bytes that one task of an upload copies.
const UPLOAD: usize = 1 << 20;

/// Inputs or outputs of a fixed number.
fn exactly<'a, const N: usize>(op: &Primitive, given: &'a [Operand]) -> Result<&'a [Operand; N]> {
    given.try_into().map_err(|_| at_least(op, N, given.len()))
}

fn at_least(op: &Primitive, expected: usize, got: usize) -> Error {
    internal(format!("{}: {got} operands, expected {expected}", op.name()))
}

/// Runs one primitive.
fn execute(op: &Primitive, inputs: &[Operand], outputs: &[Operand]) -> Result<()> {
    let least = match op {
        Primitive::Data
        | Primitive::Scalar(_)
        | Primitive::Arange(_)
        | Primitive::Load(_)
        | Primitive::Kernel(_) => 0,
        Primitive::Gather(_) => 1,
        Primitive::Scatter(_) | Primitive::Rope(_) => 2,
        Primitive::Attention(_) => 3,
        Primitive::AttentionGrad(_) => 5,
        Primitive::Dequantize(op) => quantized::operands(op.format),
        Primitive::QuantizedMatmul(op) => 1 + quantized::operands(op.format),
        _ => 1,
    };
    if inputs.len() < least {
        return Err(at_least(op, least, inputs.len()));
    }
    if let Primitive::Quantize(quantize) = op {
        if outputs.len() != quantized::operands(quantize.format) {
            return Err(at_least(op, quantized::operands(quantize.format), outputs.len()));
        }
        return quantized::quantize(quantize, &inputs[0], outputs);
    }
    if let Primitive::AttentionGrad(grad) = op {
        return attention_grad::attention_grad(grad, inputs, exactly::<3>(op, outputs)?);
    }
    if let Primitive::Linalg(l) = op {
        return linalg::linalg(l, inputs, outputs);
    }
    if let Primitive::Kernel(k) = op {
        return kernel::kernel(k, inputs, outputs);
    }
    let [out] = exactly::<1>(op, outputs)?;
    match op {
        Primitive::Scalar(value) => {
            let tape = [TapeValue {
                instr: Instr::Const(*value),
                dtype: value.dtype(),
                extent: Extent::Full,
            }];
            single(&tape, 0, inputs, out)
        }
        Primitive::Arange(op) => creation::arange(op, out),
        Primitive::Load(op) => load::load(op, out),
        Primitive::Cast(_)
        | Primitive::Unary(_)
        | Primitive::Binary(_)
        | Primitive::Select(_)
        | Primitive::Reduce(_) => elementwise(op, inputs, out),
        Primitive::ArgReduce(op) => reduce::arg_reduce(op, &inputs[0], out),
        Primitive::Scan(op) => scan::scan(op, &inputs[0], out),
        Primitive::Concatenate(op) => join::concatenate(op, inputs, out),
        Primitive::Gather(op) => gather::gather(op, inputs, out),
        Primitive::GatherAxis(g) => gather::gather_axis(g, exactly::<2>(op, inputs)?, out),
        Primitive::DynamicSlice(s) => gather::dynamic_slice(s, exactly::<2>(op, inputs)?, out),
        Primitive::Scatter(op) => scatter::scatter(op, inputs, out),
        Primitive::ScatterAxis(s) => scatter::scatter_axis(s, exactly::<3>(op, inputs)?, out),
        Primitive::SliceUpdate(s) => scatter::slice_update(s, exactly::<2>(op, inputs)?, out),
        Primitive::DynamicSliceUpdate(s) => {
            scatter::dynamic_slice_update(s, exactly::<3>(op, inputs)?, out)
        }
        Primitive::MaskedScatter(s) => scatter::masked_scatter(s, exactly::<3>(op, inputs)?, out),
        Primitive::Sort(op) => sort::sort(op, &inputs[0], out),
        Primitive::ArgSort(op) => sort::argsort(op, &inputs[0], out),
        Primitive::Matmul(_) => matmul::matmul(exactly::<2>(op, inputs)?, out),
        Primitive::Dequantize(op) => quantized::dequantize(op, inputs, out),
        Primitive::QuantizedMatmul(op) => quantized::quantized_matmul(op, inputs, out),
        Primitive::MaskedMatmul(op) => masked::masked_matmul(op, inputs, out),
        Primitive::GroupedMatmul(op) => grouped::grouped(op, inputs, out),
        Primitive::RandomBits(op) => random::random_bits(op, &inputs[0], out),
        Primitive::Rope(op) => rope::rope(op, inputs, out),
        Primitive::Attention(op) => attention::attention(op, inputs, out),
        Primitive::Fft(op) => fft::fft(op, &inputs[0], out),
        Primitive::Conv(c) => conv::conv(c, exactly::<2>(op, inputs)?, out),
        Primitive::Data
        | Primitive::Placeholder(_)
        | Primitive::Quantize(_)
        | Primitive::AttentionGrad(_)
        | Primitive::Linalg(_)
        | Primitive::Kernel(_)
        | Primitive::Broadcast(_)
        | Primitive::Reshape(_)
        | Primitive::Transpose(_)
        | Primitive::Slice(_)
        | Primitive::AsStrided(_)
        | Primitive::Bitcast(_)
        | Primitive::Identity(_)
        | Primitive::CustomFunction(_) => {
            Err(internal(format!("{} is not a step that a device runs", op.name())))
        }
    }
}

/// Runs one elementwise op or reduction as a tape of one instruction.
fn elementwise(op: &Primitive, inputs: &[Operand], out: &Operand) -> Result<()> {
    let count = inputs.len() as u16;
    let (instr, axes, wanted) = match op {
        Primitive::Cast(_) => (Instr::Cast(0), 0, 1),
        Primitive::Unary(op) => (Instr::Unary(*op, 0), 0, 1),
        Primitive::Binary(op) => (Instr::Binary(*op, 0, 1), 0, 2),
        Primitive::Select(_) => (Instr::Select(0, 1, 2), 0, 3),
        Primitive::Reduce(op) => {
            let axes = op.axes.iter().fold(0u64, |mask, &axis| mask | 1 << axis);
            (Instr::Reduce(op.op, 0), axes, 1)
        }
        _ => return Err(internal(format!("{} is not elementwise", op.name()))),
    };
    if count != wanted {
        return Err(at_least(op, usize::from(wanted), inputs.len()));
    }
    let mut values: Vec<TapeValue> = (inputs.iter().enumerate())
        .map(|(i, x)| TapeValue {
            instr: Instr::Load { operand: i as u16 },
            dtype: x.dtype,
            extent: Extent::Full,
        })
        .collect();
    let extent = if axes == 0 { Extent::Full } else { Extent::Row };
    values.push(TapeValue { instr, dtype: out.dtype, extent });
    single(&values, axes, inputs, out)
}

/// Runs the tape of `values` that stores the last of them.
fn single(values: &[TapeValue], axes: u64, inputs: &[Operand], out: &Operand) -> Result<()> {
    let tape = Tape {
        values: values.to_vec(),
        stores: vec![(values.len() - 1) as u16],
        inputs: inputs.len() as u16,
        axes,
    };
    let space = if axes == 0 { out.shape() } else { inputs[0].shape() };
    run_tape(&tape, inputs, std::slice::from_ref(out), space)
}

/// Runs a fused program; one that only loads and stores is a copy.
fn run_tape(tape: &Tape, inputs: &[Operand], outputs: &[Operand], space: &[usize]) -> Result<()> {
    if let ([TapeValue { instr: Instr::Load { operand: 0 }, .. }], [input], [out]) =
        (&tape.values[..], inputs, outputs)
        && input.dtype == out.dtype
        && out.shape() == space
    {
        return copy::copy(input, out);
    }
    fused::execute(tape, inputs, outputs, space)
}

/// Runs a product into memory of its own, then the program that reads it.
fn product(
    op: &Primitive,
    inputs: &[Operand],
    epilogue: &Tape,
    extra: &[Operand],
    output: &Operand,
) -> Result<()> {
    let Some(value) = epilogue.values.iter().find(|v| v.instr == Instr::Load { operand: 0 }) else {
        return Err(Error::new(ErrorKind::Kernel, op.name().to_string(), "no use of the product"));
    };
    let shape = output.shape();
    // Products of half types stay wide until the epilogue has run, so that the result rounds once.
    let dtype = value.dtype.compute();
    // The finished product may lie where the result will: every element is read before it is
    // written, if both have one size.
    let buffer = if dtype.size() == output.dtype.size() && !epilogue.reduces() {
        output.buffer.clone()
    } else {
        allocator().allocate(output.layout.len() * dtype.size())?
    };
    let sums = Operand { buffer, dtype, layout: Layout::contiguous(shape) };
    execute(op, inputs, std::slice::from_ref(&sums))?;
    let mut loads = Vec::with_capacity(1 + extra.len());
    loads.push(sums);
    loads.extend_from_slice(extra);
    fused::execute(epilogue, &loads, std::slice::from_ref(output), shape)
}
