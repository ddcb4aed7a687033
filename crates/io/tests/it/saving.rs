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
