//! Transforms on graphs that a small interpreter evaluates in double precision.
