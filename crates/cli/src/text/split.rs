//! Cuts text into the pieces that are encoded apart from each other.
//!
//! The rules are the regular expressions of the models' own tokenizers, as one scan each: the
//! expressions look ahead, which Rust's `regex` does not.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Which rules a model was trained with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rules {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// Every digit apart, and what is between digits by the rules of `Gpt2`.
    Digits,
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|`
    /// `\s*[\r\n]+|\s+(?!\S)|\s+`
    Cl100k {
        /// The most digits of a piece, `n`.
        digits: usize,
    },
}

impl Rules {
    /// The rules of this name in `tokenizer.ggml.pre`.
    pub(super) fn from_name(name: &str) -> Option<Rules> {
        Some(match name {
            "gpt-2" | "gpt2" | "phi-2" | "jina-es" | "jina-de" | "roberta-bpe" => Rules::Gpt2,
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => Rules::Digits,
            "llama-bpe" | "llama3" | "llama-v3" | "dbrx" | "smaug-bpe" => {
                Rules::Cl100k { digits: 3 }
            }
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "megrez" => Rules::Cl100k { digits: 1 },
            _ => return None,
        })
    }

    /// The pieces of `text`, in order and without gaps.
    pub(super) fn pieces(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let piece = match self {
                Rules::Gpt2 => gpt2(rest),
                Rules::Digits => match rest.find(is_number) {
                    Some(0) => rest.chars().next().map_or(0, char::len_utf8),
                    // What is between digits is cut as if the text ended there.
                    between => gpt2(&rest[..between.unwrap_or(rest.len())]),
                },
                Rules::Cl100k { digits } => cl100k(rest, digits),
            };
            let (piece, tail) = rest.split_at(piece);
            rest = tail;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

fn is_letter(c: char) -> bool {
    match c {
        _ if c.is_ascii() => c.is_ascii_alphabetic(),
        _ => c.general_category_group() == GeneralCategoryGroup::Letter,
    }
}

fn is_number(c: char) -> bool {
    c.is_numeric()
}

fn is_other(c: char) -> bool {
    !c.is_whitespace() && !is_letter(c) && !is_number(c)
}

/// The length of the longest start of `text` of characters that are `class`.
fn run(text: &str, class: impl Fn(char) -> bool) -> usize {
    text.find(|c| !class(c)).unwrap_or(text.len())
}

/// The length of a contraction at the start of `text`, or 0.
fn contraction(text: &str, fold: impl Fn(char) -> char) -> usize {
    let mut chars = text.chars();
    if chars.next() != Some('\'') {
        return 0;
    }
    let Some(first) = chars.next() else { return 0 };
    let second = chars.next();
    match (fold(first), second.map(&fold)) {
        ('s' | 't' | 'm' | 'd', _) => 1 + first.len_utf8(),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => 3,
        _ => 0,
    }
}

/// White space: all of it at the end of the text, else all but its last character, which goes
/// with what follows, unless it is the only one.
fn space(text: &str) -> usize {
    let size = run(text, char::is_whitespace);
    let last = text[..size].chars().next_back().map_or(0, char::len_utf8);
    if size == text.len() || size == last { size } else { size - last }
}

fn gpt2(text: &str) -> usize {
    let size = contraction(text, |c| c);
    if size > 0 {
        return size;
    }
    let bare = text.strip_prefix(' ').unwrap_or(text);
    let lead = text.len() - bare.len();
    let size = [is_letter, is_number, is_other].iter().map(|class| run(bare, class)).max();
    match size {
        Some(size) if size > 0 => lead + size,
        _ => space(text),
    }
}

fn cl100k(text: &str, digits: usize) -> usize {
    // U+017F is the one character outside ASCII that folds to a letter of a contraction.
    let size = contraction(text, |c| if c == '\u{17f}' { 's' } else { c.to_ascii_lowercase() });
    if size > 0 {
        return size;
    }
    let Some(first) = text.chars().next() else { return 0 };
    let newline = |c| c == '\r' || c == '\n';
    let lead = match first {
        _ if newline(first) || is_letter(first) || is_number(first) => 0,
        _ => first.len_utf8(),
    };
    let letters = run(&text[lead..], is_letter);
    if letters > 0 {
        return lead + letters;
    }
    if is_number(first) {
        return text.chars().take_while(|&c| is_number(c)).take(digits).map(char::len_utf8).sum();
    }
    let lead = usize::from(first == ' ');
    let other = run(&text[lead..], is_other);
    if other > 0 {
        let end = lead + other;
        return end + run(&text[end..], newline);
    }
    let size = run(text, char::is_whitespace);
    text[..size].rfind(newline).map_or_else(|| space(text), |last| last + 1)
}
