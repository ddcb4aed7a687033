//! The functions of `lazulite.core`, by area. Names, argument order and defaults are MLX's.

pub mod convolution;
pub mod creation;
pub mod einsum;
pub mod elementwise;
mod examples;
pub mod products;
pub mod quantized;
pub mod reductions;
pub mod shaping;
pub mod sorting;

use pyo3::prelude::*;

/// Adds functions to a module.
macro_rules! add_functions {
    ($module:expr, $($name:ident),* $(,)?) => {
        $($module.add_function(pyo3::wrap_pyfunction!($name, $module)?)?;)*
    };
}
pub(crate) use add_functions;

/// Adds further names of what the module has already.
pub fn add_aliases(m: &Bound<'_, PyModule>, aliases: &[(&str, &str)]) -> PyResult<()> {
    for (alias, name) in aliases {
        m.add(*alias, m.getattr(*name)?)?;
    }
    Ok(())
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    elementwise::register(m)?;
    reductions::register(m)?;
    shaping::register(m)?;
    creation::register(m)?;
    sorting::register(m)?;
    products::register(m)?;
    convolution::register(m)?;
    einsum::register(m)?;
    quantized::register(m)
}
