//! The one error type: kinds by fault, typed fields, one word wide.

use crate::dtype::Dtype;
use std::borrow::Cow;
use std::fmt;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of fault an [`Error`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes that do not fit each other or the op.
    Shape,
    /// An element type that the op does not take.
    Dtype,
    /// An axis or an index out of range.
    Axis,
    /// Any other argument that is out of its domain.
    Argument,
    /// A request that is well formed but not supported.
    Unsupported,
    /// A value was needed while a function was being traced.
    Trace,
    /// The device, or a library that it needs, is not there.
    BackendUnavailable,
    /// An allocation was refused.
    OutOfMemory,
    /// A kernel failed while it ran.
    Kernel,
    /// A file could not be read or written, or is not valid.
    Io,
}

/// Why a call failed: the op, the kind of fault, and the shapes and types that it met.
///
/// The text names the op, what is wrong, what was got and what would be right. Values of this
/// type are one pointer wide and cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Detail>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Detail {
    kind: ErrorKind,
    op: Cow<'static, str>,
    message: String,
    shapes: Vec<Vec<usize>>,
    dtypes: Vec<Dtype>,
    axis: Option<i64>,
}

impl Error {
    /// An error of any kind; `message` says what is wrong, what was got and what would be right.
    pub fn new(
        kind: ErrorKind,
        op: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Error {
        Error(Box::new(Detail {
            kind,
            op: op.into(),
            message: message.into(),
            shapes: Vec::new(),
            dtypes: Vec::new(),
            axis: None,
        }))
    }

    /// Shapes that do not fit.
    pub fn shape(op: &'static str, shapes: &[&[usize]], message: impl Into<String>) -> Error {
        let mut error = Error::new(ErrorKind::Shape, op, message);
        error.0.shapes = shapes.iter().map(|s| s.to_vec()).collect();
        error
    }

    /// A type that the op does not take; `expected` says which it does.
    pub fn dtype(op: &'static str, dtypes: &[Dtype], expected: impl fmt::Display) -> Error {
        let names: Vec<_> = dtypes.iter().map(|d| d.name()).collect();
        let message = format!("got {}, expected {expected}", names.join(" and "));
        let mut error = Error::new(ErrorKind::Dtype, op, message);
        error.0.dtypes = dtypes.to_vec();
        error
    }

    /// An axis out of range for an array of `ndim` axes.
    pub fn axis(op: &'static str, axis: i64, ndim: usize) -> Error {
        let n = ndim as i64;
        let range = if ndim == 0 {
            "a 0-d array has no axes".to_string()
        } else {
            format!("valid axes are {} to {}", -n, n - 1)
        };
        let message = format!("axis {axis} is out of range for {ndim} axes; {range}");
        let mut error = Error::new(ErrorKind::Axis, op, message);
        error.0.axis = Some(axis);
        error
    }

    /// An index out of range along an axis of `size` elements.
    pub fn index(op: &'static str, index: i64, axis: i64, size: usize) -> Error {
        let n = size as i64;
        let range = if size == 0 {
            "the axis is empty".to_string()
        } else {
            format!("valid indices are {} to {}", -n, n - 1)
        };
        let message =
            format!("index {index} is out of range for axis {axis} of size {size}; {range}");
        let mut error = Error::new(ErrorKind::Axis, op, message);
        error.0.axis = Some(axis);
        error
    }

    /// An argument out of its domain.
    pub fn argument(op: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Argument, op, message)
    }

    /// A well-formed request that is not supported.
    pub fn unsupported(op: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, op, message)
    }

    /// A file that could not be read or written, or is not valid; `what` names the file.
    pub fn io(op: &'static str, what: impl fmt::Display, why: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Io, op, format!("{what}: {why}"))
    }

    /// The kind of fault.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The op that failed.
    pub fn op(&self) -> &str {
        &self.0.op
    }

    /// The text without the op's name.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The shapes that the op met, if the fault is about shapes.
    pub fn shapes(&self) -> &[Vec<usize>] {
        &self.0.shapes
    }

    /// The types that the op met, if the fault is about types.
    pub fn dtypes(&self) -> &[Dtype] {
        &self.0.dtypes
    }

    /// The axis at fault, if the fault is about one.
    pub fn axis_at_fault(&self) -> Option<i64> {
        self.0.axis
    }

    /// The same error as one of `op`, which is made of the op that found the fault.
    #[must_use]
    pub(crate) fn of(mut self, op: &'static str) -> Error {
        self.0.op = Cow::Borrowed(op);
        self
    }

    /// The same error with `context` put before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.op, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} error in {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}
