use crate::{fixture, open, sample, tensors};
use lazulite_core::{Dtype, ErrorKind, f16};
use lazulite_io::gguf::{Items, Metadata, Value};
use lazulite_io::{Contents, Input, Tensor, gguf};
use std::collections::HashMap;

/// Checks every array that is called `DTYPE_ORDER` and returns the number of them.
fn check_samples(file: &str) -> usize {
    let mut count = 0;
    for (name, tensor) in tensors(&open(file).unwrap()).unwrap() {
        let name = if name.is_empty() { file.trim_end_matches(".npy") } else { &name };
        let Some((dtype, order)) = name.split_once('_') else { continue };
        let Some(dtype) = Dtype::from_name(dtype) else { continue };
        assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[2, 3][..]), "{file} {name}");
        // MLX calls an array of either order column-major if it is so.
        assert_eq!(tensor.is_column_major(), order == "f", "{file} {name}");
        let want = sample(dtype, tensor.is_column_major());
        assert_eq!(tensor.read().unwrap(), want, "{file} {name}");
        count += 1;
    }
    count
}

#[test]
fn files_of_other_programs_read_back() {
    for (file, count) in [
        ("stored.npz", 3),
        ("deflated.npz", 40),
        ("mlx.npz", 2),
        ("int16_c.npy", 1),
        ("all.safetensors", 14),
        ("mlx.safetensors", 2),
        ("all.gguf", 8),
    ] {
        assert_eq!(check_samples(file), count, "{file}");
    }
}

#[test]
fn safetensors_metadata() {
    for (file, made) in [("all.safetensors", "by safetensors"), ("mlx.safetensors", "by mlx")] {
        let Contents::Safetensors(file) = open(file).unwrap() else { panic!("wrong format") };
        assert_eq!(file.metadata.get("made").map(String::as_str), Some(made));
    }
}

#[test]
fn gguf_metadata_of_every_type() {
    let Contents::Gguf(file) = open("all.gguf").unwrap() else { panic!("wrong format") };
    let mut want = Metadata::new();
    want.set("general.architecture", "test");
    want.set("u8", 200u8);
    want.set("i8", -100i8);
    want.set("u16", 60000u16);
    want.set("i16", -30000i16);
    want.set("u32", 1u32 << 31);
    want.set("i32", i32::MIN);
    want.set("u64", 1u64 << 63);
    want.set("i64", i64::MIN);
    want.set("f32", 0.5f32);
    want.set("f64", 0.1f64);
    want.set("bool", true);
    want.set("string", "h\u{e9}");
    want.set("ints", Items::I32(vec![1, -2, 3]));
    want.set("strings", Items::String(vec!["a".into(), "".into(), "bc".into()]));
    let nested = vec![Items::I32(vec![1, 2]), Items::I32(vec![3])];
    want.set("nested", Items::Array(nested));
    for (key, value) in want.iter() {
        assert_eq!(file.metadata.get(key), Some(value), "{key}");
    }
    assert_eq!(file.metadata.get("u8").and_then(Value::as_u64), Some(200));
    assert_eq!(file.metadata.get("i8").and_then(Value::as_u64), None);
}

/// The affine types bit for bit as MLX reads them, the others to float16 as the gguf package
/// dequantises them. The package multiplies in another order, so a value may round to a
/// neighbouring float16, and near a cancellation differ by as much as the terms' own rounding.
#[test]
fn gguf_quantised_types() {
    let got: HashMap<_, _> = tensors(&open("all.gguf").unwrap()).unwrap().into_iter().collect();
    let expected = tensors(&open("gguf_expected.safetensors").unwrap()).unwrap();
    assert_eq!(expected.len(), 3 * 3 + 9);
    for (name, want) in expected {
        let got = &got[&name];
        assert_eq!((got.dtype(), got.shape()), (want.dtype(), want.shape()), "{name}");
        let (got, want_bytes) = (got.read().unwrap(), want.read().unwrap());
        if want.dtype() == Dtype::U32 || !name.ends_with(".weight") {
            assert_eq!(got, want_bytes, "{name}");
            continue;
        }
        let value = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]).to_f32();
        let values = || got.chunks(2).map(value).zip(want_bytes.chunks(2).map(value));
        let largest = values().fold(0.0, |m: f32, (_, w)| m.max(w.abs()));
        for (i, (got, want)) in values().enumerate() {
            let tolerance = want.abs() * 2f32.powi(-10) + largest * 1e-6;
            assert!((got - want).abs() <= tolerance, "{name} {i}: {got} is not {want}");
        }
    }
}

/// The integers of a row of packed weights, the first in the low bits.
fn unpacked(bytes: &[u8], bits: usize, n: usize) -> Vec<u8> {
    let bit = |i: usize| bytes[i / 8] >> (i % 8) & 1;
    (0..n).map(|i| (0..bits).map(|b| bit(i * bits + b) << b).sum()).collect()
}

/// Every affine type, bit for bit as the gguf package dequantises it in float32: the products of
/// scales and integers are exact there, so one rounding, of the sum, is all that either does.
#[test]
fn gguf_types_that_stay_quantised_are_exact() {
    let Contents::Gguf(file) = open("all.gguf").unwrap() else { panic!("not GGUF") };
    let got: HashMap<_, _> = file.quantised_tensors().unwrap().into_iter().collect();
    let expected = tensors(&open("gguf_single.safetensors").unwrap()).unwrap();
    // Bits and elements of a group.
    let types = [
        ("Q4_0", 4, 32),
        ("Q4_1", 4, 32),
        ("Q5_0", 5, 32),
        ("Q5_1", 5, 32),
        ("Q8_0", 8, 32),
        ("Q2_K", 2, 16),
        ("Q3_K", 3, 16),
        ("Q4_K", 4, 32),
        ("Q5_K", 5, 32),
        ("Q6_K", 6, 16),
    ];
    assert_eq!(expected.len(), types.len());
    for (name, want) in expected {
        let kind = name.trim_end_matches(".weight");
        let &(_, bits, group) = types.iter().find(|t| t.0 == kind).unwrap();
        let (n, k) = (want.shape().iter().product(), *want.shape().last().unwrap());
        let part = |part: &str| &got[&format!("{kind}.{part}")];
        let last = |part: &str| *got[&format!("{kind}.{part}")].shape().last().unwrap();
        assert_eq!((last("weight"), last("scales")), (k * bits / 32, k / group), "{name}");
        let floats = |part: &Tensor| -> Vec<f32> {
            let bytes = part.read().unwrap();
            match part.dtype() {
                Dtype::F16 => {
                    bytes.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
                }
                _ => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            }
        };
        let (scales, biases, want) =
            (floats(part("scales")), floats(part("biases")), floats(&want));
        let integers = unpacked(&part("weight").read().unwrap(), bits, n);
        for (i, (q, want)) in integers.iter().zip(&want).enumerate() {
            let value = scales[i / group] * f32::from(*q) + biases[i / group];
            assert_eq!(value, *want, "{name} {i}");
        }
    }
}

#[test]
fn a_part_of_a_quantised_tensor_reads_as_the_whole() {
    use lazulite_core::Source;
    use std::sync::{Arc, Mutex};

    /// Counts the bytes that are asked for.
    #[derive(Debug)]
    struct Counted(Vec<u8>, Mutex<u64>);
    impl Source for Counted {
        fn read(&self, offset: u64, dst: &mut [u8]) -> lazulite_core::Result<()> {
            *self.1.lock().unwrap() += dst.len() as u64;
            dst.copy_from_slice(&self.0[offset as usize..][..dst.len()]);
            Ok(())
        }
    }
    let bytes = std::fs::read(fixture("all.gguf")).unwrap();
    let len = bytes.len() as u64;
    let source = Arc::new(Counted(bytes, Mutex::new(0)));
    let input = Input::from_source(source.clone(), len, "counted");
    let file = gguf::open(&input).unwrap();
    let entry = file.entries.iter().find(|e| e.name == "Q4_0.weight").unwrap();
    let opened = *source.1.lock().unwrap();
    let tensors = entry.tensors().unwrap();
    assert_eq!(*source.1.lock().unwrap(), opened, "naming the arrays reads nothing");
    assert_eq!(tensors[0].1.read().unwrap().len(), 4 * 16);
    let read = *source.1.lock().unwrap() - opened;
    assert_eq!(read, 4 * 18, "one tensor reads its own blocks");
}

#[test]
fn what_cannot_be_an_array_is_unsupported() {
    for (file, text) in [
        ("objects.npy", "Python objects"),
        ("records.npy", "arrays of records"),
        ("unsupported.gguf", "TQ1_0"),
    ] {
        let error = open(file).and_then(|c| tensors(&c)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains(text), "{error}");
        assert!(error.message().contains(file), "{error}");
    }
    // The other tensors of the file can be read.
    let Contents::Gguf(file) = open("unsupported.gguf").unwrap() else { panic!("wrong format") };
    let entry = file.entries.iter().find(|e| e.name == "float32_c").unwrap();
    assert_eq!(entry.tensors().unwrap()[0].1.read().unwrap(), sample(Dtype::F32, false));
}

#[test]
fn what_is_no_file_is_an_io_error() {
    for path in [fixture("missing.npy"), fixture("."), fixture("make.py")] {
        let error = Input::open(&path).and_then(|input| Contents::open(&input)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_bool_of_any_byte_is_one() {
    let mut bytes = std::fs::read(fixture("mlx.safetensors")).unwrap();
    let Contents::Safetensors(file) = open("mlx.safetensors").unwrap() else { panic!("format") };
    let bools = &file.tensors.iter().find(|(name, _)| name == "bool_c").unwrap().1;
    let before = bools.read().unwrap();
    // The only run of a 0 and five 1s is the bools' data.
    let at = bytes.windows(6).position(|w| w == before).unwrap();
    bytes[at + 1..at + 6].copy_from_slice(&[2, 3, 0x80, 0xff, 1]);
    let Contents::Safetensors(file) = Contents::open(&Input::from_bytes(bytes)).unwrap() else {
        panic!("format")
    };
    let bools = &file.tensors.iter().find(|(name, _)| name == "bool_c").unwrap().1;
    assert_eq!(bools.read().unwrap(), [0, 1, 1, 1, 1, 1]);
}
