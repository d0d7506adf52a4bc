//! `cargo xtask test`: what must hold before a change goes in.

use std::process::Command;
use std::time::Instant;

use crate::outcome::{Failure, Outcome};
use crate::setup::{WASM, cargo};
use crate::{build, setup, steps};

/// Seeds of the short simulation.
const SEEDS: &str = "200";

/// All of it, in the order of cost: the cheapest failure first.
pub(crate) fn run() -> Outcome {
    let start = Instant::now();
    setup::wasm_target()?;
    steps::run("format", cargo(&["fmt", "--all", "--check"]), steps::quiet)?;
    pure()?;
    build::daemons()?;
    build::bundle()?;
    lints()?;
    tests()?;
    let mut docs = cargo(&["doc", "--release", "--no-deps", "--workspace"]);
    docs.args(["--exclude", "tandem-wasm"]).env("RUSTDOCFLAGS", "-D warnings");
    steps::run("documentation", docs, steps::quiet)?;
    simulation()?;
    println!();
    steps::done("all tests passed", start.elapsed());
    Ok(())
}

/// `protocol` decides and does nothing: no runtime under it.
fn pure() -> Outcome {
    let what = "protocol stays pure";
    let start = Instant::now();
    let mut tree = cargo(&["tree", "-p", "tandem-protocol", "-e", "normal", "--prefix", "none"]);
    let output = tree.output().map_err(Failure::io("run cargo tree"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::Verdict(format!("{what}: cargo tree failed: {said}")));
    }
    if text.lines().any(|line| line.starts_with("tokio ")) {
        return Err(Failure::Verdict(format!("{what}: tokio is under tandem-protocol:\n{text}")));
    }
    steps::done(what, start.elapsed());
    Ok(())
}

fn lints() -> Outcome {
    let all = ["clippy", "--release", "--workspace", "--exclude", "tandem-wasm", "--all-targets"];
    let mut native = cargo(&all);
    native.args(["--", "-D", "warnings"]);
    steps::run("lints", native, steps::quiet)?;
    let mut browser = cargo(&["clippy", "--profile", "web", "-p", "tandem-wasm"]);
    // Cargo's own folder for this profile would be the one that the bundle is served from.
    browser.args(["--target", WASM, "--target-dir", "target/browser", "--", "-D", "warnings"]);
    steps::run("lints of the browser's face", browser, steps::quiet)
}

fn tests() -> Outcome {
    let browser = setup::chromium();
    setup::tools();
    let mut command = if setup::has_nextest() {
        cargo(&["nextest", "run", "--release", "--no-fail-fast"])
    } else {
        steps::say("cargo-nextest is not installed: the tests run with `cargo test`");
        cargo(&["test", "--release", "--no-fail-fast"])
    };
    command.args(["--workspace", "--exclude", "tandem-wasm"]);
    if !browser {
        // Said above; a test that cannot run must not look as if it had failed.
        command.env("TANDEM_WITHOUT_BROWSER", "1");
    }
    if !setup::has_nextest() {
        command.args(["--", "--test-threads", "2"]);
    }
    let summary = |line: &str| line.contains("Summary [") || line.starts_with("test result:");
    steps::run("tests", command, summary)
}

fn simulation() -> Outcome {
    let exe = std::env::current_exe().map_err(Failure::io("find the running executable"))?;
    let mut command = Command::new(exe);
    command.args(["sim", "--seeds", SEEDS]).current_dir(tandem_tests::harness::root());
    steps::run("a short simulation", command, |_| true)
}
