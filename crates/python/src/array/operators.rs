//! Operators and comparisons of arrays: one row of the tables each.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "code of PyO3, which counts as ours where a table makes the methods"
)]

use super::{PyArray, wrap};
use crate::convert::{Operand, Scalar, type_name};
use crate::errors::{Answer, type_error, value_error};
use lazulite::{Array, Dtype, Result};
use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyString, PyTuple};

/// What an operator computes.
type Op = fn(&Array, &Array) -> Result<Array>;

/// Which of the two operands the array with the method is.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

impl PyArray {
    /// The other operand; `None` if it has no meaning beside an array.
    fn operand(&self, other: &Bound<'_, PyAny>, what: &str) -> Answer<Option<Operand>> {
        if let Ok(array) = other.cast::<PyArray>() {
            return Ok(Some(Operand::Array(array.get().array())));
        }
        if let Some(scalar) = Scalar::of(other)? {
            return Ok(Some(Operand::Scalar(scalar)));
        }
        let text = other.is_instance_of::<PyString>();
        if text || other.is_instance_of::<PyList>() || other.is_instance_of::<PyTuple>() {
            let name = type_name(other);
            let message = format!("Cannot perform {what} on an mlx.core.array and {name}");
            return Err(value_error(message));
        }
        Ok(Operand::of(other).ok())
    }

    /// `op` of the array and the other operand, or `None` if that has no meaning.
    fn with(
        &self,
        other: &Bound<'_, PyAny>,
        what: &str,
        op: Op,
        side: Side,
    ) -> Answer<Option<Array>> {
        let Some(other) = self.operand(other, what)? else { return Ok(None) };
        let array = self.array();
        let other = other.beside(array.dtype())?;
        Ok(Some(match side {
            Side::Left => op(&array, &other)?,
            Side::Right => op(&other, &array)?,
        }))
    }

    fn operator(
        &self,
        other: &Bound<'_, PyAny>,
        what: &str,
        op: Op,
        side: Side,
    ) -> Answer<Py<PyAny>> {
        let py = other.py();
        match self.with(other, what, op, side)? {
            Some(array) => Ok(Py::new(py, PyArray::from(array))?.into_any()),
            None => Ok(py.NotImplemented()),
        }
    }

    fn in_place(&self, other: &Bound<'_, PyAny>, what: &str, op: Op) -> Answer<()> {
        let Some(array) = self.with(other, what, op, Side::Left)? else {
            let name = type_name(other);
            return Err(type_error(format!("unsupported operand for in-place {what}: {name}")));
        };
        if what == "division" && !self.array().dtype().is_inexact() {
            let dtype = self.array().dtype();
            let text = format!("in-place division: {dtype} cannot hold the quotient; use a / b");
            return Err(value_error(text));
        }
        self.set(array);
        Ok(())
    }

    /// `==` and `!=`, which have an answer for every object.
    fn equality(&self, other: &Bound<'_, PyAny>, otherwise: bool, op: Op) -> Answer<Py<PyAny>> {
        let py = other.py();
        match self.operand(other, "equality") {
            Ok(Some(other)) => {
                let array = self.array();
                let other = other.beside(array.dtype())?;
                Ok(Py::new(py, wrap(op(&array, &other))?)?.into_any())
            }
            _ => Ok(PyBool::new(py, otherwise).to_owned().into_any().unbind()),
        }
    }
}

/// Operators with a reflected and an in-place form.
macro_rules! operators {
    ($($name:ident $reflected:ident $in_place:ident: $op:ident, $what:literal;)*) => {
        #[pymethods]
        impl PyArray {$(
            fn $name(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
                self.operator(other, $what, Array::$op, Side::Left)
            }

            fn $reflected(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
                self.operator(other, $what, Array::$op, Side::Right)
            }

            fn $in_place(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
                self.in_place(other, $what, Array::$op)
            }
        )*}
    };
}
operators! {
    __add__ __radd__ __iadd__: add, "addition";
    __sub__ __rsub__ __isub__: subtract, "subtraction";
    __mul__ __rmul__ __imul__: multiply, "multiplication";
    __truediv__ __rtruediv__ __itruediv__: divide, "division";
    __floordiv__ __rfloordiv__ __ifloordiv__: floor_divide, "floor division";
    __mod__ __rmod__ __imod__: remainder, "modulus";
    __and__ __rand__ __iand__: bitwise_and, "bitwise and";
    __or__ __ror__ __ior__: bitwise_or, "bitwise or";
    __xor__ __rxor__ __ixor__: bitwise_xor, "bitwise xor";
    __lshift__ __rlshift__ __ilshift__: left_shift, "left shift";
    __rshift__ __rrshift__ __irshift__: right_shift, "right shift";
}

#[pymethods]
impl PyArray {
    fn __richcmp__(&self, other: &Bound<'_, PyAny>, compare: CompareOp) -> Answer<Py<PyAny>> {
        let (what, op): (&str, Op) = match compare {
            CompareOp::Eq => return self.equality(other, false, Array::equal),
            CompareOp::Ne => return self.equality(other, true, Array::not_equal),
            CompareOp::Lt => ("less than", Array::less),
            CompareOp::Le => ("less than or equal", Array::less_equal),
            CompareOp::Gt => ("greater than", Array::greater),
            CompareOp::Ge => ("greater than or equal", Array::greater_equal),
        };
        self.operator(other, what, op, Side::Left)
    }

    // A class that defines `==` is not hashable unless it says so; arrays hash by identity.
    fn __hash__(slf: &Bound<'_, Self>) -> isize {
        (slf.as_ptr() as isize) >> 4
    }

    // Python 2's names of the division, which MLX's class still has.
    fn __div__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.operator(other, "division", Array::divide, Side::Left)
    }

    fn __rdiv__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        self.operator(other, "division", Array::divide, Side::Right)
    }

    fn __pow__(
        &self,
        other: &Bound<'_, PyAny>,
        modulo: Option<&Bound<'_, PyAny>>,
    ) -> Answer<Py<PyAny>> {
        match modulo {
            None => self.operator(other, "power", Array::power, Side::Left),
            Some(_) => Ok(other.py().NotImplemented()),
        }
    }

    fn __rpow__(
        &self,
        other: &Bound<'_, PyAny>,
        modulo: Option<&Bound<'_, PyAny>>,
    ) -> Answer<Py<PyAny>> {
        match modulo {
            None => self.operator(other, "power", Array::power, Side::Right),
            Some(_) => Ok(other.py().NotImplemented()),
        }
    }

    fn __ipow__(&self, other: &Bound<'_, PyAny>, modulo: Option<&Bound<'_, PyAny>>) -> Answer<()> {
        let _ = modulo;
        self.in_place(other, "power", Array::power)
    }

    fn __matmul__(&self, other: &Bound<'_, PyAny>) -> Answer<Py<PyAny>> {
        match other.cast::<PyArray>() {
            Ok(_) => self.operator(other, "matrix multiplication", Array::matmul, Side::Left),
            Err(_) => Ok(other.py().NotImplemented()),
        }
    }

    fn __imatmul__(&self, other: &Bound<'_, PyAny>) -> Answer<()> {
        self.in_place(other, "matrix multiplication", Array::matmul)
    }

    fn __neg__(&self) -> Answer<PyArray> {
        wrap(self.array().negative())
    }

    fn __pos__(&self) -> PyArray {
        self.array().into()
    }

    fn __abs__(&self) -> Answer<PyArray> {
        wrap(self.array().abs())
    }

    fn __invert__(&self) -> Answer<PyArray> {
        let array = self.array();
        let boolean = array.dtype() == Dtype::Bool;
        wrap(if boolean { array.logical_not() } else { array.bitwise_invert() })
    }
}
