//! The language model in other quantised types, by the program's own writer.

use super::{fixture, ids, model};
use lazulite::io::Input;
use lazulite::io::gguf::{self, TensorType};
use lazulite::prelude::*;
use lazulite_cli::generate::{Session, llama::Cache};
use lazulite_cli::requantise;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROMPT: &str = "Name three fruits.";
/// Tokens of the answer that are compared.
const TOKENS: usize = 4;

/// The interpreter of the tests' environment, if it has the `gguf` package.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let venv = std::env::var_os("VIRTUAL_ENV").map_or_else(|| root.join(".venv"), PathBuf::from);
    let python = venv.join("bin/python");
    let has = Command::new(&python).args(["-c", "import gguf"]).output();
    if has.is_ok_and(|done| done.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {} has no gguf; `make venv` installs it", python.display());
    None
}

/// The logits after a prompt, and the likeliest tokens after it.
fn answer(session: &Session, prompt: &[u32]) -> Result<(Vec<f32>, Vec<u32>)> {
    let mut cache = Cache::default();
    let mut logits = session.read(prompt, &mut cache)?;
    let first = logits.to_vec()?;
    let mut made = Vec::new();
    while made.len() < TOKENS {
        let token: u32 = logits.argmax(None, false)?.item()?;
        if session.tokenizer.is_end(token) {
            break;
        }
        made.push(token);
        logits = session.read(&[token], &mut cache)?;
    }
    Ok((first, made))
}

/// The `gguf` package reads the elements that this library reads, and NumPy computes from them what
/// the model answers when its weights stay quantised. What an answer says is no measure: the first
/// token of many is nearly a tie, which the rounding of weights decides.
#[test]
fn k_quants_answer_as_the_package_reads_them() -> Result<()> {
    let (Some(path), Some(python)) = (model(), python()) else { return Ok(()) };
    for (kind, short) in
        [(TensorType::Q4_K, TensorType::Q5_0), (TensorType::Q6_K, TensorType::Q8_0)]
    {
        let folder = std::env::temp_dir().join(format!("lazulite-{}-{kind}", std::process::id()));
        let failed = |e| Error::io("test", folder.display(), e);
        let out = folder.with_extension("gguf");
        requantise::run(&path, &out, kind)?;
        let file = gguf::open(&Input::open(&out)?)?;
        let of = |name: &str| file.entries.iter().find(|e| e.name == name).map(|e| e.kind);
        // Rows of 1536 elements are whole blocks of 256, those of 576 are not.
        assert_eq!(of("blk.0.ffn_down.weight"), Some(kind));
        assert_eq!(of("blk.0.attn_q.weight"), Some(short));
        assert_eq!(of("token_embd.weight"), Some(TensorType::Q8_0));
        assert_eq!(of("output_norm.weight"), Some(TensorType::F32));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut written = 0;
        for entry in &file.entries {
            let name = entry.name.as_str();
            if name.starts_with("blk.17.")
                || matches!(name, "token_embd.weight" | "output_norm.weight")
            {
                let values = requantise::elements(entry)?.to_vec::<f32>()?;
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                std::fs::write(folder.join(name), bytes).map_err(failed)?;
                written += 1;
            }
        }
        let mut script = Command::new(&python);
        script.arg(fixture("dequantised.py")).args([&out, &folder]);
        let done = script.args([PROMPT, &TOKENS.to_string()]).output().map_err(failed)?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let want = std::fs::read(folder.join("logits")).map_err(failed)?;
        let session = Session::open(&out)?;
        let prompt = session.encode(PROMPT)?;
        let got = answer(&session, &prompt);
        // The file is held open and read as weights are used: it goes when all is done.
        std::fs::remove_file(&out).map_err(failed)?;
        std::fs::remove_dir_all(&folder).map_err(failed)?;
        let (logits, new) = got?;
        assert_eq!((told["tensors"].as_u64(), &ids(&told["prompt"])), (Some(written), &prompt));
        let want = want.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b));
        let most =
            logits.iter().zip(want).map(|(x, y)| (f64::from(*x) - y).abs()).fold(0.0, f64::max);
        println!("{kind}: logits differ by {most:.1e}; the least margin is {}", told["margin"]);
        assert!(most <= 2e-3, "{kind}: logits differ by {most}");
        assert_eq!(new, ids(&told["new"]), "{kind}");
    }
    Ok(())
}

#[test]
fn types_are_known_by_name() {
    assert_eq!(requantise::parse("q4_k").ok(), Some(TensorType::Q4_K));
    assert!(requantise::parse("q9").unwrap_err().to_string().contains("Q6_K"));
}
