//! Small results of replays that a kernel writes to the host's memory, too, so that they can be read while
//! later work of the stream runs.

use std::fmt;
use std::sync::Arc;

use lazulite_core::Result;
use parking_lot::Mutex;

use crate::driver::{self, CUdeviceptr, CUstream, Event};

/// Strips of a recording, which its replays use in turn.
const STRIPS: usize = 4;
/// Bytes of a strip.
const BYTES: usize = 256;
/// Alignment of results in a strip.
const STEP: usize = 16;

/// Pinned memory for the small results of one replay.
struct Strip {
    at: *mut u8,
    /// Recorded after the replay that uses the strip.
    event: Event,
    /// The replay that uses it.
    turn: Mutex<u64>,
}

// SAFETY: the memory belongs to the strip, and `turn` orders the accesses.
unsafe impl Send for Strip {}
// SAFETY: as above.
unsafe impl Sync for Strip {}

impl Drop for Strip {
    fn drop(&mut self) {
        // A replay under way writes here.
        if self.event.wait().is_ok() {
            driver::free_pinned(self.at);
        }
    }
}

/// The strips of a recording.
#[derive(Default)]
pub(crate) struct Landing {
    strips: Vec<Arc<Strip>>,
    turns: u64,
}

impl Landing {
    /// A strip for the next replay, on stream `queue`.
    ///
    /// # Errors
    /// Kind `OutOfMemory`.
    pub fn next(&mut self, queue: u32) -> Result<Taken> {
        self.turns += 1;
        if self.strips.len() < STRIPS {
            let event = Event::new()?;
            let at = driver::allocate_pinned(BYTES)?;
            self.strips.push(Arc::new(Strip { at, event, turn: Mutex::new(0) }));
        }
        let strip = Arc::clone(&self.strips[(self.turns as usize - 1) % STRIPS]);
        *strip.turn.lock() = self.turns;
        Ok(Taken { strip, turn: self.turns, queue, used: 0 })
    }
}

/// A strip while results find room in it.
pub(crate) struct Taken {
    strip: Arc<Strip>,
    turn: u64,
    queue: u32,
    used: usize,
}

impl Taken {
    /// Room for a result of so many bytes, if there is some.
    pub fn room(&mut self, bytes: usize) -> Option<Landed> {
        let at = self.used;
        if at + bytes > BYTES {
            return None;
        }
        self.used += bytes.next_multiple_of(STEP);
        let (strip, turn, queue) = (Arc::clone(&self.strip), self.turn, self.queue);
        Some(Landed { strip, turn, queue, at, bytes })
    }

    /// Ends the replay, all of which is queued now.
    ///
    /// # Errors
    /// Kind `Kernel`.
    pub fn close(self, stream: CUstream) -> Result<()> {
        self.strip.event.record(stream)
    }
}

/// A result that is in the host's memory once its replay has ended.
#[derive(Clone)]
pub(crate) struct Landed {
    strip: Arc<Strip>,
    turn: u64,
    queue: u32,
    at: usize,
    bytes: usize,
}

impl fmt::Debug for Landed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Landed({} bytes of replay {})", self.bytes, self.turn)
    }
}

impl Landed {
    /// Where a kernel writes it.
    pub fn address(&self) -> CUdeviceptr {
        self.strip.at as CUdeviceptr + self.at as u64
    }

    /// The stream of the replay, and the result, once it is there; `None` if a later replay uses the strip.
    ///
    /// # Errors
    /// Kind `Kernel` if the device failed.
    pub fn bytes(&self) -> Result<Option<(u32, Vec<u8>)>> {
        let turn = self.strip.turn.lock();
        if *turn != self.turn {
            return Ok(None);
        }
        self.strip.event.wait()?;
        // SAFETY: the range lies in the strip, whose writers have ended, and no other replay begins to
        // write it while the lock is held.
        let bytes = unsafe { std::slice::from_raw_parts(self.strip.at.add(self.at), self.bytes) };
        Ok(Some((self.queue, bytes.to_vec())))
    }
}
