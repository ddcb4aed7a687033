//! `lazulite.core`: the Python module over the engine, with the names and the behaviour of MLX.
//!
//! [`mod@array`] is the class of arrays, `convert`, `buffer` and `dlpack` exchange data with Python,
//! [`functions`] holds the operations by area, `transforms` and `compile` the transforms, and the
//! other files one area each. Submodules are registered in `sys.modules` under their full names.

mod array;
mod buffer;
mod compile;
mod convert;
mod device;
mod distributed;
mod dlpack;
mod doctor;
mod dtype;
mod entry;
mod errors;
mod export;
mod fast;
mod fft;
mod functions;
mod indexing;
mod io;
mod kernel;
mod linalg;
mod memory;
mod namespace;
mod plan;
mod print;
mod random;
mod reach;
mod transforms;
mod trees;

use pyo3::prelude::*;

/// Arrays, their operations and transforms, with the names of MLX.
#[pymodule(name = "core")]
fn core_module(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", VERSION_OF_API)?;
    m.add("pi", std::f64::consts::PI)?;
    m.add("e", std::f64::consts::E)?;
    m.add("euler_gamma", EULER_GAMMA)?;
    m.add("inf", f64::INFINITY)?;
    m.add("nan", f64::NAN)?;
    m.add("newaxis", m.py().None())?;
    dtype::register(m)?;
    device::register(m)?;
    array::register(m)?;
    print::register(m)?;
    functions::register(m)?;
    transforms::register(m)?;
    compile::register(m)?;
    export::register(m)?;
    memory::register(m)?;
    io::register(m)?;
    namespace::register(m)?;
    plan::register(m)?;
    submodule(m, "fast", fast::register)?;
    submodule(m, "random", random::register)?;
    submodule(m, "linalg", linalg::register)?;
    submodule(m, "fft", fft::register)?;
    transforms::register_class_of_all(m)?;
    m.add("matrix_norm", m.getattr("linalg")?.getattr("norm")?)?;
    submodule(m, "distributed", distributed::register)?;
    doctor::register(m.py())?;
    entry::register(m.py())?;
    submodule(m, "metal", memory::register_metal)?;
    submodule(m, "cuda", memory::register_cuda)
}

/// The version of MLX whose interface this is; programs ask for it.
const VERSION_OF_API: &str = "0.32.4";

/// Euler's constant, the limit of the harmonic numbers less the logarithm.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

fn submodule(
    m: &Bound<'_, PyModule>,
    name: &str,
    register: fn(&Bound<'_, PyModule>) -> PyResult<()>,
) -> PyResult<()> {
    let full = format!("lazulite.core.{name}");
    let module = PyModule::new(m.py(), &full)?;
    register(&module)?;
    m.add(name, &module)?;
    m.py().import("sys")?.getattr("modules")?.set_item(full, module)
}
