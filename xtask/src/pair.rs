//! The pair of the demo: where it lives and on which ports.

use std::fs::File;
use std::path::{Path, PathBuf};

use tandem_tests::harness::{Pair, PairBuilder, Project, root};

use crate::outcome::{Failure, Outcome};
use crate::{build, steps};

/// Master, backup, proxy.
pub(crate) const PORTS: [u16; 3] = [8088, 8188, 8080];

/// The demo's folder, ours as long as this lives.
pub(crate) struct Place {
    /// The folder.
    pub(crate) folder: PathBuf,
    _lock: File,
}

/// Takes the demo's folder, empties it, and builds what the demo needs.
pub(crate) fn prepare() -> Outcome<Place> {
    let target = root().join("target");
    let file = target.join("demo.lock");
    let what = format!("open {}", file.display());
    let lock = File::create(&file).map_err(Failure::io(what))?;
    if lock.try_lock().is_err() {
        return Err(Failure::Verdict("another demo is running here".to_owned()));
    }
    for port in PORTS {
        if let Err(e) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            return Err(Failure::Verdict(format!(
                "port {port} of 127.0.0.1 is needed and cannot be had ({e}): end what listens there, \
                 perhaps a pair of your own"
            )));
        }
    }
    build::daemons()?;
    build::bundle()?;
    let folder = target.join("demo");
    if folder.exists() {
        let what = format!("empty {}", folder.display());
        std::fs::remove_dir_all(&folder).map_err(Failure::io(what))?;
    }
    let what = format!("make {}", folder.display());
    std::fs::create_dir_all(&folder).map_err(Failure::io(what))?;
    Ok(Place { folder, _lock: lock })
}

/// The demo's pair, not started yet. `more` is appended to the project's gateway settings.
pub(crate) fn demo(folder: &Path, more: &str) -> Outcome<PairBuilder> {
    let from = root().join("examples/demo");
    let project = Project::copy(&from, &folder.join("projects"), more)?;
    steps::say("everything listens on 127.0.0.1 only; there is no login yet");
    Ok(Pair::named("demo").in_folder(folder.to_path_buf()).project(project).ports(PORTS))
}

/// A runtime for the clients and watchers of a command.
pub(crate) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::io("start a runtime"))
}
