//! `cargo xtask gen`: files made from the sources and committed, so that they can be read and
//! reviewed where they lie. One row of [`GENERATED`] each; `--check` fails where one is stale.

use std::path::Path;

use crate::Outcome;

/// One committed file and how its contents are made.
struct Generated {
    /// Relative to the root of the workspace.
    path: &'static str,
    /// Makes the whole file; the argument is the root of the workspace.
    make: fn(&Path) -> Outcome<String>,
}

/// Every generated file. A maker calls the crate that holds the facts, or runs a program with
/// [`crate::process::output`].
const GENERATED: &[Generated] = &[
    Generated { path: "benches/CASES.md", make: crate::bench::cases_page },
    Generated { path: "docs/rewrites.md", make: rewrites_page },
];

/// The planner's rules, printed by an example of the crate that has them.
fn rewrites_page(root: &Path) -> Outcome<String> {
    let args = ["run", "--quiet", "--package", "lazulite-core", "--example", "rewrites"];
    crate::process::output(&mut crate::process::cargo(root, &args))
}

/// Rewrites the files whose contents changed.
///
/// # Errors
/// When a maker fails or a file cannot be written.
pub fn write(root: &Path) -> Outcome {
    for Stale { path, made } in stale(root, GENERATED)? {
        std::fs::write(root.join(path), made).map_err(|e| format!("{path}: {e}"))?;
        println!("{path}: written");
    }
    println!("{} generated files are fresh", GENERATED.len());
    Ok(())
}

/// Compares the committed files with what their makers make.
///
/// # Errors
/// When a maker fails or a file is stale; the text names each stale file.
pub fn check(root: &Path) -> Outcome {
    println!("\n> generated files");
    let stale = stale(root, GENERATED)?;
    if stale.is_empty() {
        println!("{} generated files are fresh", GENERATED.len());
        return Ok(());
    }
    let names: Vec<&str> = stale.iter().map(|s| s.path).collect();
    Err(format!("stale: {}; run `cargo xtask gen` and commit", names.join(", ")))
}

/// A file that differs from what its maker makes, or is missing.
struct Stale {
    path: &'static str,
    made: String,
}

fn stale(root: &Path, rows: &[Generated]) -> Outcome<Vec<Stale>> {
    let mut stale = Vec::new();
    for row in rows {
        let made = (row.make)(root).map_err(|e| format!("{}: {e}", row.path))?;
        // A file that cannot be read counts as stale; writing it tells why, if it cannot.
        if std::fs::read_to_string(root.join(row.path)).ok().as_deref() != Some(&made) {
            stale.push(Stale { path: row.path, made });
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::{Generated, stale};

    #[test]
    fn missing_and_changed_files_are_stale_and_equal_ones_are_not() {
        let root = std::env::temp_dir().join(format!("lazulite-gen-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("a temporary folder");
        std::fs::write(root.join("same"), "x\n").expect("a file in it");
        std::fs::write(root.join("changed"), "y\n").expect("a file in it");
        let make = |_: &std::path::Path| Ok("x\n".to_owned());
        let rows = ["same", "changed", "missing"].map(|path| Generated { path, make });
        let found = stale(&root, &rows).expect("makers that do not fail");
        let names: Vec<_> = found.iter().map(|s| s.path).collect();
        std::fs::remove_dir_all(&root).expect("the folder made above");
        assert_eq!(names, ["changed", "missing"]);
    }
}
