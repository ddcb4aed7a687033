//! Kernels from source: compiled once for the device's architecture, kept in memory and on disk.
//!
//! A cubin on disk lies in `$XDG_CACHE_HOME/lazulite/cuda` (`~/.cache/lazulite/cuda`) under a hash
//! of its source, the options, the architecture and the compiler's version. Files are written under
//! another name first, so that two processes never see half of one.

use std::ffi::{CStr, CString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::nvrtc::{result, sys};
use lazulite_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::driver::{self, Kernel};

/// The text that every source begins with: types, conversions, the functions of the op table.
pub(crate) const PRELUDE: &str = include_str!("prelude.cuh");

/// Whether the compiler may join a product and a sum into one rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rounding {
    /// Every op rounds by itself, as separate kernels would.
    Separate,
    /// Products and sums may be joined: for accumulations, whose order is ours anyway.
    Contracted,
}

/// How often modules were compiled and found on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModuleStats {
    /// Modules compiled by this process.
    pub compiled: u64,
    /// Modules found on disk.
    pub loaded: u64,
}

/// The modules of one device.
pub(crate) struct Modules {
    architecture: String,
    kernels: Mutex<FxHashMap<(String, &'static str), Kernel>>,
    compiled: AtomicU64,
    loaded: AtomicU64,
}

impl Modules {
    /// An empty set for an architecture.
    pub fn new(architecture: String) -> Modules {
        Modules {
            architecture,
            kernels: Mutex::default(),
            compiled: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
        }
    }

    /// The counters.
    pub fn stats(&self) -> ModuleStats {
        ModuleStats {
            compiled: self.compiled.load(Ordering::Relaxed),
            loaded: self.loaded.load(Ordering::Relaxed),
        }
    }

    /// The kernel `name` of a source file under `defines` (`NAME=text`); the prelude is put first.
    ///
    /// # Errors
    /// Kind `Kernel` with the compiler's log.
    pub fn kernel(
        &self,
        source: &'static str,
        name: &'static str,
        defines: &str,
        rounding: Rounding,
    ) -> Result<Kernel> {
        let key = (defines.to_string(), name);
        if let Some(&kernel) = self.kernels.lock().get(&key) {
            return Ok(kernel);
        }
        let kernel = self.load(&defined(defines, source), name, rounding)?;
        self.kernels.lock().insert(key, kernel);
        Ok(kernel)
    }

    /// Compiles or finds the module of `text` (put behind the prelude) and returns its kernel.
    ///
    /// # Errors
    /// Kind `Kernel` with the compiler's log.
    pub fn load(&self, text: &str, name: &str, rounding: Rounding) -> Result<Kernel> {
        self.found_or_made(text, name, rounding, || compile(text, &self.architecture, rounding))
    }

    /// As [`Modules::load`], for the whole of a user's text.
    ///
    /// # Errors
    /// Kind `Kernel` with the compiler's log.
    pub fn load_user(&self, text: &str, name: &str) -> Result<Kernel> {
        let rounding = Rounding::Contracted;
        self.found_or_made(text, name, rounding, || {
            compile_bare(text, &self.architecture, rounding, include_options())
        })
    }

    fn found_or_made(
        &self,
        text: &str,
        name: &str,
        rounding: Rounding,
        make: impl FnOnce() -> Result<Compiled>,
    ) -> Result<Kernel> {
        let path = cache_file(text, &self.architecture, rounding);
        if let Some(path) = &path
            && let Ok(code) = std::fs::read(path)
            && let Ok(found) = driver::load_module(&code, &[name])
        {
            self.loaded.fetch_add(1, Ordering::Relaxed);
            return Ok(found[0].begins_early(begins_early(text, name)));
        }
        let code = make()?.code;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        if let Some(path) = path {
            // The cache is a convenience: a full or read-only disk is no error.
            let _ = store(&path, &code);
        }
        Ok(driver::load_module(&code, &[name])?[0].begins_early(begins_early(text, name)))
    }
}

/// True iff a kernel waits for those before it by itself.
fn begins_early(text: &str, name: &str) -> bool {
    let Some(start) = text.rfind(&format!(" {name}(")) else { return false };
    let body = text[start..].split("extern \"C\"").next().unwrap_or_default();
    body.contains("OVERLAPS") || body.contains("await();")
}

/// `source` behind definitions (`NAME=text`, or `NAME` for 1), separated by semicolons.
pub(crate) fn defined(defines: &str, source: &str) -> String {
    let mut text = String::new();
    for define in defines.split(';').filter(|d| !d.is_empty()) {
        let (name, value) = define.split_once('=').unwrap_or((define, "1"));
        text.push_str(&format!("#define {name} {value}\n"));
    }
    text.push_str(source);
    text
}

fn store(path: &std::path::Path, code: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let other = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&other, code)?;
    std::fs::rename(&other, path)
}

fn cache_file(text: &str, architecture: &str, rounding: Rounding) -> Option<PathBuf> {
    let folder = match std::env::var_os("XDG_CACHE_HOME").filter(|p| !p.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let digest = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, PRELUDE, text, architecture, rounding, compiler_version()).hash(&mut hasher);
        hasher.finish()
    };
    let name = format!("{:016x}{:016x}.cubin", digest(0), digest(1));
    Some(folder.join("lazulite").join("cuda").join(name))
}

fn compiler_version() -> (i32, i32) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the compiler is there (the backend is not registered without), and the pointers are
    // to locals.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    (major, minor)
}

/// What the compiler made.
pub(crate) struct Compiled {
    /// Machine code.
    pub code: Vec<u8>,
    /// The compiler's log, which holds the report of registers and spills.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the report of registers"))]
    pub log: String,
}

/// Machine code for `text` behind the prelude. The library must be there.
///
/// # Errors
/// Kind `Kernel` with the compiler's log.
pub(crate) fn compile(text: &str, architecture: &str, rounding: Rounding) -> Result<Compiled> {
    // Without the runtime's declarations, of which nothing is used: the same code in 0.8 to 0.9
    // of the time.
    let further = Some("-minimal".to_string());
    compile_bare(&format!("{PRELUDE}\n{text}"), architecture, rounding, further)
}

/// The folder of CUDA's headers, where there is one, as an option of the compiler.
pub(crate) fn include_options() -> Option<String> {
    let beside = driver::folders().into_iter().map(|lib| lib.with_file_name("include"));
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os);
    let mut all = named.map(|root| PathBuf::from(root).join("include")).chain(beside);
    let folder = all.find(|folder| folder.join("cuda_fp16.h").is_file())?;
    Some(format!("--include-path={}", folder.display()))
}

/// As [`compile`], without the prelude and with a further option.
///
/// # Errors
/// Kind `Kernel` with the compiler's log.
pub(crate) fn compile_bare(
    text: &str,
    architecture: &str,
    rounding: Rounding,
    further: Option<String>,
) -> Result<Compiled> {
    let failed = |what: String| Error::new(ErrorKind::Kernel, "compile", what);
    let source = CString::new(text).map_err(|_| failed("the source has a zero byte".into()))?;
    let program = result::create_program(&source, Some(c"lazulite.cu"))
        .map_err(|error| failed(error.to_string()))?;
    let fmad = if rounding == Rounding::Contracted { "true" } else { "false" };
    let mut options = vec![
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".into(),
        "--device-as-default-execution-space".into(),
        format!("--fmad={fmad}"),
        "--ptxas-options=-v".into(),
        "--ptxas-options=--warn-on-spills".into(),
    ];
    options.extend(further);
    // SAFETY: the program was just made.
    let outcome = unsafe { result::compile_program(program, &options) };
    // SAFETY: as above; the log ends with a zero.
    let log = unsafe {
        match result::get_program_log(program) {
            Ok(log) => CStr::from_ptr(log.as_ptr()).to_string_lossy().into_owned(),
            Err(_) => String::new(),
        }
    };
    let code = match outcome {
        Ok(()) => {
            let mut size = 0;
            // SAFETY: the program is compiled; the buffer has the size that the library names.
            unsafe {
                sys::nvrtcGetCUBINSize(program, &mut size);
                let mut code = vec![0u8; size];
                sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast());
                Ok(code)
            }
        }
        Err(error) => {
            let start: String = log.chars().take(4000).collect();
            Err(failed(format!("{error} for {architecture}: {start}")))
        }
    };
    // SAFETY: the program is not used afterwards.
    let _ = unsafe { result::destroy_program(program) };
    Ok(Compiled { code: code?, log })
}
