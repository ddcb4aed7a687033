//! What each kind of fault says, word for word, and that work goes on after it.

use std::collections::BTreeSet;

use lazulite::op::quantized::{QuantFormat, QuantMode};
use lazulite::prelude::*;
use lazulite::{DeviceKind, compile, device, eval, grad, io, random};

/// A call that fails: its name, the kind and how the text begins, all of it but for what the machine
/// decides.
type Case = (&'static str, ErrorKind, fn() -> Result<Array>, &'static str);

fn numbers(shape: &[usize]) -> Result<Array> {
    Array::zeros(shape, Dtype::F32)
}

fn evaluated(x: Result<Array>) -> Result<Array> {
    let x = x?;
    x.eval()?;
    Ok(x)
}

/// What a safetensors file of these bytes opens as.
fn file(bytes: &[u8]) -> Result<Array> {
    io::safetensors::open(&io::Input::from_bytes(bytes.to_vec()))?;
    Ok(Array::scalar(0.0f32))
}

fn on(kind: DeviceKind, index: u32) -> Result<Array> {
    Stream::new(Device { kind, index })?;
    Ok(Array::scalar(0.0f32))
}

const CASES: &[Case] = &[
    (
        "add",
        ErrorKind::Shape,
        || numbers(&[2, 3])?.add(&numbers(&[4])?),
        "add: shapes (2, 3) and (4,) cannot be broadcast: axis -1 has sizes 3 and 4, \
         which must be equal or one of them 1",
    ),
    (
        "matmul",
        ErrorKind::Shape,
        || numbers(&[2, 3])?.matmul(&numbers(&[4, 5])?),
        "matmul: inner dimensions differ: lhs (2, 3), rhs (4, 5); lhs axis -1 must equal \
         rhs axis -2",
    ),
    (
        "reshape",
        ErrorKind::Shape,
        || numbers(&[2, 3])?.reshape_infer(&[4, -1]),
        "reshape: sizes [4, -1] do not fit 6 elements",
    ),
    (
        "item",
        ErrorKind::Shape,
        || numbers(&[2])?.item::<f32>().map(Array::scalar),
        "item: shape (2,) has 2 elements, not one",
    ),
    (
        "from_slice",
        ErrorKind::Shape,
        || Array::from_slice(&[1.0f32, 2.0], &[3]),
        "array: 2 elements of float32 do not fill shape (3,), which has 3",
    ),
    (
        "bitwise",
        ErrorKind::Dtype,
        || numbers(&[2])?.bitwise_and(&numbers(&[2])?),
        "bitwise_and: got float32 and float32, expected integer types or bool",
    ),
    (
        "as_slice",
        ErrorKind::Dtype,
        || numbers(&[1])?.item::<i32>().map(Array::scalar),
        "as_slice: got float32, expected an array of int32, which was asked for",
    ),
    (
        "sum",
        ErrorKind::Axis,
        || numbers(&[2, 3])?.sum(Some(&[2]), false),
        "sum: axis 2 is out of range for 2 axes; valid axes are -2 to 1",
    ),
    (
        "softmax of a scalar",
        ErrorKind::Axis,
        || numbers(&[])?.softmax(Some(&[0]), false),
        "softmax: axis 0 is out of range for 0 axes; a 0-d array has no axes",
    ),
    (
        "take",
        ErrorKind::Axis,
        || evaluated(numbers(&[3])?.take(&array![5], Some(0))),
        "gather: index 5 is out of range for axis 0 of size 3; valid indices are -3 to 2",
    ),
    (
        "quantize",
        ErrorKind::Shape,
        || {
            numbers(&[2, 48])?
                .quantize(QuantFormat::new(QuantMode::Affine, None, None)?)
                .map(|mut parts| parts.remove(0))
        },
        "quantize: the last axis of (2, 48) does not have whole groups of 64 elements",
    ),
    (
        "key",
        ErrorKind::Argument,
        || random::unit_uniform(&[2], Dtype::F32, Some(&array![1])),
        "random_bits: a key has two elements of uint32 along its last axis, got (1,) of \
         int32",
    ),
    (
        "grad",
        ErrorKind::Shape,
        || grad(|x: Array| Ok(x))(numbers(&[2])?),
        "grad: the function must return a 0-d array, got shape (2,)",
    ),
    (
        "trace",
        ErrorKind::Trace,
        || compile(|x: Array| Ok(Array::scalar(x.item::<f32>()?)))(Array::scalar(1.0f32)),
        "eval: an array was evaluated inside a function that is being traced (vmap or \
         compile), where it has no value; return it and evaluate outside, or pass it as \
         an argument",
    ),
    (
        "device",
        ErrorKind::BackendUnavailable,
        || on(DeviceKind::Gpu, 97),
        "device: Device(gpu, 97) is not available; available devices: Device(cpu, 0)",
    ),
    (
        "too large",
        ErrorKind::OutOfMemory,
        || evaluated(numbers(&[1 << 24, 1 << 20])?.exp()),
        "eval: the plan would need 70368.7 GB on top of the ",
    ),
    (
        "truncated file",
        ErrorKind::Io,
        || file(&[9, 0, 0]),
        "safetensors: bytes in memory: truncated: the header's size needs 8 bytes at 0, \
         where 3 are left",
    ),
    (
        "long header",
        ErrorKind::Io,
        || file(&[255; 16]),
        "safetensors: bytes in memory: the header has 18446744073709551615 bytes, more \
         than the 100000000 allowed",
    ),
];

#[test]
fn each_kind_says_what_is_wrong_and_what_would_be_right() -> Result<()> {
    let (mut kinds, mut wrong) = (BTreeSet::new(), Vec::new());
    for (name, kind, call, text) in CASES {
        match call() {
            Ok(x) => wrong.push(format!("{name}: no error, but {x:?}")),
            Err(error) if error.kind() != *kind || !error.to_string().starts_with(text) => {
                wrong.push(format!("{name}: {:?}: {error}", error.kind()));
            }
            Err(_) => {}
        }
        kinds.insert(format!("{kind:?}"));
        // Nothing is left behind.
        assert_eq!((numbers(&[3])? + 1.0).to_vec::<f32>()?, [1.0; 3], "after {name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    eval::synchronize(device::current_stream())
}
