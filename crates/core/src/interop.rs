//! Arrays of the crate `ndarray`, in and out (feature `ndarray`).

use crate::array::Array;
use crate::dtype::Element;
use crate::error::{Error, Result};
use ndarray::{ArrayBase, ArrayD, CowArray, Data, Dimension, IxDyn};

impl Array {
    /// A copy of an `ndarray` array or view of any layout, with its shape.
    ///
    /// # Errors
    /// Kind `OutOfMemory` if there is no room for it; `BackendUnavailable` if the default device is not
    /// there.
    pub fn from_ndarray<T, S, D>(from: &ArrayBase<S, D>) -> Result<Array>
    where
        T: Element,
        S: Data<Elem = T>,
        D: Dimension,
    {
        let rows: CowArray<T, D> = from.as_standard_layout();
        Array::from_slice(rows.as_slice().unwrap_or_default(), from.shape())
    }

    /// A copy as an `ndarray` array of the same shape; evaluates the array.
    ///
    /// # Errors
    /// Kind `Dtype` if the elements are not `T`; those of evaluation.
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(self.shape()), self.to_vec::<T>()?)
            .map_err(|error| Error::shape("to_ndarray", &[self.shape()], error.to_string()))
    }
}
