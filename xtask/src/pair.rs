//! The pair of the demo: where it lives and on which ports.

use std::path::{Path, PathBuf};

use tandem_tests::harness::{Pair, PairBuilder, Project, root};

use crate::outcome::{Failure, Outcome};
use crate::{build, steps};

/// Master, backup, proxy.
pub(crate) const PORTS: [u16; 3] = [8088, 8188, 8080];

/// Builds what the demo needs and empties its folder.
pub(crate) fn prepare() -> Outcome<PathBuf> {
    build::daemons()?;
    build::bundle()?;
    let folder = root().join("target/demo");
    if folder.exists() {
        let what = format!("empty {}", folder.display());
        std::fs::remove_dir_all(&folder).map_err(Failure::io(what))?;
    }
    let what = format!("make {}", folder.display());
    std::fs::create_dir_all(&folder).map_err(Failure::io(what))?;
    Ok(folder)
}

/// The demo's pair, not started yet. `more` is appended to the project's gateway settings.
pub(crate) fn demo(folder: &Path, more: &str) -> Outcome<PairBuilder> {
    let from = root().join("examples/demo");
    let project = Project::copy(&from, &folder.join("projects"), more)?;
    for port in PORTS {
        if let Err(e) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            return Err(Failure::Verdict(format!(
                "port {port} of 127.0.0.1 is needed and cannot be had ({e}): \
                 is another demo running?"
            )));
        }
    }
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
