//! What a model's files say of its sizes, and the names of its tensors.

use lazulite::io::gguf;
use lazulite::nn::{Parameters, Rope};
use lazulite::prelude::*;
use serde_json::Value;
use std::f64::consts::TAU;
use std::path::Path;

/// The sizes and constants of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Elements of a token's vector.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_size: usize,
    /// The epsilon of the norms.
    pub epsilon: f64,
    /// How positions turn queries and keys.
    pub rope: Rope,
    /// Tokens that the model was trained to see at once.
    pub context: usize,
    /// True iff the embedding serves as the head.
    pub tied: bool,
}

const OP: &str = "generate";

/// The architectures, by the names that both kinds of files have for them.
const KNOWN: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

fn known(name: &str) -> Result<()> {
    if KNOWN.contains(&name) {
        return Ok(());
    }
    let message = format!("the architecture is '{name}', expected one of {}", KNOWN.join(", "));
    Err(Error::unsupported(OP, message))
}

/// Numbers by key, with what is said where one is missing.
struct Numbers<'a> {
    get: &'a dyn Fn(&str) -> Option<f64>,
    prefix: String,
}

impl Numbers<'_> {
    fn need(&self, key: &str) -> Result<f64> {
        let missing = || Error::io(OP, format!("{}{key}", self.prefix), "is missing or no number");
        (self.get)(key).ok_or_else(missing)
    }

    fn optional_count(&self, key: &str) -> Option<usize> {
        (self.get)(key).filter(|&n| (1.0..4e9).contains(&n)).map(|n| n as usize)
    }

    fn count(&self, key: &str) -> Result<usize> {
        let missing = || Error::io(OP, format!("{}{key}", self.prefix), "is missing or zero");
        self.optional_count(key).ok_or_else(missing)
    }
}

impl Config {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// Kind `Unsupported` if the architecture is not known, `Io` if a key is missing or zero.
    pub fn from_gguf(metadata: &gguf::Metadata) -> Result<Config> {
        let name = metadata.get("general.architecture").and_then(|v| v.as_str()).unwrap_or("");
        known(name)?;
        let get = |key: &str| {
            let value = metadata.get(&format!("{name}.{key}"))?;
            value.as_f64().or(value.as_u64().map(|n| n as f64))
        };
        let numbers = Numbers { get: &get, prefix: format!("{name}.") };
        let heads = numbers.count("attention.head_count")?;
        let width = numbers.count("embedding_length")?;
        let head = numbers.optional_count("attention.key_length");
        let head = head.or(numbers.optional_count("rope.dimension_count"));
        let head_size = head.unwrap_or(width / heads);
        let mut rope = Rope::new(head_size);
        // llama.cpp stores the rows of a pair that is turned next to each other, for this one only.
        rope.traditional = name == "llama";
        rope.base = get("rope.freq_base").unwrap_or(rope.base);
        let kind = metadata.get(&format!("{name}.rope.scaling.type")).and_then(|v| v.as_str());
        match kind.unwrap_or("none") {
            "none" => {}
            "linear" => rope.scale = 1.0 / numbers.need("rope.scaling.factor")?,
            kind => return Err(scaling(kind)),
        }
        Ok(Config {
            layers: numbers.count("block_count")?,
            width,
            heads,
            kv_heads: numbers.optional_count("attention.head_count_kv").unwrap_or(heads),
            head_size,
            epsilon: numbers.need("attention.layer_norm_rms_epsilon")?,
            rope,
            context: numbers.optional_count("context_length").unwrap_or(2048),
            tied: false,
        })
    }

    /// Reads a folder's `config.json`.
    ///
    /// # Errors
    /// Kind `Unsupported` if the architecture or the scaling of its positions is not known, `Io` if
    /// a key is missing or zero.
    pub fn from_json(config: &Value) -> Result<Config> {
        known(config["model_type"].as_str().unwrap_or(""))?;
        let get = |key: &str| config[key].as_f64();
        let numbers = Numbers { get: &get, prefix: "config.json: ".into() };
        let heads = numbers.count("num_attention_heads")?;
        let width = numbers.count("hidden_size")?;
        let head_size = numbers.optional_count("head_dim").unwrap_or(width / heads);
        let mut rope = Rope::new(head_size);
        // Newer files keep what belongs to the positions in one object.
        let parameters = [&config["rope_scaling"], &config["rope_parameters"]];
        let theta = get("rope_theta").or(parameters.iter().find_map(|p| p["rope_theta"].as_f64()));
        rope.base = theta.unwrap_or(rope.base);
        if let Some(settings) = parameters.into_iter().find(|p| p.is_object()) {
            scale_positions(&mut rope, settings)?;
        }
        let trained = numbers.optional_count("max_position_embeddings").unwrap_or(2048);
        // Where all layers look back only so far, a longer text would need another mask.
        let window = match config["use_sliding_window"].as_bool() {
            Some(false) => None,
            _ => numbers.optional_count("sliding_window"),
        };
        Ok(Config {
            layers: numbers.count("num_hidden_layers")?,
            width,
            heads,
            kv_heads: numbers.optional_count("num_key_value_heads").unwrap_or(heads),
            head_size,
            epsilon: numbers.need("rms_norm_eps")?,
            rope,
            context: window.map_or(trained, |window| trained.min(window)),
            tied: config["tie_word_embeddings"].as_bool().unwrap_or(false),
        })
    }
}

fn scaling(kind: &str) -> Error {
    let message = format!("positions scaled by '{kind}'; none, linear and llama3 are supported");
    Error::unsupported(OP, message)
}

/// Sets up the positions of a model that was stretched to longer texts.
fn scale_positions(rope: &mut Rope, settings: &Value) -> Result<()> {
    let kind = settings["rope_type"].as_str().or(settings["type"].as_str()).unwrap_or("default");
    let get = |key: &str| settings[key].as_f64();
    let numbers = Numbers { get: &get, prefix: "config.json: rope_scaling.".into() };
    match kind {
        "default" | "none" => {}
        "linear" => rope.scale = 1.0 / numbers.need("factor")?,
        "llama3" => {
            let trained = numbers.need("original_max_position_embeddings")?;
            let (low, high) = (numbers.need("low_freq_factor")?, numbers.need("high_freq_factor")?);
            let factor = numbers.need("factor")?;
            // Short waves stay, long ones are stretched, and between them it goes over (Llama 3.1).
            let stretch = |divisor: f64| {
                let share = (trained / (TAU * divisor) - low) / (high - low);
                let share = share.clamp(0.0, 1.0);
                1.0 / ((1.0 - share) / factor + share)
            };
            rope.divisors = Some(divisors(rope).map(|d| (d * stretch(d)) as f32).collect());
        }
        kind => return Err(scaling(kind)),
    }
    Ok(())
}

/// What the pairs' positions are divided by.
fn divisors(rope: &Rope) -> impl Iterator<Item = f64> {
    let (base, dims) = (rope.base, rope.dims);
    (0..dims / 2).map(move |i| base.powf(2.0 * i as f64 / dims as f64))
}

/// Names in GGUF files and in folders, without suffixes.
const NAMES: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// The same, inside a block.
const NAMES_IN_BLOCK: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The name that a tensor of a GGUF file has in folders.
fn folder_name(name: &str) -> Option<String> {
    let find = |table: &[(&str, &str)], stem: &str| {
        table.iter().find(|(gguf, _)| *gguf == stem).map(|(_, folder)| folder.to_string())
    };
    let (stem, suffix) = name.rsplit_once('.')?;
    let path = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((block, part)) => format!("model.layers.{block}.{}", find(&NAMES_IN_BLOCK, part)?),
        None => find(&NAMES, stem)?,
    };
    Some(format!("{path}.{suffix}"))
}

/// The tensors of a GGUF file by the names of folders. Factors of the positions' divisors, which
/// some files have, go into the configuration.
///
/// # Errors
/// Kind `Io` if a tensor has no counterpart, and those of reading.
pub fn gguf_weights(file: &gguf::File, config: &mut Config) -> Result<Parameters> {
    let mut weights = Parameters::new();
    for (name, tensor) in file.quantised_tensors()? {
        if name == "rope_freqs.weight" {
            let factors = tensor.array()?.astype(Dtype::F32)?.to_vec::<f32>()?;
            let scaled = divisors(&config.rope).zip(factors).map(|(d, f)| d as f32 * f);
            config.rope.divisors = Some(scaled.collect());
            continue;
        }
        let unknown = || Error::io(OP, format!("tensor {name}"), "is not of this architecture");
        weights.insert(folder_name(&name).ok_or_else(unknown)?, tensor.array()?);
    }
    Ok(weights)
}

/// The tensors of a folder's safetensors files.
///
/// # Errors
/// Kind `Io` if there are none or one cannot be read.
pub fn folder_weights(folder: &Path) -> Result<Parameters> {
    let fault = |error: &dyn std::fmt::Display| Error::io(OP, folder.display(), error);
    let mut weights = Parameters::new();
    for entry in std::fs::read_dir(folder).map_err(|error| fault(&error))? {
        let path = entry.map_err(|error| fault(&error))?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            let file = lazulite::io::safetensors::open(&lazulite::io::Input::open(&path)?)?;
            for (name, tensor) in &file.tensors {
                // Old files carry the frequencies, which follow from the configuration.
                if !name.ends_with("rotary_emb.inv_freq") {
                    weights.insert(name.clone(), tensor.array()?);
                }
            }
        }
    }
    if weights.is_empty() {
        return Err(fault(&"holds no safetensors file with tensors"));
    }
    Ok(weights)
}
