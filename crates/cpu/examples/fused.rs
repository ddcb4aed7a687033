//! Fused steps against a copy of the same bytes, interleaved, best of several rounds:
//! `cargo run --release -p lazulite-cpu --example fused [PART OF A NAME]`. Only the ratios mean
//! anything.

use lazulite_core::backend::{self, Operand};
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::shape::Layout;
use lazulite_core::{Device, Dtype, Literal, Result};
use lazulite_cpu::allocator::CpuMemory;
use lazulite_cpu::fused::execute;
use lazulite_cpu::pool;
use std::time::Instant;

fn address(x: &Operand) -> Option<*mut u8> {
    Some(x.buffer.downcast::<CpuMemory>()?.as_ptr())
}

fn array(dtype: Dtype, shape: &[usize]) -> Result<Operand> {
    let layout = Layout::contiguous(shape);
    let size = dtype.size();
    let buffer = backend::get(Device::CPU)?.allocate(Device::CPU, layout.len() * size)?;
    let x = Operand { buffer, dtype, layout };
    for i in 0..x.layout.len() {
        let v = f64::from((i as u32).wrapping_mul(2_654_435_761)) / 4_294_967_296.0 * 8.0 - 4.0;
        let bits = Literal::from_f64(v, dtype).bits().to_le_bytes();
        if let Some(start) = address(&x) {
            // SAFETY: the buffer is fresh and has room for these elements.
            unsafe { start.add(i * size).copy_from_nonoverlapping(bits.as_ptr(), size) };
        }
    }
    Ok(x)
}

#[derive(Default)]
struct Builder(Tape);

impl Builder {
    fn push(&mut self, instr: Instr, dtype: Dtype, extent: Extent) -> u16 {
        self.0.values.push(TapeValue { instr, dtype, extent });
        self.0.values.len() as u16 - 1
    }
    fn load(&mut self, dtype: Dtype) -> u16 {
        self.0.inputs += 1;
        let x = self.push(Instr::Load { operand: self.0.inputs - 1 }, dtype, Extent::Full);
        self.push(Instr::Cast(x), dtype.compute(), Extent::Full)
    }
    fn two(&mut self, op: BinaryOp, a: u16, b: u16) -> u16 {
        let (x, y) = (self.0.values[a as usize], self.0.values[b as usize]);
        let row = x.extent == Extent::Row && y.extent == Extent::Row;
        self.push(Instr::Binary(op, a, b), x.dtype, if row { Extent::Row } else { Extent::Full })
    }
    fn with(&mut self, op: BinaryOp, a: u16, number: f64) -> u16 {
        let TapeValue { dtype, extent, .. } = self.0.values[a as usize];
        let b = self.push(Instr::Const(Literal::from_f64(number, dtype)), dtype, extent);
        self.two(op, a, b)
    }
    fn one(&mut self, op: UnaryOp, a: u16) -> u16 {
        let TapeValue { dtype, extent, .. } = self.0.values[a as usize];
        self.push(Instr::Unary(op, a), dtype, extent)
    }
    fn reduce(&mut self, op: ReduceOp, a: u16) -> u16 {
        self.push(Instr::Reduce(op, a), self.0.values[a as usize].dtype, Extent::Row)
    }
    fn end(mut self, v: u16, dtype: Dtype, axes: u64) -> Tape {
        let extent = self.0.values[v as usize].extent;
        let y = self.push(Instr::Cast(v), dtype, extent);
        self.0.stores.push(y);
        self.0.axes = axes;
        self.0
    }
}

fn gelu(dtype: Dtype) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let square = b.two(BinaryOp::Multiply, x, x);
    let cube = b.two(BinaryOp::Multiply, square, x);
    let small = b.with(BinaryOp::Multiply, cube, 0.044715);
    let sum = b.two(BinaryOp::Add, x, small);
    let inner = b.with(BinaryOp::Multiply, sum, 0.797_884_560_802_865_4);
    let tanh = b.one(UnaryOp::Tanh, inner);
    let upper = b.with(BinaryOp::Add, tanh, 1.0);
    let half = b.with(BinaryOp::Multiply, x, 0.5);
    let y = b.two(BinaryOp::Multiply, half, upper);
    b.end(y, dtype, 0)
}

fn swiglu(dtype: Dtype) -> Tape {
    let mut b = Builder::default();
    let (x, g) = (b.load(dtype), b.load(dtype));
    let s = b.one(UnaryOp::Sigmoid, g);
    let gate = b.two(BinaryOp::Multiply, g, s);
    let y = b.two(BinaryOp::Multiply, gate, x);
    b.end(y, dtype, 0)
}

fn add(dtype: Dtype) -> Tape {
    let mut b = Builder::default();
    let (x, g) = (b.load(dtype), b.load(dtype));
    let y = b.two(BinaryOp::Add, x, g);
    b.end(y, dtype, 0)
}

fn softmax(dtype: Dtype, axes: u64) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let m = b.reduce(ReduceOp::Max, x);
    let d = b.two(BinaryOp::Subtract, x, m);
    let e = b.one(UnaryOp::Exp, d);
    let s = b.reduce(ReduceOp::Sum, e);
    let r = b.one(UnaryOp::Reciprocal, s);
    let y = b.two(BinaryOp::Multiply, e, r);
    b.end(y, dtype, axes)
}

fn layer_norm(dtype: Dtype, n: usize) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let s = b.reduce(ReduceOp::Sum, x);
    let mean = b.with(BinaryOp::Multiply, s, 1.0 / n as f64);
    let d = b.two(BinaryOp::Subtract, x, mean);
    let q = b.one(UnaryOp::Square, d);
    let v = b.reduce(ReduceOp::Sum, q);
    let v = b.with(BinaryOp::Multiply, v, 1.0 / n as f64);
    let v = b.with(BinaryOp::Add, v, 1e-5);
    let r = b.one(UnaryOp::Rsqrt, v);
    let y = b.two(BinaryOp::Multiply, d, r);
    b.end(y, dtype, 2)
}

fn rms_norm(dtype: Dtype, n: usize) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let q = b.one(UnaryOp::Square, x);
    let v = b.reduce(ReduceOp::Sum, q);
    let v = b.with(BinaryOp::Multiply, v, 1.0 / n as f64);
    let v = b.with(BinaryOp::Add, v, 1e-5);
    let r = b.one(UnaryOp::Rsqrt, v);
    let y = b.two(BinaryOp::Multiply, x, r);
    b.end(y, dtype, 2)
}

fn sum(dtype: Dtype, axes: u64) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let s = b.reduce(ReduceOp::Sum, x);
    b.end(s, dtype, axes)
}

fn best(rounds: usize, mut work: impl FnMut()) -> f64 {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(|_| time(&mut work)).fold(f64::INFINITY, f64::min)
}

/// One line: the step's time over that of a copy of `bytes` read and `bytes` written, at one and
/// at all threads.
fn line(name: &str, tape: &Tape, dtype: Dtype, shape: &[usize], transposed: bool) -> Result<()> {
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return Ok(());
    }
    let mut inputs: Vec<Operand> =
        (0..tape.inputs).map(|_| array(dtype, shape)).collect::<Result<_>>()?;
    if transposed {
        for x in &mut inputs {
            let back: Vec<usize> = shape.iter().rev().copied().collect();
            x.layout = Layout::contiguous(&back).transpose(&[1, 0]);
        }
    }
    let stored = tape.values[tape.stores[0] as usize];
    let row: Vec<usize> =
        (0..shape.len()).map(|a| if tape.axes >> a & 1 == 1 { 1 } else { shape[a] }).collect();
    let full = stored.extent == Extent::Full;
    let out = [array(dtype, if full { shape } else { &row })?];
    let (from, to) = (array(dtype, shape)?, array(dtype, shape)?);
    let bytes = from.layout.len() * dtype.size();
    let (Some(source), Some(target)) = (address(&from), address(&to)) else { return Ok(()) };
    let (source, target) = (source.addr(), target.addr());
    let all = pool::num_threads();
    print!("{name:28} {dtype:9}");
    for threads in [1, all] {
        pool::set_num_threads(threads);
        let rounds = if bytes > 1 << 22 { 9 } else { 60 };
        let copy = best(rounds, || {
            pool::parallel_for(bytes, 1 << 18, |r| {
                // SAFETY: ranges are disjoint parts of both arrays.
                unsafe {
                    let (from, to) = (source as *const u8, target as *mut u8);
                    to.add(r.start).copy_from_nonoverlapping(from.add(r.start), r.len());
                }
            });
        });
        let step = best(rounds, || {
            if let Err(error) = execute(tape, &inputs, &out, shape) {
                println!("{error}");
            }
        });
        print!("  {threads} threads: {:8.1} us, {:5.2} of a copy", step * 1e6, step / copy);
    }
    println!();
    Ok(())
}

fn main() -> Result<()> {
    use Dtype::{BF16, F16, F32};
    let big = 16 << 20;
    line("add, 10", &add(F32), F32, &[10], false)?;
    for dtype in [F32, BF16] {
        line("add, 16M", &add(dtype), dtype, &[big], false)?;
        line("gelu, 16M", &gelu(dtype), dtype, &[big], false)?;
        line("swiglu, 16M", &swiglu(dtype), dtype, &[big], false)?;
    }
    line("add of transposed, 2048^2", &add(F32), F32, &[2048, 2048], true)?;
    for dtype in [F32, F16, BF16] {
        line("softmax, 1024x4096", &softmax(dtype, 2), dtype, &[1024, 4096], false)?;
        line("layer_norm, 1024x4096", &layer_norm(dtype, 4096), dtype, &[1024, 4096], false)?;
        line("rms_norm, 1024x4096", &rms_norm(dtype, 4096), dtype, &[1024, 4096], false)?;
    }
    line("softmax, 1x131072", &softmax(F32, 2), F32, &[1, 131_072], false)?;
    line("softmax of columns, 1024x4096", &softmax(F32, 1), F32, &[1024, 4096], false)?;
    for axes in [1, 2, 3] {
        line(
            &format!("sum, 4096x4096, axes {axes:b}"),
            &sum(F32, axes),
            F32,
            &[4096, 4096],
            false,
        )?;
    }
    for n in [4, 16, 64] {
        line(&format!("softmax, rows of {n}"), &softmax(F32, 2), F32, &[(4 << 20) / n, n], false)?;
    }
    Ok(())
}
