//! How often loops plan. The counters are the process's, so this file has one test.

use lazulite::plan::cache;
use lazulite::prelude::*;
use lazulite_cli::loops;

#[test]
fn loops_plan_where_a_guard_fails_and_nowhere_else() -> Result<()> {
    for by_hand in [false, true] {
        cache::clear();
        assert_eq!(loops::decode(1000, by_hand)?, 1003);
        let stats = cache::stats();
        // A structure for the first step, whose inputs others hold, one for most lengths, and one
        // for each length that equals another size of the graph: 8 and 16.
        assert!(stats.misses <= 6, "{} plans, by hand: {by_hand}", stats.misses);
        assert_eq!(stats.guard_failures, 0, "{:?}", cache::failures());
        assert!(stats.hits + stats.misses >= 1000);
    }
    // The model that `make test` fetches.
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.cache/SmolLM2-135M-Instruct.Q4_1.gguf");
    if model.is_file() {
        cache::clear();
        let length = loops::generate(&model, 1000)?;
        assert!(length > 1000);
        let stats = cache::stats();
        // Two evaluations a token.
        assert!(stats.hits + stats.misses >= 2000);
        assert!(stats.misses <= 12, "{} plans for text of a model", stats.misses);
        assert_eq!(stats.guard_failures, 0, "{:?}", cache::failures());
    }
    cache::clear();
    let (first, last) = loops::train(1000)?;
    assert!(last < first);
    let stats = cache::stats();
    let failed: u64 = cache::failures().iter().map(|f| f.1).sum();
    assert_eq!(stats.guard_failures, failed);
    assert!(stats.misses <= 4 + stats.guard_failures, "{} plans", stats.misses);
    assert!(stats.guard_failures <= 2, "{:?}", cache::failures());
    Ok(())
}
