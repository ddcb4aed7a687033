//! Python values as arrays and back: scalars, nested lists, and everything with a buffer.

use crate::array::PyArray;
use crate::buffer::{self, HostArray};
use crate::dlpack;
use crate::dtype::integer_range;
use crate::errors::{Answer, Fault, type_error, value_error};
use crate::trees::Level;
use half::{bf16, f16};
use lazulite::{Array, Category, Complex32, Dtype, Element, Literal, with_element};
use pyo3::exceptions::PyOverflowError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyFloat, PyInt, PyList, PyString, PyTuple};
use smallvec::SmallVec;
use std::cell::Cell;

/// A bare Python number. It is weak: it takes the dtype of the array beside it, unless its
/// category is higher.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Complex(Complex32),
}

impl Scalar {
    /// The number in `obj`, if it is one of Python's.
    pub fn of(obj: &Bound<'_, PyAny>) -> Answer<Option<Scalar>> {
        Ok(Some(if let Ok(x) = obj.cast::<PyFloat>() {
            Scalar::Float(x.value())
        } else if let Ok(x) = obj.cast::<PyBool>() {
            Scalar::Bool(x.is_true())
        } else if obj.is_instance_of::<PyInt>() {
            match obj.extract::<i64>() {
                Ok(x) => Scalar::Int(x),
                Err(_) => {
                    let message = "a Python integer does not fit into 64 bits";
                    return Err(PyOverflowError::new_err(message).into());
                }
            }
        } else if let Ok(x) = obj.cast::<PyComplex>() {
            Scalar::Complex(Complex32::new(x.real() as f32, x.imag() as f32))
        } else {
            return Ok(None);
        }))
    }

    /// The dtype that the number has on its own.
    pub fn dtype(self) -> Dtype {
        match self {
            Scalar::Bool(_) => Dtype::Bool,
            Scalar::Int(x) if i32::try_from(x).is_ok() => Dtype::I32,
            Scalar::Int(_) => Dtype::I64,
            Scalar::Float(_) => Dtype::F32,
            Scalar::Complex(_) => Dtype::C64,
        }
    }

    fn category(self) -> Category {
        self.dtype().category()
    }

    /// The number as a literal of `dtype`.
    pub fn literal(self, dtype: Dtype) -> Literal {
        match self {
            Scalar::Bool(x) => Literal::new(x).cast(dtype),
            Scalar::Int(x) => Literal::from_i64(x, dtype),
            Scalar::Float(x) => Literal::from_f64(x, dtype),
            Scalar::Complex(x) => Literal::new(x).cast(dtype),
        }
    }

    /// The number as a literal of `dtype`; a ValueError if it is an integer that `dtype` does not have.
    pub fn fit(self, dtype: Dtype) -> Answer<Literal> {
        if let (Scalar::Int(x), Some((min, max))) = (self, integer_range(dtype))
            && !(min..=max).contains(&i128::from(x))
        {
            let message = format!("Converting {x} to {dtype} would result in overflow.");
            return Err(value_error(message));
        }
        Ok(self.literal(dtype))
    }

    /// The number beside an array of `other`.
    pub fn beside(self, other: Dtype) -> Answer<Array> {
        Ok(Array::literal(self.fit(other.promote_weak(self.category()))?))
    }
}

/// An argument that may be an array, a number, or anything that holds array data.
#[derive(Clone, Debug)]
pub enum Operand {
    Array(Array),
    Scalar(Scalar),
    /// Data of another library, NumPy's numbers among them. Beside an array it is as weak as a
    /// number.
    Foreign(Array),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Operand {
    type Error = PyErr;

    fn extract(obj: Borrowed<'a, 'py, PyAny>) -> PyResult<Operand> {
        Ok(Operand::of(&obj)?)
    }
}

impl Operand {
    pub fn of(obj: &Bound<'_, PyAny>) -> Answer<Operand> {
        if let Ok(array) = obj.cast::<PyArray>() {
            return Ok(Operand::Array(array.get().array()));
        }
        if let Some(scalar) = Scalar::of(obj)? {
            return Ok(Operand::Scalar(scalar));
        }
        if obj.is_none() {
            return Err(type_error("expected an array or a number, got None"));
        }
        Ok(Operand::Foreign(foreign(obj)?.ok_or_else(|| invalid(obj))?))
    }

    /// The array; a number gets the dtype that it has on its own.
    pub fn array(self) -> Array {
        match self {
            Operand::Array(array) | Operand::Foreign(array) => array,
            Operand::Scalar(scalar) => Array::literal(scalar.literal(scalar.dtype())),
        }
    }

    /// The array; a number, or what another library holds, gets its dtype from `other`, unless
    /// its category is higher.
    pub fn beside(self, other: Dtype) -> Answer<Array> {
        match self {
            Operand::Array(array) => Ok(array),
            Operand::Scalar(scalar) => scalar.beside(other),
            Operand::Foreign(array) if other.promote_weak(array.dtype().category()) == other => {
                Ok(array.astype(other)?)
            }
            Operand::Foreign(array) => Ok(array),
        }
    }

    /// Two operands of one operation as arrays.
    pub fn pair(a: Operand, b: Operand) -> Answer<(Array, Array)> {
        match (a, b) {
            (Operand::Array(a), b) => {
                let b = b.beside(a.dtype())?;
                Ok((a, b))
            }
            (a, Operand::Array(b)) => Ok((a.beside(b.dtype())?, b)),
            (a, b) => Ok((a.array(), b.array())),
        }
    }
}

/// An argument that must be an array, or something that holds array data.
#[derive(Clone)]
pub struct Arr(pub Array);

impl<'a, 'py> FromPyObject<'a, 'py> for Arr {
    type Error = PyErr;

    fn extract(obj: Borrowed<'a, 'py, PyAny>) -> PyResult<Arr> {
        Ok(Arr::of(&obj)?)
    }
}

impl Arr {
    pub fn of(obj: &Bound<'_, PyAny>) -> Answer<Arr> {
        if let Ok(array) = obj.cast::<PyArray>() {
            return Ok(Arr(array.get().array()));
        }
        let refuse = || type_error(format!("expected an array, got {}", type_name(obj)));
        if is_sequence(obj) || obj.is_none() || Scalar::of(obj)?.is_some() {
            return Err(refuse());
        }
        Ok(Arr(foreign(obj)?.ok_or_else(refuse)?))
    }
}

/// The name of the object's type.
pub fn type_name(obj: &Bound<'_, PyAny>) -> String {
    obj.get_type().name().map_or_else(|_| "object".into(), |n| n.to_string())
}

fn invalid(obj: &Bound<'_, PyAny>) -> Fault {
    value_error(format!("Invalid type {} received in array initialization.", type_name(obj)))
}

fn is_sequence(obj: &Bound<'_, PyAny>) -> bool {
    obj.is_instance_of::<PyList>() || obj.is_instance_of::<PyTuple>()
}

/// The data of an object of another library, if it has any.
fn foreign(obj: &Bound<'_, PyAny>) -> Answer<Option<Array>> {
    let py = obj.py();
    if is_sequence(obj) || obj.is_instance_of::<PyString>() || obj.is_instance_of::<PyBytes>() {
        return Ok(None);
    }
    if obj.hasattr(intern!(py, "__mlx_array__"))? {
        let array = obj.call_method0(intern!(py, "__mlx_array__"))?;
        return Ok(Some(array.cast::<PyArray>()?.get().array()));
    }
    if let Some(host) = buffer::read(obj)? {
        return Ok(Some(host.into_array()?));
    }
    if obj.hasattr(intern!(py, "__dlpack__"))? {
        return Ok(Some(dlpack::import(obj, None)?));
    }
    if obj.hasattr(intern!(py, "__array__"))? {
        let array = obj.call_method0(intern!(py, "__array__"))?;
        return buffer::read(&array)?.map(HostArray::into_array).transpose();
    }
    Ok(None)
}

/// What `mx.array(value, dtype)` makes.
pub fn array_from(value: &Bound<'_, PyAny>, dtype: Option<Dtype>) -> Answer<Array> {
    if let Ok(array) = value.cast::<PyArray>() {
        let array = array.get().array();
        return Ok(dtype.map_or_else(|| Ok(array.clone()), |d| array.astype(d))?);
    }
    if let Some(scalar) = Scalar::of(value)? {
        return Ok(Array::literal(scalar.literal(dtype.unwrap_or_else(|| scalar.dtype()))));
    }
    if is_sequence(value) {
        return nested(value, dtype);
    }
    // Alone they are a buffer like others; as an operand or an item of a list they are text.
    if value.is_instance_of::<PyBytes>()
        && let Some(host) = buffer::read(value)?
    {
        let array = host.into_array()?;
        return Ok(dtype.map_or_else(|| Ok(array.clone()), |d| array.astype(d))?);
    }
    if value.is_none() {
        return Err(type_error("array(): expected a number, a sequence or an array, got None"));
    }
    if let Some(wide) = dtype
        && (wide == Dtype::F64 || wide.is_integer())
        && let Some(host) = buffer::read_wide(value)?
    {
        return Ok(host.into_array()?.astype(wide)?);
    }
    let array = foreign(value)?.ok_or_else(|| invalid(value))?;
    Ok(dtype.map_or_else(|| Ok(array.clone()), |d| array.astype(d))?)
}

/// The leaves of nested lists in row-major order.
#[derive(Default)]
struct Flat<'py> {
    shape: SmallVec<[usize; 4]>,
    /// True once a leaf was met: the depth is known.
    settled: bool,
    numbers: Vec<Scalar>,
    /// Leaves that are no numbers, each with its place among all leaves.
    objects: Vec<(usize, Bound<'py, PyAny>)>,
    /// The dtype that the numbers have together.
    dtype: Option<Dtype>,
}

impl<'py> Flat<'py> {
    fn walk(&mut self, obj: &Bound<'py, PyAny>, depth: usize) -> Answer<()> {
        let _level = Level::enter()?;
        if let Ok(list) = obj.cast::<PyList>() {
            self.enter(list.len(), depth)?;
            return list.iter().try_for_each(|item| self.walk(&item, depth + 1));
        }
        if let Ok(tuple) = obj.cast::<PyTuple>() {
            self.enter(tuple.len(), depth)?;
            return tuple.iter().try_for_each(|item| self.walk(&item, depth + 1));
        }
        if self.settled && self.shape.len() != depth {
            return Err(ragged());
        }
        self.settled = true;
        match Scalar::of(obj)? {
            Some(number) => {
                let dtype = number.dtype();
                if self.dtype != Some(dtype) {
                    self.dtype = Some(self.dtype.map_or(dtype, |d| d.promote(dtype)));
                }
                self.numbers.push(number);
            }
            None => self.objects.push((self.numbers.len() + self.objects.len(), obj.clone())),
        }
        Ok(())
    }

    fn enter(&mut self, len: usize, depth: usize) -> Answer<()> {
        match self.shape.get(depth) {
            Some(&n) if n == len => Ok(()),
            None if !self.settled && self.shape.len() == depth => {
                self.shape.push(len);
                self.settled |= len == 0;
                Ok(())
            }
            Some(n) => {
                Err(value_error(format!("{RAGGED}: {n} and {len} elements along axis {depth}.")))
            }
            None => Err(ragged()),
        }
    }
}

const RAGGED: &str = "Initialization encountered non-uniform length";

fn ragged() -> Fault {
    value_error(format!("{RAGGED}."))
}

fn nested(value: &Bound<'_, PyAny>, dtype: Option<Dtype>) -> Answer<Array> {
    let mut flat = Flat::default();
    flat.walk(value, 0)?;
    let shape = &flat.shape;
    if !flat.objects.is_empty() {
        return join(&flat, dtype);
    }
    let dtype = dtype.or(flat.dtype).unwrap_or(Dtype::F32);
    let n = &flat.numbers;
    Ok(match dtype {
        Dtype::F32 => collect(n, shape, |s| s.real() as f32)?,
        Dtype::I32 => collect(n, shape, |s| s.integer() as i32)?,
        Dtype::I64 => collect(n, shape, Scalar::integer)?,
        Dtype::Bool => {
            collect(n, shape, |s| s.real() != 0.0 || s.literal(Dtype::Bool).to_i64() != 0)?
        }
        Dtype::F64 => collect(n, shape, Scalar::real)?,
        Dtype::F16 => collect(n, shape, |s| f16::from_f64(s.real()))?,
        Dtype::BF16 => collect(n, shape, |s| bf16::from_f64(s.real()))?,
        Dtype::U8 => collect(n, shape, |s| s.integer() as u8)?,
        Dtype::U16 => collect(n, shape, |s| s.integer() as u16)?,
        Dtype::U32 => collect(n, shape, |s| s.integer() as u32)?,
        Dtype::U64 => collect(n, shape, |s| s.integer() as u64)?,
        Dtype::I8 => collect(n, shape, |s| s.integer() as i8)?,
        Dtype::I16 => collect(n, shape, |s| s.integer() as i16)?,
        Dtype::C64 => collect(n, shape, |s| match s {
            Scalar::Complex(z) => z,
            s => Complex32::new(s.real() as f32, 0.0),
        })?,
    })
}

impl Scalar {
    fn real(self) -> f64 {
        match self {
            Scalar::Bool(x) => f64::from(u8::from(x)),
            Scalar::Int(x) => x as f64,
            Scalar::Float(x) => x,
            Scalar::Complex(z) => f64::from(z.re),
        }
    }

    fn integer(self) -> i64 {
        match self {
            Scalar::Bool(x) => i64::from(x),
            Scalar::Int(x) => x,
            Scalar::Float(x) => x as i64,
            Scalar::Complex(z) => z.re as i64,
        }
    }
}

fn collect<T: Element>(n: &[Scalar], shape: &[usize], f: impl Fn(Scalar) -> T) -> Answer<Array> {
    let elements: Vec<T> = n.iter().map(|&s| f(s)).collect();
    Ok(Array::from_slice(&elements, shape)?)
}

/// Leaves, some of which are arrays or hold array data, as one array with leading axes.
fn join(flat: &Flat<'_>, dtype: Option<Dtype>) -> Answer<Array> {
    let shape = &flat.shape;
    if let Some((bytes, d, inner)) = gather_bytes(flat)? {
        let array = Array::from_bytes(&bytes, d, &[shape, &inner[..]].concat())?;
        return Ok(array.astype(dtype.unwrap_or(d))?);
    }
    let mut numbers = flat.numbers.iter();
    let mut arrays: Vec<Array> = Vec::with_capacity(flat.numbers.len() + flat.objects.len());
    let number = |s: &Scalar| Array::literal(s.literal(s.dtype()));
    for (place, object) in &flat.objects {
        while arrays.len() < *place
            && let Some(s) = numbers.next()
        {
            arrays.push(number(s));
        }
        arrays.push(Operand::of(object)?.array());
    }
    arrays.extend(numbers.map(number));
    let inner = arrays[0].shape().to_vec();
    if arrays.iter().any(|a| a.shape() != inner) {
        return Err(ragged());
    }
    let stacked = Array::stack(&arrays, 0)?.reshape(&[shape, &inner[..]].concat())?;
    Ok(dtype.map_or_else(|| Ok(stacked.clone()), |d| stacked.astype(d))?)
}

/// Bytes of elements, their dtype, and the shape.
type Elements = (Vec<u8>, Dtype, Vec<usize>);

/// The bytes of all leaves one after another, if they are host arrays of one dtype and shape.
fn gather_bytes(flat: &Flat<'_>) -> Answer<Option<Elements>> {
    if !flat.numbers.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let mut form: Option<(Dtype, Vec<usize>)> = None;
    for (_, object) in &flat.objects {
        if object.is_instance_of::<PyArray>() || object.is_instance_of::<PyBytes>() {
            return Ok(None);
        }
        let Some(host) = buffer::read(object)? else { return Ok(None) };
        match &form {
            None => {
                bytes.reserve_exact(host.bytes().len() * flat.objects.len());
                form = Some((host.dtype, host.shape.clone()));
            }
            Some((d, s)) if *d == host.dtype && *s == host.shape => {}
            Some(_) => return Ok(None),
        }
        bytes.extend_from_slice(host.bytes());
    }
    Ok(form.map(|(dtype, shape)| (bytes, dtype, shape)))
}

/// An element as a Python number.
pub trait ToPython: Element {
    fn to_python(self, py: Python<'_>) -> Py<PyAny>;
}

macro_rules! to_python {
    ($($T:ty: |$x:ident| $value:expr),* $(,)?) => {$(
        impl ToPython for $T {
            fn to_python(self, py: Python<'_>) -> Py<PyAny> {
                let $x = self;
                match $value.into_pyobject(py) {
                    Ok(number) => number.to_owned().into_any().unbind(),
                    Err(never) => match never {},
                }
            }
        }
    )*};
}
to_python! {
    bool: |x| x, u8: |x| x, u16: |x| x, u32: |x| x, u64: |x| x,
    i8: |x| x, i16: |x| x, i32: |x| x, i64: |x| x,
    f16: |x| x.to_f64(), bf16: |x| x.to_f64(), f32: |x| f64::from(x), f64: |x| x,
}

impl ToPython for Complex32 {
    fn to_python(self, py: Python<'_>) -> Py<PyAny> {
        PyComplex::from_doubles(py, f64::from(self.re), f64::from(self.im)).into_any().unbind()
    }
}

/// The only element as a Python number.
pub fn item(py: Python<'_>, array: &Array) -> Answer<Py<PyAny>> {
    if array.len() != 1 {
        let shape = lazulite::shape::show(array.shape());
        return Err(value_error(format!(
            "[convert] Only length-1 arrays can be converted to Python scalars, got shape {shape}."
        )));
    }
    evaluate(py, std::slice::from_ref(array))?;
    with_element!(array.dtype(), T => Ok(array.item::<T>()?.to_python(py)))
}

/// The elements as nested lists.
pub fn to_list(py: Python<'_>, array: &Array) -> Answer<Py<PyAny>> {
    evaluate(py, std::slice::from_ref(array))?;
    with_element!(array.dtype(), T => {
        let elements = array.as_slice::<T>()?;
        lists(py, &elements, array.shape())
    })
}

fn lists<T: ToPython>(py: Python<'_>, elements: &[T], shape: &[usize]) -> Answer<Py<PyAny>> {
    let Some((&n, inner)) = shape.split_first() else { return Ok(elements[0].to_python(py)) };
    if inner.is_empty() {
        let numbers = elements.iter().map(|x| x.to_python(py));
        return Ok(PyList::new(py, numbers.collect::<Vec<_>>())?.into_any().unbind());
    }
    let step: usize = inner.iter().product();
    let rows = (0..n).map(|i| lists(py, &elements[i * step..(i + 1) * step], inner));
    Ok(PyList::new(py, rows.collect::<Answer<Vec<_>>>()?)?.into_any().unbind())
}

thread_local! {
    /// What a signal handler raised during an evaluation.
    static INTERRUPTED: Cell<Option<PyErr>> = const { Cell::new(None) };
}

/// Runs the handlers of signals that came; true if one raised, as that of Ctrl-C does.
fn interrupted() -> bool {
    let raised = Python::attach(|py| py.check_signals().err());
    let stop = raised.is_some();
    if stop {
        INTERRUPTED.set(raised);
    }
    stop
}

/// Computes arrays without holding up other Python threads. A signal handler that raises ends the
/// evaluation, after which the arrays are lazy again.
pub fn evaluate(py: Python<'_>, arrays: &[Array]) -> Answer<()> {
    if arrays.iter().all(Array::is_evaluated) {
        return Ok(());
    }
    let run = || lazulite::eval::interruptible(interrupted, || lazulite::eval::eval(arrays));
    let done = py.detach(run);
    if let Some(raised) = INTERRUPTED.take() {
        return Err(raised.into());
    }
    py.check_signals()?;
    Ok(done?)
}

/// An axis argument that may be one axis, several, or none.
pub struct Axes(SmallVec<[i64; 4]>);

impl std::ops::Deref for Axes {
    type Target = [i64];
    fn deref(&self) -> &[i64] {
        &self.0
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Axes {
    type Error = PyErr;

    fn extract(obj: Borrowed<'a, 'py, PyAny>) -> PyResult<Axes> {
        // The usual one first: asking a tuple for an integer makes an error, which takes longer.
        if let Ok(tuple) = obj.cast::<PyTuple>() {
            return Ok(Axes(tuple.iter_borrowed().map(|x| x.extract()).collect::<PyResult<_>>()?));
        }
        if let Ok(axis) = obj.extract::<i64>() {
            return Ok(Axes(SmallVec::from_slice(&[axis])));
        }
        let items = sequence(&obj).map_err(|_| {
            let message = "expected an integer or a sequence of integers";
            type_error(format!("{message}, got {}", type_name(&obj)))
        })?;
        Ok(Axes(items.iter().map(|x| x.extract()).collect::<PyResult<_>>()?))
    }
}

/// `FromPyObject` for an enum of one field a variant. The variants are tried in order; the error
/// says what was expected in the words that are given.
macro_rules! extract_one_of {
    ($Type:ident $(<$py:lifetime>)?, $expected:literal: $($Variant:ident),+) => {
        impl<'a, 'py> pyo3::FromPyObject<'a, 'py> for $Type $(<$py>)? {
            type Error = pyo3::PyErr;

            fn extract(obj: pyo3::Borrowed<'a, 'py, pyo3::PyAny>) -> pyo3::PyResult<Self> {
                $(if let Ok(value) = obj.extract() {
                    return Ok($Type::$Variant(value));
                })+
                let got = $crate::convert::type_name(&obj);
                let message = format!(concat!("expected ", $expected, ", got {}"), got);
                Err($crate::errors::type_error(message).into())
            }
        }
    };
}
pub(crate) use extract_one_of;

/// The items of a list or tuple; a `TypeError` for anything else.
pub fn sequence<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = obj.cast::<PyList>() {
        Ok(list.iter().collect())
    } else if let Ok(tuple) = obj.cast::<PyTuple>() {
        Ok(tuple.iter().collect())
    } else {
        let message = format!("expected a sequence, got {}", type_name(obj));
        Err(type_error(message).into())
    }
}

/// The signed sizes of a shape argument: one integer or a sequence of them.
pub struct Sizes(pub SmallVec<[i64; 4]>);

impl<'a, 'py> FromPyObject<'a, 'py> for Sizes {
    type Error = PyErr;

    fn extract(obj: Borrowed<'a, 'py, PyAny>) -> PyResult<Sizes> {
        Ok(Sizes(obj.extract::<Axes>()?.0))
    }
}

impl Sizes {
    /// The sizes; an error if one is negative.
    pub fn shape(&self, op: &str) -> Answer<SmallVec<[usize; 4]>> {
        let size = |&n: &i64| {
            let negative = |_| format!("[{op}] Negative dimensions not allowed, got {n}.");
            usize::try_from(n).map_err(|e| value_error(negative(e)))
        };
        self.0.iter().map(size).collect()
    }
}

/// A number of things: an integer of any size, checked where the op is known that asks for it.
pub struct Count(Result<u64, String>);

impl<'a, 'py> FromPyObject<'a, 'py> for Count {
    type Error = PyErr;

    fn extract(obj: Borrowed<'a, 'py, PyAny>) -> PyResult<Count> {
        match obj.extract::<u64>() {
            Ok(n) => Ok(Count(Ok(n))),
            Err(e) if e.is_instance_of::<PyOverflowError>(obj.py()) => {
                Ok(Count(Err(obj.str()?.to_string())))
            }
            Err(e) => Err(e),
        }
    }
}

impl Count {
    /// The default of an argument.
    pub const fn new(n: u64) -> Count {
        Count(Ok(n))
    }

    /// The number; an error if it is negative or too large.
    pub fn of(self, op: &str, argument: &str) -> Answer<u64> {
        let why = "it must be an integer from 0 to 2^64 - 1";
        self.0.map_err(|n| value_error(format!("[{op}] {argument} is {n}; {why}")))
    }

    /// As [`Count::of`], for what is counted in memory.
    pub fn size(self, op: &str, argument: &str) -> Answer<usize> {
        Ok(self.of(op, argument)? as usize)
    }
}

/// [`Count::size`] of an argument that may be left out.
pub fn optional_size(count: Option<Count>, op: &str, argument: &str) -> Answer<Option<usize>> {
    count.map(|n| n.size(op, argument)).transpose()
}
