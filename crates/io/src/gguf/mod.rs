//! The GGUF format, versions 2 and 3: typed metadata, then tensors in the layouts of ggml.
//!
//! Source of the layout: `docs/gguf.md` of the ggml project.
//!
//! - `value.rs`: metadata, its types and their reading and writing.
//! - `blocks.rs`: ggml's tensor types, and how a quantised block becomes affine weights or floats;
//!   `quantise.rs`: how numbers become blocks.

mod blocks;
mod quantise;
mod value;

pub use blocks::TensorType;
pub use value::{Items, Metadata, Value};

use crate::input::{Cursor, Input, Subject, Tensor, checked_nbytes};
use crate::output::{Saved, nbytes, replace};
use blocks::{Affine, Part, Repacked};
use lazulite_core::{Dtype, Error, Result};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

const FORMAT: &str = "gguf";
const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT: u32 = 32;

/// ggml's limit on the axes of a tensor.
const MAX_AXES: u32 = 4;
/// The format's limit on the bytes of a tensor's name, which some writers exceed.
const MAX_NAME: u64 = 65_535;

/// True iff a file that begins with these bytes is in this format.
pub fn recognises(prefix: &[u8]) -> bool {
    prefix.starts_with(MAGIC)
}

/// An open file: its metadata, and its tensors as the file describes them.
#[derive(Debug)]
pub struct File {
    /// Keys and values in the order of the file.
    pub metadata: Metadata,
    /// The tensors in the order of the file.
    pub entries: Vec<Entry>,
}

/// One tensor as the file describes it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How the elements are stored.
    pub kind: TensorType,
    /// The shape in row-major order, the reverse of the file's.
    pub shape: Vec<usize>,
    subject: Subject,
    input: Input,
    offset: u64,
}

impl Entry {
    /// The arrays of this tensor, with their names.
    ///
    /// Plain types give one tensor. `Q4_0`, `Q4_1` and `Q8_0` stay quantised, as affine weights in
    /// groups of 32: `x.weight (..., k) -> x.weight uint32 (..., k * bits / 32), x.scales float16
    /// (..., k / 32), x.biases float16 (..., k / 32)`. Other quantised types become float16, as in
    /// MLX. The work is done when the bytes are read.
    ///
    /// # Errors
    /// Kind `Unsupported` for a type of ggml that cannot be read.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        self.arrays(self.kind.stays_quantised())
    }

    /// As [`Entry::tensors`], but `Q5_0`, `Q5_1` and `Q2_K` to `Q6_K` stay quantised too, every
    /// element exactly as the file has it. The groups of `Q4_K` and `Q5_K` are of 32 elements, those
    /// of `Q2_K`, `Q3_K` and `Q6_K` of 16; their scales and biases are float32, which holds the
    /// products of the file's two levels of scales. `IQ4_NL` and `IQ4_XS` are not affine and become
    /// float16.
    ///
    /// # Errors
    /// As [`Entry::tensors`].
    pub fn quantised_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        self.arrays(self.kind.affine().is_some())
    }

    fn arrays(&self, quantised: bool) -> Result<Vec<(String, Tensor)>> {
        let plain = |dtype, source| {
            let tensor = Tensor::new(dtype, self.shape.clone(), source, self.offset);
            vec![(self.name.clone(), tensor)]
        };
        if let Some(dtype) = self.kind.dtype() {
            return Ok(plain(dtype, self.input.source().clone()));
        }
        let repacked = |part| {
            let (source, kind) = (self.input.source().clone(), self.kind);
            Arc::new(Repacked { source, base: self.offset, kind, part })
        };
        if let Some(affine) = self.kind.affine().filter(|_| quantised) {
            return Ok(self.affine_tensors(affine, repacked));
        }
        if self.kind.is_dequantised() {
            let tensor = Tensor::new(Dtype::F16, self.shape.clone(), repacked(Part::Values), 0);
            return Ok(vec![(self.name.clone(), tensor)]);
        }
        let why =
            format!("tensor {:?} has the type {}, which is not supported", self.name, self.kind);
        Err(self.subject.unsupported(why))
    }

    fn affine_tensors(
        &self,
        affine: Affine,
        repacked: impl Fn(Part) -> Arc<Repacked>,
    ) -> Vec<(String, Tensor)> {
        let stem = self.name.strip_suffix(".weight").unwrap_or(&self.name);
        let (lead, k) = match self.shape.split_last() {
            Some((k, lead)) => (lead, *k),
            None => (&[][..], 1),
        };
        let with_last = |last| lead.iter().copied().chain([last]).collect::<Vec<_>>();
        let (groups, scales) = (k / affine.group, affine.scales);
        [
            (self.name.clone(), Dtype::U32, k * affine.bits / 32, Part::Weights),
            (format!("{stem}.scales"), scales, groups, Part::Scales),
            (format!("{stem}.biases"), scales, groups, Part::Biases),
        ]
        .into_iter()
        .map(|(name, dtype, last, part)| {
            (name, Tensor::new(dtype, with_last(last), repacked(part), 0))
        })
        .collect()
    }
}

impl File {
    /// The arrays of all tensors, with their names; see [`Entry::tensors`].
    ///
    /// # Errors
    /// As [`Entry::tensors`], and kind `Io` if two arrays have one name.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        self.all(Entry::tensors)
    }

    /// As [`File::tensors`], with all that can be left quantised; see [`Entry::quantised_tensors`].
    ///
    /// # Errors
    /// As [`File::tensors`].
    pub fn quantised_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        self.all(Entry::quantised_tensors)
    }

    fn all(
        &self,
        of: impl Fn(&Entry) -> Result<Vec<(String, Tensor)>>,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        for entry in &self.entries {
            for (name, tensor) in of(entry)? {
                if !names.insert(name.clone()) {
                    return Err(entry.subject.invalid(format!("two arrays are called {name:?}")));
                }
                tensors.push((name, tensor));
            }
        }
        Ok(tensors)
    }
}

/// Opens a file and reads its metadata and the description of its tensors.
///
/// # Errors
/// Kind `Io` if the file cannot be read, is truncated or damaged; kind `Unsupported` for version
/// 1, big-endian files and tensor types that ggml did not have when this was written.
pub fn open(input: &Input) -> Result<File> {
    let mut cursor = input.cursor(FORMAT);
    let magic: [u8; 4] = cursor.array("the magic number")?;
    if magic != *MAGIC {
        return Err(cursor.subject.invalid("it does not begin with the magic number of GGUF"));
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => {}
        v if v.swap_bytes() <= 3 => return Err(cursor.subject.unsupported("it is big-endian")),
        v => return Err(cursor.subject.unsupported(format!("version {v}"))),
    }
    let tensor_count = cursor.u64("the number of tensors")?;
    let pair_count = cursor.u64("the number of metadata pairs")?;
    let metadata = value::read_metadata(&mut cursor, pair_count)?;
    let alignment = match metadata.get(ALIGNMENT_KEY) {
        None => ALIGNMENT,
        Some(Value::U32(a)) if a.is_power_of_two() => *a,
        Some(a) => {
            let why = format!("{ALIGNMENT_KEY} is {a:?}, not a power of two of type uint32");
            return Err(cursor.subject.invalid(why));
        }
    };
    // A description has at least an empty name, no axes, a type and an offset: 24 bytes.
    if tensor_count > cursor.left() / 24 {
        let why = format!("{tensor_count} tensors cannot be in the {} bytes left", cursor.left());
        return Err(cursor.subject.invalid(why));
    }
    let mut entries = Vec::with_capacity(tensor_count as usize);
    let mut names = HashSet::with_capacity(tensor_count as usize);
    for _ in 0..tensor_count {
        let entry = read_entry(&mut cursor, input)?;
        if !names.insert(entry.name.clone()) {
            let why = format!("two tensors are called {:?}", entry.name);
            return Err(cursor.subject.invalid(why));
        }
        entries.push(entry);
    }
    let base = cursor.offset().next_multiple_of(alignment.into());
    for entry in &mut entries {
        place(entry, base, alignment, input.len())?;
    }
    Ok(File { metadata, entries })
}

fn read_entry(cursor: &mut Cursor, input: &Input) -> Result<Entry> {
    let name = value::read_string(cursor, MAX_NAME, "a tensor's name")?;
    let subject = cursor.subject.clone();
    let wrong = |why: String| subject.invalid(format!("tensor {name:?}: {why}"));
    let axes = cursor.u32("a tensor's number of axes")?;
    if axes > MAX_AXES {
        return Err(wrong(format!("{axes} axes, more than the {MAX_AXES} of ggml")));
    }
    let mut shape = Vec::with_capacity(axes as usize);
    for _ in 0..axes {
        shape.push(cursor.u64("a tensor's shape")?);
    }
    shape.reverse();
    let id = cursor.u32("a tensor's type")?;
    let offset = cursor.u64("a tensor's offset")?;
    let kind = TensorType::from_id(id)
        .ok_or_else(|| subject.unsupported(format!("tensor {name:?} has the unknown type {id}")))?;
    let block = kind.block_len();
    if !shape.last().copied().unwrap_or(1).is_multiple_of(block) {
        let why =
            format!("the last axis of {shape:?} is not made of whole {kind} blocks of {block}");
        return Err(wrong(why));
    }
    // Eight bytes an element bound every array that the tensor can become.
    let (shape, _) = checked_nbytes(&subject, format!("tensor {name:?}"), &shape, 8)?;
    Ok(Entry { name, kind, shape, subject, input: input.clone(), offset })
}

/// Turns an entry's offset into one from the start of the file, if its bytes are there.
fn place(entry: &mut Entry, base: u64, alignment: u32, len: u64) -> Result<()> {
    let wrong = |why: String| entry.subject.invalid(format!("tensor {:?}: {why}", entry.name));
    let offset = entry.offset;
    if !offset.is_multiple_of(alignment.into()) {
        return Err(wrong(format!("offset {offset} is not a multiple of {alignment}")));
    }
    let elements = entry.shape.iter().product::<usize>() as u64;
    let blocks = elements / entry.kind.block_len();
    let size = blocks.checked_mul(entry.kind.block_size());
    let start = base.checked_add(offset);
    let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
    let (Some(start), Some(_)) = (start, end.filter(|&end| end <= len || elements == 0)) else {
        let why = format!("its data at {offset} do not end before the file of {len} bytes does");
        return Err(wrong(why));
    };
    entry.offset = start;
    Ok(())
}

/// A tensor to be saved as blocks of a quantised type; [`TensorType::quantise`] makes them.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// The type.
    pub kind: TensorType,
    /// The shape in row-major order.
    pub shape: Vec<usize>,
    /// The blocks of all rows.
    pub bytes: Vec<u8>,
}

/// What is saved under a name.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Plain elements.
    Elements(&'a dyn Saved),
    /// Blocks of a quantised type.
    Blocks(&'a Blocks),
}

impl Content<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            Content::Elements(x) => x.shape(),
            Content::Blocks(x) => &x.shape,
        }
    }

    fn nbytes(&self) -> u64 {
        match self {
            Content::Elements(x) => nbytes(*x),
            Content::Blocks(x) => x.bytes.len() as u64,
        }
    }

    /// The type in the file.
    fn kind(&self, name: &str) -> Result<TensorType> {
        match self {
            Content::Elements(x) => {
                let kind = TensorType::ALL.into_iter().find(|t| writes(*t, x.dtype()));
                let expected = "float32, float16, bfloat16, int8, int16 or int32";
                kind.ok_or_else(|| Error::dtype(SAVE, &[x.dtype()], expected))
            }
            Content::Blocks(x) => {
                let (row, len) = (x.shape.last().copied().unwrap_or(0) as u64, x.kind.block_len());
                let blocks = x.shape.iter().product::<usize>() as u64 / len;
                if row % len != 0 || blocks * x.kind.block_size() != x.bytes.len() as u64 {
                    let why = format!(
                        "{name:?} has {} bytes of {} for shape {:?}, whose rows must be whole \
                         blocks of {len}",
                        x.bytes.len(),
                        x.kind,
                        x.shape
                    );
                    return Err(Error::shape(SAVE, &[&x.shape], why));
                }
                Ok(x.kind)
            }
        }
    }
}

const SAVE: &str = "save_gguf";

/// Writes tensors and metadata to `path` as version 3, which is replaced only when all is written.
///
/// # Errors
/// Those of [`save_contents`].
pub fn save(path: &Path, tensors: &[(&str, &dyn Saved)], metadata: &Metadata) -> Result<()> {
    let contents: Vec<_> = tensors.iter().map(|&(name, x)| (name, Content::Elements(x))).collect();
    save_contents(path, &contents, metadata)
}

/// As [`save`], for tensors some of which are quantised.
///
/// # Errors
/// Kind `Dtype` for a type other than float32, float16, bfloat16, int8, int16 and int32, `Argument`
/// for a name that occurs twice or is too long, more than four axes, or `general.alignment` in the
/// metadata, `Shape` if blocks do not fill a shape; kind `Io` if the file cannot be written; those of
/// evaluation.
pub fn save_contents(
    path: &Path,
    tensors: &[(&str, Content<'_>)],
    metadata: &Metadata,
) -> Result<()> {
    if metadata.get(ALIGNMENT_KEY).is_some() {
        let why = format!("{ALIGNMENT_KEY} is chosen by the writer");
        return Err(Error::argument(SAVE, why));
    }
    let mut names = HashSet::new();
    let mut header = MAGIC.to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    value::write_metadata(&mut header, metadata);
    let mut offset = 0u64;
    for (name, tensor) in tensors {
        if !names.insert(name) || name.len() as u64 > MAX_NAME {
            let why = format!("the name {name:?} occurs twice or is too long");
            return Err(Error::argument(SAVE, why));
        }
        let shape = tensor.shape();
        if shape.len() > MAX_AXES as usize {
            let why = format!("{name:?} has {} axes, more than the format's 4", shape.len());
            return Err(Error::shape(SAVE, &[shape], why));
        }
        let kind = tensor.kind(name)?;
        value::write_string(&mut header, name);
        header.extend((shape.len() as u32).to_le_bytes());
        header.extend(shape.iter().rev().flat_map(|&d| (d as u64).to_le_bytes()));
        header.extend((kind as u32).to_le_bytes());
        header.extend(offset.to_le_bytes());
        offset = (offset + tensor.nbytes()).next_multiple_of(ALIGNMENT.into());
    }
    replace(SAVE, path, |output| {
        output.put(&header)?;
        output.align(ALIGNMENT.into())?;
        for (_, tensor) in tensors {
            match tensor {
                Content::Elements(x) => output.tensor(*x)?,
                Content::Blocks(x) => output.put(&x.bytes)?,
            }
            output.align(ALIGNMENT.into())?;
        }
        Ok(())
    })
}

/// True iff arrays of `dtype` are saved as `kind`.
fn writes(kind: TensorType, dtype: Dtype) -> bool {
    // 64-bit types are read, but few readers of the format know them.
    kind.dtype() == Some(dtype) && dtype.size() < 8
}
