//! Ops written with other ops.
