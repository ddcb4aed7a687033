//! The parameters of a kernel launch.

use std::ffi::c_void;

use lazulite_core::Result;
use smallvec::SmallVec;

use crate::driver::{CUstream, Kernel};
use crate::graph::Recorded;
use crate::stream::Queue;

/// Parameters in order. Every parameter is made of 8-byte words: a 64-bit number, an address, a
/// double, or a struct of them.
#[derive(Clone, Debug, Default, PartialEq)]
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

    /// Queues the kernel with these parameters. Inside a job the driver gets it with those that follow.
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
        kernel.allow_shared(shared)?;
        let args = std::mem::take(self);
        // SAFETY: the caller's promise.
        unsafe { queue.take(Recorded { kernel, grid, block, shared, args }) }
    }

    /// The addresses of the parameters, as the driver takes them.
    pub fn pointers(&self) -> SmallVec<[*mut c_void; 16]> {
        let words = self.words.as_ptr();
        // SAFETY: every start is within the words; the driver does not write through them.
        self.starts.iter().map(|&s| unsafe { words.add(s) }.cast_mut().cast()).collect()
    }

    /// Hands the kernel with these parameters to the driver.
    ///
    /// # Safety
    /// As [`Args::launch`].
    pub unsafe fn send(
        &self,
        kernel: Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        shared: usize,
        stream: CUstream,
    ) -> Result<()> {
        // SAFETY: the caller's promise; the driver copies the values before it returns.
        unsafe { kernel.launch(grid, block, shared, stream, &mut self.pointers()) }
    }
}
