//! `cargo xtask tidy`: lines per crate, files that are long, and lines that are too wide.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::process::{command, output};

/// Past this many lines a file is named in the report.
const LONG: usize = 800;
/// The widest line of a source file, in characters.
const WIDE: usize = 100;

/// Lines of one crate or folder, by kind.
#[derive(Default)]
struct Lines {
    files: usize,
    code: usize,
    comment: usize,
    blank: usize,
}

/// Prints the report, with the lines that rustfmt and ruff leave wide or with blanks at the end
/// (comments, macros). It judges nothing: what it shows is for the author and the reviewer.
///
/// # Errors
/// When git cannot list the files.
pub fn tidy(root: &Path) -> Outcome {
    let mut folders: BTreeMap<String, Lines> = BTreeMap::new();
    let (mut long, mut faults) = (Vec::new(), Vec::new());
    for path in sources(root)? {
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        let lines = folders.entry(folder(&path)).or_default();
        count(lines, &text, &path);
        let total = text.lines().count();
        if total > LONG {
            long.push(format!("{}: {total} lines", path.display()));
        }
        faults.extend(line_faults(&text).map(|fault| format!("{}:{fault}", path.display())));
    }
    println!("{:24} {:>6} {:>8} {:>8} {:>8}", "folder", "files", "code", "comment", "blank");
    for (name, lines) in &folders {
        let Lines { files, code, comment, blank } = lines;
        println!("{name:24} {files:>6} {code:>8} {comment:>8} {blank:>8}");
    }
    for line in long.iter().chain(&faults) {
        println!("{line}");
    }
    Ok(())
}

/// The source files that git tracks or would track.
fn sources(root: &Path) -> Outcome<Vec<PathBuf>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = output(&mut command(root, "git", &list))?;
    let kinds = ["rs", "py", "pyi", "cu"];
    let is_source =
        |path: &PathBuf| path.extension().is_some_and(|e| kinds.iter().any(|k| e == *k));
    Ok(listed.lines().map(PathBuf::from).filter(is_source).collect())
}

/// `crates/NAME` for a crate, else the first part of the path.
fn folder(path: &Path) -> String {
    let depth = if path.starts_with("crates") { 2 } else { 1 };
    path.iter().take(depth).map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn count(lines: &mut Lines, text: &str, path: &Path) {
    let mark = if path.extension().is_some_and(|e| e == "py" || e == "pyi") { "#" } else { "//" };
    lines.files += 1;
    for line in text.lines().map(str::trim_start) {
        match line {
            "" => lines.blank += 1,
            _ if line.starts_with(mark) => lines.comment += 1,
            _ => lines.code += 1,
        }
    }
}

/// "LINE: what is wrong", for each line that is too wide or ends in blanks. A line without a blank
/// inside (an address, a table of numbers) may be wide.
fn line_faults(text: &str) -> impl Iterator<Item = String> {
    text.lines().enumerate().filter_map(|(i, line)| {
        let width = line.chars().count();
        let splits = line.trim().trim_start_matches(['/', '!', '#', ' ']).contains(' ');
        if width > WIDE && splits {
            return Some(format!("{}: {width} characters, at most {WIDE}", i + 1));
        }
        line.ends_with([' ', '\t']).then(|| format!("{}: blanks at the end", i + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::line_faults;

    #[test]
    fn wide_lines_and_trailing_blanks_are_faults() {
        let wide = format!("let x = {};", "1".repeat(100));
        let address = format!("// https://{}", "x".repeat(120));
        let cases = [("a b\n", 0), ("a \n", 1), (wide.as_str(), 1), (address.as_str(), 0)];
        for (text, faults) in cases {
            assert_eq!(line_faults(text).count(), faults, "{text}");
        }
    }
}
