//! The admin token: who may change the pair over HTTP.
//!
//! It is made at the first start and lies in the data folder, readable by the node's own user only.
//! Whoever can read that file may change the node anyway, so the commands of an operator on the
//! same machine need no password. It is never logged: `Debug` hides it, and it leaves the process
//! in no answer.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// The token's name in the data folder.
pub const FILE: &str = "admin.token";
/// Random bytes of a token: nobody guesses them.
const BYTES: usize = 32;
/// Read and write for the node's user, nothing for others.
const MODE: u32 = 0o600;

/// The token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// The token of a data folder, which must exist; made when there is none. A file that others
    /// could read is closed to them.
    ///
    /// # Errors
    /// It cannot be read or written, or holds no token. The text names the file, never the token.
    pub fn open(data_dir: &Path) -> Result<Token> {
        let path = data_dir.join(FILE);
        match fs::metadata(&path) {
            Ok(found) => {
                if found.permissions().mode() & 0o077 != 0 {
                    fs::set_permissions(&path, Permissions::from_mode(MODE))
                        .map_err(file("close", &path))?;
                }
                Token::read(&path)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Token::make(&path),
            Err(e) => Err(file("read", &path)(e)),
        }
    }

    /// The token that a file holds.
    ///
    /// # Errors
    /// It cannot be read, or holds no token.
    pub fn read(path: &Path) -> Result<Token> {
        let text = fs::read_to_string(path).map_err(file("read", path))?;
        let text = text.trim();
        if text.len() == 2 * BYTES && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Token(text.to_owned()));
        }
        let reason = format!("holds no admin token ({} hexadecimal digits)", 2 * BYTES);
        Err(Error::Folder { path: path.to_owned(), reason })
    }

    /// A crash leaves no file or a whole one.
    fn make(path: &Path) -> Result<Token> {
        let token = Token::random()?;
        let partial = path.with_extension("partial");
        // What a crash left could have another mode.
        match fs::remove_file(&partial) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(file("remove", &partial)(e)),
            Ok(()) | Err(_) => {}
        }
        let write = || {
            let mut made =
                OpenOptions::new().write(true).create_new(true).mode(MODE).open(&partial)?;
            writeln!(made, "{}", token.0)?;
            made.sync_all()?;
            fs::rename(&partial, path)?;
            match path.parent() {
                Some(folder) => File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(file("write", path))?;
        Ok(token)
    }

    /// A new token.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> Result<Token> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::Setup { what: "ask for random bytes", reason: e.to_string() })?;
        Ok(Token(bytes.iter().map(|b| format!("{b:02x}")).collect()))
    }

    /// Whether `given` is the token. Takes the same time wherever they differ.
    pub fn matches(&self, given: &str) -> bool {
        let (own, given) = (Sha256::digest(&self.0), Sha256::digest(given));
        own.iter().zip(given.iter()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }

    /// The value of the `Authorization` header that presents it.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

/// Where the token of a data folder lies.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Token, path};

    #[test]
    fn it_is_made_once_and_only_its_user_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(path(folder.path())).unwrap().permissions().mode() & 0o777;
        let token = Token::open(folder.path()).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(path(folder.path()), Permissions::from_mode(0o644)).unwrap();
        let again = Token::open(folder.path()).unwrap();
        assert_eq!((again == token, mode()), (true, 0o600));
        let text = fs::read_to_string(path(folder.path())).unwrap();
        assert!(token.matches(text.trim()));
        assert!(!token.matches("") && !token.matches(&text.trim()[1..]));
        assert!(!format!("{token:?}").contains(text.trim()));
        assert!(!Token::random().unwrap().matches(text.trim()));
    }

    #[test]
    fn a_file_that_holds_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path()), "abc\n").unwrap();
        let error = Token::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("admin.token") && !error.contains("abc"), "{error}");
    }
}
