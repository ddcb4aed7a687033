//! Developer commands of lazulite: `cargo xtask check`, `gen`, `bench`, `tidy`.
//!
//! `check` is all of continuous integration. Reading order: [`process`] starts programs, [`check`],
//! [`mod@gen`] with its table of generated files, [`mod@bench`], [`tidy`].

mod bench;
mod check;
mod r#gen;
mod process;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a command answers; the error is a line for the terminal.
type Outcome<T = ()> = Result<T, String>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check              format, clippy, tests, docs, generated files, Python; all of CI
  gen [--check]      rewrites the generated files; with --check, fails where one is stale
  bench [OPTIONS]    builds the program and runs benches/run.py, which explains the options;
                     --against COMMIT also builds and measures that commit
  tidy               lines per crate, files that grew long, lines that are too wide";

/// The root of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let root = root();
    let outcome = match (args.first().map(String::as_str), rest.as_slice()) {
        (Some("check"), []) => check::check(&root),
        (Some("gen"), []) => r#gen::write(&root),
        (Some("gen"), ["--check"]) => r#gen::check(&root),
        (Some("bench"), options) => bench::bench(&root, options),
        (Some("tidy"), []) => tidy::tidy(&root),
        (None | Some("help" | "--help" | "-h"), _) => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("unknown command or options: {}\n\n{USAGE}", args.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}
