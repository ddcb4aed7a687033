//! The part of the zip format that `.npz` files use: stored and deflated members, with the
//! 64-bit extension.
//!
//! Source of the layout: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3.

use crate::input::{Cursor, Input, Subject};
use crate::output::Output;
use crc32fast::Hasher;
use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use lazulite_core::{Result, Source};
use std::collections::HashSet;
use std::fmt;
use std::io::{BufReader, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Deflate makes at most 1032 bytes of one (zlib's technical notes).
const MAX_RATIO: u64 = 1032;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Where the directory of an archive lies.
struct Directory {
    entries: u64,
    size: u64,
    offset: u64,
}

fn read_at<const N: usize>(input: &Input, subject: &Subject, offset: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    if offset.checked_add(N as u64).is_none_or(|end| end > input.len()) {
        return Err(subject.invalid(format!("a record at {offset} is beyond the end")));
    }
    input.source().read(offset, &mut bytes)?;
    Ok(bytes)
}

fn find_directory(input: &Input, subject: &Subject) -> Result<Directory> {
    // The end record has 22 bytes and a comment of at most 65535.
    let tail = input.len().min(22 + 65_535);
    let mut bytes = vec![0; tail as usize];
    let start = input.len() - tail;
    input.source().read(start, &mut bytes)?;
    let found = (0..bytes.len().saturating_sub(21)).rev().find(|&at| {
        u32_at(&bytes, at) == END && at + 22 + u16_at(&bytes, at + 20) as usize == bytes.len()
    });
    let at = found.ok_or_else(|| subject.invalid("it is not a complete zip archive"))?;
    let end = &bytes[at..];
    let mut directory = Directory {
        entries: u16_at(end, 10).into(),
        size: u32_at(end, 12).into(),
        offset: u32_at(end, 16).into(),
    };
    let end_offset = start + at as u64;
    if let Some(locator_offset) = end_offset.checked_sub(20) {
        let locator: [u8; 20] = read_at(input, subject, locator_offset)?;
        if u32_at(&locator, 0) == LOCATOR_64 {
            let record: [u8; 56] = read_at(input, subject, u64_at(&locator, 8))?;
            if u32_at(&record, 0) != END_64 {
                return Err(subject.invalid("its 64-bit end record is not there"));
            }
            directory = Directory {
                entries: u64_at(&record, 32),
                size: u64_at(&record, 40),
                offset: u64_at(&record, 48),
            };
        }
    }
    let Directory { entries, size, offset } = directory;
    if offset.checked_add(size).is_none_or(|end| end > end_offset) || entries > size / 46 {
        let why =
            format!("a directory of {entries} entries in {size} bytes at {offset} has no room");
        return Err(subject.invalid(why));
    }
    Ok(directory)
}

/// The members of an archive, with their names.
pub(crate) fn open(input: &Input, format: &'static str) -> Result<Vec<(String, Input)>> {
    let subject = input.subject(format);
    let directory = find_directory(input, &subject)?;
    let mut cursor = input.cursor(format);
    cursor.seek(directory.offset, directory.offset + directory.size);
    let mut names = HashSet::new();
    let mut members = Vec::new();
    for _ in 0..directory.entries {
        let (name, member) = read_entry(&mut cursor, input, directory.offset)?;
        if !names.insert(name.clone()) {
            return Err(subject.invalid(format!("the name {name:?} occurs twice")));
        }
        let (len, label) = (member.size, format!("{}, member {name:?}", subject.label()));
        members.push((name, Input::from_source(Arc::new(member), len, &label)));
    }
    Ok(members)
}

fn read_entry(cursor: &mut Cursor, input: &Input, limit: u64) -> Result<(String, Member)> {
    let entry: [u8; 46] = cursor.array("a directory entry")?;
    if u32_at(&entry, 0) != CENTRAL {
        return Err(cursor.subject.invalid("a directory entry is damaged"));
    }
    let name = cursor.bytes(u16_at(&entry, 28).into(), "a member's name")?;
    let extra = cursor.bytes(u16_at(&entry, 30).into(), "a member's extra fields")?;
    cursor.bytes(u16_at(&entry, 32).into(), "a member's comment")?;
    let name = String::from_utf8_lossy(&name).into_owned();
    let subject = &cursor.subject;
    let wrong = |why: &str| subject.invalid(format!("member {name:?}: {why}"));
    let (flags, method) = (u16_at(&entry, 8), u16_at(&entry, 10));
    if flags & 1 != 0 {
        return Err(subject.unsupported(format!("member {name:?} is encrypted")));
    }
    if method != STORED && method != DEFLATED {
        let why = format!("member {name:?} is compressed by method {method}, not by deflate");
        return Err(subject.unsupported(why));
    }
    let mut wide = wide_fields(&extra).ok_or_else(|| wrong("its extra fields are damaged"))?;
    let mut field = |narrow: u32| match narrow {
        u32::MAX => wide.next().ok_or_else(|| wrong("a 64-bit field is missing")),
        _ => Ok(narrow.into()),
    };
    let size = field(u32_at(&entry, 24))?;
    let packed = field(u32_at(&entry, 20))?;
    let header = field(u32_at(&entry, 42))?;
    let local: [u8; 30] = read_at(input, subject, header)?;
    if u32_at(&local, 0) != LOCAL {
        return Err(wrong("its header is not where the directory says"));
    }
    // `read_at` has shown that `header` is in the file, so these sums do not overflow.
    let start = header + 30 + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
    if start.checked_add(packed).is_none_or(|end| end > limit) {
        return Err(wrong("its data reach beyond the directory"));
    }
    if size > packed.saturating_mul(MAX_RATIO) || (method == STORED && size != packed) {
        return Err(wrong(&format!("{size} bytes cannot be stored in {packed}")));
    }
    let member = Member {
        archive: input.source().clone(),
        subject: Subject::new("npz", format!("{}, member {name:?}", subject.label())),
        start,
        packed,
        size,
        deflated: method == DEFLATED,
        crc: u32_at(&entry, 16),
        reader: Mutex::new(None),
    };
    Ok((name, member))
}

/// The values of the 64-bit extension, or `None` if the extra fields are cut short.
fn wide_fields(mut extra: &[u8]) -> Option<impl Iterator<Item = u64>> {
    let mut values = Vec::new();
    while extra.len() >= 4 {
        let size = u16_at(extra, 2) as usize;
        let body = extra.get(4..4 + size)?;
        if u16_at(extra, 0) == 1 {
            values.extend(body.chunks_exact(8).map(|b| u64_at(b, 0)));
        }
        extra = &extra[4 + size..];
    }
    Some(values.into_iter())
}

/// One member, decompressed as it is read. Reading on from where the last read ended goes on;
/// any other place starts again from the beginning.
struct Member {
    archive: Arc<dyn Source>,
    subject: Subject,
    start: u64,
    packed: u64,
    size: u64,
    deflated: bool,
    crc: u32,
    reader: Mutex<Option<Reader>>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({} bytes of {})", self.size, self.packed)
    }
}

struct Reader {
    decoder: DeflateDecoder<BufReader<Range>>,
    position: u64,
    hasher: Hasher,
}

/// A part of a source, as `Read`.
struct Range {
    source: Arc<dyn Source>,
    position: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, dst: &mut [u8]) -> std::io::Result<usize> {
        let n = (self.end - self.position).min(dst.len() as u64) as usize;
        self.source.read(self.position, &mut dst[..n]).map_err(std::io::Error::other)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Member {
    fn start_reading(&self) -> Reader {
        let (source, end) = (self.archive.clone(), self.start + self.packed);
        let range = Range { source, position: self.start, end };
        let decoder = DeflateDecoder::new(BufReader::with_capacity(64 << 10, range));
        Reader { decoder, position: 0, hasher: Hasher::new() }
    }

    /// Reads on, and checks the sum when the last byte is read.
    fn read_on(&self, reader: &mut Reader, dst: &mut [u8]) -> Result<()> {
        let read = reader.decoder.read_exact(dst);
        read.map_err(|e| self.subject.invalid(format!("the deflated data are damaged: {e}")))?;
        reader.hasher.update(dst);
        reader.position += dst.len() as u64;
        if reader.position == self.size && reader.hasher.clone().finalize() != self.crc {
            return Err(self.subject.invalid("the checksum of the data is wrong"));
        }
        Ok(())
    }
}

impl Source for Member {
    fn read(&self, offset: u64, dst: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(dst.len() as u64).filter(|&end| end <= self.size);
        let Some(end) = end else {
            return Err(self.subject.invalid(format!("cannot read beyond {} bytes", self.size)));
        };
        if !self.deflated {
            return self.archive.read(self.start + offset, dst);
        }
        let mut state = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let old = state.take().filter(|reader| reader.position <= offset);
        let mut reader = old.unwrap_or_else(|| self.start_reading());
        let mut skipped = [0; 4096];
        while reader.position < offset {
            let n = (offset - reader.position).min(skipped.len() as u64) as usize;
            self.read_on(&mut reader, &mut skipped[..n])?;
        }
        self.read_on(&mut reader, dst)?;
        // A read from the very start is of the header, and many members may wait after theirs.
        if offset > 0 && end < self.size {
            *state = Some(reader);
        }
        Ok(())
    }
}

/// Writes an archive member by member, always with 64-bit sizes.
pub(crate) struct Archive<'a, 'p> {
    output: &'a mut Output<'p>,
    deflate: bool,
    directory: Vec<u8>,
    entries: u64,
}

/// The fields that a local header and a directory entry share.
fn shared_fields(deflate: bool, crc: u32, name: &str, extra: u16) -> Vec<u8> {
    let method = if deflate { DEFLATED } else { STORED };
    // Bit 11: the name is UTF-8. The date is 1980-01-01, so that equal arrays give equal files.
    let mut bytes: Vec<u8> =
        [45, 1 << 11, method, 0, 0x21].into_iter().flat_map(u16::to_le_bytes).collect();
    bytes.extend(crc.to_le_bytes());
    // Both sizes are in the 64-bit extension.
    bytes.extend([0xff; 8]);
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend(extra.to_le_bytes());
    bytes
}

fn extension(values: &[u64]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 8 * values.len() as u8, 0];
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

fn local_header(deflate: bool, crc: u32, name: &str, size: u64, packed: u64) -> Vec<u8> {
    let mut bytes = LOCAL.to_le_bytes().to_vec();
    bytes.extend(shared_fields(deflate, crc, name, 20));
    bytes.extend(name.as_bytes());
    bytes.extend(extension(&[size, packed]));
    bytes
}

impl<'a, 'p> Archive<'a, 'p> {
    pub(crate) fn new(output: &'a mut Output<'p>, deflate: bool) -> Archive<'a, 'p> {
        Archive { output, deflate, directory: Vec::new(), entries: 0 }
    }

    /// Adds the member that `body` writes. Names are at most 65535 bytes long.
    pub(crate) fn add(
        &mut self,
        name: &str,
        body: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let at = self.output.written();
        self.output.put(&local_header(self.deflate, 0, name, 0, 0))?;
        let start = self.output.written();
        let (mut hasher, mut size) = (Hasher::new(), 0);
        let level = Compression::default();
        let mut encoder = self.deflate.then(|| DeflateEncoder::new(Vec::new(), level));
        let output = &mut *self.output;
        body(&mut |bytes| {
            hasher.update(bytes);
            size += bytes.len() as u64;
            let Some(encoder) = &mut encoder else {
                return output.put(bytes);
            };
            for part in bytes.chunks(1 << 20) {
                encoder.write_all(part).map_err(|e| output.fault(&e))?;
                output.put(encoder.get_ref())?;
                encoder.get_mut().clear();
            }
            Ok(())
        })?;
        if let Some(encoder) = encoder {
            let rest = encoder.finish().map_err(|e| output.fault(&e))?;
            output.put(&rest)?;
        }
        let (packed, crc) = (self.output.written() - start, hasher.finalize());
        self.output.patch(at, &local_header(self.deflate, crc, name, size, packed))?;
        self.directory.extend(CENTRAL.to_le_bytes());
        self.directory.extend(45u16.to_le_bytes());
        self.directory.extend(shared_fields(self.deflate, crc, name, 28));
        // No comment, disk 0, no attributes, and the offset is in the extension.
        self.directory.extend([0; 10]);
        self.directory.extend([0xff; 4]);
        self.directory.extend(name.as_bytes());
        self.directory.extend(extension(&[size, packed, at]));
        self.entries += 1;
        Ok(())
    }

    /// Writes the directory and the end records.
    pub(crate) fn finish(self) -> Result<()> {
        let offset = self.output.written();
        self.output.put(&self.directory)?;
        let record = self.output.written();
        let mut end = END_64.to_le_bytes().to_vec();
        end.extend(44u64.to_le_bytes());
        end.extend([45, 0, 45, 0]);
        end.extend([0; 8]);
        let counts = [self.entries, self.entries, self.directory.len() as u64, offset];
        end.extend(counts.iter().flat_map(|v| v.to_le_bytes()));
        end.extend(LOCATOR_64.to_le_bytes());
        end.extend([0; 4]);
        end.extend(record.to_le_bytes());
        end.extend(1u32.to_le_bytes());
        end.extend(END.to_le_bytes());
        end.extend([0; 4]);
        end.extend([0xff; 12]);
        end.extend([0; 2]);
        self.output.put(&end)
    }
}
