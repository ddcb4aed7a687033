//! Functions through files: values, derivatives, several recordings, and damage.

use lazulite::export::{Exporter, Imported, save};
use lazulite::io::Input;
use lazulite::io::safetensors;
use lazulite::op::join::PadMode;
use lazulite::prelude::*;
use lazulite::{compile, custom_function, fast, grad, linalg, vmap};
use lazulite_testkit::{Rng, values};
use std::path::PathBuf;
use std::slice::from_ref;

/// A path of this test's own; what is there is removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("lazulite-export-{}-{name}", std::process::id());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may not have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

type Function = fn(Array) -> Result<Array>;

/// Functions of one `(4, 6)` array.
const FUNCTIONS: &[(&str, Function)] = &[
    ("identity", Ok),
    ("softmax of a product", |x| x.matmul(&x.transpose(None)?)?.softmax(Some(&[-1]), true)),
    ("norm", |x| fast::rms_norm(&x, None, 1e-5)),
    ("slices", |x| x.slice(&[0, 1], &[4, 5], &[2, 1])?.pad(&[(1, 0), (0, 2)], &PadMode::Edge)),
    ("factors", |x| linalg::qr(&x.transpose(None)?).map(|(q, _)| q)),
    ("constants", |x| {
        let table = Array::from_slice(&[0.5f32, -1.0, 2.0, 0.0, 3.0, 1.0], &[6])?;
        x.multiply(&table)?.take(&Array::from_slice(&[3u32, 1], &[2])?, Some(0))
    }),
    ("half", |x| x.astype(Dtype::F16)?.cumsum(1, true, false)?.astype(Dtype::F32)),
    ("derivative", grad_of_sum),
    ("own rule", |x| {
        let f = custom_function(|x: Array| x.sin()).with_vjp(|_x, _y, ct: &Array| Ok(ct.clone()));
        f.call(x)
    }),
];

fn grad_of_sum(x: Array) -> Result<Array> {
    grad(|x: Array| x.tanh()?.square()?.sum(None, false))(x)
}

fn sample() -> Array {
    Rng::new(1)
        .array(&[4, 6], Dtype::F32, (-1.0, 1.0), lazulite_testkit::Arrangement::Contiguous)
        .unwrap()
}

fn one(outputs: Vec<Array>) -> Array {
    outputs.into_iter().next().unwrap()
}

#[test]
fn what_is_read_computes_what_was_written() {
    let x = sample();
    for (name, f) in FUNCTIONS {
        let file = Scratch::new(&name.replace(' ', "-"));
        save(&file.0, f, x.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let read = Imported::open(&file.0).unwrap();
        let call = |x: Array| Ok(one(read.call(&[x], &[])?));
        let same = |what: &str, got: Result<Array>, want: Result<Array>| {
            let (got, want) = (got.unwrap(), want.unwrap());
            assert_eq!(got.dtype(), want.dtype(), "{name}: {what}");
            assert_eq!(values(&got).unwrap(), values(&want).unwrap(), "{name}: {what}");
        };
        same("value", call(x.clone()), f(x.clone()));
        same("compiled", compile(call)(x.clone()), f(x.clone()));
        let batch = Array::stack(&[x.clone(), x.clone()], 0).unwrap();
        same("batched", vmap(call, Some(0), 0)(batch.clone()), vmap(f, Some(0), 0)(batch));
        if *name != "own rule" {
            let total = |f: &dyn Fn(Array) -> Result<Array>, x| f(x)?.sum(None, false);
            let got = grad(|x| total(&call, x))(x.clone());
            same("gradient", got, grad(|x| total(&|x| f(x), x))(x.clone()));
        }
    }
}

#[test]
fn a_rule_of_the_users_is_not_in_the_file() {
    let file = Scratch::new("rule");
    let f = custom_function(|x: Array| x.sin()).with_vjp(|_x, _y, ct: &Array| Ok(ct.clone()));
    let x = Array::from_slice(&[0.0f32, 1.0], &[2]).unwrap();
    save(&file.0, |x| f.call(x), x.clone()).unwrap();
    let read = Imported::open(&file.0).unwrap();
    let d = grad(|x| one(read.call(&[x], &[])?).sum(None, false))(x).unwrap();
    assert_eq!(d.to_vec::<f32>().unwrap(), [1.0, 1f32.cos()]);
}

#[test]
fn several_recordings_names_and_shared_constants() {
    let file = Scratch::new("several");
    let weight =
        Array::from_slice(&(0..300).map(|i| i as f32).collect::<Vec<_>>(), &[3, 100]).unwrap();
    let f = |x: &[Array]| {
        let y = x[0].matmul(&weight)?;
        Ok(vec![match x.get(1) {
            Some(b) => y.add(b)?,
            None => y,
        }])
    };
    let (one_row, rows) =
        (Array::ones(&[1, 3], Dtype::F32).unwrap(), Array::ones(&[2, 3], Dtype::F32).unwrap());
    let bias = Array::ones(&[100], Dtype::F32).unwrap();
    let mut exporter = Exporter::new(false, Some("a layer".into()));
    exporter.trace(from_ref(&one_row), &[], f).unwrap();
    exporter.trace(from_ref(&rows), &[], f).unwrap();
    exporter.trace(from_ref(&rows), &[("bias", bias.clone())], f).unwrap();
    let again = exporter.trace(from_ref(&rows), &[("bias", bias.clone())], f).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Argument, "{again}");
    exporter.save(&file.0).unwrap();

    let read = Imported::open(&file.0).unwrap();
    assert_eq!(read.metadata(), "a layer");
    assert_eq!(read.traces().count(), 3);
    for (inputs, named) in
        [(&one_row, vec![]), (&rows, vec![]), (&rows, vec![("bias", bias.clone())])]
    {
        let all: Vec<Array> =
            std::iter::once(inputs).chain(named.iter().map(|(_, x)| x)).cloned().collect();
        let (got, want) = (read.call(from_ref(inputs), &named).unwrap(), f(&all).unwrap());
        assert_eq!(got[0].to_vec::<f32>().unwrap(), want[0].to_vec::<f32>().unwrap());
    }
    let stored = safetensors::open(&Input::open(&file.0).unwrap()).unwrap();
    let shapes: Vec<_> = stored.tensors.iter().map(|(_, t)| t.shape().to_vec()).collect();
    assert_eq!(shapes, [[3, 100]], "the weight is in the file once");

    let wrong = read.call(from_ref(&bias), &[("bias", bias.clone())]).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "import: called with float32 (100,), bias: float32 (100,); recorded for float32 (1, 3); \
         float32 (2, 3); float32 (2, 3), bias: float32 (100,)"
    );
}

#[test]
fn one_recording_for_all_sizes() {
    let file = Scratch::new("shapeless");
    let f =
        |x: &[Array]| Ok(vec![x[0].softmax(Some(&[-1]), true)?.matmul(&x[0].transpose(None)?)?]);
    let mut exporter = Exporter::new(true, None);
    exporter.trace(&[sample()], &[], f).unwrap();
    exporter.save(&file.0).unwrap();
    let read = Imported::open(&file.0).unwrap();
    for shape in [[1, 1], [4, 6], [3, 7]] {
        let x = Rng::new(2)
            .array(&shape, Dtype::F32, (-1.0, 1.0), lazulite_testkit::Arrangement::Contiguous)
            .unwrap();
        let got = one(read.call(from_ref(&x), &[]).unwrap());
        let want = one(f(&[x]).unwrap());
        assert_eq!(got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
    }
    let flat = read.call(&[Array::ones(&[6], Dtype::F32).unwrap()], &[]).unwrap_err();
    assert_eq!(flat.kind(), ErrorKind::Argument);
}

/// Cut anywhere or with any byte changed, a file is an error that names it, or what it was.
#[test]
fn damaged_files_are_errors() {
    let file = Scratch::new("damaged");
    let x = sample();
    save(&file.0, |x: Array| x.add(&sample())?.sum(Some(&[0]), false), x.clone()).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    let open = |bytes: Vec<u8>| {
        let read = Imported::read(&Input::from_bytes(bytes))?;
        read.call(from_ref(&x), &[])?[0].to_vec::<f32>()
    };
    assert!(open(bytes.clone()).is_ok());
    for end in 0..bytes.len() {
        let error = open(bytes[..end].to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "cut at {end}: {error}");
    }
    let constants = x.nbytes();
    for at in 0..bytes.len() - constants {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        match open(changed) {
            Err(e) => {
                assert!(matches!(e.kind(), ErrorKind::Io | ErrorKind::Unsupported), "{at}: {e}")
            }
            // A key or a name that nothing reads, such as white space at the header's end.
            Ok(_) => assert!(at > bytes_of_text(&bytes), "byte {at} is not checked"),
        }
    }
}

/// Where the header's text ends and its padding begins.
fn bytes_of_text(bytes: &[u8]) -> usize {
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    8 + bytes[8..8 + size].iter().rposition(|&b| b == b'}').unwrap()
}

#[test]
fn other_files_are_refused_by_name() {
    let file = Scratch::new("weights.safetensors");
    let x = sample();
    let later = [("format", "lazulite.function"), ("version", "99")];
    for (metadata, why) in
        [(&later[..0], "it does not hold a function"), (&later[..], "version \"99\"")]
    {
        let metadata = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        safetensors::save(&file.0, &[("w", &x)], &metadata).unwrap();
        let error = Imported::open(&file.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("weights.safetensors"), "{text}");
    }
}
