//! Starts programs in the workspace, with a title before each and errors that repeat the command.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// The Python of an environment in the tree, or an error that says how to make it.
pub fn python(root: &Path, folder: &str, target: &str) -> Outcome<PathBuf> {
    let path = root.join(folder).join("bin/python");
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{folder}/bin/python is not there; run `make {target}`"))
}

/// A command that runs in `root`, quoted for display in errors.
pub fn command(root: &Path, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root);
    command
}

/// Cargo, as the one that runs this program.
pub fn cargo(root: &Path, args: &[&str]) -> Command {
    command(root, std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// Runs the command with its output on the terminal.
///
/// # Errors
/// When it cannot be started or exits with another code than 0.
pub fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    println!("\n> {shown}");
    let status = command.status().map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})")) }
}

/// Runs the command, shows its standard output and hands each line of it to `see`.
///
/// # Errors
/// As [`run`].
pub fn run_seen(command: &mut Command, mut see: impl FnMut(&str)) -> Outcome {
    let shown = show(command);
    println!("\n> {shown}");
    let start = |e| format!("cannot start `{shown}`: {e}");
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(|e| format!("`{shown}`: {e}"))? > 0 {
            // A closed terminal must not end the tests.
            let _ = std::io::stdout().write_all(&line);
            see(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
    }
    let status = child.wait().map_err(|e| format!("`{shown}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})")) }
}

/// Runs the command and returns its standard output.
///
/// # Errors
/// As [`run`], or when the output is not UTF-8.
pub fn output(command: &mut Command) -> Outcome<String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot start `{shown}`: {e}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}` failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("`{shown}`: {e}"))
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let args = command.get_args().map(|a| a.to_string_lossy().into_owned());
    std::iter::once(name).chain(args).collect::<Vec<_>>().join(" ")
}
