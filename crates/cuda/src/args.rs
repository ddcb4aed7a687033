//! The parameters of a kernel launch.

use std::ffi::c_void;

use lazulite_core::Result;
use smallvec::SmallVec;

use crate::driver::{CUstream, Kernel};
use crate::record;
use crate::stream::Queue;

/// Parameters in order. Every parameter is made of 8-byte words: a 64-bit number, an address, a
/// double, or a struct of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    words: SmallVec<[u64; 24]>,
    starts: SmallVec<[usize; 16]>,
}

impl Args {
    /// No parameters.
    pub fn new() -> Args {
        Args::default()
    }

    /// A struct of words.
    pub fn words(&mut self, words: &[u64]) -> &mut Args {
        self.starts.push(self.words.len());
        self.words.extend_from_slice(words);
        self
    }

    /// A 64-bit number or an address.
    pub fn word(&mut self, word: u64) -> &mut Args {
        self.words(&[word])
    }

    /// A count or a size.
    pub fn size(&mut self, size: usize) -> &mut Args {
        self.word(size as u64)
    }

    /// Queues the kernel with these parameters.
    ///
    /// # Safety
    /// The kernel must have these parameters, and what they point to must be live, or freed in the
    /// stream's order, and ordered on the stream.
    pub unsafe fn launch(
        &mut self,
        kernel: Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        shared: usize,
        queue: &Queue,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.send(kernel, grid, block, shared, (queue.raw(), record::active())) }
    }

    /// As [`Args::launch`], on a stream for which nothing waits; the kernel may begin before its turn if
    /// that is set (see [`Kernel::launch`]).
    ///
    /// # Safety
    /// As [`Args::launch`].
    pub unsafe fn send(
        &mut self,
        kernel: Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        shared: usize,
        (stream, early): (CUstream, bool),
    ) -> Result<()> {
        kernel.allow_shared(shared)?;
        let words = self.words.as_ptr();
        let mut pointers: SmallVec<[*mut c_void; 16]> =
            // SAFETY: every start is within the words; the driver does not write through them.
            self.starts.iter().map(|&s| unsafe { words.add(s) }.cast_mut().cast()).collect();
        // SAFETY: the caller's promise; the driver copies the values before it returns.
        unsafe { kernel.launch(grid, block, shared, (stream, early), &mut pointers) }
    }
}
