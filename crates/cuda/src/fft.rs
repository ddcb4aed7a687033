//! Fourier transforms through cuFFT. Without the library they run on the host.
//!
//! cuFFT's transforms have no factor; ours, and the weights of frequencies that stand for two, are a pass
//! of their own, over the input where the result is real, since cuFFT may write over that one.

use std::ffi::c_int;
use std::sync::{Arc, OnceLock};

use lazulite_core::backend::Operand;
use lazulite_core::op::Primitive;
use lazulite_core::op::fft::{Fft, FftKind};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::args::Args;
use crate::driver::{CUdeviceptr, CUstream};
use crate::indexing::{THREADS, blocks};
use crate::library::{Library, functions};
use crate::module::Rounding;
use crate::stream::Launch;
use crate::{copy, fused, host, record};

pub(crate) const SOURCE: &str = include_str!("fft.cu");

/// Plans that are kept; a plan holds tables on the device.
const KEPT: usize = 64;
/// The most calls for one step; where signals across the order of memory need more of them, they are
/// turned first.
const CALLS: usize = 64;
/// cuFFT reads and writes several elements at once from addresses that are multiples of this.
const ALIGNMENT: u64 = 16;

functions! {
    Functions {
        create: "cufftCreate" (*mut c_int);
        destroy: "cufftDestroy" (c_int);
        auto_allocate: "cufftSetAutoAllocation" (c_int, c_int);
        make: "cufftMakePlanMany64" (
            c_int, c_int, *mut i64, *mut i64, i64, i64, *mut i64, i64, i64, c_int, i64, *mut usize,
        );
        set_stream: "cufftSetStream" (c_int, CUstream);
        set_work: "cufftSetWorkArea" (c_int, CUdeviceptr);
        complex: "cufftExecC2C" (c_int, CUdeviceptr, CUdeviceptr, c_int);
        from_real: "cufftExecR2C" (c_int, CUdeviceptr, CUdeviceptr);
        to_real: "cufftExecC2R" (c_int, CUdeviceptr, CUdeviceptr);
    } each {
    }
}

fn library() -> &'static std::result::Result<Functions, String> {
    static LIBRARY: OnceLock<std::result::Result<Functions, String>> = OnceLock::new();
    LIBRARY.get_or_init(|| Functions::find(Library::open(&[], "libcufft.so.12", "nvidia-cufft")?))
}

/// Whether cuFFT is there; the text says what is missing.
pub(crate) fn availability() -> std::result::Result<(), &'static str> {
    library().as_ref().map(|_| ()).map_err(String::as_str)
}

/// Which transform of which signals: elements are `step` apart, and signals `distance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    n: usize,
    batch: usize,
    from: Lie,
    to: Lie,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lie {
    step: usize,
    distance: usize,
}

/// cuFFT's numbers of the types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Complex = 41,
    FromReal = 42,
    ToReal = 44,
}

struct Plan {
    functions: &'static Functions,
    handle: c_int,
    /// Bytes of scratch memory.
    work: usize,
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the plan is this handle's own; cuFFT waits for what uses its tables before it frees them.
        unsafe { (self.functions.destroy)(self.handle) };
    }
}

/// The plans of one device.
#[derive(Default)]
pub(crate) struct Plans(Mutex<FxHashMap<Key, Arc<Plan>>>);

fn check(op: &Fft, code: c_int) -> Result<()> {
    let why = match code {
        0 => return Ok(()),
        2 => "no memory for its tables",
        8 => "the size is not supported",
        _ => "it failed",
    };
    let kind = if code == 2 { ErrorKind::OutOfMemory } else { ErrorKind::Kernel };
    Err(Error::new(kind, Primitive::Fft(*op).name(), format!("cuFFT: {why} (code {code})")))
}

fn plan(op: &Fft, functions: &'static Functions, key: Key) -> Result<Plan> {
    let mut plan = Plan { functions, handle: 0, work: 0 };
    // SAFETY: the pointer is to a local.
    check(op, unsafe { (functions.create)(&mut plan.handle) })?;
    let mut n = [key.n as i64];
    let (mut from, mut to) = (n, n);
    let lie = |lie: Lie| (lie.step as i64, lie.distance as i64);
    let ((from_step, from_distance), (to_step, to_distance)) = (lie(key.from), lie(key.to));
    // SAFETY: the handle was just made, and the pointers are to locals with one element for the one axis.
    check(op, unsafe {
        (functions.auto_allocate)(plan.handle, 0).max((functions.make)(
            plan.handle,
            1,
            n.as_mut_ptr(),
            from.as_mut_ptr(),
            from_step,
            from_distance,
            to.as_mut_ptr(),
            to_step,
            to_distance,
            key.kind as c_int,
            key.batch as i64,
            &mut plan.work,
        ))
    })?;
    Ok(plan)
}

/// How signals along an axis lie in a contiguous array.
#[derive(Clone, Copy)]
enum Order {
    /// Signals are rows.
    Rows,
    /// A call for each index of the axes before, with the axes behind as its batch.
    Before,
    /// A call for each index of the axes behind, with the axes before as its batch.
    Behind,
}

/// Runs one op.
pub(crate) fn fft(
    launch: &Launch<'_>,
    op: &Fft,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    match (library(), inputs, outputs) {
        (Ok(functions), [x], [out]) => transform(launch, functions, op, x, out),
        _ => host::execute(launch, &Primitive::Fft(*op), inputs, outputs),
    }
}

/// The transforms of all signals along the op's axis.
fn transform(
    launch: &Launch<'_>,
    functions: &'static Functions,
    op: &Fft,
    x: &Operand,
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    if op.len == 1 {
        return convert(launch, x, out);
    }
    let rank = x.shape().len();
    let before: usize = x.shape()[..op.axis].iter().product();
    let behind: usize = x.shape()[op.axis + 1..].iter().product();
    let kind = match op.kind {
        FftKind::Forward | FftKind::Inverse => Kind::Complex,
        FftKind::FromReal { .. } => Kind::FromReal,
        FftKind::ToReal { .. } => Kind::ToReal,
    };
    if kind == Kind::Complex && before > 1 && columns_fit(op.len, behind) {
        return columns(launch, op, [before, behind], x, out);
    }
    // A call may begin anywhere only where elements have the size of complex numbers on both sides.
    let calls = if kind == Kind::Complex { CALLS } else { 1 };
    let order = match (before, behind) {
        (_, 1) => Order::Rows,
        _ if before <= behind.min(calls) => Order::Before,
        _ if behind <= before.min(calls) => Order::Behind,
        _ => {
            let mut last: Vec<usize> = (0..rank).filter(|&axis| axis != op.axis).collect();
            last.push(op.axis);
            let turn = |x: &Operand| Operand { layout: x.layout.transpose(&last), ..x.clone() };
            let (from, to) = (turn(x), turn(out));
            let rows = launch.temporary(out.dtype, to.shape())?;
            transform(launch, functions, &Fft { axis: rank - 1, ..*op }, &from, &rows)?;
            return copy::copy(launch, &rows, &to);
        }
    };
    let mut x = copy::as_contiguous(launch, x)?;
    if !launch.read(&x)?.is_multiple_of(ALIGNMENT) {
        x = copy::contiguous(launch, &x)?;
    }
    let factor = op.factor();
    if let FftKind::ToReal { mirrored } = op.kind {
        let weighed = launch.temporary(x.dtype, x.shape())?;
        // cuFFT counts paired frequencies twice.
        let paired = if mirrored { 1.0 } else { 0.5 };
        weigh(launch, op, [&x, &weighed], behind, [factor, paired])?;
        x = weighed;
    }
    let (from_len, to_len) = (x.shape()[op.axis], out.shape()[op.axis]);
    let (calls, batch) = match order {
        Order::Rows => (1, before),
        Order::Before => (before, behind),
        Order::Behind => (behind, before),
    };
    // Steps, distances, and how far apart calls begin.
    let lie = |len: usize| match order {
        Order::Rows => (Lie { step: 1, distance: len }, 0),
        Order::Before => (Lie { step: behind, distance: 1 }, len * behind),
        Order::Behind => (Lie { step: behind, distance: len * behind }, 1),
    };
    let ((from, from_call), (to, to_call)) = (lie(from_len), lie(to_len));
    let key = Key { kind, n: op.len, batch, from, to };
    let (from_at, to_at) = (launch.read(&x)?, launch.write(out)?);
    let ends = (0..calls).map(|call| {
        let at = |base: u64, step: usize, x: &Operand| base + (call * step * x.dtype.size()) as u64;
        (at(from_at, from_call, &x), at(to_at, to_call, out))
    });
    run(launch, op, functions, key, ends)?;
    match op.kind {
        FftKind::FromReal { mirrored } if mirrored || factor != 1.0 => {
            let paired = if mirrored { 2.0 } else { 1.0 };
            weigh(launch, op, [out, out], behind, [factor, paired])
        }
        FftKind::Forward | FftKind::Inverse if factor != 1.0 => {
            weigh(launch, op, [out, out], 0, [factor, 1.0])
        }
        _ => Ok(()),
    }
}

/// Elements of a block's signals of [`columns`].
const TILE: usize = 8192;

/// True iff [`columns`] takes signals of `n` elements that are `behind` apart.
fn columns_fit(n: usize, behind: usize) -> bool {
    let fits = n.is_power_of_two() && (64..=2048).contains(&n);
    fits && 2 * behind > TILE / n && n * behind < 1 << 31
}

/// The transforms of complex signals across the order of memory, all in one launch, where cuFFT would
/// be called for each matrix.
fn columns(
    launch: &Launch<'_>,
    op: &Fft,
    [before, behind]: [usize; 2],
    x: &Operand,
    out: &Operand,
) -> Result<()> {
    let x = copy::as_contiguous(launch, x)?;
    let tiles = behind.div_ceil(TILE / op.len);
    let sign = if op.kind == FftKind::Inverse { 1f64 } else { -1.0 };
    let defines = format!("N={}", op.len);
    let kernel = launch.gpu.modules.kernel(SOURCE, "columns", &defines, Rounding::Contracted)?;
    let mut args = Args::new();
    args.word(launch.read(&x)?).word(launch.write(out)?).size(behind).size(tiles);
    args.word(op.factor().to_bits()).word(sign.to_bits());
    let (grid, shared) = ([(before * tiles) as u32, 1, 1], (TILE + op.len) * 8);
    // SAFETY: the kernel has these parameters; both arrays are contiguous, (before, n, behind), and the shared
    // memory holds the block's signals and a table of n.
    unsafe { args.launch(kernel, grid, [512, 1, 1], shared, launch.queue) }
}

/// Calls cuFFT for each pair of addresses.
fn run(
    launch: &Launch<'_>,
    op: &Fft,
    functions: &'static Functions,
    key: Key,
    ends: impl Iterator<Item = (CUdeviceptr, CUdeviceptr)>,
) -> Result<()> {
    let plans = &mut *launch.gpu.plans.0.lock();
    let plan = match plans.get(&key) {
        Some(plan) => Arc::clone(plan),
        None => {
            // A plan's tables are made at once, while what is recorded only runs later.
            record::refuse("plan of a Fourier transform")?;
            if plans.len() >= KEPT {
                plans.clear();
            }
            let made = Arc::new(plan(op, functions, key)?);
            plans.insert(key, Arc::clone(&made));
            made
        }
    };
    record::hold(&plan);
    let scratch = launch.scratch(plan.work.max(1))?;
    let stream = launch.queue.raw();
    // SAFETY: the plan is live and used by one thread at a time under the lock; the scratch memory has the
    // size that the plan named and is given back in the stream's order.
    check(op, unsafe {
        (functions.set_stream)(plan.handle, stream)
            .max((functions.set_work)(plan.handle, scratch.address()))
    })?;
    for (from, to) in ends {
        // SAFETY: the key's steps and distances stay within both contiguous arrays.
        check(op, unsafe {
            match key.kind {
                Kind::Complex => {
                    let direction = if op.kind == FftKind::Inverse { 1 } else { -1 };
                    (functions.complex)(plan.handle, from, to, direction)
                }
                Kind::FromReal => (functions.from_real)(plan.handle, from, to),
                Kind::ToReal => (functions.to_real)(plan.handle, from, to),
            }
        })?;
    }
    Ok(())
}

/// Multiplies contiguous frequencies by a factor, and the paired ones by another one; where `behind`, the number
/// of elements behind the axis, is 0, all are alike.
fn weigh(
    launch: &Launch<'_>,
    op: &Fft,
    [from, to]: [&Operand; 2],
    behind: usize,
    [factor, paired]: [f64; 2],
) -> Result<()> {
    let kernel = launch.gpu.modules.kernel(SOURCE, "weigh", "", Rounding::Separate)?;
    let count = to.layout.len();
    let m = if behind == 0 { 0 } else { op.len / 2 + 1 };
    let mut args = Args::new();
    args.word(launch.read(from)?).word(launch.write(to)?).size(count).size(m).size(behind);
    args.size(op.len).word(factor.to_bits()).word(paired.to_bits());
    // SAFETY: the kernel has these parameters, and both arrays are contiguous, with `count` elements.
    unsafe { args.launch(kernel, blocks(count), [THREADS as u32, 1, 1], 0, launch.queue) }
}

/// Signals of one element are their own transforms.
fn convert(launch: &Launch<'_>, x: &Operand, out: &Operand) -> Result<()> {
    let value = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    let values = vec![value(Instr::Load { operand: 0 }, x.dtype), value(Instr::Cast(0), out.dtype)];
    let tape = Tape { values, stores: vec![1], inputs: 1, axes: 0 };
    fused::execute(launch, &tape, std::slice::from_ref(x), std::slice::from_ref(out), out.shape())
}
