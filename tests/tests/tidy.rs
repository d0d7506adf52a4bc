//! Tidiness: what a reader may rely on in every file of this repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tandem_tests::harness::root;

#[path = "tidy/behaviours.rs"]
mod behaviours;

/// A file that is longer holds more than one thing.
const LINES_MAX: usize = 650;
/// Most files stay below this.
const LINES_USUAL: usize = 450;
/// What fits beside another file on a screen; rustfmt lets a closing mark stand one further. Links
/// and long literals may be longer.
const COLUMNS_MAX: usize = 100;

/// Which members of the workspace each member may use (design of the workspace: no other arrow).
const ARROWS: [(&str, &[&str]); 8] = [
    ("protocol", &[]),
    ("node", &["tandem-protocol"]),
    ("proxy", &["tandem-protocol"]),
    ("client-sdk", &["tandem-protocol"]),
    ("wasm", &["tandem-protocol", "tandem-client"]),
    ("tests", &["tandem-protocol", "tandem-client", "tandem-node", "tandem-proxy"]),
    ("examples", &["tandem-protocol", "tandem-client"]),
    ("xtask", &["tandem-protocol", "tandem-client", "tandem-tests"]),
];

struct Source {
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for (member, _) in ARROWS {
        walk(&root().join(member), &mut found);
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let path = path.strip_prefix(root()).expect("below the root").to_path_buf();
            found.push(Source { path, text });
        }
    }
}

/// Fails with all that `wrong` finds.
fn check(what: &str, wrong: impl Fn(&Source) -> Option<String>) {
    let mut report = String::new();
    for source in sources() {
        if let Some(why) = wrong(&source) {
            let _ = writeln!(report, "{}: {why}", source.path.display());
        }
    }
    assert!(report.is_empty(), "{what}:\n{report}");
}

#[test]
fn every_file_says_what_it_is() {
    check("a file opens with `//!`", |source| {
        let first = source.text.lines().next().unwrap_or_default();
        (!first.starts_with("//! ")).then(|| format!("opens with {first:?}"))
    });
}

#[test]
fn files_are_short_and_narrow() {
    check("lines and columns", |source| {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            return Some(format!("{lines} lines"));
        }
        let long = source.text.lines().position(|line| {
            line.chars().count() > COLUMNS_MAX + 1 && !line.contains("http") && !line.contains('"')
        });
        long.map(|line| format!("line {} is longer than {COLUMNS_MAX}", line + 1))
    });
    let all = sources();
    let long = all.iter().filter(|source| source.text.lines().count() > LINES_USUAL);
    let long: Vec<String> = long.map(|source| source.path.display().to_string()).collect();
    assert!(long.len() * 20 <= all.len(), "more than one file in twenty is long: {long:#?}");
}

#[test]
fn names_are_as_agreed() {
    check("no mod.rs", |source| {
        source.path.ends_with("mod.rs").then(|| "name it after its folder".to_owned())
    });
    check("nothing is left for later in the code", |source| {
        if source.path.ends_with("tidy.rs") {
            return None;
        }
        let words = ["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX", "#[ignore"];
        words.iter().find(|word| source.text.contains(**word)).map(ToString::to_string)
    });
    check("no unbounded channel", |source| {
        let word = "unbounded_channel(";
        (source.text.contains(word) && !source.path.ends_with("tidy.rs")).then(|| word.to_owned())
    });
}

#[test]
fn members_use_whom_they_may() {
    for (member, may) in ARROWS {
        let manifest = std::fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        for line in manifest.lines().filter(|line| line.starts_with("tandem-")) {
            let used = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(may.contains(&used), "{member} must not use {used}");
        }
    }
}

#[test]
fn protocol_has_no_clock_no_chance_and_no_io() {
    check("protocol is pure", |source| {
        if !source.path.starts_with("protocol/src") {
            return None;
        }
        let words = [
            "std::time::Instant",
            "SystemTime::now",
            "std::net",
            "std::fs",
            "std::thread",
            "tokio",
        ];
        let code = source.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: String = code.map(|line| format!("{line}\n")).collect();
        words.iter().find(|word| code.contains(**word)).map(ToString::to_string)
    });
}

#[test]
fn the_readme_begins_with_the_two_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<&str> = readme
        .lines()
        .map(|line| line.trim().trim_start_matches("$ "))
        .filter(|line| line.starts_with("cargo "))
        .map(|line| line.split('#').next().unwrap_or(line).trim())
        .take(2)
        .collect();
    assert_eq!(commands, ["cargo xtask demo", "cargo xtask test"]);
}

#[test]
fn the_architecture_tells_its_journeys() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 250, "{} lines", text.lines().count());
    let text = text.to_lowercase();
    for journey in ["config update", "write", "heartbeat", "live value", "failover"] {
        assert!(text.contains(journey), "the journey of a {journey}");
    }
}

#[test]
fn the_whole_check_is_one_command() {
    let run = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    let commands = run.lines().filter(|line| line.contains("cargo"));
    assert_eq!(commands.collect::<Vec<_>>(), ["exec cargo xtask test"]);
}
