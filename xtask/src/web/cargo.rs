//! Compiles `tandem-wasm` for the browser, in a clean environment of its own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "web";

/// What a cargo that runs inside cargo must not inherit: flags and wrappers meant for the host.
const NOT_INHERITED: [&str; 8] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "MAKEFLAGS",
    "MFLAGS",
];
/// The same, by their beginning.
const NOT_INHERITED_KINDS: [&str; 6] = [
    "CARGO_CFG_",
    "CARGO_ENCODED_",
    "CARGO_FEATURE_",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
];

/// Compiles the module and says where it is.
pub(super) fn build(root: &Path) -> Result<PathBuf, Error> {
    install_target(root)?;
    // A folder of its own: the profile's name would lead into the one that is served.
    let target_dir = root.join("target").join("browser");
    // Alone with -p: together with other members it would get their features, `native` first.
    let done = clean(cargo())
        .current_dir(root)
        .args(["build", "--quiet", "--profile", PROFILE, "-p", "tandem-wasm", "--lib"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", short_paths(root))
        .status()
        .map_err(|source| Error::Start { program: "cargo".to_owned(), source })?;
    if !done.success() {
        return Err(Error::Failed { what: "compiling tandem-wasm for the browser".to_owned() });
    }
    Ok(target_dir.join(TARGET).join(PROFILE).join("tandem_wasm.wasm"))
}

/// Paths in messages begin at the sources: a page tells nobody where it was built, and loads less.
fn short_paths(root: &Path) -> OsString {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = OsString::from("--remap-path-prefix=");
    flags.push(root);
    flags.push("=");
    if let Some(home) = home {
        // The unit separator is cargo's between encoded flags.
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(home.join("registry").join("src"));
        flags.push("=");
    }
    flags
}

fn install_target(root: &Path) -> Result<(), Error> {
    if has_target(root)? {
        return Ok(());
    }
    eprintln!("The target {TARGET} is missing: running `rustup target add {TARGET}`");
    let added = clean("rustup").current_dir(root).args(["target", "add", TARGET]).status();
    match added {
        Ok(status) if status.success() && has_target(root)? => Ok(()),
        Ok(_) | Err(_) => Err(Error::NoTarget { target: TARGET }),
    }
}

/// The compiler names the folder of a target's libraries whether or not they are there.
fn has_target(root: &Path) -> Result<bool, Error> {
    let output = clean("rustc")
        .current_dir(root)
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::null())
        .output()
        .map_err(|source| Error::Start { program: "rustc".to_owned(), source })?;
    let dir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(output.status.success() && Path::new(&dir).is_dir())
}

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NOT_INHERITED.contains(&text.as_ref())
            || NOT_INHERITED_KINDS.iter().any(|kind| text.starts_with(kind))
        {
            command.env_remove(&name);
        }
    }
    command
}
