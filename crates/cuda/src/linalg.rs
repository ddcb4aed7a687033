//! Linear algebra through cuSOLVER and cuBLAS. Without the libraries it runs on the host.
//!
//! The libraries think column by column, in which a matrix of ours is its transpose: symmetric matrices, and
//! systems, which become `X^T T^T = B^T`, are used as they lie, others are turned. Singular values and
//! eigenvalues are computed in the type of the elements, those of general matrices in double precision.
//!
//! Matrices that cannot be factored are found by kernels, and reported when the stream is next waited for, as
//! indices are. Matrices that are not finite never reach an iteration: the identity stands for them, and their
//! results become NaN.

mod singular;

use lazulite_core::backend::Operand;
use lazulite_core::op::linalg::Linalg;
use lazulite_core::op::{Primitive, UnaryOp};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::{Dtype, Error, ErrorKind, Result};

use crate::args::Args;
use crate::driver::CUdeviceptr;
use crate::gather::number;
use crate::indexing::{THREADS, blocks};
use crate::module::Rounding;
use crate::print::storage;
use crate::solver::{Calls, Number, Triangle, Triangular};
use crate::stream::Launch;
use crate::{copy, driver, fused, host, record, solver};

pub(crate) const SOURCE: &str = include_str!("linalg.cu");
pub(crate) const SMALL_SOURCE: &str = include_str!("smallmat.cu");

/// Matrices of up to so many rows are factored many at a time; larger ones fill the device one by one.
const SMALL: usize = 512;
/// Up to so many rows and columns one matrix goes to a block of threads; many go there if they fit its memory.
const ONE: usize = 64;

/// One step: the sizes of its matrices, and how kernels are called for them.
struct Step<'a> {
    launch: &'a Launch<'a>,
    name: &'static str,
    dtype: Dtype,
    batch: usize,
    m: usize,
    n: usize,
}

/// Runs one op.
pub(crate) fn linalg(
    launch: &Launch<'_>,
    op: &Linalg,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    if solver::availability().is_err() {
        return host::execute(launch, &Primitive::Linalg(*op), inputs, outputs);
    }
    let name = Primitive::Linalg(*op).name();
    let Some((a, [lead @ .., m, n])) = inputs.first().map(|a| (a, a.shape())) else {
        return Err(Error::new(ErrorKind::Kernel, name, "no matrices"));
    };
    let batch = lead.iter().product();
    let step = Step { launch, name, dtype: a.dtype, batch, m: *m, n: *n };
    if outputs.iter().all(|out| out.layout.is_empty()) {
        return Ok(());
    }
    // The libraries wait for the device, or take memory of their own.
    record::refuse(step.name)?;
    match (*op, inputs, outputs) {
        (Linalg::Cholesky, [a], [l]) => step.cholesky(a, l),
        (Linalg::Lu, [a], [lu, swaps, order]) => step.lu(a, [lu, swaps, order]),
        (Linalg::LuSolve { adjoint }, [_, lu, order, b], [x]) => {
            step.lu_solve(adjoint, [lu, order, b], x)
        }
        (Linalg::SolveTriangular { upper, unit }, [t, b], [x]) => {
            copy::copy(launch, b, x)?;
            let t = copy::as_contiguous(launch, t)?;
            // What lies there column by column is the transpose.
            let triangle = if upper { Triangle::Lower } else { Triangle::Upper };
            step.triangular(&[Triangular { triangle, adjoint: false, unit }], &t, x)
        }
        (Linalg::Qr, [a], [q, r]) => step.qr(a, q, r),
        (Linalg::Svd { vectors: false }, [a], [s]) => step.svd(a, s, None),
        (Linalg::Svd { vectors: true }, [a], [u, s, vh]) => step.svd(a, s, Some([u, vh])),
        (Linalg::Pinv, [a], [p]) => step.pinv(a, p),
        (Linalg::Eigh { .. }, [a], [w, v @ ..]) => step.eigh(a, w, v.first()),
        (Linalg::Eig { .. }, [a], [w, v @ ..]) => step.eig(a, w, v.first()),
        _ => Err(Error::new(ErrorKind::Kernel, step.name, "inputs or outputs of another op")),
    }
}

/// `from` converted to `to`, conjugated if that is asked for and makes a difference.
fn place(launch: &Launch<'_>, from: &Operand, to: &Operand, conjugate: bool) -> Result<()> {
    let conjugate = conjugate && from.dtype.is_complex();
    if !conjugate && from.dtype == to.dtype {
        return copy::copy(launch, from, to);
    }
    let value = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    let made = if conjugate { Instr::Unary(UnaryOp::Conjugate, 0) } else { Instr::Cast(0) };
    let values = vec![value(Instr::Load { operand: 0 }, from.dtype), value(made, to.dtype)];
    let tape = Tape { values, stores: vec![1], inputs: 1, axes: 0 };
    fused::execute_into(launch, &tape, std::slice::from_ref(from), to)
}

/// The transposed matrices, as a view.
fn transposed(x: &Operand) -> Operand {
    let rank = x.shape().len();
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    Operand { layout: x.layout.transpose(&axes), ..x.clone() }
}

/// The first `k` rows of matrices.
fn first_rows(x: &Operand, k: usize) -> Operand {
    let rank = x.shape().len();
    let mut shape = x.layout.shape.clone();
    shape[rank - 2] = k;
    Operand { layout: x.layout.slice(&vec![0; rank], &vec![1; rank], &shape), ..x.clone() }
}

impl Step<'_> {
    /// A contiguous array of `sizes` for each matrix.
    fn array(&self, dtype: Dtype, sizes: &[usize]) -> Result<Operand> {
        let shape: Vec<usize> = std::iter::once(self.batch).chain(sizes.iter().copied()).collect();
        self.launch.temporary(dtype, &shape)
    }

    /// Matrices that are transposed where they lie: what the libraries take for the matrices themselves.
    fn turned(&self, a: &Operand) -> Result<Operand> {
        copy::contiguous(self.launch, &transposed(a))
    }

    fn address(&self, x: &Operand) -> Result<CUdeviceptr> {
        self.launch.write(x)
    }

    fn calls(&self) -> Result<Calls<'_>> {
        Calls::new(self.launch, self.name, Number::of(self.dtype))
    }

    /// Room for a code for each matrix, all 0.
    fn codes(&self) -> Result<Operand> {
        let codes = self.array(Dtype::I32, &[])?;
        let at = self.address(&codes)?;
        // SAFETY: the block was just made, with four bytes for each matrix.
        unsafe { driver::fill_zero(at, 4 * self.batch, self.launch.queue.raw())? };
        Ok(codes)
    }

    /// Queues a kernel with a thread for each of `threads` elements.
    fn kernel(&self, name: &'static str, threads: usize, args: &mut Args) -> Result<()> {
        self.blocks(name, "", blocks(threads), args)
    }

    fn blocks(
        &self,
        name: &'static str,
        defines: &str,
        grid: [u32; 3],
        args: &mut Args,
    ) -> Result<()> {
        if grid[0] == 0 {
            return Ok(());
        }
        let real = if self.dtype == Dtype::F64 { "f64" } else { "f32" };
        let defines = format!("T={};R={real};{defines}", storage(self.dtype));
        let modules = &self.launch.gpu.modules;
        let kernel = modules.kernel(SOURCE, name, &defines, Rounding::Separate)?;
        // SAFETY: the callers below give each kernel its parameters, for arrays of the sizes that they
        // say.
        unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, self.launch.queue) }
    }

    /// Where kernels report that an op could not do its work, and the op's number.
    fn fault<'b>(&self, op: &str, args: &'b mut Args) -> &'b mut Args {
        args.word(self.launch.queue.fault_address()).size(number(op))
    }

    /// Reports codes that are not 0.
    fn report(&self, op: &str, codes: &Operand) -> Result<()> {
        let mut args = Args::new();
        args.word(self.launch.read(codes)?).size(self.batch);
        self.kernel("failed", self.batch, self.fault(op, &mut args))
    }

    /// The addresses of `batch` matrices of `elements`.
    fn addresses(&self, first: CUdeviceptr, elements: usize) -> Result<Operand> {
        let list = self.array(Dtype::U64, &[])?;
        let mut args = Args::new();
        args.word(self.address(&list)?).word(first).size(elements * self.dtype.size());
        self.kernel("addresses", self.batch, args.size(self.batch))?;
        Ok(list)
    }

    /// True iff a block of threads takes a matrix that needs so many bytes of its memory.
    fn by_blocks(&self, bytes: usize) -> bool {
        let fits = bytes + 1024 <= self.launch.gpu.facts.shared;
        fits && (self.batch > 1 || self.m.max(self.n) <= ONE)
    }

    /// Queues a kernel with a block for each matrix.
    fn small(
        &self,
        (name, define): (&'static str, &str),
        shared: usize,
        args: &mut Args,
    ) -> Result<()> {
        let real = if self.dtype == Dtype::F64 { "f64" } else { "f32" };
        let defines = format!("T={};R={real};{define}", storage(self.dtype));
        let modules = &self.launch.gpu.modules;
        let kernel = modules.kernel(SMALL_SOURCE, name, &defines, Rounding::Contracted)?;
        let (grid, block) = ([self.batch as u32, 1, 1], [THREADS as u32, 1, 1]);
        // SAFETY: as for `blocks`; the shared memory is what the kernel lays out for these sizes.
        unsafe { args.launch(kernel, grid, block, shared, self.launch.queue) }
    }

    fn many(&self) -> bool {
        self.batch > 1 && self.n <= SMALL
    }

    fn cholesky(&self, a: &Operand, l: &Operand) -> Result<()> {
        let (codes, n) = (self.codes()?, self.n);
        let info = self.address(&codes)?;
        if self.many() {
            copy::copy(self.launch, a, l)?;
            // The lower triangle by rows is the upper one by columns, of A^T = U^H U with U = L^T.
            let list = self.addresses(self.address(l)?, n * n)?;
            let list = self.launch.read(&list)?;
            self.calls()?.potrf_batched(Triangle::Upper, n, list, info, self.batch)?;
        } else {
            // Where columns lie in one piece, the lower triangle was the faster one on an H100.
            let turned = self.turned(a)?;
            let at = self.address(&turned)?;
            self.calls()?.potrf(Triangle::Lower, n, at, info, self.batch)?;
            copy::copy(self.launch, &transposed(&turned), l)?;
        }
        self.report("cholesky", &codes)?;
        let count = self.batch * n * n;
        let mut args = Args::new();
        args.word(self.address(l)?).size(n).size(count);
        self.kernel("lower", count, self.fault("cholesky", &mut args))
    }

    fn lu(&self, a: &Operand, [lu, swaps, order]: [&Operand; 3]) -> Result<()> {
        let (m, n, k) = (self.m, self.n, self.m.min(self.n));
        let small = self.many() && m == n;
        let pivots = self.array(if small { Dtype::I32 } else { Dtype::I64 }, &[k])?;
        let pivots_at = self.address(&pivots)?;
        if k > 0 {
            let (turned, codes) = (self.turned(a)?, self.codes()?);
            let (at, info) = (self.address(&turned)?, self.address(&codes)?);
            if small {
                let list = self.addresses(at, m * n)?;
                let list = self.launch.read(&list)?;
                self.calls()?.getrf_batched(n, list, pivots_at, info, self.batch)?;
            } else {
                self.calls()?.getrf([m, n], at, pivots_at, info, self.batch)?;
            }
            // A singular matrix has factors, too.
            copy::copy(self.launch, &transposed(&turned), lu)?;
        }
        let mut args = Args::new();
        args.word(pivots_at).word(self.address(swaps)?).word(self.address(order)?).size(m).size(k);
        let defines = if small { "P=i32" } else { "P=i64" };
        self.blocks("permutation", defines, [self.batch as u32, 1, 1], &mut args)
    }

    fn lu_solve(&self, adjoint: bool, [lu, order, b]: [&Operand; 3], x: &Operand) -> Result<()> {
        let (n, r) = (self.n, x.shape()[x.shape().len() - 1]);
        let launch = self.launch;
        let (lu, order) = (copy::as_contiguous(launch, lu)?, copy::as_contiguous(launch, order)?);
        let mut args = Args::new();
        args.word(launch.read(&lu)?).size(n).size(self.batch * n);
        self.kernel("singular", self.batch * n, self.fault("solve", &mut args))?;
        let permute = |from: &Operand, to: &Operand| {
            let count = self.batch * n * r;
            let mut args = Args::new();
            args.word(launch.read(from)?).word(launch.read(&order)?).word(self.address(to)?);
            args.size(n).size(r).size(count).size(usize::from(adjoint));
            self.kernel("permute", count, &mut args)
        };
        // By columns the lower triangle is U^T, and the upper one L^T with its ones.
        let of = |triangle| Triangular { triangle, adjoint, unit: triangle == Triangle::Upper };
        let (l, u) = (of(Triangle::Upper), of(Triangle::Lower));
        if !adjoint {
            permute(&copy::as_contiguous(launch, b)?, x)?;
            return self.triangular(&[l, u], &lu, x);
        }
        let y = copy::contiguous(launch, b)?;
        self.triangular(&[u, l], &lu, &y)?;
        permute(&y, x)
    }

    /// Solves `T X = B` in place of `x`, for the matrices that lie transposed at `t`, by one triangle after
    /// the other.
    fn triangular(&self, of: &[Triangular], t: &Operand, x: &Operand) -> Result<()> {
        let (n, r) = (self.n, x.shape()[x.shape().len() - 1]);
        let (t_at, x_at) = (self.launch.read(t)?, self.address(x)?);
        if self.many() {
            let (t, x) = (self.addresses(t_at, n * n)?, self.addresses(x_at, n * r)?);
            let (t, x) = (self.launch.read(&t)?, self.launch.read(&x)?);
            let calls = self.calls()?;
            return of.iter().try_for_each(|&of| calls.trsm_batched(of, [n, r], t, x, self.batch));
        }
        let calls = self.calls()?;
        of.iter().try_for_each(|&of| calls.trsm(of, [n, r], t_at, x_at, self.batch))
    }

    fn qr(&self, a: &Operand, q: &Operand, r: &Operand) -> Result<()> {
        let (m, n, k) = (self.m, self.n, self.m.min(self.n));
        let turned = self.turned(a)?;
        let at = self.address(&turned)?;
        let shared = (m * n + k * m + k) * self.dtype.size();
        if self.by_blocks(shared) {
            let rows = transposed(q);
            let columns = self.launch.temporary(self.dtype, rows.shape())?;
            let mut args = Args::new();
            args.word(at).word(self.address(&columns)?).word(self.address(r)?).size(m).size(n);
            self.small(("householder", "HOUSEHOLDER"), shared, &mut args)?;
            return copy::copy(self.launch, &columns, &rows);
        }
        let (tau, codes) = (self.array(self.dtype, &[k])?, self.codes()?);
        let tau_at = self.address(&tau)?;
        let info = self.address(&codes)?;
        self.calls()?.geqrf([m, n], at, tau_at, info, self.batch)?;
        let count = self.batch * k * n;
        let mut args = Args::new();
        args.word(at).word(self.address(r)?).size(m).size(n).size(k).size(count);
        self.kernel("upper", count, &mut args)?;
        let step = (m * n * self.dtype.size()) as u64;
        self.calls()?.orgqr([m, k], (at, step), tau_at, info, self.batch)?;
        copy::copy(self.launch, &transposed(&first_rows(&turned, k)), q)
    }

    /// Marks matrices that are not finite, of which with `triangle` only the lower triangle counts.
    fn marks(&self, a: &Operand, triangle: bool) -> Result<Operand> {
        let marks = self.codes()?;
        let (size, count) = (self.m * self.n, self.batch * self.m * self.n);
        let mut args = Args::new();
        args.word(self.launch.read(a)?).size(size).size(self.n).size(count);
        args.size(usize::from(triangle)).word(self.address(&marks)?);
        self.kernel("mark", count, &mut args)?;
        Ok(marks)
    }

    /// Puts the identity in place of marked matrices (m, n), or of all.
    fn identity(&self, x: &Operand, [m, n]: [usize; 2], marks: Option<&Operand>) -> Result<()> {
        let count = self.batch * m * n;
        let mut args = Args::new();
        args.word(self.address(x)?).size(m * n).size(n).size(count);
        args.word(marks.map_or(Ok(0), |marks| self.launch.read(marks))?);
        self.kernel("identity", count, &mut args)
    }

    /// Makes results for marked matrices NaN.
    fn spoil(&self, x: &Operand, marks: &Operand) -> Result<()> {
        let count = x.layout.len();
        let mut args = Args::new();
        args.word(self.address(x)?).size(count / self.batch).size(count);
        args.word(self.launch.read(marks)?);
        Step { dtype: x.dtype, ..*self }.kernel("spoil", count, &mut args)
    }

    fn eigh(&self, a: &Operand, w: &Operand, v: Option<&Operand>) -> Result<()> {
        let (n, launch) = (self.n, self.launch);
        let x = copy::contiguous(launch, a)?;
        let marks = self.marks(&x, true)?;
        self.identity(&x, [n, n], Some(&marks))?;
        let codes = self.codes()?;
        let (at, w_at, info) = (self.address(&x)?, self.address(w)?, self.address(&codes)?);
        let of = (Triangle::Upper, v.is_some());
        self.calls()?.syev(of, n, at, w_at, info, self.batch)?;
        self.report("eigh", &codes)?;
        self.spoil(w, &marks)?;
        let Some(v) = v else { return Ok(()) };
        // By columns the matrices are A^T = conj(A), and so are the vectors.
        place(launch, &transposed(&x), v, true)?;
        self.spoil(v, &marks)
    }

    fn eig(&self, a: &Operand, w: &Operand, v: Option<&Operand>) -> Result<()> {
        let (n, launch) = (self.n, self.launch);
        let x = copy::as_contiguous(launch, a)?;
        let (marks, codes) = (self.marks(&x, false)?, self.codes()?);
        let count = self.batch * n * n;
        // Two words for a complex number in double precision.
        let wide = |sizes: &[usize]| self.array(Dtype::F64, sizes);
        let (turned, values) = (wide(&[n, n, 2])?, wide(&[n, 2])?);
        let vectors = v.map(|_| wide(&[n, n, 2])).transpose()?;
        let mut args = Args::new();
        args.word(launch.read(&x)?).word(self.address(&turned)?).size(n).size(count);
        self.kernel("widen_columns", count, args.word(launch.read(&marks)?))?;
        let info = self.address(&codes)?;
        let vectors_at = vectors.as_ref().map_or(Ok(0), |v| self.address(v))?;
        Calls::new(launch, self.name, Number::Wide)?.geev(
            n,
            self.address(&turned)?,
            self.address(&values)?,
            vectors_at,
            info,
            self.batch,
        )?;
        self.report("eig", &codes)?;
        let narrow = |from: &Operand, to: &Operand, rows: usize, columns: usize| {
            let count = self.batch * rows * columns;
            let mut args = Args::new();
            args.word(launch.read(from)?).word(self.address(to)?);
            self.kernel("narrow_columns", count, args.size(rows).size(columns).size(count))?;
            self.spoil(to, &marks)
        };
        narrow(&values, w, n, 1)?;
        match (&vectors, v) {
            (Some(from), Some(to)) => narrow(from, to, n, n),
            _ => Ok(()),
        }
    }
}
