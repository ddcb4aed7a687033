//! Reading and writing at places that are arrays. Indices are checked on the device; a wrong one is
//! an error of the next wait for the stream.

use lazulite_core::backend::Operand;
use lazulite_core::op::gather::{DynamicSlice, Gather, GatherAxis};
use lazulite_core::op::scan::{Scan, ScanOp};
use lazulite_core::op::scatter::{DynamicSliceUpdate, Scatter, ScatterAxis, UpdateMode};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::shape::{Layout, contiguous_strides};
use lazulite_core::{Dtype, Error, Result};

use crate::args::Args;
use crate::driver::{self, CUdeviceptr};
use crate::heads::{Note, Put, Rows, row_strides};
use crate::held::{Callee, Calls, range};
use crate::indexing::{SOURCE, THREADS, begin, blocks};
use crate::module::Rounding;
use crate::print::storage;
use crate::stream::{Launch, OPS};
use crate::{copy, fast, fused, scan};

/// Words of the struct that the kernels take.
const GEOMETRY: usize = 64;
/// The most index arrays of a gather.
const LISTS: usize = 4;

/// The number under which kernels report faults of `op`.
pub(crate) fn number(op: &str) -> usize {
    OPS.iter().position(|&name| name == op).unwrap_or(OPS.len() - 1)
}

/// True iff the kernels' struct has room for ops of this rank.
pub(crate) fn fits(axes: usize, lists: usize) -> bool {
    axes <= 12 && lists <= LISTS
}

fn padded(words: Vec<i64>) -> [u64; GEOMETRY] {
    let mut out = [0u64; GEOMETRY];
    out.iter_mut().zip(words).for_each(|(o, w)| *o = w as u64);
    out
}

/// Index arrays, contiguous and of 64 bits.
pub(crate) fn wide_indices(launch: &Launch<'_>, x: &Operand) -> Result<Operand> {
    if x.dtype == Dtype::I64 {
        return copy::as_contiguous(launch, x);
    }
    let load =
        TapeValue { instr: Instr::Load { operand: 0 }, dtype: x.dtype, extent: Extent::Full };
    let cast = TapeValue { instr: Instr::Cast(0), dtype: Dtype::I64, extent: Extent::Full };
    let tape = Tape { values: vec![load, cast], stores: vec![1], inputs: 1, axes: 0 };
    let to = launch.temporary(Dtype::I64, x.shape())?;
    fused::execute(launch, &tape, std::slice::from_ref(x), std::slice::from_ref(&to), x.shape())?;
    Ok(to)
}

/// The type in which elements move: the bits alone matter.
fn mover(size: usize) -> &'static str {
    match size {
        1 => "u8",
        2 => "u16",
        4 => "u32",
        8 => "u64",
        _ => "Wide",
    }
}

/// `src[s + index(i)]` for slices at index arrays. Neighbouring elements of a slice move together,
/// up to 16 bytes.
pub(crate) fn gather(
    launch: &Launch<'_>,
    op: &Gather,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let (src, lists) = (&inputs[0], &inputs[1..]);
    let merged = fused::merge(&op.slice, &[&src.layout.strides]);
    let (mut sizes, mut strides) = (merged.sizes, merged.strides[0].clone());
    let (from, to) = (launch.read(src)?, launch.write(out)?);
    let mut indexed: Vec<isize> = op.axes.iter().map(|&a| src.layout.strides[a]).collect();
    let size = src.dtype.size();
    let last = sizes.len() - 1;
    let mut unit = if sizes[last] > 1 && strides[last] == 1 { 16 / size } else { 1 };
    let fits = |unit: usize| {
        let outer = || strides[..last].iter().chain(&indexed);
        sizes[last].is_multiple_of(unit)
            && fused::aligned(from | to, &[], src.dtype, unit)
            && outer().all(|s| s % unit as isize == 0)
    };
    while unit > 1 && !fits(unit) {
        unit /= 2;
    }
    sizes[last] /= unit;
    strides[..last].iter_mut().chain(&mut indexed).for_each(|s| *s /= unit as isize);
    let slice: usize = sizes.iter().product();
    let count = out.layout.len() / unit;
    if let ([axis], [list]) = (&op.axes[..], lists)
        && sizes.len() == 1
        && (strides[0] == 1 || sizes[0] == 1)
    {
        let rows = RowGather {
            rows: count / slice,
            units: slice,
            bytes: size * unit,
            stride: indexed[0],
            last: src.shape()[*axis] - op.slice[*axis],
            axis: (*axis, src.shape()[*axis]),
            name: "gather",
        };
        return gather_rows(launch, (from, to), list, &rows);
    }
    let lists: Vec<Operand> =
        lists.iter().map(|x| wide_indices(launch, x)).collect::<Result<_>>()?;
    let mut g = vec![count as i64, slice as i64, sizes.len() as i64, op.axes.len() as i64];
    (0..sizes.len()).for_each(|a| g.extend([sizes[a] as i64, strides[a] as i64]));
    for (i, &a) in op.axes.iter().enumerate() {
        let n = src.shape()[a];
        g.extend([n as i64 - op.slice[a] as i64, indexed[i] as i64, a as i64, n as i64]);
    }
    let defines = format!("T={};GATHER", mover(size * unit));
    let kernel = launch.gpu.modules.kernel(SOURCE, "gather", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(from).word(to);
    for i in 0..LISTS {
        args.word(lists.get(i).map(|x| launch.read(x)).transpose()?.unwrap_or(0));
    }
    args.words(&padded(g)).word(launch.queue.fault_address()).size(number("gather"));
    // SAFETY: the kernel has these parameters; indices are checked against the axes before use.
    unsafe { args.launch(kernel, blocks(count), [THREADS as u32, 1, 1], 0, launch.queue) }
}

/// What is taken of an array in whole rows of neighbouring units.
struct RowGather {
    /// Rows of the result, and units of a row.
    rows: usize,
    units: usize,
    /// Bytes of a unit.
    bytes: usize,
    /// Units from a row of the array to the next.
    stride: isize,
    /// The last row with which an index may begin.
    last: usize,
    /// The indexed axis, and its size.
    axis: (usize, usize),
    /// The op that names a wrong index.
    name: &'static str,
}

/// Rows of the array at `from` at the places of `list`, to `to`.
fn gather_rows(
    launch: &Launch<'_>,
    (from, to): (CUdeviceptr, CUdeviceptr),
    list: &Operand,
    g: &RowGather,
) -> Result<()> {
    let list = copy::as_contiguous(launch, list)?;
    let lanes = g.units.div_ceil(4).next_power_of_two().clamp(1, 256);
    let (t, i) = (mover(g.bytes), storage(list.dtype));
    let defines = format!("T={t};I={i};LANES={lanes};GATHER_ROWS");
    let kernel = launch.gpu.modules.kernel(SOURCE, "gather_rows", &defines, Rounding::Separate)?;
    let (axis, size) = g.axis;
    let mut args = Args::new();
    args.word(from).word(to).word(launch.read(&list)?).size(g.rows).size(g.units);
    args.word(g.stride as u64).size(g.last).size(size).size(axis);
    args.word(launch.queue.fault_address()).size(number(g.name));
    let grid = [g.rows.div_ceil(256 / lanes) as u32, 1, 1];
    // SAFETY: the kernel has these parameters; indices are checked against the axis before use.
    unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue) }
}

/// Runs a gather along one axis whose indices are the same for all that follows the axis, and whose slices
/// are rows of neighbours; says whether it did.
fn gather_axis_rows(
    launch: &Launch<'_>,
    axis: usize,
    src: &Operand,
    indices: &Operand,
    out: &Operand,
) -> Result<bool> {
    let (shape, inner) = (out.shape(), axis + 1..out.shape().len());
    let one = inner.clone().all(|a| indices.shape()[a] == 1 || indices.layout.strides[a] == 0);
    let whole = one
        && !inner.is_empty()
        && src.shape()[axis] > 0
        && shape[..axis].iter().all(|&n| n == 1)
        && src.shape()[inner.clone()] == shape[inner.clone()];
    if !whole {
        return Ok(false);
    }
    let merged = fused::merge(&shape[inner.clone()], &[&src.layout.strides[inner]]);
    let (&[units], &[1]) = (&merged.sizes[..], &merged.strides[0][..]) else { return Ok(false) };
    let (from, to) = (launch.read(src)?, launch.write(out)?);
    let (stride, bytes) = (src.layout.strides[axis], src.dtype.size());
    let fits = |unit: usize| {
        units.is_multiple_of(unit)
            && stride % unit as isize == 0
            && fused::aligned(from | to, &[], src.dtype, unit)
    };
    let mut unit = 16 / bytes;
    while unit > 1 && !fits(unit) {
        unit /= 2;
    }
    let list = Operand {
        layout: Layout {
            shape: indices.layout.shape[axis..=axis].into(),
            strides: indices.layout.strides[axis..=axis].into(),
            offset: indices.layout.offset,
        },
        ..indices.clone()
    };
    let n = src.shape()[axis];
    let rows = RowGather {
        rows: shape[axis],
        units: units / unit,
        bytes: bytes * unit,
        stride: stride / unit as isize,
        last: n - 1,
        axis: (axis, n),
        name: "take_along_axis",
    };
    gather_rows(launch, (from, to), &list, &rows).map(|()| true)
}

/// `src` at the places of `indices`, with `indices` along one axis.
pub(crate) fn gather_axis(
    launch: &Launch<'_>,
    op: &GatherAxis,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let (src, indices) = (&inputs[0], &inputs[1]);
    let shape = out.shape();
    let (n, last) = (src.shape()[op.axis], shape.len() - 1);
    if gather_axis_rows(launch, op.axis, src, indices, out)? {
        return Ok(());
    }
    let (from, to) = (launch.read(indices)?, launch.write(out)?);
    // Packs of 16 bytes where the last axis is made of them.
    let mut pack = 16 / src.dtype.size();
    let whole =
        |pack: usize| shape[last].is_multiple_of(pack) && fused::aligned(to, &[], out.dtype, pack);
    while pack > 1 && !whole(pack) {
        pack /= 2;
    }
    let count = out.layout.len() / pack;
    let mut g = vec![count as i64, shape.len() as i64, op.axis as i64, n as i64];
    for a in 0..shape.len() {
        let size = if a == last { shape[a] / pack } else { shape[a] };
        let fixed = a != op.axis && src.shape()[a] == 1;
        let at = if fixed { 0 } else { src.layout.strides[a] };
        let along = if indices.shape()[a] == 1 { 0 } else { indices.layout.strides[a] };
        g.extend([size as i64, at as i64, along as i64]);
    }
    let wide = fused::needs_wide(out.layout.len(), &[inputs]);
    let places = if wide { "i64" } else { "i32" };
    let (t, i) = (mover(src.dtype.size()), storage(indices.dtype));
    let defines = format!("T={t};I={i};N={places};V={pack};GATHER_AXIS");
    let kernel = launch.gpu.modules.kernel(SOURCE, "gather_axis", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.read(src)?).word(from).word(to);
    args.words(&padded(g)).word(launch.queue.fault_address()).size(number("take_along_axis"));
    let grid = blocks(count);
    // SAFETY: the kernel has these parameters; indices are checked against the axis before use.
    unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue) }
}

/// Copies between `part` and the part of `whole` that begins at `start` along `axes`.
fn dynamic(
    launch: &Launch<'_>,
    name: &'static str,
    whole: &Operand,
    part: &Operand,
    (start, axes): (&Operand, &[usize]),
    (read, settled): (bool, bool),
) -> Result<()> {
    if part.layout.is_empty() {
        return Ok(());
    }
    let start = wide_indices(launch, start)?;
    let mut g = vec![part.layout.len() as i64, part.shape().len() as i64, axes.len() as i64];
    for a in 0..part.shape().len() {
        let (at, from) = (whole.layout.strides[a], part.layout.strides[a]);
        g.extend([part.shape()[a] as i64, at as i64, from as i64]);
    }
    for &a in axes {
        let n = whole.shape()[a];
        g.extend([a as i64, n as i64 - part.shape()[a] as i64, n as i64]);
    }
    let read_flag = if read { ";READ" } else { "" };
    let defines = format!("T={};DYNAMIC{read_flag}", mover(whole.dtype.size()));
    let callee = Callee { source: SOURCE, name: "dynamic", defines };
    let (whole_at, part_at) = match read {
        true => (launch.read(whole)?, launch.write(part)?),
        false => (launch.write(whole)?, launch.read(part)?),
    };
    let start_at = launch.read(&start)?;
    let fault = launch.queue.fault_address();
    let mut words = vec![whole_at, part_at, start_at, fault, number(name) as u64];
    words.extend(padded(g));
    let [from, to] = match read {
        true => [range(whole, whole_at), range(part, part_at)],
        false => [range(part, part_at), range(whole, whole_at)],
    };
    let reads = [from, range(&start, start_at)];
    let row = axes == [2] && !read && whole.dtype == Dtype::F32 && whole.shape().len() == 4;
    let note = row_strides(part).zip(Rows::of(whole, whole_at)).filter(|_| row);
    let note = note.filter(|_| whole.layout.strides[3] == 1).map(|(strides, rows)| {
        let [b, g, _, d] = rows.shape;
        Note::Put(Put {
            part: part_at,
            shape: [b, g, 1, d],
            strides,
            whole: whole_at,
            whole_strides: rows.strides,
            position: start_at,
            op: number(name) as u64,
            settled,
        })
    });
    let note = note
        .filter(|_| part.shape()[..2] == whole.shape()[..2] && part.shape()[3] == whole.shape()[3]);
    let count = part.layout.len();
    // SAFETY: the kernel has these parameters; starts are checked against the axes before use, and
    // these are the operands' ranges.
    let call = unsafe { Calls::one(launch, callee, count, &words, &reads, &[to], note) };
    launch.queue.hold(call);
    Ok(())
}

/// A slice whose place is an array.
pub(crate) fn dynamic_slice(
    launch: &Launch<'_>,
    op: &DynamicSlice,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    dynamic(launch, "dynamic_slice", &inputs[0], out, (&inputs[1], &op.axes), (true, false))
}

/// A slice replaced whose place is an array.
pub(crate) fn dynamic_slice_update(
    launch: &Launch<'_>,
    op: &DynamicSliceUpdate,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    let settled = inputs[0].buffer.same(&out.buffer) && launch.is_settled(out);
    begin(launch, &inputs[0], out)?;
    let at = (&inputs[2], &op.axes[..]);
    dynamic(launch, "dynamic_slice_update", out, &inputs[1], at, (false, settled))
}

fn joiner(mode: UpdateMode) -> &'static str {
    match mode {
        UpdateMode::Set => "SET",
        UpdateMode::Add => "MODE=JoinAdd",
        UpdateMode::Multiply => "MODE=JoinMultiply",
        UpdateMode::Max => "MODE=JoinMax",
        UpdateMode::Min => "MODE=JoinMin",
    }
}

/// The launches of a scatter: one, or for `Set` one that notes the last update of every element and
/// one that writes.
fn put(
    launch: &Launch<'_>,
    (name, define): (&'static str, &str),
    mode: UpdateMode,
    out: &Operand,
    count: usize,
    rest: impl Fn(&mut Args),
) -> Result<()> {
    let to = launch.write(out)?;
    let set = mode == UpdateMode::Set;
    if set && count >= u32::MAX as usize {
        return Err(Error::unsupported("scatter", "2^32 updates or more in one step"));
    }
    let marks = if set { Some(launch.scratch(out.layout.len() * 4)?) } else { None };
    let mut passes = vec![joiner(mode)];
    if let Some(marks) = &marks {
        let bytes = out.layout.len() * 4;
        // SAFETY: the scratch block has this size.
        unsafe { driver::fill_zero(marks.address(), bytes, launch.queue.raw())? };
        passes.insert(0, "MARK");
    }
    for pass in passes {
        let t = if set { mover(out.dtype.size()) } else { storage(out.dtype) };
        let defines = format!("T={t};{define};{pass}");
        let kernel = launch.gpu.modules.kernel(SOURCE, name, &defines, Rounding::Separate)?;
        let mut args = Args::new();
        args.word(to).word(marks.as_ref().map_or(0, |m| m.address()));
        rest(&mut args);
        let grid = blocks(count);
        // SAFETY: the kernel has these parameters; indices are checked against the axes before use.
        unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue)? };
    }
    Ok(())
}

/// Slices written or joined at places given by index arrays.
pub(crate) fn scatter(
    launch: &Launch<'_>,
    op: &Scatter,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    let (dst, lists) = (&inputs[0], &inputs[2..]);
    begin(launch, dst, out)?;
    if inputs[1].layout.is_empty() {
        return Ok(());
    }
    let updates = copy::as_contiguous(launch, &inputs[1])?;
    if let [list] = lists
        && scatter_rows(launch, op, list, &updates, out)?
    {
        return Ok(());
    }
    let lists: Vec<Operand> =
        lists.iter().map(|x| wide_indices(launch, x)).collect::<Result<_>>()?;
    let slice = &updates.shape()[updates.shape().len() - out.shape().len()..];
    let strides = contiguous_strides(out.shape());
    let merged = fused::merge(slice, &[&strides]);
    let (count, each) = (updates.layout.len(), slice.iter().product::<usize>());
    let mut g = vec![count as i64, each as i64, merged.sizes.len() as i64, op.axes.len() as i64];
    for a in 0..merged.sizes.len() {
        g.extend([merged.sizes[a] as i64, merged.strides[0][a] as i64]);
    }
    for &a in &op.axes {
        let n = out.shape()[a];
        g.extend([n as i64 - slice[a] as i64, strides[a] as i64, a as i64, n as i64]);
    }
    let from = launch.read(&updates)?;
    let mut places = [0u64; LISTS];
    for (place, list) in places.iter_mut().zip(&lists) {
        *place = launch.read(list)?;
    }
    let (g, fault) = (padded(g), launch.queue.fault_address());
    put(launch, ("scatter", "SCATTER"), op.mode, out, count, |args| {
        args.word(from);
        places.iter().for_each(|&p| {
            args.word(p);
        });
        args.words(&g).word(fault).size(number("scatter"));
    })
}

/// Whole rows written or added at the places of one index array, where they are made of pieces of
/// 16 bytes; says whether it did. `out` holds the destination already.
fn scatter_rows(
    launch: &Launch<'_>,
    op: &Scatter,
    list: &Operand,
    updates: &Operand,
    out: &Operand,
) -> Result<bool> {
    let axis = op.axes[0];
    let strides = contiguous_strides(out.shape());
    let slice = &updates.shape()[updates.shape().len() - out.shape().len()..];
    let merged = fused::merge(slice, &[&strides]);
    let (each, size) = (slice.iter().product::<usize>(), out.dtype.size());
    let unit = 16 / size;
    let (from, to) = (launch.read(updates)?, launch.write(out)?);
    let whole = merged.sizes.len() == 1
        && merged.strides[0][0] == 1
        && slice[axis] == 1
        && each.is_multiple_of(unit)
        && (strides[axis] as usize).is_multiple_of(unit)
        && (from | to).is_multiple_of(16);
    let add = match out.dtype {
        Dtype::F32 => Some("ADD_F32"),
        Dtype::F16 => Some("ADD_F16"),
        Dtype::BF16 => Some("ADD_BF16"),
        _ => None,
    };
    let add = add.filter(|_| launch.gpu.facts.capability.0 == 9);
    let set = op.mode == UpdateMode::Set;
    let adds = op.mode == UpdateMode::Add && add.is_some();
    let rows = updates.layout.len() / each;
    if !whole || !(set || adds) || rows >= u32::MAX as usize || size > 8 {
        return Ok(false);
    }
    let list = copy::as_contiguous(launch, list)?;
    let (n, units) = (out.shape()[axis], each / unit);
    let lanes = units.div_ceil(4).next_power_of_two().clamp(1, 256);
    let (stride, limit) = (strides[axis] as usize / unit, n - slice[axis]);
    let mode = if set { "MARK" } else { add.unwrap_or_default() };
    let i = storage(list.dtype);
    let defines = format!("T=Wide;I={i};LANES={lanes};SCATTER_ROWS;{mode}");
    let modules = &launch.gpu.modules;
    let (places, fault) = (launch.read(&list)?, launch.queue.fault_address());
    let grid = [rows.div_ceil(256 / lanes) as u32, 1, 1];
    if !set {
        let kernel = modules.kernel(SOURCE, "add_rows", &defines, Rounding::Separate)?;
        let mut args = Args::new();
        args.word(to).word(from).word(places).size(rows).size(units).size(stride).size(limit);
        args.size(n).size(axis).word(fault).size(number("scatter"));
        // SAFETY: the kernel has these parameters; indices are checked against the axis before use.
        unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue)? };
        return Ok(true);
    }
    let marks = launch.scratch(n * 4)?;
    // SAFETY: the scratch block has this size.
    unsafe { driver::fill_zero(marks.address(), n * 4, launch.queue.raw())? };
    let kernel = modules.kernel(SOURCE, "mark_rows", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(places).word(marks.address()).size(rows).size(limit).size(n).size(axis).word(fault);
    args.size(number("scatter"));
    // SAFETY: as above.
    unsafe { args.launch(kernel, blocks(rows), [256, 1, 1], 0, launch.queue)? };
    let kernel = modules.kernel(SOURCE, "set_rows", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(to).word(marks.address()).word(from).word(places).size(rows).size(units);
    args.size(stride).size(limit).size(n);
    // SAFETY: as above.
    unsafe { args.launch(kernel, grid, [256, 1, 1], 0, launch.queue)? };
    Ok(true)
}

/// Elements replaced along the last axis, for rows whose places fit shared memory; says whether it
/// did.
fn put_rows(
    launch: &Launch<'_>,
    op: &ScatterAxis,
    inputs: &[Operand],
    out: &Operand,
) -> Result<bool> {
    let (last, n) = (out.shape().len() - 1, out.shape()[op.axis]);
    let m = inputs[2].shape()[last];
    let same = |x: &Operand| x.shape()[..last] == out.shape()[..last];
    let fits = op.mode == UpdateMode::Set
        && op.axis == last
        && n > 0
        && n * 4 <= launch.gpu.facts.shared.min(64 << 10)
        && m < 1 << 31
        && inputs[0].layout.is_contiguous()
        && same(&inputs[1])
        && same(&inputs[2]);
    if !fits || inputs[1].shape()[last] != m {
        return Ok(false);
    }
    let indices = copy::as_contiguous(launch, &inputs[1])?;
    let updates = copy::as_contiguous(launch, &inputs[2])?;
    let (t, i) = (mover(out.dtype.size()), storage(indices.dtype));
    let defines = format!("T={t};I={i};PUT_ROW");
    let kernel = launch.gpu.modules.kernel(SOURCE, "put_row", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.read(&inputs[0])?).word(launch.read(&updates)?);
    args.word(launch.read(&indices)?).word(launch.write(out)?).size(n).size(m).size(op.axis);
    args.word(launch.queue.fault_address()).size(number("put_along_axis"));
    let grid = [(out.layout.len() / n) as u32, 1, 1];
    // SAFETY: the kernel has these parameters, and reads an element of the destination before the
    // same thread writes it; indices are checked against the axis before use.
    unsafe { args.launch(kernel, grid, [512, 1, 1], n * 4, launch.queue)? };
    Ok(true)
}

/// Elements written or joined along one axis.
pub(crate) fn scatter_axis(
    launch: &Launch<'_>,
    op: &ScatterAxis,
    inputs: &[Operand],
    out: &Operand,
) -> Result<()> {
    if !inputs[2].layout.is_empty() && put_rows(launch, op, inputs, out)? {
        return Ok(());
    }
    begin(launch, &inputs[0], out)?;
    if inputs[2].layout.is_empty() {
        return Ok(());
    }
    let indices = wide_indices(launch, &inputs[1])?;
    let updates = copy::as_contiguous(launch, &inputs[2])?;
    let strides = contiguous_strides(out.shape());
    let (count, n) = (updates.layout.len(), out.shape()[op.axis]);
    let mut g = vec![count as i64, out.shape().len() as i64, op.axis as i64, n as i64];
    for a in 0..out.shape().len() {
        g.extend([updates.shape()[a] as i64, strides[a] as i64]);
    }
    let (from, places) = (launch.read(&updates)?, launch.read(&indices)?);
    let (g, fault) = (padded(g), launch.queue.fault_address());
    put(launch, ("scatter_axis", "SCATTER_AXIS"), op.mode, out, count, |args| {
        args.word(from).word(places).words(&g).word(fault).size(number("put_along_axis"));
    })
}

/// The elements under a mask replaced by consecutive ones of `src`: each finds its own by the running count
/// of the mask.
pub(crate) fn masked_scatter(launch: &Launch<'_>, inputs: &[Operand], out: &Operand) -> Result<()> {
    begin(launch, &inputs[0], out)?;
    let n = out.layout.len();
    if n == 0 {
        return Ok(());
    }
    let mask = copy::as_contiguous(launch, &inputs[1])?;
    let src = copy::as_contiguous(launch, &inputs[2])?;
    let dtype = if n < 1 << 31 { Dtype::I32 } else { Dtype::I64 };
    let flat = Operand { layout: Layout::contiguous(&[n]), ..fast::cast(launch, &mask, dtype)? };
    let places = launch.temporary(dtype, &[n])?;
    let count = Scan { op: ScanOp::CumSum, axis: 0, reverse: false, inclusive: true };
    scan::scan(launch, &count, &flat, &places)?;
    let defines = format!("T={};P={};MASKED", mover(out.dtype.size()), storage(dtype));
    let kernel = launch.gpu.modules.kernel(SOURCE, "masked", &defines, Rounding::Separate)?;
    let mut args = Args::new();
    args.word(launch.write(out)?).word(launch.read(&mask)?).word(launch.read(&places)?);
    args.word(launch.read(&src)?).size(n).size(src.layout.len());
    args.word(launch.queue.fault_address()).size(number("masked_scatter"));
    // SAFETY: the kernel has these parameters, and no place past the source's end is read.
    unsafe { args.launch(kernel, blocks(n), [THREADS as u32, 1, 1], 0, launch.queue) }
}
