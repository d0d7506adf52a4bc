//! A disk that fails and a clock that steps, under a real process: a small C library that the
//! process loads before the system's, and a folder of triggers that turns its faults on and off.
//!
//! Needs a C compiler (`cc`), as building the workspace does.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::host::run;
use super::{Error, Node, Result};

const SOURCE: &str = include_str!("faults.c");

/// The faults of one node. They take effect from the node's next start on.
#[derive(Debug)]
pub struct Faults {
    folder: PathBuf,
}

impl Faults {
    /// Gives a node that does not run yet a library with faults; none is on.
    ///
    /// # Errors
    /// The library does not compile.
    pub fn under(node: &Node) -> Result<Faults> {
        let spec = node.spec();
        let faults = Faults { folder: spec.folder.join("faults") };
        let (source, library) = (faults.folder.join("faults.c"), faults.folder.join("faults.so"));
        super::project::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        compiler.arg(&library).arg(&source).arg("-ldl");
        run(compiler, "compile the library of faults", "")?;
        let environment = [
            ("LD_PRELOAD", library.as_path()),
            ("TANDEM_FAULTS", faults.folder.as_path()),
            ("TANDEM_FAULTS_DATA", &node.data()),
        ]
        .map(|(name, path)| (name.to_owned(), path.display().to_string()));
        node.change(|spec| spec.environment.extend(environment));
        Ok(faults)
    }

    /// From now on each fsync of the data folder fails.
    ///
    /// # Errors
    /// The trigger cannot be written.
    pub fn fail_fsync(&self) -> Result {
        self.on("fsync", "")
    }

    /// The disk works again.
    ///
    /// # Errors
    /// It worked.
    pub fn mend_fsync(&self) -> Result {
        remove(&self.folder.join("fsync"))
    }

    /// From now on each fsync of the data folder waits.
    ///
    /// # Errors
    /// The trigger cannot be written.
    pub fn hang_fsync(&self) -> Result {
        self.on("hang", "")
    }

    /// What waits goes on.
    ///
    /// # Errors
    /// Nothing waited.
    pub fn release_fsync(&self) -> Result {
        remove(&self.folder.join("hang"))
    }

    /// From now on nothing more can be written to the data folder.
    ///
    /// # Errors
    /// The trigger cannot be written.
    pub fn fill_disk(&self) -> Result {
        self.on("full", "")
    }

    /// The data folder has room again.
    ///
    /// # Errors
    /// It had room.
    pub fn free_disk(&self) -> Result {
        remove(&self.folder.join("full"))
    }

    /// The wall clock is off by this many seconds from now on.
    ///
    /// # Errors
    /// The trigger cannot be written.
    pub fn step_clock(&self, seconds: i64) -> Result {
        self.on("clock", &seconds.to_string())
    }

    fn on(&self, name: &str, text: &str) -> Result {
        // Seen whole or not at all.
        let (path, made) = (self.folder.join(name), self.folder.join("new"));
        super::project::write(&made, text)?;
        std::fs::rename(&made, &path).map_err(Error::io(format!("write {}", path.display())))
    }
}

fn remove(path: &Path) -> Result {
    std::fs::remove_file(path).map_err(Error::io(format!("remove {}", path.display())))
}
