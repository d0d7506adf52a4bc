//! Walks a projects folder and checks each name and size on the way.
//!
//! Hidden entries (`.git`, an editor's swap files) are passed over; anything else that has no
//! place is an error, because a page that silently does not appear costs more time than a line at
//! the start.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use tandem_protocol::item::ItemKey;
use tandem_protocol::limits::{ITEM_MAX_BYTES, ITEMS_MAX_BYTES, NAME_MAX_BYTES};
use tandem_protocol::runtime::definitions::{file_key, settings_key};

use super::{Error, Folder, settings};

/// Files of all projects together: a listing must stay readable.
pub(super) const FILES_MAX: usize = 10_000;
/// Folders inside `assets`: also ends a loop of links.
pub(super) const DEPTH_MAX: usize = 8;
/// The config of a pair is held in memory twice while it is replaced.
pub(super) const FOLDER_MAX_BYTES: usize = ITEMS_MAX_BYTES / 2;

/// A project's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFile {
    /// Shown to people.
    #[serde(default, rename = "title")]
    _title: String,
    /// The page that `/p/{project}` leads to.
    start: toml::Spanned<String>,
}

pub(super) fn read(dir: &Path) -> Result<Folder, Error> {
    let mut reader = Reader { folder: Folder::default(), bytes: 0 };
    for entry in entries(dir)? {
        let name = entry.name;
        if entry.is_dir {
            reader.project(&entry.path, &name)?;
        } else if name == "gateway.toml" {
            let text = text(&entry.path)?;
            let json = settings::read(&entry.path, &text)?;
            reader.put(&entry.path, settings_key(), json)?;
        } else {
            return Err(misplaced(entry.path, "expected gateway.toml and one folder a project"));
        }
    }
    Ok(reader.folder)
}

struct Reader {
    folder: Folder,
    bytes: usize,
}

impl Reader {
    fn project(&mut self, dir: &Path, project: &str) -> Result<(), Error> {
        check_name(dir, project)?;
        self.folder.projects.insert(project.to_owned());
        let mut has_settings = None;
        for entry in entries(dir)? {
            match (entry.name.as_str(), entry.is_dir) {
                ("project.toml", false) => has_settings = Some(entry.path.clone()),
                ("pages", true) => self.pages(&entry.path, project)?,
                ("assets", true) => {
                    self.assets(&entry.path, project, "assets", DEPTH_MAX)?;
                }
                _ => {
                    let message = "expected project.toml, pages and assets";
                    return Err(misplaced(entry.path, message));
                }
            }
        }
        let Some(path) = has_settings else {
            return Err(misplaced(dir.to_owned(), "has no project.toml"));
        };
        self.settings(&path, project)
    }

    /// Last, because the start page must be there.
    fn settings(&mut self, path: &Path, project: &str) -> Result<(), Error> {
        let text = text(path)?;
        let file: ProjectFile =
            toml::from_str(&text).map_err(|e| settings::toml_error(path, &text, &e))?;
        let start = file.start.get_ref();
        if !self.folder.items.contains_key(&page_key(project, start)) {
            return Err(Error::Toml {
                path: path.to_owned(),
                line: settings::line_at(&text, file.start.span().start),
                message: format!("start: there is no page pages/{start}.html"),
            });
        }
        let key = file_key(project, "project.toml");
        self.put(path, key, Bytes::from(text))
    }

    fn pages(&mut self, dir: &Path, project: &str) -> Result<(), Error> {
        for entry in entries(dir)? {
            let page = entry.name.strip_suffix(".html").filter(|_| !entry.is_dir);
            let Some(page) = page else {
                return Err(misplaced(entry.path, "expected files that end in .html"));
            };
            check_name(&entry.path, page)?;
            if page == "assets" {
                return Err(misplaced(entry.path, "a page cannot be called assets"));
            }
            let text = text(&entry.path)?;
            self.put(&entry.path, page_key(project, page), Bytes::from(text))?;
        }
        Ok(())
    }

    fn assets(
        &mut self,
        dir: &Path,
        project: &str,
        prefix: &str,
        depth: usize,
    ) -> Result<(), Error> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(misplaced(
                dir.to_owned(),
                "too many folders inside each other (8 at most)",
            ));
        };
        for entry in entries(dir)? {
            let file = format!("{prefix}/{}", entry.name);
            if entry.is_dir {
                self.assets(&entry.path, project, &file, depth)?;
            } else {
                let body = bytes(&entry.path)?;
                self.put(&entry.path, file_key(project, &file), body)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &Path, key: ItemKey, body: Bytes) -> Result<(), Error> {
        let too_large =
            |what, size, limit| Err(Error::TooLarge { path: path.to_owned(), what, size, limit });
        if body.len() > ITEM_MAX_BYTES {
            return too_large("the file's size in bytes", body.len(), ITEM_MAX_BYTES);
        }
        self.bytes += body.len();
        if self.bytes > FOLDER_MAX_BYTES {
            return too_large("the size of all files in bytes", self.bytes, FOLDER_MAX_BYTES);
        }
        self.folder.items.insert(key, body);
        let files = self.folder.items.len();
        if files > FILES_MAX {
            return too_large("the number of files", files, FILES_MAX);
        }
        Ok(())
    }
}

fn page_key(project: &str, page: &str) -> ItemKey {
    file_key(project, &format!("pages/{page}.html"))
}

struct Entry {
    name: String,
    path: PathBuf,
    is_dir: bool,
}

/// A folder's visible entries by name; links are followed.
fn entries(dir: &Path) -> Result<Vec<Entry>, Error> {
    let io = |source| Error::Io { path: dir.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().map(OsString::from).unwrap_or_default();
        let Ok(name) = name.into_string() else {
            return Err(misplaced(path, "the name is not UTF-8"));
        };
        if name.starts_with('.') {
            continue;
        }
        if name.len() > 255 || name.chars().any(char::is_control) {
            return Err(misplaced(path, "the name has control characters"));
        }
        let meta =
            fs::metadata(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        if !meta.is_dir() && !meta.is_file() {
            return Err(misplaced(path, "neither a file nor a folder"));
        }
        entries.push(Entry { name, path, is_dir: meta.is_dir() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn bytes(path: &Path) -> Result<Bytes, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let size = usize::try_from(fs::metadata(path).map_err(io)?.len()).unwrap_or(usize::MAX);
    if size > ITEM_MAX_BYTES {
        let what = "the file's size in bytes";
        return Err(Error::TooLarge { path: path.to_owned(), what, size, limit: ITEM_MAX_BYTES });
    }
    fs::read(path).map(Bytes::from).map_err(io)
}

fn text(path: &Path) -> Result<String, Error> {
    String::from_utf8(bytes(path)?.into())
        .map_err(|_| misplaced(path.to_owned(), "the text is not UTF-8"))
}

/// Names of projects and pages stand in URLs, log lines, session messages and folders.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether a stored text is TOML at all; the error has its line.
pub(super) fn is_toml(body: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(body).map_err(|_| "the text is not UTF-8".to_owned())?;
    let path = Path::new("project.toml");
    let table = toml::from_str::<toml::Table>(text);
    table.map(drop).map_err(|e| settings::toml_error(path, text, &e).to_string())
}

/// The start page that a stored `project.toml` names; the error has its line.
pub(super) fn start_of(toml: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(toml).map_err(|_| "the text is not UTF-8".to_owned())?;
    let path = Path::new("project.toml");
    let file: ProjectFile =
        toml::from_str(text).map_err(|e| settings::toml_error(path, text, &e).to_string())?;
    Ok(file.start.into_inner())
}

fn check_name(path: &Path, name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("\"{name}\" is not a name: 1 to {NAME_MAX_BYTES} of a-z A-Z 0-9 - _ .");
    Err(Error::Misplaced { path: path.to_owned(), message })
}

fn misplaced(path: PathBuf, message: &str) -> Error {
    Error::Misplaced { path, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tandem_protocol::limits::ITEM_MAX_BYTES;

    use super::read;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    const WHOLE: &[(&str, &str)] = &[
        ("gateway.toml", "system = \"Plant\"\ncontact = \"Desk 7\"\n"),
        ("demo/project.toml", "title = \"Demo\"\nstart = \"main\"\n"),
        ("demo/pages/main.html", "<h1>Main</h1>"),
        ("demo/assets/img/logo.svg", "<svg/>"),
        ("demo/.swp", "hidden"),
        (".git/config", "hidden"),
    ];

    #[test]
    fn a_folder_becomes_items() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), WHOLE);
        let folder = read(dir.path()).unwrap();
        let keys: Vec<String> =
            folder.items.keys().map(|k| format!("{} {}", k.provider, k.key)).collect();
        assert_eq!(
            keys,
            [
                "project demo/assets/img/logo.svg",
                "project demo/pages/main.html",
                "project demo/project.toml",
                "settings gateway",
            ]
        );
        assert_eq!(folder.projects().collect::<Vec<_>>(), ["demo"]);
    }

    #[test]
    fn a_mistake_is_one_line_that_names_the_file() {
        let check = |file: (&str, &str), expected: &str| {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), WHOLE);
            write(dir.path(), &[file]);
            let text = read(dir.path()).unwrap_err().to_string();
            let text = text.strip_prefix(dir.path().to_str().unwrap()).unwrap_or(&text).to_owned();
            assert_eq!(text, expected);
        };
        check(("notes.md", ""), "/notes.md: expected gateway.toml and one folder a project");
        check(("demo/index.html", ""), "/demo/index.html: expected project.toml, pages and assets");
        check(("demo/pages/a.txt", ""), "/demo/pages/a.txt: expected files that end in .html");
        check(
            ("demo/pages/assets.html", ""),
            "/demo/pages/assets.html: a page cannot be called assets",
        );
        check(
            ("demo/pages/a b.html", ""),
            "/demo/pages/a b.html: \"a b\" is not a name: 1 to 64 of a-z A-Z 0-9 - _ .",
        );
        check(("two/pages/a.html", ""), "/two: has no project.toml");
        check(
            ("demo/project.toml", "title = \"x\"\nstart = \"away\"\n"),
            "/demo/project.toml:2: start: there is no page pages/away.html",
        );
        check(
            ("demo/project.toml", "start = \"main\"\n\ncolour = 1\n"),
            "/demo/project.toml:3: unknown field `colour`, expected `title` or `start`",
        );
        let large = "x".repeat(ITEM_MAX_BYTES + 1);
        check(
            ("demo/assets/big.bin", &large),
            "/demo/assets/big.bin: the file's size in bytes is 2097153: at most 2097152",
        );
    }
}
