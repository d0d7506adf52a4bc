//! What a machine needs beyond rustup and a C compiler.

use std::process::{Command, Stdio};

use tandem_tests::browser;

use crate::outcome::Outcome;
use crate::steps;

/// The browser's target for Rust.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// A cargo command of this toolchain, at the root of the repository.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(tandem_tests::harness::root());
    // What cargo told this process about itself must not make the inner one build anew.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command
}

/// The standard library for the browser: rustup does not install it by itself.
pub(crate) fn wasm_target() -> Outcome {
    if prints("rustup", &["target", "list", "--installed"]).is_some_and(|s| s.contains(WASM)) {
        return Ok(());
    }
    let mut command = Command::new("rustup");
    command.args(["target", "add", WASM]).current_dir(tandem_tests::harness::root());
    steps::run("add the browser's target to the toolchain", command, steps::quiet)
}

/// Whether tests can run one process each.
pub(crate) fn has_nextest() -> bool {
    prints("cargo", &["nextest", "--version"]).is_some()
}

/// A browser: installed when that is possible, else named. Gives whether there is one.
pub(crate) fn chromium() -> bool {
    if browser::find().is_some() {
        return true;
    }
    let root = rustix::process::geteuid().is_root();
    if root && prints("apt-get", &["--version"]).is_some() {
        let update = apt(&["update", "-q"]);
        let install = apt(&["install", "-q", "-y", "--no-install-recommends", "chromium"]);
        let done = steps::run("read the list of packages", update, steps::quiet)
            .and_then(|()| steps::run("install Chromium", install, steps::quiet));
        if done.is_ok() && browser::find().is_some() {
            return true;
        }
    }
    steps::say(
        "no Chromium here: install it to run the browser's part \
         (Debian and Ubuntu: `sudo apt-get install chromium`)",
    );
    false
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// What a program prints, if it is there and succeeds.
fn prints(program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(tandem_tests::harness::root()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
