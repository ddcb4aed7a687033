//! What is written: a file that appears whole or not at all.

use lazulite_core::{Dtype, Error, Result};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A tensor that can be saved. Its bytes are asked for when they are written, one tensor at a
/// time, so that nothing is copied.
pub trait Saved {
    /// The element type.
    fn dtype(&self) -> Dtype;
    /// The shape.
    fn shape(&self) -> &[usize];
    /// Hands the elements to `sink`, in row-major order, little end first.
    ///
    /// # Errors
    /// Those of evaluation and of `sink`.
    fn write(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// Distinguishes the temporary files of one process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file being written, as `Write` and with errors that name it.
pub(crate) struct Output<'a> {
    format: &'static str,
    path: &'a Path,
    file: BufWriter<File>,
    written: u64,
}

impl Output<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| fault(self.format, self.path, &e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Writes `bytes` over those at `at`, which have been written.
    pub(crate) fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let write = |file: &mut BufWriter<File>| {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)?;
            file.seek(SeekFrom::End(0))
        };
        write(&mut self.file).map_err(|e| self.fault(&e))?;
        Ok(())
    }

    /// An error about this file.
    pub(crate) fn fault(&self, error: &std::io::Error) -> Error {
        fault(self.format, self.path, error)
    }

    /// The bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes zeros up to the next multiple of `alignment`.
    pub(crate) fn align(&mut self, alignment: u64) -> Result<()> {
        const ZEROS: [u8; 64] = [0; 64];
        let gap = self.written.next_multiple_of(alignment) - self.written;
        self.put(&ZEROS[..gap as usize])
    }

    /// Writes one tensor's elements.
    pub(crate) fn tensor(&mut self, tensor: &dyn Saved) -> Result<()> {
        copy(tensor, &mut |bytes| self.put(bytes))
    }
}

/// Hands a tensor's elements to `sink`, and checks that they are as many as its shape says.
pub(crate) fn copy(tensor: &dyn Saved, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let (mut got, want) = (0, nbytes(tensor));
    tensor.write(&mut |bytes| {
        got += bytes.len() as u64;
        sink(bytes)
    })?;
    if got != want {
        let why = format!("a tensor gave {got} bytes where its shape has {want}");
        return Err(Error::argument("save", why));
    }
    Ok(())
}

/// The bytes of a tensor's elements.
pub(crate) fn nbytes(tensor: &dyn Saved) -> u64 {
    (tensor.shape().iter().product::<usize>() * tensor.dtype().size()) as u64
}

fn fault(format: &'static str, path: &Path, error: &std::io::Error) -> Error {
    Error::io(format, path.display(), error)
}

/// Writes a file with `body` beside `path` and renames it there, so that a failure leaves what
/// was at `path` as it was.
pub(crate) fn replace(
    format: &'static str,
    path: &Path,
    body: impl FnOnce(&mut Output) -> Result<()>,
) -> Result<()> {
    // A link is followed, so that its target is replaced and not the link.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(name) = target.file_name() else {
        return Err(Error::io(format, path.display(), "it does not name a file"));
    };
    let (process, count) = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{process}-{count}.tmp"));
    let temporary = target.with_file_name(hidden);
    let file = File::create_new(&temporary).map_err(|e| fault(format, path, &e))?;
    let mut output = Output { format, path, file: BufWriter::new(file), written: 0 };
    let result = body(&mut output).and_then(|()| {
        let finish = || -> std::io::Result<()> {
            let file = output.file.into_inner().map_err(|e| e.into_error())?;
            if let Ok(old) = std::fs::metadata(&target) {
                file.set_permissions(old.permissions())?;
            }
            drop(file);
            std::fs::rename(&temporary, &target)
        };
        finish().map_err(|e| fault(format, path, &e))
    });
    if result.is_err() {
        // The first fault is the one to report; a leftover that cannot be removed is not worse.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}
