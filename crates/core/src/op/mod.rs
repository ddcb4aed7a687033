//! The closed set of primitives and the rules that each of them has.
//!
//! One family per file, in this order: public functions with docs and checks, the params struct,
//! and its [`Rules`]: `infer`, derivative, vmap, shapeless re-inference. A derivative is one of the
//! kinds of [`Derivative`]; jvp and vjp are both derived from it in `transform/autodiff.rs`.

mod attention_grad;
pub mod blocks;
pub mod cast;
pub mod composite;
pub mod conv;
pub mod creation;
pub mod custom;
pub mod delta;
pub mod einsum;
pub mod elementwise;
pub mod fast;
pub mod fft;
pub mod fp8;
pub mod gather;
pub mod grouped;
pub mod identity;
pub mod index;
pub mod join;
pub mod kernel;
pub mod linalg;
pub mod matmul;
pub mod qqmm;
pub mod quantized;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod scatter;
pub mod search;
pub mod shaping;
pub mod signal;
pub mod sort;
pub mod stft;
pub(crate) mod stored;
pub mod table;
pub mod view;

pub use elementwise::{BinaryOp, UnaryOp};
pub use reduce::ReduceOp;
pub use scan::ScanOp;

use crate::array::Array;
use crate::dtype::{Dtype, Literal};
use crate::error::{Error, ErrorKind, Result};
use crate::shape::{Axes, Shape};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::hash::Hash;

/// What is known of an array before it is evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Aval {
    /// The sizes of the axes.
    pub shape: Shape,
    /// The element type.
    pub dtype: Dtype,
}

impl Aval {
    /// The abstract value of this shape and dtype.
    pub fn new(shape: impl Into<Shape>, dtype: Dtype) -> Aval {
        Aval { shape: shape.into(), dtype }
    }
}

/// The abstract values of an op's outputs.
pub type Avals = SmallVec<[Aval; 1]>;

pub(crate) fn one(shape: impl Into<Shape>, dtype: Dtype) -> Result<Avals> {
    Ok(SmallVec::from_buf([Aval::new(shape, dtype)]))
}

/// How an op is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivative {
    /// Locally constant, or integer-valued: tangents and cotangents vanish.
    Zero,
    /// Elementwise: [`Rules::partials`] gives dy/dx for each input.
    Partials,
    /// Jointly linear in the inputs at these places (all inputs if empty), given the others. The
    /// tangent is the op applied to tangents; [`Rules::transpose`] gives the cotangents.
    Linear(&'static [usize]),
    /// Linear in each of these two inputs separately. [`Rules::transpose`] gives the cotangents.
    Bilinear(usize, usize),
    /// [`Rules::jvp`] and [`Rules::vjp`] are both written out.
    Custom,
    /// [`Rules::compose`] writes the op with other ops, which are differentiated instead.
    Composed,
}

/// One derivative dy/dx of an elementwise op.
pub(crate) enum Partial {
    /// 0 everywhere.
    Zero,
    /// 1 everywhere.
    One,
    /// -1 everywhere.
    Minus,
    /// An array of the output's dtype.
    Of(Array),
    /// 1 where the bool array is true, else 0.
    Where(Array),
}

/// What a vmap rule returns: the outputs and where each has its batch axis.
pub type Batched = (Vec<Array>, Vec<Option<usize>>);

fn missing<T>(op: &'static str, rule: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, op, format!("no {rule} rule")))
}

/// The rules of one family of primitives. The struct that implements them holds the params.
pub(crate) trait Rules: Clone + PartialEq + Eq + Hash + Into<Primitive> {
    /// The op's name in errors and plans.
    fn name(&self) -> &'static str;

    /// Shapes and dtypes of the outputs; the only copy of this fact, and the check of the inputs.
    fn infer(&self, inputs: &[Array]) -> Result<Avals>;

    /// The kind of derivative.
    fn derivative(&self) -> Derivative;

    /// dy/dx for each input of an elementwise op, given its inputs and output.
    fn partials(&self, _inputs: &[Array], _output: &Array) -> Result<SmallVec<[Partial; 2]>> {
        missing(self.name(), "partials")
    }

    /// The cotangent of input `place`, given those of the outputs (`None` is zero).
    fn transpose(
        &self,
        _place: usize,
        _inputs: &[Array],
        _outputs: &[Array],
        _cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        missing(self.name(), "transpose")
    }

    /// The outputs' tangents, given those of the inputs (`None` is zero).
    fn jvp(
        &self,
        _inputs: &[Array],
        _outputs: &[Array],
        _tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        missing(self.name(), "jvp")
    }

    /// The inputs' cotangents, given those of the outputs; only places where `wanted` need one.
    fn vjp(
        &self,
        _inputs: &[Array],
        _outputs: &[Array],
        _cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        missing(self.name(), "vjp")
    }

    /// The same outputs written with other ops.
    fn compose(&self, _inputs: &[Array]) -> Result<Vec<Array>> {
        missing(self.name(), "composition")
    }

    /// The inputs' cotangents by a step of their own, where one is better than what the composition
    /// gives.
    fn fused_vjp(
        &self,
        _inputs: &[Array],
        _outputs: &[Array],
        _cotangents: &[Option<Array>],
        _wanted: &[bool],
    ) -> Result<Option<Vec<Option<Array>>>> {
        Ok(None)
    }

    /// The op applied to every example of a batch: input `i` has its batch axis (of size `batch`)
    /// at `axes[i]`, or is the same for all examples.
    fn vmap(&self, inputs: &[Array], axes: &[Option<usize>], batch: usize) -> Result<Batched>;

    /// The params that make sense for `inputs`, where the op was traced on inputs of other sizes
    /// (`old`, of the same ranks and dtypes): what shapeless compilation calls. The default is for
    /// params that name no sizes.
    fn rebind(&self, _inputs: &[Array], _old: &[Aval]) -> Result<Self> {
        Ok(self.clone())
    }

    /// What of the params belongs to the structural key of a plan. Params that are only sizes,
    /// bounds or values are left out, so that their change does not replan.
    fn key(&self, state: &mut impl std::hash::Hasher) {
        self.hash(state);
    }
}

macro_rules! primitives {
    ($($(#[$meta:meta])* $Variant:ident($($path:tt)+),)*) => {
        primitives!(@enum $($(#[$meta])* $Variant($($path)+),)*);
        $(primitives!(@from $Variant($($path)+));)*
    };
    // Few ops have large params; the others need not have room for them.
    (@from $Variant:ident(Box<$($path:ident)::+>)) => {
        impl From<$($path)::+> for Primitive {
            fn from(op: $($path)::+) -> Primitive { Primitive::$Variant(Box::new(op)) }
        }
    };
    (@from $Variant:ident($($path:tt)+)) => {
        impl From<$($path)+> for Primitive {
            fn from(op: $($path)+) -> Primitive { Primitive::$Variant(op) }
        }
    };
    (@enum $($(#[$meta:meta])* $Variant:ident($($path:tt)+),)*) => {
        /// Every op that a backend must run. Backends match it without a wildcard arm.
        ///
        /// Leaves and what is made of a program's own code cannot be stored.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
        pub enum Primitive {
            /// A leaf that was made with its data.
            #[serde(skip)]
            Data,
            $($(#[$meta])* $Variant($($path)+),)*
        }

        /// Calls a method of [`Rules`] on whichever family the primitive belongs to.
        macro_rules! delegate {
            ($primitive:expr, $op:ident => $body:expr, data: $data:expr) => {
                match $primitive {
                    Primitive::Data => $data,
                    $(Primitive::$Variant($op) => $body,)*
                }
            };
        }
    };
}

primitives! {
    /// A 0-d constant.
    Scalar(Literal),
    /// Evenly spaced values.
    Arange(creation::Arange),
    /// Data that a file or another source holds.
    #[serde(skip)]
    Load(Box<creation::Load>),
    /// Conversion to another dtype.
    Cast(cast::Cast),
    /// One row of the unary table.
    Unary(elementwise::UnaryOp),
    /// One row of the binary table.
    Binary(elementwise::BinaryOp),
    /// Choice between two arrays, element by element.
    Select(elementwise::Select),
    /// A reduction over axes, which stay with size 1.
    Reduce(reduce::Reduce),
    /// The place of the least or greatest element along an axis, which stays with size 1.
    ArgReduce(reduce::ArgReduce),
    /// A running reduction along an axis.
    Scan(scan::Scan),
    /// A view that repeats elements along axes.
    Broadcast(view::Broadcast),
    /// The same elements in another shape.
    Reshape(view::Reshape),
    /// A view with permuted axes.
    Transpose(view::Transpose),
    /// A view of regularly spaced elements.
    Slice(Box<view::Slice>),
    /// A view with any strides.
    AsStrided(Box<view::AsStrided>),
    /// The same bytes as another dtype.
    Bitcast(view::Bitcast),
    /// A leaf without data, in the graph of a function that is being traced.
    #[serde(skip)]
    Placeholder(identity::Placeholder),
    /// The input itself, seen differently by transforms or by the order of evaluation.
    Identity(identity::Identity),
    /// Arrays joined along an axis.
    Concatenate(join::Concatenate),
    /// Slices picked by index arrays.
    Gather(Box<gather::Gather>),
    /// Elements picked along one axis by an index array of the result's shape.
    GatherAxis(gather::GatherAxis),
    /// A slice whose place is an array.
    DynamicSlice(Box<gather::DynamicSlice>),
    /// Slices written or joined at places given by index arrays.
    Scatter(scatter::Scatter),
    /// Elements written or joined along one axis at places given by an index array.
    ScatterAxis(scatter::ScatterAxis),
    /// Regularly spaced elements replaced by or joined with others.
    SliceUpdate(Box<scatter::SliceUpdate>),
    /// A slice replaced whose place is an array.
    DynamicSliceUpdate(Box<scatter::DynamicSliceUpdate>),
    /// Elements under a mask replaced by consecutive elements of another array.
    MaskedScatter(scatter::MaskedScatter),
    /// Sorted elements along an axis.
    Sort(sort::Sort),
    /// The permutation that sorts along an axis.
    ArgSort(sort::ArgSort),
    /// Matrix product.
    Matmul(matmul::Matmul),
    /// Group-wise quantisation.
    Quantize(quantized::Quantize),
    /// Its inverse.
    Dequantize(quantized::Dequantize),
    /// Product with a quantised matrix.
    QuantizedMatmul(quantized::QuantizedMatmul),
    /// A product that leaves out masked blocks.
    MaskedMatmul(blocks::MaskedMatmul),
    /// Row blocks times matrices that an index picks.
    GroupedMatmul(grouped::GroupedMatmul),
    /// Random words.
    RandomBits(random::RandomBits),
    /// Rotary position embedding.
    Rope(fast::Rope),
    /// Scaled dot-product attention.
    Attention(fast::Attention),
    /// The cotangents of its queries, keys and values.
    AttentionGrad(fast::AttentionGrad),
    /// A discrete Fourier transform.
    Fft(fft::Fft),
    /// A factorisation of matrices, or a solution of equations.
    Linalg(linalg::Linalg),
    /// A convolution.
    Conv(Box<conv::Conv>),
    /// Code of the user's.
    #[serde(skip)]
    Kernel(Box<kernel::Kernel>),
    /// Outputs of a user's function with transforms of the user's.
    #[serde(skip)]
    CustomFunction(custom::CustomFunction),
}

impl Primitive {
    /// The op's name in errors and plans.
    pub fn name(&self) -> &'static str {
        delegate!(self, op => op.name(), data: "data")
    }

    pub(crate) fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        delegate!(self, op => op.infer(inputs), data: missing("data", "infer"))
    }

    /// How many inputs have elements that the op reads. Later ones give it their shape only; they
    /// are in recordings for other sizes, and a replay leaves them out.
    pub(crate) fn operands(&self) -> usize {
        match self {
            Primitive::Scalar(_) => 0,
            Primitive::Broadcast(_) => 1,
            _ => usize::MAX,
        }
    }

    pub(crate) fn derivative(&self) -> Derivative {
        delegate!(self, op => op.derivative(), data: Derivative::Zero)
    }

    pub(crate) fn partials(
        &self,
        inputs: &[Array],
        output: &Array,
    ) -> Result<SmallVec<[Partial; 2]>> {
        delegate!(self, op => op.partials(inputs, output), data: missing("data", "partials"))
    }

    pub(crate) fn transpose(
        &self,
        place: usize,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
    ) -> Result<Option<Array>> {
        delegate!(self, op => op.transpose(place, inputs, outputs, cotangents),
            data: missing("data", "transpose"))
    }

    pub(crate) fn jvp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        tangents: &[Option<Array>],
    ) -> Result<Vec<Option<Array>>> {
        delegate!(self, op => op.jvp(inputs, outputs, tangents), data: missing("data", "jvp"))
    }

    pub(crate) fn vjp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Array>>> {
        delegate!(self, op => op.vjp(inputs, outputs, cotangents, wanted),
            data: missing("data", "vjp"))
    }

    pub(crate) fn compose(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        delegate!(self, op => op.compose(inputs), data: missing("data", "composition"))
    }

    pub(crate) fn fused_vjp(
        &self,
        inputs: &[Array],
        outputs: &[Array],
        cotangents: &[Option<Array>],
        wanted: &[bool],
    ) -> Result<Option<Vec<Option<Array>>>> {
        delegate!(self, op => op.fused_vjp(inputs, outputs, cotangents, wanted), data: Ok(None))
    }

    pub(crate) fn vmap(
        &self,
        inputs: &[Array],
        axes: &[Option<usize>],
        batch: usize,
    ) -> Result<Batched> {
        delegate!(self, op => op.vmap(inputs, axes, batch), data: missing("data", "vmap"))
    }

    pub(crate) fn rebind(&self, inputs: &[Array], old: &[Aval]) -> Result<Primitive> {
        Ok(delegate!(self, op => op.rebind(inputs, old)?.into(), data: Primitive::Data))
    }

    /// Feeds what of the op belongs to a plan's structural key to `state`.
    pub(crate) fn key(&self, state: &mut impl std::hash::Hasher) {
        std::mem::discriminant(self).hash(state);
        delegate!(self, op => op.key(state), data: ());
    }
}

/// The shape of `x`.
pub(crate) fn shape_of(x: &Array) -> Shape {
    Shape::from_slice(x.shape())
}

/// A bare number of `x`'s dtype, which broadcasts against it.
pub(crate) fn like(x: &Array, value: f64) -> Array {
    Array::literal(Literal::from_f64(value, x.dtype()))
}

/// `x` for the transpose of a product with `x`: conjugated if it is complex.
pub(crate) fn conjugated(x: &Array) -> Result<Array> {
    if x.dtype().is_complex() { x.conjugate() } else { Ok(x.clone()) }
}

/// `x` summed over the axes along which `shape` was broadcast to x's shape.
pub(crate) fn sum_to(x: &Array, shape: &[usize]) -> Result<Array> {
    if x.shape() == shape {
        return Ok(x.clone());
    }
    let lead = x.ndim() - shape.len();
    let stretched = |a: usize| a < lead || (shape[a - lead] == 1 && x.shape()[a] != 1);
    let axes: Vec<i64> = (0..x.ndim()).filter(|&a| stretched(a)).map(|a| a as i64).collect();
    if axes.is_empty() {
        return x.reshape(shape);
    }
    x.sum(Some(&axes), true)?.reshape(shape)
}

/// `first` followed by `rest`.
pub(crate) fn prepend(first: usize, rest: &[usize]) -> Shape {
    std::iter::once(first).chain(rest.iter().copied()).collect()
}

/// Each of `axes` one further back: where they are after a batch axis came in front.
pub(crate) fn behind_batch(axes: &[usize]) -> Axes {
    axes.iter().map(|a| a + 1).collect()
}

/// Where `axis` of one example is when the batch axis is at `batch`.
pub(crate) fn beside_batch(axis: usize, batch: Option<usize>) -> usize {
    batch.map_or(axis, |b| axis + usize::from(axis >= b))
}

/// A dtype that can index an axis of `n` elements.
pub(crate) fn index_dtype(n: usize) -> Dtype {
    if n <= i32::MAX as usize { Dtype::I32 } else { Dtype::I64 }
}

/// The vmap rule of last resort: one application for each example, stacked along axis 0.
pub(crate) fn vmap_by_loop<R: Rules>(
    op: &R,
    inputs: &[Array],
    axes: &[Option<usize>],
    batch: usize,
) -> Result<Batched> {
    let examples: Vec<Vec<Array>> = (0..batch)
        .map(|i| {
            let pick = |(x, axis): (&Array, &Option<usize>)| match axis {
                Some(axis) => x.at_axis(*axis, i),
                None => Ok(x.clone()),
            };
            let example = inputs.iter().zip(axes).map(pick).collect::<Result<Vec<_>>>()?;
            Array::apply_all(op.clone(), &example)
        })
        .collect::<Result<_>>()?;
    let count = examples.first().map_or(0, Vec::len);
    if count == 0 {
        let message = "vmap over an empty batch has no example to take the shapes from";
        return Err(Error::unsupported(op.name(), message));
    }
    let stacked = (0..count)
        .map(|o| Array::stack(&examples.iter().map(|e| e[o].clone()).collect::<Vec<_>>(), 0))
        .collect::<Result<_>>()?;
    Ok((stacked, vec![Some(0); count]))
}

/// Moves the batch axis of `x` to the front; `x` itself if it has none.
pub(crate) fn batch_first(x: &Array, axis: Option<usize>) -> Result<Array> {
    match axis {
        Some(axis) if axis > 0 => x.moveaxis(axis as i64, 0),
        _ => Ok(x.clone()),
    }
}

/// `x` with its batch axis in front; one is added by broadcasting if it has none.
pub(crate) fn with_batch(x: &Array, axis: Option<usize>, batch: usize) -> Result<Array> {
    match axis {
        Some(_) => batch_first(x, axis),
        None => {
            let mut shape = Shape::from_iter([batch]);
            shape.extend_from_slice(x.shape());
            x.broadcast_to(&shape)
        }
    }
}
