//! From text to a model's token numbers and back.

use super::Prompt;
use super::merge::merge;
use super::split::Rules;
use lazulite_core::{Error, ErrorKind, Result};
use lazulite_io::gguf::{Items, Metadata, Value};
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

const OP: &str = "tokenizer";

/// What SentencePiece writes for a space.
const SPACE: char = '\u{2581}';

/// What a token stands for, by the numbers of `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A piece of text.
    Normal,
    /// The token for text that no other token covers, or one that no text gives.
    Unreachable,
    /// A mark between texts, such as the end of a message; printed as nothing.
    Control,
    /// A piece of text that is always one token.
    UserDefined,
    /// One byte.
    Byte,
}

/// How pieces of text become tokens.
#[derive(Debug)]
enum Model {
    /// Byte pair encoding over bytes, by a list of merges ("gpt2").
    Bytes {
        rules: Rules,
        /// The token of each byte; a vocabulary may lack bytes that its texts did not have.
        bytes: Box<[Option<u32>; 256]>,
        /// Rank and result of each pair that merges.
        merges: HashMap<(u32, u32), (u32, u32)>,
        /// True iff a piece that is a token is not built from merges.
        whole_first: bool,
    },
    /// Byte pair encoding over characters, by the scores of the tokens ("llama").
    Scores { scores: Vec<f32>, bytes: Box<[Option<u32>; 256]>, prefix: bool, unknown: Option<u32> },
}

/// The tokenizer of one model.
#[derive(Debug)]
pub struct Tokenizer {
    model: Model,
    /// The bytes that each token prints.
    tokens: Vec<(Kind, Vec<u8>)>,
    /// The normal tokens by their bytes.
    vocabulary: HashMap<Vec<u8>, u32>,
    /// Control and user-defined tokens by their first byte, the longest first.
    marks: HashMap<u8, Vec<u32>>,
    bos: Option<u32>,
    eos: Option<u32>,
    ends: Vec<u32>,
    add_bos: bool,
    add_eos: bool,
}

/// Lesser for a higher score.
#[derive(PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        other.0.total_cmp(&self.0)
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Io, OP, why)
}

/// The byte that GPT-2's alphabet writes as `c`: printable bytes are themselves, the others
/// follow from U+0100 on in order.
fn byte_of(c: char) -> Option<u8> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c) {
        n @ 0..256 => Some(n as u8).filter(printable),
        n => (0..=255u8).filter(|b| !printable(b)).nth((n - 256) as usize),
    }
}

impl Tokenizer {
    /// The tokenizer that a model's metadata describe.
    ///
    /// # Errors
    /// Kind `Unsupported` for a model other than "gpt2" and "llama" or unknown rules of splitting,
    /// kind `Io` if the metadata contradict themselves.
    pub fn from_gguf(metadata: &Metadata) -> Result<Tokenizer> {
        let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
        let name = get("model").and_then(Value::as_str);
        let name = name.ok_or_else(|| invalid("tokenizer.ggml.model is missing"))?;
        let in_bytes = match name {
            "gpt2" => true,
            "llama" => false,
            _ => return Err(Error::unsupported(OP, format!("the model {name:?} is not known"))),
        };
        let texts = get("tokens").and_then(Value::as_strings);
        let texts = texts.ok_or_else(|| invalid("tokenizer.ggml.tokens is missing"))?;
        let kinds = kinds(get("token_type"), texts)?;
        let mut tokens = Vec::with_capacity(texts.len());
        let mut vocabulary = HashMap::with_capacity(texts.len());
        let mut marks: HashMap<u8, Vec<u32>> = HashMap::new();
        for (id, (text, kind)) in (0u32..).zip(texts.iter().zip(kinds)) {
            let bytes = token_bytes(text, kind, in_bytes)?;
            match kind {
                Kind::Normal => drop(vocabulary.entry(bytes.clone()).or_insert(id)),
                Kind::Control | Kind::UserDefined => {
                    if let Some(&first) = bytes.first() {
                        marks.entry(first).or_default().push(id);
                    }
                }
                Kind::Unreachable | Kind::Byte => {}
            }
            tokens.push((kind, bytes));
        }
        for ids in marks.values_mut() {
            ids.sort_by_key(|&id| Reverse(tokens[id as usize].1.len()));
        }
        let token = |key| get(key).and_then(Value::as_u64).map(|id| id as u32);
        let token = |key| token(key).filter(|&id| (id as usize) < texts.len());
        let model = if in_bytes {
            let pre = get("pre").and_then(Value::as_str).unwrap_or("gpt2");
            let rules = Rules::from_name(pre).ok_or_else(|| {
                Error::unsupported(OP, format!("the rules of splitting {pre:?} are not known"))
            })?;
            let merges = get("merges").and_then(Value::as_strings);
            let merges = merges.ok_or_else(|| invalid("tokenizer.ggml.merges is missing"))?;
            let bytes = std::array::from_fn(|b| vocabulary.get(&[b as u8][..]).copied());
            let merges = read_merges(merges, &vocabulary)?;
            let whole_first = rules == Rules::Cl100k { digits: 3 };
            Model::Bytes { rules, bytes: Box::new(bytes), merges, whole_first }
        } else {
            let Some(Value::Array(Items::F32(scores))) = get("scores") else {
                return Err(invalid("tokenizer.ggml.scores is missing"));
            };
            if scores.len() != texts.len() {
                return Err(invalid("there are not as many scores as tokens"));
            }
            let mut bytes = [None; 256];
            for (id, (kind, text)) in (0u32..).zip(&tokens) {
                if *kind == Kind::Byte {
                    bytes[usize::from(text[0])] = Some(id);
                }
            }
            let prefix = get("add_space_prefix").and_then(Value::as_bool).unwrap_or(true);
            let (scores, bytes) = (scores.clone(), Box::new(bytes));
            Model::Scores { scores, bytes, prefix, unknown: token("unknown_token_id") }
        };
        let flag = |key, default| get(key).and_then(Value::as_bool).unwrap_or(default);
        let ends = ["eos_token_id", "eot_token_id", "eom_token_id"];
        Ok(Tokenizer {
            model,
            vocabulary,
            marks,
            bos: token("bos_token_id"),
            eos: token("eos_token_id"),
            ends: ends.into_iter().filter_map(token).collect(),
            add_bos: flag("add_bos_token", !in_bytes),
            add_eos: flag("add_eos_token", false),
            tokens,
        })
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True iff there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// True iff a reply is complete with this token: the end of text, turn or message.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// The text of one token, control tokens included.
    pub fn text(&self, id: u32) -> Option<String> {
        let (_, bytes) = self.tokens.get(id as usize)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The tokens of `text`. With `controls`, spellings of control tokens in the text become those
    /// tokens; else they are text like any other. Tokens that begin and end a text are not added.
    pub fn encode(&self, text: &str, controls: bool) -> Vec<u32> {
        self.encode_parts(text, controls, None)
    }

    /// The tokens of a prompt, in which the control tokens are those of the template, with the
    /// tokens that begin and end a text if the model wants them.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Vec<u32> {
        let mut ids = self.encode_parts(&prompt.text, true, Some(prompt.guard));
        if let Some(bos) = self.bos.filter(|bos| self.add_bos && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        ids.extend(self.eos.filter(|_| self.add_eos));
        ids
    }

    /// `text` with `guard` inside every spelling of a control token.
    pub(super) fn guard_controls(&self, text: &str, guard: char) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, id)) = self.find_mark(rest, true) {
            // The first character again is a start, so that overlapping spellings are all guarded.
            let first = at + rest[at..].chars().next().map_or(0, char::len_utf8);
            result.push_str(&rest[..first]);
            if self.tokens[id as usize].0 == Kind::Control {
                result.push(guard);
            }
            rest = &rest[first..];
        }
        result + rest
    }

    /// The first place of a control (if `controls`) or user-defined token, the longest there.
    fn find_mark(&self, text: &str, controls: bool) -> Option<(usize, u32)> {
        text.bytes().enumerate().find_map(|(at, first)| {
            let fits = |id: &&u32| {
                let (kind, bytes) = &self.tokens[**id as usize];
                (controls || *kind != Kind::Control) && text.as_bytes()[at..].starts_with(bytes)
            };
            self.marks.get(&first)?.iter().find(fits).map(|&id| (at, id))
        })
    }

    fn encode_parts(&self, text: &str, controls: bool, guard: Option<char>) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text;
        let encode = |part: &str, ids: &mut Vec<u32>| match guard {
            Some(guard) => self.encode_text(&part.replace(guard, ""), ids),
            None => self.encode_text(part, ids),
        };
        while let Some((at, id)) = self.find_mark(rest, controls) {
            encode(&rest[..at], &mut ids);
            ids.push(id);
            rest = &rest[at + self.tokens[id as usize].1.len()..];
        }
        encode(rest, &mut ids);
        ids
    }

    /// Appends the tokens of a text between marks.
    fn encode_text(&self, text: &str, ids: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        match &self.model {
            Model::Bytes { rules, bytes, merges, whole_first } => {
                for piece in rules.pieces(text) {
                    let whole = self.vocabulary.get(piece.as_bytes()).filter(|_| *whole_first);
                    if let Some(&id) = whole {
                        ids.push(id);
                        continue;
                    }
                    let symbols = piece.bytes().filter_map(|b| bytes[usize::from(b)]);
                    ids.extend(merge(symbols, |a, b| merges.get(&(a, b)).copied()));
                }
            }
            Model::Scores { scores, bytes, prefix, unknown } => {
                let mut spaced = String::with_capacity(text.len() + 1);
                if *prefix {
                    spaced.push(' ');
                }
                spaced.push_str(text);
                let spaced = spaced.as_bytes();
                let starts = (0..spaced.len()).filter(|&i| spaced[i] & 0xc0 != 0x80);
                let ends =
                    (1..=spaced.len()).filter(|&i| spaced.get(i).is_none_or(|b| b & 0xc0 != 0x80));
                let token = |(a, b): (usize, usize)| self.vocabulary.get(&spaced[a..b]).copied();
                let parts = merge(starts.zip(ends), |a, b| {
                    let joined = (a.0, b.1);
                    Some((Score(scores[token(joined)? as usize]), joined))
                });
                for part in parts {
                    match token(part) {
                        Some(id) => ids.push(id),
                        None => {
                            let byte = |b: &u8| bytes[usize::from(*b)].or(*unknown);
                            ids.extend(spaced[part.0..part.1].iter().filter_map(byte));
                        }
                    }
                }
            }
        }
    }

    /// The text of tokens; control tokens print nothing, and bytes that are not UTF-8 print
    /// U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = self.decoder();
        let mut text: String = ids.iter().map(|&id| decoder.push(id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// Decodes tokens one at a time.
    pub fn decoder(&self) -> Decoder<'_> {
        // SentencePiece put this space before the text; it is not part of it.
        let strip = matches!(self.model, Model::Scores { prefix: true, .. });
        Decoder { tokenizer: self, pending: Vec::new(), strip }
    }
}

/// The kinds of `tokenizer.ggml.token_type`; all tokens are normal if it is missing.
fn kinds(value: Option<&Value>, texts: &[String]) -> Result<Vec<Kind>> {
    let Some(value) = value else { return Ok(vec![Kind::Normal; texts.len()]) };
    let Value::Array(Items::I32(numbers)) = value else {
        return Err(invalid("tokenizer.ggml.token_type is not an array of int32"));
    };
    if numbers.len() != texts.len() {
        return Err(invalid("there are not as many token types as tokens"));
    }
    let kind = |number: &i32| match number {
        1 => Ok(Kind::Normal),
        2 | 5 => Ok(Kind::Unreachable),
        3 => Ok(Kind::Control),
        4 => Ok(Kind::UserDefined),
        6 => Ok(Kind::Byte),
        _ => Err(invalid(format!("the token type {number} is not known"))),
    };
    numbers.iter().map(kind).collect()
}

/// The bytes that a token of this text prints.
fn token_bytes(text: &str, kind: Kind, in_bytes: bool) -> Result<Vec<u8>> {
    match kind {
        Kind::Normal if in_bytes => {
            // A token outside the alphabet was added as it is.
            let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
            Ok(bytes.unwrap_or_else(|| text.as_bytes().to_vec()))
        }
        Kind::Byte => {
            let digits = text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let byte = byte.ok_or_else(|| invalid(format!("{text:?} is not a token of a byte")))?;
            Ok(vec![byte])
        }
        Kind::Normal | Kind::UserDefined if !in_bytes => Ok(text.replace(SPACE, " ").into_bytes()),
        _ => Ok(text.as_bytes().to_vec()),
    }
}

/// Rank and result of each pair. A merge of texts that are no tokens can never happen.
fn read_merges(
    merges: &[String],
    vocabulary: &HashMap<Vec<u8>, u32>,
) -> Result<HashMap<(u32, u32), (u32, u32)>> {
    let mut result = HashMap::with_capacity(merges.len());
    for (rank, merge) in (0u32..).zip(merges) {
        let pair = merge.split_once(' ');
        let (a, b) = pair.ok_or_else(|| invalid(format!("the merge {merge:?} is not a pair")))?;
        let bytes = |text: &str| text.chars().map(byte_of).collect::<Option<Vec<u8>>>();
        let (Some(a), Some(b)) = (bytes(a), bytes(b)) else { continue };
        let joined = [a.as_slice(), &b].concat();
        let token = |bytes: &[u8]| vocabulary.get(bytes).copied();
        if let (Some(a), Some(b), Some(joined)) = (token(&a), token(&b), token(&joined)) {
            result.entry((a, b)).or_insert((rank, joined));
        }
    }
    Ok(result)
}

/// Decodes tokens as they come, and holds back the bytes of a character that is not complete.
#[derive(Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
    /// True iff a space at the start is not part of the text and nothing has been printed.
    strip: bool,
}

impl Decoder<'_> {
    /// The text that this token completes.
    pub fn push(&mut self, id: u32) -> String {
        if let Some((kind, bytes)) = self.tokenizer.tokens.get(id as usize)
            && *kind != Kind::Control
        {
            let bytes = if self.strip { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes };
            self.strip = false;
            self.pending.extend(bytes);
        }
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, tail) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = tail;
                    // Without a length, more bytes may complete the character.
                    let Some(wrong) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[wrong..];
                }
            }
        }
        self.pending = rest.to_vec();
        text
    }

    /// What was held back, with U+FFFD for a character that never became complete.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}
