//! cuSOLVER and cuBLAS: their functions, and calls with memory from our allocator.
//!
//! Matrices are as the libraries see them, column by column; each call takes one matrix or, where its name says
//! so, addresses of several.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use lazulite_core::{Dtype, Error, ErrorKind, Result};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use crate::driver::{self, CUdeviceptr, CUstream};
use crate::library::{Handle, Library, functions};
use crate::stream::Launch;

type At = CUdeviceptr;
type Size = *mut usize;
type Found<T> = std::result::Result<T, String>;

functions! {
    Solver {
        create: "cusolverDnCreate" (*mut Handle);
        create_parameters: "cusolverDnCreateParams" (*mut Handle);
        set_stream: "cusolverDnSetStream" (Handle, CUstream);
        potrf_size: "cusolverDnXpotrf_bufferSize" (
            Handle, Handle, c_int, i64, c_int, At, i64, c_int, Size, Size,
        );
        potrf: "cusolverDnXpotrf" (
            Handle, Handle, c_int, i64, c_int, At, i64, c_int, At, usize, *mut c_void, usize, At,
        );
        getrf_size: "cusolverDnXgetrf_bufferSize" (
            Handle, Handle, i64, i64, c_int, At, i64, c_int, Size, Size,
        );
        getrf: "cusolverDnXgetrf" (
            Handle, Handle, i64, i64, c_int, At, i64, At, c_int, At, usize, *mut c_void, usize, At,
        );
        geqrf_size: "cusolverDnXgeqrf_bufferSize" (
            Handle, Handle, i64, i64, c_int, At, i64, c_int, At, c_int, Size, Size,
        );
        geqrf: "cusolverDnXgeqrf" (
            Handle, Handle, i64, i64, c_int, At, i64, c_int, At, c_int, At, usize, *mut c_void, usize, At,
        );
        syevd_size: "cusolverDnXsyevd_bufferSize" (
            Handle, Handle, c_int, c_int, i64, c_int, At, i64, c_int, At, c_int, Size, Size,
        );
        syevd: "cusolverDnXsyevd" (
            Handle, Handle, c_int, c_int, i64, c_int, At, i64, c_int, At, c_int, At, usize, *mut c_void,
            usize, At,
        );
        syev_batched_size: "cusolverDnXsyevBatched_bufferSize" (
            Handle, Handle, c_int, c_int, i64, c_int, At, i64, c_int, At, c_int, Size, Size, i64,
        );
        syev_batched: "cusolverDnXsyevBatched" (
            Handle, Handle, c_int, c_int, i64, c_int, At, i64, c_int, At, c_int, At, usize, *mut c_void,
            usize, At, i64,
        );
        gesvd_size: "cusolverDnXgesvd_bufferSize" (
            Handle, Handle, i8, i8, i64, i64, c_int, At, i64, c_int, At, c_int, At, i64, c_int, At, i64,
            c_int, Size, Size,
        );
        gesvd: "cusolverDnXgesvd" (
            Handle, Handle, i8, i8, i64, i64, c_int, At, i64, c_int, At, c_int, At, i64, c_int, At, i64,
            c_int, At, usize, *mut c_void, usize, At,
        );
        gesvdp_size: "cusolverDnXgesvdp_bufferSize" (
            Handle, Handle, c_int, c_int, i64, i64, c_int, At, i64, c_int, At, c_int, At, i64, c_int, At,
            i64, c_int, Size, Size,
        );
        gesvdp: "cusolverDnXgesvdp" (
            Handle, Handle, c_int, c_int, i64, i64, c_int, At, i64, c_int, At, c_int, At, i64, c_int, At,
            i64, c_int, At, usize, *mut c_void, usize, At, *mut f64,
        );
        geev_size: "cusolverDnXgeev_bufferSize" (
            Handle, Handle, c_int, c_int, i64, c_int, At, i64, c_int, At, c_int, At, i64, c_int, At, i64,
            c_int, Size, Size,
        );
        geev: "cusolverDnXgeev" (
            Handle, Handle, c_int, c_int, i64, c_int, At, i64, c_int, At, c_int, At, i64, c_int, At, i64,
            c_int, At, usize, *mut c_void, usize, At,
        );
    } each {
        orgqr_size: [
            "cusolverDnSorgqr_bufferSize", "cusolverDnDorgqr_bufferSize", "cusolverDnCungqr_bufferSize",
        ] => (Handle, c_int, c_int, c_int, At, c_int, At, *mut c_int);
        orgqr: ["cusolverDnSorgqr", "cusolverDnDorgqr", "cusolverDnCungqr"] => (
            Handle, c_int, c_int, c_int, At, c_int, At, At, c_int, At,
        );
        potrf_batched: ["cusolverDnSpotrfBatched", "cusolverDnDpotrfBatched", "cusolverDnCpotrfBatched"] => (
            Handle, c_int, c_int, At, c_int, At, c_int,
        );
    }
}

functions! {
    Blas {
        create: "cublasCreate_v2" (*mut Handle);
        set_stream: "cublasSetStream_v2" (Handle, CUstream);
    } each {
        trsm: ["cublasStrsm_v2_64", "cublasDtrsm_v2_64", "cublasCtrsm_v2_64"] => (
            Handle, c_int, c_int, c_int, c_int, i64, i64, *const c_void, At, i64, At, i64,
        );
        trsm_batched: ["cublasStrsmBatched", "cublasDtrsmBatched", "cublasCtrsmBatched"] => (
            Handle, c_int, c_int, c_int, c_int, c_int, c_int, *const c_void, At, c_int, At, c_int, c_int,
        );
        getrf_batched: ["cublasSgetrfBatched", "cublasDgetrfBatched", "cublasCgetrfBatched"] => (
            Handle, c_int, At, c_int, At, At, c_int,
        );
    }
}

fn libraries() -> &'static Found<(Solver, Blas)> {
    static LIBRARIES: OnceLock<Found<(Solver, Blas)>> = OnceLock::new();
    LIBRARIES.get_or_init(|| {
        let lt = ["libcublasLt.so.13"];
        let blas = Blas::find(Library::open(&lt, "libcublas.so.13", "nvidia-cublas")?)?;
        let needs = ["libnvJitLink.so.13", "libcusparse.so.12"];
        let solver = Library::open(&needs, "libcusolver.so.12", "nvidia-cusolver")?;
        Ok((Solver::find(solver)?, blas))
    })
}

/// Whether cuSOLVER and cuBLAS are there; the text says what is missing.
pub(crate) fn availability() -> std::result::Result<(), &'static str> {
    libraries().as_ref().map(|_| ()).map_err(String::as_str)
}

/// The state of the libraries for one device, made on first use.
#[derive(Default)]
pub(crate) struct Solvers(Mutex<Option<Handles>>);

struct Handles {
    solver: Handle,
    parameters: Handle,
    blas: Handle,
}

// SAFETY: the handles may be used from any thread, by one at a time, which the mutex around them sees to.
unsafe impl Send for Handles {}

/// The types of elements that the libraries take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    F32,
    F64,
    C64,
    /// Complex, in double precision, for general eigenvalues alone.
    Wide,
}

impl Number {
    /// The number of a dtype.
    pub fn of(dtype: Dtype) -> Number {
        match dtype {
            Dtype::F64 => Number::F64,
            Dtype::C64 => Number::C64,
            _ => Number::F32,
        }
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::F64 | Number::C64 => 8,
            Number::Wide => 16,
        }
    }

    /// `cudaDataType` of the elements and of their sizes.
    fn types(self) -> (c_int, c_int) {
        match self {
            Number::F32 => (0, 0),
            Number::F64 => (1, 1),
            Number::C64 => (4, 0),
            Number::Wide => (5, 1),
        }
    }

    /// The place among functions for each type.
    fn place(self) -> usize {
        match self {
            Number::F32 => 0,
            Number::F64 => 1,
            Number::C64 | Number::Wide => 2,
        }
    }
}

/// The triangle of a matrix that is read, column by column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Triangle {
    Lower = 0,
    Upper = 1,
}

/// A triangular matrix as cuBLAS takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Triangular {
    pub triangle: Triangle,
    /// The conjugate transpose of the matrix that lies there is meant.
    pub adjoint: bool,
    pub unit: bool,
}

impl Triangular {
    /// cuBLAS's numbers of the triangle, the operation and the diagonal.
    fn codes(self) -> [c_int; 3] {
        [self.triangle as c_int, if self.adjoint { 2 } else { 0 }, c_int::from(self.unit)]
    }
}

/// Where the parts of singular value decompositions lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SingularParts {
    pub a: At,
    pub s: At,
    /// U and V^H, or V if the function gives that.
    pub sides: Option<(At, At)>,
    pub info: At,
}

/// The libraries, with one step's stream set.
pub(crate) struct Calls<'a> {
    launch: &'a Launch<'a>,
    op: &'static str,
    number: Number,
    solver: &'static Solver,
    blas: &'static Blas,
    handles: MappedMutexGuard<'a, Handles>,
}

/// Calls a function of cuSOLVER for each of many matrices, with work areas of the sizes that another one names.
macro_rules! for_each {
    (
        $calls:ident, $count:expr, $i:ident;
        $size:ident($($s:expr),*);
        $run:ident($($argument:expr),*; $($last:expr),*)
    ) => {{
        let (h, p) = ($calls.handles.solver, $calls.handles.parameters);
        $calls.with_work(
            $count,
            // SAFETY: the addresses are those of arrays that the caller made for these sizes.
            |device, host| unsafe { ($calls.solver.$size)(h, p, $($s,)* device, host) },
            // SAFETY: as above, and the work areas have the sizes that the library named.
            |$i, work, bytes, area, host| unsafe {
                ($calls.solver.$run)(h, p, $($argument,)* work, bytes, area, host, $($last),*)
            },
        )
    }};
}

impl<'a> Calls<'a> {
    /// Takes the libraries for a step of `op`.
    ///
    /// # Errors
    /// Kind `Kernel` if a library is missing or refuses.
    pub fn new(launch: &'a Launch<'a>, op: &'static str, number: Number) -> Result<Calls<'a>> {
        let (solver, blas) = match libraries() {
            Ok(libraries) => libraries,
            Err(message) => return Err(Error::new(ErrorKind::Kernel, op, message.clone())),
        };
        let mut guard = launch.gpu.solvers.0.lock();
        if guard.is_none() {
            let mut handles =
                Handles { solver: null_mut(), parameters: null_mut(), blas: null_mut() };
            // SAFETY: the pointers are to locals.
            unsafe {
                check(op, (solver.create)(&mut handles.solver))?;
                check(op, (solver.create_parameters)(&mut handles.parameters))?;
                check(op, (blas.create)(&mut handles.blas))?;
            }
            *guard = Some(handles);
        }
        let Ok(handles) = MutexGuard::try_map(guard, Option::as_mut) else {
            return Err(Error::new(ErrorKind::Kernel, op, "no handles"));
        };
        let stream = launch.queue.raw();
        // SAFETY: the handles are live, and so is the stream.
        unsafe {
            check(op, (solver.set_stream)(handles.solver, stream))?;
            check(op, (blas.set_stream)(handles.blas, stream))?;
        }
        Ok(Calls { launch, op, number, solver, blas, handles })
    }

    /// Asks for the sizes of work areas, on the device and the host, makes them, and calls `run` for each of
    /// `count` matrices.
    fn with_work(
        &self,
        count: usize,
        sizes: impl FnOnce(Size, Size) -> c_int,
        run: impl Fn(u64, At, usize, *mut c_void, usize) -> c_int,
    ) -> Result<()> {
        let (mut device, mut host) = (0, 0);
        check(self.op, sizes(&mut device, &mut host))?;
        let work = self.launch.scratch(device.max(1))?;
        let mut area: Vec<u64> = vec![0; host.div_ceil(8)];
        for matrix in 0..count as u64 {
            let at = area.as_mut_ptr().cast();
            check(self.op, run(matrix, work.address(), device, at, host))?;
        }
        if host > 0 {
            // What was queued may still use the host's part.
            driver::synchronize(self.launch.queue.raw())?;
        }
        Ok(())
    }

    /// Cholesky factors in place, of `triangle`, of matrices (n, n) one after another.
    pub fn potrf(&self, of: Triangle, n: usize, a: At, info: At, count: usize) -> Result<()> {
        let (t, step) = (self.number.types().0, (n * n * self.number.size()) as u64);
        let (uplo, n) = (of as c_int, n as i64);
        for_each!(self, count, i;
            potrf_size(uplo, n, t, a, n, t);
            potrf(uplo, n, t, a + i * step, n, t; info + 4 * i))
    }

    /// As [`Calls::potrf`], of small matrices at many addresses.
    pub fn potrf_batched(
        &self,
        of: Triangle,
        n: usize,
        addresses: At,
        info: At,
        count: usize,
    ) -> Result<()> {
        let run = self.solver.potrf_batched[self.number.place()];
        let (n, count, h) = (n as c_int, count as c_int, self.handles.solver);
        // SAFETY: the addresses are those of arrays that the caller made for these sizes.
        check(self.op, unsafe { run(h, of as c_int, n, addresses, n, info, count) })
    }

    /// LU factors in place of matrices (m, n), with pivots of 64 bits.
    pub fn getrf(
        &self,
        [m, n]: [usize; 2],
        a: At,
        pivots: At,
        info: At,
        count: usize,
    ) -> Result<()> {
        let steps = [m * n * self.number.size(), m.min(n) * 8].map(|s| s as u64);
        let (t, m, n) = (self.number.types().0, m as i64, n as i64);
        for_each!(self, count, i;
            getrf_size(m, n, t, a, m, t);
            getrf(m, n, t, a + i * steps[0], m, pivots + i * steps[1], t; info + 4 * i))
    }

    /// As [`Calls::getrf`], of small square matrices at many addresses, with pivots of 32 bits.
    pub fn getrf_batched(
        &self,
        n: usize,
        addresses: At,
        pivots: At,
        info: At,
        count: usize,
    ) -> Result<()> {
        let run = self.blas.getrf_batched[self.number.place()];
        let (n, count) = (n as c_int, count as c_int);
        // SAFETY: as for `potrf_batched`.
        check(self.op, unsafe { run(self.handles.blas, n, addresses, n, pivots, info, count) })
    }

    /// Householder reflections of matrices (m, n) in place, R above them, and their factors `tau`.
    pub fn geqrf(&self, [m, n]: [usize; 2], a: At, tau: At, info: At, count: usize) -> Result<()> {
        let steps = [m * n, m.min(n)].map(|s| (s * self.number.size()) as u64);
        let (t, m, n) = (self.number.types().0, m as i64, n as i64);
        for_each!(self, count, i;
            geqrf_size(m, n, t, a, m, t, tau, t);
            geqrf(m, n, t, a + i * steps[0], m, t, tau + i * steps[1], t; info + 4 * i))
    }

    /// The first k columns of products of k reflections, in place of matrices (m, k) that lie `step` bytes apart.
    pub fn orgqr(
        &self,
        [m, k]: [usize; 2],
        (a, step): (At, u64),
        tau: At,
        info: At,
        count: usize,
    ) -> Result<()> {
        let (h, place, size) = (self.handles.solver, self.number.place(), self.number.size());
        let tau_step = (k * size) as u64;
        let (m, k, mut length) = (m as c_int, k as c_int, 0);
        // SAFETY: as for `potrf_batched`; the last pointer is to a local.
        check(self.op, unsafe {
            self.solver.orgqr_size[place](h, m, k, k, a, m, tau, &mut length)
        })?;
        let work = self.launch.scratch((length as usize * size).max(1))?;
        for i in 0..count as u64 {
            let (a, tau, work) = (a + i * step, tau + i * tau_step, work.address());
            // SAFETY: as above; the work area has the size that the library named.
            check(self.op, unsafe {
                self.solver.orgqr[place](h, m, k, k, a, m, tau, work, length, info)
            })?;
        }
        Ok(())
    }

    /// Eigenvalues of Hermitian matrices (n, n), and their vectors in place of the matrices if `vectors`.
    pub fn syev(
        &self,
        (of, vectors): (Triangle, bool),
        n: usize,
        a: At,
        w: At,
        info: At,
        count: usize,
    ) -> Result<()> {
        let ((t, r), job) = (self.number.types(), c_int::from(vectors));
        let (uplo, n, all) = (of as c_int, n as i64, count as i64);
        if count == 1 {
            return for_each!(self, 1, _i;
                syevd_size(job, uplo, n, t, a, n, r, w, t);
                syevd(job, uplo, n, t, a, n, r, w, t; info));
        }
        self.with_work(
            1,
            // SAFETY: as for `potrf_batched`, and the work areas have the sizes that the library named.
            |device, host| unsafe {
                let (h, p) = (self.handles.solver, self.handles.parameters);
                let sizes = self.solver.syev_batched_size;
                sizes(h, p, job, uplo, n, t, a, n, r, w, t, device, host, all)
            },
            // SAFETY: as above.
            |_, work, bytes, area, host| unsafe {
                let (h, p) = (self.handles.solver, self.handles.parameters);
                let run = self.solver.syev_batched;
                run(h, p, job, uplo, n, t, a, n, r, w, t, work, bytes, area, host, info, all)
            },
        )
    }

    /// Singular values of matrices (m, n), m at least n, by rotations of a bidiagonal form; U is (m, m), or (m, n)
    /// if `thin`, and V^H (n, n).
    pub fn gesvd(
        &self,
        [m, n]: [usize; 2],
        thin: bool,
        parts: SingularParts,
        count: usize,
    ) -> Result<()> {
        let job = match (parts.sides, thin) {
            (None, _) => b'N',
            (_, true) => b'S',
            (_, false) => b'A',
        } as i8;
        let step = self.steps([m, n], thin);
        let ((t, r), m, n) = (self.number.types(), m as i64, n as i64);
        let [a, s, u, v, _] = at(0, parts, step);
        for_each!(self, count, i;
            gesvd_size(job, job, m, n, t, a, m, r, s, t, u, m, t, v, n, t);
            gesvd(
                job, job, m, n, t, at(i, parts, step)[0], m, r, at(i, parts, step)[1], t,
                at(i, parts, step)[2], m, t, at(i, parts, step)[3], n, t; at(i, parts, step)[4]))
    }

    /// As [`Calls::gesvd`] with both sides, through the polar form; it gives V, not V^H. The result is how far
    /// singular values near 0 were moved.
    pub fn gesvdp(
        &self,
        [m, n]: [usize; 2],
        thin: bool,
        parts: SingularParts,
        count: usize,
    ) -> Result<f64> {
        let step = self.steps([m, n], thin);
        let ((t, r), m, n, thin) = (self.number.types(), m as i64, n as i64, c_int::from(thin));
        let [a, s, u, v, _] = at(0, parts, step);
        let mut by = vec![0f64; count];
        let by_at = by.as_mut_ptr();
        for_each!(self, count, i;
            gesvdp_size(1, thin, m, n, t, a, m, r, s, t, u, m, t, v, n, t);
            gesvdp(
                1, thin, m, n, t, at(i, parts, step)[0], m, r, at(i, parts, step)[1], t,
                at(i, parts, step)[2], m, t, at(i, parts, step)[3], n, t;
                at(i, parts, step)[4], by_at.add(i as usize)))?;
        Ok(by.into_iter().fold(0.0, f64::max))
    }

    /// Bytes from one matrix to the next: of A, s, U, V and the codes.
    fn steps(&self, [m, n]: [usize; 2], thin: bool) -> [u64; 5] {
        let real = if self.number == Number::F64 { 8 } else { 4 };
        let size = self.number.size();
        let columns = if thin { n } else { m };
        [m * n * size, n * real, m * columns * size, n * n * size, 4].map(|s| s as u64)
    }

    /// Eigenvalues of matrices (n, n), which are lost, and the vectors on the right unless `v` is 0.
    pub fn geev(&self, n: usize, a: At, w: At, v: At, info: At, count: usize) -> Result<()> {
        let size = self.number.size();
        let steps = [n * n * size, n * size].map(|s| s as u64);
        let vectors = if v == 0 { 0 } else { steps[0] };
        let (t, n, job) = (self.number.types().0, n as i64, c_int::from(v != 0));
        // There are no vectors on the left.
        for_each!(self, count, i;
            geev_size(0, job, n, t, a, n, t, w, t, 0, n, t, v, n, t);
            geev(
                0, job, n, t, a + i * steps[0], n, t, w + i * steps[1], t, 0, n, t, v + i * vectors, n, t;
                info + 4 * i))
    }

    /// X with `X op(T) = B` in place of B `(r, n)`, for matrices T (n, n), one after another.
    pub fn trsm(
        &self,
        of: Triangular,
        [n, r]: [usize; 2],
        t: At,
        b: At,
        count: usize,
    ) -> Result<()> {
        let run = self.blas.trsm[self.number.place()];
        let (h, [uplo, operation, unit]) = (self.handles.blas, of.codes());
        let steps = [n * n, n * r].map(|s| (s * self.number.size()) as u64);
        let (n, r, one) = (n as i64, r as i64, self.one());
        for i in 0..count as u64 {
            let (t, b) = (t + i * steps[0], b + i * steps[1]);
            // SAFETY: as for `potrf_batched`; the factor has the type of the elements.
            check(self.op, unsafe {
                run(h, RIGHT, uplo, operation, unit, r, n, one.as_ptr().cast(), t, n, b, r)
            })?;
        }
        Ok(())
    }

    /// As [`Calls::trsm`], of small matrices at many addresses.
    pub fn trsm_batched(
        &self,
        of: Triangular,
        [n, r]: [usize; 2],
        t: At,
        b: At,
        count: usize,
    ) -> Result<()> {
        let run = self.blas.trsm_batched[self.number.place()];
        let (h, [uplo, operation, unit]) = (self.handles.blas, of.codes());
        let (n, r, count, one) = (n as c_int, r as c_int, count as c_int, self.one());
        // SAFETY: as above.
        check(self.op, unsafe {
            run(h, RIGHT, uplo, operation, unit, r, n, one.as_ptr().cast(), t, n, b, r, count)
        })
    }

    /// 1 as a number of the elements' type.
    fn one(&self) -> [u64; 2] {
        match self.number {
            Number::F32 | Number::C64 => [u64::from(1f32.to_bits()), 0],
            Number::F64 | Number::Wide => [1f64.to_bits(), 0],
        }
    }
}

/// cuBLAS's number of the side on which a triangular matrix stands.
const RIGHT: c_int = 1;

/// The addresses of the parts of matrix `i`.
fn at(i: u64, parts: SingularParts, step: [u64; 5]) -> [At; 5] {
    let (u, v) = parts.sides.unwrap_or((0, 0));
    let first = [parts.a, parts.s, u, v, parts.info];
    std::array::from_fn(|k| if first[k] == 0 { 0 } else { first[k] + i * step[k] })
}

fn check(op: &'static str, code: c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Kernel, op, format!("cuSOLVER or cuBLAS: code {code}")))
}
