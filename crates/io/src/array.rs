//! Between files and arrays.

use crate::{Input, Saved, Tensor, gguf, npy, npz, safetensors};
use lazulite_core::{Array, Dtype, Error, Result, with_element};

impl Tensor {
    /// The tensor as a lazy array: its bytes are read when it is evaluated.
    ///
    /// # Errors
    /// Kind `Shape` if an array of this shape cannot be. Reading errors come with evaluation.
    pub fn array(&self) -> Result<Array> {
        let (source, offset) = (self.source().clone(), self.offset());
        if !self.is_column_major() {
            return Array::load(source, offset, self.dtype(), self.shape());
        }
        let reversed: Vec<usize> = self.shape().iter().rev().copied().collect();
        Array::load(source, offset, self.dtype(), &reversed)?.transpose(None)
    }
}

impl Saved for Array {
    fn dtype(&self) -> Dtype {
        Array::dtype(self)
    }

    fn shape(&self) -> &[usize] {
        Array::shape(self)
    }

    fn write(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        with_element!(Array::dtype(self), T => {
            let elements = self.as_slice::<T>()?;
            sink(bytemuck::cast_slice(&elements))
        })
    }
}

/// An open file of any of the formats.
#[derive(Debug)]
#[non_exhaustive]
pub enum Contents {
    /// One array.
    Npy(Tensor),
    /// Arrays by name.
    Npz(Vec<(String, Tensor)>),
    /// Arrays by name, and text pairs.
    Safetensors(safetensors::File),
    /// Arrays by name, and typed metadata.
    Gguf(gguf::File),
}

impl Contents {
    /// Opens a file, whose format is told from its first bytes.
    ///
    /// # Errors
    /// Kind `Io` if no format begins with these bytes; those of the format.
    pub fn open(input: &Input) -> Result<Contents> {
        let prefix = input.prefix(16)?;
        if npy::recognises(&prefix) {
            npy::open(input).map(Contents::Npy)
        } else if npz::recognises(&prefix) {
            npz::open(input).map(Contents::Npz)
        } else if gguf::recognises(&prefix) {
            gguf::open(input).map(Contents::Gguf)
        } else if safetensors::recognises(&prefix) {
            safetensors::open(input).map(Contents::Safetensors)
        } else {
            let why = "it is none of npy, npz, safetensors and GGUF";
            Err(Error::io("load", input.label(), why))
        }
    }

    /// The lazy arrays of the file, with their names; the array of an npy file has the name "".
    ///
    /// # Errors
    /// Kind `Unsupported` for a GGUF tensor of a type that cannot be read. Reading errors come
    /// with evaluation.
    pub fn arrays(&self) -> Result<Vec<(String, Array)>> {
        let lazy = |tensors: &[(String, Tensor)]| {
            tensors.iter().map(|(name, tensor)| Ok((name.clone(), tensor.array()?))).collect()
        };
        match self {
            Contents::Npy(tensor) => Ok(vec![(String::new(), tensor.array()?)]),
            Contents::Npz(tensors) => lazy(tensors),
            Contents::Safetensors(file) => lazy(&file.tensors),
            Contents::Gguf(file) => lazy(&file.tensors()?),
        }
    }
}
