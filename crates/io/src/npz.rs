//! NumPy's `.npz` format: a zip archive of `.npy` members, stored or deflated.

use crate::input::{Input, Tensor};
use crate::output::{Saved, copy, replace};
use crate::{npy, zip};
use lazulite_core::{Error, Result};
use std::collections::HashSet;
use std::path::Path;

const FORMAT: &str = "npz";

/// True iff a file that begins with these bytes is in this format.
pub fn recognises(prefix: &[u8]) -> bool {
    prefix.starts_with(b"PK\x03\x04") || prefix.starts_with(b"PK\x05\x06")
}

/// Opens an archive and reads the headers of its members, whose names lose `.npy`.
///
/// A stored member is read in place when it is used; a deflated one is decompressed then, and its
/// checksum is compared.
///
/// # Errors
/// Kind `Io` for an archive or a member that is damaged or truncated, a name twice, or a member
/// that is not an array; kind `Unsupported` for other compressions, encryption and element types
/// that no array has.
pub fn open(input: &Input) -> Result<Vec<(String, Tensor)>> {
    let members = zip::open(input, FORMAT)?;
    let mut arrays = Vec::with_capacity(members.len());
    for (name, member) in members {
        let tensor = npy::open(&member)?;
        arrays.push((name.strip_suffix(".npy").unwrap_or(&name).to_owned(), tensor));
    }
    Ok(arrays)
}

/// Writes an archive to `path`, which is replaced only when all is written.
///
/// # Errors
/// Kind `Io` if the file cannot be written, `Argument` for a name that occurs twice or is longer
/// than 65531 bytes; those of evaluation.
pub fn save(path: &Path, tensors: &[(&str, &dyn Saved)], compressed: bool) -> Result<()> {
    let op = if compressed { "savez_compressed" } else { "savez" };
    let mut names = HashSet::new();
    for (name, _) in tensors {
        if name.len() > usize::from(u16::MAX) - 4 {
            return Err(Error::argument(op, "a name is longer than 65531 bytes"));
        }
        if !names.insert(name) {
            return Err(Error::argument(op, format!("the name {name:?} occurs twice")));
        }
    }
    replace(op, path, |output| {
        let mut archive = zip::Archive::new(output, compressed);
        for (name, tensor) in tensors {
            archive.add(&format!("{name}.npy"), |sink| {
                sink(&npy::header(tensor.dtype(), tensor.shape()))?;
                copy(*tensor, sink)
            })?;
        }
        archive.finish()
    })
}
