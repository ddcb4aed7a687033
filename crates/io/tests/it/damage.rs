//! No file makes a reader panic or promise more than its bytes can hold.

use crate::{fixture, tensors};
use lazulite_core::{ErrorKind, Result};
use lazulite_io::{Contents, Input};

const FILES: [&str; 7] = [
    "stored.npz",
    "mlx.npz",
    "int16_c.npy",
    "objects.npy",
    "all.safetensors",
    "all.gguf",
    "unsupported.gguf",
];

/// Opens and reads everything; the error says why not.
fn read_all(bytes: Vec<u8>) -> Result<usize> {
    // Deflate makes at most 1032 bytes of one, and no other format more than eight.
    let limit = bytes.len() * 1032;
    let contents = Contents::open(&Input::from_bytes(bytes))?;
    let mut total = 0;
    for (name, tensor) in tensors(&contents)? {
        assert!(tensor.nbytes() <= limit, "{name}: {} bytes of {limit}", tensor.nbytes());
        total += tensor.read()?.len();
    }
    Ok(total)
}

fn is_clear(result: Result<usize>, what: &str) -> Option<usize> {
    let error = match result {
        Ok(total) => return Some(total),
        Err(error) => error,
    };
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::Unsupported), "{what}: {error:?}");
    None
}

#[test]
fn truncated_anywhere() {
    for file in FILES {
        let bytes = std::fs::read(fixture(file)).unwrap();
        let whole = read_all(bytes.clone()).ok();
        for end in 0..bytes.len() {
            let got = is_clear(read_all(bytes[..end].to_vec()), file);
            // What follows the last tensor, such as padding, may be missing.
            assert!(got.is_none() || got == whole, "{file} cut at {end} reads {got:?}");
        }
    }
}

#[test]
fn any_byte_changed() {
    for file in FILES {
        let bytes = std::fs::read(fixture(file)).unwrap();
        for at in 0..bytes.len() {
            for change in [1, 0x10, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                is_clear(read_all(bytes), file);
            }
        }
    }
}

#[test]
fn any_word_replaced_by_an_extreme_number() {
    for file in FILES {
        let bytes = std::fs::read(fixture(file)).unwrap();
        for at in 0..bytes.len().saturating_sub(8) {
            for number in [u64::MAX, i64::MAX as u64, 1 << 62, 1 << 40, u64::from(u32::MAX), 0] {
                let mut bytes = bytes.clone();
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
                is_clear(read_all(bytes), file);
            }
        }
    }
}

#[test]
fn a_changed_byte_of_deflated_data_is_seen() {
    let bytes = std::fs::read(fixture("deflated.npz")).unwrap();
    // The first member's local header has 30 bytes, its name and its extra fields.
    let extra = u16::from_le_bytes([bytes[28], bytes[29]]) as usize;
    let data = 30 + u16::from_le_bytes([bytes[26], bytes[27]]) as usize + extra;
    for at in data..data + 40 {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        assert!(is_clear(read_all(bytes), "deflated.npz").is_none(), "byte {at}");
    }
}

/// A safetensors file of this header and `data` zero bytes.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn safetensors_headers() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{}}}"#, entry(dtype, shape, offsets))
    };
    let (low, high) = (entry("U8", "[4]", "[0,4]"), entry("U8", "[4]", "[3,7]"));
    let empty = entry("U8", "[0]", "[2,2]");
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (header, text) in [
        (one("F32", "[2]", "[0,8]"), ""),
        (one("F8_E4M3", "[8]", "[0,8]"), ""),
        (one("F32", "[]", "[4,8]"), ""),
        (one("F32", "[0,5]", "[8,8]"), ""),
        (format!(r#"{{"a":{low},"b":{empty}}}"#), ""),
        ("{}".into(), ""),
        (one("F32", "[2]", "[0,7]"), "7 bytes of data where float32 [2] needs 8"),
        (one("F32", "[2]", "[1,9]"), "not in the 8 bytes"),
        (one("F32", "[2]", "[8,0]"), "not in the 8 bytes"),
        (one("F32", "[4294967296,4294967296]", "[0,8]"), "does not fit"),
        (one("F32", "[-2]", "[0,8]"), "not valid"),
        (one("F32", "[2]", "[0,8,16]"), "not valid"),
        (one("F4", "[2]", "[0,8]"), "no array has the type \"F4\""),
        (format!(r#"{{"a":{low},"a":{low}}}"#), "occurs twice"),
        (format!(r#"{{"a":{low},"b":{high}}}"#), "overlap"),
        (r#"{"a":{"dtype":"U8","shape":[8]}}"#.into(), "data_offsets is missing"),
        (r#"{"a":{"dtype":"U8","dtype":"U8"}}"#.into(), "dtype is given twice"),
        (r#"{"__metadata__":{"a":1}}"#.into(), "not valid"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), "duplicate field"),
        (format!(r#"{{"a":{nested}}}"#), "not valid"),
        (r#"{"a":"#.into(), "not valid"),
    ] {
        let result = read_all(safetensors(&header, 8));
        match result {
            Ok(_) => assert_eq!(text, "", "{header} is accepted"),
            Err(error) => {
                let header = &header[..header.len().min(100)];
                assert!(!text.is_empty() && error.message().contains(text), "{header}: {error}");
            }
        }
    }
    let mut huge = safetensors("{}", 8);
    huge[..8].copy_from_slice(&100_000_001u64.to_le_bytes());
    let error = read_all(huge).unwrap_err();
    assert!(error.message().contains("more than the 100000000 allowed"), "{error}");
}

#[test]
fn gguf_headers() {
    /// A file of version 3 with these counts and this rest.
    fn file(tensors: u64, pairs: u64, rest: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(pairs.to_le_bytes());
        rest.iter().for_each(|part| bytes.extend(*part));
        bytes
    }
    let word = |n: u32| n.to_le_bytes();
    let long = |n: u64| n.to_le_bytes();
    let key: &[u8] = b"\x01\0\0\0\0\0\0\0k";
    let alignment: &[u8] = b"\x11\0\0\0\0\0\0\0general.alignment";
    let deep: Vec<u8> = [word(9).as_slice(), &long(1)].concat().repeat(100_000);
    let tensor = |axes: u32, shape: &[u64], kind: u32, offset: u64| {
        let mut bytes = key.to_vec();
        bytes.extend(word(axes));
        shape.iter().for_each(|d| bytes.extend(long(*d)));
        bytes.extend(word(kind));
        bytes.extend(long(offset));
        bytes.resize(bytes.len() + 64, 0);
        bytes
    };
    let mut wrong_version = file(0, 0, &[]);
    wrong_version[4] = 1;
    let mut big_endian = file(0, 0, &[]);
    big_endian[4..8].copy_from_slice(&[0, 0, 0, 3]);
    for (bytes, text) in [
        (file(0, 0, &[]), ""),
        (file(0, 1, &[key, &word(0), &[7]]), ""),
        (file(1, 0, &[&tensor(1, &[2], 0, 0)]), ""),
        (wrong_version, "version 1"),
        (big_endian, "big-endian"),
        (file(u64::MAX, 0, &[]), "tensors cannot be in the 0 bytes left"),
        (file(0, u64::MAX, &[]), "metadata pairs cannot be in the 0 bytes left"),
        (file(0, 1, &[&long(1 << 40), &[0; 64]]), "more than the 65535 allowed"),
        (file(0, 1, &[key, &word(8), &long(1 << 40), &[0; 8]]), "truncated"),
        (file(0, 1, &[key, &word(9), &word(4), &long(1 << 62), &[0; 8]]), "does not fit"),
        (file(0, 1, &[key, &word(9), &word(4), &long(1 << 40), &[0; 8]]), "truncated"),
        (file(0, 1, &[key, &word(9), &word(8), &long(1 << 40), &[0; 8]]), "truncated"),
        (file(0, 1, &[key, &word(9), &deep]), "too deep"),
        (file(0, 1, &[key, &word(13), &[0; 8]]), "unknown type 13"),
        (file(0, 1, &[&long(1), &[0xff], &word(0), &[7]]), "invalid utf-8"),
        (file(0, 2, &[key, &word(0), &[7], key, &word(0), &[7]]), "occurs twice"),
        (file(0, 1, &[alignment, &word(4), &word(24)]), "not a power of two"),
        (file(0, 1, &[alignment, &word(4), &word(0)]), "not a power of two"),
        (file(1, 0, &[&tensor(5, &[1; 5], 0, 0)]), "more than the 4 of ggml"),
        (file(1, 0, &[&tensor(1, &[2], 77, 0)]), "unknown type 77"),
        (file(1, 0, &[&tensor(1, &[33], 2, 0)]), "whole Q4_0 blocks"),
        (file(1, 0, &[&tensor(2, &[32, 1 << 58], 2, 0)]), "does not fit"),
        (file(1, 0, &[&tensor(1, &[2], 0, 4)]), "not a multiple of 32"),
        (file(1, 0, &[&tensor(1, &[2], 0, 1 << 40)]), "do not end before"),
        (file(1, 0, &[&tensor(1, &[2], 0, u64::MAX - 31)]), "do not end before"),
        (file(1, 0, &[&tensor(1, &[1 << 30], 0, 0)]), "do not end before"),
    ] {
        match read_all(bytes) {
            Ok(_) => assert_eq!(text, "", "accepted, without {text:?}"),
            Err(error) => {
                assert!(!text.is_empty() && error.message().contains(text), "{text:?}: {error}");
            }
        }
    }
}
