//! The safetensors format: a JSON header of names, types, shapes and byte ranges, then the bytes.
//!
//! Source of the layout: the format section of the safetensors project's README.

use crate::input::{Cursor, Input, Tensor, checked_nbytes};
use crate::output::{Saved, nbytes, replace};
use lazulite_core::{Dtype, Error, Result};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

const FORMAT: &str = "safetensors";

/// The format's own limit on its header.
const MAX_HEADER: u64 = 100_000_000;

/// Key and text pairs that travel with the tensors.
pub type Metadata = BTreeMap<String, String>;

/// True iff a file that begins with these bytes may be in this format.
pub fn recognises(prefix: &[u8]) -> bool {
    prefix.get(8) == Some(&b'{')
}

/// An open file: its metadata, and its tensors in the order of the header.
#[derive(Debug)]
pub struct File {
    /// The text pairs of the header's `__metadata__`.
    pub metadata: Metadata,
    /// Names and places of the tensors.
    pub tensors: Vec<(String, Tensor)>,
}

/// The type of this name in a header. Eight-bit floats are read as their bytes, as MLX does.
fn dtype_from(name: &str) -> Option<Dtype> {
    Some(match name {
        "F8_E4M3" | "F8_E8M0" => Dtype::U8,
        _ => return Dtype::ALL.into_iter().find(|&d| dtype_name(d) == name),
    })
}

fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Bool => "BOOL",
        Dtype::U8 => "U8",
        Dtype::U16 => "U16",
        Dtype::U32 => "U32",
        Dtype::U64 => "U64",
        Dtype::I8 => "I8",
        Dtype::I16 => "I16",
        Dtype::I32 => "I32",
        Dtype::I64 => "I64",
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        Dtype::F32 => "F32",
        Dtype::F64 => "F64",
        Dtype::C64 => "C64",
    }
}

/// The header as written, before any check.
#[derive(Default)]
struct Header {
    metadata: Option<Metadata>,
    entries: Vec<(String, Entry)>,
}

#[derive(Default)]
struct Entry {
    dtype: Option<String>,
    shape: Option<Vec<u64>>,
    data_offsets: Option<(u64, u64)>,
}

/// Reads an object key by key, so that a repeated key is seen.
struct Keys<T>(T);

impl<'de> Visitor<'de> for Keys<Header> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Header, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key != "__metadata__" {
                self.0.entries.push((key, map.next_value()?));
            } else if self.0.metadata.replace(map.next_value()?).is_some() {
                return Err(de::Error::duplicate_field("__metadata__"));
            }
        }
        Ok(self.0)
    }
}

impl<'de> Visitor<'de> for Keys<Entry> {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Entry, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let again = match key.as_str() {
                "dtype" => self.0.dtype.replace(map.next_value()?).is_some(),
                "shape" => self.0.shape.replace(map.next_value()?).is_some(),
                "data_offsets" => self.0.data_offsets.replace(map.next_value()?).is_some(),
                _ => map.next_value::<IgnoredAny>().map(|_| false)?,
            };
            if again {
                return Err(de::Error::custom(format!("{key} is given twice")));
            }
        }
        Ok(self.0)
    }
}

impl<'de> de::Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_map(Keys(Header::default()))
    }
}

impl<'de> de::Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        deserializer.deserialize_map(Keys(Entry::default()))
    }
}

fn read_header(cursor: &mut Cursor) -> Result<Header> {
    let size = cursor.u64("the header's size")?;
    if size > MAX_HEADER {
        let why = format!("the header has {size} bytes, more than the {MAX_HEADER} allowed");
        return Err(cursor.subject.invalid(why));
    }
    let bytes = cursor.bytes(size, "the header")?;
    serde_json::from_slice(&bytes)
        .map_err(|e| cursor.subject.invalid(format!("the header is not valid: {e}")))
}

/// Opens a file and reads its header; a tensor's bytes are read when it is used.
///
/// # Errors
/// Kind `Io` if the file cannot be read, is truncated, or its header is wrong: not JSON, larger
/// than 100 MB, a name twice, a byte range that is out of bounds, overlaps another or does not
/// match its shape. Kind `Unsupported` for an element type that no array has.
pub fn open(input: &Input) -> Result<File> {
    let mut cursor = input.cursor(FORMAT);
    let header = read_header(&mut cursor)?;
    let subject = cursor.subject.clone();
    let (base, room) = (cursor.offset(), cursor.left());
    let mut ranges = Vec::with_capacity(header.entries.len());
    let mut names = HashSet::with_capacity(header.entries.len());
    let mut tensors = Vec::with_capacity(header.entries.len());
    for (name, entry) in &header.entries {
        let wrong = |why: String| subject.invalid(format!("tensor {name:?}: {why}"));
        if !names.insert(name) {
            return Err(wrong("the name occurs twice".into()));
        }
        let missing = |field| wrong(format!("{field} is missing"));
        let dtype = entry.dtype.as_deref().ok_or_else(|| missing("dtype"))?;
        let shape = entry.shape.as_deref().ok_or_else(|| missing("shape"))?;
        let (begin, end) = entry.data_offsets.ok_or_else(|| missing("data_offsets"))?;
        let dtype = dtype_from(dtype).ok_or_else(|| {
            subject.unsupported(format!("tensor {name:?}: no array has the type {dtype:?}"))
        })?;
        let what = format!("tensor {name:?}");
        let (dims, size) = checked_nbytes(&subject, what, shape, dtype.size())?;
        if begin > end || end > room {
            let why = format!("data_offsets [{begin}, {end}] are not in the {room} bytes of data");
            return Err(wrong(why));
        }
        if end - begin != size {
            let got = end - begin;
            let why = format!("{got} bytes of data where {dtype} {shape:?} needs {size}");
            return Err(wrong(why));
        }
        if size > 0 {
            ranges.push((begin, end, name));
        }
        let source = input.source().clone();
        tensors.push(Tensor::new(dtype, dims, source, base + begin));
    }
    ranges.sort_unstable();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        let (a, b) = (pair[0].2, pair[1].2);
        return Err(subject.invalid(format!("the data of tensors {a:?} and {b:?} overlap")));
    }
    let names = header.entries.into_iter().map(|(name, _)| name);
    let tensors = names.zip(tensors).collect();
    Ok(File { metadata: header.metadata.unwrap_or_default(), tensors })
}

/// Writes tensors and metadata to `path`, which is replaced only when all is written.
///
/// Wider types come first and then names in order, so that every tensor is aligned to its type.
///
/// # Errors
/// Kind `Io` if the file cannot be written, `Argument` for a name that occurs twice, is
/// `__metadata__` or makes the header larger than 100 MB; those of evaluation.
pub fn save(path: &Path, tensors: &[(&str, &dyn Saved)], metadata: &Metadata) -> Result<()> {
    let mut order: Vec<_> = tensors.to_vec();
    order.sort_by_key(|(name, tensor)| (std::cmp::Reverse(tensor.dtype().size()), *name));
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), metadata.clone().into_iter().collect());
    }
    let mut offset = 0;
    for (name, tensor) in &order {
        let end = offset + nbytes(*tensor);
        let entry = serde_json::json!({
            "dtype": dtype_name(tensor.dtype()),
            "shape": tensor.shape(),
            "data_offsets": [offset, end],
        });
        if *name == "__metadata__" || header.insert((*name).to_owned(), entry).is_some() {
            let why = format!("the name {name:?} occurs twice or is reserved");
            return Err(Error::argument("save_safetensors", why));
        }
        offset = end;
    }
    let mut text = serde_json::Value::Object(header).to_string();
    let padding = text.len().next_multiple_of(8) - text.len();
    text.extend(std::iter::repeat_n(' ', padding));
    if text.len() as u64 > MAX_HEADER {
        let why = format!("names and metadata make a header of more than {MAX_HEADER} bytes");
        return Err(Error::argument("save_safetensors", why));
    }
    replace("save_safetensors", path, |output| {
        output.put(&(text.len() as u64).to_le_bytes())?;
        output.put(text.as_bytes())?;
        order.iter().try_for_each(|(_, tensor)| output.tensor(*tensor))
    })
}
