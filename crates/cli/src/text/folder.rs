//! A folder's `tokenizer.json`, `tokenizer_config.json` and `config.json` in the terms of GGUF's
//! metadata, from which tokenizers and templates are made.

use lazulite_core::{Error, Result};
use lazulite_io::gguf::{Items, Metadata, Value};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::Path;

const OP: &str = "tokenizer";

/// Kinds of tokens in `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// A page of a folder; `Null` if it is not there.
///
/// # Errors
/// Kind `Io` if it is there but cannot be read or is not JSON.
pub fn page(folder: &Path, name: &str) -> Result<Json> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(Json::Null);
    }
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(|error| Error::io(OP, path.display(), error))?;
    serde_json::from_str(&text).map_err(|error| Error::io(OP, path.display(), error))
}

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::io(OP, "tokenizer.json", why)
}

/// True iff some object inside `json` has this type.
fn has_type(json: &Json, name: &str) -> bool {
    steps(json).iter().any(|step| step["type"] == name)
}

/// A step, or the steps of a sequence.
fn steps(json: &Json) -> Vec<&Json> {
    let inner = ["normalizers", "pretokenizers", "decoders", "processors"];
    match inner.iter().find_map(|key| json[key].as_array()) {
        Some(steps) => steps.iter().flat_map(|step| self::steps(step)).collect(),
        None => vec![json],
    }
}

/// The name in `tokenizer.ggml.pre` of the rules by which text is cut before pairs are merged.
fn rules(pre: &Json) -> Result<&'static str> {
    if has_type(pre, "Digits") {
        return Ok("smollm");
    }
    let split = steps(pre).into_iter().find(|step| step["type"] == "Split");
    match split.map(|step| step["pattern"]["Regex"].as_str().unwrap_or("")) {
        Some(pattern) if pattern.contains(r"\p{N}{1,3}") => Ok("llama-bpe"),
        Some(pattern) if pattern.contains(r"\p{N}|") || pattern.contains(r"\p{N}{1,1}|") => {
            Ok("qwen2")
        }
        None if has_type(pre, "ByteLevel") => Ok("gpt-2"),
        _ => {
            let message = "tokenizer.json: the rules of splitting are not known";
            Err(Error::unsupported(OP, message))
        }
    }
}

/// The halves of a merge, which is a list of two or a text with a space between.
fn halves(merge: &Json) -> Option<(&str, &str)> {
    match merge.as_array() {
        Some(pair) => Some((pair.first()?.as_str()?, pair.get(1)?.as_str()?)),
        None => merge.as_str()?.split_once(' '),
    }
}

/// The tokens by number with their kinds.
fn tokens(tokenizer: &Json, in_bytes: bool) -> Result<(Vec<String>, Vec<i32>)> {
    let model = &tokenizer["model"];
    let vocabulary = model["vocab"].as_object().ok_or_else(|| wrong("has no vocabulary"))?;
    let unknown = model["unk_token"].as_str();
    let mut all: HashMap<u64, (&str, i32)> = HashMap::new();
    for (token, id) in vocabulary {
        let id = id.as_u64().ok_or_else(|| wrong("a token has no number"))?;
        let byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        let kind = match () {
            _ if Some(token.as_str()) == unknown => UNKNOWN,
            _ if byte && !in_bytes => BYTE,
            _ => NORMAL,
        };
        all.insert(id, (token, kind));
    }
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        if let (Some(id), Some(text)) = (token["id"].as_u64(), token["content"].as_str()) {
            let special = token["special"].as_bool().unwrap_or(false);
            all.insert(id, (text, if special { CONTROL } else { USER_DEFINED }));
        }
    }
    // A number that no token has is a mistake of the file only where it leaves large holes.
    let count = all.keys().max().map_or(0, |&id| id + 1);
    if count > 4 * all.len() as u64 + 1024 {
        return Err(wrong(format!("{} tokens with numbers up to {count}", all.len())));
    }
    Ok((0..count)
        .map(|id| all.get(&id).map_or((String::new(), UNUSED), |(t, k)| (t.to_string(), *k)))
        .unzip())
}

/// The metadata of a folder's tokenizer and chat template.
///
/// Texts are not normalised by Unicode's rules, which some tokenizers do first.
///
/// # Errors
/// Kind `Io` if a page is missing or contradicts itself, `Unsupported` if the tokenizer is no byte
/// pair encoding or cuts text by unknown rules.
pub fn metadata(folder: &Path) -> Result<Metadata> {
    let (tokenizer, config) = (page(folder, "tokenizer.json")?, page(folder, "config.json")?);
    let settings = page(folder, "tokenizer_config.json")?;
    if tokenizer.is_null() {
        return Err(Error::io(OP, folder.display(), "holds no tokenizer.json"));
    }
    let (model, pre) = (&tokenizer["model"], &tokenizer["pre_tokenizer"]);
    if model["type"].as_str().is_some_and(|name| name != "BPE") {
        return Err(Error::unsupported(OP, format!("a tokenizer of type {}", model["type"])));
    }
    let in_bytes = has_type(pre, "ByteLevel");
    let (texts, kinds) = tokens(&tokenizer, in_bytes)?;
    let merges: Vec<(&str, &str)> =
        model["merges"].as_array().into_iter().flatten().filter_map(halves).collect();
    let mut metadata = Metadata::new();
    let mut set = |key: &str, value: Value| {
        metadata.set(format!("tokenizer.ggml.{key}"), value);
    };
    let places: HashMap<&str, usize> =
        texts.iter().enumerate().map(|(i, text)| (text.as_str(), i)).collect();
    if in_bytes {
        set("model", Value::String("gpt2".into()));
        set("pre", Value::String(rules(pre)?.into()));
        let merges = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
        set("merges", Value::Array(Items::String(merges)));
    } else {
        set("model", Value::String("llama".into()));
        // The earlier a merge, the higher the score of what it makes.
        let mut scores = vec![f32::MIN; texts.len()];
        for (rank, (a, b)) in merges.iter().enumerate().rev() {
            if let Some(&place) = places.get(format!("{a}{b}").as_str()) {
                scores[place] = -(rank as f32);
            }
        }
        set("scores", Value::Array(Items::F32(scores)));
        let normalizer = &tokenizer["normalizer"];
        let prefix = has_type(normalizer, "Prepend")
            || steps(pre).iter().any(|step| {
                let never = step["prepend_scheme"] == "never" || step["add_prefix_space"] == false;
                step["type"] == "Metaspace" && !never
            });
        set("add_space_prefix", Value::Bool(prefix));
    }
    let number = |text: &Json| {
        let text = text["content"].as_str().or(text.as_str())?;
        places.get(text).map(|&i| i as u64)
    };
    let bos = number(&settings["bos_token"]).or(config["bos_token_id"].as_u64());
    let mut ends: Vec<u64> = number(&settings["eos_token"]).into_iter().collect();
    for page in [page(folder, "generation_config.json")?, config] {
        let ids = &page["eos_token_id"];
        let ids = ids.as_array().map_or(vec![ids], |ids| ids.iter().collect());
        for id in ids.into_iter().filter_map(Json::as_u64) {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
    }
    let ends = ["eos", "eot", "eom"].into_iter().zip(ends.into_iter().map(Some));
    let unknown = number(&model["unk_token"]);
    for (name, id) in ends.chain([("bos", bos), ("unknown", unknown)]) {
        if let Some(id) = id {
            set(&format!("{name}_token_id"), Value::U64(id));
        }
    }
    let first = steps(&tokenizer["post_processor"])
        .into_iter()
        .find_map(|step| step["single"][0]["SpecialToken"]["id"].as_str());
    let marked =
        first.is_some_and(|first| bos.is_some() && places.get(first).map(|&i| i as u64) == bos);
    let add = settings["add_bos_token"].as_bool();
    set("add_bos_token", Value::Bool(add.unwrap_or(false) || marked));
    set("token_type", Value::Array(Items::I32(kinds)));
    set("tokens", Value::Array(Items::String(texts.clone())));
    if let Some(template) = template(folder, &settings["chat_template"])? {
        metadata.set("tokenizer.chat_template", Value::String(template));
    }
    Ok(metadata)
}

/// The chat template: in a file of its own, in the settings, or among others there.
fn template(folder: &Path, setting: &Json) -> Result<Option<String>> {
    let path = folder.join("chat_template.jinja");
    if path.exists() {
        let text = std::fs::read_to_string(&path);
        return text.map(Some).map_err(|error| Error::io(OP, path.display(), error));
    }
    let default = setting.as_array().into_iter().flatten().find(|t| t["name"] == "default");
    let text = default.map_or(setting, |default| &default["template"]);
    Ok(text.as_str().map(str::to_string))
}
