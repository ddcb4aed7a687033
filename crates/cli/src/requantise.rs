//! `requantise`: a GGUF file with its matrices in another quantised type.

use lazulite::io::gguf::{self, Blocks, Content, Entry, Metadata, TensorType};
use lazulite::io::{Input, Saved};
use lazulite::op::quantized::{QuantFormat, QuantMode};
use lazulite::prelude::*;
use std::path::Path;

const OP: &str = "requantise";

/// The types that can be asked for: ggml's name, its number of a file of that type, and the type of
/// rows that are not made of whole blocks of 256.
const TYPES: [(TensorType, u32, TensorType); 5] = [
    (TensorType::Q4_0, 2, TensorType::Q4_0),
    (TensorType::Q8_0, 7, TensorType::Q8_0),
    (TensorType::Q5_0, 8, TensorType::Q5_0),
    (TensorType::Q4_K, 14, TensorType::Q5_0),
    (TensorType::Q6_K, 18, TensorType::Q8_0),
];

/// The type of this name, in any case.
///
/// # Errors
/// Kind `Argument` if it cannot be written.
pub fn parse(name: &str) -> Result<TensorType> {
    let found = TYPES.iter().find(|(kind, ..)| kind.to_string().eq_ignore_ascii_case(name));
    found.map(|(kind, ..)| *kind).ok_or_else(|| {
        let known: Vec<String> = TYPES.iter().map(|(kind, ..)| kind.to_string()).collect();
        Error::argument(OP, format!("no type {name:?}; it is one of {}", known.join(", ")))
    })
}

/// Either what a tensor was, or its blocks.
enum Made {
    Elements(Array),
    Blocks(Blocks),
}

/// The elements of a tensor in `float32`, exactly as its blocks say.
///
/// # Errors
/// Those of reading; kind `Unsupported` for a type that is not known.
pub fn elements(entry: &Entry) -> Result<Array> {
    let parts: Vec<Array> =
        entry.quantised_tensors()?.iter().map(|(_, part)| part.array()).collect::<Result<_>>()?;
    let [packed, scales, biases] = &parts[..] else { return parts[0].astype(Dtype::F32) };
    let k = entry.shape.last().copied().unwrap_or(1);
    let (bits, group) = (packed.size(-1)? * 32 / k, k / scales.size(-1)?);
    let format = QuantFormat::new(QuantMode::Affine, Some(group), Some(bits))?;
    packed.dequantize(scales, Some(biases), format, Some(Dtype::F32))
}

/// Writes the file `model` to `out`, with its matrices as `kind`, or as the nearest type of blocks of 32
/// where rows are not made of whole blocks of 256; embeddings and the last matrix become `Q8_0`.
///
/// # Errors
/// Those of reading and writing; kind `Unsupported` for a tensor or a type that cannot be had.
pub fn run(model: &Path, out: &Path, kind: TensorType) -> Result<()> {
    let file = gguf::open(&Input::open(model)?)?;
    let Some(&(_, number, short)) = TYPES.iter().find(|(known, ..)| *known == kind) else {
        return Err(Error::unsupported(OP, format!("{kind} cannot be written")));
    };
    let mut made = Vec::with_capacity(file.entries.len());
    for entry in &file.entries {
        let row = entry.shape.last().copied().unwrap_or(1) as u64;
        // Every token passes through these: ggml's tools keep them wide, too.
        let wide = matches!(entry.name.as_str(), "token_embd.weight" | "output.weight");
        let fits = row.is_multiple_of(kind.block_len());
        let kind = if wide {
            TensorType::Q8_0
        } else if fits {
            kind
        } else {
            short
        };
        let x = elements(entry)?;
        made.push(if entry.shape.len() == 2 && row.is_multiple_of(kind.block_len()) {
            let bytes = kind.quantise(&x.as_slice::<f32>()?)?;
            Made::Blocks(Blocks { kind, shape: entry.shape.clone(), bytes })
        } else {
            Made::Elements(x)
        });
    }
    let contents: Vec<(&str, Content<'_>)> = (file.entries.iter().zip(&made))
        .map(|(entry, made)| {
            let content = match made {
                Made::Elements(x) => Content::Elements(x as &dyn Saved),
                Made::Blocks(blocks) => Content::Blocks(blocks),
            };
            (entry.name.as_str(), content)
        })
        .collect();
    let mut metadata = Metadata::new();
    for (key, value) in file.metadata.iter().filter(|(key, _)| *key != "general.alignment") {
        metadata.set(key, value.clone());
    }
    metadata.set("general.file_type", number);
    gguf::save_contents(out, &contents, &metadata)
}
