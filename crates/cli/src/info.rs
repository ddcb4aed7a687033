//! `lazulite info`: what is here.

use lazulite::backend::{self, Limit};
use lazulite::prelude::*;

/// Prints the version, the devices, memory and limits.
///
/// # Errors
/// Kind `BackendUnavailable` if not even the processor is there.
pub fn run() -> Result<()> {
    println!("lazulite {}", env!("CARGO_PKG_VERSION"));
    println!("default device: {}", backend::default_device());
    for device in [Device::CPU, Device::GPU] {
        let backend = match backend::get(device) {
            Ok(backend) => backend,
            Err(error) => {
                println!("{device}: {}", error.message());
                continue;
            }
        };
        println!("{device}:");
        for (key, value) in backend.describe(device) {
            println!("  {key}: {value}");
        }
        let gb = |bytes: usize| bytes as f64 / 1e9;
        println!("  memory limit: {:.1} GB", gb(backend.limit(device, Limit::Memory)));
        println!("  cache limit: {:.1} GB", gb(backend.limit(device, Limit::Cache)));
    }
    Ok(())
}
