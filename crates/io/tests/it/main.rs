//! The formats against files that other programs wrote (`tests/data/make.py`), against damage, and
//! round trip.
#![allow(missing_docs)]

mod damage;
mod reading;
mod saving;

use lazulite_core::{Complex32, Dtype, Result, with_element};
use lazulite_io::{Contents, Input, Tensor};
use std::path::PathBuf;

/// The path of a fixture.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The tensors of an open file of any format.
fn tensors(contents: &Contents) -> Result<Vec<(String, Tensor)>> {
    Ok(match contents {
        Contents::Npy(tensor) => vec![(String::new(), tensor.clone())],
        Contents::Npz(tensors) => tensors.clone(),
        Contents::Safetensors(file) => file.tensors.clone(),
        Contents::Gguf(file) => file.tensors()?,
        _ => vec![],
    })
}

fn open(name: &str) -> Result<Contents> {
    Contents::open(&Input::open(fixture(name))?)
}

/// The bytes of `(2, 3)` of 0 to 5 as `make.py` makes them.
fn sample(dtype: Dtype, column_major: bool) -> Vec<u8> {
    let order = if column_major { [0, 3, 1, 4, 2, 5] } else { [0, 1, 2, 3, 4, 5] };
    let values = order.map(f64::from);
    match dtype {
        Dtype::Bool => values.iter().map(|&x| u8::from(x != 0.0)).collect(),
        Dtype::C64 => values
            .iter()
            .flat_map(|&x| bytemuck::bytes_of(&Complex32::new(x as f32, 0.0 - x as f32)).to_vec())
            .collect(),
        _ => values
            .iter()
            .flat_map(|&x| {
                let literal = lazulite_core::Literal::from_f64(x, dtype);
                with_element!(dtype, T => bytemuck::bytes_of(&literal.get::<T>().unwrap()).to_vec())
            })
            .collect(),
    }
}
