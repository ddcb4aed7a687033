//! `lazulite doctor`: a Python program under observation.

use lazulite::prelude::*;
use std::path::Path;
use std::process::Command;

/// Runs `script`, a path with arguments, by the Python package, which prints what it finds. The
/// interpreter is `$PYTHON`, or `python3`.
///
/// # Errors
/// Kind `Io` if Python cannot be started, `Argument` if the program fails.
pub fn run(script: &[String], trace: Option<&Path>, json: bool) -> Result<()> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(&python);
    command.args(["-m", "lazulite.doctor"]);
    if let Some(path) = trace {
        command.arg("--trace").arg(path);
    }
    if json {
        command.arg("--json");
    }
    let status = command.args(script).status().map_err(|e| {
        let message = format!("cannot start {}: {e}", python.display());
        Error::new(ErrorKind::Io, "doctor", message)
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::argument("doctor", format!("{} ended with {status}", script.join(" "))))
}
