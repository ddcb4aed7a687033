use crate::{sample, tensors};
use lazulite_core::{Dtype, Error, ErrorKind, Result};
use lazulite_io::gguf::{Items, Metadata};
use lazulite_io::{Contents, Input, Saved, gguf, npy, npz, safetensors};
use std::path::PathBuf;

/// A tensor of given bytes, or one that fails when it is asked for them.
struct Plain {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Option<Vec<u8>>,
}

impl Saved for Plain {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn write(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &self.bytes {
            Some(bytes) => bytes.chunks(7).try_for_each(sink),
            None => Err(Error::argument("test", "no bytes")),
        }
    }
}

fn plain(dtype: Dtype) -> Plain {
    Plain { dtype, shape: vec![2, 3], bytes: Some(sample(dtype, false)) }
}

/// A new folder for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lazulite-io-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Checks that `path` holds the samples of these types, named after them.
fn holds(path: &PathBuf, dtypes: &[Dtype]) {
    let contents = Contents::open(&Input::open(path).unwrap()).unwrap();
    let mut got = tensors(&contents).unwrap();
    got.sort_by_key(|(_, tensor)| tensor.dtype());
    assert_eq!(got.len(), dtypes.len());
    for ((name, tensor), dtype) in got.iter().zip(dtypes) {
        assert!(name == dtype.name() || name.is_empty(), "{name}");
        assert_eq!((tensor.dtype(), tensor.shape()), (*dtype, &[2, 3][..]));
        assert_eq!(tensor.read().unwrap(), sample(*dtype, false), "{dtype}");
    }
}

fn named(plains: &[Plain]) -> Vec<(&'static str, &dyn Saved)> {
    plains.iter().map(|p| (p.dtype.name(), p as &dyn Saved)).collect()
}

#[test]
fn every_dtype_round_trips() {
    let folder = Folder::new("round-trip");
    let plains: Vec<_> = Dtype::ALL.into_iter().map(plain).collect();
    let path = folder.file("a.safetensors");
    let metadata = [("k".to_owned(), "v \"quoted\"".to_owned())].into();
    safetensors::save(&path, &named(&plains), &metadata).unwrap();
    holds(&path, &Dtype::ALL);
    let file = safetensors::open(&Input::open(&path).unwrap()).unwrap();
    assert_eq!(file.metadata, metadata);
    for compressed in [false, true] {
        let path = folder.file("a.npz");
        npz::save(&path, &named(&plains), compressed).unwrap();
        holds(&path, &Dtype::ALL);
    }
    for one in &plains {
        let path = folder.file("a.npy");
        npy::save(&path, one).unwrap();
        holds(&path, &[one.dtype]);
    }
}

#[test]
fn shapes_round_trip() {
    let folder = Folder::new("shapes");
    for shape in [vec![], vec![0], vec![1], vec![3, 0, 2], vec![1; 20], vec![1; 30_000]] {
        let n = shape.iter().product::<usize>();
        let one = Plain { dtype: Dtype::I8, shape, bytes: Some(vec![5; n]) };
        let path = folder.file("a");
        npy::save(&path, &one).unwrap();
        let tensor = npy::open(&Input::open(&path).unwrap()).unwrap();
        assert_eq!((tensor.shape(), tensor.read().unwrap()), (&one.shape[..], vec![5; n]));
        safetensors::save(&path, &[("x", &one)], &Default::default()).unwrap();
        let file = safetensors::open(&Input::open(&path).unwrap()).unwrap();
        assert_eq!(file.tensors[0].1.shape(), one.shape);
        assert_eq!(file.tensors[0].1.read().unwrap(), vec![5; n]);
    }
}

#[test]
fn large_members_are_read_in_parts() {
    let folder = Folder::new("large");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let one = Plain { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: Some(bytes.clone()) };
    let path = folder.file("a.npz");
    npz::save(&path, &[("x", &one), ("y", &one)], true).unwrap();
    let members = npz::open(&Input::open(&path).unwrap()).unwrap();
    for (name, tensor) in &members {
        assert_eq!(tensor.read().unwrap(), bytes, "{name}");
        assert_eq!(tensor.read().unwrap(), bytes, "{name} again");
    }
}

#[test]
fn gguf_round_trips() {
    let folder = Folder::new("gguf");
    let dtypes = [Dtype::I8, Dtype::I16, Dtype::I32, Dtype::F16, Dtype::BF16, Dtype::F32];
    let plains: Vec<_> = dtypes.into_iter().map(plain).collect();
    let mut metadata = Metadata::new();
    metadata.set("text", "a");
    metadata.set("pi", 3.5f32);
    metadata.set("flag", false);
    metadata.set("nested", Items::Array(vec![Items::Bool(vec![true]), Items::U64(vec![])]));
    metadata.set("strings", Items::String(vec!["x".into()]));
    let path = folder.file("a.gguf");
    gguf::save(&path, &named(&plains), &metadata).unwrap();
    holds(&path, &dtypes);
    let file = gguf::open(&Input::open(&path).unwrap()).unwrap();
    assert_eq!(file.metadata, metadata);
}

/// A step is what the group's range divided by the type's integers gives. Rounding to whole steps leaves
/// 0.29 of one in the mean square, for which scales are chosen, so that an end may lie two steps off; scales
/// are rounded themselves, to float16 and, in types of two levels, to 6 or 8 bits.
#[test]
fn quantised_blocks_are_near_what_they_were_made_of() {
    use gguf::{Blocks, Content, TensorType};
    let folder = Folder::new("blocks");
    let path = folder.file("a.gguf");
    // Rows of two blocks; the scale of groups changes within a row, and one group is all zeros.
    let (rows, columns) = (3, 512);
    let values: Vec<f32> = (0..rows * columns)
        .map(|i| {
            let noise = (i as u32).wrapping_mul(2_654_435_761) >> 8;
            let x = f64::from(noise) / f64::from(1 << 24) - 0.4;
            let scale = if i / 32 % 5 == 3 { 0.0 } else { 0.01 * (1 + i / 64 % 7) as f64 };
            (x * scale) as f32
        })
        .collect();
    for (kind, group, steps) in [
        (TensorType::Q4_0, 32, 7.0),
        (TensorType::Q5_0, 32, 15.0),
        (TensorType::Q8_0, 32, 253.0),
        (TensorType::Q4_K, 32, 14.0),
        (TensorType::Q6_K, 16, 30.0),
    ] {
        let blocks =
            Blocks { kind, shape: vec![rows, columns], bytes: kind.quantise(&values).unwrap() };
        let contents = [("x.weight", Content::Blocks(&blocks))];
        gguf::save_contents(&path, &contents, &Metadata::new()).unwrap();
        let file = gguf::open(&Input::open(&path).unwrap()).unwrap();
        assert_eq!((file.entries[0].kind, &file.entries[0].shape), (kind, &blocks.shape));
        let got = dequantised(&file);
        for (g, (got, want)) in got.chunks(group).zip(values.chunks(group)).enumerate() {
            let low = want.iter().fold(0f32, |a, &b| a.min(b));
            let high = want.iter().fold(0f32, |a, &b| a.max(b));
            // A block's greatest scale sets the steps of the others.
            let coarse = if blocks.kind.block_len() == 256 { 0.07 / 63.0 } else { 0.0 };
            let step = (high - low).max(-low).max(high) / steps;
            let mut squares = 0.0;
            for (got, want) in got.iter().zip(want) {
                let error = (got - want).abs();
                assert!(error <= 2.0 * step + coarse, "{kind}, group {g}: {got}, not {want}");
                squares += error * error / group as f32;
            }
            assert!(squares.sqrt() <= 0.4 * step + coarse, "{kind}, group {g}: {}", squares.sqrt());
        }
        let ragged = Blocks { shape: vec![rows + 1, columns], ..blocks };
        let contents = [("x.weight", Content::Blocks(&ragged))];
        assert!(gguf::save_contents(&path, &contents, &Metadata::new()).is_err());
    }
    assert!(TensorType::Q4_K.quantise(&values[..255]).is_err());
    assert!(TensorType::Q4_0.quantise(&[f32::NAN; 32]).is_err());
    assert!(TensorType::Q2_K.quantise(&values).is_err());
}

/// The elements of the only tensor, `scale * q + bias` in float32.
fn dequantised(file: &gguf::File) -> Vec<f32> {
    let parts = file.quantised_tensors().unwrap();
    let read = |part: usize| parts[part].1.read().unwrap();
    let floats = |part: usize| -> Vec<f32> {
        let bytes = read(part);
        match parts[part].1.dtype() {
            Dtype::F16 => bytes
                .chunks(2)
                .map(|b| lazulite_core::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            _ => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        }
    };
    let (packed, scales, biases) = (read(0), floats(1), floats(2));
    let count = file.entries[0].shape.iter().product::<usize>();
    let (bits, group) = (packed.len() * 8 / count, count / scales.len());
    let bit = |at: usize| u32::from(packed[at / 8] >> (at % 8) & 1);
    (0..count)
        .map(|i| {
            let q: u32 = (0..bits).map(|b| bit(i * bits + b) << b).sum();
            scales[i / group] * q as f32 + biases[i / group]
        })
        .collect()
}

#[test]
fn bad_arguments() {
    let folder = Folder::new("bad");
    let path = folder.file("a");
    let f32 = plain(Dtype::F32);
    let twice: [(&str, &dyn Saved); 2] = [("x", &f32), ("x", &f32)];
    let reserved: [(&str, &dyn Saved); 1] = [("__metadata__", &f32)];
    let bool = plain(Dtype::Bool);
    let five = Plain { dtype: Dtype::F32, shape: vec![1; 5], bytes: Some(vec![0; 4]) };
    let none = Default::default();
    let empty = Metadata::new();
    let mut aligned = Metadata::new();
    aligned.set("general.alignment", 64u32);
    let missing = folder.file("missing/a");
    for (result, kind) in [
        (safetensors::save(&path, &twice, &none), ErrorKind::Argument),
        (safetensors::save(&path, &reserved, &none), ErrorKind::Argument),
        (npz::save(&path, &twice, false), ErrorKind::Argument),
        (gguf::save(&path, &twice, &empty), ErrorKind::Argument),
        (gguf::save(&path, &[("x", &bool)], &empty), ErrorKind::Dtype),
        (gguf::save(&path, &[("x", &five)], &empty), ErrorKind::Shape),
        (gguf::save(&path, &[], &aligned), ErrorKind::Argument),
        (npy::save(&missing, &f32), ErrorKind::Io),
        (npy::save(&folder.0, &f32), ErrorKind::Io),
    ] {
        assert_eq!(result.unwrap_err().kind(), kind);
    }
    assert!(!path.exists());
}

#[test]
fn a_failed_save_leaves_the_old_file() {
    let folder = Folder::new("failed");
    let path = folder.file("a");
    let failing = Plain { dtype: Dtype::F32, shape: vec![2], bytes: None };
    let short = Plain { dtype: Dtype::F32, shape: vec![2], bytes: Some(vec![0; 4]) };
    for bad in [&failing, &short] {
        std::fs::write(&path, "old").unwrap();
        assert!(npy::save(&path, bad).is_err());
        assert!(npz::save(&path, &[("x", bad)], true).is_err());
        assert!(safetensors::save(&path, &[("x", bad)], &Default::default()).is_err());
        assert!(gguf::save(&path, &[("x", bad)], &Metadata::new()).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left over");
    }
}
