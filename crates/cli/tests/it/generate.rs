//! The language model against the float64 reference of `tests/reference/smollm2.py`.

use super::model;
use lazulite::prelude::*;
use lazulite_cli::generate::{Session, llama::Cache};

#[test]
fn four_prompts_have_the_reference_s_logits_and_greedy_tokens() -> Result<()> {
    let Some(path) = model() else { return Ok(()) };
    check(&Session::open(&path)?)
}

/// Compares a session's logits and greedy tokens with the reference.
pub fn check(session: &Session) -> Result<()> {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/reference/smollm2_golden.json"))
            .unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let prompt = case["prompt"].as_str().unwrap();
        let numbers = |key: &str| -> Vec<u32> {
            case[key].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
        };
        let ids = session.encode(prompt)?;
        assert_eq!(ids, numbers("prompt_ids"), "{prompt}");
        let mut cache = Cache::default();
        let mut logits = session.read(&ids, &mut cache)?;
        let all = logits.to_vec::<f32>()?;
        for (id, want) in numbers("top_ids").iter().zip(case["top_logits"].as_array().unwrap()) {
            let (got, want) = (f64::from(all[*id as usize]), want.as_f64().unwrap());
            // The reference dequantises and multiplies in float64; float32 sums differ by this.
            assert!((got - want).abs() < 2e-3, "{prompt}: logit of {id}: got {got}, want {want}");
        }
        let (want, mut made) = (numbers("new_ids"), Vec::new());
        // The same by steps that are recorded.
        let mut reader = session.model.decoder(cache.clone(), false);
        let mut token: u32 = logits.argmax(None, false)?.item()?;
        while made.len() < want.len() {
            made.push(token);
            (_, token) = reader.read(token)?;
        }
        assert_eq!(made, want, "{prompt}, recorded");
        made.clear();
        while made.len() < want.len() {
            let token: u32 = logits.argmax(None, false)?.item()?;
            made.push(token);
            logits = session.read(&[token], &mut cache)?;
        }
        assert_eq!(made, want, "{prompt}");
        if case["ended"].as_bool().unwrap() {
            let end: u32 = logits.argmax(None, false)?.item()?;
            assert!(session.tokenizer.is_end(end), "{prompt}: the answer goes on with {end}");
        }
    }
    Ok(())
}
