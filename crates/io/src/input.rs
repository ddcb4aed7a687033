//! What is read: a source of known length, a cursor over its header, and one tensor's place in it.
//!
//! Nothing here trusts a number from a file: lengths are compared with what is left before
//! anything is allocated, and every fault names the file.

use lazulite_core::{Dtype, Error, ErrorKind, Result, Source};
use std::fmt::{self, Display};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The format and the file that an error is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    format: &'static str,
    label: Arc<str>,
}

impl Subject {
    pub(crate) fn new(format: &'static str, label: impl Display) -> Subject {
        Subject { format, label: label.to_string().into() }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The file is not what its format demands.
    pub(crate) fn invalid(&self, why: impl Display) -> Error {
        Error::io(self.format, &self.label, why)
    }

    /// The file is valid, and holds something that cannot be represented.
    pub(crate) fn unsupported(&self, why: impl Display) -> Error {
        Error::unsupported(self.format, format!("{}: {why}", self.label))
    }

    /// The value of a checked computation, or an error that says what overflowed.
    pub(crate) fn fits<T>(&self, value: Option<T>, what: impl Display) -> Result<T> {
        value.ok_or_else(|| self.invalid(format!("{what} does not fit in 64 bits")))
    }
}

/// A file, read at any offset by any thread.
#[derive(Debug)]
struct FileSource {
    file: File,
    subject: Subject,
}

impl FileSource {
    #[cfg(unix)]
    fn read_exact_at(&self, offset: u64, dst: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, dst, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut offset: u64, mut dst: &mut [u8]) -> std::io::Result<()> {
        while !dst.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, dst, offset)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => {
                    dst = &mut dst[n..];
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }
}

impl Source for FileSource {
    fn read(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        self.read_exact_at(offset, dst).map_err(|e| {
            self.subject.invalid(format!("cannot read {} bytes at {offset}: {e}", dst.len()))
        })
    }
}

/// Bytes in memory.
struct MemorySource {
    bytes: Vec<u8>,
    subject: Subject,
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySource({} bytes)", self.bytes.len())
    }
}

impl Source for MemorySource {
    fn read(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|s| self.bytes.get(s..)?.get(..dst.len()));
        let bytes = bytes.ok_or_else(|| {
            self.subject.invalid(format!("cannot read {} bytes at {offset}: the end", dst.len()))
        })?;
        dst.copy_from_slice(bytes);
        Ok(())
    }
}

/// Something to read a format from: a file, bytes, or any other [`Source`] of known length.
#[derive(Clone, Debug)]
pub struct Input {
    source: Arc<dyn Source>,
    len: u64,
    label: Arc<str>,
}

impl Input {
    /// The file at `path`. Nothing is read yet.
    ///
    /// # Errors
    /// Kind `Io` if the file cannot be opened or is not a regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Input> {
        let label = path.as_ref().display().to_string();
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::open(path.as_ref())?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(std::io::Error::other("it is not a regular file"));
            }
            Ok((file, metadata.len()))
        };
        let (file, len) = open().map_err(|e| Error::io("load", &label, e))?;
        let source = FileSource { file, subject: Subject::new("load", &label) };
        Ok(Input { source: Arc::new(source), len, label: label.into() })
    }

    /// A whole file in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Input {
        let label = "bytes in memory";
        let len = bytes.len() as u64;
        let source = MemorySource { bytes, subject: Subject::new("load", label) };
        Input { source: Arc::new(source), len, label: label.into() }
    }

    /// A source of `len` bytes that errors call `label`.
    pub fn from_source(source: Arc<dyn Source>, len: u64, label: &str) -> Input {
        Input { source, len, label: label.into() }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True iff there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Up to `n` bytes from the start, to recognise a format by.
    ///
    /// # Errors
    /// Those of the source.
    pub fn prefix(&self, n: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (n as u64).min(self.len) as usize];
        self.source.read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// What errors call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    pub(crate) fn subject(&self, format: &'static str) -> Subject {
        Subject { format, label: self.label.clone() }
    }

    pub(crate) fn cursor(&self, format: &'static str) -> Cursor {
        let subject = self.subject(format);
        let (source, end) = (self.source.clone(), self.len);
        Cursor { source, subject, position: 0, end, block: Vec::new(), used: 0 }
    }
}

/// Bytes fetched first and at most at a time while a header is read: most headers are short.
const BLOCK: std::ops::Range<u64> = 4 << 10..256 << 10;

/// Reads a header from its start, in blocks that grow.
pub(crate) struct Cursor {
    source: Arc<dyn Source>,
    pub(crate) subject: Subject,
    /// Where the next block begins.
    position: u64,
    end: u64,
    block: Vec<u8>,
    used: usize,
}

impl Cursor {
    /// Goes to `position`, and ends at `end`; both are in the source.
    pub(crate) fn seek(&mut self, position: u64, end: u64) {
        (self.position, self.end, self.used) = (position, end, 0);
        self.block.clear();
    }

    /// The offset of the next byte to be taken.
    pub(crate) fn offset(&self) -> u64 {
        self.position - (self.block.len() - self.used) as u64
    }

    /// The bytes that are left.
    pub(crate) fn left(&self) -> u64 {
        self.end - self.offset()
    }

    /// An error if fewer than `n` bytes are left.
    pub(crate) fn need(&self, n: u64, what: impl Display) -> Result<()> {
        if n > self.left() {
            let (left, at) = (self.left(), self.offset());
            let why = format!("truncated: {what} needs {n} bytes at {at}, where {left} are left");
            return Err(self.subject.invalid(why));
        }
        Ok(())
    }

    /// Fills `dst`.
    pub(crate) fn fill(&mut self, mut dst: &mut [u8], what: impl Display) -> Result<()> {
        self.need(dst.len() as u64, what)?;
        while !dst.is_empty() {
            if self.used == self.block.len() {
                let size = (2 * self.block.len() as u64).clamp(BLOCK.start, BLOCK.end);
                self.block.resize(size.min(self.end - self.position) as usize, 0);
                self.used = 0;
                self.source.read(self.position, &mut self.block)?;
                self.position += self.block.len() as u64;
            }
            let n = dst.len().min(self.block.len() - self.used);
            let (head, tail) = dst.split_at_mut(n);
            head.copy_from_slice(&self.block[self.used..self.used + n]);
            self.used += n;
            dst = tail;
        }
        Ok(())
    }

    /// `n` bytes, allocated only if they are there.
    pub(crate) fn bytes(&mut self, n: u64, what: impl Display + Copy) -> Result<Vec<u8>> {
        self.need(n, what)?;
        let n = usize::try_from(n).ok();
        let mut bytes = zeroed(self.subject.fits(n, what)?)?;
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: impl Display) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: impl Display) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: impl Display) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }
}

/// `n` zero bytes, or an error of kind `OutOfMemory`.
pub(crate) fn zeroed(n: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(n).map_err(|e| {
        Error::new(ErrorKind::OutOfMemory, "load", format!("{n} bytes were refused: {e}"))
    })?;
    bytes.resize(n, 0);
    Ok(bytes)
}

/// One tensor of an open file: its type and shape, and where its bytes lie.
///
/// Holding one keeps the file open and reads nothing.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    column_major: bool,
    source: Arc<dyn Source>,
    offset: u64,
}

impl Tensor {
    /// A row-major tensor whose first byte is at `offset` of `source`; the caller has checked that
    /// all bytes are there.
    pub(crate) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        source: Arc<dyn Source>,
        offset: u64,
    ) -> Tensor {
        // A bool in memory is 0 or 1; a file may hold any byte.
        let source: Arc<dyn Source> = match dtype {
            Dtype::Bool => Arc::new(Truth(source)),
            _ => source,
        };
        Tensor { dtype, shape, column_major: false, source, offset }
    }

    /// The same bytes in column-major order: the first axis varies fastest.
    pub(crate) fn column_major(mut self) -> Tensor {
        self.column_major = true;
        self
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of bytes of the elements.
    pub fn nbytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// True iff the elements are stored with the first axis varying fastest.
    pub fn is_column_major(&self) -> bool {
        self.column_major
    }

    /// The elements in the order in which they are stored, little end first.
    ///
    /// # Errors
    /// Those of the source, and kind `OutOfMemory`.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = zeroed(self.nbytes())?;
        self.source.read(self.offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Turns every non-zero byte into 1.
#[derive(Debug)]
struct Truth(Arc<dyn Source>);

impl Source for Truth {
    fn read(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        self.0.read(offset, dst)?;
        dst.iter_mut().for_each(|b| *b = u8::from(*b != 0));
        Ok(())
    }
}

/// Reverses the bytes of every element, so that a big-endian file reads as a little-endian one.
#[derive(Debug)]
pub(crate) struct Swapped {
    pub(crate) source: Arc<dyn Source>,
    /// Where the first element begins.
    pub(crate) base: u64,
    /// The bytes of one element (of one part of a complex number).
    pub(crate) width: usize,
}

impl Source for Swapped {
    fn read(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        let skip = (offset - self.base) as usize % self.width;
        if skip == 0 && dst.len().is_multiple_of(self.width) {
            self.source.read(offset, dst)?;
            dst.chunks_exact_mut(self.width).for_each(<[u8]>::reverse);
            return Ok(());
        }
        let mut whole = zeroed((skip + dst.len()).next_multiple_of(self.width))?;
        self.read(offset - skip as u64, &mut whole)?;
        dst.copy_from_slice(&whole[skip..skip + dst.len()]);
        Ok(())
    }
}

/// The element count and byte length of a shape, or an error that names the tensor.
pub(crate) fn checked_nbytes(
    subject: &Subject,
    name: impl Display,
    shape: &[u64],
    size: usize,
) -> Result<(Vec<usize>, u64)> {
    // A zero does not excuse the other axes: strides are products of them.
    let bytes = shape.iter().try_fold(size as u64, |n, &d| n.checked_mul(d.max(1)));
    let bytes = bytes.filter(|&n| n <= isize::MAX as u64);
    let bytes = subject.fits(bytes, format!("{name}: the size of shape {shape:?}"))?;
    let bytes = if shape.contains(&0) { 0 } else { bytes };
    Ok((shape.iter().map(|&d| d as usize).collect(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_reads_any_range() {
        let bytes: Vec<u8> = (0..20).collect();
        let source = Input::from_bytes(bytes).source;
        let swapped = Swapped { source, base: 4, width: 4 };
        let want: Vec<u8> = (1..5).flat_map(|i| (0..4).rev().map(move |j| 4 * i + j)).collect();
        for start in 0..16 {
            for end in start..=16 {
                let mut got = vec![0; end - start];
                swapped.read(4 + start as u64, &mut got).unwrap();
                assert_eq!(got, want[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn sizes_are_checked() {
        let subject = Subject::new("test", "x");
        for (shape, want) in [
            (vec![], Some(4)),
            (vec![2, 3], Some(24)),
            (vec![0, 1 << 40], Some(0)),
            (vec![0, 1 << 40, 1 << 40], None),
            (vec![u64::MAX], None),
            (vec![1 << 62], None),
        ] {
            let got = checked_nbytes(&subject, "t", &shape, 4).ok().map(|(_, n)| n);
            assert_eq!(got, want, "{shape:?}");
        }
    }
}
