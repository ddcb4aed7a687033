//! Metadata of a GGUF file: keys, and values of thirteen types.

use crate::input::Cursor;
use lazulite_core::Result;
use std::collections::HashMap;

/// The format's limit on the bytes of a key.
const MAX_KEY: u64 = 65_535;

/// Arrays of arrays deeper than this are refused. The format sets no limit; no file needs three.
const MAX_DEPTH: usize = 8;

/// Keys and values, in the order in which they were read or set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    places: HashMap<String, usize>,
}

impl Metadata {
    /// No pairs.
    pub fn new() -> Metadata {
        Metadata::default()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.places.get(key).map(|&i| &self.pairs[i].1)
    }

    /// Sets the value of `key`, and returns the old one.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        if let Some(&i) = self.places.get(&key) {
            return Some(std::mem::replace(&mut self.pairs[i].1, value));
        }
        self.places.insert(key.clone(), self.pairs.len());
        self.pairs.push((key, value));
        None
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True iff there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// Declares the scalar types, once: variant, Rust type, the format's number.
macro_rules! scalars {
    ($($variant:ident $ty:ty = $id:literal $doc:literal),* $(,)?) => {
        /// One metadata value.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value {
            $(#[doc = $doc] $variant($ty),)*
            /// One byte, true iff it is not 0.
            Bool(bool),
            /// Text.
            String(String),
            /// Values of one type.
            Array(Items),
        }

        /// The values of an array, all of one type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Items {
            $(#[doc = $doc] $variant(Vec<$ty>),)*
            /// Truth values.
            Bool(Vec<bool>),
            /// Texts.
            String(Vec<String>),
            /// Arrays, whose types may differ.
            Array(Vec<Items>),
        }

        impl Items {
            /// The number of items.
            pub fn len(&self) -> usize {
                match self {
                    $(Items::$variant(items) => items.len(),)*
                    Items::Bool(items) => items.len(),
                    Items::String(items) => items.len(),
                    Items::Array(items) => items.len(),
                }
            }

            fn id(&self) -> u32 {
                match self {
                    $(Items::$variant(_) => $id,)*
                    Items::Bool(_) => BOOL,
                    Items::String(_) => STRING,
                    Items::Array(_) => ARRAY,
                }
            }
        }

        impl Value {
            fn id(&self) -> u32 {
                match self {
                    $(Value::$variant(_) => $id,)*
                    Value::Bool(_) => BOOL,
                    Value::String(_) => STRING,
                    Value::Array(_) => ARRAY,
                }
            }
        }

        $(impl From<$ty> for Value {
            fn from(value: $ty) -> Value {
                Value::$variant(value)
            }
        })*

        fn read_value(cursor: &mut Cursor, key: &str) -> Result<Value> {
            let what = "a metadata value";
            let id = cursor.u32("a metadata value's type")?;
            Ok(match id {
                $($id => Value::$variant(<$ty>::from_le_bytes(cursor.array(what)?)),)*
                BOOL => Value::Bool(cursor.array::<1>(what)? != [0]),
                STRING => Value::String(read_string(cursor, u64::MAX, what)?),
                ARRAY => Value::Array(read_items(cursor, key, 1)?),
                _ => {
                    let why = format!("metadata {key:?} has the unknown type {id}");
                    return Err(cursor.subject.invalid(why));
                }
            })
        }

        fn read_items(cursor: &mut Cursor, key: &str, depth: usize) -> Result<Items> {
            let what = "a metadata array";
            let id = cursor.u32("a metadata array's type")?;
            let count = cursor.u64("a metadata array's length")?;
            // The least that one item takes: an array has a type and a length.
            let least = match id {
                $($id => size_of::<$ty>() as u64,)*
                BOOL => 1,
                STRING => 8,
                _ => 12,
            };
            let size = cursor.subject.fits(count.checked_mul(least), "a metadata array's length")?;
            cursor.need(size, what)?;
            Ok(match id {
                $($id => {
                    let bytes = cursor.bytes(size, what)?;
                    let items = bytes.chunks_exact(size_of::<$ty>());
                    Items::$variant(items.map(|b| {
                        let mut item = [0; size_of::<$ty>()];
                        item.copy_from_slice(b);
                        <$ty>::from_le_bytes(item)
                    }).collect())
                })*
                BOOL => Items::Bool(cursor.bytes(size, what)?.iter().map(|&b| b != 0).collect()),
                STRING => Items::String(
                    (0..count).map(|_| read_string(cursor, u64::MAX, what)).collect::<Result<_>>()?,
                ),
                ARRAY if depth < MAX_DEPTH => Items::Array(
                    (0..count).map(|_| read_items(cursor, key, depth + 1)).collect::<Result<_>>()?,
                ),
                _ => {
                    let why = format!("metadata {key:?} is an array of type {id}, or too deep");
                    return Err(cursor.subject.invalid(why));
                }
            })
        }

        fn write_value(out: &mut Vec<u8>, value: &Value) {
            match value {
                $(Value::$variant(v) => out.extend(v.to_le_bytes()),)*
                Value::Bool(v) => out.push(u8::from(*v)),
                Value::String(v) => write_string(out, v),
                Value::Array(items) => write_items(out, items),
            }
        }

        fn write_items(out: &mut Vec<u8>, items: &Items) {
            out.extend(items.id().to_le_bytes());
            out.extend((items.len() as u64).to_le_bytes());
            match items {
                $(Items::$variant(items) => {
                    out.extend(items.iter().flat_map(|v| v.to_le_bytes()));
                })*
                Items::Bool(items) => out.extend(items.iter().map(|&v| u8::from(v))),
                Items::String(items) => items.iter().for_each(|v| write_string(out, v)),
                Items::Array(items) => items.iter().for_each(|v| write_items(out, v)),
            }
        }
    };
}

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

scalars! {
    U8 u8 = 0 "Unsigned, 8 bits.",
    I8 i8 = 1 "Signed, 8 bits.",
    U16 u16 = 2 "Unsigned, 16 bits.",
    I16 i16 = 3 "Signed, 16 bits.",
    U32 u32 = 4 "Unsigned, 32 bits.",
    I32 i32 = 5 "Signed, 32 bits.",
    F32 f32 = 6 "Single precision.",
    U64 u64 = 10 "Unsigned, 64 bits.",
    I64 i64 = 11 "Signed, 64 bits.",
    F64 f64 = 12 "Double precision.",
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(value.into())
    }
}

impl From<Items> for Value {
    fn from(items: Items) -> Value {
        Value::Array(items)
    }
}

impl Items {
    /// True iff there are no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An integer of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::U64(v) => Some(v),
            Value::I8(v) => v.try_into().ok(),
            Value::I16(v) => v.try_into().ok(),
            Value::I32(v) => v.try_into().ok(),
            Value::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// A float of either width.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The texts of an array of strings.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Value::Array(Items::String(items)) => Some(items),
            _ => None,
        }
    }
}

pub(super) fn read_string(cursor: &mut Cursor, limit: u64, what: &str) -> Result<String> {
    let size = cursor.u64(what)?;
    if size > limit {
        let why = format!("{what} has {size} bytes, more than the {limit} allowed");
        return Err(cursor.subject.invalid(why));
    }
    let bytes = cursor.bytes(size, what)?;
    String::from_utf8(bytes).map_err(|e| cursor.subject.invalid(format!("{what}: {e}")))
}

pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

pub(super) fn read_metadata(cursor: &mut Cursor, count: u64) -> Result<Metadata> {
    // A pair has at least an empty key, a type and one byte.
    if count > cursor.left() / 13 {
        let why = format!("{count} metadata pairs cannot be in the {} bytes left", cursor.left());
        return Err(cursor.subject.invalid(why));
    }
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let key = read_string(cursor, MAX_KEY, "a metadata key")?;
        let value = read_value(cursor, &key)?;
        if metadata.get(&key).is_some() {
            return Err(cursor.subject.invalid(format!("the metadata key {key:?} occurs twice")));
        }
        metadata.set(key, value);
    }
    Ok(metadata)
}

pub(super) fn write_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    for (key, value) in metadata.iter() {
        write_string(out, key);
        out.extend(value.id().to_le_bytes());
        write_value(out, value);
    }
}
