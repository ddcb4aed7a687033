//! The host's side of the backend, without a device: streams, recordings and the end of the process, over
//! libraries that do nothing (`host_tests.c`). Values are not looked at.
//!
//! The libraries must be there when the process begins, so each test is a child of its own.

use std::path::Path;
use std::process::Command;

use lazulite_core::op::quantized::{QuantFormat, QuantMode};
use lazulite_core::transform::Repeated;
use lazulite_core::{Array, Device, Result, eval};

use crate::backend;
// Reading values needs the processor; linking it is what registers it.
use lazulite_cpu as _;

/// What a child is to do.
const CHILD: &str = "LAZULITE_HOST_TEST";

/// Makes the libraries in `folder`.
fn make_libraries(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/host_tests.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let first = folder.join("libcuda.so.1");
    let mut made = Command::new(compiler);
    made.args(["-w", "-shared", "-fPIC", "-o"]).arg(&first).arg(source);
    assert!(made.status().unwrap().success());
    for name in ["libnvrtc.so.13", "libcublasLt.so.13"] {
        std::fs::copy(&first, folder.join(name)).unwrap();
    }
}

#[test]
fn work_is_queued_recorded_and_left_behind_without_a_fault() {
    if !cfg!(target_os = "linux") {
        println!("skipped: the libraries have their names on Linux");
        return;
    }
    let folder = std::env::temp_dir().join(format!("lazulite-host-{}", std::process::id()));
    make_libraries(&folder);
    for what in ["record", "alternate", "leave"] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "host_tests::child", "--ignored", "--nocapture"]).env(CHILD, what);
        for name in ["LD_LIBRARY_PATH", "LAZULITE_CUDA_LIBS", "XDG_CACHE_HOME"] {
            child.env(name, &folder);
        }
        let output = child.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{what}: {}\n{out}\n{err}", output.status);
        assert!(out.contains("1 passed"), "{what}: {out}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
#[ignore = "run by the test above, in a process with other libraries"]
fn child() {
    let what = std::env::var(CHILD).unwrap();
    assert!(lazulite_core::backend::is_available(Device::GPU), "{:?}", crate::availability());
    match what.as_str() {
        "record" => record().unwrap(),
        "alternate" => alternate().unwrap(),
        "leave" => leave().unwrap(),
        other => panic!("{other}"),
    }
}

/// A layer of a model, whose launches wait for each other to be joined.
struct Layer {
    matrices: Vec<[Array; 3]>,
    gain: Array,
}

impl Layer {
    const FORMAT: QuantFormat = QuantFormat { group: 32, bits: 4, mode: QuantMode::Affine };
    const WIDTH: usize = 256;

    fn new() -> Result<Layer> {
        let numbers = vec![0.5f32; Layer::WIDTH * Layer::WIDTH];
        let w = Array::from_slice(&numbers, &[Layer::WIDTH, Layer::WIDTH])?;
        let packed = || -> Result<[Array; 3]> {
            let parts = w.quantize(Layer::FORMAT)?;
            eval::eval(&parts)?;
            Ok(parts.try_into().expect("words, scales and biases"))
        };
        let matrices = (0..4).map(|_| packed()).collect::<Result<_>>()?;
        Ok(Layer { matrices, gain: Array::from_slice(&numbers[..Layer::WIDTH], &[Layer::WIDTH])? })
    }

    fn product(&self, x: &Array, i: usize) -> Result<Array> {
        let [w, scales, biases] = &self.matrices[i];
        x.quantized_matmul(w, scales, Some(biases), true, Layer::FORMAT)
    }

    fn call(&self, x: &Array) -> Result<Array> {
        let norm = lazulite_core::op::fast::rms_norm(x, Some(&self.gain), 1e-5)?;
        let gated = self.product(&norm, 0)?.sigmoid()?.multiply(&self.product(&norm, 1)?)?;
        let down = self.product(&gated, 2)?.add(x)?;
        self.product(&down, 3)?.add(&down)
    }
}

fn input() -> Result<Array> {
    Array::from_slice(&[1.0f32; Layer::WIDTH], &[1, Layer::WIDTH])
}

/// A step that is recorded and queued again.
fn record() -> Result<()> {
    let layer = Layer::new()?;
    let step = Repeated::new(|x: Array| layer.call(&layer.call(&x)?));
    let mut x = input()?;
    for _ in 0..20 {
        x = step.call(x)?;
        x.to_vec::<f32>()?;
    }
    let stats = backend::record_stats();
    assert!(stats.made == 1 && stats.replayed >= 17, "{stats:?}");
    Ok(())
}

/// Evaluations by the caller and by the stream's thread in turn, which read what the others make.
fn alternate() -> Result<()> {
    let layer = Layer::new()?;
    let mut x = input()?;
    for i in 0..200 {
        let next = layer.call(&x)?;
        match i % 3 {
            0 => eval::eval(std::slice::from_ref(&next))?,
            _ => eval::async_eval(std::slice::from_ref(&next))?,
        }
        if i % 5 == 0 {
            x.to_vec::<f32>()?;
        }
        x = next;
    }
    eval::synchronize(x.stream())
}

/// A process that ends while its stream's thread has work.
fn leave() -> Result<()> {
    let layer = Layer::new()?;
    let mut x = input()?;
    for _ in 0..300 {
        x = layer.call(&x)?;
        eval::async_eval(std::slice::from_ref(&x))?;
    }
    Ok(())
}
