//! The program's pages: well formed, complete, with nothing from elsewhere; and as a browser sees
//! them, where one is installed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `lazulite` with a page as its last argument, and returns the page's path and text.
fn page(name: &str, arguments: &[&str]) -> (PathBuf, String) {
    let path = std::env::temp_dir().join(format!("lazulite-{name}-{}.html", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_lazulite"));
    let done = command.args(arguments).arg("--html").arg(&path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// Every element that is opened is closed, in order.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).map(|t| t.split('>').next().unwrap()) {
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "in <{tag}>");
        } else if !tag.ends_with('/') && !["!DOCTYPE", "meta"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
    for outside in ["<script", "http://", "https://", "url("] {
        let used = page.replace("http://www.w3.org/2000/svg", "").contains(outside);
        assert!(!used, "{outside} in a page that should stand alone");
    }
}

/// What a browser makes of the page; none where there is no browser.
fn rendered(path: &Path) -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"];
    let done = names.iter().find_map(|browser| {
        Command::new(browser).args(flags).arg(format!("file://{}", path.display())).output().ok()
    });
    if done.is_none() {
        // Past the harness, which keeps what passing tests print.
        let line = format!("no browser ({}): {} was not opened", names.join(", "), path.display());
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    done.map(|d| String::from_utf8_lossy(&d.stdout).into_owned())
}

#[test]
fn plans_are_pages() {
    for (example, steps) in [("attention", 1), ("gelu", 2)] {
        let (path, text) = page(example, &["explain", example, "--run"]);
        assert_well_formed(&text);
        let count = |t: &str| t.matches("<g class=\"step\">").count();
        assert_eq!(count(&text), steps, "{text}");
        assert!(text.contains("share of time"));
        if let Some(dom) = rendered(&path) {
            assert_eq!(count(&dom), steps, "{dom}");
        }
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn the_guide_is_a_page() {
    let arguments = ["guide", "--claims", "C5,C41,C42", "--repeats", "3"];
    let (path, text) = page("guide", &arguments);
    assert_well_formed(&text);
    for part in ["C5", "C41", "C42", "class=\"fast\"", "1 pairs, 1 with equal results"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    if let Some(dom) = rendered(&path) {
        assert!(dom.matches("<rect").count() >= 3, "{dom}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn plans_are_json() {
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_lazulite")).args(arguments).output().unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    };
    let plan: serde_json::Value =
        serde_json::from_str(&run(&["explain", "loop", "--json", "--run"])).unwrap();
    let rules =
        plan["steps"].as_array().unwrap().iter().flat_map(|s| s["rules"].as_array().unwrap());
    assert!(rules.into_iter().any(|r| r == "batch_loop"), "{plan}");
    let cache = run(&["explain", "--cache"]);
    assert_eq!(cache.lines().filter(|l| l.contains("1000 steps")).count(), 3, "{cache}");
}
