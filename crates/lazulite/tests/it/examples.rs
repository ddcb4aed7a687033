//! The examples run to their end; their own assertions say what must come out.

// Its `main` trains for minutes; the test takes a few steps.
#[allow(dead_code)]
#[path = "../../examples/convnet.rs"]
mod convnet;
#[path = "../../examples/digits.rs"]
mod digits;
#[path = "../../examples/line_fit.rs"]
mod line_fit;
#[path = "../../examples/per_example_gradients.rs"]
mod per_example_gradients;
#[path = "../../examples/two_streams.rs"]
mod two_streams;

#[test]
fn line_fit_runs() -> lazulite::Result<()> {
    line_fit::main()
}

#[test]
fn digits_runs() -> lazulite::Result<()> {
    digits::main()
}

#[test]
fn per_example_gradients_runs() -> lazulite::Result<()> {
    per_example_gradients::main()
}

#[test]
fn two_streams_runs() -> lazulite::Result<()> {
    two_streams::main()
}

/// Where the data is, its loss falls in a few steps: a network that knows nothing begins at
/// `ln 10 = 2.3`.
#[test]
fn a_convolutional_network_learns() -> lazulite::Result<()> {
    let plan = convnet::fashion::Plan { epochs: 1, most_steps: 12 };
    let Some(outcome) = convnet::run(&plan)? else { return Ok(()) };
    assert_eq!(outcome.losses.len(), 12);
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&outcome.losses[..3]), mean(&outcome.losses[9..]));
    assert!(last < first - 0.15, "{:?}", outcome.losses);
    Ok(())
}
