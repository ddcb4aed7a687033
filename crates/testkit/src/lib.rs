//! Oracles and checks for the tests of lazulite (not shipped).
