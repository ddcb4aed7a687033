//! Tokenizers and templates against the libraries that they come from (`tests/data/make.py`).
#![allow(missing_docs)]

mod folders;
mod generate;
mod pages;
mod requantise;
mod template;
mod tokenizer;

use lazulite_cli::text::Tokenizer;
use lazulite_io::{Input, gguf};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn metadata(path: &Path) -> gguf::Metadata {
    gguf::open(&Input::open(path).unwrap()).unwrap().metadata
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_gguf(&metadata(&fixture(name))).unwrap()
}

/// The model that `make demo` and `make test` fetch, if it is there.
fn model() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join(".cache/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.is_file() {
        eprintln!("skipped: {} is not there; `make demo` fetches it", path.display());
    }
    path.is_file().then_some(path)
}

fn reference() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference");
    json(&path.join("smollm2_golden.json"))
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}
