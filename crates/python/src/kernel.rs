//! `fast.cuda_kernel` and `fast.precompiled_cuda_kernel`: CUDA code of the user's.

use crate::array::PyArray;
use crate::convert::Operand;
use crate::device::{On, on};
use crate::dtype::PyDtype;
use crate::errors::{Answer, type_error};
use crate::functions::add_functions;
use lazulite::kernel::{self, CudaCode, CudaSource, CudaText, TemplateArgument};
use lazulite::op::fast::FloatBits;
use lazulite::{Array, Dtype, Literal};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};

/// A kernel from CUDA source, which is compiled when a result of it is first computed.
#[pyclass(module = "lazulite.core.fast", frozen)]
struct CudaKernel {
    name: String,
    source: CudaSource,
    contiguous: bool,
    shared: usize,
}

fn template_argument(value: &Bound<'_, PyAny>) -> Answer<TemplateArgument> {
    if let Ok(dtype) = value.extract::<PyDtype>() {
        return Ok(TemplateArgument::Type(dtype.0));
    }
    if let Ok(b) = value.cast::<PyBool>() {
        return Ok(TemplateArgument::Bool(b.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(TemplateArgument::Int(value.extract()?));
    }
    let kind = crate::convert::type_name(value);
    Err(type_error(format!(
        "[cuda_kernel] a template argument is a dtype, int or bool, not {kind}"
    )))
}

fn outputs<'a>(shapes: &'a [Vec<usize>], dtypes: &[PyDtype]) -> Answer<Vec<(&'a [usize], Dtype)>> {
    if shapes.len() != dtypes.len() {
        let message = format!("{} shapes for {} dtypes of outputs", shapes.len(), dtypes.len());
        return Err(crate::errors::value_error(message));
    }
    Ok(shapes.iter().zip(dtypes).map(|(shape, dtype)| (&shape[..], dtype.0)).collect())
}

fn three(sizes: (u32, u32, u32)) -> [u32; 3] {
    [sizes.0, sizes.1, sizes.2]
}

fn arrays(inputs: Vec<Operand>) -> Vec<Array> {
    inputs.into_iter().map(Operand::array).collect()
}

#[pymethods]
impl CudaKernel {
    /// The outputs for these inputs, computed by `grid` threads in blocks of `threadgroup`.
    #[pyo3(signature = (
        *, inputs, output_shapes, output_dtypes, grid, threadgroup, template = None,
        init_value = None, verbose = false, stream = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "MLX's signature")]
    fn __call__(
        &self,
        py: Python<'_>,
        inputs: Vec<Operand>,
        output_shapes: Vec<Vec<usize>>,
        output_dtypes: Vec<PyDtype>,
        grid: (u32, u32, u32),
        threadgroup: (u32, u32, u32),
        template: Option<Vec<(String, Bound<'_, PyAny>)>>,
        init_value: Option<f64>,
        verbose: bool,
        stream: On,
    ) -> Answer<Vec<PyArray>> {
        let mut source = self.source.clone();
        for (name, value) in template.into_iter().flatten() {
            source.template.push((name, template_argument(&value)?));
        }
        if verbose {
            let parts = (&self.name, &source.header, &source.body);
            let text = format!("// {}\n{}\n{}", parts.0, parts.1, parts.2);
            py.import("builtins")?.call_method1("print", (text,))?;
        }
        let code = CudaCode {
            text: CudaText::Source(source),
            grid: three(grid),
            block: three(threadgroup),
            shared: self.shared,
            init: init_value.map(FloatBits::new),
            contiguous: self.contiguous,
        };
        let outputs = outputs(&output_shapes, &output_dtypes)?;
        let made = on(stream, || Ok(kernel::cuda(&self.name, &arrays(inputs), &outputs, code)?))?;
        Ok(made.into_iter().map(PyArray::from).collect())
    }
}

/// A kernel from CUDA source: the body of a function, whose signature is generated from the names of
/// its inputs and outputs.
///
/// The body of a kernel with an input `x` may name `x_shape`, `x_strides` and `x_ndim`. The kernel is
/// called with keywords: `inputs`, `output_shapes`, `output_dtypes`, `grid` and `threadgroup` (threads
/// along three axes, in all and in a block), and, where wanted, `template` (pairs of a name and a
/// dtype, int or bool), `init_value`, `verbose` and `stream`. It returns a list of arrays.
///
/// It is compiled when a result is computed, on an NVIDIA device; elsewhere that is a
/// `RuntimeError`. `custom_function` gives it derivatives.
///
/// Shapes: those that the caller names.
/// Dtypes: those that the caller names.
///
/// >>> double = mx.fast.cuda_kernel(
/// ...     name="double_it", input_names=["x"], output_names=["y"],
/// ...     source="auto i = cooperative_groups::this_grid().thread_rank(); y[i] = 2 * x[i];")
/// >>> y, = double(inputs=[mx.ones(4)], output_shapes=[(4,)], output_dtypes=[mx.float32],
/// ...     grid=(4, 1, 1), threadgroup=(4, 1, 1))
/// >>> y.shape
/// (4,)
#[pyfunction]
#[pyo3(signature = (
    name, input_names, output_names, source, header = "", ensure_row_contiguous = true,
    shared_memory = 0
))]
fn cuda_kernel(
    name: String,
    input_names: Vec<String>,
    output_names: Vec<String>,
    source: String,
    header: &str,
    ensure_row_contiguous: bool,
    shared_memory: usize,
) -> CudaKernel {
    let source = CudaSource {
        body: source,
        header: header.to_owned(),
        inputs: input_names,
        outputs: output_names,
        template: Vec::new(),
    };
    CudaKernel { name, source, contiguous: ensure_row_contiguous, shared: shared_memory }
}

/// A number for a kernel: bool, `int32` or `float32`, as MLX passes them.
fn scalar(value: &Bound<'_, PyAny>) -> Answer<Literal> {
    if let Ok(b) = value.cast::<PyBool>() {
        return Ok(Literal::new(b.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(Literal::new(value.extract::<i32>()?));
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(Literal::new(value.extract::<f64>()? as f32));
    }
    let kind = crate::convert::type_name(value);
    Err(type_error(format!(
        "[precompiled_cuda_kernel] a scalar is a bool, int or float, not {kind}"
    )))
}

/// The outputs of the function `name` in PTX or machine code.
///
/// It gets the addresses of the inputs, then those of the outputs, then the scalars (bool, 32-bit
/// int or float). `grid` counts threads, as for `cuda_kernel`. It runs when a result is computed, on
/// an NVIDIA device; elsewhere that is a `RuntimeError`.
///
/// Shapes: those that the caller names.
/// Dtypes: those that the caller names.
#[pyfunction]
#[pyo3(signature = (
    *, name, compiled_source, inputs, output_shapes, output_dtypes, scalars, grid, threadgroup,
    shared_memory = 0, init_value = None, ensure_row_contiguous = false, stream = None
))]
#[expect(clippy::too_many_arguments, reason = "MLX's signature")]
fn precompiled_cuda_kernel(
    name: String,
    compiled_source: Vec<u8>,
    inputs: Vec<Operand>,
    output_shapes: Vec<Vec<usize>>,
    output_dtypes: Vec<PyDtype>,
    scalars: Vec<Bound<'_, PyAny>>,
    grid: (u32, u32, u32),
    threadgroup: (u32, u32, u32),
    shared_memory: usize,
    init_value: Option<f64>,
    ensure_row_contiguous: bool,
    stream: On,
) -> Answer<Vec<PyArray>> {
    let scalars = scalars.iter().map(scalar).collect::<Answer<Vec<_>>>()?;
    let code = CudaCode {
        text: CudaText::Module { code: compiled_source, scalars },
        grid: three(grid),
        block: three(threadgroup),
        shared: shared_memory,
        init: init_value.map(FloatBits::new),
        contiguous: ensure_row_contiguous,
    };
    let outputs = outputs(&output_shapes, &output_dtypes)?;
    let made = on(stream, || Ok(kernel::cuda(&name, &arrays(inputs), &outputs, code)?))?;
    Ok(made.into_iter().map(PyArray::from).collect())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    add_functions!(m, cuda_kernel, precompiled_cuda_kernel);
    Ok(())
}
