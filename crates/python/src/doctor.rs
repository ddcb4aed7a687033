//! `lazulite._doctor`: what costs a Python program time, for `lazulite.doctor`.
//!
//! Lines are those of the innermost Python frame outside of the package.

use crate::errors::{Answer, value_error};
use crate::functions::add_functions;
use lazulite::doctor::{Visit, begin as begin_visit};
use lazulite::observe::{Place, set_locator};
use pyo3::prelude::*;
use std::cell::RefCell;

thread_local! {
    static VISIT: RefCell<Option<Visit>> = const { RefCell::new(None) };
}

/// The line of the innermost frame whose module is not of this package.
fn place() -> Option<Place> {
    Python::attach(|py| {
        let mut frame = py.import("sys").ok()?.call_method1("_getframe", (0,)).ok()?;
        loop {
            let name: Option<String> = frame
                .getattr("f_globals")
                .and_then(|globals| globals.get_item("__name__"))
                .and_then(|name| name.extract())
                .ok();
            let own = name.is_some_and(|n| n == "lazulite" || n.starts_with("lazulite."));
            if !own {
                let file: String =
                    frame.getattr("f_code").ok()?.getattr("co_filename").ok()?.extract().ok()?;
                let line = frame.getattr("f_lineno").ok()?.extract().ok()?;
                return Some(Place { file: file.into(), line });
            }
            frame = frame.getattr("f_back").ok()?;
            if frame.is_none() {
                return None;
            }
        }
    })
}

/// Begins to watch this process. The same thread must end it.
#[pyfunction]
fn begin() {
    set_locator(place);
    let old = VISIT.take();
    drop(old);
    VISIT.set(Some(begin_visit()));
}

/// Stops watching; returns the report as text and as JSON, and the trace in Chrome's format.
#[pyfunction]
fn finish() -> Answer<(String, String, String)> {
    let visit = VISIT.take().ok_or_else(|| value_error("no visit of the doctor is under way"))?;
    let report = visit.finish();
    Ok((report.to_string(), report.json(), report.chrome_trace()))
}

/// Puts the module where `lazulite.doctor` finds it; it is no name of `lazulite.core`.
pub fn register(py: Python<'_>) -> PyResult<()> {
    const NAME: &str = "lazulite._doctor";
    let module = PyModule::new(py, NAME)?;
    add_functions!(&module, begin, finish);
    py.import("sys")?.getattr("modules")?.set_item(NAME, module)
}
