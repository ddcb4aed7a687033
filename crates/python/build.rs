//! Tells the crate which Python it is built for: `cfg(Py_GIL_DISABLED)` on a free-threaded one.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
