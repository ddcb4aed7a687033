//! `cargo xtask check`: every check of the project, cheap ones first, and the sum of all tests.

use std::path::Path;
use std::time::Instant;

use crate::process::{cargo, command, python, run, run_seen};
use crate::{Outcome, r#gen};

/// Test results summed over all runners.
#[derive(Debug, Default, PartialEq)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Count {
    /// Adds a closing line of `cargo test` ("test result: ok. 3 passed; 0 failed; 1 ignored; ...")
    /// or of pytest ("==== 3 passed, 1 skipped in 0.1s ===="). Other lines count nothing.
    fn see(&mut self, line: &str) {
        let closing = line.strip_prefix("test result: ").or_else(|| {
            let bare = line.strip_prefix('=')?.trim_matches('=').trim();
            bare.contains(" in ").then_some(bare)
        });
        let Some(closing) = closing else { return };
        let mut number: Option<usize> = None;
        for word in closing.split([' ', ';', ',', '.']).filter(|w| !w.is_empty()) {
            match (number, word) {
                (Some(n), "passed" | "xfailed") => self.passed += n,
                (Some(n), "failed" | "error" | "errors" | "xpassed") => self.failed += n,
                (Some(n), "ignored" | "skipped") => self.skipped += n,
                _ => {}
            }
            number = word.parse().ok();
        }
    }
}

/// Runs every check and prints the sum of all tests.
///
/// # Errors
/// The first check that fails.
pub fn check(root: &Path) -> Outcome {
    let start = Instant::now();
    let python = python(root, ".venv", "venv")?;
    let ruff = root.join(".venv/bin/ruff");

    run(&mut cargo(root, &["fmt", "--all", "--check"]))?;
    run(&mut command(root, &ruff, &["format", "--check", "."]))?;
    run(&mut command(root, &ruff, &["check", "."]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run(&mut cargo(root, &clippy))?;
    r#gen::check(root)?;
    // The program would write its pages over those of the library, which has the same name.
    let mut docs = cargo(root, &["doc", "--workspace", "--exclude", "lazulite-cli", "--no-deps"]);
    // Module docs may name private items: they are read beside the source, too.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    run(docs.arg("--locked").env("RUSTDOCFLAGS", flags))?;

    let mut count = Count::default();
    let mut tests = cargo(root, &["test", "--workspace", "--locked"]);
    // Where the tests of the GPU's kernels find the compiler.
    tests.env("VIRTUAL_ENV", root.join(".venv"));
    run_seen(&mut tests, |line| count.see(line))?;
    let model = model(root)?;
    run(&mut command(root, &python, &["tests/reference/smollm2.py", &model, "--check"]))?;
    if root.join("crates/python/pyproject.toml").is_file() {
        python_package(root, &python, &mut count)?;
    }

    println!("\nchecked in {} s", start.elapsed().as_secs());
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    Ok(())
}

/// The model that the tests run, relative to the root.
fn model(root: &Path) -> Outcome<String> {
    let model = ".cache/SmolLM2-135M-Instruct.Q4_1.gguf";
    if root.join(model).is_file() {
        return Ok(model.to_owned());
    }
    Err(format!("{model} is not there; run `make model`"))
}

/// Builds the Python package, installs it into the environment and runs its tests.
fn python_package(root: &Path, python: &Path, count: &mut Count) -> Outcome {
    let wheels = root.join("target/wheels-check");
    // Only the wheel of this build may be found below.
    if wheels.exists() {
        std::fs::remove_dir_all(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
    }
    let out = wheels.to_string_lossy();
    let manifest = "crates/python/Cargo.toml";
    let mut build = command(root, python, &["-m", "maturin", "build", "--locked", "--quiet"]);
    run(build.args(["--manifest-path", manifest, "--out", &out]))?;
    let entries = std::fs::read_dir(&wheels).map_err(|e| format!("{out}: {e}"))?;
    let mut found = entries.filter_map(|entry| entry.ok().map(|e| e.path()));
    let wheel = found.find(|path| path.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.ok_or_else(|| format!("{out}: maturin wrote no wheel"))?;
    let mut install = command(root, python, &["-m", "pip", "install", "--quiet", "--no-deps"]);
    run(install.args(["--disable-pip-version-check", "--force-reinstall"]).arg(wheel))?;
    let mut tests = command(root, python, &["-m", "pytest", "-rs", "--color=no"]);
    run_seen(tests.arg("crates/python/tests"), |line| count.see(line))
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        let cases = [
            (
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out",
                12,
                0,
                3,
            ),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured", 1, 2, 0),
            ("======= 5 passed, 1 skipped in 0.31s =======", 5, 0, 1),
            ("==== 1 failed, 4 passed, 2 errors in 1.00s ====", 4, 3, 0),
            ("test 12 passed", 0, 0, 0),
            ("=== FAILURES ===", 0, 0, 0),
        ];
        for (line, passed, failed, skipped) in cases {
            let mut count = Count::default();
            count.see(line);
            assert_eq!(count, Count { passed, failed, skipped }, "{line}");
        }
    }
}
