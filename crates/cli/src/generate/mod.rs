//! `lazulite generate`: text from a language model in a GGUF file or a folder.

pub mod config;
pub mod llama;

use crate::text::{Message, Template, Tokenizer, folder};
use config::Config;
use lazulite::io::{Contents, Input, gguf};
use lazulite::nn::Module;
use lazulite::prelude::*;
use lazulite::{DeviceKind, backend, random};
use llama::{Cache, Llama};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// What to generate.
pub struct Request<'a> {
    /// The GGUF file, or a folder with `config.json`, `tokenizer.json` and safetensors files.
    pub model: &'a Path,
    /// What the user says.
    pub prompt: &'a str,
    /// The most tokens of the answer.
    pub max_tokens: usize,
    /// 0 takes the likeliest token; else logits are divided by it and a token is drawn.
    pub temperature: f64,
    /// The seed of the draws.
    pub seed: u64,
    /// Print one JSON object at the end instead of text as it comes.
    pub json: bool,
}

/// A model with its tokenizer and chat template.
pub struct Session {
    /// The network.
    pub model: Llama,
    /// Between text and ids.
    pub tokenizer: Tokenizer,
    /// The chat template, where the file has one.
    pub template: Option<Template>,
}

impl Session {
    /// Loads a GGUF file or a folder.
    ///
    /// # Errors
    /// Kind `Io` if a file is missing or damaged, `Unsupported` if it is another architecture.
    pub fn open(path: &Path) -> Result<Session> {
        if path.is_dir() {
            let config = Config::from_json(&folder::page(path, "config.json")?)?;
            let model = Llama::new(config, config::folder_weights(path)?)?;
            return Session::new(model, &folder::metadata(path)?);
        }
        let file = match Contents::open(&Input::open(path)?)? {
            Contents::Gguf(file) => file,
            _ => return Err(Error::io("generate", path.display(), "is not a GGUF file")),
        };
        let mut config = Config::from_gguf(&file.metadata)?;
        let weights = config::gguf_weights(&file, &mut config)?;
        Session::new(Llama::new(config, weights)?, &file.metadata)
    }

    fn new(model: Llama, metadata: &gguf::Metadata) -> Result<Session> {
        let tokenizer = Tokenizer::from_gguf(metadata)?;
        let template = Template::from_gguf(metadata, &tokenizer)?;
        Ok(Session { model, tokenizer, template })
    }

    /// The ids of a user's message, in the chat format where the model has one.
    ///
    /// # Errors
    /// Kind `Argument` if the template refuses the message.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>> {
        match &self.template {
            Some(template) => {
                let prompt =
                    template.render(&[Message::new("user", prompt)], true, &self.tokenizer)?;
                Ok(self.tokenizer.encode_prompt(&prompt))
            }
            None => Ok(self.tokenizer.encode(prompt, true)),
        }
    }

    /// Reads `ids` into the cache and returns the next token's logits, evaluated.
    ///
    /// # Errors
    /// Those of evaluation.
    pub fn read(&self, ids: &[u32], cache: &mut Cache) -> Result<Array> {
        let logits = self.model.forward(&Array::from_slice(ids, &[1, ids.len()])?, cache)?;
        logits.eval()?;
        Ok(logits)
    }
}

/// Chooses the next token.
fn choose(logits: &Array, temperature: f64, key: &mut Array) -> Result<u32> {
    if temperature == 0.0 {
        return logits.argmax(None, false)?.item();
    }
    let keys = random::split(key, 2)?;
    *key = keys.take(&Array::scalar(0i32), Some(0))?;
    let draw = keys.take(&Array::scalar(1i32), Some(0))?;
    random::categorical(&(logits / temperature), -1, Some(&draw))?.item()
}

/// Generates and prints an answer.
///
/// # Errors
/// Kind `Argument` for numbers out of range or a prompt longer than the context, and those of
/// [`Session::open`].
pub fn run(request: &Request<'_>) -> Result<()> {
    let out_of_range = !request.temperature.is_finite() || request.temperature < 0.0;
    if out_of_range {
        let message = format!("temperature is {}, expected 0 or more", request.temperature);
        return Err(Error::argument("generate", message));
    }
    let begin = Instant::now();
    let session = Session::open(request.model)?;
    let loaded = begin.elapsed();
    let ids = session.encode(request.prompt)?;
    let context = session.model.config.context;
    if ids.is_empty() || ids.len() + request.max_tokens > context {
        let message = format!(
            "the prompt has {} tokens and up to {} are to be made; together they must be 1 to {context}",
            ids.len(),
            request.max_tokens
        );
        return Err(Error::argument("generate", message));
    }
    let mut cache = Cache::default();
    let mut key = random::key(request.seed)?;
    let mut decoder = session.tokenizer.decoder();
    let (mut text, mut made) = (String::new(), Vec::new());
    let start = Instant::now();
    let mut logits = session.read(&ids, &mut cache)?;
    let prompt_time = start.elapsed().as_secs_f64();
    // A device with queues of its own reads on while the host waits.
    let greedy = request.temperature == 0.0;
    let ahead = greedy && backend::default_device().kind == DeviceKind::Gpu;
    let mut reader = session.model.decoder(cache, ahead);
    let mut likeliest = None;
    let start = Instant::now();
    let mut stdout = std::io::stdout().lock();
    let mut emit = |piece: String, text: &mut String| {
        if !request.json {
            // A closed pipe ends the program at the next write of the shell, not the answer here.
            let _ = stdout.write_all(piece.as_bytes()).and_then(|()| stdout.flush());
        }
        text.push_str(&piece);
    };
    while made.len() < request.max_tokens {
        let token = match likeliest.filter(|_| greedy) {
            Some(token) => token,
            None => choose(&logits, request.temperature, &mut key)?,
        };
        if session.tokenizer.is_end(token) {
            break;
        }
        made.push(token);
        emit(decoder.push(token), &mut text);
        if made.len() < request.max_tokens {
            let (next, best) = reader.read(token)?;
            (logits, likeliest) = (next, Some(best));
        }
    }
    emit(decoder.finish(), &mut text);
    let decode_time = start.elapsed().as_secs_f64();
    let rate = |n: usize, seconds: f64| n as f64 / seconds.max(1e-9);
    let (prompt_rate, decode_rate) = (rate(ids.len(), prompt_time), rate(made.len(), decode_time));
    if request.json {
        let report = json!({
            "text": text, "tokens": made, "prompt_tokens": ids, "load_seconds": loaded.as_secs_f64(),
            "prompt_tokens_per_second": prompt_rate, "tokens_per_second": decode_rate,
        });
        println!("{report}");
    } else {
        println!();
        eprintln!(
            "[loaded {:.0} MB in {:.2} s; prompt {} tokens at {prompt_rate:.0}/s; answer {} tokens at {decode_rate:.0}/s]",
            session.model.nbytes() as f64 / 1e6,
            loaded.as_secs_f64(),
            ids.len(),
            made.len()
        );
    }
    Ok(())
}
