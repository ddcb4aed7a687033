//! Kernels of the user's: a Rust function over slices of memory, or CUDA source.
//!
//! A kernel is a node like any other: lazy, ordered with the rest, run where its stream is. It must
//! be a function of its inputs alone, since equal nodes are computed once. It has no derivative of its
//! own: [`custom_function`](crate::custom_function) gives it one.

use super::fast::FloatBits;
use super::{Aval, Avals, Batched, Derivative, Rules, vmap_by_loop};
use crate::array::Array;
use crate::dtype::{Dtype, Element, Literal};
use crate::error::{Error, Result};
use crate::shape::{checked_len, show};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// An input of a [`host`] kernel: its elements in row-major order.
#[derive(Clone, Copy, Debug)]
pub struct HostInput<'a> {
    bytes: &'a [u8],
    dtype: Dtype,
    shape: &'a [usize],
}

/// An output of a [`host`] kernel, which begins as zeros.
#[derive(Debug)]
pub struct HostOutput<'a> {
    bytes: &'a mut [u8],
    dtype: Dtype,
    shape: &'a [usize],
}

fn mismatch<T: Element>(dtype: Dtype) -> Error {
    Error::dtype("kernel", &[dtype], format!("{}, which was asked for", T::DTYPE))
}

impl<'a> HostInput<'a> {
    /// The elements in `bytes`, which are those of an array of this dtype and shape.
    pub fn new(bytes: &'a [u8], dtype: Dtype, shape: &'a [usize]) -> HostInput<'a> {
        HostInput { bytes, dtype, shape }
    }

    /// The shape.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The elements.
    ///
    /// # Errors
    /// Kind `Dtype` if they are not of type `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T]> {
        if self.dtype != T::DTYPE {
            return Err(mismatch::<T>(self.dtype));
        }
        bytemuck::checked::try_cast_slice(self.bytes).map_err(|_| mismatch::<T>(self.dtype))
    }
}

impl<'a> HostOutput<'a> {
    /// The elements in `bytes`, which are valid ones of an array of this dtype and shape.
    pub fn new(bytes: &'a mut [u8], dtype: Dtype, shape: &'a [usize]) -> HostOutput<'a> {
        HostOutput { bytes, dtype, shape }
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The elements.
    ///
    /// # Errors
    /// Kind `Dtype` if they are not of type `T`.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        if self.dtype != T::DTYPE {
            return Err(mismatch::<T>(self.dtype));
        }
        let dtype = self.dtype;
        bytemuck::checked::try_cast_slice_mut(self.bytes).map_err(|_| mismatch::<T>(dtype))
    }
}

/// A function over slices.
pub type HostCode = dyn Fn(&[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<()> + Send + Sync;

/// An argument of a template of CUDA source.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplateArgument {
    /// A type.
    Type(Dtype),
    /// A number.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

/// The text of a CUDA kernel, whose signature is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct CudaSource {
    /// The body of the function.
    pub body: String,
    /// What comes before the function.
    pub header: String,
    /// Names of the inputs. Where the body names `x_shape`, `x_strides` or `x_ndim` of an input
    /// `x`, it gets them.
    pub inputs: Vec<String>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Names and values of the template's arguments.
    pub template: Vec<(String, TemplateArgument)>,
}

/// What of a CUDA kernel the device runs.
#[derive(Clone, Debug, PartialEq)]
pub enum CudaText {
    /// Source, compiled when it is first run.
    Source(CudaSource),
    /// PTX or machine code. The function takes the addresses of the inputs and of the outputs, then
    /// the scalars.
    Module {
        /// The module.
        code: Vec<u8>,
        /// The last arguments.
        scalars: Vec<Literal>,
    },
}

/// A kernel for NVIDIA devices.
#[derive(Clone, Debug, PartialEq)]
pub struct CudaCode {
    /// The text.
    pub text: CudaText,
    /// How many threads there are along each axis.
    pub grid: [u32; 3],
    /// How many of them are in a block.
    pub block: [u32; 3],
    /// Bytes of shared memory beyond what the source declares.
    pub shared: usize,
    /// What the outputs are filled with first, if with anything.
    pub init: Option<FloatBits>,
    /// Whether the inputs are made contiguous first.
    pub contiguous: bool,
}

/// What a kernel runs.
#[derive(Clone)]
pub enum Code {
    /// On the processor.
    Host(Arc<HostCode>),
    /// On an NVIDIA device.
    Cuda(Arc<CudaCode>),
}

/// Code on inputs of these shapes and dtypes, which fills outputs of these.
#[derive(Clone)]
pub struct Kernel {
    /// The user's name of it, for errors.
    pub label: Arc<str>,
    /// What runs.
    pub code: Code,
    /// What it takes.
    pub inputs: Arc<[Aval]>,
    /// What it makes.
    pub outputs: Arc<[Aval]>,
}

impl Kernel {
    fn address(&self) -> usize {
        match &self.code {
            Code::Host(code) => Arc::as_ptr(code).addr(),
            Code::Cuda(code) => Arc::as_ptr(code).addr(),
        }
    }

    fn apply(
        label: &str,
        code: Code,
        inputs: &[Array],
        outputs: &[(&[usize], Dtype)],
    ) -> Result<Vec<Array>> {
        if outputs.is_empty() {
            return Err(Error::argument("kernel", format!("{label} has no outputs")));
        }
        for (shape, _) in outputs {
            checked_len("kernel", shape)?;
        }
        let kernel = Kernel {
            label: label.into(),
            code,
            inputs: inputs.iter().map(Array::aval).collect(),
            outputs: outputs.iter().map(|&(shape, dtype)| Aval::new(shape, dtype)).collect(),
        };
        Array::apply_all(kernel, inputs)
    }
}

/// The arrays that `code` makes of `inputs` on the processor: arrays of the given shapes and
/// dtypes, which begin as zeros. Inputs come in row-major order, and no code runs before a result is
/// needed.
///
/// # Errors
/// Kind `Argument` without outputs, `Shape` if one has too many elements. What `code` returns, and
/// that it panicked, is an error of evaluation.
///
/// ```no_run
/// use lazulite_core::{Array, Dtype, op::kernel};
/// let x = Array::from_slice(&[1.0f32, 2.0, 3.0], &[3])?;
/// let doubled = kernel::host("double", &[x], &[(&[3], Dtype::F32)], |x, y| {
///     let (x, y) = (x[0].as_slice::<f32>()?, y[0].as_mut_slice::<f32>()?);
///     y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
///     Ok(())
/// })?;
/// assert_eq!(doubled[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), lazulite_core::Error>(())
/// ```
pub fn host(
    label: &str,
    inputs: &[Array],
    outputs: &[(&[usize], Dtype)],
    code: impl Fn(&[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<()> + Send + Sync + 'static,
) -> Result<Vec<Array>> {
    Kernel::apply(label, Code::Host(Arc::new(code)), inputs, outputs)
}

/// The arrays that a CUDA kernel makes of `inputs` on an NVIDIA device.
///
/// # Errors
/// As [`host`], and kind `Argument` if a block or the grid has no threads. That there is no such
/// device, and what the compiler says, are errors of evaluation.
pub fn cuda(
    label: &str,
    inputs: &[Array],
    outputs: &[(&[usize], Dtype)],
    code: CudaCode,
) -> Result<Vec<Array>> {
    if code.grid.contains(&0) || code.block.contains(&0) {
        let message =
            format!("{label} has a grid of {:?} threads in blocks of {:?}", code.grid, code.block);
        return Err(Error::argument("kernel", message));
    }
    if let CudaText::Source(source) = &code.text
        && (source.inputs.len() != inputs.len() || source.outputs.len() != outputs.len())
    {
        let message = format!(
            "{label} has {} names for {} inputs, and {} for {} outputs",
            source.inputs.len(),
            inputs.len(),
            source.outputs.len(),
            outputs.len()
        );
        return Err(Error::argument("kernel", message));
    }
    Kernel::apply(label, Code::Cuda(Arc::new(code)), inputs, outputs)
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.label)
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        self.address() == other.address()
            && self.inputs == other.inputs
            && self.outputs == other.outputs
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
        self.outputs.hash(state);
    }
}

impl Rules for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        for (i, (x, aval)) in inputs.iter().zip(self.inputs.iter()).enumerate() {
            if x.aval() != *aval {
                let message = format!(
                    "{} was made for {} of {} as input {i}, got {} of {}; make it anew",
                    self.label,
                    show(&aval.shape),
                    aval.dtype,
                    show(x.shape()),
                    x.dtype()
                );
                return Err(Error::shape("kernel", &[x.shape(), &aval.shape], message));
            }
        }
        Ok(self.outputs.iter().cloned().collect())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Custom
    }

    fn jvp(
        &self,
        _inputs: &[Array],
        _outputs: &[Array],
        _tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        Err(self.opaque("jvp"))
    }

    fn vjp(
        &self,
        _inputs: &[Array],
        _outputs: &[Array],
        _cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        Err(self.opaque("vjp"))
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched> {
        vmap_by_loop(self, inputs, axes, batch)
    }

    /// The code belongs to the graph at hand; a plan only knows what it makes.
    fn key(&self, state: &mut impl Hasher) {
        self.outputs.len().hash(state);
    }
}

impl Kernel {
    fn opaque(&self, rule: &str) -> Error {
        let message = format!(
            "{} has no {rule}: code cannot be differentiated; give it one with custom_function",
            self.label
        );
        Error::unsupported("kernel", message)
    }
}
