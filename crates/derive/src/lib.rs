//! Derive macros for lazulite.
