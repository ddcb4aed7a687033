//! The planner: a graph in, a printable list of steps out. It computes nothing and knows no device.

pub mod tape;

pub use tape::{Extent, Instr, Tape, TapeValue, ValueId};
