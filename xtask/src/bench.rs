//! `cargo xtask bench`: builds what is measured and starts the driver, benches/run.py.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::process::{cargo, command, output, python, run};

/// Builds the program (and, with `--against COMMIT`, that commit's) and runs the driver with the
/// other options.
///
/// # Errors
/// When a build or the driver fails, or the environment of the peers is missing.
pub fn bench(root: &Path, options: &[&str]) -> Outcome {
    let python = python(root, ".venv-bench", ".venv-bench/.stamp")?;
    let mut passed = Vec::new();
    let mut against = None;
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        if *option == "--against" {
            against = Some(*rest.next().ok_or("--against needs a commit")?);
        } else {
            passed.push(*option);
        }
    }
    run(&mut cargo(root, &["build", "--release", "--locked", "--package", "lazulite-cli"]))?;
    let mut driver = command(root, python, &["benches/run.py"]);
    driver.arg("--lazulite").arg(target(root).join("release/lazulite"));
    if let Some(commit) = against {
        driver.arg("--against").arg(build_commit(root, commit)?);
    }
    run(driver.args(passed))
}

/// Where cargo builds.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Builds the program of another commit in a work tree of its own and returns its path.
fn build_commit(root: &Path, commit: &str) -> Outcome<PathBuf> {
    let full = output(&mut command(root, "git", &["rev-parse", "--verify", commit]))?;
    let tree = target(root).join(format!("bench-{}", full.trim()));
    if !tree.is_dir() {
        // Forced, since `cargo clean` removes the tree without telling git.
        let mut add = command(root, "git", &["worktree", "add", "--force", "--detach"]);
        run(add.arg(&tree).arg(full.trim()))?;
    }
    let build = ["build", "--release", "--locked", "--package", "lazulite-cli"];
    let built = tree.join("target");
    run(cargo(&tree, &build).env("CARGO_TARGET_DIR", &built))?;
    Ok(built.join("release/lazulite"))
}

/// The page that lists every case, made by the driver.
///
/// # Errors
/// When the driver cannot run.
pub fn cases_page(root: &Path) -> Outcome<String> {
    let python = python(root, ".venv", "venv")?;
    output(&mut command(root, python, &["benches/run.py", "--list-markdown"]))
}
