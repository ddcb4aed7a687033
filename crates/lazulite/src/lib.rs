//! An array framework: lazy arrays, function transforms, one planner, every CPU.
