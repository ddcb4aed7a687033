//! Tapes against an interpreter that computes one element at a time in wide types.

use super::execute_on;
use crate::allocator::{CpuMemory, allocator};
use crate::isa::IsaKind;
use lazulite_core::backend::{Buffer, Operand};
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Literal};

/// The class of which bool takes a part only through other ops.
const ARITH: lazulite_core::op::elementwise::BinaryClass =
    lazulite_core::op::elementwise::BinaryClass::Arith;

mod interpreter;
mod ops;

fn buffer(bytes: &[u8]) -> Buffer {
    let buffer = allocator().allocate(bytes.len()).unwrap();
    let start = buffer.downcast::<CpuMemory>().unwrap().as_ptr();
    // SAFETY: the buffer is fresh and has room for these bytes.
    unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    buffer
}

/// A generator of reproducible numbers (xorshift64*; Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
    fn unit(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 30)
    }
}

/// An operand with elements in `(low, high)`, laid out as `kind` says and of the given shape.
fn operand(
    random: &mut Random,
    dtype: Dtype,
    shape: &[usize],
    kind: usize,
    (low, high): (f64, f64),
) -> Operand {
    let ndim = shape.len();
    let layout = match kind {
        // Transposed.
        1 => {
            let back: Vec<usize> = (0..ndim).rev().collect();
            let wide: Vec<usize> = back.iter().map(|&a| shape[a]).collect();
            Layout::contiguous(&wide).transpose(&back)
        }
        // Every second element, from an offset.
        2 => {
            let wide: Vec<usize> = shape.iter().map(|&n| 2 * n + 1).collect();
            Layout::contiguous(&wide).slice(&vec![1; ndim], &vec![2; ndim], shape)
        }
        // Backwards.
        3 => {
            let start: Vec<usize> = shape.iter().map(|&n| n.saturating_sub(1)).collect();
            Layout::contiguous(shape).slice(&start, &vec![-1; ndim], shape)
        }
        // One element for every second axis.
        4 => {
            let thin: Vec<usize> = shape
                .iter()
                .enumerate()
                .map(|(a, &n)| if a % 2 == 0 { n.min(1) } else { n })
                .collect();
            Layout::contiguous(&thin)
        }
        // One element.
        5 => Layout::contiguous(&vec![1; ndim]),
        _ => Layout::contiguous(shape),
    };
    let count = layout.extent().map_or(0, |(_, high)| high as usize + 1);
    let mut bytes = Vec::with_capacity(count * 8);
    for _ in 0..count {
        let x = low + (high - low) * random.unit();
        let bits = match dtype {
            Dtype::C64 => Literal::new(lazulite_core::Complex32::new(
                x as f32,
                (low + (high - low) * random.unit()) as f32,
            ))
            .bits(),
            Dtype::Bool => (x > f64::midpoint(low, high)) as u64,
            _ => Literal::from_f64(x, dtype).bits(),
        };
        bytes.extend_from_slice(&bits.to_le_bytes()[..dtype.size()]);
    }
    Operand { buffer: buffer(&bytes), dtype, layout }
}

fn output(dtype: Dtype, shape: &[usize]) -> Operand {
    let layout = Layout::contiguous(shape);
    Operand { buffer: buffer(&vec![0xa5; layout.len() * dtype.size()]), dtype, layout }
}

/// Builds tapes.
#[derive(Default)]
struct Builder(Tape);

impl Builder {
    fn push(&mut self, instr: Instr, dtype: Dtype, extent: Extent) -> u16 {
        self.0.values.push(TapeValue { instr, dtype, extent });
        self.0.values.len() as u16 - 1
    }
    fn load(&mut self, dtype: Dtype) -> u16 {
        self.0.inputs += 1;
        let operand = self.0.inputs - 1;
        self.push(Instr::Load { operand }, dtype, Extent::Full)
    }
    fn number(&mut self, x: f64, dtype: Dtype) -> u16 {
        self.push(Instr::Const(Literal::from_f64(x, dtype)), dtype, Extent::Full)
    }
    fn of(&self, v: u16) -> TapeValue {
        self.0.values[v as usize]
    }
    fn unary(&mut self, op: UnaryOp, a: u16) -> u16 {
        let dtype = op.info().class.resolve(op.name(), self.of(a).dtype).unwrap().1;
        self.push(Instr::Unary(op, a), dtype, self.of(a).extent)
    }
    fn binary(&mut self, op: BinaryOp, a: u16, b: u16) -> u16 {
        let (x, y) = (self.of(a), self.of(b));
        let dtype = op.info().class.resolve(op.name(), x.dtype, y.dtype).unwrap().1;
        let both_rows = x.extent == Extent::Row && y.extent == Extent::Row;
        let row_const = |v: u16| matches!(self.of(v).instr, Instr::Const(_));
        let row = both_rows
            || x.extent == Extent::Row && row_const(b)
            || y.extent == Extent::Row && row_const(a);
        self.push(Instr::Binary(op, a, b), dtype, if row { Extent::Row } else { Extent::Full })
    }
    fn cast(&mut self, a: u16, dtype: Dtype) -> u16 {
        self.push(Instr::Cast(a), dtype, self.of(a).extent)
    }
    fn reduce(&mut self, op: ReduceOp, a: u16) -> u16 {
        self.push(Instr::Reduce(op, a), self.of(a).dtype, Extent::Row)
    }
    fn store(&mut self, v: u16) {
        self.0.stores.push(v);
    }
}

fn softmax(dtype: Dtype) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let x = b.cast(x, dtype.compute());
    let m = b.reduce(ReduceOp::Max, x);
    let d = b.binary(BinaryOp::Subtract, x, m);
    let e = b.unary(UnaryOp::Exp, d);
    let s = b.reduce(ReduceOp::Sum, e);
    let y = b.binary(BinaryOp::Divide, e, s);
    let y = b.cast(y, dtype);
    b.store(y);
    b.0
}

/// Layer norm without weights, with the variance as a second output, and a residual.
fn layer_norm(dtype: Dtype, n: usize) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let r = b.load(dtype);
    let wide = dtype.compute();
    let x = b.cast(x, wide);
    let scale = b.number(1.0 / n.max(1) as f64, wide);
    let s = b.reduce(ReduceOp::Sum, x);
    let mean = b.binary(BinaryOp::Multiply, s, scale);
    let d = b.binary(BinaryOp::Subtract, x, mean);
    let q = b.binary(BinaryOp::Multiply, d, d);
    let v = b.reduce(ReduceOp::Sum, q);
    let v = b.binary(BinaryOp::Multiply, v, scale);
    let eps = b.number(1e-3, wide);
    let shifted = b.binary(BinaryOp::Add, v, eps);
    let inv = b.unary(UnaryOp::Rsqrt, shifted);
    let y = b.binary(BinaryOp::Multiply, d, inv);
    let r = b.cast(r, wide);
    let y = b.binary(BinaryOp::Add, y, r);
    let y = b.cast(y, dtype);
    b.store(y);
    b.store(v);
    b.0
}

fn gelu(dtype: Dtype) -> Tape {
    let mut b = Builder::default();
    let x = b.load(dtype);
    let square = b.binary(BinaryOp::Multiply, x, x);
    let cube = b.binary(BinaryOp::Multiply, square, x);
    let c = b.number(0.044715, dtype);
    let small = b.binary(BinaryOp::Multiply, cube, c);
    let sum = b.binary(BinaryOp::Add, x, small);
    let k = b.number(0.797_884_560_802_865_4, dtype);
    let inner = b.binary(BinaryOp::Multiply, sum, k);
    let t = b.unary(UnaryOp::Tanh, inner);
    let one = b.number(1.0, dtype);
    let t = b.binary(BinaryOp::Add, t, one);
    let half = b.number(0.5, dtype);
    let h = b.binary(BinaryOp::Multiply, x, half);
    let y = b.binary(BinaryOp::Multiply, h, t);
    b.store(y);
    b.0
}

fn outputs_of(tape: &Tape, shape: &[usize]) -> Vec<Operand> {
    let row: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(a, &n)| if tape.axes >> a & 1 == 1 { 1 } else { n })
        .collect();
    tape.stores
        .iter()
        .map(|&v| {
            let value = tape.values[v as usize];
            output(value.dtype, if value.extent == Extent::Full { shape } else { &row })
        })
        .collect()
}

/// Runs a tape on each instruction set and compares with the interpreter. The tolerance is relative
/// to the largest value that went into an element: sums are made in another order, and library
/// functions differ in the last places.
fn check(what: &str, tape: &Tape, inputs: &[Operand], shape: &[usize], tolerance: f64) {
    let want = interpreter::run(tape, inputs, shape);
    for isa in IsaKind::available() {
        let outputs = outputs_of(tape, shape);
        execute_on(isa, tape, inputs, &outputs, shape).unwrap();
        for (s, (out, want)) in outputs.iter().zip(&want).enumerate() {
            let got = interpreter::read(out);
            assert_eq!(got.len(), want.len());
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                assert!(
                    g.is_near(*w, tolerance),
                    "{what} on {isa:?}, output {s}, element {i} of {shape:?}: {g:?}, not {w:?}\n{tape}"
                );
            }
        }
    }
}

const SHAPES: [&[usize]; 16] = [
    &[],
    &[1],
    &[7],
    &[16],
    &[511],
    &[512],
    &[1025],
    &[0, 3],
    &[3, 5],
    &[40, 33],
    &[2, 600],
    &[600, 2],
    &[130, 3, 5],
    &[4, 17, 9],
    &[3, 1, 70],
    &[2, 3, 4, 5],
];

#[test]
fn elementwise_tapes_in_all_layouts() {
    let mut random = Random(1);
    for shape in SHAPES {
        for dtype in [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16] {
            for kind in 0..6 {
                let x = operand(&mut random, dtype, shape, kind, (-4.0, 4.0));
                // Half a unit in the last place of the type, and the functions' own error.
                let tolerance = tolerance(dtype);
                check("gelu", &gelu(dtype), &[x], shape, tolerance);
            }
        }
    }
}

#[test]
fn chains_of_arithmetic_are_rounded_as_single_ops() {
    let mut random = Random(8);
    let ops = [BinaryOp::Add, BinaryOp::Subtract, BinaryOp::Multiply, BinaryOp::Divide];
    for dtype in [Dtype::F32, Dtype::F64, Dtype::BF16, Dtype::I32] {
        for (first, second) in ops.iter().flat_map(|a| ops.iter().map(move |b| (*a, *b))) {
            if dtype == Dtype::I32 && [first, second].contains(&BinaryOp::Divide) {
                continue;
            }
            // In both orders, with a value that is used twice, and one that is stored.
            for kind in 0..4 {
                let mut b = Builder::default();
                let [x, y, z] = [b.load(dtype), b.load(dtype), b.load(dtype)];
                let v = b.binary(first, x, y);
                let w = match kind {
                    0 => b.binary(second, v, z),
                    1 => b.binary(second, z, v),
                    2 => b.binary(second, v, v),
                    _ => b.binary(second, v, z),
                };
                let w = b.binary(second, w, x);
                b.store(w);
                if kind == 3 {
                    b.store(v);
                }
                let shape = [13, 45];
                let inputs = [kind, kind ^ 1, 1]
                    .map(|layout| operand(&mut random, dtype, &shape, layout, (1.0, 9.0)));
                let what = format!("{first:?} {second:?} {kind}");
                // Exact but for the sums of the interpreter, which are in float64.
                check(&what, &b.0, &inputs, &shape, tolerance(dtype));
            }
        }
    }
}

#[test]
fn large_outputs_are_written_past_the_caches() {
    let n = super::STREAMED / 4 + 7;
    let data: Vec<f32> = (0..n).map(|i| (i % 1000) as f32 - 500.0).collect();
    for shape in [&[n][..], &[n / 7, 7]] {
        let len = shape.iter().product();
        let x = crate::testing::operand(&data[..len], shape);
        let mut b = Builder::default();
        let v = b.load(Dtype::F32);
        let y = b.unary(UnaryOp::Negative, v);
        b.store(y);
        let out = output(Dtype::F32, shape);
        execute_on(IsaKind::widest(), &b.0, &[x], std::slice::from_ref(&out), shape).unwrap();
        let bytes = out.buffer.memory().host_bytes().unwrap();
        let got: &[f32] = bytemuck::cast_slice(&bytes[..4 * len]);
        assert!(got.iter().zip(&data).all(|(y, x)| *y == -x), "{shape:?}");
    }
}

fn tolerance(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F16 => 2e-3,
        Dtype::BF16 => 1.6e-2,
        Dtype::F64 => 1e-13,
        _ => 4e-6,
    }
}

#[test]
fn row_tapes_over_all_axes_in_all_layouts() {
    let mut random = Random(2);
    for shape in SHAPES {
        for axes in 1..1u64 << shape.len() {
            for dtype in [Dtype::F32, Dtype::F16, Dtype::F64] {
                for kind in 0..6 {
                    let x = operand(&mut random, dtype, shape, kind, (-4.0, 4.0));
                    let r = operand(&mut random, dtype, shape, (kind + 1) % 6, (-1.0, 1.0));
                    let n: usize =
                        (0..shape.len()).filter(|a| axes >> a & 1 == 1).map(|a| shape[a]).product();
                    let mut tape = softmax(dtype);
                    tape.axes = axes;
                    check("softmax", &tape, std::slice::from_ref(&x), shape, tolerance(dtype));
                    let mut tape = layer_norm(dtype, n);
                    tape.axes = axes;
                    // Of equal elements only the mean's rounding is left, 30 times as large.
                    check("layer norm", &tape, &[x, r], shape, 30.0 * tolerance(dtype));
                }
            }
        }
    }
}

/// `(x - mean) / sqrt(mean square) * w + c`, or without the mean; w and c are loads.
fn norm(dtype: Dtype, n: usize, centred: bool) -> Tape {
    let mut b = Builder::default();
    let wide = dtype.compute();
    let loads = [b.load(dtype), b.load(dtype), b.load(dtype)];
    let [x, w, c] = loads.map(|v| b.cast(v, wide));
    let scale = b.number(1.0 / n.max(1) as f64, wide);
    let mut d = x;
    if centred {
        let s = b.reduce(ReduceOp::Sum, x);
        let mean = b.binary(BinaryOp::Multiply, s, scale);
        d = b.binary(BinaryOp::Subtract, x, mean);
    }
    let q = b.unary(UnaryOp::Square, d);
    let v = b.reduce(ReduceOp::Sum, q);
    let v = b.binary(BinaryOp::Multiply, v, scale);
    let eps = b.number(1e-3, wide);
    let shifted = b.binary(BinaryOp::Add, v, eps);
    let inv = b.unary(UnaryOp::Rsqrt, shifted);
    let y = b.binary(BinaryOp::Multiply, d, inv);
    let y = b.binary(BinaryOp::Multiply, y, w);
    let y = b.binary(BinaryOp::Add, y, c);
    let y = b.cast(y, dtype);
    b.store(y);
    b.0
}

/// `exp(0.5 x - max) / sum`, with the sum's reciprocal first, and `x - max - log(sum)` as a second output.
fn softmax_by_hand(dtype: Dtype) -> Tape {
    let mut b = Builder::default();
    let wide = dtype.compute();
    let x = b.load(dtype);
    let x = b.cast(x, wide);
    let half = b.number(0.5, wide);
    let x = b.binary(BinaryOp::Multiply, half, x);
    let m = b.reduce(ReduceOp::Max, x);
    let d = b.binary(BinaryOp::Subtract, x, m);
    let e = b.unary(UnaryOp::Exp, d);
    let s = b.reduce(ReduceOp::Sum, e);
    let r = b.unary(UnaryOp::Reciprocal, s);
    let y = b.binary(BinaryOp::Multiply, r, e);
    let y = b.cast(y, dtype);
    let l = b.unary(UnaryOp::Log, s);
    let z = b.binary(BinaryOp::Subtract, d, l);
    let z = b.cast(z, dtype);
    b.store(y);
    b.store(z);
    b.0
}

/// Rows of less than a block, of whole blocks, of more than a leaf, and of both with a rest; operands
/// that lie along the row, that are the same for all rows, one for all elements, and apart; and results
/// in the place of the first operand, bit for bit.
#[test]
fn rows_of_many_blocks() {
    let mut random = Random(9);
    for shape in [[9, 300], [9, 512], [17, 1100], [9, 4096], [3, 4608], [3, 9001]] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::F64] {
            for (kind, others) in [(0, [4, 4]), (0, [0, 5]), (0, [5, 1]), (1, [4, 4]), (2, [0, 3])]
            {
                let x = operand(&mut random, dtype, &shape, kind, (-3.0, 4.0));
                let [w, c] =
                    others.map(|kind| operand(&mut random, dtype, &shape, kind, (0.5, 1.5)));
                let tapes = [
                    ("softmax", softmax(dtype), vec![x.clone()]),
                    ("by hand", softmax_by_hand(dtype), vec![x.clone()]),
                    (
                        "layer norm",
                        norm(dtype, shape[1], true),
                        vec![x.clone(), w.clone(), c.clone()],
                    ),
                    ("rms norm", norm(dtype, shape[1], false), vec![x.clone(), w, c]),
                ];
                for (name, mut tape, inputs) in tapes {
                    tape.axes = 2;
                    let what = format!("{name} {dtype} {kind} {others:?}");
                    // Values of about 2, of sums in another order.
                    check(&what, &tape, &inputs, &shape, 10.0 * tolerance(dtype));
                    if kind != 0 {
                        continue;
                    }
                    for isa in IsaKind::available() {
                        let mut outputs = outputs_of(&tape, &shape);
                        execute_on(isa, &tape, &inputs, &outputs, &shape).unwrap();
                        let bytes = |o: &Operand| o.buffer.memory().host_bytes().unwrap().to_vec();
                        let apart = bytes(&outputs[0]);
                        let copy = Operand { buffer: buffer(&bytes(&x)), ..x.clone() };
                        let mut inputs = inputs.clone();
                        (inputs[0], outputs[0]) = (copy.clone(), copy);
                        execute_on(isa, &tape, &inputs, &outputs, &shape).unwrap();
                        assert_eq!(apart, bytes(&outputs[0]), "{what} {isa:?} {shape:?}");
                    }
                }
            }
        }
    }
}

/// Rows so long, and columns so tall, that they are cut into chunks; and sizes at which rows are
/// kept, computed again, or taken across.
#[test]
fn large_rows_and_threads_give_equal_bits() {
    let mut random = Random(3);
    let cases: [(&[usize], u64); 11] = [
        (&[300_000], 1),
        (&[2, 150_001], 2),
        (&[70_000, 20], 1),
        (&[5000, 48], 1),
        (&[3000, 7], 2),
        (&[200, 1000], 2),
        (&[200, 1000], 1),
        (&[64, 30, 65], 2),
        (&[300, 333], 0),
        (&[70, 3, 90], 0),
        (&[5000, 100], 2),
    ];
    for (shape, axes) in cases {
        for kind in [0, 1] {
            let x = operand(&mut random, Dtype::F32, shape, kind, (-4.0, 4.0));
            let mut tape = if axes == 0 { gelu(Dtype::F32) } else { softmax(Dtype::F32) };
            tape.axes = axes;
            check("large", &tape, std::slice::from_ref(&x), shape, 2e-5);
            let before = crate::pool::num_threads();
            let bits = [1, 2, 5].map(|threads| {
                crate::pool::set_num_threads(threads);
                let outputs = outputs_of(&tape, shape);
                execute_on(IsaKind::widest(), &tape, std::slice::from_ref(&x), &outputs, shape)
                    .unwrap();
                outputs[0].buffer.memory().host_bytes().unwrap().to_vec()
            });
            crate::pool::set_num_threads(before);
            assert!(bits[0] == bits[1] && bits[1] == bits[2], "{shape:?} {axes}");
        }
    }
}

#[test]
fn outputs_may_take_an_inputs_memory() {
    let mut random = Random(4);
    for (shape, axes) in [(&[1000usize][..], 0), (&[60, 700], 2), (&[700, 60], 1), (&[500, 9], 2)] {
        for dtype in [Dtype::F32, Dtype::F16] {
            let x = operand(&mut random, dtype, shape, 0, (-3.0, 3.0));
            let mut tape = if axes == 0 { gelu(dtype) } else { softmax(dtype) };
            tape.axes = axes;
            let apart = outputs_of(&tape, shape);
            execute_on(IsaKind::widest(), &tape, std::slice::from_ref(&x), &apart, shape).unwrap();
            let over = [x.clone()];
            execute_on(IsaKind::widest(), &tape, &[x], &over, shape).unwrap();
            let bytes = |o: &Operand| o.buffer.memory().host_bytes().unwrap().to_vec();
            assert_eq!(bytes(&apart[0]), bytes(&over[0]), "{shape:?} {dtype}");
        }
    }
}

#[test]
fn empty_reductions_give_start_values() {
    let mut random = Random(5);
    for (op, dtype, want) in [
        (ReduceOp::Sum, Dtype::F32, 0.0),
        (ReduceOp::Prod, Dtype::I32, 1.0),
        (ReduceOp::All, Dtype::Bool, 1.0),
        (ReduceOp::Any, Dtype::Bool, 0.0),
    ] {
        let x = operand(&mut random, dtype, &[3, 0], 0, (0.0, 1.0));
        let mut b = Builder::default();
        let v = b.load(dtype);
        let r = b.reduce(op, v);
        b.store(r);
        b.0.axes = 2;
        let out = outputs_of(&b.0, &[3, 0]);
        execute_on(IsaKind::widest(), &b.0, &[x], &out, &[3, 0]).unwrap();
        let got = interpreter::read(&out[0]);
        assert_eq!(got.len(), 3);
        assert!(got.iter().all(|g| g.is_near(interpreter::Wide::Real(want), 0.0)), "{op:?}");
    }
}

#[test]
fn long_sums_stay_accurate() {
    // A running sum of a tenth in float32 would be off by more than 1e-3 after a million terms.
    let n = 1 << 20;
    let bytes: Vec<u8> = (0..n).flat_map(|_| 0.1f32.to_le_bytes()).collect();
    for (shape, axes) in [(&[n][..], 1), (&[n / 64, 64], 1), (&[64, n / 64], 2)] {
        let x = Operand {
            buffer: buffer(&bytes),
            dtype: Dtype::F32,
            layout: Layout::contiguous(shape),
        };
        let mut b = Builder::default();
        let v = b.load(Dtype::F32);
        let r = b.reduce(ReduceOp::Sum, v);
        b.store(r);
        b.0.axes = axes;
        check("sum", &b.0, &[x], shape, 1e-6);
    }
}
