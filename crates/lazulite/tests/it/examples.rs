//! The examples run to their end; their own assertions say what must come out.

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
