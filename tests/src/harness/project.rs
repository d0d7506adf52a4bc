//! The folder that a master pushes into its store: shared gateway settings and one project.

use std::path::{Path, PathBuf};

use super::{Error, Result};

/// The fast simulator tag: its first value from the new node ends an outage.
pub const FAST: &str = "Plant/Fast";
/// The memory tag that operators write.
pub const SETPOINT: &str = "Plant/Setpoint";
/// The tag that counts the writes applied to it.
pub const WRITES: &str = "Plant/Writes";
/// The alarm that follows a tag which tests write.
pub const ALARM: &str = "Level high";
/// The tag that the alarm watches.
pub const LEVEL: &str = "Plant/Level";

const GATEWAY: &str = r#"system = "Test plant"
contact = "the duty engineer"

[[tags]]
path = "Plant/Fast"
kind = "simulator"
wave = "counter"
period_ms = 10

[[tags]]
path = "Plant/Setpoint"
unit = "%"
kind = "memory"
initial = 50.0
min = 0.0
max = 1000000.0

[[tags]]
path = "Plant/Writes"
kind = "counting"

[[tags]]
path = "Plant/Level"
kind = "memory"
initial = 0.0

[[alarms]]
name = "Level high"
tag = "Plant/Level"
above = 80.0
hysteresis = 5.0
priority = "high"
text = "The level is high"
"#;

/// A projects folder.
#[derive(Debug, Clone)]
pub struct Project {
    folder: PathBuf,
}

impl Project {
    /// Writes the small test project: pages `first` and `second` of project `plant`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn small(folder: &Path) -> Result<Project> {
        write(&folder.join("gateway.toml"), GATEWAY)?;
        write(&folder.join("plant/project.toml"), "title = \"Plant\"\nstart = \"first\"\n")?;
        for (page, other) in [("first", "second"), ("second", "first")] {
            write(&folder.join(format!("plant/pages/{page}.html")), &page_text(page, other))?;
        }
        Ok(Project { folder: folder.to_path_buf() })
    }

    /// Copies a projects folder and appends to its gateway settings.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn copy(from: &Path, to: &Path, more: &str) -> Result<Project> {
        copy_folder(from, to)?;
        let settings = to.join("gateway.toml");
        let text = std::fs::read_to_string(&settings)
            .map_err(Error::io(format!("read {}", settings.display())))?;
        write(&settings, &format!("{text}\n{more}"))?;
        Ok(Project { folder: to.to_path_buf() })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn page_text(page: &str, other: &str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{page}</title>
<script type="module" src="/sdk/tandem.js"></script></head>
<body>
<tandem-session project="plant" page="{page}"></tandem-session>
<tandem-notice></tandem-notice>
<h1>{page}</h1>
<p><tandem-value tag="Plant/Fast"></tandem-value></p>
<p><tandem-value tag="Plant/Setpoint"></tandem-value></p>
<p><tandem-input tag="Plant/Setpoint"></tandem-input></p>
<tandem-alarms></tandem-alarms>
<a href="/p/plant/{other}">{other}</a>
</body>
</html>
"#
    )
}

fn copy_folder(from: &Path, to: &Path) -> Result {
    let failed = |path: &Path| Error::io(format!("copy {}", path.display()));
    std::fs::create_dir_all(to).map_err(failed(to))?;
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let path = entry.map_err(failed(from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Writes a file and the folders above it.
///
/// # Errors
/// The system refused.
pub fn write(path: &Path, text: &str) -> Result {
    let failed = || Error::io(format!("write {}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed())?;
    }
    std::fs::write(path, text).map_err(failed())
}
