//! Function transforms: each traces a function into a graph and walks the graph.
//!
//! [`tree`] says what a function may take and return; [`autodiff`] holds `grad`, `vjp` and `jvp`,
//! [`mod@vmap`] and [`mod@compile`] what their names say, [`mod@checkpoint`] and [`custom`] functions
//! with transforms of their own, [`control`] loops and choices, [`mod@graph`] a recording as data,
//! [`repeat`] steps that devices record. `trace` has the two walks on which all of them stand.
//!
//! Transforms nest in any order: what one builds is an ordinary graph for the next.

pub mod autodiff;
pub mod checkpoint;
pub mod compile;
pub mod control;
pub mod custom;
pub mod graph;
pub mod repeat;
pub mod trace;
pub mod tree;
pub mod vmap;

#[cfg(test)]
mod tests;

pub use autodiff::{
    grad, grad_wrt, jvp, jvp_arrays, value_and_grad, value_and_grad_aux, value_and_grad_wrt, vjp,
    vjp_arrays,
};
pub use checkpoint::checkpoint;
pub use compile::{Compiled, compile, compile_shapeless};
pub use control::{cond, scan, while_loop};
pub use custom::{CustomFn, custom_function};
pub use graph::Graph;
pub use repeat::Repeated;
pub use trace::{Traced, trace};
pub use tree::{Argument, Tree};
pub use vmap::{BatchAxes, vmap, vmap_arrays};

use crate::array::Array;
use crate::device::current_stream;
use crate::error::{Error, ErrorKind};
use crate::op::identity::{Identity, Placeholder};
use crate::op::{Aval, Avals};
use std::cell::Cell;
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
    /// True iff the transform may still walk the graph.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Of several traces the active one that lives longest.
    pub(crate) fn outermost<'a>(
        traces: impl Iterator<Item = &'a Arc<Trace>>,
    ) -> Option<Arc<Trace>> {
        traces.filter(|t| t.is_active()).min_by_key(|t| t.depth).cloned()
    }
}

thread_local! {
    /// How many traces the calling thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The time during which a trace is active: from `begin` until this value is dropped, also when
/// the traced function fails.
pub(crate) struct Tracing(Arc<Trace>);

impl Tracing {
    pub(crate) fn begin() -> Tracing {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        Tracing(Arc::new(Trace { depth, active: AtomicBool::new(true) }))
    }

    /// A node of this trace with the value of `x`, for the traced function to use in its place.
    pub(crate) fn alias(&self, x: &Array) -> Array {
        let (op, avals) = (Identity::Alias.into(), Avals::from_iter([x.aval()]));
        let trace = Trace::outermost(x.node.trace.iter().chain([&self.0]));
        Array::node(op, [x.clone()].into_iter().collect(), avals, current_stream(), trace)
            .swap_remove(0)
    }

    /// A leaf of this trace that has a shape and a dtype but no value.
    pub(crate) fn placeholder(&self, aval: Aval) -> Array {
        let avals = Avals::from_iter([aval.clone()]);
        let (op, trace) = (Placeholder { aval }.into(), Some(self.0.clone()));
        Array::node(op, Default::default(), avals, current_stream(), trace).swap_remove(0)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.0.active.store(false, Ordering::Release);
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

thread_local! {
    /// True iff the calling thread records a function for other sizes than it sees.
    static FOLLOWING: Cell<bool> = const { Cell::new(false) };
}

/// True iff sizes that an op takes from an array must be taken again when the recording under way
/// is applied to arrays of other sizes, so that the op must have that array as an input.
pub(crate) fn follows_sizes() -> bool {
    FOLLOWING.get()
}

/// The time during which [`follows_sizes`] has a value.
struct Following(bool);

impl Following {
    fn set(value: bool) -> Following {
        Following(FOLLOWING.replace(value))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        FOLLOWING.set(self.0);
    }
}

/// The error for a value that is needed where only shapes are known.
pub(crate) fn evaluated_inside_trace() -> Error {
    let message = "an array was evaluated inside a function that is being traced (vmap or compile), \
                   where it has no value; return it and evaluate outside, or pass it as an argument";
    Error::new(ErrorKind::Trace, "eval", message)
}
