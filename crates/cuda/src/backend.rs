//! CUDA devices: each step goes to the file of its family.

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use lazulite_core::backend::{
    BACKENDS, Backend, Buffer, Call, Job, Limit, MemoryStats, Operand, Recorded, Recording,
};
use lazulite_core::op::{BinaryOp, Primitive};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::{Device, DeviceKind, Dtype, Error, ErrorKind, Literal, Result, Stream};
use smallvec::SmallVec;

use crate::allocator::DeviceMemory;
use crate::device::Gpu;
use crate::driver::{self, DeviceFacts};
use crate::gelu::{Load, is_gelu};
use crate::matmul::Beside;
use crate::module::ModuleStats;
use crate::record::{self, RecordStats};
use crate::stream::Launch;
use crate::{
    attention, attention_grad, conv, fast, fft, fused, gather, grouped, host, indexing, kernel,
    linalg, matmul, pack, product, quantized, random, scan, solver, sort,
};

/// All CUDA devices that the driver shows.
struct Cuda {
    facts: Vec<DeviceFacts>,
    gpus: Vec<OnceLock<Result<Gpu>>>,
}

#[linkme::distributed_slice(BACKENDS)]
static REGISTER: fn() -> Option<Arc<dyn Backend>> = || {
    let backend = instance()?;
    Some(backend)
};

fn instance() -> Option<Arc<Cuda>> {
    static INSTANCE: OnceLock<Option<Arc<Cuda>>> = OnceLock::new();
    let make = || {
        let facts = driver::devices().as_ref().ok()?.clone();
        let gpus = facts.iter().map(|_| OnceLock::new()).collect();
        Some(Arc::new(Cuda { facts, gpus }))
    };
    INSTANCE.get_or_init(make).clone()
}

/// Lets the process end only after what streams' threads do, since the driver ends with it.
fn finish_at_exit() {
    /// Longer than any job takes that does not wait for something that no longer runs.
    const MOST: Duration = Duration::from_secs(5);
    extern "C" fn finish() {
        if let Some(cuda) = instance() {
            cuda.finish(MOST);
        }
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| driver::at_exit(finish));
}

/// How many steps ran on the host for lack of a kernel, over all devices.
pub fn host_steps() -> u64 {
    let Some(cuda) = instance() else { return 0 };
    let count = |gpu: &Gpu| gpu.host_steps.load(std::sync::atomic::Ordering::Relaxed);
    cuda.gpus.iter().filter_map(|g| g.get()?.as_ref().ok()).map(count).sum()
}

/// For tests: fills all memory with ones before it is handed out, on device 0.
///
/// # Errors
/// Kind `BackendUnavailable` if there is no device.
pub fn poison_allocations() -> Result<()> {
    let none = || Error::new(ErrorKind::BackendUnavailable, "device", "no GPU");
    instance().ok_or_else(none)?.gpu(Device::GPU)?.allocator.poison();
    Ok(())
}

/// How many modules were compiled, and how many found on disk, for device 0.
pub fn module_stats() -> ModuleStats {
    let stats = || Some(instance()?.gpus.first()?.get()?.as_ref().ok()?.modules.stats());
    stats().unwrap_or_default()
}

/// How often recordings were made and queued, over all devices.
pub fn record_stats() -> RecordStats {
    record::stats()
}

/// Calls `f` with a device that was in use before, whose context is current.
pub(crate) fn with_gpu<R>(device: Device, f: impl FnOnce(&Gpu) -> Result<R>) -> Result<R> {
    let none = || Error::new(ErrorKind::BackendUnavailable, "device", "no GPU");
    let cuda = instance().ok_or_else(none)?;
    let gpu = cuda.gpu(device)?;
    gpu.context.bind()?;
    f(gpu)
}

impl Cuda {
    fn gpu(&self, device: Device) -> Result<&Gpu> {
        let index = device.index as usize;
        let (Some(cell), Some(facts)) = (self.gpus.get(index), self.facts.get(index)) else {
            let message = format!("{device} is not there");
            return Err(Error::new(ErrorKind::BackendUnavailable, "device", message));
        };
        cell.get_or_init(|| Gpu::new(device.index, facts)).as_ref().map_err(Clone::clone)
    }
}

impl Backend for Cuda {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    fn device_count(&self) -> u32 {
        self.facts.len() as u32
    }

    fn describe(&self, device: Device) -> Vec<(String, String)> {
        let fact = |key: &str, value: String| (key.to_string(), value);
        let Some(facts) = self.facts.get(device.index as usize) else { return Vec::new() };
        let recordings = record_stats();
        let products = if driver::cublaslt_present() {
            "cublasLt"
        } else {
            "on the host: libcublasLt.so.13 is missing (pip install nvidia-cublas)"
        };
        vec![
            fact("device_name", facts.name.clone()),
            fact("architecture", facts.architecture()),
            fact("multiprocessors", facts.multiprocessors.to_string()),
            fact("memory_size", facts.memory.to_string()),
            fact("cache_size", facts.cache.to_string()),
            fact("products", products.into()),
            fact("fourier_transforms", runs_on("cuFFT", fft::availability())),
            fact("linear_algebra", runs_on("cuSOLVER", solver::availability())),
            fact("host_steps", host_steps().to_string()),
            fact("recordings", format!("{} made, {} queued", recordings.made, recordings.replayed)),
        ]
    }

    fn allocate(&self, device: Device, bytes: usize) -> Result<Buffer> {
        self.gpu(device)?.allocator.buffer(bytes)
    }

    fn upload(&self, device: Device, bytes: &[u8]) -> Result<Buffer> {
        self.gpu(device)?.upload(bytes)
    }

    fn literal(&self, device: Device, value: Literal) -> Result<Buffer> {
        self.gpu(device)?.literal(value)
    }

    fn download(&self, buffer: &Buffer) -> Result<Vec<u8>> {
        let memory = buffer.downcast::<DeviceMemory>().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "download", "the buffer is not in device memory")
        })?;
        self.gpu(buffer.memory().device())?.download(memory)
    }

    fn execute(&self, stream: Stream, call: &Call<'_>) -> Result<()> {
        let gpu = self.gpu(stream.device)?;
        gpu.context.bind()?;
        let queue = gpu.queue(stream.index)?;
        let launch = Launch::new(gpu, &queue);
        match call {
            Call::Op { op, inputs, outputs } => execute(&launch, op, inputs, outputs),
            Call::Tape { tape, inputs, outputs, space } => {
                fused::execute(&launch, tape, inputs, outputs, space)
            }
            Call::Product { op, inputs, epilogue, extra, output } => {
                product(&launch, op, inputs, epilogue, extra, output)
            }
        }
    }

    fn submit(&self, stream: Stream, inline: bool, job: Job) {
        let there = self.gpu(stream.device).and_then(|gpu| Ok((gpu, gpu.queue(stream.index)?)));
        match there {
            Ok((_, queue)) if record::active() => queue.job(job),
            Ok((gpu, queue)) => {
                if !inline {
                    finish_at_exit();
                }
                let job = move || queue.job(job);
                gpu.jobs.submit(stream.index, inline, Box::new(job));
            }
            // The job itself meets and reports the missing device.
            Err(_) => job(),
        }
    }

    fn finish(&self, most: Duration) {
        let made = self.gpus.iter().filter_map(|gpu| gpu.get()?.as_ref().ok());
        made.for_each(|gpu| gpu.jobs.finish(most));
    }

    fn record(
        &self,
        stream: Stream,
        arguments: &[Buffer],
        work: &mut Recorded<'_>,
    ) -> Result<Option<Arc<dyn Recording>>> {
        let gpu = self.gpu(stream.device)?;
        gpu.context.bind()?;
        record::record(gpu, &gpu.queue(stream.index)?, arguments, work)
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        let gpu = self.gpu(stream.device)?;
        record::refuse("synchronize")?;
        gpu.jobs.synchronize(stream.index)?;
        gpu.context.bind()?;
        gpu.queue(stream.index)?.synchronize()
    }

    fn memory(&self, device: Device) -> MemoryStats {
        self.gpu(device).map(|g| g.allocator.stats()).unwrap_or_default()
    }

    fn reset_peak(&self, device: Device) {
        if let Ok(gpu) = self.gpu(device) {
            gpu.allocator.reset_peak();
        }
    }

    fn clear_cache(&self, device: Device) {
        if let Ok(gpu) = self.gpu(device) {
            gpu.allocator.clear_cache();
        }
    }

    fn set_limit(&self, device: Device, limit: Limit, bytes: usize) -> usize {
        self.gpu(device).map(|g| g.allocator.set_limit(limit, bytes)).unwrap_or(0)
    }

    fn limit(&self, device: Device, limit: Limit) -> usize {
        self.gpu(device).map(|g| g.allocator.limit(limit)).unwrap_or(0)
    }
}

/// Where ops of a library run, which may be missing.
fn runs_on(library: &str, there: std::result::Result<(), &str>) -> String {
    there.map_or_else(|missing| format!("on the host: {missing}"), |()| library.into())
}

fn internal(op: &Primitive, what: &str) -> Error {
    Error::new(ErrorKind::Kernel, op.name(), what.to_string())
}

/// Runs one primitive.
fn execute(
    launch: &Launch<'_>,
    op: &Primitive,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    let Some(out) = outputs.first() else { return Err(internal(op, "no output")) };
    match op {
        Primitive::Scalar(_)
        | Primitive::Cast(_)
        | Primitive::Unary(_)
        | Primitive::Binary(_)
        | Primitive::Select(_)
        | Primitive::Reduce(_) => single(launch, op, inputs, outputs),
        Primitive::Matmul(_) if matmul::supports(out.dtype) => {
            matmul::matmul(launch, &inputs[0], &inputs[1], out)
        }
        Primitive::Matmul(_) if product::fits(out) => {
            product::product(launch, &inputs[0], &inputs[1], out)
        }
        Primitive::Arange(a) => indexing::arange(launch, a, out),
        Primitive::Concatenate(c) => indexing::concatenate(launch, c.axis, inputs, out),
        Primitive::SliceUpdate(s) => indexing::slice_update(launch, s, inputs, out),
        Primitive::Gather(g) if gather::fits(out.shape().len(), g.axes.len()) => {
            gather::gather(launch, g, inputs, out)
        }
        Primitive::GatherAxis(g) => gather::gather_axis(launch, g, inputs, out),
        Primitive::DynamicSlice(s) => gather::dynamic_slice(launch, s, inputs, out),
        Primitive::DynamicSliceUpdate(s) => gather::dynamic_slice_update(launch, s, inputs, out),
        Primitive::Scatter(s) if gather::fits(out.shape().len(), s.axes.len()) => {
            gather::scatter(launch, s, inputs, out)
        }
        Primitive::ScatterAxis(s) => gather::scatter_axis(launch, s, inputs, out),
        Primitive::RandomBits(r) => random::random_bits(launch, r, &inputs[0], out),
        Primitive::ArgReduce(a) if scan::fits(&inputs[0]) => {
            scan::arg_reduce(launch, a, &inputs[0], out)
        }
        Primitive::Scan(s) if scan::fits(&inputs[0]) => scan::scan(launch, s, &inputs[0], out),
        Primitive::MaskedScatter(_) => gather::masked_scatter(launch, inputs, out),
        Primitive::Quantize(q) => pack::quantize(launch, q, &inputs[0], outputs),
        Primitive::Dequantize(d) => quantized::dequantize(launch, d, inputs, out),
        Primitive::QuantizedMatmul(q) if matmul::supports(out.dtype) => {
            quantized::quantized_matmul(launch, q, inputs, out)
        }
        Primitive::Sort(s) if sort::fits(&inputs[0], s.axis) => {
            sort::sort(launch, s.axis, false, &inputs[0], out)
        }
        Primitive::ArgSort(s) if sort::fits(&inputs[0], s.axis) => {
            sort::sort(launch, s.axis, true, &inputs[0], out)
        }
        Primitive::Rope(r) => fast::rope(launch, r, inputs, out),
        Primitive::Attention(a) if attention::supports(inputs, out) => {
            attention::attention(launch, a, inputs, out)
        }
        Primitive::AttentionGrad(a) if attention_grad::supports(out.dtype) => {
            attention_grad::cotangents(launch, a, inputs, outputs)
        }
        Primitive::GroupedMatmul(g) if grouped::supports(out) => {
            grouped::grouped(launch, g, inputs, out)
        }
        Primitive::Kernel(k) => kernel::kernel(launch, k, inputs, outputs),
        Primitive::Conv(c) if conv::supports(c, out) => conv::conv(launch, c, inputs, out),
        Primitive::Fft(f) => fft::fft(launch, f, inputs, outputs),
        Primitive::Linalg(l) => linalg::linalg(launch, l, inputs, outputs),
        Primitive::Gather(_)
        | Primitive::Scatter(_)
        | Primitive::Load(_)
        | Primitive::ArgReduce(_)
        | Primitive::Scan(_)
        | Primitive::Sort(_)
        | Primitive::ArgSort(_)
        | Primitive::Matmul(_)
        | Primitive::QuantizedMatmul(_)
        | Primitive::MaskedMatmul(_)
        | Primitive::GroupedMatmul(_)
        | Primitive::Attention(_)
        | Primitive::AttentionGrad(_)
        | Primitive::Conv(_) => host::execute(launch, op, inputs, outputs),
        Primitive::Data
        | Primitive::Placeholder(_)
        | Primitive::Broadcast(_)
        | Primitive::Reshape(_)
        | Primitive::Transpose(_)
        | Primitive::Slice(_)
        | Primitive::AsStrided(_)
        | Primitive::Bitcast(_)
        | Primitive::Identity(_)
        | Primitive::CustomFunction(_) => Err(internal(op, "not a step that a device runs")),
    }
}

/// Runs one elementwise op or reduction as a tape of one instruction.
fn single(
    launch: &Launch<'_>,
    op: &Primitive,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    let (instr, axes) = match op {
        Primitive::Scalar(value) => (Instr::Const(*value), 0),
        Primitive::Cast(_) => (Instr::Cast(0), 0),
        Primitive::Unary(op) => (Instr::Unary(*op, 0), 0),
        Primitive::Binary(op) => (Instr::Binary(*op, 0, 1), 0),
        Primitive::Select(_) => (Instr::Select(0, 1, 2), 0),
        Primitive::Reduce(op) => {
            (Instr::Reduce(op.op, 0), op.axes.iter().fold(0u64, |mask, &axis| mask | 1 << axis))
        }
        _ => return Err(internal(op, "not elementwise")),
    };
    let mut values: Vec<TapeValue> = (inputs.iter().enumerate())
        .map(|(i, x)| TapeValue {
            instr: Instr::Load { operand: i as u16 },
            dtype: x.dtype,
            extent: Extent::Full,
        })
        .collect();
    let extent = if axes == 0 { Extent::Full } else { Extent::Row };
    values.push(TapeValue { instr, dtype: outputs[0].dtype, extent });
    let stores = vec![inputs.len() as u16];
    let tape = Tape { values, stores, inputs: inputs.len() as u16, axes };
    let space = if axes == 0 { outputs[0].shape() } else { inputs[0].shape() };
    fused::execute(launch, &tape, inputs, outputs, space)
}

/// A value of a program as `product * p + term * t + constant`.
#[derive(Clone, Copy, Default)]
struct Linear {
    product: f64,
    term: f64,
    constant: f64,
}

impl Linear {
    fn plus(self, other: Linear, sign: f64) -> Linear {
        Linear {
            product: self.product + sign * other.product,
            term: self.term + sign * other.term,
            constant: self.constant + sign * other.constant,
        }
    }

    fn times(self, by: f64) -> Linear {
        Linear::default().plus(self, by)
    }
}

/// The number that an operand has everywhere, if it is known without reading it.
fn known(x: &Operand) -> Option<f64> {
    let literal = (*x.buffer.downcast::<DeviceMemory>()?.literal.lock())?;
    (x.layout.offset == 0).then(|| literal.to_f64())
}

/// True iff an array, broadcast to the result's shape, is a contiguous vector along its last axis.
fn is_bias(x: &Operand, output: &Operand) -> bool {
    let (layout, Some(&n)) = (&x.layout, output.shape().last()) else { return false };
    let Some(last) = layout.shape.len().checked_sub(1) else { return false };
    x.dtype == output.dtype
        && layout.shape[last] == n
        && layout.strides[last] == 1
        && (0..last).all(|a| layout.shape[a] == 1 || layout.strides[a] == 0)
}

/// The gelu that cublasLt computes beside a product, if that is what the program does with [`MANY`] elements:
/// with fewer they are not rounded before the program, which is closer.
fn gelu<'a>(epilogue: &Tape, extra: &'a [Operand], output: &Operand) -> Option<Beside<'a>> {
    if !output.dtype.is_half() || output.layout.len() < MANY {
        return None;
    }
    let mut bias = None;
    let mut loads: SmallVec<[Load; 4]> = SmallVec::new();
    for x in extra {
        loads.push(match known(x) {
            Some(number) => Load::Number(number),
            None if bias.is_none() && is_bias(x, output) => {
                bias = Some(x);
                Load::Bias
            }
            None => return None,
        });
    }
    is_gelu(epilogue, &loads, output.dtype).then_some(Beside::Gelu(bias))
}

/// What cublasLt does beside a product, if the program does nothing else: a vector added to every row, or
/// an array of the product's shape added, with a factor for each.
fn beside<'a>(epilogue: &Tape, extra: &'a [Operand], output: &Operand) -> Option<Beside<'a>> {
    const MOST_VALUES: usize = 12;
    let dtype = output.dtype;
    let [store] = epilogue.stores[..] else { return None };
    if !(dtype.is_half() || dtype == Dtype::F32) || epilogue.values.len() > MOST_VALUES {
        return None;
    }
    let mut term: Option<&Operand> = None;
    let mut forms: Vec<Linear> = Vec::with_capacity(epilogue.values.len());
    for value in &epilogue.values {
        if value.dtype != dtype {
            return None;
        }
        let form = match value.instr {
            Instr::Load { operand: 0 } => Linear { product: 1.0, ..Linear::default() },
            Instr::Load { operand } => {
                let x = extra.get(operand as usize - 1)?;
                match known(x) {
                    Some(constant) => Linear { constant, ..Linear::default() },
                    None if term.is_none() => {
                        term = Some(x);
                        Linear { term: 1.0, ..Linear::default() }
                    }
                    None => return None,
                }
            }
            Instr::Const(constant) => Linear { constant: constant.to_f64(), ..Linear::default() },
            Instr::Binary(op, a, b) => {
                let (a, b) = (forms[a as usize], forms[b as usize]);
                let number = |x: Linear| x.product == 0.0 && x.term == 0.0;
                match op {
                    BinaryOp::Add => a.plus(b, 1.0),
                    BinaryOp::Subtract => a.plus(b, -1.0),
                    BinaryOp::Multiply if number(b) => a.times(b.constant),
                    BinaryOp::Multiply if number(a) => b.times(a.constant),
                    _ => return None,
                }
            }
            _ => return None,
        };
        forms.push(form);
    }
    let form = forms[store as usize];
    let term = term.filter(|x| x.dtype == dtype && form.constant == 0.0 && form.product != 0.0)?;
    if is_bias(term, output) && form.product == 1.0 && form.term == 1.0 {
        return Some(Beside::Bias(term));
    }
    let layout = &term.layout;
    let last = layout.shape.len().checked_sub(1)?;
    let whole = layout.shape == output.layout.shape && last > 0 && matmul::fits_term(layout);
    whole.then_some(Beside::Term(term, [form.product as f32, form.term as f32]))
}

/// Elements of a result from which on the numbers between a product and its program are rounded to the
/// result's half type: with wide ones a product of 4096 x 2048 x 8192 takes 1.07 of the time on an H100, and a
/// gelu behind it 1.2.
const MANY: usize = 1 << 22;

/// Runs a product into memory of its own, then the program that reads it. Products of half types
/// stay wide in between, so that the result rounds once, unless there are [`MANY`].
fn product(
    launch: &Launch<'_>,
    op: &Primitive,
    inputs: &[Operand],
    epilogue: &Tape,
    extra: &[Operand],
    output: &Operand,
) -> Result<()> {
    let product = |v: &TapeValue| v.instr == Instr::Load { operand: 0 };
    let Some(value) = epilogue.values.iter().find(|v| product(v)) else {
        return Err(internal(op, "no use of the product"));
    };
    let multiplies = matches!(op, Primitive::Matmul(_)) && matmul::supports(value.dtype);
    let wide = multiplies && value.dtype.is_half() && output.layout.len() < MANY;
    if multiplies
        && inputs[0].shape().last() != Some(&0)
        && let Some(beside) =
            beside(epilogue, extra, output).or_else(|| gelu(epilogue, extra, output))
        && beside.operand().map_or(Ok(0), |x| launch.read(x))?.is_multiple_of(16)
    {
        return matmul::matmul_with(launch, &inputs[0], &inputs[1], Some(beside), output);
    }
    if let Primitive::QuantizedMatmul(q) = op
        && matmul::supports(value.dtype)
        && quantized::with_epilogue(launch, q, inputs, epilogue, extra, output)?
    {
        return Ok(());
    }
    let dtype = if wide { Dtype::F32 } else { value.dtype };
    let sums = launch.temporary(dtype, output.shape())?;
    if wide {
        matmul::matmul(launch, &inputs[0], &inputs[1], &sums)?;
    } else {
        execute(launch, op, inputs, std::slice::from_ref(&sums))?;
    }
    let mut loads = Vec::with_capacity(1 + extra.len());
    loads.push(sums);
    loads.extend_from_slice(extra);
    let mut epilogue = epilogue.clone();
    epilogue.values.iter_mut().filter(|v| product(v)).for_each(|v| v.dtype = dtype);
    fused::execute(launch, &epilogue, &loads, std::slice::from_ref(output), output.shape())
}
