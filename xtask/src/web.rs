//! Builds the browser's bundle into `target/web`: the wasm module, its glue and the elements, as
//! one script and one wasm file with hashed names, and `tandem.js` as the name that stays.
//!
//! ```text
//! wasm/src  -- cargo, profile web -->  tandem_wasm.wasm  -- bindgen -->  glue + wasm
//! wasm/js   ------------------------------------------------ join ----->  tandem-<hash>.js
//! ```
//!
//! Left to others: when it is called, and who serves the folder.

mod cargo;
mod join;

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wasm_bindgen_cli_support::Bindgen;

/// What the browser may have to load at most, compressed by brotli.
pub(crate) const BUDGET_BYTES: u64 = 60 * 1024;

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program ended with an error, which it has printed.
    #[error("{what} failed")]
    Failed {
        /// What was run.
        what: String,
    },
    /// The wasm target is missing and could not be installed.
    #[error(
        "the target {target} is missing and could not be installed: run `rustup target add {target}`"
    )]
    NoTarget {
        /// The target.
        target: &'static str,
    },
    /// The glue could not be made.
    #[error("wasm-bindgen: {0}")]
    Bindgen(String),
    /// A script has a form that the bundle cannot take.
    #[error("{file}: {what}")]
    Script {
        /// The file below `wasm/js`.
        file: String,
        /// What it has.
        what: String,
    },
}

/// What to build.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// Where the bundle goes; `target/web` of the workspace by default.
    pub(crate) out: PathBuf,
}

impl Options {
    /// The bundle of the workspace at `root`, in its `target/web`.
    pub(crate) fn of(root: &Path) -> Options {
        Options { root: root.to_owned(), out: root.join("target").join("web") }
    }
}

/// A bundle that was built.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// The folder: a node's `web_dir`.
    pub(crate) dir: PathBuf,
    /// What a browser loads.
    pub(crate) files: Vec<BundleFile>,
}

/// One file of the bundle.
#[derive(Debug)]
pub(crate) struct BundleFile {
    /// Its name.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its size compressed, where a `brotli` program is there to tell.
    pub(crate) brotli: Option<u64>,
}

impl Bundle {
    /// The sizes in one line, with the budget where the compressed size is known.
    pub(crate) fn sizes(&self) -> String {
        let of = |file: &BundleFile| match file.brotli {
            Some(brotli) => format!("{} {} ({} brotli)", file.name, kib(file.bytes), kib(brotli)),
            None => format!("{} {}", file.name, kib(file.bytes)),
        };
        let files = self.files.iter().map(of).collect::<Vec<_>>().join(", ");
        let sizes: Option<Vec<u64>> = self.files.iter().map(|file| file.brotli).collect();
        match sizes.map(|sizes| sizes.iter().sum()) {
            Some(all) => format!("{files}; {} of {} brotli", kib(all), kib(BUDGET_BYTES)),
            None => files,
        }
    }
}

fn kib(bytes: u64) -> String {
    format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024)
}

/// Builds the bundle. Unchanged sources take well under a second.
///
/// # Errors
/// A missing target that cannot be installed, sources that do not compile, or a file that cannot
/// be written.
pub(crate) fn build(options: &Options) -> Result<Bundle, Error> {
    let module = cargo::build(&options.root)?;
    let mut output = Bindgen::new()
        .input_path(&module)
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .typescript(false)
                .remove_name_section(true)
                .remove_producers_section(true)
                .generate_output()
        })
        .map_err(|error| Error::Bindgen(format!("{error:#}")))?;
    let wasm = output.wasm_mut().emit_wasm();
    let wasm_name = format!("tandem_bg-{}.wasm", hash(&wasm));
    let sources = options.root.join("wasm").join("js");
    let script = join::join(&sources, output.js(), &wasm_name)?;
    let script_name = format!("tandem-{}.js", hash(script.as_bytes()));
    let entry = format!("export * from \"./{script_name}\";\n");

    let out = &options.out;
    fs::create_dir_all(out).map_err(|source| Error::File { path: out.clone(), source })?;
    // The entry last: a server that reads the folder meanwhile never leads to a missing file.
    write(out, &wasm_name, &wasm)?;
    write(out, &script_name, script.as_bytes())?;
    for name in ["tandem.d.ts", "package.json"] {
        write(out, name, &read(&sources.join(name))?)?;
    }
    write(out, "tandem.js", entry.as_bytes())?;
    remove_older(out, &[&wasm_name, &script_name])?;

    let loaded = [
        ("tandem.js".to_owned(), entry.into_bytes()),
        (script_name, script.into_bytes()),
        (wasm_name, wasm),
    ];
    let files: Vec<BundleFile> = loaded
        .into_iter()
        .map(|(name, body)| BundleFile {
            name,
            bytes: body.len() as u64,
            brotli: brotli_size(&body),
        })
        .collect();
    Ok(Bundle { dir: out.clone(), files })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Writes a file unless it is there as it should be: a rename, so that nobody reads half of it.
fn write(dir: &Path, name: &str, body: &[u8]) -> Result<(), Error> {
    let path = dir.join(name);
    if fs::read(&path).is_ok_and(|there| there == body) {
        return Ok(());
    }
    let part = dir.join(format!(".{name}.part"));
    fs::write(&part, body)
        .and_then(|()| fs::rename(&part, &path))
        .map_err(|source| Error::File { path, source })
}

/// Removes scripts and modules of earlier builds.
fn remove_older(dir: &Path, keep: &[&str]) -> Result<(), Error> {
    let entries =
        fs::read_dir(dir).map_err(|source| Error::File { path: dir.to_owned(), source })?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hashed = name.starts_with("tandem-") || name.starts_with("tandem_bg-");
        if hashed && !keep.contains(&name.as_str()) {
            // A file that is in the way of nobody may stay.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn hash(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    format!("{:016x}", hasher.finish())
}

fn brotli_size(body: &[u8]) -> Option<u64> {
    let mut child = Command::new("brotli")
        .args(["--stdout", "--best", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let body = body.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().ok()?;
    writer.join().ok()?.ok()?;
    output.status.success().then_some(output.stdout.len() as u64)
}
