//! The CPU backend of lazulite.
