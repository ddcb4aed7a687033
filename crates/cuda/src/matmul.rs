//! Matrix products through cublasLt, with the choice of algorithm cached for each shape.
//!
//! cublasLt thinks in column-major order, in which a row-major product is `out^T = b^T a^T`. An
//! operand whose rows or whose columns are contiguous is used where it lies; others are copied.

use std::collections::hash_map::Entry;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use lazulite_core::backend::Operand;
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::driver;
use crate::fused::merge;
use crate::stream::Launch;
use crate::{copy, few};

/// Bytes of scratch memory that an algorithm may use.
const WORKSPACE: usize = 32 << 20;
/// Products whose algorithms are kept.
const KEPT: usize = 4096;

/// One operand as cublasLt takes it: column-major, perhaps transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Side {
    pub transposed: bool,
    pub rows: usize,
    pub columns: usize,
    pub leading: usize,
    pub batch_stride: isize,
    pub alignment: u32,
}

/// One product: the right operand is cublasLt's left one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub dtype: Dtype,
    pub result: Dtype,
    pub left: Side,
    pub right: Side,
    pub out: Side,
    pub batch: usize,
    /// True iff a vector is added to every row of the result.
    pub bias: bool,
    /// True iff a gelu follows.
    pub gelu: bool,
    /// The array that is added, if it is not the result itself.
    pub term: Option<Side>,
}

/// What joins a product before it rounds.
#[derive(Clone, Copy)]
pub(crate) enum Beside<'a> {
    /// A contiguous vector of the result's type, added to every row.
    Bias(&'a Operand),
    /// An array of the result's type and shape that [`fits_term`], and factors of the product and of the
    /// array.
    Term(&'a Operand, [f32; 2]),
    /// The tanh form of a gelu, perhaps of the sum with a vector as for `Bias`.
    Gelu(Option<&'a Operand>),
}

impl<'a> Beside<'a> {
    /// The vector or the array.
    pub fn operand(self) -> Option<&'a Operand> {
        match self {
            Beside::Bias(x) | Beside::Term(x, _) => Some(x),
            Beside::Gelu(x) => x,
        }
    }
}

/// True iff an array lies so that a product can be added to it.
pub(crate) fn fits_term(term: &Layout) -> bool {
    let n = term.shape.len();
    let [rows, columns] = [n - 2, n - 1].map(|a| (term.shape[a], term.strides[a]));
    columns.1 == 1 && columns.0 > 1 && rows.0 > 1 && rows.1 >= columns.0 as isize
}

struct Algorithm {
    description: sys::cublasLtMatmulDesc_t,
    /// Of both operands, of the term, and of the result.
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    algorithm: sys::cublasLtMatmulAlgo_t,
    workspace: usize,
}

struct Library {
    handle: sys::cublasLtHandle_t,
    known: FxHashMap<Key, Algorithm>,
}

// SAFETY: cublasLt handles and descriptions may be used from any thread, one at a time here.
unsafe impl Send for Library {}

/// The products of one device.
#[derive(Default)]
pub(crate) struct Products(Mutex<Option<Library>>);

fn failed(error: result::CublasError) -> Error {
    Error::new(ErrorKind::Kernel, "matmul", format!("cublasLt: {error:?}"))
}

/// True iff cublasLt multiplies this type.
pub(crate) fn supports(dtype: Dtype) -> bool {
    (dtype.is_floating() || dtype.is_complex()) && driver::cublaslt_present()
}

fn data_type(dtype: Dtype) -> sys::cudaDataType {
    match dtype {
        Dtype::F16 => sys::cudaDataType_t::CUDA_R_16F,
        Dtype::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
        Dtype::F64 => sys::cudaDataType_t::CUDA_R_64F,
        Dtype::C64 => sys::cudaDataType_t::CUDA_C_32F,
        _ => sys::cudaDataType_t::CUDA_R_32F,
    }
}

fn compute_type(dtype: Dtype) -> (sys::cublasComputeType_t, sys::cudaDataType) {
    use sys::cublasComputeType_t as C;
    // Reduced precision of float32 products is asked for, never the default.
    let fast = dtype == Dtype::F32 && std::env::var_os("LAZULITE_TF32").is_some_and(|v| v == "1");
    match dtype {
        Dtype::F64 => (C::CUBLAS_COMPUTE_64F, sys::cudaDataType_t::CUDA_R_64F),
        Dtype::C64 => (C::CUBLAS_COMPUTE_32F, sys::cudaDataType_t::CUDA_C_32F),
        _ if fast => (C::CUBLAS_COMPUTE_32F_FAST_TF32, sys::cudaDataType_t::CUDA_R_32F),
        _ => (C::CUBLAS_COMPUTE_32F, sys::cudaDataType_t::CUDA_R_32F),
    }
}

/// The last two axes as one side, if either is contiguous. `(rows, columns)` is as in row-major.
fn side(layout: &Layout) -> Option<Side> {
    let n = layout.shape.len();
    let (r, c) = (layout.shape[n - 2], layout.shape[n - 1]);
    let (sr, sc) = (layout.strides[n - 2], layout.strides[n - 1]);
    let plain = Side {
        transposed: false,
        rows: c,
        columns: r,
        leading: c.max(1),
        batch_stride: 0,
        alignment: 0,
    };
    if (sc == 1 || c == 1) && (r == 1 || sr >= c as isize) {
        let leading = if r == 1 { c.max(1) } else { sr as usize };
        return Some(Side { leading, ..plain });
    }
    if (sr == 1 || r == 1) && (c == 1 || sc >= r as isize) {
        let leading = if c == 1 { r.max(1) } else { sc as usize };
        return Some(Side { transposed: true, rows: r, columns: c, leading, ..plain });
    }
    None
}

/// `out = a @ b` for the layouts of `Matmul`; half types accumulate in `float32`, which may also be
/// the type of their result.
pub(crate) fn matmul(launch: &Launch<'_>, a: &Operand, b: &Operand, out: &Operand) -> Result<()> {
    matmul_with(launch, a, b, None, out)
}

/// As [`matmul`], with something that joins before the result rounds; then the inner dimension
/// must not be 0.
pub(crate) fn matmul_with(
    launch: &Launch<'_>,
    a: &Operand,
    b: &Operand,
    beside: Option<Beside<'_>>,
    out: &Operand,
) -> Result<()> {
    if out.layout.is_empty() {
        return Ok(());
    }
    let n = out.shape().len();
    let k = a.shape()[a.shape().len() - 1];
    if k == 0 {
        let at = launch.write(out)?;
        let bytes = out.layout.len() * out.dtype.size();
        // SAFETY: the output's block holds all its elements.
        return unsafe { driver::fill_zero(at, bytes, launch.queue.raw()) };
    }
    let batch_shape = &out.shape()[..n - 2];
    let spread = |x: &Operand| {
        let d = x.shape().len();
        let mut shape: Vec<usize> = batch_shape.to_vec();
        shape.extend(&x.shape()[d - 2..]);
        Operand { layout: x.layout.broadcast_to(&shape), ..x.clone() }
    };
    let usable = |x: &Operand| match side(&x.layout) {
        Some(_) => Ok(spread(x)),
        None => copy::contiguous(launch, x).map(|x| spread(&x)),
    };
    let (a, b) = (usable(a)?, usable(b)?);
    // Without a term the result stands for it, with a factor of zero.
    let (term, factors) = match beside {
        Some(Beside::Term(term, factors)) => (term, factors),
        _ => (out, [1.0, 0.0]),
    };
    let outer = |x: &Operand| x.layout.strides[..n - 2].to_vec();
    let merged = merge(batch_shape, &[&outer(&a), &outer(&b), &outer(term), &outer(out)]);
    let (outer, batch) = match merged.sizes.split_last() {
        Some((&last, outer)) => (outer, last),
        None => (&[][..], 1),
    };
    let bias = match beside {
        Some(Beside::Bias(x) | Beside::Gelu(Some(x))) => Some(launch.read(x)?),
        _ => None,
    };
    let to = launch.write(out)?;
    let from = if factors[1] == 0.0 { to } else { launch.read(term)? };
    let addresses = [launch.read(&b)?, launch.read(&a)?, from, to];
    let strides = [&merged.strides[1], &merged.strides[0], &merged.strides[2], &merged.strides[3]];
    let layouts = [&b.layout, &a.layout, &term.layout, &out.layout];
    let sizes = [a.dtype.size(), a.dtype.size(), out.dtype.size(), out.dtype.size()];
    // Batches that one stride does not cover are separate calls.
    for i in 0..outer.iter().product::<usize>() {
        let (mut rest, mut offsets) = (i, [0isize; 4]);
        for axis in (0..outer.len()).rev() {
            let at = (rest % outer[axis]) as isize;
            rest /= outer[axis];
            (0..4).for_each(|s| offsets[s] += at * strides[s][axis]);
        }
        let mut sides = [None; 4];
        let mut at = [0u64; 4];
        for s in 0..4 {
            at[s] = addresses[s].wrapping_add_signed((offsets[s] * sizes[s] as isize) as i64);
            sides[s] = side(layouts[s]).map(|side| Side {
                batch_stride: strides[s][outer.len()],
                alignment: 1 << at[s].trailing_zeros().min(8),
                ..side
            });
        }
        let [Some(left), Some(right), term, Some(result)] = sides else {
            return Err(Error::new(ErrorKind::Kernel, "matmul", "an operand has no usable layout"));
        };
        let (dtype, result_dtype) = (a.dtype, out.dtype);
        let key = Key {
            dtype,
            result: result_dtype,
            left,
            right,
            out: result,
            batch,
            bias: bias.is_some(),
            gelu: matches!(beside, Some(Beside::Gelu(_))),
            term: term.filter(|_| factors[1] != 0.0),
        };
        let bias = bias.unwrap_or(0);
        if !few::product(launch, &key, at, bias, factors)? {
            run(launch, key, at, bias, factors)?;
        }
    }
    Ok(())
}

fn run(
    launch: &Launch<'_>,
    key: Key,
    at: [u64; 4],
    bias: u64,
    [product, term]: [f32; 2],
) -> Result<()> {
    let mut guard = launch.gpu.products.0.lock();
    let library = match &mut *guard {
        Some(library) => library,
        none => none.insert(Library {
            handle: result::create_handle().map_err(failed)?,
            known: FxHashMap::default(),
        }),
    };
    if library.known.len() >= KEPT {
        for (_, old) in library.known.drain() {
            discard(old);
        }
    }
    let found = match library.known.entry(key) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(choose(library.handle, &key, bias)?),
    };
    if key.bias {
        point_at_bias(found.description, bias)?;
    }
    let scratch = launch.scratch(found.workspace.max(1))?;
    // Complex factors are two numbers.
    let single = [[product, 0.0], [term, 0.0]];
    let double = [f64::from(product), f64::from(term)];
    let (alpha, beta): (*const c_void, *const c_void) = match key.dtype {
        Dtype::F64 => ((&raw const double[0]).cast(), (&raw const double[1]).cast()),
        _ => ((&raw const single[0]).cast(), (&raw const single[1]).cast()),
    };
    // SAFETY: the layouts describe the operands' own, whose extents core bound; the factors have the
    // scale type; work is ordered on the stream.
    let code = unsafe {
        sys::cublasLtMatmul(
            library.handle,
            found.description,
            alpha,
            at[0] as *const c_void,
            found.layouts[0],
            at[1] as *const c_void,
            found.layouts[1],
            beta,
            at[2] as *const c_void,
            found.layouts[2],
            at[3] as *mut c_void,
            found.layouts[3],
            &found.algorithm,
            scratch.address() as *mut c_void,
            found.workspace,
            launch.queue.raw().cast(),
        )
    };
    code.result().map_err(failed)
}

fn point_at_bias(description: sys::cublasLtMatmulDesc_t, bias: u64) -> Result<()> {
    let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
    // SAFETY: the attribute is an address.
    unsafe {
        let at = (&raw const bias).cast();
        result::set_matmul_desc_attribute(description, attribute, at, 8).map_err(failed)
    }
}

fn discard(old: Algorithm) {
    for layout in old.layouts {
        // SAFETY: the layout is ours and not used any more.
        let _ = unsafe { result::destroy_matrix_layout(layout) };
    }
    // SAFETY: as above.
    let _ = unsafe { result::destroy_matmul_desc(old.description) };
}

fn choose(handle: sys::cublasLtHandle_t, key: &Key, bias: u64) -> Result<Algorithm> {
    let (compute, scale) = compute_type(key.dtype);
    let description = result::create_matmul_desc(compute, scale).map_err(failed)?;
    use sys::cublasLtMatmulDescAttributes_t as D;
    for (attribute, side) in
        [(D::CUBLASLT_MATMUL_DESC_TRANSA, &key.left), (D::CUBLASLT_MATMUL_DESC_TRANSB, &key.right)]
    {
        let value = i32::from(side.transposed);
        // SAFETY: the attribute is a 32-bit number.
        unsafe {
            let at = (&raw const value).cast();
            result::set_matmul_desc_attribute(description, attribute, at, 4).map_err(failed)?;
        }
    }
    if key.bias || key.gelu {
        use sys::cublasLtEpilogue_t as E;
        // Rows of the result are columns here, along which the vector lies.
        let value = match (key.bias, key.gelu) {
            (true, true) => E::CUBLASLT_EPILOGUE_GELU_BIAS,
            (true, false) => E::CUBLASLT_EPILOGUE_BIAS,
            (false, _) => E::CUBLASLT_EPILOGUE_GELU,
        } as u32;
        // SAFETY: the attribute is a 32-bit number.
        unsafe {
            let (attribute, at) = (D::CUBLASLT_MATMUL_DESC_EPILOGUE, (&raw const value).cast());
            result::set_matmul_desc_attribute(description, attribute, at, 4).map_err(failed)?;
        }
        if key.bias {
            point_at_bias(description, bias)?;
        }
    }
    let layout = |side: &Side, dtype: Dtype| -> Result<sys::cublasLtMatrixLayout_t> {
        let (rows, columns) = (side.rows as u64, side.columns as u64);
        let layout =
            result::create_matrix_layout(data_type(dtype), rows, columns, side.leading as i64)
                .map_err(failed)?;
        use sys::cublasLtMatrixLayoutAttribute_t as L;
        let (count, stride) = (key.batch as i32, side.batch_stride as i64);
        // SAFETY: the attributes are a 32-bit and a 64-bit number.
        unsafe {
            let (count, stride) = ((&raw const count).cast(), (&raw const stride).cast());
            let set = result::set_matrix_layout_attribute;
            set(layout, L::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count, 4).map_err(failed)?;
            set(layout, L::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride, 8)
                .map_err(failed)?;
        }
        Ok(layout)
    };
    let layouts = [
        layout(&key.left, key.dtype)?,
        layout(&key.right, key.dtype)?,
        layout(&key.term.unwrap_or(key.out), key.result)?,
        layout(&key.out, key.result)?,
    ];
    let preference = result::create_matmul_pref().map_err(failed)?;
    use sys::cublasLtMatmulPreferenceAttributes_t as P;
    let bytes = WORKSPACE;
    let alignments = [
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.left.alignment),
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.right.alignment),
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.term.unwrap_or(key.out).alignment),
        (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.out.alignment),
    ];
    // Parts of a sum are joined as wide as they are: rounded to bfloat16 before, 8192 products of numbers up to 1
    // came out wrong by 0.1.
    use sys::cublasLtReductionScheme_t as R;
    let joins = match key.result.is_half() {
        true => R::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
        false => R::CUBLASLT_REDUCTION_SCHEME_MASK,
    } as u32;
    let joins = (P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, joins);
    // SAFETY: the attributes are a 64-bit number and 32-bit numbers.
    let found = unsafe {
        let set = result::set_matmul_pref_attribute;
        let at = (&raw const bytes).cast();
        set(preference, P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, at, 8).map_err(failed)?;
        for (attribute, value) in alignments.iter().chain([&joins]) {
            set(preference, *attribute, (&raw const *value).cast(), 4).map_err(failed)?;
        }
        let [a, b, c, d] = layouts;
        result::get_matmul_algo_heuristic(handle, description, a, b, c, d, preference)
    };
    // SAFETY: the preference is ours and not used any more.
    let _ = unsafe { result::destroy_matmul_pref(preference) };
    let found = found.map_err(failed)?;
    Ok(Algorithm { description, layouts, algorithm: found.algo, workspace: found.workspaceSize })
}
