//! Pairs to measure on: release binaries on free loopback ports, their data on the disk that the
//! build is on.

use std::path::{Path, PathBuf};

use tandem_tests::harness::{Pair, PairBuilder, Project, project, root};

use crate::outcome::{Failure, Outcome};

/// Where pairs keep their data.
pub(super) struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// An empty folder below `target`.
    pub(super) fn open() -> Outcome<Stage> {
        let folder = root().join("target/bench");
        if folder.exists() {
            let what = format!("empty {}", folder.display());
            std::fs::remove_dir_all(&folder).map_err(Failure::io(what))?;
        }
        let stage = Stage { folder };
        stage.make(&stage.folder)?;
        Ok(stage)
    }

    /// The folder of one part.
    pub(super) fn place(&self, name: &str) -> Outcome<PathBuf> {
        let folder = self.folder.join(name);
        self.make(&folder)?;
        Ok(folder)
    }

    /// A pair with a small project and more lines in its gateway settings, not started yet.
    pub(super) fn pair(&self, name: &str, more: &str) -> Outcome<PairBuilder> {
        let folder = self.place(name)?;
        let project = Project::small(&folder.join("projects"))?;
        let file = project.folder().join("gateway.toml");
        let what = format!("read {}", file.display());
        let text = std::fs::read_to_string(&file).map_err(Failure::io(what))?;
        project::write(&file, &(text + more))?;
        let manual = "master_recovery_mode = \"Manual\"";
        Ok(Pair::named(name).in_folder(folder).project(project).shared(manual))
    }

    fn make(&self, folder: &Path) -> Outcome {
        let what = format!("make {}", folder.display());
        std::fs::create_dir_all(folder).map_err(Failure::io(what))
    }
}
