//! Times of structural kernels against the memory bandwidth of the machine.
//!
//! `cargo run -p lazulite-cpu --release --example kernels`

use std::time::Instant;

use lazulite_core::backend::{self, Call, Operand};
use lazulite_core::op::fast::{Attention, FloatBits};
use lazulite_core::op::gather::Gather;
use lazulite_core::op::join::Concatenate;
use lazulite_core::op::random::RandomBits;
use lazulite_core::op::scan::Scan;
use lazulite_core::op::scatter::{Scatter, UpdateMode};
use lazulite_core::op::sort::{ArgSort, Sort};
use lazulite_core::op::{Primitive, ScanOp};
use lazulite_core::shape::Layout;
use lazulite_core::{Device, Dtype, Result, Stream};
// Linking the backend is what registers it.
use lazulite_cpu as _;

const CPU: Stream = Stream::default_of(Device::CPU);

fn operand(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Operand> {
    let buffer = backend::get(Device::CPU)?.upload(Device::CPU, bytes)?;
    Ok(Operand { buffer, dtype, layout: Layout::contiguous(shape) })
}

fn floats(shape: &[usize]) -> Result<Operand> {
    let noise = |i: usize| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / 8_388_608.0 - 1.0;
    let data: Vec<f32> = (0..shape.iter().product()).map(noise).collect();
    operand(Dtype::F32, shape, bytemuck::cast_slice(&data))
}

/// Runs an op some times and prints the best time with what it makes of `bytes`.
fn time(
    name: &str,
    op: impl Into<Primitive>,
    inputs: &[Operand],
    out: (Dtype, &[usize]),
    bytes: usize,
) -> Result<()> {
    let (dtype, shape) = out;
    let backend = backend::get(Device::CPU)?;
    let layout = Layout::contiguous(shape);
    let buffer = backend.allocate(Device::CPU, layout.len() * dtype.size())?;
    let outputs = [Operand { buffer, dtype, layout }];
    let op = op.into();
    let mut best = f64::INFINITY;
    for _ in 0..12 {
        let start = Instant::now();
        backend.execute(CPU, &Call::Op { op: &op, inputs, outputs: &outputs })?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    let (ms, rate) = (best * 1e3, bytes as f64 / best / 1e9);
    let each = best * 1e9 / outputs[0].layout.len() as f64;
    println!("{name:34} {ms:9.3} ms {rate:7.2} GB/s {each:7.3} ns each");
    Ok(())
}

fn main() -> Result<()> {
    let n = 1 << 24;
    let x = floats(&[n])?;
    let join = |axis| Concatenate { axis };
    time("copy, contiguous", join(0), std::slice::from_ref(&x), (Dtype::F32, &[n]), 8 * n)?;
    let mut t = floats(&[4096, 4096])?;
    t.layout = t.layout.transpose(&[1, 0]);
    time("copy, transposed", join(0), &[t], (Dtype::F32, &[4096, 4096]), 8 * n)?;
    let halves: Vec<Operand> = (0..2).map(|_| floats(&[4096, 2048])).collect::<Result<_>>()?;
    time("concatenate, last axis", join(1), &halves, (Dtype::F32, &[4096, 4096]), 8 * n)?;

    let rows: Vec<i32> = (0..32_768).map(|i: i32| i.wrapping_mul(7919) & 0x7fff).collect();
    let rows = operand(Dtype::I32, &[32_768], bytemuck::cast_slice(&rows))?;
    let table = floats(&[32_768, 512])?;
    let gather = Gather { axes: [0].into_iter().collect(), slice: [1, 512].into_iter().collect() };
    time(
        "gather, rows of 512",
        gather,
        &[table.clone(), rows.clone()],
        (Dtype::F32, &[32_768, 1, 512]),
        8 * n,
    )?;
    let scatter = Scatter { axes: [0].into_iter().collect(), mode: UpdateMode::Add };
    let updates = floats(&[32_768, 1, 512])?;
    time(
        "scatter-add, rows of 512 and copy",
        scatter,
        &[table, updates, rows],
        (Dtype::F32, &[32_768, 512]),
        20 * n,
    )?;

    let m = 1 << 20;
    let x = floats(&[m])?;
    let all = None;
    time(
        "sort 1M float32",
        Sort { axis: 0, kth: all },
        std::slice::from_ref(&x),
        (Dtype::F32, &[m]),
        8 * m,
    )?;
    time(
        "argsort 1M float32",
        ArgSort { axis: 0, kth: all },
        std::slice::from_ref(&x),
        (Dtype::U32, &[m]),
        8 * m,
    )?;
    let scan = |axis| Scan { op: ScanOp::CumSum, axis, reverse: false, inclusive: true };
    time("cumsum, one row", scan(0), &[floats(&[n])?], (Dtype::F32, &[n]), 8 * n)?;
    time(
        "cumsum, columns",
        scan(0),
        &[floats(&[4096, 4096])?],
        (Dtype::F32, &[4096, 4096]),
        8 * n,
    )?;
    let key = operand(Dtype::U32, &[2], bytemuck::cast_slice(&[1u32, 2]))?;
    let bits = RandomBits { shape: [n].into_iter().collect(), width: 4 };
    time("random words", bits, &[key], (Dtype::U32, &[n]), 4 * n)?;

    let attention =
        |causal| Attention { scale: FloatBits::new(0.125), causal, mask: false, sinks: false };
    let cache = floats(&[1, 8, 16_384, 64])?;
    let bytes = 2 * 4 * cache.layout.len();
    for h in [8, 32] {
        let q = floats(&[1, h, 1, 64])?;
        let name = format!("decode, {h} heads on 8, 16384 keys");
        time(
            &name,
            attention(false),
            &[q, cache.clone(), cache.clone()],
            (Dtype::F32, &[1, h, 1, 64]),
            bytes,
        )?;
    }
    let q = floats(&[1, 8, 1024, 64])?;
    time(
        "prefill, 8 heads, 1024 causal",
        attention(true),
        &[q.clone(), q.clone(), q],
        (Dtype::F32, &[1, 8, 1024, 64]),
        4 * 4 * 8 * 1024 * 64,
    )
}
