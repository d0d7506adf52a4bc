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

/// Programs that tests with real processes use, and the Debian package of each: networks of hosts,
/// namespaces, and a C compiler for a library of disk faults.
const TOOLS: [(&str, &str, &str); 5] = [
    ("ip", "-V", "iproute2"),
    ("cc", "--version", "gcc libc6-dev"),
    ("unshare", "--version", "util-linux"),
    ("nsenter", "--version", "util-linux"),
    ("setpriv", "--version", "util-linux"),
];

/// What tests with real processes need: installed when that is possible, else named. Those tests
/// fail without it, for a disk or a network that never failed proves nothing.
pub(crate) fn tools() {
    let there = |(program, ask, _): &&(&str, &str, &str)| prints(program, &[ask]).is_none();
    let missing: Vec<_> = TOOLS.iter().filter(there).collect();
    let mut packages: Vec<&str> = missing.iter().flat_map(|tool| tool.2.split(' ')).collect();
    packages.dedup();
    if !packages.is_empty() && !install(&packages.join(", "), &packages) {
        steps::say(&format!(
            "tests of broken networks and disks will fail without: {} \
             (Debian and Ubuntu: `sudo apt-get install {}`)",
            missing.iter().map(|tool| tool.0).collect::<Vec<_>>().join(", "),
            packages.join(" "),
        ));
    }
    if !rustix::process::geteuid().is_root() {
        steps::say("tests of broken networks and disks need root: run this with sudo");
    }
}

/// A browser: installed when that is possible, else named. Gives whether there is one.
pub(crate) fn chromium() -> bool {
    if browser::find().is_some() {
        return true;
    }
    if install("Chromium", &["chromium"]) && browser::find().is_some() {
        return true;
    }
    steps::say(
        "no Chromium here: install it to run the browser's part \
         (Debian and Ubuntu: `sudo apt-get install chromium`)",
    );
    false
}

/// Installs packages where that is possible: as root, on Debian and its like.
fn install(what: &str, packages: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() || prints("apt-get", &["--version"]).is_none() {
        return false;
    }
    let update = apt(&["update", "-q"]);
    let mut install = apt(&["install", "-q", "-y", "--no-install-recommends"]);
    install.args(packages);
    let done = steps::run("read the list of packages", update, steps::quiet)
        .and_then(|()| steps::run(&format!("install {what}"), install, steps::quiet));
    done.is_ok()
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
