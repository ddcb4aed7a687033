use crate::{fixture, ids, json, metadata, model, reference, tokenizer};
use lazulite_cli::text::Tokenizer;
use lazulite_core::ErrorKind;
use lazulite_io::gguf::{Items, Metadata};

#[test]
fn texts_have_the_tokens_of_the_libraries() {
    for model in json(&fixture("golden.json")).as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let tokenizer = tokenizer(&format!("{name}.gguf"));
        let cases = model["cases"].as_array().unwrap();
        assert!(cases.len() > 100);
        for case in cases {
            let (text, want) = (case[0].as_str().unwrap(), ids(&case[1]));
            // SentencePiece does not take a control token for one when it is spelt in a text.
            let got = tokenizer.encode(text, name != "sentencepiece");
            assert_eq!(got, want, "{name}: {text:?}");
        }
    }
}

#[test]
fn the_real_vocabulary() {
    let Some(path) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(&metadata(&path)).unwrap();
    let golden = reference();
    for case in golden["tokenizer"].as_array().unwrap() {
        let (text, want) = (case["text"].as_str().unwrap(), ids(&case["ids"]));
        assert_eq!(tokenizer.encode(text, true), want, "{text:?}");
    }
}

#[test]
fn decoding_undoes_encoding() {
    for name in ["gpt2", "smollm", "llama3", "qwen2", "sentencepiece"] {
        let tokenizer = tokenizer(&format!("{name}.gguf"));
        for model in json(&fixture("golden.json")).as_array().unwrap() {
            for case in model["cases"].as_array().unwrap() {
                let text = case[0].as_str().unwrap();
                if name == "sentencepiece" && text.contains('\u{2581}') {
                    continue;
                }
                let ids = tokenizer.encode(text, false);
                assert_eq!(tokenizer.decode(&ids), text, "{name}");
                let mut decoder = tokenizer.decoder();
                let mut streamed: String = ids.iter().map(|&id| decoder.push(id)).collect();
                streamed.push_str(&decoder.finish());
                assert_eq!(streamed, text, "{name}, one by one");
            }
        }
    }
}

#[test]
fn half_a_character_is_held_back() {
    let tokenizer = tokenizer("gpt2.gguf");
    // U+10FFFD is in no corpus, so each of its four bytes is a token.
    let ids = tokenizer.encode("\u{10fffd}", false);
    assert_eq!(ids.len(), 4);
    let mut decoder = tokenizer.decoder();
    let parts: Vec<_> = ids.iter().map(|&id| decoder.push(id)).collect();
    assert_eq!(parts, ["", "", "", "\u{10fffd}"]);
    // A character that is broken off is replaced as soon as that is certain.
    let letter = tokenizer.encode("a", false)[0];
    let mut decoder = tokenizer.decoder();
    assert_eq!(decoder.push(ids[0]) + &decoder.push(ids[1]), "");
    assert_eq!(decoder.push(letter), "\u{fffd}a");
    assert_eq!(decoder.push(ids[0]), "");
    assert_eq!(decoder.finish(), "\u{fffd}");
}

#[test]
fn control_tokens_are_text_unless_asked_for() {
    let tokenizer = tokenizer("gpt2.gguf");
    assert_eq!(tokenizer.encode("<|end|>", true), [1]);
    assert_eq!(tokenizer.encode("<|begin|><|end|><|en|>", true), [0, 1, 2]);
    assert!(tokenizer.encode("<|begin|><|end|>", false).iter().all(|&id| id > 2));
    assert_eq!(tokenizer.decode(&[0, 1, 2]), "");
    assert_eq!(tokenizer.text(1).as_deref(), Some("<|end|>"));
    assert_eq!(tokenizer.text(u32::MAX), None);
    assert_eq!(tokenizer.decode(&[u32::MAX]), "");
    assert!(tokenizer.is_end(1) && !tokenizer.is_end(0));
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(0), Some(1)));
}

#[test]
fn a_long_word_takes_no_quadratic_time() {
    let tokenizer = tokenizer("gpt2.gguf");
    // Quadratic merging of a million letters would not end while anyone waits for this test.
    let text = "the".repeat(300_000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&text, true)), text);
}

#[test]
fn wrong_metadata() {
    let strings = |items: &[&str]| Items::String(items.iter().map(|s| s.to_string()).collect());
    let base = || {
        let mut metadata = Metadata::new();
        metadata.set("tokenizer.ggml.model", "gpt2");
        metadata.set("tokenizer.ggml.pre", "smollm");
        metadata.set("tokenizer.ggml.tokens", strings(&["a", "b", "ab"]));
        metadata.set("tokenizer.ggml.merges", strings(&["a b"]));
        metadata
    };
    let tokenizer = Tokenizer::from_gguf(&base()).unwrap();
    assert_eq!(tokenizer.encode("abba", true), [2, 1, 0]);
    assert_eq!(Tokenizer::from_gguf(&Metadata::new()).unwrap_err().kind(), ErrorKind::Io);
    type Change = fn(&mut Metadata);
    let changes: [(Change, ErrorKind, &str); 7] = [
        (|m| drop(m.set("tokenizer.ggml.model", "t5")), ErrorKind::Unsupported, "t5"),
        (|m| drop(m.set("tokenizer.ggml.pre", "none")), ErrorKind::Unsupported, "none"),
        (|m| drop(m.set("tokenizer.ggml.tokens", 1u8)), ErrorKind::Io, "tokens is missing"),
        (|m| drop(m.set("tokenizer.ggml.merges", 1u8)), ErrorKind::Io, "merges is missing"),
        (
            |m| drop(m.set("tokenizer.ggml.merges", Items::String(vec!["ab".into()]))),
            ErrorKind::Io,
            "not a pair",
        ),
        (
            |m| drop(m.set("tokenizer.ggml.token_type", Items::I32(vec![1]))),
            ErrorKind::Io,
            "not as many token types",
        ),
        (|m| drop(m.set("tokenizer.ggml.model", "llama")), ErrorKind::Io, "scores is missing"),
    ];
    for (change, kind, text) in changes {
        let mut metadata = base();
        change(&mut metadata);
        let error = Tokenizer::from_gguf(&metadata).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(text), "{error}");
    }
    // Numbers of tokens that do not exist are as if they were not given.
    let mut metadata = base();
    metadata.set("tokenizer.ggml.eos_token_id", 3u32);
    assert_eq!(Tokenizer::from_gguf(&metadata).unwrap().eos(), None);
}
