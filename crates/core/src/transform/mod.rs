//! Function transforms: each traces a function into a graph and walks the graph.

use crate::error::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One run of a user's function whose graph a transform will walk afterwards. Nodes that belong to
/// an active trace keep their inputs when they are evaluated.
#[derive(Debug)]
pub(crate) struct Trace {
    /// How many traces were active around this one.
    depth: usize,
    active: AtomicBool,
}

impl Trace {
    /// A new trace inside `depth` others.
    pub(crate) fn new(depth: usize) -> Arc<Trace> {
        Arc::new(Trace { depth, active: AtomicBool::new(true) })
    }

    /// True iff the transform may still walk the graph.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Ends the trace: its nodes are ordinary ones from now on.
    pub(crate) fn finish(&self) {
        self.active.store(false, Ordering::Release);
    }

    /// Of several traces the active one that lives longest.
    pub(crate) fn outermost<'a>(
        traces: impl Iterator<Item = &'a Arc<Trace>>,
    ) -> Option<Arc<Trace>> {
        traces.filter(|t| t.is_active()).min_by_key(|t| t.depth).cloned()
    }
}

/// The error for a value that is needed where only shapes are known.
pub(crate) fn evaluated_inside_trace() -> Error {
    let message = "an array was evaluated inside a function that is being traced (vmap or compile), \
                   where it has no value; return it and evaluate outside, or pass it as an argument";
    Error::new(ErrorKind::Trace, "eval", message)
}
