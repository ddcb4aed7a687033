//! [`Array`], the handle that users hold, and `Node`, the graph behind it.
//!
//! A node is an op applied to inputs. Shape, dtype and stream are known when it is made; data comes
//! with evaluation, after which the node lets its inputs go.

use crate::backend::{self, Buffer};
use crate::device::{Device, Stream, current_stream};
use crate::dtype::{Dtype, Element, Literal};
use crate::error::{Error, ErrorKind, Result};
use crate::eval::{Event, copy_contiguous};
use crate::observe::{Clock, What};
use crate::op::{Aval, Avals, Primitive};
use crate::shape::{Layout, Shape, Strides, checked_len, show};
use crate::transform::Trace;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The inputs of a node.
pub(crate) type Inputs = SmallVec<[Array; 2]>;

/// A counted handle on a node, without the count of weak handles that `std::sync::Arc` keeps: there
/// are none.
pub(crate) type NodeRef = triomphe::Arc<Node>;

/// The forms in which an op's caller gives inputs: an array of handles, which is moved, or a
/// borrowed list, whose handles are cloned.
pub(crate) trait Operands {
    /// The list that the node keeps.
    fn into_inputs(self) -> Inputs;
}

impl<const N: usize> Operands for [Array; N] {
    fn into_inputs(self) -> Inputs {
        SmallVec::from_iter(self)
    }
}

impl<T: AsRef<[Array]> + ?Sized> Operands for &T {
    fn into_inputs(self) -> Inputs {
        self.as_ref().iter().cloned().collect()
    }
}

/// A lazy n-dimensional array: a cheap handle on a node of the graph.
///
/// Cloning shares the node. Ops return new arrays at once and compute nothing; [`Array::eval`], or
/// any call that needs values, computes what is missing. Handles may be sent to and used from any
/// thread.
#[derive(Clone)]
pub struct Array {
    pub(crate) node: NodeRef,
    pub(crate) output: u32,
}

/// An op applied to inputs.
pub(crate) struct Node {
    pub(crate) op: Primitive,
    /// Empty once all outputs are evaluated and no active trace needs the graph.
    inputs: Mutex<Inputs>,
    pub(crate) outputs: SmallVec<[Output; 1]>,
    pub(crate) stream: Stream,
    /// The outermost trace that the node belongs to.
    pub(crate) trace: Option<Arc<Trace>>,
    /// The node's number in the graph that was last collected; it may be another graph's.
    pub(crate) mark: AtomicU32,
}

/// One output of a node: what it is, and how far its computation is.
pub(crate) struct Output {
    pub(crate) shape: Shape,
    pub(crate) dtype: Dtype,
    /// False while the state is `Lazy`; written with the state.
    begun: AtomicBool,
    state: Mutex<State>,
}

/// How far an output is.
pub(crate) enum State {
    /// Nothing asked for it yet.
    Lazy,
    /// An evaluation that will produce it is under way.
    Pending(Arc<Event>),
    /// It has data.
    Ready(Box<Value>),
    /// Its buffer was given to a step that overwrote it, or an evaluation that failed had no more use for
    /// it; nobody else could see it.
    Consumed,
}

/// A [`State`] without the value.
pub(crate) enum Progress {
    Lazy,
    Pending(Arc<Event>),
    Ready,
    Consumed,
}

/// Where an evaluated array's elements are; the shape and dtype are the output's.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) buffer: Buffer,
    pub(crate) strides: Strides,
    pub(crate) offset: usize,
}

impl Node {
    fn new(
        op: Primitive,
        inputs: Inputs,
        avals: Avals,
        stream: Stream,
        trace: Option<Arc<Trace>>,
    ) -> NodeRef {
        let output = |a: Aval| Output::new(a.shape, a.dtype, State::Lazy);
        let outputs = match avals.into_inner() {
            Ok([aval]) => SmallVec::from_buf([output(aval)]),
            Err(avals) => avals.into_iter().map(output).collect(),
        };
        let (inputs, mark) = (Mutex::new(inputs), AtomicU32::new(0));
        NodeRef::new(Node { op, inputs, outputs, stream, trace, mark })
    }

    /// A number that tells this node from all others that are alive.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn inputs(&self) -> Inputs {
        self.inputs.lock().clone()
    }

    /// Calls `f` on the inputs without copying the list.
    pub(crate) fn with_inputs<R>(&self, f: impl FnOnce(&[Array]) -> R) -> R {
        f(&self.inputs.lock())
    }

    /// Lets the inputs go, unless an active trace still needs them.
    pub(crate) fn detach(&self) {
        if self.trace.as_ref().is_some_and(|t| t.is_active()) {
            return;
        }
        let inputs = std::mem::take(&mut *self.inputs.lock());
        drop_iteratively(inputs);
    }

    /// Lets inputs go whose elements an evaluation does not read, unless an active trace still needs
    /// them.
    pub(crate) fn detach_unread(&self) {
        if self.trace.as_ref().is_some_and(|t| t.is_active()) {
            return;
        }
        let read = match self.op {
            Primitive::CustomFunction(_) => self.outputs.len(),
            _ => self.op.operands(),
        };
        let mut inputs = self.inputs.lock();
        let read = read.min(inputs.len());
        let unread: Inputs = inputs.drain(read..).collect();
        drop(inputs);
        drop_iteratively(unread);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop_iteratively(std::mem::take(self.inputs.get_mut()));
    }
}

/// Drops a graph without recursion, so that a chain of a million nodes does not exhaust the stack.
fn drop_iteratively(inputs: Inputs) {
    if inputs.is_empty() {
        return;
    }
    let mut stack: SmallVec<[Array; 4]> = SmallVec::new();
    stack.extend(inputs);
    while let Some(mut array) = stack.pop() {
        if let Some(node) = NodeRef::get_mut(&mut array.node) {
            stack.extend(std::mem::take(node.inputs.get_mut()));
        }
    }
}

impl Output {
    fn new(shape: Shape, dtype: Dtype, state: State) -> Output {
        let begun = AtomicBool::new(!matches!(state, State::Lazy));
        Output { shape, dtype, begun, state: Mutex::new(state) }
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Where the elements are, if the output is ready.
    pub(crate) fn value(&self) -> Option<Value> {
        match &*self.state.lock() {
            State::Ready(value) => Some(Value::clone(value)),
            _ => None,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.progress(), Progress::Ready)
    }

    pub(crate) fn progress(&self) -> Progress {
        if !self.begun.load(Ordering::Acquire) {
            return Progress::Lazy;
        }
        match &*self.state.lock() {
            State::Lazy => Progress::Lazy,
            State::Pending(event) => Progress::Pending(event.clone()),
            State::Ready(_) => Progress::Ready,
            State::Consumed => Progress::Consumed,
        }
    }

    pub(crate) fn set(&self, state: State) {
        let mut held = self.state.lock();
        self.begun.store(!matches!(state, State::Lazy), Ordering::Release);
        *held = state;
    }

    /// Makes a lazy output pending on `event`; false if it is not lazy.
    pub(crate) fn claim(&self, event: &Arc<Event>) -> bool {
        let mut state = self.state.lock();
        let lazy = matches!(*state, State::Lazy);
        if lazy {
            self.begun.store(true, Ordering::Release);
            *state = State::Pending(event.clone());
        }
        lazy
    }

    /// Gives an output whose value was taken away its value back, if there is one.
    pub(crate) fn restore(&self, value: Option<Value>) {
        let mut state = self.state.lock();
        if let (State::Consumed, Some(value)) = (&*state, value) {
            *state = State::Ready(Box::new(value));
        }
    }

    /// Takes the value away from a ready output.
    pub(crate) fn consume(&self) -> Option<Value> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Consumed) {
            State::Ready(value) => Some(*value),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl Array {
    /// The single output of `op` applied to `inputs`, on the current stream.
    pub(crate) fn apply(op: impl Into<Primitive>, inputs: impl Operands) -> Result<Array> {
        let (op, inputs): (Primitive, Inputs) = (op.into(), inputs.into_inputs());
        let avals = op.infer(&inputs)?;
        debug_assert_eq!(avals.len(), 1, "{} has several outputs", op.name());
        let trace = Trace::outermost(inputs.iter().filter_map(|i| i.node.trace.as_ref()));
        let node = Node::new(op, inputs, avals, current_stream(), trace);
        Ok(Array { node, output: 0 })
    }

    /// All outputs of `op` applied to `inputs`, on the current stream.
    pub(crate) fn apply_all(op: impl Into<Primitive>, inputs: impl Operands) -> Result<Vec<Array>> {
        let (op, inputs): (Primitive, Inputs) = (op.into(), inputs.into_inputs());
        let avals = op.infer(&inputs)?;
        Ok(Array::outputs_of(op, inputs, avals).into_vec())
    }

    fn outputs_of(op: Primitive, inputs: Inputs, avals: Avals) -> SmallVec<[Array; 1]> {
        let trace = Trace::outermost(inputs.iter().filter_map(|i| i.node.trace.as_ref()));
        Array::node(op, inputs, avals, current_stream(), trace)
    }

    /// The outputs of a new node; `avals` must be what `op` infers for `inputs`.
    pub(crate) fn node(
        op: Primitive,
        inputs: Inputs,
        avals: Avals,
        stream: Stream,
        trace: Option<Arc<Trace>>,
    ) -> SmallVec<[Array; 1]> {
        let node = Node::new(op, inputs, avals, stream, trace);
        (0..node.outputs.len() as u32).map(|output| Array { node: node.clone(), output }).collect()
    }

    /// An array of `layout` over an existing buffer.
    ///
    /// # Errors
    /// Kind `Argument` if the layout reaches outside the buffer.
    pub fn from_buffer(buffer: Buffer, dtype: Dtype, layout: Layout) -> Result<Array> {
        if let Some((low, high)) = layout.extent() {
            let end = (high as usize).saturating_add(1).saturating_mul(dtype.size());
            if low < 0 || end > buffer.memory().size() {
                let message = format!(
                    "layout reaches byte {end} of a buffer of {} bytes",
                    buffer.memory().size()
                );
                return Err(Error::argument("from_buffer", message));
            }
        }
        let stream = Stream::default_of(buffer.memory().device());
        let value = Value { buffer, strides: layout.strides, offset: layout.offset };
        let output = Output::new(layout.shape, dtype, State::Ready(Box::new(value)));
        let node = Node {
            op: Primitive::Data,
            inputs: Mutex::default(),
            outputs: SmallVec::from_iter([output]),
            stream,
            trace: None,
            mark: AtomicU32::new(0),
        };
        Ok(Array { node: NodeRef::new(node), output: 0 })
    }

    /// A copy of `data` with the given shape, in row-major order.
    ///
    /// # Errors
    /// Kind `Shape` if the shape does not have as many elements as `data`.
    #[track_caller]
    pub fn from_slice<T: Element>(data: &[T], shape: &[usize]) -> Result<Array> {
        Array::from_bytes(bytemuck::cast_slice(data), T::DTYPE, shape)
    }

    /// A copy of the elements in `bytes` (native byte order, row-major).
    ///
    /// # Errors
    /// Kind `Shape` if the shape does not have as many bytes; `Argument` if a bool is not 0 or 1.
    #[track_caller]
    pub fn from_bytes(bytes: &[u8], dtype: Dtype, shape: &[usize]) -> Result<Array> {
        let len = checked_len("array", shape)?;
        if len * dtype.size() != bytes.len() {
            let message = format!(
                "{} elements of {dtype} do not fill shape {}, which has {len}",
                bytes.len() / dtype.size(),
                show(shape)
            );
            return Err(Error::shape("array", &[shape], message));
        }
        if dtype == Dtype::Bool && bytes.iter().any(|&b| b > 1) {
            return Err(Error::argument("array", "a bool element is neither 0 nor 1"));
        }
        let clock = Clock::start();
        let device = current_stream().device;
        let buffer = backend::get(device)?.upload(device, bytes)?;
        clock.record(Some(Location::caller()), || What::Upload { bytes: bytes.len() as u64 });
        Array::from_buffer(buffer, dtype, Layout::contiguous(shape))
    }

    /// A 0-d array.
    pub fn scalar<T: Element>(value: T) -> Array {
        Array::literal(Literal::new(value))
    }

    /// A 0-d array of a literal. It takes no memory until it is evaluated.
    pub fn literal(value: Literal) -> Array {
        let aval = Aval { shape: Shape::new(), dtype: value.dtype() };
        let (op, avals) = (Primitive::Scalar(value), Avals::from_buf([aval]));
        let node = Node::new(op, SmallVec::new(), avals, current_stream(), None);
        Array { node, output: 0 }
    }

    pub(crate) fn out(&self) -> &Output {
        &self.node.outputs[self.output as usize]
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.out().shape
    }

    /// The number of axes.
    pub fn ndim(&self) -> usize {
        self.shape().len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// True iff there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape().contains(&0)
    }

    /// The size along `axis`, which may count from the end.
    ///
    /// # Errors
    /// Kind `Axis` if there is no such axis.
    pub fn size(&self, axis: i64) -> Result<usize> {
        Ok(self.shape()[crate::shape::normalize_axis("size", axis, self.ndim())?])
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.out().dtype
    }

    /// The number of bytes of the elements.
    pub fn nbytes(&self) -> usize {
        self.len() * self.dtype().size()
    }

    /// The stream on which the array is computed.
    pub fn stream(&self) -> Stream {
        self.node.stream
    }

    /// The device on which the array is computed.
    pub fn device(&self) -> Device {
        self.node.stream.device
    }

    /// The shape and dtype.
    pub(crate) fn aval(&self) -> Aval {
        Aval { shape: self.shape().into(), dtype: self.dtype() }
    }

    /// True iff the array has data, so that reading it computes nothing.
    pub fn is_evaluated(&self) -> bool {
        self.out().is_ready()
    }

    /// True iff both handles name the same output of the same node.
    pub fn same(&self, other: &Array) -> bool {
        self.output == other.output && NodeRef::ptr_eq(&self.node, &other.node)
    }

    /// A number that tells this array from all others that are alive.
    pub fn id(&self) -> usize {
        self.node.address() + self.output as usize
    }

    /// Where the elements lie, after evaluation.
    #[track_caller]
    pub(crate) fn value(&self) -> Result<Value> {
        self.eval()?;
        self.out().value().ok_or_else(|| {
            let message = "the array's buffer was given to an evaluation that failed";
            Error::new(ErrorKind::Kernel, self.node.op.name(), message)
        })
    }

    /// The buffer and layout of the array, which is evaluated first.
    ///
    /// # Errors
    /// Those of evaluation.
    #[track_caller]
    pub fn buffer(&self) -> Result<(Buffer, Layout)> {
        let v = self.value()?;
        Ok((v.buffer, Layout { shape: self.shape().into(), strides: v.strides, offset: v.offset }))
    }

    /// The elements in row-major order, in host memory. The array is evaluated first. They are
    /// copied only if they lie on another device or in another order.
    ///
    /// # Errors
    /// Kind `Dtype` if the elements are not `T`; those of evaluation.
    #[track_caller]
    pub fn as_slice<T: Element>(&self) -> Result<HostSlice<T>> {
        if self.dtype() != T::DTYPE {
            let expected = format!("an array of {}, which was asked for", T::DTYPE);
            return Err(Error::dtype("as_slice", &[self.dtype()], expected));
        }
        let clock = Clock::start();
        let len = self.len();
        let (mut buffer, mut layout) = self.buffer()?;
        // Buffers of devices come whole, so that a small part of one is copied out first.
        let memory = buffer.memory();
        let part = memory.host_bytes().is_none() && 2 * self.nbytes() < memory.size();
        if part || !layout.is_contiguous() {
            (buffer, layout) = copy_contiguous(buffer, self.dtype(), layout)?.buffer()?;
        }
        if buffer.memory().host_bytes().is_none() {
            let device = buffer.memory().device();
            let bytes = backend::get(device)?.download(&buffer)?;
            buffer = backend::get(Device::CPU)?.upload(Device::CPU, &bytes)?;
        }
        let slice = HostSlice { buffer, start: layout.offset, len, element: PhantomData };
        slice.elements()?;
        clock.record(Some(Location::caller()), || What::Read { bytes: self.nbytes() as u64 });
        Ok(slice)
    }

    /// A copy of the elements in row-major order; the array is evaluated first.
    ///
    /// # Errors
    /// As [`Array::as_slice`].
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        Ok(self.as_slice()?.to_vec())
    }

    /// The value of an array of one element, which is evaluated first.
    ///
    /// # Errors
    /// Kind `Shape` if there is not exactly one element, `Dtype` if it is not a `T`.
    #[track_caller]
    pub fn item<T: Element>(&self) -> Result<T> {
        if self.len() != 1 {
            let message =
                format!("shape {} has {} elements, not one", show(self.shape()), self.len());
            return Err(Error::shape("item", &[self.shape()], message));
        }
        Ok(self.as_slice::<T>()?[0])
    }
}

impl std::fmt::Debug for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let op = self.node.op.name();
        write!(f, "Array({}, {}, {op})", show(self.shape()), self.dtype())
    }
}

/// The elements of an array, borrowed from its buffer. It keeps the buffer alive.
pub struct HostSlice<T> {
    buffer: Buffer,
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> HostSlice<T> {
    fn elements(&self) -> Result<&[T]> {
        let bytes = self.buffer.memory().host_bytes().unwrap_or_default();
        let size = size_of::<T>();
        let range = self.start * size..(self.start + self.len) * size;
        bytes
            .get(range)
            .and_then(|b| bytemuck::checked::try_cast_slice(b).ok())
            .ok_or_else(|| Error::new(ErrorKind::Kernel, "as_slice", "elements are not valid"))
    }
}

impl<T: Element> std::ops::Deref for HostSlice<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // Checked once when the slice was made; an unshared buffer does not change afterwards.
        self.elements().unwrap_or_default()
    }
}
