//! NumPy's `.npy` format: a header written as a Python literal, then the elements.
//!
//! Source of the layout: NumPy Enhancement Proposal 1 and the documentation of
//! `numpy.lib.format`, versions 1 to 3.

use crate::input::{Input, Subject, Swapped, Tensor, checked_nbytes};
use crate::output::{Output, Saved, replace};
use lazulite_core::{Dtype, Result};
use std::path::Path;
use std::sync::Arc;

const FORMAT: &str = "npy";
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longer headers belong to records of very many fields, which no array has.
const MAX_HEADER: u64 = 1 << 20;

/// True iff a file that begins with these bytes is in this format.
pub fn recognises(prefix: &[u8]) -> bool {
    prefix.starts_with(MAGIC)
}

/// The three facts of a header.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    column_major: bool,
    shape: Vec<u64>,
}

/// Opens a file and reads its header; the elements are read when they are used.
///
/// # Errors
/// Kind `Io` if the file cannot be read, is truncated or not in this format; kind `Unsupported`
/// for element types that no array has: objects, text, records, dates and wide floats.
pub fn open(input: &Input) -> Result<Tensor> {
    let mut cursor = input.cursor(FORMAT);
    let magic: [u8; 6] = cursor.array("the magic number")?;
    if magic != *MAGIC {
        return Err(cursor.subject.invalid("it does not begin with the magic number of npy"));
    }
    let [major, minor] = cursor.array("the version")?;
    let size = match major {
        1 => u64::from(u16::from_le_bytes(cursor.array("the header's size")?)),
        2 | 3 => u64::from(cursor.u32("the header's size")?),
        _ => return Err(cursor.subject.unsupported(format!("version {major}.{minor}"))),
    };
    if size > MAX_HEADER {
        let why = format!("the header has {size} bytes, more than the {MAX_HEADER} allowed");
        return Err(cursor.subject.invalid(why));
    }
    let text = cursor.bytes(size, "the header")?;
    let subject = &cursor.subject;
    let header = parse(&text).map_err(|why| match why {
        Fault::Invalid(why) => subject.invalid(format!("the header is not valid: {why}")),
        Fault::Record => subject.unsupported("arrays of records are not supported"),
    })?;
    let (dtype, swap) = element(subject, &header.descr)?;
    let shape = &header.shape;
    let (dims, bytes) = checked_nbytes(subject, "the array", shape, dtype.size())?;
    cursor.need(bytes, format!("an array of {dtype} {shape:?}"))?;
    let offset = cursor.offset();
    let mut source = input.source().clone();
    if let Some(width) = swap {
        source = Arc::new(Swapped { source, base: offset, width });
    }
    let tensor = Tensor::new(dtype, dims, source, offset);
    Ok(if header.column_major { tensor.column_major() } else { tensor })
}

/// The type of a `descr`, and the width to swap by if the elements are big-endian.
fn element(subject: &Subject, descr: &str) -> Result<(Dtype, Option<usize>)> {
    let (order, kind) = match descr.chars().next() {
        Some(c @ ('<' | '>' | '|' | '=')) => (c, &descr[1..]),
        _ => ('=', descr),
    };
    let dtype = match kind {
        "b1" | "?" => Dtype::Bool,
        "u1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "c8" => Dtype::C64,
        // NumPy has no bfloat16; ml_dtypes and MLX write its two bytes as a void.
        "V2" => Dtype::BF16,
        _ if kind.starts_with('O') => {
            let why = "it holds Python objects, which would have to be unpickled";
            return Err(subject.unsupported(why));
        }
        _ => {
            return Err(subject.unsupported(format!("no array has the element type {descr:?}")));
        }
    };
    let width = if dtype == Dtype::C64 { 4 } else { dtype.size() };
    Ok((dtype, (order == '>' && width > 1).then_some(width)))
}

enum Fault {
    Invalid(String),
    /// The element type is a list of fields.
    Record,
}

impl From<&str> for Fault {
    fn from(why: &str) -> Fault {
        Fault::Invalid(why.into())
    }
}

/// A reader of the header's Python literal: a dict of a string, a bool and a tuple of ints.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    /// Takes `token` if it is next.
    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> std::result::Result<(), Fault> {
        let found = self.take(token);
        found.then_some(()).ok_or_else(|| Fault::Invalid(format!("expected {token:?}")))
    }

    fn string(&mut self) -> std::result::Result<&'a str, Fault> {
        let quote = ["'", "\""].into_iter().find(|q| self.take(q));
        let parts = quote.and_then(|q| self.rest.split_once(q));
        let (text, rest) = parts.ok_or("expected a string")?;
        self.rest = rest;
        Ok(text)
    }

    fn bool(&mut self) -> std::result::Result<bool, Fault> {
        if self.take("True") {
            return Ok(true);
        }
        self.take("False").then_some(false).ok_or("expected True or False".into())
    }

    fn int(&mut self) -> std::result::Result<u64, Fault> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let value = self.rest[..end].parse().map_err(|_| "expected a size of 64 bits at most")?;
        self.rest = &self.rest[end..];
        // Python 2 wrote long integers with this suffix.
        self.take("L");
        Ok(value)
    }

    fn tuple(&mut self) -> std::result::Result<Vec<u64>, Fault> {
        self.expect("(")?;
        let mut items = Vec::new();
        while !self.take(")") {
            items.push(self.int()?);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(items)
    }
}

fn parse(text: &[u8]) -> std::result::Result<Header, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text")?;
    let mut literal = Literal { rest: text };
    let (mut descr, mut column_major, mut shape) = (None, None, None);
    literal.expect("{")?;
    while !literal.take("}") {
        let key = literal.string()?;
        literal.expect(":")?;
        let again = match key {
            "descr" if literal.take("[") => return Err(Fault::Record),
            "descr" => descr.replace(literal.string()?).is_some(),
            "fortran_order" => column_major.replace(literal.bool()?).is_some(),
            "shape" => shape.replace(literal.tuple()?).is_some(),
            _ => return Err(Fault::Invalid(format!("unknown key {key:?}"))),
        };
        if again {
            return Err(Fault::Invalid(format!("the key {key:?} occurs twice")));
        }
        if !literal.take(",") {
            literal.expect("}")?;
            break;
        }
    }
    if !literal.rest.trim().is_empty() {
        return Err("something follows the dict".into());
    }
    Ok(Header {
        descr: descr.ok_or("descr is missing")?.to_owned(),
        column_major: column_major.ok_or("fortran_order is missing")?,
        shape: shape.ok_or("shape is missing")?,
    })
}

/// The bytes that precede the elements of a row-major array.
pub(crate) fn header(dtype: Dtype, shape: &[usize]) -> Vec<u8> {
    let descr = match dtype {
        Dtype::Bool => "|b1",
        Dtype::U8 => "|u1",
        Dtype::U16 => "<u2",
        Dtype::U32 => "<u4",
        Dtype::U64 => "<u8",
        Dtype::I8 => "|i1",
        Dtype::I16 => "<i2",
        Dtype::I32 => "<i4",
        Dtype::I64 => "<i8",
        Dtype::F16 => "<f2",
        Dtype::BF16 => "<V2",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        Dtype::C64 => "<c8",
    };
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dims = dims.trim_end();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let (version, lead) = if text.len() < 65_000 { (1, 10) } else { (2, 12) };
    // The elements begin at a multiple of 64 bytes, and the header ends with a new line.
    let padding = (lead + text.len() + 1).next_multiple_of(64) - (lead + text.len() + 1);
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((text.len() as u16).to_le_bytes()),
        _ => bytes.extend((text.len() as u32).to_le_bytes()),
    }
    bytes.extend(text.into_bytes());
    bytes
}

/// Writes one tensor to `path`, which is replaced only when all is written.
///
/// bfloat16 is written as a void of two bytes, as MLX writes it.
///
/// # Errors
/// Kind `Io` if the file cannot be written; those of evaluation.
pub fn save(path: &Path, tensor: &dyn Saved) -> Result<()> {
    replace("save", path, |output: &mut Output| {
        output.put(&header(tensor.dtype(), tensor.shape()))?;
        output.tensor(tensor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_python_literals() {
        let ok = |text: &str, descr: &str, column_major, shape: &[u64]| {
            let header = parse(text.as_bytes()).ok();
            let want = Header { descr: descr.into(), column_major, shape: shape.to_vec() };
            assert_eq!(header, Some(want), "{text}");
        };
        ok("{'descr': '<f4', 'fortran_order': False, 'shape': (), }  \n", "<f4", false, &[]);
        ok("{'shape':(3,),\"descr\":\">i8\",'fortran_order':True}", ">i8", true, &[3]);
        ok("{ 'descr': '|b1' , 'fortran_order': True, 'shape': (3L, 4L)}", "|b1", true, &[3, 4]);
        for text in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
            "{'descr': '<f4",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
