//! Models in folders: small ones against `tests/reference/tiny_llama.py`, and what GGUF files hold
//! written as folders.

use super::{fixture, generate, json, metadata, model, tokenizer};
use lazulite::nn::{Module, Parameters};
use lazulite::prelude::*;
use lazulite::quantized::{QuantFormat, QuantMode};
use lazulite_cli::generate::config::{self, Config};
use lazulite_cli::generate::{
    Session,
    llama::{Cache, Llama},
};
use lazulite_cli::text::{Template, Tokenizer, folder};
use lazulite_io::gguf::{self, Items, Value};
use lazulite_io::{Contents, Input, Saved, safetensors};
use serde_json::json;
use std::path::{Path, PathBuf};

/// An empty folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("lazulite-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn page(&self, name: &str, contents: &serde_json::Value) {
        std::fs::write(self.0.join(name), contents.to_string()).unwrap();
    }

    fn tensors(&self, name: &str, tensors: &Parameters) -> Result<()> {
        let tensors: Vec<(&str, &dyn Saved)> =
            tensors.iter().map(|(name, x)| (name.as_str(), x as &dyn Saved)).collect();
        safetensors::save(&self.0.join(name), &tensors, &Default::default())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The weights that the reference has.
fn filled(shapes: &serde_json::Value) -> Result<Parameters> {
    let mut weights = Parameters::new();
    let sorted: std::collections::BTreeMap<String, Vec<usize>> =
        serde_json::from_value(shapes.clone()).unwrap();
    for (seed, (name, shape)) in sorted.into_iter().enumerate() {
        let n: usize = shape.iter().product();
        let number = |i: usize| ((i * 37 + 11 * seed + 5) % 101) as f64 / 50.0 - 1.0;
        let x: Vec<f32> = (0..n).map(|i| number(i) as f32).collect();
        let x = Array::from_slice(&x, &shape)?;
        let x = match shape.len() {
            _ if name.ends_with("norm.weight") => x * 0.25 + 1.0,
            2 => x * 0.125,
            _ => x,
        };
        weights.insert(name, x);
    }
    Ok(weights)
}

fn ids(ids: &[u32]) -> Result<Array> {
    Array::from_slice(ids, &[1, ids.len()])
}

/// The reference computes in float64; sums of 96 products of numbers up to 1 differ by less.
fn near(name: &str, got: &Array, want: &[f64]) -> Result<()> {
    let got = got.to_vec::<f32>()?;
    assert_eq!(got.len(), want.len(), "{name}");
    for (g, w) in got.iter().zip(want) {
        assert!((f64::from(*g) - w).abs() < 2e-5, "{name}: {g}, expected {w}");
    }
    Ok(())
}

fn load(folder: &Folder) -> Result<Llama> {
    let config = Config::from_json(&folder::page(&folder.0, "config.json")?)?;
    Llama::new(config, config::folder_weights(&folder.0)?)
}

#[test]
fn small_models_have_the_reference_s_logits() -> Result<()> {
    let reference = json(&fixture("tiny_llama.json"));
    let prompt = super::ids(&reference["ids"]);
    for (name, case) in reference["models"].as_object().unwrap() {
        let folder = Folder::new(name);
        folder.page("config.json", &case["config"]);
        // Two files, as large models come.
        let mut first = filled(&case["shapes"])?;
        let second = first.split_off("model.layers.1");
        folder.tensors("model-1.safetensors", &first)?;
        folder.tensors("model-2.safetensors", &second)?;
        let model = load(&folder)?;
        let want: Vec<f64> = serde_json::from_value(case["logits"].clone()).unwrap();
        near(name, &model.forward(&ids(&prompt)?, &mut Cache::default())?, &want)?;
        let mut cache = Cache::default();
        model.forward(&ids(&prompt[..4])?, &mut cache)?;
        model.forward(&ids(&prompt[4..6])?, &mut cache)?;
        near(name, &model.forward(&ids(&prompt[6..])?, &mut cache)?, &want)?;
        let window = if name == "mistral" { 64 } else { 128 };
        assert_eq!(model.config.context, window);

        // The same quantised, in MLX's form.
        let mut packed = model.clone();
        packed.quantize(QuantFormat::new(QuantMode::Affine, Some(32), Some(8))?)?;
        folder.tensors("model-1.safetensors", &packed.parameters())?;
        folder.tensors(
            "model-2.safetensors",
            &[("model.norm.weight".to_string(), second["model.norm.weight"].clone())].into(),
        )?;
        let read = load(&folder)?;
        let (a, b) = (
            packed.forward(&ids(&prompt)?, &mut Cache::default())?,
            read.forward(&ids(&prompt)?, &mut Cache::default())?,
        );
        assert_eq!(a.to_vec::<f32>()?, b.to_vec::<f32>()?, "{name}");
        assert!(a.to_vec::<f32>()? != want.iter().map(|&w| w as f32).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn faults_of_folders_are_named() -> Result<()> {
    let reference = json(&fixture("tiny_llama.json"));
    let case = &reference["models"]["llama"];
    let folder = Folder::new("faults");
    let message = |e: Result<Llama>| e.err().map(|e| e.to_string()).unwrap_or_default();
    folder.page("config.json", &case["config"]);
    assert!(message(load(&folder)).contains("no safetensors file"));
    let mut weights = filled(&case["shapes"])?;
    let gone = weights.remove("model.layers.1.mlp.up_proj.weight").unwrap();
    folder.tensors("model.safetensors", &weights)?;
    assert!(message(load(&folder)).contains("model.layers.1.mlp.up_proj.weight"));
    weights.insert("model.layers.1.mlp.up_proj.weight".into(), gone.t()?);
    folder.tensors("model.safetensors", &weights)?;
    assert!(message(load(&folder)).contains("mlp.up_proj"), "{}", message(load(&folder)));
    let mut config = case["config"].clone();
    config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 2.0});
    folder.page("config.json", &config);
    assert!(message(load(&folder)).contains("'yarn'"));
    config["model_type"] = json!("gpt_neox");
    folder.page("config.json", &config);
    assert!(message(load(&folder)).contains("'gpt_neox'"));
    assert!(folder::metadata(&folder.0).is_err_and(|e| e.to_string().contains("tokenizer.json")));
    Ok(())
}

/// What `tokenizer.json` says of the tokenizer that a GGUF file's metadata describe.
fn pages(metadata: &gguf::Metadata) -> (serde_json::Value, serde_json::Value) {
    let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    let texts = get("tokens").and_then(Value::as_strings).unwrap();
    let Some(Value::Array(Items::I32(kinds))) = get("token_type") else { panic!("no kinds") };
    let vocabulary: serde_json::Map<_, _> =
        texts.iter().enumerate().map(|(i, text)| (text.clone(), json!(i))).collect();
    let added: Vec<_> = (texts.iter().zip(kinds).enumerate())
        .filter(|(_, (_, kind))| [3, 4].contains(*kind))
        .map(|(i, (text, kind))| json!({"id": i, "content": text, "special": *kind == 3}))
        .collect();
    let text = |key: &str| get(key).and_then(Value::as_u64).map(|i| texts[i as usize].clone());
    let bytes = json!({"type": "ByteLevel", "use_regex": true});
    let words = |n: &str| {
        let pattern = format!(r"(?i:'s|'t)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{n}| ?[^\s]+");
        json!({"type": "Split", "pattern": {"Regex": pattern}})
    };
    let (pre, normalizer, merges) = if let Some(merges) = get("merges").and_then(Value::as_strings)
    {
        let steps = match get("pre").and_then(Value::as_str) {
            Some("smollm") => json!([{"type": "Digits", "individual_digits": true}, bytes]),
            Some("llama-bpe") => json!([words("{1,3}"), bytes]),
            Some("qwen2") => json!([words(""), bytes]),
            _ => json!([bytes]),
        };
        let merges: Vec<_> = merges.iter().map(|m| json!(m)).collect();
        (json!({"type": "Sequence", "pretokenizers": steps}), json!(null), merges)
    } else {
        let Some(Value::Array(Items::F32(scores))) = get("scores") else { panic!("no scores") };
        let place = |t: &str| texts.iter().position(|text| text == t);
        let mut merges = Vec::new();
        for (id, token) in texts.iter().enumerate() {
            for (at, _) in token.char_indices().skip(1) {
                if let (Some(a), Some(b)) = (place(&token[..at]), place(&token[at..])) {
                    merges.push((scores[id], a, b));
                }
            }
        }
        merges.sort_by(|x, y| y.0.total_cmp(&x.0));
        let merges = merges.iter().map(|&(_, a, b)| json!([texts[a], texts[b]])).collect();
        let prefix = get("add_space_prefix").and_then(Value::as_bool).unwrap_or(true);
        let prepend = if prefix { json!([{"type": "Prepend"}]) } else { json!([]) };
        (json!(null), json!({"type": "Sequence", "normalizers": prepend}), merges)
    };
    let begin = get("add_bos_token").and_then(Value::as_bool);
    let begin = begin.unwrap_or(get("scores").is_some());
    let single = json!([{"SpecialToken": {"id": text("bos_token_id")}}]);
    let tokenizer = json!({
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges,
            "unk_token": text("unknown_token_id")},
        "pre_tokenizer": pre,
        "normalizer": normalizer,
        "added_tokens": added,
        "post_processor": if begin { json!({"type": "TemplateProcessing", "single": single}) }
            else { json!(null) },
    });
    let settings = json!({
        "bos_token": text("bos_token_id"),
        "eos_token": {"content": text("eos_token_id")},
        "chat_template": metadata.get("tokenizer.chat_template").and_then(Value::as_str),
    });
    (tokenizer, settings)
}

#[test]
fn tokenizers_of_folders_are_those_of_files() -> Result<()> {
    let texts = [
        "Hello, world! It's 12345 o'clock.",
        "  two  blanks\n\n\tand tabs ",
        "naïve café 日本語 😀 ½",
        "<|im_start|>user\nhi<|im_end|></s><s>",
    ];
    for name in ["gpt2.gguf", "llama3.gguf", "qwen2.gguf", "sentencepiece.gguf", "smollm.gguf"] {
        let folder = Folder::new(name);
        let (page, settings) = pages(&metadata(&fixture(name)));
        folder.page("tokenizer.json", &page);
        folder.page("tokenizer_config.json", &settings);
        let want = tokenizer(name);
        let read = folder::metadata(&folder.0)?;
        let got = Tokenizer::from_gguf(&read)?;
        assert_eq!((got.len(), got.bos(), got.eos()), (want.len(), want.bos(), want.eos()));
        for text in texts {
            for controls in [false, true] {
                let (got, want) = (got.encode(text, controls), want.encode(text, controls));
                assert_eq!(got, want, "{name}: {text}");
            }
        }
        let made = [
            Template::from_gguf(&read, &got)?,
            Template::from_gguf(&metadata(&fixture(name)), &want)?,
        ];
        assert_eq!(made[0].is_some(), made[1].is_some(), "{name}");
    }
    Ok(())
}

#[test]
fn a_folder_of_smollm2_gives_the_reference_s_tokens() -> Result<()> {
    let Some(path) = model() else { return Ok(()) };
    let Contents::Gguf(file) = Contents::open(&Input::open(&path)?)? else { panic!("no GGUF") };
    let mut config = Config::from_gguf(&file.metadata)?;
    let mut weights = config::gguf_weights(&file, &mut config)?;
    let d = config.head_size;
    for (name, array) in &mut weights {
        if name.contains("q_proj") || name.contains("k_proj") {
            // From the order of pairs, (0, d/2, 1, d/2 + 1, ...), to that of the halves.
            let row = |i: usize| (i / d * d + i % d % (d / 2) * 2 + i % d / (d / 2)) as i32;
            let rows: Vec<i32> = (0..array.size(0)?).map(row).collect();
            *array = array.take(&Array::from_slice(&rows, &[rows.len()])?, Some(0))?;
        }
    }
    let folder = Folder::new("smollm2");
    folder.tensors("model.safetensors", &weights)?;
    let (page, settings) = pages(&file.metadata);
    folder.page("tokenizer.json", &page);
    folder.page("tokenizer_config.json", &settings);
    folder.page(
        "config.json",
        &json!({
            "model_type": "llama",
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "rms_norm_eps": config.epsilon,
            "rope_theta": config.rope.base,
            "max_position_embeddings": config.context,
            "tie_word_embeddings": true,
        }),
    );
    generate::check(&Session::open(&folder.0)?)
}

/// Nothing but a folder counts as one.
#[test]
fn a_path_that_is_not_there_is_an_error() {
    assert!(Session::open(Path::new("/nowhere/model")).is_err_and(|e| e.kind() == ErrorKind::Io));
}
